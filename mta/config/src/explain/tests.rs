//! A table of bad files: the line, the field and a word of the sentence of every mistake.

use std::collections::BTreeMap;

use super::*;

const GOOD: &str = "\
format: 1
hostname: mail.example.com
spool:
  directory: /var/spool/postroad
tls: {certificateFile: /a, keyFile: /b}
limits:
  messageSize: 50Mi
  connections: 100
queue:
  lifetime: 5d
relayFrom: [192.0.2.0/24]
users:
  - name: alice
    verifier: $argon2id$x
ports:
  - name: one
    address: 127.0.0.1:2525
    role: Submission
    tls: StartTls
  - name: two
    address: 127.0.0.1:2526
    role: Transfer
    tls: Opportunistic
domains:
  - name: example.com
    inbound:
      recipients:
        mode: Listed
        addresses: [alice]
      deliverTo:
        lmtp: {host: 127.0.0.1, port: 24}
policies:
  - name: p
    routes:
      - to: {direct: {}}
        tls: Opportunistic
";

fn mistakes(text: &str) -> Vec<Explained> {
    explain("postroad.yaml", text, &BTreeMap::new())
}

/// A line of the good file, what it is changed to; then of the one mistake: line, field, a part of the sentence.
type Row = (&'static str, &'static str, u32, &'static str, &'static str);

