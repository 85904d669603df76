//! What stands in for the mail server of a pod: pods of this server are made and run nowhere. It answers the operator at the admin
//! endpoint, by TLS with the certificate of the fleet, and has each configuration from its Secret, or refuses it, as it is told to.
//! Nothing else of a mail server is here.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use postroad_config::admin::{ConfigState, QueueState, Refusal, State};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::api::Api;
use crate::identity::Identity;
use crate::rig::Rig;
use crate::server::{Said, text};

/// The port of admin endpoints.
const PORT: u16 = 8_443;

/// The daemon of one pod; it ends when this is dropped.
pub struct Daemon {
    told: Arc<Mutex<Told>>,
    server: tokio::task::JoinHandle<()>,
}

struct Told {
    state: State,
    /// Why it takes no other configuration than the one that it has.
    refuses: Option<String>,
}

impl Daemon {
    /// Starts that of a pod of the listener `edge`, and has the pod ready at an address of its own on loopback.
    pub async fn start(rig: &Rig, ordinal: u8) -> Said<Self> {
        let address = address(rig.place, ordinal);
        let secret = rig.api.get(&rig.path("secrets", "edge-ca")).await?;
        let identity = Identity::of(&value(&secret, "tls.crt")?, &value(&secret, "tls.key")?)?;
        let listener = TcpListener::bind((address.as_str(), PORT)).await.map_err(text)?;
        let told = Arc::new(Mutex::new(Told {
            state: State {
                boot_id: format!("boot-{ordinal}"),
                version: "0.0.0".into(),
                spool: format!("00000000-0000-4000-8000-{:06}{ordinal:06}", rig.place),
                queue: QueueState {
                    below_high_water: true,
                    free_bytes: 1 << 30,
                    ..QueueState::default()
                },
                accepting: true,
                ..State::default()
            },
            refuses: None,
        }));
        let (api, config, known) = (rig.api.clone(), rig.path("secrets", "edge-config"), told.clone());
        let acceptor = TlsAcceptor::from(identity.config);
        let server = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(
                    acceptor.clone(),
                    stream,
                    api.clone(),
                    config.clone(),
                    known.clone(),
                ));
            }
        });
        ready(rig, ordinal, &address).await?;
        Ok(Self { told, server })
    }

    /// From now on it takes no other configuration than the one that it has, and says this; `None`: it takes them again.
    pub fn refuse(&self, why: Option<&str>) {
        lock(&self.told).refuses = why.map(str::to_owned);
    }

    /// The configuration that it runs.
    pub fn runs(&self) -> ConfigState {
        lock(&self.told).state.config.clone()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn lock(told: &Mutex<Told>) -> std::sync::MutexGuard<'_, Told> {
    told.lock().unwrap_or_else(PoisonError::into_inner)
}

/// All of 127.0.0.0/8 is loopback: an address for each pod of each place.
fn address(place: usize, ordinal: u8) -> String {
    format!("127.{}.{}.{}", 64 + place / 256, place % 256, 1 + ordinal)
}

/// What a kubelet would say of the pod.
async fn ready(rig: &Rig, ordinal: u8, address: &str) -> Said<()> {
    let now = "2026-01-01T00:00:00Z";
    let status = json!({"status": {
        "phase": "Running", "podIP": address, "podIPs": [{"ip": address}], "startTime": now,
        "conditions": [
            {"type": "PodScheduled", "status": "True", "lastTransitionTime": now},
            {"type": "ContainersReady", "status": "True", "lastTransitionTime": now},
            {"type": "Ready", "status": "True", "lastTransitionTime": now},
        ],
    }});
    let pod = rig.path("pods", &format!("edge-{ordinal}"));
    rig.api.merge(&format!("{pod}/status"), &status).await.map(drop)
}

/// A text of a Secret.
fn value(secret: &Value, key: &str) -> Said<String> {
    let encoded = secret["data"][key]
        .as_str()
        .ok_or_else(|| format!("a Secret without {key}"))?;
    let octets = base64::engine::general_purpose::STANDARD
        .decode(encoded)
        .map_err(text)?;
    String::from_utf8(octets).map_err(text)
}

async fn serve(acceptor: TlsAcceptor, stream: TcpStream, api: Api, config: String, told: Arc<Mutex<Told>>) {
    // Who does not finish the handshake was not the operator.
    let Ok(stream) = acceptor.accept(stream).await else {
        return;
    };
    let service = service_fn(|request| answer(request, &api, &config, &told));
    let _ = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn answer(
    request: Request<Incoming>,
    api: &Api,
    config: &str,
    told: &Mutex<Told>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    if request.uri().path() != "/v1/state" {
        let refusal = Refusal {
            error: "this daemon stands in for one, and says its state alone".into(),
        };
        return Ok(response(StatusCode::NOT_FOUND, &refusal));
    }
    let newest = match api.get(config).await {
        Ok(secret) => value(&secret, "base.yaml"),
        Err(error) => Err(error),
    };
    let mut told = lock(told);
    if let Ok(base) = newest {
        told.hear(&base);
    }
    Ok(response(StatusCode::OK, &told.state))
}

impl Told {
    /// A configuration is there.
    fn hear(&mut self, base: &str) {
        let hash = postroad_config::hash(base);
        let is_run = hash == self.state.config.hash;
        match &self.refuses {
            Some(why) if !is_run => self.state.config.error = Some(why.clone()),
            _ => {
                let generation = base.lines().find_map(|line| line.strip_prefix("generation:"));
                self.state.config = ConfigState {
                    generation: generation
                        .and_then(|text| text.trim().parse().ok())
                        .unwrap_or_default(),
                    hash,
                    reads_format: 1,
                    error: None,
                };
            }
        }
    }
}

fn response(status: StatusCode, body: &impl serde::Serialize) -> Response<Full<Bytes>> {
    let body = serde_json::to_vec(body).unwrap_or_default();
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_that_is_refused_leaves_the_one_before() {
        let mut told = Told {
            state: State::default(),
            refuses: None,
        };
        told.hear("format: 1\ngeneration: 7\n");
        assert_eq!(
            (told.state.config.generation, &told.state.config.error),
            (7, &None)
        );
        told.refuses = Some("no".into());
        told.hear("format: 1\ngeneration: 7\n");
        assert_eq!(told.state.config.error, None, "it is the one that is run");
        told.hear("format: 1\ngeneration: 8\n");
        assert_eq!(
            (told.state.config.generation, told.state.config.error.as_deref()),
            (7, Some("no"))
        );
        told.refuses = None;
        told.hear("format: 1\ngeneration: 8\n");
        assert_eq!(
            (told.state.config.generation, told.state.config.error.as_deref()),
            (8, None)
        );
    }
}
