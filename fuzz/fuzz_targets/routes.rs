//! Paths and trace headers.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vidimus_gateway::fuzzing::Route;
use vidimus_gateway::fuzzing::TraceContext;

fuzz_target!(|text: &str| {
    if let Some(route) = Route::parse(text) {
        assert_eq!(format!("/{}/{}{}", route.protocol.as_str(), route.key, route.rest), text);
        assert_eq!(route.key.matches('/').count(), 1);
        assert!(!text.contains("//") && !text.split('/').any(|part| matches!(part, "." | "..")));
    }
    let trace = TraceContext::from_header(Some(text));
    assert!(trace.trace_id != 0 && trace.span_id != 0);
    let sent = trace.header();
    assert_eq!(TraceContext::from_header(Some(&sent)).trace_id, trace.trace_id, "what is sent on is valid");
    assert!(trace.parent_id == 0 || text.contains(&format!("{:016x}", trace.parent_id)));
});
