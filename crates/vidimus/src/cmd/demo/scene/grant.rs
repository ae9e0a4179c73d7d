//! An agent is lent a tool for two calls.

use crate::cmd::demo::stage::{Setting, Stage};
use crate::cmd::demo::tour::{GET, LEDGER, note, ok, refused, show, show_last};
use crate::output;

pub(super) fn setting() -> Setting {
    Setting::of(&["ledger"])
}

const TOOL: &str = "Tool/finance/ledger/get_invoice";

pub(super) fn play(stage: &mut Stage) -> anyhow::Result<()> {
    let stranger = stage.token("stranger", None)?;
    // Listed first: this client would look its schema up after the last call, when it may not any more.
    let call = [&["--era", "2026", "--steps", "list_tools,call_tool"], &GET[..]].concat();
    let again = |stage: &Stage| stage.client("mcp_client.py", LEDGER, &stranger, &call);
    refused(&again(stage)?, "call_tool")?;
    show_last(stage, "Refused: no policy permits marketing's agent anything of finance", "deny")?;
    output::line(
        "\n  In another terminal, somebody lends it one tool, for two calls and a quarter of an hour:",
    );
    stage.operate(&[
        "grant",
        "give",
        "marketing/stranger",
        "--resource",
        TOOL,
        "--uses",
        "2",
        "--for",
        "15m",
        "--why",
        "CASE-12",
    ])?;
    for which in ["first", "second"] {
        ok(&again(stage)?, "call_tool")?;
        show(
            stage,
            &format!("The {which} call, by the grant alone"),
            "tools/call",
            "allow",
            Some("vidimus/grant#"),
        )?;
    }
    refused(&again(stage)?, "call_tool")?;
    show_last(stage, "The third is refused: the grant is used up", "deny")?;
    stage.operate(&["grant", "list"])?;
    note("each use is an act in the ledger, taken before the call is made, so that no two calls share one");
    Ok(())
}
