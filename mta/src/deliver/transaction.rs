//! One message over one connection: requirements, envelope, body, a reply per recipient.
//!
//! ```text
//!   left ─► fit: what the peer lacks decides some at once ─► batches of 100 ─► MAIL, RCPT…, body ─► settle each
//! ```
//!
//! The moment that counts is the end of the data: before it nothing was delivered and the attempt may end at any time;
//! after it only the peer's reply says what happened, and is waited for.

use std::fmt::Write as _;
use std::time::Duration;

use postroad_config::DomainName;
use postroad_config::provider::Reaction;
use postroad_smtp::BodyType;
use postroad_smtp::client::{self, Capabilities, Event, Failure, PeerReply, Stage, Unsuited};
use postroad_spool::{BodyKind, Notify, Ret, Spool};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::body::{self, Contents};
use super::control::{self, Filter, LeftOut};
use super::lanes::Lane;
use super::link::{Link, Target, Trouble};
use super::plan::Protocol;
use super::{Course, Load, demand, reply};
use crate::dsn::expansion;
use crate::dsn::text::from_xtext;
use crate::outcome::{Outcome, Status, Verdict};
use crate::queue::clock;
use crate::queue::window::Feedback;

/// Sends the message to all that are left, to as many at once as the target allows. `Ok`: the connection can be used again.
pub(super) async fn run(
    link: &mut Link,
    spool: &Spool,
    load: &Load<'_>,
    target: &Target<'_>,
    course: &mut Course,
    stop: &CancellationToken,
) -> Result<(), Trouble> {
    let control = Control::of(spool, load, target).await?;
    let load = &control.applied_to(load);
    let capabilities = link.connection().capabilities().clone();
    let contents = if needs_inspection(load, &capabilities) {
        match load.octets {
            Some(octets) => Contents::of(octets),
            None => body::inspect(spool.clone(), load.entry)
                .await
                .map_err(Trouble::Spool)?,
        }
    } else {
        Contents {
            header_utf8: load.item.envelope.smtputf8,
            eight_bit: load.item.envelope.body != BodyKind::SevenBit,
        }
    };
    let mut waiting = fit(link, load, course, &capabilities, contents);
    while !waiting.is_empty() {
        if stop.is_cancelled() {
            return Err(Trouble::Stopped);
        }
        let limit = target.recipients.and_then(|limit| usize::try_from(limit).ok());
        let most = link.most_recipients.min(limit.unwrap_or(usize::MAX)).max(1);
        let batch = first_batch(&mut waiting, most, capabilities.domains_limit);
        let later = waiting.split_off(batch);
        let batch = std::mem::replace(&mut waiting, later);
        let mut message = message(load, &batch, contents, &capabilities);
        if let Some(sender) = rewritten(load, target) {
            message.reverse_path = address(sender, capabilities.smtputf8).unwrap_or_default();
        }
        message.require_tls = target.require_tls;
        message.by = demand::time_left(&load.item.envelope, clock::now());
        if let Err(unsuited) = link.connection().send(message) {
            unsuited_for(link, course, &batch, unsuited);
            continue;
        }
        match dialogue(link, spool, load, &control, course, stop).await {
            Ok(outcomes) => {
                course.until = Instant::now() + link.patience.attempt;
                let surplus = surplus(&outcomes, target.lane);
                if let Some(taken) = surplus
                    .iter()
                    .position(|is_surplus| *is_surplus)
                    .filter(|taken| *taken > 0)
                {
                    link.most_recipients = taken;
                }
                let known = outcomes.into_iter().zip(&surplus);
                let known = known.map(|(said, is_surplus)| (!is_surplus).then_some(said));
                settle(link, load, target, course, &batch, known);
                let again = batch.into_iter().zip(surplus);
                let again = again.filter_map(|(recipient, is_surplus)| is_surplus.then_some(recipient));
                waiting = again.chain(waiting).collect();
            }
            Err(Trouble::Failed(mut failure)) => {
                let known = std::mem::take(&mut failure.outcomes);
                settle(link, load, target, course, &batch, known.into_iter());
                return Err(Trouble::Failed(failure));
            }
            Err(trouble) => return Err(trouble),
        }
        let event = timeout_at(course.until, link.next(link.patience.envelope)).await;
        match event.unwrap_or_else(|_| Err(link.lost("the peer did not answer in time")))? {
            Event::Ready => {}
            _ => return Err(link.lost("the connection ended")),
        }
        if course.way.resting {
            // Those that are left go another way, or later.
            return Ok(());
        }
    }
    Ok(())
}

