//! The certificate as it is served: what the ports of each serving pod showed in a handshake, summed up. Pure.
//!
//! ```text
//!   pods ─► each port's certificate ─┬─► CertificateServed: the first of these that holds, and its reason
//!   wanted, host name, now ──────────┤     not the wanted one · not for the host name · expired · ends soon · all well
//!                                    └─► status.certificate
//! ```

use k8s_openapi::jiff::Timestamp;
use postroad_config::admin::CertificateState;
use postroad_crds::conditions::{CERTIFICATE_SERVED, NewCondition, reason};
use postroad_crds::smtp_listener::{CertificateStatus, PodCertificate};

use super::build::certificates::Facts;
use super::status::{Found, Seen};

/// Days before its end that a certificate is warned of.
const WARN_DAYS: i64 = 14;
const DAY: i64 = 86_400;

/// The condition `CertificateServed`.
pub fn condition(host: &str, serving: &[&Seen], found: &Found, now: Timestamp) -> NewCondition {
    let condition =
        |status, reason, message: String| NewCondition::new(CERTIFICATE_SERVED, status, reason, message);
    let Some(wanted) = &found.certificate else {
        return match &found.obstacle {
            None => condition(Some(true), reason::NOT_CONFIGURED, "no port uses TLS".into()),
            // Which one is to be served is not known; the pods go on with what they have.
            Some(obstacle) => condition(
                None,
                obstacle.reason,
                format!("which one is to be served is not known: {}", obstacle.message),
            ),
        };
    };
    if let Some((reason, message)) = serving.iter().find_map(|pod| fault(pod, wanted, found)) {
        return condition(Some(false), reason, message);
    }
    if !wanted.covers(host) {
        let names = wanted.names.join(", ");
        return condition(
            Some(false),
            reason::HOSTNAME_MISMATCH,
            format!("the certificate is for {names}, not for {host}; give one that is"),
        );
    }
    let left = wanted.not_after - now.as_second();
    if left <= 0 {
        return condition(
            Some(false),
            reason::EXPIRED,
            format!(
                "the certificate {} ended at {}; renew it",
                wanted.serial,
                time(wanted.not_after)
            ),
        );
    }
    if left < WARN_DAYS * DAY {
        return condition(
            Some(true),
            reason::EXPIRES_SOON,
            format!(
                "the certificate {} ends in {} days, at {}; renew it",
                wanted.serial,
                left / DAY,
                time(wanted.not_after)
            ),
        );
    }
    if serving.is_empty() {
        return condition(None, reason::NO_SERVING_POD, "no pod serves".into());
    }
    condition(
        Some(true),
        reason::AS_WANTED,
        format!("every serving pod serves certificate {}", wanted.serial),
    )
}

/// What is wrong with what a pod shows. Nothing is known of one that could not be asked: `ConfigApplied` says that.
fn fault(pod: &Seen, wanted: &Facts, found: &Found) -> Option<(&'static str, String)> {
    let state = pod.state.as_ref().ok()?;
    let shown = shows(pod)?;
    let (port, what) = match shown {
        Shown::Nothing { port, error } => (port, error),
        Shown::Certificate { port, certificate } => {
            let serial = &certificate.serial;
            if *serial == wanted.serial {
                return None;
            }
            (port, format!("certificate {serial}"))
        }
    };
    let at = port.map(|port| format!(" at port {port}")).unwrap_or_default();
    let message = format!("{} serves {what}{at}, wanted is {}", pod.name, wanted.serial);
    // A configuration that is not there yet cannot be served.
    let current = found
        .config
        .as_ref()
        .is_some_and(|(hash, _)| state.config.hash == *hash);
    let reason = if current {
        reason::NOT_SERVED
    } else {
        reason::IN_PROGRESS
    };
    Some((reason, message))
}

enum Shown<'a> {
    Nothing {
        port: Option<&'a str>,
        error: String,
    },
    Certificate {
        port: Option<&'a str>,
        certificate: &'a CertificateState,
    },
}

