//! The gateway beside the upstream itself, and beside another build of the gateway: the same requests each way, in turns.

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::figure::{Figure, rounded, thousandths};
use crate::gateway::Gateway;
use crate::process::resident;
use crate::scenario::{End, Scenario, Surface, WIDER_GOAL};
use crate::turns::{self, Effort, Lane};
use crate::upstream::At;
use crate::witness::{self, Counts};

/// Most that a figure may be in relation to the same figure of the other build (issue 9).
pub(crate) const AGAINST_GOAL: f64 = 1.05;

/// Concurrency at which one scenario is compared with another.
const COMPARED_AT: usize = 64;

/// Processor times of a run, µs a request at concurrency 64, by scenario.
#[derive(Debug, Default)]
pub(crate) struct Costs(Vec<(Scenario, f64)>);

impl Costs {
    /// Takes one up, and prints it in relation to that of the single-server path, where that was measured before it in the same run.
    pub(crate) fn add(&mut self, scenario: Scenario, cpu: Option<f64>) -> anyhow::Result<()> {
        let Some(cpu) = cpu else { return Ok(()) };
        self.0.push((scenario, cpu));
        let Some(single) = scenario.single() else { return Ok(()) };
        let Some((_, least)) = self.0.iter().find(|(known, _)| *known == single) else { return Ok(()) };
        let parameters = json!({"measure": "cpu_ratio", "concurrency": COMPARED_AT, "to": single.name(), "this": rounded(cpu), "single": rounded(*least)});
        Figure::ratio(scenario.name(), cpu / least, parameters).at_most(Some(WIDER_GOAL)).print()
    }
}

/// A gateway, and a token for each caller.
#[derive(Debug)]
pub(crate) struct Governed {
    pub(crate) gateway: Gateway,
    pub(crate) tokens: Vec<String>,
}

/// Another build of the gateway.
#[derive(Debug)]
pub(crate) struct Other {
    /// As it was named on the command line.
    pub(crate) name: String,
    pub(crate) governed: Governed,
}

/// What stays the same over all figures of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting<'a> {
    pub(crate) ours: &'a Governed,
    pub(crate) other: Option<&'a Other>,
    pub(crate) upstream: At,
    pub(crate) upstream_pid: u32,
    pub(crate) policies: usize,
    pub(crate) agents: usize,
    pub(crate) concurrency: &'a [u16],
    pub(crate) effort: Effort,
}

/// The ways of one scenario, gone to the end.
struct Lanes {
    direct: Lane,
    ours: Lane,
    other: Option<Lane>,
}

impl Governed {
    pub(crate) fn start(config: &crate::gateway::Config, name: &str) -> anyhow::Result<Self> {
        let gateway = Gateway::start(config, name)?;
        let tokens = gateway.tokens()?;
        Ok(Self { gateway, tokens })
    }

    pub(crate) fn end<'a>(&'a self, surface: &'a Surface) -> End<'a> {
        End { surface, address: self.gateway.address, tokens: &self.tokens }
    }
}

