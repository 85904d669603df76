//! How mail of strangers is judged: each value of the object in the words of the file.

use postroad_config::{SpfMode, SpfSection, TemporaryError, Verification};
use postroad_crds::smtp_listener as crd;

pub(super) fn of(given: Option<&crd::Verification>) -> Verification {
    let spf = given.and_then(|given| given.spf.as_ref());
    Verification {
        spf: spf.map_or_else(SpfSection::default, section),
    }
}

fn section(given: &crd::SpfCheck) -> SpfSection {
    SpfSection {
        mode: match given.mode {
            crd::SpfMode::Disabled => SpfMode::Disabled,
            crd::SpfMode::Report => SpfMode::Report,
            crd::SpfMode::Reject => SpfMode::Reject,
        },
        temporary_error: match given.temporary_error {
            crd::TemporaryError::Accept => TemporaryError::Accept,
            crd::TemporaryError::Defer => TemporaryError::Defer,
        },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn written(spec: serde_json::Value) -> String {
        let given: crd::Verification = serde_json::from_value(spec).unwrap();
        postroad_config::render(&of(Some(&given))).unwrap()
    }

    #[test]
    fn what_is_given_reaches_the_file_and_the_defaults_are_not_written() {
        let text = written(json!({"spf": {"mode": "Reject", "temporaryError": "Defer"}}));
        assert!(
            text.contains("mode: Reject") && text.contains("temporaryError: Defer"),
            "{text}"
        );
        assert!(written(json!({"spf": {"mode": "Disabled"}})).contains("mode: Disabled"));
        assert_eq!(of(None), Verification::default());
        let usual = written(json!({"spf": {"mode": "Report", "temporaryError": "Accept"}}));
        assert!(
            !usual.contains("mode") && !usual.contains("temporaryError"),
            "{usual}"
        );
    }
}
