//! What a policy has records keep, read and destroyed by command: of a gateway that runs, and of one that is stopped.

use super::gateway::{Gateway, upstream_that_hangs_up};
use super::{Ran, policy, run, write};

const KEEPS: &str = r#"@keep("arguments, answer") permit (principal == Agent::"a/bot", action == Action::"invokeTool", resource == Tool::"a/tools/get");"#;
const WHOSE: &str = "Agent/a/bot";

/// The id of the newest call whose record keeps something.
fn kept(data: &str) -> Option<String> {
    let found = run(&[
        "audit",
        "search",
        "--data",
        data,
        "--kind",
        "decision",
        "--oldest-first",
        "--limit",
        "0",
        "-o",
        "json",
    ]);
    let records = found.out.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let kept = records.filter(|one| one["record"].get("kept").or_else(|| one.get("kept")).is_some());
    let id = |one: serde_json::Value| {
        let id = one["record"].get("id").or_else(|| one.get("id"))?;
        Some(id.as_str()?.to_owned())
    };
    kept.filter_map(id).next_back()
}

fn calls(gateway: &Gateway) -> String {
    let (token, data) = (gateway.token(), gateway.path("data"));
    let before = kept(&data);
    gateway.wait("kept", |gateway| {
        gateway.call(Some(&token));
        kept(&data).is_some_and(|id| before.as_ref() != Some(&id))
    });
    kept(&data).unwrap()
}

fn shown(data: &str, id: &str) -> Ran {
    let ran = run(&["audit", "show", id, "--data", data, "--payload"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    ran
}

#[test]
fn what_is_kept_is_read_until_it_is_shredded_by_a_gateway_that_runs_or_by_command() {
    let gateway = Gateway::start(upstream_that_hangs_up());
    write(gateway.path("resources").as_ref(), "k.yaml", &policy("keeps", KEEPS));
    let data = gateway.path("data");
    let first = calls(&gateway);
    let ran = shown(&data, &first);
    assert!(ran.out.contains("arguments") && ran.out.contains("{}"), "{ran:?}");
    let plain = run(&["audit", "show", &first, "--data", &data]);
    assert!(plain.out.contains("key = ") && !plain.out.contains("sealed"), "{plain:?}");
    let json = run(&["audit", "show", &first, "--data", &data, "--payload", "-o", "json"]);
    assert!(json.out.contains(r#""state": "kept""#) || json.out.contains(r#""state":"kept""#), "{json:?}");

    let shred = |more: &[&str]| run(&[&["audit", "shred", "--data", &data], more].concat());
    for (words, says) in [
        (&["--why", "x"][..], "--person"),
        (&["--subject", WHOSE], "--why"),
        (&["--subject", WHOSE, "--why", " "], "--why"),
        (&["--subject", "MCPServer/a/tools", "--why", "x"], "payloads are kept for people"),
        (&["--subject", WHOSE, "--person", "i#x", "--why", "x"], "--person"),
        (&["--person", "ada@example.com", "--why", "x"], "'ada@example.com' is nobody: write issuer#subject"),
        (&["--subject", "User/ada@example.com", "--why", "x"], "payloads are kept for people"),
        (&["--person", "i#x", "--why", "x", "--admin", &gateway.admin], "nothing was destroyed"),
        (&["--subject", WHOSE, "--why", "x", "--admin", &gateway.admin, "--as", "eve"], "no policy permits"),
        (&["--subject", WHOSE, "--why", "x", "--ledger", &data], "--ledger"),
    ] {
        let ran = shred(words);
        assert_eq!(ran.code, Some(2), "{words:?}: {ran:?}");
        assert!(ran.err.contains(says), "{words:?}: {ran:?}");
    }
    let ran = shred(&["--subject", WHOSE, "--why", "request 4711", "--admin", &gateway.admin]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let ran = shown(&data, &first);
    assert!(ran.out.contains("shredded on ") && ran.out.contains("request 4711"), "{ran:?}");
    assert!(ran.out.contains("by User/urn:vidimus:local#admin"), "{ran:?}");

    // Whoever calls after it has another key.
    let second = calls(&gateway);
    assert!(!shown(&data, &second).out.contains("shredded"));
    let (directory, _) = gateway.stop();
    let ran = shred(&["--subject", WHOSE, "--why", "request 4712", "--by", "ada"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let ran = shown(&data, &second);
    assert!(ran.out.contains("by User/local#ada: request 4712"), "{ran:?}");
    let ran = shred(&["--subject", WHOSE, "--why", "again"]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(
        ran.err.contains("no key of Agent/a/bot is in") && ran.err.contains("nothing was destroyed"),
        "{ran:?}"
    );
    let ran = run(&["audit", "verify", "--forget", "--data", &data]);
    assert_eq!(ran.code, Some(0), "{ran:?}");

    // A key that went without an act is told from one that was destroyed.
    let gateway = Gateway::start_in(directory);
    let data = gateway.path("data");
    let third = calls(&gateway);
    let evidence = gateway.path("evidence.jsonl");
    let ran = run(&["audit", "export", "--data", &data, "--call", &third, "--out", &evidence]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(std::fs::read_to_string(&evidence).unwrap().contains("sealed"), "ciphertext alone");
    std::fs::remove_dir_all(gateway.path("data/payload-keys")).unwrap();
    let ran = shown(&data, &third);
    assert!(ran.out.contains("key missing") && !ran.out.contains("shredded on"), "{ran:?}");
    // One that cannot be read does not hide the call.
    let root = gateway.path("data/payload-keys");
    std::fs::write(&root, "in the way").unwrap();
    let ran = shown(&data, &third);
    assert!(ran.out.contains("unreadable") && ran.out.contains("payload-keys"), "{ran:?}");
    assert!(ran.out.contains("(decision)"), "{ran:?}");
    std::fs::remove_file(&root).unwrap();
    // Also where an act destroyed another key of the same person since.
    let gateway = Gateway::start_in(gateway.stop().0);
    let data = gateway.path("data");
    let fourth = calls(&gateway);
    let ran = run(&[
        "audit",
        "shred",
        "--data",
        &data,
        "--subject",
        WHOSE,
        "--why",
        "request 4713",
        "--admin",
        &gateway.admin,
    ]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let ran = shown(&data, &fourth);
    assert!(ran.out.contains("request 4713"), "{ran:?}");
    let ran = shown(&data, &third);
    assert!(ran.out.contains("key missing") && !ran.out.contains("4713"), "{ran:?}");
}
