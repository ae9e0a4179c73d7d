//! What the demo shows, in order. Each part says what is expected and fails the demo when it is not so.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde_json::Value;

use super::stage::Stage;
use crate::output;

pub(super) const USER: Option<&str> = Some("grace@example.com");
pub(super) const LEDGER: &str = "/mcp/finance/ledger";
pub(super) const GET: [&str; 3] = ["--call", "get_invoice", "{\"id\": \"INV-1\"}"];

pub fn play(stage: &mut Stage) -> anyhow::Result<()> {
    tools(stage)?;
    refusals(stage)?;
    agents(stage)?;
    models(stage)?;
    hot_change(stage)?;
    attacks(stage)?;
    verify(stage)
}

fn tools(stage: &mut Stage) -> anyhow::Result<()> {
    let bot = stage.token("invoice-bot", USER)?;
    let call = [&["--era", "2026", "--steps", "call_tool"], &GET[..]].concat();
    let steps = stage.client("mcp_client.py", LEDGER, &bot, &call)?;
    ok(&steps, "call_tool")?;
    show(
        stage,
        "Allowed: the invoice bot reads an invoice for Grace (Python MCP client, 2026-07-28)",
        "tools/call",
        "allow",
        Some("finance/finance-agents-read"),
    )?;

    let steps = stage.client("mcp_client.mjs", LEDGER, &bot, &["--era", "2025", "--steps", "list_tools"])?;
    let listed = step(&steps, "list_tools")?;
    show(
        stage,
        "Filtered listing: it sees only what it may call (TypeScript MCP client, 2025-11-25)",
        "tools/list",
        "allow",
        None,
    )?;
    note(&format!("tools shown: {}", listed["result"]));

    let flags = ["--era", "2025", "--steps", "call_tool", "--call", "list_allowed_directories={}"];
    ok(&stage.client("mcp_client.mjs", "/mcp/platform/files", &bot, &flags)?, "call_tool")?;
    show(
        stage,
        "Allowed: the real filesystem server (npm server-filesystem)",
        "tools/call",
        "allow",
        Some("platform/files-read"),
    )?;

    let flags = ["--era", "2025", "--steps", "call_tool", "--call", "echo", "{\"message\": \"hello\"}"];
    ok(&stage.client("mcp_client.py", "/mcp/platform/everything", &bot, &flags)?, "call_tool")?;
    show(
        stage,
        "Allowed: the real everything server (npm server-everything)",
        "tools/call",
        "allow",
        Some("platform/harmless-tools"),
    )
}

fn refusals(stage: &mut Stage) -> anyhow::Result<()> {
    let risky = stage.token("risky-bot", None)?;
    let call = [&["--era", "2025", "--steps", "call_tool"], &GET[..]].concat();
    let steps = stage.client("mcp_client.py", LEDGER, &risky, &call)?;
    refused(&steps, "call_tool")?;
    show(
        stage,
        "Denied by attribute: the same call by an agent of high risk",
        "tools/call",
        "deny",
        Some("finance/finance-agents-read"),
    )?;

    let bot = stage.token("invoice-bot", USER)?;
    let flags =
        ["--era", "2026", "--steps", "call_tool", "--call", "transfer", "{\"amount\": 20000, \"to\": \"x\"}"];
    refused(&stage.client("mcp_client.py", LEDGER, &bot, &flags)?, "call_tool")?;
    show(
        stage,
        "Denied by argument: a transfer of 20000 where 10000 is the limit",
        "tools/call",
        "deny",
        Some("finance/small-transfers"),
    )
}

fn agents(stage: &mut Stage) -> anyhow::Result<()> {
    let bot = stage.token("invoice-bot", USER)?;
    let steps = stage.client("a2a_client", "/a2a/finance/echo", &bot, &["--steps", "card,send,stream"])?;
    ok(&steps, "send")?;
    ok(&steps, "stream")?;
    show(
        stage,
        "Agent to agent: send and stream (official A2A SDK)",
        "SendStreamingMessage",
        "allow",
        Some("finance/finance-agents-talk"),
    )?;

    let chain = [
        "--steps",
        "card,send",
        "--metadata",
        "{\"skill\": \"summarize\", \"hops\": 5, \"invoice\": \"INV-1\"}",
    ];
    stage.client("a2a_client", "/a2a/finance/reconciler", &bot, &chain)?;
    show(
        stage,
        "Denied by depth: agents pass work on with the token they got; the fourth hop is refused",
        "GetAgentCard",
        "deny",
        None,
    )
}

