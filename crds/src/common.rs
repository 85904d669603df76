//! Types that several kinds share.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// A rule over one text, whose refusal is a sentence with the text in it: a pattern of the schema would tell itself instead.
pub(crate) fn told(rule: &str, sentence: &str) -> Value {
    json!({"rule": rule, "message": format!("the text {sentence}"), "messageExpression": format!("'`' + self + '` {sentence}'")})
}

/// Rule and sentence for a domain alone.
pub(crate) fn domain() -> Value {
    told(
        r"!self.matches('[@/:*\\s]')",
        "is no domain; write it alone, such as example.com, without @, /, :, * and blanks",
    )
}

/// The same for a list. It looks for what does not belong there and does not tell it: in lists of lists the API server would reckon
/// more dearer than it takes.
pub(crate) fn domains() -> Value {
    json!({
        "rule": r"self.all(d, !d.matches('[@/:*\\s]'))",
        "message": "each is a domain alone, such as example.com, without @, /, :, * and blanks",
    })
}

/// Of a field that has one of some names or nothing, the words of the field are told: those about the names would take their place.
pub(crate) fn own_words(field: &mut Schema) {
    let choices = field.get_mut("anyOf").and_then(Value::as_array_mut);
    for choice in choices.into_iter().flatten() {
        if let Some(choice) = choice.as_object_mut() {
            choice.remove("description");
        }
    }
}

/// A length of time: one number and one unit, such as `90s`, `5m`, `4h`, `5d`. Stored as written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Period(pub String);

impl AsRef<str> for Period {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl JsonSchema for Period {
    fn schema_name() -> Cow<'static, str> {
        "Period".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string", "maxLength": 10,
            "x-kubernetes-validations": [told(
                "self.matches('^[1-9][0-9]{0,8}(s|m|h|d)$')",
                "is no duration; write a whole number and one unit, such as 90s, 5m, 4h or 5d",
            )],
        })
    }
}

/// A number of octets, such as `50Mi`. Stored as written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Size(pub String);

impl AsRef<str> for Size {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl JsonSchema for Size {
    fn schema_name() -> Cow<'static, str> {
        "Size".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string", "maxLength": 14,
            "x-kubernetes-validations": [told(
                "self.matches('^[1-9][0-9]{0,11}(Ki|Mi|Gi|Ti)?$')",
                "is no size; write a whole number of octets, plain or with Ki, Mi, Gi or Ti, such as 50Mi",
            )],
        })
    }
}

/// A listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ListenerRef {
    /// Name of the SmtpListener.
    #[schemars(length(min = 1, max = 42))]
    pub name: String,
    /// Its namespace; absent = this object's own. A listener of another namespace must let this object in, by its `attach`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 63),
        regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
    )]
    pub namespace: Option<String>,
}

impl ListenerRef {
    /// As a sentence names it: with its namespace, where one is given.
    pub fn shown(&self) -> String {
        match &self.namespace {
            Some(namespace) => format!("{namespace}/{}", self.name),
            None => self.name.clone(),
        }
    }

    /// Whether it names this listener. `own`: namespace of the object that refers.
    pub fn names(&self, own: &str, namespace: &str, name: &str) -> bool {
        self.name == name && self.namespace.as_deref().unwrap_or(own) == namespace
    }
}

/// A ServiceAccount of any namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceAccountRef {
    /// Its namespace.
    #[schemars(
        length(min = 1, max = 63),
        regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
    )]
    pub namespace: String,
    /// Its name.
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
    )]
    pub name: String,
}

/// A Secret of the same namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretRef {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// Rule and sentence for a host: a name or an IP address, without a port, a user, a scheme or brackets.
pub(crate) fn host() -> Value {
    told(
        r"isIP(self) || self.matches('^[^ @/:\\[\\]]+$')",
        "is no host; write a name such as smtp.example.com or an IP address without brackets, and its port under port",
    )
}

/// A host and a port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HostPort {
    /// Host name or IP address, without a port.
    #[schemars(
        length(min = 1, max = 253),
        extend("x-kubernetes-validations" = [host()])
    )]
    pub host: String,
    /// Port.
    #[schemars(range(min = 1, max = 65535))]
    pub port: i32,
}

/// A network such as `10.0.0.0/8`, or one address. Stored as written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Network(pub String);

impl JsonSchema for Network {
    fn schema_name() -> Cow<'static, str> {
        "Network".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string", "minLength": 2, "maxLength": 64,
            "x-kubernetes-validations": [{"rule": "isIP(self) || isCIDR(self)", "message": "write an IP address or a network (CIDR) such as 10.0.0.0/8"}],
        })
    }
}
