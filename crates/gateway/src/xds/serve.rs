//! The address of xDS as a socket: HTTP/2, with bounds of its own, on whatever runtime it is run; and who is let in.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use futures_util::stream::poll_fn;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, Version};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Empty, StreamBody};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Duration, Instant, MissedTickBehavior, interval_at, timeout};
use tokio_rustls::TlsAcceptor;
use vidimus_core::refusal::{Code, Refusal};
use vidimus_identity::ServiceAccount;

use super::compile::Gateway;
use super::planes::Place;
use super::{Xds, stream};
use crate::acts::RefusedRequest;
use crate::gate::millis;
use crate::handle::credential;
use crate::reply;
use crate::spans::{self, Wire};

const PATH: &str = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";
/// Streams of one connection. A data plane has one.
const STREAMS: u32 = 4;
/// Of the headers of one, in bytes.
const HEADERS: u32 = 32 * 1024;
/// Between two questions whether the other end lives, and for its answer.
const ALIVE: Duration = Duration::from_secs(20);
/// When connections cannot be accepted.
const PAUSE: Duration = Duration::from_millis(10);

type ReplyBody = UnsyncBoxBody<Bytes, Infallible>;

/// Serves data planes at a socket, over TLS where it is given; it ends with the task that it is run in.
pub async fn serve(xds: &Xds, socket: &TcpListener, tls: Option<&TlsAcceptor>) {
    let places = Arc::new(Semaphore::new(xds.0.patience.connections));
    loop {
        let (stream, peer) = match socket.accept().await {
            Ok((stream, peer)) => (stream, peer.ip()),
            Err(error) => {
                tracing::warn!(%error, "accept failed on the address of xDS");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        xds.0.shared.vitals.fault_point("xds");
        // Whoever has a place keeps it: those without a stream lose theirs soon.
        let Ok(place) = places.clone().try_acquire_owned() else {
            tracing::warn!(%peer, "no place for one more connection at the address of xDS");
            continue;
        };
        let (xds, tls) = (xds.clone(), tls.cloned());
        tokio::spawn(async move {
            let _place = place;
            connection(xds, stream, peer, tls).await;
        });
    }
}

async fn connection(xds: Xds, stream: TcpStream, peer: IpAddr, tls: Option<TlsAcceptor>) {
    let Some(tls) = tls else { return spoken(xds, stream, peer).await };
    match timeout(xds.0.patience.first, tls.accept(stream)).await {
        Ok(Ok(stream)) => spoken(xds, stream, peer).await,
        Ok(Err(error)) => tracing::debug!(%error, "a handshake at the address of xDS failed"),
        Err(_) => {}
    }
}

/// One connection, for as long as there is a stream on it.
async fn spoken<S>(xds: Xds, stream: S, peer: IpAddr)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let first = xds.0.patience.first;
    let open = Arc::new(AtomicUsize::new(0));
    let streams = open.clone();
    let service = service_fn(move |request| {
        let (xds, open) = (xds.clone(), open.clone());
        async move { Ok::<_, Infallible>(answer(&xds, request, peer, &open).await) }
    });
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder.timer(TokioTimer::new()).max_concurrent_streams(STREAMS).max_header_list_size(HEADERS);
    builder.keep_alive_interval(ALIVE).keep_alive_timeout(ALIVE);
    let mut served = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
    let mut rounds = interval_at(Instant::now() + first, first);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            ended = served.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a connection to the address of xDS ended");
                }
                return;
            }
            _ = rounds.tick() => {
                if streams.load(Ordering::Relaxed) == 0 {
                    tracing::debug!("a connection to the address of xDS has no stream");
                    return;
                }
            }
        }
    }
}

/// One more stream of a connection, and of all.
struct Counted {
    open: Arc<AtomicUsize>,
    xds: Xds,
}

impl Counted {
    fn new(open: &Arc<AtomicUsize>, xds: &Xds) -> Self {
        open.fetch_add(1, Ordering::Relaxed);
        xds.0.shared.meter.planes().streams().inc();
        Self { open: open.clone(), xds: xds.clone() }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
        self.xds.0.shared.meter.planes().streams().dec();
    }
}

