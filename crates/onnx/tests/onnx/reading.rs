//! What graphs come out of small models.

use crate::common::{Builder, int, ints, network};
use fewbits_graph::ops::{NearestRounding, ResizeMode, Unary, UnaryKind};
use fewbits_graph::{DType, Op, Shape};
use fewbits_onnx::Error;
use fewbits_onnx::proto::AttributeProto;

fn operators(graph: &fewbits_graph::Graph) -> Vec<&'static str> {
    graph.nodes.iter().map(|n| n.op.name()).collect()
}

#[test]
fn a_network_is_stored_channels_last_with_one_transpose() {
    let graph = network().read().unwrap();
    let expected =
        ["Transpose", "Conv2d", "Unary", "DepthwiseConv2d", "Binary", "Binary", "Reduce", "Flatten", "FullyConnected"];
    assert_eq!(operators(&graph), expected);
    let value = |name: &str| graph.value(graph.find_value(name).unwrap());
    assert_eq!(value("x").shape.0[1].fixed(), Some(3));
    assert_eq!(value("w").shape, Shape::fixed(&[4, 3, 3, 3]));
    assert_eq!(value("dw").shape, Shape::fixed(&[1, 3, 3, 4]));
    assert_eq!(value("scale").shape, Shape::fixed(&[1, 1, 4]));
    assert_eq!(value("r").shape.0[3].fixed(), Some(4));
    assert_eq!(graph.nodes[1].name, "conv");
    assert_eq!(graph.value(graph.outputs[0]).name, "y");
}

#[test]
fn weights_are_relaid_element_by_element() {
    let graph = network().read().unwrap();
    let w = graph.value(graph.find_value("w").unwrap()).data.as_ref().unwrap().to_f32();
    let source = |o: usize, i: usize, y: usize, x: usize| (((o * 3 + i) * 3 + y) * 3 + x) as f32 * 0.37;
    for (o, y, x, i) in [(0, 0, 0, 0), (1, 2, 0, 1), (3, 1, 2, 2)] {
        assert_eq!(w[((o * 3 + y) * 3 + x) * 3 + i], source(o, i, y, x).sin());
    }
}

#[test]
fn a_channels_last_output_is_public_in_its_own_layout() {
    let graph = Builder::new(13)
        .input("x", 1, &[1, 2, 4, 4])
        .node("MaxPool", &["x"], &["y"], vec![ints("kernel_shape", &[2, 2]), ints("strides", &[2, 2])])
        .output("y")
        .read()
        .unwrap();
    assert_eq!(operators(&graph), ["Transpose", "Pool2d", "Transpose"]);
    assert_eq!(graph.value(graph.outputs[0]).name, "y");
    assert_eq!(graph.value(graph.outputs[0]).shape, Shape::fixed(&[1, 2, 2, 2]));
    assert_eq!(graph.nodes[1].name, "MaxPool_0");
}

#[test]
fn padding_that_is_computed_from_constants_is_known() {
    // The way PyTorch exports F.pad: a reversed, transposed matrix of amounts.
    let graph = Builder::new(17)
        .input("x", 1, &[1, 2, 4, 4])
        .ints("amounts", &[1, 2, 3, 4, 0, 0, 0, 0])
        .ints("pairs", &[-1, 2])
        .ints("flat", &[-1])
        .ints("from", &[-1])
        .ints("to", &[i64::MIN + 1])
        .ints("axis", &[0])
        .ints("step", &[-1])
        .node("Reshape", &["amounts", "pairs"], &["m"], vec![])
        .node("Slice", &["m", "from", "to", "axis", "step"], &["reversed"], vec![])
        .node("Transpose", &["reversed"], &["t"], vec![ints("perm", &[1, 0])])
        .node("Reshape", &["t", "flat"], &["pads"], vec![])
        .node("Pad", &["x", "pads"], &["y"], vec![])
        .output("y")
        .read()
        .unwrap();
    // Before and after of (W: 1, 2) and (H: 3, 4).
    assert_eq!(graph.value(graph.outputs[0]).shape, Shape::fixed(&[1, 2, 4 + 7, 4 + 3]));
    assert_eq!(operators(&graph), ["Pad"]);
}

#[test]
fn same_padding_becomes_numbers() {
    let auto = fewbits_onnx::proto::AttributeProto {
        name: "auto_pad".into(),
        s: Some("SAME_UPPER".into()),
        r#type: 3,
        ..Default::default()
    };
    let graph = Builder::new(11)
        .input("x", 1, &[1, 1, 5, 6])
        .floats("w", &[1, 1, 3, 3], &[1.0; 9])
        .node("Conv", &["x", "w"], &["y"], vec![ints("strides", &[2, 2]), auto])
        .output("y")
        .read()
        .unwrap();
    let Op::Conv2d(conv) = &graph.nodes[1].op else { panic!("{:?}", graph.nodes[1].op) };
    assert_eq!(conv.padding, [1, 0, 1, 1]);
}

