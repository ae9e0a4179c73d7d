//! The state of chains, and of what agents have read, in this process.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use vidimus_core::call::{Collected, SoFar};
use vidimus_core::entity::EntityId;
use vidimus_core::refusal::{Code, Refusal};

use super::Window;
use super::taken::{FanOut, Taken, Used};
use crate::fair_share::Denied;
use crate::table::{Divided, Entry, Table};

/// How long the state of a chain that began elsewhere is kept: as long as issuers let tokens live.
const ELSEWHERE: Duration = Duration::from_secs(24 * 3600);

/// Labels of one agent that are told apart by person. Of more, each counts for everybody.
pub const MOST_LABELS: usize = 1024;

/// The state of all chains, and what agents have read.
#[derive(Debug)]
pub struct Chains {
    /// By transaction; each is of who began it, so that nobody takes the place of others' chains.
    chains: Divided<Arc<str>, EntityId, Chain>,
    /// By `Kind/namespace/name`.
    readers: Table<Arc<str>, Reader>,
    keeps: Keeps,
}

/// How much is kept, and how long.
#[derive(Clone, Copy, Debug)]
pub struct Keeps {
    /// At most so many chains, and agents that have read something.
    pub capacity: usize,
    /// A chain is forgotten when it was quiet for so long.
    pub quiet: Duration,
    /// For so long an agent has what it has read.
    pub window: Duration,
}

/// One chain.
#[derive(Debug)]
struct Chain {
    /// Permitted, or being decided.
    calls: i64,
    used: Used,
    /// As estimated, of calls under way.
    under_way: Used,
    destinations: HashMap<Arc<str>, Vec<(EntityId, Use)>>,
    labels: Vec<Collected>,
    /// Calls that are being decided, or under way.
    open: usize,
    last: Instant,
    quiet: Duration,
}

/// How a destination came to be counted.
#[derive(Debug, Default)]
struct Use {
    /// Some call was permitted there: it counts for good.
    permitted: bool,
    /// Calls that are being decided.
    undecided: usize,
}

/// What an agent has read.
#[derive(Debug, Default)]
struct Reader {
    labels: Vec<Read>,
}

#[derive(Debug)]
struct Read {
    what: Collected,
    /// For whom; `None` counts for everybody.
    person: Option<Arc<str>>,
    until: Instant,
}

impl Entry for Chain {
    fn is_unused(&self, now: Instant) -> bool {
        self.open == 0 && now.saturating_duration_since(self.last) >= self.quiet
    }
}

impl Entry for Reader {
    fn is_unused(&self, now: Instant) -> bool {
        self.labels.iter().all(|read| read.until <= now)
    }
}

impl Keeps {
    /// How long a chain is kept that nobody calls in.
    pub fn quiet_of(&self, began_elsewhere: bool) -> Duration {
        if began_elsewhere { self.quiet.max(ELSEWHERE) } else { self.quiet }
    }
}

impl Chains {
    pub fn new(keeps: Keeps) -> Self {
        let capacity = keeps.capacity;
        Self { chains: Divided::new(capacity), readers: Table::new(capacity), keeps }
    }

    /// What the chain comes to with a call, which has its place in it from here on until it is [`Chains::released`] or
    /// [`Chains::settled`]. So of two calls at once only one can be the last that fits. Whether its destination has a place is told too.
    ///
    /// # Errors
    /// `overloaded` when as many chains as can be held are in use, or as many that were begun by the same as is fair to the others.
    pub fn reserve(&mut self, taken: &Taken, now: Instant) -> Result<(SoFar, bool), Refusal> {
        let mut so_far = SoFar { labels: self.known(taken, now), ..SoFar::default() };
        if !taken.has_chain() {
            return Ok((so_far, false));
        }
        let chain = self.chain(taken, now)?;
        chain.open += 1;
        if let Some(estimated) = taken.counted {
            so_far.calls = chain.calls.saturating_add(1);
            so_far.tokens = chain.used.tokens.saturating_add(chain.under_way.tokens);
            so_far.spend = chain.used.spend.saturating_add(chain.under_way.spend);
            chain.calls = so_far.calls;
            chain.under_way = chain.under_way.plus(estimated);
        }
        let mut placed = false;
        if let Some(fan_out) = &taken.fan_out {
            let count = chain.reach(fan_out);
            placed = count <= fan_out.limit;
            so_far.fan_out = i64::try_from(count).unwrap_or(i64::MAX);
        }
        Ok((so_far, placed))
    }

