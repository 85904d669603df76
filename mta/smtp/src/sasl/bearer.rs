//! Bearer tokens in SASL: what OAUTHBEARER (RFC 7628) and XOAUTH2 carry, and how each says that a token is refused. Pure.
//!
//! ```text
//!   OAUTHBEARER   n,a=user,^Ahost=…^Aport=…^Aauth=Bearer TOKEN^A^A     refused: {"status":"invalid_token",…}
//!   XOAUTH2       user=user^Aauth=Bearer TOKEN^A^A                     refused: {"status":"401","schemes":"bearer",…}
//! ```
//!
//! XOAUTH2 was never standardised; its form is that of the providers who made it.

use super::exchange::scram_name;

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    OAuthBearer,
    XOAuth2,
}

/// What a client sent. No `Debug`: a token must not be shown.
pub(super) struct Credentials {
    /// Who it says that it is; empty where it says nothing.
    pub(super) user: String,
    pub(super) token: String,
}

impl Form {
    /// Reads the one message of the client.
    pub(super) fn read(self, text: &str) -> Option<Credentials> {
        let (user, pairs) = match self {
            Self::OAuthBearer => {
                let (header, pairs) = text.split_once(SEPARATOR)?;
                (authorisation(header)?, pairs)
            }
            Self::XOAuth2 => (String::new(), text),
        };
        // Every pair ends with a separator, and one more ends the message (RFC 7628 section 3.1).
        let pairs = pairs.strip_suffix(SEPARATOR)?.strip_suffix(SEPARATOR)?;
        let mut found = Credentials {
            user,
            token: String::new(),
        };
        for pair in pairs.split(SEPARATOR) {
            match pair.split_once('=')? {
                ("auth", value) if found.token.is_empty() => found.token = bearer(value)?,
                ("auth", _) => return None,
                ("user", value) if self == Self::XOAuth2 => value.clone_into(&mut found.user),
                // Host and port are the client's word for where it is; others are to be passed over.
                (key, _) if !key.is_empty() && key.bytes().all(|octet| octet.is_ascii_alphabetic()) => {}
                _ => return None,
            }
        }
        (!found.token.is_empty() && found.user.len() <= 1_024).then_some(found)
    }

    /// What is told of a refused token (RFC 7628 section 3.2.2). `reason`: a sentence of ours, without quotation marks.
    pub(super) fn error(self, reason: &str) -> String {
        match self {
            Self::OAuthBearer => {
                format!("{{\"status\":\"invalid_token\",\"error_description\":\"{reason}\"}}")
            }
            Self::XOAuth2 => {
                format!("{{\"status\":\"401\",\"schemes\":\"bearer\",\"error_description\":\"{reason}\"}}")
            }
        }
    }
}

/// The GS2 header (RFC 5801 section 4): `n,a=user,`, or `n,,`. `y` is a client that could bind to the connection and saw that
/// this mechanism does not.
fn authorisation(header: &str) -> Option<String> {
    let mut fields = header.split(',');
    let (flag, user, end) = (fields.next()?, fields.next()?, fields.next()?);
    if !matches!(flag, "n" | "y") || !end.is_empty() || fields.next().is_some() {
        return None;
    }
    if user.is_empty() {
        return Some(String::new());
    }
    scram_name(user.strip_prefix("a=")?)
}

/// RFC 6750 section 2.1: the scheme in any case of letters, then the token.
fn bearer(value: &str) -> Option<String> {
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim_matches(' ');
    let sound = |octet: u8| octet.is_ascii_alphanumeric() || b"-._~+/=".contains(&octet);
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty() && token.bytes().all(sound))
        .then(|| token.to_owned())
}

/// `kvsep` of RFC 7628 section 3.1.
const SEPARATOR: char = '\u{1}';

#[cfg(test)]
mod tests {
    use super::*;

    fn read(form: Form, text: &str) -> Option<(String, String)> {
        form.read(&text.replace('^', "\u{1}"))
            .map(|found| (found.user, found.token))
    }

    #[test]
    fn the_token_is_found_in_what_clients_send() {
        use Form::{OAuthBearer, XOAuth2};
        for (form, text, want) in [
            // RFC 7628 section 4.1, shortened.
            (
                OAuthBearer,
                "n,a=user@example.com,^host=server.example.com^port=143^auth=Bearer vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==^^",
                Some(("user@example.com", "vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==")),
            ),
            (OAuthBearer, "n,,^auth=bearer a.b-c_d^^", Some(("", "a.b-c_d"))),
            (OAuthBearer, "y,a=a=2Cb=3D,^auth=Bearer x^^", Some(("a,b=", "x"))),
            (
                XOAuth2,
                "user=someuser@example.com^auth=Bearer ya29.vF9^^",
                Some(("someuser@example.com", "ya29.vF9")),
            ),
            (XOAuth2, "auth=Bearer x^^", Some(("", "x"))),
        ] {
            let want = want.map(|(user, token)| (user.to_owned(), token.to_owned()));
            assert_eq!(read(form, text), want, "{text}");
        }
    }

    #[test]
    fn what_is_of_another_form_is_refused() {
        use Form::{OAuthBearer, XOAuth2};
        for (form, text) in [
            (OAuthBearer, ""),
            (OAuthBearer, "^"),
            (OAuthBearer, "n,,^^"),
            (OAuthBearer, "n,,^auth=Bearer x^"),
            (OAuthBearer, "n,,^auth=Bearer x"),
            (OAuthBearer, "n,,^auth=Bearer ^^"),
            (OAuthBearer, "n,,^auth=Basic x^^"),
            (OAuthBearer, "n,,^auth=Bearer x^auth=Bearer y^^"),
            (OAuthBearer, "n,,^auth=Bearer x y^^"),
            (OAuthBearer, "n,,^1=2^auth=Bearer x^^"),
            (OAuthBearer, "p=tls-exporter,,^auth=Bearer x^^"),
            (OAuthBearer, "n,b=c,^auth=Bearer x^^"),
            (OAuthBearer, "n,a=b,c,^auth=Bearer x^^"),
            (OAuthBearer, "user=a^auth=Bearer x^^"),
            (XOAuth2, "n,,^auth=Bearer x^^"),
            (XOAuth2, "user=a^^"),
            (XOAuth2, ""),
        ] {
            assert_eq!(read(form, text), None, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in "[n,a=^ utheroBb.]{0,60}") {
            let _ = read(Form::OAuthBearer, &text);
            let _ = read(Form::XOAuth2, &text);
        }
    }
}
