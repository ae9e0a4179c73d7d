//! The client of the streams: opens them one after another, then waits for the ends of all at once.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use mio::{Events, Interest, Poll, Token};
use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
use serde_json::json;

use super::Ended;
use crate::estate::{NAMESPACE, SERVER, TOOLS};
use crate::wire;

/// No step may take longer.
const PATIENCE: Duration = Duration::from_secs(30);
/// Addresses that connections come from, since no source has more than is left for the others.
const SOURCES: usize = 64;
const VERSION: &str = "2026-07-28";

/// Streams that have begun.
pub(super) struct Streams {
    poll: Poll,
    /// `None` where it has ended.
    open: Vec<Option<mio::net::TcpStream>>,
    ended: usize,
}

impl Streams {
    pub(super) fn open(gateway: SocketAddr, tokens: &[String], streams: usize) -> anyhow::Result<Self> {
        let poll = Poll::new()?;
        let mut open = Vec::with_capacity(streams);
        for number in 0..streams {
            let token = tokens.get(number % tokens.len().max(1)).context("no caller")?;
            let begun = begin(gateway, number, token).with_context(|| format!("stream {number}"))?;
            begun.set_nonblocking(true)?;
            let mut stream = mio::net::TcpStream::from_std(begun);
            poll.registry().register(&mut stream, Token(number), Interest::READABLE)?;
            open.push(Some(stream));
        }
        Ok(Self { poll, open, ended: 0 })
    }

    /// How many have ended until now.
    pub(super) fn ended(&mut self) -> anyhow::Result<usize> {
        self.look(&mut Events::with_capacity(1_024), Duration::ZERO)?;
        Ok(self.ended)
    }

    /// Waits for the end of all.
    pub(super) fn until_all_ended(&mut self, begun: Instant) -> anyhow::Result<Ended> {
        let mut events = Events::with_capacity(1_024);
        let mut first = None;
        while self.ended < self.open.len() {
            self.look(&mut events, Duration::from_millis(100))?;
            if self.ended > 0 {
                first.get_or_insert_with(|| begun.elapsed());
            }
            ensure!(begun.elapsed() < PATIENCE, "{} of {} streams ended", self.ended, self.open.len());
        }
        Ok(Ended { first: first.context("no streams")?, last: begun.elapsed() })
    }

    fn look(&mut self, events: &mut Events, wait: Duration) -> anyhow::Result<()> {
        match self.poll.poll(events, Some(wait)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            result => result?,
        }
        for event in &*events {
            let Some(place) = self.open.get_mut(event.token().0) else { continue };
            if place.as_mut().is_some_and(has_ended) {
                *place = None;
                self.ended += 1;
            }
        }
        Ok(())
    }
}

/// Reads what there is: whether it is the end, of the connection or of the chunks.
fn has_ended(stream: &mut mio::net::TcpStream) -> bool {
    let mut piece = [0; 4_096];
    loop {
        match stream.read(&mut piece) {
            Ok(0) => return true,
            Ok(read) if piece.get(..read).is_some_and(|piece| piece.ends_with(b"0\r\n\r\n")) => return true,
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return error.kind() != ErrorKind::WouldBlock,
        }
    }
}

/// Calls a tool, and returns when the first event is there.
fn begin(gateway: SocketAddr, number: usize, token: &str) -> anyhow::Result<TcpStream> {
    let source = u8::try_from(2 + number % SOURCES)?;
    let descriptor = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    bind(&descriptor, &SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, source), 0))?;
    connect(&descriptor, &gateway)?;
    let mut stream = TcpStream::from(descriptor);
    stream.set_read_timeout(Some(PATIENCE))?;
    let tool = TOOLS.get(number % TOOLS.len()).copied().context("no tool")?;
    let body = json!({"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": {"name": tool,
        "arguments": {"region": "eu-central", "amount": 1_284}, "_meta": {
            "io.modelcontextprotocol/protocolVersion": VERSION, "io.modelcontextprotocol/clientCapabilities": {}}}});
    let headers = [
        format!("authorization: Bearer {token}"),
        "content-type: application/json".to_owned(),
        "accept: application/json, text/event-stream".to_owned(),
        format!("mcp-protocol-version: {VERSION}"),
        "mcp-method: tools/call".to_owned(),
        format!("mcp-name: {tool}"),
    ];
    let path = format!("/mcp/{NAMESPACE}/{SERVER}");
    stream.write_all(&wire::request("POST", &path, gateway, &headers, &body.to_string()))?;
    let (mut bytes, mut piece) = (Vec::new(), [0; 4_096]);
    while memchr::memmem::find(&bytes, b"data: ").is_none() {
        let read = stream.read(&mut piece)?;
        bytes.extend_from_slice(piece.get(..read).unwrap_or_default());
        if read == 0 || !bytes.starts_with(b"HTTP/1.1 200") {
            bail!("it did not begin: {}", String::from_utf8_lossy(&bytes));
        }
    }
    Ok(stream)
}
