//! `postroad-mta queue …`: the queue of the mail server that runs on this machine, or in this container.
//!
//! Speaks to the socket in the spool's folder (`crate::admin::socket`): whoever may write there may give orders.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use axum::body::Body;
use http_body_util::BodyExt as _;
use hyper::client::conn::http1;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use postroad_config::admin::{
    Carried, Entry, Gate, ListQuery, Page, Refusal, Selection, Site, SiteOrder, SitesPage, SuspendedSites,
};
use serde::de::DeserializeOwned;

use super::{counted, say};
use crate::admin::socket;
use crate::reload::unreadable;

/// What is wanted.
#[derive(Clone, Debug)]
pub enum Wish {
    /// The messages that fit.
    List(ListQuery),
    /// One message.
    Show(String),
    /// Where mail goes.
    Sites,
    /// An order about a site, by the name of its verb.
    Site(&'static str, SiteOrder),
    /// An order, by the name of its verb.
    Order(&'static str, Selection),
}

/// Asks the mail server and prints what it says. `json`: as it said it.
pub fn run(spool: &Path, wish: Wish, json: bool) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_io().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error),
    };
    match runtime.block_on(fulfil(&socket::path(spool), wish, json)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(sentence) => failed(&sentence),
    }
}

/// The folder of the spool that a configuration names. Errors: a sentence.
pub fn spool_of(config: &Path) -> Result<PathBuf, String> {
    let text = std::fs::read_to_string(config).map_err(|error| {
        format!(
            "{}: {}; name the configuration of the mail server: postroad-mta queue --config FILE …",
            config.display(),
            unreadable(&error)
        )
    })?;
    // Its other mistakes do not matter: the mail server runs by what it read before.
    postroad_config::spool_directory(&text).ok_or_else(|| {
        format!(
            "{}: no `spool.directory` can be read in it, which says where the mail server is asked; see `postroad-mta check`",
            config.display()
        )
    })
}

fn failed(error: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("{error}");
    ExitCode::FAILURE
}

async fn fulfil(socket: &Path, wish: Wish, json: bool) -> Result<(), String> {
    match wish {
        Wish::List(mut query) => {
            let all = query == ListQuery::default();
            let mut any = false;
            loop {
                let target = format!("/v1/queue?{}", terms(&query));
                let page: Page = ask(socket, Method::GET, &target, None).await?;
                any |= !page.entries.is_empty();
                for entry in &page.entries {
                    if json {
                        print_json(entry)?;
                    } else {
                        print_entry(entry);
                    }
                }
                match page.next {
                    Some(next) => query.after = Some(next),
                    None => break,
                }
            }
            if !any && !json {
                eprintln!(
                    "{}",
                    if all {
                        "nothing waits"
                    } else {
                        "nothing that waits fits"
                    }
                );
            }
            Ok(())
        }
        Wish::Show(id) => {
            let entry: Entry = ask(socket, Method::GET, &format!("/v1/queue/{}", encoded(&id)), None).await?;
            if json {
                return print_json(&entry);
            }
            print_entry(&entry);
            Ok(())
        }
        Wish::Sites => {
            let mut target = format!("/v1/sites?limit={LONGEST_PAGE}");
            let mut any = false;
            loop {
                let page: SitesPage = ask(socket, Method::GET, &target, None).await?;
                any |= !page.sites.is_empty();
                for site in &page.sites {
                    if json {
                        print_json(site)?;
                    } else {
                        print_site(site);
                    }
                }
                match page.next {
                    Some(next) => target = format!("/v1/sites?limit={LONGEST_PAGE}&after={}", encoded(&next)),
                    None => break,
                }
            }
            if !any && !json {
                eprintln!("mail waits for no site");
            }
            Ok(())
        }
        Wish::Site(verb, order) => {
            let body = serde_json::to_vec(&order).map_err(|error| error.to_string())?;
            let site = order.site;
            let target = format!("/v1/sites/{verb}");
            let now: SuspendedSites = ask(socket, Method::POST, &target, Some(body)).await?;
            if json {
                return print_json(&now);
            }
            for name in &now.suspended {
                say(&format_args!("{name}"));
            }
            let suspended = counted(now.suspended.len() as u64, "site");
            eprintln!("{verb}: {suspended} suspended now");
            if let Some(sentence) = unmet(&site, &now) {
                eprintln!("{verb}: {sentence}");
            }
            Ok(())
        }
        Wish::Order(verb, selection) => give(socket, verb, &selection, json).await,
    }
}

