//! One server that stands for others (ADR 82): a tool is decided as its member's, and what all are asked is one answer.

use std::time::Duration;

use http::{HeaderMap, Method, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use vidimus_gateway::Limits;
use vidimus_testkit::upstream::{ANSWERED, Answer, Received, Upstream};

use super::changes::CARD;
use super::world::{World, call_id, json_of, objects, snapshot};

const MODERN: &str = "2026-07-28";
const NEWEST: &str = "2025-11-25";

/// An MCP server of these tools, which calls its sessions `s-NAME` and knows no prompts.
fn serves(
    name: &'static str,
    version: &'static str,
    tools: &'static [&'static str],
) -> impl Fn(&Received) -> Answer {
    move |received| {
        let message = received.json();
        let result =
            |result: Value| Answer::json(&json!({"jsonrpc": "2.0", "id": message["id"], "result": result}));
        let params = &message["params"];
        match message["method"].as_str().unwrap_or_default() {
            "initialize" => {
                let said = json!({"protocolVersion": version, "capabilities": {"tools": {"listChanged": true}},
                    "serverInfo": {"name": name, "version": "1"}, "instructions": format!("I am {name}.")});
                result(said).with_header("mcp-session-id", &format!("s-{name}"))
            }
            "server/discover" => result(
                json!({"supportedVersions": [MODERN], "capabilities": {"tools": {}}, "resultType": "complete"}),
            ),
            "tools/list" => {
                let at: usize = params["cursor"].as_str().map_or(0, |at| at.parse().expect("a number"));
                let page: Vec<Value> = tools[at..]
                    .iter()
                    .take(2)
                    .map(|tool| json!({"name": tool, "inputSchema": {"type": "object"}}))
                    .collect();
                let next = (at + 2 < tools.len()).then(|| (at + 2).to_string());
                result(json!({"tools": page, "nextCursor": next}))
            }
            "tools/call" => result(json!({"content": [
                {"type": "text", "text": format!("{name}: {}", params["name"].as_str().expect("a name"))},
                {"type": "resource_link", "uri": "file:///x", "name": "x"}]})),
            "resources/read" => result(json!({"contents": [{"uri": params["uri"], "text": name}]})),
            "" => Answer::whole("text/plain", "").with_status(StatusCode::OK),
            method if method.starts_with("notifications/") => {
                Answer::whole("text/plain", "").with_status(StatusCode::ACCEPTED)
            }
            "logging/setLevel" => result(json!({})),
            _ => Answer::json(
                &json!({"jsonrpc": "2.0", "id": ANSWERED, "error": {"code": -32601, "message": "no"}}),
            ),
        }
    }
}

struct Front {
    world: World,
    crm: Upstream,
}

impl Front {
    /// A server with the members `ledger` (`t/tools`) and `crm` (`t/crm`).
    async fn new() -> Self {
        Self::with("", json!({})).await
    }

    /// With one more policy, and more said of it.
    async fn with(cedar: &str, spec: Value) -> Self {
        let front = Self { world: World::with(Limits::default()).await, crm: Upstream::start() };
        for (upstream, name, tools) in [
            (&front.world.upstream, "ledger", &["echo", "other", "pay"][..]),
            (&front.crm, "crm", &["find", "echo", "wipe"]),
        ] {
            upstream.lists(None);
            upstream.otherwise(serves(name, NEWEST, tools));
        }
        front.take(cedar, &spec);
        front
    }

    fn take(&self, cedar: &str, spec: &Value) {
        self.world.gate.take_into_use(snapshot(&self.configured(cedar, spec)));
    }

    /// All objects, of which the policy is the last.
    fn configured(&self, cedar: &str, spec: &Value) -> Vec<Value> {
        let mut all = objects(&self.world.upstream);
        let object = |kind: &str, name: &str, spec: Value| json!({"apiVersion": "vidimus.dev/v1alpha1", "kind": kind, "metadata": {"namespace": "t", "name": name}, "spec": spec});
        let server = |more: Value| {
            let mut spec = json!({"owner": "ada.lovelace@example.com", "team": "t", "riskLevel": "low"});
            spec.as_object_mut().expect("a mapping").extend(more.as_object().cloned().expect("a mapping"));
            spec
        };
        let mut front = json!({"members": [
            {"name": "ledger", "server": {"name": "tools"}}, {"name": "crm", "server": {"namespace": "t", "name": "crm"}}]});
        front.as_object_mut().expect("a mapping").extend(spec.as_object().cloned().expect("a mapping"));
        all.push(object(
            "MCPServer",
            "crm",
            server(json!({"endpoint": {"url": self.crm.url("/mcp"), "timeout": "3s"}})),
        ));
        all.push(object("MCPServer", "front", server(front)));
        let cedar = format!(
            r#"permit (principal == Agent::"t/caller", action == Action::"invokeTool", resource == Tool::"t/crm/find");
            permit (principal == Agent::"t/caller", action == Action::"readResource", resource == Resource::"t/crm/file:///x");
            permit (principal == Agent::"t/caller", action == Action::"invokeTool", resource == Tool::"t/tools/pay"); {cedar}"#
        );
        all.push(object("Policy", "more", json!({"description": "more", "cedar": cedar})));
        all
    }

