//! The most tokens that a model may answer with.

mod generation;

use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use vidimus_core::refusal::Refusal;
use vidimus_core::resource::llm_provider::ProviderType;

use super::unmet;
use crate::protocol::beside::{is_plain_of, plain};
use crate::protocol::llm::shapes::Shape;
use crate::protocol::llm::{CHOICES, COMPLETIONS, CONVERSE, MOST, RESPONSES};
use crate::protocol::members::{Edits, Members, first_member};

/// Objects in which servers take limits of their own beside those of the protocol (Ollama, Gemini, Bedrock, TGI, SGLang, NVIDIA), in lower
/// case without separators.
const HOLDERS: [&str; 10] = [
    "options",
    "parameters",
    "samplingparams",
    "samplingparameters",
    "generationconfig",
    "inferenceconfig",
    "textgenerationconfig",
    "completionoptions",
    "additionalmodelrequestfields",
    "nvext",
];
/// What to do about one.
const HELD: &str = "Leave it out and write the limit as max_tokens, at the top of the request: a policy caps tokens, and can only lower a \
    limit there.";

/// The request with a limit of at most `most` tokens in the form of its own API, and how many of its limits were changed or added.
///
/// # Errors
/// As [`capped`].
pub fn of(
    provider: ProviderType,
    method: &str,
    body: &str,
    most: u32,
) -> Result<Option<(String, u64)>, Refusal> {
    match Shape::of_method(method) {
        _ if method == CONVERSE => generation::capped(body, most, generation::BEDROCK),
        Some(Shape::Gemini) => generation::capped(body, most, generation::GEMINI),
        _ => capped(body, most, limits_of(provider, method)),
    }
}

/// The members whose limit a provider keeps to, so that no other has to be there. The first is how it is told one that the caller did not give.
fn limits_of(provider: ProviderType, method: &str) -> &'static [&'static str] {
    match (provider, Shape::of_method(method)) {
        _ if method == RESPONSES => &["max_output_tokens"],
        _ if method == COMPLETIONS => &["max_tokens"],
        // What only resembles OpenAI's may know the older one alone.
        (_, Some(Shape::Anthropic)) | (ProviderType::OpenAiCompatible, _) => &["max_tokens"],
        // Models that reason refuse the other one; and both together are refused. For another API either is translated.
        _ => &["max_completion_tokens", "max_tokens"],
    }
}

/// The request with limits of at most `most` tokens, over all the answers that it asks for; and how many of its limits were changed or
/// added.
///
/// # Errors
/// `change_impossible` for limits that are no whole numbers or 0, are spelled in another way, or stand in an object where nobody lowers them,
/// and for more answers than tokens.
fn capped(body: &str, most: u32, limits: &[&str]) -> Result<Option<(String, u64)>, Refusal> {
    let added = limits.first().copied().unwrap_or("max_tokens");
    let unread = |_| unmet("the request's limit of tokens could not be read");
    let request = Members::unique(body).map_err(unread)?;
    let read = |name: &str| MOST.contains(&name) || CHOICES.contains(&name);
    if request.0.iter().any(|(name, _)| !read(name) && (is_one_of(name, &MOST) || is_one_of(name, &CHOICES)))
    {
        return Err(unmet("a limit of tokens is spelled in another way; write it as the protocol does"));
    }
    check_objects(&request)?;
    let each = u64::from(most) / choices(&request)?;
    if each == 0 {
        return Err(unmet(format!(
            "more answers are asked for than the {most} tokens that a policy lets them have"
        )));
    }
    // What is added is no more than what the caller asks for by another name.
    let (mut edits, mut count, mut limited, mut least) = (Edits::of(body), 0, false, each);
    for name in MOST {
        let Some(given) = request.get(name).map(|value| limit(name, value)).transpose()? else { continue };
        limited |= given.is_some() && limits.contains(&name);
        least = given.map_or(least, |given| given.min(least));
    }
    for name in MOST {
        let Some(value) = request.get(name) else { continue };
        let given = limit(name, value)?;
        if given.is_some_and(|given| given > each) {
            edits.put(value, each.to_string());
            count += 1;
        } else if given.is_none() && !limited && name == added {
            limited = true;
            edits.put(value, least.to_string());
            count += 1;
        }
    }
    let misplaced = |_| unmet("the request's limit of tokens could not be replaced");
    let changed = edits.finish().map_err(misplaced)?;
    if limited {
        return Ok(changed.map(|body| (body, count)));
    }
    let text = changed.as_deref().unwrap_or(body);
    let (at, member) = first_member(text, format!("\"{added}\":{least}"));
    let parts = text.get(..at.start).zip(text.get(at.end..));
    let (before, after) =
        parts.ok_or_else(|| unmet("a limit of tokens could not be added to the request"))?;
    Ok(Some(([before, &member, after].concat(), count + 1)))
}

/// How many answers are made, at least one: by the greatest of the members that say so, to each prompt of a list of them.
fn choices(request: &Members<'_>) -> Result<u64, Refusal> {
    let unread = |_| unmet("the request's prompts could not be counted");
    let list = request.get("prompt").filter(|prompt| prompt.get().starts_with('['));
    let prompts = match list {
        None => 1,
        Some(list) => serde_json::from_str::<Vec<IgnoredAny>>(list.get()).map_err(unread)?.len().max(1),
    };
    let mut most = 1;
    for name in CHOICES {
        if let Some(value) = request.get(name) {
            most = number(name, value)?.unwrap_or(1).max(most);
        }
    }
    Ok(most.saturating_mul(u64::try_from(prompts).unwrap_or(u64::MAX)))
}

/// That no limit stands where it is not lowered: in an object that is known to hold some, or that has a member by the name of one.
fn check_objects(request: &Members<'_>) -> Result<(), Refusal> {
    let unread = |_| unmet("the request's limit of tokens could not be read");
    for (name, value) in &request.0 {
        if value.get() == "null" {
            continue;
        }
        let is_holder = HOLDERS.contains(&&*plain(name));
        let holds = || -> Result<bool, Refusal> {
            if !value.get().starts_with('{') {
                return Ok(false);
            }
            let members = Members::unique(value.get()).map_err(unread)?;
            Ok(members.0.iter().any(|(key, _)| is_one_of(key, &MOST)))
        };
        if is_holder || holds()? {
            let shown: String = name.chars().take(64).collect();
            let message = format!("member {shown:?} may hold a limit of tokens that is not lowered there");
            return Err(unmet(message).with_next(HELD));
        }
    }
    Ok(())
}

/// Whether some reader takes a name for one of these.
fn is_one_of(name: &str, names: &[&str]) -> bool {
    let name = plain(name);
    names.iter().any(|one| is_plain_of(one, &name))
}

/// A limit; `None` of `null`, which is none. Servers that fill in what is missing take 0 for missing (LocalAI: no limit at all).
fn limit(name: &str, value: &RawValue) -> Result<Option<u64>, Refusal> {
    match number(name, value)? {
        Some(0) => Err(unmet(format!(
            "member {name:?} must be above 0 where a policy caps tokens: some servers take 0 for no limit"
        ))),
        given => Ok(given),
    }
}

/// A whole number; `None` of `null`.
fn number(name: &str, value: &RawValue) -> Result<Option<u64>, Refusal> {
    if value.get() == "null" {
        return Ok(None);
    }
    let number = serde_json::from_str::<u64>(value.get());
    number
        .map(Some)
        .map_err(|_| unmet(format!("member {name:?} must be a whole number where a policy caps tokens")))
}
