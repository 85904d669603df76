//! SmtpListener: a fleet of mail server pods and the ports that it serves.

mod access;
mod filter;
mod pod;
mod reports;
mod rollout;
mod service;
mod verification;

pub use verification::{
    ArcCheck, CheckMode, DkimCheck, DmarcCheck, DmarcMode, SpfCheck, SpfMode, TemporaryError, Verification,
};

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::access::{
    Access, AccessRates, AccessRule, DnsBlocklist, Greylisting, ReverseDns, ReverseDnsMode, SendingRate,
    SendingRates,
};
pub use self::filter::{Filter, FilterTimeouts, FilteredMail, OnFailure};
pub use self::pod::{
    Affinity, CpuMemory, PodSettings, Resources, Spread, TaintEffect, Toleration, TolerationOperator,
    WhenUnsatisfiable,
};
pub use self::reports::{DmarcReports, ReportMode, Reports, TlsReports};
pub use self::rollout::{Rollout, RolloutStatus};
pub use self::service::{
    IpFamily, IpFamilyPolicy, ListenerNetworkPolicy, ListenerService, ProxyMode, ProxyProtocol, ServiceType,
    TrafficPolicy,
};
use crate::common::{Network, Period, SecretRef, Size, own_words};

/// What is wanted of a listener.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "postroad.dev",
    version = "v1alpha1",
    kind = "SmtpListener",
    plural = "smtplisteners",
    shortname = "smtpl",
    category = "postroad",
    namespaced,
    status = "SmtpListenerStatus",
    derive = "PartialEq",
    doc = "A fleet of mail server pods, each with a queue volume of its own, and the ports that it serves.",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "Pods", type_ = "integer", json_path = ".status.readyReplicas", description = "pods that serve"),
    printcolumn(name = "Wanted", type_ = "integer", json_path = ".spec.replicas", description = "pods that are wanted"),
    printcolumn(name = "Queue", type_ = "integer", json_path = ".status.queue.messages", description = "messages in all queues"),
    printcolumn(name = "Since", type_ = "date", json_path = r#".status.conditions[?(@.type=="Ready")].lastTransitionTime"#),
    printcolumn(name = "Reason", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].reason"#),
    printcolumn(name = "Host", type_ = "string", json_path = ".spec.hostname", priority = 1),
    printcolumn(name = "Message", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].message"#, priority = 1),
    selectable = ".spec.hostname",
    validation = Rule::new("self.metadata.name.size() <= 42").message("metadata.name: at most 42 characters, so that the names of its pods and Secrets fit"),
    validation = Rule::new("self.metadata.name.matches('^[a-z][-a-z0-9]*$')").message("metadata.name: small letters, digits and hyphens, a letter first, and no dots: its Services and pods are called by it"),
    validation = Rule::new("!self.metadata.name.endsWith('-peers')").message("metadata.name: not with -peers at its end: by a Service of such a name the pods of another listener find each other"),
    validation = Rule::new("!has(self.status) || !has(self.status.volumeSize) || quantity(self.spec.queue.storage.size).compareTo(quantity(self.status.volumeSize)) >= 0").message("spec.queue.storage.size can only be raised: a volume does not shrink. Make a smaller listener beside this one, and delete this one, which drains it"),
)]
#[x_kube(
    validation = Rule::new("has(self.tls) || self.ports.all(p, p.tls == 'Disabled')").message("tls: a port that uses TLS needs a certificate; add tls.secretName, tls.issuerRef or tls.selfSigned"),
    validation = Rule::new("has(self.authentication) || self.ports.all(p, p.role != 'Submission')").message("authentication: a port of role Submission needs clients; add authentication.users or authentication.serviceAccounts"),
    validation = Rule::new("!has(self.verification) || !has(self.verification.dmarc) || self.verification.dmarc.mode != 'Disabled' || !has(self.verification.arc) || !has(self.verification.arc.trustedSealers) || size(self.verification.arc.trustedSealers) == 0").message("verification.arc.trustedSealers are believed where DMARC fails, and verification.dmarc.mode: Disabled does not ask for it: say Report or Enforce there, or leave them out"),
    validation = Rule::new("!has(self.verification) || !has(self.verification.dmarc) || self.verification.dmarc.mode != 'Disabled' || !has(self.reports) || !has(self.reports.dmarc) || self.reports.dmarc.mode == 'Disabled'").message("reports.dmarc.mode: Daily tells what DMARC said, and verification.dmarc.mode: Disabled does not ask for it: say Report or Enforce there, or Disabled here"),
)]
#[serde(rename_all = "camelCase")]
pub struct SmtpListenerSpec {
    /// Public name: in the greeting, in EHLO, in trace fields, and what the certificate must be for.
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')").message(Message::Expression("'hostname: `' + self + '` is no host name; write small letters, digits, hyphens and dots, such as mail.example.com'".into())))]
    #[schemars(length(min = 1, max = 253))]
    pub hostname: String,
    /// Number of pods, each with a volume. Lowering it hands the mail of the leaving pods over to those that stay; the pods
    /// go when they are empty. An autoscaler targets this object, never its StatefulSet.
    #[serde(default = "one")]
    #[schemars(range(min = 0, max = 10))]
    pub replicas: i32,
    /// Ports that are served, by name.
    #[x_kube(
        merge_strategy = ListMerge::Map(vec!["name".into()]),
        validation = Rule::new("self.all(p, self.exists_one(q, (q.port < 1024 ? q.port + 10000 : q.port) == (p.port < 1024 ? p.port + 10000 : p.port)))").message("ports: two of them meet on one port of the container (a port below 1024 is served there at 10000 more); give each its own")
    )]
    #[schemars(length(min = 1, max = 16))]
    pub ports: Vec<ListenerPort>,
    /// The Service in front of the pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ListenerService>,
    /// A NetworkPolicy for the pods. Absent = none; `{}` = in, the ports that are served; out, DNS and the ports that mail leaves
    /// through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_policy: Option<ListenerNetworkPolicy>,
    /// What mail leaves from, for the judgement of SPF records.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub egress: Option<Egress>,
    /// Certificate of the ports; needed by each port whose `tls` is not `Disabled`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<ListenerTls>,
    /// Who may submit; needed by ports of role Submission.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authentication: Option<Authentication>,
    /// Networks whose clients may relay without a password, on every port. Empty = nobody; a private range is never implied.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub relay_from: Vec<Network>,
    /// Who is let in on the ports, and how often.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<Access>,
    /// What is done to the header of accepted mail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub headers: Option<Headers>,
    /// How mail of strangers is judged, at ports of role Transfer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verification: Option<Verification>,
    /// Reports to domains about their own mail. Absent = none is sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reports: Option<Reports>,
    /// Filters that are asked about a message before it is stored: rspamd, milters. One after the other; each sees what those
    /// before it made of the message.
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub filters: Vec<Filter>,
    /// Which MailDomains and RelayPolicies of other namespaces may name this listener. Absent = none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attach: Option<Attach>,
    /// Queue volumes.
    pub queue: Queue,
    /// Limits of sessions and messages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<ListenerLimits>,
    /// DNS servers that the pods ask.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns: Option<ListenerDns>,
    /// What happens to the mail when this object is deleted.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
    /// Settings of the pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<PodSettings>,
    /// How pods are replaced by newer ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<Rollout>,
}

