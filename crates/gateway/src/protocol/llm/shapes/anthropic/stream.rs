//! The answer as a stream of events.

use serde_json::{Value, json};
use vidimus_core::refusal::Refusal;

use super::super::conversation::{Event, Stop, Usage};
use super::super::taken::unreadable;
use super::super::{Answered, text_at, value_at};
use super::answer::{fault, reason, stop_of, usage_of, write_fault, write_usage};

/// Reads events.
#[derive(Debug, Default)]
pub(in super::super) struct Reader {
    /// The block that is being said, by its index.
    block: Option<(Value, Saying)>,
    stopped: bool,
}

#[derive(Debug)]
enum Saying {
    Text,
    /// The call of a tool, whose arguments come.
    Call,
    /// One that had its arguments at once.
    Called,
    /// Thoughts, which are not said.
    Thought,
}

impl Reader {
    /// # Errors
    /// `upstream_invalid`.
    pub(in super::super) fn read(&mut self, data: &str, out: &mut Vec<Event>) -> Result<(), Refusal> {
        let event: Value = serde_json::from_str(data).map_err(|_| unreadable("an event that is no JSON"))?;
        match text_at(&event, "type") {
            "message_start" => {
                let message = value_at(&event, "/message");
                out.push(Event::Begin(text_at(message, "id").to_owned(), usage_of(&message["usage"])));
            }
            "content_block_start" => {
                let saying = begun(value_at(&event, "/content_block"), out)?;
                self.block = Some((value_at(&event, "/index").clone(), saying));
            }
            "content_block_delta" => self.read_delta(&event, out)?,
            "content_block_stop" => self.block = None,
            "message_delta" => {
                if let Some(reason) = value_at(&event, "/delta/stop_reason").as_str() {
                    self.stopped = true;
                    out.push(Event::Stop(stop_of(reason)?));
                }
                let usage = value_at(&event, "/usage");
                if usage.is_object() {
                    out.push(Event::Usage(usage_of(usage)));
                }
            }
            "message_stop" if self.stopped => out.push(Event::End),
            "message_stop" => return Err(unreadable("it ended and had not stopped")),
            "error" => out.extend(fault(&event, 500).map(Event::Error)),
            // Further events may come, and clients are to pass them over (Anthropic, "Streaming").
            _ => {}
        }
        Ok(())
    }

    fn read_delta(&self, event: &Value, out: &mut Vec<Event>) -> Result<(), Refusal> {
        let delta = &event["delta"];
        if self.block.as_ref().is_some_and(|(index, _)| *index != event["index"]) {
            return Err(unreadable("blocks that are said at once"));
        }
        match text_at(delta, "type") {
            "thinking_delta" | "signature_delta" if matches!(self.block, Some((_, Saying::Thought))) => {}
            "text_delta" => push_text(text_at(delta, "text"), out),
            "input_json_delta" => {
                let more = text_at(delta, "partial_json");
                if !more.is_empty() {
                    if !matches!(self.block, Some((_, Saying::Call))) {
                        return Err(unreadable("arguments of no call, or of one that had them"));
                    }
                    out.push(Event::Arguments(more.to_owned()));
                }
            }
            kind => return Err(unreadable(format_args!("a delta {kind:?}"))),
        }
        Ok(())
    }
}

/// A block begins.
fn begun(block: &Value, out: &mut Vec<Event>) -> Result<Saying, Refusal> {
    match text_at(block, "type") {
        "text" => {
            push_text(text_at(block, "text"), out);
            Ok(Saying::Text)
        }
        "thinking" | "redacted_thinking" => Ok(Saying::Thought),
        "tool_use" => {
            let (id, name) = (text_at(block, "id"), text_at(block, "name"));
            out.push(Event::Call(id.to_owned(), name.to_owned()));
            match &block["input"] {
                Value::Null => Ok(Saying::Call),
                Value::Object(input) if input.is_empty() => Ok(Saying::Call),
                input @ Value::Object(_) => {
                    out.push(Event::Arguments(input.to_string()));
                    Ok(Saying::Called)
                }
                _ => Err(unreadable("the input of a tool is no object")),
            }
        }
        kind => Err(unreadable(format_args!("a block {kind:?}"))),
    }
}

fn push_text(text: &str, out: &mut Vec<Event>) {
    if !text.is_empty() {
        out.push(Event::Text(text.to_owned()));
    }
}

/// Writes events.
#[derive(Debug, Default)]
pub(in super::super) struct Writer {
    /// The block that is being said, and how many there were.
    block: Option<Block>,
    blocks: usize,
    stop: Option<Stop>,
    usage: Usage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Block {
    Text,
    Call,
}

impl Writer {
    pub(in super::super) fn write(&mut self, event: Event, answered: &Answered, out: &mut String) {
        match event {
            Event::Begin(id, usage) => {
                self.usage = usage;
                let message = json!({
                    "id": answered.id_or(id),
                    "type": "message",
                    "role": "assistant",
                    "model": &*answered.model,
                    "content": [],
                    "stop_reason": null,
                    "stop_sequence": null,
                    "usage": write_usage(usage),
                });
                say("message_start", json!({"message": message}), out);
            }
            Event::Text(text) => {
                self.open(Block::Text, &json!({"type": "text", "text": ""}), out);
                self.delta(&json!({"type": "text_delta", "text": text}), out);
            }
            Event::Call(id, name) => {
                self.close(out);
                self.open(
                    Block::Call,
                    &json!({"type": "tool_use", "id": id, "name": name, "input": {}}),
                    out,
                );
            }
            Event::Arguments(more) => {
                self.delta(&json!({"type": "input_json_delta", "partial_json": more}), out);
            }
            Event::Stop(stop) => self.stop = Some(stop),
            Event::Usage(usage) => self.usage = self.usage.and(usage),
            Event::Error(fault) => say("error", write_fault(&fault), out),
            Event::End => {
                self.close(out);
                let delta = json!({"stop_reason": self.stop.map(reason), "stop_sequence": null});
                say("message_delta", json!({"delta": delta, "usage": write_usage(self.usage)}), out);
                say("message_stop", json!({}), out);
            }
        }
    }

    /// Begins a block, unless it is one of text and such a one is being said.
    fn open(&mut self, block: Block, start: &Value, out: &mut String) {
        if self.block == Some(Block::Text) && block == Block::Text {
            return;
        }
        self.close(out);
        self.block = Some(block);
        say("content_block_start", json!({"index": self.blocks, "content_block": start}), out);
    }

    fn delta(&self, delta: &Value, out: &mut String) {
        say("content_block_delta", json!({"index": self.blocks, "delta": delta}), out);
    }

    fn close(&mut self, out: &mut String) {
        if self.block.take().is_some() {
            say("content_block_stop", json!({"index": self.blocks}), out);
            self.blocks += 1;
        }
    }
}

fn say(kind: &str, mut event: Value, out: &mut String) {
    if let Some(members) = event.as_object_mut() {
        members.entry("type").or_insert_with(|| kind.into());
    }
    out.push_str("event: ");
    out.push_str(kind);
    out.push_str("\ndata: ");
    out.push_str(&event.to_string());
    out.push_str("\n\n");
}
