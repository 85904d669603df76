//! Whatever the schemas admit, extremes among it: the types read it, the operator refuses it with the field named or makes
//! everything of it that is made of a good one, and nothing panics.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::cell::RefCell;
use std::collections::BTreeMap;

use postroad_config::{Domain, Peers, Policy};
use postroad_crds::{MailDomainSpec, RelayPolicy, SmtpListener, all_crds};
use postroad_operator::smtp_listener::build::certificates::Pair;
use postroad_operator::smtp_listener::build::config::{self, Issuer, Parts};
use postroad_operator::smtp_listener::build::network::{self, Talk};
use postroad_operator::smtp_listener::build::objects::{self, Image};
use postroad_operator::smtp_listener::names::Names;
use postroad_operator::smtp_listener::validate::Valid;
use postroad_operator::{mail_domain, relay_policy, smtp_listener};
use proptest::prelude::*;
use regex::Regex;
use serde_json::{Map, Value, json};

/// Texts for fields with a pattern, or with a meaning: those of each field's own kind fit now and then.
const TEXTS: &[&str] = &[
    "a",
    "0",
    "1",
    "1s",
    "90s",
    "5m",
    "4h",
    "5d",
    "999999999d",
    "999999999s",
    "1Ki",
    "64Ki",
    "50Mi",
    "1Gi",
    "999999999999Ti",
    "1Ti",
    "8Mi",
    "0m",
    "250m",
    "0Ki",
    "a.example",
    "mx.example.com",
    "xn--bcher-kva.example",
    "b\u{fc}cher.example",
    "*.example.com",
    "10.1.2.3",
    "2001:db8::1",
    "192.0.2.0/24",
    "0.0.0.0/0",
    "::/0",
    "192.0.2.1:53",
    "192.0.2.1:99999",
    "[::1]:53",
    "a@example.com",
    "a@a.example",
    "@",
    "a@",
    "IPv4",
    "x-y",
    "x/y",
    "postroad.dev/x",
    "Issuer",
    "alice",
    "system:serviceaccount:a:b",
    "\u{0}",
    "\n",
    "\"",
    "\\",
    "%",
    " ",
    "\u{202e}",
    "\u{1f4ee}",
    "e\u{301}",
    "\r\nX: y",
    "null",
    "~",
    "- a",
    "{",
    "#",
    "'",
    "true",
    "1e3",
    "0x10",
];

/// Draws numbers from a seed: `SplitMix64`.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound.max(1) as u64).unwrap()
    }

    fn one<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }
}

/// A value that a structural schema admits.
fn value(schema: &Value, dice: &mut Dice) -> Value {
    if let Some(values) = schema["enum"].as_array() {
        return dice.one(values).clone();
    }
    match schema["type"].as_str() {
        Some("object") => object(schema, dice),
        Some("array") => {
            let count = size(schema, "minItems", "maxItems", dice);
            (0..count).map(|_| value(&schema["items"], dice)).collect()
        }
        Some("string") => text(schema, dice).into(),
        Some("integer") => number(schema, dice).into(),
        Some("boolean") => (dice.below(2) == 0).into(),
        other => {
            assert_eq!(other, None);
            Value::Null
        }
    }
}

fn object(schema: &Value, dice: &mut Dice) -> Value {
    let mut fields = Map::new();
    let required: Vec<&str> = schema["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        if required.contains(&name.as_str()) || dice.below(3) == 0 {
            fields.insert(name.clone(), value(field, dice));
        }
    }
    if schema["additionalProperties"].is_object() {
        for _ in 0..size(schema, "minProperties", "maxProperties", dice) {
            let name = (*dice.one(TEXTS)).to_owned();
            fields.insert(name, value(&schema["additionalProperties"], dice));
        }
    }
    Value::Object(fields)
}

/// The least, the most of short ones, or a few.
fn size(schema: &Value, least: &str, most: &str, dice: &mut Dice) -> usize {
    let bound = |name: &str, otherwise| {
        let bound = schema[name].as_u64();
        bound.map_or(otherwise, |bound| usize::try_from(bound).unwrap())
    };
    let (least, most) = (bound(least, 0), bound(most, 8));
    match dice.below(8) {
        0 => least,
        1 => most.min(40),
        _ => least + dice.below(most.min(least + 3) - least + 1),
    }
}

