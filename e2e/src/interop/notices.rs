//! Our notices, read by the programs that others read notices with.

use std::collections::BTreeMap;

use super::{Table, Verdict};
use crate::checks;
use crate::kubectl::Outcome;
use crate::rootfs::Rootfs;

const READERS: &str = include_str!("../../peers/readers.pl");
const FLUFL: &str = include_str!("../../peers/readers.py");
/// Debian has flufl.bounce 4.0 only.
const FLUFL_WHEELS: &str = include_str!("../../peers/readers.txt");

/// Each sample of `mta/examples/notices.rs`, and what a reader has to say of it. The readers of Debian do not know
/// `message/global-delivery-status` (RFC 6533); it is not asked of them.
const SAMPLES: &[(&str, &str)] = &[
    ("failed", "bob@example.net 5.1.1 failed"),
    (
        "failed-two",
        "bob@example.net 5.1.1 failed\tcarol@example.net 5.2.2 failed",
    ),
    ("expired", "bob@example.net 4.4.7 failed"),
    ("by-return", "bob@example.net 5.4.7 failed"),
    ("requiretls", "bob@example.net 5.7.30 failed"),
    ("headers", "bob@example.net 5.7.1 failed"),
    ("too-large", "bob@example.net 5.3.4 failed"),
    ("delayed", "bob@example.net 4.4.1 delayed"),
    ("delivered", "bob@example.net 2.0.0 delivered"),
    ("relayed", "bob@example.net 2.0.0 relayed"),
    ("expanded", "bob@example.net 2.1.5 expanded"),
];

pub(super) fn play() -> Outcome<Vec<Table>> {
    let packages = [
        "libsisimai-perl",
        "python3-pip",
        "libmail-deliverystatus-bounceparser-perl",
    ];
    let root = Rootfs::with_wheels("notices", &packages, FLUFL_WHEELS)?;
    let (scratch, samples) = (tempfile::tempdir()?, tempfile::tempdir()?);
    checks::mail_samples("notices", samples.path())?;
    let jail = root.enter(scratch.path(), &[(samples.path(), "/samples")])?;
    jail.write("/readers.pl", READERS)?;
    jail.write("/readers.py", FLUFL)?;
    let said = jail.run(
        "sh",
        [
            "-c",
            "perl /readers.pl /samples/*.eml; python3 /readers.py /samples/*.eml",
        ],
    )?;
    Ok(vec![judge(&said)])
}

/// `said`: lines of sample, reader, and what it found, between tabs.
fn judge(said: &str) -> Table {
    let mut table = Table::new("notice", &["sisimai", "flufl.bounce", "BounceParser"]);
    let found: BTreeMap<(&str, &str), &str> = said
        .lines()
        .filter_map(|line| {
            let mut parts = line.splitn(3, '\t');
            Some(((parts.next()?, parts.next()?), parts.next().unwrap_or_default()))
        })
        .collect();
    for (sample, want) in SAMPLES {
        let of = |reader| found.get(&(*sample, reader)).copied();
        let failure = want.ends_with("failed");
        let exact = |reader| match of(reader) {
            Some(said) if said == *want => Verdict::Yes,
            said => Verdict::Fail(format!("wanted `{want}`, it said {said:?}")),
        };
        // BounceParser reports bounces only, but for what it does not know.
        let parser = match of("bounceparser") {
            Some("") if !failure => Verdict::Absent,
            _ => exact("bounceparser"),
        };
        // flufl.bounce gives addresses only, temporary ones apart.
        let addresses = want.split('\t').filter_map(|one| one.split_once(' '));
        let addresses: Vec<&str> = addresses.map(|(address, _)| address).collect();
        let flufl = match (of("flufl"), *sample) {
            (Some(said), "delayed") => verdict(said == format!("temporary {}", addresses.join(" ")), said),
            (Some(said), _) if failure => verdict(said == format!("permanent {}", addresses.join(" ")), said),
            (Some(""), _) => Verdict::Absent,
            (said, _) => Verdict::Fail(format!("it said {said:?}")),
        };
        table
            .rows
            .push(((*sample).to_owned(), vec![exact("sisimai"), flufl, parser]));
    }
    table
}

fn verdict(good: bool, said: &str) -> Verdict {
    if good {
        Verdict::Yes
    } else {
        Verdict::Fail(format!("it said `{said}`"))
    }
}
