//! What data planes make of the routes of objects is in the statuses of these (ADR 66).

use std::sync::Arc;
use std::time::Duration;

use vidimus_cluster::{RouteFault, RoutesSaid};
use vidimus_gateway::Shared;

use super::Serve;
use super::source::Watching;
use super::supervisor::Supervisor;

/// How often it is told: what differs is a write.
const EVERY: Duration = Duration::from_secs(5);

/// Begins to tell it, where data planes get their routes and statuses are written by this process.
pub(super) fn begin(supervisor: &mut Supervisor, serve: &Serve, shared: &Arc<Shared>, watching: &Watching) {
    let Some(report) = watching.routes().filter(|_| serve.xds.xds.is_some()) else { return };
    let shared = shared.clone();
    supervisor.repeated("routes", EVERY, move || {
        let (heard, faults) = shared.planes.faults();
        let fault = |(object, (is_refused, message))| (object, RouteFault { is_refused, message });
        report.note(RoutesSaid { heard, faults: faults.into_iter().map(fault).collect() });
        std::future::ready(())
    });
}