/// What is left out of a message for one way, and what is put before it.
struct Control<'a> {
    /// The message as it goes, where it is in memory.
    octets: Option<Vec<u8>>,
    removed: u64,
    /// These have to be left out while the message is read.
    filter: Option<LeftOut<'a>>,
    /// Fields that are put before it while it is read.
    added: Vec<u8>,
}

impl<'a> Control<'a> {
    async fn of(spool: &Spool, load: &Load<'_>, target: &Target<'a>) -> Result<Self, Trouble> {
        let fields = LeftOut {
            passing: target.passing,
            names: target.rewrite.map_or(&[], |rewrite| &rewrite.remove),
        };
        let mut added = String::new();
        for (name, value) in target.rewrite.iter().flat_map(|rewrite| &rewrite.add) {
            let _ = write!(added, "{name}: {value}\r\n");
        }
        let mut control = Self {
            octets: None,
            removed: 0,
            filter: None,
            added: added.into_bytes(),
        };
        if let Some(octets) = load.octets {
            let left = if fields.is_nothing() {
                None
            } else {
                control::without(octets, fields)
            };
            control.removed = left.as_ref().map_or(0, |left| octets.len() - left.len()) as u64;
            control.octets = match left {
                left if control.added.is_empty() => left,
                Some(left) => Some([&control.added[..], &left].concat()),
                None => Some([&control.added[..], octets].concat()),
            };
        } else if !fields.is_nothing() {
            control.removed = control::removed(spool.clone(), load.entry, fields)
                .await
                .map_err(Trouble::Spool)?;
            control.filter = (control.removed > 0).then_some(fields);
        }
        Ok(control)
    }

    fn applied_to<'b>(&'b self, load: &Load<'b>) -> Load<'b> {
        let added = self.added.len() as u64;
        Load {
            size: load.size.saturating_sub(self.removed).saturating_add(added),
            octets: self.octets.as_deref().or(load.octets),
            ..*load
        }
    }
}

/// The sender that the policy wants; a notice stays one (RFC 5321 section 6.1).
fn rewritten<'a>(load: &Load<'_>, target: &Target<'a>) -> Option<&'a str> {
    let sender = target.rewrite?.sender.as_deref();
    sender.filter(|_| !load.item.envelope.reverse_path.is_empty())
}

/// How many of these go in the next transaction: so many at most, and in so many domains (RFC 9422 section 4.3), for which
/// they are sorted.
fn first_batch(waiting: &mut [(u32, String)], most: usize, domains: Option<u32>) -> usize {
    let most = most.min(waiting.len());
    let Some(domains) = domains.and_then(|domains| usize::try_from(domains).ok()) else {
        return most;
    };
    let domain = |(_, address): &(u32, String)| {
        address
            .rsplit_once('@')
            .map(|(_, domain)| domain.to_ascii_lowercase())
    };
    waiting.sort_by_cached_key(domain);
    let mut seen = std::collections::HashSet::new();
    let count = waiting[..most]
        .iter()
        .take_while(|recipient| {
            seen.insert(domain(recipient));
            seen.len() <= domains
        })
        .count();
    count.max(1)
}

/// Recipients that were too many for this transaction (RFC 5321 section 4.5.3.1.10) and are asked for again in the next
/// one: only those behind one that was taken, so that each transaction brings the end nearer.
fn surplus(outcomes: &[client::Outcome], lane: Option<Lane<'_>>) -> Vec<bool> {
    let is_split = |reply: &PeerReply| {
        let judged = lane.map(|lane| lane.reaction(Stage::Rcpt, reply));
        reply::is_too_many(reply) || judged == Some(Reaction::Split)
    };
    let mut taken = false;
    let judge = |outcome: &client::Outcome| {
        taken |= outcome.stage > Stage::Rcpt;
        taken && outcome.stage == Stage::Rcpt && is_split(&outcome.reply)
    };
    outcomes.iter().map(judge).collect()
}

