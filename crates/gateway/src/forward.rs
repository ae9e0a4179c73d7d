//! The only place that reaches an upstream. It takes an [`Outbound`], which takes the [`Permit`] of its call: only the recording
//! of an allowing decision gives one, and where the request goes is read from it.

pub(crate) mod agent_tool;
mod ask;
mod back;
mod body;
mod bridge;
mod called;
mod connect;
mod crossed;
mod grpc;
mod grpc_tool;
pub mod headers;
mod job;
mod news;
mod openapi;
mod own_roots;
mod rest;
mod rewritten;
mod upstream;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, Uri};
use http_body_util::Full;
use hyper_util::client::legacy::connect::capture_connection;
use url::{Position, Url, form_urlencoded};
use vidimus_core::call::Destination;
use vidimus_core::permit::Permit;
use vidimus_core::refusal::{Code, Refusal};
use vidimus_core::resource::{AgentTools, Endpoint, Era};

use crate::accounts::Place;
use crate::answer::Ongoing;
use crate::gate::Shared;
use crate::protocol::mcp::bridge::{era, is_answered_here};
use crate::runner::Ran;
pub use back::Back;
pub use body::{Body, Broken};
pub use bridge::Held;
use bridge::left;
use connect::Connecting;
pub use connect::{AddressGuard, KeepAlive};
pub(crate) use connect::{Client, tcp, tls};
use grpc::Reading;
pub use news::{Notice, tell};
pub(crate) use openapi::makes_request;
pub(crate) use own_roots::MAX as MAX_ROOTS;
pub use rewritten::Rewrite;
pub use upstream::Upstream;

/// A request to the upstream of a permitted call: the caller's bytes, headers already cleared of the caller's credentials.
///
/// It holds the permit, and its address is the permit's. A request to anywhere else cannot be made:
///
/// ```compile_fail,E0451
/// # use vidimus_gateway::Outbound;
/// fn elsewhere(outbound: Outbound) -> Outbound {
///     Outbound { uri: http::Uri::from_static("http://elsewhere.example"), ..outbound }
/// }
/// ```
///
/// nor one without a permit, from what names the destination or from the index of some record:
///
/// ```compile_fail,E0308
/// # use vidimus_gateway::Outbound;
/// # use vidimus_core::call::Destination;
/// fn without_a_permit(destination: Destination) {
///     let _ = Outbound::to(destination, http::Method::POST, "", Default::default(), Default::default());
/// }
/// ```
///
/// ```compile_fail,E0308
/// # use vidimus_gateway::Outbound;
/// fn of_a_record(index: u64) {
///     let _ = Outbound::to(index, http::Method::POST, "", Default::default(), Default::default());
/// }
/// ```
///
/// nor two with one permit:
///
/// ```compile_fail,E0382
/// # use vidimus_gateway::Outbound;
/// # use vidimus_core::permit::Permit;
/// fn twice(permit: Permit) {
///     let _ = Outbound::to(permit, http::Method::POST, "", Default::default(), Default::default());
///     let _ = Outbound::to(permit, http::Method::POST, "", Default::default(), Default::default());
/// }
/// ```
///
/// A permit makes one:
///
/// ```
/// # use vidimus_gateway::Outbound;
/// # use vidimus_core::permit::Permit;
/// fn once(permit: Permit) {
///     let _ = Outbound::to(permit, http::Method::POST, "", Default::default(), Default::default());
/// }
/// ```
#[derive(Debug)]
pub struct Outbound {
    permit: Permit,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
    /// Where else a card may be, to be asked in turn where there is none.
    card: Option<Vec<Uri>>,
    /// What runs for it, where its destination is a job.
    ran: Option<Ran>,
    /// Its place among the jobs, where one is to run.
    place: Option<Place>,
    /// How its answer is read, where it goes over gRPC.
    grpc: Option<Reading>,
    /// The same, where it goes over HTTP+JSON in place of another binding.
    rest: Option<rest::Reading>,
    /// The same, where it goes in another version of A2A than its caller's, once it is read as JSON-RPC.
    crossed: Option<crossed::Reading>,
    /// That it is bridged to a server of another era, and what renews its credential there and keeps what goes on after it.
    bridged: Option<(bridge::Need, Arc<Shared>)>,
    /// The gateway asks it on account of another call.
    is_on_account: bool,
    /// That it passes as it is in an era with sessions, and what is said beside it there is said by.
    in_session: Option<Arc<Shared>>,
    /// What is to be known of its call where that waits behind its answer for the client.
    ongoing: Option<Arc<Ongoing>>,
}

