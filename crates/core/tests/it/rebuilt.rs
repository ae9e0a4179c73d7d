//! A snapshot that shares with the one before it is the same as one built from nothing, over generated sequences of changes.

use std::sync::Arc;

use vidimus_core::resource::policy::Scope;
use vidimus_core::resource::{Identity, Object, Origin, Policy};
use vidimus_core::snapshot::Snapshot;

use crate::generate::{self, Dice, Sample, changed, unread};
use crate::world::{agent, cluster, ids, policy};

const SEQUENCES: u64 = 16;
const STEPS: u64 = 12;
const FILES: [&str; 3] = ["d/a.yaml", "d/b.yaml", "e/c.yaml"];

#[test]
fn a_rebuilt_snapshot_is_the_same_as_one_built_from_nothing() {
    let mut seen = Seen::default();
    for seed in 1..=SEQUENCES {
        sequence(seed, &mut seen);
    }
    println!("{seen:?}");
    let Seen { rejected, retained, warned, decided } = seen;
    let steps = (SEQUENCES * STEPS) as usize;
    for (what, count) in
        [("rejected", rejected), ("retained", retained), ("warned", warned), ("decided", decided)]
    {
        assert!(count > steps / 10, "{what}: {seen:?}");
    }
}

/// In how many steps something was rejected, and so on.
#[derive(Clone, Copy, Default, Debug)]
struct Seen {
    rejected: usize,
    retained: usize,
    warned: usize,
    decided: usize,
}

fn sequence(seed: u64, seen: &mut Seen) {
    let mut dice = Dice::new(seed);
    let (mut objects, samples) = generate::world(seed, 20);
    objects.iter_mut().for_each(|object| *object = changed(object, |meta| meta.origin = file(&mut dice)));
    let (mut last, _) = Snapshot::build(objects.clone());
    for step in 0..STEPS {
        let (spare, _) = generate::world(seed * 1_000 + step, 0);
        for _ in 0..=dice.below(3) {
            change(&mut dice, &mut objects, &spare);
        }
        let unread = if dice.chance(30) { vec![unread(&mut dice)] } else { Vec::new() };
        let (next, rejected) = last.rebuilt(objects.clone(), unread.clone());
        let context = format!("seed {seed}, step {step}");
        let memory = serde_json::to_string(&last.memory()).unwrap();
        assert_eq!(serde_json::to_string(&last.written_memory()).unwrap(), memory, "{context}");
        // From nothing: what was refused before, and then the step, with nothing that the step could recognize.
        let base = Snapshot::default().remembering(&last.memory()).unwrap().unwrap_or_default();
        let (expected, wanted) = base.rebuilt(objects.iter().map(copy).collect(), unread);
        assert_eq!(rejected, wanted, "{context}");
        compare(&next, &expected, &samples, &context, seen);
        seen.rejected += usize::from(!rejected.is_empty());
        seen.retained += usize::from(rejected.iter().any(|one| one.reason.ends_with("stays forbidden")));
        seen.warned += usize::from(!next.warnings().is_empty());
        last = next;
    }
}

fn compare(one: &Snapshot, other: &Snapshot, samples: &[Sample], context: &str, seen: &mut Seen) {
    assert_eq!(one.digest(), other.digest(), "{context}");
    assert_eq!(one.warnings(), other.warnings(), "{context}");
    assert_eq!(one.policies().collect::<Vec<_>>(), other.policies().collect::<Vec<_>>(), "{context}");
    assert_eq!(one.issuers().collect::<Vec<_>>(), other.issuers().collect::<Vec<_>>(), "{context}");
    let places = |snapshot: &Snapshot| -> Vec<_> {
        snapshot.objects().iter().map(|object| (object.reference(), object.meta().clone())).collect()
    };
    assert_eq!(places(one), places(other), "{context}");
    for id in IDENTITIES {
        let bound = |snapshot: &Snapshot| snapshot.principal_by_spiffe(id).map(|by| by.meta().clone());
        assert_eq!(bound(one), bound(other), "{context}: {id}");
    }
    for sample in samples.iter().filter(|sample| sample.is_about(one)) {
        let decision = |snapshot: &Snapshot| {
            sample.ask(snapshot, |call| {
                let decision = snapshot.authorize(call);
                let (code, policies) = (decision.code(), decision.policies().to_vec());
                let facts = decision.facts().to_vec();
                (code, policies, facts, decision.reason().map(ToOwned::to_owned), snapshot.could_allow(call))
            })
        };
        assert_eq!(decision(one), decision(other), "{context}: {sample:#?}");
        seen.decided += 1;
    }
}

