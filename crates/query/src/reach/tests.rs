use std::fs;
use std::path::Path;

use serde_json::json;
use vidimus_core::resource::Object;

use super::*;

fn demo() -> State {
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/demo");
    State::new(vidimus_registry::load(&demo), "the demo".to_owned())
}

fn asked(question: &serde_json::Value) -> ReachQuestion {
    serde_json::from_value(question.clone()).expect("a question")
}

fn answer(question: &serde_json::Value) -> ReachAnswer {
    reach(&demo(), &asked(question)).expect("an answer")
}

/// Rows in a line each: outcome, who, what, any other of, permits, conditions, refusals.
fn lines(answer: &ReachAnswer) -> Vec<String> {
    let when = |all: &[When]| all.iter().map(|one| format!("{}? ", one.policy)).collect::<String>();
    let line = |row: &Reached| {
        let others: Vec<String> = row.any_other_of.iter().map(|one| format!("{one}/*")).collect();
        format!(
            "{} {} | {} | {}{} | {}{}| {}{}",
            row.outcome,
            row.action,
            row.principals.join(" "),
            row.resources.join(" "),
            others.join(" "),
            row.permits.iter().map(|one| format!("{one} ")).collect::<String>(),
            when(&row.permits_when),
            row.refusals.join(" "),
            when(&row.refusals_when),
        )
    };
    answer.reached.iter().map(line).collect()
}

#[test]
fn who_can_call_one_tool() {
    let found = answer(&json!({"resource": "Tool/finance/ledger/transfer"}));
    assert_eq!(
        lines(&found),
        [
            "conditional invokeTool | Agent/finance/invoice-bot | Tool/finance/ledger/transfer | finance/small-transfers? | "
        ]
    );
    assert!(found.reached[0].permits_when[0].when.contains("<= 10000"), "{found:?}");
    assert!(found.any());
    let everybody =
        demo().loaded.snapshot.objects().iter().filter(|one| matches!(one, Object::Agent(_))).count();
    assert_eq!((found.counts.always, found.counts.conditional, found.counts.never), (0, 1, everybody - 1));
    let all = answer(&json!({"resource": "Tool/finance/ledger/transfer", "never": true}));
    assert_eq!(all.reached.iter().map(|row| row.principals.len()).sum::<usize>(), everybody);
    let text = serde_json::to_string(&all).expect("JSON");
    assert_eq!(serde_json::from_str::<ReachAnswer>(&text).expect("read"), all);
}

#[test]
fn what_one_agent_can_call() {
    let found = answer(&json!({"principal": "Agent/finance/risky-bot"}));
    assert_eq!(
        lines(&found),
        [
            "always connectServer | Agent/finance/risky-bot | MCPServer/finance/ledger | | ",
            "always readResource | Agent/finance/risky-bot | MCPServer/finance/ledger/* | finance/finance-documents | ",
            "always getPrompt | Agent/finance/risky-bot | MCPServer/finance/ledger/* | finance/finance-documents | ",
            "always connectServer | Agent/finance/risky-bot | MCPServer/platform/everything | | ",
            "always invokeTool | Agent/finance/risky-bot | Tool/platform/everything/echo | platform/harmless-tools | ",
            "always connectServer | Agent/finance/risky-bot | MCPServer/platform/files | | ",
            "always invokeTool | Agent/finance/risky-bot | Tool/platform/files/list_allowed_directories Tool/platform/files/list_directory | platform/files-read | ",
            "always listModels | Agent/finance/risky-bot | LLMProvider/platform/claude-simulator | | ",
            "always callModel | Agent/finance/risky-bot | Model/platform/claude-simulator/simulator-small Model/platform/simulator/simulator-small | platform/small-models | ",
            "always listModels | Agent/finance/risky-bot | LLMProvider/platform/simulator | | ",
        ],
        "{found:#?}"
    );
}

#[test]
fn what_cannot_be_asked_says_why() {
    let said =
        |question: serde_json::Value| reach(&demo(), &asked(&question)).expect_err("misasked").to_string();
    for (question, part) in [
        (json!({}), "name who calls or what is called"),
        (json!({"principal": "Agent/finance/none"}), "no Agent finance/none is registered"),
        (json!({"resource": "Tool/finance/none/x"}), "no MCPServer finance/none is registered"),
        (json!({"resource": "Agent/finance/risky-bot"}), "has no endpoint"),
        (json!({"principal": "Agent/finance/echo", "action": "invokeTols"}), "did you mean invokeTool?"),
        (json!({"resource": "Tool/finance/ledger/x", "action": "callAgent"}), "nothing of the resource"),
    ] {
        assert!(said(question.clone()).contains(part), "{question}: {}", said(question.clone()));
    }
    for wrong in [json!({"principal": "bot"}), json!({"resources": "Tool/a/b/c"})] {
        assert!(serde_json::from_value::<ReachQuestion>(wrong.clone()).is_err(), "{wrong}");
    }
}

/// Two agents that claim one identity call nothing, and it is said why.
#[test]
fn who_proves_nothing_calls_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let agent = |name: &str, subject: &str| {
        format!(
            "apiVersion: vidimus.dev/v1alpha1\nkind: Agent\nmetadata: {{name: {name}, namespace: a}}\nspec: {{owner: \
             ada.l@example.com, team: t, purpose: p, riskLevel: low, endpoint: {{url: \"http://127.0.0.1:1/\"}}, identities: \
             [{{oidc: {{issuer: \"urn:vidimus:local\", subject: {subject}}}}}]}}\n---\n"
        )
    };
    let policy = "apiVersion: vidimus.dev/v1alpha1\nkind: Policy\nmetadata: {name: p, namespace: a}\nspec: {description: d, cedar: \
                  'permit (principal, action, resource);'}\n";
    let text = [agent("one", "s"), agent("two", "s"), agent("three", "t"), policy.to_owned()].concat();
    fs::write(directory.path().join("a.yaml"), text).expect("written");
    let state = State::new(vidimus_registry::load(directory.path()), String::new());
    let question = asked(&json!({"resource": "Agent/a/three", "action": "callAgent", "never": true}));
    let found = reach(&state, &question).expect("an answer");
    assert_eq!(
        lines(&found),
        [
            "always callAgent | Agent/a/three | Agent/a/threeAgent/a/three/* | a/p | ",
            "never callAgent | Agent/a/one | Agent/a/threeAgent/a/three/* | | ",
            "never callAgent | Agent/a/two | Agent/a/threeAgent/a/three/* | | ",
        ],
        "{found:#?}"
    );
    assert!(found.reached[1].reason.as_ref().is_some_and(|why| why.contains("claim")), "{found:#?}");
}
