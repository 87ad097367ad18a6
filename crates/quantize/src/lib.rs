//! Post-training quantization: calibration, and the passes that give a graph narrower types.
//!
//! The way through: [`calibrate`] runs a simplified float graph over samples and gathers
//! statistics of every edge; [`Ranges`] are chosen from them by a [`Calibration`] method;
//! [`quantize`] rewrites the graph as a [`Recipe`] says. Each step is a function from graphs and
//! statistics to graphs. What a quantization costs is told by [`compare`] and [`sensitivity()`], and
//! why by [`diagnose()`].

mod analysis;
mod bias;
mod budget;
mod calibrate;
mod diagnose;
mod domain;
mod dynamic;
mod equalize;
mod error;
mod float16;
mod histogram;
mod int8;
mod learned;
mod lower;
mod narrow;
mod params;
mod plan;
mod range;
mod recipe;
mod reuse;
mod rounding;
mod sensitivity;
mod storage;
mod tables;
mod weight_only;
mod weights;
mod widths;

pub use analysis::{Comparison, LayerError, adapt_inputs, compare};
pub use bias::quantized_bias;
pub use budget::{Choice, choose};
pub use calibrate::{Calibrator, Statistics};
pub use diagnose::{
    ActivationProfile, Bins, Cause, Diagnosis, Finding, LayerProfile, Remedy, Side, WeightProfile, diagnose,
};
pub use domain::{Constraint, constraint};
pub use dynamic::quantize_dynamic;
pub use equalize::{equalize, smooth};
pub use error::{Error, Result};
pub use float16::{Float16, quantize_float16};
pub use histogram::{BINS, Histogram, NotANumber};
pub use int8::quantize_int8;
pub use learned::learn_rounding;
pub use lower::lower;
pub use narrow::ActivationBits;
pub use params::{ActivationParams, activation_params};
pub use range::{Calibration, Ranges};
pub use recipe::{Format, IoType, LayerKind, Mode, Override, Recipe};
pub use reuse::with_learned_layers;
pub use rounding::WeightRounding;
pub use sensitivity::{
    Form, LayerSensitivity, Probe, Sensitivity, forms, quantize_graph, quantized_layers, sensitivity,
};
pub use storage::pack_weights;
pub use weight_only::{BlockSize, layers_without_blocks, quantize_weight_only};
pub use weights::{WeightBits, WeightScales, check_weights, quantize_weights};
pub use widths::{LayerWidths, layer_widths, weight_layers};
