//! What a snapshot accepts, what it leaves out, and what it says of that.

use std::collections::BTreeMap;
use std::sync::Arc;

use vidimus_core::call::{Action, Target};
use vidimus_core::refusal::Code;
use vidimus_core::resource::policy::Scope;
use vidimus_core::resource::{ActsFor, Agent, Identity, Object, Origin, Rejection, Subject};
use vidimus_core::snapshot::{MAX_CEDAR, QUARANTINE_ID, Snapshot};

use crate::oracle::BUILT_IN;
use crate::world::{Facts, agent, cluster, ids, objects, policy, provider, server, snapshot};

fn object(agent: Agent) -> Object {
    Object::Agent(Arc::new(agent))
}

fn spiffe(id: &str) -> Identity {
    Identity::Spiffe(id.into())
}

fn oidc(issuer: &str, subject: &str) -> Identity {
    Identity::Oidc { issuer: issuer.into(), subject: subject.into(), claims: BTreeMap::new() }
}

fn one_rejection(objects: Vec<Object>) -> (Snapshot, Rejection) {
    let (snapshot, mut rejected) = Snapshot::build(objects);
    assert_eq!(rejected.len(), 1, "{rejected:#?}");
    (snapshot, rejected.remove(0))
}

#[test]
fn issuers_are_those_of_identities_and_of_users() {
    let acts_for = vec![ActsFor { issuer: "https://people".into() }];
    let one = Agent {
        identities: vec![oidc("https://i", "s"), spiffe("spiffe://t/x")],
        acts_for,
        ..agent("a", "x")
    };
    let world = snapshot(vec![object(one)]);
    assert_eq!(world.issuers().collect::<Vec<_>>(), ["https://i", "https://people"]);
    assert!(world.principal_by_oidc("https://people", "s").is_none());
    assert!(world.principal_by_oidc("https://i", "S").is_none());
}

#[test]
fn the_digest_is_of_the_objects_not_of_their_order_or_place() {
    let build = |objects: Vec<Object>| snapshot(objects).digest().to_owned();
    let all = || {
        vec![
            object(agent("a", "x")),
            object(agent("a", "y")),
            cluster("permit (principal, action, resource);"),
        ]
    };
    let digest = build(all());
    assert!(digest.starts_with("sha256:") && digest.len() == 7 + 64, "{digest}");
    assert_eq!(digest, build(all().into_iter().rev().collect()));
    let mut moved = agent("a", "x");
    moved.meta.origin = Origin::file("elsewhere.yaml", 7);
    assert_eq!(digest, build(vec![object(moved), all().remove(1), all().remove(2)]));
    let other = Agent { quarantined: true, ..agent("a", "x") };
    assert_ne!(digest, build(vec![object(other), all().remove(1), all().remove(2)]));
    assert_ne!(digest, build(all().into_iter().take(2).collect()));
}

