//! Integer weights behind float activations, and four bits in half a byte.

use fewbits_engine::{Engine, Options};
use fewbits_graph::ops::*;
use fewbits_graph::{Activation, DType, Dim, Granularity, Graph, Shape, Tensor};
use fewbits_quantize::*;

use crate::common::noise;

/// Weights whose magnitude changes every 16 inputs.
fn uneven(n: usize, k: usize) -> Vec<f32> {
    noise(n as u64, n * k).into_iter().enumerate().map(|(i, w)| w * (1 + i % k / 16 * 2) as f32).collect()
}

/// Two layers on rows of 80 features, and a convolution beside them.
fn network() -> Graph {
    let mut g = Graph::default();
    let x = g.add_input("x", DType::F32, Shape(vec![Dim::symbol("N"), 80.into()]));
    let dense = |g: &mut Graph, x, name: &str, n: usize, k: usize| {
        let w = g.add_constant(format!("{name}.weight"), Tensor::new(vec![n, k], uneven(n, k)));
        let b = g.add_constant(format!("{name}.bias"), Tensor::new(vec![n], noise(3, n)));
        let op = FullyConnected { activation: Activation::Relu };
        g.add_node(name, op, &[Some(x), Some(w), Some(b)], format!("{name}_out"))
    };
    let a = dense(&mut g, x, "first", 64, 80);
    let b = dense(&mut g, a, "second", 64, 64);
    let image = g.add_input("image", DType::F32, Shape::fixed(&[1, 6, 6, 8]));
    let w = g.add_constant("conv.weight", Tensor::new(vec![16, 3, 3, 8], noise(11, 16 * 72)));
    let op = Conv2d { stride: [1, 1], dilation: [1, 1], padding: [1; 4], groups: 1, activation: Activation::None };
    let c = g.add_node("conv", op, &[Some(image), Some(w)], "conv_out");
    g.outputs = vec![b, c];
    g
}

fn recipe(bits: u8, block: Option<usize>) -> Recipe {
    let block = block.map(|size| BlockSize::try_from(size).unwrap());
    Recipe { weights: WeightBits::try_from(bits).unwrap(), block, ..Recipe::new(Mode::WeightOnly) }
}

fn quantized(recipe: &Recipe, format: Format) -> Graph {
    quantize_weight_only(&network(), None, recipe, format).unwrap()
}

/// Squared errors of the outputs, in the order of the graph.
fn errors(graph: &Graph) -> Vec<f64> {
    let inputs = [Tensor::new(vec![5, 80], noise(21, 400)), Tensor::new(vec![1, 6, 6, 8], noise(22, 288))];
    let run = |g: &Graph| Engine::compile(g, &Options::default()).unwrap().run(&inputs).unwrap();
    let pairs = run(&network()).into_iter().zip(run(graph));
    let square = |(a, b): (&f32, &f32)| f64::from(a - b).powi(2);
    pairs.map(|(a, b)| a.to_f32().iter().zip(&b.to_f32()).map(square).sum()).collect()
}

fn stored<'g>(graph: &'g Graph, name: &str) -> &'g fewbits_graph::Value {
    graph.value(graph.find_value(name).unwrap())
}

#[test]
fn weights_stand_behind_a_conversion() {
    let graph = quantized(&recipe(4, Some(16)), Format::Onnx);
    let names: Vec<&str> = graph.nodes.iter().map(|n| n.op.name()).collect();
    assert_eq!(names, ["Dequantize", "FullyConnected", "Dequantize", "FullyConnected", "Dequantize", "Conv2d"]);
    let blocks = |name| stored(&graph, name).quant.as_ref().unwrap().granularity;
    assert_eq!(blocks("first.weight_int4"), Granularity::Blocked { axis: 1, size: 16 });
    assert_eq!(blocks("conv.weight_int4"), Granularity::PerChannel { axis: 0 });
    let all = [stored(&graph, "first.weight_int4"), stored(&graph, "conv.weight_int4")];
    assert!(all.iter().all(|v| v.data.as_ref().unwrap().to_i64().unwrap().iter().all(|q| (-8..=7).contains(q))));
}

#[test]
fn more_bits_and_smaller_blocks_are_closer() {
    let total = |bits, block| -> f64 { errors(&quantized(&recipe(bits, block), Format::Onnx)).iter().sum() };
    let by_bits: Vec<f64> = [2, 3, 4, 6, 8].map(|bits| total(bits, None)).to_vec();
    assert!(by_bits.windows(2).all(|pair| pair[1] < pair[0]), "{by_bits:?}");
    let dense = |block| errors(&quantized(&recipe(4, block), Format::Onnx))[0];
    assert!(dense(Some(16)) < dense(Some(32)) && dense(Some(32)) < dense(None));
}

