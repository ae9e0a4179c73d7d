//! A snapshot whose tables were changed step by step is the same as one whose tables are made anew, over sequences of everything that can
//! change: objects, what is contested, held, in doubt, being written or withdrawn, and what stands by acts.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::json;
use vidimus_core::act::{Act, OfSubject};
use vidimus_core::caller::UnixMillis;
use vidimus_core::record::{ActKind, ActRecord, VERSION};
use vidimus_core::resource::policy::{Mode, Scope};
use vidimus_core::resource::{self, Identity, Object, Origin, Policy};
use vidimus_core::snapshot::{Configuration, Doubt, Overlay, Snapshot};
use vidimus_core::standing::Standing;

use crate::generate::{self, Dice, Sample, changed, unread};
use crate::world::{agent, policy};

const SEQUENCES: u64 = 20;
const STEPS: u64 = 14;
const FILES: [&str; 3] = ["d/a.yaml", "d/b.yaml", "e/c.yaml"];
const NOW: UnixMillis = UnixMillis(1_790_000_000_123);
const SUBJECTS: [&str; 6] = [
    "Agent/n0/a0",
    "Agent/n1/a1",
    "Service/n0/svc",
    "MCPServer/n0/m0",
    "Identity/spiffe://t/x",
    "User/https://i#u0",
];

/// Texts that say something of every kind that is counted: names, chains, windows, people, payloads, redactions, classes.
const TEXTS: [&str; 13] = [
    r#"forbid (principal, action == Action::"invokeTool", resource == Tool::"n0/x0/read");"#,
    r#"permit (principal, action == Action::"invokeTool", resource in MCPServer::"n1/x1");"#,
    r#"permit (principal, action == Action::"invokeTool", resource == Tool::"n0/m0/read");"#,
    r#"permit (principal in Group::"g0", action, resource) when { resource in ToolSet::"set0" };"#,
    r#"@ends_chain forbid (principal, action, resource) when { context.chain.calls > 2 };"#,
    r#"permit (principal is Agent, action == Action::"callAgent", resource == Skill::"n1/a1/s0");"#,
    r#"@keep("arguments") permit (principal, action == Action::"invokeTool", resource in MCPServer::"n1/m1");"#,
    r#"permit (principal is User, action in [Action::"operate", Action::"read"], resource);"#,
    r#"forbid (principal, action == Action::"register", resource == Group::"g1") unless { principal == Namespace::"n0" };"#,
    r#"forbid (principal, action, resource) when { context.labels.contains("untrusted") && context.now > datetime("2020-01-01") };"#,
    r#"permit (principal in Team::"red", action in Action::"mcp", resource in Namespace::"n1");"#,
    r#"forbid (principal == Agent::"n0/a0", action, resource == LLMProvider::"n0/llm");"#,
    "nonsense",
];

#[test]
fn what_is_changed_step_by_step_is_what_is_made_anew() {
    let mut seen = BTreeMap::new();
    for seed in 1..=SEQUENCES {
        sequence(seed, &mut seen);
    }
    println!("{seen:?}");
    for what in [
        "rejected",
        "contested",
        "claimed",
        "held",
        "doubted",
        "coming",
        "withdrawn",
        "standing",
        "ruled",
        "warned",
        "nowhere",
        "windows",
        "rollouts",
        "nothing beside",
        "decided",
    ] {
        assert!(seen.get(what).copied().unwrap_or_default() > 4, "{what}: {seen:?}");
    }
}

#[test]
fn a_limit_that_is_taken_back_counts_for_nothing_any_more() {
    let limited = |calls| {
        let mut agent = agent("n0", "a0");
        agent.delegation.max_calls = calls;
        Snapshot::default().rebuilt(vec![Object::Agent(Arc::new(agent))], Vec::new()).0
    };
    let (with, without) = (limited(Some(3)), limited(None));
    assert_ne!(with.chain_reads(), without.chain_reads());
    let (after, _) = with.rebuilt(without.objects().to_vec(), Vec::new());
    assert_eq!(after.chain_reads(), without.chain_reads());
}

type Seen = BTreeMap<&'static str, usize>;

