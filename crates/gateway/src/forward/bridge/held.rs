//! What the bridge keeps between two requests of one caller: sessions with servers, questions that wait for an answer, calls that may be
//! taken back. All of it is of this process, bounded for each caller, and nothing is lost with it but what is under way.

use std::collections::{BTreeSet, HashMap};
use std::future::pending;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use quick_cache::sync::Cache;
use serde_json::value::RawValue;
use tokio::sync::{Mutex as Turn, Notify, oneshot, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout};
use uuid::Uuid;
use vidimus_core::call;
use vidimus_core::refusal::{Code, Refusal};
use vidimus_core::resource::Era;

use super::beside::Beside;
use super::ended::Ended;
use super::sessions::Exchange;
use super::{Message, Need};
use crate::fair_share::{Denied, one_more};
use crate::protocol::mcp::bridge::capabilities::Capabilities;
use crate::protocol::mcp::bridge::refusal;
use crate::protocol::mcp::bridge::to_sessions::{Begun, answers};
use crate::seal;
use crate::standing::limits::UnderWay;

/// For how long a session is kept that nobody uses.
const IDLE: Duration = Duration::from_secs(1800);
/// Of how many callers at one server sessions are kept.
const MOST_HOLDERS: usize = 4_096;
/// How many sessions one caller has at one server: one for each set of capabilities that its clients have.
const MOST_SESSIONS: usize = 4;
/// For how long a question waits for the request that answers it, and how many wait: of one caller at one server, and in all, of which no principal has
/// more than are left for all others.
const PATIENCE: Duration = Duration::from_secs(300);
const MOST_PARKED_OF_ONE: usize = 16;
const MOST_PARKED: usize = 1_024;
/// Of how many callers at one server it is kept what their clients asked for, and of how many sessions of one.
const MOST_CALLERS: usize = 4_096;
const MOST_CLIENTS: usize = 16;
/// How many resources one session may follow, and how many bytes their URIs have together.
const MOST_URIS: usize = 64;
const MOST_URI_BYTES: usize = 16 * 1024;

/// What is kept. Clones have the same.
#[derive(Clone, Default)]
pub struct Held(Arc<Kept>);

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Held")
    }
}

struct Kept {
    sessions: Mutex<HashMap<Box<str>, Vec<Place>>>,
    asked: Mutex<HashMap<Box<str>, Asked>>,
    calls: Mutex<HashMap<Box<str>, Arc<Notify>>>,
    parked: Mutex<HashMap<Box<str>, (Parked, AbortHandle)>>,
    clients: Cache<String, Arc<Clients>>,
    ended: Ended,
    /// When somebody came again for a stream of a session.
    returns: Cache<String, Instant>,
}

impl Default for Kept {
    fn default() -> Self {
        Self {
            sessions: Mutex::default(),
            asked: Mutex::default(),
            calls: Mutex::default(),
            parked: Mutex::default(),
            clients: Cache::new(MOST_CALLERS),
            ended: Ended::default(),
            returns: Cache::new(MOST_CALLERS),
        }
    }
}

/// A session with a server.
#[derive(Debug)]
pub(super) struct Session {
    /// Its id, where the server has given one.
    pub(super) id: Option<String>,
    pub(super) begun: Begun,
    /// Its own stream.
    pub(super) beside: Beside,
    requests: AtomicU64,
}

impl Session {
    pub(super) fn new(id: Option<String>, begun: Begun) -> Self {
        Self { id, begun, beside: Beside::default(), requests: AtomicU64::new(0) }
    }

    /// The id of the next request in it, as JSON.
    pub(super) fn next_request(&self) -> String {
        (self.requests.fetch_add(1, Ordering::Relaxed) + 1).to_string()
    }
}

/// Where a session is kept. One begins it, and all others wait for that.
pub(super) type Slot = Arc<Turn<Option<Arc<Session>>>>;

struct Place {
    capabilities: Capabilities,
    slot: Slot,
    used: Instant,
}

/// A question to a client that has a session.
struct Asked {
    holder: Box<str>,
    answer: oneshot::Sender<String>,
}

/// A call that waits until its client, which has no session, makes it again with an answer.
pub(super) struct Parked {
    pub(super) holder: Box<str>,
    /// What was called: the request that answers has to be the same.
    pub(super) called: serde_json::Value,
    /// The id of the server's question, as JSON.
    pub(super) question: String,
    pub(super) exchange: Exchange,
}

