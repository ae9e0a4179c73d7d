//! Bytes that are no request of HTTP, or two: what is answered, and that nothing of it goes on.

use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use vidimus_gateway::Limits;
use vidimus_testkit::upstream::Answer;

use super::world::World;

/// What comes of bytes on a connection of their own, until the gateway closes it.
pub async fn raw(world: &World, bytes: &[u8]) -> String {
    let mut stream = tokio::net::TcpStream::connect(world.address).await.expect("connected");
    stream.write_all(bytes).await.expect("sent");
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    // A reset tells that it was closed as well.
    let _ = tokio::time::timeout(Duration::from_secs(60), read).await.expect("closed in the end");
    String::from_utf8_lossy(&answer).into_owned()
}

/// A gateway that soon closes a connection on which nothing more comes.
async fn impatient() -> World {
    World::with(Limits {
        header_time: Duration::from_secs(1),
        body_time: Duration::from_secs(2),
        ..Limits::default()
    })
    .await
}

fn statuses(answer: &str) -> Vec<&str> {
    answer.split("HTTP/1.1 ").skip(1).filter_map(|rest| rest.get(..3)).collect()
}

fn calls(world: &World) -> (String, String) {
    let token = world.token("caller", Duration::from_secs(600));
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "echo", "arguments": {}}});
    (format!("Authorization: Bearer {token}\r\nContent-Type: application/json\r\n"), body.to_string())
}

#[tokio::test]
async fn a_host_is_there_once_and_one_coding_and_one_length() {
    let world = impatient().await;
    let (auth, body) = calls(&world);
    let length = format!("Content-Length: {}\r\n", body.len());
    let chunked = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    let cases: Vec<(&str, String, &str, &[&str])> = vec![
        ("as it should be", format!("Host: gw\r\n{length}"), &body, &["200"]),
        ("chunked", "Host: gw\r\nTransfer-Encoding: chunked\r\n".to_owned(), &chunked, &["200"]),
        ("no host", length.clone(), &body, &["400"]),
        ("an empty host", format!("Host: \r\n{length}"), &body, &["400"]),
        ("two hosts", format!("Host: gw\r\nHost: evil\r\n{length}"), &body, &["400"]),
        ("the same host twice", format!("Host: gw\r\nHost: gw\r\n{length}"), &body, &["400"]),
        ("a host that is none", format!("Host: gw@evil\r\n{length}"), &body, &["400"]),
        ("a port that is none", format!("Host: gw:http\r\n{length}"), &body, &["400"]),
        ("gzip, chunked", "Host: gw\r\nTransfer-Encoding: gzip, chunked\r\n".to_owned(), &chunked, &["400"]),
        (
            "two codings",
            "Host: gw\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n".to_owned(),
            &chunked,
            &["400"],
        ),
        (
            "chunked twice",
            "Host: gw\r\nTransfer-Encoding: chunked, chunked\r\n".to_owned(),
            &chunked,
            &["400"],
        ),
        ("identity", format!("Host: gw\r\nTransfer-Encoding: identity\r\n{length}"), &body, &["400"]),
        (
            "chunked is not the last",
            "Host: gw\r\nTransfer-Encoding: chunked, gzip\r\n".to_owned(),
            &chunked,
            &["400"],
        ),
        ("a vertical tab", "Host: gw\r\nTransfer-Encoding: \x0bchunked\r\n".to_owned(), &chunked, &["400"]),
        ("two lengths", format!("Host: gw\r\n{length}Content-Length: 7\r\n"), &body, &["400"]),
        (
            "a list of lengths",
            format!("Host: gw\r\nContent-Length: {0}, {0}\r\n", body.len()),
            &body,
            &["400"],
        ),
        ("a signed length", format!("Host: gw\r\nContent-Length: +{}\r\n", body.len()), &body, &["400"]),
        (
            "a space before the colon",
            format!("Host: gw\r\nContent-Length : {}\r\n", body.len()),
            &body,
            &["400"],
        ),
        ("a folded line", format!("Host: gw\r\nX: a\r\n b\r\n{length}"), &body, &["400"]),
        ("a line without a name", format!("Host: gw\r\n: x\r\n{length}"), &body, &["400"]),
    ];
    for (what, lines, body, expected) in cases {
        let before = world.upstream.received().len();
        if expected == ["200"] {
            world.upstream.next(Answer::json(&json!({"jsonrpc": "2.0", "id": 1, "result": {}})));
        }
        let answer =
            raw(&world, format!("POST /mcp/t/tools HTTP/1.1\r\n{auth}{lines}\r\n{body}").as_bytes()).await;
        assert_eq!(statuses(&answer), expected, "{what}: {answer}");
        let sent = usize::from(expected == ["200"]);
        assert_eq!(world.upstream.received().len(), before + sent, "{what}");
    }
}

/// What follows the message that a length or a chunk ends is never answered as a request of its own where the two disagree.
#[tokio::test]
async fn a_second_request_cannot_hide_in_the_first() {
    let world = impatient().await;
    let (auth, body) = calls(&world);
    let hidden = format!("GET /hidden HTTP/1.1\r\nHost: gw\r\n{auth}\r\n");
    let chunks = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    for (what, lines, content) in [
        (
            "length, then chunked",
            format!("Content-Length: {}\r\nTransfer-Encoding: chunked\r\n", chunks.len() + hidden.len()),
            format!("{chunks}{hidden}"),
        ),
        (
            "chunked, then length",
            format!("Transfer-Encoding: chunked\r\nContent-Length: {}\r\n", chunks.len() + hidden.len()),
            format!("{chunks}{hidden}"),
        ),
        (
            "a length of nothing",
            "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n".to_owned(),
            format!("{chunks}{hidden}"),
        ),
        ("a chunk with a sign", "Transfer-Encoding: chunked\r\n".to_owned(), format!("+{chunks}{hidden}")),
        ("a chunk with 0x", "Transfer-Encoding: chunked\r\n".to_owned(), format!("0x{chunks}{hidden}")),
        (
            "a chunk whose size wraps",
            "Transfer-Encoding: chunked\r\n".to_owned(),
            format!("1000000000000000{chunks}{hidden}"),
        ),
        (
            "a chunk that ends elsewhere",
            "Transfer-Encoding: chunked\r\n".to_owned(),
            format!("1\r\n{body}\r\n0\r\n\r\n{hidden}"),
        ),
        (
            "a bare line feed in a chunk",
            "Transfer-Encoding: chunked\r\n".to_owned(),
            format!("{:x}\n{body}\n0\n\n{hidden}", body.len()),
        ),
        ("a malformed host", "Host: other\r\nContent-Length: 0\r\n".to_owned(), hidden.clone()),
    ] {
        world.upstream.next(Answer::json(&json!({"jsonrpc": "2.0", "id": 1, "result": {}})));
        let request = format!("POST /mcp/t/tools HTTP/1.1\r\nHost: gw\r\n{auth}{lines}\r\n{content}");
        let answer = raw(&world, request.as_bytes()).await;
        assert!(statuses(&answer).len() <= 1, "{what}: {answer}");
        assert!(!world.all_records().iter().any(|record| record["path"] == "/hidden"), "{what}: {answer}");
    }
}
