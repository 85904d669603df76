//! What carries the living out of a segment that is to be used again.

use super::Draft;
use crate::format::record::Record;
use crate::handover::target::Target;
use crate::index::{Entry, Epoch, Index};
use crate::shared::Survivor;
use crate::types::EntryId;

/// The records that carry a survivor out of its segment; none if it has died or moved meanwhile.
pub fn carry(index: &Index, epoch: Epoch, survivor: Survivor, max: usize) -> Vec<Draft> {
    match survivor {
        Survivor::Message(id, payload) => {
            let Some(entry) = index.entries.get(id).filter(|e| e.home.epoch == epoch) else {
                return Vec::new();
            };
            let kind = if entry.blob { 2 } else { 1 };
            let Some(record) = Record::decode(kind, &payload) else {
                return Vec::new();
            };
            let crc = crc32c::crc32c(&payload);
            let copy = Draft {
                entry: id,
                record,
                head: payload,
                body: Vec::new(),
                crc,
                prompt: true,
            };
            if entry.noted().next().is_none() && !entry.handed && entry.states.are_untouched() {
                vec![copy]
            } else {
                vec![copy, snapshot(id, entry, max)]
            }
        }
        Survivor::State(id) => index
            .entries
            .get(id)
            .map(|entry| snapshot(id, entry, max))
            .into_iter()
            .collect(),
        Survivor::Release(transfer) => match index.transfers.get(&transfer).map(|t| t.state) {
            Some(Target::Released { hold }) => vec![Draft::new(hold, Record::Released(transfer), max)],
            _ => Vec::new(),
        },
        Survivor::Tomb(tomb) => {
            let homes = tomb.homes.iter().copied().map(u64::from).collect();
            let record = match tomb.transfer {
                None => Record::Done { homes },
                Some(transfer) => Record::Forgotten {
                    transfer: *transfer,
                    homes,
                },
            };
            vec![Draft::new(tomb.entry, record, max)]
        }
    }
}

fn snapshot(id: EntryId, entry: &Entry, max: usize) -> Draft {
    let owner = entry.owner();
    Draft::new(
        id,
        Record::Snapshot {
            states: entry.states.to_vec(),
            owner,
        },
        max,
    )
}
