//! `vidimus quarantine`: out of use in one act.

use std::process::ExitCode;

use anyhow::{bail, ensure};
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

Exit codes: 0 done, 2 not done")]
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
    /// All calls by one copy of an agent or a service: the UID of its pod, as records have it. Its siblings go on.
    #[command(after_help = "Examples:
  vidimus quarantine instance 6d1f2c4e-9b3a-4c0d-8e5f-1a2b3c4d5e6f --why 'INC-7'
  vidimus quarantine instance --why 'INC-7' \\
    $(kubectl get pod invoice-bot-0 -o jsonpath={.metadata.uid})")]
    Instance(Named),
    /// All calls for a person: issuer#subject.
    #[command(after_help = "Example:\n  vidimus quarantine user 'https://login.example#ada' --why 'INC-7'")]
    User(Named),
    /// All calls of a chain, by its transaction.
    #[command(
        after_help = "Example:\n  vidimus quarantine chain 019aa3b0-7c5e-7d11-a8f1-2f0d2f6c9a10 --why x"
    )]
    Chain(Named),
    /// Undoes one act of quarantine. What others did stays, and what its own record says (spec.quarantined).
    #[command(after_help = "Examples:
  vidimus quarantine lift agent finance/invoice-bot --why 'INC-7 closed'
  vidimus quarantine lift agent finance/invoice-bot --why 'INC-7 closed' \\
    --act 019aa3b0-7c5e-7d11-a8f1-2f0d2f6c9a10")]
    Lift {
        /// What kind of thing it is.
        #[arg(value_enum)]
        kind: Kind,
        /// The act that is undone, where there are several: each suffices, and is lifted alone.
        #[arg(long)]
        act: Option<String>,
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
    /// What is meant: namespace/name of what is registered, issuer#subject of a
    /// person, the UID of a pod, or the identity or transaction that records have.
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
    Instance,
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
            Self::Instance => "Instance",
            Self::User => "User",
            Self::Chain => "Chain",
        };
        // Also as it stands in tables.
        let name = name.strip_prefix(kind).and_then(|rest| rest.strip_prefix('/')).unwrap_or(name);
        match self {
            Self::Agent | Self::Service | Self::Server | Self::Provider => ensure!(
                name.split('/').filter(|part| !part.is_empty()).count() == 2
                    && name.matches('/').count() == 1,
                "'{name}' has no namespace: write namespace/name, as in finance/{}",
                name.rsplit('/').next().filter(|last| !last.is_empty()).unwrap_or("invoice-bot")
            ),
            Self::User => ensure!(
                name.contains('#'),
                "'{name}' is nobody: write issuer#subject, as records have it, as in https://login.example#ada"
            ),
            Self::Identity | Self::Instance | Self::Chain => {}
        }
        Ok(format!("{kind}/{name}").parse()?)
    }

    /// What is to be quarantined: of what nobody registers, what can be one.
    fn to_quarantine(self, name: &str) -> anyhow::Result<Subject> {
        let subject = self.subject(name)?;
        subject.check()?;
        Ok(subject)
    }
}

/// An agent by its name, `namespace/name` or as it stands in tables.
///
/// # Errors
/// What to write instead.
pub(super) fn agent(name: &str) -> anyhow::Result<Subject> {
    Kind::Agent.subject(name)
}

/// A service: `namespace/name`.
pub(super) fn service(name: &str) -> anyhow::Result<Subject> {
    Kind::Service.subject(name)
}

pub fn run(quarantine: &Quarantine, format: Format) -> anyhow::Result<ExitCode> {
    let (kind, named) = match &quarantine.command {
        Command::Agent(named) => (Kind::Agent, named),
        Command::Service(named) => (Kind::Service, named),
        Command::Server(named) => (Kind::Server, named),
        Command::Provider(named) => (Kind::Provider, named),
        Command::Identity(named) => (Kind::Identity, named),
        Command::Instance(named) => (Kind::Instance, named),
        Command::User(named) => (Kind::User, named),
        Command::Chain(named) => (Kind::Chain, named),
        Command::Lift { kind, act, named } => {
            return lift(&kind.subject(&named.name)?, act.as_deref(), named, format);
        }
        Command::List(asking) => return list(asking, format),
    };
    let question = json!({"subject": kind.to_quarantine(&named.name)?, "why": named.why});
    let done: ActDone = named.asking.post("/quarantine", &question)?;
    told(&done, "is quarantined", format)
}

