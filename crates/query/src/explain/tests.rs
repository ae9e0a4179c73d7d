use std::fs;
use std::path::Path;

use serde_json::json;

use super::*;
use crate::recordings::estate;

fn state(directory: &Path) -> State {
    State::new(vidimus_registry::load(directory), "the directory".to_owned())
}

fn asked(principal: &str, resource: &str, user: Option<&str>) -> ExplainQuestion {
    let question = json!({"principal": principal, "resource": resource, "user": user});
    serde_json::from_value(question).expect("a question")
}

fn answer_in(directory: &Path, question: &ExplainQuestion) -> Explanation {
    explain(&state(directory), question, UnixMillis(0)).expect("an answer")
}

#[test]
fn what_the_gateway_refuses_without_a_policy_is_refused_with_its_code() {
    const BOT: &str = "Agent/finance/invoice-bot";
    const GET: &str = "Tool/finance/ledger/get_invoice";
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/demo");
    for (principal, resource, user, code) in [
        (BOT, GET, None, None),
        (BOT, GET, Some("urn:vidimus:local#grace@example.com"), None),
        (BOT, GET, Some("https://other.example#grace"), Some("user_not_allowed")),
        (BOT, GET, Some("urn:vidimus:local#risky-bot"), Some("credential_ambiguous")),
        ("Agent/finance/risky-bot", GET, Some("urn:vidimus:local#grace"), Some("user_not_allowed")),
        ("Agent/finance/risky-bot", GET, None, Some("no_permit")),
        (BOT, "Model/platform/simulator/simulator-small", None, None),
        (BOT, "Model/platform/simulator/nope", None, Some("resource_unknown")),
        (BOT, "Model/platform/nope/simulator-small", None, Some("resource_unknown")),
        (BOT, "Agent/finance/risky-bot", None, Some("resource_unknown")),
        (BOT, "Skill/finance/risky-bot/sum", None, Some("resource_unknown")),
        (BOT, "Tool/finance/nope/get_invoice", None, Some("resource_unknown")),
    ] {
        let question = asked(principal, resource, user);
        let answer = answer_in(&demo, &question);
        assert_eq!(answer.code.as_deref(), code, "{question:?} {answer:?}");
        assert_eq!(answer.allowed(), code.is_none(), "{question:?} {answer:?}");
        assert_eq!(answer.next.is_empty(), code.is_none(), "{question:?} {answer:?}");
        assert_eq!(answer.state.of, "the directory");
        // Both are data: what another program gets is what this one has.
        let sent = serde_json::to_string(&(&question, &answer)).expect("JSON");
        assert_eq!(
            serde_json::from_str::<(ExplainQuestion, Explanation)>(&sent).expect("read"),
            (question, answer)
        );
    }
}

#[test]
fn a_service_is_also_known_by_its_kind_of_object() {
    for text in ["Service/a/b", "ServiceIdentity/a/b"] {
        assert_eq!(entity(text), Ok(EntityId::new(EntityKind::Service, "a/b")));
    }
    for text in ["ServiceIdentity/", "Robot/a/b", "a/b"] {
        assert_eq!(entity(text), Err(NoEntity), "{text}");
    }
}

#[test]
fn what_cannot_be_asked_says_what_to_write() {
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/demo");
    let question = asked("Agent/finance/invoice-bot", "Tool/finance/ledger/get_invoice", None);
    let with = |change: fn(&mut ExplainQuestion)| {
        let mut question = question.clone();
        change(&mut question);
        explain(&state(&demo), &question, UnixMillis(0)).expect_err("misasked").to_string()
    };
    assert!(with(|it| it.args = "[1]".to_owned()).contains("a JSON object"));
    assert!(with(|it| it.args = "{\"a\":1,\"a\":2}".to_owned()).contains("not acceptable JSON"));
    assert!(with(|it| it.principal = it.resource.clone()).contains("an Agent or a Service"));
    assert!(
        with(|it| it.resource = entity("Service/a/b").expect("an entity"))
            .contains("nothing calls a Service")
    );
    assert!(
        with(|it| it.resource = entity("Tool/a/b").expect("an entity")).contains("namespace/server/tool")
    );
    for wrong in [
        json!({"principal": "bot", "resource": "Tool/a/b/c"}),
        json!({"principal": "Agent/a/b", "resource": "Tool/a/b/c", "user": "ada"}),
        json!({"principal": "Agent/a/b", "resource": "Tool/a/b/c", "argument": "{}"}),
    ] {
        assert!(serde_json::from_value::<ExplainQuestion>(wrong.clone()).is_err(), "{wrong}");
    }
}

