//! What every part reads: one immutable value per loaded configuration, and the place where the newest one is found.
//!
//! ```text
//!   reload ─► Settings::new ─► Live::swap ─► current() everywhere; changed() wakes who must act
//! ```
//!
//! A part takes `current()` once per unit of work (session, attempt, request) and keeps it: nothing changes under it.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use ipnet::IpNet;
use postroad_config::admin::{CertificateState, ConfigState};
use postroad_config::{
    Alias, ConfigSet, Domain, DomainName, FORMAT, HeaderEdits, Port, Role, TlsSection, TlsSource, User,
};
use tokio::sync::watch;

use crate::signing::{BadDomainKeys, Signers};
use crate::tls::{self, Served, TlsError};
use crate::tokens::{KeySetError, Submitters};

/// One loaded configuration.
#[derive(Debug)]
pub struct Settings {
    /// The files, checked.
    pub set: ConfigSet,
    tls: Option<Served>,
    submitters: Option<Submitters>,
    signers: Signers,
    domains: HashMap<DomainName, Place>,
    users: HashMap<String, usize>,
}

/// A domain's place in the file, and its recipients by local part in lower case.
#[derive(Debug)]
struct Place {
    at: usize,
    listed: HashSet<String>,
    aliases: HashMap<String, usize>,
}

impl Place {
    fn new(at: usize, domain: &Domain) -> Self {
        let recipients = domain.inbound.as_ref().map(|inbound| &inbound.recipients);
        let key = |local: &String| local.to_ascii_lowercase();
        Self {
            at,
            listed: recipients
                .map(|to| to.addresses.iter().map(key).collect())
                .unwrap_or_default(),
            aliases: recipients
                .map(|to| {
                    to.aliases
                        .iter()
                        .enumerate()
                        .map(|(at, alias)| (key(&alias.name), at))
                        .collect()
                })
                .unwrap_or_default(),
        }
    }
}

