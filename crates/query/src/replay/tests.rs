use std::fs;
use std::path::Path;

use super::*;
use crate::recordings::{Made, Recordings};

const OBJECTS: &str = r#"
apiVersion: vidimus.dev/v1alpha1
kind: Agent
metadata: {name: bot, namespace: a}
spec: {owner: ada.l@example.com, team: t, purpose: p, riskLevel: low, groups: [g], identities: [{oidc: {issuer: "urn:vidimus:local", subject: bot}}], actsFor: [{issuer: "urn:vidimus:local"}]}
---
apiVersion: vidimus.dev/v1alpha1
kind: MCPServer
metadata: {name: bank, namespace: a}
spec: {owner: ada.l@example.com, team: t, riskLevel: low, endpoint: {url: "http://127.0.0.1:1/mcp"}, toolSets: {looks: [look]}}
---
apiVersion: vidimus.dev/v1alpha1
kind: LLMProvider
metadata: {name: models, namespace: a}
spec: {owner: ada.l@example.com, type: openAICompatible, endpoint: {url: "http://127.0.0.1:1"}, credential: {file: provider.key}, models: [{name: small}]}
"#;

fn policy(cedar: &str) -> String {
    format!(
        "---\napiVersion: vidimus.dev/v1alpha1\nkind: Policy\nmetadata: {{name: p, namespace: a}}\nspec:\n  description: d\n  cedar: |\n    {}\n",
        cedar.replace('\n', "\n    ")
    )
}

fn world(objects: &str, cedar: &str) -> Arc<Snapshot> {
    let directory = tempfile::tempdir().expect("a directory");
    fs::write(directory.path().join("a.yaml"), format!("{objects}{}", policy(cedar))).expect("written");
    let loaded = vidimus_registry::load(directory.path());
    assert!(loaded.rejections.is_empty(), "{:#?}", loaded.rejections);
    loaded.snapshot
}

fn replayed(recordings: &Recordings, by: &By) -> ReplayAnswer {
    let question = ReplayQuestion::default();
    replay(&recordings.ledger(), &recordings.archive(), &question, by, &mut |_| {}).expect("read")
}

const LIMITED: &str = r#"permit (principal, action == Action::"invokeTool", resource) when { context.numbers.hasTag("/amount") && context.numbers.getTag("/amount") <= 100 };
permit (principal, action in [Action::"callModel", Action::"listModels"], resource);
permit (principal, action == Action::"invokeTool", resource in ToolSet::"looks");"#;

const TRANSFER: &str = "Tool/a/bank/transfer";

fn recorded() -> (Recordings, Arc<Snapshot>) {
    let mut recordings = Recordings::begin();
    let world = world(OBJECTS, LIMITED);
    recordings.keep(&world);
    let transfer = Made::by("Agent/a/bot", TRANSFER);
    for made in [
        Made { args: "{\"amount\": 50}", ..transfer },
        Made { args: "{\"amount\": 500}", ..transfer },
        Made { resource: "Tool/a/bank/look", ..transfer },
        Made { resource: "Tool/a/bank/look", depth: 3, user: Some("urn:vidimus:local#ada"), ..transfer },
        Made { resource: "Model/a/models/small", method: "chat.completions", tokens: 700, ..transfer },
        Made { resource: "LLMProvider/a/models", method: "models", ..transfer },
        Made { resource: "MCPServer/a/bank", method: "initialize", ..transfer },
    ] {
        recordings.call(&world, made);
    }
    recordings.end();
    (recordings, world)
}

/// `(stays allowed, stays denied, allow to deny, deny to allow, unknown)`
fn counts(calls: &Counts) -> (u64, u64, u64, u64, u64) {
    let Counts { stays_allowed, stays_denied, allow_to_deny, deny_to_allow, unknown } = *calls;
    (stays_allowed, stays_denied, allow_to_deny, deny_to_allow, unknown)
}

#[test]
fn a_record_is_decided_again_as_it_was_by_what_was_in_force() {
    let (recordings, _) = recorded();
    let answer = replayed(&recordings, &By::Itself);
    assert_eq!(counts(&answer.calls), (6, 1, 0, 0, 0), "{answer:#?}");
    assert!(answer.holds() && answer.edges.is_empty() && answer.unusable.is_empty());
}

