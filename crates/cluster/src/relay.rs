//! A registry's side of what gateways hear in place of the cluster (ADR 70): what each watch told, said on as it comes, and from its beginning to who connects.
//!
//! Nobody is waited for: a gateway that is behind is let go, and has all of it anew when it connects again.

mod calls;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, watch};
use tokio::time::interval;
use vidimus_core::resource::Kind;
use vidimus_core::resource::llm_provider::SecretKey;

use crate::followed;
use crate::line::{Asks, BEAT, Lines, MAX_ASK, MAX_CALLS, MAX_KEYS, Named, Says, VERSION, Writes, text};
use crate::live::Told;
use crate::pods::{Item, LastCalls};
use crate::secrets::Secrets;
use crate::seen::FieldManager;

/// Gateways that may hear a registry at once.
pub const MAX_GATEWAYS: usize = 256;
/// Changes that a gateway may be behind.
const BEHIND: usize = 4096;
/// The same in bytes.
const BEHIND_BYTES: usize = 32 << 20;

/// What is said on. Clones share it.
#[derive(Clone)]
pub struct Relay(Arc<Hub>);

impl fmt::Debug for Relay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Relay").field("namespaces", &self.0.namespaces).finish_non_exhaustive()
    }
}

struct Hub {
    namespaces: Vec<Arc<str>>,
    pods: bool,
    /// What the first watches are of; the others are of pods.
    followed: Vec<(Kind, Option<Arc<str>>)>,
    secrets: Secrets,
    /// What gateways say of calls, the latest of each object.
    calls: Mutex<LastCalls>,
    state: Mutex<State>,
    /// With a key of its own, so that nobody can write two objects that look the same.
    hasher: RandomState,
}

#[derive(Default)]
struct State {
    watches: Vec<Watch>,
    gateways: Vec<Gateway>,
}

/// What is known of one watch.
#[derive(Default)]
struct Watch {
    /// All objects, each by its name; `None` before they were listed.
    objects: Option<BTreeMap<String, Kept>>,
    heard: Option<Instant>,
    up_to: Option<Timestamp>,
    lost: Option<String>,
}

/// An object as it is said.
#[derive(Clone)]
struct Kept {
    /// The line that has it where all are listed, shared with whoever has not taken it yet.
    item: Arc<str>,
    /// Of all of it but which write it was.
    content: u64,
}

/// An object that a watch tells.
struct Read {
    name: String,
    /// JSON.
    text: String,
    content: u64,
}

/// One that hears.
struct Gateway {
    /// Lines without their numbers, several that belong together as one.
    tell: mpsc::Sender<Vec<Arc<str>>>,
    /// Bytes of changes that it has not taken.
    waiting: Arc<AtomicUsize>,
}

/// What is said on of something that a watch tells.
pub(crate) trait SaidOn {
    /// Its name among those of its watch, what is said of it, and the same without which write it was and whose; `None` of what is none.
    fn said_on(&self) -> Option<(String, String, String)>;
}

impl SaidOn for Value {
    /// Without its status, which a gateway neither reads nor writes; of its managed fields who wrote it last.
    fn said_on(&self) -> Option<(String, String, String)> {
        let mut object = self.as_object()?.clone();
        object.remove("status");
        let metadata = object.get_mut("metadata")?.as_object_mut()?;
        metadata.remove("managedFields");
        let name = |member: &str| metadata.get(member).and_then(Self::as_str);
        let name = format!("{}/{}", name("namespace")?, name("name")?);
        let version = metadata.remove("resourceVersion");
        let content = serde_json::to_string(&object).ok()?;
        let manager = FieldManager::read(self).map(|by| json!([{"manager": by.name, "time": by.time}]));
        if let Some(Self::Object(metadata)) = object.get_mut("metadata") {
            metadata.extend(version.map(|version| ("resourceVersion".to_owned(), version)));
            metadata.extend(manager.map(|manager| ("managedFields".to_owned(), manager)));
        }
        Some((name, serde_json::to_string(&object).ok()?, content))
    }
}

impl SaidOn for Item {
    fn said_on(&self) -> Option<(String, String, String)> {
        let text = serde_json::to_string(self).ok()?;
        Some((self.name(), text.clone(), text))
    }
}

