//! `DATA/index` follows the ledger, beside the calls: what searches are quick by (ADR 50). Nothing is decided by it, and nothing waits for it.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use vidimus_gateway::Shared;
use vidimus_readmodel::ModelError;

use super::supervisor::Supervisor;
use super::{Serve, disk};

/// How often the ledger is looked at, where there is nothing to do.
const LOOK: Duration = Duration::from_secs(10);
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
        let mut follower = Follower { data, reserve, said: String::new() };
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
    /// What was said last of what keeps it from going on.
    said: String,
}

impl Follower {
    /// Takes in what is new, as far as one step goes; whether there may be more.
    fn step(&mut self) -> bool {
        let said = match self.extended() {
            Ok(Some(added)) => {
                self.said.clear();
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
        if !vidimus_readmodel::is_due(&index, &ledger)? {
            return Ok(Some(0));
        }
        if !has_room(&self.data, self.reserve) {
            return Ok(None);
        }
        let extended = vidimus_readmodel::extend_by(&index, &ledger, STEP, &mut |_, _| {})?;
        if extended.repaired > 0 {
            tracing::warn!(files = extended.repaired, "files of the index were damaged, and made again");
        }
        Ok(Some(extended.added))
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
    use vidimus_ledger::Ledger;
    use vidimus_readmodel::{Model, SMALLEST};

    use super::*;

    fn written(data: &Path, records: u64) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(write(data, records));
    }

    async fn write(data: &Path, records: u64) {
        let config = vidimus_ledger::Config { dir: data.join("ledger"), ..vidimus_ledger::Config::default() };
        let ledger = Ledger::open(config).expect("a log");
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
        let mut follower = Follower { data: data.clone(), reserve: Some(0), said: String::new() };
        written(&data, SMALLEST - 1);
        assert!(!follower.step() && !vidimus_readmodel::directory(&data).exists());
        written(&data, SMALLEST + 1);
        assert!(follower.step(), "{}", follower.said);
        assert!(!follower.step());
        let model = Model::open(&vidimus_readmodel::directory(&data), &data.join("ledger"));
        let (sealed, _) = model.expect("opened").expect("there").extent();
        assert_eq!(sealed, 2 * SMALLEST);
        // What is for records is not for it.
        let reserve = Some(u64::MAX);
        assert!(!has_room(&data, reserve) && has_room(&data, Some(0)));
    }
}
