//! Objects that collide refuse, whatever was read first.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use vidimus_core::call::{Action, Target};
use vidimus_core::refusal::{Code, Refusal};
use vidimus_core::resource::policy::Scope;
use vidimus_core::resource::{Agent, Identity, Kind, Object, Origin, Rejection, Subject};
use vidimus_core::snapshot::{Before, CLOSED_ID, Configuration, Doubt, QUARANTINE_ID, Snapshot};

use crate::generate::{self, Dice};
use crate::world::{Facts, agent, cluster, ids, policy, provider, server, service};

const EVERYTHING: &str = "permit (principal, action, resource);";
const PAY: &str = r#"forbid (principal, action == Action::"invokeTool", resource == Tool::"a/s/pay");"#;

fn in_file(file: &str, mut object: Object) -> Object {
    let meta = match &mut object {
        Object::Agent(agent) => &mut Arc::make_mut(agent).meta,
        Object::Service(service) => &mut Arc::make_mut(service).meta,
        Object::McpServer(server) => &mut Arc::make_mut(server).meta,
        Object::LlmProvider(provider) => &mut Arc::make_mut(provider).meta,
        Object::Policy(policy) => &mut Arc::make_mut(policy).meta,
    };
    meta.origin = Origin::file(file, 1);
    object
}

fn policy_in(file: &str, name: &str, text: &str) -> Object {
    in_file(file, policy("t", name, Scope::Cluster, text))
}

fn agent_in(file: &str, name: &str, identity: &str) -> Object {
    let identities = vec![Identity::Spiffe(identity.into())];
    in_file(file, Object::Agent(Arc::new(Agent { identities, ..agent("a", name) })))
}

/// An agent `a/x` and a server `a/s`, beside others.
fn with(others: &[Object]) -> Vec<Object> {
    let base = [
        agent_in("base", "x", "spiffe://t/x"),
        in_file("base", Object::McpServer(Arc::new(server("a", "s")))),
    ];
    base.iter().chain(others).cloned().collect()
}

/// How `a/x` may call `pay` of `a/s`.
fn pay(world: &Snapshot) -> Option<Code> {
    let target = Target::Tool { server: world.mcp_server("a/s").unwrap(), name: "pay" };
    Facts::of(world, "a/x").authorize(world, Action::InvokeTool, target).code
}

fn unread(file: &str) -> Rejection {
    Rejection {
        origin: Origin::file(file, 0),
        object: Subject::Source,
        field: String::new(),
        value: String::new(),
        reason: "unreadable".to_owned(),
        fix: "repair it".to_owned(),
    }
}

/// Both orders, which must be the same.
fn both_orders(objects: &[Object]) -> (Snapshot, Vec<Rejection>) {
    let (one, mut said) = Snapshot::build(objects.to_vec());
    let (other, mut also) = Snapshot::build(objects.iter().rev().cloned().collect());
    assert_eq!(one.digest(), other.digest());
    for said in [&mut said, &mut also] {
        said.sort_by(|a, b| (&a.origin, &a.field).cmp(&(&b.origin, &b.field)));
    }
    assert_eq!(said, also);
    (one, said)
}

