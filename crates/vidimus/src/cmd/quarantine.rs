//! `vidimus quarantine`: out of use in one act.

use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;
use vidimus_core::act::Subject;
use vidimus_query::acts::{ActDone, Quarantined, QuarantinedBy, Quarantines};

use super::admin_client::Asking;
use crate::output::{self, Format, printable};

/// Takes an agent, a server, a person or a chain out of use in one act, and puts it back.
///
/// Every call by or to it is refused from the moment that the command returns, its tokens are refused, and answers that are
/// streaming are cut. It holds until it is lifted, over restarts. It is an act of yours, on record with your name and why; whether
/// you may is in policies (Action::"quarantine", Action::"lift").
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  vidimus quarantine agent finance/invoice-bot --why 'INC-7: odd transfers'
  vidimus quarantine user 'https://login.example#ada' --why 'account stolen'
  vidimus quarantine chain 019aa3b0-7c5e-7d11-a8f1-2f0d2f6c9a10 --why 'INC-7'
  vidimus quarantine list
  vidimus quarantine lift agent finance/invoice-bot --why 'INC-7 closed'

Exit codes: 0 done, 1 not on the list, 2 not done")]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Quarantine {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Ends a quarantine. What its own record says (spec.quarantined) stays.
    #[command(after_help = "Example:
  vidimus quarantine lift agent finance/invoice-bot --why 'INC-7 closed'")]
    Lift(What),
    /// What is out of use, by whom and why: by acts, and by the records of agents and services themselves.
    #[command(after_help = "Examples:
  vidimus quarantine list
  vidimus quarantine list -o json | jq '.quarantined[].subject'")]
    List(#[command(flatten)] Asking),
}

/// What an act is about.
#[derive(Debug, Args)]
struct What {
    /// What kind of thing it is.
    #[arg(value_enum)]
    kind: Kind,
    /// namespace/name of what is registered; of an identity as records have it; issuer#subject; the transaction of a chain.
    name: String,
    /// Why, for the record; at most 1024 bytes.
    #[arg(long)]
    why: String,
    #[command(flatten)]
    asking: Asking,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    Agent,
    Service,
    Server,
    Provider,
    /// One copy of an agent or a service, by the identity that it uses: spiffe://…
    Identity,
    User,
    Chain,
}

impl What {
    fn subject(&self) -> anyhow::Result<Subject> {
        let kind = match self.kind {
            Kind::Agent => "Agent",
            Kind::Service => "Service",
            Kind::Server => "MCPServer",
            Kind::Provider => "LLMProvider",
            Kind::Identity => "Identity",
            Kind::User => "User",
            Kind::Chain => "Chain",
        };
        Ok(format!("{kind}/{}", self.name).parse()?)
    }
}

pub fn run(quarantine: &Quarantine, format: Format) -> anyhow::Result<ExitCode> {
    match &quarantine.command {
        None => place(&quarantine.what, format),
        Some(Command::Lift(what)) => lift(what, format),
        Some(Command::List(asking)) => list(asking, format),
    }
}

fn place(what: &What, format: Format) -> anyhow::Result<ExitCode> {
    let subject = what.subject()?;
    let question = json!({"subject": subject, "why": what.why});
    let done: ActDone = what.asking.post("/quarantine", &question)?;
    told(&done, "is quarantined", format)
}

fn lift(what: &What, format: Format) -> anyhow::Result<ExitCode> {
    let subject = what.subject()?.to_string();
    let quarantines: Quarantines = what.asking.get("/quarantine")?;
    let of_subject = |one: &&Quarantined| one.subject == subject;
    let placed = quarantines.quarantined.iter().filter(of_subject).find_map(|one| one.act.clone());
    let by_record =
        quarantines.quarantined.iter().filter(of_subject).any(|one| one.by == QuarantinedBy::Record);
    let Some(of) = placed else {
        output::warning(&match by_record {
            true => format!(
                "{subject} is quarantined by its own record (spec.quarantined) alone, which no act lifts"
            ),
            false => format!("{subject} is not quarantined"),
        });
        return Ok(ExitCode::from(1));
    };
    let done: ActDone =
        what.asking.post("/quarantine/lift", &json!({"subject": subject, "of": of, "why": what.why}))?;
    if by_record {
        output::warning(&format!("{subject} stays quarantined by its own record (spec.quarantined)"));
    }
    told(&done, "is not quarantined by an act any more", format)
}

fn told(done: &ActDone, what: &str, format: Format) -> anyhow::Result<ExitCode> {
    match format {
        Format::Json => output::json(done)?,
        Format::Table => {
            output::line(&format!("{} {what}", printable(&done.subject)));
            output::line(&format!("act {}, record {}", done.act, done.record));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn list(asking: &Asking, format: Format) -> anyhow::Result<ExitCode> {
    let quarantines: Quarantines = asking.get("/quarantine")?;
    if format == Format::Json {
        output::json(&quarantines)?;
        return Ok(ExitCode::SUCCESS);
    }
    if quarantines.quarantined.is_empty() {
        output::line("nothing is quarantined");
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = output::table(&["SUBJECT", "BY", "WHO", "SINCE", "WHY"], &[0], output::width());
    for one in &quarantines.quarantined {
        let by = match one.by {
            QuarantinedBy::Act => "act",
            QuarantinedBy::Record => "record",
        };
        let text = |text: &Option<String>| output::cell(&printable(text.as_deref().unwrap_or_default()));
        table.add_row([
            output::cell(&printable(&one.subject)),
            output::cell(by),
            text(&one.actor),
            text(&one.time),
            text(&one.why),
        ]);
    }
    output::line(&table.to_string());
    Ok(ExitCode::SUCCESS)
}
