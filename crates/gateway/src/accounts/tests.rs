use std::time::Duration;

use futures_util::FutureExt as _;
use vidimus_core::call::{Action, Ask, SoFar, Target};
use vidimus_core::caller::{Caller, Chain, Proven, UnixMillis};
use vidimus_core::entity::{EntityId, EntityKind};
use vidimus_core::resource::DelegationLimits;

use super::*;

fn caller(limit: Option<u32>, delegated: bool) -> Caller {
    let mut agent = Arc::unwrap_or_clone(crate::protocol::tests::agent());
    agent.delegation = DelegationLimits { max_fan_out: limit, ..DelegationLimits::default() };
    let actors = if delegated { vec![EntityId::new(EntityKind::Agent, "n/earlier")] } else { Vec::new() };
    let proven = Proven {
        principal: Principal::Agent(Arc::new(agent)),
        identity: "hop:Agent/n/earlier".into(),
        user: None,
        delegated: None,
        instance: None,
        expires: None,
    };
    let chain = Chain { transaction: "t".into(), started: UnixMillis(0), actors };
    Caller { proven: Arc::new(proven), chain: Arc::new(chain) }
}

#[test]
fn only_an_agent_with_the_limit_on_a_delegated_chain_is_counted() {
    let now = Moment { wall: std::time::SystemTime::UNIX_EPOCH, monotonic: std::time::Instant::now() };
    for (limit, delegated, counted) in
        [(Some(2), true, true), (Some(2), false, false), (None, true, false), (None, false, false)]
    {
        let accounts = Accounts::new(StandingState::alone(8, Duration::from_secs(600), 8), (64, 8));
        let caller = caller(limit, delegated);
        let reserve = |number: usize| {
            let mut server = Arc::unwrap_or_clone(crate::protocol::tests::server());
            server.id = EntityId::new(EntityKind::McpServer, format!("n/server-{number}"));
            let server = Arc::new(server);
            let ask = Ask::about("tools/list", Action::ConnectServer, Target::Server(&server));
            let call = Call {
                caller: &caller,
                ask,
                now: UnixMillis(0),
                source_ip: None,
                so_far: SoFar::nothing(),
                approvals: &[],
            };
            let place = accounts.enter(&accounts.holder(call.principal().entity())).expect("a place");
            let (id, world) = (Arc::from("call"), Snapshot::default());
            let reserved = accounts.reserve(&call, &id, place, &world, now).now_or_never();
            let reserved = reserved.expect("ready at once");
            let mut reserved = reserved.expect("room");
            let fan_out = reserved.so_far().map_or(1, |so_far| so_far.fan_out);
            if fan_out <= 2 {
                reserved.permitted(now).now_or_never().expect("ready at once");
            }
            fan_out
        };
        let places: Vec<i64> = (0..4).map(reserve).collect();
        assert_eq!(places, if counted { [1, 2, 3, 3] } else { [1; 4] }, "{limit:?} {delegated}");
    }
}

#[test]
fn one_who_calls_much_leaves_places_for_the_others() {
    let accounts = Accounts::new(StandingState::alone(8, Duration::from_secs(600), 8), (100, 8));
    let of = |name: &str| accounts.holder(&EntityId::new(EntityKind::Agent, name));
    assert!(Arc::ptr_eq(&of("n/a"), &of("n/a")) && !Arc::ptr_eq(&of("n/a"), &of("n/b")));
    let takes_all = |name: &str| std::iter::from_fn(|| accounts.enter(&of(name)).ok()).collect::<Vec<_>>();
    let first = takes_all("n/a");
    let second = takes_all("n/b");
    assert_eq!((first.len(), second.len()), (50, 25));
    let refused = accounts.enter(&of("n/a")).map(drop).expect_err("more than is fair");
    assert_eq!(refused.code, Code::Overloaded);
    drop(first);
    assert!(accounts.enter(&of("n/a")).is_ok());
}

