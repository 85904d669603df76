//! Lists in the DNS of clients that send unwanted mail (RFC 5782): what is asked, and what an answer says. Pure.
//!
//! ```text
//!   127.0.0.0/8                 listed; which address tells why
//!   127.255.255.0/24            an error: asked too often, or by a resolver that the list does not serve
//!   any other address           no list any more: whoever has the domain now answers everything
//!   no such name, no data       not listed
//! ```

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};

use postroad_config::DnsBlocklist;
use postroad_verify::dns::{Answer, Kind, Question};

/// What a list says of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Word {
    /// It is on it, with this answer.
    Listed(Ipv4Addr),
    /// It is not.
    NotListed,
    /// Nobody knows now.
    Unknown,
    /// What answers there is no list.
    Broken,
}

/// What all lists say together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Sum of the scores of those that have the client.
    pub score: u64,
    /// Their names, as they are shown.
    pub by: Vec<String>,
    /// A list whose owner wants it waited for gave no answer.
    pub waits_for: Option<String>,
    /// Each list with its word, for the log.
    pub told: String,
}

/// The question about an address (RFC 5782 sections 2.1 and 2.4): its octets or nibbles backwards, below the zone.
pub fn question(list: &DnsBlocklist, client: IpAddr) -> Question {
    Question {
        name: format!("{}.{}", reversed(client), list.zone),
        kind: Kind::A,
    }
}

/// An address backwards, as zones have it: octets of IPv4, nibbles of IPv6, with dots between.
pub fn reversed(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            format!("{d}.{c}.{b}.{a}")
        }
        IpAddr::V6(address) => nibbles(address.to_bits()),
    }
}

fn nibbles(bits: u128) -> String {
    let mut text = String::with_capacity(63);
    for at in 0..32 {
        let dot = if at == 0 { "" } else { "." };
        // Writing to a string cannot fail.
        let _ = write!(text, "{dot}{:x}", (bits >> (4 * at)) & 0xf);
    }
    text
}

/// Questions whose answers every list of the client's address family knows (RFC 5782 section 5): the first is listed, the
/// second is not.
pub fn test_questions(list: &DnsBlocklist, client: IpAddr) -> [Question; 2] {
    [2, 1].map(|last| {
        let address = Ipv4Addr::new(127, 0, 0, last);
        let reversed = match client.to_canonical() {
            IpAddr::V4(_) => reversed(IpAddr::V4(address)),
            // Of the mapped form on purpose, which is the test entry of IPv6 lists.
            IpAddr::V6(_) => nibbles(address.to_ipv6_mapped().to_bits()),
        };
        Question {
            name: format!("{reversed}.{}", list.zone),
            kind: Kind::A,
        }
    })
}

/// Whether a list that answers these to its test questions is one. `None`: it does not answer now.
pub fn is_sound(listed: &Answer, not_listed: &Answer) -> Option<bool> {
    let has = |answer: &Answer| match answer {
        Answer::Failure => None,
        Answer::Addresses(addresses) => match judge(addresses, |_| true) {
            Word::Unknown => None,
            word => Some(matches!(word, Word::Listed(_) | Word::Broken)),
        },
        _ => Some(false),
    };
    Some(has(listed)? && !has(not_listed)?)
}

/// What an answer of a list means.
pub fn word(list: &DnsBlocklist, answer: &Answer) -> Word {
    match answer {
        Answer::Addresses(addresses) => judge(addresses, |address| {
            list.answers.is_empty()
                || list
                    .answers
                    .iter()
                    .any(|counts| counts.contains(&IpAddr::V4(address)))
        }),
        Answer::Failure => Word::Unknown,
        _ => Word::NotListed,
    }
}

fn judge(addresses: &[IpAddr], counts: impl Fn(Ipv4Addr) -> bool) -> Word {
    let mut word = Word::NotListed;
    for address in addresses {
        match address {
            IpAddr::V4(v4) if is_error(*v4) => return Word::Unknown,
            IpAddr::V4(v4) if !v4.is_loopback() => return Word::Broken,
            IpAddr::V6(_) => return Word::Broken,
            IpAddr::V4(v4) if word == Word::NotListed && counts(*v4) => word = Word::Listed(*v4),
            IpAddr::V4(_) => {}
        }
    }
    word
}

/// What lists answer to those whom they do not serve (the convention of Spamhaus, which others follow).
fn is_error(address: Ipv4Addr) -> bool {
    address.to_bits() >> 8 == 0x7f_ff_ff
}

