//! What a domain's mail is signed with: keys out of a Secret, and what is said of them. Pure.
//!
//! ```text
//!   Secret ─► Held::read ─► keys: selector, algorithm, record        which of them are wanted, which are missing
//!                              └─► stands: Pending ─(its record is seen)─► Active ─► rendered for the pods
//! ```
//!
//! An entry of the Secret is called `<selector>.pem`. A key that has signed goes on signing whatever DNS says later: to stop
//! would not make the mail better.

use std::collections::BTreeMap;

use jiff::Timestamp;
use postroad_config::{ArcSeal, Dkim, DomainName, KeySource, SigningKey, is_selector};
use postroad_crds::mail_domain::{self as crd, DkimAlgorithm, DkimKeyState, DkimKeyStatus, DkimStatus};
use postroad_crds::{MailDomain, MailDomainStatus};
use postroad_verify::dkim::{Algorithm, KeyRecord, PrivateKey, SigningKey as _, presentation};

use crate::dns::judge::Ruling;

/// Ending of an entry's name.
const ENDING: &str = ".pem";
/// Keys of one domain.
const MOST_KEYS: usize = 8;

/// A private key of a domain.
#[derive(Clone, PartialEq, Eq)]
pub struct Held {
    /// Its record is at `<selector>._domainkey.<domain>`.
    pub selector: String,
    /// What it signs with.
    pub algorithm: DkimAlgorithm,
    /// The same with the bits of an RSA key, for people.
    pub shown: String,
    /// The text of its record.
    pub record: String,
    /// The private key, PEM.
    pem: String,
}

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Held({} {:?}, …)", self.selector, self.algorithm)
    }
}

impl Held {
    /// Reads one entry. Errors: what is wrong, with the name of the entry and nothing of its value.
    fn read(entry: &str, value: &[u8]) -> Result<Self, String> {
        let selector = entry.strip_suffix(ENDING).filter(|name| is_selector(name));
        let selector = selector.ok_or_else(|| {
            format!(
                "entry `{entry}` is not called <selector>{ENDING}; a selector has letters, digits and hyphens"
            )
        })?;
        let wrong = |error: &dyn std::fmt::Display| format!("entry `{entry}`: {error}");
        let pem = std::str::from_utf8(value).map_err(|_| wrong(&"there is no private key in PEM form"))?;
        let key = PrivateKey::from_pem(pem).map_err(|error| wrong(&error))?;
        let record = key.record().map_err(|error| wrong(&error))?;
        let (algorithm, shown) = match key.algorithm() {
            Algorithm::RsaSha256 => {
                let public = KeyRecord::parse(record.as_bytes()).map_err(|error| wrong(&error))?;
                (DkimAlgorithm::Rsa2048, format!("Rsa{}", public.key.bits()))
            }
            Algorithm::Ed25519Sha256 => (DkimAlgorithm::Ed25519, "Ed25519".to_owned()),
        };
        Ok(Self {
            selector: selector.to_ascii_lowercase(),
            algorithm,
            shown,
            record,
            pem: pem.to_owned(),
        })
    }

    /// Name of its record.
    pub fn name(&self, domain: &str) -> String {
        format!("{}._domainkey.{domain}", self.selector)
    }

    /// Its record as a zone file has it, in strings of at most 255 octets.
    pub fn expected(&self) -> String {
        presentation(&self.record)
    }
}

/// Reads a Secret's entries. Errors: the first that is wrong.
pub fn read<'a>(entries: impl Iterator<Item = (&'a String, &'a [u8])>) -> Result<Vec<Held>, String> {
    let mut keys = entries
        .map(|(entry, value)| Held::read(entry, value))
        .collect::<Result<Vec<_>, _>>()?;
    keys.sort_by(|a, b| a.selector.cmp(&b.selector));
    if keys.is_empty() {
        return Err(format!("it has no entry <selector>{ENDING}"));
    }
    if keys.len() > MOST_KEYS {
        return Err(format!("it has {} keys; {MOST_KEYS} are the most", keys.len()));
    }
    if let Some(twice) = keys.windows(2).find(|two| two[0].selector == two[1].selector) {
        return Err(format!("selector `{}` is there twice", twice[0].selector));
    }
    Ok(keys)
}

/// Algorithms that keys are made for.
pub fn algorithms(dkim: &crd::Dkim) -> Vec<DkimAlgorithm> {
    let both = || vec![DkimAlgorithm::Rsa2048, DkimAlgorithm::Ed25519];
    dkim.algorithms.clone().unwrap_or_else(both)
}

/// Of the keys in our own Secret those that are wanted; and the algorithms that still lack one. The last selector by name is
/// the newest key, as its name has the day.
pub fn wanted(dkim: &crd::Dkim, held: &[Held]) -> (Vec<Held>, Vec<DkimAlgorithm>) {
    let (mut keys, mut missing) = (Vec::new(), Vec::new());
    for algorithm in algorithms(dkim) {
        match held.iter().rfind(|key| key.algorithm == algorithm) {
            Some(key) => keys.push(key.clone()),
            None => missing.push(algorithm),
        }
    }
    (keys, missing)
}

/// Selector of a new key: unlike that of any other cluster's object, and of any other day.
pub fn selector(algorithm: DkimAlgorithm, uid: &str, now: Timestamp) -> String {
    let kind = match algorithm {
        DkimAlgorithm::Rsa2048 => "rsa",
        DkimAlgorithm::Ed25519 => "ed",
    };
    let own: String = uid
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .take(6)
        .collect::<String>()
        .to_ascii_lowercase();
    format!("{kind}-{}-{own}", now.strftime("%Y%m%d"))
}

