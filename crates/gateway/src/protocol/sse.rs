//! Server-sent events (HTML, section 9.2): read as they pass, and streams of them that change on their way, where an event is
//! held until its empty line, looked at, and passes.

mod reader;

use std::fmt::Debug;

use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use vidimus_core::refusal::{Code, Refusal};

use super::question::Question;
pub use reader::{Piece, Reader};

/// Whether an answer with these headers says that it is a stream of events.
pub fn is_events(headers: &HeaderMap) -> bool {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("text/event-stream"))
}

/// The value of a line whose field has this name; `None` for every other line. A field without a colon has an empty value.
pub fn value_of<'l>(line: &'l str, name: &str) -> Option<&'l str> {
    match line.strip_prefix(name)? {
        "" => Some(""),
        rest => rest.strip_prefix(':').map(|value| value.strip_prefix(' ').unwrap_or(value)),
    }
}

/// The lines of one event, without their ends and without the empty one that ends it.
pub fn lines(event: &str) -> impl Iterator<Item = &str> {
    event.split(['\n', '\r']).filter(|line| !line.is_empty())
}

/// What happens to one event on its way.
pub trait EventFilter: Debug + Send {
    /// What becomes of an event; `None` when it passes as it came, nothing when it is taken out.
    ///
    /// # Errors
    /// `upstream_invalid` for an event that had to be read and could not be.
    fn filter(&mut self, event: &[u8]) -> Result<Option<Vec<u8>>, Refusal>;

    /// What the event asks of the client that was filtered last: that is decided before it passes. Only MCP servers ask.
    fn asked(&mut self) -> Vec<Question> {
        Vec::new()
    }

    /// A piece of an event that is too long to be held, and passes as it comes.
    ///
    /// # Errors
    /// `upstream_invalid` for one that must not pass unread.
    fn unheld(&mut self, _piece: &[u8]) -> Result<(), Refusal> {
        Ok(())
    }

    /// What it gave of the events so far is passed on: of a chunk in which some event is refused, nothing is.
    fn passed(&mut self) {}

    /// What comes behind the last event of a stream that has ended in order: also what was held back. Few filters have anything.
    ///
    /// # Errors
    /// As [`EventFilter::filter`].
    fn finish(&mut self) -> Result<Vec<u8>, Refusal> {
        Ok(Vec::new())
    }
}

/// Every event passes as it came.
#[derive(Clone, Copy, Debug)]
pub struct Unchanged;

impl EventFilter for Unchanged {
    fn filter(&mut self, _event: &[u8]) -> Result<Option<Vec<u8>>, Refusal> {
        Ok(None)
    }
}

/// What becomes of an event that is longer than may be held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TooLong {
    Passes,
    /// What cannot be looked at is not passed on.
    EndsStream,
}

/// A stream of events on its way, whatever the chunks it comes in.
///
/// What is complete passes at once; held is only an event whose end has not come. What is not changed passes byte for byte. At an event that asks
/// something it stops, until it is known whether that passes.
#[derive(Debug)]
pub struct EventStream {
    filter: Box<dyn EventFilter>,
    max_event: usize,
    too_long: TooLong,
    event: Vec<u8>,
    /// The line being read is empty so far.
    blank: bool,
    /// The last byte was CR: a LF after it ends the same line.
    after_cr: bool,
    /// The last event ended with that CR, so the LF is still its own; whether it passes.
    line_feed: Option<bool>,
    /// The rest of an over-long event passes as it comes.
    passing: bool,
    /// No event has ended yet, so a byte order mark may come before this one.
    first: bool,
    /// Where it has stopped, if it has.
    stopped: Option<Box<Stopped>>,
}

/// An event that asks something, and what came behind it.
#[derive(Debug)]
struct Stopped {
    questions: Vec<Question>,
    event: Vec<u8>,
    rest: Vec<u8>,
}

/// What stands for an event that does not pass as it came, and where that ended in its chunk.
struct Changed {
    event: Vec<u8>,
    end: usize,
}

impl EventStream {
    /// At most `max_event` bytes are held.
    pub fn new(filter: Box<dyn EventFilter>, max_event: usize, too_long: TooLong) -> Self {
        Self {
            filter,
            max_event,
            too_long,
            event: Vec::new(),
            blank: true,
            after_cr: false,
            line_feed: None,
            passing: false,
            first: true,
            stopped: None,
        }
    }

