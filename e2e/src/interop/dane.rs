//! DANE (RFC 7672) against zones that are really signed: each row of the decision table is a recipient's domain, and what is
//! seen is whether its mail is delivered by DANE, without, or waits.
//!
//! ```text
//!   client ─► ours ─┬─► unbound (validates, or does not) ─► nsd: signed, unsigned, expired and forged zones
//!                   └─► mail servers with the certificates that the zones tell of, or with others
//! ```
//!
//! Each mail goes twice, by a route that is `Automatic` (DANE where it exists) and by one that is `DaneOnly`. All of it is in a
//! network namespace, as it needs the ports 25 and 53.

mod rig;

use std::time::{Duration, Instant};

use serde_json::Value;

use super::mail::Mail;
use super::ours::Ours;
use super::{Table, Verdict, ours};
use crate::kubectl::Outcome;
use crate::namespace;
use crate::place::free_address;
use rig::{Rig, Source};

/// What becomes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// Delivered inside TLS, by the word of TLSA records.
    Dane,
    /// Delivered as if there were no DANE.
    Plain,
    /// Not delivered, and tried again.
    Waits,
}

use Fate::{Dane, Plain, Waits};

/// Domain, what is special about it, and the fates of its mail by `Automatic` and by `DaneOnly`.
type Case = (&'static str, &'static str, Fate, Fate);

const CASES: &[Case] = &[
    ("key-256.secure", "3 1 1 matches", Dane, Dane),
    ("key-512.secure", "3 1 2 matches", Dane, Dane),
    ("certificate.secure", "3 0 1 matches", Dane, Dane),
    ("above-certificate.secure", "2 0 1 matches", Dane, Dane),
    ("above-key.secure", "2 1 1 matches", Dane, Dane),
    ("none.secure", "no TLSA, proven", Plain, Waits),
    ("fails.secure", "TLSA: SERVFAIL", Waits, Waits),
    ("forged.secure", "TLSA: forged", Waits, Waits),
    ("any.lame", "MX: SERVFAIL", Waits, Waits),
    ("any.bogus", "MX: signatures expired", Waits, Waits),
    (
        "bogus-server.secure",
        "addresses: signatures expired",
        Waits,
        Waits,
    ),
    ("both-fail.secure", "TLSA of both servers: SERVFAIL", Waits, Waits),
    (
        "one-fails.secure",
        "TLSA of the first server: SERVFAIL",
        Dane,
        Dane,
    ),
    ("wrong.secure", "3 1 1 of another key", Waits, Waits),
    ("one-of-two.secure", "two 3 1 1, one matches", Dane, Dane),
    ("unproven.secure", "TLSA in a zone without DNSSEC", Plain, Waits),
    (
        "far.secure",
        "addresses and TLSA in a zone without DNSSEC",
        Plain,
        Waits,
    ),
    ("near.insecure", "MX in a zone without DNSSEC", Plain, Waits),
    (
        "above-misnamed.secure",
        "2 1 1 matches, another name",
        Waits,
        Waits,
    ),
    ("above-old.secure", "2 1 1 matches, expired", Waits, Waits),
    ("misnamed.secure", "3 1 1 matches, another name", Dane, Dane),
    ("old.secure", "3 1 1 matches, expired", Dane, Dane),
    // Inside TLS, whatever the certificate: the next case shows that it must be.
    ("unusable.secure", "usages 0, 1 and 7", Dane, Waits),
    ("unusable-clear.secure", "usage 1, no STARTTLS", Waits, Waits),
    (
        "alias.secure",
        "alias into a zone without DNSSEC, TLSA at the alias",
        Dane,
        Dane,
    ),
    ("alias-within.secure", "alias, TLSA at its end", Dane, Dane),
    ("alias-own.secure", "alias, TLSA at the alias", Dane, Dane),
    ("shared.secure", "TLSA by an alias", Dane, Dane),
    (
        "shared-far.secure",
        "TLSA by an alias into a zone without DNSSEC",
        Plain,
        Waits,
    ),
    ("shared-none.secure", "TLSA: an alias of nothing", Plain, Waits),
    ("clear.secure", "3 1 1, no STARTTLS", Waits, Waits),
    ("wild.secure", "TLSA by a wildcard", Dane, Dane),
    ("itself.secure", "no MX, TLSA of the domain", Dane, Dane),
    ("key.hashed", "NSEC3: 3 1 1 matches", Dane, Dane),
    ("none.hashed", "NSEC3: no TLSA, proven", Plain, Waits),
    ("wild.hashed", "NSEC3: TLSA by a wildcard", Dane, Dane),
    (
        "unproven.hashed",
        "NSEC3: TLSA in a zone without DNSSEC",
        Plain,
        Waits,
    ),
];

/// Domains that a resolver on the way lies about, and how. Who validates is not led astray.
const LIES: &[Case] = &[
    (
        "denied.secure",
        "no TLSA, says a zone that the name is not in",
        Waits,
        Waits,
    ),
    ("moved.secure", "MX: a server without DNSSEC", Waits, Waits),
    (
        "taken.secure",
        "no MX, says a zone that the name is not in",
        Waits,
        Waits,
    ),
    ("left.secure", "the address of another server", Waits, Waits),
];

pub(super) fn play() -> Outcome<Vec<Table>> {
    // What may need the network is made outside.
    let (root, _) = (rig::root()?, ours::program()?);
    namespace::inside(|| {
        let rig = Rig::start(&root)?;
        Ok(vec![
            table("DANE", &rig, CASES, COLUMNS, TITLES)?,
            table("answers changed on their way", &rig, LIES, LIED, LIED_TITLES)?,
        ])
    })
}

