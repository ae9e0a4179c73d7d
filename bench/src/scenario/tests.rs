use std::time::Duration;

use super::*;
use crate::turns::Calling;
use crate::upstream::{At, Upstream};
use crate::witness;

const ALL: [Scenario; 10] = [
    Scenario::McpCall,
    Scenario::McpCallMembers,
    Scenario::McpListWhole,
    Scenario::McpList,
    Scenario::A2aSend,
    Scenario::A2aGrpc,
    Scenario::A2aGrpcToRpc,
    Scenario::LlmChat,
    Scenario::LlmChatStream,
    Scenario::LlmStreamGuarded,
];

fn upstream() -> At {
    let upstream = Upstream::bind(0).unwrap();
    let at = upstream.at().unwrap();
    std::thread::spawn(move || upstream.serve().unwrap());
    at
}

#[test]
fn the_upstream_answers_every_scenario_and_counts_every_request() {
    let at = upstream();
    let tokens = ["a.b.c".to_owned(), "d.e.f".to_owned()];
    for scenario in ALL {
        let end = End { surface: &Surface::direct(), address: at.of(scenario), tokens: &tokens };
        let mut calling = Calling::open(scenario, end, 3).unwrap();
        let (before, mut requests) = (witness::seen(at.http).unwrap().requests, 0);
        while requests <= 100 {
            requests += calling.run(Duration::from_millis(100)).unwrap().requests;
        }
        let seen = witness::seen(at.http).unwrap();
        assert_eq!(seen.requests - before, requests, "{scenario:?}");
        assert!(seen.authorizations.iter().all(|a| a == b"Bearer a.b.c" || a == b"Bearer d.e.f"));
    }
}

#[test]
fn a_message_over_grpc_is_that_of_json_rpc_and_only_a_completed_task_answers_it() {
    let tokens = ["t".to_owned()];
    let surface = Surface::governed();
    let end = End { surface: &surface, address: "127.0.0.1:1".parse().unwrap(), tokens: &tokens };
    assert_eq!(Scenario::A2aGrpc.calls(end, 2).unwrap().len(), 2);
    assert!(Scenario::A2aSend.calls(end, 2).is_err() && Scenario::A2aGrpc.scripts(end, 2).is_err());
    let said = grpc::request(&message(1_000)).unwrap();
    assert!(memchr::memmem::find(&said, b"Match the invoices of July").is_some());
    let check = Scenario::A2aGrpc.check();
    let task =
        |state: &str| grpc::response(&json!({"task": {"id": "1", "status": {"state": state}}}).to_string());
    let good = task("TASK_STATE_COMPLETED").unwrap();
    assert!(check(&good).is_ok());
    for bad in [&task("TASK_STATE_REJECTED").unwrap()[..], &good[..good.len() - 1], &[1, 0, 0, 0, 0], b""] {
        assert!(check(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn refusals_do_not_pass_as_answers() {
    let end = End { surface: &Surface::direct(), address: "127.0.0.1:1".parse().unwrap(), tokens: &[] };
    let bad = [
        (Scenario::McpCall, r#"{"jsonrpc":"2.0","id":1000,"error":{"code":-32001,"message":"denied"}}"#),
        (
            Scenario::McpCall,
            r#"{"jsonrpc":"2.0","id":1000,"result":{"content":[{"type":"text","text":"x"}],"isError":true}}"#,
        ),
        (
            Scenario::McpCall,
            r#"{"jsonrpc":"2.0","id":7,"result":{"content":[{"type":"text","text":"x"}],"isError":false}}"#,
        ),
        (
            Scenario::A2aSend,
            r#"{"jsonrpc":"2.0","id":1000,"result":{"task":{"status":{"state":"TASK_STATE_REJECTED"}}}}"#,
        ),
        (Scenario::LlmChat, r#"{"error":{"message":"denied","type":"permission_error"}}"#),
        (Scenario::LlmChatStream, "data: {\"error\":{}}\n\ndata: [DONE]\n\n"),
    ];
    for (scenario, body) in bad {
        let request = scenario.request(end, "t", Some("s"), 0).unwrap();
        assert!((request.check)(body.as_bytes()).is_err(), "{body}");
    }
}
