//! What is read at once is what reflection reads. What is not read at once is read by it, so all else is the same in any case.

use proptest::prelude::*;

use super::super::*;
use super::field;
use super::random::{Choices, ODD, TIMES, json, wire};

fn rpc() -> impl Strategy<Value = &'static Rpc> {
    let mut all: Vec<_> = SCHEMA.as_ref().expect("descriptors").iter().collect();
    all.sort_by_key(|(name, _)| *name);
    proptest::sample::select(all.into_iter().map(|(_, rpc)| rpc).collect::<Vec<_>>())
}

fn choices() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 0..400)
}

fn odd() -> impl Strategy<Value = u8> {
    proptest::sample::select(vec![0, 1, 4, 16, 64])
}

/// Where, and by what, bytes are changed; `None` takes one out.
fn changes() -> impl Strategy<Value = Vec<(prop::sample::Index, Option<u8>, bool)>> {
    proptest::collection::vec((any::<prop::sample::Index>(), any::<Option<u8>>(), any::<bool>()), 1..4)
}

fn changed(mut bytes: Vec<u8>, changes: &[(prop::sample::Index, Option<u8>, bool)]) -> Vec<u8> {
    for (at, byte, replaces) in changes {
        let at = at.index(bytes.len() + 1);
        if at < bytes.len() && (*replaces || byte.is_none()) {
            bytes.remove(at);
        }
        bytes.splice(at..at, *byte);
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_programs_write_is_read_at_once_and_as_reflection_reads_it(rpc in rpc(), choices in choices()) {
        for (of, at) in [(&rpc.input, 0), (&rpc.output, 1)] {
            let said = json(&of.of, &mut Choices { left: &choices, odd: 0 });
            prop_assert!(rpc.check_json(&said)[at], "{said}");
            let bytes = reflected::of_json(&of.of, &said, Unknown::Refused).expect("a message");
            prop_assert!(rpc.check_wire(&bytes)[at], "{said}");
            let again = reflected::json_of(&of.of, &bytes, Unknown::Refused, None).expect("JSON");
            prop_assert!(rpc.check_json(&again)[at], "{again}");
            // What was written at once can be read at once, however JSON orders its members.
            let bytes = of.of_json(&said, Unknown::Refused).expect("a message");
            prop_assert!(rpc.check_wire(&bytes)[at], "{said}");
        }
    }

    #[test]
    fn whatever_json_comes_is_read_as_reflection_reads_it(
        rpc in rpc(), choices in choices(), changes in changes(), odd in odd(),
    ) {
        for of in [&rpc.input, &rpc.output] {
            let said = json(&of.of, &mut Choices { left: &choices, odd });
            rpc.check_json(&said);
            if let Ok(text) = String::from_utf8(changed(said.into_bytes(), &changes)) {
                rpc.check_json(&text);
            }
        }
    }

    #[test]
    fn whatever_bytes_come_are_read_as_reflection_reads_them(
        rpc in rpc(), choices in choices(), changes in changes(), odd in odd(),
    ) {
        for of in [&rpc.input, &rpc.output] {
            let bytes = wire(&of.of, &mut Choices { left: &choices, odd });
            rpc.check_wire(&bytes);
            rpc.check_wire(&changed(bytes, &changes));
        }
    }
}

/// Attack: what is just within the bounds of one reader and beyond those of the other.
#[test]
fn the_bounds_are_those_of_reflection() {
    let rpc = Rpc::named("SendMessage").expect("a method");
    let (mut value, mut text) = (field(3, b"x"), "\"x\"".to_owned());
    let mut read = [0; 2];
    for depth in 0..130 {
        let bytes = field(2, &field(5, &field(4, &value)));
        read[0] += usize::from(rpc.check_wire(&bytes)[0]);
        let json = format!("{{\"message\":{{\"parts\":[{{\"data\":{text}}}]}}}}");
        read[1] += usize::from(rpc.check_json(&json)[0]);
        if depth % 2 == 0 {
            value = field(6, &field(1, &value));
            text = format!("[{text}]");
        } else {
            value = field(5, &field(1, &[field(1, b"k"), field(2, &value)].concat()));
            text = format!("{{\"k\":{text}}}");
        }
    }
    // Those of reflection are nowhere less; that is what is looked at.
    assert!(read.iter().all(|read| *read > 15), "{read:?}");
    let extensions = |count| field(2, &field(7, b"").repeat(count));
    assert_eq!([1, 0].map(|less| rpc.check_wire(&extensions(MAX_VALUES - less))[0]), [true, false]);
}

#[test]
fn times_are_those_of_reflection() {
    let rpc = Rpc::named("ListTasks").expect("a method");
    let said = |time: &str| format!("{{\"statusTimestampAfter\":\"{time}\"}}");
    for time in TIMES {
        assert!(rpc.check_json(&said(time))[0], "{time}");
    }
    for time in ODD {
        rpc.check_json(&said(time));
    }
    let varint = |number: u8, value: i64| {
        let mut out = vec![number << 3];
        prost::encoding::encode_varint(value.cast_unsigned(), &mut out);
        out
    };
    for seconds in
        [0, -1, 1_767_225_600, -62_135_596_800, -62_135_596_801, 253_402_300_799, 253_402_300_800, i64::MIN]
    {
        for nanos in
            [0, 1, 120_000_000, 123_456_000, 999_999_999, 1_000_000_000, -1, i64::from(i32::MIN), 1 << 32]
        {
            rpc.check_wire(&field(7, &[varint(1, seconds), varint(2, nanos)].concat()));
        }
    }
}

#[test]
fn what_is_long_says_how_long_it_is() {
    let rpc = Rpc::named("SendMessage").expect("a method");
    for length in [0, 120, 127, 128, 16_370, 16_383, 16_384, 2_097_152] {
        let text = "x".repeat(length);
        let parts = format!("[{{\"text\":\"{text}\"}}]");
        let said = format!("{{\"message\":{{\"metadata\":{{\"k\":[\"{text}\"]}},\"parts\":{parts}}}}}");
        assert_eq!(rpc.check_json(&said), [true; 2], "{length}");
        assert!(rpc.check_wire(&rpc.request(&said).expect("a message"))[0], "{length}");
    }
}

/// Attack: what protobuf's own types have twice, in another form, or not at all.
#[test]
fn protobufs_own_types_are_read_as_reflection_reads_them() {
    let rpc = Rpc::named("SendMessage").expect("a method");
    let double = |value: f64| [&[0x11][..], &value.to_le_bytes()].concat();
    let odd = [vec![0x78, 0], vec![0x7a, 1, 0], vec![0x7d, 0, 0, 0, 0], vec![0x7b, 0x7c]];
    let varints = [vec![8, 0], vec![8, 5], vec![0x10, 7], vec![0x20, 0], vec![0x20, 2], vec![0x28, 1]];
    let doubles = [0.0, -0.0, 1.5, f64::NAN, f64::INFINITY, f64::NEG_INFINITY].map(double);
    let texts =
        [field(1, b"a"), field(1, b"B"), field(1, b"\xff"), field(2, b""), field(3, b"x"), field(3, b"\xff")];
    let nested = [field(5, b""), field(6, b""), field(6, &field(1, b"")), field(5, &field(1, b""))];
    let inner = [field(2, &field(3, b"x")), field(5, &field(1, &field(1, b"k"))), field(6, b"\x08\x00")];
    let mut pieces = vec![Vec::new()];
    pieces.extend(odd.into_iter().chain(varints).chain(doubles).chain(texts).chain(nested).chain(inner));
    let mut read = 0;
    for (first, second) in pieces.iter().flat_map(|first| pieces.iter().map(move |second| (first, second))) {
        for third in pieces.iter().take(8) {
            let made = [&first[..], second, third].concat();
            // A value, one of a list, an entry, and what is in metadata.
            for part in [
                field(4, &made),
                field(4, &field(6, &field(1, &made))),
                field(5, &field(1, &made)),
                field(5, &made),
            ] {
                read += usize::from(rpc.check_wire(&field(2, &field(5, &part)))[0]);
            }
            rpc.check_wire(&field(2, &field(5, &made)));
            rpc.check_wire(&made);
        }
    }
    assert!(read > 500, "{read}");
    let time = Rpc::named("ListTasks").expect("a method");
    for made in pieces.iter().flat_map(|first| pieces.iter().map(move |second| [&first[..], second].concat()))
    {
        time.check_wire(&field(7, &made));
        time.check_wire(&made);
    }
}