    async fn send(&self, headers: &[(&str, &str)], message: &Value) -> (StatusCode, HeaderMap, Value) {
        self.sent(Method::POST, headers, message).await
    }

    async fn sent(
        &self,
        method: Method,
        headers: &[(&str, &str)],
        message: &Value,
    ) -> (StatusCode, HeaderMap, Value) {
        let mut request = self.world.request(method, "/mcp/t/front", message);
        for (name, value) in headers {
            let name = http::HeaderName::try_from(*name).expect("a name");
            request.headers_mut().insert(name, value.parse().expect("a value"));
        }
        let (status, headers, body) = self.world.call(request).await;
        let said = if body.is_empty() { Value::Null } else { json_of(&body) };
        (status, headers, said)
    }

    async fn ask(&self, method: &str, params: Value) -> (StatusCode, HeaderMap, Value) {
        self.send(&[], &json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params})).await
    }

    /// Begins a session, and gives its id.
    async fn begins(&self) -> (String, Value) {
        let hello = json!({"protocolVersion": NEWEST, "capabilities": {}, "clientInfo": {"name": "c", "version": "1"}});
        let (status, headers, said) = self.ask("initialize", hello).await;
        assert_eq!(status, StatusCode::OK, "{said}");
        (headers["mcp-session-id"].to_str().expect("text").to_owned(), said)
    }
}

fn names(said: &Value) -> Vec<&str> {
    said["result"]["tools"]
        .as_array()
        .unwrap_or_else(|| panic!("{said}"))
        .iter()
        .filter_map(|tool| tool["name"].as_str())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tool_is_called_at_its_member_and_decided_and_recorded_as_that_ones() {
    let front = Front::new().await;
    let meta = json!({"io.modelcontextprotocol/protocolVersion": MODERN, "io.modelcontextprotocol/clientCapabilities": {}});
    for (tool, own, upstream, resource) in [
        ("crm__find", "find", &front.crm, "Tool/t/crm/find"),
        ("ledger__echo", "echo", &front.world.upstream, "Tool/t/tools/echo"),
    ] {
        let params = json!({"name": tool, "arguments": {"a": 1.50}, "_meta": meta});
        let message = json!({"jsonrpc": "2.0", "id": "x", "method": "tools/call", "params": params});
        let labels = [("mcp-protocol-version", MODERN), ("mcp-method", "tools/call"), ("mcp-name", tool)];
        let (status, headers, said) = front.send(&labels, &message).await;
        assert_eq!((status, &said["id"]), (StatusCode::OK, &json!("x")), "{said}");
        let received = upstream.received().pop().expect("a call");
        assert_eq!(
            (received.header("mcp-name"), &received.json()["params"]["name"]),
            (Some(own), &json!(own))
        );
        assert_eq!(received.json()["params"]["arguments"], params["arguments"]);
        let member = tool.split("__").next().expect("a member");
        assert_eq!(said["result"]["content"][1]["uri"], format!("{member}+file:///x"));
        let records = front.world.records(&call_id(&headers), 2).await;
        assert_eq!(
            (&records[0]["resource"], &records[0]["via"]),
            (&json!(resource), &json!("MCPServer/t/front"))
        );
        assert_eq!((&records[0]["action"], &records[1]["result"]), (&json!("invokeTool"), &json!("ok")));
    }
}

/// Attack: what one may do at one member, done at another by the front; what nobody may, by another name.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_with_members_permits_nothing() {
    let front = Front::new().await;
    for (tool, code) in [
        ("crm__echo", "no_permit"),
        ("crm__wipe", "no_permit"),
        ("ledger__forbidden", "forbidden_by_policy"),
        ("ledger__find", "no_permit"),
        ("echo", "resource_unknown"),
        ("tools__echo", "resource_unknown"),
        ("ledger_echo", "resource_unknown"),
        ("ledger__", "resource_unknown"),
    ] {
        let (_, headers, said) = front.ask("tools/call", json!({"name": tool})).await;
        assert_eq!(headers["vidimus-code"], code, "{tool} {said}");
    }
    assert!(front.world.upstream.received().is_empty() && front.crm.received().is_empty());
}

