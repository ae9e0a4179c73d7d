use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use vidimus_core::resource::Object;
use vidimus_core::snapshot::Snapshot;

use super::*;
use crate::diff::{DiffQuestion, diff};
use crate::recordings::{Made, Recordings};

fn demo() -> Arc<Snapshot> {
    vidimus_registry::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/demo")).snapshot
}

/// The objects of the demo, with one policy in the place of all, or with these texts.
fn with_policies(texts: &str) -> Arc<Snapshot> {
    let directory = tempfile::tempdir().expect("a directory");
    let objects = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/demo/estate.yaml");
    fs::copy(objects, directory.path().join("estate.yaml")).expect("copied");
    fs::write(directory.path().join("policies.yaml"), texts).expect("written");
    let loaded = vidimus_registry::load(directory.path());
    assert!(loaded.rejections.is_empty(), "{:#?}", loaded.rejections);
    loaded.snapshot
}

const EVERYTHING: &str = "apiVersion: vidimus.dev/v1alpha1\nkind: Policy\nmetadata: {name: everything, namespace: a}\nspec: {description: d, scope: \
                          Cluster, cedar: 'permit (principal, action, resource);'}\n";

fn suggested(recordings: &Recordings) -> SuggestAnswer {
    suggest(&recordings.ledger(), &SuggestQuestion::default(), &mut |_| {}).expect("read")
}

/// What is allowed of all that is registered and known, whatever the context says.
fn allowed(world: &Snapshot, named: &Snapshot) -> BTreeSet<String> {
    // Compared with nothing, every edge that is not denied is told.
    let nothing = with_policies("");
    let nothing = Snapshot::build(nothing.objects().iter().chain(names(named).iter()).cloned().collect()).0;
    let answer = diff(&nothing, world, &DiffQuestion { most: crate::diff::MOST, ..DiffQuestion::default() });
    assert!(answer.complete);
    let changed = answer.changed.iter();
    changed
        .map(|edge| format!("{} {} {} {}", edge.principal, edge.action, edge.resource, edge.new.outcome))
        .collect()
}

/// The policies of a configuration, so that the names in them are known.
fn names(world: &Snapshot) -> Vec<Object> {
    let none = world.objects().iter().filter(|object| matches!(object, Object::Policy(_)));
    none.filter_map(|object| match object {
        Object::Policy(policy) => {
            let cedar = policy.cedar.replace("permit (", "forbid (");
            let policy = vidimus_core::resource::Policy { cedar: cedar.into(), ..(**policy).clone() };
            Some(Object::Policy(Arc::new(policy)))
        }
        _ => None,
    })
    .collect()
}

