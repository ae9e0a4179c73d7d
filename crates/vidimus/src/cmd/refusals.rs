//! Where what a gateway refuses is kept over restarts, in its data directory, and the key that seals it.

use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail};
use vidimus_gateway::KEY_LENGTH;
use vidimus_registry::Keeping;

/// The file, for messages.
pub(super) fn file(data: &Path) -> PathBuf {
    data.join("registry").join("refused")
}

/// For the gateway that keeps it.
pub(super) fn kept(data: &Path, key: &[u8; KEY_LENGTH]) -> anyhow::Result<Keeping> {
    // The number lies with the keys: who restores the one directory without the other is noticed.
    Ok(Keeping::new(&file(data), &data.join("identity").join("refused.count"), key)?)
}

/// For one who only reads it. Without a key nothing was kept; if something was, it is then not believed.
pub(super) fn of_reader(data: &Path) -> anyhow::Result<Keeping> {
    kept(data, &reading_key(data)?)
}

/// The sealing key, for one who only reads.
pub(super) fn reading_key(data: &Path) -> anyhow::Result<[u8; KEY_LENGTH]> {
    Ok(read(&key_file(data))?.unwrap_or_default())
}

fn key_file(data: &Path) -> PathBuf {
    data.join("identity").join("session.key")
}

fn read(path: &Path) -> anyhow::Result<Option<[u8; KEY_LENGTH]>> {
    let fault = || format!("the sealing key {}", path.display());
    let file = match fs::File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        opened => opened.with_context(fault)?,
    };
    if let Some(reason) = vidimus_identity::exposed(&file.metadata().with_context(fault)?) {
        bail!("{}: {reason}", path.display());
    }
    let mut bytes = Vec::new();
    file.take(KEY_LENGTH as u64 + 1).read_to_end(&mut bytes).with_context(fault)?;
    bytes
        .try_into()
        .map(Some)
        .map_err(|_| anyhow!("{} is not {KEY_LENGTH} bytes long; delete it to get a new one", path.display()))
}

/// The key from which those are derived that seal the ids of sessions and tasks, and what is kept of refusals; made on first use
/// and kept, so that they survive a restart.
pub(super) fn sealing_key(data: &Path) -> anyhow::Result<[u8; KEY_LENGTH]> {
    let path = key_file(data);
    if let Some(key) = read(&path)? {
        return Ok(key);
    }
    let fault = || format!("the sealing key {}", path.display());
    let key: [u8; KEY_LENGTH] = rand::random();
    // Written beside under a name of its own, so that a half-written key is never read.
    let beside = path.with_extension(format!("{:016x}.tmp", rand::random::<u64>()));
    let mut file = fs::OpenOptions::new();
    let mut file = file.write(true).create_new(true).mode(0o600).open(&beside).with_context(fault)?;
    let written = file.write_all(&key).and_then(|()| file.sync_all());
    // Unlike a rename, a link fails when the name exists: of several that start at once one wins, and all read the winner's.
    let linked = written.and_then(|()| match fs::hard_link(&beside, &path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        linked => linked,
    });
    fs::remove_file(&beside).and(linked).with_context(fault)?;
    path.parent().map_or(Ok(()), |keys| fs::File::open(keys)?.sync_all()).with_context(fault)?;
    read(&path)?.with_context(fault)
}

#[cfg(test)]
mod tests {
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
