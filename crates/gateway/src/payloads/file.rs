//! One key in one file: written once, marked as it is used, and overwritten when it is destroyed.
//!
//! ```text
//! vidimus payload key 1
//! {"made":1795860000,"of":"User/https://login.example#ada"}
//! BASE64 OF 32 BYTES
//! ++
//! ```
//!
//! Each `+` stands for [`BLOCK`] payloads that may be sealed under it, and is on disk before the first of them is. So what is counted is never too
//! low, whatever stops; and nothing of the file is ever written twice, which would leave copies of the key.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use data_encoding::HEXLOWER;
use secrecy::zeroize::Zeroizing;
use serde::{Deserialize, Serialize};
use vidimus_identity::exposed;

/// Payloads that one mark stands for.
pub(super) const BLOCK: u32 = 256;

/// The most marks of one key: 2^20 payloads, of which two have the same random nonce of 96 bits with a probability below 2^-57.
const MOST_MARKS: usize = 4096;

/// For how long a key seals.
const LIFE: Duration = Duration::from_secs(30 * 24 * 3600);

const FIRST_LINE: &str = "vidimus payload key 1";

/// The largest file that is one: marks, a name of 2,048 bytes, each of which may be escaped, and the rest.
const MAX_FILE: u64 = 32 * 1024;

/// A key file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyFault {
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{}: {reason}", path.display())]
    Exposed { path: PathBuf, reason: String },
    #[error("{} is no key of a payload", path.display())]
    Malformed { path: PathBuf },
    #[error("the system has no random bytes")]
    Random,
}

impl KeyFault {
    fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }
}

/// A key, as its file says it.
pub(super) struct KeyFile {
    pub(super) id: String,
    pub(super) whose: String,
    /// Seconds since 1970.
    made: u64,
    marks: usize,
    pub(super) secret: Zeroizing<[u8; 32]>,
}

#[derive(Serialize, Deserialize)]
struct Header<'a> {
    made: u64,
    of: std::borrow::Cow<'a, str>,
}

impl KeyFile {
    /// Whether it may seal more at this time.
    fn is_fresh(&self, now: SystemTime) -> bool {
        self.marks < MOST_MARKS && now <= self.until()
    }

    fn made(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(self.made.min(1 << 40))
    }

    /// Until when it seals.
    pub(super) fn until(&self) -> SystemTime {
        self.made() + LIFE
    }

    fn parse(path: &Path, bytes: &[u8]) -> Option<Self> {
        let id = path.file_name()?.to_str().filter(|id| is_id(id))?.to_owned();
        let text = std::str::from_utf8(bytes).ok()?;
        let mut lines = text.splitn(4, '\n');
        let (first, header, key, marks) = (lines.next()?, lines.next()?, lines.next()?, lines.next()?);
        if first != FIRST_LINE || !marks.bytes().all(|byte| byte == b'+') {
            return None;
        }
        let Header { made, of } = serde_json::from_str(header).ok()?;
        let mut secret = Zeroizing::new([0_u8; 32]);
        // A little more than is needed: the decoder reckons with padding.
        let mut decoded = Zeroizing::new([0_u8; 36]);
        let length = STANDARD.decode_slice(key, &mut *decoded).ok().filter(|length| *length == 32)?;
        secret.copy_from_slice(decoded.get(..length)?);
        Some(Self { id, whose: of.into_owned(), made, marks: marks.len(), secret })
    }
}

/// 128 random bits in hexadecimal.
pub(super) fn random_id() -> Result<String, KeyFault> {
    let mut id = [0_u8; 16];
    rand::fill(&mut id).map_err(|_| KeyFault::Random)?;
    Ok(HEXLOWER.encode(&id))
}

/// Whether a text is one of [`random_id`]. Nothing else is looked for in a directory.
pub(super) fn is_id(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Makes a directory that is for its owner alone, and sees that one which is there is.
pub(super) fn make_directory(path: &Path) -> Result<(), KeyFault> {
    if !path.try_exists().map_err(KeyFault::io(path))? {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
        made.map_err(KeyFault::io(path))?;
        sync_directory(path.parent().unwrap_or(path))?;
    }
    check_directory(path)
}

/// That a directory, where it is there, is for its owner alone.
pub(super) fn check_directory(path: &Path) -> Result<(), KeyFault> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if !metadata.is_dir() => {
            Err(KeyFault::Exposed { path: path.to_owned(), reason: "it is no directory".to_owned() })
        }
        Ok(metadata) => exposed(&metadata)
            .map_or(Ok(()), |reason| Err(KeyFault::Exposed { path: path.to_owned(), reason })),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(KeyFault::io(path)(error)),
    }
}

