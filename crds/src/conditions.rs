//! Types and reasons of conditions: they are API, alerts and people search for them.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;

/// Accepted, rendered, confirmed by every serving pod, and what the kind adds to that.
pub const READY: &str = "Ready";
/// Work is under way (kstatus).
pub const RECONCILING: &str = "Reconciling";
/// Work cannot go on without a change from outside (kstatus).
pub const STALLED: &str = "Stalled";
/// Every serving pod shows the certificate that is wanted.
pub const CERTIFICATE_SERVED: &str = "CertificateServed";
/// Every serving pod runs the newest configuration.
pub const CONFIG_APPLIED: &str = "ConfigApplied";
/// Volumes have room, nothing is damaged.
pub const QUEUE_HEALTHY: &str = "QueueHealthy";
/// Pods are leaving and hand their mail over.
pub const DRAINING: &str = "Draining";
/// Every pod is of the newest template.
pub const ROLLED_OUT: &str = "RolledOut";
/// Nobody relays whom the owner has not named.
pub const RELAY_PROTECTED: &str = "RelayProtected";
/// The pods see who connects, and not a node or a load balancer in his place.
pub const CLIENT_IP_PRESERVED: &str = "ClientIPPreserved";
/// The address that mail leaves from, the name that it greets with, and DNS agree.
pub const EGRESS_IDENTIFIED: &str = "EgressIdentified";
/// Port 25 of others can be reached.
pub const PORT_25_REACHABLE: &str = "Port25Reachable";
/// The MX records name a listener of the domain.
pub const MX_VALID: &str = "MXValid";
/// The SPF record lets the listeners' egress addresses send.
pub const SPF_VALID: &str = "SPFValid";
/// The DMARC record asks for what the owner wants.
pub const DMARC_VALID: &str = "DMARCValid";
/// A record says that there is an MTA-STS policy.
pub const MTASTS_VALID: &str = "MTASTSValid";
/// The record of TLS-RPT is right.
pub const TLSRPT_VALID: &str = "TLSRPTValid";
/// The TLSA records of the listeners are of the keys that they show, and DNSSEC proves them.
pub const DANE_VALID: &str = "DANEValid";
/// The records of the keys that sign are in the DNS.
pub const DKIM_VALID: &str = "DKIMValid";
/// Every key that is wanted is there and signs.
pub const DKIM_KEYS_CURRENT: &str = "DKIMKeysCurrent";
/// The policy is used by its listeners.
pub const ACCEPTED: &str = "Accepted";
/// The smart hosts of the policy answer.
pub const UPSTREAM_REACHABLE: &str = "UpstreamReachable";
/// TLS with them is as the routes want it.
pub const UPSTREAM_SECURED: &str = "UpstreamSecured";
/// They let us in.
pub const UPSTREAM_AUTHENTICATED: &str = "UpstreamAuthenticated";
/// No provider of the policy's routes has said that its quota is used up.
pub const QUOTA_AVAILABLE: &str = "QuotaAvailable";
/// No provider of the policy's routes refuses the account or a sender for how it is set up.
pub const UPSTREAM_ACCEPTING: &str = "UpstreamAccepting";
/// A record proves that the domain is its namespace's own.
pub const OWNERSHIP_PROVEN: &str = "OwnershipProven";
/// Another object has the same mail, or the same host name, and wins.
pub const CONFLICTED: &str = "Conflicted";

