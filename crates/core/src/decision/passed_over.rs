//! Why a provider that a failover names may not answer a call: found with the decision, and told where nobody answers.

use std::fmt;
use std::sync::Arc;

use crate::refusal::Code;

/// A provider that does not answer a call in another's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PassedOver {
    /// `namespace/name`.
    pub provider: Arc<str>,
    /// Why it does not.
    pub why: Why,
}

/// Why a provider may not answer a call in another's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// There is none of this name.
    Unregistered,
    /// It has no model, and no alias, of the name of the model that is called.
    NoModel(Arc<str>),
    /// Nor has it, and the caller may call none of its models.
    Unseen(Arc<str>),
    /// Policies do not let the caller call its model, or hold the call.
    Decided(Code),
    /// They let the call be made, and something else is changed, kept, counted or tried of it.
    Otherwise,
    /// It does other things with information.
    Labels,
    /// It costs more than was reserved, and spending is counted.
    Dearer,
    /// It would be permitted, or the one called is, by a grant of which a call takes a use.
    Grant,
    /// The caller may reach only so many destinations in its chain.
    FewDestinations,
}

impl PassedOver {
    /// Whether its name, and what it has, is the caller's to know: what policies keep from it is for who operates.
    pub const fn is_told(&self) -> bool {
        !matches!(self.why, Why::Decided(_) | Why::Unseen(_))
    }
}

/// As it stands in records: the name, and why.
impl fmt::Display for PassedOver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.provider, self.why)
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unregistered => f.write_str("no LLMProvider of this name is registered"),
            Self::NoModel(name) => write!(f, "it has no model or alias {:?}", &**name),
            Self::Unseen(name) => {
                write!(
                    f,
                    "it has no model or alias {:?}, and the caller may call none of its models",
                    &**name
                )
            }
            Self::Decided(code) => write!(f, "policies do not let the caller call it ({})", code.as_str()),
            Self::Otherwise => f.write_str("policies demand something else of a call of it"),
            Self::Labels => f.write_str("its labels are other ones"),
            Self::Dearer => f.write_str("it may cost more than was reserved, and spending is counted"),
            Self::Grant => f.write_str("a grant permits one call of one model"),
            Self::FewDestinations => {
                f.write_str("the caller may reach only so many destinations (spec.delegation.maxFanOut)")
            }
        }
    }
}
