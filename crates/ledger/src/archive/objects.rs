//! An archive in a bucket of an S3-compatible store.
//!
//! Nothing that never changes is overwritten (`If-None-Match: *`), and what changes is only replaced as it was seen (`If-Match`): of two processes
//! that would end one archive, one is told so. Each object is one request: a segment has 64 MiB, and what is uploaded in parts is put
//! together by a request that says nothing of what is there.

mod settings;

use std::collections::BTreeSet;
use std::error::Error;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use object_store::client::{HttpError, HttpErrorKind};
use object_store::path::{Error as PathError, Path as ObjectPath};
use object_store::{Error as StoreError, GetOptions, ObjectStore, PutMode, PutOptions, UpdateVersion};
use tokio::runtime::Runtime;

use super::ArchiveError;
use super::place::{Found, Place};
use crate::tile;
use crate::tree::FullTile;

pub use settings::Bucket;

/// The largest object that is read, in bytes: sixteen segments.
const LARGEST: u64 = 1 << 30;

/// Requests at once, of what is small.
const AT_ONCE: usize = 16;

/// Tiles that are put together.
const TILES: usize = 64;

/// What is this small is read with others, in bytes.
const SMALL: u64 = 1 << 20;

/// Objects that are listed at once: of a log of two thousand million records there are fewer.
const MOST: u64 = if cfg!(test) { 1_000 } else { 10_000_000 };

/// Objects of an archive beside those that its records are in: texts of configurations, keys, and what a process that was killed had copied.
const BESIDE: u64 = if cfg!(test) { 100 } else { 1_000_000 };

/// Records that have an object of their own at least, as half of a tile has.
const RECORDS_OF_OBJECT: u64 = 128;

/// For the next object of a listing.
const PATIENCE: Duration = Duration::from_secs(300);

/// What no object is: an `ETag` of the usual form.
const NO_VERSION: &str = "\"00000000000000000000000000000000\"";

/// A prefix in a bucket.
pub(super) struct Objects {
    store: Arc<dyn ObjectStore>,
    prefix: ObjectPath,
    /// `s3://BUCKET/PREFIX`.
    at: String,
    runtime: Runtime,
    tiles: Mutex<Vec<(ObjectPath, Bytes)>>,
}

impl fmt::Debug for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Objects").field(&self.at).finish()
    }
}

impl fmt::Display for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.at)
    }
}

impl Objects {
    /// `at` says where it is.
    fn new(store: Arc<dyn ObjectStore>, prefix: ObjectPath, at: String) -> Result<Self, ArchiveError> {
        // Whoever archives waits for it: a thread of its own would do nothing else.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| ArchiveError::Store {
            doing: "begin with",
            at: at.clone(),
            why: error.to_string(),
        })?;
        Ok(Self { store, prefix, at, runtime, tiles: Mutex::default() })
    }

    fn path(&self, name: &Path) -> ObjectPath {
        name.iter().fold(self.prefix.clone(), |path, part| path.join(&*part.to_string_lossy()))
    }

    fn failed<'a>(
        &'a self,
        doing: &'static str,
        path: &'a ObjectPath,
    ) -> impl FnOnce(StoreError) -> ArchiveError + use<'a> {
        move |error| ArchiveError::Store { doing, at: format!("{path} in {self}"), why: why(&error) }
    }

    async fn found(&self, path: &ObjectPath) -> Result<Option<Found>, ArchiveError> {
        let got = match self.store.get_opts(path, GetOptions::default()).await {
            Err(StoreError::NotFound { .. }) => return Ok(None),
            got => got.map_err(self.failed("read", path))?,
        };
        if got.meta.size > LARGEST {
            let why = format!("it has {} bytes, and nothing in an archive has so many", got.meta.size);
            return Err(ArchiveError::Store { doing: "read", at: format!("{path} in {self}"), why });
        }
        let version = got.meta.e_tag.clone();
        let bytes = got.bytes().await.map_err(self.failed("read", path))?;
        Ok(Some(Found { bytes: bytes.into(), version }))
    }

    /// Puts an object; where the store does not because of what is there, and that has just these bytes, it is as good: of a process that was
    /// killed, or of a request of this one whose answer was lost.
    async fn write(&self, path: &ObjectPath, bytes: Bytes, mode: PutMode) -> Result<bool, ArchiveError> {
        match self.store.put_opts(path, bytes.clone().into(), PutOptions::from(mode)).await {
            Ok(_) => Ok(true),
            Err(error) if is_of_what_is_there(&error) => {
                Ok(self.found(path).await?.is_some_and(|found| found.bytes == *bytes))
            }
            Err(error) => Err(self.failed("write", path)(error)),
        }
    }

    async fn create(&self, path: &ObjectPath, bytes: Bytes) -> Result<(), ArchiveError> {
        match self.write(path, bytes, PutMode::Create).await? {
            true => Ok(()),
            false => Err(ArchiveError::Taken { at: format!("{path} in {self}") }),
        }
    }

    fn put_tiles(&self, tiles: &[(ObjectPath, Bytes)]) -> Result<(), ArchiveError> {
        let puts = tiles.iter().map(|(path, bytes)| self.create(path, bytes.clone()));
        self.runtime.block_on(stream::iter(puts).buffer_unordered(AT_ONCE).try_collect())
    }

    /// The names of what is below, with how many bytes each has; `most` of them, or it is none of ours.
    fn list(&self, below: &ObjectPath, most: u64) -> Result<Vec<(PathBuf, u64)>, ArchiveError> {
        let failed = |why| ArchiveError::Store { doing: "list", at: format!("{below} in {self}"), why };
        self.runtime.block_on(async {
            let (mut listed, mut count) = (self.store.list(Some(below)), 0_u64);
            let mut names = Vec::new();
            loop {
                let next = tokio::time::timeout(PATIENCE, listed.try_next()).await;
                let next = next.map_err(|_| failed("it goes on without an object".to_owned()))?;
                let Some(meta) = next.map_err(self.failed("list", below))? else { return Ok(names) };
                count += 1;
                if count > most {
                    return Err(failed(format!(
                        "it has more than {most} objects, and no archive of this log has so many"
                    )));
                }
                names.extend(self.name(&meta.location).map(|name| (name, meta.size)));
            }
        })
    }

    fn name(&self, path: &ObjectPath) -> Option<PathBuf> {
        Some(path.prefix_match(&self.prefix)?.map(|part| AsRef::<str>::as_ref(&part).to_owned()).collect())
    }

    /// All that is there of an archive of so many records, with how many bytes it has.
    pub(super) fn all(&self, records: u64) -> Result<Vec<(PathBuf, u64)>, ArchiveError> {
        self.list(&self.prefix, (records / RECORDS_OF_OBJECT).saturating_add(BESIDE).min(MOST))
    }

    /// Reads objects, in any order, and gives each to `take`. One that has gone since is passed over.
    pub(super) fn each(
        &self,
        names: &[(PathBuf, u64)],
        mut take: impl FnMut(&Path, &[u8]) -> Result<(), ArchiveError>,
    ) -> Result<(), ArchiveError> {
        let (small, large): (Vec<_>, Vec<_>) = names.iter().partition(|(_, size)| *size <= SMALL);
        for (names, at_once) in [(small, AT_ONCE), (large, 1)] {
            let reads = names.into_iter().map(move |(name, _)| async move {
                Ok::<_, ArchiveError>((name, self.found(&self.path(name)).await?))
            });
            let mut reads = stream::iter(reads).buffer_unordered(at_once);
            self.runtime.block_on(async {
                while let Some((name, found)) = reads.try_next().await? {
                    if let Some(found) = found {
                        take(name, &found.bytes)?;
                    }
                }
                Ok::<_, ArchiveError>(())
            })?;
        }
        Ok(())
    }
}

