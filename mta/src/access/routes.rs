//! Tells the other pods of routes that rest, and of those that are used again: at once, and what still holds again and again. Asks
//! for turns at routes that fewer pods may use at once than there are.

use futures::future::{BoxFuture, FutureExt, join_all};
use postroad_spool::EntryId;
use tokio::time::sleep;

use super::greylist::Key;
use super::shared::Question;
use super::turns::TURN;
use super::{Guard, locked, now};
use crate::deliver::Turns;
use crate::deliver::lanes::News;

impl Guard {
    /// Runs until it is dropped.
    pub(super) async fn tell_routes(self) {
        let lanes = &self.0.metrics.lanes;
        let mut news = lanes.listen();
        loop {
            let mut resumed = Vec::new();
            tokio::select! {
                route = news.recv() => match route {
                    Some(route) => resumed.extend(route),
                    None => return,
                },
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

impl Turns for Guard {
    fn wait_for<'a>(&'a self, route: &'a str, most: u32) -> BoxFuture<'a, Option<u64>> {
        self.ask_for_turn(route, most).boxed()
    }

    fn moves(&self, route: &str, most: u32, entry: EntryId) -> bool {
        self.is_to_move(route, most, entry)
    }
}

impl Guard {
    /// `None`: this pod may begin. Otherwise for how long it waits, in milliseconds.
    async fn ask_for_turn(&self, route: &str, most: u32) -> Option<u64> {
        let settings = self.0.live.current();
        let fleet = &settings.set.file.peers.fleet;
        let ourselves = fleet.iter().find(|pod| self.is_this(pod))?;
        let has_turn = locked(&self.0.own_turns)
            .get(route)
            .is_some_and(|until| *until > now());
        if fleet.len() <= usize::try_from(most).unwrap_or(usize::MAX) || has_turn {
            return None;
        }
        let question = Question::Turn {
            route: route.to_owned(),
            most,
            pod: ourselves.name.clone(),
        };
        // Asked before the answer is waited for: the owner's turn is never the shorter one.
        let until = now().saturating_add(TURN);
        let said = self.of_owner(Key::of(&["route", route]), question).await;
        if said.wait > 0 {
            return Some(said.wait.saturating_mul(1_000));
        }
        let mut own = locked(&self.0.own_turns);
        own.retain(|_, until| *until > now());
        own.insert(route.to_owned(), until);
        None
    }

    /// Another pod, or this one, wants a turn. Seconds to wait; 0 = it has one.
    pub(super) fn give_turn(&self, route: &str, pod: &str, most: u32) -> u64 {
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let given = locked(&self.0.turns).ask(route, pod, most, now());
        given.err().map_or(0, |wait| wait.div_ceil(1_000))
    }
}

/// What still holds is told again after so long.
const AGAIN: std::time::Duration = std::time::Duration::from_secs(10);
