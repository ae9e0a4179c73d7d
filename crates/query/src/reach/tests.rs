use std::fs;
use std::path::Path;

use serde_json::json;
use vidimus_core::resource::Object;

use super::*;
use crate::recordings::estate;

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

/// Whom policies name, one of each group that they name, and all others; or one person with its groups.
#[test]
fn who_may_do_what_people_do() {
    let directory = tempfile::tempdir().expect("a directory");
    let text = r#"apiVersion: vidimus.dev/v1alpha1
kind: Policy
metadata: {name: people, namespace: ops}
spec:
  description: d
  scope: Cluster
  cedar: |
    @id("pay") permit (principal in UserGroup::"https://login.example#payers", action == Action::"approve", resource)
    when { context.role == "payers" };
    @id("soc") permit (principal == User::"https://login.example#sam", action in Action::"operate", resource);
    @id("see") permit (principal in UserGroup::"https://login.example#payers", action == Action::"read", resource == View::"ledger");
    @id("own") permit (principal, action == Action::"quarantine", resource is Agent)
    when { principal has email && principal.email == resource.owner };
---
apiVersion: vidimus.dev/v1alpha1
kind: Agent
metadata: {name: bot, namespace: a}
spec:
  {owner: ada.l@example.com, team: t, purpose: p, riskLevel: low, identities: [{oidc: {issuer: "urn:vidimus:local", subject: bot}}]}
"#;
    fs::write(directory.path().join("a.yaml"), text).expect("written");
    let state = State::new(vidimus_registry::load(directory.path()), String::new());
    assert!(state.loaded.rejections.is_empty(), "{:?}", state.loaded.rejections);
    let said = |question: serde_json::Value| lines(&reach(&state, &asked(&question)).expect("an answer"));
    let payers = "UserGroup/https://login.example#payers";
    assert_eq!(
        said(json!({"action": "approve", "resource": "Skill/a/bot/pay"})),
        [
            "always approve | User/https://login.example#sam | Skill/a/bot/pay | ops/people#soc | "
                .to_owned(),
            format!("conditional approve | {payers} | Skill/a/bot/pay | ops/people#pay? | "),
        ]
    );
    assert_eq!(
        said(json!({"action": "read"})),
        [format!("always read | {payers} | View/ledger | ops/people#see | ")]
    );
    // Ada may be her agent's owner, and is when her address is known.
    let ada = "User/https://login.example#ada";
    let quarantine = |more: serde_json::Value| {
        let mut question = json!({"principal": ada, "action": "quarantine"});
        question.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        said(question)
    };
    let row =
        |outcome: &str, how: &str| vec![format!("{outcome} quarantine | {ada} | Agent/a/bot | {how}| ")];
    assert_eq!(quarantine(json!({})), row("conditional", "ops/people#own? "));
    assert_eq!(quarantine(json!({"email": "ada.l@example.com"})), row("always", "ops/people#own "));
    assert_eq!(quarantine(json!({"email": "bob@example.com"})), Vec::<String>::new());
    let of_payers = said(json!({"principal": ada, "groups": ["payers"], "email": "x@example.com"}));
    assert_eq!(of_payers.len(), 2, "{of_payers:?}");
    assert!(
        of_payers[1].starts_with("always read | User/https://login.example#ada | View/ledger"),
        "{of_payers:?}"
    );
    let sam =
        reach(&state, &asked(&json!({"principal": "User/https://login.example#sam"}))).expect("an answer");
    let quarantines = sam.reached.iter().find(|row| row.action == "quarantine").expect("a row");
    for thing in ["User/*", "Identity/*", "Chain/*", "User/https://login.example#sam", "Agent/a/bot"] {
        assert!(
            sam.reached.iter().any(|row| row.resources.iter().any(|one| one == thing)),
            "{thing}: {sam:#?}"
        );
    }
    assert!(!quarantines.resources.iter().any(|one| one.starts_with("Skill/")), "{quarantines:#?}");
    for (question, part) in [
        (json!({"principal": "Agent/a/bot", "action": "approve"}), "people do this, and no workload"),
        (json!({"principal": ada, "action": "invokeTool"}), "no person does this"),
        (json!({"principal": ada, "action": "aprove"}), "did you mean approve?"),
        (json!({"principal": ada, "resource": "View/secrets"}), "nothing is shown by that name"),
        (json!({"principal": ada, "resource": "Agent/a/none"}), "not registered"),
        (json!({"action": "read", "resource": "Agent/a/bot"}), "(read) is done to it"),
        (json!({"principal": "UserGroup/x", "groups": ["y"]}), "it is of one person"),
        (json!({"resource": "Agent/a/bot", "email": "x"}), "it is of one person"),
    ] {
        let said = reach(&state, &asked(&question)).expect_err("misasked").to_string();
        assert!(said.contains(part), "{question}: {said}");
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

/// A window in a zone is said as a person says it, and is there as data; how the clocks change over fifty years is not told.
#[test]
fn a_window_is_said_in_words() {
    let directory = tempfile::tempdir().expect("a directory");
    let estate = estate(
        "office",
        "window: {zone: Europe/Berlin, days: [monday, tuesday, wednesday], hours: {from: 9, until: 17}}\n\
         cedar: |\n\
         \x20 permit (principal, action == Action::\"invokeTool\", resource == Tool::\"a/bank/pay\")\n\
         \x20 when { context.delegation_depth <= 3 };",
    );
    fs::write(directory.path().join("a.yaml"), estate).expect("written");
    let state = State::new(vidimus_registry::load(directory.path()), String::new());
    let found = reach(&state, &asked(&json!({"resource": "Tool/a/bank/pay"}))).expect("an answer");
    let when = &found.reached[0].permits_when[0];
    let told = ", within the window of a/office (monday to wednesday, 09:00 to 17:00 in Europe/Berlin)";
    assert!(when.when.contains("delegation_depth") && when.when.ends_with(told), "{}", when.when);
    let window = when.window.as_ref().expect("a window");
    assert_eq!(window.zone.as_deref(), Some("Europe/Berlin"));
    assert!(serde_json::to_string(&found).expect("JSON").len() < 4_096);
}

/// "Nobody" is no answer where a policy asks for two groups, or another asks for a second one.
#[test]
fn whoever_is_in_several_groups_is_not_told_of_and_that_is_said() {
    let said = |cedar: &str, question: &serde_json::Value| {
        let directory = tempfile::tempdir().expect("a directory");
        let policy = format!(
            "apiVersion: vidimus.dev/v1alpha1\nkind: Policy\nmetadata: {{name: p, namespace: a}}\nspec:\n  description: d\n  \
             scope: Cluster\n  cedar: |\n    {cedar}\n"
        );
        fs::write(directory.path().join("a.yaml"), policy).expect("written");
        let state = State::new(vidimus_registry::load(directory.path()), String::new());
        assert!(state.loaded.rejections.is_empty(), "{:?}", state.loaded.rejections);
        let answer = reach(&state, &asked(question)).expect("an answer");
        (answer.any(), answer.in_several_groups)
    };
    let one = r#"permit (principal in UserGroup::"i#a", action == Action::"read", resource);"#;
    let both = one.replace(';', r#" when { principal in UserGroup::"i#b" };"#);
    let unless = format!(
        r#"{one} forbid (principal, action == Action::"read", resource) unless {{ principal in UserGroup::"i#b" }};"#
    );
    let named = r#"permit (principal == User::"i#x", action == Action::"read", resource) when { principal in UserGroup::"i#a" };"#;
    let read = json!({"action": "read"});
    assert_eq!(said(one, &read), (true, false));
    for cedar in [&*both, &*unless, named] {
        assert_eq!(said(cedar, &read), (false, true), "{cedar}");
    }
    // By name there is an answer.
    let by_name = json!({"principal": "User/i#x", "groups": ["a", "b"], "action": "read"});
    for cedar in [&*both, &*unless, named] {
        assert_eq!(said(cedar, &by_name), (true, false), "{cedar}");
    }
    let of_group = |group: &str| json!({"principal": group, "action": "read"});
    assert_eq!(said(&both, &of_group("UserGroup/i#a")), (false, true));
    assert_eq!(said(one, &of_group("UserGroup/i#a")), (true, false));
}
