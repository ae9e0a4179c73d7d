//! An archive: what was pruned from the front of a log, in the form of a log, in a directory of its own. Whatever reads a log reads it.
//!
//! It ends where what was copied ends, with a checkpoint of just so many records, which has the further line `archive`: nobody takes it for
//! the log itself. It has the log's public key and no private one, so nothing is ever appended to it but by whoever prunes.

use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::checkpoint::{self, Checkpoint, CheckpointError, SignedCheckpoint};
use crate::file::{self, FileError};
use crate::note::{KeyError, SigningKey, VerifierKey};
use crate::open::{key_path, public_key_path};
use crate::proof::{ProveError, Prover};
use crate::pruned::{self, Pruned};
use crate::segment::{self, Segment};
use crate::storage::Storage;
use crate::succession;
use crate::tile;
use crate::tree::{self, FullTile, Hash, TILE, Tree};

/// Why nothing was archived, and so nothing pruned.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    #[error("the archive: {}", .0.story())]
    File(FileError),
    #[error("the archive {} is of another log", dir.display())]
    OtherLog { dir: PathBuf },
    #[error("the checkpoint of the archive {}: {source}", dir.display())]
    Checkpoint { dir: PathBuf, source: CheckpointError },
    #[error(
        "the archive {} has the records before {archived}, and those before {minimum} were pruned without it; take another directory",
        dir.display()
    )]
    Gap { dir: PathBuf, archived: u64, minimum: u64 },
    /// A log that was put back from a copy has other records by numbers that the archive has already.
    #[error(
        "the archive {} has {archived} records of a past that is not the log's: the log was put back since; take another directory",
        dir.display()
    )]
    OtherPast { dir: PathBuf, archived: u64 },
    /// Where the archive was to be mounted, nothing is.
    #[error(
        "{} is no archive, and the records before {minimum} went into one: mount it there, or let another one begin (`vidimus audit prune \
         --new-archive`), which will not have them",
        dir.display()
    )]
    Missing { dir: PathBuf, minimum: u64 },
    #[error("the log does not prove that it continues the archive: {0}")]
    Unproven(Box<ProveError>),
    #[error("{} is not what was copied there", path.display())]
    Copied { path: PathBuf },
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

/// Whether an archive in `dir` is one, or may begin. To be asked before anything is made there: a directory that is empty may be that of a mount.
///
/// # Errors
/// Where what went before is in another archive, which is not there, and nobody said that one may begin all the same (`another`).
pub(crate) fn may_begin((dir, another): (&Path, bool), gone: Option<&Pruned>) -> Result<(), ArchiveError> {
    match gone.filter(|gone| gone.prune.archived && !another) {
        Some(gone) if file::read_if_there(&checkpoint::path(dir))?.is_none() => {
            Err(ArchiveError::Missing { dir: dir.to_owned(), minimum: gone.minimum() })
        }
        _ => Ok(()),
    }
}

/// An archive that is added to.
pub(crate) struct Archive<'a> {
    storage: &'a dyn Storage,
    dir: &'a Path,
    log: &'a Path,
    key: &'a VerifierKey,
    /// It has the records before this one.
    archived: u64,
    /// As this says, once it has any.
    signed: Option<SignedCheckpoint>,
}

