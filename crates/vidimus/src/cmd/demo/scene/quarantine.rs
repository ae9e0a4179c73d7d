//! An agent is taken out of use while an answer to it is streaming.

use std::time::{Duration, Instant};

use anyhow::bail;
use serde_json::Value;

use crate::cmd::demo::stage::{Setting, Stage};
use crate::cmd::demo::tour::{GET, LEDGER, USER, note, ok, refused, show, show_last};
use crate::output;

pub(super) fn setting() -> Setting {
    Setting::of(&["ledger", "echo"])
}

/// Far longer than starting a client takes.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) fn play(stage: &mut Stage) -> anyhow::Result<()> {
    let bot = stage.token("invoice-bot", USER)?;
    let words = "this answer is streamed a word a second for as long as nobody takes the agent that gets it out of use which somebody will";
    let flags =
        ["--steps", "stream", "--text", words, "--metadata", r#"{"skill": "echo", "delay_ms": 1000}"#];
    let mut client = stage.client_at_work("a2a_client", "/a2a/finance/echo", &bot, &flags)?;
    let until = Instant::now() + PATIENCE;
    while !std::fs::read_to_string(stage.log("echo"))?.contains("SendStreamingMessage") {
        if Instant::now() > until {
            bail!("the client did not begin its stream");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    show(
        stage,
        "A stream: the echo agent answers the invoice bot, a word a second",
        "SendStreamingMessage",
        "allow",
        None,
    )?;
    output::line("\n  In another terminal, somebody takes the invoice bot out of use:");
    stage.operate(&["quarantine", "agent", "finance/invoice-bot", "--why", "INC-7: odd transfers"])?;
    let since = Instant::now();
    let cut = client.step("stream")?;
    note(&format!(
        "the stream was cut; its client knew {} ms after the command had returned",
        since.elapsed().as_millis()
    ));
    note(&format!(
        "the client says: {}",
        cut.pointer("/error/message").and_then(Value::as_str).unwrap_or("the stream ended")
    ));

    let call = [&["--era", "2026", "--steps", "call_tool"], &GET[..]].concat();
    refused(&stage.client("mcp_client.py", LEDGER, &bot, &call)?, "call_tool")?;
    show_last(stage, "And each call by it is refused", "deny")?;
    output::line("\n  When it is looked into, somebody lifts it:");
    stage.operate(&["quarantine", "lift", "agent", "finance/invoice-bot", "--why", "INC-7 closed"])?;
    ok(&stage.client("mcp_client.py", LEDGER, &bot, &call)?, "call_tool")?;
    show(stage, "It works again", "tools/call", "allow", None)
}
