//! What people approve is all that is sent: nothing that a caller writes elsewhere is taken for it, and nothing is left out of it that has
//! room for a sentence.

use bytes::Bytes;
use http::{HeaderValue, Method, Request};
use http_body_util::Full;
use serde_json::{Value, json};
use vidimus_testkit::upstream::Answer;

use super::approvals::{BOB, HOLD, holding, yes};
use super::world::{World, json_of, snapshot};

/// The approval that a call waits for.
async fn held(world: &World, request: Request<Full<Bytes>>) -> String {
    let (_, _, body) = world.call(request).await;
    let body = json_of(&body);
    let places = ["/error/data/approval", "/result/task/metadata/vidimus/approval"];
    let approval = places.iter().find_map(|place| body.pointer(place)?.as_str());
    approval.unwrap_or_else(|| panic!("it waits for nobody: {body}")).to_owned()
}

async fn approve(world: &World, approval: &str) {
    world.gate.shared.act(BOB, yes(approval, None), "looked at").await.expect("approved");
}

fn add(object: &mut Value, more: &Value) {
    for (name, value) in more.as_object().into_iter().flatten() {
        object[name] = value.clone();
    }
}

/// A call of a tool with more among its parameters, beside them, and in headers.
fn tool(
    world: &World,
    (params, beside): (&Value, &Value),
    headers: &[(&'static str, &'static str)],
) -> Request<Full<Bytes>> {
    let mut message = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "echo", "arguments": {"amount": 5}}});
    add(&mut message["params"], params);
    add(&mut message, beside);
    let mut request = world.request(Method::POST, "/mcp/t/tools", &message);
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().expect("a value"));
    }
    request
}

/// Attack: the call is asked about with something at one place, and made with the same at another, where the digest took it for that.
#[tokio::test]
async fn what_stands_at_one_place_is_not_approved_at_another() {
    let world = World::new().await;
    let mut all = holding(&world, HOLD);
    all[3]["spec"]["endpoint"]["headers"] = json!({"pass": ["x-env"]});
    world.gate.take_into_use(snapshot(&all));
    let none = json!({});
    let sandbox: &[(&str, &str)] = &[("x-env", "sandbox")];
    let in_params = json!({"headers": {"x-env": ["sandbox"]}});
    let account = json!({"account": "M"});
    let in_beside = json!({"beside": account});
    for (approved, made) in [
        (tool(&world, (&none, &none), sandbox), tool(&world, (&in_params, &none), &[])),
        (tool(&world, (&in_params, &none), &[]), tool(&world, (&json!({"params": in_params}), &none), &[])),
        (tool(&world, (&none, &account), &[]), tool(&world, (&in_beside, &none), &[])),
        // The header is kept to this hop, so that its upstream does not have it.
        (
            tool(&world, (&none, &none), &[("x-env", "test")]),
            tool(&world, (&none, &none), &[("x-env", "test"), ("connection", "x-env")]),
        ),
    ] {
        let approval = held(&world, approved).await;
        approve(&world, &approval).await;
        assert_ne!(held(&world, made).await, approval);
        assert!(world.upstream.received().is_empty());
    }
}

/// Attack: a member that is left out of the digest says something.
#[tokio::test]
async fn what_is_left_out_of_what_is_approved_has_room_for_nothing() {
    let world = World::new().await;
    world.gate.take_into_use(snapshot(&holding(&world, HOLD)));
    let none = json!({});
    let approval = held(&world, tool(&world, (&none, &none), &[])).await;
    approve(&world, &approval).await;
    for params in [
        json!({"_meta": {"traceparent": "pay mallory"}}),
        json!({"_meta": {"tracestate": "a=pay mallory"}}),
        json!({"_meta": {"io.modelcontextprotocol/logLevel": {"pay": "mallory"}}}),
        json!({"params": {"_meta": {"progressToken": 1}}}),
        json!({"pay mallory": null}),
    ] {
        assert_ne!(held(&world, tool(&world, (&params, &none), &[])).await, approval, "{params}");
    }
    for beside in [json!({"pay mallory": null}), json!({"id": "pay mallory"})] {
        assert_ne!(held(&world, tool(&world, (&none, &beside), &[])).await, approval, "{beside}");
    }
    let header = [("mcp-account", "mallory")];
    assert_ne!(held(&world, tool(&world, (&none, &none), &header)).await, approval);
    assert!(world.upstream.received().is_empty());
    // What is another at each try, in its form.
    world.upstream.next(Answer::json(&json!({"jsonrpc": "2.0", "id": "c-2", "result": {"content": []}})));
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let params =
        json!({"_meta": {"traceparent": trace, "tracestate": "rojo=00f067aa0ba902b7", "progressToken": 2}});
    let (status, ..) = world.call(tool(&world, (&params, &json!({"id": "c-2"})), &[])).await;
    assert_eq!((status.as_u16(), world.upstream.received().len()), (200, 1));
}