fn models(stage: &mut Stage) -> anyhow::Result<()> {
    let bot = stage.token("invoice-bot", USER)?;
    ok(
        &stage.client("openai_client", "/llm/platform/simulator/v1", &bot, &["--steps", "stream"])?,
        "stream",
    )?;
    show(
        stage,
        "A model call: the OpenAI SDK streams from the simulator; the gateway holds the provider's key",
        "chat.completions",
        "allow",
        Some("platform/small-models"),
    )?;
    ok(
        &stage.client("anthropic_client", "/llm/platform/claude-simulator", &bot, &["--steps", "message"])?,
        "message",
    )?;
    show(stage, "The same with the Anthropic SDK", "messages", "allow", Some("platform/small-models"))?;
    let upstream = last_authorization(stage, "model")?;
    if upstream.contains(&bot) {
        bail!("the caller's token reached the provider");
    }
    note("the provider saw the gateway's key; the agent's token went no further");
    let flags = ["--steps", "chat", "--model", "simulator-large"];
    refused(&stage.client("openai_client", "/llm/platform/simulator/v1", &bot, &flags)?, "chat")?;
    show(
        stage,
        "Denied: a model that no policy permits",
        "chat.completions",
        "deny",
        Some("platform/small-models"),
    )
}

fn hot_change(stage: &mut Stage) -> anyhow::Result<()> {
    let stranger = stage.token("stranger", None)?;
    let call = [&["--era", "2025", "--steps", "call_tool"], &GET[..]].concat();
    refused(&stage.client("mcp_client.py", LEDGER, &stranger, &call)?, "call_tool")?;
    show(
        stage,
        "Before a policy change: marketing may not even connect to the ledger",
        "initialize",
        "deny",
        None,
    )?;
    let policy = stage.resources.join("marketing.yaml");
    std::fs::write(
        &policy,
        "apiVersion: vidimus.dev/v1alpha1\nkind: Policy\nmetadata: {name: marketing-reads, namespace: finance}\nspec:\n  \
         description: Marketing may read, for the demo.\n  \
         cedar: permit (principal in Team::\"marketing/marketing\", action == Action::\"invokeTool\", resource in ToolSet::\"finance-readonly\");\n",
    )?;
    let until = Instant::now() + Duration::from_secs(10);
    while refused(&stage.client("mcp_client.py", LEDGER, &stranger, &call)?, "call_tool").is_ok() {
        if Instant::now() > until {
            bail!("the new policy was not taken into use");
        }
    }
    show(
        stage,
        "After it, without a restart: a file was saved, the next call is allowed",
        "tools/call",
        "allow",
        Some("finance/marketing-reads"),
    )?;
    std::fs::remove_file(policy).context("the demo's policy")
}

fn attacks(stage: &mut Stage) -> anyhow::Result<()> {
    let bot = stage.token("invoice-bot", None)?;
    let call = [&["--era", "2026", "--steps", "call_tool"], &GET[..]].concat();
    // The claims of one token under the signature of another.
    let other = stage.token("stranger", None)?;
    let forged = match (bot.rsplit_once('.'), other.rsplit_once('.')) {
        (Some((claims, _)), Some((_, signature))) => format!("{claims}.{signature}"),
        _ => bail!("the token is not a JWT"),
    };
    stage.client("mcp_client.py", LEDGER, &forged, &call)?;
    show(stage, "A forged token", "", "deny", Some("token_signature"))?;
    // The server keeps the token it was sent, and tries to use it.
    ok(&stage.client("mcp_client.py", LEDGER, &bot, &call)?, "call_tool")?;
    stage.news()?;
    let stolen = last_authorization(stage, "ledger")?;
    stage.client("mcp_client.py", LEDGER, stolen.trim_start_matches("Bearer "), &call)?;
    show(
        stage,
        "A replayed token: a tool server presents the token that was minted for it",
        "",
        "deny",
        Some("token_destination"),
    )
}

fn verify(stage: &Stage) -> anyhow::Result<()> {
    output::line("\nThe record, verified without trusting the gateway:");
    // A checkpoint is issued every second while there is something new.
    std::thread::sleep(Duration::from_millis(1200));
    let status = stage
        .group
        .command(std::env::current_exe()?)
        .args(["audit", "verify", "--forget", "--data"])
        .arg(&stage.data)
        .status()?;
    if !status.success() {
        bail!("the ledger did not verify");
    }
    Ok(())
}

