//! The Cedar of policies in one form, inside the YAML that they stand in: its layout and its comments stay as they are.

mod layout;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use cedar_policy_formatter::{Config, policies_str_to_pretty};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What became of the files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FormatAnswer {
    /// Files that have policies, in the order of their paths.
    pub files: Vec<FormattedFile>,
    /// Policies in them.
    pub policies: usize,
    /// Policies that are not in the one form, or were not.
    pub changed: usize,
    /// Policies that were left as they are, since their layout or their Cedar is not understood.
    pub left: usize,
    /// Links out of the directories that are formatted: what they lead to was not looked at.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outside: Vec<String>,
    /// Files that were named and have no policy that can be read, such as Cedar that stands in no YAML: they are as they were.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub without: Vec<String>,
}

/// What became of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FormattedFile {
    /// The file.
    pub file: String,
    /// Its policies that are not in the one form, or were not, `namespace/name`.
    pub changed: Vec<String>,
    /// Its policies that were left as they are, each with why.
    pub left: Vec<Left>,
}

/// A policy that was left as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Left {
    /// `namespace/name`.
    pub policy: String,
    /// The line that its document begins in, 1-based.
    pub line: usize,
    /// Why.
    pub reason: String,
}

impl FormatAnswer {
    /// Whether all policies are in the one form.
    pub const fn holds(&self) -> bool {
        self.changed == 0 && self.left == 0
    }
}

/// A file, as it is and as it would be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewritten {
    /// Where it is.
    pub path: PathBuf,
    /// What it would say.
    pub text: String,
}

/// Cedar in one form.
///
/// # Errors
/// Why it is not understood.
pub fn cedar(text: &str) -> Result<String, String> {
    policies_str_to_pretty(text, &Config::default()).map_err(|error| {
        let causes: Vec<String> = error.chain().map(ToString::to_string).collect();
        causes.join(": ")
    })
}

/// The policies in files of resources: what becomes of them, and the files that would say something else.
///
/// # Errors
/// When a file or directory cannot be read.
pub fn format(paths: &[PathBuf]) -> io::Result<(FormatAnswer, Vec<Rewritten>)> {
    let mut files = Vec::new();
    for path in paths {
        list(path, &mut files)?;
    }
    files.sort();
    files.dedup();
    let (mut answer, mut rewritten) = (FormatAnswer::default(), Vec::new());
    for path in files {
        if leads_out(paths, &path) {
            answer.outside.push(path.display().to_string());
            continue;
        }
        let text = fs::read_to_string(&path).map_err(|error| of(&path, &error))?;
        let layout::Formatted { text: new, policies, changed, left } = layout::formatted(&text);
        answer.policies += policies;
        answer.changed += changed.len();
        answer.left += left.len();
        if policies > 0 {
            answer.files.push(FormattedFile { file: path.display().to_string(), changed, left });
        } else if paths.contains(&path) {
            answer.without.push(path.display().to_string());
        }
        if new != text {
            rewritten.push(Rewritten { path, text: new });
        }
    }
    Ok((answer, rewritten))
}

/// Whether a file that was found in a directory is elsewhere. One that is named is meant wherever it is.
fn leads_out(paths: &[PathBuf], file: &Path) -> bool {
    if paths.iter().any(|path| path == file) {
        return false;
    }
    let Ok(real) = fs::canonicalize(file) else { return false };
    let is_in = |path: &PathBuf| fs::canonicalize(path).is_ok_and(|directory| real.starts_with(directory));
    !paths.iter().any(is_in)
}

fn of(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// A file that is named is read whatever its name; of a directory the files of resources are.
fn list(path: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    fn is_yaml(path: &Path) -> bool {
        let is_json = path.extension().is_some_and(|end| end.eq_ignore_ascii_case("json"));
        vidimus_registry::holds_resources(path) && !is_json
    }
    match path.is_dir() {
        false => files.push(path.to_owned()),
        true => files.extend(vidimus_registry::files_below(path, is_yaml).map_err(io::Error::other)?),
    }
    Ok(())
}

#[cfg(test)]
mod tests;
