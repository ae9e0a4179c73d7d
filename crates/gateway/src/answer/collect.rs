//! An answer, read to its end or until enough of it is known.

use bytes::Bytes;
use http_body_util::BodyExt as _;
use tokio::time::Instant;
use vidimus_core::refusal::Refusal;

use super::Upstream;
use super::gathered::Gathered;

/// An answer as far as it was read, and what is still to come.
pub(super) enum Collected {
    Whole(Bytes),
    /// It is longer than what is read, or enough of it is there.
    Begun(Bytes, Upstream),
    /// It had not ended in time.
    Late(Bytes, Upstream),
}

/// Whether a chunk has something other than white space, or there was more than `limit` of that.
pub(super) fn shows_something_within(limit: usize) -> impl FnMut(&[u8]) -> bool {
    let mut is_too_long = longer_than(limit);
    move |chunk| is_too_long(chunk) || !chunk.trim_ascii_start().is_empty()
}

/// Whether the chunks so far are longer than so many bytes.
pub(super) fn longer_than(limit: usize) -> impl FnMut(&[u8]) -> bool {
    let mut read = 0;
    move |chunk| {
        read += chunk.len();
        read > limit
    }
}

/// Reads an answer to its end, or until a chunk is `enough`, or until a time.
pub(super) async fn collect(
    mut body: Upstream,
    mut enough: impl FnMut(&[u8]) -> bool,
    until: Instant,
) -> Result<Collected, Refusal> {
    let mut read = Gathered::default();
    loop {
        match tokio::time::timeout_at(until, body.frame()).await {
            Ok(None) => return Ok(Collected::Whole(read.take().unwrap_or_default())),
            Ok(Some(Ok(frame))) => {
                // Trailers are not part of any of the bindings that are served.
                let Ok(data) = frame.into_data() else { continue };
                let is_enough = enough(&data);
                read.push(data);
                if is_enough {
                    return Ok(Collected::Begun(read.take().unwrap_or_default(), body));
                }
            }
            Ok(Some(Err(error))) => {
                return Err(error.refusal("the upstream's answer broke off"));
            }
            Err(_) => return Ok(Collected::Late(read.take().unwrap_or_default(), body)),
        }
    }
}