/// What a pod shows: the port that differs from the first one, where there is one, and otherwise the first. Of a pod that cannot
/// look at its own ports (an older version), what it says of itself.
fn shows(pod: &Seen) -> Option<Shown<'_>> {
    let state = pod.state.as_ref().ok()?;
    let Some(ports) = pod.shown.as_ref().filter(|ports| !ports.is_empty()) else {
        let certificate = state.certificate.as_ref();
        return Some(certificate.map_or_else(
            || Shown::Nothing {
                port: None,
                error: "no certificate".into(),
            },
            |certificate| Shown::Certificate {
                port: None,
                certificate,
            },
        ));
    };
    if let Some(port) = ports.iter().find(|port| port.certificate.is_none()) {
        let why = port.error.as_deref().unwrap_or("it does not say why");
        return Some(Shown::Nothing {
            port: Some(&port.port),
            error: format!("no certificate ({why})"),
        });
    }
    let serial =
        |port: &postroad_config::admin::PortShown| port.certificate.as_ref().map(|c| c.serial.clone());
    let first = ports.first()?;
    let port = ports
        .iter()
        .find(|port| serial(port) != serial(first))
        .unwrap_or(first);
    Some(Shown::Certificate {
        port: Some(&port.port),
        certificate: port.certificate.as_ref()?,
    })
}

/// `status.certificate`: the wanted one, and what each serving pod shows.
pub fn status(serving: &[&Seen], found: &Found) -> Option<CertificateStatus> {
    let wanted = found.certificate.as_ref()?;
    let pods: Vec<PodCertificate> = serving
        .iter()
        .filter_map(|pod| match shows(pod)? {
            Shown::Certificate { certificate, .. } => Some(PodCertificate {
                pod: pod.name.clone(),
                serial: certificate.serial.clone(),
                not_after: time(certificate.not_after),
            }),
            Shown::Nothing { .. } => None,
        })
        .collect();
    let right = pods.iter().filter(|pod| pod.serial == wanted.serial).count();
    Some(CertificateStatus {
        serial: wanted.serial.clone(),
        not_after: time(wanted.not_after),
        names: wanted.names.clone(),
        tlsa: wanted.tlsa.clone(),
        served_by: i32::try_from(right).unwrap_or(i32::MAX),
        pods,
    })
}

