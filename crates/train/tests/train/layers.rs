//! Convolutions, fully-connected layers, matrix products and pooling.

use fewbits_graph::ops::{Conv2d, ConvTranspose2d, DepthwiseConv2d, FullyConnected, MatMul, Pool2d, PoolKind};
use fewbits_graph::{Activation, Op, Tensor};

use crate::support::{Absent, Arg, Case, Fixed, Input, Trained, check_clear_of_kinks, distinct, random};

const ACTIVATIONS: [Activation; 3] = [Activation::Relu, Activation::Relu6, Activation::ReluN1To1];

fn scaled(tensor: &Tensor, by: f32) -> Tensor {
    Tensor::new(tensor.shape().to_vec(), tensor.to_f32().iter().map(|v| v * by).collect::<Vec<_>>())
}

/// Image, output channels, kernel, stride, dilation, padding, groups.
struct Window {
    image: [usize; 4],
    out: usize,
    kernel: [usize; 2],
    stride: [usize; 2],
    dilation: [usize; 2],
    padding: [usize; 4],
    groups: usize,
}

const PLAIN: Window = Window {
    image: [2, 5, 4, 3],
    out: 4,
    kernel: [3, 3],
    stride: [1, 1],
    dilation: [1, 1],
    padding: [1, 1, 1, 1],
    groups: 1,
};

/// Few channels (gathered), multiples of 8 and 16 (read in place), every remainder of a block of
/// filters, groups of one and of many channels, and windows that leave the image on each side.
fn windows() -> Vec<Window> {
    vec![
        PLAIN,
        Window { image: [1, 6, 7, 8], out: 6, kernel: [3, 2], padding: [0, 1, 2, 0], ..PLAIN },
        Window { image: [3, 5, 5, 16], out: 7, stride: [2, 2], ..PLAIN },
        Window { image: [2, 4, 5, 24], out: 11, kernel: [1, 1], padding: [0; 4], ..PLAIN },
        Window { image: [2, 6, 6, 16], out: 5, kernel: [1, 1], stride: [2, 2], padding: [0; 4], ..PLAIN },
        Window { image: [1, 7, 6, 3], out: 3, stride: [2, 1], dilation: [1, 2], padding: [1, 2, 1, 2], ..PLAIN },
        Window { image: [1, 8, 8, 8], out: 2, dilation: [2, 2], padding: [2, 2, 2, 2], ..PLAIN },
        Window { image: [2, 5, 5, 16], out: 4, groups: 2, ..PLAIN },
        Window { image: [2, 5, 5, 6], out: 9, groups: 3, stride: [2, 2], ..PLAIN },
        Window { image: [2, 5, 5, 4], out: 8, groups: 4, ..PLAIN },
        Window { image: [1, 3, 3, 2], out: 3, kernel: [1, 1], padding: [2, 1, 0, 1], ..PLAIN },
        Window { image: [1, 1, 9, 8], out: 4, kernel: [1, 5], padding: [0, 2, 0, 2], stride: [1, 3], ..PLAIN },
        Window { image: [2, 4, 4, 1], out: 7, ..PLAIN },
        Window { image: [9, 12, 12, 16], out: 8, ..PLAIN },
    ]
}

fn conv(w: &Window, activation: Activation) -> Op {
    let Window { stride, dilation, padding, groups, .. } = *w;
    Conv2d { stride, dilation, padding, groups, activation }.into()
}

fn conv_args(w: &Window, seed: u64, scale: f32) -> Vec<Arg> {
    let weights = [w.out, w.kernel[0], w.kernel[1], w.image[3] / w.groups];
    let weights = scaled(&random(seed + 1, &weights), scale);
    vec![Input(random(seed, &w.image)), Trained(weights), Trained(random(seed + 2, &[w.out]))]
}

#[test]
fn convolutions_of_every_kind() {
    for (i, w) in windows().iter().enumerate() {
        Case::of(conv(w, Activation::None), &conv_args(w, i as u64, 1.0), 1).check();
    }
}

