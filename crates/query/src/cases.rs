//! Cases: calls that nobody makes, with what is to be decided of each. They stand beside the policies, in files of their own
//! (`*.cases.yaml`), and are decided as the gateway decides.

mod file;
mod junit;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vidimus_core::caller::{UnixMillis, User};
use vidimus_core::decision::Outcome;
use vidimus_core::entity::EntityId;
use vidimus_core::refusal::Code;
use vidimus_core::resource::nearest;

use crate::explain::{ExplainQuestion, Explanation, explain};
use crate::state::{State, StateOf};
use crate::{Misasked, text};

pub use file::{CaseFault, CaseFile, ReadCase, UnreadCase, read};
pub use junit::{junit, junit_of_fault};

/// A call that nobody makes, and what is to be decided of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// What it shows, in a few words.
    pub name: String,
    /// Who would call: `Agent/namespace/name` or `ServiceIdentity/namespace/name`.
    #[serde(with = "text::entity")]
    #[schemars(with = "String")]
    pub principal: EntityId,
    /// What would be called: `Tool/…`, `Prompt/…`, `Resource/…`, `MCPServer/…`, `Agent/…`, `Skill/…`, `LLMProvider/…` or `Model/…`; the
    /// kind gives the action.
    #[serde(with = "text::entity")]
    #[schemars(with = "String")]
    pub resource: EntityId,
    /// The Cedar action; where it is given it must be the one of the resource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// Arguments of a tool call: an object, or the text of a JSON object where the notation of a number matters.
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    pub args: serde_json::Value,
    /// The number of the hop in its chain, 1 for a call that nobody delegated.
    #[serde(default = "first_hop")]
    #[schemars(range(min = 1))]
    pub depth: u8,
    /// The person the principal would act for, as `issuer#subject`.
    #[serde(default, with = "text::user", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub user: Option<User>,
    /// When it would be made (RFC 3339). Where it is not given: when the cases are decided.
    #[serde(default, with = "text::time", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub time: Option<Timestamp>,
    /// What would be left of limits with it, by their ids (`namespace/policy/name`); less than 0 where it would not fit. Where none is given it fits into
    /// all.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub limits: BTreeMap<String, i64>,
    /// The guards that would find nothing in it, by their names in `context.guarded`. What waits for another is decided as if that found something.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub guarded: Vec<String>,
    /// What is to be decided of it.
    pub expect: Expected,
}

/// What is to be decided of a call. What is not said may be anything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Expected {
    /// `allow`, `allow-with-obligations`, `hold` or `deny`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["allow", "allow-with-obligations", "hold", "deny"]))]
    pub outcome: Option<String>,
    /// The stable code of what is not allowed: docs/codes.md.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The policies that decide, all of them, in any order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policies: Option<Vec<String>>,
}

const fn first_hop() -> u8 {
    1
}

/// What became of all cases.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TestReport {
    /// Cases that were decided as expected.
    pub passed: usize,
    /// Cases that were not.
    pub failed: usize,
    /// Cases that could not be read, or not be asked.
    pub errors: usize,
    /// Each of them, in the order of the files.
    pub cases: Vec<TestedCase>,
    /// What they were asked of.
    pub state: StateOf,
}

/// What became of one case.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TestedCase {
    /// The file that it stands in.
    pub file: String,
    /// The line that it begins in, 1-based.
    pub line: u64,
    /// What it shows, in its own words; empty where it does not say so.
    pub name: String,
    /// The case, where it can be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub case: Option<Case>,
    /// `passed`, `failed`, or `error` where it could not be read or asked.
    pub verdict: CaseVerdict,
    /// What was decided; `None` of an error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found: Option<Explanation>,
    /// What is otherwise than expected, one sentence each; of an error, what is the matter.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub differences: Vec<String>,
    /// What comes nearest to what was expected, one sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nearest: Vec<String>,
}

/// Whether a case was decided as expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CaseVerdict {
    /// As expected.
    Passed,
    /// Otherwise.
    Failed,
    /// It could not be read, or not be asked.
    Error,
}

impl CaseVerdict {
    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Error => "error",
        }
    }
}

impl TestReport {
    /// Whether all cases were decided as expected.
    pub const fn holds(&self) -> bool {
        self.failed == 0 && self.errors == 0
    }
}

/// Decides each case by `state`. `now` is when those are made that name no time.
pub fn test(state: &State, cases: Vec<ReadCase>, now: UnixMillis) -> TestReport {
    let cases: Vec<TestedCase> = cases.into_iter().map(|case| tested(state, case, now)).collect();
    let count = |verdict| cases.iter().filter(|case| case.verdict == verdict).count();
    TestReport {
        passed: count(CaseVerdict::Passed),
        failed: count(CaseVerdict::Failed),
        errors: count(CaseVerdict::Error),
        cases,
        state: state.described(),
    }
}

fn tested(state: &State, ReadCase { file, line, case }: ReadCase, now: UnixMillis) -> TestedCase {
    let of = TestedCase {
        file,
        line,
        name: String::new(),
        case: None,
        verdict: CaseVerdict::Error,
        found: None,
        differences: Vec::new(),
        nearest: Vec::new(),
    };
    let case = match case {
        Ok(case) => case,
        Err(UnreadCase { name, error }) => return TestedCase { name, differences: vec![error], ..of },
    };
    let of = TestedCase { name: case.name.clone(), ..of };
    let tested = match case.asked(state, now) {
        Err(error) => TestedCase { differences: vec![error.to_string()], ..of },
        Ok(found) => {
            let differences = case.expect.differences(&found);
            let (verdict, nearest) = match differences.is_empty() {
                true => (CaseVerdict::Passed, Vec::new()),
                false => (CaseVerdict::Failed, case.expect.nearest(state, &found)),
            };
            TestedCase { verdict, found: Some(found), differences, nearest, ..of }
        }
    };
    TestedCase { case: Some(case), ..tested }
}

