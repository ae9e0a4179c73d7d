//! The configurations that decided, each kept once beside the records that name it by its digest, so that any record can be decided
//! again by the objects that were in force.
//!
//! | path | what |
//! |---|---|
//! | `<digest>` | one configuration: the lists of its objects, by digest, and what of it stands in none of them |
//! | `objects/<2 digits>/<digest>` | a text by the SHA-256 of its bytes: an object as JSON, or a list of objects |
//!
//! What did not change is not written twice: objects are shared by all configurations, and lists by all that have the same objects of
//! some digests. Every text is held to its digest when it is read, and the whole to the digest that stands in the records.

mod lists;
mod object;
mod store;
#[cfg(test)]
mod tests;
mod whole;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use vidimus_core::resource::Object;
use vidimus_core::snapshot::{Beside, Forgotten, NotPreserved, Overlay, PreservedObject, Snapshot};

use self::lists::Entry;
use self::object::object_of;
use self::store::{Digest, Store};

pub use whole::Whole;

/// The form of what is kept of a configuration; another one is not understood.
const VERSION: u32 = 2;
/// In this form too, and its digest was made otherwise: nobody but the version that made it can compute it.
const OTHER_DIGEST: u32 = 1;

/// What is kept of one configuration, beside the texts that it names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Manifest {
    version: u32,
    /// As in records.
    snapshot: String,
    /// The version of Vidimus that made the digest: another one may make another of the same objects.
    made_by: String,
    /// Texts, each a list of objects.
    lists: Vec<Digest>,
    beside: Beside,
}

/// Keeps configurations. There is one for a directory; it makes what is missing.
#[derive(Debug)]
pub struct Configurations {
    store: Store,
    /// The configurations that are here.
    kept: BTreeSet<String>,
    /// Those that are named here and are not whole, such as after a power loss.
    broken: BTreeSet<String>,
    /// The texts that these name.
    texts: HashSet<Digest>,
    /// The objects of the last one, and what stands of each in a list: most of the next one are the same.
    last: (Vec<Object>, Vec<Entry>),
}

/// A configuration that is written, and that a power loss may take.
#[must_use]
#[derive(Debug)]
pub struct Unsynced {
    configuration: String,
    texts: Vec<Digest>,
    last: (Vec<Object>, Vec<Entry>),
}

/// Why a configuration is not kept.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// A file could not be written or read.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Something of it was not read from a document.
    #[error(transparent)]
    NotPreserved(#[from] NotPreserved),
    /// It cannot be written as JSON, which it always can.
    #[error("the configuration cannot be written: {0}")]
    Json(#[from] serde_json::Error),
}

/// Why what was kept of a configuration cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// Nothing was kept of it.
    #[error("the configuration is not kept")]
    Missing,
    /// It is there, and not as it was written.
    #[error("{path}: {reason}")]
    Damaged {
        /// Of the file, or the directory.
        path: String,
        /// What is wrong.
        reason: String,
    },
}

impl Configurations {
    /// Keeps configurations in `directory`, which is made where it is missing, for its owner alone.
    ///
    /// # Errors
    /// When the directory cannot be made or read. What of it cannot be used is as if it were not there: every text is held to its digest.
    pub fn open(directory: &Path) -> Result<Self, KeepError> {
        let store = Store::make(directory)?;
        let mut all = Self {
            kept: BTreeSet::new(),
            broken: BTreeSet::new(),
            texts: HashSet::new(),
            last: (Vec::new(), Vec::new()),
            store,
        };
        let mut damaged: HashSet<Digest> = HashSet::new();
        for name in all.store.manifests()? {
            let named = manifest(&all.store, &name).and_then(|manifest| texts(&all.store, &manifest));
            let mut is_whole = named.is_ok();
            let named = named.unwrap_or_default();
            for text in named {
                // What its name says has to be what it is: one that is not is written anew with the next that has it.
                if !all.texts.contains(&text) && !damaged.contains(&text) {
                    let known = if all.store.read_text(text).is_ok() { &mut all.texts } else { &mut damaged };
                    known.insert(text);
                }
                is_whole &= all.texts.contains(&text);
            }
            let among = if is_whole { &mut all.kept } else { &mut all.broken };
            among.insert(name);
        }
        Ok(all)
    }

    /// The digests of those that are here.
    pub fn kept(&self) -> impl Iterator<Item = &str> {
        self.kept.iter().map(String::as_str)
    }

    /// The digests of all that is named here, whole or not.
    pub fn named(&self) -> impl Iterator<Item = &str> {
        self.kept.union(&self.broken).map(String::as_str)
    }

