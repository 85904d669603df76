//! The zones, their servers, resolvers in front of them, and the mail servers that they tell of.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::super::ours::listens;
use crate::kubectl::{Failure, Outcome};
use crate::rootfs::{Jail, Rootfs};
use crate::shell::Background;

/// It runs until this is dropped.
pub(super) struct Rig {
    jail: Jail,
    _programs: Vec<Background>,
    _scratch: tempfile::TempDir,
}

/// Whose word proves an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// That of a resolver that validates.
    Trusted,
    /// Ours, behind that resolver.
    Validated,
    /// Ours, behind one that passes everything on, false or not.
    Alone,
    /// Ours, behind one that lies.
    Lied,
}

impl Source {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Trusted => "trusted",
            Self::Validated => "validated",
            Self::Alone => "alone",
            Self::Lied => "lied",
        }
    }
}

/// The root file system of all of it.
pub(super) fn root() -> Outcome<Rootfs> {
    Rootfs::cached(
        "dane",
        &["nsd", "unbound", "ldnsutils", "openssl", "python3-minimal"],
    )
}

impl Rig {
    pub(super) fn start(root: &Rootfs) -> Outcome<Self> {
        let scratch = tempfile::tempdir()?;
        let jail = root.enter(scratch.path(), &[])?;
        for (name, text) in FILES {
            jail.write(&format!("/rig/{name}"), text)?;
        }
        jail.run("sh", ["-c", "cd /rig && exec sh make.sh"])?;
        let mut programs = vec![
            spawn(&jail, "zones", "nsd -d -c nsd.conf")?,
            spawn(&jail, "nowhere", "nsd -d -c nsd-nowhere.conf")?,
            spawn(&jail, "sink", &format!("python3 sink.py {}", SERVERS.join(" ")))?,
        ];
        for (address, modules) in RESOLVERS {
            let text = UNBOUND.replace("ADDRESS", address).replace("MODULES", modules);
            jail.write(&format!("/rig/{address}.conf"), text)?;
            programs.push(spawn(&jail, address, &format!("unbound -d -c {address}.conf"))?);
        }
        programs.push(spawn(&jail, "liar", "python3 liar.py 127.0.0.55 127.0.0.54")?);
        let rig = Self {
            jail,
            _programs: programs,
            _scratch: scratch,
        };
        for address in [
            "127.0.0.2:53",
            "127.0.0.3:53",
            VALIDATES,
            PASSES_ON,
            LIES,
            "127.0.1.8:25",
        ] {
            let ready = address
                .parse::<SocketAddr>()
                .map_err(|error| Failure::wrong(error.to_string()));
            ready
                .and_then(listens)
                .map_err(|error| Failure::wrong(format!("{error}\n{}", rig.logs())))?;
        }
        Ok(rig)
    }

    /// What the file of ours says of its resolver.
    pub(super) fn source(&self, source: Source) -> Outcome<String> {
        let resolver = match source {
            Source::Trusted => return Ok(format!("resolvers: ['{VALIDATES}']\ndnssec: Trusted\n")),
            Source::Validated => VALIDATES,
            Source::Alone => PASSES_ON,
            Source::Lied => LIES,
        };
        let anchor = std::fs::read_to_string(self.jail.file("/rig/anchor"))?;
        Ok(format!(
            "resolvers: ['{resolver}']\ndnssec: Validated\ntrustAnchors: ['{}']\n",
            anchor.trim()
        ))
    }

    /// Who had mail so far, with `tls` or `clear`.
    pub(super) fn taken(&self) -> Outcome<BTreeMap<String, String>> {
        let text = std::fs::read_to_string(self.jail.file("/rig/sink.out"))?;
        let pairs = text.lines().filter_map(|line| line.split_once(' '));
        Ok(pairs.map(|(who, how)| (who.to_owned(), how.to_owned())).collect())
    }

    /// What the programs said, for who looks into a failure.
    pub(super) fn logs(&self) -> String {
        let said = self.jail.run("sh", ["-c", "tail -n 40 /rig/*.err"]);
        said.unwrap_or_else(|error| error.to_string())
    }
}

fn spawn(jail: &Jail, name: &str, command: &str) -> Outcome<Background> {
    jail.spawn(
        "sh",
        [
            "-c",
            &format!("cd /rig && exec {command} >{name}.out 2>{name}.err"),
        ],
    )
}

/// Addresses of the resolvers.
const VALIDATES: &str = "127.0.0.53:53";
const PASSES_ON: &str = "127.0.0.54:53";
const LIES: &str = "127.0.0.55:53";

const RESOLVERS: [(&str, &str); 2] = [("127.0.0.53", "validator iterator"), ("127.0.0.54", "iterator")];

/// Mail servers and what they show.
const SERVERS: [&str; 8] = [
    "127.0.1.1=own",
    "127.0.1.2=misnamed",
    "127.0.1.3=old",
    "127.0.1.4=issued",
    "127.0.1.5=issued-misnamed",
    "127.0.1.6=issued-old",
    "127.0.1.7=-",
    "127.0.1.8=own",
];

const UNBOUND: &str = include_str!("../../../peers/dane/unbound.conf");

const FILES: [(&str, &str); 12] = [
    ("make.sh", include_str!("../../../peers/dane/make.sh")),
    ("liar.py", include_str!("../../../peers/dane/liar.py")),
    ("sink.py", include_str!("../../../peers/dane/sink.py")),
    ("nsd.conf", include_str!("../../../peers/dane/nsd.conf")),
    (
        "nsd-nowhere.conf",
        include_str!("../../../peers/dane/nsd-nowhere.conf"),
    ),
    ("root.zone", include_str!("../../../peers/dane/root.zone")),
    ("secure.zone", include_str!("../../../peers/dane/secure.zone")),
    ("hashed.zone", include_str!("../../../peers/dane/hashed.zone")),
    ("bogus.zone", include_str!("../../../peers/dane/bogus.zone")),
    ("insecure.zone", include_str!("../../../peers/dane/insecure.zone")),
    (
        "unproven-secure.zone",
        include_str!("../../../peers/dane/unproven-secure.zone"),
    ),
    (
        "unproven-hashed.zone",
        include_str!("../../../peers/dane/unproven-hashed.zone"),
    ),
];