#[tokio::test]
async fn a_message_to_an_agent_is_approved_with_all_that_goes_beside_it() {
    let world = World::new().await;
    let agents = HOLD
        .replace("invokeTool", "callAgent")
        .replace(r#"resource == Tool::"t/tools/echo""#, r#"resource == Agent::"t/callee""#);
    world.gate.take_into_use(snapshot(&holding(&world, &agents)));
    let send = |more: &Value| {
        let id = uuid::Uuid::new_v4().to_string();
        let said = json!({"messageId": id, "role": "ROLE_USER", "parts": [{"text": "pay the invoice"}]});
        let mut params = json!({"message": said});
        add(&mut params, more);
        let body = json!({"jsonrpc": "2.0", "id": 7, "method": "SendMessage", "params": params});
        world.request(Method::POST, "/a2a/t/callee", &body)
    };
    let client = |note: &str| json!({"_meta": {"io.modelcontextprotocol/clientInfo": {"note": note}}});
    let asked = held(&world, send(&client("checked by the CFO, EUR 5"))).await;
    assert_eq!(held(&world, send(&client("checked by the CFO, EUR 5"))).await, asked, "another message id");
    let shown = world.gate.questions.arguments(&asked).expect("what is asked");
    assert!(shown.contains("EUR 5") && !shown.contains("messageId"), "{shown}");
    approve(&world, &asked).await;
    for more in [
        client("to mallory, EUR 500000"),
        json!({"_meta": {"progressToken": 1}}),
        json!({"params": client("checked by the CFO, EUR 5")}),
    ] {
        assert_ne!(held(&world, send(&more)).await, asked, "{more}");
    }
    assert!(world.upstream.received().is_empty());
}

/// What a provider is asked to do in its beta is another request.
#[tokio::test]
async fn a_request_to_a_model_is_approved_with_the_headers_that_say_how() {
    let world = World::new().await;
    let models = HOLD
        .replace("invokeTool", "callModel")
        .replace(r#"resource == Tool::"t/tools/echo""#, r#"resource == Model::"t/models/small""#);
    world.gate.take_into_use(snapshot(&holding(&world, &models)));
    let body = json!({"model": "small", "messages": [{"role": "user", "content": "x"}]});
    let mut asked = Vec::new();
    for beta in ["", "a", "a", "b"] {
        let mut request = world.request(Method::POST, "/llm/t/models/v1/chat/completions", &body);
        if !beta.is_empty() {
            request.headers_mut().insert("openai-beta", HeaderValue::from_static(beta));
        }
        let (_, _, body) = world.call(request).await;
        assert_eq!(json_of(&body).pointer("/error/code"), Some(&json!("approval_required")));
        asked.push(world.gate.acts.standing().approvals.all().count());
    }
    assert_eq!(asked, [1, 2, 2, 3]);
}

/// A part of an object is hidden, and a text comes in its place: nobody would see what it says.
#[tokio::test]
async fn a_text_that_would_be_hidden_whole_is_not_asked_about() {
    let world = World::new().await;
    let hiding = HOLD.replace("@approval", "@redact_shown(\"/payment/card\") @approval");
    world.gate.take_into_use(snapshot(&holding(&world, &hiding)));
    let call = |payment: &Value| {
        let arguments = json!({"arguments": {"payment": payment}});
        tool(&world, (&arguments, &json!({})), &[])
    };
    let approval = held(&world, call(&json!({"card": "4111", "to": "acme"}))).await;
    let shown = world.gate.questions.arguments(&approval).expect("what is asked");
    assert_eq!(&*shown, r#"{"payment":{"card":"[redacted]","to":"acme"}}"#);
    let (_, _, body) = world.call(call(&json!(r#"{"card":"4111","to":"mallory"}"#))).await;
    assert_eq!(json_of(&body).pointer("/error/data/code"), Some(&json!("change_impossible")));
    assert_eq!(world.gate.acts.standing().approvals.all().count(), 1);
}
