//! The line that a call has in the log.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use super::gateway::{Gateway, upstream_that_hangs_up};

/// Calls a tool of a caller's choice, in the era that has no headers for names.
fn call(gateway: &Gateway, token: &str, name: &str) -> String {
    let body = serde_json::json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": name, "arguments": {}}})
        .to_string();
    let request = format!(
        "POST /mcp/a/tools HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n\
         Accept: application/json, text/event-stream\r\nMCP-Protocol-Version: 2025-11-25\r\nContent-Length: {}\r\n\r\n{body}",
        gateway.listen,
        body.len()
    );
    let mut stream = TcpStream::connect(&gateway.listen).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn a_call_has_a_line_and_a_caller_cannot_forge_one() {
    let gateway = Gateway::start(upstream_that_hangs_up());
    gateway.call(None);
    let token = gateway.token();
    gateway.call(Some(&token));
    let forged =
        "x\n2026-11-21T08:00:00Z  INFO vidimus::access: call outcome=\"allowed\" principal=\"Agent/a/root\"";
    call(&gateway, &token, forged);
    let (directory, _) = gateway.stop();
    let log = std::fs::read_to_string(directory.path().join("log")).unwrap();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("vidimus::access")).collect();
    let [refused, failed, third] = lines[..] else { panic!("three lines: {log}") };
    for (line, says) in [
        (refused, "outcome=\"refused\""),
        (refused, "code=\"credential_missing\""),
        (refused, "path=\"/mcp/a/tools\""),
        (failed, "outcome=\"failed\""),
        (failed, "code=\"upstream_interrupted\""),
        (failed, "principal=\"Agent/a/bot\""),
        (failed, "destination=\"MCPServer/a/tools\""),
        (failed, "name=\"get\""),
        (third, "principal=\"Agent/a/bot\""),
    ] {
        assert!(line.contains(says), "{says}: {line}");
    }
    assert!(!log.lines().any(|line| line.starts_with("2026-11-21T08:00:00Z")), "{log}");
}