pub(super) fn sync_directory(path: &Path) -> Result<(), KeyFault> {
    File::open(path).and_then(|directory| directory.sync_all()).map_err(KeyFault::io(path))
}

/// What is in a directory, sorted; nothing where there is none.
pub(super) fn entries(directory: &Path) -> Result<Vec<PathBuf>, KeyFault> {
    let found = match fs::read_dir(directory) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(KeyFault::io(directory)(error)),
    };
    let paths = found.map(|entry| entry.map(|entry| entry.path()));
    let mut paths = paths.collect::<io::Result<Vec<_>>>().map_err(KeyFault::io(directory))?;
    paths.sort_unstable();
    Ok(paths)
}

/// A file of a key that is there.
struct Found {
    bytes: Zeroizing<Vec<u8>>,
    /// Why it is not its owner's alone.
    exposed: Option<String>,
}

/// What a file has in it; `None` where there is none.
fn found(path: &Path) -> Result<Option<Found>, KeyFault> {
    // No link is followed, and a pipe is not waited for.
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let opened = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path);
    let file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(KeyFault::io(path)(error)),
    };
    let metadata = file.metadata().map_err(KeyFault::io(path))?;
    if !metadata.is_file() || metadata.len() > MAX_FILE {
        return Err(KeyFault::Malformed { path: path.to_owned() });
    }
    // As large as it may become: what grows leaves a copy behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(MAX_FILE).unwrap_or_default() + 1));
    file.take(MAX_FILE).read_to_end(&mut bytes).map_err(KeyFault::io(path))?;
    Ok(Some(Found { bytes, exposed: exposed(&metadata) }))
}

/// A key by its file, which is its owner's alone; `None` where there is none.
pub(super) fn read(path: &Path) -> Result<Option<KeyFile>, KeyFault> {
    let Some(Found { bytes, exposed }) = found(path)? else { return Ok(None) };
    if let Some(reason) = exposed {
        return Err(KeyFault::Exposed { path: path.to_owned(), reason });
    }
    KeyFile::parse(path, &bytes).map(Some).ok_or_else(|| KeyFault::Malformed { path: path.to_owned() })
}

/// Those of a folder: a file that was being written when something stopped is none.
fn keys(folder: &Path) -> Result<impl Iterator<Item = PathBuf>, KeyFault> {
    let is_key = |path: &PathBuf| path.file_name().and_then(|name| name.to_str()).is_some_and(is_id);
    Ok(entries(folder)?.into_iter().filter(is_key))
}

/// The key that somebody's payloads are sealed under now, with [`BLOCK`] more of them marked; another one, where it is too old or has sealed enough.
pub(super) fn current(folder: &Path, whose: &str, now: SystemTime) -> Result<KeyFile, KeyFault> {
    make_directory(folder)?;
    let mut newest: Option<KeyFile> = None;
    for path in keys(folder)? {
        let found = read(&path)?.filter(|found| found.whose == whose);
        let found = found.ok_or(KeyFault::Malformed { path })?;
        if found.is_fresh(now) && newest.as_ref().is_none_or(|newest| newest.made < found.made) {
            newest = Some(found);
        }
    }
    match newest {
        Some(mut key) => {
            let path = folder.join(&key.id);
            let marked = OpenOptions::new().append(true).open(&path).and_then(|mut file| {
                file.write_all(b"+")?;
                file.sync_data()
            });
            marked.map_err(KeyFault::io(&path))?;
            key.marks += 1;
            Ok(key)
        }
        None => created(folder, whose, now),
    }
}

fn created(folder: &Path, whose: &str, now: SystemTime) -> Result<KeyFile, KeyFault> {
    let mut secret = Zeroizing::new([0_u8; 32]);
    rand::fill(&mut *secret).map_err(|_| KeyFault::Random)?;
    let made = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let id = random_id()?;
    let (path, temporary) = (folder.join(&id), folder.join(format!("{id}.new")));
    let header = serde_json::to_string(&Header { made, of: whose.into() });
    let header = header.map_err(|_| KeyFault::Malformed { path: path.clone() })?;
    let mut text = Zeroizing::new(String::with_capacity(header.len() + 128));
    text.push_str(FIRST_LINE);
    text.push('\n');
    text.push_str(&header);
    text.push('\n');
    STANDARD.encode_string(*secret, &mut text);
    text.push_str("\n+");
    let written = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary);
    let written = written.and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&temporary, &path)
    });
    written.map_err(KeyFault::io(&path))?;
    sync_directory(folder)?;
    Ok(KeyFile { id, whose: whose.to_owned(), made, marks: 1, secret })
}

