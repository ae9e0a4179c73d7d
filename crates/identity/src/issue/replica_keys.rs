//! Keys that several gateways share, so that each takes what another gave out: sealed ids, hops' tokens, and what the built-in
//! issuer and CA issued (ADR 67).
//!
//! They are files of one directory, such as a mounted Secret. A file's name says what its key is for, from when it is used, and the
//! digest of its content, so that nothing has to stand beside the keys that could disagree with them, and a file that was cut or
//! changed is told. All are accepted from when they are read; the newest whose time has come is used. So a key that is added with a
//! time ahead is known to every gateway before any uses it.

mod name;

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretSlice, SecretString};
use vidimus_core::caller::UnixMillis;

use self::name::{KeyName, Purpose, SEAL_LENGTH};
use super::files::{self, KeyFileError};
use super::key::{PublicJwk, SigningKey};
use super::local::{self, LocalError, LocalIdentity};
use super::mint::TYPE;
use crate::spiffe::TrustDomain;

/// Keys of one purpose, at most: each is tried for an id that opens with none.
const MAX_KEYS: usize = 16;
/// How long a key that signs no more is published at least: far longer than a hop's token lives.
const MINT_KEPT: Duration = Duration::from_secs(3600);
/// What a volume of Kubernetes leads by to what is mounted now; it is swapped as a whole.
const MOUNTED: &str = "..data";

/// Why shared keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SharedKeysError {
    #[error(transparent)]
    File(#[from] KeyFileError),
    #[error(transparent)]
    Local(#[from] LocalError),
    #[error("{path}: {reason}", path = path.display())]
    Exposed { path: PathBuf, reason: String },
    #[error(
        "{path}: no name of a shared key; take it out (the names are those that `vidimus keys generate` gives)",
        path = path.display()
    )]
    Name { path: PathBuf },
    #[error(
        "{path}: this is not what its name is the digest of: it was cut, changed or renamed; restore it from where the keys \
         were made, or take it out, and add another with `vidimus keys rotate`",
        path = path.display()
    )]
    Changed { path: PathBuf },
    #[error("{path}: has no key that {purpose}s; make the keys with `vidimus keys generate`", path = path.display())]
    None { path: PathBuf, purpose: &'static str },
    #[error("{path}: has {found} keys that {purpose}, {MAX_KEYS} at most; take out the oldest", path = path.display())]
    TooMany { path: PathBuf, purpose: &'static str, found: usize },
    #[error(
        "{path}: is missing beside the rest of the built-in issuer and CA; restore it, or take out ca.pem, ca-key.pem and \
         issuer-key.pem, and each gateway has its own",
        path = path.display()
    )]
    Partial { path: PathBuf },
    #[error("{path}: has shared keys already; add new ones with `vidimus keys rotate`", path = path.display())]
    There { path: PathBuf },
}

/// The files of shared keys by name, wherever they come from: a directory, or a Secret.
pub struct KeyFiles {
    /// Where they are, for messages.
    place: PathBuf,
    files: BTreeMap<String, SecretSlice<u8>>,
}

impl fmt::Debug for KeyFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyFiles").field("files", &self.files.keys()).finish_non_exhaustive()
    }
}

/// What a rotation did, by names of files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rotated {
    pub added: Vec<String>,
    pub dropped: Vec<String>,
}

impl KeyFiles {
    /// Those of `directory`, where nobody else may write, and no other user read.
    ///
    /// # Errors
    /// When it, or a file, cannot be read or is open to others.
    pub fn read(directory: &Path) -> Result<Self, SharedKeysError> {
        let metadata = fs::metadata(directory).map_err(KeyFileError::io(directory, "read"))?;
        if let Some(reason) = files::exposed(&metadata) {
            return Err(SharedKeysError::Exposed { path: directory.to_owned(), reason });
        }
        // What is mounted is read by where it is now: the links before it would lead to the next keys halfway.
        let inside = fs::canonicalize(directory.join(MOUNTED)).unwrap_or_else(|_| directory.to_owned());
        let mut files = BTreeMap::new();
        for entry in fs::read_dir(&inside).map_err(KeyFileError::io(directory, "list"))? {
            let entry = entry.map_err(KeyFileError::io(directory, "list"))?;
            let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
            // What Kubernetes has beside the keys, and what a rotation is writing.
            if name.starts_with('.') || name.ends_with(".tmp") {
                continue;
            }
            if is_known(&name) {
                let content = files::read_bytes(&path, files::PRIVATE)?;
                let gone = || KeyFileError::io(&path, "read")(std::io::ErrorKind::NotFound.into());
                files.insert(name, content.ok_or_else(gone)?);
            } else {
                return Err(SharedKeysError::Name { path });
            }
        }
        Ok(Self { place: directory.to_owned(), files })
    }

