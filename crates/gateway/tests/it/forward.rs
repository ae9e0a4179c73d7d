//! What an upstream does wrong, and what becomes of it.

use http::{Method, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::json;
use vidimus_testkit::upstream::{Answer, Received};

use super::world::{World, call_id, json_of, objects, snapshot};

#[tokio::test]
async fn what_an_upstream_does_wrong_is_refused_and_on_record() {
    let world = World::new().await;
    for (answer, code, upstream) in [
        (Answer::redirect("http://127.0.0.1:1/elsewhere"), "upstream_invalid", 307),
        (Answer::hang(), "upstream_timeout", 0),
        // The request was there already: it may have been carried out.
        (Answer::reset(), "upstream_interrupted", 0),
    ] {
        world.upstream.next(answer);
        let (_, headers, body) = world.call(world.tool("echo")).await;
        assert_eq!(json_of(&body)["error"]["data"]["code"], code);
        let records = world.records(&call_id(&headers), 2).await;
        assert_eq!(
            (&records[0]["outcome"], &records[1]["result"], &records[1]["code"]),
            (&json!("allow"), &json!("failed"), &json!(code))
        );
        assert_eq!(
            records[1]["status"], upstream,
            "the status of the upstream's answer, where there was one"
        );
    }
    assert_eq!(world.upstream.received().len(), 3);
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_interrupted() {
    let world = World::new().await;
    for (kind, begun) in [
        ("application/json", "{".to_owned()),
        ("text/event-stream", "data: {}\n\n".to_owned()),
        ("application/json", " ".repeat(100_000)),
    ] {
        let (answer, stream) = Answer::stream(kind);
        world.upstream.next(answer);
        let sent = async {
            assert!(stream.send(begun).await);
            stream.reset().await;
        };
        let (response, ()) = tokio::join!(world.send(world.tool("echo")), sent);
        let id = call_id(response.headers());
        drop(response.into_body().collect().await);
        let records = world.records(&id, 2).await;
        assert_eq!(
            (&records[1]["result"], &records[1]["code"]),
            (&json!("failed"), &json!("upstream_interrupted")),
            "{kind}"
        );
    }
}

#[tokio::test]
async fn nobody_listens_there() {
    let world = World::new().await;
    let mut objects = objects(&world.upstream);
    objects[3]["spec"]["endpoint"]["url"] = json!("http://127.0.0.1:9/mcp");
    world.gate.take_into_use(snapshot(&objects));
    let (_, _, body) = world.call(world.tool("echo")).await;
    assert_eq!(json_of(&body)["error"]["data"]["code"], "upstream_unreachable");
    assert!(world.upstream.received().is_empty());
}

/// A server that speaks no TLS.
fn speaks_plainly() -> std::net::SocketAddr {
    use std::io::{Read as _, Write as _};
    let socket = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let address = socket.local_addr().expect("an address");
    std::thread::spawn(move || {
        for stream in socket.incoming() {
            let mut stream = stream.expect("a connection");
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
            let _ = stream.read(&mut [0; 1]);
        }
    });
    address
}

/// Each says what is the matter, and what to do about it.
#[tokio::test]
async fn a_call_that_reaches_nobody_says_why_and_what_to_do() {
    let world = World::new().await;
    let directory = tempfile::tempdir().expect("a directory");
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).expect("written");
        path
    };
    let plain = speaks_plainly();
    let roots = file("roots.pem", world.identity.bundle());
    let missing = directory.path().join("missing.pem");
    for (what, endpoint, code, matter, next) in [
        (
            "no such file",
            json!({"url": "https://127.0.0.1:9/", "caFile": missing}),
            "upstream_unreachable",
            "roots of the upstream's endpoint could not be read",
            "spec.endpoint.caFile",
        ),
        (
            "an empty file",
            json!({"url": "https://127.0.0.1:9/", "caFile": file("empty.pem", "")}),
            "upstream_unreachable",
            "roots of the upstream's endpoint could not be read",
            "at least one certificate",
        ),
        (
            "half a file",
            json!({"url": "https://127.0.0.1:9/", "caFile": file("half.pem", "-----BEGIN CERTIFICATE-----\nMII")}),
            "upstream_unreachable",
            "roots of the upstream's endpoint could not be read",
            "at least one certificate",
        ),
        (
            "no TLS there",
            json!({"url": format!("https://{plain}/mcp"), "caFile": roots}),
            "upstream_unreachable",
            "TLS with the upstream",
            "http://",
        ),
        (
            "no such host",
            json!({"url": "http://nobody.invalid/"}),
            "upstream_unreachable",
            "name of the upstream's host could not be resolved",
            "the gateway's resolver",
        ),
        (
            "nobody listens",
            json!({"url": "http://127.0.0.1:9/"}),
            "upstream_unreachable",
            "no connection to the upstream could be made",
            "check the address in its record (spec.endpoint",
        ),
    ] {
        let mut objects = objects(&world.upstream);
        objects[3]["spec"]["endpoint"] = endpoint;
        world.gate.take_into_use(snapshot(&objects));
        let (_, _, body) = world.call(world.tool("echo")).await;
        let about = json_of(&body)["error"]["data"].clone();
        assert_eq!(about["code"], code, "{what}: {about}");
        for (member, expected) in [("reason", matter), ("next", next)] {
            assert!(about[member].as_str().is_some_and(|text| text.contains(expected)), "{what}: {about}");
        }
    }
    world.gate.take_into_use(snapshot(&objects(&world.upstream)));
    world.upstream.next(Answer::redirect("http://127.0.0.1:1/elsewhere"));
    let (_, _, body) = world.call(world.tool("echo")).await;
    let about = json_of(&body)["error"]["data"].clone();
    assert!(about["next"].as_str().is_some_and(|next| next.contains("spec.endpoint.url")), "{about}");
    assert!(!body.windows(9).any(|window| window == b"elsewhere"), "where to is for the operator only");
}

