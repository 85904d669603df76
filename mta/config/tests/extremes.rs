//! The whole schema with extreme values: a file is used or refused with places and sentences, never a panic.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test file")]

use std::collections::BTreeMap;

use postroad_config::{assemble, explain, render};
use proptest::prelude::*;
use serde_json::{Value, json};

/// Every section and field, so that each can be changed.
const WHOLE: &str = "
format: 1
generation: 3
hostname: mail.example.com
spool: {directory: /var/spool/postroad, highWaterPercent: 90}
ports:
  - {name: smtp, address: '127.0.0.1:25', role: Transfer, tls: Opportunistic}
  - {name: submission, address: '[::1]:587', role: Submission, tls: StartTls}
tls: {certificate: c, key: k}
users: [{name: alice, verifier: $argon2id$x}]
authentication: {serviceAccounts: {issuer: i, audience: a, keySet: '{}', refusedAudiences: [b]}}
loginSecret: 0123456789abcdef0123456789abcdef
channelBinding: true
relayFrom: [192.0.2.0/24]
proxyProtocol: {mode: Required, trustedSources: [10.0.0.0/8]}
access:
  trustedPeers: ['2001:db8::/32']
  allow: [{networks: [192.0.2.0/24], heloDomains: [mx.example]}]
  deny: [{senderDomains: [spam.example], recipientDomains: [closed.example]}, {senders: [a@b.example], recipients: [c@d.example]}]
  dnsBlocklists: [{zone: bl.example, name: bl, score: 2, answers: [127.0.0.2/32], temporaryError: Defer}]
  dnsBlocklistThreshold: 2
  reverseDns: {mode: Confirmed, temporaryError: Defer}
  greylisting: {delay: 1m, retryWithin: 2h, lifetime: 10d, allowClientsAfter: 3}
  rates:
    client: {messages: [{count: 5, per: 1m}], recipients: [{count: 50, per: 1h}]}
    user: {messages: [{count: 5, per: 1m}], recipients: [{count: 50, per: 1h}]}
headers:
  submission: {hideClientAddress: true, add: {X-A: b}, remove: [X-B]}
  transfer: {add: {X-C: d}, remove: [X-D]}
verification:
  spf: {mode: Reject, temporaryError: Defer}
  dkim: {mode: Disabled}
  arc: {mode: Disabled, trustedSealers: [list.example]}
  dmarc: {mode: Enforce, temporaryError: Defer}
filters:
  - {name: spam, service: {rspamd: {host: rspamd, port: 11333}}, mail: FromStrangers, onFailure: Accept}
  - {name: sign, service: {milter: {host: opendkim, port: 8891}}, mail: FromUsers, onFailure: Reject, timeouts: {connect: 1s, reply: 2s, total: 3s}}
  - {name: local, service: {milterSocket: /run/x.sock}}
limits:
  messageSize: 50Mi
  recipientsPerMessage: 1000
  connections: 2000
  connectionsPerClient: 50
  messagesPerConnection: 10
  minimumDataRate: 256
  greetingDelay: 2s
  bufferMemory: 64Mi
  transactionTime: 30m
queue: {lifetime: 5d, nullSenderLifetime: 1d, delayNotice: 4h, durability: Durable}
resolvers: ['127.0.0.1:53']
dnssec: Validated
trustAnchors: ['. IN DNSKEY 257 3 15 l02Woi0iS8Aa25FQkUd9RMzZHJpBoRQwAQEX1SxZJA4=']
domains:
  - name: example.com
    inbound:
      recipients: {mode: Listed, addresses: [alice], aliases: [{name: sales, to: [alice@example.com]}], catchAll: alice}
      deliverTo: {lmtp: {host: 127.0.0.1, port: 24}}
    senders: [{user: alice, addresses: [alice]}]
    dkim: {keys: [{selector: a, key: k}, {selector: b, keyFile: /k}], arc: Forwarded}
policies:
  - name: p
    match: {senderDomains: [example.com], recipientDomains: [example.org], identities: [alice]}
    within: {namespace: shop, senderDomains: [example.com]}
    routes:
      - to: {direct: {allowedNetworks: [192.0.2.0/24]}}
        tls: Verified
        limits: {messages: [{count: 5, per: 1m}], connections: 2, recipientsPerTransaction: 100}
      - {to: {smartHosts: [{host: relay.example.net, port: 587}]}, tls: Opportunistic}
      - to: {smartHosts: [{host: relay.example.net, port: 587}]}
        tls: Verified
        credentials: {password: {user: u, password: p}}
      - to: {smartHosts: [{host: relay.example.net, port: 587}]}
        tls: Verified
        credentials: {oauthClient: {user: u, clientId: c, tokenEndpoint: 'https://a.example/b', scope: s, proof: {secret: s}}}
      - to: {smartHosts: [{host: relay.example.net, port: 587}]}
        tls: Verified
        credentials:
          googleServiceAccount: {user: u, account: a, keyId: i, key: k, tokenEndpoint: 'https://a.example/b', scope: s}
    retry: {first: 5m, max: 4h, lifetime: 2d}
