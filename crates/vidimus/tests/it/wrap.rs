//! `vidimus wrap` before a stdio server that does what it is told (`wrap/server.py`).

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::command;

/// Far longer than anything takes.
const PATIENCE: Duration = Duration::from_secs(60);
const SERVER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/wrap/server.py");
const META: &str = r#""io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}"#;

struct Wrapped {
    process: Child,
    address: String,
    directory: tempfile::TempDir,
}

struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {} {}", self.head, self.body))
    }

    fn header(&self, name: &str) -> Option<String> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.filter(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned()).next()
    }
}

impl Wrapped {
    fn start(flags: &[&str], server: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let log = fs::File::create(directory.path().join("log")).unwrap();
        let words =
            [&["wrap", "--listen", "127.0.0.1:0"][..], flags, &["--", "python3", SERVER], server].concat();
        let process = command(&words).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        let mut wrapped = Self { process, address: String::new(), directory };
        let found = wrapped.until("an address", |wrapped| {
            let log = wrapped.log();
            let address = log.split_once(" at http://")?.1.split_once("/mcp")?.0.to_owned();
            Some(address)
        });
        wrapped.address = found;
        wrapped
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap()
    }

    fn until<T>(&self, what: &str, found: impl Fn(&Self) -> Option<T>) -> T {
        let begins = Instant::now();
        loop {
            if let Some(found) = found(self) {
                return found;
            }
            assert!(begins.elapsed() < PATIENCE, "{what} did not come: {}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// A request that is under way.
    fn open(&self, method: &str, headers: &[(&str, &str)], body: &str) -> TcpStream {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut head =
            format!("{method} /mcp HTTP/1.1\r\nConnection: close\r\nContent-Length: {}\r\n", body.len());
        let usual = [
            ("Host", self.address.as_str()),
            ("Content-Type", "application/json"),
            ("Accept", "application/json, text/event-stream"),
        ];
        let own = |name: &str| headers.iter().any(|(header, _)| header.eq_ignore_ascii_case(name));
        for (name, value) in usual.iter().filter(|(name, _)| !own(name)).chain(headers) {
            head += &format!("{name}: {value}\r\n");
        }
        // A body that is refused may not be read to its end.
        let _ = stream.write_all(format!("{head}\r\n{body}").as_bytes());
        stream
    }

    fn send(&self, method: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut read = Vec::new();
        // What is refused early may be reset behind the answer.
        let _ = self.open(method, headers, body).read_to_end(&mut read);
        let text = String::from_utf8(read).unwrap();
        let (head, body) =
            text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?} {}", self.log()));
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Answer { status, head: head.to_owned(), body: body.to_owned() }
    }

    fn initialize(&self) -> String {
        let params = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
        let message =
            json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}).to_string();
        let answer = self.send("POST", &[], &message);
        assert_eq!(
            (answer.status, &answer.json()["result"]["serverInfo"]["name"]),
            (200, &json!("told")),
            "{}",
            answer.body
        );
        let session = answer.header("mcp-session-id").unwrap();
        let told = self.send(
            "POST",
            &[("Mcp-Session-Id", &session)],
            r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
        );
        assert_eq!((told.status, told.body.as_str()), (202, ""));
        session
    }

    fn ask(&self, session: &str, message: &str) -> Answer {
        self.send("POST", &[("Mcp-Session-Id", session), ("MCP-Protocol-Version", "2025-11-25")], message)
    }

    fn call(&self, session: &str, method: &str) -> Answer {
        self.ask(session, &format!(r#"{{"jsonrpc":"2.0","id":"{method}","method":"{method}"}}"#))
    }

    fn pid(&self, session: &str) -> u64 {
        self.call(session, "pid").json()["result"]["pid"].as_u64().unwrap()
    }

    /// A request of the era without sessions.
    fn stateless(&self, id: u32, method: &str, more: &str) -> TcpStream {
        let message = format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{{"_meta":{{{META}{more}}}}}}}"#
        );
        self.open("POST", &[("MCP-Protocol-Version", "2026-07-28"), ("Mcp-Method", method)], &message)
    }

    /// Whether a process is there no more.
    fn is_gone(&self, pid: u64) {
        // What has ended and was not waited for by its parent is a zombie.
        let is_alive = || {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            stat.rsplit_once(") ").filter(|(_, rest)| !rest.starts_with('Z')).map(drop)
        };
        self.until("the end of a process", |_| is_alive().is_none().then_some(()));
    }

    fn stop(mut self) -> Option<i32> {
        let pid = rustix_pid(&self.process);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.process.wait().unwrap().code()
    }
}