#[test]
fn convolutions_with_parts_frozen_or_absent() {
    let [x, w, b] = <[Arg; 3]>::try_from(conv_args(&PLAIN, 0, 1.0)).ok().unwrap();
    let tensor = |arg: &Arg| match arg {
        Input(t) | Trained(t) => t.clone(),
        _ => unreachable!("these are differentiated"),
    };
    let op = || conv(&PLAIN, Activation::None);
    Case::of(op(), &[x.clone(), w.clone()], 1).check();
    Case::of(op(), &[x.clone(), w.clone(), Absent], 1).check();
    Case::of(op(), &[x.clone(), Fixed(tensor(&w)), b.clone()], 1).check();
    Case::of(op(), &[Fixed(tensor(&x)), w.clone(), Fixed(tensor(&b))], 1).check();
    Case::of(op(), &[Fixed(tensor(&x)), Fixed(tensor(&w)), b], 1).check();
}

#[test]
fn fused_activations() {
    let small = Window { image: [1, 3, 3, 2], out: 3, ..PLAIN };
    for activation in ACTIVATIONS {
        // Large enough to be cut at 6.
        check_clear_of_kinks(|seed| (conv(&small, activation), conv_args(&small, 10 * seed, 2.5)));
        check_clear_of_kinks(|seed| {
            let op = DepthwiseConv2d { stride: [1, 1], dilation: [1, 1], padding: [1; 4], multiplier: 1, activation };
            let args = [random(9 * seed, &[1, 3, 3, 4]), scaled(&random(9 * seed + 1, &[1, 3, 3, 4]), 3.5)];
            let [x, w] = args.map(Some);
            (op.into(), vec![Input(x.unwrap()), Trained(w.unwrap())])
        });
        check_clear_of_kinks(|seed| {
            let (x, w) = (random(9 * seed, &[2, 5]), scaled(&random(9 * seed + 1, &[6, 5]), 5.0));
            (FullyConnected { activation }.into(), vec![Input(x), Trained(w), Trained(random(9 * seed + 2, &[6]))])
        });
    }
}

#[test]
fn depthwise_convolutions() {
    for (i, (image, multiplier, kernel, stride, dilation, padding)) in [
        ([2, 5, 6, 3], 1, [3, 3], [1, 1], [1, 1], [1, 1, 1, 1]),
        ([2, 5, 5, 9], 1, [3, 3], [2, 2], [1, 1], [0, 1, 1, 0]),
        ([1, 6, 5, 4], 3, [3, 2], [1, 2], [1, 1], [1, 0, 1, 1]),
        ([1, 7, 7, 8], 1, [3, 3], [1, 1], [2, 2], [2, 2, 2, 2]),
        ([9, 12, 12, 16], 1, [5, 5], [1, 1], [1, 1], [2, 2, 2, 2]),
        ([1, 8, 1, 8], 2, [4, 1], [3, 1], [1, 1], [1, 0, 2, 0]),
    ]
    .into_iter()
    .enumerate()
    {
        let op = DepthwiseConv2d { stride, dilation, padding, multiplier, activation: Activation::None };
        let (seed, channels) = (i as u64, image[3] * multiplier);
        let weights = random(seed + 1, &[1, kernel[0], kernel[1], channels]);
        let args = [Input(random(seed, &image)), Trained(weights), Trained(random(seed + 2, &[channels]))];
        Case::of(op, &args, 1).check();
    }
}

#[test]
fn transposed_convolutions() {
    for (i, (image, out, kernel, stride, dilation, padding, output_padding, groups)) in [
        ([2, 3, 4, 3], 4, [3, 3], [1, 1], [1, 1], [1, 1, 1, 1], [0, 0], 1),
        ([1, 3, 3, 8], 5, [3, 3], [2, 2], [1, 1], [1, 1, 1, 1], [1, 1], 1),
        ([2, 3, 2, 4], 6, [2, 2], [2, 2], [1, 1], [0, 0, 0, 0], [0, 0], 2),
        ([1, 4, 3, 2], 3, [3, 2], [1, 2], [2, 1], [2, 0, 1, 1], [0, 1], 1),
    ]
    .into_iter()
    .enumerate()
    {
        let activation = Activation::None;
        let op = ConvTranspose2d { stride, dilation, padding, output_padding, groups, activation };
        let seed = i as u64;
        let weights = random(seed + 1, &[out, kernel[0], kernel[1], image[3] / groups]);
        let args = [Input(random(seed, &image)), Trained(weights), Trained(random(seed + 2, &[out]))];
        Case::of(op, &args, 1).check();
    }
    for activation in ACTIVATIONS {
        check_clear_of_kinks(|seed| {
            let (stride, dilation, padding) = ([2, 2], [1, 1], [0; 4]);
            let op = ConvTranspose2d { stride, dilation, padding, output_padding: [0, 0], groups: 1, activation };
            let weights = scaled(&random(9 * seed + 1, &[2, 2, 2, 3]), 5.0);
            (op.into(), vec![Input(random(9 * seed, &[1, 2, 2, 3])), Trained(weights)])
        });
    }
}

