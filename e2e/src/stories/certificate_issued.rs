//! `tls.issuerRef` without cert-manager, and then with it: said in a sentence, taken up without a restart, renewed, warned of, and
//! nothing of anybody else written over. Of cert-manager there is the definition of `Certificate` alone; the story plays its
//! controller.

use std::time::Duration;

use serde_json::{Value, json};

use super::certificate::Certificate;
use crate::kubectl::{Failure, Namespace, Outcome, condition, is};
use crate::mailroom::{LISTENER, Mailroom, users};
use crate::story::Scene;

/// Plays the story.
pub fn play(scene: &Scene<'_>) -> Outcome {
    let definition = Definition::new(scene)?;
    let played = play_with(scene, &definition);
    // The definition is the whole cluster's: the next story must not meet it.
    let removed = definition.remove();
    played.and(removed)
}

fn play_with(scene: &Scene<'_>, definition: &Definition) -> Outcome {
    let mut room = Mailroom::new(scene, 1);
    room.listener["spec"]["tls"] = json!({"issuerRef": {"name": "ca"}});
    // No mail is sent, so that there is no zone either; the Service has no address while nothing can be served.
    room.namespace()
        .apply(&users(&scene.world.product, &[])?.to_string())?;
    room.apply_objects()?;
    let desk = Desk { room: &room, scene };
    desk.not_ready("CertManagerMissing", "certificates.cert-manager.io")?;

    definition.install()?;
    desk.not_ready("CertificatePending", ISSUED)?;
    let object = room.namespace().get([CERTIFICATE])?;
    let spec = &object["spec"];
    if spec["dnsNames"] != json!([format!("mx.{}", scene.domain)]) || spec["issuerRef"]["kind"] != "Issuer" {
        return Err(Failure::wrong(format!(
            "the Certificate is not as wanted: {spec}"
        )));
    }

    let first = desk.issue(90)?;
    room.await_ready()?;
    first.await_served(&room)?;
    let before = room.namespace().get(["pod/edge-0"])?;
    desk.issue(90)?.await_served(&room)?;
    desk.oldest_version()?;
    desk.warned_of(&desk.issue(5)?)?;
    let after = room.namespace().get(["pod/edge-0"])?;
    let restarts = &after["status"]["containerStatuses"][0]["restartCount"];
    if after["metadata"]["uid"] != before["metadata"]["uid"] || *restarts != 0 {
        return Err(Failure::wrong("the pod was restarted for a new certificate"));
    }
    desk.foreign()
}

struct Desk<'a> {
    room: &'a Mailroom<'a>,
    scene: &'a Scene<'a>,
}

