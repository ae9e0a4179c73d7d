//! What a policy comes to on a call of which only the record is known.

use super::{Condition, Residual};
use crate::decide::deciding::Deciding;
use crate::decide::facts::ContextReference;
use crate::decide::plain;
use crate::decide::residual::Expression;
use crate::decide::residual::evaluate::Failed;
use crate::decide::residual::possible::Possible;
use crate::recorded::Recorded;

impl Residual {
    /// The outcome as far as the record of the call says it, and otherwise one that is assumed. Policies are checked to look at nothing
    /// that may be missing before they have asked for it, so what lacks is not taken to make them fail.
    pub(super) fn foreseen(&self, call: &Deciding<'_>, recorded: &Recorded) -> Result<bool, Failed> {
        let beyond = |expression: &Expression| expression.is_beyond(recorded);
        match &self.condition {
            Condition::Native(expression) => match expression.possible_where(call, &beyond) {
                Possible::ANY => Ok(self.assumed(recorded)),
                Possible { holds: true, .. } => Ok(true),
                Possible { fails_to_hold: true, .. } => Ok(false),
                Possible { .. } => Err(Failed::Evaluation),
            },
            Condition::Cedar { policy, entities, asked, .. } => {
                let lacks = self.references.iter().any(|reference| reference.is_beyond(recorded));
                if lacks || !asked.is_empty() {
                    Ok(self.assumed(recorded))
                } else {
                    plain::holds(policy, entities, call)
                }
            }
            // Who acted is in the record.
            Condition::Acted(agents) => Ok(self.acted(call, agents)),
        }
    }

    fn assumed(&self, recorded: &Recorded) -> bool {
        let lacks = self.references.iter().filter(|reference| reference.is_beyond(recorded));
        recorded.assume(&self.id, lacks.map(ContextReference::name))
    }

    /// The outcomes that some arguments could lead to. What else its record lacks is one thing or the other.
    pub(super) fn possible_of(&self, call: &Deciding<'_>, recorded: &Recorded) -> Possible {
        match &self.condition {
            Condition::Native(expression) => {
                let unknown = |part: &Expression| part.on_arguments() || part.is_beyond(recorded);
                let lacks =
                    |reference: &&ContextReference| !reference.is_argument() && reference.is_beyond(recorded);
                match (expression.possible_where(call, &unknown), self.references.iter().find(lacks)) {
                    (Possible::ANY, Some(_)) => Possible::only(Ok(self.assumed(recorded))),
                    (possible, _) => possible,
                }
            }
            Condition::Cedar { on_arguments: true, .. } => Possible::ANY,
            Condition::Cedar { .. } | Condition::Acted(_) => Possible::only(self.foreseen(call, recorded)),
        }
    }
}
