//! Watches that begin anew with a whole list after a while, whatever they have said so far.
//!
//! A watch that ends is resumed where it stood. So an event that a server lost without a word (a cache behind, a proxy in
//! between) would be lost for ever: nothing that comes later tells of it. What is kept of a watch is therefore renewed by a list.
//!
//! ```text
//!   list ─► events … ─► `every` is over ─► list ─► events …
//! ```

use std::fmt::Debug;
use std::pin::Pin;
use std::time::Duration;

use futures::stream::BoxStream;
use futures::{Stream, StreamExt, stream};
use kube::runtime::watcher::{self, Event};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use tokio::time::Sleep;

/// Events of a watch as [`kube::runtime::watcher()`] gives them, with a whole list each time that `every` is over.
pub fn watcher<K>(
    api: Api<K>,
    config: watcher::Config,
    every: Duration,
) -> impl Stream<Item = watcher::Result<Event<K>>> + Send
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    renewed(
        move || kube::runtime::watcher(api.clone(), config.clone()).boxed(),
        every,
    )
}

/// What a stream gives, which is made anew each time that `every` is over.
fn renewed<T: Send>(
    begin: impl Fn() -> BoxStream<'static, T> + Send,
    every: Duration,
) -> impl Stream<Item = T> + Send {
    let first: (BoxStream<'static, T>, Pin<Box<Sleep>>) = (begin(), Box::pin(tokio::time::sleep(every)));
    stream::unfold((first, begin), move |((mut events, mut end), begin)| async move {
        let event = tokio::select! {
            () = &mut end => None,
            event = events.next() => Some(event?),
        };
        let event = if let Some(event) = event {
            event
        } else {
            events = begin();
            end = Box::pin(tokio::time::sleep(every));
            events.next().await?
        };
        Some((event, ((events, end), begin)))
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_says_nothing_more_begins_anew_and_so_does_one_that_goes_on() {
        let every = Duration::from_mins(10);
        for pace in [None, Some(Duration::from_secs(7))] {
            let times = Arc::new(AtomicUsize::new(0));
            let count = times.clone();
            let begin = move || {
                let number = count.fetch_add(1, Ordering::SeqCst);
                let first = stream::once(std::future::ready(number));
                match pace {
                    None => first.chain(stream::pending()).boxed(),
                    Some(pace) => first
                        .chain(stream::unfold((), move |()| async move {
                            tokio::time::sleep(pace).await;
                            Some((number, ()))
                        }))
                        .boxed(),
                }
            };
            let hour = tokio::time::timeout(
                Duration::from_mins(59),
                renewed(begin, every).for_each(|_| async {}),
            );
            assert!(hour.await.is_err(), "{pace:?}: it ended");
            assert_eq!(times.load(Ordering::SeqCst), 6, "{pace:?}: once in ten minutes");
        }
    }

    #[tokio::test]
    async fn a_stream_that_ends_ends() {
        let all: Vec<u8> = renewed(|| stream::iter([1, 2]).boxed(), Duration::from_mins(10))
            .collect()
            .await;
        assert_eq!(all, [1, 2]);
    }
}
