//! Where what a gateway refuses, and what a cluster registers, is kept over restarts, in its data directory, and the key that seals it.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use vidimus_gateway::KEY_LENGTH;
use vidimus_identity::{KeyFileError, existing_random_key, random_key};
use vidimus_registry::{Keeping, KeptObjects};

/// The file, for messages.
pub(super) fn file(data: &Path) -> PathBuf {
    data.join("registry").join("refused")
}

/// For the gateway that keeps it.
pub(super) fn kept(data: &Path, key: &[u8; KEY_LENGTH]) -> anyhow::Result<Keeping> {
    // The number lies with the keys: who restores the one directory without the other is noticed.
    Ok(Keeping::new(&file(data), &data.join("identity").join("refused.count"), key)?)
}

/// The same, with the objects of a cluster, for the gateway that keeps both.
pub(super) fn all_kept(data: &Path, key: &[u8; KEY_LENGTH]) -> anyhow::Result<(Keeping, KeptObjects)> {
    Ok((kept(data, key)?, kept_objects(data, key)?))
}

/// The file of the objects of a cluster, for messages.
pub(super) fn objects_file(data: &Path) -> PathBuf {
    data.join("registry").join("cluster")
}

/// The objects of a cluster.
pub(super) fn kept_objects(data: &Path, key: &[u8; KEY_LENGTH]) -> anyhow::Result<KeptObjects> {
    // Their number lies with the keys too.
    Ok(KeptObjects::new(&objects_file(data), &data.join("identity").join("cluster.count"), key)?)
}

/// For one who only reads it. Without a key nothing was kept; if something was, it is then not believed.
pub(super) fn of_reader(data: &Path) -> anyhow::Result<Keeping> {
    kept(data, &reading_key(data)?)
}

/// The sealing key, for one who only reads.
pub(super) fn reading_key(data: &Path) -> anyhow::Result<[u8; KEY_LENGTH]> {
    let key = existing_key(data).context("the sealing key")?;
    Ok(key.unwrap_or_default())
}

/// The sealing key, where it is there.
pub(super) fn existing_key(data: &Path) -> Result<Option<[u8; KEY_LENGTH]>, KeyFileError> {
    existing_random_key(&key_file(data))
}

/// Where the sealing key is.
pub(super) fn key_file(data: &Path) -> PathBuf {
    data.join("identity").join("session.key")
}

/// The key from which those are derived that seal the ids of sessions and tasks, and what is kept of refusals; made on first use
/// and kept, so that they survive a restart.
pub(super) fn sealing_key(data: &Path) -> anyhow::Result<[u8; KEY_LENGTH]> {
    random_key(&key_file(data)).context("the sealing key")
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn of_several_first_starts_one_makes_the_key_and_all_have_it() {
        for _ in 0..20 {
            let data = tempfile::tempdir().expect("a directory");
            fs::create_dir(data.path().join("identity")).expect("a directory");
            let start = std::sync::Barrier::new(4);
            let keys: Vec<_> = std::thread::scope(|scope| {
                let begin = || {
                    start.wait();
                    sealing_key(data.path()).expect("a key")
                };
                let threads: Vec<_> = (0..4).map(|_| scope.spawn(begin)).collect();
                threads.into_iter().map(|thread| thread.join().expect("a key")).collect()
            });
            assert!(keys.windows(2).all(|pair| pair.first() == pair.last()), "one winner");
            let files = fs::read_dir(data.path().join("identity")).expect("listed");
            assert_eq!(files.count(), 1, "nothing is left beside it");
        }
    }

    #[test]
    fn a_key_that_others_may_read_is_no_secret() {
        let data = tempfile::tempdir().expect("a directory");
        fs::create_dir(data.path().join("identity")).expect("a directory");
        let key = sealing_key(data.path()).expect("a key");
        for (mode, good) in [(0o600, true), (0o640, false), (0o644, false), (0o604, false), (0o602, false)] {
            fs::set_permissions(key_file(data.path()), fs::Permissions::from_mode(mode)).expect("a mode");
            assert_eq!(sealing_key(data.path()).ok(), good.then_some(key), "{mode:o}");
        }
        fs::set_permissions(key_file(data.path()), fs::Permissions::from_mode(0o600)).expect("a mode");
        for bytes in [&b""[..], &[7; KEY_LENGTH - 1], &[7; KEY_LENGTH + 1]] {
            fs::write(key_file(data.path()), bytes).expect("written");
            assert!(sealing_key(data.path()).is_err());
        }
    }
}
