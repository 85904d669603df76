//! A small API server in memory: lists what it was given, keeps what is applied, refuses what it is told to, is away when it is
//! told to. No socket and no clock, so that ten minutes pass at once on a paused one.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use http::{Method, Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Bytes, Frame};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};

/// What is refused for ever: method, kind (with its subresource), code.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    /// `GET`, `PATCH` and so on.
    pub method: &'static str,
    /// `services`, `smtplisteners/status`.
    pub kind: &'static str,
    /// The answer; 0 = none within a minute.
    pub code: u16,
}

/// The server; clones share it.
#[derive(Clone, Default)]
pub struct Memory {
    objects: Arc<Mutex<BTreeMap<String, Value>>>,
    seen: Arc<Mutex<Vec<(String, String)>>>,
    fault: Option<Fault>,
    away: Arc<AtomicBool>,
    missed: Arc<AtomicUsize>,
}

type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

impl Memory {
    /// A server with these objects, by path.
    pub fn new(objects: impl IntoIterator<Item = (String, Value)>, fault: Option<Fault>) -> Self {
        Self {
            objects: Arc::new(Mutex::new(objects.into_iter().collect())),
            fault,
            ..Self::default()
        }
    }

    /// A client of it.
    pub fn client(&self) -> Client {
        let memory = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let memory = memory.clone();
            async move {
                if memory.away.load(Ordering::SeqCst) {
                    memory.missed.fetch_add(1, Ordering::SeqCst);
                    return Err(std::io::Error::from(std::io::ErrorKind::ConnectionRefused));
                }
                Ok(memory.answer(request).await)
            }
        });
        Client::new(service, "default")
    }

    /// Whether nobody answers. Watches that are open say nothing, and do not end.
    pub fn away(&self, is_away: bool) {
        self.away.store(is_away, Ordering::SeqCst);
    }

    /// Requests while it was away.
    pub fn missed(&self) -> usize {
        self.missed.load(Ordering::SeqCst)
    }

    /// Puts an object there. No watch tells of it.
    pub fn put(&self, (path, object): (String, Value)) {
        self.objects.lock().unwrap().insert(path, object);
    }

    /// Takes an object away. No watch tells of it.
    pub fn remove(&self, path: &str) {
        self.objects.lock().unwrap().remove(path);
    }

    /// Method and path of all that was asked.
    pub fn seen(&self) -> Vec<(String, String)> {
        self.seen.lock().unwrap().clone()
    }

    /// An object by its path.
    pub fn object(&self, path: &str) -> Option<Value> {
        self.objects.lock().unwrap().get(path).cloned()
    }

    /// Paths of all objects.
    pub fn paths(&self) -> Vec<String> {
        self.objects.lock().unwrap().keys().cloned().collect()
    }

    async fn answer(&self, request: Request<Body>) -> Answer {
        let (parts, body) = request.into_parts();
        let path = parts.uri.path().to_owned();
        let query = parts.uri.query().unwrap_or_default().to_owned();
        let body = body.collect().await.unwrap().to_bytes();
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        let watches = query.contains("watch=true");
        if !watches {
            self.seen
                .lock()
                .unwrap()
                .push((parts.method.to_string(), path.clone()));
        }
        if let Some(fault) = self
            .fault
            .filter(|fault| !watches && fault.hits(&parts.method, &path))
        {
            if fault.code == 0 {
                tokio::time::sleep(std::time::Duration::from_mins(1)).await;
                return whole(504, &refusal(504));
            }
            return whole(fault.code, &refusal(fault.code));
        }
        if watches {
            // Nothing ever changes: who wants to see a change reads.
            let never = futures::stream::pending::<Result<Frame<Bytes>, Infallible>>();
            return Response::new(StreamBody::new(never).boxed_unsync());
        }
        match path.as_str() {
            "/.well-known/openid-configuration" => {
                return whole(200, &json!({"issuer": "https://issuer.test"}));
            }
            "/openid/v1/jwks" => return whole(200, &json!({"keys": []})),
            _ => {}
        }
        match parts.method {
            Method::GET => self.read(&path, &query),
            Method::DELETE => {
                self.remove(&path);
                whole(200, &json!({"kind": "Status", "status": "Success"}))
            }
            Method::PATCH if is_merge(&parts.headers) => {
                let known = self.object(&path).unwrap_or_default();
                self.keep(path, merged(&known, &body))
            }
            Method::POST if path.ends_with("/token") => whole(201, &token(body)),
            Method::POST => self.keep(format!("{path}/{}", name(&body)), body),
            _ => self.keep(path, body),
        }
    }

    fn read(&self, path: &str, query: &str) -> Answer {
        let objects = self.objects.lock().unwrap();
        if let Some(object) = objects.get(path) {
            return whole(200, object);
        }
        let (kind, object) = split(path);
        if !object.is_empty() {
            return whole(404, &refusal(404));
        }
        // In all namespaces, or in one.
        let inside = |known: &str| {
            known.starts_with(&format!("{path}/")) || !path.contains("/namespaces/") && split(known).0 == kind
        };
        // `postroad.dev/listener=NAME` is the only value that is ever asked for.
        let listener = query
            .split('&')
            .find_map(|pair| pair.strip_prefix("labelSelector=postroad.dev%2Flistener%3D"));
        let is_asked_for = |object: &&Value| {
            listener.is_none_or(|listener| object["metadata"]["labels"]["postroad.dev/listener"] == listener)
        };
        let items: Vec<&Value> = objects
            .iter()
            .filter(|(known, _)| inside(known) && !known.ends_with("/status"))
            .map(|(_, object)| object)
            .filter(is_asked_for)
            .collect();
        whole(
            200,
            &json!({"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": "1"}, "items": items}),
        )
    }

    fn keep(&self, path: String, mut body: Value) -> Answer {
        let mut objects = self.objects.lock().unwrap();
        body["metadata"]["resourceVersion"] = json!(objects.len().to_string());
        if body["metadata"]["uid"].is_null() {
            body["metadata"]["uid"] = json!("00000000-0000-4000-8000-000000000001");
        }
        if let Some(whole_path) = path.strip_suffix("/status")
            && let Some(known) = objects.get(whole_path)
        {
            // An answer is read as a whole object; what is kept beside it is the status alone.
            let mut merged = known.clone();
            merged["status"] = body["status"].clone();
            objects.insert(path, merged.clone());
            return whole(200, &merged);
        }
        if path.contains("/statefulsets/") && body["spec"]["selector"].is_null() {
            body["spec"]["selector"] = json!({});
        }
        objects.insert(path, body.clone());
        whole(200, &body)
    }
}

