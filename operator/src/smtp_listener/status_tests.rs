//! Each row: what was found, and what the conditions say.

use postroad_config::admin::{CertificateState, ConfigState, QueueState, SealState, SpoolFormatState};
use postroad_crds::conditions::status_of;
use postroad_crds::smtp_listener::{PodQueue, RolloutStatus};
use serde_json::json;

use super::*;

fn listener(replicas: i32) -> SmtpListener {
    serde_json::from_value(json!({
        "apiVersion": "postroad.dev/v1alpha1", "kind": "SmtpListener",
        "metadata": {"name": "edge", "namespace": "mail", "generation": 4},
        "spec": {
            "hostname": "mail.example.com", "replicas": replicas, "queue": {"storage": {"size": "1Gi"}},
            "ports": [{"name": "smtp", "port": 25, "role": "Transfer", "tls": "Disabled"}],
        },
    }))
    .unwrap()
}

fn state() -> State {
    State {
        boot_id: "b".into(),
        version: "1".into(),
        spool: "s".into(),
        spool_format: SpoolFormatState::default(),
        config: ConfigState {
            generation: 3,
            hash: "h3".into(),
            reads_format: 1,
            error: None,
        },
        certificate: Some(CertificateState {
            serial: "0a".into(),
            not_after: 0,
            names: vec![],
        }),
        queue: QueueState {
            below_high_water: true,
            ..QueueState::default()
        },
        seal: None,
        accepting: true,
        not_accepting: String::new(),
        lost: Vec::new(),
        routes: Vec::new(),
    }
}

fn pod(name: &str, change: impl FnOnce(&mut State)) -> Seen {
    let mut state = state();
    change(&mut state);
    Seen {
        name: name.into(),
        stays: true,
        ready: true,
        state: Ok(state),
        shown: None,
    }
}

fn found(pods: Vec<Seen>) -> Found {
    let facts = Facts {
        serial: "0a".into(),
        not_before: 0,
        not_after: 4_000_000_000,
        names: vec!["mail.example.com".into()],
        tlsa: vec!["3 1 1 00".into()],
    };
    Found {
        replicas: i32::try_from(pods.len()).unwrap(),
        pods,
        config: Some(("h3".into(), 3)),
        certificate: Some(facts),
        rollout: Rollout::Complete,
        ..Found::default()
    }
}

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_001).unwrap()
}

fn reason_of(status: &SmtpListenerStatus, kind: &str) -> String {
    status
        .conditions
        .iter()
        .find(|condition| condition.type_ == kind)
        .unwrap()
        .reason
        .clone()
}

#[test]
fn all_as_wanted() {
    let status = status(
        &listener(2),
        &found(vec![pod("edge-0", |_| {}), pod("edge-1", |_| {})]),
        now(),
    );
    for (kind, value) in [
        (READY, true),
        (CONFIG_APPLIED, true),
        (CERTIFICATE_SERVED, true),
        (QUEUE_HEALTHY, true),
    ] {
        assert_eq!(status_of(&status.conditions, kind), Some(value), "{kind}");
    }
    for kind in [RECONCILING, STALLED, DRAINING] {
        assert_eq!(status_of(&status.conditions, kind), Some(false), "{kind}");
    }
    assert_eq!(
        (status.ready_replicas, status.certificate.unwrap().served_by),
        (2, 2)
    );
}

fn since(status: &SmtpListenerStatus, kind: &str) -> i64 {
    let found = status.conditions.iter().find(|condition| condition.type_ == kind);
    found.unwrap().last_transition_time.0.as_second()
}

/// The status of one pod that runs this configuration, so many seconds after `now`.
fn goes_on(listener: &mut SmtpListener, hash: &str, error: Option<&str>, second: i64) -> SmtpListenerStatus {
    let pod = pod("edge-0", |state| {
        state.config.hash = hash.into();
        state.config.error = error.map(str::to_owned);
    });
    let at = Timestamp::from_second(now().as_second() + second).unwrap();
    let next = status(listener, &found(vec![pod]), at);
    listener.status = Some(next.clone());
    next
}

