use crate::Numbers;
use fewbits_kernels::float::movement::*;

/// Row-major coordinates of `index`.
fn coordinates(mut index: usize, dims: &[usize]) -> Vec<usize> {
    let mut at = vec![0; dims.len()];
    for (c, d) in at.iter_mut().zip(dims).rev() {
        *c = index % d;
        index /= d;
    }
    at
}

fn offset(at: &[usize], dims: &[usize]) -> usize {
    at.iter().zip(dims).fold(0, |o, (c, d)| o * d + c)
}

fn count(dims: &[usize]) -> Vec<i64> {
    (0..dims.iter().product::<usize>() as i64).collect()
}

/// What a view copies from a tensor of distinct numbers.
fn copied(view: &View, x: &[i64]) -> Vec<i64> {
    let mut out = vec![-1; view.dims().iter().product()];
    view.copy(x, &mut out);
    out
}

#[test]
fn every_permutation_is_the_definition() {
    let mut r = Numbers::new(81);
    for round in 0..300 {
        let rank = r.between(0, 5);
        let dims: Vec<usize> = (0..rank).map(|_| r.between(1, if round % 10 == 0 { 19 } else { 5 })).collect();
        let mut perm: Vec<usize> = (0..rank).collect();
        for i in (1..rank).rev() {
            perm.swap(i, r.between(0, i));
        }
        let x = count(&dims);
        let view = View::dense(&dims).permute(&perm);
        let out = copied(&view, &x);
        for (i, got) in out.iter().enumerate() {
            let mut from = vec![0; rank];
            for (c, p) in coordinates(i, view.dims()).into_iter().zip(&perm) {
                from[*p] = c;
            }
            assert_eq!(*got, x[offset(&from, &dims)], "{dims:?} {perm:?}");
        }
    }
}

#[test]
fn layouts_of_images_transpose() {
    let dims = [2, 37, 41, 35];
    let x = count(&dims);
    let nchw = copied(&View::dense(&dims).permute(&[0, 3, 1, 2]), &x);
    let back = copied(&View::dense(&[2, 35, 37, 41]).permute(&[0, 2, 3, 1]), &nchw);
    assert_eq!(back, x);
    assert_eq!(nchw[37 * 41 + 1], 35 + 1);
}

#[test]
fn slices_step_both_ways() {
    let x = count(&[5, 7]);
    let view = View::dense(&[5, 7]).slice(0, 4, -2, 3).slice(1, 1, 3, 2);
    assert_eq!(copied(&view, &x), [29, 32, 15, 18, 1, 4]);
    let reversed = View::dense(&[5, 7]).slice(0, 4, -1, 5).slice(1, 6, -1, 7);
    assert!(copied(&reversed, &x).into_iter().eq((0..35).rev()));
    assert!(copied(&View::dense(&[5, 7]).slice(1, 0, 1, 0), &x).is_empty());
    let transposed = View::dense(&[5, 7]).slice(1, 6, -2, 3).permute(&[1, 0]);
    assert_eq!(copied(&transposed, &x)[..6], [6, 13, 20, 27, 34, 4]);
}

#[test]
fn expansion_and_tiling_repeat() {
    let x = [1, 2, 3];
    let view = View::dense(&[3, 1]).expand(&[2, 3, 2]).expect("broadcasts");
    assert_eq!(copied(&view, &x), [1, 1, 2, 2, 3, 3, 1, 1, 2, 2, 3, 3]);
    assert!(View::dense(&[3]).expand(&[2]).is_none());
    assert_eq!(copied(&View::dense(&[1, 3]).tile(&[2, 2]), &x), [1, 2, 3, 1, 2, 3, 1, 2, 3, 1, 2, 3]);
    let dims = [2, 3];
    let tiled = copied(&View::dense(&dims).tile(&[3, 2]), &count(&dims));
    for (i, got) in tiled.iter().enumerate() {
        assert_eq!(*got as usize, i / 6 % 2 * 3 + i % 3);
    }
}

#[test]
fn space_and_depth_are_inverse_and_in_the_documented_order() {
    let dims = [2, 4, 6, 3];
    let x = count(&dims);
    let deep = copied(&View::space_to_depth(dims, 2), &x);
    for (i, got) in deep.iter().enumerate() {
        let at = coordinates(i, &[2, 2, 3, 12]);
        let (by, bx, c) = (at[3] / 6, at[3] / 3 % 2, at[3] % 3);
        assert_eq!(*got, x[offset(&[at[0], at[1] * 2 + by, at[2] * 2 + bx, c], &dims)]);
    }
    assert_eq!(copied(&View::depth_to_space([2, 2, 3, 12], 2, false), &deep), x);
    let crd = copied(&View::depth_to_space([1, 1, 1, 8], 2, true), &count(&[8]));
    assert_eq!(crd, [0, 4, 1, 5, 2, 6, 3, 7]);
}

