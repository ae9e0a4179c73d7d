//! The count of a chain's destinations: at the limit, at once, after a quiet time, and when the table is full.

use std::collections::BTreeSet;

use futures_util::FutureExt as _;
use vidimus_core::entity::EntityKind;

use super::*;

const QUIET: Duration = Duration::from_secs(600);

fn destination(number: usize) -> EntityId {
    EntityId::new(EntityKind::McpServer, format!("n/server-{number}"))
}

fn key(transaction: usize) -> ChainKey {
    ChainKey { transaction: transaction.to_string().into(), agent: "n/a".into() }
}

/// In process there is nothing to wait for.
fn claim(
    state: &Arc<StandingState>,
    transaction: usize,
    number: usize,
    limit: usize,
    now: Instant,
) -> Result<Claim, Code> {
    let claimed = state.claim(key(transaction), &destination(number), limit, now).now_or_never();
    claimed.expect("ready at once").map_err(|refusal| refusal.code)
}

#[test]
fn what_was_reached_may_be_reached_again_and_what_was_denied_does_not_count() {
    let (state, now) = (StandingState::new(8, QUIET, 8), Instant::now());
    let place = |number| claim(&state, 0, number, 2, now).expect("room");
    place(0).permitted();
    drop(place(1));
    drop(place(2));
    place(3).permitted();
    assert_eq!(place(0).count(), 2);
    assert_eq!(place(3).count(), 2);
    assert_eq!(place(4).count(), 3);
    // Another transaction has its own count.
    assert_eq!(claim(&state, 1, 4, 2, now).expect("room").count(), 1);
    assert_eq!(state.chains.lock().expect("table").len(), 1, "a chain without destinations is gone");
}

#[test]
fn a_denied_call_does_not_take_back_what_another_call_was_allowed() {
    let (state, now) = (StandingState::new(8, QUIET, 8), Instant::now());
    let place = |number| claim(&state, 0, number, 1, now).expect("room");
    let (first, mut second) = (place(0), place(0));
    second.permitted();
    drop(first);
    assert_eq!(place(1).count(), 2);
    let (first, second) = (place(0), place(0));
    drop(first);
    assert_eq!(place(1).count(), 2);
    drop(second);
    assert_eq!(place(1).count(), 2, "permitted once, it stays");
}

#[test]
fn a_chain_is_gone_after_a_quiet_time_and_not_while_a_call_is_decided() {
    let (state, start) = (StandingState::new(8, QUIET, 8), Instant::now());
    let place = |number, after| claim(&state, 0, number, 1, start + after).expect("room");
    place(0, Duration::ZERO).permitted();
    let almost = QUIET.saturating_sub(Duration::from_millis(1));
    assert_eq!(place(1, almost).count(), 2, "still there, and asked for again");
    assert_eq!(place(1, almost + almost).count(), 2);
    let undecided = place(0, almost + almost);
    assert_eq!(place(1, QUIET * 9).count(), 2);
    drop(undecided);
    assert_eq!(place(1, QUIET * 19).count(), 1);
}

#[test]
fn a_full_table_refuses_and_forgets_only_what_is_gone() {
    let (state, start) = (StandingState::new(3, QUIET, 8), Instant::now());
    let place = |transaction, after| {
        claim(&state, transaction, 0, 4, start + after).map(|mut claim| claim.permitted())
    };
    for transaction in 0..3 {
        assert_eq!(place(transaction, Duration::ZERO), Ok(()));
    }
    assert_eq!(place(3, Duration::from_secs(1)), Err(Code::Overloaded));
    assert_eq!(place(0, Duration::from_secs(300)), Ok(()), "what is there goes on");
    assert_eq!(place(3, QUIET), Ok(()), "1 and 2 are gone");
    assert_eq!(place(4, QUIET), Ok(()));
    assert_eq!(place(5, QUIET), Err(Code::Overloaded));
    assert_eq!(state.chains.lock().expect("table").len(), 3);
}

/// Eight threads, each on destinations in an order of its own, every third call denied by "policy".
#[test]
fn never_more_destinations_than_the_limit_however_many_ask_at_once() {
    const THREADS: usize = 8;
    const LIMIT: usize = 3;
    for round in 0..200 {
        let (state, now) = (StandingState::new(8, QUIET, 8), Instant::now());
        let start = std::sync::Barrier::new(THREADS);
        let admitted: BTreeSet<usize> = std::thread::scope(|scope| {
            let run = |thread: usize| {
                let mut admitted = Vec::new();
                start.wait();
                for step in 0..16 {
                    let number = (thread * 5 + step * 7 + round) % 10;
                    let mut place = claim(&state, 0, number, LIMIT, now).expect("room");
                    if place.count() <= LIMIT && !(thread + step).is_multiple_of(3) {
                        place.permitted();
                        admitted.push(number);
                    }
                }
                admitted
            };
            let threads: Vec<_> = (0..THREADS).map(|thread| scope.spawn(move || run(thread))).collect();
            threads.into_iter().flat_map(|thread| thread.join().expect("a thread")).collect()
        });
        assert!(!admitted.is_empty() && admitted.len() <= LIMIT, "{admitted:?}");
        let mut chains = state.chains.lock().expect("table");
        let kept = &chains.get_mut(&key(0)).expect("a chain").destinations;
        assert_eq!(kept.len(), admitted.len());
        assert!(kept.iter().all(|(_, it)| it.permitted && it.undecided == 0));
    }
}

#[test]
fn a_task_has_a_maker_for_its_holder_only() {
    let state = StandingState::new(8, QUIET, 8);
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