fn one() -> i32 {
    1
}

/// A port that is served.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[x_kube(
    validation = Rule::new("self.role != 'Submission' || self.tls == 'StartTls' || self.tls == 'Implicit'").message("tls: a port of role Submission takes passwords; use StartTls or Implicit"),
    validation = Rule::new("self.port != 8080 && self.port != 8443").message("port: 8080 and 8443 are the pods' own; use another"),
    validation = Rule::new("self.name.matches('[a-z]') && !self.name.contains('--') && !self.name.startsWith('postroad-')").message("name: with a letter in it and no two hyphens in a row, and not postroad-…, which are the pods' own ports"),
)]
#[serde(rename_all = "camelCase")]
pub struct ListenerPort {
    /// Name of the port, in the Service, in logs and in metrics.
    #[schemars(
        length(min = 1, max = 15),
        regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
    )]
    pub name: String,
    /// Port of the Service. In the pods, ports below 1024 are served at 10000 more, so that no privilege is needed.
    #[schemars(range(min = 1, max = 65535))]
    pub port: i32,
    /// What the port is for.
    pub role: PortRole,
    /// How TLS is used on it.
    pub tls: PortTls,
}

/// What a port is for.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortRole {
    /// Mail from other servers for the MailDomains with `inbound`. Never relays.
    Transfer,
    /// Mail from authenticated users.
    Submission,
}

