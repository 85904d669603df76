//! Private keys by domain. A key whose text is the same as before is not read again: a configuration may have thousands.

use std::collections::HashMap;
use std::sync::Arc;

use postroad_config::{ArcSeal, ConfigSet, Domain, DomainName, KeySource, SigningKey, hash};
use postroad_verify::arc::Sealer;
use postroad_verify::dkim::{Algorithm, PrivateKey, Signer, SigningKey as _};
use zeroize::Zeroizing;

/// A key that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {sentence}")]
pub struct BadDomainKey {
    /// Path of the field.
    pub field: String,
    /// What is wrong and what to write. Never a part of the key.
    pub sentence: String,
}

/// All keys that cannot be used; one or more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadDomainKeys(pub Vec<BadDomainKey>);

impl std::fmt::Display for BadDomainKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (number, bad) in self.0.iter().enumerate() {
            let separator = if number > 0 { "; " } else { "" };
            write!(f, "{separator}{bad}")?;
        }
        Ok(())
    }
}

impl std::error::Error for BadDomainKeys {}

/// Signers of all domains that have keys.
#[derive(Debug, Default)]
pub struct Signers(HashMap<DomainName, Arc<Keys>>);

/// What one domain's mail is signed with.
#[derive(Debug)]
pub struct Keys {
    /// Makes one field for each key.
    pub signer: Signer,
    /// Algorithm of each key.
    pub algorithms: Vec<Algorithm>,
    /// Seals mail that goes on, where the domain asks for it: with its first RSA key, which every verifier of chains knows, or else
    /// its first key.
    pub sealer: Option<Sealer>,
    /// Names the keys without telling them: selector and hash of the text.
    prints: Vec<(String, String)>,
}

impl Keys {
    fn is_as(&self, other: &Self) -> bool {
        self.prints == other.prints && self.sealer.is_some() == other.sealer.is_some()
    }

    /// Whether a signature takes long enough to go elsewhere: RSA does (0.7 ms), Ed25519 does not (0.01 ms).
    pub fn is_slow(&self) -> bool {
        self.algorithms.contains(&Algorithm::RsaSha256)
    }
}

impl Signers {
    /// Reads the keys of a set; those that are as `before` are taken over. Errors: every key that cannot be used.
    pub fn new(set: &ConfigSet, before: Option<&Self>) -> Result<Self, BadDomainKeys> {
        let mut by_domain = HashMap::new();
        let mut bad = Vec::new();
        let signed = |domain: &&Domain| !domain.dkim.keys.is_empty();
        for domain in set.file.domains.iter().filter(signed) {
            let known = before.and_then(|before| before.of(&domain.name));
            match keys(domain, known) {
                Ok(keys) => {
                    by_domain.insert(domain.name.clone(), keys);
                }
                Err(mut found) => bad.append(&mut found),
            }
        }
        if bad.is_empty() {
            Ok(Self(by_domain))
        } else {
            Err(BadDomainKeys(bad))
        }
    }

    /// The keys of this very domain.
    pub fn of(&self, domain: &DomainName) -> Option<&Arc<Keys>> {
        self.0.get(domain)
    }

    /// Whether nothing is signed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the others are the same keys under the same selectors.
    pub fn are_as(&self, others: &Self) -> bool {
        let same = |(domain, keys): (&DomainName, &Arc<Keys>)| {
            others.of(domain).is_some_and(|known| known.is_as(keys))
        };
        self.0.len() == others.0.len() && self.0.iter().all(same)
    }
}

