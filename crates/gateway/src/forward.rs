//! The only place that reaches an upstream. It takes a [`Permit`], which only a decision gives, and a [`Receipt`], which only
//! the ledger gives.

mod connect;
pub mod headers;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, Uri};
use http_body_util::Full;
use hyper::body::Incoming;
use vidimus_core::decision::Permit;
use vidimus_core::refusal::{Code, Refusal};
use vidimus_core::resource::Endpoint;
use vidimus_ledger::Receipt;

use connect::Client;
pub use connect::{AddressGuard, Network};

/// One worker's connections to upstreams, pooled; a client per set of trusted roots.
#[derive(Clone, Debug)]
pub struct Upstream(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    guard: AddressGuard,
    system: Client,
    /// Clients for endpoints that name their own roots.
    own_roots: Mutex<HashMap<Arc<str>, Client>>,
}

/// What goes upstream: the caller's bytes, headers already cleared of the caller's credentials.
#[derive(Debug)]
pub struct Outbound {
    pub method: Method,
    pub uri: Uri,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Upstream {
    /// # Errors
    /// When the system's roots cannot be loaded.
    pub fn new(guard: AddressGuard) -> Result<Self, std::io::Error> {
        let system = connect::client(guard.clone(), None)?;
        Ok(Self(Arc::new(Inner { guard, system, own_roots: Mutex::default() })))
    }

    fn client(&self, endpoint: &Endpoint) -> Result<Client, Refusal> {
        let Some(file) = &endpoint.ca_file else { return Ok(self.0.system.clone()) };
        let poisoned = || Refusal::new(Code::Internal, "the upstream clients are in an unknown state");
        let mut clients = self.0.own_roots.lock().map_err(|_| poisoned())?;
        if let Some(client) = clients.get(file) {
            return Ok(client.clone());
        }
        let client = connect::client(self.0.guard.clone(), Some(file)).map_err(|error| {
            Refusal::new(Code::UpstreamUnreachable, "the roots of the upstream's endpoint could not be read")
                .with_detail(error)
        })?;
        clients.insert(file.clone(), client.clone());
        Ok(client)
    }
}

/// Carries out one permitted, recorded call, up to the response's headers.
///
/// # Errors
/// `upstream_unreachable`, `upstream_refused_address`, `upstream_timeout`, or `upstream_invalid` for a redirect: the registered
/// endpoint is the only place a call may go.
pub async fn forward(
    upstream: &Upstream,
    _permit: Permit,
    _receipt: &Receipt,
    endpoint: &Endpoint,
    outbound: Outbound,
) -> Result<Response<Incoming>, Refusal> {
    let client = upstream.client(endpoint)?;
    if let Some(host) = outbound.uri.host() {
        upstream.0.guard.check_literal(host)?;
    }
    let mut request = Request::new(Full::new(outbound.body));
    *request.method_mut() = outbound.method;
    *request.uri_mut() = outbound.uri;
    *request.headers_mut() = outbound.headers;
    let limit = Duration::from_millis(u64::from(endpoint.timeout_ms));
    let response = match tokio::time::timeout(limit, client.request(request)).await {
        Ok(Ok(response)) => response,
        Ok(Err(error)) => return Err(connect::refusal(&error)),
        Err(_) => {
            let message = format!("the upstream sent no answer within {} ms", endpoint.timeout_ms);
            return Err(Refusal::new(Code::UpstreamTimeout, message));
        }
    };
    if response.status().is_redirection() {
        return Err(Refusal::new(
            Code::UpstreamInvalid,
            "the upstream answered with a redirect, which is not followed",
        )
        .with_detail(response.status()));
    }
    Ok(response)
}
