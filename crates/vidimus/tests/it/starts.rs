//! What a start makes of what the one before it left, and what it says of itself.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::{Command, Stdio};

use super::gateway::Gateway;
use super::{command, resources};

/// Killed at the rename that makes the public key, or without room for it: under the name of this version, and of earlier ones.
#[test]
fn a_first_start_that_was_killed_is_followed_by_one_that_works() {
    let (made, _) = Gateway::start(1).stop();
    for left in ["checkpoint.vkey.tmp", "checkpoint.tmp"] {
        let directory = tempfile::tempdir().unwrap();
        resources(&directory.path().join("resources"), 1);
        let keys = directory.path().join("data/ledger/keys");
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&keys).unwrap();
        let put = |from: &str, to: &str, mode: u32| {
            let to = keys.join(to);
            fs::copy(made.path().join("data/ledger/keys").join(from), &to).unwrap();
            fs::set_permissions(to, fs::Permissions::from_mode(mode)).unwrap();
        };
        put("checkpoint.key", "checkpoint.key", 0o600);
        put("checkpoint.vkey", left, 0o644);
        let (directory, code) = Gateway::start_in(directory).stop();
        assert_eq!(code, Some(0));
        let there = |name: &str| directory.path().join("data/ledger/keys").join(name).exists();
        assert!(there("checkpoint.vkey") && !there(left), "{left}");
    }
}

#[test]
fn the_log_names_the_ports_that_the_system_chose() {
    let directory = tempfile::tempdir().unwrap();
    resources(&directory.path().join("r"), 1);
    let [resources, data] = ["r", "d"].map(|name| directory.path().join(name).display().to_string());
    let words =
        ["serve", "--resources", &resources, "--data", &data, "--listen", "127.0.0.1:0", "--tls-listen"];
    let mut command =
        command(&[&words[..], &["127.0.0.1:0", "--admin", "127.0.0.1:0", "--log-json"]].concat());
    let mut gateway = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(gateway.stderr.take().unwrap()).lines().map(Result::unwrap);
    let serving = lines
        .map(|line| serde_json::from_str::<serde_json::Value>(&line).unwrap())
        .find(|line| line.to_string().contains("\"serving\""))
        .unwrap();
    let address = |name: &str| {
        let found = [&serving[name], &serving["fields"][name]].into_iter().find_map(|value| value.as_str());
        found.unwrap_or_else(|| panic!("{serving}")).to_owned()
    };
    for name in ["listen", "tls"] {
        assert!(TcpStream::connect(address(name)).is_ok(), "{name}: {serving}");
    }
    let mut admin = TcpStream::connect(address("admin")).unwrap();
    let request = format!("GET /healthz HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", address("admin"));
    admin.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    admin.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("200 OK"), "{answer}");
    gateway.kill().unwrap();
    gateway.wait().unwrap();
}

/// `kill -HUP` is how many servers are told to read their files again.
#[test]
fn sighup_stops_nothing() {
    let gateway = Gateway::start(1);
    gateway.signal("HUP");
    gateway.wait("told", |gateway| {
        fs::read_to_string(gateway.path("log")).unwrap().contains("SIGHUP does nothing")
    });
    assert!(gateway.get("/readyz").is_some_and(|answer| answer.contains(" 200 ")));
    assert_eq!(gateway.stop().1, Some(0));
}

#[test]
fn data_and_resources_lie_apart() {
    for (data, resources) in [("resources/data", "resources"), ("data", "data"), ("data", "data/resources")] {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        self::resources(&at(resources), 1);
        let before = files(directory.path());
        let mut serve = command(&["serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
        serve.arg("--resources").arg(at(resources)).arg("--data").arg(at(data));
        let ran = super::Ran::of(serve.output().unwrap());
        assert_eq!(ran.code, Some(2), "{ran:?}");
        assert!(ran.err.contains("--data") && ran.err.contains("--resources"), "{ran:?}");
        assert_eq!(files(directory.path()), before, "nothing was made");
    }
}

fn files(directory: &Path) -> Vec<u8> {
    Command::new("find").arg(directory).output().unwrap().stdout
}
