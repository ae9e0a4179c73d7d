//! Cosignatures (C2SP tlog-cosignature): that a witness, who keeps nothing of a log but what it saw last, saw that a checkpoint continues
//! it. Whoever has the log's private key can sign two pasts; not both with the same witnesses.
//!
//! The newest checkpoint that enough of them cosigned stands in the file `cosigned`, their lines behind the log's.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use aws_lc_rs::signature::{ED25519, ML_DSA_44, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use data_encoding::HEXLOWER;

use crate::checkpoint::{Checkpoint, CheckpointError, SignedCheckpoint};
use crate::file::{self, FileError};
use crate::note::{self, KeyError, Line, NoteError, Parts, VerifierKey};
use crate::open::OpenError;
use crate::storage::Storage;

/// The types of keys of witnesses (C2SP signed-note, "Signature types").
const ED25519_COSIGNATURE: u8 = 0x04;
const ML_DSA_44_COSIGNATURE: u8 = 0x06;

/// Bytes of a public key of ML-DSA-44 (FIPS 204, table 2).
const ML_DSA_44_KEY: usize = 1312;

/// What is signed by ML-DSA-44 begins with it (C2SP tlog-cosignature, "ML-DSA-44 signed message").
const LABEL: &[u8; 12] = b"subtree/v1\n\0";

/// The public key of a witness, in text a C2SP vkey: of type 4, `name+hex(id)+base64(0x04 || 32 bytes)`, or of type 6 with 1,312 bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WitnessKey {
    name: String,
    public: Public,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Public {
    Ed25519([u8; 32]),
    MlDsa44(Box<[u8]>),
}

/// That a witness saw a checkpoint, and that it continues all that it had seen of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cosignature {
    /// The witness, by the name of its key.
    pub witness: String,
    /// When, in Unix seconds, as the witness says. Never 0.
    pub time: u64,
    /// Its signature line, without the newline.
    pub line: String,
}

impl WitnessKey {
    /// The name of the witness.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Type and key.
    fn bytes(&self) -> (u8, &[u8]) {
        match &self.public {
            Public::Ed25519(key) => (ED25519_COSIGNATURE, key),
            Public::MlDsa44(key) => (ML_DSA_44_COSIGNATURE, key),
        }
    }

    fn id(&self) -> [u8; 4] {
        let (kind, key) = self.bytes();
        note::id(&self.name, kind, key)
    }

    /// The cosignature of this witness on a checkpoint; `None` where it has none. Lines of others are ignored.
    ///
    /// # Errors
    /// See [`NoteError`]; also where a line is this witness's and not right.
    pub fn cosigned(&self, note: &str) -> Result<Option<Cosignature>, NoteError> {
        let (text, lines) = note::text_and_signatures(note)?;
        let mut found = None;
        for text_of_line in lines.split('\n') {
            let line = Line::parse(text_of_line)?;
            if line.name == self.name && line.id == self.id() {
                let time = self.time(text, &line.signature);
                let time = time.ok_or_else(|| NoteError::Signature(self.name.clone()))?;
                let (witness, line) = (self.name.clone(), text_of_line.to_owned());
                found.get_or_insert(Cosignature { witness, time, line });
            }
        }
        Ok(found)
    }

    /// The time that a signature says, if it is this key's.
    fn time(&self, text: &str, signature: &[u8]) -> Option<u64> {
        let (time, signature) = signature.split_first_chunk::<8>()?;
        let time = u64::from_be_bytes(*time);
        // One without a time says nothing of the largest tree that was seen ("add-checkpoint": it must not be left out).
        if time == 0 || i64::try_from(time).is_err() {
            return None;
        }
        match &self.public {
            Public::Ed25519(key) => {
                let message = format!("cosignature/v1\ntime {time}\n{text}");
                UnparsedPublicKey::new(&ED25519, key).verify(message.as_bytes(), signature)
            }
            Public::MlDsa44(key) => {
                UnparsedPublicKey::new(&ML_DSA_44, key).verify(&self.subtree(text, time)?, signature)
            }
        }
        .ok()
        .map(|()| time)
    }

    /// What ML-DSA-44 signs of a checkpoint. It leaves out further lines, so there may be none.
    fn subtree(&self, text: &str, time: u64) -> Option<Vec<u8>> {
        let checkpoint = Checkpoint::exactly(text)?;
        let mut message = LABEL.to_vec();
        for (name, then) in [(self.name.as_str(), time), (&checkpoint.origin, 0)] {
            message.push(u8::try_from(name.len()).ok()?);
            message.extend_from_slice(name.as_bytes());
            message.extend_from_slice(&then.to_be_bytes());
        }
        message.extend_from_slice(&checkpoint.size.to_be_bytes());
        message.extend_from_slice(&checkpoint.root);
        Some(message)
    }
}

