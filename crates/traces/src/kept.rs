//! A span as it is kept, and what a span must be to be.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash as _, Hasher as _};

use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;

/// The longest span, encoded, in bytes.
pub const MOST_BYTES: usize = 64 * 1024;
/// The most attributes of a span, of its resource, and of each of its events and links.
pub const MOST_ATTRIBUTES: usize = 128;
/// The most events of a span, and links.
pub(crate) const MOST_EVENTS: usize = 128;

/// A span, with whose it is. Of that `principal`, `identity` and `user` are proven; `resource`, `scope` and `span` are what its sender says.
#[derive(Clone, PartialEq, prost::Message)]
pub struct KeptSpan {
    /// Who sent it, `Kind/namespace/name`.
    #[prost(string, tag = "1")]
    pub principal: String,
    /// Which of the principal's identities was used.
    #[prost(string, tag = "2")]
    pub identity: String,
    /// `issuer#subject` of the person on whose behalf, where the credential names one.
    #[prost(string, optional, tag = "3")]
    pub user: Option<String>,
    /// When it came, milliseconds since 1970.
    #[prost(uint64, tag = "4")]
    pub received_ms: u64,
    /// The attributes of the resource that it says it is of.
    #[prost(message, repeated, tag = "5")]
    pub resource: Vec<KeyValue>,
    /// The instrumentation that it says made it.
    #[prost(string, tag = "6")]
    pub scope: String,
    /// The span as it was sent; where that was more than is kept, without what is too much.
    #[prost(message, optional, tag = "7")]
    pub span: Option<Span>,
}

/// The ids of a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ids {
    pub trace: u128,
    pub span: u64,
}

/// Why a span is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// Its ids are none of W3C Trace Context (16 and 8 bytes, not all zero), or it ends before it begins.
    Malformed,
    /// It is longer than [`MOST_BYTES`], or has more attributes, events or links than are kept, also when of these the ends were cut, or what is said
    /// of its resource is too much.
    TooLarge,
}

/// The ids of a span.
///
/// # Errors
/// [`Unfit::Malformed`].
pub fn ids(span: &Span) -> Result<Ids, Unfit> {
    let trace: [u8; 16] = span.trace_id.as_slice().try_into().map_err(|_| Unfit::Malformed)?;
    let id: [u8; 8] = span.span_id.as_slice().try_into().map_err(|_| Unfit::Malformed)?;
    let ids = Ids { trace: u128::from_be_bytes(trace), span: u64::from_be_bytes(id) };
    let has_parent = matches!(span.parent_span_id.len(), 0 | 8) && span.parent_span_id != span.span_id;
    if ids.trace == 0 || ids.span == 0 || !has_parent || span.end_time_unix_nano < span.start_time_unix_nano {
        return Err(Unfit::Malformed);
    }
    Ok(ids)
}

impl KeptSpan {
    /// Its ids; `None` of what was not written by this.
    pub fn ids(&self) -> Option<Ids> {
        ids(self.span.as_ref()?).ok()
    }

    /// The span that it says it is below; 0 where it says none.
    pub fn parent(&self) -> u64 {
        let parent = self.span.as_ref().map(|span| span.parent_span_id.as_slice());
        parent.and_then(|id| id.try_into().ok()).map_or(0, u64::from_be_bytes)
    }

    /// What two have to have in common to be the same span, said twice: all that its sender says, not when it came, and not by which of its
    /// credentials.
    pub fn says(&self) -> u64 {
        let said = Self {
            principal: String::new(),
            identity: String::new(),
            user: None,
            received_ms: 0,
            ..self.clone()
        };
        let mut hasher = DefaultHasher::new();
        said.encode_to_vec().hash(&mut hasher);
        hasher.finish()
    }
}
