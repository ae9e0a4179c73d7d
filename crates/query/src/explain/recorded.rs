//! A call that was made, from its record: what would be decided of it now, and what the record does not say.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use vidimus_core::call::{Action, Arguments, Ask, Call, SoFar};
use vidimus_core::caller::{Caller, Chain, Proven, UnixMillis, User};
use vidimus_core::decision::Decision;
use vidimus_core::entity::EntityId;
use vidimus_core::json::Json;
use vidimus_core::reach::{Access, NotSurveyed, Outlook};
use vidimus_core::record::{DecisionRecord, Record};
use vidimus_core::refusal::Code;
use vidimus_core::resource::Principal;
use vidimus_core::snapshot::Snapshot;
use vidimus_ledger::SearchError;

use super::{Explanation, can_prove, entity, may_act_for, principal, target, user};
use crate::Misasked;
use crate::audit::{self, ShowQuestion};
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
    /// What policies look at now on such a call, and the record does not say; it counts as absent.
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
    #[error(transparent)]
    Fault(#[from] NotSurveyed),
}

/// The outcome where it depends on what the record does not say.
pub const UNKNOWN: &str = "unknown";

/// Decides by `state` the call of which the log in `dir` has the decision.
///
/// # Errors
/// When there is no such decision, or nobody could make the call now; and where the log cannot be read.
pub fn recorded(state: &State, dir: &Path, question: &RecordedQuestion) -> Result<Explanation, NotExplained> {
    let shown = audit::show(dir, &ShowQuestion { id: question.call.clone() })?;
    let misasked = |reason: String| Misasked::new("call", &question.call, reason);
    let mut refused = None;
    let decided = shown.records.iter().find_map(|record| match &record.kept {
        Some(Record::Decision(decision)) => Some(decision),
        Some(Record::Refusal(refusal)) => {
            refused =
                Some(format!("it was refused before it was decided: {} ({})", refusal.code, refusal.message));
            None
        }
        _ => None,
    });
    let Some(record) = decided else {
        let none = || match shown.damage.first() {
            Some(damage) => format!("no decision of it in what can be read of {}: {damage}", dir.display()),
            None => format!("no decision of it in {}", dir.display()),
        };
        return Err(misasked(refused.unwrap_or_else(none)).into());
    };
    of(state, record).map_err(|error| match error {
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
    let caller = principal(state, &who)?;
    let made = Made::of(record, caller)?;
    let proven = can_prove(world, &made.principal);
    let proven = proven
        .and_then(|()| made.user.as_ref().map_or(Ok(()), |user| may_act_for(world, &made.principal, user)));
    let mut explanation = match proven.and(target::target(state, &what)?) {
        Err(refusal) => (Explanation::refused(action, &refusal), Vec::new()),
        Ok(target) => {
            let access = Access { action, target, any_other: false };
            let outlook = world.reach(std::slice::from_ref(&made.principal), &[access])?.into_iter().next();
            let outlook = outlook.map(|pairs| pairs.outlook).unwrap_or_default();
            made.decided(world, access, &outlook)
        }
    };
    let (explained, lacks) = (&mut explanation.0, std::mem::take(&mut explanation.1));
    let code = record.code.as_ref().map(ToString::to_string);
    explained.recorded = Some(Recorded {
        id: record.id.to_string(),
        time: record.time.to_string(),
        principal: record.principal.to_string(),
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

/// What a record says of the call, as the gateway had it.
struct Made<'r> {
    record: &'r DecisionRecord<'r>,
    principal: Principal,
    user: Option<User>,
    actors: Vec<EntityId>,
    now: UnixMillis,
    started: UnixMillis,
    facts: BTreeMap<&'r str, &'r str>,
    /// The arguments that the deciding policies looked at.
    arguments: String,
}

impl<'r> Made<'r> {
    fn of(record: &'r DecisionRecord<'r>, principal: Principal) -> Result<Self, Misasked> {
        let facts: BTreeMap<&str, &str> =
            record.facts.iter().map(|(name, value)| (&**name, &**value)).collect();
        let actors = record
            .chain
            .iter()
            .map(|actor| entity(actor).map_err(|wrong| Misasked::new("chain", actor, wrong.to_string())));
        let time: jiff::Timestamp = record
            .time
            .parse()
            .map_err(|error: jiff::Error| Misasked::new("time", &record.time, error.to_string()))?;
        let now = UnixMillis(time.as_millisecond());
        let said = record
            .user
            .as_deref()
            .map(|text| user(text).map_err(|wrong| Misasked::new("user", &text, wrong.to_string())));
        let mut said = said.transpose()?;
        let email = facts.get("context.on_behalf_of.email").filter(|email| **email != ABSENT);
        if let (Some(user), Some(email)) = (&mut said, email) {
            user.email = Some(Arc::from(*email));
        }
        let age: Option<i64> =
            facts.get("context.chain.age").and_then(|age| age.strip_suffix("ms")?.parse().ok());
        Ok(Self {
            record,
            principal,
            user: said,
            actors: actors.collect::<Result<_, _>>()?,
            now,
            started: UnixMillis(now.0.saturating_sub(age.unwrap_or_default())),
            arguments: arguments(&facts).to_string(),
            facts,
        })
    }

    fn decided(&self, world: &Snapshot, access: Access<'_>, outlook: &Outlook) -> (Explanation, Vec<String>) {
        let (record, facts) = (self.record, &self.facts);
        let chain = Chain {
            transaction: record.transaction.as_ref().into(),
            started: self.started,
            actors: self.actors.clone(),
        };
        let proven = Proven {
            principal: self.principal.clone(),
            identity: record.identity.as_ref().into(),
            user: self.user.clone(),
            delegated: None,
            expires: None,
        };
        let caller = Caller { proven: Arc::new(proven), chain: Arc::new(chain) };
        let parsed = Json::parse(self.arguments.as_bytes()).unwrap_or(Json::Object(Vec::new()));
        let of_tool = access.action == Action::InvokeTool;
        let number = |name: &str| facts.get(name).and_then(|value| value.parse().ok());
        let ask = Ask {
            arguments: if of_tool { Arguments::Known(&parsed) } else { Arguments::None },
            tokens_estimated: number("context.tokens_estimated").unwrap_or_default(),
            streaming: facts.get("context.streaming") == Some(&"true"),
            task: record.task.as_deref(),
            push_url: record.push_url.as_deref(),
            ..Ask::about(&record.method, access.action, access.target)
        };
        let source_ip = record.source.as_deref().and_then(|address| address.parse().ok());
        let counted = |name: &str, otherwise: i64| number(name).unwrap_or(otherwise);
        let so_far = SoFar {
            fan_out: counted("context.chain.fan_out", 1),
            calls: counted("context.chain.calls", 1),
            ..SoFar::default()
        };
        let call = Call { caller: &caller, ask, now: self.now, source_ip, so_far: &so_far, approvals: &[] };
        let decision = world.authorize(&call);
        let lacking = self.lacking(outlook);
        let lacks: BTreeSet<&str> = lacking.values().flatten().copied().collect();
        let lacks: Vec<String> = lacks.into_iter().map(str::to_owned).collect();
        let mut explained = Explanation::decided(&decision);
        if depends(&decision, &lacking) {
            explained.outcome = UNKNOWN.to_owned();
            explained.code = None;
            explained.next =
                "Explain it with --principal and --resource, and give what the record does not say."
                    .to_owned();
        } else {
            explained.would_change = super::would_change(world, &call, &decision);
        }
        (explained, lacks)
    }

    /// By policy: what it looks at and the record does not say.
    fn lacking<'s>(&self, outlook: &'s Outlook) -> BTreeMap<&'s str, Vec<&'s str>> {
        let conditions = outlook.permits_when.iter().chain(&outlook.refusals_when).chain(&outlook.holds_when);
        let lacking = conditions.filter_map(|condition| {
            // What a person is in stands in no record.
            let of_groups = self.user.is_some() && condition.when.contains("UserGroup::");
            let unsaid = |name: &&str| !self.says(name) || of_groups && *name == "context.on_behalf_of";
            let lacks: Vec<&str> = condition.reads.iter().map(|name| &**name).filter(unsaid).collect();
            (!lacks.is_empty()).then_some((&*condition.policy, lacks))
        });
        lacking.collect()
    }

    /// Whether the record says something of the context.
    fn says(&self, name: &str) -> bool {
        let is_text = name.starts_with("context.args[");
        let is_argument = is_text || name.starts_with("context.numbers[");
        // What a policy could not see is not what the record has of it.
        if is_argument && self.record.code.as_deref() == Some(Code::Unrepresentable.as_str()) {
            return false;
        }
        match self.facts.get(name) {
            // An argument may say so itself.
            Some(value) if is_text && *value == ABSENT => false,
            // A long one may have been cut; and what the call is not given from the facts is not in it.
            Some(value) => {
                value.len() < MAX_FACT && (is_argument || SAID.contains(&name) || GIVEN.contains(&name))
            }
            None => SAID.contains(&name),
        }
    }
}

/// What every record of a decision says, under the names of facts.
const SAID: [&str; 15] = [
    "context.method",
    "context.delegation_depth",
    "context.chain.depth",
    "context.chain.cycle",
    "context.chain.agents",
    "context.on_behalf_of",
    "context.on_behalf_of.issuer",
    "context.on_behalf_of.subject",
    "context.now",
    "context.weekday",
    "context.hour",
    "context.source_ip",
    "context.transaction",
    "context.identity",
    "context.push_notification_url",
];

/// What the call is given from the facts, where they have it.
const GIVEN: [&str; 6] = [
    "context.on_behalf_of.email",
    "context.chain.age",
    "context.chain.fan_out",
    "context.chain.calls",
    "context.tokens_estimated",
    "context.streaming",
];

/// The longest value of a fact, in bytes, but for one character.
const MAX_FACT: usize = 253;

/// The value of a fact that is not there.
const ABSENT: &str = "absent";

/// Whether the outcome may be another one, were the lacking facts known.
fn depends(decision: &Decision<'_>, lacking: &BTreeMap<&str, Vec<&str>>) -> bool {
    if lacking.is_empty() {
        return false;
    }
    let known = decision.policies().iter().any(|policy| !lacking.contains_key(&**policy));
    let refused = decision.denial().is_some() && !decision.policies().is_empty();
    // What refuses by what is known refuses whatever else there is.
    !(refused && known)
}

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
