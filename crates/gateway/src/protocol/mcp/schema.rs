//! The arguments of a pinned tool are held to its input schema (ADR 76).
//!
//! What of a schema can be held to is said where it is compiled ([`json_schema`]).

mod place;

use std::sync::OnceLock;

use jsonschema::error::ValidationErrorKind;
use serde_json::Value;
use vidimus_core::json_schema::{self, Compiled, MAX_SCHEMA};
use vidimus_core::refusal::{Code, Refusal};

use self::place::Places;
use crate::protocol::members::Members;

/// What to do where nothing can be held to the schema.
const UNHELD: &str = "Whoever keeps the server's record: have the server's schema put right, or hold the arguments of its tools to less \
     (spec.integrity.arguments: schema in place of closed, else nothing); policies decide them all the same.";

/// The input schema of one tool, compiled when the first call of it comes.
#[derive(Debug, Default)]
pub struct InputSchema {
    /// As it stands in the listing; `None` where it has none that can be read, or one that is too long to be kept.
    text: Option<Box<str>>,
    compiled: OnceLock<Result<Compiled, String>>,
    /// Where it has choices, from when something was not as it lets it be.
    places: OnceLock<Option<Places>>,
    /// The same without members that it does not name, from when a record first has them held to that.
    closed: OnceLock<Box<InputSchema>>,
}

/// Which member is wrong, in words, where whoever is told may know that.
type Member = fn(&ValidationErrorKind) -> Option<String>;

impl InputSchema {
    /// That of a tool, by its entry in a listing.
    pub fn of(entry: &str) -> Self {
        let members = Members::unique(entry).ok();
        let text = members.as_ref().and_then(|members| Some(members.get("inputSchema")?.get()));
        match text {
            // What is larger than anything is held to is not kept: a server has any number of tools.
            Some(text) if text.len() > MAX_SCHEMA => {
                Self { compiled: OnceLock::from(compiled(Some(text))), ..Self::default() }
            }
            text => Self { text: text.map(Into::into), ..Self::default() },
        }
    }

    /// How long its text is, in bytes.
    pub fn size(&self) -> usize {
        self.text.as_ref().map_or(0, |text| text.len())
    }

    fn compiled(&self) -> &Result<Compiled, String> {
        self.compiled.get_or_init(|| compiled(self.text.as_deref()))
    }

    /// The schema closed; `None` of one that has no text, to which nothing can be held in any case.
    fn closed(&self) -> Option<&Self> {
        let text = self.text.as_deref()?;
        let close = || match json_schema::closed(text) {
            Ok(text) => Self { text: Some(text.into()), ..Self::default() },
            Err(why) => Self { compiled: OnceLock::from(Err(why)), ..Self::default() },
        };
        Some(self.closed.get_or_init(|| Box::new(close())))
    }

    /// That the arguments in a message are what the schema lets them be, and have no other members where it `is_closed`. A call without any has none of
    /// what is required.
    ///
    /// # Errors
    /// `arguments_invalid`, with the place where they are not; `tool_unverified` where nothing can be held to the schema.
    pub fn check(&self, message: &[u8], is_closed: bool) -> Result<(), Refusal> {
        let message: Value = serde_json::from_slice(message).map_err(|error| {
            Refusal::new(Code::Internal, "the arguments of the call were not read").with_detail(error)
        })?;
        let none = Value::Object(serde_json::Map::new());
        let arguments =
            message.pointer("/params/arguments").filter(|given| !given.is_null()).unwrap_or(&none);
        self.lets(arguments)?;
        match is_closed.then(|| self.closed()).flatten() {
            Some(closed) => closed.lets(arguments),
            None => Ok(()),
        }
    }

    fn lets(&self, arguments: &Value) -> Result<(), Refusal> {
        let schema = self.compiled().as_ref().map_err(|why| {
            let message = format!("arguments cannot be held to the input schema of the tool: {why}");
            Refusal::new(Code::ToolUnverified, message).with_next(UNHELD)
        })?;
        if schema.lets(arguments) {
            return Ok(());
        }
        const PLAIN: &str = "the arguments are not what the input schema of the tool lets them be";
        let text = self.text.as_deref().unwrap_or_default();
        let places = self.places.get_or_init(|| has_choices(text).then(|| Places::of(text)).flatten());
        let is_too_much = schema.is_too_much(std::slice::from_ref(arguments));
        let said = match places.as_ref().filter(|_| !is_too_much) {
            Some(places) => {
                let found = places.find(arguments, member);
                found.map_or_else(|| PLAIN.to_owned(), |(at, member)| told(PLAIN, &at, member))
            }
            None => fault(schema, arguments, (text, PLAIN), member),
        };
        Err(Refusal::new(Code::ArgumentsInvalid, said))
    }
}

