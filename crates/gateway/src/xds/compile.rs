//! A snapshot as the resources of one gateway: pure, and the same for the same objects, wherever it is made.
//!
//! It says where things are, and decides nothing: what is quarantined or closed keeps its route, and is refused by the door that the gateway asks,
//! with its code. Two policies are its guard. All else is sent once the gateway has taken them ([`super::subscription`]).

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use data_encoding::HEXLOWER;
use prost::Message as _;
use url::{Position, Url};
use vidimus_core::resource::{Endpoint, Kind, Meta, Object};
use vidimus_core::snapshot::Snapshot;

use super::proto::{
    Backend, BackendHttp, BackendPolicySpec, BackendReference, BackendTls, Bind, BodyOptions, Duration,
    Empty, ExternalAuth, GATEWAY, GatewayTarget, HTTP, HTTP2, Inline, Listener, ListenerName, OVERRIDE,
    PathMatch, Policy, PolicyTarget, Rbac, Resource, ResourceName, Route, RouteBackend, RouteMatch,
    RouteName, SPIFFE, StaticBackend, TrafficPolicySpec, TypedResourceName, UrlRewrite,
};
use crate::route::{Protocol, Route as Path};

/// `type_url` of what is made here.
pub(super) const RESOURCE: &str = "type.googleapis.com/agentgateway.dev.resource.Resource";
/// How the key of a route ends, behind that of its backend.
const ROUTE: &str = ".00.http";
/// The most objects that have a route.
const MOST_ROUTES: usize = 20_000;
/// For an answer of the door: it may wait for people who approve a call.
const ASKING_MS: u32 = 15_000;
/// Only what the door let pass has this (`dynamic_metadata`), so nothing passes that it was not asked about.
pub(crate) const ALLOWED: (&str, &str) = ("vidimus", "allowed");

/// A gateway, by the ServiceAccount that it runs as.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Gateway {
    pub namespace: Arc<str>,
    pub name: Arc<str>,
}

impl fmt::Display for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl std::str::FromStr for Gateway {
    type Err = NoGateway;

    /// `namespace/name`, each a name of Kubernetes.
    fn from_str(text: &str) -> Result<Self, NoGateway> {
        let is_name = |name: &str| {
            !name.is_empty()
                && name.len() <= 253
                && name
                    .bytes()
                    .all(|it| it.is_ascii_lowercase() || it.is_ascii_digit() || b"-.".contains(&it))
        };
        match text.split_once('/') {
            Some((namespace, name)) if is_name(namespace) && is_name(name) => {
                Ok(Self { namespace: namespace.into(), name: name.into() })
            }
            _ => Err(NoGateway),
        }
    }
}

/// A text that names no gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("write NAMESPACE/NAME, as in edge/agents: the ServiceAccount that the gateway runs as")]
pub struct NoGateway;

impl Gateway {
    /// As a data plane names it in `metadata.role`.
    pub(super) fn role(&self) -> String {
        format!("{}~{}", self.namespace, self.name)
    }
}

/// What is the same for all gateways.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where they listen.
    pub port: u16,
    /// Host and port of the door (`--ext-authz`), as they reach it.
    pub door: (String, u16),
    /// The SPIFFE ID that the door presents. They ask over TLS then, and present their own; plainly on loopback otherwise.
    pub door_id: Option<String>,
    /// The longest body that the door takes, in bytes.
    pub most_body: usize,
}

/// One resource, encoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Item {
    pub(super) name: Arc<str>,
    /// A digest of what is sent: the same on every replica, and over restarts.
    pub(super) version: Arc<str>,
    pub(super) value: Bytes,
}

/// All resources of one gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Compiled {
    /// Without them nothing is routed.
    pub(super) guards: Vec<Item>,
    /// In the order in which they are sent: what others name is before them, and the port is last.
    pub(super) rest: Vec<Item>,
    /// What has no route there, and why.
    pub(super) left_out: Vec<LeftOut>,
}

/// An object that such a data plane cannot call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LeftOut {
    pub(super) object: String,
    pub(super) why: &'static str,
}

/// What `gateway` has by this snapshot.
pub(super) fn compile(snapshot: &Snapshot, gateway: &Gateway, settings: &Settings) -> Compiled {
    let mut called: Vec<Called<'_>> = snapshot.objects().iter().filter_map(Called::of).collect();
    called.sort_by_cached_key(|one| (one.protocol.as_str(), one.meta.key()));
    let (mut backends, mut routes, mut left_out) = (Vec::new(), Vec::new(), Vec::new());
    for one in &called {
        match one.why_not(routes.len()) {
            None => {
                backends.push(item("backend", &one.backend_key(), &one.backend()));
                routes.push(item("route", &one.route_key(), &one.route(gateway)));
            }
            Some(why) => left_out.push(LeftOut { object: one.reference(), why }),
        }
    }
    let mut rest = backends;
    rest.append(&mut routes);
    rest.push(item("listener", &listener_key(gateway), &listener(gateway, settings)));
    rest.push(item("bind", &bind_key(gateway, settings), &bind(gateway, settings)));
    Compiled { guards: guards(gateway, settings), rest, left_out }
}