/// A refusal names what was decided: policies know nothing of the name that the caller used.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_names_what_was_decided() {
    let front = Front::new().await;
    for (tool, decided) in [("crm__wipe", "Tool/t/crm/wipe"), ("ledger__forbidden", "Tool/t/tools/forbidden")]
    {
        let (_, _, said) = front.ask("tools/call", json!({"name": tool})).await;
        let told = format!("what came by MCPServer/t/front was decided as {decided}");
        assert!(said.to_string().contains(&told), "{said}");
    }
    // At the member's own address there is nothing to say.
    let message = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "wipe"}});
    let (_, _, body) = front.world.call(front.world.request(Method::POST, "/mcp/t/crm", &message)).await;
    assert!(!json_of(&body).to_string().contains("was decided as"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn listings_are_one_page_by_page_with_what_the_caller_may_use() {
    let front = Front::new().await;
    let (_, headers, first) = front.ask("tools/list", json!({})).await;
    assert_eq!(
        (first["id"].clone(), names(&first)),
        (json!(7), vec!["ledger__echo", "crm__find"]),
        "{first}"
    );
    let next = first["result"]["nextCursor"].as_str().expect("a further page");
    let (_, _, second) = front.ask("tools/list", json!({"cursor": next})).await;
    assert_eq!((names(&second), second["result"].get("nextCursor")), (vec!["ledger__pay"], None), "{second}");
    // The caller's call, and one of its own to each member.
    let call = call_id(&headers);
    let asked: Vec<Value> =
        front.world.all_records().into_iter().filter(|one| one["on_account_of"] == json!(call)).collect();
    let whom: Vec<_> = asked.iter().map(|one| one["resource"].as_str().expect("text")).collect();
    assert!(whom.contains(&"MCPServer/t/tools") && whom.contains(&"MCPServer/t/crm"), "{whom:?}");
    assert!(
        asked.iter().all(|one| one["via"] == json!("MCPServer/t/front") && one["outcome"] == json!("allow"))
    );
    for bad in [json!("x"), json!(7), json!(["x"])] {
        let (_, headers, said) = front.ask("tools/list", json!({"cursor": bad})).await;
        assert_eq!(headers["vidimus-code"], "task_foreign", "{said}");
    }
    let (_, headers, said) = front.ask("resources/list", json!({"cursor": next})).await;
    assert_eq!(headers["vidimus-code"], "task_foreign", "the page of another list: {said}");
    let (_, _, prompts) = front.ask("prompts/list", json!({})).await;
    assert_eq!(prompts["result"], json!({"prompts": []}), "a member without the method has none");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_is_down_is_named_and_the_others_answer_or_not_as_the_record_says() {
    let front = Front::new().await;
    front.crm.otherwise(|_| Answer::reset());
    let (_, _, said) = front.ask("tools/list", json!({})).await;
    assert_eq!(names(&said), ["ledger__echo"]);
    let absent = &said["result"]["_meta"]["dev.vidimus/members"]["absent"];
    assert_eq!(
        (&absent[0]["member"], &absent[0]["code"]),
        (&json!("crm"), &json!("upstream_interrupted")),
        "{said}"
    );
    let (_, said) = front.begins().await;
    assert!(
        said["result"]["instructions"].as_str().is_some_and(|text| text.contains("crm is not there")),
        "{said}"
    );
    let (_, headers, said) = front.ask("tools/call", json!({"name": "crm__find"})).await;
    assert_eq!(headers["vidimus-code"], "upstream_interrupted", "{said}");
    front.take("", &json!({"whenDown": "fail"}));
    let (_, headers, said) = front.ask("tools/list", json!({})).await;
    assert_eq!(headers["vidimus-code"], "upstream_interrupted", "{said}");
    assert!(said["error"]["message"].as_str().is_some_and(|text| text.contains("\"crm\"")), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_is_one_with_each_member_in_the_version_of_each() {
    let front = Front::new().await;
    front.crm.otherwise(serves("crm", "2025-06-18", &["find"]));
    let (session, said) = front.begins().await;
    assert_eq!(said["result"]["protocolVersion"], "2025-06-18", "the oldest that one of them speaks");
    assert_eq!(
        said["result"]["capabilities"],
        json!({"tools": {}}),
        "news of lists come on a stream that is not there"
    );
    assert!(!session.contains("s-crm"), "an id is sealed");
    let headers = [("mcp-session-id", &*session), ("mcp-protocol-version", "2025-06-18")];
    let message =
        |method: &str, params: Value| json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
    let (status, _, _) =
        front.send(&headers, &json!({"jsonrpc": "2.0", "method": "notifications/initialized"})).await;
    assert_eq!(status, StatusCode::ACCEPTED);
    let (_, _, said) = front.send(&headers, &message("tools/call", json!({"name": "ledger__echo"}))).await;
    assert!(said.get("result").is_some(), "{said}");
    let (_, _, said) = front.send(&headers, &message("tools/list", json!({}))).await;
    assert_eq!(names(&said), ["ledger__echo", "crm__find"]);
    for (upstream, id, version) in
        [(&front.world.upstream, "s-ledger", NEWEST), (&front.crm, "s-crm", "2025-06-18")]
    {
        let later: Vec<Received> = upstream.received().into_iter().skip(1).collect();
        assert!(later.len() >= 2);
        for one in later {
            assert_eq!(
                (one.header("mcp-session-id"), one.header("mcp-protocol-version")),
                (Some(id), Some(version))
            );
        }
    }
    let (_, _, pong) = front.send(&headers, &message("ping", json!({}))).await;
    assert_eq!(pong["result"], json!({}));
    let (status, _, _) = front.sent(Method::GET, &headers, &Value::Null).await;
    assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED, "there is no stream of all");
    let (status, _, _) = front.sent(Method::DELETE, &headers, &Value::Null).await;
    assert_eq!(status, StatusCode::OK);
    let ended = front.crm.received().pop().expect("a request");
    assert_eq!((ended.method.clone(), ended.header("mcp-session-id")), (Method::DELETE, Some("s-crm")));
    // Attack: the session of a member, or another's, at the front.
    for foreign in ["s-crm", r#"{"crm":[0,"s-crm"]}"#] {
        let (status, headers, _) =
            front.send(&[("mcp-session-id", foreign)], &message("tools/list", json!({}))).await;
        assert_eq!(
            (status, &headers["vidimus-code"]),
            (StatusCode::NOT_FOUND, &"session_foreign".parse().expect("a value"))
        );
    }
}

/// A member of an older SDK is there, in its own version; a client of now is not led behind 2025-06-18 by it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_of_an_early_version_is_there() {
    let front = Front::new().await;
    front.crm.otherwise(serves("crm", "2024-11-05", &["find"]));
    let (session, said) = front.begins().await;
    assert_eq!(said["result"]["protocolVersion"], "2025-06-18", "{said}");
    let headers = [("mcp-session-id", &*session), ("mcp-protocol-version", "2025-06-18")];
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "crm__find"}});
    let (_, _, said) = front.send(&headers, &call).await;
    assert!(said.get("result").is_some(), "{said}");
    let sent = front.crm.received().pop().expect("a call");
    assert_eq!(sent.header("mcp-protocol-version"), Some("2024-11-05"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_has_ended_its_session_has_the_client_begin_another() {
    let front = Front::new().await;
    let (session, _) = front.begins().await;
    front.crm.otherwise(|_| Answer::whole("text/plain", "gone").with_status(StatusCode::NOT_FOUND));
    let list = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}});
    let (status, headers, said) = front.send(&[("mcp-session-id", &session)], &list).await;
    assert_eq!(
        (status, &headers["vidimus-code"]),
        (StatusCode::NOT_FOUND, &"session_foreign".parse().expect("a value")),
        "{said}"
    );
    // One that was not there when it began is not called in it.
    let (session, _) = front.begins().await;
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "crm__find"}});
    let (status, headers, _) = front.send(&[("mcp-session-id", &session)], &call).await;
    assert_eq!(
        (status, &headers["vidimus-code"]),
        (StatusCode::NOT_FOUND, &"session_foreign".parse().expect("a value"))
    );
}

