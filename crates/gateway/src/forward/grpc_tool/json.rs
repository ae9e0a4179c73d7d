//! Messages as JSON, no longer than was said: what is small as a message may be long, with the names of its fields and with what is not set.

use std::io;

use prost_reflect::{DynamicMessage, SerializeOptions};
use serde_json::Value;

/// A message as JSON, of at most `room` bytes. Whole numbers are numbers, as long as they may be.
pub(super) fn json(message: &DynamicMessage, has_defaults: bool, room: usize) -> serde_json::Result<Value> {
    let options = SerializeOptions::new();
    let options = options.stringify_64_bit_integers(false).skip_default_fields(!has_defaults);
    let mut bounded = Bounded { text: Vec::new(), room };
    message.serialize_with_options(&mut serde_json::Serializer::new(&mut bounded), &options)?;
    serde_json::from_slice(&bounded.text)
}

/// Text that does not grow beyond a bound.
struct Bounded {
    text: Vec<u8>,
    room: usize,
}

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.text.len().saturating_add(bytes.len()) > self.room {
            return Err(io::Error::other("it is longer than it may be"));
        }
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
