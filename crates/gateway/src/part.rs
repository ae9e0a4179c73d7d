//! What of a registered object a call is about, owned: what is left of a call's target when its message is gone.

use vidimus_core::call::{Destination, Target};

/// The object itself, or one part of it by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    Whole,
    Tool(Box<str>),
    Resource(Box<str>),
    Prompt(Box<str>),
    Skill(Box<str>),
    Model(Box<str>),
}

impl From<Target<'_>> for Part {
    fn from(target: Target<'_>) -> Self {
        match target {
            Target::Server(_) | Target::Agent(_) | Target::Provider(_) => Self::Whole,
            Target::Tool { name, .. } => Self::Tool(name.into()),
            Target::Resource { uri, .. } => Self::Resource(uri.into()),
            Target::Prompt { name, .. } => Self::Prompt(name.into()),
            Target::Skill { name, .. } => Self::Skill(name.into()),
            Target::Model { name, .. } => Self::Model(name.into()),
        }
    }
}

impl Part {
    /// The name of the tool, resource, prompt, skill or model; empty for the object itself.
    pub fn name(&self) -> &str {
        match self {
            Self::Whole => "",
            Self::Tool(name)
            | Self::Resource(name)
            | Self::Prompt(name)
            | Self::Skill(name)
            | Self::Model(name) => name,
        }
    }

    /// The target at this destination; `None` where the destination has no such part.
    pub fn of<'a>(&'a self, destination: &'a Destination) -> Option<Target<'a>> {
        Some(match (self, destination) {
            (Self::Whole, Destination::Server(server)) => Target::Server(server),
            (Self::Whole, Destination::Agent(agent)) => Target::Agent(agent),
            (Self::Whole, Destination::Provider(provider)) => Target::Provider(provider),
            (Self::Tool(name), Destination::Server(server)) => Target::Tool { server, name },
            (Self::Resource(uri), Destination::Server(server)) => Target::Resource { server, uri },
            (Self::Prompt(name), Destination::Server(server)) => Target::Prompt { server, name },
            (Self::Skill(name), Destination::Agent(agent)) => Target::Skill { agent, name },
            (Self::Model(name), Destination::Provider(provider)) => {
                Target::Model { provider, name: &provider.model(name)?.name }
            }
            _ => return None,
        })
    }

    /// As bytes: a letter for its kind, and its name.
    pub(crate) fn encoded(&self) -> (u8, &str) {
        let kind = match self {
            Self::Whole => b'w',
            Self::Tool(_) => b't',
            Self::Resource(_) => b'r',
            Self::Prompt(_) => b'p',
            Self::Skill(_) => b's',
            Self::Model(_) => b'm',
        };
        (kind, self.name())
    }

    /// The other way of [`Part::encoded`].
    pub(crate) fn decoded(kind: u8, name: &str) -> Option<Self> {
        Some(match kind {
            b'w' => Self::Whole,
            b't' => Self::Tool(name.into()),
            b'r' => Self::Resource(name.into()),
            b'p' => Self::Prompt(name.into()),
            b's' => Self::Skill(name.into()),
            b'm' => Self::Model(name.into()),
            _ => return None,
        })
    }
}
