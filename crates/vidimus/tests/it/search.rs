//! `audit search`, over a log with a refusal, a decision and its effect, between the gateway's start and its stop.

use super::gateway::{Gateway, damage, upstream_that_hangs_up};
use super::{policy, run, write};

#[test]
fn a_code_finds_refusals_and_effects_and_an_effect_says_who_asked_for_what() {
    let gateway = Gateway::start(upstream_that_hangs_up());
    let refused = gateway.call(None);
    assert!(refused.contains("vidimus-code: credential_missing"), "{refused}");
    let failed = gateway.call(Some(&gateway.token()));
    assert!(failed.contains("vidimus-code: upstream_interrupted"), "{failed}");
    let (directory, _) = gateway.stop();
    let data = directory.path().join("data").display().to_string();
    let kinds = |flags: &str| {
        let words: Vec<&str> = ["audit", "search", "-o", "json", "--data", &data]
            .into_iter()
            .chain(flags.split_whitespace())
            .collect();
        let ran = run(&words);
        assert_eq!(ran.code, Some(0), "{flags}: {ran:?}");
        let rows = ran.out.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        (rows.map(|row| row["kind"].as_str().unwrap().to_owned()).collect::<Vec<_>>().join(" "), ran.err)
    };
    for (flags, expected) in [
        ("", "decision refusal"),
        ("--kind all", "act effect decision refusal act"),
        ("--kind all --oldest-first", "act refusal decision effect act"),
        ("--kind all --limit 2", "act effect"),
        ("--code upstream_interrupted", "effect"),
        ("--code upstream_interrupted --oldest-first", "effect"),
        ("--code credential_missing", "refusal"),
        ("--code upstream_interrupted --kind decided", ""),
        ("--code upstream_interrupted --principal a/bot --resource get", "effect"),
        ("--code upstream_interrupted --principal a/bot --oldest-first", "effect"),
        ("--code upstream_interrupted --principal a/other", ""),
        ("--code upstream_interrupted --principal a/other --oldest-first", ""),
        ("--outcome failed --agent bot", "effect"),
        ("--outcome ok", ""),
        ("--outcome ok --oldest-first", ""),
        ("--kind all --agent bot", "effect decision"),
        ("--code upstream_timeout", ""),
        ("--since 1h30m", "decision refusal"),
        ("--since 2020-01-01 --until 2020-01-02", ""),
    ] {
        assert_eq!(kinds(flags).0, expected, "{flags}");
    }
    let (_, said) = kinds("--principal a/nobody");
    assert!(said.contains("no record at all has the --principal a/nobody"), "{said}");
    let (_, said) = kinds("--principal a/bot --outcome deny");
    assert!(!said.contains("no record at all"), "{said}");

    let effect = run(&["audit", "search", "-o", "json", "--data", &data, "--outcome", "failed"]).json();
    assert_eq!(effect["decided"]["principal"], "Agent/a/bot", "{effect}");
    assert_eq!(effect["decided"]["resource"], "Tool/a/tools/get", "{effect}");
    let table = run(&["audit", "search", "--data", &data, "--code", "upstream_interrupted"]).out;
    for column in ["KIND", "effect", "Agent/a/bot", "Tool/a/tools/get", "failed", "upstream_interrupted"] {
        assert!(table.contains(column), "{column}:\n{table}");
    }
    damage(std::path::Path::new(&data));
    let ran = run(&["audit", "search", "--data", &data, "--kind", "all"]);
    assert_eq!((ran.code, ran.err.matches("is damaged").count()), (Some(1), 1), "{ran:?}");
}

