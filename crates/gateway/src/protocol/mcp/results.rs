//! The results of a pinned tool are held to its output schema (ADR 76): what a server says that its tool answers is what reaches the caller.

use std::sync::OnceLock;

use serde_json::Value;
use vidimus_core::json::Json;
use vidimus_core::json_schema::{Compiled, MAX_SCHEMA, compile};
use vidimus_core::refusal::{Code, Refusal};

use super::schema::fault;
use crate::protocol::event::Parts;
use crate::protocol::members::Members;
use crate::protocol::question::Question;
use crate::protocol::sse::EventFilter;

/// What to do where nothing can be held to the schema.
const UNHELD: &str = "Whoever keeps the server's record: have the server's schema put right, or hold the results of its tools to nothing \
     (spec.integrity.results).";

/// The output schema of one tool, compiled when the first call of it comes.
#[derive(Debug)]
pub struct OutputSchema {
    /// As it stands in the listing; empty where it is too long to be kept.
    text: Box<str>,
    compiled: OnceLock<Result<Compiled, String>>,
}

impl OutputSchema {
    /// That of a tool, by its entry in a listing; `None` where it has none.
    pub fn of(entry: &str) -> Option<Self> {
        let members = Members::unique(entry).ok()?;
        let text = members.get("outputSchema").filter(|schema| schema.get() != "null")?.get();
        Some(match text.len() > MAX_SCHEMA {
            true => Self { text: Box::default(), compiled: OnceLock::from(compile(text)) },
            false => Self { text: text.into(), compiled: OnceLock::new() },
        })
    }

    /// How long its text is, in bytes.
    pub fn size(&self) -> usize {
        self.text.len()
    }

    fn compiled(&self) -> &Result<Compiled, String> {
        self.compiled.get_or_init(|| compile(&self.text))
    }

    /// What results are held to.
    ///
    /// # Errors
    /// `tool_unverified` where nothing can be held to it.
    pub fn usable(&self) -> Result<&Compiled, Refusal> {
        self.compiled().as_ref().map_err(|why| {
            let message = format!("results cannot be held to the output schema of the tool: {why}");
            Refusal::new(Code::ToolUnverified, message).with_next(UNHELD)
        })
    }

    /// That a message of the server's, if it is a result of the tool, is what the schema lets it be. An error of the tool need not be, nor what is no
    /// result yet: a task, a question.
    ///
    /// # Errors
    /// `result_invalid`, with the place in the schema and without the value; `tool_unverified`.
    pub fn check(&self, message: &str) -> Result<(), Refusal> {
        let schema = self.usable()?;
        // What one reader takes for another value than this one does is held to nothing.
        let Ok(read) = Json::parse(message.as_bytes()) else {
            return Err(invalid(
                "the result of the tool could not be read, and is to be held to its output schema",
            ));
        };
        // Also of what says that it is a request: some readers look for a result first.
        let Some(result) = read.get("result") else { return Ok(()) };
        if result.get("isError").and_then(Json::as_bool) == Some(true) {
            return Ok(());
        }
        let is_there = |name: &str| result.get(name).is_some_and(|value| *value != Json::Null);
        if !is_there("structuredContent") {
            return match is_there("content") {
                true => Err(invalid(
                    "the result of the tool has no structured content, which its output schema describes",
                )),
                false => Ok(()),
            };
        }
        let message: Value = serde_json::from_str(message).unwrap_or_default();
        let content = message.pointer("/result/structuredContent").unwrap_or(&Value::Null);
        if schema.lets(content) {
            return Ok(());
        }
        Err(invalid(fault(
            schema,
            content,
            (&self.text, "the result is not what the output schema of the tool lets it be"),
            // What a server says is not its caller's to know before it passes.
            |_| None,
        )))
    }
}

/// Why results cannot be held to the schema in the entry of a listing; `None` where they can, or it has none. What `vidimus pin` says of it.
pub fn unheld(entry: &str) -> Option<String> {
    OutputSchema::of(entry)?.compiled().as_ref().err().cloned()
}

