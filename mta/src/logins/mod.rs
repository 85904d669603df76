//! Logging in at smart hosts: what is said to them, tokens that are got ahead of need, and the pause after a refusal.
//!
//! ```text
//!   attempt ─► held? ─► proof ─┬─ a password, as configured
//!                              └─ keeper: a token in memory, renewed at about 80 % of its life by one flight for all (mint, ask)
//!                     └► connection, TLS, AUTH ─┬─ taken
//!                                               └─ refused ─► a token is got anew once ─► hold: nobody tries for a while
//! ```
//!
//! All of it goes by the credentials themselves: others in the configuration are others here, without a hold and without a
//! token. Secrets and tokens are in memory alone, and in no sentence.

pub mod answer;
mod ask;
pub mod assertion;
pub mod fault;
pub mod hold;
pub mod identity;
mod keeper;
mod mint;

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use aws_lc_rs::digest;
use postroad_config::admin::{LoginFault, RouteState, TokenState};
use postroad_config::{ConfigFile, Credentials};
use postroad_smtp::sasl::client::Proof;

use self::fault::NoLogin;
use self::hold::Hold;
use self::keeper::Keeper;
use self::mint::Way;
use crate::deliver::plan::route_name;
use crate::deliver::tls::ClientTls;
use crate::dns::Dns;
use crate::dsn::text::{Charset, one_line};
use crate::queue::clock;

/// Names credentials by all that they hold; in this process alone, so that nobody can try passwords on a name that is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Id([u8; 32]);

impl Id {
    /// The name of these.
    pub fn of(credentials: &Credentials) -> Self {
        static KEY: OnceLock<String> = OnceLock::new();
        let mut sum = Sum(digest::Context::new(&digest::SHA256));
        sum.0.update(KEY.get_or_init(clock::token).as_bytes());
        credentials.hash(&mut sum);
        let mut id = [0; 32];
        for (to, from) in id.iter_mut().zip(sum.0.finish().as_ref()) {
            *to = *from;
        }
        Self(id)
    }

    /// The beginning of it, for names of sites.
    pub fn short(self) -> String {
        let [a, b, c, d, ..] = self.0;
        format!("{:08x}", u32::from_be_bytes([a, b, c, d]))
    }

    /// Whether mail of this site is sent with these ([`crate::deliver::plan::Plan::site`]).
    fn is_of(self, site: &str) -> bool {
        let short = self.short();
        site.split('#').skip(1).any(|named| named == short)
    }
}

/// SHA-256 of all that `Hash` finds in a value: nobody makes two secrets of one name.
struct Sum(digest::Context);

impl Hasher for Sum {
    fn write(&mut self, octets: &[u8]) {
        self.0.update(octets);
    }

    fn finish(&self) -> u64 {
        0
    }
}

/// Proofs and holds. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Logins {
    keeper: Keeper,
    standings: Arc<Mutex<HashMap<Id, Standing>>>,
}

/// How logins with some credentials stand.
#[derive(Clone, Debug, Default)]
struct Standing {
    /// A server took them, and none refused them since.
    is_proven: bool,
    hold: Option<Hold>,
    /// Until they are proven one login goes alone.
    gate: Arc<tokio::sync::Mutex<()>>,
    /// When somebody last asked for it, in milliseconds since 1970.
    used: u64,
}

impl Standing {
    /// Whether nothing is lost with it but a proof: nobody waits at its gate, and no refusal is to be remembered. That of
    /// credentials in use is, also after its pause: the next one is longer.
    fn is_spare(&self, now: u64) -> bool {
        let is_idle = now >= self.used.saturating_add(UNUSED);
        let holds = self.hold.as_ref().is_some_and(|hold| hold.holds(now) || !is_idle);
        !holds && Arc::strong_count(&self.gate) == 1
    }
}

impl Logins {
    /// `dns` finds authorities, and `tls` proves them.
    pub fn new(dns: Dns, tls: ClientTls) -> Self {
        Self {
            keeper: Keeper::new(Way { dns, tls }),
            standings: Arc::default(),
        }
    }

    /// Why nobody tries to log in with these now.
    pub fn held(&self, id: Id) -> Option<NoLogin> {
        let now = clock::now();
        let mut standings = self.standings();
        let standing = standings.get_mut(&id)?;
        standing.used = now;
        let hold = standing.hold.as_ref()?;
        hold.holds(now).then(|| hold.why.clone())
    }

    /// A person wants to know now, and asked at that time, whether mail of this site goes: pauses that began before are over.
    pub fn probe(&self, site: &str, asked: u64) {
        for (id, standing) in self.standings().iter_mut() {
            if let Some(hold) = standing.hold.as_mut().filter(|_| id.is_of(site)) {
                hold.end_for(asked);
            }
        }
        self.keeper.probe(site, asked);
    }

