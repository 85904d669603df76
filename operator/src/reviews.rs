//! Where pods ask whether a token still holds: `POST /v1/token-review` over HTTPS, answered by the API server's `TokenReview`.
//!
//! ```text
//!   pod ─► TLS: the name that it asks for picks the listener, a leaf of that listener's authority proves it
//!       ─► {token} ─► answered within the last minute? ─► TokenReview for that listener's audience ─► {authenticated}
//! ```
//!
//! Only listeners with `authentication.serviceAccounts.checkRevocation` have a name here, put there by their reconcile. Whoever asks
//! learns nothing but whether a token that he has holds. What cannot be told now is 503: the pod answers 454 then. One address
//! leaves room for the others, and tokens that never held for answers about those that hold.

mod places;

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use aws_lc_rs::digest;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use kube::api::PostParams;
use kube::{Api, Client};
use postroad_config::admin::{ReviewRequest, Reviewed};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use self::places::Places;
use crate::smtp_listener::build::certificates::Pair;

/// The names that are served, and what was answered. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Reviews(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    names: Mutex<HashMap<String, Served>>,
    answers: Mutex<HashMap<Proof, (Instant, bool)>>,
}

#[derive(Clone, Debug)]
struct Served {
    audience: String,
    leaf: Pair,
    authority: String,
    key: Arc<CertifiedKey>,
}

/// Digest of audience and token: neither is kept.
type Proof = [u8; 32];

impl Reviews {
    /// The leaf that a name is served with, so that it is made once.
    pub fn leaf(&self, name: &str) -> Option<Pair> {
        self.names().get(name).map(|served| served.leaf.clone())
    }

    /// Whether a name is served with a leaf of this authority.
    pub fn is_of(&self, name: &str, authority: &str) -> bool {
        self.names()
            .get(name)
            .is_some_and(|served| served.authority == authority)
    }

    /// Serves a name for an audience, with a leaf of an authority. Errors: the pair cannot be served, in a sentence.
    pub fn serve(&self, name: &str, audience: &str, leaf: &Pair, authority: &str) -> Result<(), String> {
        let mut names = self.names();
        if names
            .get(name)
            .is_some_and(|served| served.leaf == *leaf && served.audience == audience)
        {
            return Ok(());
        }
        let served = Served {
            audience: audience.to_owned(),
            leaf: leaf.clone(),
            authority: authority.to_owned(),
            key: Arc::new(certified(leaf)?),
        };
        names.insert(name.to_owned(), served);
        Ok(())
    }

    /// Serves a name no more.
    pub fn end(&self, name: &str) {
        self.names().remove(name);
    }

    fn audience(&self, name: &str) -> Option<String> {
        self.names().get(name).map(|served| served.audience.clone())
    }

    fn known(&self, proof: &Proof) -> Option<bool> {
        let answers = self.0.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, held) = answers.get(proof)?;
        (since.elapsed() < KEPT).then_some(*held)
    }

    fn keep(&self, proof: Proof, holds: bool) {
        let mut answers = self.0.answers.lock().unwrap_or_else(PoisonError::into_inner);
        if answers.len() >= MOST_KEPT {
            answers.retain(|_, (since, _)| since.elapsed() < KEPT);
        }
        // Anybody can bring tokens that never held.
        if answers.len() >= MOST_KEPT {
            answers.retain(|_, (_, held)| *held);
        }
        if answers.len() < MOST_KEPT {
            answers.insert(proof, (Instant::now(), holds));
        }
    }

    fn names(&self) -> std::sync::MutexGuard<'_, HashMap<String, Served>> {
        self.0.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ResolvesServerCert for Reviews {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let names = self.names();
        names.get(hello.server_name()?).map(|served| served.key.clone())
    }
}

fn certified(leaf: &Pair) -> Result<CertifiedKey, String> {
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(leaf.certificate.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|error| error.to_string())?;
    let key = PrivateKeyDer::from_pem_slice(leaf.key.as_bytes()).map_err(|error| error.to_string())?;
    CertifiedKey::from_der(chain, key, &rustls::crypto::aws_lc_rs::default_provider())
        .map_err(|error| error.to_string())
}

/// Says whether a token holds, for an audience. Errors: it cannot be told now.
pub trait Judge: Clone + Send + Sync + 'static {
    /// Judges it.
    fn holds(&self, audience: String, token: String) -> impl Future<Output = Result<bool, String>> + Send;
}