fn sequence(seed: u64, seen: &mut Seen) {
    let mut dice = Dice::new(seed);
    let (mut objects, samples) = generate::world(seed, 10);
    objects.iter_mut().for_each(|object| *object = changed(object, |meta| meta.origin = file(&mut dice)));
    let (mut last, mut anew) = (Snapshot::build(objects.clone()).0, Snapshot::build(copies(&objects)).0);
    let (mut standing, mut overlay) = (Standing::default(), Arc::new(Overlay::default()));
    for step in 0..STEPS {
        let context = format!("seed {seed}, step {step}");
        let (spare, _) = generate::world(seed * 1_000 + step, 0);
        for _ in 0..dice.below(4) {
            change(&mut dice, &mut objects, &spare);
        }
        if dice.chance(25) {
            standing = stood(&mut dice);
            overlay = Arc::new(overlay.next(&standing).unwrap());
        }
        let some = |dice: &mut Dice, percent: u64| -> Vec<Object> {
            let one =
                |dice: &mut Dice| changed(&spare[dice.below(spare.len())], |meta| meta.origin = file(dice));
            if dice.chance(percent) { vec![one(dice), one(dice)] } else { Vec::new() }
        };
        let withdrawn =
            if dice.chance(15) { vec![objects[dice.below(objects.len())].clone()] } else { Vec::new() };
        let configuration = Configuration {
            objects: objects.clone(),
            coming: some(&mut dice, 15),
            came: some(&mut dice, 10),
            rejected: if dice.chance(25) { vec![unread(&mut dice)] } else { Vec::new() },
            withdrawn,
            doubted: if dice.chance(35) { vec![doubt(&mut dice)] } else { Vec::new() },
            standing: overlay.clone(),
            ..Configuration::default()
        };
        // The same in every word, and nothing of it known from before.
        let copied = Configuration {
            objects: copies(&configuration.objects),
            coming: copies(&configuration.coming),
            came: copies(&configuration.came),
            withdrawn: copies(&configuration.withdrawn),
            standing: Arc::new(Overlay::of(&standing).unwrap()),
            ..configuration.clone()
        };
        let is_plain = configuration.coming.is_empty() && configuration.came.is_empty();
        let is_plain = is_plain && configuration.withdrawn.is_empty() && configuration.doubted.is_empty();
        let counted = [
            ("coming", !configuration.coming.is_empty()),
            ("withdrawn", !configuration.withdrawn.is_empty()),
            ("standing", !overlay.is_empty()),
        ];
        let (next, rejected) = last.next(configuration);
        let (expected, wanted) = anew.next(copied.clone());
        assert_eq!(rejected, wanted, "{context}");
        compare(&next, &expected, &samples, &context);
        let said = |text: &str| rejected.iter().any(|one| one.reason.contains(text));
        let counted = counted.into_iter().chain([
            ("rejected", !rejected.is_empty()),
            ("contested", said("another ")),
            ("claimed", said("this identity too")),
            ("held", said("stays forbidden") || said("stay refused")),
            ("doubted", said("what it refused stays refused")),
            ("ruled", said("may not bear")),
            ("warned", !next.warnings().is_empty()),
            ("nowhere", next.warnings().iter().any(|one| one.field != "spec.cedar")),
            ("windows", next.next_closing(NOW).is_some()),
            (
                "rollouts",
                next.objects()
                    .iter()
                    .any(|object| matches!(object, Object::Policy(one) if one.mode == Mode::Rollout)),
            ),
            ("decided", true),
        ]);
        counted.for_each(|(what, is)| *seen.entry(what).or_default() += usize::from(is));
        // Where nothing of before is kept, there need not be a before.
        if is_plain && next.only_refusing().next().is_none() {
            let (from_nothing, wanted) = Snapshot::default().next(copied);
            assert_eq!(rejected, wanted, "{context}");
            compare(&next, &from_nothing, &samples, &context);
            *seen.entry("nothing beside").or_default() += 1;
        }
        (last, anew) = (next, expected);
    }
}

