//! At which line of its file a field of an object stands. Looked up when it is asked for: what is read to be in force knows the lines of
//! documents only.

use std::fmt;
use std::path::Path;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

use crate::document::{options, pieces};

/// The line, 1-based, of `field` (`spec.identities[1].oidc.issuer`) in the document of `file` that begins at line `begins`. Of a field
/// that is missing, that of the deepest one around it. `None` where the file cannot be read any more, or says nothing of the field.
pub fn field_line(file: &Path, begins: u32, field: &str) -> Option<u32> {
    let text = std::fs::read_to_string(file).ok()?;
    let pieces = pieces(&text);
    let piece = pieces.iter().rfind(|piece| piece.line <= begins)?;
    let node: Node = serde_saphyr::from_str_with_options(piece.text, options()).ok()?;
    let of_piece = node.object_at(begins.saturating_sub(piece.line).saturating_add(1)).line(steps(field))?;
    Some(piece.line.saturating_add(u32::try_from(of_piece).ok()?.checked_sub(1)?))
}

/// The lines, 1-based, of the members of `items` in a text; none where there is no such list.
pub(crate) fn item_lines(text: &str) -> Vec<u32> {
    let node: Result<Node, _> = serde_saphyr::from_str_with_options(text, options());
    let items = node.as_ref().ok().and_then(Node::items).unwrap_or_default();
    items.iter().map(|item| u32::try_from(item.referenced.line()).unwrap_or_default()).collect()
}

/// A step into a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step<'a> {
    Member(&'a str),
    /// A member whose name may hold anything, as it stands in the field: in quotes.
    Quoted(&'a str),
    Item(usize),
}

/// The steps of a field: `.name`, `[3]`, and `["a/b"]` of a name that could be misread.
fn steps(field: &str) -> impl Iterator<Item = Step<'_>> {
    let mut rest = field;
    std::iter::from_fn(move || {
        rest = rest.trim_start_matches(['.', ']']);
        let inner = rest.strip_prefix('[');
        if let Some(quoted) = inner.filter(|inner| inner.starts_with('"')) {
            let (name, after) = quoted.split_at_checked(length_in_quotes(quoted)?)?;
            rest = after;
            return Some(Step::Quoted(name));
        }
        let inner = inner.unwrap_or(rest);
        let (part, after) = inner.split_at_checked(inner.find(['.', '[']).unwrap_or(inner.len()))?;
        rest = after;
        (!part.is_empty()).then(|| match part.strip_suffix(']').map(str::parse) {
            Some(Ok(index)) => Step::Item(index),
            _ => Step::Member(part),
        })
    })
}

/// How long a text in quotes is, with both of them.
fn length_in_quotes(text: &str) -> Option<usize> {
    let mut is_escaped = false;
    let mut bytes = text.bytes().enumerate().skip(1);
    let end = bytes.find(|(_, byte)| {
        let is_end = *byte == b'"' && !is_escaped;
        is_escaped = *byte == b'\\' && !is_escaped;
        is_end
    });
    end.map(|(at, _)| at.saturating_add(1))
}

/// Whether the name of a member is what stands in quotes in a field, where a long one is cut.
fn is_in_quotes(name: &str, quoted: &str) -> bool {
    let written = format!("{name:?}");
    match quoted.strip_suffix("…\"") {
        Some(beginning) => written.starts_with(beginning),
        None => written == quoted,
    }
}

/// A value, of which only the places are of interest.
#[derive(Debug)]
enum Node {
    Mapping(Vec<(String, Spanned<Node>)>),
    Sequence(Vec<Spanned<Node>>),
    Scalar,
}

impl Node {
    /// The member of `items` that begins at this line; where none does, the whole.
    fn object_at(&self, line: u32) -> &Self {
        let items = self.items().unwrap_or_default();
        let found = items.iter().find(|item| item.referenced.line() == u64::from(line));
        found.map_or(self, |item| &item.value)
    }

    fn items(&self) -> Option<&[Spanned<Self>]> {
        let Self::Mapping(members) = self else { return None };
        let (_, items) = members.iter().find(|(member, _)| member == "items")?;
        match &items.value {
            Self::Sequence(items) => Some(items),
            Self::Mapping(_) | Self::Scalar => None,
        }
    }

    fn line<'a>(&self, steps: impl Iterator<Item = Step<'a>>) -> Option<u64> {
        let (mut node, mut line) = (self, None);
        for step in steps {
            let next = match (node, step) {
                (Self::Mapping(members), Step::Member(name)) => {
                    members.iter().find(|(member, _)| member == name).map(|(_, value)| value)
                }
                (Self::Mapping(members), Step::Quoted(quoted)) => {
                    members.iter().find(|(member, _)| is_in_quotes(member, quoted)).map(|(_, value)| value)
                }
                (Self::Sequence(items), Step::Item(index)) => items.get(index),
                _ => None,
            };
            let Some(next) = next else { break };
            (node, line) = (&next.value, Some(next.referenced.line()));
        }
        line.filter(|line| *line > 0)
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Places)
    }
}

