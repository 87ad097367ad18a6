//! The shared C functions: their text, what each needs, and about how large they are.

use std::collections::BTreeSet;

use crate::kernel::Helper;
use crate::options::Target;

impl Helper {
    /// Functions that this one calls.
    fn needs(self, general: bool) -> &'static [Helper] {
        match self {
            Helper::Scale if general => &[Helper::ScaleAny],
            Helper::Finish => &[Helper::Scale, Helper::Narrow, Helper::LayerTypes],
            Helper::DenseWide => &[Helper::Finish, Helper::Dsp],
            Helper::DensePair => &[Helper::Finish, Helper::DenseWide],
            Helper::Patches => &[Helper::DenseWide],
            Helper::Gather => &[Helper::Dsp],
            Helper::DenseOne => &[Helper::Finish, Helper::Dot],
            Helper::Depthwise => &[Helper::Finish, Helper::Dsp],
            Helper::Dot => &[Helper::Dsp],
            Helper::Linear => &[Helper::LayerTypes, Helper::Dot, Helper::ScaleOnce, Helper::Narrow],
            Helper::Softmax => &[Helper::Fixed, Helper::Narrow],
            _ => &[],
        }
    }

    /// The texts: portable, for the DSP extension, for Helium.
    fn texts(self, general: bool) -> [Option<&'static str>; 3] {
        let portable = |text| [Some(text), None, None];
        // Helium takes the portable one, too.
        let both = |text, dsp| [Some(text), Some(dsp), None];
        match self {
            Helper::Copy => portable(include_str!("c/copy.c")),
            Helper::Fill => portable(include_str!("c/fill.c")),
            Helper::Fixed => portable(include_str!("c/fixed.c")),
            Helper::Scale if general => portable(include_str!("c/requantize_layer.c")),
            Helper::Scale => both(include_str!("c/requantize_down.c"), include_str!("c/requantize_down_dsp.c")),
            Helper::ScaleAny => portable(include_str!("c/requantize.c")),
            Helper::ScaleOnce => portable(include_str!("c/requantize_once.c")),
            Helper::Narrow => portable(include_str!("c/narrow.c")),
            Helper::LayerTypes => portable(include_str!("c/layer_types.c")),
            Helper::Finish => portable(include_str!("c/finish.c")),
            Helper::Dsp => [None, Some(include_str!("c/dsp.c")), None],
            Helper::Dot => {
                [Some(include_str!("c/dot.c")), Some(include_str!("c/dot_dsp.c")), Some(include_str!("c/dot_mve.c"))]
            }
            Helper::Gather => both(include_str!("c/gather.c"), include_str!("c/gather_dsp.c")),
            Helper::GatherFill => both(include_str!("c/gather_fill.c"), include_str!("c/gather_fill_dsp.c")),
            Helper::DenseWide => [
                Some(include_str!("c/dense_pair.c")),
                Some(include_str!("c/dense_pair_dsp.c")),
                Some(include_str!("c/dense_pair_mve.c")),
            ],
            Helper::DensePair => [None, Some(include_str!("c/pair_rows_dsp.c")), None],
            Helper::Patches => both(include_str!("c/patches.c"), include_str!("c/patches_dsp.c")),
            Helper::DenseOne => portable(include_str!("c/dense_one.c")),
            Helper::Linear => portable(include_str!("c/linear.c")),
            Helper::Depthwise => [
                Some(include_str!("c/depthwise.c")),
                Some(include_str!("c/depthwise_dsp.c")),
                Some(match general {
                    true => include_str!("c/depthwise_mve_general.c"),
                    false => include_str!("c/depthwise_mve.c"),
                }),
            ],
            Helper::Softmax => portable(include_str!("c/softmax.c")),
        }
    }

    /// Bytes of code in Thumb-2 at `-O2`, the largest path.
    fn code_bytes(self) -> usize {
        match self {
            Helper::LayerTypes | Helper::Dsp | Helper::Narrow => 16,
            Helper::Copy => 52,
            Helper::Fill => 12,
            Helper::Fixed => 120,
            Helper::Scale => 40,
            Helper::ScaleAny => 72,
            Helper::ScaleOnce => 40,
            Helper::Finish => 64,
            Helper::Dot => 148,
            Helper::Gather => 44,
            Helper::GatherFill => 32,
            Helper::DenseWide => 560,
            Helper::DensePair => 110,
            Helper::Patches => 8,
            Helper::DenseOne => 190,
            Helper::Linear => 240,
            Helper::Depthwise => 520,
            Helper::Softmax => 480,
        }
    }
}

/// `wanted` and all that they need, in the order of the file.
pub(crate) fn closure(wanted: &BTreeSet<Helper>, general: bool) -> BTreeSet<Helper> {
    let mut all = BTreeSet::new();
    let mut open: Vec<Helper> = wanted.iter().copied().collect();
    while let Some(helper) = open.pop() {
        if all.insert(helper) {
            open.extend(helper.needs(general));
        }
    }
    all
}

/// Estimated bytes of code.
pub(crate) fn code_bytes(helpers: &BTreeSet<Helper>) -> usize {
    helpers.iter().map(|h| h.code_bytes()).sum()
}

/// Whether one of them has a path of its own for an instruction set: DSP extension, Helium.
pub(crate) fn has_paths(helpers: &BTreeSet<Helper>, target: Target) -> (bool, bool) {
    let with = |path: usize| helpers.iter().any(|h| h.texts(false)[path].is_some());
    (target.has_dsp() && with(1), target.has_mve() && with(2))
}

/// The C of the helpers for a target; `general` if some layer does not keep to what
/// the short requantization needs.
pub(crate) fn text(helpers: &BTreeSet<Helper>, target: Target, general: bool) -> String {
    let mut out = String::new();
    for helper in helpers {
        let [portable, dsp, mve] = helper.texts(general);
        let (dsp, mve) = (dsp.filter(|_| target.has_dsp()), mve.filter(|_| target.has_mve()));
        let mut branches: Vec<(&str, &str)> = Vec::new();
        branches.extend(mve.map(|text| ("defined(MODEL_MVE)", text)));
        branches.extend(dsp.map(|text| ("defined(MODEL_DSP)", text)));
        match (branches.is_empty(), portable) {
            (true, Some(text)) => out.push_str(text),
            (true, None) => continue,
            (false, _) => {
                for (i, (condition, text)) in branches.iter().enumerate() {
                    let word = if i == 0 { "#if" } else { "#elif" };
                    out.push_str(&format!("{word} {condition}\n{text}"));
                }
                if let Some(text) = portable {
                    out.push_str(&format!("#else\n{text}"));
                }
                out.push_str("#endif\n");
            }
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn helpers_bring_what_they_call() {
        let all = closure(&BTreeSet::from([Helper::DenseOne]), false);
        assert!(all.contains(&Helper::Scale) && all.contains(&Helper::Dot) && !all.contains(&Helper::Softmax));
    }

    #[test]
    fn a_target_without_extensions_gets_portable_c_alone() {
        let all = closure(&BTreeSet::from([Helper::DensePair, Helper::Depthwise, Helper::Softmax]), false);
        let host = text(&all, Target::Host, false);
        assert!(!host.contains("#if") && !host.contains("smlad") && host.contains("model_dense_pair"));
        let helium = text(&all, Target::CortexM55, false);
        assert!(helium.contains("vmladavaq_s8") && !helium.contains("__smlad"));
    }
}
