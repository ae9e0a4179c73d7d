use std::path::Path;

use super::*;

#[test]
fn the_tree_is_tidy() {
    let complaints = tidy(root()).unwrap();
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[test]
fn a_new_arrow_is_noticed() {
    let check = |name: &str, dependency: &str, kind: Option<&str>| {
        let metadata = serde_json::json!({"packages": [
            {"name": name, "dependencies": [{"name": dependency, "kind": kind, "path": "/x"}, {"name": "serde", "kind": null}]},
        ]});
        arrows::complaints(&serde_json::from_value(metadata).unwrap()).len()
    };
    assert_eq!(check("vidimus-gateway", "vidimus-ledger", None), 0);
    assert_eq!(check("vidimus-gateway", "vidimus-testkit", Some("dev")), 0);
    assert_eq!(check("vidimus-gateway", "vidimus-testkit", None), 1);
    assert_eq!(check("vidimus-core", "vidimus-identity", None), 1);
    assert_eq!(check("vidimus-core", "vidimus-registry", Some("dev")), 1);
    assert_eq!(check("vidimus-assess", "vidimus-core", None), 1);
}

#[test]
fn long_files_and_functions_are_noticed() {
    let check = |path: &str, text: &str| sizes::check_text(Path::new(path), text).unwrap();
    let function =
        |lines: usize| format!("/// Doc.\nfn f() {{\n{}}}\n", "    let _ = 1;\n".repeat(lines - 2));
    assert_eq!(check("a.rs", &function(80)), [""; 0]);
    assert_eq!(check("a.rs", &function(81)), ["a.rs:2: fn f has 81 lines, at most 80"]);
    assert_eq!(check("a.rs", &format!("struct S;\nimpl S {{\n{}}}", function(81))).len(), 1);
    assert_eq!(check("a/tests.rs", &function(81)), [""; 0]);
    let many = "fn f() {}\n".repeat(501);
    assert_eq!(check("a.rs", &many), ["a.rs: 501 lines without tests, at most 500"]);
    assert_eq!(check("a.rs", &format!("#[cfg(test)]\nmod tests {{\n{many}}}")), [""; 0]);
    assert_eq!(check("a/tests/it/b.rs", &many), [""; 0]);
}

#[test]
fn names_that_say_nothing_are_noticed() {
    for (path, complaints) in [
        ("crates/core/src/entity.rs", 0),
        ("crates/core/src/util.rs", 1),
        ("crates/core/src/json_helpers.rs", 1),
        ("crates/core/src/common/mod.rs", 1),
        ("crates/core/src/communicate.rs", 0),
    ] {
        assert_eq!(sizes::check_name(Path::new(path)).len(), complaints, "{path}");
    }
}

#[test]
fn an_example_that_does_not_load_is_noticed() {
    assert_eq!(examples::check_directory(&root().join("crates/core/src/decide")).len(), 1, "no resource");
    // The table of bad objects is no resource at all.
    assert!(!examples::check_directory(&root().join("crates/core/src/resource/cases")).is_empty());
}

#[test]
fn generated_yaml_reads_back_as_it_was_written() {
    for crd in vidimus_core::resource::crds() {
        let text = serde_saphyr::to_string(&crd).unwrap();
        let read: serde_json::Value = serde_saphyr::from_str(&text).unwrap();
        assert_eq!(read, serde_json::to_value(&crd).unwrap());
    }
}

#[test]
fn a_name_that_the_page_on_policies_leaves_out_is_noticed() {
    let schema = "entity Team, Group;\nentity Agent in [Team] { owner: String, risk?: Long } tags String;\n\
        action call, ask in [mcp] appliesTo { principal: Agent };\n// nothing: here";
    let all = "Team Group Agent owner risk call ask principal";
    assert_eq!(vocabulary::complaints(all, schema), [""; 0]);
    for name in all.split(' ') {
        let page = all.replace(name, "");
        let complaints = vocabulary::complaints(&page, schema);
        assert!(complaints.iter().any(|complaint| complaint.contains(name)), "{name}: {complaints:?}");
    }
    assert_eq!(vocabulary::complaints(&format!("{all}\n```cedar\npermit (x);\n```"), schema).len(), 1);
}

#[test]
fn a_dashboard_that_asks_for_a_metric_that_is_not_there_is_noticed() {
    let good = "sum by (code) (rate(vidimus_decisions_total[5m])) + vidimus_call_duration_seconds_bucket{le=\"1.0\"} vidimus-calls\
        + gen_ai_client_token_usage_sum{gen_ai_token_type=\"input\"}";
    assert!(metrics::unknown(good).is_empty());
    for bad in [
        "vidimus_decisions",
        "vidimus_call_duration_seconds",
        "vidimus_streams_total",
        "vidimus_:x",
        "vidimus_denied_total",
        "gen_ai_client_token_usage",
        "mcp_client_operation_duration_seconds_sum",
    ] {
        assert_eq!(metrics::unknown(&format!("rate({bad}[5m])")).into_iter().collect::<Vec<_>>(), [bad]);
    }
}

#[test]
fn a_path_that_is_not_there_is_noticed() {
    let missing = |text: &str| pages::missing(root(), "PAGE.md", text);
    for there in [
        "core/call.rs",
        "vidimus/cmd/serve/compose.rs",
        "xtask/src/arrows.rs",
        "crates/core/tests/it/oracle.rs",
    ] {
        assert_eq!(missing(&format!("in `{there}`, and so on")), [""; 0]);
    }
    assert_eq!(missing("`Ledger::decide_or`, `/mcp/{name}`, core/gone.rs\n```\na/b\n```"), [""; 0]);
    assert_eq!(missing("`core` `core/gone.rs`"), ["PAGE.md: `core/gone.rs` is not there"]);
    assert_eq!(missing("`crates/core/call.rs`"), ["PAGE.md: `crates/core/call.rs` is not there"]);
}

#[test]
fn a_page_that_is_too_long_and_an_adr_without_a_line_are_noticed() {
    assert_eq!(pages::too_long(&"word ".repeat(1_700)), None);
    let words = pages::too_long(&"word\n".repeat(1_701));
    assert_eq!(words.as_deref(), Some("ARCHITECTURE.md: 1701 words, at most 1700"));
    let unlisted = |page: &str| pages::unlisted(page, ["0001-a.md", "0002-b.md"].into_iter());
    assert_eq!(unlisted("| a | [1](0001-a.md), [2](0002-b.md) |"), [""; 0]);
    assert_eq!(unlisted("| a | [1](0001-a.md) | 0002-b.md"), ["docs/adr/README.md: does not have 0002-b.md"]);
}
