//! Changes of objects as they are seen, for a record of each where the API server asks nobody (docs/admission.md, On record).

use data_encoding::HEXLOWER;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use vidimus_core::resource::Object;

use crate::index::{Entry, Key};

/// Longest text of managed fields that is kept, in characters: the API server takes no longer name.
const LONGEST: usize = 128;
/// Changes that wait for whoever records them, at most: some MiB.
const KEPT: usize = 8192;

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

/// Changes as they are seen. Those that are not taken wait, the newest 8,192 of them.
/// Boxed: room for all that may wait is made at once.
#[derive(Debug)]
pub struct Changes(pub(crate) broadcast::Receiver<Box<Seen>>);

/// Who tells of changes, and who takes them.
pub(crate) fn changes() -> (broadcast::Sender<Box<Seen>>, Changes) {
    let (tell, told) = broadcast::channel(KEPT);
    (tell, Changes(told))
}

impl Changes {
    /// The next one, and how many right before it were let go, since they were not taken in time; `None` once the source has ended.
    pub async fn next(&mut self) -> Option<(Seen, u64)> {
        let mut lost = 0_u64;
        loop {
            match self.0.recv().await {
                Ok(seen) => return Some((*seen, lost)),
                Err(RecvError::Lagged(more)) => lost = lost.saturating_add(more),
                Err(RecvError::Closed) => return None,
            }
        }
    }
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
        let manager = is.and_then(|is| is.manager.as_deref().cloned());
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Attack: objects that are written over and over while the ledger takes nothing.
    #[tokio::test]
    async fn changes_that_are_not_taken_in_time_are_counted_and_not_kept() {
        let (tell, mut changes) = changes();
        let seen = |number: usize| Seen {
            object: number.to_string(),
            operation: "update",
            before: None,
            after: None,
            manager: None,
        };
        for number in 0..KEPT + 3 {
            tell.send(Box::new(seen(number))).unwrap();
        }
        assert_eq!(changes.next().await, Some((seen(3), 3)));
        assert_eq!(changes.next().await, Some((seen(4), 0)));
        drop(tell);
        let mut left = 0;
        while changes.next().await.is_some() {
            left += 1;
        }
        assert_eq!(left, KEPT - 2);
    }

    /// Nearly all of the places are empty nearly always.
    #[test]
    fn a_place_for_a_change_is_as_large_as_a_pointer() {
        fn of_each<T>(_: &broadcast::Receiver<T>) -> usize {
            size_of::<T>()
        }
        assert_eq!(of_each(&changes().1.0), size_of::<usize>());
    }
}
