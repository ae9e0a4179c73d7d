//! A gateway's side of a registry (ADR 70): what it says is heard as if the watches were here. It is checked, indexed and compiled by the same code, and what it
//! says wrongly ends the stream with nothing of it in force.
//!
//! What is in force stays so while the registry is not heard, and is as old as it was. Of what it says nothing is held without a bound.

mod said;

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use serde_json::value::RawValue;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{interval, sleep};
use vidimus_core::resource::Kind;
use vidimus_core::resource::llm_provider::SecretKey;
use vidimus_registry::Loaded;

use crate::follow::Backoff;
use crate::keeper::{divided, named};
use crate::line::{Asks, BEAT, Called, Lines, MAX_CALLS, MAX_LINE, Named, Says, VERSION, Writes, text};
use crate::live::{Heard, Told};
use crate::pods::{Item, LastCalls, OfPods, Watched};
use crate::secrets::{Secrets, shown};
use said::{Listing, MAX_OBJECTS, Said, object_of, pod_of};

/// What was heard and is not taken by who compiles it, in KiB of JSON; then no more is read.
const ROOM: u32 = 8 << 10;
/// A registry that knows the cluster as it was so long before what is known here is behind, and not believed: another one that is lost says what was taken back.
const FURTHER_BACK: Duration = Duration::from_secs(45);
/// Who was heard for so long is asked again at once.
const LASTED: Duration = Duration::from_secs(30);

/// Both directions of a connection.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Duplex for S {}

/// A connection to a registry, on which nobody else can be.
pub struct Link {
    /// What is said.
    pub stream: Box<dyn Duplex>,
    /// Whether what the registry proved by is good still.
    pub is_trusted: Box<dyn Fn() -> bool + Send + Sync>,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Link")
    }
}

/// Connects to a registry, or says why not.
pub type Dial = Box<dyn Fn() -> Pin<Box<dyn Future<Output = Result<Link, String>> + Send>> + Send + Sync>;

/// A registry that is heard in place of the cluster.
pub struct Remote {
    /// Whom it is: what was kept of another is not for this one.
    pub identity: String,
    /// The namespaces that it follows, as it was told of them too; all, where it is empty.
    pub namespaces: Vec<Arc<str>>,
    /// Whether pods are watched, there as here.
    pub pods: bool,
    /// How it is reached.
    pub dial: Dial,
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote").field("identity", &self.identity).finish_non_exhaustive()
    }
}

/// What a watch is of.
#[derive(Clone, Debug)]
enum Of {
    Objects(Option<Arc<str>>),
    Pods(Watched),
}

/// Who hears the registry.
pub(crate) struct Hearing {
    remote: Remote,
    /// Those of objects, then those of pods.
    watches: Vec<Of>,
    /// How many of them are of objects.
    objects: usize,
    /// When the API server was heard of last on each.
    heard: Vec<Option<Instant>>,
    tell: Sender<Heard>,
    pods: Option<Sender<OfPods>>,
    secrets: Secrets,
    asks: Asked,
    room: Arc<Semaphore>,
}

/// What is asked and said of itself.
pub(crate) struct Asked {
    /// The keys that are needed.
    pub(crate) keys: watch::Receiver<Vec<SecretKey>>,
    /// Who called.
    pub(crate) calls: watch::Sender<Arc<LastCalls>>,
}

impl Hearing {
    pub(crate) fn new(
        remote: Remote,
        followed: &[(Kind, Option<Arc<str>>)],
        pods: Option<(Vec<Watched>, Sender<OfPods>)>,
        tell: Sender<Heard>,
        (secrets, asks): (Secrets, Asked),
    ) -> Self {
        let (watched, pods) = pods.map_or((Vec::new(), None), |(watched, tell)| (watched, Some(tell)));
        let mut watches: Vec<Of> = followed.iter().map(|(_, scope)| Of::Objects(scope.clone())).collect();
        let objects = watches.len();
        watches.extend(watched.into_iter().map(Of::Pods));
        let heard = vec![None; watches.len()];
        let room = Arc::new(Semaphore::new(usize::try_from(ROOM).unwrap_or_default()));
        Self { remote, watches, objects, heard, tell, pods, secrets, asks, room }
    }

