//! How the API server is reached.

use std::ops::Deref;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use kube_client::Config;
use kube_client::config::{KubeConfigOptions, Kubeconfig};
use vidimus_registry::digest_of;

use crate::answer::{self, NotDone};
use crate::issuer::IssuerDocuments;
use crate::status::Writes;

/// How long a connection to the API server may take.
const CONNECT: Duration = Duration::from_secs(5);

/// Where the cluster is, and what of it is followed.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// A kubeconfig file; without it the process is in a pod, and is its ServiceAccount, or outside of one is reached what kubectl reaches.
    pub kubeconfig: Option<PathBuf>,
    /// The context in it; the current one where it is not given.
    pub context: Option<String>,
    /// The namespaces whose objects are registered; all where it is empty.
    pub namespaces: Vec<Arc<str>>,
    /// Who writes statuses, and in which namespace the Lease for that is; `None` where nobody is to. Without a namespace it is that of the pod, or of the
    /// context.
    pub writes: Option<(String, Option<Arc<str>>)>,
    /// Whether pods are watched, in the same namespaces; in all of them the namespaces are too.
    pub pods: bool,
    /// Whether the calls of servers that are jobs are run.
    pub jobs: bool,
}

/// A client of the API server that knows which one it asks, for what is said of it.
#[derive(Clone)]
pub(crate) struct Client {
    client: kube_client::Client,
    /// Its URL.
    server: Arc<str>,
}

impl Client {
    /// Its URL.
    pub(crate) fn server(&self) -> &str {
        &self.server
    }

    /// Why a request was not done.
    pub(crate) fn not_done(&self, error: &kube_client::Error) -> NotDone {
        answer::not_done(&self.server, error)
    }

    /// That there was no answer in a time.
    pub(crate) fn silent(&self, within: Duration) -> NotDone {
        answer::silent(&self.server, within)
    }
}

impl Deref for Client {
    type Target = kube_client::Client;

    fn deref(&self) -> &kube_client::Client {
        &self.client
    }
}

/// A cluster that is known how to reach; nothing was asked of it yet.
pub struct Cluster {
    pub(crate) client: Client,
    pub(crate) namespaces: Vec<Arc<str>>,
    pub(crate) writes: Option<Writes>,
    /// Which cluster it is, and what of it is followed, as far as that is known without asking it.
    pub(crate) identity: String,
    pub(crate) pods: bool,
    pub(crate) jobs: bool,
}

impl Cluster {
    /// The URL of its API server.
    pub fn server(&self) -> &str {
        self.client.server()
    }

    /// What it publishes of its issuer of tokens.
    pub fn issuer(&self) -> IssuerDocuments {
        IssuerDocuments::new(self.client.clone())
    }
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster").field("namespaces", &self.namespaces).finish_non_exhaustive()
    }
}

/// Why it is not known how the API server is reached.
#[derive(Debug, thiserror::Error)]
pub enum NotConnected {
    /// There is no pod around this process, and no kubeconfig where kubectl looks for one.
    #[error("no cluster is known: {0}; give --kubeconfig FILE")]
    Unknown(String),
    /// The file cannot be used.
    #[error("{path}: {reason}")]
    Kubeconfig {
        /// Of the file.
        path: String,
        /// Why.
        reason: String,
    },
    /// What it says of certificates or credentials cannot be used.
    #[error("the API server's address, certificates or credentials cannot be used: {0}")]
    Client(String),
    /// A namespace that none can be called.
    #[error("'{0}' is not the name of a namespace; write 1 to 63 lower-case letters, digits and '-'")]
    Namespace(String),
}

/// Reads how the cluster is reached. To be called within a tokio runtime, which the client's connections then live on.
///
/// # Errors
/// See [`NotConnected`]. That the API server answers is not asked.
pub async fn connect(access: &Access) -> Result<Cluster, NotConnected> {
    let namespaces =
        access.namespaces.iter().chain(access.writes.iter().flat_map(|(_, namespace)| namespace));
    if let Some(wrong) = namespaces.into_iter().find(|name| !is_dns_label(name)) {
        return Err(NotConnected::Namespace(wrong.to_string()));
    }
    let mut config = config(access).await?;
    config.connect_timeout = Some(CONNECT);
    // What is tried again, and when, is said where it is asked.
    config.default_retry = false;
    let identity = identity(&config, &access.namespaces);
    let own: Arc<str> = config.default_namespace.as_str().into();
    let server: Arc<str> = config.cluster_url.to_string().into();
    let client = kube_client::Client::try_from(config);
    let client = client.map_err(|error| NotConnected::Client(error.to_string()))?;
    let client = Client { client, server };
    let writes =
        access.writes.clone().map(|(who, namespace)| Writes { who, namespace: namespace.unwrap_or(own) });
    let (pods, jobs) = (access.pods, access.jobs);
    Ok(Cluster { client, namespaces: access.namespaces.clone(), writes, identity, pods, jobs })
}

