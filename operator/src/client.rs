//! The client of the API server: from the pod's account or a kubeconfig. IO, but for where the file of authorities is.

use std::path::{Path, PathBuf};
use std::time::Duration;

use kube::config::Kubeconfig;
use kube::{Client, Config};

/// A client. Errors: a sentence; neither a pod's account nor a kubeconfig can be used.
pub async fn client() -> Result<Client, String> {
    let config = config().await?;
    Client::try_from(config).map_err(|error| error.to_string())
}

/// In a pod by its account, addressed by IP; outside by a kubeconfig.
async fn config() -> Result<Config, String> {
    let mut config = match Config::incluster_env() {
        Ok(config) => config,
        Err(_) => outside().await?,
    };
    config.connect_timeout = Some(Duration::from_secs(5));
    // Tries come later and later by object. The client's own would make fifteen of each of them.
    config.default_retry = false;
    Ok(config)
}

async fn outside() -> Result<Config, String> {
    let mut config = Config::infer().await.map_err(|error| error.to_string())?;
    // As in a pod: authorities that are replaced are read anew from their file.
    if let Ok(file) = Kubeconfig::read() {
        config.root_cert_file = authorities(&file);
    }
    Ok(config)
}

/// The file of authorities that the current context names. `None`: they are in the kubeconfig itself, or those of the system.
fn authorities(kubeconfig: &Kubeconfig) -> Option<PathBuf> {
    let current = kubeconfig.current_context.as_ref()?;
    let context = kubeconfig.contexts.iter().find(|known| known.name == *current)?;
    let name = &context.context.as_ref()?.cluster;
    let cluster = kubeconfig.clusters.iter().find(|known| known.name == *name)?;
    let cluster = cluster.cluster.as_ref()?;
    // What is written in the kubeconfig goes before a file.
    let file = cluster.certificate_authority.as_ref();
    file.filter(|_| cluster.certificate_authority_data.is_none())
        .map(|file| Path::new(file).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_of_authorities_is_that_of_the_current_context() {
        let read = |current: &str| {
            let text = format!(
                r#"{{"apiVersion": "v1", "kind": "Config", "current-context": "{current}",
 "contexts": [
  {{"name": "by-file", "context": {{"cluster": "a", "user": "u"}}}},
  {{"name": "inline", "context": {{"cluster": "b", "user": "u"}}}},
  {{"name": "both", "context": {{"cluster": "c", "user": "u"}}}},
  {{"name": "dangling", "context": {{"cluster": "d", "user": "u"}}}}],
 "clusters": [
  {{"name": "a", "cluster": {{"server": "https://a", "certificate-authority": "/etc/a.crt"}}}},
  {{"name": "b", "cluster": {{"server": "https://b", "certificate-authority-data": "eA=="}}}},
  {{"name": "c", "cluster": {{"server": "https://c", "certificate-authority": "/etc/c.crt", "certificate-authority-data": "eA=="}}}}],
 "users": []}}"#
            );
            authorities(&Kubeconfig::from_yaml(&text).unwrap())
        };
        assert_eq!(read("by-file"), Some(PathBuf::from("/etc/a.crt")));
        for other in ["inline", "both", "dangling", "unknown"] {
            assert_eq!(read(other), None, "{other}");
        }
    }
}
