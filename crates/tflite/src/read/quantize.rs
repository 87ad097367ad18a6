//! Where the domain of a value changes.

use std::collections::HashSet;

use fewbits_graph::ops::{Cast, Dequantize, Quantize, Requantize};
use fewbits_graph::{DType, Graph};

use super::context::Import;
use super::model::{Code, code_of};
use crate::Result;
use crate::schema::enums::Builtin;
use crate::schema::model::{Operator, SubGraph};

pub(super) fn quantize(cx: &mut Import<'_>) -> Result<()> {
    let output = cx.output(0)?;
    if cx.graph.value(output).quant.is_none() {
        return Err(cx.fail("its output has no scale"));
    }
    match (cx.dtype(0)?.is_float(), cx.value(0)?.quant.is_some()) {
        (true, _) => cx.emit_same(Quantize, 1),
        (false, true) => cx.emit_same(Requantize, 1),
        (false, false) => Err(cx.fail("its integer input has no scale")),
    }
}

pub(super) fn dequantize(cx: &mut Import<'_>) -> Result<()> {
    match (cx.dtype(0)?, cx.value(0)?.quant.is_some()) {
        (DType::F16, _) => cx.emit_same(Cast { to: DType::F32 }, 1),
        (_, true) => cx.emit_same(Dequantize, 1),
        (_, false) => Err(cx.fail("its input has no scale")),
    }
}

/// Inputs in which an operator takes weights: those can be half constants while the operator
/// computes in single precision.
fn takes_half(builtin: Builtin, input: usize) -> bool {
    match builtin {
        Builtin::CONV_2D | Builtin::DEPTHWISE_CONV_2D | Builtin::FULLY_CONNECTED => matches!(input, 1 | 2),
        Builtin::TRANSPOSE_CONV => matches!(input, 1 | 3),
        Builtin::ADD | Builtin::SUB | Builtin::MUL | Builtin::DIV | Builtin::BATCH_MATMUL | Builtin::PRELU => {
            input == 1
        }
        _ => false,
    }
}

/// Indices of the `DEQUANTIZE` operators that widen a half constant for readers which can take the
/// constant itself.
pub(super) fn widened_constants(main: &SubGraph, codes: &[Code], graph: &Graph) -> Result<HashSet<usize>> {
    let mut widened = vec![None; main.tensors.len()];
    for (index, operator) in main.operators.iter().enumerate() {
        if builtin(codes, operator)? != Some(Builtin::DEQUANTIZE) {
            continue;
        }
        let tensor = |list: &[i32]| list.first().and_then(|&i| usize::try_from(i).ok());
        if let (Some(from), Some(to)) = (tensor(&operator.inputs), tensor(&operator.outputs))
            && let Some(value) = graph.values.get(from)
            && value.dtype == DType::F16
            && value.data.is_some()
            && let Some(slot) = widened.get_mut(to)
        {
            *slot = Some(index);
        }
    }
    for operator in &main.operators {
        let reader = builtin(codes, operator)?;
        for (input, &tensor) in operator.inputs.iter().enumerate() {
            if reader.is_none_or(|reader| !takes_half(reader, input)) {
                forget(&mut widened, tensor);
            }
        }
    }
    main.outputs.iter().for_each(|&tensor| forget(&mut widened, tensor));
    Ok(widened.into_iter().flatten().collect())
}

fn builtin(codes: &[Code], operator: &Operator) -> Result<Option<Builtin>> {
    Ok(code_of(codes, operator)?.known.map(|(builtin, _)| builtin))
}

fn forget(widened: &mut [Option<usize>], tensor: i32) {
    if let Some(slot) = usize::try_from(tensor).ok().and_then(|i| widened.get_mut(i)) {
        *slot = None;
    }
}
