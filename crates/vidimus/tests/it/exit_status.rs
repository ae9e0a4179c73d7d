//! The exit status is the verdict, whatever becomes of what is printed: a reader that has gone away changes nothing, and what could
//! not be written for another reason is an error.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use super::gateway::{Gateway, damage, upstream_that_hangs_up};
use super::{ASKED, Ran, command, policy, resources, run, write};

struct Case {
    words: Vec<String>,
    code: i32,
}

fn case(line: &str, code: i32) -> Case {
    Case { words: line.split(' ').map(str::to_owned).collect(), code }
}

/// Every command that prints a result, with each of its verdicts; and the directory that some of them read.
fn cases(directory: &Path) -> (Vec<Case>, tempfile::TempDir) {
    let at = |name: &str| directory.join(name).display().to_string();
    let (good, bad, warned, empty) = (at("good"), at("bad"), at("warned"), at("empty"));
    resources(Path::new(&good), 1);
    resources(Path::new(&bad), 1);
    write(Path::new(&bad), "d.yaml", &policy("closed", "nonsense"));
    resources(Path::new(&warned), 1);
    write(
        Path::new(&warned),
        "d.yaml",
        &policy("none", r#"permit (principal == Agent::"a/none", action, resource);"#),
    );
    fs::create_dir(&empty).unwrap();

    let gateway = Gateway::start(upstream_that_hangs_up());
    gateway.call(None);
    gateway.call(Some(&gateway.token()));
    let (served, code) = gateway.stop();
    assert_eq!(code, Some(0), "stopped as it was told");
    let data = served.path().join("data").display().to_string();
    let damaged = at("damaged");
    assert!(std::process::Command::new("cp").args(["-r", &data, &damaged]).status().unwrap().success());
    damage(Path::new(&damaged));
    let found = run(&["audit", "search", "--data", &data, "--kind", "decision", "-o", "json"]);
    let call = found.json()["id"].as_str().unwrap().to_owned();
    let evidence = at("evidence");
    let shown = run(&["audit", "show", &call, "--data", &data, "--evidence", &evidence]);
    assert_eq!(shown.code, Some(0), "{shown:?}");
    let record = fs::read_dir(&evidence).unwrap().map(|entry| entry.unwrap().path());
    let record = record.filter(|path| path.extension().is_some_and(|end| end == "json")).min().unwrap();
    let proof = record.with_extension("tlog-proof");
    let forged = at("forged.json");
    fs::write(&forged, "{}").unwrap();
    let key = fs::read_to_string(Path::new(&data).join("ledger/keys/checkpoint.vkey")).unwrap();
    let prove = |record: &str| Case {
        words: [
            "audit",
            "prove",
            "--record",
            record,
            "--proof",
            &proof.display().to_string(),
            "--key",
            key.trim(),
        ]
        .map(str::to_owned)
        .into(),
        code: i32::from(record == forged),
    };
    let asked = ASKED.join(" ");
    let none = at("none");
    let cases = [
        case("--help", 0),
        case("--version", 0),
        case("audit search --help", 0),
        case(&format!("check {good}"), 0),
        case(&format!("check {warned}"), 0),
        case(&format!("check --strict {warned}"), 1),
        case(&format!("check {bad}"), 1),
        case(&format!("check --strict {empty}"), 1),
        case("codes", 0),
        case("codes no_permit", 0),
        case("policy schema", 0),
        case(&format!("{asked} --resources {good} --data {none}"), 0),
        case(&format!("{asked} --resources {bad} --data {none}"), 1),
        case(&format!("{asked} --resources {empty} --data {none} --principal Agent/a/none"), 2),
        case(&format!("policy reach --resource Tool/a/tools/x --resources {good} --data {none}"), 0),
        case(&format!("policy reach --resource Tool/a/tools/x --resources {bad} --data {none}"), 1),
        case(&format!("policy reach --resource Tool/a/none/x --resources {good} --data {none}"), 2),
        case(&format!("policy check {good}"), 0),
        case(&format!("policy check --deny all {good}"), 1),
        case(&format!("policy check {none}"), 2),
        case(&format!("policy explain --call {call} --resources {good} --data {data}"), 0),
        case(&format!("policy explain --call none --resources {good} --data {data}"), 2),
        case(&format!("identity init --data {data}"), 0),
        case(&format!("identity token --data {data} --subject bot"), 0),
        case(&format!("identity bundle --data {data}"), 0),
        case(
            &format!("identity svid --data {data} --spiffe-id spiffe://vidimus.local/x --out {}", at("svid")),
            0,
        ),
        case(&format!("audit search --data {data}"), 0),
        case(&format!("audit search --data {data} --kind all --limit 1"), 0),
        case(&format!("audit search --data {damaged} --kind all"), 1),
        case(&format!("audit show {call} --data {data}"), 0),
        case(&format!("audit show none --data {data}"), 2),
        case(&format!("trace show {call} --data {data}"), 0),
        case(&format!("trace show 4bf92f3577b34da6a3ce929d0e0e4736 --data {data}"), 2),
        case(&format!("trace show {call} --data {none}"), 2),
        case(&format!("audit evidence --framework soc2 --from 1d --samples 1 --data {data}"), 0),
        case(&format!("audit evidence --framework soc2 --from 2020-01-01 --to 2020-01-02 --data {data}"), 3),
        case(&format!("audit evidence --framework soc2 --from 1d --data {damaged}"), 1),
        case(&format!("audit verify --forget --data {data}"), 0),
        case(&format!("audit verify --forget --data {damaged}"), 1),
        case(&format!("audit prune --keep 30d --why w --data {data}"), 0),
        case(&format!("audit prune --keep 30d --why w --data {none}"), 2),
    ];
    // Usage, and what is not there, are errors however they are asked for.
    let wrong = [
        case("check", 2),
        case("nonsense", 2),
        case(&format!("check {none}"), 2),
        case(&format!("serve --resources {none} --data {none}"), 2),
        case(&format!("audit search --data {none}"), 2),
        case(&format!("identity token --data {none} --subject x"), 2),
        case("codes nonsense", 2),
    ];
    let proofs = [prove(&record.display().to_string()), prove(&forged)];
    (cases.into_iter().chain(wrong).chain(proofs).collect(), served)
}

fn ended(case: &Case, format: &str, stdout: Stdio) -> Ran {
    let words: Vec<&str> = case.words.iter().map(String::as_str).chain(["-o", format]).collect();
    Ran::of(command(&words).stdout(stdout).output().unwrap())
}

#[test]
fn the_exit_status_is_the_verdict_wherever_the_result_goes() {
    let directory = tempfile::tempdir().unwrap();
    let (cases, _served) = cases(directory.path());
    for case in cases {
        for format in ["table", "json"] {
            let read = ended(&case, format, Stdio::piped());
            assert_eq!(read.code, Some(case.code), "{:?} {format}: {read:?}", case.words);
            let (reader, writer) = std::io::pipe().unwrap();
            drop(reader);
            let gone = ended(&case, format, writer.into());
            assert_eq!(
                gone.code,
                Some(case.code),
                "{:?} {format}, into a closed pipe: {}",
                case.words,
                gone.err
            );
            assert_eq!(gone.err, read.err, "{:?} {format}: nothing more is said", case.words);
            let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
            let full = ended(&case, format, full.into());
            assert_eq!(full.code, Some(2), "{:?} {format}, into /dev/full: {}", case.words, full.err);
            let says = full.err.contains("could not be written to standard output");
            assert_eq!(says, !read.out.is_empty(), "{:?} {format}: {}", case.words, full.err);
        }
    }
}

#[test]
fn errors_are_json_where_results_are() {
    for line in [
        "check /nonexistent -o json",
        "check -o json",
        "-o json nonsense",
        "codes nope --output json",
        "codes nope -ojson",
    ] {
        let ran = run(&line.split(' ').collect::<Vec<_>>());
        assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""), "{line}");
        let said: serde_json::Value =
            serde_json::from_str(&ran.err).unwrap_or_else(|error| panic!("{line}: {error}: {ran:?}"));
        assert!(said["error"].as_str().is_some_and(|text| !text.is_empty()), "{line}: {said}");
    }
    let ran = run(&["check", "/nonexistent", "-o", "json"]);
    let said: serde_json::Value = serde_json::from_str(&ran.err).unwrap();
    assert!(said["because"][0].as_str().is_some_and(|text| text.contains("No such file")), "{said}");
    let ran = Ran::of(command(&["check", "/nonexistent"]).env("VIDIMUS_OUTPUT", "json").output().unwrap());
    assert!(ran.err.starts_with("{\"because\"") || ran.err.starts_with("{\"error\""), "{ran:?}");
    let schema = run(&["policy", "schema", "-o", "json"]).json();
    assert!(schema[""]["actions"]["invokeTool"].is_object(), "{schema}");
}

/// Attack: a plan, or the key of a ledger, that somebody else wrote, to write to the screen of whoever reads it.
#[test]
fn an_error_writes_nothing_to_a_terminal_that_steers_it() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name).display().to_string();
    write(directory.path(), "plan.yaml", "steps: [{tool: \"a\\e[31mRED\\e]0;title\\a\\u202e\"}]");
    let ran = run(&["policy", "plan", &at("plan.yaml")]);
    assert!(ran.code == Some(2) && ran.err.contains(r"a\u{1b}[31mRED\u{1b}]0;title"), "{ran:?}");
    assert!(!ran.err.contains(['\u{1b}', '\u{7}', '\u{202e}']), "{ran:?}");
    fs::create_dir_all(directory.path().join("data/ledger/keys")).unwrap();
    write(&directory.path().join("data/ledger/keys"), "checkpoint.vkey", "x\u{1b}[31my+00000000+AQAA\n");
    let ran = run(&["audit", "export", "--data", &at("data"), "--out", &at("none")]);
    assert!(ran.code == Some(2) && !ran.err.contains('\u{1b}'), "{ran:?}");
}
