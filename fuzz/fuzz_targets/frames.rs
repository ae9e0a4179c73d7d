//! Streams of Bedrock's: frames of whatever bytes, in every chunking, read as events and written again.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use vidimus_gateway::fuzzing::protocol::llm::bedrock::frames::{Framer, Reader};
use vidimus_gateway::fuzzing::protocol::sse::{EventStream, TooLong};

const LIMIT: usize = 16 * 1024;

fuzz_target!(|input: &[u8]| {
    let Some((first, frames)) = input.split_first() else { return };
    let events = read(frames, usize::MAX);
    assert_eq!(read(frames, usize::from(*first).max(1)), events, "however it is cut");
    let Some(events) = events else { return };
    let mut framer = EventStream::new(Box::new(Framer), 8 * LIMIT, TooLong::EndsStream);
    let mut written = framer.push(&Bytes::from(events.clone())).expect("what was read is written").to_vec();
    written.extend(framer.finish().expect("it is whole"));
    assert_eq!(read(&written, usize::MAX), Some(events), "what is written is what was read");
});

/// What is read of frames that come in chunks of this size; `None` where something is refused.
fn read(frames: &[u8], size: usize) -> Option<String> {
    let (mut reader, mut events) = (Reader::new(LIMIT), String::new());
    for chunk in frames.chunks(size) {
        events.push_str(&reader.push(chunk).ok()?);
    }
    reader.finish().ok().map(|()| events)
}
