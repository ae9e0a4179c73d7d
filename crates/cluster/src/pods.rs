//! Which pods there are: watched beside the objects, to say what runs as each of them, and of which pods tokens may be.
//!
//! Of a pod is kept what is said of it and nothing else, of a namespace whether it is governed. That a watch is lost changes nothing: no pod is known to be gone
//! that was not before, and none that is new is taken for gone.

mod join;
mod known;
mod read;

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use jiff::Timestamp;
use kube_client::Client;
use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, watch};
use vidimus_core::admission::workloads::Workloads;
use vidimus_core::resource::Kind;
use vidimus_core::resource::crd::LastCall;
use vidimus_core::snapshot::Snapshot;

pub(crate) use self::join::{Joined, Runs};
pub use self::join::{NotRunning, PodsReport, Unclaimed};
use self::known::Known;
pub(crate) use self::known::Watched;
pub(crate) use self::read::Item;
#[cfg(test)]
pub(crate) use self::read::pod as read_pod;
use crate::Task;
use crate::follow::Follow;
use crate::live::{Heard, Told};
use crate::relay::Relay;

/// What is said of pods, to whoever refuses the tokens of those that are gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PodsSaid {
    /// These are all pods of these namespaces (of all, where it is `None`), each by its namespace and UID, as of this time.
    All {
        /// Whose pods are known.
        namespaces: Option<Vec<Arc<str>>>,
        /// Each by its namespace and UID.
        pods: Vec<(Arc<str>, Arc<str>)>,
        /// A pod that there was by then is among them, or gone.
        as_of: Timestamp,
    },
    /// There is one more.
    There(Arc<str>, Arc<str>),
    /// One is gone.
    Gone(Arc<str>, Arc<str>),
    /// What was said is all that there was by this time.
    AsOf(Timestamp),
}

/// When each object called last: by kind, namespace and name.
pub type LastCalls = HashMap<ObjectKey, LastCall>;

/// An object: its kind, namespace and name.
pub(crate) type ObjectKey = (Kind, Arc<str>, Arc<str>);

/// The pods of a cluster, as far as they are followed. Clones share it.
#[derive(Clone)]
pub struct Pods(Arc<Shared>);

/// What the watch at a place tells, and the room that it gives back when it was taken.
pub(crate) type OfPods = (usize, Told<Item>, Option<OwnedSemaphorePermit>);

/// Where it is heard what there is.
enum Source {
    /// The API server; what it tells is said on by a registry, as watches from this place on.
    Cluster(Client, Option<(Relay, usize)>),
    /// A registry, which is told who called. Taken by who listens.
    Registry(Mutex<Option<Receiver<OfPods>>>, watch::Sender<Arc<LastCalls>>),
}

struct Shared {
    from: Source,
    known: Mutex<Known>,
    calls: Mutex<Arc<LastCalls>>,
    /// What the records of a snapshot claim, made once for it.
    workloads: Mutex<Option<(Arc<Snapshot>, Arc<Workloads>)>>,
    /// Who writes statuses is told that there is something new.
    tell: Sender<Heard>,
}

impl fmt::Debug for Pods {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pods").finish_non_exhaustive()
    }
}

impl Pods {
    /// Of these namespaces, or of all where there are none; which are then governed by their label is watched too. What is told is said on by `relay`, where
    /// there is one, from that place on.
    pub(crate) fn new(
        client: Client,
        namespaces: &[Arc<str>],
        tell: Sender<Heard>,
        relay: Option<(Relay, usize)>,
    ) -> Self {
        Self::heard_from(Source::Cluster(client, relay), namespaces, tell)
    }

    /// The same, of what comes from a registry; who called is told to `called`.
    pub(crate) fn of_registry(
        namespaces: &[Arc<str>],
        tell: Sender<Heard>,
        (told, called): (Receiver<OfPods>, watch::Sender<Arc<LastCalls>>),
    ) -> Self {
        Self::heard_from(Source::Registry(Mutex::new(Some(told)), called), namespaces, tell)
    }

    fn heard_from(from: Source, namespaces: &[Arc<str>], tell: Sender<Heard>) -> Self {
        Self(Arc::new(Shared {
            from,
            known: Mutex::new(Known::of(namespaces)),
            calls: Mutex::default(),
            workloads: Mutex::default(),
            tell,
        }))
    }

