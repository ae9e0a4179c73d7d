//! What stands by acts: found at the start, brought into force, and kept for the next start.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow, ensure};
use vidimus_core::record::{ActRecord, Kept, Record, Unreadable};
use vidimus_core::snapshot::Overlay;
use vidimus_core::standing::Standing;
use vidimus_gateway::{KEY_LENGTH, Shared, Stood};
use vidimus_ledger::{Ledger, Reading, SearchError};
use vidimus_registry::{StandingFile, digest_of};

use super::source::Watching;
use super::supervisor::Supervisor;

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
pub(in crate::cmd) fn open(
    data: &Path,
    key: &[u8; KEY_LENGTH],
    ledger: &Ledger,
) -> anyhow::Result<(Stood, StandingFile)> {
    let (path, file) = file(data, key, NEWEST)?;
    let known = file.read().unwrap_or_else(|reason| {
        tracing::warn!(reason, "{} is not used; the whole log is read instead", path.display());
        None
    });
    let kept = known.as_ref().is_some_and(|known| known.records > 0);
    let base = base(data, key)?;
    let (begun, mut standing, reading) = begun(known.into_iter().chain(base), |from| ledger.read_from(from))?;
    if kept && begun == 0 {
        tracing::warn!("{} is of another log, and not used; the whole log is read instead", path.display());
    }
    let size = ledger.size();
    if size.saturating_sub(begun) > 1_000_000 {
        tracing::info!(records = size - begun, "looking for acts in the log");
    }
    let records = fold(&mut standing, begun, reading)?;
    if records < size {
        return Err(anyhow!("the ledger has {size} records, and {records} of them could be read for acts"));
    }
    let stood = stood(records, standing)?;
    Ok((stood, file))
}

/// What stands, as it is written down again and again.
const NEWEST: &str = "standing";
/// What stood when the ledger was pruned last: the acts before are not there any more. It is of records that are signed for, so that no power loss
/// can take the last of them.
const BASE: &str = "standing.base";

fn file(data: &Path, key: &[u8; KEY_LENGTH], name: &str) -> anyhow::Result<(PathBuf, StandingFile)> {
    let path = data.join("registry").join(name);
    let file = StandingFile::new(&path, key)?;
    Ok((path, file))
}

fn base(data: &Path, key: &[u8; KEY_LENGTH]) -> anyhow::Result<Option<vidimus_registry::Stood>> {
    let (path, file) = file(data, key, BASE)?;
    Ok(file.read().unwrap_or_else(|reason| {
        tracing::error!(reason, "{} cannot be used", path.display());
        None
    }))
}

/// Writes down what stands for every start from here on, before the records that say so go. This waits for the disk and for a checkpoint.
///
/// # Errors
/// When it cannot be written, or nothing is signed for any more.
pub(in crate::cmd) fn keep_base(
    data: &Path,
    key: &[u8; KEY_LENGTH],
    ledger: &Ledger,
    stood: Stood,
) -> anyhow::Result<()> {
    const LOOK: Duration = Duration::from_millis(20);
    while ledger.watermark().signed < stood.records {
        ensure!(ledger.is_open(), "the ledger is closed");
        std::thread::sleep(LOOK);
    }
    write(&file(data, key, BASE)?.1, ledger, stood).map_err(|reason| anyhow!(reason))
}

/// Writes down what stands after so many records, with the last of them.
fn write(file: &StandingFile, ledger: &Ledger, stood: Stood) -> Result<(), String> {
    let Stood { records, standing, .. } = stood;
    let last = last_of(ledger, records)?;
    file.write(&vidimus_registry::Stood { records, last, standing: (*standing).clone() })
}

/// From where on a log is to be read for acts: where what was kept of it ended, if it was kept of this very log. That is one which has the
/// last record of then in its place; a longer one may have been begun since, or brought back from a copy.
fn begun(
    known: impl IntoIterator<Item = vidimus_registry::Stood>,
    read: impl Fn(u64) -> Result<Reading, SearchError>,
) -> anyhow::Result<(u64, Standing, Reading)> {
    const WHAT: &str = "the acts in the ledger";
    for known in known {
        let Some(last) = known.records.checked_sub(1) else { continue };
        let mut reading = read(last).context(WHAT)?;
        let there = match reading.next().transpose() {
            // It is older than what is there: the other one follows.
            Err(SearchError::Pruned { .. }) => continue,
            there => there.context(WHAT)?,
        };
        if there.is_some_and(|hit| hit.index == last && digest_of(&hit.record) == known.last) {
            return Ok((known.records, known.standing, reading));
        }
    }
    Ok((0, Standing::default(), read(0).context(WHAT)?))
}

