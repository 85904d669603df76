//! A milter over a stream: the client of postroad-filter, driven.

use std::time::Duration;

use postroad_filter::Message;
use postroad_filter::milter::{Client, Event, Wait};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::{Body, Failure, Heard, NewBody};

/// Asks about one message. `reply`: how long one answer is waited for before the end of the message; the caller bounds the rest.
pub(super) async fn ask(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    reply: Duration,
    message: Message,
    body: &Body,
    new_body: NewBody,
) -> Result<Heard, Failure> {
    let heard = dialogue(&mut stream, reply, message, body, new_body).await;
    let last = if heard.is_ok() {
        Client::farewell()
    } else {
        Client::abort()
    };
    // Good manners, and nobody waits for an answer to them.
    let _ = timeout(LAST_WORD, stream.write_all(&last)).await;
    heard
}

async fn dialogue(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    reply: Duration,
    message: Message,
    body: &Body,
    mut new_body: NewBody,
) -> Result<Heard, Failure> {
    let mut client = Client::new(message);
    let mut given = 0;
    let mut room = vec![0; READ];
    loop {
        match client.poll()? {
            Event::Send(octets) => {
                let sent = timeout(reply, stream.write_all(&octets)).await;
                sent.map_err(|_| Failure::Slow("it does not read"))??;
            }
            Event::NeedInput(wait) => {
                let read = stream.read(&mut room);
                let read = match wait {
                    Wait::Reply => timeout(reply, read)
                        .await
                        .map_err(|_| Failure::Slow("its answer to a command"))?,
                    Wait::Verdict => read.await,
                };
                match read? {
                    0 => return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into()),
                    read => client.feed(&room[..read]),
                }
            }
            Event::NeedBody => {
                let piece = body.piece(given).await?;
                given += piece.len() as u64;
                client.give_body(&piece);
            }
            Event::Body(octets) => new_body.write(octets).await?,
            Event::Done {
                answer,
                new_body: wanted,
            } => {
                return Ok(Heard {
                    answer,
                    new_body: wanted.then(|| new_body.finish()).transpose()?,
                    scan: None,
                });
            }
        }
    }
}

const READ: usize = 16 << 10;
const LAST_WORD: Duration = Duration::from_millis(500);
