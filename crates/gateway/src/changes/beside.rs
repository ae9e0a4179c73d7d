//! What a server says on a stream that is no call's own, where something is redacted of what its tools answer. A log message, a progress or a
//! question says nothing of the call that it is of, and may say what is redacted. So does any member that the gateway does not read: what passes
//! is made anew, of what is known to have no words, and but for a plain id of a question nothing goes on as the server wrote it.

use serde_json::value::RawValue;
use vidimus_core::refusal::Refusal;

use super::answer::{self, Own, bare_task, is_same, unread};
use super::unmet;
use crate::protocol::event::{self, Change, Rewrite};
use crate::protocol::members::{Members, quoted, text};

/// What is told without saying more than that.
const CHANGED: [&str; 3] = [
    "notifications/prompts/list_changed",
    "notifications/resources/list_changed",
    "notifications/tools/list_changed",
];
/// News of a task.
const TASKS: [&str; 2] = ["notifications/tasks", "notifications/tasks/status"];
/// Which resource changed.
const UPDATED: &str = "notifications/resources/updated";
/// Which of what was asked to be told a server tells (MCP 2026-07-28, "Subscriptions").
const ACKNOWLEDGED: &str = "notifications/subscriptions/acknowledged";
/// What of that is either true or false.
const ACKNOWLEDGED_LISTS: [&str; 3] = ["promptsListChanged", "resourcesListChanged", "toolsListChanged"];
/// The member of `_meta` that has the id of the `subscriptions/listen` by which something is told.
const SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";

/// What is asked and passes: its method says all of it.
const QUESTIONS: [&str; 2] = ["ping", "roots/list"];
/// The longest id of a question that is a text, in bytes. The id has to pass as it came, since the client answers by it.
const LONGEST_ID: usize = 12;

/// An event of such a stream without what may be of a call whose answer is redacted. `own` is what in it is not the server's, and `resource`
/// the one that the stream was asked for.
///
/// # Errors
/// `change_impossible` for what cannot be read, and for what asks something in words: it waits for an answer, so it cannot be left out.
pub fn without_words(event: &[u8], own: &Own, resource: Option<&str>) -> Result<Vec<u8>, Refusal> {
    event::bare(event, &mut Beside { own, resource })
}

/// The same of what answers by a document where a stream was asked for. What does not pass leaves nothing.
///
/// # Errors
/// As [`without_words`].
pub fn document_without_words(text: &str, own: &Own, resource: Option<&str>) -> Result<String, Refusal> {
    Ok(match (Beside { own, resource }).data(text)? {
        Change::To(made) => made,
        Change::Drop | Change::Same => String::new(),
    })
}

struct Beside<'a> {
    own: &'a Own,
    resource: Option<&'a str>,
}

impl Rewrite for Beside<'_> {
    fn data(&mut self, data: &str) -> Result<Change, Refusal> {
        if data.trim().is_empty() {
            return Ok(Change::To(String::new()));
        }
        let message = Members::unique(data).map_err(unread)?;
        let made = match message.get("method").map(|method| text(method).unwrap_or_default()) {
            None => self.answer(&message)?,
            Some(method) => match message.get("id").filter(|id| id.get() != "null") {
                None => self.notice(&method, &message)?,
                Some(id) => Some(question(&method, id)?),
            },
        };
        Ok(made.map_or(Change::Drop, Change::To))
    }

    fn id(&mut self, _id: &str) -> Result<Option<String>, Refusal> {
        Ok(None)
    }
}

