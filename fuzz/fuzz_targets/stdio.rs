//! A message that `vidimus wrap` passes to or from a process: one line, the same JSON, and another id where it is given one.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use vidimus_wrap::fuzzing::lines;

fuzz_target!(|input: &[u8]| {
    let Some((line, renamed)) = lines(input, "4711") else { return };
    assert!(!line.contains(&b'\n') && !line.contains(&b'\r'));
    // Numbers that no double holds are no Value.
    let Ok(before) = serde_json::from_slice::<Value>(input) else { return };
    assert_eq!(serde_json::from_slice::<Value>(&line).expect("JSON"), before);
    if let Some(renamed) = renamed {
        let mut after: Value = serde_json::from_slice(&renamed).expect("JSON");
        assert_eq!(after["id"], 4711);
        after["id"] = before["id"].clone();
        assert_eq!(after, before);
    }
});
