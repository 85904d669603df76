//! XCLIENT: a trusted peer (a proxy, a filter, a tool that tests) says for whom it speaks.
//!
//! No RFC; the form is the one that Postfix documents: `XCLIENT NAME=value …`, values as xtext, `[UNAVAILABLE]` for what
//! is not there and `[TEMPUNAVAIL]` for what could not be found out.

use std::net::{IpAddr, Ipv6Addr};

use crate::xtext;

/// What is said of one attribute.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Said<T> {
    /// Nothing: it stays as it was.
    #[default]
    Nothing,
    /// It is not known, for good or for now.
    Unavailable,
    /// It is this.
    Value(T),
}

/// The client for whom the peer speaks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StandIn {
    /// NAME: host name by the DNS.
    pub name: Said<String>,
    /// ADDR: address.
    pub address: Said<IpAddr>,
    /// PORT.
    pub port: Said<u16>,
    /// PROTO: whether it is ESMTP.
    pub extended: Said<bool>,
    /// HELO: what the client called itself.
    pub helo: Said<String>,
    /// LOGIN: who has authenticated.
    pub login: Said<String>,
}

/// As EHLO offers it.
pub(crate) const OFFER: &str = "XCLIENT NAME ADDR PORT PROTO HELO LOGIN";

impl StandIn {
    /// Reads the attributes. `None`: malformed, unknown or given twice.
    pub(crate) fn parse(argument: &str) -> Option<Self> {
        let mut found = Self::default();
        let mut some = false;
        for word in argument.split(' ').filter(|word| !word.is_empty()) {
            let (name, value) = word.split_once('=')?;
            let value = xtext::decode(value).filter(|value| (1..=255).contains(&value.len()))?;
            match name.to_ascii_uppercase().as_str() {
                "NAME" => put(&mut found.name, &value, printable)?,
                "ADDR" => put(&mut found.address, &value, address)?,
                "PORT" => put(&mut found.port, &value, |value| value.parse().ok())?,
                "PROTO" => put(&mut found.extended, &value, protocol)?,
                "HELO" => put(&mut found.helo, &value, printable)?,
                "LOGIN" => put(&mut found.login, &value, printable)?,
                _ => return None,
            }
            some = true;
        }
        some.then_some(found)
    }
}

fn put<T>(to: &mut Said<T>, value: &str, read: impl Fn(&str) -> Option<T>) -> Option<()> {
    if !matches!(to, Said::Nothing) {
        return None;
    }
    *to = if ["[UNAVAILABLE]", "[TEMPUNAVAIL]"]
        .iter()
        .any(|word| value.eq_ignore_ascii_case(word))
    {
        Said::Unavailable
    } else {
        Said::Value(read(value)?)
    };
    Some(())
}

fn printable(value: &str) -> Option<String> {
    let sound = !value.chars().any(|c| c.is_control() || c.is_whitespace());
    sound.then(|| value.to_owned())
}

fn address(value: &str) -> Option<IpAddr> {
    match value.get(..5) {
        Some(tag) if tag.eq_ignore_ascii_case("ipv6:") => value[5..].parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        _ => value.parse().ok(),
    }
    .map(|address: IpAddr| address.to_canonical())
}

fn protocol(value: &str) -> Option<bool> {
    if value.eq_ignore_ascii_case("ESMTP") {
        Some(true)
    } else {
        value.eq_ignore_ascii_case("SMTP").then_some(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_read_and_decoded() {
        let read = StandIn::parse(
            "ADDR=IPv6:2001:db8::1 port=25 NAME=[unavailable] HELO=a+2Bb.example PROTO=esmtp LOGIN=[TEMPUNAVAIL]",
        );
        assert_eq!(
            read,
            Some(StandIn {
                name: Said::Unavailable,
                address: Said::Value("2001:db8::1".parse().unwrap()),
                port: Said::Value(25),
                extended: Said::Value(true),
                helo: Said::Value("a+b.example".to_owned()),
                login: Said::Unavailable,
            })
        );
        assert_eq!(
            StandIn::parse("ADDR=::ffff:192.0.2.1").unwrap().address,
            Said::Value("192.0.2.1".parse().unwrap())
        );
    }

    #[test]
    fn what_is_not_of_the_form_is_refused() {
        for bad in [
            "",
            "ADDR",
            "ADDR=",
            "ADDR=x",
            "ADDR=192.0.2.1 ADDR=192.0.2.1",
            "PORT=65536",
            "PROTO=LMTP",
            "HELO=a+0D+0Ab",
            "HELO=a+20b",
            "FOO=1",
            "ADDR=IPv6:192.0.2.1",
        ] {
            assert_eq!(StandIn::parse(bad), None, "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(ADDR=|NAME=| |\\PC){0,40}") {
            let _ = StandIn::parse(&text);
        }
    }
}
