//! The file in which what is refused is kept over restarts. It can only add to what is refused, so whoever changes it opens nothing.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use vidimus_core::snapshot::{Memory, Snapshot};

/// Maximum bytes of the file.
const MAX: u64 = 256 * 1024 * 1024;
/// What its first line begins with; a digest of the rest follows.
const HEAD: &str = "vidimus refusals ";

#[derive(Debug)]
pub(crate) struct Kept {
    path: PathBuf,
    /// The digest of what the file holds, as far as it is known.
    written: Option<String>,
}

impl Kept {
    pub(crate) fn at(path: &Path) -> Self {
        Self { path: path.to_owned(), written: None }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What was refused when it was last written, to build on; `None` when it never was. The error is why it cannot be used.
    pub(crate) fn read(&self) -> Result<Option<Snapshot>, String> {
        let mut text = String::new();
        match File::open(&self.path).and_then(|file| file.take(MAX + 1).read_to_string(&mut text)) {
            Ok(_) if text.len() as u64 > MAX => return Err(self.unusable("it is too large")),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.unusable(&error.to_string())),
        }
        let (digest, json) = text
            .strip_prefix(HEAD)
            .and_then(|rest| rest.split_once('\n'))
            .ok_or_else(|| self.unusable("it is not what Vidimus writes"))?;
        if digest_of(json) != digest {
            return Err(self.unusable("it is damaged"));
        }
        let memory: Memory = serde_json::from_str(json).map_err(|error| self.unusable(&error.to_string()))?;
        Snapshot::remembering(&memory).map(Some).map_err(|why| self.unusable(&why.to_string()))
    }

    fn unusable(&self, reason: &str) -> String {
        format!("{} cannot be used: {reason}", self.path.display())
    }

    /// Writes it, if it differs from what was written last: whole, and on disk when this returns.
    pub(crate) fn write(&mut self, memory: &Memory) -> Result<(), String> {
        let json = serde_json::to_string(memory).map_err(|error| error.to_string())?;
        if json.len() as u64 > MAX - 128 {
            return Err(format!("it is larger than {MAX} bytes"));
        }
        let digest = digest_of(&json);
        if self.written.as_ref() == Some(&digest) {
            return Ok(());
        }
        self.replace(&format!("{HEAD}{digest}\n{json}")).map_err(|error| error.to_string())?;
        self.written = Some(digest);
        Ok(())
    }

    /// Beside, then over: what is there is always whole.
    fn replace(&self, text: &str) -> io::Result<()> {
        let directory =
            self.path.parent().filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::create_dir_all(directory)?;
        let beside = self.path.with_extension("new");
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, &self.path)?;
        File::open(directory)?.sync_all()
    }
}

fn digest_of(json: &str) -> String {
    let digest = Sha256::digest(json);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_as_it_was_written_is_not_used() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("deep/er/refused");
        let mut kept = Kept::at(&path);
        assert!(kept.read().unwrap().is_none(), "never written");
        kept.write(&Snapshot::default().memory()).unwrap();
        assert!(kept.read().unwrap().is_some());
        let good = fs::read_to_string(&path).unwrap();
        for (bad, says) in [
            (String::new(), "not what Vidimus writes"),
            (good.replace("refusals", "refusal"), "not what Vidimus writes"),
            (good.replace("[]", "[ ]"), "damaged"),
            (good.trim_end_matches('}').to_owned(), "damaged"),
            (sealed(r#"{"version":2,"objects":[]}"#), "of version 2"),
            (sealed(r#"{"version":1,"objects":[{}]}"#), "missing field"),
            (sealed(r#"{"version":1,"objects":[],"more":1}"#), "unknown field"),
            (sealed(&object(r#""kind":"Agnet""#, r#""digest":"00""#)), "unknown kind"),
            (sealed(&object(r#""kind":"Agent""#, r#""digest":"0g""#)), "not a digest"),
            (
                sealed(&object(
                    r#""kind":"Policy""#,
                    r#""digest":"00","policy":{"scope":"Cluster","cedar":"nonsense"}"#,
                )),
                "Policy a/b in it is malformed",
            ),
        ] {
            fs::write(&path, &bad).unwrap();
            let said = kept.read().unwrap_err();
            assert!(said.contains(says) && said.contains("deep/er/refused"), "{bad}: {said}");
        }
        fs::write(&path, b"\xff").unwrap();
        assert!(kept.read().is_err());
    }

    fn sealed(json: &str) -> String {
        format!("{HEAD}{}\n{json}", digest_of(json))
    }

    fn object(kind: &str, rest: &str) -> String {
        format!(
            r#"{{"version":1,"objects":[{{{kind},"namespace":"a","name":"b","place":{{"file":"x"}},{rest}}}]}}"#
        )
    }
}
