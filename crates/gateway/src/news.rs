//! News of a task, which an agent sends after the call that asked for them: through the gateway, which knows for whom they are and where they go
//! on to (ADR 84).
//!
//! An agent gets an [`Address`] of the gateway's in place of its caller's webhook. All that is to be known stands in it, sealed to the agent, so
//! any replica takes what is sent there; the agent learns neither the webhook nor what proves news there.

pub mod state;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use url::{Host, Url};
use vidimus_core::call::Destination;
use vidimus_core::caller::{Caller, Chain, Instance, Proven, UnixMillis, User};
use vidimus_core::entity::{EntityId, EntityKind};
use vidimus_core::permit::Permit;
use vidimus_core::refusal::{Code, Refusal};
use vidimus_core::resource::{A2aVersion, Endpoint, Object, Principal};
use vidimus_core::snapshot::Snapshot;

use crate::answer::{Asked, rebound};
use crate::forward::Upstream;
use crate::part::Part;
use crate::protocol::a2a::webhook::{Proof, Webhook};
use crate::route::Route;
use crate::seal::{Kind, MAX_NEWS, Seal};

/// What such addresses begin with, below the gateway's own.
const PREFIX: &str = "/push/";

/// How long an address is good. Who waits longer for a task names the webhook again.
pub const LIFE: Duration = Duration::from_secs(7 * 24 * 3600);

/// What an address holds. The members' names are short, for it stands in a path.
#[derive(Clone, Serialize, Deserialize)]
pub struct Address {
    /// Who is told: `Kind/namespace/name`, and by which identity it called.
    #[serde(rename = "p")]
    principal: String,
    #[serde(rename = "i")]
    identity: String,
    /// The copy that called: what cuts it off closes this as well.
    #[serde(rename = "o", default, skip_serializing_if = "Option::is_none")]
    instance: Option<Instance>,
    #[serde(rename = "u", default, skip_serializing_if = "Option::is_none")]
    user: Option<Person>,
    /// The chain of the call that asked for it.
    #[serde(rename = "x")]
    transaction: String,
    #[serde(rename = "b")]
    began: i64,
    #[serde(rename = "c", default, skip_serializing_if = "Vec::is_empty")]
    actors: Vec<String>,
    #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
    source: Option<IpAddr>,
    /// When it was made.
    #[serde(rename = "m")]
    made: i64,
    /// The task, by the agent's id, where there was one.
    #[serde(rename = "t", default, skip_serializing_if = "Option::is_none")]
    task: Option<Box<str>>,
    /// The configuration's id, where the caller named one.
    #[serde(rename = "n", default, skip_serializing_if = "Option::is_none")]
    config: Option<Box<str>>,
    #[serde(rename = "w")]
    webhook: Box<str>,
    #[serde(rename = "k", default)]
    proof: Proof,
    /// The version of A2A in which its caller reads news; none of an address from before this was known.
    #[serde(rename = "v", default, skip_serializing_if = "Option::is_none")]
    version: Option<A2aVersion>,
}

/// The person for whom it was asked.
#[derive(Clone, Serialize, Deserialize)]
struct Person {
    #[serde(rename = "i")]
    issuer: String,
    #[serde(rename = "s")]
    subject: String,
    #[serde(rename = "e", default, skip_serializing_if = "Option::is_none")]
    email: Option<String>,
    #[serde(rename = "g", default, skip_serializing_if = "Vec::is_empty")]
    groups: Vec<String>,
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Address").field("principal", &self.principal).finish_non_exhaustive()
    }
}

impl Address {
    /// Of a permitted call that names a webhook.
    pub fn of(permit: &Permit, asked: &Asked, webhook: &Webhook, now: UnixMillis) -> Self {
        let Caller { proven, chain } = permit.caller();
        let user = proven.user.as_ref().map(|user| Person {
            issuer: user.issuer.to_string(),
            subject: user.subject.to_string(),
            email: user.email.as_deref().map(Into::into),
            groups: user.groups.iter().map(ToString::to_string).collect(),
        });
        Self {
            principal: proven.principal.entity().to_string(),
            identity: proven.identity.to_string(),
            instance: proven.instance.as_deref().cloned(),
            user,
            transaction: chain.transaction.to_string(),
            began: chain.started.0,
            actors: chain.actors.iter().map(ToString::to_string).collect(),
            source: asked.source_ip,
            made: now.0,
            task: asked.task.clone(),
            config: webhook.config.clone(),
            webhook: webhook.url.clone(),
            proof: webhook.proof.clone(),
            version: Some(webhook.version),
        }
    }

