//! Streams outlive no time in which alone they are permitted.

use std::time::{Duration, SystemTime};

use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde_json::{Value, json};
use vidimus_core::call::{Content, step_digest};
use vidimus_core::clock::Clock as _;
use vidimus_core::json::Json;
use vidimus_testkit::upstream::{Answer, AnswerStream};

use super::world::{World, call_id, objects, snapshot};

const HOUR: u64 = 3_600;

/// What is left when a stream begins.
const LEFT: Duration = Duration::from_millis(300);

/// Sets the clock to shortly before the next full hour (UTC); the hour of the day that ends then, and its end (RFC 3339).
fn shortly_before_the_hour(world: &World) -> (u64, String) {
    let since = world.clock.now().wall.duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs();
    let hour = since / HOUR;
    let end = SystemTime::UNIX_EPOCH + Duration::from_secs((hour + 1) * HOUR);
    world.clock.set_wall(end - LEFT);
    let end = vidimus_gateway::rfc3339(end);
    (hour % 24, format!("{}Z", end.get(..19).expect("whole seconds")))
}

/// The policy of the world in another form: what of `spec` is beside `cedar`, in which `TOOL` permits the call of the tool.
fn with_policy(world: &World, cedar: &str, more: &Value) -> Vec<Value> {
    const TOOL: &str = r#"permit (principal == Agent::"t/caller", action == Action::"invokeTool", resource == Tool::"t/tools/echo")"#;
    let mut all = objects(&world.upstream);
    let last = all.len() - 1;
    let spec = all[last]["spec"].as_object_mut().expect("a spec");
    spec.insert("cedar".to_owned(), json!(cedar.replace("TOOL", TOOL)));
    spec.extend(more.as_object().expect("a mapping").clone());
    all
}

/// Whether the stream was cut within the time that it had, and some more for a machine that is busy.
async fn is_cut(body: &mut Incoming) -> bool {
    let frame = tokio::time::timeout(Duration::from_secs(2), body.frame()).await;
    frame.is_ok_and(|frame| frame.is_none_or(|frame| frame.is_err()))
}

async fn passes(body: &mut Incoming, stream: &AnswerStream) -> bool {
    stream.event("{}").await
        && tokio::time::timeout(Duration::from_secs(10), body.frame())
            .await
            .is_ok_and(|frame| frame.is_some_and(|frame| frame.is_ok()))
}

/// Attack: a call that is made in a window, whose answer goes on for as long as somebody likes.
#[tokio::test]
async fn a_stream_ends_when_the_window_of_its_permit_closes() {
    for says_something in [false, true] {
        for form in 0..5 {
            let world = World::new().await;
            let (hour, end) = shortly_before_the_hour(&world);
            let hours = json!({"from": hour, "until": hour + 1});
            let (cedar, more) = match form {
                0 => ("TOOL;".to_owned(), json!({"window": {"until": end}})),
                1 => ("TOOL;".to_owned(), json!({"window": {"zone": "UTC", "hours": hours}})),
                // No window, and the time all the same.
                2 => (format!("TOOL when {{ context.hour == {hour} }};"), json!({})),
                3 => (format!("TOOL when {{ context.now < datetime(\"{end}\") }};"), json!({})),
                _ => (
                    format!(
                        "TOOL; forbid (principal, action == Action::\"invokeTool\", resource) unless {{ context.now < datetime(\"{end}\") }};"
                    ),
                    json!({}),
                ),
            };
            world.gate.take_into_use(snapshot(&with_policy(&world, &cedar, &more)));
            let (response, stream) = world.streaming("echo").await;
            let id = call_id(response.headers());
            let mut body = response.into_body();
            assert!(passes(&mut body, &stream).await, "{cedar} {more}");
            world.clock.advance(LEFT);
            if says_something {
                stream.event("{\"too\":\"late\"}").await;
            }
            assert!(is_cut(&mut body).await, "{cedar} {more}");
            let records = world.records(&id, 2).await;
            assert_eq!((&records[1]["result"], &records[1]["code"]), (&json!("failed"), &json!("revoked")));
            tokio::time::timeout(Duration::from_secs(10), stream.closed()).await.expect("cancelled upstream");
        }
    }
}

/// What else permits the call keeps its stream open, and so does a window that opens as another closes.
#[tokio::test]
async fn a_stream_that_is_permitted_still_outlives_a_window() {
    for form in 0..3 {
        let world = World::new().await;
        let (hour, end) = shortly_before_the_hour(&world);
        let mut all = with_policy(&world, "TOOL;", &json!({"window": {"until": end}}));
        let mut other = all[all.len() - 1].clone();
        other["metadata"]["name"] = json!("other");
        let spec = other["spec"].as_object_mut().expect("a spec");
        match form {
            0 => spec.insert("window".to_owned(), json!({"from": end})),
            1 => {
                let hours = json!({"from": hour, "until": (hour + 1) % 24 + 1});
                spec.insert("window".to_owned(), json!({"hours": hours}))
            }
            _ => spec.remove("window"),
        };
        all.push(other);
        world.gate.take_into_use(snapshot(&all));
        let (response, stream) = world.streaming("echo").await;
        let mut body = response.into_body();
        assert!(passes(&mut body, &stream).await, "{form}");
        world.clock.advance(LEFT);
        // The timer of the window fires meanwhile.
        tokio::time::sleep(LEFT + Duration::from_millis(100)).await;
        assert!(passes(&mut body, &stream).await, "{form}");
    }
}