impl Judge for Client {
    async fn holds(&self, audience: String, token: String) -> Result<bool, String> {
        let review = TokenReview {
            spec: TokenReviewSpec {
                token,
                audiences: Some(vec![audience.clone()]),
            },
            ..TokenReview::default()
        };
        let api: Api<TokenReview> = Api::all(self.clone());
        // The token is in the request: no error may be told that repeats it.
        let answer = api
            .create(&PostParams::default(), &review)
            .await
            .map_err(|error| match error {
                kube::Error::Api(status) => format!("the API server says {}: {}", status.code, status.reason),
                _ => "the API server does not answer".to_owned(),
            })?;
        let status = answer.status.unwrap_or_default();
        let is_meant = status
            .audiences
            .is_some_and(|audiences| audiences.contains(&audience));
        Ok(status.authenticated == Some(true) && is_meant)
    }
}

/// Serves until the process ends. Errors: the address cannot be listened on, or there is no TLS.
pub async fn serve(address: SocketAddr, reviews: Reviews, judge: impl Judge) -> std::io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    accept(listener, reviews, judge).await
}

async fn accept(listener: TcpListener, reviews: Reviews, judge: impl Judge) -> std::io::Result<()> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(std::io::Error::other)?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(reviews.clone()));
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let places = Places::default();
    loop {
        let (stream, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a question for a token could not be accepted");
                tokio::time::sleep(AFTER_FAILURE).await;
                continue;
            }
        };
        // Too many at once: the pod says 454, and its client comes again.
        let Some(place) = places.take(from.ip()) else {
            continue;
        };
        let (acceptor, reviews, judge) = (acceptor.clone(), reviews.clone(), judge.clone());
        tokio::spawn(async move {
            let _place = place;
            let served = tokio::time::timeout(LONGEST, connection(stream, acceptor, reviews, judge)).await;
            if let Ok(Err(error)) = served {
                tracing::debug!(%error, "a question for a token ended early");
            }
        });
    }
}

async fn connection(
    stream: TcpStream,
    acceptor: TlsAcceptor,
    reviews: Reviews,
    judge: impl Judge,
) -> Result<(), String> {
    let stream = acceptor.accept(stream).await.map_err(|error| error.to_string())?;
    let name = stream.get_ref().1.server_name().unwrap_or_default().to_owned();
    let audience = reviews.audience(&name);
    let service = hyper::service::service_fn(move |request| {
        let (reviews, judge, audience) = (reviews.clone(), judge.clone(), audience.clone());
        async move { Ok::<_, Infallible>(answer(request, audience, &reviews, &judge).await) }
    });
    hyper::server::conn::http1::Builder::new()
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service)
        .await
        .map_err(|error| error.to_string())
}

async fn answer(
    request: Request<Incoming>,
    audience: Option<String>,
    reviews: &Reviews,
    judge: &impl Judge,
) -> Response<Full<Bytes>> {
    if request.method() != Method::POST || request.uri().path() != "/v1/token-review" {
        return said(StatusCode::NOT_FOUND, Bytes::new());
    }
    let Some(audience) = audience else {
        return said(StatusCode::NOT_FOUND, Bytes::new());
    };
    let Ok(body) = Limited::new(request.into_body(), LARGEST).collect().await else {
        return said(StatusCode::PAYLOAD_TOO_LARGE, Bytes::new());
    };
    let Ok(asked) = serde_json::from_slice::<ReviewRequest>(&body.to_bytes()) else {
        return said(StatusCode::BAD_REQUEST, Bytes::new());
    };
    match review(audience, asked.token, reviews, judge).await {
        Ok(authenticated) => {
            let body = serde_json::to_vec(&Reviewed { authenticated }).unwrap_or_default();
            said(StatusCode::OK, body.into())
        }
        Err(error) => {
            tracing::warn!(%error, "a token could not be reviewed");
            said(StatusCode::SERVICE_UNAVAILABLE, Bytes::new())
        }
    }
}

async fn review(
    audience: String,
    token: String,
    reviews: &Reviews,
    judge: &impl Judge,
) -> Result<bool, String> {
    let proof = proof(&audience, &token);
    if let Some(held) = reviews.known(&proof) {
        return Ok(held);
    }
    let holds = judge.holds(audience, token).await?;
    reviews.keep(proof, holds);
    Ok(holds)
}

fn proof(audience: &str, token: &str) -> Proof {
    let mut context = digest::Context::new(&digest::SHA256);
    // No audience has a line end.
    context.update(audience.as_bytes());
    context.update(b"\n");
    context.update(token.as_bytes());
    let mut proof = [0; 32];
    for (to, from) in proof.iter_mut().zip(context.finish().as_ref()) {
        *to = *from;
    }
    proof
}

fn said(status: StatusCode, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response
}

