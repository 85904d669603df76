//! What the outcomes of an attempt mean for the entry: new states of its recipients, and the notices that are due.
//!
//! Pure: no IO, no clock.
//!
//! ```text
//!   delivered ─► record ─► notice if SUCCESS was asked for and the next hop does not report ─► record that it was told
//!   deferred ──► record with the next time ─► notice of delay, once, after `queue.delayNotice`, and once when the
//!                sender's time is over (RFC 2852) ─► record that it was told
//!   failed ────► notice first, then record
//! ```
//!
//! So a crash in between repeats a notice, it never loses one.

use postroad_config::QueueSection;
use postroad_spool::{ByMode, Item, Notify, RecipientState, RecipientUpdate, Status as State};

use super::clock;
use super::owed::{is_expansion_owed, owing, owing_expansion};
use super::retry::{Age, Next, Schedule};
use crate::dsn::{self, compose::Action};
use crate::outcome::{Outcome, Status, Verdict};

/// What is to be done, in this order: `first`, the notices, and for each of these what is recorded after it.
#[derive(Debug, Default)]
pub struct Settled {
    /// States that are recorded at once.
    pub first: Vec<RecipientUpdate>,
    /// Notices that are due.
    pub notices: Vec<Due>,
    /// States that are recorded when notices of failure are committed.
    pub after_failures: Vec<RecipientUpdate>,
    /// The same of delays.
    pub after_delays: Vec<RecipientUpdate>,
    /// The same of successes; until then they are owed (`owed.rs`).
    pub after_successes: Vec<RecipientUpdate>,
    /// The same of expanded aliases: until then the verdict of a recipient is owed, and one that is to be tried again was not
    /// tried before.
    pub after_expansions: Vec<RecipientUpdate>,
    /// Recipients that expired with this outcome.
    pub expired: Vec<u32>,
    /// Recipients that stay pending, and when the earliest is due.
    pub pending: Vec<u32>,
    /// When the earliest of them is due.
    pub next: Option<u64>,
}

impl Settled {
    /// Those of these recipients who wait are shown with what is wrong with their other routes.
    pub fn tell_besides(&mut self, recipients: &[u32], why: &str) {
        let lists = [
            &mut self.first,
            &mut self.after_delays,
            &mut self.after_expansions,
        ];
        for update in lists.into_iter().flatten() {
            if update.state.status == State::Pending && recipients.contains(&update.index) {
                update.state.reply = format!("{}; other routes: {why}", update.state.reply);
            }
        }
    }

    /// Whether the expansion of this recipient's alias is due to be told.
    pub fn is_expanded(&self, index: u32) -> bool {
        let mut expansions = self.notices.iter().filter(|due| due.action == Action::Expanded);
        expansions.any(|due| due.recipients.iter().any(|(of, _)| *of == index))
    }
}

/// A notice that is due to the sender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// What became of the recipients.
    pub action: Action,
    /// Each with its status.
    pub recipients: Vec<(u32, Status)>,
}

/// How long a message is tried that was on hold for so long. What was accepted under another lifetime has today's, as with
/// Postfix: who shortens it wants the queue emptied, who lengthens it wants mail kept.
pub fn age(item: &Item, queue: &QueueSection, held: u64) -> Age {
    let null_sender = item.envelope.reverse_path.is_empty();
    let lifetime = if null_sender {
        queue.null_sender_lifetime
    } else {
        queue.lifetime
    };
    let arrived = item.envelope.arrived;
    Age {
        held,
        arrived,
        expires: arrived.saturating_add(clock::milliseconds(lifetime)),
        null_sender,
        by: item.envelope.deliver_by,
    }
}