fn compare(one: &Snapshot, other: &Snapshot, samples: &[Sample], context: &str) {
    let told = |world: &Snapshot| {
        let objects =
            world.objects().iter().map(|object| format!("{object:?} {:?}", object.meta().not_borne));
        let identities = IDENTITIES.map(|id| {
            let bound = world.principal_by_spiffe(id).map(|by| by.meta().clone());
            (bound, world.claims_on_spiffe(id).to_vec())
        });
        let oidc = SUBJECTS_OF_ISSUER.map(|subject| {
            let bound = world.principal_by_oidc("https://i", subject).map(|by| by.meta().clone());
            let account = world.principal_by_service_account("k", subject).map(|by| by.meta().clone());
            (bound, account, world.claims_on_oidc("https://i", subject).to_vec())
        });
        let named: Vec<String> = ["n0/m0", "n1/m1", "n1/a1", "n0/a1"]
            .into_iter()
            .flat_map(|whole| world.named_of(whole).map(move |part| format!("{whole} {part:?}")))
            .collect();
        let registered: Vec<bool> = ["n0/a0", "n1/a0", "n0/a1", "n1/a1", "n0/a2", "n1/a2"]
            .into_iter()
            .map(|key| world.agent(key).is_some())
            .collect();
        let policies: Vec<String> = world.policies().map(ToString::to_string).collect();
        let of_people: Vec<String> = world.policies_of_people().map(ToOwned::to_owned).collect();
        let issuers: Vec<String> = world.issuers().map(ToOwned::to_owned).collect();
        let beside: Vec<String> = world.only_refusing().map(|one| format!("{one:?}")).collect();
        (
            (
                world.digest().to_owned(),
                world.warnings().to_vec(),
                objects.collect::<Vec<_>>(),
                identities,
                oidc,
            ),
            (named, registered, policies, of_people, issuers, beside, world.permits_people()),
            (world.chain_reads(), world.binding_chain_reads(), world.next_closing(NOW), world.is_closed()),
        )
    };
    assert_eq!(told(one), told(other), "{context}");
    assert!(one.names_the_same_parts(other), "{context}");
    for sample in samples.iter().filter(|sample| sample.is_about(one)) {
        let decision =
            |world: &Snapshot| sample.ask(world, |call| format!("{:?}", world.authorize(call).outcome()));
        let answer = |world: &Snapshot| {
            sample.ask(world, |call| {
                let found = world.authorize(call);
                let passes = found.would_refuse();
                let policies = (found.policies().to_vec(), found.closest_permits().to_vec());
                let reason = found.reason().map(ToOwned::to_owned);
                (found.code(), passes, policies, found.facts().to_vec(), reason, world.could_allow(call))
            })
        };
        assert_eq!((decision(one), answer(one)), (decision(other), answer(other)), "{context}: {sample:#?}");
    }
}

const IDENTITIES: [&str; 2] = ["spiffe://t/x", "spiffe://t/y"];
const SUBJECTS_OF_ISSUER: [&str; 2] = ["s", "t"];

fn some_identities(dice: &mut Dice) -> Vec<Identity> {
    let one = |dice: &mut Dice| match dice.below(3) {
        0 => Identity::Spiffe(dice.one(&IDENTITIES).into()),
        1 => Identity::Oidc {
            issuer: "https://i".into(),
            subject: dice.one(&SUBJECTS_OF_ISSUER).into(),
            claims: BTreeMap::new(),
        },
        _ => Identity::ServiceAccount { namespace: "k".into(), name: dice.one(&SUBJECTS_OF_ISSUER).into() },
    };
    (0..dice.below(3)).map(|_| one(dice)).collect()
}

/// One change, as people make them.
fn change(dice: &mut Dice, objects: &mut Vec<Object>, spare: &[Object]) {
    let place = dice.below(objects.len());
    let other = changed(&spare[dice.below(spare.len())], |meta| meta.origin = file(dice));
    match dice.below(12) {
        0 if objects.len() > 1 => drop(objects.remove(place)),
        1 => objects.insert(place, other),
        2 => objects.swap(place, 0),
        3 => objects[place] = changed(&objects[place], |_| {}),
        4 => objects[place] = changed(&objects[place], |meta| meta.origin = file(dice)),
        5 | 6 => {
            let is_principal = |object: &&mut Object| matches!(object, Object::Agent(_) | Object::Service(_));
            for object in objects.iter_mut().filter(is_principal) {
                let (identities, quarantined) = (some_identities(dice), dice.chance(20));
                match object {
                    Object::Agent(agent) if dice.chance(50) => {
                        let agent = Arc::make_mut(agent);
                        (agent.identities, agent.quarantined) = (identities, quarantined);
                        agent.delegation.max_calls = dice.chance(40).then_some(3);
                    }
                    Object::Service(service) => Arc::make_mut(service).identities = identities,
                    _ => {}
                }
            }
        }
        7 => objects.push(windowed(dice)),
        8 => {
            let (namespace, name) = (dice.one(&["n0", "n1"]), dice.one(&["q0", "q1"]));
            let one = policy(namespace, name, Scope::Cluster, dice.one(&TEXTS));
            objects.push(changed(&one, |meta| meta.origin = file(dice)));
        }
        9 => {
            let one = naming(dice);
            objects.retain(|object| !object.reference().is_same_object(&one.reference()));
            objects.push(one);
        }
        _ => {
            let policies = objects.iter_mut().filter_map(|object| match object {
                Object::Policy(policy) => Some(policy),
                _ => None,
            });
            let mut policies: Vec<_> = policies.collect();
            if policies.is_empty() {
                return;
            }
            let place = dice.below(policies.len());
            let policy = &mut policies[place];
            let cedar = if dice.chance(70) { dice.one(&TEXTS).into() } else { policy.cedar.clone() };
            **policy = Arc::new(Policy { cedar, description: "another".into(), ..(***policy).clone() });
        }
    }
}

