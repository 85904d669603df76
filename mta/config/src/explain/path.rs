//! From a field's path, such as `domains[example.com].inbound.deliverTo`, to its place.

use super::tree::{Kind, Node, Place, Tree};

/// What a path leads to: the field itself, or the nearest section that would hold it.
#[derive(Debug)]
pub(super) struct Found {
    pub place: Place,
    /// Segments that exist.
    pub depth: usize,
    /// The path with numbers for all items of lists, as far as it exists.
    pub path: String,
}

/// `None` where an item of a list, or all of the path, does not exist.
pub(super) fn resolve(tree: &Tree, field: &str) -> Option<Found> {
    let mut at = &tree.root;
    let mut found = Found {
        place: at.place,
        depth: 0,
        path: String::new(),
    };
    for segment in segments(field) {
        let next = match segment {
            Segment::Field(name) => entry(at, name),
            // A domain that is not in this file, or a rule over an item that nobody wrote.
            Segment::Item(name) => Some(item(at, name)?),
        };
        let Some((place, step, node)) = next else { break };
        if !step.starts_with('[') && !found.path.is_empty() {
            found.path.push('.');
        }
        found.path += &step;
        (found.place, at) = (place, node);
        found.depth += 1;
    }
    Some(found)
}

/// Whether one path lies on the way to the other.
pub(super) fn related(a: &str, b: &str) -> bool {
    let leads = |short: &str, long: &str| {
        !short.is_empty()
            && long
                .strip_prefix(short)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    };
    leads(a, b) || leads(b, a)
}

/// The path of a node, by its id.
pub(super) fn of(tree: &Tree, id: usize) -> String {
    let mut steps = Vec::new();
    if !walk(&tree.root, id, &mut steps) {
        return String::new();
    }
    steps.concat().trim_start_matches('.').to_owned()
}

fn walk(node: &Node, id: usize, steps: &mut Vec<String>) -> bool {
    if node.id == id {
        return true;
    }
    let mut enter = |step: String, nodes: [&Node; 2]| {
        steps.push(step);
        let found = nodes[0].id == id || walk(nodes[1], id, steps);
        if !found {
            steps.pop();
        }
        found
    };
    match &node.kind {
        Kind::Scalar { .. } => false,
        Kind::List(items) => items
            .iter()
            .enumerate()
            .any(|(number, item)| enter(format!("[{number}]"), [item, item])),
        Kind::Map(entries) => entries
            .iter()
            .any(|(key, value)| enter(format!(".{}", key.text().unwrap_or("?")), [key, value])),
    }
}

enum Segment<'a> {
    Field(&'a str),
    Item(&'a str),
}

fn segments(field: &str) -> Vec<Segment<'_>> {
    let mut found = Vec::new();
    let mut rest = field;
    while !rest.is_empty() {
        if let Some(inner) = rest.strip_prefix('[') {
            let (name, after) = inner.split_once(']').unwrap_or((inner, ""));
            found.push(Segment::Item(name));
            rest = after;
        } else {
            rest = rest.strip_prefix('.').unwrap_or(rest);
            let end = rest.find(['.', '[']).unwrap_or(rest.len());
            found.push(Segment::Field(&rest[..end]));
            rest = &rest[end..];
        }
    }
    found
}

fn entry<'a>(at: &'a Node, name: &str) -> Option<(Place, String, &'a Node)> {
    let Kind::Map(entries) = &at.kind else { return None };
    let (key, value) = entries.iter().find(|(key, _)| key.text() == Some(name))?;
    Some((key.place, name.to_owned(), value))
}

/// By number, or by the item's `name` as a domain.
fn item<'a>(at: &'a Node, name: &str) -> Option<(Place, String, &'a Node)> {
    let Kind::List(items) = &at.kind else { return None };
    let is_named = |node: &&Node| {
        let given = node.get("name").and_then(Node::text).unwrap_or_default();
        given
            .parse::<crate::DomainName>()
            .is_ok_and(|domain| domain.as_str() == name)
    };
    let number = match name.parse::<usize>() {
        Ok(number) => number,
        // Given twice is told at the second.
        Err(_) => items.iter().rposition(|node| is_named(&node))?,
    };
    let node = items.get(number)?;
    Some((node.place, format!("[{number}]"), node))
}