    /// The call was permitted: its destination counts, and what it brings is known. `known` is what its caller knew.
    ///
    /// # Errors
    /// `overloaded` when what is known of as many agents as can be is.
    pub fn permitted(&mut self, taken: &Taken, known: &[Collected], now: Instant) -> Result<(), Refusal> {
        if let Some(chain) = self.chains.get_mut(&taken.transaction) {
            if let Some(fan_out) = &taken.fan_out {
                chain.decided(fan_out, true);
            }
            if let Some(flow) = taken.flow.as_ref().filter(|_| taken.has_chain()) {
                for one in flow.of_chain(known) {
                    if chain.labels.iter().all(|had| had.label != one.label) {
                        chain.labels.push(one);
                    }
                }
            }
        }
        let Some(flow) = &taken.flow else { return Ok(()) };
        flow.spread(known).into_iter().try_for_each(|(agent, labels)| {
            labels.into_iter().try_for_each(|one| self.read(&agent, one, flow.person.clone(), now))
        })
    }

    /// The call was not permitted: it has taken nothing.
    pub fn released(&mut self, taken: &Taken) {
        let Some(chain) = self.chains.get_mut(&taken.transaction).filter(|_| taken.has_chain()) else {
            return;
        };
        chain.open = chain.open.saturating_sub(1);
        if let Some(estimated) = taken.counted {
            chain.calls = chain.calls.saturating_sub(1);
            chain.under_way = chain.under_way.minus(estimated);
        }
        if let Some(fan_out) = &taken.fan_out {
            chain.decided(fan_out, false);
        }
        if chain.is_empty() {
            self.chains.remove(&taken.transaction);
        }
    }

    /// A permitted call ended, and used so much.
    pub fn settled(&mut self, taken: &Taken, used: Used) {
        let Some(chain) = self.chains.get_mut(&taken.transaction).filter(|_| taken.has_chain()) else {
            return;
        };
        chain.open = chain.open.saturating_sub(1);
        if let Some(estimated) = taken.counted {
            chain.under_way = chain.under_way.minus(estimated);
            chain.used = chain.used.plus(used);
        }
    }

    /// An agent has read something, for a person or for whomever.
    ///
    /// # Errors
    /// As [`Chains::permitted`].
    pub fn read(
        &mut self,
        agent: &Arc<str>,
        what: Collected,
        person: Option<Arc<str>>,
        now: Instant,
    ) -> Result<(), Refusal> {
        let until = now + self.keeps.window;
        let Some(reader) = self.readers.entry(agent.clone(), now, Reader::default) else {
            let message = format!("what {} agents have read is kept already", self.keeps.capacity);
            return Err(Refusal::new(Code::Overloaded, message));
        };
        reader.labels.retain(|read| read.until > now);
        let person = person.filter(|_| reader.labels.len() < MOST_LABELS);
        let had = |read: &&mut Read| read.what.label == what.label && read.person == person;
        match reader.labels.iter_mut().find(had) {
            // Where it first came from stays; that it came again keeps it longer.
            Some(read) => read.until = until,
            None => reader.labels.push(Read { what, person, until }),
        }
        Ok(())
    }

    /// What the caller of a call knows: what its chain has, and what it has read itself for the same person or for nobody. Who acts
    /// for nobody knows all that it has read for anybody.
    pub fn known(&mut self, taken: &Taken, now: Instant) -> Vec<Collected> {
        let Some(flow) = &taken.flow else { return Vec::new() };
        let chain = self.chains.get_mut(&taken.transaction).filter(|_| taken.has_chain());
        let mut known: Vec<Collected> = chain.map(|chain| chain.labels.clone()).unwrap_or_default();
        if let Some(reader) = self.readers.get_mut(&Arc::from(flow.caller())) {
            let counts = |read: &&Read| {
                let same = flow.person.is_none() || read.person.is_none() || read.person == flow.person;
                same && read.until > now
            };
            known.extend(reader.labels.iter().filter(counts).map(|read| read.what.clone()));
        }
        each_once(known)
    }

    /// What agents have read, for a store that lost it.
    pub fn all_read(&self, now: Instant) -> Vec<Window> {
        let mut all = Vec::new();
        for (agent, reader) in self.readers.iter() {
            for read in reader.labels.iter().filter(|read| read.until > now) {
                let (what, person) = (read.what.clone(), read.person.clone());
                all.push(Window { agent: agent.clone(), what, person, left: read.until - now });
            }
        }
        all
    }

    /// Takes away from an agent a label that it had at a time; of one person, or where none is named of all.
    pub fn forget(&mut self, agent: &Arc<str>, label: &str, person: Option<&str>, at: Instant) {
        let until = at + self.keeps.window;
        let Some(reader) = self.readers.get_mut(agent) else { return };
        let is_it = |read: &Read| {
            let of_person = person.is_none() || read.person.as_deref() == person;
            *read.what.label == *label && of_person && read.until <= until
        };
        reader.labels.retain(|read| !is_it(read));
    }

