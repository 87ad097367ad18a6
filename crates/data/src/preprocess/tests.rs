use super::*;

fn spec(dtype: DType, shape: &[usize]) -> InputSpec {
    let mut shape: Vec<Option<usize>> = shape.iter().copied().map(Some).collect();
    shape[0] = None;
    InputSpec::new("x", dtype, shape)
}

fn config(toml: &str) -> PreprocessConfig {
    toml::from_str(toml).unwrap()
}

fn build(toml: &str, spec: &InputSpec) -> Result<Pipeline, String> {
    Pipeline::new(Some(&config(toml)), spec, "d.toml").map_err(|e| e.to_string())
}

/// Red counts columns, green counts rows, blue is constant.
fn gradient(height: u32, width: u32) -> Pixels {
    let mut data = Vec::new();
    for y in 0..height {
        for x in 0..width {
            data.extend_from_slice(&[x as u8, y as u8, 200]);
        }
    }
    Pixels { width, height, channels: 3, data }
}

fn u8s(array: &Array) -> &[u8] {
    match &array.data {
        ArrayData::U8(v) => v,
        other => panic!("{other:?}"),
    }
}

#[test]
fn crop_by_fraction_then_no_resize_keeps_pixels() {
    let spec = spec(DType::U8, &[1, 7, 7, 3]);
    let pipeline = build("crop_fraction = 0.875\ninterpolation = 'bicubic'", &spec).unwrap();
    // Short side 8: a crop of 7; offsets (8 - 7) / 2 = 0 down and (11 - 7) / 2 = 2 across.
    let out = pipeline.apply(&gradient(8, 11)).unwrap();
    assert_eq!(out.shape, [1, 7, 7, 3]);
    assert_eq!(&u8s(&out)[..6], &[2, 0, 200, 3, 0, 200]);
    assert_eq!(&u8s(&out)[7 * 7 * 3 - 3..], &[8, 6, 200]);
}

#[test]
fn resize_then_crop_takes_the_middle() {
    let spec = spec(DType::U8, &[1, 4, 4, 3]);
    let pipeline = build("resize = 8\ncrop = 4", &spec).unwrap();
    let out = pipeline.apply(&gradient(8, 12)).unwrap();
    assert_eq!(&u8s(&out)[..3], &[4, 2, 200]);
    let exact = build("resize = [8, 12]\ncrop = 4", &spec).unwrap();
    assert_eq!(exact.apply(&gradient(8, 12)).unwrap(), out);
}

#[test]
fn the_long_side_is_rounded_down() {
    assert_eq!(short_side_to(256, 375, 500), Ok((256, 341)));
    assert_eq!(short_side_to(256, 500, 375), Ok((341, 256)));
    assert_eq!(short_side_to(10, 7, 7), Ok((10, 10)));
    assert!(short_side_to(16_384, 1, u32::MAX).is_err());
}

#[test]
fn nearest_takes_the_pixel_under_the_centre() {
    let spec = spec(DType::U8, &[1, 2, 2, 3]);
    let pipeline = build("interpolation = 'nearest'", &spec).unwrap();
    let out = pipeline.apply(&gradient(4, 8)).unwrap();
    assert_eq!(u8s(&out), [2, 1, 200, 6, 1, 200, 2, 3, 200, 6, 3, 200]);
}

#[test]
fn area_is_the_mean() {
    let spec = spec(DType::U8, &[1, 1, 1, 1]);
    let pipeline = build("interpolation = 'area'", &spec).unwrap();
    let image = Pixels { width: 2, height: 2, channels: 1, data: vec![10, 20, 30, 40] };
    assert_eq!(u8s(&pipeline.apply(&image).unwrap()), [25]);
}

#[test]
fn mean_std_and_layout() {
    let nchw = spec(DType::F32, &[1, 3, 2, 2]);
    let pipeline = build("mean = [0, 1, 100]\nstd = [1, 2, 50]", &nchw).unwrap();
    let out = pipeline.apply(&gradient(2, 2)).unwrap();
    assert_eq!(out.shape, [1, 3, 2, 2]);
    let wanted = [0.0, 1.0, 0.0, 1.0, -0.5, -0.5, 0.0, 0.0, 2.0, 2.0, 2.0, 2.0];
    assert_eq!(out.as_f32().unwrap(), wanted);
    let scaled = build("scale = 0.5\nmean = 100\ncolor = 'bgr'", &nchw).unwrap();
    let out = scaled.apply(&gradient(2, 2)).unwrap();
    assert_eq!(out.as_f32().unwrap()[..5], [0.0, 0.0, 0.0, 0.0, -100.0]);
    assert_eq!(out.as_f32().unwrap()[9], -99.5);
}

