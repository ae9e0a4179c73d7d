//! Opening a log: what is there must be whole, up to a write at the very end that a crash cut short.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;

use crate::Config;
use crate::aside::{self, SetAside};
use crate::checkpoint::{self, Checkpoint, CheckpointError, SignedCheckpoint};
use crate::cosignature;
use crate::file::{self, FileError};
use crate::growth::{Growth, Issued, Newest};
use crate::note::{KeyError, SigningKey, VerifierKey};
use crate::partial::{self, Partial};
use crate::pruned::{self, Pruned, PrunedError};
use crate::rotate;
use crate::seal::{Chain, SealKey};
use crate::segment::{self, Check, Reader, Segment, SegmentError, Unauthenticated, Version};
use crate::storage::Storage;
use crate::succession;
use crate::tail::{self, SegmentFile};
use crate::tile;
use crate::tree::{self, TILE, Tree};
use crate::walk::{Torn, Walk};

mod latest;

use latest::latest;

/// Why a log is not opened. No record has been changed then.
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
    #[error(
        "checkpoints were taken from the end of the history: it ends with one of {issued} records, and one of {said} had been issued"
    )]
    HistoryShort { issued: u64, said: u64 },
    #[error("the log has {records} records, but a checkpoint of {signed} has been signed")]
    Shorter { records: u64, signed: u64 },
    #[error(
        "the first {size} records are not those that the checkpoint of that size was signed for; `audit verify` tells more"
    )]
    Altered { size: u64 },
    #[error("{}", segment_story(.0))]
    Segment(SegmentError),
    #[error(transparent)]
    Pruned(#[from] PrunedError),
    #[error(
        "the hashes of the {minimum} records that were pruned are not what they were, and cannot be made again: put back tile/ from a \
         copy of the log, or from its archive"
    )]
    Tiles { minimum: u64 },
    #[error("{} is an archive of a log, which goes on elsewhere", dir.display())]
    Archive { dir: PathBuf },
}

