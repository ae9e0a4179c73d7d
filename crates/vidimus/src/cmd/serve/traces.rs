//! `--traces`: the spans that agents send of themselves.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use vidimus_gateway::{Shared, Spans};
use vidimus_traces::Limits;

use super::supervisor::Supervisor;
use super::{Serve, disk};

/// Between two looks for spans whose time is over.
const LOOK: Duration = Duration::from_secs(60);

/// Where they are, in the data directory.
pub(crate) fn directory(data: &Path) -> PathBuf {
    data.join("traces")
}

/// Where they are kept; `None` where none are taken.
///
/// # Errors
/// Where the directory cannot be made or read.
pub(super) fn open(serve: &Serve) -> anyhow::Result<Option<Spans>> {
    if !serve.traces {
        return Ok(None);
    }
    let dir = directory(&serve.data);
    let spare = disk::not_for_spans(&serve.data, serve.disk_reserve)
        .with_context(|| format!("--traces: how much room {} has", serve.data.display()))?;
    let limits = Limits { age: serve.trace_retention, bytes: serve.trace_bytes, spare, ..Limits::default() };
    let spans = Spans::open(&dir, limits).with_context(|| format!("--traces: {}", dir.display()))?;
    tracing::info!(directory = %dir.display(), "spans that agents send are kept");
    Ok(Some(spans))
}

/// Lets those go whose time is over.
pub(super) fn look_after(supervisor: &mut Supervisor, serve: &Serve, shared: &Arc<Shared>) {
    if serve.traces {
        let shared = shared.clone();
        supervisor.repeated_beside("traces", LOOK, move || shared.prune_spans());
    }
}
