//! `fewbits demo`.

use serde::Serialize;

use crate::{Align, Report, Style, Table, format};

/// One of the demo's models.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DemoModel {
    /// `float`, `dynamic`, `int8` or `float16`.
    pub mode: String,
    /// Size of its ONNX file.
    pub bytes: u64,
    /// `bytes` over the float file's.
    pub ratio: f64,
    /// Share of the test samples that it reads right.
    pub top1: f64,
    /// Share of the test samples on which it answers as the float model.
    pub agreement: f64,
    /// SQNR against the float model in decibels, at most 200.
    pub sqnr_db: Option<f64>,
    /// Median wall time of one run on one thread.
    pub median_ms: f64,
    /// The files written.
    pub files: Vec<String>,
}

/// The four models side by side.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Demo {
    /// Where the files are.
    pub directory: String,
    /// Samples calibrated on.
    pub calibration_samples: u64,
    /// Samples measured on, none of them used for training or calibration.
    pub test_samples: u64,
    /// Float first.
    pub models: Vec<DemoModel>,
    /// What to try next.
    pub next: String,
}

impl Report for Demo {
    fn text(&self, style: Style) -> String {
        let mut text = format!(
            "Handwritten digits (UCI, E. Alpaydin and C. Kaynak, CC BY 4.0), a small convolutional network.\n\
             Calibrated on {} samples, measured on {} others, one thread.\n\n",
            self.calibration_samples, self.test_samples
        );
        let mut table = Table::new(&[
            ("mode", Align::Left),
            ("size", Align::Right),
            ("ratio", Align::Right),
            ("accuracy", Align::Right),
            ("agreement", Align::Right),
            ("SQNR", Align::Right),
            ("latency", Align::Right),
        ]);
        for model in &self.models {
            table.row([
                model.mode.clone(),
                format::bytes(model.bytes),
                format!("{:.3}", model.ratio),
                format::percent(Some(model.top1)),
                format::percent(Some(model.agreement)),
                format::decibel(model.sqnr_db),
                format::milliseconds(model.median_ms),
            ]);
        }
        text.push_str(&table.text(style));
        text.push_str("\nFiles:\n");
        for file in self.models.iter().flat_map(|model| &model.files) {
            text.push_str(&format!("  {file}\n"));
        }
        text.push_str(&format!("\n{} {}\n", style.heading("Next:"), self.next));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_stands_between_credit_and_hint() {
        let model = DemoModel {
            mode: "int8".into(),
            bytes: 200_000,
            ratio: 0.25,
            top1: 0.986,
            agreement: 1.0,
            sqnr_db: None,
            median_ms: 0.1,
            files: vec!["d/m.onnx".into()],
        };
        let demo = Demo { models: vec![model], next: "more".into(), test_samples: 500, ..Demo::default() };
        let text = demo.text(Style::Plain);
        assert!(text.starts_with("Handwritten digits (UCI"));
        assert!(text.contains("int8  200 KB  0.250   98.60 %   100.00 %     -  0.100 ms\n"), "{text}");
        assert!(text.ends_with("  d/m.onnx\n\nNext: more\n"));
    }
}
