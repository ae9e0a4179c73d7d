//! `vidimus policy`: what the policies say of a call, without making it, and what they can speak of.

mod check;
mod explain;
mod reach;
mod state;

use std::process::ExitCode;

use anyhow::anyhow;
use clap::{Args, Subcommand};
use vidimus_core::decide::schema;

use crate::output::{self, Format};

/// Asks the policies.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  vidimus policy explain --resources DIR --principal Agent/finance/invoice-bot \\
    --resource Tool/finance/ledger/get_invoice
  vidimus policy reach --resources DIR --resource Tool/finance/ledger/transfer
  vidimus policy schema | less")]
pub struct Policy {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Explain(Box<explain::Explain>),
    Reach(Box<reach::Reach>),
    Check(check::Check),
    /// Prints the vocabulary of policies, a Cedar schema: actions, principals, resources, their attributes and the context. With -o
    /// json it is Cedar's JSON form of it.
    #[command(after_help = "Examples:
  vidimus policy schema > vidimus.cedarschema    # for an editor
  vidimus policy schema | grep -A3 'type Call'")]
    Schema,
}

pub fn run(policy: &Policy, format: Format) -> anyhow::Result<ExitCode> {
    match &policy.command {
        Command::Explain(asked) => explain::run(asked, format),
        Command::Reach(asked) => reach::run(asked, format),
        Command::Check(asked) => check::run(asked, format),
        Command::Schema => {
            match format {
                Format::Table => output::line(schema::TEXT.trim_end()),
                Format::Json => output::json(&schema::json().map_err(|fault| anyhow!(fault))?)?,
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}