impl Setting<'_> {
    /// Examines, measures and prints one scenario; the gateway's processor time a request at concurrency 64, µs, where that was measured.
    pub(crate) fn run(&self, scenario: Scenario) -> anyhow::Result<Option<f64>> {
        let mut cpu = None;
        let governed = Surface::governed();
        let end = self.ours.end(&governed);
        witness::examine(scenario, &self.ours.gateway, end, self.upstream.http)
            .context("a governed call is not as it must be")?;
        for connections in self.concurrency.iter().copied().map(usize::from) {
            let lanes = self
                .measure(scenario, connections)
                .with_context(|| format!("{} at {connections}", scenario.name()))?;
            for figure in self.figures(scenario, connections, &lanes)? {
                figure.print()?;
            }
            for figure in self.ratios(scenario, connections, &lanes) {
                figure.print()?;
            }
            if connections == COMPARED_AT {
                cpu = Some(lanes.ours.middle(turns::Turn::cpu_us));
            }
        }
        Ok(cpu)
    }

    fn measure(&self, scenario: Scenario, connections: usize) -> anyhow::Result<Lanes> {
        let open = |end: End<'_>, process| Lane::open(scenario, end, connections, process, self.upstream_pid);
        let (straight, governed) = (Surface::direct(), Surface::governed());
        let through = |one: &Governed| open(one.end(&governed), Some(one.gateway.pid()));
        let direct =
            End { surface: &straight, address: self.upstream.of(scenario), tokens: &self.ours.tokens };
        let mut lanes = Lanes {
            direct: open(direct, None)?,
            ours: through(self.ours)?,
            other: self.other.map(|other| through(&other.governed)).transpose()?,
        };
        let before = Counts::take(scenario, &self.ours.gateway, self.upstream.http)?;
        let all = [Some(&mut lanes.direct), Some(&mut lanes.ours), lanes.other.as_mut()];
        let mut all: Vec<&mut Lane> = all.into_iter().flatten().collect();
        if let Some(error) = turns::take(&mut all, self.effort).into_iter().flatten().next() {
            return Err(error);
        }
        let elsewhere = lanes.direct.requests() + lanes.other.as_ref().map_or(0, Lane::requests);
        Counts::take(scenario, &self.ours.gateway, self.upstream.http)?.must_have_grown(
            &before,
            lanes.ours.requests(),
            Some(elsewhere),
        )?;
        Ok(lanes)
    }

    fn figures(&self, scenario: Scenario, connections: usize, lanes: &Lanes) -> anyhow::Result<[Figure; 2]> {
        let (direct, ours) = (&lanes.direct, &lanes.ours);
        let costs = json!({
            "requests_per_s": ours.middle(|t| t.load.requests as f64 / t.load.wall.as_secs_f64()).round(),
            "direct_requests_per_s": direct.middle(|t| t.load.requests as f64 / t.load.wall.as_secs_f64()).round(),
            "upstream_cpu_us": rounded(ours.middle(|t| t.load.per_request(t.upstream))),
            "generator_cpu_us": rounded(ours.middle(|t| t.load.per_request(t.load.cpu))),
            "generator_busy": rounded(ours.middle(|t| 100.0 * t.load.cpu.as_secs_f64() / t.load.wall.as_secs_f64())),
            "gateway_busy": rounded(ours.middle(|t| 100.0 * t.cpu.as_secs_f64() / t.load.wall.as_secs_f64())),
            "resident_mb": rounded(resident(self.ours.gateway.pid())? as f64 / 1e6),
        });
        let latencies = json!({
            "direct_p50_us": rounded(direct.p50_us()), "governed_p50_us": rounded(ours.p50_us()),
            "direct_p99_us": rounded(direct.p99_us()), "governed_p99_us": rounded(ours.p99_us()),
        });
        let goals = match connections {
            1 => (None, scenario.latency_goal()),
            64 => (scenario.cpu_goal(), None),
            _ => (None, None),
        };
        let parameters = |measure, own| self.parameters(measure, connections, lanes, own);
        let cpu = ours.middle(turns::Turn::cpu_us);
        let added = ours.p50_us() - direct.p50_us();
        Ok([
            Figure::new(scenario.name(), cpu, "gateway CPU us/request", parameters("cpu", costs))
                .at_most(goals.0),
            Figure::new(scenario.name(), added, "us", parameters("added_p50", latencies)).at_most(goals.1),
        ])
    }

    /// This build in relation to the other, where there is one.
    fn ratios(&self, scenario: Scenario, connections: usize, lanes: &Lanes) -> Vec<Figure> {
        let (Some(named), Some(other)) = (self.other, &lanes.other) else { return Vec::new() };
        let (ours, direct) = (&lanes.ours, &lanes.direct);
        let added = |lane: &Lane| lane.p50_us() - direct.p50_us();
        let figure = |measure, value, own| {
            let parameters = self.parameters(measure, connections, lanes, own);
            Figure::ratio(scenario.name(), value, parameters).at_most(Some(AGAINST_GOAL))
        };
        let cpu = |lane: &Lane| rounded(lane.middle(turns::Turn::cpu_us));
        let cpus = json!({"against": named.name, "this": cpu(ours), "other": cpu(other),
            "of_least": thousandths(ours.least_cpu_ratio(other)),
            "without_sync": thousandths(ours.cpu_ratio_without_sync(other))});
        let latencies =
            json!({"against": named.name, "this": rounded(added(ours)), "other": rounded(added(other))});
        vec![
            figure("cpu_ratio", ours.cpu_ratio(other), cpus),
            figure("added_p50_ratio", added(ours) / added(other), latencies),
        ]
    }

    fn parameters(&self, measure: &str, connections: usize, lanes: &Lanes, own: Value) -> Value {
        let mut all = json!({
            "measure": measure, "concurrency": connections, "policies": self.policies, "agents": self.agents,
            "callers": self.ours.tokens.len().min(connections), "durability": "commit",
            "rounds": self.effort.rounds, "requests": lanes.ours.requests(),
        });
        if let (Some(all), Value::Object(own)) = (all.as_object_mut(), own) {
            all.extend(own);
        }
        all
    }
}
