//! `bench`: what `make bench` runs. One JSON object per line on standard output, remarks on standard error.
//!
//! The first line is the machine. A ratio that misses its goal is a figure with `"holds": false` and no error; a time is not
//! judged; what could not be measured is an error.

mod compare;
mod crate_benches;
mod estate;
mod figure;
mod gateway;
mod ground;
mod grpc;
mod latency;
mod limits_in_redis;
mod load;
mod machine;
mod peers;
mod process;
mod scenario;
mod streams;
mod turns;
mod upstream;
mod wire;
mod witness;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, ensure};
use clap::{Args, Parser, Subcommand, ValueEnum};

use ground::Ground;
use peers::Peer;
use scenario::Scenario;
use upstream::Upstream;

/// Measures Vidimus end to end, and runs the benchmarks of its crates.
#[derive(Debug, Parser)]
#[command(
    after_help = "How it is judged: the first line says which machine this is and how fast. A figure with a goal that
is a ratio of two things measured in the same run, or a size, has `holds`. A time with a goal has `of_goal`, the share of
the goal that it takes, and is not judged: the machine may be slower than the one that the goal was written for.

Examples:
  bench
  bench --only mcp-call --only start
  bench --against ../before/target/release/vidimus --only mcp-call
  bench --quick --only a2a-send | jq .
  bench peers --peer envoy-jwt-rbac --only mcp-call --concurrency 64"
)]
struct Arguments {
    #[command(subcommand)]
    part: Option<Part>,
    /// Only these; may be given several times.
    #[arg(long, value_enum)]
    only: Vec<Only>,
    #[command(flatten)]
    scale: Scale,
}

/// How much is measured, and of which binary.
#[derive(Debug, Args)]
struct Scale {
    /// Connections at once; may be given several times.
    #[arg(long, default_values_t = [1, 64], value_parser = clap::value_parser!(u16).range(1..=1024))]
    concurrency: Vec<u16>,
    /// Measured time of each way at each concurrency.
    #[arg(long, default_value_t = 6.0, value_name = "SECONDS")]
    seconds: f64,
    /// Turns that this time is divided into.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// One short round: to see that it works, not to measure.
    #[arg(long)]
    quick: bool,
    /// Policies in the directory.
    #[arg(long, default_value_t = 1_000)]
    policies: usize,
    /// Agents in the directory.
    #[arg(long, default_value_t = 200)]
    agents: usize,
    /// The gateway's binary; the one beside this binary where none is given.
    #[arg(long)]
    vidimus: Option<PathBuf>,
    /// Another build of the gateway, which is measured in turns with this one; each figure is then also a ratio, which is
    /// held to 1.05.
    #[arg(long, value_name = "VIDIMUS")]
    against: Option<PathBuf>,
}

impl Scale {
    /// The build that is measured.
    ///
    /// # Errors
    /// Where it, or the one beside it, is not there.
    fn binary(&self) -> anyhow::Result<PathBuf> {
        let beside = || Ok::<_, std::io::Error>(std::env::current_exe()?.with_file_name("vidimus"));
        let binary = self.vidimus.clone().map_or_else(beside, Ok)?;
        for binary in std::iter::once(&binary).chain(&self.against) {
            ensure!(binary.exists(), "{} is missing: cargo build --release -p vidimus", binary.display());
        }
        Ok(binary)
    }
}

