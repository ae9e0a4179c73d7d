//! What happened: an append-only log of records that shows whether anybody touched it.
//!
//! A directory holds one log. Its source of truth are the records, in `segments/`; everything else follows from them or vouches
//! for them:
//!
//! | path | what |
//! |---|---|
//! | `segments/<first index>.log` | the records, in frames with length, CRC32C and sequence number; behind each write a seal by the log's key |
//! | `checkpoint` | size and Merkle root, signed (C2SP tlog-checkpoint); issued every second while there is something new |
//! | `checkpoints` | every checkpoint ever issued: an older `checkpoint` put back is noticed |
//! | `cosigned` | the newest checkpoint that enough witnesses cosigned, with their lines (C2SP tlog-cosignature) |
//! | `tile/<L>/<N>` | full tiles of the tree (C2SP tlog-tiles), made again from the records when they are missing |
//! | `pruned` | that records went from the front, proven by the record of who pruned them |
//! | `keys/` | the key that signs checkpoints (mode 0600) and its public half, a C2SP vkey |
//! | `aside/` | what a start took from the log's end because nothing says that the log's writer wrote it |
//!
//! Its form, byte by byte and with an example, is in `docs/ledger-format.md`.
//!
//! Writing: [`Ledger`]. Reading, while or after it is written, by any process: [`verify`], [`fsck`],
//! [`search`], [`show`], [`read_from`].

mod act;
mod archive;
mod aside;
mod checkpoint;
mod closed;
mod config;
mod cosignature;
mod counted;
mod file;
mod frame;
mod fsck;
mod growth;
mod nodes;
mod note;
mod open;
mod partial;
mod primitives;
mod proof;
mod prune;
mod pruned;
mod queue;
mod read;
mod rotate;
mod seal;
mod search;
mod sectors;
mod segment;
pub mod storage;
mod submission;
mod succession;
mod tail;
mod threads;
mod tile;
mod tiles;
mod times;
mod tree;
mod verify;
mod wake_ups;
mod walk;

use std::cell::RefCell;
use std::fmt;
use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::thread::JoinHandle;
use std::time::Duration;

use serde::Serialize;
use vidimus_core::decision::{About, Decision};
use vidimus_core::permit::{Receipt, Room, Verdict};
use vidimus_core::record::{EffectRecord, Record};

pub use act::ActBy;
pub use archive::{ArchiveAt, ArchiveError, Bucket, Fetched, NoPlace, fetch_archive};
pub use aside::SetAside;
pub use checkpoint::{Checkpoint, CheckpointError, SignedCheckpoint};
pub use closed::Closed;
pub use config::{Config, Durability};
pub use cosignature::{Cosignature, KeepError, WitnessKey, Witnesses, cosigned};
pub use counted::records_read;
pub use file::FileError;
pub use frame::{Broken, MAX_RECORD};
pub use fsck::{Fault, Fsck, Means, fsck, fsck_with_progress};
pub use note::{KeyError, NoteError, VerifierKey};
pub use open::OpenError;
pub use proof::{Proof, ProofError, ProveError, Prover};
pub use prune::{Archiving, PruneError, Retention};
pub use pruned::{Pruned, PrunedError, pruned};
pub use read::{Reading, Watermark, read_from};
pub use rotate::RotateError;
pub use search::{
    Hit, Matcher, Query, Search, SearchError, Shown, ShownIntact, has_no_gap, known_key, newest_checkpoint,
    search, show, show_intact, signed_for,
};
pub use segment::{SegmentError, Unauthenticated};
pub use tiles::{BUNDLE, TilePath, Tiles, TilesError, bundle_root, root_of_bundle};
pub use tree::Hash;
pub use verify::{
    Cosigned, CosignedBy, Finding, MemoryError, Note, Options, Report, Source, VerifyError, default_memory,
    verify, verify_with_progress,
};

use growth::Newest;
use open::Opened;
use queue::{Purpose, Shared, Submitted, lock};
use storage::{Disk, Storage};

#[cfg(test)]
mod format_page;
// Here and not in `queue.rs`, which `tests/interleavings` includes.
#[cfg(test)]
#[path = "queue/tests.rs"]
mod queue_tests;

/// What a power loss would take, in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsynced {
    /// The age of the oldest record that is written and not on disk.
    pub now: Duration,
    /// The longest that this has been since the log was opened.
    pub longest: Duration,
}

/// An open log. Clones are the same log.
///
/// When the last clone goes, what was recorded is synced and a last checkpoint issued, which waits for the disk;
/// [`Ledger::close`] does the same without blocking.
#[derive(Clone, Debug)]
pub struct Ledger {
    handle: Arc<Handle>,
}

