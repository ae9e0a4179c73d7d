//! A JSON object with other members, where all others stay as they were written.

use crate::protocol::members::{Members, quoted};

/// An object without some members and with others, which are JSON; a member that is set stands last. `None` for what is no object.
pub fn with(object: &str, without: &[&str], set: &[(&str, &str)]) -> Option<String> {
    let members: Members<'_> = serde_json::from_str(object).ok()?;
    let is_kept = |name: &str| !without.contains(&name) && set.iter().all(|(other, _)| *other != name);
    let kept = members.0.iter().filter(|(name, _)| is_kept(name)).map(|(name, value)| (&**name, value.get()));
    let mut out = String::with_capacity(object.len() + 64);
    for (name, value) in kept.chain(set.iter().copied()) {
        out.push(if out.is_empty() { '{' } else { ',' });
        out.push_str(&quoted(name));
        out.push(':');
        out.push_str(value);
    }
    if out.is_empty() {
        out.push('{');
    }
    out.push('}');
    Some(out)
}

/// JSON in one line: a line feed stands between its tokens only, where a space is the same.
pub fn line(json: &str) -> String {
    json.replace(['\n', '\r'], " ")
}

/// A response with a result, by the id of its request; both are JSON.
pub fn result(id: &str, result: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#)
}

/// A response with an error.
pub fn error(id: &str, number: i64, message: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":{number},"message":{}}}}}"#, quoted(message))
}
