//! Reading the log once, in its order, and deciding on all cores. Calls on one edge share what is compiled of it.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use vidimus_core::decision::Outcome;
use vidimus_core::record::{DecisionRecord, Kept, Record};
use vidimus_core::recorded::{Foreseen, Recorded};
use vidimus_core::refusal::Code;
use vidimus_core::snapshot::Snapshot;
use vidimus_ledger::{Hit, Query, SearchError};
use vidimus_registry::configurations::Archive;

use super::call::{Parts, target};
use super::settled::Known;
use super::tally::{Became, MAX_EDGES, Tally};
use super::worlds::{World, Worlds};
use super::{By, ReplayAnswer, ReplayQuestion};

/// Records that go to a core at once.
const BATCH: usize = 512;
/// How the record of an effect begins.
const OF_EFFECT: &[u8] = b"{\"bytes_in\":";
/// Batches that wait for a core.
const WAITING: usize = 8;

/// How far a replay has come: called with the number of records that were read.
pub type Progress<'a> = &'a mut dyn FnMut(u64);

/// Decides the recorded calls of the log in `ledger` again, with the configurations that are kept in `archive`.
///
/// # Errors
/// When the log cannot be read at all.
pub fn replay(
    ledger: &Path,
    archive: &Archive,
    question: &ReplayQuestion,
    by: &By,
    progress: Progress<'_>,
) -> Result<ReplayAnswer, SearchError> {
    run(ledger, archive, question, (None, by), progress)
}

/// Decides the recorded calls by one set of policies and by another, and tells how the second one differs from the first.
///
/// # Errors
/// See [`replay`].
pub fn compare(
    ledger: &Path,
    archive: &Archive,
    question: &ReplayQuestion,
    (old, new): (&By, &By),
    progress: Progress<'_>,
) -> Result<ReplayAnswer, SearchError> {
    run(ledger, archive, question, (Some(old), new), progress)
}

fn run(
    ledger: &Path,
    archive: &Archive,
    question: &ReplayQuestion,
    (old, by): (Option<&By>, &By),
    progress: Progress<'_>,
) -> Result<ReplayAnswer, SearchError> {
    let before = old.map(|old| Worlds::new(archive, old));
    let worlds = Worlds::new(archive, by);
    let itself = By::Itself;
    let in_force = Worlds::new(archive, &itself);
    let mut damage = Vec::new();
    let tallies =
        each_decision(ledger, question, progress, &mut damage, |index, record, tally: &mut Tally, seen| {
            let was = match &before {
                None => Became::Known { allowed: was_allowed(record), policies: Vec::new() },
                Some(before) => decide(record, before, &mut seen.before),
            };
            let mut became = (was, decide(record, &worlds, &mut seen.after));
            if became.0.is_unknown() || became.1.is_unknown() {
                let known = Known {
                    // What a record is held against says nothing of itself.
                    in_force: (!matches!(by, By::Itself))
                        .then(|| world(record, &in_force, &mut seen.in_force)),
                    before: before.as_ref().map(|before| world(record, before, &mut seen.before)),
                    after: world(record, &worlds, &mut seen.after),
                };
                became = known.settled(record).unwrap_or(became);
            }
            let (was, became) = became;
            tally.add(index, record, &was, became);
        })?;
    let mut all = Tally::default();
    tallies.into_iter().for_each(|one| all.merge(one));
    let mut answer = all.answer();
    answer.edges_left_out = answer.edges.len().saturating_sub(MAX_EDGES);
    answer.edges.truncate(MAX_EDGES);
    (answer.unusable, answer.unverified) = worlds.told();
    answer.damage = damage;
    answer.proposed = match by {
        By::Itself => None,
        By::Proposed(proposed, _) => Some(proposed.digest().to_owned()),
    };
    Ok(answer)
}

/// What one core has seen: the configurations by their digests, so that nobody waits for another core.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    before: HashMap<Arc<str>, World>,
    after: HashMap<Arc<str>, World>,
    in_force: HashMap<Arc<str>, World>,
}

