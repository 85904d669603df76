//! Rules over the users who may submit.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use crate::authentication::SERVICE_ACCOUNT;
use crate::check::Findings;
use crate::file::User;
use crate::text::shorten;

/// A secret of the daemons that serve the same users: 32 to 256 octets that nobody can guess.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LoginSecret(String);

impl LoginSecret {
    /// Takes what was drawn.
    pub const fn new(drawn: String) -> Self {
        Self(drawn)
    }

    /// What to make keys from.
    pub const fn octets(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// Whether it is of a length that is taken.
    pub const fn is_usable(&self) -> bool {
        32 <= self.0.len() && self.0.len() <= 256
    }
}

impl std::fmt::Debug for LoginSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LoginSecret(…)")
    }
}

/// Judges a user name. Errors: what is wrong and what to write instead.
///
/// It stands in the form that logins have: `SASLprep` (RFC 4013), as RFC 4616 and RFC 5802 have it.
pub fn check_user_name(name: &str) -> Result<(), String> {
    if name.is_empty() || name.len() > 255 {
        return Err(format!("`{}` is empty or longer than 255 octets", shorten(name)));
    }
    if name.starts_with(SERVICE_ACCOUNT) {
        return Err(format!(
            "`{}` is how a ServiceAccount is called; choose another name",
            shorten(name)
        ));
    }
    match stringprep::saslprep(name) {
        Err(_) => Err(format!(
            "`{}` holds a control character, one that is newer than Unicode 3.2, or two writing directions in one word (RFC 4013); choose another name",
            shorten(name)
        )),
        Ok(prepared) if prepared == name => Ok(()),
        Ok(prepared) => Err(format!(
            "`{}` reads `{}` in a login (RFC 4013); write it so",
            shorten(name),
            shorten(&prepared)
        )),
    }
}

pub(crate) fn check(users: &[User], found: &mut Findings) {
    let mut names = HashSet::new();
    for (index, user) in users.iter().enumerate() {
        let judged = check_user_name(&user.name);
        found.require(
            judged.is_ok(),
            || format!("users[{index}].name"),
            || judged.err().unwrap_or_default(),
        );
        found.require(
            names.insert(&user.name),
            || format!("users[{index}].name"),
            || {
                format!(
                    "`{}` is given twice; give each user one line",
                    shorten(&user.name)
                )
            },
        );
        found.require(
            user.verifier.starts_with("$argon2id$") || user.verifier.starts_with("SCRAM-SHA-256$"),
            || format!("users[{index}].verifier"),
            || {
                "is neither `$argon2id$…` nor `SCRAM-SHA-256$…`; make one with `postroad-mta hash-password`"
                    .into()
            },
        );
    }
}

pub(crate) fn check_secret(secret: Option<&LoginSecret>, found: &mut Findings) {
    found.require(
        secret.is_none_or(LoginSecret::is_usable),
        || "loginSecret".into(),
        || "is shorter than 32 octets or longer than 256; draw one with `openssl rand -hex 32`".into(),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_of_logins_is_long_enough_and_shown_nowhere() {
        for (octets, good) in [(31, false), (32, true), (256, true), (257, false)] {
            let secret = LoginSecret::new("x".repeat(octets));
            assert_eq!(secret.is_usable(), good, "{octets}");
            assert!(!format!("{secret:?}").contains('x'));
        }
    }

    /// RFC 4013 section 3.
    #[test]
    fn a_name_stands_in_the_form_of_logins() {
        for good in ["user", "USER", "IX", "caf\u{e9}", "a,b=c@d"] {
            assert_eq!(check_user_name(good), Ok(()), "{good:?}");
        }
        for (name, mend) in [
            ("I\u{ad}X", "`IX`"),
            ("\u{aa}", "`a`"),
            ("\u{2168}", "`IX`"),
            ("cafe\u{301}", "`caf\u{e9}`"),
            ("\u{7}", "choose another"),
            ("\u{627}\u{31}", "choose another"),
            ("", "empty"),
        ] {
            let sentence = check_user_name(name).unwrap_err();
            assert!(sentence.contains(mend), "{name:?}: {sentence}");
        }
    }
}
