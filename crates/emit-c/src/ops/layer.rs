//! What layers with weights share: weights, biases with the zero point folded in, multipliers.

use fewbits_engine::activation_limits;
use fewbits_graph::{Activation, DType, Granularity};
use fewbits_kernels::int8::FixedMultiplier;

use crate::kernel::Layer;
use crate::site::{Site, left_float};

/// Bytes behind the weights: the DSP path reads them in words of four.
const SLACK: usize = 3;

/// The weights of a node and how its sums become outputs.
pub(crate) struct Weights {
    /// In the order of the graph.
    pub(crate) values: Vec<i8>,
    scales: Vec<f32>,
    bias: Option<Vec<i32>>,
    input_scale: f64,
    /// Zero point of the input.
    pub(crate) input_zero: i8,
}

impl Weights {
    /// Of input 1 with one scale, or one for each index of `axis`; the bias is input 2.
    pub(crate) fn new(site: &Site<'_>, axis: usize, channels: usize) -> Result<Self, String> {
        let (x, w) = (site.input(0)?, site.input(1)?);
        if x.dtype.is_float() {
            return Err(left_float(x.dtype));
        }
        let x = x.affine()?;
        let tensor = site.constant(1)?;
        let values = tensor.signed_bytes().ok_or_else(|| format!("{} weights, where int8 is needed", w.dtype))?;
        let quant = w.quant.as_ref().ok_or("the weights have no scale")?;
        let fits = match quant.granularity {
            Granularity::PerTensor => true,
            Granularity::PerChannel { axis: own } => own == axis && quant.scales.len() == channels,
            Granularity::Blocked { .. } => false,
        };
        if !fits || !quant.is_symmetric() {
            return Err("the weights need zero points of 0 and one scale, or one a channel".into());
        }
        Ok(Weights {
            values: values.into_owned(),
            scales: quant.scales.clone(),
            bias: bias(site, channels)?,
            input_scale: x.scale,
            input_zero: x.zero_point,
        })
    }

    /// Whether there is one scale for all channels.
    pub(crate) fn one_scale(&self) -> bool {
        self.scales.len() == 1
    }

    /// Scale of channel `c` of the sums.
    fn unit(&self, c: usize) -> f64 {
        self.input_scale * f64::from(self.scales[c % self.scales.len()])
    }

    /// As [`Weights::unit`], the product rounded to `f32`: what TFLite makes of matrices with one
    /// scale.
    fn unit_f32(&self, c: usize) -> f64 {
        f64::from(self.input_scale as f32 * self.scales[c % self.scales.len()])
    }

    /// The layer of channels `first..first + n`, whose filters of `k` values are `filters`; `own`
    /// iterates over the values of a channel's filter.
    pub(crate) fn layer(
        &self,
        site: &Site<'_>,
        activation: Activation,
        channels: std::ops::Range<usize>,
        shape: (usize, Vec<i8>),
        own: impl Fn(&[i8], usize) -> i64,
        rounded_unit: bool,
    ) -> Result<Layer, String> {
        let out = site.output()?.affine()?;
        let (low, high) = activation_limits(activation, out);
        let (k, mut filters) = shape;
        let mut layer = Layer {
            weights: Vec::new(),
            channels: Vec::with_capacity(channels.len()),
            shifts: Vec::with_capacity(channels.len()),
            k,
            n: channels.len(),
            zero: out.zero_point,
            low,
            high,
        };
        let first = channels.start;
        for c in channels {
            let unit = if rounded_unit { self.unit_f32(c) } else { self.unit(c) };
            let fixed = FixedMultiplier::new(unit / out.scale);
            let folded = i64::from(self.input_zero) * own(&filters, c - first);
            let bias = i64::from(self.bias.as_ref().map_or(0, |b| b[c])) - folded;
            // Sums wrap in the reference kernels, too, so the low bits are what counts.
            layer.channels.push((bias as i32, fixed.multiplier));
            // Shifts are in -31..=30.
            layer.shifts.push(fixed.shift as i8);
        }
        filters.resize(filters.len() + SLACK, 0);
        layer.weights = filters;
        Ok(layer)
    }
}

/// The bias in units of input scale × weight scale.
fn bias(site: &Site<'_>, channels: usize) -> Result<Option<Vec<i32>>, String> {
    let Some(edge) = site.optional(2) else { return Ok(None) };
    let data = site.constant(2)?;
    if data.elements() != channels {
        return Err(format!("a bias of {} elements for {channels} channels", data.elements()));
    }
    if edge.dtype != DType::I32 {
        return Err(format!("a {} bias, where int32 is needed", edge.dtype));
    }
    Ok(data.as_slice::<i32>().map(|b| b.into_owned()))
}

/// The sum of filter `c` of filters that stand one after another.
pub(crate) fn row_sum(k: usize) -> impl Fn(&[i8], usize) -> i64 {
    move |filters, c| filters[c * k..][..k].iter().map(|&w| i64::from(w)).sum()
}

/// The sum of filter `c` of filters that stand side by side, `n` of them.
pub(crate) fn column_sum(n: usize) -> impl Fn(&[i8], usize) -> i64 {
    move |filters, c| filters.iter().skip(c).step_by(n).map(|&w| i64::from(w)).sum()
}
