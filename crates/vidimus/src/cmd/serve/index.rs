//! `DATA/index` follows the ledger, beside the calls: what searches are quick by (ADR 50). Nothing is decided by it, and nothing waits for it.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use vidimus_gateway::Shared;
use vidimus_readmodel::{Extent, ModelError};

use super::supervisor::Supervisor;
use super::{Serve, disk};

/// How often the ledger is looked at, where there is nothing to do. What comes meanwhile at the rate of a full core, with what waits to fill a file, is less
/// than a search does without the index for (`audit/search/indexed.rs`).
const LOOK: Duration = Duration::from_secs(5);
/// How long what fills no large file waits for more, counted from what was taken in last: what is taken in at once is written once.
const WAITS: Duration = Duration::from_secs(60);
/// Records that are taken in at once: what they take of memory is bounded by that, and between two steps it is looked whether there is room.
const STEP: u64 = 65_536;

/// Begins to follow, unless that is not wanted, on a thread that takes a core where calls leave it one.
///
/// # Errors
/// When the thread cannot be started.
pub(super) fn follow(supervisor: &mut Supervisor, serve: &Serve, shared: &Arc<Shared>) -> io::Result<()> {
    if serve.no_index {
        return Ok(());
    }
    let (data, reserve, vitals) = (serve.data.clone(), serve.disk_reserve, shared.vitals.clone());
    let body = move || {
        vidimus_registry::at_low_priority();
        let mut follower = Follower::new(data, reserve);
        loop {
            let step = catch_unwind(AssertUnwindSafe(|| {
                vitals.fault_point("index");
                follower.step()
            }));
            let is_more = step.unwrap_or_else(|_| {
                vitals.restarted("index");
                false
            });
            if !is_more {
                std::thread::sleep(LOOK);
            }
        }
    };
    supervisor.thread("vidimus-index".to_owned(), body).map(drop)
}

#[derive(Debug)]
struct Follower {
    data: PathBuf,
    reserve: Option<u64>,
    /// When something was taken in last.
    taken_in: Option<Instant>,
    /// What was said last of what keeps it from going on.
    said: String,
}

impl Follower {
    fn new(data: PathBuf, reserve: Option<u64>) -> Self {
        Self { data, reserve, taken_in: None, said: String::new() }
    }

    /// How much of what is new is taken in.
    fn extent(&self, now: Instant) -> Extent {
        match self.taken_in {
            Some(at) if now.saturating_duration_since(at) < WAITS => Extent::Large,
            _ => Extent::All,
        }
    }

    /// Takes in what is new, as far as one step goes; whether there may be more.
    fn step(&mut self) -> bool {
        let said = match self.extended() {
            Ok(Some(added)) => {
                self.said.clear();
                if added > 0 {
                    self.taken_in = Some(Instant::now());
                }
                return added > 0;
            }
            Ok(None) => "it has no room beside twice --disk-reserve".to_owned(),
            Err(error) => error.to_string(),
        };
        if said != self.said {
            tracing::warn!(
                reason = said,
                "the index does not follow the ledger: searches read what it lacks from the ledger itself"
            );
            self.said = said;
        }
        false
    }

    /// How many records were taken in; `None` where there is no room.
    fn extended(&self) -> Result<Option<u64>, ModelError> {
        let (index, ledger) = (vidimus_readmodel::directory(&self.data), self.data.join("ledger"));
        let extent = self.extent(Instant::now());
        if !vidimus_readmodel::is_due(&index, &ledger, extent)? {
            return Ok(Some(0));
        }
        let has_room = has_room(&self.data, self.reserve);
        // What went from the ledger is kept nowhere, and makes room.
        if !has_room && !vidimus_readmodel::has_pruned(&index, &ledger)? {
            return Ok(None);
        }
        let most = if has_room { STEP } else { 0 };
        let extended = vidimus_readmodel::extend_by(&index, &ledger, (most, extent), &mut |_, _| {})?;
        if extended.repaired > 0 {
            tracing::warn!(files = extended.repaired, "files of the index were damaged, and made again");
        }
        Ok(has_room.then_some(extended.added))
    }
}

/// Whether the disk has more than what is for records. What cannot be asked has none.
fn has_room(data: &Path, reserve: Option<u64>) -> bool {
    let free = disk::room(data, reserve).map(|(free, _)| free);
    let kept = disk::not_for_spans(data, reserve);
    matches!((free, kept), (Ok(free), Ok(kept)) if free > kept)
}

