//! Tables of what servers say and what is made of it.

use std::net::IpAddr;

use hickory_resolver::proto::rr::rdata::{MX, TXT};
use hickory_resolver::proto::rr::{Name, RData};
use postroad_verify::dns::Answer;
use postroad_verify::spf::{Check, Request};

use super::spf::shown;
use super::*;
use crate::dns::spf::SpfObservation;

fn mx_record(text: &str) -> RData {
    let (preference, host) = text.split_once(' ').unwrap();
    RData::MX(MX::new(
        preference.parse().unwrap(),
        Name::from_ascii(host).unwrap(),
    ))
}

fn said(server: &str, seen: Result<Found, Trouble>) -> Observation {
    Observation {
        server: server.to_owned(),
        seen,
    }
}

fn mx_said(server: &str, records: &[&str]) -> Observation {
    said(
        server,
        Ok(Found::Records(
            records.iter().map(|text| mx_record(text)).collect(),
        )),
    )
}

fn judge_mx(seen: Vec<Observation>) -> Judgement {
    let hostnames = ["mail.example.com".to_owned()];
    mx(
        &MxWanted {
            domain: "example.com",
            hostnames: &hostnames,
        },
        &Ok(seen),
    )
}

#[test]
fn mx_is_judged_by_what_all_servers_say() {
    let good = || mx_said("ns1", &["10 MAIL.example.com.", "20 other.example."]);
    let elsewhere = || mx_said("ns2", &["10 other.example."]);
    for (seen, ruling, reason, server) in [
        (vec![good()], Ruling::True, reasons::MX_FOUND, "ns1"),
        (vec![elsewhere()], Ruling::False, reasons::MX_ELSEWHERE, "ns2"),
        (
            vec![mx_said("ns1", &["0 ."])],
            Ruling::False,
            reasons::MX_NULL,
            "ns1",
        ),
        (
            vec![said("ns1", Ok(Found::NoData))],
            Ruling::False,
            reasons::MX_MISSING,
            "ns1",
        ),
        (
            vec![said("ns1", Ok(Found::NxDomain))],
            Ruling::False,
            reasons::MX_MISSING,
            "ns1",
        ),
        (
            vec![good(), elsewhere()],
            Ruling::False,
            reasons::SERVERS_DISAGREE,
            "ns2",
        ),
        (
            vec![said("ns2", Err(Trouble::TimedOut)), good()],
            Ruling::True,
            reasons::MX_FOUND,
            "ns1",
        ),
        (
            vec![said("ns1", Err(Trouble::TimedOut))],
            Ruling::Unknown,
            reasons::NO_ANSWER,
            "ns1",
        ),
        (
            vec![said("ns1", Err(Trouble::Code("SERVFAIL")))],
            Ruling::Unknown,
            reasons::NO_ANSWER,
            "ns1",
        ),
        (vec![], Ruling::Unknown, reasons::NO_NAME_SERVERS, ""),
    ] {
        let judged = judge_mx(seen.clone());
        assert_eq!((judged.ruling, judged.reason), (ruling, reason), "{seen:?}");
        assert_eq!(judged.server, server, "{seen:?}");
        assert_eq!(judged.expected, "10 mail.example.com.");
    }
}

#[test]
fn a_false_mx_says_what_was_seen_where_and_what_to_publish() {
    let judged = judge_mx(vec![mx_said(
        "ns1.example.net",
        &["20 b.example.", "10 a.example."],
    )]);
    assert_eq!(judged.observed, "10 a.example., 20 b.example.");
    assert_eq!(
        judged.message,
        "ns1.example.net: no MX record names mail.example.com; observed: 10 a.example., 20 b.example.; \
         publish: example.com. MX 10 mail.example.com."
    );
}

#[test]
fn servers_that_cannot_be_found_give_unknown() {
    let hostnames = ["mail.example.com".to_owned()];
    let wanted = MxWanted {
        domain: "example.com",
        hostnames: &hostnames,
    };
    let judged = mx(&wanted, &Err(Trouble::Code("SERVFAIL")));
    assert_eq!(
        (judged.ruling, judged.reason),
        (Ruling::Unknown, reasons::NO_NAME_SERVERS)
    );
    assert!(judged.message.contains("SERVFAIL"), "{}", judged.message);
}

/// What a server says, evaluated as the operator does; `gone.example` is not there, `slow.example` does not answer.
fn spf_said(server: &str, texts: &[&str], egress: &[IpAddr]) -> SpfObservation {
    let own: Vec<Vec<u8>> = texts.iter().map(|text| text.as_bytes().to_vec()).collect();
    let records = texts
        .iter()
        .map(|text| RData::TXT(TXT::from_bytes(vec![text.as_bytes()])))
        .collect();
    let outcome = |address: &IpAddr| {
        let request = Request::mail_from(*address, "mail.example.com", "postmaster@example.com");
        Check::run(request, |question| match question.name.as_str() {
            "example.com" => Answer::Txt(own.clone()),
            "slow.example" => Answer::Failure,
            _ => Answer::NxDomain,
        })
    };
    SpfObservation {
        observation: said(server, Ok(Found::Records(records))),
        outcomes: egress
            .iter()
            .map(|address| (*address, outcome(address)))
            .collect(),
    }
}

