//! Forward-paths: which recipients exist, and where their mail goes.

use std::collections::HashSet;

use postroad_config::{Domain, DomainName, Inbound, RecipientMode, Role};

use super::address::Address;
use super::{Accepted, Context, Refusal};

pub(super) fn judge(context: &Context<'_>, forward_path: &str) -> Result<Accepted, Refusal> {
    // RFC 5321 section 4.5.1: `<Postmaster>` without a domain is taken by every server.
    if forward_path.eq_ignore_ascii_case(POSTMASTER) {
        return own_postmaster(context);
    }
    let address = Address::parse(forward_path).ok_or(NO_DOMAIN)?;
    let ours = address
        .domain
        .as_ref()
        .and_then(|name| context.settings.domain(name));
    match ours.and_then(|domain| domain.inbound.as_ref().map(|inbound| (domain, inbound))) {
        Some((domain, inbound)) => here(context, domain, inbound, &address, forward_path),
        None if context.role == Role::Submission || context.may_relay => Ok(Accepted {
            to: vec![forward_path.to_owned()],
            aliased: false,
            ask: None,
        }),
        None => Err(context.unknown(NO_RELAY)),
    }
}

/// A recipient in a domain that we receive for.
fn here(
    context: &Context<'_>,
    domain: &Domain,
    inbound: &Inbound,
    address: &Address,
    forward_path: &str,
) -> Result<Accepted, Refusal> {
    let itself = || Accepted {
        to: vec![forward_path.to_owned()],
        aliased: false,
        ask: None,
    };
    let local = address.key();
    if context.settings.alias(&domain.name, &local).is_some() {
        let to = expand(context, forward_path);
        return if to.is_empty() {
            Err(ALIAS_LOOP)
        } else {
            Ok(Accepted {
                to,
                aliased: true,
                ask: None,
            })
        };
    }
    if context.settings.is_listed(&domain.name, &local) {
        return Ok(itself());
    }
    // `user%host@here` and its like ask for a relay; they are taken only where the configuration lists them as they are.
    if address.is_routed() {
        return Err(NO_RELAY);
    }
    if inbound.recipients.mode == RecipientMode::Any {
        return Ok(itself());
    }
    if inbound.recipients.mode == RecipientMode::Callout && local != POSTMASTER {
        return Ok(Accepted {
            ask: Some(inbound.deliver_to.clone()),
            ..itself()
        });
    }
    match &inbound.recipients.catch_all {
        Some(to) => Ok(Accepted {
            to: vec![to.clone()],
            aliased: true,
            ask: None,
        }),
        None if local == POSTMASTER => Ok(itself()),
        None => Err(context.unknown(NO_MAILBOX)),
    }
}

/// Replaces aliases by what they stand for, through aliases of aliases. Loops end in nothing; doubles are written once.
fn expand(context: &Context<'_>, start: &str) -> Vec<String> {
    let mut open = vec![start.to_owned()];
    let mut seen = HashSet::new();
    let mut found = Vec::new();
    while let Some(path) = open.pop() {
        let address = Address::parse(&path);
        let name = address.as_ref().map_or_else(
            || path.clone(),
            |address| {
                let domain = address.domain.as_ref().map_or("", DomainName::as_str);
                format!("{}@{domain}", address.key())
            },
        );
        if !seen.insert(name) || seen.len() > MOST_TARGETS {
            continue;
        }
        let alias = address
            .as_ref()
            .and_then(|address| context.settings.alias(address.domain.as_ref()?, &address.key()));
        match alias {
            Some(alias) => open.extend(alias.to.iter().rev().cloned()),
            None => found.push(path),
        }
    }
    found
}

