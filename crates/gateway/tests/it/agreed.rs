//! Acts over several gateways: what is done at one comes into force at the others, what may be done once is done once, and what becomes of
//! it when the store is lost.

use std::time::Duration;

use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use vidimus_core::act::{Act, Declassified, Granted, Lifted, OfGrant, OfSubject, Terms};
use vidimus_core::approval::pending::State;
use vidimus_core::clock::Clock as _;
use vidimus_core::refusal::Code;
use vidimus_gateway::millis;
use vidimus_testkit::upstream::Answer;

use super::acts::{ADMIN, follow_with};
use super::approvals::{BOB, HOLD, holding, yes};
use super::chains::{code, estate};
use super::logged::Logged;
use super::redis::Redis;
use super::replicas::{self, kept_apart};
use super::world::{World, call_id, objects};

/// Two gateways with one store and one estate, whose upstreams are those of the first.
async fn two(estate: impl Fn(&World) -> Vec<Value>) -> (Redis, World, World) {
    let (redis, one, other) = replicas::two().await;
    let all = estate(&one);
    for world in [&one, &other] {
        follow_with(world, &all);
        in_force(world).await;
    }
    (redis, one, other)
}

/// Until what stands decides.
async fn in_force(world: &World) {
    until("in force", || {
        let stood = world.gate.acts.changes().borrow().overlay.clone();
        world.gate.snapshot().has(&stood)
    })
    .await;
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..2_000 {
        if is_so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not so: {what}");
}

fn quarantine(subject: &str) -> Act {
    Act::Quarantine(OfSubject { subject: subject.parse().expect("a subject") })
}

/// The caller may use a tool so often that no policy permits it.
fn lend(world: &World, uses: u32) -> Act {
    let terms = Terms {
        agent: "Agent/t/caller".parse().expect("an agent"),
        resources: vec!["Tool/t/tools/lent".parse().expect("a tool")],
        transaction: None,
        uses: Some(uses),
    };
    let until_ms = millis(world.clock.now().wall).0 + 3_600_000;
    Act::Grant(Granted { request: None, terms, until_ms })
}

async fn act(world: &World, actor: &str, act: Act) -> Result<String, Code> {
    world.gate.shared.act(actor, act, "INC-7").await.map(|done| done.id).map_err(|refusal| refusal.code)
}

fn is_quarantined(world: &World) -> bool {
    !world.gate.acts.standing().quarantined.is_empty()
}

async fn until_refused(world: &World, expected: &str) {
    for _ in 0..2_000 {
        if code(world, world.tool("echo")).await.as_deref() == Some(expected) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("the call is not refused with {expected}");
}

fn plain(world: &World) -> Vec<Value> {
    objects(&world.upstream)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quarantine_at_one_gateway_refuses_and_cuts_at_the_other_and_is_on_record_at_both() {
    let (_redis, one, other) = two(plain).await;
    let (answer, stream) = Answer::stream("text/event-stream");
    one.upstream.next(answer);
    let open = other.send(other.tool("echo")).await;
    assert!(stream.event("{}").await);
    let id = act(&one, ADMIN, quarantine("Agent/t/caller")).await.expect("done");
    let cut = call_id(open.headers());
    assert!(open.into_body().collect().await.is_err(), "cut, not finished");
    assert_eq!(other.records(&cut, 2).await[1]["code"], "revoked");
    until_refused(&other, "forbidden_by_policy").await;
    let of_act = |world: &World| {
        let records = world.all_records();
        records.into_iter().find(|record| record["act"]["quarantine"].is_object()).expect("a record")
    };
    let (here, there) = (of_act(&one), of_act(&other));
    for record in [&here, &there] {
        let was = (&record["id"], &record["actor"], &record["why"], &record["shared"]["number"]);
        assert_eq!(was, (&json!(id), &json!(ADMIN), &json!("INC-7"), &json!(1)), "{record}");
    }
    assert_eq!(here["shared"].get("from"), None);
    assert_eq!(there["shared"]["from"], json!(one.gate.ledger.origin()));
    assert_eq!(there["time"], here["time"]);
    // And it is lifted by the other.
    let subject = "Agent/t/caller".parse().expect("a subject");
    act(&other, ADMIN, Act::Lift(Lifted { of: id, subject })).await.expect("lifted");
    until("lifted", || !is_quarantined(&one)).await;
    in_force(&one).await;
    assert_eq!(code(&one, one.tool("echo")).await, None);
}

/// Attack: one approval, and many calls at once, over both gateways.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_calls_over_two_gateways_with_one_approval_one_is_made() {
    let (_redis, one, other) = two(|world| holding(world, HOLD)).await;
    for _round in 0..3 {
        assert_eq!(code(&one, one.tool("echo")).await.as_deref(), Some("approval_required"));
        // The same call at the other waits for the same.
        assert_eq!(code(&other, other.tool("echo")).await.as_deref(), Some("approval_required"));
        let asked = |world: &World| {
            let standing = world.gate.acts.standing();
            let open = standing.approvals.all().find(|one| one.state == State::Asked);
            open.map(|one| one.question.approval.clone())
        };
        let approval = asked(&other).expect("asked");
        assert_eq!(asked(&one), Some(approval.clone()));
        act(&other, BOB, yes(&approval, None)).await.expect("approved");
        until("approved at both", || {
            let standing = one.gate.acts.standing();
            standing.approvals.get(&approval).is_some_and(|one| one.state == State::Approved)
        })
        .await;
        let before = one.upstream.received().len();
        let calls = (0..8).map(|number| {
            let world = if number % 2 == 0 { &one } else { &other };
            one.upstream.next(Answer::json(&json!({"jsonrpc": "2.0", "id": 1, "result": {"content": []}})));
            code(world, world.tool("echo"))
        });
        let made = futures_util::future::join_all(calls).await;
        let made = made.into_iter().filter(Option::is_none).count();
        let sent = one.upstream.received().len() - before;
        assert_eq!((made, sent), (1, 1));
    }
}

/// Attack: two people are needed, and one of them approves at both gateways.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_two_of_a_quorum_by_approving_at_two_gateways() {
    let text = HOLD.replacen("forbid", "@quorum(\"2\") forbid", 1);
    let (_redis, one, other) = two(|world| holding(world, &text)).await;
    assert_eq!(code(&one, one.tool("echo")).await.as_deref(), Some("approval_required"));
    until("asked at both", || other.gate.acts.standing().approvals.all().count() == 1).await;
    let approval = one.gate.acts.standing().approvals.all().next().expect("asked").question.approval.clone();
    let both = tokio::join!(act(&one, BOB, yes(&approval, None)), act(&other, BOB, yes(&approval, None)));
    let given = [&both.0, &both.1].into_iter().filter(|done| done.is_ok()).count();
    assert_eq!(given, 1, "{both:?}");
    assert_eq!(code(&one, one.tool("echo")).await.as_deref(), Some("approval_required"));
}

/// Attack: the last use of a grant, at two gateways at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_calls_over_two_gateways_for_a_last_use_one_gets_it() {
    let (_redis, one, other) = two(plain).await;
    let id = act(&one, ADMIN, lend(&one, 2)).await.expect("granted");
    until("granted at both", || other.gate.acts.standing().grants.contains_key(&id)).await;
    in_force(&other).await;
    let calls = (0..12).map(|number| {
        let world = if number % 2 == 0 { &one } else { &other };
        code(world, world.tool("lent"))
    });
    let found = futures_util::future::join_all(calls).await;
    assert_eq!(found.iter().filter(|code| code.is_none()).count(), 2, "{found:?}");
    // What one revokes the other does not lend any more.
    act(&other, ADMIN, Act::Revoke(OfGrant { of: id.clone() })).await.expect("revoked");
    until("revoked at both", || !one.gate.acts.standing().grants.contains_key(&id)).await;
}

