//! The file from which a start knows what stands by acts without reading the whole log: what stood after so many records. It says
//! nothing that the log does not; an older copy costs time, and one that is gone or was changed is as if it had never been.

use std::fmt;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::{hkdf, hmac};
use data_encoding::HEXLOWER;
use vidimus_core::standing::Standing;

use crate::kept::{KEY_LENGTH, NoKey, opened, read, replace, sealed};

/// What the file begins with; the seal of the rest follows. Then a line with the number of records and the digest of the last of them, and
/// one with what stands, in JSON.
const HEAD: &str = "vidimus standing ";
/// Maximum bytes of the file.
const MAX: u64 = 256 * 1024 * 1024;

/// What stood, and where in which log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stood {
    /// After so many records of the log.
    pub records: u64,
    /// The digest of the last of these ([`digest_of`]); of none where there are none. Another record in its place is of another log, however
    /// long that is.
    pub last: String,
    /// What stood.
    pub standing: Standing,
}

/// SHA-256 of a record, in hex.
pub fn digest_of(record: &[u8]) -> String {
    HEXLOWER.encode(digest(&SHA256, record).as_ref())
}

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

    /// What stood, and where; `None` where that is not known by this file. Whether it is of the log that is there now is to be asked of that.
    /// The error is why it is not used, for the log.
    ///
    /// # Errors
    /// When there is a file that cannot be used.
    pub fn read(&self) -> Result<Option<Stood>, String> {
        let Some(text) = read(&self.path, MAX)? else { return Ok(None) };
        let rest = opened(&text, HEAD, &self.key)
            .and_then(|rest| rest.split_once('\n'))
            .ok_or("it is damaged, or was changed by others")?;
        let of = rest.0.split_once(' ').and_then(|(records, last)| Some((records.parse().ok()?, last)));
        let (records, last) = of.ok_or("it does not say of which records it is")?;
        let standing = serde_json::from_str(rest.1).map_err(|error| error.to_string())?;
        Ok(Some(Stood { records, last: last.to_owned(), standing }))
    }

    /// Writes what stands: whole, and on disk when this returns.
    ///
    /// # Errors
    /// Why it could not be written.
    pub fn write(&self, stood: &Stood) -> Result<(), String> {
        let json = serde_json::to_string(&stood.standing).map_err(|error| error.to_string())?;
        let text = sealed(HEAD, &self.key, &format!("{} {}\n{json}", stood.records, stood.last));
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
        let stood = Stood { records: 12, last: digest_of(b"twelfth"), standing: Standing::default() };
        file(7).write(&stood).unwrap();
        assert_eq!(file(7).read(), Ok(Some(stood)));
        assert!(file(8).read().is_err(), "of another installation");
        let good = fs::read_to_string(&path).unwrap();
        for bad in [
            String::new(),
            good.replace("\n12 ", "\n13 "),
            good.replace(&digest_of(b"twelfth"), &digest_of(b"another")),
            good.replace("{}", "{ }"),
            good.replacen(' ', "", 1),
        ] {
            fs::write(&path, &bad).unwrap();
            assert!(file(7).read().is_err(), "{bad}");
        }
        // What an earlier version wrote says nothing of which log it is.
        fs::write(&path, sealed(HEAD, &file(7).key, "12\n{\"quarantined\":{}}")).unwrap();
        assert!(file(7).read().is_err());
    }
}
