//! Verdicts as the field Authentication-Results (RFC 8601). Pure.

use postroad_config::{CheckMode, SpfMode, Verification};
use postroad_verify::dmarc;
use postroad_verify::results::{self, Field, SpfIdentity, Statement};

use super::{Spf, Verdicts};

/// The field, with what the settings want told.
pub(super) fn field(
    verdicts: &Verdicts,
    verification: &Verification,
    hostname: &str,
    helo: &str,
    reverse_path: &str,
) -> Field {
    let mut statements = Vec::new();
    if let Some(spf) = &verdicts.spf
        && verification.spf.mode != SpfMode::Disabled
    {
        statements.extend(of_spf(spf, helo, reverse_path));
    }
    if let Some(outcomes) = &verdicts.dkim
        && verification.dkim.mode != CheckMode::Disabled
    {
        statements.extend(results::dkim(outcomes));
    }
    if let Some(outcome) = &verdicts.arc
        && verification.arc.mode != CheckMode::Disabled
    {
        statements.push(results::arc(outcome));
    }
    let vouched = verdicts.vouched.as_deref();
    statements.extend(verdicts.dmarc.as_ref().map(|outcome| of_dmarc(outcome, vouched)));
    Field {
        authserv_id: hostname.to_owned(),
        statements,
    }
}

/// What is done with it is told as well: nothing, where a forwarder vouches for it.
fn of_dmarc(outcome: &dmarc::Outcome, vouched: Option<&str>) -> Statement {
    let mut statement = results::dmarc(outcome);
    if let Some(sealer) = vouched {
        let asked = statement.comment.map(|asked| asked + ", ").unwrap_or_default();
        statement.comment = Some(format!("{asked}{sealer} vouches for it by ARC"));
        let mut properties = statement.properties.iter_mut();
        if let Some(done) = properties.find(|property| (property.kind, property.name) == ("policy", "dmarc"))
        {
            "none".clone_into(&mut done.value);
        }
    }
    statement
}

fn of_spf(spf: &Spf, helo: &str, reverse_path: &str) -> impl Iterator<Item = Statement> {
    let mail_from = spf
        .mail_from
        .as_ref()
        .map(|outcome| results::spf(SpfIdentity::MailFrom(reverse_path), outcome));
    let helo = results::spf(SpfIdentity::Helo(helo), &spf.helo);
    mail_from.into_iter().chain([helo])
}