/// Each change makes exactly one mistake.
#[rustfmt::skip]
const ROWS: &[Row] = &[
    // Unknown and misspelt fields.
    ("hostname:", "hostnam:", 2, "hostnam", "write `hostname`"),
    ("hostname:", "banner: x\nhostname:", 2, "banner", "not known here; write format,"),
    // Those of Postfix.
    ("hostname:", "mynetworks: x\nhostname:", 2, "mynetworks", "here it is `relayFrom`"),
    ("hostname:", "relayhost: x\nhostname:", 2, "relayhost", "`policies[].routes[].to.smartHosts`"),
    ("hostname:", "myhostname:", 2, "myhostname", "here it is `hostname`"),
    ("hostname:", "mydestination: x\nhostname:", 2, "mydestination", "here it is `domains`"),
    ("hostname:", "smtpd_tls_cert_file: x\nhostname:", 2, "smtpd_tls_cert_file", "`tls.certificateFile`"),
    ("  connections:", "  conections:", 8, "limits.conections", "write `connections`"),
    ("  directory:", "  Directory:", 4, "spool.Directory", "write `directory`"),
    ("        mode:", "        mod:", 28, "domains[0].inbound.recipients.mod", "write `mode`"),
    ("    role: Transfer", "    role: Transfer\n    rate: 5", 23, "ports[1].rate", "take it out"),
    ("keyFile", "keyfile", 5, "tls.keyfile", "write `keyFile`"),
    // Missing fields.
    ("hostname: mail.example.com\n", "", 1, "hostname", "is missing; add `hostname"),
    ("  directory: /var/spool/postroad", "  highWaterPercent: 90", 4, "spool.directory", "is missing"),
    ("    verifier: $argon2id$x\n", "", 13, "users[0].verifier", "is missing"),
    ("    role: Submission\n", "", 16, "ports[0].role", "is missing"),
    ("format: 1\n", "", 1, "format", "is missing"),
    // Wrong types.
    ("format: 1", "format: one", 1, "format", "`one` is not a whole number from 0 to 4294967295"),
    ("  connections: 100", "  connections: -1", 8, "limits.connections", "`-1` is not a whole number"),
    ("  connections: 100", "  connections: [1]", 8, "limits.connections", "a list is not a whole number"),
    ("port: 24", "port: 70000", 31, "domains[0].inbound.deliverTo.lmtp.port", "0 to 65535"),
    ("relayFrom: [192.0.2.0/24]", "relayFrom: 192.0.2.0/24", 11, "relayFrom", "where a list is needed"),
    ("  lifetime: 5d", "  lifetime: {days: 5}", 10, "queue.lifetime", "a section stands where a text is needed"),
    ("addresses: [alice]", "addresses: alice", 29, "domains[0].inbound.recipients.addresses", "where a list"),
    ("  directory: /var/spool/postroad", "  /var/spool/postroad", 4, "spool", "write directory, highWaterPercent or writeFormat under it"),
    // Wrong values.
    ("hostname: mail.example.com", "hostname: mail_example", 2, "hostname", "`mail_example` is not a domain name"),
    ("  messageSize: 50Mi", "  messageSize: 50MB", 7, "limits.messageSize", "`50MB` is not a size: write"),
    ("  lifetime: 5d", "  lifetime: 5 days", 10, "queue.lifetime", "`5 days` is not a duration: write"),
    ("address: 127.0.0.1:2526", "address: localhost:2526", 21, "ports[1].address", "write IP:port"),
    ("relayFrom: [192.0.2.0/24]", "relayFrom: [192.0.2.0/240]", 11, "relayFrom[0]", "write IP/length"),
    ("role: Transfer", "role: Tranfser", 22, "ports[1].role", "`Tranfser` is not known here; write Transfer (of"),
    ("tls: StartTls", "tls: starttls", 19, "ports[0].tls", "write StartTls (of"),
    ("        tls: Opportunistic", "        tls: Required", 36, "policies[0].routes[0].tls", "write Disabled, Opportunistic, Encrypted, Verified, Automatic or DaneOnly"),
    ("        tls: Opportunistic", "        tls: StartTl", 36, "policies[0].routes[0].tls", "write Disabled, Opportunistic, Encrypted"),
    ("    tls: Opportunistic\ndomains", "    tls: Verifed\ndomains", 23, "ports[1].tls", "write Disabled, Opportunistic, StartTls or Implicit"),
    ("mode: Listed", "mode: Some", 28, "domains[0].inbound.recipients.mode", "write Listed"),
    ("lmtp: {", "pop: {", 31, "domains[0].inbound.deliverTo", "`pop` is not known here; write lmtp or smtp"),
    ("lmtp: {host: 127.0.0.1, port: 24}", "{}", 31, "domains[0].inbound.deliverTo", "has not exactly one field"),
    ("keyFile: /b", "key: b", 5, "tls", "needs one whole pair"),
    ("format: 1", "format: 9", 1, "format", "9 is not known to this version"),
    ("queue:", "shards: {3: abc}\nqueue:", 9, "shards.3", "domains-03.yaml, which is missing"),
    ("queue:", "shards: {x: abc}\nqueue:", 9, "shards.x", "`x` is not a whole number from 0 to 255"),
    // Rules between fields.
    ("name: two", "name: one", 20, "ports[1].name", "used twice"),
    ("127.0.0.1:2526", "127.0.0.1:2525", 21, "ports[1].address", "served twice"),
    ("tls: StartTls", "tls: Disabled", 19, "ports[0].tls", "passwords in plain text"),
    ("    verifier: $argon2id$x", "    verifier: secret", 14, "users[0].verifier", "hash-password"),
    ("addresses: [alice]", "addresses: []", 27, "domains[example.com].inbound.recipients", "lists nobody"),
    ("addresses: [alice]", "addresses: [bob, alice@example.com]", 29, "domains[example.com].inbound.recipients.addresses[1]", "write `alice`, without the domain"),
    ("addresses: [alice]", "addresses: [alice bob]", 29, "domains[example.com].inbound.recipients.addresses[0]", "without white space"),
    ("addresses: [alice]", "aliases: [{name: all@x, to: [a@b.example]}]", 29, "domains[example.com].inbound.recipients.aliases[0].name", "write `all`"),
    ("port: 24", "port: 0", 31, "domains[example.com].inbound.deliverTo.lmtp.port", "0 is no port; write 1 to 65535"),
    ("{host: 127.0.0.1,", "{host: 'store:24',", 31, "domains[example.com].inbound.deliverTo.lmtp.host", "write `store`, and the port under `port`"),
    ("direct: {}", "smartHosts: [{host: 'https://hub.example', port: 25}]", 35, "policies[0].routes[0].to.smartHosts[0].host", "is no host name; write one such as"),
    ("direct: {}", "smartHosts: [{host: '', port: 25}]", 35, "policies[0].routes[0].to.smartHosts[0].host", "is empty; write a host name"),
    ("  connections: 100", "  connections: 0", 8, "limits.connections", "not between 1 and"),
    ("relayFrom: [192.0.2.0/24]", "relayFrom: [192.0.2.0/24, 0.0.0.0/0]", 11, "relayFrom[1]", "large part of the world"),
    ("direct: {}", "smartHosts: []", 35, "policies[0].routes[0].to.smartHosts", "at least one host"),
    ("        tls: Opportunistic", "        tls: Implicit", 36, "policies[0].routes[0].tls", "is for ports"),
    ("policies:", "  - {name: EXAMPLE.com}\npolicies:", 32, "domains[example.com]", "given twice"),
    ("queue:", "proxyProtocol: {mode: Required}\nqueue:", 9, "proxyProtocol.trustedSources", "believe nobody"),
    // Syntax.
    ("format: 1", "format: 1\nformat: 1", 2, "", "`format` is given twice, first in line 1"),
    ("  directory:", "\tdirectory:", 4, "", "is not YAML"),
    ("addresses: [alice]", "addresses: [alice", 29, "", "this bracket is not closed"),
    ("keyFile: /b}", "keyFile: /b", 5, "", "this bracket is not closed"),
    ("port: 24}", "port: 24", 31, "", "this bracket is not closed"),
    ("direct: {}}", "direct: {}", 35, "", "this bracket is not closed"),
    ("relayFrom: [192.0.2.0/24]", "relayFrom: [{a: \"1\"\n  b: 2}]", 12, "", "mend the indentation, quotes or brackets here"),
    ("queue:", "---\nqueue:", 10, "", "second document"),
];

