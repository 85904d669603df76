//! YAML as a tree whose every node knows its place.
//!
//! Bounded: [`MOST_NODES`] nodes (those of aliases counted at each use) and [`DEEPEST`] levels.

use std::collections::HashMap;

use serde_saphyr::granit_parser::{Event, Parser, ScalarStyle, ScanError, Span, StructureStyle};

use super::Explained;

/// Line and column, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub line: u32,
    pub column: u32,
}

impl Default for Place {
    /// The head of the file.
    fn default() -> Self {
        Self { line: 1, column: 1 }
    }
}

/// A mistake at a place.
#[derive(Clone, Debug)]
pub(super) struct Mistake {
    pub place: Place,
    pub field: String,
    pub sentence: String,
}

impl Mistake {
    pub fn explained(&self, file: &str) -> Explained {
        Explained {
            file: file.to_owned(),
            line: self.place.line,
            column: self.place.column,
            field: self.field.clone(),
            sentence: self.sentence.clone(),
        }
    }
}

/// One node. `id` is unique in its tree, except that each use of an alias repeats those of its anchor.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub id: usize,
    pub place: Place,
    pub kind: Kind,
}

#[derive(Clone, Debug)]
pub(super) enum Kind {
    /// A scalar; `plain`: without quotes, so that `~` and `5` are no text.
    Scalar { text: String, plain: bool },
    /// A list.
    List(Vec<Node>),
    /// A map: key (a scalar), value.
    Map(Vec<(Node, Node)>),
}

impl Node {
    /// The scalar's text.
    pub fn text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Scalar { text, .. } => Some(text),
            Kind::List(_) | Kind::Map(_) => None,
        }
    }

    /// YAML's nothing.
    pub fn is_null(&self) -> bool {
        matches!(&self.kind, Kind::Scalar { text, plain: true } if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }

    /// The value of this key.
    pub fn get(&self, key: &str) -> Option<&Node> {
        match &self.kind {
            Kind::Map(entries) => entries
                .iter()
                .find(|(name, _)| name.text() == Some(key))
                .map(|(_, value)| value),
            _ => None,
        }
    }
}

/// A file's one document, and what is wrong with it before any type is asked.
#[derive(Debug)]
pub(super) struct Tree {
    pub root: Node,
    pub mistakes: Vec<Mistake>,
}

impl Tree {
    /// Errors: the first breach of YAML's syntax; behind it nothing can be told.
    pub fn read(text: &str) -> Result<Self, Mistake> {
        let mut reader = Reader {
            text,
            parser: Parser::new_from_str(text),
            brackets: Vec::new(),
            anchors: HashMap::new(),
            nodes: 0,
            mistakes: Vec::new(),
        };
        let root = reader.document()?;
        Ok(Self {
            root,
            mistakes: reader.mistakes,
        })
    }
}

struct Reader<'text> {
    text: &'text str,
    /// Brackets that are open, the innermost last.
    brackets: Vec<Place>,
    parser: Parser<'text, serde_saphyr::granit_parser::StrInput<'text>>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
    mistakes: Vec<Mistake>,
}

impl<'text> Reader<'text> {
    fn document(&mut self) -> Result<Node, Mistake> {
        let mut root = None;
        while let Some((event, span)) = self.next()? {
            match event {
                Event::StreamStart | Event::StreamEnd | Event::DocumentStart(..) | Event::DocumentEnd => {}
                event if root.is_none() => root = Some(self.node(event, span, 0)?),
                _ => return Err(said(place(span), "a second document begins here; write one only")),
            }
        }
        root.filter(|root| !root.is_null())
            .ok_or_else(|| said(Place::default(), "the file is empty; begin with `format: 1`"))
    }

    fn next(&mut self) -> Result<Option<(Event<'text>, Span)>, Mistake> {
        loop {
            match self.parser.next() {
                None => return Ok(None),
                Some(Ok((Event::Comment(..), _))) => {}
                Some(Ok(event)) => return Ok(Some(event)),
                Some(Err(error)) => return Err(self.syntax(&error)),
            }
        }
    }

