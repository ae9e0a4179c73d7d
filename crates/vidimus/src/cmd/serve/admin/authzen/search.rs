//! Who may make a call, what somebody may call, and how: what the policies reach ([`reach`]), and of that what would be answered with yes
//! now. It is told page by page, and leaves no record.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use axum::http::HeaderMap;
use axum::response::{IntoResponse, Json, Response};
use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use vidimus_core::entity::EntityId;
use vidimus_core::json::Json as Strict;
use vidimus_core::person::{About, Operation};
use vidimus_core::refusal::{Code, Refusal};
use vidimus_core::snapshot::Snapshot;
use vidimus_query::elsewhere;
use vidimus_query::explain;
use vidimus_query::reach::{self, NotReached, ReachQuestion, Reached, What, Who};
use vidimus_query::state::State;

use super::super::people::{Asks, Refused};
use super::evaluation::{call, caller, entity, may_learn_of, state};
use super::wire::{Malformed, Members, Page, Stated};
use super::{Body, bytes, question};

/// Searches at once: each looks at all that is registered.
static PLACES: Semaphore = Semaphore::const_new(2);
/// Results of a page, where nothing is said of it, and at most.
const USUAL: usize = 100;
const MOST: usize = 1000;
/// What is looked at for one page at most; a page that ends there has a next one.
const LOOKED_AT: usize = 2000;
/// Between two looks at what else there is to do.
const TURN: usize = 32;

/// A part of what is found.
#[derive(Debug, Serialize)]
struct Found {
    page: Next,
    results: Vec<Value>,
}

#[derive(Debug, Default, Serialize)]
struct Next {
    next_token: String,
    count: usize,
}

/// Where the next page begins, of which search.
#[derive(Debug, Serialize, Deserialize)]
struct Token {
    /// Of all that was asked.
    of: u64,
    limit: usize,
    /// What was found last: nothing else is named, for not all that is looked at may be known to who asks.
    after: String,
    /// How many were looked at behind it.
    further: usize,
}

impl Token {
    fn text(&self) -> String {
        serde_json::to_vec(self).map(|json| BASE64URL_NOPAD.encode(&json)).unwrap_or_default()
    }

    fn read(text: &str) -> Option<Self> {
        serde_json::from_slice(&BASE64URL_NOPAD.decode(text.as_bytes()).ok()?).ok()
    }
}

pub(super) async fn subjects(asks: Asks, headers: HeaderMap, body: Body) -> Result<Response, Refused> {
    let body = bytes(&asks, &headers, body).await?;
    let asked = asks.or_refused(question(&body)).await?;
    let members = Members::of(&asked);
    let read = || -> Result<_, Malformed> {
        let (of, action) = (members.kind("subject")?, members.action()?);
        let resource = members.entity("resource")?;
        let said = format!("subject {} {}", of.kind, members.said(&["action", "resource", "context"]));
        Ok((of.kind, action, resource, Search::of(&asks, &asked, &said, &body)?))
    };
    let (kind, action, resource, search) = asks.or_refused(read().map_err(of_malformed)).await?;
    let Ok(resource) = entity(&resource, Code::ResourceUnknown) else { return nothing() };
    let Ok(called_by) = elsewhere::called_by(&resource) else { return nothing() };
    asks.may(Operation::Evaluate, About::Resource(&resource)).await?;
    if called_by.as_str() != action {
        return nothing();
    }
    let asked = ReachQuestion { resource: Some(What::Called(resource.clone())), ..Search::reaching(action) };
    let is_of_it = |row: &Reached| row.resources.contains(&resource.to_string());
    let rows = search.reached(asked).await?.into_iter().filter(is_of_it);
    let who = of_kind(rows.flat_map(|row| row.principals), kind);
    search.page(kind, who, action, |subject| (subject.clone(), resource.clone())).await
}