#[test]
fn all_unsupported_operators_are_named_at_once() {
    let error = Builder::new(17)
        .input("x", 1, &[1, 4])
        .named_node("first", "Det", &["x"], &["a"], vec![])
        .named_node("second", "Det", &["a"], &["b"], vec![])
        .named_node("third", "STFT", &["b"], &["y"], vec![])
        .node("Relu", &["y"], &["z"], vec![])
        .output("z")
        .read()
        .unwrap_err();
    let Error::Unsupported { operators } = &error else { panic!("{error}") };
    assert_eq!(operators.len(), 2);
    assert_eq!(operators[0].nodes, ["first", "second"]);
    assert!(error.to_string().contains("STFT (opset 17): third"), "{error}");
}

#[test]
fn quantized_edges_carry_their_parameters_and_weights_stay_integers() {
    let graph = Builder::new(13)
        .input("x", 1, &[1, 2, 4, 4])
        .floats("s", &[], &[0.5])
        .raw("z", 3, &[], vec![3])
        .floats("ws", &[3], &[0.1, 0.2, 0.3])
        .raw("wz", 3, &[3], vec![0, 0, 0])
        .raw("w", 3, &[3, 2, 1, 1], vec![1, 2, 3, 4, 5, 6])
        .node("QuantizeLinear", &["x", "s", "z"], &["xq"], vec![])
        .node("DequantizeLinear", &["xq", "s", "z"], &["xd"], vec![])
        .node("DequantizeLinear", &["w", "ws", "wz"], &["wd"], vec![int("axis", 0)])
        .node("Conv", &["xd", "wd"], &["y"], vec![])
        .output("y")
        .read()
        .unwrap();
    assert_eq!(
        operators(&graph),
        ["Transpose", "Quantize", "Dequantize", "Dequantize", "Conv2d", "Transpose"],
        "layout changes before quantization, once"
    );
    let value = |name: &str| graph.value(graph.find_value(name).unwrap());
    assert_eq!(value("xq").dtype, DType::I8);
    assert_eq!(value("xq").quant.as_ref().unwrap().as_per_tensor(), Some((0.5, 3)));
    assert_eq!(value("w").dtype, DType::I8);
    assert_eq!(value("w").shape, Shape::fixed(&[3, 1, 1, 2]));
    assert_eq!(value("w").quant.as_ref().unwrap().scales, [0.1, 0.2, 0.3]);
}

#[test]
fn half_precision_weights_behind_a_cast_stay_half() {
    let graph = Builder::new(13)
        .input("x", 1, &[1, 2])
        .raw("w", 10, &[2, 2], vec![0, 0x3c, 0, 0x40, 0, 0x42, 0, 0x44])
        .node("Cast", &["w"], &["wf"], vec![int("to", 1)])
        .node("MatMul", &["x", "wf"], &["y"], vec![])
        .output("y")
        .read()
        .unwrap();
    assert_eq!(operators(&graph), ["FullyConnected"]);
    let w = graph.value(graph.nodes[0].inputs[1].unwrap());
    assert_eq!((w.dtype, w.data.as_ref().unwrap().to_f32()), (DType::F16, vec![1.0, 3.0, 2.0, 4.0]));
}

#[test]
fn dynamic_quantization_collapses_to_one_operator() {
    let graph = Builder::new(13)
        .input("x", 1, &[-1, 2])
        .raw("w", 2, &[2, 3], vec![128, 129, 130, 127, 126, 125])
        .raw("wz", 2, &[], vec![128])
        .floats("ws", &[], &[0.25])
        .floats("bias", &[3], &[1.0, 2.0, 3.0])
        .node("DynamicQuantizeLinear", &["x"], &["xq", "xs", "xz"], vec![])
        .named_node("fc_quant", "MatMulInteger", &["xq", "w", "xz", "wz"], &["i"], vec![])
        .node("Cast", &["i"], &["f"], vec![int("to", 1)])
        .node("Mul", &["xs", "ws"], &["scale"], vec![])
        .node("Mul", &["f", "scale"], &["m"], vec![])
        .node("Add", &["bias", "m"], &["y"], vec![])
        .output("y")
        .read()
        .unwrap();
    assert_eq!(operators(&graph), ["FullyConnected"]);
    assert_eq!(graph.nodes[0].name, "fc");
    let w = graph.value(graph.nodes[0].inputs[1].unwrap());
    assert_eq!((w.name.as_str(), w.dtype, &w.shape), ("w", DType::I8, &Shape::fixed(&[3, 2])));
    assert_eq!(w.data.as_ref().unwrap().to_i64().unwrap(), [0, -1, 1, -2, 2, -3]);
    assert_eq!(w.quant.as_ref().unwrap().as_per_tensor(), Some((0.25, 0)));
    assert!(graph.nodes[0].inputs[2].is_some(), "the bias belongs to the layer");
}

