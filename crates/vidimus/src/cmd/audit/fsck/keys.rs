//! The keys beside a ledger, and what is sealed with them, read as a start reads them: where that refuses one, the gateway does not start, or lets
//! nothing pass.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use vidimus_gateway::{KEY_LENGTH, PayloadKeyError, PayloadKeys};
use vidimus_identity::{KeyFileError, LocalError, LocalIdentity, Mint};
use vidimus_ledger::{Fault, Means};

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

    /// The key that seals what is kept over restarts, and what it sealed.
    fn sealed(&mut self, is_pruned: bool) -> anyhow::Result<()> {
        let path = refusals::key_file(self.data);
        let refused = refusals::file(self.data);
        let key = match refusals::existing_key(self.data) {
            Ok(Some(key)) => key,
            Ok(None) if refused.exists() || self.data.join("registry").join("standing").exists() => {
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
        match fs::File::open(&refused) {
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                self.wrong(refused, &error.into(), Means::Altered, TO_ITS_OWNER);
            }
            _ => {
                if let Err(reason) = refusals::kept(self.data, &key)?.look() {
                    let next = "the gateway lets nothing pass; put registry/refused and identity/refused.count back from one copy";
                    self.wrong(refused, &anyhow::anyhow!(reason), Means::Altered, next);
                }
            }
        }
        self.faults.extend(of_standing(self.data, &key, is_pruned)?);
        Ok(())
    }
}