    /// Routes where nobody logs in for now, and why: of passwords, tokens and certificates alike.
    pub fn refusals(&self, config: &ConfigFile) -> Vec<RouteState> {
        let now = clock::now();
        let mut found = Vec::new();
        for policy in &config.policies {
            for (number, route) in policy.routes.iter().enumerate() {
                let hold = route.credentials.as_ref().and_then(|given| self.hold(given));
                if let Some(hold) = hold.filter(|hold| hold.holds(now)) {
                    found.push(RouteState {
                        route: route_name(&policy.name, number),
                        reason: hold.why.fault.name().to_owned(),
                        since: hold.since,
                        until: hold.until(),
                        reply: one_line(&hold.why.reason, Charset::Unicode, LONGEST_REASON),
                    });
                }
            }
        }
        found
    }

    fn hold(&self, credentials: &Credentials) -> Option<Hold> {
        let is_idle = self.standings().is_empty() && self.keeper.is_idle();
        if is_idle {
            return None;
        }
        let id = Id::of(credentials);
        let standing = self.standings().get(&id).and_then(|known| known.hold.clone());
        // While an old token holds, that there is no new one is no trouble yet.
        standing.or_else(|| self.keeper.hold(id))
    }

    /// Waits for the turn to log in, where that is still to be proved: twenty connections at once must not say the same wrong
    /// password twenty times.
    pub async fn turn(&self, id: Id) -> Option<tokio::sync::OwnedMutexGuard<()>> {
        let gate = self.standing(id, |standing| {
            (!standing.is_proven).then(|| standing.gate.clone())
        })?;
        let turn = gate.lock_owned().await;
        // Whoever went before may have proved it.
        let is_proven = self.standing(id, |standing| standing.is_proven);
        (!is_proven).then_some(turn)
    }

    /// What to log in with; `None`: the certificate is enough. Errors: there is nothing, or no token.
    pub async fn proof(&self, id: Id, credentials: &Credentials) -> Result<Option<Proof>, NoLogin> {
        let user = match credentials {
            Credentials::Password(given) => {
                return Ok(Some(Proof::Password {
                    user: given.user.clone(),
                    password: given.password.clone(),
                }));
            }
            Credentials::ClientCertificate(pair) => return identity::certified(pair).map(|_| None),
            Credentials::Missing(missing) => {
                return Err(NoLogin::new(
                    LoginFault::CredentialsMissing,
                    missing.reason.clone(),
                ));
            }
            Credentials::OauthClient(client) => &client.user,
            Credentials::GoogleServiceAccount(account) => &account.user,
        };
        let token = self.keeper.token(id, credentials).await?;
        Ok(Some(Proof::Token {
            user: user.clone(),
            token,
        }))
    }

    /// A server refused this token: it is used no more.
    pub fn forget(&self, id: Id, token: &str) {
        self.keeper.forget(id, token);
        self.standing(id, |standing| standing.is_proven = false);
    }

    /// A server took the login.
    pub fn passed(&self, id: Id) {
        self.standing(id, |standing| {
            standing.is_proven = true;
            standing.hold = None;
        });
    }

    /// A login failed: nobody tries for a while.
    pub fn refused(&self, id: Id, why: &NoLogin) {
        let now = clock::now();
        self.standing(id, |standing| {
            standing.is_proven = false;
            let before = standing.hold.as_ref();
            // Those that were under way together count once.
            if !before.is_some_and(|hold| hold.holds(now)) {
                standing.hold = Some(Hold::after(before, why.clone(), now, clock::draw()));
            }
        });
    }

    /// How the token of these stands; absent where there are no tokens.
    pub fn token_state(&self, id: Id, credentials: &Credentials) -> Option<TokenState> {
        credentials.token_endpoint()?;
        Some(self.keeper.state(id))
    }

    fn standing<T>(&self, id: Id, with: impl FnOnce(&mut Standing) -> T) -> T {
        let now = clock::now();
        let mut standings = self.standings();
        if !standings.contains_key(&id) {
            make_room(&mut standings, now);
        }
        let standing = standings.entry(id).or_default();
        standing.used = now;
        with(standing)
    }

    fn standings(&self) -> MutexGuard<'_, HashMap<Id, Standing>> {
        self.standings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lets go of those that are used least, until there is room for another. Those that hold something stay, and there may be more of
/// them: a configuration that has so many has them all.
fn make_room(standings: &mut HashMap<Id, Standing>, now: u64) {
    while standings.len() >= MOST_STANDINGS {
        let spare = standings.iter().filter(|(_, standing)| standing.is_spare(now));
        let oldest = spare.min_by_key(|(_, standing)| standing.used).map(|(id, _)| *id);
        let Some(oldest) = oldest else { return };
        standings.remove(&oldest);
    }
}

const MOST_STANDINGS: usize = 256;
/// Milliseconds; longer than any pause.
const UNUSED: u64 = 3_600_000;
/// Of a refusal, where the operator is told.
const LONGEST_REASON: usize = 400;

#[cfg(test)]
mod tests {
    use super::*;

    fn password(user: &str, password: &str) -> Credentials {
        Credentials::Password(postroad_config::Password {
            user: user.into(),
            password: password.into(),
        })
    }

    #[test]
    fn credentials_have_one_name_and_others_another() {
        let one = Id::of(&password("ann", "secret"));
        assert_eq!(one, Id::of(&password("ann", "secret")));
        for other in [
            password("ann", "secret2"),
            password("anns", "ecret"),
            password("", "annsecret"),
        ] {
            assert_ne!(one, Id::of(&other), "{other:?}");
        }
        assert_eq!(one.short().len(), 8);
    }