struct Handle {
    shared: Arc<Shared>,
    key: VerifierKey,
    cut: u64,
    aside: Vec<SetAside>,
    newest: Arc<Newest>,
    cosigned: Mutex<Option<Arc<SignedCheckpoint>>>,
    /// Held by who prunes.
    pruning: Mutex<()>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

thread_local! {
    /// The frame that the current thread is writing a record into.
    static FRAME: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl Ledger {
    /// Opens a log, or makes a new one in an empty directory. A write at the very end that did not finish is cut off. Whole records
    /// behind the last checkpoint that nothing authenticates are set aside ([`Ledger::set_aside`]). Anything else that is not as it
    /// was written is refused.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(config: Config) -> Result<Self, OpenError> {
        Self::open_on(Arc::new(Disk), config)
    }

    /// As [`Ledger::open`], with every change of a file made through `storage`.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open_on(storage: Arc<dyn Storage>, config: Config) -> Result<Self, OpenError> {
        let Opened { lock, size, end, growth, cut, aside, cosigned } = open::open(&config, &*storage)?;
        let (key, newest) = (growth.key.verifier().clone(), growth.newest.clone());
        let cosigned = Mutex::new(cosigned.map(Arc::new));
        let shared = Arc::new(Shared::new(config, storage, size, end));
        let (pruning, threads) = Default::default();
        let handle = Handle { shared, key, cut, aside, newest, cosigned, pruning, threads };
        handle.spawn("ledger-write", threads::write)?;
        handle.spawn("ledger-sync", threads::sync)?;
        handle.spawn("ledger-tree", move |shared| {
            // The last of the three to end.
            growth::grow(shared, growth);
            // Not by closing the file: a child process that is just being started may have it open as well.
            let _ = lock.unlock();
            shared.wake_ups.finished();
        })?;
        Ok(Self { handle: Arc::new(handle) })
    }

    /// Keeps a decision on record, and gives what follows from it: the permit of its call, if it allows it. When this returns, the
    /// record is as durable as configured.
    ///
    /// This consumes the decision, so it is recorded once and gives one verdict:
    ///
    /// ```compile_fail,E0382
    /// # use vidimus_core::decision::{About, Decision};
    /// # use vidimus_ledger::{Closed, Ledger};
    /// # async fn example(ledger: Ledger, decision: Decision<'_>, about: About<'_>) -> Result<(), Closed> {
    /// let first = ledger.decide(decision, &about).await?;
    /// let second = ledger.decide(decision, &about).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// ```
    /// # use vidimus_core::decision::{About, Decision};
    /// # use vidimus_ledger::{Closed, Ledger};
    /// # async fn example(
    /// #     ledger: Ledger, decision: Decision<'_>, another: Decision<'_>, about: About<'_>,
    /// # ) -> Result<(), Closed> {
    /// let first = ledger.decide(decision, &about).await?;
    /// let second = ledger.decide(another, &about).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// A future that is dropped before it is polled keeps nothing. Dropped later, the record is kept and nobody gets its permit;
    /// see [`Ledger::decide_or`].
    ///
    /// # Errors
    /// See [`Closed`]. There is no verdict then, so nothing can be carried out.
    pub async fn decide(&self, decision: Decision<'_>, about: &About<'_>) -> Result<Verdict, Closed> {
        self.decide_or(decision, about, |_index, _room| ()).await
    }

