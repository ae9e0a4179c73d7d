//! Anthropic's messages, as a shape that is translated.

mod answer;
mod request;
mod stream;

pub(super) use answer::{fault, read_reply, write_fault, write_reply};
pub(super) use request::{read, write};
pub(super) use stream::{Reader, Writer};

/// The version of the API that is written (`anthropic-version`).
pub(super) const VERSION: &str = "2023-06-01";
