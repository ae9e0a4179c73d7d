//! What one call needs: the gate holds it, shared between the worker threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use tokio::sync::{Semaphore, watch};
use vidimus_core::caller::UnixMillis;
use vidimus_core::clock::Clock;
use vidimus_core::record::Kept;
use vidimus_core::resource::Object;
use vidimus_core::resource::limit::LimitWindow;
use vidimus_core::snapshot::Snapshot;
use vidimus_identity::{Authenticator, LivePods, Mint};
use vidimus_ledger::Ledger;

use crate::access_log::AccessLog;
use crate::accounts::Accounts;
use crate::acts::{Acts, Stood};
use crate::bodies::Bodies;
use crate::changes::RedactedCalls;
use crate::failover::Failovers;
use crate::forward::Upstream;
use crate::guard_webhooks::GuardWebhooks;
use crate::last_calls::LastCalls;
use crate::meter::Meter;
use crate::payloads::PayloadKeys;
use crate::provider_credentials::ProviderCredentials;
use crate::questions::Questions;
use crate::refusal_sampler::{Rate, RefusalSampler};
use crate::rollouts::Rollouts;
use crate::seal::Seal;
use crate::secrets::{SecretDirectory, SecretKeys};
use crate::source_state::{Noted, SourceState};
use crate::spans::Spans;
use crate::standing::StandingState;
use crate::standing::chains::Keeps;
use crate::standing::store::{self, StandingAddress, Store};
use crate::telemetry::Telemetry;
use crate::vitals::Vitals;
use crate::xds::Planes;

/// Every limit of the data path, with its default. Sizes in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Body of an MCP or A2A message.
    pub message_body: usize,
    /// Body of a model request, which may carry images.
    pub model_body: usize,
    /// All request bodies that are held at once, by what has arrived of them. One caller alone has at most a half.
    pub held_bodies: usize,
    /// An upstream answer, or one event of it, that has to be read whole (a filtered listing, a card).
    pub held_answer: usize,
    /// All request headers of one request together (HTTP/1.1 buffer, HTTP/2 header list).
    pub headers: usize,
    /// From accepted connection, or the end of the last request, to complete headers; for TLS, to a finished handshake as well.
    pub header_time: Duration,
    /// From complete headers to a complete body. Also how long a caller may take nothing of what is written to it.
    pub body_time: Duration,
    /// For a server to say what one of its tools is, when a call of it is held, and when it was approved.
    pub definition_time: Duration,
    /// For how long it is believed of a pinned tool what its server said it is; then the server is asked before the next call.
    pub definition_life: Duration,
    /// For the members of a server to answer what all are asked (initialize, lists).
    pub member_time: Duration,
    /// Between two chunks of an upstream's streamed answer.
    pub idle_stream: Duration,
    /// How long running calls may take to end when the gateway stops.
    pub grace: Duration,
    /// Client connections open at once, over all workers. One source alone has at most a half.
    pub connections: usize,
    /// Calls under way at once, from a proven caller to the end of the answer. One caller alone has at most a half.
    pub calls: usize,
    /// Calls that are jobs (`spec.job`) under way at once, over all servers, until nothing of them is left in the cluster. One caller alone has
    /// at most a half.
    pub jobs: usize,
    /// HTTP/2 streams of one connection.
    pub streams: u32,
    /// Life of a minted token.
    pub token_life: Duration,
    /// Chains of which something is counted at once, agents of which it is kept what they have read, and ended chains; one more is
    /// refused.
    pub counted_chains: usize,
    /// How long such a chain is quiet before it is forgotten. Longer than any token that continues it lives.
    pub quiet_chain: Duration,
    /// For how long an agent has what it has read (`context.labels`), also beyond the chain in which it did.
    pub label_window: Duration,
    /// Tasks whose maker is kept, so that a list of tasks shows each caller its own; the one used least is forgotten first.
    pub listed_tasks: usize,
    /// Refusals of registered principals that are recorded one by one; further ones are counted.
    pub refused: Rate,
    /// Of them, those of one principal.
    pub refused_principal: Rate,
    /// Refusals of callers that proved nobody that are recorded one by one; further ones are counted.
    pub unproven: Rate,
    /// Of them, those of one source.
    pub unproven_source: Rate,
    /// Sources, and principals, that are told apart by these.
    pub unproven_sources: usize,
    /// Between two records of how many were counted.
    pub unproven_interval: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_body: 4 * 1024 * 1024,
            model_body: 32 * 1024 * 1024,
            held_bodies: 512 * 1024 * 1024,
            held_answer: 8 * 1024 * 1024,
            headers: 64 * 1024,
            header_time: Duration::from_secs(10),
            body_time: Duration::from_secs(30),
            definition_time: Duration::from_secs(10),
            definition_life: Duration::from_secs(60),
            member_time: Duration::from_secs(10),
            idle_stream: Duration::from_secs(300),
            grace: Duration::from_secs(10),
            connections: 16_384,
            calls: 16_384,
            jobs: 256,
            streams: 256,
            token_life: Duration::from_secs(120),
            counted_chains: 65_536,
            quiet_chain: Duration::from_secs(600),
            label_window: Duration::from_secs(3600),
            listed_tasks: 65_536,
            refused: Rate { burst: 5000, per_second: 100 },
            refused_principal: Rate { burst: 500, per_second: 10 },
            unproven: Rate { burst: 1000, per_second: 100 },
            unproven_source: Rate { burst: 200, per_second: 20 },
            unproven_sources: 8192,
            unproven_interval: Duration::from_secs(10),
        }
    }
}