    /// As [`Ledger::decide`], for who has to account for every decision: where the future is dropped while the record is on its
    /// way to the disk, nobody gets the verdict, and `left` is told the index of the record, with the room for that of the end.
    ///
    /// # Errors
    /// See [`Ledger::decide`].
    pub async fn decide_or(
        &self,
        decision: Decision<'_>,
        about: &About<'_>,
        left: impl FnOnce(u64, Room),
    ) -> Result<Verdict, Closed> {
        let mut taken = Taken { kept: None, left: Some(left) };
        let record = decision.record(about);
        let purpose = Purpose::Decision { kept: decision.keeps().answer };
        let kept = self.keep(&record, purpose, &mut taken.kept).await;
        taken.left = None;
        let index = kept?;
        let room = taken.kept.take().map(|(_, room)| room).unwrap_or_default();
        #[expect(
            clippy::disallowed_methods,
            reason = "the one place that knows: the record was kept in the line above"
        )]
        let receipt = Receipt::kept(index, room);
        Ok(decision.recorded(receipt, about.id.clone()))
    }

    /// Keeps a record, and gives its index in the log. When this returns, the record is as durable as configured.
    ///
    /// The index opens nothing, whatever the record says. There is no way from it to a permit:
    ///
    /// ```compile_fail,E0308
    /// # use vidimus_core::{permit::Permit, record::Record};
    /// # use vidimus_ledger::{Closed, Ledger};
    /// # async fn example(ledger: Ledger, refusal: Record<'_>) -> Result<(), Closed> {
    /// let permit: Permit = ledger.record(&refusal).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// nor does it stand for the record of a decision:
    ///
    /// ```compile_fail,E0308
    /// # use std::sync::Arc;
    /// # use vidimus_core::{decision::Decision, record::Record};
    /// # use vidimus_ledger::{Closed, Ledger};
    /// # async fn example(ledger: Ledger, effect: Record<'_>, decision: Decision<'_>, id: Arc<str>) -> Result<(), Closed> {
    /// let kept = ledger.record(&effect).await?;
    /// let verdict = decision.recorded(kept, id);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// With [`Ledger::decide`], and with nothing but a number made of the index, both compile:
    ///
    /// ```
    /// # use vidimus_core::{decision::{About, Decision}, permit::Verdict, record::Record};
    /// # use vidimus_ledger::{Closed, Ledger};
    /// # async fn example(
    /// #     ledger: Ledger, refusal: Record<'_>, decision: Decision<'_>, about: About<'_>,
    /// # ) -> Result<(), Closed> {
    /// let kept: u64 = ledger.record(&refusal).await?;
    /// let verdict: Verdict = ledger.decide(decision, &about).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// A future that is dropped before it is polled keeps nothing. Dropped later, the record is kept and nobody learns of it.
    ///
    /// # Errors
    /// See [`Closed`].
    pub async fn record(&self, record: &Record<'_>) -> Result<u64, Closed> {
        self.keep(record, Purpose::Only, &mut None).await
    }

    /// Keeps the record of an admitted call's end, and gives its index in the log. When this returns, the record is as durable as
    /// configured.
    ///
    /// It has happened, so it is taken however many records wait for the disk: `room` was kept for it when the call was decided.
    ///
    /// A future that is dropped before it is polled keeps nothing. Dropped later, the record is kept and nobody learns of it.
    ///
    /// # Errors
    /// See [`Closed`]; never [`Closed::Behind`].
    pub async fn end(&self, room: Room, record: &EffectRecord<'_>) -> Result<u64, Closed> {
        let kept = self.keep(record, Purpose::End, &mut None).await;
        drop(room);
        kept
    }

    /// Keeps a record. `taken` is its index and its room from when it has them, which is before it is durable.
    async fn keep(
        &self,
        record: &impl Serialize,
        purpose: Purpose,
        taken: &mut Option<(u64, Room)>,
    ) -> Result<u64, Closed> {
        let shared = &self.handle.shared;
        poll_fn(|cx| {
            let index = match taken {
                Some((index, _)) => *index,
                None => match with_frame(record, |frame| shared.submit(frame, purpose, cx.waker())) {
                    Ok(Submitted::Done(index, room)) => {
                        *taken = Some((index, room));
                        index
                    }
                    Ok(Submitted::Waits(index, room)) => {
                        *taken = Some((index, room));
                        return Poll::Pending;
                    }
                    Err(closed) => return Poll::Ready(Err(closed)),
                },
            };
            shared.poll(index, cx.waker()).map_ok(|()| index)
        })
        .await
    }

    /// Whether records are taken.
    pub fn is_open(&self) -> bool {
        self.handle.shared.is_open()
    }

    /// Takes no further record, waits until all are on disk and issues the last checkpoint; after a failure, waits for the writes
    /// and syncs that are under way. Other processes can open the log when this returns.
    pub async fn close(&self) {
        self.handle.shared.begin_close();
        poll_fn(|cx| self.handle.shared.wake_ups.poll_finished(cx)).await;
    }

    /// How long records were written and not on disk: whether [`Config::fsync_interval`] is kept.
    pub fn unsynced(&self) -> Unsynced {
        let shared = &self.handle.shared;
        let now = shared.wake_ups.unsynced_since().map_or(Duration::ZERO, |since| since.elapsed());
        Unsynced { now, longest: shared.longest_unsynced().max(now) }
    }

    /// The number of records kept.
    pub fn size(&self) -> u64 {
        self.handle.shared.acknowledged()
    }

    /// How far the log has come.
    pub fn watermark(&self) -> Watermark {
        let shared = &self.handle.shared;
        // In this order: what is signed for was on disk, and what is on disk was kept.
        let (signed, durable) = (shared.signed(), shared.synced());
        Watermark { signed, durable, kept: shared.acknowledged().max(durable) }
    }

    /// The records from `index` on; see [`read_from`].
    ///
    /// # Errors
    /// See [`SearchError`].
    pub fn read_from(&self, index: u64) -> Result<Reading, SearchError> {
        read_from(&self.handle.shared.config.dir, index)
    }

    /// Proofs against the newest checkpoint.
    pub fn prover(&self) -> Prover {
        Prover::of(&self.handle.shared.config.dir, self.handle.key.clone(), &self.handle.newest.get())
    }

    /// What clients of C2SP tlog-tiles read of the log, up to the newest checkpoint.
    pub fn tiles(&self) -> Tiles {
        Tiles::new(&self.handle.shared.config.dir, self.handle.newest.get())
    }

    /// The newest checkpoint that enough witnesses cosigned, their lines behind the log's own.
    pub fn cosigned(&self) -> Option<Arc<SignedCheckpoint>> {
        lock(&self.handle.cosigned).clone()
    }

    /// Keeps a checkpoint that enough witnesses cosigned, durably. This waits for the disk.
    ///
    /// # Errors
    /// See [`KeepError`].
    pub fn keep_cosigned(&self, note: &str) -> Result<(), KeepError> {
        let Handle { shared, key, newest, .. } = &*self.handle;
        let cosigned = SignedCheckpoint::open(note.as_bytes(), key)?;
        let (size, signed) = (cosigned.checkpoint.size, newest.get().signed.checkpoint.size);
        if size > signed {
            return Err(KeepError::Newer { size, signed });
        }
        if !shared.is_open() {
            return Err(KeepError::Closed);
        }
        cosignature::keep(&*shared.storage, &shared.config.dir, &cosigned)?;
        *lock(&self.handle.cosigned) = Some(Arc::new(cosigned));
        Ok(())
    }

    /// The key that checkpoints are signed with, as a C2SP vkey.
    pub fn public_key(&self) -> String {
        self.handle.key.to_string()
    }

    /// The log's name in checkpoints.
    pub fn origin(&self) -> &str {
        self.handle.key.name()
    }

    /// Why the ledger failed, if it did.
    pub fn failure(&self) -> Option<Closed> {
        self.handle.shared.failed().then(|| self.handle.shared.closed())
    }

    /// Bytes of a write that a crash had cut short and that opening removed. None of it was ever acknowledged.
    pub fn cut_on_open(&self) -> u64 {
        self.handle.cut
    }

    /// What opening took from the log's end because nothing says that the log's writer wrote it, and where that is kept.
    pub fn set_aside(&self) -> &[SetAside] {
        &self.handle.aside
    }
}

