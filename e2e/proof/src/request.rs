//! A request to the API server, as far as faults are picked by it. Pure.

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// One object.
    Get,
    /// All of a kind.
    List,
    /// Changes as they come.
    Watch,
    /// A new object.
    Create,
    /// An object as a whole.
    Update,
    /// Some fields, or an apply.
    Patch,
    /// Away with one.
    Delete,
}

/// Verb and kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// What is done.
    pub verb: Verb,
    /// The plural of the kind, with its subresource: `smtplisteners/status`. Empty = no object (discovery, key sets).
    pub kind: String,
    /// Name of the object; empty for all of a kind.
    pub name: String,
}

impl Call {
    /// Reads method, path and query.
    pub fn read(method: &str, path: &str, query: &str) -> Self {
        let mut parts = path.trim_matches('/').split('/').peekable();
        let skipped = match parts.next() {
            Some("api") => 1,
            Some("apis") => 2,
            _ => 9,
        };
        let mut rest: Vec<&str> = parts.skip(skipped).collect();
        if rest.first() == Some(&"namespaces") && rest.len() > 2 {
            rest.drain(..2);
        }
        let kind = match rest.as_slice() {
            [] => String::new(),
            [kind] | [kind, _] => (*kind).to_owned(),
            [kind, _, sub, ..] => format!("{kind}/{sub}"),
        };
        let name = rest.get(1).copied().unwrap_or_default().to_owned();
        let watches = query
            .split('&')
            .any(|pair| matches!(pair, "watch=true" | "watch=1"));
        let verb = match method {
            "POST" => Verb::Create,
            "PUT" => Verb::Update,
            "PATCH" => Verb::Patch,
            "DELETE" => Verb::Delete,
            _ if watches => Verb::Watch,
            _ if name.is_empty() => Verb::List,
            _ => Verb::Get,
        };
        Self { verb, kind, name }
    }

    /// Whether it changes what is stored. A Lease is kept all the time, and a token is not stored.
    pub fn writes(&self) -> bool {
        matches!(
            self.verb,
            Verb::Create | Verb::Update | Verb::Patch | Verb::Delete
        ) && !matches!(self.kind.as_str(), "leases" | "serviceaccounts/token")
    }

    /// Whether it is one of the numbered writes, before and after which an operator is killed: all but Events, of which the
    /// same ones may be said twice.
    pub fn is_numbered(&self) -> bool {
        self.writes() && self.kind != "events"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_the_api_are_read() {
        for (method, path, query, verb, kind, name) in [
            (
                "GET",
                "/api/v1/namespaces/a/secrets",
                "labelSelector=x",
                Verb::List,
                "secrets",
                "",
            ),
            (
                "GET",
                "/api/v1/namespaces/a/secrets",
                "watch=true&x=1",
                Verb::Watch,
                "secrets",
                "",
            ),
            (
                "GET",
                "/apis/apps/v1/statefulsets",
                "watch=true",
                Verb::Watch,
                "statefulsets",
                "",
            ),
            (
                "PATCH",
                "/apis/postroad.dev/v1alpha1/namespaces/a/smtplisteners/edge/status",
                "",
                Verb::Patch,
                "smtplisteners/status",
                "edge",
            ),
            (
                "DELETE",
                "/apis/apps/v1/namespaces/a/statefulsets/edge",
                "",
                Verb::Delete,
                "statefulsets",
                "edge",
            ),
            (
                "POST",
                "/api/v1/namespaces/a/serviceaccounts/postroad/token",
                "",
                Verb::Create,
                "serviceaccounts/token",
                "postroad",
            ),
            ("GET", "/api/v1/namespaces", "", Verb::List, "namespaces", ""),
            ("GET", "/openid/v1/jwks", "", Verb::List, "", ""),
        ] {
            let call = Call::read(method, path, query);
            assert_eq!(
                (call.verb, call.kind.as_str(), call.name.as_str()),
                (verb, kind, name),
                "{path}"
            );
        }
    }

    #[test]
    fn a_lease_and_a_token_are_no_writes_and_an_event_has_no_number() {
        let call = |method, path| Call::read(method, path, "");
        assert!(!call("PUT", "/apis/coordination.k8s.io/v1/namespaces/a/leases/x").writes());
        assert!(!call("POST", "/api/v1/namespaces/a/serviceaccounts/postroad/token").writes());
        let event = call("POST", "/apis/events.k8s.io/v1/namespaces/a/events");
        assert!(event.writes() && !event.is_numbered());
        assert!(call("PATCH", "/api/v1/namespaces/a/services/edge").is_numbered());
    }
}
