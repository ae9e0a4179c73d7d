//! `vidimus policy`: what the policies say of a call, without making it, and what they can speak of.

mod check;
mod diff;
mod explain;
mod fmt;
mod init;
mod plan;
mod proof;
mod reach;
mod replay;
mod state;
mod suggest;
mod test;

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
    Replay(replay::Replay),
    Suggest(suggest::Suggest),
    Diff(diff::Diff),
    Fmt(fmt::Fmt),
    Init(init::Init),
    Plan(plan::Plan),
    Test(test::Test),
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
        Command::Replay(replay) => replay::run(replay, format),
        Command::Suggest(suggest) => suggest::run(suggest, format),
        Command::Diff(diff) => diff::run(diff, format),
        Command::Fmt(fmt) => fmt::run(fmt, format),
        Command::Init(init) => init::run(init, format),
        Command::Plan(plan) => plan::run(plan, format),
        Command::Test(test) => test::run(test, format),
        Command::Schema => {
            match format {
                Format::Table => output::line(schema::TEXT.trim_end()),
                Format::Json => output::json(&schema::json().map_err(|fault| anyhow!(fault))?)?,
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}