impl Place for Objects {
    fn read(&self, name: &Path) -> Result<Option<Found>, ArchiveError> {
        self.runtime.block_on(self.found(&self.path(name)))
    }

    fn put(&self, name: &Path, bytes: Vec<u8>) -> Result<(), ArchiveError> {
        self.runtime.block_on(self.create(&self.path(name), bytes.into()))
    }

    fn replace(&self, name: &Path, bytes: &[u8], was: Option<&Found>) -> Result<(), ArchiveError> {
        let mode = was.map_or(PutMode::Create, |found| {
            PutMode::Update(UpdateVersion { e_tag: found.version.clone(), version: None })
        });
        let path = self.path(name);
        match self.runtime.block_on(self.write(&path, Bytes::copy_from_slice(bytes), mode))? {
            true => Ok(()),
            false => Err(ArchiveError::Raced { at: format!("{path} in {self}") }),
        }
    }

    fn tile(&self, full: FullTile<'_>) -> Result<(), ArchiveError> {
        let path = self.path(&tile::path(Path::new(""), full.level, full.index));
        let mut tiles = self.tiles.lock().unwrap_or_else(PoisonError::into_inner);
        tiles.push((path, full.hashes.concat().into()));
        if tiles.len() < TILES {
            return Ok(());
        }
        let full = std::mem::take(&mut *tiles);
        drop(tiles);
        self.put_tiles(&full)
    }

    fn settle(&self) -> Result<(), ArchiveError> {
        let rest = std::mem::take(&mut *self.tiles.lock().unwrap_or_else(PoisonError::into_inner));
        self.put_tiles(&rest)
    }

    /// Nothing is removed: the key of a gateway need not delete (ADR 52), and what is there may be what another process is about to end. What
    /// fetches an archive leaves what is behind its checkpoint.
    fn nothing_from(&self, _end: u64) -> Result<(), ArchiveError> {
        Ok(())
    }

    fn names(&self, below: &Path) -> Result<BTreeSet<PathBuf>, ArchiveError> {
        let listed = self.list(&self.path(below), MOST)?;
        Ok(listed.into_iter().map(|(name, _)| name).collect())
    }

