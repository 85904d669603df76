//! What only a store does: a reply for each recipient behind one message (RFC 2033 section 4.2), and mailboxes that are
//! full. And a server for submission that logs in to us.

use std::time::{Duration, Instant};

use super::inbox::Arrived;
use super::mail::{self, Mail};
use super::peers::DOVECOT;
use super::stage::{PLAIN, Stage};
use super::way::LIMIT;
use super::{Table, Verdict};
use crate::kubectl::Outcome;

pub(super) fn play() -> Outcome<Vec<Table>> {
    let stage = Stage::start(&DOVECOT)?;
    let mut table = Table::new("Dovecot", &["holds"]);
    let mut row = |name: &str, verdict| table.rows.push((name.to_owned(), vec![verdict]));
    row(
        "one of two recipients unknown (550): the other has it once, the sender is told",
        refused(&stage, "nobody", "5.1.1"),
    );
    row(
        "one of two mailboxes full (552): the other has it once, the sender is told",
        refused(&stage, "full552", "5.2.2"),
    );
    row(
        "one of two mailboxes full for now (452): the other has it once, the rest waits",
        postponed(&stage, "full452"),
    );
    row("submission logs in to us, STARTTLS", login(&stage, "starttls"));
    row(
        "submission logs in to us, implicit TLS",
        login(&stage, "implicit"),
    );
    if table.count().failed > 0 {
        stage.show_logs();
    }
    Ok(vec![table])
}

/// One message to bob and another; the other's failure is final.
fn refused(stage: &Stage, other: &str, status: &str) -> Verdict {
    let subject = format!("two-{other}");
    if let Some(failed) = to_both(stage, &subject, other) {
        return failed;
    }
    let about = |address: &str| format!("Final-Recipient: rfc822; {address}@{PLAIN}");
    let is_notice = |one: &Arrived| {
        let text = String::from_utf8_lossy(&one.content);
        one.recipient == "alice@back.test" && text.contains(&about(other))
    };
    let Some(notice) = stage.sink.wait(LIMIT, is_notice) else {
        return Verdict::Fail(format!("no notice about {other}"));
    };
    let text = String::from_utf8_lossy(&notice.content);
    if !text.contains(&format!("Status: {status}")) || text.contains(&about("bob")) {
        return Verdict::Fail(format!("the notice is wrong: {text}"));
    }
    once(stage, &subject)
}

/// The same, where it is to be tried again.
fn postponed(stage: &Stage, other: &str) -> Verdict {
    let subject = format!("two-{other}");
    if let Some(failed) = to_both(stage, &subject, other) {
        return failed;
    }
    let address = format!("{other}@{PLAIN}");
    let logged = |event| stage.ours.logged(&[event, &address, "452 4.2.2"]);
    let deadline = Instant::now() + LIMIT;
    while logged("\"event\":\"deferred\"") == 0 {
        if Instant::now() > deadline {
            return Verdict::Fail("it was not put off".into());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let told = stage.sink.all();
    let told = told
        .iter()
        .any(|one| String::from_utf8_lossy(&one.content).contains(&address));
    if told || logged("\"event\":\"failed\"") > 0 {
        return Verdict::Fail("it was given up".into());
    }
    once(stage, &subject)
}

/// Hands it in, and waits until bob has it. `Some`: what went wrong.
fn to_both(stage: &Stage, subject: &str, other: &str) -> Option<Verdict> {
    let (bob, other) = (format!("bob@{PLAIN}"), format!("{other}@{PLAIN}"));
    let mail = Mail::new(subject, &[&bob, &other]);
    if let Err(error) = mail.send(stage.ours.smtp, None) {
        return Some(Verdict::Fail(format!("it was not taken: {error}")));
    }
    let is_it = |one: &Arrived| mail::subject(&one.content) == subject;
    let Some(arrived) = stage.inbox.wait(LIMIT, is_it) else {
        return Some(Verdict::Fail("bob does not have it".into()));
    };
    if mail::body(&arrived.content) != mail.body {
        return Some(Verdict::Fail("its body changed".into()));
    }
    let both = [format!("RCPT TO:<{bob}>"), format!("RCPT TO:<{other}>")];
    let at_once = stage
        .plain
        .client_said_at_once(&both.each_ref().map(String::as_str));
    (!at_once).then(|| Verdict::Fail("the two were not in one transaction".into()))
}

fn once(stage: &Stage, subject: &str) -> Verdict {
    let all = stage.inbox.all();
    let copies: Vec<_> = all
        .iter()
        .filter(|one| mail::subject(&one.content) == subject)
        .map(|one| one.recipient.as_str())
        .collect();
    if copies == ["bob"] {
        Verdict::Yes
    } else {
        Verdict::Fail(format!("it is with {copies:?}"))
    }
}

/// Its user's settings send it to one of our ports for submission, which takes nothing without AUTH.
fn login(stage: &Stage, user: &'static str) -> Verdict {
    let subject = format!("login-{user}");
    let mail = Mail::new(&subject, &["carol@any.test"]);
    let login = stage.store.map(|store| (user, store.password));
    if let Err(error) = mail.send(stage.peer, login) {
        return Verdict::Fail(format!("it was not taken: {error}"));
    }
    let is_it = |one: &Arrived| mail::subject(&one.content) == subject;
    match stage.sink.wait(LIMIT, is_it) {
        Some(arrived) if mail::body(&arrived.content) == mail.body => Verdict::Yes,
        Some(_) => Verdict::Fail("its body changed".into()),
        None => Verdict::Fail("it did not arrive".into()),
    }
}
