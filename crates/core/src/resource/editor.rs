//! JSON Schemas for editors, which complete, explain and underline while somebody writes: the CRDs' own, from the same Rust types.
//!
//! An editor knows neither Kubernetes' words (CEL) nor what a gateway looks at beyond a field. What a rule says in a form that JSON Schema has is
//! put in its words, and the message of each stands with the description. So the schema refuses nothing that is good, and `vidimus check` more
//! than it.

use serde_json::{Map, Value, json};

use super::check::{META, META_OF_CLUSTER};
use super::{API_VERSION, Kind, crd};

/// What yaml-language-server and its like read best.
const DRAFT: &str = "http://json-schema.org/draft-07/schema#";
/// DNS-1123, as Kubernetes has it.
const LABEL: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";

/// The schema of one kind, or of an object of whichever.
pub fn editor_schema(kind: Option<Kind>) -> Value {
    let Some(kind) = kind else { return any() };
    let mut schema = object(kind);
    if let Some(members) = schema.as_object_mut() {
        members.insert("$schema".to_owned(), json!(DRAFT));
    }
    schema
}

/// Chosen by the kind alone, so that what is wrong is told of that one.
fn any() -> Value {
    let kinds = Kind::ALL.map(Kind::as_str);
    let chosen = kinds.map(|kind| {
        let is_it = json!({"required": ["kind"], "properties": {"kind": {"const": kind}}});
        json!({"if": is_it, "then": {"$ref": format!("#/definitions/{kind}")}})
    });
    let definitions: Map<String, Value> =
        Kind::ALL.map(|kind| (kind.as_str().to_owned(), object(kind))).into_iter().collect();
    json!({
        "$schema": DRAFT,
        "title": "A resource of Vidimus",
        "type": "object",
        "required": ["apiVersion", "kind"],
        "properties": {"apiVersion": {"const": API_VERSION}, "kind": {"enum": kinds}},
        "allOf": chosen,
        "definitions": definitions,
    })
}

fn object(kind: Kind) -> Value {
    let found = crd::schema(kind.as_str());
    let mut spec = found
        .and_then(|schema| schema.properties.as_ref()?.get("spec"))
        .and_then(|spec| serde_json::to_value(spec).ok())
        .unwrap_or_default();
    write_for_editors(&mut spec);
    json!({
        "title": kind.as_str(),
        "description": found.and_then(|schema| schema.description.as_deref()).unwrap_or_default(),
        "type": "object",
        "required": ["apiVersion", "kind", "metadata", "spec"],
        "additionalProperties": false,
        "properties": {
            "apiVersion": {"const": API_VERSION},
            "kind": {"const": kind.as_str()},
            "metadata": metadata(),
            "spec": spec,
            "status": {"type": "object", "description": "What the control plane says about it. It is not written by hand."},
        },
    })
}

fn metadata() -> Value {
    let texts = || json!({"type": "object", "additionalProperties": {"type": "string"}});
    let mut properties: Map<String, Value> =
        META_OF_CLUSTER.into_iter().map(|name| (name.to_owned(), json!(true))).collect();
    for name in META {
        let schema = match name {
            "name" => json!({
                "type": "string", "minLength": 1, "maxLength": 253, "pattern": format!("^{LABEL}(\\.{LABEL})*$"),
            }),
            "namespace" => json!({
                "type": "string", "maxLength": 63, "pattern": format!("^{LABEL}$"), "default": "default",
            }),
            _ => texts(),
        };
        properties.insert(name.to_owned(), schema);
    }
    json!({"type": "object", "required": ["name"], "additionalProperties": false, "properties": properties})
}

/// Takes Kubernetes' own words out of a schema, and closes its objects, as the loader and a strict API server do.
fn write_for_editors(schema: &mut Value) {
    let Some(members) = schema.as_object_mut() else { return };
    let rules = members.remove("x-kubernetes-validations");
    members.retain(|name, _| !name.starts_with("x-kubernetes-"));
    if let Some(Value::Array(rules)) = rules {
        explain(members, &rules);
    }
    for name in ["items", "additionalProperties"] {
        if let Some(inner) = members.get_mut(name) {
            write_for_editors(inner);
        }
    }
    if let Some(Value::Object(properties)) = members.get_mut("properties") {
        properties.values_mut().for_each(write_for_editors);
        members.entry("additionalProperties").or_insert(json!(false));
    }
}

