//! Making of root file systems: one base for each release of Debian by mmdebstrap, and from it each other one by apt, with
//! what Debian has not from Python's package index.
//!
//! ```text
//!   mmdebstrap ─► base-SUITE-HASH ─► a jail on it, apt-get install, pip install ─► copied to NAME-HASH
//! ```
//!
//! Each is made beside its place and renamed, so that an interrupted run leaves nothing that looks whole; where two runs
//! make the same, the first to end wins and the other's is as good.

use std::path::Path;
use std::time::{Duration, Instant};

use super::Rootfs;
use crate::kubectl::{Failure, Outcome};
use crate::place;
use crate::shell::Shell;

/// What every base is made with; part of every hash.
const RECIPE: &[&str] = &[
    "--quiet",
    "--mode=root",
    "--variant=apt",
    // What is put on top is looked up in the lists of the base.
    "--skip=cleanup/apt/lists",
    "--aptopt=APT::Install-Recommends \"false\"",
    "--dpkgopt=path-exclude=/usr/share/doc/*",
    "--dpkgopt=path-exclude=/usr/share/man/*",
    "--dpkgopt=path-exclude=/usr/share/locale/*",
    // It counts only when it is whole: no file of it need be on the disk before the next.
    "--dpkgopt=force-unsafe-io",
];

/// Puts packages on top: starts no server, and asks for new lists only where those of the base are too old.
const INSTALL: &str = "
    export DEBIAN_FRONTEND=noninteractive
    printf '#!/bin/sh\\nexit 101\\n' >/usr/sbin/policy-rc.d
    chmod 755 /usr/sbin/policy-rc.d
    apt-get install --yes -qq \"$@\" || { apt-get update -qq && apt-get install --yes -qq \"$@\"; } || exit
    rm -rf /usr/sbin/policy-rc.d /var/lib/apt/lists/* /var/cache/apt/*";

/// Puts Python packages on top: exactly those that standard input names, each by version and hash, and none that has to be
/// compiled. The index and all else is set as for the caller's own pip, by `PIP_…` in the environment.
const PIP_INSTALL: &str = "
    python3 -m pip install --quiet --no-cache-dir --no-deps --require-hashes --only-binary=:all: --break-system-packages \
        --root-user-action=ignore --requirement /dev/fd/0";

/// The certificate authorities that this computer trusts, and where Debian's programs look for them. A root of few packages
/// has none.
const AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// The root file system with these packages of this release, out of the cache or new. `wheels`: requirements of pip, as in
/// [`Rootfs::with_wheels`].
pub(super) fn made(suite: &str, name: &str, packages: &[&str], wheels: &str) -> Outcome<Rootfs> {
    let mut packages = packages.to_vec();
    packages.sort_unstable();
    let with_pip = [PIP_INSTALL, wheels];
    let pip: &[&str] = if wheels.is_empty() { &[] } else { &with_pip };
    cached(name, &[&[suite, INSTALL], RECIPE, &packages, pip], |unfinished| {
        let base = base(suite)?;
        let scratch = unfinished.with_extension("scratch");
        std::fs::create_dir_all(&scratch)?;
        let installed = install(&base, &scratch, &packages, wheels, unfinished);
        let _ = std::fs::remove_dir_all(&scratch);
        installed
    })
}

fn base(suite: &str) -> Outcome<Rootfs> {
    cached(&format!("base-{suite}"), &[&[suite], RECIPE], |unfinished| {
        let make = Shell::new("mmdebstrap").args(RECIPE).args([suite]);
        make.args([unfinished]).limit(LIMIT).run()?;
        Ok(())
    })
}

/// `scratch` is on the file system of the base: then all of the jail's root is on one, and what is mounted in it is not.
fn install(base: &Rootfs, scratch: &Path, packages: &[&str], wheels: &str, to: &Path) -> Outcome {
    let jail = base.enter(scratch, &[])?;
    let install = jail.shell("sh").args(["-c", INSTALL, "install"]).args(packages);
    install.limit(LIMIT).run()?;
    if !wheels.is_empty() {
        let authorities = std::fs::read(AUTHORITIES).map_err(|error| {
            Failure::wrong(format!(
                "{AUTHORITIES}, of Debian's package ca-certificates: {error}"
            ))
        })?;
        jail.write(AUTHORITIES, authorities)?;
        let install = jail.shell("sh").args(["-c", PIP_INSTALL]).input(wheels);
        install.limit(LIMIT).run()?;
    }
    let copy = Shell::new("cp").args(["--archive", "--one-file-system"]);
    copy.args([jail.file("/").join("."), to.to_owned()]).run()?;
    Ok(())
}

/// `terms`: all that it depends on. `make` fills a folder, which is not there yet, for it.
fn cached(name: &str, terms: &[&[&str]], make: impl FnOnce(&Path) -> Outcome) -> Outcome<Rootfs> {
    let cache = place::cache().join("rootfs");
    std::fs::create_dir_all(&cache)?;
    let name: String = name
        .chars()
        .map(|letter| {
            if letter.is_ascii_alphanumeric() {
                letter
            } else {
                '-'
            }
        })
        .collect();
    let path = cache.join(format!("{name}-{}", hash(&terms.concat().join("\n"))?));
    if !path.exists() {
        eprintln!("    root file system {name}, once");
        let start = Instant::now();
        let unfinished = path.with_extension(format!("part{}", std::process::id()));
        let placed = make(&unfinished).and_then(|()| place_at(&unfinished, &path));
        let _ = std::fs::remove_dir_all(&unfinished);
        placed?;
        eprintln!("    root file system {name} took {} s", start.elapsed().as_secs());
    }
    Ok(Rootfs { path })
}

fn place_at(unfinished: &Path, path: &Path) -> Outcome {
    std::fs::rename(unfinished, path).or_else(|error| if path.exists() { Ok(()) } else { Err(error) })?;
    Ok(())
}

fn hash(text: &str) -> Outcome<String> {
    let sum = Shell::new("sha256sum").input(text).read()?;
    sum.get(..16)
        .map(str::to_owned)
        .ok_or_else(|| Failure::wrong("sha256sum gave no hash"))
}

const LIMIT: Duration = Duration::from_mins(20);
