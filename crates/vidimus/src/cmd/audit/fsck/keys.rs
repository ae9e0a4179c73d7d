//! The keys beside a ledger, and what is sealed with them, read as a start reads them: where that refuses one, the gateway does not start, or lets
//! nothing pass.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use vidimus_core::standing::rfc3339;
use vidimus_gateway::{KEY_LENGTH, PayloadKeyError, PayloadKeys, millis};
use vidimus_identity::{KeyFileError, LocalError, LocalIdentity, Mint};
use vidimus_ledger::{Fault, Means};
use vidimus_registry::LookedAt;

use super::{fault, of_standing};
use crate::cmd::{data_directory, refusals};

const NO_START: &str = "the gateway does not start; put it back from a copy";
const TO_ITS_OWNER: &str = "the gateway does not start; make it the gateway's user's alone (chmod 600, a directory 700): a copy that was put back often is not";
const ANOTHER_USER: &str = "it is not looked at; run this as the user that runs the gateway";

/// What is wrong with them.
pub(super) fn look(data: &Path, is_pruned: bool) -> anyhow::Result<Vec<Fault>> {
    let mut look = Look { data, faults: Vec::new() };
    for (path, error) in data_directory::exposed(data) {
        look.wrong(path, &error, Means::Altered, TO_ITS_OWNER);
    }
    look.identity();
    look.payload_keys();
    look.sealed(is_pruned)?;
    Ok(look.faults)
}

/// What could be found; where this user may not read something, that is said, and the rest is looked at.
pub(super) fn or_not_looked_at(
    path: PathBuf,
    found: anyhow::Result<Vec<Fault>>,
) -> anyhow::Result<Vec<Fault>> {
    match found {
        Err(error) if is_denied(&error) => {
            Ok(vec![fault(Means::Noted, path, format!("{error:#}"), ANOTHER_USER)])
        }
        found => found,
    }
}

fn is_denied(error: &anyhow::Error) -> bool {
    let mut causes = error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>());
    causes.any(|cause| cause.kind() == ErrorKind::PermissionDenied)
}

struct Look<'a> {
    data: &'a Path,
    faults: Vec<Fault>,
}

