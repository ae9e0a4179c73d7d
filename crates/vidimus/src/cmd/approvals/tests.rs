use serde_json::json;
use vidimus_query::acts::ActDone;

use super::*;

fn one(state: &str) -> Approval {
    let question = json!({
        "action": "invokeTool", "approval": "019aa3b0-7c5e-7d11-a8f1-2f0d2f6c9a10", "arguments": "sha256:0",
        "asking": [{"policy": "t/p", "quorum": 1, "role": "payers"}, {"policy": "t/q", "quorum": 2, "role": "directors"}],
        "call": "c", "chain": [], "digest": "d", "endpoint": "e", "method": "tools/call", "owner": "o",
        "principal": "Agent/finance/invoice-bot", "resource": "Tool/finance/ledger/transfer", "until": 1,
        "user": "https://login.example#ada",
    });
    let given =
        json!([{"by": "User/i#b", "role": "payers", "time": "2026-01-01T00:00:01.000Z", "why": "PO-4711"}]);
    serde_json::from_value(json!({
        "arguments": "{\"amount\":20000}", "given": given, "made": [], "question": question, "state": state,
        "until": "2026-11-27T18:20:11.000000Z",
    }))
    .expect("an approval")
}

/// Of several gateways one has the arguments: the others say which, and not that it was a restart.
#[test]
fn arguments_that_another_gateway_has_are_said_to_be_there() {
    let mut elsewhere = one("asked");
    assert_eq!(elsewhere.unshown(), None);
    elsewhere.arguments = None;
    assert!(elsewhere.unshown().is_some_and(|why| why.contains("restart")));
    assert!(render(&[elsewhere.clone()], None).contains("(not known since a restart)"));
    elsewhere.held_at = Some("vidimus.local/vidimus-system/vidimus-1+7".into());
    let why = elsewhere.unshown().expect("why");
    assert!(why.contains("vidimus-system/vidimus-1+7") && !why.contains("restart"), "{why}");
    assert!(render(&[elsewhere], None).contains("(known at another gateway)"));
}

/// Who it is for and with what is in the list, and no name is broken where a terminal is narrow.
#[test]
fn the_list_says_for_whom_and_with_what_and_breaks_no_name() {
    let mut long = one("asked");
    long.arguments = Some("x".repeat(500));
    for width in [Some(80), Some(120), Some(250), None] {
        let text = render(&[one("asked")], width);
        for whole in [
            "019aa3b0-7c5e-7d11-a8f1-2f0d2f6c9a10",
            "Agent/finance/invoice-bot",
            "https://login.example#ada",
            "Tool/finance/ledger/transfer",
            "{\"amount\":20000}",
            "payers 1/1, directors 0/2",
            "18:20:11Z",
        ] {
            assert!(text.contains(whole), "{whole} at {width:?}:\n{text}");
        }
        assert!(render(std::slice::from_ref(&long), width).contains('…'));
    }
}

#[test]
fn an_approval_that_is_not_complete_says_who_lacks() {
    let answered = |state: &str, lacks: &[&str]| Answered {
        done: ActDone { act: "a".into(), record: 1, subject: "Approval/x".into(), warnings: Vec::new() },
        state: state.into(),
        lacks: lacks.iter().map(ToString::to_string).collect(),
    };
    let said = stands(&answered("asked", &["2 of directors"]));
    assert_eq!(said, "has your approval, and is not approved yet: 2 of directors must approve it too");
    assert_eq!(stands(&answered("approved", &[])), "is approved");
    assert_eq!(stands(&answered("denied", &[])), "is denied");
    let json = serde_json::to_value(answered("asked", &["2 of directors"])).expect("JSON");
    assert_eq!((&json["state"], &json["act"]), (&"asked".into(), &"a".into()), "{json}");
}

#[test]
fn what_is_cut_says_so_and_how_much() {
    assert_eq!(shortened("short"), ("short", None));
    let whole = "ü".repeat(MOST_PRINTED);
    assert_eq!(shortened(&whole), (&*whole, None));
    let (shown, cut) = (whole.clone(), shortened(&format!("{whole}xyz")).1);
    assert_eq!(shortened(&format!("{whole}xyz")).0, shown);
    assert_eq!(cut.as_deref(), Some("these are 4096 characters of 4099; 3 are not shown here"));
}
