//! How much a model is to think before it answers. OpenAI and Anthropic say it in words, Anthropic's older models and Gemini in tokens. It is a wish about
//! means: the words are matched by their rank, and the tokens by what Google has them come to ("OpenAI compatibility", "Thinking").

use serde_json::{Value, json};
use vidimus_core::refusal::Refusal;

use super::taken::{Taken, invalid, no_equivalent};

/// From nothing to all that the model has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effort {
    None,
    Minimal,
    Low,
    Medium,
    High,
    Higher,
    Most,
}

impl Effort {
    /// `what` is the member that has the word.
    ///
    /// # Errors
    /// `no_equivalent` for a word that is not known.
    pub(super) fn of(word: &str, what: &str) -> Result<Self, Refusal> {
        Ok(match word {
            "none" => Self::None,
            "minimal" => Self::Minimal,
            "low" => Self::Low,
            "medium" => Self::Medium,
            "high" => Self::High,
            "xhigh" => Self::Higher,
            "max" => Self::Most,
            other => return Err(no_equivalent(what, other)),
        })
    }

    fn of_budget(tokens: u64) -> Self {
        let lesser = [Self::None, Self::Low, Self::Medium];
        lesser.into_iter().find(|effort| tokens <= effort.budget()).unwrap_or(Self::High)
    }

    /// In OpenAI's words, of which `xhigh` is the greatest.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Minimal => "minimal",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Higher | Self::Most => "xhigh",
        }
    }

    /// In Anthropic's, of which `low` is the least. `high` is what is so without it, and models that know no effort refuse the member.
    pub(super) const fn word_of_anthropic(self) -> Option<&'static str> {
        match self {
            Self::None | Self::High => None,
            Self::Minimal | Self::Low => Some("low"),
            Self::Medium => Some("medium"),
            Self::Higher => Some("xhigh"),
            Self::Most => Some("max"),
        }
    }

    /// In tokens, as Gemini counts them: its models of before 3 know nothing else, and the later ones take it.
    pub(super) const fn budget(self) -> u64 {
        match self {
            Self::None => 0,
            Self::Minimal | Self::Low => 1_024,
            Self::Medium => 8_192,
            Self::High | Self::Higher | Self::Most => 24_576,
        }
    }
}

/// Anthropic's `thinking`. That it is off, or up to the model, is what is so without it.
///
/// # Errors
/// `no_equivalent`, `message_invalid`.
pub(super) fn of_thinking(mut thinking: Taken) -> Result<Option<Effort>, Refusal> {
    let kind = thinking.needed("type")?;
    let effort = match &*kind {
        "disabled" | "adaptive" => None,
        "enabled" => thinking.whole("budget_tokens")?.map(Effort::of_budget),
        _ => return Err(no_equivalent("thinking", &kind)),
    };
    // Whether the caller is shown them: there are none to be shown.
    thinking.pass_over("display");
    thinking.done()?;
    Ok(effort)
}

/// Gemini's `thinkingConfig`.
///
/// # Errors
/// `no_equivalent`, `message_invalid`.
pub(super) fn of_config(mut config: Taken) -> Result<Option<Effort>, Refusal> {
    // They are told where there are any ("Thinking", "Thought summaries").
    config.flag("includeThoughts")?;
    let budget = config.take("thinkingBudget");
    let level = config.text("thinkingLevel")?;
    config.done()?;
    match (level.as_deref(), budget) {
        (None | Some("THINKING_LEVEL_UNSPECIFIED"), None) => Ok(None),
        (Some(level), None) => Effort::of(&level.to_ascii_lowercase(), "thinkingLevel").map(Some),
        // As many as the model likes.
        (None, Some(tokens)) if tokens == json!(-1) => Ok(None),
        (None, Some(tokens)) => {
            let tokens =
                tokens.as_u64().ok_or_else(|| invalid("thinkingBudget", "must be a whole number"))?;
            Ok(Some(Effort::of_budget(tokens)))
        }
        (Some(_), Some(_)) => Err(invalid("thinkingConfig", "says how much twice")),
    }
}

/// The members by which a model of Anthropic's is told.
pub(super) fn members_of_anthropic(effort: Option<Effort>) -> (Option<Value>, Option<&'static str>) {
    let thinking = (effort == Some(Effort::None)).then(|| json!({"type": "disabled"}));
    (thinking, effort.and_then(Effort::word_of_anthropic))
}
