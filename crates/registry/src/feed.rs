//! A source whose objects are each whole whenever they are seen, such as a cluster: what it says is in force at once, nothing of it is ever half-written,
//! and what is gone was deleted on purpose. Who reads it is elsewhere; here is what [`crate::watch()`] makes of a directory, without files.

use std::collections::HashSet;
use std::panic::{self, AssertUnwindSafe};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use std::{io, mem, thread};

use tokio::sync::watch;
use vidimus_core::resource::{Object, Rejection};
use vidimus_core::snapshot::{Before, Checked, Configuration, Overlay, Snapshot};

use crate::in_force::{InForce, Parts, stand_by};
use crate::kept::{Before as Was, Keeping, Kept};
use crate::load::{Loaded, about};
use crate::refusals::{Done, KeptUpTo, Refusals};
use crate::turns::{Ready, Turns};

/// All that a source says.
#[derive(Clone, Debug, Default)]
pub struct Says {
    /// What is there and good, the same ones in memory where they did not change.
    pub objects: Vec<Object>,
    /// What is malformed, and why.
    pub rejected: Vec<Rejection>,
    /// What is said of the source itself, such as that it does not answer. It holds nothing and leaves nothing out.
    pub about: Vec<Rejection>,
}

/// Brings into force what a source says.
#[derive(Debug)]
pub struct Feed {
    in_force: Arc<InForce>,
    /// What was kept before the start, until what is refused is kept for the next one.
    kept: Option<Kept>,
    refusals: Option<Refusals>,
    /// The words for it, as in "the cluster".
    source: &'static str,
    begun: bool,
    before: Before,
    /// What was so before the start, where that was read and not used yet.
    was: Option<Result<Option<Was>, String>>,
    /// What of the first objects need not be type-checked.
    checked: Vec<Checked>,
    unknown: String,
    fault: Option<Rejection>,
    /// The next snapshot is built on.
    last: Arc<Snapshot>,
    turns: Turns,
    round: Arc<Mutex<Instant>>,
}

/// Brings what stands by acts into force, also while the source says nothing; tells how its reader is.
#[derive(Clone, Debug)]
pub struct Acts {
    stands: Sender<Arc<Overlay>>,
    round: Arc<Mutex<Instant>>,
    /// Where what is refused is kept.
    refusals: Option<Arc<Done>>,
}

impl Acts {
    /// From now on this stands by acts: as of [`crate::Watching::stand`].
    pub fn stand(&self, standing: Arc<Overlay>) {
        // Somebody receives for as long as this is here.
        let _ = self.stands.send(standing);
    }

    /// Before an end: waits until what is refused now is kept for the next start, at most so long; whether it is.
    #[must_use]
    pub fn settle(&self, most: Duration) -> bool {
        self.refusals.as_ref().is_none_or(|refusals| refusals.now().wait(most))
    }

    /// How long the reader of the source has not come round ([`Feed::came_round`]).
    pub fn silent_for(&self) -> Duration {
        self.round.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }
}

/// Begins a source that has said nothing yet: everything is refused until it has. `source` are the words for it in messages, as in "the cluster"; `kept`
/// and `standing` are as of [`crate::watch()`].
///
/// # Errors
/// When a thread cannot be started.
pub fn feed(
    source: &'static str,
    kept: Option<Keeping>,
    standing: Arc<Overlay>,
) -> io::Result<(watch::Receiver<Arc<Loaded>>, Feed, Acts)> {
    let in_force = Arc::new(InForce::new(standing));
    let not_ready = Some(format!("{source} has not been read since the start"));
    in_force.looked(Loaded { not_ready, ..Loaded::empty() }, None);
    let current = in_force.subscribe();
    let (stands, told) = mpsc::channel();
    let acts = in_force.clone();
    thread::Builder::new().name("vidimus-acts".to_owned()).spawn(move || stand_by(&acts, &told))?;
    let round = Arc::new(Mutex::new(Instant::now()));
    let refusals = kept.is_some().then(|| Refusals::begin(in_force.clone())).transpose()?;
    let acts = Acts { stands, round: round.clone(), refusals: refusals.as_ref().map(|it| it.done().clone()) };
    let feed = Feed {
        in_force,
        kept: kept.map(Kept::at),
        refusals,
        source,
        begun: false,
        before: Before::Known,
        was: None,
        checked: Vec::new(),
        unknown: String::new(),
        fault: None,
        last: Arc::new(Snapshot::default()),
        turns: Turns::default(),
        round,
    };
    Ok((current, feed, acts))
}

