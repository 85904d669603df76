//! What pods give each other: rows of a report go to the pod that it belongs to.
//!
//! ```text
//!   this pod ─► a day is over, or this pod leaves ─► batches for the owner ─► POST /v1/reports ─► its store
//!                                                       └─ no answer: the same batch again, which counts once
//! ```

use std::collections::VecDeque;

use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, State};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use postroad_config::FleetPod;
use serde::{Deserialize, Serialize};

use super::store::Entry;
use super::{Reports, Subject};
use crate::access::greylist::Key;
use crate::access::owner;
use crate::admin::refuse;
use crate::queue::clock::token;

/// The verb of the admin API.
pub const VERB: &str = "/v1/reports";

/// Rows that are the receiver's now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    /// Drawn when it was made; one that came before counts no second time.
    pub id: String,
    /// The rows.
    pub rows: Vec<Entry>,
}

/// An answer: they are in its store, or were before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    /// How many rows the batch had.
    pub rows: usize,
}

/// A batch and whom it is for.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) pod: String,
    pub(super) batch: Batch,
}

/// The pod that a report belongs to; `None` in a fleet of nobody, where all is ours.
pub(super) fn owner_of<'a>(fleet: &'a [FleetPod], of: &Subject) -> Option<&'a FleetPod> {
    let day = of.day.to_string();
    owner(
        fleet,
        Key::of(&["report", of.kind.as_str(), of.domain.as_str(), day.as_str()]),
    )
}

/// Puts rows for one pod into batches.
pub(super) fn batches(pod: &str, rows: Vec<Entry>) -> Vec<Outgoing> {
    let mut made: Vec<Outgoing> = Vec::new();
    let mut octets = MOST_OCTETS;
    for row in rows {
        octets += row.row.len() + row.of.domain.len() + OF_ROW;
        if octets > MOST_OCTETS {
            octets = row.row.len() + row.of.domain.len() + OF_ROW;
            made.push(Outgoing {
                pod: pod.to_owned(),
                batch: Batch {
                    id: token(),
                    rows: Vec::new(),
                },
            });
        }
        if let Some(last) = made.last_mut() {
            last.batch.rows.push(row);
        }
    }
    made
}

/// Batches that came, the newest last.
#[derive(Debug, Default)]
pub(super) struct Known(VecDeque<String>);

impl Known {
    /// Whether it is a new one; it is known from now on.
    pub(super) fn is_new(&mut self, id: &str) -> bool {
        if self.0.iter().any(|known| known == id) {
            return false;
        }
        if self.0.len() >= MOST_KNOWN {
            self.0.pop_front();
        }
        self.0.push_back(id.to_owned());
        true
    }
}

/// The verb. The caller puts the check of tokens in front.
pub fn router(reports: &Reports) -> Router {
    Router::new()
        .route(VERB, post(take))
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
        .with_state(reports.clone())
}

async fn take(State(reports): State<Reports>, batch: Result<Json<Batch>, JsonRejection>) -> Response {
    match batch {
        Ok(Json(batch)) => {
            let rows = batch.rows.len();
            reports.adopt(&batch);
            Json(Taken { rows }).into_response()
        }
        Err(error) => refuse(error.status(), &error.body_text()),
    }
}

/// Octets of the rows of one batch, and what a row has besides its text.
const MOST_OCTETS: usize = 128 << 10;
const OF_ROW: usize = 64;
/// JSON within JSON may be several times as long.
const LARGEST_BODY: usize = 1 << 20;
const MOST_KNOWN: usize = 4_096;

#[cfg(test)]
mod tests {
    use super::super::Kind;
    use super::*;

    fn row(domain: &str, length: usize) -> Entry {
        Entry {
            of: Subject {
                kind: Kind::Dmarc,
                domain: domain.to_owned(),
                day: 7,
            },
            row: "x".repeat(length),
            count: 3,
        }
    }

    #[test]
    fn a_batch_is_bounded_and_reads_back() {
        assert!(batches("edge-0", vec![]).is_empty());
        let rows: Vec<Entry> = (0..100).map(|_| row("a.example", 5_000)).collect();
        let made = batches("edge-0", rows);
        assert_eq!(made.len(), 4);
        assert_eq!(made.iter().map(|out| out.batch.rows.len()).sum::<usize>(), 100);
        let text = serde_json::to_string(&made[0].batch).unwrap();
        assert!(text.len() < LARGEST_BODY);
        assert_eq!(serde_json::from_str::<Batch>(&text).unwrap(), made[0].batch);
        assert_ne!(made[0].batch.id, made[1].batch.id);
    }

    #[test]
    fn a_batch_counts_once() {
        let mut known = Known::default();
        assert!(known.is_new("a") && !known.is_new("a"));
        for number in 0..MOST_KNOWN {
            assert!(known.is_new(&number.to_string()));
        }
        assert!(known.is_new("a"), "of very many the oldest is forgotten");
    }

    #[test]
    fn days_of_a_domain_belong_to_several_pods() {
        let pod = |number| format!("{{name: edge-{number}, admin: {{host: h, port: 1}}}}");
        let fleet: Vec<FleetPod> = (0..3)
            .map(|number| serde_saphyr::from_str(&pod(number)).unwrap())
            .collect();
        let mut owners: Vec<&str> = (0..60)
            .map(|day| {
                let mut of = row("a.example", 1).of;
                of.day = day;
                owner_of(&fleet, &of).unwrap().name.as_str()
            })
            .collect();
        owners.sort_unstable();
        owners.dedup();
        assert_eq!(owners.len(), 3);
    }
}
