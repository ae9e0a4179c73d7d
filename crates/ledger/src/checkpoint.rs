//! Checkpoints: the log's size and root hash, signed (C2SP tlog-checkpoint), and the history of all that were issued.

use std::fs::File;
use std::io::{BufRead, BufReader, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::file::{self, FileError};
use crate::note::{self, NoteError, SigningKey, VerifierKey};
use crate::sectors;
use crate::storage::{Open, Storage};
use crate::tree::Hash;

/// The further line of the checkpoint of an archive ([`crate::archive`]): it is of what was copied there, and the log goes on elsewhere.
const ARCHIVE: &str = "archive";

/// What a log commits to: its first `size` records have the Merkle root `root`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log's name.
    pub origin: String,
    /// Number of records.
    pub size: u64,
    /// The Merkle root over those records.
    pub root: Hash,
}

/// A checkpoint and the note it came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedCheckpoint {
    /// What it commits to.
    pub checkpoint: Checkpoint,
    /// The whole note, as it stands in the file `checkpoint`.
    pub note: String,
}

/// Why bytes are not a checkpoint of this log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    #[error("not UTF-8")]
    NotUtf8,
    #[error(transparent)]
    Note(#[from] NoteError),
    #[error("line {line} of the checkpoint is not {expected}")]
    Line { line: u8, expected: &'static str },
    #[error("the checkpoint is of log '{found}', not of '{expected}'")]
    Origin { expected: String, found: String },
    #[error("it is signed for {size} records by a key that another one followed after {until}")]
    Former { size: u64, until: u64 },
}

impl Checkpoint {
    fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, STANDARD.encode(self.root))
    }

    pub(crate) fn sign(self, key: &SigningKey) -> SignedCheckpoint {
        let note = key.sign(&self.text());
        SignedCheckpoint { checkpoint: self, note }
    }

    /// As [`Checkpoint::sign`], for an archive that ends with this.
    pub(crate) fn sign_archive(self, key: &SigningKey) -> SignedCheckpoint {
        let note = key.sign(&format!("{}{ARCHIVE}\n", self.text()));
        SignedCheckpoint { checkpoint: self, note }
    }

    /// What a signed note says, whoever signed it, if anybody.
    ///
    /// # Errors
    /// When it is no signed note, or not of a checkpoint.
    pub fn unverified(note: &str) -> Result<Self, CheckpointError> {
        Self::parse(note::text(note)?)
    }

    /// The text of a note that has nothing but the three lines.
    pub(crate) fn exactly(text: &str) -> Option<Self> {
        Self::parse(text).ok().filter(|checkpoint| checkpoint.text() == text)
    }

    /// The text of a note. Extension lines are allowed and ignored.
    fn parse(text: &str) -> Result<Self, CheckpointError> {
        let bad = |line, expected| CheckpointError::Line { line, expected };
        let mut lines = text.strip_suffix('\n').unwrap_or(text).split('\n');
        let origin = lines.next().filter(|line| !line.is_empty()).ok_or(bad(1, "an origin"))?;
        let size = lines.next().and_then(decimal).ok_or(bad(2, "a decimal size"))?;
        let root = lines.next().and_then(hash).ok_or(bad(3, "a base64 SHA-256 hash"))?;
        if lines.any(str::is_empty) {
            return Err(bad(4, "a non-empty extension line"));
        }
        Ok(Self { origin: origin.to_owned(), size, root })
    }
}

impl SignedCheckpoint {
    /// Reads a checkpoint that `key` signed for the log of the same name.
    ///
    /// # Errors
    /// See [`CheckpointError`].
    pub fn open(note: &[u8], key: &VerifierKey) -> Result<Self, CheckpointError> {
        let note = str::from_utf8(note).map_err(|_| CheckpointError::NotUtf8)?;
        let checkpoint = match key.open(note) {
            Err(NoteError::Unsigned(_)) => {
                let (text, until) = key.open_former(note)?;
                let checkpoint = Checkpoint::parse(text)?;
                if checkpoint.size > until {
                    return Err(CheckpointError::Former { size: checkpoint.size, until });
                }
                checkpoint
            }
            text => Checkpoint::parse(text?)?,
        };
        if checkpoint.origin != key.name() {
            return Err(CheckpointError::Origin {
                expected: key.name().to_owned(),
                found: checkpoint.origin,
            });
        }
        Ok(Self { checkpoint, note: note.to_owned() })
    }

    /// Whether it is that of an archive.
    pub(crate) fn is_archive(&self) -> bool {
        note::text(&self.note).is_ok_and(|text| text.lines().skip(3).any(|line| line == ARCHIVE))
    }

    /// The names on the signatures of others than `key`: of witnesses, as they say.
    pub fn others(&self, key: &VerifierKey) -> Vec<String> {
        note::others(&self.note, key)
    }

    /// The bytes in the history: the note and a blank line.
    pub(crate) fn entry(&self) -> Vec<u8> {
        [self.note.as_bytes(), b"\n"].concat()
    }

