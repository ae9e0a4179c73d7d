//! Several providers that may answer one call: who is asked, and what is on record.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::{HeaderValue, Method, StatusCode};
use serde_json::{Value, json};
use vidimus_testkit::upstream::{Answer, Received};

use super::logged::Logged;
use super::world::{World, call_id, json_of, objects, snapshot};

const CHAT: &str = "/llm/t/first/v1/chat/completions";

fn object(kind: &str, name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "vidimus.dev/v1alpha1", "kind": kind, "metadata": {"namespace": "t", "name": name}, "spec": spec})
}

/// `first` fails over to `second` (Anthropic's API) and then to `third`, `plain` to `second`. The caller may call the models of those that are
/// `permitted`. All are at one upstream, below their names.
async fn world(permitted: &[&str], more: &str) -> World {
    world_with(permitted, more, &json!({"none": {}})).await
}

/// The same, in which `first` has this key.
async fn world_with(permitted: &[&str], more: &str, key: &Value) -> World {
    let world = World::new().await;
    let mut all = objects(&world.upstream);
    let to = json!({"to": [{"provider": "second"}, {"provider": "third"}, {"provider": "absent"}]});
    for (name, kind, failover) in [
        ("first", "openAI", Some(to)),
        ("second", "anthropic", Some(json!({"to": [{"provider": "first"}]}))),
        ("third", "openAICompatible", None),
        ("plain", "openAICompatible", Some(json!({"to": [{"provider": "second"}]}))),
        ("shared", "openAI", Some(json!({"weight": 1, "to": [{"provider": "third", "weight": 1}]}))),
    ] {
        let price = json!({"inputPerMTok": "1", "outputPerMTok": if name == "third" { "3" } else { "2" }});
        let mut spec = json!({"owner": "a@b.example", "type": kind, "credential": {"none": {}},
            "endpoint": {"url": world.upstream.url(&format!("/{name}")), "timeout": "3s"},
            "models": [{"name": if name == "second" { "claude" } else { "small" }, "price": price}]});
        if name == "second" {
            spec["aliases"] = json!({"small": "claude"});
        }
        if name == "first" {
            spec["credential"] = key.clone();
        }
        if name == "third" {
            spec["endpoint"]["headers"] = json!({"pass": ["x-note"]});
        }
        if let Some(failover) = failover {
            spec["failover"] = failover;
        }
        all.push(object("LLMProvider", name, &spec));
    }
    let permits = permitted.iter().map(|name| {
        let model = if *name == "second" { "claude" } else { "small" };
        format!(r#"permit (principal == Agent::"t/caller", action == Action::"callModel", resource == Model::"t/{name}/{model}");"#)
    });
    let cedar = format!("{} {more}", permits.collect::<String>());
    all.push(object("Policy", "providers", &json!({"description": "providers", "cedar": cedar})));
    world.gate.take_into_use(snapshot(&all));
    world
}

fn status(code: u16) -> Answer {
    let error = json!({"error": {"message": "not now", "type": "server_error"}});
    Answer::json(&error).with_status(StatusCode::from_u16(code).expect("a status"))
}

/// A good answer, in the API of whoever is asked.
fn good(received: &Received) -> Answer {
    match received.uri.path().starts_with("/second") {
        true => Answer::json(
            &json!({"id": "r", "type": "message", "role": "assistant", "content": [{"type": "text", "text": "of second"}],
            "stop_reason": "end_turn", "usage": {"input_tokens": 1_000_000, "output_tokens": 1_000_000}}),
        ),
        false => Answer::json(
            &json!({"id": "r", "object": "chat.completion", "choices": [{"index": 0, "finish_reason": "stop",
            "message": {"role": "assistant", "content": "of another"}}],
            "usage": {"prompt_tokens": 1_000_000, "completion_tokens": 1_000_000}}),
        ),
    }
}

/// Those below `failing` answer with this status, all others well.
fn failing(world: &World, failing: &'static [&'static str], code: u16) {
    world.upstream.otherwise(move |received| {
        let path = received.uri.path();
        match failing.iter().any(|name| path.starts_with(&format!("/{name}/"))) {
            true => status(code),
            false => good(received),
        }
    });
}

