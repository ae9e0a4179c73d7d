//! What happened: an append-only log of records that shows whether anybody touched it.
//!
//! A directory holds one log. Its source of truth are the records, in `segments/`; everything else follows from them or vouches
//! for them:
//!
//! | path | what |
//! |---|---|
//! | `segments/<first index>.log` | the records, in frames with length, CRC32C and sequence number |
//! | `checkpoint` | size and Merkle root, signed (C2SP tlog-checkpoint); issued every second while there is something new |
//! | `checkpoints` | every checkpoint ever issued: an older `checkpoint` put back is noticed |
//! | `tile/<L>/<N>` | full tiles of the tree (C2SP tlog-tiles), made again from the records when they are missing |
//! | `keys/` | the key that signs checkpoints (mode 0600) and its public half, a C2SP vkey |
//!
//! Writing: [`Ledger`]. Reading, while or after it is written, by any process: [`verify`], [`search`], [`show`].

mod checkpoint;
mod file;
mod frame;
mod note;
mod open;
mod proof;
mod queue;
mod search;
mod segment;
mod threads;
mod tile;
mod tree;
mod verify;
mod wake_ups;
mod walk;

use std::cell::RefCell;
use std::fmt;
use std::future::poll_fn;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::thread::JoinHandle;
use std::time::Duration;

use vidimus_core::decision::{About, Decision};
use vidimus_core::permit::{Receipt, Verdict};
use vidimus_core::record::Record;

pub use checkpoint::{Checkpoint, CheckpointError, SignedCheckpoint};
pub use file::FileError;
pub use frame::{Broken, MAX_RECORD};
pub use note::{KeyError, NoteError, VerifierKey};
pub use open::OpenError;
pub use proof::{Proof, ProofError, ProveError};
pub use search::{Hit, Query, Search, SearchError, Shown, search, show};
pub use segment::SegmentError;
pub use tree::Hash;
pub use verify::{Finding, MemoryError, Note, Options, Report, Source, VerifyError, default_memory, verify};

use queue::{Shared, Submitted, lock};

/// When a record counts as kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// When fsync has returned: survives a power loss.
    Sync,
    /// When the kernel has it. fsync begins [`Config::fsync_interval`] later at the latest. Survives a killed process; a power loss
    /// takes at most what was recorded in that interval and during the fsync under way.
    #[default]
    Commit,
}

/// How a log is kept.
#[derive(Clone, Debug)]
pub struct Config {
    /// The log's directory; made if missing.
    pub dir: PathBuf,
    /// The log's name in checkpoints, a URL without scheme. Fixed when the log is made: `None` takes the name it has, and gives a
    /// new log `vidimus.local/` and a random number.
    pub origin: Option<String>,
    /// When a record counts as kept.
    pub durability: Durability,
    /// A segment that reaches this size takes no further record: the next record begins another segment.
    pub segment_bytes: u64,
    /// How long after the first unsynced record fsync begins at the latest.
    pub fsync_interval: Duration,
    /// How often a checkpoint is issued while there is something new.
    pub checkpoint_interval: Duration,
    /// The maximum number of bytes that wait for a slow disk. Further records are refused.
    pub max_pending_bytes: usize,
    /// Whether opening reads every record and tile, not only what it needs to append (about 1 s per million records).
    pub check_all_on_open: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            dir: PathBuf::from("ledger"),
            origin: None,
            durability: Durability::default(),
            segment_bytes: 64 << 20,
            fsync_interval: Duration::from_millis(5),
            checkpoint_interval: Duration::from_secs(1),
            max_pending_bytes: 64 << 20,
            check_all_on_open: false,
        }
    }
}

/// Why a record was not kept. Whatever it was to be the record of must not happen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Closed {
    /// A write or fsync failed. The ledger takes nothing more until it is opened again.
    #[error("the ledger has failed: {reason}")]
    Failed { reason: Arc<str> },
    /// [`Ledger::close`] was called.
    #[error("the ledger has been closed")]
    Finished,
    /// This record only.
    #[error("the record has {bytes} bytes; at most {MAX_RECORD} are kept")]
    TooLarge { bytes: usize },
    /// This record only: the disk does not keep up.
    #[error("{bytes} bytes already wait for the disk")]
    Behind { bytes: usize },
    /// This record only: it has no JSON.
    #[error("the record cannot be serialized: {reason}")]
    Unserializable { reason: String },
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
    threads: Mutex<Vec<JoinHandle<()>>>,
}

