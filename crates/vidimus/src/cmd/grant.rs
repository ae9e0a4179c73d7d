//! `vidimus grant`: what an agent is lent for a task.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, anyhow, ensure};
use clap::{ArgGroup, Args, Subcommand};
use serde_json::json;
use vidimus_core::act::{Subject, Terms, Thing};
use vidimus_core::entity::{EntityId, EntityKind};
use vidimus_query::acts::{ActDone, GrantShown, Grants};

use super::admin_client::Asking;
use super::quantity::duration;
use crate::output::{self, Format, printable};

/// Lends an agent what policies do not permit it: for one task, some resources and a time.
///
/// A grant is a permit of its own (vidimus/grant#ID): records and `policy explain` name it, and what policies forbid stays
/// forbidden. An agent asks for one by making a refused call again with the header Vidimus-Request-Grant, which says why. Whether you
/// may give one is in policies (Action::"grant" on each resource).
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  vidimus grant give finance/invoice-bot --resource Tool/finance/bank/refund \\
    --uses 2 --for 15m --why 'CASE-12'
  vidimus grant list
  vidimus grant approve 019aa3b0-7c5e-7d11-a8f1-2f0d2f6c9a10 --why 'CASE-12'
  vidimus grant revoke 019aa3b0-7c5e-7d11-a8f1-2f0d2f6c9a10 --why 'done'

Exit codes: 0 done, 2 not done")]
pub struct Grant {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Gives a grant that nobody asked for.
    #[command(after_help = "Example:
  vidimus grant give finance/invoice-bot --resource MCPServer/finance/bank \\
    --transaction 019aa3b0-7c5e-7d11-a8f1-2f0d2f6c9a10 --for 1h --why 'CASE-12'")]
    Give(Give),
    /// Asks for a grant for an agent.
    #[command(after_help = "Example:
  vidimus grant request finance/invoice-bot \\
    --resource Tool/finance/bank/refund \\
    --uses 1 --why 'CASE-12'")]
    Request(Wanted),
    /// Grants what was asked for.
    #[command(after_help = "Example:
  vidimus grant approve 019aa3b0-7c5e-7d11-a8f1-2f0d2f6c9a10 --for 5m --why 'ok'")]
    Approve {
        /// The id of the request.
        request: String,
        /// How many calls, instead of as many as were asked for.
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
        uses: Option<u32>,
        #[command(flatten)]
        length: Length,
    },
    /// Ends a grant before its time, or declines a request.
    #[command(after_help = "Example:
  vidimus grant revoke 019aa3b0-7c5e-7d11-a8f1-2f0d2f6c9a10 --why 'done'")]
    Revoke {
        /// The id of the grant, or of the request.
        id: String,
        /// Why, for the record.
        #[arg(long)]
        why: String,
        #[command(flatten)]
        asking: Asking,
    },
    /// The grants that stand, and the requests for them.
    #[command(after_help = "Examples:
  vidimus grant list
  vidimus grant list -o json | jq '.requests[].id'")]
    List(#[command(flatten)] Asking),
}

#[derive(Debug, Args)]
struct Give {
    #[command(flatten)]
    of: Of,
    #[command(flatten)]
    length: Length,
}

#[derive(Debug, Args)]
struct Wanted {
    #[command(flatten)]
    of: Of,
    /// Why, for the record and for who decides.
    #[arg(long)]
    why: String,
    #[command(flatten)]
    asking: Asking,
}

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("task").args(["uses", "transaction"]).required(true).multiple(true)))]
struct Of {
    /// The agent: namespace/name.
    agent: String,
    /// What it may use: Tool/namespace/server/name, Resource/…, Prompt/…, Skill/…, Model/…, or all of an MCPServer/…, Agent/… or
    /// LLMProvider/…; may be given several times.
    #[arg(long, required = true)]
    resource: Vec<Thing>,
    /// The one chain in which it may, by its transaction.
    #[arg(long)]
    transaction: Option<String>,
    /// How many calls it may make.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    uses: Option<u32>,
}

#[derive(Debug, Args)]
struct Length {
    /// How long it is good, e.g. 15m; at most 24h.
    #[arg(long = "for", default_value = "15m", value_parser = duration)]
    life: Duration,
    /// Why, for the record.
    #[arg(long)]
    why: String,
    #[command(flatten)]
    asking: Asking,
}

impl Of {
    fn terms(&self) -> anyhow::Result<Terms> {
        let name = self.agent.strip_prefix("Agent/").unwrap_or(&self.agent);
        ensure!(name.contains('/'), "'{name}' has no namespace: write namespace/name, as in finance/{name}");
        if let Some(transaction) = &self.transaction {
            Subject::Chain(transaction.as_str().into()).check().context("--transaction")?;
        }
        let agent = Thing(EntityId::new(EntityKind::Agent, name));
        let (resources, transaction) = (self.resource.clone(), self.transaction.clone());
        let terms = Terms { agent, resources, transaction, uses: self.uses };
        terms.check()?;
        Ok(terms)
    }
}

