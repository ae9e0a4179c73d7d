//! The keys under which payloads are kept in records, each person's apart: whoever destroys them has destroyed what they sealed, and nothing of
//! the log (ADR 55).
//!
//! `DATA/payload-keys/NAME/ID` is one key. NAME is a MAC of whose it is, under a key that is in the directory too, so that nobody finds out by
//! guessing for whom there are keys in a list of names; ID is random, and stands in the records. The name is where a key is put and
//! first looked for; whose it is its file says, so that none is hidden where the key of names is lost or another one. A key is used for 30 days, and
//! for 2^20 payloads at most, since its nonces are random. [`PayloadKeys::set_aside`] takes all keys of somebody out of use by one rename, and
//! [`PayloadKeys::destroy`] overwrites them. Between the two is the record of the act; what a stop left between them is ended at the next start.

mod collected;
mod file;
mod key;

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, SystemTime};
use std::{fmt, fs, io};

use aws_lc_rs::hmac;
use data_encoding::HEXLOWER;
use vidimus_core::act::Subject;
use vidimus_core::keep::KeptPayload;
use vidimus_identity::{KeyFileError, existing_random_key, random_key};

pub use self::file::KeyFault;
pub(crate) use self::key::{Lease, PersonKey};
pub use self::key::{Place, Plain};
pub(crate) use collected::Keeping;

/// The key of the names.
const NAMING: &str = "naming";

/// Where keys are between being out of use and being destroyed.
const SHREDDING: &str = "shredding";

/// People whose key is held in memory; beyond that those are let go whose key nobody uses just now.
const MOST_HELD: usize = 4096;

/// Between two lines on the log that say that there is no key.
const SAID: Duration = Duration::from_secs(60);

/// A payload cannot be kept, or its key not be destroyed.
#[derive(Debug, thiserror::Error)]
pub enum PayloadKeyError {
    #[error(transparent)]
    File(#[from] KeyFault),
    #[error(transparent)]
    Naming(#[from] KeyFileError),
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("the system has no random bytes")]
    Random,
    #[error("whose payload it is cannot be named in an act, so its key could not be destroyed")]
    Unnameable,
    #[error("the thread that reads keys has ended")]
    Interrupted,
}

impl PayloadKeyError {
    fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }
}

/// Why a kept payload is not read.
#[derive(Debug, thiserror::Error)]
pub enum Unread {
    /// Whether it was destroyed, the log says.
    #[error("its key is not there")]
    NoKey,
    #[error("it is not what was sealed for this record")]
    Forged,
    #[error(transparent)]
    Failed(#[from] PayloadKeyError),
}

/// All keys of an installation.
pub struct PayloadKeys {
    directory: PathBuf,
    /// Held by whoever looks at files or changes them.
    files: Mutex<Option<hmac::Key>>,
    held: Mutex<HashMap<Box<str>, Held>>,
    refused: Mutex<Refused>,
}

/// Whether keys can be had.
#[derive(Debug, Default)]
struct Refused {
    /// The last that was looked for on the disk could not.
    last: bool,
    /// When the log said so.
    said: Option<SystemTime>,
}

/// The keys of one person that are in memory.
#[derive(Debug)]
struct Held {
    current: Arc<PersonKey>,
    /// Earlier ones that calls under way still have.
    before: Vec<Weak<PersonKey>>,
}

impl Held {
    fn is_used(&self) -> bool {
        Arc::strong_count(&self.current) > 1 || self.before.iter().any(|key| key.strong_count() > 0)
    }

    /// Wipes all but these.
    fn wipe_but(&self, stay: &BTreeSet<String>) {
        let before = self.before.iter().filter_map(Weak::upgrade);
        before
            .chain([self.current.clone()])
            .filter(|key| !stay.contains(key.id()))
            .for_each(|key| key.wipe());
    }
}

impl fmt::Debug for PayloadKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PayloadKeys").field("directory", &self.directory).finish_non_exhaustive()
    }
}

/// Which keys of somebody go out of use, beside those that are already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    All,
    /// Those made until this time, and those that do not say when.
    MadeUntil(SystemTime),
    /// No more of them.
    Already,
}

