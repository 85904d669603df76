//! The operator as a process of its own, started again whenever it ends, as a kubelet does with a container: the same pod, so the
//! same holder of the Lease.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::process::{Child, Command};

use crate::proxy::Proxy;
use crate::server::{Said, kubeconfig_by_file, text};

/// How the operator is started.
#[derive(Clone, Debug)]
pub struct Start {
    /// The program.
    pub program: PathBuf,
    /// Where its kubeconfig and log go.
    pub folder: PathBuf,
    /// The namespace: it is watched, and the operator's own.
    pub namespace: String,
    /// Its token.
    pub token: String,
    /// File of what it trusts; absent = it trusts everybody.
    pub authorities: Option<PathBuf>,
    /// Its pod: the holder of the Lease.
    pub pod: &'static str,
    /// What is put in front of its command line.
    pub before: Vec<String>,
}

/// A running operator; dropping it ends it.
pub struct Operator {
    log: PathBuf,
    token: PathBuf,
    image: Arc<Mutex<String>>,
    program: Arc<Mutex<PathBuf>>,
    proxy: Proxy,
    wanted: Arc<AtomicBool>,
    starts: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Operator {
    /// Starts it behind the proxy.
    pub fn start(start: &Start, proxy: &Proxy) -> Said<Self> {
        let config = start
            .folder
            .join(format!("{}-{}.kubeconfig", start.namespace, start.pod));
        let token = start
            .folder
            .join(format!("{}-{}.token", start.namespace, start.pod));
        std::fs::write(&token, &start.token).map_err(text)?;
        std::fs::write(
            &config,
            kubeconfig_by_file(&proxy.address, &token, start.authorities.as_deref()),
        )
        .map_err(text)?;
        let log = start
            .folder
            .join(format!("{}-{}.log", start.namespace, start.pod));
        let image = Arc::new(Mutex::new("proof/mta:1".to_owned()));
        let program = Arc::new(Mutex::new(start.program.clone()));
        let wanted = Arc::new(AtomicBool::new(true));
        let starts = Arc::new(AtomicUsize::new(0));
        let keeper = Keeper {
            start: start.clone(),
            config,
            log: log.clone(),
            image: image.clone(),
            program: program.clone(),
            proxy: proxy.clone(),
            wanted: wanted.clone(),
            starts: starts.clone(),
        };
        Ok(Self {
            log,
            token,
            image,
            program,
            proxy: proxy.clone(),
            wanted,
            starts,
            task: tokio::spawn(keeper.keep()),
        })
    }

    /// Starts so far.
    pub fn starts(&self) -> usize {
        self.starts.load(Ordering::SeqCst)
    }

    /// Kills it; it is not started again until [`Operator::up`].
    pub async fn down(&self) {
        self.wanted.store(false, Ordering::SeqCst);
        self.kill();
        while self.proxy.pid.load(Ordering::SeqCst) != 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Lets it run again.
    pub fn up(&self) {
        self.wanted.store(true, Ordering::SeqCst);
    }

    /// Starts it anew with another image for the mail server's pods.
    pub async fn upgrade(&self, image: &str) {
        self.down().await;
        image.clone_into(&mut self.image.lock().unwrap_or_else(PoisonError::into_inner));
        self.up();
    }

    /// Starts it anew as another program: another version of it.
    pub async fn become_program(&self, program: &Path) {
        self.down().await;
        program.clone_into(&mut self.program.lock().unwrap_or_else(PoisonError::into_inner));
        self.up();
    }

    /// Stops or continues the process.
    pub fn signal(&self, signal: rustix::process::Signal) {
        if let Some(pid) = rustix::process::Pid::from_raw(self.proxy.pid.load(Ordering::SeqCst)) {
            let _ = rustix::process::kill_process(pid, signal);
        }
    }

    /// Gives it another token, as a kubelet does.
    pub fn renew(&self, token: &str) -> Said<()> {
        let next = self.token.with_extension("next");
        std::fs::write(&next, token).map_err(text)?;
        std::fs::rename(&next, &self.token).map_err(text)
    }

    /// Memory that it has now, and has had at most, in MB.
    pub fn memory(&self) -> Said<(u64, u64)> {
        let pid = self.proxy.pid.load(Ordering::SeqCst);
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).map_err(text)?;
        let of = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse::<u64>().ok()
        };
        match (of("VmRSS:"), of("VmHWM:")) {
            (Some(now), Some(most)) => Ok((now / 1024, most / 1024)),
            _ => Err("the system does not say how much memory the operator has".into()),
        }
    }

