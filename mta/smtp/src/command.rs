//! Commands of the client (RFC 5321 section 4.1.1) and their parameters.

mod by;

pub use by::{By, ByMode};

use crate::address::{Address, AddressError};
use crate::xclient::StandIn;
use crate::xtext;

/// A command line, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// EHLO with the client's name.
    Ehlo(String),
    /// HELO with the client's name.
    Helo(String),
    /// MAIL.
    Mail(Mail),
    /// RCPT.
    Rcpt(Rcpt),
    /// DATA.
    Data,
    /// BDAT: octets that follow, and whether they are the last (RFC 3030).
    Bdat(u64, bool),
    /// RSET.
    Rset,
    /// NOOP.
    Noop,
    /// QUIT.
    Quit,
    /// VRFY.
    Vrfy,
    /// EXPN.
    Expn,
    /// HELP.
    Help,
    /// STARTTLS (RFC 3207).
    StartTls,
    /// AUTH: mechanism in upper case, initial response (RFC 4954).
    Auth(String, Option<String>),
    /// XCLIENT; `None` where the attributes are malformed, which only a trusted peer is told.
    Xclient(Option<StandIn>),
}

/// MAIL with its parameters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mail {
    /// The reverse-path; absent is the null one.
    pub reverse_path: Option<Address>,
    /// SIZE (RFC 1870).
    pub size: Option<u64>,
    /// BODY (RFC 6152).
    pub body: Option<BodyType>,
    /// SMTPUTF8 (RFC 6531).
    pub smtputf8: bool,
    /// RET (RFC 3461).
    pub ret: Option<Ret>,
    /// ENVID (RFC 3461), decoded.
    pub envid: Option<String>,
    /// HOLDFOR or HOLDUNTIL (RFC 4865).
    pub hold: Option<Hold>,
    /// REQUIRETLS (RFC 8689 section 2).
    pub require_tls: bool,
    /// BY (RFC 2852 section 4).
    pub by: Option<By>,
}

/// How long a message is held before it leaves (RFC 4865).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hold {
    /// HOLDFOR: seconds.
    For(u32),
    /// HOLDUNTIL: a date and time of RFC 3339, as it was given.
    Until(String),
}

/// BODY of RFC 6152.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyType {
    /// 7BIT.
    SevenBit,
    /// 8BITMIME.
    EightBit,
}

/// RET of RFC 3461.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ret {
    /// FULL.
    Full,
    /// HDRS.
    Headers,
}

/// RCPT with its parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rcpt {
    /// The forward-path; absent is `<Postmaster>` without a domain (RFC 5321 section 4.1.1.3).
    pub forward_path: Option<Address>,
    /// NOTIFY (RFC 3461).
    pub notify: Option<Notify>,
    /// ORCPT (RFC 3461): `type;address`, decoded.
    pub orcpt: Option<String>,
}

/// NOTIFY of RFC 3461; all false is NEVER.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Notify {
    /// SUCCESS.
    pub success: bool,
    /// FAILURE.
    pub failure: bool,
    /// DELAY.
    pub delay: bool,
}

/// Why a command line was refused: reply code, enhanced code, text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommandError {
    /// Reply code.
    pub code: u16,
    /// Enhanced status code.
    pub enhanced: &'static str,
    /// Text.
    pub text: &'static str,
}

const fn refuse(code: u16, enhanced: &'static str, text: &'static str) -> CommandError {
    CommandError { code, enhanced, text }
}

const UNKNOWN: CommandError = refuse(500, "5.5.2", "command not recognised");
const ARGUMENT: CommandError = refuse(501, "5.5.4", "argument not understood");
const NO_ARGUMENT: CommandError = refuse(501, "5.5.4", "this command takes no argument");
const TWICE: CommandError = refuse(501, "5.5.4", "a parameter is given twice");
const BY: CommandError = refuse(501, "5.5.4", "that is no time to deliver by");
const PARAMETER: CommandError = refuse(555, "5.5.4", "parameter not recognised or not offered");

