//! The form of every question and answer, for programs.

use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

use crate::acts::{ActDone, Grants, Me, Quarantines};
use crate::approvals::{Answered, ApprovalEvent, Approvals};
use crate::audit::logs::{FoundIn, ShownInLogs, Times, TimesQuestion};
use crate::audit::{
    Assessment, AssessmentQuestion, EvidenceVerified, ExportAnswer, ExportQuestion, Found, SearchQuestion,
    ShowQuestion, ShownCall,
};
use crate::cases::{CaseFile, TestReport};
use crate::check::CheckReport;
use crate::diff::{DiffAnswer, DiffQuestion};
use crate::explain::{ExplainQuestion, Explanation};
use crate::format::FormatAnswer;
use crate::plan::{PlanAnswer, PlanFile};
use crate::reach::{ReachAnswer, ReachQuestion};
use crate::replay::{ReplayAnswer, ReplayQuestion};
use crate::review::Review;
use crate::starters::StarterAnswer;
use crate::suggest::{SuggestAnswer, SuggestQuestion};
use crate::trace::{ShownTrace, TraceQuestion};

/// The JSON Schema (draft 2020-12) of each question, by its name, and of its answer; of `search`, of one record that is found.
pub fn schema() -> Value {
    let mut asked = SchemaSettings::draft2020_12().for_deserialize().into_generator();
    let explain = asked.subschema_for::<ExplainQuestion>();
    let reach = asked.subschema_for::<ReachQuestion>();
    let search = asked.subschema_for::<SearchQuestion>();
    let show = asked.subschema_for::<ShowQuestion>();
    let export = asked.subschema_for::<ExportQuestion>();
    let times = asked.subschema_for::<TimesQuestion>();
    let assess = asked.subschema_for::<AssessmentQuestion>();
    let replay = asked.subschema_for::<ReplayQuestion>();
    let suggest = asked.subschema_for::<SuggestQuestion>();
    let diff = asked.subschema_for::<DiffQuestion>();
    let cases = asked.subschema_for::<CaseFile>();
    let plan = asked.subschema_for::<PlanFile>();
    let trace = asked.subschema_for::<TraceQuestion>();
    let mut answered = SchemaSettings::draft2020_12().for_serialize().into_generator();
    let explained = answered.subschema_for::<Explanation>();
    let reviewed = answered.subschema_for::<Review>();
    let reached = answered.subschema_for::<ReachAnswer>();
    let found = answered.subschema_for::<Found>();
    let shown = answered.subschema_for::<ShownCall>();
    let found_in = answered.subschema_for::<FoundIn>();
    let shown_in = answered.subschema_for::<ShownInLogs>();
    let told = answered.subschema_for::<Times>();
    let exported = answered.subschema_for::<ExportAnswer>();
    let assessed = answered.subschema_for::<Assessment>();
    let evidence = answered.subschema_for::<EvidenceVerified>();
    let done = answered.subschema_for::<ActDone>();
    let quarantined = answered.subschema_for::<Quarantines>();
    let approvals = answered.subschema_for::<Approvals>();
    let answer = answered.subschema_for::<Answered>();
    let event = answered.subschema_for::<ApprovalEvent>();
    let replayed = answered.subschema_for::<ReplayAnswer>();
    let suggested = answered.subschema_for::<SuggestAnswer>();
    let differs = answered.subschema_for::<DiffAnswer>();
    let formatted = answered.subschema_for::<FormatAnswer>();
    let started = answered.subschema_for::<StarterAnswer>();
    let tested = answered.subschema_for::<TestReport>();
    let granted = answered.subschema_for::<Grants>();
    let me = answered.subschema_for::<Me>();
    let planned = answered.subschema_for::<PlanAnswer>();
    let checked = answered.subschema_for::<CheckReport>();
    let traced = answered.subschema_for::<ShownTrace>();
    let mut defs = asked.take_definitions(true);
    defs.extend(answered.take_definitions(true));
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "The questions that Vidimus answers, and its answers",
        "type": "object",
        "properties": {
            "act": {"properties": {"answer": done}},
            "approvals": {"properties": {"answer": approvals}},
            "approvals-answer": {"properties": {"answer": answer}},
            "approvals-watch": {"properties": {"answer": event}},
            "assessment": {"properties": {"question": assess, "answer": assessed}},
            "check": {"properties": {"answer": checked}},
            "evidence": {"properties": {"answer": evidence}},
            "export": {"properties": {"question": export, "answer": exported}},
            "explain": {"properties": {"question": explain, "answer": explained}},
            "grants": {"properties": {"answer": granted}},
            "logs": {"properties": {"question": times, "answer": told}},
            "logs-search": {"properties": {"answer": found_in}},
            "logs-show": {"properties": {"answer": shown_in}},
            "me": {"properties": {"answer": me}},
            "plan": {"properties": {"question": plan, "answer": planned}},
            "quarantine": {"properties": {"answer": quarantined}},
            "reach": {"properties": {"question": reach, "answer": reached}},
            "review": {"properties": {"answer": reviewed}},
            "replay": {"properties": {"question": replay, "answer": replayed}},
            "suggest": {"properties": {"question": suggest, "answer": suggested}},
            "diff": {"properties": {"question": diff, "answer": differs}},
            "fmt": {"properties": {"answer": formatted}},
            "init": {"properties": {"answer": started}},
            "search": {"properties": {"question": search, "answer": found}},
            "test": {"properties": {"question": cases, "answer": tested}},
            "show": {"properties": {"question": show, "answer": shown}},
            "trace": {"properties": {"question": trace, "answer": traced}},
        },
        "$defs": defs,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_question_and_answer_is_described_and_every_reference_leads_somewhere() {
        fn references(value: &Value, found: &mut Vec<String>) {
            match value {
                Value::Object(members) => members.iter().for_each(|(name, value)| match value {
                    Value::String(text) if name == "$ref" => found.push(text.clone()),
                    value => references(value, found),
                }),
                Value::Array(items) => items.iter().for_each(|item| references(item, found)),
                _ => {}
            }
        }
        let schema = schema();
        let mut found = Vec::new();
        references(&schema, &mut found);
        assert!(found.len() >= 7, "{schema:#}");
        for reference in found {
            let pointer = reference.trim_start_matches('#');
            assert!(schema.pointer(pointer).is_some(), "{reference}");
        }
        for (name, definition) in schema["$defs"].as_object().expect("an object") {
            for (member, described) in definition["properties"].as_object().into_iter().flatten() {
                let is_described = described["description"].is_string() || described["$ref"].is_string();
                assert!(is_described, "{name}.{member}: {described}");
            }
        }
    }
}
