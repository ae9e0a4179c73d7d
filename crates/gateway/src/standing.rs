//! Standing state: what outlives a call, and what several replicas of the gateway must agree on.
//!
//! One seam for all of it: the methods of [`StandingState`] are its only operations, and those that ask for something are
//! asynchronous, so that a shared store (Redis, Valkey: [`store`]) can stand behind them. Without one each gateway has its own state, and
//! a restart begins anew. It holds what chains have come to ([`chains`]), which of them were ended ([`ended`]), what agents have read, and
//! who made which task. What people do (quarantines, grants, approvals) is in the log of each gateway; in the store is the list of it that
//! they agree on (`crate::acts::agreement`). Sessions and tasks need no place to be used: their sealed ids carry all that is to be known.
//! Only a list of tasks names ids that the caller did not bring.
//!
//! What a shared store may lose stays here as well: which chains were ended, and what agents have read, as far as this gateway knows.
//! Without the store, calls of which something is counted are refused; nothing opens.

pub mod chains;
mod ended;
pub mod limits;
mod returning;
pub mod store;
pub mod taken;
mod tally;
mod to_the_end;

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{Context, SHA256};
use jiff::Timestamp;
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use tokio::sync::watch;
use vidimus_core::act::{Act, Declassified, Subject};
use vidimus_core::call::Collected;
use vidimus_core::caller::Chain;
use vidimus_core::clock::Moment;
use vidimus_core::entity::EntityId;
use vidimus_core::record::ActRecord;
use vidimus_core::refusal::{Code, Refusal};
use vidimus_core::resource::Era;

use self::chains::{Chains, Keeps};
use self::ended::{Ended, EndedChain};
use self::limits::Counters;
use self::returning::Returning;
use self::store::Store;
use self::taken::{Taken, Used};
use crate::forward::Held;
use crate::news::state::NewsState;
use crate::part::Part;
use crate::protocol::mcp::mirrored::MirroredTools;
use crate::protocol::mcp::pinned::Sight;
use crate::protocol::mcp::schema::InputSchema;

pub use self::tally::Tally;

/// The state, shared by all workers.
#[derive(Debug)]
pub struct StandingState {
    chains: Mutex<Chains>,
    ended: Arc<Ended>,
    limits: Counters,
    store: Option<Arc<Store>>,
    returning: Returning,
    keeps: Keeps,
    tasks: Cache<TaskKey, Arc<Part>>,
    /// What servers said of themselves, by the address that said it.
    versions: Cache<Box<str>, Served>,
    /// Which era of MCP servers were found to speak, by their address, and until when that is believed.
    eras: Cache<Box<str>, (Era, Instant)>,
    mirrored: Cache<Box<str>, Arc<MirroredTools>>,
    /// What is kept of addresses for news of tasks.
    news: NewsState,
    /// What pinned tools were when somebody last looked.
    sights: Cache<Box<str>, Arc<Sight>, Sizes>,
    /// The compiled schemas of operations that are tools, each by the digest of its API and its name.
    schemas: Cache<Box<str>, Arc<InputSchema>>,
    /// What calls that are bridged between the eras of MCP leave for those behind them.
    bridged: Held,
}

