//! Streams of server-sent events that change on their way: an event is held until its empty line, looked at, and passes.

use std::fmt::Debug;

use bytes::Bytes;
use vidimus_core::refusal::{Code, Refusal};

use super::{Listing, added_usage, listing};

/// Who is shown a listing.
pub trait Shows: Debug + Send {
    /// Whether some call of this entry could be allowed.
    fn shows(&self, listing: Listing, name: &str) -> bool;
}

/// What happens to the events of an answer on their way.
#[derive(Debug)]
enum Change {
    /// The usage that only the gateway asked for is taken out.
    WithoutUsage,
    /// Of a listing, in the answer to whatever request, only what the caller may use stays.
    Listings(Box<dyn Shows>),
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
/// What is complete passes at once; held is only an event whose end has not come. What is not changed passes byte for byte.
#[derive(Debug)]
pub struct Events {
    change: Change,
    longest: usize,
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
}

impl Events {
    /// An event that is longer than this is not the one that carries usage, which has a few hundred bytes.
    const LONGEST_USAGE: usize = 16 * 1024;

    /// Without the chunk of usage that the caller did not ask for.
    pub fn without_usage() -> Self {
        Self::new(Change::WithoutUsage, Self::LONGEST_USAGE, TooLong::Passes)
    }

    /// With listings as `to` may see them. At most `longest` bytes are held.
    pub fn listings(to: Box<dyn Shows>, longest: usize, too_long: TooLong) -> Self {
        Self::new(Change::Listings(to), longest, too_long)
    }

    fn new(change: Change, longest: usize, too_long: TooLong) -> Self {
        Self {
            change,
            longest,
            too_long,
            event: Vec::new(),
            blank: true,
            after_cr: false,
            line_feed: None,
            passing: false,
            first: true,
        }
    }

    /// What passes now; it may be nothing.
    ///
    /// # Errors
    /// `upstream_invalid` for an event that had to be read and could not be: the stream must end there.
    pub fn push(&mut self, mut chunk: &[u8]) -> Result<Bytes, Refusal> {
        let mut out = Vec::with_capacity(self.event.len() + chunk.len());
        loop {
            chunk = self.rest_of_line_end(chunk, &mut out);
            let Some(end) = self.event_end(chunk) else { break };
            let (head, rest) = chunk.split_at(end);
            self.take(head, &mut out)?;
            self.end(&mut out)?;
            chunk = rest;
        }
        self.take(chunk, &mut out)?;
        Ok(out.into())
    }

    /// The rest of a stream that has ended: an event whose empty line never came.
    ///
    /// # Errors
    /// As [`Events::push`].
    pub fn finish(&mut self) -> Result<Bytes, Refusal> {
        let mut out = Vec::new();
        self.end(&mut out)?;
        Ok(out.into())
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
        for (index, byte) in chunk.iter().enumerate() {
            let after_cr = std::mem::replace(&mut self.after_cr, *byte == b'\r');
            match byte {
                b'\n' if after_cr => {}
                b'\n' | b'\r' if self.blank => return Some(index + 1),
                b'\n' | b'\r' => self.blank = true,
                _ => self.blank = false,
            }
        }
        None
    }

    fn take(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
        if self.passing {
            out.extend_from_slice(bytes);
            return Ok(());
        }
        self.event.extend_from_slice(bytes);
        if self.event.len() > self.longest {
            if self.too_long == TooLong::EndsStream {
                let message = format!("an event of the upstream's is longer than {} bytes", self.longest);
                return Err(Refusal::new(Code::UpstreamInvalid, message));
            }
            out.append(&mut self.event);
            self.passing = true;
        }
        Ok(())
    }

    fn end(&mut self, out: &mut Vec<u8>) -> Result<(), Refusal> {
        let changed = self.changed()?;
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

    /// What becomes of the event held; `None` when it passes as it came.
    fn changed(&self) -> Result<Option<Vec<u8>>, Refusal> {
        let mark = if self.first { "\u{feff}".as_bytes() } else { b"" };
        let event = self.event.strip_prefix(mark).unwrap_or(&self.event);
        match &self.change {
            Change::WithoutUsage => Ok(added_usage::is_usage(event).then(Vec::new)),
            Change::Listings(to) => {
                let filtered = listing::filter_event(event, &mut |listing, name| to.shows(listing, name))?;
                Ok(filtered.map(String::into_bytes))
            }
        }
    }
}

#[cfg(test)]
mod tests;