impl Relay {
    /// Of so many watches; `secrets` are those of what is in force here.
    pub(crate) fn new(namespaces: Vec<Arc<str>>, pods: bool, watches: usize, secrets: Secrets) -> Self {
        let watches = (0..watches).map(|_| Watch::default()).collect();
        let state = Mutex::new(State { watches, gateways: Vec::new() });
        let (calls, hasher, followed) = (Mutex::default(), RandomState::new(), followed(&namespaces));
        Self(Arc::new(Hub { namespaces, pods, followed, secrets, calls, state, hasher }))
    }

    /// What the watch at this place told.
    pub(crate) fn hear<T: SaidOn>(&self, place: usize, told: &Told<T>) {
        // What takes time is done before anybody waits for it.
        let read: Vec<Read> = match told {
            Told::Listed(objects) => objects.iter().filter_map(|object| self.read(object)).collect(),
            Told::There(object) | Told::Gone(object) => self.read(object).into_iter().collect(),
            Told::Alive | Told::UpTo(_) | Told::Lost(_) | Told::Forbidden(_) => Vec::new(),
        };
        let mut state = self.state();
        let State { watches, gateways } = &mut *state;
        let Some(watch) = watches.get_mut(place) else { return };
        let lines = match told {
            Told::Lost(reason) | Told::Forbidden(reason) => {
                let is_known = watch.lost.as_ref() == Some(reason);
                watch.lost = Some(reason.clone());
                if is_known { Vec::new() } else { watch.loss(place) }
            }
            told => {
                (watch.heard, watch.lost) = (Some(Instant::now()), None);
                match told {
                    Told::Listed(_) => {
                        watch.listed(read);
                        watch.whole(place)
                    }
                    Told::There(_) => vec![watch.there(place, read)],
                    Told::Gone(_) => vec![watch.gone(place, read)],
                    Told::UpTo(time) => {
                        watch.up_to = Some(*time);
                        vec![line(&Says::UpTo { watch: place, time: *time })]
                    }
                    Told::Alive | Told::Lost(_) | Told::Forbidden(_) => vec![alive(place)],
                }
            }
        };
        say(gateways, &lines);
    }

