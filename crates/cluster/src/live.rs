//! What was heard of the cluster, gathered until a burst of changes is over, and then brought into force as one.

use std::mem;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, broadcast, watch};
use vidimus_core::resource::{Kind, Origin, Rejection, Subject};
use vidimus_registry::{Feed, Says};

use crate::SOURCE;
use crate::answer::RIGHTS;
use crate::follow::plural;
use crate::index::{Changed, Index};
use crate::kept::{self, Found, Kept};
use crate::lease::Lead;
use crate::pods::Pods;
use crate::rollouts::Rollouts;
use crate::routes::Routes;
use crate::runs_jobs::RunsJobs;
use crate::secrets::Secrets;
use crate::seen::Seen;
use crate::state::{SourceState, Watched};
use crate::status::Write;
use crate::verdict;

/// Silence after the last change before what was heard is compiled.
const QUIET: Duration = Duration::from_millis(5);
/// Maximum that changes which keep coming delay it.
const MAX_DELAY: Duration = Duration::from_millis(25);
/// How long the thread waits where nothing happens.
const LOOK: Duration = Duration::from_secs(2);
/// Between two looks at all statuses where nothing happens: what could not be written may be by now.
const LOOK_STATUSES: Duration = Duration::from_secs(60);
/// The same after something was written of an object that is no change of it: its status is otherwise, or it is not as it was when its status was to be written.
const LOOK_WRITTEN: Duration = Duration::from_secs(1);
/// The same after other pods run.
const LOOK_RUNS: Duration = Duration::from_secs(2);

/// What was heard.
#[derive(Debug)]
pub(crate) enum Heard {
    /// On the watch of this place among all.
    Of(usize, Told),
    /// The same, from a registry: as the API server told it at this time. It gives back its room when it was taken.
    AsOf(usize, Told, Timestamp, OwnedSemaphorePermit),
    /// This replica writes statuses from now on.
    Leads,
    /// A Secret that an object names is otherwise than it was, or whether jobs can be run.
    Secrets,
    /// What runs as the objects is otherwise, or has called.
    Runs,
}

/// What one watch tells.
#[derive(Debug)]
pub(crate) enum Told<T = Value> {
    /// All that is there.
    Listed(Vec<T>),
    /// An object is there, new or otherwise than before.
    There(T),
    /// An object was deleted.
    Gone(T),
    /// The API server answers; nothing happened.
    Alive,
    /// All that happened until then was told, but for what an answer on its way may be old.
    UpTo(Timestamp),
    /// It is not heard any more, and why. Nothing is known to have happened.
    Lost(String),
    /// The same: the API server says that this process may not.
    Forbidden(String),
}

impl<T> Told<T> {
    /// Why it is not heard, where it is not, with what to do.
    pub(crate) fn why(&self) -> Option<String> {
        match self {
            Self::Lost(reason) => Some(reason.clone()),
            Self::Forbidden(reason) => Some(format!("{reason}; {RIGHTS}")),
            Self::Listed(_) | Self::There(_) | Self::Gone(_) | Self::Alive | Self::UpTo(_) => None,
        }
    }
}

/// One watch.
#[derive(Debug)]
struct Watch {
    kind: Kind,
    namespace: Option<Arc<str>>,
    known: Watched,
}

/// The thread that compiles.
pub(crate) struct Live {
    feed: Feed,
    /// Keeps what is in force on disk, where anything does.
    kept: Option<Kept>,
    index: Index,
    watches: Vec<Watch>,
    heard: Receiver<Heard>,
    state: watch::Sender<SourceState>,
    wanted: watch::Sender<Arc<Vec<Write>>>,
    lead: Lead,
    secrets: Secrets,
    jobs: RunsJobs,
    rollouts: Rollouts,
    routes: Routes,
    /// Whether acts of people are known here, which a registry has none of.
    knows_acts: bool,
    /// Where pods are watched.
    pods: Option<Pods>,
    /// Who is told of each change.
    seen: Option<broadcast::Sender<Box<Seen>>>,
    pending: Pending,
    /// When statuses are to be looked at again.
    statuses: Instant,
}

/// Changes that are not in force yet.
#[derive(Debug, Default)]
struct Pending {
    first: Option<Instant>,
    last: Option<Instant>,
}

impl Pending {
    fn note(&mut self, now: Instant) {
        self.first = self.first.or(Some(now));
        self.last = Some(now);
    }

