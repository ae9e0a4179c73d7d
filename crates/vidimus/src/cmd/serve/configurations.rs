//! Every configuration that decides is kept beside the ledger, whose records name it by its digest, so that they can be decided again.
//!
//! What is read anew is written before it decides, as records are before their effects: with the kernel (`--durability commit`), or on disk (`sync`). What
//! acts change is in force at once and written beside it; and nothing waits longer than [`PATIENCE`], since it may forbid something (ADR 33).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;
use std::future::pending;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use vidimus_core::snapshot::Snapshot;
use vidimus_gateway::Shared;
use vidimus_registry::configurations::{Configurations, KeepError};

use super::filed;
use super::supervisor::Supervisor;
use super::{DurabilityArg, Serve};
use crate::cmd::data_directory;

/// Before one that could not be kept is tried again, where no other comes.
const AGAIN: Duration = Duration::from_secs(10);
/// How long what is read anew waits to be kept before it decides. It takes some milliseconds of 10,000 objects.
const PATIENCE: Duration = Duration::from_millis(250);
/// How long one may take to be kept, be it on a disk that is busy.
const SLOW: Duration = Duration::from_secs(1);
/// After so many new ones it is looked which of them decided anything.
const SWEEP: usize = 256;
/// How long a configuration may still have a call to be recorded after the next one went live.
const GRACE: Duration = Duration::from_secs(600);

/// How many may wait to be kept: where none can be kept at all, what waits must not take the memory.
const WAITING: usize = 64;

/// Takes the configurations that go live.
#[derive(Clone, Debug)]
pub(super) struct Live(Arc<Waiting>);

impl Live {
    /// Has it kept before it decides, as far as that can be waited for.
    pub(super) async fn before(&self, snapshot: &Arc<Snapshot>) {
        let (tell, told) = oneshot::channel();
        self.0.add(snapshot, Some(tell));
        if tokio::time::timeout(PATIENCE, told).await.is_err() {
            tracing::warn!(
                snapshot = snapshot.digest(),
                "a configuration decides before it is kept, which takes long: until it is, what it decides cannot be decided again"
            );
        }
    }

    /// Has it kept: it decides already.
    pub(super) fn went(&self, snapshot: &Arc<Snapshot>) {
        self.0.add(snapshot, None);
    }

    /// For how long one has not been kept, where that is longer than it may take.
    pub(super) fn unkept_for(&self) -> Option<Duration> {
        self.0.queue().front().map(|oldest| oldest.since.elapsed()).filter(|age| *age > SLOW)
    }
}

/// What is to be kept, in order; the first until it is.
#[derive(Debug)]
struct Waiting {
    queue: Mutex<VecDeque<Unkept>>,
    came: Notify,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Unkept {
    snapshot: Arc<Snapshot>,
    since: Instant,
    /// Who waits for it.
    tell: Option<oneshot::Sender<()>>,
}

impl Waiting {
    fn add(&self, snapshot: &Arc<Snapshot>, tell: Option<oneshot::Sender<()>>) {
        let mut queue = self.queue();
        // What decides now may do so for long: of those that wait it is the last to be given up.
        let lost = if queue.len() >= WAITING { queue.pop_back() } else { None };
        queue.push_back(Unkept { snapshot: snapshot.clone(), since: Instant::now(), tell });
        drop(queue);
        if let Some(lost) = lost {
            self.lost(&lost.snapshot, "too many before it cannot be");
        }
        self.came.notify_one();
    }

    async fn first(&self) -> Arc<Snapshot> {
        loop {
            let first = self.queue().front().map(|first| first.snapshot.clone());
            match first {
                Some(first) => return first,
                None => self.came.notified().await,
            }
        }
    }

    /// The first is written: who waits for it need not any more.
    fn written(&self) {
        let tell = self.queue().front_mut().and_then(|first| first.tell.take());
        // Nobody may wait any more.
        let _ = tell.map(|tell| tell.send(()));
    }