const IDENTITIES: [&str; 2] = ["spiffe://t/x", "spiffe://t/y"];

/// One change, as people make them. `spare` are other objects, some of the same names.
fn change(dice: &mut Dice, objects: &mut Vec<Object>, spare: &[Object]) {
    let place = dice.below(objects.len());
    let other = &spare[dice.below(spare.len())];
    let other = changed(other, |meta| meta.origin = file(dice));
    match dice.below(10) {
        0 => drop(objects.remove(place)),
        1 | 2 => objects.insert(place, other),
        3 => objects.swap(place, 0),
        4 => objects[place] = copy(&objects[place]),
        5 => objects[place] = changed(&objects[place], |meta| meta.origin = file(dice)),
        6 => objects[place] = changed(&objects[place], |meta| meta.generation = Some(2)),
        7 => {
            let agents = objects.iter_mut().filter_map(|object| match object {
                Object::Agent(agent) => Some(agent),
                _ => None,
            });
            if let Some(agent) = agents.last() {
                let id = IDENTITIES[dice.below(2)];
                Arc::make_mut(agent).identities = vec![Identity::Spiffe(id.into())];
            }
        }
        _ => {
            let policies = objects.iter().enumerate().filter(|(_, one)| matches!(one, Object::Policy(_)));
            let policies: Vec<usize> = policies.map(|(place, _)| place).collect();
            if policies.is_empty() {
                return;
            }
            let place = policies[dice.below(policies.len())];
            let Object::Policy(policy) = &mut objects[place] else { panic!("a policy") };
            let (text, description) = match dice.below(4) {
                0 => ("nonsense".into(), policy.description.clone()),
                1 => (r#"forbid (principal in Group::"nobody", action, resource);"#.into(), "other".into()),
                2 => ("forbid (principal is Agent, action, resource is Agent);".into(), "other".into()),
                _ => (policy.cedar.clone(), "another description".into()),
            };
            *policy = Arc::new(Policy { cedar: text, description, ..(**policy).clone() });
        }
    }
    if objects.is_empty() {
        objects.push(cluster("permit (principal, action, resource);"));
    }
}

fn file(dice: &mut Dice) -> Origin {
    Origin::file(dice.one(&FILES), dice.below(100) as u32)
}

/// The same, but another one in memory.
fn copy(object: &Object) -> Object {
    changed(object, |_| {})
}

/// What is shared is only what is live: memory does not grow with the number of reloads.
#[test]
fn a_snapshot_keeps_nothing_of_what_is_gone() {
    let forbid = |team: &str| format!("forbid (principal in Team::\"{team}\", action, resource);");
    let mut gone = Vec::new();
    let (mut last, _) = Snapshot::build(Vec::new());
    for round in 0..20 {
        let (agent, text) = (Arc::new(agent("n", &format!("a{round}"))), forbid(&format!("t{round}")));
        let Object::Policy(policy) = policy("n", "p", Scope::Cluster, &text) else { panic!("a policy") };
        gone.push((Arc::downgrade(&agent), Arc::downgrade(&policy)));
        let (next, rejected) = last.rebuilt(vec![Object::Agent(agent), Object::Policy(policy)], Vec::new());
        assert_eq!(rejected, []);
        last = next;
    }
    let kept = gone.iter().filter(|(agent, policy)| agent.strong_count() + policy.strong_count() > 0).count();
    assert_eq!(kept, 1, "only the last ones");
    assert_eq!(ids(&last).len(), 2);
}
