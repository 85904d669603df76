use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// What the wheel is held against: everything in order.
#[derive(Default)]
struct Model {
    due: BTreeMap<u32, u64>,
}

#[derive(Clone, Debug)]
enum Step {
    Set(u64),
    End(usize),
    Move(usize, u64),
    /// The clock goes on, or is set back.
    Clock(i64),
}

fn far() -> impl Strategy<Value = u64> {
    prop_oneof![
        0_u64..200,
        0_u64..100_000,
        0_u64..1 << 34,
        (0_u32..64).prop_map(|bit| 1 << bit),
        Just(u64::MAX),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => far().prop_map(Step::Set),
        1 => any::<usize>().prop_map(Step::End),
        1 => (any::<usize>(), far()).prop_map(|(which, at)| Step::Move(which, at)),
        3 => (0_i64..3_000).prop_map(Step::Clock),
        1 => (0_i64..1 << 36).prop_map(Step::Clock),
        1 => (-100_000_i64..0).prop_map(Step::Clock),
    ]
}

proptest! {
    #[test]
    fn each_timer_is_due_once_never_early_and_at_most_a_tick_late(
        start in prop_oneof![0_u64..10, Just(1_764_000_000_000), 0..u64::MAX / 2],
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let (mut wheel, mut model) = (Wheel::new(start), Model::default());
        let mut timers: BTreeMap<u32, Timer> = BTreeMap::new();
        let (mut now, mut keys) = (start, 0);
        for step in steps {
            let which = |which: usize| timers.keys().nth(which % timers.len().max(1)).copied();
            match step {
                Step::Set(after) => {
                    keys += 1;
                    let at = now.saturating_add(after);
                    timers.insert(keys, wheel.set(keys, at));
                    model.due.insert(keys, at);
                }
                Step::End(of) => {
                    if let Some(key) = which(of) {
                        wheel.end(timers.remove(&key).unwrap());
                        model.due.remove(&key);
                    }
                }
                Step::Move(of, after) => {
                    if let Some(key) = which(of) {
                        wheel.end(timers.remove(&key).unwrap());
                        let at = now.saturating_add(after);
                        timers.insert(key, wheel.set(key, at));
                        model.due.insert(key, at);
                    }
                }
                Step::Clock(by) => now = now.saturating_add_signed(by),
            }
            while let Some(key) = wheel.pop(now) {
                let at = model.due.remove(&key);
                prop_assert!(at.is_some_and(|at| at <= now), "{at:?} at {now}");
                timers.remove(&key);
            }
            let overdue = model.due.values().find(|at| at.saturating_add(TICK) <= now);
            prop_assert_eq!(overdue, None);
            prop_assert_eq!(wheel.len(), model.due.len());
            let earliest = model.due.values().min();
            if let Some(next) = wheel.next_at() {
                prop_assert!(next > now, "it would spin");
                prop_assert!(earliest.is_some_and(|at| next <= at.saturating_add(TICK)));
            } else {
                prop_assert_eq!(earliest, None);
            }
        }
    }
}

#[test]
fn a_million_timers_come_in_order_and_leave_no_memory() {
    const HOURS: u64 = 40 * 3_600_000;
    let mut wheel = Wheel::new(0);
    let (mut random, mut ended) = (1_u64, 0);
    for key in 0..1_000_000_u64 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let timer = wheel.set(key, random % HOURS);
        if key % 10 == 0 {
            wheel.end(timer);
            ended += 1;
        }
    }
    assert_eq!(wheel.len(), 1_000_000 - ended);
    let (mut count, mut wakes) = (0, 0);
    while let Some(now) = wheel.next_at() {
        wakes += 1;
        while wheel.pop(now).is_some() {
            count += 1;
        }
    }
    assert_eq!((count, wheel.len()), (1_000_000 - ended, 0));
    // Whole ticks: a wake for each of them at most, and one for each level that the last one came down.
    assert!(wakes <= HOURS / TICK + 2 * NEAR, "{wakes}");
}

#[test]
fn what_is_near_is_due_to_the_millisecond_and_wakes_are_few() {
    let mut wheel = Wheel::new(1_000_003);
    for (key, after) in [(1, 70), (2, 5_000), (3, 0)] {
        wheel.set(key, 1_000_003 + after);
    }
    assert_eq!(wheel.pop(1_000_003), Some(3));
    assert_eq!(wheel.next_at(), Some(1_000_073));
    assert_eq!(wheel.pop(1_000_072), None);
    assert_eq!(wheel.pop(1_000_073), Some(1));
    assert_eq!(wheel.next_at(), Some(1_005_003));
    assert_eq!(wheel.pop(1_005_003), Some(2));
    assert_eq!(wheel.next_at(), None);
}

#[test]
fn those_of_one_moment_keep_their_order() {
    let mut wheel = Wheel::new(0);
    for key in 0..10 {
        wheel.set(key, 100_000);
    }
    let order: Vec<u32> = std::iter::from_fn(|| wheel.pop(200_000)).collect();
    assert_eq!(order, (0..10).collect::<Vec<u32>>());
}