/// What a gateway is made from.
#[derive(Debug)]
pub struct Config {
    /// The configuration to begin with.
    pub snapshot: Arc<Snapshot>,
    pub authenticator: Authenticator,
    pub mint: Arc<Mint>,
    pub ledger: Ledger,
    /// What stands by acts, with which `snapshot` was made.
    pub stood: Stood,
    /// Seals the ids that upstreams give out.
    pub seal: Seal,
    pub telemetry: Telemetry,
    pub limits: Limits,
    /// Where the keys of providers are read from that records name by file; without it, none is.
    pub secrets: Option<SecretDirectory>,
    /// The gateway's own address as callers see it, without a trailing slash: `https://gateway.example`.
    pub public_url: String,
    /// Where people see what waits for them, without a trailing slash; without it no held call leads there.
    pub admin_url: Option<String>,
    /// Browser origins that may call, e.g. `https://console.example`.
    pub allowed_origins: Vec<String>,
    /// The one clock: wall time of records and tokens, and the time that limits count by.
    pub clock: Arc<dyn Clock>,
    /// What several gateways share; without it each has its own.
    pub store: Option<StandingAddress>,
    /// Where the spans are kept that agents send; without it none are taken.
    pub spans: Option<Spans>,
    /// Where the keys of kept payloads are.
    pub payload_keys: PayloadKeys,
    /// Where it is told whether everything still runs.
    pub vitals: Vitals,
}

/// The parts that every worker shares.
#[derive(Debug)]
pub struct Shared {
    pub(crate) world: World,
    pub(crate) authenticator: Authenticator,
    pub(crate) mint: Arc<Mint>,
    pub ledger: Ledger,
    pub acts: Acts,
    /// What people look at before they approve a call.
    pub questions: Questions,
    pub(crate) seal: Seal,
    pub(crate) payload_keys: Arc<PayloadKeys>,
    pub(crate) standing: Arc<StandingState>,
    pub(crate) provider_credentials: ProviderCredentials,
    pub(crate) failovers: Failovers,
    pub(crate) guard_webhooks: GuardWebhooks,
    pub(crate) accounts: Accounts,
    pub(crate) bodies: Bodies,
    /// A long listing is looked at by one thread at a time.
    pub(crate) long_listings: Arc<Semaphore>,
    /// Calls under way by the ids that their callers have for them.
    pub(crate) redacted_calls: RedactedCalls,
    pub(crate) refusals: RefusalSampler,
    pub(crate) access_log: AccessLog,
    pub meter: Meter,
    /// When each principal called last.
    pub last_calls: LastCalls,
    /// What namespaces that observe let pass.
    pub rollouts: Rollouts,
    pub vitals: Vitals,
    pub telemetry: Telemetry,
    pub(crate) spans: Option<Spans>,
    /// What data planes make of their configuration.
    pub planes: Planes,
    pub(crate) limits: Limits,
    pub(crate) public_url: String,
    pub(crate) admin_url: Option<String>,
    pub(crate) allowed_origins: Vec<String>,
    pub(crate) clock: Arc<dyn Clock>,
    source: ArcSwap<Noted>,
}

