//! Files of cases.

use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use serde_saphyr::Spanned;

use vidimus_registry::Unlisted;

use super::Case;
use crate::document;

/// What a file of cases says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CaseFile {
    /// The cases.
    pub cases: Vec<Case>,
}

/// The same, with the places of the cases.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Placed {
    cases: Vec<Spanned<Case>>,
}

/// The same, where some case says something wrong.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Loose {
    cases: Vec<Spanned<Value>>,
}

/// A case, and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct ReadCase {
    /// The file.
    pub file: String,
    /// The line that it begins in, 1-based.
    pub line: u64,
    /// The case, or what is wrong with it.
    pub case: Result<Case, UnreadCase>,
}

/// A case that says something that no case says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnreadCase {
    /// What it is called, where it says so.
    pub name: String,
    /// What is wrong: the field, its value and why.
    pub error: String,
}

/// Why cases cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}: {reason}")]
pub struct CaseFault {
    /// The file or directory.
    pub file: String,
    /// What is the matter, with its line where that is known.
    pub reason: String,
}

impl CaseFault {
    fn new(path: &Path, reason: &(impl ToString + ?Sized)) -> Self {
        Self { file: path.display().to_string(), reason: reason.to_string() }
    }
}

/// The cases of all files below a directory, in the order of their paths.
///
/// # Errors
/// Every file or directory that cannot be read, or is no list of cases: a case that is not asked has not passed.
pub fn read(directory: &Path) -> Result<Vec<ReadCase>, Vec<CaseFault>> {
    let (mut cases, mut faults) = (Vec::new(), Vec::new());
    let files = vidimus_registry::files_below(directory, vidimus_registry::holds_cases);
    let files = files.unwrap_or_else(|Unlisted { path, reason }| {
        faults.push(CaseFault::new(&path, &reason));
        Vec::new()
    });
    for path in files {
        match of_file(&path) {
            Ok(of_file) => cases.extend(of_file),
            Err(fault) => faults.push(fault),
        }
    }
    if faults.is_empty() { Ok(cases) } else { Err(faults) }
}

fn of_file(path: &Path) -> Result<Vec<ReadCase>, CaseFault> {
    let file = path.display().to_string();
    let of = |line, case| ReadCase { file: file.clone(), line, case };
    let reason = match document::read::<Placed>(path) {
        Ok(Placed { cases }) => {
            let cases = cases.into_iter();
            return Ok(cases.map(|one| of(one.referenced.line(), Ok(one.value))).collect());
        }
        Err(reason) => reason,
    };
    // Where that is a case, the others are still cases.
    let Ok(Loose { cases }) = document::read::<Loose>(path) else {
        return Err(CaseFault::new(path, &reason));
    };
    Ok(cases.into_iter().map(|one| of(one.referenced.line(), case(one.value))).collect())
}

/// A case by itself.
fn case(value: Value) -> Result<Case, UnreadCase> {
    let mut members = match value {
        Value::Object(members) => members,
        other => {
            let fix = "a case is a mapping, as in {name: …, principal: …, resource: …, expect: …}";
            return Err(UnreadCase { name: String::new(), error: format!("{other}: {fix}") });
        }
    };
    // In YAML a number is a text too where one is wanted.
    if let Some(name) = members.get_mut("name").filter(|name| name.is_number() || name.is_boolean()) {
        *name = Value::String(name.to_string());
    }
    let name = members.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
    serde_json::from_value(Value::Object(members.clone())).map_err(|error| {
        let field = members.iter().find_map(|(field, value)| wrong(field, value));
        UnreadCase { name, error: field.unwrap_or_else(|| error.to_string()) }
    })
}

/// What is wrong with one field, seen in a case of which everything else is right.
fn wrong(field: &str, value: &Value) -> Option<String> {
    let right = json!({"name": "x", "principal": "Agent/a/b", "resource": "Tool/a/b/c", "expect": {"outcome": "deny"}});
    let Value::Object(right) = right else { return None };
    let mut members: Map<String, Value> = right;
    members.insert(field.to_owned(), value.clone());
    let read: Result<Case, _> = serde_json::from_value(Value::Object(members));
    read.err().map(|error| format!("{field} {value}: {error}"))
}
