//! What may be kept back of what a server answers, whichever of its tools, resources and prompts that is of: asked where a server says something
//! of which nobody knows whose it is.

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
use crate::obligation::{Change, KeptBack};
use crate::reach::Outlook;
use crate::resource::{McpServer, Principal};
use crate::snapshot::registered::Registered;

/// What of a server has answers.
const ANSWERED: [(Action, EntityKind); 3] = [
    (Action::InvokeTool, EntityKind::Tool),
    (Action::ReadResource, EntityKind::Resource),
    (Action::GetPrompt, EntityKind::Prompt),
];

/// What some policy may keep from `principal` of what something of `server` answers. It is the partial evaluation of an edge
/// ([`super::edge`]) with the context unknown, and which tool, resource or prompt it is too: it leaves out only what no call could be told.
///
/// # Errors
/// For what Cedar cannot evaluate.
pub(super) fn kept_back(
    index: &Index,
    registered: &Registered,
    principal: &Principal,
    server: &Arc<McpServer>,
) -> Result<KeptBack, EntityFault> {
    let mut kept = KeptBack::default();
    for (action, kind) in ANSWERED {
        let fits = |one: &&Arc<Statement>| {
            one.actions.contain(action) && one.applies_to(principal.kind(), kind) && may_be_of(one, server)
        };
        let fitting: Vec<&Arc<Statement>> = index.of_answers().filter(fits).collect();
        if fitting.is_empty() {
            continue;
        }
        let mut slice = EntitySlice::default();
        slice.principal(principal)?;
        slice.target(&Target::Server(server))?;
        for literal in fitting.iter().flat_map(|one| one.literals()) {
            slice.literal(registered, literal)?;
        }
        let schema = schema().map_err(|error| fault(&error))?;
        let entities =
            PartialEntities::from_concrete(slice.entities()?, schema).map_err(|error| fault(&error))?;
        let caller = plain::entity_uid(principal.entity())?;
        // Of which only the type is looked at.
        let part = plain::entity_uid(&EntityId::new(kind, server.id.id.clone()))?;
        for statement in fitting {
            let mut outlook = Outlook::default();
            partially((&caller, action, &part), false, &[statement], &entities, &mut outlook)?;
            // It is a forbid: where it is not false, it may hold, or fail.
            if outlook != Outlook::default() {
                statement.of_answers().for_each(|change| add(&mut kept, change));
            }
        }
    }
    kept.guards.sort_unstable();
    kept.guards.dedup();
    Ok(kept)
}

fn add(kept: &mut KeptBack, change: &Change) {
    match change {
        Change::RedactAnswer(_) => kept.redacts = true,
        Change::GuardAnswer(guard, on_finding) => kept.guards.push((guard.clone(), *on_finding)),
        Change::CapTokens(_) | Change::RedactArgument(_) | Change::RedactFound(..) => {}
    }
}

/// Whether a statement may be about something of this server, by the tools, resources, prompts, servers and namespaces that it insists on. In which
/// sets a tool is that no record lists is not known.
fn may_be_of(statement: &Statement, server: &McpServer) -> bool {
    let own = &*server.id.id;
    let keys = statement.scope.iter().chain(&statement.conditions);
    let mut named = keys.filter(|key| key.side() == Side::Resource).filter_map(Key::named);
    named.all(|(of, id, _)| match of {
        "Tool" | "Resource" | "Prompt" => id.strip_prefix(own).is_some_and(|rest| rest.starts_with('/')),
        "MCPServer" => id == own,
        "Namespace" => id == &*server.meta.namespace,
        _ => true,
    })
}
