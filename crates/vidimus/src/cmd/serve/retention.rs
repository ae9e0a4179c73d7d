//! Records that were kept long enough go from the front of the ledger, beside the calls.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use jiff::{SignedDuration, Timestamp};
use vidimus_core::act::BY_ITSELF;
use vidimus_core::clock::Clock as _;
use vidimus_gateway::{KEY_LENGTH, Shared, Stood, rfc3339};
use vidimus_ledger::{Ledger, Pruned, PrunedBy, Retention};

use super::supervisor::Supervisor;
use super::{Serve, standing};
use crate::clock::SystemClock;

/// How often it is looked whether a whole segment is old enough.
const LOOK: Duration = Duration::from_secs(600);

/// Before a time, and for a reason.
#[derive(Clone, Debug)]
pub(in crate::cmd) struct Pruning {
    pub(in crate::cmd) before: Timestamp,
    pub(in crate::cmd) witnessed: bool,
    pub(in crate::cmd) archive: Option<PathBuf>,
    pub(in crate::cmd) actor: String,
    pub(in crate::cmd) why: String,
}

/// Begins to prune, where records are kept for a time.
pub(super) fn begin(supervisor: &mut Supervisor, serve: &Serve, shared: &Arc<Shared>, key: [u8; KEY_LENGTH]) {
    let Some(keep) = serve.keep_records else { return };
    // What a start takes up from the records of chains must be there.
    let keep = keep.max(shared.label_window()).max(shared.longest_end());
    let (shared, data, archive) = (shared.clone(), serve.data.clone(), serve.archive.clone());
    let (witnessed, why) =
        (!serve.witness.is_empty(), format!("records are kept for {} h", keep.as_secs() / 3600));
    supervisor.repeated("retention", LOOK, move || {
        let (shared, data, archive, why) = (shared.clone(), data.clone(), archive.clone(), why.clone());
        async move {
            let before = SignedDuration::try_from(keep)
                .ok()
                .and_then(|keep| Timestamp::now().checked_sub(keep).ok())
                .unwrap_or(Timestamp::UNIX_EPOCH);
            let pruning = Pruning { before, witnessed, archive, actor: BY_ITSELF.to_owned(), why };
            let stood = shared.stood().await;
            let done =
                tokio::task::spawn_blocking(move || prune(&data, &key, &shared.ledger, stood, &pruning));
            match done.await.map_err(anyhow::Error::from).and_then(|done| done) {
                Ok(None) => {}
                Ok(Some(pruned)) => tracing::info!("{pruned}"),
                // It is tried again; nothing is lost by what stays.
                Err(error) => {
                    tracing::error!(error = format!("{error:#}"), "records that were kept long enough stay");
                }
            }
        }
    });
}

/// Prunes a ledger. What stands by acts is written down before: the records that say so may go.
///
/// # Errors
/// When it cannot be written down, or nothing can be pruned.
pub(in crate::cmd) fn prune(
    data: &Path,
    key: &[u8; KEY_LENGTH],
    ledger: &Ledger,
    stood: Stood,
    pruning: &Pruning,
) -> anyhow::Result<Option<Pruned>> {
    let retention = Retention {
        before: pruning.before,
        // A start looks for the last record of what was written down.
        stands: stood.records.saturating_sub(1),
        witnessed: pruning.witnessed,
        archive: pruning.archive.as_deref(),
    };
    if ledger.prunable(&retention)?.is_none() {
        return Ok(None);
    }
    standing::keep_base(data, key, ledger, stood).context("what stands by acts")?;
    let (id, time) = (uuid::Uuid::now_v7().to_string(), rfc3339(SystemClock.now().wall));
    let by = PrunedBy { actor: &pruning.actor, id: &id, time: &time, why: &pruning.why };
    Ok(ledger.prune(&retention, &by)?)
}
