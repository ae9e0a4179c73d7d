//! A chain of calls comes to more than it may cost.

use anyhow::bail;

use crate::cmd::demo::stage::{Setting, Stage};
use crate::cmd::demo::tour::{USER, last_authorization, note, ok, show, show_last, step};

pub(super) fn setting() -> Setting {
    let instead = [
        (
            "models: [{name: simulator-small}, {name: simulator-large}]",
            r#"models: [{name: simulator-small, price: {inputPerMTok: "500.00", outputPerMTok: "1000.00"}}]"#,
        ),
        (
            "identities: [{oidc: {issuer: \"urn:vidimus:local\", subject: reconciler}}]",
            "identities: [{oidc: {issuer: \"urn:vidimus:local\", subject: reconciler}}]\n  delegation: {maxSpend: \"0.04\"}",
        ),
    ];
    let estate = instead.map(|(from, to)| (from.to_owned(), to.to_owned())).to_vec();
    Setting { estate, ..Setting::of(&["ledger", "reconciler", "model"]) }
}

/// More than the limit lets pass.
const MOST: usize = 20;

pub(super) fn play(stage: &mut Stage) -> anyhow::Result<()> {
    let bot = stage.token("invoice-bot", USER)?;
    let flags =
        ["--steps", "card,send", "--metadata", r#"{"skill": "summarize", "hops": 0, "invoice": "INV-1"}"#];
    ok(&stage.client("a2a_client", "/a2a/finance/reconciler", &bot, &flags)?, "send")?;
    show(
        stage,
        "A chain begins: the invoice bot has the reconciler look at an invoice for Grace",
        "SendMessage",
        "allow",
        None,
    )?;
    note(
        "the reconciler's record says what a chain may cost when it makes a call: maxSpend 0.04; its model costs 1.00 for 1,000 tokens",
    );
    // It goes on with the token that it was sent, as any agent does that continues a chain.
    let hop = last_authorization(stage, "reconciler")?;
    let hop = hop.trim_start_matches("Bearer ");
    let chat = ["--steps", "chat"];
    for made in 0..MOST {
        let steps = stage.client("openai_client", "/llm/platform/simulator/v1", hop, &chat)?;
        if step(&steps, "chat")?["ok"] == true {
            note(&format!("question {} to the model is answered", made + 1));
            continue;
        }
        show_last(stage, "Ended: the chain has come to more than it may cost", "deny")?;
        stage.client("openai_client", "/llm/platform/simulator/v1", hop, &chat)?;
        return show_last(stage, "And it stays ended, for whoever goes on with it", "deny");
    }
    bail!("{MOST} questions were answered, and the chain was not ended")
}
