//! The operator's process: arguments, logs, client, and the [`manager`](postroad_operator::manager) until something ends.

use std::process::ExitCode;

use clap::Parser;
use kube::{Client, Config};
use postroad_operator::args::Args;
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
    let client = match config()
        .await
        .and_then(|config| Client::try_from(config).map_err(|error| error.to_string()))
    {
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

/// In a pod by its account, addressed by IP; outside by a kubeconfig.
async fn config() -> Result<Config, String> {
    let mut config = match Config::incluster_env() {
        Ok(config) => config,
        Err(_) => Config::infer().await.map_err(|error| error.to_string())?,
    };
    config.connect_timeout = Some(std::time::Duration::from_secs(5));
    // Tries come later and later by object. The client's own would make fifteen of each of them.
    config.default_retry = false;
    Ok(config)
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
