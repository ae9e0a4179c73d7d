//! An archive from a bucket in a directory, where whatever reads a log reads it.

use std::ffi::OsStr;
use std::path::Path;

use serde::Serialize;

use super::ArchiveError;
use super::objects::Bucket;
use super::place::Place as _;
use crate::checkpoint::{self, Checkpoint};
use crate::file::{self, FileError};
use crate::open::public_key_path;
use crate::segment;
use crate::storage::{Disk, Open, Storage as _};
use crate::tile;

/// What was copied.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Fetched {
    /// How many files.
    pub files: u64,
    /// How many bytes.
    pub bytes: u64,
    /// How many objects are there that no archive has, which were left.
    pub strangers: u64,
}

/// Copies an archive into a directory that is new, or empty. Whether it is whole, and of which log, verifying it tells.
///
/// # Errors
/// See [`ArchiveError`]; what is in the directory then is no archive.
pub fn fetch_archive(from: &Bucket, dir: &Path) -> Result<Fetched, ArchiveError> {
    let objects = from.open()?;
    file::make_dir(&Disk, dir)?;
    if !file::below(dir)?.is_empty() {
        return Err(ArchiveError::NotEmpty { dir: dir.to_owned() });
    }
    let name = checkpoint::path(Path::new(""));
    let ended = objects.read(&name)?.ok_or_else(|| ArchiveError::Nothing { at: from.to_string() })?;
    // Of a process that was killed, or is about to end the archive, more may be there. What is no checkpoint, verifying it tells.
    let end = Checkpoint::unverified(&String::from_utf8_lossy(&ended.bytes)).map_or(u64::MAX, |one| one.size);
    let all = objects.all(end)?;
    let strangers = all.iter().filter(|(at, _)| !is_of_an_archive(at)).count() as u64;
    let is_behind = |at: &Path| segment::first_of(at).is_some_and(|first| first >= end);
    // It comes last: without it this is no log.
    let wanted = all.into_iter().filter(|(at, _)| is_of_an_archive(at) && !is_behind(at) && *at != name);
    let wanted: Vec<_> = wanted.collect();
    let mut fetched = Fetched { strangers, ..Fetched::default() };
    let mut write = |name: &Path, bytes: &[u8]| {
        let path = dir.join(name);
        file::parent(&path).map_or(Ok(()), |parent| file::make_dir(&Disk, parent))?;
        let mode = if name == public_key_path(Path::new("")) { 0o644 } else { 0o600 };
        let written = Disk.open(&path, Open::Replace { mode }).and_then(|file| file.write(bytes));
        written.map_err(FileError::on("write", &path))?;
        fetched.files += 1;
        fetched.bytes += bytes.len() as u64;
        Ok::<_, ArchiveError>(())
    };
    objects.each(&wanted, &mut write)?;
    if objects.read(&name)?.is_none_or(|now| now != ended) {
        return Err(ArchiveError::Raced { at: from.to_string() });
    }
    write(&name, &ended.bytes)?;
    tile::settle(&Disk, dir)?;
    Ok(fetched)
}

/// Whether an archive has such a file. What else is in a bucket, whoever put it there, is written nowhere.
fn is_of_an_archive(name: &Path) -> bool {
    let Some(parts) = name.iter().map(OsStr::to_str).collect::<Option<Vec<_>>>() else { return false };
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let is_digest = |text: &str| text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    match parts.as_slice() {
        ["checkpoint" | "checkpoints" | "pruned"] | ["keys", "checkpoint.vkey"] => true,
        ["keys", "succession", size] => is_number(size),
        ["segments", file] => {
            file.strip_suffix(".log").is_some_and(|first| first.len() == 20 && is_number(first))
        }
        ["tile", level, groups @ ..] => {
            let is_group = |group: &&str| is_number(group.strip_prefix('x').unwrap_or(group));
            is_number(level) && !groups.is_empty() && groups.iter().all(is_group)
        }
        ["configurations", digest] => is_digest(digest),
        ["configurations", "objects", first, digest] => is_digest(digest) && digest.starts_with(first),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_written_by_a_name_that_no_archive_has() {
        let digest = "ab".repeat(32);
        for name in [
            "checkpoint",
            "checkpoints",
            "pruned",
            "keys/checkpoint.vkey",
            "keys/succession/00000000000000000100",
            "segments/00000000000000000000.log",
            "tile/0/000",
            "tile/1/x001/234",
            &format!("configurations/{digest}"),
            &format!("configurations/objects/ab/{digest}"),
        ] {
            assert!(is_of_an_archive(Path::new(name)), "{name}");
        }
        for name in [
            "",
            "keys/checkpoint.key",
            "../checkpoint",
            "segments/../checkpoint",
            "segments/0.log",
            "segments/00000000000000000000.log/x",
            "tile/0",
            "tile/0/..",
            "tile/entries/000",
            "cosigned",
            "configurations/x",
            &format!("configurations/objects/cd/{digest}"),
            "standing",
        ] {
            assert!(!is_of_an_archive(Path::new(name)), "{name}");
        }
    }
}
