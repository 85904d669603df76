//! Reads types out of a tree and does not stop at a mistake: it is noted, its place is patched with a value that fits
//! the type (found by trying), and the tree is read again, until it reads whole.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;

use serde::de::{self, DeserializeOwned};

use super::near::{alternatives, nearest};
use super::path;
use super::postfix;
use super::reader::Value;
use super::tree::{Kind, Mistake, Node, Tree};
use crate::file::TlsMode;
use crate::text::shorten;

/// Stands for a text that could not be read; rules over it mean nothing.
pub(super) const PLACEHOLDER: &str = "unread.invalid";

/// Tried in this order where a text is needed: a name, then what addresses, networks, times and sizes look like.
pub(super) const TEXTS: [&str; 5] = [PLACEHOLDER, "127.0.0.1:1", "192.0.2.0/24", "1h", "1Mi"];

/// Mistakes of one file that are told; behind them people stop reading.
const MOST: usize = 50;

/// The value with its mistakes patched, where that could be done, and the mistakes.
pub(super) fn read<T: DeserializeOwned>(tree: &Tree) -> (Option<T>, Vec<Mistake>) {
    let run = Run::default();
    let mut mistakes = Vec::new();
    let value = loop {
        match T::deserialize(Value::Written(&tree.root, &run)) {
            Ok(value) => break Some(value),
            Err(error) => {
                let spot = error.spot.unwrap_or(Spot::node(&tree.root));
                match run.patch(spot) {
                    Patched::First => mistakes.extend(mistake(tree, spot, &error)),
                    Patched::Again => {}
                    Patched::GivenUp => break None,
                }
                if mistakes.len() >= MOST {
                    break None;
                }
            }
        }
    };
    for (node, sentence) in run.unknown.take().into_values() {
        mistakes.push(Mistake {
            place: node.place,
            field: path::of(tree, node.id),
            sentence,
        });
    }
    (value, mistakes)
}

/// A node, or a field that its map lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Spot {
    node: usize,
    missing: Option<&'static str>,
}

impl Spot {
    pub fn node(node: &Node) -> Self {
        Self {
            node: node.id,
            missing: None,
        }
    }
}

enum Patched {
    First,
    Again,
    GivenUp,
}

/// What is known across the readings.
#[derive(Default)]
pub(super) struct Run<'tree> {
    /// Patched spots, and which of [`TEXTS`] stands there.
    patches: RefCell<BTreeMap<Spot, usize>>,
    /// Fields that no type knows, by the id of their key.
    unknown: RefCell<BTreeMap<usize, (&'tree Node, String)>>,
}

impl<'tree> Run<'tree> {
    fn patch(&self, spot: Spot) -> Patched {
        let mut patches = self.patches.borrow_mut();
        match patches.get_mut(&spot) {
            None => {
                patches.insert(spot, 0);
                Patched::First
            }
            Some(tried) if *tried + 1 < TEXTS.len() => {
                *tried += 1;
                Patched::Again
            }
            Some(_) => Patched::GivenUp,
        }
    }

    pub fn patched(&self, node: &Node) -> Option<usize> {
        self.patches.borrow().get(&Spot::node(node)).copied()
    }

    /// The fields that this map lacks.
    pub fn missing<'run>(&self, node: usize) -> Vec<(&'static str, Value<'run, 'tree>)> {
        let patches = self.patches.borrow();
        patches
            .iter()
            .filter(|(spot, _)| spot.node == node)
            .filter_map(|(spot, tried)| Some((spot.missing?, Value::Invented(*spot, *tried))))
            .collect()
    }

    /// Notes a field that no type knows. Gives the field that was meant, where that is clear.
    pub fn note_unknown(
        &self,
        map: &Node,
        key: &'tree Node,
        fields: &'static [&'static str],
    ) -> Option<&'static str> {
        let name = key.text().unwrap_or_default();
        let near = nearest(name, fields).filter(|near| map.get(near).is_none());
        let mend = match (postfix::in_place_of(name), near) {
            (Some(here), _) => format!("it is a name of Postfix, here it is {here}"),
            (None, Some(near)) => format!("write `{near}`"),
            (None, None) => format!("write {}, or take it out", alternatives(fields)),
        };
        let sentence = format!("`{}` is not known here; {mend}", shorten(name));
        self.unknown.borrow_mut().insert(key.id, (key, sentence));
        near
    }
}

