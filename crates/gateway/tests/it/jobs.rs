//! Servers that are jobs: what runs is what was permitted, and what becomes of its answer is what becomes of any.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use vidimus_core::call::{Action, Ask, Call, SoFar, Target};
use vidimus_core::refusal::{Code, Refusal};
use vidimus_gateway::listener::{self, Connections, Listener};
use vidimus_gateway::{
    AddressGuard, AskedElsewhere, Gate, KeepAlive, Limits, News, Output, Run, Runner, Upstream,
};

use super::stale::named_elsewhere;
use super::world::{World, call_id, json_of, objects, snapshot};

/// Does what the test says, and keeps what it was given.
#[derive(Debug, Default)]
struct Told {
    runs: Mutex<Vec<(Run, mpsc::Sender<News>)>>,
    /// How the next call ends at once; without it, as the test says later.
    ends: Mutex<Option<Result<Output, Refusal>>>,
}

impl Runner for Told {
    fn run(&self, run: Run) -> mpsc::Receiver<News> {
        let (tell, heard) = mpsc::channel(8);
        run.ran().note(|ran| ran.uid = Some("u-1".to_owned()));
        if let Some(ended) = self.ends.lock().expect("held").take() {
            run.ran().note(|ran| (ran.exit, ran.image) = (Some(0), Some("i@sha256:00".to_owned())));
            tell.try_send(News::Ended(ended)).expect("heard");
        }
        self.runs.lock().expect("held").push((run, tell));
        heard
    }
}

impl Told {
    fn count(&self) -> usize {
        self.runs.lock().expect("held").len()
    }

