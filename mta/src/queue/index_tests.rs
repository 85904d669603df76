//! What the index starts, and when.

use std::time::Duration;

use postroad_config::RouteLimits;

use super::super::job::{Pace, SiteView};
use super::turns::unreachable;
use super::*;

const RETRY: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(40));

fn id(number: u64) -> EntryId {
    EntryId::from_u64(number)
}

fn group(site: &str, recipients: Vec<u32>, patience: u64) -> Group {
    Group {
        site: site.to_owned(),
        recipients,
        patience,
        urgent: false,
        pace: None,
    }
}

fn index() -> Index {
    Index::new(100, 0)
}

/// Adds an entry with one recipient per site, sorted and ready.
fn ready(index: &mut Index, entry: u64, sites: &[&str]) {
    index.add(id(entry), 0);
    assert_eq!(index.due(0, 10), [id(entry)]);
    let groups = sites
        .iter()
        .enumerate()
        .map(|(at, site)| group(site, vec![u32::try_from(at).unwrap()], 1_000_000));
    let found = Sorted {
        groups: groups.collect(),
        next: None,
        ..Sorted::default()
    };
    index.sorted(id(entry), Some(found));
}

/// Adds an entry of a tenant, ready for a site.
fn ready_for(index: &mut Index, entry: u64, tenant: u32, site: &str) {
    index.add(id(entry), 0);
    assert_eq!(index.due(0, 10), [id(entry)]);
    let found = Sorted {
        groups: vec![group(site, vec![0], 1_000_000)],
        share: Share {
            tenant,
            ..Share::default()
        },
        ..Sorted::default()
    };
    index.sorted(id(entry), Some(found));
}

/// A message goes there and arrives.
fn prove(index: &mut Index, entry: u64, site: &str) {
    ready(index, entry, &[site]);
    let job = index.start(0).unwrap();
    assert_eq!(&*job.site, site);
    end(index, job, Feedback::Good, &[], None, 0);
}

fn end(index: &mut Index, job: Job, feedback: Feedback, pending: &[u32], next: Option<u64>, now: u64) {
    let ended = Ended {
        patience: job.patience,
        job,
        feedback: Some(feedback),
        why: None,
        retry: RETRY,
        pending: pending.to_vec(),
        next,
        notice_at: None,
        urgent: false,
    };
    index.ended(ended, now, 1_000);
}

#[test]
fn an_entry_waits_for_its_time_and_is_forgotten_when_all_is_done() {
    let mut index = index();
    index.add(id(1), 50);
    assert_eq!((index.due(49, 10), index.wakes_at()), (vec![], Some(50)));
    assert_eq!(index.due(50, 10), [id(1)]);
    assert_eq!(index.due(50, 10), [], "it is being sorted");
    let found = Sorted {
        groups: vec![group("a", vec![0], 9)],
        next: None,
        ..Sorted::default()
    };
    index.sorted(id(1), Some(found));
    let job = index.start(50).unwrap();
    assert_eq!(index.start(50), None);
    end(&mut index, job, Feedback::Good, &[], None, 50);
    assert_eq!(index.count(), (0, 0));
}

#[test]
fn a_deferred_recipient_comes_back_at_its_time() {
    let mut index = index();
    ready(&mut index, 1, &["a"]);
    let job = index.start(0).unwrap();
    end(&mut index, job, Feedback::Good, &[0], Some(70), 0);
    assert_eq!(index.wakes_at(), Some(70));
    assert_eq!(index.due(70, 10), [id(1)]);
}

#[test]
fn a_dead_site_is_probed_by_one_job_and_the_others_cost_nothing() {
    let mut index = index();
    for entry in 1..=20 {
        ready(&mut index, entry, &["a"]);
    }
    let job = index.start(0).unwrap();
    end(&mut index, job, Feedback::Dead, &[0], Some(1), 0);
    assert_eq!(index.start(0), None);
    let opens = index.wakes_at().unwrap();
    assert!(opens >= 9_000);
    let probe = index.start(opens).unwrap();
    assert_eq!(index.start(opens), None, "one probe");
    end(&mut index, probe, Feedback::Good, &[], None, opens);
    assert!(index.start(opens).is_some() && index.start(opens).is_some());
    assert_eq!(index.count(), (19, 2));
}

