//! The state that several gateways share, in a Redis or a Valkey. Each operation is one script, so none sees half of another.
//!
//! All keys begin with `{vidimus}`, which is one slot of a cluster (ADR 103): a script takes keys of one slot alone.
//!
//! While there is no connection, whoever needs the state is refused at once: nobody waits for a store, and nothing is counted twice.

pub mod acts;
mod address;
pub mod leases;
pub mod limits;
mod live;
mod returned;

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};
use std::{fmt, io};

use arc_swap::ArcSwapOption;
use futures_util::StreamExt as _;
use redis::aio::{MultiplexedConnection, PubSub};
use redis::{AsyncConnectionConfig, FromRedisValue, RedisError, RedisResult, Script, ScriptInvocation};
use tokio::time::MissedTickBehavior;
use vidimus_core::call::{Collected, SoFar};
use vidimus_core::caller::UnixMillis;
use vidimus_core::refusal::{Code, Refusal};

use self::acts::ACTS;
use self::address::Node;
pub use self::address::{NotAStore, StandingAddress, StandingFiles};
use self::leases::{Leases, RENEWED};
use self::live::Live;
use super::chains::{each_once, full};
use super::ended::EndedChain;
use super::taken::{Taken, Used};
use super::{StandingState, Window};
use crate::fair_share::Denied;
use crate::gate::Shared;

/// How long an answer may take. The store is near.
const ANSWER: Duration = Duration::from_millis(500);
/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(2);
/// Between two tries to connect.
const RETRY: Duration = Duration::from_millis(200);
/// Between two looks whether the connection lives, and the store is what it was; also while others tell things all the time.
const LOOK: Duration = Duration::from_secs(1);
/// For so long after it began nothing is asked of a store, while other gateways tell it what they know: each looks once in a [`LOOK`].
const TOLD: Duration = Duration::from_secs(2);
/// How much is told in one go.
const TOGETHER: usize = 256;

const BORN: &str = "{vidimus}:born";
/// Also the channel on which gateways tell each other.
const ENDED: &str = "{vidimus}:ended";
/// The chains that are counted; with who began them, those.
const CHAINS: &str = "{vidimus}:chains";
/// Stands for a key that a script does not use.
const NONE: &str = "{vidimus}:none";
/// Between a label and a person, and between the parts of an origin.
const BAR: char = '\u{1f}';

static RESERVE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("store/reserve.lua")));
static PERMITTED: LazyLock<Script> = LazyLock::new(|| {
    Script::new(concat!(include_str!("store/remember.lua"), include_str!("store/permitted.lua")))
});
static CLOSED: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("store/closed.lua")));
static END: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("store/end.lua")));

/// A store, and the connection to it.
pub struct Store {
    address: StandingAddress,
    live: ArcSwapOption<Live>,
    leases: Leases,
    /// [`Live::born`] of the last connection; 0 before the first.
    born: AtomicI64,
}

/// The client's own form could show a password.
impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("connected", &self.is_connected()).finish_non_exhaustive()
    }
}

impl Store {
    /// The store at an address. It is connected to by [`follow`].
    pub fn at(address: StandingAddress) -> Self {
        Self { address, live: ArcSwapOption::empty(), leases: Leases::new(), born: AtomicI64::new(0) }
    }

    pub fn is_connected(&self) -> bool {
        self.live.load().is_some()
    }

    /// The connection, where there is one, and what gateways agree on is known.
    ///
    /// # Errors
    /// `standing_unavailable`.
    pub fn live(&self) -> Result<Arc<Live>, Refusal> {
        self.live.load_full().ok_or_else(|| unavailable("there is no connection to it"))
    }

    async fn run<T: FromRedisValue>(&self, script: &ScriptInvocation<'_>) -> Result<T, Refusal> {
        let live = self.live()?;
        live.run(script).await
    }