/// A call, with its status, its answer, and its records.
async fn call(world: &World, path: &str) -> (StatusCode, Value, Vec<Value>) {
    let body = json!({"model": "small", "messages": [{"role": "user", "content": "hi"}]});
    let (status, headers, body) = world.call(world.request(Method::POST, path, &body)).await;
    (status, json_of(&body), world.records(&call_id(&headers), 2).await)
}

fn asked(world: &World) -> Vec<String> {
    world.upstream.received().iter().map(|received| received.uri.path().to_owned()).collect()
}

#[tokio::test]
async fn who_does_not_answer_is_passed_over_on_one_decision() {
    let world = world(&["first", "second", "third"], "").await;
    failing(&world, &["first"], 503);
    let (status, answer, records) = call(&world, CHAT).await;
    assert_eq!(status, StatusCode::OK);
    // In the API that was called, by the model that answered.
    assert_eq!(answer["choices"][0]["message"]["content"], "of second", "{answer}");
    assert_eq!(answer["model"], "claude");
    assert_eq!(asked(&world), ["/first/v1/chat/completions", "/second/v1/messages"]);
    // One decision names all that may answer, one effect those that were asked.
    assert_eq!(records.len(), 2);
    assert_eq!(records[0]["resource"], "Model/t/first/small");
    assert_eq!(records[0]["alternatives"], json!(["Model/t/second/claude", "Model/t/third/small"]));
    let attempts = records[1]["attempts"].as_array().expect("attempts");
    let tried: Vec<Value> = attempts.iter().map(|one| json!([one["model"], one["status"]])).collect();
    assert_eq!(tried, [json!(["t/first/small", 503]), json!(["t/second/claude", 200])]);
    assert!(attempts.iter().all(|one| one["duration_us"].is_u64()));
    // What it costs is what it costs there.
    assert_eq!(
        (&records[1]["charged_tokens"], &records[1]["charged_spend"]),
        (&json!(2_000_000), &json!(3_000_000))
    );
}

#[tokio::test]
async fn what_another_is_asked_after() {
    for (code, expected) in [(429, 2), (500, 2), (529, 2), (400, 1), (401, 1), (404, 1)] {
        let world = world(&["first", "second", "third"], "").await;
        failing(&world, &["first"], code);
        let (status, _, records) = call(&world, CHAT).await;
        assert_eq!(asked(&world).len(), expected, "{code}");
        assert_eq!(records[1]["attempts"].as_array().map(Vec::len), Some(expected), "{code}");
        assert_eq!(status == StatusCode::OK, expected == 2, "{code}");
    }
    // Of a call that does nothing but answer, also after no answer in time, or a connection that broke; and not where a provider runs something.
    for answer in [Answer::reset, Answer::hang] {
        for (tools, expected) in [(json!([]), 2), (json!([{"type": "code_execution"}]), 1)] {
            let world = world(&["first", "third"], "").await;
            world.upstream.next(answer());
            failing(&world, &[], 503);
            let body =
                json!({"model": "small", "messages": [{"role": "user", "content": "hi"}], "tools": tools});
            let (status, headers, _) = world.call(world.request(Method::POST, CHAT, &body)).await;
            let records = world.records(&call_id(&headers), 2).await;
            assert_eq!(asked(&world).len(), expected, "{:?}", records[1]);
            assert_eq!(status == StatusCode::OK, expected == 2, "{:?}", records[1]);
            let code = records[1]["attempts"][0]["code"].as_str().expect("a code").to_owned();
            assert!(matches!(&*code, "upstream_timeout" | "upstream_interrupted"), "{code}");
        }
    }
}

