//! A recipe as it is typed.

use std::path::PathBuf;

use clap::Args;
use fewbits::quantize::{BlockSize, Mode, Recipe, WeightBits};
use fewbits::{Error, Result};

use super::values::{
    ActivationsArg, CalibrationArg, ModeArg, WeightRoundingArg, WeightScalesArg, block_size, weight_bits,
};

/// The flags of a recipe.
#[derive(Debug, Args)]
pub(crate) struct RecipeArgs {
    /// int8 weights and activations; int8 weights and activations quantized on the fly; half-precision
    /// weights; or integer weights alone [default: int8 with --data, dynamic without]
    #[arg(long)]
    pub(crate) mode: Option<ModeArg>,
    /// How activation ranges are chosen [default: mse]
    #[arg(long, value_name = "METHOD")]
    pub(crate) calibration: Option<CalibrationArg>,
    /// Bits of integer weights, 2 to 8 [default: 8]
    #[arg(long, value_name = "BITS", value_parser = weight_bits)]
    pub(crate) weights: Option<WeightBits>,
    /// Bits of the activations that layers with weights read, 2 to 8, in mode int8 [default: 8]; or
    /// `float`, which quantizes weights only and needs no data
    #[arg(long, value_name = "BITS")]
    pub(crate) activations: Option<ActivationsArg>,
    /// Inputs of an output that share a weight scale, with --activations float: a power of two from 16
    /// [default: all]
    #[arg(long, value_name = "N", value_parser = block_size)]
    pub(crate) block: Option<BlockSize>,
    /// How weight scales are chosen [default: auto]
    #[arg(long, value_name = "METHOD")]
    pub(crate) weight_scales: Option<WeightScalesArg>,
    /// How weights are rounded [default: balanced]
    #[arg(long, value_name = "METHOD")]
    pub(crate) weight_rounding: Option<WeightRoundingArg>,
    /// One weight scale for a tensor instead of one for a channel
    #[arg(long)]
    pub(crate) per_tensor: bool,
    /// Move ranges between layers, channel by channel, before quantizing
    #[arg(long)]
    pub(crate) equalize: bool,
    /// Move ranges from layer normalisations into weights before quantizing
    #[arg(long)]
    pub(crate) smooth: bool,
    /// Nodes that stay float
    #[arg(long, value_name = "NODE", num_args = 1..)]
    pub(crate) exclude: Vec<String>,
    /// A recipe to start from; flags go before it
    #[arg(long, value_name = "FILE.toml")]
    pub(crate) recipe: Option<PathBuf>,
}

impl RecipeArgs {
    /// The recipe file, or the default recipe, with the flags over it; `mode` where none is given.
    pub(crate) fn recipe(&self, mode: Mode) -> Result<Recipe> {
        let weights_only = (self.activations == Some(ActivationsArg::Float)).then_some(Mode::WeightOnly);
        let asked = self.mode.map(Mode::from).or(weights_only);
        if weights_only.is_some() && asked != weights_only {
            return Err(Error::Usage("--activations float quantizes weights only: leave out --mode".to_owned()));
        }
        let mut recipe = match &self.recipe {
            Some(path) => Recipe::read(path).map_err(Error::quantize(path))?,
            None => Recipe::new(asked.unwrap_or(mode)),
        };
        recipe.mode = asked.unwrap_or(recipe.mode);
        recipe.calibration = self.calibration.map_or(recipe.calibration, Into::into);
        recipe.weights = self.weights.unwrap_or(recipe.weights);
        if let Some(ActivationsArg::Bits(bits)) = self.activations {
            recipe.activations = bits;
        }
        recipe.block = self.block.or(recipe.block);
        recipe.weight_scales = self.weight_scales.map_or(recipe.weight_scales, Into::into);
        recipe.weight_rounding = self.weight_rounding.map_or(recipe.weight_rounding, Into::into);
        recipe.per_tensor |= self.per_tensor;
        recipe.equalize |= self.equalize;
        recipe.smooth |= self.smooth;
        if !self.exclude.is_empty() {
            recipe.exclude.clone_from(&self.exclude);
        }
        Ok(recipe)
    }
}