impl fmt::Display for WitnessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, key) = self.bytes();
        let key = STANDARD.encode([&[kind], key].concat());
        write!(f, "{}+{}+{key}", self.name, HEXLOWER.encode(&self.id()))
    }
}

impl FromStr for WitnessKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let Parts { name, id, kind, key } = Parts::of(text)?;
        let public = match kind {
            ED25519_COSIGNATURE => Public::Ed25519(key.try_into().map_err(|_| KeyError::Form)?),
            ML_DSA_44_COSIGNATURE if key.len() == ML_DSA_44_KEY => Public::MlDsa44(key.into()),
            ML_DSA_44_COSIGNATURE => return Err(KeyError::Form),
            _ => return Err(KeyError::NotAWitness),
        };
        let key = Self { name, public };
        note::checked(id, key.id())?;
        Ok(key)
    }
}

/// Witnesses, and how many of them must have cosigned a checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Witnesses {
    keys: Vec<WitnessKey>,
    quorum: usize,
}

impl Witnesses {
    /// A key that is given twice counts once, whatever it is called. `quorum` is all of them where it is not given.
    pub fn new(keys: impl IntoIterator<Item = WitnessKey>, quorum: Option<usize>) -> Self {
        let mut all: Vec<WitnessKey> = Vec::new();
        for key in keys {
            if all.iter().all(|other| other.public != key.public) {
                all.push(key);
            }
        }
        Self { quorum: quorum.unwrap_or(all.len()), keys: all }
    }

    /// Each once.
    pub fn keys(&self) -> &[WitnessKey] {
        &self.keys
    }

    /// How many must have cosigned.
    pub fn quorum(&self) -> usize {
        self.quorum
    }

    /// What these witnesses say of a checkpoint: who wants to believe it, counts.
    ///
    /// # Errors
    /// See [`WitnessKey::cosigned`].
    pub fn cosigned(&self, note: &str) -> Result<Vec<Cosignature>, NoteError> {
        self.keys.iter().filter_map(|key| key.cosigned(note).transpose()).collect()
    }
}

/// Why a cosigned checkpoint is not kept.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    #[error("{}", .0.story())]
    File(FileError),
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error("it is of {size} records, and the log has signed for {signed}")]
    Newer { size: u64, signed: u64 },
    #[error("the ledger has been closed")]
    Closed,
}

impl From<FileError> for KeepError {
    fn from(error: FileError) -> Self {
        Self::File(error)
    }
}

/// Where the newest checkpoint stands that enough witnesses cosigned.
pub(crate) fn path(dir: &Path) -> PathBuf {
    dir.join("cosigned")
}

/// That checkpoint, if there is one and the log signed it. By whom it is cosigned is not looked at.
pub(crate) fn read(
    dir: &Path,
    key: &VerifierKey,
) -> Result<Option<Result<SignedCheckpoint, CheckpointError>>, FileError> {
    Ok(file::read_if_there(&path(dir))?.map(|note| SignedCheckpoint::open(&note, key)))
}

/// The newest checkpoint of the log in `dir` that enough witnesses of its gateway cosigned, where there is one that the log signed. Who
/// they are is not looked at.
pub fn cosigned(dir: &Path) -> Option<SignedCheckpoint> {
    let key = crate::search::own_key(dir).ok()?;
    read(dir, &key).ok()??.ok()
}

/// What a log that is opened has there, whose newest checkpoint is `latest`: what was cosigned had been issued. What cannot be read is
/// told, and made anew with the next one.
pub(crate) fn open(
    dir: &Path,
    key: &VerifierKey,
    latest: &Checkpoint,
) -> Result<Option<SignedCheckpoint>, OpenError> {
    let found = match read(dir, key)? {
        Some(Ok(found)) => found,
        Some(Err(error)) => {
            let path = path(dir);
            tracing::warn!(path = %path.display(), %error, "what witnesses cosigned cannot be used");
            return Ok(None);
        }
        None => return Ok(None),
    };
    let Checkpoint { size, root, .. } = found.checkpoint;
    if size > latest.size {
        return Err(OpenError::RolledBack { size: latest.size, issued: size });
    }
    if size == latest.size && root != latest.root {
        return Err(OpenError::Altered { size });
    }
    Ok(Some(found))
}

/// Puts it there, durably.
pub(crate) fn keep(storage: &dyn Storage, dir: &Path, cosigned: &SignedCheckpoint) -> Result<(), FileError> {
    file::replace(storage, &path(dir), cosigned.note.as_bytes(), 0o600)
}

#[cfg(test)]
mod tests;
