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
    /// For whom tasks were made, by agent and task.
    owners: Cache<TaskKey, TaskKey>,
    rates: Mutex<Buckets<EntityId>>,
}

impl Default for NewsState {
    fn default() -> Self {
        let rates = Mutex::new(Buckets::new(AGENTS));
        Self { closed: Cache::new(KEPT), first: Cache::new(KEPT), owners: Cache::new(KEPT), rates }
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

    /// An answer of the agent's says that `holder` made this task; whose it was before it stays.
    pub fn made(&self, agent: &EntityId, holder: &str, task: &str) {
        let owner = || Ok::<TaskKey, Infallible>(TaskKey::of(holder, ""));
        let _ = self.owners.get_or_insert_with(&TaskKey::of(&agent.to_string(), task), owner);
    }

    /// Whether news by an address are of its task: the one that it was made for, or else the one of which they came first. Who learns its address
    /// sends news itself, so none of them are of a task that this `agent` made for another than the `holder` of the address.
    pub fn is_of(
        &self,
        sealed: &str,
        address: &Address,
        (agent, holder, task): (&EntityId, &str, &str),
    ) -> bool {
        if let Some(made_for) = address.task() {
            return made_for == task;
        }
        let owner = self.owners.get(&TaskKey::of(&agent.to_string(), task));
        if owner.is_some_and(|owner| owner != TaskKey::of(holder, "")) {
            return false;
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use vidimus_core::entity::EntityKind;

    use super::*;

    fn address(more: &Value) -> Address {
        let mut held = json!({"p": "Agent/f/a", "i": "x", "x": "t", "b": 0, "m": 5, "w": "https://h/"});
        held.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        serde_json::from_value(held).expect("an address")
    }

    #[test]
    fn what_is_deleted_closes_what_was_made_for_it_and_nothing_else() {
        let state = NewsState::default();
        let (none, own, other) =
            (address(&json!({})), address(&json!({"n": "own"})), address(&json!({"n": "other"})));
        let closed = |task: &str| [&none, &own, &other].map(|address| state.is_closed("h", task, address));
        assert_eq!(closed("1"), [false, false, false]);
        state.close("h", "1", Some("own"), UnixMillis(5));
        assert_eq!((closed("1"), closed("2")), ([true, true, false], [false, false, false]));
        assert!(!state.is_closed("another holder", "1", &own));
        assert!(!state.is_closed("h", "1", &address(&json!({"n": "own", "m": 6}))), "made anew");
    }

    /// Attack: an address that was made before there was a task, for whatever task.
    #[test]
    fn an_address_is_of_one_task() {
        let state = NewsState::default();
        let (made_for, open) = (address(&json!({"t": "1"})), address(&json!({})));
        let agent = EntityId::new(EntityKind::Agent, "f/a");
        let is_of = |sealed: &str, address: &Address, task: &str| {
            state.is_of(sealed, address, (&agent, "holder", task))
        };
        assert!(is_of("a", &made_for, "1") && !is_of("a", &made_for, "2"));
        assert!(is_of("b", &open, "2") && is_of("b", &open, "2"));
        assert!(!is_of("b", &open, "1") && is_of("c", &open, "1"));
        // Another's.
        state.made(&agent, "another", "3");
        state.made(&agent, "holder", "3");
        state.made(&EntityId::new(EntityKind::Agent, "f/b"), "another", "4");
        state.made(&agent, "holder", "4");
        assert!(!is_of("d", &open, "3") && is_of("d", &open, "4"));
    }

    /// Attack: an agent that sends without end.
    #[test]
    fn one_agent_takes_no_more_than_its_rate() {
        let (state, now) = (NewsState::default(), Instant::now());
        let agent = |name: &str| EntityId::new(EntityKind::Agent, format!("f/{name}"));
        let came = (0..1_000).filter(|_| state.enter(&agent("a"), now).is_ok()).count();
        assert_eq!(came, 400);
        assert!(state.enter(&agent("b"), now).is_ok());
        assert!(state.enter(&agent("a"), now + std::time::Duration::from_secs(1)).is_ok());
    }
}
