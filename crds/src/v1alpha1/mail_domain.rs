//! MailDomain: a domain that sends or receives through listeners.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::common::{HostPort, ListenerRef, SecretRef, ServiceAccountRef, told};

/// What is wanted of a domain.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "postroad.dev",
    version = "v1alpha1",
    kind = "MailDomain",
    plural = "maildomains",
    shortname = "maild",
    category = "postroad",
    namespaced,
    status = "MailDomainStatus",
    derive = "PartialEq",
    doc = "A domain that sends or receives mail through listeners, and the judgement of its DNS records.",
    printcolumn(name = "Domain", type_ = "string", json_path = ".spec.domain"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].status"#
    ),
    printcolumn(
        name = "MX",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="MXValid")].status"#
    ),
    printcolumn(
        name = "SPF",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="SPFValid")].status"#
    ),
    printcolumn(
        name = "DKIM",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="DKIMValid")].status"#
    ),
    printcolumn(
        name = "Since",
        type_ = "date",
        json_path = r#".status.conditions[?(@.type=="Ready")].lastTransitionTime"#
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].reason"#
    ),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].message"#,
        priority = 1
    ),
    selectable = ".spec.domain"
)]
#[serde(rename_all = "camelCase")]
pub struct MailDomainSpec {
    /// The domain. Letters beyond ASCII are accepted.
    #[schemars(length(min = 1, max = 253), extend("x-kubernetes-validations" = [told(
        r"self.matches('^[^\\s@/:]+$')",
        "is no domain; write it alone, such as example.com, without @ and blanks",
    )]))]
    pub domain: String,
    /// Listeners that serve it.
    #[x_kube(validation = Rule::new("self.all(a, self.exists_one(b, a.name == b.name && (has(a.__namespace__) ? a.__namespace__ : '') == (has(b.__namespace__) ? b.__namespace__ : '')))").message("listenerRefs: each listener once"))]
    #[schemars(length(min = 1, max = 8))]
    pub listener_refs: Vec<ListenerRef>,
    /// How its mail is received; absent = it only sends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inbound: Option<Inbound>,
    /// Who may send as this domain, in the envelope and in From.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub senders: Vec<Sender>,
    /// How mail that is sent as this domain is signed (DKIM); absent = it is not. Taking it out and giving it again makes new
    /// keys where the old ones are lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dkim: Option<Dkim>,
    /// What other servers are asked to do with mail that has this domain in From and is not its own (DMARC, RFC 9989); absent =
    /// nothing is looked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dmarc: Option<DomainDmarc>,
    /// What other servers are asked to keep to when they reach this domain's mail servers (MTA-STS, RFC 8461); absent = nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mta_sts: Option<MtaSts>,
    /// Where other servers report how TLS with this domain's mail servers went (TLS-RPT, RFC 8460); absent = nobody is to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_rpt: Option<TlsRpt>,
    /// How its DNS records are judged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns: Option<DomainDns>,
}

/// How the mail of a domain is received.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Inbound {
    /// Which recipients exist. Mail for others is refused in the session.
    pub recipients: Recipients,
    /// Where the mail goes.
    pub deliver_to: DeliverTo,
}

/// Which recipients exist.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[x_kube(
    validation = Rule::new("self.mode != 'Listed' || (has(self.addresses) && self.addresses.size() > 0) || (has(self.aliases) && self.aliases.size() > 0) || has(self.catchAll)").message("recipients: mode Listed lists nobody; name addresses, aliases or a catchAll, or use mode Any"),
    validation = Rule::new("self.mode != 'Callout' || !has(self.catchAll)").message("recipients: mode Callout asks the host of deliverTo for each recipient; leave catchAll out"),
    validation = Rule::new("self.mode != 'Any' || (!has(self.catchAll) && (!has(self.addresses) || self.addresses.size() == 0))").message("recipients: mode Any takes everybody; leave addresses and catchAll out"),
)]
#[serde(rename_all = "camelCase")]
pub struct Recipients {
    /// How a recipient is looked up.
    pub mode: RecipientMode,
    /// Local parts that exist, without the domain. Letter case does not matter.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 5000),
        inner(length(min = 1, max = 64), regex(pattern = r"^[^\s@]+$"))
    )]
    pub addresses: Vec<String>,
    /// Local parts that stand for other addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1000))]
    pub aliases: Vec<Alias>,
    /// Address that gets what nobody else gets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 3, max = 254))]
    pub catch_all: Option<String>,
}

/// How a recipient is looked up.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecipientMode {
    /// Those that are named.
    Listed,
    /// Every local part.
    Any,
    /// Those that the host of `deliverTo` takes: it is asked by RCPT before a recipient is accepted. Those in `addresses`
    /// and `aliases` exist anyway.
    Callout,
}

/// A local part that stands for other addresses.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Alias {
    /// The local part.
    #[schemars(length(min = 1, max = 64), regex(pattern = r"^[^\s@]+$"))]
    pub name: String,
    /// Full addresses that get the mail in its place.
    #[schemars(length(min = 1, max = 100), inner(length(min = 3, max = 254)))]
    pub to: Vec<String>,
}

