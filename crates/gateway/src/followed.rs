//! What one stream tells of, where that is more than one thing (`subscriptions/listen` of MCP): each is decided by itself, as the entries of a listing are,
//! when the stream begins and whenever the call is decided again.

use vidimus_core::call::{Action, Arguments, Ask, Call, Destination};
use vidimus_core::snapshot::Snapshot;

use crate::part::Part;

/// One of several that a stream is to tell of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Followed {
    /// A resource, by its URI.
    Resource(Part),
    /// A task, by the upstream's id, and the tool of the call that made it.
    Task { id: Box<str>, made_by: Part },
}

impl Followed {
    /// What the message names it by, as its server does.
    pub fn name(&self) -> &str {
        match self {
            Self::Resource(uri) => uri.name(),
            Self::Task { id, .. } => id,
        }
    }

    /// Whether `call`, which is about the whole server, may be about this as well: as it stands, since it is no call of its own that could be changed, held
    /// or counted.
    pub fn is_permitted(&self, world: &Snapshot, destination: &Destination, call: &Call<'_>) -> bool {
        let (action, part, arguments, task) = match self {
            Self::Resource(uri) => (Action::ReadResource, uri, Arguments::None, None),
            Self::Task { id, made_by } => (Action::InvokeTool, made_by, Arguments::Unknown, Some(&**id)),
        };
        let Some(target) = part.of(destination) else { return false };
        let ask = Ask { action, target, arguments, task, ..call.ask };
        world.permits_as_it_stands(&Call { ask, ..*call })
    }
}