fn invalid(message: impl Into<std::borrow::Cow<'static, str>>) -> Refusal {
    Refusal::new(Code::ResultInvalid, message)
}

/// The events of an answer, behind those of another filter, each held to the schema.
#[derive(Debug)]
pub struct HeldResults {
    /// The one before.
    pub filter: Box<dyn EventFilter>,
    /// What results are held to.
    pub schema: std::sync::Arc<OutputSchema>,
}

impl EventFilter for HeldResults {
    fn filter(&mut self, event: &[u8]) -> Result<Option<Vec<u8>>, Refusal> {
        let first = self.filter.filter(event)?;
        let data = Parts::of(first.as_deref().unwrap_or(event))?.and_then(|parts| parts.data);
        if let Some(data) = data.filter(|data| !data.trim().is_empty()) {
            self.schema.check(&data)?;
        }
        Ok(first)
    }

    fn asked(&mut self) -> Vec<Question> {
        self.filter.asked()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_result_is_what_the_schema_says() {
        const INVALID: Option<Code> = Some(Code::ResultInvalid);
        let entry = json!({"name": "t", "outputSchema": {"type": "object", "properties": {"sum": {"type": "integer"}},
            "required": ["sum"], "additionalProperties": false}});
        let schema = OutputSchema::of(&entry.to_string()).expect("a schema");
        let text = json!([{"type": "text", "text": "424242"}]);
        for (message, expected) in [
            (json!({"id": 1, "result": {"content": text, "structuredContent": {"sum": 5}}}), None),
            (json!({"id": 1, "result": {"structuredContent": {"sum": 5.0}}}), None),
            (json!({"id": 1, "result": {"structuredContent": {"sum": "424242"}}}), INVALID),
            (json!({"id": 1, "result": {"structuredContent": {"sum": 5, "more": 1}}}), INVALID),
            (json!({"id": 1, "result": {"structuredContent": [], "resultType": "complete"}}), INVALID),
            (json!({"id": 1, "result": {"content": text}}), INVALID),
            (json!({"id": 1, "result": {"content": text, "structuredContent": null}}), INVALID),
            (json!({"id": 1, "result": {"content": text, "isError": false}}), INVALID),
            (json!({"id": 1, "method": "x", "result": {"structuredContent": {"sum": "424242"}}}), INVALID),
            // An error of the tool, one of the protocol, what is no result yet, and what is no answer.
            (json!({"id": 1, "result": {"content": text, "isError": true}}), None),
            (json!({"id": 1, "error": {"code": -32000, "message": "x"}}), None),
            (json!({"id": 1, "result": {"task": {"taskId": "t"}}}), None),
            (json!({"id": 1, "result": {"resultType": "input_required", "inputRequests": {}}}), None),
            (json!({"method": "notifications/progress", "params": {"progress": 1}}), None),
        ] {
            let refused = schema.check(&message.to_string());
            assert_eq!(refused.as_ref().err().map(|refusal| refusal.code), expected, "{message}");
            assert!(!refused.is_err_and(|refusal| refusal.message.contains("424242")), "{message}");
        }
        let twice = r#"{"id":1,"result":{"structuredContent":{"sum":"x"},"structuredContent":{"sum":5}}}"#;
        assert_eq!(schema.check(twice).err().map(|refusal| refusal.code), INVALID);
        assert!(OutputSchema::of(r#"{"name":"t"}"#).is_none());
        assert!(OutputSchema::of(r#"{"name":"t","outputSchema":null}"#).is_none());
    }

    #[test]
    fn what_nothing_can_be_held_to_is_known_before_the_call() {
        let entry = json!({"outputSchema": {"$ref": "https://schemas.example/of/a/server.json"}});
        let schema = OutputSchema::of(&entry.to_string()).expect("a schema");
        assert_eq!(schema.usable().err().map(|refusal| refusal.code), Some(Code::ToolUnverified));
    }
}
