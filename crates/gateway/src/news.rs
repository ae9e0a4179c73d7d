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
use vidimus_core::caller::{Caller, Chain, Proven, UnixMillis, User};
use vidimus_core::entity::{EntityId, EntityKind};
use vidimus_core::permit::Permit;
use vidimus_core::refusal::{Code, Refusal};
use vidimus_core::resource::{Endpoint, Object, Principal};
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
            // The copy that asked may be gone; who is told is the principal.
            instance: None,
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
    let is_there = |other: &Url| other.origin() == url.origin();
    let refused = |what: String| {
        let message = format!("news of the task cannot go to the address that is named: {what}");
        Err(Refusal::new(Code::UpstreamRefusedAddress, message).with_next(
            "Name a webhook of your own, that is neither this gateway nor what is registered as somebody else's agent, server or provider.",
        ))
    };
    if Url::parse(public_url).is_ok_and(|own| is_there(&own)) {
        return refused("it is this gateway".to_owned());
    }
    let found: Vec<&EntityId> = world
        .objects()
        .iter()
        .filter_map(registered)
        .filter(|(_, endpoint)| is_there(&endpoint.url))
        .map(|(id, _)| id)
        .collect();
    match found.first() {
        Some(other) if !found.contains(&caller.proven.principal.entity()) => {
            refused(format!("it is where {other} is registered"))
        }
        _ => Ok(()),
    }
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
        Object::Agent(agent) => Some((&agent.id, agent.endpoint.as_ref()?)),
        Object::McpServer(server) => Some((&server.id, &server.endpoint)),
        Object::LlmProvider(provider) => Some((&provider.id, &provider.endpoint)),
        Object::Service(_) | Object::Policy(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let below = |url| address_below(url, "https://gw");
        assert_eq!(below("https://gw/push/f/e/x"), Some(("f/e", "x")));
        assert_eq!(below("https://evil/push/f/e/x"), None);
    }
}
