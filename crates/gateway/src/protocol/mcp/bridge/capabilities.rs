//! What a client can do for a server, as far as both eras have it: there are few such sets, so a session can be kept for each.

use serde::Deserialize;
use serde_json::{Map, Value, json};
use vidimus_core::json::Json;

use super::super::HANDSHAKE;

const ROOTS: u8 = 1;
const SAMPLING: u8 = 1 << 1;
const SAMPLING_CONTEXT: u8 = 1 << 2;
const SAMPLING_TOOLS: u8 = 1 << 3;
const FORM: u8 = 1 << 4;
const URL: u8 = 1 << 5;
const ALL: u8 = (1 << 6) - 1;

/// What a client says that it can do. Extensions and experiments are of one era, and are not among it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Capabilities(u8);

impl Capabilities {
    /// Of `capabilities` of `initialize`, or `clientCapabilities` of a stateless request.
    pub fn of(said: Option<&Json<'_>>) -> Self {
        let has = |path: &[&str]| {
            let found = path.iter().try_fold(said?, |json, name| json.get(name));
            found.filter(|value| matches!(value, Json::Object(_)))
        };
        let mut can = 0;
        for (bit, path) in [
            (ROOTS, &["roots"][..]),
            (SAMPLING, &["sampling"]),
            (SAMPLING_CONTEXT, &["sampling", "context"]),
            (SAMPLING_TOOLS, &["sampling", "tools"]),
            (FORM, &["elicitation", "form"]),
            (URL, &["elicitation", "url"]),
        ] {
            if has(path).is_some() {
                can |= bit;
            }
        }
        // Without a mode it is that of the version which had one only (2025-11-25, "Capabilities").
        if has(&["elicitation"]).is_some() && can & (FORM | URL) == 0 {
            can |= FORM;
        }
        Self(can)
    }

    /// As a number, and from it.
    pub const fn number(self) -> u8 {
        self.0
    }

    pub const fn from_number(number: u8) -> Option<Self> {
        if number <= ALL { Some(Self(number)) } else { None }
    }

    /// As `version` says them, JSON.
    pub fn json(self, version: &str) -> String {
        let has = |bit| self.0 & bit != 0;
        // Their parts and modes are of 2025-11-25, and elicitation is of 2025-06-18. Versions are dates, and sort as such.
        let (has_parts, has_elicitation) = (version >= HANDSHAKE[0], version >= HANDSHAKE[1]);
        let of = |parts: &[(u8, &str)]| {
            let said = parts.iter().filter(|(bit, _)| has(*bit) && has_parts);
            Value::Object(said.map(|(_, name)| ((*name).to_owned(), json!({}))).collect())
        };
        let mut all = Map::new();
        if has(ROOTS) {
            all.insert("roots".to_owned(), json!({}));
        }
        if has(SAMPLING) {
            all.insert(
                "sampling".to_owned(),
                of(&[(SAMPLING_CONTEXT, "context"), (SAMPLING_TOOLS, "tools")]),
            );
        }
        if has_elicitation && (has(FORM) || has(URL) && has_parts) {
            all.insert("elicitation".to_owned(), of(&[(FORM, "form"), (URL, "url")]));
        }
        Value::Object(all).to_string()
    }

    /// Whether the client answers a question of this method with these parameters, JSON.
    pub fn answers(self, method: &str, params: &str) -> bool {
        let bits = match method {
            "roots/list" => ROOTS,
            "sampling/createMessage" => SAMPLING,
            "elicitation/create" => mode(params),
            _ => 0,
        };
        self.0 & bits != 0
    }

    /// Whether it answers any question.
    pub const fn answers_any(self) -> bool {
        self.0 != 0
    }

    /// Whether it leads its user to addresses.
    pub const fn leads_to_urls(self) -> bool {
        self.0 & URL != 0
    }
}

/// What it takes to answer an elicitation: without a mode it is by a form (2025-11-25, "Elicitation Requests").
fn mode(params: &str) -> u8 {
    #[derive(Deserialize)]
    struct Asked {
        mode: Option<String>,
    }
    match serde_json::from_str(params).map(|asked: Asked| asked.mode).as_ref().map(Option::as_deref) {
        Ok(None | Some("form")) => FORM,
        Ok(Some("url")) => URL,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_asked_in_a_mode_that_it_has() {
        for (can, mode, is_answered) in [
            (FORM, r#"{"message":"m"}"#, true),
            (FORM, r#"{"mode":"form"}"#, true),
            (FORM, r#"{"mode":"url"}"#, false),
            (URL, r#"{"mode":"url"}"#, true),
            (URL, "{}", false),
            (FORM | URL, r#"{"mode":"voice"}"#, false),
            (FORM | URL, r#"{"mode":7}"#, false),
        ] {
            assert_eq!(Capabilities(can).answers("elicitation/create", mode), is_answered, "{can} {mode}");
        }
    }
}
