//! The upstream: it logs every byte that reaches it, and answers what it was told to.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::lively;
use crate::reply::Reply;
use crate::wire;

/// One request that reached it.
#[derive(Clone, Debug)]
pub struct Received {
    /// Request line and fields, as they came.
    pub head: Vec<u8>,
    /// The body, chunks joined.
    pub body: Vec<u8>,
}

impl Received {
    /// The request line.
    pub fn line(&self) -> String {
        let text = String::from_utf8_lossy(&self.head);
        text.lines().next().unwrap_or_default().to_owned()
    }

    /// Whether a text is anywhere in it.
    pub fn contains(&self, text: &str) -> bool {
        let head = String::from_utf8_lossy(&self.head);
        head.to_ascii_lowercase().contains(&text.to_ascii_lowercase())
            || wire::contains(&self.body, text.as_bytes())
    }

    /// The value of a field; the first where it came more than once.
    pub fn field(&self, name: &str) -> Option<String> {
        wire::fields(&self.head)
            .into_iter()
            .find(|(had, _)| had.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }
}

#[derive(Debug)]
struct State {
    reply: Mutex<Reply>,
    log: Mutex<Vec<Received>>,
    /// What reached it is not kept.
    forgets: AtomicBool,
    address: SocketAddr,
}

/// The upstream; its threads end with the process.
#[derive(Clone, Debug)]
pub struct Upstream {
    state: Arc<State>,
}

impl Upstream {
    /// Listens on a port of loopback.
    ///
    /// # Errors
    /// When there is none.
    pub fn start() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let state = State {
            reply: Mutex::new(Reply::Proper),
            log: Mutex::default(),
            forgets: AtomicBool::new(false),
            address: listener.local_addr()?,
        };
        let upstream = Self { state: Arc::new(state) };
        let serving = upstream.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let serving = serving.clone();
                // A client that goes away ends its connection, and nothing else.
                std::thread::spawn(move || _ = serving.connection(stream));
            }
        });
        Ok(upstream)
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.state.address
    }

    /// Answers with this from now on.
    pub fn answer(&self, reply: Reply) {
        *lock(&self.state.reply) = reply;
    }

    /// Keeps nothing of what reaches it from now on: for those who run it for hours.
    pub fn forget(&self) {
        self.state.forgets.store(true, Ordering::Relaxed);
    }

    /// How much reached it so far.
    pub fn count(&self) -> usize {
        lock(&self.state.log).len()
    }

    /// What reached it after the first `mark`.
    pub fn since(&self, mark: usize) -> Vec<Received> {
        lock(&self.state.log).get(mark..).unwrap_or_default().to_vec()
    }

    fn connection(&self, mut stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut buffer = Vec::new();
        loop {
            let Some(received) = read(&mut stream, &mut buffer)? else { return Ok(()) };
            let line = received.line();
            if !self.state.forgets.load(Ordering::Relaxed) {
                lock(&self.state.log).push(received.clone());
            }
            // The reply is taken out of its lock before it is carried out, which may take long.
            let reply = lock(&self.state.reply).clone();
            match reply {
                Reply::Lively if lively::answer(&mut stream, &received)? => {}
                Reply::Proper | Reply::Lively => {
                    stream.write_all(proper(&line, self.state.address).as_bytes())?;
                }
                Reply::Raw(bytes) => return stream.write_all(&bytes),
                Reply::Elsewhere(status) => {
                    let to = self.state.address;
                    let head = format!(
                        "HTTP/1.1 {status} S\r\nlocation: http://{to}/elsewhere\r\ncontent-length: 0\r\n\r\n"
                    );
                    stream.write_all(head.as_bytes())?;
                }
                Reply::Silent(time) => {
                    std::thread::sleep(time);
                    return Ok(());
                }
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One request; `None` at the end of the connection.
fn read(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<Option<Received>> {
    loop {
        if let Some((received, used)) = request(buffer) {
            buffer.drain(..used);
            return Ok(Some(received));
        }
        let mut piece = [0; 65_536];
        let count = stream.read(&mut piece)?;
        if count == 0 {
            // What came of a request that was cut short has reached the upstream all the same.
            let cut = std::mem::take(buffer);
            return Ok((!cut.is_empty()).then_some(Received { head: cut, body: Vec::new() }));
        }
        buffer.extend_from_slice(piece.get(..count).unwrap_or_default());
    }
}

fn request(buffer: &[u8]) -> Option<(Received, usize)> {
    let end = wire::head_end(buffer)?;
    let (head, rest) = buffer.split_at(end);
    let fields = wire::fields(head);
    let named =
        |name: &str| fields.iter().find(|(had, _)| had.eq_ignore_ascii_case(name)).map(|(_, value)| value);
    if named("transfer-encoding").is_some() {
        let (body, whole) = wire::dechunk(rest);
        let last = rest.windows(5).position(|window| window == b"0\r\n\r\n")?;
        return whole.then(|| (Received { head: head.to_vec(), body }, end + last + 5));
    }
    let length = named("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let body = rest.get(..length)?.to_vec();
    Some((Received { head: head.to_vec(), body }, end + length))
}

/// As a good server of that path would answer to id 1.
fn proper(line: &str, address: SocketAddr) -> String {
    let path = line.split(' ').nth(1).unwrap_or_default();
    let body = if path.contains("/.well-known/") {
        format!(
            r#"{{"name":"callee","description":"d","version":"1","url":"http://{address}/a2a","supportedInterfaces":[{{"url":"http://{address}/a2a","protocolBinding":"JSONRPC","protocolVersion":"1.0"}}],"capabilities":{{}},"skills":[],"defaultInputModes":[],"defaultOutputModes":[]}}"#
        )
    } else if path.starts_with("/a2a") {
        r#"{"jsonrpc":"2.0","id":1,"result":{"message":{"messageId":"m","role":"ROLE_AGENT","parts":[{"text":"x"}]}}}"#.to_owned()
    } else if path.starts_with("/rest") {
        r#"{"message":{"messageId":"m","role":"ROLE_AGENT","parts":[{"text":"x"}]}}"#.to_owned()
    } else if path.starts_with("/openai") {
        r#"{"id":"c","object":"chat.completion","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1}}"#.to_owned()
    } else if path.starts_with("/anthropic") {
        r#"{"id":"m","type":"message","role":"assistant","content":[],"usage":{"input_tokens":1,"output_tokens":1}}"#.to_owned()
    } else {
        r#"{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"x"}]}}"#.to_owned()
    };
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// The longest that [`Reply::Silent`] should be: longer than the gateway waits in these tests.
pub const SILENCE: Duration = Duration::from_secs(6);
