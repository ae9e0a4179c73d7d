//! The load generator over HTTP/2: one thread, for each caller one connection, as a channel of gRPC has, and on them so many calls at once.
//!
//! Answers are held to the same as those over HTTP/1.1 (the parent module).

use std::cell::RefCell;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use futures_util::future::try_join_all;
use http::header::{AUTHORIZATION, CONTENT_TYPE, TE, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::runtime::{Builder, Runtime};

use super::{CHECK_EVERY, Check, Load, PATIENCE};
use crate::latency::Latency;
use crate::process::CpuClock;
use crate::wire::Reply;

type Channel = SendRequest<Full<Bytes>>;

/// One prepared call.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    request: Request<Full<Bytes>>,
    check: Check,
}

impl Call {
    /// `message` is in its frame.
    pub(crate) fn new(
        (address, path): (SocketAddr, &str),
        token: &str,
        message: Bytes,
        check: Check,
    ) -> anyhow::Result<Self> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(format!("http://{address}{path}"))
            .header(AUTHORIZATION, format!("Bearer {token}"))
            .header(CONTENT_TYPE, "application/grpc")
            .header(TE, "trailers")
            .header("a2a-version", "1.0")
            .header(USER_AGENT, "vidimus-bench")
            .body(Full::new(message))?;
        Ok(Self { request, check })
    }
}

/// Calls that are made one after another, again and again.
#[derive(Debug)]
struct Script {
    channel: usize,
    calls: Vec<Call>,
    /// Lengths of the checked answers, by call.
    lengths: Vec<Option<usize>>,
    answered: usize,
}

/// Connections that stay open between measurements.
#[derive(Debug)]
pub(crate) struct Channels {
    address: SocketAddr,
    runtime: Runtime,
    channels: Vec<Channel>,
    scripts: Vec<Script>,
}

impl Channels {
    /// Opens `callers` connections, or one for each list of calls where there are fewer lists; the lists take them in turns, as they take callers.
    pub(crate) fn connect(
        address: SocketAddr,
        callers: usize,
        lists: Vec<Vec<Call>>,
    ) -> anyhow::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let count = callers.min(lists.len()).max(1);
        let channels = (0..count).map(|_| runtime.block_on(open(address))).collect::<anyhow::Result<_>>()?;
        let script = |(number, calls): (usize, Vec<Call>)| {
            ensure!(!calls.is_empty(), "a list without calls");
            let lengths = vec![None; calls.len()];
            Ok(Script { channel: number % count, calls, lengths, answered: 0 })
        };
        let scripts = lists.into_iter().enumerate().map(script).collect::<anyhow::Result<_>>()?;
        Ok(Self { address, runtime, channels, scripts })
    }

    /// Keeps one call of every list under way for `time`, then waits for the last answers.
    pub(crate) fn run(&mut self, time: Duration) -> anyhow::Result<Load> {
        let Self { address, runtime, channels, scripts } = self;
        runtime.block_on(async {
            // Those that were closed while the other ways had their turns are known to be when their tasks have run.
            tokio::time::sleep(Duration::from_millis(1)).await;
            for channel in channels.iter_mut().filter(|channel| channel.is_closed()) {
                *channel = open(*address).await?;
            }
            let clock = CpuClock::own();
            let (cpu, begun) = (clock.read()?, Instant::now());
            let latency = RefCell::new(Latency::new()?);
            let all = scripts.iter_mut().map(|script| {
                let channel = channels.get(script.channel).cloned();
                script.go(channel, (begun, time), &latency)
            });
            let counts = tokio::time::timeout(time + PATIENCE, try_join_all(all));
            let requests = counts.await.with_context(|| format!("no answer within {PATIENCE:?}"))??;
            let wall = begun.elapsed();
            let cpu = clock.read()?.since(&cpu);
            Ok(Load { requests: requests.iter().sum(), wall, latency: latency.into_inner(), cpu })
        })
    }
}

impl Script {
    /// Makes calls until the time is over; how many.
    async fn go(
        &mut self,
        channel: Option<Channel>,
        (begun, time): (Instant, Duration),
        latency: &RefCell<Latency>,
    ) -> anyhow::Result<u64> {
        let mut channel = channel.context("no channel")?;
        let mut requests = 0;
        loop {
            let current = self.answered % self.calls.len();
            let call = self.calls.get(current).context("no such call")?;
            let sent = Instant::now();
            let (_, body) = answer(&mut channel, call).await?;
            let now = Instant::now();
            latency.borrow_mut().record(now - sent);
            let known = self.lengths.get_mut(current).context("no such call")?;
            if known.is_none() || (self.answered as u64).is_multiple_of(CHECK_EVERY) {
                (call.check)(&body)?;
            }
            let first = *known.get_or_insert(body.len());
            ensure!(first == body.len(), "an answer of {} bytes where it was {first} before", body.len());
            self.answered += 1;
            requests += 1;
            if now - begun >= time {
                return Ok(requests);
            }
        }
    }
}

/// One call on a connection of its own, with all that its answer says.
pub(crate) fn ask(address: SocketAddr, call: &Call) -> anyhow::Result<Reply> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let (headers, body) = runtime.block_on(async {
        let asked = async { answer(&mut open(address).await?, call).await };
        let asked = tokio::time::timeout(PATIENCE, asked).await;
        asked.with_context(|| format!("no answer within {PATIENCE:?}"))?
    })?;
    (call.check)(&body)?;
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let headers = headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value)));
    Ok(Reply { status: 200, headers: headers.collect(), body: body.into() })
}

async fn open(address: SocketAddr) -> anyhow::Result<Channel> {
    let stream = tokio::net::TcpStream::connect(address).await;
    let stream = stream.with_context(|| format!("no connection to {address}"))?;
    stream.set_nodelay(true)?;
    let (channel, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    // Whoever calls on it sees that it broke.
    tokio::spawn(connection);
    Ok(channel)
}

/// Headers and body of an answer; an error for one that is not of status 0.
async fn answer(channel: &mut Channel, call: &Call) -> anyhow::Result<(HeaderMap, Bytes)> {
    let (parts, body) = channel.send_request(call.request.clone()).await?.into_parts();
    let body = body.collect().await?;
    let ended = body.trailers().unwrap_or(&parts.headers);
    let is_well = ended.get("grpc-status").is_some_and(|status| status == "0");
    ensure!(is_well, "an answer of status {}: {:?} {ended:?}", parts.status, parts.headers);
    Ok((parts.headers, body.to_bytes()))
}
