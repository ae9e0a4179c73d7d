//! Where an archive is: a directory, or a bucket of an S3-compatible store. Both have bytes by names, as a log has files; what they promise is not
//! the same (ADR 52).

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::ArchiveError;
use super::directory::Directory;
use super::objects::Bucket;
use crate::checkpoint;
use crate::file;
use crate::storage::Storage;
use crate::tree::FullTile;

/// Where an archive is. Its text form is a path, or `s3://BUCKET/PREFIX`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ArchiveAt {
    /// A directory.
    Directory(PathBuf),
    /// In a store of objects.
    Bucket(Bucket),
}

/// The text names no place for an archive. It is not repeated: it may have a secret in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "it is no place for an archive: write a directory, or s3://BUCKET/PREFIX with nothing else in it (what opens the bucket, and where it is, say \
     the variables AWS_*)"
)]
pub struct NoPlace;

impl ArchiveAt {
    /// That what is set for it can be meant. Nobody is asked, and nothing is written.
    ///
    /// # Errors
    /// See [`ArchiveError`].
    pub fn check(&self) -> Result<(), ArchiveError> {
        match self {
            Self::Directory(_) => Ok(()),
            Self::Bucket(bucket) => bucket.store().map(drop),
        }
    }

    /// Whether an archive is there, which its checkpoint says. Nothing is made for that.
    pub(super) fn has_archive(&self) -> Result<bool, ArchiveError> {
        Ok(match self {
            Self::Directory(dir) => file::read_if_there(&checkpoint::path(dir))?.is_some(),
            Self::Bucket(bucket) => bucket.open()?.read(&checkpoint::path(Path::new("")))?.is_some(),
        })
    }

    /// Opens it, to be added to.
    pub(crate) fn open<'a>(&'a self, storage: &'a dyn Storage) -> Result<Box<dyn Place + 'a>, ArchiveError> {
        Ok(match self {
            Self::Directory(dir) => Box::new(Directory::open(storage, dir)?),
            Self::Bucket(bucket) => Box::new(bucket.open()?),
        })
    }
}

impl FromStr for ArchiveAt {
    type Err = NoPlace;

    fn from_str(text: &str) -> Result<Self, NoPlace> {
        match text.split_once("://") {
            Some(("s3", rest)) => Bucket::parse(rest).map(Self::Bucket).ok_or(NoPlace),
            // Half of an address is no directory that anybody means.
            None if !text.is_empty() && !text.starts_with("s3:") => Ok(Self::Directory(text.into())),
            _ => Err(NoPlace),
        }
    }
}

impl fmt::Display for ArchiveAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(dir) => dir.display().fmt(f),
            Self::Bucket(bucket) => bucket.fmt(f),
        }
    }
}

/// What is there by a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) bytes: Vec<u8>,
    /// Which of all that were ever there it is (an `ETag`); `None` where the place does not tell them apart.
    pub(crate) version: Option<String>,
}

/// A place that is open. A name is a path below a log's directory; `Display` is where it is.
pub(crate) trait Place: fmt::Debug + fmt::Display {
    /// What is there; `None` where nothing is.
    fn read(&self, name: &Path) -> Result<Option<Found>, ArchiveError>;

    /// Puts what never changes. It is durable, as far as the place says, when this returns.
    fn put(&self, name: &Path, bytes: Vec<u8>) -> Result<(), ArchiveError>;

    /// Puts what changes, in the place of what was found there, durably.
    fn replace(&self, name: &Path, bytes: &[u8], was: Option<&Found>) -> Result<(), ArchiveError>;

    /// Puts a full tile, which is durable once [`Place::settle`] has returned.
    fn tile(&self, tile: FullTile<'_>) -> Result<(), ArchiveError>;

    /// Makes all tiles durable that were put.
    fn settle(&self) -> Result<(), ArchiveError>;

    /// That nobody who reads the archive finds segments from this record on: behind its checkpoint an archive has nothing. Where the place does
    /// not let them go, whoever reads it passes them over.
    fn nothing_from(&self, end: u64) -> Result<(), ArchiveError>;

    /// The names of what is there below one.
    fn names(&self, below: &Path) -> Result<BTreeSet<PathBuf>, ArchiveError>;

    /// That what is there by a name, which are these bytes, is not overwritten by who has not seen it, where the place says so.
    fn guard(&self, name: &Path, bytes: &[u8]) -> Result<(), ArchiveError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_directory_or_a_bucket_and_nothing_else_is_taken_for_one() {
        for (text, is) in [("/mnt/archive", "/mnt/archive"), ("archive", "archive"), ("a:b/c", "a:b/c")] {
            let at: ArchiveAt = text.parse().expect(text);
            assert_eq!(
                (at.to_string().as_str(), matches!(at, ArchiveAt::Directory(_))),
                (is, true),
                "{text}"
            );
        }
        for (text, is) in [
            ("s3://corp-audit/vidimus/eu", "s3://corp-audit/vidimus/eu"),
            ("s3://corp-audit/vidimus/", "s3://corp-audit/vidimus"),
            ("s3://corp-audit/", "s3://corp-audit"),
            ("s3://corp.audit", "s3://corp.audit"),
        ] {
            let at: ArchiveAt = text.parse().expect(text);
            assert_eq!((at.to_string().as_str(), matches!(at, ArchiveAt::Bucket(_))), (is, true), "{text}");
        }
        for text in [
            "",
            "s3:",
            "s3:/corp-audit",
            "s3://",
            "s3:///vidimus",
            "s3://ab",
            "s3://CORP",
            "s3://key:secret@corp-audit/vidimus",
            "s3://corp-audit/vidimus?endpoint=x",
            "s3://corp-audit/a//b",
            "s3://corp-audit/../b",
            "s3://corp-audit/a b",
            "S3://corp-audit/a",
            "https://corp-audit.s3.amazonaws.com/",
            "gs://corp-audit/a",
        ] {
            let error = text.parse::<ArchiveAt>().expect_err(text).to_string();
            assert!(!error.contains("secret@") && error.contains("s3://BUCKET/PREFIX"), "{text}: {error}");
        }
    }
}
