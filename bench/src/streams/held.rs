//! What of the gateway's memory an open stream holds, and a session that nobody uses.
//!
//! Some are opened before the first reading, so that what all of them share is no part of it.

use std::fs;
use std::time::Duration;

use anyhow::ensure;
use serde_json::json;

use super::client::Streams;
use super::silent::Silent;
use super::{Cut, FOR_STREAMS, descriptors};
use crate::figure::{Figure, rounded};
use crate::gateway::Gateway;
use crate::note;
use crate::process::resident;
use crate::scenario::{End, Scenario, Surface};
use crate::upstream::Upstream;

const HELD: usize = 10_000;
/// Opened before the first reading.
const FIRST: usize = 200;
/// From the last of them to a reading.
const SETTLE: Duration = Duration::from_secs(2);

impl Cut<'_> {
    /// Memory of 10,000 open streams, and of as many sessions with a server and with one that stands for eight.
    pub(crate) fn held(&self) -> anyhow::Result<()> {
        let held = if self.quick { HELD / 10 } else { HELD };
        let most = usize::try_from(descriptors()? / 2 * FOR_STREAMS.0 / FOR_STREAMS.1)?.saturating_sub(FIRST);
        if most < held {
            note(&format!("held: {most} streams instead of {held}, for want of descriptors (ulimit -Hn)"))?;
        }
        self.streams_held(held.min(most))?;
        self.sessions_held(Scenario::McpCall, held)?;
        self.sessions_held(Scenario::McpCallMembers, held)
    }

    fn streams_held(&self, streams: usize) -> anyhow::Result<()> {
        let upstream = Silent::serve()?;
        let (home, gateway) = self.start("held-streams", upstream.at())?;
        let tokens = gateway.tokens()?;
        let first = Streams::open(gateway.address, &tokens, FIRST)?;
        let before = settled(&gateway)?;
        let mut open = Streams::open(gateway.address, &tokens, streams)?;
        let after = settled(&gateway)?;
        ensure!(open.ended()? == 0, "streams ended that were to be held");
        print("stream_memory", "mcp_call", streams, before, after)?;
        drop((first, open));
        upstream.end_all();
        gateway.stop()?;
        Ok(fs::remove_dir_all(&home)?)
    }

    fn sessions_held(&self, scenario: Scenario, sessions: usize) -> anyhow::Result<()> {
        let upstream = Upstream::bind(0)?;
        let at = upstream.at()?;
        std::thread::Builder::new().name("upstream".to_owned()).spawn(move || upstream.serve())?;
        let (home, gateway) = self.start(&format!("held-{}", scenario.name()), at)?;
        let (surface, tokens) = (Surface::governed(), gateway.tokens()?);
        let end = End { surface: &surface, address: gateway.address, tokens: &tokens };
        let open = |count: usize| -> anyhow::Result<()> {
            tokens
                .iter()
                .cycle()
                .take(count)
                .try_for_each(|token| scenario.open_session(end, token).map(drop))
        };
        open(FIRST)?;
        let before = settled(&gateway)?;
        open(sessions)?;
        print("session_memory", scenario.name(), sessions, before, settled(&gateway)?)?;
        gateway.stop()?;
        Ok(fs::remove_dir_all(&home)?)
    }
}

/// Resident memory, in bytes, once what was begun has been done.
fn settled(gateway: &Gateway) -> anyhow::Result<u64> {
    std::thread::sleep(SETTLE);
    resident(gateway.pid())
}

fn print(name: &'static str, of: &str, held: usize, before: u64, after: u64) -> anyhow::Result<()> {
    let each = after.saturating_sub(before) as f64 / held.max(1) as f64 / 1e3;
    let parameters = json!({"of": of, "held": held, "before_mb": rounded(before as f64 / 1e6), "after_mb": rounded(after as f64 / 1e6)});
    Figure::new(name, each, "kB each", parameters).print()
}
