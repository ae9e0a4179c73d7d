//! `vidimus keys`: made, rotated and listed, as files and as a Secret.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Stdio;

use serde_json::Value;

use super::{Ran, command, run};

fn listed(directory: &str) -> Vec<(String, String)> {
    let ran = run(&["keys", "list", directory, "-o", "json"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let rows = ran.out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let text = |row: &Value, name: &str| row[name].as_str().unwrap().to_owned();
    rows.map(|row| (text(&row, "purpose"), text(&row, "state"))).collect()
}

fn states(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(purpose, state)| ((*purpose).to_owned(), (*state).to_owned())).collect()
}

#[test]
fn keys_are_made_once_and_rotated_in_place() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path().join("keys");
    let keys = at.display().to_string();
    let keys = keys.as_str();
    let made = run(&["keys", "generate", "--out", keys, "-o", "json"]).json();
    assert_eq!(made["added"].as_array().unwrap().len(), 5, "{made}");
    assert_eq!(fs::metadata(&at).unwrap().permissions().mode() & 0o777, 0o700);
    for file in fs::read_dir(&at).unwrap() {
        assert_eq!(file.unwrap().metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }
    assert_eq!(listed(keys), states(&[("seal", "current"), ("mint", "current")]));
    let again = run(&["keys", "generate", "--out", keys]);
    assert!(again.code == Some(2) && again.err.contains("keys rotate"), "{again:?}");

    let rotated = run(&["keys", "rotate", "--out", keys, "-o", "json"]).json();
    assert_eq!(
        (rotated["added"].as_array().unwrap().len(), &rotated["dropped"]),
        (2, &Value::Array(Vec::new()))
    );
    let next = [("seal", "current"), ("seal", "next"), ("mint", "current"), ("mint", "next")];
    assert_eq!(listed(keys), states(&next));

    // The built-in issuer is there, and not in --data.
    let token = ["identity", "token", "--subject", "bot", "--data", "/nonexistent"];
    assert_eq!(run(&token).code, Some(2));
    let token = run(&[&token[..], &["--shared-keys", keys]].concat());
    assert!(token.code == Some(0) && token.out.trim().split('.').count() == 3, "{token:?}");

    // Attack: who else may read a key.
    let seal = fs::read_dir(&at).unwrap().map(|file| file.unwrap().path());
    let seal = seal.into_iter().find(|path| path.display().to_string().contains("/seal.")).unwrap();
    fs::set_permissions(&seal, fs::Permissions::from_mode(0o644)).unwrap();
    for words in [vec!["keys", "list", keys], vec!["keys", "rotate", "--out", keys]] {
        let ran = run(&words);
        let name = seal.display().to_string();
        assert!(ran.code == Some(2) && ran.err.contains(&name) && ran.err.contains("0600"), "{ran:?}");
    }
    let data = directory.path().join("data").display().to_string();
    let words = [
        "serve",
        "--resources",
        "/usr",
        "--data",
        data.as_str(),
        "--listen",
        "127.0.0.1:0",
        "--admin",
        "127.0.0.1:0",
        "--shared-keys",
        keys,
    ];
    let ran = run(&words);
    assert!(ran.code == Some(2) && ran.err.contains("--shared-keys") && ran.err.contains("0600"), "{ran:?}");
}

/// `kubectl get -o json` of what was applied, through a rotation, and as it is mounted.
#[test]
fn a_secret_goes_through_a_rotation_and_is_mounted() {
    let made = run(&["keys", "generate", "--secret", "vidimus-keys", "-n", "vidimus", "-o", "json"]).json();
    assert_eq!((&made["kind"], &made["metadata"]["namespace"]), (&"Secret".into(), &"vidimus".into()));
    let mut rotate = command(&["keys", "rotate", "--from", "-", "--after", "1h", "-o", "json"]);
    let mut rotate =
        rotate.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    rotate.stdin.take().unwrap().write_all(made.to_string().as_bytes()).unwrap();
    let rotated = Ran::of(rotate.wait_with_output().unwrap()).json();
    let names = |secret: &Value| secret["data"].as_object().unwrap().len();
    assert_eq!((names(&made), names(&rotated)), (5, 7));
    assert_eq!(rotated["metadata"], made["metadata"]);
    let yaml = run(&["keys", "generate", "--secret", "vidimus-keys"]);
    for says in ["kind: Secret", "metadata: {\"name\":\"vidimus-keys\"}", "  ca.pem: \"LS0t"] {
        assert!(yaml.out.contains(says), "{yaml:?}");
    }
    for wrong in [vec!["keys", "generate"], vec!["keys", "rotate"], vec!["keys", "generate", "--secret", "A"]]
    {
        assert_eq!(run(&wrong).code, Some(2), "{wrong:?}");
    }
}

/// Piped to `kubectl apply` twice, the first keys would be replaced by others, and all that they sealed and signed be void; `create` refuses.
#[test]
fn keys_that_are_made_once_are_not_applied() {
    let of = |path: &str| {
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)).unwrap()
    };
    let mut texts = vec![of("docs/scale.md"), of("docs/chart.md"), of("deploy/chart/vidimus/values.yaml")];
    texts.push(of("crates/vidimus/src/cmd/doctor/cluster/replicas.rs"));
    for words in [&["keys", "--help"][..], &["keys", "generate", "--help"]] {
        let help = run(words).out;
        assert!(help.contains("kubectl create -f -"), "{help}");
        texts.push(help);
    }
    for line in texts.iter().flat_map(|text| text.lines()).filter(|line| line.contains("keys generate")) {
        assert!(!line.contains("kubectl apply"), "{line}");
    }
}
