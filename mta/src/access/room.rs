//! Who gives way when a table of what strangers did is full: the sites with most in it, down to the same share for each, so that
//! one of them cannot push out the others. Pure.
//!
//! ```text
//!   site a ████████████████      room for half ─►  ████████
//!   site b ██                                      ██
//!   site c █                                       █
//! ```
//!
//! A site is what one customer of a provider has at least: an IPv4 /24, an IPv6 /48. Whoever has thousands of them can still push
//! out what is older.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::greylist::Key;

/// The site that an address is in.
pub fn site(client: IpAddr) -> Key {
    let network = match client.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & !0xff)),
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !(u128::MAX >> 48))),
    };
    Key::of(&["site", &network.to_string()])
}

/// Keeps no more than `room` of those that have a site and a time; of each site the newest.
pub fn thin<K: Eq + Hash, V>(map: &mut HashMap<K, V>, room: usize, of: impl Fn(&V) -> Option<(Key, u64)>) {
    let mut times: HashMap<Key, Vec<u64>> = HashMap::new();
    for (site, time) in map.values().filter_map(&of) {
        times.entry(site).or_default().push(time);
    }
    let share = share(times.values().map(Vec::len).collect(), room);
    if share == 0 {
        // More sites than there is room for.
        let mut all: Vec<u64> = times.into_values().flatten().collect();
        if let Some(last) = last_out(&mut all, room) {
            map.retain(|_, value| of(value).is_none_or(|(_, time)| time > last));
        }
        return;
    }
    let last_out = |(site, mut times): (Key, Vec<u64>)| Some((site, last_out(&mut times, share)?));
    let last: HashMap<Key, u64> = times.into_iter().filter_map(last_out).collect();
    map.retain(|_, value| {
        of(value).is_none_or(|(site, time)| last.get(&site).is_none_or(|last| time > *last))
    });
}

/// How many of each may stay, so that all together are no more than `room`.
fn share(mut counts: Vec<usize>, mut room: usize) -> usize {
    counts.sort_unstable();
    let mut sites = counts.len();
    for count in counts {
        if count.saturating_mul(sites) > room {
            return room / sites;
        }
        room -= count;
        sites -= 1;
    }
    usize::MAX
}

/// The newest of those that go where so many stay; `None`: all stay.
fn last_out(times: &mut [u64], stay: usize) -> Option<u64> {
    let at = times.len().checked_sub(stay)?.checked_sub(1)?;
    let (_, last, _) = times.select_nth_unstable(at);
    Some(*last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_site_is_what_one_customer_has() {
        let of = |text: &str| site(text.parse().unwrap());
        assert_eq!(of("192.0.2.1"), of("192.0.2.255"));
        assert_eq!(of("192.0.2.1"), of("::ffff:192.0.2.9"));
        assert_ne!(of("192.0.2.1"), of("192.0.3.1"));
        assert_eq!(of("2001:db8:1::1"), of("2001:db8:1:ffff::2"));
        assert_ne!(of("2001:db8:1::1"), of("2001:db8:2::1"));
    }

    #[test]
    fn the_share_is_the_largest_that_fits() {
        for (counts, room, want) in [
            (vec![], 10, usize::MAX),
            (vec![3, 4], 10, usize::MAX),
            (vec![100, 1, 1], 10, 8),
            (vec![100, 100, 1], 11, 5),
            (vec![100, 100, 1], 10, 4),
            (vec![1, 1, 1, 1], 3, 0),
            (vec![5], 0, 0),
        ] {
            let text = format!("{counts:?} {room}");
            let share = share(counts.clone(), room);
            assert_eq!(share, want, "{text}");
            let kept: usize = counts.iter().map(|count| (*count).min(share)).sum();
            assert!(kept <= room, "{text}");
        }
    }

    /// What stays of so many of each site, each a second newer than the one before.
    fn kept(counts: &[u64], room: usize) -> Vec<Vec<u64>> {
        let mut map: HashMap<(u128, u64), (Key, u64)> = HashMap::new();
        for (site, count) in (0_u128..).zip(counts) {
            map.extend((0..*count).map(|time| ((site, time), (Key(site), time))));
        }
        thin(&mut map, room, |value| Some(*value));
        let of = |site: usize| {
            let mut times: Vec<u64> = map
                .keys()
                .filter(|(of, _)| *of == site as u128)
                .map(|(_, time)| *time)
                .collect();
            times.sort_unstable();
            times
        };
        (0..counts.len()).map(of).collect()
    }

    #[test]
    fn who_has_most_gives_way_with_what_is_oldest() {
        assert_eq!(
            kept(&[10, 2, 1], 6),
            [vec![7, 8, 9], vec![0, 1], vec![0]],
            "one large site"
        );
        assert_eq!(kept(&[4, 4], 4), [[2, 3], [2, 3]]);
        assert_eq!(kept(&[2, 1], 3), [vec![0, 1], vec![0]], "there is room");
        let many = kept(&[1; 10], 4);
        assert!(many.iter().flatten().count() <= 4, "more sites than room");
    }

    #[test]
    fn what_has_no_site_stays() {
        let mut map: HashMap<u64, Option<u64>> = (0..10).map(|at| (at, (at > 4).then_some(at))).collect();
        thin(&mut map, 2, |value| value.map(|time| (Key(1), time)));
        let mut left: Vec<u64> = map.into_keys().collect();
        left.sort_unstable();
        assert_eq!(left, [0, 1, 2, 3, 4, 8, 9]);
    }
}
