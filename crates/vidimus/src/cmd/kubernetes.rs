//! The API server of a cluster, for commands that ask it something: how it is reached, and one request with its answer.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use hyper::Request;
use kube_client::config::{KubeConfigOptions, Kubeconfig};
use kube_client::{Client, Config};
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};
use vidimus_cluster::answer;

/// From asking to the last byte.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a connection to it may take.
const CONNECT: Duration = Duration::from_secs(5);

/// How the API server is reached.
#[derive(Debug, Default, clap::Args)]
pub(super) struct Reach {
    /// How the cluster is reached (the current context of this file) [default: as kubectl does, or as the ServiceAccount of the pod].
    #[arg(long, env = "VIDIMUS_KUBECONFIG", value_name = "FILE")]
    pub(super) kubeconfig: Option<PathBuf>,
    /// The context in it [default: the current one].
    #[arg(long, env = "VIDIMUS_KUBE_CONTEXT", value_name = "NAME")]
    pub(super) context: Option<String>,
}

impl Reach {
    /// How the API server is reached: as kubectl would reach it. Nothing is asked yet.
    ///
    /// # Errors
    /// When that is not known, or cannot be used.
    pub(super) async fn config(&self) -> anyhow::Result<Config> {
        let options = KubeConfigOptions { context: self.context.clone(), ..KubeConfigOptions::default() };
        let mut config = match (&self.kubeconfig, &self.context) {
            (Some(path), _) => {
                let shown = || format!("--kubeconfig {}", path.display());
                let file = Kubeconfig::read_from(path).with_context(shown)?;
                Config::from_custom_kubeconfig(file, &options).await.with_context(shown)?
            }
            (None, Some(context)) => {
                let shown = || format!("--context {context}");
                Config::from_kubeconfig(&options).await.with_context(shown)?
            }
            (None, None) => Config::infer().await.context("no cluster is known: give --kubeconfig FILE")?,
        };
        (config.connect_timeout, config.read_timeout) = (Some(CONNECT), Some(PATIENCE));
        // Whoever asks is there to ask again.
        config.default_retry = false;
        Ok(config)
    }
}

/// A client for what is reached so.
///
/// # Errors
/// When its address, certificates or credentials cannot be used.
pub(super) fn client(config: Config) -> anyhow::Result<Client> {
    let server = config.cluster_url.to_string();
    Client::try_from(config)
        .with_context(|| format!("the address, certificates or credentials of {server} cannot be used"))
}

/// What is asked.
pub(super) struct Cluster {
    client: Client,
    /// Its URL.
    server: String,
    runtime: Runtime,
}

/// Why the API server does not do what was asked.
#[derive(Debug)]
pub(super) struct Refused {
    /// The HTTP status: 404 is not there, 403 is not allowed.
    pub(super) code: u16,
    pub(super) message: String,
}

impl Cluster {
    /// Reads how it is reached. Nothing is asked yet.
    ///
    /// # Errors
    /// When that is not known, or cannot be used.
    pub(super) fn of(reach: &Reach) -> anyhow::Result<Self> {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let (client, server) = runtime.block_on(async {
            let config = reach.config().await?;
            let server = config.cluster_url.to_string();
            anyhow::Ok((client(config)?, server))
        })?;
        Ok(Self { client, server, runtime })
    }

    /// What it answers.
    ///
    /// # Errors
    /// When it cannot be reached, or says nothing that is an answer.
    pub(super) fn ask(&self, request: Request<Vec<u8>>) -> anyhow::Result<Result<Value, Refused>> {
        let asked = async { tokio::time::timeout(PATIENCE, self.client.request::<Value>(request)).await };
        match self.runtime.block_on(asked) {
            Err(_) => bail!("{}", answer::silent(&self.server, PATIENCE)),
            Ok(Ok(answer)) => Ok(Ok(answer)),
            Ok(Err(kube_client::Error::Api(status))) => {
                Ok(Err(Refused { code: status.code, message: status.message }))
            }
            Ok(Err(error)) => bail!("{}", answer::not_done(&self.server, &error)),
        }
    }

    /// What it says no with, as an error: which server it is, and what to do.
    pub(super) fn refusal(&self, refused: &Refused) -> anyhow::Error {
        anyhow!("{}", answer::refused(&self.server, refused.code, &refused.message))
    }

    /// What is at a path.
    ///
    /// # Errors
    /// As of [`Cluster::ask`].
    pub(super) fn get(&self, path: &str) -> anyhow::Result<Result<Value, Refused>> {
        self.ask(Request::get(path).body(Vec::new())?)
    }
}

/// Who asks, as the kubeconfig calls it. Whom the API server takes it for, only that knows.
pub(super) fn who(reach: &Reach) -> String {
    let read = reach.kubeconfig.as_ref().map_or_else(Kubeconfig::read, Kubeconfig::read_from);
    let Ok(file) = read else { return "the ServiceAccount of this pod".to_owned() };
    let current = file.current_context.unwrap_or_default();
    let found = file.contexts.into_iter().find(|one| one.name == current);
    let user = found.and_then(|one| one.context?.user).unwrap_or_default();
    format!("user '{user}' of the context '{current}'")
}
