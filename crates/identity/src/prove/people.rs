//! People who operate an installation: who presents a token of its own at the admin address.
//!
//! What proves a workload never proves a person: other issuers are listed, another audience is asked for, and a token that names an
//! actor, or whose subject some principal is registered with, is refused. But whoever may register something must not thereby lock out who
//! operates: the built-in issuer says itself what its tokens are, and whom a policy for people names is taken by no record
//! ([`Snapshot::principal_by_oidc`]).

use std::sync::Arc;

use vidimus_core::caller::{UnixMillis, User};
use vidimus_core::json::Json;
use vidimus_core::person::Person;
use vidimus_core::refusal::{Code, Refusal};
use vidimus_core::snapshot::Snapshot;

use super::claims::{Claims, name};
use super::fetch::Fetcher;
use super::remote::Remote;
use super::source::Source;
use super::token::{Kind, Token, malformed, parse_json, shown};
use super::{ConfigError, Limits, issuer_roots};
use crate::issue::local::{LOCAL_ISSUER, LocalIdentity, OPERATOR_AUDIENCE, PERSON};

/// Groups beyond these of one token are an error: a policy that forbids one of them must not miss it.
const MAX_GROUPS: usize = 512;
/// Longest name of a group, in bytes.
const MAX_GROUP: usize = 256;

/// Whose people operate an installation.
#[derive(Clone, Debug)]
pub struct Operators {
    /// The issuers of their tokens, beside the built-in one.
    pub issuers: Vec<Arc<str>>,
    /// Further audiences of their tokens, besides [`OPERATOR_AUDIENCE`].
    pub audiences: Vec<Arc<str>>,
    /// The claim that names their groups.
    pub groups_claim: Box<str>,
    /// The built-in issuer.
    pub local: Option<Arc<LocalIdentity>>,
    /// The roots that issuers' TLS certificates chain to (PEM), where they are not the system's.
    pub roots_of_issuers: Vec<(Arc<str>, Vec<u8>)>,
    /// How long issuers' keys are used.
    pub limits: Limits,
}

/// Tells which person presents a token.
#[derive(Debug)]
pub struct People {
    issuers: Vec<(Arc<str>, Source)>,
    audiences: Vec<Arc<str>>,
    groups_claim: Box<str>,
}

