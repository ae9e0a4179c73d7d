//! The file in which what is refused is kept over restarts. It can only add to what is refused, so whoever changes it permits nothing
//! that the directory does not; but it could make a start forget. So it is sealed with a key of the installation, and counted: the
//! number of the last one is kept elsewhere, so that an older copy is noticed.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, BufWriter, IntoInnerError, Read as _, Seek as _, SeekFrom, Write};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use aws_lc_rs::{hkdf, hmac};
use data_encoding::HEXLOWER;
use serde::Serialize;
use vidimus_core::snapshot::{Memory, Snapshot};

use crate::files;

/// Length of the installation's key in bytes.
pub const KEY_LENGTH: usize = 32;

/// Maximum bytes of the file.
const MAX: u64 = 256 * 1024 * 1024;
/// What its first line begins with; the seal of the rest follows. Then a line with its number, one with what was refused, in JSON, and
/// one with the files that said nothing, likewise.
const HEAD: &str = "vidimus refusals ";
/// What the file with the number of the last one begins with; the seal of the rest follows.
const COUNT_HEAD: &str = "vidimus refusals count ";

/// Length of a seal in hexadecimal digits.
const SEAL: usize = 64;
/// So much is written at a time, in bytes.
const PIECE: usize = 64 * 1024;
/// So much is synced at a time, in bytes.
const UNSYNCED: usize = 1024 * 1024;

/// Where what is refused is kept over restarts, and with what it is sealed.
pub struct Keeping {
    file: PathBuf,
    count: PathBuf,
    of_file: hmac::Key,
    of_count: hmac::Key,
}

impl fmt::Debug for Keeping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keeping")
            .field("file", &self.file)
            .field("count", &self.count)
            .finish_non_exhaustive()
    }
}

/// The keys could not be derived.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the keys that seal what is refused could not be derived")]
pub struct NoKey;

/// The keys that seal a file and its number, each for its purpose alone.
pub(crate) fn keys(key: &[u8; KEY_LENGTH], purposes: [&[u8]; 2]) -> Result<[hmac::Key; 2], NoKey> {
    let secret = hkdf::Salt::new(hkdf::HKDF_SHA256, &[]).extract(key);
    let derive =
        |purpose: &[u8]| secret.expand(&[purpose], hmac::HMAC_SHA256).map(hmac::Key::from).map_err(|_| NoKey);
    let [of_file, of_count] = purposes;
    Ok([derive(of_file)?, derive(of_count)?])
}

impl Keeping {
    /// What is refused is kept in `file`, and its number in `count`: best where a copy of the one is not a copy of the other. Both
    /// are made on first use. Keys are derived from `key`, which belongs to the installation and may serve other purposes.
    ///
    /// # Errors
    /// When the keys cannot be derived, which they always can.
    pub fn new(file: &Path, count: &Path, key: &[u8; KEY_LENGTH]) -> Result<Self, NoKey> {
        let [of_file, of_count] = keys(key, [b"vidimus refusals", b"vidimus refusals count"])?;
        Ok(Self { file: file.to_owned(), count: count.to_owned(), of_file, of_count })
    }

    /// Whether what was kept can be used, for one who only looks.
    ///
    /// # Errors
    /// Why it cannot: a start then lets nothing pass.
    pub fn look(self) -> Result<(), String> {
        Kept::at(self).read().map(drop)
    }
}

#[derive(Debug)]
pub(crate) struct Kept {
    at: Keeping,
    /// The number of the last one that is known of.
    last: u64,
    /// Whether there is a file with a number.
    counted: bool,
    /// What the file holds, as far as it is known.
    written: Option<hmac::Tag>,
}

/// What was so when it was last written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Before {
    /// What was refused.
    pub(crate) memory: Memory,
    /// The files that said nothing, and were left of nothing; `None` where it was written before that was kept.
    pub(crate) silent: Option<BTreeSet<PathBuf>>,
}

impl Kept {
    pub(crate) fn at(at: Keeping) -> Self {
        Self { at, last: 0, counted: false, written: None }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.at.file
    }

