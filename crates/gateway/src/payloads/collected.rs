//! What a caller is answered, collected while it passes, to be kept.

use std::fmt;

use aws_lc_rs::digest::{self, SHA256};
use vidimus_core::keep::{KeptPayload, MAX_KEPT, PayloadOf};

use super::key::{Lease, Place};

/// The answer of a call that is kept, as far as it has passed.
pub(crate) struct Keeping {
    lease: Lease,
    /// All of it, until it is too long.
    bytes: Vec<u8>,
    length: u64,
    /// Of one that is too long: of all that passed.
    digest: Option<digest::Context>,
}

impl fmt::Debug for Keeping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keeping")
            .field("lease", &self.lease)
            .field("length", &self.length)
            .finish_non_exhaustive()
    }
}

impl Keeping {
    pub(crate) fn new(lease: Lease) -> Self {
        Self { lease, bytes: Vec::new(), length: 0, digest: None }
    }

    /// These bytes go to the caller.
    pub(crate) fn push(&mut self, data: &[u8]) {
        self.length = self.length.saturating_add(data.len() as u64);
        if self.digest.is_none() && self.bytes.len().saturating_add(data.len()) > MAX_KEPT {
            let mut context = digest::Context::new(&SHA256);
            context.update(&std::mem::take(&mut self.bytes));
            self.digest = Some(context);
        }
        match &mut self.digest {
            Some(context) => context.update(data),
            None => self.bytes.extend_from_slice(data),
        }
    }

    /// The last so many did not go. Of an answer that is too long the digest is of them as well.
    pub(crate) fn take_back(&mut self, count: usize) {
        self.length = self.length.saturating_sub(count as u64);
        self.bytes.truncate(self.bytes.len().saturating_sub(count));
    }

    /// As the record has it; `None` where the caller was answered nothing.
    pub(crate) fn sealed(self, origin: &str, call: &str) -> Option<KeptPayload> {
        let place = Place { origin, call, of: PayloadOf::Answer };
        match self.digest {
            Some(context) => Some(self.lease.seal_digest(place, context.finish().as_ref(), self.length)),
            None if self.bytes.is_empty() => None,
            None => Some(self.lease.seal(place, &self.bytes)),
        }
    }
}
