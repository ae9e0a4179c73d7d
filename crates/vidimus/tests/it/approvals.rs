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
    assert!(ran.code == Some(0) && ran.out.contains("is denied"), "{ran:?}");
    assert_eq!(call(&gateway, &token).0, "approval_denied");
    // Who said what and why is shown as long as it stands, and on record for good.
    let all = listed(&gateway);
    assert_eq!(all["approvals"][0]["given"][0]["why"], "PO-4711", "{all}");
    assert_eq!(all["approvals"][1]["denied"]["why"], "once is enough", "{all}");
    assert_eq!(all["approvals"][1]["denied"]["by"], "User/urn:vidimus:local#admin", "{all}");
    let ran = operate(&gateway, &["approvals", "show", &again]);
    assert!(ran.out.contains("denied      User/urn:vidimus:local#admin at "), "{ran:?}");
    assert!(ran.out.contains(": once is enough"), "{ran:?}");
    who_authorized_it_is_on_record(&gateway, &approval, &again);
    // What was answered is answered: a conflict, and not something that is not there.
    let ran = operate(&gateway, &["approvals", "deny", &again, "--why", "once more"]);
    assert!(ran.code == Some(2) && ran.err.contains("409") && ran.err.contains("act_unfit"), "{ran:?}");
    assert!(ran.err.contains("approvals show"), "{ran:?}");
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

/// From the call, from the approval and from the policy, in both directions.
fn who_authorized_it_is_on_record(gateway: &Gateway, approved: &str, denied: &str) {
    let data = gateway.path("data");
    let audit = |words: &[&str]| run(&[&["audit"], words, &["--data", &data]].concat());
    let search =
        |line: &str| audit(&[&["search", "-o", "json"], &*line.split(' ').collect::<Vec<_>>()].concat());
    let rows = |line: &str| -> Vec<Value> {
        let ran = search(line);
        assert_eq!(ran.code, Some(0), "{line}: {ran:?}");
        ran.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    // The call that was let pass, by the policy that held it.
    let made = rows("--policy a/hold --outcome allow");
    assert_eq!(made.len(), 1, "{made:?}");
    assert_eq!(made[0]["approval"], approved, "{made:?}");
    let call = made[0]["id"].as_str().unwrap();
    assert_eq!(rows("--policy a/hold --outcome failed").len(), 1, "and its effect");
    // As the column RESOURCE has it.
    let acts = rows(&format!("--kind all --resource Approval/{approved}"));
    assert!(acts.len() >= 4 && acts.iter().all(|act| act["kind"] == "act"), "{acts:?}");
    let shown = audit(&["show", call]);
    for says in [
        "approval        ",
        "held by         a/hold asks 1 of payers",
        "actor           User/urn:vidimus:local#admin",
        "act             approve",
        "why             PO-4711",
        "role            payers",
    ] {
        assert!(shown.out.contains(says), "{says}:\n{}", shown.out);
    }
    let of_approval = audit(&["show", approved]);
    assert_eq!(of_approval.code, Some(0), "{of_approval:?}");
    for says in ["act             ask", "act             approve", "act             use", call] {
        assert!(of_approval.out.contains(says), "{says}:\n{}", of_approval.out);
    }
    // What a person denied is found by what was asked for, as any other refusal.
    for line in
        ["--resource tools/get --outcome deny", "--policy a/hold --outcome deny", "--code approval_denied"]
    {
        let refused = rows(line);
        let refused = refused.iter().find(|row| row["code"] == "approval_denied");
        let refused = refused.unwrap_or_else(|| panic!("{line}"));
        assert_eq!(refused["asked"]["approval"], denied, "{refused}");
        assert_eq!(refused["asked"]["resource"], "Tool/a/tools/get", "{refused}");
        assert_eq!(refused["asked"]["policies"][0], "a/hold", "{refused}");
        let transaction = refused["asked"]["transaction"].as_str().unwrap();
        assert_eq!(
            rows(&format!("--transaction {transaction} --code approval_denied")).len(),
            1,
            "{refused}"
        );
        let shown = audit(&["show", refused["id"].as_str().unwrap()]);
        assert!(shown.out.contains("once is enough"), "{shown:?}");
    }
}

const TWO: &str = r#"@id("one") @approval("payers") forbid (principal, action == Action::"invokeTool", resource)
    unless { context has approval && context.approval.role == "payers" };
    @id("two") @approval("directors") @quorum("2") forbid (principal, action == Action::"invokeTool", resource)
    unless { context has approval && context.approval.role == "directors" };"#;

/// An approval that is not enough does not read as one that is.
#[test]
fn an_approval_that_is_not_enough_says_who_lacks() {
    let gateway = Gateway::start(upstream_that_hangs_up());
    let token = gateway.token();
    write(Path::new(&gateway.path("resources")), "d.yaml", &policy("hold", TWO));
    gateway.wait("held", |gateway| call(gateway, &token).0 == "approval_required");
    let (_, approval) = call(&gateway, &token);
    let of = ["approvals", "approve", &approval, "--why", "x"];
    let ran = operate(&gateway, &of);
    let says = ran.err.contains("(payers, directors)") && ran.err.contains("--role ROLE");
    assert!(ran.code == Some(2) && says, "{ran:?}");
    let ran = operate(&gateway, &[&of[..], &["--role", "payers", "-o", "json"]].concat());
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(ran.json()["state"], "asked", "{ran:?}");
    assert_eq!(ran.json()["lacks"][0], "2 of directors", "{ran:?}");
    let list = operate(&gateway, &["approvals", "list"]);
    assert!(list.out.contains("payers 1/1, directors 0/2") && list.out.contains("ARGUMENTS"), "{list:?}");
}