#[test]
fn what_a_proposed_policy_changes_is_told_and_what_a_record_lacks_is_not_guessed() {
    let (recordings, _) = recorded();
    // What the change does, and the counts of the transfers and of all.
    for (what, cedar, transfers, all) in [
        ("the same", LIMITED.to_owned(), (1, 1, 0, 0, 0), (6, 1, 0, 0, 0)),
        // What was looked at stands in the record.
        ("a lower limit", LIMITED.replace("<= 100", "<= 20"), (0, 1, 1, 0, 0), (5, 1, 1, 0, 0)),
        ("a higher limit", LIMITED.replace("<= 100", "<= 1000"), (1, 0, 0, 1, 0), (6, 0, 0, 1, 0)),
        // Another argument does not.
        ("another argument", LIMITED.replace("/amount", "/sum"), (0, 0, 0, 0, 2), (5, 0, 0, 0, 2)),
        // It is decided either way.
        (
            "another argument of what is permitted anyway",
            format!(
                "{}\npermit (principal, action == Action::\"invokeTool\", resource);",
                LIMITED.replace("/amount", "/sum")
            ),
            (1, 0, 0, 1, 0),
            (6, 0, 0, 1, 0),
        ),
        (
            "another argument of what is forbidden anyway",
            format!(
                "{}\nforbid (principal, action == Action::\"invokeTool\", resource);",
                LIMITED.replace("/amount", "/sum")
            ),
            (0, 1, 1, 0, 0),
            (2, 1, 4, 0, 0),
        ),
        (
            "nothing is permitted",
            "forbid (principal, action, resource);".to_owned(),
            (0, 1, 1, 0, 0),
            (0, 1, 6, 0, 0),
        ),
    ] {
        let answer = replayed(&recordings, &By::Proposed(world(OBJECTS, &cedar), Objects::InForce));
        let found =
            answer.edges.iter().find(|edge| edge.resource == TRANSFER).map(|edge| counts(&edge.calls));
        assert_eq!(found.unwrap_or((1, 1, 0, 0, 0)), transfers, "{what}: {answer:#?}");
        assert_eq!(counts(&answer.calls), all, "{what}: {answer:#?}");
    }
}

#[test]
fn the_fact_that_lacks_is_named() {
    let (recordings, _) = recorded();
    let of = |condition: &str| {
        let cedar = format!(
            "permit (principal, action in [Action::\"mcp\", Action::\"llm\", Action::\"listModels\"], resource) when {{ {condition} }};"
        );
        let answer = replayed(&recordings, &By::Proposed(world(OBJECTS, &cedar), Objects::InForce));
        (answer.calls.unknown, answer.lacking.keys().cloned().collect::<Vec<_>>().join(" "))
    };
    for (condition, unknown, lacks) in [
        ("context.delegation_depth <= 3", 0, ""),
        ("context has on_behalf_of && context.on_behalf_of.subject == \"ada\"", 0, ""),
        ("context.now < datetime(\"2027-01-01\")", 0, ""),
        ("context.method == \"tools/call\"", 0, ""),
        ("context.chain.cycle", 0, ""),
        // A first hop has just begun.
        ("context.chain.age < duration(\"1h\")", 1, "context.chain.age"),
        // Only who acts for somebody has an e-mail address.
        ("context has on_behalf_of && context.on_behalf_of has email", 1, "context.on_behalf_of.email"),
        ("context has on_behalf_of.email", 1, "context.on_behalf_of.email"),
    ] {
        assert_eq!(of(condition), (unknown, lacks.to_owned()), "{condition}");
    }
    let cedar = "permit (principal, action == Action::\"callModel\", resource) when { context.tokens_estimated < 1000 };";
    let answer = replayed(&recordings, &By::Proposed(world(OBJECTS, cedar), Objects::InForce));
    assert_eq!(answer.lacking.keys().collect::<Vec<_>>(), ["context.tokens_estimated"], "{answer:#?}");
}

#[test]
fn the_objects_are_those_that_were_in_force_or_the_proposed_ones() {
    let mut recordings = Recordings::begin();
    let member = world(OBJECTS, "permit (principal in Group::\"g\", action, resource);");
    let objects = OBJECTS.replace("groups: [g]", "groups: [h]");
    let other = world(&objects, "permit (principal in Group::\"h\", action, resource);");
    let look = Made::by("Agent/a/bot", "Tool/a/bank/look");
    for world in [&member, &other] {
        recordings.keep(world);
        recordings.call(world, look);
    }
    recordings.end();
    // Only those of the second configuration bear the name.
    let of = |objects| counts(&replayed(&recordings, &By::Proposed(other.clone(), objects)).calls);
    assert_eq!(of(Objects::InForce), (1, 0, 1, 0, 0));
    assert_eq!(of(Objects::Proposed), (2, 0, 0, 0, 0));
    let both =
        (&By::Proposed(member.clone(), Objects::InForce), &By::Proposed(other.clone(), Objects::InForce));
    let question = ReplayQuestion::default();
    let answer =
        compare(&recordings.ledger(), &recordings.archive(), &question, both, &mut |_| {}).expect("read");
    assert_eq!(counts(&answer.calls), (0, 0, 1, 1, 0), "{answer:#?}");
}

#[test]
fn a_configuration_that_is_not_kept_is_said() {
    let mut recordings = Recordings::begin();
    let (kept, lost) = (world(OBJECTS, LIMITED), world(OBJECTS, "permit (principal, action, resource);"));
    recordings.keep(&kept);
    for world in [&kept, &lost] {
        recordings.call(world, Made::by("Agent/a/bot", "Tool/a/bank/look"));
    }
    recordings.end();
    for by in [By::Itself, By::Proposed(kept.clone(), Objects::InForce)] {
        let answer = replayed(&recordings, &by);
        assert_eq!(counts(&answer.calls), (1, 0, 0, 0, 1), "{answer:#?}");
        assert_eq!(
            answer.unusable.get(lost.digest()).map(String::as_str),
            Some("the configuration is not kept")
        );
        assert!(!answer.holds());
    }
    assert_eq!(counts(&replayed(&recordings, &By::Proposed(kept, Objects::Proposed)).calls), (2, 0, 0, 0, 0));
    assert!(Path::new(&recordings.ledger()).is_dir());
}

