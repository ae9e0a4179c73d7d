//! The data directory, before anything is made in it: what is wrong with it is said by its flag.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, bail};

/// Makes it, if it is not there, and sees that it can be written: with the keys of one run and the ledger of none a directory is of
/// no use.
pub fn prepare(data: &Path) -> anyhow::Result<()> {
    let shown = data.display();
    if data.exists() && !data.is_dir() {
        bail!("--data {shown} is a file; give a directory");
    }
    fs::create_dir_all(data).with_context(|| {
        format!("--data {shown} cannot be made; give a directory that this user may write")
    })?;
    // Several may look at once; and nothing that is there is written to, through a link or not.
    let probe = data.join(format!(".writable.{}", std::process::id()));
    fs::File::create_new(&probe).and_then(|_| fs::remove_file(&probe)).with_context(|| {
        format!("--data {shown} cannot be written; give a directory that this user may write")
    })
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
    use super::*;

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
