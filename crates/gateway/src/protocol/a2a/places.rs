//! Where ids stand in what an agent says, found in one pass and without a copy.
//!
//! Ids stand in fixed members of tasks, messages, updates and configurations of push notifications, which nest in each other; the
//! parts of messages and artifacts are the agent's own words and are passed over, as is all else.

use std::fmt;

use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use serde_json::value::RawValue;

use crate::protocol::is_same_member;
use crate::protocol::members::{Name, check_unique};

/// What an id is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Id {
    Task,
    /// A configuration of push notifications.
    Config,
    Context,
    /// Tasks, in a list of ids.
    References,
    /// The token of the next page of a list of configurations.
    Page,
}

/// Where an id stands, in the order of the text.
pub type Place<'d> = (Id, &'d RawValue);

/// How deep such objects nest in each other: a task, its status, a message. What is deeper is no id's place.
const DEEPEST: u8 = 8;

/// The places of ids in the `result` of a JSON-RPC response, and in its `error`. `own`: what a member `id` is of, unless the object is a message.
///
/// # Errors
/// For what is no JSON object, and for one with a member twice: which one counts depends on the reader.
pub fn of_response(json: &str, own: Id) -> serde_json::Result<Vec<Place<'_>>> {
    find(json, |places| Walk { places, own, levels: DEEPEST + 1, in_response: true, all: false })
}

/// The places of ids in one such object.
///
/// # Errors
/// As [`of_response`].
pub fn of_object(json: &str) -> serde_json::Result<Vec<Place<'_>>> {
    find(json, |places| Walk { places, own: Id::Task, levels: DEEPEST, in_response: false, all: false })
}

fn find<'d>(
    json: &'d str,
    walk: impl for<'p> FnOnce(&'p mut Vec<Place<'d>>) -> Walk<'p, 'd>,
) -> serde_json::Result<Vec<Place<'d>>> {
    let mut places = Vec::new();
    let mut reader = serde_json::Deserializer::from_str(json);
    reader.deserialize_map(walk(&mut places))?;
    reader.end()?;
    Ok(places)
}

/// A configuration of push notifications.
const CONFIG: &str = "pushNotificationConfig";

/// The same, as 1.0 has it.
const TASK_CONFIG: &str = "taskPushNotificationConfig";

/// The members that hold tasks, messages, updates and configurations.
pub const NESTED: [&str; 9] = [
    "task",
    "message",
    "statusUpdate",
    "artifactUpdate",
    "status",
    "history",
    "configs",
    CONFIG,
    TASK_CONFIG,
];

/// The members that are read, as the protocol writes them. Some readers take other spellings for the same.
const READ: [&str; 14] = [
    "id",
    "taskId",
    "contextId",
    "referenceTaskIds",
    "messageId",
    "task",
    "tasks",
    "message",
    "statusUpdate",
    "artifactUpdate",
    "history",
    "configs",
    CONFIG,
    TASK_CONFIG,
];

/// A member's name as the protocol writes it.
fn as_written(name: &str) -> &str {
    if READ.contains(&name) {
        return name;
    }
    // Nearly all names differ from all of these in their first letter.
    let first = name.bytes().next().map(|first| first.to_ascii_lowercase());
    let looks_so = |known: &&&str| {
        !name.is_ascii() || first == Some(b'_') || name.len() >= known.len() && known.bytes().next() == first
    };
    let known = READ.iter().filter(looks_so).find(|known| is_same_member(name, known));
    known.map_or(name, |known| known)
}

/// One value, being read.
struct Walk<'p, 'd> {
    places: &'p mut Vec<Place<'d>>,
    own: Id,
    /// How many more objects may nest.
    levels: u8,
    /// It is a JSON-RPC response, of which result and error are read.
    in_response: bool,
    /// Ids may stand anywhere in it: nothing in it is the agent's own words.
    all: bool,
}

