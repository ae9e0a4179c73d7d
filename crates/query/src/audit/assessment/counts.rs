//! What is counted of a window, and what of it is missing. All of it is bounded, whatever the records say.

use std::collections::{BTreeMap, BTreeSet};

use data_encoding::HEXLOWER;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vidimus_core::act::BY_ITSELF;
use vidimus_core::decision::Outcome;
use vidimus_core::record::{Kept, NOT_RECORDED, Record};

use crate::audit::logs::{RunTimes, Runs};

/// Most different words that are counted one by one. Codes, results and acts are closed sets, far smaller; a record of a newer gateway may
/// have others.
const MOST_WORDS: usize = 256;
/// Under which what is beyond is counted.
const OTHERS: &str = "others";
/// Most configurations that are told apart, 32 bytes each.
const MOST_CONFIGURATIONS: usize = 65_536;
/// Most gateways whose acts are told apart.
const MOST_GATEWAYS: usize = 1_024;
/// In which no gateway ran, for it to be told: a restart takes less.
const AWAY_US: u64 = 60_000_000;

/// What was decided and done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Counts {
    /// Calls that policies permitted.
    pub allowed: u64,
    /// Of these, those with something that policies had changed of the call or of its answer.
    pub allowed_with_obligations: u64,
    /// Calls that policies denied, by code.
    pub denied: BTreeMap<String, u64>,
    /// Calls that were held until a person approves them.
    pub held: u64,
    /// Calls refused before policies were asked, by code.
    pub refused: BTreeMap<String, u64>,
    /// What came of calls, by result.
    pub ended: BTreeMap<String, u64>,
    /// Held calls that a person approved: votes, where several are needed.
    pub approved: u64,
    /// All acts, by their name.
    pub acts: BTreeMap<String, u64>,
    /// Of these, those of people; the others are of the gateway by itself.
    pub acts_of_people: u64,
    /// Configurations that decided something, told apart by the digest of all their texts and of what stands by acts: with each there was a
    /// change, but for the first. 65,536 are so many or more.
    pub configurations: u64,
}

impl Counts {
    /// What another log has too.
    pub(super) fn add(&mut self, other: &Self) {
        self.allowed += other.allowed;
        self.allowed_with_obligations += other.allowed_with_obligations;
        self.held += other.held;
        self.approved += other.approved;
        self.acts_of_people += other.acts_of_people;
        self.configurations = self.configurations.max(other.configurations);
        for (words, others) in [
            (&mut self.denied, &other.denied),
            (&mut self.refused, &other.refused),
            (&mut self.ended, &other.ended),
            (&mut self.acts, &other.acts),
        ] {
            add_up(words, others);
        }
    }

    /// Without what was counted more than once.
    pub(super) fn without(&mut self, repeated: &Shared) {
        self.approved = self.approved.saturating_sub(repeated.approved);
        self.acts_of_people = self.acts_of_people.saturating_sub(repeated.acts_of_people);
        for (word, count) in &repeated.acts {
            if let Some(all) = self.acts.get_mut(word) {
                *all = all.saturating_sub(*count);
            }
        }
    }
}

/// What people did, of the acts that gateways share: each is on record at all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shared {
    approved: u64,
    acts: BTreeMap<String, u64>,
    acts_of_people: u64,
    /// The kinds of evidence that they are, by name.
    pub(super) evidence: BTreeMap<String, u64>,
}

impl Shared {
    /// What these are too many of, where each of them is of the same acts: each act counts once, as it does in the log that has most of them.
    pub(super) fn repeated(logs: &[&Self]) -> Self {
        let repeated = |of: &dyn Fn(&Self) -> u64| {
            let counts = logs.iter().map(|one| of(one));
            counts.clone().sum::<u64>() - counts.max().unwrap_or_default()
        };
        let by_word = |words: fn(&Self) -> &BTreeMap<String, u64>| {
            let all: BTreeSet<&String> = logs.iter().flat_map(|one| words(one).keys()).collect();
            let count = |word: &String| repeated(&|one| words(one).get(word).copied().unwrap_or_default());
            all.into_iter().map(|word| (word.clone(), count(word))).collect()
        };
        Self {
            approved: repeated(&|one| one.approved),
            acts: by_word(|one| &one.acts),
            acts_of_people: repeated(&|one| one.acts_of_people),
            evidence: by_word(|one| &one.evidence),
        }
    }

    /// What another part of the same log has too.
    pub(super) fn add(&mut self, other: &Self) {
        self.approved += other.approved;
        self.acts_of_people += other.acts_of_people;
        add_up(&mut self.acts, &other.acts);
        add_up(&mut self.evidence, &other.evidence);
    }
}

/// What is not there, or cannot be told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Gaps {
    /// Places where the log could not be read: records may be missing.
    pub damaged: u64,
    /// Records that are not what was signed for, or whose proof could not be made.
    pub unproven: u64,
    /// Records that no checkpoint covers yet.
    pub younger: u64,
    /// What was pruned of the log, of which records may have been of the window.
    pub pruned: Option<String>,
    /// Records between the first and the last of the window that are not of it by their time, or could not be read.
    pub elsewhere: u64,
    /// Records that stand for many refusals, which are summed in their messages.
    pub refusals_not_recorded: u64,
    /// Calls that were permitted and of which the window has no end.
    pub without_end: u64,
    /// The longest time between two records, in seconds, of those in which nothing says that no gateway was running.
    pub longest_silence_s: u64,
    /// The index of the record that it followed.
    pub silence_after: Option<u64>,
    /// How far the clock of the log went back at most, in milliseconds.
    pub clock_back_ms: u64,
    /// When gateways ran, by their own starts and stops: each time of a minute or longer in which none did, and each end without a stop.
    #[serde(default)]
    pub runs: RunTimes,
}