#[test]
fn concat_and_split_are_inverse() {
    let (a, b) = ([1, 2, 3, 4], [5, 6]);
    let mut out = [0; 6];
    concat(&[(&a, 2), (&b, 1)], &mut out);
    assert_eq!(out, [1, 2, 5, 3, 4, 6]);
    let (mut c, mut d) = ([0; 4], [0; 2]);
    split(&out, &mut [(&mut c, 2), (&mut d, 1)]);
    assert_eq!((c, d), (a, b));
}

#[test]
fn padding_modes() {
    let padded = |mode, before, after| {
        let mut out = vec![9; 4 + before + after];
        pad(&[1, 2, 3, 4], &[4], &[before], &[after], mode, &mut out);
        out
    };
    assert_eq!(padded(PadMode::Constant(0), 2, 1), [0, 0, 1, 2, 3, 4, 0]);
    assert_eq!(padded(PadMode::Edge, 2, 1), [1, 1, 1, 2, 3, 4, 4]);
    assert_eq!(padded(PadMode::Reflect, 2, 3), [3, 2, 1, 2, 3, 4, 3, 2, 1]);
    assert_eq!(padded(PadMode::Symmetric, 2, 3), [2, 1, 1, 2, 3, 4, 4, 3, 2]);
    assert_eq!(padded(PadMode::Reflect, 0, 8), [1, 2, 3, 4, 3, 2, 1, 2, 3, 4, 3, 2]);
    let dims = [2, 3, 2, 2];
    let x = count(&dims);
    let (before, after) = ([0, 1, 2, 0], [1, 0, 1, 0]);
    let out_dims = [3, 4, 5, 2];
    let mut out = vec![-9; 120];
    pad(&x, &dims, &before, &after, PadMode::Constant(-1), &mut out);
    for (i, got) in out.iter().enumerate() {
        let at = coordinates(i, &out_dims);
        let inside = (0..4).all(|a| at[a] >= before[a] && at[a] - before[a] < dims[a]);
        let want = if inside {
            let from: Vec<usize> = (0..4).map(|a| at[a] - before[a]).collect();
            x[offset(&from, &dims)]
        } else {
            -1
        };
        assert_eq!(*got, want, "{at:?}");
    }
    pad(&[1, 2], &[2], &[0], &[0], PadMode::Edge, &mut out[..2]);
    assert_eq!(out[..2], [1, 2]);
}

#[test]
fn gathering() {
    let x = count(&[2, 3, 2]);
    let mut out = [0; 12];
    gather(&x, 3, 2, &[2, -3, 1], &mut out).expect("in range");
    assert_eq!(out, [4, 5, 0, 1, 2, 3, 10, 11, 6, 7, 8, 9]);
    let error = gather(&x, 3, 2, &[0, 3, 0], &mut out).expect_err("out of range");
    assert_eq!((error.index, error.len, error.position), (3, 3, 1));
    assert!(error.to_string().contains("index 3"));
    assert!(gather(&x, 3, 2, &[i64::MIN; 3], &mut out).is_err());

    let mut out = [0; 4];
    gather_elements(&[1, 2, 3, 4], &[2, 2], 1, &[0, 0, -1, 0], &[2, 2], &mut out).expect("in range");
    assert_eq!(out, [1, 1, 4, 3]);
    let mut out = [0; 3];
    gather_elements(&[1, 2, 3, 4, 5, 6, 7, 8, 9], &[3, 3], 0, &[1, 2, 0], &[1, 3], &mut out).expect("in range");
    assert_eq!(out, [4, 8, 3]);

    let mut out = [0; 2];
    gather_nd(&[0, 1, 2, 3], &[2, 2], 0, &[0, 0, 1, -1], 2, &mut out).expect("in range");
    assert_eq!(out, [0, 3]);
    let mut out = [0; 4];
    gather_nd(&count(&[2, 2, 2]), &[2, 2, 2], 1, &[1, 0], 1, &mut out).expect("in range");
    assert_eq!(out, [2, 3, 4, 5]);
    assert!(gather_nd(&[0, 1, 2, 3], &[2, 2], 0, &[0, 2], 2, &mut out[..1]).is_err());
}

