//! Guards look at a call that a policy has wait for them (ADR 77): at every text, number and name of the message as it was parsed, and at what
//! goes on beside it.

use vidimus_core::call::{Action, Ask, Call};
use vidimus_core::decision::Decision;
use vidimus_core::guard::{Came, Guard, Guarded, Kinds, Looked, OnFinding, Wanted};
use vidimus_core::json::Json;
use vidimus_core::obligation::{Change, MAX_POINTER, MAX_POINTERS, Obligation};
use vidimus_core::snapshot::Snapshot;
use vidimus_guard::{Fault, find};

/// Where the arguments of a tool are, which alone can go on without a value.
const ARGUMENTS: &str = "/params/arguments";

/// What the guards came to for which the policies have a call wait; `None` of nearly every call, which waits for none.
pub(super) fn guarded(
    world: &Snapshot,
    decision: &Decision<'_>,
    message: Option<&Json<'_>>,
) -> Option<Guarded> {
    let mut wanted = world.guards_wanted(decision);
    if wanted.is_empty() {
        return None;
    }
    let call = decision.call();
    let mut guarded = Guarded::default();
    // Where one policy is lifted, another may be what refuses: of an agent as a whole, where this is of a skill. Each guard looks once.
    while !wanted.is_empty() {
        for one in &wanted {
            let (looked, obligations) = look(one, call, message);
            guarded.add(looked, obligations);
        }
        let ask = Ask { guarded: &guarded, ..call.ask };
        let again = world.authorize(&Call { ask, ..*call });
        wanted = world.guards_wanted(&again);
    }
    Some(guarded)
}

/// What a guard finds in a message.
#[derive(Debug, Default)]
struct Found {
    kinds: Kinds,
    /// The values of arguments in which something is, by their pointers in them.
    places: Vec<String>,
    /// Something is elsewhere too.
    is_elsewhere: bool,
}

fn look(wanted: &Wanted, call: &Call<'_>, message: Option<&Json<'_>>) -> (Looked, Vec<Obligation>) {
    let Wanted { guard, on_finding, policy } = wanted;
    let guard = *guard;
    let Ok(Found { kinds, places, is_elsewhere }) = Found::of(guard, call, message) else {
        return (Looked { guard, came: Came::Failed, kinds: Kinds::new() }, Vec::new());
    };
    if kinds.is_empty() {
        return (Looked { guard, came: Came::Passed, kinds }, Vec::new());
    }
    let can_redact = call.ask.action == Action::InvokeTool
        && !is_elsewhere
        && places.len() <= MAX_POINTERS
        && places.iter().all(|place| place.len() <= MAX_POINTER);
    let came = match on_finding {
        OnFinding::Record => Came::Recorded,
        OnFinding::Refuse => Came::Found,
        OnFinding::Redact if can_redact => Came::Redacted,
        OnFinding::Redact => Came::Unredactable,
    };
    let redacted = if came == Came::Redacted { places } else { Vec::new() };
    let obligation =
        |place: String| Obligation { change: Change::RedactArgument(place.into()), policy: policy.clone() };
    (Looked { guard, came, kinds }, redacted.into_iter().map(obligation).collect())
}

impl Found {
    fn of(guard: Guard, call: &Call<'_>, message: Option<&Json<'_>>) -> Result<Self, &'static Fault> {
        let (mut found, mut fault) = (Self::default(), None);
        let parts = [(message, true), (call.ask.content.headers, false), (call.ask.content.query, false)];
        for (part, is_message) in parts {
            let Some(part) = part else { continue };
            found.names(guard, part)?;
            part.leaves(&mut |pointer, value| {
                let Some(text) = value.as_text() else { return };
                match find(guard, last(pointer), &text) {
                    Ok(kinds) => found.add(kinds, in_arguments(pointer).filter(|_| is_message)),
                    Err(error) => fault = Some(error),
                }
            });
        }
        fault.map_or(Ok(found), Err)
    }

    /// Looks at the names of all members: whoever wants to say something can say it there.
    fn names(&mut self, guard: Guard, value: &Json<'_>) -> Result<(), &'static Fault> {
        match value {
            Json::Object(members) => {
                for (name, value) in members {
                    self.add(find(guard, "", name)?, None);
                    self.names(guard, value)?;
                }
            }
            Json::Array(items) => {
                for item in items {
                    self.names(guard, item)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn add(&mut self, kinds: Kinds, place: Option<&str>) {
        if kinds.is_empty() {
            return;
        }
        match place {
            Some(place) => self.places.push(place.to_owned()),
            None => self.is_elsewhere = true,
        }
        for (kind, count) in kinds {
            let known = self.kinds.entry(kind).or_default();
            *known = known.saturating_add(count);
        }
    }
}

/// The pointer of a value in the arguments; `None` for one elsewhere, and for the arguments as a whole.
fn in_arguments(pointer: &str) -> Option<&str> {
    pointer.strip_prefix(ARGUMENTS).filter(|rest| rest.starts_with('/'))
}

/// The name of the member, or of the list, that has a value: the last step that is no place.
fn last(pointer: &str) -> &str {
    pointer.rsplit('/').find(|step| !step.bytes().all(|byte| byte.is_ascii_digit())).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_known_by_its_name_and_by_its_place() {
        for (pointer, name, place) in [
            ("/params/arguments/password", "password", Some("/password")),
            ("/params/arguments/keys/0", "keys", Some("/keys/0")),
            ("/params/arguments", "arguments", None),
            ("/params/argumentsx/a", "a", None),
            ("/params/name", "name", None),
            ("", "", None),
        ] {
            assert_eq!((last(pointer), in_arguments(pointer)), (name, place), "{pointer}");
        }
    }
}
