//! How far a sink has come: a file of its own in the data directory, replaced as a whole and synced each time.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};

/// The version of these files.
const VERSION: u8 = 1;
/// How they end.
const ENDING: &str = "json";
/// Of so many ranges of records that were not taken it is kept where they are, the newest; a file does not grow for ever.
const MOST_STUBS: usize = 256;

/// What stands in the file.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    /// The sink has taken all records before this one.
    next: u64,
    /// The log that this is of.
    origin: String,
    /// The sink: scheme, host and port.
    place: String,
    /// Records of which it has a stub alone, by the first and the last of each range.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    stubs: Vec<[u64; 2]>,
    version: u8,
}

/// A position that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum NoPosition {
    #[error("the position of a sink cannot be read or kept in {}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error(
        "{}: it is no position of a sink; put it back, or remove it: the sink then begins as a new one",
        path.display()
    )]
    Malformed { path: PathBuf },
    #[error(
        "{}: {place} was sent the log {origin}, which is not the one that is here; put that one back, or remove the file: the \
         sink then begins as a new one",
        path.display()
    )]
    OtherLog { path: PathBuf, place: String, origin: String },
    #[error(
        "{}: {place} has taken {next} records, and the log has {size}: it was put back; put the right one there, or remove the \
         file: the sink then begins as a new one, and has records of two pasts by one number",
        path.display()
    )]
    PutBack { path: PathBuf, place: String, next: u64, size: u64 },
    #[error("--sink-from {from}: the log has {size} records")]
    Beyond { from: u64, size: u64 },
    #[error(
        "--sink-from {from}: the records before {minimum} were pruned; give {minimum} for all that are there, or leave it out for the \
         present"
    )]
    BeforeAll { from: u64, minimum: u64 },
    #[error(
        "{}: {place} has taken {next} records, and those before {minimum} were pruned, so it would miss some; put the right file there, or \
         remove it: the sink then begins as a new one, and an archive has what it lacks, if anything has",
        path.display()
    )]
    Pruned { path: PathBuf, place: String, next: u64, minimum: u64 },
}

impl Kept {
    /// The first record that the sink of this file has not taken, of a log of this name that has these records.
    fn checked(self, path: &Path, (origin, there): (&str, Range<u64>)) -> Result<u64, NoPosition> {
        let Self { next, origin: other, place, .. } = self;
        let Range { start: minimum, end: size } = there;
        let is_named = path.parent().is_some_and(|directory| file_of(directory, &place) == path);
        let path = path.to_owned();
        match next {
            _ if !is_named => Err(NoPosition::Malformed { path }),
            _ if other != origin => Err(NoPosition::OtherLog { path, place, origin: other }),
            next if next > size => Err(NoPosition::PutBack { path, place, next, size }),
            // It would wait for ever, and nothing would be pruned meanwhile.
            next if next < minimum => Err(NoPosition::Pruned { path, place, next, minimum }),
            next => Ok(next),
        }
    }
}

/// How far one sink has come.
#[derive(Debug)]
pub(super) struct Position {
    path: PathBuf,
    origin: String,
    place: String,
    next: AtomicU64,
    stubs: Mutex<Vec<[u64; 2]>>,
}

impl Position {
    /// Takes up where the sink was, or begins `from` a record, the present where none is given. Where it begins is durable when this returns.
    /// Of the log, its name, and the records that are there.
    ///
    /// # Errors
    /// See [`NoPosition`].
    pub(super) fn open(
        directory: &Path,
        place: String,
        (origin, there): (&str, Range<u64>),
        from: Option<u64>,
    ) -> Result<Self, NoPosition> {
        let path = file_of(directory, &place);
        let Range { start: minimum, end: size } = there;
        let failed = |source| NoPosition::File { path: path.clone(), source };
        let (next, stubs) = match read(&path)? {
            Some(mut kept) => {
                let stubs = std::mem::take(&mut kept.stubs);
                (kept.checked(&path, (origin, minimum..size))?, stubs)
            }
            None => {
                let from = from.unwrap_or(size);
                if from > size {
                    return Err(NoPosition::Beyond { from, size });
                }
                if from < minimum {
                    return Err(NoPosition::BeforeAll { from, minimum });
                }
                make_directory(directory).map_err(failed)?;
                let (origin, stubs) = (origin.to_owned(), Vec::new());
                let kept = Kept { next: from, origin, place: place.clone(), stubs, version: VERSION };
                write(&path, &kept).map_err(failed)?;
                (from, kept.stubs)
            }
        };
        let (next, stubs) = (AtomicU64::new(next), Mutex::new(stubs));
        Ok(Self { path, origin: origin.to_owned(), place, next, stubs })
    }

    /// The first record that the sink has not taken.
    pub(super) fn get(&self) -> u64 {
        self.next.load(Ordering::Acquire)
    }

