//! What guards find in a text (ADR 77): pure, without I/O, in time that is linear in the text. A text is read as it stands, and in the other
//! spellings in which a reader might take it ([`readings()`]): what is hidden by invisible or foreign letters, escapes or base64 is found all the same.
//!
//! Every rule is deterministic, and says its kind. What was found is never given away, only how often.

mod injection;
mod patterns;
mod personal_data;
mod readings;
mod secrets;

use vidimus_core::guard::{Guard, Kinds};

pub use patterns::Fault;
pub use readings::readings;

/// What a guard finds in one value: how often each kind. `name` is that of the member which has the value, or empty: a password is told by it.
///
/// # Errors
/// Where the rules could not be compiled, which a test excludes: nothing is known of the text.
pub fn find(guard: Guard, name: &str, text: &str) -> Result<Kinds, &'static Fault> {
    let mut found = Kinds::new();
    for reading in readings(text) {
        let kinds = match guard {
            Guard::Injection => injection::find(&reading)?,
            Guard::PersonalData => personal_data::find(&reading)?,
            Guard::Secrets => secrets::find(name, &reading)?,
        };
        // One thing is found in several readings.
        for (kind, count) in kinds {
            let known = found.entry(kind).or_default();
            *known = (*known).max(count);
        }
    }
    if guard == Guard::Injection {
        injection::find_hidden(text, &mut found);
    }
    Ok(found)
}

#[cfg(test)]
mod tests;
