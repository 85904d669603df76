//! Who gets the slots: tenants, sites that answer, sites that say nothing, and what is only to be told.

use super::*;

/// How many others start before all of these have, one at a time.
fn others_before(index: &mut Index, wanted: std::ops::Range<u64>) -> usize {
    let (mut left, mut others) = (wanted.end - wanted.start, 0);
    while left > 0 {
        let job = index.start(0).unwrap();
        if wanted.contains(&job.entry.as_u64()) {
            left -= 1;
        } else {
            others += 1;
        }
        end(index, job, Feedback::Good, &[], None, 0);
    }
    others
}

#[test]
fn the_flood_of_one_tenant_delays_the_message_of_another_by_a_turn_only() {
    let mut index = Index::new(1, 0);
    for entry in 0..1_000 {
        ready_for(&mut index, entry, 1, "a");
    }
    ready_for(&mut index, 1_000, 2, "a");
    let before = others_before(&mut index, 1_000..1_001);
    assert!(before <= 8, "{before} of the other tenant came first");
}

#[test]
fn a_tenant_with_many_sites_gets_no_more_turns_than_one_with_one() {
    let mut index = Index::new(1, 0);
    for entry in 0..1_000 {
        ready_for(&mut index, entry, 1, &format!("site{entry}"));
    }
    for entry in 1_000..1_010 {
        ready_for(&mut index, entry, 2, "own");
    }
    let before = others_before(&mut index, 1_000..1_010);
    assert!(before <= 12, "{before} of the other tenant came first");
    // Nor where both wait at one site.
    for entry in 2_000..2_050 {
        ready_for(&mut index, entry, 1, "shared");
    }
    for entry in 2_050..2_060 {
        ready_for(&mut index, entry, 2, "shared");
    }
    let before = others_before(&mut index, 2_050..2_060);
    assert!(before <= 40, "{before} of the other tenant came first");
}

#[test]
fn a_crowd_that_ran_out_of_patience_leaves_most_slots_to_others() {
    let mut index = Index::new(8, 0);
    prove(&mut index, 3_000, "good0");
    prove(&mut index, 3_001, "good1");
    for entry in 0..1_000 {
        ready(&mut index, entry, &["dead"]);
    }
    let probe = index.start(0).unwrap();
    end(&mut index, probe, Feedback::Dead, &[0], None, 2_000_000);
    for entry in 1_000..1_012 {
        ready(&mut index, entry, &[&format!("good{}", entry % 2)]);
    }
    // An order about one message is not behind the crowd either.
    index.settle_instead(id(2_000), vec![0], &Arc::new(unreachable()));
    let mut running: Vec<Job> = std::iter::from_fn(|| index.start(2_000_000)).collect();
    let settling = |jobs: &[Job]| jobs.iter().filter(|job| job.instead.is_some()).count();
    assert_eq!((running.len(), settling(&running)), (8, 2));
    assert!(running.iter().any(|job| job.entry == id(2_000)));
    let mut settled = 0;
    while settled < 500 {
        let job = running.remove(0);
        let feedback = if job.instead.is_some() {
            Feedback::Dead
        } else {
            Feedback::Good
        };
        settled += usize::from(job.instead.is_some());
        end(&mut index, job, feedback, &[], None, 2_000_000);
        running.extend(std::iter::from_fn(|| index.start(2_000_000)));
        assert_eq!(running.len(), 8, "no slot is idle");
    }
    assert!(
        index.tally(2_000_000).ready == 0,
        "those that could start have started"
    );
}

#[test]
fn servers_that_say_nothing_hold_a_quarter_of_the_slots() {
    let mut index = Index::new(20, 0);
    prove(&mut index, 1_000, "good");
    for entry in 0..100 {
        ready(&mut index, entry, &[&format!("tarpit{}", entry / 5)]);
    }
    for entry in 1_001..1_004 {
        ready(&mut index, entry, &["good"]);
    }
    let mut running: Vec<Job> = std::iter::from_fn(|| index.start(0)).collect();
    let at_good = |jobs: &[Job]| jobs.iter().filter(|job| *job.site == *"good").count();
    assert_eq!((running.len(), at_good(&running)), (8, 3));
    // One that gives up makes room for the next; one that is good after all is never behind them again.
    let tarpit = running.iter().position(|job| *job.site != *"good").unwrap();
    let job = running.remove(tarpit);
    end(&mut index, job, Feedback::Dead, &[], None, 0);
    let next = index.start(0).unwrap();
    assert!(next.site.starts_with("tarpit") && index.start(0).is_none());
    let proven = next.site.clone();
    end(&mut index, next, Feedback::Good, &[], None, 0);
    let more: Vec<Job> = std::iter::from_fn(|| index.start(0)).collect();
    let at_proven = more.iter().filter(|job| job.site == proven).count();
    assert_eq!((at_proven, more.len()), (4, 5), "its own, and one in its place");
    for job in running.into_iter().chain(more) {
        end(&mut index, job, Feedback::Good, &[], None, 0);
    }
    while let Some(job) = index.start(20_000) {
        end(&mut index, job, Feedback::Good, &[], None, 20_000);
    }
    assert_eq!(index.count(), (0, 0), "all of it was tried");
}

