//! The cost of asking who can call what, over 10,000 agents and 10,000 policies: one tool and everybody, all of one server and everybody,
//! one agent and everything. One JSON object a line; each question is asked of another tool, server or agent and timed by itself.

#![expect(clippy::print_stdout, reason = "its output")]

use std::hint::black_box;
use std::time::Instant;

use vidimus_core::call::{Action, Target};
use vidimus_core::reach::{Access, Answered, Pairs};
use vidimus_core::resource::Principal;
use vidimus_core::snapshot::Snapshot;

#[path = "../../testkit/src/estate.rs"]
#[expect(dead_code, unreachable_pub, reason = "the estate is written for other users as well")]
mod estate;

use estate::{Dice, Estate};

const SEED: u64 = 42;
const POLICIES: usize = 10_000;
const AGENTS: usize = 10_000;
const ROUNDS: usize = 9;
const GOAL_MS: f64 = 2_000.0;

fn main() {
    // `cargo test --benches` runs this too; it is a measurement, not a test.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let (snapshot, rejected) = Snapshot::build(Estate::generate(SEED, POLICIES, AGENTS));
    if !rejected.is_empty() {
        println!("{rejected:#?}");
        return;
    }
    let (everybody, wholes) = (snapshot.principals(), snapshot.wholes());
    let everything: Vec<Access<'_>> = wholes.iter().flat_map(|whole| snapshot.accesses(*whole)).collect();
    let servers: Vec<Target<'_>> =
        wholes.iter().copied().filter(|whole| matches!(whole, Target::Server(_))).collect();
    let tools: Vec<Access<'_>> = everything
        .iter()
        .copied()
        .filter(|access| access.action == Action::InvokeTool && !access.any_other)
        .collect();
    let mut dice = Dice::new(SEED);
    for what in ["who calls a tool", "who calls a server", "what an agent calls"] {
        let mut times = Vec::with_capacity(ROUNDS);
        let mut groups = 0;
        for _ in 0..ROUNDS {
            let begun = Instant::now();
            let pairs = match what {
                "who calls a tool" => asked(&snapshot, &everybody, one(&tools, &mut dice)),
                "who calls a server" => {
                    let all = one(&servers, &mut dice).iter().flat_map(|server| snapshot.accesses(*server));
                    asked(&snapshot, &everybody, &all.collect::<Vec<_>>())
                }
                _ => asked(&snapshot, one(&everybody, &mut dice), &everything),
            };
            times.push(begun.elapsed().as_secs_f64() * 1e3);
            groups += pairs.len();
            if pairs.iter().all(|pairs| pairs.outlook.answered() == Answered::Never) {
                println!("nobody calls anything");
                return;
            }
            drop(black_box(pairs));
        }
        times.sort_unstable_by(f64::total_cmp);
        for (name, time) in [("p50", times.get(times.len() / 2)), ("max", times.last())] {
            let (value, goal) = (time.copied().unwrap_or(f64::NAN), GOAL_MS);
            println!(
                r#"{{"name":"reach","value":{value:.3},"unit":"ms","parameters":{{"agents":{AGENTS},"policies":{POLICIES},"asked":"{what}","answers":{},"statistic":"{name}"}},"goal":{goal}}}"#,
                groups / ROUNDS
            );
        }
    }
}

fn one<'t, T>(of: &'t [T], dice: &mut Dice) -> &'t [T] {
    let place = dice.below(of.len());
    of.get(place..=place).unwrap_or_default()
}

fn asked<'a>(snapshot: &'a Snapshot, principals: &[Principal], accesses: &[Access<'a>]) -> Vec<Pairs> {
    match snapshot.reach(principals, accesses) {
        Ok(pairs) => pairs,
        Err(fault) => {
            println!("{fault}");
            Vec::new()
        }
    }
}
