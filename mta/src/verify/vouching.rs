//! Forwarders that this server trusts vouch for a message that its author's domain does not stand behind any more, since they
//! changed it (RFC 8617 section 5.2.1 leaves to the receiver what a chain is worth).
//!
//! ```text
//!   newest set ─► trusted? ─► it saw dmarc=pass for this author? ─► vouched for
//!                  no: nothing counts any more        no: the set before it
//! ```
//!
//! Every set from the one that is believed to the newest is of a trusted sealer: what lies above an untrusted one may have been
//! changed by it.

use postroad_config::DomainName;
use postroad_verify::arc::{Outcome, Set, Verdict};
use postroad_verify::dmarc::Domain;
use postroad_verify::results;

/// The sealer that vouches.
pub(super) fn sealer(chain: &Outcome, author: &Domain, trusted: &[DomainName]) -> Option<String> {
    if chain.verdict != Verdict::Pass || !chain.author_signed {
        return None;
    }
    let is_trusted = |set: &&Set| trusted.iter().any(|name| name.as_str() == set.sealer);
    let mut newest_first = chain.sets.iter().rev().take_while(is_trusted);
    newest_first
        .find(|set| saw_pass(&set.results, author))
        .map(|set| set.sealer.clone())
}

/// Whether the field says, once, that DMARC passed for that author.
fn saw_pass(results: &str, author: &Domain) -> bool {
    let Some(said) = results::read(results) else {
        return false;
    };
    let mut of_dmarc = said.iter().filter(|said| said.method == "dmarc");
    let (Some(said), None) = (of_dmarc.next(), of_dmarc.next()) else {
        return false;
    };
    let from = said.property("header.from").and_then(Domain::parse);
    said.result == "pass" && from.as_ref() == Some(author)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASS: &str =
        "list.example; dkim=pass header.d=a.example; dmarc=pass (p=reject) header.from=A.example";

    fn chain(sets: &[(&str, &str)]) -> Outcome {
        Outcome {
            verdict: Verdict::Pass,
            sets: (1..)
                .zip(sets)
                .map(|(instance, (sealer, results))| Set {
                    instance,
                    sealer: (*sealer).to_owned(),
                    selector: "s".to_owned(),
                    results: (*results).to_owned(),
                })
                .collect(),
            author_signed: true,
            problem: None,
        }
    }

    fn author() -> Domain {
        Domain::parse("a.example").unwrap()
    }

    fn names(texts: &[&str]) -> Vec<DomainName> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn vouched(chain: &Outcome, trusted: &[&str]) -> Option<String> {
        sealer(chain, &author(), &names(trusted))
    }

    #[test]
    fn a_trusted_sealer_that_saw_a_pass_vouches_and_nobody_else_does() {
        let one = chain(&[("list.example", PASS)]);
        assert_eq!(vouched(&one, &["list.example"]).as_deref(), Some("list.example"));
        assert_eq!(vouched(&one, &["other.example", "example"]), None);
        assert_eq!(vouched(&one, &[]), None);
        for results in [
            "list.example; dmarc=fail header.from=a.example",
            "list.example; dmarc=pass header.from=b.example",
            "list.example; dmarc=pass header.from=sub.a.example",
            "list.example; dmarc=pass",
            "list.example; dmarc=pass header.from=a.example; dmarc=fail header.from=a.example",
            "list.example; spf=pass smtp.mailfrom=\"x; dmarc=pass header.from=a.example\"",
            "list.example; dmarc=pass header.from=a.example (",
            "",
        ] {
            let told = chain(&[("list.example", results)]);
            assert_eq!(vouched(&told, &["list.example"]), None, "{results}");
        }
    }

    #[test]
    fn a_chain_is_believed_from_its_end_up_to_the_first_stranger() {
        let none = "x.example; dmarc=fail header.from=a.example";
        let both = chain(&[("list.example", PASS), ("next.example", none)]);
        assert_eq!(
            vouched(&both, &["list.example", "next.example"]).as_deref(),
            Some("list.example")
        );
        assert_eq!(
            vouched(&both, &["list.example"]),
            None,
            "a stranger sealed it later"
        );
        let stranger_first = chain(&[("stranger.example", PASS), ("list.example", none)]);
        assert_eq!(vouched(&stranger_first, &["list.example"]), None);
    }

    #[test]
    fn a_chain_that_fails_or_does_not_sign_the_author_is_nothing() {
        let mut broken = chain(&[("list.example", PASS)]);
        broken.verdict = Verdict::Fail;
        assert_eq!(vouched(&broken, &["list.example"]), None);
        let mut unsigned = chain(&[("list.example", PASS)]);
        unsigned.author_signed = false;
        assert_eq!(vouched(&unsigned, &["list.example"]), None);
    }
}
