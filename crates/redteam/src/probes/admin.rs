//! The admin address: names, methods, paths, connections.

use crate::expect::Expect;
use crate::probe::{Crowd, Door, Manner, Message, Probe, Protocol, Request};

/// All of this area.
pub(super) fn probes() -> Vec<Probe> {
    let get = |path: &str| Message::new("GET", path).without("Host").with("Host", "{{admin}}");
    let row = |name: &str, tries: &str, message: Message, expect: Expect| {
        Probe::new(format!("admin/{name}"), tries, Protocol::Http, message).admin().expect(expect)
    };
    let away = &[400, 403, 404, 405, 421];
    let crowd = |sends: &str| Manner {
        crowd: Some(Crowd { count: 300, door: Door::Admin, sends: Request::Raw(sends.as_bytes().to_vec()) }),
        ..Manner::default()
    };
    vec![
        row("good", "the control: health is answered", get("/healthz"), Expect::answered(&[200])),
        row(
            "host-other",
            "a page whose name leads to loopback",
            get("/registry").without("Host").with("Host", "evil.example"),
            Expect::answered(away),
        ),
        row("host-twice", "two names", get("/registry").with("Host", "evil.example"), Expect::answered(away)),
        row("host-none", "no name", get("/registry").without("Host"), Expect::answered(away)),
        row(
            "origin",
            "a page of another origin",
            get("/registry").with("Origin", "http://evil.example"),
            Expect::answered(&[200, 400, 403, 421]).hides(&["access-control-allow-origin"]),
        ),
        row("post", "a method that changes something", get("/readyz").using("POST"), Expect::answered(away)),
        row(
            "delete",
            "a method that changes something",
            get("/ledger").using("DELETE"),
            Expect::answered(away),
        ),
        row("dots", "a file", get("/../../etc/passwd"), Expect::answered(away).hides(&["root:"])),
        row(
            "encoded-dots",
            "a file",
            get("/%2e%2e/%2e%2e/etc/passwd"),
            Expect::answered(away).hides(&["root:"]),
        ),
        row("debug", "what debuggers serve", get("/debug/pprof/heap"), Expect::answered(away)),
        row("route", "a call of a tool", get("/mcp/r/tools").using("POST"), Expect::answered(away)),
        row("silent-crowd", "300 connections that say nothing", get("/healthz"), Expect::answered(&[200]))
            .manner(crowd("")),
        row("slow-crowd", "300 heads that do not end", get("/healthz"), Expect::answered(&[200]))
            .manner(crowd("GET /metrics HTTP/1.1\r\nHost: x\r\nX: ")),
    ]
}
