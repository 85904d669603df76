//! The records by which a domain says how its mail servers are reached inside TLS: MTA-STS (RFC 8461) and TLS-RPT (RFC 8460). Asks;
//! the decisions are in [`crate::dns::judge`].

use postroad_crds::MailDomain;
use postroad_crds::mail_domain::MtaStsMode;
use postroad_verify::mta_sts::Mode;

use super::status::{Severity, types};
use crate::dns::exchange::Trouble;
use crate::dns::judge::{self, Judgement, MtaStsWanted, TlsRptWanted};
use crate::dns::resolver::Server;
use crate::dns::{PolicyHosts, Resolver};

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
        let served = hosts.ask(domain, resolver).await;
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