impl Shared {
    pub fn new(config: Config) -> Self {
        let limits = config.limits;
        let keeps =
            Keeps { capacity: limits.counted_chains, quiet: limits.quiet_chain, window: limits.label_window };
        let world = World::new(config.snapshot);
        let wakes = world.changed.clone();
        let standing = StandingState::new(keeps, limits.listed_tasks, wakes, config.store.map(Store::at));
        Self {
            world,
            authenticator: config.authenticator,
            mint: config.mint,
            ledger: config.ledger,
            acts: Acts::new(config.stood),
            questions: Questions::default(),
            seal: config.seal,
            payload_keys: Arc::new(config.payload_keys),
            provider_credentials: ProviderCredentials::new(config.secrets),
            failovers: Failovers::default(),
            guard_webhooks: GuardWebhooks::default(),
            accounts: Accounts::new(standing.clone(), (limits.calls, limits.jobs)),
            standing,
            long_listings: Arc::new(Semaphore::new(1)),
            bodies: Bodies::new(limits.held_bodies, limits.body_time),
            redacted_calls: RedactedCalls::default(),
            refusals: RefusalSampler::new(&limits),
            access_log: AccessLog::new(config.clock.now().monotonic),
            meter: Meter::new(&config.vitals),
            last_calls: LastCalls::default(),
            rollouts: Rollouts::default(),
            vitals: config.vitals,
            telemetry: config.telemetry,
            spans: config.spans,
            planes: Planes::default(),
            limits,
            public_url: config.public_url,
            admin_url: config.admin_url,
            allowed_origins: config.allowed_origins,
            clock: config.clock,
            source: ArcSwap::default(),
        }
    }

    /// What the configuration is read from, and since when that is not heard of.
    pub fn source_state(&self) -> SourceState {
        self.source.load().state.clone()
    }

    /// The same, with its age.
    pub(crate) fn source(&self) -> Arc<Noted> {
        self.source.load_full()
    }

    /// How old the configuration is.
    pub fn source_age(&self) -> Duration {
        self.source().age(self.clock.now())
    }

    /// Says what became of what the configuration is read from. While that is not heard of, to be said again every few seconds: streams of
    /// routes that close by it look then whether they go on.
    pub fn note_source(&self, state: SourceState) {
        let is_stale = state.stale.is_some();
        self.source.store(Arc::new(self.source().next(state, self.clock.now())));
        if is_stale {
            self.wake_streams();
        }
    }

    /// Asks for the keys of the cluster's issuer before a call needs them. Within a Tokio runtime that lives as long as the gateway.
    pub fn prepare_issuer(&self) {
        self.authenticator.prepare(&self.snapshot(), millis(self.clock.now().wall));
    }

    /// The issuers whose keys could not be fetched when that was tried last.
    pub fn unfetched_issuers(&self) -> Vec<Arc<str>> {
        self.authenticator.unfetched()
    }

    /// The keys of Secrets that records name are held by `keys`, from before the first call.
    pub fn hold_secrets(&self, keys: Arc<dyn SecretKeys>) {
        self.provider_credentials.hold(keys);
    }

    /// The pods that there are, for whoever watches them to say so; then [`Shared::wake_streams`] ends the streams of those that are gone.
    pub const fn live_pods(&self) -> &LivePods {
        self.authenticator.pods()
    }