    /// When they are to be; `None` where there are none.
    fn due(&self) -> Option<Instant> {
        Some((self.last? + QUIET).min(self.first? + MAX_DELAY))
    }
}

impl Live {
    pub(crate) fn new(
        (feed, kept): (Feed, Option<Kept>),
        followed: &[(Kind, Option<Arc<str>>)],
        heard: Receiver<Heard>,
        state: watch::Sender<SourceState>,
        (wanted, lead, secrets): (watch::Sender<Arc<Vec<Write>>>, Lead, Secrets),
    ) -> Self {
        let watch = |(kind, namespace): &(Kind, Option<Arc<str>>)| Watch {
            kind: *kind,
            namespace: namespace.clone(),
            known: Watched {
                name: name(*kind, namespace.as_deref()),
                heard: None,
                lost: None,
                is_kept: false,
            },
        };
        let watches = followed.iter().map(watch).collect();
        Self {
            feed,
            kept,
            index: Index::new(SOURCE),
            watches,
            heard,
            state,
            wanted,
            lead,
            secrets,
            jobs: RunsJobs::default(),
            rollouts: Rollouts::default(),
            routes: Routes::default(),
            knows_acts: true,
            pods: None,
            seen: None,
            pending: Pending::default(),
            statuses: Instant::now() + LOOK_STATUSES,
        }
    }

    /// Says in statuses what runs as the objects too.
    pub(crate) fn with_pods(self, pods: Option<Pods>) -> Self {
        Self { pods, ..self }
    }

    /// Says in statuses whether jobs can be run, what rollouts let pass, what data planes refuse, and who is quarantined by acts, where these are
    /// known.
    pub(crate) fn with_reports(
        self,
        jobs: RunsJobs,
        (rollouts, routes): (Rollouts, Routes),
        knows_acts: bool,
    ) -> Self {
        Self { jobs, rollouts, routes, knows_acts, ..self }
    }

    /// Tells of each change too, once what there is was heard, where somebody is to be told.
    pub(crate) fn with_seen(self, seen: Option<broadcast::Sender<Box<Seen>>>) -> Self {
        Self { seen, ..self }
    }

