//! What is kept at a provider: files, vector stores, containers, sounds and pictures that it made. Every caller has the gateway's key there, so whoever
//! learns an id could go on from what was made for somebody else. A message says all that it says itself.

use vidimus_core::json::Json;
use vidimus_core::refusal::{Code, Refusal};

use crate::protocol::beside::{is_given, plain};

/// Members that lead to something that is kept, wherever they stand, in lower case without separators.
const KEPT: [&str; 12] = [
    "cachedcontent",
    "containerid",
    "continuationtoken",
    "datastore",
    "fileid",
    "fileids",
    "filesearchstorenames",
    "fileuri",
    "knowledgebaseid",
    "skillid",
    "vectorstoreid",
    "vectorstoreids",
];

/// Members below which names are the caller's own, or say where a text was taken from: what a tool is called with and has answered, schemas, citations.
const FREE: [&str; 17] = [
    "annotations",
    "args",
    "arguments",
    "citations",
    "inputschema",
    "json",
    "jsonschema",
    "labels",
    "metadata",
    "parameters",
    "parametersjsonschema",
    "properties",
    "response",
    "responseformat",
    "responsejsonschema",
    "responseschema",
    "schema",
];

/// Refuses a request that leads to something which is kept at the provider.
///
/// # Errors
/// `member_undecided`.
pub fn check(value: &Json<'_>) -> Result<(), Refusal> {
    if let Some(items) = value.as_array() {
        return items.iter().try_for_each(check);
    }
    let members = value.as_object().unwrap_or_default();
    check_by_id(value)?;
    for (name, value) in members.iter().filter(|(_, value)| is_given(value)) {
        let plain = plain(name);
        match &*plain {
            plain if KEPT.contains(&plain) => return Err(kept(name)),
            // A new one is asked for by an object without an id.
            "container" if value.as_object().is_none_or(|_| value.get("id").is_some_and(is_given)) => {
                return Err(kept(name));
            }
            // What an assistant said aloud is kept by its id; how it is to speak has none.
            "audio" if value.get("id").is_some_and(is_given) => return Err(kept(name)),
            "input" if value.as_object().is_some() => {}
            plain if FREE.contains(&plain) => {}
            _ => check(value)?,
        }
    }
    Ok(())
}

/// Refuses an item that is a picture which the provider made, by its id alone.
fn check_by_id(item: &Json<'_>) -> Result<(), Refusal> {
    let is_picture = item.get("type").and_then(Json::as_str) == Some("image_generation_call");
    match is_picture && !item.get("result").is_some_and(is_given) {
        true => Err(kept("image_generation_call")),
        false => Ok(()),
    }
}

