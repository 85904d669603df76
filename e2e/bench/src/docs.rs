//! `docs/benchmarks.md` with its charts and raw figures, from one run.

use std::fmt::Write as _;
use std::path::Path;

use postroad_e2e::kubectl::Outcome;
use postroad_e2e::shell::Shell;
use serde_json::json;

use crate::bars::judge;
use crate::bench::Bench;
use crate::figures::{Figure, Figures};
use crate::report;
use crate::svg;
use crate::tests::ALL;

/// Charts: file, title, test.
const CHARTS: [(&str, &str, &str); 2] = [
    (
        "benchmarks-accept.svg",
        "Accepted messages of 10 KiB per second (B1)",
        "B1",
    ),
    (
        "benchmarks-relay.svg",
        "Relayed messages of 10 KiB per second (B2)",
        "B2",
    ),
];

/// Writes all of it into that folder.
pub fn write(bench: &Bench, folder: &Path) -> Outcome {
    std::fs::write(folder.join("benchmarks.md"), page(bench)?)?;
    let raw = format!("{:#}\n", raw(&bench.figures));
    std::fs::write(folder.join("benchmarks.json"), raw)?;
    for (file, title, test) in CHARTS {
        let shown: Vec<_> = bench
            .figures
            .0
            .iter()
            .filter(|figure| figure.test == test)
            .collect();
        if !shown.is_empty() {
            std::fs::write(folder.join(file), svg::bars(title, &in_series(&shown)))?;
        }
    }
    Ok(())
}

/// Figures of one series side by side.
fn in_series<'a>(figures: &[&'a Figure]) -> Vec<&'a Figure> {
    let mut series: Vec<&[&str]> = Vec::new();
    for figure in figures {
        if !series.contains(&figure.series.as_slice()) {
            series.push(&figure.series);
        }
    }
    let of = |wanted: &[&str]| {
        figures
            .iter()
            .filter(|figure| figure.series == wanted)
            .copied()
            .collect::<Vec<_>>()
    };
    series.into_iter().flat_map(of).collect()
}

fn page(bench: &Bench) -> Outcome<String> {
    let mut page = format!(
        "# Benchmarks\n\n\
         Written by `cargo bench-peers -- --docs`; run it to see your machine's figures (`--only B1,B2 --peers postfix` for two \
         tests against one peer, `--json` for programs). Rounds: {}; servers in turns, medians; \
         \"generator\" and \"server's share\" are shares of all processors. A row whose generator has most of the machine \
         says more about the generator than about the server.\n\n\
         Machine: {}. Each server lives in a root file system of its own, its queue on the same file system; all traffic is \
         on loopback, so that generator, server and sink share the processors. Messages are of 10 KiB, in B7 and B8 of 1 KiB.\n\n",
        bench.rounds,
        machine()?
    );
    for test in ALL
        .iter()
        .filter(|test| bench.figures.0.iter().any(|figure| figure.test == test.name))
    {
        let _ = writeln!(page, "* {}: {}", test.name, test.about);
    }
    page.push('\n');
    for (file, title, test) in CHARTS {
        if bench.figures.0.iter().any(|figure| figure.test == test) {
            let _ = writeln!(page, "![{title}]({file})\n");
        }
    }
    page.push_str(&report::text(&bench.figures));
    for (test, peer, why) in &bench.unfinished {
        let _ = writeln!(page, "\n{test} with {peer} did not finish: {why}.");
    }
    page.push_str("\n## Bars\n\n| test | measured | met |\n|-|-|-|\n");
    for verdict in judge(&bench.figures) {
        let met = if verdict.met { "yes" } else { "**no**" };
        let _ = writeln!(page, "| {} | {} | {met} |", verdict.test, verdict.text);
    }
    page.push_str("\n## Settings\n\n");
    for server in &bench.servers {
        let _ = writeln!(
            page,
            "* {} {}: {}",
            server.name(),
            server.version()?,
            server.settings()
        );
    }
    for told in &bench.settings {
        let _ = writeln!(page, "* {told}");
    }
    page.push_str("\nEvery sample: [benchmarks.json](benchmarks.json).\n");
    Ok(page)
}

/// Processors, memory and kernel.
fn machine() -> Outcome<String> {
    let cpu = std::fs::read_to_string("/proc/cpuinfo")?;
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("unknown processor", |(_, model)| model);
    let count = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let memory = std::fs::read_to_string("/proc/meminfo")?;
    let kibibytes: u64 = memory
        .split_whitespace()
        .nth(1)
        .and_then(|number| number.parse().ok())
        .unwrap_or_default();
    let kernel = Shell::new("uname").args(["-sr"]).read()?;
    Ok(format!("{count} × {model}, {} GiB, {kernel}", kibibytes >> 20))
}

fn raw(figures: &Figures) -> serde_json::Value {
    let all = figures.0.iter().map(|figure| {
        let samples = figure.samples.iter().map(
            |sample| json!({"value": sample.value, "generator": sample.generator, "server": sample.server}),
        );
        json!({"test": figure.test, "series": figure.series, "server": figure.server, "unit": figure.unit,
            "samples": samples.collect::<Vec<_>>()})
    });
    json!(all.collect::<Vec<_>>())
}
