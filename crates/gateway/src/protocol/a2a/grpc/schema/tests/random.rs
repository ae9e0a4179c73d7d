//! Messages of the schema and what is nearly one, at random.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use prost::encoding::{WireType, encode_key, encode_varint};
use prost_reflect::{Cardinality, FieldDescriptor, Kind, MessageDescriptor, OneofDescriptor};
use serde_json::{Value, json};

/// Below this there are no more fields.
const DEEPEST: u8 = 9;

/// What a message is made by; at its end the first of all there is.
pub struct Choices<'c> {
    pub left: &'c [u8],
    /// Of 256 choices, how many are odd: of none comes what programs write.
    pub odd: u8,
}

impl Choices<'_> {
    fn next(&mut self) -> usize {
        let Some((first, rest)) = self.left.split_first() else { return 0 };
        self.left = rest;
        usize::from(*first)
    }

    fn of<T: Clone>(&mut self, all: &[T]) -> T {
        all[self.next() % all.len()].clone()
    }

    fn is_odd(&mut self) -> bool {
        self.odd > 0 && self.next() >= 256 - usize::from(self.odd)
    }

    fn text(&mut self) -> String {
        let all = ["", "t", super::super::checked::OWN, "é\n", "a\"\\/\u{1}\u{7f}", "😀 \u{2028}", "NaN"];
        if self.next() % 8 == 7 { "0123456789".repeat(self.next()) } else { self.of(&all).to_owned() }
    }

    fn skips(&mut self, levels: u8) -> bool {
        self.left.is_empty() || levels == 0 || self.next().is_multiple_of(2)
    }
}

/// Whether a field is in a message: of a oneof nearly always one alone.
fn is_chosen(
    field: &FieldDescriptor,
    oneofs: &mut Vec<OneofDescriptor>,
    c: &mut Choices<'_>,
    levels: u8,
) -> bool {
    if c.skips(levels) {
        return false;
    }
    let Some(oneof) = field.containing_oneof().filter(|_| !c.is_odd()) else { return true };
    let is_first = !oneofs.contains(&oneof);
    oneofs.extend(is_first.then_some(oneof));
    is_first
}

/// A message, as JSON says it.
pub fn json(of: &MessageDescriptor, c: &mut Choices<'_>) -> String {
    object(of, c, DEEPEST)
}

fn object(of: &MessageDescriptor, c: &mut Choices<'_>, levels: u8) -> String {
    match of.full_name() {
        "google.protobuf.Struct" => return structure(c, levels),
        "google.protobuf.Value" => return any(c, levels),
        "google.protobuf.Timestamp" => return time(c),
        _ => {}
    }
    let (mut members, mut oneofs) = (Vec::new(), Vec::new());
    let mut fields: Vec<_> = of.fields().collect();
    if c.next() % 2 == 1 {
        fields.reverse();
    }
    for field in fields {
        if !is_chosen(&field, &mut oneofs, c, levels) {
            continue;
        }
        let name = if c.next() % 4 == 3 { field.name() } else { field.json_name() };
        for _ in 0..if c.is_odd() { 2 } else { 1 } {
            let said = if c.is_odd() {
                c.of(&["null", "[]", "{}", "7", "\"x\"", "[null]"]).to_owned()
            } else {
                member(&field, c, levels)
            };
            members.push(format!("{}:{said}", json!(name)));
        }
    }
    if c.is_odd() {
        members.push(format!("\"more\":{}", any(c, levels)));
    }
    format!("{{{}}}", members.join(if c.next() % 4 == 3 { " ,\n" } else { "," }))
}

fn member(field: &FieldDescriptor, c: &mut Choices<'_>, levels: u8) -> String {
    let levels = levels.saturating_sub(1);
    let count = c.next() % 3;
    if field.is_map() {
        let Kind::Message(entry) = field.kind() else { panic!("{field:?}") };
        let value = entry.map_entry_value_field();
        let entry = |at: usize, c: &mut Choices<'_>| {
            let name = if c.is_odd() { c.text() } else { format!("K{at}") };
            format!("{}:{}", json!(name), scalar(&value, c, levels))
        };
        return format!("{{{}}}", (0..count).map(|at| entry(at, c)).collect::<Vec<_>>().join(","));
    }
    if field.is_list() {
        return format!("[{}]", (0..count).map(|_| scalar(field, c, levels)).collect::<Vec<_>>().join(","));
    }
    scalar(field, c, levels)
}

fn scalar(field: &FieldDescriptor, c: &mut Choices<'_>, levels: u8) -> String {
    let is_odd = c.is_odd();
    match field.kind() {
        Kind::String => json!(c.text()).to_string(),
        Kind::Bytes if is_odd => json!(c.of(&["_-8", "_-8=", "AP8", "AP9=", "a", "%"])).to_string(),
        Kind::Bytes => {
            json!(BASE64_STANDARD.encode(c.left.get(..c.left.len().min(3)).unwrap_or_default())).to_string()
        }
        Kind::Bool => c.of(&["false", "true"]).to_owned(),
        Kind::Int32 if is_odd => {
            c.of(&["\"7\"", "7.0", "1e3", "2147483648", "-2147483649", "0.5", "-0"]).to_owned()
        }
        Kind::Int32 => c.of(&["0", "1", "-1", "2147483647", "-2147483648"]).to_owned(),
        Kind::Enum(_) if is_odd => c.of(&["99", "-1", "\"NEW\"", "1.0", "0", "2147483648"]).to_owned(),
        Kind::Enum(of) => {
            let names: Vec<_> = of.values().map(|value| value.name().to_owned()).collect();
            json!(c.of(&names)).to_string()
        }
        Kind::Message(of) => object(&of, c, levels),
        kind => panic!("{kind:?}"),
    }
}