impl Case {
    /// What is decided of it.
    fn asked(&self, state: &State, now: UnixMillis) -> Result<Explanation, Misasked> {
        self.check()?;
        let now = self.time.map_or(now, |time| UnixMillis(time.as_millisecond()));
        let found = explain(state, &self.question(), now)?;
        self.has_action(&found.action).map(|()| found)
    }

    fn question(&self) -> ExplainQuestion {
        ExplainQuestion {
            principal: self.principal.clone(),
            resource: self.resource.clone(),
            args: self.arguments(),
            depth: self.depth,
            user: self.user.clone(),
            instance: None,
            limits: self.limits.clone(),
            guarded: self.guarded.clone(),
        }
    }

    /// As JSON text.
    fn arguments(&self) -> String {
        match &self.args {
            serde_json::Value::Null => "{}".to_owned(),
            serde_json::Value::String(text) => text.clone(),
            other => other.to_string(),
        }
    }

    /// That no such decision can be is no failure of the policies.
    fn check(&self) -> Result<(), Misasked> {
        const OUTCOMES: [Outcome; 4] =
            [Outcome::Allow, Outcome::AllowWithObligations, Outcome::Hold, Outcome::Deny];
        let misspelt = |member, value: &String, known: &mut dyn Iterator<Item = &'static str>| {
            let known: Vec<&str> = known.collect();
            let reason = match nearest(known.iter().copied(), value) {
                Some(near) => format!("there is none of this name; did you mean {near}?"),
                None => format!("there is none of this name; write one of {}", known.join(", ")),
            };
            Misasked::new(member, value, reason)
        };
        let Expected { outcome, code, policies: _ } = &self.expect;
        if let Some(outcome) = outcome
            && !OUTCOMES.iter().any(|known| known.as_str() == outcome)
        {
            let known = &mut OUTCOMES.iter().map(|known| known.as_str());
            return Err(misspelt("expect.outcome", outcome, known));
        }
        match code {
            Some(code) if Code::ALL.iter().all(|known| known.as_str() != code) => {
                Err(misspelt("expect.code", code, &mut Code::ALL.iter().map(|known| known.as_str())))
            }
            _ if self.expect == Expected::default() => {
                Err(Misasked::new("expect", &"{}", "say what is to be decided: outcome, code or policies"))
            }
            _ if self.depth == 0 => Err(Misasked::new("depth", &self.depth, "the first hop is 1")),
            _ => Ok(()),
        }
    }

    fn has_action(&self, found: &str) -> Result<(), Misasked> {
        match &self.action {
            Some(action) if action != found => {
                let reason = format!("calling {} is {found}", self.resource);
                Err(Misasked::new("action", action, reason))
            }
            _ => Ok(()),
        }
    }
}

impl Expected {
    /// What is otherwise.
    fn differences(&self, found: &Explanation) -> Vec<String> {
        let mut differences = Vec::new();
        if let Some(outcome) = &self.outcome
            && *outcome != found.outcome
        {
            differences.push(format!("outcome is {}, not {outcome}", found.outcome));
        }
        if let Some(code) = &self.code
            && found.code.as_ref() != Some(code)
        {
            differences.push(format!("code is {}, not {code}", found.code.as_deref().unwrap_or("none")));
        }
        if let Some(policies) = &self.policies {
            let expected: BTreeSet<&String> = policies.iter().collect();
            let decided: BTreeSet<&String> = found.policies.iter().collect();
            let missing = expected.difference(&decided).map(|name| format!("{name} did not decide"));
            let more = decided.difference(&expected).map(|name| format!("{name} decided too"));
            differences.extend(missing.chain(more));
        }
        differences
    }

    /// What comes nearest: what decided instead and by what it saw, and of a policy that nobody has, the name that was meant.
    fn nearest(&self, state: &State, found: &Explanation) -> Vec<String> {
        let mut nearest = Vec::new();
        let facts: Vec<String> =
            found.facts.iter().map(|(name, value)| format!("{name} = {value}")).collect();
        let saw = if facts.is_empty() { String::new() } else { format!(", with {}", facts.join(", ")) };
        let decided = found.policies.join(", ");
        if !found.reason.is_empty() {
            nearest.push(found.reason.clone());
        } else if !found.closest_permits.is_empty() {
            nearest.push(format!("closest to permitting it: {}{saw}", found.closest_permits.join(", ")));
        } else if found.allowed() {
            nearest.push(format!("permitted by {decided}{saw}"));
        } else if decided.is_empty() {
            nearest.push("no policy comes close".to_owned());
        } else {
            nearest.push(format!("decided by {decided}{saw}"));
        }
        let in_force: Vec<&str> = state.loaded.snapshot.policies().map(|id| &**id).collect();
        let unknown = self.policies.iter().flatten().filter(|name| !in_force.contains(&name.as_str()));
        nearest.extend(unknown.map(|name| match self::nearest(in_force.iter().copied(), name) {
            Some(near) => format!("no policy {name} is in force; did you mean {near}?"),
            None => format!("no policy {name} is in force"),
        }));
        nearest
    }
}

#[cfg(test)]
mod tests;
