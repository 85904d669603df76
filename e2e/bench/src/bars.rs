//! The bars: what the figures are held against.

use std::fmt::Write as _;

use crate::bench::OURS;
use crate::figures::Figures;

/// One bar.
struct Bar {
    test: &'static str,
    series: &'static [&'static str],
    must: Must,
}

enum Must {
    /// At least so many times the figure of Postfix.
    TimesPostfix(f64),
    AtLeast(f64),
    AtMost(f64),
}

/// The longest that an accept may take at half load, for 99 of 100 messages.
pub const ACCEPT_MILLISECONDS: f64 = 5.0;

const BARS: &[Bar] = &[
    bar("B1", &["sessions", "1"], Must::TimesPostfix(2.0)),
    bar("B1", &["sessions", "10"], Must::TimesPostfix(4.0)),
    bar("B1", &["sessions", "50"], Must::TimesPostfix(6.0)),
    bar("B1", &["pipelined"], Must::TimesPostfix(10.0)),
    bar("B1", &["pipelined"], Must::AtLeast(12_000.0)),
    bar("B2", &[], Must::TimesPostfix(8.0)),
    bar("B3", &["rsa"], Must::AtLeast(1_200.0)),
    bar("B3", &["ed25519"], Must::AtLeast(3_000.0)),
    bar("B4", &[], Must::AtLeast(3_000.0)),
    bar("B4", &["p50", "added"], Must::AtMost(1.0)),
    bar("B5", &["memory"], Must::AtMost(150.0)),
    bar("B5", &["bandwidth"], Must::AtLeast(60.0)),
    bar("B6", &["memory"], Must::AtMost(300.0)),
    bar("B7", &["ready"], Must::AtMost(10.0)),
    bar("B7", &["lost"], Must::AtMost(0.0)),
    bar("B8", &["p99"], Must::AtMost(1_000.0)),
    bar("B8", &["memory"], Must::AtMost(400.0)),
    bar("B9", &["p99"], Must::AtMost(ACCEPT_MILLISECONDS)),
    bar("B10", &[], Must::AtLeast(8_000.0)),
    bar("B11", &["rate"], Must::AtLeast(2_000.0)),
    bar("B11", &["lost"], Must::AtMost(0.0)),
    bar("B11", &["doubled"], Must::AtMost(0.0)),
    bar("B12", &["share"], Must::AtLeast(80.0)),
];

const fn bar(test: &'static str, series: &'static [&'static str], must: Must) -> Bar {
    Bar { test, series, must }
}

/// A bar with the figure that was held against it.
#[derive(Debug, PartialEq)]
pub struct Verdict {
    /// The test.
    pub test: &'static str,
    /// What was measured and what was asked for.
    pub text: String,
    /// Whether it is met.
    pub met: bool,
}

/// Every bar whose figures are there.
pub fn judge(figures: &Figures) -> Vec<Verdict> {
    BARS.iter().filter_map(|bar| verdict(bar, figures)).collect()
}

fn verdict(bar: &Bar, figures: &Figures) -> Option<Verdict> {
    let ours = figures.get(bar.test, bar.series, OURS)?;
    let value = ours.median();
    let mut text = bar.series.join(" ");
    let met = match bar.must {
        Must::TimesPostfix(times) => {
            let theirs = figures.get(bar.test, bar.series, "postfix")?.median();
            let ratio = value / theirs.max(1e-9);
            let _ = write!(text, ": {ratio:.1} × Postfix (bar: ≥ {times} ×)");
            ratio >= times
        }
        Must::AtLeast(least) => {
            let _ = write!(text, ": {value:.1} {} (bar: ≥ {least})", ours.unit);
            value >= least
        }
        Must::AtMost(most) => {
            let _ = write!(text, ": {value:.1} {} (bar: ≤ {most})", ours.unit);
            value <= most
        }
    };
    Some(Verdict {
        test: bar.test,
        text: text.trim_start_matches(": ").to_owned(),
        met,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::Sample;

    #[test]
    fn a_bar_is_judged_where_its_figures_are_there() {
        let sample = |value| Sample {
            value,
            generator: None,
            server: None,
        };
        let mut figures = Figures::default();
        figures.add(("B2", &[]), "postroad", "/s", sample(700.0));
        assert!(judge(&figures).is_empty(), "no ratio without Postfix");
        figures.add(("B2", &[]), "postfix", "/s", sample(100.0));
        figures.add(("B6", &["memory"]), "postroad", "MiB", sample(299.0));
        let verdicts = judge(&figures);
        assert_eq!(verdicts.len(), 2);
        assert_eq!(verdicts[0].text, "7.0 × Postfix (bar: ≥ 8 ×)");
        assert!(!verdicts[0].met);
        assert!(verdicts[1].met);
    }
}