/// Whether a schema has choices. An escape may hide such a keyword.
fn has_choices(schema: &str) -> bool {
    ["anyOf", "oneOf", "\\u"].iter().any(|word| schema.contains(word))
}

/// What is wrong, with the place of the schema that says it.
fn told(plain: &str, at: &str, member: Option<String>) -> String {
    let at: String = at.chars().take(256).collect();
    let member = member.map(|member| format!("; {member}")).unwrap_or_default();
    format!("{plain}: see {at} there{member}")
}

/// What is wrong with a value, in words without it: where in the schema it stands, behind what is said of all such. In a schema with choices that is not
/// looked for: of each choice it is what is wrong with it, and with each of its own, which has no end where they stand in each other.
pub(super) fn fault(
    compiled: &Compiled,
    value: &Value,
    (schema, plain): (&str, &str),
    member: Member,
) -> String {
    if compiled.is_too_much(std::slice::from_ref(value)) {
        return format!("{plain}: there are more values than are held to a schema of its size");
    }
    if has_choices(schema) {
        return plain.to_owned();
    }
    match compiled.validator().validate(value) {
        Ok(()) => plain.to_owned(),
        Err(error) => told(plain, error.schema_path().as_str(), member(error.kind())),
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
fn compiled(text: Option<&str>) -> Result<Compiled, String> {
    json_schema::compile(text.ok_or("the tool has none")?)
}

/// Why arguments cannot be held to the schema in the entry of a listing; `None` where they can. What `vidimus pin` says of it.
pub fn unheld(entry: &str) -> Option<String> {
    InputSchema::of(entry).compiled().as_ref().err().cloned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use vidimus_core::json_schema::MAX_PATTERNS;

    use super::*;

    fn check(schema: &Value, arguments: &Value) -> Option<Code> {
        let entry = json!({"name": "t", "inputSchema": schema}).to_string();
        let message = json!({"params": {"arguments": arguments}}).to_string();
        InputSchema::of(&entry).check(message.as_bytes(), false).err().map(|refusal| refusal.code)
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
        assert!(said(&schema, &json!({"e": nested})).ends_with(": see /properties/e there"));
    }

    fn said(schema: &Value, arguments: &Value) -> String {
        let entry = json!({"name": "t", "inputSchema": schema}).to_string();
        let message = json!({"params": {"arguments": arguments}}).to_string();
        let refusal = InputSchema::of(&entry).check(message.as_bytes(), false).expect_err("refused");
        refusal.message.into_owned()
    }

    /// As FastAPI has them: each value that may be left out is a choice between a type and null.
    #[test]
    fn beside_choices_the_place_of_a_member_is_told() {
        let maybe = |of: Value| json!({"anyOf": [of, {"type": "null"}]});
        let schema = json!({"type": "object", "required": ["body"], "additionalProperties": false,
            "properties": {"limit": {"type": "integer", "maximum": 100}, "tag": maybe(json!({"type": "string"})),
                "body": {"$ref": "#/$defs/Pet"}},
            "$defs": {"Pet": {"type": "object", "required": ["name"], "additionalProperties": false, "properties": {
                "name": {"type": "string", "minLength": 1}, "age": maybe(json!({"type": "integer"})),
                "mother": {"$ref": "#/$defs/Pet"}}}}});
        let pet = json!({"name": "a"});
        for (arguments, place) in [
            (json!({"body": pet, "limit": 424_242}), ": see /properties/limit/maximum there"),
            (json!({"body": pet, "tag": 424_242}), ": see /properties/tag there"),
            (json!({"limit": 5}), r#": see /required there; "body" is missing"#),
            (json!({"body": pet, "lim": 424_242}), r#": see /additionalProperties there; it has no "lim""#),
            (json!({"body": {"name": ""}}), ": see /$defs/Pet/properties/name/minLength there"),
            (json!({"body": {}}), r#": see /$defs/Pet/required there; "name" is missing"#),
            (json!({"body": {"name": "a", "age": "424242"}}), ": see /$defs/Pet/properties/age there"),
            (
                json!({"body": {"name": "a", "mother": {"name": 424_242}}}),
                ": see /$defs/Pet/properties/name/type there",
            ),
            (json!([]), ": see /type there"),
        ] {
            let said = said(&schema, &arguments);
            assert!(said.ends_with(place) && !said.contains("424242"), "{arguments}: {said}");
        }
        // Attack: as many places as there are, each of which would be kept.
        let many: serde_json::Map<String, Value> =
            (0..200).map(|n| (format!("m{n}"), json!({"$ref": format!("#/$defs/d{n}")}))).collect();
        let defs: serde_json::Map<String, Value> =
            (0..200).map(|n| (format!("d{n}"), json!({"type": "integer"}))).collect();
        let entry = json!({"inputSchema": {"properties": many, "$defs": defs, "not": {"anyOf": [false]}}})
            .to_string();
        let wide = InputSchema::of(&entry);
        for n in 0..200 {
            let message = json!({"params": {"arguments": {format!("m{n}"): "x"}}}).to_string();
            let refusal = wide.check(message.as_bytes(), false).expect_err("refused");
            let place = if n < 31 {
                format!(": see /$defs/d{n}/type there")
            } else {
                format!(": see /properties/m{n} there")
            };
            assert!(refusal.message.ends_with(&place), "{refusal}");
        }
        // Of a choice of the whole nobody says which was meant.
        let either = json!({"oneOf": [{"required": ["a"]}, {"required": ["b"]}]});
        assert!(said(&either, &json!({})).ends_with("lets them be"));
        let apart = json!({"properties": {"a/b~": {"anyOf": [{"type": "null"}]}}});
        assert!(said(&apart, &json!({"a/b~": 1})).ends_with(": see /properties/a~1b~0 there"));
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
        let none =
            InputSchema::of(&json!({"inputSchema": open}).to_string()).check(br#"{"params":{}}"#, false);
        assert_eq!(none.err().map(|refusal| refusal.code), INVALID, "what is required is not there");
    }

    /// `arguments: closed`.
    #[test]
    fn closed_it_lets_no_other_member_be() {
        let open = json!({"type": "object", "properties": {"to": {"type": "string"}}});
        let entry = json!({"inputSchema": open}).to_string();
        let schema = InputSchema::of(&entry);
        for (arguments, expected) in [
            (json!({"to": "a"}), None),
            (json!({"To": "a"}), Some(r#": see /additionalProperties there; it has no "To""#)),
            (json!({"to": 5}), Some(": see /properties/to/type there")),
        ] {
            let message = json!({"params": {"arguments": arguments}}).to_string();
            let refused = schema.check(message.as_bytes(), true).err();
            let said = refused.as_ref().map(|refusal| (refusal.code, &*refusal.message));
            let as_expected = match (said, expected) {
                (None, None) => true,
                (Some((code, said)), Some(end)) => code == Code::ArgumentsInvalid && said.ends_with(end),
                _ => false,
            };
            assert!(as_expected, "{arguments}: {refused:?}");
        }
        let several = json!({"properties": {"a": {}}, "allOf": [{"properties": {"b": {}}}]});
        let entry = json!({"inputSchema": several}).to_string();
        let refused = InputSchema::of(&entry).check(b"{}", true).expect_err("cannot be closed");
        assert_eq!(refused.code, Code::ToolUnverified, "{refused}");
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
        let refusal = InputSchema::of(&entry)
            .check(br#"{"params":{"arguments":{"to":424242}}}"#, false)
            .expect_err("refused");
        assert!(refusal.message.contains("/properties/to/type"), "{refusal}");
        assert!(!refusal.message.contains("424242"), "{refusal}");
        let entry = json!({"inputSchema": {"$ref": "#/$defs/pet", "$defs": {"pet": {
            "properties": {"name": {"type": "string"}}, "required": ["name"], "additionalProperties": false}}}});
        for (arguments, member) in [
            (json!({}), r#"; "name" is missing"#),
            (json!({"name": "a", "nam": 424242}), r#"; it has no "nam""#),
        ] {
            let message = json!({"params": {"arguments": arguments}}).to_string();
            let refusal =
                InputSchema::of(&entry.to_string()).check(message.as_bytes(), false).expect_err("refused");
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
            let entry = json!({"inputSchema": schema}).to_string();
            assert!(unheld(&entry).is_some() && InputSchema::of(&entry).size() <= MAX_SCHEMA);
            assert_eq!(check(&schema, &json!({})), Some(Code::ToolUnverified), "{:.80}", schema.to_string());
        }
        let none = InputSchema::of(r#"{"name":"t"}"#).check(b"{}", false);
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
        // Each of many values at each of many places.
        let each = json!({"properties": {"a": {"items": {"allOf": vec![json!({"minimum": 0}); 4000]}}}});
        assert_eq!(check(&each, &json!({"a": vec![1; 100]})), None);
        assert_eq!(check(&each, &json!({"a": vec![1; 100_000]})), Some(Code::ArgumentsInvalid));
        let pattern = json!({"properties": {"a": {"pattern": "^(a+)+$"}}});
        check(&pattern, &json!({"a": format!("{}!", "a".repeat(100_000))}));
        assert!(begun.elapsed() < std::time::Duration::from_secs(10), "{:?}", begun.elapsed());
    }
}
