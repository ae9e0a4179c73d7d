//! An upstream that behaves as several kinds do: sessions, streams, documents, by what it is asked.

use std::io::{self, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::probes::INITIALIZED;
use crate::upstream::Received;
use crate::wire;

/// How many sessions were begun, of all upstreams of the process.
static SESSIONS: AtomicU64 = AtomicU64::new(0);

/// Between the events of a stream.
const BEAT: Duration = Duration::from_millis(200);

/// Answers one request as a good server would; gives `false` where the connection ends with it.
///
/// # Errors
/// When the caller leaves.
pub fn answer(stream: &mut TcpStream, asked: &Received) -> io::Result<bool> {
    let line = asked.line();
    let asks = |text: &str| wire::contains(&asked.body, text.as_bytes());
    if line.starts_with("GET ") && line.contains(" /mcp") {
        return events(stream, 50, |number| {
            format!(
                r#"{{"jsonrpc":"2.0","method":"notifications/message","params":{{"level":"info","data":{number}}}}}"#
            )
        });
    }
    if line.contains(" /openai") && asks(r#""stream":true"#) {
        return events(stream, 8, |number| match number {
            7 => r#"{"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":11}}"#.to_owned(),
            _ => r#"{"choices":[{"index":0,"delta":{"content":"word "}}]}"#.to_owned(),
        });
    }
    if line.contains(" /a2a") && asks("SendStreamingMessage") {
        return events(stream, 3, |number| {
            let state = if number == 2 { "COMPLETED" } else { "WORKING" };
            format!(
                r#"{{"jsonrpc":"2.0","id":1,"result":{{"statusUpdate":{{"taskId":"RAW-T","contextId":"RAW-C","status":{{"state":"TASK_STATE_{state}"}}}}}}}}"#
            )
        });
    }
    if asks(r#""initialize""#) {
        let number = SESSIONS.fetch_add(1, Ordering::Relaxed);
        return document(stream, &format!("mcp-session-id: session-{number}\r\n"), INITIALIZED);
    }
    if asks("tools/list") {
        let tools: Vec<String> = (0..40)
            .map(|number| format!(r#"{{"name":"tool-{number}","inputSchema":{{"type":"object"}}}}"#))
            .collect();
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":1,"result":{{"tools":[{{"name":"ok","inputSchema":{{"type":"object"}}}},{}]}}}}"#,
            tools.join(",")
        );
        return document(stream, "", &body);
    }
    Ok(false)
}

fn document(stream: &mut TcpStream, fields: &str, body: &str) -> io::Result<bool> {
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n{fields}content-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body.as_bytes())?;
    Ok(true)
}

fn events(stream: &mut TcpStream, count: usize, data: impl Fn(usize) -> String) -> io::Result<bool> {
    stream.write_all(
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n",
    )?;
    for number in 0..count {
        let event = format!("data: {}\n\n", data(number));
        stream.write_all(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes())?;
        std::thread::sleep(BEAT);
    }
    stream.write_all(b"0\r\n\r\n")?;
    Ok(true)
}
