//! What members answered, as one answer: listings entry by entry under full names, and what each can do.

use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use vidimus_core::refusal::{Code, Refusal};

use super::super::listing::Listing;
use super::super::{HANDSHAKE, MODERN, versions};
use super::names::{full_name, full_uri};
use crate::protocol::members::{Changed, Members, quoted, text};

/// Where it stands in an answer which members are not in it.
const MEMBERS: &str = "dev.vidimus/members";
/// What JSON-RPC says of a method that a server does not have.
const NO_METHOD: &str = "-32601";
/// What it says of parameters that are wrong, whoever is asked.
const INVALID_PARAMS: &str = "-32602";
/// The capabilities that a server with members has where one of these has them, without what comes on the stream of a session.
const CAPABILITIES: [&str; 5] = ["completions", "logging", "prompts", "resources", "tools"];
/// The extension of 2026-07-28 for tasks.
const TASKS: &str = "io.modelcontextprotocol/tasks";

/// A member that did not answer, and why: in public words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Absent {
    pub member: Box<str>,
    pub code: Code,
    pub why: Box<str>,
}

impl Absent {
    /// As a refusal says it.
    pub fn of(member: &str, refusal: &Refusal) -> Self {
        Self { member: member.into(), code: refusal.code, why: refusal.message.as_ref().into() }
    }

    /// Where all have to answer.
    pub fn refusal(&self) -> Refusal {
        const NEXT: &str = "Look at the member that is named; with spec.whenDown: omit in the record of the server, the others answer without it.";
        if self.code == Code::ParamsInvalid {
            let message = format!("the member {:?} does not take this: {}", self.member, self.why);
            return Refusal::new(self.code, message);
        }
        let message = format!("the member {:?} does not answer: {}", self.member, self.why);
        Refusal::new(self.code, message).with_next(NEXT)
    }
}

/// The result of the answer to the question `id`, which came with this HTTP status; `None` of a member that has no such method.
///
/// # Errors
/// `params_invalid` where the member finds the caller's parameters wrong; `upstream_invalid` for what is no answer to it, or another error.
pub fn result<'t>(answer: &'t str, status: u16, id: &str) -> Result<Option<Members<'t>>, Refusal> {
    let whole = Members::unique(answer).map_err(unreadable)?;
    if whole.misspells(&["result", "error", "id"]) {
        return Err(no_answer());
    }
    if let Some(error) = whole.get("error") {
        let error = Members::unique(error.get()).map_err(unreadable)?;
        let code = error.get("code").map(RawValue::get).unwrap_or_default();
        if code == NO_METHOD {
            return Ok(None);
        }
        if code == INVALID_PARAMS {
            return Err(Refusal::new(Code::ParamsInvalid, "it finds the parameters wrong"));
        }
        let is_number = code.len() <= 8 && code.bytes().all(|byte| byte == b'-' || byte.is_ascii_digit());
        let message = format!("it answered with the error {}", if is_number { code } else { "of no number" });
        return Err(Refusal::new(Code::UpstreamInvalid, message));
    }
    let is_answer = status < 400 && whole.get("id").and_then(text).as_deref() == Some(id);
    let result = whole.object("result").map_err(unreadable)?.filter(|_| is_answer);
    result.map(Some).ok_or_else(no_answer)
}

/// What one member lists, under full names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Each as JSON.
    entries: Vec<String>,
    /// Where the member's next page begins.
    pub next: Option<String>,
    /// For how long it may be kept, ms.
    ttl: u64,
}