    /// A store that has never heard of conditions ignores them, and says that all is well.
    fn guard(&self, name: &Path, bytes: &[u8]) -> Result<(), ArchiveError> {
        let path = self.path(name);
        let never = UpdateVersion { e_tag: Some(NO_VERSION.to_owned()), version: None };
        for mode in [PutMode::Create, PutMode::Update(never)] {
            // The bytes that are there: nothing is changed by it, whatever the store does.
            let payload = Bytes::copy_from_slice(bytes).into();
            let put = self.store.put_opts(&path, payload, PutOptions::from(mode));
            match self.runtime.block_on(put) {
                Err(error) if is_of_what_is_there(&error) => {}
                Err(error) => return Err(self.failed("write", &path)(error)),
                Ok(_) => return Err(ArchiveError::Unconditional { at: self.at.clone() }),
            }
        }
        Ok(())
    }
}

/// Whether the store did not write because of what is there.
fn is_of_what_is_there(error: &StoreError) -> bool {
    matches!(
        error,
        StoreError::AlreadyExists { .. } | StoreError::Precondition { .. } | StoreError::NotModified { .. }
    )
}

/// What S3 answers where it does not what it was asked (Amazon S3 API Reference, Error responses), as far as reading, writing and listing come to it.
const CODES: &[&str] = &[
    "AccessDenied",
    "AccountProblem",
    "AllAccessDisabled",
    "AuthorizationHeaderMalformed",
    "BadDigest",
    "ConditionalRequestConflict",
    "EntityTooLarge",
    "EntityTooSmall",
    "ExpiredToken",
    "IllegalLocationConstraintException",
    "IncompleteBody",
    "InternalError",
    "InvalidAccessKeyId",
    "InvalidArgument",
    "InvalidBucketName",
    "InvalidBucketState",
    "InvalidDigest",
    "InvalidEncryptionAlgorithmError",
    "InvalidObjectState",
    "InvalidRange",
    "InvalidRequest",
    "InvalidSecurity",
    "InvalidToken",
    "InvalidURI",
    "KeyTooLongError",
    "MalformedXML",
    "MethodNotAllowed",
    "MissingContentLength",
    "MissingSecurityHeader",
    "NoSuchBucket",
    "NoSuchKey",
    "NotImplemented",
    "OperationAborted",
    "PermanentRedirect",
    "PreconditionFailed",
    "RequestTimeTooSkewed",
    "RequestTimeout",
    "ServiceUnavailable",
    "SignatureDoesNotMatch",
    "SlowDown",
    "TemporaryRedirect",
    "TooManyRequests",
    "UnauthorizedAccess",
    "XAmzContentSHA256Mismatch",
];

/// Of the name of an object that no file can have: whoever has it removed must know which. Long parts and whatever is no plain name, which could be
/// something that was sent, are left out.
fn no_path(error: &PathError) -> String {
    let (PathError::EmptySegment { path } | PathError::BadSegment { path, .. }) = error else {
        return "an object has a name that no file can have; remove it there".to_owned();
    };
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let shown = |part: &str| {
        if part.len() <= 24 && part.bytes().all(is_plain) { part.to_owned() } else { "…".to_owned() }
    };
    let shown: Vec<String> = path.split('/').take(16).map(shown).collect();
    format!("an object is called `{}`, which no file can be; remove it there", shown.join("/"))
}

/// What is wrong, without the store's own words: it repeats the headers that it was sent, among which a session's token is.
fn why(error: &StoreError) -> String {
    let text = error.to_string();
    if text.contains("http://169.254.") {
        return "no credentials are there: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or have them in a file \
                (AWS_SHARED_CREDENTIALS_FILE)"
            .to_owned();
    }
    let part = |from: &str, is: fn(&u8) -> bool| {
        let (_, rest) = text.split_once(from)?;
        let length = rest.bytes().take(64).take_while(is).count();
        rest.get(..length).filter(|part| !part.is_empty()).map(str::to_owned)
    };
    if let StoreError::InvalidPath { source } = error {
        return no_path(source);
    }
    // It may be anything that was sent: only what S3 has is told.
    let code = part("<Code>", u8::is_ascii_alphanumeric);
    if let Some(known) = CODES.iter().find(|known| code.as_deref() == Some(**known)) {
        return format!("the store says {known}");
    }
    if let Some(status) = part("status code: ", u8::is_ascii_digit) {
        return format!("the store answers with {status}");
    }
    if code.is_some() {
        return "the store says an error that S3 does not have".to_owned();
    }
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(one) = cause {
        if let Some(http) = one.downcast_ref::<HttpError>() {
            return match http.kind() {
                HttpErrorKind::Connect => "the store cannot be reached",
                HttpErrorKind::Timeout => "the store does not answer in time",
                HttpErrorKind::Interrupted => "the connection to the store broke",
                _ => "the store answers nothing that S3 has",
            }
            .to_owned();
        }
        cause = one.source();
    }
    match error {
        StoreError::NotFound { .. } => "it is not there",
        StoreError::PermissionDenied { .. } => "the store does not permit it",
        StoreError::Unauthenticated { .. } => "the store does not take the credentials",
        StoreError::AlreadyExists { .. } | StoreError::Precondition { .. } => "something else is there",
        _ => "the store, or how it is addressed (AWS_*), is not as S3 has it",
    }
    .to_owned()
}

#[cfg(test)]
mod tests;
