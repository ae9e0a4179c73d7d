//! The messages of xDS and of agentgateway, as far as they are used. Names and numbers are those of agentgateway's published protos
//! (`tests/agentgateway`, with the commit), which `contract` holds them against. A `oneof` is written as its arms, of which one is set.

use bytes::Bytes;
use prost::Message;
use prost::encoding::{DecodeContext, decode_key, skip_field};

/// The largest message of a data plane, in bytes: names and versions of all that it has.
pub(super) const MOST_MESSAGE: usize = 4 * 1024 * 1024;
/// The most fields of one: a resource each. What takes two bytes each to send takes many in memory.
const MOST_FIELDS: usize = 65_536;
/// The largest description of a data plane of itself, in bytes.
const MOST_NODE: usize = 64 * 1024;

/// `envoy.service.discovery.v3.DeltaDiscoveryRequest`. What has messages in it is read once it is known that it is not too large.
#[derive(Clone, PartialEq, Message)]
pub(super) struct DeltaDiscoveryRequest {
    #[prost(bytes = "bytes", optional, tag = "1")]
    pub(super) node: Option<Bytes>,
    #[prost(string, tag = "2")]
    pub(super) type_url: String,
    #[prost(string, repeated, tag = "3")]
    pub(super) resource_names_subscribe: Vec<String>,
    #[prost(string, repeated, tag = "4")]
    pub(super) resource_names_unsubscribe: Vec<String>,
    #[prost(bytes = "bytes", repeated, tag = "5")]
    pub(super) initial_resource_versions: Vec<Bytes>,
    #[prost(string, tag = "6")]
    pub(super) response_nonce: String,
    #[prost(message, optional, tag = "7")]
    pub(super) error_detail: Option<Status>,
}

impl DeltaDiscoveryRequest {
    /// Reads one, where it is no larger than it may be.
    pub(super) fn read(message: Bytes) -> Option<Self> {
        let mut rest = &*message;
        for field in 0.. {
            if rest.is_empty() {
                break;
            }
            let (tag, wire) = decode_key(&mut rest).ok().filter(|_| field < MOST_FIELDS)?;
            skip_field(wire, tag, &mut rest, DecodeContext::default()).ok()?;
        }
        Self::decode(message).ok()
    }

    /// What it has, by name.
    pub(super) fn versions(&self) -> Option<Vec<Entry>> {
        self.initial_resource_versions.iter().map(|entry| Entry::decode(entry.clone()).ok()).collect()
    }

    /// Which gateway the data plane says it is: `metadata.role` of its node.
    pub(super) fn role(&self) -> Option<String> {
        let node = self.node.clone().filter(|node| node.len() <= MOST_NODE)?;
        let fields = Node::decode(node).ok()?.metadata?.fields;
        let mut roles = fields.into_iter().filter(|field| field.key == "role");
        let role = roles.next().filter(|_| roles.next().is_none())?;
        role.value.map(|value| value.string_value).filter(|role| !role.is_empty())
    }
}

/// One entry of a map of strings.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Entry {
    #[prost(string, tag = "1")]
    pub(super) key: String,
    #[prost(string, tag = "2")]
    pub(super) value: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Node {
    #[prost(string, tag = "1")]
    pub(super) id: String,
    #[prost(message, optional, tag = "3")]
    pub(super) metadata: Option<Struct>,
}

/// `google.protobuf.Struct`, of texts.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Struct {
    #[prost(message, repeated, tag = "1")]
    pub(crate) fields: Vec<Field>,
}

/// One entry of it.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Field {
    #[prost(string, tag = "1")]
    pub(crate) key: String,
    #[prost(message, optional, tag = "2")]
    pub(crate) value: Option<Text>,
}

/// `google.protobuf.Value`, where it is a text.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Text {
    #[prost(string, tag = "3")]
    pub(crate) string_value: String,
}

