//! Filters at the end of a message: asked as long as the session may go on, and what they say to its client.

use postroad_smtp::Reply;

use super::driver::{Driver, Ending};
use crate::accept::{Filtered, Met, Receiving, Transaction};

impl Driver {
    /// Shows the message to its filters. Errors: it ends here.
    pub(super) async fn filter(
        &self,
        receiving: &mut Receiving,
        transaction: &mut Transaction,
    ) -> Result<(), Ending> {
        let met = Met {
            port: &self.port.name,
            client_port: self.client.port(),
            tls: self.tls.as_deref(),
        };
        let asked = receiving.filter(&self.shared.filters, transaction, met);
        match self.unless_over(asked).await {
            Ok(Filtered::Passed) => Ok(()),
            Ok(Filtered::Discarded) => Err(Ending::Discarded),
            // The text has its enhanced code in front.
            Ok(Filtered::Refused(refusal)) => {
                Err(Ending::Refused(Reply::new(refusal.code, "", refusal.text)))
            }
            Err(over) => Err(Ending::Refused(over)),
        }
    }
}
