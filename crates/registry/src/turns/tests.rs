use std::fmt::Write as _;
use std::thread;
use std::time::Duration;

use serde_json::json;
use vidimus_core::act::{Act, OfSubject};
use vidimus_core::record::{ActKind, ActRecord, VERSION};
use vidimus_core::resource::check;
use vidimus_core::snapshot::Overlay;
use vidimus_core::standing::Standing;

use super::*;
use crate::{Acts, Feed, Says, feed};

/// As an attacker wrote them: 48 KiB and more, some 30 ms to check.
fn heavy(number: usize) -> Object {
    let mut cedar = String::new();
    for forbid in 0..12 {
        let tag = |place: usize| format!("a-tag-{forbid}-{place}");
        let one = |place| {
            let tag = tag(place);
            format!("principal.hasTag(\"{tag}\") && principal.getTag(\"{tag}\") like \"*x*y*{place}*\"")
        };
        let condition = (0..60).map(one).collect::<Vec<_>>().join(" || ");
        writeln!(
            cedar,
            "forbid (principal == Agent::\"evil/a{number}\", action == Action::\"invokeTool\", resource) when {{ {condition} }};"
        )
        .unwrap();
    }
    assert!((PIECE / 2..PIECE - 2 * LEAST).contains(&cedar.len()), "one of them is a piece: {}", cedar.len());
    policy("evil", &format!("heavy-{number}"), 1, &cedar)
}

fn policy(namespace: &str, name: &str, generation: i64, cedar: &str) -> Object {
    let uid = format!("{namespace}-{name}");
    let document = json!({
        "apiVersion": "vidimus.dev/v1alpha1", "kind": "Policy",
        "metadata": {"namespace": namespace, "name": name, "uid": uid, "generation": generation},
        "spec": {"description": "a test", "cedar": cedar},
    });
    let origin = Origin::Cluster {
        cluster: "c".into(),
        uid: Some(uid.as_str().into()),
        resource_version: Some(generation.to_string().as_str().into()),
    };
    check(&origin, &document).unwrap()
}

/// A source that has said something already.
fn begun(objects: &[Object]) -> (Feed, Acts) {
    let (_, mut feed, acts) = feed("the cluster", None, Arc::default()).unwrap();
    assert!(says(&mut feed, objects));
    assert!(!feed.is_behind(), "before anything is in force, nothing waits");
    (feed, acts)
}

fn says(feed: &mut Feed, objects: &[Object]) -> bool {
    feed.says(Says { objects: objects.to_vec(), ..Says::default() })
}

fn has(feed: &Feed, object: &Object) -> bool {
    feed.current().snapshot.objects().iter().any(|one| one.is_identical(object))
}

const FORBID: &str = "forbid (principal, action, resource);";

/// Attack: a tenant that writes many policies that are long to compile, so that what others forbid is not in force.
#[test]
fn what_others_forbid_is_in_the_very_next_snapshot() {
    let (mut feed, _) = begun(&[]);
    let forbid = policy("finance", "no", 1, FORBID);
    let mut objects: Vec<Object> = (0..4).map(heavy).collect();
    objects.push(forbid.clone());
    assert!(says(&mut feed, &objects));
    assert!(has(&feed, &forbid) && feed.is_behind());
    // Of another namespace, while it goes on: before all that waits.
    let other = policy("hr", "no", 1, FORBID);
    objects.push(other.clone());
    assert!(says(&mut feed, &objects));
    assert!(has(&feed, &other) && feed.is_behind());
    let mut turns = 2;
    while feed.is_behind() {
        let waiting = feed.waiting().len();
        assert!(says(&mut feed, &objects));
        assert_eq!(feed.waiting().len(), waiting - 1, "one piece at a time");
        turns += 1;
    }
    assert_eq!(turns, 4);
    assert!(objects.iter().all(|object| has(&feed, object)));
}

/// Attack: a tenant that writes one after the other, so that it always has the least that waits.
#[test]
fn who_had_a_turn_comes_after_who_had_none() {
    let mut turns = Turns::default();
    let long = |less: usize| format!("{FORBID} //{}", "x".repeat(PIECE - 2 * LEAST - less));
    let of = |namespace: &str, name: &str, text: &str| match policy(namespace, name, 1, text) {
        Object::Policy(policy) => policy,
        _ => panic!("of another kind"),
    };
    let waits: Vec<Arc<Policy>> = (0..3).map(|n| of("finance", &format!("p{n}"), &long(0))).collect();
    let mut first = Vec::new();
    for turn in 0..4 {
        let shorter = of("evil", &format!("p{turn}"), &long(1));
        let all = waits.iter().cloned().chain([shorter]).collect();
        first.push(turns.piece(all)[0].meta.namespace.to_string());
    }
    assert_eq!(first, ["evil", "finance", "evil", "finance"]);
}

