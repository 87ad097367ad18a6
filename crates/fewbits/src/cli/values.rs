//! Values of arguments.

use std::path::PathBuf;
use std::str::FromStr;

use clap::ValueEnum;
use fewbits::Objective;
use fewbits::engine::Rounding;
use fewbits::quantize::{
    ActivationBits, BlockSize, Calibration, IoType, Mode, WeightBits, WeightRounding, WeightScales,
};
use fewbits::train::{Decay, Method};

/// An argument's words and the library's values.
macro_rules! words {
    ($(#[$doc:meta])* $arg:ident => $target:ty { $($(#[$word:meta])* $name:ident => $value:expr),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
        pub(crate) enum $arg { $($(#[$word])* $name),* }

        impl From<$arg> for $target {
            fn from(word: $arg) -> Self {
                match word { $($arg::$name => $value),* }
            }
        }
    };
}

words! {
    /// `--mode`
    ModeArg => Mode {
        /// int8 weights, activations quantized on the fly
        Dynamic => Mode::Dynamic,
        /// int8 weights and activations
        Int8 => Mode::Int8,
        /// half-precision weights
        Float16 => Mode::Float16,
        /// integer weights, float activations
        WeightOnly => Mode::WeightOnly,
    }
}

/// `--activations`: a number of bits, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ActivationsArg {
    /// Integer activations.
    Bits(ActivationBits),
    /// Activations are not quantized.
    Float,
}

impl FromStr for ActivationsArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "float" => Ok(ActivationsArg::Float),
            _ => Ok(ActivationsArg::Bits(ActivationBits::try_from(bits(text)?)?)),
        }
    }
}

words! {
    /// `--calibration`
    CalibrationArg => Calibration {
        /// smallest and largest value seen
        Minmax => Calibration::Minmax,
        /// moving average of each sample's smallest and largest
        MovingAverage => Calibration::MovingAverage,
        /// all but one value in 10,000 on each side
        Percentile => Calibration::Percentile,
        /// least Kullback-Leibler divergence
        Entropy => Calibration::Entropy,
        /// least mean squared error
        Mse => Calibration::Mse,
    }
}

words! {
    /// `--weight-scales`
    WeightScalesArg => WeightScales {
        /// the largest magnitude becomes the largest value of the type
        Max => WeightScales::Max,
        /// least mean squared error
        Mse => WeightScales::Mse,
        /// max for 8 bits, mse for fewer
        Auto => WeightScales::Auto,
    }
}

words! {
    /// `--weight-rounding`
    WeightRoundingArg => WeightRounding {
        /// so that the errors of a filter cancel (SQuant)
        Balanced => WeightRounding::Balanced,
        /// to the nearest value
        Nearest => WeightRounding::Nearest,
        /// as is best for each layer's outputs on the calibration samples
        Learned => WeightRounding::Learned,
    }
}

fn bits(text: &str) -> Result<u8, String> {
    text.parse().map_err(|_| format!("`{text}` is no number of bits"))
}

/// `--weights`
pub(crate) fn weight_bits(text: &str) -> Result<WeightBits, String> {
    WeightBits::try_from(bits(text)?)
}

words! {
    /// `--loss`
    LossArg => Objective {
        /// cross-entropy with the labels
        Labels => Objective::Labels,
        /// distance to the float model's outputs: needs no labels
        Distill => Objective::Distill,
        /// the mean of both
        Both => Objective::Both,
    }
}

words! {
    /// `--schedule`
    DecayArg => Decay {
        /// it stays
        Constant => Decay::Constant,
        /// half a cosine down to 0
        Cosine => Decay::Cosine,
        /// a tenth at half, a hundredth at three quarters
        Steps => Decay::Steps,
    }
}

words! {
    /// `--optimizer`
    MethodArg => Method {
        /// Adam with decoupled weight decay
        Adamw => Method::AdamW { betas: [0.9, 0.999] },
        /// stochastic gradient descent with momentum 0.9
        Sgd => Method::Sgd { momentum: 0.9 },
    }
}

