//! Chains of calls through a gateway: what they come to, what ends them, and what they have read.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request};
use http_body_util::{BodyExt as _, Full};
use serde_json::{Value, json};
use vidimus_testkit::upstream::Answer;

use super::world::{World, call_id, objects, snapshot};

/// What the called agent may do, and what is said of everything.
const CEDAR: &str = r#"
    permit (principal == Agent::"t/caller", action, resource);
    permit (principal == Agent::"t/callee", action, resource);
"#;

/// The estate of the other tests, in which both agents may do everything, after `change`.
pub fn estate(world: &World, change: impl FnOnce(&mut [Value])) -> Vec<Value> {
    let mut all = objects(&world.upstream);
    all[0]["spec"]["endpoint"] = json!({"url": world.upstream.url("/caller"), "timeout": "3s"});
    all[5]["spec"]["cedar"] = json!(CEDAR);
    change(&mut all);
    all
}

/// One more policy.
pub fn also(all: &mut [Value], cedar: &str) {
    let text = all[5]["spec"]["cedar"].as_str().expect("text").to_owned() + cedar;
    all[5]["spec"]["cedar"] = json!(text);
}

/// The token that `t/callee` gets when `t/caller` calls it: a chain begins.
pub async fn begin(world: &World) -> String {
    begin_as(world, "caller").await
}

/// The same by the subject of a token.
pub async fn begin_as(world: &World, subject: &str) -> String {
    let message = json!({"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": {"message": {}}});
    let own = world.token(subject, Duration::from_secs(600));
    let request = with(&own, world.request(Method::POST, "/a2a/t/callee", &message));
    let (status, headers, _) = world.call(request).await;
    assert!(status.is_success(), "{headers:?}");
    received_token(world)
}

/// The token of the last request that came to the upstream.
pub fn received_token(world: &World) -> String {
    let received = world.upstream.received().pop().expect("a request");
    let bearer = received.header("authorization").expect("a token");
    bearer.strip_prefix("Bearer ").expect("a bearer token").to_owned()
}

/// The request, made with this token.
pub fn with(token: &str, mut request: Request<Full<Bytes>>) -> Request<Full<Bytes>> {
    let value = HeaderValue::from_str(&format!("Bearer {token}")).expect("a header");
    request.headers_mut().insert("authorization", value);
    request
}

/// The code of the refusal; `None` of what was let through.
pub async fn code(world: &World, request: Request<Full<Bytes>>) -> Option<String> {
    let (_, headers, _) = world.call(request).await;
    headers.get("vidimus-code").map(|code| code.to_str().expect("text").to_owned())
}

/// The decision on record of the refused call.
async fn refused(world: &World, request: Request<Full<Bytes>>) -> Value {
    let (_, headers, _) = world.call(request).await;
    assert!(headers.contains_key("vidimus-code"), "let through");
    world.records(&call_id(&headers), 1).await.remove(0)
}

fn chat() -> Value {
    json!({"model": "small", "messages": []})
}

fn model(world: &World) -> Request<Full<Bytes>> {
    world.request(Method::POST, "/llm/t/models/v1/chat/completions", &chat())
}

#[tokio::test]
async fn a_chain_that_makes_too_many_calls_is_ended_and_no_other() {
    let world = World::new().await;
    let all = estate(&world, |all| all[2]["spec"]["delegation"] = json!({"maxCalls": 3}));
    world.gate.take_into_use(snapshot(&all));
    let token = begin(&world).await;
    assert_eq!(code(&world, with(&token, world.tool("echo"))).await, None);
    assert_eq!(code(&world, with(&token, model(&world))).await, None);
    let limit = "Agent/t/callee spec.delegation.maxCalls";
    let record = refused(&world, with(&token, world.tool("echo"))).await;
    assert_eq!((&record["code"], &record["policies"]), (&json!("chain_limit"), &json!([limit])));
    let facts =
        json!({"chain.ended_by": limit, "context.chain.calls": "4", "principal.delegation.maxCalls": "3"});
    assert_eq!(record["facts"], facts);
    // It stays ended, also for what would not be one call too many.
    for request in [world.tool("echo"), model(&world), world.tool("forbidden")] {
        let record = refused(&world, with(&token, request)).await;
        assert_eq!((&record["code"], &record["policies"]), (&json!("chain_ended"), &json!([limit])));
    }
    let other = begin(&world).await;
    assert_eq!(code(&world, with(&other, world.tool("echo"))).await, None);
    // Nor is a call of one's own any of the chain's.
    assert_eq!(code(&world, world.tool("echo")).await, None);
}

