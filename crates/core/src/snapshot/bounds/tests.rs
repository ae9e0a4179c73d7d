use std::collections::BTreeMap;

use serde_json::json;

use super::super::prepared::Prepared;
use super::super::{Before, Configuration};
use super::*;
use crate::resource::{Origin, Policy, check};

fn policy(namespace: &str, name: &str, cedar: &str) -> Object {
    let document = json!({
        "apiVersion": "vidimus.dev/v1alpha1", "kind": "Policy",
        "metadata": {"namespace": namespace, "name": name},
        "spec": {"description": "a test", "cedar": cedar, "scope": "Cluster"},
    });
    check(&Origin::file(format!("d/{namespace}-{name}.yaml"), 1), &document).unwrap()
}

/// Some 6,500 parts of expressions, as an attacker wrote them.
fn heavy(scope: &str) -> String {
    let one = |n| format!("principal.hasTag(\"t{n}\") && principal.getTag(\"t{n}\") like \"*a*b*\"");
    let condition = (0..60).map(one).collect::<Vec<_>>().join(" || ");
    format!("forbid ({scope}, action == Action::\"invokeTool\", resource) when {{ {condition} }};\n")
        .repeat(12)
}

fn too_costly(rejected: &[Rejection]) -> Vec<String> {
    let all = rejected.iter().filter(|one| one.reason.starts_with(TOO_COSTLY));
    all.map(|one| one.object.to_string()).collect()
}

/// Attack: a tenant with hundreds of policies that each call has to look at, in whatever namespace.
#[test]
fn what_one_namespace_costs_on_an_edge_is_bounded() {
    let open = heavy("principal is Agent");
    let mut objects: Vec<Object> = (0..5).map(|n| policy("evil", &format!("p{n}"), &open)).collect();
    objects.push(policy("finance", "no", "forbid (principal, action, resource);"));
    // Of the same namespace, and light: before what is heavy.
    objects.push(policy(
        "evil",
        "small",
        "forbid (principal, action == Action::\"invokeTool\", resource) when { context.delegation_depth > 3 };",
    ));
    let (first, rejected) = Snapshot::build(objects.clone());
    assert_eq!(too_costly(&rejected), ["Policy evil/p3", "Policy evil/p4"]);
    assert_eq!(first.objects().len(), 5);
    assert!(rejected.iter().all(|one| one.reason.contains("20000") && !one.fix.is_empty()), "{rejected:#?}");
    // In any order.
    objects.reverse();
    let (other, _) = Snapshot::build(objects.clone());
    assert_eq!(other.digest(), first.digest());
    // What was in force is not displaced by what is added, whatever its name.
    objects.push(policy("evil", "a-first", &open));
    let (next, rejected) = first.rebuilt(objects.clone(), Vec::new());
    let mut found = too_costly(&rejected);
    found.sort();
    assert_eq!(found, ["Policy evil/a-first", "Policy evil/p3", "Policy evil/p4"]);
    assert_eq!(next.digest(), first.digest());
    // Where there is room again, the next one is in force.
    objects.retain(|object| &*object.meta().name != "p0");
    let (next, rejected) = next.rebuilt(objects, Vec::new());
    assert_eq!((too_costly(&rejected).len(), next.objects().len()), (2, 5));
}

/// Those of one agent, group or tool set cost only what these call.
#[test]
fn what_no_call_looks_at_together_is_not_added_up() {
    let objects: Vec<Object> = (0..6)
        .map(|n| policy("a", &format!("p{n}"), &heavy(&format!("principal == Agent::\"a/b{n}\""))))
        .collect();
    let (snapshot, rejected) = Snapshot::build(objects);
    assert!(rejected.is_empty(), "{rejected:#?}");
    assert_eq!(snapshot.objects().len(), 6);
}

/// Attack: what is in force, made malformed or too much, so that it is held and makes room for more, and again.
#[test]
fn what_is_held_counts() {
    let open = heavy("principal is Agent");
    let good = |n: usize| policy("evil", &format!("p{n}"), &open);
    let condition = format!("principal.risk > 1{}", " || 1==1".repeat(240));
    let one = format!(
        "forbid (principal is Agent, action == Action::\"invokeTool\", resource) when {{ {condition} }};\n"
    );
    let too_much = one.repeat(24);
    for wrong in ["forbid (principal", too_much.as_str()] {
        let (mut last, rejected) = Snapshot::build((0..3).map(good).collect());
        assert!(rejected.is_empty());
        let mut objects: Vec<Object> = (0..3).map(|n| policy("evil", &format!("p{n}"), wrong)).collect();
        for round in 1..3 {
            objects.push(good(2 + round));
            let (next, rejected) = last.rebuilt(objects.clone(), Vec::new());
            let all = too_costly(&rejected);
            assert!(all.contains(&format!("Policy evil/p{}", 2 + round)), "{round}: {all:?}");
            assert_eq!((next.only_refusing().count(), next.objects().len()), (3, 0), "{round}");
            last = next;
        }
        // What is mended takes the place of what it was.
        let (next, rejected) = last.rebuilt((0..3).map(good).collect(), Vec::new());
        assert_eq!((too_costly(&rejected).len(), next.objects().len()), (0, 3));
    }
}