pub(super) fn step<'a>(steps: &'a [Value], name: &str) -> anyhow::Result<&'a Value> {
    steps
        .iter()
        .find(|step| step["step"] == name)
        .with_context(|| format!("the client did not get to {name}: {steps:?}"))
}

pub(super) fn ok(steps: &[Value], name: &str) -> anyhow::Result<()> {
    let step = step(steps, name)?;
    if step["ok"] == true { Ok(()) } else { bail!("{name} was expected to work: {step}") }
}

/// Refused at the step, or at connecting already.
pub(super) fn refused(steps: &[Value], name: &str) -> anyhow::Result<()> {
    let step = step(steps, "connect")
        .ok()
        .filter(|connect| connect["ok"] == false)
        .map_or_else(|| step(steps, name), Ok)?;
    if step["ok"] == false { Ok(()) } else { bail!("{name} was expected to be refused: {step}") }
}

pub(super) fn last_authorization(stage: &Stage, upstream: &str) -> anyhow::Result<String> {
    let log = std::fs::read_to_string(stage.log(upstream))?;
    let mut found = None;
    for line in log.lines() {
        let request: Value = serde_json::from_str(line)?;
        for header in request.get("headers").and_then(Value::as_array).into_iter().flatten() {
            if header[0] == "authorization" {
                found = header[1].as_str().map(ToOwned::to_owned);
            }
        }
    }
    found.with_context(|| format!("{upstream} saw no Authorization header"))
}

pub(super) fn note(text: &str) {
    output::line(&format!("   {text}"));
}

/// Shows the newest record with an outcome, whatever it is about.
pub(super) fn show_last(stage: &mut Stage, title: &str, outcome: &str) -> anyhow::Result<()> {
    shown(stage, title, |_| true, (outcome, None))
}

/// Shows the deciding record of a scene: who, on whose behalf, what, decision, policy, trace.
pub(super) fn show(
    stage: &mut Stage,
    title: &str,
    method: &str,
    outcome: &str,
    by: Option<&str>,
) -> anyhow::Result<()> {
    shown(stage, title, |record| output::text(record, "method") == method, (outcome, by))
}

fn shown(
    stage: &mut Stage,
    title: &str,
    is_meant: impl Fn(&Value) -> bool,
    (outcome, by): (&str, Option<&str>),
) -> anyhow::Result<()> {
    let news = stage.news()?;
    let names = |record: &Value, name: &str| {
        let list = record[name].as_array().into_iter().flatten().filter_map(Value::as_str);
        list.collect::<Vec<_>>().join(", ")
    };
    let by_whom = |record: &Value| {
        format!(
            "{} {} {}",
            names(record, "policies"),
            names(record, "closest_permits"),
            record["code"].as_str().unwrap_or_default()
        )
    };
    let fits = |record: &&Value| {
        is_meant(record)
            && output::text(record, "outcome") == outcome
            && by.is_none_or(|by| by_whom(record).contains(by))
    };
    let Some(record) = news.iter().rev().find(fits) else {
        bail!("{title}: no record with outcome {outcome} by {by:?} among {news:?}");
    };
    let text = |name: &str| record[name].as_str().unwrap_or_default();
    output::line(&format!("\n● {title}"));
    let row = |label: &str, value: &str| {
        if !value.is_empty() {
            output::line(&format!("   {label:<10}{value}"));
        }
    };
    row("who", text("principal"));
    row("for", text("user").rsplit('#').next().unwrap_or_default());
    row("through", &names(record, "chain"));
    let what = if text("resource").is_empty() {
        text("path").to_owned()
    } else {
        format!("{} {}", text("method"), text("resource"))
    };
    row("what", &what);
    row("at", text("via"));
    row("else", &names(record, "alternatives"));
    row("decision", &output::verdict(text("outcome"), outcome.starts_with("allow")));
    row("code", text("code"));
    row("approval", text("approval"));
    row("policy", &names(record, "policies"));
    row("closest", &names(record, "closest_permits"));
    for (name, value) in
        record["facts"].as_object().into_iter().flatten().filter(|(name, _)| !name.contains(" in "))
    {
        row("fact", &format!("{name} = {}", value.as_str().unwrap_or_default()));
    }
    row("trace", text("trace"));
    row("call", text("id"));
    text("id").clone_into(&mut stage.call);
    Ok(())
}