/// `envoy.service.common.v3.Status`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Status {
    #[prost(int32, tag = "1")]
    pub(super) code: i32,
    #[prost(string, tag = "2")]
    pub(super) message: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct DeltaDiscoveryResponse {
    #[prost(string, tag = "1")]
    pub(super) system_version_info: String,
    #[prost(message, repeated, tag = "2")]
    pub(super) resources: Vec<DiscoveryResource>,
    #[prost(string, tag = "4")]
    pub(super) type_url: String,
    #[prost(string, tag = "5")]
    pub(super) nonce: String,
    #[prost(string, repeated, tag = "6")]
    pub(super) removed_resources: Vec<String>,
}

/// `envoy.service.discovery.v3.Resource`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct DiscoveryResource {
    #[prost(string, tag = "1")]
    pub(super) version: String,
    #[prost(message, optional, tag = "2")]
    pub(super) resource: Option<Any>,
    #[prost(string, tag = "3")]
    pub(super) name: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Any {
    #[prost(string, tag = "1")]
    pub(super) type_url: String,
    #[prost(bytes = "bytes", tag = "2")]
    pub(super) value: Bytes,
}

/// `agentgateway.dev.resource.Resource`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Resource {
    #[prost(message, optional, tag = "1")]
    pub(super) bind: Option<Bind>,
    #[prost(message, optional, tag = "2")]
    pub(super) listener: Option<Listener>,
    #[prost(message, optional, tag = "3")]
    pub(super) route: Option<Route>,
    #[prost(message, optional, tag = "4")]
    pub(super) backend: Option<Backend>,
    #[prost(message, optional, tag = "5")]
    pub(super) policy: Option<Policy>,
}

/// A port. What is not said is plain HTTP, on a socket of its own.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Bind {
    #[prost(string, tag = "1")]
    pub(super) key: String,
    #[prost(uint32, tag = "2")]
    pub(super) port: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Listener {
    #[prost(string, tag = "1")]
    pub(super) key: String,
    #[prost(string, tag = "2")]
    pub(super) bind_key: String,
    #[prost(message, optional, tag = "3")]
    pub(super) name: Option<ListenerName>,
    /// [`HTTP`].
    #[prost(int32, tag = "5")]
    pub(super) protocol: i32,
}

/// `Protocol.HTTP` of a listener.
pub(super) const HTTP: i32 = 1;

