//! Files of cases.

use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
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
    let placed: Placed = document::read(path).map_err(|reason| CaseFault::new(path, &reason))?;
    let file = path.display().to_string();
    let cases = placed.cases.into_iter().map(|Spanned { value, referenced, .. }| ReadCase {
        file: file.clone(),
        line: referenced.line(),
        case: value,
    });
    Ok(cases.collect())
}
