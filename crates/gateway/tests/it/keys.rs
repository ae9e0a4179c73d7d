//! A provider that refuses the gateway's key: who operates is told, and the caller does not take it for its own token.

use http::{HeaderMap, Method, StatusCode};
use serde_json::{Value, json};
use vidimus_testkit::upstream::Answer;

use super::logged::Logged;
use super::world::{World, call_id, json_of, objects, snapshot};

/// What providers say to a wrong key: it shows a part of it.
const SAID: &str = "Incorrect API key provided: sk-pr***wxyz";

async fn world(credential: &Value) -> World {
    let world = World::new().await;
    let mut all = objects(&world.upstream);
    let object = |kind: &str, name: &str, spec: Value| json!({"apiVersion": "vidimus.dev/v1alpha1", "kind": kind, "metadata": {"namespace": "t", "name": name}, "spec": spec});
    all.push(object(
        "LLMProvider",
        "main",
        json!({"owner": "a@b.example", "type": "openAI", "credential": credential,
            "endpoint": {"url": world.upstream.url("/at"), "timeout": "3s"}, "models": [{"name": "small"}]}),
    ));
    let permit = r#"permit (principal == Agent::"t/caller", action == Action::"callModel", resource == Model::"t/main/small");"#;
    all.push(object("Policy", "keys", json!({"description": "keys", "cedar": permit})));
    world.gate.take_into_use(snapshot(&all));
    world
}

/// A call that the provider answers with this status.
async fn call(world: &World, status: u16) -> (StatusCode, HeaderMap, Value, Vec<Value>) {
    let error =
        json!({"error": {"message": SAID, "type": "invalid_request_error", "code": "invalid_api_key"}});
    let status = StatusCode::from_u16(status).expect("a status");
    world.upstream.next(Answer::json(&error).with_status(status));
    let body = json!({"model": "small", "messages": [{"role": "user", "content": "hi"}]});
    let asked = world.request(Method::POST, "/llm/t/main/v1/chat/completions", &body);
    let (status, headers, body) = world.call(asked).await;
    let records = world.records(&call_id(&headers), 2).await;
    (status, headers, json_of(&body), records)
}

/// Attack: a part of the gateway's key in what a provider says to it.
#[tokio::test]
async fn a_key_that_a_provider_refuses_is_told_to_who_operates_and_not_taken_for_the_callers() {
    let world = world(&json!({"env": "CARGO_PKG_NAME"})).await;
    let logged = Logged::begin();
    let (status, headers, said, records) = call(&world, 401).await;
    assert_eq!(
        (status, &headers["vidimus-code"]),
        (StatusCode::BAD_GATEWAY, &"credential_refused".parse().expect("text"))
    );
    assert_eq!(headers["x-should-retry"], "false");
    assert_eq!(said["error"]["vidimus"]["upstream_status"], 401);
    assert!(
        !said.to_string().contains("sk-pr") && said.to_string().contains("your own token is good"),
        "{said}"
    );
    let note = "401 to the gateway's key: look at spec.credential of LLMProvider t/main";
    let end = &records[1];
    assert_eq!(
        (&end["code"], &end["status"], &end["detail"]),
        (&json!("credential_refused"), &json!(401), &json!(note))
    );
    // What it refuses for another reason than the key it says itself.
    let (status, headers, said, records) = call(&world, 403).await;
    assert_eq!((status, headers.get("vidimus-code")), (StatusCode::FORBIDDEN, None));
    assert_eq!((&said["error"]["message"], &records[1]["result"]), (&json!(SAID), &json!("error")));
    assert!(
        records[1]["detail"].as_str().is_some_and(|detail| detail.starts_with("403 to the gateway's key"))
    );
    let told = logged.with("refuses the key");
    assert_eq!(told.len(), 2, "{told:?}");
    for (line, status) in told.iter().zip(["401", "403"]) {
        let says = ["t/main", "LLMProvider", "spec.credential", status];
        assert!(says.iter().all(|word| line.contains(word)), "{line}");
    }
    let (.., records) = call(&world, 429).await;
    assert!(records[1].get("detail").is_none(), "of another kind");
    assert_eq!(logged.with("refuses the key").len(), 2);
}

/// Where the gateway has no key, none is refused.
#[tokio::test]
async fn what_is_refused_without_a_key_passes() {
    let world = world(&json!({"none": {}})).await;
    let logged = Logged::begin();
    let (status, headers, said, records) = call(&world, 401).await;
    assert_eq!((status, headers.get("vidimus-code")), (StatusCode::UNAUTHORIZED, None));
    assert_eq!((&said["error"]["message"], records[1].get("detail")), (&json!(SAID), None));
    assert!(logged.with("refuses the key").is_empty());
}