pub fn run(grant: &Grant, format: Format) -> anyhow::Result<ExitCode> {
    match &grant.command {
        Command::Give(Give { of, length }) => {
            let question = json!({"terms": of.terms()?, "seconds": length.life.as_secs(), "why": length.why});
            given(&length.asking.post("/grants", &question)?, format)
        }
        Command::Request(Wanted { of, why, asking }) => {
            let done: ActDone =
                asking.post("/grants/requests", &json!({"terms": of.terms()?, "why": why}))?;
            told(&done, &format!("is asked for: {}", done.act), format)
        }
        Command::Approve { request, uses, length } => approve(request, *uses, length, format),
        Command::Revoke { id, why, asking } => {
            let done: ActDone = asking.post("/grants/revoke", &json!({"of": id, "why": why}))?;
            let is_request = done.subject.starts_with("Request/");
            told(&done, if is_request { "is declined" } else { "is revoked" }, format)
        }
        Command::List(asking) => list(&asking.get("/grants")?, format),
    }
}

fn approve(request: &str, uses: Option<u32>, length: &Length, format: Format) -> anyhow::Result<ExitCode> {
    let grants: Grants = length.asking.get("/grants")?;
    let Some(asked) = grants.requests.iter().find(|asked| asked.id == request).cloned() else {
        return Err(no_request(&grants, request));
    };
    let thing = |text: &str| text.parse::<Thing>().map_err(anyhow::Error::msg).context("the request");
    let resources: Result<Vec<Thing>, _> = asked.resources.iter().map(|text| thing(text)).collect();
    let (agent, transaction, uses) = (thing(&asked.agent)?, asked.transaction, uses.or(asked.uses));
    let terms = Terms { agent, resources: resources?, transaction, uses };
    let question =
        json!({"terms": terms, "seconds": length.life.as_secs(), "request": request, "why": length.why});
    given(&length.asking.post("/grants", &question)?, format)
}

/// Why there is no such request: what ended it, where it stood.
fn no_request(grants: &Grants, id: &str) -> anyhow::Error {
    let over = grants.ended.iter().rfind(|ended| ended.of == id);
    match over {
        Some(over) => anyhow!("{}", printable(&over.to_string())),
        None if grants.grants.iter().any(|grant| grant.id == id) => {
            anyhow!("{id} is a grant, and no request for one: nothing is to be approved")
        }
        None => anyhow!("no request {id} stands; `vidimus grant list` shows those that do"),
    }
}

fn given(done: &ActDone, format: Format) -> anyhow::Result<ExitCode> {
    told(done, &format!("has the grant {}", done.act), format)
}

fn told(done: &ActDone, what: &str, format: Format) -> anyhow::Result<ExitCode> {
    done.warnings.iter().for_each(|warning| output::warning(warning));
    match format {
        Format::Json => output::json(done)?,
        Format::Table => output::line(&format!("{} {what}", printable(&done.subject))),
    }
    Ok(ExitCode::SUCCESS)
}

fn list(grants: &Grants, format: Format) -> anyhow::Result<ExitCode> {
    if format == Format::Json {
        output::json(grants)?;
        return Ok(ExitCode::SUCCESS);
    }
    if grants.grants.is_empty() && grants.requests.is_empty() {
        output::line("no grant stands, and none is asked for");
        return Ok(ExitCode::SUCCESS);
    }
    let headers = ["WHAT", "ID", "AGENT", "RESOURCES", "CHAIN", "USES", "UNTIL", "BY", "WHY"];
    let mut table = output::table(&headers, &[1, 2], output::width());
    let rows = grants.requests.iter().map(|one| ("request", one));
    for (what, one) in rows.chain(grants.grants.iter().map(|one| ("grant", one))) {
        let text = |text: &str| output::cell(&printable(text));
        table.add_row([
            text(what),
            text(&one.id),
            text(&one.agent),
            text(&one.resources.join(", ")),
            text(one.transaction.as_deref().unwrap_or_default()),
            text(&uses(one)),
            output::cell(&output::when(&one.until, None)),
            text(&one.actor),
            text(&one.why),
        ]);
    }
    output::line(&table.to_string());
    Ok(ExitCode::SUCCESS)
}

fn uses(one: &GrantShown) -> String {
    one.uses.map(|uses| format!("{} of {uses}", one.used)).unwrap_or_default()
}
