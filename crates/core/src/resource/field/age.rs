//! How old something may be: `90s`, `10m`, `24h`.

use schemars::{Schema, SchemaGenerator};

use super::text_with_rules;
use super::timeout::without_unit;
use crate::quantity::{self, Wrong};
use crate::resource::problem::Fault;

const SECOND_MS: u64 = 1_000;
/// A year.
const LONGEST_MS: u64 = 8_760 * 3_600 * SECOND_MS;
const FIX: &str = "write a duration from 1s to 8760h, as in 90s, 10m or 24h";

pub(crate) fn schema(_: &mut SchemaGenerator) -> Schema {
    let rule = "self.matches('^([0-9]{1,9}(ms|s|m|h))+$') && duration(self) >= duration('1s') && duration(self) <= duration('8760h')";
    text_with_rules(1, 32, &[(rule, "an age must be a duration from 1s to 8760h, as in 10m")])
}

/// Milliseconds.
pub(crate) fn check(text: &str) -> Result<u64, Fault> {
    let duration = quantity::duration(text).map_err(|wrong| match wrong {
        Wrong::NoUnit => without_unit(text),
        Wrong::Malformed => Fault::new("not a duration", FIX),
    })?;
    match u64::try_from(duration.as_millis()) {
        // Days are not of the CRD's grammar.
        Ok(total @ SECOND_MS..=LONGEST_MS) if !text.contains('d') => Ok(total),
        _ => Err(Fault::new("the age is out of range", FIX)),
    }
}
