//! Rules over the users who may submit.

use std::collections::HashSet;

use crate::authentication::SERVICE_ACCOUNT;
use crate::check::Findings;
use crate::file::User;
use crate::text::shorten;

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

#[cfg(test)]
mod tests {
    use super::*;

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
