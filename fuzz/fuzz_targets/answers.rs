//! What upstreams answer: filtered listings, and streams of events in every chunking.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use bytes::Bytes;
use vidimus_core::refusal::Refusal;
use vidimus_gateway::fuzzing::protocol::event::{self, Change, Rewrite};
use vidimus_gateway::fuzzing::protocol::llm::added_usage::WithoutUsage;
use vidimus_gateway::fuzzing::protocol::mcp::listing::{self, Listing};
use vidimus_gateway::fuzzing::protocol::mcp::multiplex::back;
use vidimus_gateway::fuzzing::protocol::mcp::questions;
use vidimus_gateway::fuzzing::protocol::observe::{Observation, Observe, Observer, Sought};
use vidimus_gateway::fuzzing::protocol::sse::{EventFilter, EventStream, TooLong};

const LISTINGS: [(Listing, &str, &str); 4] = [
    (Listing::Tools, "tools", "name"),
    (Listing::Resources, "resources", "uri"),
    (Listing::ResourceTemplates, "resourceTemplates", "uriTemplate"),
    (Listing::Prompts, "prompts", "name"),
];

fuzz_target!(|input: &[u8]| {
    let Some((first, answer)) = input.split_first() else { return };
    documents(answer, usize::from(*first).max(1));
    streams(answer, usize::from(*first).max(1));
    let Ok(text) = std::str::from_utf8(answer) else { return };
    for (listing, entries, name) in LISTINGS {
        filtered(text, listing, entries, name);
    }
    of_member(text);
    asking(text);
    let Some(events) = changed(listings(), answer, usize::from(*first).max(1)) else { return };
    assert_eq!(changed(listings(), answer, answer.len().max(1)).as_deref(), Some(&*events), "however it is cut");
    let events = String::from_utf8(events).expect("filtered events are text");
    let data = event_data(&events);
    assert_eq!(data.len(), event_data(text).len(), "no event is lost or made");
    for data in data.iter().filter(|data| data.trim_start().starts_with('{')) {
        LISTINGS.iter().for_each(|(_, entries, name)| shown(data, entries, name));
    }
});

/// Shows what is kept.
#[derive(Debug)]
struct OddNames;

impl EventFilter for OddNames {
    fn filter(&mut self, event: &[u8]) -> Result<Option<Vec<u8>>, Refusal> {
        event::rewrite(event, self)
    }
}

impl Rewrite for OddNames {
    fn data(&mut self, data: &str) -> Result<Change, Refusal> {
        if !data.trim_start().starts_with(['{', '[']) {
            return Ok(Change::Same);
        }
        let read = listing::read(data)?;
        Ok(listing::filter_any(data, &read, &mut |_, name, _| keep(name))?.map_or(Change::Same, Change::To))
    }

    fn id(&mut self, _id: &str) -> Result<Option<String>, Refusal> {
        Ok(None)
    }
}

fn listings() -> EventStream {
    EventStream::new(Box::new(OddNames), 1 << 20, TooLong::EndsStream)
}

fn without_usage() -> EventStream {
    EventStream::new(Box::new(WithoutUsage), WithoutUsage::MAX_EVENT, TooLong::Passes)
}

/// What a stream becomes that comes in chunks of `size` bytes.
fn changed(mut events: EventStream, stream: &[u8], size: usize) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    for chunk in stream.chunks(size) {
        out.extend_from_slice(&events.push(&Bytes::copy_from_slice(chunk)).ok()?);
    }
    out.extend_from_slice(&events.finish().ok()?);
    Some(out)
}

/// Some names are kept.
fn keep(name: &str) -> bool {
    name.len() % 2 == 1
}

fn filtered(text: &str, listing: Listing, entries: &str, name: &str) {
    let Ok(filtered) = listing::filter(text, listing, &mut |name, _| keep(name)) else { return };
    shown(&filtered, entries, name);
    assert_eq!(listing::filter(&filtered, listing, &mut |name, _| keep(name)).as_deref(), Ok(&*filtered));
}

/// What a member of a server says is still one message, and what it asks has an id of that member.
fn of_member(text: &str) {
    let Ok(Some(changed)) = back::message(text, "m") else { return };
    let said: Value = serde_json::from_str(&changed).expect("still JSON");
    if said["method"].is_string() && said.get("id").is_some() {
        assert!(said["id"].as_str().is_some_and(|id| id.starts_with("m/")), "{changed}");
    }
}

/// What is found to ask something in a document that was read whole is found in one that passes as it comes.
fn asking(text: &str) {
    let Ok(asked) = questions::in_document(text.as_bytes()) else { return };
    let mut observer = Observer::document(Sought { observe: Observe::Rpc, id: None });
    observer.push(text.as_bytes());
    // What follows the document is no part of it for one reader, and breaks it for the other.
    assert!(asked.is_empty() || observer.asks(), "{text}");
}

/// Every entry of a filtered answer is one that is kept.
fn shown(answer: &str, entries: &str, name: &str) {
    let parsed: Value = serde_json::from_str(answer).expect("still JSON");
    for entry in parsed["result"][entries].as_array().into_iter().flatten() {
        assert!(entry[name].as_str().is_some_and(keep), "{answer}");
    }
}

/// The data of a stream's events as a browser reads it (HTML, section 9.2.6), also of a last event that is not complete.
fn event_data(stream: &str) -> Vec<String> {
    let text = stream.strip_prefix('\u{feff}').unwrap_or(stream).replace("\r\n", "\n").replace('\r', "\n");
    let (mut events, mut data) = (Vec::new(), String::new());
    for line in text.split('\n').chain([""]) {
        if line.is_empty() && !data.trim().is_empty() {
            events.push(data.trim_end_matches('\n').to_owned());
        }
        match line.strip_prefix("data:") {
            _ if line.is_empty() => data.clear(),
            Some(part) => data = format!("{data}{}\n", part.strip_prefix(' ').unwrap_or(part)),
            None => {}
        }
    }
    events
}

/// Cut into pieces of any size, a document is the same document. Whether all of it could be read is not told alike where it is
/// broken and has nothing that is looked for: a whole one is then not read further.
fn documents(answer: &[u8], size: usize) {
    for observe in [Observe::Model, Observe::Rpc] {
        let sought = Sought { observe, id: Some("1".into()) };
        let mut observer = Observer::document(sought.clone());
        answer.chunks(size).for_each(|chunk| observer.push(chunk));
        let (cut, whole) = (observer.finish(), Observation::of(&sought, answer));
        assert_eq!((cut.usage, cut.is_error), (whole.usage, whole.is_error));
    }
}

/// Cut into pieces of any size, a stream is the same stream.
fn streams(stream: &[u8], size: usize) {
    for observe in [Observe::Model, Observe::Rpc] {
        let found = [size, stream.len().max(1)].map(|size| {
            let mut observer = Observer::events(Sought { observe, id: Some("1".into()) });
            stream.chunks(size).for_each(|chunk| observer.push(chunk));
            let found = observer.finish();
            (found.usage, found.is_error)
        });
        assert_eq!(found[0], found[1]);
    }
    let [small, whole] = [size, stream.len().max(1)]
        .map(|size| changed(without_usage(), stream, size).expect("it never ends a stream"));
    assert_eq!(small, whole);
    assert!(small == stream || stream.windows(7).any(|window| window == b"\"usage\""));
}
