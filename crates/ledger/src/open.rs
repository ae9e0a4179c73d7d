//! Opening a log: what is there must be whole, up to a write at the very end that a crash cut short.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;

use crate::Config;
use crate::checkpoint::{self, Checkpoint, CheckpointError, SignedCheckpoint};
use crate::file::{self, FileError};
use crate::note::{self, KeyError, SigningKey};
use crate::queue::Tail;
use crate::segment::{self, Segment, SegmentError};
use crate::threads::{self, Growth};
use crate::tile;
use crate::tree::{self, TILE, Tree};
use crate::walk::{self, Torn, Walk};

/// Why a log is not opened. Nothing has been changed then, except that an empty directory may have got its key.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("{}", .0.story())]
    File(FileError),
    #[error("{} is in use by another process", dir.display())]
    InUse { dir: PathBuf },
    #[error("{}: {source}", path.display())]
    Key { path: PathBuf, source: KeyError },
    #[error("{} is missing, but the log is not new; restore the key, or begin a new log in an empty directory", path.display())]
    KeyMissing { path: PathBuf },
    #[error("{} is not the public key of {}", public.display(), private.display())]
    KeyPair { public: PathBuf, private: PathBuf },
    #[error("the log's origin is '{found}', not '{configured}'")]
    Origin { configured: String, found: String },
    #[error("{} is missing, but the log is not new", path.display())]
    CheckpointMissing { path: PathBuf },
    #[error("{} at byte {offset}: {source}", path.display())]
    Checkpoint { path: PathBuf, offset: u64, source: CheckpointError },
    #[error("{} at byte {offset}: {bytes} bytes at the end are not the beginning of the latest checkpoint", path.display())]
    History { path: PathBuf, offset: u64, bytes: usize },
    #[error("the checkpoint of {size} records was rolled back: one of {issued} records has been issued")]
    RolledBack { size: u64, issued: u64 },
    #[error("the log has {records} records, but a checkpoint of {signed} has been signed")]
    Shorter { records: u64, signed: u64 },
    #[error(
        "the first {size} records are not those that the checkpoint of that size was signed for; `audit verify` tells more"
    )]
    Altered { size: u64 },
    #[error("{}", segment_story(.0))]
    Segment(SegmentError),
}

fn segment_story(error: &SegmentError) -> String {
    match error {
        SegmentError::File(error) => error.story(),
        damage => format!(
            "{damage}; this is damage and not a write that a crash cut short, so nothing was changed; `audit verify` tells more"
        ),
    }
}

impl From<FileError> for OpenError {
    fn from(error: FileError) -> Self {
        Self::File(error)
    }
}

impl From<SegmentError> for OpenError {
    fn from(error: SegmentError) -> Self {
        Self::Segment(error)
    }
}

/// A log that is ready to be appended to.
#[derive(Debug)]
pub(crate) struct Opened {
    /// Held as long as the log is open.
    pub(crate) lock: File,
    pub(crate) size: u64,
    pub(crate) tail: Tail,
    pub(crate) growth: Growth,
    /// Bytes of an unfinished write that were cut from the end.
    pub(crate) cut: u64,
}

/// The path of the private key.
fn key_path(dir: &Path) -> PathBuf {
    dir.join("keys").join("checkpoint.key")
}

/// The path of the public key, a C2SP vkey.
pub(crate) fn public_key_path(dir: &Path) -> PathBuf {
    dir.join("keys").join("checkpoint.vkey")
}

pub(crate) fn open(config: &Config) -> Result<Opened, OpenError> {
    let dir = &config.dir;
    for dir in [dir.clone(), dir.join("keys"), segment::dir(dir)] {
        file::make_dir(&dir)?;
    }
    let lock = locked(dir)?;
    let (segments, strangers) = segment::list(dir)?;
    let key = key(config, segments.is_empty())?;
    let latest = latest(dir, &key, segments.is_empty())?;
    let segments = match segments {
        none if none.is_empty() && latest.checkpoint.size == 0 => {
            Segment::new(dir, 0).create()?;
            vec![Segment::new(dir, 0)]
        }
        none if none.is_empty() => {
            return Err(OpenError::Shorter { records: 0, signed: latest.checkpoint.size });
        }
        some => some,
    };
    let (tree, walk) = tree_at(config, &segments, &latest.checkpoint)?;
    let end = End::find(tree, walk, latest.checkpoint.size)?;
    // Nothing has been written so far; everything that can be refused has been.
    for path in strangers.iter().filter(|path| walk::unfinished(path)) {
        std::fs::remove_file(path).map_err(FileError::on("remove", path))?;
    }
    end.ready(dir, lock, key, latest)
}