/// Where all fit together, with what they were before, none is over in whatever order: that is known without one.
#[test]
fn what_fits_together_is_never_over() {
    let (open, light) = (heavy("principal is Agent"), "forbid (principal is Agent, action, resource);");
    let mut all: Vec<Object> = (0..4).map(|n| policy("evil", &format!("p{n}"), &open)).collect();
    all.extend((0..2).map(|n| policy("evil", &format!("p{n}"), light)));
    let policies = all.iter().filter_map(|object| match object {
        Object::Policy(policy) => Some(policy.clone()),
        _ => None,
    });
    let mut prepared = Prepared::default();
    prepared.prepare(&policies.collect::<Vec<_>>(), &[]);
    // Of each name at most one.
    let some = |chosen: usize| -> Vec<Object> {
        let is_in = |place: &usize| chosen >> place & 1 == 1;
        (0..all.len()).filter(is_in).map(|place| all[place].clone()).collect()
    };
    let sets: Vec<usize> = (0..1 << all.len())
        .filter(|set| (0..2).all(|n| set >> n & 1 == 0 || set >> (n + 4) & 1 == 0))
        .collect();
    let concerned = HashSet::from(["evil".into()]);
    let mut found = [0, 0];
    for last in sets.iter().step_by(3) {
        let configuration =
            Configuration { objects: some(*last), prepared: prepared.clone(), ..Configuration::default() };
        let (last, _) = Snapshot::default().next(configuration);
        for next in &sets {
            let objects = some(*next);
            let made = last.make_prepared(&objects, (&[], &prepared));
            let good: Good = objects.into_iter().zip(made.into_iter().map(Result::unwrap)).collect();
            let now = good.iter().map(|(object, made)| (object, made));
            let difference = Difference::of_made((&last.objects, &last.made), now);
            let fits = fit_together(&last, &good, &concerned, &difference);
            let over = over(&last, &good, &concerned, &[]);
            assert!(!fits || over.is_empty(), "{next:b}: {over:?}");
            found[usize::from(fits)] += 1;
        }
    }
    assert!(found.iter().all(|times| *times > 50), "{found:?}");
}

fn policies(objects: &[Object]) -> Vec<Arc<Policy>> {
    let policy = |object: &Object| match object {
        Object::Policy(policy) => Some(policy.clone()),
        _ => None,
    };
    objects.iter().filter_map(policy).collect()
}

/// Attack: policies that nobody refuses to store, each of which takes a hundred times its text when it is compiled. Of what is left out it is kept what it
/// costs; where there is room it is in force, and is compiled once for that.
#[test]
fn of_what_is_too_costly_only_the_costs_are_kept() {
    let open = heavy("principal is Agent");
    let mut objects: Vec<Object> = (0..5).map(|n| policy("evil", &format!("p{n}"), &open)).collect();
    let build = |last: &Snapshot, objects: &[Object], prepared: &Prepared| {
        let (objects, prepared) = (objects.to_vec(), prepared.clone());
        last.next(Configuration { objects, prepared, ..Configuration::default() })
    };
    let compiled = |prepared: &Prepared, objects: &[Object]| {
        let all = policies(objects);
        let made = all.iter().filter_map(|policy| prepared.outcome(policy)?.as_ref().ok());
        made.filter(|made| made.compiled.is_some()).count()
    };
    let mut prepared = Prepared::default();
    prepared.prepare(&policies(&objects), &[]);
    // Not even before it is known which of them are left out.
    assert_eq!((prepared.len(), compiled(&prepared, &objects)), (5, 3));
    let (wanted, rejected) = Snapshot::build(objects.clone());
    let (first, said) = build(&Snapshot::default(), &objects, &prepared);
    assert_eq!((first.digest(), &said), (wanted.digest(), &rejected));
    prepared.settle(&first);
    assert_eq!((first.costly.len(), compiled(&prepared, &objects)), (2, 3));
    // As an act builds it again.
    let (again, said) = build(&Snapshot::default(), &objects, &prepared);
    assert_eq!((again.digest(), &said), (wanted.digest(), &rejected));
    objects.retain(|object| &*object.meta().name != "p0");
    prepared.keep(policies(&objects).iter());
    let (next, rejected) = build(&first, &objects, &prepared);
    assert_eq!((next.objects().len(), too_costly(&rejected)), (3, vec!["Policy evil/p4".to_owned()]));
    prepared.settle(&next);
    assert_eq!((prepared.len(), compiled(&prepared, &objects)), (4, 3));
    let (once_more, _) = build(&first, &objects, &prepared);
    let of = |snapshot: &Snapshot| {
        let made = snapshot.places.get(&ObjectKey::of(&objects[2])).map(|(_, made)| made.clone());
        made.and_then(|made| made.compiled.clone()).unwrap()
    };
    assert!(Arc::ptr_eq(&of(&next), &of(&once_more)), "compiled twice");
}

