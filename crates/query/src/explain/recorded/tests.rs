use serde_json::json;

use super::*;

const PAY: &str = "Tool/finance/ledger/transfer";

fn state() -> State {
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/demo");
    State::new(vidimus_registry::load(&demo), "the demo".to_owned())
}

/// What a gateway keeps of a call by the demo's agent.
fn record(resource: &str, action: &str, facts: &Value) -> DecisionRecord<'static> {
    let record = json!({
        "action": action, "body": "sha256:00", "chain": ["Agent/finance/reconciler"], "depth": 2, "facts": facts, "id": "call-1",
        "identity": "oidc:urn:vidimus:local#invoice-bot", "kind": "decision", "method": "tools/call", "outcome": "allow",
        "policies": ["finance/small-transfers"], "principal": "Agent/finance/invoice-bot", "protocol": "mcp", "resource": resource,
        "snapshot": "sha256:11", "source": "10.0.0.1", "time": "2026-11-27T13:00:00.123456Z", "trace": "t", "transaction": "txn",
        "user": "urn:vidimus:local#grace", "version": 1
    });
    serde_json::from_str(&record.to_string()).expect("a record")
}

fn explained(resource: &str, action: &str, facts: &Value) -> Explanation {
    of(&state(), &record(resource, action, facts)).expect("explained")
}

#[test]
fn what_the_record_says_decides_and_what_it_lacks_is_said() {
    let amount = r#"context.numbers["/amount"]"#;
    for (resource, action, facts, outcome, lacks, differs) in [
        (PAY, "invokeTool", json!({amount: "250"}), "allow", vec![], false),
        (PAY, "invokeTool", json!({amount: "20000"}), "deny", vec![], true),
        (PAY, "invokeTool", json!({amount: "absent"}), "deny", vec![], true),
        (PAY, "invokeTool", json!({}), "unknown", vec![amount], true),
        ("Tool/finance/ledger/get_invoice", "invokeTool", json!({}), "allow", vec![], false),
        ("MCPServer/finance/ledger", "connectServer", json!({}), "allow", vec![], false),
        ("Tool/finance/gone/x", "invokeTool", json!({}), "deny", vec![], true),
    ] {
        let answer = explained(resource, action, &facts);
        let recorded = answer.recorded.clone().expect("a record");
        assert_eq!(answer.outcome, outcome, "{resource} {facts}: {answer:#?}");
        assert_eq!(
            (recorded.lacks, recorded.differs),
            (lacks.iter().map(ToString::to_string).collect(), differs)
        );
        assert_eq!((&*recorded.id, &*recorded.principal), ("call-1", "Agent/finance/invoice-bot"));
        assert_eq!(answer.allowed(), outcome == "allow");
    }
}

