//! The claims of a token whose signature holds (RFC 7519 section 4.1, RFC 8693 section 4.1).

use std::collections::BTreeSet;
use std::sync::Arc;

use vidimus_core::caller::{Chain, MAX_DEPTH, UnixMillis, User};
use vidimus_core::entity::{EntityId, EntityKind};
use vidimus_core::json::Json;
use vidimus_core::refusal::{Code, Refusal};

use super::pods::Kubernetes;
use super::token::malformed;

/// How far ahead of ours an issuer's clock may be, in milliseconds, for `nbf` and `iat`. `exp` gets no leeway: a client can renew.
pub(crate) const CLOCK_LEEWAY: i64 = 60_000;
/// The last second that RFC 3339 can write; a date beyond is a mistake.
const LAST_SECOND: i64 = 253_402_300_799;
/// Most groups of a person, and their most bytes: they go into the token of each hop.
const MOST_GROUPS: usize = 128;
const LONGEST_GROUPS: usize = 4096;
/// Claims that are read by name below, and so are not kept for comparison with configured claims.
const READ: [&str; 11] = ["iss", "sub", "aud", "exp", "nbf", "iat", "jti", "act", "may_act", "cnf", "sub_id"];

/// When a token is valid. Checked again each time the token is presented.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    /// `exp`.
    pub(crate) expires: UnixMillis,
    /// The later of `nbf` and `iat`, less the leeway.
    begins: UnixMillis,
}

impl Times {
    pub(crate) fn read(json: &Json<'_>) -> Result<Self, Refusal> {
        let expires = date(json, "exp")?
            .ok_or_else(|| malformed("it has no 'exp'; tokens that never end are refused"))?;
        let begins = date(json, "nbf")?.max(date(json, "iat")?).unwrap_or_default();
        Ok(Self { expires, begins: UnixMillis(begins.0.saturating_sub(CLOCK_LEEWAY)) })
    }

    pub(crate) fn check(self, now: UnixMillis) -> Result<(), Refusal> {
        if now >= self.expires {
            return Err(Refusal::new(Code::TokenExpired, "the token has expired"));
        }
        if now < self.begins {
            return Err(Refusal::new(
                Code::TokenNotYetValid,
                "the token is not valid yet ('nbf' or 'iat' lies ahead)",
            ));
        }
        Ok(())
    }
}

/// One member of `act`, current actor first.
#[derive(Clone, Debug)]
pub(crate) struct Actor {
    pub(crate) issuer: Option<String>,
    pub(crate) subject: String,
}

impl Actor {
    /// Whether it is a subject of `issuer`, whose token names it.
    pub(crate) fn of(&self, issuer: &str) -> bool {
        self.issuer.as_deref().is_none_or(|own| own == issuer)
    }
}

/// The claims of a token of some issuer.
#[derive(Clone, Debug)]
pub(crate) struct Claims {
    pub(crate) issuer: Arc<str>,
    pub(crate) subject: Arc<str>,
    pub(crate) times: Times,
    pub(crate) email: Option<Arc<str>>,
    /// One that the issuer says is not verified: it proves nothing.
    pub(crate) unverified_email: Option<Arc<str>>,
    /// Sorted, each once; `None` where there are too many.
    groups: Option<Arc<[Arc<str>]>>,
    /// The current actor first, at most [`MAX_DEPTH`].
    pub(crate) actors: Vec<Actor>,
    pub(crate) issued: Option<UnixMillis>,
    /// Where it runs, as it says.
    pub(crate) kubernetes: Option<Kubernetes>,
    /// Further claims that are one string, number or boolean, as text.
    other: Box<[(Box<str>, Box<str>)]>,
}

impl Claims {
    pub(crate) fn read(json: &Json<'_>) -> Result<Self, Refusal> {
        Ok(Self {
            issuer: name(json, "iss")?.into(),
            subject: name(json, "sub")?.into(),
            times: Times::read(json)?,
            email: email(json, true),
            unverified_email: email(json, false),
            groups: groups(json),
            actors: actors(json)?,
            issued: date(json, "iat")?,
            kubernetes: Kubernetes::read(json),
            other: other(json),
        })
    }

