//! Plots as SVG: lines over one axis, nothing that needs a font or a program.

use std::fmt::Write as _;

/// Width and height of a plot, and of its margins: left, top, right, bottom.
const SIZE: [f64; 2] = [640.0, 320.0];
const MARGIN: [f64; 4] = [64.0, 32.0, 16.0, 44.0];

/// Colours that differ for those who see few, too (Okabe and Ito).
const COLOURS: [&str; 7] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000"];

/// Most points drawn of one line.
const MAX_POINTS: usize = 2000;

/// One line of a plot.
#[derive(Clone, Debug)]
pub struct Line {
    /// What it shows.
    pub name: String,
    /// From left to right.
    pub points: Vec<(f64, f64)>,
}

/// A plot.
#[derive(Clone, Debug)]
pub struct Plot {
    /// What it shows.
    pub title: String,
    /// What the axis to the right is.
    pub x: String,
    /// What the axis upwards is.
    pub y: String,
    /// Whether the axis to the right grows by powers.
    pub x_log: bool,
    /// The lines.
    pub lines: Vec<Line>,
}

impl Plot {
    /// The plot as a picture.
    #[must_use]
    pub fn to_svg(&self) -> String {
        let [width, height] = SIZE;
        let [left, top, right, bottom] = MARGIN;
        let points = || self.lines.iter().flat_map(|line| line.points.iter());
        let scale = |x: f64| if self.x_log { libm::log10(x.max(1e-9)) } else { x };
        let (x_low, x_high) = range(points().map(|point| scale(point.0)), self.x_log);
        let (y_low, y_high) = range(points().map(|point| point.1), false);
        let across = |x: f64| left + (scale(x) - x_low) / (x_high - x_low) * (width - left - right);
        let upwards = |y: f64| height - bottom - (y - y_low) / (y_high - y_low) * (height - top - bottom);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
             font-family=\"sans-serif\" font-size=\"11\">\n\
             <rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>\n\
             <text x=\"{left}\" y=\"18\" font-size=\"13\">{}</text>\n",
            escape(&self.title)
        );
        let (floor, end) = (height - bottom, width - right);
        for tick in ticks(y_low, y_high) {
            let y = upwards(tick);
            // Writing to a string does not fail.
            let _ = writeln!(
                svg,
                "<path d=\"M{left} {y:.1}H{end}\" stroke=\"#ddd\"/><text x=\"{:.1}\" y=\"{:.1}\" \
                 text-anchor=\"end\">{}</text>",
                left - 6.0,
                y + 4.0,
                number(tick)
            );
        }
        for tick in ticks(x_low, x_high) {
            let value = if self.x_log { libm::pow(10.0, tick) } else { tick };
            let x = across(value);
            let _ = writeln!(
                svg,
                "<path d=\"M{x:.1} {top}V{floor}\" stroke=\"#eee\"/><text x=\"{x:.1}\" y=\"{:.1}\" \
                 text-anchor=\"middle\">{}</text>",
                floor + 16.0,
                number(value)
            );
        }
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text><text x=\"{:.1}\" y=\"{:.1}\" \
             text-anchor=\"end\">{}</text>",
            end,
            height - 8.0,
            escape(&self.x),
            end,
            18.0,
            escape(&self.y)
        );
        for (place, line) in self.lines.iter().enumerate() {
            let colour = COLOURS[place % COLOURS.len()];
            let step = line.points.len().div_ceil(MAX_POINTS).max(1);
            let mut path = String::new();
            for (x, y) in line.points.iter().step_by(step) {
                let begin = if path.is_empty() { 'M' } else { 'L' };
                let _ = write!(path, "{begin}{:.1} {:.1}", across(*x), upwards(*y));
            }
            let _ =
                writeln!(svg, "<path d=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.8\"/>");
            if self.lines.len() > 1 {
                let y = top + 14.0 * (place as f64 + 1.0);
                let _ = writeln!(
                    svg,
                    "<text x=\"{:.1}\" y=\"{y:.1}\" fill=\"{colour}\">{}</text>",
                    left + 10.0,
                    escape(&line.name)
                );
            }
        }
        svg + "</svg>\n"
    }
}

/// From where to where an axis goes.
fn range(values: impl Iterator<Item = f64>, tight: bool) -> (f64, f64) {
    let finite = values.filter(|value| value.is_finite());
    let (low, high) = finite.fold((f64::MAX, f64::MIN), |(low, high), it| (low.min(it), high.max(it)));
    match (low <= high, tight) {
        (false, _) => (0.0, 1.0),
        (true, true) => (low, if high > low { high } else { low + 1.0 }),
        (true, false) => (low.min(0.0), if high > low.min(0.0) { high } else { 1.0 }),
    }
}

/// Round numbers from one end to the other.
fn ticks(low: f64, high: f64) -> Vec<f64> {
    let rough = (high - low) / 5.0;
    let power = libm::pow(10.0, libm::floor(libm::log10(rough.max(1e-12))));
    let steps = [1.0, 2.0, 5.0, 10.0].map(|step| step * power);
    let step = steps.into_iter().find(|step| *step >= rough).unwrap_or(power);
    let first = libm::ceil(low / step - 1e-9);
    (0..12)
        .map(|place| (first + f64::from(place)) * step)
        .take_while(|tick| *tick <= high + step * 1e-6)
        .collect()
}

fn number(value: f64) -> String {
    let rounded = libm::round(value * 1e6) / 1e6;
    match rounded.abs() {
        size if size >= 1e9 => format!("{:.1} G", rounded / 1e9),
        size if size >= 1e6 => format!("{:.1} M", rounded / 1e6),
        size if size >= 1e4 => format!("{:.0} k", rounded / 1e3),
        size if size >= 100.0 => format!("{rounded:.0}"),
        _ => format!("{rounded}"),
    }
}

/// Text as HTML and SVG have it.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            letter => escaped.push(letter),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plot_of_anything_and_of_nothing_is_a_picture() {
        let plot = |points: Vec<(f64, f64)>| Plot {
            title: "a < b".to_owned(),
            x: "x".to_owned(),
            y: "y".to_owned(),
            x_log: false,
            lines: vec![Line { name: "one".to_owned(), points }],
        };
        for points in [vec![], vec![(1.0, 5.0)], vec![(0.0, 0.0), (10.0, 3.0)], vec![(0.0, f64::NAN)]] {
            let svg = plot(points).to_svg();
            assert!(
                svg.starts_with("<svg") && svg.ends_with("</svg>\n") && svg.contains("a &lt; b"),
                "{svg}"
            );
        }
        assert_eq!(ticks(0.0, 10.0), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
    }
}
