//! Where arguments are not what a schema with choices (`anyOf`, `oneOf`) lets them be. What is wrong with each choice, and with each in it, would be looked for
//! without end. So each member is held to its own subschema, and asked is only whether it fits: what is compiled for that is kept, and a few
//! levels are gone down.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Map, Value};
use vidimus_core::json_schema::{self, Compiled};

use super::Member;

/// So many levels of members are gone down.
const LEVELS: usize = 4;
/// So many objects of one schema are kept compiled: of more, none is gone down to.
const MOST_LEVELS: usize = 32;
/// So many references are followed one after another.
const REFERENCES: usize = 8;
/// What references lead to, and how they are read.
const KEPT: [&str; 4] = ["$schema", "$id", "$defs", "definitions"];
/// What a schema says of an object by itself, whatever its members are.
const OF_ITSELF: [&str; 5] = ["type", "required", "minProperties", "maxProperties", "dependentRequired"];

/// The objects of one schema that were looked at.
#[derive(Debug)]
pub(super) struct Places {
    root: Value,
    /// By where they stand in the schema.
    levels: Mutex<BTreeMap<String, Arc<Level>>>,
}

/// An object of a schema, compiled in the parts by which a place is found.
#[derive(Debug)]
struct Level {
    /// Where it stands in the schema.
    at: String,
    /// What it says without choices.
    own: Option<Compiled>,
    /// What it says of each member by itself.
    members: Option<Compiled>,
}

/// What of a value is wrong at one level.
enum Wrong<'v> {
    /// It is so by what stands at this place; which member it is.
    Here(String, Option<String>),
    /// A member is, whose subschema stands at this place.
    Member(String, &'v Value),
}

impl Places {
    pub(super) fn of(schema: &str) -> Option<Self> {
        Some(Self { root: serde_json::from_str(schema).ok()?, levels: Mutex::default() })
    }

    /// Where in the schema it stands what a value is not, and which member it is; `None` where that is said by none alone.
    pub(super) fn find(&self, mut value: &Value, member: Member) -> Option<(String, Option<String>)> {
        let (mut at, mut found) = (String::new(), None);
        for _ in 0..LEVELS {
            match self.level(at).and_then(|level| level.wrong(value, member)) {
                Some(Wrong::Here(place, member)) => return Some((place, member)),
                Some(Wrong::Member(place, inner)) => {
                    (at, value) = (place.clone(), inner);
                    found = Some((place, None));
                }
                None => break,
            }
        }
        found
    }

    /// What stands at a place, or where a reference there leads; `None` where that is no object of the schema, or there are too many already.
    fn level(&self, mut at: String) -> Option<Arc<Level>> {
        let mut schema = self.root.pointer(&at)?;
        for _ in 0..REFERENCES {
            let Some(reference) = schema.get("$ref").and_then(Value::as_str) else { break };
            reference.strip_prefix('#')?.clone_into(&mut at);
            schema = self.root.pointer(&at)?;
        }
        let levels = || self.levels.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = levels().get(&at) {
            return Some(known.clone());
        }
        if levels().len() >= MOST_LEVELS {
            return None;
        }
        let level = Arc::new(Level::of(&self.root, at.clone(), schema)?);
        levels().insert(at, level.clone());
        Some(level)
    }
}

impl Level {
    fn of(root: &Value, at: String, schema: &Value) -> Option<Self> {
        let said = schema.as_object()?;
        let text = schema.to_string();
        if !["anyOf", "oneOf", "$ref"].iter().any(|word| text.contains(word)) {
            return Some(Self { at, own: compiled(root, said.clone()), members: None });
        }
        let properties = said.get("properties").filter(|properties| properties.is_object());
        let members = properties
            .and_then(|all| compiled(root, Map::from_iter([("properties".to_owned(), all.clone())])));
        Some(Self { at, own: compiled(root, of_itself(said)), members })
    }

    fn wrong<'v>(&self, value: &'v Value, member: Member) -> Option<Wrong<'v>> {
        if let Some(Err(error)) = self.own.as_ref().map(|own| own.validator().validate(value)) {
            let at = format!("{}{}", self.at, error.schema_path().as_str());
            return Some(Wrong::Here(at, member(error.kind())));
        }
        let members = self.members.as_ref()?;
        let is_wrong = |(name, value): &(&String, &Value)| {
            let alone = Map::from_iter([((*name).clone(), (*value).clone())]);
            !members.validator().is_valid(&Value::Object(alone))
        };
        let (name, value) = value.as_object()?.iter().find(is_wrong)?;
        let at = format!("{}/properties/{}", self.at, name.replace('~', "~0").replace('/', "~1"));
        Some(Wrong::Member(at, value))
    }
}

/// What a schema says of an object but for its members: only that they are there.
fn of_itself(said: &Map<String, Value>) -> Map<String, Value> {
    let mut own = Map::new();
    for (name, value) in said {
        let kept = match (name.as_str(), value) {
            (word, _) if OF_ITSELF.contains(&word) => value.clone(),
            ("additionalProperties", Value::Bool(_)) => value.clone(),
            ("properties" | "patternProperties", Value::Object(all)) => {
                Value::Object(all.keys().map(|name| (name.clone(), Value::Bool(true))).collect())
            }
            _ => continue,
        };
        own.insert(name.clone(), kept);
    }
    own
}

/// A part of a schema as it is used; `None` where it cannot be, as where it leads to what is no part of it.
fn compiled(root: &Value, part: Map<String, Value>) -> Option<Compiled> {
    let kept = KEPT.iter().filter_map(|name| Some(((*name).to_owned(), root.get(name)?.clone())));
    let whole: Map<String, Value> = kept.chain(part).collect();
    json_schema::compile(&Value::Object(whole).to_string()).ok()
}
