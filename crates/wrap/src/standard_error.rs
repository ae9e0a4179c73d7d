//! What a server says on standard error, and what of its output is no message: passed on to the log, with the server's name, so that
//! it can neither fill a disk nor steer a terminal.

use std::time::{Duration, Instant};

use tokio::io::AsyncRead;

use crate::line::{Line, Lines};

/// Of one line, in bytes.
const LINE: usize = 8 * 1024;
/// Of one server within [`WINDOW`], in bytes.
const MOST: usize = 256 * 1024;
const WINDOW: Duration = Duration::from_secs(10);

/// How much of a server is passed on.
#[derive(Debug)]
pub(crate) struct Quota {
    since: Instant,
    bytes: usize,
    left_out: u64,
}

impl Quota {
    pub(crate) fn new() -> Self {
        Self { since: Instant::now(), bytes: 0, left_out: 0 }
    }

    /// Whether one more is passed on; how many were not, where that is over.
    fn take(&mut self, bytes: usize, now: Instant) -> (bool, u64) {
        let mut left_out = 0;
        if now.duration_since(self.since) >= WINDOW {
            left_out = std::mem::take(&mut self.left_out);
            (self.since, self.bytes) = (now, 0);
        }
        self.bytes += bytes;
        let passes = self.bytes <= MOST;
        self.left_out += u64::from(!passes);
        (passes, left_out)
    }

    /// Passes one line on.
    pub(crate) fn say(&mut self, server: &str, line: &str) {
        let (passes, left_out) = self.take(line.len(), Instant::now());
        if left_out > 0 {
            tracing::warn!("[{server}] {left_out} lines are left out");
        }
        if passes {
            tracing::info!("[{server}] {line}");
        }
    }
}

/// Reads standard error to its end.
pub(crate) async fn pass(server: String, from: impl AsyncRead + Unpin) {
    let (mut lines, mut quota) = (Lines::new(from, LINE), Quota::new());
    loop {
        match lines.next().await {
            Ok(Some(Line::Whole(line))) => quota.say(&server, &shown(&line)),
            Ok(Some(Line::TooLong(bytes))) => quota.say(&server, &format!("(a line of {bytes} bytes)")),
            Ok(None) | Err(_) => return,
        }
    }
}

/// Bytes as text that steers no terminal; what is long is cut.
pub(crate) fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes.get(..LINE).unwrap_or(bytes));
    let mut shown = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '\t' => shown.push(letter),
            // What is invisible and turns what follows it around is escaped as well.
            '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}' => {
                shown.extend(letter.escape_unicode());
            }
            _ if letter.is_control() => shown.extend(letter.escape_default()),
            _ => shown.push(letter),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_says_much_is_passed_on_in_part_and_that_is_said() {
        let mut quota = Quota::new();
        let begins = quota.since;
        let passed = (0..100).filter(|_| quota.take(LINE, begins).0).count();
        assert_eq!(passed, MOST / LINE);
        assert_eq!(quota.take(1, begins + WINDOW), (true, 100 - (MOST / LINE) as u64));
        assert_eq!(quota.take(1, begins + WINDOW), (true, 0));
    }

    #[test]
    fn nothing_that_steers_a_terminal_is_passed_on() {
        assert_eq!(shown(b"a\x1b[31m\tb\xff\r"), "a\\u{1b}[31m\tb\u{fffd}\\r");
        assert_eq!(shown("in\u{202e}voice".as_bytes()), "in\\u{202e}voice");
        assert_eq!(shown(&vec![b'x'; 100_000]).len(), LINE);
    }
}
