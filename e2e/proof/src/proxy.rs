//! The fault proxy between operator and API server: it can delay, refuse, cut, lose a reply after the write, kill the operator
//! before or after a numbered write, lose, delay or end what a watch says, and show another certificate.

use std::convert::Infallible;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use crate::api::Api;
use crate::identity::Identity;
use crate::request::{Call, Verb};
use crate::server::{Said, text};
use crate::watched;

/// What is done to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Answered with this code in place of the server.
    Answer(u16),
    /// The server does it; the operator is answered with this code.
    LostReply(u16),
    /// The connection is cut before anything is done.
    Cut,
    /// The server does it, and the connection is cut.
    CutAfter,
    /// It waits.
    Delay(Duration),
    /// The operator is killed, and nothing is done.
    KillBefore,
    /// The server does it, and the operator is killed before it knows.
    KillAfter,
}

/// Which requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pick {
    /// The numbered write, from 1, since the last [`Proxy::begin`].
    Write(usize),
    /// Verb and kind.
    Call(Verb, String),
    /// Every request but those of the Lease.
    All,
    /// Every request.
    Everything,
    /// Every write, the Lease's too: what a full etcd refuses.
    Writes,
}

/// A fault, and how often it happens.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Which requests.
    pub pick: Pick,
    /// What happens.
    pub fault: Fault,
    /// How often; the last ones pass.
    pub times: usize,
}

/// What is done to the watches of a kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WatchRule {
    /// Plural of the kind; empty = of all.
    pub kind: String,
    /// This event, from 1, is lost: in its place the watch says 410 and ends.
    pub lost: Option<usize>,
    /// This event, from 1, is lost without a word, and the watch goes on.
    pub swallowed: Option<usize>,
    /// After this many events the watch says 410 and ends.
    pub gone_after: Option<usize>,
    /// Each event comes this much later.
    pub delay: Duration,
}

/// How the operator sees what it reads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// Lists are as of this version, and watches say nothing until the view is another one.
    pub frozen_at: Option<String>,
    /// Lists that may come in pages come in pages of this many.
    pub pages_of: Option<usize>,
    /// Watches say nothing of the version that they are at.
    pub without_bookmarks: bool,
    /// The token that is not taken any more.
    pub revoked: Option<String>,
}

/// A request that was seen.
#[derive(Clone, Debug)]
pub struct Seen {
    /// When.
    pub at: Instant,
    /// What.
    pub call: Call,
    /// The path with its query.
    pub path: String,
    /// What came with it.
    pub body: Bytes,
    /// Who asked: the header `Authorization`.
    pub token: String,
    /// What the operator was answered; 0 = nothing.
    pub status: u16,
}

#[derive(Default)]
struct State {
    rules: Vec<Rule>,
    watch: Option<WatchRule>,
    view: View,
    writes: usize,
    events: usize,
    fired: usize,
    seen: Vec<Seen>,
}

/// The proxy; clones share it.
#[derive(Clone)]
pub struct Proxy {
    /// `http://host:port`, or `https://…` where it has an identity.
    pub address: String,
    upstream: Api,
    /// The process to kill.
    pub pid: Arc<AtomicI32>,
    state: Arc<Mutex<State>>,
    /// What connections are opened with; another one ends those that are open.
    identity: watch::Sender<Option<Identity>>,
}

type Body = UnsyncBoxBody<Bytes, String>;

