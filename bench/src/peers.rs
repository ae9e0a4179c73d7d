//! Vidimus, fully governed, beside what people would pick instead: same client, same upstream, one run, in turns.
//!
//! A peer is a folder of `bench/peers`, whose README has the contract. What a peer does not offer, and a peer that cannot be
//! installed or started here, is a line with `error`: nothing is left out silently.

mod decision;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use serde::Deserialize;
use serde_json::json;

use crate::compare::Governed;
use crate::figure::{Figure, thousandths};
use crate::gateway::free_address;
use crate::ground::Ground;
use crate::process::Running;
use crate::scenario::{End, Scenario, Surface};
use crate::turns::{self, Lane, Turn};
use crate::witness::{self, Counts};

/// A peer must be ready within this time; some take half a minute to import their own modules.
const PATIENCE: Duration = Duration::from_secs(240);
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/peers");

/// What can be measured beside Vidimus.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Peer {
    /// Envoy as a plain reverse proxy.
    Envoy,
    /// Envoy that verifies JWTs and applies RBAC.
    EnvoyJwtRbac,
    /// LiteLLM's proxy.
    Litellm,
    /// IBM's ContextForge gateway.
    Contextforge,
    /// FastMCP's proxy.
    Fastmcp,
}

impl Peer {
    const fn name(self) -> &'static str {
        match self {
            Self::Envoy => "envoy",
            Self::EnvoyJwtRbac => "envoy-jwt-rbac",
            Self::Litellm => "litellm",
            Self::Contextforge => "contextforge",
            Self::Fastmcp => "fastmcp",
        }
    }

    /// Its folder of `bench/peers`, and what its `serve.py` is told.
    const fn folder(self) -> (&'static str, &'static str) {
        match self {
            Self::Envoy => ("envoy", "plain"),
            Self::EnvoyJwtRbac => ("envoy", "jwt-rbac"),
            Self::Litellm => ("litellm", ""),
            Self::Contextforge => ("contextforge", ""),
            Self::Fastmcp => ("fastmcp", ""),
        }
    }

    /// Most of its processor time that a governed call may take, at 64 connections (issue 9, part B).
    const fn goal(self, scenario: Scenario) -> Option<f64> {
        match (self, scenario) {
            (Self::EnvoyJwtRbac, Scenario::McpCall | Scenario::A2aSend) => Some(1.0),
            (Self::EnvoyJwtRbac, Scenario::LlmChat) => Some(0.7),
            (Self::Envoy, Scenario::LlmChatStream) => Some(1.2),
            _ => None,
        }
    }
}

/// What a peer says of itself when it is about to serve.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Ready {
    /// Name and version.
    product: String,
    surface: Surface,
    tokens: Vec<String>,
    /// Why a scenario is not offered, by the name of its figures.
    #[serde(default)]
    cannot: BTreeMap<String, String>,
}

/// A peer that serves.
struct Serving {
    peer: Peer,
    ready: Ready,
    address: SocketAddr,
    process: Running,
}

/// Measures the peers, and with `decide` the decision alone. True when everything was measured that they offer.
pub(crate) fn run(
    ground: &Ground,
    peers: &[Peer],
    scenarios: &[Scenario],
    decide: bool,
) -> anyhow::Result<bool> {
    let mut complete = true;
    let mut serving = Vec::new();
    for peer in peers {
        match start(*peer, ground) {
            Ok(one) => serving.push(one),
            Err(error) => {
                complete = false;
                say_error("peer", peer.name(), &format!("cannot be measured here: {error:#}"))?;
            }
        }
    }
    for scenario in scenarios {
        complete &= measure(ground, *scenario, &serving)?;
    }
    if decide {
        complete &= decision::run()?;
    }
    Ok(complete)
}