/// What is held stays held, what is cut stays cut, and nothing opens; what refuses may be done alone, and is told to the others later.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_store_opens_nothing_that_people_decide() {
    let (mut redis, one, other) = two(|world| holding(world, HOLD)).await;
    assert_eq!(code(&one, one.tool("echo")).await.as_deref(), Some("approval_required"));
    let approval = one.gate.acts.standing().approvals.all().next().expect("asked").question.approval.clone();
    until("asked at both", || other.gate.acts.standing().approvals.get(&approval).is_some()).await;
    act(&other, BOB, yes(&approval, None)).await.expect("approved");
    until("approved at both", || {
        one.gate.acts.standing().approvals.get(&approval).is_some_and(|it| it.state == State::Approved)
    })
    .await;
    redis.stop();
    for world in [&one, &other] {
        world.until_shared(false).await;
        // It cannot be known whether the other has made it.
        assert_eq!(code(world, world.tool("echo")).await.as_deref(), Some("standing_unavailable"));
        assert!(world.upstream.received().is_empty());
    }
    // Nobody lends or lifts alone.
    let lift = Act::Lift(Lifted { of: "x".into(), subject: "Agent/t/callee".parse().expect("a subject") });
    assert_eq!(act(&one, ADMIN, lift).await, Err(Code::ActUnfit));
    assert_eq!(act(&one, ADMIN, lend(&one, 1)).await, Err(Code::StandingUnavailable));
    // It is on record and in force here, and is said not to be at the others.
    let done = act(&one, ADMIN, quarantine("Agent/t/caller")).await;
    assert_eq!(done, Err(Code::StandingUnavailable));
    assert_eq!(code(&one, one.tool("echo")).await.as_deref(), Some("forbidden_by_policy"));
    assert!(!is_quarantined(&other));
    redis.restart().await;
    for world in [&one, &other] {
        world.until_shared(true).await;
    }
    until("told to the other", || is_quarantined(&other)).await;
    until_refused(&other, "forbidden_by_policy").await;
    // The approval that was given is not known to be unused: people are asked again.
    let (of, subject) = {
        let standing = other.gate.acts.standing();
        let (subject, placed) = standing.quarantined.iter().next().expect("quarantined");
        (placed.id.clone(), subject.clone())
    };
    act(&other, ADMIN, Act::Lift(Lifted { of, subject })).await.expect("lifted");
    for world in [&one, &other] {
        until("lifted", || !is_quarantined(world)).await;
        in_force(world).await;
        assert_eq!(code(world, world.tool("echo")).await.as_deref(), Some("approval_required"));
        assert!(world.upstream.received().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_was_emptied_and_a_gateway_that_joins_know_what_is_quarantined() {
    let (redis, one, other) = two(plain).await;
    act(&one, ADMIN, lend(&one, 9)).await.expect("granted");
    act(&other, ADMIN, quarantine("Agent/t/stranger")).await.expect("done");
    until("at both", || is_quarantined(&one)).await;
    let era = |world: &World| world.gate.acts.standing().agreed.as_ref().map(|known| known.era.clone());
    let before = era(&one);
    redis.flush().await;
    until("begun anew", || era(&one) != before && era(&one) == era(&other)).await;
    for world in [&one, &other] {
        world.until_shared(true).await;
        assert!(is_quarantined(world));
        assert!(world.gate.acts.standing().grants.is_empty(), "how often it was used may be what was lost");
    }
    // They agree again, and so does who comes later.
    act(&one, ADMIN, quarantine("Agent/t/callee")).await.expect("done");
    until("at both", || other.gate.acts.standing().quarantined.len() == 2).await;
    let third = World::sharing(redis.address(), Some(&one)).await;
    assert_eq!(third.gate.acts.standing().quarantined, one.gate.acts.standing().quarantined);
    let acts = third.all_records();
    let acts: Vec<_> = acts.iter().filter_map(|record| record["act"].as_object()?.keys().next()).collect();
    assert_eq!(acts, ["agree", "quarantine", "quarantine"]);
}

/// Attack: a gateway is started just after the store was emptied, before the others have told it what is quarantined.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_starts_on_an_emptied_store_knows_what_is_quarantined() {
    let (redis, one, other) = two(plain).await;
    act(&one, ADMIN, quarantine("Agent/t/caller")).await.expect("done");
    until("at both", || is_quarantined(&other)).await;
    redis.flush().await;
    let third = World::sharing(redis.address(), Some(&one)).await;
    assert!(is_quarantined(&third));
}

/// What others did and no gateway can bring into force does not keep it from all else that they did, where it is a grant; where what an act
/// refuses is not known, nothing goes on, and the log says which act it is and what to do.
#[tokio::test]
async fn an_act_that_no_gateway_can_take_over_opens_nothing_and_is_named() {
    let (redis, one, other) = two(plain).await;
    let Act::Grant(granted) = lend(&one, 1) else { panic!("a grant") };
    let logged = Logged::begin();
    let never = act(&one, ADMIN, Act::Grant(Granted { until_ms: i64::MAX, ..granted.clone() })).await;
    assert_eq!(never, Err(Code::Internal), "nobody gives it here");
    // As a gateway of another version might write it.
    let id = act(&one, ADMIN, Act::Grant(granted)).await.expect("granted");
    until("granted at both", || other.gate.acts.standing().grants.contains_key(&id)).await;
    let head = redis.says("HGET {vidimus}:acts era").await;
    let era = head.lines().nth(1).expect("an era").to_owned();
    let record = |id: &str, act: Value| {
        let place = json!({"era": era, "from": "elsewhere", "number": 0});
        json!({"act": act, "actor": ADMIN, "id": id, "kind": "act", "shared": place,
            "time": "2026-11-28T00:00:00.000000Z", "version": 1, "why": "INC-8"})
        .to_string()
    };
    let terms = json!({"agent": "Agent/t/caller", "resources": ["Tool/t/tools/never"], "uses": 1});
    let grant = record("g-never", json!({"grant": {"terms": terms, "until_ms": i64::MAX}}));
    let subject = json!({"quarantine": {"subject": "Agent/t/stranger"}});
    redis.add_act(&era, &id, "g-never", &grant).await;
    redis.add_act(&era, "g-never", "q", &record("q", subject)).await;
    for world in [&one, &other] {
        until("quarantined at both", || is_quarantined(world)).await;
        in_force(world).await;
        assert_eq!(code(world, world.tool("never")).await.as_deref(), Some("no_permit"));
        assert_eq!(code(world, world.tool("echo")).await, None);
    }
    assert_eq!(logged.with("g-never").len(), 2, "{:?}", logged.with("grant"));
    act(&other, ADMIN, Act::Revoke(OfGrant { of: "g-never".into() })).await.expect("revoked");
    until("revoked at both", || one.gate.acts.standing().grants.len() == 1).await;
    // What is not even understood may refuse anything.
    let last = redis.says("HGET {vidimus}:acts head").await.lines().nth(1).expect("a head").to_owned();
    redis.add_act(&era, &last, "x", "{}").await;
    for world in [&one, &other] {
        world.until_shared(false).await;
    }
    until("said", || !logged.with("number 5 of {vidimus}:acts").is_empty()).await;
    assert!(logged.with("number 5").iter().all(|line| line.contains("delete {vidimus}:acts")));
    redis.says("DEL {vidimus}:acts {vidimus}:acts:list").await;
    for world in [&one, &other] {
        world.until_shared(true).await;
        assert!(is_quarantined(world));
    }
}

/// A label that was taken away at one gateway is not refused for at the other, and is not told to a store that lost it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_declassified_at_one_gateway_is_so_at_the_other() {
    let (mut redis, one, other) = two(|world| estate(world, kept_apart)).await;
    assert_eq!(code(&one, one.tool("customer")).await, None);
    assert_eq!(code(&other, other.tool("customer")).await, None);
    assert_eq!(code(&other, other.tool("mail")).await.as_deref(), Some("forbidden_by_policy"));
    let of = |label: &str| {
        let subject = "Agent/t/caller".parse().expect("a subject");
        Act::Declassify(Declassified { label: label.into(), person: None, subject })
    };
    // The clock of the other is that of its start.
    one.clock.advance(Duration::from_secs(60));
    act(&one, ADMIN, of("confidential")).await.expect("declassified");
    let number = |world: &World| world.gate.acts.standing().agreed.as_ref().map(|known| known.number);
    until("heard", || number(&other) == Some(1)).await;
    assert_eq!(code(&one, one.tool("mail")).await, None);
    assert_eq!(code(&other, other.tool("mail")).await, None);
    redis.stop();
    for world in [&one, &other] {
        world.until_shared(false).await;
    }
    redis.restart().await;
    for world in [&one, &other] {
        world.until_shared(true).await;
        assert_eq!(code(world, world.tool("mail")).await, None);
    }
}