/// Reasons; CamelCase, one sentence of meaning each.
pub mod reason {
    /// All is as wanted.
    pub const AS_WANTED: &str = "AsWanted";
    /// Changes are being made.
    pub const IN_PROGRESS: &str = "InProgress";
    /// A field is wrong in a way that the schema cannot show.
    pub const INVALID: &str = "Invalid";
    /// A Secret that is named does not exist.
    pub const SECRET_NOT_FOUND: &str = "SecretNotFound";
    /// A Secret that is named lacks a key or has one that cannot be read.
    pub const SECRET_INVALID: &str = "SecretInvalid";
    /// The operator may not read Secrets in this namespace.
    pub const SECRET_ACCESS_DENIED: &str = "SecretAccessDenied";
    /// The listener does not let the object in.
    pub const NOT_PERMITTED: &str = "NotPermitted";
    /// A listener that is named does not exist.
    pub const LISTENER_NOT_FOUND: &str = "ListenerNotFound";
    /// The listeners have not taken it up yet.
    pub const NOT_YET_APPLIED: &str = "NotYetApplied";
    /// Another object has the same, and is older or ranks higher.
    pub const CONFLICT: &str = "Conflict";
    /// An older object of the same rank takes some of it.
    pub const OVERLAP: &str = "Overlap";
    /// Not one pod serves.
    pub const NO_SERVING_POD: &str = "NoServingPod";
    /// Some pods do not serve yet.
    pub const PODS_NOT_READY: &str = "PodsNotReady";
    /// No pod is wanted.
    pub const SCALED_TO_ZERO: &str = "ScaledToZero";
    /// A pod refuses the newest configuration and stays on the one before.
    pub const CONFIG_REFUSED: &str = "ConfigRefused";
    /// A file of the configuration has little room left.
    pub const CONFIG_NEARLY_FULL: &str = "ConfigNearlyFull";
    /// A file of the configuration does not fit into a Secret. The configuration before stays.
    pub const CONFIG_TOO_LARGE: &str = "ConfigTooLarge";
    /// A pod could not be asked.
    pub const POD_UNREACHABLE: &str = "PodUnreachable";
    /// The certificate is not for the host name.
    pub const HOSTNAME_MISMATCH: &str = "HostnameMismatch";
    /// The certificate is past its end.
    pub const EXPIRED: &str = "Expired";
    /// The certificate ends within 14 days.
    pub const EXPIRES_SOON: &str = "ExpiresSoon";
    /// A port of a pod shows no certificate, or another one, in a handshake.
    pub const NOT_SERVED: &str = "NotServed";
    /// The API of cert-manager is not there.
    pub const CERT_MANAGER_MISSING: &str = "CertManagerMissing";
    /// cert-manager has not issued the certificate yet.
    pub const CERTIFICATE_PENDING: &str = "CertificatePending";
    /// TLS is not configured.
    pub const NOT_CONFIGURED: &str = "NotConfigured";
    /// A route needs DNSSEC, and a listener's resolvers are not said to validate it.
    pub const DNSSEC_NOT_VALIDATED: &str = "DnssecNotValidated";
    /// A volume is nearly full.
    pub const VOLUME_NEARLY_FULL: &str = "VolumeNearlyFull";
    /// A claim was refused to grow.
    pub const VOLUME_NOT_EXPANDABLE: &str = "VolumeNotExpandable";
    /// A volume failed.
    pub const VOLUME_FAILED: &str = "VolumeFailed";
    /// A person declared a volume lost.
    pub const VOLUME_LOST: &str = "VolumeLost";
    /// A volume cannot be attached: the mail on it waits.
    pub const VOLUME_UNAVAILABLE: &str = "VolumeUnavailable";
    /// A person had the pods let go; the mail stays on the volumes.
    pub const HIBERNATED: &str = "Hibernated";
    /// A person had the operator leave the object alone.
    pub const PAUSED: &str = "Paused";
    /// Something on a volume was damaged.
    pub const DAMAGED: &str = "Damaged";
    /// Mail is being handed over.
    pub const HANDING_OVER: &str = "HandingOver";
    /// No pod stays that could take the mail.
    pub const NO_TARGET: &str = "NoTarget";
    /// Nothing leaves.
    pub const NOT_DRAINING: &str = "NotDraining";
    /// A replaced pod does not do well, and no other is replaced until it does.
    pub const ROLLOUT_STOPPED: &str = "RolloutStopped";
    /// `relayFrom` holds an address that strangers may come from.
    pub const RELAY_FROM_TOO_WIDE: &str = "RelayFromTooWide";
    /// A published address takes mail of strangers for other domains.
    pub const OPEN_RELAY: &str = "OpenRelay";
    /// Whether the pod that tested may relay rightly cannot be told.
    pub const PROBE_TRUSTED: &str = "ProbeTrusted";
    /// No address is published that could be tested.
    pub const NOT_PUBLISHED: &str = "NotPublished";
    /// Nothing that is published could be tested.
    pub const NOT_TESTED: &str = "NotTested";
    /// A provider takes no more for now.
    pub const QUOTA_USED_UP: &str = "QuotaUsedUp";
    /// A provider refuses how the account or the route is set up.
    pub const ACCOUNT_REFUSED: &str = "AccountRefused";
    /// A provider refuses a sender.
    pub const SENDER_REFUSED: &str = "SenderRefused";
    /// Nothing was there to be seen.
    pub const NO_TRAFFIC: &str = "NoTraffic";
    /// Mail comes from nodes, which stand in their clients' place.
    pub const SOURCE_IS_NODE: &str = "SourceIsNode";
    /// Mail comes from a load balancer, which stands in its clients' place.
    pub const SOURCE_IS_LOAD_BALANCER: &str = "SourceIsLoadBalancer";
    /// The nodes of the cluster may not be listed.
    pub const NODES_UNKNOWN: &str = "NodesUnknown";
    /// Where mail leaves from is not known.
    pub const EGRESS_UNKNOWN: &str = "EgressUnknown";
    /// Next hops see another address than those declared.
    pub const EGRESS_DIFFERS: &str = "EgressDiffers";
    /// The host name does not have the address that mail leaves from.
    pub const HELO_MISMATCH: &str = "HeloMismatch";
    /// The address that mail leaves from does not have the host name.
    pub const PTR_MISMATCH: &str = "PtrMismatch";
    /// DNS gave no answer.
    pub const NO_ANSWER: &str = "NoAnswer";
    /// Nobody could be reached at port 25.
    pub const PORT_25_BLOCKED: &str = "Port25Blocked";
    /// Signing keys are being made.
    pub const KEYS_BEING_MADE: &str = "KeysBeingMade";
    /// The record of a signing key has not been seen yet; the key does not sign.
    pub const RECORD_NOT_SEEN: &str = "RecordNotSeen";
    /// The Secret with the signing keys is gone.
    pub const KEYS_LOST: &str = "KeysLost";
    /// No route leads to a smart host.
    pub const NO_SMART_HOST: &str = "NoSmartHost";
    /// No route logs in.
    pub const NO_CREDENTIALS: &str = "NoCredentials";
    /// A smart host does not answer.
    pub const HOST_UNREACHABLE: &str = "HostUnreachable";
    /// TLS with a smart host is not as its route wants it.
    pub const TLS_FAILED: &str = "TlsFailed";
    /// An object of this name exists and is not ours.
    pub const FOREIGN_OBJECT: &str = "ForeignObject";
    /// The API server refused or could not be reached.
    pub const API_ERROR: &str = "ApiError";
}

