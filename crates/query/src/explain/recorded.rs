//! A call that was made, from its record: what would be decided of it now, and what the record does not say.

use std::collections::BTreeMap;
use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use vidimus_core::call::{Action, Arguments, Target};
use vidimus_core::caller::{Caller, Instance};
use vidimus_core::json::Json;
use vidimus_core::record::{DecisionRecord, Record};
use vidimus_core::recorded::Foreseen;
use vidimus_core::refusal::Code;
use vidimus_core::snapshot::Snapshot;
use vidimus_ledger::SearchError;

use super::{Explanation, can_prove, entity, may_act_for, principal, target};
use crate::Misasked;
use crate::audit::{Gathered, InLog, Lookup, ShowQuestion};
use crate::replay::Parts;
use crate::state::State;

/// Which recorded call, decided by what is configured now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RecordedQuestion {
    /// The call's id: the header `vidimus-call` of its answer, and the member `id` of its records.
    pub call: String,
}

/// What the record of a call says beside the explanation of now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Recorded {
    /// The call.
    pub id: String,
    /// When it was decided: RFC 3339 UTC. The explanation takes this as the time of the call.
    pub time: String,
    /// Who called.
    pub principal: String,
    /// Which copy of it called, where its credential named one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<Instance>,
    /// What was called.
    pub resource: String,
    /// What was decided.
    pub outcome: String,
    /// The stable code of what was not allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The policies that decided.
    pub policies: Vec<String>,
    /// Digest of the configuration that decided.
    pub snapshot: String,
    /// What policies look at now on such a call, and the record does not say. Where the outcome depends on it, it is `unknown`.
    pub lacks: Vec<String>,
    /// Whether the outcome of now is another one.
    pub differs: bool,
}