/// What was read through another gateway is in the store, and is declassified here; what nobody has read is not, and there is no act of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_gateway_read_is_declassified_here_and_nothing_else() {
    let (_redis, one, other) = two(|world| estate(world, kept_apart)).await;
    assert_eq!(code(&other, other.tool("customer")).await, None);
    let of = |subject: &str, label: &str, person: Option<&str>| {
        let (label, subject) = (label.into(), subject.parse().expect("a subject"));
        Act::Declassify(Declassified { label, person: person.map(Into::into), subject })
    };
    for nothing in [
        of("Agent/t/caller", "nevr-read", None),
        of("Agent/t/caller", "nevr-read", Some("https://idp.example#nobody")),
        of("Agent/t/callee", "confidential", None),
        of("Chain/ext-1", "confidential", None),
    ] {
        assert_eq!(act(&one, ADMIN, nothing.clone()).await, Err(Code::ActUnfit), "{nothing:?}");
    }
    assert_eq!(code(&one, one.tool("mail")).await.as_deref(), Some("forbidden_by_policy"));
    act(&one, ADMIN, of("Agent/t/caller", "confidential", None)).await.expect("declassified");
    assert_eq!(code(&one, one.tool("mail")).await, None);
    let acts = one.all_records().into_iter().filter(|record| record["kind"] == "act");
    assert_eq!(acts.filter(|record| record["act"]["declassify"].is_object()).count(), 1);
}

