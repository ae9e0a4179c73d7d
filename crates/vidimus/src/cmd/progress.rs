//! How far a command has come that reads a whole log, on standard error, where somebody looks at it.

use std::io::{self, IsTerminal as _};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::output;

/// Between two lines.
const EVERY: Duration = Duration::from_millis(200);
/// Before that a rate says nothing of the next minute.
const SETTLED: Duration = Duration::from_secs(1);

/// The line is taken back when this is dropped: also before what went wrong is told.
pub(super) struct Progress {
    what: &'static str,
    begun: Instant,
    last: Option<Instant>,
    /// The records that were done before it began, which took none of its time.
    first: Option<u64>,
    is_seen: bool,
}

impl Progress {
    /// `what` is done with records. Nothing is shown to a program: where results are JSON, or standard error is no terminal.
    pub(super) fn begin(what: &'static str) -> Self {
        let is_seen = io::stderr().is_terminal() && !output::is_json();
        Self { what, begun: Instant::now(), last: None, first: None, is_seen }
    }

    /// So many records, of as many as nobody knows.
    pub(super) fn at(&mut self, records: u64) {
        self.of(records, 0);
    }

    /// So many records of `all`; 0 where that is not known.
    pub(super) fn of(&mut self, records: u64, all: u64) {
        let first = *self.first.get_or_insert(records);
        let now = Instant::now();
        if self.is_seen && now.duration_since(self.last.unwrap_or(self.begun)) >= EVERY {
            self.last = Some(now);
            let text = text(self.what, (first, records, all), self.begun.elapsed());
            output::in_place(&text);
        }
    }

    /// The line is taken back.
    pub(super) fn end(self) {
        drop(self);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.last.is_some() {
            output::in_place("");
        }
    }
}

/// Shows how many records the ledger's searches and prunings read, until it is dropped: of what is read on the way to something else.
pub(super) struct Watch(Option<(mpsc::Sender<()>, JoinHandle<()>)>);

impl Watch {
    /// As [`Progress::begin`].
    pub(super) fn begin() -> Self {
        let mut progress = Progress::begin("read");
        if !progress.is_seen {
            return Self(None);
        }
        let before = vidimus_ledger::records_read();
        let (stop, stopped) = mpsc::channel();
        let shown = thread::spawn(move || {
            while stopped.recv_timeout(EVERY) == Err(RecvTimeoutError::Timeout) {
                let read = vidimus_ledger::records_read() - before;
                // Where an index answers nothing is read.
                if read > 0 {
                    progress.at(read);
                }
            }
        });
        Self(Some((stop, shown)))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some((stop, shown)) = self.0.take() {
            drop(stop);
            // It shows something, and no more.
            let _ = shown.join();
        }
    }
}

/// Records, their rate, and the time that is left where it is known how many there are.
fn text(what: &str, (first, records, all): (u64, u64, u64), elapsed: Duration) -> String {
    let seconds = elapsed.as_secs();
    let done = u128::from(records.saturating_sub(first));
    let rate = done * 1_000 / elapsed.as_millis().max(1);
    let of = if all == 0 { String::new() } else { format!(" of {all}") };
    let left = match u128::from(all.saturating_sub(records)).checked_div(rate) {
        Some(left) if all > records && elapsed >= SETTLED => format!(", {left} s left"),
        _ => String::new(),
    };
    format!("{what} {records}{of} records, {rate}/s, {seconds} s{left}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_how_much_how_quickly_and_how_long() {
        for (counts, millis, says) in [
            ((0, 500, 0), 400, "read 500 records, 1250/s, 0 s"),
            ((0, 500, 1_000), 400, "read 500 of 1000 records, 1250/s, 0 s"),
            ((0, 2_000, 10_000), 2_000, "read 2000 of 10000 records, 1000/s, 2 s, 8 s left"),
            // What an index has already was not made now.
            ((8_000, 9_000, 10_000), 2_000, "read 9000 of 10000 records, 500/s, 2 s, 2 s left"),
            // A log that grows meanwhile.
            ((0, 11_000, 10_000), 2_000, "read 11000 of 10000 records, 5500/s, 2 s"),
            ((5, 5, 10), 3_000, "read 5 of 10 records, 0/s, 3 s"),
            ((0, 0, 0), 0, "read 0 records, 0/s, 0 s"),
        ] {
            assert_eq!(text("read", counts, Duration::from_millis(millis)), says);
        }
    }
}
