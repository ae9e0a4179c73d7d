//! The issuer of the cluster's ServiceAccount tokens: its keys are read at the API server, with the credential by which the cluster is followed.

use std::sync::Arc;

use tokio::runtime::Handle;
use vidimus_cluster::IssuerDocuments;
use vidimus_identity::{ApiServer, Reading};

use super::source::Watching;

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

/// The API server that is followed, where one is. To be called within the runtime that follows it.
pub(super) fn api_server(watching: &Watching) -> Option<Arc<dyn ApiServer>> {
    let documents = watching.issuer()?;
    Some(Arc::new(Followed { documents, control: Handle::current() }))
}
