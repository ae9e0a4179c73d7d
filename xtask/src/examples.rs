//! Every example loads.

use std::path::Path;

use anyhow::Result;

/// Each directory of examples is an installation of its own.
pub(crate) fn check(root: &Path) -> Result<Vec<String>> {
    let mut complaints = Vec::new();
    let examples = root.join("examples");
    for entry in std::fs::read_dir(&examples)? {
        let directory = entry?.path();
        if !directory.is_dir() {
            complaints.push(format!("{}: an example lives in a directory", directory.display()));
            continue;
        }
        complaints.extend(check_directory(&directory));
    }
    Ok(complaints)
}

pub(crate) fn check_directory(directory: &Path) -> Vec<String> {
    let loaded = vidimus_registry::load(directory);
    let mut complaints: Vec<_> = loaded
        .rejections
        .iter()
        .map(|rejection| {
            let vidimus_core::resource::Rejection { origin, object, field, value, reason, fix } = rejection;
            format!("{origin}: {object} {field} {value:?}: {reason}; {fix}")
        })
        .collect();
    if complaints.is_empty() && loaded.snapshot.objects().is_empty() {
        complaints.push(format!("{}: holds no resource", directory.display()));
    }
    complaints
}