    /// As [`super::chains::Chains::reserve`]; whether the destination has a place is told too.
    pub async fn reserve(
        &self,
        taken: &Taken,
        life: Duration,
        most_chains: usize,
    ) -> Result<(SoFar, bool), Refusal> {
        let live = self.live()?;
        let transaction = &taken.transaction;
        let flow = taken.flow.as_ref();
        let counted = taken.counted.filter(|_| taken.has_chain());
        let estimated = counted.unwrap_or_default();
        let mut script = RESERVE.prepare_invoke();
        script
            .key(BORN)
            .key(chain_key(transaction))
            .key(labels_key(transaction))
            .key(reached_key(taken))
            .key(flow.map_or_else(|| NONE.to_owned(), |flow| read_key(flow.caller())))
            .key(CHAINS)
            .key(format!("{CHAINS}:{}", taken.began_by))
            .arg(u8::from(taken.continues))
            .arg(taken.started.0)
            .arg(millis(life))
            .arg(u8::from(counted.is_some()))
            .arg(estimated.tokens)
            .arg(estimated.spend)
            .arg(taken.fan_out.as_ref().map_or(String::new(), |it| it.destination.to_string()))
            .arg(taken.fan_out.as_ref().map_or(0, |it| it.limit))
            .arg(u8::from(flow.is_some()))
            .arg(flow.and_then(|flow| flow.person.as_deref()).unwrap_or_default())
            .arg(if taken.has_chain() { &**transaction } else { "" })
            .arg(most_chains)
            .arg(live.born());
        let found: Vec<String> = live.run(&script).await?;
        let mut found = found.into_iter();
        match (found.next().as_deref(), found.as_slice()) {
            (Some("ok"), [calls, tokens, spend, fan_out, placed, labels @ ..]) => {
                let number = |text: &String| text.parse().map_err(|_| not_understood());
                // A label that is not understood is not one that nobody has.
                let labels: Option<Vec<Collected>> = labels.chunks(2).map(collected).collect();
                let labels = labels.ok_or_else(not_understood)?;
                let so_far = SoFar {
                    calls: number(calls)?,
                    tokens: number(tokens)?,
                    spend: number(spend)?,
                    fan_out: number(fan_out)?,
                    labels: each_once(labels),
                    ended: None,
                    limits: Vec::new(),
                };
                Ok((so_far, placed == "1"))
            }
            (Some("ended"), [by]) => {
                Ok((SoFar { ended: Some(by.as_str().into()), ..SoFar::default() }, false))
            }
            (Some("lost"), []) => {
                let message = "the store of what gateways share began anew since this chain did";
                Err(Refusal::new(Code::StandingUnavailable, message))
            }
            // Over a connection that is whole: what was in it is gone, and is told again when it is connected to anew.
            (Some("anew"), []) => {
                live.is_broken();
                Err(lost())
            }
            (Some("full"), []) => Err(full(Denied::Empty, most_chains, &taken.began_by)),
            (Some("share"), []) => Err(full(Denied::Share, most_chains, &taken.began_by)),
            _ => Err(not_understood()),
        }
    }

    /// As [`super::chains::Chains::permitted`].
    pub async fn permitted(
        &self,
        taken: &Taken,
        known: &[Collected],
        (life, window): (Duration, Duration),
    ) -> Result<(), Refusal> {
        let flow = taken.flow.as_ref();
        let of_chain = flow.map(|flow| flow.of_chain(known)).unwrap_or_default();
        let spread = flow.map(|flow| flow.spread(known)).unwrap_or_default();
        if taken.fan_out.is_none() && of_chain.is_empty() && spread.is_empty() {
            return Ok(());
        }
        let mut script = PERMITTED.prepare_invoke();
        script.key(labels_key(&taken.transaction)).key(reached_key(taken));
        script.arg(millis(life));
        script.arg(taken.fan_out.as_ref().map_or(String::new(), |it| it.destination.to_string()));
        script.arg(u8::from(taken.has_chain())).arg(of_chain.len());
        for one in &of_chain {
            script.arg(&*one.label).arg(origin(one));
        }
        script.arg(millis(window)).arg(flow.and_then(|flow| flow.person.as_deref()).unwrap_or_default());
        script.arg(super::chains::MOST_LABELS);
        for (agent, labels) in &spread {
            script.key(read_key(agent)).arg(labels.len());
            for one in labels {
                script.arg(&*one.label).arg(origin(one));
            }
        }
        self.run(&script).await
    }

