//! `fewbits inspect`.

use serde::Serialize;

use crate::evaluate::notes;
use crate::{Align, Report, Style, Table, format};

/// A public input or output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Port {
    /// Name.
    pub name: String,
    /// Element type.
    pub dtype: String,
    /// Extents as text; names stand for those that are free.
    pub shape: Vec<String>,
    /// Scale and zero point as text; `null` if not quantized.
    pub quantization: Option<String>,
}

/// How often an operator occurs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OpCount {
    /// Operator.
    pub op: String,
    /// Nodes.
    pub count: u64,
    /// Multiply-accumulates of these nodes in one run.
    pub macs: u64,
}

/// Constants of one element type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Storage {
    /// Element type.
    pub dtype: String,
    /// Tensors.
    pub tensors: u64,
    /// Elements.
    pub elements: u64,
    /// Bytes.
    pub bytes: u64,
}

/// One value of the graph.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Edge {
    /// Name.
    pub name: String,
    /// `input`, `constant`, or the operator that makes it.
    pub source: String,
    /// Element type.
    pub dtype: String,
    /// Shape in the graph's layout, channels last.
    pub shape: String,
    /// Scale and zero point as text; `null` if not quantized.
    pub quantization: Option<String>,
}

/// What a model file holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Inspect {
    /// The file.
    pub model: String,
    /// The model's own name.
    pub name: String,
    /// Size of the file.
    pub bytes: u64,
    /// Public inputs.
    pub inputs: Vec<Port>,
    /// Public outputs.
    pub outputs: Vec<Port>,
    /// Nodes.
    pub nodes: u64,
    /// Operators, the most frequent first.
    pub operators: Vec<OpCount>,
    /// Elements of all float and quantized constants.
    pub parameters: u64,
    /// Multiply-accumulates of one run; `null` if shapes do not tell.
    pub macs: Option<u64>,
    /// Constants by element type, the largest first.
    pub storage: Vec<Storage>,
    /// Every value; `null` without `--edges`.
    pub edges: Option<Vec<Edge>>,
    /// What was assumed.
    pub notes: Vec<String>,
}

impl Report for Inspect {
    fn text(&self, style: Style) -> String {
        let mut facts = Table::facts();
        facts.row(["file".to_owned(), format!("{} ({})", self.model, format::bytes(self.bytes))]);
        if !self.name.is_empty() {
            facts.row(["name", &self.name]);
        }
        facts.row(["parameters".to_owned(), format::grouped(self.parameters)]);
        facts.row(["MACs".to_owned(), self.macs.map_or_else(|| format::NOTHING.to_owned(), format::grouped)]);
        facts.row(["nodes".to_owned(), format::grouped(self.nodes)]);
        let parts = [
            facts.text(style),
            self.ports().text(style),
            self.operator_table().text(style),
            self.storage_table().text(style),
            self.edges.as_deref().map_or_else(String::new, |edges| edge_table(edges).text(style)),
        ];
        let text = parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\n");
        text + &notes(&self.notes, style)
    }
}

impl Inspect {
    fn ports(&self) -> Table {
        let mut table = Table::new(&[
            ("", Align::Left),
            ("name", Align::Left),
            ("type", Align::Left),
            ("shape", Align::Left),
            ("quantization", Align::Left),
        ]);
        let all = self.inputs.iter().map(|p| ("input", p)).chain(self.outputs.iter().map(|p| ("output", p)));
        for (role, port) in all {
            let shape = format!("[{}]", port.shape.join(", "));
            let quantization = port.quantization.clone().unwrap_or_default();
            table.row([role, &port.name, &port.dtype, &shape, &quantization]);
        }
        table
    }

    fn operator_table(&self) -> Table {
        let mut table = Table::new(&[("operator", Align::Left), ("nodes", Align::Right), ("MACs", Align::Right)]);
        for op in &self.operators {
            let macs = if op.macs == 0 { String::new() } else { format::count(op.macs) };
            table.row([op.op.clone(), op.count.to_string(), macs]);
        }
        table
    }

    fn storage_table(&self) -> Table {
        let mut table = Table::new(&[
            ("constants", Align::Left),
            ("tensors", Align::Right),
            ("elements", Align::Right),
            ("bytes", Align::Right),
        ]);
        for s in &self.storage {
            table.row([s.dtype.clone(), s.tensors.to_string(), format::grouped(s.elements), format::grouped(s.bytes)]);
        }
        table
    }
}

fn edge_table(edges: &[Edge]) -> Table {
    let mut table = Table::new(&[
        ("value", Align::Left),
        ("from", Align::Left),
        ("type", Align::Left),
        ("shape", Align::Left),
        ("quantization", Align::Left),
    ]);
    for edge in edges {
        let quantization = edge.quantization.clone().unwrap_or_default();
        table.row([&edge.name, &edge.source, &edge.dtype, &edge.shape, &quantization]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_are_parted_by_blank_lines_and_edges_are_optional() {
        let port =
            Port { name: "x".into(), dtype: "float32".into(), shape: vec!["N".into(), "4".into()], quantization: None };
        let mut report = Inspect {
            model: "m.onnx".into(),
            bytes: 1234,
            inputs: vec![port],
            nodes: 1,
            operators: vec![OpCount { op: "Relu".into(), count: 1, macs: 0 }],
            ..Inspect::default()
        };
        let text = report.text(Style::Plain);
        assert!(text.contains("file        m.onnx (1.23 KB)\n"), "{text}");
        assert!(text.contains("input  x     float32  [N, 4]\n"), "{text}");
        assert_eq!(text.matches("\n\n").count(), 3);
        let edge = Edge {
            name: "y".into(),
            source: "Relu".into(),
            dtype: "int8".into(),
            shape: "[N, 4]".into(),
            quantization: Some("scale 0.5, zero point -3".into()),
        };
        report.edges = Some(vec![edge]);
        assert!(report.text(Style::Plain).contains("y      Relu  int8  [N, 4]  scale 0.5, zero point -3\n"));
    }
}
