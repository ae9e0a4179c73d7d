use std::sync::Barrier;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use futures_util::FutureExt as _;
use vidimus_core::call::{Action, Ask, SoFar, Target};
use vidimus_core::caller::{Caller, Chain, Proven, User};
use vidimus_core::entity::{EntityId, EntityKind};
use vidimus_core::resource::Principal;
use vidimus_core::resource::limit::Per;

use super::*;

fn caller(agent: &str, person: Option<&str>, transaction: &str) -> Caller {
    let mut one = Arc::unwrap_or_clone(crate::protocol::tests::agent());
    one.id = EntityId::new(EntityKind::Agent, agent);
    let user = person.map(|subject| User {
        issuer: "https://i".into(),
        subject: subject.into(),
        email: None,
        groups: Arc::default(),
    });
    let proven = Proven {
        principal: Principal::Agent(Arc::new(one)),
        identity: "i".into(),
        user,
        delegated: None,
        instance: None,
        expires: None,
    };
    let chain = Chain { transaction: transaction.into(), started: UnixMillis(0), actors: Vec::new() };
    Caller { proven: Arc::new(proven), chain: Arc::new(chain) }
}

fn limit(of: Measure, amount: i64, per: &[Per]) -> Arc<Limit> {
    let window = match of {
        Measure::Concurrency => LimitWindow::UnderWay,
        _ => LimitWindow::Sliding(3_600_000),
    };
    let (id, when_lost) = (format!("n/p/{}", of.as_str()).into(), WhenLost::Closed);
    Arc::new(Limit { id, name: of.as_str().into(), of, amount, per: per.into(), window, when_lost })
}

fn now() -> Moment {
    Moment { wall: SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000), monotonic: Instant::now() }
}

fn alone() -> Arc<StandingState> {
    StandingState::alone(1024, Duration::from_secs(600), 8)
}

/// What one call of the tool takes, of `tokens` where it were one of a model.
fn claim(state: &Arc<StandingState>, caller: &Caller, limits: &[Arc<Limit>], about: (&str, i64)) -> Claims {
    tried(state, caller, limits, about).expect("room for one more")
}

fn tried(
    state: &Arc<StandingState>,
    caller: &Caller,
    limits: &[Arc<Limit>],
    (tool, tokens): (&str, i64),
) -> Result<Claims, Refusal> {
    let server = crate::protocol::tests::server();
    let target = Target::Tool { server: &server, name: tool };
    let ask = Ask { tokens_most: tokens, ..Ask::about("tools/call", Action::InvokeTool, target) };
    let call =
        Call { caller, ask, now: UnixMillis(0), source_ip: None, so_far: SoFar::nothing(), approvals: &[] };
    // In process there is nothing to wait for.
    state.claim(&call, limits, now()).now_or_never().expect("ready at once")
}

/// What one call takes that goes on with what a former one began.
fn claim_after(state: &Arc<StandingState>, former: Arc<UnderWay>, limits: &[Arc<Limit>]) -> Claims {
    let (server, caller) = (crate::protocol::tests::server(), caller("n/a", None, "t"));
    let target = Target::Tool { server: &server, name: "x" };
    let ask = Ask::about("tools/call", Action::InvokeTool, target);
    let (now, so_far) = (now(), SoFar::nothing());
    let call = Call { caller: &caller, ask, now: UnixMillis(0), source_ip: None, so_far, approvals: &[] };
    let claims = state.claim_after(Some(former), (&call, limits), now).now_or_never();
    claims.expect("ready at once").expect("room for one more")
}

fn left(claims: &Claims) -> Vec<i64> {
    claims.left().iter().map(|one| one.left).collect()
}

fn permitted(mut claims: Claims) -> Claims {
    claims.permitted();
    claims
}

#[test]
fn calls_are_counted_apart_by_what_the_limit_says() {
    let (one, other) = (caller("n/a", Some("u"), "t"), caller("n/b", Some("u"), "t"));
    let nobody = caller("n/a", None, "x");
    // By the first caller twice, the second, the first for nobody in another chain, and of another tool.
    for (per, expected) in [
        (&[][..], [9, 8, 7, 6, 5]),
        (&[Per::Principal], [9, 8, 9, 7, 6]),
        (&[Per::User], [9, 8, 7, 9, 6]),
        (&[Per::Chain], [9, 8, 7, 9, 6]),
        (&[Per::Tool], [9, 8, 7, 6, 9]),
        (&[Per::Model], [9, 8, 7, 6, 5]),
        (&[Per::Team], [9, 8, 7, 6, 5]),
        (&[Per::Namespace], [9, 8, 7, 6, 5]),
        (&[Per::Principal, Per::Tool], [9, 8, 9, 7, 9]),
    ] {
        let (state, limits) = (alone(), [limit(Measure::Requests, 10, per)]);
        let calls = [(&one, "x"), (&one, "x"), (&other, "x"), (&nobody, "x"), (&one, "y")];
        let found = calls.map(|(caller, tool)| {
            let claims = permitted(claim(&state, caller, &limits, (tool, 0)));
            left(&claims)[0]
        });
        assert_eq!(found, expected, "{per:?}");
    }
}

