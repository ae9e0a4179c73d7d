//! The answer as a stream of events, of which each is known by the members of its data.

use serde_json::Value;
use vidimus_core::refusal::Refusal;

use super::super::conversation::{Event, Usage};
use super::super::taken::unreadable;
use super::super::{text_at, value_at};
use super::answer::{fault, is_thought, stop_of, usage_of};

/// Reads events.
#[derive(Debug, Default)]
pub(in super::super) struct Reader {
    /// The block that is being said, by its index.
    block: Option<(Value, Saying)>,
    stopped: bool,
    ended: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Saying {
    Text,
    /// The call of a tool, whose arguments come.
    Call,
    /// Thoughts, which are not said.
    Thought,
}

impl Reader {
    /// An event of this name; of an exception the name says what it is of.
    ///
    /// # Errors
    /// `upstream_invalid`.
    pub(in super::super) fn read(
        &mut self,
        name: &str,
        data: &str,
        out: &mut Vec<Event>,
    ) -> Result<(), Refusal> {
        let event: Value = serde_json::from_str(data).map_err(|_| unreadable("an event that is no JSON"))?;
        let has = |name: &str| event.get(name).is_some();
        if let Some(fault) = fault(&event, status_of(name)) {
            out.push(Event::Error(fault));
        } else if has("role") {
            out.push(Event::Begin(String::new(), Usage::default()));
        } else if has("contentBlockIndex") {
            self.read_block(&event, out)?;
        } else if has("stopReason") {
            self.stopped = true;
            out.push(Event::Stop(stop_of(text_at(&event, "stopReason"))?));
        } else if let Some(usage) = event.get("usage") {
            // What it came to is the last that it says.
            out.push(Event::Usage(usage_of(usage)));
            self.finish(out);
        } else {
            return Err(unreadable("an event that is not known"));
        }
        Ok(())
    }

    /// The stream has ended.
    pub(in super::super) fn finish(&mut self, out: &mut Vec<Event>) {
        if self.stopped && !self.ended {
            self.ended = true;
            out.push(Event::End);
        }
    }

    fn read_block(&mut self, event: &Value, out: &mut Vec<Event>) -> Result<(), Refusal> {
        let index = &event["contentBlockIndex"];
        if self.block.as_ref().is_some_and(|(open, _)| open != index) {
            return Err(unreadable("blocks that are said at once"));
        }
        let (start, delta) = (event.get("start"), event.get("delta"));
        if let Some(start) = start {
            let call = start.get("toolUse").filter(|_| self.block.is_none());
            let call = call.ok_or_else(|| unreadable("a block that begins as no call of a tool"))?;
            self.block = Some((index.clone(), Saying::Call));
            out.push(Event::Call(text_at(call, "toolUseId").to_owned(), text_at(call, "name").to_owned()));
        }
        let Some(delta) = delta else {
            if start.is_none() {
                self.block = None;
            }
            return Ok(());
        };
        let saying = self.block.as_ref().map(|(_, saying)| *saying);
        match (delta.get("reasoningContent"), saying) {
            (None, _) => {}
            (Some(_), None | Some(Saying::Thought)) if is_thought(delta) => {
                self.block = Some((index.clone(), Saying::Thought));
                return Ok(());
            }
            (Some(_), _) => return Err(unreadable("a thought beside something else")),
        }
        match (delta.get("text"), value_at(delta, "/toolUse/input"), saying) {
            (Some(Value::String(text)), Value::Null, None | Some(Saying::Text)) => {
                self.block = Some((index.clone(), Saying::Text));
                out.extend((!text.is_empty()).then(|| Event::Text(text.clone())));
            }
            (None, Value::String(more), Some(Saying::Call)) => {
                out.extend((!more.is_empty()).then(|| Event::Arguments(more.clone())));
            }
            _ => return Err(unreadable("a delta that is neither text nor arguments")),
        }
        Ok(())
    }
}

/// The status that an exception would have without a stream (API reference, "ConverseStream").
fn status_of(exception: &str) -> u16 {
    match exception {
        "validationException" => 400,
        "throttlingException" => 429,
        "serviceUnavailableException" => 503,
        _ => 500,
    }
}
