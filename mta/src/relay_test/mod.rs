//! Tries to relay through ports, as strangers do: MAIL, RCPT and RSET, never DATA. The operator asks for it, with the published
//! addresses of its own listener as targets.
//!
//! ```text
//!   POST /v1/relay-test ─► each port at once ─► sessions of a few tricks each ([`tricks`]) ─► taken, refused, put off
//! ```
//!
//! All recipients are of a domain that cannot exist (RFC 2606 section 2), so that a server that takes them has nobody to bother.

mod dialogue;
pub mod tricks;

use std::sync::Arc;
use std::time::Duration;

use postroad_config::admin::{RelayTarget, RelayTest, RelayTested};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::deliver::tls::ClientTls;
use dialogue::{Dialogue, Reply};
use tricks::{Trick, tricks};

/// Tries every trick at every target. The whole ends in time, whatever a target does.
pub async fn run(test: &RelayTest) -> Vec<RelayTested> {
    let names: Vec<&str> = test
        .names
        .iter()
        .map(postroad_config::DomainName::as_str)
        .collect();
    let tricks = tricks(&names);
    let client = ClientTls::public().map(|client| client.any());
    let targets = test.targets.iter().map(async |target| {
        let mut tested = RelayTested {
            address: target.address,
            refused: 0,
            put_off: 0,
            taken: Vec::new(),
            error: None,
        };
        let ended = match &client {
            Ok(client) => tokio::time::timeout(WHOLE, all(target, client, &tricks, &mut tested)).await,
            Err(error) => Ok(Err(error.to_string())),
        };
        tested.error = match ended {
            Ok(ended) => ended.err(),
            Err(_) => Some(format!("not done within {} s", WHOLE.as_secs())),
        };
        tested
    });
    futures::future::join_all(targets).await
}

/// A few tricks in a session: after more errors than that, servers hang up.
async fn all(
    target: &RelayTarget,
    client: &Arc<ClientConfig>,
    tricks: &[Trick],
    tested: &mut RelayTested,
) -> Result<(), String> {
    for few in tricks.chunks(IN_A_SESSION) {
        let stream = connect(target).await?;
        if target.implicit_tls {
            let stream = secure(client, stream).await?;
            session(Dialogue::new(stream), Begin::Greeting, few, tested).await?;
            continue;
        }
        let mut dialogue = Dialogue::new(stream);
        expect(&dialogue.reply().await?, 220)?;
        let hello = dialogue.say(HELLO).await?;
        // Submission ports hear nothing else in the clear.
        if hello.has("STARTTLS") {
            expect(&dialogue.say("STARTTLS").await?, 220)?;
            let stream = secure(client, dialogue.into_stream()).await?;
            session(Dialogue::new(stream), Begin::Hello, few, tested).await?;
        } else {
            session(dialogue, Begin::Ready, few, tested).await?;
        }
    }
    Ok(())
}

/// How far a session is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Begin {
    Greeting,
    Hello,
    Ready,
}

async fn session<S: AsyncRead + AsyncWrite + Unpin>(
    mut dialogue: Dialogue<S>,
    begin: Begin,
    tricks: &[Trick],
    tested: &mut RelayTested,
) -> Result<(), String> {
    if begin == Begin::Greeting {
        expect(&dialogue.reply().await?, 220)?;
    }
    if begin != Begin::Ready {
        expect(&dialogue.say(HELLO).await?, 250)?;
    }
    for trick in tricks {
        let mail = dialogue.say(&format!("MAIL FROM:<{}>", trick.mail)).await?;
        let judged = if mail.is_positive() {
            dialogue.say(&format!("RCPT TO:<{}>", trick.rcpt)).await?
        } else {
            mail
        };
        if judged.is_positive() {
            tested.taken.push(trick.name.clone());
        } else if judged.code >= 500 {
            tested.refused += 1;
        } else {
            tested.put_off += 1;
        }
        expect(&dialogue.say("RSET").await?, 250)?;
    }
    // Whether it says goodbye makes no difference.
    let _ = dialogue.say("QUIT").await;
    Ok(())
}

fn expect(reply: &Reply, code: u16) -> Result<(), String> {
    if reply.code == code {
        Ok(())
    } else {
        Err(format!("it answered {} {}", reply.code, reply.text()))
    }
}

async fn connect(target: &RelayTarget) -> Result<TcpStream, String> {
    match tokio::time::timeout(CONNECT, TcpStream::connect(target.address)).await {
        Ok(Ok(stream)) => {
            stream.set_nodelay(true).map_err(|error| error.to_string())?;
            Ok(stream)
        }
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no connection within {} s", CONNECT.as_secs())),
    }
}

/// Any certificate will do: which one is shown is looked at elsewhere.
async fn secure(
    client: &Arc<ClientConfig>,
    stream: TcpStream,
) -> Result<tokio_rustls::client::TlsStream<TcpStream>, String> {
    let name = ServerName::try_from("relay-test.invalid").map_err(|error| error.to_string())?;
    let handshake = TlsConnector::from(Arc::clone(client)).connect(name, stream);
    match tokio::time::timeout(CONNECT, handshake).await {
        Ok(stream) => stream.map_err(|error| error.to_string()),
        Err(_) => Err(format!("no handshake within {} s", CONNECT.as_secs())),
    }
}

const HELLO: &str = "EHLO relay-test.invalid";
const IN_A_SESSION: usize = 6;
const CONNECT: Duration = Duration::from_secs(5);
/// Less than a verb of the admin API may take.
const WHOLE: Duration = Duration::from_secs(25);
