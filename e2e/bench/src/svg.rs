//! Charts as SVG: horizontal bars in groups, readable on light and dark pages.

use std::fmt::Write as _;

use crate::bench::OURS;
use crate::figures::Figure;

const ROW: usize = 22;
const LEFT: usize = 210;
const WIDTH: f64 = 420.0;

/// A chart of figures with one unit, in their order; ours stand out.
pub fn bars(title: &str, figures: &[&Figure]) -> String {
    let height = 40 + figures.len() * ROW;
    let most = figures.iter().map(|figure| figure.median()).fold(1e-9, f64::max);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"740\" height=\"{height}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"740\" height=\"{height}\" fill=\"#ffffff\"/>\n\
         <text x=\"8\" y=\"20\" font-size=\"14\" font-weight=\"bold\">{}</text>\n",
        escape(title)
    );
    for (row, figure) in figures.iter().enumerate() {
        let y = 32 + row * ROW;
        let colour = if figure.server == OURS {
            "#0b6e4f"
        } else {
            "#9aa5b1"
        };
        let label = [figure.series.join(" ").as_str(), figure.server].join(" ");
        let length = figure.median() / most * WIDTH;
        let _ = write!(
            svg,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>\n\
             <rect x=\"{LEFT}\" y=\"{y}\" width=\"{length:.1}\" height=\"16\" fill=\"{colour}\"/>\n\
             <text x=\"{:.1}\" y=\"{}\">{:.0} {}</text>\n",
            LEFT - 8,
            y + 13,
            escape(label.trim()),
            f64::from(u16::try_from(LEFT).unwrap_or_default()) + length + 6.0,
            y + 13,
            figure.median(),
            escape(figure.unit),
        );
    }
    svg.push_str("</svg>\n");
    svg
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::Sample;

    #[test]
    fn the_longest_bar_fills_the_width_and_every_server_is_named() {
        let figure = |server, value| Figure {
            test: "B2",
            series: vec![],
            server,
            unit: "/s",
            samples: vec![Sample {
                value,
                generator: None,
                server: None,
            }],
        };
        let (ours, theirs) = (figure("postroad", 800.0), figure("postfix", 100.0));
        let svg = bars("a < b", &[&ours, &theirs]);
        assert!(
            svg.contains("width=\"420.0\"") && svg.contains("width=\"52.5\""),
            "{svg}"
        );
        assert!(svg.contains("a &lt; b") && svg.contains("postfix") && svg.ends_with("</svg>\n"));
    }
}
