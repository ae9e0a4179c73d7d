//! The admission address as a socket: a thread and a runtime of its own, and bounds of its own, as the admin address has.

use std::collections::VecDeque;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use vidimus_gateway::Vitals;

use super::super::admin_listener::Peer;
use super::super::supervisor::Supervisor;

/// Connections open at once; one more ends the oldest. An API server keeps a few and uses them again.
const CONNECTIONS: usize = 256;
/// For the handshake.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// For the headers of a request; also how long a connection idles.
const HEADER_TIME: Duration = Duration::from_secs(90);
/// From the connection to its end, whatever happens on it. The API server opens another one.
const LIFE: Duration = Duration::from_secs(600);
/// Of one request's headers, in bytes.
const HEADERS: usize = 16 * 1024;
/// When connections cannot be accepted.
const PAUSE: Duration = Duration::from_millis(10);

/// Serves until the process ends.
pub(super) fn serve(
    supervisor: &mut Supervisor,
    (socket, tls): (TcpListener, ServerConfig),
    router: Router,
    vitals: Vitals,
) -> anyhow::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let socket = {
        let _inside = runtime.enter();
        tokio::net::TcpListener::from_std(socket)?
    };
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    supervisor.thread("vidimus-admission".to_owned(), move || {
        runtime.block_on(vitals.again("admission", || accept(&socket, &acceptor, &router, &vitals)));
    })?;
    Ok(())
}

async fn accept(socket: &tokio::net::TcpListener, acceptor: &TlsAcceptor, router: &Router, vitals: &Vitals) {
    let mut open: VecDeque<JoinHandle<()>> = VecDeque::new();
    loop {
        let stream = match socket.accept().await {
            Ok((stream, peer)) => (stream, Peer(peer.ip())),
            Err(error) => {
                tracing::warn!(%error, "accept failed on the admission address");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        vitals.fault_point("admission");
        open.retain(|connection| !connection.is_finished());
        if open.len() >= CONNECTIONS
            && let Some(oldest) = open.pop_front()
        {
            oldest.abort();
            // Its descriptor is free before the next connection takes one: many may wait to be accepted.
            let _cancelled = oldest.await.is_err();
        }
        open.push_back(tokio::spawn(connection(stream, acceptor.clone(), router.clone())));
    }
}

async fn connection((stream, peer): (TcpStream, Peer), acceptor: TlsAcceptor, router: Router) {
    let stream = match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            tracing::debug!(%error, "a handshake at the admission address failed");
            return;
        }
        Err(_) => return,
    };
    let router = router.layer(Extension(peer));
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEADER_TIME).max_buf_size(HEADERS);
    let served = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    match tokio::time::timeout(LIFE, served).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a connection to the admission address ended"),
        Err(_) => tracing::debug!("a connection to the admission address had its time"),
    }
}
