//! One URI of `rua` (RFC 9989 section 4.7): a mailbox, and the largest report that it takes. Pure.

use super::super::Domain;

/// Where a report may go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The mailbox: printable ASCII without brackets, quotes and white space.
    pub address: String,
    /// Its domain.
    pub host: Domain,
    /// Octets that the report may have as it is sent, so with its encoding; absent: no limit.
    pub most: Option<u64>,
}

/// Reads a URI. None: it is no `mailto:` with one plain mailbox, or its limit is none.
pub fn target(uri: &str) -> Option<Target> {
    let (scheme, rest) = uri.split_once(':')?;
    if !scheme.eq_ignore_ascii_case("mailto") {
        return None;
    }
    // RFC 9989 section 4.7: a `!` of the address itself is written as %21.
    let (rest, most) = match rest.split_once('!') {
        Some((rest, size)) => (rest, Some(octets(size)?)),
        None => (rest, None),
    };
    // RFC 6068: fields of the header behind `?` are nothing that a report has.
    let address = decoded(rest.split('?').next()?)?;
    let (local, domain) = address.rsplit_once('@')?;
    let host = Domain::parse(domain)?;
    let sound = |octet: u8| octet.is_ascii_graphic() && !b"()<>[]:;,\\\"@".contains(&octet);
    let is_plain = (1..=64).contains(&local.len())
        && local.bytes().all(sound)
        && local.split('.').all(|atom| !atom.is_empty());
    is_plain.then(|| Target {
        address: format!("{local}@{host}"),
        host,
        most,
    })
}

/// Digits and one of `k`, `m`, `g`, `t`: powers of 1,024.
fn octets(size: &str) -> Option<u64> {
    let unit = size.find(|c: char| !c.is_ascii_digit()).unwrap_or(size.len());
    let (number, unit) = size.split_at_checked(unit)?;
    let shift = match unit.to_ascii_lowercase().as_str() {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(1 << shift)
}

/// RFC 3986 section 2.1.
fn decoded(text: &str) -> Option<String> {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(octet) = rest.next() {
        if octet != b'%' {
            octets.push(octet);
            continue;
        }
        let digits = [rest.next()?, rest.next()?];
        let digits = std::str::from_utf8(&digits).ok()?;
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        octets.push(u8::from_str_radix(digits, 16).ok()?);
    }
    String::from_utf8(octets).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mailbox_and_its_limit_are_read_and_nothing_else() {
        for (uri, want) in [
            ("mailto:d@a.example", Some(("d@a.example", None))),
            ("MailTo:D@A.Example", Some(("D@a.example", None))),
            ("mailto:d@a.example!10", Some(("d@a.example", Some(10)))),
            ("mailto:d@a.example!10m", Some(("d@a.example", Some(10 << 20)))),
            ("mailto:d@a.example!2K", Some(("d@a.example", Some(2_048)))),
            ("mailto:d%21x%2by@a.example", Some(("d!x+y@a.example", None))),
            ("mailto:d@a.example?subject=hi", Some(("d@a.example", None))),
            ("mailto:d@a.example!10x", None),
            ("mailto:d@a.example!m", None),
            ("mailto:d@a.example!99999999999999999999", None),
            ("mailto:d@a.example!99999999999t", None),
            ("mailto:d%0d%0aBcc:x@a.example", None),
            ("mailto:a@b@a.example", None),
            ("mailto:%3cd@a.example", None),
            ("mailto:d%@a.example", None),
            ("mailto:d%+1@a.example", None),
            ("mailto:@a.example", None),
            ("mailto:d", None),
            ("mailto:d@[192.0.2.1]", None),
            ("mailto:.d@a.example", None),
            ("https://a.example/r", None),
            ("", None),
        ] {
            let found = target(uri);
            let shown = found.as_ref().map(|found| (found.address.as_str(), found.most));
            assert_eq!(shown, want, "{uri}");
        }
    }

    proptest::proptest! {
        #[test]
        fn what_is_read_is_one_plain_mailbox(uri in "(mailto:)?.{0,60}(@[a-z.]{0,20})?(![0-9]{0,20}[kmgt]?)?") {
            if let Some(found) = target(&uri) {
                let address = &found.address;
                proptest::prop_assert!(address.bytes().all(|octet| octet.is_ascii_graphic()));
                proptest::prop_assert!(!address.contains(['<', '>', '"', ',', ';', ':']));
                proptest::prop_assert_eq!(address.matches('@').count(), 1);
            }
        }
    }
}
