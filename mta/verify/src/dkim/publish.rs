//! A record's text as DNS takes it: strings of at most 255 octets each (RFC 1035 section 3.3.14), which a reader joins
//! without anything between (RFC 6376 section 3.6.2.2).

/// Octets of one string of a TXT record.
pub const MOST_STRING_OCTETS: usize = 255;

/// Cuts a record into the strings of one TXT record. Assumes ASCII, as key records are; other text is cut between characters.
pub fn strings(record: &str) -> Vec<&str> {
    let mut strings = Vec::new();
    let mut rest = record;
    while !rest.is_empty() {
        let (string, after) = rest.split_at(rest.floor_char_boundary(MOST_STRING_OCTETS));
        strings.push(string);
        rest = after;
    }
    strings
}

/// The strings as a zone file has them: quoted, with a space between.
pub fn presentation(record: &str) -> String {
    let quoted = |string: &&str| format!("\"{}\"", string.replace('\\', "\\\\").replace('"', "\\\""));
    strings(record).iter().map(quoted).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_records_are_cut_and_nothing_is_lost() {
        for length in [0, 1, 255, 256, 400, 510, 511] {
            let record = "p".repeat(length);
            let strings = strings(&record);
            assert_eq!(strings.len(), length.div_ceil(MOST_STRING_OCTETS));
            assert!(strings.iter().all(|string| string.len() <= MOST_STRING_OCTETS));
            assert_eq!(strings.concat(), record);
        }
    }

    #[test]
    fn a_zone_file_has_them_quoted() {
        let text = presentation(&format!("{}\"\\", "a".repeat(255)));
        assert_eq!(text, format!("\"{}\" \"\\\"\\\\\"", "a".repeat(255)));
    }
}