/// What rules say, in words, and where JSON Schema has it, as a rule of its own.
fn explain(members: &mut Map<String, Value>, rules: &[Value]) {
    let said = |name: &'static str| rules.iter().filter_map(move |rule| rule.get(name)?.as_str());
    let messages: Vec<&str> = said("message").collect();
    let described = members.get("description").and_then(Value::as_str);
    let described: Vec<&str> = described.into_iter().chain(messages).collect();
    let description = described.join("\n\n");
    let all: Vec<Value> = said("rule").filter_map(in_json_schema).collect();
    members.insert("description".to_owned(), json!(description));
    if !all.is_empty() {
        members.insert("allOf".to_owned(), json!(all));
    }
}

/// A rule of CEL that is one pattern, or the choice of one member; `None` of any other.
fn in_json_schema(rule: &str) -> Option<Value> {
    if let Some(pattern) = pattern(rule) {
        return Some(json!({"pattern": pattern}));
    }
    if let Some(pattern) = rule.strip_prefix('!').and_then(pattern) {
        return Some(json!({"not": {"type": "string", "pattern": pattern}}));
    }
    let choices = rule.strip_prefix('[')?.strip_suffix("].filter(given, given).size() == 1")?;
    let one_of: Option<Vec<Value>> = choices
        .split(", ")
        .map(|choice| Some(json!({"required": [choice.strip_prefix("has(self.")?.strip_suffix(')')?]})))
        .collect();
    Some(json!({"oneOf": one_of?}))
}

/// The pattern of `self.matches('…')`. Not one with flags, which JSON Schema's patterns have none of.
fn pattern(rule: &str) -> Option<&str> {
    let literal = rule.strip_prefix("self.matches(")?.strip_suffix(')')?;
    let (raw, quoted) = match literal.strip_prefix('r') {
        Some(quoted) => (true, quoted),
        None => (false, literal),
    };
    let text = quoted.strip_prefix('\'')?.strip_suffix('\'')?;
    let is_one = !text.contains('\'') && !text.contains("(?") && (raw || !text.contains('\\'));
    is_one.then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_that_json_schema_has_is_put_in_its_words() {
        for (rule, expected) in [
            ("self.matches('^a$')", Some(json!({"pattern": "^a$"}))),
            (r"self.matches(r'^a\.b$')", Some(json!({"pattern": r"^a\.b$"}))),
            ("!self.matches('/[.]')", Some(json!({"not": {"type": "string", "pattern": "/[.]"}}))),
            (
                "[has(self.a), has(self.b)].filter(given, given).size() == 1",
                Some(json!({"oneOf": [{"required": ["a"]}, {"required": ["b"]}]})),
            ),
            // What follows is more than a pattern, or another language's.
            ("self.matches('^a$') && size(self) > 1", None),
            ("self.matches('^a$') || self.matches('^b$')", None),
            ("self.matches(r'^(?i)a$')", None),
            (r"self.matches('^a\\.b$')", None),
            ("!self.contains('?')", None),
            ("[has(self.a), self.b].filter(given, given).size() == 1", None),
        ] {
            assert_eq!(in_json_schema(rule), expected, "{rule}");
        }
    }

    #[test]
    fn every_kind_has_one_without_the_words_of_kubernetes() {
        for kind in Kind::ALL {
            let schema = editor_schema(Some(kind));
            assert_eq!(schema["properties"]["kind"]["const"], kind.as_str());
            assert_eq!(schema["properties"]["spec"]["additionalProperties"], false, "{kind}");
            assert!(!schema.to_string().contains("x-kubernetes"), "{kind}");
            assert_eq!(schema["$schema"], DRAFT);
        }
        let any = editor_schema(None);
        assert_eq!(any["allOf"].as_array().map(Vec::len), Some(Kind::ALL.len()));
        assert!(any["definitions"]["Agent"]["properties"]["spec"]["properties"]["owner"].is_object());
    }
}
