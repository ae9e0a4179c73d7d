//! HTTP/1.1 by hand: what a client library would put right is what is tried.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Longer than any answer takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long a second answer on the connection is waited for.
const AFTER: Duration = Duration::from_millis(30);

/// What came back.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// All bytes, of all answers on the connection.
    pub bytes: Vec<u8>,
    /// Of the first one; 0 where there is none.
    pub status: u16,
    fields: Vec<(String, String)>,
    /// The body of the first one, chunks joined.
    pub body: Vec<u8>,
    /// The other side closed.
    pub closed: bool,
    /// The first answer came whole.
    pub whole: bool,
}

impl Answer {
    /// The value of a field that came once.
    pub fn field(&self, name: &str) -> Option<&str> {
        let mut found = self.fields.iter().filter(|(had, _)| had.eq_ignore_ascii_case(name));
        match (found.next(), found.next()) {
            (Some((_, value)), None) => Some(value),
            _ => None,
        }
    }

    /// The code of a refusal.
    pub fn code(&self) -> Option<&str> {
        self.field("vidimus-code")
    }

    /// The id by which the call is on record.
    pub fn id(&self) -> Option<&str> {
        self.field("vidimus-call")
    }

    /// Whether a text is anywhere in it, chunk sizes aside.
    pub fn contains(&self, text: &str) -> bool {
        contains(&self.bytes, text.as_bytes()) || contains(&self.body, text.as_bytes())
    }

    /// The body as JSON; `null` where it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// Its beginning, for people.
    pub fn summary(&self) -> String {
        let body: String = String::from_utf8_lossy(&self.body).chars().take(160).collect();
        let closed = if self.closed { ", closed" } else { "" };
        format!("{} {}{closed} {body}", self.status, self.code().unwrap_or("-"))
    }
}

/// Whether `needle` is in `bytes`.
pub fn contains(bytes: &[u8], needle: &[u8]) -> bool {
    !needle.is_empty() && bytes.windows(needle.len()).any(|window| window == needle)
}

/// A connection.
///
/// # Errors
/// When there is none.
pub fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Sends `pieces` with a pause after each but the last, and reads what comes back: the first answer whole, and more if `behind`.
pub fn exchange(address: SocketAddr, pieces: &[&[u8]], behind: bool) -> Answer {
    exchange_within(address, pieces, behind, PATIENCE)
}

/// As [`exchange`], giving up after `patience`.
pub fn exchange_within(address: SocketAddr, pieces: &[&[u8]], behind: bool, patience: Duration) -> Answer {
    let Ok(mut stream) = connect(address) else {
        return Answer { closed: true, ..Answer::default() };
    };
    for (number, piece) in pieces.iter().enumerate() {
        if number > 0 {
            std::thread::sleep(Duration::from_millis(20));
        }
        // The other side may have answered and closed before it has read all; what it answered is still to be read.
        if stream.write_all(piece).is_err() {
            break;
        }
    }
    let mut answer = Answer::default();
    let until = Instant::now() + patience;
    while !answer.whole && !answer.closed && Instant::now() < until {
        more(&mut stream, &mut answer, until.saturating_duration_since(Instant::now()));
        parse(&mut answer);
    }
    if behind {
        while !answer.closed {
            let had = answer.bytes.len();
            more(&mut stream, &mut answer, AFTER);
            if answer.bytes.len() == had {
                break;
            }
        }
    }
    answer
}

/// Reads once.
fn more(stream: &mut TcpStream, answer: &mut Answer, wait: Duration) {
    let _ = stream.set_read_timeout(Some(wait.max(Duration::from_millis(1))));
    let mut buffer = [0; 65_536];
    match stream.read(&mut buffer) {
        Ok(0) => answer.closed = true,
        Ok(count) => answer.bytes.extend_from_slice(buffer.get(..count).unwrap_or_default()),
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
        Err(_) => answer.closed = true,
    }
}

/// The end of the head: where the body begins.
pub fn head_end(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4)
}

/// The fields of a head, names as they came.
pub fn fields(head: &[u8]) -> Vec<(String, String)> {
    let text = String::from_utf8_lossy(head);
    let lines = text.split("\r\n").skip(1).filter_map(|line| line.split_once(':'));
    lines.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect()
}

fn parse(answer: &mut Answer) {
    let Some(end) = head_end(&answer.bytes) else { return };
    let (head, body) = answer.bytes.split_at(end);
    let line = String::from_utf8_lossy(head);
    let status = line.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    answer.status = status;
    answer.fields = fields(head);
    let named = |name: &str| {
        answer.fields.iter().find(|(had, _)| had.eq_ignore_ascii_case(name)).map(|(_, value)| value.clone())
    };
    if named("transfer-encoding").is_some() {
        let (body, whole) = dechunk(body);
        (answer.body, answer.whole) = (body, whole);
        return;
    }
    let length = named("content-length").and_then(|length| length.parse::<usize>().ok());
    answer.body = body.to_vec();
    answer.whole = match length {
        Some(length) => body.len() >= length,
        None => matches!(status, 100..200 | 204 | 304) || answer.closed,
    };
}

/// The joined chunks, and whether the last one came.
pub fn dechunk(mut rest: &[u8]) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    loop {
        let Some(line) = rest.windows(2).position(|window| window == b"\r\n") else { return (body, false) };
        let size = String::from_utf8_lossy(rest.get(..line).unwrap_or_default()).into_owned();
        let size = size.split(';').next().unwrap_or_default().trim().to_owned();
        let Ok(size) = usize::from_str_radix(&size, 16) else { return (body, false) };
        rest = rest.get(line + 2..).unwrap_or_default();
        if size == 0 {
            return (body, rest.starts_with(b"\r\n"));
        }
        let Some(chunk) = rest.get(..size) else {
            body.extend_from_slice(rest);
            return (body, false);
        };
        body.extend_from_slice(chunk);
        let Some(after) = rest.get(size + 2..) else { return (body, false) };
        rest = after;
    }
}
