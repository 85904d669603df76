//! One place of a case: a namespace, the proxy and the operator of its own, and the judge.
//!
//! The verdict of every case: the desired state is reached, it stays, and the operator goes quiet.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::api::Api;
use crate::identity::Identity;
use crate::objects::{self, KINDS, Objects};
use crate::operator::{Operator, Start};
use crate::proxy::Proxy;
use crate::server::{self, PLACES, Said, Server};

/// No write but the Lease's for this long is quiet.
pub const QUIET: Duration = Duration::from_secs(5);
/// The same where nothing is judged yet, before a case begins: three looks at a listener whose pods do not serve.
const SETTLED: Duration = Duration::from_secs(3);
/// An operator that has written nothing for this long may have done all that it has to do.
const PAUSE: Duration = Duration::from_millis(700);
/// Longest time until a state is reached. Generous: the computer may be busy.
pub const REACHED: Duration = Duration::from_secs(150);

/// What all cases share.
pub struct World {
    /// The API server.
    pub server: Server,
    /// The operator's program.
    pub program: PathBuf,
    /// Another version of it, where there is one.
    pub other: Option<PathBuf>,
    places: AtomicUsize,
}

impl World {
    /// A world around a server.
    pub fn new(server: Server, program: PathBuf, other: Option<PathBuf>) -> Arc<Self> {
        Arc::new(Self {
            server,
            program,
            other,
            places: AtomicUsize::new(0),
        })
    }
}

/// A place.
pub struct Rig {
    /// Who may do everything.
    pub api: Api,
    /// The namespace.
    pub namespace: String,
    /// Between operator and server.
    pub proxy: Proxy,
    /// The operator.
    pub operator: Operator,
    /// Its number.
    pub place: usize,
    start: Start,
}

impl Rig {
    /// An empty namespace with its operator.
    pub async fn new(world: &World) -> Said<Self> {
        Self::with(world, &world.program, Vec::new()).await
    }

    /// The same with that operator, these words in front of its command line.
    pub async fn with(world: &World, program: &Path, before: Vec<String>) -> Said<Self> {
        Self::made(world, program, before, None).await
    }

    /// The same, whose operator speaks TLS with the proxy, and trusts what [`Rig::trust`] names.
    pub async fn with_tls(world: &World, identity: Identity) -> Said<Self> {
        Self::made(world, &world.program, Vec::new(), Some(identity)).await
    }

    async fn made(
        world: &World,
        program: &Path,
        before: Vec<String>,
        identity: Option<Identity>,
    ) -> Said<Self> {
        let place = world.places.fetch_add(1, Ordering::SeqCst);
        if place >= PLACES {
            return Err(format!("more than {PLACES} places"));
        }
        let namespace = server::namespace(place);
        let api = world.server.admin()?;
        api.create("/api/v1/namespaces", &json!({"metadata": {"name": namespace}}))
            .await?;
        world.server.grant(&namespace)?;
        let folder = world.server.folder().to_owned();
        let authorities = match &identity {
            Some(identity) => {
                let file = folder.join(format!("{namespace}.ca"));
                std::fs::write(&file, &identity.certificate).map_err(server::text)?;
                Some(file)
            }
            None => None,
        };
        let proxy = Proxy::start(api.clone(), identity).await?;
        let start = Start {
            program: program.to_owned(),
            folder,
            namespace: namespace.clone(),
            token: server::token(place),
            authorities,
            pod: "operator-0",
            before,
        };
        let operator = Operator::start(&start, &proxy)?;
        Ok(Self {
            api,
            namespace,
            proxy,
            operator,
            place,
            start,
        })
    }

    /// Puts other authorities into the file that the operator has, as a kubelet does: PEM, one behind the other.
    pub fn trust(&self, identities: &[&Identity]) -> Said<()> {
        let file = self.start.authorities.as_ref().ok_or("a rig without TLS")?;
        let all: String = identities
            .iter()
            .map(|identity| identity.certificate.as_str())
            .collect();
        let next = file.with_extension("next");
        std::fs::write(&next, all).map_err(server::text)?;
        std::fs::rename(&next, file).map_err(server::text)
    }

    /// A second operator beside it, behind a proxy of its own.
    pub async fn another(&self) -> Said<(Proxy, Operator)> {
        let proxy = Proxy::start(self.api.clone(), None).await?;
        let start = Start {
            pod: "operator-1",
            ..self.start.clone()
        };
        let operator = Operator::start(&start, &proxy)?;
        Ok((proxy, operator))
    }

