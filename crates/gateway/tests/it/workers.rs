//! Workers that serve the same sockets: connections are shared out evenly, whoever the kernel wakes.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http_body_util::Full;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::watch;
use vidimus_gateway::Limits;
use vidimus_gateway::listener::{self, Connections, Listener};

use super::world::World;

async fn served(world: &World, address: SocketAddr) -> SendRequest<Full<Bytes>> {
    let stream = TcpStream::connect(address).await.expect("connected");
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.expect("HTTP");
    tokio::spawn(connection);
    called(world, &mut sender).await;
    sender
}

async fn called(world: &World, sender: &mut SendRequest<Full<Bytes>>) {
    let response = sender.send_request(world.tool("echo")).await.expect("an answer");
    assert_eq!(response.status(), StatusCode::OK);
    sender.ready().await.expect("kept alive");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_worker_has_its_share_whoever_accepts_and_all_of_it_where_it_is_alone() {
    let world = World::with(Limits { grace: Duration::from_secs(2), ..Limits::default() }).await;
    let connections = Connections::new(1024);
    let serve = || {
        let socket = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        socket.set_nonblocking(true).expect("non-blocking");
        let address = socket.local_addr().expect("an address");
        let (stop, stopping) = watch::channel(false);
        let listeners = vec![Listener::plain(socket)];
        let serving = listener::serve(world.gate.clone(), listeners, connections.clone(), stopping);
        (address, stop, tokio::spawn(serving))
    };
    let (address, _stop, _accepting) = serve();
    let (of_given, stop_given, given) = serve();
    // Whoever has answered has joined. All others are accepted by one of the two.
    let mut senders = vec![served(&world, of_given).await, served(&world, address).await];
    for _ in 0..8 {
        senders.push(served(&world, address).await);
    }

    stop_given.send_replace(true);
    given.await.expect("no panic").expect("ended in order");
    // The other half goes with its worker, as soon as it is heard of.
    let closed = async {
        while senders.iter().filter(|sender| sender.is_closed()).count() != 5 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), closed).await.expect("half of them closed");
    senders.retain(|sender| !sender.is_closed());
    for sender in &mut senders {
        called(&world, sender).await;
    }
    for _ in 0..3 {
        served(&world, address).await;
    }
}