/// What is to be known of the attempt besides its outcomes.
#[derive(Clone, Copy, Debug)]
pub struct Attempt {
    /// A server was tried; false when waiting for a dead one was merely interrupted.
    pub made: bool,
    /// The next hop is a mail store (LMTP), so a success is a delivery, not a relay.
    pub final_store: bool,
    /// It was submitted here: somebody here can mend what a smart host has against its sender. Mail of strangers that is passed on
    /// comes back in the end.
    pub submitted: bool,
    /// The sender is told of a delay when the message is as old as this, in milliseconds.
    pub delay_notice: u64,
    /// Its end.
    pub now: u64,
    /// Random.
    pub draw: u64,
}

/// Decides.
pub fn settle(item: &Item, outcomes: &[(u32, Outcome)], schedule: &Schedule, attempt: Attempt) -> Settled {
    let now = attempt.now;
    let mut settled = Settled::default();
    let mut due = Notices::new(item, attempt.final_store);
    for (index, outcome) in outcomes {
        let Some(before) = usize::try_from(*index)
            .ok()
            .and_then(|at| item.recipients.get(at))
        else {
            continue;
        };
        let is_first = before.attempts == 0 || is_expansion_owed(before);
        let is_expanded = is_first && dsn::expansion::leads(&item.envelope, *index) && due.expanded(*index);
        let mut state = RecipientState {
            attempts: before.attempts.saturating_add(u32::from(attempt.made)),
            reply: kept(outcome, attempt),
            ..before.clone()
        };
        match outcome.verdict {
            Verdict::Delivered => {
                state.status = State::Delivered;
                let update = RecipientUpdate { index: *index, state };
                if due.success(*index, outcome) {
                    settled.first.push(owing(&update));
                    settled.after_successes.push(update);
                } else if is_expanded {
                    settled.first.push(owing_expansion(&update));
                    settled.after_expansions.push(update);
                } else {
                    settled.first.push(update);
                }
            }
            Verdict::Failed => {
                state.status = State::Failed;
                due.failure(*index, outcome.status);
                settled
                    .after_failures
                    .push(RecipientUpdate { index: *index, state });
            }
            Verdict::Deferred => match next(schedule, outcome, state.attempts, attempt) {
                Next::GiveUp => {
                    state.status = State::Expired;
                    let late = schedule.is_late(now);
                    due.failure(*index, if late { TIME_IS_OVER } else { DELIVERY_TIME_EXPIRED });
                    settled.expired.push(*index);
                    settled
                        .after_failures
                        .push(RecipientUpdate { index: *index, state });
                }
                Next::At(at) => {
                    state.next_attempt = at;
                    let untold = state.clone();
                    let is_told = if !before.by_notified && notify_at(item).is_some_and(|at| now >= at) {
                        // It says all that the usual one would say.
                        (state.by_notified, state.delay_notified) = (true, true);
                        due.delay(*index, DELIVERY_TIME_EXPIRED)
                    } else if !before.delay_notified && now >= late_at(item, attempt.delay_notice) {
                        state.delay_notified = true;
                        due.delay(*index, outcome.status)
                    } else {
                        false
                    };
                    settled.pending.push(*index);
                    settled.next = Some(settled.next.map_or(at, |next| next.min(at)));
                    let update = |state| RecipientUpdate { index: *index, state };
                    if is_expanded {
                        settled.first.push(update(RecipientState {
                            attempts: 0,
                            ..untold.clone()
                        }));
                        settled.after_expansions.push(update(untold));
                    } else if is_told {
                        settled.first.push(update(untold));
                    } else {
                        settled.first.push(update(state));
                        continue;
                    }
                    if is_told {
                        settled.after_delays.push(update(state));
                    }
                }
            },
        }
    }
    settled.notices = due.list;
    settled
}

/// Its sender, or where it goes, is refused by how a smart host is set up, and it is ours.
fn is_held_now(outcome: &Outcome, attempt: Attempt) -> bool {
    attempt.submitted && outcome.is_refused_by_setup()
}

/// What the spool keeps of it, and that no lifetime ends it.
fn kept(outcome: &Outcome, attempt: Attempt) -> String {
    if is_held_now(outcome, attempt) {
        format!("{ON_HOLD}{}", outcome.kept())
    } else {
        outcome.kept()
    }
}

