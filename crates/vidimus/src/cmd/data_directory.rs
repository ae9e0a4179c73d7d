//! The data directory, before anything is made in it: what is wrong with it is said by its flag.

use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

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
    remove_leftovers(data);
    KEYS.iter().map(|directory| data.join(directory)).try_for_each(|keys| check_keys(&keys))?;
    // Several may look at once, and one that is killed leaves it, also where each start has the same process id; and nothing that is
    // there is written to, through a link or not.
    let probe = data.join(format!(".writable.{:016x}", rand::random::<u64>()));
    fs::File::create_new(&probe).and_then(|_| fs::remove_file(&probe)).with_context(|| {
        format!("--data {shown} cannot be written; give a directory that this user may write")
    })
}

/// That neither directory lies in the other: what is kept in the one would be read as objects of the other, of which malformed ones close
/// the gateway; and whoever may write policies would have the keys before them.
pub fn apart(data: &Path, resources: &Path) -> anyhow::Result<()> {
    let (real_data, real_resources) = (without_links(data), without_links(resources));
    if real_data.starts_with(&real_resources) || real_resources.starts_with(&real_data) {
        bail!(
            "--data {} and --resources {} lie one in the other; give directories of their own",
            data.display(),
            resources.display()
        );
    }
    Ok(())
}

/// Where a path leads, also one that is not there yet.
fn without_links(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let found = path
        .ancestors()
        .find_map(|above| Some((fs::canonicalize(above).ok()?, path.strip_prefix(above).ok()?)));
    // An empty rest would end the path with a slash, which compares as none.
    found.map_or_else(|| path.clone(), |(above, rest)| above.join(rest))
}

/// Where keys are, in the data directory.
const KEYS: [&str; 3] = ["identity", "ledger/keys", "admission"];

/// What stands beside them and is for everybody. Nothing is in the last one, which a first start that was killed leaves.
const PUBLIC: [&str; 5] = ["ca.pem", "hop-keys.json", "hop-keys.lock", "checkpoint.vkey", ".first-start"];

/// That a directory of keys, and each of them, is for its owner alone.
fn check_keys(directory: &Path) -> anyhow::Result<()> {
    if !directory.exists() {
        return Ok(());
    }
    for_its_owner(directory)?;
    keys(directory)?.iter().try_for_each(|key| for_its_owner(key))
}

/// The keys in a directory of them.
fn keys(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let shown = || directory.display().to_string();
    let mut keys = Vec::new();
    for entry in fs::read_dir(directory).with_context(shown)? {
        let entry = entry.with_context(shown)?;
        let for_everybody = entry.file_name().to_str().is_some_and(is_public);
        if !for_everybody {
            keys.push(entry.path());
        }
    }
    Ok(keys)
}

/// Each directory of keys, and each key, that a start does not take because it is open to others; and each directory that this user may not list.
pub fn exposed(data: &Path) -> Vec<(PathBuf, anyhow::Error)> {
    let mut found = Vec::new();
    for directory in KEYS.map(|directory| data.join(directory)).into_iter().filter(|keys| keys.exists()) {
        let within = keys(&directory).unwrap_or_else(|error| {
            found.push((directory.clone(), error));
            Vec::new()
        });
        for path in std::iter::once(directory).chain(within) {
            found.extend(for_its_owner(&path).err().map(|error| (path, error)));
        }
    }
    found
}

/// Whether a file is one of [`PUBLIC`], or is being written to take the place of one (`ca.pem.0123456789abcdef.tmp`,
/// `checkpoint.vkey.tmp`); of a process that was killed meanwhile it stays for a while.
fn is_public(name: &str) -> bool {
    let of = name.strip_suffix(".tmp").map(|of| {
        let random = of.rsplit_once('.').filter(|(_, random)| random.len() == 16);
        random.map_or(of, |(of, _)| of)
    });
    PUBLIC.contains(&of.unwrap_or(name)) || BEFORE.contains(&of.unwrap_or_default())
}

/// What earlier versions wrote public files as that were killed meanwhile: without the ending, and so as the private ones, which
/// were never for others. Nobody writes them any more; they go as all leftovers do.
const BEFORE: [&str; 3] = ["ca", "hop-keys", "checkpoint"];

/// From when on nobody can be writing a file any more: that takes milliseconds.
const LEFT: Duration = Duration::from_secs(600);

/// Removes what processes left that were killed while they wrote. It means nothing, so that it cannot be removed is no fault; those of
/// the ledger it removes itself, which alone knows that nobody else is writing.
fn remove_leftovers(data: &Path) {
    for path in leftovers(data) {
        let _ = fs::remove_file(path);
    }
}

/// What they left, beside the ledger and the configurations.
pub fn leftovers(data: &Path) -> Vec<PathBuf> {
    let directories = [data.to_owned(), data.join("identity"), data.join("registry"), data.join("sinks")];
    let entries = directories.iter().filter_map(|directory| fs::read_dir(directory).ok()).flatten().flatten();
    let left = entries.filter(|entry| {
        let is_temporary = entry.file_name().to_str().is_some_and(|name| {
            name.starts_with(".writable.") || name.ends_with(".tmp") || name.ends_with(".new")
        });
        let written = entry.metadata().ok().filter(fs::Metadata::is_file).and_then(|it| it.modified().ok());
        let age = written.and_then(|written| written.elapsed().ok());
        is_temporary && age.is_some_and(|age| age >= LEFT)
    });
    left.map(|entry| entry.path()).collect()
}

