//! The MTA-STS policy itself, as its host serves it (RFC 8461 section 3.2): what others read when the record tells them to.

use postroad_verify::mta_sts::{Mode, Policy, PolicyError};

use super::{Judgement, MtaStsWanted, Opinion, Sought, Statement, reasons};

/// What the host of a policy said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Served {
    /// This text, in full.
    Text(Vec<u8>),
    /// Nothing that others could take: one sentence.
    Not(String),
    /// It cannot be told from here: one sentence.
    Unknown(String),
}

/// Judges what the host of the policy served.
pub fn policy(wanted: &MtaStsWanted<'_>, served: &Served) -> Judgement {
    let name = wanted.url();
    let sought = Sought {
        name: &name,
        kind: "HTTPS",
        publish: format!(
            "serve the policy of status.records at {name}, as text/plain, with a certificate of a public authority for mta-sts.{}; \
             then change the id of {}",
            wanted.domain,
            wanted.name()
        ),
        expected: wanted.policy(),
    };
    let (observed, opinion) = match served {
        Served::Text(text) => (shown(text), judged(wanted, Policy::parse(text))),
        Served::Not(why) => (
            String::new(),
            Opinion::Bad(reasons::MTASTS_POLICY_MISSING, why.clone()),
        ),
        Served::Unknown(why) => (String::new(), Opinion::Unclear(reasons::NO_ANSWER, why.clone())),
    };
    sought.conclude(&Ok(vec![Statement {
        server: format!("mta-sts.{}", wanted.domain),
        observed,
        opinion,
    }]))
}

fn judged(wanted: &MtaStsWanted<'_>, policy: Result<Policy, PolicyError>) -> Opinion {
    let policy = match policy {
        Ok(policy) => policy,
        Err(error) => return Opinion::Bad(reasons::MTASTS_POLICY_INVALID, error.to_string()),
    };
    if policy.mode != wanted.mode {
        let sentence = format!("the policy says mode: {}, not {}", policy.mode, wanted.mode);
        return Opinion::Bad(reasons::MTASTS_POLICY_DIFFERS, sentence);
    }
    let unnamed = |host: &&String| policy.mode != Mode::None && !policy.names(host);
    match wanted.hostnames.iter().find(unnamed) {
        Some(host) => Opinion::Bad(
            reasons::MTASTS_POLICY_DIFFERS,
            format!("the policy does not name {host}, which others then do not send to"),
        ),
        None => Opinion::Good(
            reasons::MTASTS_POLICY_SERVED,
            "the policy is served, and names every listener".to_owned(),
        ),
    }
}

/// In a row of the status: printable ASCII, lines kept, and not without end.
fn shown(text: &[u8]) -> String {
    let octets = text.iter().take(LONGEST_SHOWN).filter(|octet| **octet != b'\r');
    let shown = octets.map(|octet| match octet {
        b'\n' | b' '..=b'~' => char::from(*octet),
        _ => '?',
    });
    shown.collect()
}

const LONGEST_SHOWN: usize = 2_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::judge::Ruling::{False, True, Unknown};

    #[test]
    fn a_policy_is_right_in_its_mode_and_with_every_listener() {
        let hosts = ["mx1.example.com".to_owned(), "mx2.example.com".to_owned()];
        let text = |text: &str| Served::Text(text.as_bytes().to_vec());
        let good = "version: STSv1\r\nmode: testing\r\nmx: *.example.com\r\nmax_age: 604800\r\n";
        for (served, ruling, reason) in [
            (text(good), True, reasons::MTASTS_POLICY_SERVED),
            // Others may be named beside them.
            (
                text(&format!("{good}mx: mail.example.net\n")),
                True,
                reasons::MTASTS_POLICY_SERVED,
            ),
            (
                text(&good.replace("testing", "enforce")),
                False,
                reasons::MTASTS_POLICY_DIFFERS,
            ),
            (
                text(&good.replace("*.", "mx1.")),
                False,
                reasons::MTASTS_POLICY_DIFFERS,
            ),
            (text("<html>"), False, reasons::MTASTS_POLICY_INVALID),
            (
                Served::Not("it answered 404".into()),
                False,
                reasons::MTASTS_POLICY_MISSING,
            ),
            (Served::Unknown("no answer".into()), Unknown, reasons::NO_ANSWER),
        ] {
            let wanted = MtaStsWanted {
                domain: "example.com",
                hostnames: &hosts,
                mode: Mode::Testing,
            };
            let judged = policy(&wanted, &served);
            assert_eq!((judged.ruling, judged.reason), (ruling, reason), "{judged:?}");
            assert_eq!(judged.name, "https://mta-sts.example.com/.well-known/mta-sts.txt");
            assert_eq!(judged.expected, wanted.policy());
            if ruling == False {
                assert!(
                    judged.message.contains("serve the policy of status.records"),
                    "{judged:?}"
                );
            }
        }
    }

    #[test]
    fn one_that_is_taken_back_names_nobody() {
        let hosts = ["mx1.example.com".to_owned()];
        let wanted = MtaStsWanted {
            domain: "example.com",
            hostnames: &hosts,
            mode: Mode::None,
        };
        let served = Served::Text(b"version: STSv1\nmode: none\nmax_age: 60\n".to_vec());
        assert_eq!(policy(&wanted, &served).ruling, True);
    }

    #[test]
    fn what_is_observed_is_bounded_text() {
        let text = [&b"a\r\nb\x1b[\xff\n"[..], &[b'x'; 5_000]].concat();
        let shown = shown(&text);
        assert!(
            shown.starts_with("a\nb?[?\nx") && shown.len() <= LONGEST_SHOWN,
            "{shown}"
        );
    }
}
