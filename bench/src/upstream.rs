//! The upstream of the measurements: an MCP server, A2A agents and an OpenAI-compatible provider in one, as cheap as they can
//! be, so that what is measured is the way to it. One thread, keep-alive HTTP/1.1, prepared answers; and one for the agents over gRPC.

mod answer;
mod grpc;
mod seen;

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, bail, ensure};
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

pub(crate) use answer::{CHUNKS, WIDE_PATH};
pub(crate) use seen::Seen;

use crate::scenario::Scenario;

/// Largest request, headers and all.
const LARGEST_REQUEST: usize = 32 * 1024;
const MOST_HEADERS: usize = 48;
const LISTENER: Token = Token(usize::MAX);

/// Where it listens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct At {
    /// Over HTTP/1.1.
    pub(crate) http: SocketAddr,
    /// Over gRPC; of an upstream without it, the same.
    pub(crate) grpc: SocketAddr,
}

impl At {
    /// Where a scenario's calls go that nothing stands in between of.
    pub(crate) const fn of(&self, scenario: Scenario) -> SocketAddr {
        if scenario.is_grpc() { self.grpc } else { self.http }
    }
}

/// The listening server.
#[derive(Debug)]
pub(crate) struct Upstream {
    listener: TcpListener,
    poll: Poll,
    grpc: std::net::TcpListener,
}

impl Upstream {
    /// Binds a port of loopback; 0 takes a free one. And a free one for gRPC.
    pub(crate) fn bind(port: u16) -> anyhow::Result<Self> {
        let mut listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
        let poll = Poll::new()?;
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        let grpc = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        Ok(Self { listener, poll, grpc })
    }

    pub(crate) fn at(&self) -> anyhow::Result<At> {
        Ok(At { http: self.listener.local_addr()?, grpc: self.grpc.local_addr()? })
    }

    /// Serves for as long as the process lives.
    pub(crate) fn serve(self) -> anyhow::Result<()> {
        let Self { listener, mut poll, grpc } = self;
        let seen = Arc::new(Mutex::new(Seen::default()));
        let also = seen.clone();
        std::thread::Builder::new().name("grpc".to_owned()).spawn(move || {
            if let Err(error) = grpc::serve(grpc, &also) {
                _ = crate::note(&format!("upstream over gRPC: {error:#}"));
            }
        })?;
        serve(&listener, &mut poll, &seen)
    }
}

fn serve(listener: &TcpListener, poll: &mut Poll, seen: &Mutex<Seen>) -> anyhow::Result<()> {
    let mut events = Events::with_capacity(256);
    let mut connections: Vec<Option<Connection>> = Vec::new();
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            result => result?,
        }
        // Nobody calls over gRPC meanwhile.
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        for event in &events {
            if event.token() == LISTENER {
                accept(listener, poll, &mut connections)?;
                continue;
            }
            let Some(place) = connections.get_mut(event.token().0) else { continue };
            let Some(connection) = place else { continue };
            match connection.serve(&mut seen) {
                Ok(true) => {}
                Ok(false) => *place = None,
                Err(error) => {
                    writeln!(std::io::stderr(), "upstream: {error:#}")?;
                    *place = None;
                }
            }
        }
    }
}

fn accept(
    listener: &TcpListener,
    poll: &Poll,
    connections: &mut Vec<Option<Connection>>,
) -> anyhow::Result<()> {
    loop {
        let mut stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error).context("accept"),
        };
        stream.set_nodelay(true)?;
        let free = connections.iter().position(Option::is_none);
        let number = free.unwrap_or(connections.len());
        poll.registry().register(&mut stream, Token(number), Interest::READABLE)?;
        let connection =
            Some(Connection { stream, buffer: vec![0; LARGEST_REQUEST].into_boxed_slice(), filled: 0 });
        match connections.get_mut(number) {
            Some(place) => *place = connection,
            None => connections.push(connection),
        }
    }
}

/// One request, complete.
struct Request<'a> {
    method: &'a str,
    path: &'a str,
    session: Option<&'a [u8]>,
    authorization: Option<&'a [u8]>,
    body: &'a [u8],
}

struct Connection {
    stream: TcpStream,
    buffer: Box<[u8]>,
    filled: usize,
}

impl Connection {
    /// Reads and answers what there is; false when the other end has closed.
    fn serve(&mut self, seen: &mut Seen) -> anyhow::Result<bool> {
        loop {
            let space = self.buffer.get_mut(self.filled..).unwrap_or_default();
            let room = space.len();
            ensure!(room > 0, "a request is larger than {LARGEST_REQUEST} bytes");
            let received = match self.stream.read(space) {
                Ok(0) => return Ok(false),
                Ok(received) => received,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(false),
                Err(error) => return Err(error).context("a request could not be read"),
            };
            self.filled += received;
            self.answer(seen)?;
            if received < room {
                return Ok(true);
            }
        }
    }

    fn answer(&mut self, seen: &mut Seen) -> anyhow::Result<()> {
        let bytes = self.buffer.get(..self.filled).unwrap_or_default();
        let Some(request) = parse(bytes)? else { return Ok(()) };
        let stream = &mut self.stream;
        answer::answer(&request, seen, |piece| {
            // Answers are far smaller than a socket's buffer, which the other end has emptied before it asks again.
            let written = stream.write(piece).context("an answer could not be written")?;
            ensure!(
                written == piece.len(),
                "only {written} of {} bytes of an answer could be written",
                piece.len()
            );
            Ok(())
        })?;
        self.filled = 0;
        Ok(())
    }
}

/// The request, once it is complete.
fn parse(bytes: &[u8]) -> anyhow::Result<Option<Request<'_>>> {
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut head = httparse::Request::new(&mut headers);
    let start = match head.parse(bytes).context("the request is not HTTP/1.1")? {
        httparse::Status::Partial => return Ok(None),
        httparse::Status::Complete(start) => start,
    };
    let (mut length, mut session, mut authorization) = (0, None, None);
    for header in head.headers.iter() {
        match header.name {
            name if name.eq_ignore_ascii_case("content-length") => {
                length = std::str::from_utf8(header.value)?.parse()?;
            }
            name if name.eq_ignore_ascii_case("mcp-session-id") => session = Some(header.value),
            name if name.eq_ignore_ascii_case("authorization") => authorization = Some(header.value),
            name if name.eq_ignore_ascii_case("transfer-encoding") => {
                bail!("a request in chunks is not understood")
            }
            _ => {}
        }
    }
    if bytes.len() < start + length {
        return Ok(None);
    }
    ensure!(bytes.len() == start + length, "a second request came before the first was answered");
    let path = head.path.context("a request without a path")?;
    let method = head.method.context("a request without a method")?;
    Ok(Some(Request { method, path, session, authorization, body: bytes.get(start..).unwrap_or_default() }))
}