impl Outbound {
    /// The request of a permitted call. `path` is what the operation has below the registered address, with the query that the
    /// caller's binding passes. Path is joined to path and query to query; where both queries have a name, the registered one's
    /// value is sent.
    ///
    /// # Errors
    /// `resource_unknown` for a destination without an address.
    pub fn to(
        permit: Permit,
        method: Method,
        path: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Self, Refusal> {
        let uri = address(&permit.endpoint()?.url, path).parse();
        let uri = uri.map_err(|error: http::uri::InvalidUri| {
            Refusal::new(Code::Internal, "the registered endpoint is not a usable address").with_detail(error)
        })?;
        let ran = permit.endpoint()?.job.is_some().then(Ran::default);
        Ok(Self {
            permit,
            method,
            uri,
            headers,
            body,
            card: None,
            ran,
            place: None,
            grpc: None,
            rest: None,
            crossed: None,
            bridged: None,
            is_on_account: false,
            in_session: None,
            ongoing: None,
        })
    }

    /// Looks for an agent's card where its record says, or else below its address, which it was made for, and then at the origin (A2A
    /// 1.0 section 8.2): several agents of one origin have theirs below their own.
    ///
    /// # Errors
    /// As [`Outbound::to`].
    pub fn of_card(mut self, path: &str) -> Result<Self, Refusal> {
        let endpoint = self.permit.endpoint()?;
        let unusable = |error: http::uri::InvalidUri| {
            Refusal::new(Code::Internal, "the address of the card is not usable").with_detail(error)
        };
        let other = match &endpoint.card {
            Some(card) => {
                self.uri = card[..Position::AfterQuery].parse().map_err(unusable)?;
                None
            }
            None => {
                let at_origin = format!("{}{path}", &endpoint.url[..Position::BeforePath]);
                Some(at_origin.parse::<Uri>().map_err(unusable)?).filter(|other| *other != self.uri)
            }
        };
        self.card = Some(other.into_iter().collect());
        Ok(self)
    }

    /// A job runs for it, in this place among all of them.
    #[must_use]
    pub(crate) fn in_place(self, place: Option<Place>) -> Self {
        Self { place, ..self }
    }

    /// It is asked on account of another call: who made that hears of no refusal that it could fall back by.
    #[must_use]
    pub(crate) fn on_account(self) -> Self {
        Self { is_on_account: true, ..self }
    }

    /// It is bridged, where its server speaks another era than its caller, or in a session with it: what it needs for more than one request.
    pub(crate) fn bridged(&mut self, shared: &Arc<Shared>) {
        if let Destination::Server(server) = self.permit.destination() {
            let now = || shared.clock.now().monotonic;
            let found = || shared.standing.era(server.endpoint.url.as_str(), now());
            let need =
                bridge::Need::of(&server.endpoint, found, (&self.headers, &self.body, self.is_on_account));
            self.bridged = need.map(|need| (need, shared.clone()));
            // What the gateway answers itself has no sessions.
            if need.is_some() || is_answered_here(&server.endpoint) {
                return;
            }
            left::note_return(&shared.standing.bridged(), &self.uri, (&self.method, &self.headers));
            self.in_session = (era(&self.headers) == Era::Sessions).then(|| shared.clone());
        }
    }

    /// It may wait behind its answer for the client, where it is bridged.
    #[must_use]
    pub(crate) fn that_may_wait(mut self, ongoing: impl FnOnce() -> Ongoing) -> Self {
        self.ongoing = self.bridged.as_ref().map(|_| Arc::new(ongoing()));
        self
    }

    /// The same below the address where the agent is served over HTTP+JSON.
    ///
    /// # Errors
    /// `binding_unserved` where its record names none.
    pub fn of_rest(mut self, path: &str) -> Result<Self, Refusal> {
        let rest = self.permit.endpoint()?.rest.as_ref();
        let rest =
            rest.ok_or_else(|| Refusal::new(Code::BindingUnserved, "the agent has no such address"))?;
        self.uri = address(rest, path).parse().map_err(|error: http::uri::InvalidUri| {
            Refusal::new(Code::Internal, "the agent's address over HTTP+JSON is not usable")
                .with_detail(error)
        })?;
        Ok(self)
    }

    pub fn permit(&self) -> &Permit {
        &self.permit
    }

    /// The agent that is sent a message in its place, where that is what its destination is.
    pub(crate) fn agent(&self) -> Option<Arc<AgentTools>> {
        self.permit.endpoint().ok()?.agent.clone()
    }

    pub fn headers_mut(&mut self) -> &mut HeaderMap {
        &mut self.headers
    }

    /// The headers so far.
    pub(crate) fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// How and where it goes.
    pub(crate) fn address(&self) -> (&Method, &Uri) {
        (&self.method, &self.uri)
    }

    /// The message.
    pub(crate) fn body(&self) -> &Bytes {
        &self.body
    }

    /// Where it stands what ran for it, where its destination is a job.
    pub(crate) fn ran(&self) -> Option<Ran> {
        self.ran.clone()
    }

    /// The same call, to another of those that may answer it ([`Permit::candidates`]).
    ///
    /// # Errors
    /// `internal` where there is no such one; else as [`Outbound::to`].
    pub(crate) fn turned_to(
        mut self,
        candidate: usize,
        (path, headers, body): (&str, HeaderMap, Bytes),
    ) -> Result<Self, Refusal> {
        match self.permit.turn_to(candidate) {
            true => Self::to(self.permit, self.method, path, headers, body),
            false => Err(Refusal::new(Code::Internal, "nobody else may answer this call")),
        }
    }

    /// What goes to the upstream beside the message, where a data plane sends it.
    pub(crate) fn into_headers(self) -> HeaderMap {
        self.headers
    }
}

/// The address of what is below a registered one.
fn address(registered: &Url, below: &str) -> String {
    let (path, query) = below.split_once('?').unwrap_or((below, ""));
    let base = &registered[..Position::AfterPath];
    let base = if path.is_empty() { base } else { base.trim_end_matches('/') };
    let mut address = [base, path].concat();
    let given = registered.query().unwrap_or_default();
    let known = |name: &str| form_urlencoded::parse(given.as_bytes()).any(|(other, _)| other == name);
    let added = query.split('&').filter(|pair| {
        let name = form_urlencoded::parse(pair.as_bytes()).next();
        name.is_some_and(|(name, _)| !known(&name))
    });
    let pairs: Vec<&str> = (!given.is_empty()).then_some(given).into_iter().chain(added).collect();
    if !pairs.is_empty() {
        address.push('?');
        address.push_str(&pairs.join("&"));
    }
    address
}

/// A client for what is no upstream and no part of a call ([`crate::webhook`], [`crate::witnesses`]), and held to the same addresses.
///
/// # Errors
/// When the system's roots cannot be loaded.
pub(crate) fn client_beside(guard: AddressGuard, roots: Option<&[u8]>) -> Result<Client, std::io::Error> {
    let connecting = Connecting { guard, keep_alive: KeepAlive::default(), only_http2: false };
    connect::client(&connecting, roots)
}

/// Carries out one permitted call, up to the response's headers. It takes the request, so a call is forwarded once:
///
/// ```compile_fail,E0382
/// # use vidimus_gateway::{Outbound, Upstream, forward};
/// async fn again(upstream: &Upstream, outbound: Box<Outbound>) {
///     let _ = forward(upstream, outbound).await;
///     let _ = forward(upstream, outbound).await;
/// }
/// ```
///
/// ```compile_fail,E0308
/// # use vidimus_gateway::{Upstream, forward};
/// async fn any_request(upstream: &Upstream, request: http::Request<bytes::Bytes>) {
///     let _ = forward(upstream, request).await;
/// }
/// ```
///
/// ```
/// # use vidimus_gateway::{Outbound, Upstream, forward};
/// async fn once(upstream: &Upstream, outbound: Box<Outbound>) {
///     let _ = forward(upstream, outbound).await;
/// }
/// ```
///
/// # Errors
/// `upstream_unreachable` when nothing was sent, `upstream_interrupted` when it may have been, `upstream_refused_address`,
/// `upstream_timeout`, or `upstream_invalid` for what is not HTTP. Of a job also `overloaded`, where too many run; of a server of another era
/// also `era_unbridged`.
pub async fn forward(upstream: &Upstream, outbound: Box<Outbound>) -> Result<Response<Body>, Refusal> {
    let Outbound {
        permit,
        method,
        uri,
        headers,
        body,
        card,
        ran,
        place,
        grpc,
        rest,
        crossed,
        bridged,
        in_session,
        ongoing,
        ..
    } = *outbound;
    if let Some(job) = permit.endpoint()?.job.clone() {
        let asked = job::Asked { method: &method, headers: &headers, body: &body };
        let ran = (ran.unwrap_or_default(), place);
        return Box::pin(job::answer(upstream.0.runner.as_ref(), permit, &job, asked, ran)).await;
    }
    if let Some((need, shared)) = bridged {
        let asked = bridge::Asked { method, uri, headers, body };
        // Few calls are bridged, and what is kept in place is moved with each.
        return Box::pin(bridge::answer(upstream, (permit, shared), need, (asked, ongoing))).await;
    }
    if let Some(shared) = in_session {
        let asked = bridge::Asked { method, uri, headers, body };
        return Box::pin(left::sent(upstream, (permit, shared), asked)).await;
    }
    if let Some(agent) = permit.endpoint()?.agent.clone() {
        let asked = job::Asked { method: &method, headers: &headers, body: &body };
        return agent_tool::no_message(&agent, asked);
    }
    if let Some(grpc) = permit.endpoint()?.grpc_tools.clone() {
        let asked = job::Asked { method: &method, headers: &headers, body: &body };
        return grpc_tool::answer(upstream, permit, &grpc, asked).await;
    }
    let endpoint = permit.endpoint()?;
    if endpoint.is_of_members() {
        return Err(Refusal::new(Code::Internal, "a server with members is nowhere; its members are asked"));
    }
    if let Some(reading) = grpc {
        let client = upstream.http2_client(endpoint)?;
        let response = send(upstream, (endpoint, client), method, uri, headers, body).await?;
        return crossed::back(crossed, reading.answer(response)?);
    }
    let client = upstream.client(endpoint)?;
    if let Some(reading) = rest {
        let response = send(upstream, (endpoint, client), method, uri, headers, body).await?;
        return crossed::back(crossed, reading.answer(response)?);
    }
    if let Some(api) = &endpoint.openapi {
        let asked = job::Asked { method: &method, headers: &headers, body: &body };
        return Box::pin(openapi::answer(upstream, (endpoint, client), api, asked)).await;
    }
    let Some(others) = card else {
        let response = send(upstream, (endpoint, client), method, uri, headers, body).await?;
        return crossed::back(crossed, response);
    };
    let mut asked = Vec::new();
    for place in std::iter::once(uri).chain(others) {
        let (method, headers, body) = (method.clone(), headers.clone(), body.clone());
        let to = (endpoint, client.clone());
        let response = send(upstream, to, method, place.clone(), headers, body).await?;
        if !matches!(response.status().as_u16(), 404 | 405 | 410) {
            return Ok(response);
        }
        asked.push((place, response.status()));
    }
    Err(no_card(&asked))
}

/// Asks one of those that may answer a call, up to the response's headers. Others may be asked after it, so that the request stays.
///
/// # Errors
/// As [`forward`].
pub(crate) async fn attempt(upstream: &Upstream, outbound: &Outbound) -> Result<Response<Body>, Refusal> {
    let Outbound { permit, method, uri, headers, body, .. } = outbound;
    let (method, uri, headers, body) = (method.clone(), uri.clone(), headers.clone(), body.clone());
    let endpoint = permit.endpoint()?;
    send(upstream, (endpoint, upstream.client(endpoint)?), method, uri, headers, body).await
}

/// The agent has no card where it was looked for.
fn no_card(asked: &[(Uri, http::StatusCode)]) -> Refusal {
    const NEXT: &str = "Serve the card at /.well-known/agent-card.json, at the origin or below the agent's path, or name its address in \
        the agent's record (spec.endpoint.card).";
    let list = |shown: &dyn Fn(&Uri) -> String| {
        let each = asked.iter().map(|(place, status)| format!("{} ({})", shown(place), status.as_u16()));
        each.collect::<Vec<_>>().join(", ")
    };
    let paths = list(&|place| place.path().to_owned());
    Refusal::new(Code::UpstreamInvalid, format!("the agent has no card where it was asked for: {paths}"))
        .with_detail(list(&Uri::to_string))
        .with_next(NEXT)
}

/// Sends one request, up to the response's headers.
async fn send(
    upstream: &Upstream,
    (endpoint, client): (&Endpoint, Client),
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response<Body>, Refusal> {
    if let Some(host) = uri.host() {
        upstream.guard().check_literal(host)?;
    }
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    *request.headers_mut() = headers;
    let limit = Duration::from_millis(u64::from(endpoint.timeout_ms));
    let connection = capture_connection(&mut request);
    match tokio::time::timeout(limit, client.request(request)).await {
        Ok(Ok(response)) => Ok(response.map(Body::Http)),
        Ok(Err(error)) => Err(connect::refusal(&error)),
        Err(_) => {
            // It may be the connection that is dead. Calls that are on it go on; no further one is put on it.
            if let Some(connection) = &*connection.connection_metadata() {
                connection.poison();
            }
            let message = format!("the upstream sent no answer within {} ms", endpoint.timeout_ms);
            Err(Refusal::new(Code::UpstreamTimeout, message))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_is_joined_to_path_and_query_to_query() {
        for (registered, below, expected) in [
            ("http://h:1", "", "http://h:1/"),
            ("http://h:1/mcp", "", "http://h:1/mcp"),
            ("http://h:1/mcp/", "", "http://h:1/mcp/"),
            ("http://h:1/", "/v1/x", "http://h:1/v1/x"),
            ("http://h:1/base/", "/v1/x", "http://h:1/base/v1/x"),
            ("http://h:1/base?api-version=2", "", "http://h:1/base?api-version=2"),
            ("http://h:1/base?api-version=2", "/v1/x", "http://h:1/base/v1/x?api-version=2"),
            ("http://h:1/base/?api-version=2&a=b%20c", "/v1/x", "http://h:1/base/v1/x?api-version=2&a=b%20c"),
            ("http://h:1/base", "/v1/x?beta=true", "http://h:1/base/v1/x?beta=true"),
            (
                "http://h:1/base?api-version=2",
                "/v1/x?beta=true",
                "http://h:1/base/v1/x?api-version=2&beta=true",
            ),
            // What is registered is not the caller's to change, however it is spelled.
            ("http://h:1/?beta=false", "/v1/x?beta=true", "http://h:1/v1/x?beta=false"),
            ("http://h:1/?beta=false", "/v1/x?b%65ta=true", "http://h:1/v1/x?beta=false"),
            ("http://h:1/?", "/v1/x", "http://h:1/v1/x"),
        ] {
            let registered: Url = registered.parse().expect("a URL");
            assert_eq!(address(&registered, below), expected);
        }
    }
}