struct Row {
    texts: &'static [&'static str],
    egress_known: bool,
    sends: bool,
    want: (Ruling, &'static str, &'static str),
}

fn check(rows: &[Row]) {
    let all: Vec<IpAddr> = ["192.0.2.7", "2001:db8::7"]
        .map(|text| text.parse().unwrap())
        .to_vec();
    let hostnames = ["mail.example.com".to_owned()];
    for row in rows {
        let egress: &[IpAddr] = if row.egress_known { &all } else { &[] };
        let wanted = SpfWanted {
            domain: "example.com",
            egress,
            sends: row.sends,
            hostnames: &hostnames,
            includes: &[],
        };
        let judged = spf(&wanted, &Ok(vec![spf_said("ns1", row.texts, egress)]));
        let got = (judged.ruling, judged.reason, judged.expected.as_str());
        assert_eq!(got, row.want, "{:?}: {}", row.texts, judged.message);
    }
}

/// A row for a domain that sends from known addresses.
fn sends(
    texts: &'static [&'static str],
    ruling: Ruling,
    reason: &'static str,
    expected: &'static str,
) -> Row {
    Row {
        texts,
        egress_known: true,
        sends: true,
        want: (ruling, reason, expected),
    }
}

#[test]
fn spf_is_judged_by_the_addresses_that_mail_leaves_from() {
    const NEW: &str = "v=spf1 ip4:192.0.2.7 ip6:2001:db8::7 -all";
    const GOOD: &str = "v=spf1 ip4:192.0.2.7 ip6:2001:db8::/32 -all";
    const SLOW: &str = "v=spf1 include:slow.example -all";
    check(&[
        sends(&[GOOD, "other"], Ruling::True, reasons::SPF_PASSES, GOOD),
        sends(
            &["v=spf1 ip4:192.0.2.7 mx -all"],
            Ruling::False,
            reasons::SPF_NOT_AUTHORIZED,
            "v=spf1 ip6:2001:db8::7 ip4:192.0.2.7 mx -all",
        ),
        sends(
            &["v=spf1"],
            Ruling::False,
            reasons::SPF_NOT_AUTHORIZED,
            "v=spf1 ip4:192.0.2.7 ip6:2001:db8::7",
        ),
        sends(&["other"], Ruling::False, reasons::SPF_MISSING, NEW),
        sends(
            &["v=spf1 mx", "v=spf1 a"],
            Ruling::False,
            reasons::SPF_SEVERAL,
            NEW,
        ),
        sends(
            &["v=spf1 ip4:192.0.2 -all"],
            Ruling::False,
            reasons::SPF_INVALID,
            NEW,
        ),
        sends(
            &["v=spf1 include:gone.example -all"],
            Ruling::False,
            reasons::SPF_INVALID,
            "v=spf1 ip4:192.0.2.7 ip6:2001:db8::7 include:gone.example -all",
        ),
        sends(&[SLOW], Ruling::Unknown, reasons::NO_ANSWER, SLOW),
    ]);
}

#[test]
fn without_egress_addresses_or_senders_only_the_record_itself_is_judged() {
    let row = |texts, egress_known, ruling, reason, expected| Row {
        texts,
        egress_known,
        sends: !egress_known,
        want: (ruling, reason, expected),
    };
    let by_name = "v=spf1 a:mail.example.com -all";
    check(&[
        row(
            &["v=spf1 mx -all"],
            false,
            Ruling::Unknown,
            reasons::EGRESS_UNKNOWN,
            "v=spf1 mx -all",
        ),
        row(&["other"], false, Ruling::False, reasons::SPF_MISSING, by_name),
        row(
            &["v=spf1 moo"],
            false,
            Ruling::False,
            reasons::SPF_INVALID,
            by_name,
        ),
        row(
            &["v=spf1 -all"],
            true,
            Ruling::True,
            reasons::SPF_RECORD_VALID,
            "v=spf1 -all",
        ),
        row(
            &["other"],
            true,
            Ruling::False,
            reasons::SPF_MISSING,
            "v=spf1 -all",
        ),
    ]);
}

#[test]
fn a_proposed_spf_record_passes_when_published() {
    let egress: Vec<IpAddr> = ["192.0.2.7", "2001:db8::7"]
        .map(|text| text.parse().unwrap())
        .to_vec();
    let wanted = SpfWanted {
        domain: "example.com",
        egress: &egress,
        sends: true,
        hostnames: &[],
        includes: &[],
    };
    for text in [
        "v=spf1 -all",
        "v=spf1 -ip4:192.0.2.0/24 ~all",
        "other",
        "v=spf1 ip4:192.0.2.7 redirect=gone.example",
    ] {
        let judged = spf(&wanted, &Ok(vec![spf_said("ns1", &[text], &egress)]));
        assert_eq!(judged.ruling, Ruling::False, "{text}");
        let again = spf(&wanted, &Ok(vec![spf_said("ns1", &[&judged.expected], &egress)]));
        assert_eq!(again.ruling, Ruling::True, "{text} → {}", judged.expected);
    }
}

#[test]
fn octets_of_a_foreign_record_are_shown_printable_and_short() {
    assert_eq!(shown(b"v=spf1 \x1b[31m\xff"), "v=spf1 ?[31m?");
    assert_eq!(shown(&[b'a'; 5_000]).chars().count(), 401);
}
