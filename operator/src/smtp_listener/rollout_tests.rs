//! Fleets in every state, and a rollout played to its end with pods that fall and a template that does not work.

use postroad_config::admin::{ConfigState, QueueState, SpoolFormatState};
use proptest::prelude::*;

use super::*;

fn names() -> Names {
    Names {
        namespace: "mail".into(),
        listener: "edge".into(),
    }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_000 + second).unwrap()
}

fn pod(ordinal: i32, newest: bool, well: bool) -> Pod {
    let health = if well {
        Health::Well
    } else {
        Health::Ill("it is not ready".into())
    };
    Pod {
        ordinal,
        newest,
        ending: false,
        health,
    }
}

fn fleet(wanted: i32, pods: Vec<Pod>) -> Fleet<'static> {
    Fleet {
        revision: "new",
        wanted,
        pods,
    }
}

fn decide(
    fleet: &Fleet<'_>,
    before: Option<&RolloutStatus>,
    second: i64,
) -> (Option<RolloutStatus>, Option<i32>) {
    let decision = fleet.decide(before, Duration::from_mins(10), &names(), at(second));
    match decision.rollout {
        Rollout::UnderWay(rollout) => (Some(rollout), decision.delete),
        Rollout::Complete => (None, decision.delete),
        Rollout::Unseen => unreachable!("it was seen"),
    }
}

const OLD: bool = false;
const NEW: bool = true;

#[test]
fn a_fleet_of_the_newest_template_is_left_alone_however_it_does() {
    for well in [true, false] {
        let fleet = fleet(2, vec![pod(0, NEW, well), pod(1, NEW, true)]);
        assert_eq!(decide(&fleet, None, 0), (None, None));
    }
}

#[test]
fn a_pod_is_named_first_and_deleted_then() {
    let fleet = fleet(2, vec![pod(0, OLD, true), pod(1, OLD, true)]);
    let (named, deleted) = decide(&fleet, None, 0);
    let named = named.unwrap();
    assert_eq!(
        (named.pod.as_str(), named.updated, named.total, deleted),
        ("edge-1", 0, 2, None)
    );
    assert_eq!(decide(&fleet, Some(&named), 1).1, Some(1));
    let other = RolloutStatus {
        revision: "other".into(),
        ..named
    };
    assert_eq!(
        decide(&fleet, Some(&other), 1).1,
        None,
        "named for another template"
    );
}

#[test]
fn the_next_one_goes_only_when_all_others_do_well() {
    // Pods, and the pod that is named.
    let ending = Pod {
        ending: true,
        ..pod(2, OLD, false)
    };
    let rows: Vec<(Vec<Pod>, &str)> = vec![
        (vec![pod(0, OLD, true), pod(1, OLD, true), ending], "edge-2"),
        (vec![pod(0, OLD, true), pod(1, OLD, true)], "edge-2"),
        (
            vec![pod(0, OLD, true), pod(1, OLD, true), pod(2, NEW, false)],
            "edge-2",
        ),
        (
            vec![pod(0, OLD, true), pod(1, OLD, true), pod(2, NEW, true)],
            "edge-1",
        ),
        // One that is ill already goes first, but not beside another that is.
        (
            vec![pod(0, OLD, false), pod(1, OLD, true), pod(2, OLD, true)],
            "edge-0",
        ),
        (
            vec![pod(0, OLD, false), pod(1, OLD, true), pod(2, NEW, false)],
            "edge-2",
        ),
        (
            vec![pod(0, OLD, true), pod(1, NEW, false), pod(2, NEW, true)],
            "edge-1",
        ),
        // Leaving ones come last.
        (
            vec![
                pod(0, OLD, true),
                pod(1, NEW, true),
                pod(2, NEW, true),
                pod(3, OLD, true),
            ],
            "edge-0",
        ),
        (
            vec![
                pod(0, NEW, true),
                pod(1, NEW, true),
                pod(2, NEW, true),
                pod(3, OLD, false),
            ],
            "edge-3",
        ),
    ];
    for (pods, name) in rows {
        let fleet = fleet(3, pods);
        let (named, deleted) = decide(&fleet, None, 0);
        assert_eq!((named.unwrap().pod.as_str(), deleted), (name, None), "{fleet:?}");
    }
}

