//! Answers in an encoding, though none was asked for: gzip is decoded where an answer has to be read.

use std::io::{self, Write as _};

use bytes::Bytes;
use flate2::write::MultiGzDecoder;
use http::HeaderMap;
use http::header::CONTENT_ENCODING;
use vidimus_core::refusal::{Code, Refusal};

/// How much is decoded before it is looked whether it has become too much, in bytes: gzip makes at most a thousand times as much
/// of it.
const STEP: usize = 1024;

/// The encoding of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    Identity,
    Gzip,
    /// One that is not read here, or several.
    Other,
}

impl Encoding {
    pub fn of(headers: &HeaderMap) -> Self {
        let mut lines = headers.get_all(CONTENT_ENCODING).iter().map(|line| line.as_bytes().trim_ascii());
        match (lines.next(), lines.next()) {
            (None, _) => Self::Identity,
            (Some(only), None) if only.eq_ignore_ascii_case(b"identity") => Self::Identity,
            // RFC 9110 section 8.4.1.3: both are one.
            (Some(only), None)
                if only.eq_ignore_ascii_case(b"gzip") || only.eq_ignore_ascii_case(b"x-gzip") =>
            {
                Self::Gzip
            }
            _ => Self::Other,
        }
    }
}

/// Decodes gzip as it comes.
#[derive(Debug)]
pub struct Decoder {
    inner: MultiGzDecoder<Vec<u8>>,
    /// What one chunk, or one document, may become, in bytes.
    limit: usize,
}

impl Decoder {
    /// `limit`: what is pushed at once may become so many bytes.
    pub fn new(limit: usize) -> Self {
        Self { inner: MultiGzDecoder::new(Vec::new()), limit }
    }

    /// What has become of a chunk.
    ///
    /// # Errors
    /// `upstream_invalid` for what is not gzip, and for what becomes too long.
    pub fn push(&mut self, chunk: &[u8]) -> Result<Bytes, Refusal> {
        for step in chunk.chunks(STEP) {
            self.inner.write_all(step).and_then(|()| self.inner.flush()).map_err(unreadable)?;
            if self.inner.get_ref().len() > self.limit {
                let message = format!("the upstream's answer, decoded, is larger than {} bytes", self.limit);
                return Err(Refusal::new(Code::UpstreamInvalid, message));
            }
        }
        Ok(std::mem::take(self.inner.get_mut()).into())
    }

    /// That what was pushed is whole, and what is left of it.
    ///
    /// # Errors
    /// `upstream_invalid` where it is not.
    pub fn finish(&mut self) -> Result<Bytes, Refusal> {
        self.inner.try_finish().map_err(unreadable)?;
        Ok(std::mem::take(self.inner.get_mut()).into())
    }
}

/// A whole answer, decoded.
///
/// # Errors
/// As [`Decoder::push`] and [`Decoder::finish`].
pub fn decoded(bytes: &[u8], limit: usize) -> Result<Bytes, Refusal> {
    if bytes.is_empty() {
        return Ok(Bytes::new());
    }
    let mut decoder = Decoder::new(limit);
    let begun = decoder.push(bytes)?;
    let rest = decoder.finish()?;
    Ok(if rest.is_empty() { begun } else { [begun, rest].concat().into() })
}

fn unreadable(error: io::Error) -> Refusal {
    let message = "the upstream's answer says that it is gzip, and is not";
    Refusal::new(Code::UpstreamInvalid, message).with_detail(error)
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use http::HeaderValue;

    use super::*;

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(text).expect("memory");
        encoder.finish().expect("memory")
    }

    #[test]
    fn encodings_are_told_apart() {
        for (lines, expected) in [
            (&[][..], Encoding::Identity),
            (&["identity"], Encoding::Identity),
            (&["GZip "], Encoding::Gzip),
            (&["x-gzip"], Encoding::Gzip),
            (&["br"], Encoding::Other),
            (&["gzip, gzip"], Encoding::Other),
            (&["gzip", "gzip"], Encoding::Other),
            (&[""], Encoding::Other),
        ] {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(CONTENT_ENCODING, HeaderValue::from_static(line));
            }
            assert_eq!(Encoding::of(&headers), expected, "{lines:?}");
        }
    }

    #[test]
    fn what_was_encoded_comes_out_whatever_its_chunks_are() {
        let text: Vec<u8> =
            (0..20_000_u32).flat_map(|n| (n.wrapping_mul(2_654_435_761) >> 20).to_le_bytes()).collect();
        let encoded = [gzip(&text), gzip(b"more")].concat();
        let expected = [&text[..], b"more"].concat();
        for size in [1, 7, 1000, usize::MAX] {
            let mut decoder = Decoder::new(1_000_000);
            let mut out = Vec::new();
            encoded.chunks(size).for_each(|chunk| out.extend(decoder.push(chunk).expect("gzip")));
            out.extend(decoder.finish().expect("whole"));
            assert!(out == expected, "chunks of {size}");
        }
        assert_eq!(decoded(b"", 10).map_err(|refusal| refusal.code), Ok(Bytes::new()));
    }

    #[test]
    fn what_is_no_gzip_or_cut_or_a_bomb_is_refused() {
        let whole = gzip(b"text");
        let mut broken = whole.clone();
        broken[12] ^= 0xff;
        let bomb = gzip(&vec![0; 50_000_000]);
        for (what, bytes) in [
            ("text", &b"text"[..]),
            ("cut", &whole[..whole.len() - 3]),
            ("broken", &broken),
            ("a bomb", &bomb),
        ] {
            let refused = decoded(bytes, 100_000).map_err(|refusal| refusal.code);
            assert_eq!(refused, Err(Code::UpstreamInvalid), "{what}");
        }
        let mut decoder = Decoder::new(100_000);
        let codes = bomb.chunks(STEP).find_map(|step| decoder.push(step).err());
        assert_eq!(codes.map(|refusal| refusal.code), Some(Code::UpstreamInvalid));
        assert!(decoder.inner.get_ref().capacity() < 4_000_000, "what it becomes is bounded");
    }
}