impl Feed {
    /// The source says this, whole: it is in force, and published where it differs, when this returns, but for policies that wait for their turn to be
    /// compiled ([`Feed::is_behind`]): then it is to be said again, with what is new. False where that found a fault of ours; the last configuration
    /// stays live then.
    pub fn says(&mut self, says: Says) -> bool {
        let standing = self.in_force.standing();
        let done = panic::catch_unwind(AssertUnwindSafe(|| {
            let mut parts = self.parts(says);
            let loaded = parts.with(&standing);
            parts.configuration.prepared = self.turns.settle(&loaded.snapshot);
            if !loaded.snapshot.is_closed() {
                (self.before, self.fault) = (Before::Known, None);
            }
            self.begun = true;
            self.last = loaded.snapshot.clone();
            // It is made anew where something else stands by now.
            self.in_force.looked(loaded, Some(Arc::new(parts)));
        }));
        if done.is_err() {
            tracing::error!(
                "compiling what {} says panicked; the last configuration stays live",
                self.source
            );
            self.turns.give_up();
        }
        // After it is in force, since that is the safe order.
        self.keep();
        done.is_ok()
    }

    /// Whether policies wait for their turn to be compiled: until then they are in force as they were before.
    pub const fn is_behind(&self) -> bool {
        self.turns.is_behind()
    }

    /// The uids of what waits.
    pub const fn waiting(&self) -> &HashSet<Arc<str>> {
        self.turns.waiting()
    }

    /// It cannot be read yet, and why: that is said, until it says something for the first time.
    pub fn is_unread(&self, why: &str) {
        if !self.begun {
            let not_ready = Some(format!("{} has not been read since the start: {why}", self.source));
            self.in_force.looked(Loaded { not_ready, ..Loaded::empty() }, None);
        }
    }

    /// Before the source says anything: of `objects`, which were kept of it, those that were still there when the gateway ended, as what is refused tells. The
    /// first snapshot does not check again what was `checked` of them.
    pub fn still_there(&mut self, objects: Vec<Object>, checked: Vec<Checked>) -> Vec<Object> {
        let was = self.kept.as_mut().map_or(Ok(None), Kept::read);
        let objects = match &was {
            Ok(Some(was)) => was.memory.still_there(objects),
            // Nothing passes then, since what is kept is said with a word that something may be missing.
            Ok(None) | Err(_) => objects,
        };
        self.was = Some(was);
        self.checked = checked;
        objects
    }

    /// What is in force now.
    pub fn current(&self) -> Arc<Loaded> {
        self.in_force.current()
    }

    /// That what is refused now is kept for the next start. What is kept of the objects themselves is never newer than that: what came since would be
    /// taken for what was deleted.
    pub fn refusals_kept(&self) -> KeptUpTo {
        self.refusals.as_ref().map(|refusals| refusals.done().now()).unwrap_or_default()
    }

