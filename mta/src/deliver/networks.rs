//! Addresses that a public MX record must not lead to: those inside our own host, link, site or cluster.
//!
//! Pure. Who publishes an MX record chooses its addresses; without this check any stranger could make the server
//! connect to services behind the firewall.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// True when mail by MX may go to this address. `allowed` lists networks that may although they are not public.
pub fn may_be_next_hop(address: IpAddr, allowed: &[IpNet]) -> bool {
    let address = address.to_canonical();
    is_public(address) || allowed.iter().any(|network| network.contains(&address))
}

/// The address is this machine, whichever that is.
pub fn leads_home(address: IpAddr) -> bool {
    let address = address.to_canonical();
    address.is_loopback() || address.is_unspecified()
}

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4_is_public(v4),
        IpAddr::V6(v6) => v6_is_public(v6),
    }
}

/// The registry of RFC 6890, less the documentation networks (RFC 5737), which are merely unreachable.
fn v4_is_public(address: Ipv4Addr) -> bool {
    let [a, b, ..] = address.octets();
    let this_network = a == 0; // RFC 1122 section 3.2.1.3
    let shared = a == 100 && (64..128).contains(&b); // RFC 6598
    let benchmark = a == 198 && (b == 18 || b == 19); // RFC 2544
    let multicast_and_above = a >= 224; // RFC 1112
    !(this_network
        || shared
        || benchmark
        || multicast_and_above
        || address.is_loopback()
        || address.is_private() // RFC 1918
        || address.is_link_local()) // RFC 3927
}

fn v6_is_public(address: Ipv6Addr) -> bool {
    if let Some(v4) = embedded_v4(address) {
        return v4_is_public(v4);
    }
    let first = address.segments()[0];
    let unique_local = first & 0xfe00 == 0xfc00; // RFC 4193
    let link_local = first & 0xffc0 == 0xfe80; // RFC 4291 section 2.5.6
    let site_local = first & 0xffc0 == 0xfec0; // RFC 3879
    !(unique_local
        || link_local
        || site_local
        || address.is_multicast()
        || address.is_loopback()
        || address.is_unspecified())
}

/// The IPv4 address inside a translated one: NAT64 (RFC 6052) and 6to4 (RFC 3056). Mapped ones were unwrapped before.
fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let octets = address.octets();
    let at = |from: usize| Ipv4Addr::new(octets[from], octets[from + 1], octets[from + 2], octets[from + 3]);
    match address.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, _, _] => Some(at(12)),
        [0x2002, ..] => Some(at(2)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inner_addresses_are_no_next_hops_in_any_disguise() {
        for text in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "0.1.2.3",
            "224.0.0.1",
            "255.255.255.255",
            "198.18.0.1",
            "::1",
            "::",
            "fe80::1",
            "fec0::1",
            "fd00::1",
            "fc00::1",
            "ff02::1",
            "::ffff:10.0.0.1",
            "64:ff9b::10.0.0.1",
            "2002:7f00:1::",
        ] {
            assert!(!may_be_next_hop(text.parse().unwrap(), &[]), "{text}");
        }
    }

    #[test]
    fn public_addresses_and_named_networks_are_next_hops() {
        for text in [
            "192.0.2.1",
            "9.9.9.9",
            "100.63.0.1",
            "172.32.0.1",
            "2001:db8::1",
            "64:ff9b::9.9.9.9",
        ] {
            assert!(may_be_next_hop(text.parse().unwrap(), &[]), "{text}");
        }
        let allowed = ["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
        for (text, may) in [
            ("10.1.2.3", true),
            ("::ffff:10.1.2.3", true),
            ("fd01::1", true),
            ("127.0.0.1", false),
        ] {
            assert_eq!(may_be_next_hop(text.parse().unwrap(), &allowed), may, "{text}");
        }
    }
}
