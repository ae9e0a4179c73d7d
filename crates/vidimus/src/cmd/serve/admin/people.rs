//! Who asks at the admin address, and whether it may.
//!
//! To add an endpoint: a handler that takes an [`Asks`], which is there only where somebody proved who it is; then
//! [`Asks::may`] before anything is shown or done ([`Asks::done`]). What is refused by either is on record. What a handler refuses by itself
//! goes through [`Asks::refuse`].

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use axum::Json;
use axum::extract::FromRequestParts;
use axum::extract::rejection::JsonRejection;
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio::sync::Semaphore;
use vidimus_core::act::Act;
use vidimus_core::caller::User;
use vidimus_core::clock::Clock as _;
use vidimus_core::person::{About, Asked, Operation, Person};
use vidimus_core::refusal::{Class, Code, Refusal};
use vidimus_gateway::{Done, RefusedRequest, Shared, millis, plain};
use vidimus_identity::People;

use super::super::admin_listener::{CONNECTIONS, Peer};
use super::super::health::Health;
use super::export::Files;
use super::tiles::Shelf;
use crate::clock::SystemClock;

/// What the endpoints of the admin address have.
#[derive(Clone)]
pub(in crate::cmd::serve) struct Admin {
    pub(super) health: Health,
    people: Arc<People>,
    /// Places for requests that wait for something to happen: of the connections here, so many.
    pub(super) watchers: Arc<Semaphore>,
    /// The ledger, as clients of tiled logs read it.
    pub(super) tiles: Arc<Shelf>,
    /// The same, and what decided, as evidence is written of it.
    pub(super) files: Arc<Files>,
}

/// Requests that wait for something to happen at once.
const WATCHERS: usize = CONNECTIONS / 2;

impl Admin {
    /// `witnessed`: whether somebody is to cosign the ledger's checkpoints. `data`: the data directory.
    pub(in crate::cmd::serve) fn new(
        health: Health,
        people: Arc<People>,
        witnessed: bool,
        data: &Path,
    ) -> Self {
        let (tiles, files) = (Arc::new(Shelf::new(witnessed)), Arc::new(Files::new(data)));
        Self { health, people, watchers: Arc::new(Semaphore::new(WATCHERS)), tiles, files }
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.health.shared
    }

    /// Whether people of this issuer may ask here.
    pub(super) fn has_issuer(&self, issuer: &str) -> bool {
        self.people.has_issuer(issuer)
    }

    /// Records the refusal, and makes an answer of it.
    async fn refused(&self, refusal: Refusal, path: &str, user: Option<&User>, source: IpAddr) -> Refused {
        let about = RefusedRequest { refusal: &refusal, path, user, source };
        let record = self.shared().record_refused(&about).await;
        Refused { refusal: Box::new(refusal), record }
    }
}

/// A request of somebody who proved who it is.
pub(super) struct Asks {
    pub(super) admin: Admin,
    pub(super) person: Person,
    path: String,
    source: IpAddr,
}

impl Asks {
    /// Asks the policies.
    ///
    /// # Errors
    /// What they refuse, which is then on record.
    pub(super) async fn may(&self, operation: Operation, about: About<'_>) -> Result<(), Refused> {
        match self.decided(operation, about) {
            Ok(_permits) => Ok(()),
            Err(refusal) => Err(self.refuse(refusal).await),
        }
    }

    /// What the policies say, for who wants to know and does nothing.
    pub(super) fn decided(&self, operation: Operation, about: About<'_>) -> Result<Vec<Arc<str>>, Refusal> {
        let shared = self.admin.shared();
        let now = millis(SystemClock.now().wall);
        let asked = Asked { person: &self.person, operation, about, now, source_ip: Some(self.source) };
        shared.snapshot().authorize_person(&asked)
    }

