//! Writes a field of tags, folded so that lines have at most 78 characters (RFC 5322 section 2.1.1) wherever a value may be
//! folded.

/// Where the value of a tag may be folded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fold {
    /// Nowhere.
    Never,
    /// After a colon (`h=`).
    Colons,
    /// Anywhere (base 64).
    Anywhere,
}

/// One tag to write.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Written<'a> {
    pub(crate) name: &'a str,
    pub(crate) value: &'a str,
    pub(crate) fold: Fold,
}

/// The field, with a CRLF at its end.
pub(crate) fn field(name: &str, tags: &[Written<'_>]) -> String {
    let mut lines = Lines {
        text: format!("{name}:"),
        column: name.len() + 1,
    };
    for (at, tag) in tags.iter().enumerate() {
        let last = at + 1 == tags.len();
        let end = if last { "" } else { ";" };
        let pieces = pieces(tag);
        let first = pieces.first().map_or(0, |piece| piece.len());
        let behind = match tag.fold {
            Fold::Anywhere => first.min(LEAST_PIECE),
            Fold::Never | Fold::Colons => first,
        };
        lines.space(tag.name.len() + 1 + behind + end.len());
        lines.push(tag.name);
        lines.push("=");
        for piece in pieces {
            lines.piece(piece, tag.fold);
        }
        lines.push(end);
    }
    lines.text.push_str("\r\n");
    lines.text
}

fn pieces<'a>(tag: &Written<'a>) -> Vec<&'a str> {
    match tag.fold {
        Fold::Colons => tag.value.split_inclusive(':').collect(),
        Fold::Never | Fold::Anywhere => vec![tag.value],
    }
}

struct Lines {
    text: String,
    column: usize,
}

impl Lines {
    /// A space, or a new line if so many characters would not fit behind it.
    fn space(&mut self, least: usize) {
        if self.column + 1 + least > MOST_COLUMNS {
            self.text.push_str("\r\n");
            self.column = 0;
        }
        self.push(" ");
    }

    fn fold(&mut self) {
        self.text.push_str("\r\n ");
        self.column = 1;
    }

    fn push(&mut self, text: &str) {
        self.text.push_str(text);
        self.column += text.len();
    }

    /// A part of a value; one column stays free for the semicolon.
    fn piece(&mut self, piece: &str, fold: Fold) {
        let room = |lines: &Self| (MOST_COLUMNS - 1).saturating_sub(lines.column);
        match fold {
            Fold::Never => self.push(piece),
            Fold::Colons => {
                if piece.len() > room(self) {
                    self.fold();
                }
                self.push(piece);
            }
            Fold::Anywhere => {
                let mut rest = piece;
                while !rest.is_empty() {
                    if room(self) == 0 {
                        self.fold();
                    }
                    // Base 64 is ASCII.
                    let (line, after) = rest.split_at(rest.floor_char_boundary(room(self)).max(1));
                    self.push(line);
                    rest = after;
                }
            }
        }
    }
}

/// Characters of a line.
const MOST_COLUMNS: usize = 78;
/// Characters of a value that should stand behind its name.
const LEAST_PIECE: usize = 40;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_short_and_unfold_to_the_tags() {
        let names = "subject:date:message-id:to:from:".repeat(9) + "x";
        let value = "b".repeat(344);
        for length in 0..90 {
            let filler = "f".repeat(length);
            let text = field(
                "DKIM-Signature",
                &[
                    Written {
                        name: "f",
                        value: &filler[..length.min(60)],
                        fold: Fold::Never,
                    },
                    Written {
                        name: "h",
                        value: &names,
                        fold: Fold::Colons,
                    },
                    Written {
                        name: "bh",
                        value: &filler,
                        fold: Fold::Anywhere,
                    },
                    Written {
                        name: "b",
                        value: &value,
                        fold: Fold::Anywhere,
                    },
                ],
            );
            assert!(text.lines().all(|line| line.len() <= MOST_COLUMNS), "{text}");
            assert!(text.lines().all(|line| !line.trim().is_empty()), "{text}");
            let joined: String = text.split_whitespace().collect();
            let want = format!(
                "DKIM-Signature:f={};h={names};bh={filler};b={value}",
                &filler[..length.min(60)]
            );
            assert_eq!(joined, want);
        }
    }
}