struct Places;

/// What is no mapping and no sequence.
macro_rules! scalar {
    ($($visit:ident($value:ty))*) => {
        $(fn $visit<E: serde::de::Error>(self, _: $value) -> Result<Node, E> {
            Ok(Node::Scalar)
        })*
    };
}

impl<'de> Visitor<'de> for Places {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(Node::Mapping(members))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let mut found = Vec::new();
        while let Some(item) = items.next_element()? {
            found.push(item);
        }
        Ok(Node::Sequence(found))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        Node::deserialize(deserializer)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Node::Scalar)
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_none<E: serde::de::Error>(self) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    scalar! { visit_bool(bool) visit_i64(i64) visit_u64(u64) visit_i128(i128) visit_u128(u128) visit_f64(f64) visit_str(&str) visit_bytes(&[u8]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# a comment
kind: Agent
metadata: {name: a, namespace: n}
spec:
  riskLevel: low
---
kind: Agent
metadata:
  name: b
  labels:
    tier: one
spec:
  owner: nobody
  identities:
    - oidc: {issuer: a, subject: b}
    - oidc:
        issuer: c
        subject: 7
  cedar: |
    permit (principal, action, resource);
";

    /// Names that hold anything: paths of an API, tools, labels.
    #[test]
    fn a_field_whose_name_stands_in_quotes_is_found() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("a.yaml");
        let long = "/long".repeat(40);
        let text = format!(
            "spec:\n  document:\n    paths:\n      /a: {{get: 1}}\n      '/a/{{id}}.json[0]':\n        post: {{a: 1}}\n        'say \"]': 2\n      {long}: {{get: 1}}\n"
        );
        std::fs::write(&file, text).expect("written");
        let cut: String = long.chars().take(119).collect();
        let of_long = format!("spec.document.paths[\"{cut}…\"].get");
        for (field, line) in [
            (r#"spec.document.paths["/a/{id}.json[0]"].post"#, Some(6)),
            (r#"spec.document.paths["/a/{id}.json[0]"]["say \"]"]"#, Some(7)),
            (of_long.as_str(), Some(8)),
            // Of what is not there, or ends nowhere, that of what is around it.
            (r#"spec.document.paths["/b"].get"#, Some(4)),
            (r#"spec.document.paths["/a"#, Some(4)),
        ] {
            assert_eq!(field_line(&file, 1, field), line, "{field}");
        }
    }

    #[test]
    fn a_field_is_found_in_its_own_document() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("a.yaml");
        std::fs::write(&file, TEXT).expect("written");
        for (begins, field, line) in [
            (2, "spec.riskLevel", Some(5)),
            (2, "metadata.name", Some(3)),
            (7, "metadata.name", Some(9)),
            (7, "metadata.labels.tier", Some(11)),
            (7, "spec.owner", Some(13)),
            (7, "spec.identities[0].oidc.issuer", Some(15)),
            (7, "spec.identities[1].oidc.issuer", Some(17)),
            (7, "spec.identities[1].oidc.subject", Some(18)),
            (7, "nothing", None),
            (7, "", None),
        ] {
            assert_eq!(field_line(&file, begins, field), line, "{begins} {field}");
        }
        // A block of text begins where it is announced, or in the line after it.
        let cedar = field_line(&file, 7, "spec.cedar");
        assert!(cedar.is_some_and(|line| (19..=20).contains(&line)), "{cedar:?}");
        // Of what is missing, where what it belongs to is.
        let around = field_line(&file, 7, "spec.identities[1].oidc.claims");
        assert!(around.is_some_and(|line| (16..=17).contains(&line)), "{around:?}");
        let json = directory.path().join("a.json");
        std::fs::write(&json, "{\"spec\": {\n  \"owner\": 3}}").expect("written");
        assert_eq!(field_line(&json, 1, "spec.owner"), Some(2));
        let list = "apiVersion: v1\nkind: List\nitems:\n- kind: Agent\n  spec: {owner: a}\n- kind: Agent\n  spec:\n    owner: b\n";
        std::fs::write(&file, list).expect("written");
        assert_eq!(field_line(&file, 4, "spec.owner"), Some(5), "of an object of a list");
        assert_eq!(field_line(&file, 6, "spec.owner"), Some(8));
        std::fs::write(&file, "a: [").expect("written");
        assert_eq!(field_line(&file, 1, "a"), None);
        assert_eq!(field_line(&directory.path().join("none"), 1, "a"), None);
    }
}
