//! Input schemas of foreign servers, and arguments of foreign callers: a line of each. However they are made, it ends soon and without a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vidimus_gateway::fuzzing::protocol::mcp::schema::{InputSchema, unheld};

fuzz_target!(|text: &str| {
    let (written, arguments) = text.split_once('\n').unwrap_or((text, "{}"));
    let entry = format!("{{\"name\":\"t\",\"inputSchema\":{written}}}");
    let message = format!("{{\"params\":{{\"arguments\":{arguments}}}}}");
    let schema = InputSchema::of(&entry);
    let held = schema.check(message.as_bytes(), false);
    if schema.check(message.as_bytes(), true).is_ok() {
        assert!(held.is_ok(), "closed it lets nothing more be");
    }
    if unheld(&entry).is_some() {
        assert!(held.is_err(), "what cannot be held to lets nothing pass");
    }
});
