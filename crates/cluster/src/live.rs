//! What was heard of the cluster, gathered until a burst of changes is over, and then brought into force as one.

use std::mem;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::watch;
use vidimus_core::resource::{Kind, Origin, Rejection, Subject};
use vidimus_registry::{Feed, Says};

use crate::SOURCE;
use crate::follow::plural;
use crate::index::{Changed, Index};
use crate::lease::Lead;
use crate::pods::Pods;
use crate::secrets::Secrets;
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
    /// This replica writes statuses from now on.
    Leads,
    /// A Secret that an object names is otherwise than it was.
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
    index: Index,
    watches: Vec<Watch>,
    heard: Receiver<Heard>,
    state: watch::Sender<SourceState>,
    wanted: watch::Sender<Arc<Vec<Write>>>,
    lead: Lead,
    secrets: Secrets,
    /// Where pods are watched.
    pods: Option<Pods>,
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
        feed: Feed,
        followed: &[(Kind, Option<Arc<str>>)],
        heard: Receiver<Heard>,
        state: watch::Sender<SourceState>,
        (wanted, lead, secrets): (watch::Sender<Arc<Vec<Write>>>, Lead, Secrets),
    ) -> Self {
        let watch = |(kind, namespace): &(Kind, Option<Arc<str>>)| Watch {
            kind: *kind,
            namespace: namespace.clone(),
            known: Watched { name: name(*kind, namespace.as_deref()), heard: None, lost: None },
        };
        let watches = followed.iter().map(watch).collect();
        Self {
            feed,
            index: Index::new(SOURCE),
            watches,
            heard,
            state,
            wanted,
            lead,
            secrets,
            pods: None,
            pending: Pending::default(),
            statuses: Instant::now() + LOOK_STATUSES,
        }
    }

    /// Says in statuses what runs as the objects too.
    pub(crate) fn with_pods(self, pods: Option<Pods>) -> Self {
        Self { pods, ..self }
    }

    /// Goes on until nobody tells anything any more.
    pub(crate) fn run(mut self) {
        // After a compilation comes a pause of the same length, so that a storm of changes leaves half of a core to the calls.
        let mut not_before = Instant::now();
        loop {
            self.feed.came_round();
            let now = Instant::now();
            let due = self.pending.due().map(|due| due.max(not_before));
            if due.is_some_and(|due| due <= now) {
                self.pending = Pending::default();
                self.compile();
                let ended = Instant::now();
                not_before = ended + (ended - now);
                continue;
            }
            if self.statuses <= now {
                self.want();
            }
            let wait = due.map_or(self.statuses, |due| due.min(self.statuses));
            let wait = wait.saturating_duration_since(now).min(LOOK);
            match self.heard.recv_timeout(wait) {
                Ok(heard) => self.take(heard, Instant::now(), Timestamp::now()),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn take(&mut self, heard: Heard, now: Instant, wall: Timestamp) {
        let (place, told) = match heard {
            Heard::Of(place, told) => (place, told),
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
        let Some(watch) = self.watches.get_mut(place) else { return };
        let kind = watch.kind;
        let was = mem::take(&mut watch.known.lost);
        let first = watch.known.heard.is_none();
        let changed = match told {
            Told::Lost(reason) | Told::Forbidden(reason) => {
                if was.as_ref() != Some(&reason) {
                    tracing::warn!(
                        reason,
                        "{} is not heard any more; what is live stays so",
                        watch.known.name
                    );
                }
                watch.known.lost = Some(reason);
                Changed::Nothing
            }
            told => {
                watch.known.heard = Some(wall);
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
        let turned = was.is_some() != watch.known.lost.is_some();
        if turned && was.is_some() {
            tracing::info!("{} is heard again", watch.known.name);
        }
        // What is said of the source itself is published too. A status alone is no change; but what is wanted of one may be.
        if changed == Changed::Content || turned || first {
            self.pending.note(now);
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

    /// Brings what was heard into force, and says what is to stand in statuses.
    fn compile(&mut self) {
        let lost = self.watches.iter().find_map(|watch| Some((&watch.known, watch.known.lost.as_ref()?)));
        if self.watches.iter().any(|watch| watch.known.heard.is_none()) {
            if let Some((known, reason)) = lost {
                self.feed.is_unread(&format!("{}: {reason}", known.name));
            }
            return;
        }
        let about = lost.map(|(known, reason)| away(known, reason)).into_iter().collect();
        let (objects, rejected) = self.index.says();
        // What finds a fault of ours is not tried again until something changes.
        self.feed.says(Says { objects, rejected, about });
        self.want();
    }

    fn want(&mut self) {
        self.statuses = Instant::now() + LOOK_STATUSES;
        let is_whole = self.watches.iter().all(|watch| watch.known.heard.is_some());
        // What is not compiled yet comes here again when it is: until then nothing is known of it.
        if !self.lead.holds() || !is_whole || self.pending.due().is_some() {
            return;
        }
        let current = self.feed.current();
        let joined = self.pods.as_ref().map(|pods| pods.joined(&current.snapshot));
        let wanted = verdict::wanted(&self.index, &current, &self.secrets, joined.as_ref(), Timestamp::now());
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
            "see that the API server answers, and that the gateway may list and watch it (docs/kubernetes.md)"
                .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use serde_json::json;
    use vidimus_registry::{Loaded, feed};

    use super::*;

    fn agent(name: &str, generation: i64) -> Value {
        json!({
            "metadata": {"namespace": "a", "name": name, "uid": name, "generation": generation},
            "spec": {"owner": "ada@example.com", "team": "t", "purpose": "a test", "riskLevel": "low", "identities": [{"spiffe": format!("spiffe://example.com/{name}")}]},
        })
    }

    fn live() -> (Live, watch::Receiver<Arc<Loaded>>, watch::Receiver<SourceState>) {
        let (loaded, feed, _) = feed("the cluster", None, Arc::default()).unwrap();
        let (_, heard) = mpsc::channel();
        let (publish, state) = watch::channel(SourceState::unread());
        let (wanted, _) = watch::channel(Arc::default());
        let followed: Vec<(Kind, Option<Arc<str>>)> =
            Kind::ALL.into_iter().map(|kind| (kind, None)).collect();
        (
            Live::new(feed, &followed, heard, publish, (wanted, Lead::default(), Secrets::default())),
            loaded,
            state,
        )
    }

    fn take(live: &mut Live, place: usize, told: Told) {
        live.take(Heard::Of(place, told), Instant::now(), Timestamp::now());
        if live.pending.due().is_some() {
            live.pending = Pending::default();
            live.compile();
        }
    }

    /// Nothing passes before all five kinds are known, and what is wrong until then is said.
    #[test]
    fn it_is_ready_when_all_kinds_were_listed_and_what_is_lost_changes_nothing() {
        let (mut live, loaded, state) = live();
        take(&mut live, 0, Told::Listed(vec![agent("x", 1)]));
        take(&mut live, 1, Told::Lost("forbidden (403)".to_owned()));
        let why = loaded.borrow().not_ready.clone().unwrap();
        assert!(why.contains("mcpservers.vidimus.dev: forbidden (403)"), "{why}");
        assert_eq!(loaded.borrow().snapshot.objects().len(), 0);
        for place in 1..5 {
            take(&mut live, place, Told::Listed(vec![]));
        }
        assert_eq!((loaded.borrow().not_ready.clone(), loaded.borrow().snapshot.objects().len()), (None, 1));
        assert_eq!(state.borrow().reason, None);
        let digest = loaded.borrow().snapshot.digest().to_owned();
        let synced = state.borrow().synced;
        take(&mut live, 0, Told::Lost("connection refused".to_owned()));
        assert_eq!(loaded.borrow().snapshot.digest(), digest);
        assert!(loaded.borrow().rejections[0].reason.contains("connection refused"));
        assert_eq!(loaded.borrow().not_ready, None, "what is live stays so");
        assert!(
            state
                .borrow()
                .reason
                .as_deref()
                .is_some_and(|why| why.contains("agents.vidimus.dev: connection refused"))
        );
        assert_eq!(state.borrow().synced, synced);
        take(&mut live, 0, Told::There(agent("y", 1)));
        assert_eq!((loaded.borrow().rejections.len(), loaded.borrow().snapshot.objects().len()), (0, 2));
        // Listed anew after a gap: what is gone was deleted in it.
        take(&mut live, 0, Told::Listed(vec![agent("y", 1)]));
        assert_eq!(loaded.borrow().snapshot.objects().len(), 1);
    }

    #[test]
    fn a_burst_is_one_compilation_and_a_storm_is_not_waited_for() {
        let begun = Instant::now();
        let mut pending = Pending::default();
        assert_eq!(pending.due(), None);
        for (millis, due) in [(0, 5), (4, 9), (8, 13), (24, 25), (100, 25)] {
            pending.note(begun + Duration::from_millis(millis));
            assert_eq!(pending.due(), Some(begun + Duration::from_millis(due)));
        }
    }
}
