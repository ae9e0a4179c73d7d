//! Several ways to the same upstream, measured in turns by the same client: what one of them gains or loses from the machine
//! of a moment, the others gain or lose as well.

use std::time::Duration;

use crate::latency::median;
use crate::load::{Channels, Generator, Load};
use crate::process::CpuClock;
use crate::scenario::{End, Scenario};

/// Before anything is counted, each way is gone for this long.
const WARM_UP: Duration = Duration::from_millis(500);

/// How long and how often.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    /// Turns of each way.
    pub(crate) rounds: u32,
    /// One turn of one way.
    pub(crate) turn: Duration,
}

/// One turn of one way.
#[derive(Debug)]
pub(crate) struct Turn {
    pub(crate) load: Load,
    /// Processor time of what stands in between, with its children; zero on the direct way.
    pub(crate) cpu: Duration,
    /// What of it made the ledger durable.
    pub(crate) syncing: Duration,
    pub(crate) upstream: Duration,
}

impl Turn {
    /// Microseconds of processor time, of what stands in between, for each request.
    pub(crate) fn cpu_us(&self) -> f64 {
        self.load.per_request(self.cpu)
    }

    /// The same without what made the ledger durable.
    fn cpu_without_sync_us(&self) -> f64 {
        self.load.per_request(self.cpu.saturating_sub(self.syncing))
    }
}

/// Who calls on it.
#[derive(Debug)]
pub(crate) enum Calling {
    Http1(Generator),
    Grpc(Channels),
}

impl Calling {
    /// So many at once.
    pub(crate) fn open(scenario: Scenario, end: End<'_>, at_once: usize) -> anyhow::Result<Self> {
        if scenario.is_grpc() {
            let calls = scenario.calls(end, at_once)?;
            return Channels::connect(end.address, end.tokens.len(), calls).map(Self::Grpc);
        }
        Generator::connect(end.address, scenario.scripts(end, at_once)?).map(Self::Http1)
    }

    pub(crate) fn run(&mut self, time: Duration) -> anyhow::Result<Load> {
        match self {
            Self::Http1(generator) => generator.run(time),
            Self::Grpc(channels) => channels.run(time),
        }
    }
}

/// A way, its open connections, and its turns so far.
#[derive(Debug)]
pub(crate) struct Lane {
    calling: Calling,
    process: Option<u32>,
    upstream: u32,
    pub(crate) turns: Vec<Turn>,
}

impl Lane {
    /// Opens the connections and uses them for a while. `process` is what stands in between.
    pub(crate) fn open(
        scenario: Scenario,
        end: End<'_>,
        connections: usize,
        process: Option<u32>,
        upstream: u32,
    ) -> anyhow::Result<Self> {
        let mut calling = Calling::open(scenario, end, connections)?;
        calling.run(WARM_UP)?;
        Ok(Self { calling, process, upstream, turns: Vec::new() })
    }

    fn turn(&mut self, time: Duration) -> anyhow::Result<()> {
        let clocks = (self.process.map(CpuClock::tree), CpuClock::of(self.upstream));
        let read = || Ok::<_, anyhow::Error>((clocks.0.map(CpuClock::read).transpose()?, clocks.1.read()?));
        let before = read()?;
        let load = self.calling.run(time)?;
        let after = read()?;
        let (cpu, syncing) = after.0.zip(before.0).map_or_else(Default::default, |(after, before)| {
            (after.since(&before), after.syncing_since(&before))
        });
        self.turns.push(Turn { load, cpu, syncing, upstream: after.1.since(&before.1) });
        Ok(())
    }

    pub(crate) fn requests(&self) -> u64 {
        self.turns.iter().map(|turn| turn.load.requests).sum()
    }

    /// The median over the turns; not a number when there are none.
    pub(crate) fn middle(&self, of: impl Fn(&Turn) -> f64) -> f64 {
        median(self.turns.iter().map(of)).unwrap_or(f64::NAN)
    }

    /// p50 of the latency, µs.
    pub(crate) fn p50_us(&self) -> f64 {
        self.middle(|turn| turn.load.latency.quantile_us(0.5))
    }

    pub(crate) fn p99_us(&self) -> f64 {
        self.middle(|turn| turn.load.latency.quantile_us(0.99))
    }

    /// The median of what each turn took in relation to the other way's turn of the same round.
    pub(crate) fn cpu_ratio(&self, other: &Self) -> f64 {
        self.ratio(other, Turn::cpu_us)
    }

    /// The same without what makes the ledger durable, where that has a thread of its own.
    pub(crate) fn cpu_ratio_without_sync(&self, other: &Self) -> f64 {
        self.ratio(other, Turn::cpu_without_sync_us)
    }

    fn ratio(&self, other: &Self, of: impl Fn(&Turn) -> f64) -> f64 {
        let pairs = self.turns.iter().zip(&other.turns);
        median(pairs.map(|(own, other)| of(own) / of(other))).unwrap_or(f64::NAN)
    }

    /// The least processor time of a request in any turn, in relation to that of the other way. What else runs on the machine
    /// only ever adds to a turn, so this stands still where the medians do not.
    pub(crate) fn least_cpu_ratio(&self, other: &Self) -> f64 {
        let least = |lane: &Self| lane.turns.iter().map(Turn::cpu_us).fold(f64::INFINITY, f64::min);
        least(self) / least(other)
    }
}

/// Goes the ways in turns: forth in one round, back in the next, so that none always comes after the same one. The error of
/// each way that could not be gone to the end.
pub(crate) fn take(lanes: &mut [&mut Lane], effort: Effort) -> Vec<Option<anyhow::Error>> {
    let mut errors: Vec<Option<anyhow::Error>> = lanes.iter().map(|_| None).collect();
    for round in 0..effort.rounds {
        let forth: Vec<usize> = (0..lanes.len()).collect();
        let order: Vec<usize> =
            if round.is_multiple_of(2) { forth } else { forth.into_iter().rev().collect() };
        for number in order {
            let (Some(lane), Some(error)) = (lanes.get_mut(number), errors.get_mut(number)) else { continue };
            if error.is_none() {
                *error = lane.turn(effort.turn).err();
            }
        }
    }
    errors
}