#[derive(Debug, Subcommand)]
enum Part {
    /// The server that the calls go to.
    Upstream {
        /// Port on loopback; 0 takes a free one. The first line of output names it, and that of gRPC.
        #[arg(long, default_value_t = 0)]
        port: u16,
    },
    /// Beside what people would pick instead: Envoy, LiteLLM, ContextForge, FastMCP.
    Peers {
        /// Only these; may be given several times.
        #[arg(long, value_enum)]
        peer: Vec<Peer>,
        /// Only these scenarios; may be given several times.
        #[arg(long, value_enum)]
        only: Vec<Scenario>,
        #[command(flatten)]
        scale: Scale,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Only {
    Decide,
    /// The first decision on an edge, while a core is busy with something else.
    DecideUnderLoad,
    /// What a call pays in process that counts for limits.
    Limits,
    /// The next snapshot after each kind of change of one object among 21,000, and its memory.
    Rebuild,
    /// Who can call what, over 10,000 agents and 10,000 policies.
    Reach,
    /// How much text each guard reads in a second, and how much of whole and of streamed answers.
    Guards,
    /// From a changed file to the snapshot in use.
    DirectoryChange,
    /// A start from what a cluster lists, and from what was kept of it on disk.
    KeptStart,
    LedgerAppend,
    /// 1,000,000 recorded calls decided again by other policies, and least privilege from them.
    Replay,
    /// The log at its size, and the questions of an audit over 1,000,000 records: by the index, by SQLite and by DuckDB.
    Audit,
    /// Verifying the token of a caller, and minting that of a hop.
    Credentials,
    Start,
    McpCall,
    McpCallMembers,
    McpListWhole,
    McpList,
    A2aSend,
    A2aGrpc,
    A2aGrpcToRpc,
    LlmChat,
    LlmChatStream,
    LlmStreamGuarded,
    /// What limits cost that gateways count together in a Redis.
    LimitsShared,
    /// From a quarantine, and from a change of policies, to the end of the last of the open streams.
    Streams,
    /// Memory of 10,000 open streams, and of 10,000 idle sessions.
    Held,
}

impl Only {
    const fn scenario(self) -> Option<Scenario> {
        match self {
            Self::McpCall => Some(Scenario::McpCall),
            Self::McpCallMembers => Some(Scenario::McpCallMembers),
            Self::McpListWhole => Some(Scenario::McpListWhole),
            Self::McpList => Some(Scenario::McpList),
            Self::A2aSend => Some(Scenario::A2aSend),
            Self::A2aGrpc => Some(Scenario::A2aGrpc),
            Self::A2aGrpcToRpc => Some(Scenario::A2aGrpcToRpc),
            Self::LlmChat => Some(Scenario::LlmChat),
            Self::LlmChatStream => Some(Scenario::LlmChatStream),
            Self::LlmStreamGuarded => Some(Scenario::LlmStreamGuarded),
            Self::Decide
            | Self::DecideUnderLoad
            | Self::Limits
            | Self::Rebuild
            | Self::Reach
            | Self::Guards
            | Self::DirectoryChange
            | Self::KeptStart
            | Self::Replay
            | Self::Audit
            | Self::LedgerAppend
            | Self::Credentials
            | Self::LimitsShared
            | Self::Streams
            | Self::Held
            | Self::Start => None,
        }
    }
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    match arguments.part {
        None => ours(&arguments),
        Some(Part::Upstream { port }) => {
            let upstream = Upstream::bind(port)?;
            let at = upstream.at()?;
            print(&format!("ready {} {}", at.http.port(), at.grpc.port()))?;
            upstream.serve()?;
            Ok(ExitCode::SUCCESS)
        }
        Some(Part::Peers { peer, only, scale }) => {
            machine::figure()?.print()?;
            let ground = Ground::prepare(&scale)?;
            let everything = peer.is_empty() && only.is_empty();
            // None of them stands for servers by names of the same kind, lists to each caller what it may use, reads A2A over gRPC, or has
            // the guard.
            let is_offered = |scenario: &Scenario| {
                !scenario.is_grpc()
                    && !matches!(
                        scenario,
                        Scenario::McpCallMembers
                            | Scenario::McpListWhole
                            | Scenario::McpList
                            | Scenario::LlmStreamGuarded
                    )
            };
            let scenarios: Vec<Scenario> = all_unless(&only).into_iter().filter(is_offered).collect();
            let complete = peers::run(&ground, &all_unless(&peer), &scenarios, everything)?;
            Ok(if complete { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
    }
}

/// What was asked for, or everything.
fn all_unless<T: ValueEnum + Clone>(only: &[T]) -> Vec<T> {
    if only.is_empty() { T::value_variants().to_vec() } else { only.to_vec() }
}

fn ours(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let wanted = |only| arguments.only.is_empty() || arguments.only.contains(&only);
    // One part that cannot be measured does not keep the others from it.
    let mut failed = false;
    let mut attempt = |what: &str, result: anyhow::Result<()>| {
        failed |= result.is_err();
        result.or_else(|error| note(&format!("{what} was NOT measured: {error:#}")))
    };
    machine::figure()?.print()?;
    if wanted(Only::Decide) {
        attempt("decide", crate_benches::DECIDE.run().map(drop))?;
    }
    if wanted(Only::DecideUnderLoad) {
        attempt("decide_cold_edge under load", crate_benches::DECIDE.run_under_load())?;
    }
    for (only, what, bench) in [
        (Only::Limits, "limits", crate_benches::LIMITS),
        (Only::Rebuild, "rebuild", crate_benches::REBUILD),
        (Only::Reach, "reach", crate_benches::REACH),
        (Only::Guards, "guards", crate_benches::GUARDS),
        (Only::Guards, "guarded_answers", crate_benches::GUARDED_ANSWERS),
        (Only::DirectoryChange, "directory_change", crate_benches::DIRECTORY_CHANGE),
        (Only::KeptStart, "start_kept", crate_benches::KEPT_START),
        (Only::LedgerAppend, "ledger_append", crate_benches::LEDGER),
        (Only::Replay, "replay", crate_benches::REPLAY),
        (Only::Audit, "audit", crate_benches::AUDIT),
        (Only::Credentials, "credentials", crate_benches::CREDENTIALS),
    ] {
        if wanted(only) {
            attempt(what, bench.run().map(drop))?;
        }
    }
    let scenarios: Vec<Scenario> =
        all_unless(&arguments.only).iter().filter_map(|only| only.scenario()).collect();
    if wanted(Only::Start) || wanted(Only::LimitsShared) || !scenarios.is_empty() {
        let ground = Ground::prepare(&arguments.scale)?;
        if wanted(Only::Start) {
            attempt("start_to_serving", ground.start())?;
        }
        let mut costs = compare::Costs::default();
        for scenario in scenarios {
            let cost = ground.compare(scenario);
            attempt(scenario.name(), cost.and_then(|cpu| costs.add(scenario, cpu)))?;
        }
        if wanted(Only::LimitsShared) {
            attempt("limits_shared", limits_in_redis::run(&ground))?;
        }
    }
    if wanted(Only::Streams) {
        attempt("streams", streams(&arguments.scale, Only::Streams))?;
    }
    if wanted(Only::Held) {
        attempt("held", streams(&arguments.scale, Only::Held))?;
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// What is measured of streams: their ends, or what they hold.
fn streams(scale: &Scale, what: Only) -> anyhow::Result<()> {
    let binary = scale.binary()?;
    let scratch = tempfile::Builder::new().prefix("vidimus-bench-").tempdir()?;
    let (policies, agents, rounds, quick) = (scale.policies, scale.agents, scale.rounds, scale.quick);
    let cut = streams::Cut { binary: &binary, scratch: scratch.path(), policies, agents, rounds, quick };
    if what == Only::Held { cut.held() } else { cut.run() }
}

/// A figure, as it is.
fn print(line: &str) -> anyhow::Result<()> {
    writeln!(std::io::stdout(), "{line}").context("standard output")
}

/// A remark for people.
fn note(line: &str) -> anyhow::Result<()> {
    writeln!(std::io::stderr(), "{line}").context("standard error")
}