/// How TLS is used on a port.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortTls {
    /// Not offered.
    Disabled,
    /// STARTTLS is offered.
    Opportunistic,
    /// STARTTLS is required before AUTH and MAIL.
    StartTls,
    /// TLS from the first octet.
    Implicit,
}

/// What is done to the header of accepted mail, by the role of the port.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Headers {
    /// Mail of users.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub submission: Option<HeaderEdits>,
    /// Mail of other servers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transfer: Option<HeaderEdits>,
}

/// Changes of a header. The body is never touched.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct HeaderEdits {
    /// Leaves the client's name and address out of the Received field that is added.
    #[serde(default)]
    pub hide_client_address: bool,
    /// Fields to add, name to value (printable ASCII).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16))]
    pub add: BTreeMap<String, String>,
    /// Names of fields to take out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(min = 1, max = 76)))]
    pub remove: Vec<String>,
}

/// What mail leaves from.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, Default, PartialEq)]
#[x_kube(validation = Rule::new("!has(self.addresses) || self.addresses.all(a, isIP(a) || isCIDR(a))").message("egress.addresses: each is an IP address or a network (CIDR)"))]
#[serde(rename_all = "camelCase")]
pub struct Egress {
    /// IP addresses or networks (CIDR) that other servers see. Of a network, the first and the last address are judged.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 2, max = 64)))]
    pub addresses: Vec<String>,
}

/// Certificate of the ports: exactly one source.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[x_kube(validation = Rule::new("(has(self.secretName) ? 1 : 0) + (has(self.issuerRef) ? 1 : 0) + (has(self.selfSigned) ? 1 : 0) == 1").message("tls: give exactly one of secretName, issuerRef and selfSigned"))]
#[serde(rename_all = "camelCase")]
pub struct ListenerTls {
    /// Secret of type `kubernetes.io/tls`, such as cert-manager keeps. A new certificate is served without a restart. With a
    /// certificate of the key that is to follow as `next.crt`, `status.certificate.tlsa` has what to publish before that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub secret_name: Option<String>,
    /// Issuer of cert-manager: the operator keeps a Certificate of the name `<listener>-issued`, and serves what is issued. Absent
    /// cert-manager is a condition; once it is there, nothing has to be restarted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer_ref: Option<IssuerRef>,
    /// The operator makes a self-signed certificate, good for 90 days, and renews it after 60.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub self_signed: Option<SelfSigned>,
    /// Whether a renewed certificate of `issuerRef` or `selfSigned` has a new key. TLSA records (DANE) hold over renewals with
    /// `Never`. Default `Always`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = own_words)]
    pub key_rotation: Option<KeyRotation>,
    /// The oldest version of TLS that clients may use. Default `Tls12`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = own_words)]
    pub minimum_version: Option<TlsVersion>,
}

/// Whether a renewed certificate has a new key.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyRotation {
    /// Each has its own.
    Always,
    /// The key stays.
    Never,
}

/// An issuer of cert-manager.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct IssuerRef {
    /// Name of the issuer.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Its kind. Default `Issuer`, of the listener's namespace; `ClusterIssuer` is for the whole cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[A-Z][A-Za-z0-9]*$"))]
    pub kind: Option<String>,
    /// Its API group. Default `cert-manager.io`; external issuers have their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
    )]
    pub group: Option<String>,
}

/// A version of TLS.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsVersion {
    /// TLS 1.2 and 1.3.
    Tls12,
    /// TLS 1.3 alone: clients that cannot speak it get no TLS, and other servers' mail may then come in the clear.
    Tls13,
}

/// A self-signed certificate. No settings.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
pub struct SelfSigned {}