    /// Whether the claim `name` is one scalar whose text is `value`.
    pub(crate) fn has(&self, name: &str, value: &str) -> bool {
        self.other.iter().any(|(n, v)| **n == *name && **v == *value)
    }
}

/// A required claim that is a non-empty string without control characters, as it goes into records.
pub(crate) fn name<'a>(json: &'a Json<'_>, name: &str) -> Result<&'a str, Refusal> {
    match json.get(name).and_then(Json::as_str) {
        Some(text) if !text.is_empty() && !text.chars().any(char::is_control) => Ok(text),
        Some(_) => Err(malformed(format!("'{name}' is empty or has control characters"))),
        None => Err(malformed(format!("it has no '{name}' that is a string"))),
    }
}

fn date(json: &Json<'_>, name: &str) -> Result<Option<UnixMillis>, Refusal> {
    json.get(name).map(|value| numeric_date(name, value)).transpose()
}

/// RFC 7519 section 2, NumericDate: seconds, also with a fraction.
fn numeric_date(name: &str, value: &Json<'_>) -> Result<UnixMillis, Refusal> {
    let seconds = match value {
        Json::Int(seconds) => Some(*seconds),
        #[expect(clippy::cast_possible_truncation, reason = "saturates, and the range is checked below")]
        Json::Float(seconds) if seconds.is_finite() => Some(seconds.floor() as i64),
        _ => None,
    };
    match seconds {
        Some(seconds) if (0..=LAST_SECOND).contains(&seconds) => Ok(UnixMillis(seconds.saturating_mul(1000))),
        _ => Err(malformed(format!("'{name}' is not a date (RFC 7519 section 2)"))),
    }
}

/// The e-mail address, where it is verified, or where the issuer says that it is not (OpenID Connect Core section 5.1), as is wanted.
fn email(json: &Json<'_>, wanted: bool) -> Option<Arc<str>> {
    let verified =
        json.get("email_verified").is_none_or(|v| v.as_bool() == Some(true) || v.as_str() == Some("true"));
    let email = json.get("email").and_then(Json::as_str)?;
    (verified == wanted && !email.chars().any(char::is_control)).then(|| email.into())
}

/// The groups that the issuer says the subject is in: `groups`, as issuers have it where no standard does. What is no list of names is
/// no such claim. `None` where they are more than fit the token of a hop.
fn groups(json: &Json<'_>) -> Option<Arc<[Arc<str>]>> {
    let listed = json.get("groups").and_then(Json::as_array).unwrap_or_default();
    let is_name = |text: &&str| !text.is_empty() && !text.chars().any(char::is_control);
    let names: Option<BTreeSet<&str>> = listed.iter().map(|one| one.as_str().filter(is_name)).collect();
    let names = names.unwrap_or_default();
    let fits =
        names.len() <= MOST_GROUPS && names.iter().map(|name| name.len()).sum::<usize>() <= LONGEST_GROUPS;
    fits.then(|| names.into_iter().map(Arc::from).collect())
}

impl Claims {
    /// The groups of the person for whom somebody acts.
    ///
    /// # Errors
    /// `token_malformed` where they are too many: a policy that forbids by a group must not lose it on the way.
    pub(crate) fn groups_of_person(&self) -> Result<Arc<[Arc<str>]>, Refusal> {
        self.groups.clone().ok_or_else(|| {
            malformed(format!(
                "'groups' has more than {MOST_GROUPS} names or {LONGEST_GROUPS} bytes; have the issuer list those that matter here"
            ))
        })
    }
}