#[test]
fn a_listener_stays_ready_while_a_change_of_an_attached_object_goes_round() {
    let mut edge = listener(1);
    let begin = goes_on(&mut edge, "h3", None, 0);
    assert_eq!(status_of(&begin.conditions, READY), Some(true));
    for second in [100, 130, 159] {
        let changing = goes_on(&mut edge, "h2", None, second);
        assert_eq!(status_of(&changing.conditions, CONFIG_APPLIED), Some(false));
        assert_eq!(status_of(&changing.conditions, RECONCILING), Some(true));
        assert_eq!(status_of(&changing.conditions, READY), Some(true), "{second}");
        assert_eq!(since(&changing, READY), now().as_second());
        let ready = changing
            .conditions
            .iter()
            .find(|condition| condition.type_ == READY);
        let message = &ready.unwrap().message;
        assert!(
            message.contains("a change is on its way: edge-0 still runs"),
            "{message}"
        );
    }
    let over = goes_on(&mut edge, "h2", None, 160);
    assert_eq!(
        status_of(&over.conditions, READY),
        Some(false),
        "it takes too long"
    );
    assert_eq!(since(&over, CONFIG_APPLIED), now().as_second() + 100);
    // It has to be confirmed now; the grace is not given twice.
    assert_eq!(
        status_of(&goes_on(&mut edge, "h2", None, 161).conditions, READY),
        Some(false)
    );
    let there = goes_on(&mut edge, "h3", None, 170);
    assert_eq!(status_of(&there.conditions, READY), Some(true));
    assert_eq!(since(&there, READY), now().as_second() + 170);
}

#[test]
fn a_listener_is_not_ready_for_a_spec_of_its_own_before_its_pods_say_so() {
    let mut edge = listener(1);
    goes_on(&mut edge, "h3", None, 0);
    edge.metadata.generation = Some(5);
    for second in [1, 2] {
        let changing = goes_on(&mut edge, "h2", None, second);
        assert_eq!(status_of(&changing.conditions, READY), Some(false));
        let ready = changing
            .conditions
            .iter()
            .find(|condition| condition.type_ == READY);
        assert_eq!(ready.unwrap().observed_generation, Some(5));
    }
    assert_eq!(
        status_of(&goes_on(&mut edge, "h3", None, 3).conditions, READY),
        Some(true)
    );
}

#[test]
fn a_pod_that_refuses_a_change_is_given_no_grace() {
    let mut edge = listener(1);
    goes_on(&mut edge, "h3", None, 0);
    let refused = goes_on(&mut edge, "h2", Some("ports[0].tls: no"), 1);
    assert_eq!(status_of(&refused.conditions, READY), Some(false));
    assert_eq!(reason_of(&refused, READY), reason::CONFIG_REFUSED);
}

#[test]
fn nothing_is_said_of_a_certificate_that_is_not_known() {
    let mut edge = Found {
        obstacle: Some(Obstacle::absent("spec.tls.secretName", "edge-tls", "mail")),
        certificate: None,
        ..found(vec![pod("edge-0", |_| {})])
    };
    let said = |found: &Found| {
        let said = status(&listener(1), found, now());
        let of = said.conditions.iter().find(|one| one.type_ == CERTIFICATE_SERVED);
        let of = of.unwrap();
        (of.status.clone(), of.reason.clone(), of.message.clone())
    };
    let (status, reason, message) = said(&edge);
    assert_eq!(
        (status.as_str(), reason.as_str()),
        ("Unknown", reason::SECRET_NOT_FOUND)
    );
    assert!(
        message.contains("is not known: spec.tls.secretName: there is no Secret edge-tls"),
        "{message}"
    );
    edge.obstacle = None;
    let (status, reason, _) = said(&edge);
    assert_eq!(
        (status.as_str(), reason.as_str()),
        ("True", reason::NOT_CONFIGURED)
    );
}

