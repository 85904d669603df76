//! `docs/reference/providers.md` is what the tables of providers say, with the source of each fact. `POSTROAD_REWRITE=1` writes
//! it anew.

#![allow(clippy::unwrap_used, reason = "a test file")]

use std::fmt::Write as _;

use postroad_config::provider::{
    Evidence, Fact, Host, Known, Preset, Provider, ToldRule, control_fields, preset, told_rules, wanted,
};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/providers.md");

const HEAD: &str = "\
# Providers

What Postroad knows of mail providers, and who says so. This page is made from the tables in `mta/config/src/provider`, and a test holds
it against them. How to set each one up: [how-to/providers](../how-to/providers/README.md).

`V`: the provider's own text or software says so; `V3`: somebody else does; `U`: commonly known, not confirmed. A number that a
provider may change for one account is a default: the route's own fields go before it. Regions are an open list.

";

const REPLIES: &str = "
## Replies

The first row that fits decides; rows for all servers come last. The three-digit code counts first: `421 5.7.32` is temporary. What is
refused before RCPT is never the recipient's fault. A final refusal of a hosted provider in words of quota is `Quota`, whatever its code,
unless its enhanced code is about an address (x.1.y). One that says, to MAIL or after the message, that the account is suspended, paused,
disabled or the like, or anywhere that the sender or the domain is not verified or may not send, is `Sender`, unless its enhanced code is
about an address or a mailbox (x.1.y, x.2.y). Addresses that a reply repeats are not looked at.

| What is done | Which means |
|---|---|
| `Throttle` | the route rests for so long, and twice as long each time, up to 20 minutes. Up to a minute is waited for; a longer rest is passed over by the next route |
| `Concurrency` | fewer connections, and the message again by its schedule |
| `Quota` | the route rests for so long, then one message is tried. Mail takes the next route, or waits; that time counts to no lifetime |
| `Configuration` | the route rests for 5 minutes, up to an hour, or until it is configured anew. Mail takes the next route, or waits; that time counts to no lifetime, so that nothing is returned |
| `Sender` | this message waits, tried by its schedule: its sender, or where it goes, is refused; other mail goes on. What was submitted here does not come back while it is refused so, however long that takes; mail of strangers that is passed on does after its lifetime |
| `Split` | the recipients that are too many go in the next transaction |
| `Recipient` | the message comes back for this recipient |
| `Message` | the message comes back; the recipient is not to blame |
| `Retry` | again by the schedule |

";

fn source(by: Evidence) -> String {
    format!("{}, {}", by.source, by.dated)
}

fn told<T: Copy>(fact: Option<Fact<T>>, words: impl Fn(T) -> String) -> String {
    fact.map_or_else(
        || "–".to_owned(),
        |fact| format!("{} ({})", words(fact.value), source(fact.by)),
    )
}

fn list(ports: &[u16]) -> String {
    let ports: Vec<_> = ports.iter().map(u16::to_string).collect();
    if ports.is_empty() {
        "–".to_owned()
    } else {
        ports.join(", ")
    }
}

fn host(row: &Preset) -> String {
    match row.host.value {
        Host::One(host) => format!("`{host}`"),
        Host::Region(host, (begin, elsewhere)) => {
            let named = |host: &str| format!("`{}`", host.replace("{}", "<region>"));
            format!("{}; regions `{begin}…`: {}", named(host), named(elsewhere))
        }
        Host::MaybeRegion(host, region, _) => format!("`{host}`, or `{}`", region.replace("{}", "<region>")),
        Host::Tenant(host) => format!("`{}`", host.replace("{}", "<tenant>")),
        Host::Own => "your own, `provider.host`".to_owned(),
    }
}

fn places(page: &mut String) {
    page.push_str("## Where they are reached\n\n| Provider | Host | Port | Others with STARTTLS | Others with TLS first | TLS | Source |\n|---|---|---|---|---|---|---|\n");
    for provider in Provider::ALL {
        let row = preset(provider);
        let (others, first) = (list(row.other_ports), list(row.implicit_ports));
        writeln!(
            page,
            "| `{provider}` | {} | {} | {others} | {first} | `{:?}` | {} |",
            host(&row),
            row.port,
            row.tls,
            source(row.ports_by)
        )
        .unwrap();
    }
}

