//! Token usage of streamed chat completions whose caller did not ask for it.
//!
//! OpenAI counts a stream's tokens only for `stream_options.include_usage`, in one chunk of its own before the end, which has
//! empty `choices` (API reference, "Create chat completion"). The gateway asks for it in the body that it sends, and takes that
//! chunk out on the way back ([`WithoutUsage`]). The other chunks then have `"usage":null`, as the API says; that they keep.

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;
use serde::Deserialize;
use serde::de::IgnoredAny;
use vidimus_core::json::Json;
use vidimus_core::refusal::{Code, Refusal};

use crate::protocol::beside::check_spelled;
use crate::protocol::members::{first_member, member};
use crate::protocol::sse::{self, EventFilter};
use crate::protocol::words::has_usage;

/// Whether the caller asks for usage itself.
///
/// # Errors
/// `message_invalid` where two readers could differ in what is asked: options that are no object, a flag that is no boolean, or by another spelling.
pub fn asked(body: &Json<'_>) -> Result<bool, Refusal> {
    let options = body.get("stream_options");
    if !matches!(options, None | Some(Json::Null | Json::Object(_))) {
        return Err(Refusal::new(Code::MessageInvalid, "member \"stream_options\" must be an object"));
    }
    // Beside the one that is added, it would have some servers say no usage.
    options.map_or(Ok(()), |options| check_spelled(options, &["include_usage"]))?;
    match options.and_then(|options| options.get("include_usage")) {
        None | Some(Json::Null) => Ok(false),
        Some(Json::Bool(asked)) => Ok(*asked),
        Some(_) => Err(Refusal::new(Code::MessageInvalid, "stream_options.include_usage must be a boolean")),
    }
}

/// The body with `stream_options.include_usage: true`, and otherwise byte for byte what the caller sent.
///
/// # Errors
/// `internal` for a body that is not the JSON object that was parsed before.
pub fn ask_for(body: &Bytes) -> Result<Bytes, Refusal> {
    let spliced = std::str::from_utf8(body).ok().and_then(|text| {
        let (at, insert) = splice(text)?;
        Some([text.get(..at.start)?, &insert, text.get(at.end..)?].concat())
    });
    let fault = || Refusal::new(Code::Internal, "usage could not be asked for in the caller's message");
    spliced.map(Bytes::from).ok_or_else(fault)
}

/// Which bytes of a body are replaced, and by what.
fn splice(text: &str) -> Option<(Range<usize>, Cow<'static, str>)> {
    const OPTIONS: &str = r#"{"include_usage":true}"#;
    let Some(options) = member(text, "stream_options")? else {
        return Some(first_member(text, format!(r#""stream_options":{OPTIONS}"#)));
    };
    let value = text.get(options.clone())?;
    if value == "null" {
        return Some((options, OPTIONS.into()));
    }
    let (at, insert) = match member(value, "include_usage")? {
        Some(flag) => (flag, "true".into()),
        None => first_member(value, r#""include_usage":true"#.to_owned()),
    };
    Some((options.start + at.start..options.start + at.end, insert))
}

/// Takes out the chunk of usage that the caller did not ask for.
#[derive(Debug)]
pub struct WithoutUsage;

impl WithoutUsage {
    /// An event that is longer than this is not the one that carries usage, which has a few hundred bytes.
    pub const MAX_EVENT: usize = 16 * 1024;
}

impl EventFilter for WithoutUsage {
    fn filter(&mut self, event: &[u8]) -> Result<Option<Vec<u8>>, Refusal> {
        Ok(is_usage(event).then(Vec::new))
    }
}

/// Whether an event is the chunk of usage alone: no choices, and a count.
fn is_usage(event: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Chunk {
        choices: Vec<IgnoredAny>,
        usage: Option<IgnoredAny>,
    }
    if !has_usage(event) {
        return false;
    }
    let Ok(event) = std::str::from_utf8(event) else { return false };
    let data: Vec<&str> = sse::lines(event).filter_map(|line| sse::value_of(line, "data")).collect();
    serde_json::from_str::<Chunk>(&data.join("\n"))
        .is_ok_and(|chunk| chunk.choices.is_empty() && chunk.usage.is_some())
}

#[cfg(test)]
mod tests;
