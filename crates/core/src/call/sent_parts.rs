//! What the parts of a message to an agent are: `context.parts`.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::Content;
use crate::json::Json;

/// What the parts of a message come to (A2A 1.0 section 4.1.6, 0.3 section 6.5).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SentParts<'a> {
    /// Their media types, in lower case and without parameters. Where a part says none, a text is `text/plain`, data is `application/json`, and
    /// anything else `application/octet-stream`.
    pub media_types: BTreeSet<Cow<'a, str>>,
    /// The size of the largest, in bytes: of a text in UTF-8, of data as JSON without spaces, of what is in base64 decoded. What is given by its
    /// address alone has none here.
    pub largest: i64,
    /// The size of all of them, in bytes.
    pub bytes: i64,
}

/// The members of a part that carry what it says, with what that is where nothing says it.
const CARRIED: [(&str, &str); 6] = [
    ("text", "text/plain"),
    ("data", "application/json"),
    ("raw", OCTETS),
    ("url", OCTETS),
    ("bytes", OCTETS),
    ("uri", OCTETS),
];
/// What 0.3's schema calls two of them, as gRPC and HTTP+JSON have them.
const OF_FILES: [(&str, &str); 2] = [("fileWithBytes", OCTETS), ("fileWithUri", OCTETS)];
const OCTETS: &str = "application/octet-stream";
/// Where a part says its media type. Whichever an agent reads, it is among them.
const MEDIA: [&str; 2] = ["mediaType", "mimeType"];

impl<'a> SentParts<'a> {
    /// Those of a message; `None` of what has none, or is not known.
    pub fn of(content: &Content<'a>) -> Option<Self> {
        let message = content.params?.get("message")?;
        // Over HTTP+JSON 0.3 has another name for them.
        let lists = ["parts", "content"].into_iter().filter_map(|name| message.get(name)?.as_array());
        let mut found: Option<Self> = None;
        for part in lists.flatten() {
            found.get_or_insert_default().add(part);
        }
        found
    }

    fn add(&mut self, part: &'a Json<'a>) {
        let holders = || [Some(part), part.get("file")].into_iter().flatten();
        let carried = || {
            let of = |holder: &'a Json<'a>| {
                let all = CARRIED.iter().chain(&OF_FILES);
                all.filter_map(move |(name, media)| Some((*name, *media, holder.get(name)?)))
            };
            holders().flat_map(of)
        };
        let said = || holders().flat_map(|holder| MEDIA.iter().filter_map(|name| holder.get(name)?.as_str()));
        self.media_types.extend(said().filter(|said| !said.is_empty()).map(plain));
        if said().all(str::is_empty) {
            let assumed = carried().map(|(_, media, _)| media).next().unwrap_or(OCTETS);
            self.media_types.insert(assumed.into());
        }
        let size = carried().map(|(name, _, value)| size(name, value)).fold(0, usize::saturating_add);
        let size = i64::try_from(size).unwrap_or(i64::MAX);
        self.largest = self.largest.max(size);
        self.bytes = self.bytes.saturating_add(size);
    }
}

/// A media type by which types are compared (RFC 9110 section 8.3.1).
fn plain(said: &str) -> Cow<'_, str> {
    let kind = said.split(';').next().unwrap_or_default().trim();
    match kind.bytes().any(|byte| byte.is_ascii_uppercase()) {
        true => kind.to_ascii_lowercase().into(),
        false => kind.into(),
    }
}

/// How many bytes are carried by a member.
fn size(name: &str, value: &Json<'_>) -> usize {
    match (name, value.as_str()) {
        ("url" | "uri" | "fileWithUri", Some(_)) => 0,
        ("raw" | "bytes" | "fileWithBytes", Some(text)) => {
            text.trim_end_matches('=').len().saturating_mul(3) / 4
        }
        (_, Some(text)) => text.len(),
        (_, None) => value.canonical().len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(message: &str) -> Option<(Vec<String>, i64, i64)> {
        let text = format!(r#"{{"message":{message}}}"#);
        let params = Json::parse(text.as_bytes()).expect("JSON");
        let parts = SentParts::of(&Content { params: Some(&params), ..Content::default() })?;
        let types = parts.media_types.iter().map(ToString::to_string).collect();
        Some((types, parts.largest, parts.bytes))
    }

    #[test]
    fn parts_of_both_versions_have_types_and_sizes() {
        for (message, types, largest, bytes) in [
            (r#"{"parts":[{"text":"\u00e9a"}]}"#, &["text/plain"][..], 3, 3),
            (
                r#"{"parts":[{"text":"a b","mediaType":"Text/Markdown; charset=utf-8"},{"raw":"AGE=","mediaType":"image/png"}]}"#,
                &["image/png", "text/markdown"],
                3,
                5,
            ),
            (r#"{"parts":[{"data": {"a": [1, 2]}}]}"#, &["application/json"], 11, 11),
            (r#"{"parts":[{"url":"https://a.example/"}]}"#, &[OCTETS], 0, 0),
            (r#"{"parts":[{"kind":"file","file":{"bytes":"AAAA","mimeType":"a/b"}}]}"#, &["a/b"], 3, 3),
            (r#"{"parts":[{"kind":"file","file":{"uri":"https://a.example/"}}]}"#, &[OCTETS], 0, 0),
            (r#"{"content":[{"file":{"fileWithBytes":"AAAA","mimeType":"a/b"}}]}"#, &["a/b"], 3, 3),
            // Whichever of them an agent reads.
            (
                r#"{"parts":[{"text":"a","mediaType":"a/b","mimeType":"c/d"}],"content":[{"text":"bc"}]}"#,
                &["a/b", "c/d", "text/plain"],
                2,
                3,
            ),
            (r#"{"parts":[{"text":"a","mediaType":""}]}"#, &["text/plain"], 1, 1),
            (r#"{"parts":[{}]}"#, &[OCTETS], 0, 0),
        ] {
            let expected = types.iter().map(ToString::to_string).collect::<Vec<_>>();
            assert_eq!(of(message), Some((expected, largest, bytes)), "{message}");
        }
        for message in [r#"{"parts":[]}"#, "{}", "7", r#"{"parts":{"text":"a"}}"#] {
            assert_eq!(of(message), None, "{message}");
        }
        assert_eq!(SentParts::of(&Content::default()), None);
    }
}
