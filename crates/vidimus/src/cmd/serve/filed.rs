//! Each change of an object of a served directory goes on record when it is in force, and at a start what changed since the last one (ADR 94). It says
//! nobody who did it but the owner of the file, and that is kept as claimed.
//!
//! It is told beside the calls: no configuration waits for it. What is on record is known by the configuration up to which it is, by its digest in
//! `DATA/configurations/recorded`; a start tells what changed since that one, so that what a killed process had not told yet is not lost.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use jiff::Timestamp;
use tokio::sync::Notify;
use vidimus_core::act::{BY_ITSELF, Registered, RegisteredFile, Registration};
use vidimus_gateway::Shared;
use vidimus_query::printable;
use vidimus_registry::configurations::Archive;
use vidimus_registry::{Change, Loaded, Recorded};

use super::Serve;
use super::supervisor::Supervisor;
use crate::cmd::data_directory;

/// Before what could not be recorded is tried again.
const AGAIN: Duration = Duration::from_secs(1);
/// Configurations that wait until their changes are on record, at most: while the ledger takes nothing, they must not take the memory.
const WAITING: usize = 64;
/// Changes of one configuration that each have a record, at most: as many as there are objects.
const MOST: usize = 10_000;
/// Records that are written at once.
const AT_ONCE: usize = 16;
/// The most characters of why something is left out.
const MAX_WHY: usize = 512;

/// Takes the configurations that went live, where a directory has them.
#[derive(Clone, Debug)]
pub(super) struct Filed(Option<Arc<Waiting>>);

/// What waits to be told, in order.
#[derive(Debug, Default)]
struct Waiting {
    queue: Mutex<Queue>,
    came: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    loaded: VecDeque<Arc<Loaded>>,
    /// In whose place newer ones came.
    passed_over: u64,
}

impl Filed {
    /// It is in force. While everything is refused because not all of it is known, what is missing was not deleted.
    pub(super) fn went(&self, loaded: &Arc<Loaded>) {
        if let Some(waiting) = self.0.as_ref().filter(|_| loaded.not_ready.is_none()) {
            waiting.add(loaded.clone());
        }
    }
}

impl Waiting {
    fn add(&self, loaded: Arc<Loaded>) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        // What it came to is told in any case; of what was only between, how many these were.
        if queue.loaded.len() >= WAITING && queue.loaded.pop_back().is_some() {
            queue.passed_over = queue.passed_over.saturating_add(1);
        }
        queue.loaded.push_back(loaded);
        drop(queue);
        self.came.notify_one();
    }

    /// The next one, and, where it is the last, how many before it were passed over.
    async fn next(&self) -> (Arc<Loaded>, u64) {
        loop {
            let next = {
                let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
                let next = queue.loaded.pop_front();
                let is_last = queue.loaded.is_empty();
                next.map(|next| (next, if is_last { std::mem::take(&mut queue.passed_over) } else { 0 }))
            };
            match next {
                Some(next) => return next,
                None => self.came.notified().await,
            }
        }
    }
}

/// Begins to record, where a directory has the objects, from what is in force at the start.
pub(super) fn begin(
    supervisor: &mut Supervisor,
    serve: &Serve,
    shared: &Arc<Shared>,
    now: &Arc<Loaded>,
) -> Filed {
    let Some(directory) = &serve.resources else { return Filed(None) };
    let waiting = Arc::<Waiting>::default();
    let filed = Filed(Some(waiting.clone()));
    filed.went(now);
    let mut teller =
        Teller { directory: directory.clone(), data: serve.data.clone(), recorded: None, is_unknown: false };
    let shared = shared.clone();
    supervisor.essential("registrations", async move {
        // Those that no record has told of yet: the last of them may have changed nothing.
        let mut passed_over = 0_u64;
        loop {
            let (loaded, more) = waiting.next().await;
            passed_over = passed_over.saturating_add(more);
            let of = loaded.clone();
            // Where it panics, that is the end of the process: the next start tells it.
            let Ok((changes, back)) =
                tokio::task::spawn_blocking(move || (teller.changes(&of), teller)).await
            else {
                return;
            };
            teller = back;
            let notes = Notes { passed_over, is_unknown: teller.is_unknown };
            let is_any = !changes.is_empty();
            teller.is_unknown &= !is_any;
            passed_over = if is_any { 0 } else { passed_over };
            record(&shared, changes, notes).await;
            let Ok(back) = tokio::task::spawn_blocking(move || teller.note(&loaded, is_any)).await else {
                return;
            };
            teller = back;
        }
    });
    filed
}

