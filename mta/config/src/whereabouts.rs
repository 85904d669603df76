//! Where the mail server of a configuration is asked, for commands about its queue: also while the file has mistakes, as the mail
//! server then runs by what it read before.
//!
//! ```text
//!   text ─► the section `spool` of the file ─► else the lines of that section alone ─► spool.directory
//! ```

use std::path::PathBuf;

use serde::Deserialize;

#[derive(Deserialize)]
struct Whereabouts {
    spool: Directory,
}

#[derive(Deserialize)]
struct Directory {
    directory: PathBuf,
}

/// `spool.directory` of a base file, whatever else is wrong with it. `None`: it cannot be told.
pub fn spool_directory(base: &str) -> Option<PathBuf> {
    let read = |text: &str| serde_saphyr::from_str::<Whereabouts>(text).ok();
    let found = read(base).or_else(|| read(&section(base)))?;
    Some(found.spool.directory).filter(|directory| !directory.as_os_str().is_empty())
}

/// The lines of the section `spool` that stands at the left edge, up to the next line there.
fn section(base: &str) -> String {
    let mut lines = base.lines().skip_while(|line| !line.starts_with("spool:"));
    let head = lines.next().into_iter();
    let is_inside = |line: &&str| line.trim().is_empty() || line.starts_with([' ', '#']);
    head.chain(lines.take_while(is_inside))
        .fold(String::new(), |text, line| text + line + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_directory_is_found_in_a_broken_file() {
        for (head, tail) in [
            ("format: 1\n", "hostname: mail.example.com\n"),
            // Unknown fields, wrong values, doubles, and what is no YAML.
            ("form: 1\n", "ports: nowhere\n"),
            ("format: 1\nformat: 1\n", "\tports: [\n"),
            ("domains: [a: {\n", "}}\n"),
            ("format: one\n", ""),
        ] {
            for spool in [
                "spool: {directory: /var/spool/postroad, highWaterPercent: 300}\n",
                "spool:\n  # here\n\n  directory: /var/spool/postroad\n  colour: red\n",
            ] {
                let text = format!("{head}{spool}{tail}");
                let found = spool_directory(&text);
                assert_eq!(found, Some("/var/spool/postroad".into()), "{text}");
            }
        }
    }

    #[test]
    fn what_names_no_directory_gives_none() {
        for text in ["", "spool: {}\n", "spool: {directory: ''}\n", "spool: [\n"] {
            assert_eq!(spool_directory(text), None, "{text:?}");
        }
    }
}
