//! SPF as the world sees it: the record that a server of the zone gives, evaluated for each address that mail leaves
//! from. The evaluation is `postroad-verify`'s; here its questions are answered.

use std::net::IpAddr;

use hickory_resolver::proto::rr::RecordType;
use ipnet::IpNet;
use postroad_verify::dns::{Answer, Kind};
use postroad_verify::spf::{Check, Outcome, Request, Step};

use super::exchange::texts;
use super::resolver::{Observation, Resolver, Server};

/// What one server's record comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpfObservation {
    /// The TXT records that it gave.
    pub observation: Observation,
    /// For each egress address, the outcome with this record. Empty when there is no usable record.
    pub outcomes: Vec<(IpAddr, Outcome)>,
}

/// Addresses that stand for networks: the first and the last of each.
pub fn samples(networks: &[IpNet]) -> Vec<IpAddr> {
    let mut addresses: Vec<IpAddr> = networks
        .iter()
        .flat_map(|network| [network.network(), network.broadcast()])
        .collect();
    addresses.sort();
    addresses.dedup();
    addresses
}

/// Asks each server for the domain's record and evaluates it. Other domains' records (`include`) come from the
/// recursive resolver.
pub async fn observe(
    resolver: &Resolver,
    servers: &[Server],
    domain: &str,
    helo: &str,
    egress: &[IpAddr],
) -> Vec<SpfObservation> {
    let mut list = Vec::new();
    for observation in resolver.observe(servers, domain, RecordType::TXT).await {
        let mut outcomes = Vec::new();
        if let Ok(super::exchange::Found::Records(records)) = &observation.seen {
            let own = Answer::Txt(texts(records));
            for address in egress {
                outcomes.push((*address, evaluate(resolver, domain, helo, *address, &own).await));
            }
        }
        list.push(SpfObservation {
            observation,
            outcomes,
        });
    }
    list
}

async fn evaluate(resolver: &Resolver, domain: &str, helo: &str, client: IpAddr, own: &Answer) -> Outcome {
    let request = Request::mail_from(client, helo, &format!("postmaster@{domain}"));
    let (mut check, mut step) = Check::start(request);
    loop {
        match step {
            Step::Done(outcome) => return outcome,
            Step::Ask(question) => {
                let is_own = question.kind == Kind::Txt && question.name.eq_ignore_ascii_case(domain);
                let answer = if is_own {
                    own.clone()
                } else {
                    resolver.answer(&question).await
                };
                step = check.answer(answer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_judged_by_its_first_and_last_address() {
        let networks = [
            "192.0.2.0/28".parse().unwrap(),
            "2001:db8::7/128".parse().unwrap(),
        ];
        let want: Vec<IpAddr> = ["192.0.2.0", "192.0.2.15", "2001:db8::7"]
            .map(|text| text.parse().unwrap())
            .to_vec();
        assert_eq!(samples(&networks), want);
    }
}