#[test]
fn what_keeps_a_listener_from_ready_is_named() {
    let rows: Vec<(Found, &str)> = vec![
        (found(vec![]), reason::NO_SERVING_POD),
        (
            found(vec![pod("edge-0", |state| state.config.hash = "h2".into())]),
            reason::IN_PROGRESS,
        ),
        (
            found(vec![pod("edge-0", |state| {
                state.config.hash = "h2".into();
                state.config.error = Some("ports[0].tls: no".into());
            })]),
            reason::CONFIG_REFUSED,
        ),
        (
            found(vec![pod("edge-0", |state| state.certificate = None)]),
            reason::NOT_SERVED,
        ),
        (
            found(vec![Seen {
                state: Err("refused".into()),
                ..pod("edge-0", |_| {})
            }]),
            reason::POD_UNREACHABLE,
        ),
        (
            Found {
                certificate: found(vec![]).certificate.map(|facts| Facts {
                    names: vec!["other.example".into()],
                    ..facts
                }),
                ..found(vec![pod("edge-0", |_| {})])
            },
            reason::HOSTNAME_MISMATCH,
        ),
        (
            Found {
                obstacle: Some(Obstacle::new(reason::SECRET_NOT_FOUND, "m".into())),
                ..found(vec![pod("edge-0", |_| {})])
            },
            reason::SECRET_NOT_FOUND,
        ),
    ];
    for (found, wanted) in rows {
        let status = status(&listener(1), &found, now());
        assert_eq!(status_of(&status.conditions, READY), Some(false), "{wanted}");
        assert_eq!(reason_of(&status, READY), wanted);
    }
}

#[test]
fn an_expiring_certificate_warns_and_still_serves() {
    let mut found = found(vec![pod("edge-0", |_| {})]);
    found.certificate = found.certificate.map(|facts| Facts {
        not_after: now().as_second() + 86_400,
        ..facts
    });
    let status = status(&listener(1), &found, now());
    assert_eq!(reason_of(&status, CERTIFICATE_SERVED), reason::EXPIRES_SOON);
    assert_eq!(status_of(&status.conditions, READY), Some(true));
}

#[test]
fn a_drain_is_shown_with_what_remains() {
    let leaving = Seen {
        stays: false,
        ready: false,
        ..pod("edge-1", |state| {
            state.seal = Some(SealState {
                number: 1,
                empty: false,
                remaining: 42,
                stuck: None,
            });
        })
    };
    let mut both = found(vec![pod("edge-0", |_| {}), leaving]);
    let next = status(&listener(1), &both, now());
    assert_eq!(
        next.draining,
        [DrainingPod {
            pod: "edge-1".into(),
            remaining: 42
        }]
    );
    assert_eq!(reason_of(&next, DRAINING), reason::HANDING_OVER);
    assert_eq!(
        status_of(&next.conditions, READY),
        Some(true),
        "the one that stays serves"
    );
    both.pods.remove(0);
    assert_eq!(
        reason_of(&status(&listener(0), &both, now()), DRAINING),
        reason::NO_TARGET
    );
}

#[test]
fn a_volume_in_trouble_is_named() {
    for (change, wanted) in [
        (
            (|queue: &mut QueueState| queue.below_high_water = false) as fn(&mut QueueState),
            reason::VOLUME_NEARLY_FULL,
        ),
        (|queue| queue.error = Some("EIO".into()), reason::VOLUME_FAILED),
        (|queue| queue.damaged = 1, reason::DAMAGED),
    ] {
        let status = status(
            &listener(1),
            &found(vec![pod("edge-0", |state| change(&mut state.queue))]),
            now(),
        );
        assert_eq!(reason_of(&status, QUEUE_HEALTHY), wanted);
    }
}

