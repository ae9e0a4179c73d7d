//! The lines that are printed, and the goals they are held to (issue 3, "Shows" 4; issue 9, part B).

use std::io::Write as _;

use serde::Serialize;
use serde_json::{Map, Value, json};

/// The unit of a figure that compares two things measured in the same run.
pub(crate) const RATIO: &str = "ratio";

/// One figure: a JSON object on a line of standard output.
#[derive(Debug, Serialize)]
pub(crate) struct Figure {
    name: &'static str,
    value: f64,
    unit: &'static str,
    parameters: Map<String, Value>,
    /// At most.
    #[serde(skip_serializing_if = "Option::is_none")]
    goal: Option<f64>,
    #[serde(flatten)]
    verdict: Option<Verdict>,
}

/// What is said of a figure that has a goal.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    /// Whether it is at most the goal.
    Holds(bool),
    /// The share of the goal that it takes; above 1 it is over. Printed instead of a judgement, because the machine may be
    /// slower or faster than the one that the goal was written for.
    OfGoal(f64),
}

impl Verdict {
    fn of(value: f64, unit: &str, goal: f64) -> Self {
        if is_time(unit) { Self::OfGoal(thousandths(value / goal)) } else { Self::Holds(value <= goal) }
    }
}

impl Figure {
    /// To a tenth: an absolute value is not known more exactly. `parameters` must be a JSON object.
    pub(crate) fn new(name: &'static str, value: f64, unit: &'static str, parameters: Value) -> Self {
        let Value::Object(parameters) = parameters else {
            return Self::new(name, value, unit, json!({"parameters": parameters}));
        };
        Self { name, value: rounded(value), unit, parameters, goal: None, verdict: None }
    }

    /// One value in relation to another of the same run, to a thousandth.
    pub(crate) fn ratio(name: &'static str, value: f64, parameters: Value) -> Self {
        Self { value: thousandths(value), ..Self::new(name, 0.0, RATIO, parameters) }
    }

    /// Holds the figure, as it is printed, to a goal, if there is one. A time is not judged: see [`is_time`].
    pub(crate) fn at_most(mut self, goal: Option<f64>) -> Self {
        self.goal = goal;
        self.verdict = goal.map(|goal| Verdict::of(self.value, self.unit, goal));
        self
    }

    pub(crate) fn print(&self) -> anyhow::Result<()> {
        let mut out = std::io::stdout().lock();
        serde_json::to_writer(&mut out, self)?;
        writeln!(out)?;
        out.flush()?;
        Ok(())
    }
}

/// The line of a crate's own benchmark, judged as the figures here are.
pub(crate) fn judged(mut line: Map<String, Value>) -> Map<String, Value> {
    let (value, goal) = (line.get("value").and_then(Value::as_f64), line.get("goal").and_then(Value::as_f64));
    let unit = line.get("unit").and_then(Value::as_str).unwrap_or_default().to_owned();
    if let (Some(value), Some(goal), true) = (value, goal, is_time(&unit)) {
        line.remove("holds");
        line.insert("of_goal".to_owned(), json!(thousandths(value / goal)));
    }
    line
}

/// Whether a unit is one of time, which a slower machine takes more of for the same work.
fn is_time(unit: &str) -> bool {
    let last = unit.split_ascii_whitespace().last().unwrap_or_default();
    let of = last.split('/').next().unwrap_or_default();
    ["s", "ms", "us", "µs", "ns"].contains(&of)
}

/// To a tenth: nothing absolute is known more exactly.
pub(crate) fn rounded(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

/// A ratio, as exactly as one is printed.
pub(crate) fn thousandths(value: f64) -> f64 {
    (value * 1_000.0).round() / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_judged_and_times_are_not() {
        let line = |figure: Figure, goal| serde_json::to_value(figure.at_most(goal)).unwrap();
        let parameters = json!({"c": 1});
        let ratio = |value| Figure::ratio("x", value, parameters.clone());
        assert_eq!(
            line(ratio(1.050_4), Some(1.05)),
            json!({"name": "x", "value": 1.05, "unit": "ratio", "parameters": {"c": 1}, "goal": 1.05, "holds": true})
        );
        assert_eq!(line(ratio(1.051), Some(1.05))["holds"], json!(false));
        let time = |unit| Figure::new("x", 110.04, unit, parameters.clone());
        for unit in ["us", "gateway CPU us/request", "ms"] {
            assert_eq!(
                line(time(unit), Some(100.0)),
                json!({"name": "x", "value": 110.0, "unit": unit, "parameters": {"c": 1}, "goal": 100.0, "of_goal": 1.1})
            );
        }
        assert_eq!(line(time("MB"), Some(100.0))["holds"], json!(false));
        assert_eq!(
            line(time("us"), None),
            json!({"name": "x", "value": 110.0, "unit": "us", "parameters": {"c": 1}})
        );
    }

    #[test]
    fn lines_of_the_crates_are_judged_alike() {
        let line = |text| Value::Object(judged(serde_json::from_str(text).unwrap()));
        assert_eq!(
            line(r#"{"name":"d","value":3.0,"unit":"µs","goal":2,"holds":false}"#),
            json!({"name": "d", "value": 3.0, "unit": "µs", "goal": 2, "of_goal": 1.5})
        );
        for unchanged in [
            r#"{"name":"d","value":1.1,"unit":"ratio","goal":1.2,"holds":true}"#,
            r#"{"name":"d","value":3.0,"unit":"µs"}"#,
        ] {
            assert_eq!(line(unchanged), serde_json::from_str::<Value>(unchanged).unwrap());
        }
    }
}