    /// The address, below `public_url`, for the agent that the call goes to. `part` is what the call is about.
    ///
    /// # Errors
    /// `message_invalid` for one that would be too long, `internal` where it cannot be sealed.
    pub fn sealed(
        &self,
        seal: &Seal,
        agent: &EntityId,
        part: &Part,
        public_url: &str,
    ) -> Result<String, Refusal> {
        let fault = || Refusal::new(Code::Internal, "the address for news of the task could not be sealed");
        let held = serde_json::to_string(self).map_err(|_| fault())?;
        let sealed = seal.seal(Kind::News, &agent.to_string(), part, &held).map_err(|_| fault())?;
        if sealed.len() > MAX_NEWS {
            let message = "the webhook, its token and its authentication are longer than an address can hold";
            return Err(Refusal::new(Code::MessageInvalid, message));
        }
        Ok(format!("{public_url}{PREFIX}{}/{sealed}", agent.id))
    }

    /// What an address of this agent's holds, and what the call was about that asked for it; `None` of what is none.
    pub fn opened(seal: &Seal, agent: &EntityId, sealed: &str) -> Option<(Part, Self)> {
        let opened = seal.open(Kind::News, &agent.to_string(), sealed)?;
        Some((opened.part, serde_json::from_str(&opened.id).ok()?))
    }

    /// Who is told, as `world` has it; `None` where it may not act any more as it did.
    pub fn caller(&self, world: &Snapshot) -> Option<Caller> {
        let entity: EntityId = self.principal.parse().ok()?;
        let principal = match entity.kind {
            EntityKind::Agent => Principal::Agent(world.agent(&entity.id)?.clone()),
            _ => Principal::Service(world.service(&entity.id)?.clone()),
        };
        let user = self.user.as_ref().map(|person| User {
            issuer: person.issuer.as_str().into(),
            subject: person.subject.as_str().into(),
            email: person.email.as_deref().map(Into::into),
            groups: person.groups.iter().map(|group| Arc::from(group.as_str())).collect(),
        });
        let proven = Proven {
            principal,
            identity: self.identity.as_str().into(),
            instance: self.instance.clone().map(Arc::new),
            user,
            delegated: None,
            expires: None,
        };
        let actors =
            self.actors.iter().map(|actor| actor.parse::<EntityId>().ok()).collect::<Option<Vec<_>>>()?;
        let chain =
            Chain { transaction: self.transaction.as_str().into(), started: UnixMillis(self.began), actors };
        rebound(world, &Caller { proven: Arc::new(proven), chain: Arc::new(chain) })
    }

    /// Whether it was made for this caller.
    pub fn is_of(&self, caller: &Caller) -> bool {
        let user = self.user.as_ref().map(|person| format!("{}#{}", person.issuer, person.subject));
        self.principal == caller.proven.principal.entity().to_string()
            && user == caller.proven.user.as_ref().map(User::id)
    }

    pub fn webhook(&self) -> &str {
        &self.webhook
    }

    pub const fn proof(&self) -> &Proof {
        &self.proof
    }

    /// The version of A2A in which its caller reads news.
    pub const fn version(&self) -> Option<A2aVersion> {
        self.version
    }

    /// The task that it was made for, by the agent's id.
    pub fn task(&self) -> Option<&str> {
        self.task.as_deref()
    }

    pub fn config(&self) -> Option<&str> {
        self.config.as_deref()
    }

    pub const fn source(&self) -> Option<IpAddr> {
        self.source
    }

    /// When it was made.
    pub const fn made(&self) -> UnixMillis {
        UnixMillis(self.made)
    }

    /// Whether it is good no more by its age.
    pub fn is_over(&self, now: UnixMillis) -> bool {
        let age = u128::try_from(now.0.saturating_sub(self.made)).unwrap_or_default();
        age > LIFE.as_millis()
    }
}

/// The agent (`namespace/name`) and what was sealed to it, of a path that is such an address.
pub fn address_of(path: &str) -> Option<(&str, &str)> {
    let (agent, sealed) = path.strip_prefix(PREFIX)?.rsplit_once('/')?;
    let is_name = Route::parse(&format!("/a2a/{agent}")).is_some_and(|route| route.rest.is_empty());
    (is_name && !sealed.is_empty()).then_some((agent, sealed))
}

/// Whether a path is meant to be one, so that it may have in it what an address has: it is in no log.
pub fn is_address(path: &str) -> bool {
    path.trim_start_matches('/').starts_with(PREFIX.trim_start_matches('/'))
}