pub(super) async fn resources(asks: Asks, headers: HeaderMap, body: Body) -> Result<Response, Refused> {
    let body = bytes(&asks, &headers, body).await?;
    let asked = asks.or_refused(question(&body)).await?;
    let members = Members::of(&asked);
    let read = || -> Result<_, Malformed> {
        let (subject, action) = (members.entity("subject")?, members.action()?);
        let of = members.kind("resource")?;
        let said = format!("resource {} {}", of.kind, members.said(&["subject", "action", "context"]));
        Ok((subject, action, of.kind, Search::of(&asks, &asked, &said, &body)?))
    };
    let (subject, action, kind, search) = asks.or_refused(read().map_err(of_malformed)).await?;
    let Ok(subject) = entity(&subject, Code::PrincipalUnknown) else { return nothing() };
    let asked = ReachQuestion { principal: Some(Who::Workload(subject.clone())), ..Search::reaching(action) };
    let rows = search.reached(asked).await?;
    let what = of_kind(rows.into_iter().flat_map(|row| row.resources), kind);
    search.page(kind, what, action, |resource| (subject.clone(), resource.clone())).await
}

pub(super) async fn actions(asks: Asks, headers: HeaderMap, body: Body) -> Result<Response, Refused> {
    let body = bytes(&asks, &headers, body).await?;
    let asked = asks.or_refused(question(&body)).await?;
    let members = Members::of(&asked);
    let read = || -> Result<_, Malformed> {
        let ends = (members.entity("subject")?, members.entity("resource")?);
        let said = format!("action {}", members.said(&["subject", "resource", "context"]));
        Ok((ends, Search::of(&asks, &asked, &said, &body)?))
    };
    let ((subject, resource), search) = asks.or_refused(read().map_err(of_malformed)).await?;
    let Ok(resource) = entity(&resource, Code::ResourceUnknown) else { return nothing() };
    let Ok(action) = elsewhere::called_by(&resource) else { return nothing() };
    asks.may(Operation::Evaluate, About::Resource(&resource)).await?;
    let Ok(subject) = entity(&subject, Code::PrincipalUnknown) else { return nothing() };
    let permitted = search.permitted(&subject, action.as_str(), &resource).await?;
    let results: Vec<Value> = permitted.then(|| json!({"name": action.as_str()})).into_iter().collect();
    let page = Next { count: results.len(), ..Next::default() };
    Ok(Json(Found { page, results }).into_response())
}

fn of_malformed(malformed: Malformed) -> Refusal {
    malformed.into()
}

fn nothing() -> Result<Response, Refused> {
    Ok(Json(Found { page: Next::default(), results: Vec::new() }).into_response())
}

/// Those of a kind, sorted.
fn of_kind(texts: impl Iterator<Item = String>, kind: &str) -> Vec<String> {
    let prefix = format!("{}/", policies_kind(kind));
    let mut of_kind: Vec<String> = texts.filter(|text| text.starts_with(&prefix)).collect();
    of_kind.sort();
    of_kind.dedup();
    of_kind
}

/// As policies call it.
fn policies_kind(kind: &str) -> &str {
    if kind == "ServiceIdentity" { "Service" } else { kind }
}

/// One search.
struct Search<'a> {
    asks: &'a Asks,
    world: Arc<Snapshot>,
    state: State,
    stated: Stated<'a>,
    body: &'a [u8],
    /// Of all that is asked.
    of: u64,
    limit: usize,
    after: String,
    further: usize,
}

impl<'a> Search<'a> {
    /// `said` is all that is asked, by which a page is of its search. An id of what is searched for is no part of it.
    fn of(asks: &'a Asks, asked: &'a Strict<'a>, said: &str, body: &'a [u8]) -> Result<Self, Malformed> {
        let (stated, page) = (Members::of(asked).stated()?, Page::of(asked)?);
        let mut hasher = DefaultHasher::new();
        said.hash(&mut hasher);
        let of = hasher.finish();
        let mut limit = page.limit.unwrap_or(USUAL).min(MOST);
        let (mut after, mut further) = (String::new(), 0);
        if let Some(text) = page.token {
            let token = Token::read(text).filter(|token| token.of == of);
            let token =
                token.ok_or_else(|| Malformed::new("page.token", "is of no search, or of another one"))?;
            if page.limit.is_some_and(|limit| limit.min(MOST) != token.limit) {
                return Err(Malformed::new("page.limit", "is another one than that of the first page"));
            }
            (limit, after, further) = (token.limit.min(MOST), token.after, token.further);
        }
        let world = asks.admin.shared().snapshot();
        let state = state(&asks.admin, &world);
        Ok(Self { asks, world, state, stated, body, of, limit, after, further })
    }