    /// Those that somebody has read, such as from a Secret; `place` is how messages call where they are from.
    ///
    /// # Errors
    /// When a name is none of a shared key.
    pub fn given(
        place: &Path,
        given: impl IntoIterator<Item = (String, Vec<u8>)>,
    ) -> Result<Self, SharedKeysError> {
        let mut files = BTreeMap::new();
        for (name, content) in given {
            if !is_known(&name) {
                return Err(SharedKeysError::Name { path: place.join(name) });
            }
            files.insert(name, content.into());
        }
        Ok(Self { place: place.to_owned(), files })
    }

    /// New ones, used from `now`: a key that seals, one that mints, and a built-in issuer and CA of `trust_domain` (`vidimus.local`
    /// where none is given).
    ///
    /// # Errors
    /// When the random number generator or the cryptographic library fails.
    pub fn generate(
        place: &Path,
        trust_domain: Option<&TrustDomain>,
        now: UnixMillis,
    ) -> Result<Self, SharedKeysError> {
        let mut made = Self { place: place.to_owned(), files: BTreeMap::new() };
        made.add(Purpose::Seal, now)?;
        made.add(Purpose::Mint, now)?;
        for (name, content) in local::new_files(place, trust_domain, now)? {
            made.files.insert(name.to_owned(), content.expose_secret().as_bytes().to_vec().into());
        }
        Ok(made)
    }

    /// Adds a key of each purpose that is used from `from`, and drops those that sealed last more than `keep` before `now`, or
    /// minted last more than an hour before.
    ///
    /// # Errors
    /// As of [`KeyFiles::generate`], and where they are no shared keys, or too many.
    pub fn rotate(
        &mut self,
        now: UnixMillis,
        from: UnixMillis,
        keep: Duration,
    ) -> Result<Rotated, SharedKeysError> {
        self.shared()?;
        let mut rotated = Rotated::default();
        for (purpose, keep) in [(Purpose::Seal, keep), (Purpose::Mint, MINT_KEPT)] {
            let before = now.0.saturating_sub(i64::try_from(keep.as_millis()).unwrap_or(i64::MAX));
            let mut names = self.names(purpose);
            let followers = names.iter().skip(1).map(|follower| follower.from.0);
            let gone = followers.take_while(|from| *from < before).count();
            for name in names.drain(..gone) {
                let name = name.file(purpose);
                self.files.remove(&name);
                rotated.dropped.push(name);
            }
            rotated.added.push(self.add(purpose, from)?);
        }
        self.shared()?;
        Ok(rotated)
    }

    /// What gateways go by.
    ///
    /// # Errors
    /// Where a key is missing, or none.
    pub fn shared(&self) -> Result<SharedKeys, SharedKeysError> {
        let mut keys =
            SharedKeys { place: self.place.clone(), seals: Vec::new(), mints: Vec::new(), local: None };
        for name in self.names(Purpose::Seal) {
            let (path, content) = self.checked(Purpose::Seal, &name)?;
            keys.seals.push((name, files::of_length(&path, content)?));
        }
        for name in self.names(Purpose::Mint) {
            let (path, content) = self.checked(Purpose::Mint, &name)?;
            let pem = files::text(&path, content)?;
            let public = SigningKey::from_pem(&path, &pem, TYPE)?.public;
            keys.mints.push(MintKey { name, path, pem, public });
        }
        for (purpose, found) in [(Purpose::Seal, keys.seals.len()), (Purpose::Mint, keys.mints.len())] {
            let (path, purpose) = (self.place.clone(), purpose.word());
            match found {
                0 => return Err(SharedKeysError::None { path, purpose }),
                1..=MAX_KEYS => {}
                _ => return Err(SharedKeysError::TooMany { path, purpose, found }),
            }
        }
        keys.local = self.local()?;
        // That it can be used is known at once, and not when somebody asks for a certificate.
        keys.identity()?;
        Ok(keys)
    }