fn limits(page: &mut String) {
    page.push_str("\n## What they take\n\nQuotas are not paced: mail leaves until the provider says so.\n\n| Provider | Connections | Messages | Recipients | Recipients of a transaction | Messages of a connection | Message | Quota |\n|---|---|---|---|---|---|---|---|\n");
    for provider in Provider::ALL {
        let row = preset(provider);
        let rate = told(row.rate, |(count, seconds, port)| {
            let port = port.map_or_else(String::new, |port| format!(" on port {port}"));
            format!("{count} in {seconds} s{port}")
        });
        writeln!(
            page,
            "| `{provider}` | {} | {rate} | {} | {} | {} | {} | {} |",
            told(row.connections, |count| count.to_string()),
            told(row.recipient_rate, |(count, seconds)| format!(
                "{count} in {seconds} s"
            )),
            told(row.recipients, |count| count.to_string()),
            told(row.messages_per_connection, |count| count.to_string()),
            told(row.message_size, |octets| format!("{} Mi", octets >> 20)),
            told(row.quota, str::to_owned),
        )
        .unwrap();
    }
}

fn replies(page: &mut String) {
    page.push_str(REPLIES);
    page.push_str("| Whose | Code | Enhanced code | Words, one of | What is done | Source |\n|---|---|---|---|---|---|\n");
    for rule in told_rules() {
        let ToldRule {
            of,
            code,
            status,
            words,
            after_rcpt,
            reaction,
            by,
        } = rule;
        let of: Vec<_> = of.iter().map(|provider| format!("`{provider}`")).collect();
        let of = if of.is_empty() {
            "all".to_owned()
        } else {
            of.join(", ")
        };
        let status = if status.is_empty() {
            "any".to_owned()
        } else {
            status.join(", ")
        };
        let words: Vec<_> = words.iter().map(|word| format!("\"{word}\"")).collect();
        let words = if words.is_empty() {
            "any".to_owned()
        } else {
            words.join(", ")
        };
        let place = if after_rcpt { ", from RCPT on" } else { "" };
        let rest = match reaction {
            postroad_config::provider::Reaction::Throttle(rest)
            | postroad_config::provider::Reaction::Quota(rest) => {
                format!(" {} s", rest.as_secs())
            }
            _ => String::new(),
        };
        let name = reaction.name();
        writeln!(
            page,
            "| {of} | {code}{place} | {status} | {words} | `{name}`{rest} | {} |",
            source(by)
        )
        .unwrap();
    }
}

fn headers(page: &mut String) {
    page.push_str("\n## Header fields that steer a provider\n\nThey pass on that provider's routes. From mail that was submitted here they are taken out on all others; mail of strangers keeps what\nit has.\n\n| Provider | Fields | Source |\n|---|---|---|\n");
    for provider in Provider::ALL {
        if let Some((fields, by)) = control_fields(provider) {
            let fields: Vec<_> = fields.iter().map(|field| format!("`{field}`")).collect();
            writeln!(page, "| `{provider}` | {} | {} |", fields.join(", "), source(by)).unwrap();
        }
    }
}

fn records(page: &mut String) {
    page.push_str("\n## DNS records that they need\n\nOf the sender's domain `example.com`; what each account has of its own is shown by the provider.\n\n| Provider | Name | Type | Value | Source |\n|---|---|---|---|---|\n");
    for provider in Provider::ALL {
        let mail_from = (provider == Provider::AmazonSes).then_some("bounce.example.com");
        for record in wanted(provider, "example.com", Some("<region>"), mail_from) {
            let value = match record.value {
                Known::Exactly(value) => format!("`{value}`"),
                Known::Includes(name) => format!("an SPF record with `include:{name}`"),
                Known::Described(words) => words.to_owned(),
            };
            writeln!(
                page,
                "| `{provider}` | `{}` | {} | {value} | {} |",
                record.name,
                record.kind,
                source(record.by)
            )
            .unwrap();
        }
    }
}

#[test]
fn the_page_is_what_the_tables_say() {
    let mut page = HEAD.to_owned();
    places(&mut page);
    limits(&mut page);
    replies(&mut page);
    headers(&mut page);
    records(&mut page);
    if std::env::var_os("POSTROAD_REWRITE").is_some() {
        std::fs::write(PAGE, &page).unwrap();
    }
    let written = std::fs::read_to_string(PAGE).unwrap();
    assert!(
        written == page,
        "docs/reference/providers.md is not what the tables say; write it anew with POSTROAD_REWRITE=1"
    );
}