    /// What is asked of the policies, as far as it is known by every search.
    fn reaching(action: &str) -> ReachQuestion {
        ReachQuestion {
            principal: None,
            groups: Vec::new(),
            email: None,
            resource: None,
            action: Some(action.to_owned()),
            never: false,
        }
    }

    /// What the policies reach; nothing where the question names what is not there.
    async fn reached(&self, asked: ReachQuestion) -> Result<Vec<Reached>, Refused> {
        let Ok(place) = PLACES.try_acquire() else {
            let refusal = Refusal::new(Code::Overloaded, "other searches are under way");
            return Err(self.asks.refuse(refusal).await);
        };
        let state = self.state.clone();
        // The search has its place to its end, also where nobody waits for it any more.
        let search = move || {
            let found = reach::reach(&state, &asked);
            drop(place);
            found
        };
        let answer = tokio::task::spawn_blocking(search).await;
        let fault = match answer {
            Ok(Ok(answer)) => return Ok(answer.reached),
            Ok(Err(NotReached::Misasked(_))) => return Ok(Vec::new()),
            Ok(Err(NotReached::Fault(fault))) => fault.to_string(),
            Err(ended) => ended.to_string(),
        };
        let refusal = Refusal::new(Code::Internal, "the policies could not be asked").with_detail(fault);
        Err(self.asks.refuse(refusal).await)
    }

    /// Those of the sorted candidates that come next, and are permitted. `ends` has the subject and the resource of each.
    async fn page(
        &self,
        kind: &str,
        candidates: Vec<String>,
        action: &str,
        ends: impl Fn(&EntityId) -> (EntityId, EntityId),
    ) -> Result<Response, Refused> {
        let first = candidates.partition_point(|candidate| *candidate <= self.after);
        let mut results = Vec::new();
        let (mut after, mut further) = (self.after.clone(), self.further);
        let mut rest = candidates.into_iter().skip(first.saturating_add(further)).peekable();
        let mut looked = 0;
        while results.len() < self.limit && looked < LOOKED_AT {
            let Some(text) = rest.next() else { break };
            looked += 1;
            if looked % TURN == 0 {
                tokio::task::yield_now().await;
            }
            further = further.saturating_add(1);
            if let Ok(found) = explain::entity(&text) {
                let (subject, resource) = ends(&found);
                if self.permitted(&subject, action, &resource).await? {
                    results.push(json!({"type": kind, "id": &*found.id}));
                    (after, further) = (text, 0);
                }
            }
        }
        let next_token = match rest.peek() {
            Some(_) => Token { of: self.of, limit: self.limit, after, further }.text(),
            None => String::new(),
        };
        let page = Next { next_token, count: results.len() };
        Ok(Json(Found { page, results }).into_response())
    }

    /// Whether who asks may ask of it, and would be answered yes.
    async fn permitted(
        &self,
        subject: &EntityId,
        action: &str,
        resource: &EntityId,
    ) -> Result<bool, Refused> {
        let about_resource = self.asks.decided(Operation::Evaluate, About::Resource(resource));
        if about_resource.is_err() || may_learn_of(self.asks, subject, resource).is_err() {
            return Ok(false);
        }
        let user = self.stated.user.as_ref();
        let Ok(named) = elsewhere::named(&self.state, (subject, user), action, resource) else {
            return Ok(false);
        };
        let caller = caller(&named, &self.stated);
        let call = call(&caller, &named, (&self.stated, self.body));
        let permitted = self.asks.admin.shared().would_permit(&self.world, &call).await;
        self.asks.or_refused(permitted).await
    }
}