#[test]
fn a_full_volume_is_told_by_magnitudes_so_that_nothing_is_written_for_each_message() {
    let mut listener = listener(1);
    let with = |free: u64, messages| {
        found(vec![pod("edge-0", |state| {
            state.queue.below_high_water = false;
            state.queue.free_bytes = free << 20;
            state.queue.messages = messages;
        })])
    };
    let first = status(&listener, &with(50, 1_234), now());
    let said = first
        .conditions
        .iter()
        .find(|condition| condition.type_ == QUEUE_HEALTHY);
    let said = &said.unwrap().message;
    assert!(
        said.contains("less than 64 MiB") && said.contains("1000 messages or more"),
        "{said}"
    );
    listener.status = Some(first.clone());
    assert_eq!(status(&listener, &with(49, 1_300), now()), first);
    assert_ne!(status(&listener, &with(20, 1_300), now()), first);
    assert!(how_full(&QueueState::default()).contains("less than 1 MiB free on the volume, no messages"));
}

#[test]
fn figures_move_with_their_class_and_not_with_every_message() {
    let mut listener = listener(1);
    let with = |messages| found(vec![pod("edge-0", |state| state.queue.messages = messages)]);
    let first = status(&listener, &with(12), now());
    listener.status = Some(first.clone());
    assert_eq!(
        status(&listener, &with(13), now()),
        first,
        "nothing is written for one message more"
    );
    let later = Timestamp::from_second(now().as_second() + 60).unwrap();
    assert_eq!(
        status(&listener, &with(13), later).queue.unwrap().messages,
        13,
        "and once a minute it is"
    );
    assert_eq!(status(&listener, &with(120), now()).queue.unwrap().messages, 120);
    assert_eq!(status(&listener, &with(0), now()).queue.unwrap().messages, 0);
}

#[test]
fn a_volume_that_was_declared_lost_is_told_until_the_annotation_is_taken_off() {
    let lost = LostVolume {
        spool: "s9".into(),
        released: 3,
        taken_back: 2,
        perhaps_twice: 4,
    };
    let found = Found {
        lost: vec![lost.clone()],
        not_lost: vec!["edge-1 answers".into()],
        ..found(vec![pod("edge-0", |_| {})])
    };
    let mut listener = listener(1);
    let calm = status(&listener, &found, now());
    assert_eq!(status_of(&calm.conditions, QUEUE_HEALTHY), Some(true));
    assert_eq!(calm.lost, [lost]);
    let annotations = [(VOLUME_LOST.to_owned(), "2".to_owned())];
    listener.metadata.annotations = Some(annotations.into());
    let told = status(&listener, &found, now());
    let condition = told.conditions.iter().find(|known| known.type_ == QUEUE_HEALTHY);
    let condition = condition.unwrap();
    assert_eq!(
        (condition.status.as_str(), condition.reason.as_str()),
        ("False", reason::VOLUME_LOST)
    );
    for part in [
        "edge-1 answers",
        "s9",
        "3 messages",
        "2 that stood",
        "4 of them",
        VOLUME_LOST,
    ] {
        assert!(condition.message.contains(part), "{part}: {}", condition.message);
    }
    assert_eq!(
        status_of(&told.conditions, READY),
        Some(true),
        "it serves all the same"
    );
}

#[test]
fn volumes_that_grow_are_work_under_way_and_one_that_may_not_is_said() {
    let mut found = found(vec![pod("edge-0", |_| {})]);
    found.growth.growing = vec!["queue-edge-0".into()];
    let grows = status(&listener(1), &found, now());
    assert_eq!(status_of(&grows.conditions, RECONCILING), Some(true));
    assert_eq!(status_of(&grows.conditions, READY), Some(true));
    found.growth.growing.clear();
    found.remade = true;
    let remade = status(&listener(1), &found, now());
    assert_eq!(status_of(&remade.conditions, RECONCILING), Some(true));
    found.remade = false;
    found.growth.refused = vec!["queue-edge-0 does not grow to 2Gi: the class does not allow it".into()];
    let refused = status(&listener(1), &found, now());
    assert_eq!(reason_of(&refused, QUEUE_HEALTHY), reason::VOLUME_NOT_EXPANDABLE);
    assert_eq!(status_of(&refused.conditions, RECONCILING), Some(false));
    assert_eq!(status_of(&refused.conditions, READY), Some(true));
}