fn keys(domain: &Domain, known: Option<&Arc<Keys>>) -> Result<Arc<Keys>, Vec<BadDomainKey>> {
    let at = |number: usize, key: &SigningKey| {
        let field = match key.source {
            KeySource::Inline(_) => "key",
            KeySource::File(_) => "keyFile",
        };
        format!("domains[{}].dkim.keys[{number}].{field}", domain.name)
    };
    let mut bad = Vec::new();
    let mut texts = Vec::new();
    for (number, key) in domain.dkim.keys.iter().enumerate() {
        match text(&key.source) {
            Ok(text) => texts.push((number, key, text)),
            Err(sentence) => bad.push(BadDomainKey {
                field: at(number, key),
                sentence,
            }),
        }
    }
    let prints: Vec<_> = texts
        .iter()
        .map(|(_, key, text)| (key.selector.to_ascii_lowercase(), hash(text)))
        .collect();
    let seals = domain.dkim.arc == ArcSeal::Forwarded;
    let is_known = |known: &&Arc<Keys>| known.prints == prints && known.sealer.is_some() == seals;
    if let Some(known) = known.filter(|known| bad.is_empty() && is_known(known)) {
        return Ok(Arc::clone(known));
    }
    let mut algorithms = Vec::new();
    let mut privates: Vec<(&str, Arc<PrivateKey>)> = Vec::new();
    let mut signer = Signer::new(domain.name.as_str()).map_err(|error| one(at_keys(domain), &error))?;
    for (number, key, text) in texts {
        match PrivateKey::from_pem(&text) {
            Ok(private) => {
                algorithms.push(private.algorithm());
                let private = Arc::new(private);
                privates.push((&key.selector, Arc::clone(&private)));
                signer = signer
                    .with_key(&key.selector, private)
                    .map_err(|error| one(at(number, key), &error))?;
            }
            Err(error) => bad.push(BadDomainKey {
                field: at(number, key),
                sentence: error.to_string(),
            }),
        }
    }
    if !bad.is_empty() {
        return Err(bad);
    }
    let sealer = privates
        .iter()
        .find(|(_, key)| key.algorithm() == Algorithm::RsaSha256);
    let sealer = sealer.or(privates.first()).filter(|_| seals);
    let sealer =
        sealer.map(|(selector, key)| Sealer::new(domain.name.as_str(), selector, Arc::clone(key) as _));
    let sealer = sealer.transpose().map_err(|error| one(at_keys(domain), &error))?;
    Ok(Arc::new(Keys {
        signer,
        algorithms,
        sealer,
        prints,
    }))
}

fn at_keys(domain: &Domain) -> String {
    format!("domains[{}].dkim.keys", domain.name)
}

fn one(field: String, error: &impl std::fmt::Display) -> Vec<BadDomainKey> {
    vec![BadDomainKey {
        field,
        sentence: error.to_string(),
    }]
}

fn text(source: &KeySource) -> Result<Zeroizing<String>, String> {
    match source {
        KeySource::Inline(text) => Ok(Zeroizing::new(text.clone())),
        KeySource::File(path) => std::fs::read_to_string(path)
            .map(Zeroizing::new)
            .map_err(|error| {
                format!(
                    "{} cannot be read ({error}); name a readable PEM file",
                    path.display()
                )
            }),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use postroad_config::assemble;

    use super::*;

    fn set(keys: &str) -> ConfigSet {
        let text = format!(
            "format: 1\nhostname: mail.example.com\nspool: {{directory: /nowhere}}\ndomains:\n\
             \x20 - name: example.com\n    dkim: {{keys: [{keys}]}}\n"
        );
        assemble(&text, &BTreeMap::new()).unwrap()
    }

    fn pem() -> String {
        let key = PrivateKey::generate(Algorithm::Ed25519Sha256).unwrap();
        serde_json::to_string(&*key.to_pem().unwrap()).unwrap()
    }

    #[test]
    fn a_key_that_is_the_same_is_taken_over_and_another_is_read() {
        let (one, other) = (pem(), pem());
        let before = Signers::new(&set(&format!("{{selector: a, key: {one}}}")), None).unwrap();
        let domain: DomainName = "example.com".parse().unwrap();
        let read = |keys: String| Signers::new(&set(&keys), Some(&before)).unwrap();
        let same = read(format!("{{selector: a, key: {one}}}"));
        assert!(same.are_as(&before));
        assert!(Arc::ptr_eq(
            same.of(&domain).unwrap(),
            before.of(&domain).unwrap()
        ));
        for keys in [
            format!("{{selector: a, key: {other}}}"),
            format!("{{selector: b, key: {one}}}"),
            format!("{{selector: a, key: {one}}}, {{selector: b, key: {other}}}"),
        ] {
            assert!(!read(keys).are_as(&before));
        }
        assert!(!Signers::default().are_as(&before) && !before.are_as(&Signers::default()));
    }

    #[test]
    fn every_bad_key_is_told_and_none_of_its_text() {
        let good = pem();
        let keys = format!(
            "{{selector: a, key: {good}}}, {{selector: b, key: hush}}, {{selector: c, keyFile: /nowhere/k.pem}}"
        );
        let bad = Signers::new(&set(&keys), None).unwrap_err();
        let told: Vec<String> = bad.0.iter().map(ToString::to_string).collect();
        let starts = [
            "domains[example.com].dkim.keys[2].keyFile: /nowhere/k.pem cannot be read",
            "domains[example.com].dkim.keys[1].key: there is no private key in PEM form",
        ];
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(
            told.iter()
                .zip(starts)
                .all(|(told, start)| told.starts_with(start)),
            "{told:?}"
        );
        assert!(told.iter().all(|told| !told.contains("hush")), "{told:?}");
    }
}