impl Beside<'_> {
    /// What is told, made anew; `None` where it does not pass.
    fn notice(&self, method: &str, message: &Members<'_>) -> Result<Option<String>, Refusal> {
        let params = message.object("params").map_err(unread)?.unwrap_or(Members(Vec::new()));
        let mut said = Vec::new();
        match method {
            // That a list changed has no params of its own.
            method if CHANGED.contains(&method) => {}
            method if TASKS.contains(&method) => {
                // What has no id that the gateway sealed was not read as news of a task.
                let id = params.get("taskId").and_then(text).filter(|id| (self.own.is_task)(id));
                return Ok(id.map(|id| told(method, &bare_task(&params, &id))));
            }
            UPDATED => {
                let uri = params.get("uri").and_then(text);
                // Which resources a session subscribed to is not known here.
                let Some(asked) = self.resource.filter(|asked| uri.as_deref() == Some(*asked)) else {
                    return Ok(None);
                };
                said.push(("uri", quoted(asked)));
            }
            ACKNOWLEDGED if self.own.id.is_some() => {
                said.push(("notifications", self.acknowledged(&params)?));
            }
            _ => return Ok(None),
        }
        said.extend(self.subscription(&params)?);
        let params = (!said.is_empty()).then(|| object(&said));
        Ok(Some(params.map_or_else(|| object(&head(method)), |params| told(method, &params))))
    }

    /// What a server says that it tells of what was asked for.
    fn acknowledged(&self, params: &Members<'_>) -> Result<String, Refusal> {
        let Some(named) = params.object("notifications").map_err(unread)? else { return Ok(object(&[])) };
        let lists = ACKNOWLEDGED_LISTS.into_iter().filter_map(|list| {
            let said = named.get(list)?.get();
            matches!(said, "true" | "false").then(|| (list, said.to_owned()))
        });
        let mut said: Vec<_> = lists.collect();
        if let (Some(asked), Some(uris)) = (self.resource, named.get("resourceSubscriptions")) {
            let uris: Vec<String> = serde_json::from_str(uris.get()).map_err(unread)?;
            if uris.iter().any(|uri| uri == asked) {
                said.push(("resourceSubscriptions", format!("[{}]", quoted(asked))));
            }
        }
        Ok(object(&said))
    }

    /// That something is said by the subscription that the stream is of: by the caller's own id, or not at all.
    fn subscription(&self, of: &Members<'_>) -> Result<Option<(&'static str, String)>, Refusal> {
        let Some(own) = self.own.id.as_deref() else { return Ok(None) };
        let meta = of.object("_meta").map_err(unread)?;
        let is_own =
            meta.is_some_and(|meta| meta.get(SUBSCRIPTION).is_some_and(|said| is_same(said.get(), own)));
        Ok(is_own.then(|| ("_meta", object(&[(SUBSCRIPTION, own.to_owned())]))))
    }

    /// The answer to what the stream was asked by, which says that it is over. What answers anything else is of a call that nobody made here, and
    /// an error without an id may be of a redacted one.
    fn answer(&self, message: &Members<'_>) -> Result<Option<String>, Refusal> {
        let answers = |own: &&str| message.get("id").is_some_and(|id| is_same(id.get(), own));
        let Some(own) = self.own.id.as_deref().filter(answers) else { return Ok(None) };
        let said = if message.get("error").is_some() {
            let code = answer::SERVER_ERROR.to_string();
            ("error", object(&[("code", code), ("message", quoted(answer::ERROR))]))
        } else {
            const KIND: &str = "resultType";
            const COMPLETE: &str = r#""complete""#;
            let result = message.object("result").map_err(unread)?.unwrap_or(Members(Vec::new()));
            let is_complete = result.get(KIND).is_some_and(|kind| kind.get() == COMPLETE);
            let mut said: Vec<_> = is_complete.then(|| (KIND, COMPLETE.to_owned())).into_iter().collect();
            said.extend(self.subscription(&result)?);
            ("result", object(&said))
        };
        Ok(Some(object(&[version(), ("id", own.to_owned()), said])))
    }
}

/// What is asked, made anew.
fn question(method: &str, id: &RawValue) -> Result<String, Refusal> {
    if !QUESTIONS.contains(&method) {
        return Err(unmet(
            "a policy redacts what tools of this server answer, and it asks something on a stream of no call, which may say the same",
        ));
    }
    if !is_plain(id.get()) {
        return Err(unmet(
            "a policy redacts what tools of this server answer, and it asks something on a stream of no call by an id that may say the same; \
             a number of 32 bits passes, and so do 12 letters and digits",
        ));
    }
    Ok(object(&[version(), ("id", id.get().to_owned()), ("method", quoted(method))]))
}

/// Whether an id, as JSON, counts or names requests and no more.
fn is_plain(id: &str) -> bool {
    let is_of_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b':');
    match id.strip_prefix('"').and_then(|id| id.strip_suffix('"')) {
        Some(id) => (1..=LONGEST_ID).contains(&id.len()) && id.bytes().all(is_of_name),
        None => id.parse::<u32>().is_ok(),
    }
}

fn version() -> (&'static str, String) {
    ("jsonrpc", quoted("2.0"))
}