    fn node(&mut self, event: Event<'text>, span: Span, depth: usize) -> Result<Node, Mistake> {
        let place = place(span);
        self.nodes += 1;
        if depth > DEEPEST || self.nodes > MOST_NODES {
            return Err(said(place, "the file is nested too deep or too long here"));
        }
        let id = self.nodes;
        let (kind, anchor) = match event {
            Event::Scalar(text, style, anchor, _) => {
                let (text, plain) = (text.into_owned(), style == ScalarStyle::Plain);
                (Kind::Scalar { text, plain }, anchor)
            }
            Event::SequenceStart(style, anchor, _) => {
                let list = self.within(style, place, |reader| reader.list(place, depth))?;
                (Kind::List(list), anchor)
            }
            Event::MappingStart(style, anchor, _) => {
                let map = self.within(style, place, |reader| reader.map(place, depth))?;
                (Kind::Map(map), anchor)
            }
            Event::Alias(anchor) => return self.alias(anchor, place),
            _ => return Err(said(place, "no value can stand here")),
        };
        let node = Node { id, place, kind };
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    /// Reads what begins here; where it is in brackets, they are open meanwhile.
    fn within<T>(
        &mut self,
        style: StructureStyle,
        place: Place,
        read: impl FnOnce(&mut Self) -> Result<T, Mistake>,
    ) -> Result<T, Mistake> {
        if style == StructureStyle::Block {
            return read(self);
        }
        self.brackets.push(place);
        let found = read(self);
        self.brackets.pop();
        found
    }

    /// The parser's words without the text around the mistake, which may hold secrets; nothing behind it can be read. A bracket
    /// that nobody closes is met further down: what stands no further in than its own line is none of its content.
    fn syntax(&self, error: &ScanError) -> Mistake {
        let found = at(error.marker().line(), error.marker().col());
        let unclosed = |open: &&Place| {
            open.line < found.line && self.indentation(found.line) <= self.indentation(open.line)
        };
        if let Some(open) = self.brackets.last().filter(unclosed) {
            return said(
                *open,
                "is not YAML: this bracket is not closed; close it in the same line, or indent what belongs to it; what follows \
                 was not read",
            );
        }
        let info = error.info();
        let words = info.lines().next().unwrap_or_default();
        let mend = "mend the indentation, quotes or brackets here; what follows was not read";
        said(found, &format!("is not YAML: {words}; {mend}"))
    }

    /// Where the content of this line begins, behind blanks and the dash of a list; 0 behind the last one.
    fn indentation(&self, line: u32) -> usize {
        let at = usize::try_from(line).unwrap_or(usize::MAX).saturating_sub(1);
        let line = self.text.lines().nth(at).unwrap_or_default();
        line.len() - line.trim_start_matches([' ', '-']).len()
    }

    fn alias(&mut self, anchor: usize, place: Place) -> Result<Node, Mistake> {
        let node = self.anchors.get(&anchor).cloned();
        let node = node.ok_or_else(|| said(place, "this alias stands for something that contains it"))?;
        self.nodes += count(&node);
        if self.nodes > MOST_NODES {
            return Err(said(
                place,
                "aliases make the file too long; write it without them",
            ));
        }
        Ok(node)
    }

    fn list(&mut self, open: Place, depth: usize) -> Result<Vec<Node>, Mistake> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                None => return Err(said(open, "this list does not end")),
                Some((Event::SequenceEnd, _)) => return Ok(items),
                Some((event, span)) => items.push(self.node(event, span, depth + 1)?),
            }
        }
    }

    fn map(&mut self, open: Place, depth: usize) -> Result<Vec<(Node, Node)>, Mistake> {
        let mut entries: Vec<(Node, Node)> = Vec::new();
        let mut lines: HashMap<String, u32> = HashMap::new();
        loop {
            let (event, span) = match self.next()? {
                None => return Err(said(open, "this section does not end")),
                Some((Event::MappingEnd, _)) => return Ok(entries),
                Some(found) => found,
            };
            let key = self.node(event, span, depth + 1)?;
            let Some((event, span)) = self.next()? else {
                return Err(said(key.place, "this name has no value"));
            };
            let value = self.node(event, span, depth + 1)?;
            match key.text() {
                None => self
                    .mistakes
                    .push(said(key.place, "a field's name must be a plain word")),
                Some("<<") => {
                    return Err(said(
                        key.place,
                        "merge keys are not read here; write the fields themselves",
                    ));
                }
                Some(name) => {
                    if let Some(first) = lines.get(name) {
                        let name = crate::text::shorten(name);
                        let sentence = format!("`{name}` is given twice, first in line {first}; keep one");
                        self.mistakes.push(said(key.place, &sentence));
                    } else {
                        lines.insert(name.to_owned(), key.place.line);
                        entries.push((key, value));
                    }
                }
            }
        }
    }
}

fn count(node: &Node) -> usize {
    1 + match &node.kind {
        Kind::Scalar { .. } => 0,
        Kind::List(items) => items.iter().map(count).sum(),
        Kind::Map(entries) => entries.iter().map(|(key, value)| count(key) + count(value)).sum(),
    }
}

fn said(place: Place, sentence: &str) -> Mistake {
    Mistake {
        place,
        field: String::new(),
        sentence: sentence.to_owned(),
    }
}

fn place(span: Span) -> Place {
    at(span.start.line(), span.start.col())
}

/// The parser counts lines from 1 and columns from 0.
fn at(line: usize, column: usize) -> Place {
    Place {
        line: u32::try_from(line).unwrap_or(u32::MAX),
        column: u32::try_from(column).unwrap_or(u32::MAX).saturating_add(1),
    }
}

const MOST_NODES: usize = 4_000_000;
const DEEPEST: usize = 32;