    /// What was so when it was last written; `None` when it never was. The error is why it cannot be used.
    pub(crate) fn read(&mut self) -> Result<Option<Before>, String> {
        let counted = self.read_count();
        let last = counted.as_ref().ok().copied().flatten();
        (self.last, self.counted) = (last.unwrap_or_default(), last.is_some());
        let Some(text) = read(&self.at.file, MAX).map_err(|reason| self.unusable(&reason))? else {
            return match counted {
                // The number is written before the first of them.
                Ok(None | Some(0)) => Ok(None),
                Ok(Some(_)) => Err(self.unusable("it is gone")),
                Err(reason) => Err(reason),
            };
        };
        let sealed = opened(&text, HEAD, &self.at.of_file).and_then(|rest| rest.split_once('\n'));
        let read = sealed.and_then(|(number, json)| Some((number.parse::<u64>().ok()?, json)));
        let (number, json) = read.ok_or_else(|| {
            self.unusable("it is damaged, was changed by others, or was sealed with another key than this data directory's")
        })?;
        self.last = self.last.max(number);
        match counted? {
            Some(last) if number < last => {
                return Err(self.unusable("it is an older copy: later ones were kept"));
            }
            None => {
                return Err(self.unusable("the number of the last one that was kept is gone"));
            }
            // It is as it was written, and need not be written again.
            Some(last) if number == last => {
                self.written = Some(hmac::sign(&self.at.of_file, json.as_bytes()));
            }
            Some(_) => {}
        }
        let unusable = |error: serde_json::Error| self.unusable(&error.to_string());
        let (memory, silent) = match json.split_once('\n') {
            Some((memory, silent)) => (memory, Some(serde_json::from_str(silent).map_err(unusable)?)),
            None => (json, None),
        };
        serde_json::from_str(memory).map(|memory| Some(Before { memory, silent })).map_err(unusable)
    }

    /// The number of the last one; `None` when there never was one.
    fn read_count(&self) -> Result<Option<u64>, String> {
        let unusable = |reason: &str| format!("{} cannot be used: {reason}", self.at.count.display());
        let Some(text) = read(&self.at.count, 1024).map_err(|reason| unusable(&reason))? else {
            return Ok(None);
        };
        let number =
            opened(&text, COUNT_HEAD, &self.at.of_count).and_then(|number| number.trim().parse().ok());
        number.map(Some).ok_or_else(|| unusable("it is damaged, or was changed by others"))
    }

    /// As `first`, remembering what `memory` says.
    pub(crate) fn remembering(&self, first: &Snapshot, memory: &Memory) -> Result<Option<Snapshot>, String> {
        first.remembering(memory).map_err(|why| self.unusable(&why.to_string()))
    }

    fn unusable(&self, reason: &str) -> String {
        format!("{} cannot be used: {reason}", self.at.file.display())
    }

    /// Writes it, if it differs from what was written last: whole, and on disk when this returns.
    pub(crate) fn write(&mut self, Before { memory, silent }: &Before) -> Result<(), String> {
        self.write_of(memory, silent.as_ref())
    }

    /// The same, of what may be made as it is written.
    pub(crate) fn write_of(
        &mut self,
        memory: &impl Serialize,
        silent: Option<&BTreeSet<PathBuf>>,
    ) -> Result<(), String> {
        let reason = |error: io::Error| error.to_string();
        let json = |to: &mut dyn Write| -> io::Result<()> {
            serde_json::to_writer(&mut *to, memory)?;
            if let Some(silent) = silent {
                to.write_all(b"\n")?;
                serde_json::to_writer(to, silent)?;
            }
            Ok(())
        };
        let (tag, length) = seal(&self.at.of_file, json).map_err(reason)?;
        if length > MAX - 256 {
            return Err(format!("it is larger than {MAX} bytes"));
        }
        if self.written.as_ref().is_some_and(|written| written.as_ref() == tag.as_ref()) {
            return Ok(());
        }
        if !self.counted {
            // Before the first: a file without a number is then one whose number was taken away.
            let text = sealed(COUNT_HEAD, &self.at.of_count, "0\n");
            replace(&self.at.count, &text).map_err(reason)?;
            self.counted = true;
        }
        let number = self.last.saturating_add(1);
        let numbered = |to: &mut dyn Write| -> io::Result<()> {
            writeln!(to, "{number}")?;
            json(to)
        };
        replace_sealed(&self.at.file, HEAD, &self.at.of_file, numbered).map_err(reason)?;
        self.last = number;
        // After it: a file that is newer than its number is good, an older one is not.
        let text = sealed(COUNT_HEAD, &self.at.of_count, &format!("{number}\n"));
        replace(&self.at.count, &text).map_err(reason)?;
        self.written = Some(tag);
        Ok(())
    }
}