/// `--block`
pub(crate) fn block_size(text: &str) -> Result<BlockSize, String> {
    let size: usize = text.parse().map_err(|_| format!("`{text}` is no number of weights"))?;
    BlockSize::try_from(size)
}

words! {
    /// `--io`
    IoArg => IoType {
        /// as in the float model
        Float => IoType::Float,
        /// int8: no float operator is left
        Int8 => IoType::Int8,
        /// uint8: no float operator is left
        Uint8 => IoType::Uint8,
    }
}

words! {
    /// `--rounding`
    RoundingArg => Rounding {
        /// a float multiplication, half to even
        Float => Rounding::Float,
        /// 31-bit multiplier and shift, as on microcontrollers
        Fixed => Rounding::Fixed,
    }
}

words! {
    /// `--on-bad-image`: whether to skip
    OnBadImageArg => bool {
        /// stop with an error that names the file
        Stop => false,
        /// leave it out and count it
        Skip => true,
    }
}

/// `--input-shape`: a name and extents, `x=1x3x224x224`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ShapeArg(pub(crate) String, pub(crate) Vec<usize>);

impl FromStr for ShapeArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wanted = || format!("expected an input's name and its extents, as x=1x3x224x224, got '{text}'");
        // Names may hold '='; extents do not.
        let (name, extents) = text.rsplit_once('=').filter(|(name, _)| !name.is_empty()).ok_or_else(wanted)?;
        let extent = |n: &str| n.trim().parse::<usize>().ok().filter(|&n| n > 0);
        let extents: Option<Vec<usize>> = extents.split(['x', ',']).map(extent).collect();
        Ok(ShapeArg(name.to_owned(), extents.ok_or_else(wanted)?))
    }
}

/// `--input`: `name=file.npy`, or only a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct InputArg {
    pub(crate) name: Option<String>,
    pub(crate) file: PathBuf,
}

impl FromStr for InputArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, file) = match text.split_once('=') {
            Some((name, file)) => (Some(name.to_owned()), file),
            None => (None, text),
        };
        if file.is_empty() || name.as_ref().is_some_and(String::is_empty) {
            return Err(format!("expected an input's name and a file, as x=x.npy, got '{text}'"));
        }
        Ok(InputArg { name, file: file.into() })
    }
}

/// `--max-drop`: percentage points, with or without a percent sign.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Drop(pub(crate) f64);

impl FromStr for Drop {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let points = text.trim().trim_end_matches('%').trim_end().parse::<f64>().ok();
        let points = points.filter(|p| (0.0..=100.0).contains(p));
        points
            .map(Drop)
            .ok_or_else(|| format!("expected percentage points from 0 to 100, as 0.5 or 0.5%, got '{text}'"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_name_and_extents() {
        let shape = |text: &str| text.parse::<ShapeArg>();
        assert_eq!(shape("x=1x3x224"), Ok(ShapeArg("x".into(), vec![1, 3, 224])));
        assert_eq!(shape("a=b:0=1,128"), Ok(ShapeArg("a=b:0".into(), vec![1, 128])));
        for wrong in ["x", "=1x2", "x=", "x=1x0", "x=1xN", "x=-1"] {
            assert!(shape(wrong).unwrap_err().contains("x=1x3x224x224"), "{wrong}");
        }
    }

    #[test]
    fn inputs_are_files_with_or_without_a_name() {
        let input = |text: &str| text.parse::<InputArg>();
        assert_eq!(input("x=a=b.npy"), Ok(InputArg { name: Some("x".into()), file: "a=b.npy".into() }));
        assert_eq!(input("a.npy"), Ok(InputArg { name: None, file: "a.npy".into() }));
        assert!(input("=a.npy").is_err() && input("x=").is_err());
    }

    #[test]
    fn drops_are_points() {
        assert_eq!("0.5%".parse(), Ok(Drop(0.5)));
        assert_eq!("1".parse(), Ok(Drop(1.0)));
        for wrong in ["-1", "101", "much", "NaN", ""] {
            assert!(wrong.parse::<Drop>().is_err(), "{wrong}");
        }
    }
}