/// Attack: an answer that begins and breaks off, so that the next provider repeats what the caller has heard.
#[tokio::test]
async fn nobody_else_is_asked_once_an_answer_has_begun() {
    let world = world(&["first", "second", "third"], "").await;
    let (answer, stream) = Answer::stream("text/event-stream");
    world.upstream.next(answer);
    let body = json!({"model": "small", "stream": true, "messages": [{"role": "user", "content": "hi"}]});
    let response = world.send(world.request(Method::POST, CHAT, &body)).await;
    assert_eq!(response.status(), StatusCode::OK);
    drop(stream);
    let id = call_id(response.headers());
    drop(response);
    world.records(&id, 2).await;
    assert_eq!(asked(&world).len(), 1);
}

/// Attack: a failover to a provider that the caller may not call, is asked to be approved for, or of which something would be changed.
#[tokio::test]
async fn who_is_not_permitted_is_never_asked() {
    let forbid =
        r#"forbid (principal, action == Action::"callModel", resource == Model::"t/second/claude");"#;
    let approve = r#"@approval("ops") forbid (principal, action == Action::"callModel", resource == Model::"t/second/claude") unless { context has approval && context.approval.role == "ops" };"#;
    let change = r#"@cap_tokens("10") forbid (principal, action == Action::"callModel", resource == Model::"t/second/claude");"#;
    for (permitted, more) in [
        (&["first", "third"][..], ""),
        (&["first", "second", "third"], forbid),
        (&["first", "second", "third"], approve),
        (&["first", "second", "third"], change),
    ] {
        let world = world(permitted, more).await;
        failing(&world, &["first"], 503);
        let (status, _, records) = call(&world, CHAT).await;
        assert_eq!(status, StatusCode::OK, "{more}");
        assert_eq!(asked(&world), ["/first/v1/chat/completions", "/third/v1/chat/completions"], "{more}");
        assert_eq!(records[0]["alternatives"], json!(["Model/t/third/small"]), "{more}");
    }
    // Where nobody else may answer it is an ordinary call, and its own provider says so.
    let world = world(&["first"], "").await;
    failing(&world, &["first"], 503);
    let (status, _, records) = call(&world, CHAT).await;
    assert_eq!((status, asked(&world).len()), (StatusCode::SERVICE_UNAVAILABLE, 1));
    assert!(records[0].get("alternatives").is_none() && records[1].get("attempts").is_none());
}

