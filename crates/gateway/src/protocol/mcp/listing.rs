//! Listings, filtered: an entry that the caller may not use is taken out; every other byte of it stays as it came.

use serde_json::Value;
use serde_json::value::RawValue;
use vidimus_core::refusal::{Code, Refusal};

use crate::protocol::members::Members;
use crate::protocol::{MAX_NAME, MAX_URI, is_same_member};

/// The MCP listings that are filtered, by what their entries are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listing {
    Tools,
    Resources,
    ResourceTemplates,
    Prompts,
}

impl Listing {
    const ALL: [Self; 4] = [Self::Tools, Self::Resources, Self::ResourceTemplates, Self::Prompts];

    /// The method that asks for it.
    pub const fn method(self) -> &'static str {
        match self {
            Self::Tools => "tools/list",
            Self::Resources => "resources/list",
            Self::ResourceTemplates => "resources/templates/list",
            Self::Prompts => "prompts/list",
        }
    }

    /// The listing that a method asks for.
    pub fn of(method: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|listing| listing.method() == method)
    }

    /// The member of `result` that holds the entries, and the member of an entry that names it.
    pub const fn members(self) -> (&'static str, &'static str) {
        match self {
            Self::Tools => ("tools", "name"),
            Self::Resources => ("resources", "uri"),
            Self::ResourceTemplates => ("resourceTemplates", "uriTemplate"),
            Self::Prompts => ("prompts", "name"),
        }
    }

    /// The length in bytes of the longest name by which an entry can be called.
    const fn max_name(self) -> usize {
        match self {
            Self::Tools | Self::Prompts => MAX_NAME,
            Self::Resources | Self::ResourceTemplates => MAX_URI,
        }
    }
}

/// Filters one JSON-RPC message: `keep` is asked of each entry, by its name and as it stands. A message without that listing in its `result` (an error, a notification) stays as it is.
///
/// # Errors
/// `upstream_invalid` when it cannot be read, when a key appears twice, or when a listing stands where it is not filtered: what cannot
/// be filtered is not shown.
pub fn filter(
    message: &str,
    listing: Listing,
    keep: &mut dyn FnMut(&str, &str) -> bool,
) -> Result<String, Refusal> {
    let (entries_at, name_at) = listing.members();
    let whole = members(message)?;
    check_places(&whole)?;
    let Some(result) = whole.get("result") else { return Ok(message.to_owned()) };
    let mut result = members(result.get())?;
    let Some(entries) = result.get(entries_at) else { return Ok(message.to_owned()) };
    let entries: Vec<&RawValue> = serde_json::from_str(entries.get()).map_err(unreadable)?;
    let mut kept = String::from("[");
    for entry in entries {
        let entry_members = members(entry.get())?;
        let name = entry_members.get(name_at).map(|name| serde_json::from_str::<String>(name.get()));
        let name = name.transpose().map_err(unreadable)?;
        // Who reads a name in another spelling would see an entry that was not asked about.
        let name = name.filter(|_| !entry_members.misspells(&[name_at]));
        // An entry without a name, or with one too long for a call, cannot be called, so nobody may call it.
        if name.is_some_and(|name| (1..=listing.max_name()).contains(&name.len()) && keep(&name, entry.get()))
        {
            if kept.len() > 1 {
                kept.push(',');
            }
            kept.push_str(entry.get());
        }
    }
    kept.push(']');
    // What one caller may see is not what the next may (2026-07-28, caching).
    let private = serde_json::value::to_raw_value("private").map_err(unreadable)?;
    for (key, value) in &mut result.0 {
        if key == "cacheScope" {
            *value = &private;
        }
    }
    Ok(whole.write("result", &result.write(entries_at, &kept)))
}

/// Filters one message, whatever listings it holds. `None` when it holds none, so that it stays as it came.
///
/// # Errors
/// As [`filter`]. Data that is no JSON-RPC message, such as a keep-alive of the upstream's own making, is no listing.
pub fn filter_any(
    message: &str,
    read: &Read<'_>,
    keep: &mut dyn FnMut(Listing, &str, &str) -> bool,
) -> Result<Option<String>, Refusal> {
    filter_each(message, read.listings(), keep)
}

/// Filters what listings a message holds besides `asked`, which was filtered.
///
/// # Errors
/// As [`filter`].
pub fn filter_others(
    message: &str,
    asked: Listing,
    keep: &mut dyn FnMut(Listing, &str, &str) -> bool,
) -> Result<Option<String>, Refusal> {
    let others = read(message)?.listings().into_iter().filter(|listing| *listing != asked).collect();
    filter_each(message, others, keep)
}

fn filter_each(
    message: &str,
    listings: Vec<Listing>,
    keep: &mut dyn FnMut(Listing, &str, &str) -> bool,
) -> Result<Option<String>, Refusal> {
    let mut filtered = None;
    for listing in listings {
        let message: &str = filtered.as_deref().unwrap_or(message);
        filtered = Some(filter(message, listing, &mut |name, entry| keep(listing, name, entry))?);
    }
    Ok(filtered)
}

/// A message, as far as it is read to find what is in it.
#[derive(Debug)]
pub struct Read<'m> {
    pub whole: Members<'m>,
    /// The members of its result, where that is an object.
    pub result: Option<Members<'m>>,
}

/// Reads a message.
///
/// # Errors
/// As [`filter`].
pub fn read(message: &str) -> Result<Read<'_>, Refusal> {
    let whole = members(message)?;
    check_places(&whole)?;
    let result = whole.object("result").map_err(unreadable)?;
    Ok(Read { whole, result })
}

