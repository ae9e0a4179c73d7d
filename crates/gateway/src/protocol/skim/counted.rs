//! The tokens that one object says were used, in the members of any API.

use super::name::Name;
use crate::protocol::observe::Usage;

/// What has been said of them. Names of several APIs may stand in one object; where they differ, nobody is to be charged too little.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counted {
    /// Of the question, all of them.
    question: Option<u64>,
    /// Of the question, without those that the provider read from what it keeps, and those that it keeps from now on.
    fresh: Option<u64>,
    kept_read: Option<u64>,
    kept_written: Option<u64>,
    /// Of the question, and in none of the others.
    question_beside: Option<u64>,
    answer: Option<u64>,
    answer_beside: Option<u64>,
    /// Of the question, and of the answer, some.
    cached: Option<u64>,
    reasoning: Option<u64>,
}

impl Counted {
    /// A member of the object, which is this scalar; `None` of what is none.
    pub fn add(&mut self, member: Name, scalar: Option<&[u8]>) {
        let counted = match member {
            Name::Question => &mut self.question,
            Name::Fresh => &mut self.fresh,
            Name::KeptRead => &mut self.kept_read,
            Name::KeptWritten => &mut self.kept_written,
            Name::QuestionBeside => &mut self.question_beside,
            Name::Answer => &mut self.answer,
            Name::AnswerBeside => &mut self.answer_beside,
            Name::Cached => &mut self.cached,
            Name::Reasoning => &mut self.reasoning,
            _ => return,
        };
        let number = scalar.and_then(|text| std::str::from_utf8(text).ok()).and_then(number);
        *counted = (*counted).max(number);
    }

    /// What they come to. What is kept counts beside what is fresh alone: where all of the question is counted, it is some of that (LiteLLM).
    pub fn usage(self) -> Usage {
        let kept = both(self.kept_read, self.kept_written).unwrap_or_default();
        let question = self.question.max(self.fresh.map(|fresh| fresh.saturating_add(kept)));
        Usage {
            input: both(question, self.question_beside),
            output: both(self.answer, self.answer_beside),
            cached: self.kept_read.max(self.cached),
            cache_written: self.kept_written,
            // What Gemini tells apart is what its model thought.
            reasoning: self.reasoning.max(self.answer_beside),
        }
    }
}

/// As many as both; `None` where neither is said.
fn both(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    match (one, other) {
        (None, None) => None,
        (one, other) => Some(one.unwrap_or_default().saturating_add(other.unwrap_or_default())),
    }
}

/// A number of tokens, however JSON writes it: `1000`, `1000.0` and `1e3` are the same.
fn number(text: &str) -> Option<u64> {
    let as_double = || {
        let number: f64 = text.parse().ok()?;
        // From here on a double is no count.
        ((0.0..9e15).contains(&number) && number.fract() == 0.0).then_some(number as u64)
    };
    text.parse().ok().or_else(as_double)
}