/// Keys that are out of use, to be destroyed.
#[derive(Debug)]
pub struct Aside {
    /// Their ids, sorted.
    pub keys: Vec<String>,
    /// How many payloads were sealed under them, at most.
    pub records: u64,
    places: Vec<PathBuf>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl PayloadKeys {
    /// Those in a directory, which is made with the first key.
    pub fn at(directory: PathBuf) -> Self {
        let (files, held, refused) = (Mutex::default(), Mutex::default(), Mutex::default());
        Self { directory, files, held, refused }
    }

    /// Those of a data directory.
    pub fn of_data(data: &Path) -> Self {
        Self::at(data.join("payload-keys"))
    }

    /// Whether the directory and the key of names can be used, for one who only looks. Nothing is made.
    ///
    /// # Errors
    /// Why they cannot: no payload is then kept.
    pub fn look(&self) -> Result<(), PayloadKeyError> {
        file::check_directory(&self.directory)?;
        existing_random_key::<32>(&self.directory.join(NAMING))?;
        Ok(())
    }

    /// The right to seal the payloads of one call of somebody, `whose` as in an act: `User/issuer#subject`, `Agent/namespace/name`.
    ///
    /// # Errors
    /// Where there is no key and none can be made, or one that others may read.
    pub(crate) async fn lease(
        self: &Arc<Self>,
        whose: &str,
        now: SystemTime,
    ) -> Result<Lease, PayloadKeyError> {
        if let Some(lease) = self.held(whose, now) {
            return Ok(lease);
        }
        let (keys, whose) = (self.clone(), Box::<str>::from(whose));
        // It reads files, and may write one and wait for the disk.
        let fetched = tokio::task::spawn_blocking(move || keys.fetch(&whose, now)).await;
        let fetched = fetched.unwrap_or(Err(PayloadKeyError::Interrupted));
        self.note(fetched.as_ref().err(), now);
        fetched
    }

    /// Says on the log that there is no key, once a minute at most: each call that it refuses has the reason on record.
    fn note(&self, error: Option<&PayloadKeyError>, now: SystemTime) {
        let mut refused = lock(&self.refused);
        refused.last = error.is_some();
        let Some(error) = error else { return };
        let said = refused.said.and_then(|said| now.duration_since(said).ok());
        if said.is_none_or(|since| since >= SAID) {
            refused.said = Some(now);
            drop(refused);
            tracing::error!(%error, "a call whose payload is to be kept is refused, since there is no key for it");
        }
    }

    /// Why no key can be had of anybody who has none in memory, where the last could not; `None` where another one can be tried.
    pub(crate) async fn fault(self: &Arc<Self>) -> Option<PayloadKeyError> {
        if !lock(&self.refused).last {
            return None;
        }
        let keys = self.clone();
        let looked = tokio::task::spawn_blocking(move || keys.name(&mut lock(&keys.files), "").err());
        looked.await.unwrap_or(Some(PayloadKeyError::Interrupted))
    }

    /// The same of a key that is in memory.
    fn held(&self, whose: &str, now: SystemTime) -> Option<Lease> {
        lock(&self.held).get(whose)?.current.lease(now)
    }

    fn fetch(&self, whose: &str, now: SystemTime) -> Result<Lease, PayloadKeyError> {
        let mut files = lock(&self.files);
        // Another was first.
        if let Some(lease) = self.held(whose, now) {
            return Ok(lease);
        }
        // What could not be destroyed by an act is not begun.
        let subject = whose.parse::<Subject>().ok().filter(|subject| subject.check_keeps().is_ok());
        if subject.is_none_or(|subject| subject.to_string() != whose) {
            return Err(PayloadKeyError::Unnameable);
        }
        let folder = self.directory.join(self.made_name(&mut files, whose)?);
        let key = file::current(&folder, whose, now)?;
        let key = Arc::new(PersonKey::of(key)?);
        let lease = key.lease(now).ok_or(PayloadKeyError::Random)?;
        self.hold(whose, key);
        Ok(lease)
    }

    fn hold(&self, whose: &str, key: Arc<PersonKey>) {
        let mut held = lock(&self.held);
        if held.len() >= MOST_HELD {
            held.retain(|_, held| held.is_used());
        }
        let before = held.remove(whose).map_or_else(Vec::new, |held| {
            let used = held.before.into_iter().filter(|key| key.strong_count() > 0);
            used.chain([Arc::downgrade(&held.current)]).collect()
        });
        held.insert(whose.into(), Held { current: key, before });
    }

    /// The name of somebody's folder; with it the directory and the key of names are made, where there are none.
    fn made_name(&self, naming: &mut Option<hmac::Key>, whose: &str) -> Result<String, PayloadKeyError> {
        if naming.is_none() {
            file::make_directory(&self.directory)?;
            *naming = Some(naming_key(&random_key::<32>(&self.directory.join(NAMING))?));
        }
        naming.as_ref().map(|key| name(key, whose)).ok_or(PayloadKeyError::Random)
    }

    /// The same of somebody who has a folder, or had one; `None` where nobody has.
    fn name(&self, naming: &mut Option<hmac::Key>, whose: &str) -> Result<Option<String>, PayloadKeyError> {
        if naming.is_none() {
            file::check_directory(&self.directory)?;
            *naming = existing_random_key::<32>(&self.directory.join(NAMING))?.map(|key| naming_key(&key));
        }
        Ok(naming.as_ref().map(|key| name(key, whose)))
    }

    /// Takes all keys of somebody out of use, in memory and on disk; also those of an earlier try. `None` where there are none.
    ///
    /// # Errors
    /// Where they stay as they were.
    pub fn set_aside(&self, whose: &str) -> Result<Option<Aside>, PayloadKeyError> {
        self.aside(whose, Which::All)
    }

    /// Takes keys of somebody out of use, as [`PayloadKeys::set_aside`] takes all.
    ///
    /// # Errors
    /// Where they stay as they were, or some of them.
    pub(crate) fn aside(&self, whose: &str, which: Which) -> Result<Option<Aside>, PayloadKeyError> {
        let mut files = lock(&self.files);
        file::check_directory(&self.directory)?;
        // Where the key of names is damaged, what the files say is left.
        let name = self.name(&mut files, whose).ok().flatten();
        let made = fs::metadata(self.directory.join(NAMING)).and_then(|naming| naming.modified()).ok();
        let shredding = self.directory.join(SHREDDING);
        if which != Which::Already {
            let mut stay = BTreeSet::new();
            for folder in of(whose, (name.as_deref(), made), self.folders()?)? {
                let made_after = match which {
                    Which::MadeUntil(time) => file::made_after(&folder, time)?,
                    Which::All | Which::Already => BTreeSet::new(),
                };
                file::make_directory(&shredding)?;
                let to = shredding.join(format!("{}.{}", name_of(&folder), file::random_id()?));
                match made_after.is_empty() {
                    true => fs::rename(&folder, &to).map_err(PayloadKeyError::io(&folder))?,
                    false => file::move_but(&folder, &to, &made_after)?,
                }
                stay.extend(made_after);
            }
            // Whoever took one until now has it, and whoever takes one from now on makes another. One that is wiped gives no right to seal.
            let mut held = lock(&self.held);
            if let Some(of) = held.get(whose) {
                of.wipe_but(&stay);
            }
            if stay.is_empty() {
                held.remove(whose);
            }
        }
        let mut aside = Aside { keys: Vec::new(), records: 0, places: Vec::new() };
        for place in of(whose, (name.as_deref(), made), file::entries(&shredding)?)? {
            let (keys, records) = file::counted(&place)?;
            aside.keys.extend(keys);
            aside.records = aside.records.saturating_add(records);
            aside.places.push(place);
        }
        if aside.places.is_empty() {
            return Ok(None);
        }
        file::sync_directory(&self.directory)?;
        file::sync_directory(&shredding)?;
        aside.keys.sort_unstable();
        Ok(Some(aside))
    }

    /// The folders of all people, of whatever name.
    fn folders(&self) -> Result<Vec<PathBuf>, KeyFault> {
        let mut found = file::entries(&self.directory)?;
        let is_directory = |path: &Path| fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir());
        found.retain(|path| !path.ends_with(SHREDDING) && is_directory(path));
        Ok(found)
    }

