//! Reverse-paths: who may send as whom.

use postroad_config::{DomainName, Sender};

use super::address::{Address, key};
use super::{Context, Refusal};

pub(super) fn judge(context: &Context<'_>, reverse_path: &str) -> Result<(), Refusal> {
    if context.is_unbound() {
        return Ok(());
    }
    let Some(identity) = context.identity else {
        return Err(UNKNOWN_CLIENT);
    };
    // The null reverse-path is a user's too: disposition notices must have it (RFC 8098 section 3). Their author is
    // still judged by the From field.
    if reverse_path.is_empty() {
        return Ok(());
    }
    let address = Address::parse(reverse_path);
    match address {
        Some(address) if may_use(context, identity, &address) => Ok(()),
        _ => Err(context.unknown(NOT_YOURS)),
    }
}

/// Whether the user may write this address in the reverse-path and in From.
pub(super) fn may_use(context: &Context<'_>, identity: &str, address: &Address) -> bool {
    let Some(domain) = address
        .domain
        .as_ref()
        .and_then(|name| context.settings.domain(name))
    else {
        return false;
    };
    domain
        .senders
        .iter()
        .any(|sender| sender.user == identity && covers(sender, &domain.name, address))
}

fn covers(sender: &Sender, domain: &DomainName, address: &Address) -> bool {
    sender.addresses.is_empty()
        || sender
            .addresses
            .iter()
            .any(|allowed| match Address::parse(allowed) {
                Some(allowed) => allowed.domain.as_ref() == Some(domain) && allowed.key() == address.key(),
                None => key(allowed) == address.key(),
            })
}

/// RFC 4954 section 6.
const UNKNOWN_CLIENT: Refusal = Refusal::new(530, "5.7.0", "Authentication required");
/// RFC 6409 section 6.1.
pub(super) const NOT_YOURS: Refusal = Refusal::new(550, "5.7.1", "This sender address is not yours to use");

#[cfg(test)]
mod tests {
    use postroad_config::Role;

    use crate::policy::tests::{DOMAINS, at, settings};

    #[test]
    fn a_user_sends_as_own_addresses_only() {
        let settings = settings(DOMAINS);
        let mut context = at(&settings, Role::Submission);
        for (identity, path, want) in [
            (Some("alice"), "alice@example.com", 0),
            (Some("alice"), "SALES@EXAMPLE.com", 0),
            (Some("alice"), "", 0),
            (Some("alice"), "bob@example.com", 550),
            (Some("alice"), "alice@any.example", 550),
            (Some("alice"), "alice@unknown.example", 550),
            (Some("alice"), "alice@[127.0.0.1]", 550),
            (Some("root"), "whoever@example.com", 0),
            (Some("mallory"), "alice@example.com", 550),
            (None, "alice@example.com", 530),
            (None, "", 530),
        ] {
            context.identity = identity;
            let code = context.sender(path).err().map_or(0, |refusal| refusal.code);
            assert_eq!(code, want, "{identity:?} as <{path}>");
        }
        context.identity = Some("alice");
        context.complete = false;
        assert_eq!(context.sender("alice@unknown.example").unwrap_err().code, 451);
    }

    #[test]
    fn other_servers_write_any_reverse_path() {
        let settings = settings(DOMAINS);
        for path in ["", "alice@example.com", "x@elsewhere.example"] {
            assert_eq!(at(&settings, Role::Transfer).sender(path), Ok(()));
        }
    }
}