#[cfg(test)]
mod tests {
    use vidimus_core::record::Kept;
    use vidimus_ledger::{ActBy, Config, Ledger, Retention};
    use vidimus_readmodel::{Model, SMALLEST};

    use super::*;

    fn config(data: &Path) -> Config {
        Config { dir: data.join("ledger"), segment_bytes: 100_000, ..Config::default() }
    }

    fn written(data: &Path, records: u64) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(write(data, records));
    }

    async fn write(data: &Path, records: u64) {
        let ledger = Ledger::open(config(data)).expect("a log");
        for number in ledger.size()..ledger.size() + records {
            let record = serde_json::json!({"action": "invokeTool", "body": "", "chain": [], "depth": 1, "facts": {}, "id": number.to_string(),
                "identity": "", "kind": "decision", "method": "", "outcome": "deny", "policies": [], "principal": "Agent/a/b",
                "protocol": "mcp", "resource": "Tool/a/b/c", "snapshot": "", "time": "2026-11-27T00:00:00.000000Z", "trace": "",
                "transaction": "", "version": 1});
            let record = Kept::read(record.to_string().as_bytes()).expect("a record");
            ledger.record(&record).await.expect("kept");
        }
        ledger.close().await;
    }

    /// A gateway with few records has none, and one with more need not be told.
    #[test]
    fn it_follows_once_there_is_something_to_find() {
        let root = tempfile::tempdir().expect("a directory");
        let data = root.path().to_owned();
        let mut follower = Follower::new(data.clone(), Some(0));
        written(&data, SMALLEST - 1);
        assert!(!follower.step() && !vidimus_readmodel::directory(&data).exists());
        written(&data, SMALLEST + 1);
        assert!(follower.step(), "{}", follower.said);
        assert!(!follower.step());
        let model = Model::open(&vidimus_readmodel::directory(&data), &data.join("ledger"));
        let (sealed, _) = model.expect("opened").expect("there").extent();
        assert_eq!(sealed, 2 * SMALLEST);
        // What came since waits for more, and not for ever.
        written(&data, SMALLEST);
        assert!(!follower.step());
        follower.taken_in = None;
        assert!(follower.step());
        // What is for records is not for it.
        let reserve = Some(u64::MAX);
        assert!(!has_room(&data, reserve) && has_room(&data, Some(0)));
    }

    #[test]
    fn what_was_pruned_goes_also_where_there_is_no_room() {
        let root = tempfile::tempdir().expect("a directory");
        let data = root.path().to_owned();
        let mut follower = Follower::new(data.clone(), Some(0));
        written(&data, 2 * SMALLEST);
        assert!(follower.step(), "{}", follower.said);
        let before = "2026-11-28T00:00:00Z".parse().expect("a time");
        let retention =
            Retention { before, stands: u64::MAX, witnessed: false, archive: None, new_archive: false };
        let by = ActBy {
            actor: "User/local#ada",
            id: "019aa3b0-7c5e-7d11-a8f1-2f0d2f6c9a10",
            time: "2026-11-28T00:00:00.000000Z",
            why: "policy 4.2",
        };
        let ledger = Ledger::open(config(&data)).expect("a log");
        let minimum = ledger.prune(&retention, &by).expect("pruned").expect("some").minimum();
        drop(ledger);
        follower.reserve = Some(u64::MAX);
        assert!(!follower.step() && follower.said.contains("no room"), "{}", follower.said);
        let model = Model::open(&vidimus_readmodel::directory(&data), &data.join("ledger"));
        let (sealed, _) = model.expect("opened").expect("it has nothing that was pruned").extent();
        assert!(minimum > SMALLEST && sealed == 2 * SMALLEST, "{minimum} {sealed}");
    }

    /// However many come: a search that finds the index far behind reads the whole ledger.
    #[test]
    fn what_fills_no_large_file_waits_a_minute() {
        let mut follower = Follower::new(PathBuf::new(), None);
        let begun = Instant::now();
        assert_eq!(follower.extent(begun), Extent::All);
        follower.taken_in = Some(begun);
        let at = |seconds| follower.extent(begun + Duration::from_secs(seconds));
        assert_eq!((at(59), at(60)), (Extent::Large, Extent::All));
    }
}
