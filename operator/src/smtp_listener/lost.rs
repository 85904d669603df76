//! Volumes that a person declares lost with the annotation `postroad.dev/volume-lost` of the listener. Pure.
//!
//! ```text
//!   annotation ─► claim, while its pod is gone or down ─► claim marked `postroad.dev/lost: <spool>` ─┐
//!              └► UUID of a spool whose claim is gone, that no pod says it has ──► status.lost ──────┴─► peers.lost ─► pods
//! ```
//!
//! The mark outlives the annotation: a marked claim brings no pod back. A pod that answers takes its mark off. A word that
//! names the claim of a pod that answers is refused and noted on the claim: the pod's next restart must not make it true.

use postroad_config::admin::LostSpool;
use postroad_crds::smtp_listener::LostVolume;
use serde_json::{Value, json};

use super::names::{LOST, Names, REFUSED, SPOOL};
use super::scale::{Claim, DOWN_AFTER, Fleet};

/// What the annotation asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Declared {
    /// Claims to be marked: ordinal and spool.
    pub mark: Vec<(i32, String)>,
    /// UUIDs of spools that have no claim and no pod.
    pub direct: Vec<String>,
    /// What cannot be done, each a sentence.
    pub wrong: Vec<String>,
}

/// Reads the annotation: claims by name, ordinal or UUID of their spool; other UUIDs are of spools whose claim is gone.
pub fn declared(annotation: Option<&str>, names: &Names, fleet: &Fleet) -> Declared {
    let mut declared = Declared::default();
    for item in items(annotation) {
        match claim(item, names, &fleet.claims) {
            Some(claim) => match mark(item, claim, names, fleet) {
                Ok(Some(spool)) => declared.mark.push((claim.ordinal, spool)),
                Ok(None) => {}
                Err(wrong) => declared.wrong.push(wrong),
            },
            None if is_uuid(item) => match of_a_pod(item, names, fleet) {
                Some(wrong) => declared.wrong.push(wrong),
                None => declared.direct.push(item.to_owned()),
            },
            None => declared.wrong.push(format!(
                "there is no claim `{item}`; give a claim's name, an ordinal, or the UUID of a spool"
            )),
        }
    }
    declared
}

/// Why a spool without a claim is not lost: it is, or may be, that of a pod whose claim does not say so yet.
fn of_a_pod(spool: &str, names: &Names, fleet: &Fleet) -> Option<String> {
    let mut said = fleet.pods.iter().filter_map(|pod| pod.said.as_ref());
    if said.any(|said| said.spool == spool) {
        return Some(format!("a pod answers with the spool {spool}: it is not lost"));
    }
    let untold = |ordinal| {
        let mut claims = fleet.claims.iter();
        claims.any(|claim| claim.ordinal == ordinal && claim.bound && claim.spool.is_none())
    };
    let mut pods = fleet.pods.iter();
    let pod = pods.find(|pod| pod.ready && pod.said.is_none() && untold(pod.ordinal))?;
    let name = names.pod(pod.ordinal);
    Some(format!(
        "which spool {name} has is not known yet, and it serves: {spool} may be its"
    ))
}

/// The same while no pod can be asked: nothing is marked, and what was taken `before` without a claim stays so.
pub fn undecided(annotation: Option<&str>, mut before: Vec<String>) -> Declared {
    before.retain(|spool| items(annotation).any(|item| item == spool));
    let any = items(annotation).next();
    let wrong =
        any.map(|_| "the pods cannot be asked at present: no claim is marked lost meanwhile".to_owned());
    Declared {
        mark: Vec::new(),
        direct: before,
        wrong: wrong.into_iter().collect(),
    }
}

/// Notes that claims are to have: the words that name them while their pods answer, until the annotation has them no more.
pub fn refusals(annotation: Option<&str>, names: &Names, fleet: &Fleet) -> Vec<(i32, Value)> {
    let one = |known: &Claim| {
        let words = items(annotation).filter(|item| {
            let this = claim(item, names, &fleet.claims).is_some_and(|claim| claim.ordinal == known.ordinal);
            this && (answers(known, fleet) || is_refused(item, known))
        });
        let refused = words.collect::<Vec<_>>().join(",");
        let refused = Some(refused).filter(|refused| !refused.is_empty());
        (refused != known.refused).then(|| (known.ordinal, json!({REFUSED: refused})))
    };
    fleet.claims.iter().filter_map(one).collect()
}

fn answers(claim: &Claim, fleet: &Fleet) -> bool {
    let mut pods = fleet.pods.iter();
    pods.any(|pod| pod.ordinal == claim.ordinal && pod.said.is_some())
}

fn is_refused(item: &str, claim: &Claim) -> bool {
    items(claim.refused.as_deref()).any(|refused| refused == item)
}