    /// Keeps a configuration; false where it was kept before. When this returns, it is on disk.
    ///
    /// # Errors
    /// See [`KeepError`].
    pub fn keep(&mut self, snapshot: &Snapshot) -> Result<bool, KeepError> {
        let written = self.write(snapshot)?;
        let is_new = written.is_some();
        written.map_or(Ok(()), |written| self.sync(written))?;
        Ok(is_new)
    }

    /// Writes a configuration; `None` where it was kept before. When this returns, it is with the kernel: a process that is killed has kept it, and
    /// [`Configurations::sync`] sees to the rest.
    ///
    /// # Errors
    /// See [`KeepError`].
    pub fn write(&self, snapshot: &Snapshot) -> Result<Option<Unsynced>, KeepError> {
        if self.kept.contains(snapshot.digest()) {
            return Ok(None);
        }
        let preserved = snapshot.preserved()?;
        let entries = self.entries(snapshot.objects(), &preserved.objects);
        let lists = lists::of(entries.clone());
        let objects = entries.iter().zip(&preserved.objects);
        let objects = objects.map(|(entry, object)| (entry.text, object.text.as_bytes()));
        let written: Vec<(Digest, String)> =
            lists.into_iter().map(|list| (Digest::of(list.as_bytes()), list)).collect();
        let written_lists = written.iter().map(|(digest, list)| (*digest, list.as_bytes()));
        let mut new: Vec<(Digest, &[u8])> =
            objects.chain(written_lists).filter(|(digest, _)| !self.texts.contains(digest)).collect();
        new.sort_unstable_by_key(|(digest, _)| *digest);
        new.dedup_by_key(|(digest, _)| *digest);
        self.store.write_texts(&new)?;
        let manifest = Manifest {
            version: VERSION,
            snapshot: snapshot.digest().to_owned(),
            made_by: env!("CARGO_PKG_VERSION").to_owned(),
            lists: written.iter().map(|(digest, _)| *digest).collect(),
            beside: preserved.beside,
        };
        // After all that it names: what it says is there.
        self.store.write_manifest(&manifest.snapshot, &serde_json::to_vec(&manifest)?)?;
        Ok(Some(Unsynced {
            configuration: manifest.snapshot,
            texts: new.into_iter().map(|(digest, _)| digest).collect(),
            last: (snapshot.objects().to_vec(), entries),
        }))
    }

    /// When this returns, what was written is on disk. Where it fails, it is written anew with the next try.
    ///
    /// # Errors
    /// See [`KeepError`].
    pub fn sync(&mut self, written: Unsynced) -> Result<(), KeepError> {
        self.store.sync_texts(&written.texts)?;
        self.store.sync_manifest(&written.configuration)?;
        self.texts.extend(written.texts);
        self.broken.remove(&written.configuration);
        self.kept.insert(written.configuration);
        self.last = written.last;
        Ok(())
    }

    /// What stands of each object in a list. What is the same in memory as in the last configuration, but for what is between, is not digested again.
    fn entries(&self, objects: &[Object], preserved: &[PreservedObject<'_>]) -> Vec<Entry> {
        let (last, known) = &self.last;
        let (first, at_end) = same_around(last, objects);
        let new = preserved.iter().skip(first).take(objects.len() - first - at_end);
        let new = new.map(|object| Entry {
            text: Digest::of(object.text.as_bytes()),
            quarantined: object.quarantined,
        });
        let before = known.iter().take(first).cloned();
        before.chain(new).chain(known.iter().skip(last.len() - at_end).cloned()).collect()
    }

    /// Drops every configuration that `stays` does not say, and the texts that no other one has; how many there were.
    ///
    /// # Errors
    /// When a file cannot be removed, or the texts of one that stays cannot be told.
    pub fn retain(&mut self, stays: impl Fn(&str) -> bool) -> Result<usize, KeepError> {
        let gone: BTreeSet<String> =
            self.named().filter(|digest| !stays(digest)).map(str::to_owned).collect();
        if gone.is_empty() {
            return Ok(0);
        }
        let mut needed = HashSet::new();
        for name in self.kept.difference(&gone) {
            let found = manifest(&self.store, name).and_then(|manifest| texts(&self.store, &manifest));
            needed.extend(found.map_err(|unusable| KeepError::File {
                path: self.store.manifest_path(name),
                source: io::Error::other(unusable),
            })?);
        }
        // First the names, so that nothing names what is not there.
        for name in &gone {
            self.store.remove_manifest(name)?;
            self.kept.remove(name);
            self.broken.remove(name);
        }
        self.store.sync_manifests()?;
        let dropped: Vec<Digest> = self.texts.difference(&needed).copied().collect();
        // Before they go: when one cannot be removed, none that has gone may be taken for one that is there.
        self.texts = needed;
        for text in dropped {
            self.store.remove_text(text)?;
        }
        Ok(gone.len())
    }
}

/// What is to be said of the files of a directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Looked {
    /// The configurations that are there, word for word.
    pub whole: BTreeSet<String>,
    /// Files that are not what they were, or are gone, each with what is wrong.
    pub damaged: Vec<(PathBuf, String)>,
    /// Writes that did not finish. They mean nothing, and the next ones take their places.
    pub unfinished: Vec<PathBuf>,
}

