//! A job while it waits for its site: a million of them wait for a dead one, so each is as small as it can be.
//!
//! The site is where it waits, so its name is not in it; nearly every job has one recipient, which is kept inline.

use std::sync::Arc;

use postroad_spool::EntryId;

use super::fair::Share;
use super::job::Job;

/// What is left of a [`Job`] without its site.
#[derive(Debug)]
pub struct Waiting {
    /// The entry.
    pub entry: EntryId,
    /// See [`Job`].
    pub stay: u64,
    /// See [`Job::patience`].
    pub patience: u64,
    share: Share,
    recipients: Recipients,
}

#[derive(Debug)]
enum Recipients {
    One(u32),
    Many(Box<[u32]>),
}

impl Waiting {
    /// The job, waiting. A job that already has its outcome waits for no site: its `instead` is not kept.
    pub fn new(job: Job) -> Self {
        let recipients = match job.recipients.as_slice() {
            [one] => Recipients::One(*one),
            _ => Recipients::Many(job.recipients.into_boxed_slice()),
        };
        Self {
            entry: job.entry,
            stay: job.stay,
            patience: job.patience,
            share: job.share,
            recipients,
        }
    }

    /// Positions in the envelope.
    pub const fn recipients(&self) -> &[u32] {
        match &self.recipients {
            Recipients::One(one) => std::slice::from_ref(one),
            Recipients::Many(many) => many,
        }
    }

    /// The job again; `site` is where it waited.
    pub fn into_job(self, site: &Arc<str>) -> Job {
        Job {
            entry: self.entry,
            stay: self.stay,
            site: Arc::clone(site),
            share: self.share,
            recipients: match self.recipients {
                Recipients::One(one) => vec![one],
                Recipients::Many(many) => many.into_vec(),
            },
            patience: self.patience,
            instead: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_comes_back_as_it_was() {
        for recipients in [vec![], vec![7], vec![3, 1, 2]] {
            let job = Job {
                entry: EntryId::from_u64(5),
                stay: 9,
                site: "there".into(),
                share: Share::default(),
                recipients,
                patience: 11,
                instead: None,
            };
            let waiting = Waiting::new(job.clone());
            assert_eq!(waiting.recipients(), job.recipients);
            assert_eq!(waiting.into_job(&job.site), job);
        }
    }

    #[test]
    fn it_is_small() {
        assert!(size_of::<Waiting>() <= 48, "{}", size_of::<Waiting>());
    }
}
