use postroad_spool::{Envelope, Recipient, RecipientState};

use super::*;

fn share(tenant: u32, kind: Kind) -> Share {
    Share { tenant, kind }
}

fn places<T: PartialEq>(fair: &mut Fair<T>, wanted: &T) -> usize {
    let mut place = 0;
    while let Some((_, job)) = fair.pop(|_| 1) {
        if job == *wanted {
            return place;
        }
        place += 1;
    }
    panic!("it never came");
}

#[test]
fn a_hundred_thousand_messages_of_one_delay_another_by_one_turn() {
    let mut fair = Fair::default();
    for _ in 0..100_000 {
        fair.push(share(1, Kind::Passing), "flood");
    }
    for _ in 0..50 {
        fair.pop(|_| 1);
    }
    fair.push(share(2, Kind::Passing), "single");
    assert!(places(&mut fair, &"single") <= 2 * QUANTUM as usize);
}

#[test]
fn small_jobs_overtake_list_mail_and_list_mail_is_not_forgotten() {
    let mut fair = Fair::default();
    for _ in 0..1_000 {
        fair.push(share(1, Kind::Bulk), "list");
        fair.push(share(2, Kind::Bulk), "small");
    }
    let first: Vec<_> = (0..200)
        .filter_map(|_| fair.pop(|job| if *job == "list" { 500 } else { 1 }))
        .collect();
    let lists = first.iter().filter(|(_, job)| *job == "list").count();
    assert!((2..=4).contains(&lists), "{lists} of 200: each costs {DEAREST}");
}

#[test]
fn kinds_get_their_weights_and_none_starves() {
    let kinds = [Kind::Submitted, Kind::Passing, Kind::Bulk, Kind::Again];
    let mut fair = Fair::default();
    for kind in kinds {
        for _ in 0..1_000 {
            fair.push(share(1, kind), kind);
        }
    }
    let first: Vec<_> = (0..150).filter_map(|_| fair.pop(|_| 1)).collect();
    for (kind, want) in kinds.into_iter().zip([80, 40, 20, 10]) {
        assert_eq!(
            first.iter().filter(|(_, of)| *of == kind).count(),
            want,
            "{kind:?}"
        );
    }
}

#[test]
fn one_tenant_keeps_its_order_and_everything_comes_once() {
    let mut fair = Fair::default();
    let mut random = 7_u64;
    for number in 0..10_000_u64 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let tenant = u32::try_from(random >> 60).unwrap();
        let cost = usize::try_from(random >> 32 & 0x7f).unwrap();
        fair.push(share(tenant, Kind::Passing), (tenant, number, cost));
    }
    let taken = fair.take_if(|(_, number, _)| number % 3 == 0);
    assert_eq!((taken.len(), fair.len()), (3_334, 6_666));
    let mut last: HashMap<u32, u64> = HashMap::new();
    let mut count = 0;
    while let Some((share, (tenant, number, _))) = fair.pop(|(.., cost)| *cost) {
        assert_eq!(share.tenant, tenant);
        assert!(last.insert(tenant, number).is_none_or(|before| before < number));
        count += 1;
    }
    assert_eq!(count, 6_666);
    assert!(fair.is_empty() && fair.lanes.is_empty());
}

#[test]
fn the_share_follows_who_sends_to_how_many_and_how_often() {
    let keys = RandomState::new();
    let of = |identity: Option<&str>, sender: &str, recipients: usize, attempts: u32| {
        let item = Item {
            envelope: Envelope {
                reverse_path: sender.into(),
                identity: identity.map(Into::into),
                recipients: vec![Recipient::default(); recipients],
                ..Envelope::default()
            },
            recipients: vec![
                RecipientState {
                    attempts,
                    ..RecipientState::default()
                };
                recipients
            ],
            prefix: vec![],
        };
        Share::of(&item, &keys)
    };
    assert_eq!(of(None, "a@x.example", 1, 0), of(None, "b@X.example", 2, 0));
    assert_eq!(of(None, "a@x.example", 1, 0).kind, Kind::Passing);
    assert_eq!(of(Some("u"), "a@x.example", 1, 0).kind, Kind::Submitted);
    assert_eq!(of(Some("u"), "a@x.example", 11, 0).kind, Kind::Bulk);
    assert_eq!(of(Some("u"), "a@x.example", 1, 1).kind, Kind::Again);
    assert_ne!(
        of(None, "a@x.example", 1, 0).tenant,
        of(None, "a@y.example", 1, 0).tenant
    );
}

#[test]
fn it_is_known_whose_jobs_wait() {
    let mut fair = Fair::one_by_one();
    assert_eq!(fair.shares(2).count(), 0);
    for tenant in [1, 2, 3, 1] {
        fair.push(share(tenant, Kind::Passing), tenant);
    }
    fair.push(share(9, Kind::Again), 9);
    let shares: Vec<Share> = fair.shares(2).collect();
    assert_eq!(
        shares,
        [
            share(1, Kind::Passing),
            share(2, Kind::Passing),
            share(9, Kind::Again)
        ]
    );
    fair.take_if(|tenant| *tenant == 9);
    let order: Vec<u32> = std::iter::from_fn(|| fair.pop(|_| 1))
        .map(|(_, tenant)| tenant)
        .collect();
    assert_eq!(order, [1, 2, 3, 1]);
}
