//! The same in an object of its own: Gemini's `generationConfig.maxOutputTokens`, for each of `candidateCount` answers, and Bedrock's
//! `inferenceConfig.maxTokens`.

use serde_json::value::RawValue;
use vidimus_core::refusal::Refusal;

use super::super::unmet;
use super::{limit, number};
use crate::protocol::llm::bedrock;
use crate::protocol::members::{Edits, Members, first_member};

/// Where an API has its limit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Form {
    config: &'static str,
    limit: &'static str,
    /// The member that says how many answers are made.
    choices: Option<&'static str>,
}

pub(super) const GEMINI: Form =
    Form { config: "generationConfig", limit: "maxOutputTokens", choices: Some("candidateCount") };
pub(super) const BEDROCK: Form = Form { config: bedrock::CONFIG, limit: bedrock::LIMIT, choices: None };

/// The request with a limit of at most `most` tokens, over all the answers that it asks for; and how many of its limits were changed or added.
///
/// # Errors
/// `change_impossible` for limits that are no whole numbers or 0, or are spelled in another way, and for more answers than tokens.
pub(super) fn capped(body: &str, most: u32, form: Form) -> Result<Option<(String, u64)>, Refusal> {
    let Form { config: name, limit: limited_by, choices } = form;
    let unread = |_| unmet("the request's limit of tokens could not be read");
    let request = Members::unique(body).map_err(unread)?;
    if request.misspells(&[name]) {
        return Err(spelled());
    }
    let Some(value) = value(&request, name) else {
        return with_first(body, format!("\"{name}\":{{\"{limited_by}\":{most}}}"))
            .map(|body| Some((body, 1)));
    };
    let mut edits = Edits::of(body);
    if value.get() == "null" {
        edits.put(value, format!("{{\"{limited_by}\":{most}}}"));
        return edited(edits);
    }
    let config = Members::unique(value.get()).map_err(unread)?;
    if config.misspells(&[limited_by, choices.unwrap_or(limited_by)]) {
        return Err(spelled());
    }
    let choices = choices.and_then(|name| Some((name, self::value(&config, name)?)));
    let choices = choices.map(|(name, value)| number(name, value)).transpose()?.flatten();
    let each = u64::from(most) / choices.unwrap_or(1).max(1);
    if each == 0 {
        let message =
            format!("more answers are asked for than the {most} tokens that a policy lets them have");
        return Err(unmet(message));
    }
    let Some(limited) = self::value(&config, limited_by) else {
        edits.put(value, with_first(value.get(), format!("\"{limited_by}\":{each}"))?);
        return edited(edits);
    };
    match limit(limited_by, limited)? {
        Some(given) if given <= each => Ok(None),
        Some(_) | None => {
            edits.put(limited, each.to_string());
            edited(edits)
        }
    }
}

/// The value of a member, which is of the text that the members were read from.
fn value<'a>(members: &Members<'a>, name: &str) -> Option<&'a RawValue> {
    members.0.iter().find(|(key, _)| key == name).map(|(_, value)| *value)
}

/// An object with one more member, before all others.
fn with_first(object: &str, member: String) -> Result<String, Refusal> {
    let (at, member) = first_member(object, member);
    let parts = object.get(..at.start).zip(object.get(at.end..));
    let (before, after) =
        parts.ok_or_else(|| unmet("a limit of tokens could not be added to the request"))?;
    Ok([before, &member, after].concat())
}

fn edited(edits: Edits<'_>) -> Result<Option<(String, u64)>, Refusal> {
    let changed = edits.finish().map_err(|_| unmet("the request's limit of tokens could not be replaced"))?;
    Ok(changed.map(|body| (body, 1)))
}

fn spelled() -> Refusal {
    unmet("a limit of tokens is spelled in another way; write it as the protocol does")
}