/// Gives each record of the log that may be of a decision and fits the question to one of several threads; what each of them made of
/// its own.
pub(crate) fn each_decision<T: Default + Send>(
    ledger: &Path,
    question: &ReplayQuestion,
    progress: Progress<'_>,
    damage: &mut Vec<String>,
    visit: impl Fn(u64, &DecisionRecord<'_>, &mut T, &mut Seen) + Sync,
) -> Result<Vec<T>, SearchError> {
    let query = Query {
        agent: question.principal.clone(),
        resource: question.resource.clone(),
        since: question.since,
        until: question.until,
        ..Query::default()
    };
    let hits = vidimus_ledger::search(ledger, &query)?;
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let (give, take) = sync_channel::<Vec<Hit>>(WAITING);
    let take = Mutex::new(take);
    Ok(std::thread::scope(|scope| {
        let work = || {
            let (mut made, mut seen) = (T::default(), Seen::default());
            while let Some(batch) = next(&take) {
                for hit in batch {
                    // Members are sorted: half of all records are known by the first not to be decisions.
                    if !hit.record.starts_with(OF_EFFECT)
                        && let Ok(Record::Decision(record)) = Kept::read(&hit.record)
                    {
                        visit(hit.index, &record, &mut made, &mut seen);
                    }
                }
            }
            made
        };
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let mut batch = Vec::with_capacity(BATCH);
        let mut read = 0;
        for hit in hits {
            match hit {
                Ok(hit) => batch.push(hit),
                Err(error) => damage.push(error.to_string()),
            }
            read += 1;
            if batch.len() == BATCH {
                // Whoever takes has gone only if it panicked, which shows below.
                let _ = give.send(std::mem::replace(&mut batch, Vec::with_capacity(BATCH)));
                progress(read);
            }
        }
        let _ = give.send(batch);
        drop(give);
        progress(read);
        let ended = workers.into_iter().map(std::thread::ScopedJoinHandle::join);
        ended.map(|made| made.unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    }))
}

fn next(take: &Mutex<Receiver<Vec<Hit>>>) -> Option<Vec<Hit>> {
    take.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}

/// Whether a recorded call was let through.
pub(crate) fn was_allowed(record: &DecisionRecord<'_>) -> bool {
    [Outcome::Allow, Outcome::AllowWithObligations].iter().any(|outcome| *outcome.as_str() == *record.outcome)
}

fn world(record: &DecisionRecord<'_>, worlds: &Worlds<'_>, seen: &mut HashMap<Arc<str>, World>) -> World {
    if let Some(world) = seen.get(&*record.snapshot) {
        return world.clone();
    }
    let world = worlds.of(&record.snapshot);
    seen.insert(record.snapshot.as_ref().into(), world.clone());
    world
}

fn decide(record: &DecisionRecord<'_>, worlds: &Worlds<'_>, seen: &mut HashMap<Arc<str>, World>) -> Became {
    match world(record, worlds, seen) {
        Ok(world) => again(record, &world),
        Err(why) => unknown(format!("the configuration {}: {why}", record.snapshot)),
    }
}

fn unknown(why: String) -> Became {
    Became::Unknown(BTreeSet::from([why]))
}

/// The codes of what is refused by a limit of the records of agents and tools, whatever the policies say. What such a limit counted stands
/// in no record, so the limit's word stands.
const BY_LIMITS: [Code; 6] = [
    Code::DelegationTooDeep,
    Code::DelegationTooWide,
    Code::ChainLimit,
    Code::ChainEnded,
    Code::ToolDrifted,
    Code::Unrepresentable,
];

fn again(record: &DecisionRecord<'_>, world: &Snapshot) -> Became {
    let by_limit = BY_LIMITS.iter().any(|code| record.code.as_deref() == Some(code.as_str()));
    if by_limit {
        return Became::Known {
            allowed: false,
            policies: record.policies.iter().map(ToString::to_string).collect(),
        };
    }
    let Some(parts) = Parts::of(record) else { return unknown("a call of another version".to_owned()) };
    let Some(caller) = parts.caller(world) else {
        return unknown(format!("no {} is registered", parts.principal));
    };
    let Some(target) = target(world, &parts.resource) else {
        return unknown(format!("nothing is registered for {}", parts.resource));
    };
    let recorded = Recorded::of(record);
    let mut call = parts.call(record, &caller, target);
    call.ask.tokens_estimated = recorded.tokens_estimated().unwrap_or_default();
    call.ask.streaming = recorded.streaming().unwrap_or_default();
    match recorded.foresee(world, &call) {
        Foreseen::Certain { outcome, policies, .. } => Became::Known {
            allowed: matches!(outcome, Outcome::Allow | Outcome::AllowWithObligations),
            policies: policies.iter().map(ToString::to_string).collect(),
        },
        Foreseen::Open { lacks, .. } if lacks.is_empty() => unknown("context".to_owned()),
        Foreseen::Open { lacks, .. } => Became::Unknown(lacks.iter().map(ToString::to_string).collect()),
    }
}