/// The same of a whole address.
pub fn address_below<'u>(url: &'u str, public_url: &str) -> Option<(&'u str, &'u str)> {
    address_of(url.strip_prefix(public_url)?)
}

/// That news may go to a webhook: it is held to what an upstream's address is held to, and it is neither the gateway nor something that is
/// registered, where calls are decided one by one. The caller's own record may name it.
///
/// # Errors
/// `upstream_refused_address`.
pub fn check_webhook(
    upstream: &Upstream,
    world: &Snapshot,
    (caller, agent): (&Caller, &Destination),
    (webhook, public_url): (&str, &str),
) -> Result<(), Refusal> {
    upstream.check_webhook(webhook, is_beside(agent))?;
    let Ok(url) = Url::parse(webhook) else { return Ok(()) };
    let is_there = |other: &Url| is_one_place(other, &url);
    let refused = |what: String| {
        let message = format!("news of the task cannot go to the address that is named: {what}");
        Err(Refusal::new(Code::UpstreamRefusedAddress, message).with_next(
            "Name a webhook of your own, that is neither this gateway nor what is registered as somebody else's agent, server or provider.",
        ))
    };
    if Url::parse(public_url).is_ok_and(|own| is_there(&own)) {
        return refused("it is this gateway".to_owned());
    }
    let found: Vec<(&EntityId, &Url)> = world
        .objects()
        .iter()
        .filter_map(registered)
        .flat_map(|(id, endpoint)| addresses(endpoint).map(move |address| (id, address)))
        .filter(|(_, address)| is_there(address))
        .collect();
    // Of several at one place it is whose path leads there, and an address that two have is not one's own.
    let own = caller.proven.principal.entity();
    let nearest = found.iter().filter(|(_, address)| is_below(&url, address));
    let nearest =
        nearest.max_by_key(|(id, address)| (address.path().trim_end_matches('/').len(), *id != own));
    match (nearest, found.iter().find(|(id, _)| *id != own)) {
        (Some((id, _)), _) if *id == own => Ok(()),
        (Some((other, _)), _) | (None, Some((other, _))) => {
            // Which it is, is for the record: who may not use it does not learn where it is.
            let found = refused("something of somebody else is registered there".to_owned());
            found.map_err(|refusal| refusal.with_detail(format!("it is where {other} is registered")))
        }
        (None, None) => Ok(()),
    }
}

/// Whether two addresses have one host and port, by the names that a host has by itself: nothing is looked up.
fn is_one_place(one: &Url, other: &Url) -> bool {
    one.port_or_known_default() == other.port_or_known_default()
        && match (HostOf::url(one), HostOf::url(other)) {
            (Some(HostOf::Name(one)), Some(HostOf::Name(other))) => is_one_name(one, other),
            (one, other) => one == other,
        }
}

/// The host of an address.
#[derive(PartialEq, Eq)]
enum HostOf<'u> {
    /// The one on which it is read.
    Own,
    Address(IpAddr),
    /// A name; that of a service in a cluster without what every service of the cluster's has.
    Name(&'u str),
}

impl<'u> HostOf<'u> {
    fn url(url: &'u Url) -> Option<Self> {
        Some(match url.host()? {
            Host::Ipv4(address) => Self::address(address.into()),
            Host::Ipv6(address) => Self::address(address.into()),
            Host::Domain(name) => Self::name(name.trim_end_matches('.')),
        })
    }

    fn address(address: IpAddr) -> Self {
        let address = address.to_canonical();
        if address.is_loopback() { Self::Own } else { Self::Address(address) }
    }

    fn name(name: &'u str) -> Self {
        if name == "localhost" || name.ends_with(".localhost") {
            return Self::Own;
        }
        // Whatever the domain of the cluster is.
        let service =
            name.strip_suffix(".svc").or_else(|| name.split_once(".svc.").map(|(service, _)| service));
        Self::Name(service.unwrap_or(name))
    }
}

/// Whether two names may be one host's: a name of one label stands for what begins with it, as a service is called in its own namespace.
fn is_one_name(one: &str, other: &str) -> bool {
    let is_short = |short: &str, long: &str| {
        !short.contains('.') && long.strip_prefix(short).is_some_and(|rest| rest.starts_with('.'))
    };
    one == other || is_short(one, other) || is_short(other, one)
}