/// The object that a resource is made of, as `Kind namespace/name`; `None` of what is made of none.
pub(super) fn object_of(resource: &str) -> Option<String> {
    let key =
        resource.strip_prefix("backend/").or_else(|| resource.strip_prefix("route/")?.strip_suffix(ROUTE))?;
    let (namespace, name) = key.split_once('/')?;
    let (protocol, name) = name.split_once('.')?;
    let kind =
        [Protocol::Mcp, Protocol::A2a, Protocol::Llm].into_iter().find(|one| one.as_str() == protocol)?;
    Some(format!("{} {namespace}/{name}", kind_of(kind)?.as_str()))
}

/// The objects that are called by a protocol.
const fn kind_of(protocol: Protocol) -> Option<Kind> {
    match protocol {
        Protocol::Mcp => Some(Kind::McpServer),
        Protocol::A2a => Some(Kind::Agent),
        Protocol::Llm => Some(Kind::LlmProvider),
        // It is no address of its own: what is called so is an MCP server.
        Protocol::Rest => None,
    }
}

/// As agentgateway's own control plane names it.
fn item(kind: &str, key: &str, resource: &Resource) -> Item {
    let value = Bytes::from(resource.encode_to_vec());
    let version = HEXLOWER.encode(digest(&SHA256, &value).as_ref().get(..16).unwrap_or_default());
    Item { name: format!("{kind}/{key}").into(), version: version.into(), value }
}

fn bind_key(gateway: &Gateway, settings: &Settings) -> String {
    format!("{}/{gateway}", settings.port)
}

fn listener_key(gateway: &Gateway) -> String {
    format!("{gateway}.http")
}

fn bind(gateway: &Gateway, settings: &Settings) -> Resource {
    let bind = Bind { key: bind_key(gateway, settings), port: settings.port.into() };
    Resource { bind: Some(bind), ..Resource::default() }
}

fn listener(gateway: &Gateway, settings: &Settings) -> Resource {
    let name = ListenerName {
        gateway_name: gateway.name.to_string(),
        gateway_namespace: gateway.namespace.to_string(),
        listener_name: "http".to_owned(),
    };
    let listener = Listener {
        key: listener_key(gateway),
        bind_key: bind_key(gateway, settings),
        name: Some(name),
        protocol: HTTP,
    };
    Resource { listener: Some(listener), ..Resource::default() }
}

/// That the door is asked about each request, with all of it, before a route is chosen; and that what it did not let pass does not pass,
/// also where it was not asked. Neither can be replaced from below.
fn guards(gateway: &Gateway, settings: &Settings) -> Vec<Item> {
    let ask = TrafficPolicySpec { ext_authz: Some(ask(settings)), ..TrafficPolicySpec::default() };
    let (name, value) = ALLOWED;
    let require = vec![format!("extauthz.{name} == \"{value}\"")];
    let deny = TrafficPolicySpec { authorization: Some(Rbac { require }), ..TrafficPolicySpec::default() };
    [("vidimus-ask", ask), ("vidimus-default-deny", deny)]
        .into_iter()
        .map(|(name, traffic)| {
            let key = format!("{gateway}.{name}");
            let target =
                GatewayTarget { name: gateway.name.to_string(), namespace: gateway.namespace.to_string() };
            let policy = Policy {
                key: key.clone(),
                name: Some(TypedResourceName {
                    name: name.to_owned(),
                    namespace: gateway.namespace.to_string(),
                    kind: "Vidimus".to_owned(),
                }),
                target: Some(PolicyTarget { gateway: Some(target) }),
                traffic: Some(TrafficPolicySpec { phase: GATEWAY, ..traffic }),
                inheritance: OVERRIDE,
            };
            item("policy", &key, &Resource { policy: Some(policy), ..Resource::default() })
        })
        .collect()
}

/// Fails closed where the door does not answer (`failure_mode` is not said), and keeps no answer: each has a token for one call.
fn ask(settings: &Settings) -> ExternalAuth {
    let (host, port) = &settings.door;
    let inline = Inline { hostname: host.clone(), port: u32::from(*port) };
    let http = BackendHttp { version: HTTP2, request_timeout: Some(Duration::millis(ASKING_MS)) };
    let tls = settings.door_id.iter().map(|id| BackendPolicySpec {
        backend_tls: Some(BackendTls {
            verify_subject_alt_names: vec![id.clone()],
            certificate_source: SPIFFE,
        }),
        ..BackendPolicySpec::default()
    });
    let http = BackendPolicySpec { backend_http: Some(http), ..BackendPolicySpec::default() };
    ExternalAuth {
        target: Some(BackendReference { inline: Some(inline), ..BackendReference::default() }),
        grpc: Some(Empty {}),
        include_request_body: Some(BodyOptions {
            max_request_bytes: u32::try_from(settings.most_body).unwrap_or(u32::MAX),
            pack_as_bytes: true,
        }),
        inline_policies: tls.chain([http]).collect(),
    }
}

/// An object that is called.
struct Called<'a> {
    protocol: Protocol,
    meta: &'a Meta,
    kind: &'static str,
    endpoint: &'a Endpoint,
}

