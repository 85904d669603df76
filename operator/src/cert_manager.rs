//! cert-manager's `Certificate`, as far as it is written and read here. Its API may be absent, and may come and go while we run:
//! nothing is watched, it is asked for when it is needed.

use kube::api::ListParams;
use kube::{Api, CustomResource};
use serde::{Deserialize, Serialize};

use crate::context::Ctx;
use crate::error::{Doing, Error};

/// What is wanted of a certificate. Source: cert-manager's API reference, `cert-manager.io/v1`.
#[derive(CustomResource, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "cert-manager.io",
    version = "v1",
    kind = "Certificate",
    plural = "certificates",
    namespaced,
    status = "CertificateStatus",
    schema = "disabled"
)]
#[serde(rename_all = "camelCase", default)]
pub struct CertificateSpec {
    /// Secret that is written when it is issued.
    pub secret_name: String,
    /// Names that it is for.
    pub dns_names: Vec<String>,
}

/// How a certificate stands.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct CertificateStatus {
    /// Conditions; `Ready` and `Issuing` among them.
    pub conditions: Vec<CertificateCondition>,
}

/// A condition, without its times.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct CertificateCondition {
    /// Its type.
    #[serde(rename = "type")]
    pub type_: String,
    /// True, False or Unknown.
    pub status: String,
    /// A sentence.
    pub message: String,
}

/// What was found under a name.
#[derive(Clone, Debug)]
pub enum Found {
    /// The API server knows no Certificates.
    NoApi,
    /// There is none of that name.
    Nothing,
    /// It.
    Certificate(Box<Certificate>),
}

/// Annotation that cert-manager puts on the Secrets that it writes: for which Certificate.
pub const CERTIFICATE_NAME: &str = "cert-manager.io/certificate-name";

/// Looks for a Certificate. A list of one name tells an absent API (404) from an absent object (an empty list).
pub async fn find(ctx: &Ctx, namespace: &str, name: &str) -> Result<Found, Error> {
    let api: Api<Certificate> = Api::namespaced(ctx.client.clone(), namespace);
    let only = ListParams::default().fields(&format!("metadata.name={name}"));
    match api.list(&only).await {
        Ok(list) => Ok(list
            .items
            .into_iter()
            .next()
            .map_or(Found::Nothing, |certificate| {
                Found::Certificate(Box::new(certificate))
            })),
        Err(kube::Error::Api(said)) if is_absent(&said) => Ok(Found::NoApi),
        Err(error) => Err(error).doing("looking for a Certificate of cert-manager"),
    }
}

/// A group that nobody serves is answered in plain text, which has no reason that could be asked for.
fn is_absent(said: &kube::core::Status) -> bool {
    said.code == 404
}

impl Certificate {
    /// Why it is not issued, in cert-manager's words.
    pub fn pending(&self) -> Option<&str> {
        let conditions = &self.status.as_ref()?.conditions;
        let said = |kind: &str| {
            conditions
                .iter()
                .find(|condition| condition.type_ == kind && !condition.message.is_empty())
                .map(|condition| condition.message.as_str())
        };
        said("Issuing").or_else(|| said("Ready"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// As `kube` hands on the plain text of an API server.
    #[test]
    fn an_api_that_is_not_there_is_known_by_its_code() {
        let plain = |code| {
            kube::core::Status::failure("404 page not found", "Failed to parse error data").with_code(code)
        };
        assert!(is_absent(&plain(404)) && !is_absent(&plain(403)));
    }

    /// As cert-manager writes it, with fields that nobody here knows.
    #[test]
    fn a_certificate_says_why_it_waits() {
        let object = json!({
            "apiVersion": "cert-manager.io/v1", "kind": "Certificate", "metadata": {"name": "edge-issued"},
            "spec": {"secretName": "edge-issued", "issuerRef": {"name": "ca"}, "uris": ["spiffe://x"]},
            "status": {"conditions": [
                {"type": "Ready", "status": "False", "reason": "DoesNotExist", "message": "Issuing certificate as Secret does not exist"},
                {"type": "Issuing", "status": "True", "message": "issuer ca is not ready"},
            ]},
        });
        let certificate: Certificate = serde_json::from_value(object).unwrap();
        assert_eq!(certificate.pending(), Some("issuer ca is not ready"));
        assert_eq!(certificate.spec.secret_name, "edge-issued");
        assert_eq!(Certificate::new("x", CertificateSpec::default()).pending(), None);
    }
}