/// The postmaster of this server: of the domain that its own name lies in, else of the first domain that is received for. A
/// server that relays alone has one too (RFC 5321 section 4.5.1): its mail goes out, to the domain that its name lies in.
fn own_postmaster(context: &Context<'_>) -> Result<Accepted, Refusal> {
    let file = &context.settings.set.file;
    let hostname = file.hostname.as_str();
    let inbound = || file.domains.iter().filter(|domain| domain.inbound.is_some());
    let lies_in = |domain: &&Domain| {
        hostname
            .strip_suffix(domain.name.as_str())
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    if let Some(home) = inbound().find(lies_in).or_else(|| inbound().next()) {
        return judge(context, &format!("{POSTMASTER}@{}", home.name));
    }
    if !context.complete {
        return Err(context.unknown(NO_MAILBOX));
    }
    let sends = file.domains.iter().find(lies_in);
    let domain = sends.map_or_else(|| above(hostname), |domain| domain.name.as_str());
    Ok(Accepted {
        to: vec![format!("{POSTMASTER}@{domain}")],
        aliased: false,
        ask: None,
    })
}

/// The domain that a host lies in by its name; a name of two labels is its own.
fn above(hostname: &str) -> &str {
    match hostname.split_once('.') {
        Some((_, rest)) if rest.contains('.') => rest,
        _ => hostname,
    }
}

const POSTMASTER: &str = "postmaster";
const MOST_TARGETS: usize = 1_000;
const NO_RELAY: Refusal = Refusal::new(550, "5.7.1", "Relaying to this recipient is not permitted");
/// RFC 3463 section 3.2: such as one with a label `xn--…` that is no A-label (RFC 5891 section 5.4).
const NO_DOMAIN: Refusal = Refusal::new(501, "5.1.3", "The domain of this recipient is no domain name");
const NO_MAILBOX: Refusal = Refusal::new(550, "5.1.1", "No such mailbox here");
const ALIAS_LOOP: Refusal = Refusal::new(550, "5.4.6", "This alias leads back to itself");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::tests::{DOMAINS, at, settings};

    fn outcome(context: &Context<'_>, path: &str) -> Result<Vec<String>, u16> {
        context
            .recipient(path)
            .map(|accepted| accepted.to)
            .map_err(|refusal| refusal.code)
    }

    #[test]
    fn transfer_takes_recipients_of_received_domains_only() {
        let settings = settings(DOMAINS);
        let context = at(&settings, Role::Transfer);
        for (path, want) in [
            ("alice@example.com", Ok(vec!["alice@example.com"])),
            ("\"ALICE\"@Example.com", Ok(vec!["\"ALICE\"@Example.com"])),
            ("bob@example.com", Err(550)),
            ("postmaster@example.com", Ok(vec!["postmaster@example.com"])),
            ("Postmaster", Ok(vec!["postmaster@example.com"])),
            (
                "sales@example.com",
                Ok(vec!["alice@example.com", "bob@else.example"]),
            ),
            ("ring@example.com", Ok(vec!["alice@example.com"])),
            ("x@any.example", Ok(vec!["x@any.example"])),
            ("x%elsewhere.example@any.example", Err(550)),
            ("elsewhere.example!x@any.example", Err(550)),
            ("\"x@elsewhere.example\"@any.example", Err(550)),
            ("odd%one@example.com", Ok(vec!["odd%one@example.com"])),
            ("x@catch.example", Ok(vec!["all@example.com"])),
            ("x@only-sends.example", Err(550)),
            ("x@elsewhere.example", Err(550)),
            ("x@[127.0.0.1]", Err(550)),
            ("x@sub.example.com", Err(550)),
            // No A-label: its punycode stands for nothing.
            ("alice@xn--99999999.example", Err(501)),
        ] {
            let want = want.map(|paths| paths.into_iter().map(str::to_owned).collect::<Vec<_>>());
            assert_eq!(outcome(&context, path), want, "{path}");
        }
    }

    #[test]
    fn nothing_is_refused_for_good_while_the_configuration_is_incomplete() {
        let settings = settings(DOMAINS);
        let context = Context {
            complete: false,
            ..at(&settings, Role::Transfer)
        };
        for path in ["bob@example.com", "x@elsewhere.example"] {
            assert_eq!(outcome(&context, path), Err(451), "{path}");
        }
        assert!(outcome(&context, "alice@example.com").is_ok());
    }

    #[test]
    fn a_server_that_receives_for_no_domain_has_a_postmaster_all_the_same() {
        for (domains, to) in [
            ("", "postmaster@example.com"),
            ("domains: [{name: other.example}]\n", "postmaster@example.com"),
            (
                "domains: [{name: other.example}, {name: mail.example.com}]\n",
                "postmaster@mail.example.com",
            ),
        ] {
            let settings = settings(domains);
            let context = at(&settings, Role::Transfer);
            assert_eq!(
                outcome(&context, "PostMaster"),
                Ok(vec![to.to_owned()]),
                "{domains}"
            );
            assert_eq!(outcome(&context, to), Err(550), "it is no way in for others");
            let incomplete = Context {
                complete: false,
                ..context
            };
            assert_eq!(outcome(&incomplete, "postmaster"), Err(451));
        }
        assert_eq!(above("mail.example"), "mail.example");
        assert_eq!(above("localhost"), "localhost");
    }

    #[test]
    fn submission_takes_any_recipient_but_ours_must_exist() {
        let settings = settings(DOMAINS);
        let context = Context {
            identity: Some("alice"),
            ..at(&settings, Role::Submission)
        };
        assert!(outcome(&context, "x@elsewhere.example").is_ok());
        assert!(outcome(&context, "x@only-sends.example").is_ok());
        assert_eq!(outcome(&context, "bob@example.com"), Err(550));
    }

    #[test]
    fn a_network_that_may_relay_reaches_anyone_but_ours_must_exist() {
        let settings = settings(DOMAINS);
        let context = Context {
            may_relay: true,
            ..at(&settings, Role::Transfer)
        };
        assert!(outcome(&context, "x@elsewhere.example").is_ok());
        assert_eq!(outcome(&context, "bob@example.com"), Err(550));
        let context = Context {
            may_relay: true,
            ..at(&settings, Role::Submission)
        };
        assert_eq!(context.sender("whoever@elsewhere.example"), Ok(()));
        assert_eq!(context.author(&[]), Ok(()));
    }

    #[test]
    fn an_alias_is_marked_so_that_the_given_address_goes_on() {
        let settings = settings(DOMAINS);
        let context = at(&settings, Role::Transfer);
        assert!(context.recipient("sales@example.com").unwrap().aliased);
        assert!(!context.recipient("alice@example.com").unwrap().aliased);
    }
}
