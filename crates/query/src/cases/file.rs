//! Files of cases.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_saphyr::Spanned;

use super::{Case, is_case_file};

/// Maximum bytes of a file.
const MAX_FILE: u64 = 4 * 1024 * 1024;
/// Directories below directories, as of resources.
const MAX_DEPTH: usize = 16;

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

/// A case, and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct ReadCase {
    /// The file.
    pub file: String,
    /// The line that it begins in, 1-based.
    pub line: u64,
    /// The case.
    pub case: Case,
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
/// Every file or directory that cannot be read: a case that is not asked has not passed.
pub fn read(directory: &Path) -> Result<Vec<ReadCase>, Vec<CaseFault>> {
    let (mut cases, mut faults) = (Vec::new(), Vec::new());
    let mut files = Vec::new();
    if let Err(error) = list(directory, 0, &mut files) {
        faults.push(error);
    }
    files.sort();
    for path in files {
        match of_file(&path) {
            Ok(of_file) => cases.extend(of_file),
            Err(fault) => faults.push(fault),
        }
    }
    if faults.is_empty() { Ok(cases) } else { Err(faults) }
}

fn list(directory: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<(), CaseFault> {
    if depth > MAX_DEPTH {
        return Err(CaseFault::new(directory, &format!("more than {MAX_DEPTH} directories deep")));
    }
    let fault = |error: io::Error| CaseFault::new(directory, &error);
    for entry in fs::read_dir(directory).map_err(fault)? {
        let path = entry.map_err(fault)?.path();
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if hidden {
            continue;
        }
        if path.is_dir() {
            list(&path, depth + 1, files)?;
        } else if is_case_file(&path) {
            files.push(path);
        }
    }
    Ok(())
}

fn of_file(path: &Path) -> Result<Vec<ReadCase>, CaseFault> {
    let fault = |reason: &dyn ToString| CaseFault::new(path, reason);
    let metadata = fs::metadata(path).map_err(|error| fault(&error))?;
    if !metadata.is_file() || metadata.len() > MAX_FILE {
        return Err(fault(&format!("not a regular file of at most {MAX_FILE} bytes")));
    }
    let text = fs::read_to_string(path).map_err(|error| fault(&error))?;
    let options = serde_saphyr::options! { with_snippet: false };
    let placed: Placed = serde_saphyr::from_str_with_options(&text, options).map_err(|error| {
        let error = error.without_snippet();
        match error.location() {
            Some(location) => fault(&format!("line {}: {error}", location.line())),
            None => fault(&error),
        }
    })?;
    let file = path.display().to_string();
    let cases = placed.cases.into_iter().map(|Spanned { value, referenced, .. }| ReadCase {
        file: file.clone(),
        line: referenced.line(),
        case: value,
    });
    Ok(cases.collect())
}
