//! Parts of messages and artifacts: 1.0 tells them apart by the member that is there, 0.3 by their kind, and puts files one level deeper.

use serde_json::value::RawValue;
use vidimus_core::resource::A2aVersion;

use super::object::{Fault, Saying, Who, Written, object};
use crate::protocol::members::{Members, quoted, text};

/// What data that is no object has beside it in 0.3, where all data are objects: as the official SDK writes it.
const WRAPPED: &str = "data_part_compat";

/// What a part of 1.0 is, of which it is one.
const CONTENTS: [&str; 4] = ["text", "data", "raw", "url"];

/// A part of the other version.
///
/// # Errors
/// For what is none, or is several, and of a caller's for what has no like.
pub fn part(saying: Saying, said: &str) -> Result<String, Fault> {
    match saying.to {
        A2aVersion::V1_0 => in_new(saying, &object(said)?),
        A2aVersion::V0_3 => in_old(saying, &object(said)?),
    }
}

fn is_there(value: &RawValue) -> bool {
    value.get() != "null"
}

fn unreadable(what: &str) -> Fault {
    Fault::Unreadable(what.to_owned())
}

fn in_old(saying: Saying, members: &Members<'_>) -> Result<String, Fault> {
    let is_content = |name: &str| CONTENTS.contains(&name);
    // Data may be null, as any value; beside another content that is how some write what is not there.
    let has_other = members.0.iter().any(|(name, value)| is_content(name) && is_there(value));
    let given = members.0.iter().filter(|(name, value)| is_there(value) || (&**name == "data" && !has_other));
    let mut contents = given.clone().filter(|(name, _)| is_content(name));
    let (Some((content, _)), None) = (contents.next(), contents.next()) else {
        return Err(unreadable("a part is one of text, data, raw and url"));
    };
    let is_file = matches!(&**content, "raw" | "url");
    let (mut written, mut file) = (Written::default(), Written::default());
    written.put("kind", &quoted(if is_file { "file" } else { content }));
    let (mut metadata, mut is_wrapped) = (None, false);
    for (name, value) in given {
        match &**name {
            "metadata" => metadata = Some(value.get()),
            "text" => written.put("text", value.get()),
            "data" if value.get().starts_with('{') => written.put("data", value.get()),
            "data" if saying.who == Who::Agent => {
                is_wrapped = true;
                written.put("data", &format!(r#"{{"value":{}}}"#, value.get()));
            }
            "data" => return Err(Fault::Without("data that are no object".to_owned())),
            "raw" => file.put("bytes", value.get()),
            "url" => file.put("uri", value.get()),
            "mediaType" if is_file => file.put("mimeType", value.get()),
            "filename" if is_file => file.put("name", value.get()),
            // What it says of itself anyway.
            "mediaType" if text(value).is_some_and(|said| said == implied(content)) => {}
            "mediaType" | "filename" => saying.without(name, value)?,
            other => saying.unknown(other)?,
        }
    }
    if is_file {
        written.put("file", &file.finish());
    }
    match (metadata, is_wrapped) {
        (Some(given), true) => written.put("metadata", &marked(given)?),
        (None, true) => written.put("metadata", &marked("{}")?),
        (Some(given), false) => written.put("metadata", given),
        (None, false) => {}
    }
    Ok(written.finish())
}

/// The media type of what is no file.
fn implied(content: &str) -> &'static str {
    if content == "text" { "text/plain" } else { "application/json" }
}

/// Metadata that say that the data beside them were no object.
fn marked(metadata: &str) -> Result<String, Fault> {
    let mut written = Written::default();
    written.put(WRAPPED, "true");
    let others = object(metadata)?.write_without(WRAPPED);
    let others = others.strip_prefix('{').and_then(|others| others.strip_suffix('}')).unwrap_or_default();
    let written = written.finish();
    Ok(match others {
        "" => written,
        others => format!("{},{others}}}", written.strip_suffix('}').unwrap_or_default()),
    })
}

fn in_new(saying: Saying, members: &Members<'_>) -> Result<String, Fault> {
    let kind = match members.get("kind") {
        Some(kind) => text(kind),
        // Agents may leave it out.
        None if saying.who == Who::Agent => {
            ["text", "data", "file"].into_iter().find(|name| members.get(name).is_some()).map(str::to_owned)
        }
        None => None,
    };
    let kind = kind.filter(|kind| matches!(&**kind, "text" | "data" | "file"));
    let kind = kind.ok_or_else(|| unreadable("\"kind\" of a part is text, data or file"))?;
    let content = members.get(&kind).filter(|value| is_there(value));
    let content = content.ok_or_else(|| unreadable("a part has not what its kind says"))?.get();
    let mut written = Written::default();
    match &*kind {
        "text" => written.put("text", content),
        "data" => written.put("data", content),
        _ => file(saying, content, &mut written)?,
    }
    for (name, value) in members.0.iter().filter(|(_, value)| is_there(value)) {
        match &**name {
            "kind" => {}
            "metadata" => written.put("metadata", value.get()),
            name if name == kind => {}
            other => saying.unknown(other)?,
        }
    }
    Ok(written.finish())
}

fn file(saying: Saying, said: &str, written: &mut Written) -> Result<(), Fault> {
    let members = object(said)?;
    let given = members.0.iter().filter(|(_, value)| is_there(value));
    if given.clone().filter(|(name, _)| matches!(&**name, "bytes" | "uri")).count() != 1 {
        return Err(unreadable("a file is one of bytes and uri"));
    }
    for (name, value) in given {
        match &**name {
            "bytes" => written.put("raw", value.get()),
            "uri" => written.put("url", value.get()),
            "mimeType" => written.put("mediaType", value.get()),
            "name" => written.put("filename", value.get()),
            other => saying.unknown(other)?,
        }
    }
    Ok(())
}
