//! Every mistake of a configuration, each with its place, where [`crate::assemble`] stops at the first.
//!
//! ```text
//!   text ─► tree (place of every node) ─► patient: reads the types out of the tree, again and again;
//!              │                              each mistake is noted and patched with a value that fits
//!              │                                           │
//!              └──── place ◄── field path ◄── check ◄── the patched file
//! ```
//!
//! There is no second schema: what a field may be is asked of the types of `file.rs` themselves. For people who wait
//! for an answer, not for the daemon: a file with many mistakes is read many times.
//!
//! Values that may be secret (keys, verifiers) are never shown.

mod near;
mod path;
mod patient;
mod postfix;
mod reader;
mod tree;

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

pub use near::nearest;

use crate::check;
use crate::file::{ConfigFile, FORMAT};
use crate::set::{AssembleError, assemble};
use crate::shard::{ShardFile, hash, shard_file_name};
use tree::Tree;

/// One mistake and where it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explained {
    /// Name of the file: the one that was given for the base, or a shard's.
    pub file: String,
    /// Line, from 1; 0 where the file itself is what is wrong.
    pub line: u32,
    /// Column, from 1; 0 where the line is.
    pub column: u32,
    /// Path of the field, such as `ports[1].tls`; empty for the whole file.
    pub field: String,
    /// What is wrong and what to write instead.
    pub sentence: String,
}

/// In the form that editors follow: `FILE:LINE:COLUMN: FIELD: SENTENCE`.
impl fmt::Display for Explained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file)?;
        if self.line > 0 {
            write!(f, "{}:{}:", self.line, self.column)?;
        }
        if !self.field.is_empty() {
            write!(f, " {}:", self.field)?;
        }
        write!(f, " {}", self.sentence)
    }
}

/// A file and its tree.
struct Source {
    name: String,
    tree: Tree,
}

/// Every mistake of the base file and its shards; empty exactly where [`assemble`] takes them.
///
/// `name`: what to call the base file. At most 50 mistakes of a file are told.
pub fn explain(name: &str, base: &str, shards: &BTreeMap<u8, String>) -> Vec<Explained> {
    let Err(error) = assemble(base, shards) else {
        return Vec::new();
    };
    let mut told = Vec::new();
    match Tree::read(base) {
        Ok(tree) => explain_set(
            Source {
                name: name.to_owned(),
                tree,
            },
            shards,
            &mut told,
        ),
        Err(mistake) => told.push(mistake.explained(name)),
    }
    if told.is_empty() {
        // Something that only the daemon's reader minds: its own words, at the head of the file.
        told.push(first_words(name, &error));
    }
    told.sort_by(|a, b| {
        (a.file != name, &a.file, a.line, a.column).cmp(&(b.file != name, &b.file, b.line, b.column))
    });
    told
}

/// The place of a field in the base file, for mistakes that are found elsewhere (a certificate that cannot be read).
pub fn locate(base: &str, field: &str) -> Option<(u32, u32)> {
    let tree = Tree::read(base).ok()?;
    path::resolve(&tree, field).map(|found| (found.place.line, found.place.column))
}

fn explain_set(base: Source, shards: &BTreeMap<u8, String>, told: &mut Vec<Explained>) {
    let mut sources = vec![base];
    let Some(mut file) = read::<ConfigFile>(&sources[0], told) else {
        return;
    };
    check_format(&sources[0], file.format, told);
    for (number, wanted) in file.shards.clone() {
        let text = shards.get(&number).filter(|text| hash(text) == wanted);
        let name = shard_file_name(number);
        match text.map(|text| Tree::read(text)) {
            None => missing_shard(&sources[0], number, told),
            Some(Err(mistake)) => told.push(mistake.explained(&name)),
            Some(Ok(tree)) => {
                let source = Source { name, tree };
                if let Some(read) = read::<ShardFile>(&source, told) {
                    check_format(&source, read.format, told);
                    file.domains.extend(read.domains);
                }
                sources.push(source);
            }
        }
    }
    file.domains.sort_by(|a, b| a.name.cmp(&b.name));
    explain_rules(&file, &sources, told);
}

fn missing_shard(base: &Source, number: u8, told: &mut Vec<Explained>) {
    let field = format!("shards.{number}");
    // A number that could not be read names no file.
    if let Some(at) = path::resolve(&base.tree, &field).filter(|found| found.depth == 2) {
        let name = shard_file_name(number);
        let sentence =
            format!("names {name}, which is missing or of another generation; write both together");
        told.push(explained(base, Some(at.place), field, sentence));
    }
}

/// Breaches of rules, except where the field itself could not be read and stands for something else.
fn explain_rules(file: &ConfigFile, sources: &[Source], told: &mut Vec<Explained>) {
    let Err(problems) = check::check(file) else { return };
    for problem in problems.0 {
        if problem.field.contains(patient::PLACEHOLDER) || problem.sentence.contains(patient::PLACEHOLDER) {
            continue;
        }
        // The domains of a shard are not in the base file.
        let found = sources
            .iter()
            .filter_map(|source| Some((source, path::resolve(&source.tree, &problem.field)?)))
            .max_by_key(|(_, found)| found.depth);
        let Some((source, found)) = found else { continue };
        // A breach at a field that could not be read, or because of one.
        let follows = told.iter().any(|earlier| {
            let because = format!("`{}`", earlier.field.split('.').next().unwrap_or_default());
            earlier.file == source.name
                && (path::related(&earlier.field, &found.path) || problem.sentence.contains(&because))
        });
        if !follows {
            told.push(explained(
                source,
                Some(found.place),
                problem.field,
                problem.sentence,
            ));
        }
    }
}

/// Reads the types out of a tree, past every mistake. `None` where there are too many.
fn read<T: serde::de::DeserializeOwned>(source: &Source, told: &mut Vec<Explained>) -> Option<T> {
    for mistake in &source.tree.mistakes {
        told.push(mistake.explained(&source.name));
    }
    let (value, mistakes) = patient::read(&source.tree);
    for mistake in mistakes {
        told.push(mistake.explained(&source.name));
    }
    value
}

fn check_format(source: &Source, format: u32, told: &mut Vec<Explained>) {
    let known = told
        .iter()
        .any(|earlier| earlier.file == source.name && earlier.field == "format");
    if format != FORMAT && !known {
        let at = path::resolve(&source.tree, "format").map(|at| at.place);
        let sentence =
            format!("{format} is not known to this version; write {FORMAT}, or run a newer version");
        told.push(explained(source, at, "format".into(), sentence));
    }
}

fn explained(source: &Source, at: Option<tree::Place>, field: String, sentence: String) -> Explained {
    tree::Mistake {
        place: at.unwrap_or_default(),
        field,
        sentence,
    }
    .explained(&source.name)
}

fn first_words(name: &str, error: &AssembleError) -> Explained {
    tree::Mistake {
        place: tree::Place::default(),
        field: String::new(),
        sentence: error.to_string(),
    }
    .explained(name)
}

#[cfg(test)]
mod tests;