impl Desk<'_> {
    fn not_ready(&self, reason: &str, part: &str) -> Outcome {
        let what = format!("Ready=False/{reason}");
        self.await_listener(&what, |listener| {
            condition(listener, "Ready").is_some_and(|ready| {
                ready["status"] == "False"
                    && ready["reason"] == reason
                    && ready["message"].as_str().unwrap_or_default().contains(part)
            })
        })
    }

    fn await_listener(&self, what: &str, test: impl Fn(&Value) -> bool) -> Outcome {
        let object = format!("smtplistener/{LISTENER}");
        self.room
            .namespace()
            .wait_for(&object, what, LIMIT, test)
            .map(drop)
    }

    /// As cert-manager does it.
    fn issue(&self, days: u32) -> Outcome<Certificate> {
        let host = self.room.listener["spec"]["hostname"]
            .as_str()
            .unwrap_or_default();
        let certificate = Certificate::new(host, days)?;
        let name = json!({"cert-manager.io/certificate-name": ISSUED});
        self.room.namespace().apply(&certificate.secret(ISSUED, &name))?;
        Ok(certificate)
    }

    fn set_tls(&self, tls: &Value) -> Outcome {
        let object = format!("smtplistener/{LISTENER}");
        self.room
            .namespace()
            .patch(&object, &json!({"spec": {"tls": tls}}))
    }

    /// TLS 1.2 is served, and with `minimumVersion: Tls13` it is not.
    fn oldest_version(&self) -> Outcome {
        let pod = self.room.namespace().get(["pod/edge-0"])?;
        let host = pod["status"]["podIP"].as_str().unwrap_or_default();
        let client = &self.scene.world.peers.namespace;
        let speaks = |version: &str| {
            let script = format!(
                "openssl s_client -starttls smtp -connect '{host}:10587' {version} </dev/null 2>&1 | grep -q 'Cipher is [A-Z]'"
            );
            client.exec("client", &["sh", "-c", &script], b"").is_ok()
        };
        if !speaks("-tls1_2") || !speaks("-tls1_3") {
            return Err(Failure::wrong("TLS 1.2 or 1.3 is not spoken"));
        }
        self.set_tls(&json!({"minimumVersion": "Tls13"}))?;
        self.room.await_ready()?;
        if speaks("-tls1_2") || !speaks("-tls1_3") {
            return Err(Failure::wrong("the oldest version of TLS has not changed"));
        }
        self.set_tls(&json!({"minimumVersion": null}))
    }

    /// A certificate that ends soon is served, with a warning.
    fn warned_of(&self, certificate: &Certificate) -> Outcome {
        certificate.await_served(self.room)?;
        self.await_listener("CertificateServed=True/ExpiresSoon and Ready", |listener| {
            condition(listener, "CertificateServed")
                .is_some_and(|served| served["status"] == "True" && served["reason"] == "ExpiresSoon")
                && is(listener, "Ready", "True")
        })?;
        let events = ["events", "--field-selector=reason=ExpiresSoon,type=Warning"];
        let warned = || {
            Ok(!self.room.namespace().get(events)?["items"]
                .as_array()
                .is_none_or(Vec::is_empty))
        };
        crate::kubectl::until(LIMIT, warned).map_err(|_| Failure::wrong("there is no Warning event"))
    }

    /// With another source the Certificate goes; one of somebody else is left alone.
    fn foreign(&self) -> Outcome {
        let namespace = self.room.namespace();
        self.set_tls(&json!({"issuerRef": null, "selfSigned": {}}))?;
        crate::kubectl::until(LIMIT, || Ok(!namespace.exists(CERTIFICATE)?))
            .map_err(|_| Failure::wrong("the Certificate of the former source is still there"))?;
        let foreign = json!({
            "apiVersion": "cert-manager.io/v1", "kind": "Certificate", "metadata": {"name": ISSUED},
            "spec": {"secretName": "somebody-elses", "dnsNames": ["elsewhere.example"]},
        });
        namespace.apply(&foreign.to_string())?;
        self.set_tls(&json!({"issuerRef": {"name": "ca"}, "selfSigned": null}))?;
        self.not_ready("ForeignObject", ISSUED)?;
        let found = namespace.get([CERTIFICATE])?;
        if found["spec"] != foreign["spec"] {
            return Err(Failure::wrong(format!(
                "a Certificate of somebody else was changed: {}",
                found["spec"]
            )));
        }
        Ok(())
    }
}

/// The definition of cert-manager's `Certificate`.
struct Definition {
    outside: Namespace,
}

impl Definition {
    /// It must not be there: a real cert-manager would play along.
    fn new(scene: &Scene<'_>) -> Outcome<Self> {
        let definition = Self {
            outside: Namespace::new(&scene.world.cluster, "default"),
        };
        if definition.outside.exists(CRD)? {
            let found = definition.outside.get([CRD])?;
            if found["metadata"]["labels"]["postroad.dev/made-by"] != "e2e" {
                return Err(Failure::wrong(
                    "this cluster has a cert-manager of its own; the story needs one without",
                ));
            }
            definition.remove()?;
        }
        Ok(definition)
    }

    fn install(&self) -> Outcome {
        let open = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
        let schema = json!({"type": "object", "properties": {"spec": open, "status": open}});
        let definition = json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": "certificates.cert-manager.io", "labels": {"postroad.dev/made-by": "e2e"}},
            "spec": {
                "group": "cert-manager.io", "scope": "Namespaced",
                "names": {"kind": "Certificate", "plural": "certificates", "singular": "certificate"},
                "versions": [{
                    "name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
                    "schema": {"openAPIV3Schema": schema},
                }],
            },
        });
        self.outside.apply(&definition.to_string())
    }

    fn remove(&self) -> Outcome {
        let args = ["delete", CRD, "--ignore-not-found", "--timeout=60s"];
        self.outside.kubectl(args).map(drop)
    }
}

const CRD: &str = "customresourcedefinition/certificates.cert-manager.io";
const ISSUED: &str = "edge-issued";
const CERTIFICATE: &str = "certificates.cert-manager.io/edge-issued";
const LIMIT: Duration = Duration::from_mins(2);
