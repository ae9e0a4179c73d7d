//! The scenes of the demo: each a part of it that stands for itself, with its own policies, on as little as it needs.

mod chain;
mod grant;
mod hold;
mod quarantine;

use clap::ValueEnum;

use super::stage::{Setting, Stage};
use super::told::{self, Step};

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
    /// Three MCP servers behind one address, of which one is down; each call is decided as its member's own
    Multiplex,
    /// A published stdio server behind `vidimus wrap`: its tools are governed like any other's
    Stdio,
    /// A REST API as tools, by its OpenAPI document, and as itself for an HTTP client: one policy, one record
    Openapi,
    /// A server changes what it says of a pinned tool: the tool is neither listed nor called
    Drift,
    /// Spending on models within a limit: the dear model first, then the small one, then none
    Budget,
    /// Keys and cards in what is asked and answered: refused, redacted, cut
    Guard,
    /// A provider of models does not answer: another one does, if policies permit it
    Failover,
}

/// How a scene is played.
#[derive(Debug)]
pub enum Play {
    /// By code.
    Acted(fn(&mut Stage) -> anyhow::Result<()>),
    /// By steps that a file has.
    Told(Vec<Step>),
}

impl Scene {
    /// What it needs, and how it is played.
    pub fn open(self) -> anyhow::Result<(Setting, Play)> {
        let told = |text| told::read(text).map(|(setting, steps)| (setting, Play::Told(steps)));
        match self {
            Self::Hold => Ok((hold::setting(), Play::Acted(hold::play))),
            Self::Quarantine => Ok((quarantine::setting(), Play::Acted(quarantine::play))),
            Self::Chain => Ok((chain::setting(), Play::Acted(chain::play))),
            Self::Grant => Ok((grant::setting(), Play::Acted(grant::play))),
            Self::Multiplex => told(include_str!("scene/multiplex.yaml")),
            Self::Stdio => told(include_str!("scene/stdio.yaml")),
            Self::Openapi => told(include_str!("scene/openapi.yaml")),
            Self::Drift => told(include_str!("scene/drift.yaml")),
            Self::Budget => told(include_str!("scene/budget.yaml")),
            Self::Guard => told(include_str!("scene/guard.yaml")),
            Self::Failover => told(include_str!("scene/failover.yaml")),
        }
    }

    /// The names of all of them, for who has not asked for one.
    pub fn names() -> String {
        let names = Self::value_variants().iter().filter_map(Self::to_possible_value);
        names.map(|value| value.get_name().to_owned()).collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scene_opens_and_what_it_replaces_is_there() {
        for scene in Scene::value_variants() {
            let (setting, play) = scene.open().unwrap_or_else(|error| panic!("{scene:?}: {error}"));
            setting.check().unwrap_or_else(|error| panic!("{scene:?}: {error}"));
            assert!(!matches!(play, Play::Told(steps) if steps.is_empty()), "{scene:?}");
        }
    }
}
