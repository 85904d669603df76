//! Whether the host of a domain keeps REQUIRETLS (RFC 8689): asked before a recipient of a message that needs it gets 250
//! from us. What it could not take would have to be returned, to a sender that may be forged.
//!
//! ```text
//!   RCPT ─► known? ─┬─► link with proven TLS ─► EHLO or LHLO ─► QUIT ─► Keeps
//!                   └─◄ kept for ten minutes; a host that could not be reached is asked again after ten seconds
//! ```

use std::sync::PoisonError;
use std::time::{Duration, Instant};

use postroad_config::{Deliver, TlsMode};

use super::places::LEFT_ALONE;
use super::{Callout, PATIENCE};
use crate::deliver::control::Passing;
use crate::deliver::hosts::Server;
use crate::deliver::link::{Link, Target, Trouble};
use crate::deliver::patience::Patience;
use crate::deliver::protection::Protection;

/// What is known of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeps {
    /// It keeps REQUIRETLS.
    Yes,
    /// It does not offer it.
    NotOffered,
    /// There is no TLS with it that proves who it is.
    NoTls,
    /// It cannot be told now.
    Unknown,
}

impl Callout {
    /// Whether the host keeps REQUIRETLS.
    pub async fn keeps_tls(&self, host: &Deliver, hostname: &str) -> Keeps {
        if let Some(known) = self.recall_promise(host) {
            return known;
        }
        let dialogue = async {
            let place = self.0.places.of(host);
            let Ok(_slot) = place.promises.acquire().await else {
                return Keeps::Unknown;
            };
            // Found out by those in front.
            if let Some(known) = self.recall_promise(host) {
                return known;
            }
            let Some(_room) = self.0.budget.ask() else {
                return Keeps::Unknown;
            };
            let mut last = Keeps::Unknown;
            for server in &self.servers(host, hostname).await {
                last = self.greet(server, hostname).await;
                if last == Keeps::Yes {
                    break;
                }
            }
            last
        };
        let keeps = tokio::time::timeout(PATIENCE, dialogue)
            .await
            .unwrap_or(Keeps::Unknown);
        let mut known = self.0.promises.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, (keeps, since)| since.elapsed() < kept(*keeps));
        known.insert(host.clone(), (keeps, Instant::now()));
        keeps
    }

    /// The first address that answers speaks for the host.
    async fn greet(&self, server: &Server, hostname: &str) -> Keeps {
        let protection = Protection::from(TlsMode::Verified);
        for address in &server.addresses {
            let target = Target {
                server,
                address: *address,
                tls: &protection,
                require_tls: true,
                hostname,
                login: None,
                recipients: None,
                messages: None,
                implicit_tls: false,
                passing: Passing::All,
                rewrite: None,
                lane: None,
                patience: Patience::default(),
                seen: None,
                authorities: None,
                witness: None,
            };
            let judged = match Link::open(&target, &self.0.tls).await {
                Ok(link) => {
                    let promised = link.promises(&target, None);
                    tokio::spawn(link.quit());
                    promised
                }
                Err(trouble) => Err(trouble),
            };
            match judge(&judged) {
                Keeps::Unknown => {}
                keeps => return keeps,
            }
        }
        Keeps::Unknown
    }

    fn recall_promise(&self, host: &Deliver) -> Option<Keeps> {
        let known = self.0.promises.lock().unwrap_or_else(PoisonError::into_inner);
        let (keeps, since) = known.get(host)?;
        (since.elapsed() < kept(*keeps)).then_some(*keeps)
    }
}

/// What trouble is of the host, and what of the moment.
fn judge(promised: &Result<(), Trouble>) -> Keeps {
    match promised {
        Ok(()) => Keeps::Yes,
        Err(Trouble::Lacks(_)) => Keeps::NotOffered,
        Err(Trouble::Tls(no)) if no.lasting => Keeps::NoTls,
        Err(_) => Keeps::Unknown,
    }
}

/// How long an answer is kept; the hosts of the configuration are few. One that could not be reached is left alone for a
/// moment, as each try may take all the patience there is.
fn kept(keeps: Keeps) -> Duration {
    match keeps {
        Keeps::Unknown => LEFT_ALONE,
        _ => Duration::from_mins(10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deliver::connect::NoTls;
    use crate::deliver::demand::Lack;
    use crate::deliver::tls_fault::TlsFault;

    #[test]
    fn only_what_lasts_is_held_against_a_host() {
        let tls = |lasting| {
            Err(Trouble::Tls(NoTls {
                reason: String::new(),
                lasting,
                fault: TlsFault::Handshake,
            }))
        };
        for (promised, keeps) in [
            (Ok(()), Keeps::Yes),
            (Err(Trouble::Lacks(Lack::RequireTls)), Keeps::NotOffered),
            (tls(true), Keeps::NoTls),
            (tls(false), Keeps::Unknown),
            (Err(Trouble::Connect("refused".into())), Keeps::Unknown),
        ] {
            assert_eq!(judge(&promised), keeps, "{promised:?}");
        }
    }
}
