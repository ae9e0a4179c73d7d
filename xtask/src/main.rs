//! What the repository does to itself: `cargo xtask crds` and `cargo xtask tidy`. The tests hold the tree to both.

mod arrows;
mod codes;
mod crds;
mod descriptors;
mod examples;
mod metrics;
mod pages;
mod reference;
mod sizes;
mod vocabulary;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;

const USAGE: &str = "cargo xtask crds    write deploy/crds, docs/resources.md, docs/codes.md, docs/metrics.md and docs/*.schema.json from the Rust types,\n\
                                        and the descriptors of crates/gateway/proto\n\
                     cargo xtask tidy    crate arrows, sizes, names, examples, pages, generated files";

fn main() -> ExitCode {
    let asked = std::env::args().nth(1).unwrap_or_default();
    let done = match asked.as_str() {
        "crds" => crds::write(root()).and_then(|()| descriptors::write(root())).map(|()| Vec::new()),
        "tidy" => tidy(root()),
        _ => Ok(vec![USAGE.to_owned()]),
    };
    let complaints = done.unwrap_or_else(|error| vec![format!("{error:#}")]);
    for complaint in &complaints {
        say(complaint);
    }
    if complaints.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[expect(clippy::print_stderr, reason = "a command for people")]
fn say(complaint: &str) {
    eprintln!("{complaint}");
}

/// The work tree.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// Everything that is not as the house rules want it; a complaint names the place first.
fn tidy(root: &Path) -> Result<Vec<String>> {
    let mut complaints = arrows::check(root)?;
    complaints.extend(sizes::check(root)?);
    complaints.extend(examples::check(root)?);
    complaints.extend(crds::check(root)?);
    complaints.extend(descriptors::check(root)?);
    complaints.extend(vocabulary::check(root)?);
    complaints.extend(metrics::check(root)?);
    complaints.extend(pages::check(root)?);
    Ok(complaints)
}

/// The files below `directory` that end in `extension`, in order, without what is built, fetched or hidden.
fn files(directory: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with('.') || name == "target" || name == "node_modules" {
            continue;
        }
        if path.is_dir() {
            found.extend(files(&path, extension)?);
        } else if path.extension().is_some_and(|own| own == extension) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests;