/// A record that names others, or that others name: what is said of it depends on what there is.
fn naming(dice: &mut Dice) -> Object {
    let namespace = dice.one(&["n0", "n1"]);
    let of = |dice: &mut Dice, names: &[&'static str]| json!([{"name": "a", "server": {"namespace": dice.one(&["n0", "n1"]), "name": dice.one(names)}}]);
    let skills = if dice.chance(50) { json!({"read": {"description": "d"}}) } else { json!({}) };
    let (kind, name, more) = match dice.below(7) {
        0 => ("MCPServer", "f0", json!({"members": of(dice, &["x0", "x1", "m0"])})),
        1 => ("MCPServer", "x1", json!({"members": of(dice, &["x0", "m0"])})),
        2 => ("MCPServer", "x0", json!({"agent": {"name": "x0", "skills": skills}})),
        3 => ("MCPServer", dice.one(&["x0", "x1"]), json!({"endpoint": {"url": "http://x/"}})),
        4 if dice.chance(50) => ("Agent", "x0", json!({"endpoint": {"url": "http://bot/"}})),
        4 => ("Agent", "x0", json!({"identities": [{"spiffe": format!("spiffe://t/own-{namespace}")}]})),
        5 => ("LLMProvider", "x0", json!({"failover": {"to": [{"provider": dice.one(&["llm", "x1"])}]}})),
        _ => ("LLMProvider", "x1", json!({})),
    };
    let mut spec = match kind {
        "LLMProvider" => {
            let models = json!([{"name": dice.one(&["big", "fast"])}]);
            json!({"owner": "ada.l@example.com", "type": "openAI", "credential": {"none": {}}, "models": models})
        }
        "Agent" => json!({"owner": "ada.l@example.com", "team": "red", "riskLevel": "low", "purpose": "p"}),
        _ => json!({"owner": "ada.l@example.com", "team": "red", "riskLevel": "low"}),
    };
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let document = json!({"apiVersion": "vidimus.dev/v1alpha1", "kind": kind,
        "metadata": {"namespace": namespace, "name": name}, "spec": spec});
    resource::check(&file(dice), &document).unwrap_or_else(|problems| panic!("{problems:?}"))
}

fn windowed(dice: &mut Dice) -> Object {
    let name = dice.one(&["w0", "w1", "w2"]);
    let until = dice.one(&["2027-12-01T04:00:00Z", "2028-12-01T04:00:00Z"]);
    let (scope, mode) = if dice.chance(50) { ("Cluster", "enforce") } else { ("Namespace", "rollout") };
    let document = json!({"apiVersion": "vidimus.dev/v1alpha1", "kind": "Policy",
        "metadata": {"namespace": "n0", "name": name},
        "spec": {"description": "d", "scope": scope, "mode": mode, "window": {"from": "2026-01-01T00:00:00Z", "until": until},
            "cedar": r#"permit (principal, action == Action::"invokeTool", resource);"#}});
    resource::check(&file(dice), &document).unwrap_or_else(|problems| panic!("{problems:?}"))
}

fn stood(dice: &mut Dice) -> Standing {
    let mut standing = Standing::default();
    for number in 0..dice.below(3) {
        let subject = dice.one(&SUBJECTS).parse().unwrap();
        standing.apply(&ActRecord {
            act: Act::Quarantine(OfSubject { subject }),
            actor: "User/urn:vidimus:local#admin".into(),
            id: format!("q{number}").into(),
            kind: ActKind,
            note: false,
            shared: None,
            time: "2026-09-21T14:13:20.500000Z".into(),
            version: VERSION,
            why: "INC-7".into(),
        });
    }
    standing
}

fn file(dice: &mut Dice) -> Origin {
    Origin::file(dice.one(&FILES), dice.below(100) as u32)
}

fn doubt(dice: &mut Dice) -> Doubt {
    Doubt { place: Origin::file(dice.one(&FILES), 0), reason: "it may be half written", fix: "write it" }
}

fn copies(objects: &[Object]) -> Vec<Object> {
    objects.iter().map(|object| changed(object, |_| {})).collect()
}
