//! One call, whole, wherever its records are: a chain and an approval may go through several gateways, each with a log of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use super::copies::Copies;
use super::{Log, LogDamage, Logs, Running};
use crate::audit::show::{Gathered, approval, call, transaction};
use crate::audit::{InLog, Kind, Lookup, SearchQuestion, ShowQuestion, ShownRecord};

/// Most records that are added for being of the same chain. An agent may make any number of calls in one.
const MOST_OF_CHAIN: usize = 1_000;

/// How often what was found may name something else to be looked for: a call names its approval, and that the calls that it is about.
const ROUNDS: usize = 4;

/// A record of one of several logs, with its proof.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ShownIn {
    /// The log that it is a record of, by its name in checkpoints.
    pub log: String,
    /// The record; its index is that in its log, and its proof is against that log's newest checkpoint.
    #[serde(flatten)]
    pub shown: ShownRecord,
}

/// All that can be read of one call.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct ShownInLogs {
    /// Its records, by time, then by the name of the log, then by index.
    pub records: Vec<ShownIn>,
    /// What of the logs could not be read: there may be further records there.
    pub damage: Vec<String>,
    /// The transactions that the call is a hop of.
    pub transactions: Vec<String>,
    /// Whether the chain has more records than are here.
    pub more: bool,
}

/// What was found in one directory.
struct Part<'l> {
    log: usize,
    directory: &'l Path,
    lookup: Box<dyn Lookup>,
    gathered: Gathered,
}

/// All records of a call, of the approval that it waits for or is made with, and with `chain` of the other hops of its chain.
pub fn show(logs: &Logs, question: &ShowQuestion, chain: bool) -> ShownInLogs {
    show_by(&InLog::of, logs, question, chain)
}

/// As [`show`], each directory looked up in whatever knows its records.
pub fn show_by(
    lookup: &dyn Fn(&Path) -> Box<dyn Lookup>,
    logs: &Logs,
    question: &ShowQuestion,
    chain: bool,
) -> ShownInLogs {
    let parts = logs.directories().map(|(log, directory)| {
        let gathered = Gathered::default();
        Part { log, directory, lookup: lookup(directory), gathered }
    });
    let mut parts: Vec<Part<'_>> = parts.collect();
    let mut known = BTreeSet::from([question.id.clone()]);
    let mut new = vec![question.id.clone()];
    for _ in 0..ROUNDS {
        for part in &mut parts {
            new.iter().for_each(|id| part.gather(id));
        }
        let named = parts.iter().flat_map(|part| part.gathered.kept());
        let named = named.flat_map(|record| [approval(record.clone()), call(record)]).flatten();
        new = named.filter(|id| known.insert(id.clone())).collect();
        if new.is_empty() {
            break;
        }
    }
    let kept = parts.iter().flat_map(|part| part.gathered.kept());
    let transactions: BTreeSet<String> =
        kept.filter_map(|record| transaction(&record).map(str::to_owned)).collect();
    let mut shown = ShownInLogs::default();
    if chain {
        for transaction in &transactions {
            shown.more |= !add_chain(logs, &mut parts, transaction);
        }
    }
    shown.transactions = transactions.into_iter().collect();
    shown.fill(logs, parts);
    shown
}

/// Adds the records of a chain; whether these are all.
fn add_chain(logs: &Logs, parts: &mut [Part<'_>], transaction: &str) -> bool {
    let (kind, transaction) = (Some(Kind::All), Some(transaction.to_owned()));
    let question = SearchQuestion { kind, transaction, oldest_first: true, ..SearchQuestion::default() };
    for part in parts {
        let others = logs.all().get(part.log).map(|log| log.others(part.directory)).unwrap_or_default();
        let found = match part.lookup.fitting(&others, &question) {
            Ok(found) => found,
            Err(error) => {
                part.gathered.damage.insert(error.to_string());
                continue;
            }
        };
        for (count, found) in found.enumerate() {
            if count == MOST_OF_CHAIN {
                return false;
            }
            match found {
                Ok(found) => {
                    part.gathered.records.insert(found.index, found.bytes);
                }
                Err(damage) => {
                    part.gathered.damage.insert(damage.to_string());
                }
            }
        }
    }
    true
}

impl Part<'_> {
    fn gather(&mut self, id: &str) {
        match Gathered::of(&*self.lookup, &ShowQuestion { id: id.to_owned() }) {
            Ok(mut found) => {
                self.gathered.records.append(&mut found.records);
                self.gathered.damage.append(&mut found.damage);
            }
            Err(error) => {
                self.gathered.damage.insert(error.to_string());
            }
        }
    }
}

impl ShownInLogs {
    fn fill(&mut self, logs: &Logs, parts: Vec<Part<'_>>) {
        // Of each log by index, with the place of the directory that has it among those of the log.
        let mut of_logs: BTreeMap<usize, BTreeMap<u64, Vec<(usize, ShownRecord)>>> = BTreeMap::new();
        for Part { log, directory, gathered, .. } in parts {
            let all = logs.all().get(log).map(|log| log.directories.as_slice()).unwrap_or_default();
            let place = all.iter().position(|one| one == directory).unwrap_or_default();
            let call = gathered.shown(directory);
            self.damage.extend(call.damage.iter().map(|damage| format!("{}: {damage}", logs.name(log))));
            let records = of_logs.entry(log).or_default();
            for shown in call.records {
                records.entry(shown.index).or_default().push((place, shown));
            }
        }
        let mut ordered: Vec<(Timestamp, ShownIn)> = Vec::new();
        for (log, records) in of_logs {
            let mut running = Running::default();
            let Some(log) = logs.all().get(log) else { continue };
            let mut copies = Copies::of(log);
            for (index, found) in records {
                let Some(shown) = self.agreed(log, &mut copies, index, found) else { continue };
                let time = shown.kept.as_ref().map(|kept| kept.time().to_owned()).unwrap_or_default();
                ordered.push((running.next(&time, false), ShownIn { log: log.name.clone(), shown }));
            }
        }
        // Stable: what stands at the same time is in the order of logs and of indexes.
        ordered.sort_by_key(|(stands, _)| *stands);
        self.records = ordered.into_iter().map(|(_, shown)| shown).collect();
    }

    /// Of what the directories of a log have at an index, that which is shown.
    fn agreed(
        &mut self,
        log: &Log,
        copies: &mut Copies,
        index: u64,
        mut found: Vec<(usize, ShownRecord)>,
    ) -> Option<ShownRecord> {
        let of =
            |place: usize| found.iter().find(|(of, _)| *of == place).map(|(_, one)| one.bytes.as_slice());
        let bytes: Vec<Option<&[u8]>> = (0..log.directories.len()).map(of).collect();
        let agreed = copies.agreed(index, &bytes);
        if agreed.differs {
            self.damage.push(LogDamage::Differs { log: log.name.clone(), index }.to_string());
        }
        let stands = bytes.get(agreed.stands?).copied().flatten()?.to_vec();
        found.retain(|(_, one)| one.bytes == stands);
        // Of those that have the same, one that proves it.
        let proven = found.iter().position(|(_, one)| one.proof.is_some()).unwrap_or_default();
        found.into_iter().nth(proven).map(|(_, shown)| shown)
    }
}
