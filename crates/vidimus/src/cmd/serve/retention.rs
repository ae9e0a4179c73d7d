//! Records that were kept long enough go from the front of the ledger, beside the calls.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use jiff::{SignedDuration, Timestamp};
use vidimus_core::act::BY_ITSELF;
use vidimus_core::clock::Clock as _;
use vidimus_gateway::{KEY_LENGTH, Shared, Stood, least_position, rfc3339};
use vidimus_ledger::{ActBy, ArchiveAt, Archiving, Ledger, Pruned, Retention};

use super::supervisor::Supervisor;
use super::{Serve, sinks, standing};
use crate::clock::SystemClock;
use crate::cmd::data_directory;

/// How often it is looked whether a whole segment is old enough.
const LOOK: Duration = Duration::from_secs(600);

/// Before a time, and for a reason.
#[derive(Clone, Debug)]
pub(in crate::cmd) struct Pruning {
    pub(in crate::cmd) before: Timestamp,
    pub(in crate::cmd) witnessed: bool,
    pub(in crate::cmd) archive: Option<ArchiveAt>,
    /// That another archive than the one of before may begin.
    pub(in crate::cmd) new_archive: bool,
    pub(in crate::cmd) actor: String,
    pub(in crate::cmd) why: String,
}

/// Begins to prune, where records are kept for a time.
pub(super) fn begin(supervisor: &mut Supervisor, serve: &Serve, shared: &Arc<Shared>, key: [u8; KEY_LENGTH]) {
    let Some(keep) = serve.keep_records else { return };
    // What a start takes up from the records of chains must be there.
    let keep = keep.max(shared.counted_window()).max(shared.longest_end());
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
            let actor = BY_ITSELF.to_owned();
            let pruning = Pruning { before, witnessed, archive, new_archive: false, actor, why };
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
    let taken = least_position(&sinks::positions(data)).context("what sinks have taken")?;
    let configurations = data_directory::configurations(data);
    let archiving = |at| Archiving { at, configurations: Some(&*configurations) };
    let retention = Retention {
        before: pruning.before,
        // A start looks for the last record of what was written down, and a sink for the first that it has not taken.
        stands: stood.records.saturating_sub(1).min(taken.unwrap_or(u64::MAX)),
        witnessed: pruning.witnessed,
        archive: pruning.archive.as_ref().map(archiving),
        new_archive: pruning.new_archive,
    };
    if ledger.prunable(&retention)?.is_none() {
        return Ok(None);
    }
    standing::keep_base(data, key, ledger, stood).context("what stands by acts")?;
    let (id, time) = (uuid::Uuid::now_v7().to_string(), rfc3339(SystemClock.now().wall));
    let by = ActBy { actor: &pruning.actor, id: &id, time: &time, why: &pruning.why };
    Ok(ledger.prune(&retention, &by)?)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::json;
    use vidimus_core::record::Kept;
    use vidimus_ledger::{Config, Query, search};

    use super::*;

    const KEY: [u8; KEY_LENGTH] = [7; KEY_LENGTH];

    fn open(data: &Path) -> Ledger {
        let (dir, checkpoint_interval) = (data.join("ledger"), Duration::from_millis(5));
        let config = Config { dir, checkpoint_interval, segment_bytes: 20_000, ..Config::default() };
        Ledger::open(config).expect("a log")
    }

    fn record(ledger: &Ledger, record: &serde_json::Value) {
        let record = Kept::read(record.to_string().as_bytes()).expect("a record");
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(ledger.record(&record)).expect("kept");
    }

    fn pruning() -> Pruning {
        let (actor, why) = ("User/local#ada".to_owned(), "policy 4.2".to_owned());
        let before = "2026-11-27T00:00:01Z".parse().expect("a time");
        Pruning { before, witnessed: false, archive: None, new_archive: false, actor, why }
    }

    /// Whose quarantine went with the records stays in quarantine, whatever becomes of what is written down since.
    #[test]
    fn what_stands_by_records_that_went_stands() {
        let root = tempfile::tempdir().expect("a directory");
        let data = root.path();
        let ledger = open(data);
        let time = "2026-11-27T00:00:00.000000Z";
        record(
            &ledger,
            &json!({"act": {"quarantine": {"subject": "Agent/a/b"}}, "actor": "User/i#b", "id": "q", "kind": "act", "time": time,
                "version": 1, "why": "w"}),
        );
        for number in 0..700 {
            record(
                &ledger,
                &json!({"code": "token_expired", "id": format!("n-{number}"), "kind": "refusal", "message": "m", "outcome": "deny",
                    "path": "/mcp/a/b", "time": time, "trace": "", "version": 1}),
            );
        }
        let (stood, _) = standing::open(data, &KEY, &ledger).expect("what stands");
        // What a sink has not taken stays.
        let position = data.join("sinks").join("0123.json");
        fs::create_dir(data.join("sinks")).expect("made");
        fs::write(&position, r#"{"next":0,"origin":"o","place":"syslog+tcp://127.0.0.1:601","version":1}"#)
            .expect("written");
        let again = stood.clone();
        assert!(prune(data, &KEY, &ledger, again, &pruning()).expect("nothing").is_none());
        fs::remove_file(position).expect("removed");
        let pruned = prune(data, &KEY, &ledger, stood, &pruning()).expect("pruned").expect("some");
        assert!(pruned.minimum() > 100, "{pruned}");
        let quarantine = Query { id: Some("q".to_owned()), ..Query::default() };
        assert_eq!(search(&data.join("ledger"), &quarantine).expect("searched").count(), 0, "it went");
        let stands = |ledger: &Ledger| {
            let (stood, _) = standing::open(data, &KEY, ledger)?;
            anyhow::Ok((stood.records, stood.standing.quarantined.len()))
        };
        assert_eq!(stands(&ledger).expect("what stands"), (702, 1));
        assert!(standing::of_reader(data, &KEY).is_ok());
        // Where nobody knows what stood, nothing is let through.
        fs::remove_file(data.join("registry/standing.base")).expect("removed");
        let error = format!("{:#}", stands(&ledger).expect_err("refused"));
        assert!(error.contains("standing.base") && error.contains("were pruned"), "{error}");
    }
}
