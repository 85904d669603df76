//! The whole: joins the parts, starts them in order, ends them in reverse order.

use std::path::Path;

use crate::reload::{self, LoadError};
use crate::settings::Live;

/// Why the daemon could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] LoadError),
    /// The system refused something that everything needs.
    #[error("cannot start the runtime: {0}")]
    Runtime(std::io::Error),
}

/// Serves until SIGTERM or SIGINT.
pub fn run(config: &Path) -> Result<(), StartError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(StartError::Runtime)?;
    runtime.block_on(async {
        let _live = Live::new(reload::first(config).await?);
        Ok(())
    })
}