fn locked(dir: &Path) -> Result<File, OpenError> {
    let path = dir.join("lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(FileError::on("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse { dir: dir.to_owned() }),
        Err(TryLockError::Error(source)) => Err(FileError { doing: "lock", path, source }.into()),
    }
}

/// The log's key. Made only for a log that does not exist yet: a new key would take its history from an old one.
fn key(config: &Config, new: bool) -> Result<SigningKey, OpenError> {
    let dir = &config.dir;
    let (private, public) = (key_path(dir), public_key_path(dir));
    let wrong = |path: &Path, source| OpenError::Key { path: path.to_owned(), source };
    let key = match file::read_if_there(&private)? {
        Some(bytes) => {
            let text = String::from_utf8_lossy(&bytes);
            SigningKey::parse(text.trim_end()).map_err(|source| wrong(&private, source))?
        }
        None if new && !checkpoint::path(dir).exists() && !checkpoint::history_path(dir).exists() => {
            let origin = config.origin.clone().map_or_else(random_origin, Ok)?;
            let key = SigningKey::generate(&origin).map_err(|source| wrong(&private, source))?;
            let secret = key.secret_text().map_err(|source| wrong(&private, source))?;
            file::replace(&private, format!("{secret}\n").as_bytes(), 0o600)?;
            key
        }
        None => return Err(OpenError::KeyMissing { path: private }),
    };
    let text = format!("{}\n", key.verifier());
    match file::read_if_there(&public)? {
        Some(bytes) if bytes == text.as_bytes() => {}
        Some(_) => return Err(OpenError::KeyPair { public, private }),
        None => file::replace(&public, text.as_bytes(), 0o644)?,
    }
    match &config.origin {
        Some(configured) if configured != key.verifier().name() => {
            Err(OpenError::Origin { configured: configured.clone(), found: key.verifier().name().to_owned() })
        }
        _ => Ok(key),
    }
}

/// `vidimus.local/` and 16 random hexadecimal digits.
fn random_origin() -> Result<String, OpenError> {
    let mut bytes = [0; 8];
    aws_lc_rs::rand::fill(&mut bytes)
        .map_err(|_| OpenError::Key { path: PathBuf::from("random numbers"), source: KeyError::Rejected })?;
    Ok(format!("vidimus.local/{}", note::hex(&bytes)))
}

/// The latest checkpoint, which is also the last of the history when this returns. A new log begins with one of no records, so
/// that a log without a checkpoint is a log that lost it.
fn latest(dir: &Path, key: &SigningKey, new: bool) -> Result<SignedCheckpoint, OpenError> {
    let (path, history) = (checkpoint::path(dir), checkpoint::history_path(dir));
    let wrong = |path: &Path, offset| {
        let path = path.to_owned();
        move |source| OpenError::Checkpoint { path, offset, source }
    };
    let (last, rest) = checkpoint::last(dir)?;
    let latest = match file::read_if_there(&path)? {
        Some(note) => SignedCheckpoint::open(&note, key.verifier()).map_err(wrong(&path, 0))?,
        None if new && last.is_none() && rest.bytes.is_empty() => {
            let origin = key.verifier().name().to_owned();
            let first = Checkpoint { origin, size: 0, root: Tree::default().root() }.sign(key);
            threads::issue(dir, &first)?;
            return Ok(first);
        }
        None => return Err(OpenError::CheckpointMissing { path }),
    };
    if !rest.bytes.is_empty() {
        // The file is written before the history, so an entry that a crash cut short can only be that of the file.
        if !latest.entry().starts_with(&rest.bytes) {
            return Err(OpenError::History { path: history, offset: rest.offset, bytes: rest.bytes.len() });
        }
        cut(&history, rest.offset)?;
    }
    if let Some(entry) = last {
        let last =
            SignedCheckpoint::open(&entry.bytes, key.verifier()).map_err(wrong(&history, entry.offset))?;
        let (size, issued) = (latest.checkpoint.size, last.checkpoint.size);
        if issued > size {
            return Err(OpenError::RolledBack { size, issued });
        }
        if last.checkpoint == latest.checkpoint {
            return Ok(latest);
        }
        if issued == size {
            return Err(OpenError::Altered { size });
        }
    }
    checkpoint::remember(dir, &latest)?;
    Ok(latest)
}

