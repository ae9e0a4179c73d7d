//! What limits cost that several gateways count together: two gateways with the same limits on each call, one that counts in process and one by a
//! Redis (or Valkey) of its own on this machine, in turns.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use crate::compare::Governed;
use crate::estate;
use crate::figure::{Figure, rounded};
use crate::gateway::{self, Config, free_address};
use crate::ground::Ground;
use crate::latency::median;
use crate::process::Running;
use crate::scenario::{Scenario, Surface};
use crate::turns::{self, Lane, Turn};

const NAME: &str = "limits_shared";
const SCENARIO: Scenario = Scenario::McpCall;
/// How often a call may ask the store.
const ROUND_TRIPS_GOAL: f64 = 1.0;
/// No step may take longer.
const PATIENCE: Duration = Duration::from_secs(20);
/// A round trip to the store is the middle of so many.
const PINGS: usize = 2_000;

/// A store in memory, which nothing else asks.
#[derive(Debug)]
struct Redis {
    address: SocketAddr,
    /// Ends with this.
    _process: Running,
}

/// Prints what the store adds to a call, and how often it was asked.
pub(crate) fn run(ground: &Ground) -> anyhow::Result<()> {
    let redis = Redis::start()?;
    let resources = resources(ground)?;
    let start = |name: &str, more: Vec<String>| {
        let config = Config { resources: resources.clone(), more, ..ground.config().clone() };
        Governed::start(&config, name)
    };
    let alone = start("limits-alone", Vec::new())?;
    // It serves when it has asked the store.
    let shared = start("limits-shared", vec![format!("--standing=redis://{}", redis.address)])?;
    for at_once in ground.concurrency().iter().copied().map(usize::from) {
        measure(ground, &redis, (&alone, &shared), at_once)?;
    }
    alone.gateway.stop()?;
    shared.gateway.stop()
}

fn measure(
    ground: &Ground,
    redis: &Redis,
    (alone, shared): (&Governed, &Governed),
    at_once: usize,
) -> anyhow::Result<()> {
    let surface = Surface::governed();
    let open = |one: &Governed| {
        Lane::open(SCENARIO, one.end(&surface), at_once, Some(one.gateway.pid()), ground.upstream_pid())
    };
    let (mut alone, mut shared) = (open(alone)?, open(shared)?);
    let before = redis.asked()?;
    let errors = turns::take(&mut [&mut alone, &mut shared], ground.effort());
    if let Some(error) = errors.into_iter().flatten().next() {
        return Err(error);
    }
    let (asked, requests) = (redis.asked()? - before, shared.requests());
    ensure!(asked >= requests, "the store was asked {asked} times for {requests} calls");
    let print = |measure: &str, unit, (alone, shared): (f64, f64), round_trip| {
        let parameters = json!({"measure": measure, "concurrency": at_once, "policies": ground.policies() + 1, "limits": 2,
            "requests": requests, "alone": rounded(alone), "shared": rounded(shared), "round_trip_us": rounded(round_trip)});
        let goal = (measure == "round_trips").then_some(ROUND_TRIPS_GOAL);
        Figure::new(NAME, shared - alone, unit, parameters).at_most(goal).print()
    };
    let of = |of: fn(&Lane) -> f64| (of(&alone), of(&shared));
    let round_trip = redis.round_trip_us()?;
    print("round_trips", "round trips/call", (0.0, asked as f64 / requests.max(1) as f64), round_trip)?;
    print("added_cpu", "gateway CPU us/request", of(|lane| lane.middle(Turn::cpu_us)), round_trip)?;
    print("added_p50", "us", of(Lane::p50_us), round_trip)
}

/// The estate, and a policy by which each measured call counts.
fn resources(ground: &Ground) -> anyhow::Result<PathBuf> {
    let resources = ground.scratch().join("limited");
    fs::create_dir(&resources)?;
    estate::write(&resources, ground.upstream_at(), ground.policies(), ground.agents())?;
    fs::write(resources.join("limits.yaml"), limits().to_string())?;
    // A gateway waits until what was just written is whole.
    std::thread::sleep(Duration::from_millis(600));
    gateway::check(&ground.config().binary, &resources)?;
    Ok(resources)
}

