//! The records by which a domain says how its mail servers are reached inside TLS: MTA-STS (RFC 8461), TLS-RPT (RFC 8460) and DANE
//! (RFC 7672). Asks; the decisions are in [`crate::dns::judge`].

use postroad_crds::mail_domain::MtaStsMode;
use postroad_crds::{MailDomain, SmtpListener};
use postroad_verify::mta_sts::Mode;
use rustls::RootCertStore;

use super::status::{Severity, types};
use crate::authorities;
use crate::dns::exchange::Trouble;
use crate::dns::judge::{self, DaneWanted, Judgement, MtaStsWanted, Proof, Served, TlsRptWanted};
use crate::dns::resolver::Server;
use crate::dns::{MX, PolicyHosts, Resolver, TLSA};

/// Judges what is wanted: the record and the policy of MTA-STS, the record of TLS-RPT.
pub(super) async fn judge_all(
    object: &MailDomain,
    (domain, hostnames): (&str, &[String]),
    (mta_sts, tls_rpt): (Option<Severity>, Option<Severity>),
    (resolver, hosts): (&Resolver, &PolicyHosts),
    servers: &Result<Vec<Server>, Trouble>,
) -> Vec<(&'static str, Severity, Judgement)> {
    let ask = async |name: &str| match servers {
        Ok(servers) => Ok(resolver.observe(servers, name, crate::dns::TXT).await),
        Err(trouble) => Err(trouble.clone()),
    };
    let mut list = Vec::new();
    if let (Some(severity), Some(wanted)) = (mta_sts, sts_wanted(object, domain, hostnames)) {
        let judgement = judge::mta_sts(&wanted, &ask(&wanted.name()).await);
        list.push((types::MTASTS_VALID, severity, judgement));
        let served = match hosts.vouched_by(named_authorities(object)) {
            Ok(hosts) => hosts.ask(domain, resolver).await,
            Err(error) => Served::Unknown(error.to_string()),
        };
        list.push((types::MTASTS_VALID, severity, judge::policy(&wanted, &served)));
    }
    if let (Some(severity), Some(given)) = (tls_rpt, &object.spec.tls_rpt) {
        let name = format!("_smtp._tls.{domain}");
        let wanted = TlsRptWanted {
            name: &name,
            report_to: &given.report_to,
        };
        list.push((
            types::TLSRPT_VALID,
            severity,
            judge::tls_rpt(&wanted, &ask(&name).await),
        ));
    }
    list
}

/// Judges the TLSA records of each listener that takes the domain's mail. `named`: the domain is asked of resolvers that its owner
/// names.
pub(super) async fn judge_dane(
    (domain, listeners): (&str, &[SmtpListener]),
    severity: Severity,
    resolver: &Resolver,
    named: Option<&[Server]>,
) -> Vec<(&'static str, Severity, Judgement)> {
    let mut list = Vec::new();
    for listener in listeners {
        let host = listener.spec.hostname.to_ascii_lowercase();
        let name = format!("_25._tcp.{host}");
        let seen = match named {
            Some(servers) => Ok(resolver.observe(servers, &name, TLSA).await),
            // It need not be in the zone of the domain.
            None => match resolver.authorities(&host).await {
                Ok(servers) => Ok(resolver.observe(&servers, &name, TLSA).await),
                Err(trouble) => Err(trouble),
            },
        };
        let status = listener.status.as_ref();
        let certificate = status.and_then(|status| status.certificate.as_ref());
        let wanted = DaneWanted {
            name: &name,
            records: certificate.map_or(&[], |certificate| certificate.tlsa.as_slice()),
            proof: &proof(domain, &name, resolver, named).await,
        };
        list.push((types::DANE_VALID, severity, judge::dane(&wanted, &seen)));
    }
    list
}

/// What resolvers say of DNSSEC: all that answer must say it.
async fn proof(domain: &str, tlsa: &str, resolver: &Resolver, named: Option<&[Server]>) -> Proof {
    let Some(servers) = named else {
        return Proof::Unasked;
    };
    for (name, kind, shown) in [(domain, MX, "MX"), (tlsa, TLSA, "TLSA")] {
        let mut said = Err(Trouble::NoServer);
        for (server, one) in resolver.proofs(servers, name, kind).await {
            match one {
                Ok(false) => return Proof::Unproven(server, format!("{name} {shown}")),
                one => said = said.or(one),
            }
        }
        if let Err(trouble) = said {
            return Proof::Unknown(trouble);
        }
    }
    Proof::Proven
}

/// Who vouches for the host of the policy, where that is not the public authorities.
fn named_authorities(object: &MailDomain) -> Option<RootCertStore> {
    let pem = object.spec.mta_sts.as_ref()?.authorities.as_ref()?;
    authorities::trusted(pem)
}

/// What is wanted of the domain's MTA-STS policy; none: it has none.
pub(super) fn sts_wanted<'a>(
    object: &MailDomain,
    domain: &'a str,
    hostnames: &'a [String],
) -> Option<MtaStsWanted<'a>> {
    object.spec.mta_sts.as_ref().map(|given| MtaStsWanted {
        domain,
        hostnames,
        mode: match given.mode {
            MtaStsMode::Testing => Mode::Testing,
            MtaStsMode::Enforce => Mode::Enforce,
            MtaStsMode::None => Mode::None,
        },
    })
}