/// Who may submit: users, ServiceAccounts, or both.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq)]
#[x_kube(validation = Rule::new("has(self.users) || has(self.serviceAccounts)").message("authentication: give users, serviceAccounts, or both"))]
#[serde(rename_all = "camelCase")]
pub struct Authentication {
    /// Users with a password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub users: Option<Users>,
    /// ServiceAccounts of this cluster: the projected token of a pod, for the audience `smtp.postroad.dev/<namespace>/<name>` of this
    /// listener, is its credential. Which addresses each may use, the MailDomains say in `senders`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_accounts: Option<ServiceAccounts>,
    /// Whether logins may be bound to their TLS connection: SCRAM-SHA-256-PLUS is offered under TLS 1.3, where every user has SCRAM
    /// keys. Clients that take the strongest mechanism and cannot bind (mutt, neomutt) fail then. Default false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel_binding: Option<bool>,
}

/// ServiceAccounts as clients.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ServiceAccounts {
    /// Whether the API server is asked for each token, through the operator, whether it was revoked: its pod or account is gone.
    /// An answer is good for a minute. While nobody can be asked, clients are told to come again (454). Default false: a token holds
    /// until its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check_revocation: Option<bool>,
}

/// Which objects of other namespaces may name this listener.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, Default, PartialEq)]
#[x_kube(validation = Rule::new("(self.from == 'Selector') == has(self.selector)").message("attach: selector goes with from: Selector"))]
#[serde(rename_all = "camelCase")]
pub struct Attach {
    /// From which namespaces.
    #[serde(default)]
    pub from: AttachFrom,
    /// Labels of the namespaces, with `from: Selector`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<NamespaceSelector>,
    /// Domains that MailDomains of those namespaces may have here: `example.com`, or `*.example.com` for all below it. Others need
    /// a proof in DNS: a TXT record `_postroad.<domain>` with the uid of the MailDomain. Policies need neither.
    #[x_kube(validation = Rule::new("self.all(d, d.matches('^([*][.])?[^\\\\s@/:*]+$'))").message("domains: each is example.com, or *.example.com for all below it"))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), inner(length(min = 1, max = 255)))]
    pub domains: Vec<String>,
}

/// From which namespaces objects may name a listener.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AttachFrom {
    /// Its own.
    #[default]
    Same,
    /// Every namespace.
    All,
    /// Its own, and those that the selector picks.
    Selector,
}

/// Which namespaces.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct NamespaceSelector {
    /// Labels that a namespace must have, all of them.
    #[schemars(extend("minProperties" = 1, "maxProperties" = 16))]
    pub match_labels: BTreeMap<String, String>,
}

/// Users with a password.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Users {
    /// Secret with the key `users`: one line a user, `name:verifier`, made by `postroad-mta hash-password`.
    pub secret_ref: SecretRef,
}

/// Queue volumes.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Queue {
    /// The volume of each pod.
    pub storage: Storage,
    /// Undelivered mail is returned to its sender after this time. A change holds for mail that waits as well. Default `5d`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifetime: Option<Period>,
    /// The same for mail with the null reverse-path (notices), which nobody can be told of. Default `2d`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub null_sender_lifetime: Option<Period>,
    /// The sender is told of a delay after this time. Default `4h`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay_notice: Option<Period>,
    /// Percent of the volume that may be used; above it new mail gets 452 until there is room. Default 90.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 50, max = 99))]
    pub high_water_percent: Option<i32>,
    /// What 250 after the data means.
    #[serde(default)]
    pub durability: Durability,
}

/// What 250 after the data means.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// The mail is on stable storage of the volume.
    #[default]
    Durable,
    /// The mail is with the operating system: a lost node or a power cut may lose what came in the last second.
    Relaxed,
}

/// The volume of each pod.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[x_kube(validation = Rule::new("has(self.storageClassName) == has(oldSelf.storageClassName) && (!has(self.storageClassName) || self.storageClassName == oldSelf.storageClassName)").message("queue.storage.storageClassName cannot be changed on a listener; make a new one beside it"))]
#[serde(rename_all = "camelCase")]
pub struct Storage {
    /// Size of the volume. It can be raised: the claims grow where their StorageClass allows it, and no pod restarts.
    pub size: Size,
    /// StorageClass; absent = the cluster's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub storage_class_name: Option<String>,
    /// What happens to the claim of a pod that was drained and went.
    #[serde(default)]
    pub when_drained: WhenDrained,
}

