//! Changes of objects as they are seen, for a record of each where the API server asks nobody (docs/admission.md, On record).

use data_encoding::HEXLOWER;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use vidimus_core::resource::Object;

use crate::index::{Entry, Key};

/// Longest text of managed fields that is kept, in characters: the API server takes no longer name.
const LONGEST: usize = 128;

/// A change of an object, as it was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// `Kind/namespace/name`.
    pub object: String,
    /// `create`, `update` or `delete`.
    pub operation: &'static str,
    /// Digest of what it was, as of [`vidimus_core::act::Registration`]; `None` where it was not there, or was malformed.
    pub before: Option<String>,
    /// The same of what it is.
    pub after: Option<String>,
    /// Who wrote it last; `None` of what is gone, of which the API server names nobody.
    pub manager: Option<FieldManager>,
}

/// Who wrote an object last, by its managed fields. Whoever writes chooses the name, so it proves nobody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldManager {
    /// Such as `kubectl-edit`.
    pub name: String,
    /// When, RFC 3339, by the API server's clock.
    pub time: String,
}

impl Seen {
    /// What became of an object; `None` where it is as it was.
    pub(crate) fn of((kind, namespace, name): &Key, was: Option<&Entry>, is: Option<&Entry>) -> Option<Self> {
        let digest = |entry: &Entry| entry.object().map(digest);
        let (before, after) = (was.and_then(digest), is.and_then(digest));
        let operation = match (was, is) {
            (Some(was), Some(is)) if was.uid == is.uid => "update",
            (_, Some(_)) => "create",
            (_, None) => "delete",
        };
        // Such as what was kept on disk, and is heard now.
        if operation == "update" && before.is_some() && before == after {
            return None;
        }
        let manager = is.and_then(|is| is.manager.clone());
        Some(Self { object: format!("{kind}/{namespace}/{name}"), operation, before, after, manager })
    }
}

/// Of what counts of it, in one form for all that mean the same.
fn digest(object: &Object) -> String {
    format!("sha256:{}", HEXLOWER.encode(&Sha256::digest(object.meta().document.as_bytes())))
}

impl FieldManager {
    /// The newest of those that are not of a status.
    pub(crate) fn read(document: &Value) -> Option<Self> {
        let of = |entry: &Value| {
            let text = |member: &str| entry.get(member).and_then(Value::as_str).unwrap_or_default();
            let short = |member: &str| -> String { text(member).chars().take(LONGEST).collect() };
            text("subresource").is_empty().then(|| Self { name: short("manager"), time: short("time") })
        };
        let all = document.pointer("/metadata/managedFields")?.as_array()?;
        // UTC, to the second: as text they are in the order of time.
        all.iter().filter_map(of).max_by(|one, other| one.time.cmp(&other.time))
    }
}
