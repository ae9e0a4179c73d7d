//! What one data plane has, and what it is sent next: the delta protocol of xDS as a state, without a socket or a clock.
//!
//! - One response of a type is on its way at a time, so whoever does not answer is sent nothing more.
//! - The guards are first, also on a stream that says what it has: without them agentgateway lets everything pass. Where it takes them no
//!   longer, all else is taken away.
//! - Other types (`istio.workload.Address`) have nothing in them, and are answered once the first is whole: a data plane is ready when both
//!   are, and so not before it has its routes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Deserialize;
use vidimus_core::refusal::{Code, Refusal};

use super::compile::{Compiled, Item, RESOURCE};
use super::proto::{Any, DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryResource, Status};

/// What one response has of resources, in bytes, and at least one.
const BATCH: usize = 1024 * 1024;
/// Types of one stream. agentgateway has two.
const MOST_TYPES: usize = 8;
/// What is read of one error, in bytes, and how many complaints.
const MOST_ERROR: usize = 1024 * 1024;
const MOST_COMPLAINTS: usize = 1_000;
/// What is kept of one complaint, in bytes.
const LONGEST: usize = 1_024;
/// What is complained of where that is not said, or is not what was sent.
const UNSAID: &str = "*";

/// What a data plane says of one resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Complaint {
    pub(super) resource: Arc<str>,
    /// It was not taken. It was where this is only a warning.
    pub(super) is_error: bool,
    pub(super) message: String,
}

/// What a data plane made of one response.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Answered {
    /// What it was about.
    pub(super) resources: Vec<Arc<str>>,
    pub(super) complaints: Vec<Complaint>,
    /// It does not take what guards the rest, and is given nothing.
    pub(super) unguarded: bool,
}

/// One stream.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    resources: Option<Resources>,
    others: BTreeMap<String, Other>,
    nonces: u64,
}

/// Of [`RESOURCE`].
#[derive(Debug, Default)]
struct Resources {
    /// Name and version of what the data plane has, or was sent.
    known: BTreeMap<Arc<str>, Arc<str>>,
    guard: Guard,
    sent: Option<Sent>,
    /// It had all at least once.
    whole: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Guard {
    #[default]
    NotSent,
    Sent,
    Taken,
    Refused,
}

/// A response that is not answered yet.
#[derive(Debug)]
struct Sent {
    nonce: String,
    resources: Vec<Arc<str>>,
}

/// A type that has nothing in it here.
#[derive(Debug, Default)]
struct Other {
    /// What the data plane has of it all the same.
    known: Vec<String>,
    answered: bool,
    nonce: Option<String>,
}

/// As `error_detail.message` has it, a list of these.
#[derive(Debug, Deserialize)]
struct Diagnostic {
    key: String,
    #[serde(default)]
    warn: Option<String>,
    #[serde(default)]
    error: Option<String>,
}

impl Subscriptions {
    /// Takes a message of the data plane; what it made of a response, where it answers one.
    ///
    /// # Errors
    /// `message_invalid`.
    pub(super) fn take(&mut self, request: &DeltaDiscoveryRequest) -> Result<Option<Answered>, Refusal> {
        // A wildcard is an empty list.
        if request.resource_names_subscribe.iter().any(|name| name != "*")
            || !request.resource_names_unsubscribe.is_empty()
        {
            return Err(invalid("single resources cannot be subscribed to: leave the lists of names empty"));
        }
        if request.type_url != RESOURCE {
            return self.take_other(request);
        }
        let Some(resources) = &mut self.resources else {
            let versions = request.versions().ok_or_else(|| invalid("the versions cannot be read"))?;
            let known = versions.into_iter().map(|it| (it.key.into(), it.value.into())).collect();
            self.resources = Some(Resources { known, ..Resources::default() });
            return Ok(None);
        };
        let Some(sent) = resources.sent.take_if(|sent| sent.nonce == request.response_nonce) else {
            return Ok(None);
        };
        let complaints = complaints(request.error_detail.as_ref(), &sent.resources);
        if resources.guard == Guard::Sent {
            resources.guard = if complaints.is_empty() { Guard::Taken } else { Guard::Refused };
        }
        let unguarded = resources.guard == Guard::Refused;
        Ok(Some(Answered { resources: sent.resources, complaints, unguarded }))
    }

    fn take_other(&mut self, request: &DeltaDiscoveryRequest) -> Result<Option<Answered>, Refusal> {
        if let Some(other) = self.others.get_mut(&request.type_url) {
            other.nonce.take_if(|nonce| *nonce == request.response_nonce);
            return Ok(None);
        }
        if self.others.len() + 1 >= MOST_TYPES {
            return Err(invalid("a stream is of at most 8 types"));
        }
        let versions = request.versions().ok_or_else(|| invalid("the versions cannot be read"))?;
        let known = versions.into_iter().map(|it| it.key).collect();
        self.others.insert(request.type_url.clone(), Other { known, ..Other::default() });
        Ok(None)
    }