fn rustix_pid(process: &Child) -> rustix::process::Pid {
    rustix::process::Pid::from_raw(i32::try_from(process.id()).unwrap()).unwrap()
}

impl Drop for Wrapped {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn read_until(stream: &mut TcpStream, text: &str) -> String {
    let (mut read, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let count = stream.read(&mut buffer).unwrap();
        read.extend_from_slice(&buffer[..count]);
        let so_far = String::from_utf8_lossy(&read);
        if so_far.contains(text) {
            return so_far.into_owned();
        }
        assert!(count > 0, "{text} did not come: {so_far}");
    }
}

fn rest(mut stream: TcpStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn messages_pass_as_they_were_written_both_ways() {
    let wrapped = Wrapped::start(&[], &[]);
    let session = wrapped.initialize();
    let line = r#"{"x":{"unknown":[1e2, "A"]},"id":"\u0061","jsonrpc":"2.0","method":"new/method" ,"params":{"n":1E-2}}"#;
    let answer = wrapped.ask(&session, &line.replace(" ,", "\r\n,"));
    assert_eq!((answer.status, answer.header("content-type").unwrap().as_str()), (200, "application/json"));
    let answer = answer.json();
    assert_eq!((&answer["id"], &answer["result"]["line"]), (&json!("a"), &json!(line.replace(" ,", "  ,"))));
    let unknown = wrapped.call(&session, "unknown");
    assert_eq!((unknown.status, &unknown.json()["error"]["code"]), (200, &json!(-32601)));
}

#[test]
fn a_session_is_whose_id_it_is_and_its_process_ends_with_it() {
    let wrapped = Wrapped::start(&["--max-sessions", "2"], &[]);
    let (first, second) = (wrapped.initialize(), wrapped.initialize());
    let pids = [wrapped.pid(&first), wrapped.pid(&second)];
    assert_ne!(pids[0], pids[1]);
    let full = wrapped.send("POST", &[], r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{}}"#);
    assert_eq!((full.status, full.header("retry-after").is_some()), (503, true));
    for (session, status) in [("0b5b8a2e-0000-4000-8000-000000000000", 404), ("", 404), ("%00", 404)] {
        assert_eq!(wrapped.call(session, "pid").status, status, "{session}");
    }
    assert_eq!(wrapped.send("POST", &[], r#"{"jsonrpc":"2.0","id":1,"method":"pid"}"#).status, 400);
    assert_eq!(wrapped.send("GET", &[], "").status, 405);
    let child = wrapped.call(&first, "child").json()["result"]["pid"].as_u64().unwrap();
    assert_eq!(wrapped.send("DELETE", &[("Mcp-Session-Id", &first)], "").status, 204);
    wrapped.is_gone(pids[0]);
    wrapped.is_gone(child);
    assert_eq!(wrapped.send("DELETE", &[("Mcp-Session-Id", &first)], "").status, 404);
    assert_eq!(wrapped.call(&first, "pid").status, 404);
    assert_eq!(wrapped.pid(&second), pids[1]);
    wrapped.initialize();
    assert_eq!(wrapped.stop(), Some(0));
}

#[test]
fn all_that_was_started_ends_with_wrap() {
    let wrapped = Wrapped::start(&[], &[]);
    let session = wrapped.initialize();
    let pids =
        [wrapped.pid(&session), wrapped.call(&session, "child").json()["result"]["pid"].as_u64().unwrap()];
    let log = Wrapped::start(&[], &[]);
    assert_eq!(wrapped.stop(), Some(0));
    pids.into_iter().for_each(|pid| log.is_gone(pid));
}

#[test]
fn a_stop_does_not_wait_for_a_server_that_is_still_starting() {
    let wrapped = Wrapped::start(&["--shared"], &["mute"]);
    let message = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{}}"#;
    let _waiting = wrapped.open("POST", &[], message);
    wrapped.until("a process", |wrapped| wrapped.log().contains("[shared] started").then_some(()));
    let begins = Instant::now();
    assert_eq!(wrapped.stop(), Some(0));
    assert!(begins.elapsed() < Duration::from_secs(30), "it took {:?}", begins.elapsed());
}

#[test]
fn no_process_is_started_while_wrap_stops() {
    let mut wrapped = Wrapped::start(&[], &["stubborn"]);
    wrapped.initialize();
    let mut open = TcpStream::connect(&wrapped.address).unwrap();
    open.set_read_timeout(Some(PATIENCE)).unwrap();
    open.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    read_until(&mut open, "ok\n");
    rustix::process::kill_process(rustix_pid(&wrapped.process), rustix::process::Signal::TERM).unwrap();
    wrapped.until("the stop", |wrapped| wrapped.log().contains("no more input").then_some(()));
    let message =
        r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25"}}"#;
    let head = "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nAccept: */*";
    open.write_all(format!("{head}\r\nContent-Length: {}\r\n\r\n{message}", message.len()).as_bytes())
        .unwrap();
    let answer = read_until(&mut open, "is stopping");
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("retry-after: "), "{answer}");
    assert_eq!(wrapped.process.wait().unwrap().code(), Some(0));
    assert_eq!(wrapped.log().matches("] started, process").count(), 1, "{}", wrapped.log());
}

#[test]
fn what_is_no_message_is_told_and_not_passed_on() {
    let wrapped = Wrapped::start(&["--max-message", "1MiB"], &[]);
    let session = wrapped.initialize();
    let answer = wrapped.call(&session, "garbage");
    assert_eq!(answer.json()["result"], json!({"done": true}));
    wrapped.until("the log", |wrapped| wrapped.log().contains("oh ").then_some(()));
    let log = wrapped.log();
    assert!(log.contains("[session 1] oh \\u{1b}[31mno") && !log.contains('\u{1b}'), "{log}");
    assert!(log.contains("no message, not passed on") && log.contains("this is no message"), "{log}");
    assert!(log.contains("a member is there twice") && log.contains("more than --max-message"), "{log}");
    for (body, status) in [
        ("hello", 400),
        (r#"[{"jsonrpc":"2.0","id":1,"method":"pid"}]"#, 400),
        (r#"{"jsonrpc":"2.0","id":1,"method":"pid","method":"die"}"#, 400),
        (r#"{"jsonrpc":"2.0","id":1.5,"method":"pid"}"#, 400),
    ] {
        assert_eq!(wrapped.ask(&session, body).status, status, "{body}");
    }
    let long = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"new/a","params":"{}"}}"#, "x".repeat(1 << 20));
    assert_eq!(wrapped.ask(&session, &long).status, 413);
    assert_eq!(
        wrapped.send("POST", &[("Mcp-Session-Id", &session), ("Content-Type", "text/plain")], "{}").status,
        415
    );
    assert_eq!(
        wrapped.send("POST", &[("Mcp-Session-Id", &session), ("Accept", "application/json")], "{}").status,
        406
    );
    wrapped.pid(&session);
}

#[test]
fn a_server_that_dies_is_said_and_the_next_session_has_a_new_one() {
    let wrapped = Wrapped::start(&[], &[]);
    let session = wrapped.initialize();
    let answer = wrapped.call(&session, "die");
    assert_eq!((answer.status, &answer.json()["id"]), (502, &json!("die")));
    assert!(answer.body.contains("exit status: 3"), "{}", answer.body);
    let gone = wrapped.call(&session, "pid");
    assert_eq!(gone.status, 404);
    wrapped.pid(&wrapped.initialize());
}

#[test]
fn a_server_that_refuses_to_be_initialized_has_no_session() {
    let wrapped = Wrapped::start(&["--max-sessions", "1"], &[]);
    for _ in 0..3 {
        wrapped.until("room for one more", |wrapped| {
            let answer =
                wrapped.send("POST", &[], r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{}}"#);
            assert!(answer.body.contains("no version") || answer.status == 503, "{}", answer.body);
            (answer.status == 200).then_some(())
        });
    }
    wrapped.until("room for one more", |wrapped| {
        wrapped.log().matches("the session has ended").nth(2).is_some().then_some(())
    });
    wrapped.pid(&wrapped.initialize());
}

#[test]
fn the_server_asks_its_client_on_the_stream_of_the_call() {
    let wrapped = Wrapped::start(&[], &[]);
    let session = wrapped.initialize();
    let headers = [("Mcp-Session-Id", session.as_str()), ("MCP-Protocol-Version", "2025-11-25")];
    let mut stream = wrapped.open("POST", &headers, r#"{"jsonrpc":"2.0","id":7,"method":"ask"}"#);
    let head = read_until(
        &mut stream,
        r#"data: {"jsonrpc": "2.0", "id": "s-1", "method": "sampling/createMessage""#,
    );
    assert!(head.contains("text/event-stream") && head.contains("id: "), "{head}");
    assert_eq!(wrapped.ask(&session, r#"{"jsonrpc":"2.0","id":"s-1","result":{"model":"m"}}"#).status, 202);
    let rest = rest(stream);
    assert!(rest.contains(r#""id": 7"#) && rest.contains(r#"\"model\":\"m\""#), "{rest}");
}

#[test]
fn a_stream_that_was_lost_is_read_on_and_no_other() {
    let wrapped = Wrapped::start(&[], &[]);
    let (session, other) = (wrapped.initialize(), wrapped.initialize());
    let message = r#"{"jsonrpc":"2.0","id":7,"method":"steps","params":{"_meta":{"progressToken":"t"}}}"#;
    let all = wrapped.ask(&session, message).body;
    let ids: Vec<&str> = all.lines().filter_map(|line| line.strip_prefix("id: ")).collect();
    assert_eq!(ids.len(), 5, "one without a message, three of progress, the answer: {all}");
    let mut read = wrapped.open("GET", &[("Mcp-Session-Id", &session), ("Last-Event-ID", ids[2])], "");
    let replayed = read_until(&mut read, r#""steps": 3"#);
    assert!(!replayed.contains(r#""progress": 2"#) && replayed.contains(r#""progress": 3"#), "{replayed}");
    let foreign = wrapped.send("GET", &[("Mcp-Session-Id", &other), ("Last-Event-ID", ids[2])], "");
    assert_eq!(foreign.status, 400, "{}", foreign.body);
    let beyond = ids[2].replace("-2", "-99");
    for unknown in ["x", "1", "99-1", beyond.as_str()] {
        let answer = wrapped.send("GET", &[("Mcp-Session-Id", &session), ("Last-Event-ID", unknown)], "");
        assert_eq!(answer.status, 400, "{unknown}");
    }
}

#[test]
fn no_page_comes_in_that_was_not_let_in() {
    let wrapped =
        Wrapped::start(&["--allow-origin", "https://app.example", "--allow-host", "tools.svc"], &[]);
    let message = r#"{"jsonrpc":"2.0","id":1,"method":"pid"}"#;
    for (header, value, status) in [
        ("Host", "evil.example", 403),
        ("Host", "tools.svc:8000", 400),
        ("Origin", "https://evil.example", 403),
        ("Origin", "null", 403),
        ("Origin", "https://app.example", 400),
    ] {
        let answer = wrapped.send("POST", &[(header, value)], message);
        assert_eq!(answer.status, status, "{header}: {value}");
        let allowed = answer.header("access-control-allow-origin");
        assert_eq!(allowed.as_deref(), (value == "https://app.example").then_some("https://app.example"));
    }
    let asks = [("Origin", "https://app.example"), ("Access-Control-Request-Headers", "mcp-session-id")];
    let preflight = wrapped.send("OPTIONS", &asks, "");
    assert_eq!(
        (preflight.status, preflight.header("access-control-allow-headers").as_deref()),
        (204, Some("mcp-session-id"))
    );
    assert_eq!(wrapped.send("OPTIONS", &[("Origin", "https://evil.example")], "").status, 403);
}

#[test]
fn sessions_that_share_a_process_get_their_own_answers() {
    let wrapped = Wrapped::start(&["--shared"], &[]);
    let (first, second) = (wrapped.initialize(), wrapped.initialize());
    assert_eq!(wrapped.pid(&first), wrapped.pid(&second));
    // The same id and the same token from both, one of which waits.
    let of_first = [("Mcp-Session-Id", first.as_str())];
    let waiting = wrapped.open("POST", &of_first, r#"{"jsonrpc":"2.0","id":7,"method":"never"}"#);
    let steps = r#"{"jsonrpc":"2.0","id":7,"method":"steps","params":{"_meta":{"progressToken":7}}}"#;
    let answer = wrapped.ask(&second, steps).body;
    assert_eq!(answer.matches(r#""progressToken": 7,"#).count(), 3, "{answer}");
    assert!(answer.contains(r#""id": 7,"#), "{answer}");
    // Nobody cancels what another asked.
    wrapped.ask(&second, r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":7}}"#);
    let heard = wrapped.call(&second, "heard").body;
    assert!(!heard.contains("cancelled"), "{heard}");
    wrapped.ask(&first, r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":7}}"#);
    assert!(wrapped.call(&second, "heard").body.contains("cancelled"));
    // The server cannot ask: whose call it is nobody can tell.
    assert!(wrapped.call(&second, "ask").body.contains("asks nothing of its clients"));
    assert_eq!(wrapped.call(&first, "logging/setLevel").json()["error"]["code"], json!(-32601));
    let mut listening = wrapped.open("GET", &of_first, "");
    read_until(&mut listening, "text/event-stream");
    assert_eq!(wrapped.call(&second, "changed").json()["result"], json!({}));
    let told = read_until(&mut listening, "list_changed");
    assert!(!told.contains("of one"), "what is of one session no other learns: {told}");
    drop(waiting);
}

#[test]
fn requests_that_are_cancelled_take_no_room() {
    for flags in [&[][..], &["--shared"]] {
        let wrapped = Wrapped::start(flags, &[]);
        let session = wrapped.initialize();
        // More than one process works on at once.
        for id in 0..65 {
            let never = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"never"}}"#);
            let cancel = format!(
                r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{id}}}}}"#
            );
            let waiting = wrapped.open("POST", &[("Mcp-Session-Id", &session)], &never);
            // Where the cancellation overtakes it, it finds nothing: it is said until the stream ends.
            waiting.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
            let begins = Instant::now();
            while waiting.peek(&mut [0]).is_err() {
                assert_eq!(wrapped.ask(&session, &cancel).status, 202);
                assert!(begins.elapsed() < PATIENCE, "{id} is not cancelled");
            }
            waiting.set_read_timeout(Some(PATIENCE)).unwrap();
            let said = rest(waiting);
            assert!(said.starts_with("HTTP/1.1 200"), "{id}: {said}");
        }
        wrapped.pid(&session);
    }
}

#[test]
fn requests_without_a_session_get_their_own_answers() {
    let wrapped = Wrapped::start(&[], &["modern"]);
    let asked: Vec<_> = (0..4).map(|_| wrapped.stateless(1, "pid", "")).collect();
    let pids: Vec<_> =
        asked.into_iter().map(rest).map(|text| text.split_once("\"pid\": ").unwrap().1.to_owned()).collect();
    assert!(pids.iter().all(|pid| *pid == pids[0]), "{pids:?}");
    let steps = rest(wrapped.stateless(5, "steps", r#","progressToken":"mine""#));
    assert_eq!(steps.matches(r#""progressToken": "mine","#).count(), 3, "{steps}");
    assert!(steps.contains(r#""id": 5"#) && steps.contains("x-accel-buffering: no"), "{steps}");
    // A subscription's id is that of its request, for each client its own; closing the stream cancels.
    let mut listening = wrapped.stateless(9, "subscriptions/listen", "");
    let told = read_until(
        &mut listening,
        r#"list_changed", "params": {"_meta": {"io.modelcontextprotocol/subscriptionId": 9"#,
    );
    assert_eq!(told.matches(r#"subscriptionId": 9"#).count(), 2, "{told}");
    drop(listening);
    wrapped.until("the cancellation", |wrapped| {
        rest(wrapped.stateless(1, "heard", "")).contains("notifications/cancelled").then_some(())
    });
    let unknown = rest(wrapped.stateless(1, "no/such", ""));
    assert!(unknown.starts_with("HTTP/1.1 404") && unknown.contains("-32601"), "{unknown}");
    let message = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"pid","params":{{"_meta":{{{META}}}}}}}"#);
    for headers in [
        &[("MCP-Protocol-Version", "2026-07-28")][..],
        &[("MCP-Protocol-Version", "2026-07-28"), ("Mcp-Method", "heard")],
        &[("MCP-Protocol-Version", "2025-11-25"), ("Mcp-Method", "pid")],
    ] {
        let answer = wrapped.send("POST", headers, &message);
        assert_eq!((answer.status, &answer.json()["error"]["code"]), (400, &json!(-32020)), "{headers:?}");
    }
    // It dies, and the next request has a new one.
    let died = rest(wrapped.stateless(3, "die", ""));
    assert!(died.starts_with("HTTP/1.1 502"), "{died}");
    assert!(rest(wrapped.stateless(1, "pid", "")).contains("\"pid\": "));
}

#[test]
fn nobody_speaks_for_the_others_whom_a_process_serves() {
    let wrapped = Wrapped::start(&[], &["modern"]);
    let cancels = rest(wrapped.stateless(1, "notifications/cancelled", ""));
    assert!(cancels.starts_with("HTTP/1.1 400") && cancels.contains("a notification has no id"), "{cancels}");
    for method in ["initialize", "logging/setLevel", "resources/subscribe"] {
        let answer = rest(wrapped.stateless(1, method, ""));
        assert!(answer.starts_with("HTTP/1.1 404") && answer.contains("is of a connection"), "{answer}");
    }
    assert!(rest(wrapped.stateless(1, "heard", "")).contains(r#""heard": []"#));
    let wrapped = Wrapped::start(&["--shared"], &[]);
    let session = wrapped.initialize();
    let cancels = r#"{"jsonrpc":"2.0","id":1,"method":"notifications/cancelled","params":{"requestId":3}}"#;
    assert_eq!(wrapped.ask(&session, cancels).status, 400);
    for method in ["initialize", "logging/setLevel"] {
        let told = wrapped.ask(&session, &format!(r#"{{"jsonrpc":"2.0","method":"{method}"}}"#));
        assert_eq!(told.status, 400, "{method} without an id: {}", told.body);
    }
    assert_eq!(wrapped.call(&session, "heard").json()["result"]["heard"].as_array().unwrap().len(), 1);
}

#[test]
fn a_server_with_sessions_alone_is_told_apart() {
    let wrapped = Wrapped::start(&[], &[]);
    for _ in 0..2 {
        let answer = rest(wrapped.stateless(1, "pid", ""));
        assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("-32000"), "{answer}");
    }
    assert_eq!(wrapped.log().matches("[requests] started").count(), 1);
    wrapped.pid(&wrapped.initialize());
}

#[test]
fn an_answer_that_takes_long_begins_as_a_stream() {
    let wrapped = Wrapped::start(&[], &[]);
    let answer = wrapped.call(&wrapped.initialize(), "slow");
    assert_eq!(answer.header("content-type").as_deref(), Some("text/event-stream"));
    assert!(answer.body.contains(r#""late": true"#), "{}", answer.body);
}

#[test]
fn a_session_that_nobody_uses_ends_and_one_that_is_listened_to_does_not() {
    let wrapped = Wrapped::start(&["--idle", "2s"], &[]);
    let (idle, heard) = (wrapped.initialize(), wrapped.initialize());
    let mut listening = wrapped.open("GET", &[("Mcp-Session-Id", &heard)], "");
    read_until(&mut listening, "text/event-stream");
    wrapped.until("the end of a session", |wrapped| wrapped.log().contains("nobody uses it").then_some(()));
    assert_eq!(wrapped.call(&idle, "pid").status, 404);
    std::thread::sleep(Duration::from_secs(3));
    wrapped.pid(&heard);
}

#[test]
fn the_server_gets_the_environment_that_is_said() {
    let wrapped = Wrapped::start(&["--env", "A=1"], &[]);
    let names = wrapped.call(&wrapped.initialize(), "environment").json()["result"]["names"].clone();
    let names: Vec<String> = serde_json::from_value(names).unwrap();
    assert!(names.contains(&"A".to_owned()) && names.contains(&"PATH".to_owned()), "{names:?}");
    assert!(!names.iter().any(|name| name.starts_with("CARGO")), "{names:?}");
}

#[test]
fn a_socket_is_for_the_same_user_and_one_in_use_is_not_taken() {
    use std::os::unix::fs::PermissionsExt as _;
    use std::os::unix::net::{UnixListener, UnixStream};
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("mcp.sock");
    let at = path.display().to_string();
    // One that a process has left, and nobody listens at.
    drop(UnixListener::bind(&path).unwrap());
    let serve = |path: &Path| {
        command(&["wrap", "--socket", &path.display().to_string(), "python3", SERVER])
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    };
    let mut process = serve(&path);
    let begins = Instant::now();
    let mut stream = loop {
        match UnixStream::connect(&path) {
            Ok(stream) => break stream,
            Err(_) => assert!(begins.elapsed() < PATIENCE),
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: any\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    let second = super::run(&["wrap", "--socket", &at, "python3", SERVER]);
    assert_eq!(second.code, Some(2), "{second:?}");
    rustix::process::kill_process(rustix_pid(&process), rustix::process::Signal::TERM).unwrap();
    assert_eq!(process.wait().unwrap().code(), Some(0));
    assert!(!path.exists());
}