#[test]
fn bad_policies_are_left_out_with_their_place_and_a_fix() {
    let long = format!("permit (principal, action, resource); // {}", "x".repeat(MAX_CEDAR));
    for (text, place, reason) in [
        ("", "", "no policy"),
        ("// nothing\n", "", "no policy"),
        ("permit (principal, action, resource)", "line 1, column 37", "unexpected"),
        ("permit (principal, action, resource);\n  forbid principal;", "line 2, column 10", "unexpected"),
        ("permit (principal, action, resource) when { principal.nope == 1 };", "line 1", "attribute `nope`"),
        ("permit (principal, action, resource)\nwhen { context.delegation_depth == \"3\" };", "line 2", ""),
        ("permit (principal, action == Action::\"invokeTools\", resource);", "line 1", "invokeTools"),
        ("permit (principal is Robot, action, resource);", "line 1", "Robot"),
        (
            "permit (principal, action, resource) when { principal.risk == \"low\" };",
            "line 1",
            "not compatible",
        ),
        // Optional attributes need a guard; arguments too.
        (
            "permit (principal is Agent, action, resource) when { principal.version == \"1\" };",
            "line 1",
            "version",
        ),
        (
            "permit (principal, action == Action::\"invokeTool\", resource) when { context.numbers.getTag(\"/n\") > 1 };",
            "line 1",
            "tag",
        ),
        // The kernel's actions have no context.
        ("permit (principal, action, resource) when { context.chain.cycle };", "line 1", "chain"),
        ("permit (principal == ?principal, action, resource);", "policy 0 is a template", "slot"),
        ("forbid (principal is Service, action == Action::\"exec\", resource);", "line 1", "never apply"),
        ("forbid (principal, action, resource) when { \"a\u{202e}b\" == \"c\" || true };", "line 1", ""),
        (
            "@id(\"a\") permit (principal, action, resource); @id(\"a\") forbid (principal, action, resource);",
            "",
            "two policies of this object have the id 't/p#a'",
        ),
        // The second is #1 by its place.
        (
            "@id(\"1\") permit (principal, action, resource); forbid (principal, action, resource);",
            "",
            "two policies of this object have the id 't/p#1'",
        ),
        (
            "@id(\"a b\") permit (principal, action, resource); forbid (principal, action, resource);",
            "",
            "@id",
        ),
        ("@id permit (principal, action, resource);", "", "@id"),
        (&long, "", "bytes long"),
    ] {
        let fine = policy("t", "fine", Scope::Cluster, "permit (principal, action, resource);");
        let (snapshot, rejected) = Snapshot::build(vec![cluster(text), fine]);
        assert_eq!(rejected.len(), 1, "{text}: {rejected:#?}");
        let rejection = &rejected[0];
        assert_eq!((&*rejection.object.to_string(), &*rejection.field), ("Policy t/p", "spec.cedar"));
        assert!(
            rejection.reason.contains(place) && rejection.reason.contains(reason),
            "{text}: {rejection:#?}"
        );
        assert!(
            !rejection.fix.is_empty() && rejection.value.chars().count() <= 120,
            "{text}: {rejection:#?}"
        );
        assert!(!rejection.reason.contains("policy0"), "{rejection:#?}");
        // The rest is live.
        assert_eq!(snapshot.policies().count(), 1 + BUILT_IN.len(), "{text}");
    }
}

/// Found by the fuzz target `resources`: which of several faults was reported changed from load to load.
#[test]
fn of_several_faults_of_a_policy_the_same_one_is_reported_each_time() {
    let text = "permit (principal, action, resource)\nwhen { context.numbers.hasTag(\"/n\") && principal.nope == 1 };";
    let rejection = || one_rejection(vec![cluster(text)]).1;
    let first = rejection();
    for _ in 0..16 {
        assert_eq!(rejection(), first);
    }
}

#[test]
fn hostile_nesting_is_refused_or_decided_but_never_ends_the_process() {
    let deep = |before: &str, middle: &str, after: &str, times: usize| {
        format!(
            "permit (principal, action, resource) when {{ {}{middle}{} }};",
            before.repeat(times),
            after.repeat(times)
        )
    };
    let texts = [
        deep("(", "true", ")", 20_000),
        deep("!", "true", "", 20_000),
        deep("-", "1", " == 1", 20_000),
        deep("[", "1", "]", 20_000),
        deep("true && ", "true", "", 7_000),
        deep("true || ", "true", "", 7_000),
        deep("", "1", " + 1", 12_000),
        deep("if true then true else ", "true", "", 2_500),
        deep("{a: ", "1", "}", 10_000),
        deep("principal.team == \"a\" || ", "true", "", 2_300),
        deep("", "principal.team", ".a", 20_000),
    ];
    // As deep as is accepted, in every way at once, and with what is left to evaluate per call.
    let brackets = |inner: &str| format!("{}{inner}{}", "(".repeat(30), ")".repeat(30));
    let deepest = [
        brackets(&format!("{}context.chain.depth < 9", "context.chain.depth > 9 || ".repeat(250))),
        brackets(&format!("{}context.chain.cycle", "!context.chain.cycle && ".repeat(120))),
        format!(
            "{}context.chain.depth == 1{}",
            "!(if context.chain.cycle then true else ".repeat(30),
            ")".repeat(30)
        ),
        format!("context.chain.depth{} > 9", " + context.chain.depth".repeat(250)),
    ]
    .map(|condition| {
        format!("permit (principal, action in Action::\"mcp\", resource) when {{ {condition} }};")
    });
    let texts: Vec<(String, bool)> =
        texts.map(|text| (text, false)).into_iter().chain(deepest.map(|text| (text, true))).collect();
    // The stack of a tokio worker.
    let run = std::thread::Builder::new().stack_size(2 << 20).spawn(move || {
        for (text, accepted) in texts {
            let objects = objects(vec![agent("a", "x")], vec![server("a", "s")], vec![cluster(&text)]);
            let (snapshot, rejected) = Snapshot::build(objects);
            assert!(rejected.is_empty() || !accepted, "{rejected:#?}");
            let target = Target::Server(snapshot.mcp_server("a/s").unwrap());
            Facts::of(&snapshot, "a/x").authorize(&snapshot, Action::ConnectServer, target);
        }
    });
    run.unwrap().join().unwrap();
}

