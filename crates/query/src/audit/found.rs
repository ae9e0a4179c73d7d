//! A record that was found. The record of an effect does not repeat who asked for what: its decision, which stands before it in the
//! log, is found with it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vidimus_core::record::{DecisionRecord, Kept};
use vidimus_ledger::Hit;

use super::Damage;

/// A record, with who asked for what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Found {
    /// Its index in the log.
    pub index: u64,
    /// The record.
    #[serde(flatten)]
    pub record: Kept,
    /// Of an effect: who asked for what, from its decision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided: Option<Asked>,
    /// As it stands in the log, byte for byte.
    #[serde(skip)]
    pub bytes: Vec<u8>,
}

/// Who asked for what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Asked {
    /// The Cedar action.
    pub action: String,
    /// The protocol's method, by its newest name.
    pub method: String,
    /// The policies that decided.
    pub policies: Vec<String>,
    /// Who called, `Kind/namespace/name`.
    pub principal: String,
    /// What was called, `Kind/id`.
    pub resource: String,
    /// The id that all calls of one chain share.
    pub transaction: String,
    /// `issuer#subject` of the person on whose behalf.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
}

impl From<&DecisionRecord<'_>> for Asked {
    fn from(decision: &DecisionRecord<'_>) -> Self {
        Self {
            action: decision.action.to_string(),
            method: decision.method.to_string(),
            policies: decision.policies.iter().map(ToString::to_string).collect(),
            principal: decision.principal.to_string(),
            resource: decision.resource.to_string(),
            transaction: decision.transaction.to_string(),
            user: decision.user.as_ref().map(ToString::to_string),
        }
    }
}

impl Found {
    pub(super) fn of(hit: Hit) -> Result<Self, Damage> {
        let Hit { index, record: bytes } = hit;
        match Kept::read(&bytes) {
            Ok(record) => Ok(Self { index, record, decided: None, bytes }),
            Err(error) => Err(Damage::Record { index, error }),
        }
    }
}
