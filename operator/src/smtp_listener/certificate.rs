//! Where the certificate of the ports comes from: a Secret of the owner, an issuer of cert-manager, or the operator itself.
//!
//! ```text
//!   secretName ─► Secret ─────────────────────────────────┐
//!   issuerRef ──► Certificate ─► (cert-manager) ─► Secret ─┼─► Pair, into the pods' configuration
//!   selfSigned ─► made here, anew when a third of its life is left ─► Secret
//! ```
//!
//! The key of a renewed certificate is a new one, but with `keyRotation: Never` (TLSA records hold then). An owner who is about to
//! change his key puts a certificate of it into his Secret as `next.crt`, to be told the TLSA record that goes before.
//!
//! A renewed Secret is a new configuration: no pod restarts. What is issued and what is made here have Secrets of different
//! names, so that two writers never meet in one.

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use postroad_crds::SmtpListener;
use postroad_crds::conditions::reason;
use postroad_crds::smtp_listener::{IssuerRef, KeyRotation};

use super::build::certificates::{self, Facts, Pair};
use super::build::issued;
use super::gather::{self, Children};
use super::names::Names;
use super::prepare::{Wanted, denied, made, owner, owner_secret, write_secret};
use super::status::Obstacle;
use crate::apply;
use crate::cert_manager::{self, CERTIFICATE_NAME, Certificate, Found};
use crate::context::Ctx;
use crate::error::Error;

/// The certificate that the ports shall show.
pub struct Chosen {
    /// With its key.
    pub pair: Pair,
    /// A certificate of the key that is to follow.
    pub next: Option<String>,
}

impl From<Pair> for Chosen {
    fn from(pair: Pair) -> Self {
        Self { pair, next: None }
    }
}

impl Chosen {
    /// What it says of itself, with the TLSA record of the key to come.
    pub fn facts(&self) -> Option<Facts> {
        let mut facts = certificates::facts(&self.pair.certificate)?;
        let next = self.next.as_deref().and_then(certificates::facts);
        facts.tlsa.extend(next.into_iter().flat_map(|next| next.tlsa));
        facts.tlsa.dedup();
        Some(facts)
    }
}

/// The certificate that the ports shall show. `None`: no port uses TLS.
pub async fn certificate(
    listener: &SmtpListener,
    names: &Names,
    children: &Children,
    ctx: &Ctx,
) -> Result<Wanted<Option<Chosen>>, Error> {
    let tls = listener.spec.tls.as_ref();
    if let Some(issuer) = tls.and_then(|tls| tls.issuer_ref.as_ref()) {
        let issued = by_issuer(listener, names, issuer, ctx).await?;
        return Ok(issued.map(|pair| Some(pair.into())));
    }
    give_up_issued(listener, names, ctx).await?;
    let Some(tls) = tls else { return Ok(Ok(None)) };
    let Some(name) = &tls.secret_name else {
        return self_signed(listener, names, children, ctx)
            .await
            .map(|pair| Ok(Some(pair.into())));
    };
    let field = "spec.tls.secretName";
    Ok(owner_secret(names, name, field, ctx)
        .await?
        .and_then(|secret| chosen(&secret, field))
        .map(Some))
}

/// What an owner's Secret has.
fn chosen(secret: &Secret, field: &str) -> Wanted<Chosen> {
    let pair = pair(secret, field)?;
    let Some(next) = text(secret, "next.crt") else {
        return Ok(pair.into());
    };
    if certificates::facts(&next).is_none() {
        let message = format!(
            "{field}: `next.crt` in Secret {} is no certificate; give one of the key that is to follow, or leave it out",
            secret.name_any()
        );
        return Err(Obstacle::new(reason::SECRET_INVALID, message));
    }
    Ok(Chosen {
        pair,
        next: Some(next),
    })
}

fn text(secret: &Secret, key: &str) -> Option<String> {
    let data = secret.data.as_ref()?.get(key)?;
    String::from_utf8(data.0.clone()).ok()
}

/// Chain and key in a Secret. Pure.
fn pair(secret: &Secret, field: &str) -> Wanted<Pair> {
    let wrong = |what: &str| {
        let message = format!(
            "{field}: {what} in Secret {}; give `tls.crt` and `tls.key` as PEM, as type kubernetes.io/tls has them",
            secret.name_any()
        );
        Err(Obstacle::new(reason::SECRET_INVALID, message))
    };
    match (text(secret, "tls.crt"), text(secret, "tls.key")) {
        (Some(certificate), _) if certificates::facts(&certificate).is_none() => {
            wrong("`tls.crt` is no certificate")
        }
        (_, Some(key)) if !certificates::has_key(&key) => wrong("`tls.key` is no private key"),
        (Some(certificate), Some(key)) => Ok(Pair { certificate, key }),
        _ => wrong("`tls.crt` or `tls.key` is missing"),
    }
}