/// What collides is said to, with where it is and what to do about it.
#[test]
fn what_is_contested_is_not_said_to_be_unregistered() {
    let directory = tempfile::tempdir().expect("done");
    let write = |file: &str, kind: &str, name: &str, spec: &str| {
        let text = format!(
            "apiVersion: vidimus.dev/v1alpha1\nkind: {kind}\nmetadata: {{namespace: t, name: {name}}}\n\
             spec: {{owner: ada.lovelace@example.com, team: t, riskLevel: low, {spec}}}\n"
        );
        fs::write(directory.path().join(file), text).expect("done");
    };
    let agent = |subject: &str| {
        format!("purpose: x, identities: [{{oidc: {{issuer: 'urn:vidimus:local', subject: {subject}}}}}]")
    };
    let server = "endpoint: {url: 'http://127.0.0.1:1/mcp'}";
    write(
        "bot.yaml",
        "Agent",
        "bot",
        &format!("{}, actsFor: [{{issuer: 'urn:vidimus:local'}}]", agent("bot")),
    );
    write("one.yaml", "Agent", "one", &agent("same"));
    write("other.yaml", "Agent", "other", &agent("same"));
    write("a.yaml", "MCPServer", "tools", server);
    write("b.yaml", "MCPServer", "tools", server);
    write("c.yaml", "Agent", "twice", &agent("x"));
    write("d.yaml", "Agent", "twice", &agent("y"));
    let ask = |resource, user: Option<&'static str>| {
        answer_in(directory.path(), &asked("Agent/t/bot", resource, user))
    };
    for (answer, code, named) in [
        (ask("Tool/t/tools/x", None), "name_contested", ["a.yaml", "b.yaml"]),
        (ask("Agent/t/twice", None), "name_contested", ["c.yaml", "d.yaml"]),
        (
            ask("Tool/t/tools/x", Some("urn:vidimus:local#same")),
            "identity_contested",
            ["Agent t/one (", "Agent t/other ("],
        ),
    ] {
        assert_eq!(answer.code.as_deref(), Some(code), "{answer:?}");
        assert!(named.iter().all(|name| answer.reason.contains(name)), "{answer:?}");
        assert!(answer.next.contains("rename"), "{answer:?}");
    }
    let state = state(directory.path());
    let twice = "Agent/t/twice".parse().expect("done");
    let said = principal(&state, &twice).expect_err("misasked").to_string();
    assert!(["c.yaml", "d.yaml", "rename one"].iter().all(|part| said.contains(part)), "{said}");
    let none = principal(&state, &"Agent/t/none".parse().expect("done")).expect_err("misasked").to_string();
    assert_eq!(none, "principal Agent/t/none: no Agent t/none is registered");
}