/// The mark that a claim is to get, which `item` names.
fn mark(item: &str, claim: &Claim, names: &Names, fleet: &Fleet) -> Result<Option<String>, String> {
    let (name, pod) = (names.claim(claim.ordinal), names.pod(claim.ordinal));
    if answers(claim, fleet) {
        return Err(format!("{pod} answers: the volume of {name} is not lost"));
    }
    if is_refused(item, claim) {
        return Err(format!(
            "{pod} answered when `{item}` was declared lost, so that was refused; if {name} is lost now, take the \
             annotation off and set it again"
        ));
    }
    if !claim.bound {
        return Err(format!("{name} has no volume that could be lost"));
    }
    let spool = claim.spool.clone().ok_or_else(|| {
        format!("which spool {name} has is not known; give its UUID, which the logs of the other pods tell")
    })?;
    if claim.lost.as_ref() == Some(&spool) {
        return Ok(None);
    }
    let mut pods = fleet.pods.iter();
    if pods.any(|pod| pod.ordinal == claim.ordinal && !pod.down) {
        let minutes = DOWN_AFTER.as_secs() / 60;
        return Err(format!(
            "{pod} may be restarting: {name} is marked lost when that has not been ready for {minutes} minutes"
        ));
    }
    Ok(Some(spool))
}

/// Spools without a claim that the last look at the pods took as lost, by the status. Pods are asked after their
/// configuration is written: without this it could name a spool whose pod is there and whose claim does not say so yet.
pub fn looked_at(claims: &[Claim], status: &[LostVolume]) -> Vec<String> {
    let spools = status.iter().map(|volume| &volume.spool);
    let has_claim = |spool: &&String| claims.iter().any(|claim| claim.spool.as_ref() == Some(*spool));
    spools.filter(|spool| !has_claim(spool)).cloned().collect()
}

/// UUIDs for `peers.lost`: of marked claims, `direct` ones, and those that were there `before`. A spool whose claim is
/// there without a mark is not lost.
pub fn spools(direct: Vec<String>, claims: &[Claim], before: Vec<String>) -> Vec<String> {
    const MOST: usize = 200;
    let mut spools = before;
    spools.retain(|spool| {
        let of = claims.iter().find(|claim| claim.spool.as_ref() == Some(spool));
        of.is_none_or(|claim| claim.lost.is_some())
    });
    let marked = claims.iter().filter_map(|claim| claim.lost.clone());
    for spool in marked.chain(direct) {
        if !spools.contains(&spool) {
            spools.push(spool);
        }
    }
    spools.drain(..spools.len().saturating_sub(MOST));
    spools
}

/// Annotations that claims are to have: the spool that their pod says it has. Whoever answers is not lost.
pub fn labels(fleet: &Fleet) -> Vec<(i32, Value)> {
    let said = fleet
        .pods
        .iter()
        .filter_map(|pod| Some((pod.ordinal, pod.said.as_ref()?)));
    let of = |ordinal| fleet.claims.iter().find(move |claim| claim.ordinal == ordinal);
    said.filter_map(|(ordinal, said)| {
        let claim = of(ordinal)?;
        let right = claim.spool.as_ref() == Some(&said.spool) && claim.lost.is_none();
        (!right).then(|| (ordinal, json!({SPOOL: said.spool, LOST: null})))
    })
    .collect()
}

/// What came of it, summed over the pods; a pod that was restarted counts anew, so no figure is ever lowered.
pub fn volumes(spools: &[String], said: &[&LostSpool], before: &[LostVolume]) -> Vec<LostVolume> {
    let figure = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    let one = |spool: &String| {
        let mut volume = LostVolume {
            spool: spool.clone(),
            ..LostVolume::default()
        };
        for said in said.iter().filter(|said| said.spool == *spool) {
            volume.released = volume.released.saturating_add(figure(said.released));
            volume.taken_back = volume.taken_back.saturating_add(figure(said.taken_back));
            volume.perhaps_twice = volume.perhaps_twice.saturating_add(figure(said.perhaps_twice));
        }
        if let Some(known) = before.iter().find(|known| known.spool == *spool) {
            volume.released = volume.released.max(known.released);
            volume.taken_back = volume.taken_back.max(known.taken_back);
            volume.perhaps_twice = volume.perhaps_twice.max(known.perhaps_twice);
        }
        volume
    };
    spools.iter().map(one).collect()
}

fn items(annotation: Option<&str>) -> impl Iterator<Item = &str> {
    let items = annotation.unwrap_or_default();
    items
        .split(|sign: char| sign == ',' || sign.is_whitespace())
        .filter(|item| !item.is_empty())
        .take(MOST_ITEMS)
}

/// Words of an annotation that are read: more than there are volumes, and few enough to be compared with each.
const MOST_ITEMS: usize = 200;