    /// Writes them into `directory`, made where it is missing: what is there stays, and what was `dropped` goes.
    ///
    /// # Errors
    /// When a file cannot be written or removed.
    pub fn write(&self, directory: &Path, dropped: &[String]) -> Result<(), SharedKeysError> {
        files::directory(directory)?;
        for (name, content) in &self.files {
            let make = || Ok(content.expose_secret().to_vec().into());
            files::bytes_or_create(&directory.join(name), files::PRIVATE, make)?;
        }
        // The new one stands before an old one goes.
        Ok(dropped.iter().try_for_each(|name| files::remove(&directory.join(name)))?)
    }

    /// That `directory` has no keys yet.
    ///
    /// # Errors
    /// Where it has.
    pub fn none_in(directory: &Path) -> Result<(), SharedKeysError> {
        let entries = match fs::read_dir(directory) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            entries => entries.map_err(KeyFileError::io(directory, "list"))?,
        };
        let mut names =
            entries.filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()));
        match names.any(|name| is_known(&name)) {
            true => Err(SharedKeysError::There { path: directory.to_owned() }),
            false => Ok(()),
        }
    }

    /// Names and contents, for a Secret.
    pub fn contents(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.files.iter().map(|(name, content)| (name.as_str(), content.expose_secret()))
    }

    fn add(&mut self, purpose: Purpose, from: UnixMillis) -> Result<String, SharedKeysError> {
        let content = purpose.make(&self.place)?;
        let name = KeyName::of(&content, from).file(purpose);
        self.files.insert(name.clone(), content);
        Ok(name)
    }

    /// Those of a purpose, in the order of use.
    fn names(&self, purpose: Purpose) -> Vec<KeyName> {
        let mut names: Vec<_> = self.files.keys().filter_map(|name| KeyName::read(purpose, name)).collect();
        names.sort();
        names
    }

    fn checked(
        &self,
        purpose: Purpose,
        name: &KeyName,
    ) -> Result<(PathBuf, &SecretSlice<u8>), SharedKeysError> {
        let path = self.place.join(name.file(purpose));
        let content =
            self.files.get(&name.file(purpose)).filter(|content| name::shortened(content) == name.digest);
        match content {
            Some(content) => Ok((path, content)),
            None => Err(SharedKeysError::Changed { path }),
        }
    }

    /// Certificate of the CA, its key, and the key of the built-in issuer: all of them or none.
    fn local(&self) -> Result<Option<[SecretString; 3]>, SharedKeysError> {
        if !local::NAMES.iter().any(|name| self.files.contains_key(*name)) {
            return Ok(None);
        }
        let text = |name: &str| -> Result<SecretString, SharedKeysError> {
            let path = self.place.join(name);
            match self.files.get(name) {
                Some(content) => Ok(files::text(&path, content)?),
                None => Err(SharedKeysError::Partial { path }),
            }
        };
        let [certificate, ca_key, issuer_key] = local::NAMES;
        Ok(Some([text(certificate)?, text(ca_key)?, text(issuer_key)?]))
    }
}

fn is_known(name: &str) -> bool {
    let is_of = |purpose| KeyName::read(purpose, name).is_some();
    is_of(Purpose::Seal) || is_of(Purpose::Mint) || local::NAMES.contains(&name)
}

/// The keys that several gateways share, checked.
pub struct SharedKeys {
    place: PathBuf,
    /// In the order of use, as the next.
    seals: Vec<(KeyName, [u8; SEAL_LENGTH])>,
    mints: Vec<MintKey>,
    local: Option<[SecretString; 3]>,
}

struct MintKey {
    name: KeyName,
    path: PathBuf,
    pem: SecretString,
    public: PublicJwk,
}

impl fmt::Debug for SharedKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedKeys").field("place", &self.place).finish_non_exhaustive()
    }
}

