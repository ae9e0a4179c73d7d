//! Input schemas of foreign servers, and arguments of foreign callers: a line of each. However they are made, it ends soon and without a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vidimus_gateway::fuzzing::protocol::mcp::schema::{InputSchema, unheld};

fuzz_target!(|text: &str| {
    let (schema, arguments) = text.split_once('\n').unwrap_or((text, "{}"));
    let entry = format!("{{\"name\":\"t\",\"inputSchema\":{schema}}}");
    let message = format!("{{\"params\":{{\"arguments\":{arguments}}}}}");
    let held = InputSchema::of(&entry).check(message.as_bytes());
    if unheld(&entry).is_some() {
        assert!(held.is_err(), "what cannot be held to lets nothing pass");
    }
});