impl Command {
    /// Reads a line without its CRLF. `extended`: the client said EHLO, so that parameters may be used.
    pub fn parse(line: &[u8], extended: bool) -> Result<Self, CommandError> {
        if line.contains(&0) {
            return Err(refuse(500, "5.5.2", "a zero octet is not allowed in a command"));
        }
        let text = std::str::from_utf8(line).map_err(|_| refuse(500, "5.5.2", "the line is not UTF-8"))?;
        let (verb, argument) = text.split_once(' ').unwrap_or((text, ""));
        let argument = argument.trim_end_matches([' ', '\t']);
        let plain = |command| {
            if argument.is_empty() {
                Ok(command)
            } else {
                Err(NO_ARGUMENT)
            }
        };
        match verb.to_ascii_uppercase().as_str() {
            "EHLO" => name(argument).map(Self::Ehlo),
            "HELO" => name(argument).map(Self::Helo),
            "MAIL" => mail(argument, extended).map(Self::Mail),
            "RCPT" => rcpt(argument, extended).map(Self::Rcpt),
            "DATA" => plain(Self::Data),
            "BDAT" => bdat(argument),
            "RSET" => plain(Self::Rset),
            "QUIT" => plain(Self::Quit),
            "STARTTLS" => plain(Self::StartTls),
            "NOOP" => Ok(Self::Noop),
            "VRFY" if !argument.is_empty() => Ok(Self::Vrfy),
            "VRFY" => Err(ARGUMENT),
            "EXPN" => Ok(Self::Expn),
            "HELP" => Ok(Self::Help),
            "AUTH" => auth(argument),
            "XCLIENT" => Ok(Self::Xclient(StandIn::parse(argument))),
            _ => Err(UNKNOWN),
        }
    }
}

/// The name is for trace fields only: anything printable without spaces, at most 255 octets.
fn name(argument: &str) -> Result<String, CommandError> {
    let printable = argument.chars().all(|c| !c.is_control() && !c.is_whitespace());
    if argument.is_empty() || argument.len() > 255 || !printable {
        return Err(refuse(501, "5.5.4", "give the name of your host"));
    }
    Ok(argument.to_owned())
}

fn auth(argument: &str) -> Result<Command, CommandError> {
    let mut words = argument.split(' ');
    let mechanism = words.next().unwrap_or_default().to_ascii_uppercase();
    let initial = words.next().map(str::to_owned);
    if mechanism.is_empty() || words.next().is_some() {
        return Err(ARGUMENT);
    }
    Ok(Command::Auth(mechanism, initial))
}

fn bdat(argument: &str) -> Result<Command, CommandError> {
    let (size, last) = match argument.split_once(' ') {
        None => (argument, false),
        Some((size, last)) if last.eq_ignore_ascii_case("LAST") => (size, true),
        Some(_) => return Err(ARGUMENT),
    };
    number(size).map(|size| Command::Bdat(size, last)).ok_or(ARGUMENT)
}

/// 1 to 20 digits (RFC 1870 section 5).
fn number(text: &str) -> Option<u64> {
    (!text.is_empty() && text.len() <= 20 && text.bytes().all(|b| b.is_ascii_digit()))
        .then(|| text.parse().ok())
        .flatten()
}

/// Splits `FROM:<path> parameters`; gives the path without angle brackets and source route.
fn path<'a>(argument: &'a str, keyword: &str) -> Result<(&'a str, &'a str), CommandError> {
    let head = argument.get(..keyword.len()).ok_or(ARGUMENT)?;
    if !head.eq_ignore_ascii_case(keyword) {
        return Err(ARGUMENT);
    }
    // A space behind the colon is no syntax of RFC 5321, but harmless and common.
    let rest = argument[keyword.len()..].trim_start_matches(' ');
    let Some(inner) = rest.strip_prefix('<') else {
        // Neither is an address without its brackets; it ends at a space, and the null path must be written out.
        let (path, parameters) = rest.split_once(' ').unwrap_or((rest, ""));
        let found = (!path.is_empty()).then(|| (path, parameters.trim_start_matches(' ')));
        return found.ok_or(refuse(501, "5.5.4", "put the address in angle brackets"));
    };
    let end = path_end(inner).ok_or(ARGUMENT)?;
    let (path, parameters) = (&inner[..end], &inner[end + 1..]);
    if !parameters.is_empty() && !parameters.starts_with(' ') {
        return Err(ARGUMENT);
    }
    Ok((without_route(path)?, parameters.trim_start_matches(' ')))
}

/// Where the closing bracket is: not inside quotes.
fn path_end(inner: &str) -> Option<usize> {
    let (mut quoted, mut escaped) = (false, false);
    for (at, octet) in inner.bytes().enumerate() {
        match octet {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'>' if !quoted => return Some(at),
            _ => {}
        }
    }
    None
}

/// RFC 5321 section 4.1.1.3 and appendix C: a source route is read and ignored.
fn without_route(path: &str) -> Result<&str, CommandError> {
    if !path.starts_with('@') {
        return Ok(path);
    }
    let (route, mailbox) = path.split_once(':').ok_or(ARGUMENT)?;
    let well_formed = route.split(',').all(|hop| {
        hop.strip_prefix('@')
            .is_some_and(|domain| Address::parse(&format!("x@{domain}"), true).is_ok())
    });
    if well_formed { Ok(mailbox) } else { Err(ARGUMENT) }
}