impl<'a> Archive<'a> {
    /// The archive in `dir` of the log in `log`, of which `gone` was pruned before. It is begun where it is not there: where what went is in
    /// another one, only if that is meant (`another`).
    pub(crate) fn open(
        storage: &'a dyn Storage,
        (dir, another): (&'a Path, bool),
        log: &'a Path,
        key: &'a VerifierKey,
        gone: Option<&Pruned>,
    ) -> Result<Self, ArchiveError> {
        may_begin((dir, another), gone)?;
        let minimum = gone.map_or(0, Pruned::minimum);
        for dir in [dir.to_owned(), dir.join("keys"), segment::dir(dir)] {
            file::make_dir(storage, &dir)?;
        }
        let mut archive = Self { storage, dir, log, key, archived: 0, signed: None };
        let text = format!("{key}\n");
        let public = public_key_path(dir);
        let is_former = |found: &[u8]| {
            let found = str::from_utf8(found).ok().and_then(|text| text.trim_end().parse().ok());
            found.is_some_and(|found: VerifierKey| key.follows(&found))
        };
        match file::read_if_there(&public)? {
            Some(found) if found == text.as_bytes() => {}
            Some(found) if is_former(&found) => file::replace(storage, &public, text.as_bytes(), 0o644)?,
            // Where a log is, its private key is, and nothing is archived into that.
            Some(_) => return Err(ArchiveError::OtherLog { dir: dir.to_owned() }),
            None => file::replace(storage, &public, text.as_bytes(), 0o644)?,
        }
        archive.keys()?;
        match file::read_if_there(&checkpoint::path(dir))? {
            Some(note) => {
                let signed = SignedCheckpoint::open(&note, key);
                let signed =
                    signed.map_err(|source| ArchiveError::Checkpoint { dir: dir.to_owned(), source })?;
                if !signed.is_archive() {
                    return Err(ArchiveError::OtherLog { dir: dir.to_owned() });
                }
                archive.archived = signed.checkpoint.size;
                archive.signed = Some(signed);
            }
            None => archive.begin(minimum)?,
        }
        if archive.archived < minimum {
            let Self { archived, .. } = archive;
            return Err(ArchiveError::Gap { dir: dir.to_owned(), archived, minimum });
        }
        Ok(archive)
    }

    /// That the log, whose proofs these are, continues what is here: what is here already is not copied once more.
    pub(crate) fn check(&self, prover: &mut Prover) -> Result<(), ArchiveError> {
        let Some(signed) = &self.signed else { return Ok(()) };
        match prover.consistency(&signed.checkpoint) {
            Ok(_) => Ok(()),
            Err(ProveError::Altered { .. } | ProveError::RolledBack { .. }) => {
                Err(ArchiveError::OtherPast { dir: self.dir.to_owned(), archived: self.archived })
            }
            Err(error) => Err(ArchiveError::Unproven(Box::new(error))),
        }
    }

    /// Which keys followed which: what is there is signed by any of them.
    fn keys(&self) -> Result<(), FileError> {
        for path in succession::files(self.log)? {
            let Some(name) = path.file_name() else { continue };
            file::make_dir(self.storage, &succession::dir(self.dir))?;
            file::replace(self.storage, &succession::dir(self.dir).join(name), &file::read(&path)?, 0o600)?;
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
        file::replace(self.storage, &pruned::path(self.dir), &pruned, 0o600)?;
        Ok(())
    }

    /// Stores a full tile; one that is there stays as it is, whatever becomes of this process.
    pub(crate) fn tile(&self, full: FullTile<'_>) -> Result<(), ArchiveError> {
        match tile::read(self.dir, full.level, full.index)? {
            Some(stored) if stored == full.hashes => Ok(()),
            _ => Ok(tile::write(self.storage, self.dir, full)?),
        }
    }

    /// Copies the segments that it does not have, and ends it before record `minimum`, with this root. When this returns, all is on disk, and
    /// what was copied was read again.
    pub(crate) fn end(self, segments: &[Segment], minimum: u64, root: Hash) -> Result<(), ArchiveError> {
        let Self { storage, dir, archived, .. } = self;
        // What a process that was killed had copied may be more than is archived now: behind its checkpoint an archive has nothing.
        let copied = |segment: &Segment| segment.first >= archived.max(minimum);
        for Segment { path, .. } in segment::list(dir)?.0.into_iter().filter(copied) {
            storage.remove(&path).map_err(FileError::on("remove", &path))?;
        }
        for segment in segments.iter().filter(|segment| segment.first >= archived) {
            let bytes = file::read(&segment.path)?;
            let digest = Sha256::digest(&bytes);
            let Segment { path, .. } = Segment::new(dir, segment.first);
            file::replace(storage, &path, &bytes, 0o600)?;
            drop(bytes);
            if Sha256::digest(file::read(&path)?) != digest {
                return Err(ArchiveError::Copied { path });
            }
        }
        tile::settle(storage, dir)?;
        let key = SigningKey::parse(String::from_utf8_lossy(&file::read(&key_path(self.log))?).trim_end())?;
        let origin = self.key.name().to_owned();
        let signed = match self.signed {
            // A process that was killed had come so far.
            Some(signed) if minimum <= archived => signed,
            _ => {
                let signed = Checkpoint { origin: origin.clone(), size: minimum, root }.sign_archive(&key);
                // As in a log: the history is never ahead of the checkpoint.
                file::replace(storage, &checkpoint::path(dir), signed.note.as_bytes(), 0o600)?;
                signed
            }
        };
        let history = checkpoint::history_path(dir);
        let first = || Checkpoint { origin, size: 0, root: Tree::default().root() }.sign(&key).entry();
        let mut all = file::read_if_there(&history)?.unwrap_or_else(first);
        if !all.ends_with(&signed.entry()) {
            all.extend_from_slice(&signed.entry());
            file::replace(storage, &history, &all, 0o600)?;
        }
        Ok(())
    }
}