/// The nested actors, outermost (current) first.
fn actors(json: &Json<'_>) -> Result<Vec<Actor>, Refusal> {
    let mut actors = Vec::new();
    let mut outer = json;
    while let Some(act) = outer.get("act") {
        if actors.len() == MAX_DEPTH {
            let message = format!("the token's chain ('act') is deeper than {MAX_DEPTH}");
            return Err(Refusal::new(Code::DelegationTooDeep, message));
        }
        if act.as_object().is_none() {
            return Err(malformed("'act' is not an object (RFC 8693 section 4.1)"));
        }
        let issuer = act.get("iss").map(|_| name(act, "iss").map(str::to_owned)).transpose()?;
        actors.push(Actor { issuer, subject: name(act, "sub")?.to_owned() });
        outer = act;
    }
    Ok(actors)
}

fn other(json: &Json<'_>) -> Box<[(Box<str>, Box<str>)]> {
    let members = json.as_object().unwrap_or_default();
    let kept = members.iter().filter(|(name, value)| !READ.contains(&&**name) && *value != Json::Null);
    kept.filter_map(|(name, value)| Some((Box::from(&**name), Box::from(&*value.as_text()?)))).collect()
}

/// What a per-hop token of our own says beyond [`Claims`].
#[derive(Clone, Debug)]
pub(crate) struct HopClaims {
    /// Whom it was minted for.
    pub(crate) destination: EntityId,
    /// The marks of the identities that it was registered by.
    pub(crate) registered: Box<[Box<str>]>,
    pub(crate) user: Option<User>,
    pub(crate) chain: Chain,
}

impl HopClaims {
    /// Reads what [`crate::Mint`] wrote. The signature holds, so a mismatch is a token of a former version at most.
    pub(crate) fn read(json: &Json<'_>, claims: &Claims) -> Result<Self, Refusal> {
        let destination = entity(name(json, "dst")?)?;
        let registered = json.get("dst_ids").map_or(Ok(Box::default()), marks)?;
        let current_first = claims.actors.iter().map(|actor| entity(&actor.subject));
        let mut actors: Vec<EntityId> = current_first.collect::<Result<_, _>>()?;
        actors.reverse();
        if actors.iter().any(|actor| !is_principal(actor)) {
            return Err(malformed("an actor is not an Agent or a Service"));
        }
        let depth = json.get("depth").and_then(Json::as_integer);
        if actors.is_empty() || depth != i64::try_from(actors.len()).ok() {
            return Err(malformed("'depth' is not the number of actors"));
        }
        let started = json.get("txn_iat").and_then(Json::as_integer);
        let started = UnixMillis(started.ok_or_else(|| malformed("it has no 'txn_iat'"))?);
        let transaction = name(json, "txn")?.into();
        let user = json.get("sub_id").map(|id| user(id, claims)).transpose()?;
        Ok(Self { destination, registered, user, chain: Chain { transaction, started, actors } })
    }
}

fn marks(json: &Json<'_>) -> Result<Box<[Box<str>]>, Refusal> {
    let no_marks = || malformed("'dst_ids' is not a list of texts");
    let marks = json.as_array().ok_or_else(no_marks)?.iter();
    marks.map(|mark| mark.as_str().map(Box::from).ok_or_else(no_marks)).collect()
}

pub(crate) fn is_principal(entity: &EntityId) -> bool {
    matches!(entity.kind, EntityKind::Agent | EntityKind::Service)
}

fn entity(text: &str) -> Result<EntityId, Refusal> {
    text.parse().map_err(|_| malformed("a name in it is not of the form Kind/namespace/name"))
}

/// RFC 9493 section 3.2.3, format `iss_sub`.
fn user(id: &Json<'_>, claims: &Claims) -> Result<User, Refusal> {
    if id.get("format").and_then(Json::as_str) != Some("iss_sub") {
        return Err(malformed("'sub_id' is not of the format iss_sub"));
    }
    Ok(User {
        issuer: name(id, "iss")?.into(),
        subject: name(id, "sub")?.into(),
        email: claims.email.clone(),
        groups: claims.groups_of_person()?,
    })
}
