//! Of which policies requests of a type are decided, as whoever compares configurations gets them.

use std::collections::BTreeSet;

use cedar_policy::{PolicySet, RequestEnv, Schema};
use serde_json::{Value, json};
use vidimus_core::composed::{AskedBy, Composed, Does, FREE_NAMES_ID, RequestType, schema};
use vidimus_core::resource::{self, Object, Origin};
use vidimus_core::snapshot::{
    ACT_WITH_APPROVAL_ID, ADVISE_ID, FIRST_ADMINISTRATOR_ID, QUARANTINE_ID, Snapshot,
};

use crate::world::{agent, objects, server, snapshot};

fn of(principal: &str, action: &str, resource: &str) -> RequestType {
    RequestType { principal: principal.into(), action: action.into(), resource: resource.into() }
}

fn tools() -> RequestType {
    of("Agent", "invokeTool", "Tool")
}

fn policy(name: &str, cedar: &str, more: &Value) -> Object {
    let mut policy = json!({"apiVersion": "vidimus.dev/v1alpha1", "kind": "Policy", "metadata": {"namespace": "t", "name": name},
        "spec": {"description": "d", "scope": "Cluster", "cedar": cedar}});
    policy["spec"].as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    resource::check(&Origin::default(), &policy).unwrap_or_else(|problems| panic!("{problems:?}"))
}

fn composed(request: &RequestType, policies: Vec<Object>) -> Vec<Composed> {
    snapshot(objects(vec![agent("a", "x")], vec![server("a", "s")], policies)).composed(request).unwrap()
}

fn ids(all: &[Composed]) -> Vec<&str> {
    all.iter().map(|one| &*one.id).collect()
}

/// The one of an object's policies.
fn one(cedar: &str) -> Composed {
    composed(&tools(), vec![policy("p", cedar, &json!({}))])
        .into_iter()
        .find(|one| &*one.id == "t/p")
        .unwrap()
}

const LOOK: &str = r#"permit (principal, action == Action::"invokeTool", resource);"#;

#[test]
fn every_type_of_request_of_the_schema_is_one_that_somebody_asks_about() {
    let all = RequestType::all().unwrap();
    let schema: &Schema = schema().unwrap();
    let text = |env: &RequestEnv| format!("{} {} {}", env.principal(), env.action(), env.resource());
    let known: BTreeSet<String> = schema.request_envs().map(|env| text(&env)).collect();
    let found: BTreeSet<String> = all.iter().map(|one| text(&one.env().unwrap())).collect();
    assert_eq!(found, known);
    assert_eq!(found.len(), all.len());
    let nobody = all.iter().filter(|one| one.asked_by() == AskedBy::Nobody).map(|one| &*one.action);
    let mut nobody: Vec<&str> = nobody.collect();
    nobody.sort_unstable();
    assert_eq!(nobody, ["connectNetwork", "exec", "loadLibrary", "readFile", "writeFile"]);
}

#[test]
fn what_decides_is_what_is_in_force_and_nothing_that_is_only_tried() {
    let tried = policy("tried", LOOK, &json!({"mode": "observe"}));
    let all = composed(&tools(), vec![policy("p", LOOK, &json!({})), tried]);
    assert_eq!(ids(&all), ["t/p", ACT_WITH_APPROVAL_ID, ADVISE_ID, QUARANTINE_ID]);
    let replacing = policy("p", LOOK, &json!({"replaces": [ADVISE_ID]}));
    assert_eq!(ids(&composed(&tools(), vec![replacing])), ["t/p", ACT_WITH_APPROVAL_ID, QUARANTINE_ID]);
    // It can be put together and type-checked, as Cedar does it.
    let set = PolicySet::from_policies(all.iter().map(|one| one.policy.clone())).unwrap();
    let validator = cedar_policy::Validator::new(schema().unwrap().clone());
    assert!(validator.validate(&set, cedar_policy::ValidationMode::Strict).validation_passed());
}