#[test]
fn whoever_ran_out_of_patience_with_a_dead_site_is_dealt_with_without_an_attempt() {
    let mut index = index();
    ready(&mut index, 1, &["a"]);
    ready(&mut index, 2, &["a"]);
    let job = index.start(0).unwrap();
    end(&mut index, job, Feedback::Dead, &[0], None, 2_000_000);
    let over = index.start(2_000_000).unwrap();
    assert!(over.instead.is_some() && over.entry == id(2));
    end(&mut index, over, Feedback::Dead, &[], None, 2_000_000);
    assert_eq!(index.count(), (1, 0));
}

#[test]
fn a_dead_site_does_not_hold_up_another() {
    let mut index = index();
    ready(&mut index, 1, &["a", "b"]);
    let first = index.start(0).unwrap();
    end(&mut index, first, Feedback::Dead, &[0], None, 0);
    assert_eq!(&*index.start(0).unwrap().site, "b");
}

#[test]
fn an_entry_that_was_taken_out_never_starts_unless_it_comes_back() {
    let mut index = index();
    ready(&mut index, 1, &["a", "b"]);
    let job = index.start(0).unwrap();
    assert!(!index.remove(id(1)), "a job runs");
    end(&mut index, job, Feedback::Good, &[], None, 0);
    assert!(index.remove(id(1)));
    assert_eq!(index.start(0), None);
    ready(&mut index, 1, &["a"]);
    assert!(index.start(0).is_some());
    assert_eq!(index.start(0), None, "the job of the earlier stay is void");
}

#[test]
fn what_waits_for_its_time_is_looked_at_again_where_that_may_have_changed() {
    let mut index = index();
    index.add(id(1), 1_000_000);
    index.add(id(2), NEVER);
    assert!(index.due(5, 10).is_empty());
    index.look_again(5);
    assert_eq!(index.due(5, 10), [id(1)], "what is held rests");
    let found = Sorted {
        next: Some(1_000),
        ..Sorted::default()
    };
    index.sorted(id(1), Some(found));
    assert!(index.due(999, 10).is_empty());
    assert_eq!(index.due(2_000, 10), [id(1)]);
}

#[test]
fn new_settings_send_what_waits_back_to_be_sorted() {
    let mut index = index();
    ready(&mut index, 1, &["a"]);
    let job = index.start(0).unwrap();
    end(&mut index, job, Feedback::Dead, &[0], None, 0);
    index.resort(5);
    assert_eq!(index.due(5, 10), [id(1)]);
    let found = Sorted {
        groups: vec![group("b", vec![0], 9)],
        next: None,
        ..Sorted::default()
    };
    index.sorted(id(1), Some(found));
    assert_eq!(&*index.start(5).unwrap().site, "b");
}

#[test]
fn no_more_jobs_run_than_allowed() {
    let mut index = Index::new(2, 0);
    prove(&mut index, 9, "a");
    for entry in 1..=3 {
        ready(&mut index, entry, &["a"]);
    }
    let first = index.start(0).unwrap();
    assert!(index.start(0).is_some() && index.start(0).is_none());
    end(&mut index, first, Feedback::Good, &[], None, 0);
    assert!(index.start(0).is_some());
}

/// Adds an entry for a site of a route with limits.
fn paced(index: &mut Index, entry: u64, site: &str, limits: &RouteLimits) {
    index.add(id(entry), 0);
    assert_eq!(index.due(0, 10), [id(entry)]);
    let pace = Pace {
        route: "mail/p#0".into(),
        limits: limits.clone(),
    };
    let found = Sorted {
        groups: vec![Group {
            pace: Some(pace),
            ..group(site, vec![0], 1_000_000)
        }],
        next: None,
        ..Sorted::default()
    };
    index.sorted(id(entry), Some(found));
}