#[test]
fn the_good_file_has_no_mistake() {
    assert_eq!(mistakes(GOOD), []);
}

#[test]
fn each_mistake_is_told_once_with_its_line_field_value_and_mend() {
    for (from, to, line, field, words) in ROWS {
        let text = GOOD.replacen(from, to, 1);
        assert_ne!(text, GOOD, "{from}: the row changes nothing");
        let told = mistakes(&text);
        let [only] = told.as_slice() else {
            panic!("{from} → {to}: {told:#?}")
        };
        assert_eq!(
            (only.line, only.field.as_str()),
            (*line, *field),
            "{from} → {to}: {only:?}"
        );
        assert!(only.sentence.contains(words), "{from} → {to}: {}", only.sentence);
        assert!(only.column >= 1 && only.file == "postroad.yaml");
    }
}

/// Mistakes in different parts of the file do not hide each other.
#[test]
fn all_mistakes_of_a_file_are_told_in_its_order() {
    let mut text = GOOD.to_owned();
    let chosen = [
        "hostname:",
        "  connections: 100",
        "  lifetime: 5d",
        "role: Transfer",
        "addresses: [alice]",
        "direct: {}",
    ];
    let mut wanted = Vec::new();
    for from in chosen {
        let (_, to, line, field, _) = ROWS
            .iter()
            .find(|row| row.0 == from && !row.1.contains('\n'))
            .unwrap();
        text = text.replacen(from, to, 1);
        wanted.push((*line, (*field).to_owned()));
    }
    wanted.sort();
    let told: Vec<_> = mistakes(&text)
        .into_iter()
        .map(|told| (told.line, told.field))
        .collect();
    assert_eq!(told, wanted);
}

#[test]
fn a_secret_is_never_shown() {
    for text in [
        GOOD.replacen("    verifier: $argon2id$x", "    verifier: [SECRET]", 1),
        GOOD.replacen(
            "certificateFile: /a, keyFile: /b",
            "certificate: c, key: {x: SECRET}",
            1,
        ),
        GOOD.replacen("certificateFile: /a, keyFile: /b", "certificate: SECRET", 1),
        GOOD.replacen("    verifier: $argon2id$x", "    verifier: SECRET\n   bad", 1),
        GOOD.replacen("hostname:", "tls: {certificate: c, key: SECRET}\nhostnam:", 1),
        GOOD.replacen("hostname:", "loginSecret: SECRET\nhostname:", 1),
        GOOD.replacen("hostname:", "loginSecret: [SECRET]\nhostname:", 1),
    ] {
        let told = mistakes(&text);
        assert!(!told.is_empty());
        assert!(!format!("{told:?}").contains("SECRET"), "{told:?}");
    }
}

#[test]
fn a_mistake_in_a_shard_is_told_with_its_file() {
    let number = crate::shard_of(&"example.org".parse().unwrap());
    let shard = "format: 1\ndomains:\n  - name: example.org\n    inbound:\n      recipients: {mode: Listed}\n      deliverTo: {lmtp: {host: h, port: 0x}}\n";
    let base = GOOD.replacen(
        "queue:",
        &format!("shards: {{{number}: {}}}\nqueue:", hash(shard)),
        1,
    );
    let told = explain("base.yaml", &base, &BTreeMap::from([(number, shard.to_owned())]));
    let places: Vec<_> = told
        .iter()
        .map(|told| (told.file.as_str(), told.line, told.field.as_str()))
        .collect();
    let file = shard_file_name(number);
    assert_eq!(
        places,
        [
            (file.as_str(), 5, "domains[example.org].inbound.recipients"),
            (file.as_str(), 6, "domains[0].inbound.deliverTo.lmtp.port"),
        ]
    );
}

#[test]
fn aliases_and_depth_are_bounded() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let item = format!("*a{}", level - 1);
        bomb = format!("{bomb}a{level}: &a{level} [{}]\n", vec![item; 10].join(", "));
    }
    assert!(!mistakes(&bomb).is_empty());
    assert!(!mistakes(&"[".repeat(100_000)).is_empty());
    assert!(!mistakes(&format!("a: {}", "{a: ".repeat(100_000))).is_empty());
}
