//! Reports to other domains: each value of the object in the words of the file.

use postroad_config::{DmarcReports, ReportMode, Reports, TlsReports};
use postroad_crds::smtp_listener as crd;

/// Nothing of it can fail before the rules of the file.
pub(super) fn of(given: Option<&crd::Reports>) -> Reports {
    let Some(given) = given else {
        return Reports::default();
    };
    Reports {
        from: given.from.clone(),
        organization: given.organization.clone(),
        contact: given.contact.clone(),
        dmarc: DmarcReports {
            mode: given
                .dmarc
                .as_ref()
                .map_or_else(ReportMode::default, |dmarc| mode(dmarc.mode)),
        },
        tls: TlsReports {
            mode: given
                .tls
                .as_ref()
                .map_or_else(ReportMode::default, |tls| mode(tls.mode)),
        },
    }
}

fn mode(given: crd::ReportMode) -> ReportMode {
    match given {
        crd::ReportMode::Disabled => ReportMode::Disabled,
        crd::ReportMode::Daily => ReportMode::Daily,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_value_arrives_in_the_file_and_none_is_written_where_none_is_given() {
        assert_eq!(of(None), Reports::default());
        let given: crd::Reports = serde_json::from_value(json!({
            "from": "dmarc@example.com", "organization": "Example Inc.", "contact": "https://example.com/mail",
            "dmarc": {"mode": "Daily"}, "tls": {"mode": "Daily"},
        }))
        .unwrap();
        let written = postroad_config::render(&of(Some(&given))).unwrap();
        assert_eq!(written.matches("mode: Daily").count(), 2, "{written}");
        for line in [
            "from: dmarc@example.com",
            "organization: Example Inc.",
            "https://example.com/mail",
            "mode: Daily",
        ] {
            assert!(written.contains(line), "{written}");
        }
        let silent: crd::Reports = serde_json::from_value(json!({"dmarc": {}, "tls": {}})).unwrap();
        assert_eq!(of(Some(&silent)), Reports::default());
    }
}
