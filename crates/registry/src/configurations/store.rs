//! The files: written beside and renamed, for their owner alone, and never changed.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::HEXLOWER;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{KeepError, Unusable};

/// Maximum bytes of a file: of an object a little more than a file of resources may have.
const MAX_FILE: u64 = 64 * 1024 * 1024;
/// Of more new texts than these the whole file system is synced at once, instead of each by itself.
const MAX_SYNCED: usize = 64;
/// How a file ends that is being written.
const UNFINISHED: &str = "new";
/// How it ends in an archive, which whoever prunes the ledger writes.
const UNFINISHED_IN_ARCHIVE: &str = "tmp";
/// What stands before the hexadecimal digits in the digest of a configuration.
const PREFIX: &str = "sha256:";

/// SHA-256 of a text.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Digest([u8; 32]);

impl Digest {
    pub(super) fn of(text: &[u8]) -> Self {
        let mut bytes = [0; 32];
        bytes.iter_mut().zip(digest(&SHA256, text).as_ref()).for_each(|(to, from)| *to = *from);
        Self(bytes)
    }

    /// The first 16 bits.
    pub(super) const fn first_bits(self) -> u16 {
        let [first, second, ..] = self.0;
        u16::from_be_bytes([first, second])
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text is not 64 hexadecimal digits in lower case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a digest")]
pub(super) struct NoDigest;

impl FromStr for Digest {
    type Err = NoDigest;

    fn from_str(text: &str) -> Result<Self, NoDigest> {
        let bytes = HEXLOWER.decode(text.as_bytes()).map_err(|_| NoDigest)?;
        Ok(Self(bytes.try_into().map_err(|_| NoDigest)?))
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The directory.
#[derive(Clone, Debug)]
pub(super) struct Store {
    directory: PathBuf,
}

impl Store {
    /// One that is only read, and need not be there.
    pub(super) fn at(directory: &Path) -> Self {
        Self { directory: directory.to_owned() }
    }

    pub(super) fn make(directory: &Path) -> Result<Self, KeepError> {
        let store = Self::at(directory);
        make_directory(&store.objects())?;
        Ok(store)
    }

    fn objects(&self) -> PathBuf {
        self.directory.join("objects")
    }

    pub(super) fn text_path(&self, text: Digest) -> PathBuf {
        let [first, ..] = text.0;
        self.objects().join(format!("{first:02x}")).join(text.to_string())
    }

    /// Where what is kept of a configuration is. Of what is no digest nothing is.
    pub(super) fn manifest_path(&self, configuration: &str) -> PathBuf {
        let digits = configuration.strip_prefix(PREFIX).and_then(|digits| digits.parse::<Digest>().ok());
        self.directory.join(digits.map_or_else(|| "none".to_owned(), |digits| digits.to_string()))
    }

    /// The digests of the configurations that are here.
    pub(super) fn manifests(&self) -> Result<Vec<String>, KeepError> {
        let fault = |source| KeepError::File { path: self.directory.clone(), source };
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.directory).map_err(fault)? {
            let name = entry.map_err(fault)?.file_name();
            if let Some(digits) = name.to_str().and_then(|name| name.parse::<Digest>().ok()) {
                names.push(format!("{PREFIX}{digits}"));
            }
        }
        Ok(names)
    }

    /// Whether there is anything.
    pub(super) fn exists(&self) -> bool {
        self.directory.is_dir()
    }

    /// Writes that did not finish.
    pub(super) fn unfinished(&self) -> Result<Vec<PathBuf>, KeepError> {
        let fault = |source| KeepError::File { path: self.directory.clone(), source };
        let (mut directories, mut found) = (vec![self.directory.clone()], Vec::new());
        while let Some(directory) = directories.pop() {
            for entry in fs::read_dir(directory).map_err(fault)? {
                let path = entry.map_err(fault)?.path();
                if path.is_dir() {
                    directories.push(path);
                } else if path
                    .extension()
                    .is_some_and(|ending| ending == UNFINISHED || ending == UNFINISHED_IN_ARCHIVE)
                {
                    found.push(path);
                }
            }
        }
        found.sort();
        Ok(found)
    }

    pub(super) fn read_manifest(&self, configuration: &str) -> Result<Vec<u8>, Unusable> {
        read(&self.manifest_path(configuration))
    }

    /// A text, held to its digest.
    pub(super) fn read_text(&self, text: Digest) -> Result<Vec<u8>, Unusable> {
        let path = self.text_path(text);
        let damaged =
            |reason: &str| Unusable::Damaged { path: path.display().to_string(), reason: reason.to_owned() };
        let bytes = match read(&path) {
            Err(Unusable::Missing) => return Err(damaged("it is gone")),
            read => read?,
        };
        if Digest::of(&bytes) != text {
            return Err(damaged("it is damaged, or was changed by others"));
        }
        Ok(bytes)
    }

    /// Writes texts that are new, in the order of their digests. They are with the kernel when this returns.
    pub(super) fn write_texts(&self, texts: &[(Digest, &[u8])]) -> Result<(), KeepError> {
        let mut last: Option<PathBuf> = None;
        for (text, bytes) in texts {
            let path = self.text_path(*text);
            if let Some(directory) = path.parent()
                && last.as_deref() != Some(directory)
            {
                make_directory(directory)?;
                last = Some(directory.to_owned());
            }
            write(&path, bytes)?;
        }
        Ok(())
    }

    /// When this returns, these texts are on disk.
    pub(super) fn sync_texts(&self, texts: &[Digest]) -> Result<(), KeepError> {
        if texts.len() <= MAX_SYNCED {
            let paths: Vec<PathBuf> = texts.iter().map(|text| self.text_path(*text)).collect();
            paths.iter().try_for_each(|path| sync(path))?;
            let directories: BTreeSet<&Path> = paths.iter().filter_map(|path| path.parent()).collect();
            directories.into_iter().try_for_each(sync)?;
            return sync(&self.objects());
        }
        let fault = |source: io::Error| KeepError::File { path: self.objects(), source };
        let directory = File::open(self.objects()).map_err(fault)?;
        rustix::fs::syncfs(&directory).map_err(|error| fault(error.into()))
    }

    pub(super) fn write_manifest(&self, configuration: &str, bytes: &[u8]) -> Result<(), KeepError> {
        write(&self.manifest_path(configuration), bytes)
    }

    /// When this returns, that configuration is on disk, if its texts are.
    pub(super) fn sync_manifest(&self, configuration: &str) -> Result<(), KeepError> {
        sync(&self.manifest_path(configuration))?;
        self.sync_manifests()
    }

    /// When this returns, which manifests there are is on disk.
    pub(super) fn sync_manifests(&self) -> Result<(), KeepError> {
        sync(&self.directory)
    }

    pub(super) fn remove_manifest(&self, configuration: &str) -> Result<(), KeepError> {
        remove(&self.manifest_path(configuration))
    }

    pub(super) fn remove_text(&self, text: Digest) -> Result<(), KeepError> {
        remove(&self.text_path(text))
    }
}

fn make_directory(path: &Path) -> Result<(), KeepError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|source| KeepError::File { path: path.to_owned(), source })
}

/// Of a file, or of what a directory names.
fn sync(path: &Path) -> Result<(), KeepError> {
    let synced = File::open(path).and_then(|file| file.sync_all());
    synced.map_err(|source| KeepError::File { path: path.to_owned(), source })
}

fn read(path: &Path) -> Result<Vec<u8>, Unusable> {
    let damaged = |reason: String| Unusable::Damaged { path: path.display().to_string(), reason };
    let mut bytes = Vec::new();
    match File::open(path).and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut bytes)) {
        Ok(_) if bytes.len() as u64 > MAX_FILE => Err(damaged("it is too large".to_owned())),
        Ok(_) => Ok(bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Unusable::Missing),
        Err(error) => Err(damaged(error.to_string())),
    }
}

/// Beside, then over: what is there is whole, but for a power loss before it is synced, and then it is not what its name says.
fn write(path: &Path, bytes: &[u8]) -> Result<(), KeepError> {
    let beside = path.with_extension(UNFINISHED);
    let written = || {
        let mut file = OpenOptions::new();
        let mut file = file.write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        file.write_all(bytes)?;
        fs::rename(&beside, path)
    };
    written().map_err(|source| {
        // It takes room from a disk that may have none.
        let _ = fs::remove_file(&beside);
        KeepError::File { path: path.to_owned(), source }
    })
}

fn remove(path: &Path) -> Result<(), KeepError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(KeepError::File { path: path.to_owned(), source: error })
        }
        _ => Ok(()),
    }
}
