//! What of a card is signed (A2A 1.0 section 8.4): its canonical JSON (RFC 8785) without the signatures.
//!
//! An agent that speaks 0.3 too adds that version's members to the card that it signed, and readers of 1.0 pass over them: the official SDK
//! signs, and verifies, what 1.0 has. So there are several readings of a card, and the one whose bytes were signed is what the card says here;
//! what was not signed is not in it.

use serde_json::{Map, Value, json};
use vidimus_core::json::Json;
use vidimus_core::refusal::{Code, Refusal};
use vidimus_identity::{Mint, SignerKeys};

/// The member with the signatures.
pub(super) const SIGNATURES: &str = "signatures";

/// Most signatures of one card that are looked at.
const MAX_SIGNATURES: usize = 8;

/// `typ` of a signature of a card, as A2A recommends it.
const TYPE: &str = "JOSE";

/// The members that 1.0 has of a card, and of what is in it.
const CARD: [&str; 13] = [
    "name",
    "description",
    "supportedInterfaces",
    "provider",
    "version",
    "documentationUrl",
    "capabilities",
    "securitySchemes",
    "securityRequirements",
    "defaultInputModes",
    "defaultOutputModes",
    "skills",
    "iconUrl",
];
const PROVIDER: [&str; 2] = ["url", "organization"];
const CAPABILITIES: [&str; 4] = ["streaming", "pushNotifications", "extensions", "extendedAgentCard"];
const EXTENSION: [&str; 4] = ["uri", "description", "required", "params"];
const INTERFACE: [&str; 4] = ["url", "protocolBinding", "tenant", "protocolVersion"];
const SKILL: [&str; 8] =
    ["id", "name", "description", "tags", "examples", "inputModes", "outputModes", "securityRequirements"];
const SCHEMES: [&str; 5] = [
    "apiKeySecurityScheme",
    "httpAuthSecurityScheme",
    "oauth2SecurityScheme",
    "openIdConnectSecurityScheme",
    "mtlsSecurityScheme",
];

/// What a card says that one of these keys has signed.
///
/// # Errors
/// `card_unverified`.
pub fn said(mut card: Map<String, Value>, keys: &str) -> Result<Map<String, Value>, Refusal> {
    let unverified = |why: &'static str| Refusal::new(Code::CardUnverified, why);
    let keys = SignerKeys::parse(keys).map_err(|error| {
        Refusal::new(Code::Internal, "the keys of the agent's card cannot be read").with_detail(error)
    })?;
    let signatures = card.remove(SIGNATURES).unwrap_or_default();
    let signatures: Vec<(&str, &str)> = signatures
        .as_array()
        .into_iter()
        .flatten()
        .take(MAX_SIGNATURES)
        .filter_map(|one| Some((one.get("protected")?.as_str()?, one.get("signature")?.as_str()?)))
        .collect();
    if signatures.is_empty() {
        return Err(unverified(
            "the agent's card has no signature, and its record names the keys that sign it",
        ));
    }
    let whole = Value::Object(card.clone());
    let readings = [of_1_0(&card), whole.clone(), without_empty(whole).unwrap_or_default()];
    let signed = readings.into_iter().find(|reading| {
        let Ok(bytes) = canonical(reading) else { return false };
        signatures
            .iter()
            .any(|(protected, signature)| keys.have_signed(bytes.as_bytes(), protected, signature))
    });
    match signed {
        Some(Value::Object(said)) => Ok(in_0_3_too(said, &card)),
        _ => Err(unverified("what the agent's card says is signed by none of the keys of its record")),
    }
}

/// The card with the gateway's own signature.
///
/// # Errors
/// `upstream_invalid` for a card of which there is no canonical JSON, `internal` where it cannot be signed.
pub fn sign(card: &mut Map<String, Value>, mint: &Mint) -> Result<(), Refusal> {
    let bytes = canonical(&of_1_0(card))?;
    let signed = mint.sign(TYPE, bytes.as_bytes()).map_err(|error| {
        Refusal::new(Code::Internal, "the agent card could not be signed").with_detail(error)
    })?;
    let signature = json!([{"protected": signed.protected, "signature": signed.signature}]);
    card.insert(SIGNATURES.to_owned(), signature);
    Ok(())
}

/// How the members of 0.3 say what was signed in those of 1.0. The addresses among them become the gateway's.
fn in_0_3_too(mut said: Map<String, Value>, given: &Map<String, Value>) -> Map<String, Value> {
    for member in ["url", "preferredTransport", "additionalInterfaces"] {
        let value = given.get(member).cloned();
        said.extend(value.map(|value| (member.to_owned(), value)));
    }
    let interfaces = said.get("supportedInterfaces").and_then(Value::as_array).into_iter().flatten();
    let has_version =
        |version: &Value| interfaces.clone().any(|one| one.get("protocolVersion") == Some(version));
    let version = given.get("protocolVersion").filter(|version| has_version(version)).cloned();
    said.extend(version.map(|version| ("protocolVersion".to_owned(), version)));
    let extended =
        said.get("capabilities").and_then(|all| all.get("extendedAgentCard")) == Some(&json!(true));
    if extended {
        said.insert("supportsAuthenticatedExtendedCard".to_owned(), json!(true));
    }
    said
}