    /// Destroys keys that are out of use: what they sealed is read by nobody from then on.
    ///
    /// # Errors
    /// Where some may still be there; they are destroyed at the next start, or by the next act.
    pub fn destroy(&self, aside: &Aside) -> Result<(), PayloadKeyError> {
        let _files = lock(&self.files);
        aside.places.iter().try_for_each(|place| file::destroy(place))?;
        Ok(file::sync_directory(&self.directory.join(SHREDDING))?)
    }

    /// Whose keys an act took out of use that did not come to its end.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn left_aside(&self) -> Result<Vec<Subject>, PayloadKeyError> {
        let _files = lock(&self.files);
        let mut left = Vec::new();
        for place in file::entries(&self.directory.join(SHREDDING))? {
            match file::whose(&place) {
                Ok(Some(whose)) => left.extend(whose.parse::<Subject>().ok()),
                // Nothing whole is left of them.
                Ok(None) => file::destroy(&place)?,
                // No act could say whose they were.
                Err(error) => {
                    let place = place.display().to_string();
                    tracing::error!(place, %error, "keys of kept payloads that are out of use cannot be read, so whose they are is not known, and they stay: mend what is said and start again, or destroy them by an act (`vidimus audit shred`)");
                }
            }
        }
        left.sort_unstable();
        left.dedup();
        Ok(left)
    }

    /// What was kept of somebody, as a record at `place` has it.
    ///
    /// # Errors
    /// Why it is not read.
    pub fn open(&self, whose: &str, place: Place<'_>, kept: &KeptPayload) -> Result<Plain, Unread> {
        let (Some(id), Some(sealed)) = (&kept.key, &kept.sealed) else { return Err(Unread::Forged) };
        // What a record says is no path.
        if !file::is_id(id) {
            return Err(Unread::Forged);
        }
        let found = self.found(whose, id)?.ok_or(Unread::NoKey)?;
        let key = PersonKey::of(found)?;
        key.open(place, (kept.bytes, kept.too_long), sealed).ok_or(Unread::Forged)
    }

    /// A key of somebody by its id, where its name would have it or anywhere else.
    fn found(&self, whose: &str, id: &str) -> Result<Option<file::KeyFile>, PayloadKeyError> {
        let mut files = lock(&self.files);
        file::check_directory(&self.directory)?;
        if let Some(name) = self.name(&mut files, whose).ok().flatten() {
            let found = file::read(&self.directory.join(name).join(id))?;
            if found.as_ref().is_some_and(|found| found.whose == whose) {
                return Ok(found);
            }
        }
        for folder in self.folders()? {
            let found = file::read(&folder.join(id))?;
            if found.as_ref().is_some_and(|found| found.whose == whose) {
                return Ok(found);
            }
        }
        Ok(None)
    }
}