/// What the record of a change says beside it.
#[derive(Clone, Copy, Debug)]
struct Notes {
    passed_over: u64,
    is_unknown: bool,
}

/// What is on record.
#[derive(Debug)]
struct Teller {
    directory: PathBuf,
    data: PathBuf,
    /// `None` before the first.
    recorded: Option<Recorded>,
    /// What changed before the start could not be told, and no record says so yet.
    is_unknown: bool,
}

impl Teller {
    /// What changed from what is on record to `loaded`, each as it is to be recorded.
    fn changes(&mut self, loaded: &Loaded) -> Vec<(Registration, String)> {
        let changes = match &mut self.recorded {
            Some(recorded) => recorded.changes(loaded),
            None => {
                let mut recorded = self.before_start(loaded);
                let changes = recorded.changes(loaded);
                self.recorded = Some(recorded);
                changes
            }
        };
        changes.into_iter().map(|change| registration(&self.directory, change)).collect()
    }

    /// Of a data directory that was not served from before, the record of the start names all there is (`configuration`), and nothing has changed.
    fn before_start(&mut self, now: &Loaded) -> Recorded {
        let digest = match recorded_up_to(&self.data) {
            Ok(Some(digest)) => digest,
            Ok(None) => return Recorded::of(now),
            Err(error) => {
                self.is_unknown = true;
                tracing::error!(
                    %error,
                    "what changed in the directory of resources while nothing ran is on no record: {} cannot be read",
                    path(&self.data).display()
                );
                return Recorded::of(now);
            }
        };
        match Recorded::kept(&Archive::at(&data_directory::configurations(&self.data)), &digest) {
            Ok(recorded) => recorded,
            Err(unusable) => {
                self.is_unknown = true;
                tracing::error!(
                    %unusable, snapshot = digest,
                    "what changed in the directory of resources while nothing ran is on no record: the configuration of before is not there"
                );
                Recorded::of(now)
            }
        }
    }

    /// Changes are on record up to `loaded`.
    fn note(self, loaded: &Loaded, is_any: bool) -> Self {
        if is_any || !matches!(recorded_up_to(&self.data), Ok(Some(_))) {
            let path = path(&self.data);
            let made = path.parent().map_or(Ok(()), fs::create_dir_all);
            let noted = made.and_then(|()| vidimus_registry::replace(&path, loaded.snapshot.digest()));
            if let Err(error) = noted {
                tracing::warn!(%error, "changes of the directory of resources may be recorded twice: {}", path.display());
            }
        }
        self
    }
}

fn path(data: &Path) -> PathBuf {
    data_directory::configurations(data).join("recorded")
}

