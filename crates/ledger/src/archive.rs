//! An archive: what was pruned from the front of a log, in the form of a log, in a place of its own: a directory, or a bucket ([`place`]). Whatever
//! reads a log reads it, from a bucket once it was fetched.
//!
//! It ends where what was copied ends, with a checkpoint of just so many records, which has the further line `archive`: nobody takes it for
//! the log itself. It has the log's public key and no private one, so nothing is ever appended to it but by whoever prunes.

mod directory;
mod fetch;
mod objects;
mod place;

use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::checkpoint::{self, Checkpoint, CheckpointError, SignedCheckpoint};
use crate::file::{self, FileError};
use crate::note::{KeyError, SigningKey, VerifierKey};
use crate::open::{key_path, public_key_path};
use crate::proof::{ProveError, Prover};
use crate::pruned::{self, Pruned};
use crate::segment::Segment;
use crate::succession;
use crate::tile;
use crate::tree::{self, FullTile, Hash, TILE, Tree};

use place::{Found, Place};

pub use fetch::{Fetched, fetch_archive};
pub use objects::Bucket;
pub use place::{ArchiveAt, NoPlace};

/// Why nothing was archived, and so nothing pruned; or why an archive was not fetched.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    #[error("the archive: {}", .0.story())]
    File(FileError),
    /// Of a store of objects. What it said is not repeated.
    #[error("the archive: cannot {doing} {at}: {why}")]
    Store { doing: &'static str, at: String, why: String },
    /// Of a process that archives another past, or of something that is no archive.
    #[error("the archive: {at} is there already, and has not what the log has; take another place")]
    Taken { at: String },
    #[error("the archive: another process has changed {at} meanwhile; try again")]
    Raced { at: String },
    #[error(
        "the archive: the store of {at} overwrites what it was asked not to (If-None-Match, If-Match), so two processes could end one archive; \
         take a store that has conditional writes, or a directory"
    )]
    Unconditional { at: String },
    #[error("the archive: there is none at {at}")]
    Nothing { at: String },
    #[error("{} is not empty; fetch an archive into a new directory", dir.display())]
    NotEmpty { dir: PathBuf },
    #[error("the archive {at} is of another log")]
    OtherLog { at: String },
    #[error("the checkpoint of the archive {at}: {source}")]
    Checkpoint { at: String, source: CheckpointError },
    #[error(
        "the archive {at} has the records before {archived}, and those before {minimum} were pruned without it; take another place"
    )]
    Gap { at: String, archived: u64, minimum: u64 },
    /// A log that was put back from a copy has other records by numbers that the archive has already.
    #[error(
        "the archive {at} has {archived} records of a past that is not the log's: the log was put back since; take another place"
    )]
    OtherPast { at: String, archived: u64 },
    /// Where the archive was to be mounted, nothing is; or it is in another bucket.
    #[error(
        "{at} is no archive, and the records before {minimum} went into one: mount it there, name the place that it is in, or let another one \
         begin (`vidimus audit prune --new-archive`), which will not have them"
    )]
    Missing { at: String, minimum: u64 },
    #[error("the log does not prove that it continues the archive: {0}")]
    Unproven(Box<ProveError>),
    #[error("{at} is not what was copied there")]
    Copied { at: String },
    #[error("the log's private key: {0}")]
    Key(#[from] KeyError),
    #[error("the log's tiles are incomplete; `audit verify` tells more")]
    Tiles,
}

impl From<FileError> for ArchiveError {
    fn from(error: FileError) -> Self {
        Self::File(error)
    }
}

/// Whether an archive at a place is one, or may begin. To be asked before anything is made there: a directory that is empty may be that of a
/// mount, and a prefix that is empty one that is not the archive's.
///
/// # Errors
/// Where what went before is in another archive, which is not there, and nobody said that one may begin all the same (`another`).
pub(crate) fn may_begin(at: &ArchiveAt, another: bool, gone: Option<&Pruned>) -> Result<(), ArchiveError> {
    match gone.filter(|gone| gone.prune.archived && !another) {
        Some(gone) if !at.has_archive()? => {
            Err(ArchiveError::Missing { at: at.to_string(), minimum: gone.minimum() })
        }
        _ => Ok(()),
    }
}