/// Why a checked set cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A certificate file cannot be read.
    #[error("{field}: {} cannot be read ({error}); name a readable PEM file", path.display())]
    File {
        /// What names it.
        field: &'static str,
        /// Which.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// Chain and key cannot be served.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// No token can be judged.
    #[error("authentication.serviceAccounts.keySet {0}")]
    Keys(#[from] KeySetError),
    /// Mail of a domain cannot be signed.
    #[error(transparent)]
    Signing(#[from] BadDomainKeys),
}

impl Settings {
    /// Builds the look-ups and the TLS configuration. Reads certificate files where the set names them.
    pub fn new(set: ConfigSet) -> Result<Self, SettingsError> {
        Self::after(set, None)
    }

    /// The same; what is as `before` and costly to build is taken over.
    pub fn after(set: ConfigSet, before: Option<&Self>) -> Result<Self, SettingsError> {
        let tls = set.file.tls.as_ref().map(served).transpose()?;
        let accounts = set.file.authentication.service_accounts.as_ref();
        let submitters = accounts.map(Submitters::new).transpose()?;
        let signers = Signers::new(&set, before.map(Self::signers))?;
        let domains = set
            .file
            .domains
            .iter()
            .enumerate()
            .map(|(at, domain)| (domain.name.clone(), Place::new(at, domain)))
            .collect();
        let users = set
            .file
            .users
            .iter()
            .enumerate()
            .map(|(at, user)| (user.name.clone(), at))
            .collect();
        Ok(Self {
            set,
            tls,
            submitters,
            signers,
            domains,
            users,
        })
    }

    /// The same with the TLS sessions of the settings before, where the certificate is still the same.
    #[must_use]
    pub fn following(mut self, before: &Self) -> Self {
        self.tls = self
            .tls
            .map(|served| served.or_the_one_before(before.tls.as_ref()));
        self
    }

    /// The domain of that name.
    pub fn domain(&self, name: &DomainName) -> Option<&Domain> {
        self.domains
            .get(name)
            .and_then(|place| self.set.file.domains.get(place.at))
    }

    /// Whether the domain lists this local part (given in lower case) as an address.
    pub fn is_listed(&self, domain: &DomainName, local: &str) -> bool {
        self.domains
            .get(domain)
            .is_some_and(|place| place.listed.contains(local))
    }

    /// What this local part (given in lower case) of the domain stands for.
    pub fn alias(&self, domain: &DomainName, local: &str) -> Option<&Alias> {
        let place = self.domains.get(domain)?;
        let at = *place.aliases.get(local)?;
        self.set
            .file
            .domains
            .get(place.at)?
            .inbound
            .as_ref()?
            .recipients
            .aliases
            .get(at)
    }

    /// The user of that name.
    pub fn user(&self, name: &str) -> Option<&User> {
        self.users.get(name).and_then(|at| self.set.file.users.get(*at))
    }

    /// Judges the tokens of ServiceAccounts; absent where they may not submit.
    pub fn submitters(&self) -> Option<&Submitters> {
        self.submitters.as_ref()
    }

    /// What mail of our domains is signed with.
    pub fn signers(&self) -> &Signers {
        &self.signers
    }

    /// The port of that name.
    pub fn port(&self, name: &str) -> Option<&Port> {
        self.set.file.ports.iter().find(|port| port.name == name)
    }

    /// TLS for new handshakes on our ports; absent where no certificate is configured.
    pub fn tls(&self) -> Option<&Served> {
        self.tls.as_ref()
    }

    /// The certificate of the ports.
    pub fn certificate(&self) -> Option<&CertificateState> {
        self.tls.as_ref().map(|served| &served.state)
    }

    /// What is done to the header of mail at a port of that role.
    pub fn header_edits(&self, role: Role) -> &HeaderEdits {
        match role {
            Role::Submission => &self.set.file.headers.submission,
            Role::Transfer => &self.set.file.headers.transfer,
        }
    }

    /// Whether this client may relay without AUTH (`relayFrom`).
    pub fn may_relay(&self, client: IpAddr) -> bool {
        contains(&self.set.file.relay_from, client)
    }

    /// Whether this client may speak for others by XCLIENT (`access.trustedPeers`).
    pub fn may_stand_in(&self, client: IpAddr) -> bool {
        contains(&self.set.file.access.trusted_peers, client)
    }

    /// Whether this is a load balancer whose word about its clients is taken.
    pub fn is_proxy(&self, source: IpAddr) -> bool {
        contains(&self.set.file.proxy_protocol.trusted_sources, source)
    }

    /// Name of this server.
    pub fn hostname(&self) -> &str {
        self.set.file.hostname.as_str()
    }
}

fn served(section: &TlsSection) -> Result<Served, SettingsError> {
    let oldest = section.minimum_version;
    match &section.source {
        TlsSource::Inline { certificate, key } => Ok(tls::serve(certificate, key, oldest)?),
        TlsSource::Files {
            certificate_file,
            key_file,
        } => {
            let read = |field, path: &PathBuf| {
                std::fs::read_to_string(path).map_err(|error| SettingsError::File {
                    field,
                    path: path.clone(),
                    error,
                })
            };
            let certificate = read("tls.certificateFile", certificate_file)?;
            let key = read("tls.keyFile", key_file)?;
            Ok(tls::serve(&certificate, &key, oldest)?)
        }
    }
}

fn contains(networks: &[IpNet], address: IpAddr) -> bool {
    let address = address.to_canonical();
    networks.iter().any(|network| network.contains(&address))
}

/// Where the newest settings are found. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Live(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    current: ArcSwap<Settings>,
    changed: watch::Sender<u64>,
    trouble: Mutex<Trouble>,
}

/// Why what runs is not what the files say.
#[derive(Debug, Default)]
struct Trouble {
    files: Option<String>,
    ports: Option<String>,
}

impl Live {
    /// Starts with a first complete configuration.
    pub fn new(first: Settings) -> Self {
        Self(Arc::new(Shared {
            current: ArcSwap::from_pointee(first),
            changed: watch::Sender::new(0),
            trouble: Mutex::default(),
        }))
    }

    /// The settings now. Take them once per unit of work.
    pub fn current(&self) -> Arc<Settings> {
        self.0.current.load_full()
    }

    /// Wakes at each swap; the number counts them.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.0.changed.subscribe()
    }

    /// Puts newer settings in place and clears the trouble with the files.
    pub fn swap(&self, next: Settings) {
        self.0.current.store(Arc::new(next));
        self.set_file_error(None);
        self.0.changed.send_modify(|count| *count += 1);
    }

    /// Whether the newest files are in use. While not, an unknown domain or recipient is 451, never 550.
    pub fn complete(&self) -> bool {
        self.trouble(|trouble| trouble.files.is_none())
    }

    /// Says why the newest files are not used; `None` when they are.
    pub fn set_file_error(&self, error: Option<String>) {
        self.trouble(|trouble| trouble.files = error);
    }

    /// Says why a port of the current settings is not served; `None` when all are.
    pub fn set_port_error(&self, error: Option<String>) {
        self.trouble(|trouble| trouble.ports = error);
    }

    /// What the admin API says of the configuration.
    pub fn state(&self) -> ConfigState {
        let current = self.current();
        ConfigState {
            generation: current.set.file.generation,
            hash: current.set.hash.clone(),
            reads_format: FORMAT,
            error: self.trouble(|trouble| trouble.files.clone().or_else(|| trouble.ports.clone())),
        }
    }

    fn trouble<T>(&self, with: impl FnOnce(&mut Trouble) -> T) -> T {
        with(&mut self.0.trouble.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