/// Keeps the Certificate, and serves what is there already while a new one is issued.
async fn by_issuer(
    listener: &SmtpListener,
    names: &Names,
    issuer: &IssuerRef,
    ctx: &Ctx,
) -> Result<Wanted<Pair>, Error> {
    let found = cert_manager::find(ctx, &names.namespace, &names.issued()).await?;
    if matches!(found, Found::NoApi) {
        return Ok(Err(Obstacle::new(reason::CERT_MANAGER_MISSING, missing(issuer))));
    }
    let secret = match gather::named_secret(ctx, &names.namespace, &names.issued()).await {
        Ok(secret) => secret,
        Err(error) if error.category() == "Forbidden" => return Ok(Err(denied(names, ctx))),
        Err(error) => return Err(error),
    };
    if matches!(found, Found::Nothing)
        && let Some(secret) = &secret
        && !is_issued(secret, names)
    {
        // cert-manager would write over it.
        return Err(Error::Foreign {
            kind: "Secret".into(),
            name: names.issued(),
        });
    }
    let wanted = issued::certificate(
        names,
        &listener.spec.hostname,
        (issuer, rotation(listener)),
        &owner(listener)?,
    );
    let certificate = apply::apply::<Certificate>(ctx, &names.namespace, &wanted).await?;
    Ok(match secret.filter(|secret| is_issued(secret, names)) {
        Some(secret) => pair(&secret, "spec.tls.issuerRef"),
        None => Err(Obstacle::new(
            reason::CERTIFICATE_PENDING,
            pending(&certificate, issuer),
        )),
    })
}

fn is_issued(secret: &Secret, names: &Names) -> bool {
    secret.annotations().get(CERTIFICATE_NAME) == Some(&names.issued())
}

fn missing(issuer: &IssuerRef) -> String {
    format!(
        "spec.tls.issuerRef: {} needs cert-manager, and the cluster knows no certificates.cert-manager.io; install it, it is found within seconds, or use tls.secretName or tls.selfSigned",
        issuer.name
    )
}

fn pending(certificate: &Certificate, issuer: &IssuerRef) -> String {
    let said = certificate
        .pending()
        .unwrap_or("cert-manager has not said anything yet");
    format!(
        "spec.tls.issuerRef: {} has not issued Certificate {} yet: {said}",
        issuer.name,
        certificate.name_any()
    )
}

/// Deletes the Certificate of a listener that has another source now; its Secret stays. Looked for once in each generation of
/// the listener and after each start.
async fn give_up_issued(listener: &SmtpListener, names: &Names, ctx: &Ctx) -> Result<(), Error> {
    if ctx.given_up.holds(listener, CERTIFICATE) {
        return Ok(());
    }
    match cert_manager::find(ctx, &names.namespace, &names.issued()).await {
        Ok(Found::Certificate(certificate)) if apply::is_ours(certificate.as_ref()) => {
            apply::delete(ctx, certificate.as_ref()).await?;
        }
        Ok(_) => {}
        // An operator without this permission has made none.
        Err(error) if error.category() == "Forbidden" => {}
        Err(error) => return Err(error),
    }
    ctx.given_up.remember(listener, CERTIFICATE);
    Ok(())
}

const CERTIFICATE: &str = "Certificate";

async fn self_signed(
    listener: &SmtpListener,
    names: &Names,
    children: &Children,
    ctx: &Ctx,
) -> Result<Pair, Error> {
    let now = Timestamp::now().as_second();
    let host = &listener.spec.hostname;
    let before = children
        .pair(&names.self_signed(), "tls.crt", "tls.key")
        .filter(certificates::belong_together);
    let holds = |pair: &Pair| {
        certificates::facts(&pair.certificate).is_some_and(|facts| facts.covers(host) && !facts.is_due(now))
    };
    let pair = match before {
        Some(pair) if holds(&pair) => pair,
        Some(pair) if rotation(listener) == KeyRotation::Never => {
            certificates::self_signed_again(&pair, host, now).map_err(made)?
        }
        _ => certificates::self_signed(host, now).map_err(made)?,
    };
    let data = [
        ("tls.crt", pair.certificate.as_str()),
        ("tls.key", pair.key.as_str()),
    ];
    write_secret(names, children, &names.self_signed(), TLS, &data, ctx).await?;
    Ok(pair)
}

