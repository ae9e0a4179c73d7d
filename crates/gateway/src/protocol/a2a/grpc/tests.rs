use http::Request;
use serde_json::{Value, json};
use vidimus_core::call::Target;

use super::*;
use crate::part::Part;
use crate::protocol::a2a::{JsonRpc, binding_at};
use crate::protocol::tests::{agent, caller, seal, sealed};
use crate::seal::{Holder, Kind};

const PATH: &str = "/a2a/finance/summarizer/lf.a2a.v1.A2AService/";

fn parts(path: &str, headers: &[(&'static str, &'static str)]) -> Parts {
    let mut request = Request::builder().method("POST").uri(path).version(Version::HTTP_2);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).expect("a request").into_parts().0
}

fn body(method: &str, said: &Value) -> Bytes {
    frames::framed(&Rpc::named(method).expect("a method").request(&said.to_string()).expect("a request"))
}

/// The message that a request is lifted to.
fn lifted(method: &str, body: &Bytes, headers: &[(&'static str, &'static str)]) -> Result<Value, Code> {
    let path = format!("{PATH}{method}");
    let parts = parts(&path, headers);
    let rest = Route::parse(&path).expect("a route").rest;
    Grpc.operation(&parts.method, rest).map_err(|refusal| refusal.code)?;
    let lifted =
        Grpc.lifted(&Destination::Agent(agent()), &parts, rest, body).map_err(|refusal| refusal.code)?;
    Ok(serde_json::from_slice(&lifted).expect("JSON"))
}

const GRPC: &[(&str, &str)] = &[("content-type", "application/grpc")];

#[test]
fn a_request_is_the_message_that_asks_the_same() {
    let said =
        json!({"message": {"messageId": "m", "parts": [{"text": "x"}]}, "tenant": "finance/summarizer"});
    let message = lifted("SendMessage", &body("SendMessage", &said), GRPC).expect("a message");
    let expected = json!({"jsonrpc": "2.0", "id": 1, "method": "SendMessage",
        "params": {"message": {"messageId": "m", "parts": [{"text": "x"}]}}});
    assert_eq!(message, expected, "the route's own tenant says nothing more");
    let other = json!({"id": "t", "tenant": "finance/other"});
    let message = lifted("GetTask", &body("GetTask", &other), GRPC).expect("a message");
    assert_eq!(message["params"], other, "another is decided on, and refused");
}

/// Attack: broken frames, compressed bombs, another protocol at the path.
#[test]
fn what_is_no_call_of_grpc_is_refused() {
    let good = body("GetTask", &json!({"id": "t"}));
    let mut squeezed = good.to_vec();
    squeezed[0] = 1;
    let cut = good.slice(..good.len() - 1);
    let two = Bytes::from([&good[..], &good[..]].concat());
    for (body, headers, expected) in [
        (good.clone(), GRPC, None),
        (good.clone(), &[("content-type", "application/grpc+proto"), ("grpc-encoding", "identity")], None),
        (good.clone(), &[("content-type", "application/json")], Some(Code::MessageInvalid)),
        (good.clone(), &[("content-type", "application/grpc+json")], Some(Code::MessageInvalid)),
        (good.clone(), &[], Some(Code::MessageInvalid)),
        (
            good.clone(),
            &[("content-type", "application/grpc"), ("grpc-encoding", "gzip")],
            Some(Code::CompressionUnserved),
        ),
        (squeezed.into(), GRPC, Some(Code::MessageInvalid)),
        (cut, GRPC, Some(Code::MessageInvalid)),
        (two, GRPC, Some(Code::MessageInvalid)),
        (Bytes::new(), GRPC, Some(Code::MessageInvalid)),
        (frames::framed(b"\x12\xff"), GRPC, Some(Code::MessageInvalid)),
        (frames::framed(b"\x7a\x00"), GRPC, Some(Code::MessageInvalid)),
    ] {
        let found = lifted("GetTask", &body, headers).err();
        assert_eq!(found, expected, "{body:?} {headers:?}");
    }
    assert_eq!(lifted("Other", &good, GRPC), Err(Code::MethodUnknown));
    let old = Grpc.operation(&Method::POST, "/a2a.v1.A2AService/SendMessage").map_err(|refusal| refusal.code);
    assert!(old.is_ok(), "0.3 is served too");
    let none = Grpc.operation(&Method::POST, "/a2a.v1.A2AService/ListTasks").map_err(|refusal| refusal.code);
    assert_eq!(none, Err(Code::MethodUnknown), "and has no list of tasks");
    let get = Grpc.operation(&Method::GET, "/lf.a2a.v1.A2AService/GetTask").map_err(|refusal| refusal.code);
    assert_eq!(get, Err(Code::MethodNotAllowed));
    let mut old_http = parts(&format!("{PATH}GetTask"), GRPC);
    old_http.version = Version::HTTP_11;
    assert!(
        Grpc.lifted(&Destination::Agent(agent()), &old_http, "/lf.a2a.v1.A2AService/GetTask", &good).is_err()
    );
}

