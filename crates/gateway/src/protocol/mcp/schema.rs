//! The arguments of a pinned tool are held to its input schema (ADR 76).
//!
//! The schema is a server's, and the arguments are a caller's, so each may be made to take long. Nothing is fetched for a reference, and a pattern
//! is matched in linear time (crate `jsonschema`). What references lead to is validated as often as they lead there, which doubles with each step
//! of a chain of pairs, so a schema that comes to too much is none that anything is held to ([`check_size`]).

use std::collections::BTreeSet;
use std::sync::OnceLock;

use jsonschema::error::ValidationErrorKind;
use jsonschema::{PatternOptions, Validator};
use serde_json::Value;
use vidimus_core::refusal::{Code, Refusal};

use crate::protocol::members::Members;

/// The longest schema that arguments are held to, in bytes.
const MAX_SCHEMA: usize = 64 * 1024;
/// The most memory that a pattern may take when it is compiled, in bytes, and how many a schema may have.
const MAX_PATTERN: usize = 1024 * 1024;
const MAX_PATTERNS: usize = 64;

/// The drafts of JSON Schema that are held to, below the address of json-schema.org.
const DRAFTS: [&str; 4] =
    ["draft-06/schema", "draft-07/schema", "draft/2019-09/schema", "draft/2020-12/schema"];
/// How many values a schema may come to, when each reference stands for what it leads to.
const MAX_EXPANDED: usize = 50_000;
/// How many references may lead on from one another.
const MAX_REFERENCES: usize = 64;

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
        let arguments =
            message.pointer("/params/arguments").filter(|given| !given.is_null()).unwrap_or(&none);
        if validator.is_valid(arguments) {
            return Ok(());
        }
        const PLAIN: &str = "the arguments are not what the input schema of the tool lets them be";
        Err(Refusal::new(
            Code::ArgumentsInvalid,
            fault(validator, arguments, (self.text.as_deref().unwrap_or_default(), PLAIN), member),
        ))
    }
}

/// What is wrong with a value, in words without it: where in the schema it stands, behind what is said of all such. In a schema with choices that is not
/// looked for: of each choice it is what is wrong with it, and with each of its own, which has no end where they stand in each other. An escape may hide
/// such a keyword. `member` says which member it is, where whoever is told may know that.
pub(super) fn fault(
    validator: &Validator,
    value: &Value,
    (schema, plain): (&str, &str),
    member: fn(&ValidationErrorKind) -> Option<String>,
) -> String {
    if ["anyOf", "oneOf", "\\u"].iter().any(|word| schema.contains(word)) {
        return plain.to_owned();
    }
    match validator.validate(value) {
        Ok(()) => plain.to_owned(),
        Err(error) => {
            let at: String = error.schema_path().as_str().chars().take(256).collect();
            let member = member(error.kind()).map(|member| format!("; {member}")).unwrap_or_default();
            format!("{plain}: see {at} there{member}")
        }
    }
}

/// The member that is missing in a caller's own value, or is one too many: its name, and nothing of what it says.
fn member(wrong: &ValidationErrorKind) -> Option<String> {
    let shown = |name: &str| name.chars().take(64).collect::<String>();
    match wrong {
        ValidationErrorKind::Required { property } => {
            Some(format!("{:?} is missing", shown(property.as_str()?)))
        }
        ValidationErrorKind::AdditionalProperties { unexpected }
        | ValidationErrorKind::UnevaluatedProperties { unexpected } => {
            Some(format!("it has no {:?}", shown(unexpected.first()?)))
        }
        _ => None,
    }
}

/// The schema as it is used; why it cannot be.
pub(super) fn compile(text: Option<&str>) -> Result<Validator, String> {
    let text = text.ok_or("the tool has none")?;
    if text.len() > MAX_SCHEMA {
        return Err(format!("it is larger than {MAX_SCHEMA} bytes"));
    }
    let schema: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let draft_is_known = match schema.get("$schema") {
        Some(draft) => draft.as_str().is_some_and(is_known),
        None => true,
    };
    if !draft_is_known {
        return Err("it is of a draft that is not known here".to_owned());
    }
    check_size(&schema)?;
    let patterns = PatternOptions::regex().size_limit(MAX_PATTERN);
    let options = jsonschema::options().offline().with_pattern_options(patterns);
    options.build(&schema).map_err(|error| error.to_string().chars().take(256).collect())
}

