//! The load generator: one thread, one request at a time on each keep-alive connection, no allocation per request.
//!
//! Every answer must be status 200 and as long as the first one to the same request, whose body was read and checked; one in
//! [`CHECK_EVERY`] is checked again. So what is measured is answers, never refusals.

mod answer;
mod channels;

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::latency::Latency;
use crate::process::CpuClock;
pub(crate) use answer::Answer;
use answer::Complete;
pub(crate) use channels::{Call, Channels, ask};

/// Largest answer, headers and all.
const LARGEST_ANSWER: usize = 128 * 1024;
/// One answer in so many is read and checked whole.
const CHECK_EVERY: u64 = 512;
/// No answer may take longer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Whether a body is what was asked for; else what it is.
pub(crate) type Check = fn(&[u8]) -> anyhow::Result<()>;

/// One prepared request.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// Request line, headers and body, as they go on the wire.
    pub(crate) bytes: Arc<[u8]>,
    pub(crate) check: Check,
    /// Whether a right answer may be of another length each time. Then every answer is read and checked.
    pub(crate) varies: bool,
}

/// What one measurement gave.
#[derive(Debug)]
pub(crate) struct Load {
    pub(crate) requests: u64,
    pub(crate) wall: Duration,
    pub(crate) latency: Latency,
    /// Processor time of this process.
    pub(crate) cpu: Duration,
}

impl Load {
    /// Microseconds of a time for each request.
    pub(crate) fn per_request(&self, time: Duration) -> f64 {
        time.as_secs_f64() * 1e6 / self.requests.max(1) as f64
    }
}

/// Connections that stay open between measurements.
#[derive(Debug)]
pub(crate) struct Generator {
    address: SocketAddr,
    poll: Poll,
    events: Events,
    connections: Vec<Connection>,
}

impl Generator {
    /// Opens one connection for each list of requests, which it will go through again and again.
    pub(crate) fn connect(address: SocketAddr, scripts: Vec<Vec<Request>>) -> anyhow::Result<Self> {
        let poll = Poll::new()?;
        let mut connections = Vec::with_capacity(scripts.len());
        for (number, script) in scripts.into_iter().enumerate() {
            connections.push(Connection::new(open(address, &poll, number)?, script)?);
        }
        Ok(Self { address, poll, events: Events::with_capacity(256), connections })
    }

    /// Opens the connections again that were closed while the other ways had their turns, as idle connections are.
    fn reopen(&mut self) -> anyhow::Result<()> {
        for (number, connection) in self.connections.iter_mut().enumerate() {
            if connection.is_closed() {
                self.poll.registry().deregister(&mut connection.stream)?;
                connection.stream = open(self.address, &self.poll, number)?;
            }
        }
        Ok(())
    }

    /// Keeps one request under way on every connection for `time`, then waits for the last answers.
    pub(crate) fn run(&mut self, time: Duration) -> anyhow::Result<Load> {
        self.reopen()?;
        let clock = CpuClock::own();
        let (cpu, begun) = (clock.read()?, Instant::now());
        let mut latency = Latency::new()?;
        let (mut requests, mut open) = (0_u64, 0_usize);
        for connection in &mut self.connections {
            connection.send(Instant::now())?;
            open += 1;
        }
        while open > 0 {
            self.poll.poll(&mut self.events, Some(PATIENCE))?;
            ensure!(!self.events.is_empty(), "{open} requests had no answer within {PATIENCE:?}");
            for event in &self.events {
                let connection =
                    self.connections.get_mut(event.token().0).context("an event of no connection")?;
                if connection.receive()? {
                    let now = Instant::now();
                    latency.record(now - connection.sent);
                    requests += 1;
                    if now - begun < time {
                        connection.send(now)?;
                    } else {
                        open -= 1;
                    }
                }
            }
        }
        let wall = begun.elapsed();
        Ok(Load { requests, wall, latency, cpu: clock.read()?.since(&cpu) })
    }
}

