//! A2A 0.3 over gRPC (`a2a.v1.A2AService`). Its schema is neither 1.0's nor the JSON of its own JSON-RPC, which says the same in other words: a request
//! becomes the message of that (`message/send`, …), and the answer to it becomes what the schema has. The message is read, decided and recorded as that of
//! any caller of 0.3, and goes to an agent that speaks its JSON-RPC.

use serde_json::{Map, Value, json};

use super::schema::Fault;

/// A method of the service.
#[derive(Debug)]
pub struct Method {
    name: &'static str,
    /// Its name in JSON-RPC.
    pub rpc: &'static str,
    asks: Asks,
    answers: Answers,
}

/// What its request is.
#[derive(Clone, Copy, Debug)]
enum Asks {
    /// A message to send.
    Message,
    /// A task by its name, `tasks/{id}`.
    Task,
    /// A configuration of push notifications by its name, `tasks/{id}/pushNotificationConfigs/{id}`.
    Config,
    /// One to be made, of a task.
    NewConfig,
    /// All of a task.
    Configs,
    Card,
}

/// What its answer is, or each of several.
#[derive(Clone, Copy, Debug)]
enum Answers {
    /// A task, a message or news of a task.
    Sent,
    Task,
    Config,
    Configs,
    Card,
    Nothing,
}

const fn method(name: &'static str, rpc: &'static str, asks: Asks, answers: Answers) -> Method {
    Method { name, rpc, asks, answers }
}

static METHODS: [Method; 10] = [
    method("SendMessage", "message/send", Asks::Message, Answers::Sent),
    method("SendStreamingMessage", "message/stream", Asks::Message, Answers::Sent),
    method("GetTask", "tasks/get", Asks::Task, Answers::Task),
    method("CancelTask", "tasks/cancel", Asks::Task, Answers::Task),
    method("TaskSubscription", "tasks/resubscribe", Asks::Task, Answers::Sent),
    method(
        "CreateTaskPushNotificationConfig",
        "tasks/pushNotificationConfig/set",
        Asks::NewConfig,
        Answers::Config,
    ),
    method(
        "GetTaskPushNotificationConfig",
        "tasks/pushNotificationConfig/get",
        Asks::Config,
        Answers::Config,
    ),
    method(
        "ListTaskPushNotificationConfig",
        "tasks/pushNotificationConfig/list",
        Asks::Configs,
        Answers::Configs,
    ),
    method(
        "DeleteTaskPushNotificationConfig",
        "tasks/pushNotificationConfig/delete",
        Asks::Config,
        Answers::Nothing,
    ),
    method("GetAgentCard", "agent/getAuthenticatedExtendedCard", Asks::Card, Answers::Card),
];

type Object = Map<String, Value>;

/// Words of the schema, and of JSON-RPC.
const ROLES: [(&str, &str); 2] = [("ROLE_USER", "user"), ("ROLE_AGENT", "agent")];
const STATES: [(&str, &str); 9] = [
    ("TASK_STATE_SUBMITTED", "submitted"),
    ("TASK_STATE_WORKING", "working"),
    ("TASK_STATE_COMPLETED", "completed"),
    ("TASK_STATE_FAILED", "failed"),
    ("TASK_STATE_CANCELLED", "canceled"),
    ("TASK_STATE_INPUT_REQUIRED", "input-required"),
    ("TASK_STATE_REJECTED", "rejected"),
    ("TASK_STATE_AUTH_REQUIRED", "auth-required"),
    ("TASK_STATE_UNSPECIFIED", "unknown"),
];