/// Counting.
#[derive(Debug, Default)]
pub(super) struct Counting {
    pub(super) counts: Counts,
    pub(super) gaps: Gaps,
    /// The first 32 bytes of what is told apart.
    configurations: BTreeSet<Vec<u8>>,
    first: Option<u64>,
    /// Of the record with the latest time so far.
    latest: Option<Timestamp>,
    last: Option<u64>,
    /// Effects of decisions of the window.
    of_window: u64,
    runs: Runs,
    /// Of the acts that gateways share, by the log of the gateway at which they were done.
    pub(super) shared: BTreeMap<String, Shared>,
}

impl Counting {
    /// Counts an act that gateways share, of the kinds of evidence that it is, in the log of this name.
    pub(super) fn share<'a>(&mut self, log: &str, record: &Kept, kinds: impl Iterator<Item = &'a str>) {
        let Record::Act(it) = record else { return };
        let Some(place) = &it.shared else { return };
        let from = place.from.as_deref().unwrap_or(log);
        if !self.shared.contains_key(from) && self.shared.len() >= MOST_GATEWAYS {
            return;
        }
        let shared = self.shared.entry(from.to_owned()).or_default();
        let name = it.act.as_str();
        shared.approved += u64::from(name == "approve");
        shared.acts_of_people += u64::from(it.actor != BY_ITSELF);
        tally(&mut shared.acts, name);
        kinds.for_each(|kind| tally(&mut shared.evidence, kind));
    }

    /// Counts a record of the window; whether it is the first decision by its configuration.
    pub(super) fn take(&mut self, index: u64, record: &Kept) -> bool {
        let first = *self.first.get_or_insert(index);
        self.clock(index, record);
        self.last = Some(index);
        let counts = &mut self.counts;
        match record {
            Record::Decision(it) => {
                if it.outcome == Outcome::Hold.as_str() {
                    counts.held += 1;
                } else if it.outcome == Outcome::Deny.as_str() {
                    tally(&mut counts.denied, it.code.as_deref().unwrap_or(OTHERS));
                } else {
                    counts.allowed += 1;
                    counts.allowed_with_obligations +=
                        u64::from(it.outcome == Outcome::AllowWithObligations.as_str());
                }
                return self.is_new(&it.snapshot);
            }
            Record::Refusal(it) => {
                tally(&mut counts.refused, &it.code);
                self.gaps.refusals_not_recorded += u64::from(it.code == NOT_RECORDED);
            }
            Record::Effect(it) => {
                tally(&mut counts.ended, &it.result);
                // A second one says nothing of another call that has none.
                self.of_window += u64::from(it.decision >= first && !it.is_second());
            }
            Record::Act(it) => {
                let name = it.act.as_str();
                counts.approved += u64::from(name == "approve");
                counts.acts_of_people += u64::from(it.actor != BY_ITSELF);
                tally(&mut counts.acts, name);
            }
        }
        false
    }

    /// Whether nothing was decided by this configuration before.
    fn is_new(&mut self, snapshot: &str) -> bool {
        // What is no digest is told apart by its beginning.
        let digits = snapshot.strip_prefix("sha256:").and_then(|text| HEXLOWER.decode(text.as_bytes()).ok());
        let name = digits.unwrap_or_else(|| snapshot.bytes().take(32).collect());
        let is_new = self.configurations.len() < MOST_CONFIGURATIONS && self.configurations.insert(name);
        self.counts.configurations += u64::from(is_new);
        is_new
    }

    fn clock(&mut self, index: u64, record: &Kept) {
        let Ok(time) = record.time().parse::<Timestamp>() else { return };
        let is_told = self.runs.take((index, time), record, AWAY_US);
        let Some(latest) = self.latest else {
            self.latest = Some(time);
            return;
        };
        let passed = time.as_millisecond() - latest.as_millisecond();
        if let Ok(passed) = u64::try_from(passed) {
            self.latest = Some(time);
            if !is_told && passed / 1_000 > self.gaps.longest_silence_s {
                (self.gaps.longest_silence_s, self.gaps.silence_after) = (passed / 1_000, self.last);
            }
        } else {
            self.gaps.clock_back_ms = self.gaps.clock_back_ms.max(passed.unsigned_abs());
        }
    }

    /// What is known at the end, where the window has `records`.
    pub(super) fn end(mut self, records: u64) -> (Counts, Gaps) {
        let between = match (self.first, self.last) {
            (Some(first), Some(last)) => (last.saturating_sub(first) + 1).saturating_sub(records),
            _ => 0,
        };
        self.gaps.elsewhere = between;
        (self.gaps.runs, _) = std::mem::take(&mut self.runs).end();
        self.gaps.without_end = self.counts.allowed.saturating_sub(self.of_window);
        (self.counts, self.gaps)
    }
}

/// As many more of each word as there are of the others.
fn add_up(words: &mut BTreeMap<String, u64>, others: &BTreeMap<String, u64>) {
    for (word, count) in others {
        *words.entry(word.clone()).or_default() += count;
    }
}

/// One more of a word.
fn tally(words: &mut BTreeMap<String, u64>, word: &str) {
    if let Some(count) = words.get_mut(word) {
        *count += 1;
        return;
    }
    let word = if words.len() < MOST_WORDS { word } else { OTHERS };
    *words.entry(word.to_owned()).or_default() += 1;
}
