//! What the records of several logs show, added up. What each shows by itself, and proves, is its own assessment.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Assessment, Control, Counts, Gaps, Shared};
use crate::audit::Exported;

/// Several assessments of one question, one after the other, added up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Together {
    /// The framework, as it was asked for.
    pub framework: String,
    /// What it is called.
    pub title: String,
    /// Which text of it, of which version.
    pub source: String,
    /// Not before this time.
    pub from: String,
    /// Before this time.
    pub to: String,
    /// By whom and when it was made, as they say.
    pub made: Option<Exported>,
    /// Whether nothing is wrong with what was read of any of the logs, and all were read.
    pub sound: bool,
    /// What is wrong, each with the log's name before it.
    pub findings: Vec<String>,
    /// The logs, in the order of their names.
    pub logs: Vec<AssessedPart>,
    /// What was decided and done in the window, at all of them: an act that gateways share is on record at each, and counts once. `configurations` is that of the log that has most: replicas are decided by the same.
    pub counts: Counts,
    /// The kinds of evidence that the controls have, by name.
    pub evidence: BTreeMap<String, EvidenceTogether>,
    /// The controls that the records can say something of.
    pub controls: Vec<Control>,
    /// What is not covered, of any control.
    pub lacks: Vec<String>,
}

/// One of the logs, or a part of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AssessedPart {
    /// Its name, which no other log has: that in checkpoints, with the id of the key where another log has the same.
    pub log: String,
    /// The file with its own assessment, which has the samples and their proofs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Its public key.
    pub key: String,
    /// Whether the key was given, and not taken from the log.
    pub key_given: bool,
    /// How many records its checkpoint is of.
    pub size: u64,
    /// How many records are in the window.
    pub records: u64,
    /// How many of them are proven.
    pub proven: u64,
    /// Whether nothing is wrong with what was read of it.
    pub sound: bool,
    /// What is not there of it, or cannot be told.
    pub gaps: Gaps,
    /// Whether it is a copy of what another directory of the same log has, so that its records are counted there.
    pub copy: bool,
}

/// One kind of evidence.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EvidenceTogether {
    /// Which records these are.
    pub says: String,
    /// The command that finds them in one of the logs.
    pub query: String,
    /// How many there are in the window, at all logs.
    pub count: u64,
}

/// Two directories of one log have some of the same records, and each has others: sums would count these twice.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "two of the directories that have the log {0} share some records of the window, and each has others: leave one out"
)]
pub struct Overlap(String);

impl Together {
    /// Adds assessments up, each with its log as [`Logs`](crate::audit::logs::Logs) names it, and the file that it is in. What a log calls itself
    /// another one may call itself too.
    ///
    /// # Errors
    /// See [`Overlap`].
    pub fn of(mut parts: Vec<(String, Option<String>, Assessment)>) -> Result<Self, Overlap> {
        // What is a copy of another part comes behind it.
        parts.sort_by_cached_key(|(name, _, it)| (name.clone(), it.log.first, Reverse(it.log.last)));
        let mut all = Self { sound: true, ..Self::default() };
        let mut last: Option<(String, u64)> = None;
        // By the gateway at which acts were done, and by the log that has them.
        let mut shared: BTreeMap<String, BTreeMap<String, Shared>> = BTreeMap::new();
        for (name, file, it) in parts {
            let behind = last.as_ref().filter(|(of, _)| *of == name).map(|(_, last)| *last);
            let copy = match (behind, it.log.first, it.log.last) {
                (Some(behind), Some(_), Some(end)) if end <= behind => true,
                (Some(behind), Some(first), Some(_)) if first <= behind => return Err(Overlap(name)),
                _ => false,
            };
            if let Some(end) = it.log.last.filter(|_| !copy) {
                last = Some((name.clone(), end));
            }
            for (from, acts) in it.shared.iter().filter(|_| !copy) {
                shared.entry(from.clone()).or_default().entry(name.clone()).or_default().add(acts);
            }
            all.add((name, file), it, copy);
        }
        for logs in shared.values() {
            all.without(&Shared::repeated(&logs.values().collect::<Vec<_>>()));
        }
        Ok(all)
    }

    /// Without acts that were counted more than once.
    fn without(&mut self, repeated: &Shared) {
        self.counts.without(repeated);
        for (kind, count) in &repeated.evidence {
            if let Some(all) = self.evidence.get_mut(kind) {
                all.count = all.count.saturating_sub(*count);
            }
        }
    }

    fn add(&mut self, (name, file): (String, Option<String>), it: Assessment, copy: bool) {
        self.sound &= it.sound;
        self.findings.extend(it.findings.iter().map(|finding| format!("{name}: {finding}")));
        if !copy {
            self.counts.add(&it.counts);
            for (name, kind) in &it.evidence {
                let all = self.evidence.entry(name.clone()).or_default();
                (all.says, all.query) = (kind.says.clone(), kind.query.clone());
                all.count += kind.count;
            }
        }
        let Assessment { log, gaps, sound, .. } = it;
        let (key_given, size, records, proven) = (log.key_given, log.size, log.records, log.proven);
        let key = log.key;
        self.logs.push(AssessedPart {
            log: name,
            file,
            key,
            key_given,
            size,
            records,
            proven,
            sound,
            gaps,
            copy,
        });
        (self.framework, self.title, self.source) = (it.framework, it.title, it.source);
        (self.from, self.to, self.made) = (it.from, it.to, Some(it.made));
        (self.controls, self.lacks) = (it.controls, it.lacks);
    }

    /// Whether there is something to show, all of it signed for, and nothing of the window may have been pruned, of any of them.
    pub fn is_whole(&self) -> bool {
        let is_whole = |part: &AssessedPart| part.gaps.younger == 0 && part.gaps.pruned.is_none();
        self.logs.iter().any(|part| part.records > 0) && self.logs.iter().all(is_whole)
    }
}