/// Of each that is held: its name, how many policies that is, and their text.
fn held(snapshot: &Snapshot) -> Vec<(String, usize, String)> {
    let texts = |compiled: &Compiled| -> Vec<String> {
        compiled.statements.iter().map(|one| one.policy.to_string()).collect()
    };
    let all = snapshot.refusing.iter().map(|one| {
        let texts = one.policy.as_ref().map(|(_, compiled)| texts(compiled)).unwrap_or_default();
        (one.object.name.to_string(), texts.len(), texts.concat())
    });
    all.collect()
}

/// A first start does not know what a policy forbade that is too costly now: what its forbids name in their heads is refused, and everything else is in force.
#[test]
fn a_first_start_refuses_what_the_heads_of_the_too_costly_name_and_nothing_else() {
    let open = heavy("principal is Agent");
    let narrowed = heavy("principal in Group::\"evil\"");
    let mut objects: Vec<Object> = (0..5).map(|n| policy("evil", &format!("p{n}"), &open)).collect();
    objects.extend((0..4).map(|n| policy("evil", &format!("q{n}"), &narrowed)));
    // Too costly too, and forbids nothing.
    objects.push(policy("evil", "z", &open.replace("forbid (", "permit (")));
    objects.push(policy("finance", "yes", "permit (principal, action, resource);"));
    let given =
        Configuration { objects: objects.clone(), before: Before::Nothing, ..Configuration::default() };
    let (first, rejected) = Snapshot::default().next(given);
    let mut over = too_costly(&rejected);
    over.sort();
    assert_eq!(over, ["Policy evil/p3", "Policy evil/p4", "Policy evil/q3", "Policy evil/z"]);
    assert!(!first.is_closed(), "{rejected:#?}");
    assert!(first.policies().any(|id| **id == *"finance/yes"));
    let all = held(&first);
    let names: Vec<(&str, usize)> = all.iter().map(|(name, count, _)| (name.as_str(), *count)).collect();
    assert_eq!(names, [("p3", 1), ("p4", 1), ("q3", 1)]);
    assert!(all.iter().all(|(_, _, text)| text.contains("forbid") && !text.contains("hasTag")), "{all:?}");
    assert!(all[2].2.contains("Group::\"evil\""), "{all:?}");
    let said = rejected.iter().filter(|one| one.reason.contains("in their heads"));
    assert_eq!(said.count(), 3, "{rejected:#?}");
    // It stays so while they are too costly, and over a restart.
    let (next, _) = first.rebuilt(objects.clone(), Vec::new());
    assert_eq!((held(&next), next.is_closed(), next.digest()), (all, false, first.digest()));
    let (seen, _) = Snapshot::build(objects.clone());
    assert!(seen.refusing.is_empty());
    let remembering = seen.remembering(&next.memory()).unwrap().unwrap();
    let (restarted, _) = remembering.rebuilt(objects.clone(), Vec::new());
    assert_eq!((held(&restarted), restarted.digest()), (held(&next), next.digest()));
    // What was refused before is lost: then these may have forbidden something else.
    let lost = Configuration { objects, before: Before::Lost, ..Configuration::default() };
    assert!(Snapshot::default().next(lost).0.is_closed());
}

