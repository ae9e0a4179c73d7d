//! What chains come to: at a limit, at once, after a quiet time, and when the table is full; and what agents have read.

use std::collections::BTreeSet;

use futures_util::FutureExt as _;
use vidimus_core::caller::UnixMillis;
use vidimus_core::entity::{EntityId, EntityKind};

use super::taken::{FanOut, Flow, Taken, Used};
use super::*;

const QUIET: Duration = Duration::from_secs(600);

fn chain(transaction: usize) -> Taken {
    begun_by("n/earlier", transaction)
}

fn begun_by(agent: &str, transaction: usize) -> Taken {
    let agent = EntityId::new(EntityKind::Agent, agent);
    let chain = Chain {
        transaction: transaction.to_string().into(),
        started: UnixMillis(0),
        actors: vec![agent.clone()],
    };
    Taken::of(&chain, &agent)
}

fn reaching(transaction: usize, number: usize, limit: usize) -> Taken {
    let destination = EntityId::new(EntityKind::McpServer, format!("n/server-{number}"));
    let fan_out = FanOut { agent: "n/a".into(), destination, limit };
    Taken { fan_out: Some(fan_out), ..chain(transaction) }
}

fn using(tokens: i64) -> Taken {
    Taken { counted: Some(Used { tokens, spend: tokens * 2 }), ..chain(0) }
}

fn label(name: &str) -> Collected {
    Collected { label: name.into(), from: format!("Tool/n/s/{name}").into(), call: "c".into() }
}

/// Of one who calls for `person`, after `before` in chain `transaction`; 0 is a call of its own.
fn flow(transaction: usize, caller: &str, before: &[&str], person: Option<&str>, brings: &[&str]) -> Taken {
    let callers = std::iter::once(&caller).chain(before).map(|name| Arc::from(*name)).collect();
    let brings = brings.iter().map(|name| label(name)).collect();
    let flow = Flow { callers, callee: None, person: person.map(Arc::from), brings };
    let continues = !before.is_empty();
    Taken { flow: Some(flow), continues, ..chain(transaction) }
}

fn calling(callee: &str, mut taken: Taken) -> Taken {
    if let Some(flow) = &mut taken.flow {
        flow.callee = Some(callee.into());
    }
    taken
}

/// In process there is nothing to wait for.
fn reserve(state: &Arc<StandingState>, taken: Taken, now: Instant) -> Result<Tally, Code> {
    state.reserve(taken, now).now_or_never().expect("ready at once").map_err(|refusal| refusal.code)
}

fn permitted(tally: &mut Tally, now: Instant) {
    tally.permitted(now).now_or_never().expect("ready at once").expect("room");
}

/// A permitted call, and what its caller knew before.
fn call(state: &Arc<StandingState>, taken: Taken, now: Instant) -> Vec<String> {
    let mut tally = reserve(state, taken, now).expect("room");
    permitted(&mut tally, now);
    tally.so_far().labels.iter().map(|one| one.label.to_string()).collect()
}

#[test]
fn what_was_reached_may_be_reached_again_and_what_was_denied_does_not_count() {
    let (state, now) = (StandingState::alone(8, QUIET, 8), Instant::now());
    let place = |number| reserve(&state, reaching(0, number, 2), now).expect("room");
    let count = |tally: &Tally| tally.so_far().fan_out;
    permitted(&mut place(0), now);
    drop(place(1));
    drop(place(2));
    permitted(&mut place(3), now);
    assert_eq!(count(&place(0)), 2);
    assert_eq!(count(&place(3)), 2);
    assert_eq!(count(&place(4)), 3);
    // Another transaction has its own count.
    assert_eq!(count(&reserve(&state, reaching(1, 4, 2), now).expect("room")), 1);
    assert_eq!(state.chains().expect("table").len(), 1, "a chain of which nothing is left is gone");
}

#[test]
fn a_denied_call_does_not_take_back_what_another_call_was_allowed() {
    let (state, now) = (StandingState::alone(8, QUIET, 8), Instant::now());
    let place = |number| reserve(&state, reaching(0, number, 1), now).expect("room");
    let (first, mut second) = (place(0), place(0));
    permitted(&mut second, now);
    drop(first);
    assert_eq!(place(1).so_far().fan_out, 2);
    let (first, second) = (place(0), place(0));
    // One without a place gives none back.
    drop(place(1));
    drop(first);
    assert_eq!(place(1).so_far().fan_out, 2);
    drop(second);
    assert_eq!(place(1).so_far().fan_out, 2, "permitted once, it stays");
}