#[test]
fn whoever_waits_behind_a_rate_is_not_forgotten() {
    let limits = RouteLimits {
        messages: vec![postroad_config::Rate {
            count: 1,
            per: postroad_config::Period::from_secs(10_000),
        }],
        ..RouteLimits::default()
    };
    let mut index = index();
    paced(&mut index, 1, "a", &limits);
    paced(&mut index, 2, "a", &limits);
    let first = index.start(0).unwrap();
    end(&mut index, first, Feedback::Good, &[], None, 0);
    assert_eq!(index.start(0), None, "the rate");
    let impatient = index.start(5_000_000).unwrap();
    assert_eq!(impatient.entry, id(2));
    assert!(impatient.instead.is_some(), "nobody is connected to");
}

#[test]
fn all_sites_of_a_route_share_its_rate() {
    let limits = RouteLimits {
        messages: vec![postroad_config::Rate {
            count: 1,
            per: postroad_config::Period::from_secs(3),
        }],
        ..RouteLimits::default()
    };
    let mut index = index();
    for (entry, site) in [(1, "a"), (2, "b"), (3, "a")] {
        paced(&mut index, entry, site, &limits);
    }
    let mut started = vec![];
    for now in (0..10_000).step_by(500) {
        while let Some(job) = index.start(now) {
            started.push(now);
            end(&mut index, job, Feedback::Good, &[], None, now);
        }
        if let Some(wakes) = index.wakes_at() {
            assert!(wakes > now, "it would spin at {now}");
        }
    }
    assert_eq!(started, [0, 3_000, 6_000]);
}

#[test]
fn a_message_with_more_recipients_than_their_rate_leaves_in_parts() {
    let limits = RouteLimits {
        recipients: vec![postroad_config::Rate {
            count: 8,
            per: postroad_config::Period::from_secs(6),
        }],
        ..RouteLimits::default()
    };
    let mut index = index();
    index.accept(id(1));
    index.due(0, 10);
    let pace = Pace {
        route: "p#0".to_owned(),
        limits,
    };
    let found = Sorted {
        groups: vec![Group {
            pace: Some(pace),
            ..group("a", (0..7).collect(), 1_000_000)
        }],
        ..Sorted::default()
    };
    index.sorted(id(1), Some(found));
    let mut started = vec![];
    for now in (0..10_000).step_by(500) {
        while let Some(job) = index.start(now) {
            started.push((now, job.recipients.clone()));
            end(&mut index, job, Feedback::Good, &[], None, now);
        }
    }
    assert_eq!(
        started,
        [(0, vec![0, 1, 2]), (3_000, vec![3, 4, 5]), (6_000, vec![6])]
    );
    assert_eq!(index.count(), (0, 0));
}

#[test]
fn a_route_has_no_more_connections_to_a_site_than_its_limit() {
    let limits = RouteLimits {
        connections: Some(2),
        ..RouteLimits::default()
    };
    let mut index = index();
    for entry in 1..=4 {
        paced(&mut index, entry, "a", &limits);
    }
    let first = index.start(0).unwrap();
    assert!(index.start(0).is_some() && index.start(0).is_none());
    end(&mut index, first, Feedback::Good, &[], None, 0);
    assert!(index.start(0).is_some() && index.start(0).is_none());
}

#[test]
fn one_failure_among_many_attempts_keeps_the_schedule_of_the_message() {
    let mut index = index();
    for entry in 1..=3 {
        ready(&mut index, entry, &["a"]);
    }
    let jobs: Vec<Job> = std::iter::from_fn(|| index.start(0)).collect();
    assert_eq!(jobs.len(), 3);
    for (number, job) in jobs.into_iter().enumerate() {
        let feedback = if number == 1 {
            Feedback::Good
        } else {
            Feedback::Dead
        };
        end(&mut index, job, feedback, &[0], Some(500), 0);
    }
    // The third ran alone by then: a cohort of one, so the site is dead and it waits for the probe.
    assert_eq!(index.due(500, 10), [id(1), id(2)]);
    let site = &index.sites(None, 100)[0];
    assert_eq!((site.waiting, site.window), (1, 1));
    assert!(site.opens_at >= 9_000);
}

