//! JSON Schemas that something is held to: the arguments and results of a pinned tool (ADR 76), and what a guard of a policy's own looks at (ADR 87).
//!
//! The schema may be a server's, and what is held to it a caller's, so each may be made to take long. Nothing is fetched for a reference, and a pattern
//! is matched in linear time (crate `jsonschema`). What references lead to is validated as often as they lead there, which doubles with each step
//! of a chain of pairs, so a schema that comes to too much is none that anything is held to (`check_size`).

mod closed;
mod keywords;

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use jsonschema::{PatternOptions, Validator};
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use closed::closed;
pub(crate) use keywords::check as check_keywords;

/// The longest schema that anything is held to, in bytes.
pub const MAX_SCHEMA: usize = 64 * 1024;
/// The most memory that a pattern may take when it is compiled, in bytes.
const MAX_PATTERN: usize = 1024 * 1024;
/// How many patterns a schema may have.
pub const MAX_PATTERNS: usize = 64;

/// The drafts of JSON Schema that are held to, below the address of json-schema.org.
const DRAFTS: [&str; 4] =
    ["draft-06/schema", "draft-07/schema", "draft/2019-09/schema", "draft/2020-12/schema"];
/// How many values a schema may come to, when each reference stands for what it leads to.
const MAX_EXPANDED: usize = 50_000;
/// How much it may take to hold something to a schema: its values, each at every value that the schema comes to. A million are some milliseconds.
const MAX_WORK: usize = 50_000_000;
/// How many references may lead on from one another.
const MAX_REFERENCES: usize = 64;

/// A schema, compiled. Two of one text are the same.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HeldSchema {
    text: Arc<str>,
    compiled: Arc<Compiled>,
}

impl HeldSchema {
    /// Whether a value is what the schema lets it be.
    pub fn lets(&self, value: &Value) -> bool {
        self.compiled.lets(value)
    }

    /// Whether it would take too long to hold all of these to it.
    pub fn is_too_much(&self, values: &[Value]) -> bool {
        self.compiled.is_too_much(values)
    }
}

impl TryFrom<String> for HeldSchema {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let compiled = Arc::new(compile(&text)?);
        Ok(Self { text: text.into(), compiled })
    }
}

impl From<HeldSchema> for String {
    fn from(schema: HeldSchema) -> Self {
        schema.text.to_string()
    }
}

impl PartialEq for HeldSchema {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for HeldSchema {}

impl PartialOrd for HeldSchema {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for HeldSchema {
    fn cmp(&self, other: &Self) -> Ordering {
        self.text.cmp(&other.text)
    }
}

impl Hash for HeldSchema {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

/// A schema as it is used.
#[derive(Debug)]
pub struct Compiled {
    validator: Validator,
    /// How many values it comes to, when each reference stands for what it leads to.
    size: usize,
}

impl Compiled {
    /// Whether a value is what the schema lets it be. What has too many values for it is not.
    pub fn lets(&self, value: &Value) -> bool {
        !self.is_too_much(std::slice::from_ref(value)) && self.validator.is_valid(value)
    }

    /// Whether it would take too long to hold all of these to it.
    pub fn is_too_much(&self, values: &[Value]) -> bool {
        values.iter().map(count).sum::<usize>().saturating_mul(self.size) > MAX_WORK
    }

