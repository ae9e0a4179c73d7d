//! Listeners: one accept loop and one single-threaded runtime per core, so that a call stays on one thread from its first byte
//! to its record. A listening socket is shared by all workers: the one that is idle accepts.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use vidimus_identity::PeerSvid;

use super::timed::Timed;
use crate::gate::Gate;
use crate::handle::Peer;

/// How long what is cut when the gateway stops may take to say so.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// One listening socket.
#[derive(Debug)]
pub struct Listener {
    pub socket: TcpListener,
    /// TLS with optional client certificates; `None` is plain HTTP.
    pub tls: Option<Arc<rustls::ServerConfig>>,
}

impl Listener {
    /// The same socket, for one more worker. It is open until the last of them is dropped.
    ///
    /// # Errors
    /// When there are no file descriptors left.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { socket: self.socket.try_clone()?, tls: self.tls.clone() })
    }
}

/// Serves one worker's share of all listeners until `stop` changes; then closes them, and lets running calls end for
/// [`Limits::grace`](crate::Limits::grace). What is still being streamed after that ends, and is recorded so.
///
/// # Errors
/// When a socket cannot be registered with this thread's runtime.
pub async fn serve(
    gate: Gate,
    listeners: Vec<Listener>,
    open: Arc<AtomicUsize>,
    stop: watch::Receiver<bool>,
) -> io::Result<()> {
    let graceful = Arc::new(GracefulShutdown::new());
    let mut loops = Vec::new();
    for listener in listeners {
        let socket = tokio::net::TcpListener::from_std(listener.socket)?;
        let worker = Worker { gate: gate.clone(), open: open.clone(), tls: listener.tls };
        loops.push(tokio::spawn(accept(worker, socket, graceful.clone(), stop.clone())));
    }
    for accepting in loops {
        // A panic in an accept loop ends that loop; the others go on, and the health check tells.
        if let Err(error) = accepting.await {
            tracing::error!(%error, "an accept loop ended");
        }
    }
    // Every accept loop has ended, so nobody else holds it.
    let Some(graceful) = Arc::into_inner(graceful) else { return Ok(()) };
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

#[derive(Clone)]
struct Worker {
    gate: Gate,
    /// Connections open over all workers.
    open: Arc<AtomicUsize>,
    tls: Option<Arc<rustls::ServerConfig>>,
}

/// One more open connection, for as long as it lives.
struct Counted(Worker);

impl Counted {
    fn new(worker: Worker) -> Option<Self> {
        let limit = worker.gate.limits.connections;
        if worker.open.fetch_add(1, Ordering::Relaxed) >= limit {
            worker.open.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        worker.gate.meter.connections().inc();
        Some(Self(worker))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
        self.0.gate.meter.connections().dec();
    }
}

async fn accept(
    worker: Worker,
    socket: tokio::net::TcpListener,
    graceful: Arc<GracefulShutdown>,
    mut stop: watch::Receiver<bool>,
) {
    loop {
        let accepted = tokio::select! {
            accepted = socket.accept() => accepted,
            _ = stop.changed() => return,
        };
        match accepted {
            Ok((stream, address)) => {
                // Over the limit the connection is closed at once: a full house is said, not queued.
                if let Some(counted) = Counted::new(worker.clone()) {
                    tokio::spawn(connection(counted, stream, address, graceful.watcher()));
                }
            }
            // Out of file descriptors, or the peer is gone already: the next accept may well succeed, but not at once.
            Err(error) => {
                tracing::warn!(%error, "accept failed");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }
}

async fn connection(counted: Counted, stream: TcpStream, address: SocketAddr, watcher: Watcher) {
    let _ = stream.set_nodelay(true);
    let (header_time, stuck_time) = (counted.0.gate.limits.header_time, counted.0.gate.limits.body_time);
    let Some(tls) = &counted.0.tls else {
        return speak(
            &counted,
            Timed::new(stream, header_time, stuck_time),
            Peer { address, svid: None },
            watcher,
        )
        .await;
    };
    match tokio::time::timeout(header_time, TlsAcceptor::from(tls.clone()).accept(stream)).await {
        Ok(Ok(stream)) => {
            let svid = match PeerSvid::from_certificates(stream.get_ref().1.peer_certificates()) {
                Ok(svid) => svid.map(Arc::new),
                Err(error) => {
                    return tracing::debug!(%address, %error, "the peer's certificate is not an X.509-SVID");
                }
            };
            speak(&counted, Timed::new(stream, header_time, stuck_time), Peer { address, svid }, watcher)
                .await;
        }
        Ok(Err(error)) => tracing::debug!(%address, %error, "TLS handshake failed"),
        Err(_) => tracing::debug!(%address, "TLS handshake took too long"),
    }
}

/// HTTP/1.1 or 2, whichever the peer begins with.
async fn speak<S>(counted: &Counted, stream: Timed<S>, peer: Peer, watcher: Watcher)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let gate = &counted.0.gate;
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
        .max_header_list_size(u32::try_from(limits.headers).unwrap_or(u32::MAX))
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(10));
    let address = peer.address;
    let service = service_fn(|request| {
        let (gate, peer) = (gate.clone(), peer.clone());
        async move { super::answer(&gate, request, &peer).await }
    });
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(%address, %error, "connection ended");
    }
}