impl Method {
    /// The method of this name in the service.
    pub fn named(name: &str) -> Option<&'static Self> {
        METHODS.iter().find(|method| method.name == name)
    }

    /// The parameters in JSON-RPC of a request, as the schema has it in JSON.
    ///
    /// # Errors
    /// For what is no object, and for one that names nothing by a name that has to.
    pub fn asked(&self, request: &str) -> Result<String, Fault> {
        let mut said = object(request)?;
        let asked = match self.asks {
            Asks::Message => {
                sent(&mut said);
                Value::Object(said)
            }
            Asks::Task => {
                let (task, _) = named(&said, "name", false)?;
                let mut asked = json!({"id": task});
                if let (Some(asked), Some(length)) = (asked.as_object_mut(), said.remove("historyLength")) {
                    asked.insert("historyLength".to_owned(), length);
                }
                asked
            }
            Asks::Config => {
                let (task, config) = named(&said, "name", true)?;
                json!({"id": task, "pushNotificationConfigId": config})
            }
            Asks::NewConfig => new_config(&mut said)?,
            Asks::Configs => {
                let (task, _) = named(&said, "parent", false)?;
                json!({"id": task})
            }
            Asks::Card => json!({}),
        };
        Ok(asked.to_string())
    }

    /// An answer as the schema has it in JSON, of a result of JSON-RPC.
    ///
    /// # Errors
    /// For what is none.
    pub fn answer(&self, result: &str) -> Result<String, Fault> {
        let result = match self.answers {
            Answers::Nothing => return Ok("{}".to_owned()),
            Answers::Configs => {
                let configs: Vec<Object> =
                    serde_json::from_str(result).map_err(|error| unreadable(&error))?;
                let configs: Vec<Value> = configs.into_iter().map(config).collect();
                return Ok(json!({"configs": configs}).to_string());
            }
            Answers::Card => return Ok(result.to_owned()),
            Answers::Sent | Answers::Task | Answers::Config => object(result)?,
        };
        let answer = match self.answers {
            Answers::Sent => told(result),
            Answers::Config => config(result),
            _ => task(result),
        };
        Ok(answer.to_string())
    }
}

/// A request to send a message, in the words of JSON-RPC.
fn sent(request: &mut Object) {
    if let Some(Value::Object(message)) = request.get_mut("message") {
        message.insert("kind".to_owned(), json!("message"));
        reword(message, "role", ROLES.iter().copied());
        rename(message, "content", "parts");
        let parts = message.entry("parts").or_insert_with(|| json!([]));
        each(Some(parts), part_of_rpc);
    }
    if let Some(Value::Object(configuration)) = request.get_mut("configuration") {
        rename(configuration, "pushNotification", "pushNotificationConfig");
        // What the schema does not say is false; JSON-RPC leaves it to the agent.
        configuration.entry("blocking").or_insert(json!(false));
    }
}

fn part_of_rpc(part: &mut Object) {
    let kind = ["file", "data"].into_iter().find(|kind| part.contains_key(*kind)).unwrap_or("text");
    part.insert("kind".to_owned(), json!(kind));
    match part.get_mut(kind) {
        Some(Value::Object(file)) if kind == "file" => {
            rename(file, "fileWithUri", "uri");
            rename(file, "fileWithBytes", "bytes");
        }
        // In the schema it is a message with the data in it.
        Some(data) if kind == "data" => *data = data.get_mut("data").map_or_else(|| json!({}), Value::take),
        Some(_) => {}
        None => drop(part.insert(kind.to_owned(), json!(""))),
    }
}

/// The parameters that make a configuration. What it is said to be of twice is one task, and its id is one.
fn new_config(request: &mut Object) -> Result<Value, Fault> {
    let (task, _) = named(request, "parent", false)?;
    let mut given = match request.remove("config") {
        Some(Value::Object(given)) => given,
        _ => Object::new(),
    };
    if given.contains_key("name") && named(&given, "name", true)?.0 != task {
        return Err(Fault::Unreadable("parent and config.name are of two tasks".to_owned()));
    }
    let mut config = match given.remove("pushNotificationConfig") {
        Some(Value::Object(config)) => config,
        _ => Object::new(),
    };
    if let Some(id) = request.remove("configId")
        && *config.entry("id").or_insert_with(|| id.clone()) != id
    {
        return Err(Fault::Unreadable("config_id and the id of the configuration are two".to_owned()));
    }
    Ok(json!({"taskId": task, "pushNotificationConfig": config}))
}