impl Proxy {
    /// Starts it in front of a server. `identity`: absent = without TLS.
    pub async fn start(upstream: Api, identity: Option<Identity>) -> Said<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(text)?;
        let scheme = identity.as_ref().map_or("http", |_| "https");
        let proxy = Self {
            address: format!("{scheme}://{}", listener.local_addr().map_err(text)?),
            upstream,
            pid: Arc::default(),
            state: Arc::default(),
            identity: watch::Sender::new(identity),
        };
        let serving = proxy.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let proxy = serving.clone();
                let mut others = serving.identity.subscribe();
                let identity = others.borrow_and_update().clone();
                tokio::spawn(async move {
                    let served = async {
                        match identity {
                            None => proxy.serve(stream).await,
                            Some(identity) => {
                                // Who does not like the certificate goes away.
                                if let Ok(stream) = TlsAcceptor::from(identity.config).accept(stream).await {
                                    proxy.serve(stream).await;
                                }
                            }
                        }
                    };
                    tokio::select! {
                        () = served => {}
                        _ = others.changed() => {}
                    }
                });
            }
        });
        Ok(proxy)
    }

    /// From now on it is somebody else; connections that are open end.
    pub fn become_another(&self, identity: Identity) {
        self.identity.send_replace(Some(identity));
    }

    /// From now on: writes are counted from 1, requests are remembered, and these faults happen.
    pub fn begin(&self, rules: Vec<Rule>, watch: Option<WatchRule>) {
        *self.state() = State {
            rules,
            watch,
            ..State::default()
        };
    }

    /// No more faults.
    pub fn heal(&self) {
        let mut state = self.state();
        state.rules.clear();
        state.watch = None;
        state.view = View::default();
    }

    /// From now on the operator sees it so.
    pub fn view(&self, view: View) {
        self.state().view = view;
    }

    /// Numbered writes since the beginning.
    pub fn writes(&self) -> usize {
        self.state().writes
    }

    /// Faults that happened since the beginning.
    pub fn fired(&self) -> usize {
        self.state().fired
    }

    /// What was asked since the beginning.
    pub fn seen(&self) -> Vec<Seen> {
        self.state().seen.clone()
    }

    /// When the operator last wrote anything but its Lease.
    pub fn last_write(&self) -> Option<Instant> {
        self.state()
            .seen
            .iter()
            .rev()
            .find(|seen| seen.call.writes())
            .map(|seen| seen.at)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn serve(self, stream: impl AsyncRead + AsyncWrite + Unpin) {
        let service = service_fn(|request| self.clone().answer(request));
        // What ends a connection is the fault itself, or the operator's end.
        let _ = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service)
            .await;
    }

    /// The error ends the connection without an answer.
    async fn answer(self, request: Request<Incoming>) -> Result<Response<Body>, String> {
        let path = request
            .uri()
            .path_and_query()
            .map(ToString::to_string)
            .unwrap_or_default();
        let call = Call::read(
            request.method().as_str(),
            request.uri().path(),
            request.uri().query().unwrap_or_default(),
        );
        let (parts, body) = request.into_parts();
        let body = body.collect().await.map_err(text)?.to_bytes();
        let token = parts.headers.get("authorization");
        let token = token.and_then(|token| token.to_str().ok()).unwrap_or_default();
        let (number, fault) = self.note(&call, path.clone(), body.clone(), token.to_owned());
        let view = self.state().view.clone();
        let is_revoked = view
            .revoked
            .is_some_and(|revoked| token == format!("Bearer {revoked}"));
        let result = match fault {
            None if is_revoked => Ok(refusal(401)),
            None => self.forward(parts, body, &path, &call).await,
            Some(Fault::Answer(code)) => Ok(refusal(code)),
            Some(Fault::Cut) => Err("cut".to_owned()),
            Some(Fault::KillBefore) => {
                self.kill();
                Err("killed".to_owned())
            }
            Some(Fault::Delay(wait)) => {
                tokio::time::sleep(wait).await;
                self.forward(parts, body, &path, &call).await
            }
            Some(after) => {
                self.forward(parts, body, &path, &call).await?;
                match after {
                    Fault::LostReply(code) => Ok(refusal(code)),
                    Fault::KillAfter => {
                        self.kill();
                        Err("killed".to_owned())
                    }
                    _ => Err("cut".to_owned()),
                }
            }
        };
        if let Ok(answer) = &result
            && let Some(seen) = self.state().seen.get_mut(number)
        {
            seen.status = answer.status().as_u16();
        }
        result
    }

    /// Remembers a request; gives its place, and what is to happen to it.
    fn note(&self, call: &Call, path: String, body: Bytes, token: String) -> (usize, Option<Fault>) {
        let mut state = self.state();
        if call.is_numbered() {
            state.writes += 1;
        }
        let writes = state.writes;
        let picked = state.rules.iter_mut().find(|rule| {
            rule.times > 0
                && match &rule.pick {
                    Pick::Write(number) => call.is_numbered() && writes == *number,
                    Pick::Call(verb, kind) => call.verb == *verb && call.kind == *kind,
                    Pick::All => call.kind != "leases",
                    Pick::Everything => true,
                    Pick::Writes => matches!(
                        call.verb,
                        Verb::Create | Verb::Update | Verb::Patch | Verb::Delete
                    ),
                }
        });
        let fault = picked.map(|rule| {
            rule.times -= 1;
            rule.fault
        });
        state.fired += usize::from(fault.is_some());
        let call = call.clone();
        state.seen.push(Seen {
            at: Instant::now(),
            call,
            path,
            body,
            token,
            status: 0,
        });
        (state.seen.len() - 1, fault)
    }

    fn kill(&self) {
        if let Some(pid) = rustix::process::Pid::from_raw(self.pid.load(Ordering::SeqCst)) {
            // Gone already is what was wanted.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }

    async fn forward(
        &self,
        parts: hyper::http::request::Parts,
        body: Bytes,
        path: &str,
        call: &Call,
    ) -> Result<Response<Body>, String> {
        let view = self.state().view.clone();
        if view.frozen_at.is_some() && call.verb == Verb::Watch {
            return Ok(Response::new(self.silence()));
        }
        let path = if call.verb == Verb::List && !call.kind.is_empty() {
            view.asked(path)
        } else {
            path.to_owned()
        };
        let mut onward = Request::builder()
            .method(parts.method)
            .uri(format!("https://{}{path}", self.upstream.address));
        for (name, value) in &parts.headers {
            if !matches!(name.as_str(), "host" | "content-length") {
                onward = onward.header(name, value);
            }
        }
        let onward = onward.body(Full::new(body)).map_err(text)?;
        let (head, body) = self
            .upstream
            .upstream
            .request(onward)
            .await
            .map_err(text)?
            .into_parts();
        let body = if call.verb == Verb::Watch && head.status.is_success() {
            self.watch(body, &call.kind)
        } else {
            // Read whole here: a reply that is lost is lost after the write.
            full(body.collect().await.map_err(text)?.to_bytes())
        };
        let mut answer = Response::builder().status(head.status);
        for (name, value) in &head.headers {
            if !matches!(
                name.as_str(),
                "content-length" | "transfer-encoding" | "connection"
            ) {
                answer = answer.header(name, value);
            }
        }
        answer.body(body).map_err(text)
    }

    /// A watch that hears nothing, until the view is of today again: then it is too old.
    fn silence(&self) -> Body {
        let proxy = self.clone();
        watched::silent(move || proxy.state().view.frozen_at.is_some())
    }

    /// The events of a watch, one at a time, as the rule of the moment has them.
    fn watch(&self, body: Incoming, kind: &str) -> Body {
        let (proxy, kind) = (self.clone(), kind.to_owned());
        let decide = move |line: &[u8]| proxy.turn(&kind, line);
        watched::lines(body, decide)
    }

    /// What happens to the next event of a watch.
    fn turn(&self, kind: &str, line: &[u8]) -> watched::Turn {
        let mut state = self.state();
        if state.view.without_bookmarks && line.starts_with(br#"{"type":"BOOKMARK""#) {
            state.fired += 1;
            return watched::Turn::Skip;
        }
        let Some(rule) = state
            .watch
            .clone()
            .filter(|rule| rule.kind.is_empty() || rule.kind == kind)
        else {
            return watched::Turn::Pass(Duration::ZERO);
        };
        state.events += 1;
        if rule.swallowed == Some(state.events) {
            state.fired += 1;
            return watched::Turn::Skip;
        }
        if rule.lost == Some(state.events) {
            state.fired += 1;
            return watched::Turn::Gone;
        }
        if rule.gone_after.is_some_and(|after| state.events > after) {
            state.fired += 1;
            state.events = 0;
            return watched::Turn::Gone;
        }
        watched::Turn::Pass(rule.delay)
    }
}

impl View {
    /// The path of a list, as it is asked for.
    fn asked(&self, path: &str) -> String {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let mut pairs: Vec<String> = query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(str::to_owned)
            .collect();
        if let Some(size) = self.pages_of {
            for pair in pairs.iter_mut().filter(|pair| pair.starts_with("limit=")) {
                *pair = format!("limit={size}");
            }
        }
        if let Some(version) = &self.frozen_at {
            // A page that follows is of the version of the first one.
            if !pairs.iter().any(|pair| pair.starts_with("continue=")) {
                pairs.retain(|pair| !pair.starts_with("resourceVersion"));
                pairs.push(format!("resourceVersion={version}"));
                pairs.push("resourceVersionMatch=Exact".to_owned());
            }
        }
        format!("{path}?{}", pairs.join("&"))
    }
}

/// A whole body.
pub fn full(bytes: Bytes) -> Body {
    Full::new(bytes)
        .map_err(|never: Infallible| match never {})
        .boxed_unsync()
}

/// A refusal as the API server words it.
pub fn refusal(code: u16) -> Response<Body> {
    let reason = match code {
        401 => "Unauthorized",
        403 => "Forbidden",
        409 => "Conflict",
        410 => "Expired",
        422 => "Invalid",
        429 => "TooManyRequests",
        500 => "InternalError",
        504 => "Timeout",
        _ => "Unknown",
    };
    let status = serde_json::json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "code": code,
        "message": format!("a fault of the proof: {reason}"),
    });
    let mut answer = Response::new(full(Bytes::from(status.to_string())));
    *answer.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = answer.headers_mut();
    headers.insert(
        "content-type",
        hyper::header::HeaderValue::from_static("application/json"),
    );
    if code == 429 {
        headers.insert("retry-after", hyper::header::HeaderValue::from_static("1"));
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_asked_for_in_small_pages_and_as_of_an_old_version() {
        let path = "/api/v1/namespaces/a/secrets?limit=500&labelSelector=x";
        assert_eq!(View::default().asked(path), path);
        let view = View {
            frozen_at: Some("17".into()),
            pages_of: Some(1),
            ..View::default()
        };
        assert_eq!(
            view.asked(path),
            "/api/v1/namespaces/a/secrets?limit=1&labelSelector=x&resourceVersion=17&resourceVersionMatch=Exact"
        );
        let next = "/api/v1/namespaces/a/secrets?limit=1&continue=x";
        assert_eq!(view.asked(next), next);
        let whole = "/api/v1/namespaces/a/pods?";
        assert_eq!(View::default().asked(whole), whole);
    }
}