/// A decision whose record was taken, until somebody has its verdict.
struct Taken<F: FnOnce(u64, Room)> {
    kept: Option<(u64, Room)>,
    left: Option<F>,
}

impl<F: FnOnce(u64, Room)> Drop for Taken<F> {
    fn drop(&mut self) {
        if let (Some((index, room)), Some(left)) = (self.kept.take(), self.left.take()) {
            left(index, room);
        }
    }
}

/// Writes a record into this thread's frame.
fn with_frame<T>(
    record: &impl Serialize,
    then: impl FnOnce(&mut Vec<u8>) -> Result<T, Closed>,
) -> Result<T, Closed> {
    FRAME.with_borrow_mut(|frame| {
        frame::begin(frame);
        serde_json::to_writer(&mut *frame, record)
            .map_err(|error| Closed::Unserializable { reason: error.to_string() })?;
        then(frame)
    })
}

impl Handle {
    fn spawn(&self, name: &str, body: impl FnOnce(&Shared) + Send + 'static) -> Result<(), OpenError> {
        let shared = self.shared.clone();
        let thread = std::thread::Builder::new().name(name.to_owned());
        let thread = thread.spawn(move || body(&shared)).map_err(|source| FileError {
            doing: "start the threads for",
            path: self.shared.config.dir.clone(),
            source,
        })?;
        lock(&self.threads).push(thread);
        Ok(())
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.begin_close();
        for thread in lock(&self.threads).drain(..) {
            // A thread that panicked has failed the ledger already.
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ledger")
            .field("dir", &self.shared.config.dir)
            .field("size", &self.shared.acknowledged())
            .field("open", &self.shared.is_open())
            .finish_non_exhaustive()
    }
}
