//! Types of the admin API about smart hosts: are they reached, inside TLS, and do they let us in.

use serde::{Deserialize, Serialize};

/// Has a pod connect to the smart hosts of a policy and log in, as it does for mail; no mail is sent (`POST /v1/upstream-test`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UpstreamTest {
    /// Name of the policy in the configuration: `namespace/name`.
    pub policy: String,
}

/// What came of it for one route.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UpstreamTested {
    /// Place of the route in the policy, from 0.
    pub route: u32,
    /// The host that was tried last, with its port.
    pub host: String,
    /// It answered as a mail server does.
    pub reachable: bool,
    /// TLS is as the route wants it; absent where it did not come so far, or none is wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secured: Option<bool>,
    /// It let us in; absent where it did not come so far, or nobody logs in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authenticated: Option<bool>,
    /// Why it did not let us in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<LoginFault>,
    /// Version and suite of TLS where all went well, and what went wrong otherwise. No secrets.
    pub message: String,
    /// The token that was used, where there are tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<TokenState>,
}

impl UpstreamTested {
    /// Whether all of it is as the route wants it.
    pub fn is_good(&self) -> bool {
        self.reachable && self.secured != Some(false) && self.authenticated != Some(false)
    }
}

/// How a route's token stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TokenState {
    /// When it ends, seconds since 1970; absent where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires: Option<i64>,
    /// Why the last try to get one failed, since there was a good one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}

/// Why a login fails, as the condition calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum LoginFault {
    /// The server refused user name and password, or the token twice.
    CredentialsRefused,
    /// The server takes no passwords any more, but tokens.
    BasicAuthenticationDisabled,
    /// Logins over SMTP are switched off for the mailbox or the tenant.
    SmtpAuthenticationDisabled,
    /// The server wants a password made for this purpose.
    AppPasswordRequired,
    /// The server offers no mechanism that carries these credentials.
    MechanismNotOffered,
    /// The server cannot judge logins now, or wants fewer of them.
    LoginsThrottled,
    /// The server's part of the login makes no sense, or it could not prove itself.
    ServerNotTrusted,
    /// A key or a certificate cannot be used.
    KeyInvalid,
    /// A service account may not act for the mailbox.
    DelegationMissing,
    /// The authority does not know the client id.
    ClientUnknown,
    /// The authority does not know the tenant.
    TenantUnknown,
    /// The authority does not know the mailbox.
    UserUnknown,
    /// Our clock or that of the authority is wrong.
    ClockSkew,
    /// The authority refuses a token.
    TokenRefused,
    /// The authority cannot be reached, or answers nonsense.
    TokenUnavailable,
    /// There is nothing to log in with.
    CredentialsMissing,
    /// One that this version does not know.
    #[serde(other)]
    Other,
}

impl LoginFault {
    /// All that this version knows.
    pub const ALL: [Self; 17] = [
        Self::CredentialsRefused,
        Self::BasicAuthenticationDisabled,
        Self::SmtpAuthenticationDisabled,
        Self::AppPasswordRequired,
        Self::MechanismNotOffered,
        Self::LoginsThrottled,
        Self::ServerNotTrusted,
        Self::KeyInvalid,
        Self::DelegationMissing,
        Self::ClientUnknown,
        Self::TenantUnknown,
        Self::UserUnknown,
        Self::ClockSkew,
        Self::TokenRefused,
        Self::TokenUnavailable,
        Self::CredentialsMissing,
        Self::Other,
    ];

    /// Its name, as in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::CredentialsRefused => "CredentialsRefused",
            Self::BasicAuthenticationDisabled => "BasicAuthenticationDisabled",
            Self::SmtpAuthenticationDisabled => "SmtpAuthenticationDisabled",
            Self::AppPasswordRequired => "AppPasswordRequired",
            Self::MechanismNotOffered => "MechanismNotOffered",
            Self::LoginsThrottled => "LoginsThrottled",
            Self::ServerNotTrusted => "ServerNotTrusted",
            Self::KeyInvalid => "KeyInvalid",
            Self::DelegationMissing => "DelegationMissing",
            Self::ClientUnknown => "ClientUnknown",
            Self::TenantUnknown => "TenantUnknown",
            Self::UserUnknown => "UserUnknown",
            Self::ClockSkew => "ClockSkew",
            Self::TokenRefused => "TokenRefused",
            Self::TokenUnavailable => "TokenUnavailable",
            Self::CredentialsMissing => "CredentialsMissing",
            Self::Other => "Other",
        }
    }

    /// The fault of this name, of those that this version knows.
    pub fn named(name: &str) -> Option<Self> {
        let fault = serde_json::from_value(name.into()).unwrap_or(Self::Other);
        (fault.name() == name).then_some(fault)
    }

    /// Whether it may pass without anybody mending something: it is tried again soon.
    pub fn is_passing(self) -> bool {
        matches!(self, Self::LoginsThrottled | Self::TokenUnavailable)
    }

    /// Whether mail waits for it however long it takes. An address for tokens that is wrong cannot be told from one that is
    /// out of reach, and neither is a matter of the mail.
    pub fn is_on_hold(self) -> bool {
        self != Self::LoginsThrottled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_has_one_name_and_those_of_later_versions_are_read() {
        for fault in LoginFault::ALL {
            let written = serde_json::to_string(&fault).unwrap();
            assert_eq!(written, format!("\"{}\"", fault.name()));
            assert_eq!(LoginFault::named(fault.name()), Some(fault));
        }
        let later: LoginFault = serde_json::from_str("\"SomethingNew\"").unwrap();
        assert_eq!(later, LoginFault::Other);
        assert_eq!(LoginFault::named("Quota"), None);
    }
}
