//! Who called gateways last, as they say it: of objects that there are, so that a gateway that was taken over cannot have more and more of it kept.

use std::sync::{Arc, PoisonError};

use jiff::Timestamp;
use vidimus_core::resource::Kind;

use super::{Relay, State};
use crate::line::Called;
use crate::pods::{LastCalls, ObjectKey};

/// Objects whose last call is known.
const CALLERS: usize = 50_000;
/// Longest name of an object, bytes; that of a namespace is shorter.
const LONGEST: usize = 253;

impl Relay {
    /// Who called gateways last. What is not there any more is forgotten.
    pub fn last_calls(&self) -> LastCalls {
        let mut known = self.0.calls.lock().unwrap_or_else(PoisonError::into_inner);
        let state = self.state();
        known.retain(|of, _| self.is_there(&state, of));
        known.clone()
    }

    /// The latest of each object counts, whichever gateway saw it. What is no call, or of nothing that is there, is passed over: it is for people alone.
    pub(super) fn called(&self, calls: Vec<Called>) {
        // Without pods nobody is told of it.
        if !self.0.pods {
            return;
        }
        let now = Timestamp::now();
        let mut known = self.0.calls.lock().unwrap_or_else(PoisonError::into_inner);
        let state = self.state();
        for (of, call) in calls.into_iter().filter_map(|called| called.read(now)) {
            let is_later = known.get(&of).map(|last| last.time < call.time);
            if self.is_there(&state, &of) && is_later.unwrap_or(known.len() < CALLERS) {
                known.insert(of, call);
            }
        }
    }

    /// Whether there is such an object. Before those of its kind were listed there may be any that is followed.
    fn is_there(&self, state: &State, (kind, namespace, name): &ObjectKey) -> bool {
        let is_of = |(of, scope): &(Kind, Option<Arc<str>>)| {
            of == kind && scope.as_ref().is_none_or(|scope| scope == namespace)
        };
        let watch = self.0.followed.iter().position(is_of).and_then(|place| state.watches.get(place));
        let has = |watch: &super::Watch| match &watch.objects {
            Some(objects) => objects.contains_key(&format!("{namespace}/{name}")),
            None => true,
        };
        namespace.len() <= LONGEST && name.len() <= LONGEST && watch.is_some_and(has)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use vidimus_core::resource::crd::LastCall;

    use super::*;
    use crate::line::{Asks, MAX_CALLS, Writes, text};
    use crate::live::Told;
    use crate::secrets::Secrets;

    fn relay(pods: bool) -> Relay {
        Relay::new(vec!["a".into()], pods, 6, Secrets::default())
    }

    fn call(namespace: &str, name: &str) -> Called {
        let call = LastCall { time: "2026-11-28T12:00:00Z".to_owned(), ..LastCall::default() };
        Called::new(&(Kind::Agent, namespace.into(), name.into()), &call)
    }

    fn agent(name: &str) -> Value {
        json!({"metadata": {"namespace": "a", "name": name}})
    }

    fn known(relay: &Relay) -> Vec<String> {
        let calls = relay.last_calls();
        let mut names: Vec<String> =
            calls.keys().map(|(_, namespace, name)| format!("{namespace}/{name}")).collect();
        names.sort();
        names
    }

    /// Attack: a gateway that was taken over, and says that more and more has called it, each by a longer name.
    #[test]
    fn no_more_calls_are_kept_than_there_are_objects() {
        let (relay, long) = (relay(true), "x".repeat(300_000));
        relay.called(vec![call("a", "x"), call("a", &long), call(&long, "x"), call("b", "x")]);
        assert_eq!(known(&relay), ["a/x"], "it may be there still");
        relay.hear(0, &Told::Listed(vec![agent("y")]));
        relay.called(vec![call("a", "y"), call("a", "z")]);
        assert_eq!(known(&relay), ["a/y"]);
        relay.hear(0, &Told::Gone(agent("y")));
        assert_eq!(known(&relay), [""; 0]);
        let relay = self::relay(false);
        relay.called(vec![call("a", "x")]);
        assert_eq!(known(&relay), [""; 0], "nobody wants to know");
    }

    #[tokio::test]
    async fn a_line_of_too_many_calls_ends_the_stream() {
        let (near, far) = tokio::io::duplex(1 << 20);
        let mut writes = Writes::new(near);
        let many = vec![call("a", "x"); MAX_CALLS + 1];
        writes.say(&text(&Asks::Calls(many)).unwrap()).await.unwrap();
        writes.send().await.unwrap();
        let why = relay(true).serve(far, || true).await;
        assert!(why.contains("more than 32 calls"), "{why}");
    }
}
