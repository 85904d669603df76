//! The queue's verbs: list, show, hold, release, retry, bounce, move; suspend and resume a site. Types: [`postroad_config::admin`].
//!
//! Listing reads the disk for envelopes, a bounded number of messages for each request; a cursor goes on. See `scan.rs`.

mod gates;
mod scan;

use std::time::Duration;

use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use postroad_config::admin::{
    Carried, Entry, ListQuery, Page, RouteState, Selection, Site, SiteOrder, SitesPage, SitesQuery,
    SuspendedSites,
};
use postroad_spool::{EntryId, ReadError, Spool};

use self::scan::{Bounds, Turn};
use super::access::refuse;
use crate::log::clean;
use crate::queue::Queue;
use crate::queue::job::SiteView;
use crate::queue::orders::Order;
use crate::queue::suspended::SuspendError;

/// Who gives an order, for the log.
#[derive(Clone, Debug)]
pub(super) struct By(pub(super) String);

#[derive(Clone)]
struct Desk {
    queue: Queue,
    spool: Spool,
    turn: Turn,
}

impl Desk {
    /// Says what keeps those whose time has come.
    async fn look_at_sites(&self, entries: &mut [Entry]) {
        let sites = gates::sites(entries);
        if !sites.is_empty() {
            let views = self.queue.views(sites).await;
            gates::close(entries, &views, crate::queue::clock::now());
        }
    }

    /// How many messages wait for a site, and where none does, which one may have been meant.
    async fn met(&self, site: &str) -> (u64, Vec<String>) {
        let views = self.queue.views(vec![site.to_owned()]).await;
        let waiting = views
            .first()
            .map_or(0, |view| view.waiting as u64 + u64::from(view.running));
        if waiting > 0 {
            return (waiting, Vec::new());
        }
        let known = self.queue.sites(None, MOST_COMPARED).await;
        (0, gates::near(site, &known))
    }
}

/// A status, and a sentence.
type Refused = (StatusCode, String);

/// The routes, without a check of who asks.
pub(super) fn router(queue: Queue, spool: Spool) -> Router {
    Router::new()
        .route("/v1/queue", get(list))
        .route("/v1/queue/{id}", get(show))
        .route("/v1/sites", get(sites))
        .route("/v1/sites/suspend", post(suspend))
        .route("/v1/sites/resume", post(resume))
        .route("/v1/queue/hold", post(hold))
        .route("/v1/queue/release", post(release))
        .route("/v1/queue/retry", post(retry))
        .route("/v1/queue/bounce", post(bounce))
        .route("/v1/queue/move", post(move_to))
        .with_state(Desk {
            queue,
            spool,
            turn: Turn::default(),
        })
}

type Asked<T> = Result<Json<T>, JsonRejection>;

async fn list(State(desk): State<Desk>, query: Result<Query<ListQuery>, QueryRejection>) -> Response {
    let query = match query {
        Ok(Query(query)) => query,
        Err(error) => return refuse(error.status(), &error.body_text()),
    };
    let after = match query.after.as_deref().map(str::parse::<EntryId>).transpose() {
        Ok(after) => after,
        Err(error) => return refuse(StatusCode::BAD_REQUEST, &format!("after: {error}")),
    };
    let bounds = Bounds::of_a_page(page_of(query.limit));
    let here = desk.clone();
    let read = in_turn(&desk.turn, move || {
        let mut page = Page::default();
        let next = here.scan(&query, after, bounds, |_| true, |entry| page.entries.push(entry));
        page.next = next.map(|id| id.to_string());
        page
    });
    match read.await {
        Ok(mut page) => {
            desk.look_at_sites(&mut page.entries).await;
            Json(page).into_response()
        }
        Err((status, sentence)) => refuse(status, &sentence),
    }
}

async fn show(State(desk): State<Desk>, Path(id): Path<String>) -> Response {
    let id = match parse(&id) {
        Ok(id) => id,
        Err(sentence) => return refuse(StatusCode::BAD_REQUEST, &sentence),
    };
    let reader = desk.clone();
    match tokio::task::spawn_blocking(move || reader.look(id)).await {
        Ok(Ok((mut entry, _))) => {
            desk.look_at_sites(std::slice::from_mut(&mut entry)).await;
            Json(entry).into_response()
        }
        Ok(Err(error)) => refuse(StatusCode::NOT_FOUND, &error),
        Err(error) => refuse(StatusCode::INTERNAL_SERVER_ERROR, &error),
    }
}