/// The protocol versions that are served at an address, and until when that is believed.
type Served = (Arc<[&'static str]>, Instant);

/// How many servers' words about themselves are kept.
const SERVERS: usize = 4096;

/// Of how many pinned tools it is kept what they were.
const SIGHTS: usize = 65_536;

/// How much is kept of them, in bytes.
const SIZE_OF_SIGHTS: u64 = 256 * 1024 * 1024;

/// How much is kept of a tool.
#[derive(Clone, Copy, Debug)]
struct Sizes;

impl Weighter<Box<str>, Arc<Sight>> for Sizes {
    fn weight(&self, tool: &Box<str>, sight: &Arc<Sight>) -> u64 {
        // So that there are not more of them than are kept, however small they are.
        let least = SIZE_OF_SIGHTS / SIGHTS as u64;
        u64::try_from(tool.len().saturating_add(sight.size())).unwrap_or(u64::MAX).max(least)
    }
}

/// Of how many operations the schemas are kept compiled.
const SCHEMAS: usize = 4096;

/// For how long a server is not asked again which versions it serves.
const VERSIONS_LIFE: Duration = Duration::from_secs(600);

/// A task of one holder at one object: the digest of both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TaskKey([u8; 32]);

/// What an agent has read, and for how long still it has it.
#[derive(Clone, Debug)]
pub struct Window {
    /// `Kind/namespace/name`.
    pub agent: Arc<str>,
    pub what: Collected,
    /// `issuer#subject`; `None` counts for everybody.
    pub person: Option<Arc<str>>,
    pub left: Duration,
}

impl StandingState {
    /// Holds the makers of `tasks` tasks, of which the least used is forgotten first. Streams look whether they go on when a chain is
    /// ended: `wakes` changes then.
    pub fn new(keeps: Keeps, tasks: usize, wakes: watch::Sender<u64>, store: Option<Store>) -> Arc<Self> {
        let (tasks, versions, mirrored) = (Cache::new(tasks), Cache::new(SERVERS), Cache::new(SERVERS));
        let (chains, ended) = (Mutex::new(Chains::new(keeps)), Arc::new(Ended::new(keeps.capacity, wakes)));
        Arc::new(Self {
            chains,
            ended,
            limits: Counters::new(keeps.capacity),
            store: store.map(Arc::new),
            returning: Returning::default(),
            keeps,
            tasks,
            versions,
            eras: Cache::new(SERVERS),
            mirrored,
            sights: Cache::with_weighter(SIGHTS, SIZE_OF_SIGHTS, Sizes),
            schemas: Cache::new(SCHEMAS),
            news: NewsState::default(),
            bridged: Held::default(),
        })
    }

    /// Of one gateway, for tests.
    #[cfg(test)]
    pub fn alone(capacity: usize, quiet: Duration, tasks: usize) -> Arc<Self> {
        let keeps = Keeps { capacity, quiet, window: Duration::from_secs(3600) };
        Self::new(keeps, tasks, watch::Sender::new(0), None)
    }

    /// Whether several gateways share what they count.
    pub const fn is_shared(&self) -> bool {
        self.store.is_some()
    }

    /// What several gateways share, where they do.
    pub fn store(&self) -> Option<Arc<Store>> {
        self.store.clone()
    }

    /// What is kept of addresses for news of tasks.
    pub const fn news(&self) -> &NewsState {
        &self.news
    }

    /// The server at `address` serves these versions.
    pub fn serves(&self, address: &str, versions: &[&'static str], now: Instant) {
        self.versions.insert(address.into(), (versions.into(), now + VERSIONS_LIFE));
    }

    /// The server at `address` was found to speak this era.
    pub fn speaks(&self, address: &str, era: Era, now: Instant) {
        self.eras.insert(address.into(), (era, now + VERSIONS_LIFE));
    }

    /// What the server at `address` was found to speak does not hold any more.
    pub fn forget_era(&self, address: &str) {
        self.eras.remove(address);
    }

    /// Which era the server at `address` was found to speak not long ago.
    pub fn era(&self, address: &str, now: Instant) -> Option<Era> {
        let (era, until) = self.eras.get(address)?;
        (now < until).then_some(era)
    }

    /// What calls that are bridged leave for those behind them.
    pub(crate) fn bridged(&self) -> Held {
        self.bridged.clone()
    }

    /// Which versions the server at `address` serves, where it was asked not long ago.
    pub fn served(&self, address: &str, now: Instant) -> Option<Arc<[&'static str]>> {
        let (versions, until) = self.versions.get(address)?;
        (now < until).then_some(versions)
    }

    /// The tools of the server at `address` have these arguments in headers.
    pub fn mirrors(&self, address: &str, tools: MirroredTools) {
        self.mirrored.insert(address.into(), Arc::new(tools));
    }

    /// Which arguments the tools of the server at `address` have in headers, as far as its listings told; `None` where none has.
    pub fn mirrored(&self, address: &str) -> Option<Arc<MirroredTools>> {
        self.mirrored.get(address)
    }

    /// A pinned tool was seen, under this name of it.
    pub fn saw(&self, tool: Box<str>, sight: Arc<Sight>) {
        self.sights.insert(tool, sight);
    }

    /// What the tool was when it was last seen.
    pub fn sight(&self, tool: &str) -> Option<Arc<Sight>> {
        self.sights.get(tool)
    }

    /// What the arguments of an operation are, compiled once; `key` is of its API's digest and its name.
    pub fn schema_of(&self, key: &str, definition: &str) -> Arc<InputSchema> {
        if let Some(known) = self.schemas.get(key) {
            return known;
        }
        let schema = Arc::new(InputSchema::of(definition));
        self.schemas.insert(key.into(), schema.clone());
        schema
    }

    /// A call about `part` made a task.
    pub fn task_made(&self, task: TaskKey, part: Arc<Part>) {
        self.tasks.insert(task, part);
    }

    /// What the call was about that made a task; `None` of one that is forgotten.
    ///
    /// This is asked from within an answer, so it is not asynchronous; a shared store would be read before the answer.
    pub fn maker_of(&self, task: &TaskKey) -> Option<Arc<Part>> {
        self.tasks.get(task)
    }

    /// What ended the chain of a call by `caller`, as far as this gateway knows.
    ///
    /// # Errors
    /// `internal` where that cannot be told.
    pub fn ended(&self, chain: &Chain, caller: &EntityId) -> Result<Option<Arc<str>>, Refusal> {
        self.ended.by(chain, caller)
    }

    /// The chain of a call by `caller` is ended here at once, and then for all gateways that share a store. A call that begins a chain has
    /// none to end.
    ///
    /// # Errors
    /// `standing_unavailable` where only this gateway knows; `internal` where it cannot know either.
    pub async fn end_chain(
        &self,
        (chain, caller): (&Chain, &EntityId),
        by: &Arc<str>,
        now: Instant,
    ) -> Result<(), Refusal> {
        if chain.actors.is_empty() {
            return Ok(());
        }
        let life = self.keeps.quiet_of(chain.began_elsewhere());
        let ended = EndedChain::of(chain, caller, by.clone());
        let marked = self.ended.mark(ended.clone(), (now, now + life));
        if let Some(store) = &self.store {
            store.end(&ended, life).await?;
        }
        marked.map(|_is_news| ())
    }

    /// Takes up what a permitted call took before a start, at that time.
    ///
    /// # Errors
    /// `overloaded` when as much as can be kept is.
    pub fn take_restored(&self, taken: &Taken, at: Instant) -> Result<(), Refusal> {
        let mut chains = self.chains()?;
        let taken = self.kept_here(taken);
        let (so_far, _) = chains.reserve(&taken, at)?;
        self.returning.flows(&taken, &so_far.labels);
        chains.permitted(&taken, &so_far.labels, at)
    }

    /// Such a call ended at that time, and used so much.
    pub fn settle_restored(&self, taken: &Taken, used: Used, at: Instant) {
        if let Err(refusal) = self.return_here(taken, at) {
            tracing::warn!(%refusal, "what an agent knew that was called before the start could not be taken up");
        }
        if let Ok(mut chains) = self.chains() {
            chains.settled(&self.kept_here(taken), used);
        }
    }

    /// How long the end of a chain is kept at most.
    pub fn longest_end(&self) -> Duration {
        self.keeps.quiet_of(true)
    }

    /// A chain was ended before a start, at that time.
    pub fn end_restored(&self, (chain, caller): (&Chain, &EntityId), by: &Arc<str>, at: Instant) {
        let life = self.keeps.quiet_of(chain.began_elsewhere());
        let ended = EndedChain::of(chain, caller, by.clone());
        if let Err(refusal) = self.ended.mark(ended, (at, at + life)) {
            tracing::error!(transaction = %chain.transaction, %refusal, "a chain that was ended could not be kept so");
        }
    }

    /// A label was taken away by an act: before a start, or at another gateway. What was read since stays.
    pub fn declassified(&self, act: &ActRecord<'_>, now: Moment) {
        let Act::Declassify(of) = &act.act else { return };
        let ago = act.time.parse::<Timestamp>().ok().and_then(|time| {
            Duration::try_from(Timestamp::try_from(now.wall).ok()?.duration_since(time))
                .ok()
                .or(Some(Duration::ZERO))
        });
        // Of an act whose time is not known it is not known what came since.
        let Some(at) = ago.and_then(|ago| now.monotonic.checked_sub(ago)) else { return };
        let Ok(mut chains) = self.chains() else { return };
        match &of.subject {
            Subject::Chain(transaction) => chains.forget_of_chain(transaction, &of.label),
            agent => chains.forget(&agent.to_string().into(), &of.label, of.person.as_deref(), at),
        }
    }

    /// Where gateways share a store, counts are there.
    fn kept_here(&self, taken: &Taken) -> Taken {
        match self.store {
            Some(_) => Taken { counted: None, fan_out: None, ..taken.clone() },
            None => taken.clone(),
        }
    }

    /// Whether there is anything to declassify: what is named has read the label, as far as this gateway knows, or any that shares the store.
    ///
    /// # Errors
    /// `standing_unavailable` where the store does not answer.
    pub async fn has_read(&self, of: &Declassified, now: Instant) -> Result<bool, Refusal> {
        if self.has_read_here(of, now)? {
            return Ok(true);
        }
        let Some(store) = &self.store else { return Ok(false) };
        match &of.subject {
            Subject::Chain(transaction) => store.chain_has(transaction, &of.label).await,
            agent => store.has_read(&agent.to_string(), &of.label, of.person.as_deref()).await,
        }
    }

    fn has_read_here(&self, of: &Declassified, now: Instant) -> Result<bool, Refusal> {
        let mut chains = self.chains()?;
        Ok(match &of.subject {
            Subject::Chain(transaction) => chains.has(transaction, &of.label),
            agent => chains.has_read(&agent.to_string().into(), &of.label, of.person.as_deref(), now),
        })
    }

    /// Takes a label away from an agent (`Kind/namespace/name`): of one person, or where none is named of all.
    ///
    /// # Errors
    /// `standing_unavailable` where the store does not answer; this gateway has forgotten it all the same.
    pub async fn declassify(
        &self,
        agent: &Arc<str>,
        label: &str,
        person: Option<&str>,
        now: Instant,
    ) -> Result<(), Refusal> {
        self.chains()?.forget(agent, label, person, now);
        match &self.store {
            Some(store) => store.forget(agent, label, person).await,
            None => Ok(()),
        }
    }

    /// Takes a label away from a chain.
    ///
    /// # Errors
    /// As [`StandingState::declassify`].
    pub async fn declassify_chain(&self, transaction: &Arc<str>, label: &str) -> Result<(), Refusal> {
        self.chains()?.forget_of_chain(transaction, label);
        match &self.store {
            Some(store) => store.forget_of_chain(transaction, label).await,
            None => Ok(()),
        }
    }

    /// What agents have read, as far as this gateway knows.
    pub fn all_read(&self, now: Instant) -> Vec<Window> {
        self.chains().map(|chains| chains.all_read(now)).unwrap_or_default()
    }

    fn chains(&self) -> Result<MutexGuard<'_, Chains>, Refusal> {
        // Whoever panicked while holding the table left every later call refused; there is nothing to undo.
        self.chains.lock().map_err(|_| Refusal::new(Code::Internal, "the state of chains is unknown"))
    }
}

impl TaskKey {
    /// The task that an upstream calls `task`. `holder` is who it was made for, at which object.
    pub fn of(holder: &str, task: &str) -> Self {
        let mut context = Context::new(&SHA256);
        // The length keeps the two apart.
        context.update(&holder.len().to_le_bytes());
        context.update(holder.as_bytes());
        context.update(task.as_bytes());
        let mut key = [0; 32];
        key.iter_mut().zip(context.finish().as_ref()).for_each(|(to, from)| *to = *from);
        Self(key)
    }
}

#[cfg(test)]
mod tests;
