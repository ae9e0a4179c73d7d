//! Messages as gRPC has them in a body: a byte that says whether they are compressed, four that say how long they are, and they
//! (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>). What is compressed is not read, so there is nothing to blow up.

use bytes::{Buf as _, Bytes, BytesMut};

/// What is wrong with a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("a message is compressed, which is not read")]
    Compressed,
    #[error("a message is longer than {0} bytes")]
    TooLong(usize),
    #[error("what comes is no message of gRPC")]
    NoFrame,
    #[error("a message does not come to its end")]
    Cut,
}

const HEAD: usize = 5;

/// A message in its frame. One that is longer than a frame can say is not made here.
pub fn framed(message: &[u8]) -> Bytes {
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes();
    [&[0_u8][..], &length[..], message].concat().into()
}

/// Messages, whatever the chunks they come in.
#[derive(Debug)]
pub struct Frames {
    come: BytesMut,
    /// The longest one, in bytes.
    limit: usize,
}

impl Frames {
    /// Of messages of at most `limit` bytes. No more than that, and a chunk, is held.
    pub fn of_at_most(limit: usize) -> Self {
        Self { come: BytesMut::new(), limit }
    }

    pub fn push(&mut self, chunk: &[u8]) {
        self.come.extend_from_slice(chunk);
    }

    /// The next message, where it has come whole.
    ///
    /// # Errors
    /// For what is none, before it has come whole.
    pub fn take(&mut self) -> Result<Option<Bytes>, Fault> {
        let Some([flag, length @ ..]) = self.come.first_chunk::<HEAD>() else { return Ok(None) };
        match flag {
            0 => {}
            1 => return Err(Fault::Compressed),
            _ => return Err(Fault::NoFrame),
        }
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        if length > self.limit {
            return Err(Fault::TooLong(self.limit));
        }
        if self.come.len() - HEAD < length {
            return Ok(None);
        }
        self.come.advance(HEAD);
        Ok(Some(self.come.split_to(length).freeze()))
    }

    /// That nothing is left of a body that has ended.
    ///
    /// # Errors
    /// [`Fault::Cut`].
    pub fn finish(&self) -> Result<(), Fault> {
        if self.come.is_empty() { Ok(()) } else { Err(Fault::Cut) }
    }
}

/// The one message of a body.
///
/// # Errors
/// For none, more than one, and what [`Frames::take`] refuses.
pub fn only(body: &[u8]) -> Result<&[u8], Fault> {
    let Some(([flag, length @ ..], message)) = body.split_first_chunk::<HEAD>() else {
        return Err(Fault::NoFrame);
    };
    let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
    match (*flag, message.len().cmp(&length)) {
        (1, _) => Err(Fault::Compressed),
        (0, std::cmp::Ordering::Equal) => Ok(message),
        (0, std::cmp::Ordering::Less) => Err(Fault::Cut),
        _ => Err(Fault::NoFrame),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &[u8], size: usize) -> Result<Vec<Bytes>, Fault> {
        let (mut frames, mut found) = (Frames::of_at_most(8), Vec::new());
        for chunk in body.chunks(size) {
            frames.push(chunk);
            while let Some(message) = frames.take()? {
                found.push(message);
            }
        }
        frames.finish().map(|()| found)
    }

    #[test]
    fn messages_are_read_whatever_the_chunks_are() {
        let body = [framed(b"abc"), framed(b""), framed(b"12345678")].concat();
        for size in [1, 2, 7, usize::MAX] {
            assert_eq!(read(&body, size), Ok(vec!["abc".into(), "".into(), "12345678".into()]), "{size}");
        }
    }

    /// Attack: frames that are none, cut, compressed, or announce more than comes.
    #[test]
    fn what_is_no_frame_is_found_before_it_is_held() {
        for (body, expected) in [
            (&b"\0\0\0\0\x09"[..], Fault::TooLong(8)),
            (b"\0\xff\xff\xff\xff", Fault::TooLong(8)),
            (b"\x01\0\0\0\x01x", Fault::Compressed),
            (b"\x02\0\0\0\x01x", Fault::NoFrame),
            (b"\0\0\0\0\x02x", Fault::Cut),
            (b"\0\0\0", Fault::Cut),
        ] {
            for size in [1, usize::MAX] {
                assert_eq!(read(body, size), Err(expected), "{body:?}");
            }
        }
    }

    #[test]
    fn a_request_is_one_message() {
        assert_eq!(only(&framed(b"abc")), Ok(&b"abc"[..]));
        assert_eq!(only(&framed(b"")), Ok(&b""[..]));
        for (body, expected) in [
            (&b""[..], Fault::NoFrame),
            (b"\0\0\0\0", Fault::NoFrame),
            (b"\0\0\0\0\x02x", Fault::Cut),
            (b"\0\0\0\0\x01xx", Fault::NoFrame),
            (b"\x01\0\0\0\x01x", Fault::Compressed),
            (b"\x80\0\0\0\x01x", Fault::NoFrame),
        ] {
            assert_eq!(only(body), Err(expected), "{body:?}");
        }
        assert_eq!(only(&[framed(b"a"), framed(b"b")].concat()), Err(Fault::NoFrame));
    }
}
