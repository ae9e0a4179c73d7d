//! The answer as a stream of chunks.

use std::collections::HashSet;

use serde_json::{Value, json};
use vidimus_core::refusal::Refusal;

use super::super::conversation::{Event, Stop, Usage};
use super::super::taken::unreadable;
use super::super::{Answered, text_at, value_at, with};
use super::answer::{fault, reason, stop_of, usage_of, write_fault, write_usage};

/// Reads chunks.
#[derive(Debug, Default)]
pub(in super::super) struct Reader {
    has_begun: bool,
    /// The tool call that is being said: its index, its id and the tool's name.
    call: Option<(u64, String, String)>,
    /// The ids of all that were said.
    ids: HashSet<String>,
    stopped: bool,
    refused: bool,
    ended: bool,
}

impl Reader {
    /// # Errors
    /// `upstream_invalid`.
    pub(in super::super) fn read(&mut self, data: &str, out: &mut Vec<Event>) -> Result<(), Refusal> {
        if data.trim() == "[DONE]" {
            self.finish(out);
            return Ok(());
        }
        let chunk: Value = serde_json::from_str(data).map_err(|_| unreadable("an event that is no JSON"))?;
        if let Some(fault) = fault(&chunk, 500) {
            out.push(Event::Error(fault));
            return Ok(());
        }
        if !self.has_begun {
            self.has_begun = true;
            out.push(Event::Begin(text_at(&chunk, "id").to_owned(), Usage::default()));
        }
        for choice in value_at(&chunk, "/choices").as_array().map(Vec::as_slice).unwrap_or_default() {
            if choice["index"].as_u64().is_some_and(|index| index != 0) {
                return Err(unreadable("more than one choice"));
            }
            self.read_delta(&choice["delta"], out)?;
            // Some servers write an empty one until there is one.
            if let Some(reason) = choice["finish_reason"].as_str().filter(|reason| !reason.is_empty()) {
                self.stopped = true;
                let stop = stop_of(reason, !self.ids.is_empty())?;
                out.push(Event::Stop(if self.refused { Stop::Filtered } else { stop }));
            }
        }
        let usage = value_at(&chunk, "/usage");
        if usage.is_object() {
            out.push(Event::Usage(usage_of(usage)));
        }
        Ok(())
    }

    fn read_delta(&mut self, delta: &Value, out: &mut Vec<Event>) -> Result<(), Refusal> {
        for name in ["content", "refusal"] {
            if !is_text(&delta[name]) {
                return Err(unreadable(format_args!("{name} that is no text")));
            }
            if let Some(text) = delta[name].as_str().filter(|text| !text.is_empty()) {
                self.refused |= name == "refusal";
                out.push(Event::Text(text.to_owned()));
            }
        }
        if !delta["function_call"].is_null() || !delta["audio"].is_null() {
            return Err(unreadable("a function call, or sound"));
        }
        for call in delta["tool_calls"].as_array().map(Vec::as_slice).unwrap_or_default() {
            let (index, function) = (call["index"].as_u64().unwrap_or_default(), &call["function"]);
            self.read_call((index, text_at(call, "id"), text_at(function, "name")), out)?;
            if !is_text(&function["arguments"]) {
                return Err(unreadable("arguments of a tool that are no text"));
            }
            if let Some(more) = function["arguments"].as_str().filter(|more| !more.is_empty()) {
                out.push(Event::Arguments(more.to_owned()));
            }
        }
        Ok(())
    }

    /// A call begins, or the one that is being said goes on. Some servers say index 0 of each, and each with an id of its own.
    fn read_call(
        &mut self,
        (index, id, name): (u64, &str, &str),
        out: &mut Vec<Event>,
    ) -> Result<(), Refusal> {
        let begins = match &self.call {
            None => true,
            Some((current, its_id, _)) if *current == index => {
                !id.is_empty() && id != its_id && !self.ids.contains(id)
            }
            Some((current, ..)) => *current < index,
        };
        if begins {
            if id.is_empty() || name.is_empty() {
                return Err(unreadable("a tool call that does not say which"));
            }
            self.ids.insert(id.to_owned());
            self.call = Some((index, id.to_owned(), name.to_owned()));
            out.push(Event::Call(id.to_owned(), name.to_owned()));
            return Ok(());
        }
        let goes_on = self.call.as_ref().is_some_and(|(current, its_id, its_name)| {
            *current == index && (id.is_empty() || id == its_id) && (name.is_empty() || name == its_name)
        });
        if goes_on { Ok(()) } else { Err(unreadable("tool calls that are said at once")) }
    }

    /// The stream has ended: all was said where the model stopped. Some servers say no end.
    pub(in super::super) fn finish(&mut self, out: &mut Vec<Event>) {
        if self.stopped && !std::mem::replace(&mut self.ended, true) {
            out.push(Event::End);
        }
    }
}

/// A text, or nothing.
const fn is_text(value: &Value) -> bool {
    matches!(value, Value::Null | Value::String(_))
}

/// Writes chunks.
#[derive(Debug, Default)]
pub(in super::super) struct Writer {
    id: String,
    /// How many tools were called.
    calls: usize,
    stop: Option<Stop>,
    usage: Usage,
}

impl Writer {
    pub(in super::super) fn write(&mut self, event: Event, answered: &Answered, out: &mut String) {
        match event {
            Event::Begin(id, usage) => {
                self.id = answered.id_or(id);
                self.usage = self.usage.and(usage);
                self.chunk(&json!({"role": "assistant", "content": ""}), None, answered, out);
            }
            Event::Text(text) => self.chunk(&json!({"content": text}), None, answered, out),
            Event::Call(id, name) => {
                let function = json!({"name": name, "arguments": ""});
                let call = json!({"index": self.calls, "id": id, "type": "function", "function": function});
                self.calls += 1;
                self.chunk(&json!({"tool_calls": [call]}), None, answered, out);
            }
            Event::Arguments(more) => {
                let index = self.calls.saturating_sub(1);
                let call = json!({"index": index, "function": {"arguments": more}});
                self.chunk(&json!({"tool_calls": [call]}), None, answered, out);
            }
            Event::Stop(stop) => self.stop = Some(stop),
            Event::Usage(usage) => self.usage = self.usage.and(usage),
            Event::Error(fault) => out.push_str(&said(&write_fault(&fault))),
            Event::End => {
                self.chunk(&json!({}), self.stop, answered, out);
                if let Some(usage) = write_usage(self.usage) {
                    let members = [("choices", Some(json!([]))), ("usage", Some(usage))];
                    out.push_str(&said(&with(self.head(answered), members)));
                }
                out.push_str("data: [DONE]\n\n");
            }
        }
    }

    fn chunk(&self, delta: &Value, stop: Option<Stop>, answered: &Answered, out: &mut String) {
        let reason = stop.map(reason);
        let choices = json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": reason}]);
        out.push_str(&said(&with(self.head(answered), [("choices", Some(choices))])));
    }

    fn head(&self, answered: &Answered) -> Value {
        json!({
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": answered.seconds,
            "model": &*answered.model,
        })
    }
}

fn said(chunk: &Value) -> String {
    format!("data: {chunk}\n\n")
}