impl<'d> Walk<'_, 'd> {
    /// What stands in it.
    fn within(&mut self) -> Walk<'_, 'd> {
        let levels = self.levels.saturating_sub(1);
        Walk { places: self.places, own: self.own, levels, in_response: false, all: self.all }
    }

    /// The result of a response; its own members are not those of tasks.
    fn response<M: MapAccess<'d>>(&mut self, mut map: M) -> Result<(), M::Error> {
        let mut names = Vec::new();
        while let Some(Name(name)) = map.next_key()? {
            match &*name {
                "result" => {
                    // A configuration has a fixed form; what an agent adds to it may be the configuration itself.
                    self.all = self.own == Id::Config;
                    map.next_value_seed(self.within())?;
                }
                "error" => {
                    // Its own `id` is not known to be a task's.
                    let levels = self.levels.saturating_sub(1);
                    let (places, own) = (&mut *self.places, Id::Config);
                    map.next_value_seed(Walk { places, own, levels, in_response: false, all: true })?;
                }
                _ => skip(&mut map)?,
            }
            names.push(name);
        }
        check_unique(names.iter())
    }

    fn object<M: MapAccess<'d>>(&mut self, mut map: M) -> Result<(), M::Error> {
        let (mut names, mut own) = (Vec::new(), None);
        let (mut is_message, mut has_config) = (false, false);
        while let Some(Name(name)) = map.next_key()? {
            match as_written(&name) {
                "id" => own = Some((self.places.len(), map.next_value()?)),
                "taskId" => self.places.push((Id::Task, map.next_value()?)),
                "contextId" => self.places.push((Id::Context, map.next_value()?)),
                "referenceTaskIds" => self.places.push((Id::References, map.next_value()?)),
                "nextPageToken" if self.own == Id::Config => self.places.push((Id::Page, map.next_value()?)),
                nested if self.all || nested == "tasks" || NESTED.contains(&nested) => {
                    has_config |= nested == CONFIG;
                    map.next_value_seed(self.within())?;
                }
                other => {
                    is_message |= other == "messageId";
                    skip(&mut map)?;
                }
            }
            names.push(name);
        }
        check_unique(names.iter())?;
        // A message has another id, and no other of these has one that is not a task's.
        if let Some((at, id)) = own.filter(|_| !is_message) {
            // Beside a configuration stands the task's.
            let of = if has_config { Id::Task } else { self.own };
            self.places.insert(at.min(self.places.len()), (of, id));
        }
        Ok(())
    }
}

fn skip<'d, M: MapAccess<'d>>(map: &mut M) -> Result<(), M::Error> {
    map.next_value::<IgnoredAny>().map(|_| ())
}

impl<'d> DeserializeSeed<'d> for Walk<'_, 'd> {
    type Value = ();

    fn deserialize<D: Deserializer<'d>>(self, deserializer: D) -> Result<(), D::Error> {
        match self.levels {
            0 => IgnoredAny::deserialize(deserializer).map(|_| ()),
            _ => deserializer.deserialize_any(self),
        }
    }
}

