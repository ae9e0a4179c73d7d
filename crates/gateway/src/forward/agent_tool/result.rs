//! What an agent answers, as the result of a tool: its parts as content, and where to go on as structure.

use serde_json::{Map, Value, json};

/// The longest text that is told of progress, in characters.
const LONGEST: usize = 1_000;

/// Most artifacts of a result: each is looked for among those before it. Further ones are left out.
const MOST_ARTIFACTS: usize = 1_000;

/// The member at this place. One that is null is not there, as in protobuf's JSON.
fn there<'v>(value: &'v Value, at: &str) -> Option<&'v Value> {
    value.pointer(at).filter(|value| !value.is_null())
}

/// The result of a call, of a response of JSON-RPC.
pub(super) fn of_answer(answer: &Value) -> Value {
    if let Some(error) = there(answer, "/error") {
        let said = error.get("message").and_then(Value::as_str).unwrap_or("no reason was given");
        let code = error.get("code").and_then(Value::as_i64).unwrap_or_default();
        return failed(&format!("The agent answered with error {code}: {said}"));
    }
    // One that was asked for stands by itself.
    let asked_for = answer.get("result").filter(|result| there(result, "/status").is_some());
    match (there(answer, "/result/message"), there(answer, "/result/task").or(asked_for)) {
        (Some(message), _) => of_message(message),
        (None, Some(task)) => of_task(task),
        (None, None) => failed("The agent answered with neither a message nor a task."),
    }
}

fn failed(text: &str) -> Value {
    json!({"content": [{"type": "text", "text": text}], "isError": true})
}

fn of_message(message: &Value) -> Value {
    let mut content = Content::default();
    content.add_parts(message);
    content.whole("completed", message, "taskId", false)
}

fn of_task(task: &Value) -> Value {
    let state = state(task.get("status"));
    let mut content = Content::default();
    for artifact in task.get("artifacts").and_then(Value::as_array).into_iter().flatten() {
        content.add_parts(artifact);
    }
    // What the agent says of how it stands: the question, where it asks for more; the reason, where it failed.
    let said = task.pointer("/status/message");
    if let Some(said) = said.filter(|_| content.blocks.is_empty() || state != "completed") {
        content.add_parts(said);
    }
    let next = match &*state {
        "completed" => None,
        "input-required" => {
            Some("The agent asks for more. Call the tool again with this taskId, and what it asks for.")
        }
        "auth-required" => Some(
            "It waits until somebody agrees. Call get_task with this taskId, and the tool again with it then.",
        ),
        "submitted" | "working" => {
            Some("The task goes on. Call get_task with this taskId to know how it stands.")
        }
        _ => Some("The task ended without what was asked."),
    };
    if let Some(next) = next {
        let id = task.get("id").and_then(Value::as_str).unwrap_or_default();
        content.add_text(&format!("{next} (state {state}, taskId {id})"));
    }
    let goes_on = matches!(&*state, "completed" | "submitted" | "working");
    content.whole(&state, task, "id", !goes_on)
}

/// As A2A has states in words: `TASK_STATE_INPUT_REQUIRED` is `input-required`.
fn state(status: Option<&Value>) -> String {
    let state = status.and_then(|status| status.get("state")).and_then(Value::as_str).unwrap_or("unknown");
    state.strip_prefix("TASK_STATE_").unwrap_or(state).to_ascii_lowercase().replace('_', "-")
}

/// The content of a result, while it is made.
#[derive(Default)]
struct Content {
    blocks: Vec<Value>,
    /// The parts that are data.
    data: Vec<Value>,
}

impl Content {
    fn add_text(&mut self, text: &str) {
        self.blocks.push(json!({"type": "text", "text": text}));
    }

    /// What has parts: a message, or an artifact.
    fn add_parts(&mut self, of: &Value) {
        for part in of.get("parts").and_then(Value::as_array).into_iter().flatten() {
            self.add_part(part);
        }
    }

    fn add_part(&mut self, part: &Value) {
        let text = |name: &str| part.get(name).and_then(Value::as_str);
        let kind = text("mediaType").unwrap_or("application/octet-stream");
        if let Some(said) = text("text") {
            self.add_text(said);
        } else if let Some(data) = part.get("data") {
            self.add_text(&data.to_string());
            self.data.push(data.clone());
        } else if let Some(url) = text("url") {
            // Clients open what a link names: what is none of the web's is a text to them.
            if !["https://", "http://"].iter().any(|scheme| starts_so(url, scheme)) {
                self.add_text(url);
                return;
            }
            let name = text("filename").unwrap_or(url);
            self.blocks.push(json!({"type": "resource_link", "uri": url, "name": name, "mimeType": kind}));
        } else if let Some(raw) = text("raw") {
            let of_media = |media: &str| json!({"type": media, "data": raw, "mimeType": kind});
            self.blocks.push(match kind.split('/').next() {
                Some("image") => of_media("image"),
                Some("audio") => of_media("audio"),
                _ => {
                    let uri = format!("a2a:part/{}", self.blocks.len() + 1);
                    json!({"type": "resource", "resource": {"uri": uri, "blob": raw, "mimeType": kind}})
                }
            });
        }
    }

