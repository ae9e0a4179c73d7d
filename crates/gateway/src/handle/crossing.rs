//! A message that came to a server with members and concerns one of these (ADR 82): it becomes the request that its caller could have sent to that
//! member's own address. From here on nothing knows of another server, but for the record, and for what the member's answer names.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue};
use vidimus_core::call::{Action, Ask, Call, Destination, SoFar, Target};
use vidimus_core::caller::{Caller, UnixMillis};
use vidimus_core::clock::Moment;
use vidimus_core::entity::EntityId;
use vidimus_core::guard::Guarded;
use vidimus_core::json::Json;
use vidimus_core::refusal::{Code, Refusal};
use vidimus_core::resource::{Kind as ObjectKind, Member, Members};
use vidimus_core::snapshot::Snapshot;

use super::addressed::Addressed;
use super::content::{Beside, Said};
use super::decided::decided;
use crate::gate::{Gate, millis};
use crate::part::Part;
use crate::protocol::mcp::multiplex::{self, To, Way};
use crate::protocol::mcp::{self, NAME_HEADER, SESSION_HEADER, VERSION_HEADER};
use crate::protocol::{self, Binding, Message, Parsed, members};
use crate::request_context::RequestContext;
use crate::route::Route;
use crate::seal::{self, Holder};

/// By which server a call came, and to which of its members.
#[derive(Clone, Debug)]
pub(super) struct By {
    /// The server with members.
    pub(super) front: EntityId,
    /// What the member is called there.
    pub(super) member: Arc<str>,
}

/// Where a request goes that may have come to a server with members.
#[derive(Debug)]
pub(super) enum Crossing {
    /// To whom it came.
    None,
    /// To a member.
    To(Arc<Crossed>),
    /// To the server with members itself, which asks these.
    Front,
    /// To the server with members, since policies refuse, or hold, what comes by it.
    Barred,
}

/// A request that goes to a member.
#[derive(Debug)]
pub(super) struct Crossed {
    pub(super) by: By,
    /// As its caller could have sent it to the member's own address.
    pub(super) parts: Parts,
    message: Bytes,
    /// The guards that looked at it for policies about the server by which it came.
    guarded: Guarded,
}

/// Who calls what at the present, where the request goes to that member of it that it concerns. The body may have been long on its way: what is
/// decided is whether the call may be made now.
///
/// # Errors
/// As [`Addressed::now`], and `config_stale`; those of [`multiplex::way`] for what is of no member, `resource_unknown` where there is none,
/// `data_plane_unable` where a data plane would carry it, and `token_expired` where the caller's token ended while a guard was asked.
pub(super) async fn present<'p>(
    gate: &Gate,
    context: &mut RequestContext,
    (parts, route): (&'p Parts, &Route<'_>),
    (addressed, json, message): (Addressed<'p>, Option<&Json<'_>>, &Bytes),
) -> Result<(Addressed<'p>, Moment, Crossing), Refusal> {
    let (mut addressed, moment) = addressed.at_present(gate, context, parts, route).await?;
    let members = match &addressed.destination {
        Destination::Server(server) => server.members.clone(),
        Destination::Agent(_) | Destination::Provider(_) => None,
    };
    let Some(members) = members else { return Ok((addressed, moment, Crossing::None)) };
    let request = Request { gate, context, parts, addressed: &addressed, moment };
    let crossing = match request.way(&members, json)? {
        Way::All => {
            request.check_members(&members, json)?;
            Crossing::Front
        }
        // Few calls come here, and what is kept in place is moved with each.
        Way::To(to) => match Box::pin(request.passed(json)).await? {
            None => Crossing::Barred,
            Some(guarded) => {
                let destination = request.member(to.member)?;
                gate.source().check(&destination, moment)?;
                let crossed = request.crossed(to, &destination, (message, guarded))?;
                addressed.destination = destination;
                Crossing::To(Arc::new(crossed))
            }
        },
    };
    Ok((addressed, moment, crossing))
}

/// A request to a server with members.
struct Request<'a, 'p> {
    gate: &'a Gate,
    context: &'a RequestContext,
    parts: &'a Parts,
    addressed: &'a Addressed<'p>,
    moment: Moment,
}

impl Request<'_, '_> {
    /// Where it goes.
    fn way<'f>(&self, members: &'f Members, json: Option<&Json<'_>>) -> Result<Way<'f>, Refusal> {
        if self.context.carried.is_some() {
            let what =
                "this server stands for others, and which one a call goes to is known where its bytes pass";
            return Err(Refusal::new(Code::DataPlaneUnable, what));
        }
        let opens = |member: &Member, kind, sealed: &str| {
            let Ok(destination) = self.member(member) else { return false };
            Holder::new(&self.gate.seal, &destination, self.caller()).open(kind, sealed).is_some()
        };
        multiplex::way(members, (&self.parts.method, &self.parts.headers), json, &opens)
    }

