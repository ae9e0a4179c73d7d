//! What a server with members is asked itself (ADR 82): each of them is asked it, on account of the caller's call, and their answers become one.
//!
//! Each question is a call of its own to that member, the caller's: who may not reach a member is not told of it.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use futures_util::future::join_all;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};
use tokio::time::Instant;
use uuid::Uuid;
use vidimus_core::call::{Action, Ask, Call, Destination, Target};
use vidimus_core::json::Json;
use vidimus_core::refusal::{Code, Refusal};
use vidimus_core::resource::{McpServer, Member, Members, WhenDown};

use super::content::{Beside, Said as Content};
use super::crossing::{destination, may_join};
use super::decided::decided;
use super::definition::Source;
use super::on_account::{self, NotSaid, Question, Said};
use crate::answer::{Answering, filtered};
use crate::first_sight::FirstSights;
use crate::forward::{Body, Outbound};
use crate::gate::{Gate, millis};
use crate::part::Part;
use crate::protocol::mcp::listing::Listing;
use crate::protocol::mcp::listing_filter::ListingFilter;
use crate::protocol::mcp::multiplex::merge::{self, Absent, Introduced, Page};
use crate::protocol::mcp::multiplex::{Joined, Sessions, is_told};
use crate::protocol::mcp::{METHOD_HEADER, MODERN, SESSION_HEADER, VERSION_HEADER, is_modern};
use crate::protocol::members::{self, Replaced, quoted};
use crate::request_context::RequestContext;
use crate::seal::{self, Kind, MAX_PAGE};

/// Answers one permitted message, as an upstream would.
///
/// # Errors
/// `upstream_…` where a member does not answer and all have to; `params_invalid` for what no member takes; `session_foreign` where a member has
/// ended the session; `task_foreign` for a page that the caller was not given; those of the ledger.
pub(super) async fn answer(
    gate: &Gate,
    context: &RequestContext,
    (parts, credential): (&Parts, Option<&str>),
    (outbound, answering): (&Outbound, &Answering<'_>),
) -> Result<Response<Body>, Refusal> {
    let fault = |what: &'static str| Refusal::new(Code::Internal, what);
    let Destination::Server(front) = outbound.permit().destination() else {
        return Err(fault("only an MCP server has members"));
    };
    let members = front.members.as_ref().ok_or_else(|| fault("the server has no members"))?;
    let text = std::str::from_utf8(outbound.body()).map_err(|_| fault("the message is no text"))?;
    let message = (!text.is_empty()).then(|| crate::protocol::parse(text.as_bytes())).transpose()?;
    let session = outbound.headers().get(SESSION_HEADER).and_then(|id| id.to_str().ok());
    let sessions = session.map(Sessions::read).transpose()?;
    let source = Source::of(parts, message.as_ref(), (&[], credential), &answering.world);
    let front = Front { gate, context, front, members, source, text, answering, sessions, parts };
    front.answer().await
}

/// A message to a server with members.
struct Front<'a> {
    gate: &'a Gate,
    context: &'a RequestContext,
    front: &'a Arc<McpServer>,
    members: &'a Members,
    source: Source<'a>,
    /// The message as its caller wrote it; empty where it is none.
    text: &'a str,
    answering: &'a Answering<'a>,
    /// Those of the members, where the message is of a session.
    sessions: Option<Sessions>,
    parts: &'a Parts,
}

/// What a member is asked.
struct One<'a> {
    member: &'a Member,
    joined: Option<Joined>,
    /// The page of it.
    cursor: Option<String>,
}

/// What a member answered.
enum Heard {
    Page(Page),
    Introduced(Introduced, Option<String>),
    /// It was told, or has no such method.
    Nothing,
}

/// What became of the questions to all.
struct All<'a> {
    heard: Vec<(&'a Member, Heard)>,
    absent: Vec<Absent>,
}

impl<'a> Front<'a> {
    fn method(&self) -> &str {
        self.answering.asked.method()
    }