/// Why a recorded call is not explained.
#[derive(Debug, thiserror::Error)]
pub enum NotExplained {
    #[error(transparent)]
    Misasked(#[from] Misasked),
    #[error(transparent)]
    Log(#[from] SearchError),
}

/// The outcome where it depends on what the record does not say.
pub const UNKNOWN: &str = "unknown";

/// Decides by `state` the call of which the log in `dir` has the decision.
///
/// # Errors
/// When there is no such decision, or nobody could make the call now; and where the log cannot be read.
pub fn recorded(state: &State, dir: &Path, question: &RecordedQuestion) -> Result<Explanation, NotExplained> {
    recorded_by(&InLog(dir.to_owned()), state, dir, question)
}

/// As [`recorded`], looked up in whatever knows the records of that log. What the log does not prove, or what is not found, is looked for in the log.
///
/// # Errors
/// As [`recorded`].
pub fn recorded_by(
    lookup: &dyn Lookup,
    state: &State,
    dir: &Path,
    question: &RecordedQuestion,
) -> Result<Explanation, NotExplained> {
    let asked = ShowQuestion { id: question.call.clone() };
    let mut found = Gathered::of(lookup, &asked)?;
    if !lookup.is_log() && !found.is_proven(dir) {
        found = Gathered::of(&InLog(dir.to_owned()), &asked)?;
    }
    let (records, unread): (Vec<_>, Vec<_>) = found.read().partition(Result::is_ok);
    let misasked = |reason: String| Misasked::new("call", &question.call, reason);
    let mut refused = None;
    let decided = records.into_iter().flatten().find_map(|record| match record {
        Record::Decision(decision) => Some(decision),
        Record::Refusal(refusal) => {
            refused =
                Some(format!("it was refused before it was decided: {} ({})", refusal.code, refusal.message));
            None
        }
        _ => None,
    });
    let Some(record) = decided else {
        let unread = unread.into_iter().filter_map(Result::err).map(|damage| damage.to_string()).next();
        let none = || match found.damage.first().or(unread.as_ref()) {
            Some(damage) => format!("no decision of it in what can be read of {}: {damage}", dir.display()),
            None => match vidimus_ledger::pruned(dir) {
                Ok(Some(pruned)) => format!("no decision of it in {}: {pruned}", dir.display()),
                _ => format!("no decision of it in {}", dir.display()),
            },
        };
        return Err(misasked(refused.unwrap_or_else(none)).into());
    };
    of(state, &record).map_err(|error| match error {
        NotExplained::Misasked(wrong) => misasked(wrong.to_string()).into(),
        other => other,
    })
}

/// The same of one decision's record.
///
/// # Errors
/// As [`recorded`].
pub fn of(state: &State, record: &DecisionRecord<'_>) -> Result<Explanation, NotExplained> {
    let world = &*state.loaded.snapshot;
    let id =
        |text: &str, member| entity(text).map_err(|wrong| Misasked::new(member, &text, wrong.to_string()));
    let (who, what) = (id(&record.principal, "principal")?, id(&record.resource, "resource")?);
    let action = Action::ALL.into_iter().find(|action| action.as_str() == record.action);
    let action =
        action.ok_or_else(|| Misasked::new("action", &record.action, "this version knows no such action"))?;
    let principal = principal(state, &who)?;
    let Some(parts) = Parts::of(record) else {
        return Err(Misasked::new("call", &record.id, "it is a call of another version").into());
    };
    let Some(caller) = parts.caller(world) else {
        return Err(Misasked::new("principal", &record.principal, "it is not registered").into());
    };
    let user = caller.proven.user.as_ref();
    let proven = can_prove(world, &principal)
        .and_then(|()| user.map_or(Ok(()), |user| may_act_for(world, &principal, user)));
    let mut explanation = match proven.and(target::target(state, &what)?) {
        Err(refusal) => (Explanation::refused(action, &refusal), Vec::new()),
        Ok(target) => decided(world, record, &parts, &caller, target),
    };
    let (explained, lacks) = (&mut explanation.0, std::mem::take(&mut explanation.1));
    let code = record.code.as_ref().map(ToString::to_string);
    if world.digest() == record.snapshot {
        explained.as_recorded(record);
    }
    explained.recorded = Some(Recorded {
        id: record.id.to_string(),
        time: record.time.to_string(),
        principal: record.principal.to_string(),
        instance: record.instance.as_deref().cloned(),
        resource: record.resource.to_string(),
        outcome: record.outcome.to_string(),
        code,
        policies: record.policies.iter().map(ToString::to_string).collect(),
        snapshot: record.snapshot.to_string(),
        lacks,
        differs: explained.outcome != record.outcome,
    });
    explained.state = state.described();
    Ok(explanation.0)
}

impl Explanation {
    /// By the very configuration that decided the call: what its record lacks cannot have decided otherwise than the record says.
    fn as_recorded(&mut self, record: &DecisionRecord<'_>) {
        let code = record.code.as_deref();
        let is_same = self.outcome == record.outcome && self.code.as_deref() == code;
        self.policies = record.policies.iter().map(ToString::to_string).collect();
        if is_same {
            return;
        }
        self.outcome = record.outcome.to_string();
        self.code = code.map(str::to_owned);
        self.reason = String::new();
        self.closest_permits = record.closest_permits.iter().map(ToString::to_string).collect();
        self.facts = record.facts.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        self.would_change = Vec::new();
        let known = Code::ALL.iter().find(|known| Some(known.as_str()) == code);
        self.next = known.map(|code| code.next().to_owned()).unwrap_or_default();
    }
}

/// Decides the call as a replay does: the outcome is what it is whatever the record does not say, or unknown. What explains it beside
/// that is of the call with those arguments that the record says.
fn decided(
    world: &Snapshot,
    record: &DecisionRecord<'_>,
    parts: &Parts,
    caller: &Caller,
    target: Target<'_>,
) -> (Explanation, Vec<String>) {
    let said = vidimus_core::recorded::Recorded::of(record);
    let mut call = parts.call(record, caller, target);
    call.ask.tokens_estimated = said.tokens_estimated().unwrap_or_default();
    call.ask.streaming = said.streaming().unwrap_or_default();
    let foreseen = said.foresee(world, &call);
    let facts: BTreeMap<&str, &str> = record.facts.iter().map(|(name, value)| (&**name, &**value)).collect();
    let arguments = arguments(&facts).to_string();
    let arguments = Json::parse(arguments.as_bytes()).unwrap_or(Json::Object(Vec::new()));
    if call.ask.action == Action::InvokeTool {
        call.ask.arguments = Arguments::Known(&arguments);
    }
    let decision = world.authorize(&call);
    let mut explained = Explanation::decided(&decision);
    // Of the arguments as far as the record says them there is another digest than of the call.
    match facts.get(DIGEST) {
        Some(digest) => explained.facts.insert(DIGEST.to_owned(), (*digest).to_owned()),
        None => explained.facts.remove(DIGEST),
    };
    let lacks = match foreseen {
        Foreseen::Certain { outcome, code, policies, lacks } => {
            // Code and policies are those of one decision. Where it depends on what lacks by what it is refused, that is the one of what
            // the record says.
            let is_same =
                decision.outcome() == outcome && code.is_none_or(|code| decision.code() == Some(code));
            if is_same {
                explained.would_change = super::would_change(world, &call, &decision);
            } else {
                explained.outcome = outcome.as_str().to_owned();
                explained.code = code.map(|code| code.as_str().to_owned());
                explained.policies = policies.iter().map(ToString::to_string).collect();
                explained.next = code.map(|code| code.next().to_owned()).unwrap_or_default();
            }
            lacks
        }
        Foreseen::Open { lacks, .. } => {
            explained.outcome = UNKNOWN.to_owned();
            explained.code = None;
            explained.next =
                "Explain it with --principal and --resource, and give what the record does not say."
                    .to_owned();
            lacks
        }
    };
    (explained, lacks.iter().map(ToString::to_string).collect())
}

/// Which step of a plan the call was.
const DIGEST: &str = "context.call_digest";

/// The value of a fact that is not there.
const ABSENT: &str = "absent";

/// The arguments among the facts, in their places.
fn arguments(facts: &BTreeMap<&str, &str>) -> Value {
    let mut found = Value::Object(Map::new());
    for (name, value) in facts.iter().filter(|(_, value)| **value != ABSENT) {
        let of = |view: &str| {
            let pointer = name.strip_prefix(view)?.strip_suffix(']')?;
            serde_json::from_str::<String>(pointer).ok()
        };
        let (pointer, value) = match (of("context.numbers["), of("context.args[")) {
            (Some(pointer), _) => (pointer, value.parse::<i64>().map(Value::from).unwrap_or_default()),
            (None, Some(pointer)) => (pointer, Value::from(*value)),
            (None, None) => continue,
        };
        put(&mut found, &pointer, value);
    }
    found
}

/// Puts a value where a pointer leads; a place that is another value's already stays as it is.
fn put(into: &mut Value, pointer: &str, value: Value) {
    let steps = pointer.strip_prefix('/').map(|steps| steps.split('/')).into_iter().flatten();
    let steps: Vec<String> = steps.map(|step| step.replace("~1", "/").replace("~0", "~")).collect();
    let Some((last, way)) = steps.split_last() else { return };
    let mut place = into;
    for step in way {
        let Value::Object(members) = place else { return };
        place = members.entry(step.as_str()).or_insert_with(|| Value::Object(Map::new()));
    }
    // A number says more than its text.
    if let Value::Object(members) = place
        && !matches!(members.get(last), Some(Value::Number(_)))
    {
        members.insert(last.clone(), value);
    }
}

#[cfg(test)]
mod tests;