#[test]
fn what_is_not_made_takes_nothing_and_what_is_made_what_it_uses() {
    let caller = caller("n/a", None, "t");
    let limits = [limit(Measure::Requests, 3, &[]), limit(Measure::Tokens, 1000, &[])];
    let state = alone();
    let next = |tokens| claim(&state, &caller, &limits, ("x", tokens));
    assert_eq!(left(&next(400)), [2, 600], "and is dropped: it was not permitted");
    let under_way = permitted(next(700));
    assert_eq!(left(&under_way), [2, 300]);
    let second = next(700);
    assert_eq!(left(&second), [1, -400], "while the first is under way");
    drop(second);
    assert_eq!(left(&next(300)), [1, 0], "of the limit into which it fitted it took nothing either");
    under_way.settle(true, Some(Used { tokens: 100, spend: 0 }));
    assert_eq!(left(&next(0)), [1, 900]);
    permitted(next(500)).settle(false, Some(Used::default()));
    assert_eq!(left(&next(0)), [1, 900], "nothing was sent");
    permitted(next(100)).settle(true, Some(Used { tokens: 5000, spend: 0 }));
    assert_eq!(left(&next(0)), [0, -4100], "usage beyond what was reserved counts");
    drop(permitted(next(0)));
    assert_eq!(left(&next(0)), [0, -4100], "it fitted into none");
}

/// Attack: a second policy of the same name with a wider limit of the same name, by which what is left is told.
#[test]
fn of_two_limits_of_one_id_both_are_taken_and_the_narrower_is_told() {
    let caller = caller("n/a", None, "t");
    let (narrow, wide) = (limit(Measure::Requests, 2, &[]), limit(Measure::Requests, 9, &[Per::Principal]));
    for limits in [[narrow.clone(), wide.clone()], [wide, narrow]] {
        let state = alone();
        let found = [(); 3].map(|()| left(&permitted(claim(&state, &caller, &limits, ("x", 0)))));
        assert_eq!(found, [[1], [0], [-1]]);
    }
}

/// The same of what is shown to who looks on.
#[test]
fn of_two_limits_of_one_id_the_one_with_least_left_is_shown() {
    let caller = caller("n/a", None, "t");
    let (narrow, wide) = (limit(Measure::Requests, 2, &[]), limit(Measure::Requests, 9, &[Per::Principal]));
    let state = alone();
    let both = [narrow.clone(), wide.clone()];
    drop(permitted(claim(&state, &caller, &both, ("x", 0))));
    for limits in [[&*narrow, &*wide], [&*wide, &*narrow]] {
        let declared = std::collections::HashMap::from([(&*narrow.id, limits.to_vec())]);
        let shown = state.limits.left(&declared, now());
        assert_eq!(shown.iter().map(|one| one.amount).collect::<Vec<_>>(), [1]);
    }
}

/// A call that waits has its place after its answer has ended, and who goes on with it takes no second one.
#[test]
fn what_goes_on_has_its_place_until_nobody_goes_on_with_it() {
    let (state, caller) = (alone(), caller("n/a", None, "t"));
    let limits = [limit(Measure::Concurrency, 1, &[]), limit(Measure::Requests, 9, &[])];
    let next = || left(&claim(&state, &caller, &limits, ("x", 0)))[0];
    let first = permitted(claim(&state, &caller, &limits, ("x", 0)));
    let waits = first.under_way().expect("a place");
    first.settle(true, None);
    assert_eq!(next(), -1, "it waits");
    // Who is refused after all takes nothing of it.
    drop(claim_after(&state, waits.clone(), &limits));
    assert_eq!(next(), -1);
    let second = permitted(claim_after(&state, waits.clone(), &limits));
    assert_eq!(left(&second)[0], 0);
    let goes_on = second.under_way().expect("the same place");
    drop(waits);
    second.settle(true, None);
    assert_eq!(next(), -1, "it waits again");
    // By another count it has none, and so takes one.
    let other = [limit(Measure::Concurrency, 2, &[Per::Tool])];
    let third = permitted(claim_after(&state, goes_on, &other));
    assert_eq!((left(&third)[0], next()), (1, -1));
    drop(third);
    assert_eq!(next(), 0);
}

