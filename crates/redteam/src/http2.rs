//! HTTP/2 by hand (RFC 9113): frames, and fields as HPACK literals that are neither indexed nor compressed (RFC 7541 section 6.2.2).

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::wire::{self, Answer};

/// What a connection begins with, and the client's empty settings.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// Longer than any answer takes.
const PATIENCE: Duration = Duration::from_secs(8);

/// What is sent, one after the other.
#[derive(Clone, Debug)]
pub enum Part {
    /// A whole block of fields, which ends the request where `ends` says so.
    Fields { stream: u32, fields: Vec<(String, Vec<u8>)>, ends: bool },
    /// A frame of any type, whatever it holds.
    Frame { kind: u8, flags: u8, stream: u32, payload: Vec<u8> },
}

impl Part {
    /// The end of a request's body.
    pub fn data(stream: u32, payload: impl AsRef<[u8]>) -> Self {
        Self::Frame { kind: 0, flags: END_STREAM, stream, payload: payload.as_ref().to_vec() }
    }

    /// A reset: the caller is not interested any more.
    pub fn reset(stream: u32) -> Self {
        Self::Frame { kind: 3, flags: 0, stream, payload: vec![0, 0, 0, 8] }
    }
}

/// The beginning of a connection, with nothing asked yet.
pub fn preface() -> Vec<u8> {
    PREFACE.to_vec()
}

/// A part as it goes on the wire. A block of more than a frame goes on in `CONTINUATION` frames.
pub fn encoded(part: &Part) -> Vec<u8> {
    match part {
        Part::Frame { kind, flags, stream, payload } => frame(*kind, *flags, *stream, payload),
        Part::Fields { stream, fields, ends } => {
            let block: Vec<u8> =
                fields.iter().flat_map(|(name, value)| literal(name.as_bytes(), value)).collect();
            let pieces: Vec<&[u8]> = block.chunks(16_384).collect();
            let last = pieces.len().saturating_sub(1);
            let mut bytes = Vec::new();
            for (number, piece) in pieces.into_iter().enumerate() {
                let (kind, begins) = if number == 0 { (1, u8::from(*ends) * END_STREAM) } else { (9, 0) };
                let flags = begins | if number == last { END_HEADERS } else { 0 };
                bytes.extend(frame(kind, flags, *stream, piece));
            }
            bytes
        }
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes();
    let [_, length @ ..] = length;
    [&length[..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

fn literal(name: &[u8], value: &[u8]) -> Vec<u8> {
    [&[0], text(name).as_slice(), &text(value)].concat()
}

/// A length with a prefix of seven bits (RFC 7541 section 5.1), then the text.
fn text(bytes: &[u8]) -> Vec<u8> {
    let mut coded = Vec::new();
    if bytes.len() < 127 {
        coded.push(u8::try_from(bytes.len()).unwrap_or(0));
    } else {
        coded.push(127);
        let mut rest = bytes.len() - 127;
        while rest >= 128 {
            coded.push(u8::try_from(rest % 128).unwrap_or(0) | 128);
            rest /= 128;
        }
        coded.push(u8::try_from(rest).unwrap_or(0));
    }
    coded.extend_from_slice(bytes);
    coded
}

/// Sends `bytes` on a new connection and reads until stream 1 has ended, the connection has, or for so long. The status is known
/// where it is one of HPACK's static table; no field is.
pub fn exchange(address: SocketAddr, bytes: &[u8]) -> Answer {
    let mut answer = Answer::default();
    let Ok(mut stream) = wire::connect(address) else {
        answer.closed = true;
        return answer;
    };
    // The other side may have ended it before it has read all.
    let _ = stream.write_all(bytes);
    let until = Instant::now() + PATIENCE;
    let mut buffer = [0; 65_536];
    while Instant::now() < until && !answer.whole && !answer.closed {
        let wait = until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        let _ = stream.set_read_timeout(Some(wait));
        match stream.read(&mut buffer) {
            Ok(count @ 1..) => answer.bytes.extend_from_slice(buffer.get(..count).unwrap_or_default()),
            _ => answer.closed = true,
        }
        parse(&mut answer);
    }
    answer
}

fn parse(answer: &mut Answer) {
    let mut rest = answer.bytes.as_slice();
    let mut body = Vec::new();
    while let [a, b, c, kind, flags, s1, s2, s3, s4, after @ ..] = rest {
        let length = usize::try_from(u32::from_be_bytes([0, *a, *b, *c])).unwrap_or(usize::MAX);
        let Some(payload) = after.get(..length) else { break };
        let of_first = u32::from_be_bytes([*s1, *s2, *s3, *s4]) == 1;
        match kind {
            0 if of_first => body.extend_from_slice(payload),
            1 if of_first => {
                answer.status = payload.first().and_then(|byte| status(*byte)).unwrap_or(answer.status);
            }
            3 if of_first => answer.closed = true,
            7 => answer.closed = true,
            _ => {}
        }
        if of_first && matches!(kind, 0 | 1) && flags & END_STREAM != 0 {
            answer.whole = true;
        }
        rest = after.get(length..).unwrap_or_default();
    }
    answer.body = body;
}

/// RFC 7541 appendix A: 8 to 14, as an indexed field.
fn status(byte: u8) -> Option<u16> {
    [(0x88, 200), (0x89, 204), (0x8a, 206), (0x8b, 304), (0x8c, 400), (0x8d, 404), (0x8e, 500)]
        .into_iter()
        .find_map(|(coded, status)| (coded == byte).then_some(status))
}