/// What waits is in force as it was, and holds what it held.
#[test]
fn what_waits_is_in_force_as_it_was() {
    let before = policy("evil", "rule", 1, FORBID);
    let (mut feed, _) = begun(std::slice::from_ref(&before));
    let after = policy("evil", "rule", 2, "permit (principal, action, resource);");
    // What may forbid goes first, so this one waits.
    let objects = [heavy(0), heavy(1), after.clone()];
    assert!(says(&mut feed, &objects));
    assert!(has(&feed, &before) && !has(&feed, &after));
    assert_eq!(feed.waiting().len(), 2);
    assert!(feed.waiting().contains("evil-rule"));
    while feed.is_behind() {
        assert!(says(&mut feed, &objects));
    }
    assert!(has(&feed, &after) && !has(&feed, &before));
}

#[test]
fn what_is_deleted_while_it_waits_is_gone_and_what_was_malformed_goes_on_to_hold() {
    let before = policy("evil", "rule", 1, FORBID);
    let (mut feed, _) = begun(std::slice::from_ref(&before));
    let rejected = Rejection {
        origin: before.meta().origin.clone(),
        object: Subject::Object(before.reference()),
        field: String::new(),
        value: String::new(),
        reason: "malformed".to_owned(),
        fix: String::new(),
    };
    let held = |feed: &Feed| feed.current().snapshot.only_refusing().count();
    assert!(feed.says(Says { rejected: vec![rejected], ..Says::default() }));
    assert_eq!(held(&feed), 1);
    let mended = policy("evil", "rule", 3, "permit (principal, action, resource);");
    assert!(says(&mut feed, &[heavy(0), heavy(1), mended.clone()]));
    assert!(feed.is_behind() && !has(&feed, &mended));
    assert_eq!(held(&feed), 1, "what it refused is not let go for a turn");
    assert!(says(&mut feed, &[]));
    assert_eq!((held(&feed), feed.is_behind()), (0, false));
}

/// An act waits for no policy: it is in the snapshot while others wait for their turn.
#[test]
fn an_act_is_in_force_while_policies_wait() {
    let (mut feed, acts) = begun(&[]);
    let objects: Vec<Object> = (0..3).map(heavy).collect();
    assert!(says(&mut feed, &objects));
    assert!(feed.is_behind());
    let mut standing = Standing::default();
    standing.apply(&ActRecord {
        act: Act::Quarantine(OfSubject { subject: "Agent/finance/bot".parse().unwrap() }),
        actor: "User/urn:vidimus:local#admin".into(),
        id: "1".into(),
        kind: ActKind,
        note: false,
        shared: None,
        time: "2026-01-01T00:00:00.000000Z".into(),
        version: VERSION,
        why: "INC-1".into(),
    });
    let overlay = Arc::new(Overlay::of(&standing).unwrap());
    acts.stand(overlay.clone());
    for _ in 0..3_000 {
        if feed.current().snapshot.has(&overlay) {
            break;
        }
        thread::sleep(Duration::from_millis(10));
    }
    assert!(feed.current().snapshot.has(&overlay) && feed.is_behind());
    // What was heard before it does not take it back.
    while feed.is_behind() {
        assert!(says(&mut feed, &objects));
        assert!(feed.current().snapshot.has(&overlay));
    }
}

/// What comes and goes is compiled and let go as it was where all was looked at each time.
#[test]
fn what_is_gone_takes_no_memory() {
    let (mut turns, last) = (Turns::default(), Snapshot::default());
    let all: Vec<Object> = (0..6).map(|n| policy("a", &format!("p{n}"), 1, FORBID)).collect();
    for chosen in [0b11_1111, 0b10_1011, 0b11_1011, 0b00_0100, 0, 0b11_0011_usize] {
        let is_in = |place: &usize| chosen >> place & 1 == 1;
        let some: Vec<Object> = (0..all.len()).filter(is_in).map(|place| all[place].clone()).collect();
        let ready = turns.take(&last, some.clone(), &[], false);
        assert_eq!((ready.objects.len(), ready.held.len(), turns.is_behind()), (some.len(), 0, false));
        assert!(policies(&some).all(|policy| turns.prepared.has(policy)), "{chosen:b}");
        assert_eq!((turns.prepared.len(), turns.given.len()), (some.len(), some.len()), "{chosen:b}");
    }
}
