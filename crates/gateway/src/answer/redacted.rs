//! An answer of which a policy redacts something: it is read whole, or event by event, and what cannot be read does not pass.

use std::sync::Arc;

use bytes::Bytes;
use vidimus_core::call::Destination;
use vidimus_core::refusal::{Code, Refusal};

use super::plan::Plan;
use super::{Answering, Done};
use crate::changes::{Own, Screen, Tally, document_without_words};
use crate::effect::Effect;
use crate::part::Part;
use crate::protocol::a2a::rest::translated::Bare;
use crate::protocol::sse::{EventFilter, EventStream, TooLong, Unchanged};
use crate::protocol::{DocumentChange, Leaves};
use crate::seal::{self, Kind};

impl Answering<'_> {
    /// Whether it is no call's own: whose it is what an MCP server says in it, nobody knows.
    pub(super) fn is_beside(&self) -> bool {
        let is_of_server = matches!(self.destination, Destination::Server(_));
        is_of_server && self.answer.open_ended && !matches!(self.asked.part, Part::Tool(_))
    }

    /// Has guards look at it where it is no call's own: those that may have to look at anything of the server. What they find is counted with the rest.
    /// Gives whether policies may redact something of what some tool of the server answers this caller: no word of the server passes then.
    ///
    /// # Errors
    /// `revoked` where the caller or the server is not registered any more.
    pub(super) fn screen_beside(&mut self, effect: &mut Effect) -> Result<bool, Refusal> {
        if !self.is_beside() {
            return Ok(false);
        }
        let screen = Screen::beside(self.screen.take());
        effect.changed = Some(Tally::beside(effect.changed.take(), screen.noted()));
        let mut listings = self.listing_filter()?;
        let kept_back = listings.kept_back()?;
        self.screen = screen.with(&kept_back.guards);
        self.beside = Some(screen);
        Ok(kept_back.redacts)
    }

    /// How an answer is read of which something is redacted. `is_bare`: no word of it passes.
    pub(super) fn reading(&self, plan: Plan, is_bare: bool) -> Plan {
        match plan {
            Plan::Pass | Plan::Collect { .. }
                if is_bare || self.is_read() || self.results.is_some() || self.is_stream() =>
            {
                Plan::Change { limit: self.gate.limits.held_answer, change: DocumentChange::Redacted }
            }
            // Where it is too long to be read, what it names stays the member's own, and opens nothing.
            Plan::Pass | Plan::Collect { .. } if self.member.is_some() => {
                Plan::Change { limit: self.gate.limits.held_answer, change: DocumentChange::OfMember }
            }
            plan => plan,
        }
    }

    /// What in the answer is not the server's own word: the caller's id, and ids that were sealed.
    pub(super) fn own(&self) -> Own {
        let (shared, holder) = (self.gate.shared.clone(), seal::binding(&self.destination, &self.caller));
        let is_task = move |id: &str| shared.seal.open(Kind::Task, &holder, id).is_some();
        Own { id: self.id.clone(), is_task: Arc::new(is_task) }
    }

    /// What of an answer reaches the caller of which no word passes. A server may answer by a document, with whatever status, what asks for a
    /// stream: of that passes what would as an event, and the status.
    ///
    /// # Errors
    /// `change_impossible` for what was not read whole, for what cannot be read, and for what asks something in words.
    pub(super) fn bare(&self, done: Done) -> Result<Done, Refusal> {
        match done {
            Done::Stream(content) if content.events.is_some() => Ok(Done::Stream(content)),
            Done::Stream(_) => Err(not_read()),
            Done::Whole(bytes) => {
                let asked = match &self.asked.part {
                    Part::Resource(uri) => Some(&**uri),
                    _ => None,
                };
                let made = document_without_words(text_of(&bytes)?, &self.own(), asked)?;
                Ok(Done::Whole(made.into()))
            }
        }
    }

    /// Whether policies have it read before it passes.
    pub(super) const fn is_read(&self) -> bool {
        self.redaction.is_some() || self.screen.is_some()
    }

    /// The events of an answer of which nothing changes but what guards find, where some look.
    pub(super) fn screened(&self) -> Option<EventStream> {
        let unread = (self.gate.limits.held_answer, TooLong::EndsStream);
        self.screen.as_ref().map(|_| self.looked_at(Box::new(Unchanged), unread))
    }

    /// The events of an answer through a filter, and behind it before guards, where some look: then nothing of it passes unread, however long; nor
    /// where each leaves in another binding, which is done last. Else an event is held up to so many bytes, and of a longer one becomes this.
    pub(super) fn looked_at(
        &self,
        filter: Box<dyn EventFilter>,
        (most, too_long): (usize, TooLong),
    ) -> EventStream {
        let (mut filter, mut bounds) = (filter, (most, too_long));
        let unread = (self.gate.limits.held_answer, TooLong::EndsStream);
        if let Some(screen) = self.screen.clone() {
            filter = screen.after(filter);
            bounds = unread;
        }
        if self.answer.leaves != Leaves::AsItComes {
            filter = Box::new(Bare::behind(filter, self.answer.leaves));
            bounds = unread;
        }
        let (most, too_long) = bounds;
        EventStream::new(filter, most, too_long)
    }

    /// What of an answer reaches the caller, without what is redacted of it, and once guards looked at it.
    ///
    /// # Errors
    /// `change_impossible` for what was not read whole, for what cannot be read, and for what a guard does not let pass; `result_invalid` for what is not
    /// what the tool's output schema says, before anything of it is changed.
    pub(super) fn changed_for_caller(&self, done: Done) -> Result<Done, Refusal> {
        if let Some(schema) = &self.results {
            match &done {
                Done::Stream(content) if content.events.is_some() => {}
                Done::Stream(_) => return Err(not_read()),
                Done::Whole(bytes) if bytes.trim_ascii().is_empty() => {}
                Done::Whole(bytes) => schema.check(text_of(bytes)?)?,
            }
        }
        let done = self.redacted(done)?;
        let Some(screen) = &self.screen else { return Ok(done) };
        match done {
            Done::Stream(content) if content.events.is_some() => Ok(Done::Stream(content)),
            Done::Stream(_) => Err(not_read()),
            Done::Whole(bytes) if bytes.trim_ascii().is_empty() => Ok(Done::Whole(bytes)),
            Done::Whole(bytes) => {
                let made = screen.document(text_of(&bytes)?)?;
                Ok(Done::Whole(made.map_or_else(|| bytes.clone(), Bytes::from)))
            }
        }
    }

    /// What of an answer reaches the caller.
    ///
    /// # Errors
    /// `change_impossible` for what was not read whole, and for what cannot be read.
    fn redacted(&self, done: Done) -> Result<Done, Refusal> {
        let Some(redaction) = &self.redaction else { return Ok(done) };
        match done {
            Done::Stream(content) if content.events.is_some() => Ok(Done::Stream(content)),
            Done::Stream(_) => Err(not_read()),
            Done::Whole(bytes) if bytes.trim_ascii().is_empty() => Ok(Done::Whole(bytes)),
            Done::Whole(bytes) => {
                let made = redaction.message(text_of(&bytes)?, &self.own())?;
                Ok(Done::Whole(made.map_or_else(|| bytes.clone(), Bytes::from)))
            }
        }
    }
}

fn not_read() -> Refusal {
    let message = "what is in the answer is redacted, looked at or held to a schema, and it is too long, or too slow, to be read";
    Refusal::new(Code::ChangeImpossible, message)
}

fn text_of(bytes: &Bytes) -> Result<&str, Refusal> {
    let not_text = |_| Refusal::new(Code::UpstreamInvalid, "the upstream's answer is not UTF-8");
    std::str::from_utf8(bytes).map_err(not_text)
}
