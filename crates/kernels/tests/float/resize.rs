use crate::{Numbers, assert_close, assert_thread_independent};
use Coordinates::{AlignCorners, Asymmetric, HalfPixel, PytorchHalfPixel, TfHalfPixelForNn};
use fewbits_kernels::float::resize::{AxisSize, AxisTaps, Coordinates, Rounding, resize};

enum Mode {
    Nearest(Rounding),
    Linear,
    Cubic(f32, bool),
}
use Mode::{Cubic, Linear, Nearest};

fn taps(mode: &Mode, size: AxisSize, c: Coordinates) -> AxisTaps {
    match *mode {
        Nearest(rounding) => AxisTaps::nearest(size, c, rounding),
        Linear => AxisTaps::linear(size, c),
        Cubic(a, exclude) => AxisTaps::cubic(size, c, a, exclude),
    }
}

/// The sum of the output and its sum weighted by position (from 1) tell a wrong index or weight.
#[test]
fn every_convention_is_onnx_runtimes() {
    let x: Vec<f32> = (1..=12).map(|i| (i as f32).powf(1.5)).collect();
    for (c, mode, size, scales, sum, weighted) in EXPECTED {
        let axis = |i: usize, input| AxisSize { input, output: size[i], scale: scales.map(|s| s[i]) };
        let (v, h) = (taps(&mode, axis(0, 3), c), taps(&mode, axis(1, 4), c));
        let mut out = vec![f32::NAN; size[0] * size[1]];
        resize(&v, &h, 1, &x, &mut out);
        let got: f64 = out.iter().map(|y| f64::from(*y)).sum();
        let by_position: f64 = out.iter().zip(1..).map(|(y, i)| f64::from(*y) * f64::from(i)).sum();
        let what = format!("{c:?} {size:?} {scales:?}: {out:?}");
        assert!((got - sum).abs() < 1e-3 + sum.abs() * 1e-6, "{got} {sum} {what}");
        assert!((by_position - weighted).abs() < 1e-2 + weighted.abs() * 1e-6, "{by_position} {weighted} {what}");
    }
}

#[test]
fn channels_and_batches_stay_apart() {
    let mut r = Numbers::new(71);
    let (n, h, w, c, oh, ow) = (2, 5, 6, 11, 8, 4);
    let x = r.floats(n * h * w * c);
    let size = |input, output| AxisSize { input, output, scale: None };
    let (v, z) = (AxisTaps::linear(size(h, oh), HalfPixel), AxisTaps::linear(size(w, ow), HalfPixel));
    let mut out = vec![0.0; n * oh * ow * c];
    resize(&v, &z, c, &x, &mut out);
    for channel in 0..c {
        for image in 0..n {
            let plane: Vec<f32> = (0..h * w).map(|p| x[(image * h * w + p) * c + channel]).collect();
            let mut want = vec![0.0; oh * ow];
            resize(&v, &z, 1, &plane, &mut want);
            let got: Vec<f32> = (0..oh * ow).map(|p| out[(image * oh * ow + p) * c + channel]).collect();
            assert_close(&got, &want, 1e-6, "plane");
        }
    }
}

#[test]
fn a_weightless_tap_spreads_no_infinity() {
    let size = AxisSize { input: 2, output: 2, scale: None };
    let taps = AxisTaps::linear(size, Asymmetric);
    let one = AxisTaps::linear(AxisSize { input: 1, output: 1, scale: None }, Asymmetric);
    let mut out = [0.0; 2];
    resize(&one, &taps, 1, &[1.0, f32::INFINITY], &mut out);
    assert_eq!(out, [1.0, f32::INFINITY]);
}

#[test]
fn bits_do_not_depend_on_threads() {
    let x = Numbers::new(72).floats(64 * 64 * 12);
    let taps = AxisTaps::cubic(AxisSize { input: 64, output: 101, scale: None }, HalfPixel, -0.75, false);
    assert_thread_independent("cubic", || {
        let mut out = vec![0.0; 101 * 101 * 12];
        resize(&taps, &taps, 12, &x, &mut out);
        out
    });
}