#[test]
fn what_is_suggested_permits_what_was_used_and_nothing_else() {
    let world = with_policies(EVERYTHING);
    let mut recordings = Recordings::begin();
    let used = [
        ("Agent/finance/invoice-bot", "tools/call", "Tool/finance/ledger/get_invoice"),
        ("Agent/finance/invoice-bot", "tools/call", "Tool/finance/ledger/list_invoices"),
        ("Agent/finance/invoice-bot", "initialize", "MCPServer/finance/ledger"),
        ("Agent/finance/invoice-bot", "chat.completions", "Model/platform/simulator/simulator-small"),
        ("Agent/finance/reconciler", "SendMessage", "Agent/finance/summarizer"),
        ("Agent/finance/summarizer", "SendMessage", "Skill/finance/reconciler/say \"it\"\n"),
        ("Agent/finance/summarizer", "GetAgentCard", "Agent/finance/echo"),
        ("Agent/finance/echo", "resources/read", "Resource/finance/ledger/file:///a b"),
        ("Agent/marketing/stranger", "initialize", "MCPServer/platform/files"),
        ("Agent/finance/risky-bot", "models", "LLMProvider/platform/simulator"),
    ];
    for (principal, method, resource) in used {
        for _ in 0..2 {
            recordings.call(&world, Made { method, ..Made::by(principal, resource) });
        }
    }
    recordings.end();
    let answer = suggested(&recordings);
    assert_eq!((answer.principals, answer.edges, answer.calls), (6, used.len(), 20), "{answer:#?}");
    let applied = with_policies(&yaml(&answer.policies));
    let found = allowed(&applied, &applied);
    let expected: BTreeSet<String> = [
        ("Agent/finance/invoice-bot", "invokeTool", "Tool/finance/ledger/get_invoice", "allow"),
        ("Agent/finance/invoice-bot", "invokeTool", "Tool/finance/ledger/list_invoices", "allow"),
        ("Agent/finance/invoice-bot", "connectServer", "MCPServer/finance/ledger", "allow"),
        ("Agent/finance/invoice-bot", "callModel", "Model/platform/simulator/simulator-small", "allow"),
        // Implied by the model.
        ("Agent/finance/invoice-bot", "listModels", "LLMProvider/platform/simulator", "allow"),
        ("Agent/finance/reconciler", "callAgent", "Agent/finance/summarizer", "allow"),
        ("Agent/finance/summarizer", "callAgent", "Skill/finance/reconciler/say \"it\"\n", "allow"),
        // Its card, and nothing else.
        ("Agent/finance/summarizer", "callAgent", "Agent/finance/echo", "depends"),
        ("Agent/finance/summarizer", "callAgent", "Skill/finance/echo/*", "depends"),
        ("Agent/finance/echo", "readResource", "Resource/finance/ledger/file:///a b", "allow"),
        ("Agent/finance/echo", "connectServer", "MCPServer/finance/ledger", "allow"),
        ("Agent/marketing/stranger", "connectServer", "MCPServer/platform/files", "allow"),
        ("Agent/finance/risky-bot", "listModels", "LLMProvider/platform/simulator", "allow"),
    ]
    .into_iter()
    .map(|(principal, action, resource, outcome)| format!("{principal} {action} {resource} {outcome}"))
    .collect();
    assert_eq!(found, expected);
    // And what was used is allowed again, call by call.
    let mut again = Recordings::begin();
    for (principal, method, resource) in used {
        let outcome = again.call(&applied, Made { method, ..Made::by(principal, resource) });
        assert_eq!(outcome.as_str(), "allow", "{principal} {method} {resource}");
    }
}

#[test]
fn what_was_refused_was_not_used() {
    let mut recordings = Recordings::begin();
    let world = demo();
    let call = |args| Made { args, ..Made::by("Agent/finance/invoice-bot", "Tool/finance/ledger/transfer") };
    recordings.call(&world, call("{\"amount\": 20000}"));
    recordings.end();
    assert_eq!(suggested(&recordings), SuggestAnswer::default());
}

#[test]
fn many_uses_are_several_statements_and_objects_and_all_of_them_are_in_force() {
    let mut recordings = Recordings::begin();
    let world = with_policies(EVERYTHING);
    let names: Vec<String> =
        (0..400).map(|number| format!("Tool/platform/everything/{number:0>200}")).collect();
    for name in &names {
        recordings.call(&world, Made::by("Agent/finance/echo", name));
    }
    recordings.end();
    let answer = suggested(&recordings);
    assert!(answer.policies.len() > 1 && answer.edges == names.len(), "{}", answer.policies.len());
    let applied = with_policies(&yaml(&answer.policies));
    assert_eq!(applied.policies().filter(|policy| policy.contains("used-by")).count(), names.len());
    let mut again = Recordings::begin();
    for name in names.iter().step_by(97) {
        assert_eq!(again.call(&applied, Made::by("Agent/finance/echo", name)).as_str(), "allow");
        assert_eq!(again.call(&applied, Made::by("Agent/finance/reconciler", name)).as_str(), "deny");
    }
    assert_eq!(
        again.call(&applied, Made::by("Agent/finance/echo", "Tool/platform/everything/401")).as_str(),
        "deny"
    );
}