/// The text of a file of at most `max` bytes; `None` when there is none.
pub(crate) fn read(path: &Path, max: u64) -> Result<Option<String>, String> {
    let mut text = String::new();
    let opened = files::open(path).and_then(|file| {
        // As long as it is now: what grows as it is read is copied again and again.
        text.reserve(usize::try_from(file.metadata()?.len().min(max)).unwrap_or_default());
        file.take(max + 1).read_to_string(&mut text)
    });
    match opened {
        Ok(_) if text.len() as u64 > max => Err("it is too large".to_owned()),
        Ok(_) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.to_string()),
    }
}

pub(crate) fn sealed(head: &str, key: &hmac::Key, rest: &str) -> String {
    let tag = HEXLOWER.encode(hmac::sign(key, rest.as_bytes()).as_ref());
    format!("{head}{tag}\n{rest}")
}

/// What was sealed; `None` when it was not, or not so.
pub(crate) fn opened<'a>(text: &'a str, head: &str, key: &hmac::Key) -> Option<&'a str> {
    let (tag, rest) = text.strip_prefix(head)?.split_once('\n')?;
    let tag = HEXLOWER.decode(tag.as_bytes()).ok()?;
    hmac::verify(key, rest.as_bytes(), &tag).ok()?;
    Some(rest)
}

/// Goes on to where it is to be written, with its seal.
struct Sealing<W> {
    to: W,
    seal: hmac::Context,
    length: u64,
}

impl<W: Write> Sealing<W> {
    /// In pieces: what comes is mostly short.
    fn begin(to: W, key: &hmac::Key) -> BufWriter<Self> {
        BufWriter::with_capacity(PIECE, Self { to, seal: hmac::Context::with_key(key), length: 0 })
    }

    /// Whole.
    fn end(all: BufWriter<Self>) -> io::Result<(hmac::Tag, u64)> {
        let Self { seal, length, .. } = all.into_inner().map_err(IntoInnerError::into_error)?;
        Ok((seal.sign(), length))
    }
}

impl<W: Write> Write for Sealing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.to.write(bytes)?;
        self.seal.update(bytes.get(..written).unwrap_or_default());
        self.length += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// A file that is synced as it is written, so that what somebody syncs beside it does not wait for all of it.
struct Synced<'f> {
    file: &'f mut File,
    unsynced: usize,
}

