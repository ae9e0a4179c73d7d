//! What is left of limits, for who looks on. Nothing is decided by it.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError};

use vidimus_core::clock::Moment;
use vidimus_core::resource::Limit;
use vidimus_core::snapshot::Snapshot;

use super::Counters;
use crate::gate::Shared;
use crate::meter::Amount;

impl Shared {
    /// Has the meter know what is left of the limits in force, as this gateway counts, before it is asked for.
    pub fn measure_limits(&self) {
        let world = self.snapshot();
        let limits = declared(&world);
        let left = self.standing.limits.left(&limits, self.clock.now());
        let least = limits.values().filter_map(|same| same.iter().min_by_key(|limit| limit.amount));
        self.meter.limits().left(least.map(|limit| of(limit, None, limit.amount)), left);
    }
}

/// The limits that policies in force declare, by their ids. Of two policies of one name both hold, and so do their limits.
fn declared(world: &Snapshot) -> HashMap<&str, Vec<&Limit>> {
    let mut all: HashMap<&str, Vec<&Limit>> = HashMap::new();
    for limit in world.limits() {
        all.entry(&*limit.id).or_default().push(limit);
    }
    all
}

fn of(limit: &Limit, team: Option<Arc<str>>, amount: i64) -> Amount {
    Amount { limit: limit.id.clone(), team, of: limit.of, amount }
}

/// The id of a limit, and the team where it is counted by teams.
type Whose = (Arc<str>, Option<Arc<str>>);

impl Counters {
    /// What is left of each of these, of all whose calls it counts apart to whom the least is left: for each team where it is counted by teams. Nothing
    /// of one of which nothing was taken. Of several of one id, that of which the least is left.
    pub(super) fn left(&self, limits: &HashMap<&str, Vec<&Limit>>, now: Moment) -> Vec<Amount> {
        let mut least: BTreeMap<Whose, (i64, &Limit)> = BTreeMap::new();
        for shard in self.shards.iter() {
            // What a panic left half done is shown as it is.
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            for (_, _, count) in shard.iter() {
                let same = limits.get(&*count.limit).map(Vec::as_slice).unwrap_or_default();
                let left = same
                    .iter()
                    .filter_map(|limit| Some((count.left(limit, self.at(limit.window, now))?, *limit)));
                let Some(found) = left.min_by_key(|(left, _)| *left) else { continue };
                let whose = (count.limit.clone(), count.team.clone());
                let known = least.entry(whose).or_insert(found);
                if found.0 < known.0 {
                    *known = found;
                }
            }
        }
        least.into_iter().map(|((_, team), (left, limit))| of(limit, team, left)).collect()
    }
}
