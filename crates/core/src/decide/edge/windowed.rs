//! Permits that permit at some times only. A window is looked at after the condition, and never fails.

use std::sync::Arc;

use super::{Edge, Residual};
use crate::call::Arguments;
use crate::decide::deciding::Deciding;
use crate::decide::residual::possible::Possible;
use crate::standing::rfc3339;

impl Edge {
    /// The permits that permit a call which nothing permits now, each at another time: its window, and when that opens next.
    pub(super) fn shut(&self, call: &Deciding<'_>) -> Option<Arc<str>> {
        // What a recorded call comes to does not depend on it.
        if matches!(call.ask.arguments, Arguments::Recorded(_)) {
            return None;
        }
        let told: Vec<String> = self.residuals.iter().filter_map(|residual| residual.shut(call)).collect();
        (!told.is_empty()).then(|| told.join("; ").into())
    }
}

impl Residual {
    /// Whether it permits anything now.
    pub(super) fn is_open(&self, call: &Deciding<'_>) -> bool {
        self.window.as_ref().is_none_or(|window| window.is_open(call.now))
    }

    /// What its condition may come to, within its window.
    pub(super) fn in_window(&self, possible: Possible, call: &Deciding<'_>) -> Possible {
        match possible {
            Possible { holds: true, .. } if !self.is_open(call) => Possible::only(Ok(false)),
            possible => possible,
        }
    }

    /// Of a permit that is kept from permitting the call by its window alone.
    fn shut(&self, call: &Deciding<'_>) -> Option<String> {
        let window = self.window.as_ref().filter(|window| !window.is_open(call.now))?;
        if self.at_all_times(call) != Ok(true) {
            return None;
        }
        let when = match window.opens(call.now).and_then(|opens| rfc3339(opens.0)) {
            Some(opens) => format!("which opens next at {opens}"),
            None => "which does not open again".to_owned(),
        };
        Some(format!("{} permits it within its window alone ({}), {when}", self.id, window.spec()))
    }
}