/// The sentence of an error.
fn mistake(tree: &Tree, spot: Spot, error: &Error) -> Option<Mistake> {
    let (place, mut field) = (find(&tree.root, spot.node)?.place, path::of(tree, spot.node));
    let sentence = match &error.why {
        Why::Missing(name) => {
            if !field.is_empty() {
                field.push('.');
            }
            field += name;
            format!("is missing; add `{name}: …`")
        }
        Why::Said(text) => with_mend(text, find(&tree.root, spot.node), &field),
        Why::Unknown {
            shown,
            given,
            variants,
        } => {
            let taken = taken(&field, variants);
            let all = alternatives(&taken);
            let mend = nearest(given, &taken).map_or(all.clone(), |near| format!("{near} (of {all})"));
            format!("{shown} is not known here; write {mend}")
        }
    };
    Some(Mistake {
        place,
        field,
        sentence,
    })
}

/// The values that a field takes, of those that its type has: ports and routes share the names of how TLS is used.
fn taken(field: &str, variants: &[&'static str]) -> Vec<&'static str> {
    let modes = match field {
        port if port.starts_with("ports[") && port.ends_with("].tls") => TlsMode::OF_PORTS.as_slice(),
        route if route.contains(".routes[") && route.ends_with("].tls") => TlsMode::OF_ROUTES.as_slice(),
        _ => return variants.to_vec(),
    };
    let is_taken = |name: &&str| modes.iter().any(|mode| format!("{mode:?}") == **name);
    variants.iter().copied().filter(is_taken).collect()
}

/// Messages of the standard library and others name neither value nor mend.
fn with_mend(text: &str, node: Option<&Node>, field: &str) -> String {
    let value = node.and_then(Node::text).map(shorten).unwrap_or_default();
    let secret = [
        "key",
        "certificate",
        "verifier",
        "keySet",
        "authorities",
        "loginSecret",
    ];
    let hidden = secret.contains(&field.rsplit('.').next().unwrap_or_default());
    match text {
        "invalid socket address syntax" => {
            format!("`{value}` is not an address; write IP:port, such as 127.0.0.1:2525 or '[::1]:2525'")
        }
        "invalid IP address syntax" => {
            format!("`{value}` is not a network; write IP/length, such as 192.0.2.0/24 or 2001:db8::/32")
        }
        _ if hidden => "is not of the right form; give it as one text".to_owned(),
        _ => text.to_owned(),
    }
}

fn find(node: &Node, id: usize) -> Option<&Node> {
    if node.id == id {
        return Some(node);
    }
    match &node.kind {
        Kind::Scalar { .. } => None,
        Kind::List(items) => items.iter().find_map(|item| find(item, id)),
        Kind::Map(entries) => entries
            .iter()
            .find_map(|(key, value)| find(key, id).or_else(|| find(value, id))),
    }
}

/// Why a reading stopped, and where: the innermost written node.
#[derive(Debug)]
pub(super) struct Error {
    pub spot: Option<Spot>,
    pub why: Why,
}

#[derive(Debug)]
pub(super) enum Why {
    Said(String),
    Missing(&'static str),
    /// A value that is none of those that the type has.
    Unknown {
        shown: String,
        given: String,
        variants: &'static [&'static str],
    },
}

impl Error {
    pub fn at(mut self, node: &Node) -> Self {
        self.spot.get_or_insert(Spot {
            node: node.id,
            missing: match self.why {
                Why::Missing(name) => Some(name),
                Why::Said(_) | Why::Unknown { .. } => None,
            },
        });
        self
    }
}

impl std::error::Error for Error {}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.why {
            Why::Said(text) => f.write_str(text),
            Why::Missing(name) => write!(f, "`{name}` is missing"),
            Why::Unknown { shown, .. } => write!(f, "{shown} is not known here"),
        }
    }
}

impl de::Error for Error {
    fn custom<T: fmt::Display>(text: T) -> Self {
        Self {
            spot: None,
            why: Why::Said(text.to_string()),
        }
    }

    fn missing_field(field: &'static str) -> Self {
        Self {
            spot: None,
            why: Why::Missing(field),
        }
    }
}