    fn read<T: SaidOn>(&self, object: &T) -> Option<Read> {
        let (name, text, content) = object.said_on()?;
        Some(Read { name, text, content: self.0.hasher.hash_one(content) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One that hears from now on: first all there is.
    fn joined(&self) -> Result<Joined, String> {
        let mut state = self.state();
        let State { watches, gateways } = &mut *state;
        gateways.retain(|gateway| !gateway.tell.is_closed());
        if gateways.len() >= MAX_GATEWAYS {
            return Err(format!("{MAX_GATEWAYS} gateways hear it already"));
        }
        let (tell, told) = mpsc::channel(watches.len().saturating_add(BEHIND));
        let joined = Joined { told, waiting: Arc::default() };
        let mut gateway = vec![Gateway { tell, waiting: joined.waiting.clone() }];
        for (place, watch) in watches.iter().enumerate() {
            say(&mut gateway, &watch.whole(place));
        }
        gateways.append(&mut gateway);
        Ok(joined)
    }

    /// Serves one gateway over `stream`, on which nobody but that gateway can be, until that ends; gives why. `is_trusted` is asked again and again whether what
    /// it proved by is good still.
    pub async fn serve<S>(&self, stream: S, is_trusted: impl Fn() -> bool + Send) -> String
    where
        S: AsyncRead + AsyncWrite + Send,
    {
        let (from, to) = tokio::io::split(stream);
        let (ask, asked) = watch::channel(Vec::new());
        tokio::select! {
            ended = self.say_all(Writes::new(to), asked, is_trusted) => ended.err().unwrap_or_default(),
            why = self.hear_asks(Lines::new(from, MAX_ASK), ask) => why,
        }
    }

    /// What a gateway asks for and says, until it ends; gives why.
    async fn hear_asks<R: AsyncRead + Unpin>(
        &self,
        mut from: Lines<R>,
        ask: watch::Sender<Vec<SecretKey>>,
    ) -> String {
        loop {
            match from.next::<Asks>().await {
                Ok((Asks::Keys(keys), _)) if keys.len() <= MAX_KEYS => {
                    ask.send_replace(keys.into_iter().map(SecretKey::from).collect());
                }
                Ok((Asks::Keys(_), _)) => return format!("it asks for more than {MAX_KEYS} keys"),
                Ok((Asks::Calls(calls), _)) if calls.len() <= MAX_CALLS => self.called(calls),
                Ok((Asks::Calls(_), _)) => return format!("it tells of more than {MAX_CALLS} calls at once"),
                Ok((Asks::Beats, _)) => {}
                Err(why) => return why,
            }
        }
    }

    async fn say_all<W: AsyncWrite + Unpin>(
        &self,
        mut to: Writes<W>,
        mut asked: watch::Receiver<Vec<SecretKey>>,
        is_trusted: impl Fn() -> bool,
    ) -> Result<(), String> {
        let mut joined = self.joined()?;
        let (namespaces, pods) = (self.0.namespaces.clone(), self.0.pods);
        to.say(&text(&Says::Begins { version: VERSION, namespaces, pods })?).await?;
        let mut changes = self.0.secrets.changes();
        let mut told = HashMap::new();
        let mut beat = interval(BEAT);
        loop {
            tokio::select! {
                biased;
                _ = beat.tick() => {
                    if !is_trusted() {
                        return Err("what it proved by is not good any more".to_owned());
                    }
                    to.say(&text(&Says::Beats)?).await?;
                }
                lines = joined.told.recv() => {
                    let lines = lines.ok_or("it was too far behind, and may connect anew")?;
                    for line in &lines {
                        to.say(line).await?;
                    }
                    joined.took(&lines);
                }
                changed = asked.changed() => {
                    changed.map_err(|_| "it asks for nothing any more")?;
                    let keys = asked.borrow_and_update().clone();
                    self.say_keys(&mut to, &keys, &mut told).await?;
                }
                changed = changes.changed() => {
                    changed.map_err(|_| "there are no keys any more")?;
                    let keys = asked.borrow().clone();
                    self.say_keys(&mut to, &keys, &mut told).await?;
                }
            }
            if joined.told.is_empty() {
                to.send().await?;
            }
        }
    }

    /// Says of each key that is asked for what is new of it, where what is in force here names it too.
    async fn say_keys<W: AsyncWrite + Unpin>(
        &self,
        to: &mut Writes<W>,
        asked: &[SecretKey],
        told: &mut HashMap<SecretKey, u64>,
    ) -> Result<(), String> {
        told.retain(|of, _| asked.contains(of));
        for of in asked {
            let Some((number, is)) = self.0.secrets.of(of) else { continue };
            if told.insert(of.clone(), number) != Some(number) {
                to.say(&text(&Says::Secret { of: Named::from(of.clone()), is })?).await?;
            }
        }
        Ok(())
    }
}

/// What is said to one that hears.
struct Joined {
    told: mpsc::Receiver<Vec<Arc<str>>>,
    waiting: Arc<AtomicUsize>,
}

impl Joined {
    /// A whole of a watch was counted as nothing: what it has is held here anyway.
    fn took(&self, lines: &[Arc<str>]) {
        if let [line] = lines {
            self.waiting.fetch_sub(line.len(), Ordering::Relaxed);
        }
    }
}

impl Watch {
    /// These are all; what is as it was is shared with what is on its way.
    fn listed(&mut self, read: Vec<Read>) {
        let last = self.objects.take().unwrap_or_default();
        let kept = read.into_iter().map(|Read { name, text, content }| {
            let same = last.get(&name).filter(|last| last.content == content).cloned();
            let kept = same.unwrap_or_else(|| Kept { item: item(&text), content });
            (name, kept)
        });
        self.objects = Some(kept.collect());
    }

    /// One more, or otherwise. Which write it was is told with what it changed.
    fn there(&mut self, place: usize, read: Vec<Read>) -> Arc<str> {
        let (Some(objects), Some(Read { name, text, content })) =
            (self.objects.as_mut(), read.into_iter().next())
        else {
            return alive(place);
        };
        if objects.get(&name).is_some_and(|last| last.content == content) {
            return alive(place);
        }
        objects.insert(name, Kept { item: item(&text), content });
        format!(r#"{{"there":{{"watch":{place},"object":{text}}}}}"#).into()
    }

    fn gone(&mut self, place: usize, read: Vec<Read>) -> Arc<str> {
        let (Some(objects), Some(Read { name, text, .. })) = (self.objects.as_mut(), read.into_iter().next())
        else {
            return alive(place);
        };
        match objects.remove(&name) {
            Some(_) => format!(r#"{{"gone":{{"watch":{place},"object":{text}}}}}"#).into(),
            None => alive(place),
        }
    }

    /// All of it, as it is known.
    fn whole(&self, place: usize) -> Vec<Arc<str>> {
        let mut lines = Vec::new();
        if let Some(objects) = &self.objects {
            let age = self.heard.map(|heard| heard.elapsed().as_millis()).unwrap_or_default();
            lines.push(line(&Says::Lists {
                watch: place,
                count: objects.len(),
                age_ms: u64::try_from(age).unwrap_or(u64::MAX),
                up_to: self.up_to,
            }));
            lines.extend(objects.values().map(|kept| kept.item.clone()));
        }
        lines.extend(self.loss(place));
        lines
    }

    fn loss(&self, place: usize) -> Vec<Arc<str>> {
        let said = |reason: &String| line(&Says::Lost { watch: place, reason: reason.clone() });
        self.lost.iter().map(said).collect()
    }
}

fn alive(place: usize) -> Arc<str> {
    line(&Says::Alive { watch: place })
}

fn item(object: &str) -> Arc<str> {
    format!(r#"{{"item":{object}}}"#).into()
}

/// Names, numbers and texts: they can be written. Were one not, whoever hears would end the stream.
fn line(says: &Says) -> Arc<str> {
    text(says).unwrap_or_default().into()
}

/// Says it to all; whoever is too far behind hears no more.
fn say(gateways: &mut Vec<Gateway>, lines: &[Arc<str>]) {
    if lines.is_empty() {
        return;
    }
    // What is a whole is held here anyway.
    let bytes = if let [line] = lines { line.len() } else { 0 };
    gateways.retain(|gateway| {
        let waiting = gateway.waiting.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        waiting <= BEHIND_BYTES && gateway.tell.try_send(lines.to_vec()).is_ok()
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agent(name: &str, team: &str) -> Value {
        json!({"metadata": {"namespace": "a", "name": name}, "spec": {"team": team}})
    }

    fn relay() -> Relay {
        Relay::new(Vec::new(), false, 1, Secrets::default())
    }

    /// Attack: a gateway that takes nothing, so that what it is to be told grows without an end.
    #[tokio::test]
    async fn who_is_behind_is_let_go_and_has_all_of_it_anew() {
        let relay = relay();
        relay.hear::<Value>(0, &Told::Listed(vec![]));
        let (mut many, mut large) = (relay.joined().unwrap(), relay.joined().unwrap());
        for number in 0..=BEHIND {
            relay.hear(0, &Told::There(agent("x", &number.to_string())));
            // The other one takes what it is told.
            if let Ok(lines) = large.told.try_recv() {
                large.took(&lines);
            }
        }
        assert_eq!(relay.state().gateways.len(), 1);
        while many.told.try_recv().is_ok() {}
        assert!(many.told.recv().await.is_none(), "it is cut");
        while let Ok(lines) = large.told.try_recv() {
            large.took(&lines);
        }
        assert_eq!(large.waiting.load(Ordering::Relaxed), 0);
        for number in 0..9 {
            relay.hear(0, &Told::There(agent("x", &"x".repeat((4 << 20) + number))));
        }
        assert_eq!(relay.state().gateways.len(), 0, "32 MiB");
        let mut again = relay.joined().unwrap();
        assert_eq!(again.told.recv().await.unwrap().len(), 2, "how many, and the one");
    }

    #[tokio::test]
    async fn so_many_hear_it_and_no_more() {
        let relay = relay();
        let all: Vec<Joined> = (0..MAX_GATEWAYS).map(|_| relay.joined().unwrap()).collect();
        assert!(relay.joined().is_err_and(|why| why.contains("already")));
        drop(all);
        relay.joined().expect("they are gone");
    }

    #[tokio::test]
    async fn what_is_listed_anew_and_as_it_was_is_held_once() {
        let relay = relay();
        relay.hear(0, &Told::Listed(vec![agent("x", "t"), agent("y", "t")]));
        let first = relay.joined().unwrap().told.recv().await.unwrap();
        relay.hear(0, &Told::Listed(vec![agent("x", "t"), agent("y", "u")]));
        let then = relay.joined().unwrap().told.recv().await.unwrap();
        assert!(Arc::ptr_eq(&first[1], &then[1]) && !Arc::ptr_eq(&first[2], &then[2]));
        // Before anything was listed there is nothing to say but why.
        let relay = Relay::new(Vec::new(), false, 2, Secrets::default());
        relay.hear(1, &Told::<Value>::Forbidden("403".to_owned()));
        relay.hear(0, &Told::There(agent("x", "t")));
        let told = relay.joined().unwrap().told.recv().await.unwrap();
        assert_eq!(
            told.iter().map(|line| &**line).collect::<Vec<_>>(),
            [r#"{"lost":{"watch":1,"reason":"403"}}"#]
        );
    }
}