/// Two limits, which are taken together.
fn limits() -> Value {
    let cedar = r#"@limit("minute day") forbid (principal, action == Action::"invokeTool", resource in ToolSet::"bench-readonly");"#;
    json!({"apiVersion": "vidimus.dev/v1alpha1", "kind": "Policy", "metadata": {"name": "limits", "namespace": estate::NAMESPACE},
        "spec": {"description": "Counts every measured call.", "cedar": cedar, "limits": [
            {"name": "minute", "requests": 1_000_000_000, "per": ["principal"], "window": {"sliding": "1m"}},
            {"name": "day", "requests": 1_000_000_000, "per": ["team", "tool"], "window": {"fixed": "24h"}}]}})
}

impl Redis {
    /// The one that `e2e/redis/setup.sh` finds or fetches.
    fn start() -> anyhow::Result<Self> {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../e2e/redis/setup.sh");
        let found = Command::new(script).stderr(Stdio::inherit()).output().context(script)?;
        ensure!(found.status.success(), "no redis-server: see what {script} says");
        let address = free_address()?;
        let mut command = Command::new(String::from_utf8(found.stdout)?.trim());
        command.args([
            "--bind",
            "127.0.0.1",
            "--port",
            &address.port().to_string(),
            "--save",
            "",
            "--appendonly",
            "no",
        ]);
        let mut process = Running::spawn("redis", command.stdin(Stdio::null()).stdout(Stdio::null()))?;
        let begun = Instant::now();
        while TcpStream::connect(address).is_err() {
            process.check()?;
            ensure!(begun.elapsed() < PATIENCE, "redis does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(Self { address, _process: process })
    }

    /// How many scripts it ran, as gateways ask it. What each looks for once a second is among them.
    fn asked(&self) -> anyhow::Result<u64> {
        let mut stream = TcpStream::connect(self.address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(b"INFO commandstats\r\nQUIT\r\n")?;
        let mut said = String::new();
        stream.read_to_string(&mut said)?;
        asked(&said)
    }

    /// The middle of what a PING takes, µs.
    fn round_trip_us(&self) -> anyhow::Result<f64> {
        const PONG: [u8; 7] = *b"+PONG\r\n";
        let mut stream = TcpStream::connect(self.address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut ping = || {
            let (begun, mut said) = (Instant::now(), [0; PONG.len()]);
            stream.write_all(b"PING\r\n")?;
            stream.read_exact(&mut said)?;
            ensure!(said == PONG, "a PING was answered {said:?}");
            Ok(begun.elapsed().as_secs_f64() * 1e6)
        };
        let all = (0..PINGS).map(|_| ping()).collect::<anyhow::Result<Vec<f64>>>()?;
        median(all).context("no round trips")
    }
}

/// Calls of EVALSHA in what INFO says of commands.
fn asked(said: &str) -> anyhow::Result<u64> {
    let calls = said.lines().find_map(|line| line.strip_prefix("cmdstat_evalsha:calls="));
    let calls = calls.and_then(|calls| calls.split(',').next());
    calls.with_context(|| format!("no script was run: {said}"))?.parse().context("calls of EVALSHA")
}

#[cfg(test)]
mod tests {
    use vidimus_core::resource::{Object, Origin, check};

    use super::*;

    #[test]
    fn scripts_are_counted_and_the_policy_is_one_that_counts() {
        let said = "$99\r\n# Commandstats\r\ncmdstat_eval:calls=2,usec=9\r\ncmdstat_evalsha:calls=41,usec=7,usec_per_call=0.1\r\n";
        assert_eq!(asked(said).unwrap(), 41);
        assert!(asked("$16\r\n# Commandstats\r\n\r\n+OK\r\n").is_err());
        let Object::Policy(policy) = check(&Origin::default(), &limits()).unwrap() else { panic!() };
        assert_eq!(policy.limits.len(), 2);
    }
}
