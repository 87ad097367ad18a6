//! Batched matrix products.

use fewbits_graph::ops::MatMul;
use fewbits_kernels::float::Clamp;
use fewbits_kernels::float::binary::Broadcast;
use fewbits_kernels::float::gemm::{MatrixRef, gemm};
use fewbits_kernels::float::linear::BatchMatmul;

use crate::derivative::{Backward, Derivative, Forward, Target};
use crate::site::{Derivation, Derived, Site};

/// The product, and where the matrices of each batch start.
struct Product {
    product: BatchMatmul,
    a: Vec<usize>,
    b: Vec<usize>,
}

pub(super) fn matmul(op: &MatMul, site: &Site) -> Derivation {
    let (a, b) = (site.input(0)?, site.input(1)?);
    let (mut da, mut db) = (a.dims.clone(), b.dims.clone());
    let (transpose_a, transpose_b) = (op.transpose_a && da.len() > 1, op.transpose_b && db.len() > 1);
    if da.len() == 1 {
        da.insert(0, 1);
    }
    if db.len() == 1 {
        db.push(1);
    }
    let (batch_a, matrix_a) = da.split_at(da.len() - 2);
    let (batch_b, matrix_b) = db.split_at(db.len() - 2);
    let (m, k) = if transpose_a { (matrix_a[1], matrix_a[0]) } else { (matrix_a[0], matrix_a[1]) };
    let n = if transpose_b { matrix_b[0] } else { matrix_b[1] };
    // Rows of all batches against one matrix are one product.
    let (product, offsets) = if batch_b.iter().all(|&n| n == 1) && !transpose_a && batch_a.len() >= batch_b.len() {
        let rows = m * batch_a.iter().product::<usize>();
        (BatchMatmul { m: rows, n, k, transpose_a, transpose_b }, (vec![0], vec![0]))
    } else {
        let batches = Broadcast::new(batch_a, batch_b).ok_or("the batches do not broadcast")?;
        (BatchMatmul { m, n, k, transpose_a, transpose_b }, batches.offsets())
    };
    let scaled = |offsets: Vec<usize>, size: usize| offsets.into_iter().map(|o| o * size).collect();
    let derivative = Product { product, a: scaled(offsets.0, product.m * k), b: scaled(offsets.1, k * n) };
    Ok(Derived::new(derivative).reading(site.wants(1), &[0]).reading(site.wants(0), &[1]))
}

impl Derivative for Product {
    fn forward(&mut self, run: &mut Forward<'_>) -> Result<(), String> {
        self.product.run(run.input(0), &self.a, run.input(1), &self.b, run.output(), Clamp::NONE);
        Ok(())
    }

    fn backward(&mut self, run: &mut Backward<'_>) {
        let BatchMatmul { m, n, k, transpose_a, transpose_b } = self.product;
        let dy: &[f32] = run.gradient();
        let batches: Vec<usize> = (0..self.a.len()).map(|i| i * m * n).collect();
        // For y = A B: dA = dy Bᵀ and dB = Aᵀ dy; for a transposed operand the transpose of that.
        let dy = (dy, batches.as_slice());
        if let Some(target) = run.target(0) {
            let b = (run.input(1), self.b.as_slice());
            if transpose_a {
                let product = BatchMatmul { m: k, n: m, k: n, transpose_a: transpose_b, transpose_b: true };
                give(product, b, dy, target, &self.a);
            } else {
                let product = BatchMatmul { m, n: k, k: n, transpose_a: false, transpose_b: !transpose_b };
                give(product, dy, b, target, &self.a);
            }
        }
        if let Some(target) = run.target(1) {
            let a = (run.input(0), self.a.as_slice());
            if transpose_b {
                let product = BatchMatmul { m: n, n: k, k: m, transpose_a: true, transpose_b: transpose_a };
                give(product, dy, a, target, &self.b);
            } else {
                let product = BatchMatmul { m: k, n, k: m, transpose_a: !transpose_a, transpose_b: false };
                give(product, a, dy, target, &self.b);
            }
        }
    }
}

/// Gives `target` the products, added up where batches share their place in it.
fn give(
    product: BatchMatmul,
    (a, at_a): (&[f32], &[usize]),
    (b, at_b): (&[f32], &[usize]),
    target: Target<'_>,
    places: &[usize],
) {
    let BatchMatmul { m, n, k, transpose_a, transpose_b } = product;
    let size = m * n;
    let apart = places.iter().enumerate().all(|(i, &p)| p == i * size);
    if apart && !target.accumulate {
        return product.run(a, at_a, b, at_b, target.data, Clamp::NONE);
    }
    if !target.accumulate {
        target.data.fill(0.0);
    }
    let view = |data, transposed, rows, cols| {
        if transposed { MatrixRef::transposed(data, rows) } else { MatrixRef::row_major(data, cols) }
    };
    for ((&i, &j), &place) in at_a.iter().zip(at_b).zip(places) {
        let (a, b) = (view(&a[i..], transpose_a, m, k), view(&b[j..], transpose_b, k, n));
        gemm(m, n, k, a, b, &mut target.data[place..place + size], n, true);
    }
}
