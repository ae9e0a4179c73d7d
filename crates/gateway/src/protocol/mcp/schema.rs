//! The arguments of a pinned tool are held to its input schema (ADR 76).
//!
//! The schema is a server's, and the arguments are a caller's, so each may be made to take long. Nothing is fetched for a reference, a pattern
//! is matched in linear time, and what a reference leads to is looked at once for each value (crate `jsonschema`).

use std::sync::OnceLock;

use jsonschema::{PatternOptions, Validator};
use serde_json::Value;
use vidimus_core::refusal::{Code, Refusal};

use crate::protocol::members::Members;

/// The longest schema that arguments are held to, in bytes.
const MAX_SCHEMA: usize = 64 * 1024;
/// The most memory that a pattern may take when it is compiled, in bytes.
const MAX_PATTERN: usize = 1024 * 1024;

/// What to do where nothing can be held to the schema.
const UNHELD: &str = "Whoever keeps the server's record: have the server's schema put right, or hold the arguments of its tools to nothing \
     (spec.integrity.arguments), which policies still decide.";

/// The input schema of one tool, compiled when the first call of it comes.
#[derive(Debug, Default)]
pub struct InputSchema {
    /// As it stands in the listing; `None` where it has none that can be read.
    text: Option<Box<str>>,
    compiled: OnceLock<Result<Validator, String>>,
}

impl InputSchema {
    /// That of a tool, by its entry in a listing.
    pub fn of(entry: &str) -> Self {
        let text =
            Members::unique(entry).ok().and_then(|members| Some(members.get("inputSchema")?.get().into()));
        Self { text, compiled: OnceLock::new() }
    }

    /// That the arguments in a message are what the schema lets them be. A call without any has none of what is required.
    ///
    /// # Errors
    /// `arguments_invalid`, with the place where they are not; `tool_unverified` where nothing can be held to the schema.
    pub fn check(&self, message: &[u8]) -> Result<(), Refusal> {
        let compiled = self.compiled.get_or_init(|| compile(self.text.as_deref()));
        let validator = compiled.as_ref().map_err(|why| {
            let message = format!("arguments cannot be held to the input schema of the tool: {why}");
            Refusal::new(Code::ToolUnverified, message).with_next(UNHELD)
        })?;
        let message: Value = serde_json::from_slice(message).map_err(|error| {
            Refusal::new(Code::Internal, "the arguments of the call were not read").with_detail(error)
        })?;
        let none = Value::Object(serde_json::Map::new());
        let arguments = message.pointer("/params/arguments").unwrap_or(&none);
        if validator.is_valid(arguments) {
            return Ok(());
        }
        Err(Refusal::new(Code::ArgumentsInvalid, self.fault(validator, arguments)))
    }

    /// What is wrong with arguments, in words without their values. Where a reference leads is looked at once for each value only where nothing
    /// is explained.
    fn fault(&self, validator: &Validator, arguments: &Value) -> String {
        const PLAIN: &str = "the arguments are not what the input schema of the tool lets them be";
        if self
            .text
            .as_deref()
            .is_none_or(|text| text.contains("Ref\"") || text.contains("ref\"") || text.contains("\\u"))
        {
            return PLAIN.to_owned();
        }
        match validator.validate(arguments) {
            Ok(()) => PLAIN.to_owned(),
            Err(error) => {
                let at: String = error.schema_path().as_str().chars().take(256).collect();
                format!("{PLAIN}: see {at} there")
            }
        }
    }
}

/// The schema as it is used; why it cannot be.
fn compile(text: Option<&str>) -> Result<Validator, String> {
    let text = text.ok_or("the tool has none")?;
    if text.len() > MAX_SCHEMA {
        return Err(format!("it is larger than {MAX_SCHEMA} bytes"));
    }
    let schema: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let patterns = PatternOptions::regex().size_limit(MAX_PATTERN);
    let options = jsonschema::options().offline().with_pattern_options(patterns);
    options.build(&schema).map_err(|error| error.to_string().chars().take(256).collect())
}

