//! `docs/reference/configuration.md` is the configuration file: every field and value that is read, and none besides.
//!
//! The fields come from the sources themselves, walked from `ConfigFile` down. Assumes that they are formatted by rustfmt; a type
//! that the walk cannot place fails it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test file")]

use std::collections::{BTreeMap, BTreeSet};

use postroad_config::{
    Access, FilterTimeouts, Greylisting, Limits, Octets, Period, QueueSection, Retry, SHARDS, TlsVersion,
};

const PAGE: &str = include_str!("../../../docs/reference/configuration.md");

/// The sources that hold sections of the file. `Fields` is private to its source, so items are known by both.
const SOURCES: [(&str, &str); 15] = [
    ("file", include_str!("../src/file.rs")),
    ("access", include_str!("../src/access.rs")),
    ("admission", include_str!("../src/admission.rs")),
    ("authentication", include_str!("../src/authentication.rs")),
    ("credentials", include_str!("../src/credentials.rs")),
    ("dkim", include_str!("../src/dkim.rs")),
    ("filter", include_str!("../src/filter.rs")),
    ("limits", include_str!("../src/limits.rs")),
    ("provider", include_str!("../src/provider/mod.rs")),
    ("reports", include_str!("../src/reports.rs")),
    ("rewriting", include_str!("../src/rewriting.rs")),
    ("shard", include_str!("../src/shard.rs")),
    ("spool", include_str!("../src/spool.rs")),
    ("tls", include_str!("../src/tls.rs")),
    ("verification", include_str!("../src/verification.rs")),
];

/// Types that are written as one value, or as a map whose names are free.
const LEAVES: [&str; 16] = [
    "object",
    "String",
    "bool",
    "u8",
    "u16",
    "u32",
    "u64",
    "PathBuf",
    "SocketAddr",
    "IpNet",
    "DomainName",
    "Mailbox",
    "LoginSecret",
    "Period",
    "Octets",
    "TrustAnchor",
];

/// A field: its name in the file, its type, and whether it has to be given.
#[derive(Debug)]
struct Field(String, String, bool);

/// A struct or enum that is read.
#[derive(Debug, Default)]
struct Item {
    /// Reads the `Fields` of its source in its place.
    by_fields: bool,
    /// Fields in the file.
    fields: Vec<Field>,
    /// Values, for an enum of plain names.
    values: BTreeSet<String>,
}

type Items = BTreeMap<(String, String), Item>;

fn items() -> Items {
    let mut items = Items::new();
    for (source, text) in SOURCES {
        let text = text.split("#[cfg(test)]").next().unwrap();
        let mut lines = text.lines();
        let mut attributes = String::new();
        while let Some(line) = lines.next() {
            let words: Vec<&str> = line.trim_start_matches("pub ").split(' ').collect();
            match words[..] {
                [kind @ ("struct" | "enum"), name, "{"] if attributes.contains("Deserialize") => {
                    let body: Vec<&str> = lines.by_ref().take_while(|line| *line != "}").collect();
                    let item = read_item(kind == "enum", &attributes, &body);
                    items.insert((source.to_owned(), name.to_owned()), item);
                    attributes.clear();
                }
                _ if line.starts_with("#[") => attributes.push_str(line),
                _ if line.starts_with("///") => {}
                _ => attributes.clear(),
            }
        }
    }
    items
}