#[tokio::test]
async fn a_chain_is_ended_by_what_its_models_cost() {
    let world = World::new().await;
    let all = estate(&world, |all| {
        all[2]["spec"]["delegation"] = json!({"maxSpend": "0.05"});
        all[4]["spec"]["models"][0]["price"] = json!({"inputPerMTok": "10.00", "outputPerMTok": "40.00"});
    });
    world.gate.take_into_use(snapshot(&all));
    let token = begin(&world).await;
    let used = |input: u64, output: u64| {
        let usage = json!({"prompt_tokens": input, "completion_tokens": output});
        world.upstream.next(Answer::json(&json!({"choices": [], "usage": usage})));
    };
    // 1000 × 10 + 500 × 40 millionths are 0.03.
    for _ in 0..2 {
        used(1_000, 500);
        assert_eq!(code(&world, with(&token, model(&world))).await, None);
    }
    let record = refused(&world, with(&token, world.tool("echo"))).await;
    assert_eq!(record["code"], "chain_limit");
    assert_eq!(record["facts"]["context.chain.spend"], "60000");
    assert_eq!(record["facts"]["principal.delegation.maxSpend"], "50000");
    assert_eq!(record["policies"], json!(["Agent/t/callee spec.delegation.maxSpend"]));
}

/// Attack: requests that do not say how long an answer may be, so that a chain uses more than was reserved for its calls.
#[tokio::test]
async fn what_a_record_lets_chains_use_is_told_to_the_provider() {
    let said = json!({"choices": [{"index": 0, "delta": {"content": "x"}}]}).to_string();
    for (limits, is_capped) in [
        (json!({"maxTokens": 100_000}), true),
        (json!({"maxSpend": "5.00"}), true),
        (json!({"maxCalls": 100}), false),
    ] {
        let world = World::new().await;
        let all = estate(&world, |all| all[2]["spec"]["delegation"] = limits.clone());
        world.gate.take_into_use(snapshot(&all));
        let token = begin(&world).await;
        assert_eq!(code(&world, with(&token, model(&world))).await, None);
        let received = world.upstream.received().pop().expect("a request").json();
        let told = received["max_tokens"].as_u64().or(received["max_completion_tokens"].as_u64());
        assert_eq!(told, is_capped.then_some(4096), "{limits}: {received}");
        // Another caller's chain has no such limit, nor has a call of one's own.
        assert_eq!(code(&world, model(&world)).await, None);
        let received = world.upstream.received().pop().expect("a request").json();
        assert_eq!(received["max_tokens"].as_u64().or(received["max_completion_tokens"].as_u64()), None);
        // A provider that writes more all the same is not read to its end.
        let (streamed, stream) = Answer::stream("text/event-stream");
        world.upstream.next(streamed);
        let goes_on = async {
            for _ in 0..30 {
                stream.event(&said).await;
            }
            stream.event("[DONE]").await;
            drop(stream);
        };
        let body = json!({"model": "small", "messages": [], "stream": true, "max_tokens": 20});
        let request = with(&token, world.request(Method::POST, "/llm/t/models/v1/chat/completions", &body));
        let ((_, _, passed), ()) = tokio::join!(world.call(request), goes_on);
        assert_eq!(String::from_utf8_lossy(&passed).contains("upstream_invalid"), is_capped, "{limits}");
    }
}