/// The ids of the keys in a folder, and how many payloads they sealed, at most.
pub(super) fn counted(folder: &Path) -> Result<(Vec<String>, u64), KeyFault> {
    let (mut ids, mut records) = (Vec::new(), 0_u64);
    for path in keys(folder)? {
        let marks = match read(&path) {
            Ok(found) => found.map_or(0, |found| found.marks),
            // It goes all the same, and may have sealed as many as any.
            Err(KeyFault::Malformed { .. } | KeyFault::Exposed { .. }) => MOST_MARKS,
            Err(error) => return Err(error),
        };
        records =
            records.saturating_add(u64::try_from(marks).unwrap_or(u64::MAX).saturating_mul(BLOCK.into()));
        ids.extend(path.file_name().and_then(|name| name.to_str()).map(str::to_owned));
    }
    Ok((ids, records))
}

/// Whose keys are in a folder; `None` where there is none any more. It is known also of those that others may read: they seal nothing, and are to
/// be destroyed.
///
/// # Errors
/// Where there may be some, and none of them says it.
pub(super) fn whose(folder: &Path) -> Result<Option<String>, KeyFault> {
    let mut unread = None;
    for path in keys(folder)? {
        match found(&path) {
            Ok(None) => {}
            Ok(Some(found)) => match KeyFile::parse(&path, &found.bytes) {
                Some(key) => return Ok(Some(key.whose)),
                None if found.bytes.starts_with(FIRST_LINE.as_bytes()) => {
                    unread = Some(KeyFault::Malformed { path });
                }
                // It was overwritten, for an act that is on record, or is none.
                None => {}
            },
            Err(error) => unread = Some(error),
        }
    }
    unread.map_or(Ok(None), Err)
}

/// The ids of the keys in a folder that were made after a time. One that does not say it is not among them.
pub(super) fn made_after(folder: &Path, time: SystemTime) -> Result<BTreeSet<String>, KeyFault> {
    let mut after = BTreeSet::new();
    for path in keys(folder)? {
        match found(&path) {
            Ok(found) => {
                let key = found.and_then(|found| KeyFile::parse(&path, &found.bytes));
                after.extend(key.filter(|key| key.made() > time).map(|key| key.id));
            }
            Err(KeyFault::Malformed { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(after)
}

/// Moves what is in a folder to another one, which is made, but for these keys.
pub(super) fn move_but(folder: &Path, to: &Path, stay: &BTreeSet<String>) -> Result<(), KeyFault> {
    let stays = |path: &PathBuf| {
        path.file_name().and_then(|name| name.to_str()).is_some_and(|name| stay.contains(name))
    };
    let mut go = entries(folder)?.into_iter().filter(|path| !stays(path)).peekable();
    if go.peek().is_none() {
        return Ok(());
    }
    make_directory(to)?;
    for path in go {
        let Some(name) = path.file_name() else { continue };
        fs::rename(&path, to.join(name)).map_err(KeyFault::io(&path))?;
    }
    sync_directory(to)?;
    sync_directory(folder)
}

/// Overwrites each file of a folder, and removes it and the folder.
pub(super) fn destroy(folder: &Path) -> Result<(), KeyFault> {
    for path in entries(folder)? {
        // What a link leads to is somebody else's.
        let is_file = fs::symlink_metadata(&path).map_err(KeyFault::io(&path))?.is_file();
        let overwritten = if is_file { overwrite(&path) } else { Ok(()) };
        overwritten.and_then(|()| fs::remove_file(&path)).map_err(KeyFault::io(&path))?;
    }
    match fs::remove_dir(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(KeyFault::io(folder)(error)),
        _ => Ok(()),
    }
}

/// Writes random bytes over a file where it lies, as far as the file system does that.
fn overwrite(path: &Path) -> io::Result<()> {
    let flags = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
    let mut file = OpenOptions::new().write(true).custom_flags(flags).open(path)?;
    let length = file.metadata()?.len();
    file.rewind()?;
    let (mut left, mut noise) = (length, [0_u8; 512]);
    while left > 0 {
        rand::fill(&mut noise).map_err(|_| io::Error::other("the system has no random bytes"))?;
        let part = usize::try_from(left).unwrap_or(noise.len()).min(noise.len());
        file.write_all(noise.get(..part).unwrap_or_default())?;
        left = left.saturating_sub(part as u64);
    }
    file.sync_all()
}