/// An archive that is added to.
pub(crate) struct Archive<'a> {
    place: Box<dyn Place + 'a>,
    log: &'a Path,
    key: &'a VerifierKey,
    /// It has the records before this one.
    archived: u64,
    /// As this says, once it has any.
    signed: Option<SignedCheckpoint>,
    /// That, as it was found: another process may end it meanwhile.
    ended: Option<Found>,
}

impl<'a> Archive<'a> {
    /// The archive in a place, of the log in `log`, of which `gone` was pruned before; begun where it is not there, for which it
    /// [may have to be meant](may_begin).
    pub(crate) fn open(
        place: Box<dyn Place + 'a>,
        log: &'a Path,
        key: &'a VerifierKey,
        gone: Option<&Pruned>,
    ) -> Result<Self, ArchiveError> {
        let at = place.to_string();
        let mut archive = Self { place, log, key, archived: 0, signed: None, ended: None };
        archive.public_key()?;
        archive.keys()?;
        let minimum = gone.map_or(0, Pruned::minimum);
        match archive.place.read(&checkpoint::path(Path::new("")))? {
            Some(ended) => {
                let signed = SignedCheckpoint::open(&ended.bytes, key);
                let signed = signed.map_err(|source| ArchiveError::Checkpoint { at: at.clone(), source })?;
                if !signed.is_archive() {
                    return Err(ArchiveError::OtherLog { at });
                }
                archive.archived = signed.checkpoint.size;
                (archive.signed, archive.ended) = (Some(signed), Some(ended));
            }
            None => archive.begin(minimum)?,
        }
        let Self { archived, .. } = archive;
        if archived < minimum {
            return Err(ArchiveError::Gap { at, archived, minimum });
        }
        Ok(archive)
    }

    /// That it is of this log, and that the place keeps what it has.
    fn public_key(&self) -> Result<(), ArchiveError> {
        let (name, text) = (public_key_path(Path::new("")), format!("{}\n", self.key));
        let is_former = |found: &Found| {
            let found = str::from_utf8(&found.bytes).ok().and_then(|text| text.trim_end().parse().ok());
            found.is_some_and(|found: VerifierKey| self.key.follows(&found))
        };
        match self.place.read(&name)? {
            Some(found) if found.bytes == text.as_bytes() => {}
            Some(found) if is_former(&found) => self.place.replace(&name, text.as_bytes(), Some(&found))?,
            // Where a log is, its private key is, and nothing is archived into that.
            Some(_) => return Err(ArchiveError::OtherLog { at: self.place.to_string() }),
            None => self.place.replace(&name, text.as_bytes(), None)?,
        }
        self.place.guard(&name, text.as_bytes())
    }

    /// That the log, whose proofs these are, continues what is here: what is here already is not copied once more.
    pub(crate) fn check(&self, prover: &mut Prover) -> Result<(), ArchiveError> {
        let Some(signed) = &self.signed else { return Ok(()) };
        match prover.consistency(&signed.checkpoint) {
            Ok(_) => Ok(()),
            Err(ProveError::Altered { .. } | ProveError::RolledBack { .. }) => {
                Err(ArchiveError::OtherPast { at: self.place.to_string(), archived: self.archived })
            }
            Err(error) => Err(ArchiveError::Unproven(Box::new(error))),
        }
    }

    /// Which keys followed which: what is there is signed by any of them.
    fn keys(&self) -> Result<(), ArchiveError> {
        for path in succession::files(self.log)? {
            let Some(name) = path.file_name() else { continue };
            self.place.put(&succession::dir(Path::new("")).join(name), file::read(&path)?)?;
        }
        Ok(())
    }

