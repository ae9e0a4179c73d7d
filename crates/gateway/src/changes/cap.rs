//! The most tokens that a model may answer with.

use serde_json::value::RawValue;
use vidimus_core::refusal::Refusal;
use vidimus_core::resource::llm_provider::ProviderType;

use super::unmet;
use crate::protocol::members::{Edits, Members, first_member};

/// The members that limit it, old and new.
const LIMITS: [&str; 2] = ["max_tokens", "max_completion_tokens"];
/// How many answers are asked for.
const CHOICES: &str = "n";

/// The member by which a provider is told a limit that the caller did not give.
const fn limit_of(provider: ProviderType) -> &'static str {
    match provider {
        // Models that reason refuse the other one.
        ProviderType::OpenAi => "max_completion_tokens",
        // What only resembles it may know the older one alone.
        ProviderType::Anthropic | ProviderType::OpenAiCompatible => "max_tokens",
    }
}

/// The request with limits of at most `most` tokens, over all the answers that it asks for; and how many of its limits were changed or
/// added.
///
/// # Errors
/// `change_impossible` for limits that are no whole numbers, or are spelled in another way, and for more answers than tokens.
pub fn capped(body: &str, most: u32, provider: ProviderType) -> Result<Option<(String, u64)>, Refusal> {
    let unread = |_| unmet("the request's limit of tokens could not be read");
    let request = Members::unique(body).map_err(unread)?;
    if request.misspells(&[LIMITS[0], LIMITS[1], CHOICES]) {
        return Err(unmet("a limit of tokens is spelled in another way; write it as the protocol does"));
    }
    let choices = request.get(CHOICES).map(|value| number(CHOICES, value)).transpose()?.flatten();
    let each = u64::from(most) / choices.unwrap_or(1).max(1);
    if each == 0 {
        return Err(unmet(format!(
            "more answers are asked for than the {most} tokens that a policy lets them have"
        )));
    }
    let (mut edits, mut count, mut limited) = (Edits::of(body), 0, false);
    for name in LIMITS {
        let Some(value) = request.get(name) else { continue };
        let given = number(name, value)?;
        limited |= given.is_some();
        if given.is_some_and(|given| given > each) || given.is_none() && name == limit_of(provider) {
            limited = true;
            edits.put(value, each.to_string());
            count += 1;
        }
    }
    let misplaced = |_| unmet("the request's limit of tokens could not be replaced");
    let changed = edits.finish().map_err(misplaced)?;
    if limited {
        return Ok(changed.map(|body| (body, count)));
    }
    let (at, member) = first_member(body, format!("\"{}\":{each}", limit_of(provider)));
    let parts = body.get(..at.start).zip(body.get(at.end..));
    let (before, after) =
        parts.ok_or_else(|| unmet("a limit of tokens could not be added to the request"))?;
    Ok(Some(([before, &member, after].concat(), 1)))
}

/// A whole number; `None` of `null`, which is no limit.
fn number(name: &str, value: &RawValue) -> Result<Option<u64>, Refusal> {
    if value.get() == "null" {
        return Ok(None);
    }
    let number = serde_json::from_str::<u64>(value.get());
    number
        .map(Some)
        .map_err(|_| unmet(format!("member {name:?} must be a whole number where a policy caps tokens")))
}
