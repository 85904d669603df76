//! What a header says of the checks to make: signatures, chain, author. Pure.

use postroad_config::{CheckMode, Verification};
use postroad_verify::dkim::{Header, Limits, Wanted};
use postroad_verify::dmarc::{Domain, FromError, author, shown_instead};
use postroad_verify::dns::Question;
use postroad_verify::{arc, dkim, dmarc};

use super::asks_dmarc;

/// What is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Asks {
    dkim: bool,
    arc: bool,
    dmarc: bool,
}

/// What was found in a header.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) dkim: Option<dkim::Verifier>,
    pub(super) arc: Option<arc::Verifier>,
    /// Absent where DMARC is not asked.
    pub(super) author: Option<Result<Domain, FromError>>,
    /// The domain of an address in the name that is shown beside the author's.
    pub(super) shown: Option<Domain>,
    /// Its Subject is that of a report (RFC 9990 section 2.5.2).
    pub(super) is_report: bool,
    /// Hashes of the body.
    pub(super) wanted: Wanted,
}

impl Asks {
    pub(super) fn of(verification: &Verification) -> Self {
        let dmarc = asks_dmarc(verification);
        Self {
            dkim: dmarc || verification.dkim.mode != CheckMode::Disabled,
            arc: verification.arc.mode != CheckMode::Disabled
                || (dmarc && !verification.arc.trusted_sealers.is_empty()),
            dmarc,
        }
    }

    /// The chain too.
    pub(super) fn add_chain(&mut self) {
        self.arc = true;
    }

    pub(super) fn any(self) -> bool {
        self.dkim || self.arc || self.dmarc
    }
}

/// Reads a header section as it came: what is taken out of it later was signed by its senders. `now`: seconds since 1970.
pub(super) fn read(section: &[u8], asks: Asks, now: u64) -> Found {
    let mut header = Header::parse(section);
    if header.begins_folded() {
        // It is kept below an empty line, so that all of it is body to whoever reads it.
        header = Header::parse(&[]);
    }
    let limits = Limits::default();
    let mut found = Found::default();
    if asks.dkim {
        found.dkim = Some(dkim::Verifier::new(&header, &limits, now, &mut found.wanted));
    }
    if asks.arc {
        found.arc = Some(arc::Verifier::new(&header, &limits, now, &mut found.wanted));
    }
    if asks.dmarc {
        let fields: Vec<&[u8]> = header.named("From").map(dkim::Field::value).collect();
        found.author = Some(author(&fields));
        found.shown = shown_instead(&fields);
        let mut subjects = header.named("Subject").map(dkim::Field::value);
        found.is_report = subjects.any(dmarc::report::is_report);
    }
    found
}

impl Found {
    /// The names of keys, each once.
    pub(super) fn keys(&self) -> Vec<Question> {
        let dkim = self.dkim.iter().flat_map(dkim::Verifier::questions);
        let arc = self.arc.iter().flat_map(arc::Verifier::questions);
        let mut questions: Vec<Question> = Vec::new();
        for question in dkim.chain(arc) {
            if !questions.contains(&question) {
                questions.push(question);
            }
        }
        questions
    }

    /// Where the author's own policy would stand: asked early, it is there when it is needed.
    pub(super) fn policy(&self) -> Option<Question> {
        let author = self.author.clone()?.ok()?;
        let request = dmarc::Request {
            author: Ok(author),
            identifiers: Vec::new(),
            each_method: false,
        };
        match dmarc::Check::start(request).1 {
            dmarc::Step::Ask(question) => Some(question),
            dmarc::Step::Done(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAIL: &[u8] =
        b"DKIM-Signature: v=1; a=rsa-sha256; d=a.example; s=s; h=from; bh=aGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNoaGFzaGhhc2g=; b=c2ln\r\n\
        DKIM-Signature: v=1; a=rsa-sha256; d=a.example; s=s; h=from:to; bh=aGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNoaGFzaGhhc2g=; b=c2lo\r\n\
        From: ann@a.example\r\n";

    #[test]
    fn a_key_is_asked_for_once_and_only_what_is_asked_is_looked_at() {
        let found = read(MAIL, Asks::of(&Verification::default()), 0);
        let names: Vec<String> = found.keys().into_iter().map(|key| key.name).collect();
        assert_eq!(names, ["s._domainkey.a.example"]);
        assert_eq!(found.policy().unwrap().name, "_dmarc.a.example");
        assert!(!found.wanted.is_empty());
        let mut verification = Verification::default();
        verification.dkim.mode = CheckMode::Disabled;
        assert!(
            read(MAIL, Asks::of(&verification), 0).dkim.is_some(),
            "DMARC stands on it"
        );
        verification.dmarc.mode = postroad_config::DmarcMode::Disabled;
        let found = read(MAIL, Asks::of(&verification), 0);
        assert!(found.dkim.is_none() && found.author.is_none() && found.wanted.is_empty());
        assert!(found.arc.is_some() && found.policy().is_none());
        verification.arc.mode = CheckMode::Disabled;
        assert!(!Asks::of(&verification).any());
    }

    #[test]
    fn a_message_that_begins_folded_has_no_header() {
        let found = read(
            &[b" folded\r\n", MAIL].concat(),
            Asks::of(&Verification::default()),
            0,
        );
        assert!(found.keys().is_empty() && found.wanted.is_empty());
        assert_eq!(found.author, Some(Err(FromError::Missing)));
    }
}
