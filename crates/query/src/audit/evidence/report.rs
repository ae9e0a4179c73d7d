//! What is said of a file of evidence.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Exported;

/// Whether a file is evidence, and of what.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EvidenceReport {
    /// Whether all in it is proven, but for what nobody can prove: what was asked, who exported it when, why a configuration is missing. Of a file
    /// without `records` that is nothing.
    pub proven: bool,
    /// What is wrong.
    pub findings: Vec<EvidenceFinding>,
    /// The log, by its name in checkpoints.
    pub log: String,
    /// The key that was believed.
    pub key: String,
    /// Whether it was given, and not taken from the file.
    pub key_given: bool,
    /// The number of records of the checkpoint that all are proven to.
    pub size: u64,
    /// Which of the witnesses that were asked for cosigned that checkpoint.
    pub cosigned: Vec<EvidenceCosigned>,
    /// How many records are in the file.
    pub records: u64,
    /// The index of the first one.
    pub first: Option<u64>,
    /// The index of the last one.
    pub last: Option<u64>,
    /// Whether they are all records of the log from the first to the last, so that none between them was left out.
    pub gapless: bool,
    /// How many configurations that decided them are in the file, text by text.
    pub configurations: usize,
    /// How many of these restate the words of what refuses without being in force, or of what stands by acts: digests are of what these are
    /// about, and nothing proves the words.
    pub restated: usize,
    /// Those that are not, each with why, as the file says. Records bind the digest of a configuration and not that it is kept, so whoever made
    /// the file may have left it out: where there is one, the file is not all of the evidence, and `audit verify` exits with 3.
    pub missing: BTreeMap<String, String>,
    /// The sizes of older checkpoints that the log continues.
    pub continues: Vec<u64>,
    /// What was asked, as the file says.
    pub asked: Value,
    /// By whom and when, as the file says.
    pub exported: Option<Exported>,
}

impl EvidenceReport {
    /// Whether the file was read beyond its first line. Where the key or the checkpoint is another one it is not, and the numbers of what is in
    /// it say nothing.
    pub fn is_read(&self) -> bool {
        self.proven || self.size > 0 || self.records > 0
    }
}

/// What [`super::verify()`] says of one file of several.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EvidenceVerified {
    /// The file, as it was named.
    pub file: String,
    /// What is said of it.
    #[serde(flatten)]
    pub report: EvidenceReport,
}

/// That a witness saw the log continue what it had seen of it, up to the checkpoint of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EvidenceCosigned {
    /// The witness, by the name of its key.
    pub witness: String,
    /// When, in Unix seconds, as it says.
    pub time: u64,
}

/// What is wrong in a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EvidenceFinding {
    /// Counted from 1.
    pub line: u64,
    /// What.
    pub what: String,
}
