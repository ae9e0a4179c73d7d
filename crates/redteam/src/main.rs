//! `vidimus-redteam`: attacks a gateway that it starts, and says what held.

#![expect(clippy::print_stdout, reason = "a program for people and scripts")]

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use vidimus_redteam::probes;
use vidimus_redteam::report;
use vidimus_redteam::run::{self, Verdict};
use vidimus_redteam::soak::{self, Plan};
use vidimus_redteam::stage::Stage;

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Output {
    Table,
    Json,
}

/// Attacks a gateway that it starts. Exit status 1 where something is broken that is not known to be.
#[derive(Debug, Parser)]
struct Arguments {
    /// The vidimus binary to attack
    #[arg(long)]
    binary: PathBuf,
    /// How results are printed: for people, or as JSON, one object a line
    #[arg(short, long, value_enum, default_value = "table")]
    output: Output,
    /// Only probes whose names contain this
    #[arg(long, default_value = "")]
    only: String,
    /// Print the probes, and try none
    #[arg(long)]
    list: bool,
    /// For so many minutes: mixed traffic with attacks in it instead, samples of memory and descriptors as JSON lines, at the end whether
    /// they stayed flat and the ledger intact
    #[arg(long, value_name = "MINUTES")]
    soak: Option<u64>,
    /// MCP sessions of a soak
    #[arg(long, default_value_t = 2_000)]
    sessions: usize,
    /// Calls a second of a soak
    #[arg(long, default_value_t = 100)]
    rate: u32,
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    if let Some(minutes) = arguments.soak {
        let (time, every) = (Duration::from_secs(60 * minutes), Duration::from_secs(10));
        let plan = Plan { time, sessions: arguments.sessions, rate: arguments.rate, every };
        let holds = soak::run(&arguments.binary, plan, |line| println!("{line}"))?;
        return Ok(ExitCode::from(u8::from(!holds)));
    }
    let mut chosen = probes::all();
    chosen.retain(|probe| probe.name.contains(&arguments.only));
    if arguments.list {
        for probe in &chosen {
            println!("{}\t{}\t{}", probe.name, probe.protocol.as_str(), probe.tries);
        }
        return Ok(ExitCode::SUCCESS);
    }
    let mut stage = Stage::start(&arguments.binary, probes::TIMES)?;
    let outcomes = run::run(&mut stage, chosen)?;
    match arguments.output {
        Output::Table => println!("{}", report::table(&outcomes)),
        Output::Json => outcomes.iter().for_each(|outcome| println!("{}", report::json(outcome))),
    }
    let broken = outcomes.iter().any(|outcome| outcome.verdict == Verdict::Broken);
    Ok(ExitCode::from(u8::from(broken)))
}