#[tokio::test]
async fn the_streams_of_an_ended_chain_are_cut() {
    let world = World::new().await;
    let all = estate(&world, |all| all[2]["spec"]["delegation"] = json!({"maxCalls": 2}));
    world.gate.take_into_use(snapshot(&all));
    // Of the call that begins the chain, and of one within it.
    let message =
        json!({"jsonrpc": "2.0", "id": 1, "method": "SendStreamingMessage", "params": {"message": {}}});
    let (answer, first) = Answer::stream("text/event-stream");
    world.upstream.next(answer);
    let first_answer = world.send(world.request(Method::POST, "/a2a/t/callee", &message)).await;
    let token = received_token(&world);
    let (answer, second) = Answer::stream("text/event-stream");
    world.upstream.next(answer);
    let second_answer = world.send(with(&token, world.tool("echo"))).await;
    // And one of another chain, which goes on.
    let (other_answer, other) = world.streaming("echo").await;
    for stream in [&first, &second, &other] {
        assert!(stream.event("{}").await);
    }
    assert_eq!(code(&world, with(&token, world.tool("echo"))).await.as_deref(), Some("chain_limit"));
    for (answer, stream) in [(first_answer, first), (second_answer, second)] {
        let id = call_id(answer.headers());
        let rest = tokio::time::timeout(Duration::from_secs(10), answer.into_body().collect()).await;
        assert!(rest.expect("cut").is_err(), "cut, not finished");
        let effect = world.records(&id, 2).await.remove(1);
        assert_eq!((&effect["result"], &effect["code"]), (&json!("failed"), &json!("chain_ended")));
        tokio::time::timeout(Duration::from_secs(10), stream.closed()).await.expect("cancelled upstream");
    }
    let response = json!({"jsonrpc": "2.0", "id": 1, "result": {"content": []}}).to_string();
    assert!(other.event(&response).await);
    drop(other);
    assert!(other_answer.into_body().collect().await.is_ok());
}