async fn sites(State(desk): State<Desk>, query: Result<Query<SitesQuery>, QueryRejection>) -> Response {
    let query = match query {
        Ok(Query(query)) => query,
        Err(error) => return refuse(error.status(), &error.body_text()),
    };
    let most = page_of(query.limit);
    let found = desk.queue.sites(query.after, most + 1).await;
    let now = crate::queue::clock::now();
    let routes = desk.queue.lanes().view(now);
    Json(sites_page(found, &routes, most, now)).into_response()
}

/// The first `most` of what was found; one more says that there is another page.
fn sites_page(mut found: Vec<SiteView>, routes: &[RouteState], most: usize, now: u64) -> SitesPage {
    let is_more = found.len() > most;
    found.truncate(most);
    let last = found.last().map(|site| site.name.to_string());
    let sites = found.into_iter().map(|site| Site {
        name: site.name.to_string(),
        waiting: site.waiting as u64,
        running: site.running,
        window: site.window,
        opens_at: Some(site.opens_at).filter(|at| *at > now),
        last_trouble: site.last_trouble.map(|why| why.source.text().to_owned()),
        suspended: site.suspended,
        routes: routes
            .iter()
            .filter(|state| is_route_of(&site.name, &state.route))
            .cloned()
            .collect(),
    });
    SitesPage {
        sites: sites.collect(),
        next: last.filter(|_| is_more),
    }
}

/// Whether a route is one of the policy whose own site it is.
fn is_route_of(site: &str, route: &str) -> bool {
    let policy = route.rsplit_once('#').map(|(policy, _)| policy);
    policy.is_some_and(|policy| site.rsplit_once('@').is_some_and(|(_, of)| of == policy))
}

/// So many on a page.
fn page_of(limit: Option<u32>) -> usize {
    limit.unwrap_or(100).clamp(1, 1_000) as usize
}

async fn suspend(desk: State<Desk>, by: Extension<By>, order: Asked<SiteOrder>) -> Response {
    set_suspended(desk, by, order, true).await
}

async fn resume(desk: State<Desk>, by: Extension<By>, order: Asked<SiteOrder>) -> Response {
    set_suspended(desk, by, order, false).await
}

async fn set_suspended(
    State(desk): State<Desk>,
    Extension(By(by)): Extension<By>,
    order: Asked<SiteOrder>,
    suspended: bool,
) -> Response {
    let site = match order {
        Ok(Json(order)) => order.site,
        Err(error) => return refuse(error.status(), &error.body_text()),
    };
    if site.is_empty() || site.len() > LONGEST_SITE {
        return refuse(
            StatusCode::BAD_REQUEST,
            &format!("site: a name of 1 to {LONGEST_SITE} octets, as the list of sites says it"),
        );
    }
    let names = match desk.queue.suspend(&site, suspended).await {
        Ok(names) => names,
        Err(error @ SuspendError::TooMany) => return refuse(StatusCode::CONFLICT, &error),
        Err(error) => return refuse(StatusCode::INTERNAL_SERVER_ERROR, &error),
    };
    let verb = if suspended { "suspend" } else { "resume" };
    tracing::info!(
        event = "order",
        site = clean(&site),
        order = verb,
        by = clean(&by),
        "carried out by hand"
    );
    let (waiting, near) = if suspended {
        let (waiting, near) = desk.met(&site).await;
        (Some(waiting), near)
    } else {
        (None, Vec::new())
    };
    Json(SuspendedSites {
        suspended: names.into_iter().collect(),
        waiting,
        near,
    })
    .into_response()
}

async fn hold(state: State<Desk>, by: Extension<By>, selection: Asked<Selection>) -> Response {
    carry_out(state, by, ("hold", Order::Hold), selection).await
}

async fn release(state: State<Desk>, by: Extension<By>, selection: Asked<Selection>) -> Response {
    carry_out(state, by, ("release", Order::Release), selection).await
}

async fn retry(state: State<Desk>, by: Extension<By>, selection: Asked<Selection>) -> Response {
    carry_out(state, by, ("retry", Order::Retry), selection).await
}

async fn bounce(state: State<Desk>, by: Extension<By>, selection: Asked<Selection>) -> Response {
    let silent = matches!(&selection, Ok(Json(selection)) if selection.notify == Some(false));
    let order = if silent { Order::Discard } else { Order::Return };
    carry_out(state, by, ("bounce", order), selection).await
}

