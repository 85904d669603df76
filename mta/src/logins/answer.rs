//! What an authority answers when it is asked for a token (RFC 6749 sections 5.1 and 5.2). Pure, and bounded in all it keeps.

use std::time::Duration;

use postroad_config::admin::LoginFault;
use serde::Deserialize;

use super::ask::NoAnswer;
use super::fault::{LONGEST, NoLogin, TOLERATED_SKEW, advice, of_authority};
use crate::dsn::text::{Charset, one_line};

/// A token, and how long it holds.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    /// What is said to the server.
    pub text: String,
    /// From the moment when it was asked for.
    pub lives: Duration,
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Token(…, {} s)", self.lives.as_secs())
    }
}

/// What came back from an authority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// Status of HTTP.
    pub status: u16,
    /// Its clock, seconds since 1970, where it shows it.
    pub date: Option<i64>,
    /// The body.
    pub body: Vec<u8>,
}

#[derive(Deserialize)]
struct Granted {
    access_token: String,
    #[serde(default)]
    token_type: Option<String>,
    #[serde(default)]
    expires_in: Option<Seconds>,
}

/// A number; some authorities write it as a string.
#[derive(Deserialize)]
#[serde(untagged)]
enum Seconds {
    Number(f64),
    Text(String),
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Denied {
    error: String,
    error_description: String,
}

impl Said {
    /// The token, or why there is none. `whom`: host of the authority. `now`: our clock, seconds since 1970.
    pub fn token(&self, whom: &str, now: i64) -> Result<Token, NoLogin> {
        match self.status {
            200..=299 => self.granted(whom),
            // RFC 6749 section 5.2: 400 or 401. Others are of the way there, or of a moment.
            400 | 401 | 403 => Err(self.denied(whom, now)),
            status => Err(unavailable(whom, &format!("it answered {status}"))),
        }
    }

    /// How far its clock is before ours, in seconds.
    pub fn skew(&self, now: i64) -> Option<i64> {
        self.date.map(|date| date.saturating_sub(now))
    }

    fn granted(&self, whom: &str) -> Result<Token, NoLogin> {
        let nonsense = || unavailable(whom, "its answer holds no token that can be used");
        let granted: Granted = serde_json::from_slice(&self.body).map_err(|_| nonsense())?;
        let is_bearer = granted
            .token_type
            .as_deref()
            .is_none_or(|kind| kind.eq_ignore_ascii_case("bearer"));
        let text = granted.access_token;
        let is_sound = !text.is_empty()
            && text.len() <= LONGEST_TOKEN
            && text.bytes().all(|octet| octet.is_ascii_graphic());
        if !is_bearer || !is_sound {
            return Err(nonsense());
        }
        let seconds = match granted.expires_in {
            Some(Seconds::Number(seconds)) => Some(seconds),
            Some(Seconds::Text(text)) => text.parse().ok(),
            None => None,
        };
        let lives = seconds
            .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
            .unwrap_or(UNSAID)
            .clamp(SHORTEST_LIFE, LONGEST_LIFE);
        Ok(Token { text, lives })
    }

    fn denied(&self, whom: &str, now: i64) -> NoLogin {
        let denied: Denied = serde_json::from_slice(&self.body).unwrap_or_default();
        let skew = self.skew(now);
        let fault = of_authority(&denied.error, &denied.error_description, skew);
        let said = match (denied.error.as_str(), denied.error_description.as_str()) {
            ("", _) => format!("status {}", self.status),
            (error, "") => error.to_owned(),
            (error, description) => format!("{error}: {description}"),
        };
        let said = one_line(&said, Charset::Ascii, LONGEST);
        let clock = match skew {
            Some(skew) if fault == LoginFault::ClockSkew && skew.unsigned_abs() > TOLERATED_SKEW => {
                let way = if skew > 0 { "behind" } else { "ahead of" };
                format!(" (our clock is {} s {way} its clock)", skew.unsigned_abs())
            }
            _ => String::new(),
        };
        let reason = format!("{whom} gives no token ({said}){clock}; {}", advice(fault));
        NoLogin::new(fault, reason)
    }
}

/// There is no answer.
pub fn unanswered(whom: &str, no: &NoAnswer) -> NoLogin {
    if !no.is_of_the_clock {
        return unavailable(whom, &no.why);
    }
    // What to do about it is in these words.
    let why = one_line(&no.why, Charset::Ascii, 2 * LONGEST);
    NoLogin::new(LoginFault::ClockSkew, format!("no token from {whom}: {why}"))
}

/// It cannot be asked now, or answers nonsense.
pub fn unavailable(whom: &str, why: &str) -> NoLogin {
    let fault = LoginFault::TokenUnavailable;
    let why = one_line(why, Charset::Ascii, LONGEST);
    NoLogin::new(fault, format!("no token from {whom}: {why}; {}", advice(fault)))
}

/// Octets; those of Entra have about two thousand.
const LONGEST_TOKEN: usize = 8 << 10;
/// RFC 6749 section 5.1 leaves it open.
const UNSAID: Duration = Duration::from_mins(10);
/// One that ends at once would be asked for at once.
const SHORTEST_LIFE: Duration = Duration::from_secs(5);
const LONGEST_LIFE: Duration = Duration::from_hours(24);

#[cfg(test)]
mod tests {
    use super::*;