/// What one gateway has ended the other need not: nobody is warned of that.
#[tokio::test]
async fn a_grant_is_ended_by_one_gateway_and_the_other_says_nothing() {
    let (_redis, one, other) = two(plain).await;
    let id = act(&one, ADMIN, lend(&one, 2)).await.expect("granted");
    until("granted at both", || other.gate.acts.standing().grants.contains_key(&id)).await;
    let logged = Logged::begin();
    for world in [&one, &other] {
        world.clock.advance(Duration::from_secs(7_200));
    }
    tokio::join!(one.gate.shared.end_grants(), other.gate.shared.end_grants());
    for world in [&one, &other] {
        until("ended at both", || !world.gate.acts.standing().grants.contains_key(&id)).await;
    }
    assert_eq!(logged.with("still stands"), Vec::<String>::new());
}

/// What came of an approved call is with its approval also while the store is away: it is told later, and nobody is warned.
#[tokio::test]
async fn what_came_of_a_call_is_known_without_the_store() {
    let (mut redis, one, other) = two(|world| holding(world, HOLD)).await;
    assert_eq!(code(&one, one.tool("echo")).await.as_deref(), Some("approval_required"));
    let approval = one.gate.acts.standing().approvals.all().next().expect("asked").question.approval.clone();
    act(&one, BOB, yes(&approval, None)).await.expect("approved");
    let (answer, stream) = Answer::stream("text/event-stream");
    one.upstream.next(answer);
    let made = one.send(one.tool("echo")).await;
    assert!(!made.headers().contains_key("vidimus-code"), "{:?}", made.headers());
    let logged = Logged::begin();
    redis.stop();
    one.until_shared(false).await;
    let end = json!({"jsonrpc": "2.0", "id": 1, "result": {"content": []}}).to_string();
    assert!(stream.event(&end).await);
    drop(stream);
    drop(made.into_body().collect().await);
    let came = |world: &World| {
        let standing = world.gate.acts.standing();
        standing.approvals.get(&approval).and_then(|one| one.uses.first()?.result.clone())
    };
    until("known", || came(&one).is_some()).await;
    assert_eq!(logged.with("what came of an approved call"), Vec::<String>::new());
    drop((redis, other));
}

