//! `doctor`: faults that are planted in an installation, each found by its code, with what to do; and nothing where nothing is wrong.

use std::collections::BTreeSet;
use std::fs::{self, File, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::gateway::{Gateway, free_port};
use super::{Ran, resources, run, write};

/// What the doctor says.
fn asked(words: &[&str]) -> Ran {
    // The disk of whoever tests is no part of it.
    let reserve: &[&str] = if words.contains(&"--disk-reserve") { &[] } else { &["--disk-reserve", "0"] };
    run(&[&["doctor", "-o", "json"][..], reserve, words].concat())
}

/// The codes that it found; each finding says what it leads to and what to do.
fn codes(ran: &Ran) -> BTreeSet<String> {
    let answer = ran.json();
    let findings = answer["findings"].as_array().unwrap();
    for finding in findings {
        for member in ["what", "why", "fix"] {
            assert!(finding[member].as_str().is_some_and(|text| !text.is_empty()), "{finding}");
        }
    }
    let is_faulty = findings.iter().any(|finding| finding["severity"] == "fault");
    assert_eq!(could_not(&answer), [""; 0], "{answer}");
    assert_eq!(ran.code, Some(i32::from(is_faulty)), "{ran:?}");
    assert_eq!(answer["verdict"] == "faulty", is_faulty, "{answer}");
    findings.iter().map(|finding| finding["code"].as_str().unwrap().to_owned()).collect()
}

/// The parts that it could not look at.
fn could_not(answer: &serde_json::Value) -> Vec<&str> {
    let left = answer["left_out"].as_array().unwrap().iter();
    left.filter(|one| one["could_not"] == true).map(|one| one["what"].as_str().unwrap()).collect()
}

fn set(codes: &[&str]) -> BTreeSet<String> {
    codes.iter().map(|code| (*code).to_owned()).collect()
}

/// An installation that was stopped: its resources and its data, and addresses that are free.
struct Stopped {
    directory: tempfile::TempDir,
    addresses: [String; 2],
}

impl Stopped {
    fn new() -> Self {
        let (directory, code) = Gateway::start(1).stop();
        assert_eq!(code, Some(0));
        Self { directory, addresses: [free_port(), free_port()].map(|port| format!("127.0.0.1:{port}")) }
    }

    fn at(&self, name: &str) -> String {
        self.directory.path().join(name).display().to_string()
    }

    /// What is found besides that no gateway runs.
    fn found(&self, words: &[&str]) -> BTreeSet<String> {
        let (data, resources) = (self.at("data"), self.at("resources"));
        let [listen, admin] = self.addresses.each_ref().map(String::as_str);
        let mut all = vec!["--listen", listen, "--admin", admin];
        for (flag, value) in [("--data", &data), ("--resources", &resources)] {
            if !words.contains(&flag) {
                all.extend([flag, value]);
            }
        }
        all.extend(words);
        let mut found = codes(&asked(&all));
        assert!(found.remove("gateway_down"), "{found:?}");
        found
    }
}

fn mode(path: &str, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[test]
fn an_installation_that_is_well_has_no_findings() {
    let gateway = Gateway::start(1);
    let (data, resources) = (gateway.path("data"), gateway.path("resources"));
    let url = format!("http://{}", gateway.listen);
    let words = [
        "--data",
        &data,
        "--resources",
        &resources,
        "--listen",
        &gateway.listen,
        "--admin",
        &gateway.admin,
        "--public-url",
        &url,
    ];
    let ran = asked(&words);
    assert_eq!((codes(&ran), &ran.json()["verdict"]), (set(&[]), &"healthy".into()), "{ran:?}");
    let table = run(&[&["doctor", "--disk-reserve", "0"][..], &words[..]].concat());
    assert_eq!(table.code, Some(0), "{table:?}");
    assert!(table.out.contains("0 faults, 0 warnings"), "{table:?}");
    assert_eq!(gateway.stop().1, Some(0), "looking has changed nothing");
}

#[test]
fn what_is_wrong_with_the_files_of_a_machine_is_found() {
    let stopped = Stopped::new();
    assert_eq!(stopped.found(&[]), set(&[]), "nothing but that it was stopped");
    let none = stopped.at("none");
    assert_eq!(stopped.found(&["--data", &none]), set(&["data_missing"]));
    assert_eq!(stopped.found(&["--data", &stopped.at("log")]), set(&["data_unusable"]));
    assert_eq!(
        stopped.found(&["--data", &stopped.at("resources"), "--resources", &stopped.at("resources")]),
        set(&["data_nested"])
    );
    assert_eq!(stopped.found(&["--resources", &none]), set(&["resources_unreadable"]));
    assert_eq!(stopped.found(&["--disk-reserve", "8000000000GB"]), set(&["disk_low"]));

    let key = stopped.at("data/identity/session.key");
    mode(&key, 0o644);
    assert_eq!(stopped.found(&[]), set(&["key_exposed"]));
    mode(&key, 0o600);

    for key in ["data/identity/issuer-key.pem", "data/ledger/keys/checkpoint.key"] {
        let (key, aside) = (stopped.at(key), stopped.at("aside"));
        fs::rename(&key, &aside).unwrap();
        assert_eq!(stopped.found(&[]), set(&["key_lost"]), "{key}");
        fs::rename(&aside, &key).unwrap();
    }

    let lock = File::options().write(true).open(stopped.at("data/ledger/lock")).unwrap();
    lock.lock().unwrap();
    assert_eq!(stopped.found(&[]), set(&["ledger_in_use"]));
    lock.unlock().unwrap();

    let tomorrow = SystemTime::now() + Duration::from_secs(86_400);
    let checkpoint = File::options().write(true).open(stopped.at("data/ledger/checkpoint")).unwrap();
    checkpoint.set_modified(tomorrow).unwrap();
    assert_eq!(stopped.found(&[]), set(&["clock_behind"]));
    checkpoint.set_modified(SystemTime::now()).unwrap();

    let secrets = stopped.at("secrets");
    fs::create_dir(&secrets).unwrap();
    mode(&secrets, 0o755);
    assert_eq!(stopped.found(&["--secrets", &secrets]), set(&["secrets_unusable"]));
    mode(&secrets, 0o700);
    assert_eq!(stopped.found(&["--secrets", &secrets]), set(&[]));

    write(Path::new(&stopped.at("resources")), "z.yaml", "kind: Agent\n");
    assert_eq!(stopped.found(&[]), set(&["resources_rejected"]));
}

#[test]
fn what_is_wrong_with_addresses_and_certificates_is_found() {
    let stopped = Stopped::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    assert_eq!(stopped.found(&["--tls-listen", &address]), set(&["address_taken"]));
    // Of TEST-NET-1, so of no machine.
    assert_eq!(stopped.found(&["--tls-listen", "192.0.2.1:8443"]), set(&["address_unusable"]));
    assert_eq!(stopped.found(&["--public-url", "https://gateway.invalid"]), set(&["public_url_unresolved"]));
    assert_eq!(stopped.found(&["--public-url", "http://192.0.2.1:8080"]), set(&["public_url_plain"]));

    let data = stopped.at("data");
    let issue = |to: &str, ttl: &str| {
        let out = stopped.at(to);
        let id = "spiffe://vidimus.local/gateway";
        let ran = run(&["identity", "svid", "--data", &data, "--spiffe-id", id, "--out", &out, "--ttl", ttl]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        [format!("{out}/svid.pem"), format!("{out}/svid-key.pem")]
    };
    let ([ended, ended_key], [good, good_key]) = (issue("ended", "1s"), issue("good", "24h"));
    let pair = |chain: &str, key: &str, url: &str| {
        stopped.found(&["--tls-cert", chain, "--tls-key", key, "--public-url", url])
    };
    let here = "https://127.0.0.1:8443";
    assert_eq!(pair(&good, &ended_key, "http://localhost"), set(&["certificate_unusable"]));
    assert_eq!(pair(&good, &good_key, "http://localhost"), set(&[]));
    assert_eq!(pair(&good, &good_key, here), set(&["certificate_name"]));
    mode(&good_key, 0o644);
    assert_eq!(pair(&good, &good_key, "http://localhost"), set(&["key_exposed"]));
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(pair(&ended, &ended_key, "http://localhost"), set(&["certificate_expired"]));
}

#[test]
fn what_is_wrong_with_a_gateway_that_runs_is_found() {
    let nobody = format!("127.0.0.1:{}", free_port());
    let sink = format!("otlp+http://{nobody}/v1/logs");
    let gateway = Gateway::start_with(1, |command| {
        command.args(["--sink", &sink, "--sink-from", "0"]);
    });
    gateway.call(Some(&gateway.token()));
    let (data, listen, admin) = (gateway.path("data"), gateway.listen.clone(), gateway.admin.clone());
    let found = |words: &[&str]| {
        let mut all = vec!["--listen", &listen, "--admin", &admin];
        if !words.contains(&"--data") {
            all.extend(["--data", &data]);
        }
        all.extend(words);
        codes(&asked(&all))
    };
    gateway.wait("a sink that fails", |_| found(&[]) == set(&["sink_down"]));
    let with = |more: &[&str]| set(&[&["sink_down"][..], more].concat());
    let other = Stopped::new();
    assert_eq!(found(&["--data", &other.at("data")]), with(&["ledger_elsewhere"]));
    assert_eq!(found(&["--tls-listen", &nobody]), with(&["listener_deaf"]));
    let (localhost, unreached) = (listen.replace("127.0.0.1", "localhost"), format!("http://{nobody}"));
    assert_eq!(found(&["--public-url", &format!("http://{localhost}")]), with(&["public_url_elsewhere"]));
    assert_eq!(
        found(&["--public-url", &unreached]),
        with(&["public_url_elsewhere", "public_url_unreachable"])
    );
    write(Path::new(&gateway.path("resources")), "z.yaml", "kind: Agent\n");
    gateway.wait("an object that is rejected", |_| found(&[]) == with(&["objects_rejected"]));
    assert_eq!(gateway.stop().1, Some(0));
}

#[test]
fn what_is_wrong_with_keys_that_gateways_share_is_found() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name).display().to_string();
    let (ours, theirs) = (at("ours"), at("theirs"));
    for keys in [&ours, &theirs] {
        assert_eq!(run(&["keys", "generate", "--out", keys]).code, Some(0));
    }
    let gateway = Gateway::start_with(1, |command| {
        command.args(["--shared-keys", &ours]);
    });
    let (data, listen, admin) = (gateway.path("data"), gateway.listen.clone(), gateway.admin.clone());
    let found = |keys: &str| {
        codes(&asked(&["--data", &data, "--listen", &listen, "--admin", &admin, "--shared-keys", keys]))
    };
    assert_eq!(found(&ours), set(&[]));
    assert_eq!(found(&theirs), set(&["shared_keys_differ"]));
    write(Path::new(&theirs), "README", "keys");
    assert_eq!(found(&theirs), set(&["shared_keys_unusable"]));
    fs::remove_file(format!("{theirs}/README")).unwrap();
    mode(&theirs, 0o777);
    assert_eq!(found(&theirs), set(&["shared_keys_unusable"]));
    mode(&theirs, 0o700);
    assert_eq!(found(&at("none")), set(&["shared_keys_unusable"]));

    // One that is used since years: from when it is used stands in its name.
    let seal = fs::read_dir(&ours).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
    let seal = seal.into_iter().find(|name| name.starts_with("seal.")).unwrap();
    let digest = seal.split('.').nth(2).unwrap();
    fs::rename(format!("{ours}/{seal}"), format!("{ours}/seal.20240101T000000Z.{digest}.key")).unwrap();
    assert_eq!(found(&ours), set(&["shared_keys_old"]));
    assert_eq!(run(&["keys", "rotate", "--out", &ours]).code, Some(0));
    gateway.wait("the keys of the rotation", |_| found(&ours) == set(&[]));
    assert_eq!(gateway.stop().1, Some(0));
}

/// What this command has not a gateway that runs may have; what records name and nobody registered nobody has.
#[test]
fn what_records_name_is_looked_for() {
    let gateway = Gateway::start(1);
    let at = gateway.path("resources");
    let record = |kind: &str, name: &str, spec: &str| {
        let text = format!(
            "apiVersion: vidimus.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: {name}, namespace: a}}\nspec: {{owner: ada.l@example.com, team: t, {spec}}}\n"
        );
        write(Path::new(&at), &format!("{name}.yaml"), &text);
    };
    record("MCPServer", "desk", "riskLevel: low, members: [{name: x, server: {name: none}}]");
    record(
        "LLMProvider",
        "models",
        "type: openAI, credential: {env: VIDIMUS_TEST_NO_SUCH_VARIABLE}, models: [{name: m}]",
    );
    let (data, listen, admin) = (gateway.path("data"), gateway.listen.clone(), gateway.admin.clone());
    let words = ["--data", &data, "--resources", &at, "--listen", &listen, "--admin", &admin];
    let found = |ran: &Ran| {
        let (codes, answer) = (codes(ran), ran.json());
        let what = |code: &str| {
            let findings = answer["findings"].as_array().unwrap();
            let found = findings.iter().find(|finding| finding["code"] == code);
            found.map_or("", |found| found["what"].as_str().unwrap()).to_owned()
        };
        (codes, what("resources_warned"), what("secret_unusable"))
    };
    let (codes, warned, unusable) = found(&asked(&words));
    assert_eq!(codes, set(&["resources_warned", "secret_unusable"]));
    assert!(warned.contains("spec.members[0].server a/none: no MCPServer a/none is registered"), "{warned}");
    let said = "VIDIMUS_TEST_NO_SUCH_VARIABLE is not set for this command; the gateway that runs";
    assert!(unusable.contains(said), "{unusable}");
    let (_directory, code) = gateway.stop();
    assert_eq!(code, Some(0));
    let (codes, _, unusable) = found(&asked(&words));
    assert!(
        codes.contains("gateway_down") && unusable.contains("calls will be refused"),
        "{codes:?}: {unusable}"
    );
}

#[test]
fn who_answers_otherwise_is_no_gateway() {
    let foreign = TcpListener::bind("127.0.0.1:0").unwrap();
    let admin = foreign.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in foreign.incoming() {
            use std::io::{Read as _, Write as _};
            let mut stream = stream.unwrap();
            let _read = stream.read(&mut [0; 4096]).unwrap_or_default();
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}");
        }
    });
    let directory = tempfile::tempdir().unwrap();
    resources(&directory.path().join("resources"), 1);
    let data = directory.path().join("data").display().to_string();
    let ran = asked(&["--admin", &admin, "--data", &data]);
    assert_eq!(codes(&ran), set(&["address_taken", "data_missing"]), "{ran:?}");
}

