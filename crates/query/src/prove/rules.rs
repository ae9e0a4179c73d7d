//! What of our rules Cedar does not know, and what therefore is not proven.

use vidimus_core::composed::{Composed, RequestType};

use super::ask::Own;

/// Of which requests something is said where policies look at arguments (ADR 25).
pub(super) const SEEN: &str = "arguments that policies can see";

/// Of which something is said where it may follow from another type as well.
pub(super) const ALONE: &str = "what is said of it alone";

/// Of requests of which other types it is decided too what becomes of one of this type. Of an agent and a skill of it, what refuses
/// either refuses, and what permits either permits; and who may use a part of something may open, list or read about the whole.
pub(super) fn follows_from(of: &RequestType) -> &'static [(&'static str, &'static str)] {
    match (&*of.action, &*of.resource) {
        ("connectServer", _) => {
            &[("invokeTool", "Tool"), ("readResource", "Resource"), ("getPrompt", "Prompt")]
        }
        ("listModels", _) => &[("callModel", "Model")],
        ("callAgent", "Agent") => &[("callAgent", "Skill")],
        ("callAgent", "Skill") => &[("callAgent", "Agent")],
        _ => &[],
    }
}

/// Whether it matters of requests of a type whether they are refused, or only not permitted: what is only not permitted may follow
/// from another type.
pub(super) fn tells_refusals(of: &RequestType) -> bool {
    !follows_from(of).is_empty()
}

/// Why nothing is asked about the policies that only one of the sets has.
pub(super) fn unknown_to_cedar<'a>(mut changed: impl Iterator<Item = &'a Composed>) -> Option<String> {
    changed.find_map(|one| match one.beyond_cedar() {
        Some(beyond) => Some(format!("{} {beyond}, which Cedar does not know", one.id)),
        None if one.on_unregistered => Some(format!(
            "{} looks at something that need not be registered, and fails where it is not: what fails denies, which Cedar does not know",
            one.id
        )),
        None => None,
    })
}

/// Why nothing is known of a type although each of those that it follows from was asked about.
pub(super) fn why_not(own: &Own, with: &[(&RequestType, &Own)], same_parts: bool) -> Option<String> {
    if !with.is_empty() && !same_parts {
        return Some(
            "it follows from the use of parts, and the policies name others one by one: these are looked for"
                .to_owned(),
        );
    }
    let by_arguments = with.iter().find(|(_, part)| !part.same && part.on_arguments && !own.is_invocation);
    by_arguments.map(|(part, _)| {
        format!(
            "it follows from {} whatever the arguments are, which Cedar does not know, and a policy looks at these",
            part.action
        )
    })
}