#[test]
fn a_site_that_was_good_and_died_is_on_trial_again() {
    let mut index = Index::new(4, 0);
    prove(&mut index, 1, "a");
    for entry in 2..=5 {
        ready(&mut index, entry, &["a"]);
    }
    let jobs: Vec<Job> = std::iter::from_fn(|| index.start(0)).collect();
    assert_eq!(jobs.len(), 4);
    for job in jobs {
        end(&mut index, job, Feedback::Dead, &[0], None, 0);
    }
    ready(&mut index, 6, &["tarpit"]);
    let tarpit = index.start(0).unwrap();
    assert_eq!(index.start(20_000), None, "its probe waits for the tarpit");
    end(&mut index, tarpit, Feedback::Dead, &[], None, 20_000);
    assert_eq!(&*index.start(20_000).unwrap().site, "a");
}

#[test]
fn a_time_that_the_sender_gave_is_kept_behind_servers_that_say_nothing() {
    let mut index = Index::new(4, 0);
    ready(&mut index, 1, &["tarpit"]);
    let _tarpit = index.start(0).unwrap();
    index.add(id(2), 0);
    assert_eq!(index.due(0, 10), [id(2)]);
    let found = Sorted {
        groups: vec![Group {
            urgent: true,
            ..group("a", vec![0], 3_000)
        }],
        ..Sorted::default()
    };
    index.sorted(id(2), Some(found));
    assert_eq!(index.start(0), None, "no room for another one");
    assert_eq!(index.wakes_at(), Some(3_000));
    assert!(index.start(3_000).is_some_and(|job| job.instead.is_some()));
}

#[test]
fn a_notice_that_could_not_be_queued_is_tried_again_without_an_attempt() {
    let mut index = index();
    ready(&mut index, 1, &["a", "b"]);
    let (one, other) = (index.start(0).unwrap(), index.start(0).unwrap());
    let refused = |job: Job| Ended {
        patience: job.patience,
        job,
        feedback: Some(Feedback::Good),
        why: None,
        retry: RETRY,
        pending: vec![],
        next: None,
        notice_at: Some(300),
        urgent: false,
    };
    index.ended(refused(one), 0, 0);
    for at in [300, 600] {
        assert_eq!((index.wakes_at(), index.start(at)), (Some(at), None));
        assert_eq!(index.due(at, 10), [id(1)]);
        // The other recipient is still at its site.
        let found = Sorted {
            owed: vec![vec![0, 1]],
            ..Sorted::default()
        };
        index.sorted(id(1), Some(found));
        let notice = index.start(at).unwrap();
        assert_eq!((&*notice.site, notice.recipients.as_slice()), (NO_SITE, &[0][..]));
        assert!(notice.instead.is_some() && index.start(at).is_none());
        let again = Ended {
            notice_at: (at == 300).then_some(600),
            ..refused(notice)
        };
        index.ended(again, at, 0);
    }
    end(&mut index, other, Feedback::Good, &[], None, 600);
    assert_eq!(index.count(), (0, 0));
}

#[test]
fn a_message_that_is_retried_opens_its_own_sites_alone() {
    let mut index = index();
    for (entry, site) in [(1, "a"), (2, "b"), (3, "c")] {
        ready(&mut index, entry, &[site]);
        let job = index.start(0).unwrap();
        end(&mut index, job, Feedback::Dead, &[0], None, 0);
    }
    assert!(index.remove(id(2)));
    index.retry(id(2), 0);
    assert_eq!((index.due(0, 10), index.start(0)), (vec![id(2)], None));
    let found = || {
        Some(Sorted {
            groups: vec![group("b", vec![0], 1_000_000)],
            ..Sorted::default()
        })
    };
    index.sorted(id(2), found());
    assert_eq!(&*index.start(0).unwrap().site, "b");
    assert_eq!(index.start(0), None, "nobody has asked for the others");
    // It is opened once.
    assert!(!index.remove(id(2)), "it runs");
    assert!(index.probing.is_empty());
}
