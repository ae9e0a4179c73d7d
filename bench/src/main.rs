//! `bench`: what `make bench` runs. One JSON object per line on standard output, remarks on standard error.
//!
//! A goal that is missed is a figure with `"holds": false` and no error; what could not be measured is an error.

mod compare;
mod crate_benches;
mod estate;
mod figure;
mod gateway;
mod latency;
mod load;
mod process;
mod scenario;
mod upstream;
mod wire;
mod witness;

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::{Parser, Subcommand, ValueEnum};
use serde_json::json;

use compare::{Effort, Setting};
use figure::Figure;
use gateway::{Config, Gateway};
use process::{Running, resident};
use scenario::Scenario;
use upstream::Upstream;

/// Starts of the gateway, of which the middle one is reported.
const STARTS: usize = 5;
/// From serving to the idle memory figure.
const SETTLE: Duration = Duration::from_secs(1);
/// Goals (issue 3, "Shows" 4).
const START_GOAL_MS: f64 = 300.0;
const RESIDENT_GOAL_MB: f64 = 40.0;

/// Measures Vidimus end to end, and runs the benchmarks of its crates.
#[derive(Debug, Parser)]
#[command(after_help = "Examples:
  bench
  bench --only mcp-call --only start
  bench --quick --only a2a-send | jq .")]
struct Arguments {
    #[command(subcommand)]
    part: Option<Part>,
    /// Only these; may be given several times.
    #[arg(long, value_enum)]
    only: Vec<Only>,
    /// Connections at once; may be given several times.
    #[arg(long, default_values_t = [1, 64], value_parser = clap::value_parser!(u16).range(1..=1024))]
    concurrency: Vec<u16>,
    /// Measured time of each way at each concurrency.
    #[arg(long, default_value_t = 6.0, value_name = "SECONDS")]
    seconds: f64,
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
}