#[test]
fn one_who_runs_many_jobs_leaves_places_for_the_others() {
    let accounts = Accounts::new(StandingState::alone(8, Duration::from_secs(600), 8), (100, 8));
    let of = |name: &str| accounts.run(&EntityId::new(EntityKind::Agent, name));
    let takes_all = |name: &str| std::iter::from_fn(|| of(name).ok()).collect::<Vec<_>>();
    let (first, second) = (takes_all("n/a"), takes_all("n/b"));
    assert_eq!((first.len(), second.len()), (4, 2));
    let refused = of("n/a").map(drop).expect_err("more than is fair");
    assert_eq!(refused.code, Code::Overloaded);
    assert!(accounts.enter(&accounts.holder(&EntityId::new(EntityKind::Agent, "n/a"))).is_ok(), "of calls");
    drop(first);
    assert!(of("n/a").is_ok());
}

#[test]
fn who_leaves_early_saves_nothing() {
    let known = |input, output| Known {
        usage: Usage { input, output, ..Usage::default() },
        is_sent: true,
        is_answered: false,
        has_ended: false,
        is_refused: false,
        passed: 100,
    };
    let price = Some(Price::plain(1_000_000, 2_000_000));
    for (known, tokens) in [
        // Nothing was said, or not all yet: what the answer may have had.
        (known(None, None), 40 + 1000),
        (known(Some(7), Some(1)), 7 + 1000),
        (Known { passed: 2000, ..known(None, Some(1)) }, 40 + 2000),
        (Known { is_answered: true, ..known(None, None) }, 40 + 1000),
        // It came to its end.
        (Known { is_answered: true, ..known(Some(7), Some(50)) }, 57),
        (Known { is_answered: true, has_ended: true, ..known(Some(7), Some(50)) }, 57),
        (Known { is_answered: true, has_ended: true, ..known(None, None) }, 10 + 100),
        // It broke off, or is an error.
        (Known { has_ended: true, ..known(Some(7), Some(1)) }, 7 + 100),
        (Known { is_sent: false, ..known(None, None) }, 0),
        // The provider refused it, and charges nothing but what it says.
        (Known { is_refused: true, has_ended: true, ..known(None, None) }, 0),
        (Known { is_refused: true, ..known(None, None) }, 0),
        (Known { is_refused: true, has_ended: true, ..known(Some(7), None) }, 7 + 100),
    ] {
        let used = known.used(Most { estimated: 10, question: 40, answer: 1000 }, price);
        assert_eq!(used.tokens, tokens, "{known:?}");
        let input = i64::try_from(known.usage.input.unwrap_or(if known.has_ended { 10 } else { 40 }))
            .unwrap_or_default();
        let spend = if tokens > 0 { input + 2 * (tokens - input) } else { 0 };
        assert_eq!(used.spend, spend, "{known:?}");
    }
    // An embedding is long, and no token of it was written.
    let embedded = Known { is_answered: true, has_ended: true, passed: 20_000, ..known(Some(7), None) };
    assert_eq!(embedded.used(Most { estimated: 10, question: 40, answer: 0 }, price).tokens, 7);
}

#[test]
fn what_a_provider_keeps_of_a_question_has_its_own_price() {
    let price = Price { input: 3_000_000, cached: 300_000, cache_written: 3_750_000, output: 15_000_000 };
    let most = Most { estimated: 10, question: 40, answer: 1000 };
    let of = |cached, cache_written| {
        let usage = Usage {
            input: Some(100_000),
            output: Some(1_000),
            cached: Some(cached),
            cache_written: Some(cache_written),
            reasoning: Some(900),
        };
        let known =
            Known { usage, is_sent: true, is_answered: true, has_ended: true, is_refused: false, passed: 0 };
        known.used(most, Some(price))
    };
    for (cached, written, spend) in [
        (0, 0, 300_000),
        (90_000, 0, 30_000 + 27_000),
        (0, 90_000, 30_000 + 337_500),
        (50_000, 50_000, 15_000 + 187_500),
        // More than there is of the question.
        (200_000, 0, 30_000),
        (200_000, 200_000, 375_000),
    ] {
        let used = of(cached, written);
        assert_eq!((used.tokens, used.spend), (101_000, spend + 15_000), "{cached} {written}");
    }
    assert_eq!(price.most(100_000, 1_000), 375_000 + 15_000);
    assert_eq!(Price::plain(3_000_000, 15_000_000).most(100_000, 1_000), 300_000 + 15_000);
}