/// Gives the recipients of a batch their verdicts, as far as they are known.
fn settle(
    link: &mut Link,
    load: &Load<'_>,
    target: &Target<'_>,
    course: &mut Course,
    batch: &[(u32, String)],
    outcomes: impl Iterator<Item = Option<client::Outcome>>,
) {
    let peer = link.connection().capabilities();
    let (reports, keeps_time) = (peer.dsn, peer.deliver_by.is_some());
    let has_time = load.item.envelope.deliver_by.is_some() && link.protocol == Protocol::Smtp;
    for ((recipient, _), said) in batch.iter().zip(outcomes) {
        let Some(said) = said else { continue };
        let judged = target
            .lane
            .and_then(|lane| lane.judge(said.stage, &said.reply, clock::now()));
        let mut outcome = match judged {
            None => reply::outcome(&said, &link.hop),
            Some((reaction, until)) => {
                let outcome = reply::by_reaction(reaction, &said.reply, &link.hop);
                if let Some(until) = until {
                    // The peer has said that it did not take it: another way may.
                    course.rests(until, outcome);
                    continue;
                }
                outcome
            }
        };
        outcome.reported_by_hop = reports;
        outcome.time_passed_on = has_time.then_some(keeps_time);
        course.settle(*recipient, outcome);
        let feedback = match judged {
            Some((Reaction::Concurrency, _)) => Feedback::Busy,
            _ => reply::feedback(&said.reply),
        };
        course.heard(feedback, link.protocol);
    }
}

/// The last line of defence: [`fit`] has looked at all that can be looked at.
fn unsuited_for(link: &Link, course: &mut Course, batch: &[(u32, String)], unsuited: Unsuited) {
    let status = match unsuited {
        Unsuited::TooLarge(_) => Status::new(5, 3, 4),
        Unsuited::EightBit => Status::new(5, 6, 3),
        Unsuited::Smtputf8 => Status::new(5, 6, 7),
        Unsuited::RequireTls => Status::new(5, 7, 30),
        Unsuited::DeliverBy | Unsuited::TooLate => Status::new(5, 4, 7),
        Unsuited::Address => Status::new(5, 1, 3),
        Unsuited::NoRecipient | Unsuited::NotReady => Status::new(4, 3, 0),
    };
    let verdict = if status.class == 5 {
        Verdict::Failed
    } else {
        Verdict::Deferred
    };
    for (recipient, _) in batch {
        let outcome = Outcome::ours(verdict, status, unsuited.to_string());
        course.settle(*recipient, outcome.at(link.hop.clone()));
    }
}

/// From the envelope to the outcomes.
async fn dialogue(
    link: &mut Link,
    spool: &Spool,
    load: &Load<'_>,
    control: &Control<'_>,
    course: &mut Course,
    stop: &CancellationToken,
) -> Result<Vec<client::Outcome>, Trouble> {
    let mut pieces = None;
    let mut filter = control.filter.map(Filter::new);
    let mut ended = false;
    let mut begun = false;
    let deadline = Instant::now() + link.patience.body(load.size);
    loop {
        if !ended && Instant::now() > deadline {
            return Err(link.lost("the peer took the message too slowly"));
        }
        let event = if ended {
            last_word(link, stop).await?
        } else {
            tokio::select! {
                event = link.next(link.patience.envelope) => event?,
                () = stop.cancelled() => return Err(Trouble::Stopped),
                () = sleep_until(course.until), if !begun => {
                    return Err(link.silent("the peer was not ready for the message in the time of an attempt"));
                }
            }
        };
        match event {
            Event::Sent(outcomes) => return Ok(outcomes),
            Event::NeedBody => {
                begun = true;
                course.heard(Feedback::Good, link.protocol);
                if let Some(octets) = load.octets {
                    link.connection().body(octets);
                    link.connection().body_end();
                    ended = true;
                    continue;
                }
                if pieces.is_none() && !control.added.is_empty() {
                    link.connection().body(&control.added);
                }
                let pieces = pieces.get_or_insert_with(|| body::read(spool.clone(), load.entry));
                if let Some(piece) = pieces.recv().await {
                    let piece = piece.map_err(Trouble::Spool)?;
                    let piece = match &mut filter {
                        Some(filter) => filter.feed(&piece),
                        None => piece,
                    };
                    if !piece.is_empty() {
                        link.connection().body(&piece);
                    }
                } else {
                    let rest = filter.as_mut().map(Filter::end).unwrap_or_default();
                    if !rest.is_empty() {
                        link.connection().body(&rest);
                    }
                    link.connection().body_end();
                    ended = true;
                }
            }
            Event::Ready
            | Event::Closed
            | Event::StartTls
            | Event::TlsRefused(_)
            | Event::LoggedIn
            | Event::LoginRefused(_)
            | Event::NeedInput
            | Event::Failed(Failure { .. }) => return Err(link.lost("the connection ended")),
        }
    }
}

