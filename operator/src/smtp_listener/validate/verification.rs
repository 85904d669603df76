//! How mail of strangers is judged: each value of the object in the words of the file.

use postroad_config::{
    ArcSection, CheckMode, DkimSection, DmarcMode, DmarcSection, DomainName, SpfMode, SpfSection,
    TemporaryError, Verification,
};
use postroad_crds::smtp_listener as crd;

use super::Invalid;

/// Errors: a name of a sealer that is none.
pub(super) fn of(given: Option<&crd::Verification>) -> Result<Verification, Invalid> {
    let Some(given) = given else {
        return Ok(Verification::default());
    };
    Ok(Verification {
        spf: given.spf.as_ref().map_or_else(SpfSection::default, spf),
        dkim: given
            .dkim
            .as_ref()
            .map_or_else(DkimSection::default, |dkim| DkimSection {
                mode: mode(dkim.mode),
            }),
        arc: given
            .arc
            .as_ref()
            .map_or_else(|| Ok(ArcSection::default()), arc)?,
        dmarc: given.dmarc.as_ref().map_or_else(DmarcSection::default, dmarc),
    })
}

fn arc(given: &crd::ArcCheck) -> Result<ArcSection, Invalid> {
    let name = |text: &String| {
        text.parse::<DomainName>()
            .map_err(|error| Invalid::new("spec.verification.arc.trustedSealers", error.to_string()))
    };
    Ok(ArcSection {
        mode: mode(given.mode),
        trusted_sealers: given.trusted_sealers.iter().map(name).collect::<Result<_, _>>()?,
    })
}

fn spf(given: &crd::SpfCheck) -> SpfSection {
    SpfSection {
        mode: match given.mode {
            crd::SpfMode::Disabled => SpfMode::Disabled,
            crd::SpfMode::Report => SpfMode::Report,
            crd::SpfMode::Reject => SpfMode::Reject,
        },
        temporary_error: temporary_error(given.temporary_error),
    }
}

fn dmarc(given: &crd::DmarcCheck) -> DmarcSection {
    DmarcSection {
        mode: match given.mode {
            crd::DmarcMode::Disabled => DmarcMode::Disabled,
            crd::DmarcMode::Report => DmarcMode::Report,
            crd::DmarcMode::Enforce => DmarcMode::Enforce,
        },
        temporary_error: given.temporary_error.map(temporary_error),
    }
}

fn mode(given: crd::CheckMode) -> CheckMode {
    match given {
        crd::CheckMode::Disabled => CheckMode::Disabled,
        crd::CheckMode::Report => CheckMode::Report,
    }
}

pub(super) fn temporary_error(given: crd::TemporaryError) -> TemporaryError {
    match given {
        crd::TemporaryError::Accept => TemporaryError::Accept,
        crd::TemporaryError::Defer => TemporaryError::Defer,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn written(spec: serde_json::Value) -> String {
        let given: crd::Verification = serde_json::from_value(spec).unwrap();
        postroad_config::render(&of(Some(&given)).unwrap()).unwrap()
    }

    #[test]
    fn what_is_given_reaches_the_file_and_the_defaults_are_not_written() {
        let text = written(json!({"spf": {"mode": "Reject", "temporaryError": "Defer"}}));
        assert!(
            text.contains("mode: Reject") && text.contains("temporaryError: Defer"),
            "{text}"
        );
        assert!(written(json!({"spf": {"mode": "Disabled"}})).contains("mode: Disabled"));
        let text = written(json!({
            "dkim": {"mode": "Disabled"}, "arc": {"mode": "Disabled", "trustedSealers": ["Lists.example"]},
            "dmarc": {"mode": "Enforce", "temporaryError": "Defer"},
        }));
        assert_eq!(text.matches("mode: Disabled").count(), 2, "{text}");
        assert!(
            text.contains("lists.example")
                && text.contains("mode: Enforce")
                && text.contains("temporaryError: Defer")
                && !text.contains("spf"),
            "{text}"
        );
        assert_eq!(of(None).unwrap(), Verification::default());
        let usual = written(json!({
            "spf": {"mode": "Report", "temporaryError": "Accept"}, "dkim": {"mode": "Report"}, "arc": {"mode": "Report"},
            "dmarc": {"mode": "Report"},
        }));
        assert!(
            !usual.contains("mode") && !usual.contains("temporaryError"),
            "{usual}"
        );
        // Of DMARC it is written where it is given: what it is otherwise goes by the mode.
        let enforced = written(json!({"dmarc": {"mode": "Enforce"}}));
        assert!(!enforced.contains("temporaryError"), "{enforced}");
        let taken = written(json!({"dmarc": {"mode": "Enforce", "temporaryError": "Accept"}}));
        assert!(taken.contains("temporaryError: Accept"), "{taken}");
    }
}
