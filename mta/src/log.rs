//! JSON lines on standard output. Text from a peer goes through [`clean`] first; secrets never come here.
//!
//! A thread of its own writes them, many at once where many wait: whoever reads them may be slow (a pipe that is full, a disk
//! that is busy), and no session waits for that. None is left out: with [`MOST_LINES`] waiting, the next one waits as well.

use std::io::BufWriter;

use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

/// Lines that wait to be written, at most: a few megabytes.
const MOST_LINES: usize = 8_192;

/// Starts the log of the process; what is given back is kept to its end, when it writes what is left. `POSTROAD_LOG` overrides
/// the level (`info`), in the syntax of `EnvFilter`.
#[must_use = "lines at the end of the process would be lost"]
pub fn start() -> WorkerGuard {
    let (lines, written) = NonBlockingBuilder::default()
        .lossy(false)
        .buffered_lines_limit(MOST_LINES)
        .thread_name("log")
        .finish(BufWriter::new(std::io::stdout()));
    let filter = EnvFilter::try_from_env("POSTROAD_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    // A second start (tests in one process) keeps the first.
    let _ = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_env_filter(filter)
        .with_writer(lines)
        .try_init();
    written
}

/// Text of a peer for a log line: at most 200 characters, control characters and line ends shown as `?`.
pub fn clean(text: &str) -> String {
    let mut cleaned: String = text
        .chars()
        .take(LONGEST)
        .map(|c| if c.is_control() || is_direction(c) { '?' } else { c })
        .collect();
    if text.chars().nth(LONGEST).is_some() {
        cleaned.push('…');
    }
    cleaned
}

/// Marks that turn the direction of text on a terminal, and invisible separators.
fn is_direction(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

const LONGEST: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peer_text_cannot_break_a_line_or_flood_it() {
        assert_eq!(clean("a\r\nb\u{1b}[0m\u{202e}c"), "a??b?[0m?c");
        assert_eq!(clean(&"x".repeat(500)).chars().count(), LONGEST + 1);
    }
}