fn claim<'a>(item: &str, names: &Names, claims: &'a [Claim]) -> Option<&'a Claim> {
    claims.iter().find(|claim| {
        names.claim(claim.ordinal) == item
            || claim.ordinal.to_string() == item
            || claim.spool.as_deref() == Some(item)
    })
}

/// In the form that pods say it: lower case, with hyphens.
fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.char_indices().all(|(at, sign)| match at {
            8 | 13 | 18 | 23 => sign == '-',
            _ => matches!(sign, '0'..='9' | 'a'..='f'),
        })
}

#[cfg(test)]
mod tests {
    use super::super::scale::{Pod, Said};
    use super::*;

    const A: &str = "01020304-0506-4708-890a-0b0c0d0e0f10";
    const B: &str = "11020304-0506-4708-890a-0b0c0d0e0f10";

    fn names() -> Names {
        Names {
            namespace: "mail".into(),
            listener: "edge".into(),
        }
    }

    fn claim(ordinal: i32, spool: Option<&str>, lost: Option<&str>) -> Claim {
        Claim {
            ordinal,
            bound: true,
            drained: None,
            spool: spool.map(str::to_owned),
            lost: lost.map(str::to_owned),
            refused: None,
        }
    }

    fn pod(ordinal: i32, spool: Option<&str>) -> Pod {
        Pod {
            ordinal,
            ready: spool.is_some(),
            down: spool.is_none(),
            said: spool.map(|spool| Said {
                spool: spool.into(),
                ..Said::default()
            }),
        }
    }

    fn fleet(pods: Vec<Pod>, claims: Vec<Claim>) -> Fleet {
        Fleet {
            wanted: 2,
            live: Some(3),
            pods,
            claims,
            hibernates: false,
        }
    }

    #[test]
    fn a_silent_pods_claim_is_marked_however_it_is_named() {
        let fleet = fleet(vec![pod(2, None)], vec![claim(2, Some(A), None)]);
        for text in ["queue-edge-2", "2", A, " 2 ,"] {
            let expected = Declared {
                mark: vec![(2, A.to_owned())],
                ..Declared::default()
            };
            assert_eq!(declared(Some(text), &names(), &fleet), expected, "{text}");
        }
        assert_eq!(declared(None, &names(), &fleet), Declared::default());
        let marked = Fleet {
            claims: vec![claim(2, Some(A), Some(A))],
            ..fleet
        };
        assert_eq!(
            declared(Some("2"), &names(), &marked),
            Declared::default(),
            "once is enough"
        );
    }

    #[test]
    fn what_is_not_lost_or_not_known_is_refused_with_a_reason() {
        let unbound = Claim {
            bound: false,
            ..claim(4, None, None)
        };
        let claims = vec![claim(1, Some(A), None), claim(3, None, None), unbound];
        let fleet = fleet(vec![pod(1, Some(A)), pod(0, Some(B))], claims);
        for (text, word) in [
            ("1", "edge-1 answers"),
            (A, "edge-1 answers"),
            (B, "a pod answers"),
            ("3", "not known"),
            ("4", "no volume"),
            ("queue-edge-7", "no claim"),
            ("7", "no claim"),
        ] {
            let declared = declared(Some(text), &names(), &fleet);
            assert!(declared.mark.is_empty() && declared.direct.is_empty(), "{text}");
            assert!(
                declared.wrong.len() == 1 && declared.wrong[0].contains(word),
                "{text}: {declared:?}"
            );
        }
    }

    #[test]
    fn a_spool_whose_pod_is_there_is_not_lost_before_its_claim_names_it() {
        // As after an upgrade: no claim says which spool it has.
        let claims = vec![claim(0, None, None), claim(1, None, None)];
        let taken = |pods: Vec<Pod>| declared(Some(A), &names(), &fleet(pods, claims.clone()));
        assert!(taken(vec![pod(0, Some(A)), pod(1, None)]).direct.is_empty());
        let unasked = Pod {
            ready: true,
            ..pod(0, None)
        };
        let waits = taken(vec![unasked, pod(1, Some(B))]);
        assert!(
            waits.direct.is_empty() && waits.wrong[0].contains("edge-0"),
            "{waits:?}"
        );
        // A pod that neither serves nor answers is what a lost volume looks like.
        assert_eq!(taken(vec![pod(0, Some(B)), pod(1, None)]).direct, [A]);

        // The configuration is written before the pods are asked: it names what a look took as lost.
        let of = |spool: &str| LostVolume {
            spool: spool.into(),
            ..LostVolume::default()
        };
        assert_eq!(looked_at(&claims, &[of(B)]), [B]);
        let told = [claim(0, Some(A), None), claim(1, None, None)];
        assert!(looked_at(&told, &[of(A)]).is_empty(), "its pod turned up");
    }