/// The configuration up to which changes are on record, by its digest; `None` where none was yet.
///
/// # Errors
/// When the file that says so cannot be read: then it is not known.
pub(super) fn recorded_up_to(data: &Path) -> io::Result<Option<String>> {
    match fs::read_to_string(path(data)) {
        Ok(digest) => Ok(Some(digest)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Puts each on record, however long that takes.
async fn record(shared: &Shared, mut changes: Vec<(Registration, String)>, notes: Notes) {
    let untold = changes.len().saturating_sub(MOST);
    changes.truncate(MOST);
    if let Some((_, why)) = changes.last_mut() {
        say(why, untold, notes);
    }
    if untold > 0 || notes.passed_over > 0 {
        tracing::error!(
            untold,
            configurations = notes.passed_over,
            "changes of the directory of resources are on no record: they were more than could wait for one"
        );
    }
    let all = futures_util::stream::iter(changes);
    let recorded = all.map(|(registration, why)| record_one(shared, registration, why));
    recorded.buffered(AT_ONCE).for_each(|()| std::future::ready(())).await;
}

fn say(why: &mut String, untold: usize, notes: Notes) {
    if untold > 0 {
        why.push_str(&format!("; {untold} changes beside it are on no record"));
    }
    if notes.passed_over > 0 {
        why.push_str(&format!(
            "; of {} configurations before this one only what they came to is on record",
            notes.passed_over
        ));
    }
    if notes.is_unknown {
        why.push_str("; what changed while no gateway ran is on no record");
    }
}

/// It happened, so it is tried until it is on record.
async fn record_one(shared: &Shared, registration: Registration, why: String) {
    let mut is_said = false;
    while let Err(refusal) =
        shared.record_registration(BY_ITSELF.to_owned(), registration.clone(), why.clone()).await
    {
        if !std::mem::replace(&mut is_said, true) {
            tracing::error!(
                object = registration.object,
                code = refusal.code.as_str(),
                "a change of what is registered is not on record yet; it is tried again"
            );
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// The record of a change and, in words, why: what was seen, and what is only said.
fn registration(directory: &Path, change: Change) -> (Registration, String) {
    let Change { object, operation, before, after, path, rejected } = change;
    let file = path.as_deref().map(|path| file(directory, path));
    let mut why = match &file {
        Some(file) => format!("{operation} {object}, seen in {}", printable(&file.path)),
        None => format!("{operation} {object}, seen in the directory of resources"),
    };
    if let Some(owner) = file.as_ref().and_then(|file| file.owner) {
        let user = rustix::process::geteuid().as_raw();
        why.push_str(&format!(
            " by the gateway's user {user}; the file is of user {owner}, as the file system says"
        ));
    }
    if let Some(reason) = &rejected {
        let reason: String = reason.chars().take(MAX_WHY).collect();
        why.push_str(&format!("; it is left out: {}", printable(&reason)));
    }
    let registration = Registration {
        after,
        before,
        file,
        manager: None,
        object,
        operation: operation.to_owned(),
        policies: Vec::new(),
        request: String::new(),
        verdict: Some(if rejected.is_some() { Registered::Rejected } else { Registered::Live }),
        written: None,
    };
    (registration, why)
}

/// What the file system says of a file now: it may have been written again since it was read.
fn file(directory: &Path, path: &Path) -> RegisteredFile {
    let there = fs::metadata(path).ok();
    let written = there.as_ref().and_then(|there| {
        let nanoseconds = i32::try_from(there.mtime_nsec()).ok()?;
        Some(Timestamp::new(there.mtime(), nanoseconds).ok()?.to_string())
    });
    RegisteredFile {
        owner: there.map(|there| there.uid()),
        path: path.strip_prefix(directory).unwrap_or(path).display().to_string(),
        written,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(directory: &Path, name: &str, cedar: &str) {
        let text = format!(
            "apiVersion: vidimus.dev/v1alpha1\nkind: Policy\nmetadata: {{name: {name}, namespace: a}}\nspec: {{description: d, cedar: \
             '{cedar}'}}\n"
        );
        fs::write(directory.join(format!("{name}.yaml")), text).expect("written");
    }

    fn teller(root: &Path) -> Teller {
        let (directory, data) = (root.join("resources"), root.join("data"));
        fs::create_dir_all(&directory).expect("made");
        Teller { directory, data, recorded: None, is_unknown: false }
    }

    fn objects(changes: &[(Registration, String)]) -> Vec<String> {
        changes.iter().map(|(change, _)| format!("{} {}", change.operation, change.object)).collect()
    }

    /// A process that is killed before a change is on record: the next one tells it.
    #[test]
    fn a_start_tells_what_changed_since_what_is_on_record() {
        let root = tempfile::tempdir().expect("a directory");
        let mut first = teller(root.path());
        let (directory, data) = (first.directory.clone(), first.data.clone());
        let permit = "permit (principal, action, resource);";
        write(&directory, "p", permit);
        let kept = |loaded: &Loaded| {
            let configurations = data_directory::configurations(&data);
            let kept = vidimus_registry::configurations::Configurations::open(&configurations);
            kept.expect("opened").keep(&loaded.snapshot).expect("kept");
        };
        let loaded = vidimus_registry::load(&directory);
        kept(&loaded);
        // The record of the start says what there is.
        assert!(first.changes(&loaded).is_empty());
        let mut first = first.note(&loaded, false);
        write(&directory, "q", permit);
        let loaded = vidimus_registry::load(&directory);
        kept(&loaded);
        let told = first.changes(&loaded);
        assert_eq!(objects(&told), ["create Policy/a/q"]);
        let (change, why) = told.first().expect("one");
        let file = change.file.as_ref().expect("a file");
        assert_eq!((file.path.as_str(), change.verdict), ("q.yaml", Some(Registered::Live)));
        assert!(file.owner.is_some() && file.written.is_some() && change.manager.is_none());
        assert!(why.contains("seen in q.yaml by the gateway's user"), "{why}");
        // It is killed here, and then the directory is changed.
        fs::remove_file(directory.join("p.yaml")).expect("removed");
        let loaded = vidimus_registry::load(&directory);
        let mut next = teller(root.path());
        let told = next.changes(&loaded);
        assert_eq!(objects(&told), ["delete Policy/a/p", "create Policy/a/q"]);
        let next = next.note(&loaded, true);
        // What is on record is not kept: that is said with the next change.
        assert!(!next.is_unknown);
        let mut last = teller(root.path());
        assert!(last.changes(&loaded).is_empty() && last.is_unknown);
        // So it is where the file that says up to where cannot be read.
        fs::write(path(&data), b"\xff\xfe").expect("written");
        let mut last = teller(root.path());
        assert!(last.changes(&loaded).is_empty() && last.is_unknown);
        drop(last.note(&loaded, false));
        assert_eq!(recorded_up_to(&data).expect("read").as_deref(), Some(loaded.snapshot.digest()));
    }

    /// Attack: files that are written over and over while the ledger takes nothing.
    #[tokio::test]
    async fn what_waits_is_bounded_and_what_it_came_to_is_not_lost() {
        let root = tempfile::tempdir().expect("a directory");
        let all: Vec<Arc<Loaded>> = (0..3)
            .map(|number| {
                write(root.path(), &number.to_string(), "permit (principal, action, resource);");
                Arc::new(vidimus_registry::load(root.path()))
            })
            .collect();
        let filed = Filed(Some(Arc::default()));
        let [first, between, last] = all.as_slice() else { panic!("three") };
        let unready = Loaded { not_ready: Some("not whole".to_owned()), ..Loaded::clone(first) };
        filed.went(&Arc::new(unready));
        for _ in 0..WAITING - 1 {
            filed.went(first);
        }
        filed.went(between);
        filed.went(last);
        let waiting = filed.0.as_ref().expect("one");
        for _ in 0..WAITING - 1 {
            assert_eq!(waiting.next().await.1, 0);
        }
        let (newest, passed_over) = waiting.next().await;
        assert_eq!((newest.snapshot.digest(), passed_over), (last.snapshot.digest(), 1));
        let mut why = "update".to_owned();
        say(&mut why, 3, Notes { passed_over, is_unknown: true });
        assert_eq!(
            why,
            "update; 3 changes beside it are on no record; of 1 configurations before this one only what they came to is on record; what \
             changed while no gateway ran is on no record"
        );
    }
}
