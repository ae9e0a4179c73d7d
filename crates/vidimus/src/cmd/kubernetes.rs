//! The API server of a cluster, for commands that ask it something: how it is reached, and one request with its answer.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use hyper::Request;
use kube_client::config::{KubeConfigOptions, Kubeconfig};
use kube_client::{Client, Config};
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};

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
}

/// What is asked.
pub(super) struct Cluster {
    client: Client,
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
        let client = runtime.block_on(async {
            let mut config = match &reach.kubeconfig {
                Some(path) => {
                    let shown = || format!("--kubeconfig {}", path.display());
                    let file = Kubeconfig::read_from(path).with_context(shown)?;
                    Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
                        .await
                        .with_context(shown)?
                }
                None => Config::infer().await.context("no cluster is known: give --kubeconfig FILE")?,
            };
            config.connect_timeout = Some(CONNECT);
            // Whoever asks is there to ask again.
            config.default_retry = false;
            Client::try_from(config).context("the API server's address, certificates or credentials")
        })?;
        Ok(Self { client, runtime })
    }

    /// What it answers.
    ///
    /// # Errors
    /// When it cannot be reached, or says nothing that is an answer.
    pub(super) fn ask(&self, request: Request<Vec<u8>>) -> anyhow::Result<Result<Value, Refused>> {
        let asked = async { tokio::time::timeout(PATIENCE, self.client.request::<Value>(request)).await };
        match self.runtime.block_on(asked) {
            Err(_) => bail!("the API server does not answer in {} s", PATIENCE.as_secs()),
            Ok(Ok(answer)) => Ok(Ok(answer)),
            Ok(Err(kube_client::Error::Api(status))) => {
                Ok(Err(Refused { code: status.code, message: status.message }))
            }
            Ok(Err(error)) => Err(error).context("the API server is not reached"),
        }
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
