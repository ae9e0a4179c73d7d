use http::{HeaderMap, Request};
use vidimus_core::call::Target;
use vidimus_core::resource::Endpoint;

use super::*;
use crate::part::Part;
use crate::protocol::a2a::spelling::in_json;
use crate::protocol::members::replace;
use crate::protocol::observe::Observe;
use crate::protocol::tests::{agent, caller, seal, sealed};
use crate::protocol::{Expected, Leaves};
use crate::seal::{Holder, Kind};

/// An agent that is served over HTTP+JSON.
fn served() -> Arc<Agent> {
    speaking(&|endpoint| endpoint.rest = Some(endpoint.url.clone()))
}

/// An agent that is served as this says.
fn speaking(says: &dyn Fn(&mut Endpoint)) -> Arc<Agent> {
    let mut agent = (*agent()).clone();
    says(agent.endpoint.as_mut().expect("an endpoint"));
    agent.into()
}

fn parts(method: &str, path: &str) -> Parts {
    Request::builder().method(method).uri(path).body(()).expect("a request").into_parts().0
}

/// The message that a request is lifted to, without what all of them have; or the code of the refusal.
fn lifted(method: &str, path: &str, body: &str) -> Result<String, Code> {
    let parts = parts(method, path);
    let below = parts.uri.path().to_owned();
    Rest.operation(&parts.method, &below).map_err(|refusal| refusal.code)?;
    let lifted =
        Rest.lifted(&Destination::Agent(served()), &parts, &below, &Bytes::copy_from_slice(body.as_bytes()));
    let lifted = String::from_utf8(lifted.map_err(|refusal| refusal.code)?.to_vec()).expect("UTF-8");
    Json::parse(lifted.as_bytes()).map_err(|_| Code::DuplicateKey)?;
    let message = lifted.strip_prefix(r#"{"jsonrpc":"2.0","id":1,"method":"#).expect("a message");
    let message = message.replacen(r#","params":"#, " ", 1);
    Ok(message.strip_suffix('}').expect("an object").replacen('"', "", 2))
}

/// Where a message goes that is lowered again, and its body.
fn lowered(method: &str, path: &str, body: &str) -> (String, String) {
    let parts = parts(method, path);
    let below = parts.uri.path().to_owned();
    let lifted = Rest
        .lifted(&Destination::Agent(served()), &parts, &below, &Bytes::copy_from_slice(body.as_bytes()))
        .expect("lifted");
    let Lowered { path, body, below, .. } =
        Rest.lowered(&parts.method, "".into(), lifted, None).expect("a request");
    assert_eq!(below, Below::Rest(None));
    (path.into_owned(), String::from_utf8(body.to_vec()).expect("UTF-8"))
}

#[test]
fn each_request_is_the_message_that_asks_the_same_and_goes_on_as_it_came() {
    let message = r#"{"message": {"messageId": "m", "parts": [{"text": "\u0041 1.50"}]}}"#;
    for (method, path, body, asks) in [
        ("POST", "/message:send", message, format!("SendMessage {message}")),
        ("POST", "/message:stream", message, format!("SendStreamingMessage {message}")),
        ("POST", "/v1/message:send", r#"{"message":{}}"#, r#"message/send {"message":{}}"#.to_owned()),
        ("POST", "/v1/message:stream", r#"{"message":{}}"#, r#"message/stream {"message":{}}"#.to_owned()),
        ("GET", "/tasks/a-1_~.", "", r#"GetTask {"id":"a-1_~."}"#.to_owned()),
        (
            "GET",
            "/tasks/a?historyLength=3",
            "",
            r#"GetTask {"id":"a","historyLength":3}"#.to_owned(),
        ),
        ("GET", "/v1/tasks/a", "", r#"tasks/get {"id":"a"}"#.to_owned()),
        ("GET", "/tasks", "", "ListTasks {}".to_owned()),
        (
            "GET",
            "/tasks?contextId=c%20%2F&status=TASK_STATE_WORKING&pageSize=5&pageToken=p&includeArtifacts=true",
            "",
            r#"ListTasks {"contextId":"c /","status":"TASK_STATE_WORKING","pageSize":5,"pageToken":"p","includeArtifacts":true}"#.to_owned(),
        ),
        ("POST", "/tasks/a:cancel", r#"{"metadata":{"x":1}}"#, r#"CancelTask {"id":"a","metadata":{"x":1}}"#.to_owned()),
        ("POST", "/v1/tasks/a:cancel", "{}", r#"tasks/cancel {"id":"a"}"#.to_owned()),
        ("GET", "/tasks/a:subscribe", "", r#"SubscribeToTask {"id":"a"}"#.to_owned()),
        ("POST", "/tasks/a:subscribe", "{}", r#"SubscribeToTask {"id":"a"}"#.to_owned()),
        ("POST", "/v1/tasks/a:subscribe", "{}", r#"tasks/resubscribe {"id":"a"}"#.to_owned()),
        (
            "POST",
            "/tasks/a/pushNotificationConfigs",
            r#"{"url":"https://h/"}"#,
            r#"CreateTaskPushNotificationConfig {"taskId":"a","url":"https://h/"}"#.to_owned(),
        ),
        (
            "GET",
            "/tasks/a/pushNotificationConfigs?pageSize=2",
            "",
            r#"ListTaskPushNotificationConfigs {"taskId":"a","pageSize":2}"#.to_owned(),
        ),
        (
            "GET",
            "/tasks/a/pushNotificationConfigs/c",
            "",
            r#"GetTaskPushNotificationConfig {"taskId":"a","id":"c"}"#.to_owned(),
        ),
        (
            "DELETE",
            "/tasks/a/pushNotificationConfigs/c",
            "",
            r#"DeleteTaskPushNotificationConfig {"taskId":"a","id":"c"}"#.to_owned(),
        ),
        ("GET", "/extendedAgentCard", "", "GetExtendedAgentCard {}".to_owned()),
        ("GET", "/v1/card", "", "agent/getAuthenticatedExtendedCard {}".to_owned()),
    ] {
        assert_eq!(lifted(method, path, body).as_deref(), Ok(&*asks), "{method} {path}");
        assert_eq!(lowered(method, path, body), (path.to_owned(), body.to_owned()), "{method} {path}");
        let (before, query) = path.split_once('?').unwrap_or((path, ""));
        let slashed = if query.is_empty() { format!("{path}/") } else { format!("{before}/?{query}") };
        assert_eq!(lifted(method, &slashed, body).as_deref(), Ok(&*asks), "{method} {slashed}");
        assert_eq!(lowered(method, &slashed, body).0, path, "the slash says nothing");
    }
}

#[test]
fn what_the_path_says_is_said_once_and_by_any_client() {
    // Which version it is may stand in the query, and goes no further.
    for path in ["/tasks/a?A2A-Version=1.0", "/tasks/a?A2A-Version=", "/v1/tasks/a?a2a-version=0.3.0"] {
        let (before, _) = path.split_once('?').expect("a query");
        assert_eq!(lifted("GET", path, ""), lifted("GET", before, ""), "{path}");
        assert_eq!(lowered("GET", path, "").0, before);
    }
    // The official SDK repeats it.
    let (path, body) = lowered("POST", "/tasks/a:cancel", r#"{"id":"a","metadata":{}}"#);
    assert_eq!((&*path, &*body), ("/tasks/a:cancel", r#"{"metadata":{}}"#));
    let (path, body) = lowered("POST", "/tasks/a/pushNotificationConfigs", r#"{"taskId":"a","url":"u"}"#);
    assert_eq!((&*path, &*body), ("/tasks/a/pushNotificationConfigs", r#"{"url":"u"}"#));
    assert_eq!(lowered("POST", "/tasks/a:subscribe", "").1, "{}");
    for (method, path, body, code) in [
        ("POST", "/tasks/a:cancel", r#"{"id":"b"}"#, Code::MessageInvalid),
        ("POST", "/tasks/a:cancel", r#"{"id":7}"#, Code::MessageInvalid),
        ("POST", "/tasks/a:cancel", r#"{"id":"a","\u0069d":"b"}"#, Code::DuplicateKey),
        ("POST", "/tasks/a:cancel", r#"{"ID":"b"}"#, Code::DuplicateKey),
        ("POST", "/tasks/a/pushNotificationConfigs", r#"{"taskId":"b","url":"u"}"#, Code::MessageInvalid),
        // The body stands within the message, and nothing of it beside.
        ("POST", "/message:send", r#"{},"method":"GetTask","x":{}"#, Code::BodyNotJson),
        ("POST", "/message:send", r#"{}}, {"#, Code::BodyNotJson),
        ("POST", "/message:send", "[]", Code::MessageInvalid),
        ("POST", "/message:send", "7", Code::MessageInvalid),
        ("POST", "/message:send", "{", Code::BodyNotJson),
        ("GET", "/tasks/a", "{}", Code::MessageInvalid),
        ("DELETE", "/tasks/a/pushNotificationConfigs/c", "x", Code::MessageInvalid),
        // Of a query nothing passes that the operation does not have there, whatever an agent reads.
        ("GET", "/tasks/a?id=b", "", Code::MessageInvalid),
        ("GET", "/tasks/a?tenant=other", "", Code::MessageInvalid),
        ("GET", "/tasks/a?history_length=1&historyLength=2", "", Code::MessageInvalid),
        ("GET", "/tasks/a?History_Length=1", "", Code::MessageInvalid),
        ("GET", "/tasks/a?historyLength=1&historyLength=2", "", Code::MessageInvalid),
        ("GET", "/tasks/a?historyLength=1;id=b", "", Code::MessageInvalid),
        ("GET", "/tasks?includeArtifacts=yes", "", Code::MessageInvalid),
        ("GET", "/tasks/a?A2A-Version=0.3", "", Code::HeaderMismatch),
        ("GET", "/tasks/a?A2A-Version=1.0&A2A-Version=0.3", "", Code::HeaderMismatch),
        ("GET", "/v1/tasks/a?A2A-Version=1.0", "", Code::HeaderMismatch),
        ("POST", "/message:send?a2a-version=2.0", "{}", Code::ProtocolVersionUnsupported),
        ("POST", "/message:send?tenant=other", "{}", Code::MessageInvalid),
        ("POST", "/tasks/a:cancel?id=b", "{}", Code::MessageInvalid),
        // An id is what every reader takes for the same.
        ("GET", "/tasks/%61", "", Code::RouteUnknown),
        ("GET", "/tasks/a%2Fb", "", Code::RouteUnknown),
        ("GET", "/tasks/..", "", Code::RouteUnknown),
        ("GET", "/tasks/a/pushNotificationConfigs/..%2f..%2fb", "", Code::RouteUnknown),
        ("GET", "/tasks/a;b", "", Code::RouteUnknown),
        ("GET", "/tasks/:cancel", "", Code::RouteUnknown),
        ("POST", "/tasks/a:cancel:cancel", "", Code::RouteUnknown),
        ("POST", "/message%3Asend", "{}", Code::RouteUnknown),
        ("POST", "/MESSAGE:SEND", "{}", Code::RouteUnknown),
        ("GET", "/v1", "", Code::RouteUnknown),
        ("GET", "/v1/extendedAgentCard", "", Code::RouteUnknown),
        ("GET", "/v1/tasks", "", Code::RouteUnknown),
        ("GET", "/v1/tasks/a/pushNotificationConfigs/c/d", "", Code::RouteUnknown),
        ("GET", "/v1/t/tasks/a", "", Code::RouteUnknown),
        ("GET", "/a/b/c", "", Code::RouteUnknown),
        ("GET", "/message:send", "", Code::MethodNotAllowed),
        ("PUT", "/tasks/a", "", Code::MethodNotAllowed),
        ("POST", "/tasks/a", "{}", Code::MethodNotAllowed),
        ("DELETE", "/tasks/a/pushNotificationConfigs", "", Code::MethodNotAllowed),
    ] {
        assert_eq!(lifted(method, path, body), Err(code), "{method} {path} {body}");
    }
    let allowed = Rest.operation(&Method::PUT, "/tasks/a/pushNotificationConfigs").unwrap_err();
    assert_eq!(allowed.message, "this operation of A2A is served by GET, POST");
}

#[test]
fn what_is_of_0_3_may_be_written_by_the_names_of_its_schema() {
    let body = r#"{"request":{"message_id":"m","task_id":"t","metadata":{"a_b":1},"content":[{"file":{"file_with_uri":"u"}}]},"configuration":{"push_notification":{"url":"u"},"history_length":2}}"#;
    let asks = r#"message/send {"message":{"messageId":"m","taskId":"t","metadata":{"a_b":1},"content":[{"file":{"file_with_uri":"u"}}]},"configuration":{"pushNotification":{"url":"u"},"historyLength":2}}"#;
    assert_eq!(lifted("POST", "/v1/message:send", body).as_deref(), Ok(asks));
    // Said twice it is said in two ways.
    for body in [
        r#"{"request":{},"message":{}}"#,
        r#"{"message":{"task_id":"a","taskId":"b"}}"#,
        r#"{"message":{"task_id":"a","task_Id":"b"}}"#,
    ] {
        assert_eq!(lifted("POST", "/v1/message:send", body), Err(Code::DuplicateKey), "{body}");
    }
    // So may 1.0, but for the name that 0.3 alone has there. What is deeper is as it is.
    let body = r#"{"message":{"message_id":"m","task_id":"t","parts":[{"media_type":"a/b"}],"metadata":{"a_b":1,"task_id":2}}}"#;
    let asks = r#"SendMessage {"message":{"messageId":"m","taskId":"t","parts":[{"mediaType":"a/b"}],"metadata":{"a_b":1,"task_id":2}}}"#;
    assert_eq!(lifted("POST", "/message:send", body).as_deref(), Ok(asks));
    assert_eq!(
        lifted("GET", "/tasks?context_id=c&page_size=2", "").as_deref(),
        Ok(r#"ListTasks {"contextId":"c","pageSize":2}"#)
    );
    let both = r#"{"message":{"task_id":"a","taskId":"b"}}"#;
    assert_eq!(lifted("POST", "/message:send", both), Err(Code::DuplicateKey));
    assert_eq!(
        lifted("POST", "/message:send", r#"{"request":{}}"#).as_deref(),
        Ok(r#"SendMessage {"request":{}}"#)
    );
    let deep = [r#"{"message":"#.repeat(4000), "{}".to_owned(), "}".repeat(4000)].concat();
    assert_eq!(as_in_json(&deep, LEVELS).ok(), Some(deep));
}

/// What is made of a request: the target, the task, and where it goes with the agent's own ids.
fn asked(method: &str, path: &str, body: &str) -> Result<(String, Option<String>, String, String), Code> {
    let (destination, caller, seal) = (Destination::Agent(served()), caller(), seal());
    let holder = Holder::new(&seal, &destination, &caller);
    let (parts, headers) = (parts(method, path), HeaderMap::new());
    let below = parts.uri.path().to_owned();
    let code = |refusal: Refusal| refusal.code;
    let lifted = Rest
        .lifted(&Destination::Agent(served()), &parts, &below, &Bytes::copy_from_slice(body.as_bytes()))
        .map_err(code)?;
    let text = std::str::from_utf8(&lifted).expect("UTF-8");
    let json = parse(text.as_bytes()).map_err(code)?;
    let message = Message {
        destination: &destination,
        method: &parts.method,
        path: &below,
        headers: &headers,
        holder: &holder,
        json: Some(&json),
        bytes: body.len(),
        standing: None,
    };
    let parsed = Rest.parse(&message).map_err(code)?;
    assert!(parsed.lifted);
    assert!(parsed.fault.is_none() && parsed.path.is_none());
    let sent = replace(text, &parsed.replaced).expect("its ids");
    let sent = Rest.lowered(&parts.method, "".into(), sent.into(), None).map_err(code)?;
    let target = match parsed.ask.target {
        Target::Skill { name, .. } => name.to_owned(),
        _ => "agent".to_owned(),
    };
    let body = String::from_utf8(sent.body.to_vec()).expect("UTF-8");
    Ok((target, parsed.ask.task.map(str::to_owned), sent.path.into_owned(), body))
}

#[test]
fn ids_in_paths_and_queries_are_the_callers_and_go_on_as_the_agents() {
    let agent = Destination::Agent(served());
    let task = |id: &str| sealed(Kind::Task, &agent, &Part::Skill("pay".into()), id);
    let (one, odd) = (task("1"), task("a/../b?c#d%é"));
    let (context, page) = (
        sealed(Kind::Context, &agent, &Part::Whole, "ctx"),
        sealed(Kind::Page, &agent, &Part::Whole, "after 2"),
    );
    let found = |path: &str, body: &str| {
        Ok(("pay".to_owned(), Some("1".to_owned()), path.to_owned(), body.to_owned()))
    };
    for (method, path, body, expected) in [
        ("GET", format!("/tasks/{one}?historyLength=1"), "", found("/tasks/1?historyLength=1", "")),
        ("POST", format!("/tasks/{one}:cancel"), "{}", found("/tasks/1:cancel", "{}")),
        ("GET", format!("/v1/tasks/{one}:subscribe"), "", found("/v1/tasks/1:subscribe", "")),
        (
            "POST",
            format!("/tasks/{one}/pushNotificationConfigs"),
            r#"{"url":"https://h/"}"#,
            found("/tasks/1/pushNotificationConfigs", r#"{"url":"https://h/"}"#),
        ),
        // Agents that were given no id for a configuration take that of the task.
        (
            "DELETE",
            format!("/tasks/{one}/pushNotificationConfigs/{one}"),
            "",
            found("/tasks/1/pushNotificationConfigs/1", ""),
        ),
        ("GET", "/tasks/1".to_owned(), "", Err(Code::TaskForeign)),
        ("GET", format!("/tasks/{context}"), "", Err(Code::TaskForeign)),
        ("GET", format!("/other/tasks/{one}"), "", Err(Code::MemberUndecided)),
        ("POST", "/other/message:send".to_owned(), "{}", Err(Code::MemberUndecided)),
        ("POST", format!("/tasks/{one}:cancel"), r#"{"taskId":"1"}"#, Err(Code::MessageInvalid)),
        ("POST", format!("/tasks/{one}:cancel"), r#"{"task_id":"1"}"#, Err(Code::MessageInvalid)),
        ("GET", "/tasks?pageToken=after".to_owned(), "", Err(Code::TaskForeign)),
        (
            "GET",
            format!("/tasks?contextId={context}&pageToken={page}"),
            "",
            Ok((
                "agent".to_owned(),
                None,
                "/tasks?contextId=ctx&pageToken=after%202".to_owned(),
                String::new(),
            )),
        ),
    ] {
        assert_eq!(asked(method, &path, body), expected, "{method} {path} {body}");
    }
    // What an agent has in its ids leads nowhere else.
    let (_, _, path, _) = asked("GET", &format!("/tasks/{odd}"), "").expect("a task");
    assert_eq!(path, "/tasks/a%2F..%2Fb%3Fc%23d%25%C3%A9");
    let dots = task("..");
    assert_eq!(asked("GET", &format!("/tasks/{dots}"), "").map(|_| ()), Err(Code::UpstreamInvalid));
}

#[test]
fn what_the_answer_is_follows_from_the_method() {
    let (destination, caller, seal) = (Destination::Agent(served()), caller(), seal());
    let task = sealed(Kind::Task, &destination, &Part::Whole, "1");
    let config = format!("/tasks/{task}/pushNotificationConfigs/c");
    for (method, path, body, observe) in [
        ("POST", "/message:send", r#"{"message":{}}"#, Observe::BareAgent),
        ("GET", &*format!("/tasks/{task}"), "", Observe::Bare),
        ("DELETE", &*config, "", Observe::BareOrNone),
        ("GET", "/extendedAgentCard", "", Observe::Bare),
    ] {
        let (parts, headers) = (parts(method, path), HeaderMap::new());
        let holder = Holder::new(&seal, &destination, &caller);
        let lifted = Rest
            .lifted(&Destination::Agent(served()), &parts, path, &Bytes::copy_from_slice(body.as_bytes()))
            .expect("lifted");
        let json = parse(&lifted).expect("JSON");
        let message = Message {
            destination: &destination,
            method: &parts.method,
            path,
            headers: &headers,
            holder: &holder,
            json: Some(&json),
            bytes: body.len(),
            standing: None,
        };
        let parsed = Rest.parse(&message).unwrap_or_else(|refusal| panic!("{lifted:?}: {refusal:?}"));
        let Expected::Upstream(answer) = parsed.expected else { panic!("{path} is answered here") };
        assert_eq!(answer.observe, observe, "{path}");
    }
}

/// A2A 1.0, sections 5.4 and 11.6.
#[test]
fn a_refusal_is_a_status_of_google_rpc() {
    for (code, status, name, reason, domain) in [
        (Code::TaskForeign, 404, "NOT_FOUND", "TASK_NOT_FOUND", "a2a-protocol.org"),
        (
            Code::ProtocolVersionUnsupported,
            400,
            "FAILED_PRECONDITION",
            "VERSION_NOT_SUPPORTED",
            "a2a-protocol.org",
        ),
        (Code::NoPermit, 403, "PERMISSION_DENIED", "NO_PERMIT", "vidimus.dev"),
        (Code::TokenExpired, 401, "UNAUTHENTICATED", "TOKEN_EXPIRED", "vidimus.dev"),
        (Code::BindingUnserved, 404, "NOT_FOUND", "BINDING_UNSERVED", "vidimus.dev"),
        (Code::UpstreamTimeout, 504, "DEADLINE_EXCEEDED", "UPSTREAM_TIMEOUT", "vidimus.dev"),
    ] {
        let answer = Rest.refused(&Refusal::new(code, "because"), "call-1", Some("1"));
        assert_eq!(answer.status().as_u16(), status);
        let body: serde_json::Value = serde_json::from_str(answer.body()).expect("JSON");
        let (error, info) = (&body["error"], &body["error"]["details"][0]);
        assert_eq!((&error["code"], &error["status"]), (&json!(status), &json!(name)), "{body}");
        assert_eq!((&info["reason"], &info["domain"]), (&json!(reason), &json!(domain)), "{body}");
        assert_eq!(info["@type"], "type.googleapis.com/google.rpc.ErrorInfo");
        assert!(info["metadata"].as_object().expect("texts").values().all(serde_json::Value::is_string));
        assert!(error["message"].as_str().expect("a sentence").starts_with("because"));
        let class = match code {
            Code::TaskForeign => Some("TaskNotFoundError"),
            Code::ProtocolVersionUnsupported => Some("VersionNotSupportedError"),
            _ => None,
        };
        assert_eq!(body.get("type").and_then(serde_json::Value::as_str), class, "as SDKs of 0.3 read it");
        assert_eq!(body.get("message"), class.and(Some(&error["message"])), "{body}");
        let event = Rest.last_event(answer.body());
        assert!(
            event.starts_with("event: error\ndata: {")
                && event.ends_with("}\n\n")
                && event.lines().count() == 3
        );
    }
}

/// What goes on of a message of JSON-RPC, as the binding of its caller has it: the fault, and the request.
fn goes_on(
    binding: &dyn Binding,
    agent: Arc<Agent>,
    (method, message): (&Method, &serde_json::Value),
) -> (Option<Code>, Lowered, Expected) {
    let tenant = agent.endpoint.as_ref().and_then(|endpoint| endpoint.tenant.clone());
    let (destination, caller, seal) = (Destination::Agent(agent), caller(), seal());
    let holder = Holder::new(&seal, &destination, &caller);
    let headers = HeaderMap::new();
    let text = String::from_utf8(in_json(&message.to_string().into()).into()).expect("text");
    let json = parse(text.as_bytes()).expect("JSON");
    let message = Message {
        destination: &destination,
        method,
        path: "",
        headers: &headers,
        holder: &holder,
        json: Some(&json),
        bytes: text.len(),
        standing: None,
    };
    let parsed = binding.parse(&message).expect("a message");
    let fault = parsed.fault.as_ref().map(|fault| fault.code);
    let sent = replace(&text, &parsed.replaced).expect("its ids");
    let lowered = binding
        .lowered(method, parsed.path.unwrap_or_default(), sent.into(), tenant.as_deref())
        .expect("a request");
    (fault, lowered, parsed.expected)
}

/// A task of the agent's, as its caller has it.
fn sealed_task() -> String {
    sealed(Kind::Task, &Destination::Agent(agent()), &Part::Whole, "1")
}

#[test]
fn who_asks_over_http_json_reaches_an_agent_of_each_other_binding() {
    let get =
        |method: &str| json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": {"id": sealed_task()}});
    let url = |at: &str| at.parse::<url::Url>().expect("a URL");
    let rpc = speaking(&|_| {});
    let grpc = speaking(&|endpoint| {
        endpoint.url = url("http://b:2/");
        endpoint.grpc = Some(url("http://b:2/"));
    });
    let (fault, lowered, expected) = goes_on(&Rest, rpc.clone(), (&Method::GET, &get("GetTask")));
    assert_eq!((fault, &*lowered.path, lowered.below), (None, "", Below::Rpc));
    let sent: serde_json::Value = serde_json::from_slice(&lowered.body).expect("JSON");
    assert_eq!(sent, json!({"jsonrpc": "2.0", "id": 1, "method": "GetTask", "params": {"id": "1"}}));
    let Expected::Upstream(answer) = expected else { panic!("it is answered here") };
    assert_eq!((answer.observe, answer.leaves), (Observe::Rpc, Leaves::Bare));
    let (fault, lowered, expected) = goes_on(&Rest, grpc.clone(), (&Method::GET, &get("GetTask")));
    assert_eq!((fault, &*lowered.path), (None, "/lf.a2a.v1.A2AService/GetTask"));
    assert!(matches!(lowered.below, Below::Grpc(_)));
    assert!(matches!(expected, Expected::Upstream(answer) if answer.leaves == Leaves::Bare));
    // Where it is served in the same binding, all is as it was.
    let (fault, lowered, expected) = goes_on(&Rest, served(), (&Method::GET, &get("GetTask")));
    assert_eq!((fault, &*lowered.path, lowered.below), (None, "/tasks/1", Below::Rest(None)));
    assert!(matches!(expected, Expected::Upstream(answer) if answer.leaves == Leaves::AsItComes));
    // What says nothing is read whole as well.
    let delete = json!({"jsonrpc": "2.0", "id": 1, "method": "DeleteTaskPushNotificationConfig",
        "params": {"taskId": sealed_task(), "id": "c"}});
    let (_, _, expected) = goes_on(&Rest, rpc.clone(), (&Method::DELETE, &delete));
    assert!(matches!(expected, Expected::Upstream(answer) if answer.document.is_some()));
    // 0.3 has the JSON of its schema there, and its gRPC is none of agents.
    let (fault, lowered, expected) = goes_on(&Rest, grpc, (&Method::GET, &get("tasks/get")));
    assert_eq!((fault, &*lowered.path), (None, "/lf.a2a.v1.A2AService/GetTask"));
    assert!(lowered.crossed.is_some(), "its gRPC is 1.0");
    assert!(matches!(expected, Expected::Upstream(answer) if answer.leaves == Leaves::OldBare("tasks/get")));
    let (fault, lowered, expected) = goes_on(&Rest, rpc.clone(), (&Method::GET, &get("tasks/get")));
    assert_eq!((fault, lowered.below), (None, Below::Rpc));
    assert!(matches!(expected, Expected::Upstream(answer) if answer.leaves == Leaves::OldBare("tasks/get")));
    let said = json!({"messageId": "m", "role": "ROLE_USER", "content": [{"file": {"file_with_uri": "u"}}]});
    let send = json!({"jsonrpc": "2.0", "id": 1, "method": "message/send", "params": {"message": said}});
    let (_, lowered, _) = goes_on(&Rest, rpc.clone(), (&Method::POST, &send));
    let sent: serde_json::Value = serde_json::from_slice(&lowered.body).expect("JSON");
    let said = json!({"kind": "message", "messageId": "m", "role": "user", "parts": [{"kind": "file", "file": {"uri": "u"}}]});
    assert_eq!((&sent["method"], &sent["params"]), (&json!("message/send"), &json!({"message": said})));
    // What is not of the schema is not sent.
    let odd =
        json!({"jsonrpc": "2.0", "id": 1, "method": "message/send", "params": {"message": {"role": "user"}}});
    let odd = super::super::lowered(TO_OLD_RPC.into(), odd.to_string().into(), None)
        .map_err(|refusal| refusal.code);
    assert_eq!(odd, Err(Code::MessageInvalid));
}

#[test]
fn what_makes_a_configuration_in_0_3_is_lifted_to_its_json_rpc() {
    let config = r#"{"url":"https://h/"}"#;
    let at = "/v1/tasks/a/pushNotificationConfigs";
    let expected =
        Ok(format!(r#"tasks/pushNotificationConfig/set {{"taskId":"a","pushNotificationConfig":{config}}}"#));
    for body in [
        format!(r#"{{"pushNotificationConfig":{config}}}"#),
        format!(r#"{{"push_notification_config":{config}}}"#),
        format!(r#"{{"config":{{"pushNotificationConfig":{config}}}}}"#),
        format!(r#"{{"parent":"tasks/a","config":{{"push_notification_config":{config}}}}}"#),
    ] {
        assert_eq!(lifted("POST", at, &body), expected, "{body}");
    }
    for body in [
        format!(r#"{{"parent":"tasks/b","config":{{"pushNotificationConfig":{config}}}}}"#),
        format!(
            r#"{{"config":{{"name":"tasks/b/pushNotificationConfigs/c","pushNotificationConfig":{config}}}}}"#
        ),
        format!(r#"{{"config":{{"pushNotificationConfig":{config}}},"more":1}}"#),
        format!(r#"{{"pushNotificationConfig":{config},"push_notification_config":{{}}}}"#),
        "[]".to_owned(),
    ] {
        assert!(lifted("POST", at, &body).is_err(), "{body}");
    }
    assert_eq!(
        lifted("DELETE", "/v1/tasks/a/pushNotificationConfigs/c", ""),
        Ok(r#"tasks/pushNotificationConfig/delete {"id":"a","pushNotificationConfigId":"c"}"#.to_owned())
    );
    assert_eq!(lifted("GET", at, ""), Ok(r#"tasks/pushNotificationConfig/list {"id":"a"}"#.to_owned()));
    assert_eq!(lifted("GET", &format!("{at}?pageSize=5"), ""), Err(Code::MessageInvalid));
}

#[test]
fn the_agents_tenant_is_before_its_paths_and_in_its_messages() {
    let task = sealed_task();
    let of = |alone: bool| {
        speaking(&move |endpoint| {
            endpoint.rest = Some(endpoint.url.clone());
            endpoint.rest_alone = alone;
            endpoint.a2a = Some(A2aVersion::V1_0);
            endpoint.tenant = Some("a/b".into());
        })
    };
    let get = json!({"jsonrpc": "2.0", "id": 1, "method": "GetTask", "params": {"id": task}});
    let send = json!({"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": {"message": {"messageId": "m"}, "tenant": "a/b"}});
    let old = json!({"jsonrpc": "2.0", "id": 1, "method": "tasks/get", "params": {"id": task}});
    let rpc = &super::super::JsonRpc::OLD as &dyn Binding;
    for (binding, alone, method, message) in [
        (&Rest as &dyn Binding, false, Method::GET, &get),
        (rpc, true, Method::POST, &get),
        (rpc, true, Method::POST, &old),
    ] {
        let (fault, lowered, _) = goes_on(binding, of(alone), (&method, message));
        assert_eq!((fault, &*lowered.path, &*lowered.body), (None, "/a%2Fb/tasks/1", &b""[..]));
    }
    let (_, lowered, _) = goes_on(&Rest, of(false), (&Method::POST, &send));
    assert_eq!(
        (&*lowered.path, &*lowered.body),
        ("/a%2Fb/message:send", &br#"{"message":{"messageId":"m"}}"#[..])
    );
    for message in [&get, &old] {
        let (_, lowered, _) = goes_on(rpc, of(false), (&Method::POST, message));
        let sent: serde_json::Value = serde_json::from_slice(&lowered.body).expect("JSON");
        assert_eq!(
            (&sent["method"], &sent["params"]),
            (&json!("GetTask"), &json!({"tenant": "a/b", "id": "1"}))
        );
    }
}

#[test]
fn an_agent_of_http_json_alone_is_asked_as_it_would_be_by_its_own_clients() {
    let alone = || {
        speaking(&|endpoint| {
            endpoint.rest = Some(endpoint.url.clone());
            endpoint.rest_alone = true;
        })
    };
    let task = sealed_task();
    let config = json!({"taskId": task, "id": "c"});
    for (method, params, by, path, body) in [
        (
            "SendMessage",
            json!({"message": {"messageId": "m"}}),
            "POST",
            "/message:send",
            r#"{"message":{"messageId":"m"}}"#,
        ),
        ("SendStreamingMessage", json!({"message": {}}), "POST", "/message:stream", r#"{"message":{}}"#),
        (
            "GetTask",
            json!({"id": task, "historyLength": 2, "beside": 1}),
            "GET",
            "/tasks/1?historyLength=2",
            "",
        ),
        (
            "ListTasks",
            json!({"pageSize": 5, "includeArtifacts": true}),
            "GET",
            "/tasks?pageSize=5&includeArtifacts=true",
            "",
        ),
        (
            "CancelTask",
            json!({"id": task, "metadata": {"a": 1}}),
            "POST",
            "/tasks/1:cancel",
            r#"{"metadata":{"a":1}}"#,
        ),
        ("SubscribeToTask", json!({"id": task}), "POST", "/tasks/1:subscribe", "{}"),
        ("GetTaskPushNotificationConfig", config.clone(), "GET", "/tasks/1/pushNotificationConfigs/c", ""),
        ("DeleteTaskPushNotificationConfig", config, "DELETE", "/tasks/1/pushNotificationConfigs/c", ""),
        (
            "ListTaskPushNotificationConfigs",
            json!({"taskId": task}),
            "GET",
            "/tasks/1/pushNotificationConfigs",
            "",
        ),
        ("GetExtendedAgentCard", json!({}), "GET", "/extendedAgentCard", ""),
    ] {
        let message = json!({"jsonrpc": "2.0", "id": "own", "method": method, "params": params});
        for binding in [&super::super::JsonRpc::OLD as &dyn Binding, &super::super::Grpc] {
            let (fault, lowered, expected) = goes_on(binding, alone(), (&Method::POST, &message));
            let by = Method::from_bytes(by.as_bytes()).expect("a method");
            let below = Below::Rest(Some(Sent { by, id: r#""own""#.into() }));
            assert_eq!((fault, &*lowered.path, lowered.below), (None, path, below), "{method}");
            assert_eq!(lowered.body, body, "{method}");
            assert!(matches!(expected, Expected::Upstream(answer) if answer.leaves == Leaves::AsItComes));
        }
    }
    let old = json!({"jsonrpc": "2.0", "id": 1, "method": "tasks/get", "params": {"id": task}});
    let (fault, lowered, _) = goes_on(&super::super::JsonRpc::OLD, alone(), (&Method::POST, &old));
    assert_eq!((fault, &*lowered.path, lowered.crossed.is_some()), (None, "/tasks/1", true));
    let old_alone = speaking(&|endpoint| {
        endpoint.rest = Some(endpoint.url.clone());
        endpoint.rest_alone = true;
        endpoint.a2a = Some(A2aVersion::V0_3);
    });
    let (fault, ..) = goes_on(&super::super::JsonRpc::OLD, old_alone, (&Method::POST, &old));
    assert_eq!(fault, Some(Code::BindingUnserved), "to HTTP+JSON of 0.3 nothing is translated");
    // Attack: a path that would lead to another operation.
    for (params, code) in [
        (json!({"taskId": "1", "id": ""}), Code::MessageInvalid),
        (json!({"taskId": "1"}), Code::MessageInvalid),
        (json!({"taskId": "1", "id": 7}), Code::MessageInvalid),
        (json!({"taskId": "1", "id": ".."}), Code::UpstreamInvalid),
    ] {
        let message = json!({"jsonrpc": "2.0", "id": 1, "method": "DeleteTaskPushNotificationConfig", "params": params});
        let sent = super::lowered(message.to_string().as_bytes()).map_err(|refusal| refusal.code);
        assert_eq!(sent, Err(code), "{params}");
    }
    let odd = json!({"jsonrpc": "2.0", "id": 1, "method": "GetTaskPushNotificationConfig", "params": {"taskId": "1", "id": "../x?y"}});
    let sent = super::lowered(odd.to_string().as_bytes()).expect("a request");
    assert_eq!(sent.path, "/tasks/1/pushNotificationConfigs/..%2Fx%3Fy");
}

/// What an agent of JSON-RPC reads by the schema's names is not lost where it stands in a query.
#[test]
fn what_is_written_by_the_names_of_the_schema_is_in_the_query_too() {
    for (method, params, path) in [
        (
            "ListTasks",
            json!({"page_size": 5, "include_artifacts": true, "status_timestamp_after": "2026-01-02T03:04:05Z"}),
            "/tasks?pageSize=5&statusTimestampAfter=2026-01-02T03%3A04%3A05Z&includeArtifacts=true",
        ),
        ("GetTask", json!({"id": "1", "history_lengths": 2, "_history_length": 3}), "/tasks/1"),
    ] {
        let message = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let sent = super::lowered(&in_json(&message.to_string().into())).expect("a request");
        assert_eq!(sent.path, path, "{params}");
    }
    // Attack: an id by another name, which nobody opened.
    for params in [json!({"context_id": "raw"}), json!({"page_token": "raw"})] {
        let message = json!({"jsonrpc": "2.0", "id": 1, "method": "ListTasks", "params": params}).to_string();
        let (destination, caller, seal) =
            (Destination::Agent(speaking(&|endpoint| endpoint.rest_alone = true)), caller(), seal());
        let (holder, headers) = (Holder::new(&seal, &destination, &caller), HeaderMap::new());
        let json = parse(message.as_bytes()).expect("JSON");
        let message = Message {
            destination: &destination,
            method: &Method::POST,
            path: "",
            headers: &headers,
            holder: &holder,
            json: Some(&json),
            bytes: message.len(),
            standing: None,
        };
        let refused = super::super::JsonRpc::OLD.parse(&message).map(|_| ()).map_err(|refusal| refusal.code);
        assert_eq!(refused, Err(Code::MessageInvalid), "{params}");
    }
}
