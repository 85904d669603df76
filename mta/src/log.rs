//! JSON lines on standard output. Text from a peer goes through [`clean`] first; secrets never come here.

use tracing_subscriber::EnvFilter;

/// Starts the log of the process. `POSTROAD_LOG` overrides the level (`info`), in the syntax of `EnvFilter`.
pub fn start() {
    let filter = EnvFilter::try_from_env("POSTROAD_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    // A second start (tests in one process) keeps the first.
    let _ = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_env_filter(filter)
        .with_writer(std::io::stdout)
        .try_init();
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
