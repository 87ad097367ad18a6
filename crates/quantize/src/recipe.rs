//! What to do: the command line's flags and a recipe file are two spellings of [`Recipe`].

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::{BlockSize, Calibration, Error, Result, WeightBits, WeightRounding, WeightScales};

/// Post-training mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Int8 weights; activations stay float and are quantized on the fly inside kernels.
    Dynamic,
    /// Int8 weights and activations, with ranges from calibration.
    Int8,
    /// IEEE half-precision weights.
    Float16,
    /// Integer weights; activations are float and stay so.
    WeightOnly,
}

/// Element type of the public inputs and outputs of an int8 model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IoType {
    /// As in the float model.
    #[default]
    Float,
    /// Int8, with the edge's quantization parameters; the model holds no float operator.
    Int8,
    /// Uint8 (zero point 128 higher than the inner int8 edge); no float operator.
    Uint8,
}

/// What the quantized graph must be expressible in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// ONNX with Q/DQ nodes.
    #[default]
    Onnx,
    /// TFLite builtin operators.
    Tflite,
}

/// How a model is quantized.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Recipe {
    /// Mode.
    pub mode: Mode,
    /// How activation ranges are chosen from the statistics.
    #[serde(default)]
    pub calibration: Calibration,
    /// Bits of integer weights.
    #[serde(default)]
    pub weights: WeightBits,
    /// Inputs of an output that share a weight scale, in weight-only mode; without, all do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block: Option<BlockSize>,
    /// How weight scales are chosen.
    #[serde(default)]
    pub weight_scales: WeightScales,
    /// How weights are rounded.
    #[serde(default)]
    pub weight_rounding: WeightRounding,
    /// One weight scale for a tensor instead of one for a channel.
    #[serde(default)]
    pub per_tensor: bool,
    /// Take the shift that rounding the weights causes back through the biases, where there are
    /// samples.
    #[serde(default = "on")]
    pub bias_correction: bool,
    /// Type of the public inputs and outputs in int8 mode.
    #[serde(default)]
    pub io: IoType,
    /// Nodes that stay float.
    #[serde(default)]
    pub exclude: Vec<String>,
}

/// The default of options that are on unless a recipe says otherwise.
fn on() -> bool {
    true
}

impl Recipe {
    /// The default recipe of a mode.
    pub fn new(mode: Mode) -> Self {
        Recipe {
            mode,
            calibration: Calibration::default(),
            weights: WeightBits::default(),
            block: None,
            weight_scales: WeightScales::default(),
            weight_rounding: WeightRounding::default(),
            per_tensor: false,
            bias_correction: on(),
            io: IoType::default(),
            exclude: Vec::new(),
        }
    }

    /// Reads a recipe file.
    ///
    /// # Errors
    /// [`Error::BadRecipe`] if the file cannot be read or has unknown or malformed keys.
    pub fn read(path: &Path) -> Result<Self> {
        let bad = |what: String| Error::BadRecipe { file: path.display().to_string(), what };
        let text = std::fs::read_to_string(path).map_err(|e| bad(e.to_string()))?;
        toml::from_str(&text).map_err(|e| bad(e.to_string()))
    }

    /// The recipe as TOML text.
    pub fn to_toml(&self) -> String {
        // A struct of strings, enums and booleans always has a TOML form.
        toml::to_string(self).unwrap_or_default()
    }
}
