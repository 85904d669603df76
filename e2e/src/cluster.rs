//! The cluster that everything runs on: the local one of `e2e/cluster`, or the one of the user's kubeconfig.
//!
//!   demo, stories ──► Cluster ──► kubectl, helm            both kinds
//!                            └──► e2e/cluster/*.sh         local: up, down, machines, images
//!                            └──► --load-images 'CMD {}'   current: the user's way to bring an image to the nodes

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::kubectl::{Failure, Outcome};
use crate::place;
use crate::shell::{Shell, ShellError};

/// Which cluster, as the options of the commands say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Which {
    /// The cluster that Postroad starts on this computer.
    Local,
    /// The current context of your kubeconfig.
    Current,
}

/// Options that choose the cluster; every command has them.
#[derive(Clone, Debug, clap::Args)]
pub struct Choice {
    /// Which cluster to use.
    #[arg(long, value_enum, default_value = "local")]
    pub cluster: Which,
    /// For `--cluster current`: the command that puts an image archive on the cluster's nodes; `{}` stands for the
    /// archive, as in `kind load image-archive {}`.
    #[arg(long, value_name = "CMD {}")]
    pub load_images: Option<String>,
}

/// A cluster that answers.
#[derive(Clone, Debug)]
pub struct Cluster {
    local: Option<Local>,
    load_images: Option<String>,
}

#[derive(Clone, Debug)]
struct Local {
    bin: PathBuf,
    kubeconfig: PathBuf,
    /// Held while this run uses the cluster.
    _lock: Option<Arc<File>>,
}

/// What a disk may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disk {
    /// Writes wait.
    Freeze,
    /// They go on.
    Thaw,
    /// Nothing is read or written any more, and what was not synced is gone.
    Break,
}

/// Number of nodes of the local cluster.
pub const NODES: u32 = 2;

impl Cluster {
    /// Gets the chosen cluster ready: starts the local one if it does not run, or asks the current one for its version.
    pub fn ready(choice: &Choice) -> Outcome<Self> {
        match choice.cluster {
            Which::Local => Self::up(),
            Which::Current => {
                let cluster = Self {
                    local: None,
                    load_images: choice.load_images.clone(),
                };
                cluster
                    .kubectl(["version"])
                    .limit(Duration::from_secs(30))
                    .run()?;
                Ok(cluster)
            }
        }
    }

    /// Starts the local cluster; one that is up is used as it is, by one run at a time.
    fn up() -> Outcome<Self> {
        let lock = Arc::new(lock()?);
        let mut cluster = Self::programs()?;
        script("up.sh")
            .args([NODES.to_string()])
            .limit(Duration::from_mins(5))
            .echo()
            .run()?;
        cluster.local = cluster.local.map(|local| Local {
            _lock: Some(lock),
            ..local
        });
        Ok(cluster)
    }

    /// Builds the programs of the local cluster (kubectl and helm are among them), once, without starting it.
    pub fn programs() -> Result<Self, ShellError> {
        let library = scripts().join("lib.sh");
        let print = format!(". '{}'; echo \"$bin\"; echo \"$KUBECONFIG\"", library.display());
        let said = Shell::new("bash").args(["-c", &print]).read()?;
        let mut lines = said.lines().map(PathBuf::from);
        let local = Local {
            bin: lines.next().unwrap_or_default(),
            kubeconfig: lines.next().unwrap_or_default(),
            _lock: None,
        };
        if !local.bin.with_file_name("done").exists() {
            eprintln!(
                "    Kubernetes, etcd, CoreDNS and helm are built from Go modules, once: about 9 minutes on two cores,\n    \
                 the first program takes most of it"
            );
        }
        script("build.sh").limit(Duration::from_hours(1)).echo().run()?;
        Ok(Self {
            local: Some(local),
            load_images: None,
        })
    }

    /// Ends the local cluster and deletes all that it wrote, if there is one.
    pub fn down() -> Result<(), ShellError> {
        script("down.sh").limit(Duration::from_mins(2)).run().map(drop)
    }

    /// Whether this is the local cluster, whose machines can be switched off.
    pub fn is_local(&self) -> bool {
        self.local.is_some()
    }

