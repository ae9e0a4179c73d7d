//! What guards find in a text (ADR 77): pure, without I/O, in time that is linear in the text. A text is read as it stands, and in the other
//! spellings in which a reader might take it ([`readings()`]): what is hidden by invisible or foreign letters, escapes or base64 is found all the same.
//!
//! Every rule is deterministic, and says its kind. What was found is never given away, only how often.

pub mod definition;
mod injection;
mod national_ids;
mod patterns;
mod personal_data;
mod readings;
mod redacted;
mod secrets;

use std::borrow::Cow;
use std::sync::Arc;

use vidimus_core::guard::{Guard, Kinds};
use vidimus_core::resource::own_guard::{Looks, Pattern};

pub use patterns::{Fault, Place};
pub use readings::readings;
pub use redacted::{label, places, redacted};

/// What a guard finds in one value: how often each kind. `name` is that of the member which has the value, or empty: a password is told by it.
///
/// # Errors
/// Where the rules could not be compiled, which a test excludes; and of a guard that asks somebody else, or holds a message to a schema:
/// nothing is known of the text.
pub fn find(guard: &Guard, name: &str, text: &str) -> Result<Kinds, &'static Fault> {
    let name = readings::folded(name).map_or(Cow::Borrowed(name), Cow::Owned);
    let mut found = Kinds::new();
    for reading in readings(text) {
        let kinds = match guard {
            Guard::Injection => injection::find(&reading)?,
            Guard::PersonalData => personal_data::find(&name, &reading)?,
            Guard::Secrets => secrets::find(&name, &reading)?,
            Guard::Own(own) => match &own.looks {
                Looks::Patterns(patterns) => matched(patterns, &reading),
                Looks::Schema(_) => return Err(&HELD),
                Looks::Webhook(_) => return Err(&ASKED),
            },
        };
        // One thing is found in several readings.
        for (kind, count) in kinds {
            let known = found.entry(kind).or_default();
            *known = (*known).max(count);
        }
    }
    if *guard == Guard::Injection {
        injection::find_hidden(text, &mut found);
    }
    Ok(found)
}

static HELD: Fault = Fault::known("what a message says is held to a schema, and not each text of it");

static ASKED: Fault = Fault::known("what is to be found is asked of a webhook");

/// What matches the patterns of a policy's own guard.
fn matched(patterns: &[(Arc<str>, Pattern)], text: &str) -> Kinds {
    let mut found = Kinds::new();
    for (kind, pattern) in patterns {
        let count = pattern.count(text);
        if count > 0 {
            let known = found.entry(Cow::Owned(kind.to_string())).or_default();
            *known = known.saturating_add(count);
        }
    }
    found
}

#[cfg(test)]
mod tests;
