//! Plots as inline SVG. Colours are the page's, by class; all text is numbers or escaped.

use std::fmt::Write;

use crate::{AnalyzedLayer, Histogram, ModeFigures, format};

/// Width and height of a histogram in its own units.
const HISTOGRAM: (f64, f64) = (300.0, 84.0);

/// Width and height of the plot of all layers.
const LAYERS: (f64, f64) = (960.0, 230.0);

/// Space for labels left of and below an axis.
const MARGIN: (f64, f64) = (52.0, 26.0);

/// Where the axis of layers ends: a layer that loses less could as well be float.
const HIGHEST_DB: f64 = 80.0;

/// Most layers that are drawn in the colour of warnings, and of how many one is.
const WORST: (usize, usize) = (5, 5);

/// Widest bar.
const WIDEST_BAR: f64 = 36.0;

/// Coordinates with one digit behind the point, without a trailing zero: the page holds thousands.
struct Short(f64);

impl std::fmt::Display for Short {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let rounded = (self.0 * 10.0).round() / 10.0;
        // Never "-0".
        write!(f, "{}", if rounded == 0.0 { 0.0 } else { rounded })
    }
}

/// The text with the characters that HTML gives a meaning replaced.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

/// A histogram with logarithmic heights, so that tails can be seen, and what lies outside of
/// `range` shaded; `inner` is a second pair of lines.
pub(super) fn histogram(bins: &Histogram, range: Option<(f32, f32)>, inner: Option<(f32, f32)>, label: &str) -> String {
    let (width, height) = HISTOGRAM;
    let tallest = bins.counts.iter().copied().max().unwrap_or(0).max(1) as f64;
    let step = width / bins.counts.len().max(1) as f64;
    let top = |n: u64| match n {
        0 => height,
        // One element is a pixel high.
        n => height - 2.0 - (height - 6.0) * (n as f64).ln_1p() / tallest.ln_1p(),
    };
    let mut path = format!("M0 {}", Short(height));
    for (i, &n) in bins.counts.iter().enumerate() {
        let _ = write!(path, "V{}H{}", Short(top(n)), Short(step * (i + 1) as f64));
    }
    let _ = write!(path, "V{}Z", Short(height));
    let span = f64::from(bins.high) - f64::from(bins.low);
    let x = |value: f32| match span > 0.0 {
        true => ((f64::from(value) - f64::from(bins.low)) / span * width).clamp(0.0, width),
        false => width / 2.0,
    };
    let mut svg = format!(
        "<svg class=\"histogram\" viewBox=\"0 0 {width} {height}\" preserveAspectRatio=\"none\" role=\"img\" \
         aria-label=\"{}\"><path class=\"bars\" d=\"{path}\"/>",
        escape(label)
    );
    if let Some((low, high)) = range {
        let (low, high) = (x(low), x(high));
        for (from, to) in [(0.0, low), (high, width)] {
            if to - from > 0.05 {
                let (from, wide) = (Short(from), Short(to - from));
                let _ = write!(svg, "<rect class=\"outside\" x=\"{from}\" width=\"{wide}\" height=\"{height}\"/>");
            }
        }
        let _ = write!(svg, "<path class=\"range\" d=\"M{0} 0V{height}M{1} 0V{height}\"/>", Short(low), Short(high));
    }
    if let Some((low, high)) = inner {
        let _ =
            write!(svg, "<path class=\"inner\" d=\"M{0} 0V{height}M{1} 0V{height}\"/>", Short(x(low)), Short(x(high)));
    }
    svg.push_str("</svg>");
    svg
}

/// A vertical axis of decibels.
struct Decibels {
    low: f64,
    high: f64,
    step: f64,
    bottom: f64,
    top: f64,
}

