//! Who calls what, by one configuration at one time.

use std::sync::Arc;

use http::request::Parts;
use vidimus_core::call::Destination;
use vidimus_core::caller::Caller;
use vidimus_core::clock::Moment;
use vidimus_core::refusal::Refusal;
use vidimus_core::snapshot::Snapshot;

use super::authenticate::authenticate;
use crate::gate::{Gate, millis};
use crate::protocol::{self, Binding, Operation};
use crate::request_context::RequestContext;
use crate::route::Route;

/// The two ends of a call, found in `world`: nothing here is of another configuration.
#[derive(Debug)]
pub(super) struct Addressed<'p> {
    pub(super) world: Arc<Snapshot>,
    pub(super) caller: Caller,
    /// The caller's own credential, to be kept from going further.
    pub(super) credential: Option<&'p str>,
    pub(super) destination: Destination,
    pub(super) binding: &'static dyn Binding,
    pub(super) operation: Operation,
    /// The trust bundles that vouched for the caller.
    trust_generation: u64,
}

impl<'p> Addressed<'p> {
    /// By the configuration that decides now.
    ///
    /// # Errors
    /// Those of authentication, `resource_unknown`, `route_unknown` and `method_not_allowed`.
    pub(super) async fn now(
        gate: &Gate,
        context: &mut RequestContext,
        parts: &'p Parts,
        route: &Route<'_>,
    ) -> Result<Self, Refusal> {
        let world = gate.snapshot();
        let trust_generation = gate.authenticator.trust_generation();
        let (caller, credential) = authenticate(gate, &world, context, Some(route), parts).await?;
        let destination = protocol::destination(&world, route)?;
        let binding = protocol::binding_at(&destination, route, &parts.headers);
        // A path that this object does not serve is refused in the words of whoever serves it: an SDK reads no others.
        let operation = binding.operation(&parts.method, route.rest)?;
        context.speaks(binding);
        Ok(Self { world, caller, credential, destination, binding, operation, trust_generation })
    }

    /// The same at the present, which is given with it: where the configuration or a trust bundle has changed since, or the credential has
    /// ended, who calls what is found anew, so that nobody is decided upon who is not registered any more, or by another's record.
    ///
    /// # Errors
    /// As [`Addressed::now`], and `config_stale`.
    pub(super) async fn at_present(
        mut self,
        gate: &Gate,
        context: &mut RequestContext,
        parts: &'p Parts,
        route: &Route<'_>,
    ) -> Result<(Self, Moment), Refusal> {
        loop {
            let moment = gate.clock.now();
            let ended = self.caller.proven.expires.is_some_and(|end| end <= millis(moment.wall));
            // Looked at last: authentication may have waited for an issuer.
            let is_trusted = gate.authenticator.trust_generation() == self.trust_generation;
            if !ended && is_trusted && gate.world.is(&self.world) {
                gate.source().check(&self.destination, moment)?;
                return Ok((self, moment));
            }
            context.unproven();
            // Few calls come here, and what is kept in place is moved with each.
            self = Box::pin(Self::now(gate, context, parts, route)).await?;
        }
    }
}