/// By the file that is given; or by the pod; or as kubectl does it.
async fn config(access: &Access) -> Result<Config, NotConnected> {
    let options = KubeConfigOptions { context: access.context.clone(), ..KubeConfigOptions::default() };
    if let Some(path) = &access.kubeconfig {
        let wrong = |error: kube_client::config::KubeconfigError| NotConnected::Kubeconfig {
            path: path.display().to_string(),
            reason: error.to_string(),
        };
        let file = Kubeconfig::read_from(path).map_err(wrong)?;
        return Config::from_custom_kubeconfig(file, &options).await.map_err(wrong);
    }
    let of_pod = match access.context {
        None => Config::incluster().map_err(|error| format!("not in a pod of one ({error}); ")),
        Some(_) => Err(String::new()),
    };
    match of_pod {
        Ok(config) => Ok(config),
        Err(no_pod) => {
            let of_kubectl = Config::from_kubeconfig(&options).await;
            of_kubectl.map_err(|error| NotConnected::Unknown(format!("{no_pod}{error}")))
        }
    }
}

/// Where it is, by whose certificates, and which namespaces: what was kept of another one is not for this one.
fn identity(config: &Config, namespaces: &[Arc<str>]) -> String {
    let trusted = match (&config.root_cert, config.accept_invalid_certs) {
        (_, true) => "any".to_owned(),
        (None, false) => "the system's".to_owned(),
        (Some(roots), false) => {
            let mut roots: Vec<String> = roots.iter().map(|root| digest_of(root)).collect();
            roots.sort();
            digest_of(roots.join("\n").as_bytes())
        }
    };
    let name = config.tls_server_name.as_deref().map(|name| format!(" as {name}")).unwrap_or_default();
    let mut namespaces: Vec<&str> = namespaces.iter().map(|name| &**name).collect();
    namespaces.sort_unstable();
    namespaces.dedup();
    let followed = if namespaces.is_empty() { "all".to_owned() } else { namespaces.join(",") };
    format!("{}{name} (CA {trusted}, namespaces {followed})", config.cluster_url)
}

/// Whether a namespace can have this name: it stands in paths.
fn is_dns_label(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&text.len())
        && text.bytes().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Attack: what was kept of a cluster of one's own put into the place of another's.
    #[test]
    fn another_address_authority_or_choice_of_namespaces_is_another_cluster() {
        let of = |url: &str, roots: Option<&[&str]>, namespaces: &[&str]| {
            let mut config = Config::new(url.parse().unwrap());
            config.root_cert = roots.map(|roots| roots.iter().map(|root| root.as_bytes().to_vec()).collect());
            identity(&config, &namespaces.iter().map(|name| Arc::from(*name)).collect::<Vec<_>>())
        };
        let one = of("https://10.0.0.1:443", Some(&["a", "b"]), &[]);
        assert_eq!(one, of("https://10.0.0.1:443", Some(&["b", "a"]), &[]));
        assert_eq!(of("https://x", None, &["a", "b"]), of("https://x", None, &["b", "a", "b"]));
        for other in [
            of("https://10.0.0.2:443", Some(&["a", "b"]), &[]),
            of("https://10.0.0.1:443", Some(&["a"]), &[]),
            of("https://10.0.0.1:443", None, &[]),
            of("https://10.0.0.1:443", Some(&["a", "b"]), &["a"]),
        ] {
            assert_ne!(one, other);
        }
        assert!(!one.contains('\n'));
        let mut config = Config::new("https://10.0.0.1:443".parse().unwrap());
        config.accept_invalid_certs = true;
        assert!(identity(&config, &[]).contains("CA any"));
    }

    #[test]
    fn what_stands_in_a_path_is_a_name() {
        for (text, is) in
            [("a", true), ("team-1", true), ("", false), ("a/../b", false), ("A", false), ("-a", false)]
        {
            assert_eq!(is_dns_label(text), is, "{text}");
        }
        assert!(!is_dns_label(&"a".repeat(64)));
    }
}
