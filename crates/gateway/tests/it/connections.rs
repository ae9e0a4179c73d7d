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
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;
use vidimus_core::clock::Clock as _;
use vidimus_gateway::millis;
use vidimus_identity::{ClientCertificates, LocalIdentity, server_config};

use super::world::{World, json_of, objects, snapshot};

/// An upstream that speaks HTTP/2 over TLS with a certificate of `identity`.
struct Http2 {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    /// Stops serving the connections that are open, which stay open.
    freeze: Arc<Notify>,
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
    let (connections, freeze) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
    let (counted, frozen) = (connections.clone(), freeze.clone());
    tokio::spawn(async move {
        loop {
            let (stream, _) = socket.accept().await.expect("a connection");
            let (tls, counted, frozen) = (tls.clone(), counted.clone(), frozen.clone());
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
                    () = frozen.notified() => std::future::pending().await,
                }
            });
        }
    });
    Http2 { address, connections, freeze }
}

/// Lets the tools be at `upstream`, whose roots are in a file.
fn move_to(world: &World, upstream: &Http2, roots: &std::path::Path) {
    let mut all = objects(&world.upstream);
    all[3]["spec"]["endpoint"] =
        json!({"url": format!("https://{}/mcp", upstream.address), "timeout": "1s", "caFile": roots});
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
    move_to(&world, &upstream, &roots);
    assert_eq!([code_of_a_call(&world).await, code_of_a_call(&world).await], ["{}", "{}"]);
    assert_eq!(upstream.connections.load(Ordering::SeqCst), 1, "one connection carries all calls");
    upstream.freeze.notify_waiters();
    assert_eq!(code_of_a_call(&world).await, "upstream_timeout");
    assert_eq!(code_of_a_call(&world).await, "{}", "on a new connection");
    assert_eq!(upstream.connections.load(Ordering::SeqCst), 2);
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
    move_to(&world, &upstream, &roots);
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