/// What the clients of one caller at one server have asked for, by the numbers of their sessions. Of more sessions than are kept, that which was used least
/// lately begins anew: nobody's are forgotten for those of another.
#[derive(Default)]
struct Clients(Mutex<Vec<(Box<str>, Arc<Client>)>>);

impl Clients {
    fn of(&self, number: &str) -> Arc<Client> {
        let mut all = lock(&self.0);
        let found = all.iter().position(|(other, _)| **other == *number).map(|at| all.remove(at));
        if found.is_none() && all.len() == MOST_CLIENTS {
            all.remove(0);
        }
        let (number, client) = found.unwrap_or_else(|| (number.into(), Arc::default()));
        all.push((number, client.clone()));
        client
    }

    fn found(&self, number: &str) -> Option<Arc<Client>> {
        lock(&self.0).iter().find(|(other, _)| **other == *number).map(|(_, client)| client.clone())
    }
}

/// What a client with a session has asked for.
#[derive(Default)]
struct Client {
    level: Mutex<Option<Arc<str>>>,
    uris: watch::Sender<BTreeSet<String>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Held {
    /// Which sessions with clients have ended.
    pub(super) fn ended(&self) -> &Ended {
        &self.0.ended
    }

    /// Somebody comes again for a stream of this session.
    pub(super) fn comes_again(&self, session: &str) {
        self.0.returns.insert(session.to_owned(), Instant::now());
    }

    /// Whether somebody has since.
    pub(super) fn has_come_again(&self, session: &str, since: Instant) -> bool {
        self.0.returns.get(session).is_some_and(|at| at >= since)
    }

    /// Where the session of a caller (`holder`) whose client can do this is kept.
    pub(super) fn session(&self, holder: &str, capabilities: Capabilities) -> Slot {
        let now = Instant::now();
        let mut all = lock(&self.0.sessions);
        if all.len() >= MOST_HOLDERS && !all.contains_key(holder) {
            all.retain(|_, places| {
                places.retain(|place| now.duration_since(place.used) < IDLE);
                !places.is_empty()
            });
            let used = |places: &Vec<Place>| places.iter().map(|place| place.used).max();
            if all.len() >= MOST_HOLDERS
                && let Some(oldest) =
                    all.iter().min_by_key(|(_, places)| used(places)).map(|(key, _)| key.clone())
            {
                all.remove(&oldest);
            }
        }
        let places = all.entry(holder.into()).or_default();
        places.retain(|place| now.duration_since(place.used) < IDLE);
        if let Some(place) = places.iter_mut().find(|place| place.capabilities == capabilities) {
            place.used = now;
            return place.slot.clone();
        }
        if places.len() == MOST_SESSIONS
            && let Some((oldest, _)) = places.iter().enumerate().min_by_key(|(_, place)| place.used)
        {
            places.swap_remove(oldest);
        }
        let slot = Slot::default();
        places.push(Place { capabilities, slot: slot.clone(), used: now });
        slot
    }

    /// Waits for what answers a question to the client of `holder`, by this id.
    pub(super) fn ask(&self, holder: &str) -> Waiting {
        let (answer, answered) = oneshot::channel();
        let id: Box<str> = format!("vidimus-{}", Uuid::new_v4().simple()).into();
        lock(&self.0.asked).insert(id.clone(), Asked { holder: holder.into(), answer });
        Waiting { held: self.clone(), id, answered }
    }

    /// Gives a client's answer (JSON) to who asked.
    ///
    /// # Errors
    /// `era_unbridged` where nobody waits for it here.
    pub(super) fn answer(&self, holder: &str, id: &str, message: String) -> Result<(), Refusal> {
        let mut all = lock(&self.0.asked);
        let is_own = all.get(id).is_some_and(|asked| &*asked.holder == holder);
        let asked = if is_own { all.remove(id) } else { None };
        let given = asked.is_some_and(|asked| asked.answer.send(message).is_ok());
        given.then_some(()).ok_or_else(|| {
            refusal("no question of this id waits for an answer at this replica of the gateway: its call has ended, or was made at another one")
        })
    }

    /// A call that its client may take back: by its id in the client's session.
    pub(super) fn call(&self, client: &str, id: &str) -> Call {
        let (key, taken_back): (Box<str>, _) = (format!("{client} {id}").into(), Arc::new(Notify::new()));
        lock(&self.0.calls).insert(key.clone(), taken_back.clone());
        Call { held: self.clone(), key, taken_back }
    }

    /// Takes a call back, where it is under way here.
    pub(super) fn take_back(&self, client: &str, id: &str) {
        if let Some(call) = lock(&self.0.calls).get(&*format!("{client} {id}")) {
            call.notify_one();
        }
    }

    /// Keeps a call until its client answers, or something takes it back, and gives the handle by which it is known.
    ///
    /// # Errors
    /// `overloaded` where too many wait.
    pub(super) fn park(&self, parked: Parked) -> Result<String, Refusal> {
        let handle = Uuid::new_v4().simple().to_string();
        let mut all = lock(&self.0.parked);
        check_room(&all, &parked)?;
        // Its connection is let go in time, whether anybody calls or not.
        let (held, late, ongoing) = (self.clone(), handle.clone(), parked.exchange.ongoing().cloned());
        let ends = tokio::spawn(async move {
            let taken_back = async {
                match &ongoing {
                    Some(ongoing) => ongoing.taken_back().await,
                    None => pending().await,
                }
            };
            let taken_back = timeout(PATIENCE, taken_back).await;
            let waited = lock(&held.0.parked).remove(&*late);
            let is_ended_here = waited.is_some();
            // By that the server is told.
            drop(waited);
            if let (Ok(code), Some(ongoing), true) = (taken_back, &ongoing, is_ended_here) {
                ongoing.record(code).await;
            }
        });
        all.insert(handle.as_str().into(), (parked, ends.abort_handle()));
        Ok(handle)
    }

    /// The places among the calls at once of the call that a request answers for, where that waits here. They go on with it: what is no answer to that
    /// call after all is not sent.
    pub(crate) fn goes_on(
        &self,
        call: &call::Call<'_>,
        found: impl Fn(&str) -> Option<Era>,
        (headers, body): (&HeaderMap, &Bytes),
    ) -> Option<Arc<UnderWay>> {
        let destination = call.ask.target.destination();
        let call::Destination::Server(server) = &destination else { return None };
        let (endpoint, found) = (&server.endpoint, || found(server.endpoint.url.as_str()));
        if Need::of(endpoint, found, (headers, body, false)) != Some(Need::Speaks(Era::Sessions)) {
            return None;
        }
        let (_, message) = Message::of(body).ok()?;
        let (handle, _) = answers(message.params.map(RawValue::get))?;
        let all = lock(&self.0.parked);
        let (parked, _) = all.get(&*handle)?;
        let rest = parked.holder.strip_prefix(&*seal::binding(&destination, call.caller))?;
        let is_own = rest.starts_with('|') && parked.called.get(0)?.as_str() == message.method.as_deref();
        parked.exchange.ongoing().filter(|_| is_own)?.under_way()
    }

    /// The call of this handle does not wait: its client is not asked after all.
    pub(super) fn give_up(&self, handle: &str) {
        let parked = lock(&self.0.parked).remove(handle);
        if let Some((parked, ends)) = parked {
            ends.abort();
            drop(parked);
        }
    }

    /// The call that a request answers.
    ///
    /// # Errors
    /// `era_unbridged` where no such call of this caller waits here.
    pub(super) fn parked(
        &self,
        holder: &str,
        handle: &str,
        called: &serde_json::Value,
    ) -> Result<Parked, Refusal> {
        let mut all = lock(&self.0.parked);
        let is_own = |(parked, _): &(Parked, _)| &*parked.holder == holder && parked.called == *called;
        let found = if all.get(handle).is_some_and(is_own) { all.remove(handle) } else { None };
        let parked = found.map(|(parked, ends)| {
            ends.abort();
            parked
        });
        parked.ok_or_else(|| {
            refusal("what params.requestState names does not wait at this replica of the gateway: it waited too long, was answered or taken back, is another call, or waits at another replica")
        })
    }

    fn client(&self, holder: &str, number: &str) -> Arc<Client> {
        let begun = || Ok::<_, std::convert::Infallible>(Arc::new(Clients::default()));
        match self.0.clients.get_or_insert_with(holder, begun) {
            Ok(clients) => clients.of(number),
            Err(never) => match never {},
        }
    }

    /// The client of this session of the caller's (`holder`) wants messages of this level for its log.
    pub(super) fn log(&self, holder: &str, number: &str, level: &str) {
        *lock(&self.client(holder, number).level) = Some(level.into());
    }

    pub(super) fn level(&self, holder: &str, number: &str) -> Option<Arc<str>> {
        let client = self.0.clients.get(holder)?.found(number)?;
        lock(&client.level).clone()
    }

    /// The client of this session wants to be told of a resource, or not any more.
    ///
    /// # Errors
    /// `overloaded` beyond what one may follow.
    pub(super) fn follow(
        &self,
        (holder, number): (&str, &str),
        uri: &str,
        is_wanted: bool,
    ) -> Result<(), Refusal> {
        let mut is_full = false;
        self.client(holder, number).uris.send_if_modified(|uris| {
            if !is_wanted {
                return uris.remove(uri);
            }
            let bytes = uris.iter().map(String::len).sum::<usize>().saturating_add(uri.len());
            is_full = (uris.len() >= MOST_URIS || bytes > MOST_URI_BYTES) && !uris.contains(uri);
            !is_full && uris.insert(uri.to_owned())
        });
        if is_full {
            let message = format!(
                "a session follows at most {MOST_URIS} resources, whose URIs have {MOST_URI_BYTES} bytes together"
            );
            return Err(Refusal::new(Code::Overloaded, message));
        }
        Ok(())
    }

    /// The resources of which the client of this session wants to be told, as they change.
    pub(super) fn followed(&self, holder: &str, number: &str) -> watch::Receiver<BTreeSet<String>> {
        self.client(holder, number).uris.subscribe()
    }
}

/// That one more call may wait.
///
/// # Errors
/// `overloaded` where as many wait as can, or as many of this caller as is fair to the others.
fn check_room(all: &HashMap<Box<str>, (Parked, AbortHandle)>, parked: &Parked) -> Result<(), Refusal> {
    let (mut of_holder, mut of_principal) = (0, 0);
    for (other, _) in all.values() {
        of_holder += usize::from(other.holder == parked.holder);
        of_principal += usize::from(other.exchange.principal() == parked.exchange.principal());
    }
    let message = match one_more(MOST_PARKED, all.len(), of_principal) {
        Ok(()) if of_holder < MOST_PARKED_OF_ONE => return Ok(()),
        Err(Denied::Empty) => "as many calls wait for an answer of their clients as can",
        Ok(()) | Err(Denied::Share) => {
            "as many calls of this caller wait for an answer of their clients as is fair to the others"
        }
    };
    Err(Refusal::new(Code::Overloaded, message))
}

/// A question that waits for its answer. It waits for none once this is dropped.
pub(super) struct Waiting {
    held: Held,
    pub(super) id: Box<str>,
    pub(super) answered: oneshot::Receiver<String>,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        lock(&self.held.0.asked).remove(&self.id);
    }
}