/// Why arguments cannot be held to the schema in the entry of a listing; `None` where they can. What `vidimus pin` says of it.
pub fn unheld(entry: &str) -> Option<String> {
    compile(InputSchema::of(entry).text.as_deref()).err()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(schema: &Value, arguments: &Value) -> Option<Code> {
        let entry = json!({"name": "t", "inputSchema": schema}).to_string();
        let message = json!({"params": {"arguments": arguments}}).to_string();
        InputSchema::of(&entry).check(message.as_bytes()).err().map(|refusal| refusal.code)
    }

    #[test]
    fn arguments_are_what_the_schema_says() {
        const INVALID: Option<Code> = Some(Code::ArgumentsInvalid);
        let open = json!({"type": "object", "properties": {"to": {"type": "string"}, "amount": {"type": "integer", "maximum": 100}}, "required": ["to"]});
        let mut closed = open.clone();
        closed["additionalProperties"] = json!(false);
        for (arguments, of_open, of_closed) in [
            (json!({"to": "a"}), None, None),
            (json!({"to": "a", "amount": 100.0}), None, None),
            (json!({"to": "a", "amount": 101}), INVALID, INVALID),
            (json!({"to": "a", "amount": "5"}), INVALID, INVALID),
            (json!({"amount": 5}), INVALID, INVALID),
            (json!([]), INVALID, INVALID),
            // What the schema does not name passes where it does not say that there is no more.
            (json!({"to": "a", "To": "b"}), None, INVALID),
            (json!({"to": "a", "t\u{43e}": "b"}), None, INVALID),
            (json!({"to": "a", "to ": "b"}), None, INVALID),
        ] {
            assert_eq!(
                (check(&open, &arguments), check(&closed, &arguments)),
                (of_open, of_closed),
                "{arguments}"
            );
        }
        let none = InputSchema::of(&json!({"inputSchema": open}).to_string()).check(br#"{"params":{}}"#);
        assert_eq!(none.err().map(|refusal| refusal.code), INVALID, "what is required is not there");
    }

    #[test]
    fn a_refusal_says_where_and_not_what() {
        let entry = json!({"inputSchema": {"properties": {"to": {"type": "string"}}}}).to_string();
        let refusal =
            InputSchema::of(&entry).check(br#"{"params":{"arguments":{"to":424242}}}"#).expect_err("refused");
        assert!(refusal.message.contains("/properties/to/type"), "{refusal}");
        assert!(!refusal.message.contains("424242"), "{refusal}");
    }

    #[test]
    fn a_schema_that_nothing_can_be_held_to_lets_nothing_pass() {
        for schema in [
            json!({"$ref": "https://schemas.example/remote.json"}),
            json!({"$ref": "file:///etc/passwd"}),
            json!({"$ref": "#/$defs/missing"}),
            json!({"properties": {"a": {"pattern": "("}}}),
            json!({"properties": {"a": {"pattern": "(?=a)"}}}),
            json!({"properties": {"a": {"pattern": "((a{1000}){1000}){1000}"}}}),
            json!({"type": "everything"}),
            json!({"description": "x".repeat(MAX_SCHEMA)}),
            json!("object"),
        ] {
            assert_eq!(check(&schema, &json!({})), Some(Code::ToolUnverified), "{:.80}", schema.to_string());
        }
        let none = InputSchema::of(r#"{"name":"t"}"#).check(b"{}");
        assert_eq!(none.err().map(|refusal| refusal.code), Some(Code::ToolUnverified));
    }

    /// Each would take for ever where it is followed naively.
    #[test]
    fn what_is_made_to_take_long_does_not() {
        let begun = std::time::Instant::now();
        let mut nested = json!(1);
        for _ in 0..100 {
            nested = json!({"a": nested});
        }
        let itself = json!({"$ref": "#"});
        check(&itself, &nested);
        let twice =
            json!({"allOf": [{"properties": {"a": {"$ref": "#"}}}, {"properties": {"a": {"$ref": "#"}}}]});
        check(&twice, &nested);
        let mut defs = serde_json::Map::new();
        for number in 0..64 {
            let next = json!({"$ref": format!("#/$defs/d{}", number + 1)});
            defs.insert(format!("d{number}"), json!({"allOf": [next, next]}));
        }
        defs.insert("d64".to_owned(), json!({"type": "object"}));
        let laughs = json!({"$defs": defs, "$ref": "#/$defs/d0"});
        check(&laughs, &nested);
        check(&laughs, &json!(7));
        let pattern = json!({"properties": {"a": {"pattern": "^(a+)+$"}}});
        check(&pattern, &json!({"a": format!("{}!", "a".repeat(100_000))}));
        assert!(begun.elapsed() < std::time::Duration::from_secs(10), "{:?}", begun.elapsed());
    }
}