#[test]
fn a_chain_is_gone_after_a_quiet_time_and_not_while_a_call_is_under_way() {
    let (state, start) = (StandingState::alone(8, QUIET, 8), Instant::now());
    let place = |number, after| reserve(&state, reaching(0, number, 1), start + after).expect("room");
    let count = |tally: &Tally| tally.so_far().fan_out;
    permitted(&mut place(0, Duration::ZERO), start);
    let almost = QUIET.saturating_sub(Duration::from_millis(1));
    assert_eq!(count(&place(1, almost)), 2, "still there, and asked for again");
    assert_eq!(count(&place(1, almost + almost)), 2);
    let under_way = place(0, almost + almost);
    assert_eq!(count(&place(1, QUIET * 9)), 2);
    drop(under_way);
    assert_eq!(count(&place(1, QUIET * 19)), 1);
}

#[test]
fn a_full_table_refuses_and_forgets_only_what_is_gone() {
    let (state, start) = (StandingState::alone(6, QUIET, 8), Instant::now());
    let place = |transaction, after| {
        let tally = reserve(&state, reaching(transaction, 0, 4), start + after);
        tally.map(|mut tally| permitted(&mut tally, start + after))
    };
    for transaction in 0..3 {
        assert_eq!(place(transaction, Duration::ZERO), Ok(()));
    }
    assert_eq!(place(3, Duration::from_secs(1)), Err(Code::Overloaded));
    assert_eq!(place(0, Duration::from_secs(300)), Ok(()), "what is there goes on");
    assert_eq!(place(3, QUIET), Ok(()), "1 and 2 are gone");
    assert_eq!(place(4, QUIET), Ok(()));
    assert_eq!(place(5, QUIET), Err(Code::Overloaded));
    assert_eq!(state.chains().expect("table").len(), 3);
}

/// Eight threads, each on destinations in an order of its own, every third call denied by "policy".
#[test]
fn never_more_destinations_than_the_limit_however_many_ask_at_once() {
    const THREADS: usize = 8;
    const LIMIT: usize = 3;
    for round in 0..200 {
        let (state, now) = (StandingState::alone(8, QUIET, 8), Instant::now());
        let start = std::sync::Barrier::new(THREADS);
        let admitted: BTreeSet<usize> = std::thread::scope(|scope| {
            let run = |thread: usize| {
                let mut admitted = Vec::new();
                start.wait();
                for step in 0..16 {
                    let number = (thread * 5 + step * 7 + round) % 10;
                    let mut place = reserve(&state, reaching(0, number, LIMIT), now).expect("room");
                    let fits = place.so_far().fan_out <= 3;
                    if fits && !(thread + step).is_multiple_of(3) {
                        permitted(&mut place, now);
                        admitted.push(number);
                    }
                }
                admitted
            };
            let threads: Vec<_> = (0..THREADS).map(|thread| scope.spawn(move || run(thread))).collect();
            threads.into_iter().flat_map(|thread| thread.join().expect("a thread")).collect()
        });
        assert!(!admitted.is_empty() && admitted.len() <= LIMIT, "{admitted:?}");
        let one_more = reserve(&state, reaching(0, 99, usize::MAX), now).expect("room");
        assert_eq!(one_more.so_far().fan_out, 1 + i64::try_from(admitted.len()).expect("few"));
    }
}

#[test]
fn calls_tokens_and_spend_are_of_the_whole_chain_and_what_is_under_way_counts_as_estimated() {
    let (state, now) = (StandingState::alone(8, QUIET, 8), Instant::now());
    let seen = |tally: &Tally| {
        let so_far = tally.so_far();
        (so_far.calls, so_far.tokens, so_far.spend)
    };
    let mut first = reserve(&state, using(10), now).expect("room");
    assert_eq!(seen(&first), (1, 0, 0));
    permitted(&mut first, now);
    let denied = reserve(&state, using(5), now).expect("room");
    assert_eq!(seen(&denied), (2, 10, 20));
    assert_eq!(seen(&reserve(&state, using(5), now).expect("room")), (3, 15, 30), "being decided");
    drop(denied);
    first.settle(Used { tokens: 100, spend: 7 });
    let mut next = reserve(&state, using(1), now).expect("room");
    assert_eq!(seen(&next), (2, 100, 7));
    permitted(&mut next, now);
    drop(next);
    assert_eq!(seen(&reserve(&state, using(1), now).expect("room")), (3, 100, 7), "it used nothing");
}