fn time(seconds: i64) -> String {
    Timestamp::from_second(seconds)
        .map(|at| at.to_string())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use postroad_config::admin::{ConfigState, PortShown, State};

    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn certificate(serial: &str) -> CertificateState {
        CertificateState {
            serial: serial.into(),
            not_after: NOW + 60 * DAY,
            names: vec!["mail.example.com".into()],
        }
    }

    fn port(name: &str, shown: Result<&str, &str>) -> PortShown {
        PortShown {
            port: name.into(),
            certificate: shown.ok().map(certificate),
            error: shown.err().map(str::to_owned),
        }
    }

    fn pod(says: Option<&str>, shown: Option<Vec<PortShown>>) -> Seen {
        let state = State {
            config: ConfigState {
                hash: "h3".into(),
                ..ConfigState::default()
            },
            certificate: says.map(certificate),
            accepting: true,
            ..State::default()
        };
        Seen {
            name: "edge-0".into(),
            stays: true,
            ready: true,
            state: Ok(state),
            shown,
        }
    }

    fn found(left: i64, names: &[&str], hash: &str) -> Found {
        Found {
            config: Some((hash.into(), 3)),
            certificate: Some(Facts {
                serial: "0a".into(),
                not_before: NOW - DAY,
                not_after: NOW + left,
                names: names.iter().map(|&name| name.to_owned()).collect(),
                tlsa: vec!["3 1 1 00".into()],
            }),
            ..Found::default()
        }
    }

    fn judge(pod: &Seen, found: &Found) -> NewCondition {
        let now = Timestamp::from_second(NOW).unwrap();
        condition("mail.example.com", &[pod], found, now)
    }

    #[test]
    fn what_the_handshake_shows_decides_and_not_what_the_pod_says() {
        let good = found(60 * DAY, &["mail.example.com"], "h3");
        for (pod, reason, part) in [
            (
                pod(Some("0a"), Some(vec![port("smtp", Ok("0a"))])),
                reason::AS_WANTED,
                "0a",
            ),
            (
                pod(None, Some(vec![port("smtp", Ok("0a"))])),
                reason::AS_WANTED,
                "0a",
            ),
            (
                pod(Some("0a"), Some(vec![port("smtp", Ok("0b"))])),
                reason::NOT_SERVED,
                "certificate 0b at port smtp",
            ),
            (
                pod(
                    Some("0a"),
                    Some(vec![
                        port("smtp", Ok("0a")),
                        port("submissions", Err("it hung up")),
                    ]),
                ),
                reason::NOT_SERVED,
                "no certificate (it hung up) at port submissions",
            ),
            (
                pod(
                    Some("0a"),
                    Some(vec![port("smtp", Ok("0a")), port("submissions", Ok("0b"))]),
                ),
                reason::NOT_SERVED,
                "certificate 0b at port submissions",
            ),
            // A pod of an older version cannot look.
            (pod(Some("0a"), None), reason::AS_WANTED, "0a"),
            (
                pod(Some("0b"), None),
                reason::NOT_SERVED,
                "certificate 0b, wanted",
            ),
            (pod(None, None), reason::NOT_SERVED, "no certificate, wanted"),
        ] {
            let judged = judge(&pod, &good);
            assert_eq!(judged.reason, reason, "{judged:?}");
            assert!(judged.message.contains(part), "{judged:?}");
            assert_eq!(judged.status, Some(reason == reason::AS_WANTED));
        }
        let newer = found(60 * DAY, &["mail.example.com"], "h4");
        let waits = judge(&pod(None, Some(vec![port("smtp", Ok("0b"))])), &newer);
        assert_eq!(waits.reason, reason::IN_PROGRESS);
    }

    #[test]
    fn name_and_end_are_judged_in_that_order() {
        let pod = pod(None, Some(vec![port("smtp", Ok("0a"))]));
        let host: &[&str] = &["*.example.com"];
        for (left, names, status, reason) in [
            (60 * DAY, host, true, reason::AS_WANTED),
            (14 * DAY, host, true, reason::AS_WANTED),
            (14 * DAY - 1, host, true, reason::EXPIRES_SOON),
            (1, host, true, reason::EXPIRES_SOON),
            (0, host, false, reason::EXPIRED),
            (-DAY, host, false, reason::EXPIRED),
            (-DAY, &["other.example"], false, reason::HOSTNAME_MISMATCH),
        ] {
            let judged = judge(&pod, &found(left, names, "h3"));
            assert_eq!(
                (judged.status, judged.reason.as_str()),
                (Some(status), reason),
                "{left}"
            );
        }
    }

    #[test]
    fn the_status_shows_what_each_pod_shows() {
        let right = pod(None, Some(vec![port("smtp", Ok("0a"))]));
        let mut wrong = pod(
            None,
            Some(vec![port("smtp", Ok("0a")), port("submission", Ok("0b"))]),
        );
        wrong.name = "edge-1".into();
        let mut silent = pod(Some("0a"), None);
        silent.state = Err("refused".into());
        let found = found(60 * DAY, &["mail.example.com"], "h3");
        let status = status(&[&right, &wrong, &silent], &found).unwrap();
        let pods: Vec<_> = status
            .pods
            .iter()
            .map(|pod| (pod.pod.as_str(), pod.serial.as_str()))
            .collect();
        assert_eq!(pods, [("edge-0", "0a"), ("edge-1", "0b")]);
        assert_eq!(
            (status.served_by, status.names),
            (1, vec!["mail.example.com".to_owned()])
        );
        assert_eq!(status.not_after, "2027-03-16T08:00:00Z");
    }
}