#[test]
fn when_there_is_room_again_is_told_where_it_is_known() {
    let caller = caller("n/a", None, "t");
    for (of, amount, tokens, known) in [
        (Measure::Requests, 1, 0, true),
        (Measure::Tokens, 10, 10, true),
        (Measure::Tokens, 10, 11, false),
        (Measure::Concurrency, 1, 0, true),
    ] {
        let (state, limits) = (alone(), [limit(of, amount, &[])]);
        let first = permitted(claim(&state, &caller, &limits, ("x", tokens)));
        assert_eq!(first.left()[0].again.is_some(), first.left()[0].left < 0 && known);
        let second = claim(&state, &caller, &limits, ("x", tokens));
        let again = second.left()[0].again.map(|again| again.0);
        assert_eq!((second.left()[0].left < 0, again.is_some()), (true, known), "{of:?}");
        if of == Measure::Concurrency {
            assert_eq!(again, Some(1_000));
            drop(first);
            assert_eq!(left(&claim(&state, &caller, &limits, ("x", 0))), [0]);
        } else {
            // A whole window, and at most a part of it more.
            assert!(
                again.is_none_or(|again| (3_600_000..=3_600_000 + 225_000).contains(&again)),
                "{again:?}"
            );
        }
    }
}

/// Attack: names as many counts as can be, so that those that are there are forgotten.
#[test]
fn where_no_more_can_be_counted_what_is_counted_stays() {
    let (state, limits) =
        (StandingState::alone(64, Duration::from_secs(600), 8), [limit(Measure::Requests, 1, &[Per::Tool])]);
    let first = caller("n/a", None, "t");
    drop(permitted(claim(&state, &first, &limits, ("first", 0))));
    let server = crate::protocol::tests::server();
    let mut refused = 0;
    for number in 0..512 {
        let name = format!("tool-{number}");
        let ask = Ask::about("tools/call", Action::InvokeTool, Target::Tool { server: &server, name: &name });
        let (caller, so_far) = (&first, SoFar::nothing());
        let call = Call { caller, ask, now: UnixMillis(0), source_ip: None, so_far, approvals: &[] };
        match state.claim(&call, &limits, now()).now_or_never().expect("ready at once") {
            Ok(claims) => drop(permitted(claims)),
            Err(refusal) => {
                assert_eq!(refusal.code, Code::Overloaded);
                refused += 1;
            }
        }
    }
    assert!(refused >= 512 - 64, "{refused}");
    assert_eq!(left(&claim(&state, &first, &limits, ("first", 0))), [-1]);
}

/// Attack: one agent begins chain after chain, so that nobody else finds room for a count.
#[test]
fn one_caller_leaves_room_for_the_counts_of_others() {
    let (state, limits) = (alone(), [limit(Measure::Requests, 1, &[Per::Chain])]);
    let counted = |agent: &str, chains: usize| {
        let counts = |chain: &usize| {
            let caller = caller(agent, None, &format!("{agent}-{chain}"));
            tried(&state, &caller, &limits, ("x", 0)).map(|claims| drop(permitted(claims))).is_ok()
        };
        (0..chains).filter(counts).count()
    };
    assert_eq!(counted("n/greedy", 4_096), 512, "a half of all, while it is alone");
    assert_eq!(counted("n/other", 4), 4);
    let greedy = caller("n/greedy", None, "one more");
    let refusal = tried(&state, &greedy, &limits, ("x", 0)).expect_err("it has its share");
    assert_eq!(refusal.code, Code::Overloaded);
    assert!(refusal.message.contains("Agent/n/greedy"), "{refusal}");
}

/// 64 at once, each as often as it can, with calls that are not made among them: never one more than the amount.
#[test]
fn sixty_four_at_once_do_not_overspend_by_one() {
    const AMOUNT: i64 = 1_000;
    for of in [Measure::Requests, Measure::Tokens, Measure::Concurrency] {
        let (state, limits) = (alone(), [limit(of, AMOUNT, &[Per::Principal])]);
        let (taken, most, all_hold) = (AtomicI64::new(0), AtomicI64::new(0), Barrier::new(64));
        std::thread::scope(|scope| {
            for thread in 0..64 {
                let (state, limits, taken, most, all_hold) = (&state, &limits, &taken, &most, &all_hold);
                scope.spawn(move || {
                    let caller = caller("n/a", None, "t");
                    let mut held = Vec::new();
                    for call in 0..64 {
                        let claims = claim(state, &caller, limits, ("x", 3));
                        if left(&claims)[0] < 0 {
                            continue;
                        }
                        // Every third is not made.
                        if (thread + call) % 3 == 0 {
                            drop(claims);
                            continue;
                        }
                        let took = if of == Measure::Tokens { 3 } else { 1 };
                        most.fetch_max(taken.fetch_add(took, Ordering::SeqCst) + took, Ordering::SeqCst);
                        held.push(permitted(claims));
                    }
                    all_hold.wait();
                    for claims in held {
                        taken.fetch_sub(i64::from(of == Measure::Concurrency), Ordering::SeqCst);
                        claims.settle(true, Some(Used { tokens: 3, spend: 0 }));
                    }
                });
            }
        });
        let most = most.into_inner();
        assert!(most <= AMOUNT, "{of:?}: {most}");
        assert!(most > AMOUNT - 64 * 3, "{of:?}: {most}, so that this can fail");
    }
}
