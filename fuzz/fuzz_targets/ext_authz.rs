//! What a data plane asks: whatever comes is a request that can be decided, or is not; nothing panics.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vidimus_gateway::fuzzing::is_decidable;

fuzz_target!(|message: &[u8]| {
    let length = u32::try_from(message.len()).expect("short").to_be_bytes();
    let framed = [&[0][..], &length[..], message].concat();
    is_decidable(&framed);
    assert!(!is_decidable(message) || message.len() >= 5, "a frame has a head");
});