#[tokio::test]
async fn a_card_is_found_below_the_path_at_the_origin_or_where_the_record_says() {
    const BELOW: &str = "/a2a/.well-known/agent-card.json";
    const ORIGIN: &str = "/.well-known/agent-card.json";
    let world = World::new().await;
    let card = || Answer::json(&json!({"name": "b", "url": "http://b:1/rpc", "skills": []}));
    let missing = || Answer::json(&json!({"detail": "Not Found"})).with_status(StatusCode::NOT_FOUND);
    let elsewhere = world.upstream.url("/cards/b.json?v=1");
    let foreign = world.upstream.url("/cards/b.json").replace("127.0.0.1", "localhost");
    for (named, answers, found, asked) in [
        (None, vec![card()], true, vec![BELOW]),
        (None, vec![missing(), card()], true, vec![BELOW, ORIGIN]),
        (None, vec![missing(), missing()], false, vec![BELOW, ORIGIN]),
        (Some(&elsewhere), vec![card()], true, vec!["/cards/b.json?v=1"]),
        (Some(&foreign), vec![card()], true, vec!["/cards/b.json"]),
        (Some(&elsewhere), vec![missing()], false, vec!["/cards/b.json?v=1"]),
    ] {
        let mut all = objects(&world.upstream);
        if let Some(named) = named {
            all[2]["spec"]["endpoint"]["card"] = json!(named);
        }
        all[2]["spec"]["endpoint"]["headers"] = json!({"set": {"x-tenant": "t"}});
        world.gate.take_into_use(snapshot(&all));
        let before = world.upstream.received().len();
        for answer in answers {
            world.upstream.next(answer);
        }
        let path = "/a2a/t/callee/.well-known/agent-card.json";
        let (status, headers, body) = world.call(world.request(Method::GET, path, &json!(null))).await;
        let received: Vec<_> = world.upstream.received().split_off(before);
        let paths: Vec<_> = received.iter().map(|one| one.uri.to_string()).collect();
        assert_eq!(paths, asked, "{named:?}");
        // Another host's name for the same address is another origin: it gets nothing that is meant for the agent.
        let meant = |one: &Received| ["authorization", "x-tenant"].map(|name| one.headers.contains_key(name));
        let foreign = named.is_some_and(|named| named.contains("localhost"));
        assert!(received.iter().all(|one| meant(one) == [!foreign; 2]), "{named:?}");
        let body = String::from_utf8_lossy(&body);
        if found {
            assert_eq!(status.as_u16(), 200, "{body}");
            assert!(
                body.contains("http://gateway.example/a2a/t/callee") && !body.contains("http://b:1"),
                "{body}"
            );
            continue;
        }
        assert_eq!(status.as_u16(), 502);
        assert_eq!(headers["vidimus-code"].to_str().expect("text"), "upstream_invalid");
        for path in asked {
            assert!(body.contains(&format!("{} (404)", path.split('?').next().expect("a path"))), "{body}");
        }
        assert!(body.contains("spec.endpoint.card"), "{body}");
        let detail = world.records(&call_id(&headers), 2).await;
        assert_eq!(detail[1]["code"], "upstream_invalid");
    }
}

/// Who has a card learns that it is the same, or gets the other one. The agent's own tag is of a card that nobody else gets.
#[tokio::test]
async fn a_card_that_its_caller_has_is_not_sent_again() {
    let world = World::new().await;
    let card = |name: &str| {
        Answer::json(&json!({"name": name, "url": "http://b:1/rpc", "skills": []}))
            .with_header("etag", "\"of-the-agent\"")
    };
    let ask = async |had: &str| {
        let mut request =
            world.request(Method::GET, "/a2a/t/callee/.well-known/agent-card.json", &json!(null));
        request.headers_mut().insert("if-none-match", had.parse().expect("a value"));
        world.call(request).await
    };
    world.upstream.next(card("b"));
    let (status, headers, body) = ask("\"of-the-agent\"").await;
    assert_eq!((status.as_u16(), json_of(&body)["name"].clone()), (200, json!("b")));
    let tag = headers["etag"].to_str().expect("text").to_owned();
    assert!(tag.starts_with("W/\"") && !tag.contains("agent"), "{tag}");
    for had in [&*tag, &format!("\"x\", {tag}"), tag.trim_start_matches("W/"), "*"] {
        world.upstream.next(card("b"));
        let (status, headers, body) = ask(had).await;
        assert_eq!(
            (status.as_u16(), &headers["etag"], body.len()),
            (304, &tag.parse().expect("a value"), 0),
            "{had}"
        );
        assert_eq!(headers.get("content-type"), None);
        assert_eq!(world.records(&call_id(&headers), 2).await[1]["result"], "ok");
    }
    let asked = world.upstream.received().pop().expect("a request");
    assert_eq!(asked.header("if-none-match"), None, "the caller's tag says nothing to the agent");
    world.upstream.next(card("c"));
    let (status, headers, body) = ask(&tag).await;
    assert_eq!((status.as_u16(), json_of(&body)["name"].clone()), (200, json!("c")));
    assert_ne!(headers["etag"], tag);
    for _ in 0..2 {
        world.upstream.next(Answer::json(&json!({"detail": "gone"})).with_status(StatusCode::NOT_FOUND));
    }
    let (status, headers, _) = ask("*").await;
    assert_eq!((status.as_u16(), headers.get("etag")), (502, None), "there is no card");
}
