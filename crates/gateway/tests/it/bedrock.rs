//! Bedrock's Converse: its paths, its frames, its errors, and the hop that is signed.

use aws_smithy_eventstream::frame::{read_message_from, write_message_to};
use aws_smithy_types::event_stream::{Header, HeaderValue, Message};
use bytes::{Buf as _, Bytes};
use http::header::AUTHORIZATION;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use vidimus_testkit::upstream::Answer;

use super::world::{World, call_id, json_of, objects, snapshot};

const FRAMES: &str = "application/vnd.amazon.eventstream";
const MODEL: &str = "vendor.small-v1:0";
const CONVERSE: &str = "/llm/t/bedrock/model/vendor.small-v1%3A0/converse";
const STREAM: &str = "/llm/t/bedrock/model/vendor.small-v1%3A0/converse-stream";

/// An environment variable with a text that has a colon in it, which cargo sets: it stands for `ACCESS_KEY_ID:SECRET_ACCESS_KEY`.
const PAIR: &str = "CARGO_PKG_REPOSITORY";
/// One with a text that has none: it stands for an API key.
const KEY: &str = "CARGO_PKG_NAME";

async fn world(credential: Value, cedar: &str) -> World {
    let world = World::new().await;
    let mut all = objects(&world.upstream);
    let object = |kind: &str, name: &str, spec: Value| json!({"apiVersion": "vidimus.dev/v1alpha1", "kind": kind, "metadata": {"namespace": "t", "name": name}, "spec": spec});
    let spec = json!({"owner": "a@b.example", "type": "bedrock", "region": "eu-central-1", "credential": credential,
        "endpoint": {"url": world.upstream.url("/at"), "timeout": "3s"},
        "models": [{"name": MODEL}, {"name": "vendor.large"}], "aliases": {"fast": MODEL}});
    all.push(object("LLMProvider", "bedrock", spec));
    let permit = format!(
        r#"permit (principal == Agent::"t/caller", action == Action::"callModel", resource == Model::"t/bedrock/{MODEL}");"#
    );
    let cedar = format!("{permit} {cedar}");
    all.push(object("Policy", "bedrock", json!({"description": "bedrock", "cedar": cedar})));
    world.gate.take_into_use(snapshot(&all));
    world
}

fn question() -> Value {
    json!({"messages": [{"role": "user", "content": [{"text": "hi"}]}]})
}

fn reply() -> Value {
    json!({"output": {"message": {"role": "assistant", "content": [{"text": "yes"}]}}, "stopReason": "end_turn", "metrics": {"latencyMs": 1},
        "usage": {"inputTokens": 5, "outputTokens": 7, "totalTokens": 16, "cacheReadInputTokens": 3, "cacheWriteInputTokens": 1}})
}

fn frame(kind: &'static str, name: &str, payload: &Value) -> Vec<u8> {
    let named = if kind == "event" { ":event-type" } else { ":exception-type" };
    let header =
        |name: &'static str, value: &str| Header::new(name, HeaderValue::String(value.to_owned().into()));
    let message = Message::new(payload.to_string())
        .add_header(header(named, name))
        .add_header(header(":content-type", "application/json"))
        .add_header(header(":message-type", kind));
    let mut frame = Vec::new();
    write_message_to(&message, &mut frame).expect("a frame");
    frame
}

/// What a stream of these texts is.
fn frames(texts: &[&str]) -> Vec<u8> {
    let event = |name: &str, payload: Value| frame("event", name, &payload);
    let mut all = event("messageStart", json!({"role": "assistant"}));
    for text in texts {
        all.extend(event(
            "contentBlockDelta",
            json!({"contentBlockIndex": 0, "delta": {"text": text}, "p": "abc"}),
        ));
    }
    all.extend(event("contentBlockStop", json!({"contentBlockIndex": 0})));
    all.extend(event("messageStop", json!({"stopReason": "end_turn"})));
    all.extend(event("metadata", json!({"usage": {"inputTokens": 5, "outputTokens": 7, "totalTokens": 12}})));
    all
}