#[derive(Debug, Subcommand)]
enum Part {
    /// The server that the calls go to.
    Upstream {
        /// Port on loopback; 0 takes a free one, which the first line of output names.
        #[arg(long, default_value_t = 0)]
        port: u16,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Only {
    Decide,
    LedgerAppend,
    Start,
    McpCall,
    A2aSend,
    LlmChat,
    LlmChatStream,
}

impl Only {
    const fn scenario(self) -> Option<Scenario> {
        match self {
            Self::McpCall => Some(Scenario::McpCall),
            Self::A2aSend => Some(Scenario::A2aSend),
            Self::LlmChat => Some(Scenario::LlmChat),
            Self::LlmChatStream => Some(Scenario::LlmChatStream),
            Self::Decide | Self::LedgerAppend | Self::Start => None,
        }
    }
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    if let Some(Part::Upstream { port }) = arguments.part {
        let upstream = Upstream::bind(port)?;
        print(&format!("ready {}", upstream.address()?.port()))?;
        upstream.serve()?;
        return Ok(ExitCode::SUCCESS);
    }
    let wanted = |only| arguments.only.is_empty() || arguments.only.contains(&only);
    // One part that cannot be measured does not keep the others from it.
    let mut failed = false;
    let mut attempt = |what: &str, result: anyhow::Result<()>| {
        failed |= result.is_err();
        result.or_else(|error| note(&format!("{what} was NOT measured: {error:#}")))
    };
    if wanted(Only::Decide) {
        attempt("decide", crate_benches::DECIDE.run())?;
    }
    if wanted(Only::LedgerAppend) {
        attempt("ledger_append", crate_benches::LEDGER.run())?;
    }
    let scenarios =
        Only::value_variants().iter().filter(|only| wanted(**only)).filter_map(|only| only.scenario());
    let scenarios: Vec<Scenario> = scenarios.collect();
    if wanted(Only::Start) || !scenarios.is_empty() {
        let ground = Ground::prepare(&arguments)?;
        if wanted(Only::Start) {
            attempt("start_to_serving", ground.start())?;
        }
        for scenario in scenarios {
            attempt(scenario.name(), ground.compare(scenario))?;
        }
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// What the measurements of the gateway stand on: the upstream, and a directory of resources.
struct Ground {
    upstream: Running,
    upstream_address: SocketAddr,
    config: Config,
    policies: usize,
    agents: usize,
    concurrency: Vec<u16>,
    effort: Effort,
    /// Removed at the end.
    _scratch: tempfile::TempDir,
}

impl Ground {
    fn prepare(arguments: &Arguments) -> anyhow::Result<Self> {
        let own = std::env::current_exe()?;
        let binary = arguments.vidimus.clone().unwrap_or_else(|| own.with_file_name("vidimus"));
        ensure!(binary.exists(), "{} is missing: cargo build --release -p vidimus", binary.display());
        let (upstream, upstream_address) = start_upstream(&own)?;
        let scratch = tempfile::Builder::new().prefix("vidimus-bench-").tempdir()?;
        let (resources, data) = (scratch.path().join("resources"), scratch.path().join("data"));
        fs::create_dir(&resources)?;
        fs::create_dir(&data)?;
        estate::write(&resources, upstream_address, arguments.policies, arguments.agents)?;
        let objects = gateway::check(&binary, &resources)?;
        note(&format!("{objects} objects in {}", resources.display()))?;
        let (rounds, seconds) = if arguments.quick { (1, 0.5) } else { (5, arguments.seconds) };
        let effort = Effort { rounds, turn: Duration::try_from_secs_f64(seconds / f64::from(rounds))? };
        let (policies, agents) = (arguments.policies, arguments.agents);
        let config = Config { binary, resources, data };
        let concurrency = arguments.concurrency.clone();
        Ok(Self {
            upstream,
            upstream_address,
            config,
            policies,
            agents,
            concurrency,
            effort,
            _scratch: scratch,
        })
    }

    /// Start to serving, and memory before the first call.
    fn start(&self) -> anyhow::Result<()> {
        let (mut first, mut again, mut idle) = (Vec::new(), Vec::new(), Vec::new());
        for number in 0..STARTS {
            let name = format!("start-{number}");
            let gateway = Gateway::start(&self.config, &name)?;
            first.push(gateway.start.as_secs_f64() * 1e3);
            std::thread::sleep(SETTLE);
            idle.push(resident(gateway.pid())? as f64 / 1e6);
            gateway.end()?;
            let gateway = Gateway::start(&self.config, &name)?;
            again.push(gateway.start.as_secs_f64() * 1e3);
            std::thread::sleep(SETTLE);
            gateway.stop()?;
        }
        let parameters = |data: &str| json!({"data": data, "policies": self.policies, "agents": self.agents, "starts": STARTS});
        let middle = |values: Vec<f64>| latency::median(values).context("no starts");
        let figure = |name, values, unit, data| {
            Ok::<_, anyhow::Error>(Figure::new(name, middle(values)?, unit, parameters(data)))
        };
        figure("start_to_serving", first, "ms", "new")?.at_most(Some(START_GOAL_MS)).print()?;
        figure("start_to_serving", again, "ms", "existing")?.at_most(Some(START_GOAL_MS)).print()?;
        figure("idle_rss", idle, "MB", "new")?.at_most(Some(RESIDENT_GOAL_MB)).print()
    }

    /// One scenario, on a gateway of its own.
    fn compare(&self, scenario: Scenario) -> anyhow::Result<()> {
        let gateway = Gateway::start(&self.config, scenario.name())?;
        note(&format!(
            "{}: gateway is process {}, upstream {}",
            scenario.name(),
            gateway.pid(),
            self.upstream.pid()
        ))?;
        let tokens = gateway.tokens()?;
        let setting = Setting {
            gateway: &gateway,
            upstream: self.upstream_address,
            upstream_pid: self.upstream.pid(),
            tokens: &tokens,
            policies: self.policies,
            agents: self.agents,
            concurrency: &self.concurrency,
            effort: self.effort,
        };
        setting.run(scenario)?;
        gateway.stop()
    }
}

fn start_upstream(own: &Path) -> anyhow::Result<(Running, SocketAddr)> {
    let mut command = Command::new(own);
    let mut upstream =
        Running::spawn("the upstream", command.arg("upstream").stdin(Stdio::null()).stdout(Stdio::piped()))?;
    let mut line = String::new();
    BufReader::new(upstream.stdout()?).read_line(&mut line)?;
    let port =
        line.trim().strip_prefix("ready ").with_context(|| format!("the upstream said {line:?}"))?.parse()?;
    Ok((upstream, SocketAddr::from((Ipv4Addr::LOCALHOST, port))))
}

/// A figure, as it is.
fn print(line: &str) -> anyhow::Result<()> {
    writeln!(std::io::stdout(), "{line}").context("standard output")
}

/// A remark for people.
fn note(line: &str) -> anyhow::Result<()> {
    writeln!(std::io::stderr(), "{line}").context("standard error")
}