fn read_item(is_enum: bool, attributes: &str, body: &[&str]) -> Item {
    let mut item = Item {
        by_fields: attributes.contains(r#"try_from = "Fields""#),
        ..Item::default()
    };
    let camel = attributes.contains(r#"rename_all = "camelCase""#);
    assert!(
        is_enum || camel || item.by_fields,
        "{attributes}: names are not camelCase"
    );
    let defaulted = attributes.contains(", default)");
    let mut attribute = "";
    let mut within = None::<String>;
    for line in body.iter().map(|line| line.trim()) {
        if line.starts_with("#[serde") {
            attribute = line;
        } else if line == "}," {
            within = None;
        } else if line.is_empty() || line.starts_with("//") || line.starts_with("#[") {
        } else if let Some((name, kind)) = line.trim_start_matches("pub ").split_once(": ") {
            let kind = kind.trim_end_matches(',');
            let rename = attribute.split(r#"rename = ""#).nth(1);
            let name = rename
                .and_then(|rest| rest.split('"').next())
                .map_or_else(|| camel_case(name), str::to_owned);
            let name = within
                .iter()
                .fold(name, |name, variant| format!("{variant}.{name}"));
            let needed = !defaulted && !attribute.contains("default") && !kind.starts_with("Option<");
            item.fields.push(Field(name, kind.to_owned(), needed));
            attribute = "";
        } else if let Some(variant) = line.strip_suffix(" {") {
            let name = camel_case(variant);
            item.fields.push(Field(name.clone(), "object".to_owned(), false));
            within = Some(name);
            attribute = "";
        } else if let Some((variant, kind)) = line.trim_end_matches("),").split_once('(') {
            item.fields
                .push(Field(camel_case(variant), kind.to_owned(), false));
        } else {
            let rename = attribute.split(r#"rename = ""#).nth(1);
            let name = rename.and_then(|rest| rest.split('"').next());
            item.values
                .insert(name.unwrap_or(line.trim_end_matches(',')).to_owned());
            attribute = "";
        }
    }
    assert!(
        item.values.is_empty() || !camel,
        "{:?} are written otherwise",
        item.values
    );
    item
}

fn camel_case(name: &str) -> String {
    let mut parts = name.split('_');
    let first = parts.next().unwrap();
    let first = first[..1].to_lowercase() + &first[1..];
    parts.fold(first, |name, part| name + &part[..1].to_uppercase() + &part[1..])
}

/// What is read: paths of fields that hold a value, and the enum of those that hold one of some names.
#[derive(Default)]
struct Read {
    paths: BTreeSet<String>,
    required: BTreeSet<String>,
    enums: BTreeMap<String, (String, BTreeSet<String>)>,
}

fn walk(items: &Items, name: &str, at: &str, read: &mut Read) {
    let mut found = items.iter().filter(|((_, item), _)| item == name);
    let ((source, _), item) = found.next().unwrap_or_else(|| panic!("{at}: where is {name}?"));
    assert!(found.next().is_none(), "{name} is there twice");
    let item = if item.by_fields {
        &items[&(source.clone(), "Fields".to_owned())]
    } else {
        item
    };
    if !item.values.is_empty() {
        read.enums
            .insert(at.to_owned(), (name.to_owned(), item.values.clone()));
    }
    for Field(field, kind, needed) in &item.fields {
        let mut kind = kind.as_str();
        let mut path = if at.is_empty() {
            field.clone()
        } else {
            format!("{at}.{field}")
        };
        loop {
            if let Some(inner) = kind.strip_prefix("Option<") {
                kind = inner.strip_suffix('>').unwrap();
            } else if let Some(inner) = kind.strip_prefix("Vec<") {
                kind = inner.strip_suffix('>').unwrap();
                path += "[]";
            } else {
                break;
            }
        }
        let row = path.trim_end_matches("[]").to_owned();
        if *needed {
            read.required.insert(row.clone());
        }
        read.paths.insert(row);
        if !LEAVES.contains(&kind) && !kind.starts_with("BTreeMap<") {
            walk(items, kind, &path, read);
        }
    }
}

fn everything() -> Read {
    let mut read = Read::default();
    walk(&items(), "ConfigFile", "", &mut read);
    read
}

/// Rows of the tables below a heading, up to the next of that kind, as the cells between the bars.
fn rows(heading: &str) -> Vec<Vec<&'static str>> {
    let part = PAGE
        .split("\n## ")
        .find(|part| part.lines().next() == Some(heading));
    let part = part.unwrap_or_else(|| panic!("the page has no part `{heading}`"));
    let lines = part.lines().filter(|line| line.starts_with("| `"));
    lines
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect()
}

fn plain(cell: &str) -> String {
    cell.trim_matches('`').to_owned()
}

fn same(what: &str, page: &BTreeSet<String>, code: &BTreeSet<String>) {
    let missing: Vec<_> = code.difference(page).collect();
    let gone: Vec<_> = page.difference(code).collect();
    assert!(
        missing.is_empty() && gone.is_empty(),
        "{what}: the page lacks {missing:#?} and has {gone:#?} that do not exist"
    );
}

#[test]
fn every_field_has_its_row_and_no_row_is_of_another() {
    let rows = rows("Fields");
    let page: BTreeSet<String> = rows.iter().map(|row| plain(row[0])).collect();
    assert_eq!(page.len(), rows.len(), "a field has two rows");
    assert!(
        rows.iter()
            .all(|row| row.len() == 3 && row.iter().all(|cell| !cell.is_empty()))
    );
    let code = everything();
    assert!(
        code.paths
            .contains("policies[].routes[].to.direct.allowedNetworks")
    );
    same("fields", &page, &code.paths);
    let required = rows.iter().filter(|row| row[2].ends_with("**Required.**"));
    same(
        "Required",
        &required.map(|row| plain(row[0])).collect(),
        &code.required,
    );
}

#[test]
fn a_shard_has_its_fields() {
    let page = rows("Shards").iter().map(|row| plain(row[0])).collect();
    let items = items();
    let shard = &items[&("shard".to_owned(), "ShardFile".to_owned())];
    same(
        "fields of a shard",
        &page,
        &shard.fields.iter().map(|Field(name, ..)| name.clone()).collect(),
    );
    assert!(PAGE.contains(&format!("{SHARDS} shards")));
}

/// `TlsMode` alone has values for ports and others for routes; every other enum is whole at each of its fields.
#[test]
fn every_value_has_its_row_and_no_row_is_of_another() {
    let mut page = BTreeMap::<String, BTreeSet<String>>::new();
    for row in rows("Values") {
        page.entry(plain(row[0])).or_default().insert(plain(row[1]));
    }
    let enums = everything().enums;
    same(
        "fields with values",
        &page.keys().cloned().collect(),
        &enums.keys().cloned().collect(),
    );
    let (split, whole): (Vec<_>, Vec<_>) = enums.iter().partition(|(_, (name, _))| name == "TlsMode");
    for (path, (_, values)) in whole {
        same(path, &page[path], values);
    }
    assert_eq!(split.len(), 2);
    let listed = split.iter().flat_map(|(path, _)| page[*path].clone()).collect();
    same("TlsMode", &listed, &split[0].1.1);
}

#[test]
fn defaults_are_those_of_the_code() {
    let (limits, queue, retry) = (Limits::default(), QueueSection::default(), Retry::default());
    let filters = FilterTimeouts::default();
    let (access, greylisting) = (Access::default(), Greylisting::default());
    let octets = |value: Octets| value.to_string();
    let period = |value: Period| value.to_string();
    let spool: postroad_config::SpoolSection = serde_saphyr::from_str("directory: /x").unwrap();
    let rows = rows("Fields");
    for (path, value) in [
        ("spool.highWaterPercent", spool.high_water_percent.to_string()),
        ("spool.writeFormat", spool.format().to_string()),
        ("tls.minimumVersion", format!("{:?}", TlsVersion::default())),
        (
            "access.dnsBlocklistThreshold",
            access.dns_blocklist_threshold.to_string(),
        ),
        ("access.greylisting.delay", period(greylisting.delay)),
        ("access.greylisting.retryWithin", period(greylisting.retry_within)),
        ("access.greylisting.lifetime", period(greylisting.lifetime)),
        (
            "access.greylisting.allowClientsAfter",
            greylisting.allow_clients_after.to_string(),
        ),
        ("limits.messageSize", octets(limits.message_size)),
        (
            "limits.recipientsPerMessage",
            limits.recipients_per_message.to_string(),
        ),
        ("limits.connections", limits.connections.to_string()),
        (
            "limits.connectionsPerClient",
            limits.connections_per_client.to_string(),
        ),
        (
            "limits.messagesPerConnection",
            limits.messages_per_connection.to_string(),
        ),
        ("limits.minimumDataRate", octets(limits.minimum_data_rate)),
        ("limits.transactionTime", period(limits.transaction_time)),
        ("limits.greetingDelay", period(limits.greeting_delay)),
        ("filters[].timeouts.connect", period(filters.connect)),
        ("filters[].timeouts.reply", period(filters.reply)),
        ("filters[].timeouts.total", period(filters.total)),
        ("queue.lifetime", period(queue.lifetime)),
        ("queue.nullSenderLifetime", period(queue.null_sender_lifetime)),
        ("queue.delayNotice", period(queue.delay_notice)),
        ("queue.durability", format!("{:?}", queue.durability)),
        ("policies[].retry.first", period(retry.first)),
        ("policies[].retry.max", period(retry.max)),
    ] {
        let row = rows.iter().find(|row| plain(row[0]) == path).unwrap();
        assert!(
            row[2].contains(&format!("Default `{value}`")),
            "{path}: {value}, not {}",
            row[2]
        );
    }
}