/// Keys of ids, at one time.
pub struct SealingKeys {
    /// It seals.
    pub current: [u8; SEAL_LENGTH],
    /// The oldest, perhaps the same: names that callers choose are sealed with it, since an agent goes on by them.
    pub oldest: [u8; SEAL_LENGTH],
    /// They open too: newest first, without the current one.
    pub others: Vec<[u8; SEAL_LENGTH]>,
}

impl fmt::Debug for SealingKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealingKeys").field("others", &self.others.len()).finish_non_exhaustive()
    }
}

/// A key, without what is secret of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedKey {
    /// `seal` or `mint`.
    pub purpose: &'static str,
    /// The name of its file.
    pub file: String,
    /// From when it is used.
    pub from: UnixMillis,
    /// `next`, `current` or `former`.
    pub state: &'static str,
}

impl SharedKeys {
    /// Those of `directory`.
    ///
    /// # Errors
    /// See [`SharedKeysError`].
    pub fn open(directory: &Path) -> Result<Self, SharedKeysError> {
        KeyFiles::read(directory)?.shared()
    }

    /// What seals and opens ids at `now`.
    ///
    /// # Errors
    /// Where there is none, which [`SharedKeys::open`] refuses.
    pub fn sealing(&self, now: UnixMillis) -> Result<SealingKeys, SharedKeysError> {
        let none = || SharedKeysError::None { path: self.place.clone(), purpose: Purpose::Seal.word() };
        let at = current(self.seals.iter().map(|(name, _)| name), now);
        let (_, current) = self.seals.get(at).ok_or_else(none)?;
        let (_, oldest) = self.seals.first().ok_or_else(none)?;
        let others = self.seals.iter().enumerate().rev().filter(|(place, _)| *place != at);
        Ok(SealingKeys {
            current: *current,
            oldest: *oldest,
            others: others.map(|(_, (_, key))| *key).collect(),
        })
    }

    /// The built-in issuer and CA, where they are shared.
    ///
    /// # Errors
    /// Where certificate and key do not belong together.
    pub fn identity(&self) -> Result<Option<LocalIdentity>, SharedKeysError> {
        let Some([certificate, ca_key, issuer_key]) = &self.local else { return Ok(None) };
        Ok(Some(LocalIdentity::of_texts(&self.place, certificate, ca_key, issuer_key)?))
    }

    /// What is there, and which is used at `now`.
    pub fn list(&self, now: UnixMillis) -> Vec<ListedKey> {
        let seals: Vec<_> = self.seals.iter().map(|(name, _)| name).collect();
        let mints: Vec<_> = self.mints.iter().map(|key| &key.name).collect();
        let mut listed = Vec::new();
        for (purpose, names) in [(Purpose::Seal, seals), (Purpose::Mint, mints)] {
            let at = current(names.iter().copied(), now);
            listed.extend(names.iter().enumerate().map(|(place, name)| ListedKey {
                purpose: purpose.word(),
                file: name.file(purpose),
                from: name.from,
                state: match place.cmp(&at) {
                    std::cmp::Ordering::Less => "former",
                    std::cmp::Ordering::Equal => "current",
                    std::cmp::Ordering::Greater => "next",
                },
            }));
        }
        listed
    }

    /// The key that signs at `now`, and the public halves of all, that one first.
    pub(super) fn minting(&self, now: UnixMillis) -> Result<(SigningKey, Vec<&PublicJwk>), SharedKeysError> {
        let none = || SharedKeysError::None { path: self.place.clone(), purpose: Purpose::Mint.word() };
        let at = current(self.mints.iter().map(|key| &key.name), now);
        let signs = self.mints.get(at).ok_or_else(none)?;
        let others = self.mints.iter().rev().filter(|key| key.public.kid != signs.public.kid);
        let all = std::iter::once(signs).chain(others).map(|key| &key.public).collect();
        Ok((SigningKey::from_pem(&signs.path, &signs.pem, TYPE)?, all))
    }

    /// Where they are, for messages.
    pub(super) fn place(&self) -> &Path {
        &self.place
    }
}

/// Which one is used: the newest whose time has come; the oldest where none has, as under a clock that is behind.
fn current<'k>(names: impl Iterator<Item = &'k KeyName>, now: UnixMillis) -> usize {
    names.take_while(|name| name.from <= now).count().saturating_sub(1)
}

#[cfg(test)]
mod tests;