#[test]
fn what_is_read_is_known_to_whom_it_comes_back_and_to_who_is_told() {
    let (state, now) = (StandingState::alone(8, QUIET, 8), Instant::now());
    assert_eq!(call(&state, flow(1, "a", &[], None, &["confidential"]), now), Vec::<String>::new());
    // In another chain, for nobody: what it read for whomever.
    assert_eq!(call(&state, flow(2, "a", &[], None, &[]), now), ["confidential"]);
    // b, called by a in chain 3, is told, also when it drops the chain.
    assert_eq!(call(&state, calling("b", flow(3, "a", &[], None, &[])), now), ["confidential"]);
    assert_eq!(call(&state, flow(3, "b", &["a"], None, &["personal"]), now), ["confidential"]);
    assert_eq!(call(&state, flow(4, "b", &[], None, &[]), now), ["confidential", "personal"]);
    // What b read comes back to a.
    assert_eq!(call(&state, flow(5, "a", &[], None, &[]), now), ["confidential", "personal"]);
    // Others do not have it.
    assert_eq!(call(&state, flow(6, "c", &[], None, &[]), now), Vec::<String>::new());
}

#[test]
fn what_is_read_for_one_person_does_not_count_for_another_and_counts_for_nobody() {
    let (state, now) = (StandingState::alone(8, QUIET, 8), Instant::now());
    let of = |person, brings: &[&str]| call(&state, flow(1, "a", &[], person, brings), now);
    assert_eq!(of(Some("anna"), &["personal"]), Vec::<String>::new());
    assert_eq!(of(Some("bert"), &[]), Vec::<String>::new());
    assert_eq!(of(Some("anna"), &[]), ["personal"]);
    assert_eq!(of(None, &["confidential"]), ["personal"]);
    assert_eq!(of(Some("bert"), &[]), ["confidential"], "what was read for nobody counts for everybody");
}

#[test]
fn a_label_is_gone_after_its_window_or_by_an_act_and_not_by_a_denied_call() {
    let (state, now) = (StandingState::alone(8, QUIET, 8), Instant::now());
    let at = |seconds| now + Duration::from_secs(seconds);
    drop(reserve(&state, flow(1, "a", &[], None, &["untrusted"]), now).expect("room"));
    assert_eq!(call(&state, flow(2, "a", &[], None, &["personal"]), now), Vec::<String>::new(), "denied");
    assert_eq!(call(&state, flow(3, "a", &[], None, &["confidential"]), at(3000)), ["personal"]);
    assert_eq!(call(&state, flow(4, "a", &[], None, &[]), at(3601)), ["confidential"]);
    let forgotten = state.declassify(&"a".into(), "confidential", None, at(3601)).now_or_never();
    forgotten.expect("ready at once").expect("no store");
    assert_eq!(call(&state, flow(5, "a", &[], None, &[]), at(3601)), Vec::<String>::new());
}

#[test]
fn where_a_label_came_from_first_stays() {
    let (state, now) = (StandingState::alone(8, QUIET, 8), Instant::now());
    for id in ["first", "second"] {
        let mut taken = flow(1, "a", &[], None, &["untrusted"]);
        taken.flow.as_mut().expect("flow").brings[0].call = id.into();
        call(&state, taken, now);
    }
    let tally = reserve(&state, flow(2, "a", &[], None, &[]), now).expect("room");
    assert_eq!(tally.so_far().origin("untrusted").map(|one| &*one.call), Some("first"));
}