fn number(schema: &Value, dice: &mut Dice) -> i64 {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "bounds of the schema are whole numbers of 32 bits"
    )]
    let bound = |name: &str, otherwise: i32| {
        schema[name]
            .as_f64()
            .map_or(i64::from(otherwise), |bound| bound as i64)
    };
    let (least, most) = (bound("minimum", i32::MIN), bound("maximum", i32::MAX));
    match dice.below(4) {
        0 => least,
        1 => most,
        _ => least + i64::try_from(dice.next() % u64::try_from(most - least + 1).unwrap()).unwrap(),
    }
}

/// Compiled once.
fn compiled(pattern: &str) -> Regex {
    thread_local! {
        static PATTERNS: RefCell<BTreeMap<String, Regex>> = const { RefCell::new(BTreeMap::new()) };
    }
    PATTERNS.with_borrow_mut(|known| {
        let made = known.entry(pattern.to_owned());
        made.or_insert_with(|| Regex::new(pattern).unwrap()).clone()
    })
}

/// The pattern of a rule that is nothing but one.
fn matched(schema: &Value) -> Option<&str> {
    let rules = schema["x-kubernetes-validations"].as_array()?;
    let mut texts = rules.iter().filter_map(|rule| rule["rule"].as_str());
    texts.find_map(|rule| {
        let rule = rule.strip_prefix("isIP(self) || ").unwrap_or(rule);
        rule.strip_prefix("self.matches('")?.strip_suffix("')")
    })
}

fn text(schema: &Value, dice: &mut Dice) -> String {
    let least = usize::try_from(schema["minLength"].as_u64().unwrap_or(0)).unwrap();
    let most = usize::try_from(schema["maxLength"].as_u64().unwrap_or(1_000)).unwrap();
    let pattern = schema["pattern"]
        .as_str()
        .or_else(|| matched(schema))
        .map(compiled);
    let fits = |text: &str| {
        let length = text.chars().count();
        length >= least && length <= most && pattern.as_ref().is_none_or(|pattern| pattern.is_match(text))
    };
    for _ in 0..20 {
        let drawn = match dice.below(6) {
            0 => dice.one(TEXTS).chars().cycle().take(most).collect(),
            1 => "a".repeat(most),
            2 => format!("{}{}", dice.one(TEXTS), dice.one(TEXTS)),
            _ => (*dice.one(TEXTS)).to_owned(),
        };
        if fits(&drawn) {
            return drawn;
        }
    }
    let fitting = TEXTS.iter().find(|text| fits(text));
    fitting.map_or_else(|| "a".repeat(least), |text| (*text).to_owned())
}

fn schema(kind: &str) -> Value {
    let found = all_crds()
        .into_iter()
        .find(|crd| crd.spec.names.kind == kind)
        .unwrap();
    let value = serde_json::to_value(found).unwrap();
    value["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"].clone()
}

fn made<T: serde::de::DeserializeOwned>(kind: &str, spec: &Value) -> T {
    let object = json!({
        "apiVersion": "postroad.dev/v1alpha1", "kind": kind,
        "metadata": {"name": "a", "namespace": "mail", "uid": "u"}, "spec": spec,
    });
    let read = serde_json::from_value(object);
    assert!(
        read.is_ok(),
        "{kind}: the type does not read {spec}: {:?}",
        read.err()
    );
    read.unwrap()
}

fn domain(spec: &Value) -> Option<Domain> {
    let read = serde_json::from_value::<MailDomainSpec>(spec.clone());
    assert!(read.is_ok(), "the type does not read {spec}: {:?}", read.err());
    let read = read.unwrap();
    let _ = mail_domain::validate::resolvers(&read);
    match mail_domain::validate::validate(&read) {
        Ok(domain) => Some(domain),
        Err(invalid) => {
            assert!(invalid.field.starts_with("spec."), "{invalid:?}");
            None
        }
    }
}