/// Whether the last attempt left a recipient on hold for its sender, or for where it goes: then no lifetime ends it, and its next
/// attempt is when its schedule says.
pub fn is_held(state: &RecipientState) -> bool {
    state.reply.starts_with(ON_HOLD)
}

/// In front of what was said. All else that is kept begins with a status, so that nobody else can say it.
const ON_HOLD: &str = "on hold: ";

fn next(schedule: &Schedule, outcome: &Outcome, attempts: u32, attempt: Attempt) -> Next {
    let Attempt { now, draw, .. } = attempt;
    if outcome.is_on_hold() || is_held_now(outcome, attempt) {
        schedule.next_on_hold(attempts, now, draw)
    } else {
        schedule.next(attempts, now, draw)
    }
}

/// When waiting for a dead site has to be interrupted for one of these recipients. What was due up to `told` is done.
pub fn patience(item: &Item, recipients: &[u32], schedule: &Schedule, delay_notice: u64, told: u64) -> u64 {
    let any = |waits: fn(&RecipientState) -> bool| {
        recipients.iter().any(|index| {
            let at = usize::try_from(*index).ok();
            at.and_then(|at| item.recipients.get(at)).is_some_and(waits)
        })
    };
    let delay = any(|state| !state.delay_notified).then(|| late_at(item, delay_notice));
    let by = notify_at(item).filter(|_| any(|state| !state.by_notified));
    let due = delay.into_iter().chain(by).filter(|at| *at > told);
    due.chain([schedule.expires()]).min().unwrap_or(u64::MAX)
}

/// When the sender is told that the time that it gave is over (RFC 2852 section 4.1.3). Where it was over when the message
/// came, a server before this one has told it.
fn notify_at(item: &Item) -> Option<u64> {
    let by = item.envelope.deliver_by?;
    (by.mode == ByMode::Notify && by.deadline > item.envelope.arrived).then_some(by.deadline)
}

/// When the sender is told that the mail is late.
pub fn late_at(item: &Item, delay_notice: u64) -> u64 {
    item.envelope.arrived.saturating_add(delay_notice)
}

/// Collects notices; knows who wants none.
struct Notices<'a> {
    item: &'a Item,
    final_store: bool,
    list: Vec<Due>,
}

impl<'a> Notices<'a> {
    fn new(item: &'a Item, final_store: bool) -> Self {
        Self {
            item,
            final_store,
            list: vec![],
        }
    }

    /// True: it is due.
    fn success(&mut self, index: u32, outcome: &Outcome) -> bool {
        let action = if self.final_store {
            Action::Delivered
        } else {
            Action::Relayed
        };
        let notify = self.notify(index);
        let asked = notify.contains(Notify::SUCCESS) && !outcome.reported_by_hop;
        let by_time = notify != Notify::NEVER && self.is_relay_told(outcome);
        let told = dsn::expansion::is_part(&self.item.envelope, index);
        (asked || by_time) && !told && self.add(action, index, outcome.status)
    }

    /// Whether a sender that gave a time hears of this relay (RFC 2852 section 4.1.4): where it asked for a trace, and where
    /// the time was not passed on, as nobody will tell it when that is over.
    fn is_relay_told(&self, outcome: &Outcome) -> bool {
        match (self.item.envelope.deliver_by, outcome.time_passed_on) {
            (Some(by), Some(passed_on)) => by.trace || !passed_on,
            _ => false,
        }
    }

    /// RFC 3461 section 5.2.7.3: the alias itself is the success; who stands behind it is not reported.
    /// True: it is due.
    fn expanded(&mut self, index: u32) -> bool {
        self.notify(index).contains(Notify::SUCCESS) && self.add(Action::Expanded, index, EXPANDED)
    }