/// What it takes is not tried, and the status says that nothing was looked at.
#[test]
fn what_it_is_asked_wrongly_is_no_verdict() {
    for words in [&["doctor", "--admin", "nowhere"][..], &["doctor", "--public-url", "gateway.example"]] {
        assert_eq!(run(words).code, Some(2), "{words:?}");
    }
}

/// An API server that answers everything with one status; its kubeconfig.
fn api_server(directory: &Path, code: u16, message: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let body = serde_json::json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "reason": "R", "code": code, "message": message});
    let answer = format!(
        "HTTP/1.1 {code} R\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.to_string().len()
    );
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            use std::io::{Read as _, Write as _};
            let mut stream = stream.unwrap();
            let _read = stream.read(&mut [0; 65536]).unwrap_or_default();
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    let file = directory.join(format!("kubeconfig-{code}"));
    let text = format!(
        "apiVersion: v1\nkind: Config\nclusters: [{{name: c, cluster: {{server: \"{url}\"}}}}]\nusers: [{{name: ada, user: {{}}}}]\n\
         contexts: [{{name: prod, context: {{cluster: c, user: ada}}}}]\ncurrent-context: prod\n"
    );
    fs::write(&file, text).unwrap();
    file.display().to_string()
}

/// Who may not look knows nothing, and is not told that all is well.
#[test]
fn who_is_refused_by_the_api_server_is_not_told_that_all_is_well() {
    let directory = tempfile::tempdir().unwrap();
    let forbidden = "statefulsets.apps is forbidden: User \"ada\" cannot get resource";
    for (code, message, says) in [
        (401, "Unauthorized", "user 'ada' of the context 'prod'"),
        (403, forbidden, "User \"ada\" cannot get"),
    ] {
        let config = api_server(directory.path(), code, message);
        let ran = run(&["doctor", "--cluster", "--kubeconfig", &config, "-o", "json"]);
        let answer = ran.json();
        assert_eq!((ran.code, &answer["verdict"]), (Some(2), &"could_not_look".into()), "{ran:?}");
        let parts = could_not(&answer);
        for part in [
            "customresourcedefinitions agents.vidimus.dev",
            "policies",
            "statefulsets vidimus-system/vidimus",
        ] {
            assert!(parts.contains(&part), "{part}: {parts:?}");
        }
        let left = answer["left_out"].as_array().unwrap();
        assert!(left.iter().all(|one| one["why"].as_str().unwrap().contains(says)), "{answer}");
        let table = run(&["doctor", "--cluster", "--kubeconfig", &config]);
        assert!(
            table.code == Some(2) && table.out.contains("0 faults, 0 warnings, could not look at "),
            "{table:?}"
        );
    }
}

/// What check warns of the doctor does too: of files that have one audience in two namespaces.
#[test]
fn an_audience_that_two_namespaces_have_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path().display().to_string();
    for namespace in ["a", "b"] {
        let text = format!(
            "apiVersion: vidimus.dev/v1alpha1\nkind: MCPServer\nmetadata: {{name: ledger, namespace: {namespace}}}\nspec: {{owner: ada.l@example.com, team: t, \
             riskLevel: low, endpoint: {{url: \"http://127.0.0.1:9/mcp\", audience: \"urn:ledger\"}}}}\n"
        );
        write(directory.path(), &format!("{namespace}.yaml"), &text);
    }
    let data = directory.path().join("data").display().to_string();
    let ran =
        asked(&["--resources", &at, "--data", &data, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:9"]);
    let answer = ran.json();
    let findings = answer["findings"].as_array().unwrap();
    let told = findings.iter().filter(|finding| {
        finding["code"] == "resources_warned"
            && finding["what"].as_str().unwrap().contains("have this audience too")
    });
    assert_eq!(told.count(), 2, "{ran:?}");
}
