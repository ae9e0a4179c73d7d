//! Calls under way whose answers are redacted. They went out by ids of the gateway's own, and their callers cancel them by theirs.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;

use crate::protocol::members::{self, Members, Replaced};

/// Who makes a call, and in which session: nobody else cancels it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Caller {
    /// One principal, acting for one person or nobody, at one server ([`crate::seal::binding`]).
    pub holder: String,
    /// As the caller was given it.
    pub session: Option<Box<[u8]>>,
}

/// A call as its caller names it: the id is JSON.
type Name = (Caller, Arc<str>);

/// By which ids calls under way went out, by what their callers name them. There are as many as such calls: each is forgotten with its
/// [`UnderWay`].
#[derive(Clone, Default)]
pub struct RedactedCalls(Arc<Mutex<HashMap<Name, Arc<str>>>>);

impl fmt::Debug for RedactedCalls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedactedCalls").finish_non_exhaustive()
    }
}

/// A call is under way until this is dropped.
#[derive(Debug)]
pub struct UnderWay {
    calls: RedactedCalls,
    name: Name,
    sent: Arc<str>,
}

impl RedactedCalls {
    /// A call of `caller` by the id `id` goes out by `sent`, both JSON.
    pub(super) fn begin(&self, caller: Caller, id: Arc<str>, sent: Arc<str>) -> UnderWay {
        let name = (caller, id);
        self.table().insert(name.clone(), sent.clone());
        UnderWay { calls: self.clone(), name, sent }
    }

    /// A `notifications/cancelled` of `caller` by the id that the server knows; `None` where it names no such call of that caller that is under
    /// way here.
    pub fn cancelled(&self, notification: &str, caller: Caller) -> Option<String> {
        let params = Members::unique(notification).ok()?.object("params").ok()??;
        let id: Value = serde_json::from_str(params.get("requestId")?.get()).ok()?;
        let sent = self.table().get(&(caller, id.to_string().into())).cloned()?;
        let id = Replaced { path: &["params", "requestId"], with: sent.to_string() };
        members::replace(notification, &[id])
    }

    fn table(&self) -> MutexGuard<'_, HashMap<Name, Arc<str>>> {
        // Whatever panicked, each entry is whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut calls = self.calls.table();
        // A later call by the same id has taken its place.
        if calls.get(&self.name) == Some(&self.sent) {
            calls.remove(&self.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(holder: &str, session: Option<&str>) -> Caller {
        Caller { holder: holder.to_owned(), session: session.map(|session| session.as_bytes().into()) }
    }

    /// Attack: a call is cancelled by another principal, in another session, by an id that is the same as text.
    #[test]
    fn a_call_is_cancelled_by_its_caller_and_while_it_is_under_way() {
        let calls = RedactedCalls::default();
        let notification =
            |id: &str| format!(r#"{{"method":"x", "params":{{"reason":"r","requestId": {id} }}}}"#);
        let cancelled = |caller: Caller, id: &str| calls.cancelled(&notification(id), caller);
        let (first, own) = (calls.begin(caller("a", None), "2".into(), "\"sent\"".into()), caller("a", None));
        assert_eq!(cancelled(own.clone(), "2"), Some(notification("\"sent\"")));
        for (other, id) in [
            (caller("b", None), "2"),
            (caller("a", Some("s")), "2"),
            (own.clone(), "\"2\""),
            (own.clone(), "3"),
            (own.clone(), "null"),
        ] {
            assert_eq!(cancelled(other, id), None);
        }
        // One more by the same id takes its place, and keeps it when the first one ends.
        let second = calls.begin(own.clone(), "2".into(), "\"next\"".into());
        drop(first);
        assert_eq!(cancelled(own.clone(), "2"), Some(notification("\"next\"")));
        drop(second);
        assert_eq!(cancelled(own, "2"), None);
        assert!(calls.table().is_empty());
    }
}
