//! File descriptors, divided before anything is served: what takes one has a bound, and the bounds together fit the limit of the
//! process. So accepting, health, the ledger and the directory of resources find some left, whoever connects. Idle connections to upstreams
//! are not counted.

use anyhow::ensure;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use vidimus_gateway::Limits;

use super::admin_listener;

/// The ledger's and the registry's files, the log, the listening sockets, issuers' keys, traces; with some to spare.
const FILES: u64 = 128;
/// What a worker has for itself: its runtime, and its clones of the listening sockets.
const WORKER: u64 = 8;
/// Fewer connections than this are worth a word.
const FEW: usize = 1024;
/// Fewer calls than this at once is no gateway.
const LEAST: u64 = 8;

/// Raises the limit of open files as far as it is needed and may be, and lowers what of `limits` does not fit it. A call has two
/// descriptors: its caller's connection, and one to its upstream.
///
/// # Errors
/// When the limit is too low for any call.
pub(super) fn divide(limits: Limits, workers: usize) -> anyhow::Result<Limits> {
    let workers = workers as u64;
    let own = FILES + admin_listener::CONNECTIONS as u64 + WORKER * workers;
    let wanted = own + limits.connections as u64 + limits.calls as u64;
    let given = getrlimit(Resource::Nofile);
    let most = given.maximum.map_or(wanted, |maximum| maximum.min(wanted));
    let mut has = given.current.unwrap_or(wanted);
    if has < most {
        match setrlimit(Resource::Nofile, Rlimit { current: Some(most), maximum: given.maximum }) {
            Ok(()) => has = most,
            Err(error) => tracing::warn!(%error, limit = most, "the limit of open files could not be raised"),
        }
    }
    let divided = fit(limits, has, own);
    let least = own + 2 * LEAST;
    ensure!(
        has >= least,
        "the limit of open files is {has}, and a gateway with {workers} workers needs {least} at least; raise it (ulimit -n, LimitNOFILE=)"
    );
    if divided.connections < FEW {
        tracing::warn!(
            limit = has,
            wanted,
            connections = divided.connections,
            "the limit of open files is low, so there are fewer connections at once; raise it (ulimit -n, LimitNOFILE=)"
        );
    }
    Ok(divided)
}

/// What of `has` descriptors is not the process's own is divided between callers and upstreams.
fn fit(limits: Limits, has: u64, own: u64) -> Limits {
    let half = usize::try_from(has.saturating_sub(own) / 2).unwrap_or(usize::MAX);
    if limits.connections + limits.calls <= half.saturating_mul(2) {
        return limits;
    }
    Limits { connections: limits.connections.min(half), calls: limits.calls.min(half), ..limits }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bounds_together_fit_the_limit() {
        let limits = Limits { connections: 1000, calls: 1000, ..Limits::default() };
        for (has, connections) in
            [(100_000, 1000), (2200, 1000), (2199, 999), (1200, 500), (216, 8), (100, 0)]
        {
            let fit = fit(limits, has, 200);
            assert_eq!((fit.connections, fit.calls), (connections, connections), "{has}");
        }
    }
}
