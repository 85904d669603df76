//! One policy for each way into a provider: its route, what it logs in with, and what the provider must see. Written by the
//! documentation of the providers, as a user would.

use serde_json::{Value, json};

/// A policy, and what must be seen of its mail.
pub(super) struct Case {
    /// Name of the policy, and of its Secret.
    pub(super) name: &'static str,
    /// `provider` of its route.
    pub(super) provider: Value,
    /// `credentials` of its route; null: none.
    pub(super) credentials: Value,
    /// Entries of its Secret; null: there is none.
    pub(super) secret: Value,
    /// Local part of the sender.
    pub(super) from: &'static str,
    /// What the provider must see.
    pub(super) seen: Seen,
}

/// What the provider must see.
pub(super) struct Seen {
    pub(super) host: &'static str,
    pub(super) port: u16,
    /// The mechanism; empty: no AUTH.
    pub(super) mechanism: &'static str,
}

impl Case {
    /// The provider's name.
    pub(super) fn of(&self) -> &str {
        self.provider["name"].as_str().unwrap_or_default()
    }

    /// What it says over the quota, as the customer has to be told it. None: it takes the mail all the same, or has no quota.
    pub(super) fn over_quota(&self) -> Option<&'static str> {
        Some(match self.of() {
            "GoogleWorkspaceRelay" => "Daily SMTP relay limit exceeded for user",
            "Gmail" => "Daily user sending limit exceeded",
            "Microsoft365" | "Microsoft365HVE" => "SubmissionQuotaExceededException",
            "Microsoft365Connector" => "external recipient limit",
            "AmazonSES" => "Daily message quota exceeded",
            "SendGrid" => "Maximum credits exceeded",
            "Mailgun" => "The daily limit is exceeded",
            "SMTP2GO" => "Monthly quota of the plan is used up",
            "ElasticEmail" => "Account quota exceeded",
            _ => return None,
        })
    }

    /// The header field that steers this provider. None: there is none.
    pub(super) fn control_field(&self) -> Option<&'static str> {
        Some(match self.of() {
            "AmazonSES" => "x-ses-message-tags",
            "SendGrid" => "x-smtpapi",
            "Mailgun" => "x-mailgun-tag",
            "Mandrill" => "x-mc-tags",
            "ElasticEmail" => "x-elasticemail-channel",
            _ => return None,
        })
    }

    /// The domain whose mail takes this policy.
    pub(super) fn to(&self, domain: &str) -> String {
        // High Volume Email is for the own organisation.
        if self.of() == "Microsoft365HVE" {
            return format!("staff.{domain}");
        }
        format!("{}.to.example", self.name)
    }

    /// The Secret, where there is one.
    pub(super) fn secret(&self) -> Option<Value> {
        let entries = self.secret.as_object()?;
        Some(json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": self.name}, "stringData": entries,
        }))
    }

    /// The route; `authority` vouches for its hosts.
    pub(super) fn route(&self, authority: &Value) -> Value {
        let mut route = json!({"provider": self.provider, "tls": {"authorities": authority}});
        if !self.credentials.is_null() {
            route["credentials"] = self.credentials.clone();
        }
        route
    }

    /// The policy.
    pub(super) fn policy(&self, domain: &str, listener: &str, authority: &Value) -> Value {
        json!({
            "apiVersion": "postroad.dev/v1alpha1", "kind": "RelayPolicy", "metadata": {"name": self.name},
            "spec": {
                "listenerRefs": [{"name": listener}],
                "match": {"recipientDomains": [self.to(domain)]},
                "routes": [self.route(authority)],
                "retry": {"first": "2s", "max": "4s", "lifetime": "1d"},
            },
        })
    }
}

/// A field for each provider that is steered by one.
pub(super) const CONTROL_FIELDS: &str = "X-SES-MESSAGE-TAGS: act=first\r\nX-SMTPAPI: {\"category\": \"first\"}\r\nX-Mailgun-Tag: first\r\n\
                                         X-MC-Tags: first\r\nX-ElasticEmail-Channel: first\r\n";