/// What the lists say together; one word each.
pub fn tally(lists: &[DnsBlocklist], words: &[Word]) -> Tally {
    let mut tally = Tally::default();
    let mut told = Vec::with_capacity(lists.len());
    for (list, word) in lists.iter().zip(words) {
        let name = list.shown();
        match word {
            Word::Listed(answer) => {
                tally.score += u64::from(list.score);
                tally.by.push(name.to_owned());
                told.push(format!("{name}={answer} ({})", list.score));
            }
            Word::NotListed => told.push(format!("{name}=no")),
            Word::Broken => told.push(format!("{name}=broken")),
            Word::Unknown => {
                told.push(format!("{name}=unknown"));
                if list.temporary_error == postroad_config::TemporaryError::Defer {
                    tally.waits_for.get_or_insert_with(|| name.to_owned());
                }
            }
        }
    }
    tally.told = told.join(" ");
    tally
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> DnsBlocklist {
        serde_saphyr::from_str(text).unwrap()
    }

    fn answer(addresses: &[&str]) -> Answer {
        Answer::Addresses(addresses.iter().map(|text| text.parse().unwrap()).collect())
    }

    #[test]
    fn addresses_are_asked_backwards() {
        let bl = list("zone: bl.example");
        let name = |client: &str| question(&bl, client.parse().unwrap()).name;
        // The examples of RFC 5782 sections 2.1 and 2.4.
        assert_eq!(name("192.0.2.99"), "99.2.0.192.bl.example");
        assert_eq!(name("::ffff:192.0.2.99"), "99.2.0.192.bl.example");
        assert_eq!(
            name("2001:db8:1:2:3:4:567:89ab"),
            "b.a.9.8.7.6.5.0.4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.8.b.d.0.1.0.0.2.bl.example"
        );
        let tests = |client: &str| test_questions(&bl, client.parse().unwrap()).map(|question| question.name);
        assert_eq!(
            tests("192.0.2.1"),
            ["2.0.0.127.bl.example", "1.0.0.127.bl.example"]
        );
        let [listed, not_listed] = tests("2001:db8::1");
        // RFC 5782 section 5: ::FFFF:7F00:2 and ::FFFF:7F00:1.
        let rest = "0.0.0.0.0.f.7.f.f.f.f.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.bl.example";
        assert_eq!((listed, not_listed), (format!("2.{rest}"), format!("1.{rest}")));
    }

    #[test]
    fn only_answers_of_a_list_count() {
        let all = list("zone: bl.example");
        let some = list("{zone: bl.example, answers: [127.0.0.4/30, 127.0.0.10/32]}");
        let listed = |text: &str| Word::Listed(text.parse().unwrap());
        for (answers, of_all, of_some) in [
            (answer(&["127.0.0.2"]), listed("127.0.0.2"), Word::NotListed),
            (
                answer(&["127.0.0.2", "127.0.0.10"]),
                listed("127.0.0.2"),
                listed("127.0.0.10"),
            ),
            (answer(&["127.0.0.7"]), listed("127.0.0.7"), listed("127.0.0.7")),
            (answer(&["127.255.255.254"]), Word::Unknown, Word::Unknown),
            (
                answer(&["127.0.0.2", "127.255.255.255"]),
                Word::Unknown,
                Word::Unknown,
            ),
            (answer(&["192.0.2.1"]), Word::Broken, Word::Broken),
            (answer(&["127.0.0.2", "192.0.2.1"]), Word::Broken, Word::Broken),
            (Answer::NxDomain, Word::NotListed, Word::NotListed),
            (Answer::NoData, Word::NotListed, Word::NotListed),
            (Answer::Failure, Word::Unknown, Word::Unknown),
        ] {
            assert_eq!(
                (word(&all, &answers), word(&some, &answers)),
                (of_all, of_some),
                "{answers:?}"
            );
        }
    }

    #[test]
    fn a_list_proves_itself_by_its_test_entries() {
        let (yes, no) = (answer(&["127.0.0.2"]), Answer::NxDomain);
        assert_eq!(is_sound(&yes, &no), Some(true));
        assert_eq!(is_sound(&no, &no), Some(false), "an empty zone");
        assert_eq!(is_sound(&yes, &yes), Some(false), "lists the whole world");
        assert_eq!(
            is_sound(&yes, &answer(&["192.0.2.1"])),
            Some(false),
            "somebody else's domain"
        );
        assert_eq!(is_sound(&Answer::Failure, &no), None);
        assert_eq!(
            is_sound(&answer(&["127.255.255.254"]), &no),
            None,
            "it does not serve us"
        );
    }

    #[test]
    fn scores_add_up_and_a_list_is_waited_for_where_its_owner_says_so() {
        let lists = [
            list("{zone: a.example, score: 2}"),
            list("{zone: secretkey.b.example, name: b, score: 3, temporaryError: Defer}"),
            list("{zone: c.example}"),
        ];
        let two: Ipv4Addr = "127.0.0.2".parse().unwrap();
        let both = tally(&lists, &[Word::Listed(two), Word::Listed(two), Word::Unknown]);
        assert_eq!((both.score, both.waits_for.as_deref()), (5, None));
        assert_eq!(both.by, ["a.example", "b"]);
        assert_eq!(
            both.told,
            "a.example=127.0.0.2 (2) b=127.0.0.2 (3) c.example=unknown"
        );
        let waits = tally(&lists, &[Word::Broken, Word::Unknown, Word::NotListed]);
        assert_eq!((waits.score, waits.waits_for.as_deref()), (0, Some("b")));
        assert!(!waits.told.contains("secretkey"));
    }
}
