//! From a record to the call that it is of.

use std::net::IpAddr;
use std::sync::Arc;

use jiff::Timestamp;
use vidimus_core::call::{Action, Ask, Call, SoFar, Target};
use vidimus_core::caller::{Caller, Chain, Instance, Proven, UnixMillis, User};
use vidimus_core::entity::{EntityId, EntityKind};
use vidimus_core::record::DecisionRecord;
use vidimus_core::resource::Principal;
use vidimus_core::snapshot::Snapshot;

/// What of a call a record says, apart from who and what there is.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(super) principal: EntityId,
    pub(super) action: Action,
    pub(super) resource: EntityId,
    user: Option<User>,
    chain: Arc<Chain>,
    identity: Arc<str>,
    instance: Option<Arc<Instance>>,
    now: UnixMillis,
    source: Option<IpAddr>,
}

impl Parts {
    /// `None` where the record is not of this version's calls.
    pub(crate) fn of(record: &DecisionRecord<'_>) -> Option<Self> {
        let user = match &record.user {
            Some(user) => Some(crate::explain::user(user).ok()?),
            None => None,
        };
        let now = UnixMillis(record.time.parse::<Timestamp>().ok()?.as_millisecond());
        let actors: Option<Vec<EntityId>> = record.chain.iter().map(|actor| actor.parse().ok()).collect();
        let transaction = record.transaction.as_ref().into();
        Some(Self {
            principal: record.principal.parse().ok()?,
            action: Action::ALL.into_iter().find(|action| *action.as_str() == *record.action)?,
            resource: record.resource.parse().ok()?,
            user,
            // When it began is known of a first hop, which is when the call was made.
            chain: Arc::new(Chain { transaction, started: now, actors: actors? }),
            identity: record.identity.as_ref().into(),
            instance: record.instance.as_deref().cloned().map(Arc::new),
            now,
            source: record.source.as_ref().and_then(|source| source.parse().ok()),
        })
    }

    /// Who called; `None` where there is nobody of this name.
    pub(crate) fn caller(&self, world: &Snapshot) -> Option<Caller> {
        let proven = Proven {
            principal: principal(world, &self.principal)?,
            identity: self.identity.clone(),
            instance: self.instance.clone(),
            user: self.user.clone(),
            delegated: None,
            expires: None,
        };
        Some(Caller { proven: Arc::new(proven), chain: self.chain.clone() })
    }

    /// The call.
    pub(crate) fn call<'a>(
        &self,
        record: &'a DecisionRecord<'_>,
        caller: &'a Caller,
        target: Target<'a>,
    ) -> Call<'a> {
        let ask = Ask {
            task: record.task.as_deref(),
            push_url: record.push_url.as_deref(),
            ..Ask::about(&record.method, self.action, target)
        };
        Call { caller, ask, now: self.now, source_ip: self.source, approvals: &[], so_far: SoFar::nothing() }
    }
}

/// Who there is of this name.
pub(crate) fn principal(world: &Snapshot, id: &EntityId) -> Option<Principal> {
    match id.kind {
        EntityKind::Agent => world.agent(&id.id).cloned().map(Principal::Agent),
        EntityKind::Service => world.service(&id.id).cloned().map(Principal::Service),
        _ => None,
    }
}

/// What there is of this name. Tools, resources, prompts and skills are named by the caller.
pub(crate) fn target<'a>(world: &'a Snapshot, id: &'a EntityId) -> Option<Target<'a>> {
    let second = id.id.match_indices('/').nth(1);
    let (key, name) = match second.and_then(|(at, _)| id.id.split_at_checked(at)) {
        Some((key, rest)) => (key, rest.strip_prefix('/').unwrap_or(rest)),
        None => (&*id.id, ""),
    };
    let (server, agent, provider) =
        (|| world.mcp_server(key), || world.agent(key), || world.llm_provider(key));
    Some(match id.kind {
        EntityKind::Tool => Target::Tool { server: server()?, name },
        EntityKind::Resource => Target::Resource { server: server()?, uri: name },
        EntityKind::Prompt => Target::Prompt { server: server()?, name },
        EntityKind::McpServer => Target::Server(server()?),
        EntityKind::Agent => Target::Agent(agent()?),
        EntityKind::Skill => Target::Skill { agent: agent()?, name },
        EntityKind::Model => Target::Model { provider: provider()?, name },
        EntityKind::LlmProvider => Target::Provider(provider()?),
        _ => return None,
    })
}