/// Whether an address is another one, or below it, for whoever reads paths. One that is encoded is read in several ways.
fn is_below(url: &Url, other: &Url) -> bool {
    let rest = url.path().strip_prefix(other.path().trim_end_matches('/'));
    !url.path().contains('%') && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Where an object is reached.
fn addresses(endpoint: &Endpoint) -> impl Iterator<Item = &Url> {
    std::iter::once(&endpoint.url).chain(&endpoint.rest).chain(&endpoint.grpc).chain(&endpoint.card)
}

/// Whether an agent is at the gateway's own host: only then can a webhook be there too.
pub fn is_beside(agent: &Destination) -> bool {
    let url = agent.endpoint().map(|endpoint| &endpoint.url);
    match url.and_then(Url::host) {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

/// An object that is reached somewhere, and where.
fn registered(object: &Object) -> Option<(&EntityId, &Endpoint)> {
    match object {
        Object::Agent(agent) => Some((&agent.id, agent.endpoint.as_deref()?)),
        Object::McpServer(server) => Some((&server.id, &server.endpoint)),
        Object::LlmProvider(provider) => Some((&provider.id, &provider.endpoint)),
        Object::Service(_) | Object::Policy(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Attack: what is registered, by another name of its host.
    #[test]
    fn a_place_is_one_by_whatever_name() {
        let read = |url: &str| Url::parse(url).expect(url);
        let is_one = |one: &str, other: &str| {
            let (one, other) = (read(one), read(other));
            assert_eq!(is_one_place(&one, &other), is_one_place(&other, &one));
            is_one_place(&one, &other)
        };
        for (one, other) in [
            ("http://127.0.0.1:1/a", "http://localhost:1/b"),
            ("http://127.0.0.1:1/", "http://[::1]:1/"),
            ("http://127.0.0.1:1/", "http://[::ffff:127.0.0.2]:1/"),
            ("http://10.0.0.1/", "http://[::ffff:10.0.0.1]/"),
            ("http://localhost:1/", "http://a.localhost.:1/"),
            ("https://gw.example/", "https://GW.example./"),
            ("https://gw.example/", "http://gw.example:443/"),
            ("http://ledger.finance:9000/", "http://ledger.finance.svc:9000/"),
            ("http://ledger.finance:9000/", "http://ledger.finance.svc.cluster.local.:9000/"),
            ("http://ledger.finance.svc:9000/", "http://ledger.finance.svc.other.example:9000/"),
            ("http://ledger.finance:9000/", "http://ledger:9000/"),
        ] {
            assert!(is_one(one, other), "{one} {other}");
        }
        for (one, other) in [
            ("http://127.0.0.1:1/", "http://localhost:2/"),
            ("http://10.0.0.1/", "http://10.0.0.2/"),
            ("http://ledger.finance/", "http://ledger.sales/"),
            ("http://ledger.finance/", "http://led/"),
            ("https://gw.example/", "https://other.gw.example/"),
        ] {
            assert!(!is_one(one, other), "{one} {other}");
        }
        for (url, other, is) in [
            ("http://a/b", "http://a/", true),
            ("http://a/b/c", "http://a/b", true),
            ("http://a/b?c", "http://a/b/", true),
            ("http://a/bc", "http://a/b", false),
            ("http://a/b/../c", "http://a/b", false),
            ("http://a/b/..%2fc", "http://a/b", false),
        ] {
            assert_eq!(is_below(&read(url), &read(other)), is, "{url} {other}");
        }
    }

    #[test]
    fn an_address_is_one_agents_and_one_path() {
        for (path, expected) in [
            ("/push/finance/echo/c2VhbGVk", Some(("finance/echo", "c2VhbGVk"))),
            ("/push/finance/echo/", None),
            ("/push/finance/echo", None),
            ("/push/finance/c2VhbGVk", None),
            ("/push/finance/echo/x/c2VhbGVk", None),
            ("/push/Finance/echo/x", None),
            ("/push/../echo/x", None),
            ("/a2a/finance/echo/x", None),
        ] {
            assert_eq!(address_of(path), expected, "{path}");
        }
        for path in ["/push/f/e/x", "/push//f/e/x", "//push/f/e/x", "/push/f/e/x/", "/push/"] {
            assert!(is_address(path), "{path}");
        }
        assert!(!is_address("/pushed/f/e/x") && !is_address("/a2a/f/push/x"));
        let below = |url| address_below(url, "https://gw");
        assert_eq!(below("https://gw/push/f/e/x"), Some(("f/e", "x")));
        assert_eq!(below("https://evil/push/f/e/x"), None);
    }
}