    fn caller(&self) -> &Caller {
        &self.addressed.caller
    }

    /// That there is a member: where there is none, nobody may use anything of one, and no policy is why. What policies about the server itself refuse, or
    /// hold, they do all the same; and which members it has is not for who may not use it.
    fn check_members(&self, members: &Members, json: Option<&Json<'_>>) -> Result<(), Refusal> {
        let mut first = None;
        for member in &*members.all {
            match self.member(member) {
                Ok(_) => return Ok(()),
                Err(refusal) => first = first.or(Some(refusal)),
            }
        }
        let Some(missing) = first.filter(|_| !self.is_refused(json)) else { return Ok(()) };
        let message = format!("no member of {} is there", self.addressed.destination.id());
        let why = missing.message.clone();
        Err(Refusal { message: message.into(), ..missing }.with_detail(why))
    }

    /// Whether policies about the server refuse the message, or hold it, by what is known of it before guards are asked.
    fn is_refused(&self, json: Option<&Json<'_>>) -> bool {
        let Addressed { destination, binding, credential, world, .. } = self.addressed;
        let Some(ask) = multiplex::passage(destination, json) else { return false };
        let beside = Beside::of(self.parts, *binding, (destination, *credential));
        let said = Said::of((ask.action, &[]), json, &beside);
        let (ask, (now, source_ip)) = (Ask { content: said.content(), ..ask }, self.at());
        let caller = self.caller();
        world.stands_against(&Call { caller, ask, now, source_ip, so_far: SoFar::nothing(), approvals: &[] })
    }

    /// The guards that looked at the message for policies about the server, where these let it come by; `None` where they refuse it, or hold it.
    ///
    /// # Errors
    /// As [`decided`].
    async fn passed(&self, json: Option<&Json<'_>>) -> Result<Option<Guarded>, Refusal> {
        let Addressed { destination, binding, credential, world, .. } = self.addressed;
        let Some(ask) = multiplex::passage(destination, json) else { return Ok(None) };
        let beside = Beside::of(self.parts, *binding, (destination, *credential));
        let said = Said::of((ask.action, &[]), json, &beside);
        let ask = Ask { content: said.content(), ..ask };
        let ((now, source_ip), guarded) = (self.at(), OnceLock::new());
        let caller = self.caller();
        let mut call = Call { caller, ask, now, source_ip, so_far: SoFar::nothing(), approvals: &[] };
        if !world.stands_against(&call) {
            return Ok(Some(Guarded::default()));
        }
        // What stands against it may wait for a guard.
        drop(decided(self.gate, world, &mut call, (json, &guarded)).await?);
        Ok((!world.stands_against(&call)).then(|| call.ask.guarded.clone()))
    }

    /// When, and from where.
    fn at(&self) -> (UnixMillis, Option<IpAddr>) {
        (millis(self.moment.wall), Some(self.context.peer.address.ip().to_canonical()))
    }

    fn member(&self, member: &Member) -> Result<Destination, Refusal> {
        destination(&self.addressed.world, member)
    }

    /// The request to the member.
    fn crossed(
        &self,
        to: To<'_>,
        member: &Destination,
        (message, guarded): (&Bytes, Guarded),
    ) -> Result<Crossed, Refusal> {
        let mut parts = self.parts.clone();
        let fault = |error: &dyn std::fmt::Display| {
            Refusal::new(Code::Internal, "the message could not be addressed to the member")
                .with_detail(error)
        };
        if let Some(name) = to.name.filter(|_| parts.headers.contains_key(NAME_HEADER)) {
            // What it said of the body was held to it.
            let value = HeaderValue::from_str(&mcp::encoded(&name)).map_err(|error| fault(&error))?;
            parts.headers.insert(HeaderName::from_static(NAME_HEADER), value);
        }
        self.session(&mut parts.headers, to.member, member)?;
        let message = match to.replaced.as_slice() {
            [] => message.clone(),
            replaced => {
                let text = std::str::from_utf8(message).map_err(|error| fault(&error))?;
                let changed = members::replace(text, replaced);
                changed.ok_or_else(|| fault(&"a value is missing"))?.into()
            }
        };
        let front = self.addressed.destination.id().clone();
        Ok(Crossed { by: By { front, member: to.member.name.clone() }, parts, message, guarded })
    }

