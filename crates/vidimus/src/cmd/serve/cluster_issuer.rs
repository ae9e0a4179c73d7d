//! The issuer of the cluster's ServiceAccount tokens: its keys are read at the API server, with the credential by which the cluster is followed.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use vidimus_cluster::IssuerDocuments;
use vidimus_gateway::Shared;
use vidimus_identity::{ApiServer, Reading};

use super::source::Watching;
use super::supervisor::Supervisor;

/// How often keys are asked for again that could not be fetched.
const AGAIN: Duration = Duration::from_secs(10);

/// It is asked on the thread that follows the cluster: a connection lives where it was begun, and a call's thread has calls to carry.
#[derive(Debug)]
struct Followed {
    documents: IssuerDocuments,
    control: Handle,
}

impl ApiServer for Followed {
    fn read(&self, path: &'static str, max: usize) -> Reading<'_> {
        let documents = self.documents.clone();
        let task = self.control.spawn(async move { documents.read(path, max).await });
        Box::pin(async move {
            let read = task.await.map_err(|error| error.to_string())?;
            read.map(Into::into)
        })
    }
}

/// Asks again for keys that could not be fetched: the cluster's may be there by now, and nobody else asks until a token of it comes.
pub(super) fn follow(supervisor: &mut Supervisor, shared: &Arc<Shared>) {
    let shared = shared.clone();
    supervisor.repeated("issuer", AGAIN, move || {
        if !shared.unfetched_issuers().is_empty() {
            shared.prepare_issuer();
        }
        std::future::ready(())
    });
}

/// The API server that is followed, where one is. To be called within the runtime that follows it.
pub(super) fn api_server(watching: &Watching) -> Option<Arc<dyn ApiServer>> {
    let documents = watching.issuer()?;
    Some(Arc::new(Followed { documents, control: Handle::current() }))
}