#[test]
fn many_that_wait_for_a_closed_site_set_one_timer() {
    let mut index = index();
    ready(&mut index, 1, &["a"]);
    let job = index.start(0).unwrap();
    end(&mut index, job, Feedback::Dead, &[0], None, 0);
    for entry in 2..=100 {
        ready(&mut index, entry, &["a"]);
        assert_eq!(index.start(0), None);
    }
    assert_eq!(index.alarms.len(), 1);
}

#[test]
fn the_busiest_sites_are_told_and_the_rest_is_a_sum() {
    let mut index = index();
    index.suspend(["idle".to_owned(), "s1".to_owned()].into());
    for entry in 1..=10 {
        // One waits for `s1`, two for `s2`, and so on.
        for site in entry..=10 {
            ready(&mut index, entry * 100 + site, &[&format!("s{site}")]);
        }
    }
    let started = index.start(0).unwrap();
    let names = |busiest: &Busiest| {
        let mut names: Vec<String> = busiest.sites.iter().map(|site| site.name.to_string()).collect();
        names.sort();
        names
    };
    let three = index.busiest(3);
    assert_eq!(names(&three), ["s10", "s8", "s9"]);
    let shown = |site: &SiteView| site.waiting as u64 + u64::from(site.running);
    assert_eq!(three.sites.iter().map(shown).sum::<u64>(), 27);
    let others = three.others.unwrap();
    assert_eq!(
        others.waiting + others.running,
        55 - 27,
        "started: {}",
        started.site
    );
    let all = index.busiest(11);
    assert_eq!((all.sites.len(), all.others), (11, None));
    let mut whole = index.sites(None, 100);
    let mut sites = all.sites;
    for sites in [&mut whole, &mut sites] {
        sites.sort_by(|one, other| one.name.cmp(&other.name));
    }
    assert_eq!(sites, whole);
    assert_eq!(index.busiest(0).others.unwrap().running, 1);
}

#[test]
fn sites_are_told_by_name_a_page_at_a_time() {
    let mut index = index();
    index.suspend(["idle".to_owned(), "a".to_owned(), "d".to_owned()].into());
    for (entry, site) in [(1, "d"), (2, "c"), (3, "b"), (4, "x")] {
        ready(&mut index, entry, &[site]);
    }
    let (mut after, mut pages) = (None::<String>, Vec::new());
    loop {
        let page = index.sites(after.as_deref(), 2);
        let names: Vec<String> = page.iter().map(|site| site.name.to_string()).collect();
        let Some(last) = names.last() else { break };
        after = Some(last.clone());
        pages.push(names.concat());
    }
    assert_eq!(pages, ["ab", "cd", "idlex"]);
    let all = index.sites(None, 100);
    let suspended = all.iter().filter(|site| site.suspended);
    assert_eq!((all.len(), suspended.count()), (6, 3));
}

#[test]
fn nothing_starts_at_a_suspended_site_but_patience_ends_there() {
    let mut index = index();
    index.suspend(["a".to_owned(), "idle".to_owned()].into());
    ready(&mut index, 1, &["a", "b"]);
    let other = index.start(0).unwrap();
    assert_eq!(*other.site, *"b");
    assert_eq!(index.start(0), None);
    assert!(index.wakes_at().is_some_and(|at| at > 0), "it would spin");
    let mut suspended: Vec<String> = index
        .sites(None, 100)
        .iter()
        .filter(|site| site.suspended)
        .map(|site| site.name.to_string())
        .collect();
    suspended.sort();
    assert_eq!(suspended, ["a", "idle"]);
    let late = index.start(u64::MAX - 1).unwrap();
    assert!(late.instead.is_some(), "nobody is connected to");

    ready(&mut index, 2, &["a"]);
    assert_eq!(index.start(1), None);
    index.suspend(Names::new());
    let job = index.start(1).unwrap();
    assert_eq!((job.entry, &*job.site, job.instead.is_none()), (id(2), "a", true));
}

/// As an order does: takes the entry out and in again.
fn order_again(index: &mut Index, entry: u64, site: &str) {
    assert!(index.remove(id(entry)));
    ready(index, entry, &[site]);
}