admin:
  health: '127.0.0.1:8080'
  api:
    address: '127.0.0.1:8443'
    certificate: c
    key: k
    authorities: a
    serverName: admin.example.com
    tokens: {issuer: i, keySet: '{}', refusedAudiences: [x], rules: [{audience: a, subject: s, role: Peer}]}
    peerTokenFile: /token
peers: {drained: [{spool: s, seal: 1}], fleet: [{name: a, admin: {host: a.example, port: 8443}}]}
";

fn extremes() -> Vec<Value> {
    let mut values = vec![
        Value::Null,
        json!(true),
        json!(0),
        json!(-1),
        json!(u64::MAX),
        json!(u32::MAX),
        json!(65_536),
        json!(1e308),
        json!([]),
        json!({}),
        json!([[[]]]),
        json!({"a": {"b": []}}),
    ];
    let texts = [
        "",
        " ",
        "~",
        "0s",
        "1ms",
        "3660d",
        "99999999999d",
        "18446744073709551615",
        "16777215Ti",
        "0",
        "-0",
        ".",
        "..",
        "/",
        "0.0.0.0/0",
        "::/0",
        "[::]:0",
        "255.255.255.255:65535",
        "a\u{0}b",
        "\u{feff}x",
        "ü@ü",
        "$argon2id$",
        "SCRAM-SHA-256$",
        "\r\n",
        "{}",
        "- a",
        "Disabled",
        "Implicit",
    ];
    values.extend(texts.map(|text| json!(text)));
    values.push(json!("x".repeat(10_000)));
    values.push(json!("a.".repeat(200)));
    values
}

/// Pointers (RFC 6901) of every value in it.
fn pointers(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match value {
        Value::Array(items) => {
            for (number, item) in items.iter().enumerate() {
                pointers(item, &format!("{at}/{number}"), found);
            }
        }
        Value::Object(fields) => {
            for (name, field) in fields {
                pointers(field, &format!("{at}/{name}"), found);
            }
        }
        _ => {}
    }
}

fn whole() -> Value {
    serde_saphyr::from_str(WHOLE).unwrap()
}

/// Used as it is, or refused with a place in the file and a sentence for each mistake.
fn judge(text: &str) {
    let none = BTreeMap::new();
    let told = explain("base.yaml", text, &none);
    match assemble(text, &none) {
        Ok(set) => {
            assert!(told.is_empty(), "{told:?}");
            let again = assemble(&render(&set.file).unwrap(), &none).unwrap();
            assert_eq!(again.file, set.file, "what was read is not what is written");
        }
        Err(_) => assert!(!told.is_empty()),
    }
    let lines = u32::try_from(text.lines().count()).unwrap() + 1;
    for mistake in told {
        assert!(
            (1..=lines).contains(&mistake.line) && mistake.column >= 1,
            "{mistake:?}"
        );
        assert!(
            !mistake.sentence.is_empty() && mistake.sentence.len() < 1_000,
            "{mistake:?}"
        );
    }
}

#[test]
fn the_whole_file_is_used() {
    assert_eq!(explain("base.yaml", WHOLE, &BTreeMap::new()), []);
    assert!(assemble(WHOLE, &BTreeMap::new()).is_ok());
}

#[test]
fn every_field_takes_every_extreme_or_refuses_it() {
    let whole = whole();
    let mut places = Vec::new();
    pointers(&whole, "", &mut places);
    assert!(places.len() > 100, "{}", places.len());
    for place in &places {
        for extreme in extremes() {
            let mut changed = whole.clone();
            *changed.pointer_mut(place).unwrap() = extreme;
            // JSON is YAML.
            judge(&changed.to_string());
        }
    }
}

#[test]
fn every_field_may_be_absent_or_is_asked_for() {
    let whole = whole();
    let mut places = Vec::new();
    pointers(&whole, "", &mut places);
    for place in &places {
        let Some((parent, name)) = place.rsplit_once('/') else {
            continue;
        };
        let mut changed = whole.clone();
        if let Some(Value::Object(fields)) = changed.pointer_mut(parent) {
            fields.remove(name);
            judge(&changed.to_string());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn many_changes_at_once(changes in proptest::collection::vec((0_usize..10_000, 0_usize..10_000), 1..12)) {
        let mut changed = whole();
        for (place, extreme) in changes {
            let mut places = Vec::new();
            pointers(&changed, "", &mut places);
            let place = &places[place % places.len()];
            let extremes = extremes();
            *changed.pointer_mut(place).unwrap() = extremes[extreme % extremes.len()].clone();
        }
        judge(&changed.to_string());
    }

    #[test]
    fn octets_out_of_place(cut in 0_usize..3_000, insert in "[\\x00-\\x7fü\u{2028}]{0,6}", drop in 0_usize..40) {
        let mut text: Vec<char> = WHOLE.chars().collect();
        let cut = cut.min(text.len());
        let end = (cut + drop).min(text.len());
        text.splice(cut..end, insert.chars());
        judge(&text.into_iter().collect::<String>());
    }
}