/// What was done alone, while the connection was made, is told before what is done about it: the others do not take it up after it is over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_lifted_right_after_it_was_done_alone_is_not_placed_again() {
    let (mut redis, one, other) = two(plain).await;
    let era = || one.gate.acts.standing().agreed.as_ref().map(|known| known.era.clone());
    let before = era();
    redis.stop();
    for world in [&one, &other] {
        world.until_shared(false).await;
    }
    redis.restart().await;
    // They agree already, and nothing is asked of the store yet.
    until("agreed", || era() != before).await;
    assert_eq!(act(&one, ADMIN, quarantine("Agent/t/stranger")).await, Err(Code::StandingUnavailable));
    let of = one.gate.acts.standing().quarantined.values().next().expect("placed").id.clone();
    let subject = || "Agent/t/stranger".parse().expect("a subject");
    let mut lifted = Err(Code::StandingUnavailable);
    for _ in 0..10_000 {
        if lifted != Err(Code::StandingUnavailable) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
        lifted = act(&one, ADMIN, Act::Lift(Lifted { of: of.clone(), subject: subject() })).await;
    }
    lifted.expect("lifted");
    other.until_shared(true).await;
    let number = |world: &World| world.gate.acts.standing().agreed.as_ref().map(|known| known.number);
    until("at both", || number(&one) == number(&other)).await;
    assert!(!is_quarantined(&one) && !is_quarantined(&other));
}
