//! `audit verify`: what it could not look at is not checked, and is no word against the log.

use std::fs;

use super::gateway::{Gateway, damage};
use super::{Ran, command, run};

#[test]
fn what_the_verifier_cannot_read_itself_is_not_held_against_the_log() {
    let gateway = Gateway::start(1);
    gateway.call(None);
    let (directory, _) = gateway.stop();
    let at = |name: &str| directory.path().join(name).display().to_string();
    let data = at("data");
    let verify = |flags: &[&str], variables: &[(&str, &str)]| {
        let mut command = command(&[&["audit", "verify", "--data", &data], flags].concat());
        for name in ["HOME", "XDG_STATE_HOME"] {
            command.env_remove(name);
        }
        Ran::of(command.envs(variables.iter().copied()).output().unwrap())
    };
    fs::write(at("file"), "hello").unwrap();
    let (memory, home) = (at("memory"), at("home"));
    for (flags, variables, says) in [
        // Nowhere to remember: that another log is there would not be noticed, and nobody would know.
        (&[][..], &[][..], "no place to remember"),
        (&["--memory", &at("file")], &[], "--memory"),
        (&[], &[("VIDIMUS_VERIFIED", &*at("file"))], "--memory"),
        (&["--forget", "--checkpoint", &at("file")], &[], "file"),
        (&["--forget", "--checkpoint", &at("none")], &[], "none"),
    ] {
        let ran = verify(flags, variables);
        assert_eq!(ran.code, Some(2), "{flags:?}: {ran:?}");
        assert!(ran.err.contains(says) && !ran.out.contains("INTACT"), "{flags:?}: {ran:?}");
    }
    for (flags, variables) in [
        (&["--forget"][..], &[][..]),
        (&["--forget"], &[("VIDIMUS_VERIFIED", &*at("file"))]),
        (&["--memory", &memory], &[]),
        (&["--memory", &memory], &[]),
        (&[], &[("HOME", &*home)]),
        (&["--forget", "--checkpoint", &at("data/ledger/checkpoint")], &[]),
    ] {
        let ran = verify(flags, variables);
        assert_eq!(ran.code, Some(0), "{flags:?}: {ran:?}");
    }
    for entry in fs::read_dir(&memory).unwrap() {
        fs::write(entry.unwrap().path(), "hello\nworld\n").unwrap();
    }
    let ran = verify(&["--memory", &memory], &[]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    damage(directory.path().join("data").as_path());
    assert_eq!(verify(&["--forget"], &[]).code, Some(1));
}

/// Who may not look is not told that there is nothing.
#[test]
fn a_data_directory_that_may_not_be_read_is_not_missing() {
    // A name that is too long stands for what cannot be looked at: root may look everywhere.
    let long = format!("/tmp/{}", "x".repeat(300));
    for words in [
        &["audit", "verify", "--forget"][..],
        &["audit", "search"],
        &["audit", "show", "x"],
        &["identity", "token", "--subject", "x"],
        &["identity", "bundle"],
    ] {
        let ran = run(&[words, &["--data", &long]].concat());
        assert_eq!(ran.code, Some(2), "{ran:?}");
        assert!(ran.err.contains("cannot be looked for") && ran.err.contains("too long"), "{ran:?}");
        let none = run(&[words, &["--data", "/nonexistent"]].concat());
        assert!(none.code == Some(2) && !none.err.contains("cannot be looked for"), "{none:?}");
    }
}