    /// The call was not permitted, or has ended and used so much.
    pub async fn closed(&self, taken: &Taken, used: Option<Used>) -> Result<(), Refusal> {
        let counted = taken.counted.filter(|_| taken.has_chain());
        let (estimated, spent) = (counted.unwrap_or_default(), used.unwrap_or_default());
        let mut script = CLOSED.prepare_invoke();
        script
            .key(chain_key(&taken.transaction))
            .key(reached_key(taken))
            .arg(u8::from(used.is_some()))
            .arg(u8::from(counted.is_some()))
            .arg(estimated.tokens)
            .arg(estimated.spend)
            .arg(spent.tokens)
            .arg(spent.spend)
            .arg(taken.fan_out.as_ref().map_or(String::new(), |it| it.destination.to_string()));
        self.run(&script).await
    }

    /// The chain is ended, for all gateways.
    pub async fn end(&self, ended: &EndedChain, life: Duration) -> Result<(), Refusal> {
        self.run(&end(ended, life)).await
    }

    /// Whether an agent has read a label; for one person, or where none is named for anybody.
    pub async fn has_read(&self, agent: &str, label: &str, person: Option<&str>) -> Result<bool, Refusal> {
        static HAS_READ: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("store/has_read.lua")));
        let mut script = HAS_READ.prepare_invoke();
        let any = u8::from(person.is_none());
        script.key(read_key(agent)).arg(label).arg(any).arg(person.unwrap_or_default());
        self.run(&script).await
    }

    /// Whether a chain has a label.
    pub async fn chain_has(&self, transaction: &str, label: &str) -> Result<bool, Refusal> {
        static HAS: LazyLock<Script> =
            LazyLock::new(|| Script::new("return redis.call('HEXISTS', KEYS[1], ARGV[1])"));
        let mut script = HAS.prepare_invoke();
        script.key(labels_key(transaction)).arg(label);
        self.run(&script).await
    }

    /// A label is taken away from an agent; of one person, or where none is named of all.
    pub async fn forget(&self, agent: &str, label: &str, person: Option<&str>) -> Result<(), Refusal> {
        static FORGET: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("store/forget.lua")));
        let mut script = FORGET.prepare_invoke();
        let all = u8::from(person.is_none());
        script.key(read_key(agent)).arg(label).arg(all).arg(person.unwrap_or_default());
        self.run(&script).await
    }

    /// A label is taken away from a chain.
    pub async fn forget_of_chain(&self, transaction: &str, label: &str) -> Result<(), Refusal> {
        static FORGET: LazyLock<Script> =
            LazyLock::new(|| Script::new("redis.call('HDEL', KEYS[1], ARGV[1]) return 1"));
        let mut script = FORGET.prepare_invoke();
        script.key(labels_key(transaction)).arg(label);
        self.run(&script).await
    }

    /// What a connection consists of, of a store that has the keys.
    async fn opened(&self, node: Option<&Node>) -> RedisResult<(PubSub, MultiplexedConnection)> {
        let client = self.address.client(node)?;
        let config = AsyncConnectionConfig::new()
            .set_response_timeout(Some(ANSWER))
            .set_connection_timeout(Some(CONNECT));
        // The client has no time for all of this: a store that takes the connection and says nothing would be waited for for ever.
        let opened = tokio::time::timeout(CONNECT, async {
            let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
            let _: Option<String> = redis::cmd("GET").arg(BORN).query_async(&mut connection).await?;
            let mut listening = client.get_async_pubsub().await?;
            listening.subscribe(&[ENDED, ACTS]).await?;
            Ok((listening, connection))
        });
        let silent =
            |_| RedisError::from(io::Error::new(io::ErrorKind::TimedOut, "the store does not answer"));
        opened.await.map_err(silent)?
    }

    /// Connects, takes over which chains were ended, tells what this gateway knows, and listens until the connection breaks.
    async fn connected(&self, shared: &Arc<Shared>) -> RedisResult<()> {
        let state = &shared.standing;
        let (mut listening, mut connection) = match self.opened(None).await {
            // The keys are at another node of the cluster: that is asked, and asked nothing where it says so too.
            Err(error) => match Node::named_by(&error) {
                Some(node) => self.opened(Some(&node)).await?,
                None => return Err(error),
            },
            opened => opened?,
        };
        // What others did while nobody listened here, before anything is told: what was taken away meanwhile is not told again.
        shared.agree(&mut connection).await?;
        let (seconds, micros): (i64, i64) = redis::cmd("TIME").query_async(&mut connection).await?;
        // A store that has nothing begins now: what was counted before is not known here.
        let born = seconds * 1000 + micros / 1000;
        let _: Option<String> =
            redis::cmd("SET").arg(BORN).arg(born).arg("NX").query_async(&mut connection).await?;
        let born: i64 = redis::cmd("GET").arg(BORN).query_async(&mut connection).await?;
        tell(&mut connection, state).await?;
        self.renew(&mut connection).await?;
        // Of what one store had and the next does not, others know a part: each is there again, or gone, after so long. That it began just now
        // may be all that a gateway sees which was just started.
        let age = Duration::from_millis(u64::try_from(seconds * 1000 + micros / 1000 - born).unwrap_or(0));
        let is_new = ![0, born].contains(&self.born.swap(born, Ordering::AcqRel));
        if is_new {
            tracing::warn!("the store of what gateways share has lost what it had; they tell it again");
        }
        if let Some(left) = TOLD.checked_sub(age) {
            tokio::time::sleep(left).await;
            shared.agree(&mut connection).await?;
        }
        // What was ended.
        let (seconds, _): (i64, i64) = redis::cmd("TIME").query_async(&mut connection).await?;
        let kept: Vec<(String, f64)> = redis::cmd("ZRANGE")
            .arg(ENDED)
            .arg(0)
            .arg(-1)
            .arg("WITHSCORES")
            .query_async(&mut connection)
            .await?;
        for (ended, until) in kept {
            let left = Duration::try_from_secs_f64(until / 1000.0 - seconds as f64).unwrap_or_default();
            heard(state, &format!("{ended}{BAR}{}", left.as_millis()));
        }
        let live = Arc::new(Live::over(connection.clone(), born));
        self.live.store(Some(live.clone()));
        tracing::info!("the store of what gateways share is connected");
        let mut messages = listening.on_message();
        let mut look = tokio::time::interval_at(tokio::time::Instant::now() + LOOK, LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut renew = tokio::time::interval(RENEWED);
        renew.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                message = messages.next() => match message {
                    Some(message) if message.get_channel_name() == ACTS => shared.hear(&mut connection).await?,
                    Some(message) => heard(state, &message.get_payload::<String>()?),
                    None => return Ok(()),
                },
                () = live.until_broken() => return Ok(()),
                _ = renew.tick() => self.renew(&mut connection).await?,
                // Also where nothing was heard: the store may have begun anew.
                _ = look.tick() => {
                    shared.hear(&mut connection).await?;
                    let now: Option<i64> = redis::cmd("GET").arg(BORN).query_async(&mut connection).await?;
                    if now != Some(born) {
                        return Ok(());
                    }
                }
            }
        }
    }
}

