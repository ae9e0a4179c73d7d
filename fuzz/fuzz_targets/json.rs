//! The strict parser against serde_json: what both take they read alike, and ours refuses no more than duplicate keys.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use vidimus_core::json::{Json, JsonError};

fuzz_target!(|input: &[u8]| {
    let theirs = serde_json::from_slice::<Value>(input);
    match (Json::parse(input), theirs) {
        (Ok(ours), Ok(theirs)) => {
            assert!(same(&ours, &theirs), "{ours:?} {theirs:?}");
            ours.leaves(&mut |pointer, leaf| {
                assert_eq!(ours.pointer(pointer), Some(leaf), "{pointer}");
                let _ = (leaf.as_text(), leaf.as_integer());
            });
            canonical(&ours);
        }
        (Err(JsonError::DuplicateKey { .. }), _) | (Err(_), Err(_)) => {}
        (ours, theirs) => panic!("{ours:?} {theirs:?}"),
    }
});

/// The canonical text is JSON, and is its own canonical text.
fn canonical(ours: &Json<'_>) {
    let text = ours.canonical();
    let again = Json::parse(text.as_bytes()).expect("canonical JSON");
    // Whole numbers beyond 2^53 that no double holds end in `.0` once, and are doubles when they are read again; of those that one holds,
    // the shortest text may be that of a neighbour that none holds (9223273036854775808 is written 9223273036854776000).
    let mut is_beyond = text.contains(".0");
    again.leaves(&mut |_, leaf| {
        is_beyond |=
            matches!(leaf, Json::UInt(_)) || matches!(leaf, Json::Int(n) if n.unsigned_abs() > 1 << 53);
    });
    if !is_beyond {
        assert_eq!(again.canonical(), text);
    }
}

fn same(ours: &Json<'_>, theirs: &Value) -> bool {
    match (ours, theirs) {
        (Json::Null, Value::Null) => true,
        (Json::Bool(a), Value::Bool(b)) => a == b,
        (Json::Int(a), Value::Number(b)) => b.as_i64() == Some(*a),
        (Json::UInt(a), Value::Number(b)) => b.as_u64() == Some(*a) && b.as_i64().is_none(),
        (Json::Float(a), Value::Number(b)) => b.is_f64() && b.as_f64() == Some(*a),
        (Json::String(a), Value::String(b)) => a == b,
        (Json::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Json::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key.as_ref()).is_some_and(|b| same(a, b)))
        }
        _ => false,
    }
}