/// A call under way that may be taken back.
pub(super) struct Call {
    held: Held,
    key: Box<str>,
    taken_back: Arc<Notify>,
}

impl Call {
    /// Waits until it is taken back.
    pub(super) async fn taken_back(&self) {
        self.taken_back.notified().await;
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let mut all = lock(&self.held.0.calls);
        if all.get(&self.key).is_some_and(|other| Arc::ptr_eq(other, &self.taken_back)) {
            all.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Attack: one caller begins sessions, and follows what it likes in each, until nothing of others is kept.
    #[test]
    fn what_one_caller_follows_is_bounded_and_takes_nothing_of_others() {
        let held = Held::default();
        held.follow(("other", "1"), "file:///a", true).expect("room");
        for number in 0..10_000 {
            held.follow(("one", &number.to_string()), "file:///a", true).expect("room");
        }
        let kept = held.0.clients.get("one").expect("kept");
        assert_eq!(lock(&kept.0).len(), MOST_CLIENTS);
        assert_eq!(held.followed("other", "1").borrow().len(), 1);
        assert_eq!(held.followed("one", "9999").borrow().len(), 1);
        let long = "x".repeat(MOST_URI_BYTES);
        let refused = held.follow(("one", "9999"), &long, true);
        assert_eq!(refused.map_err(|refusal| refusal.code), Err(Code::Overloaded));
    }
}
