//! Hours of mixed traffic with attacks in it, and what the gateway holds meanwhile: memory and descriptors must stay flat, and the
//! ledger intact. JSON lines, one a sample, then one with the verdict.

use std::collections::VecDeque;
use std::fs;
use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::probe::{Door, Message, Request};
use crate::probes::{self, INITIALIZE, MESSAGE, a2a, anthropic, mcp, openai, tool};
use crate::reply::Reply;
use crate::stage::Stage;
use crate::wire;

/// How long and how much.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// For so long, once all sessions have begun.
    pub time: Duration,
    /// MCP sessions, all of which are used in turn.
    pub sessions: usize,
    /// Calls a second, of all kinds together.
    pub rate: u32,
    /// Between samples.
    pub every: Duration,
}

/// Workers that call.
const WORKERS: u64 = 24;

/// Event streams that are open at any time, the oldest of which are left one after the other.
const STREAMS: usize = 100;

/// Memory of the last quarter of the time beside that of the second, descriptors likewise.
const GROWTH: f64 = 1.25;

/// Of so many calls that are no attacks one may fail: a share of the room that was full for a moment.
const FAILURES: u64 = 100;

/// Counted by all workers.
#[derive(Debug, Default)]
struct Counts {
    calls: AtomicU64,
    refused: AtomicU64,
    /// Calls that are no attacks, and were refused or not answered whole.
    failed: AtomicU64,
    attacks: AtomicU64,
}

/// What is sent, byte for byte, prepared before it begins.
#[derive(Debug)]
struct Traffic {
    /// A call in each session.
    sessions: Vec<Vec<u8>>,
    /// Calls of the other protocols, streams among them.
    others: Vec<Vec<u8>>,
    attacks: Vec<Vec<u8>>,
    /// Opens a session's event stream.
    streams: Vec<Vec<u8>>,
}

/// Runs it; each line is given to `line`. Whether all stayed flat and intact.
///
/// # Errors
/// When the stage does not stand, or the gateway ends.
pub fn run(binary: &Path, plan: Plan, mut line: impl FnMut(&Value)) -> anyhow::Result<bool> {
    let mut stage = Stage::start(binary, &["--stream-idle-time", "1m"])?;
    let traffic = Arc::new(prepare(&mut stage, plan.sessions)?);
    stage.upstream.answer(Reply::Lively);
    stage.upstream.forget();
    let (counts, stop) = (Arc::new(Counts::default()), Arc::new(AtomicBool::new(false)));
    let workers: Vec<_> = (0..WORKERS)
        .map(|worker| {
            let (traffic, counts, stop) = (traffic.clone(), counts.clone(), stop.clone());
            let address = stage.gateway.listen;
            std::thread::spawn(move || work(worker, plan.rate, address, &traffic, &counts, &stop))
        })
        .collect();
    let samples = watch(&mut stage, plan, &traffic, &counts, &mut line);
    stop.store(true, Ordering::Relaxed);
    for worker in workers {
        worker.join().map_err(|_| anyhow::anyhow!("a worker panicked"))?;
    }
    let verdict = verdict(&mut stage, &samples?, &counts)?;
    line(&verdict);
    Ok(verdict.get("holds").and_then(Value::as_bool).unwrap_or(false))
}