#[test]
fn scattering() {
    let mut data = [1, 2, 3, 4, 5, 6, 7, 8];
    scatter_nd(&mut data, &[8], &[4, 3, -7], 1, &[9, 10, 11], |_, new| new).expect("in range");
    assert_eq!(data, [1, 11, 3, 10, 9, 6, 7, 8]);
    let mut data = [0; 6];
    scatter_nd(&mut data, &[3, 2], &[2, 2], 1, &[1, 2, 10, 20], |old, new| old + new).expect("in range");
    assert_eq!(data, [0, 0, 0, 0, 11, 22]);
    assert!(scatter_nd(&mut data, &[3, 2], &[3], 1, &[1, 2], |_, new| new).is_err());
    let mut data = [1, 2, 3, 4, 5];
    scatter_elements(&mut data, &[1, 5], 1, &[1, 3], &[1, 2], &[11, 21], |_, new| new).expect("in range");
    assert_eq!(data, [1, 11, 3, 21, 5]);
}

#[test]
fn selection_encoding_and_ranges() {
    let dense = View::dense(&[2, 2]);
    let column = View::dense(&[2, 1]).expand(&[2, 2]).expect("broadcasts");
    let scalar = View::dense(&[]).expand(&[2, 2]).expect("broadcasts");
    let mut out = [0; 4];
    select((&[1, 0, 0, 2], &dense), (&[1, 2, 3, 4], &dense), (&[9], &scalar), &mut out);
    assert_eq!(out, [1, 9, 9, 4]);
    select((&[0, 1], &column), (&[7], &scalar), (&[1, 2, 3, 4], &dense), &mut out);
    assert_eq!(out, [1, 2, 7, 7]);

    let mut out = [0; 6];
    one_hot(&[1, -1], 3, 1, 5, 0, &mut out);
    assert_eq!(out, [0, 5, 0, 0, 0, 5]);
    one_hot(&[0, 9], 3, 2, 5, 1, &mut out);
    assert_eq!(out, [5, 1, 1, 1, 1, 1]);

    let mut floats = [0.0; 3];
    range_f32(1.0, -0.5, &mut floats);
    assert_eq!(floats, [1.0, 0.5, 0.0]);
    let mut integers = [0; 3];
    range_i64(10, -4, &mut integers);
    assert_eq!(integers, [10, 6, 2]);
}

#[test]
fn running_sums() {
    let mut out = [0; 6];
    let x = [1, 2, 3, 4, 5, 6];
    for (exclusive, reverse, want) in [
        (false, false, [1, 3, 6, 4, 9, 15]),
        (true, false, [0, 1, 3, 0, 4, 9]),
        (false, true, [6, 5, 3, 15, 11, 6]),
        (true, true, [5, 3, 0, 11, 6, 0]),
    ] {
        cumsum(&x, 3, 1, exclusive, reverse, &mut out);
        assert_eq!(out, want);
    }
    cumsum(&x, 2, 3, false, false, &mut out);
    assert_eq!(out, [1, 2, 3, 5, 7, 9]);
}

#[test]
fn extremes_and_ties() {
    let x = [2.0, 5.0, 5.0, 1.0, f32::NAN, 1.0];
    let arg = |x: &[f32], inner: usize, largest, last| {
        let mut out = vec![-1; x.len() / 3];
        arg_extreme(x, 3, inner, ArgOrder { largest, last }, &mut out);
        out
    };
    assert_eq!(arg(&x, 1, true, false), [1, 0]);
    assert_eq!(arg(&x, 1, true, true), [2, 2]);
    assert_eq!(arg(&x, 1, false, false), [0, 0]);
    assert_eq!(arg(&x, 2, true, false), [1, 0]);
}

#[test]
fn top_k_is_a_sort() {
    let mut r = Numbers::new(82);
    for _ in 0..50 {
        let (outer, axis, inner) = (r.between(1, 3), r.between(1, 30), r.between(1, 3));
        let k = r.between(0, axis);
        let x: Vec<i32> = (0..outer * axis * inner).map(|_| r.between(0, 9) as i32).collect();
        for (largest, sorted) in [(true, true), (false, true), (true, false)] {
            let (mut values, mut indices) = (vec![-1; outer * k * inner], vec![-1; outer * k * inner]);
            top_k(&x, axis, inner, TopK { k, largest, sorted }, &mut values, &mut indices);
            for lane in 0..outer * inner {
                let (o, j) = (lane / inner, lane % inner);
                let at = |i: usize| x[(o * axis + i) * inner + j];
                let mut want: Vec<usize> = (0..axis).collect();
                want.sort_by_key(|&i| if largest { -at(i) } else { at(i) });
                want.truncate(k);
                if !sorted {
                    want.sort();
                }
                for (i, &w) in want.iter().enumerate() {
                    let to = (o * k + i) * inner + j;
                    assert_eq!((indices[to], values[to]), (w as i64, at(w)));
                }
            }
        }
    }
}
