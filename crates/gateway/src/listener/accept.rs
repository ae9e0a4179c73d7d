//! Listeners: one accept loop and one single-threaded runtime per core, so that a call stays on one thread from its first byte
//! to its record. A listening socket is shared by all workers: the one that is idle accepts, and gives the connection to the one
//! that has fewest.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::{Mutex, watch};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tokio_rustls::TlsAcceptor;
use vidimus_identity::PeerSvid;

use super::connections::{Arrival, Connections, Open, Seat};
use super::timed::Timed;
use super::{Door, malformed};
use crate::gate::Gate;
use crate::handle::Peer;
use crate::refusal_sampler;
use crate::vitals::Pulse;

/// How long what is cut when the gateway stops may take to say so.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How often an accept loop comes round where nobody connects, to say that it lives.
const ROUND: Duration = Duration::from_secs(1);

/// When connections cannot be accepted.
const PAUSE: Duration = Duration::from_millis(10);

/// One listening socket.
#[derive(Debug)]
pub struct Listener {
    pub socket: TcpListener,
    /// TLS with optional client certificates; `None` is plain HTTP.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// What comes in there.
    pub door: Door,
}

impl Listener {
    /// Plain HTTP, for calls.
    pub fn plain(socket: TcpListener) -> Self {
        Self { socket, tls: None, door: Door::Calls }
    }

    /// The same socket, for one more worker. It is open until the last of them is dropped.
    ///
    /// # Errors
    /// When there are no file descriptors left.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { socket: self.socket.try_clone()?, tls: self.tls.clone(), door: self.door.clone() })
    }
}

/// Serves one worker's share of all listeners until `stop` changes; then closes them, and lets running calls end for
/// [`Limits::grace`](crate::Limits::grace). What is still being streamed after that ends, and is recorded so.
///
/// # Errors
/// When a socket cannot be registered with this thread's runtime, or an accept loop ended before it was told to.
pub async fn serve(
    gate: Gate,
    listeners: Vec<Listener>,
    connections: Arc<Connections>,
    stop: watch::Receiver<bool>,
) -> io::Result<()> {
    let (seat, arriving) = connections.join();
    let worker = Arc::new(Worker { gate, seat, graceful: GracefulShutdown::new() });
    let mut tasks = JoinSet::new();
    for listener in listeners {
        let socket = tokio::net::TcpListener::from_std(listener.socket)?;
        let thread = std::thread::current();
        let of = format!("accept {} ({})", socket.local_addr()?, thread.name().unwrap_or("a thread"));
        let pulse = worker.gate.vitals.pulse(of);
        let (worker, stop) = (worker.clone(), stop.clone());
        let entrance = Entrance { tls: listener.tls, door: listener.door };
        tasks.spawn(async move {
            let begin = || accept(&worker, &socket, &entrance, &pulse, stop.clone());
            worker.gate.vitals.again("accept", begin).await;
        });
    }
    let (arriving, given, until) = (Mutex::new(arriving), worker.clone(), stop.clone());
    tasks.spawn(async move {
        let begin = async || take_over(&given, &mut *arriving.lock().await, until.clone()).await;
        given.gate.vitals.again("arrivals", begin).await;
    });
    let (counting, until) = (worker.gate.clone(), stop.clone());
    tasks.spawn(async move {
        let begin = || refusal_sampler::record_counts(&counting.shared, until.clone());
        counting.vitals.again("counts", begin).await;
    });
    while let Some(ended) = tasks.join_next().await {
        ended.map_err(io::Error::other)?;
    }
    // Every accept loop has ended, so nobody else holds it.
    let Some(Worker { gate, graceful, .. }) = Arc::into_inner(worker) else { return Ok(()) };
    let grace = gate.limits.grace;
    let mut ended = pin!(graceful.shutdown());
    if tokio::time::timeout(grace, ended.as_mut()).await.is_err() {
        tracing::warn!(seconds = grace.as_secs(), "calls still running are cut");
        gate.cut();
        // A caller that reads nothing hears nothing either; its effect is recorded when its connection is dropped.
        let _ = tokio::time::timeout(LAST_WORDS, ended).await;
    }
    Ok(())
}

struct Worker {
    gate: Gate,
    seat: Seat,
    graceful: GracefulShutdown,
}

impl Worker {
    /// Serves the connection where it is this worker's, or gives it to the one whose it is.
    fn place(&self, accepted: Accepted, open: Open) -> io::Result<()> {
        if self.seat.has(&open) {
            self.begin(accepted, open);
            return Ok(());
        }
        let Accepted { stream, address, entrance } = accepted;
        let arrival = Arrival { stream: stream.into_std()?, address, entrance, open };
        self.seat.give(arrival).or_else(|back| self.take(back))
    }

    fn take(&self, arrival: Arrival) -> io::Result<()> {
        let Arrival { stream, address, entrance, open } = arrival;
        self.begin(Accepted { stream: TcpStream::from_std(stream)?, address, entrance }, open);
        Ok(())
    }

