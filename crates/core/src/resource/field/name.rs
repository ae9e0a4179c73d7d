//! Names: of objects, of teams and sets, of tools and models.

use schemars::{Schema, SchemaGenerator};
use serde_json::json;

use super::text_with_rules;
use crate::resource::problem::Fault;

/// A plain name: a team, group, class, set, capability or environment. The same as a Kubernetes label value.
const PLAIN: &str = "^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$";
const PLAIN_RULE: &str =
    "must be letters, digits, '-', '_' and '.', beginning and ending with a letter or digit";
/// What a server or provider calls its own: no spaces and no control characters.
const FOREIGN: &str = r"^[^\s\x00-\x1f\x7f]+$";
/// Most entries of a list of names.
const MOST: u32 = 64;
const LONGEST_TOOL: u32 = 128;
const LONGEST_MODEL: u32 = 256;

pub(crate) fn plain_schema(_: &mut SchemaGenerator) -> Schema {
    text_with_rules(1, 63, &[(&format!("self.matches('{PLAIN}')"), PLAIN_RULE)])
}

/// The empty text, too: the object belongs to no team.
pub(crate) fn optional_plain_schema(_: &mut SchemaGenerator) -> Schema {
    text_with_rules(0, 63, &[(&format!("self == '' || self.matches('{PLAIN}')"), PLAIN_RULE)])
}

pub(crate) fn plain_list_schema(generator: &mut SchemaGenerator) -> Schema {
    schemars::json_schema!({"type": "array", "maxItems": MOST, "items": plain_schema(generator)})
}

/// Namespaces, and `*` for all of them.
pub(crate) fn members_schema(_: &mut SchemaGenerator) -> Schema {
    schemars::json_schema!({
        "type": "array", "maxItems": MOST,
        "items": {"type": "string", "minLength": 1, "maxLength": 63, "pattern": "^([a-z0-9]([a-z0-9-]*[a-z0-9])?|[*])$"},
    })
}

fn foreign_schema(max: u32, what: &str) -> Schema {
    let rule = format!("self.matches(r'{FOREIGN}')");
    text_with_rules(1, max, &[(&rule, &format!("the name of a {what} has no spaces or control characters"))])
}

/// Set name → tool names.
pub(crate) fn tool_sets_schema(_: &mut SchemaGenerator) -> Schema {
    let tools = json!({
        "type": "array", "minItems": 1, "maxItems": 256, "items": foreign_schema(LONGEST_TOOL, "tool"),
    });
    schemars::json_schema!({
        "type": "object", "maxProperties": MOST, "additionalProperties": tools,
        "x-kubernetes-validations": [{
            "rule": format!("self.all(set, size(set) <= 63 && set.matches('{PLAIN}'))"),
            "message": format!("the name of a tool set {PLAIN_RULE}"),
        }],
    })
}

/// Aliases of models: any that are names, since whose they are is checked where the models are known.
pub(crate) fn aliases_schema(_: &mut SchemaGenerator) -> Schema {
    schemars::json_schema!({
        "type": "object", "maxProperties": MOST, "additionalProperties": foreign_schema(LONGEST_MODEL, "model"),
    })
}

pub(crate) fn model_schema(_: &mut SchemaGenerator) -> Schema {
    foreign_schema(LONGEST_MODEL, "model")
}

pub(crate) fn check_plain(text: &str) -> Result<(), Fault> {
    let ends_well = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    let has_only_these = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    if has_only_these
        && text.len() <= 63
        && ends_well(text.chars().next())
        && ends_well(text.chars().next_back())
    {
        return Ok(());
    }
    Err(Fault::new(
        "not a plain name",
        "use 1 to 63 letters, digits, '-', '_' and '.', beginning and ending with a letter or digit",
    ))
}

pub(crate) fn check_tool(text: &str) -> Result<(), Fault> {
    check_foreign(text, LONGEST_TOOL, "tool")
}

pub(crate) fn check_model(text: &str) -> Result<(), Fault> {
    check_foreign(text, LONGEST_MODEL, "model")
}

fn check_foreign(text: &str, max: u32, what: &str) -> Result<(), Fault> {
    let fits = !text.is_empty() && u32::try_from(text.chars().count()).is_ok_and(|length| length <= max);
    // The spaces that CEL's `\s` means (RE2: ASCII).
    if fits && !text.chars().any(|c| c.is_ascii_whitespace() || c.is_ascii_control()) {
        return Ok(());
    }
    Err(Fault::new(
        format!("not the name of a {what}"),
        format!("write it exactly as the {what} is called: 1 to {max} characters, without spaces"),
    ))
}

/// A DNS-1123 label (RFC 1123 section 2.1), as Kubernetes wants a namespace.
pub(crate) fn check_namespace(text: &str) -> Result<(), Fault> {
    if is_dns_label(text) {
        return Ok(());
    }
    Err(Fault::new(
        "not a DNS-1123 label",
        "use 1 to 63 lower-case letters, digits and '-', beginning and ending with a letter or digit",
    ))
}

/// A DNS-1123 subdomain, as Kubernetes wants the name of a custom resource.
pub(crate) fn check_object_name(text: &str) -> Result<(), Fault> {
    // Kubernetes bounds the whole name only, not its parts.
    if text.len() <= 253 && text.split('.').all(is_dns_text) {
        return Ok(());
    }
    Err(Fault::new(
        "not a DNS-1123 subdomain",
        "use 1 to 253 lower-case letters, digits, '-' and '.', beginning and ending with a letter or digit",
    ))
}

fn is_dns_label(text: &str) -> bool {
    text.len() <= 63 && is_dns_text(text)
}

fn is_dns_text(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with('-')
        && !text.ends_with('-')
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}