/// A condition before its time is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewCondition {
    /// One of the types above.
    pub kind: &'static str,
    /// True, False, or absent for Unknown.
    pub status: Option<bool>,
    /// One of [`reason`].
    pub reason: String,
    /// A sentence, at most 32 KiB.
    pub message: String,
}

impl NewCondition {
    /// Makes one.
    pub fn new(kind: &'static str, status: Option<bool>, reason: &str, message: impl Into<String>) -> Self {
        Self {
            kind,
            status,
            reason: reason.to_owned(),
            message: message.into(),
        }
    }
}

/// Puts a condition into a list that is kept sorted by type. The transition time moves only when the status does.
pub fn set_condition(list: &mut Vec<Condition>, new: NewCondition, generation: Option<i64>, now: Timestamp) {
    let status = match new.status {
        Some(true) => "True",
        Some(false) => "False",
        None => "Unknown",
    };
    let before = list.iter().find(|condition| condition.type_ == new.kind);
    let since = before
        .filter(|condition| condition.status == status)
        .map(|condition| condition.last_transition_time.clone());
    let message: String = new.message.chars().take(8_000).collect();
    let condition = Condition {
        type_: new.kind.to_owned(),
        status: status.to_owned(),
        reason: new.reason,
        message,
        observed_generation: generation,
        last_transition_time: since.unwrap_or(Time(now)),
    };
    list.retain(|known| known.type_ != new.kind);
    list.push(condition);
    list.sort_by(|a, b| a.type_.cmp(&b.type_));
}

/// Takes a condition out, where it is no statement any more.
pub fn clear_condition(list: &mut Vec<Condition>, kind: &str) {
    list.retain(|known| known.type_ != kind);
}

/// Status of a condition: `None` where it is absent or Unknown.
pub fn status_of(list: &[Condition], kind: &str) -> Option<bool> {
    let found = list.iter().find(|condition| condition.type_ == kind)?;
    match found.status.as_str() {
        "True" => Some(true),
        "False" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    #[test]
    fn the_transition_time_moves_with_the_status_only() {
        let mut list = Vec::new();
        set_condition(
            &mut list,
            NewCondition::new(READY, Some(false), reason::IN_PROGRESS, "a"),
            Some(1),
            at(1),
        );
        set_condition(
            &mut list,
            NewCondition::new(READY, Some(false), reason::INVALID, "b"),
            Some(2),
            at(2),
        );
        assert_eq!(
            (list[0].last_transition_time.0, list[0].reason.as_str()),
            (at(1), reason::INVALID)
        );
        set_condition(
            &mut list,
            NewCondition::new(READY, Some(true), reason::AS_WANTED, "c"),
            Some(2),
            at(3),
        );
        assert_eq!(list[0].last_transition_time.0, at(3));
        assert_eq!(status_of(&list, READY), Some(true));
        set_condition(
            &mut list,
            NewCondition::new(READY, None, reason::AS_WANTED, ""),
            None,
            at(4),
        );
        assert_eq!((list.len(), status_of(&list, READY)), (1, None));
    }
}
