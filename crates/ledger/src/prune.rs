//! Retention: records that were kept long enough go from the front of a log, in whole segments.
//!
//! In this order, so that a crash at any step leaves a log that opens, and never loses more than is on record as gone:
//!
//! 1. what is to go is read once more: it must be what the newest checkpoint was signed for, and the tiles must have its hashes;
//! 2. it is copied to the archive, where there is one ([`crate::archive`]);
//! 3. the act is recorded, and a checkpoint issued that covers it;
//! 4. all tiles are made durable, then the file `pruned` ([`crate::pruned`]), which proves the act: from here on it is no part of the log;
//! 5. the segments are removed, by the next start where a crash left any.

use std::path::Path;
use std::sync::Arc;

use data_encoding::HEXLOWER;
use jiff::Timestamp;
use vidimus_core::act::{Act, Prune};
use vidimus_core::record::Kept;

use crate::archive::{self, Archive, ArchiveAt, ArchiveError};
use crate::checkpoint::Checkpoint;
use crate::counted::Counted;
use crate::file::{self, FileError};
use crate::growth::Issued;
use crate::proof::{ProveError, Prover};
use crate::pruned::{self, Pruned, PrunedError};
use crate::queue::lock;
use crate::segment::{self, Check, Segment, SegmentError};
use crate::tile;
use crate::times::Span;
use crate::tree::{self, Hash, Tree};
use crate::walk::Walk;
use crate::{ActBy, Closed, Ledger};

/// Which records may go: whole segments from the front of which every record may.
#[derive(Clone, Copy, Debug)]
pub struct Retention<'a> {
    /// Those that were made before.
    pub before: Timestamp,
    /// Those before this index: of the others it is not written down elsewhere what stands by them.
    pub stands: u64,
    /// Whether witnesses must have cosigned them too.
    pub witnessed: bool,
    /// Where they are copied to before, where anywhere.
    pub archive: Option<Archiving<'a>>,
    /// That another archive than that of what went before may begin there: it will not have that.
    pub new_archive: bool,
}

/// What is copied before it goes, and where to.
#[derive(Clone, Copy, Debug)]
pub struct Archiving<'a> {
    /// Where to.
    pub at: &'a ArchiveAt,
    /// The directory of the configurations that decided, where there is one: those that only refer to what goes are dropped with it.
    pub configurations: Option<&'a Path>,
}

impl<'a> From<&'a ArchiveAt> for Archiving<'a> {
    /// Of records alone.
    fn from(at: &'a ArchiveAt) -> Self {
        Self { at, configurations: None }
    }
}