/// What a listing says, of which only what the caller may use is left.
///
/// # Errors
/// `upstream_invalid` for what is no such listing.
pub fn page(listing: Listing, member: &str, result: &Members<'_>) -> Result<Page, Refusal> {
    let (entries_at, name_at) = listing.members();
    if result.misspells(&[entries_at, "nextCursor"]) {
        return Err(no_answer());
    }
    let listed = result.get(entries_at).ok_or_else(no_answer)?;
    let listed: Vec<&RawValue> = serde_json::from_str(listed.get()).map_err(unreadable)?;
    let mut page = Page::default();
    for entry in listed {
        let members = Members::unique(entry.get()).map_err(unreadable)?;
        let Some(own) = members.get(name_at).and_then(text) else { continue };
        let full = match listing {
            Listing::Tools | Listing::Prompts => full_name(member, &own),
            Listing::Resources | Listing::ResourceTemplates => Some(full_uri(member, &own)),
        };
        // One whose full name is longer than a name may be cannot be called, so it is not shown.
        let Some(full) = full else { continue };
        let mut changed = Changed::default();
        changed.put(name_at, quoted(&full));
        if listing == Listing::Tools {
            changed.put_some("_meta", shown(&members, member)?);
        }
        page.entries.extend(changed.of(&members));
    }
    let next = result.get("nextCursor").filter(|next| next.get() != "null");
    let next = next.map(|next| text(next).ok_or_else(no_answer)).transpose()?;
    page.next = next.filter(|next| !next.is_empty());
    page.ttl = result.get("ttlMs").and_then(|ttl| ttl.get().parse().ok()).unwrap_or_default();
    Ok(page)
}

/// Where a tool says by which resource a host shows what it answers: as MCP Apps has it, as drafts of it had, and as hosts did before.
const SHOWN_BY: [&str; 2] = ["ui/resourceUri", "openai/outputTemplate"];

/// What is said about a tool beside it, with the resource that shows its answers by its full URI; `None` where none is named.
fn shown(tool: &Members<'_>, member: &str) -> Result<Option<String>, Refusal> {
    let Some(meta) = tool.object("_meta").map_err(unreadable)? else { return Ok(None) };
    let full = |uri: Option<&RawValue>| Some(quoted(&full_uri(member, &text(uri?)?)));
    let mut changed = Changed::default();
    for name in SHOWN_BY {
        changed.put_some(name, full(meta.get(name)));
    }
    if let Some(ui) = meta.object("ui").map_err(unreadable)? {
        changed.put_some("ui", full(ui.get("resourceUri")).map(|uri| ui.write("resourceUri", &uri)));
    }
    Ok(changed.of(&meta))
}

