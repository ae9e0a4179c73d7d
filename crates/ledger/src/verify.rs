//! Checking a log from its files alone, without changing them, by anybody who may read them.
//!
//! Every record is read again and the tree grown over it from nothing; then every signed checkpoint (of the log's history, of
//! its present, of the verifier's memory, given by hand) must be a root that the tree had at that size. Another log than the one
//! that was verified at this place before is a finding too, however consistent it is.
//!
//! Of records that no checkpoint covers yet, the seals must be by the log's key. Who may not read that key can check their form only.

use std::path::{Path, PathBuf};

use crate::aside;
use crate::checkpoint::{self, History, SignedCheckpoint};
use crate::cosignature::{self, Witnesses};
use crate::file::{self, FileError};
use crate::note::VerifierKey;
use crate::pruned;
use crate::segment::{self, Segment, SegmentError, Unauthenticated};
use crate::succession;
use crate::tree::{self, Hash, Tree};
use crate::walk::{Torn, Walk};

mod front;
mod history;
mod key;
mod memory;
mod report;
mod unsealed;
mod witnessed;

use front::Gone;
use history::{HistoryError, PastCheckpoints};
use memory::Recalled;
pub use memory::{MemoryError, default_memory};
pub use report::{Cosigned, CosignedBy, Finding, Note, Report, Source};
use unsealed::{Unsealed, unsealed};

/// Between two words of how far it is, in records: some milliseconds.
const TOLD_EVERY: u64 = 4_096;

/// What to hold a log against, beside itself.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The log's public key, if known from elsewhere. Otherwise the log's own is taken, which proves nothing against somebody
    /// who can replace the whole log.
    pub key: Option<VerifierKey>,
    /// Earlier checkpoints of this log, kept elsewhere: the log must be a continuation of each.
    pub trusted: Vec<String>,
    /// A directory outside of the log where is remembered what was verified last, see [`default_memory`]. `None`: nothing is
    /// remembered, and a log that was rolled back or replaced as a whole is not noticed.
    pub memory: Option<PathBuf>,
    /// Who must have cosigned a checkpoint of the log (C2SP tlog-cosignature).
    pub witnesses: Witnesses,
    /// That another log than the remembered one is there is right. If it is whole, it is remembered from now on.
    pub accept_new: bool,
    /// That an archive of the log is there is right: what is known of the log behind its end says nothing of it.
    pub archive: bool,
}

/// Nothing could be checked.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    #[error("{} is not a ledger: it has no segments/", dir.display())]
    NotALedger { dir: PathBuf },
    #[error("{}", .0.story())]
    File(FileError),
    #[error(transparent)]
    Memory(#[from] MemoryError),
}

impl From<FileError> for VerifyError {
    fn from(error: FileError) -> Self {
        Self::File(error)
    }
}

/// Checks the log in `dir`. A log that is being written can be checked too.
///
/// # Errors
/// See [`VerifyError`]. What is wrong with the log is no error but in the report.
pub fn verify(dir: &Path, options: &Options) -> Result<Report, VerifyError> {
    verify_with_progress(dir, options, &mut |_, _| {})
}

