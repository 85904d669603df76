//! The grouping, on configurations of a few lines.

use super::super::owed::OWED;
use super::*;
use postroad_config::QueueSection;
use postroad_spool::{Envelope, Recipient};

/// A domain of ours.
const STORE: &str = "\
domains:
  - name: a.example
    inbound: {recipients: {mode: Any}, deliverTo: {lmtp: {host: store.example, port: 24}}}
";

/// A configuration with these sections.
fn with(sections: &str) -> ConfigFile {
    let head = "format: 1\nhostname: mail.example.com\nspool: {directory: /var/spool/postroad}\n";
    postroad_config::assemble(&format!("{head}{sections}"), &BTreeMap::new())
        .unwrap()
        .file
}

fn config() -> ConfigFile {
    with(
        "\
policies:
  - name: mail/all
    match: {recipientDomains: [a.example, b.example]}
    routes: [{to: {smartHosts: [{host: hub.example, port: 25}]}, tls: Opportunistic}]
",
    )
}

/// What becomes of it at this time by its usual way.
fn sorted(config: &ConfigFile, item: &Item, now: u64) -> Sorted {
    by(config, &Sites::default(), item, None, now)
}

/// The same with what is known of sites, and by a policy that somebody chose.
fn by(config: &ConfigFile, sites: &Sites, item: &Item, policy: Option<&str>, now: u64) -> Sorted {
    group(config, (sites, &Holds::default()), item, policy, (false, now))
}

/// Recipients of each group.
fn recipients(sorted: &Sorted) -> Vec<Vec<u32>> {
    sorted
        .groups
        .iter()
        .map(|group| group.recipients.clone())
        .collect()
}

/// Sites of each group.
fn sites_of(sorted: &Sorted) -> Vec<&str> {
    sorted.groups.iter().map(|group| group.site.as_str()).collect()
}

fn item(recipients: &[(&str, u64)]) -> Item {
    Item {
        envelope: Envelope {
            reverse_path: "s@x.example".into(),
            recipients: recipients
                .iter()
                .map(|(path, _)| Recipient {
                    forward_path: (*path).into(),
                    ..Recipient::default()
                })
                .collect(),
            expires: 1 << 40,
            ..Envelope::default()
        },
        recipients: recipients
            .iter()
            .map(|(_, next)| RecipientState {
                next_attempt: *next,
                ..RecipientState::default()
            })
            .collect(),
        prefix: vec![],
    }
}

#[test]
fn recipients_with_one_way_out_are_tried_together() {
    let mut item = item(&[
        ("u@a.example", 0),
        ("u@B.example", 0),
        ("u@c.example", 0),
        ("late@a.example", 99),
        ("done@a.example", 0),
        ("Postmaster", 0),
    ]);
    item.recipients[4].status = Status::Delivered;
    let sorted = sorted(&config(), &item, 10);
    let groups: Vec<_> = sorted
        .groups
        .iter()
        .map(|group| (group.site.as_str(), group.recipients.clone()))
        .collect();
    assert_eq!(
        groups,
        [
            ("c.example", vec![2]),
            ("mail.example.com", vec![5]),
            ("smtp:hub.example:25", vec![0, 1])
        ]
    );
    assert_eq!(sorted.next, Some(99));
}

#[test]
fn who_waits_for_nothing_but_the_notice_goes_to_no_site() {
    let mut item = item(&[
        ("u@a.example", 0),
        ("u@b.example", OWED),
        ("u@c.example", OWED),
        ("d@a.example", OWED),
        ("e@a.example", OWED),
    ]);
    item.recipients[3].status = Status::Failed;
    let sorted = sorted(&config(), &item, 10);
    assert_eq!(recipients(&sorted), [vec![0]]);
    assert_eq!((sorted.owed, sorted.next), (vec![vec![2], vec![1, 4]], None));
}

#[test]
fn who_logged_in_when_a_mail_came_decides_its_way() {
    let mut config = config();
    config.policies[0].matches.recipient_domains.clear();
    config.policies[0].matches.identities = vec!["system:serviceaccount:shop:orders".into()];
    let mut item = item(&[("u@c.example", 0)]);
    assert_eq!(sites_of(&sorted(&config, &item, 10)), ["c.example"]);
    item.envelope.identity = Some("system:serviceaccount:shop:orders".into());
    assert_eq!(sites_of(&sorted(&config, &item, 10)), ["smtp:hub.example:25"]);
}

#[test]
fn a_wait_that_only_another_clock_can_have_written_is_over() {
    let age = settle::age(&item(&[]), &QueueSection::default(), 0);
    let longest = Schedule::new(&postroad_config::Retry::default(), age).longest_wait();
    for (attempts, next_attempt, waits) in [
        (3, 10 + longest, true),
        (3, 11 + longest, false),
        (0, 11 + longest, true),
        (3, HELD, true),
    ] {
        let mut item = item(&[("u@c.example", next_attempt)]);
        item.recipients[0].attempts = attempts;
        let known = (&Sites::default(), &Holds::default());
        let eager = group(&config(), known, &item, None, (true, 10));
        assert_eq!(
            eager.groups.is_empty(),
            next_attempt == HELD || attempts == 0,
            "{attempts} {next_attempt}"
        );
        let sorted = sorted(&config(), &item, 10);
        assert_eq!(
            (sorted.next == Some(next_attempt), sorted.groups.is_empty()),
            (waits, waits),
            "{attempts} {next_attempt}"
        );
    }
}

#[test]
fn domains_of_one_provider_are_tried_together_and_policies_apart() {
    let item = item(&[("u@c.example", 0), ("u@d.example", 0), ("u@a.example", 0)]);
    let sites = Sites::default();
    for domain in ["c.example", "d.example"] {
        sites.learn(domain, Some("smtp:hub.example:25".to_owned()), 0);
    }
    let sorted = by(&config(), &sites, &item, None, 10);
    assert_eq!(sites_of(&sorted), ["smtp:hub.example:25"; 2]);
    assert_eq!(recipients(&sorted), [vec![0, 1], vec![2]]);
}

