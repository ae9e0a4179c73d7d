//! Room: many that send little, slowly, or nothing, beside one whose call must go through.

use super::{good, mcp};
use crate::expect::{Effect, Expect};
use crate::probe::{Crowd, Door, Manner, Message, Probe, Protocol, Request};
use crate::reply::Reply;

/// All of this area.
pub(super) fn probes() -> Vec<Probe> {
    let crowd = |count, sends: Request| Manner {
        crowd: Some(Crowd { count, door: Door::Listen, sends }),
        ..Manner::default()
    };
    let passes = |name: &str, tries: &str, manner: Manner| {
        Probe::new(format!("room/{name}"), tries, Protocol::Mcp, good())
            .manner(manner)
            .expect(Expect::passed())
    };
    let announcing = |length: usize, who: &str, sent: usize| {
        let message = good().by(who).with("Content-Length", length.to_string()).body("y".repeat(sent));
        Request::Message(message)
    };
    let chat = Message::new("POST", "/llm/r/openai/v1/chat/completions")
        .by("nobody")
        .with("Content-Length", "33554432")
        .body("{");
    let chunked = mcp("").by("nobody").with("Transfer-Encoding", "chunked").body("1\r\n{\r\n");
    let head = "POST /mcp/r/tools HTTP/1.1\r\nHost: {{host}}\r\nX: ";
    let large = format!(
        r#"{{"jsonrpc":"2.0","id":1,"result":{{"content":[{{"type":"text","text":"{}"}}]}}}}"#,
        "y".repeat(1 << 20)
    );
    let slow = Manner { cuts: vec![40, 20, 3], ..Manner::default() };
    let stopped = good().with("Content-Length", "4000").body("{\"jsonrpc\":");
    vec![
        passes(
            "announced-32-mib",
            "16 heads that announce 32 MiB to a provider",
            crowd(16, Request::Message(chat)),
        ),
        passes(
            "announced-4-mib",
            "200 heads that announce 4 MiB",
            crowd(200, announcing(4_194_304, "nobody", 0)),
        ),
        passes(
            "held-bodies",
            "60 bodies of 1 MB that do not end",
            crowd(60, announcing(4_194_304, "nobody", 1_000_000)),
        ),
        passes("held-chunks", "200 bodies of chunks that do not end", crowd(200, Request::Message(chunked))),
        passes(
            "silent-connections",
            "500 connections that say nothing",
            crowd(500, Request::Raw(Vec::new())),
        ),
        passes("held-heads", "500 heads that do not end", crowd(500, Request::Raw(head.as_bytes().to_vec()))),
        passes(
            "unread-answers",
            "300 answers of 1 MiB that nobody reads",
            crowd(300, Request::Message(good().by("bob"))),
        )
        .reply(Reply::json(&large))
        .expect(Expect { effect: Effect::NotLooked, ..Expect::passed() }),
        passes(
            "strangers",
            "200 announcements without a credential",
            crowd(
                200,
                Request::Message(good().without("Authorization").with("Content-Length", "4194304").body("")),
            ),
        ),
        passes("pieces", "the control: a call in four pieces passes", slow),
        Probe::new("room/stopped-body", "a body that stops", Protocol::Mcp, stopped)
            .expect(Expect::refused(&["request_too_slow"])),
        Probe::new("room/stopped-head", "a head that stops", Protocol::Http, Message::new("", ""))
            .raw(head)
            .expect(Expect::turned_away(&[408]).unrecorded()),
    ]
}
