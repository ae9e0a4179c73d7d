//! `vidimus approvals`: what waits for people.

mod watch;

use std::process::ExitCode;

use anyhow::anyhow;
use clap::{Args, Subcommand};
use serde_json::json;
use vidimus_core::approval::pending::{Definition, Escalates, Wanted};
use vidimus_core::standing::rfc3339;
use vidimus_query::approvals::{Answered, Approval, Approvals as All, Given, unshown};

use super::admin_client::{Asking, told};
use crate::output::{self, Format, printable};

/// Looks at calls that wait for a person, and approves or denies them.
///
/// A policy with @approval("role") holds a call until people approve exactly that call. Who may is in policies
/// (Action::"approve"); never the person that it is made for. Approved, the caller makes the same call again, and it runs once.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  vidimus approvals list
  vidimus approvals show 019aa3b0-7c5e-7d11-a8f1-2f0d2f6c9a10
  vidimus approvals approve 019aa3b0-7c5e-7d11-a8f1-2f0d2f6c9a10 --why 'PO-4711'
  vidimus approvals deny 019aa3b0-7c5e-7d11-a8f1-2f0d2f6c9a10 --why 'unknown'
  vidimus approvals watch

Exit codes: 0 done, 2 not done")]
pub struct Approvals {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// What waits, and what became of what waited not long ago.
    #[command(after_help = "Examples:
  vidimus approvals list
  vidimus approvals list -o json | jq '.approvals[].question.resource'")]
    List(#[command(flatten)] Asking),
    /// All of one: the exact call, the policies that hold it, the chain it came through, who approved. Of arguments longer than 4,096
    /// characters the beginning; -o json has all of them.
    #[command(after_help = "Example:
  vidimus approvals show 019aa3b0-7c5e-7d11-a8f1-2f0d2f6c9a10")]
    Show(Show),
    /// Approves the call as it is shown now.
    #[command(after_help = "Example:
  vidimus approvals approve 019aa3b0-7c5e-7d11-a8f1-2f0d2f6c9a10 --why 'PO-4711'")]
    Approve(Approve),
    /// Denies the call: the same one is refused until its question's time is over.
    #[command(after_help = "Example:
  vidimus approvals deny 019aa3b0-7c5e-7d11-a8f1-2f0d2f6c9a10 --why 'unknown'")]
    Deny(Deny),
    /// Follows questions as they come, are answered and end, until it is stopped (Ctrl-C).
    ///
    /// It begins with what waits now. With -o json each event is a line, as a webhook is told it (`vidimus serve --webhook`), with the
    /// arguments. A gateway that is away for a while is asked again, and nothing that stands by then is missed.
    #[command(after_help = "Examples:
  vidimus approvals watch
  vidimus approvals watch -o json | jq -r 'select(.type==\"approval.asked\").id'

Exit codes: 0 stopped, 2 the gateway refuses, or is not there at the beginning")]
    Watch(#[command(flatten)] Asking),
}

#[derive(Debug, Args)]
struct Show {
    /// The id of the approval, as the held caller was told.
    approval: String,
    #[command(flatten)]
    asking: Asking,
}

#[derive(Debug, Args)]
struct Approve {
    /// The id of the approval.
    approval: String,
    /// Why, for the record; at most 1024 bytes.
    #[arg(long)]
    why: String,
    /// In which role; needless where one is asked for. After its time also the one that the question went on to (@escalation).
    #[arg(long)]
    role: Option<String>,
    /// The digest of what you looked at (`approvals show`); what is shown now, when it is left out.
    #[arg(long)]
    shown: Option<String>,
    #[command(flatten)]
    asking: Asking,
}

#[derive(Debug, Args)]
struct Deny {
    /// The id of the approval.
    approval: String,
    /// Why, for the record; at most 1024 bytes.
    #[arg(long)]
    why: String,
    #[command(flatten)]
    asking: Asking,
}

pub fn run(approvals: &Approvals, format: Format) -> anyhow::Result<ExitCode> {
    match &approvals.command {
        Command::List(asking) => list(asking, format),
        Command::Show(show) => {
            let one = find(&show.asking, &show.approval)?;
            match format {
                Format::Json => output::json(&one)?,
                Format::Table => print(&one),
            }
            Ok(ExitCode::SUCCESS)
        }
        Command::Approve(approve) => self::approve(approve, format),
        Command::Deny(deny) => {
            let question = json!({"approval": deny.approval, "why": deny.why});
            answered(&deny.asking.post("/approvals/deny", &question)?, format)
        }
        Command::Watch(asking) => watch::run(asking, format),
    }
}

fn find(asking: &Asking, approval: &str) -> anyhow::Result<Approval> {
    let all: All = asking.get("/approvals")?;
    let found = all.approvals.into_iter().find(|one| one.question.approval == approval);
    found
        .ok_or_else(|| anyhow!("no approval {approval} stands; `vidimus approvals list` shows those that do"))
}

fn approve(approve: &Approve, format: Format) -> anyhow::Result<ExitCode> {
    let shown = match &approve.shown {
        Some(shown) => shown.clone(),
        None => {
            let one = find(&approve.asking, &approve.approval)?;
            if format == Format::Table {
                print(&one);
                // Nobody approves what he was not shown.
                if one.arguments.as_deref().is_some_and(|arguments| shortened(arguments).1.is_some()) {
                    return Err(anyhow!(
                        "not all of its arguments fit here: look at all of them (vidimus approvals show {} -o json), and approve with --shown and the digest that you find there",
                        one.question.approval
                    ));
                }
            }
            let why = one.unshown().unwrap_or_else(|| unshown(None));
            one.shown.ok_or_else(|| anyhow!(why))?
        }
    };
    let question =
        json!({"approval": approve.approval, "role": approve.role, "shown": shown, "why": approve.why});
    answered(&approve.asking.post("/approvals/approve", &question)?, format)
}

/// Says what the answer of a person came to: where others have to approve too, the call is not approved yet.
fn answered(answered: &Answered, format: Format) -> anyhow::Result<ExitCode> {
    if format == Format::Json {
        output::json(answered)?;
        return Ok(ExitCode::SUCCESS);
    }
    told(&answered.done, &stands(answered), format)
}

fn stands(answered: &Answered) -> String {
    match (answered.state.as_str(), &*answered.lacks) {
        ("denied", _) => "is denied".to_owned(),
        ("asked", lacks) => {
            format!("has your approval, and is not approved yet: {} must approve it too", lacks.join(" and "))
        }
        ("", _) => "is answered".to_owned(),
        (state, _) => format!("is {state}"),
    }
}

fn list(asking: &Asking, format: Format) -> anyhow::Result<ExitCode> {
    let all: All = asking.get("/approvals")?;
    if format == Format::Json {
        output::json(&all)?;
        return Ok(ExitCode::SUCCESS);
    }
    if all.approvals.is_empty() {
        output::line("nothing waits for people");
        return Ok(ExitCode::SUCCESS);
    }
    let text = render(&all.approvals, output::width());
    text.lines().for_each(|line| output::line(line.trim_end()));
    Ok(ExitCode::SUCCESS)
}

/// From this width on, each has a column of its own; below, what belongs together is put together.
const WIDE: u16 = 200;

/// Most characters of a call's arguments in a table; `approvals show` has them all.
const MAX_ARGUMENTS: usize = 80;

/// The table, as it fits.
fn render(all: &[Approval], width: Option<u16>) -> String {
    let text = |text: &str| printable(text).into_owned();
    let person = |one: &Approval| one.question.user.as_deref().map(text).unwrap_or_default();
    let state = |one: &Approval| output::verdict_cell(&one.state, one.state == "approved");
    if width.is_some_and(|width| width < WIDE) {
        let mut table = output::table(&["UNTIL", "STATE", "APPROVAL, WHO, WHAT, ASKED"], &[0, 1], width);
        for one in all {
            let question = &one.question;
            let person = if person(one).is_empty() { String::new() } else { format!(" for {}", person(one)) };
            let lines = [
                text(&question.approval),
                format!("{}{person}", text(&question.principal)),
                text(&question.resource),
                arguments(one),
                text(&asked(one)),
            ];
            let lines: Vec<String> = lines.into_iter().filter(|line| !line.is_empty()).collect();
            let until = output::when(&one.until, None).replace(' ', "\n");
            table.add_row([output::cell(&until), state(one), output::cell(&lines.join("\n"))]);
        }
        return table.to_string();
    }
    let headers = ["APPROVAL", "STATE", "WHO", "FOR", "WHAT", "ARGUMENTS", "ASKED", "UNTIL"];
    let mut table = output::table(&headers, &[0, 1, 7], width);
    for one in all {
        table.add_row([
            output::cell(&text(&one.question.approval)),
            state(one),
            output::cell(&text(&one.question.principal)),
            output::cell(&person(one)),
            output::cell(&text(&one.question.resource)),
            output::cell(&arguments(one)),
            output::cell(&text(&asked(one))),
            output::cell(&output::when(&one.until, None)),
        ]);
    }
    table.to_string()
}

/// The arguments of the call, as far as a table has room for them.
fn arguments(one: &Approval) -> String {
    let Some(text) = &one.arguments else {
        return not_known(one).to_owned();
    };
    let text = printable(text);
    match text.char_indices().nth(MAX_ARGUMENTS) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.into_owned(),
    }
}

/// Most characters of a call's arguments that are printed at once: what is longer would drive the rest of what is to be looked at off a screen.
const MOST_PRINTED: usize = 4_096;

/// The beginning of a text that is too long to be printed, and what is said of the rest.
fn shortened(text: &str) -> (&str, Option<String>) {
    match text.char_indices().nth(MOST_PRINTED).and_then(|(end, _)| text.split_at_checked(end)) {
        Some((shown, rest)) => {
            let rest = rest.chars().count();
            (
                shown,
                Some(format!(
                    "these are {MOST_PRINTED} characters of {}; {rest} are not shown here",
                    MOST_PRINTED + rest
                )),
            )
        }
        None => (text, None),
    }
}

/// In place of arguments that are not known there.
fn not_known(one: &Approval) -> &'static str {
    match (&one.question.arguments, &one.held_at) {
        (None, _) => "",
        (Some(_), None) => "(not known since a restart)",
        (Some(_), Some(_)) => "(known at another gateway)",
    }
}

