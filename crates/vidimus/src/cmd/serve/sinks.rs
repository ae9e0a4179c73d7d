//! `--sink`: who is sent the ledger's records.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use vidimus_gateway::{Pace, SecretDirectory, Shared, SinkAddress, SinksConfig, has_position, open_sinks};

use super::Serve;
use super::supervisor::Supervisor;

/// Before one begins, and before it begins anew after a panic.
const AGAIN: Duration = Duration::from_millis(100);

/// Where their positions are, in the data directory. What the least of them is not past may not be pruned
/// ([`vidimus_gateway::least_position`]).
pub(in crate::cmd) fn positions(data: &Path) -> PathBuf {
    data.join("sinks")
}

/// Which sinks begin as new ones, and where, for the record of the start: whoever removed a position had its sink pass by what it had not taken.
/// `None` where each has a position.
pub(super) fn begun_anew(serve: &Serve) -> Option<String> {
    let directory = positions(&serve.data);
    let places = serve.sink.iter().map(SinkAddress::place);
    let new: Vec<String> = places.filter(|place| !has_position(&directory, place)).collect();
    if new.is_empty() {
        return None;
    }
    let from = serve.sink_from.map_or("the present".to_owned(), |index| format!("record {index}"));
    Some(format!("sinks without a position begin at {from}: {}", new.join(", ")))
}

/// Begins to send, where somebody is to be sent records. Each sink is a task of its own: whatever one does, the others go on.
///
/// # Errors
/// For sinks that cannot be used, and positions that are not of this ledger.
pub(super) fn begin(
    supervisor: &mut Supervisor,
    serve: &Serve,
    shared: &Arc<Shared>,
    secrets: Option<SecretDirectory>,
    (listen, admin, tls): (SocketAddr, SocketAddr, Option<SocketAddr>),
) -> anyhow::Result<()> {
    let config = SinksConfig {
        sinks: serve.sink.clone(),
        directory: positions(&serve.data),
        from: serve.sink_from,
        secrets,
        guard: serve.address_guard(),
        own: [listen, admin].into_iter().chain(tls).collect(),
        pace: Pace::default(),
    };
    for address in config.sinks.iter().filter(|address| address.is_plain()) {
        tracing::warn!(
            sink = address.place(),
            "records go there in the clear: who reads them on the way learns who called what; use otlp+https, syslog+tls or clickhouse+https"
        );
    }
    for sink in open_sinks(&config, &shared.ledger).context("--sink")? {
        tracing::info!(sink = sink.place(), next = sink.position(), "records are sent to a sink");
        let shared = shared.clone();
        supervisor.repeated("sink", AGAIN, move || {
            let (shared, sink) = (shared.clone(), sink.clone());
            async move {
                sink.follow(&shared.ledger, &shared.meter).await;
            }
        });
    }
    Ok(())
}
