//! What is printed.

use comfy_table::{ContentArrangement, Table, presets};
use serde_json::{Value, json};

use crate::known;
use crate::run::{Outcome, Verdict};

/// A table of all probes, then what is broken in full, then the sums.
pub fn table(outcomes: &[Outcome]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(["probe", "protocol", "verdict", "answer", "tries"]);
    for outcome in outcomes {
        let verdict = outcome.verdict.as_str();
        table.add_row([&outcome.name, outcome.protocol, verdict, &outcome.answer, &outcome.tries]);
    }
    format!("{table}\n{}{}", faults(outcomes), sums(outcomes))
}

/// One line a fault.
pub fn faults(outcomes: &[Outcome]) -> String {
    let mut text = String::new();
    for outcome in outcomes.iter().filter(|outcome| !outcome.faults.is_empty()) {
        let why = known::why(&outcome.name).map(|why| format!(" (known: {why})")).unwrap_or_default();
        for fault in &outcome.faults {
            text.push_str(&format!("{} {}: {fault}{why}\n", outcome.verdict.as_str(), outcome.name));
        }
    }
    text
}

/// How many of each verdict.
pub fn sums(outcomes: &[Outcome]) -> String {
    let count = |verdict| outcomes.iter().filter(|outcome| outcome.verdict == verdict).count();
    format!(
        "{} probes: {} held, {} broken, {} known to be broken, {} mended\n",
        outcomes.len(),
        count(Verdict::Held),
        count(Verdict::Broken),
        count(Verdict::Known),
        count(Verdict::Mended)
    )
}

/// One object a probe.
pub fn json(outcome: &Outcome) -> Value {
    json!({
        "probe": outcome.name, "tries": outcome.tries, "protocol": outcome.protocol,
        "verdict": outcome.verdict.as_str(), "answer": outcome.answer, "faults": outcome.faults,
        "known": known::why(&outcome.name),
    })
}
