//! Calls that follow from each other, whichever logs they are in.

use std::collections::{BTreeMap, HashMap, VecDeque};

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use vidimus_core::decision::Outcome;
use vidimus_core::record::DecisionRecord;

use super::{Skew, micros};

/// Most chains that are held at a time; of more the one that began first is judged by what is known of it.
const MOST_CHAINS: usize = 65_536;
/// Most calls that are held of one chain.
const MOST_CALLS: usize = 256;

/// Those who acted in a chain until some point: a digest, so that what callers name takes no more than that.
type Way = [u8; 32];

/// A call of a chain.
struct Hop {
    log: usize,
    index: u64,
    time: Timestamp,
    /// By whom the caller was reached; `None` where the caller began the chain.
    by: Option<Way>,
    /// The same, with the caller, where the call was let pass, so that others may follow from it.
    to: Option<Way>,
}

/// The chains that were met.
#[derive(Default)]
pub(super) struct Chains {
    open: HashMap<String, Vec<Hop>>,
    /// In the order in which they began.
    order: VecDeque<String>,
    /// By the logs that were ahead and behind.
    seen: BTreeMap<(usize, usize), Skew>,
    passed_over: u64,
}

fn way<'a>(actors: impl IntoIterator<Item = &'a str>) -> Way {
    let mut digest = Sha256::new();
    for actor in actors {
        // With its length, so that no two ways have the same text.
        digest.update((actor.len() as u64).to_be_bytes());
        digest.update(actor);
    }
    digest.finalize().into()
}

impl Chains {
    pub(super) fn take(&mut self, log: usize, index: u64, time: Timestamp, decision: &DecisionRecord<'_>) {
        let transaction = &*decision.transaction;
        if transaction.is_empty() {
            return;
        }
        let actors = || decision.chain.iter().map(|actor| &**actor);
        let by = (!decision.chain.is_empty()).then(|| way(actors()));
        let is_let_pass = decision.outcome.starts_with(Outcome::Allow.as_str());
        let to = is_let_pass.then(|| way(actors().chain([&*decision.principal])));
        let hop = Hop { log, index, time, by, to };
        if let Some(hops) = self.open.get_mut(transaction) {
            if hops.len() < MOST_CALLS {
                hops.push(hop);
            } else {
                self.passed_over += 1;
            }
            return;
        }
        if self.order.len() == MOST_CHAINS
            && let Some(first) = self.order.pop_front()
            && let Some(hops) = self.open.remove(&first)
        {
            self.judge(&first, &hops);
        }
        self.order.push_back(transaction.to_owned());
        self.open.insert(transaction.to_owned(), vec![hop]);
    }

    /// Looks for calls that were decided before what they followed from, by their times.
    fn judge(&mut self, transaction: &str, hops: &[Hop]) {
        for then in hops {
            let Some(by) = &then.by else { continue };
            let mut before = hops.iter().filter(|hop| hop.to.as_ref() == Some(by));
            // It followed from one of these at least, and so from none before the earliest. Where they are in several logs, or one is in its
            // own, nothing is known of any clock.
            let Some(mut first) = before.next() else { continue };
            let mut is_one_log = first.log != then.log;
            for hop in before {
                is_one_log &= hop.log == first.log;
                if hop.time < first.time {
                    first = hop;
                }
            }
            if let (true, Some(at_least_us @ 1..)) = (is_one_log, micros(then.time, first.time)) {
                self.skewed(transaction, first, then, at_least_us);
            }
        }
    }

    fn skewed(&mut self, transaction: &str, first: &Hop, then: &Hop, at_least_us: u64) {
        let skew = self.seen.entry((first.log, then.log)).or_default();
        skew.seen += 1;
        if skew.at_least_us < at_least_us {
            skew.at_least_us = at_least_us;
            transaction.clone_into(&mut skew.transaction);
            (skew.first, skew.then) = (first.index, then.index);
        }
    }

    /// All skews that were seen, and how many calls were not looked at. `names` are those of the logs.
    pub(super) fn end(mut self, names: &[String]) -> (Vec<Skew>, u64) {
        while let Some(transaction) = self.order.pop_front() {
            if let Some(hops) = self.open.remove(&transaction) {
                self.judge(&transaction, &hops);
            }
        }
        let name = |at: usize| names.get(at).cloned().unwrap_or_default();
        let skews = self.seen.into_iter().map(|((ahead, behind), skew)| Skew {
            ahead: name(ahead),
            behind: name(behind),
            ..skew
        });
        (skews.collect(), self.passed_over)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use vidimus_core::record::{Kept, Record};

    use super::*;

    fn take(
        chains: &mut Chains,
        log: usize,
        second: i64,
        transaction: &str,
        chain: &[&str],
        principal: &str,
    ) {
        let text = json!({
            "action": "invokeTool", "body": "", "chain": chain, "depth": chain.len() + 1, "facts": {}, "id": "x", "identity": "", "kind": "decision",
            "method": "tools/call", "outcome": "allow", "policies": [], "principal": principal, "protocol": "mcp", "resource": "Tool/a/b/c",
            "snapshot": "", "time": "2026-11-28T12:00:00.000000Z", "trace": "", "transaction": transaction, "version": 1,
        });
        let time = Timestamp::from_second(second).expect("a time");
        match Kept::read(text.to_string().as_bytes()) {
            Ok(Record::Decision(record)) => chains.take(log, 0, time, &record),
            other => panic!("{other:?}"),
        }
    }

    /// What is held does not grow with the logs, and what goes is judged.
    #[test]
    fn of_more_chains_than_are_held_the_first_are_judged_and_go() {
        let mut chains = Chains::default();
        for number in 0..66_000 {
            let transaction = format!("t-{number}");
            take(&mut chains, 0, 10, &transaction, &[], "Agent/a/bot");
            take(&mut chains, 1, 9, &transaction, &["Agent/a/bot"], "Agent/a/other");
        }
        assert_eq!((chains.open.len(), chains.order.len()), (MOST_CHAINS, MOST_CHAINS));
        for _ in 0..300 {
            take(&mut chains, 1, 9, "t-65999", &["Agent/a/bot"], "Agent/a/other");
        }
        let (skews, passed_over) = chains.end(&["a".to_owned(), "b".to_owned()]);
        assert_eq!((skews.len(), skews[0].seen, passed_over), (1, 66_000 + 254, 46));
        assert_eq!((skews[0].ahead.as_str(), skews[0].at_least_us), ("a", 1_000_000));
    }

    /// Two ways of other actors are never one, whatever these are called.
    #[test]
    fn a_way_is_of_its_actors_alone() {
        assert_ne!(way(["a", "b"]), way(["ab"]));
        assert_ne!(way(["a", "b"]), way(["b", "a"]));
        assert_eq!(way(["a", "b"]), way(["a", "b"]));
    }
}
