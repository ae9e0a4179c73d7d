//! Single values: for each, the rule as Rust and the same rule as the CRD states it.

pub mod age;
pub mod header;
pub mod issuer;
pub mod name;
pub(crate) mod network;
pub mod person;
pub mod special_purpose;
pub mod spiffe_id;
pub mod timeout;
pub mod web_url;

use schemars::Schema;
use serde_json::{Value, json};

/// A string schema with a length and CEL rules, each with its message.
fn text_with_rules(min: u32, max: u32, rules: &[(&str, &str)]) -> Schema {
    let rules: Vec<Value> =
        rules.iter().map(|(rule, message)| json!({"rule": rule, "message": message})).collect();
    let mut schema = schemars::json_schema!({"type": "string", "minLength": min, "maxLength": max});
    if !rules.is_empty() {
        schema.insert("x-kubernetes-validations".to_owned(), Value::Array(rules));
    }
    schema
}
