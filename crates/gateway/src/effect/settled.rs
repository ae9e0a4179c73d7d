//! What a call is charged for when its end is known.

use vidimus_core::record::Attempt;
use vidimus_core::refusal::Code;

use super::{Effect, Ending};
use crate::accounts::Known;
use crate::protocol::observe::Written;

impl Effect {
    /// Charges its chain for it, and seals what is kept of its answer, once.
    pub(super) fn settle(&mut self, ending: Ending) {
        let keeping = self.keeping.take();
        let kept = keeping.and_then(|keeping| keeping.sealed(self.shared.ledger.origin(), &self.call));
        self.kept = kept.map(Box::new);
        let Some(reservation) = self.reservation.take() else { return };
        // What the upstream said last is what counts: before its end it may have said less.
        let is_open = self.is_open();
        let has_ended = match ending {
            _ if is_open => false,
            Ending::Ok | Ending::Error | Ending::Unknown => !self.left && !self.found.unread,
            Ending::Failed(_) | Ending::Cancelled => self.status >= 400,
        };
        self.charged = reservation.settle(Known {
            usage: self.found.usage,
            is_sent: self.sent,
            is_answered: self.found.answered,
            has_ended,
            is_refused: !is_open && self.is_refused(),
            passed: self.passed_tokens(),
        });
    }

    /// An estimate of the tokens of what passed: of a stream its texts, without the events that they stand in; of a document, or what could not be read,
    /// all of it.
    fn passed_tokens(&self) -> u64 {
        let written = self.found.written.filter(|_| !self.found.unread);
        written.map_or(self.bytes_out / 4, Written::tokens)
    }

    /// Whether nobody answered well, and one that was asked before the last did not answer at all: it may have written all that it might.
    fn is_open(&self) -> bool {
        let has_refused = !(1..400).contains(&self.status);
        has_refused && self.attempts.iter().any(|tried| tried.status == 0 && tried.was_sent())
    }

    /// Whether whoever was asked answered with an error of HTTP, or was not reached: for that no provider charges anything. One that was asked and did
    /// not answer may have written something.
    fn is_refused(&self) -> bool {
        let has_refused = |tried: &Attempt| match tried.status {
            0 => tried.code.as_deref().is_some_and(Code::is_text_of_unsent),
            status => status >= 400,
        };
        match self.status {
            0 => !self.attempts.is_empty() && self.attempts.iter().all(has_refused),
            status => status >= 400,
        }
    }
}
