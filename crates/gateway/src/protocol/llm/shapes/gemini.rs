//! Gemini's `generateContent`, as a shape that is translated.

mod answer;
mod request;
mod schema;
mod stream;

pub(super) use answer::{fault, read_reply, write_fault, write_reply};
pub(super) use request::{read, write};
pub(super) use stream::{Reader, Writer};
