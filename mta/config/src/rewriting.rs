//! What a policy changes of a message on its way out; with the rules over it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::access::check_edits;
use crate::check::Findings;
use crate::domain::DomainName;

/// Changes of a message's header and envelope on its way out. What is stored stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Rewriting {
    /// Fields to add, name → value. At most 16.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub add: BTreeMap<String, String>,
    /// Names of fields to take out. At most 32.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub remove: Vec<String>,
    /// The sender in the envelope, in place of the message's own; the null one stays.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sender: Option<String>,
}

impl Rewriting {
    /// What is wrong with the edits of the header: the field and a sentence.
    pub fn problem(&self) -> Option<(String, String)> {
        let mut found = Findings::default();
        check_edits("", &self.add, &self.remove, &mut found);
        let problem = found.into_first()?;
        Some((problem.field.trim_start_matches('.').to_owned(), problem.sentence))
    }

    /// The domain of [`Rewriting::sender`].
    pub fn sender_domain(&self) -> Option<DomainName> {
        sender_domain(self.sender.as_deref()?)
    }
}

fn sender_domain(address: &str) -> Option<DomainName> {
    let (local, domain) = address.rsplit_once('@')?;
    let is_atom = |octet: u8| octet.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~.".contains(&octet);
    let is_local = (1..=64).contains(&local.len()) && local.bytes().all(is_atom);
    domain.parse().ok().filter(|_| is_local)
}

/// What is wrong with a sender; none where it can be used.
pub fn check_sender(address: &str) -> Option<String> {
    match sender_domain(address) {
        Some(_) => None,
        None => Some(format!(
            "`{}` is no address; write it as bounces@example.com",
            crate::text::shorten(address)
        )),
    }
}

/// Rules over `rewrite` of a policy; `at` is its path.
pub(crate) fn check(rewriting: &Rewriting, at: &str, found: &mut Findings) {
    check_edits(at, &rewriting.add, &rewriting.remove, found);
    if let Some(problem) = rewriting.sender.as_deref().and_then(check_sender) {
        found.require(false, || format!("{at}.sender"), || problem);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_one_that_can_be_said_as_it_is() {
        for good in ["bounces@example.com", "a+b=c@b\u{fc}cher.example"] {
            assert_eq!(check_sender(good), None, "{good}");
        }
        for bad in [
            "",
            "a",
            "@b.example",
            "a b@c.example",
            "a@b@c.example",
            "a@c.example>\r\nRCPT",
            "a@",
        ] {
            assert!(check_sender(bad).is_some(), "{bad}");
        }
    }
}
