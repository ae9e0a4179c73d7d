//! How the API server is reached by whoever registers: as `kubectl` would reach it.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use kube_client::config::{KubeConfigOptions, Kubeconfig};
use kube_client::{Client, Config};

/// How long a connection may take, and an answer.
const CONNECT: Duration = Duration::from_secs(10);
const ANSWER: Duration = Duration::from_secs(30);

/// A client for the API server that a kubeconfig names, or of the pod that this runs in. Nothing was asked of it yet.
pub(super) async fn client(kubeconfig: Option<&Path>, context: Option<&str>) -> anyhow::Result<Client> {
    let options = KubeConfigOptions { context: context.map(str::to_owned), ..KubeConfigOptions::default() };
    let mut config = match kubeconfig {
        Some(path) => {
            let file = Kubeconfig::read_from(path);
            let file = file.with_context(|| format!("--kubeconfig {}", path.display()))?;
            Config::from_custom_kubeconfig(file, &options).await.context("--kubeconfig")?
        }
        None if context.is_some() => Config::from_kubeconfig(&options).await.context("--context")?,
        None => Config::infer().await.context("no cluster is known; give --kubeconfig FILE")?,
    };
    (config.connect_timeout, config.read_timeout) = (Some(CONNECT), Some(ANSWER));
    Client::try_from(config).context("the cluster's address, certificates or credentials cannot be used")
}