impl Write for Synced<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.unsynced += written;
        if self.unsynced >= UNSYNCED {
            self.file.sync_data()?;
            self.unsynced = 0;
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// The seal of what is written, and how long that is.
pub(crate) fn seal(
    key: &hmac::Key,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<(hmac::Tag, u64)> {
    let mut all = Sealing::begin(io::sink(), key);
    write(&mut all)?;
    Sealing::end(all)
}

/// As [`replace`], of what is written, sealed as of [`sealed`]. It is never in memory as a whole.
pub(crate) fn replace_sealed(
    path: &Path,
    head: &str,
    key: &hmac::Key,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    let permissions = Permissions::from_mode(0o600);
    put(path, &path.with_extension("new"), &permissions, |file| {
        // The seal is known last and stands first.
        file.write_all(format!("{head}{}\n", "0".repeat(SEAL)).as_bytes())?;
        let mut all = Sealing::begin(Synced { file: &mut *file, unsynced: 0 }, key);
        write(&mut all)?;
        let (seal, _) = Sealing::end(all)?;
        file.seek(SeekFrom::Start(head.len() as u64))?;
        file.write_all(HEXLOWER.encode(seal.as_ref()).as_bytes())
    })
}

/// Writes a file for its owner alone, beside and then over: what is there is always whole, and on disk when this returns.
///
/// # Errors
/// When it cannot be written; then nothing is left beside.
pub fn replace(path: &Path, bytes: impl AsRef<[u8]>) -> io::Result<()> {
    let permissions = Permissions::from_mode(0o600);
    put(path, &path.with_extension("new"), &permissions, |file| file.write_all(bytes.as_ref()))
}

/// The same of a file that is there, with the permissions that it has. A link stays one, and what is behind it is written.
///
/// # Errors
/// As of [`replace`], and where there is no such file.
pub fn rewrite(path: &Path, bytes: impl AsRef<[u8]>) -> io::Result<()> {
    let path = fs::canonicalize(path)?;
    let permissions = fs::metadata(&path)?.permissions();
    // Hidden, so that nobody takes it for a file of resources meanwhile, and of a name that no other file beside it has.
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let beside = path.with_file_name(format!(".{name}.{}.tmp", std::process::id()));
    put(&path, &beside, &permissions, |file| file.write_all(bytes.as_ref()))
}

fn put(
    path: &Path,
    beside: &Path,
    permissions: &Permissions,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> io::Result<()> {
    let directory = path.parent().filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(directory)?;
    // What a crash has left there means nothing; and what somebody puts there, such as a link to another file, is not written to.
    match fs::remove_file(beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let written = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(beside)?;
        write(&mut file)?;
        file.set_permissions(permissions.clone())?;
        file.sync_all()?;
        fs::rename(beside, path)
    };
    if let Err(error) = written() {
        // It takes room from a disk that may have none.
        let _ = fs::remove_file(beside);
        return Err(error);
    }
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; KEY_LENGTH] = [7; KEY_LENGTH];

    fn kept(root: &Path, key: &[u8; KEY_LENGTH]) -> Kept {
        Kept::at(Keeping::new(&root.join("deep/er/refused"), &root.join("refusals.count"), key).unwrap())
    }

    fn memory(names: &[&str]) -> Before {
        let objects = names.iter().map(|name| {
            format!(
                r#"{{"kind":"Agent","namespace":"a","name":"{name}","place":{{"file":"x"}},"digest":"00"}}"#
            )
        });
        let objects: Vec<String> = objects.collect();
        let memory = serde_json::from_str(&format!(r#"{{"version":2,"objects":[{}]}}"#, objects.join(",")));
        Before { memory: memory.unwrap(), silent: Some(names.iter().map(PathBuf::from).collect()) }
    }

    #[test]
    fn what_is_not_as_it_was_written_is_not_used() {
        let root = tempfile::tempdir().unwrap();
        let begin = |key: &[u8; KEY_LENGTH]| kept(root.path(), key);
        let path = root.path().join("deep/er/refused");
        assert_eq!(begin(&KEY).read(), Ok(None), "never written");
        begin(&KEY).write(&memory(&["b"])).unwrap();
        assert_eq!(begin(&KEY).read(), Ok(Some(memory(&["b"]))));
        let good = fs::read_to_string(&path).unwrap();
        for bad in [
            String::new(),
            good.replace("refusals", "refusal"),
            good.replace("\"b\"", "\"c\""),
            good.replace("\n1\n", "\n2\n"),
            good.trim_end_matches(']').to_owned(),
            good.replacen("refusals ", "refusals 0", 1),
            good.replacen("refusals ", "refusals +", 1),
            sealed(COUNT_HEAD, &begin(&KEY).at.of_count, "1\n{}").replace(" count", ""),
        ] {
            fs::write(&path, &bad).unwrap();
            let said = begin(&KEY).read().unwrap_err();
            assert!(said.contains("changed by others") && said.contains("deep/er/refused"), "{bad}: {said}");
        }
        fs::write(&path, b"\xff").unwrap();
        assert!(begin(&KEY).read().is_err());
        // Of another installation, or of this one before it got another key.
        fs::write(&path, &good).unwrap();
        assert!(begin(&[8; KEY_LENGTH]).read().unwrap_err().contains("another key"));
        assert!(begin(&KEY).read().is_ok());
        // Sealed here, and not understood.
        fs::write(&path, sealed(HEAD, &begin(&KEY).at.of_file, "1\n{\"version\":2}")).unwrap();
        assert!(begin(&KEY).read().unwrap_err().contains("missing field"));
    }

    #[test]
    fn an_older_copy_is_noticed() {
        let root = tempfile::tempdir().unwrap();
        let begin = || kept(root.path(), &KEY);
        let (path, count) = (root.path().join("deep/er/refused"), root.path().join("refusals.count"));
        let write = |names: &[&str]| {
            let mut kept = begin();
            let _ = kept.read();
            kept.write(&memory(names)).unwrap();
            kept.write(&memory(names)).unwrap();
            (fs::read(&path).unwrap(), fs::read(&count).unwrap())
        };
        let (first, first_count) = write(&["b"]);
        let (second, second_count) = write(&["b", "c"]);
        let (third, _) = write(&["b"]);
        assert_ne!(first, third, "it says the same, and is another one");
        fs::write(&path, &first).unwrap();
        assert!(begin().read().unwrap_err().contains("older copy"));
        fs::remove_file(&path).unwrap();
        assert!(begin().read().unwrap_err().contains("is gone"));
        fs::write(&path, &third).unwrap();
        // The machine stopped between the two.
        fs::write(&count, &second_count).unwrap();
        assert_eq!(begin().read(), Ok(Some(memory(&["b"]))));
        fs::write(&count, "damaged").unwrap();
        assert!(begin().read().unwrap_err().contains("refusals.count"));
        fs::remove_file(&count).unwrap();
        assert!(begin().read().unwrap_err().contains("number"));
        fs::write(&path, &first).unwrap();
        assert!(begin().read().unwrap_err().contains("number"), "the first has a number too");
        fs::write(&count, sealed(COUNT_HEAD, &begin().at.of_count, "0\n")).unwrap();
        assert_eq!(
            begin().read(),
            Ok(Some(memory(&["b"]))),
            "the machine stopped between the first and its number"
        );
        fs::remove_file(&path).unwrap();
        assert_eq!(begin().read(), Ok(None), "and before the first");
        // What cannot be noticed: all of it is older.
        fs::write(&path, &second).unwrap();
        fs::write(&count, &first_count).unwrap();
        assert!(begin().read().is_ok());
        // What is written next is newer than all that was known of.
        fs::write(&path, &first).unwrap();
        fs::write(&count, &second_count).unwrap();
        let (next, _) = write(&["d"]);
        assert!(String::from_utf8(next).unwrap().contains("\n3\n"));
        assert_eq!(begin().read(), Ok(Some(memory(&["d"]))));
    }

    /// Attack: a link lies where the file is written first, beside the one that is written.
    #[test]
    fn a_link_that_lies_beside_a_file_is_not_written_through() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        let link = |name: &str| std::os::unix::fs::symlink(at("other"), at(name)).unwrap();
        fs::write(at("other"), "theirs").unwrap();
        fs::write(at("a.yaml"), "before").unwrap();
        link(&format!(".a.yaml.{}.tmp", std::process::id()));
        link("kept.new");
        rewrite(&at("a.yaml"), "ours").unwrap();
        replace(&at("kept"), "ours").unwrap();
        for (name, text) in [("other", "theirs"), ("a.yaml", "ours"), ("kept", "ours")] {
            assert_eq!(fs::read_to_string(at(name)).unwrap(), text, "{name}");
            assert!(!fs::symlink_metadata(at(name)).unwrap().is_symlink(), "{name}");
        }
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 3);
    }

    /// What is written as it is made is sealed as what was in memory is, however long it is.
    #[test]
    fn what_is_sealed_as_it_is_written_is_sealed_as_ever() {
        let root = tempfile::tempdir().unwrap();
        let (path, key) = (root.path().join("file"), kept(root.path(), &KEY).at.of_file);
        for length in [0, 1, PIECE, PIECE + 1, UNSYNCED - 1, 3 * UNSYNCED + 5] {
            let text = "0123456789abc".chars().cycle().take(length).collect::<String>();
            let write =
                |to: &mut dyn Write| text.as_bytes().chunks(7_001).try_for_each(|some| to.write_all(some));
            replace_sealed(&path, HEAD, &key, write).unwrap();
            assert!(fs::read_to_string(&path).unwrap() == sealed(HEAD, &key, &text), "{length}");
            let (tag, written) = seal(&key, write).unwrap();
            assert_eq!((tag.as_ref(), written), (hmac::sign(&key, text.as_bytes()).as_ref(), length as u64));
        }
    }

    /// A start that finds all as it was writes nothing; what an older version wrote is read, and written anew.
    #[test]
    fn what_is_as_it_was_is_not_written_again() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("deep/er/refused");
        kept(root.path(), &KEY).write(&memory(&["b"])).unwrap();
        let text = fs::read(&path).unwrap();
        let mut next = kept(root.path(), &KEY);
        next.read().unwrap();
        next.write(&memory(&["b"])).unwrap();
        assert_eq!(fs::read(&path).unwrap(), text);
        next.write(&memory(&["c"])).unwrap();
        assert_ne!(fs::read(&path).unwrap(), text);

        let older = Before { silent: None, ..memory(&["b"]) };
        next.write(&older).unwrap();
        let mut next = kept(root.path(), &KEY);
        assert_eq!(next.read(), Ok(Some(older)));
        next.write(&memory(&["b"])).unwrap();
        assert_eq!(kept(root.path(), &KEY).read(), Ok(Some(memory(&["b"]))));
    }
}