impl People {
    /// One that has verified nothing yet.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn new(operators: Operators) -> Result<Self, ConfigError> {
        let Operators { issuers, mut audiences, groups_claim, local, roots_of_issuers, limits } = operators;
        let mut sources = Vec::with_capacity(issuers.len() + 1);
        sources.extend(local.map(|local| (Arc::from(LOCAL_ISSUER), Source::Local(local))));
        for issuer in issuers {
            let own = roots_of_issuers.iter().find(|(of, _)| *of == issuer).map(|(_, pem)| pem.as_slice());
            let fetcher = Fetcher::new(issuer_roots(own)?, limits.timeout, false)?;
            let remote = Remote::new(issuer.clone(), fetcher, limits);
            sources.push((issuer, Source::Remote(Arc::new(remote))));
        }
        audiences.push(OPERATOR_AUDIENCE.into());
        Ok(Self { issuers: sources, audiences, groups_claim })
    }

    /// Whether people of this issuer operate the installation.
    pub fn has_issuer(&self, issuer: &str) -> bool {
        self.issuers.iter().any(|(listed, _)| **listed == *issuer)
    }

    /// Whom `bearer` names, under the configuration in `snapshot`. Needs a Tokio runtime when an issuer's keys are fetched.
    ///
    /// # Errors
    /// `token_*`, `issuer_unreachable`, and `person_required` for the token of a workload.
    pub async fn person(
        &self,
        snapshot: &Snapshot,
        bearer: &str,
        now: UnixMillis,
    ) -> Result<Person, Refusal> {
        let token = Token::parse(bearer)?;
        let payload = parse_json(&token.payload, "payload")?;
        let issuer = name(&payload, "iss")?;
        let source = self.issuers.iter().find(|(listed, _)| **listed == *issuer).map(|(_, source)| source);
        let source = source.ok_or_else(|| {
            let message =
                format!("issuer {} is not one of people who operate this installation", shown(issuer));
            Refusal::new(Code::TokenIssuer, message)
                .with_next("List the issuer of its people with --operator-issuer.")
        })?;
        token.check_kind(Kind::Issued)?;
        source.verify(&token, now).await?;
        let claims = Claims::read(&payload)?;
        claims.times.check(now)?;
        self.check_audience(&payload)?;
        check_is_nobody_elses(snapshot, &payload, &claims)?;
        // Its groups are those of the claim that the installation names, and are the person's, not the user's whom somebody acts for.
        let user = User {
            issuer: claims.issuer,
            subject: claims.subject,
            email: claims.email,
            groups: Arc::default(),
        };
        let groups = groups(&payload, &self.groups_claim)?;
        Ok(Person { user, groups, unverified_email: claims.unverified_email })
    }

    fn check_audience(&self, payload: &Json<'_>) -> Result<(), Refusal> {
        let is_ours = |name: &Json<'_>| {
            name.as_str().is_some_and(|name| self.audiences.iter().any(|own| **own == *name))
        };
        let said = match payload.get("aud") {
            Some(one @ Json::String(_)) if is_ours(one) => return Ok(()),
            Some(Json::Array(several)) if several.iter().any(is_ours) => return Ok(()),
            Some(Json::String(one)) => shown(one),
            Some(_) => "of another".to_owned(),
            None => "missing".to_owned(),
        };
        let message = format!(
            "the token is not meant for people's acts: its 'aud' is {said}, and accepted are {}",
            self.audiences.join(", ")
        );
        let next = "Get a token whose audience is vidimus-admin, or one of --operator-audience.";
        Err(Refusal::new(Code::TokenAudience, message).with_next(next))
    }
}

/// A token that names an actor is of a workload that acts for the person; one whose subject is registered is of a workload by itself, and one of
/// the built-in issuer that is not made for a person.
fn check_is_nobody_elses(snapshot: &Snapshot, payload: &Json<'_>, claims: &Claims) -> Result<(), Refusal> {
    let refuse = |message: &'static str| Err(Refusal::new(Code::PersonRequired, message));
    if payload.get("act").is_some() {
        return refuse("the token is of a workload that acts for the person, not of the person");
    }
    if claims.subject.starts_with("spiffe://") || claims.subject.starts_with("system:serviceaccount:") {
        return refuse("the token is of a workload");
    }
    if *claims.issuer == *LOCAL_ISSUER {
        let is_person = matches!(payload.get(PERSON), Some(Json::Bool(true)));
        return if is_person { Ok(()) } else { refuse("the token is of a workload") };
    }
    if snapshot.principal_by_oidc(&claims.issuer, &claims.subject).is_some()
        || !snapshot.claims_on_oidc(&claims.issuer, &claims.subject).is_empty()
    {
        return refuse("the token is of a registered principal, not of a person");
    }
    Ok(())
}

/// The groups that a token names: an array of strings, or one string.
fn groups(payload: &Json<'_>, claim: &str) -> Result<Box<[Arc<str>]>, Refusal> {
    let one = |value: &Json<'_>| -> Result<Arc<str>, Refusal> {
        let group = value.as_str().filter(|group| !group.is_empty() && group.len() <= MAX_GROUP);
        let group = group.filter(|group| !group.chars().any(char::is_control));
        group.map(Arc::from).ok_or_else(|| {
            malformed(format!("'{claim}' has a group that is no name of at most {MAX_GROUP} bytes"))
        })
    };
    match payload.get(claim) {
        None | Some(Json::Null) => Ok(Box::default()),
        Some(value @ Json::String(_)) => Ok([one(value)?].into()),
        Some(Json::Array(several)) if several.len() <= MAX_GROUPS => several.iter().map(one).collect(),
        Some(_) => Err(malformed(format!("'{claim}' is not a list of at most {MAX_GROUPS} groups"))),
    }
}
