//! What the figures of a quantization amount to.

use fewbits_report::{Quantize, SearchStep};

use crate::measure::paired::Metric;

/// Agreement below this is called bad.
const BAD_AGREEMENT: f64 = 0.9;

/// SQNR below this, in decibels, is called bad.
const BAD_SQNR_DB: f64 = 10.0;

/// Draws the conclusions: what was lost, whether that is accepted, what looks bad.
pub(crate) fn judge(report: &mut Quantize) {
    let mut warnings = Vec::new();
    // Nobody reads the largest element of what is no choice between classes.
    let decides = report.metric.as_deref() != Some(Metric::Error.name());
    if let Some(agreement) = report.agreement.filter(|&a| decides && a < BAD_AGREEMENT) {
        warnings.push(format!(
            "the quantized model gives the float model's answer on only {:.1} % of the samples; `fewbits compare` \
             shows the layers to --exclude",
            100.0 * agreement
        ));
    }
    if let Some(db) = report.sqnr_db.filter(|&db| db < BAD_SQNR_DB) {
        warnings.push(format!(
            "the outputs are far from the float model's: SQNR {db:.1} dB; `fewbits compare` shows the layers to \
             --exclude"
        ));
    }
    for overflow in &report.overflows {
        warnings.push(format!(
            "`{}` has {} element(s) beyond half precision; it stays float32",
            overflow.tensor, overflow.elements
        ));
    }
    report.accepted = match (report.max_drop_points, report.drop_points) {
        (None, _) => true,
        (Some(most), Some(lost)) => lost <= most,
        (Some(_), None) => false,
    };
    if let (Some(most), Some(high), true) = (report.max_drop_points, report.drop_high_points, report.accepted)
        && high > most
    {
        report.notes.push(format!(
            "{} samples cannot tell a drop of {:.2} points from one of {high:.2} (95 % confidence): more samples with \
             --eval would",
            report.samples,
            report.drop_points.unwrap_or_default()
        ));
    }
    report.warnings.extend(warnings);
}

/// Fills the report of a search that found nothing: what the best was.
pub(crate) fn give_up(report: &mut Quantize, limit: f64) {
    let loss = |step: &&SearchStep| step.drop_points.unwrap_or(f64::INFINITY);
    // An estimate is no recipe that could be had.
    let real = report.steps.iter().filter(|step| !step.name.ends_with("(estimate)"));
    let Some(best) = real.min_by(|a, b| loss(a).total_cmp(&loss(b))).cloned() else { return };
    let metric = report.metric.clone().unwrap_or_default();
    let lost =
        best.drop_points.map_or_else(|| "gives outputs that are no numbers".to_owned(), |d| format!("loses {d:.2}"));
    report.warnings.push(format!(
        "no recipe loses at most --max-drop {limit} points of {metric}: the best of {} tried ({}) {lost}; nothing was \
         written",
        report.steps.len(),
        best.name
    ));
    (report.top1_after, report.agreement, report.sqnr_db) = (best.top1, best.agreement, best.sqnr_db);
    report.drop_points = best.drop_points;
    (report.drop_low_points, report.drop_high_points) = (best.drop_low_points, best.drop_high_points);
    report.bytes_after = best.bytes;
    report.ratio = best.bytes as f64 / report.bytes_before as f64;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drop_that_few_samples_cannot_tell_is_called_so() {
        let report = Quantize {
            samples: 50,
            drop_points: Some(0.5),
            drop_high_points: Some(3.0),
            max_drop_points: Some(1.0),
            ..Quantize::default()
        };
        let mut unsure = report.clone();
        judge(&mut unsure);
        assert!(unsure.accepted && unsure.notes[0].contains("50 samples cannot tell"), "{unsure:?}");
        let mut sure = Quantize { drop_high_points: Some(0.9), ..report.clone() };
        judge(&mut sure);
        assert!(sure.accepted && sure.notes.is_empty());
        let mut missed = Quantize { drop_points: Some(1.5), ..report };
        judge(&mut missed);
        assert!(!missed.accepted && missed.notes.is_empty());
        let mut unmeasured = Quantize { max_drop_points: Some(1.0), ..Quantize::default() };
        judge(&mut unmeasured);
        assert!(!unmeasured.accepted);
    }

    #[test]
    fn who_gives_up_says_what_was_best() {
        let step = |name: &str, drop| SearchStep { name: name.into(), drop_points: drop, ..SearchStep::default() };
        let steps = vec![step("a", None), step("b", Some(3.0)), step("c (estimate)", Some(2.0)), step("d", Some(3.0))];
        let mut report = Quantize { steps, bytes_before: 1, metric: Some("top-1".into()), ..Quantize::default() };
        give_up(&mut report, 1.0);
        assert_eq!((report.accepted, report.drop_points), (false, Some(3.0)));
        let wanted = "at most --max-drop 1 points of top-1: the best of 4 tried (b) loses 3.00; nothing was written";
        assert!(report.warnings[0].contains(wanted), "{:?}", report.warnings);
    }

    #[test]
    fn bad_results_are_called_bad() {
        let mut report = Quantize { samples: 5, agreement: Some(0.5), sqnr_db: Some(3.0), ..Quantize::default() };
        judge(&mut report);
        assert_eq!(report.warnings.len(), 2);
        assert!(report.warnings[0].contains("50.0 %") && report.warnings[1].contains("3.0 dB"));
    }
}