/// Why nothing was pruned; what is said to be gone by then is.
#[derive(Debug, thiserror::Error)]
pub enum PruneError {
    #[error("{}", .0.story())]
    File(FileError),
    #[error(transparent)]
    Pruned(#[from] PrunedError),
    #[error("what would go is damaged, and stays: {0}; `audit verify` tells more")]
    Segment(SegmentError),
    #[error("what would go is not what was signed for, and stays: {0}; `audit verify` tells more")]
    Unproven(#[from] ProveError),
    #[error(
        "the hashes of what would go, or its times, are not what they were, and it stays; `audit verify` tells more"
    )]
    Inconsistent,
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    #[error("the act is not on record: {0}")]
    Closed(#[from] Closed),
    #[error("the act cannot be written: {0}")]
    Json(#[from] serde_json::Error),
}

impl From<FileError> for PruneError {
    fn from(error: FileError) -> Self {
        Self::File(error)
    }
}

impl From<SegmentError> for PruneError {
    fn from(error: SegmentError) -> Self {
        match error {
            SegmentError::File(error) => Self::File(error),
            error => Self::Segment(error),
        }
    }
}

/// The segments that are to go.
struct Front {
    segments: Vec<Segment>,
    /// What went before, where anything did.
    gone: Option<Pruned>,
    from: u64,
    minimum: u64,
    issued: Arc<Issued>,
}

impl Ledger {
    /// The index of the first record that is there: what was before was pruned. Reads a file.
    ///
    /// # Errors
    /// See [`PrunedError`].
    pub fn minimum(&self) -> Result<u64, PrunedError> {
        let pruned = pruned::read(&self.handle.shared.config.dir, &self.handle.key)?;
        Ok(pruned.map_or(0, |pruned| pruned.minimum()))
    }

    /// From which record on the log would begin if it were pruned now; `None` where nothing may go. Reads the ends of segments only, and asks
    /// the archive whether it is there.
    ///
    /// # Errors
    /// See [`PruneError`].
    pub fn prunable(&self, retention: &Retention<'_>) -> Result<Option<u64>, PruneError> {
        let Some(front) = self.front(retention)? else { return Ok(None) };
        if let Some(Archiving { at, .. }) = retention.archive {
            archive::may_begin(at, retention.new_archive, front.gone.as_ref())?;
        }
        Ok(Some(front.minimum))
    }

    /// Prunes the log: `None` where nothing may go. This waits for the disk and for a checkpoint, and reads all that is to go.
    ///
    /// # Errors
    /// See [`PruneError`].
    pub fn prune(&self, retention: &Retention<'_>, by: &ActBy<'_>) -> Result<Option<Pruned>, PruneError> {
        let _one = lock(&self.handle.pruning);
        let shared = &self.handle.shared;
        let (storage, dir) = (&*shared.storage, &shared.config.dir);
        let Some(front) = self.front(retention)? else { return Ok(None) };
        let archive = match retention.archive {
            Some(Archiving { at, configurations }) => {
                archive::may_begin(at, retention.new_archive, front.gone.as_ref())?;
                let archive = Archive::open(at.open(storage)?, dir, &self.handle.key, front.gone.as_ref())?;
                archive.check(&mut Prover::of(dir, self.handle.key.clone(), &front.issued))?;
                configurations.map_or(Ok(()), |from| archive.configurations(from))?;
                Some(archive)
            }
            None => None,
        };
        let root = self.checked(&front, archive.as_ref())?;
        if let Some(archive) = archive {
            archive.end(&front.segments, front.minimum, root)?;
        }
        let act = Act::Prune(Prune {
            archived: retention.archive.is_some(),
            before: retention.before.to_string(),
            from: front.from,
            minimum: front.minimum,
            root: HEXLOWER.encode(&root),
        });
        let (bytes, proof) = self.prove_act::<PruneError>(act, by)?;
        tile::settle(storage, dir)?;
        file::replace(storage, &pruned::path(dir), format!("{bytes}\n{proof}").as_bytes(), 0o600)?;
        pruned::remove(storage, dir, front.minimum)?;
        Ok(pruned::read(dir, &self.handle.key)?)
    }

    /// What may go: never the segment that is written, nor a record that is not signed for. The hashes of the last tile before what stays
    /// are in a full tile.
    fn front(&self, retention: &Retention<'_>) -> Result<Option<Front>, PruneError> {
        let dir = &self.handle.shared.config.dir;
        let gone = pruned::read(dir, &self.handle.key)?;
        let from = gone.as_ref().map_or(0, Pruned::minimum);
        let issued = self.handle.newest.get();
        let mut signed = issued.signed.checkpoint.size;
        if retention.witnessed {
            signed = signed.min(self.cosigned().map_or(0, |cosigned| cosigned.checkpoint.size));
        }
        let mut segments = pruned::remaining(segment::list(dir)?.0, from);
        let (mut minimum, mut count) = (from, 0);
        for (segment, next) in segments.iter().zip(segments.iter().skip(1)) {
            let covered = pruned::is_covered(next.first, signed) && next.first <= retention.stands;
            if !covered || !is_older(segment, next.first, retention.before)? {
                break;
            }
            (minimum, count) = (next.first, count + 1);
        }
        segments.truncate(count);
        Ok((count > 0).then_some(Front { segments, gone, from, minimum, issued }))
    }

    /// Reads all that is to go, and gives the root over it and all before it, which is what was signed for. Full tiles go to the archive.
    fn checked(&self, front: &Front, archive: Option<&Archive<'_>>) -> Result<Hash, PruneError> {
        let dir = &self.handle.shared.config.dir;
        let Front { from, minimum, .. } = *front;
        let mut tree = match &front.gone {
            Some(gone) => gone.tree(dir)?.ok_or(PruneError::Inconsistent)?,
            None => Tree::default(),
        };
        let check = Check { from: u64::MAX, key: None, times: true };
        let mut walk = Walk::new(&front.segments, from).behind(from).checked(check);
        let mut counted = Counted::default();
        while walk.index() < minimum {
            let Some((_, record)) = walk.next()? else { return Err(PruneError::Inconsistent) };
            counted.one();
            tree.append(tree::leaf(record), |full| -> Result<(), PruneError> {
                let stored = tile::read(dir, full.level, full.index)?;
                if stored.is_none_or(|stored| stored != full.hashes) {
                    return Err(PruneError::Inconsistent);
                }
                if let Some(archive) = archive {
                    archive.tile(full)?;
                }
                Ok(())
            })?;
        }
        let root = tree.root();
        let from_tiles = tile::frontier(dir, minimum)?.map(|tree| tree.root());
        if from_tiles != Some(root) || walk.wrong_times().is_some() {
            return Err(PruneError::Inconsistent);
        }
        let origin = self.origin().to_owned();
        let mut prover = Prover::of(dir, self.handle.key.clone(), &front.issued);
        prover.consistency(&Checkpoint { origin, size: minimum, root })?;
        Ok(root)
    }
}

/// Whether all records of a segment, which end before `end`, were made before a time. Its last seal says so; where that says none of it, as of
/// an earlier version, or a time that has not come, as something else in a record that is called `time` may have it, the records do.
fn is_older(segment: &Segment, end: u64, before: Timestamp) -> Result<bool, FileError> {
    let is_before = |span: Span| i64::from(span.last) < before.as_second();
    let seal = segment.last_seal()?.filter(|seal| seal.sequence == end);
    match seal.map(|seal| seal.times) {
        Some(times) if is_before(times) => Ok(true),
        Some(times) if i64::from(times.last) <= Timestamp::now().as_second() => Ok(false),
        _ => are_older(segment, end, before),
    }
}

/// As [`is_older`], by what each record says. What cannot be read stays.
fn are_older(segment: &Segment, end: u64, before: Timestamp) -> Result<bool, FileError> {
    let mut walk = Walk::new(std::slice::from_ref(segment), segment.first).behind(segment.first);
    while walk.index() < end {
        let record = match walk.next() {
            Ok(Some((_, record))) => Kept::read(record).ok(),
            Err(SegmentError::File(error)) => return Err(error),
            Ok(None) | Err(_) => None,
        };
        let time = record.and_then(|record| record.time().parse::<Timestamp>().ok());
        if time.is_none_or(|time| time >= before) {
            return Ok(false);
        }
    }
    Ok(true)
}