    async fn last(&self) -> mpsc::Sender<News> {
        for _ in 0..1000 {
            if let Some((_, tell)) = self.runs.lock().expect("held").last() {
                return tell.clone();
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("nothing was run");
    }
}

struct Jobs {
    world: World,
    runner: Arc<Told>,
    _stop: watch::Sender<bool>,
}

impl Jobs {
    /// The gateway of the world, whose server is a job.
    async fn new(runs: bool, cedar: Option<&str>) -> Self {
        Self::with(Limits::default(), runs, cedar).await
    }

    async fn with(limits: Limits, runs: bool, cedar: Option<&str>) -> Self {
        let mut world = World::with(limits).await;
        let mut all = objects(&world.upstream);
        let server = all.iter_mut().find(|object| object["kind"] == "MCPServer").expect("a server");
        server["spec"].as_object_mut().expect("a mapping").remove("endpoint");
        let tool = json!({"description": "d", "inputSchema": {"type": "object"}, "outputSchema": {"type": "object"}});
        server["spec"]["job"] = json!({
            "template": {"spec": {"containers": [{"name": "t", "image": "i@sha256:00"}]}},
            "tools": {"echo": tool, "other": tool, "forbidden": tool},
        });
        if let Some(cedar) = cedar {
            let policy = all.iter_mut().find(|object| object["kind"] == "Policy").expect("a policy");
            policy["spec"]["cedar"] = json!(cedar);
        }
        world.gate.take_into_use(snapshot(&all));
        let runner = Arc::new(Told::default());
        let running: Option<Arc<dyn Runner>> = if runs { Some(runner.clone()) } else { None };
        let upstream = Upstream::with_runner(AddressGuard::default(), KeepAlive::default(), running);
        let gate = Gate { shared: world.gate.shared.clone(), upstream: upstream.expect("roots") };
        let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        socket.set_nonblocking(true).expect("non-blocking");
        world.address = socket.local_addr().expect("an address");
        let (stop, stopping) = watch::channel(false);
        tokio::spawn(async move {
            listener::serve(gate, vec![Listener::plain(socket)], Connections::new(1024), stopping).await
        });
        Self { world, runner, _stop: stop }
    }

    fn ends(&self, ended: Result<Output, Refusal>) {
        *self.runner.ends.lock().expect("held") = Some(ended);
    }

    async fn ask(&self, method: &str, params: Value) -> (StatusCode, String, Value) {
        let message = json!({"jsonrpc": "2.0", "id": "x", "method": method, "params": params});
        let request = self.world.request(Method::POST, "/mcp/t/tools", &message);
        let (status, headers, body) = self.world.call(request).await;
        (status, call_id(&headers), json_of(&body))
    }
}

fn wrote(text: &str, exit: u32) -> Result<Output, Refusal> {
    Ok(Output { text: text.to_owned(), exit })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_permitted_call_runs_with_its_arguments_as_they_were_written() {
    let jobs = Jobs::new(true, None).await;
    jobs.ends(wrote(r#"{"sum": 3}"#, 0));
    let (status, id, answer) =
        jobs.ask("tools/call", json!({"name": "echo", "arguments": {"a": 1.50}})).await;
    assert_eq!((status, &answer["id"]), (StatusCode::OK, &json!("x")));
    assert_eq!(answer["result"]["content"][0]["text"], json!(r#"{"sum": 3}"#));
    assert_eq!(answer["result"]["structuredContent"], json!({"sum": 3}));
    assert_eq!(answer["result"]["isError"], json!(false));
    {
        let runs = jobs.runner.runs.lock().expect("held");
        let (run, _) = &runs[0];
        assert_eq!((run.tool(), run.arguments(), run.permit().call()), ("echo", r#"{"a":1.5}"#, &*id));
        assert!(!run.is_followed());
    }
    let effect = &jobs.world.records(&id, 2).await[1];
    assert_eq!(effect["result"], json!("ok"));
    assert_eq!(effect["job"], json!({"exit": 0, "image": "i@sha256:00", "uid": "u-1"}));
    assert!(effect.get("token").is_none(), "nobody's server gets a token: {effect}");
    // An exit code is the tool's own error.
    jobs.ends(wrote("no", 3));
    let (_, id, answer) = jobs.ask("tools/call", json!({"name": "echo"})).await;
    assert_eq!(answer["result"]["isError"], json!(true));
    assert_eq!(jobs.world.records(&id, 2).await[1]["result"], json!("error"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_permitted_runs_nothing() {
    let jobs = Jobs::new(true, None).await;
    for tool in ["forbidden", "other"] {
        let (_, id, answer) = jobs.ask("tools/call", json!({"name": tool})).await;
        assert!(answer.get("error").is_some(), "{answer}");
        assert_eq!(jobs.world.recorded(&id).len(), 1, "a decision, and no effect");
    }
    let (_, _, list) = jobs.ask("tools/list", json!({})).await;
    let names: Vec<_> =
        list["result"]["tools"].as_array().expect("tools").iter().map(|tool| &tool["name"]).collect();
    assert_eq!(names, [&json!("echo")]);
    let hello = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "c", "version": "1"}});
    let (_, _, begun) = jobs.ask("initialize", hello).await;
    assert_eq!(begun["result"]["protocolVersion"], json!("2025-11-25"));
    // Every version is served here, and said to be: also to who asks in one that is not, and then falls back.
    let all = json!(["2026-07-28", "2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"]);
    let (_, _, discovered) = jobs.ask("server/discover", json!({})).await;
    assert_eq!(discovered["result"]["supportedVersions"], all);
    let question = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}});
    let mut request = jobs.world.request(Method::POST, "/mcp/t/tools", &question);
    request.headers_mut().insert("mcp-protocol-version", "2099-01-01".parse().expect("a value"));
    let (_, _, body) = jobs.world.call(request).await;
    assert_eq!(json_of(&body)["error"]["data"]["supported"], all);
    assert_eq!(jobs.runner.count(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn progress_comes_before_the_result_and_a_failure_is_told_with_its_code() {
    let jobs = Jobs::new(true, None).await;
    let params = json!({"name": "echo", "_meta": {"progressToken": 7}});
    for (ended, result, code) in [
        (wrote("done", 0), "ok", None),
        (Err(Refusal::new(Code::UpstreamTimeout, "late")), "failed", Some("upstream_timeout")),
    ] {
        jobs.runner.runs.lock().expect("held").clear();
        let message = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params});
        let response = jobs.world.send(jobs.world.request(Method::POST, "/mcp/t/tools", &message)).await;
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let id = call_id(response.headers());
        let tell = jobs.runner.last().await;
        tell.send(News::Progress("half".into())).await.unwrap();
        tell.send(News::Alive).await.unwrap();
        tell.send(News::Ended(ended)).await.unwrap();
        let body = response.into_body().collect().await.expect("a whole answer").to_bytes();
        let text = String::from_utf8(body.to_vec()).unwrap();
        let progress = text.find(r#""progressToken":7,"progress":1,"message":"half""#).expect("progress");
        let last = text.find(code.unwrap_or("done")).unwrap_or_else(|| panic!("{text}"));
        assert!(progress < last, "{text}");
        let effect = &jobs.world.records(&id, 2).await[1];
        assert_eq!(
            (&effect["result"], effect.get("code")),
            (&json!(result), code.map(|code| json!(code)).as_ref())
        );
        assert_eq!(effect["job"]["uid"], json!("u-1"), "what ran is known also of what failed");
    }
}

/// Attack: a token of progress whose lines end the event that it stands in, or that is long, and is said again with each step.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_of_progress_is_one_short_value() {
    let jobs = Jobs::new(true, None).await;
    for token in [
        "{\"a\":\n\n1}".to_owned(),
        "[\n\n]".to_owned(),
        "true".to_owned(),
        format!("\"{}\"", "x".repeat(1_023)),
    ] {
        let message = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"echo","_meta":{{"progressToken":{token}}}}}}}"#
        );
        let (parts, _) = jobs.world.request(Method::POST, "/mcp/t/tools", &json!(null)).into_parts();
        let request = Request::from_parts(parts, Full::new(Bytes::from(message)));
        let (_, _, body) = jobs.world.call(request).await;
        assert_eq!(json_of(&body)["error"]["code"], json!(-32602), "{token}");
    }
    assert_eq!(jobs.runner.count(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_is_not_run_for() {
    let jobs = Jobs::new(true, None).await;
    for params in [json!({"name": "echo"}), json!({"name": "echo", "_meta": {"progressToken": "p"}})] {
        jobs.runner.runs.lock().expect("held").clear();
        let message = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params});
        let left = tokio::time::timeout(Duration::from_millis(300), async {
            let request = jobs.world.request(Method::POST, "/mcp/t/tools", &message);
            let response = jobs.world.send(request).await;
            response.into_body().collect().await
        });
        assert!(left.await.is_err(), "it waits");
        let tell = jobs.runner.last().await;
        let closed = tokio::time::timeout(Duration::from_secs(10), tell.closed()).await;
        assert!(closed.is_ok(), "the runner learns of it");
        let id = jobs.runner.runs.lock().expect("held")[0].0.permit().call().to_owned();
        let effect = &jobs.world.records(&id, 2).await[1];
        assert_eq!((&effect["result"], &effect["job"]["uid"]), (&json!("cancelled"), &json!("u-1")));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_redacted_of_any_answer_is_redacted_of_this_one() {
    let cedar = r#"permit (principal, action == Action::"invokeTool", resource == Tool::"t/tools/echo");
        @redact_answer("/card") forbid (principal, action == Action::"invokeTool", resource == Tool::"t/tools/echo");"#;
    let jobs = Jobs::new(true, Some(cedar)).await;
    jobs.ends(wrote(r#"{"card": "4111", "sum": 3}"#, 0));
    let (_, id, answer) = jobs.ask("tools/call", json!({"name": "echo"})).await;
    assert!(!answer.to_string().contains("4111") && answer.to_string().contains("sum"), "{answer}");
    assert_eq!(
        jobs.world.records(&id, 2).await[1]["changed"]["redact_answer"],
        json!(2),
        "text and structure"
    );
}

/// Attack: one agent has jobs run without end, by many servers, so that the cluster has no room for anybody else's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_are_divided_between_callers_until_nothing_of_them_is_left() {
    let permit = r#"permit (principal, action == Action::"invokeTool", resource == Tool::"t/tools/echo");"#;
    let jobs = Jobs::with(Limits { jobs: 4, ..Limits::default() }, true, Some(permit)).await;
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "echo"}});
    let by = async |who: &str| {
        jobs.ends(wrote("done", 0));
        let mut request = jobs.world.request(Method::POST, "/mcp/t/tools", &call);
        let token = jobs.world.token(who, Duration::from_secs(600));
        request.headers_mut().insert("authorization", format!("Bearer {token}").parse().expect("a header"));
        let (status, headers, _) = jobs.world.call(request).await;
        (status, call_id(&headers))
    };
    // Each has ended, and its namespace is still there.
    for (who, passes) in
        [("caller", true), ("caller", true), ("caller", false), ("stranger", true), ("stranger", false)]
    {
        let (status, id) = by(who).await;
        assert_eq!(status == StatusCode::OK, passes, "{who}");
        let effect = &jobs.world.records(&id, 2).await[1];
        assert_eq!(effect.get("code"), (!passes).then(|| json!("overloaded")).as_ref(), "{effect}");
        assert_eq!(effect.get("job").is_some(), passes, "{effect}");
    }
    let (_, _, list) = jobs.ask("tools/list", json!({})).await;
    assert!(list.get("result").is_some(), "what runs nothing takes no place: {list}");
    jobs.runner.runs.lock().expect("held").clear();
    assert_eq!(by("caller").await.0, StatusCode::OK);
}

/// Attack: another enforcement point is told yes to what only the gateway runs, and makes something else of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_is_run_by_nobody_elsewhere() {
    let Jobs { world, runner, .. } = Jobs::new(true, None).await;
    let decides = world.gate.shared.snapshot();
    let caller = named_elsewhere(&world, &decides);
    let server = decides.mcp_server("t/tools").expect("a server");
    for (name, code) in [("echo", Code::DataPlaneUnable), ("forbidden", Code::ForbiddenByPolicy)] {
        let ask = Ask::about("tools/call", Action::InvokeTool, Target::Tool { server, name });
        let (now, so_far) = (caller.chain.started, SoFar::nothing());
        let call = Call { caller: &caller, ask, now, source_ip: None, so_far, approvals: &[] };
        let asked = AskedElsewhere { by: "User/i#point", body: b"{}", traceparent: None };
        let answer = world.gate.shared.evaluate(&decides, &call, &asked).await.expect("an answer");
        assert_eq!(answer.refusal.map(|refusal| refusal.code), Some(code));
        let is_found = world.gate.shared.would_permit(&decides, &call).await.expect("an answer");
        assert!(!is_found, "nor does a search find it");
    }
    assert_eq!(runner.count(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_anything_that_runs_jobs_nothing_is_sent_and_it_is_said_what_to_do() {
    let jobs = Jobs::new(false, None).await;
    let (status, id, answer) = jobs.ask("tools/call", json!({"name": "echo"})).await;
    assert_eq!(status, StatusCode::BAD_GATEWAY);
    assert!(answer.to_string().contains("--jobs"), "{answer}");
    let effect = &jobs.world.records(&id, 2).await[1];
    assert_eq!((&effect["code"], effect.get("job")), (&json!("upstream_unreachable"), None));
}
