//! A call waits for a person, is approved in another terminal, and completes.

use serde_json::Value;

use crate::cmd::demo::stage::{Setting, Stage};
use crate::cmd::demo::tour::{LEDGER, USER, note, refused, show};
use crate::output;

pub(super) fn setting() -> Setting {
    Setting { resources: POLICY.to_owned(), ..Setting::of(&["ledger", "echo"]) }
}

const POLICY: &str = r#"apiVersion: vidimus.dev/v1alpha1
kind: Policy
metadata: {name: looked-at, namespace: finance}
spec:
  description: A person looks at each transfer, and at each message to the echo agent.
  cedar: |
    @id("transfers") @approval("payers") @reason("transfers are looked at")
    forbid (principal, action == Action::"invokeTool", resource == Tool::"finance/ledger/transfer")
    unless { context has approval && context.approval.role == "payers" };
    @id("messages") @approval("payers")
    forbid (principal, action == Action::"callAgent", resource == Agent::"finance/echo")
    when { ["SendMessage", "SendStreamingMessage"].contains(context.method) }
    unless { context has approval && context.approval.role == "payers" };
"#;

const TRANSFER: [&str; 4] = ["--era", "2026", "--call", "transfer"];
const AMOUNT: &str = r#"{"amount": 500, "to": "acme"}"#;

pub(super) fn play(stage: &mut Stage) -> anyhow::Result<()> {
    let bot = stage.token("invoice-bot", USER)?;
    let flags = [&TRANSFER[..], &[AMOUNT, "--steps", "call_tool", "--elicit", "accept"]].concat();
    let mut client = stage.client_at_work("mcp_client.py", LEDGER, &bot, &flags)?;
    let asked = client.step("elicited")?;
    show(
        stage,
        "Held: a transfer, which a policy lets a person look at",
        "tools/call",
        "hold",
        Some("finance/looked-at"),
    )?;
    let url = text(&asked, "/result/url");
    let approval = url.rsplit('/').next().unwrap_or_default();
    note(
        "the client (official Python SDK) leads its user to where people see the approval, and makes the call again, which waits:",
    );
    note(&url);
    output::line(
        "\n  In another terminal, somebody who may approve looks at the very call, and approves it:",
    );
    stage.operate(&["approvals", "approve", approval, "--why", "PO-4711"])?;
    let done = client.step("call_tool")?;
    show(stage, "The same call completes, with the approval", "tools/call", "allow", None)?;
    note(&format!("the server answered: {}", text(&done, "/result/content/0/text")));

    let flags = [&TRANSFER[..], &[AMOUNT, "--steps", "call_tool"]].concat();
    refused(&stage.client("mcp_client.py", LEDGER, &bot, &flags)?, "call_tool")?;
    show(
        stage,
        "It was one call: the same transfer again waits again",
        "tools/call",
        "hold",
        Some("finance/looked-at"),
    )?;
    note("this client leads nobody anywhere, so it gets an error that names the approval");

    let flags = ["--version", "1.0", "--text", "pay acme", "--steps", "go_on"];
    let mut client = stage.client_at_work("a2a_client", "/a2a/finance/echo", &bot, &flags)?;
    let waits = client.step("waits")?;
    show(
        stage,
        "Held: a message to an agent (official A2A SDK)",
        "SendMessage",
        "hold",
        Some("finance/looked-at"),
    )?;
    note(&format!(
        "its task is {}: {}",
        text(&waits, "/result/status/state"),
        text(&waits, "/result/status/message/parts/0/text")
    ));
    stage.operate(&[
        "approvals",
        "approve",
        &text(&waits, "/result/metadata/vidimus/approval"),
        "--why",
        "fine",
    ])?;
    let done = client.step("go_on")?;
    show(
        stage,
        "The task goes on: its client saw that it is approved, and sent the message again",
        "SendMessage",
        "allow",
        None,
    )?;
    note(&format!("the agent's own task is {}", text(&done, "/result/status/state")));
    Ok(())
}

fn text(step: &Value, pointer: &str) -> String {
    let text = step.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
