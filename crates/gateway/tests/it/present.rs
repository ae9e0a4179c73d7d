//! The decision is of now: a call that is held open by its last byte is decided when that has come.

use std::time::Duration;

use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use vidimus_testkit::upstream::Upstream;

use super::world::{World, objects, snapshot};

/// A call of which all but the last byte has been sent, and which has been authenticated.
struct HeldOpen {
    stream: TcpStream,
    last: Vec<u8>,
}

impl HeldOpen {
    async fn new(world: &World) -> Self {
        let (parts, body) = world.tool("echo").into_parts();
        let body = body.collect().await.expect("a body").to_bytes();
        let mut head =
            format!("POST {} HTTP/1.1\r\ncontent-length: {}\r\nconnection: close\r\n", parts.uri, body.len());
        for (name, value) in &parts.headers {
            head += &format!("{name}: {}\r\n", value.to_str().expect("text"));
        }
        let mut stream = TcpStream::connect(world.address).await.expect("connected");
        let (begun, last) = body.split_at(body.len() - 1);
        stream.write_all(format!("{head}\r\n").as_bytes()).await.expect("sent");
        stream.write_all(begun).await.expect("sent");
        // Whoever calls is proven before the body is read; nothing outside tells when that was.
        tokio::time::sleep(Duration::from_millis(300)).await;
        Self { stream, last: last.to_vec() }
    }

    /// What is answered when the last byte comes.
    async fn end(mut self) -> String {
        self.stream.write_all(&self.last).await.expect("sent");
        let mut answer = String::new();
        self.stream.read_to_string(&mut answer).await.expect("an answer");
        answer
    }
}

fn code(answer: &str) -> Option<&str> {
    answer.lines().find_map(|line| line.strip_prefix("vidimus-code: "))
}

type Change = fn(&mut Vec<Value>);

#[tokio::test]
async fn a_call_that_is_held_open_is_decided_by_the_configuration_of_its_last_byte() {
    let world = World::new().await;
    let changes: [(&str, Change, &str, &str); 7] = [
        (
            "a forbid goes live",
            |all| {
                let forbid = r#"forbid (principal, action, resource == Tool::"t/tools/echo");"#;
                all.push(json!({"apiVersion": "vidimus.dev/v1alpha1", "kind": "Policy",
                "metadata": {"namespace": "t", "name": "no"}, "spec": {"description": "no", "cedar": forbid}}));
            },
            "forbidden_by_policy",
            "Agent/t/caller",
        ),
        (
            "the permit goes",
            |all| {
                all.pop();
            },
            "no_permit",
            "Agent/t/caller",
        ),
        (
            "the agent is quarantined",
            |all| all[0]["spec"]["quarantined"] = json!(true),
            "forbidden_by_policy",
            "Agent/t/caller",
        ),
        (
            "the agent is removed",
            |all| {
                all.remove(0);
            },
            "principal_unknown",
            "",
        ),
        (
            "the agent's identity is another one",
            |all| all[0]["spec"]["identities"][0]["oidc"]["subject"] = json!("other"),
            "principal_unknown",
            "",
        ),
        (
            "the identity is another agent's",
            |all| {
                let taken = all[0]["spec"]["identities"].take();
                all[0]["spec"]["identities"] = all[1]["spec"]["identities"].take();
                all[1]["spec"]["identities"] = taken;
            },
            "no_permit",
            "Agent/t/stranger",
        ),
        (
            "the server is removed",
            |all| {
                all.remove(3);
            },
            "resource_unknown",
            "Agent/t/caller",
        ),
    ];
    for (what, change, expected, principal) in changes {
        world.gate.take_into_use(snapshot(&objects(&world.upstream)));
        let held = HeldOpen::new(&world).await;
        let mut changed = objects(&world.upstream);
        change(&mut changed);
        world.gate.take_into_use(snapshot(&changed));
        let before = world.all_records().len();
        let answer = held.end().await;
        assert_eq!(code(&answer), Some(expected), "{what}: {answer}");
        assert_eq!(world.upstream.received().len(), 0, "{what}: the upstream saw it");
        let records = world.all_records();
        let record = &records[before];
        assert_eq!((records.len(), &record["code"]), (before + 1, &json!(expected)), "{what}");
        assert_eq!(record["principal"].as_str().unwrap_or_default(), principal, "{what}: {record}");
        if record["kind"] == "decision" {
            assert_eq!(record["snapshot"], json!(world.gate.snapshot().digest()), "{what}");
        }
    }
}

#[tokio::test]
async fn a_call_that_is_held_open_goes_where_its_server_is_now() {
    let (world, moved) = (World::new().await, Upstream::start());
    let held = HeldOpen::new(&world).await;
    let mut changed = objects(&world.upstream);
    changed[3]["spec"]["endpoint"]["url"] = json!(moved.url("/mcp"));
    world.gate.take_into_use(snapshot(&changed));
    let answer = held.end().await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!((world.upstream.received().len(), moved.received().len()), (0, 1));
}

#[tokio::test]
async fn a_credential_that_ends_while_a_call_is_held_open_proves_nobody() {
    let world = World::new().await;
    let held = HeldOpen::new(&world).await;
    let record_time = world.clock.unix_millis();
    world.clock.advance(Duration::from_secs(601));
    let answer = held.end().await;
    assert_eq!(code(&answer), Some("token_expired"), "{answer}");
    assert!(world.upstream.received().is_empty() && world.clock.unix_millis() > record_time);
}
