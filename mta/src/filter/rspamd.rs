//! rspamd over HTTP/1.1: one request on a connection of its own, the message streamed with its length in front.

use std::convert::Infallible;

use axum::http::Request;
use axum::http::request::Builder;
use bytes::Bytes;
use futures::FutureExt;
use futures::future::{Either, select};
use http_body_util::{BodyExt, Limited, StreamBody};
use hyper::body::Frame;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use postroad_config::Endpoint;
use postroad_filter::rspamd::{LARGEST_ANSWER, PATH, fields, parse};
use postroad_filter::{Malformed, Message};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use super::{Body, Failure, Heard, Scanned};

/// Asks about one message; the caller bounds the time.
pub(super) async fn ask(
    stream: TcpStream,
    endpoint: &Endpoint,
    message: Message,
    body: &Body,
) -> Result<Heard, Failure> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| broken(&error))?;
    // Ends when the sender is dropped, and with it when nobody waits any more.
    let connection = AbortOnDrop(tokio::spawn(async move {
        let _ = connection.await;
    }));
    let header = Bytes::from([message.header.write(), b"\r\n".to_vec()].concat());
    let length = header.len() as u64 + body.len();
    let (pieces, stream) = mpsc::channel(1);
    let stream = futures::stream::unfold(stream, |mut stream: mpsc::Receiver<Bytes>| async move {
        let piece = stream.recv().await?;
        Some((Ok::<_, Infallible>(Frame::data(piece)), stream))
    });
    let request = request(endpoint, length, &message)
        .body(StreamBody::new(stream))
        .map_err(|_| Failure::Connection("the request cannot be made".to_owned()))?;
    let answered = async {
        let response = sender
            .send_request(request)
            .await
            .map_err(|error| broken(&error))?;
        let status = response.status();
        if !status.is_success() {
            return Err(Failure::Status(status.as_u16()));
        }
        let whole = Limited::new(response.into_body(), LARGEST_ANSWER).collect().await;
        let whole = whole.map_err(|_| Malformed("the answer is cut short or too long"))?;
        Ok(whole.to_bytes())
    };
    let sent = send(pieces, header, body);
    futures::pin_mut!(answered, sent);
    let answered = match select(answered, sent).await {
        Either::Left((answered, sent)) => {
            let answer = answered?;
            // What is said of a part says nothing of the whole.
            if !matches!(sent.now_or_never(), Some(Ok(()))) {
                return Err(Malformed("it answers before it has the message").into());
            }
            answer
        }
        Either::Right((sent, answered)) => {
            sent?;
            answered.await?
        }
    };
    drop(connection);
    let scan = parse(&answered, &message)?;
    Ok(Heard {
        answer: scan.answer,
        new_body: None,
        scan: Some(Scanned {
            action: scan.action,
            score: scan.score,
            required: scan.required,
            symbols: scan.symbols.join(","),
        }),
    })
}

/// Sends header and body, piece by piece.
async fn send(pieces: mpsc::Sender<Bytes>, header: Bytes, body: &Body) -> Result<(), Failure> {
    let mut next = header;
    let mut given = 0;
    // Whoever takes no more has answered, or is gone: that is for the answer to tell.
    while pieces.send(next).await.is_ok() && given < body.len() {
        next = body.piece(given).await?;
        given += next.len() as u64;
    }
    Ok(())
}

fn request(endpoint: &Endpoint, length: u64, message: &Message) -> Builder {
    let host = match endpoint.host.parse() {
        Ok(std::net::IpAddr::V6(address)) => format!("[{address}]:{}", endpoint.port),
        _ => format!("{}:{}", endpoint.host, endpoint.port),
    };
    let request = Request::post(PATH)
        .header("host", host)
        .header("content-length", length)
        .header("connection", "close");
    fields(message)
        .into_iter()
        .fold(request, |request, (name, value)| {
            request.header(name, value.as_bytes())
        })
}

fn broken(error: &hyper::Error) -> Failure {
    // hyper's own words tell nothing of the peer's.
    Failure::Connection(if error.is_incomplete_message() {
        "it hung up".to_owned()
    } else {
        error.to_string()
    })
}

struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