/// Where the mail goes: exactly one way.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[x_kube(validation = Rule::new("has(self.lmtp) != has(self.smtp)").message("deliverTo: give exactly one of lmtp and smtp"))]
#[serde(rename_all = "camelCase")]
pub struct DeliverTo {
    /// A mail store that speaks LMTP, such as Dovecot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lmtp: Option<HostPort>,
    /// A host that speaks SMTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub smtp: Option<HostPort>,
}

/// Who may send as a domain: exactly one of user and serviceAccount.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[x_kube(validation = Rule::new("has(self.user) != has(self.serviceAccount)").message("senders: give exactly one of user and serviceAccount"))]
#[serde(rename_all = "camelCase")]
pub struct Sender {
    /// Name of a user of the listener.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    pub user: Option<String>,
    /// A ServiceAccount, where the listener takes their tokens (`authentication.serviceAccounts`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account: Option<ServiceAccountRef>,
    /// Addresses of the domain that it may send as; empty = all of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1000), inner(length(min = 3, max = 254)))]
    pub addresses: Vec<String>,
}

/// How mail is signed. A key signs from the time when its record is seen in the DNS (with `dns.checks.dkim: Ignored` at once).
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[x_kube(
    validation = Rule::new("!(has(self.secretRef) && has(self.algorithms))").message("dkim: the Secret of secretRef says what is signed with; leave algorithms out"),
    validation = Rule::new("!has(self.algorithms) || self.algorithms.all(a, self.algorithms.exists_one(b, a == b))").message("dkim.algorithms: each once"),
)]
#[serde(rename_all = "camelCase")]
pub struct Dkim {
    /// A key is made for each, in the Secret `<name>-dkim`, and each message gets a signature by each. Absent = both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2))]
    pub algorithms: Option<Vec<DkimAlgorithm>>,
    /// A Secret with keys of your own in place of those: each entry `<selector>.pem` is a private key (PKCS #8, RSA of 2048 bits
    /// or more, or Ed25519; or PKCS #1). Nothing is written to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretRef>,
    /// Whether mail of others to this domain is sealed (ARC, RFC 8617), with the first of the keys that is RSA or else the first, where
    /// it goes on to another server: what was found of its sender is signed, for those who believe the domain. Seals are looked up
    /// where signatures are.
    #[serde(default)]
    pub arc: ArcSeal,
}

/// Which mail is sealed.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ArcSeal {
    /// None.
    #[default]
    Disabled,
    /// What strangers send to this domain and an alias, or `deliverTo.smtp`, takes to another server.
    Forwarded,
}

/// What is signed with.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum DkimAlgorithm {
    /// RSA with SHA-256, a key of 2048 bits: what every verifier knows (RFC 6376, RFC 8301).
    Rsa2048,
    /// Ed25519: small and fast; some verifiers do not know it yet (RFC 8463).
    Ed25519,
}

/// What others do with mail that has the domain in From and for which neither DKIM nor SPF speaks. The record that says so is judged
/// and shown, and published by its owner.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct DomainDmarc {
    /// What they are asked to do.
    pub policy: DmarcPolicy,
    /// Where they report each day what came in the domain's name: `mailto:ADDRESS`. The record may have others beside them. An address
    /// of another organisation gets reports where a record of that one consents.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 8),
        inner(length(max = 255), regex(pattern = r"^mailto:[^\s,;!@]+@[^\s,;!@]+$"))
    )]
    pub report_to: Vec<String>,
}

/// What others are asked to do with mail that is not the domain's own (RFC 9989 section 4.7, `p`).
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum DmarcPolicy {
    /// Nothing but reports.
    None,
    /// To treat it with suspicion.
    Quarantine,
    /// To refuse it.
    Reject,
}

/// The MTA-STS policy of the domain: `status.records` has policy and record to publish. The policy is on a web server of the domain's
/// owner; it is fetched as others fetch it, and both are judged.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct MtaSts {
    /// What others do where a server does not prove itself.
    pub mode: MtaStsMode,
    /// Certificates (PEM) of authorities that vouch for the host of the policy, in place of the public ones: for a domain whose mail
    /// comes from servers that trust these alone, in a network of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 64, max = 65536))]
    pub authorities: Option<String>,
}

/// What others do where a server does not prove itself (RFC 8461 section 5).
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum MtaStsMode {
    /// They deliver, and report it.
    Testing,
    /// They do not deliver there.
    Enforce,
    /// The policy of before is void.
    None,
}

/// Where other servers report how TLS went. The record that says so is judged and shown, and published by its owner.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct TlsRpt {
    /// `mailto:ADDRESS` or `https://…`. The record may have others beside them.
    #[schemars(
        length(min = 1, max = 8),
        inner(
            length(max = 255),
            regex(pattern = r"^(mailto:[^\s,;!@]+@[^\s,;!@]+|https://[^\s,;!/][^\s,;!]*)$")
        )
    )]
    pub report_to: Vec<String>,
}

