//! `vidimus quarantine`: out of use in one act.

use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;
use vidimus_core::act::Subject;
use vidimus_query::acts::{ActDone, Quarantined, QuarantinedBy, Quarantines};

use super::admin_client::{Asking, told};
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
pub struct Quarantine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// All calls by an agent, and through it.
    #[command(after_help = "Example:\n  vidimus quarantine agent finance/invoice-bot --why 'INC-7'")]
    Agent(Named),
    /// All calls by a service, and through it.
    #[command(after_help = "Example:\n  vidimus quarantine service finance/reporting --why 'INC-7'")]
    Service(Named),
    /// All calls to an MCP server.
    #[command(after_help = "Example:\n  vidimus quarantine server finance/ledger --why 'INC-7'")]
    Server(Named),
    /// All calls to a provider of models.
    #[command(after_help = "Example:\n  vidimus quarantine provider platform/openai --why 'INC-7'")]
    Provider(Named),
    /// All calls by one copy of an agent or a service, by the identity that it uses, as records have it.
    #[command(
        after_help = "Example:\n  vidimus quarantine identity spiffe://corp.example/ns/a/sa/b --why 'INC-7'"
    )]
    Identity(Named),
    /// All calls for a person: issuer#subject.
    #[command(after_help = "Example:\n  vidimus quarantine user 'https://login.example#ada' --why 'INC-7'")]
    User(Named),
    /// All calls of a chain, by its transaction.
    #[command(
        after_help = "Example:\n  vidimus quarantine chain 019aa3b0-7c5e-7d11-a8f1-2f0d2f6c9a10 --why x"
    )]
    Chain(Named),
    /// Ends a quarantine. What its own record says (spec.quarantined) stays.
    #[command(after_help = "Example:
  vidimus quarantine lift agent finance/invoice-bot --why 'INC-7 closed'")]
    Lift {
        /// What kind of thing it is.
        #[arg(value_enum)]
        kind: Kind,
        #[command(flatten)]
        named: Named,
    },
    /// What is out of use, by whom and why: by acts, and by the records of agents and services themselves.
    #[command(after_help = "Examples:
  vidimus quarantine list
  vidimus quarantine list -o json | jq '.quarantined[].subject'")]
    List(#[command(flatten)] Asking),
}

/// What an act is about, and why it is done.
#[derive(Debug, Args)]
struct Named {
    /// Its name: namespace/name of what is registered.
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
    Identity,
    User,
    Chain,
}

impl Kind {
    fn subject(self, name: &str) -> anyhow::Result<Subject> {
        let kind = match self {
            Self::Agent => "Agent",
            Self::Service => "Service",
            Self::Server => "MCPServer",
            Self::Provider => "LLMProvider",
            Self::Identity => "Identity",
            Self::User => "User",
            Self::Chain => "Chain",
        };
        Ok(format!("{kind}/{name}").parse()?)
    }
}

pub fn run(quarantine: &Quarantine, format: Format) -> anyhow::Result<ExitCode> {
    let (kind, named) = match &quarantine.command {
        Command::Agent(named) => (Kind::Agent, named),
        Command::Service(named) => (Kind::Service, named),
        Command::Server(named) => (Kind::Server, named),
        Command::Provider(named) => (Kind::Provider, named),
        Command::Identity(named) => (Kind::Identity, named),
        Command::User(named) => (Kind::User, named),
        Command::Chain(named) => (Kind::Chain, named),
        Command::Lift { kind, named } => return lift(&kind.subject(&named.name)?, named, format),
        Command::List(asking) => return list(asking, format),
    };
    let question = json!({"subject": kind.subject(&named.name)?, "why": named.why});
    let done: ActDone = named.asking.post("/quarantine", &question)?;
    told(&done, "is quarantined", format)
}

fn lift(subject: &Subject, named: &Named, format: Format) -> anyhow::Result<ExitCode> {
    let subject = subject.to_string();
    let quarantines: Quarantines = named.asking.get("/quarantine")?;
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
        named.asking.post("/quarantine/lift", &json!({"subject": subject, "of": of, "why": named.why}))?;
    if by_record {
        output::warning(&format!("{subject} stays quarantined by its own record (spec.quarantined)"));
    }
    told(&done, "is not quarantined by an act any more", format)
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
