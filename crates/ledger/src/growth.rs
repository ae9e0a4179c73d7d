//! The thread that grows the tree over what is on disk and signs checkpoints, so that a checkpoint never covers what a power loss can
//! take.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use crate::checkpoint::{self, Checkpoint, SignedCheckpoint};
use crate::file::{self, FileError};
use crate::note::SigningKey;
use crate::partial::Partial;
use crate::queue::Shared;
use crate::segment::{Reader, Segment, SegmentError};
use crate::storage::Storage;
use crate::threads::Ends;
use crate::tile;
use crate::tree::{self, Tree};

/// How many records the tree takes at once, unless a checkpoint is due before there are so many.
const MIN_BATCH: u64 = 1024;

/// A checkpoint that was issued, and the tree that it is of.
#[derive(Debug)]
pub(crate) struct Issued {
    pub(crate) signed: SignedCheckpoint,
    pub(crate) tree: Tree,
}

/// The newest checkpoint, for who shows it to others: held for moments.
#[derive(Debug)]
pub(crate) struct Newest(Mutex<Arc<Issued>>);

impl Newest {
    pub(crate) fn new(issued: Arc<Issued>) -> Self {
        Self(Mutex::new(issued))
    }

    pub(crate) fn get(&self) -> Arc<Issued> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, issued: Arc<Issued>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = issued;
    }
}

/// The right edge of the tree, and what follows it in the log.
#[derive(Debug)]
pub(crate) struct Growth {
    pub(crate) key: SigningKey,
    pub(crate) tree: Tree,
    /// Stands at the first record that is not in the tree.
    pub(crate) reader: Reader,
    pub(crate) newest: Arc<Newest>,
    pub(crate) partial: Partial,
    /// The size of the newest checkpoint.
    pub(crate) signed: u64,
}

/// Why the tree cannot grow.
#[derive(Debug, thiserror::Error)]
enum GrowthError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Segment(#[from] SegmentError),
    #[error("the log's end is not where it was written")]
    Behind,
}

/// The body of the tree's thread. It ends with a checkpoint of all records; after a failure, when the other threads have ended.
pub(crate) fn grow(shared: &Shared, mut growth: Growth) {
    let _end = Ends { shared, then: |_| {} };
    let mut issued = Instant::now();
    let mut flushed = false;
    while !flushed {
        let behind = !shared.failed() && shared.synced() > growth.signed;
        let due = behind.then(|| issued + shared.config.checkpoint_interval);
        flushed = shared.wake_ups.wait_for_growth(due);
        if shared.failed() {
            continue;
        }
        let sign = flushed || due.is_some_and(|due| due <= Instant::now());
        let enough = shared.synced() - growth.tree.size() >= MIN_BATCH;
        let grown = if sign || enough { growth.grow(shared) } else { Ok(()) };
        let signed = grown.and_then(|()| if sign { growth.sign(shared) } else { Ok(false) });
        // The log itself says what is signed for, so that nobody takes the checkpoints away unnoticed.
        let size = growth.signed;
        let said = signed.and_then(|signed| {
            match flushed {
                true => shared.issued_last(size)?,
                false if signed => shared.issued(size),
                false => {}
            }
            Ok(signed)
        });
        match said {
            Ok(true) => issued = Instant::now(),
            Ok(false) => {}
            Err(GrowthError::File(error)) => shared.fail(&error.story()),
            Err(GrowthError::Segment(SegmentError::File(error))) => shared.fail(&error.story()),
            Err(error) => shared.fail(&error.to_string()),
        }
    }
}

impl Growth {
    /// Takes into the tree what is on disk, if it is what was written: the last of it has a seal, and that is by the log's key.
    fn grow(&mut self, shared: &Shared) -> Result<(), GrowthError> {
        let (dir, end) = (&shared.config.dir, shared.synced());
        while self.tree.size() < end {
            match self.reader.next()? {
                Some((_, record)) => {
                    let leaf = tree::leaf(record);
                    self.tree.append(leaf, |full| tile::write(&*shared.storage, dir, full))?;
                }
                None => {
                    let segment = Segment::new(dir, self.tree.size());
                    self.reader = Reader::open_next(&segment, &self.reader)?;
                }
            }
        }
        // What comes after that seal may just be written.
        let ready = self.reader.ready();
        if self.reader.sealed().0 < self.tree.size() {
            ready?;
            return Err(self.reader.unsealed().map_or(GrowthError::Behind, GrowthError::Segment));
        }
        Ok(())
    }

    /// Issues a checkpoint, if there is something new to sign.
    fn sign(&mut self, shared: &Shared) -> Result<bool, GrowthError> {
        let size = self.tree.size();
        if size == self.signed {
            return Ok(false);
        }
        let origin = self.key.verifier().name().to_owned();
        let signed = Checkpoint { origin, size, root: self.tree.root() }.sign(&self.key);
        self.partial.write(&*shared.storage, &shared.config.dir, &self.tree);
        issue(&*shared.storage, &shared.config.dir, &signed)?;
        self.signed = size;
        self.newest.set(Arc::new(Issued { signed, tree: self.tree.clone() }));
        Ok(true)
    }
}

/// Publishes a checkpoint: first in the file, then in the history. So a file that is older than the history's end was put back
/// by somebody.
pub(crate) fn issue(
    storage: &dyn Storage,
    dir: &std::path::Path,
    signed: &SignedCheckpoint,
) -> Result<(), FileError> {
    file::replace(storage, &checkpoint::path(dir), signed.note.as_bytes(), 0o600)?;
    checkpoint::remember(storage, dir, signed)
}
