//! The cost of a decision: warm, on a cold edge, and beside it Cedar's own authorizer. One JSON object a line.
//!
//! Estates of 10, 1,000 and 10,000 policies over 10,000 agents. Warm calls go at random over 10,000 edges (or as many as the
//! estate has) that were decided once before; each is timed by itself, and ends with a decision that names policies and facts.

#![expect(clippy::print_stdout, reason = "its output")]

use std::collections::HashSet;
use std::hint::black_box;
use std::time::Instant;

use vidimus_core::call::{Action, Arguments, Call};
use vidimus_core::decision::Outcome;
use vidimus_core::snapshot::Snapshot;

#[path = "../../testkit/src/estate.rs"]
#[expect(dead_code, unreachable_pub, reason = "the estate is written for other users as well")]
mod estate;

#[path = "../tests/it/oracle.rs"]
#[expect(
    dead_code,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "written for the tests, which ask more of it"
)]
mod oracle;

use estate::{Dice, Estate, EstateCall};
use oracle::Oracle;

const SEED: u64 = 42;
const AGENTS: usize = 10_000;
const EDGES: usize = 10_000;
const SAMPLES: usize = 300_000;
const GOAL_WARM_US: f64 = 5.0;
const GOAL_FLAT: f64 = 1.2;
const GOAL_COLD_US: f64 = 1_000.0;

fn main() {
    // `cargo test --benches` runs this too; it is a measurement, not a test.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let medians: Vec<f64> = [10, 1_000, 10_000].map(measure).into_iter().flatten().collect();
    if let [few, .., many] = medians.as_slice() {
        let parameters = format!(r#"{{"agents":{AGENTS},"policies":[10,10000],"statistic":"p50 / p50"}}"#);
        print("decide_warm_flat", many / few, "ratio", &parameters, Some(GOAL_FLAT));
    }
}

/// Measures one estate; the median of warm decisions in µs.
fn measure(policies: usize) -> Option<f64> {
    let estate = Estate::new(SEED, policies, AGENTS);
    let begun = Instant::now();
    let (snapshot, rejected) = Snapshot::build(estate.objects.clone());
    let parameters = |what: &str| format!(r#"{{"agents":{AGENTS},"policies":{policies}{what}}}"#);
    print("snapshot_build", begun.elapsed().as_secs_f64() * 1e3, "ms", &parameters(""), None);
    if !rejected.is_empty() {
        println!("{rejected:#?}");
        return None;
    }
    let owned = distinct(&estate, &snapshot);
    let calls: Vec<Call<'_>> = owned.iter().filter_map(|one| one.call(&snapshot)).collect();
    let mut cold = cold(&snapshot, &calls);
    for (name, share) in [("p50", 0.5), ("p99", 0.99)] {
        let parameters = parameters(&format!(r#","edges":{},"statistic":"{name}""#, calls.len()));
        print("decide_cold_edge", percentile(&mut cold, share), "µs", &parameters, Some(GOAL_COLD_US));
    }
    let (mut warm, allowed) = warm(&snapshot, &calls);
    let median = percentile(&mut warm, 0.5);
    let more = format!(r#","edges":{},"allowed":{allowed:.2}"#, calls.len());
    print(
        "decide_warm",
        median,
        "µs",
        &parameters(&format!(r#"{more},"statistic":"p50""#)),
        Some(GOAL_WARM_US),
    );
    let worst = percentile(&mut warm, 0.99);
    print("decide_warm", worst, "µs", &parameters(&format!(r#"{more},"statistic":"p99""#)), None);
    plain(&estate, &snapshot, &calls, &parameters);
    Some(median)
}

/// Calls on distinct edges. Connecting is left out: where nothing permits it by itself, the uses that may imply it are decided
/// in turn, so that the first connect compiles several edges.
fn distinct(estate: &Estate, snapshot: &Snapshot) -> Vec<EstateCall> {
    let mut seen = HashSet::new();
    let mut calls = Vec::with_capacity(EDGES);
    for call in estate.calls(snapshot).take(EDGES * 4) {
        let edge = call.call(snapshot).map(|c| (c.principal().id(), c.ask.action, c.ask.target.entity()));
        if seen.insert(edge) {
            calls.push(call);
        }
        if calls.len() == EDGES {
            break;
        }
    }
    calls
}

fn micros(begun: Instant) -> f64 {
    begun.elapsed().as_secs_f64() * 1e6
}

/// Each edge for the first time. Connecting is left out: where nothing permits it by itself, the uses that may imply it are decided
/// in turn, so that one first connect compiles several edges.
fn cold(snapshot: &Snapshot, calls: &[Call<'_>]) -> Vec<f64> {
    let time = |call| {
        let begun = Instant::now();
        let _ = black_box(snapshot.authorize(black_box(call)));
        micros(begun)
    };
    calls.iter().filter(|call| call.ask.action != Action::ConnectServer).map(time).collect()
}

/// Times of warm calls, and the share of those allowed.
fn warm(snapshot: &Snapshot, calls: &[Call<'_>]) -> (Vec<f64>, f64) {
    let mut dice = Dice::new(SEED);
    let mut allowed = 0_u32;
    let mut times = Vec::with_capacity(SAMPLES);
    for _ in 0..SAMPLES {
        let Some(call) = calls.get(dice.below(calls.len())) else { continue };
        let begun = Instant::now();
        let decision = black_box(snapshot.authorize(black_box(call)));
        times.push(micros(begun));
        allowed += u32::from(decision.outcome() == Outcome::Allow);
    }
    let share = f64::from(allowed) / times.len() as f64;
    (times, share)
}

/// Cedar's authorizer on all policies, its request and entities made beforehand (only the entities that the call can look at),
/// and whether it says the same.
fn plain(estate: &Estate, snapshot: &Snapshot, calls: &[Call<'_>], parameters: &dyn Fn(&str) -> String) {
    let oracle = Oracle::new(&estate.objects);
    let mut times = Vec::new();
    let mut same = true;
    for call in calls.iter().take(if estate.objects.len() > 11_000 { 100 } else { 1_000 }) {
        let arguments = match call.ask.arguments {
            Arguments::Known(json) => serde_json::from_str(&json.canonical()).ok(),
            Arguments::None | Arguments::Unknown | Arguments::Recorded(_) => None,
        };
        let question = oracle.question(call, arguments.as_ref());
        let begun = Instant::now();
        let answer = black_box(question.answer());
        times.push(micros(begun));
        // What a use implies is beyond the policies.
        let decision = snapshot.authorize(call);
        same &= answer.code == decision.code()
            || decision.facts().iter().any(|(name, _)| &**name == "implied_by");
    }
    for (name, share) in [("p50", 0.5), ("p99", 0.99)] {
        let parameters = parameters(&format!(r#","same_decisions":{same},"statistic":"{name}""#));
        print("decide_plain_cedar", percentile(&mut times, share), "µs", &parameters, None);
    }
}

fn percentile(times: &mut [f64], share: f64) -> f64 {
    times.sort_unstable_by(f64::total_cmp);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index below the length")]
    let place = ((times.len() as f64 - 1.0) * share) as usize;
    times.get(place).copied().unwrap_or(f64::NAN)
}

fn print(name: &str, value: f64, unit: &str, parameters: &str, goal: Option<f64>) {
    let goal = goal.map(|goal| format!(r#","goal":{goal},"holds":{}"#, value <= goal)).unwrap_or_default();
    println!(r#"{{"name":"{name}","value":{value:.3},"unit":"{unit}","parameters":{parameters}{goal}}}"#);
}