fn kept(name: &str) -> Refusal {
    const NEXT: &str =
        "Send what it stands for in the message itself (text, Base64 or an address that anybody may read).";
    let shown: String = name.chars().take(64).collect();
    let message = format!(
        "member {shown:?} leads to what is kept at the provider under the gateway's key, whoever it was made for"
    );
    Refusal::new(Code::MemberUndecided, message).with_next(NEXT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_refused(request: &str) -> bool {
        let json = Json::parse(request.as_bytes()).expect("JSON");
        match check(&json) {
            Ok(()) => false,
            Err(refusal) => {
                assert_eq!(refusal.code, Code::MemberUndecided);
                true
            }
        }
    }

    /// Attack: what was made for another, by its id, in each shape of a request.
    #[test]
    fn nothing_leads_to_what_is_kept_at_the_provider() {
        for request in [
            // OpenAI's responses.
            r#"{"tools":[{"type":"file_search","vector_store_ids":["vs_other"]}]}"#,
            r#"{"tools":[{"type":"code_interpreter","container":"cntr_other"}]}"#,
            r#"{"tools":[{"type":"code_interpreter","container":{"type":"auto","file_ids":["file-other"]}}]}"#,
            r#"{"tools":[{"type":"shell","environment":{"type":"container_reference","container_id":"cntr_other"}}]}"#,
            r#"{"tools":[{"type":"shell","environment":{"type":"container_auto","skills":[{"type":"skill_reference","skill_id":"skill_other"}]}}]}"#,
            r#"{"input":[{"role":"user","content":[{"type":"input_file","file_id":"file-other"}]}]}"#,
            r#"{"input":[{"role":"user","content":[{"type":"input_image","file_id":"file-other"}]}]}"#,
            r#"{"input":[{"type":"image_generation_call","id":"ig_other"}]}"#,
            r#"{"input":[{"type":"function_call_output","call_id":"c","output":[{"type":"input_file","file_id":"file-other"}]}]}"#,
            // Its chat completions.
            r#"{"messages":[{"role":"user","content":[{"type":"file","file":{"file_id":"file-other"}}]}]}"#,
            r#"{"messages":[{"role":"assistant","audio":{"id":"audio_other"}}]}"#,
            // Anthropic's messages.
            r#"{"messages":[{"role":"user","content":[{"type":"document","source":{"type":"file","file_id":"file_other"}}]}]}"#,
            r#"{"messages":[{"role":"user","content":[{"type":"container_upload","file_id":"file_other"}]}]}"#,
            r#"{"messages":[{"role":"user","content":[{"type":"tool_result","content":[{"type":"image","source":{"type":"file","file_id":"x"}}]}]}]}"#,
            r#"{"container":"container_other"}"#,
            r#"{"container":{"id":"container_other"}}"#,
            // Gemini's.
            r#"{"contents":[{"parts":[{"fileData":{"fileUri":"https://generativelanguage.googleapis.com/v1beta/files/other"}}]}]}"#,
            r#"{"contents":[{"parts":[{"file_data":{"file_uri":"gs://bucket/other"}}]}]}"#,
            r#"{"systemInstruction":{"parts":[{"fileData":{"fileUri":"x"}}]}}"#,
            r#"{"contents":[{"parts":[{"functionResponse":{"name":"f","response":{},"parts":[{"fileData":{"fileUri":"x"}}]}}]}]}"#,
            r#"{"tools":[{"fileSearch":{"fileSearchStoreNames":["fileSearchStores/other"]}}]}"#,
            r#"{"cachedContent":"cachedContents/other"}"#,
            // In another spelling.
            r#"{"messages":[{"content":[{"File-Id":"file-other"}]}]}"#,
        ] {
            assert!(is_refused(request), "{request}");
        }
    }

    #[test]
    fn what_a_message_says_itself_passes() {
        for request in [
            r#"{"input":[{"role":"user","content":[{"type":"input_file","filename":"a.pdf","file_data":"data:application/pdf;base64,JVBERg=="}]}]}"#,
            r#"{"input":[{"type":"image_generation_call","id":"ig_own","result":"iVBORw0KGgo="}]}"#,
            r#"{"tools":[{"type":"code_interpreter","container":{"type":"auto"}}],"container":null,"audio":{"voice":"alloy","format":"wav"}}"#,
            r#"{"input":[{"type":"message","role":"assistant","content":[{"type":"output_text","text":"a","annotations":[{"type":"file_citation","file_id":"f"}]}]}]}"#,
            // Names of the caller's own.
            r#"{"tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object","properties":{"file_id":{"type":"string"}}}}}]}"#,
            r#"{"tools":[{"name":"f","input_schema":{"properties":{"container":{"type":"string"}}}}]}"#,
            r#"{"messages":[{"role":"assistant","content":[{"type":"tool_use","id":"t","name":"f","input":{"file_id":"own"}}]}]}"#,
            r#"{"messages":[{"role":"assistant","tool_calls":[{"function":{"name":"f","arguments":"{\"file_id\":\"own\"}"}}]}]}"#,
            r#"{"contents":[{"parts":[{"functionCall":{"name":"f","args":{"fileUri":"own"}}},{"functionResponse":{"name":"f","response":{"fileId":"own"}}}]}]}"#,
            r#"{"messages":[{"content":[{"toolUse":{"input":{"fileId":"own"}}},{"toolResult":{"content":[{"json":{"fileId":"own"}}]}}]}]}"#,
            r#"{"metadata":{"file_id":"own"},"input":"where is file_id"}"#,
        ] {
            assert!(!is_refused(request), "{request}");
        }
    }
}
