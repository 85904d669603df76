//! What the tests of smart hosts say: conditions and rows of the status. Pure.
//!
//! ```text
//!   a Secret that cannot be used ─► UpstreamAuthenticated=False, by name of the fault
//!   the last tests ─► the routes that something is the matter with, else True
//!   no smart host, no login, no test yet ─► Unknown
//! ```

use std::collections::BTreeSet;

use jiff::Timestamp;
use postroad_config::admin::{LoginFault, UpstreamTested};
use postroad_crds::conditions::{
    NewCondition, UPSTREAM_AUTHENTICATED, UPSTREAM_REACHABLE, UPSTREAM_SECURED, reason,
};
use postroad_crds::relay_policy::Upstream;

use super::reported::{self, Reported, What};

/// What is known of a policy's smart hosts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// The policy cannot be read.
    pub is_invalid: bool,
    /// A route leads to smart hosts.
    pub has_hosts: bool,
    /// A route logs in.
    pub logs_in: bool,
    /// Why a Secret cannot be used: reason and sentence.
    pub secret: Option<(&'static str, String)>,
    /// What was found by the pods of each listener; or why nothing was.
    pub tests: Vec<(String, Result<Vec<UpstreamTested>, String>)>,
    /// What mail found since.
    pub reported: Vec<Reported>,
}

impl Known {
    /// Nothing: the policy cannot be read.
    pub fn unread() -> Self {
        Self {
            is_invalid: true,
            ..Self::default()
        }
    }

    /// Whether all is well, so that the next test may wait.
    pub fn is_good(&self) -> bool {
        !self.tests.is_empty()
            && self.tests.iter().all(|(_, tested)| {
                tested
                    .as_ref()
                    .is_ok_and(|tested| tested.iter().all(UpstreamTested::is_good))
            })
    }

    /// Rows of the status.
    pub fn rows(&self) -> Vec<Upstream> {
        self.found()
            .map(|(listener, one)| Upstream {
                listener: listener.to_owned(),
                route: i32::try_from(one.route).unwrap_or(i32::MAX),
                host: one.host.clone(),
                reachable: one.reachable,
                secured: one.secured,
                authenticated: one.authenticated,
                token_expires: one.token.as_ref().and_then(|token| shown(token.expires?)),
                message: one.message.clone(),
            })
            .collect()
    }

    /// The three conditions.
    pub fn conditions(&self) -> Vec<NewCondition> {
        let untold = match (self.is_invalid, self.has_hosts) {
            (true, _) => Some((reason::INVALID, INVALID)),
            (false, false) => Some((reason::NO_SMART_HOST, "no route leads to a smart host")),
            (false, true) => None,
        };
        if let Some((why, sentence)) = untold {
            return [UPSTREAM_REACHABLE, UPSTREAM_SECURED, UPSTREAM_AUTHENTICATED]
                .map(|kind| NewCondition::new(kind, None, why, sentence))
                .to_vec();
        }
        let untested = self.untested();
        vec![
            self.judge(
                UPSTREAM_REACHABLE,
                reason::HOST_UNREACHABLE,
                untested.as_ref(),
                |one| Some(one.reachable),
            ),
            self.secured(untested.as_ref()),
            self.authenticated(untested.as_ref()),
        ]
    }