/// `verb`: what the order is called in this API.
async fn carry_out(
    State(desk): State<Desk>,
    Extension(By(by)): Extension<By>,
    (verb, order): (&'static str, Order),
    selection: Asked<Selection>,
) -> Response {
    let selection = match selection {
        Ok(Json(selection)) => selection,
        Err(error) => return refuse(error.status(), &error.body_text()),
    };
    let sealed = desk.spool.seal_state().sealed;
    if sealed && (order != Order::Discard || selection.all.is_some()) {
        return refuse(StatusCode::CONFLICT, &SEALED);
    }
    if selection.to.is_some() {
        return refuse(StatusCode::BAD_REQUEST, &"`to` belongs to a move");
    }
    let (mut ids, more) = match select(&desk, selection, |_| true).await {
        Ok(found) => found,
        Err((status, sentence)) => return refuse(status, &sentence),
    };
    let all = ids.len();
    if order == Order::Retry {
        ids.retain(|id| !desk.queue.is_held(*id));
    }
    let held = (all - ids.len()) as u64;
    if sealed && !are_unreadable(&desk.spool, ids.clone()).await {
        return refuse(StatusCode::CONFLICT, &SEALED);
    }
    let done = match desk.queue.order(order, ids).await {
        Ok(done) => done,
        Err(error) => return refuse(StatusCode::SERVICE_UNAVAILABLE, &error),
    };
    for id in &done {
        tracing::info!(
            event = "order",
            queue_id = %id,
            order = verb,
            silently = (order == Order::Discard).then_some(true),
            by = clean(&by),
            "carried out by hand"
        );
    }
    let ids = done.iter().map(EntryId::to_string).collect();
    Json(Carried { ids, more, held }).into_response()
}

/// Whether none of them can be read. Such a message cannot be handed over either: it is thrown away where it is, or holds its pod.
async fn are_unreadable(spool: &Spool, ids: Vec<EntryId>) -> bool {
    let spool = spool.clone();
    let is_unreadable = move |id: &EntryId| matches!(spool.read(*id), Err(ReadError::Damaged));
    let read = tokio::task::spawn_blocking(move || ids.iter().all(is_unreadable));
    read.await.unwrap_or(false)
}

/// Has messages routed by a policy that a person names, or by the one that fits them again.
async fn move_to(
    State(desk): State<Desk>,
    Extension(By(by)): Extension<By>,
    selection: Asked<Selection>,
) -> Response {
    let selection = match selection {
        Ok(Json(selection)) => selection,
        Err(error) => return refuse(error.status(), &error.body_text()),
    };
    if desk.spool.seal_state().sealed {
        return refuse(StatusCode::CONFLICT, &SEALED);
    }
    let policy = match policy(selection.to.as_deref(), &desk.queue.policies()) {
        Ok(policy) => policy,
        Err(sentence) => return refuse(StatusCode::BAD_REQUEST, &sentence),
    };
    // What is there already is not read: an order over a large backlog is given again and again.
    let (queue, to) = (desk.queue.clone(), policy.clone());
    let elsewhere = move |id| queue.moved_to(id).as_deref() != to.as_deref();
    let (ids, more) = match select(&desk, selection, elsewhere).await {
        Ok(found) => found,
        Err((status, sentence)) => return refuse(status, &sentence),
    };
    let done = match desk.queue.move_to(ids, policy.clone()).await {
        Ok(done) => done,
        Err(error) => return refuse(StatusCode::SERVICE_UNAVAILABLE, &error),
    };
    let to = policy.as_deref().unwrap_or(USUAL);
    for id in &done {
        tracing::info!(event = "order", queue_id = %id, order = "move", to, by = clean(&by), "carried out by hand");
    }
    let ids = done.iter().map(EntryId::to_string).collect();
    Json(Carried { ids, more, held: 0 }).into_response()
}

/// The policy that `to` names, none for the usual routes. Errors: a sentence with what there is.
fn policy(to: Option<&str>, known: &[String]) -> Result<Option<String>, String> {
    let Some(to) = to else {
        return Err("name the policy in `to`, or `-` for the usual routes".to_owned());
    };
    if to == USUAL {
        return Ok(None);
    }
    if known.iter().any(|name| name == to) {
        return Ok(Some(to.to_owned()));
    }
    let known = if known.is_empty() {
        "the configuration has none".to_owned()
    } else {
        format!("there are: {}", known.join(", "))
    };
    Err(format!("there is no policy `{}`; {known}", clean(to)))
}

/// The entries of a selection, and whether there are more; of those that terms choose, only what `concerns` names.
async fn select(
    desk: &Desk,
    selection: Selection,
    concerns: impl Fn(EntryId) -> bool + Send + 'static,
) -> Result<(Vec<EntryId>, bool), Refused> {
    let wrong = |sentence: String| Err((StatusCode::BAD_REQUEST, sentence));
    match (selection.ids.as_slice(), selection.all) {
        ([], Some(terms)) => {
            let here = desk.clone();
            let found = in_turn(&desk.turn, move || {
                let mut ids = Vec::new();
                let next = here.scan(
                    &terms,
                    None,
                    Bounds::of_an_order(MOST_ORDERED),
                    concerns,
                    |entry| {
                        ids.extend(entry.id.parse::<EntryId>());
                    },
                );
                (ids, next.is_some())
            });
            found.await
        }
        ([], None) => {
            wrong("name messages by `ids`, or by terms in `all` (`{}` is every message)".to_owned())
        }
        (_, Some(_)) => wrong("give either `ids` or `all`".to_owned()),
        (ids, None) if ids.len() > MOST_IDS => wrong(format!("at most {MOST_IDS} ids at once")),
        (ids, None) => {
            let parsed: Result<Vec<EntryId>, _> = ids.iter().map(|id| parse(id)).collect();
            parsed.map(|parsed| (parsed, false)).or_else(wrong)
        }
    }
}

/// An id that somebody wrote. Errors: a sentence.
fn parse(id: &str) -> Result<EntryId, String> {
    let wrong = |_| {
        format!(
            "`{}` is no id: write the 16 hexadecimal digits that `queue ls` shows",
            clean(id)
        )
    };
    id.parse().map_err(wrong)
}

/// Reads the queue once nobody else does. A caller that goes away does not let the next one in before the end.
async fn in_turn<T: Send + 'static>(
    turn: &Turn,
    read: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Refused> {
    let turn = turn.take(LONGEST_TURN).await;
    let turn = turn.ok_or_else(|| (StatusCode::CONFLICT, TAKEN.to_owned()))?;
    let read = tokio::task::spawn_blocking(move || {
        let read = read();
        drop(turn);
        read
    });
    read.await
        .map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
}

/// Why a sealed queue takes no orders.
const SEALED: &str = "this queue is being handed over to another pod; give the order there";
/// In place of a policy: the route that the configuration decides.
const USUAL: &str = "-";
/// Why nothing was read.
const TAKEN: &str = "the queue is being read for another request; ask again in a moment";
const LONGEST_TURN: Duration = Duration::from_secs(5);
/// Sites whose names are compared with one that nothing waits for.
const MOST_COMPARED: usize = 1_000;
const LONGEST_SITE: usize = 4_096;
const MOST_IDS: usize = 1_000;
const MOST_ORDERED: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_is_shown_at_the_site_of_its_policy() {
        for (site, route, want) in [
            ("smtp:h:587@mail/p", "mail/p#0", true),
            ("smtp:h:587@mail/p", "mail/p2#0", false),
            ("smtp:h:587", "mail/p#0", false),
            ("smtp:h:587@other/mail/p", "mail/p#0", false),
        ] {
            assert_eq!(is_route_of(site, route), want, "{site} {route}");
        }
    }

    #[test]
    fn a_page_of_sites_names_the_next_one_where_there_are_more() {
        let site = |name: &str| SiteView {
            name: name.into(),
            waiting: 3,
            running: 1,
            window: 5,
            opens_at: 10,
            dead_until: 10,
            last_trouble: None,
            suspended: false,
        };
        let page = |names: &[&str], now| {
            let page = sites_page(names.iter().map(|name| site(name)).collect(), &[], 2, now);
            (
                page.sites.len(),
                page.next,
                page.sites.first().and_then(|site| site.opens_at),
            )
        };
        assert_eq!(page(&["a", "b", "c"], 9), (2, Some("b".to_owned()), Some(10)));
        assert_eq!(page(&["a", "b"], 10), (2, None, None));
        assert_eq!(page(&[], 9), (0, None, None));
        assert_eq!(
            [None, Some(0), Some(7), Some(9_999)].map(page_of),
            [100, 1, 7, 1_000]
        );
    }

    #[test]
    fn a_policy_that_is_not_there_is_refused_with_those_that_are() {
        let known = ["mail/one".to_owned(), "mail/two".to_owned()];
        assert_eq!(policy(Some("mail/two"), &known), Ok(Some("mail/two".to_owned())));
        assert_eq!(policy(Some("-"), &known), Ok(None));
        let refused = |to, known: &[String]| policy(to, known).unwrap_err();
        assert_eq!(
            refused(Some("mail/\r\n"), &known),
            "there is no policy `mail/??`; there are: mail/one, mail/two"
        );
        assert!(refused(Some("x"), &[]).ends_with("the configuration has none"));
        assert!(refused(None, &known).contains("`to`"));
    }
}