    /// The configuration that decides now.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.world.current.load_full()
    }

    /// Decides by `next` from now on. Answers that are still being streamed are decided again, and what people were asked by policies that it
    /// does not have is void ([`Shared::record_void`]).
    pub fn take_into_use(&self, next: Arc<Snapshot>) {
        let before = self.world.current.swap(next);
        self.void_changed(Some(&before), &self.snapshot());
        self.world.changed.send_modify(|changes| *changes += 1);
    }

    /// The admin address as people reach it, where that is said: without a trailing slash.
    pub fn people_url(&self) -> Option<&str> {
        self.admin_url.as_deref()
    }

    /// Takes up what was counted before the start, from the records of at least [`Shared::counted_window_of`], oldest first, as far as
    /// it counts by `world`, which is to be taken into use next. To be called once, before any call.
    pub fn restore(&self, world: &Snapshot, records: impl Iterator<Item = Kept>) {
        self.accounts.restore(world, (records, self.counted_window_of(world)), self.clock.now());
    }

    /// Takes up which chains were ended before the start, from the records of at least [`Shared::longest_end`] of decisions with
    /// the fact `chain.ended_by`, oldest first. To be called once, before any call.
    pub fn restore_ended(&self, records: impl Iterator<Item = Kept>) {
        self.accounts.restore_ended(records, self.clock.now());
    }

    /// How long it is kept that a chain was ended.
    pub fn longest_end(&self) -> Duration {
        self.standing.longest_end()
    }

    /// Whether a configuration has anything counted, so that there is something to restore.
    pub fn counts_anything(world: &Snapshot) -> bool {
        let reads = world.chain_reads();
        // What such an agent reaches is counted whatever policies read.
        let has_limit = |object: &Object| match object {
            Object::Agent(agent) => agent.delegation.max_fan_out.is_some(),
            Object::Policy(policy) => !policy.limits.is_empty(),
            Object::Service(_) | Object::McpServer(_) | Object::LlmProvider(_) => false,
        };
        !reads.is_nothing() || reads.labels_kept || reads.ends || world.objects().iter().any(has_limit)
    }

    /// Keeps the connection to the store that gateways share: to be run by one task. Ends at once where there is none.
    pub async fn follow_store(self: Arc<Self>) {
        store::follow(self).await;
    }

    /// Whether what gateways share can be asked for; true where they share nothing.
    pub fn has_store(&self) -> bool {
        self.standing.store().is_none_or(|store| store.is_connected())
    }

    /// From how long before a start the records say what still counts: [`Limits::label_window`], and the windows of the limits that policies declare,
    /// a day at most.
    pub fn counted_window(&self) -> Duration {
        self.counted_window_of(&self.snapshot())
    }

    /// The same by another configuration than the one in use.
    pub fn counted_window_of(&self, world: &Snapshot) -> Duration {
        const DAY: Duration = Duration::from_secs(24 * 3600);
        let longest = world.limits().map(|limit| limit.window.length()).max().unwrap_or_default();
        longest.min(DAY).max(self.limits.label_window)
    }

    /// Of how long ago what was taken of limits still counts, where that is longer than [`Shared::counted_window_of`]: since a fixed window began, or as
    /// long as one slides. Of records that are older than that nothing else is to be restored.
    pub fn older_limits_of(&self, world: &Snapshot) -> Option<Duration> {
        let now = u64::try_from(millis(self.clock.now().wall).0).unwrap_or_default();
        let counts = world.limits().map(|limit| match limit.window {
            LimitWindow::Fixed(length) => Duration::from_millis(now.checked_rem(length).unwrap_or_default()),
            LimitWindow::Sliding(length) => Duration::from_millis(length),
            LimitWindow::UnderWay => Duration::ZERO,
        });
        counts.max().filter(|longest| *longest > self.counted_window_of(world))
    }

    /// [`Limits::label_window`].
    pub fn label_window(&self) -> Duration {
        self.limits.label_window
    }

    /// [`Limits::connections`].
    pub fn connections(&self) -> usize {
        self.limits.connections
    }

    /// There is little room for the ledger, or there is enough again: while there is not, refusals are counted and not recorded one by
    /// one, so that who is refused does not take the room of what is allowed.
    pub fn spare_disk(&self, spare: bool) {
        self.refusals.spare_disk(spare);
    }

    /// Has every stream look whether it goes on.
    pub fn wake_streams(&self) {
        self.world.changed.send_modify(|changes| *changes += 1);
    }

    /// The gateway stops, and the time for running calls to end is over: what is still being streamed ends now.
    pub fn cut(&self) {
        self.world.cut.store(true, Ordering::Release);
        self.world.changed.send_modify(|changes| *changes += 1);
    }
}

/// The configuration in force, and word of its changes.
#[derive(Debug)]
pub(crate) struct World {
    current: ArcSwap<Snapshot>,
    /// Nothing is to be streamed any more.
    cut: AtomicBool,
    /// The number of changes so far, of either.
    changed: watch::Sender<u64>,
}

impl World {
    fn new(snapshot: Arc<Snapshot>) -> Self {
        Self { current: ArcSwap::new(snapshot), cut: AtomicBool::new(false), changed: watch::Sender::new(0) }
    }

    /// Whether this is the configuration in force.
    pub(crate) fn is(&self, snapshot: &Arc<Snapshot>) -> bool {
        Arc::ptr_eq(&self.current.load(), snapshot)
    }

    /// Whether what is still being streamed is to end.
    pub(crate) fn is_cut(&self) -> bool {
        self.cut.load(Ordering::Acquire)
    }

    /// Learns of every later change.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }
}

/// One worker's gate: the shared parts, and its own upstream connections.
#[derive(Clone, Debug)]
pub struct Gate {
    pub shared: Arc<Shared>,
    pub upstream: Upstream,
}

impl std::ops::Deref for Gate {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.shared
    }
}

/// Wall-clock time in milliseconds.
pub fn millis(time: SystemTime) -> UnixMillis {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMillis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// RFC 3339 UTC with microseconds, as records carry it.
pub fn rfc3339(time: SystemTime) -> String {
    match jiff::Timestamp::try_from(time) {
        Ok(timestamp) => format!("{timestamp:.6}"),
        Err(_) => "1970-01-01T00:00:00.000000Z".to_owned(),
    }
}