/// Cuts a file, durably.
fn cut(path: &Path, length: u64) -> Result<(), FileError> {
    let cut = || {
        let file = OpenOptions::new().write(true).open(path)?;
        file.set_len(length)?;
        file.sync_all()
    };
    cut().map_err(FileError::on("cut", path))
}

/// The tree that the latest checkpoint was signed for, and the log after it.
fn tree_at(config: &Config, segments: &[Segment], signed: &Checkpoint) -> Result<(Tree, Walk), OpenError> {
    if !config.check_all_on_open {
        let from = signed.size - signed.size % TILE as u64;
        let mut walk = Walk::new(segments, from);
        let mut last = Vec::new();
        read_to(&mut walk, signed.size, |index, record| {
            if index >= from {
                last.push(tree::leaf(record));
            }
            Ok(())
        })?;
        if let Some(tree) = tile::restore(&config.dir, signed.size, last)?
            && tree.root() == signed.root
        {
            return Ok((tree, walk));
        }
        tracing::warn!(dir = %config.dir.display(), "the tree's tiles are incomplete or wrong; making them again from the records");
    }
    let mut tree = Tree::default();
    let mut walk = Walk::new(segments, 0);
    read_to(&mut walk, signed.size, |_, record| {
        tree.append(tree::leaf(record), |full| {
            // Only what is wrong is written: a checked log stays as it was.
            match tile::read(&config.dir, full.level, full.index)? {
                Some(stored) if stored == full.hashes => Ok(()),
                _ => tile::write(&config.dir, full),
            }
        })
    })?;
    if tree.root() != signed.root {
        return Err(OpenError::Altered { size: signed.size });
    }
    Ok((tree, walk))
}

/// Reads records up to index `end`; the log must have them.
fn read_to(
    walk: &mut Walk,
    end: u64,
    mut each: impl FnMut(u64, &[u8]) -> Result<(), FileError>,
) -> Result<(), OpenError> {
    while walk.index() < end {
        match walk.next()? {
            Some((index, record)) => each(index, record)?,
            None => return Err(OpenError::Shorter { records: walk.index(), signed: end }),
        }
    }
    Ok(())
}

/// The end of the log.
struct End {
    tree: Tree,
    /// Leaves after the tree, in order.
    leaves: Vec<tree::Hash>,
    walk: Walk,
    torn: Option<Torn>,
}

impl End {
    /// Reads what came after the latest checkpoint, to the end.
    fn find(tree: Tree, mut walk: Walk, signed: u64) -> Result<Self, OpenError> {
        let mut leaves = Vec::new();
        let torn = loop {
            match walk.next() {
                Ok(Some((_, record))) => leaves.push(tree::leaf(record)),
                Ok(None) => break None,
                Err(error) => match walk.torn(&error)? {
                    Some(torn) => break Some(torn),
                    None => return Err(error.into()),
                },
            }
        };
        debug_assert!(walk.index() >= signed, "records below the checkpoint were read before");
        Ok(Self { tree, leaves, walk, torn })
    }

    /// Cuts what is torn and makes the log ready for the next record.
    fn ready(
        mut self,
        dir: &Path,
        lock: File,
        key: SigningKey,
        latest: SignedCheckpoint,
    ) -> Result<Opened, OpenError> {
        let bytes = self.torn.as_ref().map_or(0, |torn| torn.bytes);
        if let Some(torn) = &self.torn {
            let path = torn.segment.path.display();
            tracing::warn!(%path, offset = torn.offset, bytes, "cut a write that did not finish");
            cut(&torn.segment.path, torn.offset)?;
        }
        for leaf in self.leaves {
            self.tree.append(leaf, |full| tile::write(dir, full))?;
        }
        let size = self.walk.index();
        let missing = OpenError::Shorter { records: size, signed: latest.checkpoint.size };
        let reader = self.walk.into_reader().ok_or(missing)?;
        let reader = reader.restarted()?;
        let segment = reader.segment().clone();
        let file = segment.append()?;
        // Records that a killed process left to the kernel are on disk before a checkpoint covers them.
        file.sync_all().map_err(FileError::on("fsync", &segment.path))?;
        let tail = Tail::new(file, segment.path, reader.offset());
        let growth = Growth { key, tree: self.tree, reader, latest: Arc::new(latest) };
        Ok(Opened { lock, size, tail, growth, cut: bytes })
    }
}

/// The root hash in base64, for messages.
pub(crate) fn root_text(root: &tree::Hash) -> String {
    base64::engine::general_purpose::STANDARD.encode(root)
}
