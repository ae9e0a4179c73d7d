//! OpenAI's chat completions, as a shape that is translated.

mod answer;
mod request;
mod stream;

pub(super) use answer::{fault, read_reply, write_fault, write_reply};
pub(super) use request::{Takes, read, write};
pub(super) use stream::{Reader, Writer};