/// As [`verify`]. `progress` is told now and then how many of the records that are there were read, and how many were signed for.
///
/// # Errors
/// As [`verify`].
pub fn verify_with_progress(
    dir: &Path,
    options: &Options,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Report, VerifyError> {
    loop {
        let path = pruned::path(dir);
        let before = file::read_if_there(&path)?;
        let report = check(dir, options, progress);
        // What was pruned meanwhile is not missing.
        if file::read_if_there(&path)? == before {
            return report;
        }
    }
}

fn check(dir: &Path, options: &Options, progress: &mut dyn FnMut(u64, u64)) -> Result<Report, VerifyError> {
    let mut check = Check::of(dir, progress);
    let key = check.key(options)?;
    // What another process remembers may be newer than a checkpoint that was read before, but not than one that is read after.
    let recalled = match (&options.memory, &key) {
        (Some(memory), Some(key)) => Some(Recalled::of(memory, dir, key.name())?),
        _ => None,
    };
    // What witnesses cosigned before the checkpoint, which is never older, and that before the records: of a log that grows meanwhile,
    // everything signed is then read.
    if let Some(key) = &key {
        let cosigned = file::read_if_there(&cosignature::path(dir))?;
        check.checkpoints(key)?;
        if check.archive && !options.archive {
            check.find(Finding::Archive);
        }
        check.cosigned(key, cosigned, &options.witnesses);
        for note in succession::notes(dir, key)? {
            check.anchor(key, &note, Source::Succession);
        }
        check.trusted(key, recalled.as_ref(), options);
    }
    let (segments, strangers) = match segment::list(dir) {
        Ok(found) => found,
        Err(error) if error.missing() => return Err(VerifyError::NotALedger { dir: dir.to_owned() }),
        Err(error) => return Err(error.into()),
    };
    let strangers = strangers.into_iter().filter(|path| !file::is_unfinished(path));
    check.report.notes.extend(strangers.map(|path| Note::Unexpected { path }));
    check.report.notes.extend(aside::list(dir)?.into_iter().map(|path| Note::SetAside { path }));
    check.records(segments, key.as_ref())?;
    if check.archive {
        // It ends where what was archived ends, and the log goes on.
        return Ok(check.report);
    }
    if let (Some(memory), Some(recalled), Some(key), true) =
        (&options.memory, &recalled, &key, check.report.intact())
    {
        recalled.update(memory, key, &check.report.checkpoint_note)?;
    }
    Ok(check.report)
}

/// A root that the tree must have had.
#[derive(Clone, Debug)]
struct Anchor {
    size: u64,
    root: Hash,
    source: Source,
}

struct Check<'a> {
    dir: &'a Path,
    report: Report,
    /// Checkpoints but those of the history, by size, largest first.
    anchors: Vec<Anchor>,
    history: Option<PastCheckpoints>,
    /// Size of the latest checkpoint.
    signed: u64,
    /// Size of the last one in the history.
    issued: Option<u64>,
    /// Whether that is the checkpoint of an archive.
    archive: bool,
    /// What was pruned.
    gone: Option<Gone>,
    /// Is told how many records were read, and how many there are.
    progress: &'a mut dyn FnMut(u64, u64),
}

impl<'a> Check<'a> {
    fn of(dir: &'a Path, progress: &'a mut dyn FnMut(u64, u64)) -> Self {
        let (report, anchors) = Default::default();
        let (history, signed, issued, archive, gone) = Default::default();
        Self { dir, report, anchors, history, signed, issued, archive, gone, progress }
    }
}