/// Gives an order about messages, and tells for which it was carried out.
async fn give(socket: &Path, verb: &str, selection: &Selection, json: bool) -> Result<(), String> {
    let body = serde_json::to_vec(selection).map_err(|error| error.to_string())?;
    let done: Carried = ask(socket, Method::POST, &format!("/v1/queue/{verb}"), Some(body)).await?;
    if json {
        return print_json(&done);
    }
    for id in &done.ids {
        say(&format_args!("{id}"));
    }
    let more = if done.more {
        "; there are more, give the order again"
    } else {
        ""
    };
    let held = match done.held {
        0 => String::new(),
        some => format!(
            "; of {} on hold nothing is changed, `queue release` lets them go",
            counted(some, "message")
        ),
    };
    let named = selection.ids.len() as u64;
    let idle = named.saturating_sub(done.ids.len() as u64 + done.held);
    let idle = match idle {
        0 => String::new(),
        some => format!(
            "; {} with nothing to {verb}, `queue show` tells of each",
            counted(some, "id")
        ),
    };
    eprintln!(
        "{verb}: {}{held}{idle}{more}",
        counted(done.ids.len() as u64, "message")
    );
    Ok(())
}

/// One request. Errors: a sentence, of the mail server where it said one.
async fn ask<T: DeserializeOwned>(
    socket: &Path,
    method: Method,
    target: &str,
    body: Option<Vec<u8>>,
) -> Result<T, String> {
    let stream = tokio::net::UnixStream::connect(socket)
        .await
        .map_err(|error| no_server(socket, &error))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| error.to_string())?;
    tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(target)
        .header("host", "localhost")
        .header("content-type", "application/json")
        .body(Body::from(body.unwrap_or_default()))
        .map_err(|error| error.to_string())?;
    let response = sender
        .send_request(request)
        .await
        .map_err(|error| error.to_string())?;
    let status = response.status();
    let octets = response
        .into_body()
        .collect()
        .await
        .map_err(|error| error.to_string())?
        .to_bytes();
    if status == StatusCode::OK {
        return serde_json::from_slice(&octets).map_err(|error| format!("an odd answer: {error}"));
    }
    let refusal: Result<Refusal, _> = serde_json::from_slice(&octets);
    Err(refusal.map_or_else(|_| status.to_string(), |refusal| refusal.error))
}

/// Why nobody answers, and what to do.
fn no_server(socket: &Path, error: &std::io::Error) -> String {
    let spool = socket.parent().unwrap_or(socket).display();
    let stopped = format!("`postroad-mta spool ls {spool}` shows what waits meanwhile");
    let why = match error.kind() {
        ErrorKind::NotFound => {
            format!(
                "no mail server runs on this spool; start it, or name the configuration of the one that runs by --config; {stopped}"
            )
        }
        ErrorKind::ConnectionRefused => format!("the mail server has ended; start it; {stopped}"),
        ErrorKind::PermissionDenied => "only root and the user of the mail server may ask it".to_owned(),
        _ => format!("{error}; does the mail server run?"),
    };
    format!("{}: {why}", socket.display())
}

/// The terms of a list as a query string.
fn terms(query: &ListQuery) -> String {
    let mut pairs = Vec::new();
    let mut add = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            pairs.push(format!("{name}={}", encoded(&value)));
        }
    };
    add("sender", query.sender.clone());
    add("recipient", query.recipient.clone());
    add("site", query.site.clone());
    add("held", query.held.map(|held| held.to_string()));
    add("olderThan", query.older_than.map(|seconds| seconds.to_string()));
    add("after", query.after.clone());
    add("limit", query.limit.map(|limit| limit.to_string()));
    pairs.join("&")
}

/// RFC 3986 section 2.1.
fn encoded(text: &str) -> String {
    use std::fmt::Write as _;
    text.bytes().fold(String::new(), |mut out, octet| {
        if octet.is_ascii_alphanumeric() || b"-._~".contains(&octet) {
            out.push(char::from(octet));
        } else {
            let _ = write!(out, "%{octet:02X}");
        }
        out
    })
}

fn print_json(value: &impl serde::Serialize) -> Result<(), String> {
    say(&format_args!(
        "{}",
        serde_json::to_string(value).map_err(|error| error.to_string())?
    ));
    Ok(())
}

fn print_entry(entry: &Entry) {
    let (id, size, sender) = (&entry.id, entry.size, &entry.sender);
    let moved = entry.moved_to.as_ref();
    let moved = moved.map(|policy| format!("  by {policy}")).unwrap_or_default();
    let tls = if entry.require_tls { "  TLS or back" } else { "" };
    let back = if entry.or_return { " or back" } else { "" };
    let by = entry.deliver_by.map(|at| format!("  until {}{back}", when(at)));
    let by = by.unwrap_or_default();
    let damaged = if entry.damaged { "  DAMAGED" } else { "" };
    say(&format_args!(
        "{id}  {}  {size:>9}  {:<7}  <{sender}>{moved}{tls}{by}{damaged}",
        when(entry.arrived),
        entry.owner
    ));
    if let Some((id, spool)) = entry.origin.as_deref().and_then(|origin| origin.split_once('@')) {
        say(&format_args!("{:18}was {id} in spool {spool}", ""));
    }
    for recipient in &entry.recipients {
        let next = match (&recipient.waits_for, recipient.next_attempt) {
            (Some(gate), _) => format!("  waits for {}", closed(gate)),
            (None, Some(at)) => format!("  next {}", when(at)),
            (None, None) => String::new(),
        };
        say(&format_args!(
            "{:18}{:<9} <{}>  {}{next}  {}",
            "",
            recipient.state,
            recipient.address,
            counted(recipient.attempts.into(), "attempt"),
            recipient.reply
        ));
    }
}

