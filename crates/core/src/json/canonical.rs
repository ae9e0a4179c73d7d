//! Canonical JSON (RFC 8785): one text for each value, so that a digest of it stands for the value.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt::Write as _;

use super::Json;

impl Json<'_> {
    /// The canonical text: members sorted, no white space, numbers as ECMAScript writes them.
    ///
    /// RFC 8785 knows the numbers that a double holds. A whole number that no double holds, which is one beyond 2^53, would get
    /// the text of its neighbour; it is written in full with `.0` behind it instead, which is the text of no double. What the
    /// parser has rounded already (fractions, whole numbers from 2^64 on) stays rounded.
    pub fn canonical(&self) -> String {
        let mut text = String::new();
        write_value(self, &mut text);
        text
    }
}

/// The order of members: by UTF-16 code units (section 3.2.3), which differs from that of UTF-8 above U+FFFF.
pub(crate) fn utf16_order(a: &str, b: &str) -> Ordering {
    if a.is_ascii() && b.is_ascii() { a.cmp(b) } else { a.encode_utf16().cmp(b.encode_utf16()) }
}

fn write_value(json: &Json<'_>, out: &mut String) {
    match json {
        Json::Null => out.push_str("null"),
        Json::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Json::Int(value) => write_whole(i128::from(*value), out),
        Json::UInt(value) => write_whole(i128::from(*value), out),
        Json::Float(value) => write_double(*value, out),
        Json::String(text) => write_string(text, out),
        Json::Array(items) => {
            out.push('[');
            for (place, item) in items.iter().enumerate() {
                if place > 0 {
                    out.push(',');
                }
                write_value(item, out);
            }
            out.push(']');
        }
        Json::Object(members) => write_object(members, out),
    }
}

fn write_object(members: &[(Cow<'_, str>, Json<'_>)], out: &mut String) {
    let mut sorted: Vec<_> = members.iter().collect();
    sorted.sort_unstable_by(|(a, _), (b, _)| utf16_order(a, b));
    out.push('{');
    for (place, (name, value)) in sorted.into_iter().enumerate() {
        if place > 0 {
            out.push(',');
        }
        write_string(name, out);
        out.push(':');
        write_value(value, out);
    }
    out.push('}');
}

/// Section 3.2.2.2. Everything but the two delimiters and the control characters stands for itself.
fn write_string(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\u{c}' => out.push_str("\\f"),
            '\r' => out.push_str("\\r"),
            // Writing to a string does not fail.
            c if c < ' ' => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

fn write_whole(value: i128, out: &mut String) {
    match exact_double(value) {
        Some(double) => write_double(double, out),
        // Writing to a string does not fail.
        None => {
            let _ = write!(out, "{value}.0");
        }
    }
}

/// The double that is this whole number of at most 64 bits; `None` where only its neighbours are doubles.
pub(crate) fn exact_double(value: i128) -> Option<f64> {
    #[expect(clippy::cast_precision_loss, reason = "whether precision is lost is the question")]
    let double = value as f64;
    #[expect(clippy::cast_possible_truncation, reason = "whole, and at most 2^64 as the value is")]
    let same = double as i128 == value;
    same.then_some(double)
}

/// The text of a whole number: that of RFC 8785, or all digits where no double is the number.
pub(crate) fn whole_text(value: i128) -> String {
    /// Up to here a double's text is that of the whole number, and every whole number has one.
    const EXACT: u128 = 1 << 53;
    match exact_double(value).filter(|_| value.unsigned_abs() > EXACT) {
        Some(double) => double_text(double),
        None => value.to_string(),
    }
}

/// The text of a double (section 3.2.2.3).
pub(crate) fn double_text(value: f64) -> String {
    ryu_js::Buffer::new().format_finite(value).to_owned()
}

/// Section 3.2.2.3. JSON has no other doubles than the finite ones.
fn write_double(value: f64, out: &mut String) {
    out.push_str(ryu_js::Buffer::new().format_finite(value));
}