#[test]
fn only_what_decides_where_mail_goes_sends_it_back_to_be_sorted() {
    let before = config();
    let mut after = before.clone();
    after.generation += 1;
    after.users.clear();
    after.limits = postroad_config::Limits::default();
    assert!(leads_alike(&before, &after));
    after.policies[0].routes[0].tls = postroad_config::TlsMode::Encrypted;
    assert!(!leads_alike(&before, &after));
    let before = with(STORE);
    assert!(leads_alike(
        &before,
        &with(&STORE.replace("{mode: Any}", "{mode: Listed, addresses: [u]}"))
    ));
    assert!(!leads_alike(
        &before,
        &with(&STORE.replace("port: 24", "port: 25"))
    ));
    assert!(!leads_alike(
        &before,
        &with(&STORE.replace("a.example", "b.example"))
    ));
}

#[test]
fn what_waits_is_looked_at_when_its_lifetime_ends_whenever_it_was_to_be_tried() {
    let hour = 3_600_000;
    let before = config();
    let mut after = before.clone();
    after.policies[0].retry.lifetime = Some("1h".parse().unwrap());
    assert!(may_expire_sooner(&before, &after) && may_expire_sooner(&after, &before));
    let mut item = item(&[("u@a.example", 3 * hour), ("u@b.example", HELD)]);
    item.recipients[0].attempts = 1;
    let found = |config: &ConfigFile, now| {
        let sorted = sorted(config, &item, now);
        (sorted.next, recipients(&sorted))
    };
    assert_eq!(found(&before, 10), (Some(3 * hour), vec![]));
    assert_eq!(found(&after, 10), (Some(hour), vec![]));
    assert_eq!(
        found(&after, hour),
        (Some(HELD), vec![vec![0]]),
        "what is held does not expire"
    );
    // What has no part in that lets a million lie.
    let mut other = after.clone();
    other.policies[0].routes[0].tls = postroad_config::TlsMode::Encrypted;
    assert!(!may_expire_sooner(&after, &other) && !may_expire_sooner(&before, &before));
    other.policies[0].name = "mail/other".into();
    assert!(may_expire_sooner(&after, &other));
}

#[test]
fn what_a_smart_host_does_not_take_from_its_sender_is_tried_by_its_schedule_also_after_its_lifetime() {
    let config = config();
    let now = 1 << 40;
    let mut item = item(&[("u@a.example", now + 60_000)]);
    item.recipients[0].attempts = 1;
    for (reply, is_due) in [
        ("4.0.0 h.example said: 554 on hold: not verified", true),
        ("on hold: 4.0.0 h.example said: 554 not verified", false),
    ] {
        item.recipients[0].reply = reply.into();
        let found = sorted(&config, &item, now);
        assert_eq!(!found.groups.is_empty(), is_due, "{reply}");
        assert!(is_due || found.next == Some(now + 60_000), "{:?}", found.next);
    }
}

#[test]
fn a_changed_lifetime_of_the_queue_is_that_of_mail_that_waits() {
    let hour = 3_600_000;
    let before = config();
    let item = item(&[("u@b.example", 200 * hour)]);
    assert_eq!(sorted(&before, &item, 10).next, Some(120 * hour));
    let ends_at = |config: &ConfigFile, item: &Item| expires(config, &Holds::default(), item, None, 10);
    for (lifetime, ends) in [("1h", hour), ("7d", 168 * hour)] {
        let mut after = before.clone();
        after.queue.lifetime = lifetime.parse().unwrap();
        assert!(may_expire_sooner(&before, &after));
        assert_eq!(sorted(&after, &item, 10).next, Some(ends), "{lifetime}");
        assert_eq!(ends_at(&after, &item), ends);
    }
    let mut notice = item.clone();
    notice.envelope.reverse_path.clear();
    let mut after = before.clone();
    after.queue.null_sender_lifetime = "3h".parse().unwrap();
    assert!(may_expire_sooner(&before, &after));
    assert_eq!(ends_at(&before, &notice), 48 * hour);
    assert_eq!(ends_at(&after, &notice), 3 * hour);
    assert_eq!(ends_at(&after, &item), 120 * hour);
}

#[test]
fn what_a_person_moved_goes_by_that_policy_but_for_mail_of_ours() {
    let mut config = config();
    let mut backup = config.policies[0].clone();
    backup.name = "mail/backup".into();
    backup.matches.recipient_domains = vec!["nobody.example".parse().unwrap()];
    backup.routes[0].limits.connections = Some(1);
    config.policies.push(backup);
    let item = item(&[("u@a.example", 0), ("u@c.example", 0)]);
    let sites = |policy| {
        let sorted = by(&config, &Sites::default(), &item, policy, 10);
        sites_of(&sorted)
            .into_iter()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(sites(None), ["c.example", "smtp:hub.example:25"]);
    assert_eq!(sites(Some("mail/backup")), ["smtp:hub.example:25@mail/backup"]);
    assert_eq!(sites(Some("mail/gone")), sites(None), "the usual route");
    let config = with(&format!(
        "{STORE}policies:\n  - name: mail/backup\n    \
         routes: [{{to: {{smartHosts: [{{host: hub.example, port: 25}}]}}, tls: Opportunistic}}]\n"
    ));
    let sorted = by(&config, &Sites::default(), &item, Some("mail/backup"), 10);
    assert_eq!(
        sites_of(&sorted),
        ["lmtp:store.example:24", "smtp:hub.example:25"]
    );
}
