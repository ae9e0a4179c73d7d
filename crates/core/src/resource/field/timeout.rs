//! A duration: `30s`, `1m30s`, `500ms`.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::JSONSchemaProps;
use schemars::{Schema, SchemaGenerator};

use super::text_with_rules;
use crate::quantity::{self, Wrong};
use crate::resource::problem::Fault;

const HOUR_MS: u32 = 3_600_000;
const FIX: &str = "write a duration from 1ms to 1h, as in 500ms, 30s or 1m30s";

pub(crate) fn schema(_: &mut SchemaGenerator) -> Schema {
    let rule = "self.matches('^([0-9]{1,9}(ms|s|m|h))+$') && duration(self) >= duration('1ms') && duration(self) <= duration('1h')";
    text_with_rules(1, 32, &[(rule, "timeout must be a duration from 1ms to 1h, as in 30s")])
}

/// Milliseconds.
pub(crate) fn check(text: &str) -> Result<u32, Fault> {
    let duration = quantity::duration(text).map_err(|wrong| match wrong {
        Wrong::NoUnit => without_unit(text),
        Wrong::Malformed => Fault::new("not a duration", FIX),
    })?;
    match u32::try_from(duration.as_millis()) {
        // Days are out of the range, and not of the CRD's grammar, not even none of them.
        Ok(total @ 1..=HOUR_MS) if !text.contains('d') => Ok(total),
        _ => Err(Fault::new("the timeout is out of range", FIX)),
    }
}

/// A number alone: seconds to some, milliseconds to others.
pub(crate) fn without_unit(number: &str) -> Fault {
    Fault::new("a duration without a unit", format!("write {number}s for seconds, or {number}ms"))
}

/// Whether a schema is that of a duration.
pub(crate) fn is_duration(schema: &JSONSchemaProps) -> bool {
    let mut rules = schema.x_kubernetes_validations.iter().flatten();
    rules.any(|rule| rule.rule.contains("duration(self)"))
}