/// A site, and why nothing is tried there.
fn closed(gate: &Gate) -> String {
    match (gate.suspended, gate.opens_at) {
        (true, _) => format!("{}, which is suspended", gate.site),
        (false, Some(at)) => format!("{}, closed until {}", gate.site, when(at)),
        (false, None) => gate.site.clone(),
    }
}

/// A site that nothing waits for may be one that was meant otherwise.
fn unmet(site: &str, now: &SuspendedSites) -> Option<String> {
    if now.waiting != Some(0) {
        return None;
    }
    let near = match now.near.as_slice() {
        [] => String::new(),
        some => format!("; mail waits for {}", some.join(", ")),
    };
    Some(format!("no mail waits for {site} now, what comes will{near}"))
}

fn print_site(site: &Site) {
    let closed = site
        .opens_at
        .map(|at| format!("  closed until {}", when(at)))
        .unwrap_or_default();
    let suspended = if site.suspended { "  suspended" } else { "" };
    say(&format_args!(
        "{}  {} waiting, {} of {} attempts{suspended}{closed}  {}",
        site.name,
        site.waiting,
        site.running,
        site.window,
        site.last_trouble.as_deref().unwrap_or("")
    ));
    for route in &site.routes {
        let until = match route.until {
            0 => String::new(),
            until => format!(" until {}", when(until)),
        };
        say(&format_args!(
            "  {}  {}{until}  {}",
            route.route, route.reason, route.reply
        ));
    }
}

/// In UTC; before its first attempt a recipient's time is nought.
fn when(milliseconds: u64) -> String {
    let at = i64::try_from(milliseconds)
        .ok()
        .filter(|at| *at > 0)
        .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    at.map_or_else(
        || "now".to_owned(),
        |at| at.strftime("%Y-%m-%d %H:%M:%S").to_string(),
    )
}

/// Sites that are asked for at once.
const LONGEST_PAGE: u32 = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_finds_no_mail_server_is_told_what_to_do() {
        let socket = Path::new("/var/spool/postroad/admin.sock");
        for (kind, words) in [
            (
                ErrorKind::NotFound,
                "by --config; `postroad-mta spool ls /var/spool/postroad` shows",
            ),
            (ErrorKind::ConnectionRefused, "has ended; start it"),
            (ErrorKind::PermissionDenied, "only root"),
        ] {
            let told = no_server(socket, &kind.into());
            assert!(
                told.starts_with("/var/spool/postroad/admin.sock: ") && told.contains(words),
                "{told}"
            );
        }
        let told = spool_of(Path::new("/nowhere/base.yaml")).unwrap_err();
        assert!(
            told.contains("there is no such file; name the configuration"),
            "{told}"
        );
    }

    #[test]
    fn what_keeps_mail_is_said_and_a_site_that_nothing_waits_for_as_well() {
        let gate = |suspended, opens_at| Gate {
            site: "mx:a".into(),
            suspended,
            opens_at,
        };
        assert_eq!(closed(&gate(true, Some(1_000))), "mx:a, which is suspended");
        assert_eq!(
            closed(&gate(false, Some(1_000))),
            "mx:a, closed until 1970-01-01 00:00:01"
        );
        let now = |waiting, near: &[&str]| SuspendedSites {
            suspended: vec![],
            waiting,
            near: near.iter().map(|name| (*name).to_owned()).collect(),
        };
        assert_eq!(
            (unmet("a", &now(None, &[])), unmet("a", &now(Some(3), &[]))),
            (None, None)
        );
        assert_eq!(
            unmet("a", &now(Some(0), &["mx:a", "mx:b"])).unwrap(),
            "no mail waits for a now, what comes will; mail waits for mx:a, mx:b"
        );
    }

    #[test]
    fn terms_become_a_query_that_is_safe_to_send() {
        let query = ListQuery {
            sender: Some("a b&c@é.example".into()),
            held: Some(true),
            limit: Some(5),
            ..ListQuery::default()
        };
        assert_eq!(
            terms(&query),
            "sender=a%20b%26c%40%C3%A9.example&held=true&limit=5"
        );
    }
}