/// A member that has sessions alone, of which no record says that, is there for clients without: it was lost as soon as another one spoke 2026-07-28.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_of_sessions_alone_is_there_for_who_has_none() {
    let front = Front::new().await;
    let serve = serves("crm", NEWEST, &["find"]);
    front.crm.otherwise(move |received| {
        let begins = received.json()["method"] == "initialize";
        match begins || received.header("mcp-session-id") == Some("s-crm") {
            true => serve(received),
            false => Answer::json(
                &json!({"jsonrpc": "2.0", "id": null, "error": {"code": -32000, "message": "no session"}}),
            )
            .with_status(StatusCode::BAD_REQUEST),
        }
    });
    let meta = json!({"io.modelcontextprotocol/protocolVersion": MODERN, "io.modelcontextprotocol/clientCapabilities": {}});
    let asked = async |method: &str, mut params: Value| {
        let mut labels = vec![("mcp-protocol-version", MODERN), ("mcp-method", method)];
        let name = params["name"].as_str().map(str::to_owned);
        labels.extend(name.as_deref().map(|name| ("mcp-name", name)));
        params["_meta"] = meta.clone();
        front.send(&labels, &json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params})).await.2
    };
    let said = asked("server/discover", json!({})).await;
    assert_eq!(said["result"]["_meta"]["dev.vidimus/members"], Value::Null, "nobody is missing: {said}");
    assert_eq!(names(&asked("tools/list", json!({})).await), ["ledger__echo", "crm__find"]);
    let said = asked("tools/call", json!({"name": "crm__find"})).await;
    assert_eq!(said["result"]["content"][0]["text"], "crm: find", "{said}");
}

