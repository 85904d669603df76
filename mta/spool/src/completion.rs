//! What a caller waits on until a record is durable: a future with a blocking twin.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::sync::oneshot;

use crate::errors::CommitError;

/// Ready when the record is on disk (or could not be put there).
///
/// A future of any runtime; [`Completion::wait`] blocks a thread instead. Dropping it does not undo anything.
#[derive(Debug)]
#[must_use = "the outcome is known only when this is awaited"]
pub struct Completion<T, E = CommitError> {
    inner: Inner<T, E>,
}

#[derive(Debug)]
enum Inner<T, E> {
    Known(Option<Result<T, E>>),
    Waiting(oneshot::Receiver<Result<T, E>>),
}

impl<T, E> Unpin for Completion<T, E> {}

impl<T, E: From<CommitError>> Completion<T, E> {
    pub(crate) fn known(outcome: Result<T, E>) -> Self {
        Self {
            inner: Inner::Known(Some(outcome)),
        }
    }

    pub(crate) fn channel() -> (oneshot::Sender<Result<T, E>>, Self) {
        let (sender, receiver) = oneshot::channel();
        (
            sender,
            Self {
                inner: Inner::Waiting(receiver),
            },
        )
    }

    /// Blocks the thread until the outcome is known. Not for use on a thread of an async runtime.
    pub fn wait(self) -> Result<T, E> {
        match self.inner {
            Inner::Known(outcome) => outcome.unwrap_or_else(|| Err(CommitError::Closed.into())),
            Inner::Waiting(receiver) => receiver
                .blocking_recv()
                .unwrap_or_else(|_| Err(CommitError::Closed.into())),
        }
    }
}

impl<T, E: From<CommitError>> Future for Completion<T, E> {
    type Output = Result<T, E>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.inner {
            Inner::Known(outcome) => {
                Poll::Ready(outcome.take().unwrap_or_else(|| Err(CommitError::Closed.into())))
            }
            Inner::Waiting(receiver) => Pin::new(receiver)
                .poll(context)
                .map(|received| received.unwrap_or_else(|_| Err(CommitError::Closed.into()))),
        }
    }
}
