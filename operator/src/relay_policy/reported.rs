//! What mail found at the smart hosts of a policy since they were tested, as its listeners tell it: nobody is let in, or the TLS is
//! wrong. Pure.
//!
//! ```text
//!   status.routes of a listener ─► Reported ─► the condition at once, and the next test at once (probe.rs)
//! ```

use std::collections::BTreeSet;

use postroad_config::admin::{LoginFault, TLS_FAILED};
use postroad_crds::smtp_listener::RouteTrouble;

/// What a listener says of a route by the word of mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reported {
    /// The listener.
    pub listener: String,
    /// What is wrong.
    pub what: What,
    /// Its row.
    pub row: RouteTrouble,
}

/// What is wrong with a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Pods are not let in.
    Login(LoginFault),
    /// The TLS of its host is not as it wants it.
    Tls,
}

impl What {
    /// What the reason of a row tells of, where a test of the hosts tells the same.
    pub fn named(reason: &str) -> Option<Self> {
        if reason == TLS_FAILED {
            return Some(Self::Tls);
        }
        LoginFault::named(reason).map(Self::Login)
    }

    /// Whether it is about a login.
    pub const fn is_login(self) -> bool {
        matches!(self, Self::Login(_))
    }

    /// Whether it is about TLS.
    pub const fn is_tls(self) -> bool {
        matches!(self, Self::Tls)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Login(fault) => fault.name(),
            Self::Tls => TLS_FAILED,
        }
    }

    /// A sentence about a route behind the field that is to be mended, where one is.
    fn mended(self, route: impl std::fmt::Display, sentence: &str) -> String {
        match self {
            Self::Login(fault) => login(route, fault, sentence),
            Self::Tls => tls(route, sentence),
        }
    }
}

impl Reported {
    /// The row, where it tells what a test of the hosts tells as well.
    pub fn of(listener: &str, row: &RouteTrouble) -> Option<Self> {
        Some(Self {
            listener: listener.to_owned(),
            what: What::named(&row.reason)?,
            row: row.clone(),
        })
    }

    /// Tells this trouble from others, and from later ones.
    pub fn name(&self) -> String {
        let Self { listener, what, row } = self;
        format!("{listener} {} {} {}", row.route, what.is_tls(), row.since)
    }

    fn sentence(&self) -> String {
        let until = self.row.until.as_deref().unwrap_or("the next message");
        format!(
            "mail over listener {} ({}) since {}: {}; it is tried again at {until}",
            self.listener,
            self.row.pods.join(", "),
            self.row.since,
            self.row.reply,
        )
    }
}

/// Reason and sentence of what is such: the first in full, other routes by name.
pub fn told(reported: &[Reported], is_such: fn(What) -> bool) -> Option<(&'static str, String)> {
    let mut such = reported.iter().filter(|one| is_such(one.what));
    let first = such.next()?;
    let others: BTreeSet<_> = such
        .filter(|other| other.row.route != first.row.route)
        .map(|other| format!("; also route {}: {}", other.row.route, other.what.name()))
        .collect();
    let sentence = first.sentence() + &others.into_iter().collect::<String>();
    Some((first.what.name(), first.what.mended(first.row.route, &sentence)))
}

/// A sentence about a login behind its field.
pub fn login(route: impl std::fmt::Display, fault: LoginFault, sentence: &str) -> String {
    match field(fault) {
        Some(field) => format!("spec.routes[{route}].{field}: {sentence}"),
        None => sentence.to_owned(),
    }
}

/// A sentence about TLS behind its field, and what to do.
pub fn tls(route: impl std::fmt::Display, sentence: &str) -> String {
    format!(
        "spec.routes[{route}].tls: {sentence}; mend the TLS of that host, or say by tls.authorities who vouches for it, and by tls.mode \
         what is asked of it"
    )
}

/// The field that has to do with a fault.
const fn field(fault: LoginFault) -> Option<&'static str> {
    Some(match fault {
        LoginFault::CredentialsRefused
        | LoginFault::AppPasswordRequired
        | LoginFault::KeyInvalid
        | LoginFault::TokenRefused
        | LoginFault::CredentialsMissing => "credentials.secretRef",
        LoginFault::BasicAuthenticationDisabled | LoginFault::MechanismNotOffered => "credentials.type",
        LoginFault::SmtpAuthenticationDisabled | LoginFault::DelegationMissing | LoginFault::UserUnknown => {
            "credentials.user"
        }
        LoginFault::ClientUnknown => "credentials.clientId",
        LoginFault::TenantUnknown => "credentials.tenant",
        LoginFault::TokenUnavailable => "credentials.tokenEndpoint",
        // Nothing is wrong with them but the time at which they are used.
        LoginFault::ClockSkew => "credentials",
        LoginFault::ServerNotTrusted | LoginFault::LoginsThrottled | LoginFault::Other => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reported(route: i32, reason: &str) -> Option<Reported> {
        let row = RouteTrouble {
            policy: "mail/p".into(),
            route,
            reason: reason.into(),
            since: "2026-01-01T00:00:00Z".into(),
            until: None,
            reply: "no TLS with h".into(),
            pods: vec!["edge-1".into()],
        };
        Reported::of("mail/edge", &row)
    }

    #[test]
    fn what_a_test_tells_as_well_is_reported_and_nothing_else() {
        for (reason, want) in [
            ("TlsFailed", Some(What::Tls)),
            (
                "CredentialsRefused",
                Some(What::Login(LoginFault::CredentialsRefused)),
            ),
            ("Quota", None),
            ("Sender", None),
            ("Unreachable", None),
        ] {
            assert_eq!(reported(0, reason).map(|one| one.what), want, "{reason}");
        }
    }

    #[test]
    fn the_first_is_told_in_full_and_other_routes_by_name() {
        let all: Vec<_> = [
            (1, "CredentialsRefused"),
            (0, "TlsFailed"),
            (2, "TlsFailed"),
            (0, "TlsFailed"),
        ]
        .into_iter()
        .filter_map(|(route, reason)| reported(route, reason))
        .collect();
        let (why, sentence) = told(&all, What::is_tls).unwrap();
        assert_eq!(why, "TlsFailed");
        for part in [
            "spec.routes[0].tls: mail over listener mail/edge (edge-1)",
            "no TLS with h; it is tried again at the next message; also route 2: TlsFailed",
            "tls.authorities",
        ] {
            assert!(sentence.contains(part), "{part}: {sentence}");
        }
        let (why, sentence) = told(&all, What::is_login).unwrap();
        assert_eq!(why, "CredentialsRefused");
        assert!(
            sentence.starts_with("spec.routes[1].credentials.secretRef"),
            "{sentence}"
        );
        assert_eq!(told(&all[1..], What::is_login), None);
        let names: BTreeSet<_> = all.iter().map(Reported::name).collect();
        assert_eq!(names.len(), 3, "two of them are one");
    }
}