    fn done(&self) {
        let _ = self.queue().pop_front();
    }

    fn lost(&self, snapshot: &Snapshot, why: &str) {
        self.shared.meter.configuration_lost();
        tracing::error!(snapshot = snapshot.digest(), "a configuration is not kept: {why}");
    }

    fn queue(&self) -> MutexGuard<'_, VecDeque<Unkept>> {
        // Nothing in it is ever half-changed.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps the configurations that go live, for as long as the process lives.
pub(super) fn begin(supervisor: &mut Supervisor, serve: &Serve, shared: &Arc<Shared>) -> Live {
    let waiting = Waiting { queue: Mutex::default(), came: Notify::new(), shared: shared.clone() };
    let waiting = Arc::new(waiting);
    let mut keeper = Keeper::new(&serve.data, matches!(serve.durability, DurabilityArg::Sync));
    let live = Live(waiting.clone());
    supervisor.essential("configurations", async move {
        let mut reading: Option<JoinHandle<Sweep>> = None;
        loop {
            tokio::select! {
                biased;
                first = waiting.first() => keeper = keep_first(keeper, &waiting, first).await,
                sweep = ended(&mut reading) => {
                    reading = None;
                    if let Some(sweep) = sweep {
                        keeper = beside(keeper, move |keeper| keeper.drop_undecided(sweep)).await.1;
                    }
                }
            }
            if reading.is_none()
                && let Some(candidates) = keeper.candidates(Instant::now())
            {
                // It may read the whole log: nothing waits for it.
                let data = keeper.data.clone();
                let read = move || Sweep { candidates, referred: Referred::read(&data) };
                reading = Some(tokio::task::spawn_blocking(read));
            }
        }
    });
    live
}

/// What was read, once it was; `None` where that panicked. It waits for ever where nothing is read.
async fn ended(reading: &mut Option<JoinHandle<Sweep>>) -> Option<Sweep> {
    match reading {
        Some(reading) => reading.await.ok(),
        None => pending().await,
    }
}

/// Keeps the first that waits, or lets it wait on for a while.
async fn keep_first(keeper: Keeper, waiting: &Arc<Waiting>, first: Arc<Snapshot>) -> Keeper {
    let (snapshot, told) = (first.clone(), waiting.clone());
    let (kept, keeper) = beside(keeper, move |keeper| keeper.keep(&snapshot, || told.written())).await;
    match kept.unwrap_or_else(|| Err(anyhow::anyhow!("it panicked"))) {
        Ok(()) => waiting.done(),
        Err(error) if is_permanent(&error) => {
            waiting.done();
            waiting.lost(&first, &error.to_string());
        }
        Err(error) => {
            tracing::error!(
                %error, snapshot = first.digest(),
                "the configuration is not kept: what it decides cannot be decided again until it is"
            );
            tokio::select! {
                () = tokio::time::sleep(AGAIN) => {}
                () = waiting.came.notified() => {}
            }
        }
    }
    keeper
}

/// Whether it would not be kept however often that is tried: it is what the configuration is, and not where it is kept.
fn is_permanent(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref::<KeepError>(), Some(KeepError::NotPreserved(_) | KeepError::Json(_)))
}

/// On a thread on which nothing waits; nothing comes of what panics.
async fn beside<T: Send + 'static>(
    mut keeper: Keeper,
    work: impl FnOnce(&mut Keeper) -> T + Send + 'static,
) -> (Option<T>, Keeper) {
    let anew = Keeper::new(&keeper.data, keeper.synced);
    match tokio::task::spawn_blocking(move || (work(&mut keeper), keeper)).await {
        Ok((done, keeper)) => (Some(done), keeper),
        Err(_) => (None, anew),
    }
}