type Row = (Coordinates, Mode, [usize; 2], Option<[f32; 2]>, f64, f64);

/// Outputs of ONNX Runtime 1.32.0 for x[i] = (i + 1)^1.5, shape [3, 4].
const EXPECTED: [Row; 128] = [
    (HalfPixel, Nearest(Rounding::PreferFloor), [5, 7], None, 646.9694, 16304.946),
    (HalfPixel, Nearest(Rounding::PreferCeil), [5, 7], None, 665.2483, 16686.307),
    (HalfPixel, Nearest(Rounding::Floor), [5, 7], None, 491.4110, 12524.367),
    (HalfPixel, Nearest(Rounding::Ceil), [5, 7], None, 792.6786, 18457.467),
    (HalfPixel, Linear, [5, 7], None, 641.3669, 15626.250),
    (HalfPixel, Cubic(-0.75, false), [5, 7], None, 642.6303, 16071.076),
    (HalfPixel, Cubic(-0.5, true), [5, 7], None, 644.2703, 16052.348),
    (HalfPixel, Nearest(Rounding::PreferFloor), [2, 3], None, 112.0204, 546.186),
    (HalfPixel, Nearest(Rounding::PreferCeil), [2, 3], None, 119.2482, 575.222),
    (HalfPixel, Nearest(Rounding::Floor), [2, 3], None, 53.4221, 251.573),
    (HalfPixel, Nearest(Rounding::Ceil), [2, 3], None, 165.5195, 677.940),
    (HalfPixel, Linear, [2, 3], None, 111.7048, 511.346),
    (HalfPixel, Cubic(-0.75, false), [2, 3], None, 111.4351, 518.935),
    (HalfPixel, Cubic(-0.5, true), [2, 3], None, 112.2571, 525.217),
    (HalfPixel, Nearest(Rounding::PreferFloor), [1, 1], None, 14.6969, 14.697),
    (HalfPixel, Nearest(Rounding::PreferCeil), [1, 1], None, 18.5203, 18.520),
    (HalfPixel, Nearest(Rounding::Floor), [1, 1], None, 14.6969, 14.697),
    (HalfPixel, Nearest(Rounding::Ceil), [1, 1], None, 18.5203, 18.520),
    (HalfPixel, Linear, [1, 1], None, 16.6086, 16.609),
    (HalfPixel, Cubic(-0.75, false), [1, 1], None, 16.5532, 16.553),
    (HalfPixel, Cubic(-0.5, true), [1, 1], None, 16.5717, 16.572),
    (HalfPixel, Nearest(Rounding::PreferFloor), [4, 9], Some([1.6, 2.3]), 527.4745, 14201.343),
    (HalfPixel, Nearest(Rounding::PreferCeil), [4, 9], Some([1.6, 2.3]), 527.4745, 14201.343),
    (HalfPixel, Nearest(Rounding::Floor), [4, 9], Some([1.6, 2.3]), 334.3547, 8382.099),
    (HalfPixel, Nearest(Rounding::Ceil), [4, 9], Some([1.6, 2.3]), 859.0662, 20724.885),
    (HalfPixel, Linear, [4, 9], Some([1.6, 2.3]), 540.5772, 13624.492),
    (HalfPixel, Cubic(-0.75, false), [4, 9], Some([1.6, 2.3]), 527.7935, 13736.332),
    (HalfPixel, Cubic(-0.5, true), [4, 9], Some([1.6, 2.3]), 531.8055, 13811.911),
    (PytorchHalfPixel, Nearest(Rounding::PreferFloor), [5, 7], None, 646.9694, 16304.946),
    (PytorchHalfPixel, Nearest(Rounding::PreferCeil), [5, 7], None, 665.2483, 16686.307),
    (PytorchHalfPixel, Nearest(Rounding::Floor), [5, 7], None, 491.4110, 12524.367),
    (PytorchHalfPixel, Nearest(Rounding::Ceil), [5, 7], None, 792.6786, 18457.467),
    (PytorchHalfPixel, Linear, [5, 7], None, 641.3669, 15626.250),
    (PytorchHalfPixel, Cubic(-0.75, false), [5, 7], None, 642.6303, 16071.076),
    (PytorchHalfPixel, Cubic(-0.5, true), [5, 7], None, 644.2703, 16052.348),
    (PytorchHalfPixel, Nearest(Rounding::PreferFloor), [2, 3], None, 112.0204, 546.186),
    (PytorchHalfPixel, Nearest(Rounding::PreferCeil), [2, 3], None, 119.2482, 575.222),
    (PytorchHalfPixel, Nearest(Rounding::Floor), [2, 3], None, 53.4221, 251.573),
    (PytorchHalfPixel, Nearest(Rounding::Ceil), [2, 3], None, 165.5195, 677.940),
    (PytorchHalfPixel, Linear, [2, 3], None, 111.7048, 511.346),
    (PytorchHalfPixel, Cubic(-0.75, false), [2, 3], None, 111.4351, 518.935),
    (PytorchHalfPixel, Cubic(-0.5, true), [2, 3], None, 112.2571, 525.217),
    (PytorchHalfPixel, Nearest(Rounding::PreferFloor), [1, 1], None, 1.0000, 1.000),
    (PytorchHalfPixel, Nearest(Rounding::PreferCeil), [1, 1], None, 1.0000, 1.000),
    (PytorchHalfPixel, Nearest(Rounding::Floor), [1, 1], None, 1.0000, 1.000),
    (PytorchHalfPixel, Nearest(Rounding::Ceil), [1, 1], None, 1.0000, 1.000),
    (PytorchHalfPixel, Linear, [1, 1], None, 1.0000, 1.000),
    (PytorchHalfPixel, Cubic(-0.75, false), [1, 1], None, 1.0000, 1.000),
    (PytorchHalfPixel, Cubic(-0.5, true), [1, 1], None, 1.0000, 1.000),
    (PytorchHalfPixel, Nearest(Rounding::PreferFloor), [4, 9], Some([1.6, 2.3]), 527.4745, 14201.343),
    (PytorchHalfPixel, Nearest(Rounding::PreferCeil), [4, 9], Some([1.6, 2.3]), 527.4745, 14201.343),
    (PytorchHalfPixel, Nearest(Rounding::Floor), [4, 9], Some([1.6, 2.3]), 334.3547, 8382.099),
    (PytorchHalfPixel, Nearest(Rounding::Ceil), [4, 9], Some([1.6, 2.3]), 859.0662, 20724.885),
    (PytorchHalfPixel, Linear, [4, 9], Some([1.6, 2.3]), 540.5772, 13624.492),
    (PytorchHalfPixel, Cubic(-0.75, false), [4, 9], Some([1.6, 2.3]), 527.7935, 13736.332),
    (PytorchHalfPixel, Cubic(-0.5, true), [4, 9], Some([1.6, 2.3]), 531.8055, 13811.911),
    (Asymmetric, Nearest(Rounding::PreferFloor), [5, 7], None, 771.4878, 18016.032),
    (Asymmetric, Nearest(Rounding::PreferCeil), [5, 7], None, 771.4878, 18016.032),
    (Asymmetric, Nearest(Rounding::Floor), [5, 7], None, 506.7238, 12835.623),
    (Asymmetric, Nearest(Rounding::Ceil), [5, 7], None, 937.9093, 21108.413),
    (Asymmetric, Linear, [5, 7], None, 728.3055, 17299.483),
    (Asymmetric, Cubic(-0.75, false), [5, 7], None, 742.3535, 17882.001),
    (Asymmetric, Cubic(-0.5, true), [5, 7], None, 746.1565, 17963.562),
    (Asymmetric, Nearest(Rounding::PreferFloor), [2, 3], None, 60.3331, 284.627),
    (Asymmetric, Nearest(Rounding::PreferCeil), [2, 3], None, 112.0204, 546.186),
    (Asymmetric, Nearest(Rounding::Floor), [2, 3], None, 53.4221, 251.573),
    (Asymmetric, Nearest(Rounding::Ceil), [2, 3], None, 119.2482, 575.222),
    (Asymmetric, Linear, [2, 3], None, 85.9464, 412.224),
    (Asymmetric, Cubic(-0.75, false), [2, 3], None, 90.0374, 433.014),
    (Asymmetric, Cubic(-0.5, true), [2, 3], None, 90.2102, 433.968),
    (Asymmetric, Nearest(Rounding::PreferFloor), [1, 1], None, 1.0000, 1.000),
    (Asymmetric, Nearest(Rounding::PreferCeil), [1, 1], None, 1.0000, 1.000),
    (Asymmetric, Nearest(Rounding::Floor), [1, 1], None, 1.0000, 1.000),
    (Asymmetric, Nearest(Rounding::Ceil), [1, 1], None, 1.0000, 1.000),
    (Asymmetric, Linear, [1, 1], None, 1.0000, 1.000),
    (Asymmetric, Cubic(-0.75, false), [1, 1], None, 1.0000, 1.000),
    (Asymmetric, Cubic(-0.5, true), [1, 1], None, 1.0000, 1.000),
    (Asymmetric, Nearest(Rounding::PreferFloor), [4, 9], Some([1.6, 2.3]), 670.3228, 16472.789),
    (Asymmetric, Nearest(Rounding::PreferCeil), [4, 9], Some([1.6, 2.3]), 670.3228, 16472.789),
    (Asymmetric, Nearest(Rounding::Floor), [4, 9], Some([1.6, 2.3]), 360.5588, 8970.383),
    (Asymmetric, Nearest(Rounding::Ceil), [4, 9], Some([1.6, 2.3]), 876.1499, 21093.237),
    (Asymmetric, Linear, [4, 9], Some([1.6, 2.3]), 648.2780, 16137.575),
    (Asymmetric, Cubic(-0.75, false), [4, 9], Some([1.6, 2.3]), 647.0015, 16305.725),
    (Asymmetric, Cubic(-0.5, true), [4, 9], Some([1.6, 2.3]), 650.7472, 16377.211),
    (AlignCorners, Nearest(Rounding::PreferFloor), [5, 7], None, 506.7238, 12835.623),
    (AlignCorners, Nearest(Rounding::PreferCeil), [5, 7], None, 771.4878, 18016.032),
    (AlignCorners, Nearest(Rounding::Floor), [5, 7], None, 506.7238, 12835.623),
    (AlignCorners, Nearest(Rounding::Ceil), [5, 7], None, 771.4878, 18016.032),
    (AlignCorners, Linear, [5, 7], None, 637.2135, 15394.341),
    (AlignCorners, Cubic(-0.75, false), [5, 7], None, 633.6850, 15476.717),
    (AlignCorners, Cubic(-0.5, true), [5, 7], None, 636.0938, 15510.597),
    (AlignCorners, Nearest(Rounding::PreferFloor), [2, 3], None, 112.0204, 546.186),
    (AlignCorners, Nearest(Rounding::PreferCeil), [2, 3], None, 119.2482, 575.222),
    (AlignCorners, Nearest(Rounding::Floor), [2, 3], None, 112.0204, 546.186),
    (AlignCorners, Nearest(Rounding::Ceil), [2, 3], None, 119.2482, 575.222),
    (AlignCorners, Linear, [2, 3], None, 115.6343, 560.704),
    (AlignCorners, Cubic(-0.75, false), [2, 3], None, 115.4994, 560.304),
    (AlignCorners, Cubic(-0.5, true), [2, 3], None, 115.5444, 560.437),
    (AlignCorners, Nearest(Rounding::PreferFloor), [1, 1], None, 1.0000, 1.000),
    (AlignCorners, Nearest(Rounding::PreferCeil), [1, 1], None, 1.0000, 1.000),
    (AlignCorners, Nearest(Rounding::Floor), [1, 1], None, 1.0000, 1.000),
    (AlignCorners, Nearest(Rounding::Ceil), [1, 1], None, 1.0000, 1.000),
    (AlignCorners, Linear, [1, 1], None, 1.0000, 1.000),
    (AlignCorners, Cubic(-0.75, false), [1, 1], None, 1.0000, 1.000),
    (AlignCorners, Cubic(-0.5, true), [1, 1], None, 1.0000, 1.000),
    (AlignCorners, Nearest(Rounding::PreferFloor), [4, 9], Some([1.6, 2.3]), 639.3438, 15803.009),
    (AlignCorners, Nearest(Rounding::PreferCeil), [4, 9], Some([1.6, 2.3]), 654.2183, 16111.833),
    (AlignCorners, Nearest(Rounding::Floor), [4, 9], Some([1.6, 2.3]), 487.4582, 13304.615),
    (AlignCorners, Nearest(Rounding::Ceil), [4, 9], Some([1.6, 2.3]), 859.0662, 20724.885),
    (AlignCorners, Linear, [4, 9], Some([1.6, 2.3]), 661.1584, 16602.876),
    (AlignCorners, Cubic(-0.75, false), [4, 9], Some([1.6, 2.3]), 654.9465, 16613.741),
    (AlignCorners, Cubic(-0.5, true), [4, 9], Some([1.6, 2.3]), 657.2328, 16614.634),
    (TfHalfPixelForNn, Nearest(Rounding::PreferFloor), [5, 7], None, 792.6786, 18457.467),
    (TfHalfPixelForNn, Nearest(Rounding::PreferCeil), [5, 7], None, 917.1380, 20713.150),
    (TfHalfPixelForNn, Nearest(Rounding::Floor), [5, 7], None, 665.2483, 16686.307),
    (TfHalfPixelForNn, Nearest(Rounding::Ceil), [5, 7], None, 1051.3901, 21835.646),
    (TfHalfPixelForNn, Nearest(Rounding::PreferFloor), [2, 3], None, 165.5195, 677.940),
    (TfHalfPixelForNn, Nearest(Rounding::PreferCeil), [2, 3], None, 165.5195, 677.940),
    (TfHalfPixelForNn, Nearest(Rounding::Floor), [2, 3], None, 119.2482, 575.222),
    (TfHalfPixelForNn, Nearest(Rounding::Ceil), [2, 3], None, 165.5195, 677.940),
    (TfHalfPixelForNn, Nearest(Rounding::PreferFloor), [1, 1], None, 18.5203, 18.520),
    (TfHalfPixelForNn, Nearest(Rounding::PreferCeil), [1, 1], None, 36.4829, 36.483),
    (TfHalfPixelForNn, Nearest(Rounding::Floor), [1, 1], None, 18.5203, 18.520),
    (TfHalfPixelForNn, Nearest(Rounding::Ceil), [1, 1], None, 36.4829, 36.483),
    (TfHalfPixelForNn, Nearest(Rounding::PreferFloor), [4, 9], Some([1.6, 2.3]), 859.0662, 20724.885),
    (TfHalfPixelForNn, Nearest(Rounding::PreferCeil), [4, 9], Some([1.6, 2.3]), 859.0662, 20724.885),
    (TfHalfPixelForNn, Nearest(Rounding::Floor), [4, 9], Some([1.6, 2.3]), 527.4745, 14201.343),
    (TfHalfPixelForNn, Nearest(Rounding::Ceil), [4, 9], Some([1.6, 2.3]), 1028.8707, 22282.667),
];
