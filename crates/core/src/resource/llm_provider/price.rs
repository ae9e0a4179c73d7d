//! What a model costs.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::problem::{At, Fault, Problems};

/// Micro-units (10⁻⁶ of the currency) per million tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Price {
    /// For tokens sent to the model.
    pub input: u64,
    /// For those of them that the provider read from what it keeps.
    pub cached: u64,
    /// For those of them that it keeps from now on.
    pub cache_written: u64,
    /// For tokens that the model writes.
    pub output: u64,
}

/// Tokens of one call of a model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tokens {
    /// Of the question, all of them.
    pub input: u64,
    /// Of these, what the provider read from what it keeps.
    pub cached: u64,
    /// Of these, what it keeps from now on.
    pub cache_written: u64,
    /// Of the answer, all of them.
    pub output: u64,
}

impl Price {
    /// The same price for what the provider keeps.
    pub const fn plain(input: u64, output: u64) -> Self {
        Self { input, cached: input, cache_written: input, output }
    }

    /// What so many tokens cost, in millionths of the currency unit, rounded up.
    pub fn of(&self, tokens: Tokens) -> i64 {
        const MILLION: u128 = 1_000_000;
        let part = |tokens: u64, price: u64| u128::from(tokens).saturating_mul(u128::from(price));
        // No more of a question is kept than there is of it, whatever its provider says.
        let written = tokens.cache_written.min(tokens.input);
        let cached = tokens.cached.min(tokens.input - written);
        let parts = [
            part(tokens.input - written - cached, self.input),
            part(cached, self.cached),
            part(written, self.cache_written),
            part(tokens.output, self.output),
        ];
        let total = parts.into_iter().fold(0, u128::saturating_add);
        i64::try_from(total.div_ceil(MILLION)).unwrap_or(i64::MAX)
    }

    /// What so many cost at most, of whichever kind those of the question are.
    pub fn most(&self, input: u64, output: u64) -> i64 {
        let dearest = self.input.max(self.cached).max(self.cache_written);
        Self::plain(dearest, self.output).of(Tokens { input, output, ..Tokens::default() })
    }
}

/// Price per million tokens, as a decimal in quotes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PriceSpec {
    /// Price of a million input tokens, as in "0.25".
    #[serde(rename = "inputPerMTok")]
    #[schemars(schema_with = "price_schema")]
    pub input_per_mtok: String,
    /// Price of a million of these that the provider reads from what it keeps of earlier questions; that of input tokens when it is left out.
    #[serde(default, rename = "cachedInputPerMTok", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "price_schema")]
    pub cached_input_per_mtok: Option<String>,
    /// Price of a million of these that it keeps from now on (a cache write); that of input tokens when it is left out.
    #[serde(default, rename = "cacheWritePerMTok", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "price_schema")]
    pub cache_write_per_mtok: Option<String>,
    /// Price of a million output tokens, as in "2.00".
    #[serde(rename = "outputPerMTok")]
    #[schemars(schema_with = "price_schema")]
    pub output_per_mtok: String,
}

pub(in crate::resource) fn price_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({"type": "string", "maxLength": 13, "pattern": r"^[0-9]{1,6}([.][0-9]{1,6})?$"})
}

impl PriceSpec {
    pub(super) fn check(&self, at: At<'_>, problems: &mut Problems) -> Option<Price> {
        let input =
            problems.take(at.key("inputPerMTok"), &self.input_per_mtok, micro_units(&self.input_per_mtok));
        let output =
            problems.take(at.key("outputPerMTok"), &self.output_per_mtok, micro_units(&self.output_per_mtok));
        let mut of_kept = |name: &'static str, text: &Option<String>| match text {
            None => input,
            Some(text) => problems.take(at.key(name), text, micro_units(text)),
        };
        let cached = of_kept("cachedInputPerMTok", &self.cached_input_per_mtok);
        let cache_written = of_kept("cacheWritePerMTok", &self.cache_write_per_mtok);
        Some(Price { input: input?, cached: cached?, cache_written: cache_written?, output: output? })
    }
}

/// Exact: a decimal with at most six places, in millionths.
pub(in crate::resource) fn micro_units(text: &str) -> Result<u64, Fault> {
    let fault = || {
        Fault::new(
            "not a price",
            "write a decimal in quotes, at most six digits before and after the point, as in \"0.25\"",
        )
    };
    let (whole, places) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |part: &str| (1..=6).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(places) {
        return Err(fault());
    }
    format!("{whole}{places:0<6}").parse().map_err(|_| fault())
}
