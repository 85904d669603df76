//! Tells the other pods of routes that rest, and of those that are used again: at once, and what still holds again and again.

use futures::future::join_all;
use tokio::time::sleep;

use super::{Guard, now};
use crate::access::shared::Question;
use crate::deliver::lanes::News;

impl Guard {
    /// Runs until it is dropped.
    pub(super) async fn tell_routes(self) {
        let lanes = &self.0.metrics.lanes;
        let mut news = lanes.listen();
        loop {
            let mut resumed = Vec::new();
            tokio::select! {
                route = news.recv() => resumed.extend(route.flatten()),
                () = sleep(AGAIN) => {}
            }
            while let Ok(route) = news.try_recv() {
                resumed.extend(route);
            }
            let settings = self.0.live.current();
            let file = &settings.set.file;
            let told = News {
                generation: file.generation,
                resumed,
                rests: lanes.found(now()),
            };
            if told.is_empty() {
                continue;
            }
            let question = Question::Routes(told);
            let others = file.peers.fleet.iter().filter(|pod| !self.is_this(pod));
            // One that is away learns by itself, or hears of it later.
            join_all(others.map(|pod| self.0.others.ask(pod, &question))).await;
        }
    }

    /// Another pod tells this. One whose configuration is another is told again when both have the same.
    pub(super) fn hear_of_routes(&self, told: News) {
        if told.generation == self.0.live.current().set.file.generation {
            self.0.metrics.lanes.adopt(told, now());
        }
    }
}

/// What still holds is told again after so long.
const AGAIN: std::time::Duration = std::time::Duration::from_secs(10);