#[test]
fn addresses_and_size_stay_while_they_are_not_known() {
    let mut listener = listener(1);
    let mut known = found(vec![pod("edge-0", |_| {})]);
    known.addresses = Some(vec!["203.0.113.7".into()]);
    known.volume_size = Some("1Gi".into());
    let first = status(&listener, &known, now());
    assert_eq!(first.addresses, ["203.0.113.7"]);
    listener.status = Some(first);
    let unknown = status(&listener, &found(vec![pod("edge-0", |_| {})]), now());
    assert_eq!(unknown.addresses, ["203.0.113.7"]);
    assert_eq!(unknown.volume_size, Some(Size("1Gi".into())));
    known.addresses = Some(Vec::new());
    assert!(status(&listener, &known, now()).addresses.is_empty());
}

#[test]
fn a_pod_that_is_fenced_off_is_named_and_not_waited_for() {
    let silent = Seen {
        ready: false,
        state: Err("it is fenced off".into()),
        ..pod("edge-1", |_| {})
    };
    let mut found = found(vec![pod("edge-0", |_| {}), silent]);
    let waits = status(&listener(2), &found, now());
    assert_eq!(status_of(&waits.conditions, RECONCILING), Some(true));
    found.fenced = vec!["edge-1".into()];
    let fenced = status(&listener(2), &found, now());
    let told = |kind| status_of(&fenced.conditions, kind);
    assert_eq!((told(READY), told(RECONCILING)), (Some(true), Some(false)));
    let ready = fenced
        .conditions
        .iter()
        .find(|known| known.type_ == READY)
        .unwrap();
    assert!(ready.message.ends_with("fenced: edge-1"), "{}", ready.message);
}

#[test]
fn a_configuration_with_little_room_left_is_applied_and_says_so() {
    let mut found = found(vec![pod("edge-0", |_| {})]);
    found.nearly_full = Some("domains-07.yaml has 800 of 900 KiB".into());
    let status = status(&listener(1), &found, now());
    assert_eq!(status_of(&status.conditions, CONFIG_APPLIED), Some(true));
    assert_eq!(reason_of(&status, CONFIG_APPLIED), reason::CONFIG_NEARLY_FULL);
}

#[test]
fn a_rollout_is_work_under_way_until_it_stops() {
    let rollout = |stopped| RolloutStatus {
        revision: "r2".into(),
        updated: 1,
        total: 2,
        pod: "edge-0".into(),
        since: "2026-01-01T00:00:00Z".into(),
        message: "ImagePullBackOff".into(),
        stopped,
    };
    let mut found = found(vec![pod("edge-0", |_| {}), pod("edge-1", |_| {})]);
    found.rollout = Rollout::UnderWay(rollout(false));
    let moves = status(&listener(2), &found, now());
    let told = |status: &SmtpListenerStatus, kind| status_of(&status.conditions, kind);
    assert_eq!(
        (told(&moves, ROLLED_OUT), told(&moves, RECONCILING)),
        (Some(false), Some(true))
    );
    assert_eq!(
        (told(&moves, STALLED), moves.rollout),
        (Some(false), Some(rollout(false)))
    );
    found.rollout = Rollout::UnderWay(rollout(true));
    let stops = status(&listener(2), &found, now());
    assert_eq!(
        (told(&stops, RECONCILING), told(&stops, STALLED)),
        (Some(false), Some(true))
    );
    assert_eq!(told(&stops, READY), Some(true), "the others serve");
    for kind in [ROLLED_OUT, STALLED] {
        assert_eq!(reason_of(&stops, kind), reason::ROLLOUT_STOPPED);
    }
    // The template has just changed, and the StatefulSet's controller has not looked at it.
    let mut later = listener(2);
    later.status = Some(stops);
    found.rollout = Rollout::Unseen;
    let unseen = status(&later, &found, now());
    assert_eq!(
        (told(&unseen, ROLLED_OUT), told(&unseen, RECONCILING)),
        (None, Some(true))
    );
    assert_eq!(unseen.rollout, Some(rollout(true)));
}