    /// The session of the request becomes that of the member, sealed as if the member had been asked at its own address.
    fn session(&self, headers: &mut HeaderMap, member: &Member, at: &Destination) -> Result<(), Refusal> {
        let front = Holder::new(&self.gate.seal, &self.addressed.destination, self.caller());
        let Some((kind, sessions)) = multiplex::session(headers, &front)? else { return Ok(()) };
        let session = HeaderName::from_static(SESSION_HEADER);
        let joined = match sessions.of(member) {
            Ok(joined) => joined,
            // The next one would be without it too: its own policies say, on record, what comes of the call.
            Err(_) if !may_join(&self.addressed.world, self.caller(), member, self.at()) => {
                headers.remove(session);
                return Ok(());
            }
            Err(refusal) => return Err(refusal),
        };
        match &joined.id {
            None => {
                headers.remove(session);
            }
            Some(id) => {
                let fault = |error: &dyn std::fmt::Display| {
                    Refusal::new(Code::Internal, "the session of the member could not be sealed")
                        .with_detail(error)
                };
                let binding = seal::binding(at, self.caller());
                let sealed = self.gate.seal.seal(kind, &binding, &Part::Whole, id);
                let sealed = sealed.map_err(|error| fault(&error))?;
                headers.insert(session, HeaderValue::from_str(&sealed).map_err(|error| fault(&error))?);
            }
        }
        if headers.contains_key(VERSION_HEADER) {
            let version = HeaderValue::from_static(joined.version);
            headers.insert(HeaderName::from_static(VERSION_HEADER), version);
        }
        Ok(())
    }
}

/// The server that a member is.
///
/// # Errors
/// `resource_unknown` and `name_contested`, also for one that has members itself: which of them would be meant has no name.
pub(super) fn destination(world: &Snapshot, member: &Member) -> Result<Destination, Refusal> {
    match world.mcp_server(&member.server) {
        Some(server) if server.members.is_none() => Ok(Destination::Server(server.clone())),
        Some(_) => {
            let message = format!("the member {:?} has members itself, so it cannot be one", &*member.name);
            Err(Refusal::new(Code::ResourceUnknown, message))
        }
        None => Err(world.absent(ObjectKind::McpServer, &member.server, Code::ResourceUnknown)),
    }
}

/// Whether a session of this caller's could be with the member, by what policies say now. Who could have none is not told that the member is missing.
pub(super) fn may_join(
    world: &Snapshot,
    caller: &Caller,
    member: &Member,
    (now, source_ip): (UnixMillis, Option<IpAddr>),
) -> bool {
    let Ok(Destination::Server(server)) = destination(world, member) else { return true };
    let ask = Ask::about("initialize", Action::ConnectServer, Target::Server(&server));
    let call = Call { caller, ask, now, source_ip, so_far: SoFar::nothing(), approvals: &[] };
    let decision = world.authorize(&call);
    let is_refused = matches!(decision.code(), Some(Code::NoPermit | Code::ForbiddenByPolicy));
    // What waits for a guard may be lifted.
    !is_refused || !world.guards_wanted(&decision).is_empty()
}

impl Crossing {
    /// The request as whoever it goes to reads it.
    ///
    /// # Errors
    /// Those of a body that is no message.
    pub(super) fn request<'a>(
        &'a self,
        parts: &'a Parts,
        message: &'a Bytes,
        json: Option<Json<'a>>,
    ) -> Result<(&'a Parts, &'a Bytes, Option<Json<'a>>), Refusal> {
        let Self::To(crossed) = self else { return Ok((parts, message, json)) };
        let json = json.map(|_| protocol::parse(&crossed.message)).transpose()?;
        Ok((&crossed.parts, &crossed.message, json))
    }

    /// What the message asks.
    ///
    /// # Errors
    /// As [`Binding::parse`].
    pub(super) fn parsed<'a>(
        &'a self,
        binding: &dyn Binding,
        message: &Message<'a>,
    ) -> Result<Parsed<'a>, Refusal> {
        match self {
            Self::None => binding.parse(message),
            Self::To(crossed) => {
                let mut parsed = binding.parse(message)?;
                parsed.ask.via = Some(&crossed.by.front);
                Ok(parsed)
            }
            Self::Front => multiplex::parsed(message),
            Self::Barred => multiplex::barred(message),
        }
    }

    /// The guards that looked at it for policies about the server by which it came.
    pub(super) fn guarded(&self) -> Option<&Guarded> {
        if let Self::To(crossed) = self { Some(&crossed.guarded) } else { None }
    }

    /// The request to a member, if it goes to one.
    pub(super) fn crossed(&self) -> Option<Arc<Crossed>> {
        if let Self::To(crossed) = self { Some(crossed.clone()) } else { None }
    }
}
