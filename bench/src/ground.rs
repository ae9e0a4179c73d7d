//! What the measurements of the gateway stand on: the upstream, and a directory of resources.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use serde_json::json;

use crate::compare::{AGAINST_GOAL, Governed, Other, Setting};
use crate::figure::{Figure, rounded};
use crate::gateway::{self, Config, Gateway};
use crate::latency::median;
use crate::process::{Running, resident};
use crate::scenario::Scenario;
use crate::turns::Effort;
use crate::upstream::At;
use crate::{Scale, estate, note};

/// Starts of the gateway, of which the middle one is reported.
const STARTS: usize = 5;
/// From serving to the idle memory figure.
const SETTLE: Duration = Duration::from_secs(1);
/// Goals (issue 3, "Shows" 4).
const START_GOAL_MS: f64 = 300.0;
const RESIDENT_GOAL_MB: f64 = 40.0;

/// The upstream and the resources.
#[derive(Debug)]
pub(crate) struct Ground {
    upstream: Running,
    upstream_at: At,
    config: Config,
    /// Another build of the gateway that is measured beside this one.
    other: Option<(String, Config)>,
    policies: usize,
    agents: usize,
    concurrency: Vec<u16>,
    effort: Effort,
    /// Removed at the end.
    scratch: tempfile::TempDir,
}

/// Figures of the starts of one build: the values of each start.
#[derive(Debug, Default)]
struct Starts {
    new: Vec<f64>,
    existing: Vec<f64>,
    idle: Vec<f64>,
}

impl Ground {
    pub(crate) fn prepare(scale: &Scale) -> anyhow::Result<Self> {
        let own = std::env::current_exe()?;
        let binary = scale.binary()?;
        let (upstream, upstream_at) = start_upstream(&own)?;
        let scratch = tempfile::Builder::new().prefix("vidimus-bench-").tempdir()?;
        let resources = scratch.path().join("resources");
        let folder = |name: &str| {
            let path = scratch.path().join(name);
            fs::create_dir(&path).map(|()| path)
        };
        fs::create_dir(&resources)?;
        estate::write(&resources, upstream_at, scale.policies, scale.agents)?;
        // A gateway waits until what was just written is whole; that is no part of its start.
        std::thread::sleep(Duration::from_millis(600));
        let config = Config { binary, resources: resources.clone(), data: folder("data")?, more: Vec::new() };
        let other = scale.against.as_ref().map(|binary| {
            let config = Config { binary: binary.clone(), data: folder("other")?, ..config.clone() };
            Ok::<_, std::io::Error>((binary.display().to_string(), config))
        });
        let other = other.transpose()?;
        for config in std::iter::once(&config).chain(other.as_ref().map(|(_, config)| config)) {
            let objects = gateway::check(&config.binary, &resources)?;
            note(&format!("{}: {objects} objects in {}", config.binary.display(), resources.display()))?;
        }
        let (rounds, seconds) = if scale.quick { (1, 0.5) } else { (scale.rounds, scale.seconds) };
        let effort = Effort { rounds, turn: Duration::try_from_secs_f64(seconds / f64::from(rounds))? };
        let (policies, agents) = (scale.policies, scale.agents);
        let concurrency = scale.concurrency.clone();
        Ok(Self { upstream, upstream_at, config, other, policies, agents, concurrency, effort, scratch })
    }

    /// Start to serving, and memory before the first call.
    pub(crate) fn start(&self) -> anyhow::Result<()> {
        let (mut ours, mut theirs) = (Starts::default(), Starts::default());
        for number in 0..STARTS {
            ours.add(&self.config, number)?;
            if let Some((_, config)) = &self.other {
                theirs.add(config, number)?;
            }
        }
        self.print_starts("start_to_serving", "ms", "new", START_GOAL_MS, &ours.new, &theirs.new)?;
        self.print_starts(
            "start_to_serving",
            "ms",
            "existing",
            START_GOAL_MS,
            &ours.existing,
            &theirs.existing,
        )?;
        self.print_starts("idle_rss", "MB", "new", RESIDENT_GOAL_MB, &ours.idle, &theirs.idle)
    }

