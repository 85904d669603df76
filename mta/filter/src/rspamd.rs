//! rspamd over HTTP: the fields of a request `POST /checkv2`, and its answer.
//!
//! ```text
//!   Message ─► fields ─► request with the message as its body ─► JSON ─► parse ─► Scan: action, score, symbols, Answer
//! ```
//!
//! Source: rspamd's own description of its protocol. What the answer says and nobody here knows is left alone, but an action
//! that nobody knows is an error: nobody could say whether such a message is good.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::answer::{Answer, Change, Malformed, Refusal, Verdict, printable};
use crate::header::{is_name, value};
use crate::message::Message;

/// What rspamd makes of a message.
#[derive(Clone, Debug, PartialEq)]
pub struct Scan {
    /// Its own word for what is to be done; one of the known ones.
    pub action: &'static str,
    /// Points of the message.
    pub score: f64,
    /// Points at which it is refused.
    pub required: f64,
    /// Names of what was found, in order, at most [`MOST_SYMBOLS`].
    pub symbols: Vec<String>,
    /// What it means for the message.
    pub answer: Answer,
}

/// Where a message is sent.
pub const PATH: &str = "/checkv2";
/// Most octets of an answer.
pub const LARGEST_ANSWER: usize = 1 << 20;
/// Symbols that are kept.
pub const MOST_SYMBOLS: usize = 200;

/// Fields of the request, besides those of HTTP itself. Values hold no control characters.
pub fn fields(message: &Message) -> Vec<(&'static str, String)> {
    let mut fields = vec![
        ("IP", message.client.to_canonical().to_string()),
        ("Helo", clean(&message.helo)),
        ("From", clean(&format!("<{}>", message.reverse_path))),
        ("Queue-Id", message.queue_id.clone()),
        ("MTA-Name", clean(&message.hostname)),
        ("MTA-Tag", "postroad".to_owned()),
    ];
    let recipients = message.recipients.iter().take(MOST_RECIPIENTS);
    fields.extend(recipients.map(|path| ("Rcpt", clean(&format!("<{path}>")))));
    if let Some(login) = &message.login {
        fields.push(("User", clean(&login.user)));
    }
    if let Some((version, cipher)) = &message.tls {
        fields.push(("TLS-Version", clean(version)));
        fields.push(("TLS-Cipher", clean(cipher)));
    }
    fields
}

