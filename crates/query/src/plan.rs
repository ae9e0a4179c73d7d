//! A plan: the very calls of tools that somebody is to be permitted, and the digests by which a policy names them (`spec.plan`).

use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use vidimus_core::call::{Content, step_digest};
use vidimus_core::json::Json;
use vidimus_core::resource::plan::MAX_STEPS;

use crate::{Misasked, document};

/// What a plan is written as, in YAML or JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PlanFile {
    /// The steps. Nothing is said of their order, nor of how often each is taken.
    pub steps: Vec<PlanStep>,
}

/// One call of a tool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PlanStep {
    /// The tool: `namespace/server/tool`, with or without `Tool/` before it.
    pub tool: String,
    /// Exactly its arguments; none, when they are left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arguments: Option<Value>,
    /// What the message says beside the arguments, as `vidimus approvals show` has it under `beside`: an object of `beside` (the message's own
    /// members), `headers`, `params` and `query`; nothing, when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beside: Option<Value>,
}

/// The digests of the steps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PlanAnswer {
    /// One for each step, in their order.
    pub steps: Vec<PlannedStep>,
}

/// A step and its digest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PlannedStep {
    /// Exactly its arguments, in canonical JSON (RFC 8785); empty where it has none.
    pub arguments: String,
    /// The digest, as `spec.plan` of a Policy has it and `context.call_digest` of the call is: `sha256:` and hex.
    pub digest: String,
    /// `Tool/namespace/server/tool`.
    pub tool: String,
}

/// Why a plan cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}: {reason}")]
pub struct PlanFault {
    /// The file.
    pub file: String,
    /// What is the matter, with its line where that is known.
    pub reason: String,
}

/// Reads a plan.
///
/// # Errors
/// For what cannot be read, or is no plan.
pub fn read(path: &Path) -> Result<PlanFile, PlanFault> {
    document::read(path).map_err(|reason| PlanFault { file: path.display().to_string(), reason })
}

/// The digests of the steps of a plan.
///
/// # Errors
/// For a step that names no tool, or has a number that canonical JSON does not say as it is.
pub fn plan(file: &PlanFile) -> Result<PlanAnswer, Misasked> {
    if !(1..=MAX_STEPS).contains(&file.steps.len()) {
        let reason = format!("a plan has 1 to {MAX_STEPS} steps; divide a longer one into several policies");
        return Err(Misasked::new("steps", &file.steps.len(), reason));
    }
    let of_step = |(at, step): (usize, &PlanStep)| {
        planned(step)
            .map_err(|wrong| Misasked { reason: format!("{} (step {})", wrong.reason, at + 1), ..wrong })
    };
    Ok(PlanAnswer { steps: file.steps.iter().enumerate().map(of_step).collect::<Result<_, _>>()? })
}

fn parsed<'t>(member: &'static str, tool: &str, text: Option<&'t str>) -> Result<Option<Json<'t>>, Misasked> {
    text.map(|text| Json::parse(text.as_bytes()))
        .transpose()
        .map_err(|error| Misasked::new(member, &tool, error.to_string()))
}

/// What is said beside the arguments, each part by its name.
fn content<'j>(tool: &str, beside: Option<&'j Json<'j>>) -> Result<Content<'j>, Misasked> {
    let Some(beside) = beside.filter(|beside| **beside != Json::Null) else { return Ok(Content::default()) };
    let is_part = |name: &str| Content::PARTS.contains(&name);
    if !beside.as_object().is_some_and(|parts| parts.iter().all(|(name, _)| is_part(name))) {
        let reason = format!("write an object of {}, as in {{params: {{…}}}}", Content::PARTS.join(", "));
        return Err(Misasked::new("beside", &tool, reason));
    }
    let [beside, headers, params, query] = Content::PARTS.map(|name| beside.get(name));
    Ok(Content { beside, headers, params, query })
}

