//! Frames out of a body that arrives in pieces, with bounded memory and bounded patience.

use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Body;

use super::wire::{Frame, LONGEST_FRAME, WireError};

/// Why no frame came.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// Not what was agreed.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// The connection broke.
    #[error("the connection to the other pod broke: {0}")]
    Broken(String),
    /// Nothing came for too long.
    #[error("the other pod was silent for too long")]
    Silent,
}

/// Reads frames, and the octets between them.
pub(super) struct Frames<B> {
    body: B,
    buffer: BytesMut,
    patience: Duration,
}

impl<B> Frames<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    pub(super) fn new(body: B, patience: Duration) -> Self {
        Self {
            body,
            buffer: BytesMut::new(),
            patience,
        }
    }

    /// The next frame. Errors where the stream ends: END is always the last.
    pub(super) async fn next(&mut self) -> Result<Frame, StreamError> {
        self.fill(4).await?;
        let length = usize::try_from(self.buffer.get_u32_le()).unwrap_or(usize::MAX);
        if length > LONGEST_FRAME {
            return Err(WireError("a frame is too long").into());
        }
        self.fill(length).await?;
        Ok(Frame::decode(&self.buffer.split_to(length))?)
    }

    /// Up to `most` raw octets, at least one.
    pub(super) async fn octets(&mut self, most: u64) -> Result<Bytes, StreamError> {
        if self.buffer.is_empty() {
            self.fill(1).await?;
        }
        let count = self.buffer.len().min(usize::try_from(most).unwrap_or(usize::MAX));
        Ok(self.buffer.split_to(count).freeze())
    }

    async fn fill(&mut self, wanted: usize) -> Result<(), StreamError> {
        while self.buffer.len() < wanted {
            let piece = tokio::time::timeout(self.patience, self.body.frame());
            let piece = piece.await.map_err(|_| StreamError::Silent)?.ok_or(CUT)?;
            let piece = piece.map_err(|error| StreamError::Broken(error.to_string()))?;
            if let Ok(data) = piece.into_data() {
                self.buffer.extend_from_slice(&data);
            }
        }
        Ok(())
    }
}

const CUT: StreamError = StreamError::Wire(WireError("the stream ended before its end"));

#[cfg(test)]
mod tests {
    use http_body_util::Full;

    use super::*;

    #[tokio::test]
    async fn a_stream_that_is_cut_is_an_error_and_never_an_end() {
        let mut octets = Vec::new();
        Frame::End { accepting: true }.encode(&mut octets);
        for end in 0..octets.len() {
            let mut frames = Frames::new(
                Full::new(Bytes::copy_from_slice(&octets[..end])),
                Duration::from_secs(5),
            );
            assert!(frames.next().await.is_err(), "cut at {end}");
        }
        let mut frames = Frames::new(Full::new(Bytes::from(octets)), Duration::from_secs(5));
        assert_eq!(frames.next().await.unwrap(), Frame::End { accepting: true });
    }

    #[tokio::test]
    async fn a_frame_that_is_far_too_long_is_refused_before_it_is_read() {
        let octets = Bytes::from_static(&[0xff; 16]);
        let mut frames = Frames::new(Full::new(octets), Duration::from_secs(5));
        assert!(matches!(frames.next().await, Err(StreamError::Wire(_))));
    }
}