#[test]
fn it_stops_at_the_deadline_says_so_and_goes_on_when_the_pod_does_well() {
    let ill = fleet(2, vec![pod(0, OLD, true), pod(1, NEW, false)]);
    let (first, _) = decide(&ill, None, 0);
    let (before, deleted) = decide(&ill, first.as_ref(), 599);
    assert_eq!((before.as_ref().unwrap().stopped, deleted), (false, None));
    let (stopped, deleted) = decide(&ill, before.as_ref(), 600);
    let stopped = stopped.unwrap();
    assert_eq!((stopped.stopped, deleted), (true, None));
    assert_eq!(stopped.since, first.unwrap().since);
    assert!(sentence(&stopped).contains("edge-1") && sentence(&stopped).contains("it is not ready"));
    assert_eq!(decide(&ill, Some(&stopped), 9_000).1, None, "it stays stopped");
    let well = fleet(2, vec![pod(0, OLD, true), pod(1, NEW, true)]);
    let (next, _) = decide(&well, Some(&stopped), 9_001);
    assert_eq!(
        (
            next.as_ref().unwrap().pod.as_str(),
            next.as_ref().unwrap().stopped
        ),
        ("edge-0", false)
    );
    assert_eq!(
        news(Some(&stopped), next.as_ref()).unwrap().reason,
        "RolloutResumed"
    );
}

#[test]
fn a_better_template_replaces_the_pod_that_the_worse_one_broke_first() {
    let stopped = RolloutStatus {
        revision: "bad".into(),
        pod: "edge-1".into(),
        since: at(0).to_string(),
        stopped: true,
        ..RolloutStatus::default()
    };
    let fleet = fleet(3, vec![pod(0, NEW, true), pod(1, OLD, false), pod(2, NEW, true)]);
    let (named, deleted) = decide(&fleet, Some(&stopped), 9_000);
    let named = named.unwrap();
    assert_eq!(
        (named.pod.as_str(), named.stopped, deleted),
        ("edge-1", false, None)
    );
    assert_eq!(decide(&fleet, Some(&named), 9_001).1, Some(1));
}

#[test]
fn the_last_pod_counts_as_well() {
    let starting = fleet(1, vec![pod(0, NEW, false)]);
    let before = RolloutStatus {
        revision: "new".into(),
        pod: "edge-0".into(),
        since: at(0).to_string(),
        ..RolloutStatus::default()
    };
    let (still, _) = decide(&starting, Some(&before), 10);
    assert!(still.is_some(), "it is not over while the last pod starts");
    assert!(decide(&starting, still.as_ref(), 600).0.unwrap().stopped);
    let done = fleet(1, vec![pod(0, NEW, true)]);
    assert_eq!(decide(&done, still.as_ref(), 11), (None, None));
    assert_eq!(news(still.as_ref(), None).unwrap().reason, "RolloutCompleted");
}

#[test]
fn a_step_is_told_once() {
    let under_way = RolloutStatus {
        revision: "new".into(),
        pod: "edge-1".into(),
        total: 2,
        ..RolloutStatus::default()
    };
    let stopped = RolloutStatus {
        stopped: true,
        ..under_way.clone()
    };
    let reason = |before: Option<&RolloutStatus>, next: Option<&RolloutStatus>| {
        news(before, next).map_or("", |news| news.reason)
    };
    assert_eq!(reason(None, None), "");
    assert_eq!(reason(None, Some(&under_way)), "RolloutStarted");
    assert_eq!(reason(Some(&under_way), Some(&under_way)), "");
    assert_eq!(reason(Some(&under_way), Some(&stopped)), ROLLOUT_STOPPED);
    assert_eq!(reason(Some(&stopped), Some(&stopped)), "");
    assert_eq!(reason(Some(&stopped), None), "RolloutCompleted");
}

fn state() -> State {
    State {
        boot_id: "b".into(),
        version: "1".into(),
        spool: "s".into(),
        spool_format: SpoolFormatState::default(),
        config: ConfigState::default(),
        certificate: None,
        queue: QueueState::default(),
        seal: None,
        accepting: true,
        not_accepting: String::new(),
        lost: Vec::new(),
        routes: Vec::new(),
    }
}