    /// What is watched of these namespaces, each at its place.
    pub(crate) fn watched(namespaces: &[Arc<str>]) -> Vec<Watched> {
        Known::of(namespaces).watched()
    }

    /// Follows them, and tells `listener` what it has to know. What is returned has to run for it, each with its name. To be called once.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub fn follow(
        &self,
        mut listener: impl FnMut(PodsSaid) + Send + 'static,
    ) -> io::Result<Vec<(String, Task)>> {
        let mut tasks: Vec<(String, Task)> = Vec::new();
        let heard = match &self.0.from {
            Source::Cluster(client, relay) => {
                let (tell, heard) = mpsc::channel();
                for (place, watched) in lock(&self.0.known).watched().into_iter().enumerate() {
                    let (collection, read) = of(&watched);
                    let name = format!("watch {watched}");
                    let (tell, relay) = (tell.clone(), relay.clone());
                    let tell = move |told: Told<Item>| {
                        if let Some((relay, first)) = &relay {
                            relay.hear(first + place, &told);
                        }
                        tell.send((place, told, None)).is_ok()
                    };
                    let follow = Follow::reading(read, client.clone(), (name.clone(), collection), tell);
                    tasks.push((name, Box::pin(follow.run())));
                }
                heard
            }
            Source::Registry(heard, _) => match lock(heard).take() {
                Some(heard) => heard,
                None => return Ok(tasks),
            },
        };
        let pods = self.clone();
        thread::Builder::new()
            .name("vidimus-pods".to_owned())
            .spawn(move || pods.listen(&heard, &mut listener))?;
        Ok(tasks)
    }

    fn listen(&self, heard: &Receiver<OfPods>, listener: &mut dyn FnMut(PodsSaid)) {
        // Until nobody tells anything any more.
        while let Ok((place, told, _room)) = heard.recv() {
            let mut known = lock(&self.0.known);
            let (said, changed) = known.take(place, told);
            drop(known);
            said.into_iter().for_each(&mut *listener);
            if changed {
                self.runs();
            }
        }
    }

    /// Who called last. What is not among them is forgotten here, and not in statuses.
    pub fn called(&self, calls: LastCalls) {
        let mut known = lock(&self.0.calls);
        if **known == calls {
            return;
        }
        *known = Arc::new(calls);
        if let Source::Registry(_, called) = &self.0.from {
            called.send_replace((*known).clone());
        }
        drop(known);
        self.runs();
    }

    /// What runs as whom, by the records of `snapshot`.
    pub fn report(&self, snapshot: &Arc<Snapshot>) -> PodsReport {
        self.joined(snapshot).report()
    }

    pub(crate) fn joined(&self, snapshot: &Arc<Snapshot>) -> Joined {
        let workloads = self.workloads(snapshot);
        let calls = lock(&self.0.calls).clone();
        let known = lock(&self.0.known);
        Joined::of(&known, snapshot, &workloads, calls)
    }

    fn workloads(&self, snapshot: &Arc<Snapshot>) -> Arc<Workloads> {
        let mut known = lock(&self.0.workloads);
        match &*known {
            Some((of, workloads)) if Arc::ptr_eq(of, snapshot) => workloads.clone(),
            _ => {
                let workloads = Arc::new(Workloads::of(snapshot));
                *known = Some((snapshot.clone(), workloads.clone()));
                workloads
            }
        }
    }

    fn runs(&self) {
        // Nobody hears it once the source has ended.
        drop(self.0.tell.send(Heard::Runs));
    }
}

/// Where something is watched, and what is kept of it.
fn of(watched: &Watched) -> (String, fn(Value) -> Option<Item>) {
    match watched {
        Watched::Pods(None) => ("/api/v1/pods".to_owned(), |pod| read::pod(&pod)),
        Watched::Pods(Some(namespace)) => {
            (format!("/api/v1/namespaces/{namespace}/pods"), |pod| read::pod(&pod))
        }
        Watched::Namespaces => ("/api/v1/namespaces".to_owned(), |namespace| read::namespace(&namespace)),
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}
