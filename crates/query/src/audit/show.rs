//! One call, whole: its records, what people were asked and answered about it, and a proof for each record that stands alone.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use vidimus_core::act::Act;
use vidimus_core::record::{ActRecord, Kept, Record};
use vidimus_ledger::{Prover, Query, SearchError};

use super::{Damage, InLog, Lookup};

/// Which call, or which approval.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ShowQuestion {
    /// The call's id: the header `vidimus-call` of its answer, and the member `id` of its records. Or that of an act, or of an approval.
    pub id: String,
}

/// All that can be read of one call.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ShownCall {
    /// Its records, oldest first, with those of the approval that it waits for or is made with; of an approval also those of its calls.
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

/// All records of a call in the log in `dir`, and of the approval that it waits for, is made with or was denied by.
///
/// # Errors
/// See [`SearchError`]; never of a part of the log, which is told with the rest.
pub fn show(dir: &Path, question: &ShowQuestion) -> Result<ShownCall, SearchError> {
    show_by(&InLog(dir.to_owned()), dir, question)
}

/// As [`show`], looked up in whatever knows the records of that log.
///
/// # Errors
/// As of [`show`].
pub fn show_by(lookup: &dyn Lookup, dir: &Path, question: &ShowQuestion) -> Result<ShownCall, SearchError> {
    Ok(Gathered::of(lookup, question)?.shown(dir))
}

/// The transaction that a record of a call says that this is a hop of.
pub(super) fn transaction(record: &Kept) -> Option<&str> {
    match record {
        Record::Decision(decision) => Some(&*decision.transaction).filter(|of| !of.is_empty()),
        Record::Refusal(refusal) => refusal.asked.as_ref().map(|asked| &*asked.transaction),
        Record::Effect(_) | Record::Act(_) => None,
    }
}

/// The approval that a record of a call is about.
pub(super) fn approval(record: Kept) -> Option<String> {
    let named = match record {
        Record::Decision(decision) => decision.approval,
        Record::Refusal(refusal) => refusal.asked.and_then(|asked| asked.approval),
        Record::Effect(_) | Record::Act(_) => None,
    };
    named.map(std::borrow::Cow::into_owned)
}

/// The call that an act about an approval is about.
pub(super) fn call(record: Kept) -> Option<String> {
    match record {
        Record::Act(ActRecord { act: Act::Ask(question), .. }) => Some(question.call),
        Record::Act(ActRecord { act: Act::Use(used), .. }) => Some(used.call),
        _ => None,
    }
}

/// Records of several searches, each once, by their index.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    pub(super) records: BTreeMap<u64, Vec<u8>>,
    /// What of the log could not be read.
    pub(crate) damage: BTreeSet<String>,
}

impl Gathered {
    /// As [`show`], without proofs.
    pub(crate) fn of(lookup: &dyn Lookup, question: &ShowQuestion) -> Result<Self, SearchError> {
        let mut found = Self::default();
        found.add(lookup, &Query { id: Some(question.id.clone()), ..Query::default() })?;
        let mut approvals: BTreeSet<String> = found.kept().filter_map(approval).collect();
        if found.records.is_empty() {
            // What is no call may be an approval.
            approvals.insert(question.id.clone());
        }
        for approval in &approvals {
            let (kind, resource) = (Some("act".to_owned()), Some(format!("Approval/{approval}")));
            found.add(lookup, &Query { kind, resource, ..Query::default() })?;
        }
        if approvals.contains(&question.id) {
            let calls: BTreeSet<String> = found.kept().filter_map(call).collect();
            for id in calls {
                found.add(lookup, &Query { id: Some(id), ..Query::default() })?;
            }
        }
        Ok(found)
    }

    fn add(&mut self, lookup: &dyn Lookup, query: &Query) -> Result<(), SearchError> {
        for hit in lookup.hits(query)? {
            match hit {
                Ok(hit) => {
                    self.records.insert(hit.index, hit.record);
                }
                // Of what may not be read nothing is known, and nothing is wrong with it.
                Err(error) if error.is_denied() => return Err(error),
                Err(error) => {
                    self.damage.insert(error.to_string());
                }
            }
        }
        Ok(())
    }

    /// Whether there are any, and the log in `dir` proves all of them.
    pub(crate) fn is_proven(&self, dir: &Path) -> bool {
        let Ok(mut prover) = Prover::latest(dir) else { return false };
        !self.records.is_empty()
            && self.records.iter().all(|(index, record)| prover.prove(*index, record).is_ok())
    }

    /// Each of them, or what is wrong with it.
    pub(crate) fn read(&self) -> impl Iterator<Item = Result<Kept, Damage>> {
        let all = self.records.iter();
        all.map(|(index, record)| Kept::read(record).map_err(|error| Damage::Record { index: *index, error }))
    }

    pub(super) fn kept(&self) -> impl Iterator<Item = Kept> {
        self.read().filter_map(Result::ok)
    }

    pub(super) fn shown(self, dir: &Path) -> ShownCall {
        let mut damage: Vec<String> = self.damage.into_iter().collect();
        // One for all.
        let mut prover = Prover::latest(dir).map_err(|error| error.to_string());
        let mut prove = |index, record: &[u8]| match &mut prover {
            Ok(prover) => prover.prove(index, record).map_err(|error| error.to_string()),
            Err(error) => Err(error.clone()),
        };
        let records = self.records.into_iter().map(|(index, bytes)| {
            let read = Kept::read(&bytes).map_err(|error| Damage::Record { index, error });
            let (proof, unproven) = match prove(index, &bytes) {
                Ok(proof) => (Some(proof.to_string()), None),
                Err(error) => (None, Some(error)),
            };
            ShownRecord {
                index,
                record: serde_json::from_slice(&bytes).unwrap_or_default(),
                proof,
                unproven,
                kept: read.map_err(|error| damage.push(error.to_string())).ok(),
                bytes,
            }
        });
        let records = records.collect();
        ShownCall { records, damage }
    }
}

impl ShownCall {
    /// The transaction that the call is a hop of, where a decision says it.
    pub fn transaction(&self) -> Option<&str> {
        self.records.iter().filter_map(|shown| shown.kept.as_ref()).find_map(transaction)
    }
}