/// What would turn an outcome is little, and said with what it is now.
#[test]
fn the_smallest_set_of_facts_turns_the_outcome() {
    const PAY: &str = "Tool/finance/ledger/transfer";
    const GET: &str = "Tool/finance/ledger/get_invoice";
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/demo");
    let said = |principal: &str, resource: &str, args: &str, depth: u8| {
        let mut question = asked(principal, resource, None);
        (question.args, question.depth) = (args.to_owned(), depth);
        let answer = answer_in(&demo, &question);
        let of = |would: &WouldChange| {
            let facts = would.facts.iter().map(|fact| {
                let from = fact.from.as_ref().map(|from| format!(" from {from}")).unwrap_or_default();
                format!("{} to {}{from}", fact.fact, fact.to)
            });
            format!("{}: {}", would.outcome, facts.collect::<Vec<_>>().join(" and "))
        };
        answer.would_change.iter().map(of).collect::<Vec<_>>()
    };
    let (bot, risky, stranger) =
        ("Agent/finance/invoice-bot", "Agent/finance/risky-bot", "Agent/marketing/stranger");
    for (principal, resource, args, depth, expected) in [
        (
            bot,
            PAY,
            r#"{"amount": 20000}"#,
            1,
            vec![r#"allow: context.numbers["/amount"] to 10000 from 20000"#],
        ),
        (bot, PAY, "{}", 1, vec![r#"allow: context.numbers["/amount"] to 10000 from absent"#]),
        (bot, GET, "{}", 4, vec!["allow: context.delegation_depth to 3 from 4"]),
        (risky, GET, "{}", 1, vec!["allow: principal.risk_level to low from high"]),
        (
            risky,
            GET,
            "{}",
            4,
            vec!["allow: principal.risk_level to low from high and context.delegation_depth to 3"],
        ),
        // A group of another namespace cannot be joined, and nobody becomes another one.
        (stranger, GET, "{}", 1, vec![]),
        (risky, PAY, r#"{"amount": 1}"#, 1, vec!["allow: resource in ToolSet::finance/finance-readonly"]),
        (
            bot,
            PAY,
            r#"{"amount": 1}"#,
            1,
            vec![
                r#"deny: context.numbers["/amount"] to 10001 from 1"#,
                r#"deny: context.numbers["/amount"] to absent from 1"#,
            ],
        ),
    ] {
        let found = said(principal, resource, args, depth);
        if principal == risky && resource == PAY {
            // Its risk, and the set of the tool.
            assert_eq!(found.len(), 1, "{found:?}");
            assert!(
                found[0].contains("principal.risk_level to low") && found[0].contains("ToolSet"),
                "{found:?}"
            );
            continue;
        }
        let mut found = found;
        found.sort();
        assert_eq!(found, expected, "{principal} {resource} {args} {depth}");
    }
}

/// Who calls at another time is told of the window, and when it opens.
#[test]
fn a_call_out_of_its_window_is_explained_by_it() {
    let estate = estate(
        "office",
        "window: {zone: Europe/Berlin, hours: {from: 9, until: 17}}\n\
         cedar: permit (principal, action == Action::\"invokeTool\", resource);",
    );
    let directory = tempfile::tempdir().expect("a directory");
    fs::write(directory.path().join("a.yaml"), estate).expect("written");
    let state = state(directory.path());
    let question = asked("Agent/a/bot", "Tool/a/bank/pay", None);
    // 1970-01-01 is before what is known of the zone; this is 2026-11-30T18:00:00Z.
    let answer = explain(&state, &question, UnixMillis(1_796_061_600_000)).expect("an answer");
    assert_eq!(answer.code.as_deref(), Some("no_permit"));
    assert_eq!(
        answer.reason,
        "a/office permits it within its window alone (09:00 to 17:00 in Europe/Berlin), which opens next at 2026-12-01T08:00:00.000Z"
    );
    assert!(answer.next.contains("window"), "{answer:?}");
    assert!(answer.would_change.is_empty(), "{answer:?}");
}

/// One copy may be told apart from its siblings, and what passes while its namespace observes from what is permitted.
#[test]
fn a_copy_and_a_rollout_are_explained() {
    const ONE: &str = "778a530c-b3f4-47c0-9cd5-ab018fb64f33";
    let estate = format!(
        r#"
apiVersion: vidimus.dev/v1alpha1
kind: Agent
metadata: {{namespace: t, name: bot}}
spec: {{owner: ada.lovelace@example.com, team: t, purpose: x, riskLevel: low, identities: [{{serviceAccount: {{name: bot}}}}]}}
---
apiVersion: vidimus.dev/v1alpha1
kind: MCPServer
metadata: {{namespace: t, name: tools}}
spec: {{owner: ada.lovelace@example.com, team: t, riskLevel: low, endpoint: {{url: "http://127.0.0.1:1/mcp"}}}}
---
apiVersion: vidimus.dev/v1alpha1
kind: Policy
metadata: {{namespace: t, name: rules}}
spec:
  description: All but one copy.
  cedar: |
    permit (principal, action == Action::"invokeTool", resource == Tool::"t/tools/get");
    forbid (principal, action, resource) when {{ context has instance && context.instance.id == "{ONE}" }};
---
apiVersion: vidimus.dev/v1alpha1
kind: Policy
metadata: {{namespace: t, name: rollout}}
spec:
  description: Until 1971.
  mode: rollout
  window: {{until: "1971-01-01T00:00:00Z"}}
  cedar: permit (principal, action, resource);
"#
    );
    let directory = tempfile::tempdir().expect("a directory");
    fs::write(directory.path().join("a.yaml"), estate).expect("written");
    for (tool, instance, code, would) in [
        ("get", None, None, None),
        ("get", Some("another"), None, None),
        ("get", Some(ONE), Some("forbidden_by_policy"), None),
        ("put", None, None, Some("no_permit")),
        ("put", Some(ONE), Some("forbidden_by_policy"), None),
    ] {
        let question = ExplainQuestion {
            instance: instance.map(str::to_owned),
            ..asked("Agent/t/bot", &format!("Tool/t/tools/{tool}"), None)
        };
        let answer = answer_in(directory.path(), &question);
        let said = (answer.code.as_deref(), answer.would_refuse.as_deref());
        assert_eq!(said, (code, would), "{tool} {instance:?} {answer:?}");
    }
}

/// What is called at a server with members is explained as what is decided: the member's, unless policies let nothing come by the server.
#[test]
fn what_is_called_at_a_server_with_members_is_explained_as_its_members() {
    let estate = |more: &str| {
        format!(
            r#"
apiVersion: vidimus.dev/v1alpha1
kind: Agent
metadata: {{namespace: t, name: bot}}
spec: {{owner: ada.lovelace@example.com, team: t, purpose: x, riskLevel: low, identities: [{{serviceAccount: {{name: bot}}}}]}}
---
apiVersion: vidimus.dev/v1alpha1
kind: MCPServer
metadata: {{namespace: t, name: ledger}}
spec: {{owner: ada.lovelace@example.com, team: t, riskLevel: low, endpoint: {{url: "http://127.0.0.1:1/mcp"}}}}
---
apiVersion: vidimus.dev/v1alpha1
kind: MCPServer
metadata: {{namespace: t, name: desk}}
spec: {{owner: ada.lovelace@example.com, team: t, riskLevel: low, members: [{{name: books, server: {{name: ledger}}}}, {{name: gone, server: {{name: gone}}}}]}}
---
apiVersion: vidimus.dev/v1alpha1
kind: Policy
metadata: {{namespace: t, name: rules}}
spec:
  description: One tool.
  cedar: |
    permit (principal, action == Action::"invokeTool", resource == Tool::"t/ledger/get");
    {more}
"#
        )
    };
    let bar = r#"forbid (principal, action == Action::"connectServer", resource == MCPServer::"t/desk");"#;
    for (more, resource, code, decided) in [
        ("", "Tool/t/desk/books__get", None, Some("Tool/t/ledger/get")),
        ("", "Tool/t/desk/books__put", Some("no_permit"), Some("Tool/t/ledger/put")),
        ("", "Tool/t/ledger/get", None, None),
        ("", "Tool/t/desk/get", Some("resource_unknown"), None),
        ("", "Tool/t/desk/gone__get", Some("resource_unknown"), None),
        ("", "Resource/t/desk/books+file:///x", Some("no_permit"), Some("Resource/t/ledger/file:///x")),
        (bar, "Tool/t/desk/books__get", Some("forbidden_by_policy"), Some("MCPServer/t/desk")),
        (bar, "Tool/t/ledger/get", None, None),
    ] {
        let directory = tempfile::tempdir().expect("a directory");
        fs::write(directory.path().join("a.yaml"), estate(more)).expect("written");
        let answer = answer_in(directory.path(), &asked("Agent/t/bot", resource, None));
        let said = (answer.code.as_deref(), answer.resource.as_deref());
        assert_eq!(said, (code, decided), "{resource} {more} {answer:?}");
    }
}

/// What refuses until guards have looked is not the last word, and what a server says of its tools is nobody's here.
#[test]
fn what_is_looked_at_with_the_call_alone_is_named() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/guards");
    let answer = answer_in(&examples, &asked("Agent/web/researcher", "Tool/web/search/find", None));
    assert_eq!(answer.outcome, "deny");
    let [said] = &answer.not_looked_at[..] else { panic!("{answer:?}") };
    for part in ["secrets", "web/outside/ours", "web/outside/dlp", "allow where none of them finds anything"]
    {
        assert!(said.contains(part), "{said}");
    }
    assert!(answer.next.contains("Make the call"), "{answer:?}");
    let dir = tempfile::tempdir().expect("a directory");
    let text = fs::read_to_string(examples.join("search.yaml")).expect("the example");
    let (records, _) = text.split_once("kind: Policy").expect("a policy");
    let pinned = records
        .replace("  riskLevel: medium\n", "  riskLevel: medium\n  integrity: {unpinned: firstSight}\n");
    let permit = "kind: Policy\nmetadata: {name: all, namespace: web}\nspec: {description: d, cedar: 'permit (principal, action, resource);'}\n";
    fs::write(dir.path().join("all.yaml"), format!("{pinned}{permit}")).expect("written");
    let answer = answer_in(dir.path(), &asked("Agent/web/researcher", "Tool/web/search/find", None));
    assert!(answer.allowed() && answer.not_looked_at[0].contains("spec.integrity"), "{answer:?}");
}