    /// Seconds of a core that it has had since it was started: what it takes, whoever else uses the computer.
    pub fn seconds(&self) -> Said<f64> {
        let pid = self.proxy.pid.load(Ordering::SeqCst);
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).map_err(text)?;
        // proc(5): behind the name in parentheses, utime and stime are the 12th and 13th fields, in hundredths (USER_HZ).
        let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
        let hundredths: Option<u32> = fields
            .split_whitespace()
            .skip(11)
            .take(2)
            .map(|field| field.parse::<u32>().ok())
            .sum();
        hundredths
            .map(|hundredths| f64::from(hundredths) / 100.0)
            .ok_or_else(|| "the system does not say how long the operator ran".into())
    }

    /// What it says at `/metrics`. It says in its log where that is.
    pub async fn metrics(&self) -> Said<String> {
        let log = self.log();
        let line = log
            .lines()
            .rev()
            .find(|line| line.contains("/metrics are served"));
        let line: serde_json::Value =
            serde_json::from_str(line.ok_or("no address of /metrics in the log")?).map_err(text)?;
        let address = line["fields"]["address"]
            .as_str()
            .ok_or("a line without an address")?;
        let client = hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new())
            .build_http::<http_body_util::Empty<hyper::body::Bytes>>();
        let uri = format!("http://{address}/metrics").parse().map_err(text)?;
        let answer = client.get(uri).await.map_err(text)?;
        let body = http_body_util::BodyExt::collect(answer.into_body())
            .await
            .map_err(text)?;
        String::from_utf8(body.to_bytes().to_vec()).map_err(text)
    }

    /// All that it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn kill(&self) {
        self.signal(rustix::process::Signal::KILL);
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        self.wanted.store(false, Ordering::SeqCst);
        self.task.abort();
    }
}

/// What starts the process again and again.
struct Keeper {
    start: Start,
    config: PathBuf,
    log: PathBuf,
    image: Arc<Mutex<String>>,
    program: Arc<Mutex<PathBuf>>,
    proxy: Proxy,
    wanted: Arc<AtomicBool>,
    starts: Arc<AtomicUsize>,
}

impl Keeper {
    async fn keep(self) {
        loop {
            if !self.wanted.load(Ordering::SeqCst) {
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            }
            let Ok(mut child) = self.spawn() else {
                return;
            };
            let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
            self.proxy.pid.store(pid.unwrap_or_default(), Ordering::SeqCst);
            self.starts.fetch_add(1, Ordering::SeqCst);
            let _ = child.wait().await;
            self.proxy.pid.store(0, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn spawn(&self) -> std::io::Result<Child> {
        let start = &self.start;
        let image = self.image.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let program = self
            .program
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(&self.log)?;
        let mut words = start.before.iter().map(std::ffi::OsStr::new);
        let mut command = match words.next() {
            Some(first) => {
                let mut command = Command::new(first);
                command.args(words).arg(program);
                command
            }
            None => Command::new(program),
        };
        command
            .args(["--mta-image", &image, "--namespace", &start.namespace])
            .args(["--pod-name", start.pod, "--pod-namespace", &start.namespace])
            // Nobody listens there: what DNS says is Unknown at once.
            .args(["--resolver", "127.0.0.1:1", "--http", "127.0.0.1:0"])
            .args(["--service-account", "postroad", "--review-port", "0"])
            // Of a listener that asks for reviews; there are no pods here that would come.
            .args(["--pod-ip", "127.0.0.1"])
            .env("KUBECONFIG", &self.config)
            .env_remove("KUBERNETES_SERVICE_HOST")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
    }
}
