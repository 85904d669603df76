//! Over quota: mail is held, the condition says why, and later it is delivered.

use super::{LIMIT, Play, expect};
use crate::kubectl::{Failure, Outcome};

impl Play<'_> {
    /// All quotas are used up, and then they are not.
    pub(super) fn quotas_end(&mut self) -> Outcome {
        self.stand_ins.order_all("overQuota", true)?;
        let names = self.names(true);
        self.send("quota", &names, 1)?;
        let (telling, silent): (Vec<&str>, Vec<&str>) = names
            .iter()
            .partition(|name| self.case(name).is_ok_and(|case| case.over_quota().is_some()));
        let told = self.await_condition(&telling, "QuotaAvailable", "False")?;
        for (name, policy) in telling.iter().zip(&told) {
            // In the words of the provider.
            let words = self.case(name)?.over_quota().unwrap_or_default();
            expect(policy, "QuotaAvailable", "QuotaUsedUp", words)?;
        }
        self.is_shown(&telling, "QUOTA", "False")?;
        self.none_came("quota", &telling)?;
        self.await_mail("quota", &silent, 1)?;
        let queued = self.stand_ins.record()?.messages(&self.mark("quota", "mandrill"));
        if queued[0]["queued"] != true {
            return Err(Failure::wrong(
                "Mandrill takes what is over the quota, and keeps it",
            ));
        }
        self.stand_ins.order_all("overQuota", false)?;
        self.try_now()?;
        self.await_mail("quota", &names, 1)?;
        self.await_condition(&names, "QuotaAvailable", "True")?;
        self.is_shown(&names, "QUOTA", "True")?;
        self.room.await_queue(0, LIMIT)
    }
}
