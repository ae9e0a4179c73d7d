//! What is kept of addresses for news: which were closed, and of which task news came first by one that was made before there was any.
//!
//! It is of one gateway, and a restart forgets it. An agent that keeps to the protocol sends nothing more to an address whose configuration was
//! deleted; what is kept here is for one that does not.

use std::convert::Infallible;
use std::sync::Mutex;
use std::time::Instant;

use quick_cache::sync::Cache;
use vidimus_core::caller::UnixMillis;
use vidimus_core::entity::EntityId;
use vidimus_core::refusal::{Code, Refusal};

use super::Address;
use crate::refusal_sampler::{Buckets, Rate, Rates};
use crate::standing::TaskKey;

/// Of how many addresses something is kept; the one used least is forgotten first.
const KEPT: usize = 65_536;

/// How many agents' rates are told apart.
const AGENTS: usize = 8_192;

/// How often news come: from all agents, and from one.
const RATES: Rates =
    Rates { all: Rate { burst: 4_000, per_second: 1_000 }, each: Rate { burst: 400, per_second: 50 } };

/// The state, of all workers.
#[derive(Debug)]
pub struct NewsState {
    closed: Cache<TaskKey, UnixMillis>,
    first: Cache<TaskKey, Box<str>>,
    rates: Mutex<Buckets<EntityId>>,
}

impl Default for NewsState {
    fn default() -> Self {
        Self { closed: Cache::new(KEPT), first: Cache::new(KEPT), rates: Mutex::new(Buckets::new(AGENTS)) }
    }
}

impl NewsState {
    /// One more comes from this agent.
    ///
    /// # Errors
    /// `overloaded` where too many do.
    pub fn enter(&self, agent: &EntityId, now: Instant) -> Result<(), Refusal> {
        const NEXT: &str = "Send fewer news of tasks: 400 at once and 50 a second of one agent are taken.";
        let fits = self.rates.lock().is_ok_and(|mut rates| rates.fits(agent.clone(), RATES, now));
        if fits {
            return Ok(());
        }
        Err(Refusal::new(Code::Overloaded, "news of tasks come faster than they are taken").with_next(NEXT))
    }

    /// The configuration of this id is deleted of a task that `holder` has: addresses that were made for it until `now` are closed, and those
    /// of the task whose configuration has no id that is known here.
    pub fn close(&self, holder: &str, task: &str, config: Option<&str>, now: UnixMillis) {
        self.closed.insert(key(holder, task, None), now);
        if config.is_some() {
            self.closed.insert(key(holder, task, config), now);
        }
    }

    /// Whether an address is closed, of this task.
    pub fn is_closed(&self, holder: &str, task: &str, address: &Address) -> bool {
        let closed = self.closed.get(&key(holder, task, address.config()));
        closed.is_some_and(|closed| address.made() <= closed)
    }

    /// Whether news by an address are of its task: the one that it was made for, or else the one of which they came first.
    pub fn is_of(&self, sealed: &str, address: &Address, task: &str) -> bool {
        if let Some(made_for) = address.task() {
            return made_for == task;
        }
        let came = || Ok::<Box<str>, Infallible>(task.into());
        let first = self.first.get_or_insert_with(&TaskKey::of("news", sealed), came);
        first.is_ok_and(|first| *first == *task)
    }
}

/// What is kept of a task's configuration of this id, or of those without one that is known.
fn key(holder: &str, task: &str, config: Option<&str>) -> TaskKey {
    // The length keeps the two apart.
    let config = config.map(|config| format!("\n{config}")).unwrap_or_default();
    TaskKey::of(holder, &format!("{}\n{task}{config}", task.len()))
}