    /// What says why a value is not what it has to be.
    pub const fn validator(&self) -> &Validator {
        &self.validator
    }
}

/// How many values there are in one.
fn count(value: &Value) -> usize {
    match value {
        Value::Array(values) => 1 + values.iter().map(count).sum::<usize>(),
        Value::Object(members) => 1 + members.values().map(count).sum::<usize>(),
        _ => 1,
    }
}

/// Compiles a schema.
///
/// # Errors
/// Why it cannot be, in words that go on from "it cannot be held to: ".
pub fn compile(text: &str) -> Result<Compiled, String> {
    if text.len() > MAX_SCHEMA {
        return Err(format!("it is larger than {MAX_SCHEMA} bytes"));
    }
    let schema: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let draft_is_known = match schema.get("$schema") {
        Some(draft) => draft.as_str().is_some_and(is_known),
        None => true,
    };
    if !draft_is_known {
        return Err("it is of a draft that is not known here".to_owned());
    }
    let size = check_size(&schema)?;
    let patterns = PatternOptions::regex().size_limit(MAX_PATTERN);
    let options = jsonschema::options().offline().with_pattern_options(patterns);
    let validator = options.build(&schema).map_err(|error| {
        let (at, why) = (error.instance_path().as_str(), error.to_string());
        // Of a pattern, or a reference, that cannot be used it says no place.
        let said = if at.is_empty() { why } else { format!("{at}: {why}") };
        said.chars().take(256).collect::<String>()
    })?;
    Ok(Compiled { validator, size })
}

/// Whether a draft is one of those in which references lead where [`check_size`] follows them.
fn is_known(draft: &str) -> bool {
    let at = draft.strip_prefix("https://json-schema.org/").or(draft.strip_prefix("http://json-schema.org/"));
    at.is_some_and(|at| DRAFTS.contains(&at.trim_end_matches('#')))
}

/// That a schema does not come to too much, where each reference stands for what it leads to, once on each way. Only what leads to a place in
/// the schema, by the names on the way there, is followed here, so no other reference may be in it. Gives how many values it comes to.
fn check_size(schema: &Value) -> Result<usize, String> {
    enum Step<'a> {
        Into(&'a Value, bool),
        Back,
    }
    let (mut left, mut way): (_, Vec<&str>) = (vec![Step::Into(schema, true)], Vec::new());
    let mut patterns: BTreeSet<&str> = BTreeSet::new();
    for size in 0..MAX_EXPANDED {
        let members = match left.pop() {
            None => return Ok(size),
            Some(Step::Back) => {
                way.pop();
                continue;
            }
            Some(Step::Into(Value::Array(values), _)) => {
                left.extend(values.iter().map(|value| Step::Into(value, false)));
                continue;
            }
            Some(Step::Into(Value::Object(members), is_root)) => {
                let others = ["$dynamicRef", "$recursiveRef", "$anchor", "$dynamicAnchor", "$id", "$schema"];
                let is_one = |name: &&str| members.get(*name).is_some_and(Value::is_string);
                let is_of_root = |name: &&str| is_root && ["$id", "$schema"].contains(name);
                let other = others.into_iter().find(|name| is_one(name) && !is_of_root(name));
                if let Some(name) = other {
                    return Err(format!("it has {name}, which is not followed"));
                }
                members
            }
            Some(Step::Into(..)) => continue,
        };
        left.extend(members.values().map(|value| Step::Into(value, false)));
        patterns.extend(members.get("pattern").and_then(Value::as_str));
        let of_names = members.get("patternProperties").and_then(Value::as_object);
        patterns.extend(of_names.into_iter().flat_map(|all| all.keys().map(String::as_str)));
        if patterns.len() > MAX_PATTERNS {
            return Err(format!("it has more than {MAX_PATTERNS} patterns"));
        }
        let Some(reference) = members.get("$ref").and_then(Value::as_str) else { continue };
        if way.contains(&reference) {
            continue;
        }
        // Escapes of a URI lead the validator elsewhere than a pointer as it is written.
        if reference.contains('%') {
            return Err("it has a reference with escapes, which is not followed".to_owned());
        }
        let target = reference.strip_prefix('#').and_then(|pointer| schema.pointer(pointer));
        let shown = || reference.chars().take(128).collect::<String>();
        let target = target.ok_or_else(|| format!("its reference {:?} leads to no place in it", shown()))?;
        if way.len() == MAX_REFERENCES {
            return Err(format!("more than {MAX_REFERENCES} references lead on from one another"));
        }
        way.push(reference);
        left.extend([Step::Back, Step::Into(target, std::ptr::eq(target, schema))]);
    }
    Err(format!("its references come to more than {MAX_EXPANDED} values"))
}