fn structure(c: &mut Choices<'_>, levels: u8) -> String {
    let count = if levels == 0 { 0 } else { c.next() % 4 };
    let mut names = ["B", "a", "é", "c"];
    if c.is_odd() {
        names = ["a", "", "a", "b"];
    }
    let members: Vec<_> =
        names[..count].iter().map(|name| format!("{}:{}", json!(name), any(c, levels - 1))).collect();
    format!("{{{}}}", members.join(","))
}

fn any(c: &mut Choices<'_>, levels: u8) -> String {
    match c.next() % 6 {
        0 => c.of(&["null", "true", "false"]).to_owned(),
        1 => c
            .of(&[
                "0",
                "-0",
                "1.5",
                "-1",
                "1e300",
                "0.1",
                "18446744073709551615",
                "-9223372036854775808",
                "7e-1",
            ])
            .to_owned(),
        2 if c.is_odd() => "1e999".to_owned(),
        3 if levels > 0 => structure(c, levels),
        4 if levels > 0 => {
            let count = c.next() % 3;
            format!("[{}]", (0..count).map(|_| any(c, levels - 1)).collect::<Vec<_>>().join(","))
        }
        _ => json!(c.text()).to_string(),
    }
}

/// Times as programs write them.
pub const TIMES: [&str; 7] = [
    "2026-01-02T03:04:05Z",
    "2026-08-01T09:30:00.000Z",
    "1970-01-01T00:00:00.5Z",
    "1969-12-31T23:59:59.123456789Z",
    "0001-01-01T00:00:00Z",
    "9999-12-31T23:59:59.999999999Z",
    "2016-12-31T23:59:60Z",
];
/// And as few do, or none.
pub const ODD: [&str; 10] = [
    "2026-01-02T03:04:05+01:00",
    "0000-01-01T00:00:00Z",
    "2026-02-30T00:00:00Z",
    "2026-01-02T03:04:05",
    "2026-01-02T03:04:05.Z",
    "2026-01-02t03:04:05Z",
    "2026-01-02T24:04:05Z",
    "2026-01-02T03:04:05.1234567891Z",
    "20260102T030405Z",
    "",
];

fn time(c: &mut Choices<'_>) -> String {
    Value::from(if c.is_odd() { c.of(&ODD) } else { c.of(&TIMES) }).to_string()
}

/// A message, as protobuf says it: nearly always of the schema, and often in an order or a number of times that no program writes.
pub fn wire(of: &MessageDescriptor, c: &mut Choices<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    fields(of, c, 24, &mut out);
    out
}

fn fields(of: &MessageDescriptor, c: &mut Choices<'_>, levels: u8, out: &mut Vec<u8>) {
    let mut all: Vec<_> = of.fields().collect();
    if c.is_odd() {
        all.reverse();
    }
    let mut oneofs = Vec::new();
    for field in all {
        if !is_chosen(&field, &mut oneofs, c, levels) {
            continue;
        }
        let many = field.cardinality() == Cardinality::Repeated;
        for _ in 0..if many || c.is_odd() { c.next() % 3 } else { 1 } {
            one(&field, c, levels - 1, out);
        }
        if c.is_odd() {
            let number = c.of(&[19_u32, 1, 2, 999]);
            let kind = c.of(&[
                WireType::Varint,
                WireType::LengthDelimited,
                WireType::ThirtyTwoBit,
                WireType::StartGroup,
            ]);
            encode_key(number, kind, out);
            out.extend_from_slice(c.of(&[&b"\x00"[..], b"\x01x", b"\x80\x00", b"", b"\x00\x00\x00\x00"]));
        }
    }
}

fn one(field: &FieldDescriptor, c: &mut Choices<'_>, levels: u8, out: &mut Vec<u8>) {
    let inside = match field.kind() {
        Kind::Message(of) => {
            let mut inside = Vec::new();
            fields(&of, c, levels, &mut inside);
            inside
        }
        Kind::String if c.is_odd() => vec![0xff],
        Kind::String | Kind::Bytes => c.text().into_bytes(),
        Kind::Double => {
            encode_key(field.number(), WireType::SixtyFourBit, out);
            let odd = c.of(&[f64::NAN, f64::INFINITY]);
            let number = c.of(&[0.0, -0.0, 1.5, 1e300, 14.0, 0.1]);
            return out.extend_from_slice(&if c.is_odd() { odd } else { number }.to_le_bytes());
        }
        _ => {
            encode_key(field.number(), WireType::Varint, out);
            let number = c.of(&[
                0,
                1,
                3,
                99,
                1 << 32,
                1_767_225_600,
                999_999_999,
                u64::MAX,
                (-62_135_596_801_i64).cast_unsigned(),
            ]);
            return encode_varint(number, out);
        }
    };
    encode_key(field.number(), WireType::LengthDelimited, out);
    encode_varint(inside.len() as u64, out);
    out.extend_from_slice(&inside);
}
