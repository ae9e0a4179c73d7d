//! How one key of a log followed another.
//!
//! Each time, the act is a record, and a checkpoint that covers it is signed by both keys. `keys/succession/<size of it, 20 digits>` has the
//! record, a newline, and the proof to that checkpoint. So who trusts a key trusts those that followed it; and of a former key nothing counts
//! that is of more records: who finds it later can sign no other end.

use std::path::{Path, PathBuf};

use vidimus_core::act::{Act, RotateKey};
use vidimus_core::record::{ActRecord, Kept, Record};

use crate::checkpoint::Checkpoint;
use crate::file::{self, FileError};
use crate::nodes::Nodes;
use crate::note::{Former, VerifierKey};
use crate::open::OpenError;
use crate::proof::Proof;
use crate::tree::{self, Tree};

/// Where it stands.
pub(crate) fn dir(log: &Path) -> PathBuf {
    log.join("keys").join("succession")
}

/// That one key followed another.
struct Step {
    from: VerifierKey,
    to: VerifierKey,
    /// The checkpoint that both signed, and its text.
    signed: Checkpoint,
    note: String,
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
        let signed = proof.verify(bytes.as_bytes(), &to).ok()?;
        from.open(proof.note()).ok()?;
        let note = proof.note().to_owned();
        (from.name() == to.name()).then_some(Self { from, to, signed, note })
    }
}

/// The files that say it.
pub(crate) fn files(log: &Path) -> Result<Vec<PathBuf>, FileError> {
    let mut paths = file::list(&dir(log))?;
    // A write that never finished is none, nor what is called otherwise: the order is that of the names.
    paths.retain(|path| is_step(path));
    Ok(paths)
}

fn is_step(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| name.len() == 20 && name.bytes().all(|digit| digit.is_ascii_digit()))
}

/// The step in a file, where that is called as the number of records of its checkpoint is.
fn step(path: &Path) -> Result<Option<Step>, FileError> {
    let is_named = |step: &Step| {
        path.file_name().is_some_and(|name| name.to_str() == Some(&*format!("{:020}", step.signed.size)))
    };
    Ok(Step::of(&file::read(path)?).filter(is_named))
}

/// The files that prove of no key that it was followed: nothing that such a key signed counts.
pub(crate) fn unproven(log: &Path, newest: &VerifierKey) -> Result<Vec<PathBuf>, FileError> {
    let proven: Vec<_> = steps(log, newest)?.iter().map(|step| step.signed.size).collect();
    let mut unproven = files(log)?;
    unproven.retain(|path| !proven.iter().any(|size| path.ends_with(format!("{size:020}"))));
    Ok(unproven)
}

/// The steps that lead to the newest key, that one first. What does not prove that a key was followed is passed over: nothing that such a
/// key signed counts.
fn steps(log: &Path, newest: &VerifierKey) -> Result<Vec<Step>, FileError> {
    let (mut steps, mut last) = (Vec::new(), newest.clone());
    // The newest first: each key follows one, and none that follows it.
    for path in files(log)?.iter().rev() {
        if let Some(step) = step(path)?.filter(|step| step.to == last) {
            last = step.from.clone();
            steps.push(step);
        }
    }
    Ok(steps)
}

/// The key with all that it followed.
pub(crate) fn known(log: &Path, newest: VerifierKey) -> Result<VerifierKey, FileError> {
    let former = steps(log, &newest)?.iter().map(|step| Former::new(&step.from, step.signed.size)).collect();
    Ok(newest.followed(former))
}

/// The checkpoints at which keys followed each other. A log continues each of them: who has a former key cannot write its past anew.
pub(crate) fn notes(log: &Path, newest: &VerifierKey) -> Result<Vec<String>, FileError> {
    Ok(steps(log, newest)?.into_iter().map(|step| step.note).collect())
}

/// That a log which was signed for, with its tree, continues each of these checkpoints.
///
/// # Errors
/// See [`OpenError`].
pub(crate) fn check(
    log: &Path,
    newest: &VerifierKey,
    (signed, tree): (&Checkpoint, &Tree),
) -> Result<(), OpenError> {
    for Step { signed: older, .. } in steps(log, newest)? {
        let size = older.size;
        if size > signed.size {
            return Err(OpenError::RolledBack { size: signed.size, issued: size });
        }
        let mut nodes = Nodes::new(log.to_owned(), tree.clone());
        let hashes = tree::consistency(size, signed.size, |height, at| nodes.complete(height, at));
        if !hashes.is_ok_and(|hashes| signed.continues(&older, &hashes)) {
            return Err(OpenError::Altered { size });
        }
    }
    Ok(())
}
