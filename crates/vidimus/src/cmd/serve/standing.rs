//! What stands by acts: found at the start, brought into force, and kept for the next start.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use vidimus_core::act::{Act, BY_ITSELF, OfGrant};
use vidimus_core::clock::Clock as _;
use vidimus_core::record::{ActRecord, Kept, Record};
use vidimus_core::snapshot::Overlay;
use vidimus_core::standing::Standing;
use vidimus_gateway::{KEY_LENGTH, Shared, Stood, millis};
use vidimus_ledger::{Ledger, Reading};
use vidimus_registry::{StandingFile, Watching};

use super::supervisor::Supervisor;
use crate::clock::SystemClock;

/// How often what stands is written down although nothing was done, so that a start has little of the log to read.
const KEEP: Duration = Duration::from_secs(60);

/// Between two times that it is written down: it is written whole, and many acts may follow each other. What it lacks, the next start reads
/// in the log.
const LEAST: Duration = Duration::from_secs(5);

/// How often what nobody answered in time is ended. Nothing is good beyond its time in between.
const EXPIRE: Duration = Duration::from_secs(5);

/// How often it is looked for grants whose time is over.
const LOOK: Duration = Duration::from_secs(1);

/// What stands by the acts of the log.
///
/// # Errors
/// When an act cannot be read: what was quarantined is then not known, and nothing may be let through.
pub(super) fn open(
    data: &Path,
    key: &[u8; KEY_LENGTH],
    ledger: &Ledger,
) -> anyhow::Result<(Stood, StandingFile)> {
    let (path, file) = file(data, key)?;
    let known = file.read().unwrap_or_else(|reason| {
        tracing::warn!(reason, "{} is not used; the whole log is read instead", path.display());
        None
    });
    // A log that is shorter than what was kept of it is another one.
    let known = known.filter(|(records, _)| *records <= ledger.size());
    let (begun, mut standing) = known.unwrap_or_default();
    let size = ledger.size();
    if size - begun > 1_000_000 {
        tracing::info!(records = size - begun, "looking for acts in the log");
    }
    let records = fold(&mut standing, begun, ledger.read_from(begun).context("the acts in the ledger")?)?;
    if records < size {
        return Err(anyhow!("the ledger has {size} records, and {records} of them could be read for acts"));
    }
    let stood = stood(records, standing)?;
    Ok((stood, file))
}

fn file(data: &Path, key: &[u8; KEY_LENGTH]) -> anyhow::Result<(PathBuf, StandingFile)> {
    let path = data.join("registry").join("standing");
    let file = StandingFile::new(&path, key)?;
    Ok((path, file))
}

/// Takes over the acts among `reading`, which begins after `records` records; gives how many there were in the end.
fn fold(standing: &mut Standing, mut records: u64, reading: Reading) -> anyhow::Result<u64> {
    for hit in reading {
        let hit = hit.context("the acts in the ledger")?;
        if ActRecord::is_act(&hit.record) {
            let read = Kept::read(&hit.record).with_context(|| format!("record {}", hit.index))?;
            if let Record::Act(act) = read {
                standing.apply(&act);
            }
        }
        records = hit.index + 1;
    }
    Ok(records)
}

/// The same for one who only reads, also while the gateway runs. Where there is no ledger nothing stands.
///
/// # Errors
/// When an act cannot be read.
pub(in crate::cmd) fn of_reader(data: &Path, key: &[u8; KEY_LENGTH]) -> anyhow::Result<Arc<Overlay>> {
    let ledger = data.join("ledger");
    if !ledger.join("segments").exists() {
        return Ok(Arc::default());
    }
    let (begun, mut standing) = file(data, key)?.1.read().ok().flatten().unwrap_or_default();
    let read = |from| vidimus_ledger::read_from(&ledger, from).context("the acts in the ledger");
    let mut reading = read(begun.saturating_sub(1))?;
    // A log that is shorter than what was kept of it is another one.
    if begun > 0 && reading.next().transpose().context("the acts in the ledger")?.is_none() {
        (reading, standing) = (read(0)?, Standing::default());
    }
    fold(&mut standing, begun, reading)?;
    Ok(stood(begun, standing)?.overlay)
}

fn stood(records: u64, standing: Standing) -> anyhow::Result<Stood> {
    let overlay = Overlay::of(&standing).map_err(|reason| anyhow!(reason))?;
    Ok(Stood { records, standing: Arc::new(standing), overlay: Arc::new(overlay) })
}

/// Brings what stands into force whenever it changes, and keeps it.
pub(super) fn follow(
    supervisor: &mut Supervisor,
    shared: Arc<Shared>,
    watching: Arc<Watching>,
    file: StandingFile,
) {
    end_grants(supervisor, shared.clone());
    cut_unrecorded(supervisor, shared.clone());
    let file = Arc::new(file);
    let approving = shared.clone();
    supervisor.repeated("approvals", EXPIRE, move || {
        let approving = approving.clone();
        async move { approving.expire_approvals().await }
    });
    let mut changes = shared.acts.changes();
    // Nobody acts yet, and the first snapshot has it.
    let mut standing = changes.borrow_and_update().overlay.clone();
    supervisor.essential("acts", async move {
        while changes.changed().await.is_ok() {
            let overlay = changes.borrow_and_update().overlay.clone();
            // What changes no decision needs no other snapshot.
            if !Arc::ptr_eq(&standing, &overlay) {
                watching.stand(overlay.clone());
                standing = overlay;
            }
        }
    });
    // Beside it: what is brought into force does not wait for a disk.
    supervisor.essential("kept", async move {
        let mut changes = shared.acts.changes();
        let mut kept = None;
        loop {
            keep(&file, shared.stood().await, &mut kept).await;
            tokio::time::sleep(LEAST).await;
            if let Ok(Err(_)) = tokio::time::timeout(KEEP, changes.changed()).await {
                return;
            }
        }
    });
}

/// Ends grants, and requests for them, whose time is over: on record, and out of what stands. Each is refused from its time on whether or
/// not that is done.
fn end_grants(supervisor: &mut Supervisor, shared: Arc<Shared>) {
    supervisor.repeated("grants", LOOK, move || {
        let shared = shared.clone();
        async move {
            let now = millis(SystemClock.now().wall).0;
            let standing = shared.acts.standing();
            for id in standing.over(now) {
                let act = Act::EndGrant(OfGrant { of: id.to_owned() });
                if let Err(refusal) = shared.act(BY_ITSELF, act, "its time is over").await {
                    tracing::warn!(%refusal, grant = id, "a grant whose time is over still stands");
                }
            }
        }
    });
}

/// Where nothing can be recorded any more, what people do could end no stream: each looks, and ends.
fn cut_unrecorded(supervisor: &mut Supervisor, shared: Arc<Shared>) {
    supervisor.repeated("unrecorded", LOOK, move || {
        if shared.ledger.failure().is_some() {
            shared.wake_streams();
        }
        std::future::ready(())
    });
}

/// Writes it down, where it differs from what was written last. Failing costs the next start some time, and nothing else.
async fn keep(file: &Arc<StandingFile>, stood: Stood, kept: &mut Option<u64>) {
    if *kept == Some(stood.records) {
        return;
    }
    let (file, records) = (file.clone(), stood.records);
    let written = tokio::task::spawn_blocking(move || file.write(stood.records, &stood.standing)).await;
    match written.map_err(|error| error.to_string()).and_then(|written| written) {
        Ok(()) => *kept = Some(records),
        Err(reason) => tracing::warn!(
            reason,
            "what stands could not be kept for the next start, which will read the log instead"
        ),
    }
}
