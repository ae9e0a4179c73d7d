//! The count of a chain's destinations: at the limit, at once, after a quiet time, and when the table is full.

use std::collections::BTreeSet;
use std::sync::Arc;

use vidimus_core::caller::{Chain, Proven, UnixMillis};
use vidimus_core::entity::EntityKind;
use vidimus_core::resource::DelegationLimits;

use super::*;

const QUIET: Duration = Duration::from_secs(600);

fn destination(number: usize) -> EntityId {
    EntityId::new(EntityKind::McpServer, format!("n/server-{number}"))
}

fn key(transaction: usize) -> Key {
    Key { transaction: transaction.to_string().into(), agent: "n/a".into() }
}

fn caller(most: Option<u32>, delegated: bool) -> Caller {
    let mut agent = Arc::unwrap_or_clone(crate::protocol::tests::agent());
    agent.delegation = DelegationLimits { max_depth: None, max_fan_out: most };
    let actors = if delegated { vec![EntityId::new(EntityKind::Agent, "n/earlier")] } else { Vec::new() };
    let proven = Proven {
        principal: Principal::Agent(Arc::new(agent)),
        identity: "hop:Agent/n/earlier".into(),
        user: None,
        delegated: None,
    };
    let chain = Chain { transaction: "t".into(), started: UnixMillis(0), actors };
    Caller { proven: Arc::new(proven), chain: Arc::new(chain) }
}

#[test]
fn only_an_agent_with_the_limit_on_a_delegated_chain_is_counted() {
    let (reach, now) = (Reach::new(8, QUIET), Instant::now());
    for (most, delegated, counted) in
        [(Some(2), true, true), (Some(2), false, false), (None, true, false), (None, false, false)]
    {
        let caller = caller(most, delegated);
        let places: Vec<i64> = (0..4)
            .map(|number| {
                let place = reach.reserve(&caller, &destination(number), now).expect("room");
                let fan_out = place.fan_out();
                if fan_out <= 2 {
                    place.keep();
                }
                fan_out
            })
            .collect();
        assert_eq!(places, if counted { [1, 2, 3, 3] } else { [1; 4] }, "{most:?} {delegated}");
    }
}

#[test]
fn what_was_reached_may_be_reached_again_and_what_was_denied_does_not_count() {
    let (reach, now) = (Reach::new(8, QUIET), Instant::now());
    let place = |number| reach.place(key(0), &destination(number), 2, now).expect("room");
    place(0).keep();
    drop(place(1));
    drop(place(2));
    place(3).keep();
    assert_eq!(place(0).fan_out(), 2);
    assert_eq!(place(3).fan_out(), 2);
    assert_eq!(place(4).fan_out(), 3);
    // Another transaction has its own count.
    assert_eq!(reach.place(key(1), &destination(4), 2, now).expect("room").fan_out(), 1);
    assert_eq!(reach.table.lock().expect("table").entries.len(), 1, "an entry without destinations is gone");
}

#[test]
fn a_denied_call_does_not_take_back_what_another_call_was_allowed() {
    let (reach, now) = (Reach::new(8, QUIET), Instant::now());
    let place = |number| reach.place(key(0), &destination(number), 1, now).expect("room");
    let (first, second) = (place(0), place(0));
    second.keep();
    drop(first);
    assert_eq!(place(1).fan_out(), 2);
    let (first, second) = (place(0), place(0));
    drop(first);
    assert_eq!(place(1).fan_out(), 2);
    drop(second);
    assert_eq!(place(1).fan_out(), 2, "allowed once, it stays");
}

#[test]
fn an_entry_is_gone_after_a_quiet_time_and_not_while_a_call_is_decided() {
    let (reach, start) = (Reach::new(8, QUIET), Instant::now());
    let place = |number, after| reach.place(key(0), &destination(number), 1, start + after).expect("room");
    place(0, Duration::ZERO).keep();
    let almost = QUIET.saturating_sub(Duration::from_millis(1));
    assert_eq!(place(1, almost).fan_out(), 2, "still there, and asked for again");
    assert_eq!(place(1, almost + almost).fan_out(), 2);
    let undecided = place(0, almost + almost);
    assert_eq!(place(1, QUIET * 9).fan_out(), 2);
    drop(undecided);
    assert_eq!(place(1, QUIET * 19).fan_out(), 1);
}

#[test]
fn a_full_table_refuses_and_forgets_only_what_is_gone() {
    let (reach, start) = (Reach::new(3, QUIET), Instant::now());
    let place = |transaction, after| {
        reach
            .place(key(transaction), &destination(0), 4, start + after)
            .map(Reservation::keep)
            .map_err(|r| r.code)
    };
    for transaction in 0..3 {
        assert_eq!(place(transaction, Duration::ZERO), Ok(()));
    }
    assert_eq!(place(3, Duration::from_secs(1)), Err(Code::Overloaded));
    assert_eq!(place(0, Duration::from_secs(300)), Ok(()), "what is there goes on");
    assert_eq!(place(3, QUIET), Ok(()), "1 and 2 are gone");
    assert_eq!(place(4, QUIET), Ok(()));
    assert_eq!(place(5, QUIET), Err(Code::Overloaded));
    assert_eq!(reach.table.lock().expect("table").entries.len(), 3);
}

/// Eight threads, each on destinations in an order of its own, every third call denied by "policy".
#[test]
fn never_more_destinations_than_the_limit_however_many_ask_at_once() {
    const THREADS: usize = 8;
    const MOST: usize = 3;
    for round in 0..200 {
        let (reach, now) = (Reach::new(8, QUIET), Instant::now());
        let start = std::sync::Barrier::new(THREADS);
        let admitted: BTreeSet<usize> = std::thread::scope(|scope| {
            let run = |thread: usize| {
                let mut admitted = Vec::new();
                start.wait();
                for step in 0..16 {
                    let number = (thread * 5 + step * 7 + round) % 10;
                    let place = reach.place(key(0), &destination(number), MOST, now).expect("room");
                    if place.fan_out() <= count(MOST) && !(thread + step).is_multiple_of(3) {
                        place.keep();
                        admitted.push(number);
                    }
                }
                admitted
            };
            let threads: Vec<_> = (0..THREADS).map(|thread| scope.spawn(move || run(thread))).collect();
            threads.into_iter().flat_map(|thread| thread.join().expect("a thread")).collect()
        });
        assert!(!admitted.is_empty() && admitted.len() <= MOST, "{admitted:?}");
        let table = reach.table.lock().expect("table");
        let kept = &table.entries.get(&key(0)).expect("an entry").destinations;
        assert_eq!(kept.len(), admitted.len());
        assert!(kept.values().all(|it| it.allowed && it.undecided == 0));
    }
}