thread_local! {
    /// The frame that the current thread is writing a record into.
    static FRAME: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl Ledger {
    /// Opens a log, or makes a new one in an empty directory. A write at the very end that did not finish is cut off; anything
    /// else that is not as it was written is refused.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(config: Config) -> Result<Self, OpenError> {
        let opened = open::open(&config)?;
        let key = opened.growth.key.verifier().clone();
        let shared = Arc::new(Shared::new(config, opened.size, opened.tail));
        let handle = Handle { shared: shared.clone(), key, cut: opened.cut, threads: Mutex::default() };
        let (growing, growth, lock_file) = (shared.clone(), opened.growth, opened.lock);
        handle.spawn("ledger-sync", move || threads::sync(&shared))?;
        handle.spawn("ledger-tree", move || {
            threads::grow(&growing, growth);
            // Not by closing the file: a child process that is just being started may have it open as well.
            let _ = lock_file.unlock();
            growing.wake_ups.finished();
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
        self.decide_or(decision, about, |_index| ()).await
    }

    /// As [`Ledger::decide`], for who has to account for every decision: where the future is dropped while the record is on its
    /// way to the disk, nobody gets the verdict, and `left` is told the index of the record.
    ///
    /// # Errors
    /// See [`Ledger::decide`].
    pub async fn decide_or(
        &self,
        decision: Decision<'_>,
        about: &About<'_>,
        left: impl FnOnce(u64),
    ) -> Result<Verdict, Closed> {
        let mut taken = Taken { index: None, left: Some(left) };
        let kept = self.keep(&Record::Decision(decision.record(about)), &mut taken.index).await;
        taken.left = None;
        let index = kept?;
        #[expect(
            clippy::disallowed_methods,
            reason = "the one place that knows: the record was kept in the line above"
        )]
        let receipt = Receipt::kept(index);
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
        self.keep(record, &mut None).await
    }

    /// Keeps a record. `taken` is its index from when it has one, which is before it is durable.
    async fn keep(&self, record: &Record<'_>, taken: &mut Option<u64>) -> Result<u64, Closed> {
        let shared = &self.handle.shared;
        poll_fn(|cx| {
            let index = match *taken {
                Some(index) => index,
                None => match with_frame(record, |frame| shared.submit(frame, cx.waker())) {
                    Ok(Submitted::Done(index)) => *taken.insert(index),
                    Ok(Submitted::Waits(index)) => {
                        *taken = Some(index);
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

    /// Takes no further record, waits until all are on disk and issues the last checkpoint. After a failure there is nothing to
    /// wait for. Other processes can open the log when this returns.
    pub async fn close(&self) {
        self.handle.shared.begin_close();
        poll_fn(|cx| self.handle.shared.wake_ups.poll_finished(cx)).await;
    }

    /// The number of records kept.
    pub fn size(&self) -> u64 {
        self.handle.shared.acknowledged()
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
}

/// A decision whose record was taken, until somebody has its verdict.
struct Taken<F: FnOnce(u64)> {
    index: Option<u64>,
    left: Option<F>,
}

impl<F: FnOnce(u64)> Drop for Taken<F> {
    fn drop(&mut self) {
        if let (Some(index), Some(left)) = (self.index, self.left.take()) {
            left(index);
        }
    }
}

/// Writes a record into this thread's frame.
fn with_frame<T>(
    record: &Record<'_>,
    then: impl FnOnce(&mut [u8]) -> Result<T, Closed>,
) -> Result<T, Closed> {
    FRAME.with_borrow_mut(|frame| {
        frame::begin(frame);
        serde_json::to_writer(&mut *frame, record)
            .map_err(|error| Closed::Unserializable { reason: error.to_string() })?;
        then(frame)
    })
}

impl Handle {
    fn spawn(&self, name: &str, body: impl FnOnce() + Send + 'static) -> Result<(), OpenError> {
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(body).map_err(|source| {
            FileError { doing: "start the threads for", path: self.shared.config.dir.clone(), source }
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