#[test]
fn what_cannot_fit_a_type_is_not_among_its_policies_but_for_what_is_said_of_a_chain() {
    let bot = LOOK.replace("(principal,", "(principal == Agent::\"a/x\",");
    let of_service = || of("Service", "invokeTool", "Tool");
    let all = composed(&of_service(), vec![policy("p", &bot, &json!({}))]);
    assert_eq!(ids(&all), [ACT_WITH_APPROVAL_ID, ADVISE_ID, QUARANTINE_ID]);
    let is = LOOK.replace("(principal,", "(principal is Service,");
    assert!(ids(&composed(&of_service(), vec![policy("p", &is, &json!({}))])).contains(&"t/p"));
    assert!(!ids(&composed(&tools(), vec![policy("p", &is, &json!({}))])).contains(&"t/p"));
    let models =
        r#"permit (principal, action in [Action::"invokeTool", Action::"callModel"], resource is Model);"#;
    assert!(!ids(&composed(&tools(), vec![policy("p", models, &json!({}))])).contains(&"t/p"));
}

#[test]
fn what_leaves_the_action_open_is_about_calls_and_not_about_people_or_names() {
    let open = || vec![policy("open", "permit (principal, action, resource);", &json!({}))];
    assert!(ids(&composed(&tools(), open())).contains(&"t/open"));
    assert!(ids(&composed(&of("Agent", "exec", "Executable"), open())).contains(&"t/open"));
    let people = of("User", "read", "View");
    assert_eq!(ids(&composed(&people, open())), [FIRST_ADMINISTRATOR_ID]);
    let auditors = r#"permit (principal in UserGroup::"i#auditors", action == Action::"read", resource);"#;
    assert_eq!(ids(&composed(&people, vec![policy("p", auditors, &json!({}))])), ["t/p"]);
    let names = of("Namespace", "register", "Group");
    assert_eq!(ids(&composed(&names, open())), [FREE_NAMES_ID]);
    let objects = of("User", "registerObject", "Registration");
    assert_eq!(ids(&composed(&objects, open())), [FREE_NAMES_ID]);
    let register = r#"permit (principal, action == Action::"registerObject", resource);"#;
    assert_eq!(ids(&composed(&objects, vec![policy("p", register, &json!({}))])), ["t/p"]);
    let named = |effect: &str| {
        let cedar = format!(r#"{effect} (principal, action == Action::"register", resource == Group::"g");"#);
        Snapshot::build(vec![policy("p", &cedar, &json!({}))]).0.composed(&names).unwrap()
    };
    assert_eq!(ids(&named("forbid")), ["t/p", FREE_NAMES_ID]);
    assert_eq!(ids(&named("permit")), ["t/p"]);
    // Where one name is permitted, others are not free either.
    let permit = r#"permit (principal, action == Action::"register", resource == Group::"g");"#;
    let world = Snapshot::build(vec![policy("p", permit, &json!({}))]).0;
    assert!(world.composed(&of("Namespace", "register", "Team")).unwrap().is_empty());
}

/// What a text says is all that a decision depends on, and no more.
#[test]
fn two_policies_have_one_text_where_they_decide_the_same() {
    let text = |cedar: &str| one(cedar).text;
    let holds = |more: &str, role: &str| {
        format!(
            r#"@approval("{role}") {more} forbid (principal, action == Action::"invokeTool", resource) unless {{ context has approval }};"#
        )
    };
    let forbid =
        |more: &str| format!(r#"{more} forbid (principal, action == Action::"invokeTool", resource);"#);
    assert_eq!(text(LOOK), text(&format!(r#"@id("other") @reason("because") @note("x") {LOOK}"#)));
    let different = [
        LOOK.to_owned(),
        LOOK.replace("resource)", "resource in MCPServer::\"a/s\")"),
        forbid(""),
        forbid("@ends_chain"),
        forbid(r#"@redact("/a")"#),
        forbid(r#"@redact("/b")"#),
        holds("", "one"),
        holds("", "other"),
        holds(r#"@quorum("2")"#, "one"),
    ];
    let texts: BTreeSet<String> = different.iter().map(|cedar| text(cedar)).collect();
    assert_eq!(texts.len(), different.len());
    let windowed = policy("p", LOOK, &json!({"window": {"from": "2026-11-30T22:00:00Z"}}));
    let windowed = composed(&tools(), vec![windowed]).into_iter().find(|one| &*one.id == "t/p").unwrap();
    assert_ne!(windowed.text, text(LOOK));
}

#[test]
fn what_cedar_does_not_know_of_a_policy_is_told() {
    let of = |annotation: &str| {
        one(&format!(r#"{annotation} forbid (principal, action == Action::"invokeTool", resource);"#))
    };
    for (annotation, does, beyond) in [
        ("", Does::Refuses, None),
        (r#"@approval("r")"#, Does::Holds, Some("holds")),
        (r#"@redact("/a")"#, Does::Changes, Some("changes")),
        ("@ends_chain", Does::Refuses, Some("ends chains")),
    ] {
        let one = of(annotation);
        assert_eq!(one.does, does, "{annotation}");
        assert_eq!(one.beyond_cedar().is_some(), beyond.is_some(), "{annotation}");
        assert!(one.beyond_cedar().unwrap_or_default().contains(beyond.unwrap_or_default()), "{annotation}");
    }
    let all = composed(&tools(), Vec::new());
    let classes: Vec<&str> =
        all.iter().filter(|one| one.beyond_cedar().is_some()).map(|one| &*one.id).collect();
    assert_eq!(classes, [ACT_WITH_APPROVAL_ID, ADVISE_ID]);
}

#[test]
fn what_looks_at_arguments_or_at_what_need_not_be_there_is_told() {
    for (condition, on_arguments, on_unregistered) in [
        ("principal.team == resource.server.team && context.delegation_depth < 3", false, false),
        (r#"context has on_behalf_of && context.on_behalf_of.issuer == "i""#, false, false),
        (r#"principal in Group::"a/g" && principal.hasTag("t")"#, false, false),
        (r#"context.args.hasTag("/a")"#, true, false),
        (r#"context.numbers.hasTag("/a") && context.numbers.getTag("/a") > 1"#, true, false),
        (r#"context.call_digest == "sha256:0""#, true, false),
        (r#"Agent::"a/gone".team == "a""#, false, true),
        (r#"Agent::"a/gone" has version"#, false, true),
        (
            r#"(if context.chain.cycle then resource.server else MCPServer::"a/gone").team == "a""#,
            false,
            true,
        ),
    ] {
        let cedar = format!(
            r#"permit (principal, action == Action::"invokeTool", resource) when {{ {condition} }};"#
        );
        let one = one(&cedar);
        assert_eq!((one.on_arguments, one.on_unregistered), (on_arguments, on_unregistered), "{condition}");
    }
    // What a person does may be about anything.
    let owner = r#"permit (principal, action == Action::"quarantine", resource is Agent) when { principal has email && principal.email == resource.owner };"#;
    let all = composed(&of("User", "quarantine", "Agent"), vec![policy("p", owner, &json!({}))]);
    assert!(all.iter().any(|one| &*one.id == "t/p" && one.on_unregistered));
}

#[test]
fn a_forbid_turned_round_permits_what_it_refused_and_says_what_it_looks_at() {
    let cedar = r#"forbid (principal in Group::"g", action == Action::"invokeTool", resource) when { context.delegation_depth > 3 && context.args.hasTag("/to") && context.args.getTag("/to") == "x" };"#;
    let one = one(cedar);
    let turned = one.as_permit().unwrap();
    assert_eq!(turned.effect(), cedar_policy::Effect::Permit);
    let looks: Vec<String> = one.looks_at().into_iter().collect();
    let expected = ["context.args.getTag(\"/to\")", "context.delegation_depth", "principal in Group::\"g\""];
    assert_eq!(looks, expected);
}

#[test]
fn parts_that_policies_name_are_compared() {
    let world = |cedar: &str| {
        snapshot(objects(vec![agent("a", "x")], vec![server("a", "s")], vec![policy("p", cedar, &json!({}))]))
    };
    let named = LOOK.replace("resource)", "resource == Tool::\"a/s/t\")");
    let [look, named] = [world(LOOK), world(&named)];
    assert!(look.names_the_same_parts(&look) && !look.names_the_same_parts(&named));
}