#[test]
fn who_asked_for_what_and_when_is_chosen() {
    let (recordings, _) = recorded();
    let all = |question: ReplayQuestion| {
        let answer = replay(&recordings.ledger(), &recordings.archive(), &question, &By::Itself, &mut |_| {});
        answer.expect("read").calls.all()
    };
    let some = ReplayQuestion::default;
    assert_eq!(all(some()), 7);
    assert_eq!(all(ReplayQuestion { principal: Some("a/bot".into()), ..some() }), 7);
    assert_eq!(all(ReplayQuestion { principal: Some("a/nobody".into()), ..some() }), 0);
    assert_eq!(all(ReplayQuestion { resource: Some("bank/transfer".into()), ..some() }), 2);
    let time = |text: &str| Some(text.parse().expect("a time"));
    assert_eq!(all(ReplayQuestion { since: time("2026-11-27T12:00:00Z"), ..some() }), 7);
    assert_eq!(all(ReplayQuestion { until: time("2026-11-27T12:00:00Z"), ..some() }), 0);
}

#[test]
fn what_a_person_would_have_to_approve_is_held_where_nobody_was_asked() {
    let (recordings, _) = recorded();
    let approved = format!(
        "{LIMITED}\n@approval(\"payers\") forbid (principal, action == Action::\"invokeTool\", resource == Tool::\"a/bank/transfer\") unless {{ \
         context has approval && context.approval.role == \"payers\" }};"
    );
    let by = By::Proposed(world(OBJECTS, &approved), Objects::InForce);
    let answer = replayed(&recordings, &by);
    // The other transfer is refused anyway.
    assert_eq!(counts(&answer.calls), (5, 1, 1, 0, 0), "{answer:#?}");
    // Where policies asked, an approval may have been given, and no record says so.
    let mut recordings = Recordings::begin();
    let asks = world(OBJECTS, &approved);
    recordings.keep(&asks);
    let held = recordings.call(&asks, Made { args: "{\"amount\": 50}", ..Made::by("Agent/a/bot", TRANSFER) });
    let look = recordings.call(&asks, Made::by("Agent/a/bot", "Tool/a/bank/look"));
    assert_eq!((held.as_str(), look.as_str()), ("hold", "allow"));
    recordings.end();
    // What was held says by what, and not what would have permitted it: it is held or refused, and not allowed.
    assert_eq!(counts(&replayed(&recordings, &By::Itself).calls), (1, 1, 0, 0, 0));
}

const CAPPED: &str = r#"permit (principal, action == Action::"invokeTool", resource);
forbid (principal, action == Action::"invokeTool", resource)
when { context.numbers.hasTag("/amount") && context.numbers.getTag("/amount") > 1000 };"#;

/// What lacks in a record was one thing to all who look at it: to the configuration that decided as the record says, and to both that are
/// compared. A call is unknown only where it can be decided otherwise.
#[test]
fn what_lacks_is_one_thing_to_all() {
    let recorded = |cedar: &str| {
        let mut recordings = Recordings::begin();
        let world = world(OBJECTS, cedar);
        recordings.keep(&world);
        // Allowed: what the forbid looks at is not among the facts of a permit.
        recordings.call(&world, Made { args: "{\"amount\": 50}", ..Made::by("Agent/a/bot", TRANSFER) });
        recordings.end();
        recordings
    };
    let more = format!("{CAPPED}\npermit (principal, action == Action::\"callModel\", resource);");
    let proposed = |cedar: &str| By::Proposed(world(OBJECTS, cedar), Objects::InForce);
    let capped = recorded(CAPPED);
    assert_eq!(counts(&replayed(&capped, &proposed(&more)).calls), (1, 0, 0, 0, 0));
    // Another one may have been there.
    let other = more.replace("/amount", "/sum");
    assert_eq!(counts(&replayed(&capped, &proposed(&other)).calls), (0, 0, 0, 0, 1));
    // Neither was in force: by both it is the same, whatever that is.
    let open = recorded("permit (principal, action == Action::\"invokeTool\", resource);");
    let question = ReplayQuestion::default();
    let compared = |old: &str, new: &str| {
        let both = (&proposed(old), &proposed(new));
        let answer = compare(&open.ledger(), &open.archive(), &question, both, &mut |_| {}).expect("read");
        counts(&answer.calls)
    };
    assert_eq!(compared(CAPPED, &more), (1, 0, 0, 0, 0));
    assert_eq!(compared(CAPPED, &other), (0, 0, 0, 0, 1));
}