#[test]
fn layout_is_told_by_the_shape_or_the_key() {
    let ambiguous = InputSpec::new("x", DType::U8, vec![None, Some(3), None, None]);
    assert!(build("size = 4", &ambiguous).unwrap().apply(&gradient(4, 4)).unwrap().shape == [1, 3, 4, 4]);
    let square = spec(DType::U8, &[1, 3, 3, 3]);
    let default = build("", &square).unwrap().apply(&gradient(3, 3)).unwrap();
    assert_eq!(u8s(&default), gradient(3, 3).data);
    let told = build("layout = 'nchw'", &square).unwrap().apply(&gradient(3, 3)).unwrap();
    assert_eq!(u8s(&told)[..9], [0, 1, 2, 0, 1, 2, 0, 1, 2]);
}

#[test]
fn gray_and_rgb_convert() {
    let gray_in = spec(DType::U8, &[1, 1, 1, 1]);
    let rgb = Pixels { width: 1, height: 1, channels: 3, data: vec![255, 128, 7] };
    // (255 x 19595 + 128 x 38470 + 7 x 7471 + 32768) >> 16
    assert_eq!(u8s(&build("", &gray_in).unwrap().apply(&rgb).unwrap()), [152]);
    assert_eq!((luma(0, 0, 0), luma(255, 255, 255)), (0, 255));
    let rgb_in = spec(DType::U8, &[1, 1, 1, 3]);
    let gray = Pixels { width: 1, height: 1, channels: 1, data: vec![9] };
    assert_eq!(u8s(&build("", &rgb_in).unwrap().apply(&gray).unwrap()), [9, 9, 9]);
}

#[test]
fn eight_bit_inputs_get_raw_or_quantized_numbers() {
    let signed = spec(DType::I8, &[1, 1, 2, 3]);
    let raw = build("", &signed).unwrap();
    assert_eq!(raw.apply(&gradient(1, 2)).unwrap().data, ArrayData::I8(vec![-128, -128, 72, -127, -128, 72]));
    assert!(raw.notes()[1].contains("pixel - 128"), "{:?}", raw.notes());
    let quantized = signed.clone().with_quantization(1.0 / 127.5, -1);
    let real = build("mean = 127.5\nstd = 127.5", &quantized).unwrap();
    // (200 - 127.5) - 1 = 71.5 and 0 - 127.5 - 1 = -128.5, ties to even before the zero point: 72 - 1, -128 - 1.
    assert_eq!(real.apply(&gradient(1, 1).into_2()).unwrap().data, ArrayData::I8(vec![-128, -128, 71, -128, -128, 71]));
    let message = build("mean = 127.5", &signed).unwrap_err();
    assert!(message.contains("int8 without a scale and zero point"), "{message}");
}

impl Pixels {
    /// The image beside itself.
    fn into_2(mut self) -> Pixels {
        self.data = self.data.repeat(2);
        self.width *= 2;
        self
    }
}

#[test]
fn customary_treatment() {
    let float = spec(DType::F32, &[1, 3, 224, 224]);
    let pipeline = Pipeline::new(None, &float, "options").unwrap();
    assert_eq!(pipeline.geometry, Geometry::Customary(256));
    assert!(pipeline.notes()[0].contains("short side to 256"), "{:?}", pipeline.notes());
    assert!(pipeline.notes()[0].contains("ImageNet"), "{:?}", pipeline.notes());
    let image = gradient(224, 224);
    let out = pipeline.apply(&image).unwrap();
    let got = out.as_f32().unwrap()[224 * 224 * 2];
    assert!((got - (200.0 / 255.0 - 0.406) / 0.225).abs() < 1e-6, "{got}");
    assert!((out.as_f32().unwrap()[1] - (1.0 / 255.0 - 0.485) / 0.229).abs() < 1e-6);
    let bytes = Pipeline::new(None, &spec(DType::U8, &[1, 224, 224, 3]), "options").unwrap();
    assert_eq!(u8s(&bytes.apply(&image).unwrap()), image.data);
}

