//! The records of an estate: 1,000 agents call 2,000 tools, over 7 days.

use std::path::Path;

use futures_util::future::try_join_all;
use jiff::{SignedDuration, Timestamp};
use vidimus_core::record::{Kept, Record};
use vidimus_ledger::{Config, Ledger};

use crate::Anything;

pub(crate) const AGENTS: u64 = 1_000;
const TOOLS: u64 = 2_000;
pub(crate) const POLICIES: u64 = 500;
const PEOPLE: u64 = 200;
const DAYS: i64 = 7;
/// In the text of one record of a hundred thousand.
pub(crate) const RARE: &str = "certificate of upstream";

/// Records that are kept at once.
const AT_ONCE: u64 = 256;

/// Makes a log of so many records, under its name only when all of it is there.
pub(crate) fn append(log: &Path, records: u64) -> Anything<()> {
    let begun = log.with_extension("begun");
    let _ = std::fs::remove_dir_all(&begun);
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let ledger = Ledger::open(Config { dir: begun.clone(), ..Config::default() })?;
    for first in (0..records).step_by(AT_ONCE as usize) {
        let texts: Vec<String> =
            (first..records.min(first + AT_ONCE)).map(|index| text(index, records)).collect();
        let read = texts.iter().map(|text| Kept::read(text.as_bytes()));
        let read: Vec<Record<'_>> = read.collect::<Result<_, _>>()?;
        let indices = runtime.block_on(try_join_all(read.iter().map(|record| ledger.record(record))))?;
        if !indices.into_iter().eq(first..first + texts.len() as u64) {
            return Err("the records are in another order".into());
        }
    }
    runtime.block_on(ledger.close());
    Ok(std::fs::rename(begun, log)?)
}

/// Six hours somewhere.
pub(crate) fn window(random: u64, records: u64) -> (Timestamp, Timestamp) {
    let since = time_of(random % (records / 10 * 9), records);
    (since, since + SignedDuration::from_hours(6))
}

/// Numbers that look like none: those of a counter, mixed (splitmix64).
pub(crate) fn mixed(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

pub(crate) fn begins() -> Timestamp {
    Timestamp::from_second(1_795_262_400).unwrap_or(Timestamp::UNIX_EPOCH)
}

pub(crate) fn time_of(index: u64, records: u64) -> Timestamp {
    let micros = (DAYS * 86_400_000_000) as f64 * (index as f64 / records as f64);
    begins() + SignedDuration::from_micros(micros as i64)
}

/// Of ten records: five decisions, four effects of the four before them that were let pass, and one refusal.
pub(crate) fn text(index: u64, records: u64) -> String {
    let time = format!("{:.6}", time_of(index, records));
    let (call, kind) = (index / 10 * 10 + index % 10 % 5, index % 10);
    let mut r = (0..).map(|n| mixed(call * 64 + n));
    let mut next = || r.next().unwrap_or_default();
    let id = format!("{:016x}-{:016x}", call + (1 << 48), next());
    let (agent, tool, person) = (next() % AGENTS, next() % TOOLS, next() % PEOPLE);
    let (body, policy, trace) =
        (format!("{:016x}{:016x}{:016x}{:016x}", next(), next(), next(), next()), next() % POLICIES, next());
    let transaction = format!("{:016x}-{:016x}", next(), next());
    match kind {
        0..5 => {
            let (outcome, code, policies) = match kind {
                4 => ("deny", r#""code":"no_permit","#, String::new()),
                _ => ("allow", "", format!("\"estate/policy-{policy}\"")),
            };
            let denies = if kind == 4 {
                format!("\"closest_permits\":[\"estate/policy-{policy}\"],")
            } else {
                String::new()
            };
            format!(
                r#"{{"action":"invokeTool","body":"sha256:{body}","chain":[],{denies}{code}"depth":1,"facts":{{"context.delegation_depth":"1","principal.risk_level":"low"}},"id":"{id}","identity":"spiffe:spiffe://estate.test/agent-{agent}","kind":"decision","method":"tools/call","outcome":"{outcome}","policies":[{policies}],"principal":"Agent/estate/agent-{agent}","protocol":"mcp","resource":"Tool/estate/server-{}/tool-{}","snapshot":"sha256:0af80b62b0ec9d7c9e18cb1de20a885d2103f98a1532cc8856e465d7bfafa4a9","source":"10.0.{}.{}","time":"{time}","trace":"{trace:016x}{trace:016x}-{trace:016x}","transaction":"{transaction}","user":"https://login.example#person-{person}","version":1}}"#,
                tool / 20,
                tool % 20,
                agent % 256,
                person % 256,
            )
        }
        5..9 => {
            let (result, status) = if next().is_multiple_of(50) { ("error", 500) } else { ("ok", 200) };
            format!(
                r#"{{"bytes_in":{},"bytes_out":{},"decision":{},"duration_us":{},"id":"{id}","kind":"effect","result":"{result}","status":{status},"time":"{time}","token":"{:016x}","version":1}}"#,
                next() % 4096,
                next() % 65_536,
                call,
                next() % 500_000,
                next(),
            )
        }
        _ => {
            let detail = if mixed(index).is_multiple_of(10_000) { RARE } else { "the token has expired" };
            format!(
                r#"{{"code":"token_expired","detail":"{detail}","id":"{:016x}-{:016x}","kind":"refusal","message":"the token has expired","outcome":"deny","path":"/mcp/estate/server-{}","time":"{time}","trace":"{trace:016x}{trace:016x}-{trace:016x}","version":1}}"#,
                index + (1 << 48),
                mixed(index + 7),
                tool / 20
            )
        }
    }
}