#[test]
fn a_path_names_the_service_and_perhaps_the_agent() {
    let named = |path| Named::of(path).map(|named| (named.agent, named.method));
    assert_eq!(named("/lf.a2a.v1.A2AService/GetTask"), Some((None, "GetTask")));
    assert_eq!(
        named("/a2a.v1.A2AService/GetTask"),
        Some((None, "a2a.v1.A2AService/GetTask")),
        "which is another"
    );
    assert_eq!(named("/a2a/f/b/lf.a2a.v1.A2AService/GetTask"), Some((Some("f/b"), "GetTask")));
    for path in [
        "/a2a/f/b",
        "/a2a/f/b/message:send",
        "/mcp/f/b/lf.a2a.v1.A2AService/GetTask",
        "/other.Service/GetTask",
        "/",
    ] {
        assert_eq!(named(path), None, "{path}");
    }
    let at = |agent: &str| Named::of("/lf.a2a.v1.A2AService/GetTask").expect("a call").at(agent);
    assert_eq!(at("f/b").as_deref(), Some("/a2a/f/b/lf.a2a.v1.A2AService/GetTask"));
    for agent in ["", "f", "f/b/c", "f/b/", "/f/b", "../b", "f/..", "F/b", "f/b?x", "f/%62", "f/b#"] {
        assert_eq!(at(agent), None, "{agent}");
    }
    for (path, expected) in
        [("", "JsonRpc { details: false }"), ("/lf.a2a.v1.A2AService/GetTask", "Grpc"), ("/tasks", "Rest")]
    {
        assert_eq!(format!("{:?}", binding_at(path, &HeaderMap::new())), expected, "{path}");
    }
}

/// What goes on to an agent, and where, of a message in one of the bindings.
fn sent(agent: Agent, binding: &dyn Binding, message: &Value) -> (Option<Code>, Lowered) {
    let agent = Arc::new(agent);
    let (destination, caller, seal) = (Destination::Agent(agent), caller(), seal());
    let holder = Holder::new(&seal, &destination, &caller);
    let text = message.to_string();
    let json = Json::parse(text.as_bytes()).expect("JSON");
    let headers = HeaderMap::new();
    let parsed = binding.parse(&Message {
        destination: &destination,
        method: &Method::POST,
        path: "",
        headers: &headers,
        holder: &holder,
        json: Some(&json),
        bytes: text.len(),
        standing: None,
    });
    let parsed = parsed.expect("a message");
    assert!(matches!(parsed.ask.target, Target::Agent(_)));
    let fault = parsed.fault.map(|fault| fault.code);
    let path = parsed.path.unwrap_or_default();
    let body = Bytes::copy_from_slice(text.as_bytes());
    (fault, binding.lowered(&Method::POST, path, body, None).expect("a request"))
}

