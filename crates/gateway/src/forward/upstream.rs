//! The connections to upstreams, and which addresses those may have.

use std::sync::{Arc, OnceLock};

use vidimus_core::refusal::{Code, Refusal};
use vidimus_core::resource::Endpoint;
use vidimus_core::resource::field::web_url;

use super::connect::{self, AddressGuard, Client, Connecting, KeepAlive};
use super::own_roots::OwnRoots;
use crate::runner::Runner;

/// One worker's connections to upstreams, pooled; a client per set of trusted roots.
#[derive(Clone, Debug)]
pub struct Upstream(pub(super) Arc<Inner>);

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) clients: Clients,
    /// Those for what speaks gRPC, where the first was called.
    http2: OnceLock<Clients>,
    /// Clients for webhooks, made on first need: where one may not be at this host, and where it may.
    news: [OnceLock<Client>; 2],
    /// What runs upstreams that are jobs.
    pub(super) runner: Option<Arc<dyn Runner>>,
}

/// Clients that connect in one way.
#[derive(Debug)]
pub(super) struct Clients {
    pub(super) connecting: Connecting,
    pub(super) system: Client,
    /// Those for endpoints that name their own roots.
    pub(super) own_roots: OwnRoots,
}

impl Clients {
    fn new(connecting: Connecting) -> Result<Self, std::io::Error> {
        let system = connect::client(&connecting, None)?;
        Ok(Self { connecting, system, own_roots: OwnRoots::default() })
    }

    fn of(&self, endpoint: &Endpoint) -> Result<Client, Refusal> {
        match &endpoint.ca_file {
            None => Ok(self.system.clone()),
            Some(file) => self.own_roots.client(file, &self.connecting),
        }
    }
}

impl Upstream {
    /// # Errors
    /// When the system's roots cannot be loaded.
    pub fn new(guard: AddressGuard, keep_alive: KeepAlive) -> Result<Self, std::io::Error> {
        Self::with_runner(guard, keep_alive, None)
    }

    /// The same, where jobs are run too.
    ///
    /// # Errors
    /// When the system's roots cannot be loaded.
    pub fn with_runner(
        guard: AddressGuard,
        keep_alive: KeepAlive,
        runner: Option<Arc<dyn Runner>>,
    ) -> Result<Self, std::io::Error> {
        let clients = Clients::new(Connecting { guard, keep_alive, only_http2: false })?;
        Ok(Self(Arc::new(Inner { clients, http2: OnceLock::new(), news: Default::default(), runner })))
    }

    /// That the address of an endpoint, where it is a literal one, is none that no call may reach. A name is looked up by whoever calls it.
    ///
    /// # Errors
    /// `upstream_refused_address`.
    pub(crate) fn check_address(&self, endpoint: &Endpoint) -> Result<(), Refusal> {
        endpoint.url.host_str().map_or(Ok(()), |host| self.guard().check_literal(host))
    }

    /// That news of a task may go to this address: it is held to what an upstream's is held to, and is at this host only where `is_beside`
    /// says so. What its name leads to is looked at when they go ([`tell`]).
    ///
    /// # Errors
    /// `upstream_refused_address`.
    pub(crate) fn check_webhook(&self, url: &str, is_beside: bool) -> Result<(), Refusal> {
        const NEXT: &str = "Name an http or https address with a host, that is neither link-local nor a cloud's metadata service, and that \
            this gateway may reach (--deny-upstream).";
        let url = web_url::check_given(url).map_err(|why| {
            let message = format!("news of the task cannot go to the address that is named: {why}");
            Refusal::new(Code::UpstreamRefusedAddress, message).with_next(NEXT)
        })?;
        let guard = self.news_guard(is_beside);
        let checked = url.host_str().map_or(Ok(()), |host| guard.check_literal(host));
        checked.map_err(|refusal| refusal.with_next(NEXT))
    }

    /// Which addresses a webhook may have.
    pub(super) fn news_guard(&self, is_beside: bool) -> AddressGuard {
        let guard = self.guard();
        if is_beside { guard.clone() } else { guard.but_this_host() }
    }

    pub(super) fn news_client(&self, is_beside: bool) -> Result<Client, Refusal> {
        let [elsewhere, beside] = &self.0.news;
        let slot = if is_beside { beside } else { elsewhere };
        if let Some(client) = slot.get() {
            return Ok(client.clone());
        }
        let connecting =
            Connecting { guard: self.news_guard(is_beside), ..self.0.clients.connecting.clone() };
        let client = connect::client(&connecting, None).map_err(|error| {
            Refusal::new(Code::Internal, "the system's roots could not be loaded").with_detail(error)
        })?;
        Ok(slot.get_or_init(|| client).clone())
    }

    pub(super) fn guard(&self) -> &AddressGuard {
        &self.0.clients.connecting.guard
    }

    pub(super) fn client(&self, endpoint: &Endpoint) -> Result<Client, Refusal> {
        self.0.clients.of(endpoint)
    }

    /// One that speaks HTTP/2 from the first byte, as gRPC does.
    pub(super) fn http2_client(&self, endpoint: &Endpoint) -> Result<Client, Refusal> {
        if let Some(clients) = self.0.http2.get() {
            return clients.of(endpoint);
        }
        let connecting = Connecting { only_http2: true, ..self.0.clients.connecting.clone() };
        let clients = Clients::new(connecting).map_err(|error| {
            let message = "the roots that upstreams are trusted by could not be read";
            Refusal::new(Code::UpstreamUnreachable, message).with_detail(error)
        })?;
        self.0.http2.get_or_init(|| clients).of(endpoint)
    }
}