/// Within this time a revoked token may still be taken, here and again at the pod.
const KEPT: Duration = Duration::from_secs(30);
const MOST_KEPT: usize = 10_000;
const LONGEST: Duration = Duration::from_secs(10);
const AFTER_FAILURE: Duration = Duration::from_millis(100);
const LARGEST: usize = 20 << 10;

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use rustls::pki_types::ServerName;
    use rustls::{ClientConfig, RootCertStore};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::smtp_listener::build::certificates::{authority, leaf};

    /// Takes the token `good` alone; `later` cannot be told.
    #[derive(Clone, Default)]
    struct Clerk(Arc<AtomicUsize>);

    impl Judge for Clerk {
        async fn holds(&self, audience: String, token: String) -> Result<bool, String> {
            self.0.fetch_add(1, Ordering::Relaxed);
            assert_eq!(audience, "smtp.postroad.dev/mail/edge");
            match token.as_str() {
                "later" => Err("not now".into()),
                token => Ok(token == "good"),
            }
        }
    }

    struct Place {
        address: SocketAddr,
        reviews: Reviews,
        clerk: Clerk,
        authority: Pair,
    }

    async fn place() -> Place {
        let now = k8s_openapi::jiff::Timestamp::now().as_second();
        let authority = authority("mail/edge", now).unwrap();
        let leaf = leaf(&authority, "review.edge", now).unwrap();
        let reviews = Reviews::default();
        reviews
            .serve(
                "review.edge",
                "smtp.postroad.dev/mail/edge",
                &leaf,
                &authority.certificate,
            )
            .unwrap();
        assert!(reviews.is_of("review.edge", &authority.certificate));
        assert_eq!(reviews.leaf("review.edge"), Some(leaf));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, clerk) = (listener.local_addr().unwrap(), Clerk::default());
        tokio::spawn(accept(listener, reviews.clone(), clerk.clone()));
        Place {
            address,
            reviews,
            clerk,
            authority,
        }
    }

    /// Status line and body, or why there was no TLS.
    async fn ask(place: &Place, name: &'static str, request: &str) -> Result<String, String> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(place.authority.certificate.as_bytes()) {
            roots.add(certificate.unwrap()).unwrap();
        }
        let config =
            ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_root_certificates(roots)
                .with_no_client_auth();
        let stream = TcpStream::connect(place.address).await.unwrap();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let mut stream = connector
            .connect(ServerName::try_from(name).unwrap(), stream)
            .await
            .map_err(|error| error.to_string())?;
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        // The end without a farewell is no matter here.
        let _ = stream.read_to_string(&mut text).await;
        Ok(text)
    }

    fn post(token: &str) -> String {
        let body = format!("{{\"token\":\"{token}\"}}");
        format!(
            "POST /v1/token-review HTTP/1.1\r\nhost: review.edge\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
    }

    #[tokio::test]
    async fn a_token_is_judged_once_a_while_and_what_cannot_be_told_is_not_kept() {
        let place = place().await;
        for (token, status, body) in [
            ("good", "200", "{\"authenticated\":true}"),
            ("good", "200", "{\"authenticated\":true}"),
            ("gone", "200", "{\"authenticated\":false}"),
            ("gone", "200", "{\"authenticated\":false}"),
            ("later", "503", ""),
            ("later", "503", ""),
        ] {
            let said = ask(&place, "review.edge", &post(token)).await.unwrap();
            assert!(
                said.starts_with(&format!("HTTP/1.1 {status}")) && said.ends_with(body),
                "{token}: {said}"
            );
        }
        assert_eq!(place.clerk.0.load(Ordering::Relaxed), 4);
    }

    #[tokio::test]
    async fn only_names_that_are_served_are_proven_and_nothing_else_is_answered() {
        let place = place().await;
        assert!(ask(&place, "review.other", &post("good")).await.is_err());
        for (request, status) in [
            (
                "GET /v1/token-review HTTP/1.1\r\nhost: x\r\n\r\n".to_owned(),
                "404",
            ),
            (
                "POST /other HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n".to_owned(),
                "404",
            ),
            (
                "POST /v1/token-review HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}".to_owned(),
                "400",
            ),
            (post(&"x".repeat(30_000)), "413"),
        ] {
            let said = ask(&place, "review.edge", &request).await.unwrap();
            assert!(said.starts_with(&format!("HTTP/1.1 {status}")), "{said}");
        }
        place.reviews.end("review.edge");
        assert!(ask(&place, "review.edge", &post("good")).await.is_err());
        assert_eq!(place.clerk.0.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn junk_drives_out_no_answer_about_a_token_that_holds() {
        let reviews = Reviews::default();
        let (good, late) = (proof("a", "good"), proof("a", "late"));
        reviews.keep(good, true);
        for number in 0..MOST_KEPT {
            reviews.keep(proof("a", &number.to_string()), false);
        }
        reviews.keep(late, true);
        assert_eq!(
            (reviews.known(&good), reviews.known(&late)),
            (Some(true), Some(true))
        );
    }

    #[test]
    fn audience_and_token_do_not_run_into_each_other() {
        assert_ne!(proof("a", "bc"), proof("ab", "c"));
        assert_eq!(proof("a", "b"), proof("a", "b"));
    }
}