#[derive(Debug)]
struct Keeper {
    data: PathBuf,
    /// Whether it is on disk before it decides.
    synced: bool,
    /// `None` until the first is kept.
    kept: Option<Configurations>,
    /// Those that went live here, and when the next one did; the last one has none.
    live: VecDeque<(String, Option<Instant>)>,
    /// New ones since the last sweep; so many at first that one follows the first that is kept, however often that is tried.
    new: usize,
}

/// Which configurations may have decided nothing, and what records refer to.
struct Sweep {
    candidates: BTreeSet<String>,
    referred: anyhow::Result<Referred>,
}

impl Keeper {
    fn new(data: &Path, synced: bool) -> Self {
        Self { data: data.to_owned(), synced, kept: None, live: VecDeque::new(), new: SWEEP }
    }

    /// Keeps it, and says `written` when it may decide.
    fn keep(&mut self, snapshot: &Snapshot, written: impl Fn()) -> anyhow::Result<()> {
        let now = Instant::now();
        if self.live.back().is_none_or(|(last, _)| last != snapshot.digest()) {
            if let Some((_, ended)) = self.live.back_mut() {
                *ended = Some(now);
            }
            self.live.push_back((snapshot.digest().to_owned(), None));
        }
        let kept = match &mut self.kept {
            Some(kept) => kept,
            None => self.kept.insert(Configurations::open(&data_directory::configurations(&self.data))?),
        };
        if let Some(unsynced) = kept.write(snapshot)? {
            if !self.synced {
                written();
            }
            kept.sync(unsynced)?;
            self.new += 1;
            tracing::debug!(
                snapshot = snapshot.digest(),
                ms = now.elapsed().as_millis(),
                "configuration kept"
            );
        }
        written();
        Ok(())
    }

    /// Those that may have decided nothing, where it is time to look: what comes later is not among them.
    fn candidates(&mut self, now: Instant) -> Option<BTreeSet<String>> {
        let kept = self.kept.as_ref().filter(|_| self.new >= SWEEP)?;
        self.new = 0;
        self.live.retain(|(_, ended)| ended.is_none_or(|ended| now.duration_since(ended) < GRACE));
        let is_live = |digest: &str| self.live.iter().any(|(live, _)| live == digest);
        Some(kept.named().filter(|digest| !is_live(digest)).map(str::to_owned).collect())
    }

    /// Drops the configurations that decided nothing. What cannot be told stays.
    fn drop_undecided(&mut self, sweep: Sweep) {
        let Some(kept) = &mut self.kept else { return };
        let Sweep { mut candidates, referred } = sweep;
        // What came back meanwhile decides.
        for (digest, _) in &self.live {
            candidates.remove(digest);
        }
        let dropped = referred.and_then(|referred| {
            // The next start tells what changed since that one.
            if let Some(recorded) = filed::recorded_up_to(&self.data)? {
                candidates.remove(&recorded);
            }
            Ok(kept
                .retain(|digest| !candidates.contains(digest) || referred.snapshots.contains_key(digest))?)
        });
        match dropped {
            Ok(0) => {}
            Ok(count) => tracing::info!(count, "configurations dropped that no record refers to"),
            Err(error) => {
                tracing::warn!(%error, "which configurations decided anything cannot be told: all are kept");
            }
        }
    }
}

/// The configurations that records refer to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Referred {
    /// Records before this one were pruned, and refer to nothing any more.
    minimum: u64,
    /// Records before this one were looked at.
    records: u64,
    /// The id of the last of these: another one in its place is of another log.
    last: String,
    /// Each with the last record that does: what only pruned ones refer to is known without reading the rest.
    snapshots: BTreeMap<String, u64>,
}

/// What of a record is looked at.
#[derive(Deserialize)]
struct Of<'a> {
    #[serde(borrow)]
    id: std::borrow::Cow<'a, str>,
    #[serde(borrow, default)]
    snapshot: Option<std::borrow::Cow<'a, str>>,
}

