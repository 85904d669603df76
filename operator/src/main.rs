//! The operator's process: arguments, logs, client, and the [`manager`](postroad_operator::manager) until something ends.

use std::process::ExitCode;

use clap::Parser;
use postroad_operator::args::Args;
use postroad_operator::client;
use postroad_operator::manager::{self, Ended};
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let args = Args::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().json().with_env_filter(filter).init();
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "the runtime cannot be started");
            return ExitCode::FAILURE;
        }
    };
    runtime.block_on(run(args))
}

async fn run(args: Args) -> ExitCode {
    // The one provider of cryptography; a second call could only find it installed already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let client = match client::client().await {
        Ok(client) => client,
        Err(error) => {
            tracing::error!(
                error,
                "no Kubernetes API: neither a pod's account nor a kubeconfig can be used"
            );
            return ExitCode::FAILURE;
        }
    };
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        mta_image = args.mta_image,
        "postroad-operator"
    );
    match manager::run(args, client, asked()).await {
        Ended::Asked => ExitCode::SUCCESS,
        ended => {
            tracing::error!(%ended, "the operator ends");
            ExitCode::FAILURE
        }
    }
}

/// Ends with SIGTERM or SIGINT.
async fn asked() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut term), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = interrupt.recv() => {}
    }
}
