//! The comparison: the same requests to the upstream itself and through the gateway, in turns.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::json;

use crate::figure::{Figure, rounded};
use crate::gateway::Gateway;
use crate::latency::median;
use crate::load::{Generator, Load};
use crate::process::{CpuClock, resident};
use crate::scenario::{End, Scenario, Way};
use crate::witness::{self, Counts};

/// Before anything is counted, both ways are gone for this long.
const WARM_UP: Duration = Duration::from_millis(500);

/// How long and how often.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    /// Turns of both ways.
    pub(crate) rounds: u32,
    /// One turn of one way.
    pub(crate) turn: Duration,
}

/// What stays the same over all figures of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting<'a> {
    pub(crate) gateway: &'a Gateway,
    pub(crate) upstream: SocketAddr,
    pub(crate) upstream_pid: u32,
    /// One token for each caller.
    pub(crate) tokens: &'a [String],
    pub(crate) policies: usize,
    pub(crate) agents: usize,
    pub(crate) concurrency: &'a [u16],
    pub(crate) effort: Effort,
}

/// One turn of both ways.
#[derive(Debug)]
struct Round {
    direct: Load,
    governed: Load,
    /// Processor time during the governed turn.
    gateway: Duration,
    upstream: Duration,
}

impl Setting<'_> {
    /// Examines, measures and prints one scenario.
    pub(crate) fn run(&self, scenario: Scenario) -> anyhow::Result<()> {
        let governed = End { way: Way::Governed, address: self.gateway.address, tokens: self.tokens };
        witness::examine(scenario, self.gateway, governed, self.upstream)
            .context("a governed call is not as it must be")?;
        for connections in self.concurrency.iter().copied().map(usize::from) {
            let rounds = self
                .rounds(scenario, connections)
                .with_context(|| format!("{} at {connections}", scenario.name()))?;
            for figure in self.figures(scenario, connections, &rounds)? {
                figure.print()?;
            }
        }
        Ok(())
    }

    fn rounds(&self, scenario: Scenario, connections: usize) -> anyhow::Result<Vec<Round>> {
        let end = |way, address| End { way, address, tokens: self.tokens };
        let connect = |end: End<'_>| Generator::connect(end.address, scenario.scripts(end, connections)?);
        let mut direct = connect(end(Way::Direct, self.upstream))?;
        let mut governed = connect(end(Way::Governed, self.gateway.address))?;
        direct.run(WARM_UP)?;
        governed.run(WARM_UP)?;
        let before = Counts::take(scenario, self.gateway, self.upstream)?;
        let mut rounds = Vec::new();
        for _ in 0..self.effort.rounds {
            rounds.push(self.round(&mut direct, &mut governed)?);
        }
        let sum = |of: fn(&Round) -> u64| rounds.iter().map(of).sum();
        Counts::take(scenario, self.gateway, self.upstream)?.must_have_grown(
            &before,
            sum(|r| r.governed.requests),
            sum(|r| r.direct.requests),
        )?;
        Ok(rounds)
    }

    fn round(&self, direct: &mut Generator, governed: &mut Generator) -> anyhow::Result<Round> {
        let direct = direct.run(self.effort.turn)?;
        let (gateway, upstream) = (CpuClock::of(self.gateway.pid()), CpuClock::of(self.upstream_pid));
        let (gateway_before, upstream_before) = (gateway.read()?, upstream.read()?);
        let governed = governed.run(self.effort.turn)?;
        Ok(Round {
            direct,
            governed,
            gateway: gateway.read()?.since(&gateway_before),
            upstream: upstream.read()?.since(&upstream_before),
        })
    }

    fn figures(
        &self,
        scenario: Scenario,
        connections: usize,
        rounds: &[Round],
    ) -> anyhow::Result<[Figure; 2]> {
        let middle = |of: fn(&Round) -> f64| median(rounds.iter().map(of)).context("no rounds");
        let direct_p50 = middle(|r| r.direct.latency.quantile_us(0.5))?;
        let governed_p50 = middle(|r| r.governed.latency.quantile_us(0.5))?;
        let cpu = middle(|r| per_request(r.gateway, &r.governed))?;
        let parameters = |measure: &str, own: serde_json::Value| {
            let mut all = json!({
                "measure": measure, "concurrency": connections, "policies": self.policies, "agents": self.agents,
                "callers": self.tokens.len().min(connections), "durability": "commit", "rounds": rounds.len(),
                "requests": rounds.iter().map(|r| r.governed.requests).sum::<u64>(),
            });
            if let (Some(all), serde_json::Value::Object(own)) = (all.as_object_mut(), own) {
                all.extend(own);
            }
            all
        };
        let costs = json!({
            "requests_per_s": middle(|r| r.governed.requests as f64 / r.governed.wall.as_secs_f64())?.round(),
            "direct_requests_per_s": middle(|r| r.direct.requests as f64 / r.direct.wall.as_secs_f64())?.round(),
            "upstream_cpu_us": rounded(middle(|r| per_request(r.upstream, &r.governed))?),
            "generator_cpu_us": rounded(middle(|r| per_request(r.governed.cpu, &r.governed))?),
            "generator_busy": rounded(middle(|r| 100.0 * r.governed.cpu.as_secs_f64() / r.governed.wall.as_secs_f64())?),
            "gateway_busy": rounded(middle(|r| 100.0 * r.gateway.as_secs_f64() / r.governed.wall.as_secs_f64())?),
            "resident_mb": rounded(resident(self.gateway.pid())? as f64 / 1e6),
        });
        let latencies = json!({
            "direct_p50_us": rounded(direct_p50), "governed_p50_us": rounded(governed_p50),
            "direct_p99_us": rounded(middle(|r| r.direct.latency.quantile_us(0.99))?),
            "governed_p99_us": rounded(middle(|r| r.governed.latency.quantile_us(0.99))?),
        });
        let goals = match connections {
            1 => (None, scenario.latency_goal()),
            64 => (scenario.cpu_goal(), None),
            _ => (None, None),
        };
        Ok([
            Figure::new(scenario.name(), cpu, "gateway CPU us/request", parameters("cpu", costs))
                .at_most(goals.0),
            Figure::new(scenario.name(), governed_p50 - direct_p50, "us", parameters("added_p50", latencies))
                .at_most(goals.1),
        ])
    }
}

/// Microseconds of processor time for each request.
fn per_request(cpu: Duration, load: &Load) -> f64 {
    cpu.as_secs_f64() * 1e6 / load.requests.max(1) as f64
}