/// The client's own fault is no member's, and which versions are spoken is said in one way, whoever asks how.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_with_members_is_a_server_of_the_stateless_version() {
    let front = Front::new().await;
    let asked = async |version: &str, method: &str, params: Value| {
        let labels = [("mcp-protocol-version", version), ("mcp-method", method)];
        front.send(&labels, &json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params})).await
    };
    let whole = |version: &str| json!({"io.modelcontextprotocol/protocolVersion": version, "io.modelcontextprotocol/clientCapabilities": {}});
    for params in [json!({}), json!({"_meta": {"io.modelcontextprotocol/protocolVersion": MODERN}})] {
        for method in ["server/discover", "tools/list"] {
            let (status, headers, said) = asked(MODERN, method, params.clone()).await;
            assert_eq!(headers["vidimus-code"], "params_invalid", "{said}");
            assert_eq!((status, &said["error"]["code"]), (StatusCode::BAD_REQUEST, &json!(-32602)), "{said}");
        }
    }
    let (_, headers, said) =
        asked(MODERN, "tasks/result", json!({"taskId": "x", "_meta": whole(MODERN)})).await;
    assert_eq!(
        (&headers["vidimus-code"], &said["error"]["code"]),
        (&"method_unknown".parse().expect("a value"), &json!(-32601))
    );
    assert!(front.world.upstream.received().is_empty() && front.crm.received().is_empty());
    let (_, _, said) = asked(MODERN, "server/discover", json!({"_meta": whole(MODERN)})).await;
    let served = said["result"]["supportedVersions"].clone();
    assert_eq!(served, json!([MODERN, NEWEST, "2025-06-18", "2025-03-26", "2024-11-05"]), "{said}");
    for (method, params) in [("server/discover", json!({})), ("tools/call", json!({"name": "crm__find"}))] {
        let mut params = params;
        params["_meta"] = whole("1999-01-01");
        let (status, headers, said) = asked("1999-01-01", method, params).await;
        assert_eq!(
            (status, &headers["vidimus-code"]),
            (StatusCode::BAD_REQUEST, &"protocol_version_unsupported".parse().expect("a value"))
        );
        assert_eq!(said["error"]["data"]["supported"], served, "{said}");
    }
}

/// What no member takes is the caller's fault; what one does not take is said of that one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parameters_that_every_member_finds_wrong_are_the_callers() {
    let front = Front::new().await;
    let refuses = |received: &Received| {
        let error = json!({"code": -32602, "message": "no such level"});
        Answer::json(&json!({"jsonrpc": "2.0", "id": received.json()["id"], "error": error}))
    };
    front.crm.otherwise(refuses);
    let (_, _, said) = front.ask("logging/setLevel", json!({"level": "loud"})).await;
    let absent = &said["result"]["_meta"]["dev.vidimus/members"]["absent"];
    assert_eq!(
        (&absent[0]["member"], &absent[0]["code"]),
        (&json!("crm"), &json!("params_invalid")),
        "{said}"
    );
    front.world.upstream.otherwise(refuses);
    let (status, headers, said) = front.ask("logging/setLevel", json!({"level": "loud"})).await;
    assert_eq!((status, &said["error"]["code"]), (StatusCode::BAD_REQUEST, &json!(-32602)), "{said}");
    assert_eq!(headers["vidimus-code"], "params_invalid");
}

