//! What a refused login means, and what somebody can do about it. Pure.

use postroad_config::admin::LoginFault;
use postroad_smtp::client::PeerReply;

use crate::dsn::text::{Charset, one_line};

/// Why nobody is logged in: a name, and a sentence without secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoLogin {
    /// Its name.
    pub fault: LoginFault,
    /// What happened, and what to do.
    pub reason: String,
    /// What the server said, where it said something.
    pub reply: Option<PeerReply>,
}

impl NoLogin {
    /// Without a word of the server.
    pub fn new(fault: LoginFault, reason: impl Into<String>) -> Self {
        Self {
            fault,
            reason: reason.into(),
            reply: None,
        }
    }

    /// The server's reply to AUTH refuses the login. `as_what`: user and mechanism.
    pub fn refused(reply: PeerReply, as_what: &str) -> Self {
        let fault = of_reply(&reply);
        let said = one_line(&reply.to_string(), Charset::Ascii, LONGEST);
        Self {
            fault,
            reason: format!("the login as {as_what} was refused ({said}); {}", advice(fault)),
            reply: Some(reply),
        }
    }
}

/// What a refusal of AUTH means (RFC 4954 section 6, and what providers made of it).
pub fn of_reply(reply: &PeerReply) -> LoginFault {
    let text = reply.text().to_ascii_lowercase();
    match (reply.code(), reply.enhanced()) {
        (400..=499, _) => LoginFault::LoginsThrottled,
        // Exchange Online.
        (_, Some((5, 7, 30))) => LoginFault::BasicAuthenticationDisabled,
        _ if text.contains("basic authentication is") => LoginFault::BasicAuthenticationDisabled,
        _ if text.contains("smtpclientauthentication is disabled") => LoginFault::SmtpAuthenticationDisabled,
        // Gmail.
        (534, _) if text.contains("application-specific password") => LoginFault::AppPasswordRequired,
        _ => LoginFault::CredentialsRefused,
    }
}

/// What an authority's refusal of a token means (RFC 6749 section 5.2): its error code and description, and how far its clock is
/// from ours in seconds, where it shows it.
pub fn of_authority(error: &str, description: &str, skew: Option<i64>) -> LoginFault {
    let is_off = skew.is_some_and(|skew| skew.unsigned_abs() > TOLERATED_SKEW);
    let said = description.to_ascii_lowercase();
    let about_time = [
        "reasonable timeframe",
        "iat and exp",
        "aadsts700024",
        "aadsts50013",
    ]
    .iter()
    .any(|words| said.contains(words));
    // Entra says so in so many words; where it shows its clock too, that decides.
    let is_sure = error == "invalid_grant" || (said.contains("aadsts700024") && skew.is_none());
    match error {
        _ if about_time && (is_off || is_sure) => LoginFault::ClockSkew,
        // Entra. Its number says more than the error, which is that of a missing delegation at Google.
        _ if said.contains("aadsts700016") => LoginFault::ClientUnknown,
        // 900023: what cannot be a tenant at all.
        _ if said.contains("aadsts90002") => LoginFault::TenantUnknown,
        // Google.
        "invalid_grant" if said.contains("invalid email or user id") => LoginFault::UserUnknown,
        // Google: no delegation for this client and scope.
        "unauthorized_client" | "access_denied" => LoginFault::DelegationMissing,
        _ => LoginFault::TokenRefused,
    }
}

/// What to do.
pub fn advice(fault: LoginFault) -> &'static str {
    match fault {
        LoginFault::CredentialsRefused => {
            "correct the Secret, or allow this account at the provider; mail waits meanwhile"
        }
        LoginFault::BasicAuthenticationDisabled => {
            "the provider takes tokens alone: use credentials of type OAuthClient"
        }
        LoginFault::SmtpAuthenticationDisabled => {
            "switch SMTP AUTH on for the mailbox (Set-CASMailbox -SmtpClientAuthenticationDisabled $false)"
        }
        LoginFault::AppPasswordRequired => {
            "make an app password for this mailbox, or use credentials of type GoogleServiceAccount"
        }
        LoginFault::MechanismNotOffered => "use another type of credentials, or another port of the provider",
        LoginFault::LoginsThrottled => "it is tried again later, and less often",
        LoginFault::ServerNotTrusted => "check the host name: another server may stand in its place",
        LoginFault::KeyInvalid => "give the key as it was issued, in PEM",
        LoginFault::DelegationMissing => {
            "let the account act for this user: grant its client id domain-wide delegation for the scope (Google), or consent to its \
             permission (Entra)"
        }
        LoginFault::ClientUnknown => {
            "correct the client id, or the tenant in which its application is registered; mail waits meanwhile"
        }
        LoginFault::TenantUnknown => "correct the tenant: its id or one of its domains; mail waits meanwhile",
        LoginFault::UserUnknown => {
            "correct the user: the whole address of a mailbox that is there; mail waits meanwhile"
        }
        LoginFault::ClockSkew => {
            "the time in what we send it (iat, nbf, exp) is not that of its clock: set the clocks of the nodes by NTP"
        }
        LoginFault::TokenRefused => "correct the Secret or the registration of the client at the authority",
        LoginFault::TokenUnavailable => {
            "correct the address for tokens, or open the way to it (HTTPS); mail waits meanwhile, and it is tried again"
        }
        LoginFault::CredentialsMissing => "create or correct the Secret",
        LoginFault::Other => "see the reply",
    }
}

