//! What the record shows of the controls of a framework: one pass over a window of the log, whatever its size.
//!
//! It judges nothing: that a control works is for an auditor to say. For each control there are the records that are evidence of it, how many, a
//! few of them with proofs, how to find all of them, and what they do not show.

mod counts;
mod frameworks;
mod html;
mod ocsf;
mod oscal;
mod pass;
mod together;

use std::collections::BTreeMap;
use std::io;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vidimus_core::record::{Kept, Record};
use vidimus_ledger::{ProveError, SearchError};

use super::Exported;

use counts::Shared;
pub use counts::{Counts, Gaps};
pub use frameworks::{Framework, frameworks};
pub use html::{html, overview};
pub use ocsf::{event, findings};
pub use oscal::oscal;
pub use pass::assess;
pub use together::{AssessedPart, EvidenceTogether, Overlap, Together};

/// Most samples of one kind of evidence.
pub const MOST_SAMPLES: usize = 20;

/// What no control has to say for itself, since it is so of every one.
const LACKS: [&str; 5] = [
    "Only calls that went through the gateway are on record. What reaches a server or a model past it is not.",
    "Records show that a control acted, and how often. Whether it is designed and works as the framework asks is the auditor's judgement.",
    "Bodies of calls and answers are not on record: a record has their digests, and the values that policies looked at.",
    "Whoever has the private key of the log could write another one from the beginning. Against that stand checkpoints that others keep, and witnesses.",
    "Samples are the records with the smallest leaf hashes: nobody chose them, and the same log gives the same ones. They are not all; the query finds all.",
];

/// For which framework, and of which time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AssessmentQuestion {
    /// `soc2`, `hipaa`, `gdpr`, `pci-dss`, `dora` or `eu-ai-act`.
    pub framework: String,
    /// Not before this time (RFC 3339).
    #[schemars(with = "String")]
    pub from: Timestamp,
    /// Before this time (RFC 3339).
    #[schemars(with = "String")]
    pub to: Timestamp,
    /// At most so many samples of each kind of evidence: 0 to 20.
    pub samples: usize,
    /// The log's public key (C2SP vkey), if it is known from elsewhere; otherwise the log's own is believed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// By whom and when the report is made, as they say.
    pub made: Exported,
}

/// What the record of a window shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Assessment {
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
    pub made: Exported,
    /// Whether nothing is wrong with what was read of the log.
    pub sound: bool,
    /// What is wrong, at most 64 of it.
    pub findings: Vec<String>,
    /// The log, and what its records are proven to.
    pub log: AssessedLog,
    /// What was decided and done in the window.
    pub counts: Counts,
    /// What is not there, or cannot be told.
    pub gaps: Gaps,
    /// The kinds of evidence that the controls have, by name.
    pub evidence: BTreeMap<String, Evidence>,
    /// The controls that the record can say something of.
    pub controls: Vec<Control>,
    /// The records that are samples of some evidence, each once, in the order of the log.
    pub samples: Vec<Sample>,
    /// What is not covered, of any control.
    pub lacks: Vec<String>,
    /// Of its acts those that gateways share, by the log of the gateway at which they were done.
    #[serde(skip)]
    shared: BTreeMap<String, Shared>,
}

/// The log, and how much of the window is proven.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AssessedLog {
    /// Its name in checkpoints.
    pub name: String,
    /// Its public key.
    pub key: String,
    /// Whether the key was given, and not taken from the log.
    pub key_given: bool,
    /// The signed checkpoint that records are proven to.
    pub checkpoint: String,
    /// How many records it is of.
    pub size: u64,
    /// The names on signatures of others on it: of witnesses, as they say.
    pub witnesses: Vec<String>,
    /// How many records are in the window.
    pub records: u64,
    /// The index of the first one.
    pub first: Option<u64>,
    /// The index of the last one.
    pub last: Option<u64>,
    /// How many of them are proven to be in the log as they were signed for, each by its inclusion proof.
    pub proven: u64,
}

