//! The admin address as a socket: a thread and a runtime of its own, and bounds of its own, so that neither a full gateway keeps
//! health from being told, nor whoever reaches this address takes anything from the gateway.

use std::collections::VecDeque;
use std::net::{IpAddr, TcpListener};
use std::time::Duration;

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tokio::task::JoinHandle;
use vidimus_gateway::Vitals;

use super::supervisor::Supervisor;

/// Connections open at once. One more ends the oldest: an answer takes milliseconds, so that is one that waits, or does not read.
pub(super) const CONNECTIONS: usize = 64;
/// From the connection, or the last answer, to complete headers; also how long a connection idles.
const HEADER_TIME: Duration = Duration::from_secs(10);
/// From the connection to its end, whatever happens on it.
const LIFE: Duration = Duration::from_secs(120);
/// Of one request's headers, in bytes.
const HEADERS: usize = 16 * 1024;
/// When connections cannot be accepted.
const PAUSE: Duration = Duration::from_millis(10);

/// Who is at the other end of the connection that a request came by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub(super) IpAddr);

/// Serves until the process ends.
pub(in crate::cmd) fn serve(
    supervisor: &mut Supervisor,
    socket: TcpListener,
    router: Router,
    vitals: Vitals,
) -> anyhow::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let socket = {
        let _inside = runtime.enter();
        tokio::net::TcpListener::from_std(socket)?
    };
    supervisor.thread("vidimus-admin".to_owned(), move || {
        runtime.block_on(vitals.again("admin", || accept(&socket, &router, &vitals)));
    })?;
    Ok(())
}

async fn accept(socket: &tokio::net::TcpListener, router: &Router, vitals: &Vitals) {
    let mut open: VecDeque<JoinHandle<()>> = VecDeque::new();
    loop {
        let stream = match socket.accept().await {
            Ok((stream, peer)) => (stream, Peer(peer.ip())),
            Err(error) => {
                tracing::warn!(%error, "accept failed on the admin address");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        vitals.fault_point("admin");
        open.retain(|connection| !connection.is_finished());
        if open.len() >= CONNECTIONS
            && let Some(oldest) = open.pop_front()
        {
            oldest.abort();
            // Its descriptor is free before the next connection takes one: many may wait to be accepted.
            let _cancelled = oldest.await.is_err();
        }
        open.push_back(tokio::spawn(connection(stream, router.clone())));
    }
}

async fn connection((stream, peer): (TcpStream, Peer), router: Router) {
    let router = router.layer(Extension(peer));
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEADER_TIME).max_buf_size(HEADERS);
    let served = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    match tokio::time::timeout(LIFE, served).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a connection to the admin address ended"),
        Err(_) => tracing::debug!("a connection to the admin address had its time"),
    }
}