    fn said(status: u16, body: &str) -> Said {
        Said {
            status,
            date: Some(1_000),
            body: body.as_bytes().to_vec(),
        }
    }

    #[test]
    fn a_token_and_its_life_are_read_in_every_form_that_is_in_use() {
        for (body, seconds) in [
            (
                r#"{"access_token":"a.b-c","expires_in":3599,"token_type":"Bearer"}"#,
                3_599,
            ),
            (
                r#"{"token_type":"bearer","access_token":"a.b-c","expires_in":"3599"}"#,
                3_599,
            ),
            (r#"{"access_token":"a.b-c","expires_in":3599.5}"#, 3_599),
            (r#"{"access_token":"a.b-c"}"#, 600),
            (r#"{"access_token":"a.b-c","expires_in":0}"#, 5),
            (r#"{"access_token":"a.b-c","expires_in":-5}"#, 600),
            (r#"{"access_token":"a.b-c","expires_in":1e300}"#, 600),
            (r#"{"access_token":"a.b-c","expires_in":999999999}"#, 86_400),
        ] {
            let token = said(200, body).token("a.example", 1_000).unwrap();
            assert_eq!(
                (token.text.as_str(), token.lives.as_secs()),
                ("a.b-c", seconds),
                "{body}"
            );
        }
    }

    #[test]
    fn what_is_no_token_is_none() {
        let long = format!(r#"{{"access_token":"{}"}}"#, "x".repeat(LONGEST_TOKEN + 1));
        for body in [
            "",
            "<html>",
            "[]",
            "{}",
            r#"{"access_token":""}"#,
            r#"{"access_token":5}"#,
            r#"{"access_token":"a b"}"#,
            r#"{"access_token":"a\u0001auth=Bearer b"}"#,
            r#"{"access_token":"a","token_type":"mac"}"#,
            long.as_str(),
        ] {
            let error = said(200, body).token("a.example", 1_000).unwrap_err();
            assert_eq!(error.fault, LoginFault::TokenUnavailable, "{body:.40}");
        }
        for status in [302, 404, 429, 500, 503] {
            let error = said(status, "{}").token("a.example", 1_000).unwrap_err();
            assert_eq!(error.fault, LoginFault::TokenUnavailable);
            assert!(error.reason.contains(&status.to_string()), "{}", error.reason);
        }
    }

    #[test]
    fn a_refusal_says_what_the_authority_said_on_one_line() {
        let body = r#"{"error":"invalid_client","error_description":"AADSTS7000215: Invalid client secret.\r\nTrace ID: 1"}"#;
        let error = said(401, body).token("login.example", 1_000).unwrap_err();
        assert_eq!(error.fault, LoginFault::TokenRefused);
        assert!(
            error.reason.contains("login.example gives no token (invalid_client: AADSTS7000215: Invalid client secret. Trace ID: 1)"),
            "{}",
            error.reason
        );
        let body = r#"{"error":"invalid_grant","error_description":"in a reasonable timeframe"}"#;
        let error = said(400, body).token("login.example", 4_600).unwrap_err();
        assert_eq!(error.fault, LoginFault::ClockSkew);
        assert!(
            error.reason.contains("3600 s ahead of its clock"),
            "{}",
            error.reason
        );
        let error = said(400, "nonsense").token("login.example", 1_000).unwrap_err();
        assert!(error.reason.contains("status 400"), "{}", error.reason);
    }

    #[test]
    fn an_authority_whose_certificate_is_of_the_future_is_a_matter_of_the_clock() {
        let no = |is_of_the_clock| {
            let why = "no TLS: not valid yet".to_owned();
            unanswered("login.example", &NoAnswer { why, is_of_the_clock })
        };
        assert_eq!(no(true).fault, LoginFault::ClockSkew);
        assert_eq!(no(false).fault, LoginFault::TokenUnavailable);
        assert!(no(true).reason.contains("login.example") && no(true).reason.contains("not valid yet"));
    }

    #[test]
    fn the_clock_that_is_wrong_and_by_how_much_stands_in_the_reason() {
        let body = r#"{"error": "invalid_grant", "error_description": "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. Check your iat and exp values"}"#;
        for (now, words) in [
            (5_000, "our clock is 4000 s ahead of its clock"),
            (200, "our clock is 800 s behind its clock"),
        ] {
            let no = said(400, body).token("oauth2.example", now).unwrap_err();
            assert_eq!(no.fault, LoginFault::ClockSkew);
            assert!(
                no.reason.contains(words) && no.reason.contains("NTP"),
                "{}",
                no.reason
            );
        }
        let no = said(400, body).token("oauth2.example", 1_001).unwrap_err();
        assert!(!no.reason.contains("our clock"), "{}", no.reason);
    }
}