    /// Goes on for as long as somebody wants to know.
    pub(crate) async fn run(mut self) {
        let mut backoff = Backoff::default();
        loop {
            let begun = Instant::now();
            let connected = (self.remote.dial)().await;
            let why = match connected {
                Ok(link) => self.over(link).await,
                Err(why) => why,
            };
            if begun.elapsed() > LASTED {
                backoff.reset();
            }
            if self.lost(&format!("the registry: {}", shown(&why))).await.is_err() {
                return;
            }
            sleep(backoff.next()).await;
        }
    }

    /// One connection, until it ends; gives why.
    async fn over(&mut self, Link { stream, is_trusted }: Link) -> String {
        let (from, to) = tokio::io::split(stream);
        let asked = (self.asks.keys.clone(), self.asks.calls.subscribe());
        tokio::select! {
            ended = self.hear(Lines::new(from, MAX_LINE)) => ended.err().unwrap_or_default(),
            ended = ask(Writes::new(to), asked, is_trusted) => ended.err().unwrap_or_default(),
        }
    }

    async fn hear<R: AsyncRead + Unpin>(&mut self, mut from: Lines<R>) -> Result<(), String> {
        let mut said = Said::new(self.watches.len());
        loop {
            let (says, length) = from.next::<Says>().await?;
            self.take(&mut said, says, length).await?;
        }
    }

    /// Takes one line, or says what is wrong with it.
    async fn take(&mut self, said: &mut Said, says: Says, length: usize) -> Result<(), String> {
        match says {
            Says::Begins { version, namespaces, pods } if !said.begun => {
                self.check(version, &namespaces, pods)?;
                said.begun = true;
                tracing::info!(registry = self.remote.identity, "the registry is heard");
                return Ok(());
            }
            _ if !said.begun => return Err("it does not begin as a registry does".to_owned()),
            Says::Item(object) => {
                let listing = said.listing.as_mut().ok_or("an object that is not of a list")?;
                listing.items.push((object, length));
                listing.left = listing.left.saturating_sub(1);
                said.count(length)?;
            }
            _ if said.listing.is_some() => return Err("a list that is not whole".to_owned()),
            Says::Lists { watch, count, age_ms, up_to } => {
                let at = self.at(watch, Duration::from_millis(age_ms))?;
                if count > MAX_OBJECTS {
                    return Err(format!("a list of {count} objects, more than {MAX_OBJECTS}"));
                }
                said.forget(watch);
                said.listing = Some(Listing { watch, left: count, items: Vec::new(), at, up_to });
            }
            Says::Begins { .. } => return Err("it begins again".to_owned()),
            Says::There { watch, object } => return self.there(said, watch, (object, length)).await,
            Says::Gone { watch, object } => return self.gone(said, watch, (object, length)).await,
            Says::Alive { watch } => return self.tell(watch, Told::Alive, Told::Alive, 1).await,
            Says::UpTo { watch, time } => {
                return self.tell(watch, Told::UpTo(time), Told::UpTo(time), 1).await;
            }
            Says::Lost { watch, reason } => {
                let reason = format!("the registry does not hear it: {}", shown(&reason));
                return self.tell(watch, Told::Lost(reason.clone()), Told::Lost(reason), 1).await;
            }
            Says::Secret { of, is } => self.secrets.heard(&of.into(), is),
            Says::Beats => {}
        }
        match said.listing.take_if(|listing| listing.left == 0) {
            Some(listing) => self.listed(said, listing).await,
            None => Ok(()),
        }
    }

    fn check(&self, version: u32, namespaces: &[Arc<str>], pods: bool) -> Result<(), String> {
        let all = |namespaces: &[Arc<str>]| match namespaces {
            [] => "all namespaces".to_owned(),
            some => format!("namespaces {}", some.join(", ")),
        };
        let sorted = |namespaces: &[Arc<str>]| namespaces.iter().cloned().collect::<BTreeSet<_>>();
        if version != VERSION {
            return Err(format!(
                "it speaks version {version}, and this gateway version {VERSION}; run both of one release"
            ));
        }
        // The order is what places are told by.
        if namespaces != self.remote.namespaces {
            let order =
                if sorted(namespaces) == sorted(&self.remote.namespaces) { ", in that order" } else { "" };
            return Err(format!(
                "it follows {}, and this gateway was told {}; give both the same --namespace{order}",
                all(namespaces),
                all(&self.remote.namespaces)
            ));
        }
        if pods != self.remote.pods {
            return Err("one of it and this gateway watches pods; give --pods to both or to none".to_owned());
        }
        Ok(())
    }