#[test]
fn ids_of_several_policies_are_numbered_or_named() {
    let text = "permit (principal, action, resource); @id(\"no-drop\") forbid (principal is Agent, action, resource); \
                @id(\"x\") permit (principal is Service, action, resource);";
    let world = snapshot(vec![cluster(text)]);
    let ids = ids(&world);
    assert_eq!(ids, [QUARANTINE_ID, "t/p#0", "t/p#no-drop", "t/p#x"]);
    // Alone, a policy has the name of its object.
    let world = snapshot(vec![cluster("@id(\"x\") permit (principal, action, resource);")]);
    assert_eq!(world.policies().last().map(|id| &**id), Some("t/p"));
}

#[test]
fn names_that_nothing_bears_are_warned_of_and_never_match() {
    let text = r#"
        permit (principal in Group::"nobody", action, resource);
        permit (principal == Agent::"a/ghost", action, resource in MCPServer::"a/s");
        permit (principal, action == Action::"invokeTool", resource in [ToolSet::"none"]) when { principal in Team::"finance" };
    "#;
    let text = text.replace(
        r#"resource in [ToolSet::"none"]) when {"#,
        r#"resource) when { resource in [ToolSet::"none"] &&"#,
    );
    let all = objects(vec![agent("a", "x")], vec![server("a", "s")], vec![cluster(&text)]);
    let world = snapshot(all);
    let values: Vec<&str> = world.warnings().iter().map(|warning| &*warning.value).collect();
    assert_eq!(
        values,
        [r#"Agent::"a/ghost""#, r#"Group::"nobody""#, r#"ToolSet::"none""#, r#"Team::"finance""#]
    );
    let target = Target::Tool { server: world.mcp_server("a/s").unwrap(), name: "t" };
    let decision = Facts::of(&world, "a/x").authorize(&world, Action::InvokeTool, target);
    assert_eq!(decision.code, Some(Code::NoPermit));
}

#[test]
fn a_policy_of_a_namespace_without_objects_is_told_about_its_scope() {
    let text = "permit (principal, action, resource);";
    let world = snapshot(objects(
        vec![agent("a", "x")],
        vec![server("a", "s")],
        vec![policy("b", "p", Scope::Namespace, text)],
    ));
    let said: Vec<_> = world.warnings().iter().map(|warning| (&*warning.reason, &*warning.fix)).collect();
    let reason = "nothing is registered in namespace b, so this policy reaches nothing";
    assert_eq!(said, [(reason, "move it, or use scope: Cluster")]);
}

#[test]
fn models_that_are_not_listed_are_unknown() {
    let text = r#"permit (principal, action == Action::"callModel", resource == Model::"p/openai/gpt-9");"#;
    let mut all = vec![Object::LlmProvider(Arc::new(provider("p", "openai", &[("gpt-5", &[])])))];
    all.push(cluster(text));
    assert_eq!(snapshot(all).warnings().len(), 1);
}

#[test]
fn what_did_not_change_is_taken_over() {
    let forbid = "forbid (principal, action, resource);";
    let all = |text: &str| {
        objects(
            vec![agent("a", "x")],
            vec![server("a", "s")],
            vec![cluster("permit (principal, action, resource);"), policy("t", "q", Scope::Namespace, text)],
        )
    };
    let first = snapshot(all(forbid));
    let (second, rejected) = first.rebuilt(all(forbid), Vec::new());
    assert!(rejected.is_empty());
    assert_eq!(first.digest(), second.digest());
    // A changed text is compiled anew, a broken one is left out, and what it permitted before is not kept.
    let (third, _) = second.rebuilt(all("permit (principal is Service, action, resource);"), Vec::new());
    assert_ne!(first.digest(), third.digest());
    let (broken, rejected) = third.rebuilt(all("nonsense"), Vec::new());
    assert_eq!((rejected.len(), broken.policies().count()), (1, 1 + BUILT_IN.len()));
}

/// A typing error in a policy takes away what it permitted, and does not open what it closed.
#[test]
fn what_a_malformed_policy_forbade_stays_forbidden() {
    const GOOD: &str = r#"permit (principal, action == Action::"callAgent", resource);
        forbid (principal, action == Action::"invokeTool", resource == Tool::"a/s/pay");"#;
    let base = || {
        let permit = cluster(r#"permit (principal, action == Action::"invokeTool", resource);"#);
        objects(vec![agent("a", "x")], vec![server("a", "s")], vec![permit])
    };
    let with = |text: &str| [base(), vec![policy("t", "freeze", Scope::Cluster, text)]].concat();
    let unread = |source: &str| {
        let (_, mut rejected) = Snapshot::build(with("nonsense"));
        rejected
            .iter_mut()
            .for_each(|one| (one.origin, one.object) = (Origin::file(source, 1), Subject::Source));
        rejected
    };
    let forbidden = |world: &Snapshot| {
        let target = Target::Tool { server: world.mcp_server("a/s").unwrap(), name: "pay" };
        let decision = Facts::of(world, "a/x").authorize(world, Action::InvokeTool, target);
        decision.code == Some(Code::ForbiddenByPolicy)
    };
    let permitted = |world: &Snapshot| {
        let target = Target::Agent(world.agent("a/x").unwrap());
        Facts::of(world, "a/x").authorize(world, Action::CallAgent, target).allowed()
    };
    let good = snapshot(with(GOOD));
    assert!(forbidden(&good) && permitted(&good));

    let (broken, rejected) = good.rebuilt(with("nonsense"), Vec::new());
    assert!(forbidden(&broken) && !permitted(&broken));
    assert_eq!((broken.objects().len(), rejected.len()), (3, 1));
    assert!(
        rejected[0].reason.ends_with("what it forbade while it was good stays forbidden"),
        "{rejected:?}"
    );
    assert!(![good.digest(), snapshot(base()).digest()].contains(&broken.digest()));

    // Still malformed, now so that not even its name can be read.
    let (unnamed, rejected) = broken.rebuilt(base(), unread(""));
    assert!(
        forbidden(&unnamed) && rejected.len() == 2 && rejected[1].object.to_string() == "Policy t/freeze"
    );
    // Something somewhere else, of which nobody knows what it is: it may have been moved there.
    let (elsewhere, rejected) = good.rebuilt(base(), unread("elsewhere.yaml"));
    assert!(forbidden(&elsewhere) && rejected.len() == 2);
    // Deleted, or good again.
    let (deleted, _) = unnamed.rebuilt(base(), Vec::new());
    assert!(!forbidden(&deleted) && deleted.digest() == snapshot(base()).digest());
    let (again, _) = unnamed.rebuilt(with(GOOD), Vec::new());
    assert!(forbidden(&again) && permitted(&again) && again.digest() == good.digest());
    let (changed, _) = unnamed.rebuilt(with("permit (principal is Service, action, resource);"), Vec::new());
    assert!(!forbidden(&changed));
}

/// By the letters of the action alone, and the same at every start.
#[test]
fn a_misspelt_action_is_answered_with_the_nearest_of_the_schema() {
    let all = "write one of the actions of the schema: a2a, approve, callAgent, callModel, connectNetwork, connectServer, declassify, evaluate, exec, \
               export, getPrompt, grant, invokeTool, kernel, lift, listModels, llm, loadLibrary, mcp, operate, quarantine, read, readFile, readResource, register, registerObject, \
               revoke, shred, writeFile";
    for (written, fix) in [
        ("invoketool", "did you mean Action::\"invokeTool\"?"),
        ("invokeToo", "did you mean Action::\"invokeTool\"?"),
        ("invoke_tool", "did you mean Action::\"invokeTool\"?"),
        ("getPromt", "did you mean Action::\"getPrompt\"?"),
        ("readResourse", "did you mean Action::\"readResource\"?"),
        ("callagent", "did you mean Action::\"callAgent\"?"),
        ("connectSever", "did you mean Action::\"connectServer\"?"),
        ("LLM", "did you mean Action::\"llm\"?"),
        ("tool", all),
        ("connect", all),
        ("a `b` \\\"c", all),
    ] {
        for text in [
            format!("permit (principal, action == Action::\"{written}\", resource);"),
            format!("permit (principal, action, resource) when {{ action == Action::\"{written}\" }};"),
        ] {
            let (_, rejected) = Snapshot::build(vec![cluster(&text)]);
            let fixes: Vec<&str> = rejected.iter().map(|one| &*one.fix).collect();
            assert_eq!(fixes, [fix], "{text}");
        }
    }
}
