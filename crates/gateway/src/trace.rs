//! W3C Trace Context (Recommendation, 2021-11-23): every hop continues the caller's trace, or starts one.

use data_encoding::HEXLOWER;
use http::HeaderName;

/// The header in which it travels.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The ids of the gateway's own span on one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    pub trace_id: u128,
    /// The gateway's span.
    pub span_id: u64,
    /// The caller's span; 0 when it sent none.
    pub parent_id: u64,
    /// Trace flags; bit 0 is `sampled`.
    pub flags: u8,
}

impl TraceContext {
    /// Continues `traceparent`, or starts a trace when there is none or it is malformed (section 4.3).
    pub fn from_header(traceparent: Option<&str>) -> Self {
        let (trace_id, parent_id, flags) =
            traceparent.and_then(parse).unwrap_or_else(|| (rand::random::<u128>() | 1, 0, 1));
        Self { trace_id, span_id: rand::random::<u64>() | 1, parent_id, flags }
    }

    /// The trace, where its caller did not say that it is not kept.
    pub fn sampled(&self) -> Option<u128> {
        (self.flags & 1 == 1).then_some(self.trace_id)
    }

    /// The caller's span, as records have it; `None` where it sent none.
    pub fn parent(&self) -> Option<String> {
        (self.parent_id != 0).then(|| format!("{:016x}", self.parent_id))
    }

    /// The `traceparent` to send on.
    pub fn header(&self) -> String {
        let mut text = String::with_capacity(55);
        text.push_str("00-");
        self.push_ids(&mut text);
        text.push('-');
        HEXLOWER.encode_append(&[self.flags], &mut text);
        text
    }

    /// Trace id and span id, as records have them.
    pub fn ids(&self) -> String {
        let mut text = String::with_capacity(49);
        self.push_ids(&mut text);
        text
    }

    fn push_ids(&self, text: &mut String) {
        HEXLOWER.encode_append(&self.trace_id.to_be_bytes(), text);
        text.push('-');
        HEXLOWER.encode_append(&self.span_id.to_be_bytes(), text);
    }
}

/// `version "-" trace-id "-" parent-id "-" flags`, lower-case hex; a higher version may have more fields behind.
fn parse(header: &str) -> Option<(u128, u64, u8)> {
    let mut fields = header.split('-');
    let version = hex(fields.next()?, 2)?;
    let trace_id = hex(fields.next()?, 32)?;
    let parent_id = hex(fields.next()?, 16)?;
    let flags = hex(fields.next()?, 2)?;
    let valid =
        version != 0xff && trace_id != 0 && parent_id != 0 && (version > 0 || fields.next().is_none());
    valid.then_some((trace_id, u64::try_from(parent_id).ok()?, u8::try_from(flags).ok()?))
}

fn hex(field: &str, length: usize) -> Option<u128> {
    let lower = field.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    if field.len() == length && lower { u128::from_str_radix(field, 16).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_valid_parent_is_continued_and_anything_else_starts_a_trace() {
        let given = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let context = TraceContext::from_header(Some(given));
        assert_eq!(context.trace_id, 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736);
        assert_eq!(context.parent_id, 0x00f0_67aa_0ba9_02b7);
        let ids = format!("4bf92f3577b34da6a3ce929d0e0e4736-{:016x}", context.span_id);
        assert_eq!((context.header(), context.ids()), (format!("00-{ids}-01"), ids));
        assert_ne!(context.span_id, context.parent_id);
        for bad in [
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-extra",
        ] {
            assert_eq!(TraceContext::from_header(Some(bad)).parent_id, 0, "{bad}");
        }
    }
}