    /// Goes on until nobody tells anything any more.
    pub(crate) fn run(mut self) {
        // After a compilation comes a pause of the same length, so that a storm of changes leaves half of a core to the calls.
        let mut not_before = Instant::now();
        loop {
            self.feed.came_round();
            let now = Instant::now();
            // What waits for its turn to be compiled goes on after the pause, with what was heard meanwhile.
            let behind = self.feed.is_behind().then_some(now);
            let due = self.pending.due().or(behind).map(|due| due.max(not_before));
            if due.is_some_and(|due| due <= now) {
                self.pending = Pending::default();
                self.compile();
                let ended = Instant::now();
                not_before = ended + (ended - now);
                // In that pause, so that what is heard next does not wait for it.
                if self.statuses <= ended {
                    self.want();
                }
                let statuses = ended.elapsed().as_millis();
                tracing::debug!(ms = (ended - now).as_millis(), statuses, "what was heard is in force");
                continue;
            }
            if self.statuses <= now {
                self.want();
            }
            let look = self.kept.as_ref().and_then(Kept::due);
            if look.is_some_and(|look| look <= now) {
                self.begin_by_kept(Timestamp::now());
                continue;
            }
            self.note_kept(now);
            let next = look.map_or(self.statuses, |look| look.min(self.statuses));
            let wait = due.map_or(next, |due| due.min(next));
            let wait = wait.saturating_duration_since(now).min(LOOK);
            match self.heard.recv_timeout(wait) {
                Ok(heard) => self.take(heard, Instant::now(), Timestamp::now()),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn take(&mut self, heard: Heard, now: Instant, wall: Timestamp) {
        let (place, told, at, _room) = match heard {
            Heard::Of(place, told) => (place, told, wall, None),
            Heard::AsOf(place, told, at, room) => (place, told, at.min(wall), Some(room)),
            Heard::Leads => return self.want(),
            Heard::Runs => {
                self.statuses = self.statuses.min(now + LOOK_RUNS);
                return;
            }
            Heard::Secrets => {
                // Several at once are one look.
                self.statuses = self.statuses.min(now + MAX_DELAY);
                return;
            }
        };
        let was_kept = self.is_kept();
        let Some(watch) = self.watches.get_mut(place) else { return };
        let kind = watch.kind;
        let was = mem::take(&mut watch.known.lost);
        let first = watch.known.heard.is_none();
        // What is there when it is heard first was not changed then.
        let is_told = self.seen.as_ref().is_some_and(|seen| seen.receiver_count() > 0);
        self.index.gather(is_told && !first);
        let changed = match told {
            Told::Lost(_) | Told::Forbidden(_) => {
                let reason = told.why().unwrap_or_default();
                if was.as_ref() != Some(&reason) {
                    let name = &watch.known.name;
                    match first {
                        true => tracing::warn!(reason, "{name} cannot be read; nothing of it is registered"),
                        false => {
                            tracing::warn!(reason, "{name} is not heard any more; what is live stays so");
                        }
                    }
                }
                watch.known.lost = Some(reason);
                Changed::Nothing
            }
            told => {
                watch.known.heard = Some(at);
                watch.known.is_kept = false;
                match told {
                    Told::Listed(documents) => self.index.listed(kind, watch.namespace.as_deref(), documents),
                    Told::There(document) => {
                        self.statuses = self.statuses.min(now + LOOK_WRITTEN);
                        self.index.there(kind, document)
                    }
                    Told::Gone(document) => self.index.gone(kind, &document),
                    Told::Alive | Told::UpTo(_) | Told::Lost(_) | Told::Forbidden(_) => Changed::Nothing,
                }
            }
        };
        for seen in self.index.gather(false) {
            // Who does not listen any more is not told.
            if let Some(told) = &self.seen {
                let _ = told.send(Box::new(seen));
            }
        }
        let turned = was.is_some() != watch.known.lost.is_some();
        if turned && was.is_some() {
            tracing::info!("{} is heard again", watch.known.name);
        }
        // What is said of the source itself is published too. A status alone is no change; but what is wanted of one may be.
        if changed == Changed::Content || turned || first {
            self.pending.note(now);
        }
        if was_kept && !self.is_kept() {
            tracing::info!("the cluster is heard whole: what was kept on disk is not in force any more");
        }
        self.tell(wall);
    }

    /// Publishes how the source is.
    fn tell(&self, now: Timestamp) {
        let known: Vec<Watched> = self.watches.iter().map(|watch| watch.known.clone()).collect();
        self.state.send_if_modified(|state| {
            let next = state.next(&known, now);
            let is_new = next != *state;
            *state = next;
            is_new
        });
    }

    /// Whether some of what is in force was kept on disk.
    fn is_kept(&self) -> bool {
        self.watches.iter().any(|watch| watch.known.is_kept)
    }

    /// Whether it is known of all that is followed what there is, be it from what was kept.
    fn is_whole(&self) -> bool {
        self.watches.iter().all(|watch| watch.known.heard.is_some())
    }

    /// The wait is over: of what was not listed by now, what was kept on disk is in force until it is.
    fn begin_by_kept(&mut self, now: Timestamp) {
        let is_whole = self.is_whole();
        let Some(kept) = self.kept.as_mut() else { return };
        let found = kept.read(now);
        let Some(Found { restored, since }) = found.filter(|_| !is_whole) else {
            if !is_whole {
                self.compile();
            }
            return;
        };
        for rejected in &restored.rejected {
            tracing::warn!(object = %rejected.object, reason = rejected.reason, "kept on disk, and not good any more");
        }
        let mut objects = restored.objects;
        objects.retain(|object| {
            let concerns = |watch: &Watch| {
                let namespace = &object.meta().namespace;
                watch.kind == object.kind() && watch.namespace.as_ref().is_none_or(|one| one == namespace)
            };
            self.watches.iter().any(|watch| watch.known.heard.is_none() && concerns(watch))
        });
        let objects = self.feed.still_there(objects, restored.checked);
        tracing::warn!(
            objects = objects.len(), %since,
            "the cluster was not heard whole in time: what was kept on disk is in force, as old as it is, until it is"
        );
        objects.into_iter().for_each(|object| self.index.kept(object));
        for watch in self.watches.iter_mut().filter(|watch| watch.known.heard.is_none()) {
            watch.known.heard = Some(since);
            watch.known.is_kept = true;
            watch.known.lost.get_or_insert_with(|| "no answer yet".to_owned());
        }
        self.tell(now);
        self.pending = Pending::default();
        self.compile();
    }

    /// Has it kept until when what is in force was all there is; where that is not known, until when it was served by.
    fn note_kept(&mut self, now: Instant) {
        // What is not compiled yet is not kept either.
        if self.pending.due().is_some() || !self.is_whole() {
            return;
        }
        let (is_kept, state) = (self.is_kept(), self.state.borrow().clone());
        let Some(kept) = &mut self.kept else { return };
        kept.still(now, state.synced.filter(|_| !is_kept), state.reason.is_none());
    }

    /// Brings what was heard into force. What is to stand in statuses is to be looked at next.
    fn compile(&mut self) {
        let lost = self.watches.iter().find_map(|watch| Some((&watch.known, watch.known.lost.as_ref()?)));
        if !self.is_whole() {
            let unused = self.kept.as_ref().and_then(|kept| kept.unused.as_ref());
            let why = lost.map(|(known, reason)| format!("{}: {reason}", known.name));
            match (why, unused) {
                (Some(why), None) => self.feed.is_unread(&why),
                (why, Some(unused)) => {
                    let why = why.unwrap_or_else(|| "no answer yet".to_owned());
                    self.feed
                        .is_unread(&format!("{why}; and what was kept on disk is not in force: {unused}"));
                }
                (None, None) => {}
            }
            return;
        }
        let (objects, mut rejected) = self.index.says();
        let synced = self.state.borrow().synced;
        let (is_kept, is_heard) = (self.is_kept(), lost.is_none());
        let mut about = Vec::new();
        if let Some((known, reason)) = lost {
            match is_kept {
                // It holds what was refused before the start, unlike what is said of a source that was whole.
                true => rejected.push(kept::in_force(synced, &format!("{}: {reason}", known.name))),
                false => about.push(away(known, reason)),
            }
        }
        // What finds a fault of ours is not tried again until something changes.
        let is_done = self.feed.says(Says { objects: objects.clone(), rejected, about });
        // What waits for its turn comes here again, and is said to wait meanwhile: statuses are looked at now and then.
        let is_behind = self.feed.is_behind();
        self.index.note_waiting(self.feed.waiting());
        if let (Some(kept), Some(synced), false) = (&mut self.kept, synced, is_kept) {
            match is_done && !is_behind {
                true => {
                    let snapshot = self.feed.current().snapshot.clone();
                    kept.all((objects, snapshot), self.feed.refusals_kept(), synced, is_heard);
                }
                false => kept.falls_behind(),
            }
        }
        let look = if is_behind { LOOK_WRITTEN } else { Duration::ZERO };
        self.statuses = self.statuses.min(Instant::now() + look);
    }

    fn want(&mut self) {
        self.statuses = Instant::now() + LOOK_STATUSES;
        // Of what was kept it is not known how its status stands.
        let is_whole = self.is_whole() && !self.is_kept();
        // What is not compiled yet comes here again when it is: until then nothing is known of it.
        if !self.lead.holds() || !is_whole || self.pending.due().is_some() {
            return;
        }
        let current = self.feed.current();
        let joined = self.pods.as_ref().map(|pods| pods.joined(&current.snapshot));
        let reported = verdict::Reported {
            secrets: &self.secrets,
            jobs: &self.jobs,
            rollouts: &self.rollouts,
            routes: &self.routes,
            knows_acts: self.knows_acts,
        };
        let wanted = verdict::wanted(&self.index, &current, &reported, joined.as_ref(), Timestamp::now());
        self.wanted.send_if_modified(|last| {
            let is_new = !wanted.is_empty() || !last.is_empty();
            *last = Arc::new(wanted);
            is_new
        });
    }
}

fn name(kind: Kind, namespace: Option<&str>) -> String {
    match namespace {
        None => format!("{}.vidimus.dev", plural(kind)),
        Some(namespace) => format!("{}.vidimus.dev of namespace {namespace}", plural(kind)),
    }
}

/// What is said of a source that is not heard.
fn away(known: &Watched, reason: &str) -> Rejection {
    let since = known.heard.map(|heard| heard.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()).unwrap_or_default();
    Rejection {
        origin: Origin::Cluster { cluster: SOURCE.into(), uid: None, resource_version: None },
        object: Subject::Source,
        field: String::new(),
        value: String::new(),
        reason: format!(
            "what happens to {} has not been heard since {since} ({reason}); the last good configuration stays live",
            known.name
        ),
        fix:
            "see that the API server answers (or the registry), and that this process may list and watch it (docs/kubernetes.md)"
                .to_owned(),
    }
}

#[cfg(test)]
mod tests;
