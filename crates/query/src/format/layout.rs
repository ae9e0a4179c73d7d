//! Where the Cedar of a policy stands in YAML. Only what is understood for certain is changed: after it, the document says the same but
//! for the Cedar, which is what the formatter made.

use serde_json::Value;

use super::{Left, cedar};

/// What became of the text of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Formatted {
    pub(super) text: String,
    pub(super) policies: usize,
    pub(super) changed: Vec<String>,
    pub(super) left: Vec<Left>,
}

pub(super) fn formatted(text: &str) -> Formatted {
    let mut all = Formatted::default();
    let mut line = 1;
    for document in documents(text) {
        match policy(&document) {
            None => all.text.push_str(&document),
            Some((name, value)) => {
                all.policies += 1;
                match with_cedar(&document, &value) {
                    Ok(new) => {
                        if new != document {
                            all.changed.push(name);
                        }
                        all.text.push_str(&new);
                    }
                    Err(reason) => {
                        all.left.push(Left { policy: name, line, reason });
                        all.text.push_str(&document);
                    }
                }
            }
        }
        line += document.matches('\n').count();
    }
    all
}

/// The text between two markers, each with the marker before it.
fn documents(text: &str) -> Vec<String> {
    let mut all = vec![String::new()];
    for line in text.split_inclusive('\n') {
        let is_marker = line.trim_end() == "---" || line.starts_with("--- ");
        match all.last_mut() {
            Some(last) if !is_marker || last.is_empty() => last.push_str(line),
            _ => all.push(line.to_owned()),
        }
    }
    all
}

fn read(document: &str) -> Option<Value> {
    let options = serde_saphyr::options! { with_snippet: false };
    serde_saphyr::from_str_with_options(document, options).ok()
}

/// The name and the content of a document that is a policy.
fn policy(document: &str) -> Option<(String, Value)> {
    let value = read(document)?;
    let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str);
    if text("/kind") != Some("Policy") || text("/spec/cedar").is_none() {
        return None;
    }
    let namespace = text("/metadata/namespace").unwrap_or(vidimus_core::resource::check::DEFAULT_NAMESPACE);
    Some((format!("{namespace}/{}", text("/metadata/name").unwrap_or_default()), value))
}

fn with_cedar(document: &str, value: &Value) -> Result<String, String> {
    let old = value.pointer("/spec/cedar").and_then(Value::as_str).unwrap_or_default();
    let new = cedar(old)?;
    let lines: Vec<&str> = new.trim_end().lines().collect();
    // What the formatter would change in nothing but the white space at the end stays.
    if old.trim_end().lines().eq(lines.iter().copied()) {
        return Ok(document.to_owned());
    }
    if document.trim_start().starts_with('{') {
        return Err(
            "it is JSON, where a text stands on one line; write it as YAML to have it formatted".to_owned()
        );
    }
    let not_understood = || "its layout is not understood; write cedar: | and the Cedar below it".to_owned();
    if document.contains('\r') {
        return Err("its lines end with a carriage return".to_owned());
    }
    let written = replaced(document, old, &lines).ok_or_else(not_understood)?;
    // Nothing else says anything else.
    let mut expected = value.clone();
    let mut found = read(&written).ok_or_else(not_understood)?;
    let found_cedar =
        found.pointer("/spec/cedar").and_then(Value::as_str).map(|text| text.trim_end().to_owned());
    for document in [&mut expected, &mut found] {
        if let Some(cedar) = document.pointer_mut("/spec/cedar") {
            *cedar = Value::Null;
        }
    }
    if found == expected && found_cedar.as_deref() == Some(new.trim_end()) {
        Ok(written)
    } else {
        Err(not_understood())
    }
}

/// The document with these lines in the place of its Cedar.
fn replaced(document: &str, old: &str, new: &[&str]) -> Option<String> {
    let lines: Vec<&str> = document.split_inclusive('\n').collect();
    let (at, indent, rest) = lines.iter().enumerate().find_map(|(at, line)| {
        let content = line.trim_start_matches(' ');
        let rest = content.strip_prefix("cedar:")?;
        let indent = line.len() - content.len();
        (indent > 0 && rest.starts_with([' ', '\n'])).then(|| (at, indent, rest.trim()))
    })?;
    let before: String = lines.get(..at)?.concat();
    let after = lines.get(at + 1..)?;
    let is_inside =
        |line: &&&str| line.trim().is_empty() || line.len() - line.trim_start_matches(' ').len() > indent;
    let inside = after.iter().take_while(is_inside).count();
    let (inside, after) = after.split_at_checked(inside)?;
    // Empty lines behind the Cedar are not part of it.
    let said = inside.iter().rposition(|line| !line.trim().is_empty()).map_or(0, |last| last + 1);
    let (inside, empty) = inside.split_at_checked(said)?;
    let header = match rest {
        "|" | "|-" | "|+" => rest,
        // A text on the line itself.
        rest if inside.is_empty() && !rest.contains(" #") && read(rest)?.as_str() == Some(old) => "|",
        _ => return None,
    };
    let depth = match inside.iter().find(|line| !line.trim().is_empty()) {
        Some(first) => first.len() - first.trim_start_matches(' ').len(),
        None => indent + 2,
    };
    let margin = " ".repeat(depth);
    let mut text = format!("{before}{}cedar: {header}\n", " ".repeat(indent));
    for line in new {
        match line.is_empty() {
            true => text.push('\n'),
            false => text.push_str(&format!("{margin}{line}\n")),
        }
    }
    text.push_str(&empty.concat());
    text.push_str(&after.concat());
    Some(text)
}