/// Google says it with 400, in the text of its error alone.
#[tokio::test]
async fn a_key_that_google_refuses_is_told_by_its_reason() {
    let world = World::new().await;
    let mut all = objects(&world.upstream);
    let object = |kind: &str, name: &str, spec: Value| json!({"apiVersion": "vidimus.dev/v1alpha1", "kind": kind, "metadata": {"namespace": "t", "name": name}, "spec": spec});
    let spec = json!({"owner": "a@b.example", "type": "gemini", "credential": {"env": "CARGO_PKG_NAME"},
        "endpoint": {"url": world.upstream.url("/at"), "timeout": "3s"}, "models": [{"name": "small"}]});
    all.push(object("LLMProvider", "google", spec));
    let permit = r#"permit (principal == Agent::"t/caller", action == Action::"callModel", resource == Model::"t/google/small");"#;
    all.push(object("Policy", "keys", json!({"description": "keys", "cedar": permit})));
    world.gate.take_into_use(snapshot(&all));
    let error = |reason: &str| {
        let details = json!([{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason}]);
        let error = json!({"code": 400, "message": "API key not valid.", "status": "INVALID_ARGUMENT", "details": details});
        Answer::json(&json!({"error": error})).with_status(StatusCode::BAD_REQUEST)
    };
    let own = json!({"contents": [{"role": "user", "parts": [{"text": "hi"}]}]});
    let chat = json!({"model": "small", "messages": [{"role": "user", "content": "hi"}]});
    for (path, body) in [
        ("/llm/t/google/v1beta/models/small:generateContent", &own),
        ("/llm/t/google/v1/chat/completions", &chat),
    ] {
        let logged = Logged::begin();
        for (reason, status, code, told) in
            [("OTHER", 400, None, 0), ("API_KEY_INVALID", 502, Some("credential_refused"), 1)]
        {
            world.upstream.next(error(reason));
            let (came, headers, said) = world.call(world.request(Method::POST, path, body)).await;
            let is = headers.get("vidimus-code").map(|code| code.to_str().expect("text"));
            assert_eq!((came.as_u16(), is), (status, code), "{said:?}");
            assert_eq!(String::from_utf8_lossy(&said).contains("not valid"), code.is_none(), "{said:?}");
            let records = world.records(&call_id(&headers), 2).await;
            assert_eq!((&records[1]["status"], records[1].get("detail").is_some()), (&json!(400), told == 1));
            assert_eq!(logged.with("refuses the key").len(), told);
        }
    }
}

/// A world with an MCP server that is somebody else's, and has `endpoint` beside its address.
async fn hosted(endpoint: &Value) -> World {
    let world = World::new().await;
    let mut all = objects(&world.upstream);
    let mut whole = json!({"url": world.upstream.url("/hosted"), "timeout": "3s"});
    whole.as_object_mut().expect("an object").extend(endpoint.as_object().expect("an object").clone());
    let object = |kind: &str, spec: Value| json!({"apiVersion": "vidimus.dev/v1alpha1", "kind": kind, "metadata": {"namespace": "t", "name": "hosted"}, "spec": spec});
    all.push(object(
        "MCPServer",
        json!({"owner": "a@b.example", "team": "t", "riskLevel": "low", "endpoint": whole}),
    ));
    let permit = r#"permit (principal == Agent::"t/caller", action == Action::"invokeTool", resource in MCPServer::"t/hosted");"#;
    all.push(object("Policy", json!({"description": "hosted", "cedar": permit})));
    world.gate.take_into_use(snapshot(&all));
    world
}

async fn echo(world: &World) -> (StatusCode, HeaderMap, Value) {
    let message = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "echo", "arguments": {}}});
    let (status, headers, body) = world.call(world.request(Method::POST, "/mcp/t/hosted", &message)).await;
    (status, headers, json_of(&body))
}

/// An MCP server of somebody else's takes a key of its own, and no token of the gateway's goes there.
#[tokio::test]
async fn the_key_of_an_mcp_server_is_the_gateways() {
    let key = std::env::var("CARGO_PKG_NAME").expect("cargo sets it");
    let env = json!({"env": "CARGO_PKG_NAME"});
    for (more, header, value) in [
        (json!({"credential": env}), "authorization", Some(format!("Bearer {key}"))),
        (
            json!({"credential": env, "credentialScheme": "Token"}),
            "authorization",
            Some(format!("Token {key}")),
        ),
        (json!({"credential": env, "credentialHeader": "X-API-Key"}), "x-api-key", Some(key.clone())),
        (json!({"credential": {"none": {}}}), "authorization", None),
    ] {
        let world = hosted(&more).await;
        world
            .upstream
            .otherwise(|_| Answer::json(&json!({"jsonrpc": "2.0", "id": 1, "result": {"content": []}})));
        let (status, _, said) = echo(&world).await;
        assert_eq!((status, said.get("error")), (StatusCode::OK, None), "{said}");
        let sent = world.upstream.received();
        assert_eq!((sent.len(), sent[0].header(header).map(str::to_owned)), (1, value), "{more}");
        assert!(header == "authorization" || !sent[0].headers.contains_key("authorization"));
    }
    // A client that is told 401 throws its own token away.
    let world = hosted(&json!({"credential": env})).await;
    world.upstream.otherwise(|_| Answer::json(&json!({"error": "no"})).with_status(StatusCode::UNAUTHORIZED));
    let (_, headers, said) = echo(&world).await;
    assert_eq!(headers["vidimus-code"], "credential_refused");
    let said = said.to_string();
    assert!(
        said.contains("spec.endpoint.credential of the MCPServer") && !said.contains("LLMProvider"),
        "{said}"
    );
    let records = world.records(&call_id(&headers), 2).await;
    let note = "401 to the gateway's key: look at spec.endpoint.credential of MCPServer t/hosted";
    assert_eq!(records[1]["detail"], note);
    // Without its key it is not called, and with no other credential.
    for more in [
        json!({"credential": {"env": "VIDIMUS_NO_SUCH_VARIABLE"}}),
        json!({"credential": env, "credentialScheme": "Basic"}),
    ] {
        let world = hosted(&more).await;
        let (_, headers, _) = echo(&world).await;
        assert_eq!(headers["vidimus-code"], "credential_unavailable");
        assert!(world.upstream.received().is_empty());
    }
}