    fn begin(&self, accepted: Accepted, open: Open) {
        drop(tokio::spawn(connection(Counted::new(&self.gate, open), accepted, self.graceful.watcher())));
    }
}

struct Accepted {
    stream: TcpStream,
    address: SocketAddr,
    entrance: Entrance,
}

/// How one comes in at a socket, and what for.
#[derive(Clone, Debug)]
pub(super) struct Entrance {
    tls: Option<Arc<rustls::ServerConfig>>,
    door: Door,
}

/// One more open connection, for as long as it lives.
struct Counted {
    gate: Gate,
    #[expect(dead_code, reason = "held for its drop")]
    open: Open,
}

impl Counted {
    fn new(gate: &Gate, open: Open) -> Self {
        gate.meter.connections().inc();
        Self { gate: gate.clone(), open }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.gate.meter.connections().dec();
    }
}

async fn accept(
    worker: &Worker,
    socket: &tokio::net::TcpListener,
    entrance: &Entrance,
    pulse: &Pulse,
    mut stop: watch::Receiver<bool>,
) {
    let mut round = tokio::time::interval(ROUND);
    round.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        pulse.beat();
        let accepted = tokio::select! {
            accepted = socket.accept() => accepted,
            _ = round.tick() => {
                worker.gate.vitals.fault_point("accept");
                continue;
            }
            _ = stop.changed() => return,
        };
        let placed = accepted.and_then(|(stream, address)| {
            let Some(open) = worker.seat.open(address.ip()) else {
                // Over the limit the connection is closed at once: a full house is said, not queued.
                worker.gate.meter.connections_refused().inc();
                return Ok(());
            };
            worker.place(Accepted { stream, address, entrance: entrance.clone() }, open)
        });
        // Out of file descriptors, or the peer is gone already: the next accept may well succeed, but not at once.
        if let Err(error) = placed {
            tracing::warn!(%error, "accept failed");
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// Serves what other workers accepted, to the last of it.
async fn take_over(
    worker: &Worker,
    arriving: &mut UnboundedReceiver<Arrival>,
    mut stop: watch::Receiver<bool>,
) {
    worker.gate.vitals.fault_point("arrivals");
    loop {
        let arrival = tokio::select! {
            biased;
            arrival = arriving.recv() => arrival,
            _ = stop.changed() => {
                arriving.close();
                continue;
            }
        };
        let Some(arrival) = arrival else { return };
        if let Err(error) = worker.take(arrival) {
            tracing::warn!(%error, "accept failed");
        }
    }
}

async fn connection(counted: Counted, accepted: Accepted, watcher: Watcher) {
    let Accepted { stream, address, entrance: Entrance { tls, door } } = accepted;
    counted.gate.vitals.fault_point("connection");
    let _ = stream.set_nodelay(true);
    let (header_time, stuck_time) = (counted.gate.limits.header_time, counted.gate.limits.body_time);
    let Some(tls) = tls else {
        let stream = Timed::new(stream, header_time, stuck_time);
        return speak(&counted, &door, stream, Peer { address, svid: None }, watcher).await;
    };
    match tokio::time::timeout(header_time, TlsAcceptor::from(tls).accept(stream)).await {
        Ok(Ok(stream)) => {
            let svid = match PeerSvid::from_certificates(stream.get_ref().1.peer_certificates()) {
                Ok(svid) => svid.map(Arc::new),
                Err(error) => {
                    return tracing::debug!(%address, %error, "the peer's certificate is not an X.509-SVID");
                }
            };
            let stream = Timed::new(stream, header_time, stuck_time);
            speak(&counted, &door, stream, Peer { address, svid }, watcher).await;
        }
        Ok(Err(error)) => match &door {
            Door::DataPlanes(planes) => planes.not_in(address, &error),
            Door::Calls => tracing::debug!(%address, %error, "TLS handshake failed"),
        },
        Err(_) => tracing::debug!(%address, "TLS handshake took too long"),
    }
}

/// HTTP/1.1 or 2, whichever the peer begins with.
async fn speak<S>(counted: &Counted, door: &Door, stream: Timed<S>, peer: Peer, watcher: Watcher)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let gate = &counted.gate;
    let limits = gate.limits;
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_time)
        .max_buf_size(limits.headers)
        .keep_alive(true);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams)
        .max_send_buf_size(limits.headers)
        .max_header_list_size(u32::try_from(limits.headers).unwrap_or(u32::MAX))
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(10));
    let address = peer.address;
    let service = service_fn(|request| {
        let (gate, door, peer) = (gate.clone(), door.clone(), peer.clone());
        async move { super::enter(&gate, &door, request, &peer).await }
    });
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    if let Err(error) = watcher.watch(connection).await {
        if let Some(refusal) = malformed::refusal(&*error) {
            malformed::record(gate, &peer, refusal).await;
        }
        tracing::debug!(%address, %error, "connection ended");
    }
}