/// How the DNS records are judged.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, Default, PartialEq)]
#[x_kube(validation = Rule::new("!has(self.resolvers) || self.resolvers.all(r, isIP(r) || r.matches('^([0-9]{1,3}[.]){3}[0-9]{1,3}:[0-9]{1,5}$') || r.matches('^[[][0-9a-fA-F:.]+[]]:[0-9]{1,5}$'))").message("dns.resolvers: each is IP, IP:port or [IPv6]:port"))]
#[serde(rename_all = "camelCase")]
pub struct DomainDns {
    /// Servers that are asked as if they were the domain's own, `IP` or `IP:port`: for an air gap or a split horizon.
    /// Empty = the domain's name servers are found, and each of them is asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), inner(length(min = 2, max = 64)))]
    pub resolvers: Vec<String>,
    /// How much each record matters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checks: Option<Checks>,
}

/// How much each record matters.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Checks {
    /// MX, where the domain has `inbound`.
    #[serde(default)]
    pub mx: Check,
    /// SPF.
    #[serde(default)]
    pub spf: Check,
    /// The records of the keys, where the domain has `dkim`. `Ignored`: the keys sign whether their records are seen or not.
    #[serde(default)]
    pub dkim: Check,
    /// The record of `dmarc`, where the domain has that.
    #[serde(default = "advised")]
    pub dmarc: Check,
    /// The record and the policy of `mtaSts`, where the domain has that.
    #[serde(default = "advised")]
    pub mta_sts: Check,
    /// The record of `tlsRpt`, where the domain has that.
    #[serde(default = "advised")]
    pub tls_rpt: Check,
    /// The TLSA records of its listeners (DANE), where the domain has `inbound`: of the key that each shows, and of one that is to
    /// come. Whether DNSSEC proves them is known from the AD bit of `dns.resolvers`, which must validate. Default `Ignored`.
    #[serde(default = "ignored")]
    pub dane: Check,
}

impl Default for Checks {
    fn default() -> Self {
        Self {
            mx: Check::default(),
            spf: Check::default(),
            dkim: Check::default(),
            dmarc: advised(),
            mta_sts: advised(),
            tls_rpt: advised(),
            dane: ignored(),
        }
    }
}

/// Mail flows without it.
fn advised() -> Check {
    Check::Advised
}

/// Few domains have it.
fn ignored() -> Check {
    Check::Ignored
}

/// How much a record matters.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Check {
    /// Ready needs it.
    #[default]
    Required,
    /// It is judged and shown; Ready does not need it.
    Advised,
    /// It is not asked for.
    Ignored,
}

/// How a domain stands.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct MailDomainStatus {
    /// Generation of the spec that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// One row for each wanted record and server.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub records: Vec<RecordStatus>,
    /// The proof that the domain is this namespace's own, where a listener of another one asks for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<Proof>,
    /// The keys that its mail is signed with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dkim: Option<DkimStatus>,
    /// Conditions: Ready, Reconciling, Stalled, MXValid, SPFValid, DKIMValid and DKIMKeysCurrent where it signs,
    /// DMARCValid with `dmarc`, MTASTSValid with `mtaSts`, TLSRPTValid with `tlsRpt`, DANEValid where `dns.checks.dane` asks for it, and OwnershipProven where a proof is asked for.
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    #[serde(default)]
    pub conditions: Vec<Condition>,
}

/// A record `_postroad.<domain>` that was seen at the domain's name servers.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Proof {
    /// The domain, in A-labels.
    pub domain: String,
    /// When it was seen last, to within six hours (RFC 3339).
    pub seen: String,
}

/// The keys of a domain.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct DkimStatus {
    /// The Secret that they are in.
    pub secret: String,
    /// The keys.
    #[serde(default)]
    pub keys: Vec<DkimKeyStatus>,
}

/// One key.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct DkimKeyStatus {
    /// Its record is at `<selector>._domainkey.<domain>`.
    pub selector: String,
    /// What it signs with: `Ed25519`, or `Rsa` and the bits of the key.
    pub algorithm: String,
    /// Whether it signs.
    pub state: DkimKeyState,
    /// Since when the state is so (RFC 3339).
    pub since: String,
}

/// Whether a key signs.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum DkimKeyState {
    /// Not yet: its record has not been seen in the DNS.
    Pending,
    /// It signs.
    Active,
}

/// A record: what is wanted and what was seen.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct RecordStatus {
    /// Name of the record.
    pub name: String,
    /// Type of the record: MX or TXT.
    #[serde(rename = "type")]
    pub type_: String,
    /// What is wanted, as it may be published.
    pub expected: String,
    /// What the server answered.
    pub observed: String,
    /// True, False or Unknown.
    pub verdict: String,
    /// The server that was asked.
    pub server: String,
    /// Since when the verdict is so (RFC 3339).
    pub since: String,
}
