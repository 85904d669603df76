//! `check_host()`, RFC 7208 section 4.
//!
//! ```text
//! domain ─► TXT ─► record ─► directives in order ──first match──► its qualifier ─► fail? ask for exp=
//!                    ▲            │ include: the same for another domain
//!                    └─ redirect ─┘ nothing matched
//! ```

use std::net::IpAddr;

use super::macros::{MacroString, Place, Values, dotted};
use super::record::{Directive, Mechanism, Prefixes, Qualifier, Record, SelectError, select};
use super::{MOST_LOOKUPS, MOST_NAMES, MOST_VOID_LOOKUPS, Outcome, Problem, Request, Verdict};
use crate::dns::{Answer, Kind, Question, is_askable};
use crate::steps::Slot;

/// Longest explanation that is passed on; more is no explanation.
const LONGEST_EXPLANATION: usize = 2_000;

pub(super) async fn evaluate(request: Request, slot: Slot) -> Outcome {
    let mut outcome = Outcome {
        verdict: Verdict::None,
        explanation: None,
        matched: None,
        problem: None,
    };
    // Section 4.3: what is no domain name of several labels has no policy.
    let domain = request
        .domain
        .strip_suffix('.')
        .unwrap_or(&request.domain)
        .to_owned();
    if !is_checkable(&domain) {
        return outcome;
    }
    let mut evaluation = Evaluation {
        request,
        slot,
        lookups: 0,
        void_lookups: 0,
        validated: None,
    };
    match evaluation.check_host(domain).await {
        Ok(None) => {}
        Ok(Some(decision)) => {
            outcome.verdict = decision.verdict;
            if decision.verdict == Verdict::Fail {
                outcome.explanation = evaluation.explain(&decision).await;
            }
            outcome.matched = decision.matched;
        }
        Err(problem) => {
            outcome.verdict = match problem {
                Problem::NoAnswer(_) => Verdict::TempError,
                _ => Verdict::PermError,
            };
            outcome.problem = Some(problem);
        }
    }
    outcome
}

fn is_checkable(domain: &str) -> bool {
    let host_like = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    is_askable(domain) && domain.contains('.') && domain.bytes().all(host_like)
}

struct Evaluation {
    request: Request,
    slot: Slot,
    lookups: u32,
    void_lookups: u32,
    /// Validated names of the client (section 5.5), once they were looked for.
    validated: Option<Vec<String>>,
}

/// What the record of a domain came to.
struct Decision {
    verdict: Verdict,
    matched: Option<String>,
    /// Whose record it was; for the macros of the explanation.
    domain: String,
    explanation: Option<MacroString>,
}

impl Evaluation {
    /// Ok(None): there is no record.
    async fn check_host(&mut self, mut domain: String) -> Result<Option<Decision>, Problem> {
        let mut led_here: Option<String> = None;
        loop {
            let Some(record) = self.record(&domain).await? else {
                return match led_here {
                    None => Ok(None),
                    // Section 6.1: a redirect into nothing is an error.
                    Some(term) => Err(Problem::NoRecord { term, domain }),
                };
            };
            if let Some(directive) = self.first_match(&record, &domain).await? {
                return Ok(Some(Decision {
                    verdict: verdict_of(directive.qualifier),
                    matched: Some(directive.text.clone()),
                    domain,
                    explanation: record.explanation,
                }));
            }
            let Some(redirect) = record.redirect else {
                return Ok(Some(Decision {
                    verdict: Verdict::Neutral,
                    matched: None,
                    domain,
                    explanation: None,
                }));
            };
            self.count_lookup()?;
            let target = self.expand(&redirect, &domain).await?;
            led_here = Some(format!("redirect={target}"));
            domain = target;
        }
    }

    async fn record(&mut self, domain: &str) -> Result<Option<Record>, Problem> {
        // A name that cannot be asked for has no record (section 4.3).
        let Answer::Txt(texts) = self.ask(domain, Kind::Txt).await? else {
            return Ok(None);
        };
        select(&texts).map_err(|error| match error {
            SelectError::Several(_) => Problem::SeveralRecords(domain.to_owned()),
            SelectError::Syntax(error) => Problem::Syntax {
                domain: domain.to_owned(),
                error,
            },
        })
    }