fn lift(subject: &Subject, act: Option<&str>, named: &Named, format: Format) -> anyhow::Result<ExitCode> {
    let subject = subject.to_string();
    let quarantines: Quarantines = named.asking.get("/quarantine")?;
    let of_subject = |one: &&Quarantined| one.subject == subject;
    let stands = || quarantines.quarantined.iter().filter(of_subject);
    let acts: Vec<&Quarantined> = stands().filter(|one| one.act.is_some()).collect();
    let by_record = stands().any(|one| one.by == QuarantinedBy::Record);
    let chosen = acts.iter().find(|one| act.is_none() || one.act.as_deref() == act);
    if acts.len() > 1 && act.is_none() || !acts.is_empty() && chosen.is_none() {
        bail!("say with --act which act is lifted; each suffices: {}", listed(&acts));
    }
    let Some(of) = chosen.and_then(|one| one.act.as_deref()) else {
        match by_record {
            true => bail!(
                "{subject} is quarantined by its own record (spec.quarantined) alone, which no act lifts"
            ),
            false => bail!("{subject} is not quarantined; `vidimus quarantine list` shows what is"),
        }
    };
    let done: ActDone =
        named.asking.post("/quarantine/lift", &json!({"subject": subject, "of": of, "why": named.why}))?;
    if by_record {
        output::warning(&format!("{subject} stays quarantined by its own record (spec.quarantined)"));
    }
    let others: Vec<&Quarantined> =
        acts.iter().copied().filter(|one| one.act.as_deref() != Some(of)).collect();
    if others.is_empty() {
        return told(&done, "is not quarantined by an act any more", format);
    }
    output::warning(&format!("{subject} stays quarantined: {}", listed(&others)));
    told(&done, "is not quarantined by that act any more", format)
}

/// Acts in words.
fn listed(acts: &[&Quarantined]) -> String {
    let text = |text: &Option<String>| printable(text.as_deref().unwrap_or_default()).into_owned();
    let each =
        acts.iter().map(|one| format!("{} (by {}: {})", text(&one.act), text(&one.actor), text(&one.why)));
    each.collect::<Vec<_>>().join(", ")
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
    let mut table = output::table(&["SUBJECT", "BY", "WHO", "SINCE", "WHY"], &[0, 1, 3], output::width());
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
            output::cell(&one.time.as_deref().map(|time| output::when(time, None)).unwrap_or_default()),
            text(&one.why),
        ]);
    }
    output::line(&table.to_string());
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A name that is mistyped quarantines nothing, so it is refused and not reported as done.
    #[test]
    fn what_can_be_nothing_is_refused_with_what_to_write() {
        for (kind, name, says) in [
            (Kind::Agent, "invoice-bot", "write namespace/name, as in finance/invoice-bot"),
            (Kind::Agent, "a/b/c", "write namespace/name"),
            (Kind::Server, "", "write namespace/name, as in finance/invoice-bot"),
            (Kind::User, "ada", "write issuer#subject"),
            (Kind::Identity, "garbage", "spiffe://TRUST-DOMAIN/… or oidc:ISSUER#SUBJECT"),
            (Kind::Identity, "spiffe://", "spiffe://TRUST-DOMAIN/…"),
            (Kind::Identity, "oidc:https://login.example", "oidc:ISSUER#SUBJECT"),
            (Kind::Instance, "invoice-bot-0", "the UID of its pod"),
            (Kind::Instance, "6D1F2C4E-9B3A-4C0D-8E5F-1A2B3C4D5E6F", "the UID of its pod"),
            (Kind::Chain, "not-a-uuid", "a UUID such as"),
            (Kind::Chain, "ext-", "or ext-…"),
        ] {
            let said = kind.to_quarantine(name).expect_err(name).to_string();
            assert!(said.contains(says), "{name}: {said}");
        }
        for (kind, name, subject) in [
            (Kind::Agent, "finance/invoice-bot", "Agent/finance/invoice-bot"),
            (Kind::Agent, "Agent/finance/invoice-bot", "Agent/finance/invoice-bot"),
            (Kind::Identity, "spiffe://corp.example/ns/a/sa/b", "Identity/spiffe://corp.example/ns/a/sa/b"),
            (Kind::Identity, "oidc:https://login.example#6f", "Identity/oidc:https://login.example#6f"),
            (Kind::User, "https://login.example#ada", "User/https://login.example#ada"),
            (Kind::Instance, "Instance/0a1f", "Instance/0a1f"),
            (Kind::Chain, "ext-6f0c", "Chain/ext-6f0c"),
            (
                Kind::Chain,
                "019aa3b0-7c5e-7d11-a8f1-2f0d2f6c9a10",
                "Chain/019aa3b0-7c5e-7d11-a8f1-2f0d2f6c9a10",
            ),
        ] {
            assert_eq!(kind.to_quarantine(name).expect(name).to_string(), subject);
        }
        // What was quarantined whatever it is called can be lifted.
        assert!(Kind::Chain.subject("not-a-uuid").is_ok());
    }
}
