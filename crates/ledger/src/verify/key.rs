//! The log's key: the one that was given, one that followed it, or the one that the log says.

use std::sync::Arc;

use super::{Check, Finding, Note, Options, VerifyError};
use crate::file;
use crate::note::{SigningKey, VerifierKey};
use crate::open::{key_path, public_key_path};
use crate::seal::SealKey;
use crate::succession;

impl Check<'_> {
    /// The key to trust, if there is one.
    pub(super) fn key(&mut self, options: &Options) -> Result<Option<VerifierKey>, VerifyError> {
        let path = public_key_path(self.dir);
        let own = file::read_if_there(&path)?.ok_or_else(|| "it is missing".to_owned()).and_then(|bytes| {
            let text = str::from_utf8(&bytes).map_err(|error| error.to_string())?;
            let line = text.strip_suffix('\n').ok_or("it does not end with a newline")?;
            // What it followed is proven elsewhere.
            if line.contains('\n') {
                return Err("it has more than one line".to_owned());
            }
            let key = line.parse::<VerifierKey>().map_err(|error| error.to_string())?;
            succession::known(self.dir, key).map_err(|error| error.story())
        });
        let key = match (&options.key, own) {
            (Some(given), Ok(own)) if own.follows(given) => {
                let (from, to) = (given.to_string(), own.to_string());
                self.report.notes.push(Note::Succeeded { from, to });
                Some(own)
            }
            (Some(given), Ok(own)) if *given != own => {
                self.find(Finding::WrongKey { expected: given.to_string(), found: own.to_string() });
                Some(given.clone())
            }
            (given, Ok(own)) => {
                if given.is_none() {
                    self.report.notes.push(Note::KeyOfTheLog);
                }
                Some(own)
            }
            (given, Err(reason)) => {
                self.find(Finding::Key { path, reason });
                given.clone()
            }
        };
        if let Some(key) = &key {
            self.report.origin = key.name().to_owned();
            self.report.key = key.to_string();
        }
        Ok(key)
    }

    /// The key of the seals, where whoever verifies may read the log's private key.
    pub(super) fn seal_key(&self, key: &VerifierKey) -> Option<Arc<SealKey>> {
        let text = file::read_if_there(&key_path(self.dir)).ok()??;
        let private = SigningKey::parse(str::from_utf8(&text).ok()?.trim_end()).ok()?;
        let seals = private.seal_key().ok().filter(|_| private.verifier() == key);
        seals.map(Arc::new)
    }
}