    /// Of the record that comes next the sink has a stub alone. It is kept with where it is then.
    pub(super) fn stub(&self, index: u64) {
        let mut stubs = self.stubs.lock().unwrap_or_else(PoisonError::into_inner);
        match stubs.last_mut() {
            Some([_, last]) if *last == index => {}
            Some([_, last]) if last.checked_add(1) == Some(index) => *last = index,
            _ => stubs.push([index, index]),
        }
        let surplus = stubs.len().saturating_sub(MOST_STUBS);
        stubs.drain(..surplus);
    }

    /// The sink has taken all records before `next`. This waits for the disk, and is so when it returns.
    ///
    /// # Errors
    /// When it is not known to be on the disk; then nothing has changed here.
    pub(super) fn advance(&self, next: u64) -> io::Result<()> {
        let (origin, place) = (self.origin.clone(), self.place.clone());
        let stubs = self.stubs.lock().unwrap_or_else(PoisonError::into_inner).clone();
        write(&self.path, &Kept { next, origin, place, stubs, version: VERSION })?;
        self.next.store(next, Ordering::Release);
        Ok(())
    }
}

/// The first record that some sink has not taken, by the positions in the directory; `None` where there is no sink. What is before it may
/// be pruned. A sink that is configured no longer counts as long as its file is there.
///
/// # Errors
/// See [`NoPosition`]: where one cannot be read, nothing may be pruned.
pub fn least_position(directory: &Path) -> Result<Option<u64>, NoPosition> {
    Ok(positions(directory)?.into_iter().map(|(_, kept)| kept.next).min())
}

/// Whether a sink has a position in the directory, by its [`place`](super::SinkAddress::place). One that has none begins as a new one, and what the ledger
/// has before that is never sent to it.
pub fn has_position(directory: &Path, place: &str) -> bool {
    file_of(directory, place).exists()
}

/// What is wrong with the positions in the directory, each with its file, for a log of this name that has these records.
///
/// # Errors
/// When the directory cannot be read.
pub fn wrong_positions(
    directory: &Path,
    (origin, there): (&str, Range<u64>),
) -> Result<Vec<(PathBuf, NoPosition)>, NoPosition> {
    let mut wrong = Vec::new();
    for path in files(directory)? {
        let checked = read(&path)
            .and_then(|kept| kept.map(|kept| kept.checked(&path, (origin, there.clone()))).transpose());
        wrong.extend(checked.err().map(|error| (path, error)));
    }
    Ok(wrong)
}

/// The files of sinks that are not among `places`, and which those are of.
pub(super) fn left_behind(directory: &Path, places: &[String]) -> Result<Vec<(PathBuf, String)>, NoPosition> {
    let others = positions(directory)?.into_iter().filter(|(_, kept)| !places.contains(&kept.place));
    Ok(others.map(|(path, kept)| (path, kept.place)).collect())
}

fn files(directory: &Path) -> Result<Vec<PathBuf>, NoPosition> {
    let failed = |source| NoPosition::File { path: directory.to_owned(), source };
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut all = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|ending| ending == ENDING) {
            all.push(path);
        }
    }
    all.sort();
    Ok(all)
}

fn positions(directory: &Path) -> Result<Vec<(PathBuf, Kept)>, NoPosition> {
    let kept =
        files(directory)?.into_iter().map(|path| read(&path).map(|kept| kept.map(|kept| (path, kept))));
    kept.filter_map(Result::transpose).collect()
}

/// The name is a digest: a place may be longer than a name may be.
fn file_of(directory: &Path, place: &str) -> PathBuf {
    let hash = HEXLOWER.encode(digest(&SHA256, place.as_bytes()).as_ref());
    let name: String = hash.chars().take(32).collect();
    directory.join(name).with_extension(ENDING)
}

fn read(path: &Path) -> Result<Option<Kept>, NoPosition> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(NoPosition::File { path: path.to_owned(), source }),
    };
    let kept = serde_json::from_slice(&bytes).ok().filter(|kept: &Kept| kept.version == VERSION);
    kept.map(Some).ok_or_else(|| NoPosition::Malformed { path: path.to_owned() })
}

fn make_directory(directory: &Path) -> io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    directory.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
}

