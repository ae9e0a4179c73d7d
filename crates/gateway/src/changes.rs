//! What policies demand that is changed of a call and of its answer (ADR 39), done to the bytes: where a change cannot be made for sure,
//! nothing goes on. All that is not changed stays byte for byte as it came.

mod answer;
mod beside;
mod cancelled;
mod cap;
mod pointers;
mod request;
mod screen;
mod taken_out;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use vidimus_core::json::Json;
use vidimus_core::obligation::{Change, Changed, Obligation};
use vidimus_core::refusal::{Code, Refusal};

pub use answer::{Own, Redaction, answers_redacted, bare_task};
pub use beside::{document_without_words, without_words};
pub use cancelled::{Caller, RedactedCalls};
use pointers::Pointers;
pub use screen::{Noted, Screen, Speech};
pub use taken_out::TakenOut;

/// What is called by nothing else is called by this: the arguments of a tool may be a list.
const ARGUMENTS: &str = "/params/arguments";

/// What is demanded of one call.
#[derive(Debug)]
pub struct Demands {
    /// Values of a tool's arguments that do not go on.
    arguments: Pointers,
    /// Values of a tool's arguments, or of the message to a model or an agent, of which goes on what guards find nothing in.
    found: TakenOut,
    /// The fewest tokens that a policy caps an answer at, or that a limit reserved for it.
    tokens: Option<u32>,
    /// What of the answer does not reach the caller.
    pub answer: Option<Redaction>,
    /// The guards that look at the answer.
    pub screen: Option<Screen>,
}

impl Demands {
    /// What a decision demands; `None` of nearly every one, which demands nothing. `reserved`: where a limit counts tokens, of a policy or of a record, the answer has no more than
    /// was reserved for it.
    pub fn of(obligations: &[Obligation], reserved: Option<u64>) -> Option<Self> {
        if obligations.is_empty() && reserved.is_none() {
            return None;
        }
        let (mut arguments, mut answer) = (Pointers::default(), Pointers::default());
        let mut tokens = reserved.map(|most| u32::try_from(most).unwrap_or(u32::MAX));
        let (mut found, mut guards) = (TakenOut::default(), Vec::new());
        for Obligation { change, .. } in obligations {
            match change {
                Change::RedactArgument(pointer) => arguments.add(pointer),
                Change::RedactFound(pointer, guard) => found.add(guard, (ARGUMENTS, pointer)),
                Change::RedactAnswer(pointer) => answer.add(pointer),
                Change::GuardAnswer(guard, on_finding) => guards.push((guard.clone(), *on_finding)),
                Change::CapTokens(most) => tokens = Some(tokens.map_or(*most, |least: u32| least.min(*most))),
            }
        }
        let answer = (!answer.is_empty()).then(|| Redaction::new(answer, answer::fresh_id()));
        Some(Self { arguments, found, tokens, answer, screen: Screen::of(guards) })
    }

    /// The same of a call, which its caller can cancel by the id that it has for it (JSON) also where it goes out by another.
    pub fn cancellable(
        self,
        calls: &RedactedCalls,
        caller: impl FnOnce() -> Caller,
        id: Option<Arc<str>>,
    ) -> Self {
        let answer = self.answer.map(|redaction| match id {
            Some(id) => redaction.cancellable(calls, caller(), id),
            None => redaction,
        });
        Self { answer, ..self }
    }
}

/// How much of a call was changed, counted while its answer passes.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Nothing is demanded of the call itself: it is told only where something was found.
    is_beside: bool,
    pub request: Changed,
    /// Values of the answer.
    answer: Arc<AtomicU64>,
    /// What guards found in it.
    found: Arc<Noted>,
}

impl Tally {
    /// Of a call with these demands, before anything is changed.
    pub fn of(demands: &Demands) -> Self {
        let answer = demands.answer.as_ref().map(|redaction| redaction.count.clone()).unwrap_or_default();
        let found = demands.screen.as_ref().map(|screen| screen.noted.clone()).unwrap_or_default();
        Self { answer, found, ..Self::default() }
    }

    /// Of a stream that is no call's own, with what guards find in it.
    pub fn beside(demanded: Option<Self>, found: Arc<Noted>) -> Self {
        let is_beside = demanded.is_none();
        Self { is_beside, found, ..demanded.unwrap_or_default() }
    }

    /// `None` where nothing was to be changed, and nothing was.
    pub fn so_far(&self) -> Option<Changed> {
        let (redact_answer, guard_answer) = (self.answer.load(Ordering::Relaxed), self.found.values());
        let changed = Changed { redact_answer, guard_answer, ..self.request };
        (!self.is_beside || changed != Changed::default()).then_some(changed)
    }

    /// What guards found in the answer so far, as its record says it.
    pub fn found(&self) -> Option<String> {
        self.found.said()
    }
}

/// Arguments as they are shown to people, in canonical JSON, without the values that these pointers lead to.
///
/// # Errors
/// `change_impossible` where they could not be found: nobody is shown what may be among them. Nor is anybody asked about a text that
/// would be hidden as a whole because a pointer leads into it: whoever calls could hide in it what people have to see.
pub fn shown<'p>(arguments: &Json<'_>, hidden: impl Iterator<Item = &'p str>) -> Result<String, Refusal> {
    const IN_TEXT: &str = "Give the argument as JSON instead of text that has JSON in it; or have @redact_shown of the policy name all of it.";
    let (mut pointers, text) = (Pointers::default(), arguments.canonical());
    hidden.for_each(|pointer| pointers.add(pointer));
    if pointers.is_empty() {
        return Ok(text);
    }
    let (redacted, found) = pointers
        .redacted(&text)
        .map_err(|_| unmet("what people are not to be shown could not be found in the arguments"))?;
    if found.texts > 0 {
        let message =
            "what people are not to be shown would be a part of a text, and nothing of that could be shown";
        return Err(unmet(message).with_next(IN_TEXT));
    }
    Ok(redacted.unwrap_or(text))
}

/// That a change which a policy demands could not be made.
fn unmet(message: impl Into<std::borrow::Cow<'static, str>>) -> Refusal {
    Refusal::new(Code::ChangeImpossible, message)
}
