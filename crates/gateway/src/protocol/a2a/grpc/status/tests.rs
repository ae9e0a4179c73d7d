use serde_json::json;

use super::*;

fn there_and_back(status: &Status) -> Status {
    Status::of_trailers(&status.trailers()).expect("a status")
}

#[test]
fn a_status_is_read_as_it_was_written() {
    let metadata = BTreeMap::from([("next".to_owned(), "Do ünd nöt.".to_owned())]);
    let info = Info { reason: "NO_PERMIT".to_owned(), domain: OF_VIDIMUS.to_owned(), metadata };
    let status = Status { code: 7, message: "no, 100 % \u{e9}\n".to_owned(), infos: vec![info] };
    assert_eq!(there_and_back(&status), status);
    let trailers = status.trailers();
    assert_eq!(trailers.get(MESSAGE).and_then(|said| said.to_str().ok()), Some("no, 100 %25 %C3%A9%0A"));
    assert_eq!(Status::OK.trailers().len(), 1);
    assert_eq!(Status::of_trailers(&HeaderMap::new()), None);
    for (said, code) in [("0", 0), ("16", 16), ("17", 2), ("x", 2), ("-1", 2), ("300", 2)] {
        let trailers = HeaderMap::from_iter([(STATUS, HeaderValue::from_static(said))]);
        assert_eq!(Status::of_trailers(&trailers).map(|status| status.code), Some(code), "{said}");
    }
    // Details that are none say nothing.
    let mut broken = status.trailers();
    broken.insert(DETAILS, HeaderValue::from_static("!"));
    assert_eq!(Status::of_trailers(&broken), Some(Status { infos: Vec::new(), ..status }));
}

/// Attack: an agent's error that is longer than clients take trailers to be.
#[test]
fn trailers_are_short() {
    let long = "\u{e9}".repeat(100_000);
    let metadata = (0..100).map(|n| (format!("{n}"), long.clone())).collect();
    let info = Info { reason: long.clone(), domain: long.clone(), metadata };
    let status = Status { code: 13, message: long, infos: vec![info; 100] };
    let length: usize = status.trailers().iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    assert!(length < 8 * 1024, "{length}");
}

/// A2A 1.0, section 5.4, and back.
#[test]
fn an_error_is_the_same_in_both() {
    for (number, reason, code) in ERRORS {
        let status = Status::of_error(&json!({"code": number, "message": "m"}));
        assert_eq!((status.code, &*status.infos[0].reason, &*status.infos[0].domain), (code, reason, OF_A2A));
        assert_eq!(status.error()["code"], number);
        assert_eq!(there_and_back(&status), status);
    }
    for (code, number) in
        [(3, -32602), (5, -32001), (12, -32601), (13, -32603), (14, -32603), (16, -32603), (8, -32603)]
    {
        let status = Status { code, message: "m".to_owned(), infos: Vec::new() };
        let error = status.error();
        assert_eq!(error["code"], number, "{code}");
        assert_eq!(
            Status::of_error(&error),
            status,
            "what the number does not tell stands beside it: {error}"
        );
    }
    for (number, code) in [
        (-32700, 3),
        (-32600, 3),
        (-32601, 12),
        (-31401, 16),
        (-31403, 7),
        (-31404, 5),
        (-31429, 8),
        (-31503, 14),
        (1, 2),
    ] {
        assert_eq!(Status::of_error(&json!({"code": number})).code, code, "{number}");
    }
    for odd in
        [json!({}), json!(null), json!({"code": "x", "data": [7, {"@type": INFO}, {"@type": "other"}]})]
    {
        let status = Status::of_error(&odd);
        assert_eq!((status.code, status.infos.len()), (13, 0), "{odd}");
    }
}

#[test]
fn what_an_agent_names_itself_is_kept() {
    let said = json!({"code": -32001, "message": "m", "data": [info("TASK_NOT_FOUND", OF_A2A, &json!({"taskId": "t", "n": 7}))]});
    let status = Status::of_error(&said);
    assert_eq!(status.infos.len(), 1);
    assert_eq!(status.infos[0].metadata, BTreeMap::from([("taskId".to_owned(), "t".to_owned())]));
    // One of nobody's status is no error's name.
    let ok = json!({"code": -32603, "data": [info("OK", OF_GRPC, &json!({}))]});
    assert_eq!(Status::of_error(&ok).code, 13);
}

/// The official SDK in Python has 404 for a method that it does not know, as for a task.
#[test]
fn an_error_of_json_rpc_itself_has_its_number_whatever_its_status_is() {
    for (reason, code, number) in [
        ("METHOD_NOT_FOUND", 5, -32601),
        ("INVALID_REQUEST", 3, -32600),
        ("INVALID_PARAMS", 3, -32602),
        ("INTERNAL_ERROR", 13, -32603),
        ("TASK_NOT_FOUND", 5, -32001),
        ("OTHER", 5, -32001),
    ] {
        let info = Info { reason: reason.to_owned(), domain: OF_A2A.to_owned(), ..Info::default() };
        let status = Status { code, message: "m".to_owned(), infos: vec![info] };
        let error = status.error();
        assert_eq!(error["code"], number, "{reason}");
        assert_eq!(Status::of_error(&error), status, "{error}");
    }
}
