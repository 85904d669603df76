//! What keeps mail whose time has come from being tried, and which sites a person may have meant. Pure.

use postroad_config::admin::{Entry, Gate};

use crate::queue::job::SiteView;

/// A site of which it is not known yet whether it is open.
pub(super) fn of(site: String) -> Gate {
    Gate {
        site,
        suspended: false,
        opens_at: None,
    }
}

/// The sites to ask about, each once.
pub(super) fn sites(entries: &[Entry]) -> Vec<String> {
    let recipients = entries.iter().flat_map(|entry| &entry.recipients);
    let gates = recipients.filter_map(|recipient| recipient.waits_for.as_ref());
    let mut sites: Vec<_> = gates.map(|gate| gate.site.clone()).collect();
    sites.sort_unstable();
    sites.dedup();
    sites
}

/// Says of each how it is; one that is open is no gate.
pub(super) fn close(entries: &mut [Entry], views: &[SiteView], now: u64) {
    for recipient in entries.iter_mut().flat_map(|entry| &mut entry.recipients) {
        recipient.waits_for = recipient.waits_for.take().and_then(|gate| {
            let view = views.iter().find(|view| *view.name == *gate.site)?;
            let opens_at = Some(view.opens_at).filter(|at| *at > now);
            (view.suspended || opens_at.is_some()).then_some(Gate {
                suspended: view.suspended,
                opens_at,
                ..gate
            })
        });
    }
}

/// Of the known sites those whose name may have been meant: what has it in its own, else the nearest one.
pub(super) fn near(site: &str, known: &[SiteView]) -> Vec<String> {
    let asked = site.to_ascii_lowercase();
    let bare = asked.rsplit_once(':').map_or(asked.as_str(), |(_, name)| name);
    let names = || known.iter().map(|view| &*view.name).filter(|name| *name != site);
    let has = |name: &&str| !bare.is_empty() && name.to_ascii_lowercase().contains(bare);
    let mut near: Vec<String> = names().filter(has).take(MOST_NEAR).map(str::to_owned).collect();
    if near.is_empty() {
        let all: Vec<_> = names().collect();
        near.extend(postroad_config::nearest(site, &all).map(str::to_owned));
    }
    near
}

const MOST_NEAR: usize = 5;

#[cfg(test)]
mod tests {
    use postroad_config::admin::EntryRecipient;

    use super::*;

    fn view(name: &str, opens_at: u64, suspended: bool) -> SiteView {
        SiteView {
            name: name.into(),
            waiting: 1,
            running: 0,
            window: 5,
            opens_at,
            dead_until: opens_at,
            last_trouble: None,
            suspended,
        }
    }

    fn entry(sites: &[&str]) -> Entry {
        let recipient = |site: &&str| EntryRecipient {
            address: "b@to.example".into(),
            state: "pending".into(),
            attempts: 0,
            next_attempt: Some(0),
            waits_for: Some(of((*site).to_owned())),
            reply: String::new(),
        };
        Entry {
            id: "1".into(),
            owner: "owned".into(),
            sender: String::new(),
            identity: None,
            arrived: 0,
            origin: None,
            expires: 0,
            size: 0,
            damaged: false,
            moved_to: None,
            require_tls: false,
            deliver_by: None,
            or_return: false,
            recipients: sites.iter().map(recipient).collect(),
        }
    }

    #[test]
    fn only_what_is_closed_or_suspended_is_waited_for() {
        let mut entries = [
            entry(&["mx:open", "mx:dead", "mx:off"]),
            entry(&["mx:dead", "mx:gone"]),
        ];
        assert_eq!(sites(&entries), ["mx:dead", "mx:gone", "mx:off", "mx:open"]);
        let views = [
            view("mx:dead", 9, false),
            view("mx:off", 0, true),
            view("mx:open", 5, false),
        ];
        close(&mut entries, &views, 5);
        let told = |entry: &Entry| -> Vec<_> {
            let gates = entry
                .recipients
                .iter()
                .map(|recipient| recipient.waits_for.clone());
            gates
                .map(|gate| gate.map(|gate| (gate.suspended, gate.opens_at)))
                .collect()
        };
        assert_eq!(
            told(&entries[0]),
            [None, Some((false, Some(9))), Some((true, None))]
        );
        assert_eq!(told(&entries[1]), [Some((false, Some(9))), None]);
    }

    #[test]
    fn near_names_are_those_that_have_it_in_them_or_the_nearest() {
        let known = [
            "mx:mx1.away.example",
            "mx:mx2.away.example",
            "smtp:hub.example:587@mail/hub",
        ];
        let known = known.map(|name| view(name, 0, false));
        assert_eq!(
            near("away.example", &known),
            ["mx:mx1.away.example", "mx:mx2.away.example"]
        );
        assert_eq!(near("mx:mx1.awya.example", &known), ["mx:mx1.away.example"]);
        assert!(near("x", &known[2..2]).is_empty() && near("quite:another", &known).is_empty());
    }
}