impl Decibels {
    /// An axis that holds all of `values`.
    fn of(values: impl Iterator<Item = f64>, bottom: f64, top: f64) -> Decibels {
        let (low, high) = values.fold((f64::INFINITY, 0.0f64), |(a, b), v| (a.min(v), b.max(v)));
        // A bar of 0 dB or less must be seen: the axis begins at 0, or below if something is.
        let low = if low.is_finite() { low.min(0.0) } else { 0.0 };
        let step = match high - low {
            span if span <= 40.0 => 10.0,
            span if span <= 100.0 => 20.0,
            _ => 50.0,
        };
        let (low, high) = ((low / step).floor() * step, ((high / step).ceil() * step).max(step));
        Decibels { low, high, step, bottom, top }
    }

    fn y(&self, db: f64) -> f64 {
        self.bottom - (db.clamp(self.low, self.high) - self.low) / (self.high - self.low) * (self.bottom - self.top)
    }

    fn grid(&self, svg: &mut String, right: f64) {
        let lines = ((self.high - self.low) / self.step).round() as i32;
        for i in 0..=lines {
            let db = self.low + f64::from(i) * self.step;
            let y = Short(self.y(db));
            let unit = if i == lines { " dB" } else { "" };
            let _ = write!(
                svg,
                "<path class=\"grid\" d=\"M{0} {y}H{right}\"/><text x=\"{1}\" y=\"{y}\" dy=\"4\" \
                 text-anchor=\"end\">{db}{unit}</text>",
                MARGIN.0,
                MARGIN.0 - 6.0
            );
        }
    }
}

/// Bars of each layer's SQNR alone in execution order, the worst coloured, and the accumulated SQNR
/// as a line. Empty where no layer was measured.
pub(super) fn layers(layers: &[AnalyzedLayer]) -> String {
    let shown: Vec<&AnalyzedLayer> = layers.iter().filter(|l| l.alone_db.is_some()).collect();
    if shown.is_empty() {
        return String::new();
    }
    let (width, height) = LAYERS;
    let bottom = height - MARGIN.1;
    let values = shown.iter().flat_map(|l| [l.alone_db, l.accumulated_db]).flatten();
    let axis = Decibels::of(values.map(|db| db.min(HIGHEST_DB)), bottom, 10.0);
    let mut sorted: Vec<f64> = shown.iter().filter_map(|l| l.alone_db).collect();
    sorted.sort_by(f64::total_cmp);
    let bad = sorted[sorted.len().div_ceil(WORST.1).min(WORST.0) - 1];
    let slot = (width - MARGIN.0 - 6.0) / shown.len() as f64;
    let mut svg = format!(
        "<svg class=\"layers\" viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"SQNR by layer in execution \
         order\">"
    );
    axis.grid(&mut svg, width - 6.0);
    let wide = (slot * 0.8).clamp(0.5, WIDEST_BAR);
    let mut line = String::new();
    for (i, layer) in shown.iter().enumerate() {
        let x = MARGIN.0 + slot * i as f64;
        let alone = layer.alone_db.unwrap_or(axis.high);
        let class = if alone <= bad { "bar worst" } else { "bar" };
        let top = axis.y(alone);
        let _ = write!(
            svg,
            "<a href=\"#layer-{}\" tabindex=\"-1\"><rect class=\"{class}\" x=\"{}\" y=\"{}\" width=\"{}\" \
             height=\"{}\"><title>{}: {} alone</title></rect></a>",
            layer.index,
            Short(x + (slot - wide) / 2.0),
            Short(top),
            Short(wide),
            Short((bottom - top).max(1.0)),
            escape(&layer.node),
            format::decibel(layer.alone_db)
        );
        if let Some(db) = layer.accumulated_db {
            let command = if line.is_empty() { 'M' } else { 'L' };
            let _ = write!(line, "{command}{} {}", Short(x + slot / 2.0), Short(axis.y(db)));
        }
    }
    let _ = write!(
        svg,
        "<path class=\"line\" d=\"{line}\"/><text x=\"{}\" y=\"{}\">first layer</text><text x=\"{}\" y=\"{1}\" \
         text-anchor=\"end\">last layer</text></svg>",
        MARGIN.0,
        height - 8.0,
        width - 6.0
    );
    svg
}

/// Width and height of the plot of modes.
const MODES: (f64, f64) = (460.0, 250.0);