    /// Whether `rest`, the end of a history, is what a crash left of this checkpoint's entry there.
    pub(crate) fn left(&self, rest: &Entry) -> bool {
        sectors::left_of(&self.entry(), &rest.bytes, rest.offset)
    }
}

/// Digits without a leading zero.
pub(crate) fn decimal(text: &str) -> Option<u64> {
    let canonical = text == "0" || (!text.starts_with('0') && text.bytes().all(|b| b.is_ascii_digit()));
    if canonical { text.parse().ok() } else { None }
}

/// A hash in base64.
pub(crate) fn hash(text: &str) -> Option<Hash> {
    STANDARD.decode(text).ok()?.try_into().ok()
}

/// The newest checkpoint of a log.
pub(crate) fn path(dir: &Path) -> PathBuf {
    dir.join("checkpoint")
}

/// Every checkpoint that the log ever issued, oldest first, each followed by a blank line.
pub(crate) fn history_path(dir: &Path) -> PathBuf {
    dir.join("checkpoints")
}

/// Appends to the history, durably.
pub(crate) fn remember(
    storage: &dyn Storage,
    dir: &Path,
    checkpoint: &SignedCheckpoint,
) -> Result<(), FileError> {
    let path = history_path(dir);
    let new = !path.exists();
    let append = || {
        let file = storage.open(&path, Open::AppendOrCreate)?;
        file.write(&checkpoint.entry())?;
        file.sync()
    };
    append().map_err(FileError::on("append to", &path))?;
    if new { file::sync_dir(storage, dir) } else { Ok(()) }
}

/// One piece of a history file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Where it begins in the file.
    pub(crate) offset: u64,
    /// The note, without the blank line after it; what is left, where the file ends inside an entry.
    pub(crate) bytes: Vec<u8>,
    /// Whether note and blank line are there.
    pub(crate) whole: bool,
}

/// Reads a history from its beginning.
#[derive(Debug)]
pub(crate) struct History {
    path: PathBuf,
    file: Option<BufReader<File>>,
    offset: u64,
}

impl History {
    pub(crate) fn open(dir: &Path) -> Result<Self, FileError> {
        let path = history_path(dir);
        match File::open(&path).map_err(FileError::on("open", &path)) {
            Ok(file) => Ok(Self { path, file: Some(BufReader::new(file)), offset: 0 }),
            Err(error) if error.missing() => Ok(Self { path, file: None, offset: 0 }),
            Err(error) => Err(error),
        }
    }

    /// The next entry, `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<Entry>, FileError> {
        /// No entry is near this; without a bound one altered newline could read a whole large history at once.
        const MAX_ENTRY: usize = 256 * 1024;
        let Some(file) = &mut self.file else { return Ok(None) };
        let mut bytes = Vec::new();
        let mut blank_lines = 0;
        while blank_lines < 2 {
            let line = bytes.len();
            let limit = (MAX_ENTRY - line) as u64;
            let read = file.by_ref().take(limit).read_until(b'\n', &mut bytes);
            match read.map_err(FileError::on("read", &self.path))? {
                // The end of the file, or of what is read at once.
                0 => break,
                _ if bytes.get(line..) == Some(b"\n") => blank_lines += 1,
                _ => {}
            }
        }
        if bytes.is_empty() {
            return Ok(None);
        }
        let offset = self.offset;
        self.offset += bytes.len() as u64;
        let whole = blank_lines == 2;
        if whole {
            bytes.pop();
        }
        Ok(Some(Entry { offset, bytes, whole }))
    }
}

/// The end of a history: its last entry that `key` signed, and what follows it. Only the end of a long one is looked at.
pub(crate) fn last(dir: &Path, key: &VerifierKey) -> Result<(Option<SignedCheckpoint>, Entry), FileError> {
    /// Room for a few entries.
    const WINDOW: u64 = 64 * 1024;
    let path = history_path(dir);
    let mut window = Vec::new();
    let start = match File::open(&path) {
        Ok(mut file) => (|| {
            let start = file.metadata()?.len().saturating_sub(WINDOW);
            file.seek(SeekFrom::Start(start))?;
            file.read_to_end(&mut window)?;
            Ok(start)
        })(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error),
    }
    .map_err(FileError::on("read", &path))?;
    // An entry is a block of text and one of signature lines, each with a blank line after it. A crash may have left any part of
    // the very last one, so that only its signature tells whether an entry is one.
    let ends: Vec<usize> = memchr::memmem::find_iter(&window, "\n\n").map(|at| at + 2).collect();
    let entry = |i: usize| {
        let begin = i.checked_sub(2).map_or(Some(0), |before| ends.get(before).copied())?;
        let end = ends.get(i).copied()?;
        let signed = SignedCheckpoint::open(window.get(begin..end - 1)?, key).ok()?;
        Some((signed, end))
    };
    let (last, end) =
        (0..ends.len()).rev().find_map(entry).map_or((None, 0), |(last, end)| (Some(last), end));
    let bytes = window.get(end..).unwrap_or_default().to_vec();
    Ok((last, Entry { offset: start + end as u64, bytes, whole: false }))
}

#[cfg(test)]
mod tests;