    #[test]
    fn a_pod_that_is_silent_for_seconds_has_not_lost_its_volume() {
        let restarting = Pod {
            down: false,
            ..pod(2, None)
        };
        let restarts = fleet(vec![restarting], vec![claim(2, Some(A), None)]);
        let answer = declared(Some("2"), &names(), &restarts);
        assert!(answer.mark.is_empty(), "{answer:?}");
        assert!(
            answer.wrong.len() == 1 && answer.wrong[0].contains("may be restarting"),
            "{answer:?}"
        );
        let gone = fleet(vec![], vec![claim(2, Some(A), None)]);
        assert_eq!(declared(Some("2"), &names(), &gone).mark, [(2, A.to_owned())]);
    }

    #[test]
    fn what_was_refused_is_not_taken_later_without_being_set_anew() {
        let answering = fleet(vec![pod(2, Some(A))], vec![claim(2, Some(A), None)]);
        assert_eq!(
            refusals(Some("2 7"), &names(), &answering),
            [(2, json!({REFUSED: "2"}))]
        );
        let noted = Claim {
            refused: Some("2".into()),
            ..claim(2, Some(A), None)
        };
        let down = fleet(vec![pod(2, None)], vec![noted]);
        let answer = declared(Some("2"), &names(), &down);
        assert!(answer.mark.is_empty(), "{answer:?}");
        assert!(answer.wrong[0].contains("set it again"), "{answer:?}");
        assert!(refusals(Some("2"), &names(), &down).is_empty(), "the note stays");
        // Taken off, and set again.
        assert_eq!(refusals(None, &names(), &down), [(2, json!({REFUSED: null}))]);
        let anew = fleet(vec![pod(2, None)], vec![claim(2, Some(A), None)]);
        assert_eq!(declared(Some("2"), &names(), &anew).mark, [(2, A.to_owned())]);
    }

    #[test]
    fn nothing_is_marked_while_no_pod_can_be_asked() {
        let answer = undecided(Some(&format!("2 {B}")), vec![A.to_owned(), B.to_owned()]);
        assert!(answer.mark.is_empty() && answer.wrong.len() == 1, "{answer:?}");
        assert_eq!(answer.direct, [B], "what was decided before stays");
        assert_eq!(undecided(None, vec![]), Declared::default());
    }

    #[test]
    fn a_claim_carries_the_spool_that_its_pod_says_and_no_mark_while_it_answers() {
        let claims = vec![
            claim(0, Some(A), None),
            claim(1, None, None),
            claim(2, Some(A), Some(A)),
            claim(3, Some(B), Some(B)),
        ];
        let pods = vec![
            pod(0, Some(A)),
            pod(1, Some(B)),
            pod(2, Some(A)),
            pod(3, None),
            pod(4, Some(A)),
        ];
        let labels = labels(&fleet(pods, claims));
        let expected = [
            (1, json!({SPOOL: B, LOST: null})),
            (2, json!({SPOOL: A, LOST: null})),
        ];
        assert_eq!(labels, expected);
    }

    #[test]
    fn figures_are_summed_over_the_pods_and_never_lowered() {
        let said = |spool: &str, released, taken_back, perhaps_twice| LostSpool {
            spool: spool.into(),
            released,
            taken_back,
            perhaps_twice,
        };
        let (one, two, other) = (said(A, 3, 0, 3), said(A, 0, 4, 1), said(B, 9, 9, 9));
        let spools = [A.to_owned()];
        let first = volumes(&spools, &[&one, &two, &other], &[]);
        let expected = LostVolume {
            spool: A.into(),
            released: 3,
            taken_back: 4,
            perhaps_twice: 4,
        };
        assert_eq!(first, [expected]);
        assert_eq!(volumes(&spools, &[&said(A, 0, 0, 0)], &first), first);
        assert!(volumes(&[], &[&one], &first).is_empty());
    }

    #[test]
    fn lost_spools_are_those_of_marks_of_the_annotation_and_of_before() {
        let spools = |text, claims: &[Claim], before: &[&str]| {
            let before = before.iter().map(|spool| (*spool).to_owned()).collect();
            let direct = declared(text, &names(), &fleet(vec![], claims.to_vec())).direct;
            super::spools(direct, claims, before)
        };
        assert_eq!(spools(None, &[claim(2, Some(A), Some(A))], &[]), [A]);
        assert_eq!(spools(None, &[], &[A]), [A], "the claim was deleted");
        assert_eq!(spools(Some(B), &[], &[A]), [A, B]);
        assert_eq!(spools(Some(A), &[], &[A]), [A]);
        // The pod came back, and its mark was taken off.
        assert!(spools(None, &[claim(2, Some(A), None)], &[A]).is_empty());
        // A claim is judged by whether its pod answers, however it is named.
        assert!(spools(Some(A), &[claim(2, Some(A), None)], &[]).is_empty());
        assert!(spools(Some("2, queue-edge-3"), &[], &[]).is_empty());
    }
}