/// Height of a label, and width of one of its letters (12 pixels, the widest usual font).
const LETTER: (f64, f64) = (15.0, 7.2);

/// A part of a plot that is taken.
#[derive(Clone, Copy)]
struct Taken {
    left: f64,
    top: f64,
    right: f64,
    bottom: f64,
}

impl Taken {
    fn around(x: f64, y: f64, (wide, high): (f64, f64)) -> Taken {
        Taken { left: x - wide / 2.0, top: y - high / 2.0, right: x + wide / 2.0, bottom: y + high / 2.0 }
    }

    fn overlaps(&self, other: &Taken) -> bool {
        self.left < other.right && other.left < self.right && self.top < other.bottom && other.top < self.bottom
    }
}

/// Where the label of a point can be read: right, left, above or below of it, the first place that is
/// free and within the plot; right of it if none is.
fn place_of_label(point: Taken, text: &str, taken: &[Taken], plot: Taken) -> Taken {
    let (x, y) = ((point.left + point.right) / 2.0, (point.top + point.bottom) / 2.0);
    let size = (text.chars().count() as f64 * LETTER.1, LETTER.0);
    let (aside, apart) = ((point.right - point.left + size.0) / 2.0 + 4.0, (point.bottom - point.top + size.1) / 2.0);
    let places =
        [(aside, 0.0), (-aside, 0.0), (0.0, -apart), (0.0, apart), (0.0, -apart - size.1), (0.0, apart + size.1)];
    let places = places.map(|(dx, dy)| Taken::around(x + dx, y + dy, size));
    let free = |p: &&Taken| {
        let inside = p.left >= plot.left && p.right <= plot.right && p.top >= plot.top && p.bottom <= plot.bottom;
        inside && !taken.iter().any(|t| t.overlaps(p))
    };
    *places.iter().find(free).unwrap_or(&places[0])
}

