//! A `List` of `v1`, as `kubectl get -o yaml` prints several objects: each of them is read as a document of its own.

use serde_json::Value;

use crate::document::Document;
use crate::field_line::item_lines;

/// The objects of a document: itself, or those of a list, each with its line. `text` is that of the document, which begins at line `begins`.
pub(crate) fn documents(text: &str, begins: u32, document: Document) -> Vec<Document> {
    let items = match document.content {
        Ok(Value::Object(members)) if is_list(&members) => match members.get("items") {
            Some(Value::Array(items)) => items.clone(),
            _ => Vec::new(),
        },
        content => return vec![Document { content, ..document }],
    };
    let lines = item_lines(text);
    let line = |number: usize| match lines.get(number) {
        Some(line) => begins.saturating_add(line.saturating_sub(1)),
        None => document.line,
    };
    let item = |(number, item): (usize, Value)| Document { line: line(number), content: Ok(item) };
    items.into_iter().enumerate().map(item).collect()
}

fn is_list(members: &serde_json::Map<String, Value>) -> bool {
    let is = |member: &str, text: &str| members.get(member).and_then(Value::as_str) == Some(text);
    let known = ["apiVersion", "kind", "metadata", "items"];
    is("apiVersion", "v1")
        && is("kind", "List")
        && members.get("items").is_some_and(Value::is_array)
        && members.keys().all(|member| known.contains(&&**member))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::pieces;

    fn of(text: &str) -> Vec<(u32, bool)> {
        let read = |piece: &crate::document::Piece<'_>| {
            documents(piece.text, piece.line, piece.read().expect("a document"))
        };
        let pieces = pieces(text);
        let all = pieces.iter().filter(|piece| !piece.text.trim().is_empty()).flat_map(read);
        all.map(|one| (one.line, one.content.is_ok())).collect()
    }

    #[test]
    fn each_object_of_a_list_is_a_document_at_its_line() {
        let text = "kind: Agent\n---\napiVersion: v1\nitems:\n- kind: Agent\n  metadata: {name: a}\n- kind: Policy\nkind: List\nmetadata:\n  resourceVersion: \"\"\n";
        assert_eq!(of(text), [(1, true), (5, true), (7, true)]);
        assert_eq!(of("apiVersion: v1\nitems: []\nkind: List\n"), []);
        // What is none is told as what it is.
        for other in [
            "kind: List\nitems: [{kind: Agent}]\n",
            "apiVersion: v1\nkind: List\nitems: 7\n",
            "apiVersion: v1\nkind: List\nitem: [{kind: Agent}]\n",
            "apiVersion: v1\nkind: List\nitems: []\nItems: [{kind: Agent}]\n",
            "a: [\n",
        ] {
            assert_eq!(of(other).len(), 1, "{other}");
        }
        let json = "{\"apiVersion\": \"v1\", \"kind\": \"List\", \"items\": [\n {\"kind\": \"Agent\"},\n {\"kind\": \"Agent\"}]}";
        let read = documents(json, 1, crate::document::json(json));
        assert_eq!(read.iter().map(|one| one.line).collect::<Vec<_>>(), [2, 3]);
    }
}
