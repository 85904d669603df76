//! Whether a client has a name in the DNS (PTR), and whether that name leads back to it (forward-confirmed reverse DNS).

use std::net::IpAddr;

use postroad_config::{ReverseDns, ReverseDnsMode, TemporaryError};
use postroad_verify::dns::{Answer, Kind, Question};

use super::blocklist::reversed;

/// What is known of a client's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nothing was asked.
    NotAsked,
    /// It has none.
    NoName,
    /// It has this one; whether it leads back was not asked.
    Named(String),
    /// It has names, this one first, and none leads back to it.
    Unconfirmed(String),
    /// This name leads back to it.
    Confirmed(String),
    /// The DNS gave no answer.
    Unknown,
}

/// What follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing.
    Fine,
    /// The client is refused: it has no name.
    NoName,
    /// The client is refused: no name leads back.
    Unconfirmed,
    /// The client may come again.
    Later,
}

impl Standing {
    /// As the log tells it.
    pub fn told(&self) -> String {
        match self {
            Self::NotAsked => "not asked".to_owned(),
            Self::NoName => "none".to_owned(),
            Self::Named(name) => name.clone(),
            Self::Unconfirmed(name) => format!("{name} (does not lead back)"),
            Self::Confirmed(name) => format!("{name} (leads back)"),
            Self::Unknown => "unknown".to_owned(),
        }
    }
}

/// What the settings make of it.
pub fn verdict(section: ReverseDns, standing: &Standing) -> Verdict {
    match standing {
        Standing::NoName => Verdict::NoName,
        Standing::Unconfirmed(_) => Verdict::Unconfirmed,
        Standing::Unknown if section.temporary_error == TemporaryError::Defer => Verdict::Later,
        _ => Verdict::Fine,
    }
}

/// The question for the names of an address (RFC 1035 section 3.5, RFC 3596 section 2.5).
pub fn question(client: IpAddr) -> Question {
    let zone = if client.to_canonical().is_ipv4() {
        "in-addr.arpa"
    } else {
        "ip6.arpa"
    };
    Question {
        name: format!("{}.{zone}", reversed(client)),
        kind: Kind::Ptr,
    }
}

/// Asks what the mode needs. `ask` has the time limit.
pub async fn look<F>(mode: ReverseDnsMode, client: IpAddr, ask: impl Fn(Question) -> F) -> Standing
where
    F: Future<Output = Answer>,
{
    if mode == ReverseDnsMode::Disabled {
        return Standing::NotAsked;
    }
    let names = match ask(question(client)).await {
        Answer::Names(names) => names,
        Answer::Failure => return Standing::Unknown,
        _ => return Standing::NoName,
    };
    let Some(first) = names.first().cloned() else {
        return Standing::NoName;
    };
    if mode == ReverseDnsMode::Named {
        return Standing::Named(first);
    }
    let client = client.to_canonical();
    let kind = if client.is_ipv4() { Kind::A } else { Kind::Aaaa };
    let mut unknown = false;
    for name in names.into_iter().take(MOST_NAMES) {
        let answer = ask(Question {
            name: name.clone(),
            kind,
        });
        match answer.await {
            Answer::Addresses(addresses) if addresses.contains(&client) => return Standing::Confirmed(name),
            Answer::Failure => unknown = true,
            _ => {}
        }
    }
    if unknown {
        Standing::Unknown
    } else {
        Standing::Unconfirmed(first)
    }
}

/// Of a client's names that are looked at, as RFC 7208 section 4.6.4 has it for `ptr`.
const MOST_NAMES: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    async fn look_at(mode: ReverseDnsMode, client: &str, answers: &[(&str, Kind, Answer)]) -> Standing {
        let ask = |question: Question| {
            let found = answers
                .iter()
                .find(|(name, kind, _)| (*name, *kind) == (question.name.as_str(), question.kind));
            std::future::ready(found.map_or(Answer::NxDomain, |(_, _, answer)| answer.clone()))
        };
        look(mode, client.parse().unwrap(), ask).await
    }

    fn names(names: &[&str]) -> Answer {
        Answer::Names(names.iter().map(|name| (*name).to_owned()).collect())
    }

    fn address(text: &str) -> Answer {
        Answer::Addresses(vec![text.parse().unwrap()])
    }

    #[tokio::test]
    async fn a_name_leads_back_or_does_not() {
        use ReverseDnsMode::{Confirmed, Disabled, Named};
        let ptr = "7.2.0.192.in-addr.arpa";
        let good = [
            (ptr, Kind::Ptr, names(&["other.example", "mx.example"])),
            ("mx.example", Kind::A, address("192.0.2.7")),
            ("other.example", Kind::A, address("192.0.2.9")),
        ];
        let client = "192.0.2.7";
        assert_eq!(look_at(Disabled, client, &good).await, Standing::NotAsked);
        assert_eq!(
            look_at(Named, client, &good).await,
            Standing::Named("other.example".into())
        );
        let found = look_at(Confirmed, client, &good).await;
        assert_eq!(found, Standing::Confirmed("mx.example".into()));
        let forged = [
            (ptr, Kind::Ptr, names(&["mx.bank.example"])),
            ("mx.bank.example", Kind::A, address("198.51.100.1")),
        ];
        let found = look_at(Confirmed, client, &forged).await;
        assert_eq!(found, Standing::Unconfirmed("mx.bank.example".into()));
        assert_eq!(look_at(Confirmed, client, &[]).await, Standing::NoName);
        let fails = [(ptr, Kind::Ptr, Answer::Failure)];
        assert_eq!(look_at(Confirmed, client, &fails).await, Standing::Unknown);
        let half = [
            (ptr, Kind::Ptr, names(&["a.example", "b.example"])),
            ("a.example", Kind::A, Answer::Failure),
            ("b.example", Kind::A, address("192.0.2.9")),
        ];
        assert_eq!(look_at(Confirmed, client, &half).await, Standing::Unknown);
        let six = [
            (
                "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa",
                Kind::Ptr,
                names(&["six.example"]),
            ),
            ("six.example", Kind::Aaaa, address("2001:db8::1")),
        ];
        let found = look_at(Confirmed, "2001:db8::1", &six).await;
        assert_eq!(found, Standing::Confirmed("six.example".into()));
    }

    #[tokio::test]
    async fn of_many_names_ten_are_looked_at() {
        let many: Vec<String> = (0..11).map(|number| format!("n{number}.example")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let answers = [
            ("7.2.0.192.in-addr.arpa", Kind::Ptr, names(&many)),
            ("n10.example", Kind::A, address("192.0.2.7")),
        ];
        let found = look_at(ReverseDnsMode::Confirmed, "192.0.2.7", &answers).await;
        assert_eq!(found, Standing::Unconfirmed("n0.example".into()));
    }

    #[test]
    fn only_what_was_chosen_defers() {
        let section = |temporary_error| ReverseDns {
            mode: ReverseDnsMode::Confirmed,
            temporary_error,
        };
        let (accept, defer) = (section(TemporaryError::Accept), section(TemporaryError::Defer));
        assert_eq!(verdict(accept, &Standing::Unknown), Verdict::Fine);
        assert_eq!(verdict(defer, &Standing::Unknown), Verdict::Later);
        assert_eq!(verdict(accept, &Standing::NoName), Verdict::NoName);
        assert_eq!(
            verdict(accept, &Standing::Unconfirmed("x".into())),
            Verdict::Unconfirmed
        );
        assert_eq!(verdict(defer, &Standing::Named("x".into())), Verdict::Fine);
    }
}