fn segment_story(error: &SegmentError) -> String {
    match error {
        SegmentError::File(error) => error.story(),
        damage => format!(
            "{damage}; this is damage and not what a crash leaves, so nothing was changed; `audit verify` tells more"
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
    pub(crate) end: tail::End,
    pub(crate) growth: Growth,
    /// Bytes of an unfinished write that were cut from the end.
    pub(crate) cut: u64,
    pub(crate) aside: Vec<SetAside>,
    /// The newest checkpoint that witnesses cosigned.
    pub(crate) cosigned: Option<SignedCheckpoint>,
}

/// The path of the private key.
pub(crate) fn key_path(dir: &Path) -> PathBuf {
    dir.join("keys").join("checkpoint.key")
}

/// The path of the public key, a C2SP vkey.
pub(crate) fn public_key_path(dir: &Path) -> PathBuf {
    dir.join("keys").join("checkpoint.vkey")
}

pub(crate) fn open(config: &Config, storage: &dyn Storage) -> Result<Opened, OpenError> {
    let dir = &config.dir;
    make_dirs(storage, dir)?;
    let lock = locked(dir)?;
    let (segments, strangers) = segment::list(dir)?;
    let key = key(config, storage, segments.is_empty())?;
    let seals = key.seal_key().map_err(|source| OpenError::Key { path: key_path(dir), source })?;
    let seals = Arc::new(seals);
    let latest = latest(storage, dir, &key, segments.is_empty())?;
    let size = latest.signed.checkpoint.size;
    let cosigned = cosignature::open(dir, key.verifier(), &latest.signed.checkpoint)?;
    let pruned = pruned::open(dir, key.verifier(), &latest.signed.checkpoint)?;
    let minimum = pruned.as_ref().map_or(0, Pruned::minimum);
    let begun = |segments: Vec<Segment>| match segments {
        none if none.is_empty() && size == 0 => {
            let first = Segment::new(dir, 0);
            let chain = &mut Chain::new(seals.clone(), Default::default(), 0);
            first.create(storage, chain, 0).map(|_| vec![first])
        }
        some => Ok(some),
    };
    let mut segments = begun(pruned::remaining(segments, minimum))?;
    if let Some(Segment { path, first }) = segments.first().filter(|segment| segment.first > minimum) {
        return Err(SegmentError::Gap { path: path.clone(), expected: minimum, found: *first }.into());
    }
    let mut aside = Vec::new();
    let end = loop {
        let check = Check { from: size, key: Some(seals.clone()), times: false };
        let (tree, walk) =
            tree_at(config, storage, &segments, pruned.as_ref(), &latest.signed.checkpoint, check)?;
        succession::check(dir, key.verifier(), (&latest.signed.checkpoint, &tree))?;
        let end = End::find(tree, walk, size)?;
        latest.fits(end.walk.said())?;
        match &end.found {
            Some(Found::Torn(Torn { segment, lacks: Some((at, bytes)), .. })) => {
                tracing::warn!(path = %segment.path.display(), at, "put back bytes of a record that a power loss had taken");
                file::restore(storage, &segment.path, *at, bytes)?;
            }
            Some(Found::Unauthenticated { path, offset, index, why }) => {
                let taken = aside::take(storage, dir, &segments, (path, *offset, *index, *why))?;
                tracing::error!(
                    from = taken.from, records = taken.records, why = %taken.why, kept = ?taken.paths,
                    "set aside records at the end of the log that are not authenticated; they are not signed for"
                );
                aside.push(taken);
                segments = begun(pruned::remaining(segment::list(dir)?.0, minimum))?;
            }
            _ => break end,
        }
    };
    // Everything that can be refused has been.
    latest.settle(storage, dir)?;
    pruned::remove(storage, dir, minimum)?;
    for path in strangers.iter().filter(|path| file::is_unfinished(path)) {
        match storage.remove(path).map_err(FileError::on("remove", path)) {
            // What was left of the first segment has become the first segment.
            Err(error) if error.missing() => {}
            removed => removed?,
        }
    }
    for dir in unfinished_in(dir).filter(|dir| dir.is_dir()) {
        file::remove_unfinished(storage, &dir)?;
    }
    let opened = end.ready(storage, dir, lock, (key, seals), latest.signed)?;
    Ok(Opened { aside, cosigned, ..opened })
}

/// The directories of a log in which a write that never finished may have left something, beside that of the segments.
pub(crate) fn unfinished_in(log: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    [log.to_owned(), log.join("keys"), succession::dir(log), aside::dir(log)].into_iter()
}

/// Makes the log's directories. Their names are durable before anything is in them; also of those that were there, since who made
/// them may have died before that.
fn make_dirs(storage: &dyn Storage, dir: &Path) -> Result<(), FileError> {
    let above = file::parent(dir).filter(|_| dir.is_dir());
    for dir in [dir.to_owned(), dir.join("keys"), segment::dir(dir)] {
        file::make_dir(storage, &dir)?;
    }
    file::sync_dir(storage, dir)?;
    match above.map(|above| file::sync_dir(storage, above)) {
        // A directory that was made by somebody else, who gave this process no right to read the one above, is theirs to sync.
        Some(Err(error)) if error.source.kind() != std::io::ErrorKind::PermissionDenied => Err(error),
        _ => Ok(()),
    }
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
fn key(config: &Config, storage: &dyn Storage, new: bool) -> Result<SigningKey, OpenError> {
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
            file::replace(storage, &private, format!("{secret}\n").as_bytes(), 0o600)?;
            key
        }
        None => return Err(OpenError::KeyMissing { path: private }),
    };
    let verifier = succession::known(dir, key.verifier().clone())?;
    let former = rotate::former(storage, dir, &key)?;
    let key = key.behind(verifier, former);
    let text = format!("{}\n", key.verifier());
    let is_former = |bytes: &[u8]| {
        let public = str::from_utf8(bytes).ok().and_then(|text| text.trim_end().parse::<VerifierKey>().ok());
        public.is_some_and(|public| key.verifier().follows(&public))
    };
    match file::read_if_there(&public)? {
        Some(bytes) if bytes == text.as_bytes() => {}
        // A process was killed when the private key had followed.
        Some(bytes) if is_former(&bytes) => file::replace(storage, &public, text.as_bytes(), 0o644)?,
        Some(_) => return Err(OpenError::KeyPair { public, private }),
        None => file::replace(storage, &public, text.as_bytes(), 0o644)?,
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
    Ok(format!("vidimus.local/{}", data_encoding::HEXLOWER.encode(&bytes)))
}

/// The tree that the latest checkpoint was signed for, and the log after it.
fn tree_at(
    config: &Config,
    storage: &dyn Storage,
    segments: &[Segment],
    pruned: Option<&Pruned>,
    signed: &Checkpoint,
    check: Check,
) -> Result<(Tree, Walk), OpenError> {
    let minimum = pruned.map_or(0, Pruned::minimum);
    if !config.check_all_on_open {
        let from = signed.size - signed.size % TILE as u64;
        let mut walk = Walk::new(segments, from).behind(minimum).checked(check.clone());
        let mut last = Vec::new();
        read_to(&mut walk, signed.size, |index, record| {
            if index >= from {
                last.push(tree::leaf(record));
            }
            Ok(())
        })?;
        let hint = partial::tiles(&config.dir, signed.size).unwrap_or_default();
        for hint in [hint.as_slice(), &[]] {
            if let Some(tree) = tile::restore(&config.dir, signed.size, last.clone(), hint)?
                && tree.root() == signed.root
            {
                return Ok((tree, walk));
            }
        }
        tracing::warn!(dir = %config.dir.display(), "the tree's tiles are incomplete or wrong; making them again from the records");
    }
    let mut tree = match pruned {
        Some(pruned) => pruned.tree(&config.dir)?.ok_or(OpenError::Tiles { minimum })?,
        None => Tree::default(),
    };
    let mut walk = Walk::new(segments, minimum).behind(minimum).checked(check);
    let mut written = false;
    read_to(&mut walk, signed.size, |_, record| {
        tree.append(tree::leaf(record), |full| {
            // Only what is wrong is written: a checked log stays as it was.
            match tile::read(&config.dir, full.level, full.index)? {
                Some(stored) if stored == full.hashes => Ok(()),
                _ => {
                    written = true;
                    tile::write(storage, &config.dir, full)
                }
            }
        })
    })?;
    if written {
        // Tiles above them may have been there all the time.
        tile::settle(storage, &config.dir)?;
    }
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
    found: Option<Found>,
}

/// What follows the records.
enum Found {
    /// A write that did not finish.
    Torn(Torn),
    /// Whole records that nothing authenticates, and all that comes after them.
    Unauthenticated { path: PathBuf, offset: u64, index: u64, why: Unauthenticated },
}

impl End {
    /// Reads what came after the latest checkpoint, to the end.
    fn find(tree: Tree, mut walk: Walk, signed: u64) -> Result<Self, OpenError> {
        let mut leaves = Vec::new();
        let error = loop {
            match walk.next() {
                Ok(Some((_, record))) => leaves.push(tree::leaf(record)),
                Ok(None) => break walk.unsealed(),
                Err(error) => break Some(error),
            }
        };
        let found = match error {
            None => None,
            Some(SegmentError::Unauthenticated { path, offset, index, why }) => {
                Some(Found::Unauthenticated { path, offset, index, why })
            }
            Some(error) => match walk.torn(&error)? {
                // Nobody can tell them from what somebody without the key put there.
                Some(Torn { segment, offset, records: 1.., lacks: None, .. }) => {
                    let (path, index, why) = (segment.path, walk.sealed(), Unauthenticated::NoSeal);
                    Some(Found::Unauthenticated { path, offset, index, why })
                }
                Some(torn) => Some(Found::Torn(torn)),
                None => return Err(error.into()),
            },
        };
        leaves.truncate(usize::try_from(walk.sealed().saturating_sub(signed)).unwrap_or(usize::MAX));
        Ok(Self { tree, leaves, walk, found })
    }

    /// Cuts what is torn and makes the log ready for the next record.
    fn ready(
        mut self,
        storage: &dyn Storage,
        dir: &Path,
        lock: File,
        (key, seals): (SigningKey, Arc<SealKey>),
        latest: SignedCheckpoint,
    ) -> Result<Opened, OpenError> {
        let torn = if let Some(Found::Torn(torn)) = &self.found { Some(torn) } else { None };
        let cut = torn.map_or(0, |torn| torn.bytes);
        if let Some(torn) = torn {
            let path = torn.segment.path.display();
            tracing::warn!(%path, offset = torn.offset, bytes = cut, "cut a write that did not finish");
            file::cut(storage, &torn.segment.path, torn.offset)?;
        }
        let signed = latest.checkpoint.size;
        let newest = Newest::new(Arc::new(Issued { signed: latest, tree: self.tree.clone() }));
        let mut partial = Partial::default();
        partial.write(storage, dir, &self.tree);
        for leaf in self.leaves {
            self.tree.append(leaf, |full| tile::write(storage, dir, full))?;
        }
        let size = self.walk.sealed();
        let reader = self.walk.into_reader().ok_or(OpenError::Shorter { records: size, signed })?;
        let (end, reader) = go_on(storage, dir, reader, seals, signed)?;
        let growth = Growth { key, tree: self.tree, reader, newest: Arc::new(newest), partial, signed };
        Ok(Opened { lock, size, end, growth, cut, aside: Vec::new(), cosigned: None })
    }
}

/// Where the next record goes, and a reader that stands there.
fn go_on(
    storage: &dyn Storage,
    dir: &Path,
    reader: Reader,
    seals: Arc<SealKey>,
    signed: u64,
) -> Result<(tail::End, Reader), OpenError> {
    let mut segment = reader.segment().clone();
    let mut file = segment.append(storage)?;
    // Records that a killed process left to the kernel are on disk before a checkpoint covers them, or a record says so.
    file.sync().map_err(FileError::on("fsync", &segment.path))?;
    let last = reader.last_seal().copied();
    let (said, tag) = last.map_or((0, Default::default()), |last| (last.signed, last.tag));
    let (size, sealed_end) = reader.sealed();
    // What is signed for while the log is open must be what its writer wrote, too.
    let check = Check { from: size, key: Some(seals.clone()), times: false };
    let mut chain = Chain::new(seals, tag, said);
    let (reader, length) = match reader.version() {
        Version::Two => (reader.restarted(check)?, sealed_end),
        // It is on disk, and takes no more.
        Version::One => {
            segment = Segment::new(dir, size);
            file = segment.create(storage, &mut chain, signed)?;
            (Reader::open_after(&segment, None, Some(&check))?, segment::START as u64)
        }
    };
    let times = last.map(|last| last.times).unwrap_or_default();
    let mut end = tail::End { segment: SegmentFile::new(file, segment.path), length, times, chain };
    end.say(size, signed)?;
    Ok((end, reader))
}

/// The root hash in base64, for messages.
pub(crate) fn root_text(root: &tree::Hash) -> String {
    base64::engine::general_purpose::STANDARD.encode(root)
}
