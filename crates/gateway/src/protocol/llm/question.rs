//! How many tokens the question to a model may come to. A text has one for each four bytes, as is estimated, and no more than one for each byte. Images,
//! sound and files stand in a request in Base64, or by their address: their bytes are no text, so each has an estimate of its own.

use vidimus_core::json::Json;

/// A question, in tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Question {
    /// What policies see (`context.tokens_estimated`).
    pub estimated: i64,
    /// What is reserved while the call is under way: of texts never less than they are.
    pub most: i64,
}

/// What a provider adds of its own where tools may be called: Anthropic some 350 (its documentation, "Tool use", "Pricing"), others less.
const OF_TOOLS: i64 = 1_024;

/// What is not text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Media {
    /// Anthropic counts 1,568 at most, and 4,784 with its newest models ("Vision"); OpenAI 1,445 in high detail, with models that count in patches up
    /// to 3,779; Gemini 258 for each tile.
    Image,
    /// Sound and video. Gemini counts 32 for a second of sound and some 300 of video, OpenAI 10 of sound.
    Sound,
    /// Anthropic counts up to 3,000 for a page of a PDF ("PDF support").
    File,
}

impl Media {
    /// The tokens of so many bytes of it; 0 where it stands elsewhere.
    const fn question(self, bytes: i64) -> Question {
        const fn at_least(least: i64, tokens: i64) -> i64 {
            if tokens > least { tokens } else { least }
        }
        match self {
            Self::Image => Question { estimated: 1_600, most: 4_800 },
            Self::Sound => {
                Question { estimated: at_least(1_000, bytes / 250), most: at_least(4_000, bytes / 64) }
            }
            Self::File => {
                Question { estimated: at_least(3_000, bytes / 16), most: at_least(12_000, bytes / 4) }
            }
        }
    }

    fn of_mime(kind: &str) -> Self {
        match kind.split('/').next() {
            Some("image") => Self::Image,
            Some("audio" | "video") => Self::Sound,
            _ => Self::File,
        }
    }
}

/// Where a conversation stands, in any API: a list of messages, each with its parts.
const CONVERSATIONS: [&str; 3] = ["messages", "input", "contents"];
/// Where the parts of a message stand, and those of what a tool answered.
const PARTS: [&str; 6] = ["content", "parts", "output", "toolResult", "functionResponse", "response"];

/// The question that a request of so many bytes asks.
pub fn of(body: &Json<'_>, bytes: usize) -> Question {
    let mut found = Found::default();
    for name in CONVERSATIONS {
        for message in body.get(name).and_then(Json::as_array).unwrap_or_default() {
            found.look(message);
        }
    }
    let text = i64::try_from(bytes).unwrap_or(i64::MAX).saturating_sub(found.encoded).max(0);
    let has_tools = ["tools", "toolConfig", "functions"].iter().any(|name| body.get(name).is_some());
    let of_tools = if has_tools { OF_TOOLS } else { 0 };
    let Question { estimated, most } = found.media;
    Question {
        estimated: (text / 4).saturating_add(estimated),
        most: text.saturating_add(most).saturating_add(of_tools),
    }
}

/// What of a conversation is no text.
#[derive(Debug, Default)]
struct Found {
    /// How long it is, as it is encoded in the request.
    encoded: i64,
    media: Question,
}

impl Found {
    /// A message, or a part of one. Only there is something taken for an image: in the schema of a tool the same is a text that the model reads.
    fn look(&mut self, value: &Json<'_>) {
        if let Some((media, payload)) = part(value) {
            let encoded = payload.map_or(0, |text| i64::try_from(text.len()).unwrap_or(i64::MAX));
            let Question { estimated, most } = media.question(encoded / 4 * 3);
            self.encoded = self.encoded.saturating_add(encoded);
            self.media.estimated = self.media.estimated.saturating_add(estimated);
            self.media.most = self.media.most.saturating_add(most);
            return;
        }
        value.as_array().unwrap_or_default().iter().for_each(|part| self.look(part));
        let members = value.as_object().unwrap_or_default().iter();
        members.filter(|(name, _)| PARTS.contains(&&**name)).for_each(|(_, value)| self.look(value));
    }
}

/// What a part is, where it is no text, with what of it stands in the request.
fn part<'j>(value: &'j Json<'_>) -> Option<(Media, Option<&'j str>)> {
    let text = |at: &'j Json<'_>, name: &str| at.get(name).and_then(Json::as_str);
    // OpenAI, its responses and Anthropic say what a part is; Gemini and Bedrock by the name that it has.
    let (media, holder) = match text(value, "type") {
        Some("image_url" | "input_image") => (Media::Image, value.get("image_url")?),
        Some("computer_screenshot") => (Media::Image, value),
        Some("image") => (Media::Image, value.get("source")?),
        Some("input_audio") => (Media::Sound, value.get("input_audio")?),
        Some("file") => (Media::File, value.get("file")?),
        Some("input_file") => (Media::File, value),
        // What is text in a document is a text.
        Some("document") => {
            let source = value.get("source")?;
            let is_text = matches!(text(source, "type"), Some("text" | "content"));
            (!is_text).then_some((Media::File, source))?
        }
        Some(_) => return None,
        None => {
            let named = |name: &str| value.get(name);
            let of = |at: &'j Json<'_>| {
                let kind = text(at, "mimeType").or_else(|| text(at, "mime_type"));
                kind.map_or(Media::File, Media::of_mime)
            };
            let data = ["inlineData", "inline_data", "fileData", "file_data"].into_iter().find_map(named);
            let by_name = |name: &str, media| Some((media, named(name)?.get("source")?));
            data.map(|data| (of(data), data))
                .or_else(|| by_name("image", Media::Image))
                .or_else(|| by_name("video", Media::Sound))
                .or_else(|| by_name("document", Media::File).filter(|(_, at)| at.get("bytes").is_some()))?
        }
    };
    const HOLD: [&str; 6] = ["data", "url", "bytes", "file_data", "image_url", "file_url"];
    let payload = holder.as_str().or_else(|| HOLD.iter().find_map(|name| text(holder, name)));
    Some((media, payload.and_then(encoded)))
}

