//! Where one report goes: an address, or a place on the web (RFC 8460 section 3).

use crate::dns::is_askable;

/// One place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// By mail to this address: a local part of atoms, and a host name in A-labels.
    Mail(String),
    /// By POST over HTTPS.
    Web(Web),
}

/// A place on the web.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Web {
    /// Host name in A-labels and lower case.
    pub host: String,
    /// 443 where none is named.
    pub port: u16,
    /// Path and query, beginning with a slash; printable ASCII.
    pub path: String,
}

impl Place {
    /// Reads a URI of a record. None: a report cannot go there. Of `mailto:` the address counts and nothing that it says of the
    /// message (RFC 6068); of `https:` the host must be a name.
    pub fn of(uri: &str) -> Option<Self> {
        let (scheme, rest) = uri.split_once(':')?;
        match scheme.to_ascii_lowercase().as_str() {
            "mailto" => mail(rest).map(Self::Mail),
            "https" => web(rest.strip_prefix("//")?).map(Self::Web),
            _ => None,
        }
    }
}

fn mail(rest: &str) -> Option<String> {
    let address = unescaped(rest.split('?').next()?)?;
    let (local, domain) = address.rsplit_once('@')?;
    // RFC 5322 section 3.2.3.
    let atom = |octet: u8| octet.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&octet);
    let is_local = local.len() <= 64
        && local
            .split('.')
            .all(|text| !text.is_empty() && text.bytes().all(atom));
    (is_local && is_host(domain)).then(|| format!("{local}@{}", domain.to_ascii_lowercase()))
}

fn web(rest: &str) -> Option<Web> {
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let (host, port) = match authority.split_once(':') {
        Some((host, port)) => (host, port.parse().ok().filter(|port| *port != 0)?),
        None => (authority, HTTPS),
    };
    let path = path.split('#').next().unwrap_or_default();
    let slash = if path.starts_with('/') { "" } else { "/" };
    let sound = path.bytes().all(|octet| octet.is_ascii_graphic());
    (is_host(host) && sound).then(|| Web {
        host: host.to_ascii_lowercase(),
        port,
        path: format!("{slash}{path}"),
    })
}

/// A name; an address in numbers is none, as a certificate vouches for names.
fn is_host(text: &str) -> bool {
    let sound = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_' | b'.');
    let last = text.rsplit('.').next().unwrap_or_default();
    let is_number = last.bytes().all(|octet| octet.is_ascii_digit());
    is_askable(text) && text.bytes().all(sound) && text.contains('.') && !is_number
}

/// RFC 3986 section 2.1. None: an escape is none, or what comes out is not ASCII.
fn unescaped(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut octets = text.bytes();
    while let Some(octet) = octets.next() {
        let octet = if octet == b'%' {
            let digit = |octet: Option<u8>| char::from(octet?).to_digit(16);
            u8::try_from(digit(octets.next())? * 16 + digit(octets.next())?).ok()?
        } else {
            octet
        };
        out.push(Some(char::from(octet)).filter(char::is_ascii)?);
    }
    Some(out)
}

const HTTPS: u16 = 443;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_taken_out_of_its_uri() {
        for (uri, want) in [
            ("mailto:tls@d.example", Some("tls@d.example")),
            (
                "MAILTO:tls%2Breports@D.example?subject=x@y",
                Some("tls+reports@d.example"),
            ),
            ("mailto:a.b%2Fc@d.example", Some("a.b/c@d.example")),
            ("mailto:a%2Cb@d.example,c@d.example", None),
            ("mailto:tls%40d.example", Some("tls@d.example")),
            ("mailto:tls", None),
            ("mailto:@d.example", None),
            ("mailto:tls@localhost", None),
            ("mailto:tls@192.0.2.1", None),
            ("mailto:tls@[192.0.2.1]", None),
            ("mailto:a%0d%0aRCPT%20TO:@d.example", None),
            ("mailto:a%3E@d.example", None),
            ("mailto:a%2@d.example", None),
            ("mailto:%C3%A9@d.example", None),
            ("mailto:a..b@d.example", None),
            ("ftp:tls@d.example", None),
        ] {
            let want = want.map(|address| Place::Mail(address.to_owned()));
            assert_eq!(Place::of(uri), want, "{uri}");
        }
    }

    #[test]
    fn a_place_on_the_web_has_a_name_a_port_and_a_path() {
        let web = |host: &str, port, path: &str| {
            Some(Place::Web(Web {
                host: host.into(),
                port,
                path: path.into(),
            }))
        };
        for (uri, want) in [
            ("https://r.example/v1/tls", web("r.example", 443, "/v1/tls")),
            ("HTTPS://R.example:8443?x=1#part", web("r.example", 8443, "/?x=1")),
            ("https://r.example", web("r.example", 443, "/")),
            ("https://user@r.example/", None),
            ("https://r.example:0/", None),
            ("https://r.example:99999/", None),
            ("https://r.example:/", None),
            ("https://192.0.2.1/", None),
            ("https://[2001:db8::1]/", None),
            ("https://localhost/", None),
            ("https:///x", None),
            ("https:r.example", None),
            ("http://r.example/", None),
            ("r.example", None),
        ] {
            assert_eq!(Place::of(uri), want, "{uri}");
        }
    }
}
