//! The scenes of the demo: each a part of it that stands for itself, with its own policies, on as little as it needs.

mod chain;
mod grant;
mod hold;
mod quarantine;

use clap::ValueEnum;

use super::stage::{Setting, Stage};

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Scene {
    /// A call waits for a person, is approved in another terminal, and completes; over MCP and over A2A
    Hold,
    /// An agent is taken out of use while an answer to it is streaming: the stream is cut
    Quarantine,
    /// A chain of calls comes to more than it may cost, and is ended
    Chain,
    /// An agent is lent a tool for two calls, and refused the third
    Grant,
}

impl Scene {
    /// What it needs.
    pub const fn setting(self) -> Setting {
        match self {
            Self::Hold => hold::SETTING,
            Self::Quarantine => quarantine::SETTING,
            Self::Chain => chain::SETTING,
            Self::Grant => grant::SETTING,
        }
    }

    pub fn play(self, stage: &mut Stage) -> anyhow::Result<()> {
        match self {
            Self::Hold => hold::play(stage),
            Self::Quarantine => quarantine::play(stage),
            Self::Chain => chain::play(stage),
            Self::Grant => grant::play(stage),
        }
    }

    /// The names of all of them, for who has not asked for one.
    pub fn names() -> String {
        let names = Self::value_variants().iter().filter_map(Self::to_possible_value);
        names.map(|value| value.get_name().to_owned()).collect::<Vec<_>>().join(", ")
    }
}