    /// When the API server was heard of that something is told from; an error where that was long before what is known already.
    fn at(&self, watch: usize, age: Duration) -> Result<(Instant, Timestamp), String> {
        let last = self.heard.get(watch).ok_or("a watch that there is not")?;
        let now = Instant::now();
        let at = now.checked_sub(age);
        let is_behind = match (last, at) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some(last), Some(at)) => at.checked_add(FURTHER_BACK).is_some_and(|at| at < *last),
        };
        if is_behind {
            return Err(format!(
                "it knows the cluster as it was {} s ago, which is further back than what is in force",
                age.as_secs()
            ));
        }
        let age = SignedDuration::try_from(age).unwrap_or(SignedDuration::MAX);
        Ok((at.unwrap_or(now), Timestamp::now().checked_sub(age).unwrap_or(Timestamp::MIN)))
    }

    /// All objects of a watch. They are told together, or not at all.
    async fn listed(&mut self, said: &mut Said, listing: Listing) -> Result<(), String> {
        let Listing { watch, items, at: (at, wall), up_to, .. } = listing;
        let size: usize = items.iter().map(|(_, length)| length).sum();
        let of = self.watches.get(watch).cloned().ok_or("a watch that there is not")?;
        let mut known = HashMap::with_capacity(items.len());
        match of {
            Of::Objects(scope) => {
                let mut objects = Vec::with_capacity(items.len());
                for (object, length) in items {
                    let (name, object) = object_of(&object, scope.as_deref())?;
                    known.insert(name, length);
                    objects.push(object);
                }
                self.tell_objects(watch, Told::Listed(objects), wall, size).await?;
            }
            Of::Pods(watched) => {
                let mut pods = Vec::with_capacity(items.len());
                for (pod, length) in items {
                    let pod = pod_of(&pod, &watched)?;
                    known.insert(pod.name(), length);
                    pods.push(pod);
                }
                self.tell_pods(watch, Told::Listed(pods), size).await?;
                if let Some(up_to) = up_to {
                    self.tell_pods(watch, Told::UpTo(up_to), 1).await?;
                }
            }
        }
        said.listed(watch, known, size);
        if let Some(heard) = self.heard.get_mut(watch) {
            *heard = Some(heard.map_or(at, |heard| heard.max(at)));
        }
        Ok(())
    }

    async fn there(
        &mut self,
        said: &mut Said,
        watch: usize,
        (object, length): (Box<RawValue>, usize),
    ) -> Result<(), String> {
        match self.watches.get(watch).ok_or("a watch that there is not")? {
            Of::Objects(scope) => {
                let (name, object) = object_of(&object, scope.as_deref())?;
                said.there(watch, name, length)?;
                self.tell_objects(watch, Told::There(object), Timestamp::now(), length).await?;
            }
            Of::Pods(watched) => {
                let pod = pod_of(&object, watched)?;
                said.there(watch, pod.name(), length)?;
                self.tell_pods(watch, Told::There(pod), length).await?;
            }
        }
        self.now(watch);
        Ok(())
    }

    async fn gone(
        &mut self,
        said: &mut Said,
        watch: usize,
        (object, length): (Box<RawValue>, usize),
    ) -> Result<(), String> {
        match self.watches.get(watch).ok_or("a watch that there is not")? {
            Of::Objects(scope) => {
                let (name, object) = object_of(&object, scope.as_deref())?;
                said.gone(watch, &name);
                self.tell_objects(watch, Told::Gone(object), Timestamp::now(), length).await?;
            }
            Of::Pods(watched) => {
                let pod = pod_of(&object, watched)?;
                said.gone(watch, &pod.name());
                self.tell_pods(watch, Told::Gone(pod), length).await?;
            }
        }
        self.now(watch);
        Ok(())
    }

    /// Something that is no object, to whoever hears of that watch.
    async fn tell(
        &mut self,
        watch: usize,
        objects: Told,
        pods: Told<Item>,
        size: usize,
    ) -> Result<(), String> {
        let is_loss = matches!(objects, Told::Lost(_));
        match self.watches.get(watch).ok_or("a watch that there is not")? {
            Of::Objects(_) => self.tell_objects(watch, objects, Timestamp::now(), size).await?,
            Of::Pods(_) => self.tell_pods(watch, pods, size).await?,
        }
        if !is_loss {
            self.now(watch);
        }
        Ok(())
    }

    /// The API server was heard of just now.
    fn now(&mut self, watch: usize) {
        if let Some(heard) = self.heard.get_mut(watch) {
            *heard = Some(Instant::now());
        }
    }

    /// Nothing is heard any more.
    async fn lost(&self, why: &str) -> Result<(), String> {
        for place in 0..self.objects {
            self.tell_objects(place, Told::Lost(why.to_owned()), Timestamp::now(), 1).await?;
        }
        for place in self.objects..self.watches.len() {
            self.tell_pods(place, Told::Lost(why.to_owned()), 1).await?;
        }
        Ok(())
    }

    async fn tell_objects(&self, place: usize, told: Told, at: Timestamp, size: usize) -> Result<(), String> {
        let room = self.room(size).await?;
        self.tell.send(Heard::AsOf(place, told, at, room)).map_err(|_| "nobody compiles any more".to_owned())
    }

    async fn tell_pods(&self, place: usize, told: Told<Item>, size: usize) -> Result<(), String> {
        let Some(pods) = &self.pods else { return Ok(()) };
        let room = self.room(size).await?;
        let place = place.saturating_sub(self.objects);
        pods.send((place, told, Some(room))).map_err(|_| "nobody knows pods any more".to_owned())
    }

    /// Waits until whoever takes it is not too far behind.
    async fn room(&self, size: usize) -> Result<OwnedSemaphorePermit, String> {
        let wanted = u32::try_from(size / 1024).unwrap_or(ROOM).clamp(1, ROOM);
        let room = self.room.clone().acquire_many_owned(wanted).await;
        room.map_err(|error| error.to_string())
    }
}

