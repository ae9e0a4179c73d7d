//! Namespaces that observe until a date: what no policy permits passes, and is said to be what would be refused.

use serde_json::{Value, json};
use vidimus_core::act::{Act, OfSubject};
use vidimus_core::approval::Approval;
use vidimus_core::call::{Action, Target};
use vidimus_core::caller::{UnixMillis, User};
use vidimus_core::decision::{About, Outcome};
use vidimus_core::record::{ActKind, ActRecord, VERSION};
use vidimus_core::refusal::Code;
use vidimus_core::resource::{self, Object, Origin};
use vidimus_core::snapshot::{Configuration, Overlay, Snapshot};
use vidimus_core::standing::Standing;

use crate::generate;
use crate::world::{Facts, agent, objects, policy, server, snapshot};

const ALL: &str = "permit (principal, action, resource);";
/// Shortly after the time of the test's calls.
const UNTIL: &str = "2026-09-22T00:00:00Z";

fn object(namespace: &str, name: &str, cedar: &str, more: &Value) -> Result<Object, String> {
    let mut object = json!({"apiVersion": "vidimus.dev/v1alpha1", "kind": "Policy",
        "metadata": {"namespace": namespace, "name": name}, "spec": {"description": "d", "cedar": cedar}});
    object["spec"].as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    resource::check(&Origin::default(), &object).map_err(|problems| format!("{problems:?}"))
}

fn rollout(namespace: &str) -> Object {
    object(namespace, "observe", ALL, &json!({"mode": "rollout", "window": {"until": UNTIL}})).unwrap()
}

fn enforced(namespace: &str, cedar: &str) -> Object {
    policy(namespace, "enforced", resource::policy::Scope::Namespace, cedar)
}

fn world(policies: Vec<Object>) -> Snapshot {
    let agents = vec![agent("a", "x"), agent("a", "y"), agent("b", "y")];
    snapshot(objects(agents, vec![server("a", "s"), server("b", "s")], policies))
}

/// The outcome, by which code it would be refused, and by which policies it was decided.
fn call(world: &Snapshot, facts: &Facts, action: Action, target: Target<'_>) -> Said {
    facts.ask(action, target, |call| {
        let decision = world.authorize(call);
        let policies = decision.policies().iter().map(ToString::to_string).collect();
        let about = About {
            id: &"c".into(),
            trace: "",
            parent: None,
            time: "",
            protocol: "mcp",
            body: "",
            snapshot: "",
            approval: None,
            on_account_of: None,
            kept: None,
            aged: None,
        };
        let recorded = decision.record(&about).would_refuse.map(|code| code.to_string());
        assert_eq!(recorded.as_deref(), decision.would_refuse().map(Code::as_str));
        (decision.outcome(), decision.would_refuse(), policies)
    })
}

type Said = (Outcome, Option<Code>, Vec<String>);