fn policy(spec: &Value) -> Option<Policy> {
    match relay_policy::validate::validate(&made::<RelayPolicy>("RelayPolicy", spec)) {
        Ok(policy) => Some(policy),
        Err(invalid) => {
            assert!(invalid.field.starts_with("spec."), "{invalid:?}");
            None
        }
    }
}

/// Everything that is made of a listener with a domain and a policy.
fn build(listener: &SmtpListener, valid: &Valid, domain: Option<Domain>, policy: Option<Policy>) {
    let names = Names {
        namespace: "mail".into(),
        listener: "a".into(),
    };
    let owner = json!({"uid": "u"});
    let image = Image {
        name: "image".into(),
        pull_policy: "Never".into(),
    };
    let (domains, policies) = (Vec::from_iter(domain), Vec::from_iter(policy));
    let mail = network::mail_ports(
        &policies,
        &domains,
        &valid.filters,
        &valid.reports,
        valid.takes_tls(),
    );
    let talk = Talk {
        mail: &mail,
        resolvers: &valid.resolvers,
        operator: "postroad",
        reviews: None,
    };
    let size = &listener.spec.queue.storage.size.0;
    for object in [
        objects::account(&names, listener),
        objects::service(&names, listener, &owner),
        objects::stateful_set(&names, listener, &image, listener.spec.replicas, size),
        network::network_policy(&names, listener, &[], talk, &owner),
    ] {
        assert!(object.is_object());
    }
    let pair = Pair {
        certificate: "c".into(),
        key: "k".into(),
    };
    let parts = Parts {
        names: &names,
        valid,
        users: vec![],
        login_secret: None,
        tls: None,
        authority: &pair,
        leaf: &pair,
        issuer: Issuer {
            issuer: "https://issuer".into(),
            key_set: "{}".into(),
            api_audiences: vec!["https://api".into()],
        },
        operator: "system:serviceaccount:a:b".into(),
        domains,
        policies,
        pods: 1,
        peers: Peers::default(),
        spool_format: Some(2),
        review: None,
        kept_policies: std::collections::BTreeSet::new(),
    };
    // Rules in CEL are not judged here: what they would have refused, the daemon's own rules may.
    match config::rendered(parts, None, None, &|_| None) {
        Ok(rendered) => assert_eq!(rendered.generation, 1),
        Err(refused) => assert!(!refused.to_string().is_empty()),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_that_a_schema_admits_makes_a_panic(seed in any::<u64>()) {
        thread_local! {
            static SCHEMAS: BTreeMap<&'static str, Value> =
                ["SmtpListener", "MailDomain", "RelayPolicy"].map(|kind| (kind, schema(kind))).into();
        }
        let mut dice = Dice(seed);
        let drawn = SCHEMAS.with(|schemas| schemas.iter().map(|(kind, schema)| (*kind, value(schema, &mut dice))).collect::<BTreeMap<_, _>>());
        let (domain, policy) = (domain(&drawn["MailDomain"]), policy(&drawn["RelayPolicy"]));
        let listener: SmtpListener = made("SmtpListener", &drawn["SmtpListener"]);
        match smtp_listener::validate::validate(&listener.spec) {
            Ok(valid) => build(&listener, &valid, domain, policy),
            Err(invalid) => prop_assert!(invalid.field.starts_with("spec."), "{invalid:?}"),
        }
    }
}

/// The property says something only where now and then a whole of it is good.
#[test]
fn some_of_what_is_drawn_is_good() {
    let schemas = ["SmtpListener", "MailDomain", "RelayPolicy"].map(schema);
    let (mut listeners, mut domains, mut policies) = (0, 0, 0);
    for seed in 0..1_000 {
        let mut dice = Dice(seed);
        let [listener, domain_spec, policy_spec] = schemas.each_ref().map(|schema| value(schema, &mut dice));
        let listener: SmtpListener = made("SmtpListener", &listener);
        listeners += usize::from(smtp_listener::validate::validate(&listener.spec).is_ok());
        domains += usize::from(domain(&domain_spec).is_some());
        policies += usize::from(policy(&policy_spec).is_some());
    }
    // Of the many hosts of a policy each has to be one.
    assert!(
        listeners > 20 && domains > 20 && policies > 5,
        "{listeners} {domains} {policies}"
    );
}
