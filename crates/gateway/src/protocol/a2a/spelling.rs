//! Members by the names that the schema has (`task_id`). Readers of protobuf's JSON take both (ProtoJSON, "JSON format"), and some clients write these.
//! They are written anew as JSON has them when a message comes in, so that there is one reading; said in both ways, a member is there twice.

use std::borrow::Cow;
use std::sync::LazyLock;

use aho_corasick::AhoCorasick;
use bytes::Bytes;
use serde_json::value::RawValue;

use crate::protocol::members::{Members, quoted};

/// What the schema of A2A calls a member, and what JSON does, of all that have two names in what is sent to an agent.
const NAMES: [(&str, &str); 19] = [
    ("accepted_output_modes", "acceptedOutputModes"),
    ("context_id", "contextId"),
    ("file_with_bytes", "fileWithBytes"),
    ("file_with_uri", "fileWithUri"),
    ("history_length", "historyLength"),
    ("include_artifacts", "includeArtifacts"),
    ("media_type", "mediaType"),
    ("message_id", "messageId"),
    ("mime_type", "mimeType"),
    ("page_size", "pageSize"),
    ("page_token", "pageToken"),
    ("push_notification", "pushNotification"),
    ("push_notification_config", "pushNotificationConfig"),
    ("push_notification_config_id", "pushNotificationConfigId"),
    ("reference_task_ids", "referenceTaskIds"),
    ("return_immediately", "returnImmediately"),
    ("status_timestamp_after", "statusTimestampAfter"),
    ("task_id", "taskId"),
    ("task_push_notification_config", "taskPushNotificationConfig"),
];

/// What is in every message that has such a name: the name, or an escape in it. Nearly none has any, and all that are of 1.0 have a `_` (`ROLE_USER`).
static WORDS: LazyLock<Option<AhoCorasick>> = LazyLock::new(|| {
    let names = NAMES.iter().map(|(by_schema, _)| *by_schema);
    AhoCorasick::new(names.chain(["\\u"])).ok()
});

/// Where in a message something stands. What is beside these, metadata and data among it, is the caller's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// The message of JSON-RPC.
    Request,
    /// What it asks with; over HTTP+JSON the body.
    Params,
    Sent,
    Part,
    File,
    Configuration,
    Push,
}

impl Place {
    /// Where the value of a member stands, as JSON calls that.
    fn below(self, name: &str) -> Option<Self> {
        match (self, name) {
            (Self::Request, "params") => Some(Self::Params),
            (Self::Params, "message") => Some(Self::Sent),
            (Self::Params, "configuration") => Some(Self::Configuration),
            (Self::Params | Self::Configuration, name) if super::tasks::PUSH.contains(&name) => {
                Some(Self::Push)
            }
            // The schema of 0.3 calls them `content`.
            (Self::Sent, "parts" | "content") => Some(Self::Part),
            (Self::Part, "file") => Some(Self::File),
            _ => None,
        }
    }
}

/// A message of JSON-RPC, its members as JSON has them. One that cannot be read stays, and is refused by who reads it.
pub(super) fn in_json(body: &Bytes) -> Bytes {
    let text = std::str::from_utf8(body).unwrap_or_default();
    match members(Place::Request, text.trim()) {
        Ok(Cow::Owned(written)) => written.into(),
        Ok(Cow::Borrowed(_)) | Err(_) => body.clone(),
    }
}

/// The name in JSON of a member, or of a parameter in a query.
pub(super) fn name_in_json(name: &str) -> Option<&'static str> {
    NAMES.iter().find(|(by_schema, _)| *by_schema == name).map(|(_, in_json)| *in_json)
}

/// A value, its members as JSON has them; borrowed where they are. One that is there twice stays so.
///
/// # Errors
/// What is no JSON.
pub(super) fn members(place: Place, value: &str) -> serde_json::Result<Cow<'_, str>> {
    // Looking for the words is far cheaper than parsing.
    if WORDS.as_ref().is_some_and(|words| !words.is_match(value)) {
        return Ok(value.into());
    }
    let (mut written, mut is_new) = (Vec::new(), false);
    if value.starts_with('[') && place == Place::Part {
        for part in serde_json::from_str::<Vec<&RawValue>>(value)? {
            let part = members(place, part.get())?;
            is_new |= matches!(part, Cow::Owned(_));
            written.push(part.into_owned());
        }
        return Ok(if is_new { format!("[{}]", written.join(",")).into() } else { value.into() });
    }
    if !value.starts_with('{') {
        return Ok(value.into());
    }
    // Those of the envelope have one name each.
    let known = |name: &str| if place == Place::Request { None } else { name_in_json(name) };
    for (name, value) in &serde_json::from_str::<Members<'_>>(value)?.0 {
        let in_json = known(name);
        is_new |= in_json.is_some();
        let name = in_json.unwrap_or(name);
        let value = match place.below(name) {
            Some(below) => members(below, value.get())?,
            None => value.get().into(),
        };
        is_new |= matches!(value, Cow::Owned(_));
        written.push(format!("{}:{value}", quoted(name)));
    }
    Ok(if is_new { format!("{{{}}}", written.join(",")).into() } else { value.into() })
}

#[cfg(test)]
mod tests {
    use vidimus_core::refusal::Code;

    use super::*;

    fn written(message: &str) -> String {
        String::from_utf8(in_json(&Bytes::copy_from_slice(message.as_bytes())).into()).expect("text")
    }

    #[test]
    fn names_of_the_schema_are_written_as_json_has_them() {
        assert_eq!(
            written(
                r#" {"jsonrpc":"2.0","id":"a_b","method":"SendMessage","params":{"message":{"message_id":"m_1","task\u005fid":"t","parts":[{"media_type":"text/plain","data":{"task_id":1}},{"file":{"mime_type":"a/b"}}],"metadata":{"task_id":"mine"}},
                "configuration":{"task_push_notification_config":{"task_id":"","url":"https://a_b.example/"}},"metadata":{"context_id":1}}} "#
            ),
            r#"{"jsonrpc":"2.0","id":"a_b","method":"SendMessage","params":{"message":{"messageId":"m_1","taskId":"t","parts":[{"mediaType":"text/plain","data":{"task_id":1}},{"file":{"mimeType":"a/b"}}],"metadata":{"task_id":"mine"}},"configuration":{"taskPushNotificationConfig":{"taskId":"","url":"https://a_b.example/"}},"metadata":{"context_id":1}}}"#
        );
    }

    /// Attack: two spellings of one member, of which one reader takes the one and another the other.
    #[test]
    fn both_spellings_are_the_same_member_twice() {
        let both = written(r#"{"params":{"message":{"task_id":"a","taskId":"b"}}}"#);
        assert_eq!(both, r#"{"params":{"message":{"taskId":"a","taskId":"b"}}}"#);
        assert!(
            crate::protocol::parse(both.as_bytes()).is_err_and(|refusal| refusal.code == Code::DuplicateKey)
        );
    }

    #[test]
    fn what_has_one_name_stays_byte_for_byte() {
        for message in [
            r#" { "params" : { "message" : { "taskId" : "a_b" } } }"#,
            // What the schema does not have is refused where it is read.
            r#"{"params":{"message":{"task_Id":"a","TASK_ID":"b","taskid_":"c"}}}"#,
            r#"{"params":{"message":{"extensions":{"task_id":"a"}},"other":{"task_id":"a"}},"task_id":"a"}"#,
            r#"{"params":[{"task_id":1}],"a_b":"#,
            r#"[{"params":{"task_id":"a"}}]"#,
            "_",
            "",
        ] {
            assert_eq!(written(message), message);
        }
    }
}
