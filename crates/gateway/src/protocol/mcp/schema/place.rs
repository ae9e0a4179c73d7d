//! Where arguments are not what a schema with choices (`anyOf`, `oneOf`) lets them be. What is wrong with each choice, and with each in it, would be looked for
//! without end. So each member is held to its own subschema, and asked is only whether it fits: what is compiled for that is kept, and a few
//! levels are gone down.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use serde_json::{Map, Value};
use vidimus_core::json_schema::{self, Compiled};

use super::Member;

/// So many levels of members are gone down.
const LEVELS: usize = 4;
/// So many references are followed one after another.
const REFERENCES: usize = 8;
/// What references lead to, and how they are read.
const KEPT: [&str; 4] = ["$schema", "$id", "$defs", "definitions"];
/// What a schema says of an object by itself, whatever its members are.
const OF_ITSELF: [&str; 5] = ["type", "required", "minProperties", "maxProperties", "dependentRequired"];

/// The levels of one schema.
#[derive(Debug)]
pub(super) struct Places {
    root: Value,
    top: Option<Level>,
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
    /// Those, from when one of them was wrong.
    below: BTreeMap<String, OnceLock<Option<Box<Level>>>>,
}

impl Places {
    pub(super) fn of(schema: &str) -> Option<Self> {
        let root: Value = serde_json::from_str(schema).ok()?;
        let top = Level::of(&root, (String::new(), &root));
        Some(Self { root, top })
    }

    /// Where in the schema it stands what a value is not, and which member it is; `None` where that is said by none alone.
    pub(super) fn find(&self, value: &Value, member: Member) -> Option<(String, Option<String>)> {
        self.top.as_ref()?.find(&self.root, (value, member), LEVELS)
    }
}

impl Level {
    fn of(root: &Value, (mut at, mut schema): (String, &Value)) -> Option<Self> {
        for _ in 0..REFERENCES {
            let Some(reference) = schema.get("$ref").and_then(Value::as_str) else { break };
            let pointer = reference.strip_prefix('#')?;
            (at, schema) = (pointer.to_owned(), root.pointer(pointer)?);
        }
        let said = schema.as_object()?;
        let text = schema.to_string();
        if !["anyOf", "oneOf", "$ref"].iter().any(|word| text.contains(word)) {
            let own = compiled(root, said.clone());
            return Some(Self { at, own, members: None, below: BTreeMap::new() });
        }
        let properties = said.get("properties").and_then(Value::as_object);
        let members = properties.and_then(|all| {
            let each = Map::from_iter([("properties".to_owned(), Value::Object(all.clone()))]);
            compiled(root, each)
        });
        let names = properties.into_iter().flat_map(Map::keys);
        let below = names.map(|name| (name.clone(), OnceLock::new())).collect();
        Some(Self { at, own: compiled(root, of_itself(said)), members, below })
    }

    fn find(
        &self,
        root: &Value,
        (value, member): (&Value, Member),
        left: usize,
    ) -> Option<(String, Option<String>)> {
        if let Some(Err(error)) = self.own.as_ref().map(|own| own.validator().validate(value)) {
            return Some((format!("{}{}", self.at, error.schema_path().as_str()), member(error.kind())));
        }
        let members = self.members.as_ref()?;
        let is_wrong = |(name, value): &(&String, &Value)| {
            let alone = Map::from_iter([((*name).clone(), (*value).clone())]);
            !members.validator().is_valid(&Value::Object(alone))
        };
        let (name, value) = value.as_object()?.iter().find(is_wrong)?;
        let at = format!("{}/properties/{}", self.at, name.replace('~', "~0").replace('/', "~1"));
        let below = self.below.get(name).filter(|_| left > 1);
        let below = below.and_then(|below| {
            let level = || Level::of(root, (at.clone(), root.pointer(&at)?)).map(Box::new);
            below.get_or_init(level).as_deref()
        });
        below.and_then(|level| level.find(root, (value, member), left.saturating_sub(1))).or(Some((at, None)))
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
