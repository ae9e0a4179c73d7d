//! Descriptors of a gRPC server, from a record: whatever they are, and whatever the server answers by them.
#![no_main]

use data_encoding::BASE64;
use libfuzzer_sys::fuzz_target;
use prost_reflect::{DynamicMessage, SerializeOptions};
use serde_json::json;
use vidimus_core::resource::{Object, Origin, check};

fuzz_target!(|input: &[u8]| {
    let document = json!({
        "apiVersion": "vidimus.dev/v1alpha1", "kind": "MCPServer", "metadata": {"namespace": "t", "name": "grpc"},
        "spec": {"owner": "a@b.example", "team": "t", "riskLevel": "low",
            "grpc": {"url": "http://127.0.0.1:1", "descriptors": BASE64.encode(input)}},
    });
    let Ok(Object::McpServer(server)) = check(&Origin::file("a.yaml", 1), &document) else { return };
    let options = SerializeOptions::new().skip_default_fields(false);
    for tool in server.endpoint.grpc.as_ref().expect("gRPC").tools.values() {
        let definition: serde_json::Value = serde_json::from_str(&tool.definition).expect("JSON");
        assert_eq!(definition["inputSchema"]["type"], "object");
        if let Ok(message) = DynamicMessage::decode(tool.method.output(), input) {
            let _ = message.serialize_with_options(serde_json::value::Serializer, &options);
        }
        let _ = DynamicMessage::deserialize(tool.method.input(), &definition);
    }
});