/// A configuration as it was kept.
#[derive(Clone, Debug)]
pub struct Restored {
    /// It decides as the one that was kept.
    pub snapshot: Arc<Snapshot>,
    /// Whether its digest is the one that stands in the records. Where it is not, another version of Vidimus kept it: the texts are those
    /// that were kept, and this version may read them otherwise.
    pub verified: bool,
}

/// The texts that a configuration is kept as, by their SHA-256 in hexadecimal.
#[derive(Clone, Debug)]
pub struct Texts {
    /// Each is a list of objects, one a line: the SHA-256 of its text, and ` quarantined` where it is.
    pub lists: Vec<String>,
    /// What of it stands in no object.
    pub beside: Beside,
}

/// The configurations that are kept in a directory, for who reads them.
pub struct Archive {
    store: Store,
    /// Of each text the object that it says, so that configurations share what they have in common.
    objects: Mutex<HashMap<Entry, Object>>,
}

impl fmt::Debug for Archive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Archive").field(&self.store).finish()
    }
}

impl Archive {
    /// Those of `directory`, which need not be there.
    pub fn at(directory: &Path) -> Self {
        Self { store: Store::at(directory), objects: Mutex::default() }
    }

    /// The objects of a configuration that were in force, in the order of their digests, and what stood by acts.
    ///
    /// # Errors
    /// See [`Unusable`].
    pub fn in_force(&self, digest: &str) -> Result<(Vec<Object>, Overlay), Unusable> {
        let manifest = manifest(&self.store, digest)?;
        let standing = manifest.beside.standing().map_err(|forgotten| Unusable::Damaged {
            path: self.store.manifest_path(digest).display().to_string(),
            reason: forgotten.to_string(),
        })?;
        Ok((self.objects_of(&manifest)?, standing))
    }

    /// The documents of the objects of a configuration, as they were kept: whatever this version makes of them.
    ///
    /// # Errors
    /// See [`Unusable`].
    pub(crate) fn documents(&self, digest: &str) -> Result<Vec<String>, Unusable> {
        let document = |entry: Entry| {
            let text = self.store.read_text(entry.text)?;
            String::from_utf8(text).map_err(|error| Unusable::Damaged {
                path: self.store.text_path(entry.text).display().to_string(),
                reason: error.to_string(),
            })
        };
        entries(&self.store, &manifest(&self.store, digest)?)?.into_iter().map(document).collect()
    }

    /// The texts of a configuration, to be handed to others.
    ///
    /// # Errors
    /// See [`Unusable`].
    pub fn texts(&self, digest: &str) -> Result<Texts, Unusable> {
        let manifest = manifest(&self.store, digest)?;
        let lists = manifest.lists.iter().map(ToString::to_string).collect();
        Ok(Texts { lists, beside: manifest.beside })
    }

    /// Looks at every file that a configuration is made of, as [`Configurations::open`] does, and changes nothing.
    ///
    /// # Errors
    /// When the directory cannot be read. One that is not there has nothing.
    pub fn look(&self) -> Result<Looked, KeepError> {
        let mut looked = Looked::default();
        if !self.store.exists() {
            return Ok(looked);
        }
        let (mut good, mut bad) = (HashSet::new(), BTreeSet::new());
        for name in self.store.manifests()? {
            let mut wrong = Vec::new();
            match manifest(&self.store, &name).and_then(|manifest| texts(&self.store, &manifest)) {
                Err(unusable) => wrong.push((self.store.manifest_path(&name), unusable)),
                Ok(named) => {
                    for text in named.into_iter().filter(|text| !good.contains(text)).collect::<BTreeSet<_>>()
                    {
                        match self.store.read_text(text) {
                            Ok(_) => {
                                good.insert(text);
                            }
                            Err(unusable) => wrong.push((self.store.text_path(text), unusable)),
                        }
                    }
                }
            }
            if wrong.is_empty() {
                looked.whole.insert(name);
            }
            // What several have is told once, by the file that is meant.
            bad.extend(wrong.into_iter().map(|(path, unusable)| match unusable {
                Unusable::Missing => (path, "it is gone".to_owned()),
                Unusable::Damaged { path, reason } => (PathBuf::from(path), reason),
            }));
        }
        looked.damaged.extend(bad);
        looked.unfinished = self.store.unfinished()?;
        Ok(looked)
    }