/// The task, and what is below it, that a member names as a resource of Google's APIs is named (AIP-122). `of_config`: it names a configuration.
fn named(object: &Object, member: &str, of_config: bool) -> Result<(String, String), Fault> {
    let name = object.get(member).and_then(Value::as_str).unwrap_or_default();
    let below = name.strip_prefix("tasks/").unwrap_or_default();
    let (task, behind) = match below.split_once('/') {
        Some((task, behind)) => (task, Some(behind)),
        None => (below, None),
    };
    let config =
        behind.and_then(|behind| behind.strip_prefix("pushNotificationConfigs/")).unwrap_or_default();
    let is_whole = match behind {
        _ if of_config => !config.is_empty() && !config.contains('/'),
        None => true,
        // As the annotations of the schema have it.
        Some(behind) => member == "parent" && behind == "pushNotificationConfigs",
    };
    if task.is_empty() || !is_whole {
        let what = if of_config { "tasks/{id}/pushNotificationConfigs/{id}" } else { "tasks/{id}" };
        return Err(Fault::Unreadable(format!("{member} is to be {what}")));
    }
    Ok((task.to_owned(), config.to_owned()))
}

/// A result that is one of several, each under the name that the schema has for it.
fn told(mut result: Object) -> Value {
    let kind = result.remove("kind");
    match kind.as_ref().and_then(Value::as_str) {
        Some("message") => {
            message(&mut result);
            json!({"message": result})
        }
        Some("status-update") => {
            status(&mut result);
            json!({"statusUpdate": result})
        }
        Some("artifact-update") => {
            if let Some(Value::Object(artifact)) = result.get_mut("artifact") {
                each(artifact.get_mut("parts"), part);
            }
            json!({"artifactUpdate": result})
        }
        _ => json!({"task": task(result)}),
    }
}

fn task(mut task: Object) -> Value {
    status(&mut task);
    each(task.get_mut("artifacts"), |artifact| each(artifact.get_mut("parts"), part));
    each(task.get_mut("history"), message);
    task.into()
}

fn status(of: &mut Object) {
    let Some(Value::Object(status)) = of.get_mut("status") else { return };
    reword(status, "state", STATES.iter().map(|(schema, rpc)| (*rpc, *schema)));
    if let Some(Value::String(time)) = status.get_mut("timestamp") {
        at_utc(time);
    }
    if let Some(Value::Object(said)) = status.get_mut("message") {
        message(said);
    }
}

fn message(message: &mut Object) {
    reword(message, "role", ROLES.iter().map(|(schema, rpc)| (*rpc, *schema)));
    rename(message, "parts", "content");
    each(message.get_mut("content"), part);
}

fn part(part: &mut Object) {
    match part.get_mut("file") {
        Some(Value::Object(file)) => {
            rename(file, "uri", "fileWithUri");
            rename(file, "bytes", "fileWithBytes");
        }
        _ => {
            if let Some(data) = part.get_mut("data") {
                *data = json!({"data": data.take()});
            }
        }
    }
}

fn config(mut said: Object) -> Value {
    let task = said.remove("taskId").unwrap_or_default();
    let config = said.remove("pushNotificationConfig").unwrap_or_else(|| json!({}));
    let task = task.as_str().unwrap_or_default();
    // Agents that were given no id for a configuration take that of the task.
    let id = config.get("id").and_then(Value::as_str).unwrap_or(task);
    json!({"name": format!("tasks/{task}/pushNotificationConfigs/{id}"), "pushNotificationConfig": config})
}

/// A time without an offset, which ISO 8601 knows and the schema does not, as one of UTC.
fn at_utc(time: &mut String) {
    if time.split_once('T').is_some_and(|(_, clock)| !clock.contains(['Z', 'z', '+', '-'])) {
        time.push('Z');
    }
}

/// One word for another, where it is known.
fn reword(object: &mut Object, member: &str, mut words: impl Iterator<Item = (&'static str, &'static str)>) {
    let Some(value) = object.get_mut(member) else { return };
    let known = words.find(|(from, _)| value.as_str() == Some(*from));
    if let Some((_, to)) = known {
        *value = json!(to);
    }
}

fn rename(object: &mut Object, from: &str, to: &str) {
    if let Some(value) = object.remove(from) {
        object.insert(to.to_owned(), value);
    }
}

fn each(list: Option<&mut Value>, change: impl Fn(&mut Object)) {
    let list = list.and_then(Value::as_array_mut).into_iter().flatten();
    list.filter_map(Value::as_object_mut).for_each(change);
}

fn object(json: &str) -> Result<Object, Fault> {
    serde_json::from_str(json).map_err(|error| unreadable(&error))
}

fn unreadable(error: &serde_json::Error) -> Fault {
    Fault::Unreadable(error.to_string())
}

#[cfg(test)]
mod tests;
