//! How the isemail suite is written: its elements, its entities, its control characters. For each test that reads it.

/// The text of the first such element; empty where it is `<name/>` or absent.
pub fn element<'a>(case: &'a str, name: &str) -> &'a str {
    let begin = format!("<{name}>");
    let end = format!("</{name}>");
    case.split_once(&begin)
        .and_then(|(_, rest)| rest.split_once(&end))
        .map_or("", |(text, _)| text)
}

/// Entities of XML; and the suite's own way to write control characters: U+2400 and the character's number.
pub fn unescape(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('&') {
        plain += before;
        let (name, after) = after.split_once(';').unwrap();
        plain.push(match name {
            "amp" => '&',
            "lt" => '<',
            "gt" => '>',
            "quot" => '"',
            "apos" => '\'',
            number => {
                let code = number
                    .strip_prefix("#x")
                    .unwrap_or_else(|| panic!("entity {number}"));
                char::from_u32(u32::from_str_radix(code, 16).unwrap()).unwrap()
            }
        });
        rest = after;
    }
    plain += rest;
    plain
        .chars()
        .map(|c| {
            if ('\u{2400}'..='\u{2421}').contains(&c) {
                control(c)
            } else {
                c
            }
        })
        .collect()
}

fn control(symbol: char) -> char {
    char::from_u32(symbol as u32 - 0x2400).unwrap_or(symbol)
}
