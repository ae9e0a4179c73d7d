//! Where something can be taken out of what is said to a model or an agent: of the texts of a prompt or of a part, and of what a tool is called with or has
//! answered. Not of what says what a part of the message is, of bytes, nor of what its author signed or keeps: the rest would be refused, or be of no
//! author.

use vidimus_core::json::{Json, segments};

use crate::protocol::is_same_member;

/// The members that have texts, in the words of OpenAI, Anthropic, Gemini, Bedrock and A2A.
const TEXTS: [&str; 19] = [
    "content",
    "suffix",
    "text",
    "input",
    "instructions",
    "system",
    "prompt",
    "description",
    "output",
    "arguments",
    "refusal",
    "title",
    "context",
    "reasoning_content",
    "query",
    "user",
    "user_id",
    "safety_identifier",
    "instruction",
];

/// Below which anything may stand: what a tool is called with, what it answered, and data for an agent.
const DATA: [&str; 7] = ["input", "args", "response", "json", "data", "metadata", "labels"];

/// By which a part of a message is signed by the model that wrote it, or says what only that model reads.
const SIGNED: [&str; 3] = ["signature", "thoughtSignature", "encrypted_content"];

/// Whether something can be taken out of the value of a message that this pointer leads to.
pub fn is_text(message: &Json<'_>, pointer: &str) -> bool {
    let Some(names) = segments(pointer) else { return false };
    let names: Vec<_> = names.collect();
    let is_place = |name: &str| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit());
    let mut within = message;
    let mut is_data = false;
    for name in &names {
        if is_signed(within) {
            return false;
        }
        let below = match within {
            Json::Array(items) => name.parse::<usize>().ok().and_then(|place| items.get(place)),
            within => within.get(name),
        };
        let Some(below) = below else { return false };
        // What is above is an object that is data, and not a list of messages or a text.
        let holds = DATA.contains(&&**name) && below.as_object().is_some();
        is_data |= holds && !is_source(within);
        within = below;
    }
    let named = names.iter().rev().find(|name| !is_place(name)).map_or("", |name| &**name);
    let is_string = matches!(within, Json::String(_));
    is_data || is_string && TEXTS.contains(&named)
}

/// Whether an object is a part that is signed.
fn is_signed(value: &Json<'_>) -> bool {
    let members = value.as_object().unwrap_or_default();
    members
        .iter()
        .any(|(name, value)| *value != Json::Null && SIGNED.iter().any(|signed| is_same_member(name, signed)))
}