fn head(method: &str) -> [(&'static str, String); 2] {
    [version(), ("method", quoted(method))]
}

/// A notification with these params, which are JSON.
fn told(method: &str, params: &str) -> String {
    let [version, method] = head(method);
    object(&[version, method, ("params", params.to_owned())])
}

/// An object of these members, whose values are JSON.
fn object(members: &[(&str, String)]) -> String {
    let members: Vec<String> =
        members.iter().map(|(name, value)| format!("{}:{value}", quoted(name))).collect();
    format!("{{{}}}", members.join(","))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    const LISTS: &str = "notifications/tools/list_changed";

    /// What comes of an event of a stream of `id` for this resource; `None` where its stream ends.
    fn passed(event: &str, id: Option<&str>, resource: Option<&str>) -> Option<String> {
        let own = Own { id: id.map(Into::into), is_task: Arc::new(|id| id == "sealed") };
        let passed = without_words(event.as_bytes(), &own, resource);
        if let Err(refusal) = &passed {
            assert!(!refusal.to_string().contains("4111"), "{refusal}");
        }
        passed.ok().map(|bytes| String::from_utf8(bytes).expect("text"))
    }

    /// Attack: the words of a redacted answer in what a server says beside it.
    #[test]
    fn of_a_stream_that_is_no_calls_own_what_has_no_words_passes() {
        let changed = format!("data: {{\"jsonrpc\":\"2.0\",\"method\":\"{LISTS}\"}}\n\n");
        let ping = |id: &str| format!("data: {{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"ping\"}}\n\n");
        for (event, expected) in [
            (": 4111\n\n", Some(":\n\n")),
            ("event: 4111\nretry: 4111\nid: 1\ndata: \n\n", Some("id: 1\ndata: \n\n")),
            ("data: {\"method\":\"notifications/message\",\"params\":{\"data\":\"4111\"}}\n\n", Some("")),
            ("data: {\"method\":\"notifications/progress\",\"params\":{\"message\":\"4111\"}}\n\n", Some("")),
            ("data: {\"method\":\"notifications/4111\"}\n\n", Some("")),
            ("data: {\"id\":null,\"error\":{\"code\":1,\"message\":\"4111\"}}\n\n", Some("")),
            (&*format!("data: {{\"method\":\"{LISTS}\"}}\n\n"), Some(&*changed)),
            // Attack: words in what is read by nobody.
            (
                &*format!(
                    "data: {{\"4111\":1,\"jsonrpc\":\"4111\",\"method\":\"{LISTS}\",\"params\":{{\"x\":\"4111\",\"_meta\":{{\"x\":4111}}}},\"result\":4111}}\n\n"
                ),
                Some(&*changed),
            ),
            ("data: {\"id\":7,\"method\":\"ping\"}\n\n", Some(&*ping("7"))),
            (
                "data: {\"id\":7,\"method\":\"ping\",\"params\":{\"x\":\"4111\"},\"x\":\"4111\",\"error\":4111}\n\n",
                Some(&*ping("7")),
            ),
            ("data: {\"id\":\"a1b2c3d4-0\",\"method\":\"ping\"}\n\n", Some(&*ping("\"a1b2c3d4-0\""))),
            ("data: {\"id\":\"the card is 4111\",\"method\":\"ping\"}\n\n", None),
            ("data: {\"id\":4111111111111111,\"method\":\"ping\"}\n\n", None),
            ("data: {\"id\":0.4111,\"method\":\"ping\"}\n\n", None),
            ("data: {\"id\":{\"x\":4111},\"method\":\"ping\"}\n\n", None),
            ("data: {\"id\":\"\\u0034111\",\"method\":\"ping\"}\n\n", None),
            // Nobody asked by this id on this stream.
            ("data: {\"id\":7,\"result\":{\"x\":4111}}\n\n", Some("")),
            ("data: {\"id\":\"4111\",\"error\":{\"code\":4111,\"message\":\"4111\"}}\n\n", Some("")),
            ("data: {\"x\":4111}\n\n", Some("")),
            // Which resources a session subscribed to is not known.
            (
                "data: {\"method\":\"notifications/resources/updated\",\"params\":{\"uri\":\"u://4111\"}}\n\n",
                Some(""),
            ),
            (
                "data: {\"method\":\"notifications/subscriptions/acknowledged\",\"params\":{\"x\":4111}}\n\n",
                Some(""),
            ),
            (
                "data: {\"id\":7,\"method\":\"elicitation/create\",\"params\":{\"message\":\"4111\"}}\n\n",
                None,
            ),
            ("data: {\"id\":7,\"method\":\"ping\",\"Method\":\"x\"}\n\n", None),
            ("data: [{\"id\":7,\"method\":\"ping\"}]\n\n", None),
            ("data: 4111\n\n", None),
        ] {
            assert_eq!(passed(event, None, None).as_deref(), expected, "{event}");
        }
    }

    /// Attack: a task that was not read as one, and words in members of one that was.
    #[test]
    fn of_a_task_its_sealed_id_and_how_it_is_pass() {
        let news = |id: &str, more: &str| {
            format!(
                "data: {{\"method\":\"notifications/tasks\",\"params\":{{\"taskId\":\"{id}\",\"status\":\"working\",\"x\":\"4111\",\"statusMessage\":\"4111\"}}{more}}}\n\n"
            )
        };
        let bare = "data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/tasks\",\"params\":{\"taskId\":\"sealed\",\"status\":\"working\",\"statusMessage\":\"[redacted]\"}}\n\n";
        for (event, expected) in [
            (news("sealed", ""), bare),
            (news("sealed", ",\"result\":{\"x\":4111}"), bare),
            (news("4111", ",\"result\":{}"), ""),
            ("data: {\"method\":\"notifications/tasks\",\"params\":4111}\n\n".to_owned(), ""),
        ] {
            assert_eq!(passed(&event, None, None).as_deref(), Some(expected), "{event}");
        }
    }

    /// On the stream of a subscription passes what was asked for, by the caller's own words.
    #[test]
    fn of_a_subscription_what_was_asked_for_passes_by_the_callers_own_words() {
        let meta = |id: &str| format!("\"_meta\":{{\"{SUBSCRIPTION}\":{id}}}");
        let own = meta("\"listen:0\"");
        let told = |method: &str, params: &str| {
            format!("data: {{\"jsonrpc\":\"2.0\",\"method\":\"{method}\",\"params\":{{{params}}}}}\n\n")
        };
        let bare = |method: &str| format!("data: {{\"jsonrpc\":\"2.0\",\"method\":\"{method}\"}}\n\n");
        let answer = |said: &str| format!("data: {{\"jsonrpc\":\"2.0\",\"id\":\"listen:0\",{said}}}\n\n");
        let more = format!("{own},\"x\":\"4111\"");
        for (event, expected) in [
            (told(LISTS, &more), told(LISTS, &own)),
            (told(LISTS, &meta("\"4111\"")), bare(LISTS)),
            (
                told(UPDATED, &format!("\"uri\":\"u://a\",\"title\":\"4111\",{own}")),
                told(UPDATED, &format!("\"uri\":\"u://a\",{own}")),
            ),
            (told(UPDATED, &format!("\"uri\":\"u://4111\",{own}")), String::new()),
            (
                told(
                    ACKNOWLEDGED,
                    &format!(
                        "\"notifications\":{{\"toolsListChanged\":true,\"promptsListChanged\":\"4111\",\"4111\":true,\"resourceSubscriptions\":[\"u://4111\",\"u://a\"],\"taskIds\":[\"4111\"]}},{more}"
                    ),
                ),
                told(
                    ACKNOWLEDGED,
                    &format!(
                        "\"notifications\":{{\"toolsListChanged\":true,\"resourceSubscriptions\":[\"u://a\"]}},{own}"
                    ),
                ),
            ),
            (told(ACKNOWLEDGED, "\"x\":4111"), told(ACKNOWLEDGED, "\"notifications\":{}")),
            (
                answer(&format!("\"result\":{{\"resultType\":\"complete\",{more}}},\"x\":4111")),
                answer(&format!("\"result\":{{\"resultType\":\"complete\",{own}}}")),
            ),
            (answer("\"result\":{\"resultType\":\"4111\"}"), answer("\"result\":{}")),
            (
                answer("\"error\":{\"code\":4111,\"message\":\"4111\",\"data\":4111}"),
                answer(&format!("\"error\":{{\"code\":-32000,\"message\":{}}}", quoted(answer::ERROR))),
            ),
            ("data: {\"id\":\"listen:1\",\"result\":{\"x\":4111}}\n\n".to_owned(), String::new()),
        ] {
            let passed = passed(&event, Some("\"listen:0\""), Some("u://a"));
            assert_eq!(passed.as_deref(), Some(&*expected), "{event}");
        }
    }
}
