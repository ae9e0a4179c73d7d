//! `vidimus declassify`: a label that is taken away from what somebody has read.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::json;
use vidimus_core::act::Subject;
use vidimus_query::acts::ActDone;

use super::admin_client::{Asking, told};
use super::quarantine::{agent, service};
use crate::output::Format;

/// Takes a flow label away from what an agent or a service, or a chain of calls, has read.
///
/// Labels (`context.labels`) are added by what is read and never go away by a call; an agent has them for an hour, a chain as long as
/// it lasts. It is an act of yours, on record with your name and why; whether you may is in policies (Action::"declassify"). What is
/// read afterwards counts again. `vidimus policy explain --call ID` shows where a label came from.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  vidimus declassify agent finance/invoice-bot --label confidential \\
    --why 'INC-7: the report was published'
  vidimus declassify agent finance/invoice-bot --label personal \\
    --person 'https://login.example#ada' --why 'ada agreed'
  vidimus declassify chain 019aa3b0-7c5e-7d11-a8f1-2f0d2f6c9a10 \\
    --label untrusted --why 'INC-7: looked at'

Exit codes: 0 done, 2 not done")]
pub struct Declassify {
    #[command(subcommand)]
    of: Of,
}

#[derive(Debug, Subcommand)]
enum Of {
    /// Of what an agent has read, in whatever chain; for everybody, or for one person.
    #[command(after_help = "Example:
  vidimus declassify agent finance/invoice-bot --label confidential \\
    --why 'INC-7: the report was published'")]
    Agent {
        /// The agent: namespace/name.
        name: String,
        /// Only of what it read for this person: issuer#subject.
        #[arg(long, value_name = "PERSON")]
        person: Option<String>,
        #[command(flatten)]
        act: Act,
    },
    /// Of what a service has read, as of an agent.
    #[command(after_help = "Example:
  vidimus declassify service finance/nightly-report --label personal \\
    --why 'INC-7: ada agreed'")]
    Service {
        /// The service: namespace/name.
        name: String,
        /// Only of what it read for this person: issuer#subject.
        #[arg(long, value_name = "PERSON")]
        person: Option<String>,
        #[command(flatten)]
        act: Act,
    },
    /// Of what a chain has read, by its transaction, as records have it. The agents in it keep what they read.
    #[command(after_help = "Example:
  vidimus declassify chain 019aa3b0-7c5e-7d11-a8f1-2f0d2f6c9a10 \\
    --label untrusted --why 'INC-7: looked at'")]
    Chain {
        /// The chain, by its transaction.
        transaction: String,
        #[command(flatten)]
        act: Act,
    },
}

#[derive(Debug, Args)]
struct Act {
    /// The label.
    #[arg(long)]
    label: String,
    /// Why, for the record; at most 1024 bytes.
    #[arg(long)]
    why: String,
    #[command(flatten)]
    asking: Asking,
}

pub fn run(declassify: &Declassify, format: Format) -> anyhow::Result<ExitCode> {
    let (subject, person, act) = match &declassify.of {
        Of::Agent { name, person, act } => (agent(name)?, person.as_deref(), act),
        Of::Service { name, person, act } => (service(name)?, person.as_deref(), act),
        Of::Chain { transaction, act } => {
            let chain = Subject::Chain(transaction.as_str().into());
            chain.check()?;
            (chain, None, act)
        }
    };
    let mut question = json!({"subject": subject, "label": act.label, "why": act.why});
    if let (Some(members), Some(person)) = (question.as_object_mut(), person) {
        members.insert("person".to_owned(), person.into());
    }
    let done: ActDone = act.asking.post("/declassify", &question)?;
    told(&done, &format!("has not read '{}' any more", crate::output::printable(&act.label)), format)
}
