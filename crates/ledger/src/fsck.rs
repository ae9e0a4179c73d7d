//! What is wrong in the files of a log, what it means, and what to do: for who wants it to go on, where [`crate::verify()`] is for who wants to
//! know whether to believe it.
//!
//! It is the same look, and no second one: each finding of a verification is named with its file, and with what a start does about it. Beside
//! them stands what a crash leaves, which is nothing to a verifier. Nothing is changed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use crate::checkpoint::{self, SignedCheckpoint};
use crate::cosignature;
use crate::file::{self, FileError};
use crate::note::{SigningKey, VerifierKey};
use crate::open::{key_path, public_key_path, unfinished_in};
use crate::partial;
use crate::search::newest_checkpoint;
use crate::segment::{self, Segment};
use crate::succession;
use crate::tile;
use crate::tiles::TilePath;
use crate::tree::{self, TILE};
use crate::verify::{self, Finding, Note, Options, Report, Source, VerifyError};

/// What is wrong, or worth knowing, in one place of one file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// The file, or the directory.
    pub file: PathBuf,
    /// The byte of it, where one is known.
    pub offset: Option<u64>,
    /// The record that it begins with, where one is known.
    pub record: Option<u64>,
    /// What was found.
    pub what: String,
    /// What it means.
    pub means: Means,
    /// What a start does about it, or whoever runs the gateway has to.
    pub next: String,
}

/// What a fault means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Means {
    /// Nothing is lost, and nothing has to be done.
    Noted,
    /// Nothing is lost: a start mends it by itself.
    Mended,
    /// Something is not there any more, and cannot be made again from what is.
    Lost,
    /// Something is not what was written, or was signed for: a disk did that, or somebody.
    Altered,
}

impl Means {
    /// Whether it is well, or is so after a start.
    pub const fn is_well(self) -> bool {
        matches!(self, Self::Noted | Self::Mended)
    }
}

/// What was looked at.
#[derive(Clone, Debug, Serialize)]
pub struct Fsck {
    /// The log's name; empty where no key says it.
    pub origin: String,
    /// The index of the first record that is there: those before it were pruned.
    pub minimum: u64,
    /// Records before this one are whole and the log's.
    pub records: u64,
    /// The worst first.
    pub faults: Vec<Fault>,
}

/// Looks at all files of the log in `dir`, which may be written meanwhile. `archive`: that an archive is there is right, or a copy that nobody
/// goes on with, and so has no private key.
///
/// # Errors
/// When they could not be looked at. What is wrong with them is no error.
pub fn fsck(dir: &Path, archive: bool) -> Result<Fsck, VerifyError> {
    fsck_with_progress(dir, archive, &mut |_, _| {})
}

/// As [`fsck`]. `progress` is told now and then how many of the records that are there were read, and how many were signed for.
///
/// # Errors
/// As [`fsck`].
pub fn fsck_with_progress(
    dir: &Path,
    archive: bool,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Fsck, VerifyError> {
    if !archive && !segment::dir(dir).exists() && dir.is_dir() && is_new(dir) {
        return Ok(Fsck { origin: String::new(), minimum: 0, records: 0, faults: vec![begun(dir)] });
    }
    let report = verify::verify_with_progress(dir, &Options { archive, ..Options::default() }, progress)?;
    let is_new = segment::list(dir)?.0.is_empty() && is_new(dir);
    let mut look = Look { dir, report: &report, is_new, archive, faults: Vec::new() };
    for finding in &report.findings {
        look.finding(finding);
    }
    for note in &report.notes {
        look.note(note)?;
    }
    look.keys(archive)?;
    look.partial();
    look.unfinished()?;
    look.strangers()?;
    let mut faults = look.faults;
    // What is as bad stays in the order in which it was met.
    faults.sort_by_key(|fault| std::cmp::Reverse(fault.means));
    let minimum = report.pruned().map_or(0, super::pruned::Pruned::minimum);
    // What is damaged may lie between a whole record and its seal.
    let whole = report.findings.iter().filter_map(|finding| match finding {
        Finding::Segment { index, .. } => Some(*index),
        _ => None,
    });
    let records = whole.fold(report.records.max(minimum), u64::max);
    Ok(Fsck { minimum, records, origin: report.origin, faults })
}

/// Whether nothing was ever signed for here: a first start was killed before it had made anything that the next one would not make again.
fn is_new(dir: &Path) -> bool {
    [checkpoint::path(dir), checkpoint::history_path(dir)].iter().all(|path| !path.exists())
}

/// A log that is not there yet.
fn begun(dir: &Path) -> Fault {
    Fault {
        file: dir.to_owned(),
        offset: None,
        record: None,
        what: "a first start was killed before it had made the log".to_owned(),
        means: Means::Mended,
        next: "the next start makes it".to_owned(),
    }
}

/// Where a fault is.
struct Place {
    file: PathBuf,
    offset: Option<u64>,
    record: Option<u64>,
}

impl From<PathBuf> for Place {
    fn from(file: PathBuf) -> Self {
        Self { file, offset: None, record: None }
    }
}

impl From<&PathBuf> for Place {
    fn from(file: &PathBuf) -> Self {
        file.clone().into()
    }
}

impl Place {
    fn byte(file: &Path, offset: impl Into<Option<u64>>) -> Self {
        Self { offset: offset.into(), ..Self::from(file.to_owned()) }
    }

    fn of_record(self, record: impl Into<Option<u64>>) -> Self {
        Self { record: record.into(), ..self }
    }
}

const FROM_A_COPY: &str = "the gateway does not start; put it back from a copy";

struct Look<'a> {
    dir: &'a Path,
    report: &'a Report,
    is_new: bool,
    /// Nobody has to go on with it.
    archive: bool,
    faults: Vec<Fault>,
}