/// What a folder of keys is called, without what is added where it is out of use.
fn name_of(folder: &Path) -> String {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    name.split('.').next().unwrap_or_default().to_owned()
}

/// Those of these folders that have keys of somebody, by their name or by what the keys say. `made` is when the key of names was.
///
/// # Errors
/// Where a folder does not say whose it is, and no name is known, or the folder is older than the key of names, so that another one named it: it
/// may be of whom is asked for, and nobody is to be told that none is left.
fn of(
    whose: &str,
    (name, made): (Option<&str>, Option<SystemTime>),
    folders: Vec<PathBuf>,
) -> Result<Vec<PathBuf>, KeyFault> {
    let is_older = |folder: &Path| {
        let begun = fs::metadata(folder).and_then(|folder| folder.modified()).ok();
        made.zip(begun).is_none_or(|(made, begun)| begun < made)
    };
    let mut found = Vec::new();
    for folder in folders {
        let is_it = name.is_some_and(|name| name_of(&folder) == name)
            || match file::whose(&folder) {
                Ok(of) => of.as_deref() == Some(whose),
                Err(error) if name.is_none() || is_older(&folder) => return Err(error),
                Err(error) => {
                    let folder = folder.display().to_string();
                    tracing::warn!(folder, %error, "keys of kept payloads do not say whose they are, and stay: mend the file, and shred again where they are of that person");
                    false
                }
            };
        if is_it {
            found.push(folder);
        }
    }
    Ok(found)
}

fn naming_key(key: &[u8; 32]) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, key)
}

/// The first 128 bits of a MAC, in hexadecimal.
fn name(key: &hmac::Key, whose: &str) -> String {
    let mac = hmac::sign(key, whose.as_bytes());
    HEXLOWER.encode(mac.as_ref().get(..16).unwrap_or_default())
}

#[cfg(test)]
mod tests;