    /// `of` is what names the conversation, and `id` its member that names the task.
    fn whole(mut self, state: &str, of: &Value, id: &str, is_error: bool) -> Value {
        if self.blocks.is_empty() {
            self.add_text(&format!("The agent answered without content (state {state})."));
        }
        let mut structure = Map::new();
        structure.insert("state".to_owned(), json!(state));
        for (name, member) in [("taskId", id), ("contextId", "contextId")] {
            let value = of.get(member).filter(|value| value.is_string());
            structure.extend(value.map(|value| (name.to_owned(), value.clone())));
        }
        if !self.data.is_empty() {
            structure.insert("data".to_owned(), Value::Array(self.data));
        }
        json!({"content": self.blocks, "structuredContent": structure, "isError": is_error})
    }
}

/// What a stream has told so far.
#[derive(Default)]
pub(super) struct Followed {
    /// A message, or an error: nothing comes after it.
    last: Option<Value>,
    task: Option<Map<String, Value>>,
}

impl Followed {
    /// Takes an event, and gives what is told of it as progress.
    pub(super) fn take(&mut self, mut event: Value) -> Option<String> {
        if there(&event, "/error").is_some() || there(&event, "/result/message").is_some() {
            self.last = Some(event);
            return None;
        }
        let result = event.get_mut("result").map(Value::take)?;
        if let Some(task) = there(&result, "/task") {
            self.task = task.as_object().cloned();
            return words(task.get("status"));
        }
        if let Some(update) = there(&result, "/statusUpdate") {
            let task = self.task(update);
            let status = update.get("status").cloned().unwrap_or_default();
            let words = words(Some(&status));
            task.insert("status".to_owned(), status);
            return words;
        }
        let update = there(&result, "/artifactUpdate")?;
        let artifact = there(update, "/artifact")?.clone();
        let is_more = update.get("append").and_then(Value::as_bool).unwrap_or(false);
        let name = artifact.get("name").or_else(|| artifact.get("artifactId")).and_then(Value::as_str);
        let words = format!("artifact {}", name.unwrap_or("without a name"));
        add_artifact(self.task(update), artifact, is_more);
        Some(shortened(&words))
    }

    /// The task that is told of, which begins with what tells of it.
    fn task(&mut self, update: &Value) -> &mut Map<String, Value> {
        self.task.get_or_insert_with(|| {
            let member = |name: &str, of: &str| Some((name.to_owned(), update.get(of)?.clone()));
            [member("id", "taskId"), member("contextId", "contextId")].into_iter().flatten().collect()
        })
    }

    /// The result, once nothing more comes; `None` where nothing came that is one.
    pub(super) fn result(self) -> Option<Value> {
        match (self.last, self.task) {
            (Some(last), _) => Some(of_answer(&last)),
            (None, Some(task)) => Some(of_task(&Value::Object(task))),
            (None, None) => None,
        }
    }
}

fn add_artifact(task: &mut Map<String, Value>, artifact: Value, is_more: bool) {
    let artifacts = task.entry("artifacts").or_insert_with(|| json!([]));
    let Some(artifacts) = artifacts.as_array_mut() else { return };
    let id = artifact.get("artifactId").cloned();
    let has_room = artifacts.len() < MOST_ARTIFACTS;
    let known = artifacts.iter_mut().find(|known| known.get("artifactId") == id.as_ref());
    match known {
        Some(known) if is_more => {
            let more = artifact.get("parts").and_then(Value::as_array).cloned().unwrap_or_default();
            if let Some(parts) = known.get_mut("parts").and_then(Value::as_array_mut) {
                parts.extend(more);
            }
        }
        Some(known) => *known = artifact,
        None if has_room => artifacts.push(artifact),
        None => {}
    }
}

fn starts_so(text: &str, with: &str) -> bool {
    text.get(..with.len()).is_some_and(|begins| begins.eq_ignore_ascii_case(with))
}

/// How a task stands, in words: the agent's own, where it has some.
fn words(status: Option<&Value>) -> Option<String> {
    let parts = status?.pointer("/message/parts").and_then(Value::as_array);
    let texts = parts.into_iter().flatten().filter_map(|part| part.get("text").and_then(Value::as_str));
    let said = texts.collect::<Vec<_>>().join(" ");
    Some(shortened(&if said.is_empty() { state(status) } else { said }))
}

fn shortened(text: &str) -> String {
    text.chars().take(LONGEST).collect()
}