/// Every way into every provider. `customer`: what they gave to log in with.
#[expect(clippy::too_many_lines, reason = "a table")]
pub(super) fn all(customer: &Value, domain: &str) -> Vec<Case> {
    let case = |name, provider, from, (host, port, mechanism)| Case {
        name,
        provider,
        credentials: Value::Null,
        secret: Value::Null,
        from,
        seen: Seen {
            host,
            port,
            mechanism,
        },
    };
    let password = |case: Case| {
        let secret = customer["logins"][case.of()].clone();
        Case {
            credentials: json!({"type": "Password", "secretRef": {"name": case.name}}),
            secret,
            ..case
        }
    };
    let entra = |place: usize, proof: Value, entries: Value, case: Case| {
        let application = &customer["entra"]["applications"][place];
        let mut credentials = json!({
            "type": "OAuthClient", "tenant": customer["entra"]["tenant"],
            "clientId": application["clientId"], "user": application["user"],
        });
        if !proof.is_null() {
            credentials["proof"] = proof;
        }
        if !entries.is_null() {
            credentials["secretRef"] = json!({"name": case.name});
        }
        Case {
            credentials,
            secret: entries,
            ..case
        }
    };
    let m365 = || json!({"name": "Microsoft365"});
    let office = ("smtp.office365.com", 587, "XOAUTH2");
    let keys = &customer["entra"];
    let google = &customer["google"];
    vec![
        case(
            "google-workspace-relay",
            json!({"name": "GoogleWorkspaceRelay", "domain": domain}),
            "ann",
            ("smtp-relay.gmail.com", 587, ""),
        ),
        Case {
            credentials: json!({"type": "GoogleServiceAccount", "user": google["user"], "secretRef": {"name": "gmail"}}),
            secret: json!({"key.json": google["key.json"].to_string()}),
            ..case(
                "gmail",
                json!({"name": "Gmail"}),
                "noreply",
                ("smtp.gmail.com", 587, "XOAUTH2"),
            )
        },
        password(case(
            "gmail-app-password",
            json!({"name": "Gmail"}),
            "ann",
            ("smtp.gmail.com", 587, "PLAIN"),
        )),
        entra(
            0,
            Value::Null,
            json!({"clientSecret": keys["applications"][0]["clientSecret"]}),
            case("microsoft-365", m365(), "secret", office),
        ),
        entra(
            1,
            json!("Certificate"),
            json!({"tls.crt": keys["tls.crt"], "tls.key": keys["tls.key"]}),
            case("microsoft-365-certificate", m365(), "certificate", office),
        ),
        entra(
            2,
            json!("ServiceAccountToken"),
            Value::Null,
            case("microsoft-365-pods", m365(), "pods", office),
        ),
        Case {
            credentials: json!({"type": "ClientCertificate", "secretRef": {"name": "microsoft-365-connector"}}),
            secret: customer["connector"].clone(),
            ..case(
                "microsoft-365-connector",
                json!({"name": "Microsoft365Connector", "tenant": "contoso-com"}),
                "ann",
                ("contoso-com.mail.protection.outlook.com", 25, ""),
            )
        },
        password(case(
            "microsoft-365-hve",
            json!({"name": "Microsoft365HVE"}),
            "ann",
            ("smtp.hve.mx.microsoft", 587, "LOGIN"),
        )),
        password(case(
            "exchange-server",
            json!({"name": "ExchangeServer", "host": "exchange.corp.example"}),
            "ann",
            ("exchange.corp.example", 587, "LOGIN"),
        )),
        case(
            "exchange-by-address",
            json!({"name": "ExchangeServer", "host": "exchange.corp.example", "port": 25}),
            "ann",
            ("exchange.corp.example", 25, ""),
        ),
        Case {
            credentials: json!({"type": "AwsAccessKey", "secretRef": {"name": "amazon-ses"}}),
            secret: customer["aws"].clone(),
            ..case(
                "amazon-ses",
                json!({"name": "AmazonSES", "region": "eu-west-1"}),
                "ann",
                ("email-smtp.eu-west-1.amazonaws.com", 587, "PLAIN"),
            )
        },
        password(case(
            "sendgrid",
            json!({"name": "SendGrid"}),
            "ann",
            ("smtp.sendgrid.net", 587, "PLAIN"),
        )),
        password(case(
            "mailgun",
            json!({"name": "Mailgun", "region": "eu"}),
            "ann",
            ("smtp.eu.mailgun.org", 587, "PLAIN"),
        )),
        password(case(
            "mandrill",
            json!({"name": "Mandrill"}),
            "ann",
            ("smtp.mandrillapp.com", 587, "PLAIN"),
        )),
        password(case(
            "smtp2go",
            json!({"name": "SMTP2GO", "region": "eu", "port": 443}),
            "ann",
            ("mail-eu.smtp2go.com", 443, "PLAIN"),
        )),
        password(case(
            "elastic-email",
            json!({"name": "ElasticEmail"}),
            "ann",
            ("smtp.elasticemail.com", 2525, "PLAIN"),
        )),
        password(case(
            "postfix",
            json!({"name": "Postfix", "host": "postfix.corp.example"}),
            "ann",
            ("postfix.corp.example", 587, "PLAIN"),
        )),
        password(case(
            "exim",
            json!({"name": "Exim", "host": "exim.corp.example", "port": 465}),
            "ann",
            ("exim.corp.example", 465, "PLAIN"),
        )),
    ]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::place;

    /// `enum` of the field that names a provider, as the API server has it.
    fn known() -> BTreeSet<String> {
        let text =
            std::fs::read_to_string(place::tree().join("crds/relaypolicies.postroad.dev.yaml")).unwrap();
        let crd: Value = serde_saphyr::from_str(&text).unwrap();
        let routes = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
            ["routes"];
        let names = &routes["items"]["properties"]["provider"]["properties"]["name"]["enum"];
        let names = names.as_array().unwrap().iter();
        names.map(|name| name.as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn each_provider_of_the_schema_has_a_case() {
        let cases = all(&json!({"logins": {}}), "shop.example");
        let played: BTreeSet<_> = cases.iter().map(|case| case.of().to_owned()).collect();
        assert_eq!(played, known());
        let names: BTreeSet<_> = cases.iter().map(|case| case.name).collect();
        let domains: BTreeSet<_> = cases.iter().map(|case| case.to("shop.example")).collect();
        assert_eq!((names.len(), domains.len()), (cases.len(), cases.len()));
    }
}
