//! Whether something may be redacted of what the tools of a server answer, whichever of them it is: asked where a server says something of
//! which nobody knows whose it is.

use std::sync::Arc;

use cedar_policy::PartialEntities;

use super::entities::{EntityFault, EntitySlice};
use super::index::{Index, Key, Side};
use super::plain;
use super::schema::schema;
use super::statement::Statement;
use super::survey::{fault, partially};
use crate::call::{Action, Target};
use crate::entity::{EntityId, EntityKind};
use crate::reach::Outlook;
use crate::resource::{McpServer, Principal};
use crate::snapshot::registered::Registered;

/// Whether some policy may keep from `principal` a part of what some tool of `server` answers. It is the partial evaluation of an edge
/// ([`super::edge`]) with the context unknown, and which tool it is too: it says no only where no call could be told so.
///
/// # Errors
/// For what Cedar cannot evaluate.
pub(super) fn may_redact(
    index: &Index,
    registered: &Registered,
    principal: &Principal,
    server: &Arc<McpServer>,
) -> Result<bool, EntityFault> {
    let fits =
        |one: &&Arc<Statement>| one.applies_to(principal.kind(), EntityKind::Tool) && may_be_of(one, server);
    let fitting: Vec<&Arc<Statement>> = index.redacting().filter(fits).collect();
    if fitting.is_empty() {
        return Ok(false);
    }
    let mut slice = EntitySlice::default();
    slice.principal(principal)?;
    slice.target(&Target::Server(server))?;
    for literal in fitting.iter().flat_map(|one| &one.literals) {
        slice.literal(registered, literal)?;
    }
    let schema = schema().map_err(|error| fault(&error))?;
    let entities =
        PartialEntities::from_concrete(slice.entities()?, schema).map_err(|error| fault(&error))?;
    let caller = plain::entity_uid(principal.entity())?;
    // Of which only the type is looked at.
    let tool = plain::entity_uid(&EntityId::new(EntityKind::Tool, server.id.id.clone()))?;
    let mut outlook = Outlook::default();
    partially((&caller, Action::InvokeTool, &tool), false, &fitting, &entities, &mut outlook)?;
    // All of them are forbids that redact: what is not false may hold, or fail.
    Ok(outlook != Outlook::default())
}

/// Whether a statement may be about a tool of this server, by the tools, servers and namespaces that it insists on. In which sets a tool is
/// that no record lists is not known.
fn may_be_of(statement: &Statement, server: &McpServer) -> bool {
    let own = &*server.id.id;
    let keys = statement.scope.iter().chain(&statement.conditions);
    let mut named = keys.filter(|key| key.side() == Side::Resource).filter_map(Key::named);
    named.all(|(of, id, _)| match of {
        "Tool" => id.strip_prefix(own).is_some_and(|rest| rest.starts_with('/')),
        "MCPServer" => id == own,
        "Namespace" => id == &*server.meta.namespace,
        _ => true,
    })
}