    /// What the event asks at which it has stopped, if it has.
    pub fn asked(&self) -> Option<&[Question]> {
        self.stopped.as_deref().map(|stopped| &*stopped.questions)
    }

    /// It is known whether the event passes at which it has stopped: what passes now, as of [`EventStream::push`]. It may stop again.
    ///
    /// # Errors
    /// As [`EventStream::push`].
    pub fn go_on(&mut self, passes: bool) -> Result<Bytes, Refusal> {
        let Some(stopped) = self.stopped.take() else { return Ok(Bytes::new()) };
        let Stopped { event, rest, .. } = *stopped;
        if let Some(line_feed) = &mut self.line_feed {
            *line_feed &= passes;
        }
        let passes = self.push_any(&rest, if passes { event } else { Vec::new() })?;
        self.filter.passed();
        Ok(passes)
    }

    /// What passes now; it may be nothing. Where nothing changes, it is the chunk itself.
    ///
    /// # Errors
    /// `upstream_invalid` for an event that had to be read and could not be: the stream must end there.
    pub fn push(&mut self, chunk: &Bytes) -> Result<Bytes, Refusal> {
        if let Some(stopped) = &mut self.stopped {
            stopped.rest.extend_from_slice(chunk);
            return Ok(Bytes::new());
        }
        let passes = self.pushed(chunk)?;
        self.filter.passed();
        Ok(passes)
    }

    fn pushed(&mut self, chunk: &Bytes) -> Result<Bytes, Refusal> {
        let simple = self.event.is_empty() && !self.passing && !self.after_cr && self.line_feed.is_none();
        let fits = self.blank && chunk.len() <= self.max_event && memchr::memchr(b'\r', chunk).is_none();
        if !(simple && fits) {
            return self.push_any(chunk, Vec::with_capacity(self.event.len() + chunk.len()));
        }
        let (passes, changed) = self.unchanged(chunk)?;
        let Some(Changed { event, end }) = changed else { return Ok(chunk.slice(..passes)) };
        if let Some(stopped) = &mut self.stopped {
            (stopped.event, stopped.rest) = (event, chunk.get(end..).unwrap_or_default().to_vec());
            return Ok(chunk.slice(..passes));
        }
        let mut out = Vec::with_capacity(chunk.len());
        out.extend_from_slice(chunk.get(..passes).unwrap_or_default());
        out.extend_from_slice(&event);
        self.push_any(chunk.get(end..).unwrap_or_default(), out)
    }

    /// How much of a chunk that begins with an event passes as it came; and what becomes of the event behind that which does not.
    /// Where all do, what is left of the chunk is held.
    fn unchanged(&mut self, chunk: &[u8]) -> Result<(usize, Option<Changed>), Refusal> {
        let mut passes = 0;
        while let Some(rest) = chunk.get(passes..)
            && let Some(end) = self.event_end(rest)
        {
            let event = rest.get(..end).unwrap_or_default();
            let changed = self.filtered(event, self.first)?;
            self.first = false;
            let changed = if self.stops(changed.as_deref().unwrap_or(event)) {
                Some(changed.unwrap_or_else(|| event.to_vec()))
            } else {
                changed
            };
            if let Some(changed) = changed {
                return Ok((passes, Some(Changed { event: changed, end: passes + end })));
            }
            passes += end;
        }
        self.event.extend_from_slice(chunk.get(passes..).unwrap_or_default());
        Ok((passes, None))
    }

    /// As [`EventStream::push`], behind what passes already.
    fn push_any(&mut self, mut chunk: &[u8], mut out: Vec<u8>) -> Result<Bytes, Refusal> {
        loop {
            chunk = self.rest_of_line_end(chunk, &mut out);
            let Some(end) = self.event_end(chunk) else { break };
            let (head, rest) = chunk.split_at(end);
            self.take(head, &mut out)?;
            let begins = out.len();
            self.end(&mut out)?;
            if self.stops(out.get(begins..).unwrap_or_default())
                && let Some(stopped) = &mut self.stopped
            {
                (stopped.event, stopped.rest) = (out.split_off(begins), rest.to_vec());
                return Ok(out.into());
            }
            chunk = rest;
        }
        self.take(chunk, &mut out)?;
        Ok(out.into())
    }

