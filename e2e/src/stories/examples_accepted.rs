//! The examples of `docs/examples`, as they are, at a real API server: each is taken.

use crate::kubectl::{Failure, Outcome};
use crate::place;
use crate::story::Scene;

/// Plays the story.
pub fn play(scene: &Scene<'_>) -> Outcome {
    for kind in ["smtplistener", "maildomain", "relaypolicy"] {
        let folder = place::tree().join("docs/examples").join(kind);
        let files = std::fs::read_dir(&folder)?.count();
        let said = scene.namespace.kubectl([
            "apply",
            "--dry-run=server",
            "--validate=strict",
            "--filename",
            &folder.to_string_lossy(),
        ])?;
        let taken = said
            .lines()
            .filter(|line| line.ends_with("created (server dry run)"))
            .count();
        if files == 0 || taken != files {
            return Err(Failure::wrong(format!(
                "of {files} examples {taken} were taken: {said}"
            )));
        }
    }
    Ok(())
}
