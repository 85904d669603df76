//! The operator of an earlier commit, for the cases of two versions: the newest release, or, before there is one, the commit before
//! the last change of the operator and of what it shares with the pods. It is built in a worktree and a target folder of its own.

use std::path::{Path, PathBuf};
use std::time::Duration;

use postroad_e2e::place;
use postroad_e2e::shell::Shell;

use crate::server::{Said, text};

/// What an operator is made of.
const SOURCES: [&str; 3] = ["operator", "crds", "mta/config"];

/// Builds it; gives the program. `commit`: absent = see above. Errors: there is no such commit (a shallow clone has none), or it
/// cannot be built.
pub fn operator(commit: Option<&str>) -> Said<PathBuf> {
    let tree = place::tree();
    let commit = match commit {
        Some(commit) => git(&tree, &["rev-parse", "--verify", &format!("{commit}^{{commit}}")])?,
        None => chosen(&tree)?,
    };
    let folder = place::target().join("earlier");
    let (source, target) = (folder.join("tree"), folder.join("target"));
    std::fs::create_dir_all(&folder).map_err(text)?;
    checked_out(&tree, &source, &commit)?;
    eprintln!(
        "    the operator of {commit} is built, for the cases of two versions: minutes at the first time"
    );
    Shell::new(place::cargo())
        .args([
            "build",
            "--release",
            "--locked",
            "--quiet",
            "--package",
            "postroad-operator",
        ])
        .env("CARGO_TARGET_DIR", &target)
        .dir(&source)
        .limit(Duration::from_hours(1))
        .echo()
        .run()
        .map_err(text)?;
    Ok(target.join("release/postroad-operator"))
}

/// The newest release behind this commit, or the parent of the last commit that changed an operator.
fn chosen(tree: &Path) -> Said<String> {
    if let Ok(tag) = git(
        tree,
        &["describe", "--tags", "--abbrev=0", "--match", "v*", "HEAD^"],
    ) {
        return git(tree, &["rev-parse", "--verify", &format!("{tag}^{{commit}}")]);
    }
    let mut args = vec!["log", "--first-parent", "--max-count=1", "--format=%H", "--"];
    args.extend(SOURCES);
    let changed = git(tree, &args)?;
    git(
        tree,
        &["rev-parse", "--verify", "--quiet", &format!("{changed}^1")],
    )
    .map_err(|_| "there is no earlier commit here that changed the operator".to_owned())
}

/// A worktree of that commit, made anew: what an earlier run left there is of another one, or half of one.
fn checked_out(tree: &Path, source: &Path, commit: &str) -> Said<()> {
    let folder = source.display().to_string();
    if source.exists() {
        if git(source, &["rev-parse", "HEAD"]).is_ok_and(|known| known == commit) {
            return git(source, &["checkout", "--quiet", "--force", "--detach", commit]).map(drop);
        }
        std::fs::remove_dir_all(source).map_err(text)?;
    }
    git(tree, &["worktree", "prune"])?;
    git(
        tree,
        &[
            "worktree", "add", "--quiet", "--force", "--detach", &folder, commit,
        ],
    )
    .map(drop)
}

fn git(tree: &Path, args: &[&str]) -> Said<String> {
    let said = Shell::new("git").args(args).dir(tree).read().map_err(text)?;
    Ok(said.trim().to_owned())
}