async fn answer(
    xds: &Xds,
    request: Request<Incoming>,
    peer: IpAddr,
    open: &Arc<AtomicUsize>,
) -> Response<ReplyBody> {
    let (parts, body) = request.into_parts();
    let (place, ends) = match admitted(xds, &parts).await {
        Ok(admitted) => admitted,
        Err(refusal) => return refused(xds, &refusal, &parts, peer).await,
    };
    tracing::info!(gateway = %place.gateway(), %peer, "a data plane is connected");
    let (out, mut frames) = mpsc::channel(1);
    let (xds, counted) = (xds.clone(), Counted::new(open, xds));
    tokio::spawn(async move {
        let _counted = counted;
        stream::run(xds, place, ends, body, out).await;
    });
    let body = StreamBody::new(poll_fn(move |context| frames.poll_recv(context))).boxed_unsync();
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

/// The place of a stream, and when it ends: of a gateway that the installation names, and that proves by its token that it is that one.
async fn admitted(xds: &Xds, parts: &Parts) -> Result<(Place, Instant), Refusal> {
    check_call(parts)?;
    let shared = &xds.0.shared;
    let bearer = credential(&[], parts)?.ok_or_else(|| {
        Refusal::new(Code::CredentialMissing, "a data plane is known by the token of its ServiceAccount")
            .with_next("Mount a projected ServiceAccount token of audience agentgateway (XDS_AUTH_TOKEN).")
    })?;
    let now = millis(shared.clock.now().wall);
    let account =
        shared.authenticator.service_account(&shared.snapshot(), bearer, &xds.0.audience, now).await?;
    let ServiceAccount { namespace, name, expires } = account;
    let gateway = Gateway { namespace, name };
    if !xds.0.gateways.contains(&gateway) {
        let message = format!("{gateway} is no data plane that is given its configuration here");
        return Err(Refusal::new(Code::PrincipalUnknown, message)
            .with_next("Name the ServiceAccount of the gateway with --xds-gateway NAMESPACE/NAME."));
    }
    let place = xds.place(&gateway).ok_or_else(|| {
        Refusal::new(Code::Overloaded, format!("{gateway} has as many streams as one gateway may have"))
    })?;
    let left = u64::try_from(expires.0.saturating_sub(now.0)).unwrap_or_default();
    Ok((place, Instant::now() + Duration::from_millis(left)))
}

/// That it is the one call of gRPC that is served here.
fn check_call(parts: &Parts) -> Result<(), Refusal> {
    if parts.version != Version::HTTP_2 || parts.method != Method::POST || parts.uri.path() != PATH {
        let message = "here is served DeltaAggregatedResources of envoy.service.discovery.v3 over gRPC, and nothing else";
        return Err(Refusal::new(Code::RouteUnknown, message).with_next(
            "Have an agentgateway connect here (docs/agentgateway.md), and send calls to --listen or --tls-listen.",
        ));
    }
    let kind = parts.headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    if !matches!(kind, b"application/grpc" | b"application/grpc+proto") {
        return Err(Refusal::new(Code::MessageInvalid, "a stream comes as application/grpc"));
    }
    Ok(())
}

/// Says why not, in the words of gRPC, and puts it on record: what is given out here is where everything is.
async fn refused(xds: &Xds, refusal: &Refusal, parts: &Parts, peer: IpAddr) -> Response<ReplyBody> {
    tracing::warn!(%peer, code = refusal.code.as_str(), reason = %refusal.message, "a data plane is refused");
    let request = RefusedRequest { refusal, path: parts.uri.path(), user: None, source: peer };
    let id = xds.0.shared.record_refused(&request).await;
    let plain = reply::refused(reply::plain(refusal, &id), refusal, &id, None);
    let (head, _) = spans::refused(Wire::Grpc, plain, refusal).into_parts();
    Response::from_parts(head, Empty::new().boxed_unsync())
}
