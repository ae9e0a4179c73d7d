//! Messages in the body of an answer: a flag, a length and so many bytes each (gRPC, "Length-Prefixed-Message").

use bytes::{Bytes, BytesMut};
use vidimus_core::refusal::Refusal;

use super::invalid;

/// The bytes before each message.
const PREFIX: usize = 5;

/// What of the messages has come so far. All together are no longer than was said.
#[derive(Debug)]
pub(super) struct Frames {
    waiting: BytesMut,
    read: usize,
    most: usize,
}

impl Frames {
    pub(super) fn new(most: usize) -> Self {
        Self { waiting: BytesMut::new(), read: 0, most }
    }

    pub(super) fn push(&mut self, data: &[u8]) -> Result<(), Refusal> {
        self.read = self.read.saturating_add(data.len());
        if self.read > self.most {
            return Err(self.too_long());
        }
        self.waiting.extend_from_slice(data);
        Ok(())
    }

    /// The next message, where it is whole.
    pub(super) fn message(&mut self) -> Result<Option<Bytes>, Refusal> {
        let Some(([flag, length @ ..], rest)) = self.waiting.split_first_chunk::<PREFIX>() else {
            return Ok(None);
        };
        if *flag != 0 {
            // Nobody said that it may be: what it comes to is not known before it is there.
            return Err(invalid(
                "the upstream's answer is compressed, or is not gRPC; no compression was offered",
            ));
        }
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        if length > self.most {
            return Err(self.too_long());
        }
        if rest.len() < length {
            return Ok(None);
        }
        let _ = self.waiting.split_to(PREFIX);
        Ok(Some(self.waiting.split_to(length).freeze()))
    }

    /// Whether nothing of a message is left.
    pub(super) fn is_whole(&self) -> bool {
        self.waiting.is_empty()
    }

    fn too_long(&self) -> Refusal {
        const NEXT: &str =
            "Ask for less (a page, a filter), or let the record allow longer answers (spec.grpc.maxAnswer).";
        invalid(format!("the upstream's answer is longer than {} bytes", self.most)).with_next(NEXT)
    }
}