    /// To be said every few seconds, whether the source says something or not.
    pub fn came_round(&self) {
        *self.round.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn parts(&mut self, says: Says) -> Parts {
        let Says { objects, mut rejected, about } = says;
        let checked = mem::take(&mut self.checked);
        // While everything is refused nothing is let through before all of it is compiled: what forbids may be what waits.
        let at_once = !self.begun || self.last.is_closed();
        let Ready { objects, held, prepared } = self.turns.take(&self.last, objects, &checked, at_once);
        rejected.extend(held);
        if !self.begun && self.kept.is_some() {
            let (objects, rejected, prepared) = (objects.clone(), rejected.clone(), prepared.clone());
            let first = Configuration { objects, rejected, prepared, ..Configuration::default() };
            let (seen, _) = self.last.next(first);
            self.remember(seen);
        }
        Parts {
            on: self.last.clone(),
            configuration: Configuration {
                objects,
                prepared,
                rejected,
                before: self.before,
                ..Configuration::default()
            },
            said: about,
            fault: self.fault.clone(),
            source: self.source,
            begun: true,
            unknown: self.unknown.clone(),
            unreadable: None,
        }
    }

    /// Reads what was refused before the start, and builds on it; `seen` is what there is now. What is not there any more was deleted meanwhile, and what
    /// is malformed now holds what it refused.
    fn remember(&mut self, seen: Snapshot) {
        let was = self.was.take();
        let remembered: Result<_, String> = self.kept.as_mut().map_or(Ok(Some(None)), |kept| {
            let Some(Was { memory, .. }) = was.unwrap_or_else(|| kept.read())? else { return Ok(None) };
            kept.remembering(&seen, &memory).map(Some)
        });
        self.last = match remembered {
            Ok(Some(Some(remembering))) => Arc::new(remembering),
            Ok(Some(None)) => Arc::new(seen),
            Ok(None) => {
                self.before = Before::Nothing;
                self.unknown = "this data directory has not been served from before".to_owned();
                Arc::new(seen)
            }
            Err(reason) => {
                tracing::error!("what was refused before the start is not known: {reason}");
                self.before = Before::Lost;
                self.fault = self.kept.as_ref().map(|kept| Rejection {
                    reason: reason.clone(),
                    fix: "restore the data directory, or see to it that nothing is malformed: it is written anew then".to_owned(),
                    ..about(kept.path())
                });
                self.unknown = reason;
                Arc::new(seen)
            }
        };
    }

    /// Has what is refused kept, for the next start.
    fn keep(&mut self) {
        let is_known = self.begun && self.before == Before::Known;
        if let Some(refusals) = self.refusals.as_ref().filter(|_| is_known) {
            refusals.keep(self.kept.take(), self.in_force.current().snapshot.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::{Value, json};
    use vidimus_core::resource::{Origin, check};

    use super::*;
    use crate::kept::KEY_LENGTH;

    /// A policy by its uid, generation and text.
    fn policy(name: &str, uid: &str, generation: i64, cedar: &str) -> Value {
        json!({
            "apiVersion": "vidimus.dev/v1alpha1", "kind": "Policy",
            "metadata": {"namespace": "a", "name": name, "uid": uid, "generation": generation},
            "spec": {"description": "a test", "cedar": cedar},
        })
    }

    fn says(documents: &[Value]) -> Says {
        let mut says = Says::default();
        for document in documents {
            let uid = document.pointer("/metadata/uid").and_then(Value::as_str).unwrap();
            let origin = Origin::Cluster {
                cluster: "c".into(),
                uid: Some(uid.into()),
                resource_version: Some("1".into()),
            };
            match check(&origin, document) {
                Ok(object) => says.objects.push(object),
                Err(rejected) => says.rejected.extend(rejected),
            }
        }
        says
    }

    fn begun(root: &Path) -> (watch::Receiver<Arc<Loaded>>, Feed) {
        let kept = Keeping::new(&root.join("refused"), &root.join("count"), &[7; KEY_LENGTH]).unwrap();
        let (loaded, feed, _) = feed("the cluster", Some(kept), Arc::default()).unwrap();
        (loaded, feed)
    }

    /// What of the one policy is in force: all of it, what it refuses, or nothing.
    fn in_force(loaded: &watch::Receiver<Arc<Loaded>>) -> (usize, usize) {
        let snapshot = loaded.borrow().snapshot.clone();
        (snapshot.objects().len(), snapshot.only_refusing().count())
    }

    const FORBID: &str = "forbid (principal, action, resource);";

    #[test]
    fn nothing_passes_before_the_source_was_read() {
        let root = tempfile::tempdir().unwrap();
        let (loaded, mut feed) = begun(root.path());
        assert!(loaded.borrow().not_ready.as_deref().unwrap().contains("the cluster has not been read"));
        assert!(feed.says(says(&[])));
        assert_eq!(loaded.borrow().not_ready, None);
    }

    /// What was kept of the source is a little older than what is known to be refused: a forbid that came since is held, a permit that was deleted since does
    /// not come back, and neither outlives what the source says itself.
    #[test]
    fn what_was_kept_forgets_no_forbid_and_brings_nothing_back() {
        let root = tempfile::tempdir().unwrap();
        let permit = "permit (principal, action, resource);";
        let [old, gone] = [policy("old", "1", 1, permit), policy("gone", "2", 1, permit)];
        let earlier = says(&[old.clone(), gone]).objects;
        let (_, mut feed) = begun(root.path());
        assert!(feed.says(says(&[old.clone(), policy("new", "3", 1, FORBID)])));
        drop(feed);
        let (loaded, mut feed) = begun(root.path());
        let objects = feed.still_there(earlier.clone(), vec![]);
        assert_eq!(objects.len(), 1);
        let unheard = Rejection {
            origin: Origin::Cluster { cluster: "c".into(), uid: None, resource_version: None },
            ..about(Path::new(""))
        };
        assert!(feed.says(Says { objects, rejected: vec![unheard.clone()], ..Says::default() }));
        assert_eq!((loaded.borrow().not_ready.clone(), in_force(&loaded)), (None, (1, 1)));
        assert!(feed.says(says(&[old])));
        assert_eq!(in_force(&loaded), (1, 0));
        // Where it is not known what was refused, nothing passes by what was kept.
        drop(feed);
        std::fs::remove_file(root.path().join("refused")).unwrap();
        let (loaded, mut feed) = begun(root.path());
        let objects = feed.still_there(earlier, vec![]);
        assert!(feed.says(Says { objects, rejected: vec![unheard], ..Says::default() }));
        assert!(loaded.borrow().snapshot.is_closed() && loaded.borrow().not_ready.is_some());
    }

    /// A stop waits for what is refused then, and not for what was when it began: calls end meanwhile, and are decided by what comes.
    #[test]
    fn who_waits_before_an_end_waits_for_all_that_is_in_force_then() {
        let root = tempfile::tempdir().unwrap();
        let keeping =
            || Keeping::new(&root.path().join("refused"), &root.path().join("count"), &[7; KEY_LENGTH]);
        let (_loaded, mut feed, acts) =
            feed("the cluster", Some(keeping().unwrap()), Arc::default()).unwrap();
        let most = Duration::from_secs(20);
        assert!(acts.settle(Duration::ZERO), "nothing is refused yet");
        for count in 1..6 {
            let all: Vec<Value> =
                (0..count).map(|one| policy(&format!("p{one}"), &one.to_string(), 1, FORBID)).collect();
            assert!(feed.says(says(&all)));
            assert!(acts.settle(most), "{count}");
            let kept = Kept::at(keeping().unwrap()).read().unwrap().unwrap();
            assert_eq!(kept.memory, feed.current().snapshot.memory(), "{count}");
        }
    }

    /// What refused goes on refusing while its object is malformed, and not when that was deleted: with and without a restart.
    #[test]
    fn a_malformed_update_holds_and_a_deletion_does_not() {
        let good = policy("p", "1", 1, FORBID);
        let bad = policy("p", "1", 2, "forbid (principal");
        let other_bad = policy("q", "2", 1, "forbid (");
        let renewed_bad = policy("p", "3", 1, "forbid (");
        for (then, expected) in [
            (vec![good.clone()], (1, 0)),
            (vec![bad.clone()], (0, 1)),
            (vec![], (0, 0)),
            // Deleted: what is malformed elsewhere hides nothing.
            (vec![other_bad.clone()], (0, 0)),
            (vec![bad.clone(), other_bad], (0, 1)),
            // Deleted and made anew.
            (vec![renewed_bad], (0, 0)),
        ] {
            for restarts in [false, true] {
                let root = tempfile::tempdir().unwrap();
                let (mut loaded, mut source) = begun(root.path());
                assert!(source.says(says(std::slice::from_ref(&good))));
                assert_eq!(in_force(&loaded), (1, 0));
                if restarts {
                    drop(source);
                    (loaded, source) = begun(root.path());
                }
                assert!(source.says(says(&then)));
                assert_eq!(in_force(&loaded), expected, "{then:?}, restarted: {restarts}");
                assert!(!loaded.borrow().snapshot.is_closed());
            }
        }
        // Mended, it is in force again; deleted while it is malformed, it is gone.
        let root = tempfile::tempdir().unwrap();
        let (loaded, mut feed) = begun(root.path());
        for (documents, expected) in [
            (vec![good.clone()], (1, 0)),
            (vec![bad.clone()], (0, 1)),
            (vec![good], (1, 0)),
            (vec![bad], (0, 1)),
            (vec![], (0, 0)),
        ] {
            assert!(feed.says(says(&documents)));
            assert_eq!(in_force(&loaded), expected);
        }
    }

    /// Attack: one tenant's policies are too costly, so that no gateway that starts anew serves anybody.
    #[test]
    fn a_first_start_with_policies_that_are_too_costly_serves_the_rest() {
        let condition =
            (0..110).map(|n| format!("principal.hasTag(\"t{n}\")")).collect::<Vec<_>>().join(" || ");
        let one = format!(
            "forbid (principal is Agent, action == Action::\"invokeTool\", resource) when {{ {condition} }};"
        );
        let heavy = one.repeat(14);
        let mut all: Vec<Value> =
            (0..9).map(|n| policy(&format!("heavy-{n}"), &format!("h{n}"), 1, &heavy)).collect();
        all.push(policy("good", "good", 1, "permit (principal, action, resource);"));
        let root = tempfile::tempdir().unwrap();
        let (loaded, mut feed) = begun(root.path());
        assert!(feed.says(says(&all)));
        let was = in_force(&loaded);
        assert!(was.1 > 0 && was.0 + was.1 == all.len(), "{was:?}");
        assert!(!loaded.borrow().snapshot.is_closed());
        assert_eq!(loaded.borrow().not_ready, None);
        // The next start knows of it.
        drop(feed);
        let (loaded, mut feed) = begun(root.path());
        assert!(feed.says(says(&all)));
        assert_eq!((in_force(&loaded), loaded.borrow().not_ready.clone()), (was, None));
    }

    #[test]
    fn a_first_start_with_a_malformed_policy_lets_nothing_pass() {
        let root = tempfile::tempdir().unwrap();
        let (loaded, mut feed) = begun(root.path());
        assert!(feed.says(says(&[policy("p", "1", 1, "forbid (")])));
        assert!(loaded.borrow().snapshot.is_closed());
        assert!(
            loaded.borrow().not_ready.as_deref().unwrap().contains("something in the cluster is malformed")
        );
        assert!(feed.says(says(&[policy("p", "1", 2, FORBID)])));
        assert!(!loaded.borrow().snapshot.is_closed());
        assert_eq!(loaded.borrow().not_ready, None);
    }
}