impl<'d> Visitor<'d> for Walk<'_, 'd> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<M: MapAccess<'d>>(mut self, map: M) -> Result<(), M::Error> {
        if self.in_response { self.response(map) } else { self.object(map) }
    }

    fn visit_seq<S: SeqAccess<'d>>(mut self, mut items: S) -> Result<(), S::Error> {
        // Its items stand where it stands.
        self.levels = self.levels.saturating_add(1);
        while items.next_element_seed(self.within())?.is_some() {}
        Ok(())
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(json: &str, own: Id) -> Option<String> {
        let places = of_response(json, own).ok()?;
        Some(places.iter().map(|(id, value)| format!("{id:?}={}", value.get())).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn ids_are_found_where_they_stand_and_nowhere_else() {
        for (result, expected) in [
            ("{}", Some("")),
            ("7", Some("")),
            (r#"{"task":{"id":"t","contextId":"c"}}"#, Some(r#"Task="t" Context="c""#)),
            (
                r#"{"id":"t","status":{"message":{"messageId":"m","id":"x","taskId":"t"}}}"#,
                Some(r#"Task="t" Task="t""#),
            ),
            (r#"{"status":{"message":{"taskId":"b"}},"id":"a"}"#, Some(r#"Task="b" Task="a""#)),
            (
                r#"{"message":{"messageId":"m","referenceTaskIds":["a","b"]}}"#,
                Some(r#"References=["a","b"]"#),
            ),
            (r#"{"history":[{"taskId":"a"},{"contextId":"c"},7]}"#, Some(r#"Task="a" Context="c""#)),
            (r#"{"artifacts":[{"id":"x","parts":[{"taskId":"x"}]}],"metadata":{"id":"x"}}"#, Some("")),
            (r#"{"t\u0061skId":"a"}"#, Some(r#"Task="a""#)),
            (r#"{"task_id":"a","TaskId":"b","CONTEXT_ID":"c"}"#, Some(r#"Task="a" Task="b" Context="c""#)),
            (r#"{"Task":{"ID":"a"},"status_update":{"task_id":"b"}}"#, Some(r#"Task="a" Task="b""#)),
            (r#"{"id":"a","Tasks":[{"id":"b"}]}"#, Some(r#"Task="a" Task="b""#)),
            (r#"{"taskIds":"a","idx":"b","nextPageToken":"c"}"#, Some("")),
            (r#"{"taskId":7,"id":null}"#, Some("Task=7 Task=null")),
            (r#"{"id":"a","id":"b"}"#, None),
            (r#"{"task":{},"t\u0061sk":{}}"#, None),
            // Which one counts depends on the reader, also of what is not read here.
            (r#"{"kind":"task","kind":"message"}"#, None),
        ] {
            let response = format!(r#"{{"jsonrpc":"2.0","id":"own","result":{result}}}"#);
            assert_eq!(found(&response, Id::Task).as_deref(), expected, "{result}");
        }
        for (config, expected) in [
            (r#"{"id":"c","taskId":"t"}"#, r#"Config="c" Task="t""#),
            (r#"{"id":"t","pushNotificationConfig":{"id":"c"}}"#, r#"Task="t" Config="c""#),
            (r#"{"config":{"id":"c","task_id":"t"}}"#, r#"Config="c" Task="t""#),
            (r#"{"a":{"b":[{"taskId":"t"}]},"authentication":{"scheme":"x"}}"#, r#"Task="t""#),
            (r#"{"configs":[{"id":"c"}],"nextPageToken":"p"}"#, r#"Config="c" Page="p""#),
        ] {
            let response = format!(r#"{{"result":{config}}}"#);
            assert_eq!(found(&response, Id::Config).as_deref(), Some(expected), "{config}");
        }
        for (error, expected) in [
            (r#"{"code":-32001,"message":"no task t"}"#, ""),
            (r#"{"data":{"taskId":"t"}}"#, r#"Task="t""#),
            (r#"{"data":[{"@type":"x","metadata":{"taskId":"t","id":"t"}}]}"#, r#"Task="t" Config="t""#),
        ] {
            let found = found(&format!(r#"{{"error":{error}}}"#), Id::Task);
            assert_eq!(found.as_deref(), Some(expected), "{error}");
        }
        for bad in [
            r#"{"result":{},"result":{}}"#,
            r#"{"id":1,"id":2,"result":{}}"#,
            "[]",
            r#"[{"result":{}}]"#,
            "{",
            r#"{"result":{}} x"#,
        ] {
            assert_eq!(found(bad, Id::Task), None, "{bad}");
        }
    }

    #[test]
    fn what_is_too_deep_is_no_place() {
        for (deep, expected) in [(7, r#"Task="t""#), (8, "")] {
            // Lists are no depth.
            for (open, close) in [(r#"{"task":"#, "}"), (r#"{"history":["#, "]}")] {
                let (open, close) = (open.repeat(deep), close.repeat(deep));
                let result = format!(r#"{{"result":{open}{{"taskId":"t"}}{close}}}"#);
                assert_eq!(found(&result, Id::Task).as_deref(), Some(expected), "{result}");
            }
        }
    }
}
