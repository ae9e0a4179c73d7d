//! The second effect of a call that waited for an answer of its client (ADR 81).

use super::EffectRecord;

impl EffectRecord<'_> {
    /// `detail` of the effect by which a call ended whose answer had ended before: it asked its client for something, and was taken back while it waited.
    pub const WAITED: &'static str = "it waited for an answer of its client, and is cancelled at the server";

    /// Whether the call has an effect beside this one, which says how its answer ended. Every other call has one.
    pub fn is_second(&self) -> bool {
        let Self { status, bytes_in, .. } = *self;
        self.result == "failed"
            && (status, bytes_in) == (0, 0)
            && self.detail.as_deref() == Some(Self::WAITED)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::{Kept, Record};
    use super::*;

    #[test]
    fn a_second_effect_is_what_the_gateway_says_by_itself() {
        for (bytes_in, status, result, detail, expected) in [
            (0, 0, "failed", EffectRecord::WAITED, true),
            (0, 0, "failed", "another", false),
            // Somebody's words may be in the detail of any other.
            (9, 0, "failed", EffectRecord::WAITED, false),
            (0, 500, "failed", EffectRecord::WAITED, false),
            (0, 0, "error", EffectRecord::WAITED, false),
        ] {
            let effect = json!({"kind": "effect", "version": 1, "id": "c", "decision": 1, "result": result, "status": status,
                "bytes_in": bytes_in, "bytes_out": 0, "duration_us": 3, "detail": detail, "time": "2026-11-27T12:00:00.000000Z"});
            let Ok(Record::Effect(effect)) = Kept::read(effect.to_string().as_bytes()) else {
                panic!("an effect: {effect}")
            };
            assert_eq!(effect.is_second(), expected, "{effect:?}");
        }
    }
}
