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
use vidimus_registry::configurations::Configurations;

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
        let live: BTreeSet<&str> = self.live.iter().map(|(digest, _)| &**digest).collect();
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
    /// Records before this one were looked at.
    records: u64,
    snapshots: BTreeSet<String>,
}

/// The one member of a record that is looked at.
#[derive(Deserialize)]
struct Of<'a> {
    #[serde(borrow, default)]
    snapshot: Option<std::borrow::Cow<'a, str>>,
}

impl Referred {
    /// What was told of the log before, and of what it has since.
    fn read(data: &Path) -> anyhow::Result<Self> {
        let path = data_directory::configurations(data).join("referred.json");
        let ledger = data.join("ledger");
        let before = fs::read(&path).ok().and_then(|text| serde_json::from_slice::<Self>(&text).ok());
        let mut referred = before.unwrap_or_default();
        let begun = referred.records;
        for hit in vidimus_ledger::read_from(&ledger, begun)? {
            let hit = hit?;
            if let Ok(Of { snapshot: Some(snapshot) }) = serde_json::from_slice(&hit.record)
                && !referred.snapshots.contains(&*snapshot)
            {
                referred.snapshots.insert(snapshot.into_owned());
            }
            referred.records = hit.index + 1;
        }
        if referred.records == begun
            && begun > 0
            && vidimus_ledger::read_from(&ledger, begun - 1)?.next().is_none()
        {
            // Another log: all of it is new.
            fs::remove_file(&path)?;
            return Self::read(data);
        }
        vidimus_registry::replace(&path, serde_json::to_vec(&referred)?)?;
        Ok(referred)
    }
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
            serde_json::to_vec(&Referred { records: 0, snapshots: digests(&[1]) }).expect("JSON"),
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
