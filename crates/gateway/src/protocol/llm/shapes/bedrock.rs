//! Bedrock's Converse, as a shape that is translated: of providers alone. Nobody who asks in it is answered by another API's provider.

mod answer;
mod request;
mod stream;

pub(super) use answer::{fault, read_reply};
pub(super) use request::write;
pub(super) use stream::Reader;