/// One kind of evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Evidence {
    /// Which records these are.
    pub says: String,
    /// The command that finds them.
    pub query: String,
    /// How many there are in the window.
    pub count: u64,
    /// The index of the first one.
    pub first: Option<u64>,
    /// The index of the last one.
    pub last: Option<u64>,
    /// The indexes of those that are samples.
    pub samples: Vec<u64>,
}

/// A control.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Control {
    /// As the framework numbers it.
    pub id: String,
    /// In our words.
    pub name: String,
    /// What it asks, in our words.
    pub asks: String,
    /// The kinds of evidence for it.
    pub evidence: Vec<String>,
    /// What the record does not show of it.
    pub lacks: String,
}

/// A record, with its proof.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Sample {
    /// Its index in the log.
    pub index: u64,
    /// When it was made.
    pub time: String,
    /// `decision`, `effect`, `refusal` or `act`.
    pub kind: String,
    /// The call, or the act.
    pub id: String,
    /// Who called or acted, where that is known, and on whose behalf.
    pub who: String,
    /// What was asked for or done.
    pub what: String,
    /// How it was decided, or how it ended; with its code, where it has one.
    pub outcome: String,
    /// The policies that decided.
    pub policies: Vec<String>,
    /// As it stands in the log: the bytes that the proof is of.
    pub record: String,
    /// Its inclusion proof to the checkpoint (c2sp.org/tlog-proof@v1).
    pub proof: Option<String>,
    /// Why there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unproven: Option<String>,
}

/// Why nothing is shown.
#[derive(Debug, thiserror::Error)]
pub enum AssessmentError {
    #[error(transparent)]
    Misasked(#[from] crate::Misasked),
    #[error(transparent)]
    Log(#[from] SearchError),
    #[error("{0}")]
    Unprovable(ProveError),
    #[error("the report cannot be written: {0}")]
    File(#[from] io::Error),
}

impl Assessment {
    /// Whether there is something to show, all of it signed for, and nothing of the window may have been pruned.
    pub fn is_whole(&self) -> bool {
        self.log.records > 0 && self.gaps.younger == 0 && self.gaps.pruned.is_none()
    }
}

/// Who called or acted, and on whose behalf.
fn who(record: &Kept) -> String {
    let (principal, user) = match record {
        Record::Decision(it) => (Some(&*it.principal), it.user.as_deref()),
        Record::Refusal(it) => (it.principal.as_deref().or(it.identity.as_deref()), it.user.as_deref()),
        Record::Act(it) => (Some(&*it.actor), None),
        Record::Effect(_) => (None, None),
    };
    let principal = principal.unwrap_or("not proven");
    match (record, user) {
        (Record::Effect(it), _) => format!("of record {}", it.decision),
        (_, Some(user)) => format!("{principal} for {user}"),
        (_, None) => principal.to_owned(),
    }
}

/// What was asked for, or done.
fn what(record: &Kept) -> String {
    match record {
        Record::Decision(it) => format!("{} {}", it.method, it.resource),
        Record::Refusal(it) => match &it.asked {
            Some(asked) => format!("{} {}", asked.method, asked.resource),
            None => it.path.to_string(),
        },
        Record::Effect(it) => format!("HTTP {}, {} bytes, {} µs", it.status, it.bytes_out, it.duration_us),
        Record::Act(it) => format!("{} {}", it.act.as_str(), it.act.subject()),
    }
}

/// The policies that decided.
fn policies(record: &Kept) -> Vec<String> {
    match record {
        Record::Decision(it) => it.policies.iter().map(ToString::to_string).collect(),
        Record::Refusal(it) => {
            it.asked.iter().flat_map(|asked| asked.policies.iter()).map(ToString::to_string).collect()
        }
        Record::Effect(_) | Record::Act(_) => Vec::new(),
    }
}

#[cfg(test)]
mod tests;