/// What a member asks of the client within an answer is answered at that member, by the id that it knows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_member_asks_is_answered_at_that_member() {
    let front = Front::new().await;
    let question = json!({"jsonrpc": "2.0", "id": 0, "method": "elicitation/create", "params": {"message": "m", "requestedSchema": {}}});
    let answer = json!({"jsonrpc": "2.0", "id": 7, "result": {"content": []}});
    front.crm.next(Answer::whole("text/event-stream", format!("data: {question}\n\ndata: {answer}\n\n")));
    let call = json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": "crm__find"}});
    let (_, _, body) = front.world.call(front.world.request(Method::POST, "/mcp/t/front", &call)).await;
    let text = String::from_utf8(body.to_vec()).expect("UTF-8");
    assert!(text.contains(r#""id":"crm/0""#) && text.contains(r#""id":7"#), "{text}");
    front.crm.next(Answer::whole("text/plain", "").with_status(StatusCode::ACCEPTED));
    let response = json!({"jsonrpc": "2.0", "id": "crm/0", "result": {"action": "decline"}});
    let (status, _, _) = front.send(&[], &response).await;
    assert_eq!(status, StatusCode::ACCEPTED);
    assert_eq!(front.crm.received().pop().expect("an answer").json()["id"], json!(0));
    assert!(front.world.upstream.received().is_empty());
    let (_, headers, _) = front.send(&[], &json!({"jsonrpc": "2.0", "id": 0, "result": {}})).await;
    assert_eq!(headers["vidimus-code"], "message_invalid");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn resources_are_read_at_their_member_and_what_is_not_served_is_refused_with_the_reason() {
    let front = Front::new().await;
    let (_, _, said) = front.ask("resources/read", json!({"uri": "crm+file:///x"})).await;
    assert_eq!(said["result"]["contents"][0]["uri"], "crm+file:///x", "{said}");
    assert_eq!(front.crm.received().pop().expect("a call").json()["params"]["uri"], "file:///x");
    let (_, headers, _) = front.ask("resources/read", json!({"uri": "ledger+file:///x"})).await;
    assert_eq!(headers["vidimus-code"], "no_permit");
    for (method, params) in [
        ("resources/subscribe", json!({"uri": "crm+file:///x"})),
        ("tasks/list", json!({})),
        ("subscriptions/listen", json!({"notifications": {"toolsListChanged": true}})),
    ] {
        let (_, headers, said) = front.ask(method, params).await;
        assert_eq!(headers["vidimus-code"], "method_unknown", "{method}");
        assert!(
            said["error"]["message"].as_str().is_some_and(|text| text.contains("does not serve")),
            "{said}"
        );
    }
    let (_, _, said) = front.ask("logging/setLevel", json!({"level": "debug"})).await;
    assert_eq!(said["result"], json!({}));
    assert_eq!(front.world.upstream.received().pop().expect("told").json()["method"], "logging/setLevel");
}

/// Policies about the server itself hold for what comes by it, and those of members for what they have, also in a listing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_kept_from_the_server_or_from_a_member_comes_by_neither() {
    let front =
        Front::with(r#"forbid (principal, action, resource == MCPServer::"t/front");"#, json!({})).await;
    let (_, headers, _) = front.ask("tools/call", json!({"name": "crm__find"})).await;
    assert_eq!(headers["vidimus-code"], "forbidden_by_policy");
    assert_eq!(front.world.records(&call_id(&headers), 1).await[0]["resource"], "MCPServer/t/front");
    assert!(front.crm.received().is_empty());
    front.take(
        r#"forbid (principal, action == Action::"connectServer", resource == MCPServer::"t/crm");"#,
        &json!({}),
    );
    let (_, _, said) = front.ask("tools/list", json!({})).await;
    assert_eq!(
        (names(&said), said["result"].get("_meta")),
        (vec!["ledger__echo"], None),
        "who may not reach it is not told of it"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_use_nothing_of_any_member_may_not_connect() {
    let front = Front::new().await;
    let list = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}});
    let mut request = front.world.request(Method::POST, "/mcp/t/front", &list);
    let token = front.world.token("stranger", Duration::from_secs(600));
    request.headers_mut().insert("authorization", format!("Bearer {token}").parse().expect("a value"));
    let (_, headers, _) = front.world.call(request).await;
    assert_eq!(headers["vidimus-code"], "no_permit");
    assert!(front.world.upstream.received().is_empty());
}

/// Attack: a member that has members, so that calls go round; one that nobody registered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_with_members_is_none() {
    let front = Front::new().await;
    let member = |name: &str, server: &str| json!({"name": name, "server": {"name": server}});
    let mut all = objects(&front.world.upstream);
    for (name, members) in [
        ("one", json!([member("other", "other"), member("ledger", "tools"), member("none", "none")])),
        ("other", json!([member("one", "one")])),
    ] {
        all.push(json!({"apiVersion": "vidimus.dev/v1alpha1", "kind": "MCPServer", "metadata": {"namespace": "t", "name": name},
            "spec": {"owner": "ada.lovelace@example.com", "team": "t", "riskLevel": "low", "members": members}}));
    }
    front.world.gate.take_into_use(snapshot(&all));
    let ask = async |message: Value| {
        let (_, headers, body) =
            front.world.call(front.world.request(Method::POST, "/mcp/t/one", &message)).await;
        (headers, json_of(&body))
    };
    let (_, said) = ask(json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}})).await;
    assert_eq!(names(&said), ["ledger__echo"]);
    let absent = said["result"]["_meta"]["dev.vidimus/members"]["absent"].as_array().expect("named");
    assert_eq!(absent.len(), 2, "{said}");
    for tool in ["other__one__x", "none__x"] {
        let (headers, said) =
            ask(json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool}})).await;
        assert_eq!(headers["vidimus-code"], "resource_unknown", "{said}");
    }
    // In a session as without one: nothing is down.
    let hello =
        json!({"protocolVersion": NEWEST, "capabilities": {}, "clientInfo": {"name": "c", "version": "1"}});
    let hello = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello});
    let (headers, _) = ask(hello).await;
    let list = json!({"jsonrpc": "2.0", "id": 2, "method": "tools/list", "params": {}});
    let mut asked = front.world.request(Method::POST, "/mcp/t/one", &list);
    asked.headers_mut().insert("mcp-session-id", headers["mcp-session-id"].clone());
    asked.headers_mut().insert("mcp-protocol-version", NEWEST.parse().expect("a version"));
    let (_, _, body) = front.world.call(asked).await;
    let said = json_of(&body);
    let absent = said["result"]["_meta"]["dev.vidimus/members"]["absent"].as_array().expect("named");
    let codes: Vec<&Value> = absent.iter().map(|one| &one["code"]).collect();
    assert_eq!(codes, ["resource_unknown", "resource_unknown"], "{said}");
    // Where there is no member at all, no policy is why nobody may connect.
    let mut all = objects(&front.world.upstream);
    all.push(json!({"apiVersion": "vidimus.dev/v1alpha1", "kind": "MCPServer", "metadata": {"namespace": "t", "name": "one"},
        "spec": {"owner": "ada.lovelace@example.com", "team": "t", "riskLevel": "low", "members": [member("none", "none")]}}));
    front.world.gate.take_into_use(snapshot(&all));
    let (headers, said) = ask(list.clone()).await;
    assert_eq!(headers["vidimus-code"], "resource_unknown", "{said}");
    assert!(said.to_string().contains("no member of MCPServer/t/one is there"), "{said}");
    // Attack: who may not use the server learns what it is made of while nothing of that is there.
    assert!(!said.to_string().contains("t/none"), "{said}");
    let records = front.world.records(&call_id(&headers), 1).await;
    assert!(records[0]["detail"].as_str().is_some_and(|why| why.contains("t/none")), "{records:?}");
    // A policy that is about the server itself is asked all the same.
    let forbid = r#"forbid (principal, action == Action::"connectServer", resource == MCPServer::"t/one");"#;
    let policy = all.iter_mut().find(|one| one["kind"] == json!("Policy")).expect("a policy");
    policy["spec"]["cedar"] = json!(forbid);
    front.world.gate.take_into_use(snapshot(&all));
    let (headers, said) = ask(list).await;
    assert_eq!(headers["vidimus-code"], "forbidden_by_policy", "{said}");
}

