//! The end of a gateway: nobody is let in, streams have their time, and whatever ran has an effect.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::TcpStream;
use tokio::sync::watch;
use vidimus_gateway::listener::{self, Connections, Listener};
use vidimus_gateway::{AddressGuard, Gate, KeepAlive, Limits, Upstream};
use vidimus_testkit::upstream::Answer;

use super::world::{World, call_id, objects, snapshot};

async fn sender(address: std::net::SocketAddr) -> http1::SendRequest<Full<Bytes>> {
    let stream = TcpStream::connect(address).await.expect("connected");
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.expect("HTTP");
    tokio::spawn(connection);
    sender
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_late_is_not_let_in_and_whatever_ran_has_an_effect() {
    let world = World::with(Limits { grace: Duration::from_secs(2), ..Limits::default() }).await;
    let socket = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    socket.set_nonblocking(true).expect("non-blocking");
    let address = socket.local_addr().expect("an address");
    let (stop, stopping) = watch::channel(false);
    let shared = world.gate.shared.clone();
    // As the binary has it: a worker's runtime ends when it has served.
    let worker = std::thread::spawn(move || {
        let gate = Gate {
            shared,
            upstream: Upstream::new(AddressGuard::default(), KeepAlive::default()).expect("roots"),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let listeners = vec![Listener::plain(socket)];
        runtime.block_on(listener::serve(gate, listeners, Connections::new(1024), stopping)).expect("served");
        runtime.shutdown_timeout(Duration::from_secs(1));
    });
    let mut patient = objects(&world.upstream);
    patient[3]["spec"]["endpoint"]["timeout"] = json!("60s");
    world.gate.take_into_use(snapshot(&patient));
    let (answer, stream) = Answer::stream("text/event-stream");
    world.upstream.next(answer);
    let response = sender(address).await.send_request(world.tool("echo")).await.expect("an answer");
    let id = call_id(response.headers());
    let mut body = response.into_body();
    assert!(stream.event("{}").await);
    body.frame().await.expect("an event").expect("whole");
    // Another call waits for its answer, and a third connection is idle.
    world.upstream.next(Answer::hang());
    let mut waiting = sender(address).await;
    let request: Request<Full<Bytes>> = world.tool("echo");
    let waits = tokio::spawn(async move { waiting.send_request(request).await });
    world.upstream.until_received(2).await;
    let _idle = sender(address).await;

    stop.send_replace(true);
    let refused = async {
        while TcpStream::connect(address).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), refused).await.expect("nobody listens any more");
    assert!(!worker.is_finished(), "running calls have their time");
    assert!(stream.event("{\"late\":1}").await);
    body.frame().await.expect("an event").expect("whole");

    // An event may come in more than one frame.
    let mut rest = Vec::new();
    while let Some(Ok(frame)) = body.frame().await {
        rest.extend_from_slice(&frame.into_data().expect("data"));
    }
    assert!(rest.len() < 20, "nothing came after: {rest:?}");
    worker.join().expect("no panic");
    assert!(waits.await.expect("no panic").is_err(), "cut");
    let records = world.recorded(&id);
    assert_eq!((&records[1]["result"], &records[1]["code"]), (&json!("failed"), &json!("gateway_stopping")));
    let records = world.all_records();
    let count = |kind: &str| records.iter().filter(|record| record["kind"] == kind).count();
    assert_eq!((count("decision"), count("effect")), (2, 2), "{records:?}");
    assert!(records.iter().all(|record| record["kind"] != "effect" || record["code"] == "gateway_stopping"));
}