/// The names and payloads of frames.
fn said(frames: &Bytes) -> Vec<(String, Value)> {
    let (mut rest, mut all) = (frames.clone(), Vec::new());
    while rest.has_remaining() {
        let length = u32::from_be_bytes(rest[..4].try_into().expect("a length")) as usize;
        let message = read_message_from(rest.split_to(length)).expect("a frame");
        let header = |name: &str| {
            let header = message.headers().iter().find(|header| header.name().as_str() == name)?;
            Some(header.value().as_string().expect("a text").as_str().to_owned())
        };
        let name = header(":event-type").or_else(|| header(":exception-type")).expect("a name");
        all.push((name, json_of(message.payload())));
    }
    all
}

#[tokio::test]
async fn a_call_is_decided_signed_and_counted() {
    for (credential, begins) in [
        (json!({"env": PAIR}), "AWS4-HMAC-SHA256 Credential=https/"),
        (json!({"env": KEY}), "Bearer vidimus-gateway"),
    ] {
        let world = world(credential, "").await;
        for path in [CONVERSE, "/llm/t/bedrock/model/fast/converse"] {
            world.upstream.next(Answer::json(&reply()));
            let asked = world.request(Method::POST, path, &question());
            let (status, headers, body) = world.call(asked).await;
            assert_eq!((status, json_of(&body)), (StatusCode::OK, reply()));
            let records = world.records(&call_id(&headers), 2).await;
            assert_eq!(records[0]["resource"], format!("Model/t/bedrock/{MODEL}"));
            let of = |name: &str| records[1][name].clone();
            assert_eq!(
                (of("result"), of("tokens_input"), of("tokens_output")),
                (json!("ok"), json!(9), json!(7))
            );
            let received = world.upstream.received();
            let received = received.last().expect("a request");
            assert_eq!(received.uri.path(), "/at/model/vendor.small-v1%3A0/converse");
            assert_eq!(received.json(), question());
            let sent = received.header("authorization").expect("a credential");
            assert!(sent.starts_with(begins), "{sent}");
            assert_eq!(sent.contains("/eu-central-1/bedrock/aws4_request"), begins.starts_with("AWS4"));
            assert!(!format!("{received:?}").contains("eyJ"), "the caller's token stays here");
        }
    }
}

#[tokio::test]
async fn a_stream_passes_frame_by_frame() {
    let world = world(json!({"none": {}}), "").await;
    let whole = frames(&["I ", "look."]);
    world.upstream.next(Answer::whole(FRAMES, whole.clone()));
    let (status, headers, body) = world.call(world.request(Method::POST, STREAM, &question())).await;
    assert_eq!((status, &headers["content-type"]), (StatusCode::OK, &FRAMES.parse().expect("a value")));
    assert_eq!(body, whole);
    let records = world.records(&call_id(&headers), 2).await;
    let of = |name: &str| records[1][name].clone();
    assert_eq!((of("result"), of("tokens_input"), of("tokens_output")), (json!("ok"), json!(5), json!(7)));

    // One that breaks off before its model stopped is no whole answer.
    let begun = frame("event", "messageStart", &json!({"role": "assistant"}));
    world.upstream.next(Answer::whole(FRAMES, begun.clone()));
    let (_, headers, body) = world.call(world.request(Method::POST, STREAM, &question())).await;
    assert_eq!(body, begun);
    assert_eq!(world.records(&call_id(&headers), 2).await[1]["result"], "unknown");

    // An exception passes as one.
    let thrown =
        [begun, frame("exception", "throttlingException", &json!({"message": "slow down"}))].concat();
    world.upstream.next(Answer::whole(FRAMES, thrown.clone()));
    let (_, headers, body) = world.call(world.request(Method::POST, STREAM, &question())).await;
    assert_eq!(body, thrown);
    assert_eq!(world.records(&call_id(&headers), 2).await[1]["result"], "error");
}