fn prepare(stage: &mut Stage, sessions: usize) -> anyhow::Result<Traffic> {
    // Sealed ids and hop tokens that attacks need are made while the upstream answers each by itself.
    let chosen = probes::all().into_iter().filter(|probe| {
        let slow =
            ["room/", "admin/", "upstreams/", "messages/too-large", "messages/members", "messages/deep"];
        probe.door == Door::Listen && !slow.iter().any(|begin| probe.name.starts_with(begin))
    });
    // And a call that nobody permits, as the plainest of them.
    let requests = chosen.map(|probe| probe.request).chain([Request::Message(tool("hidden_tool", "{}"))]);
    let attacks = requests.map(|request| stage.bytes(&request)).collect::<Result<_, _>>()?;
    stage.upstream.answer(Reply::Lively);
    let initialize = ["alice", "bob"].map(|who| stage.bytes(&Request::Message(mcp(INITIALIZE).by(who))));
    let (mut calls, mut streams) = (Vec::with_capacity(sessions), Vec::new());
    for number in 0..sessions {
        let who = if number % 2 == 0 { "alice" } else { "bob" };
        let request =
            initialize.get(number % 2).and_then(|bytes| bytes.as_ref().ok()).context("no request")?;
        let answer = wire::exchange(stage.gateway.listen, &[request], false);
        let session = answer.field("mcp-session-id").with_context(|| answer.summary())?.to_owned();
        let within = |message: Message| Request::Message(message.by(who).with("Mcp-Session-Id", &session));
        calls.push(stage.bytes(&within(tool("ok", &format!(r#"{{"number":{number}}}"#))))?);
        if streams.len() < 4 * STREAMS {
            streams.push(stage.bytes(&within(mcp("").using("GET").bodiless().without("Content-Type")))?);
        }
    }
    let others = others()
        .into_iter()
        .map(|message| stage.bytes(&Request::Message(message)))
        .collect::<Result<_, _>>()?;
    Ok(Traffic { sessions: calls, others, attacks, streams })
}

fn others() -> Vec<Message> {
    let large = "y".repeat(50_000);
    vec![
        mcp(probes::request("tools/list", "{}")),
        probes::modern("tools/call", Some("ok"), r#""name":"ok","arguments":{}"#),
        tool("ok", &format!(r#"{{"large":"{large}"}}"#)),
        a2a("SendMessage", MESSAGE),
        a2a("SendStreamingMessage", MESSAGE),
        openai(r#"{"model":"small","messages":[]}"#),
        openai(r#"{"model":"small","stream":true,"messages":[]}"#),
        anthropic(r#"{"model":"small","max_tokens":1,"messages":[]}"#),
        openai("").using("GET").at("/llm/r/openai/v1/models").bodiless(),
    ]
}

fn work(worker: u64, rate: u32, address: SocketAddr, traffic: &Traffic, counts: &Counts, stop: &AtomicBool) {
    let pause =
        Duration::from_secs_f64(f64::from(u32::try_from(WORKERS).unwrap_or(1)) / f64::from(rate.max(1)));
    let mut turn = usize::try_from(worker).unwrap_or_default();
    while !stop.load(Ordering::Relaxed) {
        let begun = Instant::now();
        turn += 1;
        let attack = turn % 10 == 0;
        let pool = match turn % 10 {
            0 => &traffic.attacks,
            1..5 => &traffic.others,
            _ => &traffic.sessions,
        };
        // Workers are a prime apart, so that they do not walk in step.
        let at = (turn.wrapping_mul(7_919) + turn / 10) % pool.len().max(1);
        let Some(bytes) = pool.get(at) else { continue };
        let answer = wire::exchange_within(address, &[bytes], false, Duration::from_secs(10));
        counts.calls.fetch_add(1, Ordering::Relaxed);
        counts.attacks.fetch_add(u64::from(attack), Ordering::Relaxed);
        let refused = answer.code().is_some();
        counts.refused.fetch_add(u64::from(refused), Ordering::Relaxed);
        counts.failed.fetch_add(u64::from(!attack && (refused || !answer.whole)), Ordering::Relaxed);
        std::thread::sleep(pause.saturating_sub(begun.elapsed()));
    }
}

/// One sample.
#[derive(Clone, Copy, Debug)]
struct Sample {
    /// Resident memory (VmRSS).
    kibibytes: u32,
    descriptors: u32,
}

fn watch(
    stage: &mut Stage,
    plan: Plan,
    traffic: &Traffic,
    counts: &Counts,
    line: &mut impl FnMut(&Value),
) -> anyhow::Result<Vec<Sample>> {
    let begun = Instant::now();
    let (mut held, mut samples): (VecDeque<TcpStream>, Vec<Sample>) = (VecDeque::new(), Vec::new());
    let mut opened = 0;
    while begun.elapsed() < plan.time {
        std::thread::sleep(plan.every.min(plan.time.saturating_sub(begun.elapsed())));
        for _ in 0..STREAMS / 4 {
            let bytes = traffic.streams.get(opened % traffic.streams.len().max(1));
            opened += 1;
            let stream = wire::connect(stage.gateway.listen);
            let (Some(bytes), Ok(mut stream)) = (bytes, stream) else { continue };
            // A stream that cannot be opened is missed by the numbers below.
            if stream.write_all(bytes).is_ok() {
                held.push_back(stream);
            }
        }
        while held.len() > STREAMS {
            held.pop_front();
        }
        stage.gateway.alive()?;
        let sample = sample(stage.gateway.pid())?;
        samples.push(sample);
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        line(&json!({
            "seconds": begun.elapsed().as_secs(), "resident_kib": sample.kibibytes, "descriptors": sample.descriptors,
            "calls": count(&counts.calls), "refused": count(&counts.refused), "attacks": count(&counts.attacks),
            "failed": count(&counts.failed), "streams_held": held.len(),
        }));
    }
    Ok(samples)
}

fn sample(pid: u32) -> anyhow::Result<Sample> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kibibytes: u32 = resident.trim().trim_end_matches("kB").trim().parse()?;
    let descriptors = u32::try_from(fs::read_dir(format!("/proc/{pid}/fd"))?.count())?;
    Ok(Sample { kibibytes, descriptors })
}

fn verdict(stage: &mut Stage, samples: &[Sample], counts: &Counts) -> anyhow::Result<Value> {
    let verified = stage.gateway.command(&["audit", "verify"]);
    let (intact, said) = match &verified {
        Ok(text) => (true, text.clone()),
        Err(error) => (false, error.to_string()),
    };
    // The means of the second quarter of the samples and of the last: in the first it fills what it keeps.
    let quarter = samples.len() / 4;
    let of = |part: &[Sample], value: fn(&Sample) -> u32| {
        part.iter().map(|sample| f64::from(value(sample))).sum::<f64>()
            / f64::from(u32::try_from(part.len().max(1)).unwrap_or(1))
    };
    let early = samples.get(quarter..(2 * quarter).max(quarter + 1).min(samples.len())).unwrap_or_default();
    let late = samples.get(samples.len() - quarter.max(1).min(samples.len())..).unwrap_or_default();
    let resident = of(late, |sample| sample.kibibytes) / of(early, |sample| sample.kibibytes).max(1.0);
    let descriptors = of(late, |sample| sample.descriptors) / of(early, |sample| sample.descriptors).max(1.0);
    let flat = !samples.is_empty() && resident <= GROWTH && descriptors <= GROWTH;
    let (calls, failed) = (counts.calls.load(Ordering::Relaxed), counts.failed.load(Ordering::Relaxed));
    let served = calls > 0 && failed.saturating_mul(FAILURES) <= calls;
    let holds = intact && flat && served;
    Ok(json!({
        "verdict": if holds { "flat, served and intact" } else { "NOT flat, NOT served or NOT intact" },
        "holds": holds, "served": served, "resident_growth": resident, "descriptor_growth": descriptors,
        "audit_verify": said.trim(),
    }))
}
