//! A call that another enforcement point asks about, found by its names: the rules of authentication and of the adapters first, with the
//! same codes, as of a call that is made. Nothing of it is decided here.

use vidimus_core::call::{Action, Target};
use vidimus_core::caller::User;
use vidimus_core::entity::EntityId;
use vidimus_core::refusal::{Code, Refusal};
use vidimus_core::resource::Principal;

use crate::Misasked;
use crate::explain::{self, target};
use crate::state::State;

/// The two ends of a call, and what is done.
#[derive(Clone, Debug)]
pub struct Named<'a> {
    /// Who would call.
    pub principal: Principal,
    /// The Cedar action.
    pub action: Action,
    /// What would be called.
    pub target: Target<'a>,
}

/// The principal, the action and the resource of these names in `state`, and whether the principal may be one that acts for `user`.
///
/// # Errors
/// `principal_unknown`, `identity_contested`, `user_not_allowed`, `credential_ambiguous`; `resource_unknown`; `method_unknown` where the resource is
/// not called by that action.
pub fn named<'a>(
    state: &'a State,
    (principal, user): (&EntityId, Option<&User>),
    action: &str,
    resource: &'a EntityId,
) -> Result<Named<'a>, Refusal> {
    let is_called_by = called_by(resource)?;
    if is_called_by.as_str() != action {
        let message = format!("a {} is called by {}", resource.kind.as_str(), is_called_by.as_str());
        return Err(Refusal::new(Code::MethodUnknown, message).with_next(
            "Name the action by which policies know a call of the resource: docs/authzen.md has them.",
        ));
    }
    let world = &*state.loaded.snapshot;
    let principal =
        explain::principal(state, principal).map_err(|unknown| told(Code::PrincipalUnknown, &unknown))?;
    explain::can_prove(world, &principal)?;
    user.map_or(Ok(()), |user| explain::may_act_for(world, &principal, user))?;
    let target =
        target::target(state, resource).map_err(|unknown| told(Code::ResourceUnknown, &unknown))??;
    Ok(Named { principal, action: is_called_by, target })
}

/// The action by which a resource of this kind is called.
///
/// # Errors
/// `resource_unknown` of what nothing calls.
pub fn called_by(resource: &EntityId) -> Result<Action, Refusal> {
    target::action(resource).map_err(|uncalled| told(Code::ResourceUnknown, &uncalled))
}

fn told(code: Code, misasked: &Misasked) -> Refusal {
    Refusal::new(code, misasked.reason.clone())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn what_nobody_could_call_is_refused_as_a_call_would_be() {
        let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/demo");
        let state = State::new(vidimus_registry::load(&demo), String::new());
        let bot = "Agent/finance/invoice-bot";
        let tool = "Tool/finance/ledger/get_invoice";
        for (principal, action, resource, expected) in [
            (bot, "invokeTool", tool, None),
            (bot, "connectServer", "MCPServer/finance/ledger", None),
            ("Agent/finance/nobody", "invokeTool", tool, Some(Code::PrincipalUnknown)),
            (tool, "invokeTool", tool, Some(Code::PrincipalUnknown)),
            (bot, "readFile", tool, Some(Code::MethodUnknown)),
            (bot, "callAgent", tool, Some(Code::MethodUnknown)),
            (bot, "invokeTool", "Tool/finance/none/get", Some(Code::ResourceUnknown)),
            (bot, "invokeTool", "Tool/finance", Some(Code::ResourceUnknown)),
            (bot, "callAgent", "Service/finance/reporting", Some(Code::ResourceUnknown)),
        ] {
            let ids: [EntityId; 2] = [principal, resource].map(|id| explain::entity(id).expect("an id"));
            let [principal, resource] = &ids;
            let found = named(&state, (principal, None), action, resource);
            assert_eq!(found.err().map(|refusal| refusal.code), expected, "{principal} {action} {resource}");
        }
    }
}