fn rotation(listener: &SmtpListener) -> KeyRotation {
    let given = listener.spec.tls.as_ref().and_then(|tls| tls.key_rotation);
    given.unwrap_or(KeyRotation::Always)
}

/// Type of a Secret with a certificate.
const TLS: &str = "kubernetes.io/tls";

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use k8s_openapi::ByteString;

    use super::*;

    fn secret(certificate: &str, key: &str) -> Secret {
        let data = [("tls.crt", certificate), ("tls.key", key)];
        let data = data.map(|(name, text)| (name.to_owned(), ByteString(text.as_bytes().to_vec())));
        Secret {
            data: Some(BTreeMap::from(data)),
            ..Secret::default()
        }
    }

    #[test]
    fn what_is_wrong_with_a_secret_is_said_without_what_is_in_it() {
        let good = certificates::self_signed("mail.example.com", 1_800_000_000).unwrap();
        assert_eq!(pair(&secret(&good.certificate, &good.key), "f"), Ok(good.clone()));
        for (bad, what) in [
            (Secret::default(), "is missing"),
            (secret("canary", &good.key), "no certificate"),
            (secret(&good.certificate, "canary"), "no private key"),
            (secret("", ""), "no certificate"),
        ] {
            let obstacle = pair(&bad, "spec.tls.secretName").unwrap_err();
            assert_eq!(obstacle.reason, reason::SECRET_INVALID);
            assert!(
                obstacle.message.starts_with("spec.tls.secretName: ")
                    && obstacle.message.contains(what)
                    && !obstacle.message.contains("canary"),
                "{}",
                obstacle.message
            );
        }
    }

    #[test]
    fn the_record_of_a_key_to_come_is_behind_that_of_the_one_that_is_shown() {
        let made = || certificates::self_signed("mail.example.com", 1_800_000_000).unwrap();
        let (now, later) = (made(), made());
        let own = |pair: &Pair| certificates::facts(&pair.certificate).unwrap().tlsa;
        let mut given = secret(&now.certificate, &now.key);
        let facts = |given: &Secret| chosen(given, "f").unwrap().facts().unwrap();
        assert_eq!(facts(&given).tlsa, own(&now));
        let mut put = |text: &str| {
            let data = given.data.as_mut().unwrap();
            data.insert("next.crt".to_owned(), ByteString(text.as_bytes().to_vec()));
            given.clone()
        };
        assert_eq!(
            facts(&put(&later.certificate)).tlsa,
            [own(&now), own(&later)].concat()
        );
        // Once the key is shown there is none to come.
        assert_eq!(facts(&put(&now.certificate)).tlsa, own(&now));
        let wrong = chosen(&put("canary"), "spec.tls.secretName").err().unwrap();
        assert!(wrong.message.contains("next.crt") && !wrong.message.contains("canary"));
    }

    #[test]
    fn a_key_may_stay_over_a_renewal() {
        let first = certificates::self_signed("mail.example.com", 1_800_000_000).unwrap();
        let again = certificates::self_signed_again(&first, "mail.example.com", 1_806_000_000).unwrap();
        let facts = |pair: &Pair| certificates::facts(&pair.certificate).unwrap();
        assert_eq!((facts(&again).tlsa, &again.key), (facts(&first).tlsa, &first.key));
        assert!(certificates::belong_together(&again) && facts(&again).not_after > facts(&first).not_after);
        let other = certificates::self_signed("mail.example.com", 1_806_000_000).unwrap();
        assert_ne!(facts(&other).tlsa, facts(&first).tlsa);
        assert!(facts(&first).tlsa[0].starts_with("3 1 1 ") && facts(&first).tlsa[0].len() == 70);
    }

    #[test]
    fn a_secret_of_somebody_else_is_not_taken_for_an_issued_one() {
        let names = Names {
            namespace: "mail".into(),
            listener: "edge".into(),
        };
        let mut secret = Secret::default();
        assert!(!is_issued(&secret, &names));
        for (name, is) in [("edge-issued", true), ("other", false)] {
            let annotation = (CERTIFICATE_NAME.to_owned(), name.to_owned());
            secret.metadata.annotations = Some(BTreeMap::from([annotation]));
            assert_eq!(is_issued(&secret, &names), is, "{name}");
        }
    }
}