/// Takes over the acts among `reading`, which begins after `records` records; gives how many there were in the end.
fn fold(standing: &mut Standing, mut records: u64, reading: Reading) -> anyhow::Result<u64> {
    for hit in reading {
        let hit = hit.map_err(|error| {
            let without = matches!(error, SearchError::Pruned { .. });
            let next = "neither DATA/registry/standing nor standing.base says what stood before; put one of them back from a copy of DATA";
            let error = anyhow!(error).context("the acts in the ledger");
            if without { error.context(next) } else { error }
        })?;
        take(standing, hit.index, &hit.record)?;
        records = hit.index + 1;
    }
    Ok(records)
}

/// Takes one record over, where it is an act. Records of a kind that is not known are no acts, and are passed over: nothing stands by them. So is an act
/// that is not known and says that it only tells something (ADR 63). Any other may be a quarantine of a newer form: nothing is let through without it.
fn take(standing: &mut Standing, index: u64, record: &[u8]) -> anyhow::Result<()> {
    if !ActRecord::is_act(record) {
        return Ok(());
    }
    match Kept::read(record) {
        Ok(Record::Act(act)) => standing.apply(&act),
        Ok(_) => {}
        Err(Unreadable::Act { act, note: true }) => {
            tracing::warn!(
                index,
                act,
                "passed over an act of a newer version, which says that nothing stands by it"
            );
        }
        Err(error) => return Err(anyhow!(error).context(format!("record {index}"))),
    }
    Ok(())
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
    let known = file(data, key, NEWEST)?.1.read().ok().flatten().into_iter().chain(base(data, key)?);
    let (begun, mut standing, reading) = begun(known, |from| vidimus_ledger::read_from(&ledger, from))?;
    fold(&mut standing, begun, reading)?;
    Ok(stood(begun, standing)?.overlay)
}

/// What is written down of what stands and cannot be used, each with why, and whether a start can do without: of a log that was pruned, one of
/// them says what the acts did that are not there any more. For one who only reads.
///
/// # Errors
/// When nothing can be looked at.
pub(in crate::cmd) fn unusable(
    data: &Path,
    key: &[u8; KEY_LENGTH],
    is_pruned: bool,
) -> anyhow::Result<(Vec<(PathBuf, String)>, bool)> {
    let (mut unusable, mut known) = (Vec::new(), false);
    for name in [NEWEST, BASE] {
        let (path, file) = file(data, key, name)?;
        match file.read() {
            Ok(Some(_)) => known = true,
            Ok(None) if is_pruned && name == BASE => unusable.push((path, "it is missing".to_owned())),
            Ok(None) => {}
            Err(reason) => unusable.push((path, reason)),
        }
    }
    Ok((unusable, known || !is_pruned))
}

fn stood(records: u64, standing: Standing) -> anyhow::Result<Stood> {
    let overlay = Overlay::of(&standing).map_err(|reason| anyhow!(reason))?;
    for (grant, reason) in overlay.void_grants() {
        tracing::error!(grant, reason, "a grant is none in this version, and permits nothing; revoke it");
    }
    Ok(Stood { records, standing: Arc::new(standing), overlay: Arc::new(overlay) })
}