    fn print_starts(
        &self,
        name: &'static str,
        unit: &'static str,
        data: &str,
        goal: f64,
        ours: &[f64],
        theirs: &[f64],
    ) -> anyhow::Result<()> {
        let parameters =
            json!({"data": data, "policies": self.policies, "agents": self.agents, "starts": ours.len()});
        let middle = median(ours.iter().copied()).context("no starts")?;
        Figure::new(name, middle, unit, parameters.clone()).at_most(Some(goal)).print()?;
        let (Some((against, _)), Some(other)) = (&self.other, median(theirs.iter().copied())) else {
            return Ok(());
        };
        let mut parameters = parameters;
        if let Some(all) = parameters.as_object_mut() {
            all.insert("against".to_owned(), json!(against));
            all.insert("this".to_owned(), json!(rounded(middle)));
            all.insert("other".to_owned(), json!(rounded(other)));
        }
        Figure::ratio(name, middle / other, parameters).at_most(Some(AGAINST_GOAL)).print()
    }

    /// One scenario, on a gateway of its own; what [`Setting::run`] gives.
    pub(crate) fn compare(&self, scenario: Scenario) -> anyhow::Result<Option<f64>> {
        let ours = Governed::start(&self.config, scenario.name())?;
        note(&format!(
            "{}: gateway is process {}, upstream {}",
            scenario.name(),
            ours.gateway.pid(),
            self.upstream.pid()
        ))?;
        let other = self.other.as_ref().map(|(name, config)| {
            Ok::<_, anyhow::Error>(Other {
                name: name.clone(),
                governed: Governed::start(config, scenario.name())?,
            })
        });
        let other = other.transpose()?;
        let setting = Setting {
            ours: &ours,
            other: other.as_ref(),
            upstream: self.upstream_at,
            upstream_pid: self.upstream.pid(),
            policies: self.policies,
            agents: self.agents,
            concurrency: &self.concurrency,
            effort: self.effort,
        };
        let cpu = setting.run(scenario)?;
        ours.gateway.stop()?;
        other.map_or(Ok(()), |other| other.governed.gateway.stop())?;
        Ok(cpu)
    }

    pub(crate) const fn upstream_address(&self) -> SocketAddr {
        self.upstream_at.http
    }

    pub(crate) const fn upstream_at(&self) -> At {
        self.upstream_at
    }

    pub(crate) fn upstream_pid(&self) -> u32 {
        self.upstream.pid()
    }

    pub(crate) const fn config(&self) -> &Config {
        &self.config
    }

    pub(crate) const fn policies(&self) -> usize {
        self.policies
    }

    pub(crate) const fn agents(&self) -> usize {
        self.agents
    }

    pub(crate) fn concurrency(&self) -> &[u16] {
        &self.concurrency
    }

    pub(crate) const fn effort(&self) -> Effort {
        self.effort
    }

    /// A directory that is removed at the end.
    pub(crate) fn scratch(&self) -> &Path {
        self.scratch.path()
    }
}

impl Starts {
    fn add(&mut self, config: &Config, number: usize) -> anyhow::Result<()> {
        let name = format!("start-{number}");
        let gateway = Gateway::start(config, &name)?;
        self.new.push(gateway.start.as_secs_f64() * 1e3);
        std::thread::sleep(SETTLE);
        self.idle.push(resident(gateway.pid())? as f64 / 1e6);
        gateway.end()?;
        let gateway = Gateway::start(config, &name)?;
        self.existing.push(gateway.start.as_secs_f64() * 1e3);
        std::thread::sleep(SETTLE);
        gateway.stop()
    }
}

fn start_upstream(own: &Path) -> anyhow::Result<(Running, At)> {
    let mut command = Command::new(own);
    let mut upstream =
        Running::spawn("the upstream", command.arg("upstream").stdin(Stdio::null()).stdout(Stdio::piped()))?;
    let mut line = String::new();
    BufReader::new(upstream.stdout()?).read_line(&mut line)?;
    let ports = line.trim().strip_prefix("ready ").and_then(|ports| ports.split_once(' '));
    let (http, grpc) = ports.with_context(|| format!("the upstream said {line:?}"))?;
    let at = |port: &str| Ok::<_, anyhow::Error>(SocketAddr::from((Ipv4Addr::LOCALHOST, port.parse()?)));
    Ok((upstream, At { http: at(http)?, grpc: at(grpc)? }))
}
