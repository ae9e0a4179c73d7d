use http::{HeaderName, HeaderValue};
use serde_json::Value;

use super::*;
use crate::part::Part;
use crate::protocol::MAX_URI;
use crate::protocol::members::{quoted, replace};
use crate::protocol::tests::{agent, caller, seal, sealed};
use crate::seal::{Holder, Kind};

/// What is made of a request.
fn parsed<T>(
    headers: &HeaderMap,
    body: Option<&str>,
    look: impl FnOnce(Result<Parsed<'_>, Refusal>) -> T,
) -> T {
    let (destination, caller, seal) = (Destination::Agent(agent()), caller(), seal());
    let holder = Holder::new(&seal, &destination, &caller);
    let json = body.map(|body| Json::parse(body.as_bytes()).expect("valid JSON"));
    let (method, path, bytes) = (&Method::POST, "", body.map_or(0, str::len));
    let message = Message {
        destination: &destination,
        method,
        path,
        headers,
        holder: &holder,
        json: json.as_ref(),
        bytes,
        standing: None,
    };
    look(JsonRpc::OLD.parse(&message))
}

fn request(method: &str, params: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#)
}

/// `method target streaming`, or the code of the refusal.
fn check(version: Option<&str>, method: &str, params: &str) -> String {
    let mut headers = HeaderMap::new();
    if let Some(version) = version {
        headers.insert(VERSION_HEADER, version.parse().expect("value"));
    }
    parsed(&headers, Some(&request(method, params)), |parsed| match parsed {
        Ok(Parsed { ask, .. }) => format!("{} {} {}", ask.method, ask.target.entity(), ask.streaming),
        Err(refusal) => refusal.code.as_str().to_owned(),
    })
}

/// The id of a task of this skill, or of none, as the caller has it.
fn task(skill: Option<&str>, id: &str) -> String {
    let part = skill.map_or(Part::Whole, |skill| Part::Skill(skill.into()));
    sealed(Kind::Task, &Destination::Agent(agent()), &part, id)
}

/// The parameters that name the task of a method that must name one, in the place where its version has it.
fn naming(new: &str, old: bool, id: &str) -> String {
    let member = match new {
        "GetTask" | "CancelTask" | "SubscribeToTask" => "id",
        "CreateTaskPushNotificationConfig" => {
            let config = r#""pushNotificationConfig":{"url":"https://hooks.example/"}"#;
            let url = if old { config } else { r#""url":"https://hooks.example/""# };
            return format!(r#"{{"taskId":"{id}",{url}}}"#);
        }
        _ if !new.contains("PushNotificationConfig") => return "{}".to_owned(),
        _ if old => "id",
        _ => "taskId",
    };
    format!(r#"{{"{member}":"{id}"}}"#)
}

#[test]
fn both_versions_ask_for_the_same() {
    let id = task(None, "1");
    for (old, new, streaming) in METHODS {
        let expected = format!("{new} Agent/finance/summarizer {streaming}");
        let (of_old, of_new) = (naming(new, true, &id), naming(new, false, &id));
        assert_eq!(check(None, old, &of_old), expected);
        assert_eq!(check(Some("0.3"), old, &of_old), expected);
        assert_eq!(check(Some("1.0"), new, &of_new), expected);
        assert_eq!(check(Some("1.0"), old, &of_old), "header_mismatch");
        assert_eq!(check(Some("0.3"), new, &of_new), "header_mismatch");
        assert_eq!(check(Some("2.0"), new, &of_new), "protocol_version_unsupported");
    }
    assert_eq!(check(Some("1.0"), "sendMessage", "{}"), "method_unknown");
    assert_eq!(check(None, "tasks/purge", "{}"), "method_unknown");
}

#[test]
fn a_task_is_asked_for_as_what_made_it_and_only_by_whom() {
    const ABOUT_ONE: [&str; 7] = [
        "GetTask",
        "CancelTask",
        "SubscribeToTask",
        "CreateTaskPushNotificationConfig",
        "GetTaskPushNotificationConfig",
        "ListTaskPushNotificationConfigs",
        "DeleteTaskPushNotificationConfig",
    ];
    let (of_skill, of_agent) = (task(Some("summarize"), "1"), task(None, "1"));
    for (old, new, _) in METHODS.into_iter().filter(|(_, new, _)| ABOUT_ONE.contains(new)) {
        for (method, is_old) in [(old, true), (new, false)] {
            for (id, target) in
                [(&of_skill, "Skill/finance/summarizer/summarize"), (&of_agent, "Agent/finance/summarizer")]
            {
                let body = request(method, &naming(new, is_old, id));
                parsed(&HeaderMap::new(), Some(&body), |parsed| {
                    let parsed = parsed.expect("a task");
                    assert_eq!(parsed.ask.target.entity().to_string(), target);
                    assert_eq!(parsed.ask.task, Some("1"));
                    let sent = replace(&body, &parsed.replaced).expect("its ids");
                    assert_eq!(sent, body.replace(&quoted(id), "\"1\""), "all else is the caller's");
                });
            }
            for (foreign, code) in [("1", "task_foreign"), ("", "message_invalid")] {
                assert_eq!(check(None, method, &naming(new, is_old, foreign)), code, "{method} {foreign:?}");
            }
            assert_eq!(check(None, method, "{}"), "message_invalid", "{method}");
        }
    }
}

/// The agent would give it back as it is, and nothing was decided about it.
#[test]
fn a_second_task_is_not_opened_as_the_id_of_a_configuration() {
    let (about, other) = (task(None, "1"), task(None, "2"));
    for params in [
        format!(r#"{{"taskId":"{about}","id":"{other}","url":"https://h/"}}"#),
        format!(r#"{{"taskId":"{about}","pushNotificationConfig":{{"id":"{other}","url":"https://h/"}}}}"#),
        format!(r#"{{"taskId":"{about}","pushNotificationConfigId":"{other}","url":"https://h/"}}"#),
    ] {
        let body = request("CreateTaskPushNotificationConfig", &params);
        parsed(&HeaderMap::new(), Some(&body), |parsed| {
            let sent = replace(&body, &parsed.expect("a configuration").replaced).expect("its ids");
            assert_eq!(sent, body.replace(&quoted(&about), "\"1\""), "{params}");
        });
    }
    let config = format!(r#"{{"pushNotificationConfig":{{"id":"{other}","url":"https://h/"}}}}"#);
    let body = request("SendMessage", &format!(r#"{{"message":{{}},"configuration":{config}}}"#));
    parsed(&HeaderMap::new(), Some(&body), |parsed| assert!(parsed.expect("a message").replaced.is_empty()));
    // A list has no configuration's id: what stands there is a task to some agents.
    let params = format!(r#"{{"taskId":"{about}","id":"42"}}"#);
    assert_eq!(check(None, "ListTaskPushNotificationConfigs", &params), "message_invalid");
}

#[test]
fn a_message_goes_on_with_what_is_the_callers_own() {
    let sent = |message: &str| {
        let body = request("SendMessage", &format!(r#"{{"message":{{{message}}}}}"#));
        parsed(&HeaderMap::new(), Some(&body), |parsed| {
            let parsed = parsed.map_err(|refusal| refusal.code)?;
            let sent = replace(&body, &parsed.replaced).expect("its ids");
            let sent: Value = serde_json::from_str(&sent).expect("JSON");
            Ok((parsed.ask.target.entity().to_string(), sent["params"]["message"].clone()))
        })
    };
    let agent = Destination::Agent(agent());
    let (of_skill, of_agent) = (task(Some("summarize"), "1"), task(None, "2"));
    let context = sealed(Kind::Context, &agent, &Part::Whole, "c");
    let skill = "Skill/finance/summarizer/summarize";
    let whole = "Agent/finance/summarizer";
    for (message, expected) in [
        (
            format!(r#""taskId":"{of_skill}","contextId":"{context}""#),
            Ok((skill, r#"{"taskId":"1","contextId":"c"}"#)),
        ),
        (
            format!(r#""taskId":"{of_skill}","metadata":{{"skill":"summarize"}}"#),
            Ok((skill, r#"{"taskId":"1","metadata":{"skill":"summarize"}}"#)),
        ),
        (format!(r#""taskId":"{of_agent}""#), Ok((whole, r#"{"taskId":"2"}"#))),
        (
            format!(r#""referenceTaskIds":["{of_skill}","{of_agent}"]"#),
            Ok((whole, r#"{"referenceTaskIds":["1","2"]}"#)),
        ),
        (r#""taskId":"","contextId":"""#.to_owned(), Ok((whole, r#"{"taskId":"","contextId":""}"#))),
        (r#""taskId":null"#.to_owned(), Ok((whole, r#"{"taskId":null}"#))),
        // A task keeps to the skill that it was made with.
        (format!(r#""taskId":"{of_skill}","metadata":{{"skill":"pay"}}"#), Err(Code::MessageInvalid)),
        (format!(r#""taskId":"{of_agent}","metadata":{{"skill":"pay"}}"#), Err(Code::MessageInvalid)),
        (r#""taskId":"1""#.to_owned(), Err(Code::TaskForeign)),
        (format!(r#""referenceTaskIds":["{of_skill}","1"]"#), Err(Code::TaskForeign)),
        (r#""referenceTaskIds":[7]"#.to_owned(), Err(Code::MessageInvalid)),
        (r#""referenceTaskIds":"1""#.to_owned(), Err(Code::MessageInvalid)),
        (r#""taskId":7"#.to_owned(), Err(Code::MessageInvalid)),
        (r#""task_id":"1""#.to_owned(), Err(Code::MessageInvalid)),
        (r#""context_id":"1""#.to_owned(), Err(Code::MessageInvalid)),
        (r#""reference_task_ids":["1"]"#.to_owned(), Err(Code::MessageInvalid)),
        // Policies see what parts are.
        (r#""Parts":[{"text":"a"}]"#.to_owned(), Err(Code::MessageInvalid)),
        (r#""parts":[{"raw":"AA==","MediaType":"image/png"}]"#.to_owned(), Err(Code::MessageInvalid)),
        (r#""parts":[{"raw":"AA==","mediaType":["image/png"]}]"#.to_owned(), Err(Code::MessageInvalid)),
        (
            r#""parts":[{"file":{"bytes":"AA==","mime_Type":"image/png"}}]"#.to_owned(),
            Err(Code::MessageInvalid),
        ),
    ] {
        let expected = expected.map(|(target, message)| {
            (target.to_owned(), serde_json::from_str::<Value>(message).expect("JSON"))
        });
        assert_eq!(sent(&message), expected, "{message}");
    }
    // A context that the caller names is one that no other caller can name.
    let (_, first) = sent(r#""contextId":"mine""#).expect("a context");
    let named = first["contextId"].as_str().expect("text");
    assert_ne!(named, "mine");
    let binding = crate::seal::binding(&agent, &caller());
    let opened = seal().open(Kind::ChosenContext, &binding, named).expect("the caller's");
    assert_eq!(opened.id, "mine");
    let (_, again) = sent(r#""contextId":"mine""#).expect("a context");
    assert_eq!(first, again);
}

#[test]
fn where_news_go_is_part_of_the_call() {
    let id = task(None, "1");
    let found = |method: &str, params: &str| {
        parsed(&HeaderMap::new(), Some(&request(method, params)), |parsed| {
            parsed.map(|parsed| parsed.ask.push_url.map(str::to_owned)).map_err(|refusal| refusal.code)
        })
    };
    let url = "https://hooks.example/a";
    let longest = format!("https://{}", "x".repeat(MAX_URI - 8));
    let in_message = |config: &str| format!(r#"{{"message":{{}},"configuration":{{{config}}}}}"#);
    for (method, params, expected) in [
        (
            "message/send",
            in_message(&format!(r#""pushNotificationConfig":{{"url":"{url}"}}"#)),
            Ok(Some(url)),
        ),
        (
            "message/stream",
            in_message(&format!(r#""pushNotificationConfig":{{"url":"{url}"}}"#)),
            Ok(Some(url)),
        ),
        (
            "SendMessage",
            in_message(&format!(r#""taskPushNotificationConfig":{{"url":"{url}"}}"#)),
            Ok(Some(url)),
        ),
        (
            "SendMessage",
            in_message(&format!(r#""pushNotificationConfig":{{"url":"{longest}"}}"#)),
            Ok(Some(&longest)),
        ),
        ("SendMessage", in_message(r#""taskPushNotificationConfig":null"#), Ok(None)),
        ("SendMessage", in_message(""), Ok(None)),
        (
            "tasks/pushNotificationConfig/set",
            naming("CreateTaskPushNotificationConfig", true, &id),
            Ok(Some("https://hooks.example/")),
        ),
        (
            "CreateTaskPushNotificationConfig",
            naming("CreateTaskPushNotificationConfig", false, &id),
            Ok(Some("https://hooks.example/")),
        ),
        ("CreateTaskPushNotificationConfig", format!(r#"{{"taskId":"{id}"}}"#), Err(Code::MessageInvalid)),
        ("GetTask", format!(r#"{{"id":"{id}"}}"#), Ok(None)),
        ("SendMessage", in_message(r#""pushNotificationConfig":{}"#), Err(Code::MessageInvalid)),
        ("SendMessage", in_message(r#""pushNotificationConfig":{"url":7}"#), Err(Code::MessageInvalid)),
        ("SendMessage", in_message(r#""pushNotificationConfig":{"url":""}"#), Err(Code::MessageInvalid)),
        (
            "SendMessage",
            in_message(&format!(r#""pushNotificationConfig":{{"url":"{longest}x"}}"#)),
            Err(Code::MessageInvalid),
        ),
        ("SendMessage", in_message(r#""push_notification_config":{"url":"x"}"#), Err(Code::MessageInvalid)),
        (
            "SendMessage",
            in_message(r#""task_push_notification_config":{"url":"x"}"#),
            Err(Code::MessageInvalid),
        ),
        (
            "SendMessage",
            in_message(r#""pushNotificationConfig":{"url":"x"},"taskPushNotificationConfig":{"url":"y"}"#),
            Err(Code::MessageInvalid),
        ),
        (
            "SendMessage",
            in_message(r#""taskPushNotificationConfig":{"url":"x","taskId":"1"}"#),
            Err(Code::MessageInvalid),
        ),
        ("SendMessage", in_message(r#""taskPushNotificationConfig":{"url":"x","taskId":""}"#), Ok(Some("x"))),
        // Where no version has one.
        ("SendMessage", in_message(r#""config":{"url":"x"}"#), Err(Code::MessageInvalid)),
        ("SendMessage", in_message(r#""webhook":"https://x.example/""#), Err(Code::MessageInvalid)),
        ("SendMessage", in_message(r#""a":[{"b":{"c":" HTTPS://x.example"}}]"#), Err(Code::MessageInvalid)),
        ("SendMessage", in_message(r#""a":[{"b":{"URL":"x"}}]"#), Err(Code::MessageInvalid)),
        (
            "SendMessage",
            in_message(r#""pushNotificationConfig":{"url":"x","other":{"url":"y"}}"#),
            Err(Code::MessageInvalid),
        ),
        (
            "SendMessage",
            in_message(r#""pushNotificationConfig":{"url":"x","pushNotificationConfig":{"url":"y"}}"#),
            Err(Code::MessageInvalid),
        ),
        ("SendMessage", r#"{"message":{},"url":"x"}"#.to_owned(), Err(Code::MessageInvalid)),
        (
            "SendMessage",
            r#"{"message":{},"taskPushNotificationConfig":{"url":"x"}}"#.to_owned(),
            Ok(Some("x")),
        ),
        ("SendMessage", r#"{"message":{},"config":{"url":"x"}}"#.to_owned(), Err(Code::MessageInvalid)),
        (
            "CreateTaskPushNotificationConfig",
            format!(r#"{{"taskId":"{id}","config":{{"url":"x"}}}}"#),
            Err(Code::MessageInvalid),
        ),
        (
            "CreateTaskPushNotificationConfig",
            format!(r#"{{"taskId":"{id}","url":"{url}","endpoint":"https://y.example"}}"#),
            Err(Code::MessageInvalid),
        ),
        (
            "CreateTaskPushNotificationConfig",
            format!(r#"{{"taskId":"{id}","url":"{url}","x":"\u0001ht\ttps://y.example"}}"#),
            Err(Code::MessageInvalid),
        ),
        ("SendMessage", r#"{"message":{},"tenant":"t"}"#.to_owned(), Err(Code::MemberUndecided)),
        ("SendMessage", r#"{"message":{},"skillId":"s"}"#.to_owned(), Err(Code::MemberUndecided)),
        (
            "CreateTaskPushNotificationConfig",
            format!(
                r#"{{"taskId":"{id}","url":"{url}","id":"c","token":"t","tenant":"","authentication":{{"scheme":"Bearer","credentials":"https://c"}}}}"#
            ),
            Ok(Some(url)),
        ),
        (
            "SendMessage",
            format!(
                r#"{{"message":{{"parts":[{{"url":"https://a.example"}}]}},"metadata":{{"url":"https://b.example"}},"tenant":"","configuration":{{"acceptedOutputModes":["text/plain"],"historyLength":3,"returnImmediately":true,"x":{{"y":[1,"z"]}},"pushNotificationConfig":{{"url":"{url}","authentication":{{"schemes":["Bearer"]}}}}}}}}"#
            ),
            Ok(Some(url)),
        ),
    ] {
        let found = found(method, &params);
        assert_eq!(found.as_ref().map(Option::as_deref).map_err(|code| *code), expected, "{method} {params}");
    }
}

#[test]
fn a_stream_is_resumed_by_whom_it_was_for_and_about_the_same() {
    let agent = Destination::Agent(agent());
    let id = task(Some("summarize"), "1");
    let body = request("SubscribeToTask", &format!(r#"{{"id":"{id}"}}"#));
    let event = |part: &Part| sealed(Kind::Event, &agent, part, "e-1");
    for (event, expected) in [
        (event(&Part::Skill("summarize".into())), Ok("e-1")),
        (event(&Part::Skill("pay".into())), Err(Code::SessionForeign)),
        (event(&Part::Whole), Err(Code::SessionForeign)),
        ("e-1".to_owned(), Err(Code::SessionForeign)),
    ] {
        let mut headers = HeaderMap::new();
        headers.insert("last-event-id", event.parse().expect("value"));
        parsed(&headers, Some(&body), |parsed| {
            let sent = parsed.map(|parsed| parsed.headers).map_err(|refusal| refusal.code);
            let sent = sent.as_ref().map(|sent| sent[0].1.to_str().expect("text")).map_err(|code| *code);
            assert_eq!(sent, expected, "{event}");
        });
    }
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
        (r#"{"message":{"metadata":{"Skill":"pay"}}}"#, "message_invalid"),
        (r#"{"metadata":{"skill":"summarize","SKILL_":"pay"}}"#, "message_invalid"),
        (r#"{"metadata":{"skill":"summarize","skillId":"pay"}}"#, "member_undecided"),
        (r#"{"message":{"metadata":{"skill_id":"pay"}}}"#, "member_undecided"),
        (r#"{"message":{"metadata":{"skills":["pay"]}}}"#, "member_undecided"),
        (r#"{"message":{"metadata":{}}}"#, "SendMessage Agent/finance/summarizer false"),
    ] {
        assert_eq!(check(Some("1.0"), "SendMessage", params), expected, "{params}");
    }
}

#[test]
fn only_requests_exist() {
    for text in [r#"{"jsonrpc":"2.0","method":"SendMessage"}"#, r#"{"jsonrpc":"2.0","id":1,"result":{}}"#] {
        parsed(&HeaderMap::new(), Some(text), |parsed| {
            assert_eq!(parsed.map(|_| ()).map_err(|r| r.code), Err(Code::MessageInvalid));
        });
    }
}

#[test]
fn a_card_is_asked_for_and_changed_as_what_it_is() {
    let get = |path: &'static str, method: &Method| JsonRpc::OLD.operation(method, path).map_err(|r| r.code);
    for path in CARD_PATHS {
        let operation = Operation { has_body: false, path: CARD_PATHS[0].into() };
        assert_eq!(get(path, &Method::GET), Ok(operation));
        assert_eq!(get(path, &Method::POST), Err(Code::MethodNotAllowed));
    }
    assert_eq!(get("", &Method::POST), Ok(Operation { has_body: true, path: "".into() }));
    assert_eq!(get("", &Method::GET), Err(Code::MethodNotAllowed));
    assert_eq!(get("/v1/card", &Method::GET), Err(Code::RouteUnknown));
    let text = r#"{"jsonrpc":"2.0","id":1,"method":"GetExtendedAgentCard"}"#;
    for (body, method, rpc) in [(None, "GetAgentCard", false), (Some(text), EXTENDED_CARD, true)] {
        parsed(&HeaderMap::new(), body, |parsed| {
            let parsed = parsed.expect("a card");
            assert_eq!(parsed.ask.method, method);
            let document = Some(DocumentChange::Card { rpc });
            let answer = Answer { document, ..Answer::pass(Observe::Rpc) };
            assert_eq!(parsed.expected, Expected::Upstream(answer));
        });
    }
}

/// Which of the two an agent reads is not known: protobuf takes the flat one and passes over what it does not know.
#[test]
fn two_addresses_for_news_are_one_too_many() {
    let id = task(None, "1");
    let params = format!(
        r#"{{"taskId":"{id}","url":"https://evil.example/","pushNotificationConfig":{{"url":"https://hooks.example/"}}}}"#
    );
    let body = request("CreateTaskPushNotificationConfig", &params);
    parsed(&HeaderMap::new(), Some(&body), |parsed| assert!(parsed.is_err()));
}

/// The official client in Go of 1.0 reads a list of details alone, and that of 0.3 an object alone: of either it reads no error that has the other's.
#[test]
fn an_error_has_what_clients_of_its_version_read() {
    let said = |version: Option<&str>, refusal: &Refusal| {
        let mut headers = HeaderMap::new();
        headers.extend(version.map(|version| {
            (HeaderName::from_static(VERSION_HEADER), version.parse::<HeaderValue>().expect("a value"))
        }));
        let answer = binding_at("", &headers).refused(refusal, "call-1", Some("7"));
        let body: Value = serde_json::from_str(answer.body()).expect("JSON");
        (body["error"]["code"].clone(), body["error"]["data"].clone())
    };
    let denied =
        Refusal { policies: ["f/p".into(), "f/q".into()].into(), ..Refusal::new(Code::NoPermit, "because") };
    for version in [None, Some(""), Some("0.3"), Some("0.3.0")] {
        let (number, data) = said(version, &denied);
        assert_eq!((number, &data["code"]), (json!(-31_403), &json!("no_permit")), "{version:?}");
        assert_eq!(data["policies"], json!(["f/p", "f/q"]));
    }
    for version in ["1.0", "1.0.1", "2.0"] {
        let (number, data) = said(Some(version), &denied);
        let list = data.as_array().expect("a list");
        assert_eq!((number, list.len()), (json!(-31_403), 1), "{version}");
        let info = &list[0];
        assert_eq!(info["@type"], "type.googleapis.com/google.rpc.ErrorInfo");
        assert_eq!((&info["reason"], &info["domain"]), (&json!("NO_PERMIT"), &json!("vidimus.dev")));
        let about = &info["metadata"];
        assert_eq!((&about["code"], &about["reason"]), (&json!("no_permit"), &json!("because")));
        assert_eq!((&about["policies"], &about["call"]), (&json!("f/p, f/q"), &json!("call-1")));
        // It is of texts alone.
        assert!(about.as_object().expect("an object").values().all(Value::is_string), "{about}");
    }
    // A2A's own errors are called as A2A calls them.
    for (code, number, reason) in [
        (Code::TaskForeign, -32_001, "TASK_NOT_FOUND"),
        (Code::ProtocolVersionUnsupported, -32_009, "VERSION_NOT_SUPPORTED"),
    ] {
        let (said, data) = said(Some("1.0"), &Refusal::new(code, "because"));
        assert_eq!((said, &data[0]["reason"]), (json!(number), &json!(reason)));
        assert_eq!(
            (&data[0]["domain"], &data[0]["metadata"]["code"]),
            (&json!("a2a-protocol.org"), &json!(code.as_str()))
        );
    }
    let versions = said(Some("2.0"), &Refusal::new(Code::ProtocolVersionUnsupported, "because")).1;
    assert_eq!(versions[0]["metadata"]["supported"], "1.0, 0.3");
}

/// What was decided as 1.0 is what an agent reads it as: told nothing, it takes it for 0.3.
#[test]
fn an_agent_is_told_the_version_where_its_caller_says_none() {
    for (method, given, told) in [
        ("SendMessage", None, Some("1.0")),
        ("message/send", None, None),
        // What the caller says goes on by itself.
        ("SendMessage", Some("1.0"), None),
        ("SendMessage", Some(""), None),
    ] {
        let mut headers = HeaderMap::new();
        headers.extend(given.map(|given: &str| {
            (HeaderName::from_static(VERSION_HEADER), given.parse::<HeaderValue>().expect("a value"))
        }));
        parsed(&headers, Some(&request(method, r#"{"message":{}}"#)), |parsed| {
            let parsed = parsed.expect("a message");
            let said = parsed.headers.iter().find(|(name, _)| name.as_str() == VERSION_HEADER);
            assert_eq!(said.map(|(_, value)| value.to_str().expect("text")), told, "{method} {given:?}");
        });
    }
}