    async fn first_match<'r>(
        &mut self,
        record: &'r Record,
        domain: &str,
    ) -> Result<Option<&'r Directive>, Problem> {
        for directive in &record.directives {
            if self.matches(directive, domain).await? {
                return Ok(Some(directive));
            }
        }
        Ok(None)
    }

    async fn matches(&mut self, directive: &Directive, domain: &str) -> Result<bool, Problem> {
        match &directive.mechanism {
            Mechanism::All => Ok(true),
            Mechanism::Network(network, length) => Ok(holds(*network, *length, self.request.client)),
            Mechanism::Include(target) => {
                self.count_lookup()?;
                let target = self.expand(target, domain).await?;
                // The recursion is at most as deep as look-ups are allowed.
                match Box::pin(self.check_host(target.clone())).await? {
                    Some(decision) => Ok(decision.verdict == Verdict::Pass),
                    None => Err(Problem::NoRecord {
                        term: directive.text.clone(),
                        domain: target,
                    }),
                }
            }
            Mechanism::A(target, prefixes) => {
                self.count_lookup()?;
                let target = self.target(target.as_ref(), domain).await?;
                let answer = self.ask(&target, self.address_kind()).await?;
                self.count_void(&answer)?;
                Ok(self.any_holds(&answer, *prefixes))
            }
            Mechanism::Mx(target, prefixes) => {
                self.count_lookup()?;
                let target = self.target(target.as_ref(), domain).await?;
                self.matches_mx(&target, *prefixes).await
            }
            Mechanism::Exists(target) => {
                self.count_lookup()?;
                let target = self.expand(target, domain).await?;
                // Section 5.7: always A, whatever the client's family.
                let answer = self.ask(&target, Kind::A).await?;
                self.count_void(&answer)?;
                Ok(matches!(answer, Answer::Addresses(addresses) if !addresses.is_empty()))
            }
            Mechanism::Ptr(target) => {
                self.count_lookup()?;
                let target = self.target(target.as_ref(), domain).await?;
                let names = self.validated_names().await;
                Ok(names.iter().any(|name| is_under(name, &target)))
            }
        }
    }

    async fn matches_mx(&mut self, target: &str, prefixes: Prefixes) -> Result<bool, Problem> {
        let answer = self.ask(target, Kind::Mx).await?;
        self.count_void(&answer)?;
        let Answer::Mx(exchangers) = answer else {
            return Ok(false);
        };
        if exchangers.len() > MOST_NAMES {
            return Err(Problem::TooManyExchangers(target.to_owned()));
        }
        for exchanger in exchangers {
            let host = exchanger.host.strip_suffix('.').unwrap_or(&exchanger.host);
            // Void look-ups are counted by term (section 4.6.4), so not once more for each host.
            let answer = self.ask(host, self.address_kind()).await?;
            if self.any_holds(&answer, prefixes) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Section 5.5: names of the client's address that lead back to it. Failures only make the list shorter.
    async fn validated_names(&mut self) -> Vec<String> {
        if let Some(names) = &self.validated {
            return names.clone();
        }
        let mut names = Vec::new();
        if let Ok(Answer::Names(found)) = self.ask(&reverse_name(self.request.client), Kind::Ptr).await {
            for name in found.into_iter().take(MOST_NAMES) {
                let name = name.strip_suffix('.').unwrap_or(&name).to_ascii_lowercase();
                if let Ok(Answer::Addresses(addresses)) = self.ask(&name, self.address_kind()).await
                    && addresses.contains(&self.request.client)
                {
                    names.push(name);
                }
            }
        }
        self.validated = Some(names.clone());
        names
    }

    async fn target(&mut self, target: Option<&MacroString>, domain: &str) -> Result<String, Problem> {
        match target {
            None => Ok(domain.to_owned()),
            Some(target) => self.expand(target, domain).await,
        }
    }

    async fn expand(&mut self, text: &MacroString, domain: &str) -> Result<String, Problem> {
        if text.needs_validated_name() && self.validated.is_none() {
            // Section 4.6.4 counts the PTR query of %{p} as well.
            self.count_lookup()?;
        }
        let validated = self.validated_name_for(text, domain).await;
        Ok(text.expand_domain(&self.values(domain, &validated)))
    }

    /// Value of %{p} (section 7.3): the domain itself, else a name under it, else any, else "unknown".
    async fn validated_name_for(&mut self, text: &MacroString, domain: &str) -> String {
        if !text.needs_validated_name() {
            return String::new();
        }
        let names = self.validated_names().await;
        let same = names.iter().find(|name| name.eq_ignore_ascii_case(domain));
        let under = || names.iter().find(|name| is_under(name, domain));
        let chosen = same.or_else(under).or_else(|| names.first());
        chosen.map_or_else(|| "unknown".to_owned(), Clone::clone)
    }

    fn values<'a>(&'a self, domain: &'a str, validated: &'a str) -> Values<'a> {
        Values {
            local_part: &self.request.local_part,
            sender_domain: &self.request.domain,
            domain,
            client: self.request.client,
            validated,
            helo: &self.request.helo,
            receiver: &self.request.receiver,
            now: self.request.now,
        }
    }

    /// Section 6.2. Whatever goes wrong, there is just no explanation.
    async fn explain(&mut self, decision: &Decision) -> Option<String> {
        let target = decision.explanation.as_ref()?;
        let validated = self.validated_name_for(target, &decision.domain).await;
        let name = target.expand_domain(&self.values(&decision.domain, &validated));
        let Ok(Answer::Txt(texts)) = self.ask(&name, Kind::Txt).await else {
            return None;
        };
        let [text] = texts.as_slice() else { return None };
        let text = MacroString::parse(str::from_utf8(text).ok()?, Place::Explanation).ok()?;
        let validated = self.validated_name_for(&text, &decision.domain).await;
        let words = text.expand(&self.values(&decision.domain, &validated));
        let printable = words.bytes().all(|b| b.is_ascii_graphic() || b == b' ');
        (printable && words.len() <= LONGEST_EXPLANATION).then_some(words)
    }

    async fn ask(&self, name: &str, kind: Kind) -> Result<Answer, Problem> {
        if !is_askable(name) {
            return Ok(Answer::NxDomain);
        }
        let question = Question {
            name: name.to_owned(),
            kind,
        };
        match self.slot.ask(question.clone()).await {
            Answer::Failure => Err(Problem::NoAnswer(question)),
            answer => Ok(answer),
        }
    }

    fn address_kind(&self) -> Kind {
        match self.request.client {
            IpAddr::V4(_) => Kind::A,
            IpAddr::V6(_) => Kind::Aaaa,
        }
    }

    fn any_holds(&self, answer: &Answer, prefixes: Prefixes) -> bool {
        let length = match self.request.client {
            IpAddr::V4(_) => prefixes.v4,
            IpAddr::V6(_) => prefixes.v6,
        };
        let Answer::Addresses(addresses) = answer else {
            return false;
        };
        addresses
            .iter()
            .any(|address| holds(*address, length, self.request.client))
    }

    fn count_lookup(&mut self) -> Result<(), Problem> {
        self.lookups += 1;
        if self.lookups > MOST_LOOKUPS {
            return Err(Problem::TooManyLookups);
        }
        Ok(())
    }

    fn count_void(&mut self, answer: &Answer) -> Result<(), Problem> {
        if matches!(answer, Answer::NoData | Answer::NxDomain) {
            self.void_lookups += 1;
        }
        if self.void_lookups > MOST_VOID_LOOKUPS {
            return Err(Problem::TooManyVoidLookups);
        }
        Ok(())
    }
}

