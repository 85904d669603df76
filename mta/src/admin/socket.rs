//! The queue's verbs at a socket in the spool's folder, for whoever may write there: the mail server alone on a machine, and
//! `kubectl exec`. No tokens: the socket has mode 0600, so that the kernel says who may connect.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::UnixListener;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

/// Where the socket of a spool is.
pub fn path(spool: &Path) -> PathBuf {
    spool.join("admin.sock")
}

/// Listens; one that an ended process left is replaced: the spool's lock says that there is no other process.
pub(super) fn bind(spool: &Path) -> std::io::Result<UnixListener> {
    let path = path(spool);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&path)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Serves until `stop`.
pub(super) async fn serve(listener: UnixListener, router: Router, stop: CancellationToken) {
    while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
        let Ok((stream, _)) = accepted else { continue };
        let router = router.clone();
        let ended = stop.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request: hyper::Request<Incoming>| {
                router.clone().oneshot(request.map(Body::new))
            });
            let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            // A client that breaks off has what it wanted.
            let _ = ended.run_until_cancelled(connection).await;
        });
    }
}