/// What happens to the claim of a pod that was drained.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenDrained {
    /// It stays, marked as drained.
    #[default]
    Retain,
    /// It is deleted, once it is known to be empty.
    Delete,
}

/// Limits of sessions and messages.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ListenerLimits {
    /// Largest message, 64Ki to 1Gi. Default `50Mi`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_size: Option<Size>,
    /// Recipients of one message. Default 1000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 100, max = 50000))]
    pub recipients_per_message: Option<i32>,
    /// Sessions of one pod at once. Default 2000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000))]
    pub connections: Option<i32>,
    /// Sessions of one pod at once from one address. Default 50.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000))]
    pub connections_per_client: Option<i32>,
    /// Messages of one session; then it is ended, and the client comes back. Default 1000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub messages_per_connection: Option<i32>,
    /// Octets per second that a client must send while it sends a message, over any minute; at most `1Mi`. Default 256.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minimum_data_rate: Option<Size>,
    /// Longest time of one transaction, `1m` to `4h`. Default `30m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transaction_time: Option<Period>,
    /// How long a stranger at a port without implicit TLS waits for the greeting, at most `30s`; whoever talks before it is
    /// refused. Default `0s`: everybody is greeted at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub greeting_delay: Option<Period>,
    /// Memory of one pod for messages under way, `8Mi` to `1Ti`. Where it is short, bodies go to files at once, and then clients
    /// are asked to come later, strangers first. Sessions as such take memory beside it: leave room for a crowd of them. Default:
    /// a fifth of the pod's memory limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub buffer_memory: Option<Size>,
}

/// DNS servers that the pods ask.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, Default, PartialEq)]
#[x_kube(validation = Rule::new("!has(self.resolvers) || self.resolvers.all(r, isIP(r) || r.matches('^([0-9]{1,3}[.]){3}[0-9]{1,3}:[0-9]{1,5}$') || r.matches('^[[][0-9a-fA-F:.]+[]]:[0-9]{1,5}$'))").message("dns.resolvers: each is IP, IP:port or [IPv6]:port"))]
#[x_kube(validation = Rule::new("!has(self.trustAnchors) || size(self.trustAnchors) == 0 || (has(self.dnssec) && self.dnssec == 'Validated')").message("dns.trustAnchors are for dnssec: Validated: say that, or leave them out"))]
#[serde(rename_all = "camelCase")]
pub struct ListenerDns {
    /// `IP` or `IP:port`; empty = the pod's own resolver.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), inner(length(min = 2, max = 64)))]
    pub resolvers: Vec<String>,
    /// Whether the DNS servers are believed when they say that an answer is proven by DNSSEC, which DANE needs. Default `Ignored`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = own_words)]
    pub dnssec: Option<Dnssec>,
    /// DNSKEY records of the root, as in a zone file (`. IN DNSKEY 257 3 8 AwEAA…`), that DNSSEC is validated from with
    /// `dnssec: Validated`. Empty = those of the Internet's root that this version knows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 16, max = 2048)))]
    pub trust_anchors: Vec<String>,
}

/// Whether the DNS servers are believed when they say that an answer is proven by DNSSEC, which DANE needs. Default `Ignored`.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dnssec {
    /// They are not: nothing is proven.
    Ignored,
    /// They validate, and nobody can change their answers on the way: their AD bit is believed.
    Trusted,
    /// They need not be: the pods validate answers themselves, from the trust anchors down.
    Validated,
}

/// What happens to the mail of a deleted listener.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeletionPolicy {
    /// The pods stop taking mail and stay until what they have is delivered or returned.
    #[default]
    Drain,
    /// The pods go at once; the volumes stay, with the mail on them.
    Discard,
}

