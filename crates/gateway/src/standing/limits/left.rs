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
        self.meter.limits().left(limits.values().map(|limit| of(limit, None, limit.amount)), left);
    }
}

/// The limits that policies in force declare, by their ids.
fn declared(world: &Snapshot) -> HashMap<&str, &Limit> {
    world.limits().map(|limit| (&*limit.id, &**limit)).collect()
}

fn of(limit: &Limit, team: Option<Arc<str>>, amount: i64) -> Amount {
    Amount { limit: limit.id.clone(), team, of: limit.of, amount }
}

impl Counters {
    /// What is left of each of these, of all whose calls it counts apart to whom the least is left: for each team where it is counted by teams. Nothing
    /// of one of which nothing was taken.
    pub(super) fn left(&self, limits: &HashMap<&str, &Limit>, now: Moment) -> Vec<Amount> {
        let mut least: BTreeMap<(Arc<str>, Option<Arc<str>>), i64> = BTreeMap::new();
        for shard in self.shards.iter() {
            // What a panic left half done is shown as it is.
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            for (_, _, count) in shard.iter() {
                let Some(limit) = limits.get(&*count.limit) else { continue };
                let Some(left) = count.left(limit, self.at(limit.window, now)) else { continue };
                let whose = (count.limit.clone(), count.team.clone());
                least.entry(whose).and_modify(|least| *least = left.min(*least)).or_insert(left);
            }
        }
        let amount = |((id, team), left): ((Arc<str>, _), _)| Some(of(limits.get(&*id)?, team, left));
        least.into_iter().filter_map(amount).collect()
    }
}