#[test]
fn a_new_pod_does_well_when_it_is_ready_asked_and_without_trouble() {
    let (good, mut refuses, mut broken, mut closed) = (state(), state(), state(), state());
    refuses.config.error = Some("ports".into());
    broken.queue.error = Some("EIO".into());
    closed.accepting = false;
    closed.not_accepting = "sealed".into();
    let look = |newest, ready: Option<i64>, state| Look {
        stays: true,
        newest,
        ready_since: ready.map(at),
        waits_for: None,
        state,
    };
    let rows = [
        (look(NEW, Some(0), Ok(&good)), None),
        (look(NEW, Some(6), Ok(&good)), Some("less than 5 s")),
        (look(NEW, Some(0), Err("no answer")), Some("no answer")),
        (look(NEW, Some(0), Ok(&refuses)), Some("ports")),
        (look(NEW, Some(0), Ok(&broken)), Some("EIO")),
        (look(NEW, Some(0), Ok(&closed)), Some("sealed")),
        (look(NEW, None, Ok(&closed)), Some("sealed")),
        (look(NEW, None, Err("refused")), Some("not ready")),
        // An old one is to be ready; what else is wrong with it, a new one may mend.
        (look(OLD, Some(9), Err("no answer")), None),
        (look(OLD, Some(9), Ok(&refuses)), None),
        (look(OLD, None, Ok(&good)), Some("not ready")),
        // A leaving one is to answer.
        (
            Look {
                stays: false,
                ..look(NEW, None, Ok(&closed))
            },
            None,
        ),
        (
            Look {
                stays: false,
                ..look(NEW, None, Err("no answer"))
            },
            Some("no answer"),
        ),
    ];
    for (look, why) in rows {
        match (health(&look, at(10)), why) {
            (Health::Well, None) => {}
            (Health::Ill(said), Some(why)) => assert!(said.contains(why), "{look:?}: {said}"),
            (said, why) => assert_eq!(format!("{said:?}"), format!("{why:?}"), "{look:?}"),
        }
    }
    let image = Look {
        waits_for: Some("ImagePullBackOff".into()),
        ..look(NEW, None, Err("it has no address yet"))
    };
    assert_eq!(health(&image, at(10)), Health::Ill("ImagePullBackOff".into()));
}

#[test]
fn the_deadline_is_ten_minutes_or_what_is_given() {
    let of = |text: &str| {
        deadline(Some(&Settings {
            deadline: Some(postroad_crds::common::Period(text.into())),
        }))
    };
    assert_eq!(deadline(None), Duration::from_mins(10));
    assert_eq!(of("2m"), Duration::from_mins(2));
    assert_eq!(of("1s"), SHORTEST);
    assert_eq!(of("soon"), USUAL);
}

/// Pods of a played rollout: absent, or which template, ending, well.
type Place = Option<(bool, bool, bool)>;

fn play(places: &[Place]) -> Fleet<'static> {
    let pods = places.iter().enumerate().filter_map(|(ordinal, place)| {
        let (newest, ending, well) = (*place)?;
        Some(Pod {
            ending,
            ..pod(i32::try_from(ordinal).unwrap(), newest, well && !ending)
        })
    });
    fleet(i32::try_from(places.len()).unwrap(), pods.collect())
}

proptest! {
    /// What the world does between two looks: nothing, a deleted pod goes, comes back, gets well, a well one falls, the operator is
    /// killed before its last word is written.
    #[test]
    fn one_pod_at_a_time_and_to_the_end(
        size in 1_usize..5,
        works in any::<bool>(),
        acts in prop::collection::vec((0_u8..6, 0_usize..5), 0..120),
    ) {
        let mut places: Vec<Place> = vec![Some((OLD, false, true)); size];
        let mut status: Option<RolloutStatus> = None;
        let mut deleted_well = 0;
        let calm = std::iter::repeat_n([(1, 0), (2, 0), (3, 0)], 60 * size).flatten();
        let acts: Vec<_> = acts.into_iter().map(|(act, at)| (act, at % size)).collect();
        let before_calm = acts.len();
        let all = acts.into_iter().chain(calm.enumerate().map(|(n, (act, _))| (act, (n / 3) % size)));
        for (second, (act, at)) in all.enumerate() {
            let place = &mut places[at];
            match (act, *place) {
                (1, Some((_, true, _))) => *place = None,
                (2, None) => *place = Some((NEW, false, false)),
                (3, Some((newest, false, false))) => *place = Some((newest, false, works || !newest)),
                (4, Some((newest, false, true))) if second < before_calm => *place = Some((newest, false, false)),
                _ => {}
            }
            let fleet = play(&places);
            let (next, delete) = decide(&fleet, status.as_ref(), i64::try_from(second).unwrap());
            if let Some(ordinal) = delete {
                let ordinal = usize::try_from(ordinal).unwrap();
                let (newest, ending, well) = places[ordinal].unwrap();
                prop_assert!(!newest && !ending, "{fleet:?}");
                let others = |place: &(usize, &Place)| place.0 != ordinal;
                for (_, other) in places.iter().enumerate().filter(others) {
                    // Nobody ends or is missing, and no new pod is ill; a well pod goes only beside well ones.
                    let (newest, ending, fine) = other.unwrap();
                    prop_assert!(!ending && (fine || !newest), "{fleet:?}");
                    prop_assert!(fine || !well, "{fleet:?}");
                }
                deleted_well += usize::from(well);
                places[ordinal] = Some((newest, true, well));
            }
            // Killed before the word was written.
            if !(act == 5 && second < before_calm) {
                status = next;
            }
        }
        if works {
            prop_assert!(places.iter().all(|place| *place == Some((NEW, false, true))), "{places:?}");
            prop_assert_eq!(status, None);
        } else {
            prop_assert!(deleted_well <= 1, "a template that does not work costs one pod that did well");
        }
    }
}