/// Makes a key: selector's entry and PEM. Takes a good part of a second for RSA.
pub fn make(algorithm: DkimAlgorithm, selector: &str) -> Result<(String, String), String> {
    let kind = match algorithm {
        DkimAlgorithm::Rsa2048 => Algorithm::RsaSha256,
        DkimAlgorithm::Ed25519 => Algorithm::Ed25519Sha256,
    };
    let pem = PrivateKey::generate(kind).and_then(|key| key.to_pem());
    let pem = pem.map_err(|error| error.to_string())?;
    Ok((format!("{selector}{ENDING}"), pem.as_str().to_owned()))
}

/// Name of the Secret of a domain's keys.
pub fn secret_name(name: &str, dkim: &crd::Dkim) -> String {
    match &dkim.secret_ref {
        Some(given) => given.name.clone(),
        // Names have at most 253 octets.
        None => format!("{}-dkim", name.chars().take(248).collect::<String>()),
    }
}

/// Whether keys of ours were in use: one that was made, and that somebody may have published.
pub fn had_keys(status: Option<&MailDomainStatus>, secret: &str) -> bool {
    let known = status.and_then(|status| status.dkim.as_ref());
    known.is_some_and(|known| known.secret == secret && !known.keys.is_empty())
}

/// Selector of a key that the status names, of an algorithm that lacks one in that very Secret: somebody took it out.
pub fn lost<'a>(
    status: Option<&'a MailDomainStatus>,
    secret: &str,
    missing: &[DkimAlgorithm],
) -> Option<&'a str> {
    let known = status?.dkim.as_ref().filter(|known| known.secret == secret)?;
    let is_missing = |key: &&DkimKeyStatus| {
        missing.iter().any(|algorithm| match algorithm {
            DkimAlgorithm::Rsa2048 => key.algorithm.starts_with("Rsa"),
            DkimAlgorithm::Ed25519 => key.algorithm == "Ed25519",
        })
    };
    let key = known.keys.iter().find(is_missing)?;
    Some(key.selector.as_str())
}

/// How each key stands now. `seen`: what DNS says of its record; absent where it is not to be asked, then the key signs at
/// once. A key whose record is another one than before begins anew.
pub fn stands(
    domain: &str,
    secret: &str,
    keys: &[Held],
    seen: &BTreeMap<String, Ruling>,
    before: Option<&MailDomainStatus>,
    now: Timestamp,
) -> DkimStatus {
    let known = before.and_then(|status| status.dkim.as_ref());
    let one = |key: &Held| {
        let was = known
            .into_iter()
            .flat_map(|known| &known.keys)
            .find(|was| was.selector == key.selector && !is_changed(key, domain, before));
        let seen = seen.get(&key.name(domain));
        let active = seen.is_none_or(|ruling| *ruling == Ruling::True)
            || was.is_some_and(|was| was.state == DkimKeyState::Active);
        let state = if active {
            DkimKeyState::Active
        } else {
            DkimKeyState::Pending
        };
        let since = was.filter(|was| was.state == state).map(|was| was.since.clone());
        DkimKeyStatus {
            selector: key.selector.clone(),
            algorithm: key.shown.clone(),
            state,
            since: since.unwrap_or_else(|| now.to_string()),
        }
    };
    DkimStatus {
        secret: secret.to_owned(),
        keys: keys.iter().map(one).collect(),
    }
}

/// Whether the status shows another record at this key's name: somebody has put another key under the selector.
fn is_changed(key: &Held, domain: &str, status: Option<&MailDomainStatus>) -> bool {
    let rows = status.map(|status| status.records.as_slice()).unwrap_or_default();
    let name = key.name(domain);
    rows.iter()
        .any(|row| row.name == name && row.expected != key.expected())
}

/// The keys of an object that sign, by its status.
pub fn active(object: &MailDomain) -> Vec<&DkimKeyStatus> {
    let status = object.status.as_ref().and_then(|status| status.dkim.as_ref());
    let keys = status.map(|status| status.keys.as_slice()).unwrap_or_default();
    if object.spec.dkim.is_none() {
        return Vec::new();
    }
    keys.iter()
        .filter(|key| key.state == DkimKeyState::Active)
        .collect()
}

/// The section of the pods' configuration: keys that are there and sign.
pub fn section(object: &MailDomain, domain: &DomainName, held: &[Held]) -> Dkim {
    let (signs, status) = (active(object), object.status.as_ref());
    let is_seen = |key: &&Held| {
        signs.iter().any(|active| active.selector == key.selector)
            && !is_changed(key, domain.as_str(), status)
    };
    let one = |key: &Held| SigningKey {
        selector: key.selector.clone(),
        source: KeySource::Inline(key.pem.clone()),
    };
    let keys = held.iter().filter(is_seen);
    Dkim {
        keys: keys.map(one).collect(),
        arc: arc(object),
    }
}

fn arc(object: &MailDomain) -> ArcSeal {
    match object.spec.dkim.as_ref().map(|dkim| dkim.arc) {
        Some(crd::ArcSeal::Forwarded) => ArcSeal::Forwarded,
        Some(crd::ArcSeal::Disabled) | None => ArcSeal::Disabled,
    }
}

/// What is left of an older section: keys of this very object that sign, not those of another that had the domain before.
pub fn still(object: &MailDomain, before: &Dkim) -> Dkim {
    let signs = active(object);
    let is_own = |key: &&SigningKey| signs.iter().any(|active| active.selector == key.selector);
    Dkim {
        keys: before.keys.iter().filter(is_own).cloned().collect(),
        arc: arc(object),
    }
}

#[cfg(test)]
mod tests;