#[test]
fn a_listener_that_wants_no_pod_is_ready_and_moves_no_more() {
    let mut leaves = found(vec![pod("edge-0", |_| {})]);
    leaves.pods[0].stays = false;
    let ending = status(&listener(0), &leaves, now());
    assert_eq!(status_of(&ending.conditions, RECONCILING), Some(true));
    let none = status(&listener(0), &found(vec![]), now());
    assert_eq!(status_of(&none.conditions, RECONCILING), Some(false));
    assert_eq!(status_of(&none.conditions, READY), Some(true));
    assert_eq!(reason_of(&none, READY), reason::SCALED_TO_ZERO);
    let missing = status(&listener(1), &found(vec![]), now());
    assert_eq!(status_of(&missing.conditions, RECONCILING), Some(true));
}

#[test]
fn a_hibernating_listener_is_not_ready_and_tells_what_it_keeps() {
    let mut listener = listener(2);
    let holds = |state: &mut State| state.queue.messages = 6;
    let both = vec![pod("edge-0", holds), pod("edge-1", holds)];
    listener.status = Some(status(&listener, &found(both), now()));
    let mut sleeps = found(vec![pod("edge-0", holds)]);
    sleeps.hibernates = true;
    sleeps.holding = vec!["edge-0".into(), "edge-1".into()];
    let ending = status(&listener, &sleeps, now());
    assert_eq!(status_of(&ending.conditions, RECONCILING), Some(true));
    sleeps.pods.clear();
    sleeps.replicas = 0;
    let asleep = status(&listener, &sleeps, now());
    assert_eq!(status_of(&asleep.conditions, RECONCILING), Some(false));
    assert_eq!(status_of(&asleep.conditions, READY), Some(false));
    for kind in [READY, QUEUE_HEALTHY] {
        assert_eq!(reason_of(&asleep, kind), reason::HIBERNATED);
    }
    let ready = asleep
        .conditions
        .iter()
        .find(|known| known.type_ == READY)
        .unwrap();
    assert!(ready.message.contains("12 messages"), "{}", ready.message);
    assert_eq!(asleep.queue.unwrap().messages, 12);
}

#[test]
fn what_a_silent_pod_had_is_remembered_while_its_claim_may_hold_it() {
    let mut listener = listener(2);
    let holds = |messages| move |state: &mut State| state.queue.messages = messages;
    let both = vec![pod("edge-0", holds(1)), pod("edge-1", holds(30))];
    listener.status = Some(status(&listener, &found(both), now()));
    let mut silent = pod("edge-1", |_| {});
    silent.state = Err("no answer".into());
    silent.ready = false;
    let mut half = found(vec![pod("edge-0", holds(2)), silent]);
    half.holding = vec!["edge-1".into()];
    half.unattached = vec![Unattached {
        pod: "edge-1".into(),
        claim: "queue-edge-1".into(),
        node: Some("node2".into()),
        why: "its node does not report any more".into(),
    }];
    let later = Timestamp::from_second(now().as_second() + 100).unwrap();
    let next = status(&listener, &half, later);
    let kept = [("edge-0", 2), ("edge-1", 30)].map(|(pod, messages)| PodQueue {
        pod: pod.into(),
        messages,
    });
    let queue = next.queue.clone().unwrap();
    assert_eq!((queue.messages, queue.pods.as_slice()), (32, kept.as_slice()));
    assert_eq!(reason_of(&next, QUEUE_HEALTHY), reason::VOLUME_UNAVAILABLE);
    let told = next.conditions.iter().find(|known| known.type_ == QUEUE_HEALTHY);
    let message = &told.unwrap().message;
    for part in ["queue-edge-1", "node2", "30 messages", "does not report"] {
        assert!(message.contains(part), "{message}");
    }
    // Drained, or lost: nothing of it is counted any more.
    half.holding.clear();
    let drained = status(&listener, &half, later);
    assert_eq!(drained.queue.unwrap().messages, 2);
}
