//! The body of a watch: JSON objects, one a line, each of which may be passed on, or lost to an end of the watch.

use std::time::Duration;

use futures::{Stream, StreamExt, stream};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Body, Bytes, Frame};

/// What happens to an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It is passed on after this time.
    Pass(Duration),
    /// It is left out.
    Skip,
    /// The watch says that it is too old, and ends.
    Gone,
}

const GONE: &str = r#"{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"too old resource version","reason":"Expired","code":410}}"#;

struct Reading<B, F> {
    body: B,
    decide: F,
    rest: Vec<u8>,
    ended: bool,
}

/// Nothing, while `holds`; then the watch is too old.
pub fn silent(holds: impl Fn() -> bool + Send + 'static) -> UnsyncBoxBody<Bytes, String> {
    let wait = async move {
        while holds() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok::<_, String>(Frame::data(Bytes::from(format!("{GONE}\n"))))
    };
    StreamBody::new(stream::once(wait)).boxed_unsync()
}

/// The lines of a body as `decide` has them.
pub fn lines<B>(body: B, decide: impl FnMut(&[u8]) -> Turn + Send + 'static) -> UnsyncBoxBody<Bytes, String>
where
    B: Body<Data = Bytes, Error: std::fmt::Display> + Send + Unpin + 'static,
{
    StreamBody::new(events(body, decide).map(|line| Ok::<_, String>(Frame::data(line)))).boxed_unsync()
}

fn events<B>(body: B, decide: impl FnMut(&[u8]) -> Turn + Send + 'static) -> impl Stream<Item = Bytes> + Send
where
    B: Body<Data = Bytes, Error: std::fmt::Display> + Send + Unpin + 'static,
{
    let reading = Reading {
        body,
        decide,
        rest: Vec::new(),
        ended: false,
    };
    stream::unfold(reading, |mut reading| async move {
        if reading.ended {
            return None;
        }
        loop {
            let line = next(&mut reading.rest, &mut reading.body).await?;
            match (reading.decide)(&line) {
                Turn::Skip => {}
                Turn::Pass(delay) => {
                    tokio::time::sleep(delay).await;
                    return Some((line, reading));
                }
                Turn::Gone => {
                    reading.ended = true;
                    return Some((Bytes::from(format!("{GONE}\n")), reading));
                }
            }
        }
    })
}

/// The next line with its end.
async fn next<B>(rest: &mut Vec<u8>, body: &mut B) -> Option<Bytes>
where
    B: Body<Data = Bytes, Error: std::fmt::Display> + Unpin,
{
    loop {
        if let Some(end) = rest.iter().position(|octet| *octet == b'\n') {
            return Some(Bytes::from(rest.drain(..=end).collect::<Vec<u8>>()));
        }
        let frame = body.frame().await?.ok()?;
        if let Ok(data) = frame.into_data() {
            rest.extend_from_slice(&data);
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::Full;

    use super::*;

    #[tokio::test]
    async fn events_pass_and_one_is_lost_to_the_end() {
        let mut turns = vec![Turn::Gone, Turn::Skip, Turn::Pass(Duration::ZERO)];
        let body = Full::new(Bytes::from("{1}\n{2}\n{3}\n{4}\n"));
        let heard: Vec<Bytes> = events(body, move |_| turns.pop().unwrap()).collect().await;
        assert_eq!(heard, [Bytes::from("{1}\n"), Bytes::from(format!("{GONE}\n"))]);
    }
}
