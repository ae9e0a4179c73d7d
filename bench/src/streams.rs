//! Open streams that are cut: how long from an act, or from a change of policies, until the last of them has ended.
//!
//! The streams are tool calls whose server answers with an event and then nothing. Client, server and gateway share the machine, so
//! that every figure here has the client's own work in it: reading the end of each connection.

mod client;
mod held;
mod silent;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use rustix::process::{Resource, getrlimit, setrlimit};
use serde_json::{Value, json};

use crate::figure::Figure;
use crate::gateway::{Config, Gateway};
use crate::latency::median;
use crate::upstream::At;
use crate::{estate, note};
use client::Streams;
use silent::Silent;

/// Goals (issue 12, "Shows" 3).
const QUARANTINE_GOAL_MS: f64 = 100.0;
const SWAP_GOAL_MS: f64 = 1_000.0;
const QUARANTINED: usize = 1_000;
const SWAPPED: usize = 10_000;
/// What is for streams of the descriptors, of which each takes two, here as in the gateway: some are for other things, and no source
/// has all of the gateway's.
const FOR_STREAMS: (u64, u64) = (9, 10);

/// What is measured, on gateways of their own.
#[derive(Clone, Debug)]
pub(crate) struct Cut<'a> {
    pub(crate) binary: &'a Path,
    pub(crate) scratch: &'a Path,
    pub(crate) policies: usize,
    pub(crate) agents: usize,
    pub(crate) rounds: u32,
    /// A tenth of the streams.
    pub(crate) quick: bool,
}

/// A gateway whose streams are to be cut, and what can cut them.
struct Place<'a> {
    gateway: &'a Gateway,
    /// An operator's token.
    operator: &'a str,
    resources: &'a Path,
}

/// When streams ended, after what ended them.
struct Ended {
    first: Duration,
    last: Duration,
}

impl Cut<'_> {
    /// From the request of a quarantine to the end of the last of 1,000 streams; and from a file that forbids to the end of the last
    /// of 10,000.
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let scale = if self.quick { 10 } else { 1 };
        let most = usize::try_from(descriptors()? / 2 * FOR_STREAMS.0 / FOR_STREAMS.1)?;
        let swapped = SWAPPED / scale;
        if most < swapped {
            note(&format!("streams: {most} instead of {swapped}, for want of descriptors (ulimit -Hn)"))?;
        }
        self.measure("quarantine_cut", QUARANTINED / scale, QUARANTINE_GOAL_MS, quarantine)?;
        self.measure("swap_cut", swapped.min(most), SWAP_GOAL_MS, forbid)
    }

    fn measure(
        &self,
        name: &'static str,
        streams: usize,
        goal: f64,
        cut: impl Fn(&Place<'_>) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let upstream = Silent::serve()?;
        let rounds = if self.quick { 1 } else { self.rounds };
        let ended = (0..rounds).map(|round| self.round(&format!("{name}-{round}"), &upstream, streams, &cut));
        let ended = ended.collect::<anyhow::Result<Vec<Ended>>>()?;
        let of = |time: &dyn Fn(&Ended) -> Duration| {
            median(ended.iter().map(|ended| time(ended).as_secs_f64() * 1e3)).context("no rounds")
        };
        let parameters = |from: &str| json!({"streams": streams, "policies": self.policies, "agents": self.agents, "rounds": rounds, "from": from, "to": "end of the last stream"});
        let last = of(&|ended| ended.last)?;
        Figure::new(name, last, "ms", parameters("what cuts them")).at_most(Some(goal)).print()?;
        let between = of(&|ended| ended.last.saturating_sub(ended.first))?;
        Figure::new(name, between, "ms", parameters("end of the first stream")).print()
    }

    /// One gateway, its streams, and what cuts them.
    fn round(
        &self,
        name: &str,
        upstream: &Silent,
        streams: usize,
        cut: impl Fn(&Place<'_>) -> anyhow::Result<()>,
    ) -> anyhow::Result<Ended> {
        let (home, gateway) = self.start(name, upstream.at())?;
        let resources = home.join("resources");
        let mut open = Streams::open(gateway.address, &gateway.tokens()?, streams)?;
        // What opening them left to be done is no part of it either.
        std::thread::sleep(Duration::from_millis(500));
        ensure!(open.ended()? == 0, "streams ended before anything cut them");
        let operator = gateway.command(&["identity", "operator"])?;
        let place = Place { gateway: &gateway, operator: operator.trim(), resources: &resources };
        let begun = Instant::now();
        cut(&place)?;
        let ended = open.until_all_ended(begun)?;
        drop(open);
        upstream.end_all();
        gateway.stop()?;
        fs::remove_dir_all(&home)?;
        Ok(ended)
    }

    /// A gateway in a directory of its own, which is there until it is removed.
    fn start(&self, name: &str, upstream: At) -> anyhow::Result<(PathBuf, Gateway)> {
        let home = self.scratch.join(name);
        let (resources, data) = (home.join("resources"), home.join("data"));
        fs::create_dir_all(&resources)?;
        fs::create_dir_all(&data)?;
        estate::write(&resources, upstream, self.policies, self.agents)?;
        // A gateway waits until what was just written is whole; that is no part of what is measured.
        std::thread::sleep(Duration::from_millis(600));
        let config = Config { binary: self.binary.to_owned(), resources, data, more: Vec::new() };
        let gateway = Gateway::start(&config, "gateway")?;
        Ok((home, gateway))
    }
}

/// As an operator does it.
fn quarantine(at: &Place<'_>) -> anyhow::Result<()> {
    let act =
        json!({"subject": format!("MCPServer/{}/{}", estate::NAMESPACE, estate::SERVER), "why": "measured"});
    at.gateway.act(at.operator, "/quarantine", &act)
}

/// One policy more, put there whole.
fn forbid(at: &Place<'_>) -> anyhow::Result<()> {
    let policy: Value = json!({"apiVersion": "vidimus.dev/v1alpha1", "kind": "Policy",
        "metadata": {"name": "nothing-more", "namespace": estate::NAMESPACE},
        "spec": {"description": "Ends every stream.", "cedar": r#"forbid (principal, action == Action::"invokeTool", resource);"#}});
    let beside = at.resources.with_file_name("nothing-more.yaml");
    fs::write(&beside, policy.to_string())?;
    Ok(fs::rename(&beside, at.resources.join("nothing-more.yaml"))?)
}

/// As many descriptors as this process may have, which the gateway inherits.
fn descriptors() -> anyhow::Result<u64> {
    let mut limits = getrlimit(Resource::Nofile);
    limits.current = limits.maximum;
    setrlimit(Resource::Nofile, limits)?;
    Ok(getrlimit(Resource::Nofile).current.unwrap_or(4 * SWAPPED as u64))
}
