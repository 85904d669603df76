//! A domain whose servers are away until the story lets them come: its names lead to a pod that has no mail server, and
//! later to Postfix, which keeps its mailboxes like those of the far side. Nobody else notices.

use crate::dns::Zone;
use crate::kubectl::Outcome;
use crate::mailroom::Mailroom;
use crate::story::Scene;
use serde_json::json;

/// The domain of one story.
pub(super) struct Away<'a> {
    scene: &'a Scene<'a>,
    /// Its name.
    pub(super) domain: String,
    /// Address of the pod without a mail server.
    nobody: String,
}

impl<'a> Away<'a> {
    pub(super) fn new(scene: &'a Scene<'a>) -> Outcome<Self> {
        let story = scene.domain.trim_end_matches(".example");
        Self::named(scene, &format!("{story}.away.example"))
    }

    /// One more, whose servers are others.
    pub(super) fn beside(&self, name: &str) -> Outcome<Self> {
        Self::named(self.scene, &format!("{name}.{}", self.domain))
    }

    fn named(scene: &'a Scene<'a>, domain: &str) -> Outcome<Self> {
        let client = scene.world.peers.namespace.get(["pod/client"])?;
        Ok(Self {
            scene,
            domain: domain.to_owned(),
            nobody: client["status"]["podIP"].as_str().unwrap_or_default().to_owned(),
        })
    }

    /// Lets the room's policy send there as well.
    pub(super) fn reached_by(&self, room: &mut Mailroom<'_>) {
        let spec = &mut room.policy["spec"];
        if let Some(domains) = spec["match"]["recipientDomains"].as_array_mut() {
            domains.push(json!(self.domain));
        }
        if let Some(networks) = spec["routes"][0]["direct"]["allowedNetworks"].as_array_mut() {
            networks.push(json!(format!("{}/32", self.nobody)));
        }
    }

    /// Nobody answers there.
    pub(super) fn shut(&self) -> Outcome {
        self.publish(&self.nobody)
    }

    /// Postfix answers there.
    pub(super) fn open(&self) -> Outcome {
        self.publish(&self.scene.world.peers.postfix)
    }

    /// A mailbox that no other run has used.
    pub(super) fn user(&self, name: &str) -> String {
        format!("{name}-{}@{}", std::process::id(), self.domain)
    }

    /// The name of its server.
    pub(super) fn server(&self) -> String {
        format!("mx.{}", self.domain)
    }

    fn publish(&self, address: &str) -> Outcome {
        let zone = Zone::new(&self.domain)
            .record("@ IN MX 10 mx")
            .record(format!("mx IN A {address}"));
        self.scene.world.publish(&[zone])
    }
}