impl Read<'_> {
    /// The listings that it has in its `result`.
    fn listings(&self) -> Vec<Listing> {
        let Some(result) = &self.result else { return Vec::new() };
        let has = |listing: &Listing| {
            result.get(listing.members().0).is_some_and(|entries| entries.get().starts_with('['))
        };
        Listing::ALL.into_iter().filter(has).collect()
    }
}

/// That a message has no listing but where it is filtered: not in another spelling of `result` or of a listing's own name, and not in
/// an error, which some servers make of what they have.
fn check_places(whole: &Members<'_>) -> Result<(), Refusal> {
    let elsewhere = || {
        let message = "the upstream's answer has a listing where none belongs, so it cannot be filtered";
        Err(Refusal::new(Code::UpstreamInvalid, message))
    };
    if whole.misspells(&["result", "error"]) {
        return elsewhere();
    }
    if let Some(result) = whole.get("result").filter(|result| result.get().starts_with('{')) {
        let names = Listing::ALL.map(|listing| listing.members().0);
        if members(result.get())?.misspells(&names) {
            return elsewhere();
        }
    }
    match whole.get("error") {
        Some(error) if has_listing(&serde_json::from_str(error.get()).map_err(unreadable)?) => elsewhere(),
        _ => Ok(()),
    }
}

/// Whether a listing is somewhere within a value: a list with entries as a listing has them, under its name in any spelling.
fn has_listing(value: &Value) -> bool {
    match value {
        Value::Array(values) => values.iter().any(has_listing),
        Value::Object(object) => object.iter().any(|(key, value)| {
            let is_one = Listing::ALL.iter().any(|listing| {
                let (entries_at, name_at) = listing.members();
                let is_entry = |entry: &Value| {
                    let mut keys = entry.as_object().into_iter().flat_map(|entry| entry.keys());
                    keys.any(|key| is_same_member(key, name_at))
                };
                is_same_member(key, entries_at)
                    && value.as_array().is_some_and(|all| all.iter().any(is_entry))
            });
            is_one || has_listing(value)
        }),
        _ => false,
    }
}

fn members(json: &str) -> Result<Members<'_>, Refusal> {
    Members::unique(json).map_err(unreadable)
}

fn unreadable(error: serde_json::Error) -> Refusal {
    Refusal::new(Code::UpstreamInvalid, "the upstream's listing could not be read").with_detail(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = r#"{"jsonrpc":"2.0","id":7,"result":{"ttlMs":5,"cacheScope":"public","tools":[{"name":"a","x":1.50},{"name":"b"},{"title":"nameless"}],"nextCursor":"c"}}"#;

    #[test]
    fn only_kept_entries_stay_and_the_rest_is_byte_for_byte() {
        let filtered = filter(LIST, Listing::Tools, &mut |name, _| name == "a").expect("readable");
        assert_eq!(
            filtered,
            r#"{"jsonrpc":"2.0","id":7,"result":{"ttlMs":5,"cacheScope":"private","tools":[{"name":"a","x":1.50}],"nextCursor":"c"}}"#
        );
    }

    #[test]
    fn errors_pass() {
        let error = r#"{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"x"}}"#;
        assert_eq!(filter(error, Listing::Tools, &mut |_, _| false).as_deref(), Ok(error));
    }

    #[test]
    fn an_error_that_names_what_is_missing_passes_and_an_entry_with_two_names_does_not() {
        let error = r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32021,"message":"x","data":{"requiredCapabilities":{"sampling":{"tools":{}}}}}}"#;
        assert_eq!(filter(error, Listing::Tools, &mut |_, _| true).as_deref(), Ok(error));
        let list = r#"{"result":{"tools":[{"name":"a","Name":"secret"},{"NAME":"secret"}]}}"#;
        let refused = filter(list, Listing::Tools, &mut |_, _| true).map_err(|refusal| refusal.code);
        assert_eq!(refused, Err(Code::UpstreamInvalid));
    }

    #[test]
    fn what_cannot_be_called_is_not_shown() {
        for (listing, member, longest) in
            [(Listing::Tools, "name", MAX_NAME), (Listing::Resources, "uri", MAX_URI)]
        {
            for (length, shown) in [(0, false), (1, true), (longest, true), (longest + 1, false)] {
                let entry = format!(r#"{{"{member}":"{}"}}"#, "x".repeat(length));
                let list = format!(r#"{{"result":{{"{}":[{entry}]}}}}"#, listing.members().0);
                let filtered = filter(&list, listing, &mut |_, _| true).expect("readable");
                assert_eq!(filtered.contains(&entry), shown, "{listing:?} {length}");
            }
        }
    }

    #[test]
    fn what_could_hide_an_entry_is_refused() {
        for bad in [
            r#"{"result":{"tools":[{"name":"a","name":"b"}]}}"#,
            r#"{"result":{"tools":[],"tools":[{"name":"b"}]}}"#,
            r#"{"result":{"tools":{"name":"b"}}}"#,
            r#"{"result":{"tools":[{"name":7}]}}"#,
            r#"{"Result":{"tools":[{"name":"b"}]}}"#,
            r#"{"result":{"Tools":[{"name":"b"}]}}"#,
            r#"{"result":{"tools":[],"TOOLS":[{"name":"b"}]}}"#,
            r#"{"result":{"resource_templates":[{"uriTemplate":"b"}]}}"#,
            r#"{"error":{"code":1,"message":"","data":{"tools":[{"name":"b"}]}}}"#,
            r#"{"error":{"code":1,"message":"","data":[{"result":{"Prompts":[{"Name":"b"}]}}]}}"#,
            r#"{"ERROR":{"code":1,"data":{"tools":[{"name":"b"}]}}}"#,
            r#"{"result":"#,
        ] {
            let refused = filter(bad, Listing::Tools, &mut |_, _| true);
            assert_eq!(refused.map_err(|r| r.code), Err(Code::UpstreamInvalid), "{bad}");
        }
    }
}
