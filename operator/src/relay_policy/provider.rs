//! A route by a provider's name: what the table of providers says, and what the route says before it. Pure.

use postroad_config::provider::{Given, Provider, Resolved, resolve};
use postroad_crds::relay_policy::{Provider as Wanted, ProviderName};

use crate::smtp_listener::validate::Invalid;

/// Resolves a provider. Errors: a parameter is missing, or is of no use to this provider.
pub fn resolved(wanted: &Wanted) -> Result<(Provider, Resolved), Invalid> {
    let provider = named(wanted.name);
    let given = Given {
        region: wanted.region.as_deref(),
        tenant: wanted.tenant.as_deref(),
        domain: wanted.domain.as_deref(),
        host: wanted.host.as_deref(),
        port: wanted.port.map(|port| u16::try_from(port).unwrap_or(0)),
    };
    let resolved = resolve(provider, given).map_err(|refused| {
        let field = format!("spec.routes.provider.{}", refused.field);
        Invalid::new(&field, refused.sentence)
    })?;
    Ok((provider, resolved))
}

/// The same provider, as the mail server calls it.
pub const fn named(name: ProviderName) -> Provider {
    match name {
        ProviderName::GoogleWorkspaceRelay => Provider::GoogleWorkspaceRelay,
        ProviderName::Gmail => Provider::Gmail,
        ProviderName::Microsoft365 => Provider::Microsoft365,
        ProviderName::Microsoft365Connector => Provider::Microsoft365Connector,
        ProviderName::Microsoft365Hve => Provider::Microsoft365Hve,
        ProviderName::ExchangeServer => Provider::ExchangeServer,
        ProviderName::AmazonSes => Provider::AmazonSes,
        ProviderName::SendGrid => Provider::SendGrid,
        ProviderName::Mailgun => Provider::Mailgun,
        ProviderName::Mandrill => Provider::Mandrill,
        ProviderName::Smtp2go => Provider::Smtp2go,
        ProviderName::ElasticEmail => Provider::ElasticEmail,
        ProviderName::Postfix => Provider::Postfix,
        ProviderName::Exim => Provider::Exim,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_of_the_schema_is_a_provider_of_the_same_name() {
        for provider in Provider::ALL {
            let name: ProviderName = serde_json::from_value(provider.name().into()).unwrap();
            assert_eq!(named(name), provider);
        }
    }

    #[test]
    fn a_parameter_that_is_missing_or_of_no_use_is_named() {
        for (wanted, field, word) in [
            (r#"{"name": "AmazonSES"}"#, "region", "eu-west-1"),
            (r#"{"name": "Microsoft365Connector"}"#, "tenant", "contoso-com"),
            (r#"{"name": "Postfix"}"#, "host", "Postfix needs"),
            (r#"{"name": "Gmail", "region": "eu"}"#, "region", "leave it out"),
            (r#"{"name": "SendGrid", "region": "eu"}"#, "region", "`host`"),
            (
                r#"{"name": "Mandrill", "domain": "a.example"}"#,
                "domain",
                "Mandrill has no use",
            ),
        ] {
            let error = resolved(&serde_json::from_str(wanted).unwrap()).unwrap_err();
            assert_eq!(error.field, format!("spec.routes.provider.{field}"));
            assert!(error.sentence.contains(word), "{error:?}");
        }
    }
}