    /// Whether a chain has a label.
    pub fn has(&mut self, transaction: &Arc<str>, label: &str) -> bool {
        let chain = self.chains.get_mut(transaction);
        chain.is_some_and(|chain| chain.labels.iter().any(|one| *one.label == *label))
    }

    /// Whether an agent has read a label; for one person, or where none is named for anybody.
    pub fn has_read(&mut self, agent: &Arc<str>, label: &str, person: Option<&str>, now: Instant) -> bool {
        let reader = self.readers.get_mut(agent);
        reader.is_some_and(|reader| {
            reader.labels.iter().any(|read| {
                let of_person = person.is_none() || read.person.as_deref() == person;
                *read.what.label == *label && of_person && read.until > now
            })
        })
    }

    /// Takes a label away from a chain.
    pub fn forget_of_chain(&mut self, transaction: &Arc<str>, label: &str) {
        if let Some(chain) = self.chains.get_mut(transaction) {
            chain.labels.retain(|one| *one.label != *label);
        }
    }

    fn chain(&mut self, taken: &Taken, now: Instant) -> Result<&mut Chain, Refusal> {
        let quiet = self.keeps.quiet_of(taken.began_elsewhere);
        let capacity = self.keeps.capacity;
        let (transaction, began_by) = (taken.transaction.clone(), &taken.began_by);
        let chain = self.chains.entry(transaction, began_by, now, || Chain::new(now, quiet));
        let chain = chain.map_err(|denied| full(denied, capacity, began_by))?;
        chain.last = chain.last.max(now);
        Ok(chain)
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.chains.len()
    }
}

/// There is no room for one more chain.
pub(super) fn full(denied: Denied, capacity: usize, began_by: &EntityId) -> Refusal {
    let message = match denied {
        Denied::Empty => format!("{capacity} chains of which something is counted are under way"),
        Denied::Share => format!(
            "as many chains that {began_by} began are under way as is fair to the others; they are over when they were quiet for a while"
        ),
    };
    Refusal::new(Code::Overloaded, message)
}

/// Sorted, each label by the call that brought it first.
pub fn each_once(mut labels: Vec<Collected>) -> Vec<Collected> {
    labels.sort_by(|a, b| a.label.cmp(&b.label));
    labels.dedup_by(|a, b| a.label == b.label);
    labels
}

impl Chain {
    fn new(now: Instant, quiet: Duration) -> Self {
        Self {
            calls: 0,
            used: Used::default(),
            under_way: Used::default(),
            destinations: HashMap::new(),
            labels: Vec::new(),
            open: 0,
            last: now,
            quiet,
        }
    }

    /// How many destinations the agent has with this one, which has its place if it is not one too many.
    fn reach(&mut self, fan_out: &FanOut) -> usize {
        let destinations = self.destinations.entry(fan_out.agent.clone()).or_default();
        let count = destinations.len();
        match destinations.iter_mut().find(|(known, _)| *known == fan_out.destination) {
            Some((_, it)) => it.undecided += 1,
            None if count >= fan_out.limit => return count + 1,
            None => {
                let undecided = Use { permitted: false, undecided: 1 };
                destinations.push((fan_out.destination.clone(), undecided));
            }
        }
        destinations.len()
    }

    fn decided(&mut self, fan_out: &FanOut, permitted: bool) {
        let Some(destinations) = self.destinations.get_mut(&fan_out.agent) else { return };
        if let Some((_, it)) = destinations.iter_mut().find(|(known, _)| *known == fan_out.destination) {
            it.undecided = it.undecided.saturating_sub(1);
            it.permitted |= permitted;
        }
        // Another call to the same destination may have been permitted, or may still be.
        destinations.retain(|(_, it)| it.permitted || it.undecided > 0);
        if destinations.is_empty() {
            self.destinations.remove(&fan_out.agent);
        }
    }

    /// Whether nothing of it was permitted, or may still be.
    fn is_empty(&self) -> bool {
        self.open == 0 && self.calls == 0 && self.destinations.is_empty() && self.labels.is_empty()
    }
}

impl Used {
    pub fn plus(self, other: Self) -> Self {
        Self {
            tokens: self.tokens.saturating_add(other.tokens),
            spend: self.spend.saturating_add(other.spend),
        }
    }

    fn minus(self, other: Self) -> Self {
        Self {
            tokens: self.tokens.saturating_sub(other.tokens),
            spend: self.spend.saturating_sub(other.spend),
        }
    }
}
