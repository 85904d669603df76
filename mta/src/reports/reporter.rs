//! Who reports, as the settings say it. Pure.

use crate::settings::Settings;

/// Who reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reporter {
    /// Address in From.
    pub from: String,
    /// Its domain: the submitter.
    pub domain: String,
    /// In words.
    pub organization: String,
    /// How to reach a person.
    pub contact: String,
}

impl Reporter {
    /// Out of `reports` of the settings, with the defaults.
    pub fn of(settings: &Settings) -> Self {
        let given = &settings.set.file.reports;
        let from = given.from.clone();
        let from = from.unwrap_or_else(|| format!("postmaster@{}", settings.hostname()));
        let domain = from.rsplit_once('@').map_or(from.as_str(), |(_, domain)| domain);
        let domain = domain.to_ascii_lowercase();
        Self {
            organization: given.organization.clone().unwrap_or_else(|| domain.clone()),
            contact: given.contact.clone().unwrap_or_else(|| from.clone()),
            domain,
            from,
        }
    }

    /// Name and version of this program, as a report has it.
    pub const GENERATOR: &str = concat!("Postroad ", env!("CARGO_PKG_VERSION"));
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn of(reports: &str) -> Reporter {
        let text = format!(
            "format: 1\nhostname: mx.example.com\nspool: {{directory: /unused}}\nreports: {reports}\n"
        );
        let set = postroad_config::assemble(&text, &BTreeMap::new()).unwrap();
        Reporter::of(&Settings::new(set).unwrap())
    }

    #[test]
    fn what_is_not_given_comes_from_what_is() {
        let silent = of("{}");
        assert_eq!(silent.from, "postmaster@mx.example.com");
        assert_eq!(
            (silent.organization.as_str(), silent.contact.as_str()),
            ("mx.example.com", silent.from.as_str())
        );
        let given =
            of("{from: dmarc@Example.com, organization: Example Inc., contact: 'https://example.com'}");
        assert_eq!(
            (given.domain.as_str(), given.organization.as_str()),
            ("example.com", "Example Inc.")
        );
        assert_eq!(given.contact, "https://example.com");
    }
}
