//! What a call pays that counts for limits, in one process: taking, permitting and settling of one limit and of three, and all of it with the second
//! decision, beside the decision of a call that nothing limits. One JSON object a line.

#![expect(clippy::print_stdout, reason = "its output")]
#![expect(clippy::expect_used, reason = "a measurement that cannot be set up fails")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use futures_util::FutureExt as _;
use serde_json::{Value, json};
use vidimus_core::call::{Action, Ask, Call, SoFar, Target};
use vidimus_core::caller::{Caller, Chain, Proven, UnixMillis};
use vidimus_core::clock::Moment;
use vidimus_core::resource::{self, Limit, Object, Origin, Principal};
use vidimus_core::snapshot::Snapshot;
use vidimus_gateway::{Keeps, StandingState};

const ROUNDS: u32 = 41;
const CALLS: u32 = 20_000;
const CALLERS: usize = 512;
const GOAL_NS: f64 = 1_000.0;

fn main() {
    // `cargo test --benches` runs this too; it is a measurement, not a test.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let callers: Vec<Caller> = (0..CALLERS).map(caller).collect();
    for limits in [0, 1, 3] {
        let world = world(limits);
        let state = state();
        let decided = |caller: &Caller| decide(&world, &state, caller);
        let parameters = format!(r#"{{"limits":{limits},"callers":{CALLERS},"statistic":"p50"}}"#);
        print("limits_decided", each(&callers, decided), &parameters, None);
        if limits > 0 {
            let all = limits_of(&world, callers.first().expect("a caller"));
            let claimed = |caller: &Caller| {
                let claims = with_call(&world, caller, |call| {
                    state.claim(call, &all, now()).now_or_never().expect("ready at once")
                });
                let mut claims = claims.expect("room");
                claims.permitted();
                black_box(claims).settle(true, None);
            };
            print("limits", each(&callers, claimed), &parameters, Some(GOAL_NS));
        }
    }
}

/// The median of the rounds, in nanoseconds a call.
fn each(callers: &[Caller], one: impl Fn(&Caller)) -> f64 {
    let round = || {
        let begun = Instant::now();
        callers.iter().cycle().take(CALLS as usize).for_each(&one);
        begun.elapsed().as_secs_f64() * 1e9 / f64::from(CALLS)
    };
    let mut rounds: Vec<f64> = (0..ROUNDS).map(|_| round()).collect();
    rounds.sort_unstable_by(f64::total_cmp);
    rounds.get(rounds.len() / 2).copied().unwrap_or(f64::NAN)
}

/// As the gateway does: decided, and where it counts for something taken, and decided again.
fn decide(world: &Snapshot, state: &Arc<StandingState>, caller: &Caller) {
    with_call(world, caller, |call| {
        let decision = world.authorize(call);
        if decision.limits().is_empty() {
            black_box(&decision);
            return;
        }
        let claims = state.claim(call, decision.limits(), now()).now_or_never().expect("ready at once");
        let mut claims = claims.expect("room");
        let so_far = SoFar { limits: claims.left().to_vec(), ..call.so_far.clone() };
        let _ = black_box(world.authorize(&Call { so_far: &so_far, ..*call }));
        claims.permitted();
        claims.settle(true, None);
    });
}

fn with_call<T>(world: &Snapshot, caller: &Caller, with: impl FnOnce(&Call<'_>) -> T) -> T {
    let target = Target::Tool { server: world.mcp_server("a/tools").expect("a server"), name: "get" };
    let ask = Ask::about("tools/call", Action::InvokeTool, target);
    let (now, so_far) = (UnixMillis(0), SoFar::nothing());
    with(&Call { caller, ask, now, source_ip: None, so_far, approvals: &[] })
}

fn limits_of(world: &Snapshot, caller: &Caller) -> Vec<Arc<Limit>> {
    with_call(world, caller, |call| world.authorize(call).limits().to_vec())
}

fn now() -> Moment {
    Moment { wall: SystemTime::UNIX_EPOCH, monotonic: Instant::now() }
}

fn state() -> Arc<StandingState> {
    let (quiet, window) = (Duration::from_secs(600), Duration::from_secs(3600));
    StandingState::new(Keeps { capacity: 65_536, quiet, window }, 8, tokio::sync::watch::Sender::new(0), None)
}

fn object(kind: &str, name: &str, spec: &Value) -> Object {
    let metadata = json!({"namespace": "a", "name": name});
    let object =
        json!({"apiVersion": "vidimus.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec});
    resource::check(&Origin::default(), &object).expect("an object")
}

fn agent(number: usize) -> Object {
    object(
        "Agent",
        &format!("bot-{number}"),
        &json!({"owner": "ada.lovelace@example.com", "team": "t", "purpose": "p", "riskLevel": "low",
            "identities": [{"oidc": {"issuer": "https://i.example", "subject": format!("s{number}")}}]}),
    )
}

/// With a policy that permits, and one that counts for the first so many of these.
fn world(limits: usize) -> Snapshot {
    let all = [
        json!({"name": "minute", "requests": 1_000_000_000, "per": ["principal"], "window": {"sliding": "1m"}}),
        json!({"name": "day", "requests": 1_000_000_000, "per": ["team", "tool"], "window": {"fixed": "24h"}}),
        json!({"name": "at-once", "concurrency": 1_000, "per": ["principal"]}),
    ];
    let names = ["minute", "day", "at-once"];
    let counted = names.get(..limits).unwrap_or_default().join(" ");
    let mut cedar = "permit (principal, action, resource);".to_owned();
    if limits > 0 {
        cedar +=
            &format!(r#"@limit("{counted}") forbid (principal, action == Action::"invokeTool", resource);"#);
    }
    let declared = all.get(..limits).unwrap_or_default();
    let policy = json!({"description": "d", "cedar": cedar, "limits": declared});
    let server = json!({"owner": "ada.lovelace@example.com", "team": "t", "riskLevel": "low",
        "endpoint": {"url": "http://tools.example/mcp"}});
    let mut objects: Vec<Object> = (0..CALLERS).map(agent).collect();
    objects.extend([object("MCPServer", "tools", &server), object("Policy", "p", &policy)]);
    Snapshot::build(objects).0
}

fn caller(number: usize) -> Caller {
    let Object::Agent(agent) = agent(number) else { unreachable!("an agent") };
    let proven = Proven {
        principal: Principal::Agent(agent),
        identity: "i".into(),
        user: None,
        delegated: None,
        instance: None,
        expires: None,
    };
    let chain = Chain { transaction: "t".into(), started: UnixMillis(0), actors: Vec::new() };
    Caller { proven: Arc::new(proven), chain: Arc::new(chain) }
}

fn print(name: &str, value: f64, parameters: &str, goal: Option<f64>) {
    let goal = goal.map(|goal| format!(r#","goal":{goal},"holds":{}"#, value <= goal)).unwrap_or_default();
    println!(r#"{{"name":"{name}","value":{value:.1},"unit":"ns","parameters":{parameters}{goal}}}"#);
}
