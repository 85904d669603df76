//! A mutating webhook, as clusters have them: it labels what is made, puts a sidecar beside the containers of others, and has images
//! come from a mirror. It stands on loopback, behind a certificate of its own.

use std::convert::Infallible;

use base64::Engine as _;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::identity::Identity;
use crate::rig::Rig;
use crate::server::{Said, text};

/// The label that everything gets.
pub const LABEL: &str = "example.com/owner";
/// The container that pods and templates of pods get.
pub const SIDECAR: &str = "mesh";
/// Where images come from.
pub const MIRROR: &str = "mirror.example/";

const ALL: &str = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations";

/// A webhook in force; its server ends with it, its configuration by [`Webhook::end`].
pub struct Webhook {
    path: String,
    server: tokio::task::JoinHandle<()>,
}

impl Webhook {
    /// Starts it for the namespace of a place, and waits until it is in force.
    pub async fn start(rig: &Rig) -> Said<Self> {
        let own = Identity::new()?;
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(text)?;
        let port = listener.local_addr().map_err(text)?.port();
        let acceptor = TlsAcceptor::from(own.config);
        let server = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(acceptor.clone(), stream));
            }
        });
        let name = format!("changer-of-{}", rig.namespace);
        rig.api
            .create(ALL, &configuration(&name, &rig.namespace, port, &own.certificate))
            .await?;
        let webhook = Self {
            path: format!("{ALL}/{name}"),
            server,
        };
        webhook.in_force(rig).await?;
        Ok(webhook)
    }

    /// The API server learns of it by a watch of its own.
    async fn in_force(&self, rig: &Rig) -> Said<()> {
        let probe = json!({"metadata": {"name": "probe"}});
        rig.until("the webhook is in force", async |rig| {
            let made = rig.api.create(&rig.path("serviceaccounts", ""), &probe).await?;
            rig.api.delete(&rig.path("serviceaccounts", "probe")).await?;
            Ok(made["metadata"]["labels"][LABEL].is_string())
        })
        .await
    }

    /// Takes it out of force.
    pub async fn end(self, rig: &Rig) -> Said<()> {
        rig.api.delete(&self.path).await?;
        self.server.abort();
        Ok(())
    }
}

fn configuration(name: &str, namespace: &str, port: u16, certificate: &str) -> Value {
    let rule = |group: &str, version: &str, resources: &[&str]| json!({"apiGroups": [group], "apiVersions": [version], "operations": ["CREATE", "UPDATE"], "resources": resources});
    json!({
        "metadata": {"name": name},
        "webhooks": [{
            "name": "changer.example.com", "sideEffects": "None", "admissionReviewVersions": ["v1"],
            "failurePolicy": "Fail", "timeoutSeconds": 30, "reinvocationPolicy": "IfNeeded",
            "clientConfig": {
                "url": format!("https://127.0.0.1:{port}/"),
                "caBundle": base64::engine::general_purpose::STANDARD.encode(certificate),
            },
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
            "rules": [
                rule("", "v1", &["services", "secrets", "serviceaccounts", "pods", "persistentvolumeclaims"]),
                rule("apps", "v1", &["statefulsets"]),
                rule("policy", "v1", &["poddisruptionbudgets"]),
                rule("networking.k8s.io", "v1", &["networkpolicies"]),
            ],
        }],
    })
}

async fn serve(acceptor: TlsAcceptor, stream: TcpStream) {
    // Who does not finish the handshake was not the API server.
    if let Ok(stream) = acceptor.accept(stream).await {
        let _ = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service_fn(answer))
            .await;
    }
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let body = match request.into_body().collect().await {
        Ok(body) => body.to_bytes(),
        Err(_) => Bytes::new(),
    };
    let review: Value = serde_json::from_slice(&body).unwrap_or_default();
    let request = &review["request"];
    let patch = Value::Array(patch(
        request["resource"]["resource"].as_str().unwrap_or_default(),
        &request["object"],
    ));
    let answer = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "response": {
            "uid": request["uid"], "allowed": true, "patchType": "JSONPatch",
            "patch": base64::engine::general_purpose::STANDARD.encode(patch.to_string()),
        },
    });
    let mut response = Response::new(Full::new(Bytes::from(answer.to_string())));
    let kind = hyper::header::HeaderValue::from_static("application/json");
    response.headers_mut().insert("content-type", kind);
    Ok(response)
}

/// What is changed of an object: only what is not there yet.
fn patch(resource: &str, object: &Value) -> Vec<Value> {
    let add = |path: &str, value: Value| json!({"op": "add", "path": path, "value": value});
    let mut changes = Vec::new();
    if !object["metadata"]["labels"].is_object() {
        changes.push(add("/metadata/labels", json!({LABEL: "platform"})));
    } else if object["metadata"]["labels"][LABEL].is_null() {
        changes.push(add(
            &format!("/metadata/labels/{}", LABEL.replace('/', "~1")),
            json!("platform"),
        ));
    }
    let at = match resource {
        "pods" => "/spec",
        "statefulsets" => "/spec/template/spec",
        _ => return changes,
    };
    let containers = object
        .pointer(&format!("{at}/containers"))
        .and_then(Value::as_array);
    let containers = containers.map_or(&[][..], Vec::as_slice);
    for (index, container) in containers.iter().enumerate() {
        let image = container["image"].as_str().unwrap_or_default();
        if !image.starts_with(MIRROR) {
            let from_mirror = json!(format!("{MIRROR}{image}"));
            changes.push(json!({"op": "replace", "path": format!("{at}/containers/{index}/image"), "value": from_mirror}));
        }
    }
    if !containers.iter().any(|container| container["name"] == SIDECAR) {
        let sidecar = json!({"name": SIDECAR, "image": format!("{MIRROR}mesh:1")});
        changes.push(add(&format!("{at}/containers/-"), sidecar));
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_already_is_not_changed_again() {
        let bare = json!({"metadata": {}, "spec": {"containers": [{"name": "mta", "image": "mta:1"}]}});
        let paths: Vec<_> = patch("pods", &bare)
            .iter()
            .map(|change| change["path"].clone())
            .collect();
        assert_eq!(
            paths,
            [
                "/metadata/labels",
                "/spec/containers/0/image",
                "/spec/containers/-"
            ]
        );
        let whole = json!({
            "metadata": {"labels": {LABEL: "platform"}},
            "spec": {"containers": [
                {"name": "mta", "image": "mirror.example/mta:1"}, {"name": SIDECAR, "image": "mirror.example/mesh:1"},
            ]},
        });
        assert!(patch("pods", &whole).is_empty());
        assert_eq!(
            patch("secrets", &json!({"metadata": {"labels": {"a": "b"}}})).len(),
            1
        );
    }
}
