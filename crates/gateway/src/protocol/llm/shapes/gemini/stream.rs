//! The answer as a stream of events, each of which is a document (`alt=sse`).

use serde_json::Value;
use vidimus_core::refusal::Refusal;

use super::super::conversation::{Event, Said, Stop, ToolCall, Usage, arguments_of};
use super::super::taken::unreadable;
use super::super::{Answered, text_at, with};
use super::answer::{document, fault, part, read_candidate, usage_of, write_fault, write_usage};

/// The longest arguments of one call: they are written when all of them is there. In bytes.
const LONGEST: usize = 1024 * 1024;

/// Reads events.
#[derive(Debug, Default)]
pub(in super::super) struct Reader {
    has_begun: bool,
    calls: usize,
    stopped: bool,
}

impl Reader {
    /// # Errors
    /// `upstream_invalid`.
    pub(in super::super) fn read(
        &mut self,
        data: &str,
        answered: &Answered,
        out: &mut Vec<Event>,
    ) -> Result<(), Refusal> {
        let event: Value = serde_json::from_str(data).map_err(|_| unreadable("an event that is no JSON"))?;
        if let Some(fault) = fault(&event, 500) {
            out.push(Event::Error(fault));
            return Ok(());
        }
        let usage = usage_of(&event);
        if !std::mem::replace(&mut self.has_begun, true) {
            let id = text_at(&event, "responseId").to_owned();
            out.push(Event::Begin(id, Usage { output: None, ..usage }));
        }
        let mut said = Vec::new();
        let stop = read_candidate(&event, answered, &mut said, &mut self.calls)?;
        for said in said {
            match said {
                Said::Text(text) => out.push(Event::Text(text)),
                Said::Call(ToolCall { id, name, arguments }) => {
                    out.extend([Event::Call(id, name), Event::Arguments(arguments.to_string())]);
                }
            }
        }
        if usage != Usage::default() {
            out.push(Event::Usage(usage));
        }
        if let Some(stop) = stop {
            self.stopped = true;
            out.push(Event::Stop(stop));
        }
        Ok(())
    }

    /// The stream has ended, which is how it says its end: all was said where the model stopped.
    pub(in super::super) fn finish(&mut self, out: &mut Vec<Event>) {
        if std::mem::take(&mut self.stopped) {
            out.push(Event::End);
        }
    }
}

/// Writes events.
#[derive(Debug, Default)]
pub(in super::super) struct Writer {
    id: String,
    /// The call that is being said: its id, its name, and so much of its arguments.
    call: Option<(String, String, String)>,
    stop: Option<Stop>,
    usage: Usage,
}

impl Writer {
    /// # Errors
    /// `upstream_invalid` for arguments that are no object, or too long.
    pub(in super::super) fn write(
        &mut self,
        event: Event,
        answered: &Answered,
        out: &mut String,
    ) -> Result<(), Refusal> {
        match event {
            Event::Begin(id, usage) => {
                self.id = answered.id_or(id);
                self.usage = usage;
            }
            Event::Text(text) => {
                self.called(answered, out)?;
                self.say(Said::Text(text), answered, out);
            }
            Event::Call(id, name) => {
                self.called(answered, out)?;
                self.call = Some((id, name, String::new()));
            }
            Event::Arguments(more) => {
                if let Some((_, _, arguments)) = &mut self.call {
                    if arguments.len() + more.len() > LONGEST {
                        return Err(unreadable("the arguments of a tool are too long"));
                    }
                    arguments.push_str(&more);
                }
            }
            Event::Stop(stop) => self.stop = Some(stop),
            Event::Usage(usage) => self.usage = self.usage.and(usage),
            Event::Error(fault) => write(&write_fault(&fault, None), out),
            Event::End => {
                self.called(answered, out)?;
                let last = document(&[part(Said::Text(String::new()))], self.stop, &self.id, answered);
                write(&with(last, [("usageMetadata", write_usage(self.usage))]), out);
            }
        }
        Ok(())
    }

    /// The call that was being said is whole.
    fn called(&mut self, answered: &Answered, out: &mut String) -> Result<(), Refusal> {
        let Some((id, name, text)) = self.call.take() else { return Ok(()) };
        let arguments = arguments_of(&text).map_err(unreadable)?;
        self.say(Said::Call(ToolCall { id, name, arguments }), answered, out);
        Ok(())
    }

    fn say(&self, said: Said, answered: &Answered, out: &mut String) {
        write(&document(&[part(said)], None, &self.id, answered), out);
    }
}

fn write(event: &Value, out: &mut String) {
    out.push_str("data: ");
    out.push_str(&event.to_string());
    out.push_str("\n\n");
}
