//! Certificates to play with: made by openssl, put into Secrets, found again in a listener's status.

use std::time::Duration;

use serde_json::{Value, json};

use crate::kubectl::{Failure, Outcome};
use crate::mailroom::{LISTENER, Mailroom};
use crate::shell::Shell;

/// A certificate that signs itself.
pub(super) struct Certificate {
    /// As openssl says it.
    pub serial: String,
    pem: String,
    key: String,
}

impl Certificate {
    /// For a name, good for that many days.
    pub(super) fn new(name: &str, days: u32) -> Outcome<Self> {
        let script = format!(
            "set -e; dir=$(mktemp -d); trap 'rm -rf \"$dir\"' EXIT\n\
             openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days {days} -subj '/CN={name}' \
             -addext 'subjectAltName=DNS:{name}' -keyout \"$dir/key\" -out \"$dir/crt\" 2>/dev/null\n\
             openssl x509 -in \"$dir/crt\" -noout -serial | cut -d= -f2; cat \"$dir/crt\"; echo ===; cat \"$dir/key\""
        );
        let said = Shell::new("bash").args(["-c", &script]).read()?;
        let parts = said
            .split_once('\n')
            .and_then(|(serial, rest)| Some((serial, rest.split_once("===\n")?)));
        let (serial, (pem, key)) = parts.ok_or_else(|| Failure::wrong("openssl gave no certificate"))?;
        Ok(Self {
            serial: serial.to_owned(),
            pem: pem.to_owned(),
            key: format!("{key}\n"),
        })
    }

    /// A Secret of that name with it.
    pub(super) fn secret(&self, name: &str, annotations: &Value) -> String {
        json!({
            "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
            "metadata": {"name": name, "annotations": annotations},
            "stringData": {"tls.crt": self.pem, "tls.key": self.key},
        })
        .to_string()
    }

    /// Waits until the status says that each pod shows it.
    pub(super) fn await_served(&self, room: &Mailroom<'_>) -> Outcome {
        let hex = |text: &Value| {
            let text = text.as_str().unwrap_or_default();
            let digits = text.chars().filter(char::is_ascii_hexdigit);
            digits.collect::<String>().to_ascii_uppercase()
        };
        let wanted = self.serial.trim_start_matches('0');
        let is_this = |serial: &Value| hex(serial).trim_start_matches('0') == wanted;
        let what = format!("certificate {} in the status", self.serial);
        let object = format!("smtplistener/{LISTENER}");
        room.namespace().wait_for(&object, &what, LIMIT, |listener| {
            let certificate = &listener["status"]["certificate"];
            let pods = certificate["pods"].as_array();
            is_this(&certificate["serial"])
                && certificate["servedBy"] == listener["spec"]["replicas"]
                && pods.is_some_and(|pods| pods.iter().all(|pod| is_this(&pod["serial"])))
        })?;
        Ok(())
    }
}

const LIMIT: Duration = Duration::from_mins(1);
