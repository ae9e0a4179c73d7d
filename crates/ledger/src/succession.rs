//! How one key of a log followed another.
//!
//! Each time, the act is a record, and a checkpoint that covers it is signed by both keys. `keys/succession/<size of it, 20 digits>` has the
//! record, a newline, and the proof to that checkpoint. So who trusts a key trusts those that followed it; and of a former key nothing counts
//! that is of more records: who finds it later can sign no other end.

use std::path::{Path, PathBuf};

use vidimus_core::act::{Act, RotateKey};
use vidimus_core::record::{ActRecord, Kept, Record};

use crate::file::{self, FileError};
use crate::note::{Former, VerifierKey};
use crate::proof::Proof;

/// Where it stands.
pub(crate) fn dir(log: &Path) -> PathBuf {
    log.join("keys").join("succession")
}

/// That one key followed another.
struct Step {
    from: VerifierKey,
    to: VerifierKey,
    /// Of so many records is the checkpoint that both signed.
    until: u64,
}

impl Step {
    /// `None` where it does not prove that.
    fn of(text: &[u8]) -> Option<Self> {
        let (bytes, proof) = str::from_utf8(text).ok()?.split_once('\n')?;
        let proof: Proof = proof.parse().ok()?;
        let Record::Act(ActRecord { act: Act::RotateKey(RotateKey { from, to }), shared: None, .. }) =
            Kept::read(bytes.as_bytes()).ok()?
        else {
            return None;
        };
        let (from, to): (VerifierKey, VerifierKey) = (from.parse().ok()?, to.parse().ok()?);
        let until = proof.verify(bytes.as_bytes(), &to).ok()?.size;
        from.open(proof.note()).ok()?;
        (from.name() == to.name()).then_some(Self { from, to, until })
    }
}

/// The files that say it.
pub(crate) fn files(log: &Path) -> Result<Vec<PathBuf>, FileError> {
    let dir = dir(log);
    let entries = match std::fs::read_dir(&dir).map_err(FileError::on("list", &dir)) {
        Err(error) if error.missing() => return Ok(Vec::new()),
        entries => entries?,
    };
    let paths = entries.map(|entry| entry.map(|entry| entry.path()).map_err(FileError::on("list", &dir)));
    let mut paths = paths.collect::<Result<Vec<_>, _>>()?;
    paths.retain(|path| !file::is_unfinished(path));
    paths.sort();
    Ok(paths)
}

/// The key with all that it followed. What does not prove that it did is passed over: nothing that such a key signed counts.
pub(crate) fn known(log: &Path, newest: VerifierKey) -> Result<VerifierKey, FileError> {
    let (mut former, mut last) = (Vec::new(), newest.clone());
    // The newest first: each key follows one, and none that follows it.
    for path in files(log)?.iter().rev() {
        if let Some(step) = Step::of(&file::read(path)?).filter(|step| step.to == last) {
            former.push(Former::new(&step.from, step.until));
            last = step.from;
        }
    }
    Ok(newest.followed(former))
}
