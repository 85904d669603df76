//! A job while it waits for its site: a million of them wait for a dead one, so each is as small as it can be.
//!
//! Its site is where it waits and its share is whose turn it waits for, so neither is in it; nearly every job has one
//! recipient, which is kept inline. Patience is kept in whole seconds, rounded up.

use std::sync::Arc;

use postroad_spool::EntryId;

use super::fair::Share;
use super::job::Job;

/// What is left of a [`Job`] without its site and share.
#[derive(Debug)]
pub struct Waiting(Form);

#[derive(Debug)]
enum Form {
    One {
        recipient: u32,
        stay: u32,
        patience: u32,
        entry: EntryId,
    },
    Many(Box<Many>),
}

#[derive(Debug)]
struct Many {
    entry: EntryId,
    stay: u32,
    patience: u32,
    recipients: Box<[u32]>,
}

impl Waiting {
    /// The job, waiting. A job that already has its outcome waits for no site: its `instead` is not kept.
    pub fn new(job: Job) -> Self {
        let (entry, stay, patience) = (job.entry, job.stay, to_seconds(job.patience));
        Self(match job.recipients.as_slice() {
            [recipient] => Form::One {
                recipient: *recipient,
                stay,
                patience,
                entry,
            },
            _ => Form::Many(Box::new(Many {
                entry,
                stay,
                patience,
                recipients: job.recipients.into_boxed_slice(),
            })),
        })
    }

    /// The entry.
    pub const fn entry(&self) -> EntryId {
        match &self.0 {
            Form::One { entry, .. } => *entry,
            Form::Many(many) => many.entry,
        }
    }

    /// See [`Job`].
    pub const fn stay(&self) -> u32 {
        match &self.0 {
            Form::One { stay, .. } => *stay,
            Form::Many(many) => many.stay,
        }
    }

    /// See [`Job::patience`].
    pub const fn patience(&self) -> u64 {
        match &self.0 {
            Form::One { patience, .. } => from_seconds(*patience),
            Form::Many(many) => from_seconds(many.patience),
        }
    }

    /// Positions in the envelope.
    pub const fn recipients(&self) -> &[u32] {
        match &self.0 {
            Form::One { recipient, .. } => std::slice::from_ref(recipient),
            Form::Many(many) => &many.recipients,
        }
    }

    /// The job again; `site` is where it waited, for the turn of `share`.
    pub fn into_job(self, site: &Arc<str>, share: Share) -> Job {
        Job {
            entry: self.entry(),
            stay: self.stay(),
            trial: false,
            site: Arc::clone(site),
            share,
            patience: self.patience(),
            recipients: match self.0 {
                Form::One { recipient, .. } => vec![recipient],
                Form::Many(many) => many.recipients.into_vec(),
            },
            instead: None,
        }
    }
}

fn to_seconds(patience: u64) -> u32 {
    u32::try_from(patience.div_ceil(1_000)).unwrap_or(u32::MAX)
}

const fn from_seconds(seconds: u32) -> u64 {
    if seconds == u32::MAX {
        u64::MAX
    } else {
        seconds as u64 * 1_000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_comes_back_as_it_was() {
        for (recipients, patience) in [(vec![], u64::MAX), (vec![7], 11_000), (vec![3, 1, 2], 0)] {
            let job = Job {
                entry: EntryId::from_u64(5),
                stay: 9,
                trial: false,
                site: "there".into(),
                share: Share::default(),
                recipients,
                patience,
                instead: None,
            };
            let waiting = Waiting::new(job.clone());
            assert_eq!(waiting.recipients(), job.recipients);
            assert_eq!(waiting.into_job(&job.site, job.share), job);
        }
        assert_eq!(from_seconds(to_seconds(1_001)), 2_000, "never too early");
    }

    #[test]
    fn it_is_small() {
        assert!(size_of::<Waiting>() <= 24, "{}", size_of::<Waiting>());
    }
}
