//! How an answer begins.

use bytes::Bytes;
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use http::response::Parts;
use vidimus_core::refusal::Refusal;

use super::encoding::{self, Encoding};
use super::judge;

/// How an answer begins: what the upstream says of it, and what the caller is told.
pub(super) struct Begin<'h> {
    pub(super) status: u16,
    pub(super) said: &'h HeaderMap,
    pub(super) encoding: Encoding,
    pub(super) head: &'h mut HeaderMap,
}

impl<'h> Begin<'h> {
    pub(super) fn of(parts: &'h Parts, head: &'h mut HeaderMap) -> Self {
        let encoding = Encoding::of(&parts.headers);
        Self { status: parts.status.as_u16(), said: &parts.headers, encoding, head }
    }

    pub(super) fn not_of_protocol(&self, text: &[u8]) -> Refusal {
        judge::not_of_protocol(self.status, self.said, text)
    }

    /// A whole answer as it can be read, and its head in agreement with that: how long it is, HTTP says anew.
    pub(super) fn decoded(&mut self, bytes: Bytes, limit: usize) -> Result<Bytes, Refusal> {
        self.head.remove(CONTENT_LENGTH);
        match self.encoding {
            Encoding::Gzip => {
                self.head.remove(CONTENT_ENCODING);
                encoding::decoded(&bytes, limit)
            }
            Encoding::Identity | Encoding::Other => Ok(bytes),
        }
    }
}