    #[tokio::test]
    async fn logins_go_alone_until_they_are_proven() {
        let dns = Dns::new(crate::dns::table::Table::default());
        let logins = Logins::new(dns, ClientTls::public().unwrap());
        let id = Id::of(&password("ann", "secret"));
        let turn = logins.turn(id).await;
        assert!(turn.is_some());
        let second = tokio::spawn({
            let logins = logins.clone();
            async move { logins.turn(id).await.is_some() }
        });
        logins.passed(id);
        drop(turn);
        assert!(!second.await.unwrap(), "the first has proved it");
        assert!(logins.turn(id).await.is_none());
        logins.refused(id, &NoLogin::new(LoginFault::CredentialsRefused, "no"));
        assert!(logins.held(id).is_some() && logins.turn(id).await.is_some());
        assert!(logins.held(Id::of(&password("ann", "other"))).is_none());
    }

    #[tokio::test]
    async fn a_refused_login_is_remembered_however_many_others_there_are() {
        let dns = Dns::new(crate::dns::table::Table::default());
        let logins = Logins::new(dns, ClientTls::public().unwrap());
        let of = |number: usize| Id::of(&password(&format!("user-{number}"), "x"));
        let refuse = |id| logins.refused(id, &NoLogin::new(LoginFault::CredentialsRefused, "no"));
        let (refused, waits) = (of(0), of(1));
        refuse(refused);
        let turn = logins.turn(waits).await;
        for number in 2..3 * MOST_STANDINGS {
            logins.passed(of(number));
        }
        assert!(logins.held(refused).is_some(), "it is tried again at once");
        assert!(logins.standings().contains_key(&waits), "two log in at once");
        assert_eq!(
            logins.standings().len(),
            MOST_STANDINGS,
            "the others are let go of"
        );
        drop(turn);
        // More than there is room for: each is held all the same.
        for number in 0..2 * MOST_STANDINGS {
            refuse(of(number));
        }
        assert!((0..2 * MOST_STANDINGS).all(|number| logins.held(of(number)).is_some()));
        // After its pause a refusal counts for an hour, and then no more.
        let later = |hours: u64| clock::now() + hours * UNUSED;
        let mut standings = logins.standings();
        for standing in standings.values_mut() {
            standing.hold.as_mut().unwrap().end_for(clock::now());
            standing.used = clock::now() - UNUSED / 2;
        }
        make_room(&mut standings, clock::now());
        assert_eq!(standings.len(), 2 * MOST_STANDINGS);
        make_room(&mut standings, later(1));
        assert_eq!(standings.len(), MOST_STANDINGS - 1);
    }

    #[test]
    fn a_person_ends_the_pause_of_a_site_and_of_no_other() {
        let dns = Dns::new(crate::dns::table::Table::default());
        let logins = Logins::new(dns, ClientTls::public().unwrap());
        let (ours, other) = (Id::of(&password("ann", "x")), Id::of(&password("bob", "y")));
        for id in [ours, other] {
            logins.refused(id, &NoLogin::new(LoginFault::CredentialsRefused, "no"));
        }
        let site = format!("smtp:h.example:587@mail/p#{}", ours.short());
        logins.probe(&site, 0);
        assert!(logins.held(ours).is_some(), "refused since the person asked");
        logins.probe(&site, clock::now());
        assert!(logins.held(ours).is_none() && logins.held(other).is_some());
    }

    #[test]
    fn a_refused_login_is_told_by_route_until_it_is_taken() {
        let text = "format: 1\nhostname: m.example\nspool: {directory: /x}\npolicies:\n  - name: mail/p\n    routes:\n      \
                    - {to: {direct: {}}, tls: Opportunistic}\n      \
                    - to: {smartHosts: [{host: h.example, port: 587}]}\n        tls: Verified\n        \
                    credentials: {password: {user: ann, password: secret}}\n";
        let config = postroad_config::assemble(text, &std::collections::BTreeMap::new())
            .unwrap()
            .file;
        let dns = Dns::new(crate::dns::table::Table::default());
        let logins = Logins::new(dns, ClientTls::public().unwrap());
        assert!(logins.refusals(&config).is_empty());
        let id = Id::of(config.policies[0].routes[1].credentials.as_ref().unwrap());
        logins.refused(
            id,
            &NoLogin::new(LoginFault::CredentialsRefused, "the login was refused"),
        );
        let [told] = logins.refusals(&config).try_into().unwrap();
        assert_eq!(
            (told.route.as_str(), told.reason.as_str(), told.reply.as_str()),
            ("mail/p#1", "CredentialsRefused", "the login was refused")
        );
        assert!(told.since > 0 && told.until > told.since);
        logins.refused(
            Id::of(&password("ann", "other")),
            &NoLogin::new(LoginFault::Other, "no"),
        );
        assert_eq!(logins.refusals(&config).len(), 1, "those are of no route");
        logins.passed(id);
        assert!(logins.refusals(&config).is_empty());
    }
}