fn invoke(world: &Snapshot, namespace: &str) -> Said {
    let facts = Facts::of(world, "a/x").with(r#"{"n": 5}"#);
    let server = world.mcp_server(&format!("{namespace}/s")).unwrap();
    call(world, &facts, Action::InvokeTool, Target::Tool { server, name: "t" })
}

fn passes(by: &str) -> Said {
    (Outcome::Allow, Some(Code::NoPermit), vec![by.to_owned()])
}

#[test]
fn what_no_policy_permits_passes_in_its_namespace_and_says_so() {
    let observing = world(vec![rollout("a")]);
    assert_eq!(invoke(&observing, "a"), passes("a/observe"));
    // Attack: a rollout of one namespace, for what is of another.
    assert_eq!(invoke(&observing, "b"), (Outcome::Deny, None, Vec::new()));
    // What is permitted is nothing to it.
    let permit = r#"permit (principal, action == Action::"invokeTool", resource);"#;
    let both = world(vec![rollout("a"), enforced("a", permit)]);
    assert_eq!(invoke(&both, "a"), (Outcome::Allow, None, vec!["a/enforced".to_owned()]));
    // Nor is what that implies: connecting to a server of which some tool is permitted would not be refused.
    let connects = |world: &Snapshot| {
        let target = Target::Server(world.mcp_server("a/s").unwrap());
        call(world, &Facts::of(world, "a/x"), Action::ConnectServer, target)
    };
    assert_eq!((connects(&both).0, connects(&both).1), (Outcome::Allow, None));
    assert_eq!(connects(&observing), passes("a/observe"));
    // A rollout may be of less.
    let narrow = r#"permit (principal == Agent::"a/y", action, resource);"#;
    let more = json!({"mode": "rollout", "window": {"until": UNTIL}});
    let narrow = world(vec![object("a", "observe", narrow, &more).unwrap()]);
    assert_eq!(invoke(&narrow, "a").0, Outcome::Deny);
}

#[test]
fn it_ends_by_itself() {
    let world = world(vec![rollout("a")]);
    let end = UNTIL.parse::<jiff::Timestamp>().unwrap().as_millisecond();
    let at = |now: i64| {
        let facts = Facts { now: UnixMillis(now), ..Facts::of(&world, "a/x") };
        let target = Target::Tool { server: world.mcp_server("a/s").unwrap(), name: "t" };
        call(&world, &facts, Action::InvokeTool, target).0
    };
    assert_eq!((at(end - 1), at(end)), (Outcome::Allow, Outcome::Deny));
    // Streams are decided again then.
    assert_eq!(world.next_closing(UnixMillis(end - 1)), Some(UnixMillis(end)));
}

/// Attack: a rollout that opens what something closes.
#[test]
fn it_opens_nothing_that_is_closed() {
    let forbid = r#"forbid (principal, action == Action::"invokeTool", resource);"#;
    let refused = (Outcome::Deny, None, vec!["a/enforced".to_owned()]);
    assert_eq!(invoke(&world(vec![rollout("a"), enforced("a", forbid)]), "a"), refused);
    // A forbid of one that fails, and of one that cannot see.
    let failing = r#"forbid (principal, action == Action::"invokeTool", resource) when { Agent::"a/ghost".team == "x" };"#;
    assert_eq!(invoke(&world(vec![rollout("a"), enforced("a", failing)]), "a").0, Outcome::Deny);
    // What asks people asks them, and what they approved passes as what would be refused after all.
    let holds = r#"@approval("boss") forbid (principal, action == Action::"invokeTool", resource) unless { context has approval };"#;
    let held = world(vec![rollout("a"), enforced("a", holds)]);
    assert_eq!((invoke(&held, "a").0, invoke(&held, "a").1), (Outcome::Hold, Some(Code::NoPermit)));
    let by = User { issuer: "i".into(), subject: "ada".into(), email: None, groups: Default::default() };
    let mut facts = Facts::of(&held, "a/x");
    facts.approvals = vec![Approval { role: "boss".into(), by, at: facts.now }];
    let target = Target::Tool { server: held.mcp_server("a/s").unwrap(), name: "t" };
    assert_eq!(call(&held, &facts, Action::InvokeTool, target), passes("a/observe"));
    // What is quarantined stays so: an agent, and one copy.
    for subject in ["Agent/a/x", "MCPServer/a/s", "Identity/spiffe://test/agent"] {
        let act = Act::Quarantine(OfSubject { subject: subject.parse().unwrap() });
        let mut standing = Standing::default();
        standing.apply(&ActRecord {
            act,
            actor: "User/urn:vidimus:local#admin".into(),
            id: "1".into(),
            kind: ActKind,
            note: false,
            shared: None,
            time: "2026-09-21T14:13:20.500000Z".into(),
            version: VERSION,
            why: "INC-7".into(),
        });
        let standing = std::sync::Arc::new(Overlay::of(&standing).unwrap());
        let objects = objects(vec![agent("a", "x")], vec![server("a", "s")], vec![rollout("a")]);
        let configuration = Configuration { objects, standing, ..Configuration::default() };
        let (world, rejected) = Snapshot::default().next(configuration);
        assert!(rejected.is_empty(), "{rejected:?}");
        assert_eq!((invoke(&world, "a").0, invoke(&world, "a").1), (Outcome::Deny, None), "{subject}");
    }
}

/// Listings show what would pass, and a stream by it goes on.
#[test]
fn what_would_pass_is_listed_and_goes_on() {
    let world = world(vec![rollout("a")]);
    let facts = Facts::of(&world, "a/x");
    for (server, expected) in [("a/s", true), ("b/s", false)] {
        let target = Target::Tool { server: world.mcp_server(server).unwrap(), name: "t" };
        let could = facts.ask(Action::InvokeTool, target, |call| {
            let ask =
                vidimus_core::call::Ask { arguments: vidimus_core::call::Arguments::Unknown, ..call.ask };
            let call = vidimus_core::call::Call { ask, ..*call };
            (world.could_allow(&call), world.could_go_on(&call))
        });
        assert_eq!(could, (expected, expected), "{server}");
    }
}

#[test]
fn it_has_an_end_and_is_of_one_namespace_and_check_tells_of_it() {
    let end = json!({"until": UNTIL});
    for (more, says) in [
        (json!({"mode": "rollout"}), "says no end"),
        (json!({"mode": "rollout", "window": {"from": UNTIL}}), "says no end"),
        (json!({"mode": "rollout", "window": end, "scope": "Cluster"}), "of one namespace"),
    ] {
        let fault = object("a", "observe", ALL, &more).unwrap_err();
        assert!(fault.contains(says), "{fault}");
    }
    let forbid = format!("{ALL} forbid (principal, action, resource);");
    let forbids = object("a", "observe", &forbid, &json!({"mode": "rollout", "window": end})).unwrap();
    let (_, rejected) =
        Snapshot::build(objects(vec![agent("a", "x")], vec![server("a", "s")], vec![forbids]));
    assert!(rejected.iter().any(|one| one.reason.contains("only lets pass")), "{rejected:?}");
    let world = world(vec![rollout("a")]);
    let warned = world.warnings().iter().find(|one| one.reason.contains(UNTIL));
    assert!(warned.is_some_and(|one| one.fix.contains("would_refuse")), "{:?}", world.warnings());
    // It is none of the policies in force, and the same snapshot is made from what was before.
    assert!(world.policies().all(|id| &**id != "a/observe"));
    let (again, _) = world.rebuilt(world.objects().to_vec(), Vec::new());
    assert_eq!((again.digest(), invoke(&again, "a")), (world.digest(), passes("a/observe")));
    // Where it is gone, nothing passes.
    let rest = world.objects().iter().filter(|one| !matches!(one, Object::Policy(_))).cloned();
    let (gone, _) = world.rebuilt(rest.collect(), Vec::new());
    assert_eq!(invoke(&gone, "a").0, Outcome::Deny);
}

/// Of generated policies and calls: what some policy decides is decided as without the rollout, and what no policy permits as if it were an
/// ordinary permit, and says so.
#[test]
fn it_decides_nothing_but_what_no_policy_permits() {
    let (mut passed, mut held, mut denied, mut same) = (0, 0, 0, 0);
    for seed in 1..=300 {
        let (objects, samples) = generate::world(seed, 12);
        let with = |policy: Object| Snapshot::build(objects.iter().cloned().chain([policy]).collect()).0;
        let strict = Snapshot::build(objects.clone()).0;
        let rolled = with(rollout("n0"));
        let open = with(object("n0", "observe", ALL, &json!({"window": {"until": UNTIL}})).unwrap());
        for sample in samples.iter().filter(|sample| sample.is_about(&strict)) {
            let said = |world: &Snapshot| {
                sample.ask(world, |call| {
                    let decision = world.authorize(call);
                    let policies: Vec<String> = decision.policies().iter().map(ToString::to_string).collect();
                    (decision.outcome(), decision.code(), policies, decision.would_refuse())
                })
            };
            let (by_strict, by_rolled, by_open) = (said(&strict), said(&rolled), said(&open));
            if by_strict.1 != Some(Code::NoPermit) {
                assert_eq!(by_rolled, by_strict, "seed {seed}: {sample:?}");
                same += 1;
            } else if by_open.0 == Outcome::Deny {
                assert_eq!(by_rolled, by_strict, "seed {seed}: {sample:?}");
                denied += 1;
            } else {
                let expected = (by_open.0, by_open.1, by_open.2, Some(Code::NoPermit));
                assert_eq!(by_rolled, expected, "seed {seed}: {sample:?}");
                if by_rolled.0 == Outcome::Hold { held += 1 } else { passed += 1 }
            }
        }
    }
    for (what, count, least) in
        [("passed", passed, 50), ("held", held, 1), ("denied", denied, 50), ("same", same, 200)]
    {
        assert!(count >= least, "{what}: {count}");
    }
}