impl<'a> Called<'a> {
    fn of(object: &'a Object) -> Option<Self> {
        let (protocol, endpoint) = match object {
            Object::Agent(agent) => (Protocol::A2a, agent.endpoint.as_deref()?),
            Object::McpServer(server) => (Protocol::Mcp, &server.endpoint),
            Object::LlmProvider(provider) => (Protocol::Llm, &provider.endpoint),
            Object::Service(_) | Object::Policy(_) => return None,
        };
        Some(Self { protocol, meta: object.meta(), kind: object.kind().as_str(), endpoint })
    }

    fn reference(&self) -> String {
        format!("{} {}", self.kind, self.meta.key())
    }

    /// Why such a data plane would call it otherwise than it is called from here.
    fn why_not(&self, so_many: usize) -> Option<&'static str> {
        if so_many >= MOST_ROUTES {
            return Some("there are more than 20,000 routes; call it at the gateway of Vidimus");
        }
        if self.endpoint.grpc_tools.is_some() {
            return Some("it speaks gRPC (spec.grpc), which only the gateway makes of a call; call it there");
        }
        if self.endpoint.openapi.is_some() {
            return Some(
                "its tools are operations of an API (spec.openapi); call it at the gateway of Vidimus",
            );
        }
        if self.endpoint.mcp.is_some() {
            return Some(
                "it may be bridged to the other era of MCP (endpoint.mcp), which only the gateway does; call it there",
            );
        }
        if self.endpoint.is_of_members() {
            return Some("it stands for its members (spec.members), which the gateway asks; call it there");
        }
        if self.endpoint.ca_file.is_some() {
            return Some("endpoint.caFile names roots of its own; such a data plane has the system's");
        }
        if self.endpoint.url.query().is_some() {
            return Some("endpoint.url has a query, which such a data plane does not add");
        }
        if self.endpoint.url.host_str().is_none() || self.endpoint.url.port_or_known_default().is_none() {
            return Some("endpoint.url has no host and port");
        }
        None
    }

    /// Apart by protocol: an agent and a server may have one name.
    fn name(&self) -> String {
        format!("{}.{}", self.protocol.as_str(), self.meta.name)
    }

    fn backend_key(&self) -> String {
        format!("{}/{}", self.meta.namespace, self.name())
    }

    fn route_key(&self) -> String {
        format!("{}{ROUTE}", self.backend_key())
    }

    /// An address, and no protocol of agentgateway's own: what was decided on goes on as it is.
    fn backend(&self) -> Resource {
        let url = &self.endpoint.url;
        let http =
            BackendHttp { request_timeout: Some(Duration::millis(self.endpoint.timeout_ms)), version: 0 };
        let mut inline_policies =
            vec![BackendPolicySpec { backend_http: Some(http), ..BackendPolicySpec::default() }];
        if url.scheme() == "https" {
            let tls = BackendTls::default();
            inline_policies
                .push(BackendPolicySpec { backend_tls: Some(tls), ..BackendPolicySpec::default() });
        }
        if self.protocol == Protocol::A2a {
            // It puts its own address into the agent's card, and changes nothing else.
            inline_policies.push(BackendPolicySpec { a2a: Some(Empty {}), ..BackendPolicySpec::default() });
        }
        let name = ResourceName { name: self.name(), namespace: self.meta.namespace.to_string() };
        let backend = Backend {
            key: self.backend_key(),
            name: Some(name),
            fixed: Some(StaticBackend { host: host(url), port: port(url) }),
            inline_policies,
        };
        Resource { backend: Some(backend), ..Resource::default() }
    }

    fn route(&self, gateway: &Gateway) -> Resource {
        let key = self.meta.key();
        let path = Path { protocol: self.protocol, key: &key, rest: "" }.address();
        let url = &self.endpoint.url;
        // As it is called from here; agentgateway's own rewriting leaves the port out.
        let host = url[Position::BeforeHost..Position::AfterPort].to_owned();
        let rewrite = UrlRewrite { host, prefix: url.path().to_owned() };
        let rewrite = TrafficPolicySpec { url_rewrite: Some(rewrite), ..TrafficPolicySpec::default() };
        let backend = BackendReference { backend: self.backend_key(), ..BackendReference::default() };
        let route = Route {
            key: self.route_key(),
            listener_key: listener_key(gateway),
            name: Some(RouteName {
                kind: self.kind.to_owned(),
                name: self.meta.name.to_string(),
                namespace: self.meta.namespace.to_string(),
            }),
            matches: vec![RouteMatch { path: Some(PathMatch { path_prefix: path }) }],
            backends: vec![RouteBackend { backend: Some(backend), weight: 1 }],
            traffic_policies: vec![rewrite],
        };
        Resource { route: Some(route), ..Resource::default() }
    }
}

/// Without the brackets of an IPv6 address.
fn host(url: &Url) -> String {
    url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned()
}

fn port(url: &Url) -> i32 {
    url.port_or_known_default().unwrap_or_default().into()
}

#[cfg(test)]
pub(super) mod tests;
