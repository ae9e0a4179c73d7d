//! What data planes have, and what they do not take: for operators (`/registry`, metrics, the log).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use super::compile::{Compiled, Gateway, object_of};
use super::subscription::{Answered, Complaint};

/// The gateways that were here since the start. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Planes(Arc<Mutex<BTreeMap<Gateway, Plane>>>);

#[derive(Debug, Default)]
struct Plane {
    streams: usize,
    /// What the last stream has.
    resources: usize,
    unguarded: bool,
    refused: BTreeMap<Arc<str>, Complaint>,
    left_out: Vec<(String, &'static str)>,
}

/// One gateway, as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Shown {
    /// `namespace/name`.
    gateway: String,
    /// Replicas that are connected.
    streams: usize,
    /// Resources that one of them has.
    resources: usize,
    /// It does not take the policies that ask Vidimus, and so is given no routes.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    unguarded: bool,
    /// Resources that it does not take, or not wholly.
    refused: Vec<Refused>,
    /// Objects that have no route there.
    left_out: Vec<LeftOut>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Refused {
    resource: String,
    severity: &'static str,
    message: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct LeftOut {
    object: String,
    why: &'static str,
}

/// The place of one stream. It is free when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    planes: Planes,
    gateway: Gateway,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.with(|plane| plane.streams = plane.streams.saturating_sub(1));
    }
}

impl Planes {
    /// All of them, in order.
    pub fn shown(&self) -> Vec<Shown> {
        self.lock().iter().map(|(gateway, plane)| plane.shown(gateway)).collect()
    }

    /// Whether any is connected, and what is wrong with the routes of objects: each as `Kind namespace/name`, with whether a data plane refuses it
    /// (otherwise it is left out), and which one says what. One that is gone says nothing any more: what it would take now is not known.
    pub fn faults(&self) -> (bool, BTreeMap<String, (bool, String)>) {
        let mut faults: BTreeMap<String, (bool, String)> = BTreeMap::new();
        let mut add = |object: String, is_refused: bool, message: String| {
            let (refused, said) = faults.entry(object).or_default();
            *refused |= is_refused;
            let between = if said.is_empty() { "" } else { " | " };
            said.push_str(between);
            said.push_str(&message);
        };
        let all = self.lock();
        for (gateway, plane) in all.iter().filter(|(_, plane)| plane.streams > 0) {
            for Complaint { resource, is_error, message } in plane.refused.values() {
                let Some(object) = object_of(resource) else { continue };
                let how = if *is_error { "refuses" } else { "takes, but not wholly," };
                add(object, true, format!("{gateway} {how} {resource}: {message}"));
            }
            for (object, why) in &plane.left_out {
                add(object.clone(), false, format!("{gateway} has no route to it: {why}"));
            }
        }
        (all.values().any(|plane| plane.streams > 0), faults)
    }

    /// A place for one more stream of a gateway, which has at most so `many`.
    pub(super) fn enter(&self, gateway: &Gateway, many: usize) -> Option<Place> {
        let mut all = self.lock();
        let plane = all.entry(gateway.clone()).or_default();
        (plane.streams < many).then(|| {
            plane.streams += 1;
            Place { planes: self.clone(), gateway: gateway.clone() }
        })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Gateway, Plane>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    pub(super) fn gateway(&self) -> &Gateway {
        &self.gateway
    }

    /// What a data plane made of what it was sent. What it takes now is not refused any more.
    pub(super) fn answered(&self, answered: &Answered, resources: usize) {
        self.with(|plane| {
            plane.resources = resources;
            plane.unguarded = answered.unguarded;
            for name in &answered.resources {
                plane.refused.remove(name);
            }
            let complaints = answered.complaints.iter();
            plane.refused.extend(complaints.map(|one| (one.resource.clone(), one.clone())));
        });
        for complaint in &answered.complaints {
            let Complaint { resource, is_error, message } = complaint;
            tracing::error!(gateway = %self.gateway, %resource, is_error, said = %message, "a data plane refuses a resource");
        }
    }

    /// What is wanted now: what is not there any more is not refused either.
    pub(super) fn wants(&self, compiled: &Compiled) {
        self.with(|plane| {
            let left_out = compiled.left_out.iter();
            plane.left_out = left_out.map(|one| (one.object.clone(), one.why)).collect();
            let all = compiled.guards.iter().chain(&compiled.rest);
            let names: BTreeSet<&str> = all.map(|item| &*item.name).collect();
            plane.refused.retain(|name, _| names.contains(&**name));
        });
    }

    fn with(&self, change: impl FnOnce(&mut Plane)) {
        change(self.planes.lock().entry(self.gateway.clone()).or_default());
    }
}

impl Plane {
    fn shown(&self, gateway: &Gateway) -> Shown {
        let refused = self.refused.values().map(|one| Refused {
            resource: one.resource.to_string(),
            severity: if one.is_error { "error" } else { "warning" },
            message: one.message.clone(),
        });
        let left_out = self.left_out.iter().map(|(object, why)| LeftOut { object: object.clone(), why });
        Shown {
            gateway: gateway.to_string(),
            streams: self.streams,
            resources: self.resources,
            unguarded: self.unguarded,
            refused: refused.collect(),
            left_out: left_out.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::compile::{LeftOut, tests::gateway};
    use super::*;

    #[test]
    fn what_is_refused_is_told_by_its_object() {
        let planes = Planes::default();
        assert_eq!(planes.faults(), (false, BTreeMap::new()));
        let place = planes.enter(&gateway(), 1).expect("a place");
        let complaint = |resource: &str, is_error| Complaint {
            resource: resource.into(),
            is_error,
            message: "no".to_owned(),
        };
        place.wants(&Compiled {
            left_out: vec![LeftOut { object: "Agent a/out".to_owned(), why: "it has roots of its own" }],
            ..Compiled::default()
        });
        let complaints = vec![
            complaint("route/finance/mcp.a.b.00.http", true),
            complaint("backend/finance/mcp.a.b", false),
            complaint("backend/finance/llm.simulator", true),
            // What is of no object is in /registry alone.
            complaint("listener/edge/agents.http", true),
            complaint("policy/edge/agents.vidimus-ask", true),
        ];
        place.answered(&Answered { complaints, ..Answered::default() }, 3);
        let (heard, faults) = planes.faults();
        assert!(heard);
        assert_eq!(
            faults.keys().collect::<Vec<_>>(),
            ["Agent a/out", "LLMProvider finance/simulator", "MCPServer finance/a.b"]
        );
        let (is_refused, said) = &faults["MCPServer finance/a.b"];
        assert!(
            *is_refused && said.contains("edge/agents refuses route/finance/mcp.a.b.00.http: no"),
            "{said}"
        );
        assert!(said.contains("not wholly"), "{said}");
        assert!(!faults["Agent a/out"].0);
        // What it takes now is not told any more.
        let resources = vec!["route/finance/mcp.a.b.00.http".into(), "backend/finance/mcp.a.b".into()];
        place.answered(&Answered { resources, ..Answered::default() }, 3);
        assert!(!planes.faults().1.contains_key("MCPServer finance/a.b"));
        assert!(planes.faults().1.contains_key("LLMProvider finance/simulator"));
        // It may have been taken away for good.
        drop(place);
        assert_eq!(planes.faults(), (false, BTreeMap::new()));
    }
}
