//! Records as who audits reads them.

use std::borrow::Cow;

use serde::Deserialize;

use super::{ActKind, DecisionKind, EffectKind, Kept, Record, RefusalKind, VERSION};

/// Why the bytes of a leaf are not read as a record.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// What its members mean may have changed since.
    #[error("it is of version {version}, and this program knows versions up to {VERSION}; use a newer one")]
    Newer { version: u64 },
    #[error("it is of kind {kind:?}, which this program does not know; use a newer one")]
    Kind { kind: String },
    #[error("it is not a record: {0}")]
    Malformed(#[from] serde_json::Error),
}

#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow)]
    kind: Cow<'a, str>,
    version: u64,
}

impl Kept {
    /// Reads the bytes of a leaf. Members that are not known are passed over: newer gateways may write more.
    ///
    /// # Errors
    /// See [`Unreadable`].
    pub fn read(record: &[u8]) -> Result<Self, Unreadable> {
        let head: Head<'_> = serde_json::from_slice(record)?;
        if head.version > u64::from(VERSION) {
            return Err(Unreadable::Newer { version: head.version });
        }
        // By its kind, and not by trying: what is wrong with it is then said of that kind.
        Ok(match &*head.kind {
            DecisionKind::TEXT => Record::Decision(serde_json::from_slice(record)?),
            EffectKind::TEXT => Record::Effect(serde_json::from_slice(record)?),
            RefusalKind::TEXT => Record::Refusal(serde_json::from_slice(record)?),
            ActKind::TEXT => Record::Act(serde_json::from_slice(record)?),
            kind => return Err(Unreadable::Kind { kind: kind.to_owned() }),
        })
    }
}

/// The JSON Schema of a record (draft 2020-12), which is published as `docs/record.schema.json`.
pub fn schema() -> schemars::Schema {
    let mut schema = schemars::schema_for!(Kept);
    schema.insert("title".to_owned(), "A record of Vidimus' ledger, version 1".into());
    schema
}