#[test]
fn which_binding_goes_on_is_what_the_agents_record_says() {
    let at = |grpc: Option<&str>, url: &str| {
        let mut agent = (*agent()).clone();
        let endpoint = agent.endpoint.as_mut().expect("an endpoint");
        endpoint.url = url.parse().expect("a URL");
        endpoint.grpc = grpc.map(|grpc| grpc.parse().expect("a URL"));
        agent
    };
    let (rpc, both, alone) = ("http://b:1/x", Some("http://b:2/"), "http://b:2/");
    let said = json!({"jsonrpc": "2.0", "id": "own", "method": "SendMessage", "params": {"message": {"messageId": "m"}}});
    let below = Below::Grpc(Sent { method: "SendMessage", id: r#""own""#.into() });
    for (agent, binding, over_grpc) in [
        (at(None, rpc), &Grpc as &dyn Binding, false),
        (at(both, rpc), &Grpc, true),
        (at(both, alone), &Grpc, true),
        (at(None, rpc), &JsonRpc::OLD, false),
        (at(both, rpc), &JsonRpc::OLD, false),
        (at(both, alone), &JsonRpc::OLD, true),
    ] {
        let (fault, lowered) = sent(agent, binding, &said);
        assert_eq!(fault, None);
        if over_grpc {
            assert_eq!((&*lowered.path, &lowered.below), ("/lf.a2a.v1.A2AService/SendMessage", &below));
            assert_eq!(lowered.body, body("SendMessage", &said["params"]));
        } else {
            assert_eq!((&*lowered.path, lowered.below), ("", Below::Url));
            assert_eq!(lowered.body, said.to_string());
        }
    }
    let old = json!({"jsonrpc": "2.0", "id": 1, "method": "message/send", "params": {"message": {"messageId": "m"}}});
    // gRPC is 1.0, to which it is translated.
    let old_send = json!({"jsonrpc": "2.0", "id": "own", "method": "message/send", "params": {"message": {"kind": "message", "messageId": "m"}}});
    for binding in [&JsonRpc::OLD as &dyn Binding, &Grpc] {
        let (fault, lowered) = sent(at(both, alone), binding, &old_send);
        assert_eq!((fault, &lowered.below, lowered.crossed.is_some()), (None, &below, true));
        assert_eq!(lowered.body, body("SendMessage", &said["params"]));
    }
    // Who speaks 0.3 is led to where JSON-RPC is spoken.
    for agent in [at(None, rpc), at(both, rpc)] {
        let (fault, lowered) = sent(agent, &Grpc, &old);
        assert_eq!((fault, lowered.below, lowered.body), (None, Below::Url, old.to_string().into()));
    }
    let beside =
        json!({"jsonrpc": "2.0", "id": 1, "method": "GetTask", "params": {"id": "t", "historyLength": "x"}});
    let path = "/lf.a2a.v1.A2AService/GetTask";
    let refused = lowered(path.into(), beside.to_string().into()).map_err(|refusal| refusal.code);
    assert_eq!(refused, Err(Code::MessageInvalid), "what gRPC cannot say does not go on");
    let refused = lowered(path.into(), said.to_string().into()).map_err(|refusal| refusal.code);
    assert_eq!(refused, Err(Code::Internal));
}

#[test]
fn a_task_goes_on_by_the_id_that_the_agent_knows() {
    let destination = Destination::Agent(agent());
    let id = sealed(Kind::Task, &destination, &Part::Whole, "raw");
    let said = json!({"jsonrpc": "2.0", "id": 1, "method": "GetTask", "params": {"id": id}}).to_string();
    let (caller, seal) = (caller(), seal());
    let holder = Holder::new(&seal, &destination, &caller);
    let json = Json::parse(said.as_bytes()).expect("JSON");
    let headers = HeaderMap::new();
    let parsed = Grpc.parse(&Message {
        destination: &destination,
        method: &Method::POST,
        path: "",
        headers: &headers,
        holder: &holder,
        json: Some(&json),
        bytes: said.len(),
        standing: None,
    });
    let parsed = parsed.expect("a message");
    assert_eq!((parsed.ask.task, parsed.lifted), (Some("raw"), true));
    let versions: Vec<_> =
        parsed.headers.iter().filter(|(name, _)| name.as_str() == VERSION_HEADER).collect();
    assert_eq!(versions.len(), 1, "an agent that is told no version takes 0.3");
}

#[test]
fn a_refusal_is_an_error_from_which_a_status_is_made() {
    for (code, status, reason) in [
        (Code::NoPermit, 7, "NO_PERMIT"),
        (Code::TaskForeign, 5, "TASK_NOT_FOUND"),
        (Code::CredentialMissing, 16, "CREDENTIAL_MISSING"),
        (Code::ProtocolVersionUnsupported, 9, "VERSION_NOT_SUPPORTED"),
        (Code::MessageInvalid, 3, "MESSAGE_INVALID"),
        (Code::MethodUnknown, 12, "METHOD_UNKNOWN"),
        (Code::LimitExceeded, 8, "LIMIT_EXCEEDED"),
        (Code::UpstreamUnreachable, 14, "UPSTREAM_UNREACHABLE"),
    ] {
        let refused = Grpc.refused(&Refusal::new(code, "because"), "call-1", Some("1"));
        let said: Value = serde_json::from_str(refused.body()).expect("JSON");
        let found = status::Status::of_error(&said["error"]);
        let info = found.infos.first().expect("an info");
        assert_eq!((found.code, &*info.reason), (status, reason), "{code:?}");
        assert_eq!(info.metadata.get("call").map(String::as_str), Some("call-1"));
        assert!(found.message.starts_with("because"), "{}", found.message);
        assert!(!refused.body().contains('\n'), "it may be an event");
    }
}
