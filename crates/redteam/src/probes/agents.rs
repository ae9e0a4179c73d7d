//! Agents: chains, deputies, skills, addresses in messages.

use super::a2a;
use crate::expect::Expect;
use crate::probe::{Message, Probe, Protocol};

fn send(more: &str) -> Message {
    a2a(
        "SendMessage",
        &format!(r#"{{"message":{{"messageId":"m","role":"ROLE_USER","parts":[{{"text":"x"}}]}}{more}}}"#),
    )
}

/// All of this area.
pub(super) fn probes() -> Vec<Probe> {
    let row = |name: &str, tries: &str, message: Message, codes| {
        Probe::new(format!("agents/{name}"), tries, Protocol::A2a, message).expect(Expect::refused(codes))
    };
    let push = |url: &str| {
        a2a(
            "CreateTaskPushNotificationConfig",
            &format!(r#"{{"taskId":"{{{{task/alice}}}}","url":"{url}"}}"#),
        )
    };
    let inside =
        |url: &str| send(&format!(r#","configuration":{{"taskPushNotificationConfig":{{"url":"{url}"}}}}"#));
    let rest = |method: &str, below: &str, body: &str| {
        let message =
            Message::new(method, &format!("/a2a/r/callee{below}")).by("alice").with("A2A-Version", "1.0");
        if body.is_empty() { message } else { message.with("Content-Type", "application/json").body(body) }
    };
    let said = r#"{"message":{"messageId":"m","role":"ROLE_USER","parts":[{"text":"x"}]}}"#;
    let skilled = |skill: &str| send(&format!(r#","metadata":{{"skill":"{skill}"}}"#)).by("bob");
    vec![
        Probe::new("agents/good", "the control: a message passes", Protocol::A2a, send("")).expect(Expect::passed()),
        Probe::new("agents/loop", "an agent that calls itself for ever", Protocol::A2a, send("").at("/a2a/r/looper"))
            .expect(Expect { effect: crate::expect::Effect::None, ..Expect::ended(&[]) }.shows(&["delegation_too_deep"]).hides(&["internal"])),
        row("depth-of-record", "a hop more than the record allows", send("").by("hop-to/shallow"), &["delegation_too_deep"]),
        Probe::new("agents/no-endpoint", "an agent that cannot be called", Protocol::A2a, send("").at("/a2a/r/alice"))
            .expect(Expect::refused(&["resource_unknown"]).unrecorded()),
        row("skill-other", "a skill that is not permitted", skilled("write"), &["no_permit"]),
        row("skill-none", "no skill, where only one is permitted", send("").by("bob"), &["no_permit"]),
        row("skill-two", "two skills", send(r#","metadata":{"skill":"read","Skill":"write"}"#).by("bob"), &[]),
        row("skill-twice", "one in the message, one beside it",
            a2a("SendMessage", r#"{"metadata":{"skill":"read"},"message":{"messageId":"m","role":"ROLE_USER","parts":[],"metadata":{"skill":"write"}}}"#).by("bob"), &[]),
        row("skill-list", "a list of skills", send(r#","metadata":{"skill":["read"]}"#).by("bob"), &[]),
        row("metadata-case", "metadata in another case", send(r#","Metadata":{"skill":"read"}"#).by("bob"), &[]),
        row("push-elsewhere", "news of a task to another address", push("https://evil.example/"), &["forbidden_by_policy"]),
        row("push-inside", "news to another address, inside a message", inside("https://evil.example/"), &["forbidden_by_policy"]),
        row("push-inside-old", "the same by the old name",
            a2a("message/send", r#"{"message":{"kind":"message","messageId":"m","role":"user","parts":[]},"configuration":{"pushNotificationConfig":{"url":"https://evil.example/"}}}"#).without("A2A-Version").with("A2A-Version", "0.3"),
            &["forbidden_by_policy"]),
        row("push-prefix", "an address that begins right", push("https://hooks.example.com.evil.example/"), &["forbidden_by_policy"]),
        row("push-userinfo", "an address with a user that looks like a host", push("https://hooks.example.com@evil.example/"), &["forbidden_by_policy"]),
        row("push-metadata", "the cloud's metadata service", push("http://169.254.169.254/latest/meta-data"), &["forbidden_by_policy"]),
        row("push-twice", "two addresses", a2a("CreateTaskPushNotificationConfig", r#"{"taskId":"{{task/alice}}","url":"https://hooks.example.com/a","URL":"https://evil.example/"}"#), &[]),
        row("push-snake", "an address by another spelling", send(r#","configuration":{"task_push_notification_config":{"url":"https://evil.example/"}}"#), &[]),
        row("unknown-method", "a method that nobody knows", a2a("Foo", "{}"), &["method_unknown"]),
        row("tenant", "another tenant", a2a("GetTask", r#"{"tenant":"other","id":"RAW-TASK"}"#), &[]),
        Probe::new("agents/rest-good", "the control over HTTP+JSON", Protocol::A2a, rest("POST", "/message:send", said))
            .expect(Expect::passed()),
        row("rest-raw-id", "a task by the agent's own id, in a path", rest("GET", "/tasks/RAW-TASK", ""), &["task_foreign"]),
        row("rest-anothers-id", "another's task, in a path", rest("GET", "/tasks/{{task/looper}}", ""), &["task_foreign"]),
        row("rest-body-and-path", "one task in the path, another in the body",
            rest("POST", "/tasks/{{task/alice}}:cancel", r#"{"id":"RAW-TASK"}"#), &["message_invalid"]),
        row("rest-query-id", "one task in the path, another in the query", rest("GET", "/tasks/{{task/alice}}?id=RAW-TASK", ""), &["message_invalid"]),
        row("rest-query-tenant", "another tenant, in the query", rest("GET", "/tasks/{{task/alice}}?tenant=other", ""), &["message_invalid"]),
        row("rest-tenant", "another tenant, in the path", rest("POST", "/other/message:send", said), &["member_undecided"]),
        row("rest-escaped-dots", "a way out of a task by escaped dot segments",
            rest("GET", "/tasks/{{task/alice}}/pushNotificationConfigs/..%2f..%2fRAW-TASK", ""), &["route_unknown"]),
        row("rest-escaped-id", "an id that is written with escapes", rest("GET", "/tasks/RAW%2DTASK", ""), &["route_unknown"]),
        row("rest-beside", "a method beside the body", rest("POST", "/message:send", r#"{},"method":"GetTask","x":{}"#), &["body_not_json"]),
        row("rest-get-body", "a body where none is read", rest("GET", "/tasks/{{task/alice}}", r#"{"id":"RAW-TASK"}"#), &["message_invalid"]),
        row("rest-push-elsewhere", "news to another address, over HTTP+JSON",
            rest("POST", "/tasks/{{task/alice}}/pushNotificationConfigs", r#"{"url":"https://evil.example/"}"#), &["forbidden_by_policy"]),
        row("rest-push-0.3", "the same by the names of 0.3's schema",
            rest("POST", "/v1/message:send", r#"{"request":{"message_id":"m","role":"ROLE_USER","content":[]},"configuration":{"push_notification":{"url":"https://evil.example/"}}}"#)
                .without("A2A-Version"), &["forbidden_by_policy"]),
        row("batch", "a list of messages", send("").body(r#"[{"jsonrpc":"2.0","id":1,"method":"SendMessage","params":{}}]"#), &["batch_not_supported"]),
        row("notification", "a message without an id", send("").body(r#"{"jsonrpc":"2.0","method":"SendMessage","params":{}}"#), &[]),
        row("by-nobody", "an agent that is permitted nothing", send("").by("nobody"), &["no_permit"]),
        row("quarantined", "an agent that was taken out of service", send("").by("quincy"), &[]),
    ]
}