#[test]
fn a_thousand_orders_about_mail_that_waits_leave_nothing_behind() {
    let mut index = index();
    index.suspend(["suspended".to_owned()].into());
    ready(&mut index, 1, &["dead"]);
    let job = index.start(0).unwrap();
    end(&mut index, job, Feedback::Dead, &[0], None, 0);
    for entry in 2..=5 {
        ready(&mut index, entry, &["suspended", "dead"]);
    }
    for _ in 0..1_000 {
        order_again(&mut index, 1, "dead");
        order_again(&mut index, 2, "suspended");
        order_again(&mut index, 3, "dead");
        assert_eq!(index.start(0), None);
    }
    let mut waiting: Vec<(String, usize)> = index
        .sites(None, 100)
        .into_iter()
        .map(|site| (site.name.to_string(), site.waiting))
        .collect();
    waiting.sort();
    assert_eq!(waiting, [("dead".to_owned(), 4), ("suspended".to_owned(), 3)]);
    let tally = index.tally(0);
    assert_eq!((tally.dead, tally.suspended, tally.scheduled), (4, 3, 0));
    let jobs: usize = index.places.iter().map(|site| site.ready.len()).sum();
    assert!(jobs <= 100, "{jobs} are kept for 7");
    assert_eq!(index.count(), (5, 0));

    for entry in 1..=5 {
        assert!(index.remove(id(entry)));
    }
    assert!(index.places.iter().all(|site| site.ready.is_empty()));
    assert_eq!(index.start(1 << 40), None);
    assert_eq!(index.places.iter().count(), 0, "idle sites are forgotten");
}

#[test]
fn an_entry_that_is_held_has_no_timer_and_is_there_when_it_is_released() {
    let mut index = index();
    index.add(id(1), NEVER);
    assert_eq!((index.wakes_at(), index.tally(0).held), (None, 1));
    assert!(index.contains(id(1)) && index.remove(id(1)));
    index.add(id(1), 5);
    assert_eq!((index.due(5, 10), index.tally(0).held), (vec![id(1)], 0));
    let found = Sorted {
        next: Some(NEVER),
        ..Sorted::default()
    };
    index.sorted(id(1), Some(found));
    assert_eq!((index.count(), index.tally(0).held), ((1, 0), 1));
}

#[test]
fn a_timer_that_goes_off_while_its_entry_is_read_is_not_lost() {
    let mut index = index();
    ready(&mut index, 1, &["a", "b"]);
    let (one, other) = (index.start(0).unwrap(), index.start(0).unwrap());
    end(&mut index, one, Feedback::Good, &[0], Some(10), 0);
    assert_eq!(index.due(10, 10), [id(1)]);
    end(&mut index, other, Feedback::Good, &[1], Some(20), 15);
    assert_eq!(index.due(20, 10), [], "it is being read");
    index.sorted(id(1), Some(Sorted::default()));
    assert_eq!(index.due(20 + AFTER_SORTING, 10), [id(1)]);
}

#[test]
fn what_is_settled_by_hand_is_forgotten_afterwards() {
    let mut index = index();
    let why = Arc::new(unreachable());
    index.settle_instead(id(1), vec![0, 1], &why);
    let job = index.start(0).unwrap();
    assert_eq!(job.instead.as_ref(), Some(&why));
    end(&mut index, job, Feedback::Dead, &[1], Some(70), 0);
    assert_eq!(index.start(0), None, "its notice is tried again later");
    assert_eq!(index.due(70, 10), [id(1)]);
    index.sorted(id(1), Some(Sorted::default()));
    assert_eq!(index.count(), (0, 0));
}

