//! What an upstream asks of its client in the course of a call: a call in the other direction, of which is decided before it passes.

/// One question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The protocol's method, by the protocol's own spelling where it has such a one.
    pub method: Box<str>,
    /// The id by which it is answered (JSON), where it is a request of its own; `None` where it stands in a result.
    pub id: Option<Box<str>>,
    /// All that is asked, as the upstream wrote it: JSON.
    pub text: Box<str>,
}
