//! The authority classes of those through whom a call came: a chain has the lowest of them, so nobody does through another what its own class
//! does not let it do. The built-in policies of the classes say what that is; they look at the caller, and this is what they say of who acted
//! before it.

use std::collections::HashSet;
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::{Condition, Residual};
use crate::call::{Action, Call, Target};
use crate::caller::Chain;
use crate::decide::index::Index;
use crate::decide::statement::Statement;
use crate::entity::EntityKind;
use crate::resource::{AuthorityClass, Principal};
use crate::snapshot::registered::Registered;

/// The agents of one class, by `namespace/name`.
pub(crate) type OfClass = Arc<HashSet<Arc<str>, RandomState>>;

/// Whether one of them acted before the caller.
pub(super) fn acted(chain: &Chain, agents: &OfClass) -> bool {
    chain.actors.iter().any(|actor| actor.kind == EntityKind::Agent && agents.contains(&*actor.id))
}

/// What the built-in policies say on the edge of `call` of a chain through an agent of their class.
pub(super) fn residuals(index: &Index, registered: &Registered, call: &Call<'_>) -> Vec<Residual> {
    let (Action::InvokeTool, Target::Tool { server, name }) = (call.ask.action, call.ask.target) else {
        return Vec::new();
    };
    if server.tool(name).read_only {
        return Vec::new();
    }
    let own = match call.principal() {
        Principal::Agent(agent) => Some(agent.authority_class).filter(|_| agent.authority_stated),
        Principal::Service(_) => None,
    };
    // Of its own class the policy itself says so, whoever acted before.
    let others = index.of_classes().iter().filter(|(class, _)| Some(*class) != own);
    others
        .filter_map(|(class, statement)| Some(residual(*class, statement, registered.of_class(*class)?)))
        .collect()
}

fn residual(class: AuthorityClass, statement: &Statement, agents: &OfClass) -> Residual {
    let reason = format!(
        "the authority class of an agent through which the call came is {}, and the server's record does not mark the tool readOnly",
        class.as_str()
    );
    Residual {
        id: statement.id.clone(),
        effect: statement.effect,
        condition: Condition::Acted(agents.clone()),
        facts: [("chain.authority_class".into(), class.as_str().into())].into(),
        references: Box::default(),
        reason: Some(reason.into()),
        says: statement.says(),
        asks: statement.asks.clone(),
        changes: None,
        limits: None,
        window: None,
    }
}