fn start(peer: Peer, ground: &Ground) -> anyhow::Result<Serving> {
    let (folder, variant) = peer.folder();
    let python = installed(folder)?.join("bin/python");
    let directory = ground.scratch().join(peer.name());
    fs::create_dir(&directory)?;
    let (address, log) = (free_address()?, directory.join("log"));
    let mut command = Command::new(python);
    command
        .arg(Path::new(FOLDER).join(folder).join("serve.py"))
        .args(Some(variant).filter(|variant| !variant.is_empty()))
        .env("PORT", address.port().to_string())
        .env("UPSTREAM", ground.upstream_address().port().to_string())
        .env("DIR", &directory)
        .current_dir(&directory)
        .stdin(Stdio::null())
        .stdout(File::create(&log)?)
        .stderr(File::options().append(true).open(&log)?);
    let mut process = Running::spawn_tree(peer.name(), &mut command)?;
    let (begun, file) = (Instant::now(), directory.join("ready.json"));
    // The file is there when it says what the peer offers, the port when it serves.
    while !(file.exists() && std::net::TcpStream::connect(address).is_ok()) {
        let alive = process.check();
        if alive.is_err() || begun.elapsed() > PATIENCE {
            let said = fs::read_to_string(&log).unwrap_or_default();
            let last: Vec<&str> = said.lines().rev().take(12).collect();
            bail!(
                "it does not serve ({alive:?}): {}",
                last.into_iter().rev().collect::<Vec<_>>().join(" | ")
            );
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let ready: Ready = serde_json::from_slice(&fs::read(&file)?).context("ready.json")?;
    crate::note(&format!("{}: {} is process {}", peer.name(), ready.product, process.pid()))?;
    Ok(Serving { peer, ready, address, process })
}

/// The peer's virtual environment, made unless it is there.
fn installed(folder: &str) -> anyhow::Result<PathBuf> {
    let mut command = Command::new(Path::new(FOLDER).join("setup.sh"));
    command.arg(folder).stdin(Stdio::null());
    let output = command.output().with_context(|| format!("{command:?}"))?;
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "it cannot be installed: {}", error.trim());
    let said = String::from_utf8(output.stdout)?;
    Ok(said.lines().last().context("setup.sh names no directory")?.into())
}

/// One scenario, on a gateway of its own and on every peer that offers it.
fn measure(ground: &Ground, scenario: Scenario, peers: &[Serving]) -> anyhow::Result<bool> {
    let mut complete = true;
    let mut able = Vec::new();
    for one in peers {
        if one.ready.surface.path(scenario).is_some() {
            able.push(one);
        } else {
            let why = one.ready.cannot.get(scenario.name()).map_or("it is not offered", String::as_str);
            say_error(scenario.name(), one.peer.name(), &format!("not measured: {why}"))?;
        }
    }
    let ours = Governed::start(ground.config(), &format!("{}-peers", scenario.name()))?;
    witness::examine(scenario, &ours.gateway, ours.end(&Surface::governed()), ground.upstream_address())?;
    for connections in ground.concurrency().iter().copied().map(usize::from) {
        complete &= at(ground, scenario, connections, &ours, &mut able)?;
    }
    ours.gateway.stop()?;
    Ok(complete)
}

/// One scenario at one concurrency. A peer that fails is taken out of `able`.
fn at(
    ground: &Ground,
    scenario: Scenario,
    connections: usize,
    ours: &Governed,
    able: &mut Vec<&Serving>,
) -> anyhow::Result<bool> {
    let upstream = ground.upstream_address();
    let open = |end: End<'_>, process| Lane::open(scenario, end, connections, process, ground.upstream_pid());
    let (straight, through) = (Surface::direct(), Surface::governed());
    let mut direct = open(End { surface: &straight, address: upstream, tokens: &ours.tokens }, None)?;
    let mut governed = open(ours.end(&through), Some(ours.gateway.pid()))?;
    let (mut theirs, mut failed) = (Vec::new(), Vec::new());
    for one in able.iter() {
        let end = End { surface: &one.ready.surface, address: one.address, tokens: &one.ready.tokens };
        match open(end, Some(one.process.pid())) {
            Ok(lane) => theirs.push((*one, lane)),
            Err(error) => failed.push((one.peer, error)),
        }
    }
    let before = Counts::take(scenario, &ours.gateway, upstream)?;
    let mut lanes = vec![&mut direct, &mut governed];
    lanes.extend(theirs.iter_mut().map(|(_, lane)| lane));
    let mut errors = turns::take(&mut lanes, ground.effort()).into_iter();
    if let Some(own) = errors.by_ref().take(2).flatten().next() {
        return Err(own);
    }
    Counts::take(scenario, &ours.gateway, upstream)?.must_have_grown(&before, governed.requests(), None)?;
    let parameters = |measure: &str, peer: &str, product: &str| {
        json!({"measure": measure, "peer": peer, "product": product, "concurrency": connections,
            "policies": ground.policies(), "rounds": ground.effort().rounds})
    };
    let absolute = |lane: &Lane, peer: &str, product: &str| {
        let added = lane.p50_us() - direct.p50_us();
        Figure::new(
            scenario.name(),
            lane.middle(Turn::cpu_us),
            "CPU us/request",
            parameters("peer_cpu", peer, product),
        )
        .print()?;
        Figure::new(scenario.name(), added, "us", parameters("peer_added_p50", peer, product)).print()
    };
    absolute(&governed, "vidimus", "fully governed")?;
    for ((one, lane), error) in theirs.iter().zip(errors) {
        if let Some(error) = error {
            failed.push((one.peer, error));
            continue;
        }
        let (name, product) = (one.peer.name(), one.ready.product.as_str());
        absolute(lane, name, product)?;
        let goal = one.peer.goal(scenario).filter(|_| connections == 64);
        let mut of_cpu = parameters("cpu_of_peer", name, product);
        if let Some(own) = of_cpu.as_object_mut() {
            own.insert("of_least".to_owned(), json!(thousandths(governed.least_cpu_ratio(lane))));
        }
        Figure::ratio(scenario.name(), governed.cpu_ratio(lane), of_cpu).at_most(goal).print()?;
        let added = |lane: &Lane| lane.p50_us() - direct.p50_us();
        let of_p50 = parameters("added_p50_of_peer", name, product);
        Figure::ratio(scenario.name(), added(&governed) / added(lane), of_p50).print()?;
    }
    let complete = failed.is_empty();
    for (peer, error) in failed {
        able.retain(|one| one.peer != peer);
        say_error(scenario.name(), peer.name(), &format!("failed at {connections} connections: {error:#}"))?;
    }
    Ok(complete)
}

/// A line that says why a cell of the comparison is empty.
fn say_error(name: &str, peer: &str, error: &str) -> anyhow::Result<()> {
    crate::print(&json!({"name": name, "error": error, "parameters": {"peer": peer}}).to_string())
}
