//! Numbers as people read them. JSON has the plain numbers.

/// SQNR in JSON is kept within ±200 dB: identical outputs have an infinite one, which JSON cannot
/// say, and 32-bit floats cannot tell more than some 150 dB.
pub const SQNR_LIMIT: f64 = 200.0;

/// What stands where nothing was measured.
pub const NOTHING: &str = "-";

/// `12`, `3.4 KB`, `15 MB` (1 KB = 1,000 bytes).
pub fn bytes(n: u64) -> String {
    scaled(n, &["bytes", "KB", "MB", "GB", "TB", "PB", "EB"])
}

/// `12`, `3.4 k`, `15 M`, `390 G`.
pub fn count(n: u64) -> String {
    scaled(n, &["", "k", "M", "G", "T", "P", "E"]).trim_end().to_owned()
}

fn scaled(n: u64, units: &[&str]) -> String {
    // Precision beyond three digits is not shown.
    let mut value = n as f64;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < units.len() {
        value /= 1000.0;
        unit += 1;
    }
    match (unit, value) {
        (0, _) => format!("{n} {}", units[0]),
        (_, v) if v < 9.995 => format!("{v:.2} {}", units[unit]),
        (_, v) if v < 99.95 => format!("{v:.1} {}", units[unit]),
        (_, v) => format!("{v:.0} {}", units[unit]),
    }
}

/// `1,234,567`.
pub fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A share of 1 as `98.30 %`.
pub fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| NOTHING.to_owned(), |s| format!("{:.2} %", s * 100.0))
}

/// `19.2 dB`; `identical` at the limit of what can be told apart.
pub fn decibel(db: Option<f64>) -> String {
    match db {
        None => NOTHING.to_owned(),
        Some(db) if db >= SQNR_LIMIT => "identical".to_owned(),
        Some(db) => format!("{db:.1} dB"),
    }
}

/// `0.9987`.
pub fn cosine(value: Option<f64>) -> String {
    value.map_or_else(|| NOTHING.to_owned(), |v| format!("{v:.5}"))
}

/// `12.3 ms`, with three digits.
pub fn milliseconds(ms: f64) -> String {
    match ms {
        ms if ms < 9.995 => format!("{ms:.3} ms"),
        ms if ms < 99.95 => format!("{ms:.1} ms"),
        ms => format!("{ms:.0} ms"),
    }
}

/// `0.253`, one number over another; `-` over zero.
pub fn ratio(part: u64, whole: u64) -> String {
    if whole == 0 {
        return NOTHING.to_owned();
    }
    format!("{:.3}", part as f64 / whole as f64)
}

/// A number that JSON can say: SQNR within ±[`SQNR_LIMIT`], NaN as `None`.
pub fn finite_sqnr(db: Option<f64>) -> Option<f64> {
    db.filter(|db| !db.is_nan()).map(|db| db.clamp(-SQNR_LIMIT, SQNR_LIMIT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_three_digits_and_round_into_the_next_unit() {
        let cases = [
            (0, "0 bytes"),
            (999, "999 bytes"),
            (1000, "1.00 KB"),
            (9_999, "10.0 KB"),
            (99_960, "100 KB"),
            (999_600, "1.00 MB"),
            (13_400_000, "13.4 MB"),
            (u64::MAX, "18.4 EB"),
        ];
        for (n, wanted) in cases {
            assert_eq!(bytes(n), wanted);
        }
        assert_eq!(count(390_000_000), "390 M");
        assert_eq!(count(12), "12");
    }

    #[test]
    fn grouping_starts_at_the_right() {
        assert_eq!(grouped(7), "7");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1000), "1,000");
        assert_eq!(grouped(1_234_567), "1,234,567");
    }

    #[test]
    fn what_was_not_measured_is_a_dash() {
        assert_eq!((percent(None), decibel(None), cosine(None)), ("-".into(), "-".into(), "-".into()));
        assert_eq!(ratio(3, 0), "-");
        assert_eq!(percent(Some(0.983)), "98.30 %");
        assert_eq!(decibel(Some(f64::INFINITY)), "identical");
    }

    #[test]
    fn json_numbers_are_finite() {
        assert_eq!(finite_sqnr(Some(f64::INFINITY)), Some(SQNR_LIMIT));
        assert_eq!(finite_sqnr(Some(f64::NEG_INFINITY)), Some(-SQNR_LIMIT));
        assert_eq!(finite_sqnr(Some(f64::NAN)), None);
        assert_eq!(finite_sqnr(Some(19.25)), Some(19.25));
    }
}
