//! The cost of a change: the next snapshot after one object of an estate changed, everything else as it was. One JSON object a line.
//!
//! 10,000 policies and 10,000 agents. Each round changes the text of one policy (or one agent, or adds and removes a policy),
//! so that nothing but the rest can be taken over; rounds are timed by themselves.

#![expect(clippy::print_stdout, reason = "its output")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use vidimus_core::resource::{Agent, Object, Policy};
use vidimus_core::snapshot::Snapshot;

#[path = "../../testkit/src/estate.rs"]
#[expect(dead_code, unreachable_pub, reason = "the estate is written for other users as well")]
mod estate;

use estate::{Dice, Estate};

const SEED: u64 = 42;
const POLICIES: usize = 10_000;
const AGENTS: usize = 10_000;
const ROUNDS: usize = 40;
const GOAL_MS: f64 = 50.0;

fn main() {
    // `cargo test --benches` runs this too; it is a measurement, not a test.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let objects = Estate::generate(SEED, POLICIES, AGENTS);
    let begun = Instant::now();
    let (mut last, rejected) = Snapshot::build(objects.clone());
    print("snapshot_build", begun.elapsed().as_secs_f64() * 1e3, r#""statistic":"once""#, None);
    if !rejected.is_empty() {
        println!("{rejected:#?}");
        return;
    }
    let mut dice = Dice::new(SEED);
    for (what, change) in [("policy", policy as Change), ("agent", agent), ("added policy", added)] {
        let mut times = Vec::with_capacity(ROUNDS);
        let mut objects = objects.clone();
        for round in 0..ROUNDS {
            change(&mut objects, &mut dice, round);
            let given = objects.clone();
            let begun = Instant::now();
            let (next, rejected) = black_box(last.rebuilt(given, Vec::new()));
            times.push(begun.elapsed().as_secs_f64() * 1e3);
            if !rejected.is_empty() || next.digest() == last.digest() {
                println!("round {round}: {rejected:#?}");
                return;
            }
            last = next;
        }
        // The change back to what the next kind of change begins with is not counted.
        times.remove(0);
        times.sort_unstable_by(f64::total_cmp);
        for (name, share) in [("p50", 0.5), ("max", 1.0)] {
            let parameters = format!(r#""changed":"{what}","rounds":{},"statistic":"{name}""#, times.len());
            let goal = (name == "p50").then_some(GOAL_MS);
            print("snapshot_change", percentile(&times, share), &parameters, goal);
        }
    }
}

type Change = fn(&mut Vec<Object>, &mut Dice, usize);

/// One policy forbids something else than before.
#[expect(clippy::ptr_arg, reason = "changes have one signature")]
fn policy(objects: &mut Vec<Object>, dice: &mut Dice, round: usize) {
    let places: Vec<usize> = places(objects, |object| matches!(object, Object::Policy(_)));
    let Some(place) = places.get(dice.below(places.len())) else { return };
    if let Some(Object::Policy(policy)) = objects.get_mut(*place) {
        *policy = Arc::new(Policy { cedar: forbid(round), ..(**policy).clone() });
    }
}

/// One agent is in another group.
#[expect(clippy::ptr_arg, reason = "changes have one signature")]
fn agent(objects: &mut Vec<Object>, dice: &mut Dice, round: usize) {
    let places: Vec<usize> = places(objects, |object| matches!(object, Object::Agent(_)));
    let Some(place) = places.get(dice.below(places.len())) else { return };
    if let Some(Object::Agent(agent)) = objects.get_mut(*place) {
        let groups = [Arc::from(format!("changed-{round}"))].into();
        *agent = Arc::new(Agent { groups, ..(**agent).clone() });
    }
}

/// One policy more.
fn added(objects: &mut Vec<Object>, _: &mut Dice, round: usize) {
    let Some(Object::Policy(policy)) = objects.last() else { return };
    let mut policy = Policy { cedar: forbid(round), ..(**policy).clone() };
    policy.meta.name = format!("added-{round}").into();
    objects.push(Object::Policy(Arc::new(policy)));
}

fn forbid(round: usize) -> Arc<str> {
    format!(
        "forbid (principal in Group::\"group-{round}\", action == Action::\"invokeTool\", resource) \
         when {{ principal.risk_level == \"critical\" && context.delegation_depth > {round} }};"
    )
    .into()
}

fn places(objects: &[Object], of: impl Fn(&Object) -> bool) -> Vec<usize> {
    objects.iter().enumerate().filter(|(_, object)| of(object)).map(|(place, _)| place).collect()
}

fn percentile(times: &[f64], share: f64) -> f64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index below the length")]
    let place = ((times.len() as f64 - 1.0) * share) as usize;
    times.get(place).copied().unwrap_or(f64::NAN)
}

fn print(name: &str, value: f64, parameters: &str, goal: Option<f64>) {
    let goal = goal.map(|goal| format!(r#","goal":{goal},"holds":{}"#, value <= goal)).unwrap_or_default();
    println!(
        r#"{{"name":"{name}","value":{value:.3},"unit":"ms","parameters":{{"agents":{AGENTS},"policies":{POLICIES},{parameters}}}{goal}}}"#
    );
}