fn address(path: &str, utf8: bool, sender: bool) -> Result<Address, CommandError> {
    let syntax = if sender { "5.1.7" } else { "5.1.3" };
    Address::parse(path, utf8).map_err(|error| match error {
        AddressError::Syntax => refuse(501, syntax, "that is not an address"),
        AddressError::TooLong => refuse(501, syntax, "the address is too long"),
        AddressError::NotAscii => refuse(553, "5.6.7", "that address needs SMTPUTF8"),
    })
}

/// `KEYWORD=value` pairs, each at most once.
fn parameters(text: &str, extended: bool) -> Result<Vec<(String, Option<&str>)>, CommandError> {
    let mut found: Vec<(String, Option<&str>)> = Vec::new();
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        if !extended {
            return Err(refuse(555, "5.5.4", "parameters need EHLO"));
        }
        let (keyword, value) = match word.split_once('=') {
            Some((keyword, value)) => (keyword, Some(value)),
            None => (word, None),
        };
        let keyword = keyword.to_ascii_uppercase();
        if found.iter().any(|(known, _)| *known == keyword) {
            return Err(TWICE);
        }
        found.push((keyword, value));
    }
    Ok(found)
}

fn mail(argument: &str, extended: bool) -> Result<Mail, CommandError> {
    let (path, rest) = path(argument, "FROM:")?;
    let mut mail = Mail::default();
    for (keyword, value) in parameters(rest, extended)? {
        match (keyword.as_str(), value) {
            ("SIZE", Some(value)) => mail.size = Some(number(value).ok_or(ARGUMENT)?),
            ("BODY", Some(value)) => {
                mail.body = Some(match value.to_ascii_uppercase().as_str() {
                    "7BIT" => BodyType::SevenBit,
                    "8BITMIME" => BodyType::EightBit,
                    _ => return Err(ARGUMENT),
                });
            }
            ("SMTPUTF8", None) => mail.smtputf8 = true,
            ("RET", Some(value)) => {
                mail.ret = Some(match value.to_ascii_uppercase().as_str() {
                    "FULL" => Ret::Full,
                    "HDRS" => Ret::Headers,
                    _ => return Err(ARGUMENT),
                });
            }
            ("ENVID", Some(value)) if value.len() <= 100 => {
                mail.envid = Some(xtext::decode(value).filter(|id| id.is_ascii()).ok_or(ARGUMENT)?);
            }
            // RFC 4865 section 5: one of both.
            ("HOLDFOR" | "HOLDUNTIL", Some(_)) if mail.hold.is_some() => return Err(TWICE),
            ("HOLDFOR", Some(value)) if value.len() <= 9 => {
                let seconds = number(value).and_then(|seconds| u32::try_from(seconds).ok());
                mail.hold = Some(Hold::For(seconds.ok_or(ARGUMENT)?));
            }
            ("HOLDUNTIL", Some(value)) if (20..=35).contains(&value.len()) && value.is_ascii() => {
                mail.hold = Some(Hold::Until(value.to_owned()));
            }
            ("REQUIRETLS", None) => mail.require_tls = true,
            ("BY", Some(value)) => mail.by = Some(By::parse(value).ok_or(BY)?),
            // RFC 4954 section 5: read, and not trusted.
            ("AUTH", Some(value)) => drop(xtext::decode(value).ok_or(ARGUMENT)?),
            (
                "SIZE" | "BODY" | "SMTPUTF8" | "RET" | "ENVID" | "AUTH" | "HOLDFOR" | "HOLDUNTIL"
                | "REQUIRETLS" | "BY",
                _,
            ) => return Err(ARGUMENT),
            _ => return Err(PARAMETER),
        }
    }
    if !path.is_empty() {
        mail.reverse_path = Some(address(path, mail.smtputf8, true)?);
    }
    Ok(mail)
}

fn rcpt(argument: &str, extended: bool) -> Result<Rcpt, CommandError> {
    let (path, rest) = path(argument, "TO:")?;
    let mut rcpt = Rcpt {
        forward_path: None,
        notify: None,
        orcpt: None,
    };
    for (keyword, value) in parameters(rest, extended)? {
        match (keyword.as_str(), value) {
            ("NOTIFY", Some(value)) => rcpt.notify = Some(notify(value)?),
            ("ORCPT", Some(value)) if value.len() <= 500 => {
                let (kind, address) = value.split_once(';').ok_or(ARGUMENT)?;
                let address = xtext::decode_address(kind, address)
                    .filter(|address| !address.is_empty())
                    .ok_or(ARGUMENT)?;
                if kind.is_empty() || !kind.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
                    return Err(ARGUMENT);
                }
                rcpt.orcpt = Some(format!("{kind};{address}"));
            }
            ("NOTIFY" | "ORCPT", _) => return Err(ARGUMENT),
            _ => return Err(PARAMETER),
        }
    }
    if !path.eq_ignore_ascii_case("postmaster") {
        // Whether SMTPUTF8 was asked for is known by the session, which checks it.
        rcpt.forward_path = Some(address(path, true, false)?);
    }
    Ok(rcpt)
}

