//! A host that gives MTA-STS policies over HTTPS, or whatever it is told to give instead, and takes what is posted. Written by hand, so that a mistake of
//! an HTTP crate is not made on both sides.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "a part of tests, of which each file uses its share"
)]

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// What it gives.
#[derive(Clone, Debug)]
pub struct Answer {
    status: String,
    kind: String,
    body: String,
}

impl Answer {
    pub fn policy(text: &str) -> Self {
        Self {
            status: "200 OK".into(),
            kind: "text/plain; charset=utf-8".into(),
            body: text.into(),
        }
    }

    pub fn status(status: &str) -> Self {
        Self {
            status: status.into(),
            ..Self::policy("no\n")
        }
    }

    /// To a place where there is a good one.
    pub fn redirect() -> Self {
        Self {
            status: "301 Moved\r\nLocation: https://mta-sts.to.example/elsewhere".into(),
            ..Self::policy("")
        }
    }

    #[must_use]
    pub fn of_type(self, kind: &str) -> Self {
        Self {
            kind: kind.into(),
            ..self
        }
    }
}

/// A running host; ends with the test.
pub struct PolicyHost {
    pub address: SocketAddr,
    answer: Arc<Mutex<Answer>>,
    asked: Arc<Mutex<Vec<String>>>,
    bodies: Arc<Mutex<Vec<Body>>>,
    task: tokio::task::JoinHandle<()>,
}

/// Media type of something that was posted, and the octets.
pub type Body = (String, Vec<u8>);

impl Drop for PolicyHost {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl PolicyHost {
    pub async fn start(tls: TlsAcceptor, answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let answer = Arc::new(Mutex::new(answer));
        let (asked, bodies) = (Arc::new(Mutex::new(vec![])), Arc::default());
        let (given, seen) = (answer.clone(), (asked.clone(), Arc::clone(&bodies)));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (tls, given, seen) = (tls.clone(), given.clone(), seen.clone());
                // A client that goes away is part of the play.
                tokio::spawn(async move { drop(serve(stream, tls, &given, &seen).await) });
            }
        });
        Self {
            address,
            answer,
            asked,
            bodies,
            task,
        }
    }

    /// Gives something else from now on.
    pub fn answers(&self, answer: Answer) {
        *self.answer.lock().unwrap() = answer;
    }

    /// All that was posted so far.
    pub fn bodies(&self) -> Vec<Body> {
        self.bodies.lock().unwrap().clone()
    }

    /// Method, host and path of all requests so far.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

/// What was asked for, and what was posted.
type Heard = (Arc<Mutex<Vec<String>>>, Arc<Mutex<Vec<Body>>>);

async fn serve(
    stream: TcpStream,
    tls: TlsAcceptor,
    answer: &Mutex<Answer>,
    (asked, bodies): &Heard,
) -> std::io::Result<()> {
    let mut stream = BufReader::new(tls.accept(stream).await?);
    let (mut first, mut host) = (String::new(), String::new());
    let (mut posted, mut length) = (String::new(), 0);
    stream.read_line(&mut first).await?;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 || line == "\r\n" {
            break;
        }
        let line = line.to_ascii_lowercase();
        let (name, value) = line.split_once(':').unwrap_or_default();
        match name {
            "host" => value.trim().clone_into(&mut host),
            "content-type" => value.trim().clone_into(&mut posted),
            "content-length" => length = value.trim().parse().unwrap(),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    if length > 0 {
        bodies.lock().unwrap().push((posted, body));
    }
    let words: Vec<&str> = first.split(' ').collect();
    asked
        .lock()
        .unwrap()
        .push(format!("{} {host} {}", words[0], words[1]));
    let Answer { status, kind, body } = answer.lock().unwrap().clone();
    let reply = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(reply.as_bytes()).await?;
    stream.shutdown().await
}
