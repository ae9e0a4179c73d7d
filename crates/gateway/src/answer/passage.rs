//! What comes by a server with members ends with what it came by: a quarantine of that server, or a policy about it, cuts what is open (ADR 82).

use std::net::IpAddr;

use vidimus_core::call::{Action, Ask, Call, SoFar, Target};
use vidimus_core::caller::{Caller, UnixMillis};
use vidimus_core::entity::EntityId;
use vidimus_core::guard::Guarded;
use vidimus_core::snapshot::Snapshot;

/// By which server with members a call came.
#[derive(Clone, Debug)]
pub(super) struct Passage {
    pub(super) front: EntityId,
    /// The guards that looked at it for policies about that server.
    pub(super) guarded: Guarded,
}

impl Passage {
    pub(super) fn by(front: &EntityId, guarded: &Guarded) -> Self {
        Self { front: front.clone(), guarded: guarded.clone() }
    }

    /// Whether policies of `world` refuse, or hold, what comes by it, or it has no members any more.
    pub(super) fn is_barred(
        &self,
        world: &Snapshot,
        caller: &Caller,
        (method, source_ip, now): (&str, Option<IpAddr>, UnixMillis),
    ) -> bool {
        let front = world.mcp_server(&self.front.id).filter(|front| front.members.is_some());
        let Some(front) = front else { return true };
        let ask = Ask::about(method, Action::ConnectServer, Target::Server(front));
        let ask = Ask { guarded: &self.guarded, ..ask };
        world.stands_against(&Call { caller, ask, now, source_ip, so_far: SoFar::nothing(), approvals: &[] })
    }
}
