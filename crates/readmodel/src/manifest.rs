//! Which files there are, of which records of which log. It is replaced as a whole, after the files that it names are on disk.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::file::Written;
use crate::{ModelError, private};

/// Of the form of the files. Others are not read: they are made again.
const VERSION: u32 = 5;

const NAME: &str = "manifest";

/// Held by the process that writes.
const LOCK: &str = "lock";

/// Sealed records, in order and without a gap.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    version: u32,
    /// Index of the first record: what was before it when the model was begun, or was pruned since, is in no table.
    pub(crate) first: u64,
    pub(crate) ranges: Vec<Range>,
}

/// The files of some records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Range {
    /// Index of the first.
    pub(crate) first: u64,
    /// How many.
    pub(crate) records: u64,
    /// How many of them cannot be read as records.
    pub(crate) unreadable: u64,
    /// The times of them, Unix microseconds; `None` where one has none that can be read.
    pub(crate) times: Option<(i64, i64)>,
    /// The root over the last bundle of them, hex: by it the log is known again.
    pub(crate) last_bundle: String,
    /// The records as rows.
    pub(crate) rows: Written,
    /// Sums by hour.
    pub(crate) hours: Written,
    /// Which rows can have a text. An index that was made before there were sieves has none, and its rows are all read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) sieve: Option<Written>,
}

impl Range {
    /// Index behind the last record.
    pub(crate) fn end(&self) -> u64 {
        self.first.saturating_add(self.records)
    }

    pub(crate) fn files(&self) -> impl Iterator<Item = &Written> {
        [&self.rows, &self.hours].into_iter().chain(&self.sieve)
    }
}

impl Manifest {
    pub(crate) fn new(first: u64) -> Self {
        Self { version: VERSION, first, ranges: Vec::new() }
    }

    /// Index behind the last record that is sealed.
    pub(crate) fn end(&self) -> u64 {
        self.ranges.last().map_or(self.first, Range::end)
    }

    /// `None` where there is none that can be used: it is missing, damaged, or of another version.
    pub(crate) fn read(dir: &Path) -> Result<Option<Self>, ModelError> {
        let path = dir.join(NAME);
        let mut text = String::new();
        let read = private::open(&path).and_then(|mut file| file.read_to_string(&mut text));
        match read {
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidData) => {
                Ok(None)
            }
            read => read.map(|_| Self::parse(&text)).map_err(ModelError::io("read", &path)),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let (json, sum) = text.strip_suffix('\n')?.rsplit_once('\n')?;
        let manifest: Self = serde_json::from_str(json)
            .ok()
            .filter(|_| sum == format!("{:08x}", crc32c::crc32c(json.as_bytes())))?;
        let mut next = manifest.first;
        let is_whole = manifest.ranges.iter().all(|range| {
            let follows = range.first == next && range.records > 0;
            next = range.end();
            // Nothing leads out of the directory.
            follows && range.files().all(|file| !file.name.contains('/'))
        });
        Some(manifest).filter(|manifest| is_whole && manifest.version == VERSION)
    }

    /// Takes the place of the one that is there, durably, and removes what it does not name.
    pub(crate) fn write(&self, dir: &Path) -> Result<(), ModelError> {
        let (path, temporary) = (dir.join(NAME), dir.join(format!("{NAME}.tmp")));
        let json = serde_json::to_string(self).map_err(|error| ModelError::Query(error.to_string()))?;
        let text = format!("{json}\n{:08x}\n", crc32c::crc32c(json.as_bytes()));
        let sync = |dir: &Path| File::open(dir).and_then(|dir| dir.sync_all());
        // The names of the files before that of what says that they are there.
        sync(dir).map_err(ModelError::io("sync", dir))?;
        private::create(&temporary)
            .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
            .and_then(|()| fs::rename(&temporary, &path))
            .and_then(|()| sync(dir))
            .map_err(ModelError::io("write", &path))?;
        self.sweep(dir);
        Ok(())
    }

    /// Removes files of the model that this does not name: of a process that was killed, or whose records stand in larger ones now. That one
    /// cannot be removed harms nothing.
    pub(crate) fn sweep(&self, dir: &Path) {
        let files = self.ranges.iter().flat_map(Range::files);
        let named: HashSet<&str> = files.map(|file| file.name.as_str()).chain([NAME, LOCK]).collect();
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            // Whoever names a directory of other files loses none of them.
            let whole = name.strip_suffix(".tmp").unwrap_or(name);
            let is_ours = whole.ends_with(".records.parquet")
                || whole.ends_with(".hours.parquet")
                || whole.ends_with(".records.sieve")
                || name == "manifest.tmp";
            if is_ours && !named.contains(name) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

/// The right to write in a model's directory, while it is held. `None` where another process has it.
pub(crate) fn lock(dir: &Path) -> Result<Option<File>, ModelError> {
    private::make_dir(dir).map_err(ModelError::io("make", dir))?;
    let path: PathBuf = dir.join(LOCK);
    let file = private::open_or_make(&path).map_err(ModelError::io("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(fs::TryLockError::WouldBlock) => Ok(None),
        Err(fs::TryLockError::Error(error)) => Err(ModelError::io("lock", &path)(error)),
    }
}
