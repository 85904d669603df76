//! Mail to and from other mail servers: the list of them, and the matrix.

use std::time::Instant;

use super::stage::{Peer, Stage, Store};
use super::way::{COLUMNS, Way};
use super::{Table, Verdict};
use crate::kubectl::Outcome;

/// `LISTEN`, `STORE`, `BACK` and `SINK` stand for ports, `LOGIN` and `LOGINS` for our ports for submission.
const PEERS: &[Peer] = &[
    Peer {
        name: "postfix",
        suite: "bookworm",
        packages: &["postfix"],
        files: &[(
            "/etc/postfix/main.cf",
            include_str!("../../peers/postfix-main.cf"),
        )],
        start: "postconf -M# smtp/inet
            postconf -Me '127.0.0.1:LISTEN/inet=127.0.0.1:LISTEN inet n - n - - smtpd'
            postconf -Me 'tls/unix=tls unix - - n - - smtp -o smtp_tls_security_level=encrypt'
            postconf -F '*/*/chroot=n'
            postfix start
            exec sleep infinity",
        logs: "/var/log/postfix.log",
        store: None,
    },
    Peer {
        name: "exim",
        suite: "bookworm",
        packages: &["exim4-daemon-heavy"],
        files: &[("/etc/exim4/exim4.conf", include_str!("../../peers/exim.conf"))],
        start: "chown Debian-exim /etc/interop.key; exec exim4 -bdf",
        logs: "/var/log/exim4/*log",
        store: None,
    },
    Peer {
        name: "opensmtpd",
        suite: "bookworm",
        packages: &["opensmtpd"],
        files: OPENSMTPD,
        start: "chmod 711 /var/spool/smtpd; exec smtpd -d >/var/log/smtpd.log 2>&1",
        logs: "/var/log/smtpd.log",
        store: None,
    },
    // Debian 12's cannot take TLS sessions (docs/interop.md); this one shows that ours get through to one that can.
    Peer {
        name: "opensmtpd (Debian 13)",
        suite: "trixie",
        packages: &["opensmtpd"],
        files: OPENSMTPD,
        // It reads a list of authorities at its start, whether it needs one or not.
        start: "mkdir -p /etc/ssl/certs; cp /etc/interop.crt /etc/ssl/certs/ca-certificates.crt
            chmod 711 /var/spool/smtpd; exec smtpd -d >/var/log/smtpd.log 2>&1",
        logs: "/var/log/smtpd.log",
        store: None,
    },
    DOVECOT,
];

const OPENSMTPD: &[(&str, &str)] = &[("/etc/smtpd.conf", include_str!("../../peers/smtpd.conf"))];

/// A store that takes mail by LMTP, and a server for submission that relays to us.
pub(super) const DOVECOT: Peer = Peer {
    name: "dovecot",
    suite: "bookworm",
    packages: &["dovecot-lmtpd", "dovecot-submissiond"],
    files: &[
        (
            "/etc/dovecot/dovecot.conf",
            include_str!("../../peers/dovecot.conf"),
        ),
        ("/etc/dovecot/users", include_str!("../../peers/dovecot-users")),
    ],
    start: "mkdir -p /var/mail; chown mail /var/mail; exec dovecot -F",
    logs: "/var/log/dovecot.log",
    store: Some(Store {
        mail: "/var/mail",
        password: "secret",
    }),
};

pub(super) fn play() -> Outcome<Vec<Table>> {
    let mut matrix = Table::new("mail server", COLUMNS);
    let mut ends = Table::new("look-alikes of the end of data", super::ends::COLUMNS);
    for peer in PEERS {
        let (stage, name) = (Stage::start(peer)?, peer.name);
        let start = Instant::now();
        let rows = [
            (format!("Postroad to {name}"), Way::out(&stage).all()?),
            (format!("{name} to Postroad"), Way::back(&stage).all()?),
        ];
        let behind = super::ends::judge(&stage)?;
        let failed = |row: &[Verdict]| row.iter().any(|one| matches!(one, Verdict::Fail(_)));
        if failed(&behind) || rows.iter().any(|(_, row)| failed(row)) {
            stage.show_logs();
        }
        eprintln!("    {name}: {:.1} s", start.elapsed().as_secs_f32());
        matrix.rows.extend(rows);
        ends.rows.push((format!("Postroad to {name}"), behind));
    }
    Ok(vec![matrix, ends])
}