/// Whether an object says what its data is, as that of an image does.
fn is_source(value: &Json<'_>) -> bool {
    const SAID: [&str; 6] = ["media_type", "mimeType", "mime_type", "format", "bytes", "file_data"];
    SAID.iter().any(|name| value.get(name).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In every shape of a request: what says something, and what is bytes, a label, signed or kept.
    #[test]
    fn a_text_of_a_message_can_be_taken_out_and_what_it_is_cannot() {
        let chat = r#"{"model":"m","user":"u","messages":[{"role":"user","content":"x","name":"n"},{"role":"user","content":[{"type":"text","text":"x"},
            {"type":"image_url","image_url":{"url":"x"}},{"type":"input_audio","input_audio":{"data":"x","format":"wav"}},{"type":"file","file":{"file_data":"x","filename":"x"}}]},
            {"role":"assistant","tool_calls":[{"id":"x","type":"function","function":{"name":"f","arguments":"{}"}}]},{"role":"tool","tool_call_id":"x","content":"x"}],
            "tools":[{"type":"function","function":{"name":"f","description":"x"}}],"seed":1}"#;
        let responses = r#"{"model":"m","instructions":"x","input":[{"role":"user","content":[{"type":"input_text","text":"x"}]},{"type":"function_call_output","call_id":"x","output":"x"},
            {"type":"reasoning","summary":[{"type":"summary_text","text":"x"}],"encrypted_content":"x"},{"type":"reasoning","summary":[{"type":"summary_text","text":"x"}],"encrypted_content":null}]}"#;
        let anthropic = r#"{"system":[{"type":"text","text":"x"}],"messages":[{"role":"assistant","content":[{"type":"thinking","thinking":"x","signature":"s"},
            {"type":"redacted_thinking","data":"x"},{"type":"tool_use","id":"x","name":"f","input":{"a":{"b":["x",1]}}}]},
            {"role":"user","content":[{"type":"tool_result","tool_use_id":"x","content":[{"type":"text","text":"x"}]},{"type":"image","source":{"type":"base64","media_type":"image/png","data":"x"}}]}]}"#;
        let gemini = r#"{"systemInstruction":{"parts":[{"text":"x"}]},"contents":[{"role":"user","parts":[{"text":"x"},{"inlineData":{"mimeType":"image/png","data":"x"}},
            {"fileData":{"fileUri":"x"}},{"functionResponse":{"name":"f","response":{"a":"x"}}}]},
            {"role":"model","parts":[{"functionCall":{"name":"f","args":{"a":1}}},{"text":"x","thoughtSignature":"s"},{"functionCall":{"args":{"a":1}},"thought_signature":"s"}]}]}"#;
        let bedrock = r#"{"system":[{"text":"x"}],"messages":[{"role":"user","content":[{"text":"x"},{"image":{"format":"png","source":{"bytes":"x"}}},
            {"toolResult":{"toolUseId":"x","content":[{"json":{"a":1}},{"text":"x"}]}}]},
            {"role":"assistant","content":[{"toolUse":{"toolUseId":"x","input":{"a":"x"}}},{"reasoningContent":{"reasoningText":{"text":"x","signature":"s"}}}]}]}"#;
        let agent = r#"{"jsonrpc":"2.0","id":"x","method":"SendMessage","params":{"message":{"messageId":"x","role":"x","parts":[{"text":"x"},{"data":{"a":[1]}},{"raw":"x","mediaType":"x"},{"url":"x"}],
            "metadata":{"a":"x"}}}}"#;
        let embeddings = r#"{"model":"m","input":["x","x"]}"#;
        for (message, texts, others) in [
            (
                chat,
                &[
                    "/messages/0/content",
                    "/messages/1/content/0/text",
                    "/messages/2/tool_calls/0/function/arguments",
                    "/messages/3/content",
                    "/tools/0/function/description",
                    "/user",
                ][..],
                &[
                    "/model",
                    "/messages/0/role",
                    "/messages/0/name",
                    "/messages/1/content/0/type",
                    "/messages/1/content/1/image_url/url",
                    "/messages/1/content/2/input_audio/data",
                    "/messages/1/content/3/file/file_data",
                    "/messages/2/tool_calls/0/id",
                    "/messages/3/tool_call_id",
                    "/seed",
                    "/none",
                    "",
                ][..],
            ),
            (
                responses,
                &["/instructions", "/input/0/content/0/text", "/input/1/output", "/input/3/summary/0/text"],
                &["/input/1/call_id", "/input/2/summary/0/text", "/input/2/encrypted_content"],
            ),
            (embeddings, &["/input/0", "/input/1"], &["/model"]),
            (
                anthropic,
                &[
                    "/system/0/text",
                    "/messages/0/content/2/input/a/b/0",
                    "/messages/0/content/2/input/a/b/1",
                    "/messages/1/content/0/content/0/text",
                ],
                &[
                    "/messages/0/content/0/thinking",
                    "/messages/0/content/0/signature",
                    "/messages/0/content/1/data",
                    "/messages/0/content/2/id",
                    "/messages/1/content/0/tool_use_id",
                    "/messages/1/content/1/source/data",
                ],
            ),
            (
                gemini,
                &[
                    "/systemInstruction/parts/0/text",
                    "/contents/0/parts/0/text",
                    "/contents/0/parts/3/functionResponse/response/a",
                    "/contents/1/parts/0/functionCall/args/a",
                ],
                &[
                    "/contents/0/parts/1/inlineData/data",
                    "/contents/0/parts/2/fileData/fileUri",
                    "/contents/1/parts/1/text",
                    "/contents/1/parts/2/functionCall/args/a",
                ],
            ),
            (
                bedrock,
                &[
                    "/system/0/text",
                    "/messages/0/content/0/text",
                    "/messages/0/content/2/toolResult/content/0/json/a",
                    "/messages/0/content/2/toolResult/content/1/text",
                    "/messages/1/content/0/toolUse/input/a",
                ],
                &[
                    "/messages/0/content/1/image/source/bytes",
                    "/messages/0/content/2/toolResult/toolUseId",
                    "/messages/1/content/1/reasoningContent/reasoningText/text",
                ],
            ),
            (
                agent,
                &[
                    "/params/message/parts/0/text",
                    "/params/message/parts/1/data/a/0",
                    "/params/message/metadata/a",
                ],
                &[
                    "/id",
                    "/method",
                    "/params/message/messageId",
                    "/params/message/role",
                    "/params/message/parts/2/raw",
                    "/params/message/parts/3/url",
                ],
            ),
        ] {
            let json = Json::parse(message.as_bytes()).expect("JSON");
            for pointer in texts {
                assert!(is_text(&json, pointer), "{pointer}");
            }
            for pointer in others {
                assert!(!is_text(&json, pointer), "{pointer}");
            }
        }
    }
}