/// Asks for the keys that are named, says who called, and that it lives, until the other side takes nothing or is not to be trusted any more.
async fn ask<W: AsyncWrite + Unpin>(
    mut to: Writes<W>,
    (mut keys, mut calls): (watch::Receiver<Vec<SecretKey>>, watch::Receiver<Arc<LastCalls>>),
    is_trusted: Box<dyn Fn() -> bool + Send + Sync>,
) -> Result<(), String> {
    keys.mark_changed();
    calls.mark_changed();
    let mut told: Arc<LastCalls> = Arc::default();
    let mut beat = interval(BEAT);
    loop {
        tokio::select! {
            _ = beat.tick() => {
                if !is_trusted() {
                    return Err("what it proved by is not good any more".to_owned());
                }
                to.say(&text(&Asks::Beats)?).await?;
            }
            changed = keys.changed() => {
                changed.map_err(|_| "nobody asks any more")?;
                let named = keys.borrow_and_update().iter().cloned().map(Named::from).collect();
                to.say(&text(&Asks::Keys(named))?).await?;
            }
            changed = calls.changed() => {
                changed.map_err(|_| "nobody calls any more")?;
                let now = calls.borrow_and_update().clone();
                let new = now.iter().filter(|(of, call)| told.get(*of) != Some(*call));
                let new: Vec<Called> = new.map(|(of, call)| Called::new(of, call)).collect();
                for some in new.chunks(MAX_CALLS) {
                    to.say(&text(&Asks::Calls(some.to_vec()))?).await?;
                }
                told = now;
            }
        }
        to.send().await?;
    }
}

/// Says which keys are needed: those that what is in force names. What is not named any more is let go.
pub(crate) async fn name_keys(
    mut loaded: watch::Receiver<Arc<Loaded>>,
    secrets: Secrets,
    ask: watch::Sender<Vec<SecretKey>>,
) {
    let mut asked: BTreeSet<SecretKey> = BTreeSet::new();
    loop {
        let named = named(&loaded.borrow_and_update().snapshot);
        let (next, left) = divided(named, |one| asked.contains(one));
        secrets.named(next.iter(), left.iter());
        if next != asked {
            ask.send_replace(next.iter().cloned().collect());
        }
        asked = next;
        if loaded.changed().await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests;