/// Connected before it is registered, so that the first write finds it open.
fn open(address: SocketAddr, poll: &Poll, number: usize) -> anyhow::Result<TcpStream> {
    let stream =
        std::net::TcpStream::connect(address).with_context(|| format!("no connection to {address}"))?;
    stream.set_nodelay(true)?;
    stream.set_nonblocking(true)?;
    let mut stream = TcpStream::from_std(stream);
    poll.registry().register(&mut stream, Token(number), Interest::READABLE)?;
    Ok(stream)
}

#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    script: Vec<Request>,
    /// Body lengths of the checked answers, by request.
    lengths: Vec<Option<usize>>,
    /// The request that is under way, or the next one.
    current: usize,
    answered: u64,
    sent: Instant,
    buffer: Box<[u8]>,
    filled: usize,
    answer: Answer,
}

impl Connection {
    fn new(stream: TcpStream, script: Vec<Request>) -> anyhow::Result<Self> {
        ensure!(!script.is_empty(), "a connection without requests");
        Ok(Self {
            stream,
            lengths: vec![None; script.len()],
            script,
            current: 0,
            answered: 0,
            sent: Instant::now(),
            buffer: vec![0; LARGEST_ANSWER].into_boxed_slice(),
            filled: 0,
            answer: Answer::default(),
        })
    }

    /// Whether the other side has closed it. Nothing is under way, so there is nothing else to read.
    fn is_closed(&self) -> bool {
        self.stream
            .peek(&mut [0])
            .map_or_else(|error| error.kind() != ErrorKind::WouldBlock, |read| read == 0)
    }

    fn send(&mut self, now: Instant) -> anyhow::Result<()> {
        let request = self.script.get(self.current).context("no such request")?;
        self.sent = now;
        // A request is far smaller than a socket's buffer, which is empty: nothing else is under way here.
        let written = self.stream.write(&request.bytes).context("a request could not be written")?;
        ensure!(
            written == request.bytes.len(),
            "only {written} of {} bytes could be written",
            request.bytes.len()
        );
        Ok(())
    }

    /// Reads what there is; true when it completed the answer.
    fn receive(&mut self) -> anyhow::Result<bool> {
        loop {
            let space = self.buffer.get_mut(self.filled..).unwrap_or_default();
            let room = space.len();
            let received = match self.stream.read(space) {
                Ok(0) if room == 0 => bail!("an answer is larger than {LARGEST_ANSWER} bytes"),
                Ok(0) => bail!("the connection was closed in the middle of an answer: {:?}", self.so_far()),
                Ok(received) => received,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error).context("an answer could not be read"),
            };
            self.filled += received;
            let bytes = self.buffer.get(..self.filled).unwrap_or_default();
            if let Some(complete) = self.answer.read(bytes)? {
                self.finish(complete)?;
                return Ok(true);
            }
            if received < room {
                // A short read emptied the socket; the next byte is a new event (epoll(7), questions and answers 9).
                return Ok(false);
            }
        }
    }

    fn finish(&mut self, complete: Complete) -> anyhow::Result<()> {
        ensure!(complete.status == 200, "an answer of status {}: {:?}", complete.status, self.so_far());
        let request = self.script.get(self.current).context("no such request")?;
        let known = self.lengths.get_mut(self.current).context("no such request")?;
        if known.is_none() || request.varies || self.answered.is_multiple_of(CHECK_EVERY) {
            let bytes = self.buffer.get(..self.filled).unwrap_or_default();
            let body = complete.body(bytes)?;
            (request.check)(&body).with_context(|| format!("answer {:?}", String::from_utf8_lossy(bytes)))?;
        }
        let first = *known.get_or_insert(complete.payload);
        if first != complete.payload && !request.varies {
            bail!("a body of {} bytes where it was {first} before: {:?}", complete.payload, self.so_far());
        }
        self.answered += 1;
        self.current = (self.current + 1) % self.script.len();
        self.filled = 0;
        self.answer = Answer::default();
        Ok(())
    }

    fn so_far(&self) -> String {
        String::from_utf8_lossy(self.buffer.get(..self.filled).unwrap_or_default()).into_owned()
    }
}

#[cfg(test)]
mod tests;