impl Referred {
    /// What is left of it once the records before `minimum` are gone; `None` where it says nothing of the rest.
    fn since(mut self, minimum: u64) -> Option<Self> {
        let is_of_the_rest = self.minimum < minimum && minimum < self.records;
        if self.minimum != minimum && !is_of_the_rest {
            return None;
        }
        self.minimum = minimum;
        self.snapshots.retain(|_, last| *last >= minimum);
        Some(self)
    }

    /// What was told of the log before, and of what it has since.
    fn read(data: &Path) -> anyhow::Result<Self> {
        let path = data_directory::configurations(data).join("referred.json");
        let ledger = data.join("ledger");
        let before = fs::read(&path).ok().and_then(|text| serde_json::from_slice::<Self>(&text).ok());
        let minimum = vidimus_ledger::pruned(&ledger)?.map_or(0, |pruned| pruned.minimum());
        let mut referred = before.and_then(|before| before.since(minimum)).unwrap_or_else(|| Self {
            minimum,
            records: minimum,
            ..Self::default()
        });
        let mut is_same = referred.records == minimum;
        let from = if is_same { minimum } else { referred.records.saturating_sub(1) };
        for hit in vidimus_ledger::read_from(&ledger, from)? {
            let hit = hit?;
            let of = serde_json::from_slice::<Of<'_>>(&hit.record).ok();
            let id = of.as_ref().map(|of| &*of.id).unwrap_or_default();
            if hit.index < referred.records {
                is_same = *referred.last == *id;
            }
            if !is_same {
                break;
            }
            referred.last = id.to_owned();
            if let Some(Of { snapshot: Some(snapshot), .. }) = of {
                match referred.snapshots.get_mut(&*snapshot) {
                    Some(last) => *last = hit.index,
                    None => {
                        referred.snapshots.insert(snapshot.into_owned(), hit.index);
                    }
                }
            }
            referred.records = referred.records.max(hit.index + 1);
        }
        if !is_same {
            // Another log, be it shorter or longer: all of it is new.
            fs::remove_file(&path)?;
            return Self::read(data);
        }
        vidimus_registry::replace(&path, serde_json::to_vec(&referred)?)?;
        Ok(referred)
    }
}