    /// Does what the person was found to be allowed to do. When this returns it is on record and in force.
    ///
    /// # Errors
    /// What [`Shared::act`] refuses, which is then on record.
    pub(super) async fn done(&self, act: Act, why: &str) -> Result<Done, Refused> {
        let what = (act.as_str(), act.subject());
        match self.admin.shared().act(&self.person.actor(), act, why).await {
            Ok(done) => {
                tracing::info!(
                    act = what.0,
                    about = what.1,
                    actor = self.person.actor(),
                    id = done.id,
                    "done"
                );
                Ok(done)
            }
            Err(refusal) => Err(self.refuse(refusal).await),
        }
    }

    /// The body of a request.
    ///
    /// # Errors
    /// `message_invalid`, which is then on record.
    pub(super) async fn body<T>(&self, body: Result<Json<T>, JsonRejection>) -> Result<T, Refused> {
        match body {
            Ok(Json(body)) => Ok(body),
            Err(fault) => Err(self.refuse(Refusal::new(Code::MessageInvalid, fault.body_text())).await),
        }
    }

    /// What was found, or why not, which is then on record.
    pub(super) async fn or_refused<T>(&self, found: Result<T, Refusal>) -> Result<T, Refused> {
        match found {
            Ok(found) => Ok(found),
            Err(refusal) => Err(self.refuse(refusal).await),
        }
    }

    /// Records a refusal.
    pub(super) async fn refuse(&self, refusal: Refusal) -> Refused {
        self.admin.refused(refusal, &self.path, Some(&self.person.user), self.source).await
    }
}

impl FromRequestParts<Admin> for Asks {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, admin: &Admin) -> Result<Self, Refused> {
        let source = parts.extensions.get::<Peer>().map_or(IpAddr::from([0, 0, 0, 0]), |peer| peer.0);
        let path = parts.uri.path().to_owned();
        let proven = async {
            // A page has no business here, and no token that a browser would send by itself is taken.
            if parts.headers.contains_key(header::ORIGIN) {
                let next = "No page may act here, of whatever origin: use `vidimus`, or a client that sends no Origin.";
                return Err(Refusal::new(Code::OriginRefused, "the request comes from a page of a browser")
                    .with_next(next));
            }
            let bearer = bearer(parts)?;
            let shared = admin.shared();
            let now = millis(SystemClock.now().wall);
            admin.people.person(&shared.snapshot(), bearer, now).await
        };
        match proven.await {
            Ok(person) => Ok(Self { admin: admin.clone(), person, path, source }),
            Err(refusal) => Err(admin.refused(refusal, &path, None, source).await),
        }
    }
}

/// The one bearer token.
fn bearer(parts: &Parts) -> Result<&str, Refusal> {
    let mut lines = parts.headers.get_all(header::AUTHORIZATION).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else {
        let code = match parts.headers.contains_key(header::AUTHORIZATION) {
            true => Code::CredentialAmbiguous,
            false => Code::CredentialMissing,
        };
        let next = "Present the bearer token of a person: `vidimus identity operator --data DIR`, or one of an --operator-issuer.";
        return Err(Refusal::new(code, "who asks must prove who it is, by one bearer token").with_next(next));
    };
    let token = line.to_str().ok().and_then(|line| line.split_once(' '));
    let token = token.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map(|(_, token)| token);
    token
        .filter(|token| !token.is_empty() && !token.contains([' ', ',']))
        .ok_or_else(|| Refusal::new(Code::TokenMalformed, "Authorization must be \"Bearer\" and one token"))
}

/// A refusal as an answer.
#[derive(Debug)]
pub(super) struct Refused {
    refusal: Box<Refusal>,
    /// The id of its record.
    record: String,
}

impl Refused {
    /// What is refused, and the id of its record.
    pub(super) fn parts(&self) -> (&Refusal, &str) {
        (&self.refusal, &self.record)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let unauthenticated = self.refusal.code.class() == Class::Unauthenticated;
        let (parts, body) = plain(&self.refusal, &self.record).into_parts();
        let mut response = (parts.status, parts.headers, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if unauthenticated {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        debug_assert_ne!(response.status(), StatusCode::OK);
        response
    }
}