/// Whether a draft is one of those in which references lead where [`check_size`] follows them.
fn is_known(draft: &str) -> bool {
    let at = draft.strip_prefix("https://json-schema.org/").or(draft.strip_prefix("http://json-schema.org/"));
    at.is_some_and(|at| DRAFTS.contains(&at.trim_end_matches('#')))
}

/// That a schema does not come to too much, where each reference stands for what it leads to, once on each way. Only what leads to a place in
/// the schema, by the names on the way there, is followed here, so no other reference may be in it.
fn check_size(schema: &Value) -> Result<(), String> {
    enum Step<'a> {
        Into(&'a Value, bool),
        Back,
    }
    let (mut left, mut way): (_, Vec<&str>) = (vec![Step::Into(schema, true)], Vec::new());
    let mut patterns: BTreeSet<&str> = BTreeSet::new();
    for _ in 0..MAX_EXPANDED {
        let members = match left.pop() {
            None => return Ok(()),
            Some(Step::Back) => {
                way.pop();
                continue;
            }
            Some(Step::Into(Value::Array(values), _)) => {
                left.extend(values.iter().map(|value| Step::Into(value, false)));
                continue;
            }
            Some(Step::Into(Value::Object(members), is_root)) => {
                let others = ["$dynamicRef", "$recursiveRef", "$anchor", "$dynamicAnchor", "$id", "$schema"];
                let is_one = |name: &&str| members.get(*name).is_some_and(Value::is_string);
                let is_of_root = |name: &&str| is_root && ["$id", "$schema"].contains(name);
                let other = others.into_iter().find(|name| is_one(name) && !is_of_root(name));
                if let Some(name) = other {
                    return Err(format!("it has {name}, which is not followed"));
                }
                members
            }
            Some(Step::Into(..)) => continue,
        };
        left.extend(members.values().map(|value| Step::Into(value, false)));
        patterns.extend(members.get("pattern").and_then(Value::as_str));
        let of_names = members.get("patternProperties").and_then(Value::as_object);
        patterns.extend(of_names.into_iter().flat_map(|all| all.keys().map(String::as_str)));
        if patterns.len() > MAX_PATTERNS {
            return Err(format!("it has more than {MAX_PATTERNS} patterns"));
        }
        let Some(reference) = members.get("$ref").and_then(Value::as_str) else { continue };
        if way.contains(&reference) {
            continue;
        }
        // Escapes of a URI lead the validator elsewhere than a pointer as it is written.
        if reference.contains('%') {
            return Err("it has a reference with escapes, which is not followed".to_owned());
        }
        let target = reference.strip_prefix('#').and_then(|pointer| schema.pointer(pointer));
        let shown = || reference.chars().take(128).collect::<String>();
        let target = target.ok_or_else(|| format!("its reference {:?} leads to no place in it", shown()))?;
        if way.len() == MAX_REFERENCES {
            return Err(format!("more than {MAX_REFERENCES} references lead on from one another"));
        }
        way.push(reference);
        left.extend([Step::Back, Step::Into(target, std::ptr::eq(target, schema))]);
    }
    Err(format!("its references come to more than {MAX_EXPANDED} values"))
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

    /// Attack: a language of filters, and an argument that no choice of it lets be, at each of many depths.
    #[test]
    fn choices_within_choices_are_not_looked_through() {
        let both = |op: &str| json!({"type": "object", "required": ["op", "of"], "properties": {"op": {"const": op}, "of": {"type": "array", "items": {"$ref": "#/$defs/e"}}}});
        let schema = json!({"type": "object", "properties": {"e": {"$ref": "#/$defs/e"}},
            "$defs": {"e": {"oneOf": [both("and"), both("or"), {"type": "string"}]}}});
        let mut nested = json!("x");
        for _ in 0..40 {
            nested = json!({"op": "neither", "of": [nested]});
        }
        assert_eq!(check(&schema, &json!({"e": nested})), Some(Code::ArgumentsInvalid));
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
    fn a_schema_may_name_its_draft_and_refer_to_itself() {
        for draft in
            ["http://json-schema.org/draft-07/schema#", "https://json-schema.org/draft/2020-12/schema"]
        {
            let schema = json!({"$schema": draft, "$id": "https://schemas.example/tree", "type": "object",
                "properties": {"left": {"$ref": "#"}, "right": {"$ref": "#"}, "of": {"type": "integer"}}});
            assert_eq!(check(&schema, &json!({"left": {"right": {"of": 1}}})), None, "{draft}");
            let wrong = json!({"left": {"right": {"of": "1"}}});
            assert_eq!(check(&schema, &wrong), Some(Code::ArgumentsInvalid), "{draft}");
        }
    }

    #[test]
    fn a_refusal_says_where_and_not_what() {
        let entry = json!({"inputSchema": {"properties": {"to": {"type": "string"}}}}).to_string();
        let refusal =
            InputSchema::of(&entry).check(br#"{"params":{"arguments":{"to":424242}}}"#).expect_err("refused");
        assert!(refusal.message.contains("/properties/to/type"), "{refusal}");
        assert!(!refusal.message.contains("424242"), "{refusal}");
        let entry = json!({"inputSchema": {"$ref": "#/$defs/pet", "$defs": {"pet": {
            "properties": {"name": {"type": "string"}}, "required": ["name"], "additionalProperties": false}}}});
        for (arguments, member) in [
            (json!({}), r#"; "name" is missing"#),
            (json!({"name": "a", "nam": 424242}), r#"; it has no "nam""#),
        ] {
            let message = json!({"params": {"arguments": arguments}}).to_string();
            let refusal = InputSchema::of(&entry.to_string()).check(message.as_bytes()).expect_err("refused");
            assert!(refusal.message.ends_with(member) && !refusal.message.contains("424242"), "{refusal}");
        }
    }

    #[test]
    fn a_schema_has_not_too_many_patterns() {
        let with = |count: usize| {
            let properties: serde_json::Map<String, Value> = (0..count)
                .map(|number| (format!("p{number}"), json!({"pattern": format!("a{{{number}}}")})))
                .collect();
            json!({"properties": properties})
        };
        assert_eq!(check(&with(MAX_PATTERNS), &json!({})), None);
        assert_eq!(check(&with(MAX_PATTERNS + 1), &json!({})), Some(Code::ToolUnverified));
    }

    #[test]
    fn a_schema_that_nothing_can_be_held_to_lets_nothing_pass() {
        for schema in [
            json!({"$ref": "https://schemas.example/remote.json"}),
            json!({"$ref": "file:///etc/passwd"}),
            json!({"$ref": "#/$defs/missing"}),
            json!({"$ref": "https://json-schema.org/draft/2020-12/schema"}),
            json!({"$ref": "#a", "$defs": {"a": {"$anchor": "a"}}}),
            json!({"$defs": {"a": {"$id": "https://schemas.example/a", "$ref": "#/$defs/a"}}}),
            json!({"$dynamicRef": "#"}),
            json!({"$schema": "http://json-schema.org/draft-04/schema#"}),
            json!({"$schema": "https://schemas.example/meta"}),
            json!({"$schema": 7}),
            json!({"properties": {"a": {"$schema": "http://json-schema.org/draft-04/schema#"}}}),
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
        let each_other = json!({"$defs": {"a": {"anyOf": [{"$ref": "#/$defs/b"}]}, "b": {"anyOf": [{"$ref": "#/$defs/a"}]}}, "$ref": "#/$defs/a"});
        check(&each_other, &nested);
        check(&each_other, &json!(7));
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
        for arguments in [&nested, &json!({}), &json!(7)] {
            assert_eq!(check(&laughs, arguments), Some(Code::ToolUnverified));
        }
        let pattern = json!({"properties": {"a": {"pattern": "^(a+)+$"}}});
        check(&pattern, &json!({"a": format!("{}!", "a".repeat(100_000))}));
        assert!(begun.elapsed() < std::time::Duration::from_secs(10), "{:?}", begun.elapsed());
    }
}
