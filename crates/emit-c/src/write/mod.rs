//! The text of the two files.

mod data;
mod header;
mod source;

use std::collections::BTreeSet;

use crate::borders::Port;
use crate::options::Options;
use crate::program::Program;
use crate::report::{Cost, LayerCost};

pub(crate) use header::header;
pub(crate) use source::Source;

/// The names under which the C knows the model and its ports.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    /// `model`
    pub(crate) lower: String,
    /// `MODEL`
    pub(crate) upper: String,
    /// Parameter names of the inputs.
    pub(crate) inputs: Vec<String>,
    /// Parameter names of the outputs.
    pub(crate) outputs: Vec<String>,
}

impl Names {
    pub(crate) fn new(program: &Program, options: &Options) -> Self {
        let mut taken = BTreeSet::from(["arena".to_owned()]);
        let mut of = |ports: &[Port], kind: &str| -> Vec<String> {
            if ports.len() == 1 {
                return vec![kind.to_owned()];
            }
            ports.iter().map(|p| unique(&format!("{kind}_{}", identifier(&p.name)), &mut taken)).collect()
        };
        let inputs = of(&program.inputs, "input");
        let outputs = of(&program.outputs, "output");
        Names { lower: options.name.clone(), upper: options.name.to_ascii_uppercase(), inputs, outputs }
    }

    /// Text written for a model named `model`, with the real name.
    pub(crate) fn renamed(&self, text: &str) -> String {
        text.replace("model_", &format!("{}_", self.lower)).replace("MODEL_", &format!("{}_", self.upper))
    }
}

/// A name as the tail of a C identifier.
fn identifier(name: &str) -> String {
    let kept: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' }).collect();
    let kept = kept.trim_matches('_');
    if kept.is_empty() { "port".to_owned() } else { kept.to_owned() }
}

fn unique(name: &str, taken: &mut BTreeSet<String>) -> String {
    let mut candidate = name.to_owned();
    let mut n = 1;
    while !taken.insert(candidate.clone()) {
        n += 1;
        candidate = format!("{name}_{n}");
    }
    candidate
}

/// A name of the model inside of a comment: nothing that could end it.
pub(crate) fn comment(name: &str) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || " _-.:;,/()[]".contains(c);
    let kept: String = name.chars().map(|c| if allowed(c) { c } else { '_' }).collect();
    kept.replace("/*", "/_").replace("*/", "_/").replace("//", "/_")
}

/// What the files cost.
pub(crate) fn cost(program: &Program, source: &Source) -> Cost {
    let layers = program.steps.iter().zip(&source.step_code).map(|(step, code)| LayerCost {
        node: step.node.clone(),
        op: step.op,
        output: step.output.clone(),
        macs: step.macs,
        constants: step.kernel.constant_bytes(),
        code: *code,
        memory: step.memory,
    });
    let layers: Vec<LayerCost> = layers.collect();
    // A frame for the entry point, the kernel and what it calls, with their saved registers.
    const FRAMES: usize = 240;
    Cost {
        arena: program.arena,
        inputs: program.inputs.iter().map(Port::len).sum(),
        outputs: program.outputs.iter().map(Port::len).sum(),
        stack: FRAMES + program.steps.iter().map(|s| s.kernel.stack).max().unwrap_or(0),
        constants: layers.iter().map(|l| l.constants).sum::<usize>()
            + program.constants.iter().map(|(_, bytes)| bytes.len()).sum::<usize>(),
        code: source.shared_code + layers.iter().map(|l| l.code).sum::<usize>(),
        macs: layers.iter().map(|l| l.macs).sum(),
        layers,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_cannot_be_ended_from_inside() {
        assert_eq!(comment("a*/ int x; /* \\\n é??/"), "a_/ int x; /_ __ ___/");
        assert!(!comment("/*//**/").contains("/*") && !comment("a//b").contains("//"));
    }

    #[test]
    fn port_names_are_unique_identifiers() {
        let mut taken = BTreeSet::new();
        assert_eq!(unique(&identifier("x:0"), &mut taken), "x_0");
        assert_eq!(unique(&identifier("X/0"), &mut taken), "x_0_2");
        assert_eq!(identifier("::"), "port");
    }
}