/// One listing of all. `next` is where the caller's next page begins.
pub fn listing(
    listing: Listing,
    pages: &[Page],
    absent: &[Absent],
    (is_modern, next): (bool, Option<&str>),
) -> String {
    let (entries_at, _) = listing.members();
    let entries: Vec<&str> = pages.iter().flat_map(|page| &page.entries).map(String::as_str).collect();
    let mut result = format!(r#"{{{}:[{}]"#, quoted(entries_at), entries.join(","));
    if let Some(next) = next {
        result.push_str(&format!(r#","nextCursor":{}"#, quoted(next)));
    }
    if is_modern {
        // It is of this caller alone, and of members that answered.
        let ttl = pages.iter().map(|page| page.ttl).min().filter(|_| absent.is_empty()).unwrap_or_default();
        result.push_str(&format!(r#","resultType":"complete","cacheScope":"private","ttlMs":{ttl}"#));
    }
    if let Some(meta) = meta(absent) {
        result.push_str(&format!(r#","_meta":{meta}"#));
    }
    result.push('}');
    result
}

/// What a member says of itself at the beginning.
#[derive(Clone, Debug, PartialEq)]
pub struct Introduced {
    /// Of a handshake, the version that it chose.
    pub version: Option<&'static str>,
    capabilities: Value,
    instructions: Option<String>,
}

/// Reads the result of `initialize` or of `server/discover`.
///
/// # Errors
/// `upstream_invalid` for what is neither, `protocol_version_unsupported` for a version that is not served here.
pub fn introduced(result: &Members<'_>) -> Result<Introduced, Refusal> {
    let value = |member| result.get(member).and_then(|value| serde_json::from_str::<Value>(value.get()).ok());
    let served: Vec<Value> =
        value("supportedVersions").and_then(|all| all.as_array().cloned()).unwrap_or_default();
    let chosen = value("protocolVersion");
    let version =
        HANDSHAKE.into_iter().find(|version| chosen.as_ref().is_some_and(|chosen| chosen == version));
    if version.is_none() && !served.iter().any(|one| one == MODERN) {
        let message = "it speaks no version of the protocol that is spoken here";
        return Err(Refusal::new(Code::ProtocolVersionUnsupported, message));
    }
    let instructions = value("instructions").and_then(|text| text.as_str().map(str::to_owned));
    let instructions = instructions.filter(|text| !text.trim().is_empty());
    Ok(Introduced { version, capabilities: value("capabilities").unwrap_or_default(), instructions })
}

/// The result of `initialize`, in the version that all speak.
pub fn initialized(name: &str, version: &str, members: &[(&str, Introduced)], absent: &[Absent]) -> Value {
    let mut result = json!({
        "protocolVersion": version,
        "capabilities": capabilities(members),
        "serverInfo": server_info(name),
    });
    describe(&mut result, members, absent);
    result
}

/// The result of `server/discover`. The versions are those that a server with members answers in, as who asks in another one is told too; a member
/// that does not speak one is not there in that.
pub fn discovered(name: &str, members: &[(&str, Introduced)], absent: &[Absent]) -> Value {
    let mut result = json!({
        "supportedVersions": versions::SERVED,
        "capabilities": capabilities(members),
        "resultType": "complete",
        "cacheScope": "private",
        "ttlMs": 0,
        "_meta": {"io.modelcontextprotocol/serverInfo": server_info(name)},
    });
    describe(&mut result, members, absent);
    result
}

/// What is said of the members in words, and which are not there.
fn describe(result: &mut Value, members: &[(&str, Introduced)], absent: &[Absent]) {
    let said = members.iter().filter_map(|(name, member)| {
        // As JSON, so on one line: what one of them says of another stays within its own words.
        let instructions = quoted(member.instructions.as_deref()?);
        Some(format!("What begins with {name}__ is of {name}, which says: {instructions}"))
    });
    let missing =
        absent.iter().map(|one| format!("{} is not there now ({}).", one.member, one.code.as_str()));
    let said: Vec<String> = said.chain(missing).collect();
    let Some(result) = result.as_object_mut() else { return };
    if !said.is_empty() {
        result.insert("instructions".to_owned(), json!(said.join("\n\n")));
    }
    if let Some(Value::Object(meta)) = meta(absent) {
        let all = result.entry("_meta").or_insert_with(|| json!({}));
        all.as_object_mut().into_iter().for_each(|all| all.extend(meta.clone()));
    }
}

/// What one of them can do. News of lists and of resources come on the stream of a session, and lists of tasks say whose none is.
fn capabilities(members: &[(&str, Introduced)]) -> Value {
    let mut all = Map::new();
    for given in members.iter().map(|(_, member)| &member.capabilities) {
        for name in CAPABILITIES.into_iter().filter(|name| given.get(name).is_some_and(Value::is_object)) {
            all.entry(name).or_insert_with(|| json!({}));
        }
        if let Some(tasks) = given.get("tasks").and_then(Value::as_object) {
            let kept: Map<_, _> = tasks.iter().filter(|(name, _)| *name != "list").map(cloned).collect();
            all.entry("tasks").or_insert(Value::Object(kept));
        }
        if let Some(tasks) = given.get("extensions").and_then(|all| all.get(TASKS)) {
            all.entry("extensions").or_insert_with(|| json!({TASKS: tasks}));
        }
    }
    Value::Object(all)
}

fn cloned((name, value): (&String, &Value)) -> (String, Value) {
    (name.clone(), value.clone())
}

/// The result of what all are told, such as from which level on they log.
pub fn done(absent: &[Absent]) -> Value {
    meta(absent).map_or_else(|| json!({}), |meta| json!({"_meta": meta}))
}

fn meta(absent: &[Absent]) -> Option<Value> {
    let one = |one: &Absent| json!({"member": one.member, "code": one.code.as_str(), "reason": one.why});
    (!absent.is_empty()).then(|| json!({MEMBERS: {"absent": absent.iter().map(one).collect::<Vec<_>>()}}))
}

fn server_info(name: &str) -> Value {
    json!({"name": name, "version": env!("CARGO_PKG_VERSION")})
}

fn no_answer() -> Refusal {
    Refusal::new(Code::UpstreamInvalid, "its answer is none of its protocol")
}

fn unreadable(error: serde_json::Error) -> Refusal {
    no_answer().with_detail(error)
}

#[cfg(test)]
mod tests;
