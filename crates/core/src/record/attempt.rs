//! One try of a call that several providers may answer.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::refusal::Code;

/// The longest name of a model in a record of a try, in bytes: the room for the record of a call's end is bounded.
const LONGEST: usize = 200;

/// One try.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Attempt {
    /// Stable code where no answer of the provider's came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<Cow<'static, str>>,
    /// Until its answer began, or until it was given up, microseconds.
    pub duration_us: u64,
    /// `namespace/provider/model`, of which the first 200 bytes are kept.
    pub model: String,
    /// HTTP status of the provider; 0 when there was none.
    pub status: u16,
}

impl Attempt {
    /// A try of this model that is not over.
    pub fn of(model: &str) -> Self {
        let mut model: String =
            model.chars().filter(|c| c.is_ascii_graphic() && !matches!(c, '"' | '\\')).collect();
        model.truncate(LONGEST);
        Self { code: None, duration_us: 0, model, status: 0 }
    }

    /// Whether the provider got the call, or may have: it answered, or nothing came in time or before the connection broke.
    pub fn was_sent(&self) -> bool {
        const MAY_HAVE: [Code; 2] = [Code::UpstreamTimeout, Code::UpstreamInterrupted];
        self.status != 0
            || self.code.as_deref().is_some_and(|code| MAY_HAVE.iter().any(|one| one.as_str() == code))
    }
}