#[test]
fn a_reduction_of_no_axes_still_takes_each_element_its_way() {
    let read = |operator: &str| {
        let model = Builder::new(18).input("x", 1, &[2, 3]);
        let model = model.node(operator, &["x"], &["y"], vec![int("noop_with_empty_axes", 1)]);
        model.output("y").read().unwrap().nodes[0].op.clone()
    };
    for (operator, kind) in [
        ("ReduceL1", UnaryKind::Abs),
        ("ReduceL2", UnaryKind::Abs),
        ("ReduceLogSum", UnaryKind::Log),
        ("ReduceSumSquare", UnaryKind::Square),
    ] {
        assert_eq!(read(operator), Op::Unary(Unary { kind }), "{operator}");
    }
    for operator in ["ReduceSum", "ReduceMax", "ReduceLogSumExp"] {
        assert_eq!(read(operator).name(), "Identity", "{operator}");
    }
}

/// The resize of a `[1, 3, 5, 7]` image.
fn resized(model: Builder) -> fewbits_onnx::Result<(Op, Shape)> {
    let graph = model.output("y").read()?;
    let node = graph.nodes.iter().find(|n| n.op.name() == "Resize").unwrap();
    Ok((node.op.clone(), graph.value(node.outputs[0]).shape.clone()))
}

#[test]
fn the_oldest_nearest_resize_rounds_up_where_it_shrinks() {
    let read = |scales: [f32; 4]| {
        let model = Builder::new(10).input("x", 1, &[1, 3, 5, 7]).floats("s", &[4], &scales);
        resized(model.node("Resize", &["x", "s"], &["y"], vec![])).map(|(op, _)| match op {
            Op::Resize(resize) => resize.mode,
            other => panic!("{other:?}"),
        })
    };
    assert_eq!(read([1.0, 1.0, 0.6, 0.6]).unwrap(), ResizeMode::Nearest(NearestRounding::Ceil));
    assert_eq!(read([1.0, 1.0, 0.6, 1.0]).unwrap(), ResizeMode::Nearest(NearestRounding::Ceil));
    assert_eq!(read([1.0, 1.0, 2.0, 3.0]).unwrap(), ResizeMode::Nearest(NearestRounding::Floor));
    assert!(read([1.0, 1.0, 0.6, 2.0]).unwrap_err().to_string().contains("shrinks"));
}

#[test]
fn sizes_that_keep_the_aspect_ratio_are_exact() {
    let read = |policy: &str, sizes: [i64; 2]| {
        let text = AttributeProto {
            name: "keep_aspect_ratio_policy".into(),
            s: Some(policy.as_bytes().to_vec().into()),
            r#type: 3,
            ..AttributeProto::default()
        };
        let model = Builder::new(18).input("x", 1, &[1, 3, 5, 7]).ints("n", &sizes);
        let attributes = vec![ints("axes", &[2, 3]), text];
        resized(model.node("Resize", &["x", "", "", "n"], &["y"], attributes)).map(|(_, shape)| shape)
    };
    // 10 / 5 and 14 / 7 are both 2.
    assert_eq!(read("not_larger", [10, 20]).unwrap(), Shape::fixed(&[1, 10, 14, 3]));
    assert_eq!(read("not_smaller", [5, 14]).unwrap(), Shape::fixed(&[1, 10, 14, 3]));
    // 9 / 7 is the smaller ratio, and 5 × 9 / 7 no whole number.
    assert!(read("not_larger", [9, 9]).unwrap_err().to_string().contains("rounds a size"));
    assert!(read("not_larger", [0, 9]).is_err());
    assert!(read("other", [9, 9]).is_err());
}