    fn failure(&mut self, index: u32, status: Status) {
        let notify = self.notify(index);
        if notify == Notify::UNSET || notify.contains(Notify::FAILURE) {
            self.add(Action::Failed, index, status);
        }
    }

    /// Without NOTIFY a notice of delay may be sent (RFC 3461 section 4.1). True: it is due.
    fn delay(&mut self, index: u32, status: Status) -> bool {
        let notify = self.notify(index);
        let is_wanted = notify == Notify::UNSET || notify.contains(Notify::DELAY);
        is_wanted && self.add(Action::Delayed, index, status)
    }

    fn notify(&self, index: u32) -> Notify {
        let recipient = usize::try_from(index)
            .ok()
            .and_then(|at| self.item.envelope.recipients.get(at));
        recipient.map_or(Notify::NEVER, |recipient| recipient.notify)
    }

    /// False: there is nobody to be told.
    fn add(&mut self, action: Action, index: u32, status: Status) -> bool {
        // RFC 5321 section 6.1: nothing is ever sent in answer to a null reverse-path.
        if self.item.envelope.reverse_path.is_empty() {
            return false;
        }
        match self.list.iter_mut().find(|due| due.action == action) {
            Some(due) => due.recipients.push((index, status)),
            None => self.list.push(Due {
                action,
                recipients: vec![(index, status)],
            }),
        }
        true
    }
}

/// RFC 3463 section 3.5; class 4, as the obstacle itself was transient.
const DELIVERY_TIME_EXPIRED: Status = Status::new(4, 4, 7);

/// RFC 2852 section 4.1.3: it would not be delivered later either.
const TIME_IS_OVER: Status = Status::new(5, 4, 7);

/// RFC 3463 section 3.2: the address is valid.
const EXPANDED: Status = Status::new(2, 1, 5);

#[cfg(test)]
mod tests {
    use super::super::owed::{is_owed, verdict};
    use super::*;
    use postroad_config::Retry;
    use postroad_spool::{DeliverBy, Envelope, Recipient};

    const HOUR: u64 = 3_600_000;

    fn item(reverse_path: &str, notify: &[Notify]) -> Item {
        let recipients = notify.iter().map(|notify| Recipient {
            notify: *notify,
            ..Recipient::default()
        });
        Item {
            envelope: Envelope {
                reverse_path: reverse_path.into(),
                recipients: recipients.collect(),
                expires: 120 * HOUR,
                ..Envelope::default()
            },
            recipients: vec![RecipientState::default(); notify.len()],
            prefix: vec![],
        }
    }

    fn run(item: &Item, verdicts: &[Verdict], now: u64) -> Settled {
        let outcomes: Vec<_> = (0..)
            .zip(verdicts)
            .map(|(index, verdict)| (index, Outcome::ours(*verdict, Status::new(4, 0, 0), "r")))
            .collect();
        let schedule = Schedule::new(&Retry::default(), age(item, &QueueSection::default(), 0));
        settle(item, &outcomes, &schedule, attempt(true, now))
    }

    fn attempt(final_store: bool, now: u64) -> Attempt {
        Attempt {
            made: true,
            final_store,
            submitted: true,
            delay_notice: 4 * HOUR,
            now,
            draw: 0,
        }
    }

    fn actions(settled: &Settled) -> Vec<Action> {
        settled.notices.iter().map(|due| due.action).collect()
    }

