//! Commands as they go to a filter.

use std::net::IpAddr;

use super::packet::write;
use crate::header::Field;
use crate::message::Message;

/// How an unknown name of a client is written.
pub(super) fn literal(client: IpAddr) -> String {
    match client.to_canonical() {
        IpAddr::V4(v4) => format!("[{v4}]"),
        IpAddr::V6(v6) => format!("[IPv6:{v6}]"),
    }
}

pub(super) fn connect(out: &mut Vec<u8>, message: &Message) {
    let client = message.client.to_canonical();
    let family: &[u8] = if client.is_ipv4() { b"4" } else { b"6" };
    let port = message.client_port.to_be_bytes();
    let address = text(&client.to_string());
    write(out, b'C', &[&text(&literal(client)), family, &port, &address]);
}

pub(super) fn helo(out: &mut Vec<u8>, message: &Message) {
    write(out, b'H', &[&text(&message.helo)]);
}

pub(super) fn mail(out: &mut Vec<u8>, message: &Message) {
    let mut data = text(&format!("<{}>", message.reverse_path));
    if message.eight_bit {
        data.extend(text("BODY=8BITMIME"));
    }
    if message.smtputf8 {
        data.extend(text("SMTPUTF8"));
    }
    write(out, b'M', &[&data]);
}

pub(super) fn rcpt(out: &mut Vec<u8>, recipient: &str) {
    write(out, b'R', &[&text(&format!("<{recipient}>"))]);
}

/// Line ends within a field are LF here, as sendmail has it. `leading_space`: the filter wants the space behind the colon.
pub(super) fn field(out: &mut Vec<u8>, field: &Field, leading_space: bool) {
    let value = field.value();
    let value = match value {
        [b' ', rest @ ..] if !leading_space => rest,
        value => value,
    };
    let plain = |octets: &[u8]| -> Vec<u8> {
        octets
            .iter()
            .copied()
            .filter(|octet| !matches!(octet, 0 | b'\r'))
            .collect()
    };
    write(out, b'L', &[&plain(field.name()), b"\0", &plain(value), b"\0"]);
}

/// A text with its zero octet; none can stand in it.
fn text(text: &str) -> Vec<u8> {
    text.bytes().filter(|octet| *octet != 0).chain([0]).collect()
}