/// A reader sees the old file or the new one, also after a power loss.
fn write(path: &Path, kept: &Kept) -> io::Result<()> {
    let mut text = serde_json::to_vec(kept)?;
    text.push(b'\n');
    let unfinished = path.with_extension("tmp");
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
    file.write_all(&text)?;
    file.sync_all()?;
    fs::rename(&unfinished, path)?;
    path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: &str = "syslog+tcp://siem:601";

    fn open(directory: &Path, origin: &str, size: u64, from: Option<u64>) -> Result<Position, NoPosition> {
        Position::open(directory, PLACE.to_owned(), (origin, 0..size), from)
    }

    #[test]
    fn a_new_sink_begins_at_the_present_or_where_it_is_said_and_one_that_is_known_where_it_was() {
        for (from, begins) in [(None, 10), (Some(0), 0), (Some(10), 10)] {
            let directory = tempfile::tempdir().unwrap();
            let at = directory.path().join("sinks");
            assert!(!has_position(&at, PLACE));
            assert_eq!(open(&at, "log", 10, from).unwrap().get(), begins);
            assert!(has_position(&at, PLACE) && !has_position(&at, "syslog+tcp://siem:602"));
            // A kill before anything was taken changes nothing.
            let position = open(&at, "log", 50, Some(3)).unwrap();
            assert_eq!(position.get(), begins);
            position.advance(20).unwrap();
            assert_eq!((position.get(), open(&at, "log", 50, None).unwrap().get()), (20, 20));
            assert_eq!(least_position(&at).unwrap(), Some(20));
        }
    }

    #[test]
    fn where_it_has_a_stub_alone_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let kept = || read(&file_of(directory.path(), PLACE)).unwrap().unwrap();
        for (index, stubs) in
            [(3, vec![[3, 3]]), (4, vec![[3, 4]]), (4, vec![[3, 4]]), (7, vec![[3, 4], [7, 7]])]
        {
            let position = open(directory.path(), "log", 9_000, Some(3)).unwrap();
            position.stub(index);
            position.advance(index + 1).unwrap();
            assert_eq!((kept().next, kept().stubs), (index + 1, stubs));
        }
        let position = open(directory.path(), "log", 9_000, None).unwrap();
        (10..2_000).step_by(2).for_each(|index| position.stub(index));
        position.advance(2_000).unwrap();
        assert_eq!((kept().stubs.len(), kept().stubs.last()), (MOST_STUBS, Some(&[1_998, 1_998])));
    }

    /// It would wait for ever for what is not there any more, and hold all that could be pruned.
    #[test]
    fn nothing_begins_before_the_first_record_that_is_there() {
        let directory = tempfile::tempdir().unwrap();
        let at = directory.path();
        let open = |from| Position::open(at, PLACE.to_owned(), ("log", 5..10), from);
        assert!(matches!(open(Some(4)), Err(NoPosition::BeforeAll { from: 4, minimum: 5 })));
        assert_eq!(least_position(at).unwrap(), None, "nothing is left that would hold what is pruned");
        for begins in [5, 10] {
            assert_eq!(open(Some(begins)).unwrap().get(), begins);
            fs::remove_file(file_of(at, PLACE)).unwrap();
        }
        Position::open(at, PLACE.to_owned(), ("log", 0..10), Some(4)).unwrap();
        assert!(matches!(open(None), Err(NoPosition::Pruned { next: 4, minimum: 5, .. })));
    }

    #[test]
    fn a_position_that_says_nothing_of_this_log_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let at = directory.path();
        assert!(matches!(open(at, "log", 10, Some(11)), Err(NoPosition::Beyond { from: 11, size: 10 })));
        assert_eq!(least_position(&at.join("none")).unwrap(), None);
        open(at, "log", 10, None).unwrap();
        assert!(matches!(open(at, "other", 10, None), Err(NoPosition::OtherLog { .. })));
        assert!(matches!(open(at, "log", 9, None), Err(NoPosition::PutBack { next: 10, size: 9, .. })));
        Position::open(at, "otlp+http://c:4318".to_owned(), ("log", 0..10), Some(4)).unwrap();
        assert_eq!(least_position(at).unwrap(), Some(4));
        let left = left_behind(at, &[PLACE.to_owned()]).unwrap();
        assert_eq!(left.into_iter().map(|(_, place)| place).collect::<Vec<_>>(), ["otlp+http://c:4318"]);
        let (good, at_10) = (fs::read_to_string(file_of(at, PLACE)).unwrap(), ("log", 0..10));
        assert!(wrong_positions(at, at_10.clone()).unwrap().is_empty());
        let wrong = wrong_positions(at, ("log", 0..9)).unwrap();
        assert!(
            matches!(&wrong[..], [(path, NoPosition::PutBack { size: 9, .. })] if *path == file_of(at, PLACE))
        );
        // A file is of the sink that it is named after.
        fs::write(at.join("another.json"), &good).unwrap();
        let wrong = wrong_positions(at, at_10).unwrap();
        assert!(
            matches!(&wrong[..], [(path, NoPosition::Malformed { .. })] if *path == at.join("another.json"))
        );
        fs::remove_file(at.join("another.json")).unwrap();
        for text in [
            "",
            "{}",
            "7",
            r#"{"next":1,"origin":"log","place":"x","version":1}"#,
            r#"{"next":1,"origin":"log","place":"syslog+tcp://siem:601","version":2}"#,
        ] {
            fs::write(file_of(at, PLACE), text).unwrap();
            assert!(matches!(open(at, "log", 10, None), Err(NoPosition::Malformed { .. })), "{text}");
        }
        // Whose position nobody can read may need everything.
        assert!(least_position(at).is_err());
        fs::write(file_of(at, PLACE).with_extension("tmp"), "half").unwrap();
        fs::remove_file(file_of(at, PLACE)).unwrap();
        assert_eq!(least_position(at).unwrap(), Some(4), "what a kill leaves is nothing");
    }
}
