use super::*;
use crate::protocol::tests::agent;

/// `method target streaming`, or the code of the refusal.
fn check(version: Option<&str>, method: &str, params: &str) -> String {
    let agent = agent();
    let mut headers = HeaderMap::new();
    if let Some(version) = version {
        headers.insert(VERSION_HEADER, version.parse().expect("value"));
    }
    let text = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#);
    let body = Json::parse(text.as_bytes()).expect("valid JSON");
    match posted(&agent, &headers, &body) {
        Ok(Parsed { ask, .. }) => format!("{} {} {}", ask.method, ask.target.entity(), ask.streaming),
        Err(refusal) => refusal.code.as_str().to_owned(),
    }
}

#[test]
fn both_versions_ask_for_the_same() {
    for (old, new, streaming) in METHODS {
        let expected = format!("{new} Agent/finance/summarizer {streaming}");
        assert_eq!(check(None, old, "{}"), expected);
        assert_eq!(check(Some("0.3"), old, "{}"), expected);
        assert_eq!(check(Some("1.0"), new, "{}"), expected);
        assert_eq!(check(Some("1.0"), old, "{}"), "header_mismatch");
        assert_eq!(check(Some("0.3"), new, "{}"), "header_mismatch");
        assert_eq!(check(Some("2.0"), new, "{}"), "protocol_version_unsupported");
    }
    assert_eq!(check(Some("1.0"), "sendMessage", "{}"), "method_unknown");
    assert_eq!(check(None, "tasks/purge", "{}"), "method_unknown");
}

#[test]
fn a_skill_is_named_once_and_well_or_not_at_all() {
    let named = "SendMessage Skill/finance/summarizer/summarize false";
    for (params, expected) in [
        (r#"{"message":{"metadata":{"skill":"summarize"}}}"#, named),
        (r#"{"metadata":{"skill":"summarize"}}"#, named),
        (r#"{"metadata":{"skill":"summarize"},"message":{"metadata":{"skill":"summarize"}}}"#, named),
        (r#"{"metadata":{"skill":"pay"},"message":{"metadata":{"skill":"summarize"}}}"#, "message_invalid"),
        (r#"{"message":{"metadata":{"skill":7}}}"#, "message_invalid"),
        (r#"{"message":{"metadata":{"skill":""}}}"#, "message_invalid"),
        (r#"{"message":{"metadata":{}}}"#, "SendMessage Agent/finance/summarizer false"),
    ] {
        assert_eq!(check(Some("1.0"), "SendMessage", params), expected, "{params}");
    }
}

#[test]
fn only_requests_exist() {
    let agent = agent();
    for text in [r#"{"jsonrpc":"2.0","method":"SendMessage"}"#, r#"{"jsonrpc":"2.0","id":1,"result":{}}"#] {
        let body = Json::parse(text.as_bytes()).expect("valid JSON");
        assert_eq!(
            posted(&agent, &HeaderMap::new(), &body).map(|_| ()).map_err(|r| r.code),
            Err(Code::MessageInvalid)
        );
    }
}

#[test]
fn a_card_is_asked_for_and_changed_as_what_it_is() {
    let agent = Destination::Agent(agent());
    let get = |path: &'static str, method: &Method| JsonRpc.operation(method, path).map_err(|r| r.code);
    for path in CARD_PATHS {
        let operation = Operation { has_body: false, path: CARD_PATHS[0].into() };
        assert_eq!(get(path, &Method::GET), Ok(operation));
        assert_eq!(get(path, &Method::POST), Err(Code::MethodNotAllowed));
    }
    assert_eq!(get("", &Method::POST), Ok(Operation { has_body: true, path: "".into() }));
    assert_eq!(get("", &Method::GET), Err(Code::MethodNotAllowed));
    assert_eq!(get("/v1/card", &Method::GET), Err(Code::RouteUnknown));
    let text = r#"{"jsonrpc":"2.0","id":1,"method":"GetExtendedAgentCard"}"#;
    let body = Json::parse(text.as_bytes()).expect("valid JSON");
    for (json, method, rpc) in [(None, "GetAgentCard", false), (Some(&body), EXTENDED_CARD, true)] {
        let (headers, path, bytes) = (&HeaderMap::new(), "", 0);
        let message = Message { destination: &agent, method: &Method::GET, path, headers, json, bytes };
        let parsed = JsonRpc.parse(&message).expect("a card");
        assert_eq!(parsed.ask.method, method);
        let document = Some(DocumentChange::Card { rpc });
        let answer = Answer { document, ..Answer::pass(Observe::RpcError) };
        assert_eq!(parsed.expected, crate::protocol::Expected::Upstream(answer));
    }
}