/// Attack: an answer that is on its way when its chain is ended is delivered all the same, because it is no stream.
#[tokio::test]
async fn a_whole_answer_does_not_come_after_its_chain_was_ended() {
    let world = World::new().await;
    let all = estate(&world, |all| all[2]["spec"]["delegation"] = json!({"maxCalls": 2}));
    world.gate.take_into_use(snapshot(&all));
    let token = begin(&world).await;
    let before = world.upstream.received().len();
    let (answer, late) = Answer::stream("application/json");
    world.upstream.next(answer);
    let on_its_way = world.send(with(&token, world.tool("echo")));
    let ends = async {
        world.upstream.until_received(before + 1).await;
        assert_eq!(code(&world, with(&token, world.tool("echo"))).await.as_deref(), Some("chain_limit"));
        // Too late.
        late.send(r#"{"jsonrpc":"2.0","id":1,"result":{"secret":1}}"#.to_owned()).await;
        drop(late);
    };
    let (answered, ()) = tokio::join!(on_its_way, ends);
    let headers = answered.headers().clone();
    let body = answered.into_body().collect().await.map(http_body_util::Collected::to_bytes);
    assert!(!body.is_ok_and(|body| String::from_utf8_lossy(&body).contains("secret")));
    let effect = world.records(&call_id(&headers), 2).await.remove(1);
    assert_eq!((&effect["result"], &effect["code"]), (&json!("failed"), &json!("chain_ended")));
}

#[tokio::test]
async fn a_policy_ends_a_chain_where_it_says_so() {
    let world = World::new().await;
    for (annotation, ends) in [("@ends_chain", true), ("", false)] {
        let forbid = format!(
            "{annotation} @id(\"circle\") forbid (principal, action in Action::\"a2a\", resource) when {{ context.chain.cycle }};"
        );
        world.gate.take_into_use(snapshot(&estate(&world, |all| also(all, &forbid))));
        let token = begin(&world).await;
        assert_eq!(code(&world, with(&token, world.tool("echo"))).await, None);
        // Back to who began.
        let message = json!({"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": {"message": {}}});
        let back = world.request(Method::POST, "/a2a/t/caller", &message);
        let record = refused(&world, with(&token, back)).await;
        assert_eq!(record["code"], "forbidden_by_policy");
        let by = ends.then(|| json!("t/some#circle"));
        assert_eq!(record["facts"].get("chain.ended_by"), by.as_ref());
        let next = code(&world, with(&token, world.tool("echo"))).await;
        assert_eq!(next.as_deref(), ends.then_some("chain_ended"));
    }
}

#[tokio::test]
async fn a_chain_may_be_so_old_and_may_not_go_in_circles_by_the_record_of_an_agent() {
    let world = World::new().await;
    let message = json!({"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": {"message": {}}});
    for (limits, age, limit) in
        [(json!({"maxAge": "30s"}), 31, "maxAge"), (json!({"allowCycles": false}), 0, "allowCycles")]
    {
        let all = estate(&world, |all| all[2]["spec"]["delegation"] = limits.clone());
        world.gate.take_into_use(snapshot(&all));
        let token = begin(&world).await;
        assert_eq!(code(&world, with(&token, world.tool("echo"))).await, None, "{limit}");
        world.clock.advance(Duration::from_secs(age));
        let back = world.request(Method::POST, "/a2a/t/caller", &message);
        let record = refused(&world, with(&token, back)).await;
        assert_eq!(
            record["policies"],
            json!([format!("Agent/t/callee spec.delegation.{limit}")]),
            "{record}"
        );
        assert_eq!(code(&world, with(&token, world.tool("echo"))).await.as_deref(), Some("chain_ended"));
    }
}

/// Attack: one agent has two identities, and goes in circles by taking turns.
#[tokio::test]
async fn a_circle_through_another_identity_is_one() {
    let world = World::new().await;
    let local = |subject: &str| json!({"oidc": {"issuer": "urn:vidimus:local", "subject": subject}});
    let all = estate(&world, |all| {
        all[0]["spec"]["identities"] = json!([local("caller"), local("other-self")]);
        all[2]["spec"]["delegation"] = json!({"allowCycles": false});
    });
    world.gate.take_into_use(snapshot(&all));
    let message = json!({"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": {"message": {}}});
    for subject in ["caller", "other-self"] {
        let token = begin_as(&world, subject).await;
        let back = world.request(Method::POST, "/a2a/t/caller", &message);
        assert_eq!(code(&world, with(&token, back)).await.as_deref(), Some("chain_limit"), "{subject}");
    }
}

/// Confidential and untrusted content have met, and this call sends outside.
const MEET: &str = r#"
    @id("meet") @reason("confidential and untrusted content have met in this chain, and this call sends outside")
    forbid (principal, action, resource is Tool)
    when { context.labels.containsAll(["confidential", "untrusted"]) && resource.sends.contains("external") };
"#;

fn labelled(all: &mut [Value]) {
    all[3]["spec"]["toolSets"] = json!({"crm": ["customer"], "web": ["fetch"]});
    all[3]["spec"]["toolSetLabels"] =
        json!({"crm": {"reads": ["confidential"]}, "web": {"returns": ["untrusted"]}});
    all[3]["spec"]["tools"] = json!({"mail": {"labels": {"sends": ["external"]}}});
    also(all, MEET);
}

#[tokio::test]
async fn what_has_met_in_a_chain_does_not_leave_and_the_record_says_where_it_came_from() {
    let world = World::new().await;
    world.gate.take_into_use(snapshot(&estate(&world, labelled)));
    let token = begin(&world).await;
    assert_eq!(code(&world, with(&token, world.tool("mail"))).await, None);
    let (_, headers, _) = world.call(with(&token, world.tool("customer"))).await;
    let read = call_id(&headers);
    assert_eq!(code(&world, with(&token, world.tool("mail"))).await, None, "nothing untrusted has come yet");
    let (_, headers, _) = world.call(with(&token, world.tool("fetch"))).await;
    let fetched = call_id(&headers);
    let record = refused(&world, with(&token, world.tool("mail"))).await;
    assert_eq!(record["policies"], json!(["t/some#meet"]));
    assert_eq!(record["facts"]["context.labels"], "[confidential, untrusted]");
    assert_eq!(
        record["facts"]["context.labels[\"confidential\"]"],
        format!("Tool/t/tools/customer by call {read}")
    );
    assert_eq!(
        record["facts"]["context.labels[\"untrusted\"]"],
        format!("Tool/t/tools/fetch by call {fetched}")
    );
    assert_eq!(record["facts"]["resource.sends"], "[external]");
    // What sends nothing goes on.
    assert_eq!(code(&world, with(&token, world.tool("echo"))).await, None);
}

/// The labels stay with who has read, whatever credential it shows next.
#[tokio::test]
async fn dropping_the_chain_drops_no_label() {
    let world = World::new().await;
    world.gate.take_into_use(snapshot(&estate(&world, |all| {
        labelled(all);
        all[2]["spec"]["identities"] =
            json!([{"oidc": {"issuer": "urn:vidimus:local", "subject": "callee"}}]);
    })));
    let token = begin(&world).await;
    for tool in ["customer", "fetch"] {
        assert_eq!(code(&world, with(&token, world.tool(tool))).await, None);
    }
    let own = world.token("callee", Duration::from_secs(600));
    assert_eq!(code(&world, with(&own, world.tool("mail"))).await.as_deref(), Some("forbidden_by_policy"));
    // And what it read comes back to who had called it.
    assert_eq!(code(&world, world.tool("mail")).await.as_deref(), Some("forbidden_by_policy"));
    // A call of a third agent is none of this.
    let all = estate(&world, |all| {
        labelled(all);
        also(all, r#"permit (principal == Agent::"t/stranger", action, resource);"#);
    });
    world.gate.take_into_use(snapshot(&all));
    let stranger = world.token("stranger", Duration::from_secs(600));
    assert_eq!(code(&world, with(&stranger, world.tool("mail"))).await, None);
    world.clock.advance(Duration::from_secs(3601));
    assert_eq!(code(&world, world.tool("mail")).await, None, "the window is over");
}

#[tokio::test]
async fn the_id_of_a_chain_cannot_be_forged() {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let world = World::new().await;
    let all = estate(&world, |all| all[2]["spec"]["delegation"] = json!({"maxCalls": 2}));
    world.gate.take_into_use(snapshot(&all));
    let token = begin(&world).await;
    assert_eq!(code(&world, with(&token, world.tool("echo"))).await, None);
    let parts: Vec<&str> = token.split('.').collect();
    let mut claims: Value =
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(parts[1]).expect("base64")).expect("JSON");
    let transaction = claims["txn"].clone();
    claims["txn"] = json!("0193a3e5-0000-7000-8000-000000000000");
    let forged = format!("{}.{}.{}", parts[0], URL_SAFE_NO_PAD.encode(claims.to_string()), parts[2]);
    assert_eq!(code(&world, with(&forged, world.tool("echo"))).await.as_deref(), Some("token_signature"));
    // Nor does a header name one, and it is not counted to anybody else's.
    let mut request = world.tool("echo");
    request.headers_mut().insert("txn", transaction.to_string().parse().expect("a header"));
    assert_eq!(code(&world, request).await, None);
    assert_eq!(code(&world, with(&token, world.tool("echo"))).await.as_deref(), Some("chain_limit"));
}

#[tokio::test]
async fn a_call_that_nobody_counts_leaves_nothing_behind() {
    let world = World::new().await;
    world.gate.take_into_use(snapshot(&estate(&world, |_| ())));
    assert!(world.gate.snapshot().chain_reads().is_nothing());
    let token = begin(&world).await;
    assert_eq!(code(&world, with(&token, world.tool("echo"))).await, None);
}

/// A gateway alone takes up what it had counted from its records.
#[tokio::test]
async fn what_was_counted_before_a_start_counts_after_it() {
    let world = World::new().await;
    let all = estate(&world, |all| {
        labelled(all);
        all[2]["spec"]["delegation"] = json!({"maxCalls": 4, "maxFanOut": 1});
    });
    world.gate.take_into_use(snapshot(&all));
    let (ended, open) = (begin(&world).await, begin(&world).await);
    for tool in ["echo", "echo", "echo"] {
        assert_eq!(code(&world, with(&ended, world.tool(tool))).await, None);
    }
    assert_eq!(code(&world, with(&ended, world.tool("echo"))).await.as_deref(), Some("chain_limit"));
    for tool in ["customer", "fetch"] {
        assert_eq!(code(&world, with(&open, world.tool(tool))).await, None);
    }
    let again = world.again(snapshot(&all)).await;
    let of = |token: &str, request| code(&again, with(token, request));
    assert_eq!(of(&ended, again.tool("echo")).await.as_deref(), Some("chain_ended"));
    assert_eq!(of(&open, again.tool("mail")).await.as_deref(), Some("forbidden_by_policy"));
    assert_eq!(of(&open, model(&again)).await.as_deref(), Some("delegation_too_wide"));
    assert_eq!(of(&open, again.tool("echo")).await, None, "the fourth");
    assert_eq!(of(&open, again.tool("echo")).await.as_deref(), Some("chain_limit"));
    // What the agent's caller got to know, it knows.
    assert_eq!(code(&again, again.tool("mail")).await.as_deref(), Some("forbidden_by_policy"));
}

/// A label goes away by an act, which is a record, and by nothing else.
#[tokio::test]
async fn a_label_is_taken_away_by_an_act() {
    use vidimus_core::act::{Act, Declassified, Subject};
    let world = World::new().await;
    let all = estate(&world, labelled);
    world.gate.take_into_use(snapshot(&all));
    let token = begin(&world).await;
    for tool in ["customer", "fetch"] {
        assert_eq!(code(&world, with(&token, world.tool(tool))).await, None);
    }
    assert_eq!(code(&world, with(&token, world.tool("mail"))).await.as_deref(), Some("forbidden_by_policy"));
    let transaction: std::sync::Arc<str> = {
        let record = refused(&world, with(&token, world.tool("mail"))).await;
        record["transaction"].as_str().expect("text").into()
    };
    let declassify = |subject: Subject| {
        Act::Declassify(Declassified { label: "confidential".into(), person: None, subject })
    };
    // What is on record is so at once; that a snapshot follows is for who brings acts into force.
    let act = |subject: Subject| {
        let act =
            world.gate.shared.act("User/https://idp.example#ada", declassify(subject), "the customer agreed");
        async move { tokio::time::timeout(Duration::from_millis(300), act).await }
    };
    let server = act("MCPServer/t/tools".parse().expect("a subject")).await.expect("at once");
    assert_eq!(server.expect_err("it has no labels").code.as_str(), "message_invalid");
    let _ = act(Subject::Chain(transaction)).await;
    assert_eq!(
        code(&world, with(&token, world.tool("mail"))).await.as_deref(),
        Some("forbidden_by_policy"),
        "the agent itself has it still"
    );
    let _ = act("Agent/t/callee".parse().expect("a subject")).await;
    assert_eq!(code(&world, with(&token, world.tool("mail"))).await, None);
    let acts = world.all_records().into_iter().filter(|record| record["kind"] == "act").count();
    assert_eq!(acts, 2);
    let again = world.again(snapshot(&all)).await;
    assert_eq!(
        code(&again, with(&token, again.tool("mail"))).await,
        None,
        "nor does it come back by a start"
    );
}

/// A service reads as an agent does, and what it has read is taken away from it as from an agent.
#[tokio::test]
async fn a_label_of_a_service_is_taken_away_by_an_act() {
    use vidimus_core::act::{Act, Declassified};
    use vidimus_identity::LOCAL_ISSUER;
    let world = World::new().await;
    let mut all = estate(&world, |all| {
        labelled(all);
        also(all, r#" permit (principal == Service::"t/report", action, resource);"#);
    });
    all.push(json!({"apiVersion": "vidimus.dev/v1alpha1", "kind": "ServiceIdentity",
        "metadata": {"namespace": "t", "name": "report"}, "spec": {"owner": "ada.lovelace@example.com", "team": "t",
        "identities": [{"oidc": {"issuer": LOCAL_ISSUER, "subject": "report"}}]}}));
    world.gate.take_into_use(snapshot(&all));
    let token = world.token("report", Duration::from_secs(600));
    for tool in ["customer", "fetch"] {
        assert_eq!(code(&world, with(&token, world.tool(tool))).await, None);
    }
    assert_eq!(code(&world, with(&token, world.tool("mail"))).await.as_deref(), Some("forbidden_by_policy"));
    let subject = "Service/t/report".parse().expect("a subject");
    let act = Act::Declassify(Declassified { label: "confidential".into(), person: None, subject });
    // It is on record at once; that a snapshot follows is for who brings acts into force.
    let done = world.gate.shared.act("User/https://idp.example#ada", act, "the customer agreed");
    let _ = tokio::time::timeout(Duration::from_millis(300), done).await;
    assert_eq!(code(&world, with(&token, world.tool("mail"))).await, None);
}