#[test]
fn of_policies_of_one_name_all_forbids_and_no_permits_are_in_force() {
    let everything = policy_in("z", "everything", EVERYTHING);
    let freeze = policy_in("2", "p", &format!("{EVERYTHING} {PAY}"));
    let (world, rejected) = both_orders(&with(&[
        everything,
        policy_in("1", "p", EVERYTHING),
        freeze.clone(),
        in_file("3", freeze),
    ]));
    assert_eq!(pay(&world), Some(Code::ForbiddenByPolicy));
    assert_eq!(rejected.len(), 3);
    for (rejection, others) in rejected.iter().zip(["2:1, 3:1", "1:1, 3:1", "1:1, 2:1"]) {
        assert_eq!((&*rejection.object.to_string(), &*rejection.field), ("Policy t/p", "metadata.name"));
        assert!(rejection.reason.contains(others) && !rejection.fix.is_empty(), "{rejection:#?}");
    }
    // What they permit is not permitted.
    let (world, _) = both_orders(&with(&[policy_in("1", "p", EVERYTHING), policy_in("2", "p", EVERYTHING)]));
    assert_eq!(pay(&world), Some(Code::NoPermit));
    // Ids stay apart, so that no edge is a fault.
    let (world, _) = both_orders(&with(&[
        policy_in("z", "everything", EVERYTHING),
        policy_in("1", "p", PAY),
        policy_in("2", "p", r#"forbid (principal, action == Action::"getPrompt", resource);"#),
    ]));
    let ids = ids(&world);
    assert!(matches!(ids[..], [QUARANTINE_ID, "t/everything", one, other] if one != other), "{ids:?}");
    assert!(ids[2..].iter().all(|id| id.starts_with("t/p~")), "{ids:?}");
    assert_eq!(pay(&world), Some(Code::ForbiddenByPolicy));
}

#[test]
fn what_has_a_contested_name_is_not_used() {
    let twice = |object: Object| [in_file("1", object.clone()), in_file("2", object)];
    for (objects, kind) in [
        (twice(agent_in("", "bot", "spiffe://t/bot")), "Agent"),
        (twice(Object::Service(Arc::new(service("a", "bot")))), "ServiceIdentity"),
        (twice(Object::McpServer(Arc::new(server("a", "bot")))), "MCPServer"),
        (twice(Object::LlmProvider(Arc::new(provider("a", "bot", &[])))), "LLMProvider"),
    ] {
        let (world, rejected) = both_orders(&objects);
        assert_eq!(world.objects().len(), 0);
        assert!(world.agent("a/bot").is_none() && world.service("a/bot").is_none(), "{kind}");
        assert!(world.mcp_server("a/bot").is_none() && world.llm_provider("a/bot").is_none(), "{kind}");
        assert!(world.principal_by_spiffe("spiffe://t/bot").is_none());
        assert_eq!(!world.claims_on_spiffe("spiffe://t/bot").is_empty(), kind == "Agent");
        assert_eq!(rejected.len(), 2);
        assert!(
            rejected.iter().all(|one| one.object.to_string() == format!("{kind} a/bot")),
            "{rejected:#?}"
        );
    }
    // Another kind, and another namespace, may have the name.
    let (_, rejected) = both_orders(&[
        Object::Agent(Arc::new(agent("a", "x"))),
        Object::Agent(Arc::new(agent("b", "x"))),
        Object::Service(Arc::new(service("a", "x"))),
    ]);
    assert!(rejected.is_empty());
}

/// Who looks for what is contested is told that it is, by what, and what to do; not that it is missing.
#[test]
fn what_is_contested_is_not_said_to_be_missing() {
    let twice = |object: Object| [in_file("1", object.clone()), in_file("2", object)];
    let (world, _) = both_orders(
        &[
            twice(Object::McpServer(Arc::new(server("a", "twice")))).to_vec(),
            vec![agent_in("3", "one", "spiffe://t/same"), agent_in("4", "other", "spiffe://t/same")],
            twice(agent_in("", "bot", "spiffe://t/bot")).to_vec(),
        ]
        .concat(),
    );
    let said = |refusal: Refusal| (refusal.code, refusal.message.to_string(), refusal.detail);
    let name = "several records have the name MCPServer a/twice, so none of them is used";
    assert_eq!(
        said(world.absent(Kind::McpServer, "a/twice", Code::ResourceUnknown)),
        (Code::NameContested, name.to_owned(), Some("they are at 1:1, 2:1".into()))
    );
    for (kind, name) in [(Kind::Agent, "a/twice"), (Kind::McpServer, "a/none"), (Kind::McpServer, "none")] {
        let expected = (Code::ResourceUnknown, format!("no {kind} {name} is registered"), None);
        assert_eq!(said(world.absent(kind, name, Code::ResourceUnknown)), expected);
    }
    let claims = world.claims_on_spiffe("spiffe://t/same");
    assert_eq!(
        said(Snapshot::contested("spiffe://t/same", claims)),
        (
            Code::IdentityContested,
            "Agent a/one and Agent a/other claim spiffe://t/same, so it proves none of them".to_owned(),
            Some("claimed by Agent a/one (3:1), Agent a/other (4:1)".into())
        )
    );
    let claims = world.claims_on_spiffe("spiffe://t/bot");
    assert_eq!(
        said(Snapshot::contested("spiffe://t/bot", claims)),
        (
            Code::IdentityContested,
            "spiffe://t/bot is claimed by Agent a/bot, which is not in force, so it proves nobody".to_owned(),
            Some("claimed by Agent a/bot (1:1), Agent a/bot (2:1)".into())
        )
    );
    for code in [Code::NameContested, Code::IdentityContested] {
        assert!(code.next().contains("rename"), "{}", code.next());
    }
}

#[test]
fn a_malformed_object_contests_its_name_too() {
    let (_, malformed) = Snapshot::build(vec![policy_in("1", "p", "nonsense")]);
    let good =
        || with(&[policy_in("2", "p", &format!("{EVERYTHING} {PAY}")), policy_in("z", "all", EVERYTHING)]);
    let (world, rejected) = Snapshot::default().rebuilt(good(), malformed);
    assert_eq!(pay(&world), Some(Code::ForbiddenByPolicy));
    assert_eq!(rejected.len(), 2);
    assert!(rejected[1].reason.contains("1:1"), "{rejected:#?}");
    let malformed_policy = policy_in("1", "p", "nonsense");
    let (world, _) = both_orders(&[good(), vec![malformed_policy]].concat());
    assert_eq!(pay(&world), Some(Code::ForbiddenByPolicy));
}

#[test]
fn a_contested_identity_proves_nobody() {
    let oidc = |claim: &str| Identity::Oidc {
        issuer: "https://i".into(),
        subject: "s".into(),
        claims: [("env".to_owned(), claim.to_owned())].into(),
    };
    let account = || Identity::ServiceAccount { namespace: "n".into(), name: "sa".into() };
    let spiffe = || Identity::Spiffe("spiffe://t/x".into());
    for (first, second, field, value) in [
        (spiffe(), spiffe(), "spec.identities[1].spiffe", "spiffe://t/x"),
        // Claims do not make two identities of one subject.
        (oidc("prod"), oidc("test"), "spec.identities[1].oidc", "https://i#s"),
        (account(), account(), "spec.identities[1].serviceAccount", "n/sa"),
    ] {
        let owner = Object::Agent(Arc::new(Agent {
            identities: vec![first],
            quarantined: true,
            ..agent("a", "first")
        }));
        let mut thief = service("b", "thief");
        thief.identities = vec![Identity::Spiffe("spiffe://t/own".into()), second];
        let thief = in_file("0", Object::Service(Arc::new(thief)));
        let (world, rejected) = both_orders(&[in_file("1", owner), thief]);
        let [of_thief, of_owner] = &rejected[..] else { panic!("{rejected:#?}") };
        assert_eq!((&*of_thief.field, &*of_thief.value), (field, value));
        assert!(of_thief.reason.contains("Agent a/first (1:1)"), "{}", of_thief.reason);
        assert!(of_owner.reason.contains("ServiceIdentity b/thief (0:1)"), "{}", of_owner.reason);
        assert!(world.principal_by_spiffe("spiffe://t/x").is_none());
        assert!(world.principal_by_oidc("https://i", "s").is_none());
        assert!(world.principal_by_service_account("n", "sa").is_none());
        let contested = [
            !world.claims_on_spiffe("spiffe://t/x").is_empty(),
            !world.claims_on_oidc("https://i", "s").is_empty(),
            !world.claims_on_service_account("n", "sa").is_empty(),
        ];
        assert_eq!(contested.iter().filter(|one| **one).count(), 1);
        // What is not contested of them is as it was.
        assert!(world.agent("a/first").is_some());
        let own = world.principal_by_spiffe("spiffe://t/own").unwrap();
        assert_eq!(own.entity().to_string(), "Service/b/thief");
        // The same again, with the world shared.
        let (again, said) = world.rebuilt(world.objects().to_vec(), Vec::new());
        assert_eq!((again.digest(), said.len()), (world.digest(), 2));
    }
}

/// The rule is one of sets: any order of the objects is the same configuration.
#[test]
fn the_order_of_the_objects_does_not_matter() {
    let mut contested = 0;
    for seed in 1..=60 {
        let mut dice = Dice::new(seed);
        let (mut objects, samples) = generate::world(seed, 10);
        // Twins, some of them other than what they are named after.
        let (others, _) = generate::world(seed + 1_000, 0);
        for object in others.into_iter().filter(|_| dice.chance(40)) {
            objects.push(object);
        }
        objects = objects
            .into_iter()
            .enumerate()
            .map(|(number, object)| in_file(&format!("{number}"), object))
            .collect();
        let (first, said) = Snapshot::build(objects.clone());
        contested += said.iter().filter(|one| one.field == "metadata.name").count();
        for _ in 0..3 {
            for place in (1..objects.len()).rev() {
                objects.swap(place, dice.below(place + 1));
            }
            let (other, also) = Snapshot::build(objects.clone());
            assert_eq!(first.digest(), other.digest(), "seed {seed}");
            let texts =
                |said: &[Rejection]| said.iter().map(|one| format!("{one:?}")).collect::<BTreeSet<_>>();
            assert_eq!(texts(&said), texts(&also), "seed {seed}");
            for sample in samples.iter().filter(|sample| sample.is_about(&first)) {
                let decision = |world: &Snapshot| {
                    sample.ask(world, |call| {
                        let decision = world.authorize(call);
                        let policies: BTreeSet<String> =
                            decision.policies().iter().map(ToString::to_string).collect();
                        (decision.code(), policies, world.could_allow(call))
                    })
                };
                assert_eq!(decision(&first), decision(&other), "seed {seed}");
            }
        }
    }
    assert!(contested > 60, "{contested}");
}

#[test]
fn a_contest_is_held_while_one_side_cannot_be_read() {
    let everything = policy_in("z", "everything", EVERYTHING);
    let freeze = policy_in("1", "p", PAY);
    let other = policy_in("2", "p", EVERYTHING);
    let (both, _) = Snapshot::build(with(&[everything.clone(), freeze, other.clone()]));
    assert_eq!(pay(&both), Some(Code::ForbiddenByPolicy));
    // Where it was, and wherever it may have been moved to.
    for file in ["1", "elsewhere"] {
        let (held, rejected) = both.rebuilt(with(&[everything.clone(), other.clone()]), vec![unread(file)]);
        assert_eq!(pay(&held), Some(Code::ForbiddenByPolicy), "{file}");
        assert!(rejected.len() >= 2, "{rejected:#?}");
        let (gone, rejected) = held.rebuilt(with(&[everything.clone(), other.clone()]), Vec::new());
        assert_eq!((pay(&gone), rejected.len()), (None, 0));
    }
    // Of identities.
    let bots = [agent_in("1", "one", "spiffe://t/bot"), agent_in("2", "two", "spiffe://t/bot")];
    let (both, _) = Snapshot::build(bots.to_vec());
    let (held, _) = both.rebuilt(bots[1..].to_vec(), vec![unread("1")]);
    assert!(
        held.principal_by_spiffe("spiffe://t/bot").is_none()
            && !held.claims_on_spiffe("spiffe://t/bot").is_empty()
    );
    let (gone, _) = held.rebuilt(bots[1..].to_vec(), Vec::new());
    assert!(gone.principal_by_spiffe("spiffe://t/bot").is_some());
}

#[test]
fn what_moved_is_not_held_and_what_may_have_moved_is() {
    let everything = policy_in("z", "everything", EVERYTHING);
    let freeze = |file: &str, text: &str| policy_in(file, "p", text);
    let (good, _) = Snapshot::build(with(&[everything.clone(), freeze("1", PAY)]));
    let step = |others: &[Object], fault: &str| {
        let objects = [vec![everything.clone()], others.to_vec()].concat();
        good.rebuilt(with(&objects), vec![unread(fault)])
    };
    // Moved as it was: it is only there. A policy that is malformed is somebody else's.
    let (moved, rejected) = step(&[freeze("2", PAY)], "elsewhere");
    assert_eq!((pay(&moved), rejected.len()), (Some(Code::ForbiddenByPolicy), 1));
    assert!(moved.policies().any(|id| **id == *"t/p"));
    // Moved with a change, while something cannot be read that may be the other half.
    let (moved, _) = step(&[freeze("2", EVERYTHING)], "elsewhere");
    assert_eq!(pay(&moved), Some(Code::ForbiddenByPolicy));
    // Renamed and misspelt in one step.
    let (renamed, _) = step(&[], "elsewhere");
    assert_eq!(pay(&renamed), Some(Code::ForbiddenByPolicy));
    let (_, misspelt) = Snapshot::build(vec![freeze("2", "nonsense")]);
    let (renamed, _) = good.rebuilt(with(std::slice::from_ref(&everything)), misspelt);
    assert_eq!(pay(&renamed), Some(Code::ForbiddenByPolicy));
    // What is malformed is not believed about its kind.
    let of_agent = |file: &str| {
        let fault = Subject::Object(Object::Agent(Arc::new(agent("a", "y"))).reference());
        Rejection { object: fault, ..unread(file) }
    };
    let deleted = |file: &str| good.rebuilt(with(std::slice::from_ref(&everything)), vec![of_agent(file)]).0;
    assert_eq!(pay(&deleted("elsewhere")), Some(Code::ForbiddenByPolicy));
    assert_eq!(pay(&deleted("1")), Some(Code::ForbiddenByPolicy));
}

/// Found by the property test of `registry` (seed 1190): the object was malformed, and another of its name new in its file.
#[test]
fn what_took_the_place_of_a_malformed_object_does_not_replace_it() {
    let bots = [agent_in("1", "one", "spiffe://t/bot"), agent_in("2", "two", "spiffe://t/bot")];
    let (both, _) = Snapshot::build(bots.to_vec());
    let named = Rejection { object: Subject::Object(bots[0].reference()), ..unread("1") };
    let three = agent_in("1", "three", "spiffe://t/three").reference();
    let of_other = Rejection { object: Subject::Object(three), ..unread("1") };
    let others = [agent_in("1", "one", "spiffe://t/other"), bots[1].clone()];
    for (fault, held) in [(named, true), (unread("1"), true), (of_other, false), (unread("3"), false)] {
        let (next, _) = both.rebuilt(others.to_vec(), vec![fault.clone()]);
        assert_eq!(!next.claims_on_spiffe("spiffe://t/bot").is_empty(), held, "{fault:?}");
        assert_eq!(next.principal_by_spiffe("spiffe://t/other").is_none(), held, "{fault:?}");
    }
}

/// What stands at a place now took the place of all that stood there before: none of it is hidden by a fault elsewhere.
#[test]
fn what_was_edited_twice_is_not_its_own_contestant() {
    let version = |action: &str| {
        let permit = format!(r#"permit (principal, action == Action::"{action}", resource);"#);
        policy_in(
            "c",
            "p",
            &format!("{permit} forbid (principal, action == Action::\"{action}\", resource);"),
        )
    };
    let doubted = vec![Doubt { place: Origin::file("c", 0), reason: "r", fix: "f" }];
    let next = |last: &Snapshot, object: Object, doubted: &[Doubt]| {
        let (objects, rejected) = (with(&[object]), vec![unread("z")]);
        let configuration =
            Configuration { objects, rejected, doubted: doubted.to_vec(), ..Configuration::default() };
        last.next(configuration).0
    };
    let first = next(&Snapshot::default(), version("getPrompt"), &[]);
    let second = next(&first, version("readResource"), &doubted);
    let third = next(&second, version("invokeTool"), &doubted);
    assert!(third.policies().any(|id| id.starts_with("t/p#0")), "{:?}", third.policies().collect::<Vec<_>>());
    let certain = next(&third, version("invokeTool"), &[]);
    assert_eq!(certain.only_refusing().count(), 0, "{:?}", certain.only_refusing().collect::<Vec<_>>());
}

/// Of a start, what was before and what is there now say nothing of who else claims an identity.
#[test]
fn who_is_renamed_before_a_start_keeps_its_identity() {
    let memory = Snapshot::build(vec![agent_in("1", "bot", "spiffe://t/bot")]).0.memory();
    let doubted = vec![Doubt { place: Origin::file("1", 0), reason: "r", fix: "f" }];
    for file in ["1", "2"] {
        let objects = vec![agent_in(file, "robot", "spiffe://t/bot")];
        let (seen, _) = Snapshot::build(objects.clone());
        let last = seen.remembering(&memory).unwrap().unwrap();
        let configuration = Configuration { objects, doubted: doubted.clone(), ..Configuration::default() };
        let (next, _) = last.next(configuration);
        assert!(next.principal_by_spiffe("spiffe://t/bot").is_some(), "{file}");
    }
}

/// A start builds twice on the same objects: to see what is there, and on what was refused before.
#[test]
fn what_is_there_is_registered_when_something_is_remembered() {
    let memory =
        Snapshot::build(with(&[policy_in("1", "p", "forbid (principal, action, resource);")])).0.memory();
    let there = with(&[]);
    let (seen, _) = Snapshot::default().rebuilt(there.clone(), vec![unread("1")]);
    let last = seen.remembering(&memory).unwrap().unwrap();
    let (next, _) = last.rebuilt(there, vec![unread("1")]);
    assert!(next.agent("a/x").is_some() && next.principal_by_spiffe("spiffe://t/x").is_some());
    assert_eq!(pay(&next), Some(Code::ForbiddenByPolicy));
}

/// Found by the property test of `registry` (seed 1915): what only permitted was malformed, and its name was free for another.
#[test]
fn what_is_hidden_keeps_its_name_although_it_refused_nothing() {
    let (good, _) = Snapshot::build(with(&[policy_in("1", "p", EVERYTHING)]));
    let (hidden, rejected) = good.rebuilt(with(&[]), vec![unread("1")]);
    assert_eq!((pay(&hidden), rejected.len()), (Some(Code::NoPermit), 1), "nothing is to be said of it");
    let other = || with(&[policy_in("2", "p", EVERYTHING)]);
    let (contested, rejected) = hidden.rebuilt(other(), vec![unread("1")]);
    assert_eq!(pay(&contested), Some(Code::NoPermit));
    assert!(rejected.len() > 1, "{rejected:#?}");
    let (free, rejected) = contested.rebuilt(other(), Vec::new());
    assert_eq!((pay(&free), rejected.len()), (None, 0));
}

#[test]
fn what_is_being_written_may_only_refuse() {
    let everything = policy_in("z", "everything", EVERYTHING);
    let last = Snapshot::default();
    let coming = |objects: Vec<Object>, coming: Vec<Object>| {
        last.next(Configuration { objects, coming, ..Configuration::default() })
    };
    let (world, _) = coming(with(&[]), vec![everything.clone()]);
    assert_eq!(pay(&world), Some(Code::NoPermit));
    let (world, rejected) = coming(with(std::slice::from_ref(&everything)), vec![policy_in("1", "p", PAY)]);
    assert_eq!((pay(&world), rejected.len()), (Some(Code::ForbiddenByPolicy), 0));
    // Beside its last version, which stays in force.
    let (world, _) =
        coming(with(&[everything.clone(), policy_in("1", "p", PAY)]), vec![policy_in("1", "p", EVERYTHING)]);
    assert_eq!(pay(&world), Some(Code::ForbiddenByPolicy));
    let (world, rejected) =
        coming(with(std::slice::from_ref(&everything)), vec![policy_in("1", "p", "nonsense")]);
    assert_eq!((pay(&world), rejected.len()), (None, 0));
    let quarantined = Object::Agent(Arc::new(Agent { quarantined: true, ..agent("a", "x") }));
    let (world, _) = coming(with(&[everything]), vec![quarantined]);
    assert_eq!(pay(&world), Some(Code::ForbiddenByPolicy));
}

#[test]
fn what_is_not_known_refuses_everything_where_a_policy_is_malformed() {
    let everything = || with(&[cluster(EVERYTHING)]);
    let agent = Subject::Object(Object::Agent(Arc::new(agent("a", "y"))).reference());
    let of_agent = || Rejection { object: agent.clone(), ..unread("1") };
    let doubt = || vec![Doubt { place: Origin::file("1", 0), reason: "", fix: "" }];
    let next = |rejected: Vec<Rejection>, doubted: Vec<Doubt>, before: Before| {
        Snapshot::default()
            .next(Configuration {
                objects: everything(),
                rejected,
                doubted,
                before,
                ..Configuration::default()
            })
            .0
    };
    for (rejected, doubted, before, closed) in [
        (vec![], vec![], Before::Nothing, false),
        (vec![], doubt(), Before::Nothing, false),
        (vec![of_agent()], vec![], Before::Nothing, false),
        (vec![unread("1")], vec![], Before::Nothing, true),
        (vec![], vec![], Before::Lost, false),
        (vec![], doubt(), Before::Lost, true),
        (vec![of_agent()], vec![], Before::Lost, true),
        (vec![unread("1")], doubt(), Before::Known, false),
    ] {
        let world = next(rejected, doubted, before);
        assert_eq!(world.is_closed(), closed);
        assert_eq!(world.policies().any(|id| **id == *CLOSED_ID), closed);
        assert_eq!(pay(&world), closed.then_some(Code::ForbiddenByPolicy));
    }
    let mut objects = everything();
    objects.push(policy_in("1", "p", "nonsense"));
    let (world, _) = Snapshot::default().next(Configuration {
        objects,
        before: Before::Nothing,
        ..Configuration::default()
    });
    assert!(world.is_closed());
}

#[test]
fn what_is_refused_is_remembered() {
    let objects =
        with(&[policy_in("1", "p", &format!("{EVERYTHING} {PAY}")), policy_in("z", "all", EVERYTHING)]);
    let (good, _) = Snapshot::build(objects);
    let memory = serde_json::to_string(&good.memory()).unwrap();
    let memory = serde_json::from_str(&memory).unwrap();
    assert!(good.remembering(&memory).unwrap().is_none(), "all of it is there");
    let base = Snapshot::default().remembering(&memory).unwrap().unwrap();
    assert_eq!(base.objects().len(), 0);
    let rest = || with(&[policy_in("z", "all", EVERYTHING)]);
    let (held, _) = base.rebuilt(rest(), vec![unread("1")]);
    assert_eq!(pay(&held), Some(Code::ForbiddenByPolicy));
    let (gone, _) = base.rebuilt(rest(), Vec::new());
    assert_eq!(pay(&gone), None);
    let mut by_kind: BTreeMap<&str, usize> = BTreeMap::new();
    for object in good.objects() {
        *by_kind.entry(object.kind().as_str()).or_default() += 1;
    }
    assert_eq!(by_kind.values().sum::<usize>(), 4);
}

/// What a place in doubt refused stays refused, and what is there now is in force beside it.
#[test]
fn what_is_in_doubt_keeps_what_it_refused_and_no_name() {
    let everything = policy_in("z", "everything", EVERYTHING);
    let freeze = policy_in("1", "p", PAY);
    let quarantined = |file: &str, quarantined: bool| {
        let identities = vec![Identity::Spiffe("spiffe://t/q".into())];
        in_file(file, Object::Agent(Arc::new(Agent { quarantined, identities, ..agent("a", "q") })))
    };
    let doubt = |file: &str| Doubt { place: Origin::file(file, 0), reason: "it is empty", fix: "remove it" };
    let next = |last: &Snapshot, objects: Vec<Object>, doubted: &str| {
        let doubted = vec![doubt(doubted)];
        last.next(Configuration { objects, doubted, ..Configuration::default() })
    };
    let (good, _) = Snapshot::build(with(&[everything.clone(), freeze, quarantined("2", true)]));
    let memory = good.memory();
    let (first, _) = Snapshot::build(with(std::slice::from_ref(&everything)));
    let remembered = first.remembering(&memory).unwrap().unwrap();
    for last in [&good, &remembered] {
        let (held, rejected) = next(last, with(std::slice::from_ref(&everything)), "1");
        assert_eq!(pay(&held), Some(Code::ForbiddenByPolicy));
        assert_eq!((rejected.len(), rejected[0].object.to_string()), (1, "Policy t/p".to_owned()));
        // Who calls and what is called are as they were.
        assert!(held.agent("a/x").is_some() && held.mcp_server("a/s").is_some());
        assert!(held.principal_by_spiffe("spiffe://t/x").is_some());
        assert!(rejected[0].reason.contains("it is empty"), "{rejected:#?}");
        // It stays so, and what takes its name meanwhile is in force.
        let permit = policy_in("1", "p", r#"permit (principal, action == Action::"getPrompt", resource);"#);
        let (held, rejected) = next(&held, with(&[everything.clone(), permit.clone()]), "1");
        assert_eq!((pay(&held), rejected.len()), (Some(Code::ForbiddenByPolicy), 1));
        assert!(held.policies().any(|id| **id == *"t/p"), "{:?}", held.policies().collect::<Vec<_>>());
        let (gone, rejected) = held.rebuilt(with(&[everything.clone(), permit]), Vec::new());
        assert_eq!((pay(&gone), rejected.len()), (None, 0));
        // Another place, or the same object elsewhere, is in no doubt.
        assert_eq!(pay(&next(last, with(std::slice::from_ref(&everything)), "3").0), None);
        let moved = with(&[everything.clone(), policy_in("3", "p", PAY)]);
        assert_eq!(next(last, moved, "1").1.len(), 0);
        // Nobody takes the identity of who was quarantined there: it proves nobody, until it is said what became of it.
        let taken = with(&[everything.clone(), agent_in("3", "other", "spiffe://t/q")]);
        assert!(next(last, taken.clone(), "2").0.principal_by_spiffe("spiffe://t/q").is_none());
        assert!(next(last, taken, "3").0.principal_by_spiffe("spiffe://t/q").is_some());
        // Who was quarantined is.
        let released = with(&[everything.clone(), quarantined("2", false)]);
        let (held, _) = next(last, released.clone(), "2");
        assert!(held.agent("a/q").unwrap().quarantined);
        assert!(next(&held, released.clone(), "2").0.agent("a/q").unwrap().quarantined);
        assert!(!next(&held, released.clone(), "1").0.agent("a/q").unwrap().quarantined);
    }
    // Also where it is gone from its file, and comes in another a while later: as long as the file is in doubt.
    let (emptied, rejected) = next(&good, with(std::slice::from_ref(&everything)), "2");
    assert_eq!(rejected.len(), 1, "{rejected:#?}");
    let (emptied, _) = next(&emptied, with(std::slice::from_ref(&everything)), "2");
    let elsewhere = with(&[everything.clone(), quarantined("3", false)]);
    let (held, _) = next(&emptied, elsewhere.clone(), "2");
    let (held, _) = next(&held, elsewhere.clone(), "2");
    assert!(held.agent("a/q").unwrap().quarantined);
    assert!(!held.rebuilt(elsewhere, Vec::new()).0.agent("a/q").unwrap().quarantined);
    // An identity that nobody else claimed may be claimed, one that was contested stays so.
    let bots = [agent_in("1", "one", "spiffe://t/bot"), agent_in("2", "two", "spiffe://t/bot")];
    let (both, _) = Snapshot::build(bots.to_vec());
    let (held, _) = next(&both, bots[1..].to_vec(), "1");
    assert!(held.principal_by_spiffe("spiffe://t/bot").is_none());
    let (alone, _) = Snapshot::build(bots[..1].to_vec());
    let (renamed, rejected) = next(&alone, bots[1..].to_vec(), "1");
    assert!(renamed.principal_by_spiffe("spiffe://t/bot").is_some() && rejected.is_empty());
    // So does a contested name.
    let (both, _) =
        Snapshot::build(with(&[policy_in("1", "p", EVERYTHING), policy_in("2", "p", EVERYTHING)]));
    let (held, _) = next(&both, with(&[policy_in("2", "p", EVERYTHING)]), "1");
    assert_eq!(pay(&held), Some(Code::NoPermit));
}

#[test]
fn what_is_withdrawn_permits_nothing_and_frees_no_name() {
    let permit = |tool: &str| {
        format!(r#"permit (principal, action == Action::"invokeTool", resource == Tool::"a/s/{tool}");"#)
    };
    let [refund, pay_too] = ["refund", "pay"].map(permit);
    let policy = |text: &str| policy_in("1", "p", text);
    let before =
        policy(&format!("{refund} {pay_too} forbid (principal, action == Action::\"getPrompt\", resource);"));
    let (last, _) = Snapshot::build(with(std::slice::from_ref(&before)));
    assert_eq!(pay(&last), None);
    let next = |last: &Snapshot, withdrawn: Vec<Object>, coming: Vec<Object>| {
        let objects = with(std::slice::from_ref(&before));
        let (next, rejected) =
            last.next(Configuration { objects, withdrawn, coming, ..Configuration::default() });
        assert_eq!(rejected, []);
        next
    };
    for (coming, code, policies) in [
        (None, Some(Code::NoPermit), 2),
        (Some(policy("nonsense")), Some(Code::NoPermit), 2),
        (Some(policy(&refund)), Some(Code::NoPermit), 3),
        // The same in other words is another one; the same word for word stays, and nothing is added.
        (Some(policy(&format!("{pay_too} {EVERYTHING}"))), None, 3),
        (Some(before.clone()), None, 4),
    ] {
        let withdrawn = next(&last, vec![before.clone()], coming.into_iter().collect());
        assert_eq!((pay(&withdrawn), ids(&withdrawn).len()), (code, policies));
        assert_ne!(withdrawn.digest(), last.digest());
        // As it was, when it is there again.
        let again = next(&withdrawn, Vec::new(), Vec::new());
        assert_eq!((pay(&again), again.digest()), (None, last.digest()));
    }
    // An agent is not used, and its identity is nobody else's.
    let bots = [agent_in("1", "one", "spiffe://t/bot"), agent_in("2", "two", "spiffe://t/two")];
    let (last, _) = Snapshot::build(bots.to_vec());
    let configuration =
        Configuration { objects: bots.to_vec(), withdrawn: bots[..1].to_vec(), ..Configuration::default() };
    let (withdrawn, rejected) = last.next(configuration);
    assert!(rejected.is_empty() && withdrawn.agent("a/one").is_none() && withdrawn.agent("a/two").is_some());
    assert!(!withdrawn.claims_on_spiffe("spiffe://t/bot").is_empty());
    let (again, _) = withdrawn.rebuilt(bots.to_vec(), Vec::new());
    assert_eq!(again.digest(), last.digest());
    assert!(again.principal_by_spiffe("spiffe://t/bot").is_some());
}

/// A copy of a directory inside itself, or one identity given to all: what is said of each must not grow with how many there are.
#[test]
fn what_is_said_of_many_that_collide_grows_as_they_do() {
    const MANY: usize = 200;
    let one_identity: Vec<Object> =
        (0..MANY).map(|i| agent_in(&format!("f{i}"), &format!("x{i}"), "spiffe://t/same")).collect();
    let one_name: Vec<Object> =
        (0..MANY).map(|i| agent_in(&format!("f{i}"), "x", &format!("spiffe://t/{i}"))).collect();
    for objects in [one_identity, one_name] {
        let (_, rejected) = Snapshot::build(objects);
        assert_eq!(rejected.len(), MANY);
        let longest = rejected.iter().map(|rejection| rejection.reason.len()).max();
        assert!(longest < Some(400), "{longest:?}");
        assert!(rejected.iter().all(|rejection| rejection.reason.contains("more")), "{:?}", rejected[0]);
    }
}

/// What was being written and is hidden, or emptied, before it was whole: it refused, and goes on to.
#[test]
fn what_refused_while_it_was_written_is_held_as_what_was_whole() {
    let objects = || with(&[policy_in("z", "everything", EVERYTHING)]);
    let (good, _) = Snapshot::build(objects());
    let configuration = Configuration {
        objects: objects(),
        coming: vec![policy_in("1", "p", PAY)],
        ..Configuration::default()
    };
    let (moving, _) = good.next(configuration);
    assert_eq!(pay(&moving), Some(Code::ForbiddenByPolicy));
    let memory = moving.memory();
    let remembered = good.remembering(&memory).unwrap().unwrap();
    for last in [&moving, &remembered] {
        let (hidden, _) = last.rebuilt(objects(), vec![unread("1")]);
        assert_eq!(pay(&hidden), Some(Code::ForbiddenByPolicy));
        let doubted = vec![Doubt { place: Origin::file("1", 0), reason: "r", fix: "f" }];
        let (emptied, _) =
            last.next(Configuration { objects: objects(), doubted, ..Configuration::default() });
        assert_eq!(pay(&emptied), Some(Code::ForbiddenByPolicy));
        assert_eq!(pay(&last.rebuilt(objects(), Vec::new()).0), None, "it was deleted");
    }
    // Gone while others are still written: it is not known yet what became of it.
    let configuration = Configuration {
        objects: objects(),
        came: vec![policy_in("1", "p", PAY)],
        ..Configuration::default()
    };
    assert_eq!(pay(&moving.next(configuration).0), Some(Code::ForbiddenByPolicy));
}
