//! What was measured, and what it is of what others took for the same.

use std::collections::BTreeMap;
use std::time::Instant;

use serde_json::{Value, json};

use crate::estate::mixed;
use crate::{Anything, Question};

/// The one that the others are compared with.
pub(crate) const OURS: &str = "vidimus";

pub(crate) struct Figures {
    pub(crate) records: u64,
    /// Milliseconds of a question, by who answered.
    taken: BTreeMap<(Question, &'static str), f64>,
}

impl Figures {
    pub(crate) fn new(records: u64) -> Self {
        Self { records, taken: BTreeMap::new() }
    }

    pub(crate) fn say(&self, name: &str, value: f64, unit: &str, goal: Option<f64>, mut parameters: Value) {
        parameters["records"] = self.records.into();
        let value = (value * 1000.0).round() / 1000.0;
        let mut line = json!({ "name": name, "value": value, "unit": unit, "parameters": parameters });
        if let Some(goal) = goal {
            line["goal"] = goal.into();
            line["holds"] = (value <= goal).into();
        }
        println!("{line}");
    }

    pub(crate) fn rate(&self, name: &str, engine: &str, records: u64, begun: Instant) {
        let rate = records as f64 / begun.elapsed().as_secs_f64();
        self.say(name, rate, "records/s", None, json!({ "engine": engine }));
    }

    pub(crate) fn size(&self, of: &str, bytes: u64) {
        self.say(
            "audit_bytes",
            bytes as f64 / self.records as f64,
            "bytes/record",
            None,
            json!({ "engine": of }),
        );
    }

    /// The times that a question takes, again and again with other numbers.
    pub(crate) fn times(
        &mut self,
        engine: &'static str,
        question: Question,
        rounds: u64,
        mut ask: impl FnMut(u64) -> Anything<usize>,
    ) -> Anything<()> {
        let (mut all, mut rows) = (Vec::new(), 0);
        for round in 0..rounds {
            let begun = Instant::now();
            rows += ask(mixed(round + 1))?;
            all.push(begun.elapsed().as_secs_f64() * 1000.0);
        }
        all.sort_by(f64::total_cmp);
        let at = |share: usize| all.get(all.len() * share / 100).copied().unwrap_or_default();
        let parameters = json!({
            "engine": engine, "question": question.as_str(), "p95_ms": (at(95) * 1000.0).round() / 1000.0, "rounds": rounds, "rows": rows,
        });
        let goal = (engine == OURS).then(|| question.goal_ms()).flatten();
        self.say("audit_question", at(50), "ms", goal, parameters);
        self.taken.insert((question, engine), at(50));
        Ok(())
    }

    /// Times that were taken elsewhere.
    pub(crate) fn told(&mut self, engine: &'static str, question: Question, ms: f64) {
        let parameters = json!({ "engine": engine, "question": question.as_str() });
        self.say("audit_question", ms, "ms", None, parameters);
        self.taken.insert((question, engine), ms);
    }

    /// What ours took, of what each other took.
    pub(crate) fn ratios(&self) {
        for ((question, engine), theirs) in &self.taken {
            let ours = self.taken.get(&(*question, OURS)).filter(|_| *engine != OURS);
            if let Some(ours) = ours {
                let parameters = json!({ "of": engine, "question": question.as_str() });
                self.say("audit_question_of", ours / theirs, "ratio", None, parameters);
            }
        }
    }
}
