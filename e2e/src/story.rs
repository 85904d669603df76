//! Stories: what users go through, each in a namespace of its own that enforces Pod Security `restricted`.
//!
//!   World   cluster, images, peers, the installed chart: made once, shared
//!   Scene   one story's namespace, name and domain: made fresh, dumped when it fails, deleted when it holds
//!
//! Stories share the name server; each adds the zones of its own domains. They are played one after the other, but for those that mostly
//! wait: such a one is played beside the ones that follow it.

use std::sync::{Mutex, PoisonError};
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use crate::checks;
use crate::cluster::{Choice, Cluster};
use crate::dns::Zone;
use crate::images::{self, Product};
use crate::install;
use crate::kubectl::{Failure, Namespace, Outcome};
use crate::peers::Peers;
use crate::report::{Count, Steps, seconds};

/// What all stories share.
#[derive(Debug)]
pub struct World {
    /// The cluster.
    pub cluster: Cluster,
    /// The images of the product.
    pub product: Product,
    /// The second mail system.
    pub peers: Peers,
    zones: Mutex<Vec<Zone>>,
}

impl World {
    /// Gets everything ready, step by step; what is there already is used.
    pub fn ready(choice: &Choice, steps: &mut Steps) -> Outcome<Self> {
        let cluster = steps.step("cluster", || Cluster::ready(choice))?;
        let product = steps.step("images of operator and mail server", images::product)?;
        for image in [&product.operator, &product.mta] {
            eprintln!("    {} {} kB", image.name(), image.size() / 1000);
        }
        let (others, dns) = steps.step("images of the peers", || {
            Ok::<_, Failure>((images::peers()?, images::dns(&cluster)?))
        })?;
        steps.step("images to the nodes", || {
            let all = [&product.operator, &product.mta, &others, &dns];
            cluster.load(&all.map(|image| image.archive.as_path()))
        })?;
        let peers = steps.step("peers: Postfix, Dovecot, name server", || {
            Peers::start(&cluster, &others, &dns)
        })?;
        steps.step("chart", || install::install(&cluster, &product, &peers.dns))?;
        let zones = Mutex::new(vec![peers.far_zone()]);
        Ok(Self {
            cluster,
            product,
            peers,
            zones,
        })
    }

    /// Adds or replaces zones, and returns when the name server answers with them.
    pub fn publish(&self, zones: &[Zone]) -> Outcome {
        let mut all = self.zones.lock().unwrap_or_else(PoisonError::into_inner);
        for zone in zones {
            all.retain(|known| known.name() != zone.name());
            all.insert(0, zone.clone());
        }
        self.peers.publish(&all)
    }
}

/// One story: its name, and what has to hold.
#[derive(Clone, Copy)]
pub struct Story {
    /// The name, by which it is picked; its namespace is named after it.
    pub name: &'static str,
    /// Whether it switches machines off or breaks their disks, which only the local cluster lets it do.
    pub needs_machines: bool,
    /// Whether it takes so long that only an exhaustive run plays it.
    pub exhaustive: bool,
    /// Beside how many of the stories behind it this one is played; it is over before the one after those begins. Only for a story that
    /// mostly waits, and that neither changes nor needs what those change for all, such as the second mail system.
    pub beside: usize,
    /// Plays it.
    pub play: fn(&Scene<'_>) -> Outcome,
}

/// The stage of one story.
#[derive(Debug)]
pub struct Scene<'a> {
    /// What all stories share.
    pub world: &'a World,
    /// The story's own namespace.
    pub namespace: Namespace,
    /// A mail domain that no other story uses.
    pub domain: String,
}

/// Plays the stories and counts them. `exhaustive`: the long ones too.
pub fn play(world: &World, stories: &[Story], exhaustive: bool, steps: &mut Steps) -> Count {
    let mut count = Count::default();
    thread::scope(|scope| {
        let mut waiting: Vec<Waiting<'_>> = Vec::new();
        for (turn, story) in stories.iter().enumerate() {
            for over in waiting.extract_if(.., |beside| beside.until < turn) {
                count += over.join(steps);
            }
            if story.beside > 0 {
                waiting.push(Waiting {
                    until: turn + story.beside,
                    name: story.name,
                    played: scope.spawn(move || {
                        let mut own = Steps::default();
                        (play_or_skip(world, story, exhaustive, &mut own), own)
                    }),
                });
            } else {
                count += play_or_skip(world, story, exhaustive, steps);
            }
        }
        for over in waiting {
            count += over.join(steps);
        }
    });
    count
}

/// A story that is played beside others.
struct Waiting<'scope> {
    /// The last turn that it may be played beside.
    until: usize,
    name: &'static str,
    played: ScopedJoinHandle<'scope, (Count, Steps)>,
}

impl Waiting<'_> {
    /// Waits for its end.
    fn join(self, steps: &mut Steps) -> Count {
        match self.played.join() {
            Ok((count, own)) => {
                steps.absorb(own);
                count
            }
            Err(_) => checks::fail(self.name, "it panicked; what it said is above"),
        }
    }
}

fn play_or_skip(world: &World, story: &Story, exhaustive: bool, steps: &mut Steps) -> Count {
    let name = format!("story {}", story.name);
    let unplayed = if story.needs_machines && !world.cluster.is_local() {
        Some("the nodes of this cluster are not ours")
    } else {
        (story.exhaustive && !exhaustive).then_some("it takes minutes: `-- --exhaustive` plays it")
    };
    if let Some(why) = unplayed {
        return checks::skip(&name, 1, why);
    }
    match steps.step(&name, || play_one(world, story)) {
        Ok(()) => checks::pass(),
        Err(error) => checks::fail(&name, &error.to_string()),
    }
}

fn play_one(world: &World, story: &Story) -> Outcome {
    let name = story.name.replace('_', "-");
    let namespace = Namespace::new(&world.cluster, &format!("e2e-{name}"));
    discard(&namespace)?; // what an interrupted run left
    namespace.create("restricted")?;
    let scene = Scene {
        world,
        namespace,
        domain: format!("{name}.example"),
    };
    let start = Instant::now();
    let result = (story.play)(&scene);
    if result.is_err() {
        eprintln!("    failed after {}; what is there:", seconds(start.elapsed()));
        let dump =
            scene.namespace.dump() + "--- log of the operator\n" + &install::operator_log(&world.cluster);
        for line in dump.lines() {
            eprintln!("    | {line}");
        }
    }
    // A story that failed is cleaned up as well: the next one must not meet it. Nothing waits for drains here.
    let cleaned = discard(&scene.namespace);
    result.and(cleaned)
}

/// Removes a namespace with the listeners in it, without waiting for their queues to drain.
pub fn discard(namespace: &Namespace) -> Outcome {
    if !namespace.exists(&format!("namespace/{}", namespace.name))? {
        return Ok(());
    }
    let known = namespace
        .cluster
        .kubectl(["get", "crd", "smtplisteners.postroad.dev"])
        .run()
        .is_ok();
    if known {
        let listeners = namespace.get(["smtplisteners"])?;
        for listener in listeners["items"].as_array().into_iter().flatten() {
            let name = format!(
                "smtplistener/{}",
                listener["metadata"]["name"].as_str().unwrap_or_default()
            );
            namespace.patch(&name, &serde_json::json!({"spec": {"deletionPolicy": "Discard"}}))?;
        }
        let timeout = format!("--timeout={}s", CLEAN.as_secs());
        namespace.kubectl([
            "delete",
            "smtplisteners,maildomains,relaypolicies",
            "--all",
            &timeout,
        ])?;
    }
    namespace.delete()
}

const CLEAN: Duration = Duration::from_mins(2);