/// The reply to the end of the data. Told to stop, we still wait for it, but not for long.
async fn last_word(link: &mut Link, stop: &CancellationToken) -> Result<Event, Trouble> {
    let bounded = {
        let reply = link.next(link.patience.end);
        tokio::pin!(reply);
        tokio::select! {
            event = &mut reply => return event,
            () = stop.cancelled() => {}
        }
        timeout(WHEN_STOPPED, reply).await
    };
    bounded.unwrap_or_else(|_| Err(link.lost("the attempt was ended")))
}

/// The declaration of the message promises more than the peer can take: look whether the message needs it.
fn needs_inspection(load: &Load<'_>, peer: &Capabilities) -> bool {
    let envelope = &load.item.envelope;
    (envelope.body != BodyKind::SevenBit && !peer.eight_bit) || (envelope.smtputf8 && !peer.smtputf8)
}

/// Settles those that this peer can never take; gives the others with the address to use.
fn fit(
    link: &Link,
    load: &Load<'_>,
    course: &mut Course,
    peer: &Capabilities,
    contents: Contents,
) -> Vec<(u32, String)> {
    let whole = unfit_message(load, peer, contents);
    let mut fitting = vec![];
    for index in course.left.clone() {
        let recipient = usize::try_from(index)
            .ok()
            .and_then(|at| load.item.envelope.recipients.get(at));
        let Some(recipient) = recipient else { continue };
        let unfit = match (&whole, address(&recipient.forward_path, peer.smtputf8)) {
            (Some(unfit), Some(_)) => unfit.clone(),
            (None, Some(address)) => {
                fitting.push((index, address));
                continue;
            }
            // RFC 6531 section 3.5 and RFC 3463 with RFC 5248: X.6.7.
            (_, None) => Outcome::ours(
                Verdict::Failed,
                Status::new(5, 6, 7),
                "the next server does not take internationalized addresses (SMTPUTF8)",
            ),
        };
        course.settle(index, unfit.at(link.hop.clone()));
    }
    if fitting.is_empty() {
        course.heard(Feedback::Good, link.protocol);
    }
    fitting
}

fn unfit_message(load: &Load<'_>, peer: &Capabilities, contents: Contents) -> Option<Outcome> {
    let never = |status, reason: &str| Some(Outcome::ours(Verdict::Failed, status, reason));
    // RFC 1870 section 6.1.
    if peer.size_limit.is_some_and(|limit| load.size > limit) {
        return never(
            Status::new(5, 3, 4),
            "the message is larger than the next server takes",
        );
    }
    // RFC 6531 section 3.6; X.6.9 of RFC 6531 section 4.
    if contents.header_utf8 && !peer.smtputf8 {
        return never(
            Status::new(5, 6, 9),
            "the next server does not take internationalized headers (SMTPUTF8)",
        );
    }
    if address(&load.item.envelope.reverse_path, peer.smtputf8).is_none() {
        return never(
            Status::new(5, 6, 7),
            "the next server does not take the internationalized sender address (SMTPUTF8)",
        );
    }
    // RFC 6152 section 3: the body is not rewritten, so it cannot be passed on. Asked last: whoever lacks SMTPUTF8 as well is to be
    // told of that, as 8BITMIME alone would not do.
    if contents.eight_bit && !peer.eight_bit {
        return never(
            Status::new(5, 6, 3),
            "the next server does not take 8-bit messages (8BITMIME)",
        );
    }
    None
}

/// The address as this peer can take it: without SMTPUTF8 the domain becomes A-labels (RFC 6531 section 3.2). `None`: not at
/// all. Control characters, which would end the command, never leave.
fn address(path: &str, smtputf8: bool) -> Option<String> {
    if path.chars().any(char::is_control) {
        return None;
    }
    if smtputf8 || path.is_ascii() {
        return Some(path.to_owned());
    }
    let (local, domain) = path.rsplit_once('@')?;
    let domain: DomainName = domain.parse().ok()?;
    local.is_ascii().then(|| format!("{local}@{domain}"))
}