#[test]
fn arguments_are_put_where_they_were() {
    let facts = BTreeMap::from([
        (r#"context.numbers["/a/b"]"#, "5"),
        (r#"context.args["/a/b"]"#, "5"),
        (r#"context.args["/a/c~1d"]"#, "x"),
        (r#"context.args["/none"]"#, "absent"),
        (r#"context.numbers["/a/b/c"]"#, "7"),
        ("context.method", "tools/call"),
        (r#"context.args["no pointer"]"#, "x"),
    ]);
    assert_eq!(arguments(&facts), json!({"a": {"b": 5, "c/d": "x"}}));
}

/// What is cut in the record, or kept from it, may have been anything.
#[test]
fn what_a_record_keeps_to_itself_is_not_guessed() {
    let amount = r#"context.numbers["/amount"]"#;
    for value in ["[redacted]", "many"] {
        let answer = explained(PAY, "invokeTool", &json!({amount: value}));
        let recorded = answer.recorded.expect("a record");
        assert_eq!((&*answer.outcome, recorded.lacks), ("unknown", vec![amount.to_owned()]), "{value}");
        assert!(answer.would_change.is_empty());
    }
}

#[test]
fn what_is_no_decision_says_what_it_is() {
    let directory = tempfile::tempdir().expect("a directory");
    let question = RecordedQuestion { call: "none".to_owned() };
    assert!(recorded(&state(), directory.path(), &question).is_err());
    let mut other = record(PAY, "invokeTool", &json!({}));
    other.action = "fly".into();
    assert!(of(&state(), &other).expect_err("misasked").to_string().contains("no such action"));
    let mut other = record(PAY, "invokeTool", &json!({}));
    other.principal = "Agent/finance/gone".into();
    assert!(of(&state(), &other).expect_err("misasked").to_string().contains("finance/gone"));
}

/// An index that has a record of its own making under the id of a call.
#[derive(Debug)]
struct Forged(Vec<u8>);

impl Lookup for Forged {
    fn hits(&self, _: &vidimus_ledger::Query) -> Result<crate::audit::Hits, SearchError> {
        Ok(Box::new(std::iter::once(Ok(vidimus_ledger::Hit { index: 0, record: self.0.clone() }))))
    }

    fn fitting(
        &self,
        _: &[std::path::PathBuf],
        _: &crate::audit::SearchQuestion,
    ) -> Result<crate::audit::Fitting, crate::audit::Unsearched> {
        Ok(Box::new(std::iter::empty()))
    }
}

/// Attack: a row that somebody wrote into an index has a call explained that nobody made.
#[test]
fn a_row_that_the_log_does_not_prove_is_not_explained() {
    let state = state();
    let mut recordings = crate::recordings::Recordings::begin();
    let amount = r#"context.numbers["/amount"]"#;
    recordings.record(&Record::Decision(record(PAY, "invokeTool", &json!({amount: "250"}))));
    recordings.end();
    let forged = record(PAY, "invokeTool", &json!({amount: "20000"}));
    let forged = Forged(serde_json::to_vec(&Record::Decision(forged)).expect("JSON"));
    let question = RecordedQuestion { call: "call-1".to_owned() };
    let answer = recorded_by(&forged, &state, &recordings.ledger(), &question).expect("explained");
    assert_eq!((&*answer.outcome, answer.recorded.expect("a record").differs), ("allow", false));
    // And an index that has nothing of a call hides none.
    let empty = Forged(b"{}".to_vec());
    let answer = recorded_by(&empty, &state, &recordings.ledger(), &question).expect("explained");
    assert_eq!(answer.outcome, "allow");
}

/// By the configuration that decided it a recorded call is explained with the outcome, the code and the policies of its record, whatever the
/// record lacks; and otherwise code and policies are of one decision.
#[test]
fn what_decided_a_call_explains_it_as_it_was_decided() {
    const STEP: &str = "plan: ['sha256:0000000000000000000000000000000000000000000000000000000000000000']";
    const TOOLS: &str = "(principal, action == Action::\"invokeTool\", resource)";
    const LARGE: &str =
        "when { context.numbers.hasTag(\"/amount\") && context.numbers.getTag(\"/amount\") > 1000 };";
    let policy = |name: &str, more: &str, cedar: &str| {
        format!(
            "---\napiVersion: vidimus.dev/v1alpha1\nkind: Policy\nmetadata: {{name: {name}, namespace: a}}\nspec:\n  description: d\n  {more}\n  \
             cedar: |\n    {cedar}\n"
        )
    };
    let estate = "apiVersion: vidimus.dev/v1alpha1\nkind: Agent\nmetadata: {name: bot, namespace: a}\nspec: {owner: ada.l@example.com, team: t, \
                  purpose: p, riskLevel: low, identities: [{oidc: {issuer: \"urn:vidimus:local\", subject: bot}}]}\n---\napiVersion: \
                  vidimus.dev/v1alpha1\nkind: MCPServer\nmetadata: {name: bank, namespace: a}\nspec: {owner: ada.l@example.com, team: t, riskLevel: \
                  low, endpoint: {url: \"http://127.0.0.1:1/mcp\"}}\n";
    let plan = policy("plan", STEP, &format!("permit {TOOLS};"));
    let large = policy("large", "mode: enforce", &format!("forbid {TOOLS} {LARGE}"));
    let open = policy("open", "mode: enforce", &format!("permit {TOOLS};"));
    let small = policy(
        "small",
        "mode: enforce",
        &format!("permit {TOOLS} unless {{ context.delegation_depth > 3 }};"),
    );
    let window = policy("night", "window: {hours: {from: 22, until: 4}}", &format!("permit {TOOLS};"));
    for (policies, code) in [
        (vec![&plan, &large], Some("no_permit")),
        (vec![&plan], Some("no_permit")),
        (vec![&window, &large], Some("no_permit")),
        (vec![&open, &large], None),
        (vec![&small], None),
        (vec![], Some("no_permit")),
    ] {
        for (args, code) in [("{\"amount\": 50}", code), ("{}", code)] {
            let directory = tempfile::tempdir().expect("a directory");
            let text: String =
                std::iter::once(estate).chain(policies.iter().map(|one| one.as_str())).collect();
            std::fs::write(directory.path().join("a.yaml"), text).expect("written");
            let loaded = vidimus_registry::load(directory.path());
            assert!(loaded.rejections.is_empty(), "{:#?}", loaded.rejections);
            let mut recordings = crate::recordings::Recordings::begin();
            let made = crate::recordings::Made::by("Agent/a/bot", "Tool/a/bank/pay");
            let outcome = recordings.call(&loaded.snapshot, crate::recordings::Made { args, ..made });
            recordings.end();
            let question = RecordedQuestion { call: "call-1".to_owned() };
            let state = State::new(loaded, String::new());
            let answer = recorded(&state, &recordings.ledger(), &question).expect("explained");
            assert_eq!((&*answer.outcome, answer.code.as_deref()), (outcome.as_str(), code), "{answer:#?}");
            let record = answer.recorded.clone().expect("a record");
            assert_eq!((&record.code, &record.policies), (&answer.code, &answer.policies), "{answer:#?}");
            assert!(!record.differs, "{answer:#?}");
            // By another configuration, which refuses it too: no code without what brings it about.
            std::fs::write(
                directory.path().join("b.yaml"),
                format!(
                    "{}{large}",
                    policy(
                        "b",
                        "mode: enforce",
                        "permit (principal, action == Action::\"callModel\", resource);"
                    )
                )
                .replace("name: large", "name: larger"),
            )
            .expect("written");
            let state = State::new(vidimus_registry::load(directory.path()), String::new());
            let answer = recorded(&state, &recordings.ledger(), &question).expect("explained");
            let forbidden = answer.code.as_deref() == Some("forbidden_by_policy");
            assert_eq!(forbidden, answer.outcome == "deny" && !answer.policies.is_empty(), "{answer:#?}");
        }
    }
}