impl Check<'_> {
    fn find(&mut self, finding: Finding) {
        self.report.find(finding);
    }

    /// The latest checkpoint, and that the history ends with it.
    fn checkpoints(&mut self, key: &VerifierKey) -> Result<(), VerifyError> {
        /// A writer may be between the two files; it is not twice in a row at the same place.
        const ATTEMPTS: usize = 5;
        for attempt in 1..=ATTEMPTS {
            let (last, rest) = checkpoint::last(self.dir, key)?;
            let latest = self.latest(key)?;
            let rest_fits = latest.as_ref().is_some_and(|latest| latest.left(&rest));
            if !rest.bytes.is_empty() && !rest_fits && attempt < ATTEMPTS {
                continue;
            }
            let path = checkpoint::history_path(self.dir);
            if !rest.bytes.is_empty() && !rest_fits {
                let reason = "what follows is not the beginning of the latest checkpoint".to_owned();
                self.find(Finding::Checkpoint { path: path.clone(), offset: rest.offset, reason });
            }
            let entries = History::open(self.dir)?;
            self.history = Some(PastCheckpoints::new(entries, rest.offset));
            self.compare(latest, last.map(|last| last.checkpoint.size));
            break;
        }
        Ok(())
    }

    /// The file `checkpoint`, if it is there and signed.
    fn latest(&mut self, key: &VerifierKey) -> Result<Option<SignedCheckpoint>, VerifyError> {
        let path = checkpoint::path(self.dir);
        let Some(note) = file::read_if_there(&path)? else {
            self.report.find_once(Finding::CheckpointMissing { path });
            return Ok(None);
        };
        match SignedCheckpoint::open(&note, key) {
            Ok(latest) => Ok(Some(latest)),
            Err(error) => {
                self.report.find_once(Finding::Checkpoint { path, offset: 0, reason: error.to_string() });
                Ok(None)
            }
        }
    }

    fn compare(&mut self, latest: Option<SignedCheckpoint>, issued: Option<u64>) {
        let Some(latest) = latest else { return };
        let size = latest.checkpoint.size;
        self.issued = issued;
        match issued {
            // It begins with the checkpoint of no records, which is there for good before there is another.
            None if size > 0 => {
                self.find(Finding::CheckpointMissing { path: checkpoint::history_path(self.dir) });
            }
            Some(issued) if issued > size => self.find(Finding::RolledBack { size, issued }),
            Some(issued) if issued == size => {}
            _ => self.report.notes.push(Note::HistoryBehind { size, issued }),
        }
        self.signed = size;
        self.archive = latest.is_archive();
        self.report.notes.extend(self.archive.then_some(Note::Archive { records: size }));
        self.report.checkpoint = Some(latest.checkpoint.clone().into());
        self.report.checkpoint_note = latest.note;
        self.anchors.push(Anchor { size, root: latest.checkpoint.root, source: Source::Checkpoint });
    }

    /// Whether there is a checkpoint that can be read. One that is missing was not rolled back, and is found as what it is.
    fn has_latest(&self) -> bool {
        self.report.checkpoint.is_some()
    }

    /// What the verifier knows from elsewhere.
    fn trusted(&mut self, key: &VerifierKey, recalled: Option<&Recalled>, options: &Options) {
        for note in &options.trusted {
            self.anchor(key, note, Source::Given);
        }
        if let Some(recalled) = recalled {
            self.remembered(key, recalled, options.accept_new);
        }
        self.anchors.sort_by_key(|anchor| std::cmp::Reverse(anchor.size));
    }

    /// What the verifier remembers: the log at this path, and the last checkpoint under this name.
    fn remembered(&mut self, key: &VerifierKey, recalled: &Recalled, accept: bool) {
        for (path, known) in &recalled.places {
            if let Some(known) = known.as_ref().filter(|known| *known != key && !key.follows(known)) {
                let (expected, found) = (known.to_string(), key.to_string());
                self.changed(accept, Finding::Replaced { path: path.clone(), expected, found });
            }
        }
        match &recalled.last {
            Some((known, _)) if known != key && !key.follows(known) => {
                let (expected, found) = (known.to_string(), key.to_string());
                self.changed(accept, Finding::Rekeyed { expected, found });
            }
            Some((_, note)) => self.anchor(key, note, Source::Remembered),
            None if recalled.places.iter().all(|(_, known)| known.is_none()) => {
                self.report.notes.push(Note::NotSeenBefore);
            }
            None => {}
        }
    }

    /// Another log than the remembered one: wrong, but where it was said that it is right.
    fn changed(&mut self, accept: bool, finding: Finding) {
        match finding {
            Finding::Replaced { expected, found, .. } | Finding::Rekeyed { expected, found } if accept => {
                let accepted = Note::Accepted { expected, found };
                if !self.report.notes.contains(&accepted) {
                    self.report.notes.push(accepted);
                }
            }
            finding => self.report.find_once(finding),
        }
    }

    fn anchor(&mut self, key: &VerifierKey, note: &str, source: Source) {
        match SignedCheckpoint::open(note.as_bytes(), key) {
            Ok(known) => {
                let checkpoint = known.checkpoint;
                if checkpoint.size > self.signed && self.archive {
                    return;
                }
                if checkpoint.size > self.signed && self.has_latest() {
                    self.find(Finding::RolledBack { size: self.signed, issued: checkpoint.size });
                }
                self.anchors.push(Anchor { size: checkpoint.size, root: checkpoint.root, source });
            }
            Err(error) => self.find(Finding::Trusted { by: source, reason: error.to_string() }),
        }
    }

    /// Reads every record and holds the growing tree against tiles and checkpoints.
    fn records(&mut self, segments: Vec<Segment>, key: Option<&VerifierKey>) -> Result<(), VerifyError> {
        let Some(mut tree) = self.front(key)? else { return Ok(()) };
        let minimum = self.minimum();
        let segments = pruned::remaining(segments, minimum);
        let seals = key.and_then(|key| self.seal_key(key));
        let unchecked = seals.is_none();
        let check = segment::Check { from: self.signed, key: seals, times: true };
        let mut walk = Walk::new(&segments, minimum).behind(minimum).checked(check);
        self.report.segments = segments.len();
        self.tell(minimum);
        let whole = loop {
            self.roots(&tree, key)?;
            match walk.next() {
                Ok(Some((_, record))) => {
                    tree.append(tree::leaf(record), |full| self.tile(full))?;
                    if tree.size().is_multiple_of(TOLD_EVERY) {
                        self.tell(tree.size());
                    }
                }
                Ok(None) => match unsealed(&mut walk)? {
                    Unsealed::More => {}
                    Unsealed::None => break true,
                    Unsealed::Torn(note) => {
                        self.report.notes.push(note);
                        break true;
                    }
                    Unsealed::Forged(error) => break self.unauthenticated(error, tree.size()),
                },
                Err(SegmentError::File(error)) => return Err(error.into()),
                Err(error) => match walk.torn(&error)? {
                    Some(Torn { segment, offset, bytes, .. }) if walk.sealed() >= self.signed => {
                        let (path, records) = (segment.path, walk.sealed());
                        self.report.notes.push(Note::Torn { path, offset, bytes, records });
                        break true;
                    }
                    None if walk.has_gone_on(&error)? => {}
                    _ => break self.unauthenticated(error, tree.size()),
                },
            }
        };
        let records = walk.sealed();
        self.tell(records);
        self.report.records = records;
        if whole {
            self.missing(records, key)?;
        }
        if let (Some(key), said) = (key, walk.said()) {
            self.said(key, said)?;
        }
        if let Some((path, offset)) = walk.wrong_times() {
            self.find(Finding::Times { path, offset });
        }
        if let Some((index, seconds)) = walk.clock_back() {
            self.report.notes.push(Note::ClockBack { index, seconds });
        }
        if records > self.signed {
            self.report.notes.push(Note::Uncovered { from: self.signed, to: records });
            if unchecked {
                self.report.notes.push(Note::Unchecked { from: self.signed, to: records });
            }
        }
        Ok(())
    }

    /// Tells how far it is.
    fn tell(&mut self, size: u64) {
        let minimum = self.minimum();
        (self.progress)(size.saturating_sub(minimum), self.signed.saturating_sub(minimum));
    }

    /// Something is wrong from here on: it is not read. Records that an earlier version left are nothing wrong, but not known to be
    /// its own.
    fn unauthenticated(&mut self, error: SegmentError, records: u64) -> bool {
        match error {
            SegmentError::Unauthenticated { path, offset, index, why: Unauthenticated::Unsealed } => {
                self.report.notes.push(Note::Unsealed { path, offset, index });
                true
            }
            error => {
                self.find(Finding::of(error, records));
                false
            }
        }
    }

    /// Holds the checkpoint and the history against what the log's end says was issued.
    fn said(&mut self, key: &VerifierKey, said: u64) -> Result<(), VerifyError> {
        let (mut size, mut issued) = (self.signed, self.issued.unwrap_or(0));
        if size.min(issued) < said {
            // A log that is being written may have issued it since.
            issued = checkpoint::last(self.dir, key)?.0.map_or(0, |last| last.checkpoint.size);
            size = self.latest(key)?.map_or(0, |latest| latest.checkpoint.size);
        }
        if size < said && self.has_latest() {
            self.report.find_once(Finding::RolledBack { size, issued: said });
        }
        if issued < said {
            self.find(Finding::HistoryShort { issued, said });
        }
        Ok(())
    }

    /// Holds the tree against every checkpoint of its size.
    fn roots(&mut self, tree: &Tree, key: Option<&VerifierKey>) -> Result<(), VerifyError> {
        while let Some(anchor) = self.anchors.pop_if(|anchor| anchor.size <= tree.size()) {
            self.root(tree, &anchor);
        }
        while let Some(anchor) = self.past(key, tree.size())? {
            self.root(tree, &anchor);
            self.report.checkpoints += 1;
        }
        Ok(())
    }

    fn root(&mut self, tree: &Tree, anchor: &Anchor) {
        if self.fits(tree, anchor) {
            self.report.confirmed = anchor.size;
        } else {
            let Anchor { size, source: by, .. } = *anchor;
            let intact = self.report.confirmed;
            self.report.find_once(Finding::Altered { size, intact, by });
        }
    }

    /// The next checkpoint of the history, if it is of at most `size` records.
    fn past(&mut self, key: Option<&VerifierKey>, size: u64) -> Result<Option<Anchor>, VerifyError> {
        let (Some(history), Some(key)) = (&mut self.history, key) else { return Ok(None) };
        if history.ahead.is_none() {
            let path = checkpoint::history_path(self.dir);
            match history.advance(key, &path) {
                Ok(anchor) => history.ahead = anchor,
                Err(HistoryError::File(error)) => return Err(error.into()),
                Err(HistoryError::Entry(finding)) => {
                    self.history = None;
                    self.find(finding);
                    return Ok(None);
                }
            }
        }
        let Some(history) = &mut self.history else { return Ok(None) };
        Ok(history.ahead.take_if(|anchor| anchor.size <= size))
    }

    /// Checkpoints of more records than there are.
    fn missing(&mut self, records: u64, key: Option<&VerifierKey>) -> Result<(), VerifyError> {
        for Anchor { size: signed, source: by, .. } in std::mem::take(&mut self.anchors) {
            self.find(Finding::Shorter { records, signed, by });
        }
        // Of a log that is being written, the history may have grown since its end was looked at; that part is not read.
        if let Some(Anchor { size: signed, source: by, .. }) = self.past(key, u64::MAX)? {
            self.find(Finding::Shorter { records, signed, by });
        }
        Ok(())
    }
}
