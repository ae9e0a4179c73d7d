//! The calls that a policy permits, each by what it does.

use std::collections::BTreeSet;

use super::problem::{At, Fault, Problems};

/// The most steps of one plan.
pub const MAX_STEPS: usize = 256;

/// The digests of the calls that a plan consists of ([`crate::call::step_digest`]). Nothing is said of their order, nor of how often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan(BTreeSet<Box<str>>);

impl Plan {
    /// What of it is a plan; what is not is reported. An empty one permits nothing.
    pub(super) fn check(steps: &[String], at: At<'_>, problems: &mut Problems) -> Self {
        if steps.is_empty() || steps.len() > MAX_STEPS {
            let fault = Fault::new(
                "a plan has 1 to 256 steps",
                "write the digests that `vidimus policy plan` prints, or leave it out; divide a longer one into several policies",
            );
            problems.report(at, &steps.len().to_string(), fault);
        }
        for (index, step) in steps.iter().enumerate().filter(|(_, step)| !is_digest(step)) {
            let fault = Fault::new(
                "not the digest of a step",
                "write sha256: and 64 digits in lower case, as `vidimus policy plan` prints it",
            );
            problems.report(at.index(index), step, fault);
        }
        Self(steps.iter().map(|step| step.as_str().into()).collect())
    }

    /// As a condition in Cedar.
    pub(crate) fn condition(&self) -> String {
        let steps: Vec<String> = self.0.iter().map(|step| format!("{step:?}")).collect();
        format!("[{}].contains(context.call_digest)", steps.join(", "))
    }
}

/// Whether a text is `sha256:` and 64 digits in lower case.
pub(super) fn is_digest(text: &str) -> bool {
    let digits = text.strip_prefix("sha256:").unwrap_or_default();
    digits.len() == 64 && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}
