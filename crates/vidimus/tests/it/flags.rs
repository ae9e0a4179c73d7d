//! What a flag says that cannot be meant is refused, with what to write.

use super::{Ran, command, explain, resources, run};

#[test]
fn arguments_are_an_object() {
    let directory = tempfile::tempdir().unwrap();
    resources(directory.path(), 1);
    let resources = directory.path().display().to_string();
    for (args, code) in [
        ("{}", 0),
        (r#"{"a": [1]}"#, 0),
        ("[1]", 2),
        ("1", 2),
        ("\"x\"", 2),
        ("null", 2),
        ("true", 2),
        ("", 2),
        ("{", 2),
        (r#"{"a":1,"a":2}"#, 2),
    ] {
        let ran = explain(&["--resources", &resources, "--data", "/nonexistent", "--args", args]);
        assert_eq!(ran.code, Some(code), "{args}: {ran:?}");
        assert_eq!(ran.err.contains("--args"), code == 2, "{args}: {ran:?}");
    }
}

#[test]
fn a_switch_in_the_environment_is_taken_in_whatever_words() {
    // What is wrong with --data is found after the flags are read.
    for (value, taken) in [("1", true), ("true", true), ("yes", true), ("0", true), ("maybe", false)] {
        for name in ["VIDIMUS_LOG_JSON", "VIDIMUS_INSECURE_LISTEN"] {
            let words = ["serve", "--resources", "/usr", "--data", "/dev/null"];
            let ran = Ran::of(command(&words).env(name, value).output().unwrap());
            assert_eq!(ran.code, Some(2), "{ran:?}");
            assert_eq!(ran.err.contains("/dev/null is a file"), taken, "{name}={value}: {ran:?}");
        }
    }
}

#[test]
fn a_ca_that_nothing_asks_for_is_warned_of() {
    let directory = tempfile::tempdir().unwrap();
    resources(&directory.path().join("r"), 1);
    let ca = directory.path().join("ca.pem");
    std::fs::write(&ca, "not a certificate").unwrap();
    let given = format!("https://nobody.example={}", ca.display());
    let [resources, data] = ["r", "d"].map(|name| directory.path().join(name).display().to_string());
    // It ends because the file is no CA; the warning comes before.
    let ran = run(&[
        "serve",
        "--resources",
        &resources,
        "--data",
        &data,
        "--listen",
        "127.0.0.1:0",
        "--admin",
        "127.0.0.1:0",
        "--issuer-ca",
        &given,
    ]);
    assert!(
        ran.err.contains("--issuer-ca https://nobody.example: no token of this issuer is taken"),
        "{ran:?}"
    );
    assert_eq!(ran.code, Some(2), "{ran:?}");
}
