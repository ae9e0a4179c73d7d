//! ARCHITECTURE.md is short, the paths in it and in docs/adr/README.md are there, and that page has every ADR.

use std::path::Path;

use anyhow::{Context as _, Result};

use crate::files;

/// The way of a call through the code.
const ARCHITECTURE: &str = "ARCHITECTURE.md";
/// Every ADR by its subject.
const CHOICES: &str = "docs/adr/README.md";
/// Words of ARCHITECTURE.md, tables and the diagram among them: three pages, which are read in 8 minutes.
const LONGEST: usize = 1_700;

pub(crate) fn check(root: &Path) -> Result<Vec<String>> {
    let architecture = std::fs::read_to_string(root.join(ARCHITECTURE)).context(ARCHITECTURE)?;
    let choices = std::fs::read_to_string(root.join(CHOICES)).context(CHOICES)?;
    let mut complaints: Vec<String> = too_long(&architecture).into_iter().collect();
    complaints.extend(missing(root, ARCHITECTURE, &architecture));
    complaints.extend(missing(root, CHOICES, &choices));
    let adrs = files(&root.join("docs/adr"), "md")?;
    let names = adrs.iter().filter_map(|path| path.file_name()?.to_str());
    complaints.extend(unlisted(&choices, names.filter(|name| *name != "README.md")));
    Ok(complaints)
}

pub(crate) fn too_long(architecture: &str) -> Option<String> {
    let words = architecture.split_whitespace().count();
    (words > LONGEST).then(|| format!("{ARCHITECTURE}: {words} words, at most {LONGEST}"))
}

/// The paths of a page that lead nowhere: `crate/file.rs` is `crates/crate/src/file.rs`, and any other one begins at the root.
pub(crate) fn missing(root: &Path, page: &str, text: &str) -> Vec<String> {
    let exists = |path: &&str| {
        let in_crate =
            path.split_once('/').map(|(name, rest)| root.join("crates").join(name).join("src").join(rest));
        root.join(path).exists() || in_crate.is_some_and(|path| path.exists())
    };
    let lost = paths(text).filter(|path| !exists(path));
    lost.map(|path| format!("{page}: `{path}` is not there")).collect()
}

/// The ADRs that their page has no link to.
pub(crate) fn unlisted<'a>(choices: &str, names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let lost = names.filter(|name| !choices.contains(&format!("]({name})")));
    lost.map(|name| format!("{CHOICES}: does not have {name}")).collect()
}

/// What stands between backticks and is a path.
fn paths(text: &str) -> impl Iterator<Item = &str> {
    let is_path = |span: &&str| {
        let letters = |letter: char| letter.is_ascii_alphanumeric() || "/_-.".contains(letter);
        span.contains('/') && !span.starts_with('/') && span.chars().all(letters)
    };
    text.split('`').skip(1).step_by(2).filter(is_path)
}
