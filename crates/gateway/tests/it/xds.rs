//! An agentgateway that gets its configuration here: the messages that it sends, over a real socket, and what it is sent.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use futures_util::stream::poll_fn;
use http::{HeaderMap, Method, Request};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message as _;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use vidimus_core::snapshot::Snapshot;
use vidimus_gateway::{Xds, XdsPatience, XdsSettings, serve_xds};

use crate::world::{CLUSTER, World, objects, snapshot};

const PATH: &str = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";
const RESOURCE: &str = "type.googleapis.com/agentgateway.dev.resource.Resource";
const ADDRESS: &str = "type.googleapis.com/istio.workload.Address";
const SUBJECT: &str = "system:serviceaccount:edge:agents";

/// The published messages, as far as they are used here.
mod proto {
    use std::collections::HashMap;

    use prost::Message;

    #[derive(Clone, PartialEq, Message)]
    pub struct DeltaRequest {
        #[prost(message, optional, tag = "1")]
        pub node: Option<Node>,
        #[prost(string, tag = "2")]
        pub type_url: String,
        #[prost(map = "string, string", tag = "5")]
        pub initial_resource_versions: HashMap<String, String>,
        #[prost(string, tag = "6")]
        pub response_nonce: String,
        #[prost(message, optional, tag = "7")]
        pub error_detail: Option<Status>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub struct Node {
        #[prost(string, tag = "1")]
        pub id: String,
        #[prost(message, optional, tag = "3")]
        pub metadata: Option<Struct>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub struct Struct {
        #[prost(map = "string, message", tag = "1")]
        pub fields: HashMap<String, Text>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub struct Text {
        #[prost(string, tag = "3")]
        pub string_value: String,
    }

    #[derive(Clone, PartialEq, Message)]
    pub struct Status {
        #[prost(string, tag = "2")]
        pub message: String,
    }

    #[derive(Clone, PartialEq, Message)]
    pub struct DeltaResponse {
        #[prost(message, repeated, tag = "2")]
        pub resources: Vec<Resource>,
        #[prost(string, tag = "4")]
        pub type_url: String,
        #[prost(string, tag = "5")]
        pub nonce: String,
        #[prost(string, repeated, tag = "6")]
        pub removed_resources: Vec<String>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub struct Resource {
        #[prost(string, tag = "1")]
        pub version: String,
        #[prost(string, tag = "3")]
        pub name: String,
    }
}

use proto::{DeltaRequest, DeltaResponse, Node, Status, Struct, Text};

/// Where data planes get their configuration, for as long as the test runs.
struct Door {
    address: SocketAddr,
    snapshots: watch::Sender<Option<Arc<Snapshot>>>,
}

fn patience() -> XdsPatience {
    XdsPatience { gather: Duration::from_millis(5), ..XdsPatience::default() }
}

async fn door(world: &World, patience: XdsPatience) -> Door {
    let (snapshots, receiver) = watch::channel(Some(world.gate.shared.snapshot()));
    let gateways = vec!["edge/agents".parse().expect("a gateway")];
    let settings =
        XdsSettings { port: 8080, door: ("127.0.0.1".to_owned(), 9191), door_id: None, most_body: 1 << 20 };
    let xds = Xds::new(world.gate.shared.clone(), gateways, settings, patience, receiver);
    let socket = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let address = socket.local_addr().expect("an address");
    tokio::spawn(async move { serve_xds(&xds, &socket, None).await });
    Door { address, snapshots }
}

fn token(claims: &Value) -> String {
    let mut all = json!({"sub": SUBJECT, "aud": ["agentgateway"]});
    let (all_of, claims) = (all.as_object_mut().expect("an object"), claims.as_object().expect("an object"));
    all_of.extend(claims.clone());
    CLUSTER.token(all)
}

/// A data plane with a stream.
struct Plane {
    requests: mpsc::Sender<Result<Frame<Bytes>, Infallible>>,
    answer: Incoming,
    held: BytesMut,
    /// Of the answer, and its trailers once it has ended.
    headers: HeaderMap,
    role: String,
    /// The connection is open as long as this is there.
    _connection: SendRequest<UnsyncBoxBody<Bytes, Infallible>>,
}

impl Plane {
    async fn connect(door: &Door, token: Option<&str>) -> Self {
        let stream = TcpStream::connect(door.address).await.expect("connected");
        let builder = Builder::new(TokioExecutor::new());
        let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await.expect("HTTP/2");
        tokio::spawn(connection);
        let (requests, mut frames) = mpsc::channel(16);
        let mut request = Request::builder().method(Method::POST).uri(format!("http://vidimus{PATH}"));
        request = request.header("content-type", "application/grpc").header("te", "trailers");
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let body = StreamBody::new(poll_fn(move |context| frames.poll_recv(context))).boxed_unsync();
        let request = request.body(body).expect("a request");
        let (head, answer) = sender.send_request(request).await.expect("an answer").into_parts();
        let role = "edge~agents".to_owned();
        Self { requests, answer, held: BytesMut::new(), headers: head.headers, role, _connection: sender }
    }

    /// One that is let in, and has asked for both types as agentgateway does.
    async fn begin(door: &Door, has: &[(String, String)]) -> Self {
        let plane = Self::connect(door, Some(&token(&json!({})))).await;
        plane.ask(has).await;
        plane
    }

    async fn ask(&self, has: &[(String, String)]) {
        let fields = [("role", self.role.as_str()), ("NAMESPACE", "edge"), ("GATEWAY_NAME", "agents")];
        let field = |(key, value): (&str, &str)| (key.to_owned(), Text { string_value: value.to_owned() });
        let metadata = Some(Struct { fields: fields.into_iter().map(field).collect() });
        let node =
            Some(Node { id: "agentgateway~10.0.0.1~a.edge~edge.svc.cluster.local".to_owned(), metadata });
        for type_url in [ADDRESS, RESOURCE] {
            let initial_resource_versions: HashMap<_, _> =
                if type_url == RESOURCE { has.iter().cloned().collect() } else { HashMap::new() };
            let type_url = type_url.to_owned();
            let request = DeltaRequest {
                node: node.clone(),
                type_url,
                initial_resource_versions,
                ..Default::default()
            };
            self.send(&request.encode_to_vec()).await;
        }
    }

    async fn send(&self, message: &[u8]) {
        let length = u32::try_from(message.len()).expect("short").to_be_bytes();
        self.raw([&[0][..], &length[..], message].concat()).await;
    }

    async fn raw(&self, bytes: Vec<u8>) {
        // Whoever is not heard any more is not told so by this.
        let _sent = self.requests.send(Ok(Frame::data(bytes.into()))).await;
    }

    async fn ack(&self, response: &DeltaResponse, error: Option<&str>) {
        let request = DeltaRequest {
            type_url: response.type_url.clone(),
            response_nonce: response.nonce.clone(),
            error_detail: error.map(|message| Status { message: message.to_owned() }),
            ..DeltaRequest::default()
        };
        self.send(&request.encode_to_vec()).await;
    }

    /// The next message, or nothing where the stream has ended.
    async fn next(&mut self) -> Option<DeltaResponse> {
        loop {
            if let Some(head) = self.held.first_chunk::<5>() {
                let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
                if self.held.len() >= 5 + length {
                    self.held.advance(5);
                    let message = self.held.split_to(length).freeze();
                    return Some(DeltaResponse::decode(message).expect("a response"));
                }
            }
            let frame = tokio::time::timeout(Duration::from_secs(10), self.answer.frame());
            let frame = frame.await.expect("within ten seconds")?.expect("a frame");
            match frame.into_data() {
                Ok(data) => self.held.extend_from_slice(&data),
                Err(frame) => self.headers.extend(frame.into_trailers().expect("trailers")),
            }
        }
    }

    /// What comes within a moment.
    async fn nothing(&mut self) {
        let came = tokio::time::timeout(Duration::from_millis(150), self.next()).await;
        assert!(came.is_err(), "{came:?}");
    }

    /// Takes all that comes until both types are answered; name and version of what it has then.
    async fn settle(&mut self) -> Vec<(String, String)> {
        let mut has = Vec::new();
        loop {
            let response = self.next().await.expect("a response");
            has.extend(response.resources.iter().map(|it| (it.name.clone(), it.version.clone())));
            self.ack(&response, None).await;
            if response.type_url == ADDRESS {
                assert_eq!(response.resources, []);
                return has;
            }
        }
    }

    /// The status of gRPC that the stream ends with.
    async fn status(&mut self) -> i32 {
        while self.next().await.is_some() {}
        let status = self.headers["grpc-status"].to_str().expect("text");
        status.parse().expect("a number")
    }
}

fn names(response: &DeltaResponse) -> Vec<&str> {
    response.resources.iter().map(|resource| resource.name.as_str()).collect()
}

/// What operators see, once it is as `is` has it.
async fn shown(world: &World, is: impl Fn(&Value) -> bool) -> Value {
    for _ in 0..200 {
        let all = serde_json::to_value(world.gate.shared.planes.shown()).expect("JSON");
        if is(&all) {
            return all;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it is {}", serde_json::to_value(world.gate.shared.planes.shown()).expect("JSON"));
}

/// The objects of the world without the one of this name.
fn without(world: &World, name: &str) -> Arc<Snapshot> {
    let all: Vec<Value> =
        objects(&world.upstream).into_iter().filter(|it| it["metadata"]["name"] != name).collect();
    snapshot(&all)
}

#[tokio::test]
async fn a_data_plane_gets_what_guards_it_then_its_routes_then_the_empty_type() {
    let world = World::new().await;
    let door = door(&world, patience()).await;
    let mut plane = Plane::begin(&door, &[]).await;
    let guards = plane.next().await.expect("a response");
    assert_eq!(names(&guards), ["policy/edge/agents.vidimus-ask", "policy/edge/agents.vidimus-default-deny"]);
    plane.nothing().await;
    plane.ack(&guards, None).await;
    let rest = plane.next().await.expect("a response");
    assert_eq!(
        names(&rest),
        [
            "backend/t/a2a.callee",
            "backend/t/llm.models",
            "backend/t/mcp.tools",
            "route/t/a2a.callee.00.http",
            "route/t/llm.models.00.http",
            "route/t/mcp.tools.00.http",
            "listener/edge/agents.http",
            "bind/8080/edge/agents",
        ]
    );
    plane.nothing().await;
    plane.ack(&rest, None).await;
    let empty = plane.next().await.expect("a response");
    assert_eq!((empty.type_url.as_str(), empty.resources.len()), (ADDRESS, 0));
    plane.ack(&empty, None).await;
    let all = shown(&world, |all| all[0]["resources"] == 10).await;
    assert_eq!(
        (&all[0]["gateway"], &all[0]["streams"], &all[0]["refused"]),
        (&json!("edge/agents"), &json!(1), &json!([]))
    );
    drop(plane);
    shown(&world, |all| all[0]["streams"] == 0).await;
}

#[tokio::test]
async fn a_change_is_a_difference_for_every_gateway_and_a_removal_takes_away() {
    let world = World::new().await;
    let door = door(&world, patience()).await;
    let mut planes = [Plane::begin(&door, &[]).await, Plane::begin(&door, &[]).await];
    for plane in &mut planes {
        assert_eq!(plane.settle().await.len(), 10);
    }
    // The same again is no change.
    door.snapshots.send_replace(Some(world.gate.shared.snapshot()));
    door.snapshots.send_replace(None);
    planes[0].nothing().await;
    door.snapshots.send_replace(Some(without(&world, "tools")));
    for plane in &mut planes {
        let change = plane.next().await.expect("a response");
        assert_eq!(names(&change), Vec::<&str>::new());
        assert_eq!(change.removed_resources, ["backend/t/mcp.tools", "route/t/mcp.tools.00.http"]);
        plane.ack(&change, None).await;
    }
    door.snapshots.send_replace(Some(world.gate.shared.snapshot()));
    for plane in &mut planes {
        let change = plane.next().await.expect("a response");
        assert_eq!(names(&change), ["backend/t/mcp.tools", "route/t/mcp.tools.00.http"]);
    }
    assert_eq!(shown(&world, |all| all[0]["streams"] == 2).await[0]["left_out"], json!([]));
}

#[tokio::test]
async fn who_comes_again_says_what_it_has_and_gets_the_difference() {
    let world = World::new().await;
    let door = door(&world, patience()).await;
    let mut plane = Plane::begin(&door, &[]).await;
    let mut has = plane.settle().await;
    drop(plane);
    // Of another replica: the versions are of the content.
    has.push(("route/t/mcp.gone.00.http".to_owned(), "1".to_owned()));
    has.retain(|(name, _)| name != "backend/t/mcp.tools");
    let mut plane = Plane::begin(&door, &has).await;
    let guards = plane.next().await.expect("a response");
    assert_eq!(
        (guards.resources.len(), guards.removed_resources.len()),
        (2, 0),
        "whether it takes them is asked anew"
    );
    plane.ack(&guards, None).await;
    let change = plane.next().await.expect("a response");
    assert_eq!(
        (names(&change), change.removed_resources.clone()),
        (vec!["backend/t/mcp.tools"], vec!["route/t/mcp.gone.00.http".to_owned()])
    );
    plane.ack(&change, None).await;
    assert_eq!(plane.next().await.map(|it| it.type_url).as_deref(), Some(ADDRESS));
}

#[tokio::test]
async fn what_a_data_plane_refuses_is_seen_by_resource_until_it_takes_it() {
    let world = World::new().await;
    let door = door(&world, patience()).await;
    let mut plane = Plane::begin(&door, &[]).await;
    let guards = plane.next().await.expect("a response");
    plane.ack(&guards, None).await;
    let rest = plane.next().await.expect("a response");
    let message = r#"[{"key":"route/t/mcp.tools.00.http","error":"invalid path"},{"key":"listener/edge/agents.http","warn":"odd"}]"#;
    plane.ack(&rest, Some(message)).await;
    assert_eq!(plane.next().await.map(|it| it.type_url).as_deref(), Some(ADDRESS), "the others are in force");
    let all = shown(&world, |all| all[0]["refused"].as_array().is_some_and(|all| all.len() == 2)).await;
    assert_eq!(
        all[0]["refused"][1],
        json!({"resource": "route/t/mcp.tools.00.http", "severity": "error", "message": "invalid path"})
    );
    let metrics = world.gate.shared.meter.text(&world.gate.shared.ledger);
    for line in [
        "data_plane_resources_total{result=\"refused\"} 1",
        "data_plane_resources_total{result=\"warned\"} 1",
    ] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
    // It is not there any more, so nothing is refused.
    door.snapshots.send_replace(Some(without(&world, "tools")));
    let change = plane.next().await.expect("a response");
    plane.ack(&change, None).await;
    shown(&world, |all| all[0]["refused"].as_array().is_some_and(|all| all.len() == 1)).await;
}

/// Attack: a version that does not know the policy which asks, and would route without it.
#[tokio::test]
async fn a_data_plane_that_does_not_take_its_guards_is_given_no_route() {
    let world = World::new().await;
    let door = door(&world, patience()).await;
    let mut plane = Plane::begin(&door, &[("bind/8080/edge/agents".to_owned(), "1".to_owned())]).await;
    let guards = plane.next().await.expect("a response");
    plane.ack(&guards, Some(r#"[{"key":"policy/edge/agents.vidimus-ask","error":"unknown"}]"#)).await;
    let gone = plane.next().await.expect("a response");
    assert_eq!(
        (gone.resources.len(), gone.removed_resources.as_slice()),
        (0, &["bind/8080/edge/agents".to_owned()][..])
    );
    plane.ack(&gone, None).await;
    plane.nothing().await;
    shown(&world, |all| all[0]["unguarded"] == true).await;
}

/// Attack: somebody else's token, one for calls, none; the role of another gateway.
#[tokio::test]
async fn only_a_gateway_that_is_named_and_proves_it_is_told_where_everything_is() {
    let world = World::new().await;
    let door = door(&world, patience()).await;
    let others = [
        (None, "credential_missing"),
        (Some(token(&json!({"aud": "vidimus"}))), "token_audience"),
        (Some(token(&json!({"sub": "system:serviceaccount:other:agents"}))), "principal_unknown"),
        (Some(token(&json!({"exp": 1}))), "token_expired"),
        (Some(world.token("caller", Duration::from_secs(60))), "token_issuer"),
    ];
    for (token, code) in &others {
        let mut plane = Plane::connect(&door, token.as_deref()).await;
        assert_eq!(plane.headers["vidimus-code"], *code);
        assert_eq!(plane.status().await, 16, "{code}");
    }
    let refused = world.all_records().iter().filter(|it| it["path"] == PATH).count();
    assert_eq!(refused, others.len(), "each is on record");
    for role in ["other~agents", "edge~other", ""] {
        let mut plane = Plane::connect(&door, Some(&token(&json!({})))).await;
        plane.role = role.to_owned();
        plane.ask(&[]).await;
        assert_eq!(plane.next().await, None, "{role}");
        assert_eq!(plane.status().await, 7, "{role}");
    }
    assert_eq!(shown(&world, |all| all[0]["streams"] == 0).await.as_array().map(Vec::len), Some(1));
}

/// Attack: messages without end, many small things, and no answers.
#[tokio::test]
async fn a_stream_is_bounded_in_size_and_in_time() {
    let world = World::new().await;
    let short = Duration::from_millis(300);
    let door = door(&world, XdsPatience { first: short, answer: short, streams: 2, ..patience() }).await;
    let good = token(&json!({}));
    // Larger than it may be, by what it says; compressed; nothing that can be read; many fields.
    for bytes in [
        b"\0\xff\0\0\0".to_vec(),
        b"\x01\0\0\0\x01a".to_vec(),
        b"\0\0\0\0\x01\xff".to_vec(),
        [&b"\0\0\x02\0\x02"[..], &b"\x2a\0".repeat(65_537)[..]].concat(),
    ] {
        let mut plane = Plane::connect(&door, Some(&good)).await;
        plane.raw(bytes).await;
        assert_eq!(plane.status().await, 3);
    }
    // Nothing is said; nothing is answered.
    let mut silent = Plane::connect(&door, Some(&good)).await;
    assert_eq!(silent.status().await, 4);
    let mut slow = Plane::begin(&door, &[]).await;
    assert!(slow.next().await.is_some());
    assert_eq!(slow.status().await, 4);
    shown(&world, |all| all[0]["streams"] == 0).await;
    // More at once than there are replicas.
    let (one, two) = (Plane::begin(&door, &[]).await, Plane::begin(&door, &[]).await);
    let mut three = Plane::begin(&door, &[]).await;
    assert_eq!(three.headers["vidimus-code"], "overloaded");
    assert_eq!(three.status().await, 8);
    drop((one, two));
    shown(&world, |all| all[0]["streams"] == 0).await;
}

#[tokio::test]
async fn a_stream_ends_with_its_token_and_nothing_is_said_before_all_is_known() {
    let world = World::new().await;
    let door = door(&world, patience()).await;
    door.snapshots.send_replace(None);
    let ends = vidimus_testkit::issuer::now_seconds() + 3;
    let mut plane = Plane::connect(&door, Some(&token(&json!({"exp": ends})))).await;
    plane.ask(&[]).await;
    plane.nothing().await;
    door.snapshots.send_replace(Some(world.gate.shared.snapshot()));
    assert_eq!(plane.settle().await.len(), 10);
    assert_eq!(plane.status().await, 4, "which agentgateway takes for a reason to come again at once");
}