    /// The rest of a stream that has ended: an event whose empty line never came, and what its filter held back.
    ///
    /// # Errors
    /// As [`EventStream::push`], and `upstream_invalid` where the last event asks something, and has no end.
    pub fn finish(&mut self) -> Result<Bytes, Refusal> {
        let mut out = Vec::new();
        self.end(&mut out)?;
        if self.stopped.is_some() || !self.filter.asked().is_empty() {
            let message = "the upstream's events ended in the midst of what it asks its client";
            return Err(Refusal::new(Code::UpstreamInvalid, message));
        }
        out.append(&mut self.filter.finish()?);
        Ok(out.into())
    }

    /// Whether it stops at the event that was filtered last, of which this is to pass.
    fn stops(&mut self, event: &[u8]) -> bool {
        let questions = self.filter.asked();
        let stops = !questions.is_empty() && !event.is_empty();
        if stops {
            self.stopped = Some(Box::new(Stopped { questions, event: Vec::new(), rest: Vec::new() }));
        }
        stops
    }

    /// An event that CR LF CR ended passed at once; the LF that then comes goes the same way.
    fn rest_of_line_end<'c>(&mut self, chunk: &'c [u8], out: &mut Vec<u8>) -> &'c [u8] {
        let Some((first, rest)) = chunk.split_first() else { return chunk };
        match self.line_feed.take() {
            Some(passes) if *first == b'\n' => {
                self.after_cr = false;
                if passes {
                    out.push(b'\n');
                }
                rest
            }
            _ => chunk,
        }
    }

    /// The length up to and including the empty line that ends an event. Lines end in CR, LF or both (HTML, section 9.2.6).
    fn event_end(&mut self, chunk: &[u8]) -> Option<usize> {
        let mut at = 0;
        while let Some(rest) = chunk.get(at..)
            && let Some(length) = memchr::memchr2(b'\n', b'\r', rest)
        {
            if length > 0 {
                (self.blank, self.after_cr) = (false, false);
            }
            let is_cr = rest.get(length) == Some(&b'\r');
            let after_cr = std::mem::replace(&mut self.after_cr, is_cr);
            at += length + 1;
            if after_cr && !is_cr {
                // The second half of CR LF.
            } else if self.blank {
                return Some(at);
            } else {
                self.blank = true;
            }
        }
        if at < chunk.len() {
            (self.blank, self.after_cr) = (false, false);
        }
        None
    }

    fn take(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
        if self.passing {
            self.filter.unheld(bytes)?;
            out.extend_from_slice(bytes);
            return Ok(());
        }
        self.event.extend_from_slice(bytes);
        if self.event.len() > self.max_event {
            if self.too_long == TooLong::EndsStream {
                let message = format!("an event of the upstream's is longer than {} bytes", self.max_event);
                return Err(Refusal::new(Code::UpstreamInvalid, message));
            }
            self.filter.unheld(&self.event)?;
            out.append(&mut self.event);
            self.passing = true;
        }
        Ok(())
    }

    fn end(&mut self, out: &mut Vec<u8>) -> Result<(), Refusal> {
        let event = std::mem::take(&mut self.event);
        let changed = self.filtered(&event, self.first)?;
        self.event = event;
        self.line_feed = self.after_cr.then_some(changed.is_none());
        match changed {
            None => out.append(&mut self.event),
            Some(changed) => out.extend_from_slice(&changed),
        }
        self.event.clear();
        self.passing = false;
        self.first = false;
        Ok(())
    }

    /// What becomes of an event; `None` when it passes as it came. Before the `first` one of a stream there may be a byte order
    /// mark.
    fn filtered(&mut self, event: &[u8], first: bool) -> Result<Option<Vec<u8>>, Refusal> {
        let mark = if first { "\u{feff}".as_bytes() } else { b"" };
        self.filter.filter(event.strip_prefix(mark).unwrap_or(event))
    }
}

#[cfg(test)]
mod tests;