/// A `MatMulNBits` with 2 outputs of 20 inputs, in blocks of 16, and one attribute or input changed.
fn n_bits(bits: i64, weights: Vec<u8>, zero_points: Option<Vec<u8>>, change: (&str, i64)) -> Builder {
    let attribute = |name: &str, value: i64| int(name, if change.0 == name { change.1 } else { value });
    let attributes = vec![attribute("N", 2), attribute("K", 20), attribute("bits", bits), attribute("block_size", 16)];
    let blob = i64::try_from(weights.len() / 4).unwrap();
    let mut model = Builder::new(21).input("x", 1, &[-1, 20]).raw("w", 2, &[2, 2, blob], weights);
    model = model.floats("s", &[4], &[1.0, 2.0, 3.0, 4.0]);
    let mut inputs = vec!["x", "w", "s"];
    if let Some(points) = zero_points {
        let count = i64::try_from(points.len()).unwrap();
        model = model.raw("z", 2, &[count], points);
        inputs.push("z");
    }
    let mut model = model.named_node("product", "MatMulNBits", &inputs, &["y"], attributes).output("y");
    model.graph().node[0].domain = "com.microsoft".to_owned();
    model
}

#[test]
fn products_with_blocks_of_few_bits_are_layers_on_dequantized_weights() {
    // Low nibble first; what stands beyond the 20th input is filling.
    let four: Vec<u8> = (0..32u8).map(|i| i.wrapping_mul(37)).collect();
    let nibble = |row: usize, i: usize| i64::from(four[row * 16 + i / 2] >> (4 * (i % 2)) & 15) - 8;
    for (zero_points, expected) in [(None, [0, 0, 0, 0]), (Some(vec![0x7f, 0x09]), [7, -1, 1, -8])] {
        let graph = n_bits(4, four.clone(), zero_points, ("", 0)).read().unwrap();
        assert_eq!(operators(&graph), ["Dequantize", "FullyConnected"]);
        let w = graph.value(graph.nodes[0].inputs[0].unwrap());
        assert_eq!((w.dtype, &w.shape), (DType::I4, &Shape::fixed(&[2, 20])));
        let values = w.data.as_ref().unwrap().to_i64().unwrap();
        assert_eq!(values, (0..40).map(|i| nibble(i / 20, i % 20)).collect::<Vec<i64>>());
        let quant = w.quant.as_ref().unwrap();
        assert_eq!(quant.granularity, fewbits_graph::Granularity::Blocked { axis: 1, size: 16 });
        assert_eq!((quant.scales.as_slice(), quant.zero_points.as_slice()), (&[1.0, 2.0, 3.0, 4.0][..], &expected[..]));
    }
    let eight = n_bits(8, (0..64).collect(), None, ("", 0)).read().unwrap();
    let w = eight.value(eight.nodes[0].inputs[0].unwrap());
    assert_eq!((w.dtype, w.data.as_ref().unwrap().to_i64().unwrap()[39]), (DType::I8, 32 + 19 - 128));
}

#[test]
fn blocks_that_do_not_fit_are_refused_in_words() {
    let bytes = |n: usize| vec![0x88u8; n];
    let fails = |weights: Vec<u8>, points: Option<Vec<u8>>, change| {
        n_bits(4, weights, points, change).read().unwrap_err().to_string()
    };
    for (change, what) in [
        (("bits", 3), "3 bits"),
        (("bits", -4), "bits must be positive"),
        (("block_size", 20), "power of two"),
        (("block_size", 8), "power of two"),
        (("block_size", 1 << 62), "bytes of weights"),
        (("N", 0), "N must be positive"),
        (("N", i64::MAX), "bytes of weights"),
        (("N", 3), "bytes of weights"),
        (("K", i64::MAX), "bytes of weights"),
        (("K", 40), "bytes of weights"),
        (("K", -1), "K must be positive"),
    ] {
        let message = fails(bytes(32), None, change);
        assert!(message.contains(what) && message.contains("product"), "{change:?}: {message}");
    }
    assert!(fails(bytes(28), None, ("", 0)).contains("28 bytes of weights"));
    assert!(fails(bytes(32), Some(bytes(3)), ("", 0)).contains("3 bytes of zero points"));
}

#[test]
fn four_bit_tensors_with_other_bytes_are_refused() {
    for (bytes, dims, block) in [(3, [4, 2], 2), (5, [4, 2], 2), (0, [4, 2], 2), (4, [4, 2], -1), (4, [4, 2], 3)] {
        let result = Builder::new(21)
            .input("x", 1, &[1, 4])
            .raw("w", 22, &dims, vec![0x11; bytes])
            .floats("s", &[2, 2], &[1.0; 4])
            .node("DequantizeLinear", &["w", "s"], &["r"], vec![int("axis", 0), int("block_size", block)])
            .node("MatMul", &["x", "r"], &["y"], vec![])
            .output("y")
            .read();
        // Blocks of 3 of 4 rows are two, as there are scales for.
        assert_eq!(result.is_ok(), block == 3, "{bytes} bytes, blocks of {block}");
    }
}