impl Look<'_> {
    fn fault(&mut self, means: Means, at: impl Into<Place>, what: &impl ToString, next: &str) {
        let Place { file, offset, record } = at.into();
        let (what, next) = (what.to_string(), next.to_owned());
        self.faults.push(Fault { file, offset, record, what, means, next });
    }

    fn finding(&mut self, finding: &Finding) {
        let dir = self.dir;
        match finding {
            Finding::Key { path, .. } | Finding::CheckpointMissing { path } if self.is_new => {
                let next = "a first start was killed here; the next one makes it";
                self.fault(Means::Mended, path, finding, next);
            }
            Finding::Key { path, .. } if !path.exists() && key_path(dir).exists() => {
                let next = "a start writes it again, from checkpoint.key beside it";
                self.fault(Means::Mended, path, finding, next);
            }
            Finding::Key { path, .. } => {
                let means = if path.exists() { Means::Altered } else { Means::Lost };
                self.fault(means, path, finding, FROM_A_COPY);
            }
            Finding::WrongKey { .. } | Finding::Replaced { .. } | Finding::Rekeyed { .. } => {
                let next = "ask who began another log here";
                self.fault(Means::Altered, public_key_path(dir), finding, next);
            }
            Finding::CheckpointMissing { path } => {
                self.fault(Means::Lost, path, finding, FROM_A_COPY);
            }
            Finding::Checkpoint { path, offset, .. } => {
                let next =
                    "the gateway may not start; put it back from a copy, or from whoever kept checkpoints";
                self.fault(Means::Altered, Place::byte(path, *offset), finding, next);
            }
            Finding::RolledBack { .. } => {
                let next = "the gateway does not start: an older file, or an older log, was put back; put the newer one there";
                self.fault(Means::Altered, checkpoint::path(dir), finding, next);
            }
            Finding::HistoryShort { .. } => {
                self.fault(Means::Lost, checkpoint::history_path(dir), finding, FROM_A_COPY);
            }
            Finding::Trusted { by: Source::Cosigned, .. } | Finding::Uncosigned { .. } => {
                let next =
                    "a start does not use it, and the next checkpoint that witnesses cosign takes its place";
                self.fault(Means::Mended, cosignature::path(dir), finding, next);
            }
            Finding::Trusted { .. } => {
                self.fault(Means::Altered, succession::dir(dir), finding, FROM_A_COPY);
            }
            Finding::Archive => {
                let next = "give it as --ledger, and put the log back in its place";
                self.fault(Means::Altered, dir.to_owned(), finding, next);
            }
            finding => self.in_records(finding),
        }
    }

    /// What is wrong with records, or with the hashes of them.
    fn in_records(&mut self, finding: &Finding) {
        let dir = self.dir;
        match finding {
            // Records are missing between two files.
            Finding::Segment { path, offset: None, index, .. } => {
                let next =
                    "put the segments before this one back from a copy; a start that reads so far is refused";
                self.fault(Means::Lost, Place::from(path).of_record(*index), finding, next);
            }
            Finding::Segment { path, offset, index, .. } => {
                let next = "put the file back from a copy, and look at the disk: all records before are whole; a start that reads so far is refused";
                self.fault(Means::Altered, Place::byte(path, *offset).of_record(*index), finding, next);
            }
            Finding::Unauthenticated { path, offset, index, .. } => {
                let next =
                    "a start keeps them in aside/, goes on without them, and says so; ask who wrote them";
                self.fault(Means::Altered, Place::byte(path, *offset).of_record(*index), finding, next);
            }
            Finding::Times { path, offset } => {
                let next =
                    "no record is lost; put the file back from a copy, and search without times until then";
                self.fault(Means::Altered, Place::byte(path, *offset), finding, next);
            }
            Finding::Shorter { records, .. } => {
                let next = "the gateway does not start; put the newest segments back from a copy; a sink's receiver may have what they said";
                self.fault(Means::Lost, Place::from(segment::dir(dir)).of_record(*records), finding, next);
            }
            Finding::Altered { intact, .. } => {
                let next = "put the segments with these records back from a copy, and ask who changed them";
                self.fault(Means::Altered, Place::from(segment::dir(dir)).of_record(*intact), finding, next);
            }
            Finding::Tile { path, record } => self.tile(path, *record, finding),
            Finding::Pruned { path, .. } => {
                self.fault(Means::Altered, path, finding, FROM_A_COPY);
            }
            Finding::PrunedTiles { .. } => {
                let next = "the gateway does not start; put tile/ back from a copy, or from the archive";
                self.fault(Means::Lost, dir.join("tile"), finding, next);
            }
            finding => {
                self.fault(Means::Altered, dir.to_owned(), finding, "`vidimus audit verify` tells more");
            }
        }
    }

    /// A start looks at the last tiles of each level; if one is wrong, it makes all again whose records are there.
    fn tile(&mut self, path: &Path, record: Option<u64>, finding: &Finding) {
        let size = self.report.checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.size);
        let minimum = self.report.pruned().map_or(0, super::pruned::Pruned::minimum);
        let at =
            path.strip_prefix(self.dir.join("tile")).ok().and_then(Path::to_str).and_then(TilePath::parse);
        let (level, index) = at.map_or((0, 0), |at| (at.level.unwrap_or(0), at.index));
        let covers = (TILE as u64).saturating_pow(u32::from(level) + 1);
        let (means, next) = if index.saturating_mul(covers) < minimum {
            (Means::Lost, "records of it were pruned, so it is not made again; put it back from a copy, or from the archive".to_owned())
        } else if index >= tree::full_tiles(size, u32::from(level) + 1) * TILE as u64 {
            (Means::Mended, "a start makes it again, from the records".to_owned())
        } else {
            let last = tree::full_tiles(size, 0).saturating_sub(1);
            let last = tile::path(self.dir, 0, last);
            (
                Means::Lost,
                format!(
                    "a start does not look at it; remove {}, and it makes all tiles again, from the records",
                    last.display()
                ),
            )
        };
        self.fault(means, Place::from(path.to_owned()).of_record(record), finding, &next);
    }

    fn note(&mut self, note: &Note) -> Result<(), FileError> {
        let dir = self.dir;
        match note {
            Note::Torn { path, offset, records, .. } => {
                let next = "a start cuts it off; none of it was acknowledged as synced, and whole records in it are kept in aside/";
                self.fault(Means::Mended, Place::byte(path, *offset).of_record(*records), note, next);
            }
            Note::Unsealed { path, offset, index } => {
                let next = "a start keeps them in aside/, and goes on without them";
                self.fault(Means::Mended, Place::byte(path, *offset).of_record(*index), note, next);
            }
            Note::HistoryBehind { .. } => {
                self.fault(Means::Mended, checkpoint::history_path(dir), note, "a start appends it");
            }
            Note::SetAside { path } => {
                let next = "it is no part of the log; look at it, and remove it when it is understood";
                self.fault(Means::Noted, path, note, next);
            }
            Note::Unexpected { path } => {
                self.fault(Means::Noted, path, note, "a start leaves it; remove it");
            }
            Note::Unchecked { from, .. } if key_path(dir).exists() => {
                let next = "run this as the user that runs the gateway, who may read the key";
                self.fault(Means::Noted, Place::from(key_path(dir)).of_record(*from), note, next);
            }
            Note::ClockBack { index, .. } => {
                let next =
                    "nothing is lost; set the clock, and search such records by index or without times";
                self.fault(Means::Noted, Place::from(segment::dir(dir)).of_record(*index), note, next);
            }
            Note::Pruned(pruned) => {
                let (segments, _) = segment::list(dir)?;
                for Segment { path, first } in segments.into_iter().filter(|one| one.first < pruned.minimum())
                {
                    let what = "its records were pruned, and the process was killed before it went";
                    self.fault(
                        Means::Mended,
                        Place::from(path).of_record(first),
                        &what,
                        "a start removes it",
                    );
                }
            }
            // No faults: what is not signed for yet, what nobody asked for, and what was given. That there is no key is told by itself.
            Note::Unchecked { .. }
            | Note::Uncovered { .. }
            | Note::KeyOfTheLog
            | Note::NotSeenBefore
            | Note::Accepted { .. }
            | Note::Unwitnessed { .. }
            | Note::WitnessesNotAsked { .. }
            | Note::Succeeded { .. }
            | Note::Archive { .. } => {}
        }
        Ok(())
    }

    /// The private key, which a verifier need not have, and which key followed which.
    fn keys(&mut self, archive: bool) -> Result<(), FileError> {
        let (private, public) = (key_path(self.dir), public_key_path(self.dir));
        let Ok(verifier) = self.report.key.parse::<VerifierKey>() else {
            if !archive && !self.is_new && matches!(file::read_if_there(&private), Ok(None)) {
                self.no_private_key(private);
            }
            return Ok(());
        };
        for path in succession::unproven(self.dir, &verifier)? {
            let what = "it does not prove that a key followed another, and counts nothing";
            self.fault(Means::Noted, path, &what, "remove it, or put it back from a copy");
        }
        // An archive is written by whoever prunes the log, and has none of its own.
        if self.report.notes.iter().any(|note| matches!(note, Note::Archive { .. })) {
            return Ok(());
        }
        let text = match file::read_if_there(&private) {
            Ok(Some(text)) => text,
            Ok(None) if self.archive => {
                let next = "whoever reads or verifies this needs none; a gateway would not start with it";
                self.fault(Means::Noted, private, &"it is missing", next);
                return Ok(());
            }
            Ok(None) => {
                self.no_private_key(private);
                return Ok(());
            }
            Err(error) => {
                let next = "run this as the user that runs the gateway, who may read it";
                self.fault(Means::Noted, private, &error.story(), next);
                return Ok(());
            }
        };
        let found =
            SigningKey::parse(String::from_utf8_lossy(&text).trim_end()).map(|key| key.verifier().clone());
        match found {
            Ok(found) if found == verifier => {}
            Ok(found) if succession::known(self.dir, found.clone())?.follows(&verifier) => {
                let next = "the key was being followed when the process was killed; a start writes the new public key";
                self.fault(Means::Mended, public, &"it is the key before that in checkpoint.key", next);
            }
            Ok(_) => {
                self.fault(
                    Means::Altered,
                    private,
                    &"it is not the private key of checkpoint.vkey beside it",
                    FROM_A_COPY,
                );
            }
            Err(error) => {
                self.fault(Means::Altered, private, &error, FROM_A_COPY);
            }
        }
        Ok(())
    }

    fn no_private_key(&mut self, private: PathBuf) {
        let next = "the gateway does not start; put the key back, or begin a new log in an empty directory. All records can be read and proven";
        self.fault(Means::Lost, private, &"it is missing", next);
    }

    /// What is beside the files of a log, and none of them.
    fn strangers(&mut self) -> Result<(), FileError> {
        // Of an archive, the configurations that decided are in it.
        const NAMES: [&str; 11] = [
            "aside",
            "checkpoint",
            "checkpoints",
            "configurations",
            "cosigned",
            "keys",
            "lock",
            "partial",
            "pruned",
            "segments",
            "tile",
        ];
        for path in file::list(self.dir)?.into_iter().filter(|path| !file::is_unfinished(path)) {
            let name = path.file_name().and_then(|name| name.to_str());
            if !name.is_some_and(|name| NAMES.contains(&name)) {
                self.note(&Note::Unexpected { path })?;
            }
        }
        Ok(())
    }

    /// The partial tiles, which nobody believes who does not see them lead to a signed root. They are told of a log that is well: of
    /// another one, full tiles or the checkpoint may be what is wrong.
    fn partial(&mut self) {
        /// A writer may be in the midst of a write.
        const ATTEMPTS: u32 = 5;
        let path = partial::path(self.dir);
        for attempt in 1..=ATTEMPTS {
            let leads = |signed: SignedCheckpoint| partial::tree(self.dir, &signed.checkpoint).is_some();
            let wrong = path.exists() && newest_checkpoint(self.dir).is_ok_and(|signed| !leads(signed));
            if !wrong || !self.report.intact() {
                return;
            }
            if attempt < ATTEMPTS {
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        let what = "it does not lead to the root of the checkpoint: it is not used, and proofs read the newest records in its stead";
        self.fault(Means::Mended, path, &what, "a start writes it again");
    }

    /// Writes that never finished.
    fn unfinished(&mut self) -> Result<(), FileError> {
        let directories = unfinished_in(self.dir).chain([segment::dir(self.dir)]);
        for directory in directories.filter(|directory| directory.is_dir()) {
            for file in file::list(&directory)?.into_iter().filter(|path| file::is_unfinished(path)) {
                let what = "a write of a whole file that did not finish: it means nothing, and what it was to replace is as it was";
                self.fault(Means::Mended, file, &what, "a start removes it");
            }
        }
        Ok(())
    }
}
