//! `LLMProvider`.

use std::sync::Arc;

use super::*;

/// Which API the provider speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProviderType {
    OpenAi,
    Anthropic,
    OpenAiCompatible,
}

impl ProviderType {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OpenAi => "openAI",
            Self::Anthropic => "anthropic",
            Self::OpenAiCompatible => "openAICompatible",
        }
    }
}

/// Where the provider's key comes from. The key itself is never part of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum CredentialSource {
    File(Arc<str>),
    Env(Arc<str>),
    /// The provider needs no credential; the caller's is stripped all the same.
    None,
}

/// A registered model provider, checked.
#[derive(Clone, Debug)]
pub struct LlmProvider {
    pub meta: Meta,
    pub id: EntityId,
    pub owner: Arc<str>,
    pub team: Arc<str>,
    pub environment: Arc<str>,
    pub provider: ProviderType,
    pub endpoint: Endpoint,
    pub credential: CredentialSource,
    /// Allow-list; a model not listed does not exist.
    pub models: Vec<Model>,
}

/// One model of a provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Model {
    pub name: Arc<str>,
    /// Cedar: `resource in ModelSet::"…"`.
    pub sets: Names,
    /// Price per million input / output tokens in millionths of the currency unit.
    pub price: Option<Price>,
}

/// Micro-units (10⁻⁶ of the currency) per million tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Price {
    pub input: u64,
    pub output: u64,
}

impl LlmProvider {
    pub fn model(&self, name: &str) -> Option<&Model> {
        self.models.iter().find(|m| &*m.name == name)
    }
}