/// What is mended is in force as it says, and nothing stands in for it any more.
#[test]
fn what_stood_in_for_the_too_costly_goes_with_it() {
    let open = heavy("principal is Agent");
    let all = |n: usize| -> Vec<Object> { (0..n).map(|n| policy("evil", &format!("p{n}"), &open)).collect() };
    let given = Configuration { objects: all(4), before: Before::Nothing, ..Configuration::default() };
    let (first, _) = Snapshot::default().next(given);
    assert_eq!((first.objects().len(), held(&first).len(), first.is_closed()), (3, 1, false));
    let mut objects = all(3);
    objects.push(policy("evil", "p3", "forbid (principal is Agent, action, resource);"));
    let (mended, rejected) = first.rebuilt(objects, Vec::new());
    assert_eq!((mended.objects().len(), held(&mended).len(), rejected.len()), (4, 0, 0));
    let (without, rejected) = first.rebuilt(all(3), Vec::new());
    assert_eq!((without.objects().len(), held(&without).len(), rejected.len()), (3, 0, 0));
}

/// Attack: a malformed policy keeps a first start closed, and each change of anything has what stands in for the too costly held once more.
#[test]
fn what_stands_in_is_held_once_while_a_first_start_is_closed() {
    let open = heavy("principal is Agent");
    let objects: Vec<Object> = (0..5).map(|n| policy("evil", &format!("p{n}"), &open)).collect();
    let build = |last: &Snapshot, objects: &[Object]| {
        let given =
            Configuration { objects: objects.to_vec(), before: Before::Nothing, ..Configuration::default() };
        last.next(given).0
    };
    let mut malformed = objects.clone();
    malformed.push(policy("evil", "malformed", "forbid (principal"));
    let first = build(&Snapshot::default(), &malformed);
    assert!(first.is_closed() && held(&first).len() == 2);
    let mut last = build(&first, &malformed);
    for _ in 0..3 {
        last = build(&last, &malformed);
        assert_eq!((held(&last), last.digest()), (held(&first), first.digest()));
    }
    // It is mended, and what is too costly refuses as at a first start without it.
    let (whole, wanted) = (build(&last, &objects), build(&Snapshot::default(), &objects));
    assert_eq!((held(&whole), whole.is_closed()), (held(&wanted), false));
    assert_eq!(whole.digest(), wanted.digest());
}

/// Attack: a policy that is too costly with thousands of heads, which would be as many policies at a first start.
#[test]
fn many_heads_are_one() {
    let one = |n: usize| {
        format!("forbid (principal == Agent::\"evil/a{n}\", action == Action::\"invokeTool\", resource);\n")
    };
    for (count, statements) in [(1, 1), (16, 16), (17, 1), (200, 1)] {
        let cedar: String = (0..count).map(one).collect();
        let object = policy("evil", "p", &cedar);
        let (snapshot, _) = Snapshot::build(vec![object.clone()]);
        let costly = Costly::of(&policies(&[object])[0], &snapshot.made[0]).unwrap();
        let (_, compiled) = costly.stand_in().unwrap().unwrap().policy.unwrap();
        assert_eq!(compiled.statements.len(), statements, "{count}");
    }
}

/// What policies come to, as text.
fn told(sums: &Sums) -> BTreeMap<String, (usize, BTreeMap<String, usize>, usize)> {
    let of = |sum: &Sum| {
        let on_edge = sum.on_edge.iter().map(|(key, cost)| (format!("{key:?}"), *cost)).collect();
        (sum.text, on_edge, sum.over)
    };
    sums.0.iter().map(|(namespace, sum)| (namespace.to_string(), of(sum))).collect()
}

/// What is added up from change to change is what is added up from nothing, whatever comes, goes, moves to another namespace or is held.
#[test]
fn what_is_added_up_step_by_step_is_what_all_come_to() {
    let open = heavy("principal is Agent");
    let texts: [&str; 5] = [
        "forbid (principal, action, resource);",
        "permit (principal == Agent::\"a/b\", action, resource);",
        "permit (principal in Group::\"g\", action, resource) when { principal.team == \"t\" };",
        &open,
        "forbid (principal",
    ];
    let mut objects: Vec<Object> = Vec::new();
    let mut last = Snapshot::default();
    for step in 0..60_usize {
        let namespace = ["a", "evil"][step % 2];
        let name = format!("p{}", step % 7);
        objects.retain(|object| *object.meta().name != *name);
        if step % 5 != 4 {
            objects.push(policy(namespace, &name, texts[step / 2 % texts.len()]));
        }
        (last, _) = last.rebuilt(objects.clone(), Vec::new());
        let (anew, _) = Snapshot::build(last.objects().to_vec());
        assert_eq!(told(&last.sums), told(&anew.sums), "{step}");
        // As one that remembers has them too.
        assert_eq!(told(&last.with_objects_alone().sums), told(&anew.sums), "{step}");
    }
    assert!(last.objects().len() > 2);
    (last, _) = last.rebuilt(Vec::new(), Vec::new());
    assert!(told(&last.sums).is_empty());
}
