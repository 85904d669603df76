//! The table for people.

use std::fmt::Write as _;

use crate::bench::OURS;
use crate::figures::{Figure, Figures};

/// A table of medians, ranges, processor shares and ratios, as Markdown.
pub fn text(figures: &Figures) -> String {
    let mut out =
        "| test | server | median | range | ours ÷ it | generator | server's share |\n|-|-|-|-|-|-|-|\n"
            .to_owned();
    for figure in &figures.0 {
        let (low, high) = figure.range();
        let (generator, server) = figure.shares();
        let _ = writeln!(
            out,
            "| {} | {} | {} {} | {}–{} | {} | {} | {} |",
            place(figure),
            shown(figure.server),
            number(figure.median()),
            figure.unit,
            number(low),
            number(high),
            ratio(figures, figure),
            percent(generator),
            percent(server),
        );
    }
    out
}

/// A name, and whether what it acknowledges may be lost: no row may hide that.
fn shown(server: &str) -> String {
    match server {
        "opensmtpd" => format!("{server} (not durable)"),
        _ => server.to_owned(),
    }
}

fn place(figure: &Figure) -> String {
    [&[figure.test], figure.series.as_slice()].concat().join(" ")
}

fn ratio(figures: &Figures, figure: &Figure) -> String {
    let ours = figures.get(figure.test, &figure.series, OURS);
    match ours {
        Some(ours) if figure.server != OURS && figure.median() > 0.0 => {
            format!("{:.1} ×", ours.median() / figure.median())
        }
        _ => String::new(),
    }
}

fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| "–".to_owned(), |share| format!("{:.0} %", share * 100.0))
}

/// A figure with as many places as it deserves.
fn number(value: f64) -> String {
    if value >= 100.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.2}")
    }
}
