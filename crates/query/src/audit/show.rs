//! One call, whole: its records, and a proof for each that stands alone.

use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use vidimus_core::record::{Kept, Record};

use super::Damage;
use vidimus_ledger::SearchError;

/// Which call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ShowQuestion {
    /// The call's id: the header `vidimus-call` of its answer, and the member `id` of its records.
    pub id: String,
}

/// All that can be read of one call.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ShownCall {
    /// Its records, oldest first.
    pub records: Vec<ShownRecord>,
    /// What of the log could not be read: the call may have records there.
    pub damage: Vec<String>,
}

/// A record of a call, and the evidence for it.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ShownRecord {
    /// Its index in the log.
    pub index: u64,
    /// The record as it stands in the log, with members too that this program does not know.
    #[schemars(with = "Kept")]
    pub record: Value,
    /// A proof against the latest checkpoint (c2sp.org/tlog-proof@v1).
    pub proof: Option<String>,
    /// Why there is no proof.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unproven: Option<String>,
    /// As it is read; `None` where [`ShownCall::damage`] says why it is not.
    #[serde(skip)]
    pub kept: Option<Kept>,
    /// The bytes that the proof is of.
    #[serde(skip)]
    pub bytes: Vec<u8>,
}

/// All records of a call in the log in `dir`.
///
/// # Errors
/// See [`SearchError`]; never of a part of the log, which is told with the rest.
pub fn show(dir: &Path, question: &ShowQuestion) -> Result<ShownCall, SearchError> {
    let intact = vidimus_ledger::show_intact(dir, &question.id)?;
    let mut damage: Vec<String> = intact.damage.iter().map(ToString::to_string).collect();
    let records = intact.records.into_iter().map(|shown| {
        let read = Kept::read(&shown.record).map_err(|error| Damage::Record { index: shown.index, error });
        ShownRecord {
            index: shown.index,
            record: serde_json::from_slice(&shown.record).unwrap_or_default(),
            proof: shown.proof.as_ref().ok().map(ToString::to_string),
            unproven: shown.proof.as_ref().err().map(ToString::to_string),
            kept: read.map_err(|error| damage.push(error.to_string())).ok(),
            bytes: shown.record,
        }
    });
    let records = records.collect();
    Ok(ShownCall { records, damage })
}

impl ShownCall {
    /// The transaction that the call is a hop of, where a decision says it.
    pub fn transaction(&self) -> Option<&str> {
        self.records.iter().find_map(|shown| match &shown.kept {
            Some(Record::Decision(decision)) if !decision.transaction.is_empty() => {
                Some(&*decision.transaction)
            }
            _ => None,
        })
    }
}
