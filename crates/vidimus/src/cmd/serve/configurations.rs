//! Every configuration that decides is kept beside the ledger, whose records name it by its digest, so that they can be decided again.
//! It is written beside the calls, as it goes live: they do not wait for it.

use std::collections::{BTreeSet, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::{self, error::TrySendError};
use vidimus_core::snapshot::Snapshot;
use vidimus_registry::configurations::{Configurations, KeepError};

use super::filed;
use super::supervisor::Supervisor;
use crate::cmd::data_directory;

/// Before one that could not be kept is tried again.
const AGAIN: Duration = Duration::from_secs(10);
/// After so many new ones it is looked which of them decided anything.
const SWEEP: usize = 256;
/// How long a configuration may still have a call to be recorded after the next one went live.
const GRACE: Duration = Duration::from_secs(600);

/// How many may wait to be kept. One takes some ten milliseconds; where it cannot be kept at all, what waits must not take the memory.
const WAITING: usize = 64;

/// Takes the configurations that went live.
#[derive(Clone, Debug)]
pub(super) struct Live(mpsc::Sender<Arc<Snapshot>>);

impl Live {
    /// Lets it be kept. Where too many wait, it is not: what it decides cannot be decided again.
    pub(super) fn went(&self, snapshot: Arc<Snapshot>) {
        if let Err(error) = self.0.try_send(snapshot) {
            let snapshot = match &error {
                TrySendError::Full(snapshot) | TrySendError::Closed(snapshot) => snapshot.digest(),
            };
            tracing::error!(snapshot, "a configuration is not kept: too many before it cannot be");
        }
    }
}

/// Keeps the configuration that decides now, and those that are given, for as long as the process lives.
pub(super) fn keep(supervisor: &mut Supervisor, data: &Path, now: Arc<Snapshot>) -> Live {
    let (live, mut given) = mpsc::channel::<Arc<Snapshot>>(WAITING);
    let live = Live(live);
    live.went(now);
    let mut keeper = Keeper::new(data);
    supervisor.essential("configurations", async move {
        while let Some(snapshot) = given.recv().await {
            loop {
                let (kept, back) = keep_one(keeper, snapshot.clone()).await;
                keeper = back;
                match kept {
                    Ok(()) => break,
                    Err(error) if is_permanent(&error) => {
                        tracing::error!(
                            %error, snapshot = snapshot.digest(),
                            "the configuration cannot be kept: what it decides cannot be decided again"
                        );
                        break;
                    }
                    Err(error) => tracing::error!(
                        %error, snapshot = snapshot.digest(),
                        "the configuration is not kept: what it decides cannot be decided again until it is"
                    ),
                }
                tokio::time::sleep(AGAIN).await;
            }
        }
        // Whoever gives them has ended, which is told of it.
        std::future::pending::<()>().await;
    });
    live
}

/// Whether it would not be kept however often that is tried: it is what the configuration is, and not where it is kept.
fn is_permanent(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref::<KeepError>(), Some(KeepError::NotPreserved(_) | KeepError::Json(_)))
}

/// On a thread on which nothing waits.
async fn keep_one(mut keeper: Keeper, snapshot: Arc<Snapshot>) -> (anyhow::Result<()>, Keeper) {
    let data = keeper.data.clone();
    let kept = tokio::task::spawn_blocking(move || (keeper.keep(&snapshot), keeper)).await;
    kept.unwrap_or_else(|panic| (Err(panic.into()), Keeper::new(&data)))
}

#[derive(Debug)]
struct Keeper {
    data: PathBuf,
    /// `None` until the first is kept.
    kept: Option<Configurations>,
    /// Those that went live here, and when the next one did; the last one has none.
    live: VecDeque<(String, Option<Instant>)>,
    /// New ones since the last sweep; so many at first that one follows the first that is kept, however often that is tried.
    new: usize,
}

impl Keeper {
    fn new(data: &Path) -> Self {
        Self { data: data.to_owned(), kept: None, live: VecDeque::new(), new: SWEEP }
    }

    fn keep(&mut self, snapshot: &Snapshot) -> anyhow::Result<()> {
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
        if kept.keep(snapshot)? {
            self.new += 1;
            tracing::debug!(
                snapshot = snapshot.digest(),
                ms = now.elapsed().as_millis(),
                "configuration kept"
            );
        }
        if self.new >= SWEEP {
            self.new = 0;
            self.sweep(now);
        }
        Ok(())
    }

    /// Drops the configurations that decided nothing. What cannot be told stays.
    fn sweep(&mut self, now: Instant) {
        let Some(kept) = &mut self.kept else { return };
        self.live.retain(|(_, ended)| ended.is_none_or(|ended| now.duration_since(ended) < GRACE));
        // The next start tells what changed since that one.
        let recorded = filed::recorded_up_to(&self.data);
        let live = self.live.iter().map(|(digest, _)| &**digest);
        let live: BTreeSet<&str> = live.chain(recorded.as_deref()).collect();
        let dropped = Referred::read(&self.data).and_then(|referred| {
            Ok(kept.retain(|digest| live.contains(digest) || referred.snapshots.contains(digest))?)
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
    snapshots: BTreeSet<String>,
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
    /// What was told of the log before, and of what it has since.
    fn read(data: &Path) -> anyhow::Result<Self> {
        let path = data_directory::configurations(data).join("referred.json");
        let ledger = data.join("ledger");
        let before = fs::read(&path).ok().and_then(|text| serde_json::from_slice::<Self>(&text).ok());
        let minimum = vidimus_ledger::pruned(&ledger)?.map_or(0, |pruned| pruned.minimum());
        // Of what was told of more than is there, it is not known which record said it.
        let mut referred = before.filter(|before| before.minimum == minimum).unwrap_or_else(|| Self {
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
            if let Some(Of { snapshot: Some(snapshot), .. }) = of
                && !referred.snapshots.contains(&*snapshot)
            {
                referred.snapshots.insert(snapshot.into_owned());
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
            (referred.records, referred.snapshots.into_iter().collect::<Vec<_>>().join(" "))
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
        let digests = |some: &[usize]| {
            all.iter()
                .enumerate()
                .filter(|(at, _)| some.contains(at))
                .map(|(_, one)| one.digest().to_owned())
                .collect()
        };
        let mut keeper = Keeper::new(&data);
        for one in &all {
            // Without a log nothing can be told, and nothing is dropped.
            keeper.keep(one).expect("kept");
        }
        assert_eq!(names(&keeper), digests(&[0, 1, 2]));
        let ledger = vidimus_ledger::Ledger::open(vidimus_ledger::Config {
            dir: data.join("ledger"),
            ..vidimus_ledger::Config::default()
        });
        drop(ledger.expect("a log"));
        fs::write(
            data_directory::configurations(&data).join("referred.json"),
            serde_json::to_vec(&Referred { snapshots: digests(&[1]), ..Referred::default() }).expect("JSON"),
        )
        .expect("written");
        // What was in force here a moment ago may still decide.
        keeper.sweep(Instant::now());
        assert_eq!(names(&keeper), digests(&[0, 1, 2]));
        let mut next = Keeper::new(&data);
        if let Some(one) = all.last() {
            next.keep(one).expect("kept");
        }
        assert_eq!(names(&next), digests(&[1, 2]));
    }
}