/// How a listener stands.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct SmtpListenerStatus {
    /// Generation of the spec that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Pods that exist, for the scale subresource.
    #[serde(default)]
    pub replicas: i32,
    /// Pods that serve.
    #[serde(default)]
    pub ready_replicas: i32,
    /// Label selector of the pods, for the scale subresource.
    #[serde(default)]
    pub selector: String,
    /// Where clients reach it: `service.publicAddresses`, or those of the load balancer, or of a Service of type ClusterIP. Empty
    /// while a load balancer is pending, and for nodes' ports.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<String>,
    /// Number of the configuration that was last written for the pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_generation: Option<i64>,
    /// Fingerprint of the domains and policies in that configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rendered: Option<String>,
    /// What is queued in all pods. Changes with the class of the figure (0, 1, 10, 100…), or every minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<QueueStatus>,
    /// The certificate that is served.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<CertificateStatus>,
    /// Size of the volumes of new pods: what `queue.storage.size` cannot be lowered below.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume_size: Option<Size>,
    /// Pods that leave, and how many messages each still has.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub draining: Vec<DrainingPod>,
    /// While pods are replaced by newer ones: how far that is. Absent = every pod is of the newest template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<RolloutStatus>,
    /// Volumes that a person declared lost, and what became of the messages that only they could have settled.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lost: Vec<LostVolume>,
    /// Routes of policies that something is the matter with: a provider takes no more for now, or refuses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<RouteTrouble>,
    /// Format that the pods write their spools in: the newest that all of them read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spool_format: Option<i32>,
    /// Newest format on the disk of any pod. A version that does not read it refuses that spool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spool_format_on_disk: Option<i32>,
    /// Conditions: Ready, Reconciling, Stalled, CertificateServed, ConfigApplied, QueueHealthy, Draining, RolledOut, Conflicted,
    /// RelayProtected, ClientIPPreserved, EgressIdentified, Port25Reachable.
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    #[serde(default)]
    pub conditions: Vec<Condition>,
}

/// What is queued.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct QueueStatus {
    /// Messages.
    pub messages: i64,
    /// When they were counted (RFC 3339).
    pub counted: String,
    /// What each pod has, or had when it last answered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pods: Vec<PodQueue>,
    /// Arrival of the oldest (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest: Option<String>,
}

/// What a pod has in its queue.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct PodQueue {
    /// Name of the pod.
    pub pod: String,
    /// Messages.
    pub messages: i64,
}

/// The certificate that is wanted, and who serves it.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct CertificateStatus {
    /// Serial number in hexadecimal digits.
    pub serial: String,
    /// End of validity (RFC 3339).
    pub not_after: String,
    /// DNS names that it is for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// Data of its TLSA record (DANE), `3 1 1` and the digest of its key; behind it that of the key to come, where the Secret of
    /// `tls.secretName` has its certificate as `next.crt`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tlsa: Vec<String>,
    /// Pods that serve it on every port, found by a handshake with each.
    pub served_by: i32,
    /// What each serving pod was seen to show.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pods: Vec<PodCertificate>,
}

/// The certificate that a pod shows.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct PodCertificate {
    /// Name of the pod.
    pub pod: String,
    /// Serial number in hexadecimal digits.
    pub serial: String,
    /// End of validity (RFC 3339).
    pub not_after: String,
}

/// A volume that was declared lost.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct LostVolume {
    /// UUID of the spool that was on it.
    pub spool: String,
    /// Messages that other pods held for it and deliver now.
    pub released: i64,
    /// Messages that other pods had offered or given to it and deliver now.
    pub taken_back: i64,
    /// Those of both that it may have delivered as well.
    pub perhaps_twice: i64,
}

/// A route that something is the matter with.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct RouteTrouble {
    /// The policy, `namespace/name`.
    pub policy: String,
    /// Number of the route in it, counted from 0.
    pub route: i32,
    /// `Quota`: the account may send no more; `Throttle`: it was too fast; `Configuration`: the account or the route is not set
    /// up right; `Unreachable`: it cannot be reached, and there is another; `Sender`: the route goes on, but the mail of some
    /// sender is refused; `TlsFailed`: mail found that the TLS of its host is not as the route wants it; a reason of the policy's
    /// `UpstreamAuthenticated`, such as `CredentialsRefused`: the pods are not let in.
    pub reason: String,
    /// Since when (RFC 3339).
    pub since: String,
    /// When a message is tried there again (RFC 3339); absent where it goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// What the provider said.
    pub reply: String,
    /// Pods that found it so.
    pub pods: Vec<String>,
}

/// A pod that leaves.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct DrainingPod {
    /// Name of the pod.
    pub pod: String,
    /// Messages that it still has.
    pub remaining: i64,
}
