//! Reads one HTTP/1.1 answer from a growing buffer, as cheaply as its end can be found.

use std::borrow::Cow;

use anyhow::{Context as _, bail};

/// Headers that an answer may have.
const MOST_HEADERS: usize = 48;

/// Where an answer's body is, and how its end is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    /// `Content-Length`.
    Length { start: usize, length: usize },
    /// `Transfer-Encoding: chunked`.
    Chunked { start: usize },
}

/// How much of an answer has been read. Bytes that were understood are not looked at again.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answer {
    head: Option<(u16, Framing)>,
    /// Begin of the first chunk that is not complete.
    chunk: usize,
    /// Bytes of complete chunks, without their framing.
    payload: usize,
}

/// A complete answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Complete {
    pub(crate) status: u16,
    /// Bytes of the body without its framing: the same however the body was cut into chunks.
    pub(crate) payload: usize,
    framing: Framing,
}

impl Answer {
    /// Looks at all bytes received so far; `None` when more must come.
    pub(crate) fn read(&mut self, bytes: &[u8]) -> anyhow::Result<Option<Complete>> {
        let (status, framing) = match self.head {
            Some(head) => head,
            None => match head(bytes)? {
                Some(head) => *self.head.insert(head),
                None => return Ok(None),
            },
        };
        let end = match framing {
            Framing::Length { start, length } => {
                self.payload = length;
                (bytes.len() >= start + length).then_some(start + length)
            }
            Framing::Chunked { start } => self.read_chunks(start, bytes)?,
        };
        match end {
            None => Ok(None),
            Some(end) if end == bytes.len() => Ok(Some(Complete { status, payload: self.payload, framing })),
            Some(end) => bail!("{} bytes came after the end of the answer", bytes.len() - end),
        }
    }

    fn read_chunks(&mut self, start: usize, bytes: &[u8]) -> anyhow::Result<Option<usize>> {
        self.chunk = self.chunk.max(start);
        loop {
            match chunk(bytes, self.chunk)? {
                None => return Ok(None),
                Some((0, _, next)) => return Ok(Some(next)),
                Some((size, _, next)) => (self.payload, self.chunk) = (self.payload + size, next),
            }
        }
    }
}

impl Complete {
    /// The body, without its framing.
    pub(crate) fn body<'b>(&self, bytes: &'b [u8]) -> anyhow::Result<Cow<'b, [u8]>> {
        let mut at = match self.framing {
            Framing::Length { start, length } => {
                return Ok(bytes.get(start..start + length).context("the body is gone")?.into());
            }
            Framing::Chunked { start } => start,
        };
        let mut body = Vec::with_capacity(self.payload);
        while let Some((size, data, next)) = chunk(bytes, at)? {
            if size == 0 {
                break;
            }
            body.extend_from_slice(bytes.get(data..data + size).context("the chunk is gone")?);
            at = next;
        }
        Ok(body.into())
    }
}

/// Status and framing, once the header section is complete.
fn head(bytes: &[u8]) -> anyhow::Result<Option<(u16, Framing)>> {
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let start = match response.parse(bytes).context("the answer is not HTTP/1.1")? {
        httparse::Status::Partial => return Ok(None),
        httparse::Status::Complete(start) => start,
    };
    let status = response.code.context("the answer has no status")?;
    let value =
        |name: &str| response.headers.iter().find(|h| h.name.eq_ignore_ascii_case(name)).map(|h| h.value);
    if let Some(length) = value("content-length") {
        let length = std::str::from_utf8(length)?.parse().context("content-length")?;
        return Ok(Some((status, Framing::Length { start, length })));
    }
    match value("transfer-encoding") {
        Some(coding) if coding.eq_ignore_ascii_case(b"chunked") => {
            Ok(Some((status, Framing::Chunked { start })))
        }
        None if status == 204 => Ok(Some((status, Framing::Length { start, length: 0 }))),
        _ => bail!("status {status}, and the end of its body can only be told by the end of the connection"),
    }
}

/// Size, begin of the data and begin of the next chunk, of the chunk at `at`; `None` until it is complete.
fn chunk(bytes: &[u8], at: usize) -> anyhow::Result<Option<(usize, usize, usize)>> {
    let rest = bytes.get(at..).unwrap_or_default();
    let Some(line) = memchr::memmem::find(rest, b"\r\n") else { return Ok(None) };
    let digits = std::str::from_utf8(rest.get(..line).unwrap_or_default())?;
    let size = usize::from_str_radix(digits, 16).with_context(|| format!("chunk size {digits:?}"))?;
    let data = at + line + 2;
    let next = data + size + 2;
    Ok((bytes.len() >= next).then_some((size, data, next)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The answer given at once and byte by byte must read the same.
    fn read(text: &str) -> anyhow::Result<Option<(u16, String)>> {
        let whole = Answer::default().read(text.as_bytes())?;
        let mut answer = Answer::default();
        for end in 0..text.len() {
            assert_eq!(answer.read(&text.as_bytes()[..end])?, None, "{end} of {text:?}");
        }
        assert_eq!(answer.read(text.as_bytes())?, whole);
        whole
            .map(|complete| {
                let body = complete.body(text.as_bytes())?;
                assert_eq!(body.len(), complete.payload);
                Ok((complete.status, String::from_utf8(body.into_owned())?))
            })
            .transpose()
    }

    #[test]
    fn the_end_of_an_answer_is_found_at_its_last_byte() {
        let complete = |status, body: &str| Some((status, body.to_owned()));
        let chunked =
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nA\r\n, world!!!\r\n0\r\n\r\n";
        assert_eq!(read(chunked).unwrap(), complete(200, "hello, world!!!"));
        assert_eq!(read("HTTP/1.1 403 No\r\ncontent-length: 3\r\n\r\nno!").unwrap(), complete(403, "no!"));
        assert_eq!(read("HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n").unwrap(), complete(202, ""));
        assert_eq!(read("HTTP/1.1 204 No\r\n\r\n").unwrap(), complete(204, ""));
    }

    #[test]
    fn what_cannot_be_measured_is_an_error() {
        for bad in [
            "HTTP/1.1 200 OK\r\n\r\nuntil close",
            "HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nab",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n",
            "SSH-2.0\r\n\r\n",
        ] {
            assert!(Answer::default().read(bad.as_bytes()).is_err(), "{bad:?}");
        }
    }
}