/// Brings what stands into force whenever it changes, and keeps it.
pub(super) fn follow(
    supervisor: &mut Supervisor,
    shared: Arc<Shared>,
    watching: Arc<Watching>,
    file: StandingFile,
) {
    let ending = shared.clone();
    supervisor.repeated("grants", LOOK, move || {
        let ending = ending.clone();
        async move { ending.end_grants().await }
    });
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
            keep(&file, &shared.ledger, shared.stood().await, &mut kept).await;
            tokio::time::sleep(LEAST).await;
            if let Ok(Err(_)) = tokio::time::timeout(KEEP, changes.changed()).await {
                return;
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
async fn keep(file: &Arc<StandingFile>, ledger: &Ledger, stood: Stood, kept: &mut Option<u64>) {
    if *kept == Some(stood.records) {
        return;
    }
    let (file, ledger, records) = (file.clone(), ledger.clone(), stood.records);
    let written = tokio::task::spawn_blocking(move || write(&file, &ledger, stood));
    let written = written.await;
    match written.map_err(|error| error.to_string()).and_then(|written| written) {
        Ok(()) => *kept = Some(records),
        Err(reason) => tracing::warn!(
            reason,
            "what stands could not be kept for the next start, which will read the log instead"
        ),
    }
}

/// The digest of the last of so many records of the log.
fn last_of(ledger: &Ledger, records: u64) -> Result<String, String> {
    let Some(last) = records.checked_sub(1) else { return Ok(String::new()) };
    let mut reading = ledger.read_from(last).map_err(|error| error.to_string())?;
    match reading.next() {
        Some(Ok(hit)) if hit.index == last => Ok(digest_of(&hit.record)),
        Some(Err(error)) => Err(error.to_string()),
        _ => Err(format!("record {last} of the log cannot be read")),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::json;

    use super::*;

    const KEY: [u8; KEY_LENGTH] = [7; KEY_LENGTH];

    /// A log with a quarantine for each of these names, instead of what is there.
    fn log(data: &Path, names: &[&str]) -> Ledger {
        let dir = data.join("ledger");
        if dir.exists() {
            fs::remove_dir_all(&dir).expect("removed");
        }
        let config = vidimus_ledger::Config { dir, ..vidimus_ledger::Config::default() };
        let ledger = Ledger::open(config).expect("a log");
        for (number, name) in names.iter().enumerate() {
            let record = json!({"act": {"quarantine": {"subject": format!("Agent/a/{name}")}}, "actor": "User/i#b",
                "id": format!("{name}-{number}"), "kind": "act", "time": "2026-11-27T00:00:00.000000Z", "version": 1, "why": "w"});
            let record = Kept::read(record.to_string().as_bytes()).expect("a record");
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
            runtime.block_on(ledger.record(&record)).expect("kept");
        }
        ledger
    }

    /// A ledger that a newer gateway wrote, and an older one goes on with.
    #[test]
    fn what_the_future_adds_is_passed_over_only_where_nothing_can_stand_by_it() {
        let of = |act: &str, more: &str| {
            format!(
                r#"{{"act":{act},"actor":"vidimus","id":"1","kind":"act",{more}"time":"2027-11-27T00:00:00.000000Z","version":1,"why":"w"}}"#
            )
        };
        let mut standing = Standing::default();
        let mut taken =
            |text: String| take(&mut standing, 7, text.as_bytes()).map_err(|error| format!("{error:#}"));
        // Another kind of record; a note.
        assert_eq!(taken(r#"{"kind":"rumour","version":1}"#.to_owned()), Ok(()));
        assert_eq!(taken(of(r#"{"levitate":{"by":1}}"#, r#""note":true,"#)), Ok(()));
        // Fail closed: what may refuse something is not known, so nothing is let through.
        for (act, more) in [
            (r#"{"levitate":{"by":1}}"#, ""),
            (r#"{"quarantine":{"subject":"Planet/a"}}"#, r#""note":true,"#),
            (r#"{"quarantine":{"subject":"Agent/a/b"},"too":1}"#, r#""note":true,"#),
        ] {
            let refused = taken(of(act, more)).expect_err(act);
            assert!(refused.starts_with("record 7: "), "{refused}");
        }
        let newer = of(r#"{"levitate":{}}"#, r#""note":true,"#).replace("\"version\":1", "\"version\":2");
        assert!(taken(newer).expect_err("a newer version").contains("version 2"));
        assert_eq!(standing, Standing::default());
    }

    /// What was kept of one log says nothing of another, be it as long or longer.
    #[test]
    fn what_stood_by_one_log_does_not_stand_by_another() {
        let root = tempfile::tempdir().expect("a directory");
        let data = root.path();
        let names = |stood: &Stood| -> Vec<String> {
            let quarantined = stood.standing.quarantined.keys();
            quarantined.map(|subject| subject.to_string().replace("Agent/a/", "")).collect()
        };
        let keep = |ledger: &Ledger| {
            let (stood, file) = open(data, &KEY, ledger).expect("what stands");
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
            runtime.block_on(keep(&Arc::new(file), ledger, stood.clone(), &mut None));
            names(&stood)
        };
        assert_eq!(keep(&log(data, &["x", "y"])), ["x", "y"]);
        for other in [&["p", "q"][..], &["p", "q", "r"], &["x", "q", "r"], &["p"], &[]] {
            assert_eq!(keep(&log(data, &["x", "y"])), ["x", "y"]);
            let (ledger, mut other) = (log(data, other), other.to_vec());
            other.sort_unstable();
            let by_reader = of_reader(data, &KEY).expect("what stands");
            assert_eq!(names(&open(data, &KEY, &ledger).expect("what stands").0), other);
            let whole =
                Overlay::of(&open(data, &KEY, &ledger).expect("what stands").0.standing).expect("compiled");
            assert!(by_reader.is_as(&whole), "{other:?}");
        }
        // Of its own log nothing is read twice.
        let ledger = log(data, &["x", "y"]);
        keep(&ledger);
        let known = file(data, &KEY, NEWEST).expect("a file").1.read().expect("read");
        assert_eq!(begun(known, |from| ledger.read_from(from)).expect("read").0, 2);
    }
}
