//! Tools of the checks that cargo can build: made once, kept in the cache by name and version, never installed for the
//! user.

use std::path::PathBuf;
use std::time::Duration;

use crate::place;
use crate::shell::{Shell, ShellError};

/// The version of cargo-deny that the checks use.
const CARGO_DENY: &str = "0.20.2";

/// Path of cargo-deny; built on first use (about two minutes on two cores).
pub fn cargo_deny() -> Result<PathBuf, ShellError> {
    built("cargo-deny", CARGO_DENY)
}

fn built(name: &str, version: &str) -> Result<PathBuf, ShellError> {
    let root = place::cache().join("tools").join(format!("{name}-{version}"));
    let program = root.join("bin").join(name);
    if program.exists() {
        return Ok(program);
    }
    eprintln!("    building {name} {version}, once");
    Shell::new(place::cargo())
        .args([
            "install",
            name,
            "--locked",
            "--quiet",
            "--version",
            version,
            "--root",
        ])
        .args([&root])
        // The tree's own settings (target folder, flags) are not the tool's.
        .without_env("CARGO_TARGET_DIR")
        .without_env("RUSTFLAGS")
        .limit(Duration::from_mins(20))
        .run()?;
    Ok(program)
}
