//! Ports: listening sockets that follow the settings, admission, one task per connection.
//!
//! ```text
//!   settings.ports ─► Ports::follow ─► listen ─► accept ─► (PROXY header) ─► admission ─► session::serve   (a task each)
//!                        │ changed: new address? listen there first, then leave the old one
//! ```
//!
//! Role and TLS mode of a port are looked up per connection, so that a change of them needs no new socket.

mod admission;
mod bind;
mod budget;
mod descriptors;
mod pressure;
mod proxied;
mod shown;

pub(crate) use admission::network;
pub use admission::{Admission, Admitted, Full};
pub use bind::{BindError, listen};
pub use budget::{Budget, Room};
pub use descriptors::raise as raise_descriptors;
pub use pressure::{Pressure, Rank};

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use postroad_config::{Port, TlsMode};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::proxied::Beginning;
use self::shown::Own;
use crate::lifecycle::Phase;
use crate::metrics::Refused;
use crate::session::{self, Shared};

/// The ports that are served. Cheap to clone.
#[derive(Clone)]
pub struct Ports {
    shared: Shared,
    admission: Admission,
    sessions: TaskTracker,
    open: Arc<Mutex<HashMap<String, OpenPort>>>,
    own: Own,
}

struct OpenPort {
    /// As the settings have it.
    wanted: SocketAddr,
    /// As the system gave it.
    bound: SocketAddr,
    stop: CancellationToken,
}

impl Ports {
    /// No port listens yet.
    pub fn new(shared: Shared) -> Self {
        Self {
            shared,
            admission: Admission::default(),
            sessions: TaskTracker::new(),
            open: Arc::default(),
            own: Own::default(),
        }
    }

    /// Listens on every port of the settings. Errors: the first port that cannot listen; then none does.
    pub fn start(&self) -> Result<(), BindError> {
        self.follow_limits();
        let mut sockets = Vec::new();
        for port in &self.shared.live.current().set.file.ports {
            sockets.push((port.name.clone(), port.address, listen(&port.name, port.address)?));
        }
        for (name, address, socket) in sockets {
            self.serve(name, address, socket);
        }
        Ok(())
    }

    /// Where a port listens.
    pub fn address(&self, name: &str) -> Option<SocketAddr> {
        self.lock().get(name).map(|port| port.bound)
    }