#[derive(Clone, PartialEq, Message)]
pub(super) struct ListenerName {
    #[prost(string, tag = "1")]
    pub(super) gateway_name: String,
    #[prost(string, tag = "2")]
    pub(super) gateway_namespace: String,
    #[prost(string, tag = "3")]
    pub(super) listener_name: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Route {
    #[prost(string, tag = "1")]
    pub(super) key: String,
    #[prost(string, tag = "2")]
    pub(super) listener_key: String,
    #[prost(message, optional, tag = "3")]
    pub(super) name: Option<RouteName>,
    #[prost(message, repeated, tag = "6")]
    pub(super) matches: Vec<RouteMatch>,
    #[prost(message, repeated, tag = "7")]
    pub(super) backends: Vec<RouteBackend>,
    #[prost(message, repeated, tag = "8")]
    pub(super) traffic_policies: Vec<TrafficPolicySpec>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct RouteName {
    #[prost(string, tag = "1")]
    pub(super) kind: String,
    #[prost(string, tag = "2")]
    pub(super) name: String,
    #[prost(string, tag = "3")]
    pub(super) namespace: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct RouteMatch {
    #[prost(message, optional, tag = "1")]
    pub(super) path: Option<PathMatch>,
}

/// By whole segments.
#[derive(Clone, PartialEq, Message)]
pub(super) struct PathMatch {
    #[prost(string, tag = "2")]
    pub(super) path_prefix: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct RouteBackend {
    #[prost(message, optional, tag = "1")]
    pub(super) backend: Option<BackendReference>,
    #[prost(int32, tag = "2")]
    pub(super) weight: i32,
}

/// A backend by its key, or an address.
#[derive(Clone, PartialEq, Message)]
pub(super) struct BackendReference {
    #[prost(string, tag = "2")]
    pub(super) backend: String,
    #[prost(message, optional, tag = "4")]
    pub(super) inline: Option<Inline>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Inline {
    #[prost(string, tag = "1")]
    pub(super) hostname: String,
    #[prost(uint32, tag = "2")]
    pub(super) port: u32,
}

/// One of the policies of requests.
#[derive(Clone, PartialEq, Message)]
pub(super) struct TrafficPolicySpec {
    /// [`GATEWAY`], or 0 for what is applied once a route is chosen.
    #[prost(int32, tag = "1")]
    pub(super) phase: i32,
    #[prost(message, optional, tag = "5")]
    pub(super) ext_authz: Option<ExternalAuth>,
    #[prost(message, optional, tag = "6")]
    pub(super) authorization: Option<Rbac>,
    #[prost(message, optional, tag = "15")]
    pub(super) url_rewrite: Option<UrlRewrite>,
}

/// `PolicyPhase.GATEWAY`: before a route is chosen.
pub(super) const GATEWAY: i32 = 1;

/// Without a failure mode: `DENY`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ExternalAuth {
    #[prost(message, optional, tag = "1")]
    pub(super) target: Option<BackendReference>,
    #[prost(message, optional, tag = "2")]
    pub(super) grpc: Option<Empty>,
    #[prost(message, optional, tag = "7")]
    pub(super) include_request_body: Option<BodyOptions>,
    #[prost(message, repeated, tag = "9")]
    pub(super) inline_policies: Vec<BackendPolicySpec>,
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(super) struct Empty {}

/// Without partial messages.
#[derive(Clone, PartialEq, Message)]
pub(super) struct BodyOptions {
    #[prost(uint32, tag = "1")]
    pub(super) max_request_bytes: u32,
    #[prost(bool, tag = "3")]
    pub(super) pack_as_bytes: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Rbac {
    #[prost(string, repeated, tag = "3")]
    pub(super) require: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct UrlRewrite {
    /// With the port, where it is not that of the scheme.
    #[prost(string, tag = "1")]
    pub(super) host: String,
    /// In the place of the prefix that a route is chosen by.
    #[prost(string, tag = "3")]
    pub(super) prefix: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Backend {
    #[prost(string, tag = "1")]
    pub(super) key: String,
    #[prost(message, optional, tag = "2")]
    pub(super) name: Option<ResourceName>,
    #[prost(message, optional, tag = "3")]
    pub(super) fixed: Option<StaticBackend>,
    #[prost(message, repeated, tag = "7")]
    pub(super) inline_policies: Vec<BackendPolicySpec>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ResourceName {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) namespace: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct StaticBackend {
    #[prost(string, tag = "1")]
    pub(super) host: String,
    #[prost(int32, tag = "2")]
    pub(super) port: i32,
}

/// One of the policies of what is called.
#[derive(Clone, PartialEq, Message)]
pub(super) struct BackendPolicySpec {
    #[prost(message, optional, tag = "1")]
    pub(super) a2a: Option<Empty>,
    #[prost(message, optional, tag = "3")]
    pub(super) backend_tls: Option<BackendTls>,
    #[prost(message, optional, tag = "12")]
    pub(super) backend_http: Option<BackendHttp>,
}

/// Verified by the system's roots, where nothing else is said.
#[derive(Clone, PartialEq, Message)]
pub(super) struct BackendTls {
    #[prost(string, repeated, tag = "6")]
    pub(super) verify_subject_alt_names: Vec<String>,
    /// [`SPIFFE`], or 0.
    #[prost(int32, tag = "9")]
    pub(super) certificate_source: i32,
}

/// `BackendTLS.CertificateSource.SPIFFE`: the data plane's own SVID, and the bundle that it has with it.
pub(super) const SPIFFE: i32 = 1;

#[derive(Clone, PartialEq, Message)]
pub(super) struct BackendHttp {
    /// [`HTTP2`], or 0.
    #[prost(int32, tag = "1")]
    pub(super) version: i32,
    /// Until the headers of the answer.
    #[prost(message, optional, tag = "2")]
    pub(super) request_timeout: Option<Duration>,
}

/// `BackendHTTP.HttpVersion.HTTP2`.
pub(super) const HTTP2: i32 = 2;

/// `google.protobuf.Duration`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Duration {
    #[prost(int64, tag = "1")]
    pub(super) seconds: i64,
    #[prost(int32, tag = "2")]
    pub(super) nanos: i32,
}

impl Duration {
    /// So many milliseconds.
    pub(super) fn millis(millis: u32) -> Self {
        let nanos = i32::try_from(millis % 1_000 * 1_000_000).unwrap_or_default();
        Self { seconds: i64::from(millis / 1_000), nanos }
    }
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Policy {
    #[prost(string, tag = "1")]
    pub(super) key: String,
    #[prost(message, optional, tag = "2")]
    pub(super) name: Option<TypedResourceName>,
    #[prost(message, optional, tag = "3")]
    pub(super) target: Option<PolicyTarget>,
    #[prost(message, optional, tag = "4")]
    pub(super) traffic: Option<TrafficPolicySpec>,
    /// [`OVERRIDE`].
    #[prost(int32, tag = "8")]
    pub(super) inheritance: i32,
}

/// `Policy.Inheritance.OVERRIDE`: nothing below it takes its place.
pub(super) const OVERRIDE: i32 = 1;

#[derive(Clone, PartialEq, Message)]
pub(super) struct TypedResourceName {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) namespace: String,
    #[prost(string, tag = "3")]
    pub(super) kind: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct PolicyTarget {
    #[prost(message, optional, tag = "1")]
    pub(super) gateway: Option<GatewayTarget>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct GatewayTarget {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) namespace: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(message: &[u8]) -> Option<DeltaDiscoveryRequest> {
        DeltaDiscoveryRequest::read(Bytes::copy_from_slice(message))
    }

    fn node(metadata: &[(&str, &str)]) -> DeltaDiscoveryRequest {
        let field = |(key, value): &(&str, &str)| Field {
            key: (*key).to_owned(),
            value: Some(Text { string_value: (*value).to_owned() }),
        };
        let metadata = Some(Struct { fields: metadata.iter().map(field).collect() });
        let node = Node { id: "agentgateway~10.0.0.1~a.b~b.svc.cluster.local".to_owned(), metadata };
        DeltaDiscoveryRequest { node: Some(node.encode_to_vec().into()), ..Default::default() }
    }

    /// Attack: a message that is small to send and large once it is read.
    #[test]
    fn what_is_small_to_send_and_large_to_hold_is_not_read() {
        // An empty entry takes two bytes.
        let many = b"\x2a\x00".repeat(MOST_FIELDS + 1);
        assert_eq!(read(&many), None);
        let most = many.get(2..).expect("one fewer");
        assert_eq!(read(most).map(|it| it.initial_resource_versions.len()), Some(MOST_FIELDS));
        for broken in [&b"\x2a"[..], b"\x2a\x05a", b"\x0b", b"\xff"] {
            assert_eq!(read(broken), None, "{broken:?}");
        }
        assert_eq!(read(b""), Some(DeltaDiscoveryRequest::default()));
    }

    #[test]
    fn a_data_plane_says_once_which_gateway_it_is() {
        for (metadata, role) in [
            (&[("role", "edge~agents"), ("NAME", "x")][..], Some("edge~agents")),
            (&[("NAME", "x")], None),
            (&[("role", "")], None),
            (&[("role", "edge~agents"), ("role", "other~agents")], None),
        ] {
            assert_eq!(node(metadata).role().as_deref(), role, "{metadata:?}");
        }
        let long = "x".repeat(MOST_NODE);
        assert_eq!(node(&[("role", "edge~agents"), ("a", &long)]).role(), None);
        assert_eq!(DeltaDiscoveryRequest::default().role(), None);
    }
}
