//! The made-up domains: zone files for the authoritative server of the tests (`e2e/peers/dns.yaml`).
//!
//! Pure: builds texts. Every zone has its own SOA, an NS record and the glue for it, so that a resolver that walks from
//! the zone's name servers arrives at the server like it would on the Internet.

use std::fmt::Write as _;

/// One domain with its records.
#[derive(Clone, Debug)]
pub struct Zone {
    name: String,
    records: Vec<String>,
}

impl Zone {
    /// A zone without records of its own yet.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            records: Vec::new(),
        }
    }

    /// The zone's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Adds a line in the syntax of a zone file; names without a dot at the end are below the zone.
    #[must_use]
    pub fn record(mut self, line: impl Into<String>) -> Self {
        self.records.push(line.into());
        self
    }

    /// The zone file; `server` is the address of its one name server.
    pub fn file(&self, server: &str, serial: u64) -> String {
        let mut text = format!(
            "$ORIGIN {name}.\n$TTL 1\n@ IN SOA ns.{name}. hostmaster.{name}. {serial} 3600 600 86400 1\n\
             @ IN NS ns.{name}.\nns IN A {server}\n",
            name = self.name
        );
        for record in &self.records {
            let _ = writeln!(text, "{record}");
        }
        text
    }
}

/// The files of the server's `ConfigMap`: one per zone and the configuration that serves them.
///
/// `forward` is the DNS server of the cluster that is asked for everything else.
pub fn files(zones: &[Zone], server: &str, forward: &str, serial: u64) -> Vec<(String, String)> {
    let mut config = String::new();
    let mut files = Vec::new();
    for zone in zones {
        let name = zone.name();
        let _ = writeln!(
            config,
            "{name}:1053 {{\n    errors\n    file /zones/{name}.zone {{\n        reload 1s\n    }}\n}}"
        );
        files.push((format!("{name}.zone"), zone.file(server, serial)));
    }
    let _ = writeln!(
        config,
        "{SILENT}:1053 {{\n    template ANY ANY {{\n        rcode SERVFAIL\n    }}\n}}"
    );
    // A zone that is new is found by `reload` here, a new serial of one that is served by the `reload` of its file.
    let _ = writeln!(
        config,
        ".:1053 {{\n    errors\n    ready\n    reload 2s 1s\n    forward . {forward}\n}}"
    );
    files.push(("Corefile".to_owned(), config));
    files
}

/// A domain of which the server says that it cannot say anything (SERVFAIL).
pub const SILENT: &str = "silent.example";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_zone_is_served_and_names_the_server() {
        let zones = [
            Zone::new("a.example").record("@ IN MX 10 mx"),
            Zone::new("b.example"),
        ];
        let files = files(&zones, "192.0.2.53", "10.96.0.10", 7);
        let text = |name: &str| files.iter().find(|(file, _)| file == name).unwrap().1.clone();
        assert!(text("Corefile").contains("b.example:1053"));
        assert!(text("a.example.zone").contains("ns IN A 192.0.2.53\n@ IN MX 10 mx\n"));
    }
}