/// A card as a reader of 1.0 has it, with the members of 0.3 that stand for some of 1.0, as the official SDK reads and signs it.
fn of_1_0(card: &Map<String, Value>) -> Value {
    let mut read = only(card, &CARD);
    if !read.contains_key("supportedInterfaces") {
        read.extend(interfaces(card).map(|interfaces| ("supportedInterfaces".to_owned(), interfaces)));
    }
    if card.get("supportsAuthenticatedExtendedCard") == Some(&json!(true)) {
        let capabilities = read.entry("capabilities").or_insert_with(|| json!({}));
        if let Some(capabilities) = capabilities.as_object_mut() {
            capabilities.entry("extendedAgentCard").or_insert(json!(true));
        }
    }
    within(read.get_mut("provider"), |provider| only(provider, &PROVIDER));
    within(read.get_mut("capabilities"), |capabilities| {
        let mut kept = only(capabilities, &CAPABILITIES);
        each(kept.get_mut("extensions"), |extension| {
            let mut kept = only(extension, &EXTENSION);
            // What protobuf has by default is not written.
            kept.retain(|member, value| !(member == "required" && *value == json!(false)));
            kept
        });
        kept
    });
    each(read.get_mut("supportedInterfaces"), |interface| only(interface, &INTERFACE));
    each(read.get_mut("skills"), |skill| {
        let mut kept = only(skill, &SKILL);
        if !kept.contains_key("securityRequirements") {
            kept.extend(requirements(skill).map(|given| ("securityRequirements".to_owned(), given)));
        }
        kept
    });
    let schemes = read.get_mut("securitySchemes").and_then(Value::as_object_mut);
    for scheme in schemes.into_iter().flat_map(Map::values_mut).filter_map(Value::as_object_mut) {
        if SCHEMES.iter().any(|known| scheme.contains_key(*known)) {
            *scheme = only(scheme, &SCHEMES);
        }
    }
    without_empty(Value::Object(read)).unwrap_or_default()
}

/// The interfaces that 0.3 names in members of their own.
fn interfaces(card: &Map<String, Value>) -> Option<Value> {
    let url = card.get("url").filter(|url| url.as_str().is_some_and(|url| !url.is_empty()))?;
    let preferred = card.get("preferredTransport").cloned().unwrap_or_else(|| json!("JSONRPC"));
    let version = card.get("protocolVersion").cloned().unwrap_or_else(|| json!("0.3.0"));
    let mut all = vec![json!({"url": url, "protocolBinding": preferred, "protocolVersion": version})];
    for other in card.get("additionalInterfaces").and_then(Value::as_array).into_iter().flatten() {
        let (url, binding) = (other.get("url"), other.get("transport"));
        all.push(json!({"url": url, "protocolBinding": binding, "protocolVersion": version}));
    }
    Some(all.into())
}

/// What a skill of 0.3 asks for, as 1.0 writes it.
fn requirements(skill: &Map<String, Value>) -> Option<Value> {
    let of_one = |one: &Value| {
        let schemes = one.as_object().into_iter().flatten();
        let schemes: Map<_, _> =
            schemes.map(|(name, scopes)| (name.clone(), json!({"list": scopes}))).collect();
        json!({"schemes": schemes})
    };
    Some(skill.get("security")?.as_array()?.iter().map(of_one).collect())
}

fn only(object: &Map<String, Value>, members: &[&str]) -> Map<String, Value> {
    let kept = object.iter().filter(|(member, _)| members.contains(&member.as_str()));
    kept.map(|(member, value)| (member.clone(), value.clone())).collect()
}

/// Has an object be another one; what is none stays as it is.
fn within(value: Option<&mut Value>, other: impl FnOnce(&Map<String, Value>) -> Map<String, Value>) {
    if let Some(object) = value.and_then(Value::as_object_mut) {
        *object = other(object);
    }
}

/// The same of each object of a list.
fn each(value: Option<&mut Value>, other: impl Fn(&Map<String, Value>) -> Map<String, Value>) {
    for item in value.and_then(Value::as_array_mut).into_iter().flatten() {
        within(Some(item), &other);
    }
}

/// A value without what is empty in it: protobuf writes no member that says nothing, and the official SDK signs none.
fn without_empty(value: Value) -> Option<Value> {
    match value {
        Value::Null => None,
        Value::String(text) => (!text.is_empty()).then_some(Value::String(text)),
        Value::Array(items) => {
            let kept: Vec<_> = items.into_iter().filter_map(without_empty).collect();
            (!kept.is_empty()).then_some(Value::Array(kept))
        }
        Value::Object(members) => {
            let kept = members.into_iter().filter_map(|(name, value)| Some((name, without_empty(value)?)));
            let kept: Map<_, _> = kept.collect();
            (!kept.is_empty()).then_some(Value::Object(kept))
        }
        other @ (Value::Bool(_) | Value::Number(_)) => Some(other),
    }
}

/// Canonical JSON (RFC 8785).
fn canonical(value: &Value) -> Result<String, Refusal> {
    let text = value.to_string();
    let json = Json::parse(text.as_bytes());
    json.map(|json| json.canonical()).map_err(|error| {
        Refusal::new(Code::UpstreamInvalid, "the agent card has no canonical JSON").with_detail(error)
    })
}

/// The bytes that are signed of a card, as a reader of 1.0 has it.
#[cfg(test)]
pub fn read_by_1_0(card: &Map<String, Value>) -> String {
    canonical(&of_1_0(card)).expect("canonical JSON")
}
