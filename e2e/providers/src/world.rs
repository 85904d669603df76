//! What all connections share: the customer, the switches, tokens that were given, and the record of what was seen.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::customer::Customer;
use crate::keys::{self, Failed};
use crate::sasl::Claim;
use crate::stand::{At, Authority, Stand};

/// Shared by all connections.
#[derive(Debug)]
pub(crate) struct World(Mutex<Shared>);

/// Under the lock.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) customer: Customer,
    /// By provider.
    pub(crate) switches: BTreeMap<&'static str, Switches>,
    /// Seconds that a new token lives.
    pub(crate) token_life: i64,
    /// The domain's administrator lets the service account of Google act for mailboxes.
    pub(crate) is_delegated: bool,
    /// Seconds by which the clock of Entra is ahead.
    pub(crate) entra_ahead: i64,
    /// Keys of the cluster whose tokens Entra trusts (RFC 7517), and their issuer.
    pub(crate) trusted: (Value, String),
    pub(crate) record: Record,
    tokens: Vec<Token>,
    /// Ids of statements, each of which is good once.
    seen: Vec<String>,
}

/// How a provider is today.
#[derive(Clone, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is switched by itself")]
pub(crate) struct Switches {
    /// The account has sent what it may.
    pub(crate) over_quota: bool,
    /// All is too fast.
    pub(crate) throttled: bool,
    /// Nobody listens.
    pub(crate) down: bool,
    /// It shows the certificate of another host.
    pub(crate) mistaken: bool,
    /// It knows the customer no more by an address, a domain or a certificate.
    pub(crate) unknown: bool,
    /// How often it has taken back what it gave.
    pub(crate) renewals: u64,
    /// A reply that is given next, where, and how often.
    pub(crate) odd: Option<(At, String, u64)>,
    /// Connections that are open.
    pub(crate) open: usize,
}

/// All that was seen.
#[derive(Debug, Default)]
pub(crate) struct Record {
    /// Each AUTH: where, as whom, by what, and whether it was taken.
    pub(crate) logins: Vec<Value>,
    /// Each message that was taken.
    pub(crate) messages: Vec<Value>,
    /// Each request for a token.
    pub(crate) tokens: Vec<Value>,
    /// Refusals after the login, by provider.
    pub(crate) refusals: BTreeMap<&'static str, u64>,
}

#[derive(Debug)]
struct Token {
    text: String,
    of: Authority,
    user: String,
    ends: i64,
}

impl World {
    pub(crate) fn new(customer: Customer) -> Self {
        Self(Mutex::new(Shared {
            customer,
            switches: BTreeMap::new(),
            token_life: 3_599,
            is_delegated: true,
            entra_ahead: 0,
            trusted: (Value::Null, String::new()),
            record: Record::default(),
            tokens: Vec::new(),
            seen: Vec::new(),
        }))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Shared> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    /// How a provider is today.
    pub(crate) fn switches(&mut self, stand: &Stand) -> &mut Switches {
        self.switches.entry(stand.name).or_default()
    }

    /// What a provider says at this place in place of going on.
    pub(crate) fn refusal(&mut self, stand: &Stand, at: At) -> Option<String> {
        let switches = self.switches(stand);
        let odd = switches
            .odd
            .as_mut()
            .filter(|(place, _, left)| *place == at && *left > 0);
        if let Some((_, text, left)) = odd {
            *left -= 1;
            return Some(text.clone());
        }
        let quota = stand.quota.filter(|_| switches.over_quota);
        let throttle = Some(stand.throttle).filter(|_| switches.throttled);
        let found = [quota, throttle]
            .into_iter()
            .flatten()
            .find(|saying| saying.at == at);
        found.map(|saying| saying.text.to_owned())
    }

    /// A token for a mailbox.
    pub(crate) fn give_token(&mut self, of: Authority, user: &str, now: i64) -> Result<String, Failed> {
        let text = keys::word(48)?;
        let ends = now + self.token_life;
        self.tokens.push(Token {
            text: text.clone(),
            of,
            user: user.to_owned(),
            ends,
        });
        Ok(text)
    }

    /// All tokens are over.
    pub(crate) fn end_tokens(&mut self) {
        self.tokens.clear();
    }

    /// Whether a statement's id comes for the first time.
    pub(crate) fn is_new(&mut self, id: &str) -> bool {
        let is_new = !self.seen.iter().any(|known| known == id);
        if is_new {
            self.seen.push(id.to_owned());
        }
        is_new
    }

    /// Judges a login. Errors: the reply that refuses it.
    pub(crate) fn admits(&self, stand: &Stand, claim: &Claim, now: i64) -> Result<String, &'static str> {
        match claim {
            Claim::Password { user, .. } => match stand.no_passwords {
                Some(refusal) => Err(refusal),
                None if self.customer.is_password(stand, claim) => Ok(user.clone()),
                None => Err(stand.login_refused),
            },
            Claim::Token { user, token } => {
                let of = match stand.name {
                    "Gmail" => Authority::Google,
                    "Microsoft365" | "Microsoft365HVE" => Authority::Entra,
                    _ => return Err(stand.login_refused),
                };
                let mut known = self.tokens.iter();
                let is_good = known.any(|known| {
                    known.text == *token && known.of == of && known.user == *user && now < known.ends
                });
                if is_good {
                    Ok(user.clone())
                } else {
                    Err(stand.login_refused)
                }
            }
        }
    }

    /// All that was seen, as one value.
    pub(crate) fn shown(&self) -> Value {
        let record = &self.record;
        json!({
            "logins": record.logins, "messages": record.messages, "tokens": record.tokens,
            "refusals": record.refusals,
        })
    }
}

/// Seconds since 1970.
pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