/// Latency against SQNR; the area of a circle is the size of the file. The float model, which has no
/// SQNR, is a line at its latency. Empty where nothing can be drawn.
pub(super) fn modes(modes: &[ModeFigures]) -> String {
    let points: Vec<(&ModeFigures, f64)> = modes.iter().filter_map(|m| Some((m, m.sqnr_db?))).collect();
    let slowest = modes.iter().map(|m| m.median_ms).fold(0.0, f64::max);
    let largest = modes.iter().filter_map(|m| m.bytes).max().unwrap_or(0);
    if points.is_empty() || slowest <= 0.0 || largest == 0 {
        return String::new();
    }
    let (width, height) = MODES;
    let bottom = height - MARGIN.1 - 14.0;
    let right = width - 10.0;
    let axis = Decibels::of(points.iter().map(|p| p.1), bottom, 26.0);
    let x = |ms: f64| MARGIN.0 + ms / (slowest * 1.12) * (right - MARGIN.0);
    let mut svg = format!(
        "<svg class=\"modes\" viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"Latency, SQNR and size of each \
         mode\">"
    );
    axis.grid(&mut svg, right);
    if let Some(float) = modes.iter().find(|m| m.sqnr_db.is_none()) {
        let at = x(float.median_ms);
        let _ = write!(
            svg,
            "<path class=\"range\" d=\"M{0} 22V{bottom}\"/><text x=\"{0}\" y=\"14\" text-anchor=\"middle\">{1}</text>",
            Short(at),
            escape(&float.mode)
        );
    }
    let circle = |(mode, db): &(&ModeFigures, f64)| {
        let radius = 14.0 * (mode.bytes.unwrap_or(0) as f64 / largest as f64).sqrt().max(0.2);
        Taken::around(x(mode.median_ms), axis.y(*db), (2.0 * radius, 2.0 * radius))
    };
    let circles: Vec<Taken> = points.iter().map(circle).collect();
    for (at, (mode, _)) in circles.iter().zip(&points) {
        let class = if mode.analysed { "point chosen" } else { "point" };
        let _ = write!(
            svg,
            "<circle class=\"{class}\" cx=\"{}\" cy=\"{}\" r=\"{}\"/>",
            Short((at.left + at.right) / 2.0),
            Short((at.top + at.bottom) / 2.0),
            Short((at.right - at.left) / 2.0)
        );
    }
    let plot = Taken { left: MARGIN.0, top: 18.0, right, bottom };
    let mut taken = circles.clone();
    for (at, (mode, _)) in circles.iter().zip(&points) {
        let label = place_of_label(*at, &mode.mode, &taken, plot);
        taken.push(label);
        let _ = write!(
            svg,
            "<text x=\"{}\" y=\"{}\" dy=\"4\" text-anchor=\"middle\">{}</text>",
            Short((label.left + label.right) / 2.0),
            Short((label.top + label.bottom) / 2.0),
            escape(&mode.mode)
        );
    }
    let _ = write!(
        svg,
        "<text x=\"{0}\" y=\"{1}\">0 ms</text><text x=\"{right}\" y=\"{1}\" text-anchor=\"end\">{2}</text>\
         <text x=\"{3}\" y=\"{4}\" text-anchor=\"middle\">latency, one thread</text></svg>",
        MARGIN.0,
        Short(bottom + 16.0),
        format::milliseconds(slowest * 1.12),
        Short((MARGIN.0 + right) / 2.0),
        Short(bottom + 32.0)
    );
    svg
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coordinates_are_short() {
        assert_eq!([1.04, -0.01, 12.0, 3.96].map(|n| Short(n).to_string()), ["1", "0", "12", "4"]);
    }

    #[test]
    fn what_lies_outside_of_the_range_is_shaded() {
        let bins = Histogram { low: -1.0, high: 3.0, counts: vec![1, 0, 9, 1] };
        let svg = histogram(&bins, Some((-1.0, 1.0)), None, "a<b");
        assert_eq!(svg.matches("outside").count(), 1, "{svg}");
        assert!(svg.contains("x=\"150\" width=\"150\"") && svg.contains("a&lt;b"), "{svg}");
        assert_eq!(histogram(&bins, Some((-2.0, 9.0)), None, "").matches("outside").count(), 0);
        let flat = Histogram { low: 0.0, high: 0.0, counts: vec![5, 0] };
        assert!(!histogram(&flat, Some((0.0, 1.0)), None, "").contains("NaN"));
    }

    #[test]
    fn layers_and_names_are_drawn_safely() {
        let layer = |node: &str, db| AnalyzedLayer {
            index: 3,
            node: node.into(),
            alone_db: Some(db),
            accumulated_db: Some(-3.0),
            ..AnalyzedLayer::default()
        };
        let svg = layers(&[layer("<script>", 40.0), layer("b", 200.0)]);
        assert!(svg.contains("&lt;script&gt;") && !svg.contains("<script>"), "{svg}");
        assert!(svg.contains(">-20<") && svg.contains("href=\"#layer-3\""), "{svg}");
        assert_eq!(layers(&[]), "");
    }

    #[test]
    fn labels_cover_neither_points_nor_each_other() {
        let plot = Taken { left: 52.0, top: 18.0, right: 450.0, bottom: 210.0 };
        let points = [(200.0, 190.0), (240.0, 190.0), (440.0, 100.0)].map(|(x, y)| Taken::around(x, y, (16.0, 16.0)));
        let mut taken = points.to_vec();
        for point in points {
            let label = place_of_label(point, "float16", &taken, plot);
            assert!(!taken.iter().any(|t| t.overlaps(&label)) && label.right <= plot.right);
            taken.push(label);
        }
    }

    #[test]
    fn modes_are_points_but_for_the_float_model() {
        let mode = |name: &str, db, ms| ModeFigures {
            mode: name.into(),
            sqnr_db: db,
            median_ms: ms,
            bytes: Some(100),
            ..ModeFigures::default()
        };
        let svg = modes(&[mode("float", None, 10.0), mode("int8", Some(30.5), 9.1)]);
        assert_eq!((svg.matches("<circle").count(), svg.matches(">float<").count()), (1, 1), "{svg}");
        assert_eq!(modes(&[]), "");
    }
}
