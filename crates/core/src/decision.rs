//! What is answered, as data: the outcome, the policies that decided, and the attribute values they saw.

use std::sync::Arc;

use crate::refusal::{Code, Refusal};

/// The outcome of a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    Allow,
    Deny,
}

impl Outcome {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        }
    }
}

/// One attribute value that a deciding policy looked at: `("principal.risk_level", "low")`.
pub type Fact = (Arc<str>, Arc<str>);

/// A decision. Only [`crate::snapshot::Snapshot::decide`] (and limits in this crate) can make one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    pub(crate) outcome: Outcome,
    /// `None` when allowed.
    pub(crate) code: Option<Code>,
    /// On allow: every satisfied permit. On a forbid: every satisfied forbid. On an error: the policies that failed.
    pub(crate) policies: Arc<[Arc<str>]>,
    /// On a denial by default: permits whose scope fits and whose conditions do not hold, at most 8.
    pub(crate) near: Arc<[Arc<str>]>,
    /// What the policies above looked at, sorted by name.
    pub(crate) facts: Arc<[Fact]>,
    /// `@reason("…")` of a forbid that refused: public words of the policy's author.
    pub(crate) reason: Option<Arc<str>>,
}

/// The right to forward one call. Only an allowing [`Decision`] gives one.
#[derive(Debug)]
pub struct Permit(());

impl Decision {
    pub fn outcome(&self) -> Outcome {
        self.outcome
    }

    pub fn allowed(&self) -> bool {
        self.outcome == Outcome::Allow
    }

    pub fn code(&self) -> Option<Code> {
        self.code
    }

    pub fn policies(&self) -> &[Arc<str>] {
        &self.policies
    }

    pub fn near(&self) -> &[Arc<str>] {
        &self.near
    }

    pub fn facts(&self) -> &[Fact] {
        &self.facts
    }

    /// What the author of a refusing policy wants the caller to read (`@reason("…")`).
    pub fn reason(&self) -> Option<&Arc<str>> {
        self.reason.as_ref()
    }

    /// The permit, or the refusal in public words.
    pub fn permit(&self) -> Result<Permit, Refusal> {
        let code = match (self.outcome, self.code) {
            (Outcome::Allow, None) => return Ok(Permit(())),
            (_, code) => code.unwrap_or(Code::NoPermit),
        };
        let (message, policies) = match code {
            Code::NoPermit if self.near.is_empty() => ("no policy permits this call".to_owned(), Vec::new()),
            Code::NoPermit => (
                format!(
                    "no policy permits this call; nearest: {}, with {}",
                    self.near.join(", "),
                    self.facts_text()
                ),
                self.near.to_vec(),
            ),
            Code::PolicyError => {
                (format!("a policy failed to evaluate: {}", self.policies.join(", ")), self.policies.to_vec())
            }
            _ if self.reason.is_some() => (
                format!(
                    "refused by {}: {}",
                    self.policies.join(", "),
                    self.reason.as_deref().unwrap_or_default()
                ),
                self.policies.to_vec(),
            ),
            _ => (
                format!("refused by {} on {}", self.policies.join(", "), self.facts_text()),
                self.policies.to_vec(),
            ),
        };
        Err(Refusal { code, message: message.into(), policies, detail: None, allow: None, proven: None })
    }

    fn facts_text(&self) -> String {
        let parts: Vec<_> = self.facts.iter().map(|(name, value)| format!("{name} = {value}")).collect();
        if parts.is_empty() { "no attribute".to_owned() } else { parts.join(", ") }
    }
}
