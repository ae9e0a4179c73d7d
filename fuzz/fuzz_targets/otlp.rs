//! The body of a request of OTLP, in each of its three forms, encoded or not: what agents send of themselves.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vidimus_gateway::fuzzing::otlp;

fuzz_target!(|input: &[u8]| {
    if let Some((how, body)) = input.split_first() {
        otlp(*how, body);
    }
});
