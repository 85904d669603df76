//! Writes one delivery status notification of every kind into a folder, as NAME.eml, for programs that read them:
//!
//! ```text
//!   cargo run -p postroad-mta --example notices -- DIRECTORY
//! ```

use std::path::PathBuf;
use std::process::ExitCode;

use postroad_mta::dsn::compose::{About, Action, Notice, Original, compose};

struct Sample {
    name: &'static str,
    action: Action,
    recipients: Vec<About>,
    original: Original<'static>,
    smtputf8: bool,
    deliver_by: Option<u64>,
}

fn main() -> ExitCode {
    let Some(folder) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("give a folder");
        return ExitCode::from(2);
    };
    for sample in samples() {
        let file = folder.join(format!("{}.eml", sample.name));
        if let Err(error) = std::fs::write(&file, written(&sample)) {
            eprintln!("{}: {error}", file.display());
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn written(sample: &Sample) -> Vec<u8> {
    compose(&Notice {
        hostname: "mail.example.com",
        to: "alice@example.com",
        envelope_id: Some("QQ314159"),
        queue_id: "0000000000000007",
        arrived: 1_790_000_000_000,
        deliver_by: sample.deliver_by,
        now: 1_790_000_100_000,
        token: "00112233445566778899aabbccddeeff",
        action: sample.action,
        recipients: sample.recipients.clone(),
        original: sample.original,
        smtputf8: sample.smtputf8,
    })
}

fn samples() -> Vec<Sample> {
    failures().into_iter().chain(successes_and_delays()).collect()
}

fn sample(name: &'static str, action: Action, recipients: Vec<About>) -> Sample {
    Sample {
        name,
        action,
        recipients,
        original: Original::Full(ORIGINAL),
        smtputf8: false,
        deliver_by: None,
    }
}

/// What the next hop said.
fn said(address: &str, status: &str, text: &str) -> About {
    About {
        diagnostic: Some(text.to_owned()),
        ..about(address, status)
    }
}

/// What we say ourselves.
fn ours(address: &str, status: &str, text: &str) -> About {
    About {
        reason: Some(text.to_owned()),
        ..about(address, status)
    }
}

fn failures() -> Vec<Sample> {
    let unknown = "550 5.1.1 <bob@example.net>: Recipient address rejected: User unknown";
    vec![
        sample(
            "failed",
            Action::Failed,
            vec![said("bob@example.net", "5.1.1", unknown)],
        ),
        sample(
            "failed-two",
            Action::Failed,
            vec![
                said("bob@example.net", "5.1.1", unknown),
                said("carol@example.net", "5.2.2", "552 5.2.2 mailbox full"),
            ],
        ),
        sample(
            "expired",
            Action::Failed,
            vec![ours(
                "bob@example.net",
                "4.4.7",
                "no connection could be made in five days",
            )],
        ),
        // RFC 2852 section 4.1.4.3: the time that the sender gave is over.
        Sample {
            deliver_by: Some(1_790_000_060_000),
            ..sample(
                "by-return",
                Action::Failed,
                vec![ours(
                    "bob@example.net",
                    "5.4.7",
                    "the time for its delivery is over",
                )],
            )
        },
        // RFC 8689 section 5: only the header comes back.
        Sample {
            original: Original::Headers(HEADERS),
            ..sample(
                "requiretls",
                Action::Failed,
                vec![ours(
                    "bob@example.net",
                    "5.7.30",
                    "REQUIRETLS support required, and the next hop has none",
                )],
            )
        },
        Sample {
            original: Original::Headers(HEADERS),
            ..sample(
                "headers",
                Action::Failed,
                vec![said("bob@example.net", "5.7.1", "554 5.7.1 refused by policy")],
            )
        },
        Sample {
            original: Original::TooLarge(HEADERS),
            ..sample(
                "too-large",
                Action::Failed,
                vec![said("bob@example.net", "5.3.4", "552 5.3.4 message too big")],
            )
        },
        Sample {
            smtputf8: true,
            ..sample(
                "international",
                Action::Failed,
                vec![said("b\u{fc}b@example.net", "5.1.1", "550 5.1.1 no such user")],
            )
        },
    ]
}

fn successes_and_delays() -> Vec<Sample> {
    vec![
        sample(
            "delayed",
            Action::Delayed,
            vec![About {
                retry_until: Some(1_790_400_000_000),
                ..ours("bob@example.net", "4.4.1", "no connection could be made")
            }],
        ),
        sample(
            "delivered",
            Action::Delivered,
            vec![said("bob@example.net", "2.0.0", "250 2.0.0 stored")],
        ),
        sample(
            "relayed",
            Action::Relayed,
            vec![said("bob@example.net", "2.0.0", "250 2.0.0 queued as 4Xyz")],
        ),
        sample(
            "expanded",
            Action::Expanded,
            vec![about("bob@example.net", "2.1.5")],
        ),
    ]
}

fn about(address: &str, status: &str) -> About {
    About {
        address: address.to_owned(),
        original: None,
        status: status.to_owned(),
        remote: Some("mx.example.net".to_owned()),
        diagnostic: None,
        reason: None,
        last_attempt: 1_790_000_060_000,
        retry_until: None,
    }
}

const ORIGINAL: &[u8] = b"From: alice@example.com\r\nTo: bob@example.net\r\nSubject: hello\r\n\
    Message-ID: <1@example.com>\r\nDate: Mon, 21 Sep 2026 10:00:00 +0000\r\n\r\nbody\r\n";
const HEADERS: &[u8] = b"From: alice@example.com\r\nTo: bob@example.net\r\nSubject: hello\r\n\
    Message-ID: <1@example.com>\r\n";
