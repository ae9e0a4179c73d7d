//! `audit fsck`: each file by which a gateway goes on, what is wrong in it, and the exit status.

use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use super::gateway::{Gateway, damage};
use super::run;

/// All files below a directory.
fn below(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<PathBuf> =
        entries.flat_map(|path| if path.is_dir() { below(&path) } else { vec![path] }).collect();
    found.sort();
    found
}

#[test]
fn what_is_wrong_is_named_with_its_file_and_the_status_says_whether_a_start_mends_it() {
    let gateway = Gateway::start(1);
    gateway.call(Some(&gateway.token()));
    let fsck = |data: &str| run(&["audit", "fsck", "--data", data, "-o", "json"]);
    let ran = fsck(&gateway.path("data"));
    assert_eq!(ran.code, Some(0), "beside a gateway that runs: {ran:?}");
    let (directory, _) = gateway.stop();
    let data = directory.path().join("data");
    let shown = data.display().to_string();
    let before: Vec<_> = below(&data).into_iter().map(|path| fs::read(path).unwrap()).collect();
    let clean = fsck(&shown);
    assert_eq!((clean.code, &clean.json()["verdict"]), (Some(0), &"clean".into()), "{clean:?}");
    assert!(clean.json()["records"].as_u64().unwrap() > 0, "{clean:?}");
    assert_eq!(below(&data).into_iter().map(|path| fs::read(path).unwrap()).collect::<Vec<_>>(), before);

    let object = below(&data.join("configurations/objects")).pop().unwrap();
    let public = data.join("ledger/keys/checkpoint.vkey");
    fs::create_dir_all(data.join("sinks")).unwrap();
    for (path, text, means, status) in [
        (public.clone(), None, "mended", 0),
        (data.join("ledger/checkpoint.tmp"), Some("half"), "mended", 0),
        (data.join("registry/standing"), Some("changed"), "mended", 0),
        // As an archive of it has them.
        (data.join("configurations/0123.tmp"), Some("half"), "noted", 0),
        (data.join("sinks/0123.json"), Some("{}"), "altered", 1),
        (object, Some("changed"), "altered", 1),
        (data.join("ledger/checkpoint"), None, "lost", 1),
    ] {
        let was = fs::read(&path).ok();
        match text {
            Some(text) => fs::write(&path, text).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
        let ran = fsck(&shown);
        assert_eq!(ran.code, Some(status), "{ran:?}");
        let found = ran.json();
        let named = |fault: &serde_json::Value| {
            fault["file"] == path.display().to_string() && fault["means"] == means && fault["next"] != ""
        };
        assert!(found["faults"].as_array().unwrap().iter().any(named), "{path:?}: {found}");
        match was {
            Some(was) => fs::write(&path, was).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
    }
    // An index and the spans of agents are beside a ledger, and no part of it.
    for path in ["index/manifest", "traces/0123/0000000000.spans"] {
        fs::create_dir_all(data.join(path).parent().unwrap()).unwrap();
        fs::write(data.join(path), "x").unwrap();
    }
    let beside = fsck(&shown).json();
    assert_eq!(
        (&beside["verdict"], &beside["faults"]),
        (&"clean".into(), &clean.json()["faults"]),
        "{beside}"
    );
    // What decided, and is not kept any more; a start with the same resources keeps it.
    fs::rename(data.join("configurations"), data.join("elsewhere")).unwrap();
    let ran = fsck(&shown);
    assert!(ran.code == Some(0) && ran.out.contains("decided, and is not kept"), "{ran:?}");
    fs::rename(data.join("elsewhere"), data.join("configurations")).unwrap();

    damage(&data);
    let ran = run(&["audit", "fsck", "--data", &shown]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(
        ran.out.contains("DAMAGED") && ran.out.contains("altered") && ran.out.contains("byte "),
        "{ran:?}"
    );
    let none = run(&["audit", "fsck", "--data", "/nonexistent"]);
    assert_eq!(none.code, Some(2), "{none:?}");
}

/// Whoever was given a copy has no private key, without which a gateway does not go on.
#[test]
fn a_copy_of_a_ledger_needs_no_private_key() {
    let gateway = Gateway::start(1);
    gateway.call(Some(&gateway.token()));
    let (directory, _) = gateway.stop();
    let data = directory.path().join("data");
    let private = data.join("ledger/keys/checkpoint.key");
    fs::remove_file(&private).unwrap();
    let means = |flag: &str, at: &Path| {
        let ran = run(&["audit", "fsck", flag, &at.display().to_string(), "-o", "json"]);
        let found = ran.json();
        let of_key = |fault: &&serde_json::Value| fault["file"] == private.display().to_string();
        let fault = found["faults"].as_array().unwrap().iter().find(of_key).unwrap();
        (ran.code, fault["means"].clone())
    };
    assert_eq!(means("--ledger", &data.join("ledger")), (Some(0), "noted".into()));
    assert_eq!(means("--data", &data), (Some(1), "lost".into()));
}

/// Where a start refuses a file, or lets nothing pass, nobody is told that all is well.
#[test]
fn what_a_start_refuses_is_not_clean() {
    let gateway = Gateway::start(1);
    gateway.call(Some(&gateway.token()));
    let (directory, _) = gateway.stop();
    let data = directory.path().join("data");
    let fsck = || run(&["audit", "fsck", "--data", &data.display().to_string(), "-o", "json"]);
    let says = |path: &Path, means: &str| {
        let ran = fsck();
        assert_eq!(ran.code, Some(1), "{ran:?}");
        let found = ran.json();
        let named = |fault: &serde_json::Value| {
            fault["file"] == path.display().to_string() && fault["means"] == means && fault["next"] != ""
        };
        assert!(found["faults"].as_array().unwrap().iter().any(named), "{path:?}: {found}");
    };
    assert_eq!(fsck().json()["verdict"], "clean");
    // What no gateway of this directory kept of a cluster.
    let cluster = data.join("registry/cluster");
    fs::create_dir_all(data.join("registry")).unwrap();
    fs::write(&cluster, "vidimus objects 00\n1\n{}\n").unwrap();
    says(&cluster, "altered");
    fs::remove_file(&cluster).unwrap();
    let key = data.join("ledger/keys/checkpoint.key");
    let mode = |mode| fs::set_permissions(&key, fs::Permissions::from_mode(mode)).unwrap();
    // As `cp` leaves it.
    mode(0o644);
    says(&key, "altered");
    mode(0o600);
    let names = data.join("payload-keys");
    if !names.is_dir() {
        fs::DirBuilder::new().mode(0o700).create(&names).unwrap();
    }
    for (name, text, means) in [
        ("identity/issuer-key.pem", None, "lost"),
        ("identity/session.key", None, "lost"),
        ("identity/hop-keys.json", Some("junk"), "altered"),
        ("registry/refused", Some("junk"), "altered"),
        ("payload-keys/naming", Some("junk"), "altered"),
    ] {
        let path = data.join(name);
        let was = fs::read(&path).ok();
        match text {
            Some(text) => {
                fs::write(&path, text).unwrap();
                fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            }
            None => fs::remove_file(&path).unwrap(),
        }
        says(&path, means);
        match was {
            Some(was) => {
                fs::write(&path, was).unwrap();
                fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            }
            None => fs::remove_file(&path).unwrap(),
        }
    }
    assert_eq!(fsck().json()["verdict"], "clean");
}
