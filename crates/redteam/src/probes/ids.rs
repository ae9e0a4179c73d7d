//! Tasks, contexts, sessions and events of others.

use super::{a2a, mcp, request};
use crate::expect::Expect;
use crate::probe::{Message, Probe, Protocol};
use crate::reply::Reply;

/// Ids that are none of alice's, by what they are.
const OTHERS: &[(&str, &str)] = &[
    ("raw", "RAW-TASK"),
    ("of-another", "{{task/looper}}"),
    ("flipped", "{{flipped/task/alice}}"),
    ("context", "{{context/alice}}"),
    ("of-mcp", "{{mcp-task/alice}}"),
    ("longer", "{{task/alice}}A"),
    ("empty", ""),
];

const A2A_METHODS: &[&str] = &["GetTask", "CancelTask", "SubscribeToTask", "ListTaskPushNotificationConfigs"];

const MCP_OTHERS: &[(&str, &str)] = &[
    ("raw", "RAW-TASK"),
    ("of-another", "{{mcp-task/bob}}"),
    ("flipped", "{{flipped/mcp-task/alice}}"),
    ("of-a2a", "{{task/alice}}"),
    ("session", "{{session/alice}}"),
];

/// All of this area.
pub(super) fn probes() -> Vec<Probe> {
    let mut probes = Vec::new();
    for method in A2A_METHODS {
        for (what, id) in OTHERS {
            let member = if method.starts_with("List") { "taskId" } else { "id" };
            let message = a2a(method, &format!(r#"{{"{member}":"{id}"}}"#));
            probes.push(Probe::new(
                format!("ids/{method}-{what}"),
                "a task of somebody else",
                Protocol::A2a,
                message,
            ));
        }
    }
    for method in ["tasks/get", "tasks/result", "tasks/cancel"] {
        for (what, id) in MCP_OTHERS {
            let message = mcp(request(method, &format!(r#"{{"taskId":"{id}"}}"#)))
                .with("MCP-Protocol-Version", "2025-11-25");
            let name = format!("ids/{}-{what}", method.replace('/', "-"));
            probes.push(Probe::new(name, "a task of somebody else", Protocol::Mcp, message));
        }
    }
    probes.extend(spellings());
    probes.extend(sessions());
    probes.extend(answers());
    probes
}

/// One id in two spellings.
fn spellings() -> Vec<Probe> {
    let row = |name: &str, tries: &str, message: Message| {
        Probe::new(format!("ids/{name}"), tries, Protocol::A2a, message)
    };
    let message = |more: &str| {
        a2a(
            "SendMessage",
            &format!(r#"{{"message":{{"messageId":"m","role":"ROLE_USER","parts":[]{more}}}}}"#),
        )
    };
    vec![
        row("a2a-id-twice", "two ids", a2a("GetTask", r#"{"id":"{{task/alice}}","id":"RAW-TASK"}"#)),
        row(
            "a2a-id-case",
            "an id in another case",
            a2a("GetTask", r#"{"id":"{{task/alice}}","Id":"RAW-TASK"}"#),
        ),
        row(
            "a2a-id-snake",
            "a raw id by the other spelling",
            a2a("CancelTask", r#"{"name":"tasks/RAW-TASK"}"#),
        ),
        row(
            "a2a-message-task",
            "a message to the task of somebody else",
            message(r#","taskId":"{{task/looper}}""#),
        ),
        row("a2a-message-task-raw", "a message to a raw task", message(r#","taskId":"RAW-TASK""#)),
        row(
            "a2a-message-task-snake",
            "a message to a raw task by the other spelling",
            message(r#","task_id":"RAW-TASK""#),
        ),
        row(
            "a2a-message-context",
            "a message to the context of somebody else",
            message(r#","contextId":"{{context/looper}}""#),
        )
        .expect(Expect::ended(&[]).without(&["RAW-CONTEXT"])),
        row(
            "a2a-message-context-raw",
            "a message to a raw context",
            message(r#","contextId":"RAW-CONTEXT""#),
        )
        .expect(Expect::ended(&[]).without(&["RAW-CONTEXT"])),
        row(
            "a2a-message-refers",
            "a reference to a raw task",
            message(r#","referenceTaskIds":["RAW-TASK"]"#),
        ),
        row(
            "a2a-list-context",
            "the list of somebody else's context",
            a2a("ListTasks", r#"{"contextId":"{{context/looper}}"}"#),
        )
        .expect(Expect::ended(&[]).without(&["RAW-CONTEXT"])),
        row("a2a-page-raw", "a raw page of a list", a2a("ListTasks", r#"{"pageToken":"RAW-PAGE"}"#)),
        row(
            "a2a-task-as-deputy",
            "the callee uses the task of its caller",
            a2a("GetTask", r#"{"id":"{{task/alice}}"}"#).by("hop/alice"),
        ),
    ]
}

fn sessions() -> Vec<Probe> {
    let get = |session: &str| {
        mcp("").using("GET").bodiless().without("Content-Type").with("Mcp-Session-Id", session)
    };
    let row = |name: &str, tries: &str, message: Message| {
        Probe::new(format!("ids/{name}"), tries, Protocol::Mcp, message)
    };
    vec![
        row("session-get-of-another", "the stream of somebody else's session", get("{{session/bob}}")),
        row("session-get-raw", "the stream of a raw session", get("RAW-SESSION")),
        row(
            "session-delete-of-another",
            "the end of somebody else's session",
            get("{{session/bob}}").using("DELETE"),
        ),
        row("session-delete-raw", "the end of a raw session", get("RAW-SESSION").using("DELETE")),
        row(
            "session-on-another-route",
            "a session on another route",
            get("{{session/alice}}").at("/mcp/r/second"),
        ),
        row(
            "session-with-person",
            "a session for a person that began without",
            get("{{session/alice}}").by("for/alice"),
        ),
        row("event-raw", "a raw event to go on from", get("{{session/alice}}").with("Last-Event-ID", "1")),
        row(
            "event-twice",
            "two events to go on from",
            get("{{session/alice}}").with("Last-Event-ID", "1").with("Last-Event-ID", "2"),
        ),
        row(
            "event-task",
            "a task as an event",
            get("{{session/alice}}").with("Last-Event-ID", "{{mcp-task/alice}}"),
        ),
    ]
}

/// Raw ids in answers, in forms in which they might be overlooked.
fn answers() -> Vec<Probe> {
    let results: &[(&str, &str)] = &[
        (
            "plain",
            r#"{"task":{"id":"RAW-HIDDEN","contextId":"RAW-HIDDEN","status":{"state":"TASK_STATE_WORKING"}}}"#,
        ),
        ("old", r#"{"kind":"task","id":"RAW-HIDDEN","contextId":"RAW-HIDDEN","status":{"state":"working"}}"#),
        (
            "update",
            r#"{"statusUpdate":{"taskId":"RAW-HIDDEN","contextId":"RAW-HIDDEN","status":{"state":"TASK_STATE_WORKING"}}}"#,
        ),
        ("snake", r#"{"statusUpdate":{"task_id":"RAW-HIDDEN","context_id":"RAW-HIDDEN"}}"#),
        ("snake-oneof", r#"{"status_update":{"taskId":"RAW-HIDDEN"}}"#),
        ("escaped", r#"{"t\u0061sk":{"\u0069d":"RAW-HIDDEN"}}"#),
        ("case", r#"{"Task":{"Id":"RAW-HIDDEN"}}"#),
        ("twice", r#"{"task":{"id":"x","id":"RAW-HIDDEN"}}"#),
        (
            "history",
            r#"{"task":{"id":"x","contextId":"y","status":{"state":"TASK_STATE_WORKING"},"history":[{"messageId":"m","taskId":"RAW-HIDDEN"}]}}"#,
        ),
    ];
    let mut probes = Vec::new();
    for (name, result) in results {
        let body = format!(r#"{{"jsonrpc":"2.0","id":1,"result":{result}}}"#);
        let message = |method| a2a(method, r#"{"message":{"messageId":"m","role":"ROLE_USER","parts":[]}}"#);
        for (method, reply) in
            [("SendMessage", Reply::json(&body)), ("SendStreamingMessage", Reply::event(&body))]
        {
            let name = format!("ids/answer-{name}-{method}");
            probes.push(
                Probe::new(name, "a raw id in an answer", Protocol::A2a, message(method))
                    .reply(reply)
                    .expect(Expect::ended(&[]).hides(&["RAW-HIDDEN"])),
            );
        }
    }
    probes
}
