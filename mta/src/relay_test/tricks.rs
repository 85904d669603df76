//! The usual ways to make a relay of a server that is none. Pure.
//!
//! Each is a reverse-path and a forward-path that leads to a domain which cannot exist. Those that go through a name of the
//! server's own are tried for each name given: a domain that takes any local part would take them rightly, so none such is given.

/// A reverse-path and a forward-path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trick {
    /// What it is called in a report.
    pub name: String,
    /// Reverse-path, without brackets.
    pub mail: String,
    /// Forward-path, without brackets.
    pub rcpt: String,
}

/// Local part of every recipient, and the domain that it is to be relayed to (RFC 2606 section 2).
const USER: &str = "relay-test";
const AWAY: &str = "relay-test.invalid";

/// The tricks against a server that goes by these names.
pub fn tricks(names: &[&str]) -> Vec<Trick> {
    let stranger = format!("sender@{AWAY}");
    let trick = |name: &str, mail: &str, rcpt: String| Trick {
        name: name.to_owned(),
        mail: mail.to_owned(),
        rcpt,
    };
    let plain = format!("{USER}@{AWAY}");
    let mut list = vec![
        trick("a stranger's mail", &stranger, plain.clone()),
        trick("the null sender", "", plain.clone()),
        trick("a sender of localhost", "root@localhost", plain.clone()),
        trick("a sender without a domain", "root", plain.clone()),
        trick(
            "a sender at the loopback address",
            "root@[127.0.0.1]",
            plain.clone(),
        ),
        trick("percent without a domain", &stranger, format!("{USER}%{AWAY}")),
        trick("bang path without a domain", &stranger, format!("{AWAY}!{USER}")),
        trick(
            "a quoted address without a domain",
            &stranger,
            format!("\"{plain}\""),
        ),
        trick("a final dot", &stranger, format!("{plain}.")),
        trick(
            "percent at the loopback address",
            &stranger,
            format!("{USER}%{AWAY}@[127.0.0.1]"),
        ),
        trick(
            "percent at localhost",
            &stranger,
            format!("{USER}%{AWAY}@localhost"),
        ),
    ];
    for name in names {
        let at = |what: &str, rcpt: String| trick(&format!("{what} {name}"), &stranger, rcpt);
        list.extend([
            trick(
                &format!("a sender of {name}"),
                &format!("postmaster@{name}"),
                plain.clone(),
            ),
            at("percent at", format!("{USER}%{AWAY}@{name}")),
            at("a bang path at", format!("{AWAY}!{USER}@{name}")),
            at("a quoted address at", format!("\"{plain}\"@{name}")),
            at("quoted percent at", format!("\"{USER}%{AWAY}\"@{name}")),
            at("two at signs by", format!("{plain}@{name}")),
            at("a source route by", format!("@{name}:{plain}")),
            at("a longer source route by", format!("@{name},@{AWAY}:{plain}")),
            at("a bang path of", format!("{name}!{AWAY}!{USER}")),
        ]);
    }
    list
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_leads_away_and_no_two_are_the_same() {
        let list = tricks(&["mail.example.com", "example.com"]);
        assert_eq!(list.len(), 11 + 2 * 9);
        let different: BTreeSet<_> = list
            .iter()
            .map(|trick| (trick.mail.clone(), trick.rcpt.clone()))
            .collect();
        assert_eq!(different.len(), list.len());
        for trick in &list {
            let leads_away = trick.rcpt.contains(AWAY) && trick.rcpt.contains(USER);
            assert!(
                leads_away && !trick.rcpt.contains(['\r', '\n', '<', '>']),
                "{trick:?}"
            );
        }
        let names: BTreeSet<_> = list.iter().map(|trick| &trick.name).collect();
        assert_eq!(names.len(), list.len(), "a report tells them apart");
    }
}
