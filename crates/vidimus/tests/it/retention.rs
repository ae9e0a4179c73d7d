//! `audit prune`: of a gateway that is stopped, and of nothing that is young.

use super::gateway::Gateway;
use super::{Ran, command, resources, run};

#[test]
fn a_ledger_is_pruned_by_who_may_write_it_and_what_is_young_stays() {
    let gateway = Gateway::start(1);
    gateway.call(None);
    let prune = |data: &str, flags: &[&str]| run(&[&["audit", "prune", "--data", data], flags].concat());
    let ran = prune(&gateway.path("data"), &["--keep", "30d", "--why", "policy 4.2"]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.err.contains("--keep-records") && ran.err.contains("in use"), "{ran:?}");
    let (directory, _) = gateway.stop();
    let data = directory.path().join("data").display().to_string();
    for (flags, says) in [
        (&["--keep", "2h", "--why", "w"][..], "write 1d or more"),
        (&["--before", "2h", "--why", "w"], "the last day"),
        (&["--keep", "30d"], "--why"),
        (&["--keep", "30d", "--why", " "], "--why"),
        (&["--why", "w"], "--before"),
        (&["--keep", "30d", "--before", "40d", "--why", "w"], "--before"),
        (&["--keep", "30d", "--why", "w", "--ledger", &data], "--data"),
    ] {
        let ran = prune(&data, flags);
        assert_eq!(ran.code, Some(2), "{flags:?}: {ran:?}");
        assert!(ran.err.contains(says), "{flags:?}: {ran:?}");
    }
    for flags in [&["--keep", "30d", "--why", "w"][..], &["--before", "2026-01-01", "--why", "w"]] {
        let ran = prune(&data, flags);
        assert_eq!(ran.code, Some(0), "{flags:?}: {ran:?}");
        assert!(ran.out.contains("nothing is pruned"), "{flags:?}: {ran:?}");
    }
    for command in ["prune", "rotate-key"] {
        let ran = run(&["audit", command, "--help"]);
        assert!(ran.out.contains("take --data alone"), "{ran:?}");
    }
    let ledger = directory.path().join("data/ledger").display().to_string();
    let ran = run(&["audit", "verify", "--forget", "--ledger", &ledger]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let ran = run(&["audit", "search", "--ledger", &data]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.err.contains("--ledger"), "{ran:?}");
}

#[test]
fn an_archive_is_fetched_from_a_bucket_alone_and_no_secret_is_shown() {
    let directory = tempfile::tempdir().unwrap();
    let to = directory.path().join("archive").display().to_string();
    for (from, says) in [
        ("/mnt/archive", "read it with --ledger"),
        ("s3://id:hunter2@corp-audit/vidimus", "s3://BUCKET/PREFIX"),
        ("https://id:hunter2@corp-audit.s3.example/", "s3://BUCKET/PREFIX"),
    ] {
        let ran = run(&["audit", "archive", "fetch", from, &to]);
        assert_eq!(ran.code, Some(2), "{from}: {ran:?}");
        assert!(ran.err.contains(says) && !ran.err.contains("hunter2"), "{from}: {ran:?}");
        assert!(!std::path::Path::new(&to).exists(), "{from}");
    }
}

/// What opens a bucket is in the environment: what is wrong with it is said at the start, and by whoever uses it.
#[test]
fn what_opens_a_bucket_is_looked_at_when_the_gateway_starts() {
    let directory = tempfile::tempdir().unwrap();
    resources(&directory.path().join("r"), 1);
    let [resources, data, to] =
        ["r", "d", "to"].map(|name| directory.path().join(name).display().to_string());
    let bucket = "s3://corp-audit/vidimus";
    let serve =
        ["serve", "--resources", &resources, "--data", &data, "--keep-records", "30d", "--archive", bucket];
    let fetch = ["audit", "archive", "fetch", bucket, &to];
    let missing = directory.path().join("credentials").display().to_string();
    let key = [("AWS_ACCESS_KEY_ID", "id"), ("AWS_SECRET_ACCESS_KEY", "hunter2")];
    for (words, settings, says) in [
        (&serve[..], vec![("AWS_SHARED_CREDENTIALS_FILE", &*missing)], &*missing),
        (&serve, [&key[..], &[("AWS_ENDPOINT_URL_S3", "http://s3.example")]].concat(), "AWS_ALLOW_HTTP"),
        (&fetch, [&key[..], &[("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1")]].concat(), "cannot be reached"),
    ] {
        let mut command = command(words);
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("AWS_")) {
            command.env_remove(name);
        }
        let ran = Ran::of(command.envs(settings).output().unwrap());
        assert_eq!(ran.code, Some(2), "{says}: {ran:?}");
        assert!(ran.err.contains(says) && !ran.err.contains("hunter2"), "{says}: {ran:?}");
    }
}

#[test]
fn a_bucket_is_not_read_where_it_is() {
    for command in [&["search"][..], &["verify"], &["export", "--out", "x"]] {
        let ran = run(&[&["audit"], command, &["--ledger", "s3://id:hunter2@corp-audit/vidimus"]].concat());
        assert_eq!(ran.code, Some(2), "{command:?}: {ran:?}");
        assert!(
            ran.err.contains("audit archive fetch") && !ran.err.contains("hunter2"),
            "{command:?}: {ran:?}"
        );
    }
}

#[test]
fn a_key_that_follows_is_believed_by_who_knows_the_former_one() {
    let gateway = Gateway::start(1);
    gateway.call(None);
    let running = run(&["audit", "rotate-key", "--data", &gateway.path("data"), "--why", "yearly"]);
    assert_eq!(running.code, Some(2), "{running:?}");
    assert!(running.err.contains("stop the gateway"), "{running:?}");
    let (directory, _) = gateway.stop();
    let data = directory.path().join("data").display().to_string();
    let public =
        || std::fs::read_to_string(directory.path().join("data/ledger/keys/checkpoint.vkey")).unwrap();
    let before = public();
    let rotated = run(&["audit", "rotate-key", "--data", &data, "--why", "yearly"]);
    assert_eq!(rotated.code, Some(0), "{rotated:?}");
    assert!(rotated.out.starts_with(&public()) && rotated.out.contains(" until "), "{rotated:?}");
    assert_ne!(public(), before);
    for key in [&*before, &*public(), &*rotated.out] {
        let ran = run(&["audit", "verify", "--forget", "--data", &data, "--key", key]);
        assert_eq!(ran.code, Some(0), "{key}: {ran:?}");
        assert_eq!(ran.out.contains("follows it"), key == before, "{key}: {ran:?}");
    }
    // A second one would end the overlap of the first, which was promised to whoever verifies.
    let again =
        |flags: &[&str]| run(&[&["audit", "rotate-key", "--data", &data, "--why", "again"], flags].concat());
    for (flags, says) in [(&[][..], "--end-overlap"), (&["--overlap", "400d"], "365d or less")] {
        let ran = again(flags);
        assert!(ran.code == Some(2) && ran.err.contains(says), "{ran:?}");
    }
    let rotated = again(&["--end-overlap", "--overlap", "365d"]);
    assert_eq!((rotated.code, rotated.out.matches(" until ").count()), (Some(0), 2), "{rotated:?}");
    let evidence = directory.path().join("evidence.jsonl").display().to_string();
    let ran = run(&["audit", "export", "--data", &data, "--out", &evidence]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let ran = run(&["audit", "verify", &evidence, "--key", &rotated.out]);
    assert!(ran.code.is_some_and(|code| code == 0 || code == 3), "{ran:?}");
}