/// Attack: a call by a permit that ends, where another one permits the tool for other arguments, or as a step of a plan that the call is not.
/// What it says beside its arguments makes no difference to the first, and is part of the step.
#[tokio::test]
async fn a_stream_does_not_go_on_by_what_permits_other_arguments() {
    let params = |to: &str, meta: &Value| json!({"name": "echo", "arguments": {"to": to}, "_meta": meta});
    let (silent, telling) = (json!({"progressToken": 7}), json!({"com.bank/account": "M"}));
    let step = |to: &str, meta: Option<&Value>| {
        let arguments = json!({"to": to}).to_string();
        let arguments = Json::parse(arguments.as_bytes()).expect("JSON");
        let said = json!({"_meta": meta}).to_string();
        let said = Json::parse(said.as_bytes()).expect("JSON");
        let content = Content { params: meta.map(|_| &said), ..Content::default() };
        step_digest("Tool/t/tools/echo", Some(&arguments), content)
    };
    let to_ada =
        r#"TOOL when { context.args.hasTag("/to") && context.args.getTag("/to") == "ada" };"#.to_owned();
    let by_arguments = (to_ada, json!({}));
    let by_step = ("TOOL;".to_owned(), json!({"plan": [step("ada", None)]}));
    let by_telling_step = ("TOOL;".to_owned(), json!({"plan": [step("ada", Some(&telling))]}));
    let forms = [
        (&by_arguments, params("bob", &silent), false),
        (&by_arguments, params("bob", &telling), false),
        (&by_arguments, params("ada", &silent), true),
        (&by_arguments, params("ada", &telling), true),
        (&by_step, params("bob", &silent), false),
        (&by_step, params("ada", &telling), false),
        (&by_step, params("ada", &silent), true),
        (&by_telling_step, params("ada", &silent), false),
        (&by_telling_step, params("ada", &telling), true),
    ];
    for ((cedar, more), params, goes_on) in forms {
        // The window closes, or the policy is taken away.
        for closes in [true, false] {
            let world = World::new().await;
            let (_, end) = shortly_before_the_hour(&world);
            let own = with_policy(&world, cedar, more);
            let mut all = own.clone();
            let window = json!({"window": {"until": end}});
            let mut ending = with_policy(&world, "TOOL;", &window).pop().expect("a policy");
            ending["metadata"]["name"] = json!("ending");
            all.push(ending);
            world.gate.take_into_use(snapshot(&all));
            let (answer, stream) = Answer::stream("text/event-stream");
            world.upstream.next(answer);
            let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params});
            let request = || world.request(http::Method::POST, "/mcp/t/tools", &call);
            let response = world.send(request()).await;
            let (id, mut body) = (call_id(response.headers()), response.into_body());
            assert!(passes(&mut body, &stream).await, "{cedar} {more} {params}");
            if closes {
                world.clock.advance(LEFT);
            } else {
                world.gate.take_into_use(snapshot(&own));
            }
            let what = format!("{cedar} {more} {params} {closes}");
            if goes_on {
                // The timer of the window fires meanwhile.
                tokio::time::sleep(LEFT + Duration::from_millis(100)).await;
                assert!(passes(&mut body, &stream).await, "{what}");
            } else {
                assert!(is_cut(&mut body).await, "{what}");
                assert_eq!(world.records(&id, 2).await[1]["code"], "revoked", "{what}");
                let (_, headers, _) = world.call(request()).await;
                assert_eq!(headers["vidimus-code"], "no_permit", "the same call now: {what}");
            }
        }
    }
}

/// The same of an agent's answer, and of a model's.
#[tokio::test]
async fn streams_of_agents_and_models_end_with_their_windows() {
    for (path, body, permit) in [
        (
            "/a2a/t/callee",
            json!({"jsonrpc": "2.0", "id": 1, "method": "SendStreamingMessage", "params": {"message": {}}}),
            r#"permit (principal == Agent::"t/caller", action == Action::"callAgent", resource == Agent::"t/callee");"#,
        ),
        (
            "/llm/t/models/v1/chat/completions",
            json!({"model": "small", "messages": [], "stream": true}),
            r#"permit (principal == Agent::"t/caller", action == Action::"callModel", resource == Model::"t/models/small");"#,
        ),
    ] {
        let world = World::new().await;
        let (_, end) = shortly_before_the_hour(&world);
        let window = json!({"window": {"until": end}});
        world.gate.take_into_use(snapshot(&with_policy(&world, permit, &window)));
        let (answer, _stream) = Answer::stream("text/event-stream");
        world.upstream.next(answer);
        let response = world.send(world.request(http::Method::POST, path, &body)).await;
        let id = call_id(response.headers());
        assert!(!response.headers().contains_key("vidimus-code"), "{path}: {:?}", response.headers());
        world.clock.advance(LEFT);
        assert!(is_cut(&mut response.into_body()).await, "{path}");
        assert_eq!(world.records(&id, 2).await[1]["code"], "revoked", "{path}");
    }
}

/// An agent whose record says how old its chains become has none that is older, also where it is one call.
#[tokio::test]
async fn a_stream_ends_when_its_chain_has_become_too_old() {
    let world = World::new().await;
    let mut all = objects(&world.upstream);
    all[0]["spec"]["delegation"] = json!({"maxAge": "90s"});
    world.gate.take_into_use(snapshot(&all));
    let (response, stream) = world.streaming("echo").await;
    let id = call_id(response.headers());
    let mut body = response.into_body();
    for _ in 0..2 {
        assert!(passes(&mut body, &stream).await);
        world.clock.advance(Duration::from_secs(60));
    }
    stream.event("{}").await;
    assert!(is_cut(&mut body).await);
    assert_eq!(world.records(&id, 2).await[1]["code"], "revoked");
}
