//! What is in the mailboxes of the peers, and the account of mails sent against mails found.

use std::time::Duration;

use super::Mail;
use super::imap::Imap;
use super::pop3::Pop3;
use crate::kubectl::{Failure, Outcome, until};
use crate::peers::Peers;

/// How a mailbox is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// IMAP (RFC 3501).
    Imap,
    /// POP3 (RFC 1939).
    Pop3,
}

/// All messages of a user's mailbox.
pub fn read(peers: &Peers, user: &str, reader: Reader) -> Outcome<Vec<Vec<u8>>> {
    let port = if reader == Reader::Imap { 143 } else { 110 };
    let forward = peers.namespace.forward("deployment/dovecot", port)?;
    match reader {
        Reader::Imap => Imap::login(forward.local, user, PASSWORD)?.messages("INBOX"),
        Reader::Pop3 => Pop3::login(forward.local, user, PASSWORD)?.messages(),
    }
}

/// How many mails were accepted, and what became of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Mails that a server took responsibility for.
    pub accepted: usize,
    /// Of those: found in their mailbox.
    pub delivered: usize,
    /// Found nowhere, by their marks.
    pub lost: Vec<String>,
    /// Found more than once, by their marks.
    pub duplicated: Vec<String>,
    /// Found with other content than was sent: what differs.
    pub changed: Vec<String>,
}

impl Account {
    /// Whether every mail arrived once and unchanged.
    pub fn is_exact(&self) -> bool {
        self.accepted == self.delivered && self.duplicated.is_empty() && self.changed.is_empty()
    }
}

impl std::fmt::Display for Account {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            out,
            "{} accepted, {} delivered, {} lost, {} duplicated",
            self.accepted,
            self.delivered,
            self.lost.len(),
            self.duplicated.len()
        )
    }
}

/// Compares what was sent with the contents of one mailbox.
pub fn account<'a>(sent: impl IntoIterator<Item = &'a Mail>, found: &[Vec<u8>]) -> Account {
    let mut account = Account::default();
    for mail in sent {
        account.accepted += 1;
        let mark = format!("\r\nSubject: {}\r\n", mail.mark);
        let copies: Vec<_> = found
            .iter()
            .filter(|message| header(message).contains(&mark))
            .collect();
        match copies.as_slice() {
            [] => account.lost.push(mail.mark.clone()),
            [copy, others @ ..] => {
                account.delivered += 1;
                account
                    .duplicated
                    .extend(others.iter().map(|_| mail.mark.clone()));
                account.changed.extend(mail.difference(copy));
            }
        }
    }
    account
}

/// Polls the mailbox of a user until every mail is there, then gives the account; at the deadline as it is then.
pub fn await_all(
    peers: &Peers,
    user: &str,
    reader: Reader,
    sent: &[&Mail],
    limit: Duration,
) -> Outcome<Account> {
    let mut last = Account::default();
    let complete = until(limit, || {
        // A connection that breaks while pods come and go is asked again.
        if let Ok(found) = read(peers, user, reader) {
            last = account(sent.iter().copied(), &found);
        }
        Ok(last.accepted == sent.len() && last.lost.is_empty())
    });
    if complete.is_err() && last.accepted != sent.len() {
        return Err(Failure::wrong(format!("the mailbox of {user} cannot be read")));
    }
    Ok(last)
}

/// Like [`await_all`], and anything but "each once and unchanged" is a failure.
pub fn expect_exactly(peers: &Peers, user: &str, reader: Reader, sent: &[&Mail], limit: Duration) -> Outcome {
    let account = await_all(peers, user, reader, sent, limit)?;
    if account.is_exact() {
        Ok(())
    } else {
        Err(Failure::wrong(format!("{user}: {account}; {account:?}")))
    }
}

/// The header part of a message as text, with a line end before its first field.
fn header(message: &[u8]) -> String {
    let end = message
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .map_or(message.len(), |at| at + 2);
    format!("\r\n{}", String::from_utf8_lossy(&message[..end]))
}

/// Opens every mailbox.
pub const PASSWORD: &str = "postroad";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lost_duplicated_and_changed_mails_are_told_apart() {
        let mails: Vec<_> = ["m1", "m2", "m3"]
            .map(|mark| Mail::plain(mark, "a@a.example", "b@b.example"))
            .into();
        let mut broken = mails[2].content.clone();
        broken.extend_from_slice(b"and more\r\n");
        let found = [mails[0].content.clone(), mails[0].content.clone(), broken];
        let account = account(&mails, &found);
        assert_eq!(
            (account.delivered, account.lost, account.duplicated),
            (2, vec!["m2".into()], vec!["m1".into()])
        );
        assert_eq!(account.changed.len(), 1);
    }

    #[test]
    fn a_mark_is_not_found_in_a_longer_one() {
        let found = [Mail::plain("m10", "a@a.example", "b@b.example").content];
        assert_eq!(
            account(&[Mail::plain("m1", "a@a.example", "b@b.example")], &found).lost,
            ["m1"]
        );
    }
}