fn planned(step: &PlanStep) -> Result<PlannedStep, Misasked> {
    let name = step.tool.strip_prefix("Tool/").unwrap_or(&step.tool);
    let mut parts = name.splitn(3, '/');
    if !(0..3).all(|_| parts.next().is_some_and(|part| !part.is_empty())) {
        return Err(Misasked::new("tool", &step.tool, "write namespace/server/tool"));
    }
    let tool = format!("Tool/{name}");
    if !matches!(step.arguments, None | Some(Value::Null | Value::Object(_))) {
        return Err(Misasked::new("arguments", &tool, "arguments are an object"));
    }
    let text = |value: &Option<Value>| value.as_ref().map(Value::to_string);
    let (arguments, beside) = (text(&step.arguments), text(&step.beside));
    let arguments = parsed("arguments", &tool, arguments.as_deref())?;
    let beside = parsed("beside", &tool, beside.as_deref())?;
    let digest = step_digest(&tool, arguments.as_ref(), content(&tool, beside.as_ref())?);
    if !digest.starts_with("sha256:") {
        let reason = "a number beyond 2^53 may be read as another one, so no plan has it; write it as a text";
        return Err(Misasked::new("arguments", &tool, reason));
    }
    let arguments = arguments.map(|arguments| arguments.canonical()).unwrap_or_default();
    Ok(PlannedStep { arguments, digest, tool })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(steps: &Value) -> Result<PlanAnswer, Misasked> {
        plan(&serde_json::from_value(json!({ "steps": steps })).expect("a plan"))
    }

    #[test]
    fn a_step_has_its_digest_however_it_is_written() {
        let answer = of(&json!([
            {"tool": "finance/bank/transfer", "arguments": {"to": "acme", "amount": 5}},
            {"tool": "Tool/finance/bank/transfer", "arguments": {"amount": 5.0, "to": "acme"}},
            {"tool": "finance/bank/a/b"},
        ]))
        .expect("a plan");
        assert_eq!(answer.steps[0], answer.steps[1]);
        assert_eq!(answer.steps[0].arguments, r#"{"amount":5,"to":"acme"}"#);
        assert_eq!((&*answer.steps[2].tool, &*answer.steps[2].arguments), ("Tool/finance/bank/a/b", ""));
        assert_eq!(answer.steps[2].digest, step_digest("Tool/finance/bank/a/b", None, Content::default()));
    }

    #[test]
    fn what_is_no_step_is_refused() {
        for (steps, member) in [
            (json!([]), "steps"),
            (json!([{"tool": "finance/bank"}]), "tool"),
            (json!([{"tool": "Tool/finance//x"}]), "tool"),
            (json!([{"tool": "a/b/c", "arguments": [1]}]), "arguments"),
            (json!([{"tool": "a/b/c", "arguments": {"x": 9_007_199_254_740_993_u64}}]), "arguments"),
            (json!([{"tool": "a/b/c", "arguments": {"x": 18_446_744_073_709_551_616_f64}}]), "arguments"),
            (json!([{"tool": "a/b/c", "arguments": {"x": 1, "X": 2}}]), "arguments"),
            (json!([{"tool": "a/b/c", "beside": {"requestState": "s"}}]), "beside"),
            (json!([{"tool": "a/b/c", "beside": "s"}]), "beside"),
        ] {
            assert_eq!(of(&steps).map_err(|fault| fault.member), Err(member), "{steps}");
        }
        let second = of(&json!([{"tool": "a/b/c"}, {"tool": "a/b"}])).expect_err("no tool");
        assert_eq!(second.to_string(), "tool a/b: write namespace/server/tool (step 2)");
    }

    #[test]
    fn what_is_said_beside_the_arguments_is_part_of_a_step_by_its_place() {
        let digest = |beside: Value| {
            let answer = of(&json!([{"tool": "a/b/c", "beside": beside}])).expect("a plan");
            answer.steps[0].digest.clone()
        };
        let all = [
            json!(null),
            json!({"params": {"account": "M"}}),
            json!({"beside": {"account": "M"}}),
            json!({"headers": {"account": ["M"]}}),
            json!({"params": {"beside": {"account": "M"}}}),
        ];
        let digests: Vec<String> = all.into_iter().map(digest).collect();
        assert!(
            digests.iter().enumerate().all(|(place, one)| !digests[..place].contains(one)),
            "{digests:?}"
        );
    }

    /// A file has numbers as its reader takes them.
    #[test]
    fn a_plan_with_a_number_that_reads_as_another_is_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("plan.yaml");
        for number in ["18446744073709551617", "18446744073709551616", "9007199254740993.0", "1e22"] {
            let text = format!("steps: [{{tool: a/b/c, arguments: {{x: {number}}}}}]");
            std::fs::write(&path, text).expect("written");
            let refused = read(&path).ok().is_none_or(|file| plan(&file).is_err());
            assert!(refused, "{number}");
        }
    }
}