    #[test]
    fn notices_follow_notify() {
        use Verdict::{Deferred, Delivered, Failed};
        let with = Notify::SUCCESS.with(Notify::DELAY);
        for (notify, verdict, now, want) in [
            (Notify::UNSET, Failed, 0, Some(Action::Failed)),
            (Notify::FAILURE, Failed, 0, Some(Action::Failed)),
            (Notify::NEVER, Failed, 0, None),
            (Notify::SUCCESS, Failed, 0, None),
            (Notify::UNSET, Delivered, 0, None),
            (Notify::SUCCESS, Delivered, 0, Some(Action::Delivered)),
            (Notify::UNSET, Deferred, 3 * HOUR, None),
            (Notify::UNSET, Deferred, 4 * HOUR, Some(Action::Delayed)),
            (with, Deferred, 4 * HOUR, Some(Action::Delayed)),
            (Notify::FAILURE, Deferred, 4 * HOUR, None),
            (Notify::NEVER, Deferred, 120 * HOUR, None),
            (Notify::UNSET, Deferred, 120 * HOUR, Some(Action::Failed)),
        ] {
            let settled = run(&item("a@b.example", &[notify]), &[verdict], now);
            assert_eq!(
                actions(&settled),
                Vec::from_iter(want),
                "{notify:?} {verdict:?} {now}"
            );
            assert!(
                actions(&run(&item("", &[notify]), &[verdict], now)).is_empty(),
                "null sender"
            );
        }
    }

    #[test]
    fn what_is_on_hold_does_not_expire_and_its_sender_is_told_of_the_delay() {
        use postroad_config::provider::Kind;
        let item = item("a@b.example", &[Notify::UNSET]);
        let schedule = Schedule::new(&Retry::default(), age(&item, &QueueSection::default(), 0));
        for (reaction, submitted, want) in [
            (Kind::Configuration, false, Action::Delayed),
            (Kind::Quota, false, Action::Delayed),
            (Kind::Throttle, true, Action::Failed),
            (Kind::Sender, true, Action::Delayed),
            // Of a stranger: nobody here can have it verified.
            (Kind::Sender, false, Action::Failed),
        ] {
            let outcomes = [(0, Outcome::resting(reaction, "r"))];
            let attempt = Attempt {
                submitted,
                ..attempt(true, 121 * HOUR)
            };
            let settled = settle(&item, &outcomes, &schedule, attempt);
            assert_eq!(actions(&settled), [want], "{reaction:?}");
            assert_eq!(settled.next.is_some(), want == Action::Delayed, "{reaction:?}");
            let is_marked = settled.first.iter().any(|update| is_held(&update.state));
            assert_eq!(is_marked, reaction == Kind::Sender && submitted, "{reaction:?}");
        }
    }

    #[test]
    fn the_notice_of_delay_is_sent_once() {
        let mut item = item("a@b.example", &[Notify::UNSET]);
        let settled = run(&item, &[Verdict::Deferred], 5 * HOUR);
        assert_eq!(actions(&settled), [Action::Delayed]);
        // Where the notice could not be queued it is due again, as after a crash.
        let mut untold = item.clone();
        untold.recipients[0] = settled.first[0].state.clone();
        let again = run(&untold, &[Verdict::Deferred], 6 * HOUR);
        assert_eq!(actions(&again), [Action::Delayed]);
        item.recipients[0] = settled.after_delays[0].state.clone();
        assert!(actions(&run(&item, &[Verdict::Deferred], 6 * HOUR)).is_empty());
        item.recipients[0] = RecipientState::default();
        item.envelope.recipients[0].notify = Notify::NEVER;
        let settled = run(&item, &[Verdict::Deferred], 5 * HOUR);
        assert!(settled.after_delays.is_empty() && settled.first[0].state.delay_notified);
    }

    #[test]
    fn a_success_that_is_to_be_told_is_owed_until_it_is() {
        let mut item = item("a@b.example", &[Notify::SUCCESS, Notify::UNSET]);
        let outcome = Outcome::ours(Verdict::Delivered, Status::new(2, 1, 5), "r");
        let schedule = Schedule::new(&Retry::default(), age(&item, &QueueSection::default(), 0));
        let outcomes = [(0, outcome.clone()), (1, outcome)];
        let settled = settle(&item, &outcomes, &schedule, attempt(true, HOUR));
        assert_eq!(actions(&settled), [Action::Delivered]);
        let [told, other] = settled.first.as_slice() else {
            panic!("two states");
        };
        assert!(is_owed(&told.state) && other.state.status == State::Delivered);
        assert_eq!(settled.after_successes[0].state.status, State::Delivered);
        // What is kept is enough for the notice.
        item.recipients[0] = told.state.clone();
        let outcome = verdict(&told.state);
        let again = settle(&item, &[(0, outcome)], &schedule, attempt(true, HOUR));
        assert_eq!(again.notices, settled.notices);
        assert_eq!(again.after_successes[0].state.reply, told.state.reply);
    }