/// How many of how many people of which role approved.
fn asked(one: &Approval) -> String {
    let of = |wanted: &Wanted| {
        // Of others only where this policy lets the question go on to them.
        let escalation = wanted.escalation.as_ref().map(|escalation| &escalation.role);
        let counts = |given: &&Given| given.escalation.is_none() || given.escalation.as_ref() == escalation;
        let given = one.given.iter().filter(|given| given.role == wanted.role).filter(counts).count();
        format!("{} {given}/{}", wanted.role, wanted.quorum)
    };
    one.question.asking.iter().map(of).collect::<Vec<_>>().join(", ")
}

fn print(one: &Approval) {
    let row = |label: &str, text: &str| {
        if !text.is_empty() {
            output::line(&format!("{label:<12}{}", printable(text)));
        }
    };
    let question = &one.question;
    row("approval", &question.approval);
    row("state", &one.state);
    row("principal", &question.principal);
    row("owner", &question.owner);
    row("user", question.user.as_deref().unwrap_or_default());
    row("chain", &question.chain.join(" → "));
    row("chain of", &question.chain_owners.join(", "));
    row("method", &question.method);
    row("resource", &question.resource);
    row("endpoint", &question.endpoint);
    let arguments = one.arguments.as_deref().unwrap_or_else(|| not_known(one));
    let (shown, cut) = shortened(arguments);
    row("arguments", shown);
    if let Some(cut) = cut {
        output::line(&format!("{:<12}{cut}", "CUT"));
        output::line(&format!(
            "{:<12}all of it: vidimus approvals show {} -o json",
            "",
            printable(&question.approval)
        ));
    }
    row("held at", one.held_at.as_deref().unwrap_or_default());
    row("not shown", &question.redacted.join(" "));
    if let Some(definition) = &question.definition {
        let (said, digest) = defined(definition);
        row("tool", &said);
        row("definition", digest);
    }
    for wanted in &question.asking {
        row("policy", &format!("{} asks {} of {}", wanted.policy, wanted.quorum, wanted.role));
        row("reason", wanted.reason.as_deref().unwrap_or_default());
        if let Some(Escalates { at, role }) = &wanted.escalation {
            let when = if one.escalated.contains(role) { "since" } else { "from" };
            let at = rfc3339(*at).unwrap_or_default();
            row("escalation", &format!("{role} may approve as well, {when} {at}"));
        }
    }
    for given in &one.given {
        let of = given.escalation.as_ref().map(|role| format!(" ({role})")).unwrap_or_default();
        row(
            "approved",
            &format!("{} as {}{of} at {}{}", given.by, given.role, given.time, because(&given.why)),
        );
    }
    if let Some(changed) = &one.changed {
        row("void", &format!("{changed} {}; the call is asked about anew", became(changed)));
    }
    if let Some(denied) = &one.denied {
        row("denied", &format!("{} at {}{}", denied.by, denied.time, because(&denied.why)));
    }
    for made in &one.made {
        row("made", &format!("call {}: {}", made.call, made.result));
    }
    if let Some(before) = &question.before {
        let result = before.result.as_deref().unwrap_or("unknown: it may have been carried out");
        row("before", &format!("call {} with approval {}: {result}", before.call, before.approval));
    }
    row("until", &one.until);
    row("shown", one.shown.as_deref().unwrap_or_default());
}

/// What the server says of the tool, in quotes: these are its own words, and nobody has looked at them; and the digest of all of it.
fn defined(definition: &Definition) -> (String, &str) {
    let Some(digest) = &definition.digest else {
        return ("the server lists no tool of this name".to_owned(), "");
    };
    let said = match &definition.description {
        Some(description) => format!("the server says: {description:?}"),
        None => "the server says nothing of what it does".to_owned(),
    };
    (said, digest)
}

/// What became of that by which an approval is void.
fn became(changed: &str) -> &'static str {
    match changed.split_once('/').map(|(kind, _)| kind) {
        Some("User") => "was quarantined after approving",
        Some("Identity" | "Instance") => "was quarantined after asking",
        _ => "is not what it was when this was asked",
    }
}

/// In the words of a person, where there are any.
fn because(why: &str) -> String {
    if why.is_empty() { String::new() } else { format!(": {why}") }
}

#[cfg(test)]
mod tests;