/// Attacks: a bit that is another on the way, and what is no frame. The caller is told in a frame of its own.
#[tokio::test]
async fn what_is_no_frame_does_not_pass() {
    let world = world(json!({"none": {}}), "").await;
    let good = frames(&["I ", "look."]);
    for at in [1, 9, good.len() / 2, good.len() - 1] {
        let mut bad = good.clone();
        bad[at] ^= 1;
        world.upstream.next(Answer::whole(FRAMES, bad));
        let response = world.send(world.request(Method::POST, STREAM, &question())).await;
        let records = world.records(&call_id(response.headers()), 2).await;
        assert_eq!(records[1]["result"], "failed", "{at}: {:?}", records[1]);
    }
    world.upstream.next(Answer::whole(FRAMES, "data: {}\n\n"));
    let (_, _, body) = world.call(world.request(Method::POST, STREAM, &question())).await;
    let said = said(&body);
    let (name, payload) = said.last().expect("a frame");
    assert_eq!(
        (&**name, &payload["vidimus"]["code"]),
        ("modelStreamErrorException", &json!("upstream_invalid"))
    );
}

/// Attack: a card's number over several frames.
#[tokio::test]
async fn guards_see_what_is_said_in_frames() {
    const HALVES: [&str; 2] = ["my card is 4111 1111 1", "111 1111, thanks."];
    for (also, says) in
        [("", None), (r#"@on_finding("redact")"#, Some("my card is [redacted:card], thanks."))]
    {
        let cedar = format!(
            r#"@guard_answer("personal_data") {also} forbid (principal, action == Action::"callModel", resource);"#
        );
        let world = world(json!({"none": {}}), &cedar).await;
        world.upstream.next(Answer::whole(FRAMES, frames(&HALVES)));
        let (_, _, body) = world.call(world.request(Method::POST, STREAM, &question())).await;
        let said = said(&body);
        let text: String = said.iter().filter_map(|(_, said)| said["delta"]["text"].as_str()).collect();
        assert!(!text.contains("4111 1111 1111"), "{text}");
        match says {
            Some(says) => assert!(text.contains(says), "{said:?}"),
            None => {
                let (name, payload) = said.last().expect("a frame");
                let told = (&**name, &payload["vidimus"]["code"]);
                assert_eq!(told, ("modelStreamErrorException", &json!("change_impossible")), "{said:?}");
            }
        }
        // What nothing is found in arrives as it was.
        let whole = frames(&["hel", "lo"]);
        world.upstream.next(Answer::whole(FRAMES, whole.clone()));
        let (_, _, body) = world.call(world.request(Method::POST, STREAM, &question())).await;
        assert_eq!(self::said(&body), self::said(&whole.into()));
        world.upstream.next(Answer::json(&json!({"output": {"message": {"content": [{"text": HALVES.concat()}]}}, "stopReason": "end_turn"})));
        let (_, _, body) = world.call(world.request(Method::POST, CONVERSE, &question())).await;
        assert!(!String::from_utf8_lossy(&body).contains("4111 1111 1111"), "{body:?}");
    }
}

/// An error of Bedrock's is the caller's as it is; what is none of Bedrock's is not.
#[tokio::test]
async fn errors_come_as_bedrock_says_them() {
    let world = world(json!({"none": {}}), "").await;
    let error = json!({"message": "slow down"});
    let limited = Answer::json(&error)
        .with_status(StatusCode::TOO_MANY_REQUESTS)
        .with_header("x-amzn-errortype", "ThrottlingException:http://x/");
    world.upstream.next(limited);
    let (status, headers, body) = world.call(world.request(Method::POST, CONVERSE, &question())).await;
    assert_eq!((status, json_of(&body)), (StatusCode::TOO_MANY_REQUESTS, error));
    assert_eq!(headers["x-amzn-errortype"], "ThrottlingException:http://x/");
    let records = world.records(&call_id(&headers), 2).await;
    assert_eq!((&records[1]["result"], &records[1]["status"]), (&json!("error"), &json!(429)));

    let page = Answer::whole("text/html", "<html>").with_status(StatusCode::BAD_GATEWAY);
    world.upstream.next(page);
    let (status, headers, body) = world.call(world.request(Method::POST, STREAM, &question())).await;
    assert_eq!(
        (status, &headers["x-amzn-errortype"]),
        (StatusCode::BAD_GATEWAY, &"ModelErrorException".parse().expect("a value"))
    );
    assert_eq!(json_of(&body)["vidimus"]["code"], "upstream_invalid");
}

/// Attack: what was signed, with the session token in it, in what Bedrock says of a signature. It says 403 of a key, as of a model.
#[tokio::test]
async fn a_key_that_bedrock_refuses_is_not_taken_for_the_callers() {
    const SAID: &str =
        "The Canonical String for this request should have been 'POST x-amz-security-token:session'";
    let world = world(json!({"env": PAIR}), "").await;
    let error = |kind: &str| {
        Answer::json(&json!({"message": SAID}))
            .with_status(StatusCode::FORBIDDEN)
            .with_header("x-amzn-errortype", kind)
    };
    let chat = json!({"model": "fast", "messages": [{"role": "user", "content": "hi"}]});
    for (path, body) in
        [(CONVERSE, question()), (STREAM, question()), ("/llm/t/bedrock/v1/chat/completions", chat)]
    {
        world.upstream.next(error("InvalidSignatureException:http://internal.amazon.com/coral/"));
        let (status, headers, said) = world.call(world.request(Method::POST, path, &body)).await;
        let expected = "credential_refused".parse().expect("text");
        assert_eq!((status, &headers["vidimus-code"]), (StatusCode::BAD_GATEWAY, &expected), "{path}");
        assert!(!String::from_utf8_lossy(&said).contains("session"), "{said:?}");
        let records = world.records(&call_id(&headers), 2).await;
        let end = &records[1];
        assert_eq!((&end["code"], &end["status"]), (&json!("credential_refused"), &json!(403)));
    }
    // What is of the model, or of the account, it says itself.
    world.upstream.next(error("AccessDeniedException"));
    let (status, headers, _) = world.call(world.request(Method::POST, CONVERSE, &question())).await;
    assert_eq!((status, headers.get("vidimus-code")), (StatusCode::FORBIDDEN, None));
}

/// Attacks: another model, what the gateway's account alone may read, a limit by a second name, a signature in place of a credential.
#[tokio::test]
async fn what_is_not_the_callers_to_ask_is_not_sent() {
    let world = world(json!({"none": {}}), "").await;
    let of_s3 = json!({"messages": [{"role": "user", "content": [{"document": {"name": "d", "format": "pdf", "source": {"s3Location": {"uri": "s3://ours/k"}}}}]}]});
    for (path, body, code) in [
        ("/llm/t/bedrock/model/vendor.large/converse", question(), "no_permit"),
        ("/llm/t/bedrock/model/vendor.other/converse", question(), "resource_unknown"),
        ("/llm/t/bedrock/model/vendor.small-v1%253A0/converse", question(), "route_unknown"),
        ("/llm/t/bedrock/model/vendor.small-v1%3A0/invoke", question(), "route_unknown"),
        (CONVERSE, of_s3, "member_undecided"),
        (CONVERSE, json!({"additionalModelRequestFields": {"max_tokens": 900_000}}), "member_undecided"),
        (&format!("{CONVERSE}?X-Amz-Signature=0"), question(), "credential_ambiguous"),
    ] {
        let (_, headers, answer) = world.call(world.request(Method::POST, path, &body)).await;
        assert_eq!(headers["vidimus-code"], code, "{path} {answer:?}");
    }
    let mut signed = world.request(Method::POST, CONVERSE, &question());
    let signature = "AWS4-HMAC-SHA256 Credential=AKID/20261128/eu-central-1/bedrock/aws4_request, SignedHeaders=host, Signature=0";
    signed.headers_mut().insert(AUTHORIZATION, signature.parse().expect("a value"));
    let (status, headers, body) = world.call(signed).await;
    assert_eq!(
        (status, &headers["vidimus-code"]),
        (StatusCode::UNAUTHORIZED, &"token_malformed".parse().expect("a value"))
    );
    assert!(json_of(&body)["message"].as_str().expect("a text").contains("AWS_BEARER_TOKEN_BEDROCK"));
    assert_eq!(world.upstream.received().len(), 0);
}

#[tokio::test]
async fn what_policies_demand_is_made_of_its_own_members() {
    let world = world(
        json!({"none": {}}),
        r#"@cap_tokens("10") forbid (principal, action == Action::"callModel", resource);"#,
    )
    .await;
    world.upstream.next(Answer::json(&reply()));
    let (status, ..) = world.call(world.request(Method::POST, CONVERSE, &question())).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(
        world.upstream.received().last().expect("a request").json()["inferenceConfig"],
        json!({"maxTokens": 10})
    );
}

/// Clients of the other APIs are answered by it, whole and in streams.
#[tokio::test]
async fn clients_of_other_apis_are_answered() {
    let world = world(json!({"env": PAIR}), "").await;
    let chat = json!({"model": "fast", "messages": [{"role": "user", "content": "hi"}]});
    let path = "/llm/t/bedrock/v1/chat/completions";
    world.upstream.next(Answer::json(&reply()));
    let (status, headers, body) = world.call(world.request(Method::POST, path, &chat)).await;
    assert_eq!(
        (status, &json_of(&body)["choices"][0]["message"]["content"]),
        (StatusCode::OK, &json!("yes"))
    );
    let records = world.records(&call_id(&headers), 2).await;
    assert_eq!((&records[1]["tokens_input"], &records[1]["tokens_output"]), (&json!(9), &json!(7)));
    let received = world.upstream.received();
    let sent = received.last().expect("a request");
    assert_eq!((sent.uri.path(), sent.json()), ("/at/model/vendor.small-v1%3A0/converse", question()));
    assert!(sent.header("authorization").is_some_and(|sent| sent.starts_with("AWS4-HMAC-SHA256")));

    let mut streamed = chat.clone();
    streamed["stream"] = json!(true);
    world.upstream.next(Answer::whole(FRAMES, frames(&["ye", "s"])));
    let (status, headers, body) = world.call(world.request(Method::POST, path, &streamed)).await;
    let text = String::from_utf8(body.to_vec()).expect("UTF-8");
    assert_eq!(
        (status, &headers["content-type"]),
        (StatusCode::OK, &"text/event-stream".parse().expect("a value"))
    );
    assert!(text.contains(r#""content":"ye""#) && text.ends_with("data: [DONE]\n\n"), "{text}");
    let records = world.records(&call_id(&headers), 2).await;
    assert_eq!((&records[1]["tokens_input"], &records[1]["tokens_output"]), (&json!(5), &json!(7)));
    let received = world.upstream.received();
    let sent = received.last().expect("a request");
    assert_eq!(sent.uri.path(), "/at/model/vendor.small-v1%3A0/converse-stream");
    assert_eq!(sent.header("accept"), Some(FRAMES));

    let claude = json!({"model": "fast", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]});
    let error = Answer::json(&json!({"message": "no"})).with_status(StatusCode::FORBIDDEN);
    world.upstream.next(error);
    let asked = world.request(Method::POST, "/llm/t/bedrock/v1/messages", &claude);
    let (status, _, body) = world.call(asked).await;
    let expected = json!({"type": "error", "error": {"type": "permission_error", "message": "no"}});
    assert_eq!((status, json_of(&body)), (StatusCode::FORBIDDEN, expected));
}