    #[test]
    fn one_attempt_may_end_in_three_ways() {
        let item = item("a@b.example", &[Notify::UNSET; 3]);
        let settled = run(
            &item,
            &[Verdict::Delivered, Verdict::Failed, Verdict::Deferred],
            1_000,
        );
        assert_eq!(
            settled.first.iter().map(|one| one.index).collect::<Vec<_>>(),
            [0, 2]
        );
        assert_eq!(
            settled
                .after_failures
                .iter()
                .map(|one| one.index)
                .collect::<Vec<_>>(),
            [1]
        );
        assert_eq!((settled.pending, settled.next), (vec![2], Some(1_000 + 270_000)));
    }

    #[test]
    fn an_alias_of_several_is_reported_as_expanded_once_and_never_as_delivered() {
        let asked = Notify::SUCCESS.with(Notify::FAILURE);
        let mut item = item("a@b.example", &[asked; 3]);
        for recipient in &mut item.envelope.recipients[..2] {
            recipient.original = Some("team@b.example".into());
        }
        let settled = run(
            &item,
            &[Verdict::Deferred, Verdict::Delivered, Verdict::Delivered],
            0,
        );
        let notices: Vec<_> = settled
            .notices
            .iter()
            .map(|due| {
                (
                    due.action,
                    due.recipients.iter().map(|(index, _)| *index).collect::<Vec<_>>(),
                )
            })
            .collect();
        assert_eq!(
            notices,
            [(Action::Expanded, vec![0]), (Action::Delivered, vec![2])]
        );
        // As long as that is not told it is due again; then never more.
        for update in settled.first {
            item.recipients[update.index as usize] = update.state;
        }
        let again = run(&item, &[Verdict::Delivered], 1);
        assert_eq!(actions(&again), [Action::Expanded]);
        assert!(is_expansion_owed(&again.first[0].state));
        assert_eq!(again.after_expansions[0].state.status, State::Delivered);
        item.recipients[0] = again.first[0].state.clone();
        let owed = run(&item, &[Verdict::Delivered], 2);
        assert_eq!(actions(&owed), [Action::Expanded]);
        assert!(is_expansion_owed(&owed.first[0].state));
        for update in settled.after_expansions {
            assert_eq!(update.state.attempts, 1);
            item.recipients[update.index as usize] = update.state;
        }
        assert!(actions(&run(&item, &[Verdict::Delivered], 3)).is_empty());
    }

    fn with_time(mode: ByMode, trace: bool, notify: Notify) -> Item {
        let mut item = item("a@b.example", &[notify]);
        item.envelope.deliver_by = Some(DeliverBy {
            deadline: HOUR,
            mode,
            trace,
        });
        item
    }

