//! What a policy comes to on a call of which only the record is known.

use super::{Condition, Residual};
use crate::decide::deciding::Deciding;
use crate::decide::facts::ContextReference;
use crate::decide::plain;
use crate::decide::residual::Expression;
use crate::decide::residual::evaluate::Failed;
use crate::decide::residual::field::Field;
use crate::decide::residual::possible::Possible;
use crate::recorded::Recorded;

impl Residual {
    /// The outcome as far as the record of the call says it, and otherwise one that is assumed. Policies are checked to look at nothing
    /// that may be missing before they have asked for it, so what lacks is not taken to make them fail.
    pub(super) fn foreseen(&self, call: &Deciding<'_>, recorded: &Recorded) -> Result<bool, Failed> {
        match self.known(call, recorded) {
            Possible::ANY => Ok(self.assumed(recorded, "holds")),
            Possible { holds: true, .. } => Ok(true),
            Possible { fails_to_hold: true, .. } => Ok(false),
            Possible { .. } => Err(Failed::Evaluation),
        }
    }

    /// What it may come to by what the record says.
    fn known(&self, call: &Deciding<'_>, recorded: &Recorded) -> Possible {
        let beyond = |expression: &Expression| expression.is_beyond(recorded);
        let possible = match &self.condition {
            Condition::Native(expression) => expression.possible_where(call, &beyond),
            Condition::Cedar { policy, entities, asked, .. } => {
                let lacks = self.references.iter().any(|reference| reference.is_beyond(recorded));
                match lacks || !asked.is_empty() {
                    true => Possible::ANY,
                    false => Possible::only(plain::holds(policy, entities, call)),
                }
            }
            // Who acted is in the record.
            Condition::Acted(agents) => Possible::only(Ok(self.acted(call, agents))),
        };
        self.at_its_time(possible, call, recorded)
    }

    /// Within its window, where the record says when the call was made.
    fn at_its_time(&self, possible: Possible, call: &Deciding<'_>, recorded: &Recorded) -> Possible {
        match possible {
            Possible { holds: true, .. } if self.window.is_some() && recorded.lacks(Field::Now) => {
                Possible::ANY
            }
            possible => self.in_window(possible, call),
        }
    }

    fn assumed(&self, recorded: &Recorded, what: &str) -> bool {
        let lacks = self.references.iter().filter(|reference| reference.is_beyond(recorded));
        recorded.assume(&self.id, format!("{what}: {}", self.said()), lacks.map(ContextReference::name))
    }

    /// What its condition is, in words that say the same of the same condition in another configuration too. What Cedar evaluates looks at
    /// its entities as well, so it is only the same as itself.
    fn said(&self) -> String {
        let window = self.window.as_ref().map(|window| window.spec());
        let role = self.asks.as_ref().map(|asks| &asks.role);
        match &self.condition {
            Condition::Native(expression) => format!("{expression:?} in {window:?} as {role:?}"),
            Condition::Cedar { .. } | Condition::Acted(_) => format!("{} at {self:p}", self.id),
        }
    }

    /// The outcomes that some arguments could lead to. What else its record lacks is one thing or the other.
    pub(super) fn possible_of(&self, call: &Deciding<'_>, recorded: &Recorded) -> Possible {
        match &self.condition {
            Condition::Native(expression) => {
                let unknown = |part: &Expression| part.on_arguments() || part.is_beyond(recorded);
                let lacks =
                    |reference: &&ContextReference| !reference.is_argument() && reference.is_beyond(recorded);
                let possible = expression.possible_where(call, &unknown);
                let possible = self.at_its_time(possible, call, recorded);
                match (possible, self.references.iter().find(lacks)) {
                    (Possible::ANY, Some(_)) => Possible::only(Ok(self.assumed(recorded, "may hold"))),
                    (possible, _) => possible,
                }
            }
            Condition::Cedar { on_arguments: true, .. } => self.at_its_time(Possible::ANY, call, recorded),
            Condition::Cedar { .. } | Condition::Acted(_) => Possible::only(self.foreseen(call, recorded)),
        }
    }
}
