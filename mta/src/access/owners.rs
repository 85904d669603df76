//! Which pod of the fleet a key belongs to: rendezvous hash, so that a pod that comes or goes moves only its own share. Pure.

use postroad_config::FleetPod;

use super::greylist::Key;

/// The pod that owns a key; `None` in a fleet of nobody, where all is ours.
pub fn owner(fleet: &[FleetPod], key: Key) -> Option<&FleetPod> {
    fleet.iter().max_by_key(|pod| weight(&pod.name, key))
}

/// The pods that own a key together, so many of them; the first is its [`owner`].
pub fn owners(fleet: &[FleetPod], key: Key, most: usize) -> Vec<&FleetPod> {
    let mut all: Vec<&FleetPod> = fleet.iter().collect();
    all.sort_by_cached_key(|pod| std::cmp::Reverse(weight(&pod.name, key)));
    all.truncate(most);
    all
}

fn weight(pod: &str, key: Key) -> u128 {
    let text = format!("{:032x}", key.0);
    Key::of(&[pod, text.as_str()]).0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fleet(count: usize) -> Vec<FleetPod> {
        let pod = |number| format!("{{name: edge-{number}, admin: {{host: h, port: 1}}}}");
        (0..count)
            .map(|number| serde_saphyr::from_str(&pod(number)).unwrap())
            .collect()
    }

    fn owner_of_each(fleet: &[FleetPod]) -> Vec<String> {
        let keys = (0..3_000_u32).map(|number| Key::of(&[&number.to_string()]));
        keys.map(|key| owner(fleet, key).unwrap().name.clone()).collect()
    }

    #[test]
    fn each_pod_owns_its_share_whatever_the_order_of_the_list() {
        let mut three = fleet(3);
        let before = owner_of_each(&three);
        for pod in &three {
            let share = before.iter().filter(|owner| **owner == pod.name).count();
            assert!((850..1_150).contains(&share), "{share}");
        }
        three.reverse();
        assert_eq!(owner_of_each(&three), before);
        assert!(owner(&[], Key(1)).is_none());
    }

    #[test]
    fn a_pod_that_goes_moves_its_own_share_alone() {
        let (before, after) = (owner_of_each(&fleet(3)), owner_of_each(&fleet(2)));
        for (before, after) in before.iter().zip(&after) {
            assert!(before == after || before == "edge-2");
        }
    }

    #[test]
    fn a_key_of_several_pods_has_as_many_and_moves_no_more_than_it_must() {
        let (three, four) = (fleet(3), fleet(4));
        for number in 0..200_u32 {
            let key = Key::of(&[&number.to_string()]);
            for most in 0..5 {
                let of_three = super::owners(&three, key, most);
                assert_eq!(of_three.len(), most.min(3));
                assert!(
                    of_three
                        .first()
                        .is_none_or(|first| Some(*first) == owner(&three, key))
                );
                let of_four = super::owners(&four, key, most);
                let gone = of_three.iter().filter(|pod| !of_four.contains(pod)).count();
                assert!(gone <= 1, "{gone} of {most}");
            }
        }
    }
}
