//! What a search for a recipe tried.

use serde::Serialize;

use crate::{Align, Style, Table, format};

/// One recipe that was tried.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct SearchStep {
    /// What is tried, for people. A name that ends in `(estimate)` is of a recipe whose weights were not
    /// learned again, but taken from another step.
    pub name: String,
    /// Lines of the recipe that are not those of its mode's default, as TOML.
    pub changes: Vec<String>,
    /// Top-1 accuracy; `null` without labels.
    pub top1: Option<f64>,
    /// Share of output rows whose largest element is that of the float model.
    pub agreement: Option<f64>,
    /// SQNR against the float model in decibels, at most 200.
    pub sqnr_db: Option<f64>,
    /// Percentage points lost, by the search's metric; `null` if the outputs hold NaN or infinity.
    pub drop_points: Option<f64>,
    /// Lower end of the drop's 95 % confidence interval.
    pub drop_low_points: Option<f64>,
    /// Upper end of it.
    pub drop_high_points: Option<f64>,
    /// Size of the file that it would be.
    pub bytes: u64,
    /// Wall time of quantizing and measuring; that of ranking layers counts to the step after it.
    pub seconds: f64,
    /// Whether the drop is within `--max-drop`.
    pub holds: bool,
    /// Whether this is the recipe that was written.
    pub chosen: bool,
}

/// `0.40 (-0.61 to 1.50)`: points with their interval.
pub(crate) fn points(points: Option<f64>, low: Option<f64>, high: Option<f64>) -> String {
    match (points, low, high) {
        (None, ..) => format::NOTHING.to_owned(),
        (Some(points), Some(low), Some(high)) => format!("{points:.2} ({low:.2} to {high:.2})"),
        (Some(points), ..) => format!("{points:.2}"),
    }
}

/// The steps as a table.
pub(crate) fn text(steps: &[SearchStep], metric: &str, style: Style) -> String {
    let drop = format!("{metric} drop");
    let mut table = Table::new(&[
        ("tried", Align::Left),
        (&drop, Align::Right),
        ("SQNR", Align::Right),
        ("size", Align::Right),
        ("time", Align::Right),
        ("", Align::Left),
    ]);
    for step in steps {
        let mark = match (step.chosen, step.holds) {
            (true, _) => "chosen",
            (false, true) => "holds",
            (false, false) => "",
        };
        table.row([
            step.name.clone(),
            points(step.drop_points, step.drop_low_points, step.drop_high_points),
            format::decibel(step.sqnr_db),
            format::bytes(step.bytes),
            format!("{:.1} s", step.seconds),
            mark.to_owned(),
        ]);
    }
    table.text(style)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_rows() {
        let step = |name: &str, drop, chosen| SearchStep {
            name: name.into(),
            drop_points: drop,
            drop_low_points: Some(-0.5),
            drop_high_points: Some(2.0),
            sqnr_db: Some(21.04),
            bytes: 300_000,
            seconds: 1.26,
            holds: chosen,
            chosen,
            ..SearchStep::default()
        };
        let steps = [step("min-max ranges", None, false), step("mse ranges", Some(0.75), true)];
        assert_eq!(
            text(&steps, "top-1", Style::Plain),
            "tried                     top-1 drop     SQNR    size   time\n\
             min-max ranges                     -  21.0 dB  300 KB  1.3 s\n\
             mse ranges      0.75 (-0.50 to 2.00)  21.0 dB  300 KB  1.3 s  chosen\n"
        );
    }
}
