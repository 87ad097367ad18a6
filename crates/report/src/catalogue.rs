//! `fewbits kernels` and `fewbits operators`.

use serde::Serialize;

use crate::{Align, Report, Style, Table};

/// One kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Kernel {
    /// `<dtype>_<op>_<tile>_<isa>`.
    pub name: String,
    /// Operator family.
    pub family: String,
    /// Instruction set.
    pub isa: String,
    /// Whether this CPU has the instruction set.
    pub available: bool,
}

/// Every kernel, and what this CPU can run of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Kernels {
    /// The instruction set in use (`FEWBITS_ISA` forces another).
    pub active: String,
    /// Instruction sets of this CPU, plainest first.
    pub isas: Vec<String>,
    /// Sorted by name.
    pub kernels: Vec<Kernel>,
}

impl Report for Kernels {
    fn text(&self, style: Style) -> String {
        let mut table = Table::new(&[
            ("kernel", Align::Left),
            ("family", Align::Left),
            ("instruction set", Align::Left),
            ("this CPU", Align::Left),
        ]);
        for kernel in &self.kernels {
            let available = if kernel.available { "yes" } else { "no" };
            table.row([kernel.name.as_str(), &kernel.family, &kernel.isa, available]);
        }
        let tail =
            format!("\nin use: {} (this CPU has {}; FEWBITS_ISA forces another)\n", self.active, self.isas.join(", "));
        table.text(style) + &tail
    }
}

/// One ONNX operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Operator {
    /// Its name, after its domain if that is not the standard one.
    pub name: String,
    /// Operator sets whose version of it is understood: `7 to 24`.
    pub versions: String,
}

/// What both formats' readers understand.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Operators {
    /// ONNX operators, sorted by name.
    pub onnx: Vec<Operator>,
    /// TFLite builtin operators, sorted by name.
    pub tflite: Vec<String>,
}

impl Report for Operators {
    /// Markdown, so that the README holds this text as it is.
    fn text(&self, _: Style) -> String {
        let mut text = "## ONNX\n\n| operator | operator sets |\n|---|---|\n".to_owned();
        for operator in &self.onnx {
            text.push_str(&format!("| {} | {} |\n", operator.name, operator.versions));
        }
        text.push_str("\n## TFLite\n\n| operator |\n|---|\n");
        for operator in &self.tflite {
            text.push_str(&format!("| {operator} |\n"));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operators_are_markdown() {
        let relu = Operator { name: "Relu".into(), versions: "7 to 24".into() };
        let text = Operators { onnx: vec![relu], tflite: vec!["RELU".into()] }.text(Style::Colored);
        assert_eq!(
            text,
            "## ONNX\n\n| operator | operator sets |\n|---|---|\n| Relu | 7 to 24 |\n\n\
             ## TFLite\n\n| operator |\n|---|\n| RELU |\n"
        );
    }
}
