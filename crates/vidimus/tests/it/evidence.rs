//! `audit export`, and `audit verify` of what it wrote.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use vidimus_registry::digest_of;

use super::gateway::{Gateway, damage, upstream_that_hangs_up};
use super::run;

/// The report of a gateway that runs, and the exit status of each verdict.
#[test]
fn a_report_for_a_framework_is_made_in_every_form_and_its_status_is_its_verdict() {
    let gateway = Gateway::start(upstream_that_hangs_up());
    gateway.call(None);
    gateway.call(Some(&gateway.token()));
    let at = |name: &str| gateway.directory.path().join(name).display().to_string();
    let data = at("data");
    let key = fs::read_to_string(at("data/ledger/keys/checkpoint.vkey")).unwrap();
    let beside = |hours| (jiff::Timestamp::now() + jiff::SignedDuration::from_hours(hours)).to_string();
    let (from, to) = (beside(-24), beside(1));
    let evidence = |more: &[&str]| {
        let window = ["--from", &from, "--to", &to, "--at", "2026-11-28", "--by", "ada"];
        run(&[&["audit", "evidence", "--data", &data, "--framework", "soc2"], &window[..], more].concat())
    };
    for (form, begins) in [("html", "<!DOCTYPE html>"), ("oscal", "{\n"), ("ocsf", "{\"activity_id\"")] {
        let out = at(form);
        let ran = evidence(&["--format", form, "--out", &out, "--key", key.trim()]);
        assert!(ran.code == Some(0) && ran.out.contains("4 of them proven"), "{ran:?}");
        let written = fs::read_to_string(&out).unwrap();
        assert!(written.starts_with(begins) && written.ends_with('\n'), "{form}: {written}");
        assert_eq!(fs::metadata(&out).unwrap().permissions().mode() & 0o777, 0o600);
        // To standard output the same.
        let ran = evidence(&["--format", form, "--key", key.trim()]);
        assert_eq!((ran.code, ran.out, ran.err.as_str()), (Some(0), written, ""), "{form}");
    }
    let all = evidence(&["-o", "json"]).json();
    assert_eq!(
        (&all["sound"], &all["log"]["records"], &all["log"]["key_given"]),
        (&true.into(), &4.into(), &false.into())
    );
    assert_eq!(all["evidence"]["refused"]["count"], 1);
    // Nothing in the window is no success, and is said.
    let none = [
        "audit",
        "evidence",
        "--data",
        &data,
        "--framework",
        "dora",
        "--from",
        "2020-01-01",
        "--to",
        "2020-01-02",
    ];
    let ran = run(&[&none[..], &["--out", &at("none.html")]].concat());
    assert!(ran.code == Some(3) && ran.err.contains("the window has no records"), "{ran:?}");
    for (flags, says) in [
        (&["--framework", "iso", "--from", "1d"][..], "pci-dss"),
        (&["--framework", "soc2", "--from", "2026-01-02", "--to", "2026-01-01"], "--from"),
        (&["--framework", "soc2", "--from", "1d", "--samples", "21"], "--samples"),
        (&["--framework", "soc2", "--from", "1d", "--key", "nonsense"], "--key"),
        (&["--framework", "soc2", "--from", "1d", "--out", &data], "no regular file"),
        (&["--framework", "soc2"], "--from"),
    ] {
        let ran = run(&[&["audit", "evidence", "--data", &data], flags].concat());
        assert!(ran.code == Some(2) && ran.err.contains(says), "{ran:?}");
    }
    // Attack: another log's key is not the one that the auditor has.
    let other = "example.com/log+d455c521+AQOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4";
    let ran = evidence(&["--key", other, "--out", &at("other.html")]);
    assert!(ran.code == Some(1) && ran.err.contains("not one of the key that was given"), "{ran:?}");
    let (served, _) = gateway.stop();
    damage(&served.path().join("data"));
    let damaged = served.path().join("data").display().to_string();
    let ran =
        run(&["audit", "evidence", "--data", &damaged, "--framework", "soc2", "--from", "1d", "-o", "json"]);
    assert!(ran.code == Some(1) || ran.code == Some(2), "{ran:?}");
}

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
        (&4.into(), &4.into(), &1.into())
    );
    let again = export("again", &["--at", "2026-11-27", "--by", "ada"]);
    assert_eq!((again.code, fs::read(at("again")).unwrap()), (Some(0), fs::read(at("all")).unwrap()));
    assert_eq!(export("call", &["--call", &id]).json()["records"], 2);
    for (flags, says) in [
        (&["--since", "2026-01-02", "--until", "2026-01-01"][..], "--since"),
        (&["--call", &id, "--code", "no_permit"], "--call"),
        (&["--call", "nope"], "no record is of a call, an act or an approval nope"),
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
    assert!(ran.out.contains("0 to 3: all of the log") && !ran.out.contains("file's own"), "{ran:?}");
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
    // With another key no line but the first is read: nothing is said of what is in the file.
    let other = "example.com/log+d455c521+AQOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4";
    let ran = verify(&["all"], &["--key", other]);
    assert!(ran.code == Some(1) && ran.out.contains("nothing else of the file was looked at"), "{ran:?}");
    let counted = ["\nrecords ", "\ncheckpoint ", "\nconfigurations ", "no records"];
    assert!(!counted.iter().any(|row| ran.out.contains(row)), "{ran:?}");
    let ran = verify(&["all"], &["--checkpoint", &at("data/ledger/checkpoint")]);
    assert!(ran.code == Some(0) && ran.out.contains("file's own"), "{ran:?}");
    let bent =
        fs::read_to_string(at("all")).unwrap().replacen("\"outcome\":\"deny\"", "\"outcome\":\"allow\"", 1);
    fs::write(at("bent"), bent).unwrap();
    let ran = verify(&["all", "bent"], &["--key", key.trim()]);
    assert!(ran.code == Some(1) && ran.out.contains("NOT PROVEN"), "{ran:?}");
    assert_eq!(verify(&["without", "bent"], &["--key", key.trim()]).code, Some(1));
    assert!(ran.out.contains(": this is not record 1 of the log"), "{ran:?}");
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
    // What can be read is proven all the same; that it is not all is told, and is no success.
    assert!(ran.code == Some(1) && ran.err.contains("the checksum does not match"), "{ran:?}");
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