/// A failover that never works is told of: of each that is not asked it is said why, to the caller as far as it may know.
#[tokio::test]
async fn why_nobody_else_answers_is_on_record_and_told() {
    let world = world_with(&["first", "second"], "", &json!({"env": "VIDIMUS_NO_SUCH_VARIABLE"})).await;
    let body = json!({"model": "small", "seed": 7, "messages": [{"role": "user", "content": "hi"}]});
    let (status, headers, said) = world.call(world.request(Method::POST, CHAT, &body)).await;
    let said = json_of(&said);
    assert_eq!((status, asked(&world).len()), (StatusCode::SERVICE_UNAVAILABLE, 0), "{said}");
    let records = world.records(&call_id(&headers), 2).await;
    let absent = "no LLMProvider of this name is registered";
    let no_permit = "policies do not let the caller call it (no_permit)";
    assert_eq!(
        records[0]["not_tried"],
        json!([format!("t/third: {no_permit}"), format!("t/absent: {absent}")])
    );
    assert_eq!(records[0]["alternatives"], json!(["Model/t/second/claude"]));
    let reason = said["error"]["vidimus"]["reason"].as_str().expect("a reason");
    let told =
        [r#"t/second (the request: "seed" has no equivalent"#, absent, "one that policies keep from you"];
    assert!(told.iter().all(|words| reason.contains(words)) && !reason.contains("t/third"), "{reason}");
    let detail = records[1]["detail"].as_str().expect("a detail");
    let noted = ["VIDIMUS_NO_SUCH_VARIABLE", "not asked: t/second (the request: 'seed' has no equivalent"];
    assert!(noted.iter().all(|words| detail.contains(words)), "{detail}");
    // Nobody was asked, so it costs nothing.
    assert_eq!(records[1]["charged_tokens"], 0, "{:?}", records[1]);
    // Where somebody answers there is nothing to tell, and who may not is on record all the same.
    let world = self::world(&["first", "second", "third"], "").await;
    failing(&world, &[], 500);
    let (status, _, records) = call(&world, CHAT).await;
    assert_eq!((status, records[1].get("detail")), (StatusCode::OK, None));
    assert_eq!(records[0]["not_tried"], json!([format!("t/absent: {absent}")]));
}

/// Who failed lately, and who is beyond what is spent on further tries, is told of in the record of the end.
#[tokio::test]
async fn who_is_left_alone_is_told_of_where_nobody_answers() {
    async fn noted(world: &World, calls: usize) -> String {
        let mut noted = String::new();
        for _ in 0..calls {
            let (.., records) = call(world, CHAT).await;
            noted.push_str(records[1]["detail"].as_str().unwrap_or_default());
        }
        noted
    }
    let world = world(&["first", "second", "third"], "").await;
    failing(&world, &["first", "second", "third"], 429);
    let told = noted(&world, 10).await;
    assert!(told.contains("not asked: t/second (it failed lately, and is left alone for a time)"), "{told}");
    // Who answers every other time is never left alone, and each further try is taken from what is left for them.
    let world = self::world(&["first", "second"], "").await;
    let calls = AtomicUsize::new(0);
    world.upstream.otherwise(move |received| {
        let is_first = received.uri.path().starts_with("/first/");
        match is_first && calls.fetch_add(1, Ordering::Relaxed).is_multiple_of(2) {
            true => status(503),
            false => good(received),
        }
    });
    let told = noted(&world, 60).await;
    assert!(told.contains("not asked: t/second (the budget for further tries is used up)"), "{told}");
}

/// Who failed lately is left alone where others can be asked: what only that one can be asked is asked of it, and answered once it is up again.
#[tokio::test]
async fn who_is_left_alone_is_asked_where_nobody_else_can_be() {
    let world = world(&["first", "second"], "").await;
    failing(&world, &["first"], 503);
    for _ in 0..6 {
        assert_eq!(call(&world, CHAT).await.0, StatusCode::OK);
    }
    assert_eq!(asked(&world).iter().filter(|path| path.starts_with("/first/")).count(), 5, "set aside");
    let body = json!({"model": "small", "seed": 7, "messages": [{"role": "user", "content": "hi"}]});
    for (code, expected) in [(503, StatusCode::SERVICE_UNAVAILABLE), (200, StatusCode::OK)] {
        failing(&world, if code == 503 { &["first"] } else { &[] }, code);
        let (status, headers, said) = world.call(world.request(Method::POST, CHAT, &body)).await;
        assert_eq!(status, expected, "{}", json_of(&said));
        let records = world.records(&call_id(&headers), 2).await;
        let attempts = records[1]["attempts"].as_array().expect("attempts");
        assert_eq!((attempts.len(), &attempts[0]["status"]), (1, &json!(code)), "{attempts:?}");
        // It was asked, so it is not told that it was left alone.
        let detail = records[1]["detail"].as_str().unwrap_or_default();
        assert!(detail.contains("t/second") && !detail.contains("t/first"), "{detail}");
    }
    // What others can be asked leaves it alone all the same.
    let before = asked(&world).len();
    assert_eq!(call(&world, CHAT).await.0, StatusCode::OK);
    assert_eq!(asked(&world)[before..], ["/second/v1/messages"]);
}

/// A key that is refused is for who operates to mend; the caller has its answer from another meanwhile.
#[tokio::test]
async fn after_a_refused_key_another_is_asked() {
    let world = world_with(&["first", "second", "third"], "", &json!({"env": "CARGO_PKG_NAME"})).await;
    let logged = Logged::begin();
    failing(&world, &["first"], 401);
    let (status, answer, records) = call(&world, CHAT).await;
    assert_eq!(
        (status, &answer["choices"][0]["message"]["content"]),
        (StatusCode::OK, &json!("of second")),
        "{answer}"
    );
    let end = &records[1];
    assert_eq!((&end["result"], &end["status"]), (&json!("ok"), &json!(200)));
    let tried = &end["attempts"][0];
    assert_eq!((&tried["status"], &tried["code"]), (&json!(401), &json!("credential_refused")));
    let note = "401 to the gateway's key: look at spec.credential of LLMProvider t/first";
    assert_eq!(end["detail"], note);
    assert_eq!(logged.with("refuses the key").len(), 1);
    // Where nobody else can be asked it is told as ever, with why.
    let body = json!({"model": "small", "seed": 7, "messages": [{"role": "user", "content": "hi"}]});
    let world = world_with(&["first", "second"], "", &json!({"env": "CARGO_PKG_NAME"})).await;
    failing(&world, &["first"], 401);
    let (status, headers, said) = world.call(world.request(Method::POST, CHAT, &body)).await;
    let said = json_of(&said);
    assert_eq!(status, StatusCode::BAD_GATEWAY, "{said}");
    assert_eq!(headers["vidimus-code"], "credential_refused");
    let reason = said["error"]["vidimus"]["reason"].as_str().expect("a reason");
    assert!(reason.contains("your own token is good; not asked in its place: t/second"), "{reason}");
    // A 403 may be of what is asked, and passes.
    failing(&world, &["first"], 403);
    let before = asked(&world).len();
    assert_eq!(call(&world, CHAT).await.0, StatusCode::FORBIDDEN);
    assert_eq!(asked(&world).len(), before + 1);
}

/// Attack: providers that fail over to each other. There is one step: `second` names `first`, and that is nothing to a call of `first`.
#[tokio::test]
async fn failover_is_one_step() {
    let world = world(&["first", "second", "third"], "").await;
    failing(&world, &["first", "second", "third"], 500);
    let (status, _, records) = call(&world, CHAT).await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    let expected = ["/first/v1/chat/completions", "/second/v1/messages", "/third/v1/chat/completions"];
    assert_eq!(asked(&world), expected);
    assert_eq!(records[1]["attempts"].as_array().map(Vec::len), Some(3));
    assert_eq!(records[1]["status"], 500);
}

/// Attack: retries upon retries while everything fails.
#[tokio::test]
async fn tries_are_bounded_by_a_budget() {
    let world = world(&["first", "second", "third"], "").await;
    // 429 without a time: nobody is set aside before five of them in a row, so a budget it has to be.
    failing(&world, &["first", "second", "third"], 429);
    for _ in 0..40 {
        call(&world, CHAT).await;
    }
    // Ten tries, and one for each five calls; and who failed five times in a row is not asked.
    let tried = asked(&world).len();
    assert!((40..=40 + 10 + 8).contains(&tried), "{tried}");
}

#[tokio::test]
async fn who_says_when_to_come_again_is_not_asked_before() {
    let world = world(&["first", "second", "third"], "").await;
    world.upstream.otherwise(|received| match received.uri.path().starts_with("/first/") {
        true => status(429).with_header("retry-after", "20"),
        false => good(received),
    });
    call(&world, CHAT).await;
    call(&world, CHAT).await;
    world.clock.advance(Duration::from_secs(21));
    call(&world, CHAT).await;
    let firsts = asked(&world).iter().filter(|path| path.starts_with("/first/")).count();
    assert_eq!((firsts, asked(&world).len()), (2, 5));
}

#[tokio::test]
async fn calls_are_divided_by_weight() {
    let world = world(&["shared", "third"], "").await;
    failing(&world, &[], 500);
    let path = "/llm/t/shared/v1/chat/completions";
    for _ in 0..6 {
        let (status, _, records) = call(&world, path).await;
        assert_eq!(status, StatusCode::OK);
        // The cost is that of who answered: third's answers cost more.
        let by = records[1]["attempts"][0]["model"].as_str().expect("a model").to_owned();
        let spend = if by.starts_with("t/third") { 4_000_000 } else { 3_000_000 };
        assert_eq!(records[1]["charged_spend"], spend, "{by}");
    }
    let thirds = asked(&world).iter().filter(|path| path.starts_with("/third/")).count();
    assert_eq!(thirds, 3);
}

/// Attack: an answer goes on by a provider that the caller may not call any more.
#[tokio::test]
async fn an_answer_ends_with_the_permit_for_whoever_gives_it() {
    let world = world(&["first", "second", "third"], "").await;
    world.upstream.next(status(503));
    let (answer, stream) = Answer::stream("text/event-stream");
    world.upstream.next(answer);
    let body = json!({"model": "small", "stream": true, "messages": [{"role": "user", "content": "hi"}]});
    let response = world.send(world.request(Method::POST, CHAT, &body)).await;
    assert_eq!(response.status(), StatusCode::OK);
    let id = call_id(response.headers());
    let other = self::world(&["first", "third"], "").await;
    world.gate.take_into_use(other.gate.snapshot());
    let records = world.records(&id, 2).await;
    assert_eq!((&records[1]["result"], &records[1]["code"]), (&json!("failed"), &json!("revoked")));
    drop((stream, response));
}

/// Attack: a header that the record of another provider lets pass, and that of the one called does not, so that no guard has read it.
#[tokio::test]
async fn a_header_goes_to_another_provider_where_it_goes_to_the_one_called() {
    let world = world(&["first", "third"], "").await;
    failing(&world, &["first"], 503);
    let body = json!({"model": "small", "messages": [{"role": "user", "content": "hi"}]});
    for (called, expected) in [("first", None), ("third", Some("a secret"))] {
        let path = format!("/llm/t/{called}/v1/chat/completions");
        let mut request = world.request(Method::POST, &path, &body);
        request.headers_mut().insert("x-note", HeaderValue::from_static("a secret"));
        let (status, ..) = world.call(request).await;
        assert_eq!(status, StatusCode::OK, "{called}");
        let received = world.upstream.received();
        let last = received.last().expect("a request");
        assert_eq!(last.uri.path(), "/third/v1/chat/completions");
        assert_eq!(last.headers.get("x-note").and_then(|note| note.to_str().ok()), expected, "{called}");
    }
}

/// Attack: a provider that is too slow for what is asked, or breaks off, before one that refuses, so that nothing is charged.
#[tokio::test]
async fn who_did_not_answer_before_one_that_refused_is_charged_for() {
    for (first, is_charged) in [(Answer::reset(), true), (status(503), false)] {
        let world = world(&["first", "third"], "").await;
        world.upstream.next(first);
        failing(&world, &["third"], 429);
        let messages = json!([{"role": "user", "content": "hi"}]);
        let body = json!({"model": "small", "max_tokens": 500, "messages": messages});
        let (status, headers, _) = world.call(world.request(Method::POST, CHAT, &body)).await;
        let records = world.records(&call_id(&headers), 2).await;
        assert_eq!((status, asked(&world).len()), (StatusCode::TOO_MANY_REQUESTS, 2), "{:?}", records[1]);
        let charged = records[1]["charged_tokens"].as_u64().expect("a number");
        assert_eq!((charged >= 500, charged == 0), (is_charged, !is_charged), "{:?}", records[1]);
    }
}

/// What is translated for no other API goes to another provider of its own, and to no other.
#[tokio::test]
async fn what_is_not_translated_is_answered_by_providers_of_its_own_api() {
    for (path, more) in [
        ("embeddings", json!({"input": "hi"})),
        ("responses", json!({"input": "hi"})),
        ("completions", json!({"prompt": "hi"})),
    ] {
        let world = world(&["first", "second", "third"], "").await;
        world.upstream.otherwise(|received| match received.uri.path().starts_with("/first/") {
            true => status(503),
            false => Answer::json(&json!({"object": "list", "data": [], "output": [], "choices": [],
                "usage": {"prompt_tokens": 3, "total_tokens": 3, "input_tokens": 3, "output_tokens": 0}})),
        });
        let mut body = json!({"model": "small"});
        body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        let called = format!("/llm/t/first/v1/{path}");
        let (status, headers, _) = world.call(world.request(Method::POST, &called, &body)).await;
        assert_eq!(status, StatusCode::OK, "{path}");
        assert_eq!(asked(&world), [format!("/first/v1/{path}"), format!("/third/v1/{path}")]);
        assert_eq!(world.upstream.received().last().expect("a request").json(), body);
        let records = world.records(&call_id(&headers), 2).await;
        assert_eq!(records[0]["alternatives"], json!(["Model/t/second/claude", "Model/t/third/small"]));
        let detail = records[1]["detail"].as_str().unwrap_or_default();
        assert!(detail.contains("no equivalent"), "{:?}", records[1]);
    }
}

/// Attack: a cap that holds where the call was meant to go, by a name that who answers in its place passes over.
#[tokio::test]
async fn a_cap_holds_wherever_it_is_answered() {
    let cap = r#"@cap_tokens("100") forbid (principal, action == Action::"callModel", resource);"#;
    let world = world(&["first", "third"], cap).await;
    failing(&world, &["first"], 503);
    let (status, ..) = call(&world, CHAT).await;
    assert_eq!((status, &*asked(&world)[1]), (StatusCode::OK, "/third/v1/chat/completions"));
    let received: Vec<Value> = world.upstream.received().iter().map(Received::json).collect();
    let limits = |body: &Value| (body["max_completion_tokens"].clone(), body["max_tokens"].clone());
    assert_eq!(limits(&received[0]), (json!(100), Value::Null));
    assert_eq!(limits(&received[1]), (Value::Null, json!(100)));
}

/// Who did not ask for usage gets none, whoever answers.
#[tokio::test]
async fn usage_that_nobody_asked_for_stays_here() {
    let events = [
        json!({"type": "message_start", "message": {"id": "r", "usage": {"input_tokens": 5, "output_tokens": 1}}}),
        json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": "yes"}}),
        json!({"type": "content_block_stop", "index": 0}),
        json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 7}}),
        json!({"type": "message_stop"}),
    ];
    let events: String = events.iter().map(|event| format!("data: {event}\n\n")).collect();
    let world = world(&["plain", "second"], "").await;
    for (asks, has_usage) in [(json!({"include_usage": true}), true), (Value::Null, false)] {
        world.upstream.next(status(503));
        world.upstream.next(Answer::whole("text/event-stream", events.clone()));
        let body = json!({"model": "small", "messages": [{"role": "user", "content": "hi"}], "stream": true, "stream_options": asks});
        let path = "/llm/t/plain/v1/chat/completions";
        let (status, headers, body) = world.call(world.request(Method::POST, path, &body)).await;
        let text = String::from_utf8(body.to_vec()).expect("UTF-8");
        assert_eq!((status, text.contains("\"content\":\"yes\"")), (StatusCode::OK, true), "{text}");
        assert_eq!(text.contains("prompt_tokens"), has_usage, "{text}");
        let records = world.records(&call_id(&headers), 2).await;
        assert_eq!(records[1]["tokens_output"], 7);
    }
}
