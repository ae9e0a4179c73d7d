//! Where the keys are that records name: the directory of secrets, the only place that a record's `credential.file` is read from; and what a cluster holds
//! for its `credential.secretRef`.

use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use secrecy::SecretString;
use vidimus_core::resource::llm_provider::SecretKey;
use vidimus_identity::exposed;

/// Largest secret, bytes.
const MAX_SECRET: u64 = 16 * 1024;
/// What was a file when its path was resolved is no link and no pipe when it is opened.
const NO_LINK_NO_WAIT: OFlags = OFlags::NOFOLLOW.union(OFlags::NONBLOCK);

/// The keys of Secrets that records of a cluster name, as they are now. Who holds them is elsewhere.
pub trait SecretKeys: std::fmt::Debug + Send + Sync {
    /// The text of the key that a record names.
    ///
    /// # Errors
    /// Why it is not there, for operators, without a word of what is in it.
    fn read(&self, named: &SecretKey) -> Result<SecretString, String>;
}

/// A directory for secrets and nothing else.
#[derive(Clone, Debug)]
pub struct SecretDirectory {
    /// Without links.
    root: PathBuf,
}

/// Why a directory is not one of secrets.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {reason}", path = path.display())]
pub struct NoSecretDirectory {
    path: PathBuf,
    reason: String,
}

impl SecretDirectory {
    /// Opens the directory `path`. `data` is where the gateway keeps its own keys, where that is known: neither may lie in the other.
    ///
    /// # Errors
    /// For what is no directory, or is open to others than its owner, or lies in `data` or around it.
    pub fn open(path: &Path, data: Option<&Path>) -> Result<Self, NoSecretDirectory> {
        let no = |reason: String| NoSecretDirectory { path: path.to_owned(), reason };
        let root = fs::canonicalize(path).map_err(|error| no(error.to_string()))?;
        let metadata = fs::metadata(&root).map_err(|error| no(error.to_string()))?;
        if !metadata.is_dir() {
            return Err(no("it is no directory".to_owned()));
        }
        exposed(&metadata).map_or(Ok(()), |reason| Err(no(reason)))?;
        let data = data.map(|data| fs::canonicalize(data).unwrap_or_else(|_| data.to_owned()));
        if let Some(data) = data.filter(|data| root.starts_with(data) || data.starts_with(&root)) {
            return Err(no(format!(
                "the gateway's own keys are in {}; take another directory",
                data.display()
            )));
        }
        Ok(Self { root })
    }

