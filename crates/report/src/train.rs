//! `fewbits train`.

use serde::{Deserialize, Serialize};

use crate::evaluate::notes;
use crate::{Align, Report, Style, Table, format};

/// An epoch of training.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TrainEpoch {
    /// Which, from 1.
    pub epoch: u64,
    /// Optimiser steps until its end, all epochs together.
    pub steps: u64,
    /// Learning rate of its last step.
    pub learning_rate: f64,
    /// Mean loss of its steps.
    pub loss: f64,
    /// Share of training samples whose class was right when they were trained on, augmented as they
    /// were; `null` without labels.
    pub train_top1: Option<f64>,
    /// Top-1 of the model as it would be written; `null` without labels.
    pub top1: Option<f64>,
    /// SQNR against the float model in decibels, where there are no labels to measure with.
    pub sqnr_db: Option<f64>,
}

/// What training did.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Train {
    /// The float model's file.
    pub model: String,
    /// The file written.
    pub output: String,
    /// The float model was trained, as a control.
    pub float: bool,
    /// Size of the float model in bytes.
    pub bytes_before: u64,
    /// Size of the file written.
    pub bytes_after: u64,
    /// Samples that were measured on.
    pub samples: u64,
    /// Top-1 of the float model as it came; `null` without labels.
    pub top1_float: Option<f64>,
    /// Top-1 of what training started from: the quantized model.
    pub top1_before: Option<f64>,
    /// Top-1 of the file written.
    pub top1_after: Option<f64>,
    /// Agreement with the float model, before and after.
    pub agreement_before: Option<f64>,
    /// See `agreement_before`.
    pub agreement_after: Option<f64>,
    /// SQNR against the float model in decibels, before and after.
    pub sqnr_db_before: Option<f64>,
    /// See `sqnr_db_before`.
    pub sqnr_db_after: Option<f64>,
    /// The epoch that was written.
    pub best_epoch: u64,
    /// All epochs.
    pub epochs: Vec<TrainEpoch>,
    /// Samples trained on.
    pub training_samples: u64,
    /// Memory of one pass's values and gradients, in bytes.
    pub pass_bytes: u64,
    /// Samples that steps took in a second, reading them and measuring left out.
    pub samples_per_second: f64,
    /// What was assumed.
    pub notes: Vec<String>,
}

/// The epochs as CSV, with a line of names.
pub fn train_csv(epochs: &[TrainEpoch]) -> String {
    let cell = |value: Option<f64>| value.map_or_else(String::new, |v| v.to_string());
    let line = |e: &TrainEpoch| {
        let (train, top1, sqnr) = (cell(e.train_top1), cell(e.top1), cell(e.sqnr_db));
        format!("{},{},{},{},{train},{top1},{sqnr}\n", e.epoch, e.steps, e.learning_rate, e.loss)
    };
    let lines: String = epochs.iter().map(line).collect();
    format!("epoch,steps,learning_rate,loss,train_top1,top1,sqnr_db\n{lines}")
}

impl Report for Train {
    fn text(&self, style: Style) -> String {
        let columns = ["epoch", "loss", "train top-1", "top-1", "SQNR"].map(|name| (name, Align::Right));
        let mut epochs = Table::new(&columns);
        for e in &self.epochs {
            epochs.row([
                e.epoch.to_string(),
                format!("{:.4}", e.loss),
                format::percent(e.train_top1),
                format::percent(e.top1),
                format::decibel(e.sqnr_db),
            ]);
        }
        let start = if self.float { "before" } else { "quantized" };
        let columns = [("", Align::Left), ("float", Align::Right), (start, Align::Right), ("trained", Align::Right)];
        let mut table = Table::new(&columns);
        if self.top1_after.is_some() {
            let row = [self.top1_float, self.top1_before, self.top1_after].map(format::percent);
            let [float, before, after] = row;
            table.row(["top-1".to_owned(), float, before, after]);
        }
        let agreement = [self.agreement_before, self.agreement_after].map(format::percent);
        let [before, after] = agreement;
        table.row(["agreement".to_owned(), String::new(), before, after]);
        let [before, after] = [self.sqnr_db_before, self.sqnr_db_after].map(format::decibel);
        table.row(["SQNR".to_owned(), String::new(), before, after]);
        let size = format!("{} of the float model's size", format::ratio(self.bytes_after, self.bytes_before));
        let tail = format!(
            "measured on {} samples, trained on {} at {:.0} a second; epoch {} was the best\nwrote {}, {size}\n",
            format::grouped(self.samples),
            format::grouped(self.training_samples),
            self.samples_per_second,
            self.best_epoch,
            self.output
        );
        epochs.text(style) + "\n" + &table.text(style) + &notes(&self.notes, style) + &tail
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_have_a_line_an_epoch() {
        let epoch = TrainEpoch {
            epoch: 1,
            steps: 10,
            learning_rate: 0.5,
            loss: 1.25,
            top1: Some(0.5),
            ..TrainEpoch::default()
        };
        assert_eq!(
            train_csv(&[epoch]),
            "epoch,steps,learning_rate,loss,train_top1,top1,sqnr_db\n1,10,0.5,1.25,,0.5,\n"
        );
    }

    #[test]
    fn float_quantized_and_trained_stand_side_by_side() {
        let report = Train {
            output: "m.int8.onnx".into(),
            samples: 5000,
            top1_float: Some(0.875),
            top1_before: Some(0.81),
            top1_after: Some(0.87),
            best_epoch: 2,
            ..Train::default()
        };
        let text = report.text(Style::Plain);
        assert!(text.contains("87.50 %") && text.contains("81.00 %") && text.contains("87.00 %"), "{text}");
        assert!(text.contains("5,000 samples") && text.contains("epoch 2 was the best"), "{text}");
    }
}