/// What can be read of a damaged log is shown, with what cannot, and with the status that says so.
#[test]
fn a_call_is_shown_from_what_can_be_read_of_a_damaged_log() {
    let gateway = Gateway::start(upstream_that_hangs_up());
    let refused = gateway.call(None);
    let failed = gateway.call(Some(&gateway.token()));
    let id = |answer: &str| {
        let line = answer.lines().find_map(|line| line.strip_prefix("vidimus-call: "));
        line.unwrap_or_else(|| panic!("{answer}")).trim().to_owned()
    };
    let (first, second) = (id(&refused), id(&failed));
    let (directory, _) = gateway.stop();
    let data = directory.path().join("data").display().to_string();
    let show = |id: &str, more: &[&str]| run(&[&["audit", "show", "--data", &data, id], more].concat());
    let whole = show(&second, &[]);
    assert_eq!((whole.code, whole.err.as_str()), (Some(0), ""), "{whole:?}");
    // By the names that the members have, and that the flags of `audit search` have.
    for line in [
        "record 2 (decision)",
        "principal       Agent/a/bot",
        "resource        Tool/a/tools/get",
        "outcome         allow",
        "record 3 (effect)",
        "code            upstream_interrupted",
        "proven against the latest checkpoint",
    ] {
        assert!(whole.out.contains(line), "{line}:\n{}", whole.out);
    }
    damage(std::path::Path::new(&data));
    let ran = show(&first, &[]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.out.contains("record 1 (refusal)") && ran.out.contains("credential_missing"), "{ran:?}");
    assert_eq!(ran.err.matches("is damaged").count(), 1, "{ran:?}");
    let ran = show(&first, &["-o", "json"]);
    assert_eq!((ran.code, &ran.json()["record"]["code"]), (Some(1), &"credential_missing".into()), "{ran:?}");
    // Hashes that lie beside the records lead to what is signed, damaged or not.
    assert!(ran.json()["unproven"].is_null() && ran.json()["proof"].is_string(), "{ran:?}");
    let ran = show(&second, &[]);
    let says = ran.err.contains("in what can be read of") || ran.out.contains("record 2 (decision)");
    assert!(says && ran.err.contains("is damaged"), "{ran:?}");
    let ran = show("nobody", &["-o", "json"]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    // Without the log's own key nothing is proven, and all is shown.
    std::fs::remove_file(format!("{data}/ledger/keys/checkpoint.vkey")).unwrap();
    let ran = show(&first, &[]);
    assert!(ran.code == Some(1) && ran.out.contains("public key cannot be used"), "{ran:?}");
}

/// A policy that is only tried decides nothing, and is found by what it would have changed.
#[test]
fn what_a_tried_policy_would_change_is_found_by_its_name() {
    let gateway = Gateway::start(upstream_that_hangs_up());
    let trial =
        policy("trial", "forbid (principal, action, resource);").replace("spec:", "spec:\n  mode: observe");
    write(std::path::Path::new(&gateway.path("resources")), "d.yaml", &trial);
    let (token, data) = (gateway.token(), gateway.path("data"));
    let search = |policy: &str| run(&["audit", "search", "-o", "json", "--data", &data, "--policy", policy]);
    gateway.wait("tried", |gateway| {
        gateway.call(Some(&token));
        !search("a/trial").out.is_empty()
    });
    let ran = search("trial");
    let first: serde_json::Value = serde_json::from_str(ran.out.lines().next().unwrap()).unwrap();
    assert_eq!((&first["outcome"], &first["observed"][0]["policy"]), (&"allow".into(), &"a/trial".into()));
    assert!(search("a/other").err.contains("no record at all"));
}

/// What is too little for a file is no reason to think that nothing is found.
#[test]
fn an_index_says_what_it_has_and_what_is_read_from_the_ledger() {
    let gateway = Gateway::start(1);
    gateway.call(None);
    let (directory, _) = gateway.stop();
    let data = directory.path().join("data").display().to_string();
    let ran = run(&["audit", "index", "--data", &data]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(
        ran.out.starts_with("0 records are in the index, 0 of them new\nthe newest 3 are in no file yet"),
        "{ran:?}"
    );
    assert!(ran.out.contains("4096"), "{ran:?}");
    // What can be nothing is refused by all, and 0 is all for all.
    for command in ["search", "stats"] {
        let ran = run(&["audit", command, "--data", &data, "--since", "2h", "--until", "3h"]);
        assert!(ran.code == Some(2) && ran.err.contains("is not before until"), "{command}: {ran:?}");
    }
    let ran = run(&[
        "audit",
        "sql",
        "--data",
        &data,
        "--limit",
        "0",
        "-o",
        "json",
        "SELECT kind FROM records WHERE kind = 'refusal'",
    ]);
    assert_eq!((ran.code, ran.json()["kind"].as_str()), (Some(0), Some("refusal")), "{ran:?}");
    let told = run(&["audit", "index", "--data", &data, "-o", "json"]).json();
    assert_eq!(
        (&told["first"], &told["records"], &told["newer"]),
        (&0.into(), &0.into(), &3.into()),
        "{told}"
    );
}