fn notify(value: &str) -> Result<Notify, CommandError> {
    let mut notify = Notify::default();
    if value.eq_ignore_ascii_case("NEVER") {
        return Ok(notify);
    }
    for word in value.split(',') {
        let flag = match word.to_ascii_uppercase().as_str() {
            "SUCCESS" => &mut notify.success,
            "FAILURE" => &mut notify.failure,
            "DELAY" => &mut notify.delay,
            _ => return Err(ARGUMENT),
        };
        if std::mem::replace(flag, true) {
            return Err(ARGUMENT);
        }
    }
    Ok(notify)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(line: &str) -> Result<Command, CommandError> {
        Command::parse(line.as_bytes(), true)
    }

    #[test]
    fn good_lines() {
        for line in [
            "ehlo client.example",
            "HELO [192.0.2.1]",
            "MAIL FROM:<>",
            "mail from:<a@b> SIZE=10 BODY=8bitmime",
            "MAIL FROM: <a@b>",
            "RCPT TO:a@b NOTIFY=NEVER",
            "RCPT TO:<postmaster>",
            "RCPT TO:<@a,@b:c@d> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;c+40d",
            "MAIL FROM:<\"a>b\"@c> RET=HDRS ENVID=x+20y",
            "BDAT 5 last",
            "BDAT 0",
            "NOOP anything",
            "AUTH plain AGE=",
            "MAIL FROM:<ü@b> SMTPUTF8",
            "QUIT",
            "MAIL FROM:<a@b> AUTH=<>",
            "MAIL FROM:<> requiretls",
            "MAIL FROM:<a@b> BY=120;R REQUIRETLS",
            "MAIL FROM:<a@b> by=-5;nt",
        ] {
            assert!(parse(line).is_ok(), "{line}: {:?}", parse(line));
        }
    }

    #[test]
    fn bad_lines_and_their_codes() {
        for (line, code) in [
            ("", 500),
            ("FOO", 500),
            ("EHLO", 501),
            ("EHLO a b", 501),
            ("DATA now", 501),
            ("BDAT", 501),
            ("BDAT -1", 501),
            ("BDAT 2a", 501),
            ("BDAT 5  LAST", 501),
            ("BDAT 99999999999999999999999", 501),
            ("MAIL FROM:", 501),
            ("MAIL FROM: SIZE=1", 501),
            ("RCPT TO:a@b>", 501),
            ("RCPT TO:@a:b@c", 501),
            ("MAIL FROM:<a@b> SIZE=2a", 501),
            ("MAIL FROM:<a@b> SIZE=1 SIZE=1", 501),
            ("MAIL FROM:<a@b> BODY=foo", 501),
            ("MAIL FROM:<a@b> FOO=1", 555),
            ("MAIL FROM:<a@b> REQUIRETLS=yes", 501),
            ("MAIL FROM:<a@b> REQUIRETLS=", 501),
            ("MAIL FROM:<a@b> REQUIRETLS RequireTLS", 501),
            ("MAIL FROM:<a@b> BY", 501),
            ("MAIL FROM:<a@b> BY=0;R", 501),
            ("MAIL FROM:<a@b> BY=5;N BY=5;N", 501),
            ("MAIL FROM:<a@b> ENVID=+0a", 501),
            ("MAIL FROM:<ü@b>", 553),
            ("MAIL TO:<a@b>", 501),
            ("RCPT TO:<>", 501),
            ("RCPT TO:<a>", 501),
            ("RCPT TO:<a@b> NOTIFY=NEVER,SUCCESS", 501),
            ("RCPT TO:<a@b>x", 501),
            ("RCPT TO:<a@b> ORCPT=a+40b", 501),
            ("AUTH", 501),
            ("VRFY", 501),
            ("MAIL FROM:<a@b", 501),
            ("MAIL", 501),
        ] {
            assert_eq!(parse(line).map_err(|error| error.code), Err(code), "{line}");
        }
        assert_eq!(Command::parse(b"NOOP \0", true).unwrap_err().code, 500);
        assert_eq!(Command::parse(b"NOOP \xff", true).unwrap_err().code, 500);
        assert_eq!(
            Command::parse(b"MAIL FROM:<a@b> SIZE=1", false).unwrap_err().code,
            555
        );
    }

    proptest! {
        #[test]
        fn no_line_panics(line in proptest::collection::vec(any::<u8>(), 0..80), verb in 0_usize..4) {
            let _ = Command::parse(&line, true);
            let mut with_verb = [&b"MAIL FROM:<"[..], b"RCPT TO:<", b"AUTH ", b"BDAT "][verb].to_vec();
            with_verb.extend_from_slice(&line);
            let _ = Command::parse(&with_verb, true);
        }
    }
}