#[test]
fn ragged_blocks_are_short_in_onnx_and_channels_in_tflite() {
    let size = BlockSize::try_from(32).unwrap();
    let onnx = quantized(&recipe(4, Some(32)), Format::Onnx);
    // 80 inputs are two blocks and a half.
    assert_eq!(stored(&onnx, "first.weight_int4").quant.as_ref().unwrap().scales.len(), 64 * 3);
    assert!(layers_without_blocks(&onnx, size).is_empty());
    let tflite = quantized(&recipe(4, Some(32)), Format::Tflite);
    assert_eq!(stored(&tflite, "first.weight_int4").quant.as_ref().unwrap().scales.len(), 64);
    assert_eq!(layers_without_blocks(&tflite, size), ["first"]);
}

#[test]
fn a_block_that_holds_a_channel_is_one() {
    let graph = quantized(&recipe(4, Some(64)), Format::Onnx);
    let granularity = |name| stored(&graph, name).quant.as_ref().unwrap().granularity;
    assert_eq!(granularity("second.weight_int4"), Granularity::PerChannel { axis: 0 });
    assert!(layers_without_blocks(&graph, BlockSize::try_from(64).unwrap()).is_empty());
}

#[test]
fn clipping_is_never_worse_than_the_largest_weight() {
    let with =
        |weight_scales| Recipe { weight_scales, weight_rounding: WeightRounding::Nearest, ..recipe(4, Some(16)) };
    let error = |weight_scales| {
        let graph = quantized(&with(weight_scales), Format::Onnx);
        let value = stored(&graph, "second.weight_int4");
        let (data, quant) = (value.data.as_ref().unwrap(), value.quant.as_ref().unwrap());
        let parameter = quant.parameter_of(data.shape());
        let real = uneven(64, 64);
        let one = |(i, q): (usize, &f32)| f64::from(q * quant.scales[parameter(i)] - real[i]).powi(2);
        data.to_f32().iter().enumerate().map(one).sum::<f64>()
    };
    assert!(error(WeightScales::Mse) < error(WeightScales::Max));
}

#[test]
fn excluded_layers_stay_float() {
    let recipe = Recipe { exclude: vec!["second".to_owned()], ..recipe(4, None) };
    let graph = quantize_weight_only(&network(), None, &recipe, Format::Onnx).unwrap();
    assert_eq!(stored(&graph, "second.weight").dtype, DType::F32);
}

#[test]
fn packing_halves_the_bytes_and_changes_nothing() {
    for format in [Format::Onnx, Format::Tflite] {
        let mut graph = quantized(&recipe(4, Some(16)), format);
        let (before, bytes) =
            (errors(&graph), stored(&graph, "first.weight_int4").data.as_ref().unwrap().bytes().len());
        assert!(pack_weights(&mut graph, format).is_empty());
        let value = stored(&graph, "first.weight_int4");
        assert_eq!((value.dtype, value.data.as_ref().unwrap().bytes().len()), (DType::I4, bytes / 2));
        assert_eq!(errors(&graph), before);
    }
}

#[test]
fn what_a_runtime_reads_as_bytes_stays_bytes() {
    let recipe = Recipe { weights: WeightBits::try_from(4).unwrap(), ..Recipe::new(Mode::Dynamic) };
    let mut onnx = quantize_dynamic(&network(), None, &recipe).unwrap();
    let mut tflite = onnx.clone();
    assert_eq!(pack_weights(&mut onnx, Format::Onnx), ["first", "second", "conv"]);
    assert!(onnx.values.iter().all(|v| v.dtype != DType::I4));
    assert!(pack_weights(&mut tflite, Format::Tflite).is_empty());
    assert_eq!(tflite.values.iter().filter(|v| v.dtype == DType::I4).count(), 3);
}

#[test]
fn blocks_are_powers_of_two_from_16() {
    for size in [16, 32, 128, 1 << 20] {
        assert_eq!(BlockSize::try_from(size).map(usize::from), Ok(size));
    }
    for size in [0, 1, 8, 24, 100, usize::MAX] {
        assert!(BlockSize::try_from(size).unwrap_err().contains("power of two"), "{size}");
    }
}

#[test]
fn recipes_have_blocks_in_their_files() {
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("weight_only.toml");
    let whole = recipe(4, Some(32));
    std::fs::write(&path, whole.to_toml()).unwrap();
    assert_eq!(Recipe::read(&path).unwrap(), whole);
    std::fs::write(&path, "mode = 'weight-only'\nblock = 20\n").unwrap();
    assert!(Recipe::read(&path).unwrap_err().to_string().contains("power of two"));
}
