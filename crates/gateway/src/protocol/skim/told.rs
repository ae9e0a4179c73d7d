//! What a model's answer says of itself, for the gateway's span of its call.

use super::Skimmer;
use super::name::Name;

/// The most choices of which it is told why they ended.
const MOST: usize = 16;

/// As far as it was read; texts too long to be compared with anything are not there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// The answer's id.
    pub id: Option<Box<str>>,
    /// The model that answers, by its own word.
    pub model: Option<Box<str>>,
    /// Why it ended, for each choice that did.
    pub finish_reasons: Vec<Box<str>>,
}

/// Which of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Of {
    Id,
    Model,
    FinishReason,
}

impl Told {
    /// It says this, as a text of JSON. What is said first counts.
    pub(super) fn says(&mut self, of: Of, json: &[u8]) {
        let text = serde_json::from_slice::<Box<str>>(json).ok().filter(|text| !text.is_empty());
        let Some(text) = text else { return };
        match of {
            Of::Id => self.id = self.id.take().or(Some(text)),
            Of::Model => self.model = self.model.take().or(Some(text)),
            Of::FinishReason if self.finish_reasons.len() < MOST => self.finish_reasons.push(text),
            Of::FinishReason => {}
        }
    }
}

impl Skimmer {
    /// What a model says of its answer, in the texts so far, where it is wanted.
    pub fn told(&mut self) -> &mut Option<Box<Told>> {
        &mut self.told
    }

    /// What of a model's answer the text of the member being read is.
    fn tells(&self) -> Option<Of> {
        match (self.depth_in_message(), self.levels.map(|level| level.name)) {
            (1, [Name::Id | Name::AnswerId, ..]) | (2, [Name::Message, Name::Id, ..]) => Some(Of::Id),
            (1, [Name::Model, ..]) | (2, [Name::Message, Name::Model, ..]) => Some(Of::Model),
            (1, [Name::StopReason | Name::WhyStopped, ..]) | (2, [Name::Delta, Name::WhyStopped, ..]) => {
                Some(Of::FinishReason)
            }
            (3, [_, _, Name::FinishReason, _]) if self.is_in_choices() => Some(Of::FinishReason),
            _ => None,
        }
    }

    /// Whether the text of the member being read is told.
    pub(super) fn is_told(&self) -> bool {
        self.told.is_some() && self.tells().is_some()
    }

    /// The text that was read is told, where it is something of that.
    pub(super) fn tell(&mut self) {
        let of = if self.told.is_some() { self.tells() } else { None };
        if let (Some(of), Some(told)) = (of, &mut self.told) {
            told.says(of, &self.word);
        }
    }
}
