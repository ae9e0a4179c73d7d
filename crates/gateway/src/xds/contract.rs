//! What is sent and read, held against the protos that agentgateway publishes (`tests/agentgateway`): no field that they do not have, the same
//! bytes when theirs are written from what was read, and the numbers of their enums.

use std::collections::HashMap;
use std::path::Path;

use bytes::Bytes;
use prost::Message as _;
use protox::prost_reflect::{DescriptorPool, DynamicMessage, MapKey, Value};

use super::compile::tests::{gateway, one_of_each, settings, snapshot};
use super::compile::{Compiled, RESOURCE, Settings, compile};
use super::proto::{DeltaDiscoveryRequest, DeltaDiscoveryResponse, GATEWAY, HTTP, HTTP2, OVERRIDE, SPIFFE};
use super::subscription::Subscriptions;

fn published() -> DescriptorPool {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/agentgateway");
    let mut compiler = protox::Compiler::new([directory]).expect("a directory");
    compiler.include_imports(true);
    for file in ["xds.proto", "resource.proto", "workload.proto", "ext_authz.proto"] {
        compiler.open_file(file).unwrap_or_else(|error| panic!("{file}: {error}"));
    }
    compiler.descriptor_pool()
}

/// A message of ours, as agentgateway reads it.
pub(crate) fn read(name: &str, bytes: &[u8]) -> DynamicMessage {
    let descriptor = published().get_message_by_name(name).unwrap_or_else(|| panic!("no {name}"));
    DynamicMessage::decode(descriptor, bytes).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The same where nothing may be in it that is not published, and nothing be lost.
fn read_wholly(name: &str, bytes: &[u8]) -> DynamicMessage {
    let message = read(name, bytes);
    check_known(&message);
    assert_eq!(message.encode_to_vec(), bytes, "{name}: {message:?}");
    message
}

fn check_known(message: &DynamicMessage) {
    assert_eq!(message.unknown_fields().count(), 0, "{message:?}");
    message.fields().for_each(|(_, value)| check_value(value));
}

fn check_value(value: &Value) {
    match value {
        Value::Message(message) => check_known(message),
        Value::List(all) => all.iter().for_each(check_value),
        Value::Map(all) => all.values().for_each(check_value),
        _ => {}
    }
}

fn compiled(settings: &Settings) -> Compiled {
    compile(&snapshot(&one_of_each()), &gateway(), settings)
}

#[test]
fn every_resource_is_one_that_agentgateway_publishes() {
    let over_tls = Settings { door_id: Some("spiffe://a/b".to_owned()), ..settings() };
    for settings in [settings(), over_tls] {
        let all = compiled(&settings);
        assert_eq!(all.guards.len() + all.rest.len(), 10);
        for item in all.guards.iter().chain(&all.rest) {
            let resource = read_wholly("agentgateway.dev.resource.Resource", &item.value);
            let (arm, value) = resource.fields().next().expect("one arm");
            assert_eq!(resource.fields().count(), 1);
            // Its xDS name is that of its arm and its key, by which it is taken away again.
            let Value::Message(value) = value else { panic!("{value:?}") };
            let key = value.get_field_by_name("key").and_then(|key| key.as_str().map(ToOwned::to_owned));
            assert_eq!(
                Some(format!("{}/{}", arm.name(), key.unwrap_or_default())),
                Some(item.name.to_string())
            );
        }
    }
}

#[test]
fn the_numbers_are_those_of_the_published_enums() {
    let pool = published();
    for (name, value, ours) in [
        ("agentgateway.dev.resource.Protocol", "HTTP", HTTP),
        ("agentgateway.dev.resource.Bind.Protocol", "HTTP", 0),
        ("agentgateway.dev.resource.Bind.Mode", "STANDARD", 0),
        ("agentgateway.dev.resource.Policy.Inheritance", "OVERRIDE", OVERRIDE),
        ("agentgateway.dev.resource.TrafficPolicySpec.PolicyPhase", "GATEWAY", GATEWAY),
        ("agentgateway.dev.resource.TrafficPolicySpec.ExternalAuth.FailureMode", "DENY", 0),
        ("agentgateway.dev.resource.BackendPolicySpec.BackendHTTP.HttpVersion", "HTTP2", HTTP2),
        ("agentgateway.dev.resource.BackendPolicySpec.BackendTLS.CertificateSource", "SPIFFE", SPIFFE),
        ("agentgateway.dev.resource.BackendPolicySpec.BackendTLS.VerificationMode", "STRICT", 0),
    ] {
        let found = pool.get_enum_by_name(name).and_then(|it| it.get_value_by_name(value));
        assert_eq!(found.map(|it| it.number()), Some(ours), "{name}.{value}");
    }
}

#[test]
fn what_is_sent_is_a_response_that_agentgateway_reads() {
    let all = compiled(&settings());
    let mut state = Subscriptions::default();
    let begin = DeltaDiscoveryRequest { type_url: RESOURCE.to_owned(), ..Default::default() };
    state.take(&begin).expect("a message");
    let mut sent = 0;
    while let Some(response) = state.next(&all) {
        let bytes = response.encode_to_vec();
        read_wholly("envoy.service.discovery.v3.DeltaDiscoveryResponse", &bytes);
        sent += response.resources.len();
        let nonce = response.nonce;
        state.take(&DeltaDiscoveryRequest { response_nonce: nonce, ..begin.clone() }).expect("an answer");
    }
    assert_eq!(sent, 10);
    let removed = DeltaDiscoveryResponse {
        type_url: RESOURCE.to_owned(),
        removed_resources: vec!["route/a".to_owned()],
        nonce: "1".to_owned(),
        ..Default::default()
    };
    read_wholly("envoy.service.discovery.v3.DeltaDiscoveryResponse", &removed.encode_to_vec());
}

/// Built as `crates/xds/src/client.rs` of agentgateway builds it.
fn of_agentgateway(pool: &DescriptorPool) -> DynamicMessage {
    let message = |name: &str| DynamicMessage::new(pool.get_message_by_name(name).expect("a message"));
    let text = |text: &str| {
        let mut value = message("google.protobuf.Value");
        value.set_field_by_name("string_value", Value::String(text.to_owned()));
        Value::Message(value)
    };
    let mut metadata = message("google.protobuf.Struct");
    let fields = [
        ("NAME", "agents-5d8f-x"),
        ("NAMESPACE", "edge"),
        ("INSTANCE_IPS", "1.1.1.1"),
        ("NODE_NAME", ""),
        ("role", "edge~agents"),
        ("GATEWAY_NAME", "agents"),
    ];
    let fields: HashMap<MapKey, Value> =
        fields.iter().map(|(key, value)| (MapKey::String((*key).to_owned()), text(value))).collect();
    metadata.set_field_by_name("fields", Value::Map(fields));
    let mut node = message("envoy.service.discovery.v3.Node");
    let id = "agentgateway~1.1.1.1~agents-5d8f-x.edge~edge.svc.cluster.local";
    node.set_field_by_name("id", Value::String(id.to_owned()));
    node.set_field_by_name("metadata", Value::Message(metadata));
    let mut request = message("envoy.service.discovery.v3.DeltaDiscoveryRequest");
    request.set_field_by_name("node", Value::Message(node));
    request.set_field_by_name("type_url", Value::String(RESOURCE.to_owned()));
    let versions = [("route/a", "1"), ("bind/8080/edge/agents", "2")]
        .iter()
        .map(|(name, version)| (MapKey::String((*name).to_owned()), Value::String((*version).to_owned())));
    request.set_field_by_name("initial_resource_versions", Value::Map(versions.collect()));
    request
}

#[test]
fn what_agentgateway_sends_is_read_and_nothing_of_it_is_lost() {
    let pool = published();
    let bytes = Bytes::from(of_agentgateway(&pool).encode_to_vec());
    let ours = DeltaDiscoveryRequest::read(bytes.clone()).expect("a request");
    assert_eq!(ours.encode_to_vec(), bytes, "byte for byte");
    assert_eq!((ours.type_url.as_str(), ours.role().as_deref()), (RESOURCE, Some("edge~agents")));
    let mut versions: Vec<_> =
        ours.versions().expect("versions").into_iter().map(|it| (it.key, it.value)).collect();
    versions.sort();
    let expected = [("bind/8080/edge/agents", "2"), ("route/a", "1")];
    assert_eq!(versions, expected.map(|(name, version)| (name.to_owned(), version.to_owned())));

    let message = |name: &str| DynamicMessage::new(pool.get_message_by_name(name).expect("a message"));
    let mut status = message("envoy.service.common.v3.Status");
    status.set_field_by_name("message", Value::String(r#"[{"key":"route/a","error":"bad"}]"#.to_owned()));
    let mut nack = message("envoy.service.discovery.v3.DeltaDiscoveryRequest");
    nack.set_field_by_name("type_url", Value::String(RESOURCE.to_owned()));
    nack.set_field_by_name("response_nonce", Value::String("2".to_owned()));
    nack.set_field_by_name("error_detail", Value::Message(status));
    let bytes = Bytes::from(nack.encode_to_vec());
    let ours = DeltaDiscoveryRequest::read(bytes.clone()).expect("a request");
    assert_eq!(ours.encode_to_vec(), bytes, "byte for byte");
    assert_eq!(ours.response_nonce, "2");
    assert!(ours.error_detail.is_some_and(|status| status.message.contains("route/a")));
}
