//! The data directory, before anything is made in it: what is wrong with it is said by its flag.

use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use anyhow::{Context as _, bail};

/// Makes it, if it is not there, and sees that it can be written: with the keys of one run and the ledger of none a directory is of
/// no use.
pub fn prepare(data: &Path) -> anyhow::Result<()> {
    let shown = data.display();
    if data.exists() && !data.is_dir() {
        bail!("--data {shown} is a file; give a directory");
    }
    fs::DirBuilder::new().recursive(true).mode(0o700).create(data).with_context(|| {
        format!("--data {shown} cannot be made; give a directory that this user may write")
    })?;
    KEYS.iter().map(|directory| data.join(directory)).try_for_each(|keys| check_keys(&keys))?;
    // Several may look at once, and one that is killed leaves it, also where each start has the same process id; and nothing that is
    // there is written to, through a link or not.
    let probe = data.join(format!(".writable.{:016x}", rand::random::<u64>()));
    fs::File::create_new(&probe).and_then(|_| fs::remove_file(&probe)).with_context(|| {
        format!("--data {shown} cannot be written; give a directory that this user may write")
    })
}

/// Where keys are, in the data directory.
const KEYS: [&str; 2] = ["identity", "ledger/keys"];

/// What stands beside them and is for everybody.
const PUBLIC: [&str; 4] = ["ca.pem", "hop-keys.json", "hop-keys.lock", "checkpoint.vkey"];

/// That a directory of keys, and each of them, is for its owner alone.
fn check_keys(directory: &Path) -> anyhow::Result<()> {
    if !directory.exists() {
        return Ok(());
    }
    for_its_owner(directory)?;
    let shown = || directory.display().to_string();
    for entry in fs::read_dir(directory).with_context(shown)? {
        let entry = entry.with_context(shown)?;
        let for_everybody = entry.file_name().to_str().is_some_and(is_public);
        if !for_everybody {
            for_its_owner(&entry.path())?;
        }
    }
    Ok(())
}

/// Whether a file is one of [`PUBLIC`], or is being written to take the place of one (`ca.0123456789abcdef.tmp`); of a process that
/// was killed meanwhile it stays.
fn is_public(name: &str) -> bool {
    let beside = name.strip_suffix(".tmp").and_then(|name| name.split_once('.'));
    PUBLIC.iter().any(|public| {
        let stem = public.split_once('.').map(|(stem, _)| stem);
        *public == name || beside.is_some_and(|(of, _)| Some(of) == stem)
    })
}

/// That a key file, or a directory of them, is for its owner alone.
pub fn for_its_owner(path: &Path) -> anyhow::Result<()> {
    let shown = path.display();
    // A file that is written beside another has gone when that is replaced.
    let Ok(metadata) = fs::metadata(path) else { return Ok(()) };
    vidimus_identity::exposed(&metadata).map_or(Ok(()), |reason| bail!("{shown}: {reason}"))
}

/// The ledger in it, to be read.
pub fn ledger(data: &Path) -> anyhow::Result<std::path::PathBuf> {
    let ledger = data.join("ledger");
    if !ledger.is_dir() {
        bail!("no ledger in {}; give the --data of `vidimus serve`", data.display());
    }
    Ok(ledger)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn keys_are_for_their_owner_alone() {
        let directory = tempfile::tempdir().expect("a directory");
        let data = directory.path().join("data");
        prepare(&data).expect("made");
        let mode = |path: &str, mode: u32| {
            fs::set_permissions(data.join(path), fs::Permissions::from_mode(mode)).expect("a mode");
        };
        assert_eq!(fs::metadata(&data).expect("there").permissions().mode() & 0o777, 0o700);
        fs::create_dir_all(data.join("ledger/keys")).expect("made");
        fs::create_dir_all(data.join("identity")).expect("made");
        for path in ["ledger/keys", "identity"] {
            mode(path, 0o700);
        }
        for (path, public) in [
            ("ledger/keys/checkpoint.key", false),
            ("ledger/keys/checkpoint.vkey", true),
            ("identity/ca-key.pem", false),
            ("identity/session.key", false),
            ("identity/ca.pem", true),
            // What a process leaves that is killed while it writes.
            ("identity/ca.0123456789abcdef.tmp", true),
            ("identity/hop-keys.0123456789abcdef.tmp", true),
            ("identity/ca-key.0123456789abcdef.tmp", false),
            ("identity/hop-key.0123456789abcdef.tmp", false),
            ("identity/session.0123456789abcdef.tmp", false),
            ("ledger/keys/checkpoint.tmp", false),
        ] {
            fs::write(data.join(path), "x").expect("written");
            for wide in [0o644, 0o640, 0o604] {
                mode(path, wide);
                assert_eq!(prepare(&data).is_ok(), public, "{path} {wide:o}");
            }
            mode(path, 0o600);
            assert!(prepare(&data).is_ok(), "{path}");
        }
        for path in ["ledger/keys", "identity"] {
            mode(path, 0o755);
            let refused = prepare(&data).expect_err("refused").to_string();
            assert!(refused.contains(path) && refused.contains("mode 755"), "{refused}");
            mode(path, 0o700);
        }
    }

    #[test]
    fn what_is_wrong_with_it_is_said_by_its_flag() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("file");
        fs::write(&file, "x").expect("written");
        for (data, says) in [
            (file.clone(), "is a file"),
            (file.join("below"), "cannot be made"),
            // Nobody makes anything there, not even root.
            ("/proc/vidimus".into(), "cannot be made"),
        ] {
            let error = prepare(&data).expect_err("refused").to_string();
            assert!(error.starts_with("--data ") && error.contains(says), "{error}");
        }
        let data = directory.path().join("deep/er");
        assert!(
            prepare(&data).is_ok() && fs::read_dir(&data).expect("read").next().is_none(),
            "nothing is left"
        );
        assert!(ledger(&data).expect_err("none").to_string().contains("no ledger in"));
    }
}