/// What is kept of a reply or a description.
pub(super) const LONGEST: usize = 300;
/// Seconds.
pub(super) const TOLERATED_SKEW: u64 = 60;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_have_names() {
        for (code, enhanced, text, want) in [
            (535, (5, 7, 8), "bad credentials", LoginFault::CredentialsRefused),
            (
                535,
                (5, 7, 3),
                "Authentication unsuccessful",
                LoginFault::CredentialsRefused,
            ),
            (
                550,
                (5, 7, 30),
                "Basic authentication is not supported for Client Submission",
                LoginFault::BasicAuthenticationDisabled,
            ),
            (
                535,
                (5, 7, 139),
                "Authentication unsuccessful, basic authentication is disabled.",
                LoginFault::BasicAuthenticationDisabled,
            ),
            (
                535,
                (5, 7, 139),
                "Authentication unsuccessful, SmtpClientAuthentication is disabled for the Tenant.",
                LoginFault::SmtpAuthenticationDisabled,
            ),
            (
                534,
                (5, 7, 9),
                "Application-specific password required.",
                LoginFault::AppPasswordRequired,
            ),
            (454, (4, 7, 0), "too many logins", LoginFault::LoginsThrottled),
            (530, (5, 7, 0), "STARTTLS first", LoginFault::CredentialsRefused),
        ] {
            let reply = PeerReply::made(code, enhanced, text);
            assert_eq!(of_reply(&reply), want, "{code} {text}");
            let told = NoLogin::refused(reply, "box@example.com by XOAUTH2");
            assert!(
                told.reason.contains(text) && told.reason.contains(advice(want)),
                "{}",
                told.reason
            );
        }
    }

    #[test]
    fn refusals_of_tokens_have_names() {
        let reasonable =
            "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe.";
        for (error, description, skew, want) in [
            ("invalid_grant", reasonable, Some(4_000), LoginFault::ClockSkew),
            ("invalid_grant", reasonable, None, LoginFault::ClockSkew),
            (
                "invalid_client",
                "AADSTS700024: Client assertion is not within its valid time range.",
                Some(-900),
                LoginFault::ClockSkew,
            ),
            (
                "invalid_client",
                "AADSTS700024: Client assertion is not within its valid time range.",
                None,
                LoginFault::ClockSkew,
            ),
            (
                "invalid_client",
                "AADSTS700024: Client assertion is not within its valid time range.",
                Some(0),
                LoginFault::TokenRefused,
            ),
            (
                "unauthorized_client",
                "Client is unauthorized to retrieve access tokens using this method",
                Some(0),
                LoginFault::DelegationMissing,
            ),
            (
                "invalid_client",
                "AADSTS7000215: Invalid client secret provided.",
                Some(4_000),
                LoginFault::TokenRefused,
            ),
            (
                "invalid_grant",
                "Invalid email or User ID",
                None,
                LoginFault::UserUnknown,
            ),
            (
                "unauthorized_client",
                "AADSTS700016: Application with identifier 'x' was not found in the directory 'y'.",
                Some(0),
                LoginFault::ClientUnknown,
            ),
            (
                "invalid_request",
                "AADSTS90002: Tenant 'x' not found.",
                None,
                LoginFault::TenantUnknown,
            ),
            (
                "invalid_request",
                "AADSTS900023: Specified tenant identifier 'x' is neither a valid DNS name, nor a valid external domain.",
                None,
                LoginFault::TenantUnknown,
            ),
            (
                "unauthorized_client",
                "AADSTS7000112: Application is disabled.",
                None,
                LoginFault::DelegationMissing,
            ),
            ("", "", None, LoginFault::TokenRefused),
        ] {
            assert_eq!(
                of_authority(error, description, skew),
                want,
                "{error} {description}"
            );
        }
    }
}