#[test]
fn fully_connected_layers() {
    for (i, (rows, inputs, outputs)) in
        [(vec![2], 5, 3), (vec![7], 16, 10), (vec![2, 3], 8, 4), (vec![1], 3, 1)].into_iter().enumerate()
    {
        let seed = i as u64;
        let shape: Vec<usize> = rows.into_iter().chain([inputs]).collect();
        let (x, w) = (Input(random(seed, &shape)), Trained(random(seed + 1, &[outputs, inputs])));
        let op = FullyConnected { activation: Activation::None };
        Case::of(op.clone(), &[x.clone(), w.clone(), Trained(random(seed + 2, &[outputs]))], 1).check();
        Case::of(op, &[x, w], 1).check();
    }
}

#[test]
fn matrix_products_with_every_transposition_and_broadcast() {
    let batches: [(&[usize], &[usize]); 6] =
        [(&[], &[]), (&[3], &[3]), (&[2, 3], &[]), (&[], &[2]), (&[2, 1], &[3]), (&[4], &[1])];
    for (transpose_a, transpose_b) in [(false, false), (true, false), (false, true), (true, true)] {
        for (i, (batch_a, batch_b)) in batches.iter().enumerate() {
            let (m, n, k) = (3, 4, 5);
            let matrix = |batch: &[usize], rows: usize, columns: usize, transposed: bool| {
                let dims = if transposed { [columns, rows] } else { [rows, columns] };
                [batch, &dims].concat()
            };
            let a = random(i as u64, &matrix(batch_a, m, k, transpose_a));
            let b = random(i as u64 + 7, &matrix(batch_b, k, n, transpose_b));
            Case::of(MatMul { transpose_a, transpose_b }, &[Input(a), Trained(b)], 1).check();
        }
    }
    let plain = MatMul { transpose_a: false, transpose_b: false };
    Case::of(plain.clone(), &[Input(random(1, &[5])), Trained(random(2, &[2, 5, 3]))], 1).check();
    Case::of(plain.clone(), &[Input(random(1, &[2, 3, 5])), Trained(random(2, &[5]))], 1).check();
    Case::of(plain, &[Fixed(random(1, &[2, 3, 5])), Trained(random(2, &[2, 5, 2]))], 1).check();
}

#[test]
fn pooling() {
    for kind in
        [PoolKind::Max, PoolKind::Average { count_include_pad: false }, PoolKind::Average { count_include_pad: true }]
    {
        for (image, kernel, stride, dilation, padding) in [
            ([2, 4, 6, 3], [2, 2], [2, 2], [1, 1], [0; 4]),
            ([1, 5, 5, 2], [3, 3], [1, 2], [1, 1], [1, 1, 1, 1]),
            ([2, 6, 5, 4], [2, 3], [2, 1], [2, 1], [0, 1, 1, 1]),
            ([3, 4, 4, 5], [4, 4], [1, 1], [1, 1], [0; 4]),
        ] {
            let op = Pool2d {
                kind,
                kernel,
                stride,
                dilation,
                padding,
                counted_padding: [padding[2], padding[3]],
                activation: Activation::None,
            };
            Case::of(op, &[Input(distinct(3, &image))], 1).check();
        }
        for activation in ACTIVATIONS {
            check_clear_of_kinks(|seed| {
                let (padding, counted_padding) = ([0; 4], [0; 2]);
                let (kernel, stride, dilation) = ([2, 2], [2, 2], [1, 1]);
                let op = Pool2d { kind, kernel, stride, dilation, padding, counted_padding, activation };
                (op.into(), vec![Input(distinct(seed, &[1, 6, 6, 2]))])
            });
        }
    }
}
