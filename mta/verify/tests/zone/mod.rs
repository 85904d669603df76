//! Key records by name, and messages verified with them: what the tests of DKIM and ARC share.

#![allow(dead_code, reason = "each test uses a part")]

use std::collections::BTreeMap;

use postroad_verify::arc;
use postroad_verify::dkim::{self, Header, Limits, Outcome, Verifier, Wanted};
use postroad_verify::dns::{Answer, Question};

/// TXT records by name.
#[derive(Clone, Debug, Default)]
pub struct Zone(BTreeMap<String, Vec<Vec<u8>>>);

impl Zone {
    /// One record more at `SELECTOR._domainkey.DOMAIN`.
    #[must_use]
    pub fn with(mut self, selector: &str, domain: &str, text: &str) -> Self {
        let name = format!("{selector}._domainkey.{domain}");
        self.0.entry(name).or_default().push(text.as_bytes().to_vec());
        self
    }

    /// One record more at a full name.
    pub fn add(&mut self, name: &str, text: &str) {
        let name = name.to_ascii_lowercase();
        self.0.entry(name).or_default().push(text.as_bytes().to_vec());
    }

    pub fn answer(&self, question: &Question) -> Answer {
        match self.0.get(&question.name) {
            Some(texts) => Answer::Txt(texts.clone()),
            None => Answer::NxDomain,
        }
    }
}

/// Verdicts on a message, its body in chunks of `chunk` octets.
pub fn verify(message: &[u8], zone: &Zone, now: u64, chunk: usize) -> Vec<Outcome> {
    let (section, body) = Header::split(message);
    let header = Header::parse(section);
    let mut wanted = Wanted::new();
    let mut verifier = Verifier::new(&header, &Limits::default(), now, &mut wanted);
    for question in verifier.questions() {
        verifier.answer(&question, &zone.answer(&question));
    }
    verifier.finish(&hashes(&wanted, body, chunk))
}

/// The state of a message's chain.
pub fn verify_chain(message: &[u8], zone: &Zone, now: u64) -> arc::Outcome {
    let (section, body) = Header::split(message);
    let header = Header::parse(section);
    let mut wanted = Wanted::new();
    let mut verifier = arc::Verifier::new(&header, &Limits::default(), now, &mut wanted);
    for question in verifier.questions() {
        verifier.answer(&question, &zone.answer(&question));
    }
    verifier.finish(&hashes(&wanted, body, 61))
}

/// The fields that a signer puts above a message.
pub fn sign(message: &[u8], signer: &dkim::Signer, now: u64) -> Result<String, dkim::Unsignable> {
    let (section, body) = Header::split(message);
    let mut wanted = Wanted::new();
    signer.want(&mut wanted);
    signer.sign(&Header::parse(section), &hashes(&wanted, body, 61), now)
}

pub fn hashes(wanted: &Wanted, body: &[u8], chunk: usize) -> dkim::BodyHashes {
    let mut hasher = wanted.hasher();
    body.chunks(chunk.max(1)).for_each(|chunk| hasher.update(chunk));
    hasher.finish()
}

/// Fields above a message.
pub fn above(fields: &str, message: &[u8]) -> Vec<u8> {
    [fields.as_bytes(), message].concat()
}

/// Text of a file with the line ends that mail has.
pub fn crlf(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + text.len() / 32);
    for (at, octet) in text.iter().enumerate() {
        if *octet == b'\n' && (at == 0 || text[at - 1] != b'\r') {
            out.push(b'\r');
        }
        out.push(*octet);
    }
    out
}
