//! What stands in the way of serving a listener's newest spec, as its conditions tell it. Pure.

use postroad_crds::conditions::reason;

/// Why there is nothing new to serve: reason and message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obstacle {
    /// One of [`reason`].
    pub reason: &'static str,
    /// A sentence.
    pub message: String,
    /// Only a change from outside can mend it.
    pub stalled: bool,
    /// Secrets that are not there, where that is all.
    absent: Vec<Absent>,
}

/// A Secret that is named and not there.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Absent {
    field: String,
    secret: String,
}

impl Obstacle {
    /// One that may pass by itself.
    pub fn new(reason: &'static str, message: String) -> Self {
        Self {
            reason,
            message,
            stalled: false,
            absent: Vec::new(),
        }
    }

    /// One that only a change from outside can mend.
    pub fn stalled(reason: &'static str, message: String) -> Self {
        Self {
            stalled: true,
            ..Self::new(reason, message)
        }
    }

    /// A Secret that a field names is not in this namespace.
    pub fn absent(field: &str, secret: &str, namespace: &str) -> Self {
        Self::all_absent(
            vec![Absent {
                field: field.to_owned(),
                secret: secret.to_owned(),
            }],
            namespace,
        )
    }

    /// Both at once, so that whoever reads it can mend both. The reason is that of the first.
    #[must_use]
    pub fn and(self, other: Self, namespace: &str) -> Self {
        if self.message == other.message {
            return self;
        }
        if !self.absent.is_empty() && !other.absent.is_empty() {
            return Self::all_absent([self.absent, other.absent].concat(), namespace);
        }
        Self {
            message: format!("{}; and {}", self.message, other.message),
            stalled: self.stalled || other.stalled,
            absent: Vec::new(),
            ..self
        }
    }

    fn all_absent(absent: Vec<Absent>, namespace: &str) -> Self {
        let message = match absent.as_slice() {
            [Absent { field, secret }] => {
                format!(
                    "{field}: there is no Secret {secret} in namespace {namespace}; create it, it is picked up then"
                )
            }
            several => {
                let each: Vec<String> = several
                    .iter()
                    .map(|Absent { field, secret }| format!("no Secret {secret} ({field})"))
                    .collect();
                format!(
                    "there is {} in namespace {namespace}; create them, they are picked up then",
                    each.join(" and ")
                )
            }
        };
        Self {
            absent,
            ..Self::new(reason::SECRET_NOT_FOUND, message)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USERS: &str = "spec.authentication.users.secretRef";
    const TLS: &str = "spec.tls.secretName";

    #[test]
    fn all_missing_secrets_are_one_sentence() {
        let one = Obstacle::absent(USERS, "mail-users", "mail");
        assert_eq!(
            one.message,
            "spec.authentication.users.secretRef: there is no Secret mail-users in namespace mail; create it, it is picked up then"
        );
        let both = one.and(Obstacle::absent(TLS, "edge-tls", "mail"), "mail");
        assert_eq!(both.reason, reason::SECRET_NOT_FOUND);
        assert_eq!(
            both.message,
            "there is no Secret mail-users (spec.authentication.users.secretRef) and no Secret edge-tls (spec.tls.secretName) \
             in namespace mail; create them, they are picked up then"
        );
    }

    #[test]
    fn two_of_different_kinds_are_told_one_after_the_other() {
        let denied = || Obstacle::new(reason::SECRET_ACCESS_DENIED, "let the operator read them".into());
        assert_eq!(denied().and(denied(), "mail"), denied());
        let invalid = Obstacle::stalled(reason::INVALID, "spec: no".into());
        let both = Obstacle::absent(USERS, "u", "mail").and(invalid, "mail");
        assert!(both.stalled && both.reason == reason::SECRET_NOT_FOUND);
        assert!(both.message.ends_with("; and spec: no"), "{both:?}");
    }
}