/// A policy that waits for a guard is lifted by it, by a front as at the member's own address.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guard_looks_at_what_comes_by_a_server_with_members() {
    let waits = r#"@guard("personal_data") forbid (principal, action in Action::"mcp", resource)
        unless { context.guarded.contains("personal_data") };"#;
    let front = Front::with(waits, json!({})).await;
    let (_, said) = front.begins().await;
    let text = said["result"]["instructions"].as_str().expect("of each member");
    assert!(text.contains("I am ledger.") && text.contains("I am crm."), "{text}");
    let (_, _, said) = front.ask("tools/list", json!({})).await;
    assert_eq!(said["result"].get("_meta"), None, "{said}");
    let (_, _, said) =
        front.ask("tools/call", json!({"name": "crm__find", "arguments": {"a": "bread"}})).await;
    assert!(said.get("result").is_some(), "{said}");
    let before = front.crm.received().len();
    let (_, headers, said) =
        front.ask("tools/call", json!({"name": "crm__find", "arguments": {"a": CARD}})).await;
    assert_eq!(headers["vidimus-code"], "forbidden_by_policy", "{said}");
    assert_eq!(front.crm.received().len(), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_about_the_server_sees_the_method_of_what_comes_by_it() {
    let reads = r#"forbid (principal, action == Action::"connectServer", resource == MCPServer::"t/front")
        when { context.method == "resources/read" };"#;
    let front = Front::with(reads, json!({})).await;
    let (_, headers, said) = front.ask("resources/read", json!({"uri": "crm+file:///x"})).await;
    assert_eq!(headers["vidimus-code"], "forbidden_by_policy", "{said}");
    assert!(front.crm.received().is_empty());
    let (_, _, said) = front.ask("tools/call", json!({"name": "crm__find"})).await;
    assert!(said.get("result").is_some(), "{said}");
}

/// What a member asks is decided as that of the member, and by what is said of the server with members, by the member's own id.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_member_asks_is_decided_for_the_member_and_for_the_server() {
    let forbids = |server: &str| {
        format!(
            r#"forbid (principal, action == Action::"connectServer", resource == MCPServer::"t/{server}")
            when {{ context.method == "elicitation/create" }};"#
        )
    };
    for (cedar, resource) in
        [(String::new(), None), (forbids("crm"), Some("t/crm")), (forbids("front"), Some("t/front"))]
    {
        let front = Front::with(&cedar, json!({})).await;
        let question =
            json!({"jsonrpc": "2.0", "id": 0, "method": "elicitation/create", "params": {"message": "m"}});
        let answer = json!({"jsonrpc": "2.0", "id": 7, "result": {"content": []}});
        front.crm.next(Answer::whole("text/event-stream", format!("data: {question}\n\ndata: {answer}\n\n")));
        let call =
            json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": "crm__find"}});
        let (_, headers, body) =
            front.world.call(front.world.request(Method::POST, "/mcp/t/front", &call)).await;
        let text = String::from_utf8(body.to_vec()).expect("UTF-8");
        let call = json!(call_id(&headers));
        let all = front.world.all_records();
        let asked: Vec<&Value> = all.iter().filter(|record| record["on_account_of"] == call).collect();
        assert_eq!(asked.len(), 1, "{asked:?}");
        assert_eq!(text.contains(r#""id":"crm/0""#), resource.is_none(), "{text}");
        assert!(text.contains(r#""id":7"#), "{text}");
        let (decided, via) =
            (asked[0]["resource"].as_str().expect("a resource"), asked[0].get("via").is_some());
        match resource {
            None => assert!(decided.ends_with("t/crm") && via, "{asked:?}"),
            Some(resource) => {
                assert!(decided.ends_with(resource) && via == (resource == "t/crm"), "{asked:?}");
                let told = front.crm.until_received(2).await.pop().expect("told").json();
                assert_eq!(
                    (&told["id"], &told["error"]["data"]["code"]),
                    (&json!(0), &json!("forbidden_by_policy"))
                );
            }
        }
    }
}

/// Attack: a stream that was opened by a front goes on after nobody may come by it any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_open_by_a_server_with_members_ends_with_what_policies_let_by_it() {
    let front = Front::new().await;
    let (answer, stream) = Answer::stream("text/event-stream");
    front.crm.next(answer);
    let call = json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": "crm__find"}});
    let told = async {
        stream
            .event(r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":1}}"#)
            .await
    };
    let (response, is_told) =
        tokio::join!(front.world.send(front.world.request(Method::POST, "/mcp/t/front", &call)), told);
    assert!(is_told);
    let mut body = response.into_body();
    body.frame().await.expect("an event").expect("a frame");
    front.take(r#"forbid (principal, action, resource == MCPServer::"t/front");"#, &json!({}));
    let cut = async { while body.frame().await.is_some_and(|frame| frame.is_ok()) {} };
    tokio::time::timeout(Duration::from_secs(10), cut).await.expect("it is cut");
    drop(stream);
}

/// A client that obeyed would begin sessions for ever, and with `whenDown: fail` no list would be answered to it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_not_reach_a_member_is_not_told_that_it_is_missing_in_the_session() {
    for spec in [json!({}), json!({"whenDown": "fail"})] {
        let front = Front::with(r#"forbid (principal, action, resource in MCPServer::"t/crm");"#, spec).await;
        let (session, _) = front.begins().await;
        let headers = [("mcp-session-id", &*session), ("mcp-protocol-version", NEWEST)];
        let message = |method: &str, params: Value| json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let (_, _, said) = front.send(&headers, &message("tools/list", json!({}))).await;
        assert_eq!((names(&said), said["result"].get("_meta")), (vec!["ledger__echo"], None), "{said}");
        let (_, refused, said) =
            front.send(&headers, &message("tools/call", json!({"name": "crm__find"}))).await;
        assert_eq!(refused["vidimus-code"], "forbidden_by_policy", "{said}");
        let records = front.world.records(&call_id(&refused), 1).await;
        assert_eq!(records[0]["resource"], "Tool/t/crm/find", "the attempt is on record as what it is");
        assert!(front.crm.received().is_empty());
    }
}

/// Attack: who writes a front points its member at a server of theirs, and gets the sessions that clients have with the former one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_session_of_one_server_reaches_no_other_of_its_members_name() {
    let front = Front::new().await;
    let (session, _) = front.begins().await;
    let headers = [("mcp-session-id", &*session), ("mcp-protocol-version", NEWEST)];
    let call =
        |tool: &str| json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool}});
    let member = |name: &str, server: &str| json!({"name": name, "server": {"name": server}});
    front.take("", &json!({"members": [member("ledger", "crm"), member("crm", "tools")]}));
    let (_, _, said) = front.send(&headers, &call("ledger__find")).await;
    assert!(said.get("result").is_some(), "{said}");
    assert_eq!(front.crm.received().pop().expect("a call").header("mcp-session-id"), Some("s-crm"));
    // One that began with another server alone.
    front.take("", &json!({"members": [member("ledger", "tools")]}));
    let (session, _) = front.begins().await;
    front.take("", &json!({"members": [member("ledger", "crm")]}));
    let before = front.crm.received().len();
    let (status, refused, said) = front.send(&[("mcp-session-id", &*session)], &call("ledger__find")).await;
    assert_eq!(
        (status, &refused["vidimus-code"]),
        (StatusCode::NOT_FOUND, &"session_foreign".parse().expect("a value")),
        "{said}"
    );
    assert_eq!(front.crm.received().len(), before);
}

/// Attack: who has no room left at a member goes on by a front, and asks many at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_all_are_asked_counts_at_each_member() {
    let front = Front::new().await;
    let cedar = r#"@limit("asks") forbid (principal, action == Action::"connectServer", resource == MCPServer::"t/crm");"#;
    let mut all = front.configured(cedar, &json!({}));
    all.last_mut().expect("the policy")["spec"]["limits"] =
        json!([{"name": "asks", "requests": 2, "window": {"sliding": "1h"}}]);
    front.world.gate.take_into_use(snapshot(&all));
    for _ in 0..2 {
        let (_, _, said) = front.ask("tools/list", json!({})).await;
        assert_eq!(names(&said), ["ledger__echo", "crm__find"]);
    }
    let (_, _, said) = front.ask("tools/list", json!({})).await;
    assert_eq!(names(&said), ["ledger__echo"]);
    let absent = &said["result"]["_meta"]["dev.vidimus/members"]["absent"];
    assert_eq!(
        (&absent[0]["member"], &absent[0]["code"]),
        (&json!("crm"), &json!("limit_exceeded")),
        "{said}"
    );
    assert_eq!(front.crm.received().len(), 2);
}

/// Attack: lists of many members that a caller may not reach use up the records that denials have, and what is tried then is on none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_that_nobody_asked_for_are_no_denials_on_record() {
    let front =
        Front::with(r#"forbid (principal, action, resource in MCPServer::"t/crm");"#, json!({})).await;
    let (_, headers, said) = front.ask("tools/list", json!({})).await;
    assert_eq!(names(&said), ["ledger__echo"]);
    let call = call_id(&headers);
    let all = front.world.all_records();
    assert!(all.iter().any(|one| one["on_account_of"] == json!(call)), "what is asked is on record");
    assert!(all.iter().all(|one| one["outcome"] != json!("deny")), "{all:?}");
    let (_, headers, _) = front.ask("tools/call", json!({"name": "crm__find"})).await;
    assert_eq!(front.world.records(&call_id(&headers), 1).await[0]["outcome"], "deny");
}
