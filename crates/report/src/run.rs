//! `fewbits run`.

use serde::Serialize;

use crate::{Align, Report, Style, Table};

/// One output of a run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Output {
    /// The output's name.
    pub name: String,
    /// Element type.
    pub dtype: String,
    /// Shape.
    pub shape: Vec<usize>,
    /// The `.npy` written.
    pub file: String,
}

/// The files that a run wrote.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Run {
    /// In the model's order.
    pub outputs: Vec<Output>,
}

impl Report for Run {
    fn text(&self, style: Style) -> String {
        let mut table = Table::new(&[
            ("output", Align::Left),
            ("type", Align::Left),
            ("shape", Align::Left),
            ("file", Align::Left),
        ]);
        for output in &self.outputs {
            table.row([&output.name, &output.dtype, &format!("{:?}", output.shape), &output.file]);
        }
        table.text(style)
    }
}
