//! What to do: the command line's flags and a recipe file are two spellings of [`Recipe`].

use std::collections::BTreeMap;
use std::path::Path;

use fewbits_graph::{Graph, Node, Op};
use serde::{Deserialize, Serialize};

use crate::{ActivationBits, BlockSize, Calibration, Error, Result, WeightBits, WeightRounding, WeightScales};

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

/// Operators with weights, by the names that reports use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum LayerKind {
    /// Convolution.
    Conv2d,
    /// Convolution of each channel alone.
    DepthwiseConv2d,
    /// Transposed convolution.
    ConvTranspose2d,
    /// Fully-connected layer.
    FullyConnected,
}

impl LayerKind {
    /// The kind of an operator; `None` for those without weights.
    pub fn of(op: &Op) -> Option<LayerKind> {
        match op {
            Op::Conv2d(_) => Some(LayerKind::Conv2d),
            Op::DepthwiseConv2d(_) => Some(LayerKind::DepthwiseConv2d),
            Op::ConvTranspose2d(_) => Some(LayerKind::ConvTranspose2d),
            Op::FullyConnected(_) => Some(LayerKind::FullyConnected),
            _ => None,
        }
    }
}

/// What some layers have instead of what the recipe says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Override {
    /// Bits of integer weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<WeightBits>,
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
    /// Bits of the activations that layers with weights read, in int8 mode.
    #[serde(default)]
    pub activations: ActivationBits,
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
    /// Move ranges between layers, channel by channel (see [`equalize`](crate::equalize())).
    #[serde(default)]
    pub equalize: bool,
    /// Move ranges from layer normalisations into weights, where there are samples (see
    /// [`smooth`](crate::smooth())).
    #[serde(default)]
    pub smooth: bool,
    /// Type of the public inputs and outputs in int8 mode.
    #[serde(default)]
    pub io: IoType,
    /// Nodes that stay float.
    #[serde(default)]
    pub exclude: Vec<String>,
    /// What all layers of a kind have instead: `[operators.DepthwiseConv2d]`, `weights = 8`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub operators: BTreeMap<LayerKind, Override>,
    /// What single layers have instead, by the node's name; they go before `operators`:
    /// `[overrides."first/conv"]`, `weights = 8`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub overrides: BTreeMap<String, Override>,
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
            activations: ActivationBits::default(),
            block: None,
            weight_scales: WeightScales::default(),
            weight_rounding: WeightRounding::default(),
            per_tensor: false,
            bias_correction: on(),
            equalize: false,
            smooth: false,
            io: IoType::default(),
            exclude: Vec::new(),
            operators: BTreeMap::new(),
            overrides: BTreeMap::new(),
        }
    }

    /// Bits of a layer's integer weights: its own override, that of its kind, or the recipe's.
    pub fn weight_bits(&self, node: &Node) -> WeightBits {
        let own = self.overrides.get(&node.name).and_then(|o| o.weights);
        let of_kind = || LayerKind::of(&node.op).and_then(|kind| self.operators.get(&kind)?.weights);
        own.or_else(of_kind).unwrap_or(self.weights)
    }

    /// Every bit width that the recipe gives to weights of some layer, narrowest first.
    pub fn weight_widths(&self) -> Vec<WeightBits> {
        let others = self.operators.values().chain(self.overrides.values()).filter_map(|o| o.weights);
        let mut widths: Vec<WeightBits> = others.chain([self.weights]).collect();
        widths.sort();
        widths.dedup();
        widths
    }

    /// Refuses names that are no node's, and overrides of nodes without weights.
    ///
    /// # Errors
    /// [`Error::UnknownNode`], [`Error::NoWeights`].
    pub(crate) fn check_names(&self, graph: &Graph) -> Result<()> {
        let find = |name: &String| match graph.nodes.iter().find(|n| n.name == *name) {
            Some(node) => Ok(node),
            None => {
                let near = graph.nodes.iter().map(|n| &n.name).filter(|n| n.contains(name.as_str())).min();
                let hint = near.map_or_else(String::new, |n| format!("; did you mean `{n}`?"));
                Err(Error::UnknownNode { name: name.clone(), hint })
            }
        };
        for name in &self.exclude {
            find(name)?;
        }
        for name in self.overrides.keys() {
            let node = find(name)?;
            if LayerKind::of(&node.op).is_none() {
                return Err(Error::NoWeights { node: name.clone(), op: node.op.name() });
            }
        }
        Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;
    use fewbits_graph::ops::{FullyConnected, Unary, UnaryKind};
    use fewbits_graph::{Activation, DType, Shape};

    const TEXT: &str = "mode = 'int8'\nweights = 4\n[operators.FullyConnected]\nweights = 6\n\
                        [overrides.\"a/b\"]\nweights = 8\n";

    fn bits(recipe: &Recipe, name: &str, op: Op) -> u8 {
        recipe.weight_bits(&Node { name: name.to_owned(), op, inputs: Vec::new(), outputs: Vec::new() }).into()
    }

    #[test]
    fn the_nearest_word_on_a_layer_counts() {
        let recipe: Recipe = toml::from_str(TEXT).unwrap();
        let dense = || FullyConnected { activation: Activation::None }.into();
        assert_eq!(bits(&recipe, "a/b", dense()), 8);
        assert_eq!(bits(&recipe, "a", dense()), 6);
        assert_eq!(bits(&recipe, "a", Unary { kind: UnaryKind::Exp }.into()), 4);
        let widths: Vec<u8> = recipe.weight_widths().into_iter().map(u8::from).collect();
        assert_eq!(widths, [4, 6, 8]);
        assert_eq!(toml::from_str::<Recipe>(&recipe.to_toml()).unwrap(), recipe);
    }

    #[test]
    fn overrides_are_checked() {
        assert!(!Recipe::new(Mode::Int8).to_toml().contains("over"));
        let wrong = TEXT.replace("FullyConnected", "Relu");
        assert!(toml::from_str::<Recipe>(&wrong).unwrap_err().to_string().contains("DepthwiseConv2d"));
        let mut graph = Graph::default();
        let x = graph.add_input("x", DType::F32, Shape::fixed(&[1, 4]));
        graph.outputs = vec![graph.add_node("a/b/exp", Unary { kind: UnaryKind::Exp }, &[Some(x)], "y")];
        let mut recipe: Recipe = toml::from_str(TEXT).unwrap();
        let message = recipe.check_names(&graph).unwrap_err().to_string();
        assert!(message.contains("`a/b`") && message.contains("did you mean `a/b/exp`"), "{message}");
        recipe.overrides = BTreeMap::from([("a/b/exp".to_owned(), Override::default())]);
        let message = recipe.check_names(&graph).unwrap_err().to_string();
        assert!(message.contains("`a/b/exp`") && message.contains("Unary"), "{message}");
    }
}
