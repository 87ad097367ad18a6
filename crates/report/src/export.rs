//! `fewbits export`: what a model costs as C.

use serde::Serialize;

use crate::{Align, Report, Style, Table, format};

/// One call of the C file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ExportLayer {
    /// Node name.
    pub node: String,
    /// Operator.
    pub op: String,
    /// Extents of its first output, channels last.
    pub output: Vec<usize>,
    /// Multiply-accumulates.
    pub macs: u64,
    /// Bytes of weights and tables.
    pub constants: u64,
    /// Bytes of code of its own, estimated; 0 where it shares a function.
    pub code: u64,
    /// Bytes of the arena in use while it runs.
    pub ram: u64,
}

/// What was written, and what it costs on a 32-bit machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Export {
    /// The model's file.
    pub model: String,
    /// The C file.
    pub source: String,
    /// The header.
    pub header: String,
    /// What the file was written for.
    pub target: String,
    /// Bytes of the arena.
    pub arena: u64,
    /// Bytes of stack, estimated.
    pub stack: u64,
    /// Bytes of all inputs, which the caller holds.
    pub inputs: u64,
    /// Bytes of all outputs, which the caller holds.
    pub outputs: u64,
    /// Bytes of weights and tables.
    pub constants: u64,
    /// Bytes of code, estimated.
    pub code: u64,
    /// Multiply-accumulates of one run.
    pub macs: u64,
    /// The calls, in their order.
    pub layers: Vec<ExportLayer>,
}

impl Report for Export {
    fn text(&self, style: Style) -> String {
        let right = Align::Right;
        let columns = [
            ("layer", Align::Left),
            ("operator", Align::Left),
            ("output", Align::Left),
            ("MACs", right),
            ("constants", right),
            ("code", right),
            ("RAM", right),
        ];
        let mut table = Table::new(&columns);
        for l in &self.layers {
            let shape: Vec<String> = l.output.iter().map(ToString::to_string).collect();
            let numbers = [l.macs, l.constants, l.code, l.ram].map(format::grouped);
            table.row([l.node.clone(), l.op.clone(), shape.join("x")].into_iter().chain(numbers));
        }
        let all = [self.macs, self.constants, self.code, self.arena].map(format::grouped);
        table.row(["total".to_owned(), String::new(), String::new()].into_iter().chain(all));
        let mut text = table.text(style);
        text.push_str(&format!(
            "flash {} bytes (constants {}, code about {}); RAM {} bytes (arena {}, stack about {}), and {} for input and \
             output\nwrote {} and {}\n",
            format::grouped(self.constants + self.code),
            format::grouped(self.constants),
            format::grouped(self.code),
            format::grouped(self.arena + self.stack),
            format::grouped(self.arena),
            format::grouped(self.stack),
            format::grouped(self.inputs + self.outputs),
            self.source,
            self.header
        ));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_call_is_a_row_and_the_sums_stand_below() {
        let layer = |node: &str, op: &str, macs, constants, code, ram| ExportLayer {
            node: node.into(),
            op: op.into(),
            output: vec![1, 4, 4, 8],
            macs,
            constants,
            code,
            ram,
        };
        let export = Export {
            source: "net.c".into(),
            header: "net.h".into(),
            arena: 1152,
            stack: 200,
            inputs: 784,
            outputs: 10,
            constants: 12_400,
            code: 310,
            macs: 9000,
            layers: vec![layer("conv", "Conv2d", 9000, 12_144, 250, 1152), layer("act", "Unary", 0, 256, 60, 256)],
            ..Export::default()
        };
        assert_eq!(
            export.text(Style::Plain),
            "\
layer  operator  output    MACs  constants  code    RAM
conv   Conv2d    1x4x4x8  9,000     12,144   250  1,152
act    Unary     1x4x4x8      0        256    60    256
total                     9,000     12,400   310  1,152
flash 12,710 bytes (constants 12,400, code about 310); RAM 1,352 bytes (arena 1,152, stack about 200), and 794 for \
             input and output
wrote net.c and net.h
"
        );
    }
}
