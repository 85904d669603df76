//! The way from a mail server to its TLSA records (RFC 7672 section 2.2): what is asked next, and what it comes to.

use std::fmt;

use super::record::Tlsa;
use crate::dns::is_askable;

/// Type of the records asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
    /// An alias.
    Cname,
    /// TLSA.
    Tlsa,
    /// Mail exchangers. Not of a search: a caller asks so whether they are proven.
    Mx,
}

/// One question; the name is as [`crate::dns::Question`] has it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Question {
    /// Name asked for.
    pub name: String,
    /// Type asked for.
    pub kind: Kind,
}

/// What became of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Records. Aliases were followed.
    Found {
        /// All of it is proven by DNSSEC.
        proven: bool,
        /// The name that the aliases led to, where there were any.
        end: Option<String>,
        /// The records: of TLSA their data as on the wire, of MX the host names, of others nothing that matters.
        data: Vec<Vec<u8>>,
    },
    /// The name does not exist, or not with this type.
    Nothing,
    /// No answer, or one that is proven to be false.
    Failure,
}

/// What the DNS says of a mail server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dane {
    /// Nothing: other policies decide.
    Absent,
    /// There are records, and none that can be used: TLS is required, whatever the certificate (RFC 7672 section 2.2).
    Unusable,
    /// The certificate must match one of these; never empty.
    Usable {
        /// The name at which they are: what the server is asked for by SNI, and one that may be in its certificate.
        base: String,
        /// The records.
        records: Vec<Tlsa>,
    },
    /// Not known now: this server is not used (RFC 7672 section 2.1.1).
    Unknown(Question),
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Ask this.
    Ask(Question),
    /// The end.
    Done(Dane),
}

/// A search under way.
#[derive(Clone, Debug)]
pub struct Search {
    host: String,
    port: u16,
    at: Question,
    /// Where records are looked for next.
    rest: Vec<String>,
}

impl Search {
    /// Begins. `host`: a host name, in lower case, without a final dot.
    pub fn start(host: &str, port: u16) -> (Self, Step) {
        let search = Self {
            host: host.to_owned(),
            port,
            at: Question {
                name: host.to_owned(),
                kind: Kind::A,
            },
            rest: vec![],
        };
        let step = if is_askable(host) {
            Step::Ask(search.at.clone())
        } else {
            Step::Done(Dane::Absent)
        };
        (search, step)
    }

    /// Takes the answer to the question of the last step.
    pub fn answer(&mut self, answer: Answer) -> Step {
        if answer == Answer::Failure {
            return Step::Done(Dane::Unknown(self.at.clone()));
        }
        match (self.at.kind, answer) {
            (Kind::A, Answer::Nothing) => self.ask(self.host.clone(), Kind::Aaaa),
            // Both names, the one at the end first (RFC 7672 section 2.2.2).
            (
                Kind::A | Kind::Aaaa,
                Answer::Found {
                    proven: true, end, ..
                },
            ) => {
                self.rest = vec![self.host.clone()];
                self.rest.extend(end.filter(|end| *end != self.host));
                self.next()
            }
            // The alias may be proven though what it leads to is not.
            (Kind::A | Kind::Aaaa, Answer::Found { end: Some(_), .. }) => {
                self.ask(self.host.clone(), Kind::Cname)
            }
            (Kind::Cname, Answer::Found { proven: true, .. }) => {
                self.rest = vec![self.host.clone()];
                self.next()
            }
            (
                Kind::Tlsa,
                Answer::Found {
                    proven: true, data, ..
                },
            ) if !data.is_empty() => self.judge(&data),
            (Kind::Tlsa, _) => self.next(),
            _ => Step::Done(Dane::Absent),
        }
    }

    fn next(&mut self) -> Step {
        match self.rest.pop() {
            Some(base) => self.ask(format!("_{}._tcp.{base}", self.port), Kind::Tlsa),
            None => Step::Done(Dane::Absent),
        }
    }

    fn ask(&mut self, name: String, kind: Kind) -> Step {
        if !is_askable(&name) {
            return Step::Done(Dane::Absent);
        }
        self.at = Question { name, kind };
        Step::Ask(self.at.clone())
    }