    fn params(&self) -> Option<&Json<'a>> {
        self.source.message?.get("params")
    }

    async fn answer(&self) -> Result<Response<Body>, Refusal> {
        if self.method() == "ping" {
            return Ok(self.result("{}"));
        }
        let All { heard, absent } = self.ask_all().await?;
        if let Some(ended) = absent.iter().find(|one| one.code == Code::SessionForeign) {
            return Err(ended.refusal());
        }
        // What nobody takes is the caller's fault, and no member's.
        if heard.is_empty()
            && let Some(refused) = absent.iter().find(|one| one.code == Code::ParamsInvalid)
        {
            return Err(refused.refusal());
        }
        if let Some(first) = absent.first().filter(|_| self.members.when_down == WhenDown::Fail) {
            return Err(first.refusal());
        }
        if is_told(self.method()) {
            let is_end = self.parts.method == Method::DELETE;
            return Ok(empty(if is_end { StatusCode::OK } else { StatusCode::ACCEPTED }));
        }
        match (Listing::of(self.method()), self.method()) {
            (Some(listing), _) => self.listed(listing, heard, &absent),
            (None, "initialize") => self.initialized(heard, &absent),
            (None, "server/discover") => {
                let introduced = introduced(heard);
                some_of(&introduced, &absent)?;
                let all: Vec<_> =
                    introduced.into_iter().map(|(member, one, _)| (&*member.name, one)).collect();
                Ok(self.result(&merge::discovered(&self.front.id.id, &all, &absent).to_string()))
            }
            _ => Ok(self.result(&merge::done(&absent).to_string())),
        }
    }

    fn listed(
        &self,
        listing: Listing,
        heard: Vec<(&Member, Heard)>,
        absent: &[Absent],
    ) -> Result<Response<Body>, Refusal> {
        let (mut pages, mut next) = (Vec::new(), BTreeMap::new());
        for (member, heard) in heard {
            let Heard::Page(page) = heard else { continue };
            if let Some(cursor) = &page.next {
                next.insert(&*member.server, cursor.clone());
            }
            pages.push(page);
        }
        let next = (!next.is_empty()).then(|| self.sealed(&next)).transpose()?;
        let modern = is_modern(&self.parts.headers, self.params());
        Ok(self.result(&merge::listing(listing, &pages, absent, (modern, next.as_deref()))))
    }

    fn initialized(
        &self,
        heard: Vec<(&Member, Heard)>,
        absent: &[Absent],
    ) -> Result<Response<Body>, Refusal> {
        let introduced = introduced(heard);
        some_of(&introduced, absent)?;
        let mut sessions = Sessions::default();
        let mut all = Vec::new();
        for (member, one, id) in introduced {
            if let Some(version) = one.version {
                sessions.0.insert(member.server.to_string(), Joined { version, id });
            }
            all.push((&*member.name, one));
        }
        let result = merge::initialized(&self.front.id.id, sessions.version(), &all, absent);
        let mut response = self.result(&result.to_string());
        let id = HeaderValue::from_str(&sessions.written()?);
        let id = id.map_err(|_| Refusal::new(Code::Internal, "the ids of the sessions fit no header"))?;
        response.headers_mut().insert(HeaderName::from_static(SESSION_HEADER), id);
        Ok(response)
    }

    /// Asks each member that is to be asked.
    async fn ask_all(&self) -> Result<All<'a>, Refusal> {
        let (asked, mut absent) = self.whom()?;
        let until = Instant::now() + self.gate.limits.member_time;
        let longest = self.gate.limits.held_answer / asked.len().max(1);
        let answers = join_all(asked.iter().map(|one| self.ask(one, (longest, until)))).await;
        let mut heard = Vec::with_capacity(asked.len());
        for (one, answer) in asked.iter().zip(answers) {
            match answer {
                Ok(answer) => heard.push((one.member, answer)),
                Err(NotSaid::Closed(refusal)) => return Err(refusal),
                // Who may not reach it is not told of it, but for one who may and has no room left.
                Err(NotSaid::Refused(refusal)) if refusal.code != Code::LimitExceeded => {}
                Err(NotSaid::Refused(refusal) | NotSaid::Held(refusal) | NotSaid::Failed(refusal)) => {
                    absent.push(Absent::of(&one.member.name, &refusal));
                }
            }
        }
        Ok(All { heard, absent })
    }

    /// Who is asked, and which members are not there.
    fn whom(&self) -> Result<(Vec<One<'a>>, Vec<Absent>), Refusal> {
        let cursors = self.cursors()?;
        let (world, caller) = (&self.answering.world, &self.answering.caller);
        let at = (millis(self.gate.clock.now().wall), self.answering.asked.source_ip);
        let (mut asked, mut absent) = (Vec::new(), Vec::new());
        for member in &*self.members.all {
            let cursor = cursors.as_ref().map(|cursors| cursors.get(&*member.server).cloned());
            // Of which nothing is left, or which was not there on the page before.
            if cursor == Some(None) {
                continue;
            }
            let joined = self.sessions.as_ref().map(|sessions| sessions.of(member).cloned());
            match joined.transpose() {
                Ok(joined) => asked.push(One { member, joined, cursor: cursor.flatten() }),
                Err(refusal) if may_join(world, caller, member, at) => {
                    let was_down = Refusal { code: Code::UpstreamUnreachable, ..refusal };
                    let refusal = destination(world, member).err().unwrap_or(was_down);
                    absent.push(Absent::of(&member.name, &refusal));
                }
                // Who may not reach it is not told of it.
                Err(_) => {}
            }
        }
        Ok((asked, absent))
    }

    /// Asks one member.
    async fn ask(&self, one: &One<'_>, bounds: (usize, Instant)) -> Result<Heard, NotSaid> {
        let destination = destination(&self.answering.world, one.member).map_err(NotSaid::Failed)?;
        let Destination::Server(server) = &destination else { return Ok(Heard::Nothing) };
        let ask = Ask::about(self.method(), Action::ConnectServer, Target::Server(server));
        let beside = Beside::of(self.parts, self.answering.binding, (&destination, self.source.credential));
        let (said, guarded) = (Content::of((ask.action, &[]), self.source.message, &beside), OnceLock::new());
        let mut own = Call {
            caller: &self.answering.caller,
            ask: Ask { via: Some(&self.front.id), content: said.content(), ..ask },
            now: millis(self.gate.clock.now().wall),
            source_ip: self.answering.asked.source_ip,
            so_far: self.answering.asked.so_far(),
            approvals: &[],
        };
        // What each of them gets is the caller's message: the guards of each look at it.
        let looked =
            decided(self.gate, &self.answering.world, &mut own, (self.source.message, &guarded)).await;
        drop(looked.map_err(NotSaid::Failed)?);
        let id = match is_told(self.method()) {
            true => String::new(),
            false => Uuid::new_v4().hyphenated().to_string(),
        };
        let question = self.question(one, &id).map_err(NotSaid::Failed)?;
        let had_session = one.joined.as_ref().is_some_and(|joined| joined.id.is_some());
        let read = |said: &Said| self.read(said, (&id, had_session));
        let (context, source) = (self.context, &self.source);
        let read = on_account::ask(self.gate, context, (&own, source), question, bounds, read).await?;
        match (read, Listing::of(self.method())) {
            (Read::Listing(bytes), Some(listing)) => {
                let page = self.page(listing, (one.member, server), (bytes, &id)).await;
                page.map(Heard::Page).map_err(NotSaid::Failed)
            }
            (Read::Introduced(introduced, session), _) => Ok(Heard::Introduced(introduced, session)),
            (Read::Listing(_) | Read::Nothing, _) => Ok(Heard::Nothing),
        }
    }

    /// The caller's message, as this member gets it.
    fn question<'q>(&self, one: &One<'_>, id: &'q str) -> Result<Question<'q>, Refusal> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
        if let Some(method) = self.parts.headers.get(METHOD_HEADER) {
            headers.insert(HeaderName::from_static(METHOD_HEADER), method.clone());
        }
        if let Some(Joined { version, id }) = &one.joined {
            headers.insert(HeaderName::from_static(VERSION_HEADER), HeaderValue::from_static(version));
            let session = id.as_deref().and_then(|id| HeaderValue::from_str(id).ok());
            if let Some(session) = session {
                headers.insert(HeaderName::from_static(SESSION_HEADER), session);
            }
        }
        let mut replaced = Vec::new();
        if !id.is_empty() {
            // As clients choose them: one member's answer is none to what another was asked.
            replaced.push(Replaced { path: &["id"], with: quoted(id) });
        }
        if let Some(cursor) = &one.cursor {
            replaced.push(Replaced { path: &["params", "cursor"], with: quoted(cursor) });
        }
        let body = match replaced.as_slice() {
            [] => Some(self.text.to_owned()),
            replaced => members::replace(self.text, replaced),
        };
        let body =
            body.ok_or_else(|| Refusal::new(Code::Internal, "the message could not be asked of a member"))?;
        let method = self.parts.method.clone();
        Ok(Question { id, method, headers, body: Bytes::from(body), is_shown: true })
    }

    /// What a member said, as far as it can be told at once.
    fn read(&self, said: &Said, (id, had_session): (&str, bool)) -> Result<Read, Refusal> {
        if said.status == StatusCode::NOT_FOUND.as_u16() && had_session {
            // A client begins another one then (MCP 2025-11-25, "Session Management").
            return Err(Refusal::new(Code::SessionForeign, "it has ended the session"));
        }
        if id.is_empty() {
            let has_no_end = said.status == StatusCode::METHOD_NOT_ALLOWED.as_u16();
            if said.status < 400 || has_no_end {
                return Ok(Read::Nothing);
            }
            let message = format!("it answered {}", said.status);
            return Err(Refusal::new(Code::UpstreamInvalid, message));
        }
        let text = std::str::from_utf8(&said.body);
        let text = text.map_err(|_| Refusal::new(Code::UpstreamInvalid, "its answer is no text"))?;
        let Some(result) = merge::result(text, said.status, id)? else { return Ok(Read::Nothing) };
        if Listing::of(self.method()).is_some() {
            return Ok(Read::Listing(said.body.clone()));
        }
        if !matches!(self.method(), "initialize" | "server/discover") {
            return Ok(Read::Nothing);
        }
        let introduced = merge::introduced(&result)?;
        if self.method() == "initialize" && introduced.version.is_none() {
            let message = format!("it has no handshake, only {MODERN}");
            return Err(Refusal::new(Code::ProtocolVersionUnsupported, message));
        }
        let session = said.headers.get(SESSION_HEADER).and_then(|id| id.to_str().ok());
        Ok(Read::Introduced(introduced, session.map(str::to_owned)))
    }

    /// What the caller may use of a member's page, under full names.
    async fn page(
        &self,
        listing: Listing,
        (member, server): (&Member, &Arc<McpServer>),
        (bytes, id): (Bytes, &str),
    ) -> Result<Page, Refusal> {
        let filter = ListingFilter {
            shared: self.gate.shared.clone(),
            world: self.answering.world.clone(),
            server: server.clone(),
            caller: self.answering.caller.clone(),
            source_ip: self.answering.asked.source_ip,
            left: AtomicUsize::new(0),
            so_far: self.answering.asked.so_far.clone(),
            kept_back: None,
            first_sights: FirstSights::default(),
        };
        let text = filtered(self.gate, filter, bytes, listing).await?;
        let result = merge::result(&text, StatusCode::OK.as_u16(), id)?;
        result.map_or_else(|| Ok(Page::default()), |result| merge::page(listing, &member.name, &result))
    }

    /// Where the members' pages begin that the caller asks for, by their servers; `None` where it asks for the first of all.
    fn cursors(&self) -> Result<Option<BTreeMap<String, String>>, Refusal> {
        if Listing::of(self.method()).is_none() {
            return Ok(None);
        }
        let token = match self.params().and_then(|params| params.get("cursor")) {
            None | Some(Json::Null) => return Ok(None),
            Some(Json::String(token)) if token.is_empty() => return Ok(None),
            Some(token) => token.as_str(),
        };
        let foreign = || Refusal::new(Code::TaskForeign, "no such page of a list of this caller's");
        let opened = token.and_then(|token| self.gate.seal.open(Kind::Page, &self.holder(), token));
        let opened = opened.ok_or_else(foreign)?;
        let read = serde_json::from_str::<(String, BTreeMap<String, String>)>(&opened.id);
        let (method, cursors) = read.map_err(|_| foreign())?;
        if method == self.method() { Ok(Some(cursors)) } else { Err(foreign()) }
    }

    /// The token of the caller's next page: it says where each member's begins, of those that have one.
    fn sealed(&self, cursors: &BTreeMap<&str, String>) -> Result<String, Refusal> {
        let text = serde_json::to_string(&(self.method(), cursors)).unwrap_or_default();
        if text.len() > MAX_PAGE {
            let message = format!("the members' tokens of their next pages have more than {MAX_PAGE} bytes");
            return Err(Refusal::new(Code::UpstreamInvalid, message));
        }
        let sealed = self.gate.seal.seal(Kind::Page, &self.holder(), &Part::Whole, &text);
        sealed.map_err(|error| Refusal::new(Code::Internal, "a page could not be sealed").with_detail(error))
    }

    fn holder(&self) -> String {
        seal::binding(&self.answering.destination, &self.answering.caller)
    }

    fn result(&self, result: &str) -> Response<Body> {
        let id = self.context.message_id();
        let id = id.as_deref().unwrap_or("null");
        let body = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#);
        let mut response = Response::new(Body::Whole(Some(Bytes::from(body))));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    }
}

/// What can be told at once of what a member said.
enum Read {
    /// All of a listing, which is still to be filtered.
    Listing(Bytes),
    Introduced(Introduced, Option<String>),
    Nothing,
}

type IntroducedMember<'a> = (&'a Member, Introduced, Option<String>);

fn introduced<'a>(heard: Vec<(&'a Member, Heard)>) -> Vec<IntroducedMember<'a>> {
    let introduced = heard.into_iter().filter_map(|(member, heard)| match heard {
        Heard::Introduced(introduced, session) => Some((member, introduced, session)),
        Heard::Page(_) | Heard::Nothing => None,
    });
    introduced.collect()
}

/// That somebody is there: with nobody, a client would begin to no purpose.
fn some_of(introduced: &[IntroducedMember<'_>], absent: &[Absent]) -> Result<(), Refusal> {
    if !introduced.is_empty() {
        return Ok(());
    }
    let nobody =
        || Refusal::new(Code::UpstreamUnreachable, "no member of the server is one that answers here");
    Err(absent.first().map_or_else(nobody, Absent::refusal))
}

fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::Whole(None));
    *response.status_mut() = status;
    response
}
