//! The keys of a cluster's issuer, from its API server. As a cluster comes, that lets only ServiceAccounts read them
//! (`system:service-account-issuer-discovery`), so they are asked for by who has a credential there.

use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;

use super::fetch::{FetchError, MAX_DOCUMENT, named_keys};

/// The two paths at which an API server has what it publishes of its issuer; `jwks_uri` in the first leads to the second, perhaps by another name of it.
const METADATA: &str = "/.well-known/openid-configuration";
const KEYS: &str = "/openid/v1/jwks";

/// A document, or why it cannot be had.
pub type Reading<'a> = Pin<Box<dyn Future<Output = Result<Bytes, String>> + Send + 'a>>;

/// The API server of the cluster that is followed.
///
/// Whoever implements it presents a credential there, so a path is of that server and of no other: it follows no redirect.
pub trait ApiServer: Debug + Send + Sync {
    /// What it answers at `path` with 200, of `max` bytes at most; otherwise why not, for the operator.
    fn read(&self, path: &'static str, max: usize) -> Reading<'_>;
}

/// The JWK Set of `issuer`, where that is the issuer of this API server, and where it was had.
pub(super) async fn key_set(
    server: &dyn ApiServer,
    issuer: &str,
    timeout: Duration,
) -> Result<(String, Bytes), FetchError> {
    let metadata = read(server, METADATA, timeout).await?;
    // That the server is the issuer's is what is asked; where its keys are is known.
    named_keys(&shown(METADATA), &metadata, issuer)?;
    Ok((shown(KEYS), read(server, KEYS, timeout).await?))
}

async fn read(server: &dyn ApiServer, path: &'static str, limit: Duration) -> Result<Bytes, FetchError> {
    let answered = tokio::time::timeout(limit, server.read(path, MAX_DOCUMENT)).await;
    let answered = answered.map_err(|_| FetchError::Timeout { url: shown(path), limit })?;
    answered.map_err(|reason| FetchError::Transport { url: shown(path), reason })
}

fn shown(path: &str) -> String {
    format!("{path} of the API server")
}
