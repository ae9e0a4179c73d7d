use std::time::Duration;

use super::*;
use crate::load::Generator;
use crate::upstream::Upstream;
use crate::witness;

const ALL: [Scenario; 7] = [
    Scenario::McpCall,
    Scenario::McpCallMembers,
    Scenario::McpList,
    Scenario::A2aSend,
    Scenario::LlmChat,
    Scenario::LlmChatStream,
    Scenario::LlmStreamGuarded,
];

fn upstream() -> SocketAddr {
    let upstream = Upstream::bind(0).unwrap();
    let address = upstream.address().unwrap();
    std::thread::spawn(move || upstream.serve().unwrap());
    address
}

#[test]
fn the_upstream_answers_every_scenario_and_counts_every_request() {
    let address = upstream();
    let tokens = ["a.b.c".to_owned(), "d.e.f".to_owned()];
    let end = End { surface: &Surface::direct(), address, tokens: &tokens };
    for scenario in ALL {
        let scripts = scenario.scripts(end, 3).unwrap();
        let before = witness::seen(address).unwrap().requests;
        let (mut generator, mut requests) = (Generator::connect(address, scripts).unwrap(), 0);
        while requests <= 100 {
            requests += generator.run(Duration::from_millis(100)).unwrap().requests;
        }
        let seen = witness::seen(address).unwrap();
        assert_eq!(seen.requests - before, requests, "{scenario:?}");
        assert!(seen.authorizations.iter().all(|a| a == b"Bearer a.b.c" || a == b"Bearer d.e.f"));
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