    /// The key that signs tokens of ServiceAccounts, where the cluster is ours.
    pub fn token_key(&self) -> Option<PathBuf> {
        let local = self.local.as_ref()?;
        Some(local.kubeconfig.parent()?.join("pki/service-account.key"))
    }

    /// Variables that make the cluster's programs usable by hand.
    pub fn exports(&self) -> Option<String> {
        let local = self.local.as_ref()?;
        Some(format!(
            "export KUBECONFIG={} PATH={}:$PATH",
            local.kubeconfig.display(),
            local.bin.display()
        ))
    }

    /// Where one of the cluster's programs is.
    pub fn tool(&self, name: &str) -> PathBuf {
        self.local
            .as_ref()
            .map_or_else(|| PathBuf::from(name), |local| local.bin.join(name))
    }

    /// `kubectl` against this cluster.
    pub fn kubectl<S: AsRef<std::ffi::OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Shell {
        self.program("kubectl").args(args)
    }

    /// `helm` against this cluster.
    pub fn helm<S: AsRef<std::ffi::OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Shell {
        self.program("helm").args(args)
    }

    fn program(&self, name: &str) -> Shell {
        match &self.local {
            Some(local) => Shell::new(local.bin.join(name)).env("KUBECONFIG", &local.kubeconfig),
            None => Shell::new(name),
        }
    }

    /// The static `coredns` program of the local cluster's cache.
    pub fn coredns(&self) -> Result<PathBuf, ShellError> {
        match &self.local {
            Some(local) => Ok(local.bin.join("coredns")),
            None => Ok(Self::programs()?
                .local
                .map(|local| local.bin.join("coredns"))
                .unwrap_or_default()),
        }
    }

    /// Puts image archives on every node.
    pub fn load(&self, archives: &[&Path]) -> Result<(), ShellError> {
        let limit = Duration::from_mins(10);
        if self.is_local() {
            return script("load.sh").args(archives).limit(limit).run().map(drop);
        }
        let Some(command) = &self.load_images else {
            return Ok(());
        };
        for archive in archives {
            let archive = format!("'{}'", archive.display());
            Shell::new("sh")
                .args(["-c", &command.replace("{}", &archive)])
                .limit(limit)
                .run()?;
        }
        Ok(())
    }

    /// Pulls the plug of a machine of the local cluster.
    pub fn stop_machine(&self, name: &str) -> Result<(), ShellError> {
        script("machine-stop.sh").args([name]).run().map(drop)
    }

    /// Does something to a volume of the local cluster's class `bounded` that is mounted.
    pub fn disk(&self, what: Disk, volume: &str) -> Result<(), ShellError> {
        let what = match what {
            Disk::Freeze => "freeze",
            Disk::Thaw => "thaw",
            Disk::Break => "break",
        };
        script("disk.sh").args([what, volume]).run().map(drop)
    }

    /// Switches a machine of the local cluster on.
    pub fn start_machine(&self, name: &str) -> Result<(), ShellError> {
        script("machine-start.sh").args([name]).run().map(drop)
    }
}

/// Installs what the local cluster, the images and the peers need, or names what is missing.
pub fn packages() -> Result<(), ShellError> {
    script("packages.sh")
        .limit(Duration::from_mins(15))
        .echo()
        .run()
        .map(drop)
}

/// Says that this run uses the local cluster, until the file is closed. Two runs would replace each other's chart and images.
fn lock() -> Outcome<File> {
    std::fs::create_dir_all(place::cache())?;
    let path = place::cache().join("cluster.lock");
    let file = File::create(&path)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Failure::wrong(format!(
            "another run uses the local cluster (it holds {}): let it end, there is one such cluster on a computer",
            path.display()
        ))),
        Err(TryLockError::Error(error)) => Err(error.into()),
    }
}

fn scripts() -> PathBuf {
    place::tree().join("e2e/cluster")
}

fn script(name: &str) -> Shell {
    // Sessions that share a computer may each have a KUBECONFIG; the scripts have their own.
    Shell::new(scripts().join(name)).without_env("KUBECONFIG")
}
