//! Connections to upstreams: a dead one is not used again, and roots are read again when they change.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;
use vidimus_core::clock::Clock as _;
use vidimus_gateway::{KeepAlive, millis};
use vidimus_identity::{ClientCertificates, LocalIdentity, server_config};

use super::world::{World, json_of, objects, snapshot};

/// An upstream that speaks HTTP/2 over TLS with a certificate of `identity`.
struct Http2 {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    /// Stops serving the connections that are open, which stay open.
    freeze: Arc<Notify>,
    /// A frozen connection was closed by the other end.
    closed: Arc<Notify>,
}

async fn http2(world: &World, identity: &LocalIdentity) -> Http2 {
    let now = millis(world.clock.now().wall);
    let names = ["127.0.0.1".to_owned()];
    let certificate =
        identity.server_certificate(&names, Duration::from_secs(3600), now).expect("a certificate");
    let config = server_config(&certificate, ClientCertificates::Ignored).expect("a configuration");
    let tls = TlsAcceptor::from(Arc::new(config));
    let socket = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let address = socket.local_addr().expect("an address");
    let (connections, freeze, closed) =
        (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (counted, frozen, ended) = (connections.clone(), freeze.clone(), closed.clone());
    tokio::spawn(async move {
        loop {
            let (stream, _) = socket.accept().await.expect("a connection");
            let (tls, counted, frozen, ended) = (tls.clone(), counted.clone(), frozen.clone(), ended.clone());
            let (stream, mut below) = twice(stream);
            tokio::spawn(async move {
                let Ok(stream) = tls.accept(stream).await else { return };
                counted.fetch_add(1, Ordering::SeqCst);
                let answer = service_fn(async |_request| {
                    let body = Full::new(Bytes::from_static(b"{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}"));
                    Ok::<_, std::convert::Infallible>(http::Response::new(body))
                });
                let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                let mut connection = Box::pin(builder.serve_connection(TokioIo::new(stream), answer));
                tokio::select! {
                    _ = &mut connection => {}
                    () = frozen.notified() => {
                        // What still comes is taken, as the kernel of a process that hangs takes it, and nothing is said.
                        let mut taken = [0; 1024];
                        while below.read(&mut taken).await.is_ok_and(|read| read > 0) {}
                        ended.notify_one();
                        std::future::pending::<()>().await;
                    }
                }
            });
        }
    });
    Http2 { address, connections, freeze, closed }
}

/// The same connection, to be read by two.
fn twice(stream: TcpStream) -> (TcpStream, TcpStream) {
    let stream = stream.into_std().expect("a stream");
    let other = stream.try_clone().expect("a descriptor");
    let of = |stream| TcpStream::from_std(stream).expect("a stream in this runtime");
    (of(stream), of(other))
}

/// Lets the tools be at `upstream`, whose roots are in a file.
fn move_to(world: &World, upstream: &Http2, roots: &std::path::Path, timeout: &str) {
    let mut all = objects(&world.upstream);
    all[3]["spec"]["endpoint"] =
        json!({"url": format!("https://{}/mcp", upstream.address), "timeout": timeout, "caFile": roots});
    world.gate.take_into_use(snapshot(&all));
}

async fn code_of_a_call(world: &World) -> String {
    let (_, headers, body) = world.call(world.tool("echo")).await;
    match headers.get("vidimus-code") {
        Some(code) => code.to_str().expect("text").to_owned(),
        None => json_of(&body)["result"].to_string(),
    }
}

#[tokio::test]
async fn a_connection_on_which_a_call_timed_out_is_not_used_again() {
    let world = World::new().await;
    let directory = tempfile::tempdir().expect("a directory");
    let roots = directory.path().join("roots.pem");
    std::fs::write(&roots, world.identity.bundle()).expect("written");
    let upstream = http2(&world, &world.identity).await;
    move_to(&world, &upstream, &roots, "1s");
    assert_eq!([code_of_a_call(&world).await, code_of_a_call(&world).await], ["{}", "{}"]);
    assert_eq!(upstream.connections.load(Ordering::SeqCst), 1, "one connection carries all calls");
    upstream.freeze.notify_waiters();
    assert_eq!(code_of_a_call(&world).await, "upstream_timeout");
    assert_eq!(code_of_a_call(&world).await, "{}", "on a new connection");
    assert_eq!(upstream.connections.load(Ordering::SeqCst), 2);
}

/// A process that hangs under a kernel that answers: only HTTP/2's PING finds it, before the timeout of the endpoint, which is long.
#[tokio::test]
async fn a_connection_that_answers_no_ping_is_dead_and_not_used_again() {
    const SOON: KeepAlive =
        KeepAlive { quiet: Duration::from_millis(200), answered: Duration::from_millis(300) };
    for waiting in [true, false] {
        let world = World::with_keep_alive(SOON).await;
        let directory = tempfile::tempdir().expect("a directory");
        let roots = directory.path().join("roots.pem");
        std::fs::write(&roots, world.identity.bundle()).expect("written");
        let upstream = http2(&world, &world.identity).await;
        move_to(&world, &upstream, &roots, "10m");
        assert_eq!([code_of_a_call(&world).await, code_of_a_call(&world).await], ["{}", "{}"]);
        // One that answers lives, however long it is quiet.
        tokio::time::sleep((SOON.quiet + SOON.answered) * 3).await;
        assert_eq!(code_of_a_call(&world).await, "{}");
        assert_eq!(upstream.connections.load(Ordering::SeqCst), 1, "one connection carries all calls");
        upstream.freeze.notify_waiters();
        let patience = Duration::from_secs(60);
        if waiting {
            let code = tokio::time::timeout(patience, code_of_a_call(&world)).await.expect("found dead");
            assert_eq!(code, "upstream_interrupted", "it may have been carried out");
        } else {
            tokio::time::timeout(patience, upstream.closed.notified()).await.expect("found dead");
        }
        assert_eq!(code_of_a_call(&world).await, "{}", "on a new connection");
        assert_eq!(upstream.connections.load(Ordering::SeqCst), 2);
    }
}

/// The timer of the connection to an upstream, as the kernel has it: its kind, and when it fires, in hundredths of a second.
#[cfg(target_os = "linux")]
fn timer_of(upstream: SocketAddr) -> Option<(u8, u64)> {
    let SocketAddr::V4(address) = upstream else { return None };
    let to = format!("{:08X}:{:04X}", u32::from_le_bytes(address.ip().octets()), address.port());
    let connections = std::fs::read_to_string("/proc/net/tcp").expect("the kernel's list");
    let fields = connections.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let mut established = fields.filter(|fields| fields.len() > 5 && fields[2] == to && fields[3] == "01");
    let (kind, when) = established.next()?[5].split_once(':')?;
    Some((kind.parse().ok()?, u64::from_str_radix(when, 16).ok()?))
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_quiet_connection_is_asked_by_tcp_whether_the_other_end_is_there() {
    const KEEP_ALIVE: u8 = 2;
    let world = World::new().await;
    world.call(world.tool("echo")).await;
    let (kind, when) = timer_of(world.upstream.address()).expect("an idle connection");
    assert_eq!(kind, KEEP_ALIVE);
    assert!(when <= KeepAlive::default().quiet.as_secs() * 100, "{when}");
}

#[tokio::test]
async fn the_roots_of_an_endpoint_are_read_again_when_they_change() {
    let world = World::new().await;
    let directory = tempfile::tempdir().expect("a directory");
    let now = millis(world.clock.now().wall);
    let other = LocalIdentity::open(directory.path(), None, now).expect("an identity");
    let roots = directory.path().join("roots.pem");
    std::fs::write(&roots, world.identity.bundle()).expect("written");
    let upstream = http2(&world, &other).await;
    move_to(&world, &upstream, &roots, "1s");
    assert_eq!(code_of_a_call(&world).await, "upstream_unreachable", "signed by nobody that is trusted");
    // What cannot be used changes nothing.
    std::fs::write(&roots, "half of a certif").expect("written");
    std::fs::write(&roots, other.bundle()).expect("written");
    for _ in 0..300 {
        if code_of_a_call(&world).await == "{}" {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the new roots are not used");
}
