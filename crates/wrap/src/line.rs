//! Lines of a process, none longer than is said: what is longer is passed over, and never held.

use std::io;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// What was between two line breaks.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line {
    Whole(Vec<u8>),
    /// It was longer than the limit, and has so many bytes.
    TooLong(usize),
}

/// Reads lines.
#[derive(Debug)]
pub(crate) struct Lines<R> {
    from: R,
    buffer: BytesMut,
    /// Of the buffer, that have no line break.
    searched: usize,
    /// Of a line that is too long, that were passed over.
    skipped: usize,
    most: usize,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    /// `most` is the length of a line without its end, in bytes.
    pub(crate) fn new(from: R, most: usize) -> Self {
        Self { from, buffer: BytesMut::with_capacity(8 * 1024), searched: 0, skipped: 0, most }
    }

    /// The next line; `None` at the end. Nothing is lost when the future is dropped.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) async fn next(&mut self) -> io::Result<Option<Line>> {
        loop {
            if let Some(line) = self.take() {
                return Ok(Some(line));
            }
            self.buffer.reserve(8 * 1024);
            if self.from.read_buf(&mut self.buffer).await? == 0 {
                return Ok(self.rest());
            }
        }
    }

    /// A line that is there.
    fn take(&mut self) -> Option<Line> {
        let unsearched = self.buffer.get(self.searched..).unwrap_or_default();
        let Some(found) = unsearched.iter().position(|byte| *byte == b'\n') else {
            self.searched = self.buffer.len();
            if self.skipped > 0 || self.buffer.len() > self.most + 1 {
                self.skipped += self.buffer.len();
                self.buffer.clear();
                self.searched = 0;
            }
            return None;
        };
        let mut line = self.buffer.split_to(self.searched + found + 1);
        self.searched = 0;
        line.truncate(line.len() - 1);
        Some(self.whole(line))
    }

    /// What is behind the last line break.
    fn rest(&mut self) -> Option<Line> {
        self.searched = 0;
        let rest = self.buffer.split();
        (self.skipped > 0 || !rest.is_empty()).then(|| self.whole(rest))
    }

    fn whole(&mut self, mut line: BytesMut) -> Line {
        let length = std::mem::take(&mut self.skipped) + line.len();
        if line.last() == Some(&b'\r') {
            line.truncate(line.len() - 1);
        }
        if length > line.len() + 1 || line.len() > self.most {
            Line::TooLong(length)
        } else {
            Line::Whole(line.to_vec())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn all(text: &[u8], most: usize) -> Vec<Line> {
        let mut lines = Lines::new(text, most);
        let mut found = Vec::new();
        while let Some(line) = lines.next().await.expect("read") {
            found.push(line);
        }
        found
    }

    #[tokio::test]
    async fn lines_are_what_is_between_line_breaks_and_no_longer_than_is_said() {
        let whole = |text: &str| Line::Whole(text.as_bytes().to_vec());
        assert_eq!(all(b"a\r\n\nbc\nd", 4).await, [whole("a"), whole(""), whole("bc"), whole("d")]);
        assert!(all(b"", 4).await.is_empty());
        assert_eq!(all(b"abcd\nabcde\nab", 4).await, [whole("abcd"), Line::TooLong(5), whole("ab")]);
        let long = [vec![b'x'; 100_000], b"\nnext\n".to_vec(), vec![b'y'; 50_000]].concat();
        assert_eq!(all(&long, 1000).await, [Line::TooLong(100_000), whole("next"), Line::TooLong(50_000)]);
    }
}