    /// What is sent now, where anything is.
    pub(super) fn next(&mut self, wanted: &Compiled) -> Option<DeltaDiscoveryResponse> {
        let resources = self.resources.as_mut()?;
        if resources.sent.is_none()
            && let Some((items, removed)) = resources.next(wanted)
        {
            self.nonces += 1;
            let nonce = self.nonces.to_string();
            let names = items.iter().map(|item| item.name.clone()).chain(removed.iter().cloned()).collect();
            resources.sent = Some(Sent { nonce: nonce.clone(), resources: names });
            return Some(response(
                RESOURCE,
                nonce,
                &items,
                removed.iter().map(ToString::to_string).collect(),
            ));
        }
        if !resources.whole {
            return None;
        }
        let (url, other) = self.others.iter_mut().find(|(_, other)| !other.answered)?;
        self.nonces += 1;
        let nonce = self.nonces.to_string();
        (other.answered, other.nonce) = (true, Some(nonce.clone()));
        Some(response(url, nonce, &[], std::mem::take(&mut other.known)))
    }

    /// Whether it has not answered what it was sent.
    pub(super) fn is_waiting(&self) -> bool {
        self.resources.as_ref().is_some_and(|resources| resources.sent.is_some())
            || self.others.values().any(|other| other.nonce.is_some())
    }

    /// How much it has.
    pub(super) fn resources(&self) -> usize {
        self.resources.as_ref().map_or(0, |resources| resources.known.len())
    }
}

impl Resources {
    /// What is sent next, and what is taken away; nothing where it has what it is to have.
    fn next(&mut self, wanted: &Compiled) -> Option<(Vec<Item>, Vec<Arc<str>>)> {
        let guards = wanted.guards.iter().map(|item| (item.name.clone(), item.version.clone()));
        match self.guard {
            Guard::NotSent => {
                self.guard = Guard::Sent;
                self.known.extend(guards);
                Some((wanted.guards.clone(), Vec::new()))
            }
            Guard::Sent => None,
            Guard::Refused => {
                let is_guard: BTreeSet<Arc<str>> = guards.map(|(name, _)| name).collect();
                let removed = self.forget(&is_guard);
                (!removed.is_empty()).then(|| (Vec::new(), removed))
            }
            Guard::Taken => {
                let all = wanted.guards.iter().chain(&wanted.rest);
                let removed = self.forget(&all.map(|item| item.name.clone()).collect());
                let items = self.changed(&wanted.rest);
                let is_whole = items.is_empty() && removed.is_empty();
                self.whole |= is_whole;
                (!is_whole).then_some((items, removed))
            }
        }
    }

    /// What it has beside these, which is not its own any more.
    fn forget(&mut self, kept: &BTreeSet<Arc<str>>) -> Vec<Arc<str>> {
        let removed: Vec<_> = self.known.keys().filter(|name| !kept.contains(*name)).cloned().collect();
        self.known.retain(|name, _| kept.contains(name));
        removed
    }

    fn changed(&mut self, wanted: &[Item]) -> Vec<Item> {
        let (mut items, mut bytes) = (Vec::new(), 0_usize);
        for item in wanted {
            if self.known.get(&item.name) == Some(&item.version) {
                continue;
            }
            bytes += item.value.len();
            if bytes > BATCH && !items.is_empty() {
                break;
            }
            self.known.insert(item.name.clone(), item.version.clone());
            items.push(item.clone());
        }
        items
    }
}

fn response(url: &str, nonce: String, items: &[Item], removed: Vec<String>) -> DeltaDiscoveryResponse {
    let resource = |item: &Item| DiscoveryResource {
        version: item.version.to_string(),
        resource: Some(Any { type_url: url.to_owned(), value: item.value.clone() }),
        name: item.name.to_string(),
    };
    DeltaDiscoveryResponse {
        resources: items.iter().map(resource).collect(),
        type_url: url.to_owned(),
        nonce,
        removed_resources: removed,
        ..DeltaDiscoveryResponse::default()
    }
}

/// What is complained of; something always, where there is an error at all.
fn complaints(error: Option<&Status>, sent: &[Arc<str>]) -> Vec<Complaint> {
    let Some(error) = error else { return Vec::new() };
    let whole = |message: &str| {
        vec![Complaint { resource: UNSAID.into(), is_error: true, message: cut(message).to_owned() }]
    };
    let read =
        if error.message.len() > MOST_ERROR { None } else { serde_json::from_str(&error.message).ok() };
    let said: Vec<Diagnostic> = read.unwrap_or_default();
    if said.is_empty() {
        return whole(&error.message);
    }
    let sent: BTreeSet<&Arc<str>> = sent.iter().collect();
    let complaint = |one: &Diagnostic| {
        let resource =
            sent.get(&Arc::<str>::from(one.key.as_str())).map_or(UNSAID.into(), |it| Arc::clone(it));
        let message = one.error.as_deref().or(one.warn.as_deref()).unwrap_or_default();
        // What is neither is taken for the worse.
        let is_error = one.error.is_some() || one.warn.is_none();
        Complaint { resource, is_error, message: cut(message).to_owned() }
    };
    said.iter().take(MOST_COMPLAINTS).map(complaint).collect()
}

fn cut(text: &str) -> &str {
    text.get(..text.floor_char_boundary(LONGEST)).unwrap_or_default()
}

fn invalid(message: &'static str) -> Refusal {
    Refusal::new(Code::MessageInvalid, message)
}

#[cfg(test)]
mod tests;
