//! The threads that serve calls: each has a runtime and listeners of its own.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::runtime::Builder;
use tokio::sync::watch;
use vidimus_gateway::listener::{self, Connections, Listener};
use vidimus_gateway::{Gate, KeepAlive, Runner, Shared, Upstream};

use super::Serve;
use super::supervisor::Supervisor;

/// Those that run.
pub(super) type Workers = Vec<std::thread::JoinHandle<()>>;
/// What runs jobs, where something does.
type Runs = Option<Arc<dyn Runner>>;

/// Begins `count` of them; those that were begun are in `workers`, also where one cannot be.
///
/// # Errors
/// When one cannot be begun.
pub(super) fn start_workers(
    supervisor: &mut Supervisor,
    serve: &Serve,
    (count, shared, stopping, runner): (usize, &Arc<Shared>, &watch::Receiver<bool>, Runs),
    (listeners, workers): (&[Listener], &mut Workers),
) -> anyhow::Result<()> {
    let connections = Connections::new(shared.connections());
    let guard = serve.address_guard();
    for number in 0..count {
        let upstream = Upstream::with_runner(guard.clone(), KeepAlive::default(), runner.clone());
        let gate = Gate { shared: shared.clone(), upstream: upstream.context("the system's TLS roots")? };
        let listeners = listeners.iter().map(Listener::try_clone).collect::<std::io::Result<Vec<_>>>()?;
        let (connections, stopping) = (connections.clone(), stopping.clone());
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let worker = supervisor.thread(format!("vidimus-worker-{number}"), move || {
            gate.vitals.fault_point("worker");
            if let Err(error) = runtime.block_on(listener::serve(gate, listeners, connections, stopping)) {
                tracing::error!(%error, "a worker could not serve");
            }
            runtime.shutdown_timeout(Duration::from_secs(1));
        })?;
        workers.push(worker);
    }
    Ok(())
}

/// Waits until each has ended.
pub(super) fn join(workers: Workers) {
    for worker in workers {
        if worker.join().is_err() {
            tracing::error!("a worker ended by a panic");
        }
    }
}