fn verdict_of(qualifier: Qualifier) -> Verdict {
    match qualifier {
        Qualifier::Pass => Verdict::Pass,
        Qualifier::Fail => Verdict::Fail,
        Qualifier::SoftFail => Verdict::SoftFail,
        Qualifier::Neutral => Verdict::Neutral,
    }
}

/// Whether a network holds an address of the same family.
fn holds(network: IpAddr, length: u8, address: IpAddr) -> bool {
    match (network, address) {
        (IpAddr::V4(network), IpAddr::V4(address)) => {
            let differing = network.to_bits() ^ address.to_bits();
            differing.checked_shr(32 - u32::from(length.min(32))).unwrap_or(0) == 0
        }
        (IpAddr::V6(network), IpAddr::V6(address)) => {
            let differing = network.to_bits() ^ address.to_bits();
            differing
                .checked_shr(128 - u32::from(length.min(128)))
                .unwrap_or(0)
                == 0
        }
        _ => false,
    }
}

fn is_under(name: &str, domain: &str) -> bool {
    let (name, domain) = (name.to_ascii_lowercase(), domain.to_ascii_lowercase());
    name == domain || name.strip_suffix(&domain).is_some_and(|left| left.ends_with('.'))
}

/// Name of an address in the reverse tree (RFC 1035 section 3.5, RFC 3596 section 2.5).
pub fn reverse_name(address: IpAddr) -> String {
    let tree = match address {
        IpAddr::V4(_) => "in-addr.arpa",
        IpAddr::V6(_) => "ip6.arpa",
    };
    let forward = dotted(address).to_ascii_lowercase();
    let parts: Vec<&str> = forward.rsplit('.').collect();
    format!("{}.{tree}", parts.join("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_hold_what_they_should() {
        for (network, length, address, want) in [
            ("192.0.2.0", 24, "192.0.2.255", true),
            ("192.0.2.0", 24, "192.0.3.0", false),
            ("192.0.2.1", 32, "192.0.2.1", true),
            ("192.0.2.1", 32, "192.0.2.0", false),
            ("10.0.0.0", 0, "203.0.113.1", true),
            ("::", 0, "192.0.2.1", false),
            ("::", 0, "2001:db8::1", true),
            ("2001:db8::", 33, "2001:db8:7fff::", true),
            ("2001:db8::", 33, "2001:db8:8000::", false),
        ] {
            let holds = holds(network.parse().unwrap(), length, address.parse().unwrap());
            assert_eq!(holds, want, "{network}/{length} {address}");
        }
    }

    #[test]
    fn addresses_have_their_reverse_name() {
        assert_eq!(
            reverse_name("192.0.2.3".parse().unwrap()),
            "3.2.0.192.in-addr.arpa"
        );
        let name = reverse_name("2001:db8::cb01".parse().unwrap());
        assert!(name.starts_with("1.0.b.c.0.0.") && name.ends_with("8.b.d.0.1.0.0.2.ip6.arpa"));
    }
}