/// Reads an answer. Errors: it is none, or one that nobody can act on.
pub fn parse(json: &[u8], message: &Message) -> Result<Scan, Malformed> {
    if json.len() > LARGEST_ANSWER {
        return Err(Malformed("the answer is too long"));
    }
    let reply: Reply = serde_json::from_slice(json).map_err(|_| Malformed("the answer cannot be read"))?;
    let (action, outcome) = known(&reply.action).ok_or(Malformed("the answer has an unknown action"))?;
    if !reply.score.is_finite() || !reply.required_score.is_finite() {
        return Err(Malformed("the answer has no score"));
    }
    let answer = match outcome {
        Outcome::Pass | Outcome::Mark | Outcome::Subject => Answer {
            verdict: Verdict::Accept,
            changes: changes(&reply, outcome, message)?,
            quarantine: None,
        },
        Outcome::Quarantine => Answer {
            verdict: Verdict::Accept,
            changes: changes(&reply, Outcome::Pass, message)?,
            quarantine: Some("rspamd".to_owned()),
        },
        Outcome::Discard => Answer::only(Verdict::Discard),
        Outcome::Defer => refusal(451, "4.7.1", "Try again later", &reply),
        Outcome::Reject => refusal(554, "5.7.1", "Refused by the spam filter", &reply),
    };
    Ok(Scan {
        action,
        score: reply.score,
        required: reply.required_score,
        symbols: reply
            .symbols
            .keys()
            .take(MOST_SYMBOLS)
            .map(|name| printable(&name.as_bytes()[..name.len().min(LONGEST_SYMBOL)]))
            .collect(),
        answer,
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Pass,
    Mark,
    Subject,
    Defer,
    Reject,
    Discard,
    Quarantine,
}

fn known(action: &str) -> Option<(&'static str, Outcome)> {
    ACTIONS.iter().copied().find(|(name, _)| *name == action)
}

fn refusal(code: u16, enhanced: &str, words: &str, reply: &Reply) -> Answer {
    let said = reply.messages.get("smtp_message").and_then(Value::as_str);
    let said = said.map(str::trim).filter(|said| !said.is_empty());
    Answer::only(Verdict::Refuse(Refusal::saying(
        code,
        enhanced,
        said.unwrap_or(words),
    )))
}

#[derive(Deserialize)]
struct Reply {
    action: String,
    score: f64,
    required_score: f64,
    #[serde(default)]
    symbols: BTreeMap<String, Value>,
    #[serde(default)]
    messages: BTreeMap<String, Value>,
    #[serde(default)]
    subject: Option<String>,
    #[serde(default, rename = "dkim-signature")]
    dkim_signature: Option<OneOrMany<String>>,
    #[serde(default)]
    milter: Milter,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Milter {
    add_headers: BTreeMap<String, OneOrMany<Added>>,
    remove_headers: BTreeMap<String, OneOrMany<i64>>,
    change_from: Option<String>,
    add_rcpt: Vec<String>,
    del_rcpt: Vec<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany<T> {
    One(T),
    Many(Vec<T>),
}

impl<T> OneOrMany<T> {
    fn all(&self) -> &[T] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => many,
        }
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Added {
    Text(String),
    Placed {
        value: String,
        #[serde(default)]
        order: Option<i64>,
    },
}

/// All changes, first those that take away: what is added under the same name stays.
fn changes(reply: &Reply, outcome: Outcome, message: &Message) -> Result<Vec<Change>, Malformed> {
    let mut changes = Vec::new();
    for (name, places) in &reply.milter.remove_headers {
        for index in places.all() {
            changes.push(Change::Remove {
                index: *index,
                name: checked(name)?,
            });
        }
    }
    if outcome == Outcome::Mark {
        changes.push(Change::Remove {
            index: 0,
            name: MARK.to_owned(),
        });
        changes.push(add(MARK, "Yes", None)?);
    }
    for (name, values) in &reply.milter.add_headers {
        // Our own mark stands already.
        if outcome == Outcome::Mark && name.eq_ignore_ascii_case(MARK) {
            continue;
        }
        for added in values.all() {
            changes.push(match added {
                Added::Text(text) => add(name, text, None)?,
                Added::Placed { value, order } => add(name, value, *order)?,
            });
        }
    }
    if outcome == Outcome::Subject {
        changes.push(Change::Replace {
            index: 1,
            name: "Subject".to_owned(),
            value: spaced(&subject(reply, message))?,
        });
    }
    for signature in reply.dkim_signature.iter().flat_map(OneOrMany::all) {
        changes.push(add("DKIM-Signature", signature, Some(0))?);
    }
    if let Some(from) = &reply.milter.change_from {
        changes.push(Change::From(address(from)?));
    }
    for path in &reply.milter.del_rcpt {
        changes.push(Change::RemoveRecipient(address(path)?));
    }
    for path in &reply.milter.add_rcpt {
        changes.push(Change::AddRecipient(address(path)?));
    }
    if changes.len() > crate::milter::MOST_CHANGES {
        return Err(Malformed("it makes too many changes"));
    }
    Ok(changes)
}

/// Its own subject, or ours with a mark in front.
fn subject(reply: &Reply, message: &Message) -> String {
    reply.subject.clone().unwrap_or_else(|| {
        let fields = message.header.fields().iter();
        let mut subjects = fields.filter(|field| field.name().eq_ignore_ascii_case(b"subject"));
        let before = subjects
            .next()
            .map_or(&b""[..], |field| field.value().trim_ascii());
        format!("*** SPAM *** {}", String::from_utf8_lossy(before))
    })
}

fn add(name: &str, text: &str, order: Option<i64>) -> Result<Change, Malformed> {
    let (name, value) = (checked(name)?, spaced(text)?);
    Ok(match order.map(u32::try_from) {
        // Its places are counted from 0; ours have our own trace at 0.
        Some(Ok(order)) => Change::Insert {
            index: order.saturating_add(1),
            name,
            value,
        },
        _ => Change::Add { name, value },
    })
}

fn checked(name: &str) -> Result<String, Malformed> {
    if is_name(name.as_bytes()) {
        Ok(name.to_owned())
    } else {
        Err(Malformed("a field has a name that no field may have"))
    }
}

fn spaced(text: &str) -> Result<Vec<u8>, Malformed> {
    let mut spaced = b" ".to_vec();
    spaced.extend(value(text.trim_start().as_bytes())?);
    Ok(spaced)
}

fn address(text: &str) -> Result<String, Malformed> {
    let text = text.trim();
    let inner = text.strip_prefix('<').and_then(|text| text.strip_suffix('>'));
    let address = inner.unwrap_or(text);
    if address.len() > MOST_ADDRESS || address.chars().any(char::is_control) {
        return Err(Malformed("an address is none"));
    }
    Ok(address.to_owned())
}

fn clean(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}

const ACTIONS: &[(&str, Outcome)] = &[
    ("no action", Outcome::Pass),
    ("greylist", Outcome::Defer),
    ("add header", Outcome::Mark),
    ("rewrite subject", Outcome::Subject),
    ("soft reject", Outcome::Defer),
    ("reject", Outcome::Reject),
    ("discard", Outcome::Discard),
    ("quarantine", Outcome::Quarantine),
];
/// What rspamd's own milter writes for "add header".
const MARK: &str = "X-Spam";
/// More would only make the request long.
const MOST_RECIPIENTS: usize = 1_000;
const MOST_ADDRESS: usize = 320;
const LONGEST_SYMBOL: usize = 64;

#[cfg(test)]
mod tests;