impl Fault {
    fn hits(&self, method: &Method, path: &str) -> bool {
        method.as_str() == self.method && split(path).0 == self.kind
    }
}

/// Kind with its subresource, and name.
pub fn split(path: &str) -> (String, String) {
    let skipped = if path.starts_with("/apis/") { 3 } else { 2 };
    let mut parts: Vec<&str> = path.trim_start_matches('/').split('/').skip(skipped).collect();
    if parts.first() == Some(&"namespaces") && parts.len() > 2 {
        parts.drain(..2);
    }
    let part = |index: usize| parts.get(index).copied().unwrap_or_default();
    match parts.len() {
        0..=2 => (part(0).to_owned(), part(1).to_owned()),
        _ => (format!("{}/{}", part(0), part(2)), part(1).to_owned()),
    }
}

fn name(object: &Value) -> String {
    object["metadata"]["name"]
        .as_str()
        .unwrap_or("unnamed")
        .to_owned()
}

fn is_merge(headers: &http::HeaderMap) -> bool {
    let kind = headers.get(http::header::CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes() == b"application/merge-patch+json")
}

/// RFC 7396.
fn merged(known: &Value, change: &Value) -> Value {
    let Value::Object(fields) = change else {
        return change.clone();
    };
    let mut made = known.as_object().cloned().unwrap_or_default();
    for (name, value) in fields {
        if value.is_null() {
            made.remove(name);
        } else {
            let before = made.get(name).cloned().unwrap_or_default();
            made.insert(name.clone(), merged(&before, value));
        }
    }
    Value::Object(made)
}

fn token(mut request: Value) -> Value {
    request["metadata"] = json!({});
    request["spec"]["audiences"] = json!(["https://issuer.test"]);
    request["status"] = json!({"token": "a.b.c", "expirationTimestamp": "2030-01-01T00:00:00Z"});
    request
}

fn refusal(code: u16) -> Value {
    let reason = match code {
        403 => "Forbidden",
        404 => "NotFound",
        409 => "Conflict",
        422 => "Invalid",
        429 => "TooManyRequests",
        500 => "InternalError",
        _ => "Timeout",
    };
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": reason, "reason": reason, "code": code})
}

fn whole(code: u16, value: &Value) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(value.to_string())).boxed_unsync());
    *answer.status_mut() = http::StatusCode::from_u16(code).unwrap();
    answer
}
