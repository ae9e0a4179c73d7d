//! Pages of lists of tasks. The token of a page may name a task, or say how many there are before it, of whomever; so it is sealed
//! to who got it, as the ids of tasks are (ADR 20).

use serde_json::value::RawValue;
use vidimus_core::json::Json;
use vidimus_core::refusal::{Code, Refusal};

use super::Message;
use super::handles::Handles;
use super::members::{Replaced, quoted, text};
use crate::seal::Kind;

/// The token of the next page, which the upstream gives, as JSON for the caller; `None` where there is no further page.
///
/// # Errors
/// `upstream_invalid` for one that is no text or too long, `internal` where it cannot be sealed.
pub fn sealed(given: &RawValue, handles: &Handles) -> Result<Option<String>, Refusal> {
    if given.get() == "null" {
        return Ok(None);
    }
    let no_text = || Refusal::new(Code::UpstreamInvalid, "the token of the upstream's next page is no text");
    let token = text(given).ok_or_else(no_text)?;
    if token.is_empty() { Ok(None) } else { handles.page(&token).map(|sealed| Some(quoted(&sealed))) }
}

/// That whose the tasks of an upstream's list are cannot be told.
pub fn no_list() -> Refusal {
    Refusal::new(Code::UpstreamInvalid, "the upstream's list of tasks is not an object with 'tasks'")
}

/// The page that the caller asks for at `path`, whose last member `params` has.
///
/// # Errors
/// `task_foreign` for one that this caller did not get from this upstream, `message_invalid` for what is no text.
pub fn opened(
    message: &Message<'_>,
    path: &'static [&'static str],
    params: Option<&Json<'_>>,
) -> Result<Option<Replaced>, Refusal> {
    match params.zip(path.last()).and_then(|(params, name)| params.get(name)) {
        None | Some(Json::Null) => Ok(None),
        Some(Json::String(token)) if token.is_empty() => Ok(None),
        Some(Json::String(token)) => {
            let foreign = || Refusal::new(Code::TaskForeign, "no such page of a list of this caller's");
            let opened = message.holder.open(Kind::Page, token).ok_or_else(foreign)?;
            Ok(Some(Replaced { path, with: quoted(&opened.id) }))
        }
        Some(_) => {
            let message = format!("{} must be a string", path.join("."));
            Err(Refusal::new(Code::MessageInvalid, message))
        }
    }
}