    #[test]
    fn when_the_time_is_over_the_message_comes_back_or_its_sender_is_told_once() {
        let back = with_time(ByMode::Return, false, Notify::UNSET);
        assert!(actions(&run(&back, &[Verdict::Deferred], HOUR - 1)).is_empty());
        let settled = run(&back, &[Verdict::Deferred], HOUR);
        assert_eq!(settled.notices[0].action, Action::Failed);
        assert_eq!(settled.notices[0].recipients, [(0, Status::new(5, 4, 7))]);
        assert_eq!(settled.expired, [0]);

        let mut told = with_time(ByMode::Notify, false, Notify::UNSET);
        let settled = run(&told, &[Verdict::Deferred], HOUR);
        assert_eq!(settled.notices[0].action, Action::Delayed);
        assert_eq!(settled.notices[0].recipients, [(0, Status::new(4, 4, 7))]);
        told.recipients[0] = settled.after_delays[0].state.clone();
        assert!(actions(&run(&told, &[Verdict::Deferred], 5 * HOUR)).is_empty());
        // Over before it came: who had it before has told.
        told.recipients[0] = RecipientState::default();
        told.envelope.arrived = HOUR;
        assert!(actions(&run(&told, &[Verdict::Deferred], HOUR)).is_empty());
        for (notify, want) in [
            (Notify::NEVER, vec![]),
            (Notify::FAILURE, vec![]),
            (Notify::DELAY, vec![Action::Delayed]),
        ] {
            let item = with_time(ByMode::Notify, false, notify);
            assert_eq!(
                actions(&run(&item, &[Verdict::Deferred], HOUR)),
                want,
                "{notify:?}"
            );
        }
    }

    #[test]
    fn a_relay_is_told_where_it_is_traced_or_the_time_ends_there() {
        for (trace, passed_on, reported, notify, told) in [
            (false, Some(true), false, Notify::UNSET, false),
            (true, Some(true), false, Notify::UNSET, true),
            (false, Some(false), true, Notify::FAILURE, true),
            (false, Some(false), true, Notify::NEVER, false),
            (true, Some(true), true, Notify::SUCCESS, true),
            (true, None, true, Notify::UNSET, false),
        ] {
            let item = with_time(ByMode::Notify, trace, notify);
            let mut outcome = Outcome::ours(Verdict::Delivered, Status::new(2, 0, 0), "");
            (outcome.reported_by_hop, outcome.time_passed_on) = (reported, passed_on);
            let schedule = Schedule::new(&Retry::default(), age(&item, &QueueSection::default(), 0));
            let settled = settle(&item, &[(0, outcome)], &schedule, attempt(false, 0));
            let want: Vec<_> = told.then_some(Action::Relayed).into_iter().collect();
            assert_eq!(actions(&settled), want, "{trace} {passed_on:?} {notify:?}");
        }
    }

    #[test]
    fn waiting_ends_when_the_time_of_the_sender_does() {
        for mode in [ByMode::Return, ByMode::Notify] {
            let item = with_time(mode, false, Notify::UNSET);
            let schedule = Schedule::new(&Retry::default(), age(&item, &QueueSection::default(), 0));
            assert_eq!(patience(&item, &[0], &schedule, 4 * HOUR, 0), HOUR, "{mode:?}");
        }
    }

    #[test]
    fn a_dead_site_is_waited_for_until_the_sender_has_to_be_told() {
        let mut item = item("a@b.example", &[Notify::UNSET]);
        let schedule = Schedule::new(&Retry::default(), age(&item, &QueueSection::default(), 0));
        assert_eq!(patience(&item, &[0], &schedule, HOUR, 0), HOUR);
        assert_eq!(patience(&item, &[0], &schedule, HOUR, HOUR), schedule.expires());
        item.recipients[0].delay_notified = true;
        assert_eq!(patience(&item, &[0], &schedule, HOUR, 0), schedule.expires());
    }

    #[test]
    fn a_hop_that_reports_itself_spares_us_the_notice() {
        let item = item("a@b.example", &[Notify::SUCCESS]);
        let mut outcome = Outcome::ours(Verdict::Delivered, Status::new(2, 0, 0), "");
        outcome.reported_by_hop = true;
        let schedule = Schedule::new(&Retry::default(), age(&item, &QueueSection::default(), 0));
        let settled = settle(&item, &[(0, outcome.clone())], &schedule, attempt(false, 0));
        assert!(settled.notices.is_empty());
        outcome.reported_by_hop = false;
        let settled = settle(&item, &[(0, outcome)], &schedule, attempt(false, 0));
        assert_eq!(actions(&settled), [Action::Relayed]);
    }
}
