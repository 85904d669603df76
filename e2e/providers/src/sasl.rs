//! What a client says in AUTH. Pure: octets in, a claim out, or `None` for what is no such thing.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// What somebody claims to be, and by what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    Password { user: String, password: String },
    Token { user: String, token: String },
}

/// PLAIN (RFC 4616): authzid NUL authcid NUL passwd. Nobody acts for another here.
pub(crate) fn plain(said: &str) -> Option<Claim> {
    let said = decoded(said)?;
    let mut parts = said.split('\0');
    let (acts_as, user, password) = (parts.next()?, parts.next()?, parts.next()?);
    let is_sound = parts.next().is_none() && !user.is_empty() && (acts_as.is_empty() || acts_as == user);
    is_sound.then(|| Claim::Password {
        user: user.to_owned(),
        password: password.to_owned(),
    })
}

/// XOAUTH2: `user=` address ^A `auth=Bearer ` token ^A ^A.
pub(crate) fn xoauth2(said: &str) -> Option<Claim> {
    let said = decoded(said)?;
    let user = said.strip_prefix("user=")?;
    let (user, rest) = user.split_once('\u{1}')?;
    token(user, rest.strip_suffix("\u{1}\u{1}")?)
}

/// OAUTHBEARER (RFC 7628 section 3.1): a GS2 header with the user, then pairs between ^A.
pub(crate) fn oauthbearer(said: &str) -> Option<Claim> {
    let said = decoded(said)?;
    let rest = said.strip_prefix("n,a=")?;
    let (user, rest) = rest.split_once(",\u{1}")?;
    let pairs = rest.strip_suffix("\u{1}\u{1}")?;
    token(user, pairs.split('\u{1}').find(|pair| pair.starts_with("auth="))?)
}

/// A line of LOGIN.
pub(crate) fn decoded(said: &str) -> Option<String> {
    String::from_utf8(STANDARD.decode(said.trim()).ok()?).ok()
}

fn token(user: &str, pair: &str) -> Option<Claim> {
    let token = pair.strip_prefix("auth=Bearer ")?;
    let is_sound = !user.is_empty() && !token.is_empty() && !token.contains(['\u{1}', ' ']);
    is_sound.then(|| Claim::Token {
        user: user.to_owned(),
        token: token.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn coded(text: &str) -> String {
        STANDARD.encode(text)
    }

    #[test]
    fn claims_are_read_as_their_documents_write_them() {
        let password = Claim::Password {
            user: "ann".into(),
            password: "s3 cret".into(),
        };
        assert_eq!(plain(&coded("\0ann\0s3 cret")), Some(password.clone()));
        assert_eq!(plain(&coded("ann\0ann\0s3 cret")), Some(password));
        let token = Claim::Token {
            user: "a@b.example".into(),
            token: "t-1".into(),
        };
        let xoauth2_said = "user=a@b.example\u{1}auth=Bearer t-1\u{1}\u{1}";
        assert_eq!(xoauth2(&coded(xoauth2_said)), Some(token.clone()));
        for said in [
            "n,a=a@b.example,\u{1}auth=Bearer t-1\u{1}\u{1}",
            "n,a=a@b.example,\u{1}host=h\u{1}port=587\u{1}auth=Bearer t-1\u{1}\u{1}",
        ] {
            assert_eq!(oauthbearer(&coded(said)), Some(token.clone()), "{said:?}");
        }
    }

    #[test]
    fn what_is_no_claim_is_none_and_nothing_panics() {
        let whole = [
            "\0ann\0secret",
            "user=a@b\u{1}auth=Bearer t\u{1}\u{1}",
            "n,a=a@b,\u{1}auth=Bearer t\u{1}\u{1}",
        ];
        let readers: [fn(&str) -> Option<Claim>; 3] = [plain, xoauth2, oauthbearer];
        for (place, read) in readers.iter().enumerate() {
            assert!(read(&coded(whole[place])).is_some());
            for (other, text) in whole.iter().enumerate() {
                // All beginnings, and those of the others.
                for end in 0..text.len() {
                    let cut = text.get(..end).unwrap_or_default();
                    let is_password = place == 0 && cut.starts_with("\0ann\0");
                    assert_eq!(read(&coded(cut)).is_some(), is_password, "{cut:?}");
                }
                assert_eq!(read(&coded(text)).is_some(), place == other, "{text:?}");
            }
            for odd in ["", "=", "!!!!", "AA==", "\u{fe}", "////", "user=", "gICA"] {
                assert_eq!(read(odd), None, "{odd:?}");
            }
        }
        assert_eq!(plain(&coded("bob\0ann\0secret")), None, "nobody acts for another");
        assert_eq!(plain(&coded("\0ann\0a\0b")), None);
    }
}