fn table(
    title: &'static str,
    rig: &Rig,
    cases: &[Case],
    columns: &[(Source, &str)],
    titles: &'static [&'static str],
) -> Outcome<Table> {
    let found: Vec<Vec<Verdict>> = columns
        .iter()
        .map(|(source, tls)| column(rig, *source, tls, cases))
        .collect::<Outcome<_>>()?;
    let mut table = Table::new(title, titles);
    for (number, (_, what, automatic, only)) in cases.iter().enumerate() {
        let row = found.iter().filter_map(|column| column.get(number).cloned());
        let fates = format!("{what}: {} / {}", automatic.name(), only.name());
        table.rows.push((fates, row.collect()));
    }
    Ok(table)
}

const LIED_TITLES: &[&str] = &["validated, `Automatic`", "validated, `DaneOnly`"];
const LIED: &[(Source, &str)] = &[(Source::Lied, "Automatic"), (Source::Lied, "DaneOnly")];

const TITLES: &[&str] = &[
    "trusted, `Automatic`",
    "trusted, `DaneOnly`",
    "validated, `Automatic`",
    "validated, `DaneOnly`",
    "validated behind no validator, `Automatic`",
    "validated behind no validator, `DaneOnly`",
];
const COLUMNS: &[(Source, &str)] = &[
    (Source::Trusted, "Automatic"),
    (Source::Trusted, "DaneOnly"),
    (Source::Validated, "Automatic"),
    (Source::Validated, "DaneOnly"),
    (Source::Alone, "Automatic"),
    (Source::Alone, "DaneOnly"),
];

/// What becomes of the mail for each case.
fn column(rig: &Rig, source: Source, tls: &str, cases: &[Case]) -> Outcome<Vec<Verdict>> {
    let smtp = free_address()?;
    let ours = Ours::configured(
        smtp,
        &format!(
            "{}policies:\n\x20 - {{name: all, routes: [{{to: {{direct: {{allowedNetworks: [127.0.0.0/8]}}}}, tls: {tls}}}], \
             retry: {{first: 1h, max: 1h}}}}\n",
            rig.source(source)?
        ),
    )?;
    // Tells the columns apart at the servers behind.
    let recipient = |domain: &str| format!("{}-{tls}@{domain}", source.name());
    for (domain, ..) in cases {
        Mail::new(domain, &[&recipient(domain)]).send(smtp, None)?;
    }
    let deadline = Instant::now() + LIMIT;
    let mut lines = Vec::new();
    while lines.len() < cases.len() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(50));
        lines = ours.lines();
        lines.retain(|line| {
            line["recipient"].is_string() && EVENTS.iter().any(|event| line["event"] == *event)
        });
    }
    let taken = rig.taken()?;
    let judged = |(domain, _, automatic, only): &Case| {
        let recipient = recipient(domain);
        let line = lines.iter().find(|line| line["recipient"] == recipient.as_str());
        let want = if tls == "Automatic" { automatic } else { only };
        want.judge(line, taken.get(&recipient).map(String::as_str))
    };
    let verdicts: Vec<_> = cases.iter().map(judged).collect();
    if verdicts.iter().any(|verdict| matches!(verdict, Verdict::Fail(_))) {
        eprintln!("{}", rig.logs());
    }
    Ok(verdicts)
}

impl Fate {
    fn name(self) -> &'static str {
        match self {
            Dane => "by DANE",
            Plain => "without",
            Waits => "waits",
        }
    }

    /// `line`: the delivery log about the attempt; `taken`: how a server took it.
    fn judge(self, line: Option<&Value>, taken: Option<&str>) -> Verdict {
        let Some(line) = line else {
            return Verdict::Fail("nothing was tried".to_owned());
        };
        let (event, policy) = (&line["event"], &line["tls_policy"]);
        let holds = match self {
            Dane => event == "delivered" && policy == "dane" && taken == Some("tls"),
            Plain => event == "delivered" && policy == "" && taken.is_some(),
            Waits => event == "deferred" && taken.is_none(),
        };
        if holds {
            Verdict::Yes
        } else {
            Verdict::Fail(format!("not {self:?}: taken {taken:?}, {line}"))
        }
    }
}

/// The events of an attempt.
const EVENTS: [&str; 4] = ["delivered", "deferred", "failed", "expired"];

const LIMIT: Duration = Duration::from_mins(2);

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_fate_is_what_both_sides_say() {
        let line = |event: &str, policy: &str| json!({"event": event, "tls_policy": policy});
        let (dane, plain, waits) = (
            line("delivered", "dane"),
            line("delivered", ""),
            line("deferred", ""),
        );
        let holds = |fate: Fate, line, taken| fate.judge(Some(line), taken) == Verdict::Yes;
        assert!(holds(Dane, &dane, Some("tls")));
        assert!(holds(Plain, &plain, Some("clear")));
        assert!(holds(Waits, &waits, None));
        for (fate, line, taken) in [
            (Dane, &plain, Some("tls")),
            (Dane, &dane, Some("clear")),
            (Dane, &dane, None),
            (Plain, &dane, Some("tls")),
            (Plain, &plain, None),
            (Waits, &waits, Some("tls")),
            (Waits, &line("failed", ""), None),
        ] {
            assert!(!holds(fate, line, taken), "{fate:?} {line} {taken:?}");
        }
        assert!(matches!(Waits.judge(None, None), Verdict::Fail(_)));
    }
}
