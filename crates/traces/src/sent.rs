//! A span as it comes, before anything of it is copied, and what it weighs.

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;

use crate::cut::cut;
use crate::kept::{Ids, KeptSpan, MOST_ATTRIBUTES, MOST_BYTES, MOST_EVENTS, Unfit, ids};

/// What a part counts as beside its texts, in bytes: an attribute, a value, an event or a link. Empty ones take none on the wire.
const PART: usize = 64;
/// The most parts of a span, with those of its resource.
pub const MOST_PARTS: usize = 2_048;
/// What is beside the span that is kept with it, in bytes: the attributes of its resource, and its scope.
pub(crate) const MOST_BESIDE: usize = 32 * 1024;

/// How much something is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weight {
    /// Attributes, values, events and links, also those in others.
    pub parts: usize,
    /// Texts, and eight for each number.
    pub bytes: usize,
}

impl Weight {
    /// In bytes: about what it takes in memory.
    pub fn total(self) -> usize {
        self.bytes.saturating_add(self.parts.saturating_mul(PART))
    }

    /// One part with so much text.
    fn part(bytes: usize) -> Self {
        Self { parts: 1, bytes }
    }
}

impl std::ops::Add for Weight {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { parts: self.parts.saturating_add(other.parts), bytes: self.bytes.saturating_add(other.bytes) }
    }
}

impl std::iter::Sum for Weight {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |sum, one| sum + one)
    }
}

/// What its sender says once for many spans. It is weighed once.
#[derive(Clone, Copy, Debug)]
pub struct Beside<'s> {
    resource: &'s [KeyValue],
    scope: &'s str,
    weight: Weight,
    /// There was more of the resource.
    pub(crate) is_cut: bool,
}

impl<'s> Beside<'s> {
    /// The attributes of a resource.
    pub fn new(resource: &'s [KeyValue]) -> Self {
        Self { resource, scope: "", weight: attributes(resource), is_cut: false }
    }

    /// The same of a resource of which there was more, where there was ([`crate::cut_resource`]).
    #[must_use]
    pub fn cut(self, is_cut: bool) -> Self {
        Self { is_cut, ..self }
    }

    /// Whether it is more than is kept with any span. The proven names are bounded where they are proven.
    fn is_too_large(&self) -> bool {
        is_too_much(self.resource.len(), self.weight)
    }

    /// The same of a scope of it, which has this name.
    #[must_use]
    pub fn of(self, scope: &'s str) -> Self {
        Self { scope, weight: self.weight + Weight { parts: 0, bytes: scope.len() }, ..self }
    }
}

/// Whether so many attributes of a resource, which are together this, are more than is kept with any span.
pub(crate) fn is_too_much(count: usize, weight: Weight) -> bool {
    count > MOST_ATTRIBUTES || weight.bytes > MOST_BESIDE || weight.parts > MOST_PARTS
}

/// A span that was sent. It is looked at where it was read, and copied when it is kept.
#[derive(Clone, Copy, Debug)]
pub struct Sent<'s> {
    pub beside: Beside<'s>,
    pub span: &'s Span,
}

impl Sent<'_> {
    /// The span with all that is beside it.
    pub(crate) fn weight(&self) -> Weight {
        self.beside.weight + span(self.span)
    }

    /// Its ids, where it may be kept as it is with all that is beside it.
    ///
    /// # Errors
    /// See [`Unfit`].
    pub(crate) fn fits(&self) -> Result<Ids, Unfit> {
        let found = ids(self.span)?;
        let many = |attributes: &[KeyValue]| attributes.len() > MOST_ATTRIBUTES;
        let is_large = self.span.events.len() > MOST_EVENTS
            || self.span.links.len() > MOST_EVENTS
            || self.beside.is_too_large()
            || many(&self.span.attributes)
            || self.span.events.iter().any(|event| many(&event.attributes))
            || self.span.links.iter().any(|link| many(&link.attributes))
            || self.weight().parts > MOST_PARTS
            || self.span.encoded_len() > MOST_BYTES;
        if is_large { Err(Unfit::TooLarge) } else { Ok(found) }
    }

    /// As much of its span as is kept, where it is too large ([`Unfit::TooLarge`]); `None` where what is beside it would be too much with any.
    pub(crate) fn cut(&self) -> Option<Span> {
        if self.beside.is_too_large() {
            return None;
        }
        let mut span = self.span.clone();
        cut(&mut span, MOST_PARTS.saturating_sub(self.beside.weight.parts));
        Some(span)
    }

    /// As it is kept, of nobody yet.
    pub(crate) fn copied(&self) -> KeptSpan {
        KeptSpan {
            resource: self.beside.resource.to_vec(),
            scope: self.beside.scope.to_owned(),
            span: Some(self.span.clone()),
            ..KeptSpan::default()
        }
    }
}

impl KeptSpan {
    /// What it is in memory, about, in bytes.
    pub(crate) fn weight(&self) -> usize {
        let said = attributes(&self.resource) + self.span.as_ref().map(span).unwrap_or_default();
        said.total().saturating_add(self.scope.len())
    }
}

/// What a span is, without what is beside it.
pub(crate) fn span(span: &Span) -> Weight {
    let own = span.name.len() + span.trace_state.len();
    let status = span.status.as_ref().map_or(0, |status| status.message.len());
    let events =
        span.events.iter().map(|event| Weight::part(event.name.len()) + attributes(&event.attributes));
    let links = span.links.iter().map(|link| {
        let bytes = link.trace_id.len() + link.span_id.len() + link.trace_state.len();
        Weight::part(bytes) + attributes(&link.attributes)
    });
    // The span itself is a thing of several parts: its ids, times and lists.
    let own = Weight { parts: 4, bytes: own + status };
    own + attributes(&span.attributes) + events.sum::<Weight>() + links.sum::<Weight>()
}

pub(crate) fn attributes(all: &[KeyValue]) -> Weight {
    all.iter().map(attribute).sum()
}

/// What an attribute is, with all that is in it.
pub(crate) fn attribute(one: &KeyValue) -> Weight {
    Weight::part(one.key.len()) + one.value.as_ref().map(value).unwrap_or_default()
}

/// Of a value; how deep it is was looked at where it was read.
fn value(found: &AnyValue) -> Weight {
    match &found.value {
        None => Weight::default(),
        Some(Value::StringValue(text)) => Weight { parts: 0, bytes: text.len() },
        Some(Value::BytesValue(bytes)) => Weight { parts: 0, bytes: bytes.len() },
        Some(Value::ArrayValue(all)) => all.values.iter().map(|one| Weight::part(0) + value(one)).sum(),
        Some(Value::KvlistValue(all)) => attributes(&all.values),
        Some(_) => Weight { parts: 0, bytes: 8 },
    }
}