/// The configurations that records of a ledger refer to, and the one of the newest decision: by reading all of it, for one who only looks.
///
/// # Errors
/// When a record cannot be read.
pub(in crate::cmd) fn referred(ledger: &Path) -> anyhow::Result<(BTreeSet<String>, Option<String>)> {
    let (mut all, mut newest) = (BTreeSet::new(), None::<String>);
    let minimum = vidimus_ledger::pruned(ledger)?.map_or(0, |pruned| pruned.minimum());
    for hit in vidimus_ledger::read_from(ledger, minimum)? {
        let record = hit?.record;
        let Ok(Of { snapshot: Some(snapshot), .. }) = serde_json::from_slice::<Of<'_>>(&record) else {
            continue;
        };
        if newest.as_deref() != Some(&*snapshot) {
            all.insert(snapshot.to_string());
            newest = Some(snapshot.into_owned());
        }
    }
    Ok((all, newest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(directory: &Path, policies: usize) -> Arc<Snapshot> {
        fs::create_dir_all(directory).expect("made");
        for number in 0..policies {
            let text = format!(
                "apiVersion: vidimus.dev/v1alpha1\nkind: Policy\nmetadata: {{name: p{number}, namespace: a}}\nspec: {{description: d, \
                 cedar: 'permit (principal, action, resource);'}}\n"
            );
            fs::write(directory.join(format!("{number}.yaml")), text).expect("written");
        }
        vidimus_registry::load(directory).snapshot
    }

    /// Writes a log whose records have these ids, and refer to configurations of these names.
    fn log(data: &Path, records: &[(&str, &str)]) {
        let ledger = data.join("ledger");
        if ledger.exists() {
            fs::remove_dir_all(&ledger).expect("removed");
        }
        let config = vidimus_ledger::Config { dir: ledger, ..vidimus_ledger::Config::default() };
        let ledger = vidimus_ledger::Ledger::open(config).expect("a log");
        for (id, snapshot) in records {
            let record = serde_json::json!({"action": "invokeTool", "body": "", "chain": [], "depth": 1, "facts": {}, "id": id,
                "identity": "", "kind": "decision", "method": "", "outcome": "deny", "policies": [], "principal": "Agent/a/b",
                "protocol": "mcp", "resource": "Tool/a/b/c", "snapshot": snapshot, "time": "2026-11-27T00:00:00.000000Z",
                "trace": "", "transaction": "", "version": 1});
            let record = vidimus_core::record::Kept::read(record.to_string().as_bytes()).expect("a record");
            let written = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
            written.block_on(ledger.record(&record)).expect("kept");
        }
    }

    /// What another log referred to says nothing of this one, however many records it has.
    #[test]
    fn what_is_told_of_a_log_is_told_of_no_other() {
        let root = tempfile::tempdir().expect("a directory");
        let data = root.path().join("data");
        fs::create_dir_all(data_directory::configurations(&data)).expect("made");
        let told = || {
            let referred = Referred::read(&data).expect("told");
            (referred.records, referred.snapshots.into_keys().collect::<Vec<_>>().join(" "))
        };
        log(&data, &[("1", "a"), ("2", "b")]);
        assert_eq!(told(), (2, "a b".to_owned()));
        assert_eq!(told(), (2, "a b".to_owned()));
        // A longer one, a shorter one, and one of the same length.
        log(&data, &[("3", "c"), ("4", "d"), ("5", "e")]);
        assert_eq!(told(), (3, "c d e".to_owned()));
        log(&data, &[("6", "f")]);
        assert_eq!(told(), (1, "f".to_owned()));
        log(&data, &[("7", "g")]);
        assert_eq!(told(), (1, "g".to_owned()));
        log(&data, &[]);
        assert_eq!(told(), (0, String::new()));
        // Of a version that did not say which record was the last.
        log(&data, &[("8", "h")]);
        let path = data_directory::configurations(&data).join("referred.json");
        fs::write(path, r#"{"minimum":0,"records":1,"last":"8","snapshots":["x"]}"#).expect("written");
        assert_eq!(told(), (1, "h".to_owned()));
    }

    /// A log is as long as it likes: after a prune the rest of it is not read again.
    #[test]
    fn what_only_pruned_records_refer_to_is_known_without_the_rest() {
        let root = tempfile::tempdir().expect("a directory");
        let data = root.path().join("data");
        fs::create_dir_all(data_directory::configurations(&data)).expect("made");
        log(&data, &[("1", "a"), ("2", "b"), ("3", "a"), ("4", "c")]);
        let referred = Referred::read(&data).expect("told");
        let left = |minimum| {
            let left = referred.clone().since(minimum)?;
            Some((left.records, left.snapshots.into_keys().collect::<Vec<_>>().join(" ")))
        };
        assert_eq!(left(0), Some((4, "a b c".to_owned())));
        assert_eq!(left(1), Some((4, "a b c".to_owned())), "a later one refers to it too");
        assert_eq!(left(2), Some((4, "a c".to_owned())));
        assert_eq!(left(3), Some((4, "c".to_owned())));
        assert_eq!(left(4), None, "of what follows nothing is known");
        assert_eq!(referred.clone().since(2).and_then(|left| left.since(1)), None, "a copy was put back");
    }

    #[test]
    fn a_configuration_is_kept_while_it_is_in_force_or_a_record_refers_to_it() {
        let root = tempfile::tempdir().expect("a directory");
        let data = root.path().join("data");
        fs::create_dir_all(&data).expect("made");
        let all: Vec<_> = (0..3).map(|number| snapshot(&root.path().join("resources"), number)).collect();
        let names = |keeper: &Keeper| {
            keeper.kept.iter().flat_map(Configurations::kept).map(str::to_owned).collect::<BTreeSet<_>>()
        };
        let digests = |some: &[usize]| -> BTreeSet<String> {
            all.iter()
                .enumerate()
                .filter(|(at, _)| some.contains(at))
                .map(|(_, one)| one.digest().to_owned())
                .collect()
        };
        let sweep = |keeper: &mut Keeper| {
            keeper.new = SWEEP;
            let candidates = keeper.candidates(Instant::now()).expect("it is time");
            keeper.drop_undecided(Sweep { candidates, referred: Referred::read(&data) });
        };
        let mut keeper = Keeper::new(&data, false);
        for one in &all {
            keeper.keep(one, || ()).expect("kept");
            // Without a log nothing can be told, and nothing is dropped.
            sweep(&mut keeper);
        }
        assert_eq!(names(&keeper), digests(&[0, 1, 2]));
        let ledger = vidimus_ledger::Ledger::open(vidimus_ledger::Config {
            dir: data.join("ledger"),
            ..vidimus_ledger::Config::default()
        });
        drop(ledger.expect("a log"));
        let snapshots = digests(&[1]).into_iter().map(|digest| (digest, 0)).collect();
        fs::write(
            data_directory::configurations(&data).join("referred.json"),
            serde_json::to_vec(&Referred { snapshots, ..Referred::default() }).expect("JSON"),
        )
        .expect("written");
        // What was in force here a moment ago may still decide.
        sweep(&mut keeper);
        assert_eq!(names(&keeper), digests(&[0, 1, 2]));
        let mut next = Keeper::new(&data, true);
        if let Some(one) = all.last() {
            next.keep(one, || ()).expect("kept");
        }
        sweep(&mut next);
        assert_eq!(names(&next), digests(&[1, 2]));
    }

    /// What comes while the log is read, be it for hours, is not among what that read says nothing of.
    #[test]
    fn what_comes_while_the_log_is_read_stays() {
        let root = tempfile::tempdir().expect("a directory");
        let data = root.path().join("data");
        fs::create_dir_all(&data).expect("made");
        let all: Vec<_> = (0..3).map(|number| snapshot(&root.path().join("resources"), number)).collect();
        let [old, between, back] = all.as_slice() else { panic!("three") };
        let mut keeper = Keeper::new(&data, false);
        for one in [old, back] {
            keeper.keep(one, || ()).expect("kept");
        }
        keeper.live.clear();
        let candidates = keeper.candidates(Instant::now()).expect("it is time");
        assert_eq!(candidates.len(), 2);
        for one in [between, back] {
            keeper.keep(one, || ()).expect("kept");
        }
        keeper.drop_undecided(Sweep { candidates, referred: Ok(Referred::default()) });
        let kept: BTreeSet<&str> = keeper.kept.iter().flat_map(Configurations::kept).collect();
        assert_eq!(kept, BTreeSet::from([between.digest(), back.digest()]));
    }

    /// It may decide once the kernel has it, or the disk.
    #[test]
    fn what_may_decide_is_written() {
        let root = tempfile::tempdir().expect("a directory");
        let snapshot = snapshot(&root.path().join("resources"), 1);
        for synced in [false, true] {
            let data = root.path().join(synced.to_string());
            let told = std::cell::Cell::new(0);
            let mut keeper = Keeper::new(&data, synced);
            let archive =
                vidimus_registry::configurations::Archive::at(&data_directory::configurations(&data));
            let written = || {
                assert!(archive.texts(snapshot.digest()).is_ok(), "who is killed now has kept it");
                told.set(told.get() + 1);
            };
            keeper.keep(&snapshot, written).expect("kept");
            // Again by nobody who waits.
            assert_eq!(told.get(), if synced { 1 } else { 2 });
        }
        // Where it cannot be written, nothing is said.
        let file = root.path().join("file");
        fs::write(&file, "").expect("written");
        let kept = Keeper::new(&file, false).keep(&snapshot, || panic!("it is not written"));
        assert!(kept.is_err_and(|error| !is_permanent(&error)));
    }
}