/// That a key file, or a directory of them, is for its owner alone.
pub fn for_its_owner(path: &Path) -> anyhow::Result<()> {
    let shown = path.display();
    // A file that is written beside another has gone when that is replaced.
    let Ok(metadata) = fs::metadata(path) else { return Ok(()) };
    vidimus_identity::exposed(&metadata).map_or(Ok(()), |reason| bail!("{shown}: {reason}"))
}

/// Whether there is something at `path`. What this user may not look at is not missing.
pub fn is_there(what: &str, path: &Path) -> anyhow::Result<bool> {
    path.try_exists().with_context(|| {
        format!(
            "{what} cannot be looked for in {}; run this as the user that runs the gateway",
            path.display()
        )
    })
}

/// Where the configurations in it are that decided.
pub fn configurations(data: &Path) -> PathBuf {
    data.join("configurations")
}

/// Where those are that decided what is in an archive of its ledger.
pub fn archived_configurations(archive: &Path) -> PathBuf {
    archive.join("configurations")
}

/// The ledger in it, to be read.
pub fn ledger(data: &Path) -> anyhow::Result<PathBuf> {
    let ledger = data.join("ledger");
    if !is_there("the ledger", &ledger.join("."))? {
        bail!("no ledger in {}; give the --data of `vidimus serve`", data.display());
    }
    Ok(ledger)
}

/// A ledger elsewhere, to be read.
pub fn ledger_at(ledger: &Path) -> anyhow::Result<PathBuf> {
    // It is not repeated: it may have a secret in it.
    if ledger.starts_with("s3:") {
        bail!(
            "--ledger: a bucket is not read where it is; bring the archive here first: `vidimus audit archive fetch s3://BUCKET/PREFIX DIR`"
        );
    }
    if !is_there("the ledger", &ledger.join("segments"))? {
        bail!("--ledger {}: no ledger is there; give an archive, or a copy of DATA/ledger", ledger.display());
    }
    Ok(ledger.to_owned())
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
            ("identity/.first-start", true),
            // What a process leaves that is killed while it writes.
            ("identity/ca.pem.0123456789abcdef.tmp", true),
            ("identity/hop-keys.json.0123456789abcdef.tmp", true),
            ("identity/ca-key.pem.0123456789abcdef.tmp", false),
            ("identity/hop-key.pem.0123456789abcdef.tmp", false),
            ("identity/session.key.0123456789abcdef.tmp", false),
            ("identity/refused.new", false),
            ("ledger/keys/checkpoint.vkey.tmp", true),
            ("ledger/keys/checkpoint.key.tmp", false),
            // Of an earlier version, which wrote all private ones for its owner alone.
            ("identity/ca.0123456789abcdef.tmp", true),
            ("identity/ca-key.0123456789abcdef.tmp", false),
            ("ledger/keys/checkpoint.tmp", true),
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
    fn what_killed_processes_left_is_removed_when_nobody_can_be_writing_it() {
        let directory = tempfile::tempdir().expect("a directory");
        let data = directory.path();
        for name in ["identity", "registry"] {
            fs::create_dir(data.join(name)).expect("made");
            fs::set_permissions(data.join(name), fs::Permissions::from_mode(0o700)).expect("a mode");
        }
        let left = [
            ".writable.0123456789abcdef",
            "identity/ca-key.pem.0123456789abcdef.tmp",
            "identity/refused.new",
            "registry/refused.new",
        ];
        let kept = ["identity/ca-key.pem", "identity/refused.count", "registry/refused", "notes.txt"];
        let written = |age: Duration| {
            for path in left.iter().chain(&kept) {
                fs::write(data.join(path), "x").expect("written");
                fs::set_permissions(data.join(path), fs::Permissions::from_mode(0o600)).expect("a mode");
                let file = fs::File::options().write(true).open(data.join(path)).expect("there");
                file.set_modified(std::time::SystemTime::now() - age).expect("a time");
            }
            prepare(data).expect("good");
            let there = |path: &&&str| data.join(path).exists();
            (left.iter().filter(there).count(), kept.iter().filter(there).count())
        };
        assert_eq!(written(Duration::ZERO), (left.len(), kept.len()), "somebody may be writing them");
        assert_eq!(written(LEFT), (0, kept.len()));
    }

    #[test]
    fn it_lies_apart_from_the_resources() {
        let directory = tempfile::tempdir().expect("a directory");
        let at = |path: &str| directory.path().join(path);
        fs::create_dir_all(at("r/deep")).expect("made");
        fs::create_dir_all(at("d")).expect("made");
        std::os::unix::fs::symlink(at("r"), at("link")).expect("made");
        for (data, resources, good) in [
            ("d", "r", true),
            ("new", "r", true),
            ("r-data", "r", true),
            ("d/../new", "r", true),
            ("r", "r", false),
            ("r/data", "r", false),
            ("r/not/yet/there", "r", false),
            ("link/data", "r", false),
            ("d/../r/data", "r", false),
            ("r", "r/deep", false),
            ("r", "link/deep", false),
            (".", "r", false),
        ] {
            let apart = apart(&at(data), &at(resources));
            let said = apart.as_ref().err().map(ToString::to_string).unwrap_or_default();
            assert_eq!(apart.is_ok(), good, "{data} {resources}: {said}");
            assert!(good || (said.contains("--data ") && said.contains("--resources ")), "{said}");
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
