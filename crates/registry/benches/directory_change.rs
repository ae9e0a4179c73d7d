//! From a change of a file to its live snapshot: event, debounce, reading, compiling. One JSON object a line.
//!
//! 9,900 policies and 9,900 agents, as one file for each, and as a hundred files. Each round replaces the file of one policy, as
//! careful programs do: written beside, then renamed over.

#![expect(clippy::print_stdout, reason = "its output")]

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{fs, io, thread};

use vidimus_registry::watch;

const POLICIES: usize = 9_900;
const AGENTS: usize = 9_900;
const ROUNDS: usize = 30;

fn main() -> io::Result<()> {
    // `cargo test --benches` runs this too; it is a measurement, not a test.
    if std::env::args().any(|argument| argument == "--test") {
        return Ok(());
    }
    for in_a_file in [1, 200] {
        measure(in_a_file)?;
    }
    Ok(())
}

/// With so many objects in a file.
fn measure(in_a_file: usize) -> io::Result<()> {
    let directory = tempfile::tempdir()?;
    let at = directory.path();
    for first in (0..POLICIES).step_by(in_a_file) {
        let numbers = first..(first + in_a_file).min(POLICIES);
        fs::write(
            at.join(format!("policies-{first}.yaml")),
            numbers.clone().map(|n| policy(n, 0)).collect::<String>(),
        )?;
        fs::write(at.join(format!("agents-{first}.yaml")), numbers.map(agent).collect::<String>())?;
    }
    // What was just written is waited for, since it may not be whole.
    thread::sleep(Duration::from_millis(600));
    let begun = Instant::now();
    let (current, watching) = watch(at, None, Arc::default())?;
    print("directory_start", ms(begun), in_a_file, "once");
    if !current.borrow().rejections.is_empty() {
        println!("{:#?}", current.borrow().rejections);
    }
    let mut times = Vec::with_capacity(ROUNDS);
    for round in 1..=ROUNDS {
        let first = (round * 97 * in_a_file) % (POLICIES - POLICIES % in_a_file);
        let first = first - first % in_a_file;
        let changed = first + round % in_a_file;
        let numbers = first..(first + in_a_file).min(POLICIES);
        let text: String = numbers.map(|n| policy(n, if n == changed { round } else { 0 })).collect();
        let before = current.borrow().snapshot.digest().to_owned();
        let begun = Instant::now();
        replace(at, &format!("policies-{first}.yaml"), &text)?;
        while current.borrow().snapshot.digest() == before && begun.elapsed() < Duration::from_secs(30) {
            thread::sleep(Duration::from_micros(100));
        }
        times.push(ms(begun));
        // Whoever changes something does not do so while the last change is looked at again.
        thread::sleep(Duration::from_millis(400));
    }
    times.sort_unstable_by(f64::total_cmp);
    for (statistic, place) in [("p50", ROUNDS / 2), ("max", ROUNDS - 1)] {
        print("directory_change", times.get(place).copied().unwrap_or(f64::NAN), in_a_file, statistic);
    }
    drop(watching);
    Ok(())
}

fn replace(directory: &Path, file: &str, text: &str) -> io::Result<()> {
    let beside = directory.join(".new");
    fs::write(&beside, text)?;
    fs::rename(beside, directory.join(file))
}

fn agent(number: usize) -> String {
    format!(
        "---\napiVersion: vidimus.dev/v1alpha1\nkind: Agent\nmetadata: {{name: agent-{number}, namespace: estate}}\n\
         spec:\n  owner: person{}@example.com\n  team: team-{}\n  purpose: Measurements\n  riskLevel: low\n  \
         groups: [group-{}]\n  identities:\n    - spiffe: spiffe://estate.test/agent-{number}\n",
        number % 300,
        number % 200,
        number % 2_500
    )
}

fn policy(number: usize, round: usize) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = write!(
        text,
        "---\napiVersion: vidimus.dev/v1alpha1\nkind: Policy\nmetadata: {{name: policy-{number}, namespace: estate}}\n\
         spec:\n  description: Measurements\n  scope: Cluster\n  cedar: |\n    \
         permit (principal in Group::\"group-{}\", action == Action::\"invokeTool\", resource)\n    \
         when {{ principal.risk_level == \"low\" && context.delegation_depth <= {round} }};\n",
        number % 2_500
    );
    text
}

fn ms(begun: Instant) -> f64 {
    begun.elapsed().as_secs_f64() * 1e3
}

fn print(name: &str, value: f64, in_a_file: usize, statistic: &str) {
    println!(
        r#"{{"name":"{name}","value":{value:.3},"unit":"ms","parameters":{{"agents":{AGENTS},"policies":{POLICIES},"objects_in_a_file":{in_a_file},"statistic":"{statistic}"}}}}"#
    );
}
