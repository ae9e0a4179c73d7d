//! What policies ask of people before a call is made, and what people answer.

pub mod happened;
pub mod pending;

use std::sync::Arc;
use std::time::Duration;

use data_encoding::HEXLOWER;

use crate::caller::{UnixMillis, User};

/// An approval that a person gave, as policies see it: `context.approval`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Approval {
    /// In which role: that of the policy which asked for it.
    pub role: Arc<str>,
    /// The person; of several that were needed, the one who completed them.
    pub by: User,
    /// When it was complete.
    pub at: UnixMillis,
}

/// How long a question stands when its policy does not say.
pub const DEFAULT_LIFETIME: Duration = Duration::from_secs(3_600);

/// The longest that a question or an approval stands: 30 days.
pub const MAX_LIFETIME: Duration = Duration::from_secs(30 * 86_400);

/// The most people that a policy may ask for.
pub const MAX_QUORUM: u32 = 16;

/// Who else may approve where nobody did in time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Escalation {
    /// People of this role (`@escalation("managers")`); never the role that is asked anyway.
    pub role: Arc<str>,
    /// After so long (`@escalate_after("15m")`), which is before the question is over.
    pub after: Duration,
}

/// What a forbid that carries `@approval("role")` asks for. A call that is permitted, and refused by such forbids alone, is held.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Requirement {
    /// The id of the policy.
    pub policy: Arc<str>,
    /// Who may give the approval: the role that the policy looks for in `context.approval.role`.
    pub role: Arc<str>,
    /// How many different people have to (`@quorum("2")`); 1 to [`MAX_QUORUM`].
    pub quorum: u32,
    /// How long the question stands (`@lifetime("4h")`), and after it the answer.
    pub lifetime: Duration,
    /// How long the same call may be made again and again once it is approved (`@window("10m")`); `None` where an approval is for one
    /// call.
    pub window: Option<Duration>,
    /// Who else may approve, and after how long; `None` where nobody else ever may.
    pub escalation: Option<Escalation>,
    /// Values of the arguments that are not shown to who is asked (`@redact_shown("/ssn")`): JSON pointers, sorted; `*` is every member and
    /// every element.
    pub redact_shown: Arc<[Arc<str>]>,
    /// `@reason("…")`: public words of the policy's author.
    pub reason: Option<Arc<str>>,
    /// SHA-256 of the policy, so that an approval under another text is none under this one.
    pub digest: [u8; 32],
}

impl Requirement {
    /// The digest of the policy in hex.
    pub fn digest_text(&self) -> String {
        HEXLOWER.encode(&self.digest)
    }
}