/// What is encoded in Base64, by itself or in a `data:` address. Anything else is counted as the text that it is.
fn encoded(text: &str) -> Option<&str> {
    let data = match text.strip_prefix("data:") {
        Some(data) => data.split_once(";base64,")?.1,
        None => text,
    };
    let is_encoded = |byte: u8| byte.is_ascii_alphanumeric() || b"+/-_=\r\n".contains(&byte);
    data.bytes().all(is_encoded).then_some(data)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(body: &str) -> (i64, i64) {
        let json = Json::parse(body.as_bytes()).expect("JSON");
        let Question { estimated, most } = of(&json, body.len());
        (estimated, most)
    }

    #[test]
    fn a_picture_is_no_text() {
        let data = "QUJD".repeat(100_000);
        let address = format!("data:image/png;base64,{data}");
        for (part, media) in [
            (format!(r#"{{"type":"image_url","image_url":{{"url":"{address}"}}}}"#), Media::Image),
            (format!(r#"{{"type":"input_image","image_url":"{address}"}}"#), Media::Image),
            (
                format!(
                    r#"{{"type":"image","source":{{"type":"base64","media_type":"image/png","data":"{data}"}}}}"#
                ),
                Media::Image,
            ),
            (format!(r#"{{"inlineData":{{"mimeType":"image/png","data":"{data}"}}}}"#), Media::Image),
            (format!(r#"{{"inline_data":{{"mime_type":"audio/wav","data":"{data}"}}}}"#), Media::Sound),
            (format!(r#"{{"image":{{"format":"png","source":{{"bytes":"{data}"}}}}}}"#), Media::Image),
            (
                format!(r#"{{"type":"input_audio","input_audio":{{"data":"{data}","format":"wav"}}}}"#),
                Media::Sound,
            ),
            (format!(r#"{{"type":"file","file":{{"file_data":"{address}"}}}}"#), Media::File),
            (format!(r#"{{"type":"document","source":{{"type":"base64","data":"{data}"}}}}"#), Media::File),
            (format!(r#"{{"document":{{"name":"x","source":{{"bytes":"{data}"}}}}}}"#), Media::File),
            // What a tool answered.
            (
                format!(
                    r#"{{"type":"tool_result","content":[{{"type":"image","source":{{"data":"{data}"}}}}]}}"#
                ),
                Media::Image,
            ),
        ] {
            let question = media.question(300_000);
            for holder in ["messages", "input", "contents"] {
                let name = if holder == "contents" { "parts" } else { "content" };
                let (estimated, most) =
                    asked(&format!(r#"{{"{holder}":[{{"role":"user","{name}":[{part}]}}]}}"#));
                assert!((question.estimated..question.estimated + 60).contains(&estimated), "{estimated}");
                assert!((question.most..question.most + 240).contains(&most), "{most}");
            }
        }
    }

    /// Attack: a long text that stands where a picture would, so that it counts as one.
    #[test]
    fn a_text_is_no_picture() {
        let text = "one two ".repeat(1_000);
        for (body, least) in [
            (
                format!(
                    r#"{{"messages":[{{"content":[{{"type":"image","source":{{"data":"{text}"}}}}]}}]}}"#
                ),
                8_000,
            ),
            (
                format!(
                    r#"{{"messages":[{{"content":[{{"type":"image_url","image_url":{{"url":"data:text/plain,{text}"}}}}]}}]}}"#
                ),
                8_000,
            ),
            (
                format!(
                    r#"{{"messages":[{{"content":[{{"type":"document","source":{{"type":"text","data":"{text}"}}}}]}}]}}"#
                ),
                8_000,
            ),
            (
                format!(
                    r#"{{"tools":[{{"function":{{"parameters":{{"type":"image","source":{{"data":"{}"}}}}}}}}]}}"#,
                    "QUJD".repeat(2_000)
                ),
                8_000 + OF_TOOLS,
            ),
            (format!(r#"{{"messages":[{{"content":"{text}"}}]}}"#), 8_000),
        ] {
            let (estimated, most) = asked(&body);
            assert!(estimated >= 2_000 && most >= least, "{estimated} {most}");
        }
    }

    #[test]
    fn a_picture_by_its_address_counts_too() {
        let body =
            r#"{"messages":[{"content":[{"type":"image_url","image_url":{"url":"https://a.example/b"}}]}]}"#;
        let bytes = i64::try_from(body.len()).expect("short");
        assert_eq!(asked(body), (bytes / 4 + 1_600, bytes + 4_800));
    }
}
