//! The form of every question and answer, for programs.

use schemars::Schema;
use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

use crate::acts::{ActDone, Grants, Me, Quarantines};
use crate::approvals::{Answered, ApprovalEvent, Approvals};
use crate::audit::logs::{FoundIn, ShownInLogs, Times, TimesQuestion};
use crate::audit::{
    Assessment, AssessmentQuestion, EvidenceVerified, ExportAnswer, ExportQuestion, Found, SearchQuestion,
    ShowQuestion, ShownCall, Together,
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
    let mut answered = SchemaSettings::draft2020_12().for_serialize().into_generator();
    let one = |name: &str, question: Option<Schema>, answer: Schema| {
        let question = question.map(|question| ("question".to_owned(), question.to_value()));
        let both = question.into_iter().chain([("answer".to_owned(), answer.to_value())]).collect();
        (name.to_owned(), json!({ "properties": Value::Object(both) }))
    };
    let properties = [
        one("act", None, answered.subschema_for::<ActDone>()),
        one("approvals", None, answered.subschema_for::<Approvals>()),
        one("approvals-answer", None, answered.subschema_for::<Answered>()),
        one("approvals-watch", None, answered.subschema_for::<ApprovalEvent>()),
        one(
            "assessment",
            Some(asked.subschema_for::<AssessmentQuestion>()),
            answered.subschema_for::<Assessment>(),
        ),
        one("assessment-together", None, answered.subschema_for::<Together>()),
        one("check", None, answered.subschema_for::<CheckReport>()),
        one("evidence", None, answered.subschema_for::<EvidenceVerified>()),
        one(
            "export",
            Some(asked.subschema_for::<ExportQuestion>()),
            answered.subschema_for::<ExportAnswer>(),
        ),
        one(
            "explain",
            Some(asked.subschema_for::<ExplainQuestion>()),
            answered.subschema_for::<Explanation>(),
        ),
        one("grants", None, answered.subschema_for::<Grants>()),
        one("logs", Some(asked.subschema_for::<TimesQuestion>()), answered.subschema_for::<Times>()),
        one("logs-search", None, answered.subschema_for::<FoundIn>()),
        one("logs-show", None, answered.subschema_for::<ShownInLogs>()),
        one("me", None, answered.subschema_for::<Me>()),
        one("plan", Some(asked.subschema_for::<PlanFile>()), answered.subschema_for::<PlanAnswer>()),
        one("quarantine", None, answered.subschema_for::<Quarantines>()),
        one("reach", Some(asked.subschema_for::<ReachQuestion>()), answered.subschema_for::<ReachAnswer>()),
        one("review", None, answered.subschema_for::<Review>()),
        one(
            "replay",
            Some(asked.subschema_for::<ReplayQuestion>()),
            answered.subschema_for::<ReplayAnswer>(),
        ),
        one(
            "suggest",
            Some(asked.subschema_for::<SuggestQuestion>()),
            answered.subschema_for::<SuggestAnswer>(),
        ),
        one("diff", Some(asked.subschema_for::<DiffQuestion>()), answered.subschema_for::<DiffAnswer>()),
        one("fmt", None, answered.subschema_for::<FormatAnswer>()),
        one("init", None, answered.subschema_for::<StarterAnswer>()),
        one("search", Some(asked.subschema_for::<SearchQuestion>()), answered.subschema_for::<Found>()),
        one("test", Some(asked.subschema_for::<CaseFile>()), answered.subschema_for::<TestReport>()),
        one("show", Some(asked.subschema_for::<ShowQuestion>()), answered.subschema_for::<ShownCall>()),
        one("trace", Some(asked.subschema_for::<TraceQuestion>()), answered.subschema_for::<ShownTrace>()),
    ];
    let mut defs = asked.take_definitions(true);
    defs.extend(answered.take_definitions(true));
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "The questions that Vidimus answers, and its answers",
        "type": "object",
        "properties": Value::Object(properties.into_iter().collect()),
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
