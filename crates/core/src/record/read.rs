//! Records as who audits reads them.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::{ActKind, DecisionKind, EffectKind, Kept, Record, RefusalKind, VERSION};
use crate::act::Act;

/// Why the bytes of a leaf are not read as a record.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// What its members mean may have changed since.
    #[error("it is of version {version}, and this program knows versions up to {VERSION}; use a newer one")]
    Newer { version: u64 },
    #[error("it is of kind {kind:?}, which this program does not know; use a newer one")]
    Kind { kind: String },
    /// `note`: it only tells something, and who folds acts may pass it over. Any other may refuse something, so that nothing may be decided
    /// without it.
    #[error("it is the act {act:?}, which this program does not know; use a newer one")]
    Act { act: String, note: bool },
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
            ActKind::TEXT => match serde_json::from_slice(record) {
                Ok(act) => Record::Act(act),
                Err(error) => return Err(unknown_act(record).unwrap_or(Unreadable::Malformed(error))),
            },
            kind => return Err(Unreadable::Kind { kind: kind.to_owned() }),
        })
    }
}

/// What of an act is read whichever it is.
#[derive(Deserialize)]
struct AnyAct {
    act: BTreeMap<String, IgnoredAny>,
    #[serde(default)]
    note: bool,
}

/// The record of an act that this program does not know; `None` where it knows it, and something else is wrong with it.
fn unknown_act(record: &[u8]) -> Option<Unreadable> {
    let AnyAct { act, note } = serde_json::from_slice(record).ok()?;
    let mut names = act.into_keys();
    let (act, None) = (names.next()?, names.next()) else { return None };
    (!Act::NAMES.contains(&act.as_str())).then_some(Unreadable::Act { act, note })
}

/// The JSON Schema of a record (draft 2020-12), which is published as `docs/record.schema.json`.
pub fn schema() -> schemars::Schema {
    let mut schema = schemars::schema_for!(Kept);
    schema.insert("title".to_owned(), "A record of Vidimus' ledger, version 1".into());
    schema
}
