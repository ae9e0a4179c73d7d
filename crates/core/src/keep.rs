//! What of a call a policy has its record keep: `@keep("arguments, answer")` on a permit. It is kept sealed, under a key of the person for whom the
//! call is made, so that whoever destroys the key has destroyed the payload and nothing of the log (ADR 55).

use std::borrow::Cow;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The longest payload that is kept, in bytes. Of a longer one it is kept that there was one.
pub const MAX_KEPT: usize = 16 * 1024;

/// The longest record form of a kept payload, in bytes: [`MAX_KEPT`], a nonce and a tag in base64, and the names of its members. Room for so much more
/// is kept for the record of a call's end whose answer is kept.
pub const MAX_KEPT_RECORD: usize = (MAX_KEPT + 28).div_ceil(3) * 4 + 256;

/// What of a call is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Keep {
    /// What the call says: its arguments and what stands beside them.
    pub arguments: bool,
    /// What the caller is answered.
    pub answer: bool,
}

impl Keep {
    /// Whether nothing is.
    pub const fn is_nothing(self) -> bool {
        !self.arguments && !self.answer
    }

    /// What either keeps.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self { arguments: self.arguments || other.arguments, answer: self.answer || other.answer }
    }

    /// Whether it keeps all that the other does.
    pub const fn has(self, other: Self) -> bool {
        (self.arguments || !other.arguments) && (self.answer || !other.answer)
    }
}

/// Which payload of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PayloadOf {
    /// In the record of the decision.
    Arguments,
    /// In the record of the effect.
    Answer,
}

impl PayloadOf {
    /// As in the annotation.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Arguments => "arguments",
            Self::Answer => "answer",
        }
    }
}

impl fmt::Display for PayloadOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A kept payload as it stands in a record: sealed, or why it is not there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KeptPayload {
    /// How long it is, in bytes.
    pub bytes: u64,
    /// The id of the key that it is sealed under.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// AES-256-GCM: nonce (12 bytes), ciphertext and tag, in base64. Of an answer that is too long, its SHA-256 is sealed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealed: Option<String>,
    /// It is longer than what is kept. Of arguments the digest of the message stands in `body`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub too_long: bool,
    /// Why it is not kept: `shredded` (the keys of the person were destroyed while the call was under way), `hidden` (what a policy redacts could
    /// not be told from the rest) or `failed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unkept: Option<Cow<'static, str>>,
}

impl KeptPayload {
    /// One that is not kept, and why.
    pub const fn unkept(why: &'static str) -> Self {
        Self { bytes: 0, key: None, sealed: None, too_long: false, unkept: Some(Cow::Borrowed(why)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_two_policies_keep_is_kept_together() {
        let of = |arguments, answer| Keep { arguments, answer };
        let all = [of(false, false), of(true, false), of(false, true), of(true, true)];
        for one in all {
            for other in all {
                let both = one.and(other);
                assert!(both.has(one) && both.has(other));
                assert_eq!(one.has(other), one.and(other) == one);
                assert_eq!(both.is_nothing(), one.is_nothing() && other.is_nothing());
            }
        }
    }

    #[test]
    fn the_longest_has_its_room() {
        let sealed = "x".repeat((MAX_KEPT + 28).div_ceil(3) * 4);
        let longest = KeptPayload {
            bytes: (1 << 53) - 1,
            key: Some("0".repeat(32)),
            sealed: Some(sealed),
            too_long: true,
            unkept: Some("shredded".into()),
        };
        let bytes = serde_json::to_vec(&longest).expect("JSON").len();
        assert!(bytes + r#""kept":,"#.len() <= MAX_KEPT_RECORD, "{bytes}");
    }
}