    /// Copies the texts of configurations that are not there yet: those that only refer to what goes are dropped with it. They are named by their
    /// digests, so what is there is what it was.
    pub(crate) fn configurations(&self, from: &Path) -> Result<(), ArchiveError> {
        let to = Path::new("configurations");
        let there = self.place.names(to)?;
        let is_digest = |name: &PathBuf| {
            let digits = name.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            digits.len() == 64 && digits.bytes().all(|digit| digit.is_ascii_hexdigit())
        };
        let mut texts = file::below(from)?;
        texts.retain(|name| is_digest(name) && !there.contains(&to.join(name)));
        // What names texts comes after them.
        texts.sort_by_key(|name| !name.starts_with("objects"));
        for name in texts {
            self.place.put(&to.join(&name), file::read(&from.join(&name))?)?;
        }
        Ok(())
    }

    /// What went without an archive is proven gone as it is in the log; the hashes of it are in the tiles.
    fn begin(&mut self, minimum: u64) -> Result<(), ArchiveError> {
        self.archived = minimum;
        let Some(pruned) = file::read_if_there(&pruned::path(self.log))?.filter(|_| minimum > 0) else {
            return Ok(());
        };
        for level in 0u8..8 {
            let full = tree::full_tiles(minimum, level.into());
            // Of level 0 also the one that has what comes next.
            let more = u64::from(level == 0 && !minimum.is_multiple_of(TILE as u64));
            for index in 0..full + more {
                let hashes = tile::read(self.log, level, index)?.ok_or(ArchiveError::Tiles)?;
                self.tile(FullTile { level, index, hashes: &hashes })?;
            }
        }
        let name = pruned::path(Path::new(""));
        // A process that was killed may have begun it when less was pruned.
        let was = self.place.read(&name)?;
        self.place.replace(&name, &pruned, was.as_ref())
    }

    /// Stores a full tile.
    pub(crate) fn tile(&self, full: FullTile<'_>) -> Result<(), ArchiveError> {
        self.place.tile(full)
    }

    /// Copies the segments that it does not have, and ends it before record `minimum`, with this root. When this returns, all is there for good, as
    /// far as the place says, and what was copied was read again.
    pub(crate) fn end(self, segments: &[Segment], minimum: u64, root: Hash) -> Result<(), ArchiveError> {
        let Self { place, archived, .. } = self;
        // What a process that was killed had copied may be more than is archived now.
        place.nothing_from(archived.max(minimum))?;
        for segment in segments.iter().filter(|segment| segment.first >= archived) {
            let bytes = file::read(&segment.path)?;
            let digest = Sha256::digest(&bytes);
            let Segment { path: name, .. } = Segment::new(Path::new(""), segment.first);
            place.put(&name, bytes)?;
            let copied = place.read(&name)?;
            if copied.is_none_or(|copied| Sha256::digest(copied.bytes) != digest) {
                return Err(ArchiveError::Copied { at: format!("{} in {place}", name.display()) });
            }
        }
        place.settle()?;
        let key = SigningKey::parse(String::from_utf8_lossy(&file::read(&key_path(self.log))?).trim_end())?;
        let origin = self.key.name().to_owned();
        let signed = match self.signed {
            // A process that was killed had come so far.
            Some(signed) if minimum <= archived => signed,
            _ => {
                let signed = Checkpoint { origin: origin.clone(), size: minimum, root }.sign_archive(&key);
                // As in a log: the history is never ahead of the checkpoint.
                let name = checkpoint::path(Path::new(""));
                place.replace(&name, signed.note.as_bytes(), self.ended.as_ref())?;
                signed
            }
        };
        let history = checkpoint::history_path(Path::new(""));
        let first = || Checkpoint { origin, size: 0, root: Tree::default().root() }.sign(&key).entry();
        let was = place.read(&history)?;
        let mut all = was.as_ref().map_or_else(first, |was| was.bytes.clone());
        if !all.ends_with(&signed.entry()) {
            all.extend_from_slice(&signed.entry());
            place.replace(&history, &all, was.as_ref())?;
        }
        Ok(())
    }
}
