//! The run's own folder on the disk that is measured. It goes with the run; what a killed run left, the next one removes.

use std::path::{Path, PathBuf};

use postroad_e2e::kubectl::Outcome;
use postroad_e2e::shell::Shell;

/// A folder that is removed when this is dropped.
#[derive(Debug)]
pub struct Folder(PathBuf);

const PREFIX: &str = "postroad-bench-";

impl Folder {
    /// The folder of this run below `parent`.
    pub fn of_run(parent: &Path) -> Outcome<Self> {
        sweep(parent)?;
        Self::make(parent.join(format!("{PREFIX}{}", std::process::id())))
    }

    /// A folder inside of it, empty.
    pub fn inside(&self, name: &str) -> Outcome<Self> {
        Self::make(self.0.join(name))
    }

    fn make(path: PathBuf) -> Outcome<Self> {
        std::fs::create_dir_all(&path)?;
        Ok(Self(path))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            eprintln!("    {} stays: {error}", self.0.display());
        }
    }
}

/// Removes folders of runs that were killed.
fn sweep(parent: &Path) -> Outcome {
    for entry in std::fs::read_dir(parent)? {
        let path = entry?.path();
        let run = path
            .file_name()
            .and_then(|name| name.to_str()?.strip_prefix(PREFIX));
        let Some(run) = run.and_then(|run| run.parse::<u32>().ok()) else {
            continue;
        };
        if !Path::new(&format!("/proc/{run}")).exists() {
            std::fs::remove_dir_all(&path)?;
        }
    }
    Ok(())
}

/// Waits until the disk has what was written, so that one measurement does not pay for another.
pub fn settle() -> Outcome {
    Ok(Shell::new("sync").run().map(drop)?)
}