/// Keeps the connection to the store for as long as the process lives: to be run by one task. Does nothing where there is no store.
pub async fn follow(shared: Arc<Shared>) {
    let Some(store) = shared.standing.store() else { return };
    // Why it was lost, as the log was told.
    let mut told: Option<String> = None;
    loop {
        let ended = store.connected(&shared).await;
        let was_connected = store.live.swap(None).is_some();
        // What ends a connection that was good says nothing of how it was made.
        let why =
            |error: RedisError| if was_connected { error.to_string() } else { store.address.why(&error) };
        let error = ended.err().map(why).unwrap_or_default();
        if was_connected || told.as_ref() != Some(&error) {
            tracing::error!(
                error,
                "the store of what gateways share is lost: calls that it must be asked for are refused"
            );
            told = Some(error);
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// Tells the store what this gateway knows: it may have lost it. What is there already stays.
async fn tell(connection: &mut MultiplexedConnection, state: &StandingState) -> RedisResult<()> {
    let now = Instant::now();
    let mut all = Vec::new();
    for (ended, left) in state.ended.all(now) {
        all.push(end(&ended, left));
    }
    for Window { agent, what, person, left } in state.all_read(now) {
        let mut script = PERMITTED.prepare_invoke();
        script.key(NONE).key(NONE).key(read_key(&agent)).arg(1).arg("").arg(0).arg(0);
        script.arg(millis(left)).arg(person.as_deref().unwrap_or_default()).arg(super::chains::MOST_LABELS);
        script.arg(1).arg(&*what.label).arg(origin(&what));
        all.push(script);
    }
    for together in all.chunks(TOGETHER) {
        let mut pipe = redis::pipe();
        pipe.load_script(&END).ignore().load_script(&PERMITTED).ignore();
        for script in together {
            pipe.invoke_script(script).ignore();
        }
        let () = pipe.query_async(connection).await?;
    }
    Ok(())
}

fn end(ended: &EndedChain, life: Duration) -> ScriptInvocation<'static> {
    let mut script = END.prepare_invoke();
    script.key(chain_key(&ended.transaction)).key(ENDED).arg(&*ended.transaction).arg(&*ended.by);
    script.arg(millis(life)).arg(ended.began_by.to_string()).arg(ended.started.0);
    script
}

/// It began anew since this gateway told it what it knows.
fn lost() -> Refusal {
    unavailable("it has lost what it had")
}

fn not_understood() -> Refusal {
    unavailable("an answer is not understood")
}

fn misheard() {
    tracing::error!("what the store of what gateways share says of a chain that was ended is not understood");
}

/// Another gateway, or this one, ended a chain.
fn heard(state: &StandingState, message: &str) {
    let parts: Vec<&str> = message.split(BAR).collect();
    let [transaction, by, began_by, started, life] = *parts.as_slice() else {
        return misheard();
    };
    let (Ok(began_by), Ok(started), Ok(life)) = (began_by.parse(), started.parse(), life.parse()) else {
        return misheard();
    };
    let now = Instant::now();
    let started = UnixMillis(started);
    let ended = EndedChain { transaction: transaction.into(), began_by, started, by: by.into() };
    if let Err(refusal) = state.ended.mark(ended, (now, now + Duration::from_millis(life))) {
        tracing::error!(transaction, %refusal, "a chain that another gateway ended could not be kept");
    }
}

fn unavailable(detail: impl ToString) -> Refusal {
    Refusal::new(Code::StandingUnavailable, "the store of what gateways share does not answer")
        .with_detail(detail)
}

fn chain_key(transaction: &str) -> String {
    format!("{{vidimus}}:chain:{transaction}")
}

fn labels_key(transaction: &str) -> String {
    format!("{{vidimus}}:labels:{transaction}")
}

fn reached_key(taken: &Taken) -> String {
    let agent = taken.fan_out.as_ref().map(|fan_out| &*fan_out.agent);
    agent
        .map_or_else(|| NONE.to_owned(), |agent| format!("{{vidimus}}:reached:{}:{agent}", taken.transaction))
}

/// What an agent has read.
fn read_key(agent: &str) -> String {
    format!("{{vidimus}}:read:{agent}")
}

fn origin(one: &Collected) -> String {
    format!("{}{BAR}{}", one.from, one.call)
}

fn collected(pair: &[String]) -> Option<Collected> {
    let [label, origin] = pair else { return None };
    // What was called can have any name; the id of a call has no bar.
    let (from, call) = origin.rsplit_once(BAR)?;
    Some(Collected { label: label.as_str().into(), from: from.into(), call: call.into() })
}

fn millis(length: Duration) -> u64 {
    u64::try_from(length.as_millis()).unwrap_or(u64::MAX).max(1)
}
