//! What data planes (agentgateway, ADR 66) made of the routes of objects, in the words of their status: the condition `Routed`.

use std::collections::BTreeMap;
use std::mem;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};

use crate::condition::Condition;
use crate::index::Key;
use crate::live::Heard;

/// The name of the condition.
const ROUTED: &str = "Routed";
/// A data plane does not take the route of an object, or not wholly.
const REFUSED: &str = "RouteRefused";
/// No data plane could call it as it is called here.
const LEFT_OUT: &str = "RouteLeftOut";

/// What the data planes of this gateway say, as the gateway tells it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoutesSaid {
    /// Whether any is connected: where none is, nothing is known of what they take.
    pub heard: bool,
    /// What of each object is wrong, by `Kind namespace/name`.
    pub faults: BTreeMap<String, RouteFault>,
}

/// Why an object cannot be called by some data plane.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteFault {
    /// A data plane refuses what it was sent. Otherwise it was sent nothing.
    pub is_refused: bool,
    /// Which, and why: shown as it is.
    pub message: String,
}

/// What is known of it; nothing where data planes get their routes elsewhere, or nowhere. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Routes(Arc<Mutex<Option<Arc<RoutesSaid>>>>);

impl Routes {
    fn said(&self) -> Option<Arc<RoutesSaid>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What is to be said of an object, where `there` is what its status says. Of one that was never refused nothing is; and where no data plane is
    /// connected here, what another replica has said is left.
    pub(crate) fn condition(
        &self,
        key: &Key,
        there: &[Condition],
        generation: Option<i64>,
    ) -> Option<Condition> {
        let last = there.iter().find(|one| one.of == ROUTED);
        let Some(said) = self.said() else { return last.cloned() };
        let (status, reason, message) = match said.faults.get(&named(key)) {
            Some(fault) => {
                ("False", if fault.is_refused { REFUSED } else { LEFT_OUT }, fault.message.clone())
            }
            None if last.is_none() => return None,
            None if !said.heard => return last.cloned(),
            None => ("True", ROUTED, String::new()),
        };
        Some(Condition {
            of: ROUTED.to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message,
            observed_generation: generation,
            last_transition_time: String::new(),
        })
    }

    /// Whether something is to be said of it.
    pub(crate) fn concerns(&self, key: &Key, there: &[Condition]) -> bool {
        there.iter().any(|one| one.of == ROUTED)
            || self
                .said()
                .is_some_and(|said| !said.faults.is_empty() && said.faults.contains_key(&named(key)))
    }
}

fn named((kind, namespace, name): &Key) -> String {
    format!("{} {namespace}/{name}", kind.as_str())
}

/// Says what data planes make of routes, to those who write the statuses of objects.
#[derive(Clone, Debug)]
pub struct RoutesReport {
    routes: Routes,
    tell: Sender<Heard>,
}

impl RoutesReport {
    pub(crate) const fn new(routes: Routes, tell: Sender<Heard>) -> Self {
        Self { routes, tell }
    }

    /// It is so by now.
    pub fn note(&self, said: RoutesSaid) {
        let said = Some(Arc::new(said));
        let mut known = self.routes.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = mem::replace(&mut *known, said.clone());
        drop(known);
        if before != said {
            // Nobody hears it once the source has ended.
            drop(self.tell.send(Heard::Secrets));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use vidimus_core::resource::Kind;

    use super::*;

    #[test]
    fn what_a_data_plane_refuses_is_told_until_one_takes_it() {
        let (tell, heard) = mpsc::channel();
        let routes = Routes::default();
        let report = RoutesReport::new(routes.clone(), tell);
        let key: Key = (Kind::McpServer, "a".into(), "x".into());
        assert!(
            routes.condition(&key, &[], Some(1)).is_none() && !routes.concerns(&key, &[]),
            "nobody tells"
        );
        let fault =
            RouteFault { is_refused: true, message: "edge/agents: route/a/mcp.x.00.http: no".to_owned() };
        let refused =
            RoutesSaid { heard: true, faults: BTreeMap::from([("MCPServer a/x".to_owned(), fault)]) };
        for _ in 0..2 {
            report.note(refused.clone());
        }
        assert_eq!(heard.try_iter().count(), 1, "a change is one");
        assert!(routes.concerns(&key, &[]));
        let off = routes.condition(&key, &[], Some(4)).unwrap();
        assert_eq!(
            (&*off.of, &*off.status, &*off.reason, off.observed_generation),
            ("Routed", "False", REFUSED, Some(4))
        );
        assert!(off.message.contains("edge/agents"), "{}", off.message);
        // Another object of the name is another.
        assert!(routes.condition(&(Kind::Agent, "a".into(), "x".into()), &[], None).is_none());
        // Nobody is connected here: another replica has said it, and knows.
        report.note(RoutesSaid::default());
        assert_eq!(routes.condition(&key, std::slice::from_ref(&off), None).unwrap().status, "False");
        report.note(RoutesSaid { heard: true, ..RoutesSaid::default() });
        assert_eq!(routes.condition(&key, std::slice::from_ref(&off), None).unwrap().status, "True");
        assert!(routes.condition(&key, &[], None).is_none());
    }
}