#[test]
fn contradictions_name_the_key() {
    let spec = spec(DType::F32, &[1, 224, 224, 3]);
    let cases = [
        ("crop_fraction = 0.9\nresize = 256", "preprocess.crop_fraction"),
        ("crop_fraction = 1.5", "not in (0, 1]"),
        ("crop_fraction = nan", "not in (0, 1]"),
        ("crop = 224", "preprocess.crop: is taken after resize"),
        ("resize = 200\ncrop = 224", "smaller than the crop of 224x224"),
        ("resize = [256, 200]", "preprocess.size: 256x200 does not fit input 'x' of shape [N, 224, 224, 3]"),
        ("resize = [256, 200]\ncrop = 224", "smaller than the crop"),
        ("resize = 256\ncrop = 224\nsize = 200", "contradicts size"),
        ("size = 96", "does not fit input 'x'"),
        ("size = 0", "out of range"),
        ("size = 100000", "out of range"),
        ("color = 'gray'", "preprocess.color"),
        ("mean = [1, 2]", "preprocess.mean: has 2 numbers for 3 channels"),
        ("std = 0", "not finite"),
        ("scale = inf", "not finite"),
        ("layout = 'nchw'", "axis of channels"),
    ];
    for (toml, wanted) in cases {
        let message = build(toml, &spec).unwrap_err();
        assert!(message.contains(wanted), "{toml}: {message}");
    }
}

#[test]
fn inputs_that_are_no_images_are_refused() {
    for (input, wanted) in [
        (spec(DType::I64, &[1, 128]), "use an .npz"),
        (spec(DType::F32, &[1, 128]), "four axes"),
        (spec(DType::F32, &[1, 49, 10, 8]), "1 or 3 channels"),
    ] {
        let message = Pipeline::new(None, &input, "options").unwrap_err().to_string();
        assert!(message.contains(wanted) && message.contains("input 'x'"), "{message}");
    }
    let free = InputSpec::new("x", DType::F32, vec![None, None, None, Some(3)]);
    let message = Pipeline::new(None, &free, "options").unwrap_err().to_string();
    assert!(message.contains("free shape [N, ?, ?, 3]: say size"), "{message}");
}

#[test]
fn impossible_images_are_refused() {
    let spec = spec(DType::U8, &[1, 224, 224, 3]);
    let sized = build("resize = [256, 300]\ncrop = 224", &spec).unwrap();
    assert!(sized.apply(&gradient(3, 3)).is_ok());
    let long = build("resize = 16384\ncrop = 224", &spec).unwrap();
    let ribbon = gradient(1, 60_000);
    assert!(long.apply(&ribbon).unwrap_err().contains("would be resized"));
    let lying = Pixels { width: 10, ..gradient(3, 3) };
    assert!(sized.apply(&lying).unwrap_err().contains("are no image"));
}

/// Pillow 13.0: `Image.fromarray(a, "L").resize((width, height), filter)` of the
/// 7 x 9 pattern `(29 x^2 + 83 y + 17 x y) mod 256`, shrunk to 4 x 3.
#[test]
fn filters_agree_with_pillow() {
    let mut data = Vec::new();
    for y in 0..7u32 {
        data.extend((0..9u32).map(|x| ((29 * x * x + 83 * y + 17 * x * y) % 256) as u8));
    }
    let image = Pixels { width: 9, height: 7, channels: 1, data };
    let cases = [
        ("bilinear", [91, 136, 104, 154, 136, 130, 123, 117, 175, 118, 120, 118]),
        ("bicubic", [86, 139, 98, 163, 131, 135, 123, 115, 183, 119, 117, 116]),
        ("lanczos", [81, 141, 96, 170, 129, 137, 121, 116, 188, 116, 114, 117]),
        ("area", [98, 132, 91, 171, 136, 154, 107, 63, 200, 129, 119, 119]),
    ];
    let spec = spec(DType::U8, &[1, 4, 3, 1]);
    for (name, pillow) in cases {
        let pipeline = build(&format!("interpolation = '{name}'"), &spec).unwrap();
        let out = pipeline.apply(&image).unwrap();
        for (at, (got, want)) in u8s(&out).iter().zip(pillow).enumerate() {
            assert!(got.abs_diff(want) <= 1, "{name} at {at}: {got}, Pillow {want}");
        }
    }
}