impl Look<'_> {
    /// Notes what is wrong with a file, once.
    fn wrong(&mut self, path: PathBuf, error: &anyhow::Error, means: Means, next: &str) {
        if self.faults.iter().any(|fault| fault.file == path) {
            return;
        }
        let what = format!("{error:#}");
        let one = match is_denied(error) {
            // A copy that somebody else put back is theirs.
            true if self.is_gateways_user() => fault(Means::Altered, path, what, TO_ITS_OWNER),
            true => fault(Means::Noted, path, what, ANOTHER_USER),
            false => fault(means, path, what, next),
        };
        self.faults.push(one);
    }

    fn is_gateways_user(&self) -> bool {
        let own = rustix::process::geteuid().as_raw();
        fs::metadata(self.data).is_ok_and(|metadata| metadata.uid() == own)
    }

    fn identity(&mut self) {
        let directory = self.data.join("identity");
        if let Err(error) = LocalIdentity::look(&directory) {
            let path = error.path().map_or_else(|| directory.clone(), Path::to_owned);
            let is_lost = matches!(error, LocalError::KeyLost { .. } | LocalError::CertificateLost { .. });
            let means = if is_lost { Means::Lost } else { Means::Altered };
            self.wrong(path, &error.into(), means, NO_START);
        }
        if let Err(error) = Mint::look(&directory) {
            self.of_file(&directory, error, NO_START);
        }
    }

    fn of_file(&mut self, otherwise: &Path, error: KeyFileError, next: &str) {
        let path = error.path().unwrap_or(otherwise).to_owned();
        let next = if matches!(error, KeyFileError::Exposed { .. }) { TO_ITS_OWNER } else { next };
        self.wrong(path, &error.into(), Means::Altered, next);
    }

    fn payload_keys(&mut self) {
        let next = "calls whose payloads are to be kept do not pass; put payload-keys/ back from a copy";
        let directory = self.data.join("payload-keys");
        match PayloadKeys::of_data(self.data).look() {
            Ok(()) => {}
            Err(PayloadKeyError::Naming(error)) => self.of_file(&directory, error, next),
            Err(error) => self.wrong(directory, &error.into(), Means::Altered, next),
        }
    }

    /// Whether a file may be read, where it is there; that it may not is noted.
    fn may_read(&mut self, path: &Path) -> bool {
        match fs::File::open(path) {
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                self.wrong(path.to_owned(), &error.into(), Means::Altered, TO_ITS_OWNER);
                false
            }
            _ => true,
        }
    }

    /// What was kept of a cluster: how much of which, and how old it is; or why a start would not serve by it.
    fn of_cluster(&mut self, key: &[u8; KEY_LENGTH]) -> anyhow::Result<()> {
        let file = refusals::objects_file(self.data);
        if !self.may_read(&file) {
            return Ok(());
        }
        match refusals::kept_objects(self.data, key)?.look() {
            Ok(None) => {}
            Ok(Some(LookedAt { of, objects, times })) => {
                let age = millis(SystemTime::now()).0.saturating_sub(times.synced.0).max(0) / 1_000;
                let whole = rfc3339(times.synced.0).unwrap_or_default();
                let what = format!(
                    "{objects} objects of the cluster {of}, sealed, whole as of {whole} ({age} s ago)"
                );
                let next = "nothing is wrong: a start without the API server serves by it, as old as it is (spec.endpoint.staleAfter)";
                self.faults.push(fault(Means::Noted, file, what, next));
            }
            Err(reason) => {
                let next = "a start without the API server lets nothing pass, one with it writes the file anew; or put registry/cluster and identity/cluster.count back from one copy";
                self.wrong(file, &anyhow::anyhow!(reason), Means::Altered, next);
            }
        }
        Ok(())
    }

    /// The key that seals what is kept over restarts, and what it sealed.
    fn sealed(&mut self, is_pruned: bool) -> anyhow::Result<()> {
        let path = refusals::key_file(self.data);
        let refused = refusals::file(self.data);
        let key = match refusals::existing_key(self.data) {
            Ok(Some(key)) => key,
            Ok(None)
                if refused.exists()
                    || refusals::objects_file(self.data).exists()
                    || self.data.join("registry").join("standing").exists() =>
            {
                let next = "a start makes another one, believes nothing that was sealed with it, and lets nothing pass; put it back from a copy";
                self.wrong(path, &anyhow::anyhow!("it is missing"), Means::Lost, next);
                return Ok(());
            }
            // Nothing was sealed.
            Ok(None) => [0; KEY_LENGTH],
            Err(error) => {
                self.of_file(&path, error, NO_START);
                return Ok(());
            }
        };
        if self.may_read(&refused)
            && let Err(reason) = refusals::kept(self.data, &key)?.look()
        {
            let next = "the gateway lets nothing pass; put registry/refused and identity/refused.count back from one copy";
            self.wrong(refused, &anyhow::anyhow!(reason), Means::Altered, next);
        }
        self.of_cluster(&key)?;
        self.faults.extend(of_standing(self.data, &key, is_pruned)?);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use vidimus_core::caller::UnixMillis;
    use vidimus_core::snapshot::Snapshot;
    use vidimus_registry::Times;

    use super::*;

    #[test]
    fn what_was_kept_of_a_cluster_is_told_with_its_age_or_why_it_is_not_used() {
        let data = tempfile::tempdir().expect("a directory");
        fs::create_dir(data.path().join("identity")).expect("a directory");
        let key = refusals::sealing_key(data.path()).expect("a key");
        let told = |key: &[u8; KEY_LENGTH]| {
            let mut look = Look { data: data.path(), faults: Vec::new() };
            look.of_cluster(key).expect("looked at");
            look.faults.into_iter().map(|one| (one.means, one.what)).collect::<Vec<_>>()
        };
        assert!(told(&key).is_empty(), "nothing was kept");
        let synced = UnixMillis(millis(SystemTime::now()).0 - 7_200_000);
        let mut kept = refusals::kept_objects(data.path(), &key).expect("keys");
        let times = Times { synced, seen: synced };
        kept.write("https://10.0.0.1/", (&[], &Snapshot::default()), times).expect("written");
        let said = told(&key);
        let [(Means::Noted, what)] = &said[..] else { panic!("one remark") };
        assert!(what.contains("https://10.0.0.1/") && what.contains("(720"), "{what}");
        let said = told(&[9; KEY_LENGTH]);
        let [(Means::Altered, what)] = &said[..] else { panic!("another key") };
        assert!(what.contains("changed by others") || what.contains("another key"), "{what}");
        let file = refusals::objects_file(data.path());
        let whole = fs::read(&file).expect("read");
        fs::write(&file, whole.get(..whole.len() - 1).expect("shorter")).expect("torn");
        let said = told(&key);
        let [(Means::Altered, _)] = &said[..] else { panic!("torn") };
        fs::remove_file(&file).expect("removed");
        let said = told(&key);
        let [(Means::Altered, what)] = &said[..] else { panic!("gone") };
        assert!(what.contains("it is gone"), "{what}");
    }
}