#[test]
fn a_time_that_the_sender_gave_is_kept_whatever_the_site_does() {
    let mut index = index();
    ready(&mut index, 1, &["a"]);
    let job = index.start(0).unwrap();
    end(&mut index, job, Feedback::Dead, &[0], None, 0);
    for (entry, patience, urgent) in [(2, 3_000, true), (3, 5_500, true), (4, 1_000_000, false)] {
        index.add(id(entry), 0);
        assert_eq!(index.due(0, 10), [id(entry)]);
        let found = Sorted {
            groups: vec![Group {
                urgent,
                ..group("a", vec![0], patience)
            }],
            next: None,
            ..Sorted::default()
        };
        index.sorted(id(entry), Some(found));
    }
    assert_eq!(index.start(2_999), None);
    assert!(
        index.wakes_at().is_some_and(|at| at <= 3_000),
        "{:?}",
        index.wakes_at()
    );
    let over = index.start(3_000).unwrap();
    assert!(over.entry == id(2) && over.instead.is_some());
    end(&mut index, over, Feedback::Dead, &[], None, 3_000);
    assert_eq!(index.start(5_999), None);
    assert!(
        index.wakes_at().is_some_and(|at| at <= 6_000),
        "{:?}",
        index.wakes_at()
    );
    let over = index.start(6_000).unwrap();
    assert_eq!((over.entry, over.instead.is_some()), (id(3), true));
    end(&mut index, over, Feedback::Dead, &[], None, 6_000);
    // The site opens again after ten seconds, give or take one.
    assert_eq!(index.start(8_900), None, "who gave no time waits on");
    assert!(
        index.wakes_at().is_some_and(|at| at <= 12_000),
        "{:?}",
        index.wakes_at()
    );
    assert!(index.start(12_000).is_some_and(|job| job.instead.is_none()));
}

#[test]
fn what_is_overdue_and_could_not_be_told_is_not_tried_again_at_once() {
    let mut index = index();
    index.add(id(1), 0);
    assert_eq!(index.due(0, 10), [id(1)]);
    let found = Sorted {
        groups: vec![Group {
            urgent: true,
            ..group("a", vec![0], 1_000)
        }],
        ..Sorted::default()
    };
    index.sorted(id(1), Some(found));
    let job = index.start(0).unwrap();
    end(&mut index, job, Feedback::Dead, &[0], None, 0);
    index.suspend(["a".to_owned()].into_iter().collect());
    let over = index.start(1_000).unwrap();
    assert!(over.instead.is_some());
    // The notice that it is over could not be queued: all is as before, and the next look is due in five minutes.
    let ended = Ended {
        patience: 1_000,
        job: over,
        feedback: None,
        why: None,
        retry: RETRY,
        pending: vec![0],
        next: Some(301_000),
        notice_at: None,
        urgent: true,
    };
    index.ended(ended, 1_000, 1_000);
    assert_eq!(index.start(1_000), None);
    let quiet = (2_000..301_000).step_by(5_000);
    assert_eq!(quiet.filter_map(|now| index.start(now)).count(), 0);
    assert!(
        index.wakes_at().is_some_and(|at| at <= 303_000),
        "{:?}",
        index.wakes_at()
    );
    assert!(index.start(303_000).is_some_and(|job| job.instead.is_some()));
}

#[test]
fn fresh_mail_is_not_behind_a_million_that_are_due() {
    let mut index = index();
    for entry in 0..1_000 {
        index.add(id(entry), 0);
    }
    for entry in 1_000..1_100 {
        index.accept(id(entry));
    }
    assert_eq!(index.wakes_at(), Some(0));
    let due = index.due(0, 64);
    assert_eq!(due.len(), 64);
    assert!(due[..48].iter().all(|entry| entry.as_u64() >= 1_000));
    assert!(
        due[48..].iter().all(|entry| entry.as_u64() < 16),
        "nor they behind it"
    );
    // Taken out and in again, it is sorted once.
    assert!(index.remove(id(1_050)));
    index.add(id(1_050), 0);
    let mut due: Vec<EntryId> = std::iter::from_fn(|| Some(index.due(0, 64)).filter(|due| !due.is_empty()))
        .flatten()
        .collect();
    let count = due.len();
    due.sort();
    due.dedup();
    assert_eq!((due.len(), count), (1_036, 1_036));
}

#[test]
fn new_settings_sort_those_first_who_wait_with_few_others() {
    let mut index = index();
    index.suspend(["a".to_owned(), "b".to_owned()].into());
    for entry in 0..50 {
        ready(&mut index, entry, &["a"]);
    }
    ready(&mut index, 50, &["b"]);
    index.resort(0);
    assert_eq!(index.due(0, 1), [id(50)]);
}

/// Who gets the slots.
#[path = "index_slot_tests.rs"]
mod slots;
