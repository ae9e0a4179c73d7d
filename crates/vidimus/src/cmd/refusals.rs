//! Where what a gateway refuses is kept over restarts, in its data directory, and the key that seals it.

use std::fs;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
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
    kept(data, &read(&key_file(data))?.unwrap_or_default())
}

fn key_file(data: &Path) -> PathBuf {
    data.join("identity").join("session.key")
}

fn read(path: &Path) -> anyhow::Result<Option<[u8; KEY_LENGTH]>> {
    match fs::read(path) {
        Ok(bytes) => bytes.try_into().map(Some).map_err(|_| {
            anyhow!("{} is not {KEY_LENGTH} bytes long; delete it to get a new one", path.display())
        }),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("the sealing key {}", path.display())),
    }
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
    // Written beside and renamed, so that a half-written key is never read.
    let beside = path.with_extension("new");
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&beside)
        .with_context(fault)?;
    file.write_all(&key).and_then(|()| file.sync_all()).with_context(fault)?;
    fs::rename(&beside, &path).with_context(fault)?;
    Ok(key)
}
