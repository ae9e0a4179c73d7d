//! A duration: `30s`, `1m30s`, `500ms`.

use schemars::{Schema, SchemaGenerator};

use super::text_with_rules;
use crate::resource::problem::Fault;

const HOUR_MS: u32 = 3_600_000;
const FIX: &str = "write a duration from 1ms to 1h, as in 500ms, 30s or 1m30s";

pub(crate) fn schema(_: &mut SchemaGenerator) -> Schema {
    let rule = "self.matches('^([0-9]{1,9}(ms|s|m|h))+$') && duration(self) >= duration('1ms') && duration(self) <= duration('1h')";
    text_with_rules(1, 32, &[(rule, "timeout must be a duration from 1ms to 1h, as in 30s")])
}

/// Milliseconds.
pub(crate) fn check(text: &str) -> Result<u32, Fault> {
    let not_a_duration = || Fault::new("not a duration", FIX);
    let mut total: u64 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(not_a_duration)?;
        let (number, after) = rest.split_at_checked(digits).ok_or_else(not_a_duration)?;
        let number: u32 = number.parse().map_err(|_| not_a_duration())?;
        let unit = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", u64::from(HOUR_MS))];
        let (name, ms) =
            unit.into_iter().find(|(name, _)| after.starts_with(name)).ok_or_else(not_a_duration)?;
        total = total.saturating_add(u64::from(number).saturating_mul(ms));
        rest = after.get(name.len()..).ok_or_else(not_a_duration)?;
    }
    match u32::try_from(total) {
        Ok(total @ 1..=HOUR_MS) => Ok(total),
        _ if text.is_empty() => Err(not_a_duration()),
        _ => Err(Fault::new("the timeout is out of range", FIX)),
    }
}
