//! The lines that are printed, and the goals they are held to (issue 3, "Shows" 4).

use std::io::Write as _;

use serde::Serialize;
use serde_json::{Map, Value, json};

/// One figure: a JSON object on a line of standard output.
#[derive(Debug, Serialize)]
pub(crate) struct Figure {
    name: &'static str,
    value: f64,
    unit: &'static str,
    parameters: Map<String, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    goal: Option<f64>,
    /// Whether `value` is at most `goal`.
    #[serde(skip_serializing_if = "Option::is_none")]
    holds: Option<bool>,
}

impl Figure {
    /// `parameters` must be a JSON object.
    pub(crate) fn new(name: &'static str, value: f64, unit: &'static str, parameters: Value) -> Self {
        let Value::Object(parameters) = parameters else {
            return Self::new(name, value, unit, json!({"parameters": parameters}));
        };
        Self { name, value: rounded(value), unit, parameters, goal: None, holds: None }
    }

    /// Holds the figure, as it is printed, to a goal, if there is one.
    pub(crate) fn at_most(mut self, goal: Option<f64>) -> Self {
        self.goal = goal;
        self.holds = goal.map(|goal| self.value <= goal);
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

/// To a tenth: nothing here is known more exactly.
pub(crate) fn rounded(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_miss_is_said() {
        let line = |goal| {
            serde_json::to_value(Figure::new("x", 110.04, "us", json!({"c": 1})).at_most(goal)).unwrap()
        };
        assert_eq!(
            line(Some(110.0)),
            json!({"name": "x", "value": 110.0, "unit": "us", "parameters": {"c": 1}, "goal": 110.0, "holds": true})
        );
        assert_eq!(line(Some(109.9))["holds"], json!(false));
        assert_eq!(line(None), json!({"name": "x", "value": 110.0, "unit": "us", "parameters": {"c": 1}}));
    }
}
