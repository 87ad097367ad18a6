//! Constants of the file, and the changes of layout that are applied to them at once.

use fewbits_graph::{DType, Granularity, Quantization, Tensor};

use crate::layout::is_identity;

/// What stands between a constant's stored form and what its name means.
#[derive(Clone, Debug)]
pub(crate) enum Then {
    /// Nothing.
    Nothing,
    /// A `DequantizeLinear` node of that name.
    Dequantize {
        /// Node name.
        node: String,
    },
    /// A `Cast` from half to single precision.
    Cast {
        /// Node name.
        node: String,
    },
}

/// A constant, not yet a graph value.
#[derive(Clone, Debug)]
pub(crate) struct Constant {
    /// The elements, axes as in ONNX.
    pub(crate) tensor: Tensor,
    /// Quantization parameters, axes as in ONNX.
    pub(crate) quant: Option<Quantization>,
    /// Name of the stored form.
    pub(crate) stored: String,
    /// The conversion that follows.
    pub(crate) then: Then,
}

impl Constant {
    /// A constant as it is.
    pub(crate) fn plain(name: &str, tensor: Tensor) -> Self {
        Constant { tensor, quant: None, stored: name.to_owned(), then: Then::Nothing }
    }

    /// Element type of what the name means.
    pub(crate) fn result_dtype(&self) -> DType {
        match self.then {
            Then::Nothing => self.tensor.dtype(),
            Then::Dequantize { .. } | Then::Cast { .. } => DType::F32,
        }
    }

    /// Data and parameters in another layout; the error is the reason in words.
    pub(crate) fn relaid(&self, relay: &Relay) -> Result<(Tensor, Option<Quantization>), String> {
        let fails = || format!("a constant of shape {:?} cannot be laid out anew", self.tensor.shape());
        let mut tensor = self.tensor.clone();
        if let Some(shape) = &relay.split {
            tensor = tensor.reshaped(shape.clone()).ok_or_else(fails)?;
        }
        let split_rank = tensor.shape().len();
        let split_shape = tensor.shape().to_vec();
        if !relay.perm.is_empty() && !is_identity(&relay.perm) {
            tensor = tensor.transposed(&relay.perm).ok_or_else(fails)?;
        }
        if let Some(shape) = &relay.join {
            tensor = tensor.reshaped(shape.clone()).ok_or_else(fails)?;
        }
        let quant = match &self.quant {
            Some(q) if q.granularity != Granularity::PerTensor => {
                let added = split_rank.checked_sub(self.tensor.shape().len()).ok_or_else(fails)?;
                let removed = split_rank.checked_sub(tensor.shape().len()).ok_or_else(fails)?;
                if relay.mixes {
                    return Err("per-channel parameters do not survive the regrouping of channels".to_owned());
                }
                Some(relay_parameters(q, relay, added, removed, &split_shape).ok_or_else(fails)?)
            }
            other => other.clone(),
        };
        Ok((tensor, quant))
    }
}

/// Parameters of a tensor that gets `added` leading axes of size 1, is permuted, and then loses
/// `removed` leading ones.
fn relay_parameters(
    q: &Quantization,
    relay: &Relay,
    added: usize,
    removed: usize,
    shape: &[usize],
) -> Option<Quantization> {
    let moved = |axis: usize| {
        let at = axis + added;
        let at = if relay.perm.is_empty() { at } else { relay.perm.iter().position(|&p| p == at)? };
        at.checked_sub(removed)
    };
    let mut q = q.clone();
    q.granularity = match q.granularity {
        Granularity::PerTensor => Granularity::PerTensor,
        Granularity::PerChannel { axis } => Granularity::PerChannel { axis: moved(axis)? },
        Granularity::Blocked { axis, size } => {
            if !relay.perm.is_empty() {
                let mut dims = shape.to_vec();
                *dims.get_mut(axis + added)? = shape.get(axis + added)?.div_ceil(size);
                if dims.iter().product::<usize>() != q.scales.len() {
                    return None;
                }
                let zero_points = Tensor::new(dims.clone(), q.zero_points.clone()).transposed(&relay.perm)?;
                q.scales = Tensor::new(dims, q.scales.clone()).transposed(&relay.perm)?.to_f32();
                q.zero_points = zero_points.as_slice::<i32>()?.into_owned();
            }
            Granularity::Blocked { axis: moved(axis)?, size }
        }
    };
    Some(q)
}

/// A change of layout: reshape, permute, reshape.
#[derive(Clone, Debug, Default)]
pub(crate) struct Relay {
    /// Shape to take first.
    pub(crate) split: Option<Vec<usize>>,
    /// Then this permutation; empty for none.
    pub(crate) perm: Vec<usize>,
    /// Shape to take at the end.
    pub(crate) join: Option<Vec<usize>>,
    /// The reshapes do more than add or drop leading ones.
    pub(crate) mixes: bool,
}

impl Relay {
    /// As it is.
    pub(crate) fn none() -> Self {
        Relay::default()
    }

    /// Axes permuted.
    pub(crate) fn permute(perm: Vec<usize>) -> Self {
        Relay { perm, ..Relay::default() }
    }

    /// A constant of `shape`, broadcast against values of rank `perm.len()`, with axes permuted as
    /// those values' are; needless leading ones are dropped.
    pub(crate) fn broadcast(shape: &[usize], perm: &[usize]) -> Self {
        let lead = perm.len().saturating_sub(shape.len());
        let mut split = vec![1; lead];
        split.extend_from_slice(shape);
        let joined: Vec<usize> = perm.iter().map(|&p| split[p]).collect();
        let ones = joined.iter().take(lead).take_while(|&&d| d == 1).count();
        Relay { split: Some(split), perm: perm.to_vec(), join: Some(joined[ones..].to_vec()), mixes: false }
    }

    /// Text that tells different changes apart.
    pub(crate) fn key(&self) -> String {
        match is_identity(&self.perm) && self.split.is_none() && self.join.is_none() {
            true => String::new(),
            false => format!("{:?}{:?}{:?}", self.split, self.perm, self.join),
        }
    }
}