    /// Path of an object here.
    pub fn path(&self, kind: &str, name: &str) -> String {
        objects::path(kind, &self.namespace, name)
    }

    /// Applies an object as a person does.
    pub async fn apply(&self, kind: &str, object: &Value) -> Said<Value> {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        self.api.apply(&self.path(kind, name), object).await
    }

    /// Writes the spec as a whole, as `kubectl replace` does: what is not in it is not there afterwards. Errors: the refusal.
    pub async fn put(&self, kind: &str, object: &Value) -> Said<Value> {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let path = self.path(kind, name);
        let started = Instant::now();
        loop {
            let Some(mut live) = self.api.find(&path).await? else {
                return self.apply(kind, object).await;
            };
            live["spec"] = object["spec"].clone();
            match self.api.replace(&path, &live).await? {
                // Somebody wrote in between.
                Err(refusal) if refusal.contains("409") && started.elapsed() < REACHED => {}
                said => return said,
            }
        }
    }

    /// All objects as they are.
    pub async fn raw(&self) -> Said<Objects> {
        let mut found = Objects::new();
        for (kind, _) in KINDS {
            let list = self.api.get(&self.path(kind, "")).await?;
            for object in list["items"].as_array().into_iter().flatten() {
                let name = object["metadata"]["name"].as_str().unwrap_or_default();
                if *kind != "serviceaccounts" || !matches!(name, "default" | "postroad") {
                    found.insert(format!("{kind}/{name}"), object.clone());
                }
            }
        }
        Ok(found)
    }

    /// All objects as they are compared.
    pub async fn objects(&self) -> Said<Objects> {
        let raw = self.raw().await?;
        let one = |(name, object): (String, Value)| {
            let kind = name.split('/').next().unwrap_or_default();
            let plain = objects::plain(kind, &object).to_string();
            // The same in every place.
            let plain = plain.replace(&self.namespace, "here");
            let plain = serde_json::from_str(&plain).map_err(server::text)?;
            Ok((name, plain))
        };
        raw.into_iter().map(one).collect()
    }

    /// Waits until the operator goes quiet; `least`: writes that must have come before.
    pub async fn quiet(&self, least: usize) -> Said<()> {
        self.still(least, QUIET).await
    }

    /// Waits until the operator has written, and is done with what a case begins with.
    pub async fn settles(&self) -> Said<()> {
        self.still(1, SETTLED).await
    }

    async fn still(&self, least: usize, long: Duration) -> Said<()> {
        let started = Instant::now();
        loop {
            let written = self.proxy.last_write().unwrap_or(started);
            if self.proxy.writes() >= least && written.elapsed() >= long && started.elapsed() >= long {
                return Ok(());
            }
            if started.elapsed() > REACHED {
                let seen = self.proxy.seen();
                let writes: Vec<_> = seen
                    .iter()
                    .rev()
                    .filter(|seen| seen.call.writes())
                    .take(6)
                    .collect();
                let writes: Vec<_> = writes
                    .iter()
                    .map(|seen| format!("{:?} {} {}", seen.call.verb, seen.path, seen.status))
                    .collect();
                return Err(format!("the operator does not go quiet: {writes:#?}"));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Waits until the objects are these, and the operator is quiet with them.
    pub async fn reaches(&self, wanted: &Objects) -> Said<()> {
        let started = Instant::now();
        loop {
            self.pauses(started).await;
            let differences = objects::differences(wanted, &self.objects().await?);
            if differences.is_empty() {
                self.quiet(0).await?;
                let differences = objects::differences(wanted, &self.objects().await?);
                if differences.is_empty() {
                    return Ok(());
                }
            } else if started.elapsed() > REACHED {
                let shown: Vec<_> = differences.into_iter().take(8).collect();
                return Err(format!("the state is not reached: {}", shown.join("; ")));
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    }

    /// Waits while the operator writes: to list everything meanwhile takes more of the computer than the operator does.
    async fn pauses(&self, started: Instant) {
        while started.elapsed() <= REACHED && self.proxy.last_write().is_some_and(|at| at.elapsed() < PAUSE) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until something holds; `what` is said where it never does.
    pub async fn until(&self, what: &str, mut holds: impl AsyncFnMut(&Self) -> Said<bool>) -> Said<()> {
        let started = Instant::now();
        while !holds(self).await? {
            if started.elapsed() > REACHED {
                return Err(format!("never: {what}"));
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        Ok(())
    }
}