    /// The text of the secret that a record names.
    ///
    /// # Errors
    /// Why it cannot be read, without a word of what is in it.
    pub fn read(&self, named: &str) -> Result<String, String> {
        let path = fs::canonicalize(self.root.join(named)).map_err(|error| format!("{named}: {error}"))?;
        if !path.starts_with(&self.root) {
            return Err(format!("{named} leads out of the directory of secrets"));
        }
        let file = File::options().read(true).custom_flags(NO_LINK_NO_WAIT.bits().cast_signed()).open(&path);
        let file = file.map_err(|error| format!("{named}: {error}"))?;
        let metadata = file.metadata().map_err(|error| format!("{named}: {error}"))?;
        if !metadata.is_file() {
            return Err(format!("{named} is no file"));
        }
        exposed(&metadata).map_or(Ok(()), |reason| Err(format!("{named}: {reason}")))?;
        let mut text = String::new();
        let length = file.take(MAX_SECRET + 1).read_to_string(&mut text);
        match length.map_err(|error| format!("{named}: {error}"))? {
            length if length as u64 > MAX_SECRET => Err(format!("{named} is larger than {MAX_SECRET} bytes")),
            _ => Ok(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("a mode");
    }

    fn write(path: &Path, text: &str, of: u32) {
        fs::write(path, text).expect("written");
        mode(path, of);
    }

    #[test]
    fn a_secret_is_read_from_its_directory_and_nowhere_else() {
        let at = tempfile::tempdir().expect("a directory");
        let [secrets, data, other] = ["secrets", "data", "other"].map(|name| at.path().join(name));
        for directory in [&secrets, &data, &other, &secrets.join("deep"), &secrets.join("..data")] {
            fs::create_dir(directory).expect("made");
            mode(directory, 0o700);
        }
        write(&data.join("key"), "the gateway's own", 0o600);
        write(&other.join("key"), "another's", 0o600);
        write(&secrets.join("key"), "one", 0o600);
        write(&secrets.join("deep/key"), "two", 0o400);
        write(&secrets.join("wide"), "three", 0o640);
        write(&secrets.join("open"), "four", 0o604);
        write(&secrets.join("large"), &"x".repeat(20_000), 0o600);
        // As Kubernetes mounts a Secret.
        write(&secrets.join("..data/mounted"), "five", 0o600);
        symlink("..data/mounted", secrets.join("mounted")).expect("linked");
        symlink(data.join("key"), secrets.join("link")).expect("linked");
        symlink(&data, secrets.join("way")).expect("linked");
        symlink("nowhere", secrets.join("dangling")).expect("linked");
        let directory = SecretDirectory::open(&secrets, Some(&data)).expect("a directory of secrets");
        let absolute = secrets.join("key").display().to_string();
        let own = data.join("key").display().to_string();
        for (named, found) in [
            ("key", Ok("one")),
            ("deep/key", Ok("two")),
            ("mounted", Ok("five")),
            (absolute.as_str(), Ok("one")),
            ("wide", Err("mode 640")),
            ("open", Err("mode 604")),
            ("large", Err("larger than")),
            ("link", Err("leads out")),
            ("way/key", Err("leads out")),
            ("../data/key", Err("leads out")),
            ("../other/key", Err("leads out")),
            (own.as_str(), Err("leads out")),
            ("/etc/passwd", Err("leads out")),
            ("dangling", Err("No such file")),
            ("none", Err("No such file")),
            ("deep", Err("is no file")),
            ("", Err("is no file")),
        ] {
            let read = directory.read(named);
            match found {
                Ok(text) => assert_eq!(read.as_deref(), Ok(text), "{named}"),
                Err(says) => {
                    assert!(read.as_ref().is_err_and(|reason| reason.contains(says)), "{named}: {read:?}");
                }
            }
        }
    }

    #[test]
    fn a_directory_of_secrets_is_for_its_owner_and_holds_no_keys_of_the_gateway() {
        let at = tempfile::tempdir().expect("a directory");
        let data = at.path().join("data");
        fs::create_dir_all(data.join("secrets")).expect("made");
        let open = |path: &Path| {
            SecretDirectory::open(path, Some(&data)).map(|_| ()).map_err(|error| error.to_string())
        };
        for directory in [data.clone(), data.join("secrets"), at.path().to_owned()] {
            mode(&directory, 0o700);
            assert!(
                open(&directory).is_err_and(|error| error.contains("own keys")),
                "{}",
                directory.display()
            );
        }
        let secrets = at.path().join("secrets");
        assert!(open(&secrets).is_err());
        fs::create_dir(&secrets).expect("made");
        for (of, says) in [(0o700, None), (0o500, None), (0o750, Some("mode 750")), (0o701, Some("mode 701"))]
        {
            mode(&secrets, of);
            match says {
                None => assert_eq!(open(&secrets), Ok(())),
                Some(says) => assert!(open(&secrets).is_err_and(|error| error.contains(says))),
            }
        }
        mode(&secrets, 0o700);
        symlink(&data, at.path().join("link")).expect("linked");
        assert!(open(&at.path().join("link")).is_err_and(|error| error.contains("own keys")));
        write(&at.path().join("file"), "", 0o600);
        assert!(open(&at.path().join("file")).is_err_and(|error| error.contains("no directory")));
    }
}
