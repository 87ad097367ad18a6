//! `fewbits compare`: where the error arises.

use serde::Serialize;

use crate::evaluate::notes;
use crate::{Align, Report, Style, Table, format};

/// The error of one layer's output against the float model's.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Layer {
    /// Name of the node in the float model.
    pub node: String,
    /// Operator.
    pub op: String,
    /// Name of the value compared.
    pub value: String,
    /// SQNR in decibels, at most 200.
    pub sqnr_db: Option<f64>,
    /// Cosine similarity.
    pub cosine: Option<f64>,
    /// Largest absolute difference.
    pub max_abs: Option<f64>,
}

/// All layers, worst first.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Compare {
    /// Samples run.
    pub samples: u64,
    /// Layers, the lowest SQNR first.
    pub layers: Vec<Layer>,
    /// What was assumed or left out.
    pub notes: Vec<String>,
}

impl Report for Compare {
    fn text(&self, style: Style) -> String {
        let mut table = Table::new(&[
            ("node", Align::Left),
            ("operator", Align::Left),
            ("SQNR", Align::Right),
            ("cosine", Align::Right),
            ("max |difference|", Align::Right),
        ]);
        for layer in &self.layers {
            let largest = layer.max_abs.map_or_else(|| format::NOTHING.to_owned(), |d| format!("{d:.4}"));
            table.row([
                layer.node.clone(),
                layer.op.clone(),
                format::decibel(layer.sqnr_db),
                format::cosine(layer.cosine),
                largest,
            ]);
        }
        let tail = match self.layers.len() {
            0 => "the models share no layer by name\n".to_owned(),
            n => format!("{n} layers, worst first, over {} samples; errors accumulate from the input\n", self.samples),
        };
        let body = if table.is_empty() { String::new() } else { table.text(style) };
        body + &tail + &notes(&self.notes, style)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_stand_in_the_order_given() {
        let layer = |node: &str, db| Layer {
            node: node.into(),
            op: "Conv2d".into(),
            value: format!("{node}_out"),
            sqnr_db: Some(db),
            cosine: Some(0.5),
            max_abs: Some(0.25),
        };
        let report = Compare { samples: 4, layers: vec![layer("head", 9.5), layer("stem", 31.0)], notes: vec![] };
        assert_eq!(
            report.text(Style::Plain),
            "node  operator     SQNR   cosine  max |difference|
head  Conv2d     9.5 dB  0.50000            0.2500
stem  Conv2d    31.0 dB  0.50000            0.2500
2 layers, worst first, over 4 samples; errors accumulate from the input
"
        );
        assert!(Compare::default().text(Style::Plain).starts_with("the models share no layer"));
    }
}
