//! An authority on loopback that gives tokens as it is told: HTTP by hand, without the crate's own client.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a part of tests, of which each file uses its share"
)]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// A form that came in.
pub type Form = BTreeMap<String, String>;

/// Status, further header lines, and body, for a form that so many came before.
pub type Answer = Box<dyn Fn(&Form, usize) -> (u16, String, String) + Send + Sync>;

/// A running authority; ends with the test.
pub struct Authority {
    pub address: SocketAddr,
    forms: Arc<Mutex<Vec<Form>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Authority {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Authority {
    pub async fn start(answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let forms = Arc::new(Mutex::new(vec![]));
        let (answer, shared) = (Arc::new(answer), forms.clone());
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (answer, shared) = (answer.clone(), shared.clone());
                tokio::spawn(async move { serve(stream, &answer, &shared).await.unwrap_or_default() });
            }
        });
        Self { address, forms, task }
    }

    /// One that numbers its tokens: `token-0`, `token-1` and so on.
    pub async fn numbering(seconds: u32) -> Self {
        Self::start(Box::new(move |_, before| {
            let body = format!(
                r#"{{"access_token":"token-{before}","expires_in":{seconds},"token_type":"Bearer"}}"#
            );
            (200, String::new(), body)
        }))
        .await
    }

    pub fn url(&self) -> String {
        format!("http://{}/token", self.address)
    }

    pub fn forms(&self) -> Vec<Form> {
        self.forms.lock().unwrap().clone()
    }
}

async fn serve(stream: TcpStream, answer: &Answer, forms: &Mutex<Vec<Form>>) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    assert!(line.starts_with("POST /token HTTP/1.1"), "{line}");
    let mut length = 0;
    loop {
        line.clear();
        stream.read_line(&mut line).await?;
        let line = line.trim_end().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length: ") {
            length = value.parse().unwrap();
        }
        if let Some(value) = line.strip_prefix("content-type: ") {
            assert_eq!(value, "application/x-www-form-urlencoded");
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    let form = form(&String::from_utf8(body).unwrap());
    let before = {
        let mut forms = forms.lock().unwrap();
        forms.push(form.clone());
        forms.len() - 1
    };
    let (status, headers, body) = answer(&form, before);
    let reply = format!(
        "HTTP/1.1 {status} as told\r\n{headers}content-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(reply.as_bytes()).await?;
    stream.shutdown().await
}

fn form(body: &str) -> Form {
    body.split('&')
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap();
            (unescaped(name), unescaped(value))
        })
        .collect()
}

fn unescaped(text: &str) -> String {
    let mut octets = vec![];
    let mut rest = text.bytes();
    while let Some(octet) = rest.next() {
        octets.push(match octet {
            b'%' => {
                let digits = [rest.next().unwrap(), rest.next().unwrap()];
                u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
            }
            b'+' => b' ',
            other => other,
        });
    }
    String::from_utf8(octets).unwrap()
}
