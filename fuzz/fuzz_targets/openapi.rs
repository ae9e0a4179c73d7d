//! OpenAPI documents, and the paths that are asked of them: a line of each. However they are made, it ends soon and without a panic; what is found is
//! on its own path, and a definition is JSON.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};
use vidimus_core::resource::{Object, Origin, check};

fuzz_target!(|text: &str| {
    let (document, path) = text.split_once('\n').unwrap_or((text, "/"));
    let Ok(document) = serde_json::from_str::<Value>(document) else { return };
    let record = json!({
        "apiVersion": "vidimus.dev/v1alpha1", "kind": "MCPServer", "metadata": {"namespace": "fin", "name": "api"},
        "spec": {"owner": "a@b.example", "team": "t", "riskLevel": "low", "openapi": {"url": "http://127.0.0.1:1/", "document": document}},
    });
    let server = match check(&Origin::file("a.yaml", 1), &record) {
        Ok(Object::McpServer(server)) => server,
        Ok(other) => panic!("{other:?}"),
        Err(rejections) => {
            for rejection in &rejections {
                assert!(!rejection.reason.is_empty() && !rejection.fix.is_empty(), "{rejection:?}");
                assert!(rejection.value.chars().count() <= 120, "{rejection:?}");
            }
            return;
        }
    };
    let api = server.endpoint.openapi.as_ref().expect("an API");
    for tool in api.tools.values() {
        let definition: Value = serde_json::from_str(&tool.definition).expect("JSON");
        assert_eq!(definition["inputSchema"]["type"], "object");
        if let Ok(found) = api.find(tool.verb.as_str(), path) {
            assert!(found.operation.path.matched(path).is_some());
            assert!(found.given.iter().all(|(_, given)| !given.contains('/') && !given.is_empty()));
        }
    }
});
