//! Another key follows the log's: recorded, signed for by both, and then taken into use.
//!
//! A crash at any step leaves a log that opens, by the one key or the other:
//!
//! 1. the act is recorded and signed for by the key until now; the new one signs the same checkpoint;
//! 2. that is written down ([`crate::succession`]);
//! 3. the former private key is kept for the overlap, in which both sign every checkpoint;
//! 4. the checkpoint with both signatures, then the private key, then the public one take their places.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use vidimus_core::act::{Act, RotateKey};

use crate::file::{self, FileError};
use crate::note::{KeyError, SigningKey};
use crate::open::{key_path, public_key_path};
use crate::proof::ProveError;
use crate::queue::lock;
use crate::storage::Storage;
use crate::{ActBy, Closed, Ledger, checkpoint, succession};

/// Why no key followed. The log goes on with the one that it had.
#[derive(Debug, thiserror::Error)]
pub enum RotateError {
    #[error("{}", .0.story())]
    File(FileError),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error("the act is not on record: {0}")]
    Closed(#[from] Closed),
    #[error("the act cannot be proven: {0}")]
    Unproven(#[from] ProveError),
    #[error("the act cannot be written: {0}")]
    Json(#[from] serde_json::Error),
    #[error("records came meanwhile; a log that is written keeps its key")]
    Written,
    /// Whoever knows that former key alone was told that it signs until then.
    #[error("a former key signs until {until}, and another one would end that")]
    Overlap { until: Timestamp },
}

impl From<FileError> for RotateError {
    fn from(error: FileError) -> Self {
        Self::File(error)
    }
}

impl Ledger {
    /// Ends the overlap with a former key, if there is one: from the next start it signs no more. This waits for the disk.
    ///
    /// # Errors
    /// See [`RotateError`].
    pub fn end_overlap(&self) -> Result<(), RotateError> {
        let shared = &self.handle.shared;
        let path = former_path(&shared.config.dir);
        if file::read_if_there(&path)?.is_some() {
            shared.storage.remove(&path).map_err(FileError::on("remove", &path))?;
        }
        Ok(())
    }

    /// Lets a new key follow the log's, and gives it. Until `until` checkpoints are signed by both. To be called where nobody records
    /// anything, and the ledger is closed after it: the next start uses the new key. This waits for the disk and for a checkpoint.
    ///
    /// # Errors
    /// See [`RotateError`].
    pub fn rotate_key(&self, until: Timestamp, by: &ActBy<'_>) -> Result<String, RotateError> {
        let _one = lock(&self.handle.pruning);
        let shared = &self.handle.shared;
        let (storage, dir) = (&*shared.storage, shared.config.dir.as_path());
        let before = file::read(&key_path(dir))?;
        let before = String::from_utf8_lossy(&before);
        if let Some((_, until)) = former(storage, dir, &SigningKey::parse(before.trim_end())?)? {
            return Err(RotateError::Overlap { until });
        }
        let next = SigningKey::generate(self.origin())?;
        let to = next.verifier().to_string();
        let act = Act::RotateKey(RotateKey { from: self.public_key(), to: to.clone() });
        let (bytes, proof) = self.prove_act::<RotateError>(act, by)?;
        let issued = self.handle.newest.get();
        if issued.signed.note != proof.note() || self.size() != issued.signed.checkpoint.size {
            return Err(RotateError::Written);
        }
        let both = next.sign_too(proof.note());
        let step = succession::dir(dir).join(format!("{:020}", issued.signed.checkpoint.size));
        file::make_dir(storage, &succession::dir(dir))?;
        let proof = proof.to(both.clone());
        file::replace(storage, &step, format!("{bytes}\n{proof}").as_bytes(), 0o600)?;
        let overlap = format!("{}\nuntil {until}\n", before.trim_end());
        file::replace(storage, &former_path(dir), overlap.as_bytes(), 0o600)?;
        file::replace(storage, &checkpoint::path(dir), both.as_bytes(), 0o600)?;
        file::replace(storage, &key_path(dir), format!("{}\n", next.secret_text()?).as_bytes(), 0o600)?;
        file::replace(storage, &public_key_path(dir), format!("{to}\n").as_bytes(), 0o644)?;
        Ok(to)
    }
}

/// Where the former private key is while it signs too, with until when on a line behind it.
fn former_path(dir: &Path) -> PathBuf {
    dir.join("keys").join("former.key")
}

/// The former key, and until when it signs too; removed where that is over.
pub(crate) fn former(
    storage: &dyn Storage,
    dir: &Path,
    newest: &SigningKey,
) -> Result<Option<(SigningKey, Timestamp)>, FileError> {
    let path = former_path(dir);
    let Some(text) = file::read_if_there(&path)? else { return Ok(None) };
    let text = String::from_utf8_lossy(&text);
    let read: Option<(SigningKey, Timestamp)> = text.split_once('\n').and_then(|(key, until)| {
        Some((SigningKey::parse(key).ok()?, until.trim_end().strip_prefix("until ")?.parse().ok()?))
    });
    match read {
        // Of a process that was killed before its key was the former one.
        Some((key, _)) if key.verifier() == newest.verifier() => Ok(None),
        Some((key, until)) if Timestamp::now() < until => Ok(Some((key, until))),
        _ => {
            storage.remove(&path).map_err(FileError::on("remove", &path))?;
            Ok(None)
        }
    }
}
