//! Calls that wait for people, from the outside: held, looked at, approved in another terminal, made once.

use std::path::Path;

use serde_json::Value;

use super::gateway::{Gateway, upstream_that_hangs_up};
use super::people::operate;
use super::{policy, run, write};

const HOLD: &str = r#"@approval("payers") forbid (principal, action == Action::"invokeTool", resource)
    unless { context has approval && context.approval.role == "payers" };"#;

/// The code that a call is refused with, and the approval that it waits for.
fn call(gateway: &Gateway, token: &str) -> (String, String) {
    let answer = gateway.call(Some(token));
    let body: Value = serde_json::from_str(answer.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    let text = |name: &str| body["error"]["data"][name].as_str().unwrap_or_default().to_owned();
    (text("code"), text("approval"))
}

fn listed(gateway: &Gateway) -> Value {
    operate(gateway, &["approvals", "list", "-o", "json"]).json()
}

#[test]
fn a_held_call_survives_a_kill_is_approved_by_a_person_and_made_once() {
    let gateway = Gateway::start(upstream_that_hangs_up());
    let token = gateway.token();
    assert!(operate(&gateway, &["approvals", "list"]).out.contains("nothing waits"));
    write(Path::new(&gateway.path("resources")), "d.yaml", &policy("hold", HOLD));
    gateway.wait("held", |gateway| call(gateway, &token).0 == "approval_required");
    let (_, approval) = call(&gateway, &token);

    let gateway = gateway.killed_and_started();
    let all = listed(&gateway);
    let one = &all["approvals"][0];
    assert_eq!(
        (&one["question"]["approval"], &one["state"]),
        (&approval.as_str().into(), &"asked".into()),
        "{all}"
    );
    assert_eq!(one["question"]["principal"], "Agent/a/bot", "{all}");
    assert_eq!(one["question"]["asking"][0]["role"], "payers", "{all}");
    // The same call waits for the same approval, also after the fall.
    assert_eq!(call(&gateway, &token), ("approval_required".to_owned(), approval.clone()));
    let ran = operate(&gateway, &["approvals", "show", &approval]);
    assert!(ran.out.contains("Agent/a/bot") && ran.out.contains("asks 1 of payers"), "{ran:?}");

    // Whom no policy permits it does not approve it; nor is anything approved that was not what was looked at.
    let ran = operate(&gateway, &["approvals", "approve", &approval, "--why", "x", "--as", "bob"]);
    assert!(ran.code == Some(2) && ran.err.contains("no policy permits"), "{ran:?}");
    let ran = operate(&gateway, &["approvals", "approve", &approval, "--why", "x", "--shown", "sha256:0"]);
    assert!(ran.code == Some(2) && ran.err.contains("is not what is asked"), "{ran:?}");
    assert_eq!(call(&gateway, &token).0, "approval_required");
    let ran = operate(&gateway, &["approvals", "approve", &approval, "--why", "PO-4711"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let ran = operate(&gateway, &["approvals", "approve", &approval, "--why", "PO-4711"]);
    assert_eq!(ran.code, Some(2), "{ran:?}");

    // It survives another fall, and the call goes to its upstream once, which hangs up: it may have been carried out.
    let gateway = gateway.killed_and_started();
    assert_eq!(call(&gateway, &token).0, "upstream_interrupted");
    let (code, again) = call(&gateway, &token);
    assert_eq!(code, "approval_required");
    assert_ne!(again, approval);
    gateway.wait("told", |gateway| listed(gateway)["approvals"][0]["made"][0]["result"] == "failed");
    let all = listed(&gateway);
    assert_eq!(all["approvals"][0]["state"], "used", "{all}");
    assert_eq!(all["approvals"][1]["question"]["before"]["approval"], approval.as_str(), "{all}");

    let ran = operate(&gateway, &["approvals", "deny", &again, "--why", "once is enough"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(call(&gateway, &token).0, "approval_denied");
    let ran = operate(&gateway, &["approvals", "show", "no-such"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    // Each of it is on record, with who and why.
    let data = gateway.path("data");
    let ran = run(&["audit", "search", "--data", &data, "--kind", "act", "-o", "json"]);
    for says in ["PO-4711", "once is enough", "User/urn:vidimus:local#admin"] {
        assert!(ran.out.contains(says), "{says}: {ran:?}");
    }
}

/// Who opens the address of an approval is nobody that is known: it says how people answer, and the same of every id.
#[test]
fn the_page_of_an_approval_says_nothing_of_it() {
    let gateway = Gateway::start(upstream_that_hangs_up());
    let token = gateway.token();
    write(Path::new(&gateway.path("resources")), "d.yaml", &policy("hold", HOLD));
    gateway.wait("held", |gateway| call(gateway, &token).0 == "approval_required");
    let (_, approval) = call(&gateway, &token);
    let page = |id: &str| gateway.admin("GET", &format!("/approvals/{id}"), "", "").unwrap();
    let (stands, none) = (page(&approval), page("019aa3b0-7c5e-7d11-a8f1-2f0d2f6c9a10"));
    let body = |answer: &str| answer.split("\r\n\r\n").nth(1).unwrap().to_owned();
    assert!(stands.contains("200 OK") && stands.contains("content-security-policy"), "{stands}");
    assert!(body(&stands).contains(&format!("vidimus approvals show {approval}")), "{stands}");
    assert_eq!(
        body(&stands).replace(&approval, "ID"),
        body(&none).replace("019aa3b0-7c5e-7d11-a8f1-2f0d2f6c9a10", "ID")
    );
    assert!(!stands.contains("a/bot") && !stands.contains("a/tools"), "{stands}");
    assert!(page("%3Cscript%3E").contains("404"));
    // What answers is not the page.
    assert!(gateway.admin("POST", &format!("/approvals/{approval}"), "", "{}").unwrap().contains("405"));
}