    /// A text of a configuration, held to its digest.
    ///
    /// # Errors
    /// See [`Unusable`]; of what is no digest, nothing is kept.
    pub fn text(&self, digest: &str) -> Result<Vec<u8>, Unusable> {
        self.store.read_text(digest.parse().map_err(|_| Unusable::Missing)?)
    }

    /// A configuration, sharing with `last` what both have.
    ///
    /// # Errors
    /// See [`Unusable`].
    pub fn restore(&self, digest: &str, last: &Snapshot) -> Result<Restored, Unusable> {
        let manifest = manifest(&self.store, digest)?;
        let damaged = |reason: String| Unusable::Damaged {
            path: self.store.manifest_path(digest).display().to_string(),
            reason,
        };
        let objects = self.objects_of(&manifest)?;
        let restored = last.restored(objects, &manifest.beside);
        let snapshot = restored.map_err(|forgotten: Forgotten| damaged(forgotten.to_string()))?;
        let verified = snapshot.digest() == manifest.snapshot;
        if !verified && manifest.version == VERSION && manifest.made_by == env!("CARGO_PKG_VERSION") {
            let reason = format!("its objects have the digest {}, which is another one", snapshot.digest());
            return Err(damaged(reason));
        }
        Ok(Restored { snapshot: Arc::new(snapshot), verified })
    }

    fn objects_of(&self, manifest: &Manifest) -> Result<Vec<Object>, Unusable> {
        let mut known = self.objects.lock().unwrap_or_else(PoisonError::into_inner);
        let mut objects = Vec::new();
        for entry in entries(&self.store, manifest)? {
            let object = match known.get(&entry) {
                Some(object) => object.clone(),
                None => {
                    let object = self.object(&entry)?;
                    known.insert(entry, object.clone());
                    object
                }
            };
            objects.push(object);
        }
        Ok(objects)
    }

    fn object(&self, entry: &Entry) -> Result<Object, Unusable> {
        let path = self.store.text_path(entry.text);
        let text = self.store.read_text(entry.text)?;
        let damaged = |reason: String| Unusable::Damaged { path: path.display().to_string(), reason };
        let document: Value = serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
        let object = object_of(&path, &document).map_err(damaged)?;
        Ok(if entry.quarantined { object.quarantined() } else { object })
    }
}

/// How many objects at the front of both are the same in memory, and how many of the others at their ends.
pub(crate) fn same_around(last: &[Object], now: &[Object]) -> (usize, usize) {
    let is_same = |(one, other): &(&Object, &Object)| one.is_identical(other);
    let first = last.iter().zip(now).take_while(is_same).count();
    let rest = last.iter().skip(first).rev().zip(now.iter().skip(first).rev());
    (first, rest.take_while(is_same).count())
}

/// What is kept of the configuration of this digest.
fn manifest(store: &Store, digest: &str) -> Result<Manifest, Unusable> {
    let path = store.manifest_path(digest);
    let damaged = |reason: String| Unusable::Damaged { path: path.display().to_string(), reason };
    let text = store.read_manifest(digest)?;
    let manifest: Manifest = serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
    if ![VERSION, OTHER_DIGEST].contains(&manifest.version) {
        return Err(damaged(format!("it is of version {}, and this is {VERSION}", manifest.version)));
    }
    if manifest.snapshot != digest {
        return Err(damaged(format!("it is of the configuration {}", manifest.snapshot)));
    }
    Ok(manifest)
}

fn entries(store: &Store, manifest: &Manifest) -> Result<Vec<Entry>, Unusable> {
    let mut entries = Vec::new();
    for list in &manifest.lists {
        let text = store.read_text(*list)?;
        let read = lists::read(&text).ok_or_else(|| Unusable::Damaged {
            path: store.text_path(*list).display().to_string(),
            reason: "not a list of objects".to_owned(),
        });
        entries.extend(read?);
    }
    Ok(entries)
}

/// All texts that a configuration is made of.
fn texts(store: &Store, manifest: &Manifest) -> Result<Vec<Digest>, Unusable> {
    let objects = entries(store, manifest)?.into_iter().map(|entry| entry.text);
    Ok(objects.chain(manifest.lists.iter().copied()).collect())
}
