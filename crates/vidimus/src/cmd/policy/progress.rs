//! How far a command has come that reads a whole log, on standard error, where somebody looks at it.

use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

/// Between two lines.
const EVERY: Duration = Duration::from_millis(200);

pub(super) struct Progress {
    what: &'static str,
    begun: Instant,
    last: Option<Instant>,
    is_seen: bool,
}

impl Progress {
    /// `what` is done with records.
    pub(super) fn begin(what: &'static str) -> Self {
        Self { what, begun: Instant::now(), last: None, is_seen: std::io::stderr().is_terminal() }
    }

    /// So many records.
    pub(super) fn at(&mut self, records: u64) {
        let now = Instant::now();
        if self.is_seen && now.duration_since(self.last.unwrap_or(self.begun)) >= EVERY {
            self.last = Some(now);
            let seconds = self.begun.elapsed().as_secs();
            // Nothing can be done when standard error is gone.
            let _ = write!(std::io::stderr().lock(), "\r{} {records} records, {seconds} s", self.what);
        }
    }

    /// The line is taken back.
    pub(super) fn end(self) {
        if self.last.is_some() {
            let _ = write!(std::io::stderr().lock(), "\r\u{1b}[K");
        }
    }
}
