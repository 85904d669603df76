//! Users of a policy's `match` who do not exist: it is for nobody's mail. Reads the users' Secrets of its listeners.

use kube::ResourceExt;
use postroad_crds::RelayPolicy;

use crate::context::Ctx;
use crate::smtp_listener::gather::named_secret;
use crate::smtp_listener::validate;

/// A sentence about those whom no listener of the policy knows. Nothing where that cannot be told: a Secret cannot be read, which the
/// status of its listener says, or a listener is of another namespace, whose users are nobody's business here.
pub async fn strangers(object: &RelayPolicy, ctx: &Ctx) -> Option<String> {
    let wanted = object.spec.matches.as_ref().map(|terms| &terms.users)?;
    if wanted.is_empty() {
        return None;
    }
    let own = object.namespace().unwrap_or_default();
    let mut known = Vec::new();
    for reference in &object.spec.listener_refs {
        let listener = ctx.listener(&own, reference)?;
        if listener.namespace().unwrap_or_default() != own {
            return None;
        }
        let given = listener.spec.authentication.as_ref();
        let Some(users) = given.and_then(|given| given.users.as_ref()) else {
            continue;
        };
        let name = &users.secret_ref.name;
        let secret = named_secret(ctx, &own, name).await.ok().flatten()?;
        let users = validate::users(&secret, name).ok()?;
        known.extend(users.into_iter().map(|user| user.name));
    }
    sentence(wanted, &known)
}

fn sentence(wanted: &[String], known: &[String]) -> Option<String> {
    let missing: Vec<_> = wanted.iter().filter(|user| !known.contains(user)).collect();
    let named = missing.iter().take(MOST_NAMED).map(|user| format!("`{user}`"));
    let named = named.collect::<Vec<_>>().join(", ");
    let whose = if missing.len() == wanted.len() {
        ", so that it is for nobody's mail"
    } else {
        ""
    };
    let more = missing.len().saturating_sub(MOST_NAMED);
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    (!missing.is_empty()).then(|| {
        format!("spec.match.users: no listener of it has the user {named}{more}{whose}; add them to the Secret of its users, or correct the names")
    })
}

const MOST_NAMED: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_who_do_not_exist_are_named() {
        let list = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        let said = |wanted: &[&str]| sentence(&list(wanted), &list(&["ann", "bob"]));
        assert_eq!(said(&["bob"]), None);
        let some = said(&["ann", "eve"]).unwrap();
        assert!(some.contains("`eve`;") && !some.contains("ann"), "{some}");
        let all = said(&["eve", "f", "g", "h", "i"]).unwrap();
        assert!(
            all.contains("`h` and 1 more, so that it is for nobody's mail"),
            "{all}"
        );
    }
}
