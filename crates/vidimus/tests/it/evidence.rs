//! `audit export`, and `audit verify` of what it wrote.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use vidimus_registry::digest_of;

use super::gateway::{Gateway, damage, upstream_that_hangs_up};
use super::run;

#[test]
fn what_is_exported_is_verified_anywhere_and_what_was_changed_is_not() {
    let gateway = Gateway::start(upstream_that_hangs_up());
    gateway.call(None);
    let failed = gateway.call(Some(&gateway.token()));
    let id = failed.lines().find_map(|line| line.strip_prefix("vidimus-call: ")).unwrap().trim().to_owned();
    let at = |name: &str| gateway.directory.path().join(name).display().to_string();
    let data = at("data");
    let key = fs::read_to_string(at("data/ledger/keys/checkpoint.vkey")).unwrap();
    let export = |out: &str, more: &[&str]| {
        run(&[&["audit", "export", "--data", &data, "--out", &at(out), "-o", "json"], more].concat())
    };
    // What cannot be written is the file that was named, and not one beside it.
    let ran = export("none/all", &[]);
    assert!(ran.code == Some(2) && ran.err.contains("No such file"), "{ran:?}");
    let named = ran.err.contains(&format!("--out {} cannot", at("none/all")));
    assert!(named && !ran.err.contains("none/all."), "{ran:?}");
    // Beside the gateway, which signs within a second: that is waited for.
    let ran = export("all", &["--at", "2026-11-27", "--by", "ada"]);
    assert_eq!((ran.code, &*ran.err), (Some(0), ""), "{ran:?}");
    let answer = ran.json();
    assert_eq!(
        (&answer["records"], &answer["size"], &answer["configurations"]),
        (&3.into(), &3.into(), &1.into())
    );
    let again = export("again", &["--at", "2026-11-27", "--by", "ada"]);
    assert_eq!((again.code, fs::read(at("again")).unwrap()), (Some(0), fs::read(at("all")).unwrap()));
    assert_eq!(export("call", &["--call", &id]).json()["records"], 2);
    for (flags, says) in [
        (&["--since", "2026-01-02", "--until", "2026-01-01"][..], "--since"),
        (&["--call", &id, "--code", "no_permit"], "--call"),
        (&["--since-checkpoint", "/nonexistent"], "--since-checkpoint /nonexistent"),
    ] {
        let ran = export("none", flags);
        assert!(ran.code == Some(2) && ran.err.contains(says), "{ran:?}");
    }
    let written = |entry: fs::DirEntry| entry.file_name().to_string_lossy().starts_with("none");
    assert!(!fs::read_dir(gateway.directory.path()).unwrap().any(|entry| written(entry.unwrap())));
    assert_eq!(fs::metadata(at("all")).unwrap().permissions().mode() & 0o777, 0o600);
    // What is no file stays what it is.
    std::os::unix::fs::symlink(at("all"), at("link")).unwrap();
    for not_a_file in ["link", "data"] {
        let ran = export(not_a_file, &[]);
        assert!(ran.code == Some(2) && ran.err.contains("is no regular file"), "{ran:?}");
    }
    assert!(fs::symlink_metadata(at("link")).unwrap().is_symlink());

    let verify = |files: &[&str], more: &[&str]| {
        let files: Vec<String> = files.iter().map(|name| at(name)).collect();
        let files: Vec<&str> = files.iter().map(String::as_str).collect();
        run(&[&["audit", "verify"], &files[..], more].concat())
    };
    let ran = verify(&["all", "call"], &["--key", key.trim()]);
    assert_eq!((ran.code, ran.out.matches("verdict        proven").count()), (Some(0), 2), "{ran:?}");
    assert!(ran.out.contains("0 to 2: all of the log") && !ran.out.contains("file's own"), "{ran:?}");
    let ran = verify(&["all", "call"], &["--key", key.trim(), "-o", "json"]);
    let files: Vec<serde_json::Value> =
        ran.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(files.iter().map(|one| one["file"].clone()).collect::<Vec<_>>(), [at("all"), at("call")]);
    assert!(ran.code == Some(0) && files.iter().all(|one| one["proven"] == true), "{ran:?}");
    // Attack: whoever passes the file on takes the configuration out of it, and says that it was missing.
    fs::write(at("without"), without_configurations(&fs::read_to_string(at("all")).unwrap())).unwrap();
    let ran = verify(&["without"], &["--key", key.trim()]);
    assert!(ran.code == Some(3) && ran.out.contains("but for 1 configuration that decided"), "{ran:?}");
    // Nor is a file believed to show something that has nothing in it.
    assert_eq!(export("nothing", &["--principal", "t/nobody"]).json()["records"], 0);
    let ran = verify(&["all", "nothing"], &["--key", key.trim()]);
    assert!(ran.code == Some(3) && ran.out.contains("nothing is proven: no records"), "{ran:?}");
    let ran = verify(&["all"], &["--checkpoint", &at("data/ledger/checkpoint")]);
    assert!(ran.code == Some(0) && ran.out.contains("file's own"), "{ran:?}");
    let bent =
        fs::read_to_string(at("all")).unwrap().replacen("\"outcome\":\"deny\"", "\"outcome\":\"allow\"", 1);
    fs::write(at("bent"), bent).unwrap();
    let ran = verify(&["all", "bent"], &["--key", key.trim()]);
    assert!(ran.code == Some(1) && ran.out.contains("NOT PROVEN"), "{ran:?}");
    assert_eq!(verify(&["without", "bent"], &["--key", key.trim()]).code, Some(1));
    assert!(ran.out.contains("line 3: this is not record 0 of the log"), "{ran:?}");
    assert_eq!(verify(&["none"], &[]).code, Some(2));
    // So many of so few cannot be, which is no verdict.
    let witness = "w.example/1+bcd5f9c1+BAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f";
    assert_eq!(verify(&["all"], &["--witness", witness]).code, Some(1));
    for quorum in ["0", "2"] {
        let ran = verify(&["all"], &["--witness", witness, "--witness", witness, "--quorum", quorum]);
        assert!(ran.code == Some(2) && ran.err.contains(&format!("--quorum {quorum}")), "{ran:?}");
    }
    for of_a_log in ["--accept-new-log", "--forget"] {
        assert_eq!(verify(&["all"], &[of_a_log]).code, Some(2));
    }

    let (directory, _) = gateway.stop();
    damage(&directory.path().join("data"));
    let ran = export_of(&directory.path().display().to_string());
    assert!(ran.code == Some(2) && ran.err.contains("record 1: the checksum does not match"), "{ran:?}");
    assert!(!fs::exists(directory.path().join("damaged")).unwrap());
}

/// The evidence with each configuration said to be missing, and all digests right.
fn without_configurations(file: &str) -> String {
    let mut text = String::new();
    let mut lines = file.lines();
    while let Some(line) = lines.next() {
        if line.starts_with("{\"object\":") {
            lines.next();
        } else if line.starts_with("{\"configuration\":") {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            let snapshot = &line["configuration"]["snapshot"];
            text +=
                &format!("{{\"configuration\":{{\"missing\":\"it is gone\",\"snapshot\":{snapshot}}}}}\n");
        } else if line.starts_with("{\"end\":") {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            let (records, sha256) = (&line["end"]["records"], digest_of(text.as_bytes()));
            text += &format!("{{\"end\":{{\"records\":{records},\"sha256\":\"{sha256}\"}}}}\n");
        } else if !line.starts_with("{\"list\":") {
            text += &format!("{line}\n");
        }
    }
    text
}

fn export_of(directory: &str) -> super::Ran {
    let (data, out) = (format!("{directory}/data"), format!("{directory}/damaged"));
    run(&["audit", "export", "--data", &data, "--out", &out])
}