    /// Follows the settings until the process ends.
    pub async fn follow(self) {
        let mut changed = self.shared.live.changed();
        let stop = self.shared.lifecycle.sessions().clone();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                outcome = changed.changed() => if outcome.is_err() { return },
                // The limit of a pod's memory may change while it runs.
                () = tokio::time::sleep(LOOK_AT_MEMORY) => {
                    self.follow_limits();
                    continue;
                }
            }
            self.follow_limits();
            self.apply();
        }
    }

    fn follow_limits(&self) {
        let limits = &self.shared.live.current().set.file.limits;
        let memory = self.shared.pressure.memory();
        self.shared.budget.follow(limits.buffer_memory, memory);
        self.shared.intake.follow_memory(memory);
    }

    /// Ends when all sessions have ended. New ones may come until then.
    pub async fn drained(&self) {
        self.sessions.close();
        self.sessions.wait().await;
    }

    /// Closes the listening sockets.
    pub fn close(&self) {
        for (_, port) in self.lock().drain() {
            port.stop.cancel();
        }
    }

    /// Opens and closes ports as the newest settings want it.
    fn apply(&self) {
        let settings = self.shared.live.current();
        let mut trouble = Vec::new();
        for port in &settings.set.file.ports {
            let same = self
                .lock()
                .get(&port.name)
                .is_some_and(|open| open.wanted == port.address);
            if same {
                continue;
            }
            match listen(&port.name, port.address) {
                Ok(socket) => {
                    if let Some(old) = self.lock().remove(&port.name) {
                        old.stop.cancel();
                    }
                    self.serve(port.name.clone(), port.address, socket);
                }
                Err(error) => {
                    tracing::error!(%error, "a port of the new configuration is not served");
                    trouble.push(error.to_string());
                }
            }
        }
        self.lock().retain(|name, open| {
            let kept = settings.port(name).is_some();
            if !kept {
                tracing::info!(port = name, "port is closed");
                open.stop.cancel();
            }
            kept
        });
        self.shared
            .live
            .set_port_error((!trouble.is_empty()).then(|| trouble.join("; ")));
    }

    fn serve(&self, name: String, wanted: SocketAddr, socket: TcpListener) {
        let bound = socket.local_addr().unwrap_or(wanted);
        let stop = CancellationToken::new();
        tracing::info!(port = name, address = %bound, "port is served");
        self.lock().insert(
            name.clone(),
            OpenPort {
                wanted,
                bound,
                stop: stop.clone(),
            },
        );
        tokio::spawn(self.clone().accept(name, socket, stop));
    }

    async fn accept(self, name: String, socket: TcpListener, stop: CancellationToken) {
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => return,
                accepted = socket.accept() => accepted,
            };
            match accepted {
                Ok((stream, client)) => self.admit(&name, stream, client),
                Err(error) => {
                    // Out of descriptors or memory: give the sessions time to end. One broken connection: go on.
                    tracing::warn!(%error, port = name, "a connection could not be accepted");
                    if !is_of_the_connection(&error) {
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
        }
    }

    /// Finds out who the client is, and starts a session or says 421 and why.
    fn admit(&self, name: &str, mut stream: TcpStream, source: SocketAddr) {
        let settings = self.shared.live.current();
        let Some(port) = settings.port(name).cloned() else {
            return;
        };
        let source = SocketAddr::new(source.ip().to_canonical(), source.port());
        if self.own.holds(&source) {
            return self.show(port, stream, source);
        }
        match proxied::beginning(&settings, source.ip()) {
            Beginning::Session => self.begin(port, stream, source),
            Beginning::Refused => {
                tracing::info!(port = name, %source, "closed: not one of the load balancers in proxyProtocol.trustedSources");
                self.shared.refused(Refused::Policy);
            }
            Beginning::Header => {
                let Some(unknown) = self.admission.expect(&settings.set.file.limits) else {
                    self.shared.refused(Refused::Limit);
                    return;
                };
                let ports = self.clone();
                self.sessions.spawn(async move {
                    let client = proxied::client(&mut stream, source).await;
                    drop(unknown);
                    match client {
                        Ok(client) => ports.begin(port, stream, client),
                        Err(error) => {
                            tracing::info!(port = port.name, %source, %error, "closed before the session");
                            ports.shared.refused(Refused::Policy);
                        }
                    }
                });
            }
        }
    }

    /// Starts the session of this client, or says 421 and why.
    fn begin(&self, port: Port, stream: TcpStream, client: SocketAddr) {
        let settings = self.shared.live.current();
        let rank = Rank::of(&settings, port.role, client.ip());
        let (class, refusal) = match self.admission.admit(client.ip(), rank, &settings.set.file.limits) {
            Ok(_) if self.shared.pressure.sheds(rank) => {
                (Refused::Unable, "Too little memory, try again later")
            }
            Ok(admitted) => match self.closed() {
                None => {
                    let shared = self.shared.clone();
                    self.sessions.spawn(async move {
                        session::serve(shared, port, stream, client).await;
                        drop(admitted);
                    });
                    return;
                }
                Some(reason) => (Refused::Unable, reason),
            },
            Err(Full::Total) => (Refused::Limit, "Too many connections, try again later"),
            Err(Full::Client) => (
                Refused::Limit,
                "Too many connections from your address, try again later",
            ),
        };
        self.shared.refused(class);
        // Before TLS there is nobody to talk to on a port with implicit TLS.
        let line = (port.tls != TlsMode::Implicit)
            .then(|| format!("421 4.3.2 {} {refusal}\r\n", settings.hostname()));
        self.sessions.spawn(turn_away(stream, line));
    }

    /// The same for a connection of ours that looks at the certificate: nothing is in its way but that we are leaving.
    fn show(&self, port: Port, stream: TcpStream, source: SocketAddr) {
        if self.closed().is_none() {
            let session = session::uncounted(self.shared.clone(), port, stream, source);
            self.sessions.spawn(session);
        }
    }

    /// Why no new session is served (RFC 5321 section 3.1: 421 in place of the greeting).
    fn closed(&self) -> Option<&'static str> {
        if self.shared.intake.is_closed() || self.shared.lifecycle.phase() == Phase::Closing {
            Some("This server is leaving service, try again later")
        } else {
            None
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, OpenPort>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn turn_away(mut stream: TcpStream, line: Option<String>) {
    let say = async {
        if let Some(line) = line {
            stream.write_all(line.as_bytes()).await?;
        }
        stream.shutdown().await
    };
    // A client that is gone already needs no answer.
    let _ = tokio::time::timeout(TURN_AWAY, say).await;
}

fn is_of_the_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}

const LOOK_AT_MEMORY: Duration = Duration::from_secs(30);
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);
const TURN_AWAY: Duration = Duration::from_secs(5);
