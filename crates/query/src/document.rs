//! One document in a file, in YAML or JSON.

use std::fs;
use std::io::Read as _;
use std::path::Path;

use serde::de::DeserializeOwned;

/// Maximum bytes of a file.
const MAX_FILE: u64 = 4 * 1024 * 1024;

/// Reads a document; `-` is standard input.
///
/// # Errors
/// What is the matter, with its line where that is known.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<T, String> {
    let text = match path.as_os_str() == "-" {
        true => of_standard_input()?,
        false => of_file(path)?,
    };
    let options = serde_saphyr::options! { with_snippet: false };
    serde_saphyr::from_str_with_options(&text, options).map_err(|error| {
        let error = error.without_snippet();
        match error.location() {
            Some(location) => format!("line {}: {error}", location.line()),
            None => error.to_string(),
        }
    })
}

fn of_standard_input() -> Result<String, String> {
    let mut text = String::new();
    let read = std::io::stdin().lock().take(MAX_FILE + 1).read_to_string(&mut text);
    match read.map_err(|error| error.to_string())? {
        length if length as u64 > MAX_FILE => Err(format!("more than {MAX_FILE} bytes")),
        _ => Ok(text),
    }
}

fn of_file(path: &Path) -> Result<String, String> {
    let metadata = fs::metadata(path).map_err(|error| error.to_string())?;
    if !metadata.is_file() || metadata.len() > MAX_FILE {
        return Err(format!("not a regular file of at most {MAX_FILE} bytes"));
    }
    fs::read_to_string(path).map_err(|error| error.to_string())
}