    /// False where one route is bad, True where one is good. `bad`: the reason.
    fn judge(
        &self,
        kind: &'static str,
        bad: &str,
        untested: Option<&(&'static str, String)>,
        is_good: fn(&UpstreamTested) -> Option<bool>,
    ) -> NewCondition {
        let failed: Vec<_> = self
            .found()
            .filter(|(_, one)| is_good(one) == Some(false))
            .collect();
        if let Some((listener, one)) = failed.first() {
            let sentence = self.sentence(listener, one) + &others(&failed);
            return NewCondition::new(kind, Some(false), bad, sentence);
        }
        if let Some((why, sentence)) = untested {
            return NewCondition::new(kind, None, why, sentence.clone());
        }
        let good: Vec<String> = self
            .found()
            .filter(|(_, one)| is_good(one) == Some(true))
            .map(|(_, one)| format!("{} ({})", one.host, one.message))
            .collect();
        if good.is_empty() {
            return NewCondition::new(kind, None, reason::NOT_TESTED, "no test came so far");
        }
        NewCondition::new(kind, Some(true), reason::AS_WANTED, good.join(", "))
    }

    fn secured(&self, untested: Option<&(&'static str, String)>) -> NewCondition {
        let mut tested = self.judge(UPSTREAM_SECURED, reason::TLS_FAILED, untested, |one| one.secured);
        let route = self.found().find(|(_, one)| one.secured == Some(false));
        if let Some((_, one)) = route {
            tested.message = reported::tls(one.route, &tested.message);
            return tested;
        }
        // Newer than the last tests, which may have been good.
        match reported::told(&self.reported, What::is_tls) {
            Some((why, sentence)) => NewCondition::new(UPSTREAM_SECURED, Some(false), why, sentence),
            None => tested,
        }
    }

    fn authenticated(&self, untested: Option<&(&'static str, String)>) -> NewCondition {
        let condition = |status, reason: &str, message| {
            NewCondition::new(UPSTREAM_AUTHENTICATED, status, reason, message)
        };
        if !self.logs_in {
            return condition(None, reason::NO_CREDENTIALS, "no route logs in".to_owned());
        }
        if let Some((why, sentence)) = &self.secret {
            return condition(Some(false), why, sentence.clone());
        }
        let refused: Vec<_> = self
            .found()
            .filter(|(_, one)| one.authenticated == Some(false))
            .collect();
        if let Some((listener, one)) = refused.first() {
            let fault = one.fault.unwrap_or(LoginFault::Other);
            let sentence = self.sentence(listener, one) + &others(&refused);
            let sentence = reported::login(one.route, fault, &sentence);
            return condition(Some(false), fault.name(), sentence);
        }
        // Newer than the last tests, which may have been good.
        if let Some((why, sentence)) = reported::told(&self.reported, What::is_login) {
            return condition(Some(false), why, sentence);
        }
        if let Some((why, sentence)) = untested {
            return condition(None, why, sentence.clone());
        }
        let good: Vec<String> = self
            .found()
            .filter(|(_, one)| one.authenticated == Some(true))
            .map(|(_, one)| format!("route {} at {}{}", one.route, one.host, token(one)))
            .collect();
        if good.is_empty() {
            return condition(None, reason::NOT_TESTED, "no test came so far".to_owned());
        }
        condition(
            Some(true),
            reason::AS_WANTED,
            format!("logged in: {}", good.join("; ")),
        )
    }

    fn found(&self) -> impl Iterator<Item = (&str, &UpstreamTested)> {
        self.tests.iter().flat_map(|(listener, tested)| {
            let tested = tested.as_deref().unwrap_or_default();
            tested.iter().map(move |one| (listener.as_str(), one))
        })
    }

    /// Why nothing is known, where that is so.
    fn untested(&self) -> Option<(&'static str, String)> {
        if self.found().next().is_some() {
            return None;
        }
        let failed = self.tests.iter().find_map(|(listener, tested)| {
            let why = tested.as_ref().err()?;
            Some((reason::POD_UNREACHABLE, format!("listener {listener}: {why}")))
        });
        Some(failed.unwrap_or((reason::IN_PROGRESS, "not tested yet".to_owned())))
    }

    fn sentence(&self, listener: &str, one: &UpstreamTested) -> String {
        let from = if self.tests.len() > 1 {
            format!(" from listener {listener}")
        } else {
            String::new()
        };
        format!(
            "route {} at {}{from}: {}{}{}",
            one.route,
            one.host,
            one.message,
            misnamed(one),
            token(one)
        )
    }
}

/// The routes that failed besides the first, shortly: what is said of one may be long.
fn others(failed: &[(&str, &UpstreamTested)]) -> String {
    let first = failed.first().map(|(_, one)| (one.route, &one.host));
    let others = failed
        .iter()
        .filter(|(_, one)| Some((one.route, &one.host)) != first);
    let others: BTreeSet<_> = others
        .map(|(_, one)| {
            let what = match one.fault {
                Some(fault) => fault.name().to_owned(),
                None => one.message.chars().take(LONGEST_BESIDES).collect(),
            };
            format!("; also route {} at {}: {what}", one.route, one.host)
        })
        .collect();
    others.into_iter().collect()
}

/// What to do about a host that does not exist, as that of a region that there is not.
fn misnamed(one: &UpstreamTested) -> String {
    if one.reachable || !one.message.contains("no address of") {
        return String::new();
    }
    format!(
        "; check spec.routes[{0}].provider (region, tenant, host) or the host in spec.routes[{0}].smartHosts",
        one.route
    )
}

/// What there is to say of the token of a route.
fn token(one: &UpstreamTested) -> String {
    let Some(token) = &one.token else {
        return String::new();
    };
    let expires = token.expires.and_then(shown);
    let expires = expires
        .map(|time| format!(", token until {time}"))
        .unwrap_or_default();
    let error = token.last_error.as_ref();
    // The message says it already, where the login failed for it.
    let error = error.filter(|error| !one.message.contains(error.as_str()));
    let error = error
        .map(|error| format!(", last error: {error}"))
        .unwrap_or_default();
    format!("{expires}{error}")
}

fn shown(seconds: i64) -> Option<String> {
    Timestamp::from_second(seconds).ok().map(|time| time.to_string())
}

/// What is to be said of the hosts of a policy that cannot be read.
pub const INVALID: &str =
    "the policy is invalid, as Accepted says: nothing of it is tried until it is corrected";
/// Characters of what is said of a route besides the first.
const LONGEST_BESIDES: usize = 160;

#[cfg(test)]
mod tests {
    use postroad_config::admin::TokenState;
    use postroad_crds::smtp_listener::RouteTrouble;

    use super::*;

    fn tested(reachable: bool, secured: Option<bool>, authenticated: Option<bool>) -> UpstreamTested {
        UpstreamTested {
            host: "smtp.example:587".into(),
            reachable,
            secured,
            authenticated,
            message: "said so".into(),
            ..UpstreamTested::default()
        }
    }

    fn known(tested: UpstreamTested) -> Known {
        Known {
            is_invalid: false,
            has_hosts: true,
            logs_in: true,
            secret: None,
            tests: vec![("edge".into(), Ok(vec![tested]))],
            reported: vec![],
        }
    }

    fn told(known: &Known) -> Vec<(Option<bool>, String)> {
        let conditions = known.conditions();
        let kinds: Vec<_> = conditions.iter().map(|condition| condition.kind).collect();
        assert_eq!(
            kinds,
            [UPSTREAM_REACHABLE, UPSTREAM_SECURED, UPSTREAM_AUTHENTICATED]
        );
        conditions
            .into_iter()
            .map(|condition| (condition.status, condition.reason))
            .collect()
    }

    #[test]
    fn the_conditions_say_how_far_a_test_came() {
        let (yes, no) = (Some(true), Some(false));
        let mut refused = tested(true, yes, no);
        refused.fault = Some(LoginFault::BasicAuthenticationDisabled);
        for (tested, want) in [
            (
                tested(true, yes, yes),
                [(yes, "AsWanted"), (yes, "AsWanted"), (yes, "AsWanted")],
            ),
            (
                tested(false, None, None),
                [(no, "HostUnreachable"), (None, "NotTested"), (None, "NotTested")],
            ),
            (
                tested(true, no, None),
                [(yes, "AsWanted"), (no, "TlsFailed"), (None, "NotTested")],
            ),
            (
                refused,
                [
                    (yes, "AsWanted"),
                    (yes, "AsWanted"),
                    (no, "BasicAuthenticationDisabled"),
                ],
            ),
        ] {
            let known = known(tested.clone());
            let want = want.map(|(status, reason)| (status, reason.to_owned()));
            assert_eq!(told(&known), want, "{tested:?}");
            assert_eq!(known.is_good(), want.iter().all(|(status, _)| *status == yes));
        }
    }

    #[test]
    fn each_fault_names_its_field_and_what_to_do() {
        let all = [
            (LoginFault::CredentialsRefused, "credentials.secretRef"),
            (LoginFault::KeyInvalid, "credentials.secretRef"),
            (LoginFault::TokenRefused, "credentials.secretRef"),
            (LoginFault::CredentialsMissing, "credentials.secretRef"),
            (LoginFault::AppPasswordRequired, "credentials.secretRef"),
            (LoginFault::BasicAuthenticationDisabled, "credentials.type"),
            (LoginFault::MechanismNotOffered, "credentials.type"),
            (LoginFault::DelegationMissing, "credentials.user"),
            (LoginFault::SmtpAuthenticationDisabled, "credentials.user"),
            (LoginFault::UserUnknown, "credentials.user"),
            (LoginFault::ClientUnknown, "credentials.clientId"),
            (LoginFault::TenantUnknown, "credentials.tenant"),
            (LoginFault::TokenUnavailable, "credentials.tokenEndpoint"),
            (LoginFault::ClockSkew, "credentials"),
            (LoginFault::LoginsThrottled, ""),
            (LoginFault::ServerNotTrusted, ""),
            (LoginFault::Other, ""),
        ];
        for (fault, field) in all {
            let mut refused = tested(true, Some(true), Some(false));
            (refused.fault, refused.route) = (Some(fault), 1);
            refused.message = "what was said; what to do".into();
            let conditions = known(refused).conditions();
            let (reason, message) = (&conditions[2].reason, &conditions[2].message);
            assert_eq!(reason, fault.name());
            assert!(
                message.contains("what to do") && message.contains("route 1 at"),
                "{message}"
            );
            let named = message
                .strip_prefix("spec.routes[1].")
                .map(|rest| rest.split(':').next());
            assert_eq!(named.flatten().unwrap_or_default(), field, "{message}");
        }
        let mut gone = tested(false, None, None);
        gone.message = "no address of email-smtp.eu-west-9.amazonaws.com: no such name".into();
        let conditions = known(gone).conditions();
        assert!(
            conditions[0].message.contains("spec.routes[0].provider (region"),
            "{}",
            conditions[0].message
        );
    }

    #[test]
    fn every_route_that_failed_is_told_the_first_in_full() {
        let of = |route: u32, fault: Option<LoginFault>| UpstreamTested {
            route,
            fault,
            host: format!("h{route}.example:587"),
            ..tested(fault.is_some(), fault.map(|_| true), fault.map(|_| false))
        };
        let all = |one: UpstreamTested, other: UpstreamTested| Known {
            tests: vec![
                ("edge".into(), Ok(vec![one.clone(), other])),
                ("next".into(), Ok(vec![one])),
            ],
            ..known(of(0, None))
        };
        let message = &all(of(0, None), of(1, None)).conditions()[0].message;
        assert!(message.starts_with("route 0 at h0.example:587"), "{message}");
        assert_eq!(message.matches("also route").count(), 1, "{message}");
        assert!(
            message.ends_with("; also route 1 at h1.example:587: said so"),
            "{message}"
        );
        let refused = |route| of(route, Some(LoginFault::CredentialsRefused));
        let message = &all(refused(0), refused(1)).conditions()[2].message;
        assert!(
            message.ends_with("; also route 1 at h1.example:587: CredentialsRefused"),
            "{message}"
        );
    }

    #[test]
    fn a_secret_that_cannot_be_used_is_said_before_any_test() {
        let known = Known {
            secret: Some((
                reason::SECRET_INVALID,
                "Secret s: the entry `password` is missing".into(),
            )),
            tests: vec![],
            ..known(tested(true, None, None))
        };
        let conditions = known.conditions();
        let last = &conditions[2];
        assert_eq!(
            (last.status, last.reason.as_str()),
            (Some(false), reason::SECRET_INVALID)
        );
        assert!(last.message.contains("`password`"));
        assert_eq!(
            (conditions[0].status, conditions[0].reason.as_str()),
            (None, reason::IN_PROGRESS)
        );
    }

    #[test]
    fn where_there_is_nothing_to_test_it_is_said() {
        let direct = Known::default();
        assert!(
            told(&direct)
                .iter()
                .all(|(status, why)| status.is_none() && why == reason::NO_SMART_HOST)
        );
        assert!(
            told(&Known::unread())
                .iter()
                .all(|(status, why)| status.is_none() && why == reason::INVALID)
        );
        let open = Known {
            logs_in: false,
            ..known(tested(true, Some(true), None))
        };
        assert_eq!(told(&open)[2], (None, reason::NO_CREDENTIALS.to_owned()));
        let silent = Known {
            tests: vec![("edge".into(), Err("no pod serves".into()))],
            ..open
        };
        assert_eq!(told(&silent)[0], (None, reason::POD_UNREACHABLE.to_owned()));
    }

    #[test]
    fn the_token_is_told_with_its_end_and_the_last_error() {
        let mut one = tested(true, Some(true), Some(true));
        one.token = Some(TokenState {
            expires: Some(1_800_000_000),
            last_error: Some("login.example gives no token".into()),
        });
        let known = known(one);
        let conditions = known.conditions();
        let message = &conditions[2].message;
        assert!(
            message.contains("token until 2027-01-15T08:00:00Z")
                && message.contains("last error: login.example gives no token"),
            "{message}"
        );
        assert_eq!(
            known.rows()[0].token_expires.as_deref(),
            Some("2027-01-15T08:00:00Z")
        );
    }

    #[test]
    fn a_login_of_mail_that_was_refused_since_the_last_test_is_told_at_once() {
        let row = |reason: &str| RouteTrouble {
            policy: "mail/p".into(),
            route: 1,
            reason: reason.into(),
            since: "2026-01-01T00:00:00Z".into(),
            until: Some("2026-01-01T00:01:00Z".into()),
            reply: "the login as ann by PLAIN was refused (535 no)".into(),
            pods: vec!["edge-1".into()],
        };
        let mut known = known(tested(true, Some(true), Some(true)));
        known.reported = vec![Reported::of("mail/edge", &row("CredentialsRefused")).unwrap()];
        let condition = &known.conditions()[2];
        assert_eq!(
            (condition.status, condition.reason.as_str()),
            (Some(false), "CredentialsRefused")
        );
        for part in [
            "spec.routes[1].credentials.secretRef",
            "edge-1",
            "535 no",
            "00:01:00Z",
        ] {
            assert!(condition.message.contains(part), "{part}: {}", condition.message);
        }
        assert_eq!(known.conditions()[1].status, Some(true));
        // Who was never tested is told of as well.
        known.tests.clear();
        assert_eq!(known.conditions()[2].status, Some(false));
        known.reported = vec![Reported::of("mail/edge", &row("TlsFailed")).unwrap()];
        known.tests = self::known(tested(true, Some(true), Some(true))).tests;
        let conditions = known.conditions();
        assert_eq!(
            (conditions[1].status, conditions[1].reason.as_str()),
            (Some(false), reason::TLS_FAILED)
        );
        assert!(conditions[1].message.starts_with("spec.routes[1].tls: mail over"));
        assert_eq!(conditions[2].status, Some(true));
    }

    #[test]
    fn wrong_tls_names_its_field_and_what_to_do() {
        let mut one = tested(true, Some(false), None);
        one.route = 3;
        let message = &known(one).conditions()[1].message;
        assert!(
            message.starts_with("spec.routes[3].tls: route 3 at") && message.contains("tls.authorities"),
            "{message}"
        );
    }

    #[test]
    fn every_fault_of_a_login_is_told_by_its_name_and_the_field_that_is_to_be_mended() {
        for fault in LoginFault::ALL {
            let one = UpstreamTested {
                fault: Some(fault),
                route: 2,
                ..tested(true, Some(true), Some(false))
            };
            let condition = &known(one).conditions()[2];
            assert_eq!(
                (condition.status, condition.reason.as_str()),
                (Some(false), fault.name())
            );
            let field = match fault {
                // The server is at fault, or the moment.
                LoginFault::ServerNotTrusted | LoginFault::LoginsThrottled | LoginFault::Other => {
                    "route 2 at"
                }
                LoginFault::ClockSkew => "spec.routes[2].credentials: ",
                _ => "spec.routes[2].credentials.",
            };
            assert!(condition.message.starts_with(field), "{}", condition.message);
            assert!(condition.message.contains("said so"), "{}", condition.message);
        }
    }
}