    fn judge(&self, data: &[Vec<u8>]) -> Step {
        let records = Tlsa::usable(data.iter().map(Vec::as_slice));
        let prefix = format!("_{}._tcp.", self.port);
        let base = self
            .at
            .name
            .strip_prefix(&prefix)
            .unwrap_or(&self.host)
            .to_owned();
        Step::Done(if records.is_empty() {
            Dane::Unusable
        } else {
            Dane::Usable { base, records }
        })
    }
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::A => "A",
            Kind::Aaaa => "AAAA",
            Kind::Cname => "CNAME",
            Kind::Tlsa => "TLSA",
            Kind::Mx => "MX",
        };
        write!(f, "{} {kind}", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers by name and kind; what is not there does not exist.
    type Zone<'a> = &'a [(&'a str, Kind, Answer)];

    fn search(zone: Zone<'_>) -> (Dane, Vec<String>) {
        let (mut search, mut step) = Search::start("mx.example", 25);
        let mut asked = vec![];
        loop {
            match step {
                Step::Done(dane) => return (dane, asked),
                Step::Ask(question) => {
                    let known = zone
                        .iter()
                        .find(|(name, kind, _)| *name == question.name && *kind == question.kind);
                    asked.push(question.to_string());
                    assert!(asked.len() < 10, "{asked:?}");
                    step = search.answer(known.map_or(Answer::Nothing, |(_, _, answer)| answer.clone()));
                }
            }
        }
    }

    fn found(proven: bool, data: &[&[u8]]) -> Answer {
        Answer::Found {
            proven,
            end: None,
            data: data.iter().map(|data| data.to_vec()).collect(),
        }
    }

    fn alias(proven: bool) -> Answer {
        Answer::Found {
            proven,
            end: Some("end.example".into()),
            data: vec![],
        }
    }

    fn good() -> Vec<u8> {
        [&[3, 1, 1][..], &[7; 32]].concat()
    }

    fn usable(base: &str) -> Dane {
        Dane::Usable {
            base: base.into(),
            records: vec![Tlsa::read(&good()).unwrap()],
        }
    }

    fn unknown(name: &str, kind: Kind) -> Dane {
        Dane::Unknown(Question {
            name: name.into(),
            kind,
        })
    }

    const HOST: &str = "mx.example";
    const AT_HOST: &str = "_25._tcp.mx.example";
    const AT_END: &str = "_25._tcp.end.example";

    #[test]
    fn the_whole_table() {
        let (good, bad) = (good(), [&[1, 1, 1][..], &[7; 32]].concat());
        let (tlsa, proven) = (found(true, &[&good]), found(true, &[]));
        let (a, aaaa, at) = (Kind::A, Kind::Aaaa, Kind::Tlsa);
        let table: &[(&str, Zone<'_>, Dane)] = &[
            (
                "proven",
                &[(HOST, a, proven.clone()), (AT_HOST, at, tlsa.clone())],
                usable(HOST),
            ),
            (
                "IPv6 alone",
                &[(HOST, aaaa, proven.clone()), (AT_HOST, at, tlsa.clone())],
                usable(HOST),
            ),
            ("no records", &[(HOST, a, proven.clone())], Dane::Absent),
            ("no addresses", &[], Dane::Absent),
            ("addresses fail", &[(HOST, a, Answer::Failure)], unknown(HOST, a)),
            (
                "the other family fails",
                &[(HOST, aaaa, Answer::Failure)],
                unknown(HOST, aaaa),
            ),
            (
                "records fail",
                &[(HOST, a, proven.clone()), (AT_HOST, at, Answer::Failure)],
                unknown(AT_HOST, at),
            ),
            (
                "records not proven",
                &[(HOST, a, proven.clone()), (AT_HOST, at, found(false, &[&good]))],
                Dane::Absent,
            ),
            (
                "addresses not proven",
                &[(HOST, a, found(false, &[])), (AT_HOST, at, tlsa.clone())],
                Dane::Absent,
            ),
            // A server that fails at TLSA in a zone without DNSSEC does no harm.
            (
                "fails unproven",
                &[(HOST, a, found(false, &[])), (AT_HOST, at, Answer::Failure)],
                Dane::Absent,
            ),
            (
                "none usable",
                &[
                    (HOST, a, proven.clone()),
                    (AT_HOST, at, found(true, &[&bad, &[]])),
                ],
                Dane::Unusable,
            ),
            (
                "one usable",
                &[
                    (HOST, a, proven.clone()),
                    (AT_HOST, at, found(true, &[&bad, &good])),
                ],
                usable(HOST),
            ),
        ];
        for (what, zone, want) in table {
            assert_eq!(search(zone).0, *want, "{what}");
        }
    }

    #[test]
    fn behind_an_alias_both_names_are_looked_at() {
        let (tlsa, proven) = (found(true, &[&good()]), found(true, &[]));
        let (a, cname, at) = (Kind::A, Kind::Cname, Kind::Tlsa);
        let table: &[(&str, Zone<'_>, Dane)] = &[
            (
                "at the end of an alias",
                &[(HOST, a, alias(true)), (AT_END, at, tlsa.clone())],
                usable("end.example"),
            ),
            (
                "at the alias",
                &[(HOST, a, alias(true)), (AT_HOST, at, tlsa.clone())],
                usable(HOST),
            ),
            (
                "the end fails",
                &[
                    (HOST, a, alias(true)),
                    (AT_END, at, Answer::Failure),
                    (AT_HOST, at, tlsa.clone()),
                ],
                unknown(AT_END, at),
            ),
            (
                "a proven alias into a zone without DNSSEC",
                &[
                    (HOST, a, alias(false)),
                    (HOST, cname, proven.clone()),
                    (AT_HOST, at, tlsa.clone()),
                    (AT_END, at, tlsa.clone()),
                ],
                usable(HOST),
            ),
            (
                "an alias that is not proven",
                &[
                    (HOST, a, alias(false)),
                    (HOST, cname, found(false, &[])),
                    (AT_HOST, at, tlsa.clone()),
                ],
                Dane::Absent,
            ),
            (
                "the alias fails",
                &[(HOST, a, alias(false)), (HOST, cname, Answer::Failure)],
                unknown(HOST, cname),
            ),
        ];
        for (what, zone, want) in table {
            assert_eq!(search(zone).0, *want, "{what}");
        }
    }

    #[test]
    fn a_zone_without_dnssec_is_not_asked_for_records() {
        let (_, asked) = search(&[(HOST, Kind::A, found(false, &[]))]);
        assert_eq!(asked, ["mx.example A"]);
    }

    #[test]
    fn a_name_that_fits_no_question_has_no_records() {
        for host in ["", "a..b", &"a.".repeat(130)] {
            assert_eq!(Search::start(host, 25).1, Step::Done(Dane::Absent), "{host}");
        }
        let long = format!("{0}.{0}.{0}.{1}", "a".repeat(63), "b".repeat(55));
        let (mut search, _) = Search::start(&long, 25);
        assert_eq!(search.answer(found(true, &[])), Step::Done(Dane::Absent));
    }
}
