//! The file from which a start knows what stands by acts without reading the whole log: what stood after so many records. It says
//! nothing that the log does not; an older copy costs time, and one that is gone or was changed is as if it had never been.

use std::fmt;
use std::path::{Path, PathBuf};

use aws_lc_rs::{hkdf, hmac};
use vidimus_core::standing::Standing;

use crate::kept::{KEY_LENGTH, NoKey, opened, read, replace, sealed};

/// What the file begins with; the seal of the rest follows. Then a line with the number of records, and one with what stands, in JSON.
const HEAD: &str = "vidimus standing ";
/// Maximum bytes of the file.
const MAX: u64 = 256 * 1024 * 1024;

/// Where what stands is kept, and with what it is sealed.
pub struct StandingFile {
    path: PathBuf,
    key: hmac::Key,
}

impl fmt::Debug for StandingFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StandingFile").field("path", &self.path).finish_non_exhaustive()
    }
}

impl StandingFile {
    /// At this path; it is made on first use. Its key is derived from `key`, which belongs to the installation.
    ///
    /// # Errors
    /// When the key cannot be derived, which it always can.
    pub fn new(path: &Path, key: &[u8; KEY_LENGTH]) -> Result<Self, NoKey> {
        let secret = hkdf::Salt::new(hkdf::HKDF_SHA256, &[]).extract(key);
        let key = secret.expand(&[b"vidimus standing"], hmac::HMAC_SHA256).map_err(|_| NoKey)?;
        Ok(Self { path: path.to_owned(), key: key.into() })
    }

    /// What stood, and after how many records of the log; `None` where that is not known by this file. The error is why it is not used,
    /// for the log.
    ///
    /// # Errors
    /// When there is a file that cannot be used.
    pub fn read(&self) -> Result<Option<(u64, Standing)>, String> {
        let Some(text) = read(&self.path, MAX)? else { return Ok(None) };
        let rest = opened(&text, HEAD, &self.key)
            .and_then(|rest| rest.split_once('\n'))
            .ok_or("it is damaged, or was changed by others")?;
        let records = rest.0.parse().map_err(|_| "it does not say of how many records it is")?;
        Ok(Some((records, serde_json::from_str(rest.1).map_err(|error| error.to_string())?)))
    }

    /// Writes what stands after so many records: whole, and on disk when this returns.
    ///
    /// # Errors
    /// Why it could not be written.
    pub fn write(&self, records: u64, standing: &Standing) -> Result<(), String> {
        let json = serde_json::to_string(standing).map_err(|error| error.to_string())?;
        let text = sealed(HEAD, &self.key, &format!("{records}\n{json}"));
        replace(&self.path, &text).map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_others_wrote_is_not_used() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("deep/standing");
        let file = |key: u8| StandingFile::new(&path, &[key; KEY_LENGTH]).unwrap();
        assert_eq!(file(7).read(), Ok(None));
        file(7).write(12, &Standing::default()).unwrap();
        assert_eq!(file(7).read(), Ok(Some((12, Standing::default()))));
        assert!(file(8).read().is_err(), "of another installation");
        let good = fs::read_to_string(&path).unwrap();
        for bad in [
            String::new(),
            good.replace("\n12\n", "\n13\n"),
            good.replace("{}", "{ }"),
            good.replacen(' ', "", 1),
        ] {
            fs::write(&path, &bad).unwrap();
            assert!(file(7).read().is_err(), "{bad}");
        }
    }
}
