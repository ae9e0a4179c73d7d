//! What acts can be about: what is registered. Who asks is told only after the policies were asked.

use vidimus_core::act::Subject;
use vidimus_core::entity::{EntityId, EntityKind};
use vidimus_core::resource::Kind;
use vidimus_core::snapshot::Snapshot;

/// Whether there is such an object, also where it only refuses. People, identities and chains are not registered.
pub(super) fn is_known(world: &Snapshot, subject: &Subject) -> bool {
    let Subject::Object(EntityId { kind, id }) = subject else { return true };
    let (is_in_use, of_kind) = match kind {
        EntityKind::Agent => (world.agent(id).is_some(), Kind::Agent),
        EntityKind::Service => (world.service(id).is_some(), Kind::ServiceIdentity),
        EntityKind::McpServer => (world.mcp_server(id).is_some(), Kind::McpServer),
        EntityKind::LlmProvider => (world.llm_provider(id).is_some(), Kind::LlmProvider),
        EntityKind::Tool
        | EntityKind::Resource
        | EntityKind::Prompt
        | EntityKind::Skill
        | EntityKind::Model => return false,
    };
    is_in_use
        || world.only_refusing().any(|one| {
            let object = one.object;
            object.kind == of_kind && id.split_once('/') == Some((&*object.namespace, &*object.name))
        })
}