fn message(
    load: &Load<'_>,
    batch: &[(u32, String)],
    contents: Contents,
    peer: &Capabilities,
) -> client::Message {
    let envelope = &load.item.envelope;
    let recipients = batch.iter().map(|(index, address)| {
        let recipient = usize::try_from(*index)
            .ok()
            .and_then(|at| envelope.recipients.get(at));
        client::Recipient {
            forward_path: address.clone(),
            notify: notify(expansion::passed_on(envelope, *index)),
            orcpt: recipient
                .and_then(|recipient| recipient.orcpt.as_deref())
                .and_then(from_xtext),
        }
    });
    client::Message {
        reverse_path: address(&envelope.reverse_path, peer.smtputf8).unwrap_or_default(),
        recipients: recipients.collect(),
        size: load.size,
        body: if contents.eight_bit {
            BodyType::EightBit
        } else {
            BodyType::SevenBit
        },
        smtputf8: envelope.smtputf8 && peer.smtputf8,
        ret: envelope.ret.map(|ret| match ret {
            Ret::Full => postroad_smtp::Ret::Full,
            Ret::Headers => postroad_smtp::Ret::Headers,
        }),
        envid: envelope.envid.as_deref().and_then(from_xtext),
        require_tls: false,
        by: None,
        envelope_only: false,
    }
}

fn notify(notify: Notify) -> Option<postroad_smtp::Notify> {
    (notify != Notify::UNSET).then(|| postroad_smtp::Notify {
        success: notify.contains(Notify::SUCCESS),
        failure: notify.contains(Notify::FAILURE),
        delay: notify.contains(Notify::DELAY),
    })
}

/// How long the reply to the end of the data is waited for when the attempt shall end.
const WHEN_STOPPED: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_made_ascii_only_where_that_keeps_its_meaning() {
        for (path, smtputf8, want) in [
            ("a@b.example", false, Some("a@b.example")),
            ("a@b\u{fc}cher.example", false, Some("a@xn--bcher-kva.example")),
            ("a@b\u{fc}cher.example", true, Some("a@b\u{fc}cher.example")),
            ("\u{fc}@b.example", false, None),
            ("", false, Some("")),
            ("a@b>\r\nRCPT TO:<c", true, None),
        ] {
            assert_eq!(address(path, smtputf8).as_deref(), want, "{path}");
        }
    }

    #[test]
    fn a_transaction_has_no_more_domains_than_the_peer_takes() {
        let addresses = ["a@x.example", "b@y.example", "c@X.example", "d@z.example"];
        let waiting = || -> Vec<(u32, String)> { (0..).zip(addresses.map(str::to_owned)).collect() };
        for (most, domains, want) in [
            (9, None, 4),
            (3, None, 3),
            (9, Some(1), 2),
            (9, Some(2), 3),
            (2, Some(2), 2),
            (9, Some(9), 4),
            (9, Some(0), 1),
        ] {
            let mut all = waiting();
            assert_eq!(first_batch(&mut all, most, domains), want, "{most} {domains:?}");
        }
        let mut all = waiting();
        first_batch(&mut all, 9, Some(1));
        let order: Vec<u32> = all.iter().map(|(index, _)| *index).collect();
        assert_eq!(order, [0, 2, 1, 3]);
    }

    /// RFC 6531 section 3.6: SMTPUTF8 comes with 8BITMIME, so that a peer that has neither lacks SMTPUTF8.
    #[test]
    fn a_peer_that_takes_neither_is_told_to_lack_what_the_message_needs_most() {
        let item = |reverse_path: &str| postroad_spool::Item {
            envelope: postroad_spool::Envelope {
                reverse_path: reverse_path.into(),
                ..postroad_spool::Envelope::default()
            },
            recipients: vec![],
            prefix: vec![],
        };
        for (sender, header_utf8, eight_bit, want) in [
            ("a@b.example", false, false, None),
            ("a@b.example", false, true, Some(Status::new(5, 6, 3))),
            ("a@b.example", true, true, Some(Status::new(5, 6, 9))),
            ("\u{fc}@b.example", false, true, Some(Status::new(5, 6, 7))),
        ] {
            let item = item(sender);
            let load = Load {
                entry: "0000000000000001".parse().unwrap(),
                item: &item,
                size: 1,
                octets: None,
                recipients: &[],
                hostname: "mail.example",
                validated: false,
                submitted: false,
            };
            let contents = Contents {
                header_utf8,
                eight_bit,
            };
            let unfit = unfit_message(&load, &Capabilities::default(), contents);
            assert_eq!(unfit.map(|outcome| outcome.status), want, "{sender}");
        }
    }

    #[test]
    fn notify_is_passed_on_as_it_was_given() {
        assert_eq!(notify(Notify::UNSET), None);
        assert_eq!(notify(Notify::NEVER), Some(postroad_smtp::Notify::default()));
        let set = notify(Notify::SUCCESS.with(Notify::DELAY)).unwrap();
        assert!(set.success && set.delay && !set.failure);
    }
}