#[test]
fn an_ended_chain_stays_ended_by_whom_it_was_first_and_streams_are_told() {
    let keeps = Keeps { capacity: 2, quiet: QUIET, window: QUIET };
    let wakes = watch::Sender::new(0);
    let state = StandingState::new(keeps, 8, wakes.clone(), None);
    let now = Instant::now();
    let caller = EntityId::new(EntityKind::Agent, "n/caller");
    let of = |transaction: &str, depth| Chain {
        transaction: transaction.into(),
        started: UnixMillis(0),
        actors: vec![EntityId::new(EntityKind::Agent, "n/a"); depth],
    };
    let end = |chain: &Chain, by: &str, at| {
        let ended = state.end_chain((chain, &caller), &by.into(), at).now_or_never().expect("ready at once");
        ended.map_err(|refusal| refusal.code)
    };
    let by = |transaction: &str| state.ended(&of(transaction, 1), &caller).expect("known");
    assert_eq!(end(&of("begins", 0), "limit", now), Ok(()), "there is nothing to end");
    assert_eq!(by("begins"), None);
    assert_eq!(*wakes.borrow(), 0);
    assert_eq!(end(&of("t", 1), "limit", now), Ok(()));
    assert_eq!(end(&of("t", 2), "policy", now), Ok(()));
    assert_eq!(by("t").as_deref(), Some("limit"));
    assert_eq!(by("other"), None);
    assert_eq!(*wakes.borrow(), 1);
    // One that began elsewhere may live long.
    let elsewhere = format!("{}1", Chain::ELSEWHERE);
    assert_eq!(end(&of(&elsewhere, 1), "limit", now), Ok(()));
    assert_eq!(by(&elsewhere).as_deref(), Some("limit"));
}

/// Attack: so many chains are ended that no further one can be kept, and the next one goes on.
#[test]
fn where_no_more_ended_chains_can_be_kept_they_stay_ended_and_nobody_elses_are() {
    let keeps = Keeps { capacity: 8, quiet: QUIET, window: QUIET };
    let (state, now) = (StandingState::new(keeps, 8, watch::Sender::new(0), None), Instant::now());
    let agent = |name: &str| EntityId::new(EntityKind::Agent, name);
    let of = |who: &str, number: i64| Chain {
        transaction: format!("{who}-{number}").into(),
        started: UnixMillis(number),
        actors: vec![agent(who)],
    };
    let caller = agent("n/last");
    let end = |chain: &Chain, by: &str| {
        let ended = state.end_chain((chain, &caller), &by.into(), now).now_or_never();
        assert_eq!(ended.expect("ready at once"), Ok(()));
    };
    for number in 0..100 {
        end(&of("n/runaway", number), "limit");
    }
    let by = |who: &str, number| state.ended(&of(who, number), &caller).expect("known");
    for number in 0..100 {
        assert_eq!(by("n/runaway", number).as_deref(), Some("limit"), "{number}");
    }
    assert_eq!(by("n/runaway", 100), None, "it began after them");
    assert_eq!(by("n/other", 1), None);
    end(&of("n/other", 2), "policy");
    assert_eq!((by("n/other", 2).as_deref(), by("n/other", 1)), (Some("policy"), None));
}

/// Attack: one agent begins chains without end, to have those of all others refused.
#[test]
fn nobody_takes_the_place_of_the_chains_that_others_begin() {
    let (state, now) = (StandingState::alone(100, QUIET, 8), Instant::now());
    let begin = |who: &str, number| {
        let taken = Taken { counted: Some(Used::default()), ..begun_by(who, number) };
        reserve(&state, taken, now).map(|mut tally| permitted(&mut tally, now))
    };
    let begun = (0..1_000).take_while(|number| begin("n/greedy", *number).is_ok()).count();
    assert_eq!(begun, 50);
    assert_eq!(begin("n/greedy", 0), Ok(()), "what it began goes on");
    for number in 0..20 {
        assert_eq!(begin("n/modest", 2_000 + number), Ok(()), "{number}");
    }
    assert_eq!(begin("n/greedy", 50), Err(Code::Overloaded));
}

#[test]
fn a_task_has_a_maker_for_its_holder_only() {
    let state = StandingState::alone(8, QUIET, 8);
    let tool = Arc::new(Part::Tool("pay".into()));
    let maker_of = |holder, task: &str| state.maker_of(&TaskKey::of(holder, task));
    state.task_made(TaskKey::of("a", "1"), tool.clone());
    assert_eq!(maker_of("a", "1").as_ref(), Some(&tool));
    for (holder, task) in [("a", "2"), ("b", "1"), ("a1", ""), ("", "a1")] {
        assert_eq!(maker_of(holder, task), None, "{holder} {task}");
    }
    (0..1_000).for_each(|task| state.task_made(TaskKey::of("b", &task.to_string()), tool.clone()));
    let kept = (0..1_000).filter(|task: &i32| maker_of("b", &task.to_string()).is_some()).count();
    assert!(kept <= 8, "{kept}");
}
